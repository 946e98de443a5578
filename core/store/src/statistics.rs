//! How large a profile is.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::connection::PAGE_BYTES;
use crate::error::StoreError;
use crate::files;
use crate::store::{DATABASE_FILE, Store};

/// Sizes and counts of a profile's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreStatistics {
    /// Version of the schema in the file.
    pub schema_version: u32,
    /// Size of `hearth.db`.
    pub database_bytes: u64,
    /// Size of the write-ahead log beside it.
    pub log_bytes: u64,
    /// Bytes inside `hearth.db` that hold nothing and will be used again.
    pub free_bytes: u64,
    /// Number of chats.
    pub chats: u64,
    /// Number of messages on all branches of all chats.
    pub messages: u64,
}

impl Store {
    /// Sizes and counts, as of now.
    pub fn statistics(&self) -> Result<StoreStatistics, StoreError> {
        let number = |sql: &str| -> Result<u64, StoreError> {
            let value: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
            Ok(value as u64)
        };
        let path = self.dir.join(DATABASE_FILE);
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok(StoreStatistics {
            schema_version: number("PRAGMA user_version")? as u32,
            database_bytes: size(&path),
            log_bytes: size(&files::with_suffix(&path, "-wal")),
            free_bytes: number("PRAGMA freelist_count")? * PAGE_BYTES,
            chats: number("SELECT count(*) FROM chat")?,
            messages: number("SELECT count(*) FROM message")?,
        })
    }
}
