//! Encrypted backup to one file, and restoring from it.
//!
//! A backup is a magic number, the length of a key header, the key header (a passphrase's), and a whole encrypted
//! database under a key of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::connection;
use crate::erasure::{self, Erased};
use crate::error::StoreError;
use crate::files::{self, Existing};
use crate::key::{Header, HeaderPlace, Protection, Secret, random, random_secret, to_hex};
use crate::lock::EngineLock;
use crate::migrations;
use crate::store::{PENDING_FILE, Store, StoreOptions, refuse_existing, remove_database};

/// The first bytes of a backup; the last is the version of this layout.
const MAGIC: [u8; 8] = *b"HRTHBAK\x01";
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// The database of a backup that is being restored.
const UNPACKED_FILE: &str = "hearth.db.unpacked";

impl Store {
    /// Writes a consistent copy of the whole profile to the new file `to`, encrypted under `passphrase` alone: it
    /// needs no other file and no keychain to come back. The store can be in use; the file appears complete or not
    /// at all. What is written until then lies beside it, under a name of its own that begins like it.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when `to` is there; [`StoreError::Full`].
    pub fn backup(&self, to: &Path, passphrase: &str) -> Result<(), StoreError> {
        if to.exists() {
            return Err(StoreError::AlreadyExists { path: to.to_owned() });
        }
        let key = random_secret()?;
        let place = HeaderPlace {
            dir: &self.dir,
            keychain: &*self.options.keychain,
        };
        let protection = Protection::Passphrase(Zeroizing::new(passphrase.to_owned()));
        let name = to_hex(&random::<16>()?);
        let header = Header::wrap(&key, &name, &protection, self.options.kdf, place)?;
        // Names that nobody else has: what lies beside the backup is not ours to remove.
        let own = to_hex(&random::<16>()?);
        let database = files::with_suffix(to, &format!(".{}.database", *own));
        let packed = files::with_suffix(to, &format!(".{}.partial", *own));
        let written = connection::copy(&self.connection, &database, &key)
            .and_then(|()| pack(&header, &database, &packed))
            .and_then(|()| files::publish(&packed, to, Existing::Refuse));
        let removed = remove_database(&database);
        if written.is_err() {
            // The first error is the one to report.
            let _ = files::remove_if_there(&packed);
        }
        written.and(removed)
    }

    /// Makes a profile in `dir` from the backup `from`, protected by `protection`, after verifying every page of it.
    /// The profile gets a new database key: the backup's passphrase does not open it.
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
        let backup = open_backup(from, passphrase, dir, options)?;
        files::create_private_dir(dir)?;
        let lock = EngineLock::acquire(dir)?;
        unpack_into(lock, backup, from, dir, protection, options, &[])
    }

    /// Like [`Store::restore_with`], for a caller that has the lock of `dir`, which must exist. What is in `erased`
    /// ([`Store::erased`] of the profile whose place the backup takes) doesn't come back with the backup.
    pub fn restore_locked(
        lock: EngineLock,
        from: &Path,
        passphrase: &str,
        dir: &Path,
        protection: &Protection,
        options: &StoreOptions,
        erased: &[Erased],
    ) -> Result<Store, StoreError> {
        let backup = open_backup(from, passphrase, dir, options)?;
        unpack_into(lock, backup, from, dir, protection, options, erased)
    }
}

/// The backup, read up to its database, and the key of that.
fn open_backup(
    from: &Path,
    passphrase: &str,
    dir: &Path,
    options: &StoreOptions,
) -> Result<(File, Secret), StoreError> {
    let mut file = File::open(from).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::not_found("backup", from.display()),
        _ => StoreError::io("open", from, error),
    })?;
    let header = read_header(&mut file, from)?;
    let place = HeaderPlace {
        dir,
        keychain: &*options.keychain,
    };
    let words = Protection::Passphrase(Zeroizing::new(passphrase.to_owned()));
    let key = header.unwrap(&words, from, place)?;
    Ok((file, key))
}

fn unpack_into(
    lock: EngineLock,
    (mut file, key): (File, Secret),
    from: &Path,
    dir: &Path,
    protection: &Protection,
    options: &StoreOptions,
    erased: &[Erased],
) -> Result<Store, StoreError> {
    refuse_existing(dir)?;
    let unpacked = dir.join(UNPACKED_FILE);
    let fresh = random_secret()?;
    let prepared = remove_database(&unpacked)
        .and_then(|()| unpack(&mut file, from, &unpacked))
        .and_then(|()| rekey(&unpacked, &key, &dir.join(PENDING_FILE), &fresh, from))
        .and_then(|()| forget(&dir.join(PENDING_FILE), &fresh, erased));
    let removed = remove_database(&unpacked);
    let restored = prepared
        .and(removed)
        .and_then(|()| Store::adopt_pending(dir, &fresh, protection, options));
    if restored.is_err() {
        let _ = remove_database(&dir.join(PENDING_FILE));
    }
    restored?;
    Store::open_locked(lock, dir, protection, options)
}

fn pack(header: &Header, database: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("write", to, error);
    let json = header.to_json()?;
    let mut packed = files::create_private(to).map_err(failed)?;
    packed.write_all(&MAGIC).map_err(failed)?;
    packed
        .write_all(&(json.len() as u32).to_le_bytes())
        .map_err(failed)?;
    packed.write_all(&json).map_err(failed)?;
    let mut database = File::open(database).map_err(|error| StoreError::io("read", database, error))?;
    io::copy(&mut database, &mut packed).map_err(failed)?;
    packed.sync_all().map_err(failed)
}

fn read_header(file: &mut File, path: &Path) -> Result<Header, StoreError> {
    let short = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => StoreError::corrupt(path, "it is too short to be a backup"),
        _ => StoreError::io("read", path, error),
    };
    let mut lead = [0; 12];
    file.read_exact(&mut lead).map_err(short)?;
    let [magic @ .., a, b, c, d] = lead;
    let length = u32::from_le_bytes([a, b, c, d]);
    if magic[..7] == MAGIC[..7] && magic[7] > MAGIC[7] {
        return Err(StoreError::NewerSchema {
            found: magic[7].into(),
            supported: MAGIC[7].into(),
        });
    }
    if magic != MAGIC || length > MAX_HEADER_BYTES {
        return Err(StoreError::corrupt(path, "it is not a backup of a profile"));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(short)?;
    Header::parse(&json, path)
}

fn unpack(file: &mut File, from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut unpacked = files::create_private(to).map_err(|error| StoreError::io("write", to, error))?;
    let copied = io::copy(file, &mut unpacked).map_err(|error| StoreError::io("copy", from, error))?;
    if copied == 0 {
        return Err(StoreError::corrupt(from, "there is no database in it"));
    }
    Ok(())
}

/// Verifies the database at `from` and copies it to `to` under another key. Errors name the backup.
fn rekey(from: &Path, key: &Secret, to: &Path, fresh: &Secret, backup: &Path) -> Result<(), StoreError> {
    let name_backup = |error| match error {
        StoreError::Corrupt { detail, .. } => StoreError::corrupt(backup, detail),
        other => other,
    };
    let connection = connection::open(from, key).map_err(name_backup)?;
    connection::check_ours(&connection, backup)?;
    migrations::check_version(&connection)?;
    connection::verify(&connection, backup).map_err(name_backup)?;
    connection::copy(&connection, to, fresh)
}

/// Erases in the database at `path`, before it becomes a profile's, what was erased since its backup was made.
fn forget(path: &Path, key: &Secret, erased: &[Erased]) -> Result<(), StoreError> {
    if erased.is_empty() {
        return Ok(());
    }
    let mut connection = connection::open(path, key)?;
    migrations::migrate(&mut connection)?;
    erasure::replay(&mut connection, erased)?;
    connection.close().map_err(|(_, error)| error)?;
    let file = File::open(path).and_then(|file| file.sync_all());
    file.map_err(|error| StoreError::io("sync", path, error))
}
