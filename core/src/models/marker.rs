//! `<id>/manifest.json`: the marker that makes a model ready, and the record of what was verified.

use super::digest::Sha256Hex;
use super::error::ModelError;
use super::files;
use super::manifest::Manifest;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Name of the marker inside a model's folder.
pub(crate) const FILE_NAME: &str = "manifest.json";
/// Source of files that a person put there.
pub(crate) const FOUND: &str = "found in its folder";
const SCHEMA: u32 = 1;
const MAX_BYTES: u64 = 1 << 20;

/// A model that was fetched or imported, with what was verified then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// Version of this record's format.
    pub schema: u32,
    /// The manifest as it was, with sizes and digests filled in.
    pub manifest: Manifest,
    /// Where the bytes came from, for people.
    pub source: String,
    /// Commit at the hub, where they came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files with their verified digests.
    pub files: Vec<InstalledFile>,
    /// Set when a later verification found a file damaged: the model is not ready then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// One verified file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledFile {
    /// Name inside the model's folder.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest that was computed from the bytes on disk.
    pub sha256: Sha256Hex,
}

impl Installed {
    /// A record of verified files; the manifest gets their sizes and digests.
    pub(crate) fn new(
        manifest: &Manifest,
        files: Vec<InstalledFile>,
        source: String,
        revision: Option<String>,
    ) -> Self {
        let mut manifest = manifest.clone();
        for file in &mut manifest.files {
            if let Some(verified) = files.iter().find(|verified| verified.name == file.name) {
                file.size = verified.size;
                file.sha256 = Some(verified.sha256);
            }
        }
        Self {
            schema: SCHEMA,
            manifest,
            source,
            revision,
            files,
            damaged: None,
        }
    }

    /// Reads the marker of a model's folder; `None` where there is none or it can't be understood.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, ModelError> {
        let path = folder.join(FILE_NAME);
        let text = match files::read_small(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(ModelError::io(&path)(error)),
        };
        Ok(serde_json::from_str::<Self>(&text)
            .ok()
            .filter(|marker| marker.schema == SCHEMA && marker.manifest.validate().is_ok()))
    }

    /// Writes the marker so that a crash leaves either the old or the new one.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let path = folder.join(FILE_NAME);
        let text = serde_json::to_vec_pretty(self).map_err(|error| ModelError::Io {
            path: path.clone(),
            source: error.into(),
        })?;
        files::write_atomically(&path, &text).map_err(ModelError::io(&path))
    }
}
