//! What can be asked of a model, and what comes back.

use serde::{Deserialize, Serialize};

use crate::constraint::ConstraintError;
use crate::sampling::{SamplingError, SamplingOptions};

/// The form the answer must have.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ResponseFormat {
    /// Anything.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that is valid under this JSON Schema.
    JsonSchema(serde_json::Value),
}

/// One answer to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// The prompt, special tokens included.
    pub tokens: Vec<u32>,
    /// Which conversation this belongs to: a hint where a warm KV cache lies. The longest common
    /// prefix of any cache is reused with or without it.
    pub session: Option<u64>,
    /// How tokens are drawn.
    pub sampling: SamplingOptions,
    /// Tokens to generate at most; the window's rest limits it too.
    pub max_tokens: usize,
    /// The answer ends before the first of these strings; empty strings are ignored.
    pub stop: Vec<String>,
    /// The form of the answer; reasoning before it is not bound by it.
    pub format: ResponseFormat,
    /// Keep a `<think>` block apart from the answer. Off: it stays in the text.
    pub reasoning: bool,
}

impl GenerateRequest {
    /// A plain request with default sampling and no stop strings.
    pub fn new(tokens: Vec<u32>, max_tokens: usize) -> Self {
        Self {
            tokens,
            session: None,
            sampling: SamplingOptions::default(),
            max_tokens,
            stop: Vec::new(),
            format: ResponseFormat::Text,
            reasoning: true,
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn, a stop string came, or the demanded JSON is complete.
    Stop,
    /// `max_tokens` or the end of the window was reached.
    Length,
    /// The ticket was cancelled or dropped.
    Cancelled,
}

/// Where the time of one generation went, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting for a free slot.
    pub queue_ms: f64,
    /// From the slot to the end of the prompt, including turns of other requests in between.
    pub prefill_ms: f64,
    /// From the call of `generate` to the first sampled token.
    pub first_token_ms: f64,
    /// From the first sampled token to the last.
    pub decode_ms: f64,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens that were taken from a KV cache instead of being computed.
    pub reused_tokens: usize,
    /// Tokens generated, reasoning and the end-of-turn token included.
    pub completion_tokens: usize,
    /// Where the time went.
    pub timings: Timings,
    /// The whole answer.
    pub text: String,
    /// The whole reasoning, empty when there was none.
    pub reasoning: String,
}

/// What happens to a request, in order. After [`GenerateEvent::Done`] or
/// [`GenerateEvent::Failed`] nothing follows; exactly one of them ends every request.
#[derive(Debug)]
pub enum GenerateEvent {
    /// Waiting; `position` requests are served before this one. Sent only when it has to wait.
    Queued {
        /// Requests ahead.
        position: usize,
    },
    /// Reading the prompt.
    Prefill {
        /// Prompt tokens in the cache so far, reused ones included.
        done: usize,
        /// Prompt tokens in all.
        total: usize,
        /// Tokens that did not have to be computed.
        reused: usize,
    },
    /// A piece of the model's reasoning.
    Reasoning(String),
    /// A piece of the answer.
    Text(String),
    /// The end, also when cancelled.
    Done(Completion),
    /// The request could not be served, or not to its end.
    Failed(GenerateError),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt leaves no room for a single token.
    #[error(
        "the prompt has {prompt_tokens} tokens, but the window holds {window_tokens} with one left for the answer"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// The model's usable window.
        window_tokens: usize,
    },
    /// A token of the prompt is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocabulary_size}")]
    UnknownToken {
        /// The offending token.
        token: u32,
        /// Tokens that exist.
        vocabulary_size: usize,
    },
    /// A sampling option is out of its range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The JSON schema cannot be used.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The forward pass failed.
    #[error("the model failed while computing: {0}")]
    Compute(String),
    /// The engine thread has ended, by a defect or because the model was unloaded.
    #[error("the model is down: {0}; load it again")]
    ModelDown(String),
}
