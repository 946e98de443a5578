//! The door to a profile: create, open, change its protection, wipe it.

use std::cell::{Ref, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::connection;
use crate::error::StoreError;
use crate::files::{self, Existing};
use crate::key::{
    Header, HeaderPlace, KdfCost, Keychain, OsKeychain, Protection, ProtectionKind, Secret, random,
    random_secret, to_hex,
};
use crate::lock::EngineLock;
use crate::migrations;
use crate::recall_index::FrequentWords;
use crate::vectors::{Index, IndexMirror, Mirror};

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

/// A database that is complete but not in its place yet: whether it is the profile's, the header decides.
pub(crate) const PENDING_FILE: &str = "hearth.db.new";
/// What SQLite puts beside a database.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// An open profile. It holds the profile's engine lock until it is dropped.
pub struct Store {
    // Before the lock, so that the database is closed before another engine may open it.
    pub(crate) connection: Connection,
    pub(crate) dir: PathBuf,
    pub(crate) options: StoreOptions,
    header: Header,
    pub(crate) key: Secret,
    mirror: RefCell<Mirror>,
    pub(crate) frequent_words: RefCell<FrequentWords>,
    lock: EngineLock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
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
        files::create_private_dir(dir)?;
        Store::create_locked(EngineLock::acquire(dir)?, dir, protection, options)
    }

    /// Like [`Store::create_with`], for a caller that took the profile's lock before.
    pub fn create_locked(
        lock: EngineLock,
        dir: &Path,
        protection: &Protection,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        refuse_existing(dir)?;
        let key = random_secret()?;
        let pending = dir.join(PENDING_FILE);
        let built =
            build_empty(&pending, &key).and_then(|()| Store::adopt_pending(dir, &key, protection, options));
        if built.is_err() {
            // The first error is the one to report; without a header the leftovers are removed by the next try.
            let _ = remove_database(&pending);
        }
        built?;
        Store::open_locked(lock, dir, protection, options)
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
        read_header(dir)?;
        Store::open_locked(EngineLock::acquire(dir)?, dir, protection, options)
    }

    /// Like [`Store::open_with`], for a caller that took the profile's lock before (to start other things under it).
    pub fn open_locked(
        lock: EngineLock,
        dir: &Path,
        protection: &Protection,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        let header = read_header(dir)?;
        let place = HeaderPlace {
            dir,
            keychain: &*options.keychain,
        };
        let key = header.unwrap(protection, &dir.join(KEY_HEADER_FILE), place)?;
        settle_pending(dir, &key)?;
        let path = dir.join(DATABASE_FILE);
        if !path.exists() {
            return Err(StoreError::corrupt(&path, "it is missing"));
        }
        let mut connection = connection::open(&path, &key)?;
        connection::check_ours(&connection, &path)?;
        migrations::check_version(&connection)?;
        connection::settle(&connection)?;
        migrations::migrate(&mut connection)?;
        let mut store = Store {
            connection,
            dir: dir.to_owned(),
            options: options.clone(),
            header,
            key,
            mirror: RefCell::default(),
            frequent_words: RefCell::default(),
            lock,
        };
        store.mirror.get_mut().listen(&mut store.connection)?;
        // Before anything changes.
        store.renew_capture()?;
        store.recover_interrupted()?;
        store.requeue_running()?;
        store.resume_erasures()?;
        Ok(store)
    }

    /// How the profile in `dir` is protected: what to ask the user for before opening it.
    ///
    /// # Errors
    /// [`StoreError::NoProfile`]; [`StoreError::Corrupt`] for a damaged header.
    pub fn protection(dir: &Path) -> Result<ProtectionKind, StoreError> {
        read_header(dir).map(|header| header.kind())
    }

    /// Whether `protection` opens the profile in `dir`. Takes no lock and changes nothing, so it can be asked while an
    /// engine owns the profile.
    ///
    /// # Errors
    /// [`StoreError::NoProfile`], [`StoreError::WrongKey`], [`StoreError::WrongProtection`], [`StoreError::Corrupt`],
    /// [`StoreError::Keychain`], [`StoreError::KeyFile`].
    pub fn check_protection(dir: &Path, protection: &Protection) -> Result<(), StoreError> {
        let options = StoreOptions::default();
        let place = HeaderPlace {
            dir,
            keychain: &*options.keychain,
        };
        read_header(dir)?
            .unwrap(protection, &dir.join(KEY_HEADER_FILE), place)
            .map(|_| ())
    }

    /// Protects the profile by `new` from now on; what protected it before no longer opens it. Safe against a crash
    /// at any point: either the old or the new protection opens the profile.
    ///
    /// The database key stays the same: whoever has a copy of the old `hearth.key` *and* the old passphrase can
    /// still read a copy of the database. [`Store::renew_key`] closes that too.
    pub fn change_protection(&mut self, new: &Protection) -> Result<(), StoreError> {
        let place = HeaderPlace {
            dir: &self.dir,
            keychain: &*self.options.keychain,
        };
        let header = Header::wrap(&self.key, self.header.database(), new, self.options.kdf, place)?;
        header.write(&self.dir.join(KEY_HEADER_FILE), Existing::Replace)?;
        let old = std::mem::replace(&mut self.header, header);
        old.forget_keychain_entry(Some(&self.header), &*self.options.keychain)
    }

    /// Encrypts the profile anew under a fresh database key, protected by `protection`. Takes time and space like a
    /// copy of the database. Safe against a crash at any point, like [`Store::change_protection`].
    ///
    /// # Errors
    /// [`StoreError::Full`] and others; the store is unchanged then.
    pub fn renew_key(&mut self, protection: &Protection) -> Result<(), StoreError> {
        let key = random_secret()?;
        let pending = self.dir.join(PENDING_FILE);
        remove_database(&pending)?;
        let place = HeaderPlace {
            dir: &self.dir,
            keychain: &*self.options.keychain,
        };
        let prepared = connection::copy(&self.connection, &pending, &key)
            .and_then(|()| Header::wrap(&key, self.header.database(), protection, self.options.kdf, place));
        let header = prepared.inspect_err(|_| {
            let _ = remove_database(&pending);
        })?;
        // Everything is in the copy: the old log must not outlive the database it belongs to.
        self.truncate_log()?;
        let path = self.dir.join(DATABASE_FILE);
        header.write(&self.dir.join(KEY_HEADER_FILE), Existing::Replace)?;
        // From here on only the new key opens the profile, and an open after a crash ends what follows.
        self.connection = Connection::open_in_memory()?;
        settle_pending(&self.dir, &key)?;
        self.connection = connection::open(&path, &key)?;
        connection::settle(&self.connection)?;
        self.mirror.get_mut().listen(&mut self.connection)?;
        self.key = key;
        let old = std::mem::replace(&mut self.header, header);
        old.forget_keychain_entry(Some(&self.header), &*self.options.keychain)
    }

    /// Reads every page of the database and compares it with its authentication code, then checks the structure.
    /// Takes as long as reading the whole file.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first finding.
    pub fn verify(&self) -> Result<(), StoreError> {
        // A crash while the log was being moved into the database leaves pages there that only the log makes good.
        if self.connection.is_autocommit() {
            self.connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        connection::verify(&self.connection, &self.dir.join(DATABASE_FILE))
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
        if !dir.join(KEY_HEADER_FILE).exists() && !dir.join(DATABASE_FILE).exists() {
            return Err(StoreError::NoProfile { dir: dir.to_owned() });
        }
        Store::wipe_locked(EngineLock::acquire(dir)?, dir, options)
    }

    /// Like [`Store::wipe_with`], for a caller that has the profile's lock, from [`Store::into_lock`] for example: no
    /// other engine comes between closing the database and wiping it.
    pub fn wipe_locked(lock: EngineLock, dir: &Path, options: &StoreOptions) -> Result<(), StoreError> {
        let header_path = dir.join(KEY_HEADER_FILE);
        let path = dir.join(DATABASE_FILE);
        let header = Header::read(&header_path).ok().flatten();
        destroy_header(&header_path)?;
        remove_database(&path)?;
        remove_database(&dir.join(PENDING_FILE))?;
        files::remove_if_there(&files::with_suffix(&header_path, ".tmp"))?;
        files::sync_parent(&path)?;
        drop(lock);
        match header {
            Some(header) => header.forget_keychain_entry(None, &*options.keychain),
            None => Ok(()),
        }
    }

    /// Closes the database and keeps the profile's lock, to do something to its files.
    pub fn into_lock(self) -> EngineLock {
        self.lock
    }

    /// Removes the key header at `path`, a profile's that another took the place of, and with it its keychain entry,
    /// unless the header at `kept` uses the same one. Nothing happens when it isn't there.
    ///
    /// # Errors
    /// [`StoreError::Keychain`]: the header is gone, its entry is not. [`StoreError::Io`]: the header may be there.
    pub fn retire_header(path: &Path, kept: &Path, options: &StoreOptions) -> Result<(), StoreError> {
        // One that can't be read names no entry; it goes all the same.
        let header = Header::read(path).ok().flatten();
        let kept = Header::read(kept);
        files::remove_if_there(path)?;
        // The entry only goes when the header can't come back.
        files::sync_parent(path)?;
        match (header, kept) {
            (Some(header), Ok(kept)) => header.forget_keychain_entry(kept.as_ref(), &*options.keychain),
            // Nobody can tell which entry the kept one needs: none goes.
            _ => Ok(()),
        }
    }

    /// Makes the pending database of `dir`, encrypted with `key`, the profile: the header is what decides.
    pub(crate) fn adopt_pending(
        dir: &Path,
        key: &Secret,
        protection: &Protection,
        options: &StoreOptions,
    ) -> Result<(), StoreError> {
        let place = HeaderPlace {
            dir,
            keychain: &*options.keychain,
        };
        let database = to_hex(&random::<16>()?);
        let header = Header::wrap(key, &database, protection, options.kdf, place)?;
        header.write(&dir.join(KEY_HEADER_FILE), Existing::Refuse)?;
        settle_pending(dir, key)
    }

    /// A transaction that takes the write lock at once.
    pub(crate) fn transaction(&mut self) -> Result<Transaction<'_>, StoreError> {
        // One whose end failed too would be in the way of everything that follows.
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        Ok(self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// The copy in memory of what search looks at, as the file is now.
    pub(crate) fn mirror(&self, index: Index) -> Result<Ref<'_, IndexMirror>, StoreError> {
        self.mirror.borrow_mut().update(&self.connection, index)?;
        Ok(Ref::map(self.mirror.borrow(), |mirror| mirror.of(index)))
    }

    /// Moves everything from the write-ahead log into the database and empties the log. Waits 5 seconds for others
    /// who read the file.
    ///
    /// # Errors
    /// [`StoreError::LogInUse`].
    pub fn truncate_log(&self) -> Result<(), StoreError> {
        // SQLite tells in the row, not by an error, that a reader was in the way.
        let busy: bool = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy { Err(StoreError::LogInUse) } else { Ok(()) }
    }
}

fn read_header(dir: &Path) -> Result<Header, StoreError> {
    let path = dir.join(KEY_HEADER_FILE);
    match Header::read(&path)? {
        Some(header) => Ok(header),
        None if dir.join(DATABASE_FILE).exists() => Err(StoreError::corrupt(
            &path,
            "it is missing, and without it the database beside it can't be read; put it back",
        )),
        None => Err(StoreError::NoProfile { dir: dir.to_owned() }),
    }
}

/// A profile is where a header or a database is.
pub(crate) fn refuse_existing(dir: &Path) -> Result<(), StoreError> {
    for name in [KEY_HEADER_FILE, DATABASE_FILE] {
        let path = dir.join(name);
        if path.exists() {
            return Err(StoreError::AlreadyExists { path });
        }
    }
    remove_database(&dir.join(PENDING_FILE))
}

fn build_empty(path: &Path, key: &Secret) -> Result<(), StoreError> {
    files::create_private(path).map_err(|error| StoreError::io("create", path, error))?;
    let mut connection = connection::open(path, key)?;
    migrations::migrate(&mut connection)
}

/// Ends what a crash may have cut short after a header was replaced: a pending database that the header's key reads
/// is the profile's database; one that it does not read belongs to an attempt that never came to be.
fn settle_pending(dir: &Path, key: &Secret) -> Result<(), StoreError> {
    let pending = dir.join(PENDING_FILE);
    if !pending.exists() {
        return Ok(());
    }
    let path = dir.join(DATABASE_FILE);
    match connection::open(&pending, key) {
        Ok(connection) => {
            drop(connection);
            // A log or journal of the database that goes would be taken for the new one's, which has none: it was
            // closed before the header named its key.
            for (database, suffix) in [&path, &pending]
                .into_iter()
                .flat_map(|path| SIDE_FILES.map(|s| (path, s)))
            {
                files::remove_if_there(&files::with_suffix(database, suffix))?;
            }
            files::publish(&pending, &path, Existing::Replace)
        }
        Err(StoreError::Corrupt { .. }) if path.exists() => remove_database(&pending),
        Err(error) => Err(error),
    }
}

/// Overwrites the header (which helps where the file system writes in place) and removes it, durably.
fn destroy_header(path: &Path) -> Result<(), StoreError> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    let zeros = vec![0; metadata.len() as usize];
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &zeros).and_then(|()| file.sync_all()))
        .map_err(|error| StoreError::io("overwrite", path, error))?;
    files::remove_if_there(path)?;
    files::sync_parent(path)
}

/// Removes a database file and what SQLite put beside it.
pub(crate) fn remove_database(path: &Path) -> Result<(), StoreError> {
    files::remove_if_there(path)?;
    for suffix in SIDE_FILES {
        files::remove_if_there(&files::with_suffix(path, suffix))?;
    }
    Ok(())
}
