//! The door to a profile: create, open, change its protection, wipe it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::StoreError;
use crate::key::{KdfCost, Keychain, OsKeychain, Protection, ProtectionKind};
use crate::lock::EngineLock;

/// The encrypted database of a profile.
pub const DATABASE_FILE: &str = "hearth.db";
/// The header with the wrapped key.
pub const KEY_HEADER_FILE: &str = "hearth.key";
/// The file whose lock says that an engine owns the profile.
pub const LOCK_FILE: &str = "engine.lock";

/// How to create or open a profile, where the defaults are not wanted.
#[derive(Clone)]
pub struct StoreOptions {
    /// What stretching a new passphrase costs. Existing ones keep the cost they were made with.
    pub kdf: KdfCost,
    /// Where [`Protection::Keychain`] keeps its entries.
    pub keychain: Arc<dyn Keychain>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            kdf: KdfCost::default(),
            keychain: Arc::new(OsKeychain),
        }
    }
}

/// An open profile. It holds the profile's engine lock until it is dropped.
pub struct Store {
    #[expect(dead_code)]
    connection: Connection,
    #[expect(dead_code)]
    lock: EngineLock,
}

impl Store {
    /// Makes a new, empty profile in `dir`, which is created (mode 0700) when it isn't there, and opens it.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::Locked`], [`StoreError::Keychain`], [`StoreError::KeyFile`],
    /// [`StoreError::Full`].
    pub fn create(dir: &Path, protection: &Protection) -> Result<Store, StoreError> {
        Store::create_with(dir, protection, &StoreOptions::default())
    }

    /// [`Store::create`] with options.
    pub fn create_with(
        dir: &Path,
        protection: &Protection,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        let _ = (dir, protection, options);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Opens the profile in `dir`, brings its schema up to date, and marks messages that a crash cut short as
    /// interrupted.
    ///
    /// # Errors
    /// [`StoreError::NoProfile`], [`StoreError::WrongKey`], [`StoreError::WrongProtection`], [`StoreError::Locked`],
    /// [`StoreError::NewerSchema`], [`StoreError::Corrupt`], [`StoreError::Keychain`], [`StoreError::KeyFile`].
    pub fn open(dir: &Path, protection: &Protection) -> Result<Store, StoreError> {
        Store::open_with(dir, protection, &StoreOptions::default())
    }

    /// [`Store::open`] with options.
    pub fn open_with(
        dir: &Path,
        protection: &Protection,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        let _ = (dir, protection, options);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Like [`Store::open_with`], for a caller that took the profile's lock before (to start other things under it).
    pub fn open_locked(
        lock: EngineLock,
        dir: &Path,
        protection: &Protection,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        let _ = (lock, dir, protection, options);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// How the profile in `dir` is protected: what to ask the user for before opening it.
    ///
    /// # Errors
    /// [`StoreError::NoProfile`]; [`StoreError::Corrupt`] for a damaged header.
    pub fn protection(dir: &Path) -> Result<ProtectionKind, StoreError> {
        let _ = dir;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Protects the profile by `new` from now on; what protected it before no longer opens it. Safe against a crash
    /// at any point: either the old or the new protection opens the profile.
    pub fn change_protection(&mut self, new: &Protection) -> Result<(), StoreError> {
        let _ = new;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Destroys the profile in `dir`: its key header first, which makes everything else unreadable, then its files.
    ///
    /// Files are removed, not overwritten: on flash storage overwriting reaches nothing. A backup, and a copy of
    /// `hearth.key` made before, still open with their passphrase. A key file stays where it is.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while an engine has it open; [`StoreError::NoProfile`].
    pub fn wipe(dir: &Path) -> Result<(), StoreError> {
        Store::wipe_with(dir, &StoreOptions::default())
    }

    /// [`Store::wipe`] with options.
    pub fn wipe_with(dir: &Path, options: &StoreOptions) -> Result<(), StoreError> {
        let _ = (dir, options);
        Err(StoreError::Invalid("not built yet".into()))
    }
}
