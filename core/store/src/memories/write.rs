//! Adding, changing and using memories.

use hmac::{Hmac, Mac};
use rusqlite::{Connection, OptionalExtension};
use sha2::Sha256;

use super::{
    EmbeddedText, MAX_MEMORY_BYTES, Memory, MemoryKind, MemoryOrigin, MemoryStatus, SourceTurn, by_seq,
    memory_seq,
};
use crate::biography;
use crate::erasure::{self, EraseCounts};
use crate::error::StoreError;
use crate::id::MemoryId;
use crate::recall_index;
use crate::store::Store;
use crate::sync;
use crate::vectors::{self, Index};

/// A memory to add.
#[derive(Debug, Clone)]
pub struct NewMemory {
    /// One short fact; not blank, at most [`MAX_MEMORY_BYTES`].
    pub text: String,
    /// What it is about.
    pub kind: MemoryKind,
    /// From 0 to 1.
    pub confidence: f32,
    /// A special category of personal data.
    pub sensitive: bool,
    /// Since when it holds, when known.
    pub valid_from_ms: Option<i64>,
    /// Until when it held, when known.
    pub valid_to_ms: Option<i64>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// The turns it was drawn from; may be empty, when it was typed in as a memory.
    pub sources: Vec<SourceTurn>,
    /// Whether it is held to be true.
    pub status: MemoryStatus,
    /// Who says so.
    pub origin: MemoryOrigin,
    /// Never evicted, never fading.
    pub pinned: bool,
}

/// What to change of a memory; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct MemoryChange {
    /// Replaces the text. Vectors of the old text are dropped.
    pub text: Option<String>,
    /// Replaces the kind.
    pub kind: Option<MemoryKind>,
    /// Replaces the confidence.
    pub confidence: Option<f32>,
    /// Replaces the flag.
    pub sensitive: Option<bool>,
    /// Replaces the beginning; `Some(None)` makes it unknown.
    pub valid_from_ms: Option<Option<i64>>,
    /// Replaces the end; `Some(None)` makes it unknown.
    pub valid_to_ms: Option<Option<i64>>,
    /// Replaces the origin.
    pub origin: Option<MemoryOrigin>,
    /// Replaces the status.
    pub status: Option<MemoryStatus>,
    /// Replaces the flag.
    pub pinned: Option<bool>,
}

/// What becomes of a fact that was compared with what is known.
#[derive(Debug)]
pub enum Settled<'a> {
    /// It is new.
    New {
        /// The memory to add.
        memory: &'a NewMemory,
        /// Its vector, when there is one.
        vector: Option<EmbeddedText<'a>>,
    },
    /// It says what a memory says.
    Known {
        /// That memory.
        id: MemoryId,
        /// Where it was said again.
        sources: &'a [SourceTurn],
        /// When, in milliseconds since the Unix epoch.
        said_at_ms: i64,
        /// What changes of the memory by that.
        change: Option<MemoryChange>,
    },
}

/// A memory that becomes history.
#[derive(Debug, Clone, Copy)]
pub struct Superseded {
    /// The memory.
    pub memory: MemoryId,
    /// Until when it held, unless that is known already.
    pub valid_to_ms: Option<i64>,
}

impl Store {
    /// Adds a memory, its full-text entry and, when given, its vector.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a blank or too long text, a confidence outside 0 to 1, or a vector that doesn't fit
    /// its model; [`StoreError::NotFound`] for a source that isn't there.
    pub fn add_memory(
        &mut self,
        new: &NewMemory,
        vector: Option<EmbeddedText<'_>>,
    ) -> Result<Memory, StoreError> {
        self.settle_memory(&Settled::New { memory: new, vector }, &[], new.created_at_ms)
    }

    /// Adds a memory or notes that one was said again, and makes others history because of it: all of it or nothing.
    ///
    /// # Errors
    /// As for [`Store::add_memory`], [`Store::update_memory`] and [`Store::supersede_memory`].
    pub fn settle_memory(
        &mut self,
        settled: &Settled<'_>,
        superseded: &[Superseded],
        now_ms: i64,
    ) -> Result<Memory, StoreError> {
        let transaction = self.transaction()?;
        let seq = match settled {
            Settled::New { memory, vector } => insert(&transaction, memory, *vector)?,
            Settled::Known {
                id,
                sources,
                said_at_ms,
                change,
            } => {
                let seq = reinforce(&transaction, *id, sources, *said_at_ms)?;
                if let Some(change) = change {
                    alter(&transaction, *id, change, None, now_ms)?;
                }
                seq
            }
        };
        let by = by_seq(&transaction, seq)?.id;
        for old in superseded {
            supersede(&transaction, old.memory, by, old.valid_to_ms, now_ms)?;
        }
        let memory = by_seq(&transaction, seq)?;
        transaction.commit()?;
        Ok(memory)
    }

    /// Changes a memory. With a new text comes its vector, when it is there already.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Invalid`] as for [`Store::add_memory`].
    pub fn update_memory(
        &mut self,
        id: MemoryId,
        change: &MemoryChange,
        vector: Option<EmbeddedText<'_>>,
        now_ms: i64,
    ) -> Result<Memory, StoreError> {
        let transaction = self.transaction()?;
        let seq = alter(&transaction, id, change, vector, now_ms)?;
        let memory = by_seq(&transaction, seq)?;
        transaction.commit()?;
        Ok(memory)
    }

    /// Notes that a memory was said again, in `sources`. They are a set: what is there already changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown memory or source.
    pub fn reinforce_memory(
        &mut self,
        id: MemoryId,
        sources: &[SourceTurn],
        now_ms: i64,
    ) -> Result<Memory, StoreError> {
        let transaction = self.transaction()?;
        let seq = reinforce(&transaction, id, sources, now_ms)?;
        let memory = by_seq(&transaction, seq)?;
        transaction.commit()?;
        Ok(memory)
    }

    /// Makes `old` history: superseded by `by`, and at an end at `valid_to_ms`, unless its end is known already.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Invalid`] when `by` was itself superseded by `old`, however indirectly.
    pub fn supersede_memory(
        &mut self,
        old: MemoryId,
        by: MemoryId,
        valid_to_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        supersede(&transaction, old, by, valid_to_ms, now_ms)?;
        transaction.commit()?;
        Ok(())
    }

    /// Gives a memory another status.
    ///
    /// # Errors
    /// As for [`Store::supersede_memory`].
    pub fn set_memory_status(
        &mut self,
        id: MemoryId,
        status: MemoryStatus,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let change = MemoryChange {
            status: Some(status),
            ..MemoryChange::default()
        };
        self.update_memory(id, &change, None, now_ms).map(|_| ())
    }

    /// Pins a memory, or lets it loose; then what the biography says by it is dropped, to be built anew.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn pin_memory(&mut self, id: MemoryId, pinned: bool) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        let seq = memory_seq(&transaction, id)?;
        let changed = transaction
            .prepare_cached("UPDATE memory SET pinned = ?2 WHERE seq = ?1 AND pinned <> ?2")?
            .execute((seq, pinned))?;
        if changed > 0 && !pinned {
            biography::drop_drawn_from(&transaction, seq)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Notes that these memories were put before the model. Ids that are no longer there are passed over.
    pub fn mark_used(&mut self, ids: &[MemoryId], now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        {
            let mut statement = transaction.prepare_cached(
                "UPDATE memory SET use_count = min(use_count + 1, 4294967295),
                                   last_used_at_ms = max(coalesce(last_used_at_ms, ?2), ?2)
                 WHERE id = ?1",
            )?;
            for id in ids {
                statement.execute((id, now_ms))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes memories until at most `cap` are left, and says how many: those that were longest not put before the
    /// model (since they were stored, when they never were) go first, pinned ones and constraints never.
    ///
    /// Unlike erased ones they may come back with a backup or an import.
    pub fn evict_memories(&mut self, cap: usize) -> Result<usize, StoreError> {
        let transaction = self.transaction()?;
        let count: i64 = transaction.query_row("SELECT count(*) FROM memory", [], |row| row.get(0))?;
        let surplus = (count as usize).saturating_sub(cap);
        let going: Vec<i64> = transaction
            .prepare_cached(
                "SELECT seq FROM memory WHERE pinned = 0 AND kind <> 'constraint'
                 ORDER BY coalesce(last_used_at_ms, created_at_ms), seq LIMIT ?1",
            )?
            .query_map([surplus as i64], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let evicted = ids_of(&transaction, &going)?;
        erasure::remove_memories(&transaction, &going, None, &mut EraseCounts::default())?;
        sync::ordered_here(&transaction, &evicted)?;
        transaction.commit()?;
        if !going.is_empty() {
            // What is evicted is of no use any more, and no secret: the log is emptied in its own time.
            tracing::debug!(memories = going.len(), "evicted");
        }
        Ok(going.len())
    }
}

fn ids_of(connection: &Connection, seqs: &[i64]) -> Result<Vec<MemoryId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM memory WHERE seq = ?1")?;
    let ids = seqs
        .iter()
        .map(|seq| statement.query_row([seq], |row| row.get(0)));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// A new memory, and its inner number.
fn insert(
    connection: &Connection,
    new: &NewMemory,
    vector: Option<EmbeddedText<'_>>,
) -> Result<i64, StoreError> {
    check_text(&new.text)?;
    check_confidence(new.confidence)?;
    let by = successor(connection, new.status)?;
    connection
        .prepare_cached(
            "INSERT INTO memory (id, text, kind, confidence, sensitive, valid_from_ms, valid_to_ms,
                                 created_at_ms, updated_at_ms, status, superseded_by, origin, pinned)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute((
            MemoryId::random(),
            &new.text,
            new.kind,
            f64::from(new.confidence),
            new.sensitive,
            new.valid_from_ms,
            new.valid_to_ms,
            new.created_at_ms,
            new.status.state(),
            by,
            new.origin,
            new.pinned,
        ))?;
    let seq = connection.last_insert_rowid();
    recall_index::add_memory(connection, seq)?;
    add_sources(connection, seq, &new.sources)?;
    if let Some(vector) = vector {
        vectors::put(connection, Index::Memories, seq, vector)?;
    }
    Ok(seq)
}

/// Changes a memory, and its inner number.
fn alter(
    connection: &Connection,
    id: MemoryId,
    change: &MemoryChange,
    vector: Option<EmbeddedText<'_>>,
    now_ms: i64,
) -> Result<i64, StoreError> {
    change.text.as_deref().map_or(Ok(()), check_text)?;
    change.confidence.map_or(Ok(()), check_confidence)?;
    let seq = memory_seq(connection, id)?;
    let old = by_seq(connection, seq)?;
    let text = change.text.as_ref().unwrap_or(&old.text);
    let renewed = *text != old.text;
    if renewed {
        // The index first: it reads the text that it has to forget.
        recall_index::remove_memory(connection, seq)?;
        vectors::remove(connection, Index::Memories, seq)?;
    }
    let status = change.status.unwrap_or(old.status);
    let by = match change.status {
        Some(status) => successor_of(connection, seq, status)?,
        None => successor(connection, old.status)?,
    };
    connection
        .prepare_cached(
            "UPDATE memory SET text = ?2, kind = ?3, confidence = ?4, sensitive = ?5, valid_from_ms = ?6,
                               valid_to_ms = ?7, updated_at_ms = max(updated_at_ms, ?8), status = ?9,
                               superseded_by = ?10, origin = ?11, pinned = ?12
             WHERE seq = ?1",
        )?
        .execute((
            seq,
            text,
            change.kind.unwrap_or(old.kind),
            f64::from(change.confidence.unwrap_or(old.confidence)),
            change.sensitive.unwrap_or(old.sensitive),
            change.valid_from_ms.unwrap_or(old.valid_from_ms),
            change.valid_to_ms.unwrap_or(old.valid_to_ms),
            now_ms,
            status.state(),
            by,
            change.origin.unwrap_or(old.origin),
            change.pinned.unwrap_or(old.pinned),
        ))?;
    if renewed {
        recall_index::add_memory(connection, seq)?;
    }
    let memory = by_seq(connection, seq)?;
    // A sentence of the biography is not to outlive what it stands there for.
    let holds = |memory: &Memory| {
        let times = (memory.valid_from_ms, memory.valid_to_ms);
        (memory.status.state(), memory.kind, times)
    };
    let withdrawn = (memory.sensitive && !old.sensitive) || (old.pinned && !memory.pinned);
    if renewed || withdrawn || holds(&memory) != holds(&old) {
        biography::drop_drawn_from(connection, seq)?;
    }
    if let Some(vector) = vector {
        vectors::put(connection, Index::Memories, seq, vector)?;
    }
    Ok(seq)
}

/// Notes that a memory was said again, and its inner number.
fn reinforce(
    connection: &Connection,
    id: MemoryId,
    sources: &[SourceTurn],
    now_ms: i64,
) -> Result<i64, StoreError> {
    let seq = memory_seq(connection, id)?;
    add_sources(connection, seq, sources)?;
    connection
        .prepare_cached("UPDATE memory SET updated_at_ms = max(updated_at_ms, ?2) WHERE seq = ?1")?
        .execute((seq, now_ms))?;
    Ok(seq)
}

/// Makes `old` history.
fn supersede(
    connection: &Connection,
    old: MemoryId,
    by: MemoryId,
    valid_to_ms: Option<i64>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let seq = memory_seq(connection, old)?;
    let by = successor_of(connection, seq, MemoryStatus::Superseded { by: Some(by) })?;
    connection
        .prepare_cached(
            "UPDATE memory SET status = 'superseded', superseded_by = ?2,
                               valid_to_ms = coalesce(valid_to_ms, ?3),
                               updated_at_ms = max(updated_at_ms, ?4)
             WHERE seq = ?1",
        )?
        .execute((seq, by, valid_to_ms, now_ms))?;
    biography::drop_drawn_from(connection, seq)?;
    Ok(())
}

/// # Errors
/// [`StoreError::Invalid`] for a text that no memory can have.
pub(crate) fn check_text(text: &str) -> Result<(), StoreError> {
    if text.trim().is_empty() {
        return Err(StoreError::Invalid("a memory needs a text".into()));
    }
    if text.len() > MAX_MEMORY_BYTES {
        return Err(StoreError::Invalid(format!(
            "a memory is one short fact: {} bytes are more than {MAX_MEMORY_BYTES}",
            text.len()
        )));
    }
    Ok(())
}

/// # Errors
/// [`StoreError::Invalid`] outside 0 to 1.
pub(crate) fn check_confidence(confidence: f32) -> Result<(), StoreError> {
    if (0.0..=1.0).contains(&confidence) {
        Ok(())
    } else {
        Err(StoreError::Invalid(format!(
            "a confidence is from 0 to 1, not {confidence}"
        )))
    }
}

/// The inner number of what takes the place of a memory with this status.
fn successor(connection: &Connection, status: MemoryStatus) -> Result<Option<i64>, StoreError> {
    match status {
        MemoryStatus::Superseded { by: Some(by) } => memory_seq(connection, by).map(Some),
        _ => Ok(None),
    }
}

/// Like [`successor`], for a memory that exists: what takes its place must not have been replaced by it.
fn successor_of(connection: &Connection, seq: i64, status: MemoryStatus) -> Result<Option<i64>, StoreError> {
    let first = successor(connection, status)?;
    let mut next = first;
    let mut statement = connection.prepare_cached("SELECT superseded_by FROM memory WHERE seq = ?1")?;
    while let Some(later) = next {
        if later == seq {
            return Err(StoreError::Invalid(
                "a memory can't be superseded by itself or by one that it took the place of".into(),
            ));
        }
        next = statement.query_row([later], |row| row.get(0))?;
    }
    Ok(first)
}

fn add_sources(connection: &Connection, memory: i64, sources: &[SourceTurn]) -> Result<(), StoreError> {
    for source in sources {
        let text: String = connection
            .prepare_cached(
                "SELECT m.text FROM message AS m JOIN chat AS c ON c.seq = m.chat WHERE m.id = ?1 AND c.id = ?2",
            )?
            .query_row((source.message, source.chat), |row| row.get(0))
            .optional()?
            .ok_or_else(|| StoreError::not_found("message", source.message))?;
        connection
            .prepare_cached(
                "INSERT INTO memory_source (memory, chat, message, text_hash) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (memory, message) DO UPDATE SET text_hash = excluded.text_hash",
            )?
            .execute((memory, source.chat, source.message, text_hash(connection, &text)?))?;
    }
    Ok(())
}

/// The keyed hash of a source's text.
pub(super) fn text_hash(connection: &Connection, text: &str) -> Result<[u8; 32], StoreError> {
    let key: [u8; 32] = connection
        .prepare_cached("SELECT hash_key FROM memory_state")?
        .query_row([], |row| row.get(0))?;
    let mut hash = Hmac::<Sha256>::new_from_slice(&key)
        .map_err(|error| StoreError::Invalid(format!("the key of the hashes: {error}")))?;
    hash.update(text.as_bytes());
    Ok(hash.finalize().into_bytes().into())
}
