//! The embedded store: one SQLite file, one table for what is small and one for what is large.
//!
//! All content is sealed before it comes here, so the file is plain. What is deleted is overwritten at once
//! (`secure_delete`), and the log of changes is emptied by [`Store::scrub`].
//!
//! Most rows are an envelope of some hundred bytes. Of pages of 4 KiB such rows leave a tenth empty, and a row above a
//! quarter of a page takes whole pages for the rest of it; hence larger pages, and another table for large values.

mod space;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_protocol::hash::sha256;
use hearth_protocol::id::AccountId;
use hearth_relay::store::{SHARED, Visit};
use hearth_relay::{Space, Store, StoreError};
use rusqlite::types::{FromSql, FromSqlError, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

pub use space::Reserve;

/// The file below the data folder.
pub const DATABASE: &str = "sync.db";

/// "HSyn": tells the file from other SQLite databases.
const APPLICATION_ID: i64 = 0x4853_796e;
/// The layout of the tables.
const LAYOUT: i64 = 3;
/// Bytes of a page: see the [module](self).
const PAGE_BYTES: i64 = 16_384;
/// Pages in the log of changes before it is brought into the file: 8 MiB.
const LOG_PAGES: i64 = 512;
/// The largest value, in bytes, that stands in its row.
const INLINE_BYTES: usize = 2_000;
/// How long another process (a backup, a command of the operator) may hold the file up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a scrub waits for it.
const SCRUB_PATIENCE: Duration = Duration::from_millis(20);

const TABLES: &str = "
    CREATE TABLE accounts (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);
    CREATE TABLE rows (
        account INTEGER NOT NULL, space INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (account, space, key)
    ) WITHOUT ROWID;
    -- Values that are too large for their row, where an integer stands for them.
    CREATE TABLE large (number INTEGER PRIMARY KEY, value BLOB NOT NULL);
    CREATE TRIGGER large_deleted AFTER DELETE ON rows WHEN typeof(old.value) = 'integer'
        BEGIN DELETE FROM large WHERE number = old.value; END;
    CREATE TRIGGER large_replaced AFTER UPDATE ON rows WHEN typeof(old.value) = 'integer'
        BEGIN DELETE FROM large WHERE number = old.value; END;
    CREATE TABLE purges (account BLOB PRIMARY KEY) WITHOUT ROWID;
    -- Hashes of the accounts that were purged: a backup brings none of them back.
    CREATE TABLE purged (hash BLOB PRIMARY KEY) WITHOUT ROWID;
    -- When the newest backup was begun, and whether the accounts have been told.
    CREATE TABLE backups (only INTEGER PRIMARY KEY CHECK (only = 1), begun_ms INTEGER NOT NULL, told INTEGER NOT NULL);
";

/// How much an account has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSize {
    /// Which.
    pub account: AccountId,
    /// Envelopes and holes.
    pub items: u64,
    /// Bytes of everything.
    pub bytes: u64,
}

/// A store in a file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    reserve: Reserve,
    /// Accounts by their short number; what a transaction added is forgotten with it.
    numbers: RefCell<HashMap<AccountId, i64>>,
    /// A group is open: the relay's transactions are parts of it.
    group: bool,
    /// A transaction of the relay is open.
    open: bool,
    /// The last scrub found somebody else at the database.
    scrub_busy: bool,
}

impl SqliteStore {
    /// Opens the database of a data folder, or makes it. Below `reserve_bytes` of free space only the reserve is left.
    pub fn open(data: &Path, reserve_bytes: u64) -> Result<Self, StoreError> {
        Self::open_file(&data.join(DATABASE), reserve_bytes)
    }

    /// The same, of a file that may have another name.
    pub fn open_file(path: &Path, reserve_bytes: u64) -> Result<Self, StoreError> {
        let data = path.parent().unwrap_or(Path::new("."));
        let connection = connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        let application: i64 = pragma(&connection, "application_id")?;
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if tables == 0 {
            connection
                .pragma_update(None, "page_size", PAGE_BYTES)
                .and_then(|()| connection.pragma_update(None, "journal_mode", "WAL"))
                .map_err(failed)?;
            let script = format!(
                "BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT}; {TABLES} COMMIT;"
            );
            connection.execute_batch(&script).map_err(failed)?;
        } else if application != APPLICATION_ID {
            return Err(StoreError::Damaged("the file is another program's"));
        } else if pragma::<i64>(&connection, "user_version")? != LAYOUT {
            return Err(StoreError::Damaged(
                "the file is of another version of this program",
            ));
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
            reserve: Reserve::new(data, reserve_bytes),
            numbers: RefCell::default(),
            group: false,
            open: false,
            scrub_busy: false,
        })
    }

    /// Opens a database that a server may be using. It is never made.
    pub fn look(path: &Path) -> Result<Self, StoreError> {
        connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Self::open_file(path, 0)
    }

    /// Begins a group: transactions up to [`end_group`](Self::end_group) become durable together.
    pub fn begin_group(&mut self) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE")?;
        self.group = true;
        Ok(())
    }

    /// Ends the group, durably. After an error nothing of it counts.
    pub fn end_group(&mut self) -> Result<(), StoreError> {
        self.group = false;
        self.open = false;
        let ended = self.execute("COMMIT");
        if ended.is_err() {
            self.abandon();
        }
        ended
    }

    /// Gives a group up.
    pub fn abandon(&mut self) {
        self.group = false;
        self.open = false;
        self.numbers.borrow_mut().clear();
        if !self.connection.is_autocommit() {
            // It fails only when SQLite has rolled back by itself.
            self.connection.execute_batch("ROLLBACK").ok();
        }
    }

    /// Bytes of the database, its log of changes included.
    pub fn file_bytes(&self) -> u64 {
        let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        size(&self.path) + size(&self.path.with_extension("db-wal"))
    }

    /// Whether the last scrub found somebody else at the database, such as a backup: try again later.
    pub fn scrub_was_busy(&self) -> bool {
        self.scrub_busy
    }

    /// Where the free space is looked at.
    pub fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// Writes a copy without deleted content to a file that doesn't exist yet. The server may run meanwhile.
    pub fn copy_to(data: &Path, target: &Path) -> Result<(), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = connect(&data.join(DATABASE), flags)?;
        let target = target
            .to_str()
            .ok_or(StoreError::Damaged("the file's name isn't Unicode"))?;
        connection.execute("VACUUM INTO ?1", [target]).map_err(failed)?;
        Ok(())
    }

    /// Looks every page over. What is found, in SQLite's words; empty if all is well.
    pub fn check(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self
            .connection
            .prepare("PRAGMA integrity_check")
            .map_err(failed)?;
        let found = statement
            .query_map([], |row| row.get::<_, String>(0))
            .map_err(failed)?;
        let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    /// What is known of every account without looking into its rows.
    pub fn accounts(&self) -> Result<Vec<AccountSize>, StoreError> {
        let query = "SELECT a.id, count(*) FILTER (WHERE r.space = ?2)
                         + coalesce(sum((length(r.value) - 4) / 32) FILTER (WHERE r.space = ?3), 0),
                         coalesce(sum(length(coalesce(l.value, r.value))), 0)
                     FROM accounts a LEFT JOIN rows r ON r.account = a.number
                     LEFT JOIN large l ON typeof(r.value) = 'integer' AND l.number = r.value
                     WHERE a.id <> ?1 GROUP BY a.number ORDER BY a.number";
        let mut statement = self.connection.prepare(query).map_err(failed)?;
        let rows = statement
            .query_map(params![SHARED.0, Space::Items as u8, Space::Holes as u8], |row| {
                Ok(AccountSize {
                    account: AccountId(row.get(0)?),
                    items: unsigned(row, 1)?,
                    bytes: unsigned(row, 2)?,
                })
            })
            .map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// Every account.
    pub fn account_ids(&self) -> Result<Vec<AccountId>, StoreError> {
        let query = "SELECT id FROM accounts WHERE id <> ?1";
        let mut statement = self.connection.prepare_cached(query).map_err(failed)?;
        let rows = statement
            .query_map([&SHARED.0], |row| row.get(0).map(AccountId))
            .map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// How many accounts there are.
    pub fn account_count(&self) -> Result<u64, StoreError> {
        let query = "SELECT count(*) FROM accounts WHERE id <> ?1";
        self.connection
            .query_row(query, [&SHARED.0], |row| unsigned(row, 0))
            .map_err(failed)
    }

    /// Asks the server that runs on this file to purge an account.
    pub fn request_purge(&self, account: &AccountId) -> Result<(), StoreError> {
        let insert = "INSERT OR IGNORE INTO purges VALUES (?1)";
        self.connection.execute(insert, [&account.0]).map_err(failed)?;
        Ok(())
    }

    /// What was asked for and isn't done yet.
    pub fn requested_purges(&self) -> Result<Vec<AccountId>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT account FROM purges")
            .map_err(failed)?;
        let rows = statement
            .query_map([], |row| row.get(0).map(AccountId))
            .map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// It is done, or there was nothing to do.
    pub fn purge_done(&self, account: &AccountId) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM purges WHERE account = ?1", [&account.0])
            .map_err(failed)?;
        Ok(())
    }

    /// Whether an account was purged here and hasn't been opened again since.
    pub fn was_purged(&self, account: &AccountId) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM purged WHERE hash = ?1)
                     AND NOT EXISTS (SELECT 1 FROM accounts WHERE id = ?2)";
        self.connection
            .query_row(query, params![sha256(&account.0).0, account.0], |row| row.get(0))
            .map_err(failed)
    }

    /// Takes over which accounts were purged in another store.
    pub fn carry_over_purged(&self, other: &Self) -> Result<(), StoreError> {
        let mut statement = other
            .connection
            .prepare("SELECT hash FROM purged")
            .map_err(failed)?;
        let hashes = statement
            .query_map([], |row| row.get::<_, [u8; 32]>(0))
            .map_err(failed)?;
        for hash in hashes {
            let hash = hash.map_err(failed)?;
            self.connection
                .execute("INSERT OR IGNORE INTO purged VALUES (?1)", [hash])
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Notes that a backup was begun then, ms since the epoch. What it holds may be compacted from now on.
    pub fn backup_begun(&self, at_ms: u64) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO backups VALUES (1, ?1, 0)",
                [i64::try_from(at_ms).unwrap_or(i64::MAX)],
            )
            .map_err(failed)?;
        Ok(())
    }

    /// When the newest backup was begun, and whether its accounts have been told; none: there was none yet.
    pub fn newest_backup(&self) -> Result<Option<(u64, bool)>, StoreError> {
        let query = "SELECT begun_ms, told FROM backups";
        self.connection
            .prepare_cached(query)
            .and_then(|mut statement| {
                statement
                    .query_row([], |row| Ok((unsigned(row, 0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(failed)
    }

    /// The accounts have been told of the backup that was begun then.
    pub fn backup_told(&self, begun_ms: u64) -> Result<(), StoreError> {
        self.connection
            .execute(
                "UPDATE backups SET told = 1 WHERE begun_ms = ?1",
                [i64::try_from(begun_ms).unwrap_or(i64::MAX)],
            )
            .map_err(failed)?;
        Ok(())
    }

    fn execute(&self, statement: &str) -> Result<(), StoreError> {
        self.connection
            .execute_batch(statement)
            .map_err(|error| self.failed(error))
    }

    /// Frees the reserve when the disk is full: the next try may pass.
    fn failed(&self, error: rusqlite::Error) -> StoreError {
        let error = failed(error);
        if matches!(error, StoreError::Full) {
            self.reserve.release();
        }
        error
    }

    fn number(&self, account: &AccountId) -> Result<Option<i64>, StoreError> {
        if let Some(number) = self.numbers.borrow().get(account) {
            return Ok(Some(*number));
        }
        let mut statement = self
            .connection
            .prepare_cached("SELECT number FROM accounts WHERE id = ?1")
            .map_err(failed)?;
        let number = statement
            .query_row([&account.0], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        if let Some(number) = number {
            self.numbers.borrow_mut().insert(*account, number);
        }
        Ok(number)
    }

    fn number_or_new(&self, account: &AccountId) -> Result<i64, StoreError> {
        if let Some(number) = self.number(account)? {
            return Ok(number);
        }
        self.connection
            .execute("INSERT INTO accounts (id) VALUES (?1)", [&account.0])
            .map_err(|error| self.failed(error))?;
        let number = self.connection.last_insert_rowid();
        self.numbers.borrow_mut().insert(*account, number);
        Ok(number)
    }

    fn visit(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        statement: &str,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let Some(number) = self.number(account)? else {
            return Ok(());
        };
        let mut statement = self.connection.prepare_cached(statement).map_err(failed)?;
        let mut rows = statement
            .query(params![number, space as u8, from])
            .map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let key = row.get_ref(0).map_err(failed)?.as_blob().map_err(damaged)?;
            let flow = match row.get_ref(1).map_err(failed)? {
                ValueRef::Integer(number) => visit(key, &self.large(number)?),
                value => visit(key, value.as_blob().map_err(damaged)?),
            };
            if flow == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    /// A value that doesn't stand in its row.
    fn large(&self, number: i64) -> Result<Vec<u8>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT value FROM large WHERE number = ?1")
            .map_err(failed)?;
        statement
            .query_row([number], |row| row.get(0))
            .optional()
            .map_err(failed)?
            .ok_or(StoreError::Damaged("a large value is missing"))
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.open {
            Ok(())
        } else {
            Err(StoreError::Damaged("written outside of a transaction"))
        }
    }
}

impl Store for SqliteStore {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.execute(if self.group {
            "SAVEPOINT step"
        } else {
            "BEGIN IMMEDIATE"
        })?;
        self.open = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.writable()?;
        self.execute(if self.group { "RELEASE step" } else { "COMMIT" })?;
        self.open = false;
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        if !self.open {
            return Ok(());
        }
        self.open = false;
        self.numbers.borrow_mut().clear();
        if self.group {
            self.execute("ROLLBACK TO step; RELEASE step")
        } else if self.connection.is_autocommit() {
            Ok(())
        } else {
            self.execute("ROLLBACK")
        }
    }

    fn get(&self, account: &AccountId, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(number) = self.number(account)? else {
            return Ok(None);
        };
        let mut statement = self
            .connection
            .prepare_cached("SELECT value FROM rows WHERE account = ?1 AND space = ?2 AND key = ?3")
            .map_err(failed)?;
        let mut rows = statement
            .query(params![number, space as u8, key])
            .map_err(failed)?;
        let Some(row) = rows.next().map_err(failed)? else {
            return Ok(None);
        };
        match row.get_ref(0).map_err(failed)? {
            ValueRef::Integer(number) => self.large(number).map(Some),
            value => Ok(Some(value.as_blob().map_err(damaged)?.to_vec())),
        }
    }

    fn put(&mut self, account: &AccountId, space: Space, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.writable()?;
        let number = self.number_or_new(account)?;
        // An update, not `INSERT OR REPLACE`: that would delete without the trigger.
        let mut statement = self
            .connection
            .prepare_cached(
                "INSERT INTO rows (account, space, key, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (account, space, key) DO UPDATE SET value = excluded.value",
            )
            .map_err(failed)?;
        let value = if value.len() > INLINE_BYTES {
            self.connection
                .prepare_cached("INSERT INTO large (value) VALUES (?1)")
                .and_then(|mut statement| statement.insert([value]))
                .map(|number| ToSqlOutput::Owned(Value::Integer(number)))
                .map_err(|error| self.failed(error))?
        } else {
            ToSqlOutput::Borrowed(ValueRef::Blob(value))
        };
        statement
            .execute(params![number, space as u8, key, value])
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    fn delete(&mut self, account: &AccountId, space: Space, key: &[u8]) -> Result<(), StoreError> {
        self.writable()?;
        let Some(number) = self.number(account)? else {
            return Ok(());
        };
        let mut statement = self
            .connection
            .prepare_cached("DELETE FROM rows WHERE account = ?1 AND space = ?2 AND key = ?3")
            .map_err(failed)?;
        statement
            .execute(params![number, space as u8, key])
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    fn scan(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let statement =
            "SELECT key, value FROM rows WHERE account = ?1 AND space = ?2 AND key >= ?3 ORDER BY key";
        self.visit(account, space, from, statement, visit)
    }

    fn scan_back(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let statement =
            "SELECT key, value FROM rows WHERE account = ?1 AND space = ?2 AND key <= ?3 ORDER BY key DESC";
        self.visit(account, space, from, statement, visit)
    }

    fn purge(&mut self, account: &AccountId) -> Result<(), StoreError> {
        self.writable()?;
        let Some(number) = self.number(account)? else {
            return Ok(());
        };
        self.numbers.borrow_mut().remove(account);
        self.connection
            .execute("INSERT OR IGNORE INTO purged VALUES (?1)", [sha256(&account.0).0])
            .map_err(|error| self.failed(error))?;
        for statement in [
            "DELETE FROM rows WHERE account = ?1",
            "DELETE FROM accounts WHERE number = ?1",
        ] {
            self.connection
                .execute(statement, [number])
                .map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn scrub(&mut self) -> Result<(), StoreError> {
        // Pages were overwritten when rows were deleted. What is left of them is in the log of changes. Who serves devices
        // can't wait for somebody who reads.
        self.connection.busy_timeout(SCRUB_PATIENCE).map_err(failed)?;
        let busy = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.connection.busy_timeout(PATIENCE).map_err(failed)?;
        self.scrub_busy = busy.map_err(|error| self.failed(error))? != 0;
        if self.scrub_busy {
            Err(StoreError::Failed(
                "somebody else reads the database: the log of changes stays".into(),
            ))
        } else {
            Ok(())
        }
    }

    fn only_reserve_left(&self) -> bool {
        self.reserve.only_reserve_left()
    }
}

fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(|number| number.max(0) as u64)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection
        .execute_batch(&format!(
            "PRAGMA secure_delete = ON; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -32768; PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = {LOG_PAGES};"
        ))
        .map_err(failed)?;
    Ok(connection)
}

fn damaged(_: FromSqlError) -> StoreError {
    StoreError::Damaged("a row isn't of bytes")
}

fn pragma<T: FromSql>(connection: &Connection, name: &str) -> Result<T, StoreError> {
    connection
        .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
        .map_err(failed)
}

fn failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged("SQLite finds the file broken"),
        Some(ErrorCode::NotADatabase) => StoreError::Damaged("the file isn't an SQLite database"),
        _ => StoreError::Failed(Box::new(error)),
    }
}
