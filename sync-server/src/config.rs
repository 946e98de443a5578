//! Settings: flags over environment over file over defaults, checked once.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_protocol::id::AccountId;
use hearth_transport::{Endpoint, Limits};
use serde::Deserialize;

use crate::admission::Rule;

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file isn't understood; says the line.
    #[error("{path}: {source}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What the reader says.
        source: Box<toml::de::Error>,
    },
    /// A value that makes no sense.
    #[error("{name}: {reason}")]
    Value {
        /// The option.
        name: &'static str,
        /// Why not.
        reason: String,
    },
}

/// Everything that can be set, as it was written. `README.md` says what each option means.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// UDP address to listen on.
    pub listen: Option<String>,
    /// The data folder.
    pub data: Option<PathBuf>,
    /// `host:port` by which devices reach this server.
    pub endpoint: Option<String>,
    /// Address of metrics and health, or `off`.
    pub metrics: Option<String>,
    /// PEM file of a certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub private_key: Option<PathBuf>,
    /// `open`, `invitations` or `list`.
    pub accounts: Option<String>,
    /// Account ids for `list`.
    pub account_list: Option<Vec<String>>,
    /// Space.
    #[serde(default)]
    pub space: RawSpace,
    /// Limits.
    #[serde(default)]
    pub limits: RawLimits,
    /// Logs.
    #[serde(default)]
    pub log: RawLog,
}

/// The section `space`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSpace {
    /// MiB per account.
    pub account_mib: Option<u64>,
    /// MiB of free disk below which nothing but erasures is taken.
    pub reserve_mib: Option<u64>,
    /// Days that the operator keeps backups.
    pub backups_kept_days: Option<u32>,
}

/// The section `limits`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    /// Connections in all.
    pub connections: Option<usize>,
    /// Connections of one address.
    pub connections_per_address: Option<usize>,
    /// Handshakes under way.
    pub handshakes: Option<usize>,
    /// Handshakes under way above which addresses must be proved.
    pub handshakes_before_retry: Option<usize>,
    /// Seconds until the first frame.
    pub first_frame_seconds: Option<u64>,
    /// Seconds of silence until a connection counts as gone.
    pub idle_seconds: Option<u64>,
    /// Requests of an account per second, in the long run.
    pub requests_per_second: Option<u32>,
    /// MiB that an account may send per second, in the long run.
    pub mib_per_second: Option<u64>,
    /// Accounts that may be opened in an hour.
    pub accounts_per_hour: Option<u32>,
}

/// The section `log`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Option<String>,
    /// `text` or `json`.
    pub format: Option<String>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A certificate that the operator was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub private_key: PathBuf,
}

/// Settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// What devices are told; none: the address it listens on.
    pub endpoint: Option<Endpoint>,
    /// Where metrics and health are; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// None: the server makes its own.
    pub certificate: Option<CertificateFiles>,
    /// Who may open accounts.
    pub accounts: Rule,
    /// Free bytes below which nothing but erasures is taken; 0: off.
    pub reserve_bytes: u64,
    /// How long the operator keeps backups.
    pub backups_kept: Duration,
    /// Limits of connections.
    pub limits: Limits,
    /// What one account may use.
    pub account_limits: hearth_relay::Limits,
    /// The lowest level that is logged.
    pub log_level: tracing::Level,
    /// How.
    pub log_format: LogFormat,
}

impl Raw {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::File {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Checks everything and fills in the defaults.
    pub fn check(self) -> Result<Config, ConfigError> {
        let defaults = Limits::default();
        let account = hearth_relay::Limits::default();
        let limits = Limits {
            connections: self.limits.connections.unwrap_or(defaults.connections),
            connections_per_address: at_least_one(
                "limits.connections_per_address",
                self.limits
                    .connections_per_address
                    .unwrap_or(defaults.connections_per_address),
            )?,
            handshakes: at_least_one(
                "limits.handshakes",
                self.limits.handshakes.unwrap_or(defaults.handshakes),
            )?,
            handshakes_before_retry: self
                .limits
                .handshakes_before_retry
                .unwrap_or(defaults.handshakes_before_retry),
            first_frame: self
                .limits
                .first_frame_seconds
                .map_or(defaults.first_frame, Duration::from_secs),
            idle: self
                .limits
                .idle_seconds
                .map_or(defaults.idle, Duration::from_secs),
            ..defaults
        };
        if limits.idle < Duration::from_secs(30) {
            return Err(value(
                "limits.idle_seconds",
                "devices show themselves every 22 s: at least 30",
            ));
        }
        Ok(Config {
            listen: address("listen", self.listen.as_deref().unwrap_or("[::]:4433"))?,
            data: self
                .data
                .ok_or_else(|| value("data", "a folder is needed: --data DIR"))?,
            endpoint: self
                .endpoint
                .map(|text| text.parse().map_err(|error| value("endpoint", error)))
                .transpose()?,
            metrics: match self.metrics.as_deref().unwrap_or("127.0.0.1:9433") {
                "off" => None,
                text => Some(address("metrics", text)?),
            },
            certificate: match (self.certificate, self.private_key) {
                (Some(certificate), Some(private_key)) => Some(CertificateFiles {
                    certificate,
                    private_key,
                }),
                (None, None) => None,
                _ => {
                    return Err(value(
                        "certificate",
                        "it needs private_key beside it, and the other way round",
                    ));
                }
            },
            accounts: rule(
                self.accounts.as_deref().unwrap_or("invitations"),
                self.account_list,
            )?,
            reserve_bytes: mib("space.reserve_mib", self.space.reserve_mib.unwrap_or(256))?,
            backups_kept: Duration::from_secs(
                u64::from(self.space.backups_kept_days.unwrap_or(30)) * 24 * 60 * 60,
            ),
            limits,
            account_limits: hearth_relay::Limits {
                quota_bytes: mib("space.account_mib", self.space.account_mib.unwrap_or(10 << 10))?,
                requests_per_s: self
                    .limits
                    .requests_per_second
                    .unwrap_or(account.requests_per_s)
                    .max(1),
                bytes_per_s: match self.limits.mib_per_second {
                    Some(number) => mib("limits.mib_per_second", number.max(1))?,
                    None => account.bytes_per_s,
                },
                opens_per_hour: self.limits.accounts_per_hour.unwrap_or(account.opens_per_hour),
                ..account
            },
            log_level: self
                .log
                .level
                .as_deref()
                .unwrap_or("info")
                .parse()
                .map_err(|_| value("log.level", "error, warn, info, debug or trace"))?,
            log_format: match self.log.format.as_deref().unwrap_or("text") {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(value("log.format", "text or json")),
            },
        })
    }
}

fn value(name: &'static str, reason: impl std::fmt::Display) -> ConfigError {
    ConfigError::Value {
        name,
        reason: reason.to_string(),
    }
}

fn address(name: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        value(
            name,
            "an IP address and a port, such as [::]:4433 or 127.0.0.1:9433",
        )
    })
}

fn at_least_one(name: &'static str, number: usize) -> Result<usize, ConfigError> {
    if number == 0 {
        Err(value(name, "at least 1"))
    } else {
        Ok(number)
    }
}

fn mib(name: &'static str, number: u64) -> Result<u64, ConfigError> {
    number
        .checked_mul(1 << 20)
        .ok_or_else(|| value(name, "too large"))
}

fn rule(word: &str, list: Option<Vec<String>>) -> Result<Rule, ConfigError> {
    match (word, list) {
        ("list", list) => {
            let accounts = list.unwrap_or_default();
            let accounts = accounts
                .iter()
                .map(|text| account(text))
                .collect::<Result<BTreeSet<_>, _>>()?;
            Ok(Rule::List(accounts))
        }
        (_, Some(_)) => Err(value("account_list", "only with accounts = \"list\"")),
        ("open", None) => Ok(Rule::Open),
        ("invitations", None) => Ok(Rule::Invitations),
        _ => Err(value("accounts", "open, invitations or list")),
    }
}

fn account(text: &str) -> Result<AccountId, ConfigError> {
    parse_account(text).ok_or_else(|| value("account_list", format!("{text:?} is not 64 hexadecimal digits")))
}

/// An account's id as it is shown: 64 hexadecimal digits.
pub fn parse_account(text: &str) -> Option<AccountId> {
    let mut id = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    // `from_str_radix` takes a sign.
    text.bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then_some(AccountId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        Raw::read(&path)?.check()
    }

    #[test]
    fn the_example_in_the_guide_is_the_defaults_written_out() {
        let guide = include_str!("../README.md");
        let example = guide
            .split("```toml\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let written = parse(example).unwrap();
        let defaults = Raw {
            data: Some("/var/lib/hearth-sync".into()),
            ..Raw::default()
        }
        .check()
        .unwrap();
        let endpoint = Some("sync.example.org:4433".parse().unwrap());
        assert_eq!(
            format!("{written:?}"),
            format!("{:?}", Config { endpoint, ..defaults })
        );
        // Every option there is stands in it.
        let source = include_str!("config.rs");
        let raw = source
            .split("pub struct Raw {")
            .nth(1)
            .unwrap()
            .split("/// How logs are")
            .next()
            .unwrap();
        let options = raw
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": Option"));
        for (option, _) in options {
            assert!(
                example.contains(&format!("{option} = ")),
                "{option} isn't in the guide"
            );
        }
    }

    #[test]
    fn a_typo_is_named_with_its_line() {
        let error = parse("data = \"x\"\n[limits]\nconections = 3\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 3") && error.contains("conections"),
            "{error}"
        );
        assert!(
            error.contains("connections_per_address"),
            "what there is: {error}"
        );
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        for (text, name) in [
            ("", "data"),
            ("listen = \"4433\"", "listen"),
            ("endpoint = \"a b\"", "endpoint"),
            ("metrics = \"on\"", "metrics"),
            ("certificate = \"x\"", "certificate"),
            ("accounts = \"some\"", "accounts"),
            ("account_list = []", "account_list"),
            ("accounts = \"list\"\naccount_list = [\"12\"]", "account_list"),
            ("space.account_mib = 9999999999999999", "space.account_mib"),
            ("limits.handshakes = 0", "limits.handshakes"),
            ("limits.idle_seconds = 22", "limits.idle_seconds"),
            ("log.level = \"loud\"", "log.level"),
            ("log.format = \"xml\"", "log.format"),
        ] {
            let data = if text.is_empty() { "" } else { "data = \"x\"\n" };
            match parse(&format!("{data}{text}")) {
                Err(ConfigError::Value { name: named, .. }) => assert_eq!(named, name),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_account_is_64_digits() {
        assert_eq!(parse_account(&"0f".repeat(32)), Some(AccountId([15; 32])));
        for text in ["", "0f", &"+f".repeat(32), &"é".repeat(32), &"0g".repeat(32)] {
            assert_eq!(parse_account(text), None, "{text}");
        }
    }
}
