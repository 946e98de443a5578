//! Files that are not whole yet: where they lie.

use crate::models::error::ModelError;
use std::fs;
use std::path::{Path, PathBuf};

/// The bytes fetched so far.
pub(crate) fn data_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.part"))
}

/// What is known about the bytes fetched so far.
pub(crate) fn journal_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.part.json"))
}

/// Revision and digests that the first pull took from a hub.
pub(crate) fn pin_path(folder: &Path) -> PathBuf {
    folder.join(".pin.json")
}

/// Folder for packages on their way.
pub(crate) fn scratch_path(folder: &Path) -> PathBuf {
    folder.join(".packages")
}

/// Deletes what a killed pull left of packages; returns the bytes freed.
pub(crate) fn remove_scratch(folder: &Path) -> Result<u64, ModelError> {
    let scratch = scratch_path(folder);
    if !scratch.is_dir() {
        return Ok(0);
    }
    let bytes = folder_bytes(&scratch);
    fs::remove_dir_all(&scratch).map_err(ModelError::io(&scratch))?;
    Ok(bytes)
}

/// Bytes of the regular files below a folder; what vanishes meanwhile counts nothing.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(listing) = fs::read_dir(folder) else {
        return 0;
    };
    listing
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
            _ => 0,
        })
        .sum()
}
