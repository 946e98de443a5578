//! Chats: a title, a tree of messages, and the message at its head.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

impl Store {
    /// Creates an empty chat.
    pub fn create_chat(&mut self, new: NewChat) -> Result<Chat, StoreError> {
        let _ = new;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// One chat.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn chat(&self, id: ChatId) -> Result<Chat, StoreError> {
        let _ = id;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// The chats that `query` asks for, the last changed first.
    pub fn chats(&self, query: &ChatQuery) -> Result<Vec<ChatSummary>, StoreError> {
        let _ = query;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Gives a chat another title.
    pub fn rename_chat(&mut self, id: ChatId, title: &str, now_ms: i64) -> Result<(), StoreError> {
        let _ = (id, title, now_ms);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Replaces a chat's metadata (`null` or an object).
    pub fn set_chat_metadata(&mut self, id: ChatId, metadata: &Value, now_ms: i64) -> Result<(), StoreError> {
        let _ = (id, metadata, now_ms);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Erases a chat with all its messages: from the tables, the full-text index, and the write-ahead log, which is
    /// truncated. Freed pages are overwritten with zeros.
    pub fn delete_chat(&mut self, id: ChatId) -> Result<(), StoreError> {
        let _ = id;
        Err(StoreError::Invalid("not built yet".into()))
    }
}
