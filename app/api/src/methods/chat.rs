//! Turns of a chat.

use hearth_core::types::{ChatId, ContextReport, Message, MessageId, Sampling};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{NoEvent, method};

method! {
    /// Says something in a chat, or begins one, and has it answered. A caller that goes away stops the answer; what
    /// had arrived is kept.
    Send, "chat.send", SendParams, ChatEvent, Reply
}
method! {
    /// Changes a message. A person's message gets a sibling with the new text, and an answer; a model's message gets
    /// a sibling with the given text, and no answer. The old branch stays.
    Edit, "chat.edit", EditParams, ChatEvent, Edited
}
method! {
    /// Answers the same message again, as a sibling of the given reply.
    Regenerate, "chat.regenerate", RegenerateParams, ChatEvent, Reply
}
method! {
    /// Stops a reply that is being written, whoever asked for it; what had arrived is kept.
    Stop, "chat.stop", StopParams, NoEvent, Stopped
}

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

/// Parameters of [`Send`].
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
}

/// Parameters of [`Edit`].
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

/// Parameters of [`Regenerate`].
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

/// Parameters of [`Stop`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct StopParams {
    /// The reply.
    pub reply: MessageId,
}

/// What happens while an answer is written, in this order; `token` and `reasoning` repeat.
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

/// Output of [`Send`] and [`Regenerate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Reply {
    /// The finished answer.
    pub message: Message,
}

/// Output of [`Edit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Edited {
    /// The new message.
    pub message: Message,
    /// Its answer, when it was a person's.
    pub reply: Option<Message>,
}

/// Output of [`Stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Stopped {
    /// False when the reply was already finished.
    pub stopped: bool,
}
