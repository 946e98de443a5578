//! The command line: adapts, decides nothing.

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hearth_sync_server::config::{Config, ConfigError, LogFormat, Raw, parse_account};
use hearth_sync_server::operate::{self, OperateError};
use hearth_sync_server::{Died, Server, StartError};
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The blind sync server of Hearth: it stores and forwards what it can't read.
#[derive(Debug, Parser)]
#[command(version, about, args_override_self = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    options: Options,
    /// Without a command the server runs.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Args)]
struct Options {
    /// The data folder: identity, database, lock
    #[arg(long, env = "HEARTH_SYNC_DATA", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// UDP address to listen on [default: [::]:4433]
    #[arg(long, env = "HEARTH_SYNC_LISTEN", value_name = "ADDR", global = true)]
    listen: Option<String>,
    /// host:port by which devices reach this server
    #[arg(long, env = "HEARTH_SYNC_ENDPOINT", value_name = "HOST:PORT", global = true)]
    endpoint: Option<String>,
    /// Settings, TOML: see the guide
    #[arg(long, env = "HEARTH_SYNC_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Who may open an account: open, invitations or list [default: invitations]
    #[arg(long, env = "HEARTH_SYNC_ACCOUNTS", value_name = "WHO", global = true)]
    accounts: Option<String>,
    /// Address of metrics and health, or off [default: 127.0.0.1:9433]
    #[arg(long, env = "HEARTH_SYNC_METRICS", value_name = "ADDR", global = true)]
    metrics: Option<String>,
    /// PEM file of a certificate chain; without one the server makes its own
    #[arg(long, env = "HEARTH_SYNC_CERTIFICATE", value_name = "FILE", global = true)]
    certificate: Option<PathBuf>,
    /// PEM file of the certificate's key
    #[arg(long, env = "HEARTH_SYNC_PRIVATE_KEY", value_name = "FILE", global = true)]
    private_key: Option<PathBuf>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, env = "HEARTH_SYNC_LOG", value_name = "LEVEL", global = true)]
    log: Option<String>,
    /// text or json [default: text]
    #[arg(long, env = "HEARTH_SYNC_LOG_FORMAT", value_name = "FORMAT", global = true)]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the address with the server's key, for the first device of an account
    Fingerprint,
    /// Print a code that lets one account be opened
    Invite {
        /// How long it is good for
        #[arg(long, default_value_t = 7, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
    },
    /// List the accounts and what they use
    Accounts,
    /// Delete everything of an account
    PurgeAccount {
        /// Its id, as `accounts` prints it
        #[arg(value_name = "ID")]
        id: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// Copy the database to FILE, and the server's key to FILE.key; the server may run
    Backup {
        /// A file that doesn't exist yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a backup in the place of the database; the server must not run
    Restore {
        /// A file that `backup` made
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Don't read the database that is replaced: what it alone knows to be erased comes back until a device says so
        #[arg(long)]
        without_replay: bool,
    },
    /// Look everything over without changing it
    Check,
}

/// What ends the program with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Operate(#[from] OperateError),
    #[error("{0}")]
    Died(#[from] Died),
    #[error("the address {address} ({what}) is taken: is another server running?")]
    Taken { address: SocketAddr, what: &'static str },
    #[error("{what} on {address}: {source}")]
    Bind {
        address: SocketAddr,
        what: &'static str,
        source: io::Error,
    },
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Said(String),
}

impl Cli {
    /// Flags and environment over the file over the defaults.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        let options = &self.options;
        let mut raw = match &options.config {
            Some(path) => Raw::read(path)?,
            None => Raw::default(),
        };
        over(&mut raw.data, options.data.as_ref());
        over(&mut raw.listen, options.listen.as_ref());
        over(&mut raw.endpoint, options.endpoint.as_ref());
        over(&mut raw.accounts, options.accounts.as_ref());
        over(&mut raw.metrics, options.metrics.as_ref());
        over(&mut raw.certificate, options.certificate.as_ref());
        over(&mut raw.private_key, options.private_key.as_ref());
        over(&mut raw.log.level, options.log.as_ref());
        over(&mut raw.log.format, options.log_format.as_ref());
        raw.check()
    }
}

fn over<T: Clone>(value: &mut Option<T>, stronger: Option<&T>) {
    if let Some(stronger) = stronger {
        *value = Some(stronger.clone());
    }
}

/// Runs the server until it is asked to end.
#[tokio::main]
pub(crate) async fn serve(config: Config) -> Result<(), Failure> {
    start_logs(&config);
    let socket = bound(config.listen, "UDP", UdpSocket::bind)?;
    let metrics = config
        .metrics
        .map(|address| bound(address, "TCP", TcpListener::bind))
        .transpose()?;
    let server = Server::bind(config, socket, metrics, asked_to_end())?;
    let mut out = io::stdout().lock();
    writeln!(out, "address {}", server.address())?;
    writeln!(out, "listening {}", server.local_address())?;
    if let Some(metrics) = server.metrics_address() {
        writeln!(out, "metrics http://{metrics}/metrics")?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    drop(out);
    Ok(server.run(asked_to_reload()).await?)
}

fn bound<T>(
    address: SocketAddr,
    what: &'static str,
    bind: fn(SocketAddr) -> io::Result<T>,
) -> Result<T, Failure> {
    bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Failure::Taken { address, what },
        _ => Failure::Bind {
            address,
            what,
            source,
        },
    })
}

fn start_logs(config: &Config) {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let shown = shown(LevelFilter::from_level(config.log_level));
    match config.log_format {
        LogFormat::Text => tracing_subscriber::registry().with(shown).with(layer).init(),
        LogFormat::Json => tracing_subscriber::registry()
            .with(shown)
            .with(layer.json())
            .init(),
    }
}

/// What is logged. The QUIC library names callers' addresses in its warnings: it is heard at `debug` and below alone.
fn shown(level: LevelFilter) -> Targets {
    let library = if level >= LevelFilter::DEBUG {
        level
    } else {
        LevelFilter::OFF
    };
    Targets::new()
        .with_default(level)
        .with_target("quinn", library)
        .with_target("quinn_proto", library)
        .with_target("quinn_udp", library)
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tokio::signal::ctrl_c().await.ok();
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    tokio::signal::ctrl_c().await.ok();
}

#[cfg(unix)]
fn asked_to_reload() -> mpsc::Receiver<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = mpsc::channel(1);
    if let Ok(mut hangup) = signal(SignalKind::hangup()) {
        tokio::spawn(async move { while hangup.recv().await.is_some() && sender.send(()).await.is_ok() {} });
    }
    receiver
}

#[cfg(not(unix))]
fn asked_to_reload() -> mpsc::Receiver<()> {
    mpsc::channel(1).1
}

/// Does what a command says and prints what comes of it.
pub(crate) fn operate(config: &Config, command: &Command) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match command {
        Command::Fingerprint => writeln!(out, "{}", operate::fingerprint(config)?)?,
        Command::Invite { days } => writeln!(out, "{}", operate::invite(config, *days)?)?,
        Command::Accounts => {
            for size in operate::accounts(config)? {
                writeln!(out, "{} {} items {} bytes", size.account, size.items, size.bytes)?;
            }
        }
        Command::PurgeAccount { id, yes } => {
            let account = parse_account(id).ok_or_else(|| {
                Failure::Said(format!("{id:?} is not an account's id: 64 hexadecimal digits"))
            })?;
            if !yes && !agreed(id)? {
                return Err(Failure::Said("nothing was deleted".into()));
            }
            if !operate::purge(config, &account)? {
                return Err(Failure::Said("there is no such account".into()));
            }
            writeln!(out, "purged")?;
        }
        Command::Backup { file } => {
            let key = operate::backup(config, file)?;
            writeln!(out, "database {}\nkey {}", file.display(), key.display())?;
        }
        Command::Restore { file, without_replay } => {
            let restored = operate::restore(config, file, !without_replay)?;
            writeln!(out, "accounts {}", restored.accounts)?;
            writeln!(out, "erasures carried out {}", restored.erasures)?;
            writeln!(out, "erasures left to devices {}", restored.left_to_devices)?;
            writeln!(out, "accounts purged again {}", restored.purged)?;
            writeln!(out, "accounts on another branch {}", restored.forked)?;
        }
        Command::Check => {
            let found = operate::check(config)?;
            if !found.is_empty() {
                return Err(Failure::Said(found.join("\n")));
            }
            writeln!(out, "all is well")?;
        }
    }
    Ok(())
}

fn agreed(id: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        eprintln!("This can't be undone, and there is no terminal to ask on: add --yes if you are sure.");
        return Ok(false);
    }
    eprint!("Delete everything of account {id}? Type yes: ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_quic_library_is_silent_unless_one_asks_for_details() {
        for (level, heard) in [
            (LevelFilter::INFO, false),
            (LevelFilter::WARN, false),
            (LevelFilter::DEBUG, true),
        ] {
            let shown = shown(level);
            for target in ["quinn", "quinn_proto::connection", "quinn_udp"] {
                assert_eq!(
                    shown.would_enable(target, &Level::WARN),
                    heard,
                    "{target} at {level}"
                );
            }
            assert!(shown.would_enable("hearth_sync_server::server", &Level::ERROR));
        }
    }
}
