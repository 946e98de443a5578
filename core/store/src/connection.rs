//! Opening the encrypted database: the key, the settings every connection has, and what they promise.

mod vector;

use std::fs;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::files;
use crate::key::{Secret, to_hex};
use crate::recall_index::{previous_words, turn_words};
use crate::search::segment;

/// "HRTH" in the database header: this file is ours.
pub(crate) const APPLICATION_ID: i32 = 0x4852_5448;

/// SQLCipher's page size, 80 bytes of which are its own (initialisation vector and authentication code).
pub(crate) const PAGE_BYTES: u64 = 4096;

/// What every connection sets. `FORMAT.md` gives the reasons.
const SETTINGS: &str = "
    PRAGMA foreign_keys = ON;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA cache_size = -16384;
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_size_limit = 8388608;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA synchronous = FULL;
";

/// Opens the database file at `path` and proves that `key` reads it. Nothing is written, not even by a log that a
/// crash left behind, until [`settle`].
///
/// # Errors
/// [`StoreError::Corrupt`] when the key, which its header vouches for, does not read the file.
pub(crate) fn open(path: &Path, key: &Secret) -> Result<Connection, StoreError> {
    match open_as(path, key, "") {
        // The index of the log has no room beside the database. Who is alone with the database keeps it in memory: so a
        // profile can be read while the disk is full.
        Err(StoreError::Full) => open_as(path, key, "PRAGMA locking_mode = EXCLUSIVE;"),
        opened => opened,
    }
}

fn open_as(path: &Path, key: &Secret, locking: &str) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    set_key(&connection, key)?;
    // Before anything is read.
    connection.execute_batch(locking)?;
    connection.execute_batch(SETTINGS)?;
    vector::register(&connection)?;
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("hearth_segment", 1, flags, |context| {
        let text = context.get_raw(0).as_str().map_err(rusqlite::Error::from)?;
        Ok(segment(text).into_owned())
    })?;
    connection.create_scalar_function("hearth_turn", 2, flags, |context| words(context, turn_words))?;
    connection.create_scalar_function("hearth_previous", 2, flags, |context| {
        words(context, previous_words)
    })?;
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(|error| unreadable(path, error))?;
    Ok(connection)
}

/// `of` a message's text and metadata; empty for no message.
fn words(context: &Context<'_>, of: fn(&str, &str) -> String) -> rusqlite::Result<String> {
    if context.get_raw(0) == ValueRef::Null {
        return Ok(String::new());
    }
    let [text, metadata] = [context.get_raw(0).as_str(), context.get_raw(1).as_str()];
    Ok(of(
        text.map_err(rusqlite::Error::from)?,
        metadata.map_err(rusqlite::Error::from)?,
    ))
}

/// Says that the file is accepted: from now on it may be written to.
pub(crate) fn settle(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    Ok(())
}

/// Copies the whole database, page by page and as of one moment, into a new file at `to` encrypted with `key`.
pub(crate) fn copy(from: &Connection, to: &Path, key: &Secret) -> Result<(), StoreError> {
    files::create_private(to).map_err(|error| StoreError::io("create", to, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags)?;
    set_key(&target, key)?;
    target.execute_batch(SETTINGS)?;
    let backup = Backup::new(from, &mut target)?;
    match backup.step(-1)? {
        StepResult::Done => {}
        StepResult::More | StepResult::Busy | StepResult::Locked => {
            return Err(StoreError::Invalid("the database is busy; try again".into()));
        }
        _ => return Err(StoreError::Invalid("the database could not be copied".into())),
    }
    drop(backup);
    // The pages say that there is a log beside them; a copy is one file.
    target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    let file = fs::File::open(to).and_then(|file| file.sync_all());
    file.map_err(|error| StoreError::io("sync", to, error))
}

/// Checks that the file is one of ours: an emptied file would pass for a database without tables.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(crate) fn check_ours(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let id: i32 = connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(|error| unreadable(path, error))?;
    if id == APPLICATION_ID {
        Ok(())
    } else {
        Err(StoreError::corrupt(path, "it is empty, or not a Hearth database"))
    }
}

/// Checks that every page of the file is as it was written, and that they fit together.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(crate) fn verify(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    for check in ["PRAGMA cipher_integrity_check", "PRAGMA integrity_check(1)"] {
        let mut statement = connection.prepare(check)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next().map_err(|error| unreadable(path, error))? {
            let finding: String = row.get(0)?;
            if finding != "ok" {
                return Err(StoreError::corrupt(path, finding));
            }
        }
    }
    Ok(())
}

fn set_key(connection: &Connection, key: &Secret) -> Result<(), StoreError> {
    let hex = to_hex(&key[..]);
    let mut statement = Zeroizing::new(String::with_capacity(96));
    statement.push_str("PRAGMA key = \"x'");
    statement.push_str(&hex);
    statement.push_str("'\"");
    connection.execute_batch(&statement)?;
    Ok(())
}

/// A failure to read a file whose key is known to be right: the file is damaged, whatever SQLCipher calls it.
fn unreadable(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::corrupt(
            path,
            "its key does not read it: the file is damaged, or hearth.key belongs to another database",
        ),
        Some(ErrorCode::DatabaseCorrupt) => StoreError::corrupt(path, error.to_string()),
        _ => error.into(),
    }
}

/// A JSON value in a text column.
pub(crate) struct Json(pub(crate) Value);

impl FromSql for Json {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Json> {
        serde_json::from_str(value.as_str()?)
            .map(Json)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}
