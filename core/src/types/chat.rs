//! Chats and their messages.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{ChatId, FinishReason, MemoryReport, MessageId, Timings, Usage};

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called; in imported chats only.
    Tool,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Still being written.
    Streaming,
    /// Whole.
    Complete,
    /// Ended early by the person or by a client that went away; what had arrived is kept.
    Stopped,
    /// Ended early because the engine ended; what had been saved is kept.
    Interrupted,
    /// Ended early by an error; what had arrived is kept.
    Failed,
}

/// One message, with what a face needs to show its place in the tree of branches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Message {
    /// Its identifier.
    pub id: MessageId,
    /// The chat it belongs to.
    pub chat: ChatId,
    /// The message it follows; none for a chat's first.
    pub parent: Option<MessageId>,
    /// Who said it.
    pub role: Role,
    /// What was said, as Markdown.
    pub text: String,
    /// What the model thought before it answered, where it has such blocks.
    pub reasoning: Option<String>,
    /// How far it is.
    pub status: MessageStatus,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub created_at_ms: i64,
    /// How a reply came to be; none for what a person wrote and for imported messages.
    pub metadata: Option<ReplyMetadata>,
    /// All messages with the same parent, itself included, oldest first: the branches at this point.
    pub siblings: Vec<MessageId>,
}

/// How a reply came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ReplyMetadata {
    /// The model that wrote it.
    pub model: String,
    /// Why it ended; none while it is being written or when it failed.
    pub finish_reason: Option<FinishReason>,
    /// Tokens read and written.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// What the model saw of the chat, and what it did not.
    pub context: ContextReport,
    /// The error that ended it, as a stable code.
    pub error: Option<String>,
    /// What it drew on of what is remembered, by identifiers alone.
    #[serde(default)]
    pub memory: MemoryReport,
}

/// What fitted the model's window, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ContextReport {
    /// The window in tokens: prompt and reply together.
    pub window: u32,
    /// Tokens of it kept free for the reply.
    pub reserved_for_reply: u32,
    /// Tokens of the system prompt.
    pub system_tokens: u32,
    /// Messages of the chat that the model saw.
    pub kept_turns: u32,
    /// Messages of the chat that the model did not see, oldest first.
    pub left_out_turns: Vec<MessageId>,
    /// Tokens of those messages.
    pub left_out_tokens: u32,
    /// Tokens of the whole prompt, template included.
    pub prompt_tokens: u32,
}

/// A chat, without its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Chat {
    /// Its identifier.
    pub id: ChatId,
    /// Its name; the beginning of the first message until someone renames it.
    pub title: String,
    /// Instructions to the model for this chat; none means the setting's.
    pub system: Option<String>,
    /// The model for this chat; none means the setting's.
    pub model: Option<String>,
    /// The leaf of the branch that is shown.
    pub head: Option<MessageId>,
    /// Milliseconds since 1970-01-01 UTC.
    pub created_at_ms: i64,
    /// Milliseconds since 1970-01-01 UTC.
    pub updated_at_ms: i64,
    /// Messages in all branches.
    pub message_count: u32,
    /// Kept in memory only, and gone when the engine ends.
    pub incognito: bool,
    /// Whether it is remembered: memories are drawn from it and put before the model in it.
    pub memory: bool,
}

/// A chat and one of its branches, from the first message to the leaf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ChatDetail {
    /// The chat.
    pub chat: Chat,
    /// The branch.
    pub messages: Vec<Message>,
}

/// A message that matches a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SearchHit {
    /// The chat it is in.
    pub chat: ChatId,
    /// That chat's name.
    pub chat_title: String,
    /// The message.
    pub message: MessageId,
    /// Who said it.
    pub role: Role,
    /// The words around the match, matches between `«` and `»`.
    pub snippet: String,
    /// Higher is better; comparable within one search only.
    pub score: f64,
    /// Milliseconds since 1970-01-01 UTC.
    pub created_at_ms: i64,
}
