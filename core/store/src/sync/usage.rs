//! How often memories were put before the model, on all devices together.
//!
//! Each device tells its own counts in a document of its own, at most daily: else the server would see which memory was
//! recalled when. What came from others lies in `memory_use` by device; a memory's own columns are the sum, so that whoever
//! reads them needn't know of devices.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};

use super::{SyncContent, SyncItem, SyncKind, capture, erase, running};
use crate::erasure::ErasedKind;
use crate::error::StoreError;
use crate::id::MemoryId;
use crate::store::Store;

/// Counts are told so often.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How often a device used a memory, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncUse {
    /// How often.
    pub count: u32,
    /// When that was last; milliseconds since the Unix epoch.
    pub last_used_at_ms: i64,
}

impl Store {
    /// Notes once a day that this device's counts are to be told; says whether it is time. `fresh` becomes the id of the
    /// counts if they have none yet. Nothing while the profile doesn't sync.
    pub fn tell_usage(&mut self, fresh: [u8; 16], now_ms: i64) -> Result<bool, StoreError> {
        if !running(&self.connection)? {
            return Ok(false);
        }
        let told: Option<i64> = self
            .connection
            .prepare_cached("SELECT usage_told_at_ms FROM sync_state")?
            .query_row([], |row| row.get(0))?;
        // A clock that was set back counts as a day.
        let due = told.is_some_and(|told| now_ms.abs_diff(told) >= DAY_MS);
        if told.is_some() && !due {
            return Ok(false);
        }
        let transaction = self.transaction()?;
        let own: Vec<u8> = transaction
            .prepare_cached(
                "UPDATE sync_state SET usage = coalesce(usage, ?1), usage_told_at_ms = ?2 RETURNING usage",
            )?
            .query_row((fresh, now_ms), |row| row.get(0))?;
        if due {
            let item = SyncItem {
                kind: SyncKind::Usage,
                local: own,
            };
            capture::touch(&transaction, &item)?;
        }
        transaction.commit()?;
        Ok(due)
    }
}

fn own(connection: &Connection) -> Result<Option<[u8; 16]>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT usage FROM sync_state")?
        .query_row([], |row| row.get(0))?)
}

/// This device's counts; `None` for another's.
pub(super) fn content(connection: &Connection, device: [u8; 16]) -> Result<Option<SyncContent>, StoreError> {
    if own(connection)? != Some(device) {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(
        "SELECT m.id, m.use_count - coalesce((SELECT sum(u.count) FROM memory_use AS u WHERE u.memory = m.id), 0) AS own,
                m.last_used_at_ms
         FROM memory AS m WHERE own > 0 AND m.last_used_at_ms IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| {
        let used = SyncUse {
            count: row.get(1)?,
            last_used_at_ms: row.get(2)?,
        };
        Ok((row.get(0)?, used))
    })?;
    Ok(Some(SyncContent::Usage {
        device,
        uses: rows.collect::<Result<_, _>>()?,
    }))
}

/// Takes another device's counts over in place of what it told before.
pub(super) fn apply(
    connection: &Connection,
    device: [u8; 16],
    uses: &BTreeMap<MemoryId, SyncUse>,
) -> Result<(), StoreError> {
    // Its own, from before a restore: what is here goes on.
    if own(connection)? == Some(device) {
        return Ok(());
    }
    let before: BTreeMap<MemoryId, SyncUse> = connection
        .prepare_cached("SELECT memory, count, last_used_at_ms FROM memory_use WHERE device = ?1")?
        .query_map([device], |row| {
            let used = SyncUse {
                count: row.get(1)?,
                last_used_at_ms: row.get(2)?,
            };
            Ok((row.get(0)?, used))
        })?
        .collect::<Result<_, _>>()?;
    let all: BTreeSet<MemoryId> = before.keys().chain(uses.keys()).copied().collect();
    for memory in all {
        if before.get(&memory) == uses.get(&memory) {
            continue;
        }
        let old = before.get(&memory).map_or(0, |used| used.count);
        let Some(new) = uses.get(&memory) else {
            connection
                .prepare_cached("DELETE FROM memory_use WHERE memory = ?1 AND device = ?2")?
                .execute((memory, device))?;
            add(connection, memory, -i64::from(old), None)?;
            continue;
        };
        if erase::is_gone(connection, memory.as_bytes(), ErasedKind::Memory)? {
            continue;
        }
        connection
            .prepare_cached("INSERT OR REPLACE INTO memory_use (memory, device, count, last_used_at_ms) VALUES (?1, ?2, ?3, ?4)")?
            .execute((memory, device, new.count, new.last_used_at_ms))?;
        let more = i64::from(new.count) - i64::from(old);
        add(connection, memory, more, Some(new.last_used_at_ms))?;
    }
    Ok(())
}

fn add(
    connection: &Connection,
    memory: MemoryId,
    more: i64,
    last_used_at_ms: Option<i64>,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE memory SET use_count = min(max(use_count + ?2, 0), 4294967295),
                               last_used_at_ms = max(coalesce(last_used_at_ms, ?3), coalesce(?3, last_used_at_ms))
             WHERE id = ?1",
        )?
        .execute((memory, more, last_used_at_ms))?;
    Ok(())
}

/// A memory that has just come gets what is known of its use.
pub(super) fn arrived(connection: &Connection, memory: MemoryId) -> Result<(), StoreError> {
    let known: Option<(u32, i64)> = connection
        .prepare_cached(
            "SELECT min(sum(count), 4294967295), max(last_used_at_ms) FROM memory_use WHERE memory = ?1 GROUP BY memory",
        )?
        .query_row([memory], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((count, last_used_at_ms)) = known {
        add(connection, memory, i64::from(count), Some(last_used_at_ms))?;
    }
    Ok(())
}

/// A memory goes, and what is known of its use with it.
pub(crate) fn forget(connection: &Connection, memory: MemoryId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM memory_use WHERE memory = ?1")?
        .execute([memory])?;
    Ok(())
}
