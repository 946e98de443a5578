//! The `hearth` command in a profile of its own, as a person or a program would run it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The model that answers in tests.
pub const CHAT_MODEL: &str = "smollm2-135m-instruct-q4_1";
/// The model that embeds in tests.
pub const EMBEDDING_MODEL: &str = "all-minilm-l6-v2";

/// Which local network a profile is on.
#[derive(Debug, Clone)]
pub enum Network {
    /// One of its own: nobody is met there.
    Alone,
    /// That of all who share this folder; announcements are files in it.
    Folder(PathBuf),
    /// A network namespace of the system, by name: the real thing.
    Namespace(String),
}

/// A profile in a temporary folder. Dropping it stops its engine.
pub struct Profile {
    folder: tempfile::TempDir,
    models: PathBuf,
    passphrase: Option<String>,
    variables: Vec<(String, String)>,
    network: Network,
}

/// What a finished command said.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Profile {
    /// An empty profile with the test models at hand, protected by a key file.
    pub fn new() -> Self {
        let profile = Self::with_models(&test_models());
        for model in [CHAT_MODEL, EMBEDDING_MODEL] {
            let ran = profile.run(&["models", "pull", model]);
            assert_eq!(
                ran.code, 0,
                "the test models are needed in HEARTH_TEST_MODELS (./test gets them): {ran:?}"
            );
        }
        profile
    }

    /// An empty profile whose models are in `models`.
    pub fn with_models(models: &Path) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hearth")
            .tempdir()
            .expect("a temporary folder");
        Self {
            folder,
            models: models.to_owned(),
            passphrase: None,
            variables: Vec::new(),
            network: Network::Alone,
        }
    }

    /// Gives every command of the profile an environment variable from here on; empty: none.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.retain(|(other, _)| other != name);
        if !value.is_empty() {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The same profile on another local network.
    #[must_use]
    pub fn on(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The same profile, opened with a passphrase from here on.
    #[must_use]
    pub fn passphrase(mut self, passphrase: &str) -> Self {
        self.passphrase = Some(passphrase.to_owned());
        self
    }

    /// The profile's folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A folder for the test's own files, outside the profile.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The command, ready to be started, with standard input closed.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.network {
            Network::Namespace(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(binary());
                command
            }
            Network::Alone | Network::Folder(_) => Command::new(binary()),
        };
        match &self.network {
            Network::Namespace(_) => command.env_remove("HEARTH_TEST_LAN_FOLDER"),
            Network::Folder(folder) => command.env("HEARTH_TEST_LAN_FOLDER", folder),
            Network::Alone => command.env("HEARTH_TEST_LAN_FOLDER", self.folder.path()),
        };
        command.args(arguments).stdin(Stdio::null());
        for name in [
            "HEARTH_PASSPHRASE",
            "HEARTH_NEW_PASSPHRASE",
            "HEARTH_LOG",
            "DBUS_SESSION_BUS_ADDRESS",
        ] {
            command.env_remove(name);
        }
        command
            .env("HEARTH_HOME", self.home())
            .env("HEARTH_MODELS", &self.models)
            .env("HEARTH_KEYCHAIN", "off");
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        if let Some(passphrase) = &self.passphrase {
            command.env("HEARTH_PASSPHRASE", passphrase);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs to the end without standard input.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        finish(
            self.command(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn(),
            None,
        )
    }

    /// Runs to the end with `input` piped in.
    pub fn pipe(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        finish(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn(),
            Some(input),
        )
    }

    /// Runs with `--json`, which must succeed, and reads its standard output as one JSON value.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.value()
    }

    /// Starts `hearth serve` on a free port and waits until it listens.
    pub fn serve(&self) -> Server {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("hearth starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("hearth serve says where it listens");
        let said: Value = serde_json::from_str(&line).expect("hearth serve says JSON");
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
        let token = std::fs::read_to_string(text("token_file"))
            .expect("the token is readable")
            .trim()
            .to_owned();
        Server {
            child,
            address: text("listening"),
            base_url: text("base_url"),
            token,
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = self.run(&["engine", "stop"]);
    }
}

impl Ran {
    /// Standard output as one JSON value.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A running `hearth serve`. Dropping it ends it.
pub struct Server {
    /// Its process.
    pub child: Child,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
    /// What clients take as the base of addresses.
    pub base_url: String,
    /// The bearer token.
    pub token: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, such as `"KILL"`, by the shell's own `kill`: the program of that name is not on every machine.
pub fn signal(pid: &str, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, pid])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} to {pid}");
}

/// The folder of test models: `HEARTH_TEST_MODELS`.
pub fn test_models() -> PathBuf {
    PathBuf::from(
        std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS is set by .cargo/config.toml"),
    )
}

/// The `hearth` binary beside the tests, or `HEARTH_TEST_BINARY`.
fn binary() -> PathBuf {
    std::env::var_os("HEARTH_TEST_BINARY").map_or_else(|| beside("hearth"), Into::into)
}

/// A binary of the workspace beside the tests.
pub(crate) fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let folder = own.ancestors().find(|folder| folder.join(name).is_file());
    folder
        .unwrap_or_else(|| panic!("{name} is built: cargo build -p {name}"))
        .join(name)
}

fn finish(child: std::io::Result<Child>, input: Option<&[u8]>) -> Ran {
    let mut child = child.expect("hearth starts");
    let writer = child.stdin.take().map(|mut pipe| {
        let input = input.unwrap_or_default().to_vec();
        std::thread::spawn(move || drop(pipe.write_all(&input)))
    });
    let output = child.wait_with_output().expect("hearth ends");
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("hearth says UTF-8");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
