//! The profile as a whole: what opens it, backups, its end.

use std::path::{Path, PathBuf};

use hearth_store::{DATABASE_FILE, KEY_HEADER_FILE, Protection, Store};
use zeroize::Zeroizing;

use super::incognito::Incognito;
use super::{Engine, Result, io_error, lock, settings, unlock};
use crate::error::EngineError;
use crate::types::{EngineEvent, NewProtection};

/// What a file is called while a restored one takes its place.
const SET_ASIDE: &str = "before-restore";

impl Engine {
    /// Changes what opens the profile. Errors: [`EngineError::WrongKey`] when the profile has a passphrase and
    /// `current_passphrase` is another.
    pub async fn change_protection(
        &self,
        current_passphrase: Option<String>,
        new: NewProtection,
    ) -> Result<()> {
        let current_passphrase = current_passphrase.map(Zeroizing::new);
        if let Protection::Passphrase(current) = &*lock(&self.inner.protection) {
            match current_passphrase {
                None => {
                    return Err(EngineError::Locked {
                        needs: "the present passphrase",
                    });
                }
                Some(given) if given != *current => return Err(EngineError::WrongKey),
                Some(_) => {}
            }
        }
        let protection = match new {
            NewProtection::Keychain => unlock::keychain(&self.inner.home),
            NewProtection::Passphrase { passphrase } => {
                Protection::Passphrase(checked_passphrase(passphrase)?)
            }
            NewProtection::KeyFile { path } => Protection::KeyFile(absolute(path)?),
        };
        let again = protection.clone();
        self.inner
            .chats
            .store()
            .run(move |store| store.change_protection(&again))
            .await?;
        *lock(&self.inner.protection) = protection;
        Ok(())
    }

    /// Writes an encrypted copy of the database, which `passphrase` alone opens; says its size in bytes.
    pub async fn backup(&self, to: PathBuf, passphrase: String) -> Result<u64> {
        let (to, passphrase) = (absolute(to)?, checked_passphrase(passphrase)?);
        self.inner
            .chats
            .store()
            .run_on_place(move |place| {
                let store = place.as_ref().ok_or(EngineError::Stopped)?;
                store.backup(&to, &passphrase)?;
                std::fs::metadata(&to)
                    .map(|metadata| metadata.len())
                    .map_err(|source| io_error(&to, source))
            })
            .await
    }

    /// Replaces the database by a backup; what opens the profile stays. Incognito chats are gone too.
    ///
    /// Errors: [`EngineError::InvalidRequest`] when the profile has chats and `replace` is false;
    /// [`EngineError::WrongKey`], [`EngineError::Corrupt`], [`EngineError::NewerSchema`]: the profile is as it was.
    pub async fn restore(&self, from: PathBuf, passphrase: String, replace: bool) -> Result<()> {
        let (from, passphrase) = (absolute(from)?, Zeroizing::new(passphrase));
        let chats = self
            .inner
            .chats
            .store()
            .run(|store| Ok(store.statistics()?.chats))
            .await?;
        if chats > 0 && !replace {
            return Err(EngineError::InvalidRequest(
                "the profile has chats: say that they may be replaced".into(),
            ));
        }
        if self.inner.active.len() > 0 {
            return Err(EngineError::Busy);
        }
        let (home, protection) = (self.inner.home.clone(), lock(&self.inner.protection).clone());
        let restored = self.inner.chats.store().run_on_place(move |place| {
            *place = None;
            let result = replace_by_backup(&home, &from, &passphrase, &protection);
            let store = match result {
                Ok(store) => Ok(store),
                Err(error) => {
                    recover_restore(&home)?;
                    *place = Some(Store::open(&home, &protection)?);
                    Err(error)
                }
            }?;
            let settings = store.get_setting(settings::STORE_KEY)?;
            *place = Some(store);
            Ok(settings)
        });
        let stored = restored.await?;
        *self
            .inner
            .settings
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = settings::from_stored(stored);
        *self.inner.chats.memory() = Incognito::default();
        self.tell(EngineEvent::ChatsChanged { chat: None });
        self.tell(EngineEvent::SettingsChanged);
        Ok(())
    }

    /// Deletes the database and its key for good, then asks the engine to end. Models stay.
    pub async fn wipe(&self) -> Result<()> {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        *self.inner.chats.memory() = Incognito::default();
        let home = self.inner.home.clone();
        let wiped = self
            .inner
            .chats
            .store()
            .run_on_place(move |place| {
                *place = None;
                Store::wipe(&home).map_err(EngineError::from)
            })
            .await;
        self.tell(EngineEvent::Stopping);
        wiped
    }
}

/// Ends a restore that was cut short, where there was one. While the old key is set aside the restore is not done and
/// is undone; when only the old database is, it was done.
pub(super) fn recover_restore(home: &Path) -> Result<()> {
    let [(database, old_database), (key, old_key)] = set_aside(home);
    if old_key.exists() {
        if old_database.exists() {
            rename(&old_database, &database)?;
            remove_journals(home)?;
        }
        rename(&old_key, &key)?;
    } else if old_database.exists() {
        remove(&old_database)?;
    }
    Ok(())
}

/// Sets the present files aside, restores, and removes them: a crash at any point leaves the one or the other.
fn replace_by_backup(home: &Path, from: &Path, passphrase: &str, protection: &Protection) -> Result<Store> {
    let [(database, old_database), (key, old_key)] = set_aside(home);
    rename(&key, &old_key)?;
    rename(&database, &old_database)?;
    remove_journals(home)?;
    let store = Store::restore(from, passphrase, home, protection)?;
    remove(&old_key)?;
    remove(&old_database)?;
    Ok(store)
}

/// The database and the key header, each with its name while it is set aside.
fn set_aside(home: &Path) -> [(PathBuf, PathBuf); 2] {
    [DATABASE_FILE, KEY_HEADER_FILE].map(|name| (home.join(name), home.join(format!("{name}.{SET_ASIDE}"))))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|source| io_error(from, source))
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|source| io_error(path, source))
}

fn remove_journals(home: &Path) -> Result<()> {
    for suffix in ["-wal", "-shm"] {
        let path = home.join(format!("{DATABASE_FILE}{suffix}"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_error(&path, error)),
            _ => {}
        }
    }
    Ok(())
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(EngineError::InvalidRequest("the path must be absolute".into()))
    }
}

fn checked_passphrase(passphrase: String) -> Result<Zeroizing<String>> {
    if passphrase.is_empty() {
        return Err(EngineError::InvalidRequest("the passphrase is empty".into()));
    }
    Ok(Zeroizing::new(passphrase))
}
