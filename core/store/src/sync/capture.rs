//! Noting what changes, by triggers in the transaction that changes it.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{Dirty, SyncItem, SyncKind};
use crate::error::StoreError;
use crate::store::Store;

/// Notes `local` of a kind; a note that is there already gets a new number. (Not by `INSERT OR REPLACE`: a statement's
/// own conflict clause would override it inside a trigger.)
macro_rules! note {
    ($kind:literal, $local:literal, $from:literal) => {
        concat!(
            "DELETE FROM sync_dirty WHERE kind = ",
            $kind,
            " AND local IN (SELECT ",
            $local,
            " ",
            $from,
            ");
             INSERT INTO sync_dirty (kind, local) SELECT ",
            $kind,
            ", ",
            $local,
            " ",
            $from,
            ";"
        )
    };
}

/// The same for what a setting is part of.
macro_rules! note_setting {
    ($row:literal) => {
        concat!(
            "DELETE FROM sync_dirty
             WHERE (kind, local) IN (SELECT kind, local FROM sync_setting_item WHERE name = ",
            $row,
            ".name);
             INSERT INTO sync_dirty (kind, local) SELECT kind, local FROM sync_setting_item WHERE name = ",
            $row,
            ".name;"
        )
    };
}

/// Name, when it fires, what it does. Counters of use and the growth of a streaming message aren't changes.
const TRIGGERS: &[(&str, &str, &str)] = &[
    ("sync_memory_insert", "AFTER INSERT ON memory", note!("1", "new.id", "")),
    (
        "sync_memory_update",
        "AFTER UPDATE OF text, kind, confidence, sensitive, valid_from_ms, valid_to_ms, created_at_ms, updated_at_ms,
                         status, superseded_by, origin, pinned ON memory",
        note!("1", "new.id", ""),
    ),
    (
        "sync_memory_delete",
        "BEFORE DELETE ON memory",
        // An evicted one is still elsewhere: what it took the place of keeps saying so.
        "DELETE FROM sync_dirty WHERE kind = 1 AND local = old.id;
         DELETE FROM sync_successor WHERE memory = old.id;
         INSERT OR REPLACE INTO sync_successor (memory, successor)
             SELECT id, old.id FROM memory
             WHERE superseded_by = old.seq AND NOT EXISTS (SELECT 1 FROM erased WHERE id = old.id AND what = 'memory');",
    ),
    (
        "sync_source_insert",
        "AFTER INSERT ON memory_source",
        note!("1", "id", "FROM memory WHERE seq = new.memory"),
    ),
    (
        "sync_source_update",
        "AFTER UPDATE ON memory_source",
        note!("1", "id", "FROM memory WHERE seq = new.memory"),
    ),
    (
        "sync_source_delete",
        "AFTER DELETE ON memory_source",
        note!("1", "id", "FROM memory WHERE seq = old.memory"),
    ),
    ("sync_chat_insert", "AFTER INSERT ON chat", note!("2", "new.id", "")),
    (
        "sync_chat_update",
        "AFTER UPDATE OF title, head, metadata, memory ON chat",
        note!("2", "new.id", ""),
    ),
    (
        "sync_chat_delete",
        "AFTER DELETE ON chat",
        "DELETE FROM sync_dirty WHERE kind = 2 AND local = old.id;",
    ),
    (
        "sync_message_insert",
        "AFTER INSERT ON message WHEN new.status <> 'streaming'",
        note!("2", "id", "FROM chat WHERE seq = new.chat"),
    ),
    (
        "sync_message_update",
        "AFTER UPDATE OF text, reasoning, status, metadata, model ON message WHEN new.status <> 'streaming'",
        note!("2", "id", "FROM chat WHERE seq = new.chat"),
    ),
    (
        "sync_setting_insert",
        "AFTER INSERT ON setting",
        note_setting!("new"),
    ),
    (
        "sync_setting_update",
        "AFTER UPDATE ON setting WHEN new.value <> old.value",
        note_setting!("new"),
    ),
    (
        "sync_setting_delete",
        "BEFORE DELETE ON setting",
        note_setting!("old"),
    ),
];

/// What a setting is part of, as far as it is synced.
const SETTING_ITEMS: &str = "CREATE VIEW sync_setting_item (name, kind, local) AS
        SELECT name, 3, CAST('general' AS BLOB) FROM setting WHERE name = 'settings'
        UNION ALL
        SELECT name, 3, CAST(substr(name, 12) AS BLOB) FROM setting WHERE name GLOB 'sync.group.?*'
        UNION ALL
        SELECT s.name, 2, c.id FROM setting AS s JOIN chat AS c ON c.id = unhex(substr(s.name, 14))
        WHERE s.name GLOB 'memory.mined.*'
        UNION ALL
        SELECT s.name, 2, c.id FROM setting AS s JOIN chat AS c ON c.id = unhex(substr(s.name, 15))
        WHERE s.name GLOB 'memory.passed.*'";

/// Makes the triggers, and marks everything.
pub(super) fn begin(connection: &Connection) -> Result<(), StoreError> {
    end(connection)?;
    make(connection)?;
    connection.execute_batch(
        "INSERT OR IGNORE INTO sync_dirty (kind, local) SELECT kind, local FROM sync_setting_item WHERE kind = 3;
         INSERT OR IGNORE INTO sync_dirty (kind, local) SELECT 1, id FROM memory ORDER BY seq;
         INSERT OR IGNORE INTO sync_dirty (kind, local) SELECT 2, id FROM chat ORDER BY seq;",
    )?;
    Ok(())
}

fn make(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(&format!("{SETTING_ITEMS};"))?;
    for (name, event, body) in TRIGGERS {
        connection.execute_batch(&format!("{};", trigger(name, event, body)))?;
    }
    Ok(())
}

fn trigger(name: &str, event: &str, body: &str) -> String {
    format!("CREATE TRIGGER {name} {event} BEGIN {body} END")
}

/// What there is of triggers and the view, whichever version of this program made them: name, kind, text.
fn present(connection: &Connection) -> Result<BTreeMap<String, (String, String)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT name, type, sql FROM sqlite_schema WHERE type IN ('trigger', 'view') AND name GLOB 'sync_*'",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes the triggers, also those of other versions of this program.
pub(super) fn end(connection: &Connection) -> Result<(), StoreError> {
    let present = present(connection)?;
    // The triggers first: they read the view.
    for kind in ["trigger", "view"] {
        for (name, _) in present.iter().filter(|(_, (of, _))| of == kind) {
            connection.execute_batch(&format!("DROP {kind} IF EXISTS \"{name}\";"))?;
        }
    }
    Ok(())
}

/// Makes the triggers those of this version, where sync runs and another version began it.
pub(super) fn renew(connection: &Connection) -> Result<(), StoreError> {
    let wanted: BTreeMap<String, (String, String)> = TRIGGERS
        .iter()
        .map(|(name, event, body)| {
            (
                (*name).to_owned(),
                ("trigger".to_owned(), trigger(name, event, body)),
            )
        })
        .chain([(
            "sync_setting_item".to_owned(),
            ("view".to_owned(), SETTING_ITEMS.to_owned()),
        )])
        .collect();
    if present(connection)? != wanted {
        end(connection)?;
        make(connection)?;
    }
    Ok(())
}

/// Notes that something changed, beside the triggers.
pub(super) fn touch(connection: &Connection, item: &SyncItem) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM sync_dirty WHERE kind = ?1 AND local = ?2")?
        .execute((item.kind as u8, &item.local))?;
    connection
        .prepare_cached("INSERT INTO sync_dirty (kind, local) VALUES (?1, ?2)")?
        .execute((item.kind as u8, &item.local))?;
    Ok(())
}

pub(super) fn is_dirty(connection: &Connection, item: &SyncItem) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sync_dirty WHERE kind = ?1 AND local = ?2)")?
        .query_row((item.kind as u8, &item.local), |row| row.get(0))?)
}

/// Takes a note back.
pub(super) fn untouch(connection: &Connection, item: &SyncItem) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM sync_dirty WHERE kind = ?1 AND local = ?2")?
        .execute((item.kind as u8, &item.local))?;
    Ok(())
}

/// Ends these notes, unless what they name has changed again.
pub(super) fn clear(connection: &Connection, marks: &[i64]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("DELETE FROM sync_dirty WHERE seq = ?1")?;
    for mark in marks {
        statement.execute([mark])?;
    }
    Ok(())
}

impl Store {
    /// What changed here and isn't in its document yet, the longest waiting first. It stays noted until
    /// [`Store::sync_write`] clears the mark.
    pub fn dirty(&self, limit: usize) -> Result<Vec<Dirty>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, kind, local FROM sync_dirty ORDER BY seq LIMIT ?1")?;
        let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u8>(1)?, row.get(2)?))
        })?;
        let mut dirty = Vec::new();
        for row in rows {
            let (mark, kind, local) = row?;
            let Some(kind) = SyncKind::from_number(kind) else {
                continue;
            };
            dirty.push(Dirty {
                mark,
                item: SyncItem { kind, local },
            });
        }
        Ok(dirty)
    }

    /// Whether this changed here and isn't in its document yet.
    pub fn is_dirty(&self, item: &SyncItem) -> Result<bool, StoreError> {
        is_dirty(&self.connection, item)
    }
}
