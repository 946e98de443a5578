//! What is asked of the engine for one answer, and what it tells while writing it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{ChatId, ContextReport, MemoryReport, Message, MessageId, ResponseFormat, Sampling, Turn};

/// Choices for one answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct TurnOptions {
    /// The model for this answer; else the chat's, else the setting's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Longest reply in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The reply ends before any of these.
    pub stop: Vec<String>,
    /// Let a model that can think do so; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
}

/// Something to say in a chat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct SendParams {
    /// The chat; absent begins one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatId>,
    /// The message this follows; absent means the end of the shown branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<MessageId>,
    /// What is said.
    pub text: String,
    /// Instructions to the model, for a new chat only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The model of the chat, for a new chat only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Choices for this answer.
    pub options: TurnOptions,
    /// Keep the new chat in memory only.
    pub incognito: bool,
    /// Whether the new chat is remembered; default true. Never for incognito ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
}

/// A change to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct EditParams {
    /// The message.
    pub message: MessageId,
    /// Its new text.
    pub text: String,
    /// Choices for the answer, where there is one.
    #[serde(default)]
    #[ts(optional, as = "Option<TurnOptions>")]
    pub options: TurnOptions,
}

/// An answer to write anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct RegenerateParams {
    /// The reply to write anew, or the person's message to answer again.
    pub message: MessageId,
    /// Choices for the answer.
    #[serde(default)]
    #[ts(optional, as = "Option<TurnOptions>")]
    pub options: TurnOptions,
}

/// What happens while an answer is written, in this order; `token` and `reasoning` repeat.
#[allow(clippy::large_enum_variant, reason = "there is one beginning in each answer")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ChatEvent {
    /// The model is being read into memory; only when it was not.
    Loading {
        /// The model.
        model: String,
        /// 0 to 1.
        fraction: f32,
    },
    /// The person's message is stored and the answer begun.
    Started {
        /// The chat.
        chat: ChatId,
        /// The message being answered.
        message: MessageId,
        /// The answer.
        reply: MessageId,
        /// The model that answers.
        model: String,
        /// What the model sees of the chat.
        context: ContextReport,
        /// What it sees of what is remembered.
        memory: MemoryReport,
    },
    /// Other work is before it.
    Queued {
        /// How many requests.
        position: u32,
    },
    /// The prompt is being read.
    Prefill {
        /// Tokens read.
        done: u32,
        /// Tokens in all.
        total: u32,
        /// Tokens that were in the cache.
        reused: u32,
    },
    /// A piece of the model's thoughts.
    Reasoning {
        /// The piece.
        text: String,
    },
    /// A piece of the answer.
    Token {
        /// The piece.
        text: String,
    },
}

/// What an edit made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Edited {
    /// The new message.
    pub message: Message,
    /// Its answer, when it was a person's.
    pub reply: Option<Message>,
}

/// Turns to answer outside any chat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct CompleteParams {
    /// The turns, oldest first; one of them at least is a person's.
    pub messages: Vec<Turn>,
    /// The model; absent means the setting's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The form the reply must have.
    pub format: ResponseFormat,
    /// Longest reply in tokens; absent means what is left of the window, or the setting's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The reply ends before any of these.
    pub stop: Vec<String>,
    /// Let a model that can think do so; default true for text, false for JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
}

/// What happens while an answer is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum CompleteEvent {
    /// The model is being read into memory; only when it was not.
    Loading {
        /// The model.
        model: String,
        /// 0 to 1.
        fraction: f32,
    },
    /// The request was accepted: from here on only the model can fail.
    Started {
        /// The model that answers.
        model: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
    },
    /// Other work is before it.
    Queued {
        /// How many requests.
        position: u32,
    },
    /// The prompt is being read.
    Prefill {
        /// Tokens read.
        done: u32,
        /// Tokens in all.
        total: u32,
        /// Tokens that were in the cache.
        reused: u32,
    },
    /// A piece of the model's thoughts.
    Reasoning {
        /// The piece.
        text: String,
    },
    /// A piece of the answer.
    Token {
        /// The piece.
        text: String,
    },
}

/// Texts to turn into vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct EmbedParams {
    /// The texts, at most 2,048.
    pub input: Vec<String>,
    /// The model; absent means the setting's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}
