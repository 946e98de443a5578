//! Answers and vectors outside any chat; nothing of them is stored.

use hearth_core::types::{Completion, Embeddings, ResponseFormat, Sampling, Turn};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{NoEvent, method};

method! {
    /// Answers the given turns. Nothing is left out: a prompt larger than the window is an error with both numbers.
    Complete, "complete", CompleteParams, CompleteEvent, Completion
}
method! {
    /// Turns texts into vectors. A text longer than the model's window is an error.
    Embed, "embed", EmbedParams, NoEvent, Embeddings
}

/// Parameters of [`Complete`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct CompleteParams {
    /// The turns, oldest first; the last is a person's, or a model's that is to be continued.
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

/// Parameters of [`Embed`].
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
