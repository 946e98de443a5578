//! Starting the engine in the background. The passphrase goes through a pipe, never through arguments or environment.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hearth_api::{ApiError, ErrorCode};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::Profile;
use crate::failure::{Failure, plain};

/// Seconds without clients and work after which a background engine ends.
const IDLE_EXIT_S: u64 = 600;
const START_PATIENCE: Duration = Duration::from_mins(1);
const LARGEST_LOG_BYTES: u64 = 1 << 20;

/// What a started engine says on its standard output, once, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Started {
    /// Others can attach.
    Ready,
    /// It couldn't start.
    Failed(ApiError),
}

/// Starts `hearth engine` and waits until it can be attached to.
pub(super) async fn engine(profile: &Profile) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| cannot_start(&error))?;
    let mut command = Command::new(program);
    command
        .arg("engine")
        .arg("--spawned")
        .arg("--idle-exit")
        .arg(IDLE_EXIT_S.to_string());
    command.arg("--home").arg(&profile.home);
    if profile.key_file_given {
        command.arg("--key-file").arg(&profile.key_file);
    }
    if let Some(models) = &profile.models {
        command.env("HEARTH_MODELS", models);
    }
    if let Some(size) = profile.size {
        command.arg("--profile").arg(format!("{size:?}").to_lowercase());
    }
    command
        .env_remove("HEARTH_PASSPHRASE")
        .env_remove("HEARTH_NEW_PASSPHRASE")
        .current_dir(&profile.home);
    let log = log_file(&profile.home).map_or_else(|_| Stdio::null(), Stdio::from);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(|error| cannot_start(&error))?;
    if let Some(mut pipe) = child.stdin.take()
        && let Some(passphrase) = profile.passphrase()
    {
        pipe.write_all(passphrase.as_bytes())
            .await
            .map_err(|error| cannot_start(&error))?;
    }
    let Some(stdout) = child.stdout.take() else {
        return Err(died());
    };
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    match tokio::time::timeout(START_PATIENCE, reader.read_line(&mut line)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(cannot_start(&error)),
        Err(_) => {
            return Err(Failure::new(
                ErrorCode::Disconnected,
                "The engine didn't start within a minute.",
            ));
        }
    }
    match serde_json::from_str(&line) {
        Ok(Started::Ready) => Ok(()),
        Ok(Started::Failed(error)) => Err(error.into()),
        Err(_) => Err(died()),
    }
}

/// Messages of background engines; never text of a chat.
fn log_file(home: &Path) -> io::Result<File> {
    let folder = home.join("logs");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("engine.log");
    let too_large = path
        .metadata()
        .is_ok_and(|metadata| metadata.len() > LARGEST_LOG_BYTES);
    let mut options = OpenOptions::new();
    options.create(true);
    if too_large {
        options.write(true).truncate(true)
    } else {
        options.append(true)
    };
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::new(
        ErrorCode::Disconnected,
        format!("The engine can't be started: {}.", plain(error)),
    )
}

fn died() -> Failure {
    Failure::new(ErrorCode::Disconnected, "The engine ended while it started.")
        .hint("Its messages are in logs/engine.log in the profile's folder. `hearth --in-process status -vv` shows more.")
}
