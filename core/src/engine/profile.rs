//! The profile as a whole: what opens it, backups, its end.

use std::path::{Path, PathBuf};

use hearth_store::{EngineLock, Protection, Store, StoreOptions};
use zeroize::Zeroizing;

use super::incognito::Incognito;
use super::{Engine, Result, io_error, lock, restore, unlock};
use crate::error::EngineError;
use crate::types::{EngineEvent, NewProtection};

impl Engine {
    /// Changes what opens the profile. Errors: [`EngineError::WrongKey`] when the profile has a passphrase and
    /// `current_passphrase` is another.
    pub async fn change_protection(
        &self,
        current_passphrase: Option<Zeroizing<String>>,
        new: NewProtection,
    ) -> Result<()> {
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
    pub async fn backup(&self, to: PathBuf, passphrase: Zeroizing<String>) -> Result<u64> {
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

    /// Whether an engine, of any process, has the profile in `home` open.
    pub fn has_open(home: &Path) -> bool {
        EngineLock::is_held(home)
    }

    /// Deletes the database and its key for good, then asks the engine to end. Models stay. Once begun it ends, whoever
    /// stops waiting for it; the engine's end waits for it, too.
    pub async fn wipe(&self) -> Result<()> {
        let engine = self.clone();
        self.upkeep(async move {
            let inner = &engine.inner;
            inner.stopping.cancel();
            inner.tasks.close();
            inner.tasks.wait().await;
            *inner.chats.memory() = Incognito::default();
            let home = inner.home.clone();
            let wiped = inner.chats.store().run_on_place(move |place| {
                // The lock is kept: no other engine opens what is about to go.
                let held = match place.take() {
                    Some(store) => store.into_lock(),
                    None => EngineLock::acquire(&home)?,
                };
                Store::wipe_locked(held, &home, &StoreOptions::default())?;
                restore::remove_set_aside(&home)
            });
            let wiped = wiped.await;
            engine.tell(EngineEvent::Stopping);
            wiped
        })
        .await
    }

    /// Runs work on the profile's files to its end, whoever stops waiting for it.
    pub(super) async fn upkeep<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let work = self.inner.upkeep.spawn(work);
        work.await
            .unwrap_or_else(|_| Err(EngineError::Internal("work on the profile panicked".into())))
    }
}

pub(super) fn absolute(path: PathBuf) -> Result<PathBuf> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(EngineError::InvalidRequest("the path must be absolute".into()))
    }
}

fn checked_passphrase(passphrase: Zeroizing<String>) -> Result<Zeroizing<String>> {
    if passphrase.is_empty() {
        return Err(EngineError::InvalidRequest("the passphrase is empty".into()));
    }
    Ok(passphrase)
}
