//! How large a profile is.

use serde::Serialize;

use crate::error::StoreError;
use crate::store::Store;

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
        Err(StoreError::Invalid("not built yet".into()))
    }
}
