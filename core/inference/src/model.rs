//! A loaded language model: a handle in front of one engine thread.
//!
//! The thread owns the network and its key-value caches. Requests reach it as messages and wait in the order
//! they came; each gets a slot, and those that have one are computed in turn, a token or a short slice of
//! prompt at a time. A request always ends in exactly one [`GenerateEvent::Done`] or
//! [`GenerateEvent::Failed`], whatever happens to the thread.

mod engine;
mod generation;
mod job;
mod load;
mod options;
mod request;
mod slots;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub use load::estimate_memory;
pub use options::{DeviceChoice, MemoryEstimate, ModelInfo};
pub use request::{
    Completion, FinishReason, GenerateError, GenerateEvent, GenerateRequest, ResponseFormat, Timings,
};

use self::engine::Engine;
use self::job::{Down, Job, Outlet, Plan};
use crate::chat_template::{ChatMessage, ChatTemplate, RenderOptions, TemplateError, TemplateOrigin};
use crate::constraint::{Constraint, ConstraintError, ConstraintFactory};
use crate::decoder::Decoder;
pub use crate::decoder::{DevicePreference, LoadOptions};
use crate::gguf::{GgufError, GgufFile};
use crate::reasoning::ReasoningSplitter;
use crate::sampling::Sampler;
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// Where events go; called on the engine thread, so it must not block.
pub type EventSink = Box<dyn FnMut(GenerateEvent) + Send>;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is missing, damaged, or not a GGUF.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The file is fine but this model cannot be run.
    #[error("this model cannot be run: {0}")]
    Unsupported(String),
    /// It needs more memory than allowed.
    #[error(
        "the model needs {} MiB (weights {} MiB, context {} MiB, buffers {} MiB), but {} MiB are available",
        needed.total_bytes() >> 20, needed.weights_bytes >> 20, needed.kv_bytes >> 20,
        needed.scratch_bytes >> 20, limit_bytes >> 20
    )]
    DoesNotFit {
        /// What it needs.
        needed: MemoryEstimate,
        /// What it may use.
        limit_bytes: u64,
    },
    /// The demanded device is not there.
    #[error("{device} cannot be used: {reason}")]
    Device {
        /// The device asked for.
        device: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// Building the network failed.
    #[error("loading the model failed: {0}")]
    Build(String),
    /// The engine thread could not be started.
    #[error("the engine thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// A loaded model. Clones share it; dropping the last one stops the engine thread, which fails what is still
/// running or waiting.
#[derive(Clone)]
pub struct LanguageModel {
    shared: Arc<Shared>,
}

struct Shared {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    constraints: OnceLock<Result<ConstraintFactory, ConstraintError>>,
    inbox: Sender<Job>,
    down: Down,
}

impl fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageModel")
            .field("info", &self.shared.info)
            .finish_non_exhaustive()
    }
}

impl LanguageModel {
    /// Loads a GGUF file. Blocks for the time this takes (seconds for large files).
    ///
    /// The window is 8,192 tokens where the options name none and the model allows it.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for one load")]
    pub fn load(path: &Path, options: LoadOptions) -> Result<Self, LoadError> {
        let file = GgufFile::open(path)?;
        let (decoder, info) = load::open(&file, &options)?;
        let unsupported = |error: &dyn fmt::Display| LoadError::Unsupported(error.to_string());
        let tokenizer = Tokenizer::from_gguf(&file).map_err(|e| unsupported(&e))?;
        if tokenizer.vocabulary_size() > info.vocabulary_size {
            return Err(LoadError::Unsupported(format!(
                "its tokenizer knows {} tokens, its network {}",
                tokenizer.vocabulary_size(),
                info.vocabulary_size
            )));
        }
        let template = ChatTemplate::from_gguf(&file, &tokenizer)?;
        Self::start(decoder, tokenizer, template, info)
    }

    /// Starts the engine thread.
    fn start(
        decoder: Box<dyn Decoder>,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        info: ModelInfo,
    ) -> Result<Self, LoadError> {
        let info = ModelInfo {
            has_chat_template: template.origin() == TemplateOrigin::File,
            chat_template: template.origin().description().to_owned(),
            reasoning: template.mentions_thinking(),
            ..info
        };
        let (sender, receiver) = channel();
        let down = Down::default();
        let slice = load::prefill_slice(info.parameters);
        let window = info.context_length;
        let engine = Engine::new(decoder, tokenizer.clone(), window, slice, receiver);
        let engine_down = Arc::clone(&down);
        std::thread::Builder::new()
            .name("hearth-language".into())
            .spawn(move || engine.run(&engine_down))
            .map_err(LoadError::Thread)?;
        let constraints = OnceLock::new();
        let shared = Shared {
            info,
            tokenizer,
            template,
            constraints,
            inbox: sender,
            down,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What was loaded, and where it runs.
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// Why the engine thread ended, if it did. The model must then be loaded again.
    pub fn failure(&self) -> Option<&str> {
        self.shared.down.get().map(String::as_str)
    }

    /// Writes a conversation the way this model was trained to read it, to be tokenized with
    /// [`EncodeOptions::PROMPT`].
    ///
    /// Names of control tokens in a message stay text: nobody can end a turn from inside it.
    ///
    /// # Errors
    /// [`TemplateError`] when the template refuses the messages.
    pub fn render(&self, messages: &[ChatMessage], options: RenderOptions) -> Result<String, TemplateError> {
        let Shared {
            template, tokenizer, ..
        } = &*self.shared;
        let safe: Vec<ChatMessage> = messages
            .iter()
            .map(|message| ChatMessage {
                content: tokenizer.escape_control_tokens(&message.content).into_owned(),
                ..message.clone()
            })
            .collect();
        template.render(&safe, options)
    }

    /// The tokens of `text`.
    pub fn tokenize(&self, text: &str, options: EncodeOptions) -> Vec<u32> {
        self.shared.tokenizer.encode(text, options)
    }

    /// How many tokens `text` has, without special tokens around it.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.tokenize(text, EncodeOptions::TEXT).len()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// Queues a request. Events arrive through `sink` on the engine thread; the ticket cancels when told to or
    /// when dropped.
    ///
    /// Returns at once, but compiles a JSON schema first (milliseconds; the first time for a model some 100 ms
    /// more). A request that can't be served gets [`GenerateEvent::Failed`] like every other event; if the
    /// model is down, that comes on the calling thread before this returns.
    pub fn generate(&self, request: GenerateRequest, sink: EventSink) -> Ticket {
        let (outlet, ticket) = Outlet::new(sink, Arc::clone(&self.shared.down));
        let submitted = Instant::now();
        let plan = self.plan(request);
        let job = Job {
            outlet,
            plan,
            submitted,
            reported: None,
        };
        if let Err(unsent) = self.shared.inbox.send(job) {
            // The engine is gone: dropping the job tells its sink.
            drop(unsent);
        }
        ticket
    }

    /// Checks a request before it takes anybody's time.
    fn plan(&self, request: GenerateRequest) -> Result<Plan, GenerateError> {
        let Shared { info, tokenizer, .. } = &*self.shared;
        if request.tokens.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if request.tokens.len() >= info.context_length {
            return Err(GenerateError::PromptTooLong {
                prompt_tokens: request.tokens.len(),
                window_tokens: info.context_length,
            });
        }
        let vocabulary_size = info.vocabulary_size;
        if let Some(&token) = request
            .tokens
            .iter()
            .find(|&&token| token as usize >= vocabulary_size)
        {
            return Err(GenerateError::UnknownToken {
                token,
                vocabulary_size,
            });
        }
        let sampler = Sampler::new(request.sampling.clone())?;
        let constraint = self.constraint(&request.format)?;
        let tail = &request.tokens[request.tokens.len().saturating_sub(8)..];
        let tail: Vec<u8> = tail
            .iter()
            .flat_map(|&token| tokenizer.token_bytes(token))
            .copied()
            .collect();
        let thinking = ReasoningSplitter::opened_by(&String::from_utf8_lossy(&tail));
        Ok(Plan {
            request,
            sampler,
            constraint,
            thinking,
        })
    }

    fn constraint(&self, format: &ResponseFormat) -> Result<Option<Constraint>, ConstraintError> {
        if *format == ResponseFormat::Text {
            return Ok(None);
        }
        let make = || ConstraintFactory::new(&self.shared.tokenizer.tok_env());
        let factory = self
            .shared
            .constraints
            .get_or_init(make)
            .as_ref()
            .map_err(Clone::clone)?;
        match format {
            ResponseFormat::Text => Ok(None),
            ResponseFormat::JsonObject => factory.json_object().map(Some),
            ResponseFormat::JsonSchema(schema) => factory.json_schema(schema).map(Some),
        }
    }
}

/// A hold on a running request: dropping it cancels.
#[derive(Debug)]
#[must_use = "dropping the ticket cancels the request"]
pub struct Ticket {
    cancelled: Arc<AtomicBool>,
}

impl Ticket {
    fn new(cancelled: Arc<AtomicBool>) -> Self {
        Self { cancelled }
    }

    /// Ends the request within one token; its sink still gets [`GenerateEvent::Done`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel();
    }
}
