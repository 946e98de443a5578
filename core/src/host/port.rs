//! What the engine needs of a model, so that tests can put a faulty one in its place.

use std::path::Path;
use std::sync::Arc;

use crate::error::EngineError;
use crate::memory::compare::Judgement;
use crate::types::{FinishReason, ResponseFormat, Role, Sampling, Timings, Usage};

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// One answer to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Which conversation it belongs to; a hint for the model's cache.
    pub session: Option<u64>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Longest answer in tokens.
    pub max_tokens: u32,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
    /// The form of the answer.
    pub format: ResponseFormat,
    /// Whether the model may think first.
    pub reasoning: bool,
}

/// A written answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens read and written.
    pub usage: Usage,
    /// Where the time went, beginning with the call of `generate`.
    pub timings: Timings,
    /// The answer.
    pub text: String,
    /// What the model thought before; may be empty.
    pub reasoning: String,
}

/// What happens to an answer. [`GenerationEvent::Done`] or [`GenerationEvent::Failed`] ends it.
#[derive(Debug)]
pub enum GenerationEvent {
    /// Other work is before it.
    Queued(u32),
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
    Reasoning(String),
    /// A piece of the answer.
    Text(String),
    /// The end, also when cancelled.
    Done(Generated),
    /// The end by an error.
    Failed(EngineError),
}

/// Where events of an answer go; called on the model's thread, so it must not block.
pub type GenerationSink = Box<dyn FnMut(GenerationEvent) + Send>;

/// A hold on a running answer: dropping it cancels.
pub trait Ticket: Send + Sync {
    /// Ends the answer within one token; its last event still comes.
    fn cancel(&self);
}

/// A model that answers.
pub trait ChatModel: Send + Sync {
    /// Tokens that prompt and answer may have together.
    fn window(&self) -> u32;
    /// Memory it takes.
    fn memory_bytes(&self) -> u64;
    /// Where it runs, for people.
    fn device(&self) -> String;
    /// The conversation as the model reads it, ready for its answer.
    fn prompt(&self, messages: &[PromptMessage], reasoning: bool) -> Result<Vec<u32>, EngineError>;
    /// Whether it broke and must be loaded again.
    fn is_down(&self) -> bool;
    /// Tokens of a text.
    fn count_tokens(&self, text: &str) -> u32;
    /// Queues an answer.
    fn generate(&self, generation: Generation, sink: GenerationSink) -> Box<dyn Ticket>;
}

/// A model that turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// One vector of length 1 for each text, and the tokens read. Blocks.
    /// Errors: [`EngineError::ContextTooLarge`] for a text that is longer than the model's window.
    fn embed(&self, texts: &[&str]) -> Result<(Vec<Vec<f32>>, u32), EngineError>;
    /// What each pair of an older and a later statement is to each other; `None` for a model that can't tell. Blocks.
    fn judge(&self, _pairs: &[(&str, &str)]) -> Result<Option<Vec<Judgement>>, EngineError> {
        Ok(None)
    }
    /// Length of each vector.
    fn dimensions(&self) -> u32;
    /// Memory it takes.
    fn memory_bytes(&self) -> u64;
    /// Tokens of its window.
    fn window(&self) -> u32;
}

/// How a model is to be loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// Window in tokens; absent means the loader's choice.
    pub window: Option<u32>,
    /// Threads; absent means the loader's choice.
    pub threads: Option<u32>,
    /// Most memory it may take.
    pub memory_limit_bytes: Option<u64>,
}

/// Reads models into memory. All of it blocks.
pub trait ModelLoader: Send + Sync + std::fmt::Debug {
    /// Whether the model in `path` could be loaded, as far as that can be told without loading it.
    fn check_chat(&self, id: &str, path: &Path, request: LoadRequest) -> Result<(), EngineError>;
    /// Loads a model that answers, from its weights file.
    fn load_chat(
        &self,
        id: &str,
        path: &Path,
        request: LoadRequest,
    ) -> Result<Arc<dyn ChatModel>, EngineError>;
    /// Loads a model that embeds, from its folder.
    fn load_embedder(&self, id: &str, folder: &Path) -> Result<Arc<dyn Embedder>, EngineError>;
}
