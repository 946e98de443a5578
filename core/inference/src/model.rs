//! A loaded language model: a handle in front of one engine thread.

mod options;
mod request;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use options::{DeviceChoice, MemoryEstimate, ModelInfo};
pub use request::{
    Completion, FinishReason, GenerateError, GenerateEvent, GenerateRequest, ResponseFormat, Timings,
};

pub use crate::decoder::{DevicePreference, LoadOptions};

use crate::chat_template::{ChatMessage, RenderOptions, TemplateError};
use crate::gguf::{GgufError, GgufFile};
use crate::tokenizer::EncodeOptions;

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

/// What the model in `file` would need under `options`, without loading it.
pub fn estimate_memory(_file: &GgufFile, _options: &LoadOptions) -> Result<MemoryEstimate, LoadError> {
    Err(LoadError::Unsupported("not built yet".into()))
}

/// A loaded model. Clones share it; dropping the last one stops the engine thread.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: ModelInfo,
}

impl LanguageModel {
    /// Loads a GGUF file. Blocks for the time this takes (seconds for large files).
    pub fn load(_path: &Path, _options: LoadOptions) -> Result<Self, LoadError> {
        Err(LoadError::Unsupported("not built yet".into()))
    }

    /// What was loaded, and where it runs.
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// Writes a conversation the way this model was trained to read it.
    pub fn render(
        &self,
        _messages: &[ChatMessage],
        _options: RenderOptions,
    ) -> Result<String, TemplateError> {
        unreachable!("no model can be loaded yet")
    }

    /// The tokens of `text`.
    pub fn tokenize(&self, _text: &str, _options: EncodeOptions) -> Vec<u32> {
        Vec::new()
    }

    /// How many tokens `text` has, without special tokens around it.
    pub fn count_tokens(&self, _text: &str) -> usize {
        0
    }

    /// Queues a request. Events arrive through `sink` on the engine thread; the ticket cancels
    /// when told to or when dropped.
    pub fn generate(&self, _request: GenerateRequest, mut sink: EventSink) -> Ticket {
        sink(GenerateEvent::Failed(GenerateError::ModelDown(
            "not built yet".into(),
        )));
        Ticket {
            cancelled: Arc::new(AtomicBool::new(true)),
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
