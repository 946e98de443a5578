//! Encrypted backup to one file, and restoring from it.

use std::path::Path;

use crate::error::StoreError;
use crate::key::Protection;
use crate::store::{Store, StoreOptions};

impl Store {
    /// Writes a consistent copy of the whole profile to the new file `to`, encrypted under `passphrase` alone: it
    /// needs no other file and no keychain to come back. The store can be in use; the file appears complete or not
    /// at all.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when `to` is there; [`StoreError::Full`].
    pub fn backup(&self, to: &Path, passphrase: &str) -> Result<(), StoreError> {
        let _ = (to, passphrase);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Makes a profile in `dir` from the backup `from`, protected by `protection`, after verifying every page of it.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when `dir` has a profile; [`StoreError::WrongKey`]; [`StoreError::Corrupt`];
    /// [`StoreError::NewerSchema`]. `dir` is left without a profile then.
    pub fn restore(
        from: &Path,
        passphrase: &str,
        dir: &Path,
        protection: &Protection,
    ) -> Result<Store, StoreError> {
        Store::restore_with(from, passphrase, dir, protection, &StoreOptions::default())
    }

    /// [`Store::restore`] with options.
    pub fn restore_with(
        from: &Path,
        passphrase: &str,
        dir: &Path,
        protection: &Protection,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        let _ = (from, passphrase, dir, protection, options);
        Err(StoreError::Invalid("not built yet".into()))
    }
}
