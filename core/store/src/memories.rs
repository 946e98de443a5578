//! Long-term memory: short facts with where they came from.
//!
//! What is kept, contradicted or dropped is decided elsewhere; here it is stored, listed and changed, together with
//! its full-text entry and its vectors, in one transaction each.

mod history;
mod query;
mod transfer;
mod write;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::id::{ChatId, MemoryId, MessageId};
use crate::names::names;
use crate::store::Store;

pub use query::{MemoryCounts, MemoryQuery};
pub use transfer::{MEMORY_EXPORT_FORMAT, MEMORY_EXPORT_VERSION, MemoryImportReport};
pub use write::{MemoryChange, NewMemory, Settled, Superseded};
pub(crate) use write::{check_confidence, check_text};

/// Longest text of a memory, in bytes: it is one short fact.
pub const MAX_MEMORY_BYTES: usize = 16 * 1024;

names! {
    /// What a memory is about; it decides how contradictions are resolved and how fast it fades.
    MemoryKind {
        /// An allergy, a hard rule: never overridden by inference, never evicted, never fading.
        Constraint = "constraint",
        /// A lasting fact about the person's life.
        Biography = "biography",
        /// A like or dislike.
        Preference = "preference",
        /// Something that happened or will.
        Event = "event",
        /// A mood, a current task.
        Context = "context",
    }
}

names! {
    /// Who says so.
    MemoryOrigin {
        /// The person wrote or confirmed it.
        Stated = "stated",
        /// It was drawn from a conversation.
        Extracted = "extracted",
        /// It came in with an import.
        Imported = "imported",
    }
}

names! {
    /// Which of the three statuses, without its details.
    MemoryState {
        /// Held to be true now.
        Active = "active",
        /// Was true; kept as history.
        Superseded = "superseded",
        /// To be confirmed by the person.
        Review = "review",
    }
}

/// Whether a memory is held to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum MemoryStatus {
    /// Held to be true now.
    Active,
    /// Was true; kept as history.
    Superseded {
        /// What took its place; `None` when nothing did, or that is gone.
        by: Option<MemoryId>,
    },
    /// To be confirmed by the person.
    Review,
}

impl MemoryStatus {
    /// The status without its details.
    pub fn state(self) -> MemoryState {
        match self {
            MemoryStatus::Active => MemoryState::Active,
            MemoryStatus::Superseded { .. } => MemoryState::Superseded,
            MemoryStatus::Review => MemoryState::Review,
        }
    }
}

/// A turn that a memory is to be drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceTurn {
    /// The chat.
    pub chat: ChatId,
    /// The message, of that chat.
    pub message: MessageId,
}

/// A turn that a memory was drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemorySource {
    /// The chat.
    pub chat: ChatId,
    /// The message.
    pub message: MessageId,
    /// HMAC-SHA-256 of the message's text under a key that never leaves the database: says whether the text is still
    /// the one that the memory was drawn from ([`Store::source_unchanged`]).
    #[serde(skip)]
    pub text_hash: [u8; 32],
}

/// One memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Memory {
    /// The memory's id.
    pub id: MemoryId,
    /// One short fact, at most [`MAX_MEMORY_BYTES`].
    pub text: String,
    /// What it is about.
    pub kind: MemoryKind,
    /// From 0 to 1, calibrated; 1 when the person wrote or confirmed it.
    pub confidence: f32,
    /// A special category of personal data (GDPR article 9).
    pub sensitive: bool,
    /// Since when it holds, when known; milliseconds since the Unix epoch, as all times here.
    pub valid_from_ms: Option<i64>,
    /// Until when it held, when known.
    pub valid_to_ms: Option<i64>,
    /// When it was first stored.
    pub created_at_ms: i64,
    /// When its content or status last changed, or it was said again.
    pub updated_at_ms: i64,
    /// Where it was said, by message id; a set.
    pub sources: Vec<MemorySource>,
    /// Whether it is held to be true.
    pub status: MemoryStatus,
    /// Who says so.
    pub origin: MemoryOrigin,
    /// How often it was put before the model.
    pub use_count: u32,
    /// When that was last.
    pub last_used_at_ms: Option<i64>,
    /// Never evicted, never fading.
    pub pinned: bool,
}

/// A vector and the model that made it.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedText<'a> {
    /// The embedding model's id.
    pub model_id: &'a str,
    /// As many numbers as the model has dimensions; brought to length one here.
    pub vector: &'a [f32],
}

/// Columns of `memory AS m` whose successor is `s`, in the order of [`memory_from`].
const MEMORY: &str = "m.id, m.text, m.kind, m.confidence, m.sensitive, m.valid_from_ms, m.valid_to_ms, \
                      m.created_at_ms, m.updated_at_ms, m.status, s.id, m.origin, m.use_count, m.last_used_at_ms, \
                      m.pinned, m.seq";
const MEMORY_TABLES: &str = "memory AS m LEFT JOIN memory AS s ON s.seq = m.superseded_by";

/// A memory without its sources, and its inner number.
fn memory_from(row: &Row<'_>) -> rusqlite::Result<(i64, Memory)> {
    let status = match row.get(9)? {
        MemoryState::Active => MemoryStatus::Active,
        MemoryState::Superseded => MemoryStatus::Superseded { by: row.get(10)? },
        MemoryState::Review => MemoryStatus::Review,
    };
    let memory = Memory {
        id: row.get(0)?,
        text: row.get(1)?,
        kind: row.get(2)?,
        confidence: row.get::<_, f64>(3)? as f32,
        sensitive: row.get(4)?,
        valid_from_ms: row.get(5)?,
        valid_to_ms: row.get(6)?,
        created_at_ms: row.get(7)?,
        updated_at_ms: row.get(8)?,
        sources: Vec::new(),
        status,
        origin: row.get(11)?,
        use_count: row.get(12)?,
        last_used_at_ms: row.get(13)?,
        pinned: row.get(14)?,
    };
    Ok((row.get(15)?, memory))
}

fn with_sources(connection: &Connection, (seq, mut memory): (i64, Memory)) -> Result<Memory, StoreError> {
    memory.sources = connection
        .prepare_cached(
            "SELECT chat, message, text_hash FROM memory_source WHERE memory = ?1 ORDER BY message",
        )?
        .query_map([seq], |row| {
            Ok(MemorySource {
                chat: row.get(0)?,
                message: row.get(1)?,
                text_hash: row.get(2)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(memory)
}

/// The inner number of a memory.
pub(crate) fn memory_seq(connection: &Connection, id: MemoryId) -> Result<i64, StoreError> {
    connection
        .prepare_cached("SELECT seq FROM memory WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| StoreError::not_found("memory", id))
}

/// The memory with this id.
pub(crate) fn memory_by_id(connection: &Connection, id: MemoryId) -> Result<Memory, StoreError> {
    by_seq(connection, memory_seq(connection, id)?)
}

/// The memory with this inner number.
pub(crate) fn memory_by_seq(connection: &Connection, seq: i64) -> Result<Memory, StoreError> {
    by_seq(connection, seq)
}

fn by_seq(connection: &Connection, seq: i64) -> Result<Memory, StoreError> {
    let memory = connection
        .prepare_cached(&format!("SELECT {MEMORY} FROM {MEMORY_TABLES} WHERE m.seq = ?1"))?
        .query_row([seq], memory_from)?;
    with_sources(connection, memory)
}

impl Store {
    /// One memory.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn memory(&self, id: MemoryId) -> Result<Memory, StoreError> {
        by_seq(&self.connection, memory_seq(&self.connection, id)?)
    }

    /// Whether the source's message is here and its text still the one that the memory was drawn from.
    pub fn source_unchanged(&self, source: &MemorySource) -> Result<bool, StoreError> {
        let text: Option<String> = self
            .connection
            .prepare_cached("SELECT text FROM message WHERE id = ?1")?
            .query_row([source.message], |row| row.get(0))
            .optional()?;
        Ok(match text {
            Some(text) => write::text_hash(&self.connection, &text)? == source.text_hash,
            None => false,
        })
    }
}
