//! Files that are private to the user, and written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// What to do when the file to write is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Refuse,
}

/// Creates the folder `dir` for this user alone (mode 0700 on Unix); an existing one stays as it is.
pub(crate) fn create_private_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|error| StoreError::io("create", dir, error))
}

/// A new file that only this user can read (mode 0600 on Unix). Fails when `path` exists.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes `bytes` to `path` so that after a crash there is either what was there before or all of `bytes`.
pub(crate) fn write_private(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), StoreError> {
    let temporary = with_suffix(path, ".tmp");
    remove_if_there(&temporary)?;
    let written = create_private(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| StoreError::io("write", &temporary, error))
        .and_then(|()| publish(&temporary, path, existing));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Gives the finished file `temporary` its name, durably.
pub(crate) fn publish(temporary: &Path, path: &Path, existing: Existing) -> Result<(), StoreError> {
    if existing == Existing::Refuse && path.exists() {
        return Err(StoreError::AlreadyExists {
            path: path.to_owned(),
        });
    }
    fs::rename(temporary, path).map_err(|error| StoreError::io("rename", temporary, error))?;
    sync_parent(path)
}

/// Makes the names in the folder of `path` durable. Only Unix needs and allows it.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        let parent = parent(path);
        File::open(&parent)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| StoreError::io("sync", &parent, error))?;
    }
    let _ = path;
    Ok(())
}

/// The folder of `path`; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Removes a file; says whether it was there.
pub(crate) fn remove_if_there(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", path, error)),
    }
}

/// `path` with `suffix` behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
