//! What recall searches: memories and turns, by words and by vectors, behind one interface.

mod context;
mod filter;
mod forms;
mod text;

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde_json::Value;

use crate::error::StoreError;
use crate::id::{ChatId, MemoryId, MessageId};
use crate::memories::{MemoryKind, MemoryState};
use crate::messages::Role;
use crate::store::Store;
use crate::vectors::Index;

pub use context::Neighbours;
pub use filter::Filter;
pub(crate) use filter::{Facts, Sieve, kind_bit, state_bit};
pub use forms::WordForms;
pub(crate) use forms::telling_words;
pub use text::TextQuery;
pub(crate) use text::{FrequentWords, best};

/// Names a row of an [`Index`] within one open store. It is never used twice, but means nothing elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(pub(crate) i64);

/// How much of the previous turn is indexed beside a turn, in characters.
const PREVIOUS_CHARACTERS: usize = 1000;

/// What a row was drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowSource {
    /// A memory.
    Memory(MemoryId),
    /// A turn of a chat.
    Turn {
        /// The chat.
        chat: ChatId,
        /// The message.
        message: MessageId,
    },
}

/// What ranking looks at in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecallRow {
    /// The row.
    #[serde(skip)]
    pub key: RowKey,
    /// What it is.
    pub source: RowSource,
    /// The memory, or what was said in the turn (see [`turn_words`]).
    pub text: String,
    /// The words of the turn before it, at most 1,000 characters; empty when there is none, and for memories.
    pub previous_text: String,
    /// Who speaks, in a turn.
    pub role: Option<Role>,
    /// The speaker's name, in a turn that has one in its metadata.
    pub speaker: Option<String>,
    /// When it was said; when the memory was first stored.
    pub at_ms: i64,
    /// What the memory is about.
    pub kind: Option<MemoryKind>,
    /// The memory's status.
    pub state: Option<MemoryState>,
    /// From 0 to 1; 1 for a turn.
    pub confidence: f32,
    /// A special category of personal data.
    pub sensitive: bool,
    /// Since when the memory holds.
    pub valid_from_ms: Option<i64>,
    /// Until when the memory held.
    pub valid_to_ms: Option<i64>,
    /// How often the memory was put before the model.
    pub use_count: u32,
    /// When that was last.
    pub last_used_at_ms: Option<i64>,
    /// When the memory last changed or was said again; when the turn was said.
    pub updated_at_ms: i64,
    /// Never fading.
    pub pinned: bool,
}

impl Store {
    /// The rows with these keys, in their order. Those that are gone are left out.
    pub fn recall_rows(&self, index: Index, keys: &[RowKey]) -> Result<Vec<RecallRow>, StoreError> {
        let rows = keys.iter().map(|key| match index {
            Index::Memories => memory_row(&self.connection, *key),
            Index::Turns => turn_row(&self.connection, *key),
        });
        rows.filter_map(Result::transpose).collect()
    }

    /// The key of a memory's row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn memory_key(&self, id: MemoryId) -> Result<RowKey, StoreError> {
        crate::memories::memory_seq(&self.connection, id).map(RowKey)
    }

    /// The key of a turn's row; `None` when the message isn't there or isn't a turn that is remembered.
    pub fn turn_key(&self, id: MessageId) -> Result<Option<RowKey>, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT t.seq FROM message AS m JOIN turn_text AS t ON t.seq = m.seq WHERE m.id = ?1",
            )?
            .query_row([id], |row| row.get(0))
            .optional()?
            .map(RowKey))
    }

    /// How many rows an index has.
    pub fn index_len(&self, index: Index) -> Result<u64, StoreError> {
        let count: i64 = match index {
            Index::Memories => return Ok(self.mirror(index)?.len() as u64),
            Index::Turns => self
                .connection
                .prepare_cached("SELECT count(*) FROM turn_search_docsize")?
                .query_row([], |row| row.get(0))?,
        };
        Ok(count as u64)
    }

    /// Whether this chat's turns are remembered: found by recall, and drawn on for memories.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn chat_memory(&self, chat: ChatId) -> Result<bool, StoreError> {
        self.connection
            .prepare_cached("SELECT memory FROM chat WHERE id = ?1")?
            .query_row([chat], |row| row.get(0))
            .optional()?
            .ok_or_else(|| StoreError::not_found("chat", chat))
    }

    /// Switches memory off or on for a chat. Off, its turns leave the index of turns with their vectors; memories that
    /// were drawn from it before stay. On, its turns are indexed again (their vectors are missing until embedded).
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn set_chat_memory(&mut self, chat: ChatId, on: bool) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        let seq = crate::chats::chat_seq(&transaction, chat)?;
        // Out first, while the view still shows what has to be forgotten.
        remove_turns_of(&transaction, seq)?;
        transaction
            .prepare_cached("UPDATE chat SET memory = ?2 WHERE seq = ?1")?
            .execute((seq, on))?;
        if on {
            add_turns_of(&transaction, seq)?;
        } else {
            transaction
                .prepare_cached(
                    "DELETE FROM turn_vector WHERE item IN (SELECT seq FROM message WHERE chat = ?1)",
                )?
                .execute([seq])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Whether remembering is paused: nothing is drawn from chats, and nothing recalled, until it goes on.
    pub fn memory_paused(&self) -> Result<bool, StoreError> {
        Ok(self
            .connection
            .query_row("SELECT paused FROM memory_state", [], |row| row.get(0))?)
    }

    /// Pauses remembering, or lets it go on.
    pub fn set_memory_paused(&mut self, paused: bool) -> Result<(), StoreError> {
        self.connection
            .execute("UPDATE memory_state SET paused = ?1 WHERE one = 1", [paused])?;
        Ok(())
    }
}

fn memory_row(connection: &Connection, key: RowKey) -> Result<Option<RecallRow>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT id, text, created_at_ms, kind, status, confidence, sensitive, valid_from_ms, valid_to_ms, use_count,
                    last_used_at_ms, updated_at_ms, pinned
             FROM memory WHERE seq = ?1",
        )?
        .query_row([key.0], |row| {
            Ok(RecallRow {
                key,
                source: RowSource::Memory(row.get(0)?),
                text: row.get(1)?,
                previous_text: String::new(),
                role: None,
                speaker: None,
                at_ms: row.get(2)?,
                kind: Some(row.get(3)?),
                state: Some(row.get(4)?),
                confidence: row.get::<_, f64>(5)? as f32,
                sensitive: row.get(6)?,
                valid_from_ms: row.get(7)?,
                valid_to_ms: row.get(8)?,
                use_count: row.get(9)?,
                last_used_at_ms: row.get(10)?,
                updated_at_ms: row.get(11)?,
                pinned: row.get(12)?,
            })
        })
        .optional()?)
}

fn turn_row(connection: &Connection, key: RowKey) -> Result<Option<RecallRow>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT m.id, c.id, m.text, m.metadata, m.role, m.created_at_ms,
                    hearth_previous(p.text, p.metadata)
             FROM message AS m JOIN chat AS c ON c.seq = m.chat LEFT JOIN message AS p ON p.seq = m.parent
             WHERE m.seq = ?1",
        )?
        .query_row([key.0], |row| {
            let at_ms = row.get(5)?;
            let metadata: String = row.get(3)?;
            Ok(RecallRow {
                key,
                source: RowSource::Turn {
                    message: row.get(0)?,
                    chat: row.get(1)?,
                },
                text: turn_words(&row.get::<_, String>(2)?, &metadata),
                previous_text: row.get(6)?,
                role: Some(row.get(4)?),
                speaker: field(&metadata, "speaker"),
                at_ms,
                kind: None,
                state: None,
                confidence: 1.0,
                sensitive: false,
                valid_from_ms: None,
                valid_to_ms: None,
                use_count: 0,
                last_used_at_ms: None,
                updated_at_ms: at_ms,
                pinned: false,
            })
        })
        .optional()?)
}

/// What is searched and embedded of a turn: its text; before it the speaker's name, behind it the caption of what was
/// shown, where the message's metadata (JSON) has the strings `speaker` and `caption`.
pub fn turn_words(text: &str, metadata: &str) -> String {
    let mut words = String::with_capacity(text.len());
    if let Some(speaker) = field(metadata, "speaker") {
        words += &speaker;
        words += ": ";
    }
    words += text;
    if let Some(caption) = field(metadata, "caption") {
        words += "\n[";
        words += &caption;
        words += "]";
    }
    words
}

/// What is searched of the turn before another one.
pub(crate) fn previous_words(text: &str, metadata: &str) -> String {
    let mut words = turn_words(text, metadata);
    if let Some((end, _)) = words.char_indices().nth(PREVIOUS_CHARACTERS) {
        words.truncate(end);
    }
    words
}

/// The string `name` in an object.
fn field(metadata: &str, name: &str) -> Option<String> {
    if !metadata.contains(name) {
        return None;
    }
    match serde_json::from_str::<Value>(metadata)
        .ok()?
        .get_mut(name)?
        .take()
    {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// Puts a memory into the full-text index.
pub(crate) fn add_memory(connection: &Connection, seq: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO memory_search (rowid, text) SELECT seq, text FROM memory_text WHERE seq = ?1",
        )?
        .execute([seq])?;
    Ok(())
}

/// Takes a memory out of the full-text index; its text must still be the indexed one.
pub(crate) fn remove_memory(connection: &Connection, seq: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM memory_search WHERE rowid = ?1")?
        .execute([seq])?;
    Ok(())
}

/// Puts a message into the index of turns, when it is one.
pub(crate) fn add_turn(connection: &Connection, seq: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO turn_search (rowid, text, previous) SELECT seq, text, previous FROM turn_text WHERE seq = ?1",
        )?
        .execute([seq])?;
    Ok(())
}

/// Takes every turn of a chat out of the full-text index, while the texts are still there.
pub(crate) fn remove_turns_of(connection: &Connection, chat: i64) -> Result<usize, StoreError> {
    Ok(connection
        .prepare_cached("DELETE FROM turn_search WHERE rowid IN (SELECT seq FROM turn_text WHERE chat = ?1)")?
        .execute([chat])?)
}

/// Puts every turn of a chat into the full-text index.
pub(crate) fn add_turns_of(connection: &Connection, chat: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO turn_search (rowid, text, previous) SELECT seq, text, previous FROM turn_text WHERE chat = ?1",
        )?
        .execute([chat])?;
    Ok(())
}

/// Runs `change`, which changes what turn `seq` says (or whether it is a turn), and indexes it and the turns below it,
/// whose context it is, anew. Says how many entries went and how many came.
pub(crate) fn change_turn(
    connection: &Connection,
    seq: i64,
    change: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(usize, usize), StoreError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM turn_search WHERE rowid IN
                 (SELECT t.seq FROM turn_text AS t WHERE t.seq = ?1
                  UNION ALL
                  SELECT t.seq FROM message AS m JOIN turn_text AS t ON t.seq = m.seq WHERE m.parent = ?1)",
        )?
        .execute([seq])?;
    change()?;
    let added = connection
        .prepare_cached(
            "INSERT INTO turn_search (rowid, text, previous)
             SELECT t.seq, t.text, t.previous FROM turn_text AS t WHERE t.seq = ?1
             UNION ALL
             SELECT t.seq, t.text, t.previous FROM message AS m JOIN turn_text AS t ON t.seq = m.seq
             WHERE m.parent = ?1",
        )?
        .execute([seq])?;
    Ok((removed, added))
}
