//! What an operator does to a server beside letting it run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hearth_protocol::id::AccountId;
use hearth_relay::{Relay, Store, StoreError};
use hearth_transport::ServerAddress;

use crate::admission::{Admission, Rule};
use crate::config::Config;
use crate::folder::{Folder, FolderError};
use crate::identity::{KEY_FILE, KeyError, ServerKey};
use crate::machine::{Parts, SystemEntropy, now_ms};
use crate::server::{self, StartError};
use crate::store::{AccountSize, DATABASE, SqliteStore};

/// How long a running server may take to do what it was asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The data folder or its key.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What a start would have failed with, too.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A database.
    #[error("{path}: {source}{}", std::error::Error::source(source).map_or_else(String::new, |cause| format!(": {cause}")))]
    Store {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is in the way, or missing.
    #[error("{0}")]
    Refused(String),
    /// The running server didn't do it.
    #[error("the running server didn't answer within {} s", PATIENCE.as_secs())]
    NoAnswer,
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

fn store_error(path: &Path) -> impl FnOnce(StoreError) -> OperateError {
    let path = path.to_owned();
    move |source| OperateError::Store { path, source }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> OperateError {
    let path = path.to_owned();
    move |source| OperateError::File { path, source }
}

/// What the operator gives to the first device.
pub fn fingerprint(config: &Config) -> Result<ServerAddress, OperateError> {
    let key = Folder::look(&config.data)?.key()?;
    let endpoint = config
        .endpoint
        .clone()
        .unwrap_or_else(|| server::reachable(config.listen));
    Ok(ServerAddress {
        endpoint,
        key: key.public(),
    })
}

/// A code that lets one account be opened, within so many days.
pub fn invite(config: &Config, days: u16) -> Result<String, OperateError> {
    let key = Folder::look(&config.data)?.key()?;
    Admission::new(Rule::Invitations, &key)
        .invite(now_ms(), days)
        .map_err(OperateError::Random)
}

/// How much every account has here.
pub fn accounts(config: &Config) -> Result<Vec<AccountSize>, OperateError> {
    let (store, path) = look(config)?;
    store.accounts().map_err(store_error(&path))
}

/// Deletes everything of an account, on a running server too. Says whether there was such an account.
pub fn purge(config: &Config, account: &AccountId) -> Result<bool, OperateError> {
    let path = config.data.join(DATABASE);
    match Folder::look(&config.data).and_then(|_| Folder::take(&config.data)) {
        Ok(folder) => {
            let mut relay = parts(config, folder.key()?, &path)
                .relay()
                .map_err(store_error(&path))?;
            let (known, _) = relay
                .purge(account, now_ms(), &mut SystemEntropy)
                .map_err(store_error(&path))?;
            relay.store_mut().scrub().map_err(store_error(&path))?;
            Ok(known)
        }
        Err(FolderError::InUse(_)) => {
            let (mut store, path) = look(config)?;
            let known = has(&store, account).map_err(store_error(&path))?;
            store.request_purge(account).map_err(store_error(&path))?;
            let deadline = Instant::now() + PATIENCE;
            while store
                .requested_purges()
                .map_err(store_error(&path))?
                .contains(account)
                || store.scrub().is_err()
            {
                if Instant::now() > deadline {
                    return Err(OperateError::NoAnswer);
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Ok(known)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a copy of the database to a new file, and the server's key beside it (`FILE.key`). The server may run meanwhile.
pub fn backup(config: &Config, target: &Path) -> Result<PathBuf, OperateError> {
    let folder = Folder::look(&config.data)?;
    let key_file = key_file(target);
    for path in [target, &key_file] {
        if path.exists() {
            return Err(OperateError::Refused(format!(
                "{} exists already",
                path.display()
            )));
        }
    }
    let begun_ms = now_ms();
    let partial = with_suffix(target, ".partial");
    fs::remove_file(&partial)
        .or_else(absent_is_fine)
        .map_err(file_error(&partial))?;
    made_for_the_owner(&partial).map_err(file_error(&partial))?;
    let copied =
        SqliteStore::copy_to(folder.path(), &partial).map_err(store_error(&config.data.join(DATABASE)));
    if let Err(error) = copied {
        fs::remove_file(&partial).ok();
        return Err(error);
    }
    only_for_the_owner(&partial).map_err(file_error(&partial))?;
    fs::File::open(&partial)
        .and_then(|file| file.sync_all())
        .map_err(file_error(&partial))?;
    folder.key()?.write(&key_file)?;
    fs::rename(&partial, target).map_err(file_error(target))?;
    // Accounts with one device wait for it before they let go of what they have replaced.
    SqliteStore::open(folder.path(), 0)
        .and_then(|store| store.backup_begun(begun_ms))
        .map_err(store_error(&config.data.join(DATABASE)))?;
    Ok(key_file)
}

/// What a restore has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Accounts in the backup.
    pub accounts: u64,
    /// Erasures of the replaced database that were carried out in the backup.
    pub erasures: u64,
    /// Those that could not be, because the backup is older than what they are about or the log they are of. Devices bring
    /// them before any content moves.
    pub left_to_devices: u64,
    /// Accounts of the backup that were purged since, and are again.
    pub purged: u64,
    /// Accounts whose control log in the replaced database isn't the continuation of the backup's: it isn't taken over.
    pub forked: u64,
}

/// Puts a backup in the place of the database; the server must not run. What the database knew and the backup doesn't is
/// carried over first: who belongs to an account, erasures, purges, used invitations. Unless `replay` is off because the
/// database can't be read any more. Devices fill up what the backup lacks.
pub fn restore(config: &Config, source: &Path, replay: bool) -> Result<Restored, OperateError> {
    if !source.is_file() {
        return Err(OperateError::Refused(format!(
            "{} is not a file",
            source.display()
        )));
    }
    let folder = Folder::take(&config.data)?;
    let restored = put_back(config, &folder, source, replay);
    if restored.is_err() {
        // What can't be removed now is when the folder is next taken.
        folder.drop_unfinished().ok();
    }
    restored
}

fn put_back(config: &Config, folder: &Folder, source: &Path, replay: bool) -> Result<Restored, OperateError> {
    let key = restored_key(folder.path(), source)?;
    let (current, new) = (folder.path().join(DATABASE), folder.unfinished());
    made_for_the_owner(&new).map_err(file_error(&new))?;
    fs::copy(source, &new).map_err(file_error(source))?;
    only_for_the_owner(&new).map_err(file_error(&new))?;
    fs::File::open(&new)
        .and_then(|file| file.sync_all())
        .map_err(file_error(&new))?;
    let mut relay = parts(config, key.clone(), &new)
        .relay()
        .map_err(store_error(source))?;
    let damage = relay.store().check().map_err(store_error(source))?;
    if let Some(first) = damage.first() {
        return Err(OperateError::Refused(format!(
            "{} is damaged: {first}",
            source.display()
        )));
    }
    let mut restored = Restored {
        accounts: 0,
        erasures: 0,
        left_to_devices: 0,
        purged: 0,
        forked: 0,
    };
    if replay && current.exists() {
        replay_all(&parts(config, key, &current), &mut relay, &mut restored)
            .map_err(store_error(&current))?;
        // All of it is in the file itself now: cut off from here on, a second try finds it as it is.
        SqliteStore::open_file(&current, 0)
            .and_then(|mut store| store.scrub())
            .map_err(store_error(&current))?;
    }
    relay.restored().map_err(store_error(&new))?;
    let mut store = relay.into_store();
    store.scrub().map_err(store_error(&new))?;
    restored.accounts = store.account_count().map_err(store_error(&new))?;
    drop(store);
    // A log of changes that belongs to another database must never be found beside this one.
    for name in ["-wal", "-shm"] {
        let path = with_suffix(&current, name);
        fs::remove_file(&path)
            .or_else(absent_is_fine)
            .map_err(file_error(&path))?;
    }
    fs::rename(&new, &current).map_err(file_error(&current))?;
    fs::File::open(folder.path())
        .and_then(|file| file.sync_all())
        .map_err(file_error(folder.path()))?;
    Ok(restored)
}

fn replay_all(
    old: &Parts,
    relay: &mut Relay<SqliteStore>,
    restored: &mut Restored,
) -> Result<(), StoreError> {
    let old = old.relay()?;
    relay.carry_over_invitations(&old)?;
    relay.carry_over_purges(&old)?;
    relay.store().carry_over_purged(old.store())?;
    // Purged since the backup: it stays so.
    for AccountSize { account, .. } in relay.store().accounts()? {
        if old.store().was_purged(&account)? {
            relay.purge(&account, now_ms(), &mut SystemEntropy)?;
            restored.purged += 1;
        }
    }
    for AccountSize { account, .. } in old.store().accounts()? {
        if !relay.carry_over(&account, &old)? {
            restored.forked += 1;
        }
        let mut after = 0;
        loop {
            let (cursor, erasures) = old.erasures(&account, after)?;
            if erasures.is_empty() {
                break;
            }
            let left = relay.replay(&account, &erasures)?;
            restored.left_to_devices += left as u64;
            restored.erasures += (erasures.len() - left) as u64;
            after = cursor;
        }
    }
    Ok(())
}

/// Looks everything over without changing it. What is found; empty if all is well.
pub fn check(config: &Config) -> Result<Vec<String>, OperateError> {
    let mut found = Vec::new();
    if let Some(files) = &config.certificate
        && let Err(error) = server::given(files)
    {
        found.push(error.to_string());
    }
    Folder::look(&config.data)?.key()?;
    let (store, path) = look(config)?;
    found.extend(store.check().map_err(store_error(&path))?);
    if store.only_reserve_left() {
        found.push("the disk is nearly full: only erasures are taken".to_owned());
    }
    Ok(found)
}

fn parts(config: &Config, key: ServerKey, database: &Path) -> Parts {
    Parts {
        database: database.to_owned(),
        key,
        config: config.clone(),
    }
}

fn look(config: &Config) -> Result<(SqliteStore, PathBuf), OperateError> {
    Folder::look(&config.data)?;
    let path = config.data.join(DATABASE);
    let store = SqliteStore::look(&path).map_err(store_error(&path))?;
    Ok((store, path))
}

fn has(store: &SqliteStore, account: &AccountId) -> Result<bool, StoreError> {
    Ok(store.accounts()?.iter().any(|known| known.account == *account))
}

/// The folder's own key; on a new machine the one beside the backup.
fn restored_key(folder: &Path, source: &Path) -> Result<ServerKey, OperateError> {
    let (own, copy) = (folder.join(KEY_FILE), key_file(source));
    match (own.exists(), copy.exists()) {
        (true, true) => {
            let (own, copy) = (ServerKey::read(&own)?, ServerKey::read(&copy)?);
            if own.public() != copy.public() {
                return Err(OperateError::Refused(
                    "the backup is of another server than this data folder".into(),
                ));
            }
            Ok(own)
        }
        (true, false) => Ok(ServerKey::read(&own)?),
        (false, true) => {
            let key = ServerKey::read(&copy)?;
            key.write(&own)?;
            Ok(key)
        }
        (false, false) => Err(OperateError::Refused(format!(
            "neither {} nor {} is there: without the server's key no device accepts this server",
            own.display(),
            copy.display()
        ))),
    }
}

fn key_file(backup: &Path) -> PathBuf {
    with_suffix(backup, ".key")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// Makes an empty file that nobody else may read, so that what is written to it never could be.
fn made_for_the_owner(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(unix)]
fn only_for_the_owner(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn only_for_the_owner(_: &Path) -> io::Result<()> {
    Ok(())
}
