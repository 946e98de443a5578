//! A real sync server in a process of its own, and two profiles that a person pairs.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::hearth::{Profile, beside, signal};

/// A sync server with a folder of its own. Dropping it ends it.
pub struct SyncServer {
    folder: tempfile::TempDir,
    child: Option<Child>,
    listen: String,
    /// What devices take: `hearth-sync://…`.
    pub address: String,
}

impl SyncServer {
    /// Starts one on a free port; anybody may open accounts.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hearth-sync")
            .tempdir()
            .expect("a temporary folder");
        let mut server = Self {
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

    /// Starts it again where it was.
    pub fn resume(&mut self) {
        let mut child = Command::new(beside("hearth-sync-server"))
            .arg("--data")
            .arg(self.data())
            .args(["--listen", &self.listen, "--metrics", "off", "--accounts", "open"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
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
    answers: ChildStdin,
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
        let answers = child.stdin.take().expect("standard input is piped");
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
        self.answers
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
    let mut joining = Dialogue::start(
        new,
        &["devices", "pair", "--server", &server.address, "--name", "laptop"],
    );
    let code = joining.event("code")["typed"]
        .as_str()
        .expect("a code")
        .to_owned();
    let mut approving = Dialogue::start(old, &["devices", "approve", &code]);
    let digits = approving.event("compare")["digits"].clone();
    assert_eq!(joining.event("compare")["digits"], digits);
    assert_eq!(digits.as_str().map(str::len), Some(6));
    approving.answer("yes");
    joining.answer("yes");
    assert_eq!(approving.end()["revoked"], false);
    let status = joining.end();
    assert_eq!(status["devices"].as_array().map(Vec::len), Some(2), "{status}");
}
