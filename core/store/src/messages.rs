//! Messages: a tree per chat. Editing or regenerating adds a sibling; the old branch stays.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chats::{chat_seq, metadata_text};
use crate::connection::Json;
use crate::error::StoreError;
use crate::id::{ChatId, MessageId};
use crate::store::Store;
use crate::{recall_index, search};

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The output of a tool.
    Tool,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// Text is still arriving.
    Streaming,
    /// All of it is here.
    Complete,
    /// The user stopped it.
    Stopped,
    /// The engine ended while it was arriving; what had been saved is here.
    Interrupted,
    /// The model failed; what had arrived is here, the reason is in the metadata.
    Failed,
}

/// A message to append.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The chat it belongs to.
    pub chat: ChatId,
    /// The message it answers or follows; `None` makes it a root: the first message of the chat, or (when the first
    /// message was edited) a sibling of the first. Pass the chat's `head` to go on where the chat stands.
    pub parent: Option<MessageId>,
    /// Who speaks.
    pub role: Role,
    /// May be empty, as when an answer begins.
    pub text: String,
    /// The model's reasoning, kept apart from the answer; empty when there is none.
    pub reasoning: String,
    /// [`MessageStatus::Streaming`] for an answer that is about to arrive.
    pub status: MessageStatus,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// The id of the model that wrote it.
    pub model: Option<String>,
    /// Anything the caller keeps with the message; `null` or an object.
    pub metadata: Value,
}

/// What becomes of a streaming message when it ends.
#[derive(Debug, Clone)]
pub struct FinishedMessage {
    /// The whole text.
    pub text: String,
    /// The whole reasoning; empty when there is none.
    pub reasoning: String,
    /// Anything but [`MessageStatus::Streaming`].
    pub status: MessageStatus,
    /// Replaces the message's metadata.
    pub metadata: Value,
    /// Milliseconds since the Unix epoch.
    pub finished_at_ms: i64,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The message's id.
    pub id: MessageId,
    /// The chat it belongs to.
    pub chat: ChatId,
    /// The message before it; `None` for a root.
    pub parent: Option<MessageId>,
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub text: String,
    /// The model's reasoning; empty when there is none.
    pub reasoning: String,
    /// How far it has come.
    pub status: MessageStatus,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When its text or status last changed.
    pub updated_at_ms: i64,
    /// The id of the model that wrote it.
    pub model: Option<String>,
    /// Anything the caller keeps with the message; `null` or an object.
    pub metadata: Value,
}

impl Role {
    /// The name in the database and in exports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Role> {
        match value.as_str()? {
            "system" => Ok(Role::System),
            "user" => Ok(Role::User),
            "assistant" => Ok(Role::Assistant),
            "tool" => Ok(Role::Tool),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl MessageStatus {
    /// The name in the database and in exports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageStatus::Streaming => "streaming",
            MessageStatus::Complete => "complete",
            MessageStatus::Stopped => "stopped",
            MessageStatus::Interrupted => "interrupted",
            MessageStatus::Failed => "failed",
        }
    }
}

impl FromSql for MessageStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<MessageStatus> {
        match value.as_str()? {
            "streaming" => Ok(MessageStatus::Streaming),
            "complete" => Ok(MessageStatus::Complete),
            "stopped" => Ok(MessageStatus::Stopped),
            "interrupted" => Ok(MessageStatus::Interrupted),
            "failed" => Ok(MessageStatus::Failed),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for MessageStatus {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

/// Columns of `message AS m` in its chat `c` and below its parent `p`, in the order of [`message_from`].
const MESSAGE: &str = "m.id, c.id, p.id, m.role, m.text, m.reasoning, m.status, m.created_at_ms, m.updated_at_ms, \
                       m.model, m.metadata";
const MESSAGE_TABLES: &str =
    "message AS m JOIN chat AS c ON c.seq = m.chat LEFT JOIN message AS p ON p.seq = m.parent";

fn message_from(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: row.get(0)?,
        chat: row.get(1)?,
        parent: row.get(2)?,
        role: row.get(3)?,
        text: row.get(4)?,
        reasoning: row.get(5)?,
        status: row.get(6)?,
        created_at_ms: row.get(7)?,
        updated_at_ms: row.get(8)?,
        model: row.get(9)?,
        metadata: row.get::<_, Json>(10)?.0,
    })
}

/// Where a message stands: the inner numbers of itself, its chat and its parent.
struct Place {
    seq: i64,
    chat: i64,
    parent: Option<i64>,
    status: MessageStatus,
}

fn place(connection: &Connection, id: MessageId) -> Result<Place, StoreError> {
    connection
        .prepare_cached("SELECT seq, chat, parent, status FROM message WHERE id = ?1")?
        .query_row([id], |row| {
            Ok(Place {
                seq: row.get(0)?,
                chat: row.get(1)?,
                parent: row.get(2)?,
                status: row.get(3)?,
            })
        })
        .optional()?
        .ok_or_else(|| StoreError::not_found("message", id))
}

fn place_in(connection: &Connection, chat: ChatId, id: MessageId) -> Result<Place, StoreError> {
    let chat_seq = chat_seq(connection, chat)?;
    let place = place(connection, id)?;
    if place.chat != chat_seq {
        return Err(StoreError::Invalid(format!("message {id} is not in chat {chat}")));
    }
    Ok(place)
}

impl Store {
    /// Adds a message below `new.parent` and makes it the chat's head. On return it survives a crash of the program
    /// and of the machine.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat or parent; [`StoreError::Invalid`] for a parent in another chat.
    pub fn append_message(&mut self, new: NewMessage) -> Result<Message, StoreError> {
        let id = MessageId::random();
        let metadata = metadata_text(&new.metadata)?;
        let transaction = self.transaction()?;
        let chat = chat_seq(&transaction, new.chat)?;
        let parent = match new.parent {
            Some(parent) => Some(place_in(&transaction, new.chat, parent)?.seq),
            None => None,
        };
        transaction
            .prepare_cached(
                "INSERT INTO message (id, chat, parent, role, status, text, reasoning, created_at_ms,
                                      updated_at_ms, model, metadata)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10)",
            )?
            .execute((
                id,
                chat,
                parent,
                new.role,
                new.status,
                &new.text,
                &new.reasoning,
                new.created_at_ms,
                &new.model,
                metadata,
            ))?;
        let seq = transaction.last_insert_rowid();
        if new.status != MessageStatus::Streaming {
            search::index(&transaction, seq, &new.text)?;
            recall_index::add_turn(&transaction, seq)?;
        }
        transaction
            .prepare_cached(
                "UPDATE chat SET head = ?2, updated_at_ms = max(updated_at_ms, ?3) WHERE seq = ?1",
            )?
            .execute((chat, seq, new.created_at_ms))?;
        transaction.commit()?;
        Ok(Message {
            id,
            chat: new.chat,
            parent: new.parent,
            role: new.role,
            text: new.text,
            reasoning: new.reasoning,
            status: new.status,
            created_at_ms: new.created_at_ms,
            updated_at_ms: new.created_at_ms,
            model: new.model,
            metadata: new.metadata,
        })
    }

    /// Saves what has arrived so far of a streaming message (all of it, not a piece). Cheap, because the disk is not
    /// made to flush: it survives a crash of the program at once, but a crash of the machine only after the next
    /// [`Store::append_message`] or [`Store::finish_message`], or when the operating system gets to it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the message is not streaming.
    pub fn update_streaming(
        &mut self,
        id: MessageId,
        text: &str,
        reasoning: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        let updated = self
            .connection
            .prepare_cached(
                "UPDATE message SET text = ?2, reasoning = ?3, updated_at_ms = ?4
                 WHERE id = ?1 AND status = 'streaming'",
            )
            .and_then(|mut statement| statement.execute((id, text, reasoning, now_ms)));
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        if updated? == 0 {
            let status = place(&self.connection, id)?.status;
            return Err(not_streaming(id, status));
        }
        Ok(())
    }

    /// Ends a streaming message; from now on it is found by search.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the message is not streaming, or `finished.status` is.
    pub fn finish_message(
        &mut self,
        id: MessageId,
        finished: FinishedMessage,
    ) -> Result<Message, StoreError> {
        if finished.status == MessageStatus::Streaming {
            return Err(StoreError::Invalid("a finished message is not streaming".into()));
        }
        let metadata = metadata_text(&finished.metadata)?;
        let mut message = self.message(id)?;
        if message.status != MessageStatus::Streaming {
            return Err(not_streaming(id, message.status));
        }
        let transaction = self.transaction()?;
        let place = place(&transaction, id)?;
        recall_index::change_turn(&transaction, place.seq, || {
            transaction
                .prepare_cached(
                    "UPDATE message SET text = ?2, reasoning = ?3, status = ?4, metadata = ?5, updated_at_ms = ?6
                     WHERE seq = ?1",
                )?
                .execute((
                    place.seq,
                    &finished.text,
                    &finished.reasoning,
                    finished.status,
                    metadata,
                    finished.finished_at_ms,
                ))?;
            Ok(())
        })?;
        search::index(&transaction, place.seq, &finished.text)?;
        transaction
            .prepare_cached("UPDATE chat SET updated_at_ms = max(updated_at_ms, ?2) WHERE seq = ?1")?
            .execute((place.chat, finished.finished_at_ms))?;
        transaction.commit()?;
        message.text = finished.text;
        message.reasoning = finished.reasoning;
        message.status = finished.status;
        message.metadata = finished.metadata;
        message.updated_at_ms = finished.finished_at_ms;
        Ok(message)
    }

    /// Marks messages that were streaming when the last engine ended as [`MessageStatus::Interrupted`]; says how
    /// many. Opening a store does this already.
    pub fn recover_interrupted(&mut self) -> Result<usize, StoreError> {
        let transaction = self.transaction()?;
        let cut: Vec<(i64, String)> = transaction
            .prepare_cached("SELECT seq, text FROM message WHERE status = 'streaming'")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (seq, text) in &cut {
            recall_index::change_turn(&transaction, *seq, || {
                transaction
                    .prepare_cached("UPDATE message SET status = 'interrupted' WHERE seq = ?1")?
                    .execute([seq])?;
                Ok(())
            })?;
            search::index(&transaction, *seq, text)?;
        }
        transaction.commit()?;
        Ok(cut.len())
    }

    /// One message.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn message(&self, id: MessageId) -> Result<Message, StoreError> {
        self.connection
            .prepare_cached(&format!("SELECT {MESSAGE} FROM {MESSAGE_TABLES} WHERE m.id = ?1"))?
            .query_row([id], message_from)
            .optional()?
            .ok_or_else(|| StoreError::not_found("message", id))
    }

    /// The messages from the root to `leaf` (the chat's head when `None`), in reading order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat or leaf; [`StoreError::Invalid`] for a leaf of another chat.
    pub fn branch(&self, chat: ChatId, leaf: Option<MessageId>) -> Result<Vec<Message>, StoreError> {
        let Some(leaf) = leaf.or(self.chat(chat)?.head) else {
            return Ok(Vec::new());
        };
        let leaf = place_in(&self.connection, chat, leaf)?.seq;
        // A parent's number is always below its children's (the schema checks it): that is the reading order.
        let mut statement = self.connection.prepare_cached(&format!(
            "WITH RECURSIVE path (seq, parent) AS (
                 SELECT seq, parent FROM message WHERE seq = ?1
                 UNION ALL
                 SELECT u.seq, u.parent FROM message AS u JOIN path ON u.seq = path.parent
             )
             SELECT {MESSAGE} FROM {MESSAGE_TABLES} WHERE m.seq IN (SELECT seq FROM path) ORDER BY m.seq"
        ))?;
        let rows = statement.query_map([leaf], message_from)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The message and all its siblings (same chat, same parent), oldest first.
    pub fn siblings(&self, id: MessageId) -> Result<Vec<Message>, StoreError> {
        let place = place(&self.connection, id)?;
        self.below(place.chat, place.parent)
    }

    /// The messages right below `id`, oldest first.
    pub fn children(&self, id: MessageId) -> Result<Vec<Message>, StoreError> {
        let place = place(&self.connection, id)?;
        self.below(place.chat, Some(place.seq))
    }

    fn below(&self, chat: i64, parent: Option<i64>) -> Result<Vec<Message>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {MESSAGE} FROM {MESSAGE_TABLES} WHERE m.chat = ?1 AND m.parent IS ?2 ORDER BY m.seq"
        ))?;
        let rows = statement.query_map((chat, parent), message_from)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The end of the branch that goes down from `id` by always taking the newest child: where to put the head
    /// when the user walks to a sibling or lands on a search hit.
    pub fn newest_leaf(&self, id: MessageId) -> Result<MessageId, StoreError> {
        let mut seq = place(&self.connection, id)?.seq;
        let mut newest = id;
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, id FROM message WHERE parent = ?1 ORDER BY seq DESC LIMIT 1")?;
        while let Some((child, child_id)) = statement
            .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?
        {
            seq = child;
            newest = child_id;
        }
        Ok(newest)
    }

    /// Makes `message` (any message of the chat) the chat's head.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Invalid`] for a message of another chat.
    pub fn set_head(&mut self, chat: ChatId, message: MessageId) -> Result<(), StoreError> {
        let place = place_in(&self.connection, chat, message)?;
        self.connection
            .prepare_cached("UPDATE chat SET head = ?2 WHERE seq = ?1")?
            .execute((place.chat, place.seq))?;
        Ok(())
    }
}

fn not_streaming(id: MessageId, status: MessageStatus) -> StoreError {
    StoreError::Invalid(format!("message {id} is {}, not streaming", status.name()))
}
