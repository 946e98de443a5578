//! Key files: a random key in a file of its own, away from the database.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Secret, from_hex, random_secret, to_hex};
use crate::error::StoreError;
use crate::files::{self, Existing};

/// The first word of a key file, before the key in hexadecimal.
const MAGIC: &str = "hearth-key-file-1";

/// The key in the file at `path`.
///
/// # Errors
/// When it isn't there, others than its owner may read it, it lies in `profile_dir`, or it is no key file.
pub(super) fn read(path: &Path, profile_dir: &Path) -> Result<Secret, StoreError> {
    refuse_beside_database(path, profile_dir)?;
    let refuse = |reason: String| StoreError::KeyFile {
        path: path.to_owned(),
        reason,
    };
    let mut file = fs::File::open(path)
        .map_err(|error| refuse(format!("{error}; bring it back to open this profile")))?;
    refuse_shared(&file, path)?;
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.by_ref()
        .take(256)
        .read_to_string(&mut text)
        .map_err(|error| refuse(error.to_string()))?;
    text.trim_end()
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(from_hex::<32>)
        .ok_or_else(|| refuse("it is not a key file, or it is damaged".into()))
}

/// Like [`read`], but makes a new key file first when there is none.
pub(super) fn read_or_create(path: &Path, profile_dir: &Path) -> Result<Secret, StoreError> {
    if path.exists() {
        return read(path, profile_dir);
    }
    refuse_beside_database(path, profile_dir)?;
    let key = random_secret()?;
    let mut text = Zeroizing::new(String::with_capacity(256));
    text.push_str(MAGIC);
    text.push(' ');
    text.push_str(&to_hex(&key[..]));
    text.push('\n');
    files::write_private(path, text.as_bytes(), Existing::Refuse)?;
    Ok(key)
}

fn refuse_beside_database(path: &Path, profile_dir: &Path) -> Result<(), StoreError> {
    let folder = files::parent(path);
    let folder = resolve(&folder, path)?;
    // The file itself may be a link into the folder.
    let file = path.canonicalize().unwrap_or_else(|_| folder.clone());
    let profile = resolve(profile_dir, path)?;
    if folder.starts_with(&profile) || file.starts_with(&profile) {
        return Err(StoreError::KeyFile {
            path: path.to_owned(),
            reason:
                "it lies in the profile's own folder, where whoever takes the database takes the key too; \
                     choose a place outside"
                    .into(),
        });
    }
    Ok(())
}

fn resolve(folder: &Path, key_file: &Path) -> Result<PathBuf, StoreError> {
    folder.canonicalize().map_err(|error| StoreError::KeyFile {
        path: key_file.to_owned(),
        reason: format!("{}: {error}", folder.display()),
    })
}

#[cfg(unix)]
fn refuse_shared(file: &fs::File, path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file
        .metadata()
        .map_err(|error| StoreError::io("read", path, error))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(StoreError::KeyFile {
            path: path.to_owned(),
            reason: format!(
                "others may read it (mode {:o}); run chmod 600 on it",
                metadata.mode() & 0o777
            ),
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_shared(_file: &fs::File, _path: &Path) -> Result<(), StoreError> {
    Ok(())
}
