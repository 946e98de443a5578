//! A real sync server in a process of its own, and two profiles that a person pairs.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::hearth::{Profile, beside, signal};

/// A sync server with a folder of its own. Dropping it ends it.
pub struct SyncServer {
    folder: tempfile::TempDir,
    child: Option<Child>,
    listen: String,
    settings: Option<PathBuf>,
    accounts: &'static str,
    variables: Vec<(String, String)>,
    /// What devices take: `hearth-sync://…`.
    pub address: String,
}

impl SyncServer {
    /// Starts one on a free port; anybody may open accounts.
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// Starts one on a free port, where whoever opens an account needs an invitation.
    pub fn start_invited() -> Self {
        Self::begin("", &[], "invitations")
    }

    /// Starts one with settings (TOML, as in its guide) and environment variables.
    pub fn start_with(settings: &str, variables: &[(&str, &str)]) -> Self {
        Self::begin(settings, variables, "open")
    }

    fn begin(settings: &str, variables: &[(&str, &str)], accounts: &'static str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hearth-sync")
            .tempdir()
            .expect("a temporary folder");
        let mut server = Self {
            settings: (!settings.is_empty()).then(|| {
                let path = folder.path().join("settings.toml");
                std::fs::write(&path, settings).expect("a file");
                path
            }),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            accounts,
            folder,
            child: None,
            listen: "127.0.0.1:0".into(),
            address: String::new(),
        };
        server.resume();
        server
    }

    /// Its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The seed of its key.
    pub fn seed(&self) -> [u8; 32] {
        let text = std::fs::read_to_string(self.data().join("server.key")).expect("a key");
        let (_, digits) = text.trim().split_once(' ').expect("a mark and the seed");
        let seed = hearth_protocol::base32::decode(digits).expect("base 32");
        seed.try_into().expect("32 bytes")
    }

    /// A folder for the test's own files, outside the data.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        let (_, port) = self.listen.rsplit_once(':').expect("a port");
        port.parse().expect("a number")
    }

    /// The program with this server's folder, for an operator's command.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(beside("hearth-sync-server"));
        command.arg("--data").arg(self.data());
        if let Some(settings) = &self.settings {
            command.arg("--config").arg(settings);
        }
        command.args(arguments).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs an operator's command, which must succeed; its standard output.
    pub fn operate(&self, arguments: &[&str]) -> String {
        let ran = self
            .command(arguments)
            .output()
            .expect("the server's program runs");
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        String::from_utf8(ran.stdout).expect("UTF-8")
    }

    /// Starts it again where it was.
    pub fn resume(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log");
        let mut child = self
            .command(&[
                "--listen",
                &self.listen,
                "--metrics",
                "off",
                "--accounts",
                self.accounts,
            ])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("hearth-sync-server is built: cargo build -p hearth-sync-server");
        let stdout = child.stdout.take().expect("standard output is piped");
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("the server says where it is");
            match line.split_once(' ') {
                Some(("address", address)) => address.clone_into(&mut self.address),
                Some(("listening", listen)) => listen.clone_into(&mut self.listen),
                _ if line == "ready" => break,
                _ => {}
            }
        }
        // An address that says port 0 is of no use.
        if let (Some((_, port)), Some((before, key))) =
            (self.listen.rsplit_once(':'), self.address.split_once("/#"))
            && let Some((host, _)) = before.rsplit_once(':')
        {
            let host = if host.ends_with("//") {
                "hearth-sync://127.0.0.1"
            } else {
                host
            };
            self.address = format!("{host}:{port}/#{key}");
        }
        self.child = Some(child);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            let _ = child.wait();
        }
    }

    /// Memory that it holds, KiB; 0 where the system doesn't say.
    pub fn resident_kib(&self) -> u64 {
        let Some(child) = &self.child else { return 0 };
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child.id().to_string(), "TERM");
            let _ = child.wait();
        }
    }
}

impl Drop for SyncServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command that is talked with: it says JSON, line by line, and reads answers.
pub struct Dialogue {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// None once it is closed.
    answers: Option<ChildStdin>,
}

impl Dialogue {
    /// Starts `hearth` with `--json`.
    pub fn start(profile: &Profile, arguments: &[&str]) -> Self {
        let mut child = profile
            .command(&[arguments, &["--json"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hearth starts");
        let lines = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let answers = child.stdin.take();
        Self {
            child,
            lines,
            answers,
        }
    }

    /// The next line.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The next event of a type; others are passed over.
    pub fn event(&mut self, kind: &str) -> Value {
        loop {
            let line = self.line();
            if line["type"] == kind {
                return line;
            }
        }
    }

    /// Answers a question.
    pub fn answer(&mut self, text: &str) {
        let answers = self.answers.as_mut().expect("standard input is open");
        answers
            .write_all(format!("{text}\n").as_bytes())
            .expect("the command listens");
    }

    /// The next line of standard error.
    pub fn note(&mut self) -> String {
        let stderr = self.child.stderr.as_mut().expect("standard error is piped");
        let (mut line, mut byte) = (Vec::new(), [0]);
        while std::io::Read::read(stderr, &mut byte).expect("a byte") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("hearth says UTF-8")
    }

    /// Answers nothing more and waits for the end: the exit code, and what stands on standard error.
    pub fn failure(mut self) -> (Option<i32>, String) {
        drop(self.answers.take());
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("standard error is piped");
        std::io::Read::read_to_string(stderr, &mut said).expect("UTF-8");
        (self.child.wait().expect("hearth ends").code(), said)
    }

    /// Ctrl-C; waits for the end, and gives the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        signal(&self.child.id().to_string(), "INT");
        self.child.wait().expect("hearth ends").code()
    }

    /// Waits for the end, which must be a success; the last line.
    pub fn end(mut self) -> Value {
        let mut last = Value::Null;
        let mut line = String::new();
        while self.lines.read_line(&mut line).expect("a line") > 0 {
            last = serde_json::from_str(&line).expect("JSON");
            line.clear();
        }
        let status = self.child.wait().expect("hearth ends");
        assert!(status.success(), "{status}: {last}");
        last
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets `new` into the account of `old` with the code that is typed; both people see the same digits.
pub fn pair(old: &Profile, new: &Profile, server: &SyncServer) {
    let status = let_in(old, new, &server.address, "laptop");
    assert_eq!(status["devices"].as_array().map(Vec::len), Some(2), "{status}");
}

/// The same by a server's address, and with a name for the new device; its status then.
pub fn let_in(old: &Profile, new: &Profile, address: &str, name: &str) -> Value {
    let mut joining = Dialogue::start(new, &["devices", "pair", "--server", address, "--name", name]);
    let code = joining.event("code")["typed"]
        .as_str()
        .expect("a code")
        .to_owned();
    let approving = Dialogue::start(old, &["devices", "approve", &code]);
    agree(approving, joining)
}

/// Both people see the same digits and say so; the new device's status then.
pub fn agree(mut approving: Dialogue, mut joining: Dialogue) -> Value {
    let digits = approving.event("compare")["digits"].clone();
    assert_eq!(joining.event("compare")["digits"], digits);
    assert_eq!(digits.as_str().map(str::len), Some(6));
    approving.answer("yes");
    joining.answer("yes");
    assert_eq!(approving.end()["revoked"], false);
    joining.end()
}

/// Another code with the same first four characters and a check character that fits.
pub fn mistyped(code: &str) -> String {
    let digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let changed = |place: usize, by: usize| {
        let mut letters: Vec<char> = code.chars().collect();
        let at = digits.find(letters[place]).expect("a digit of base 32");
        letters[place] = digits.chars().nth((at + by) % 32).expect("a digit");
        letters
    };
    for by in 1..32 {
        for last in digits.chars() {
            let mut letters = changed(12, by);
            letters[13] = last;
            let text: String = letters.into_iter().collect();
            if hearth_protocol::pairing::TypedCode::parse(&text).is_ok() {
                return text;
            }
        }
    }
    panic!("one of 32 check characters fits");
}
