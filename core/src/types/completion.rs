//! What is asked of a model and what comes back.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;

use super::{ContextReport, Role};

/// One turn put to a model outside any chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// How tokens are chosen. What is absent comes from the settings, then from the engine's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct Sampling {
    /// 0 always takes the likeliest token; 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Only the k likeliest tokens; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that together reach this probability; 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only tokens at least this likely relative to the likeliest; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides the logits of recent tokens; 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// How many recent tokens the penalty looks at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_window: Option<u32>,
    /// The same seed, model and prompt give the same text; absent means random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Sampling {
    /// These values, and `fallback`'s where absent.
    #[must_use]
    pub fn or(&self, fallback: &Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.or(fallback.temperature),
            top_k: self.top_k.or(fallback.top_k),
            top_p: self.top_p.or(fallback.top_p),
            min_p: self.min_p.or(fallback.min_p),
            repetition_penalty: self.repetition_penalty.or(fallback.repetition_penalty),
            repetition_window: self.repetition_window.or(fallback.repetition_window),
            seed: self.seed.or(fallback.seed),
        }
    }
}

/// The form the reply must have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum ResponseFormat {
    /// Anything.
    #[default]
    Text,
    /// One JSON object.
    JsonObject,
    /// JSON that follows this schema.
    JsonSchema {
        /// The schema.
        schema: Value,
    },
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model was done, or a stop string came.
    Stop,
    /// `max_tokens` or the window was reached.
    Length,
    /// Someone stopped it.
    Cancelled,
}

/// Tokens read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Prompt tokens that were already in the model's cache.
    pub reused_tokens: u32,
    /// Tokens of the reply, reasoning included.
    pub completion_tokens: u32,
}

/// Where the time of a reply went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct Timings {
    /// Loading the model; 0 when it was loaded.
    pub load_ms: f64,
    /// Waiting for its turn.
    pub queue_ms: f64,
    /// Reading the prompt.
    pub prefill_ms: f64,
    /// From the request to the first token, everything above included.
    pub first_token_ms: f64,
    /// Writing the reply.
    pub decode_ms: f64,
}

/// A finished reply outside any chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Completion {
    /// The model that wrote it.
    pub model: String,
    /// The reply.
    pub text: String,
    /// What the model thought before.
    pub reasoning: Option<String>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens read and written.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// How the prompt filled the window; nothing is ever left out of a stateless completion.
    pub context: ContextReport,
}

/// Texts as vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Embeddings {
    /// The model that made them.
    pub model: String,
    /// Length of each vector.
    pub dimensions: u32,
    /// One vector of length 1 per input, in the same order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, all inputs together.
    pub tokens: u32,
}
