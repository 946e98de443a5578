//! Fetching a model: sources in order, resumable, verified before it counts as ready.

pub mod http;

mod folder;
mod hub;
pub(crate) mod lock;
mod packages;
pub(crate) mod partial;
pub(crate) mod progress;

use super::digest::Sha256Hex;
use super::error::{FailureKind, ModelError, PullError, SourceFailure, wrong_digest};
use super::events::PullEvent;
use super::files;
use super::manifest::{Manifest, Source};
use super::marker::{FOUND, Installed, InstalledFile};
use super::store::{ModelState, ModelStore, StoreOptions};
use lock::Lock;
use partial::Partial;
use progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long to wait before asking again for a lock that another process holds.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Cancelled by the caller to stop; what was fetched is kept.
    pub cancel: CancellationToken,
    /// What to do when another process pulls the same model.
    pub lock: LockWait,
}

/// What to do when another process works on the same model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockWait {
    /// Wait until it is done, and use what it fetched.
    #[default]
    Wait,
    /// Fail with [`ModelError::Busy`].
    Fail,
}

/// A file as it must be in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Hex,
}

/// Why a source's work ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The source's fault: the next one is tried.
    Source(FailureKind, String),
    /// This machine's: the pull ends.
    Model(ModelError),
}

impl Stop {
    pub(crate) fn wrong_content(reason: impl Into<String>) -> Self {
        Self::Source(FailureKind::WrongContent, reason.into())
    }

    pub(crate) fn unreachable(reason: impl Into<String>) -> Self {
        Self::Source(FailureKind::Unreachable, reason.into())
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Source(FailureKind::Refused, reason.into())
    }
}

impl From<ModelError> for Stop {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

/// A source opened for one model: what it will give, and how.
enum Opened<'a> {
    Folder(folder::Folder),
    Hub(Box<hub::Hub>),
    Packages(packages::Packages<'a>),
}

/// One place to try.
enum Place<'a> {
    Folder(&'a Path),
    Source(&'a Source),
}

impl ModelStore {
    /// Makes a model ready: adopts files that are here, goes on with partial ones, fetches the rest.
    /// A model that is ready is returned at once, without the network.
    ///
    /// # Errors
    /// [`PullError::AllSourcesFailed`] with each source's reason; [`ModelError::NoSpace`], [`ModelError::Cancelled`],
    /// [`ModelError::Busy`], [`ModelError::Unknown`], [`ModelError::Io`]. What was fetched is kept.
    pub async fn pull(
        &self,
        id: &str,
        options: &PullOptions,
        events: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<Installed, PullError> {
        let manifest = self.manifest(id)?;
        let mut report = Reporter::new(id, manifest.size_bytes(), &options.cancel, events);
        if let (ModelState::Ready, Some(installed)) = self.state_of(&manifest)? {
            report.ready(true);
            return Ok(installed);
        }
        let folder = self.model_folder(id);
        fs::create_dir_all(&folder).map_err(ModelError::io(&folder))?;
        let _lock = self.lock(id, options.lock, &mut report).await?;
        if let (ModelState::Ready, Some(installed)) = self.state_of(&manifest)? {
            report.ready(true);
            return Ok(installed);
        }
        let installed = self.fetch(&manifest, &folder, &mut report).await?;
        report.ready(false);
        Ok(installed)
    }

    pub(super) async fn lock(
        &self,
        id: &str,
        wait: LockWait,
        report: &mut Reporter<'_>,
    ) -> Result<Lock, ModelError> {
        let mut told = false;
        loop {
            if let Some(lock) = Lock::try_acquire(self.folder(), id)? {
                return Ok(lock);
            }
            if wait == LockWait::Fail {
                return Err(ModelError::Busy { id: id.into() });
            }
            if !std::mem::replace(&mut told, true) {
                report.waiting();
            }
            tokio::select! {
                () = report.cancel().clone().cancelled_owned() => return Err(ModelError::Cancelled),
                () = tokio::time::sleep(LOCK_INTERVAL) => {}
            }
        }
    }

    async fn fetch(
        &self,
        manifest: &Manifest,
        folder: &Path,
        report: &mut Reporter<'_>,
    ) -> Result<Installed, PullError> {
        let mut failures = Vec::new();
        if let Some(adopted) = self.adopt(manifest, folder, report).await? {
            return Ok(adopted);
        }
        for place in places(&self.options, manifest) {
            report.check_cancelled()?;
            let name = describe(&self.options, &place);
            match self.fetch_from(&place, &name, manifest, folder, report).await {
                Ok(Some(installed)) => return Ok(installed),
                Ok(None) => {}
                Err(Stop::Model(error)) => return Err(error.into()),
                Err(Stop::Source(kind, reason)) => {
                    let failure = SourceFailure {
                        source: name,
                        kind,
                        reason,
                    };
                    tracing::info!(
                        id = manifest.id,
                        source = failure.source,
                        reason = failure.reason,
                        "source failed"
                    );
                    report.source_failed(&failure);
                    failures.push(failure);
                }
            }
        }
        if self.options.offline && failures.is_empty() {
            failures.push(SourceFailure {
                source: "network".into(),
                kind: FailureKind::Unreachable,
                reason: "not asked, as this machine is to stay offline".into(),
            });
        }
        Err(PullError::AllSourcesFailed {
            id: manifest.id.clone(),
            failures,
        })
    }

    /// Takes files that lie here already, all of them whole and right, as the model.
    async fn adopt(
        &self,
        manifest: &Manifest,
        folder: &Path,
        report: &mut Reporter<'_>,
    ) -> Result<Option<Installed>, ModelError> {
        let Some(wanted) = pinned(manifest) else {
            return Ok(None);
        };
        if !wanted
            .iter()
            .all(|file| matches!(files::size_of(&folder.join(&file.name)), Ok(Some(_))))
        {
            return Ok(None);
        }
        report.start(manifest.size_bytes());
        for file in &wanted {
            if !keep_if_right(folder, file, report).await? {
                return Ok(None);
            }
        }
        let earlier = Installed::read(folder)?;
        let source = earlier
            .as_ref()
            .map_or_else(|| FOUND.into(), |marker| marker.source.clone());
        Ok(Some(install(
            manifest,
            folder,
            &wanted,
            source,
            earlier.and_then(|marker| marker.revision),
        )?))
    }

    /// `None`: this place hasn't the model, which is no failure.
    async fn fetch_from(
        &self,
        place: &Place<'_>,
        name: &str,
        manifest: &Manifest,
        folder: &Path,
        report: &mut Reporter<'_>,
    ) -> Result<Option<Installed>, Stop> {
        let (mut opened, wanted) = match place {
            Place::Folder(mirror) => {
                let Some((opened, wanted)) = folder::open(mirror, manifest)? else {
                    return Ok(None);
                };
                report.source(name);
                (Opened::Folder(opened), wanted)
            }
            Place::Source(Source::Hub(source)) => {
                report.source(name);
                let (opened, wanted) = hub::open(&self.options, source, manifest, folder, report).await?;
                (Opened::Hub(Box::new(opened)), wanted)
            }
            Place::Source(Source::Packages(source)) => {
                report.source(name);
                let wanted =
                    pinned(manifest).ok_or_else(|| Stop::refused("the manifest states no digest"))?;
                let opened = packages::open(&self.options, source, folder, report.cancel()).await?;
                (Opened::Packages(opened), wanted)
            }
        };
        self.check_space(&opened, folder, &wanted)?;
        report.start(wanted.iter().map(|file| file.size).sum());
        for file in &wanted {
            if !keep_if_right(folder, file, report).await? {
                fetch_file(&mut opened, file, folder, report).await?;
            }
            report.file_done(file.size);
        }
        let revision = match &opened {
            Opened::Hub(hub) => Some(hub.revision().to_owned()),
            Opened::Folder(_) | Opened::Packages(_) => None,
        };
        Ok(Some(install(manifest, folder, &wanted, name.into(), revision)?))
    }

    fn check_space(&self, opened: &Opened<'_>, folder: &Path, wanted: &[Wanted]) -> Result<(), ModelError> {
        let mut missing = 0;
        for file in wanted {
            let here = |path: &Path| files::size_of(path).ok().flatten().unwrap_or(0);
            let whole = here(&folder.join(&file.name));
            let bytes = if whole > 0 {
                whole
            } else {
                here(&partial::data_path(folder, &file.name))
            };
            missing += file.size.saturating_sub(bytes);
        }
        if let Opened::Packages(packages) = opened {
            // A package on its way and its unpacked part are there at once.
            missing += packages.largest_part().min(missing);
        }
        let needed_bytes = missing + self.options.disk_margin_bytes;
        let available_bytes = (self.options.free_disk_bytes)(folder).map_err(ModelError::io(folder))?;
        if missing > 0 && available_bytes < needed_bytes {
            return Err(ModelError::NoSpace {
                path: folder.into(),
                needed_bytes,
                available_bytes,
            });
        }
        Ok(())
    }
}

/// Everything to try, in order: folders first, as they cost nothing.
fn places<'a>(options: &'a StoreOptions, manifest: &'a Manifest) -> Vec<Place<'a>> {
    let folders = options.folders.iter().map(|folder| Place::Folder(folder));
    let sources = manifest
        .sources
        .iter()
        .filter(|_| !options.offline)
        .map(Place::Source);
    folders.chain(sources).collect()
}

fn describe(options: &StoreOptions, place: &Place<'_>) -> String {
    match place {
        Place::Folder(folder) => format!("folder {}", folder.display()),
        Place::Source(Source::Hub(hub)) => {
            format!("{}/{}", options.hub_url.trim_end_matches('/'), hub.repository)
        }
        Place::Source(Source::Packages(packages)) => {
            let mut parts = packages.files.iter().flat_map(|file| &file.parts);
            let first = parts
                .next()
                .map_or_else(String::new, |part| format!(" {}=={}", part.package, part.version));
            let more = if parts.next().is_some() { " …" } else { "" };
            format!("package registry:{first}{more}")
        }
    }
}

/// The files with the digests that the manifest states; `None` where it leaves one open.
fn pinned(manifest: &Manifest) -> Option<Vec<Wanted>> {
    let files = manifest.files.iter();
    files
        .map(|file| {
            file.sha256.map(|sha256| Wanted {
                name: file.name.clone(),
                size: file.size,
                sha256,
            })
        })
        .collect()
}

/// Whether the file lies here already with the right digest. One with a wrong digest is deleted.
async fn keep_if_right(
    folder: &Path,
    wanted: &Wanted,
    report: &mut Reporter<'_>,
) -> Result<bool, ModelError> {
    let path = folder.join(&wanted.name);
    match files::size_of(&path).map_err(ModelError::io(&path))? {
        None => return Ok(false),
        Some(size) if size == wanted.size => {
            let actual = partial::digest_of(&path, &wanted.name, report).await?;
            if actual == wanted.sha256 {
                return Ok(true);
            }
            report.restarted(&wrong_digest(&wanted.name, wanted.sha256, actual));
        }
        Some(size) => report.restarted(&format!("{} has {size} bytes, not {}", wanted.name, wanted.size)),
    }
    files::remove_if_there(&path).map_err(ModelError::io(&path))?;
    Ok(false)
}

async fn fetch_file(
    opened: &mut Opened<'_>,
    wanted: &Wanted,
    folder: &Path,
    report: &mut Reporter<'_>,
) -> Result<(), Stop> {
    let mut partial = Partial::open(folder, wanted, report).await?;
    let mut repeated = false;
    loop {
        let result = match opened {
            Opened::Folder(source) => source.fetch(&mut partial, report).await,
            Opened::Hub(source) => source.fetch(&mut partial, report).await,
            Opened::Packages(source) => source.fetch(&mut partial, report).await,
        };
        partial.flush().await?;
        result?;
        report.flush();
        let again = partial.is_continued() && !std::mem::replace(&mut repeated, true);
        let (mut wrong, actual) = match partial.finish().await? {
            Ok(()) => return Ok(()),
            Err(wrong) => wrong,
        };
        let reason = wrong_digest(&wanted.name, wanted.sha256, actual);
        wrong.restart().await?;
        if !again {
            return Err(Stop::wrong_content(reason));
        }
        // The fault may lie in how bytes of different times were joined: once more from the first byte.
        report.restarted(&reason);
        partial = wrong;
    }
}

/// Writes the marker: from here on the model is ready.
fn install(
    manifest: &Manifest,
    folder: &Path,
    wanted: &[Wanted],
    source: String,
    revision: Option<String>,
) -> Result<Installed, ModelError> {
    let files = wanted
        .iter()
        .map(|file| InstalledFile {
            name: file.name.clone(),
            size: file.size,
            sha256: file.sha256,
        })
        .collect();
    let installed = Installed::new(manifest, files, source, revision);
    installed.write(folder)?;
    let pin: PathBuf = partial::pin_path(folder);
    files::remove_if_there(&pin).map_err(ModelError::io(&pin))?;
    for file in wanted {
        for left in [
            partial::data_path(folder, &file.name),
            partial::journal_path(folder, &file.name),
        ] {
            files::remove_if_there(&left).map_err(ModelError::io(&left))?;
        }
    }
    partial::remove_scratch(folder)?;
    Ok(installed)
}
