//! Chats: a title, a tree of messages, and the message at its head.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connection::Json;
use crate::erasure;
use crate::error::StoreError;
use crate::id::{ChatId, MessageId};
use crate::store::Store;

/// A chat to create.
#[derive(Debug, Clone, Default)]
pub struct NewChat {
    /// May be empty: not named yet.
    pub title: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Anything the caller keeps with the chat; `null` or an object.
    pub metadata: Value,
}

/// A chat without its messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// The chat's id.
    pub id: ChatId,
    /// May be empty: not named yet.
    pub title: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When a message was last added, changed or finished, or the chat renamed.
    pub updated_at_ms: i64,
    /// The last message of the branch in use; `None` while the chat is empty.
    pub head: Option<MessageId>,
    /// Anything the caller keeps with the chat; `null` or an object.
    pub metadata: Value,
}

/// One line of a list of chats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatSummary {
    /// The chat itself.
    #[serde(flatten)]
    pub chat: Chat,
    /// Number of messages on all branches.
    pub messages: u64,
    /// The beginning of the head's text, at most 120 characters, on one line.
    pub preview: String,
}

/// Which chats to list; newest change first.
#[derive(Debug, Clone, Default)]
pub struct ChatQuery {
    /// Only chats whose title contains this text, without regard to (ASCII) case.
    pub title_contains: Option<String>,
    /// At most this many; `None` for all.
    pub limit: Option<usize>,
    /// Leaves out this many first.
    pub offset: usize,
}

/// Columns of `chat AS c` with its head as `h`, in the order of [`chat_from`].
const CHAT: &str = "c.id, c.title, c.created_at_ms, c.updated_at_ms, h.id, c.metadata";

fn chat_from(row: &Row<'_>) -> rusqlite::Result<Chat> {
    Ok(Chat {
        id: row.get(0)?,
        title: row.get(1)?,
        created_at_ms: row.get(2)?,
        updated_at_ms: row.get(3)?,
        head: row.get(4)?,
        metadata: row.get::<_, Json>(5)?.0,
    })
}

/// The inner number of a chat.
pub(crate) fn chat_seq(connection: &Connection, id: ChatId) -> Result<i64, StoreError> {
    connection
        .prepare_cached("SELECT seq FROM chat WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| StoreError::not_found("chat", id))
}

/// Metadata as it is stored.
///
/// # Errors
/// [`StoreError::Invalid`] for anything but `null` and objects.
pub(crate) fn metadata_text(metadata: &Value) -> Result<String, StoreError> {
    match metadata {
        Value::Null | Value::Object(_) => Ok(metadata.to_string()),
        _ => Err(StoreError::Invalid("metadata is an object or null".into())),
    }
}

impl Store {
    /// Creates an empty chat.
    pub fn create_chat(&mut self, new: NewChat) -> Result<Chat, StoreError> {
        let id = ChatId::random();
        let metadata = metadata_text(&new.metadata)?;
        self.connection
            .prepare_cached(
                "INSERT INTO chat (id, title, created_at_ms, updated_at_ms, metadata)
                 VALUES (?1, ?2, ?3, ?3, ?4)",
            )?
            .execute((id, &new.title, new.created_at_ms, metadata))?;
        Ok(Chat {
            id,
            title: new.title,
            created_at_ms: new.created_at_ms,
            updated_at_ms: new.created_at_ms,
            head: None,
            metadata: new.metadata,
        })
    }

    /// One chat.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn chat(&self, id: ChatId) -> Result<Chat, StoreError> {
        self.connection
            .prepare_cached(&format!(
                "SELECT {CHAT} FROM chat AS c LEFT JOIN message AS h ON h.seq = c.head WHERE c.id = ?1"
            ))?
            .query_row([id], chat_from)
            .optional()?
            .ok_or_else(|| StoreError::not_found("chat", id))
    }

    /// Number of a chat's messages on all branches; 0 for a chat that isn't there.
    pub fn message_count(&self, id: ChatId) -> Result<u64, StoreError> {
        let count: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM message WHERE chat = (SELECT seq FROM chat WHERE id = ?1)")?
            .query_row([id], |row| row.get(0))?;
        Ok(count as u64)
    }

    /// The chats that `query` asks for, the last changed first.
    pub fn chats(&self, query: &ChatQuery) -> Result<Vec<ChatSummary>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {CHAT}, (SELECT count(*) FROM message AS m WHERE m.chat = c.seq), substr(h.text, 1, 480)
             FROM chat AS c LEFT JOIN message AS h ON h.seq = c.head
             WHERE ?1 IS NULL OR instr(lower(c.title), lower(?1)) > 0
             ORDER BY c.updated_at_ms DESC, c.seq DESC LIMIT ?2 OFFSET ?3"
        ))?;
        let limit = query
            .limit
            .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let offset = i64::try_from(query.offset).unwrap_or(i64::MAX);
        let rows = statement.query_map((&query.title_contains, limit, offset), |row| {
            let text: Option<String> = row.get(7)?;
            Ok(ChatSummary {
                chat: chat_from(row)?,
                messages: row.get::<_, i64>(6)? as u64,
                preview: preview(text.as_deref().unwrap_or_default()),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Gives a chat another title.
    pub fn rename_chat(&mut self, id: ChatId, title: &str, now_ms: i64) -> Result<(), StoreError> {
        let changed = self.connection.execute(
            "UPDATE chat SET title = ?2, updated_at_ms = ?3 WHERE id = ?1",
            (id, title, now_ms),
        )?;
        if changed == 0 {
            Err(StoreError::not_found("chat", id))
        } else {
            Ok(())
        }
    }

    /// Replaces a chat's metadata (`null` or an object).
    pub fn set_chat_metadata(&mut self, id: ChatId, metadata: &Value, now_ms: i64) -> Result<(), StoreError> {
        let changed = self.connection.execute(
            "UPDATE chat SET metadata = ?2, updated_at_ms = ?3 WHERE id = ?1",
            (id, metadata_text(metadata)?, now_ms),
        )?;
        if changed == 0 {
            Err(StoreError::not_found("chat", id))
        } else {
            Ok(())
        }
    }

    /// Deletes a chat with all its messages, and the memories that came from it alone: from the tables, the full-text
    /// indexes, the vectors, and the write-ahead log, which is truncated. Freed pages are overwritten with zeros.
    ///
    /// The chat may come back, from a backup or an export that was made before; the memories don't. What must never come
    /// back is for [`Store::erase`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::LogInUse`]: the chat is deleted all the same.
    pub fn delete_chat(&mut self, id: ChatId) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        let (seq, updated_at_ms) = transaction
            .prepare_cached("SELECT seq, updated_at_ms FROM chat WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?
            .ok_or_else(|| StoreError::not_found("chat", id))?;
        erasure::delete_chat(&transaction, id, seq, updated_at_ms)?;
        transaction.commit()?;
        self.truncate_log()
    }
}

/// The beginning of `text` on one line, at most 120 characters.
fn preview(text: &str) -> String {
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let space = usize::from(!line.is_empty());
        let room = 120usize.saturating_sub(length + space);
        if room == 0 {
            break;
        }
        if space == 1 {
            line.push(' ');
        }
        line.extend(word.chars().take(room));
        length += space + word.chars().take(room).count();
    }
    line
}
