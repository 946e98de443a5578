//! The device machine's journal: a map that survives.

use rusqlite::{Connection, OptionalExtension};

use super::SyncRecord;
use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The value at a key of the journal.
    pub fn sync_record(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT value FROM sync_record WHERE space = ?1 AND key = ?2")?
            .query_row((space, key), |row| row.get(0))
            .optional()?)
    }

    /// Keys of a space that begin with `prefix` and come after `after`, in order; at most `limit`.
    pub fn sync_records(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<SyncRecord>, StoreError> {
        let end = end_of(prefix);
        let mut statement = self.connection.prepare_cached(
            "SELECT key, value FROM sync_record
             WHERE space = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3) AND (?4 IS NULL OR key > ?4)
             ORDER BY key LIMIT ?5",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map((space, prefix, end, after, limit), |row| {
            Ok(SyncRecord {
                space,
                key: row.get(0)?,
                value: row.get(1)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The device machine's space of document keys (`hearth_sync::device`): what goes from it must be gone.
const KEYS: u8 = 8;

/// Writes records within the caller's transaction. Says whether a key went for good.
pub(super) fn write(connection: &Connection, records: &[SyncRecord]) -> Result<bool, StoreError> {
    let mut forgotten = false;
    for record in records {
        if let Some(value) = &record.value {
            connection
                .prepare_cached(
                    "INSERT INTO sync_record (space, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (space, key) DO UPDATE SET value = excluded.value",
                )?
                .execute((record.space, &record.key, value))?;
        } else {
            let gone = connection
                .prepare_cached("DELETE FROM sync_record WHERE space = ?1 AND key = ?2")?
                .execute((record.space, &record.key))?;
            forgotten |= record.space == KEYS && gone > 0;
        }
    }
    Ok(forgotten)
}

/// The first key after all that begin with `prefix`; `None` when there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
