//! Replacing the database by a backup, so that a crash at any point leaves the one or the other.
//!
//! The present files are set aside under other names, the backup is unpacked, then the old key header is removed: that
//! is the moment from which the backup is the profile. Each step is durable before the next begins.

use std::path::{Path, PathBuf};

use hearth_store::{
    DATABASE_FILE, EngineLock, Erased, KEY_HEADER_FILE, Protection, Store, StoreError, StoreOptions,
};
use zeroize::Zeroizing;

use super::incognito::Incognito;
use super::profile::absolute;
use super::{Engine, Result, io_error, lock, settings};
use crate::error::EngineError;
use crate::types::EngineEvent;

/// What a file is called while a restored one takes its place.
const SET_ASIDE: &str = "before-restore";

impl Engine {
    /// Replaces the database by a backup; what opens the profile stays. Incognito chats are gone too. Once begun it
    /// ends, whoever stops waiting for it; the engine's end waits for it, too.
    ///
    /// Errors: [`EngineError::InvalidRequest`] when the profile has chats and `replace` is false; [`EngineError::Busy`]
    /// while a chat is being answered; [`EngineError::WrongKey`], [`EngineError::NewerSchema`], or
    /// [`EngineError::InvalidRequest`] for a file that is no backup: the profile is as it was.
    pub async fn restore(&self, from: PathBuf, passphrase: Zeroizing<String>, replace: bool) -> Result<()> {
        let from = absolute(from)?;
        // Nothing is answered from here on: a reply would be stored in a database that is no more.
        let quiet = self.inner.active.hold()?;
        let engine = self.clone();
        self.upkeep(async move {
            // The device's journal is another's afterwards; or the same, at an earlier time, which the server notices.
            engine.stop_sync().await;
            // Nor is anything drawn or embedded: it would be settled in that other database.
            let stopped = engine.inner.idle.until_stopped().await;
            let (home, protection) = (engine.inner.home.clone(), lock(&engine.inner.protection).clone());
            let restored = engine.inner.chats.store().run_on_place(move |place| {
                let store = place.as_ref().ok_or(EngineError::Stopped)?;
                if !replace && store.statistics()?.chats > 0 {
                    return Err(EngineError::InvalidRequest(
                        "the profile has chats: say that they may be replaced".into(),
                    ));
                }
                // A log that outlives the closing would be lost with the files that are set aside.
                store.truncate_log()?;
                let erased = store.erased()?;
                let Some(store) = place.take() else {
                    return Err(EngineError::Stopped);
                };
                let held = store.into_lock();
                let store = match replace_by_backup(&held, &home, &from, &passphrase, &protection, &erased) {
                    Ok(store) => store,
                    Err(error) => {
                        recover_restore(&home)?;
                        let store = Store::open_locked(held, &home, &protection, &StoreOptions::default());
                        *place = Some(store?);
                        // What is damaged is the given file, not the profile.
                        return Err(match error {
                            EngineError::Corrupt(reason) => EngineError::InvalidRequest(reason),
                            error => error,
                        });
                    }
                };
                let settings = store.get_setting(settings::STORE_KEY);
                *place = Some(store);
                Ok(settings?)
            });
            let stored = match restored.await {
                Ok(stored) => stored,
                Err(error) => {
                    engine.start_sync().await;
                    return Err(error);
                }
            };
            *engine
                .inner
                .settings
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = settings::from_stored(stored);
            *engine.inner.chats.memory() = Incognito::default();
            engine.start_sync().await;
            drop(stopped);
            drop(quiet);
            engine.inner.idle.wake();
            engine.tell(EngineEvent::ChatsChanged { chat: None });
            engine.tell(EngineEvent::SettingsChanged);
            Ok(())
        })
        .await
    }
}

/// Ends a restore that was cut short, where there was one: undoes it while the old key header is there, finishes it
/// when that is gone.
fn recover_restore(home: &Path) -> Result<()> {
    let [(database, old_database), (key, old_key)] = set_aside(home);
    match (old_key.exists(), old_database.exists()) {
        (true, true) => {
            // Without the new header there is no mistaking what follows for a finished restore.
            retire(&key, &old_key)?;
            rename(&old_database, &database)?;
            remove_journals(home)?;
            sync(home)?;
            rename(&old_key, &key)?;
        }
        // Cut short before the database was set aside, or when it was back.
        (true, false) if !key.exists() => rename(&old_key, &key)?,
        // The old database is gone: a header that is left of it opens nothing.
        (true, false) => retire(&old_key, &key)?,
        (false, true) if !database.exists() => rename(&old_database, &database)?,
        (false, true) => remove(&old_database)?,
        (false, false) => return Ok(()),
    }
    sync(home)
}

/// Recovers under the profile's lock, so that no other engine's restore is taken for one that was cut short.
pub(super) fn recover_restore_locked(home: &Path) -> Result<()> {
    if set_aside(home).iter().any(|(_, aside)| aside.exists()) {
        let _held = EngineLock::acquire(home)?;
        recover_restore(home)?;
    }
    Ok(())
}

/// Removes what a restore may have left, when the profile is to go.
pub(super) fn remove_set_aside(home: &Path) -> Result<()> {
    for (_, aside) in set_aside(home) {
        if aside.exists() {
            remove(&aside)?;
        }
    }
    sync(home)
}

/// Sets the present files aside, restores, and removes them.
fn replace_by_backup(
    held: &EngineLock,
    home: &Path,
    from: &Path,
    passphrase: &str,
    protection: &Protection,
    erased: &[Erased],
) -> Result<Store> {
    let [(database, old_database), (key, old_key)] = set_aside(home);
    rename(&key, &old_key)?;
    sync(home)?;
    rename(&database, &old_database)?;
    remove_journals(home)?;
    sync(home)?;
    let options = StoreOptions::default();
    let store = Store::restore_locked(held.clone(), from, passphrase, home, protection, &options, erased)?;
    retire(&old_key, &key)?;
    // The backup is the profile now; what is left is only in the way, and goes when the profile is next opened.
    if let Err(error) = remove(&old_database).and_then(|()| sync(home)) {
        tracing::warn!(%error, "the replaced database is still there");
    }
    Ok(store)
}

/// Removes a key header that `kept` takes the place of. A keychain entry that stays behind opens nothing any more.
fn retire(header: &Path, kept: &Path) -> Result<()> {
    match Store::retire_header(header, kept, &StoreOptions::default()) {
        Err(StoreError::Keychain { reason }) => {
            tracing::warn!(%reason, "the keychain entry of a replaced database is still there");
            Ok(())
        }
        other => Ok(other?),
    }
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

/// Makes the names in the folder durable. Only Unix needs and allows it.
fn sync(home: &Path) -> Result<()> {
    #[cfg(unix)]
    std::fs::File::open(home)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| io_error(home, source))?;
    let _ = home;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    const NAMES: [&str; 4] = [
        "hearth.key",
        "hearth.db",
        "hearth.key.before-restore",
        "hearth.db.before-restore",
    ];

    /// What is in each of [`NAMES`] after recovering from a crash that left this.
    fn recovered(files: [Option<&str>; 4]) -> [Option<String>; 4] {
        let home = tempfile::tempdir().unwrap();
        for (name, content) in NAMES.into_iter().zip(files) {
            if let Some(content) = content {
                // A header is only told from other files by being one.
                fs::write(home.path().join(name), content).unwrap();
            }
        }
        recover_restore(home.path()).unwrap();
        NAMES.map(|name| fs::read_to_string(home.path().join(name)).ok())
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_profile_or_the_new_one() {
        // Headers that nothing is read from: those here are damaged, which must not matter to a file's name.
        let (old, new) = (Some("old"), Some("new"));
        let is_old = [old, old, None, None].map(|f| f.map(str::to_owned));
        let is_new = [new, new, None, None].map(|f| f.map(str::to_owned));
        for (files, expected) in [
            // Key set aside; database, too; the new one in the making; its header there; all there.
            ([None, old, old, None], &is_old),
            ([None, None, old, old], &is_old),
            ([None, new, old, old], &is_old),
            ([new, None, old, old], &is_old),
            ([new, new, old, old], &is_old),
            // Done: the old header gone, or the old database before it.
            ([new, new, None, old], &is_new),
            ([new, new, old, None], &is_new),
            // The database's new name was durable before the header's.
            ([old, None, None, old], &is_old),
            ([old, old, None, None], &is_old),
        ] {
            assert_eq!(&recovered(files), expected, "{files:?}");
        }
    }
}
