//! The real binary as a process, and callers that aren't what they should be.
#![allow(clippy::unwrap_used, dead_code)]

pub(crate) mod device;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hearth_transport::{Closed, Connection, DialError, Dialer, Event, Identity, Limits, ServerAddress};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    pub(crate) address: ServerAddress,
    pub(crate) listening: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

/// The program with nothing of this machine's environment.
pub(crate) fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-sync-server"));
    command.env_clear().arg("--data").arg(data).stdin(Stdio::null());
    command
}

/// Runs a command of the operator to its end.
pub(crate) fn operate(data: &Path, arguments: &[&str]) -> Output {
    program(data).args(arguments).output().unwrap()
}

/// What it printed, of a command that has to succeed.
pub(crate) fn operated(data: &Path, arguments: &[&str]) -> String {
    let output = operate(data, arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What it complained about, of a command that has to fail.
pub(crate) fn complaint(data: &Path, arguments: &[&str]) -> String {
    let output = operate(data, arguments);
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stderr).unwrap()
}

impl Process {
    /// Starts a server that anybody may open accounts on, on ports of its own, and waits until it is ready.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let mut command = program(data);
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--metrics",
                "127.0.0.1:0",
                "--accounts",
                "open",
            ])
            .args(more);
        Self::run(command)
    }

    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        let (mut address, mut listening, mut metrics) = (None, None, None);
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("the server gets ready");
            match line.split_once(' ') {
                Some(("address", text)) => address = Some(text.parse().unwrap()),
                Some(("listening", text)) => listening = Some(text.parse().unwrap()),
                Some(("metrics", text)) => {
                    let text = text
                        .strip_prefix("http://")
                        .unwrap()
                        .strip_suffix("/metrics")
                        .unwrap();
                    metrics = Some(text.parse().unwrap());
                }
                _ => {}
            }
            if line == "ready" {
                break;
            }
        }
        Self {
            child,
            lines,
            address: address.unwrap(),
            listening: listening.unwrap(),
            metrics: metrics.unwrap_or((Ipv4Addr::LOCALHOST, 1).into()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// SIGTERM, and whether it ended well.
    pub(crate) fn terminate(mut self) -> bool {
        self.signal("TERM");
        // Its output ends when it does.
        let ended = std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).count();
        assert_eq!(ended, 0, "it says nothing more on stdout");
        self.child.wait().unwrap().success()
    }

    /// Resident memory, KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The body and the status of a page of its metrics' address.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// One of its metrics.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, body) = self.page("/metrics");
        let line = body
            .lines()
            .find_map(|line| line.strip_prefix(&format!("hearth_sync_{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {body}"))
            .parse()
            .unwrap()
    }

    /// Waits until a metric is so.
    pub(crate) async fn until(&self, name: &str, is: impl Fn(u64) -> bool) {
        let wait = async {
            while !is(self.metric(name)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("{name} stays {}", self.metric(name)));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Calls as a device with this transport key.
pub(crate) async fn call(address: SocketAddr, seed: u8) -> Result<Connection, DialError> {
    let dialer = Dialer::new(UdpSocket::bind("127.0.0.1:0").unwrap(), Limits::default()).unwrap();
    dialer
        .connect(&Identity::from_seed(&[seed; 32]).unwrap(), address, "localhost")
        .await
}

/// The next event, in time.
pub(crate) async fn next(connection: &mut Connection) -> Event {
    tokio::time::timeout(PATIENCE, connection.events.next())
        .await
        .expect("an event in time")
}

/// How it ends; what comes before is dropped.
pub(crate) async fn closed(connection: &mut Connection) -> Closed {
    loop {
        if let Event::Closed(closed) = next(connection).await {
            return closed;
        }
    }
}

/// A caller of QUIC that isn't Hearth: any protocol name, with or without a certificate.
pub(crate) fn stranger(alpn: &[u8]) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!()
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
