//! Messages: a tree per chat. Editing or regenerating adds a sibling; the old branch stays.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StoreError;
use crate::id::{ChatId, MessageId};
use crate::store::Store;

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

impl Store {
    /// Adds a message below `new.parent` and makes it the chat's head. On return it survives a crash of the program
    /// and of the machine.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat or parent; [`StoreError::Invalid`] for a parent in another chat.
    pub fn append_message(&mut self, new: NewMessage) -> Result<Message, StoreError> {
        let _ = new;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Saves what has arrived so far of a streaming message (all of it, not a piece). Cheap: no disk flush, so it
    /// survives a crash of the program at once, a crash of the machine within some seconds.
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
        let _ = (id, text, reasoning, now_ms);
        Err(StoreError::Invalid("not built yet".into()))
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
        let _ = (id, finished);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Marks messages that were streaming when the last engine ended as [`MessageStatus::Interrupted`]; says how
    /// many. Opening a store does this already.
    pub fn recover_interrupted(&mut self) -> Result<usize, StoreError> {
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// One message.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn message(&self, id: MessageId) -> Result<Message, StoreError> {
        let _ = id;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// The messages from the root to `leaf` (the chat's head when `None`), in reading order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat or leaf; [`StoreError::Invalid`] for a leaf of another chat.
    pub fn branch(&self, chat: ChatId, leaf: Option<MessageId>) -> Result<Vec<Message>, StoreError> {
        let _ = (chat, leaf);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// The message and all its siblings (same chat, same parent), oldest first.
    pub fn siblings(&self, id: MessageId) -> Result<Vec<Message>, StoreError> {
        let _ = id;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// The messages right below `id`, oldest first.
    pub fn children(&self, id: MessageId) -> Result<Vec<Message>, StoreError> {
        let _ = id;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// The end of the branch that goes down from `id` by always taking the newest child: where to put the head
    /// when the user walks to a sibling or lands on a search hit.
    pub fn newest_leaf(&self, id: MessageId) -> Result<MessageId, StoreError> {
        let _ = id;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Makes `message` (any message of the chat) the chat's head.
    pub fn set_head(&mut self, chat: ChatId, message: MessageId) -> Result<(), StoreError> {
        let _ = (chat, message);
        Err(StoreError::Invalid("not built yet".into()))
    }
}
