//! The sync server in a process of its own, and what the kernel says of it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};
use hearth_protocol::control::ServerIdentity;
use hearth_transport::ServerAddress;

/// Limits that a load generator on one address would meet first. Everything else is as it ships.
const CONFIG: &str = "
[limits]
connections = 30000
connections_per_address = 30000
handshakes = 4096
handshakes_before_retry = 4096
accounts_per_hour = 1000000
requests_per_second = 100000
[log]
level = \"error\"
";

/// A running server with a folder of its own. Dropping it ends it.
pub(super) struct Server {
    program: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What accounts name.
    pub(super) identity: ServerIdentity,
    /// What engines take.
    pub(super) url: String,
}

/// The server's program: what was given, or what stands beside this one.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("hearth-sync-server"),
    };
    ensure!(
        path.is_file(),
        "{} is missing: cargo build --release -p hearth-sync-server",
        path.display()
    );
    Ok(path)
}

impl Server {
    /// Starts one on a free port of the loopback interface; anybody may open accounts.
    pub(super) fn start(program: &Path) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("hearth-bench-sync").tempdir()?;
        std::fs::File::create(folder.path().join("config.toml"))?.write_all(CONFIG.as_bytes())?;
        let (child, address, url) = launch(program, folder.path(), "127.0.0.1:0")?;
        let parsed: ServerAddress = url.parse()?;
        let identity = ServerIdentity {
            key: parsed.key,
            endpoint: address.to_string().try_into()?,
        };
        Ok(Server {
            program: program.to_owned(),
            folder,
            child: Some(child),
            address,
            url: format!(
                "hearth-sync://{address}/#{}",
                url.split_once('#').map_or("", |(_, key)| key)
            ),
            identity,
        })
    }

    /// Ends the process in order and starts it again at the same place.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.stop();
        let (child, _, _) = launch(&self.program, self.folder.path(), &self.address.to_string())?;
        self.child = Some(child);
        Ok(())
    }

    /// Its data.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Bytes of memory that it has.
    pub(super) fn resident(&self) -> u64 {
        resident(self.pid())
    }

    /// Seconds of processor time that it has used.
    pub(super) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.pid())
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            let told = Command::new("sh")
                .args(["-c", "kill -s TERM \"$0\"", &pid])
                .status();
            if told.is_err() {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(program: &Path, folder: &Path, listen: &str) -> Result<(Child, SocketAddr, String)> {
    let mut child = Command::new(program)
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--config")
        .arg(folder.join("config.toml"))
        .args(["--listen", listen, "--metrics", "off", "--accounts", "open"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let (mut address, mut url) = (None, String::new());
    let stdout = child.stdout.take().context("no standard output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("address", text)) => text.clone_into(&mut url),
            Some(("listening", text)) => address = Some(text.parse()?),
            _ if line == "ready" => break,
            _ => {}
        }
    }
    let address = address.with_context(|| format!("{} didn't start", program.display()))?;
    Ok((child, address, url))
}

/// Bytes of memory of a process; 0 where the kernel doesn't say.
pub(super) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// Seconds of processor time of a process, in user space and in the kernel; 0 where the kernel doesn't say.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    // Linux counts in hundredths for every architecture's user space.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return 0.0;
    };
    let ticks = |place: usize| {
        let field = rest.split_whitespace().nth(place);
        field.and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / TICKS
}

/// A peer in a process of its own, which says one line of JSON when it is ready. Ended when dropped.
pub(super) struct Peer {
    child: Child,
    _input: Option<ChildStdin>,
    /// What it said.
    pub(super) ready: serde_json::Value,
}

impl Peer {
    /// Starts it.
    pub(super) fn start(command: &mut Command) -> Result<Peer> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let mut line = String::new();
        let stdout = child.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready = serde_json::from_str(&line).with_context(|| format!("the peer said {line:?}"))?;
        Ok(Peer {
            child,
            _input: input,
            ready,
        })
    }

    /// Seconds of processor time that it has used.
    pub(super) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
