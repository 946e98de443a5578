//! One writer per model: a lock file that the system releases when its holder dies.

use crate::models::error::ModelError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

/// Held while a model's folder is changed.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a model, or returns `None` when another process (or task) holds it.
    pub(crate) fn try_acquire(folder: &Path, id: &str) -> Result<Option<Self>, ModelError> {
        // Beside the models and never deleted: a lock file that can vanish protects nothing.
        let locks = folder.join(".locks");
        fs::create_dir_all(&locks).map_err(ModelError::io(&locks))?;
        let path = locks.join(id);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(ModelError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(ModelError::io(&path)(error)),
        }
    }
}
