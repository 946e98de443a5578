//! One decoder-only transformer, whatever computes it.
//!
//! [`Decoder`] is the seam between the parts that talk in tokens (sampling, constraints, the engine thread) and
//! the parts that do the arithmetic. [`DecoderConfig`] describes the network from the model file's own metadata,
//! for the llama, qwen2, qwen3 and gemma3 families; [`tensor_names`] says where each weight is found.

pub mod candle;
mod config;
pub mod cpu;
pub mod tensor_names;

use crate::gguf::GgufError;

pub use config::{Activation, Architecture, DecoderConfig, RopeConfig, RopeStyle};

/// Which positions of a [`Decoder::forward`] call are projected onto the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// None: the tokens only enter the cache.
    None,
    /// The last token's, as generation needs.
    Last,
    /// Every token's, as perplexity needs; `vocabulary_size` numbers a token.
    All,
}

/// A loaded network with its key-value caches.
///
/// A *slot* is one independent sequence: its cached keys and values and its length. Positions count from 0 and
/// a token's position is the slot's length before it is appended.
pub trait Decoder: Send {
    /// The network's shape and limits.
    fn config(&self) -> &DecoderConfig;

    /// How many independent sequences can be kept at once.
    fn slot_count(&self) -> usize;

    /// How many tokens one slot can hold.
    fn slot_capacity(&self) -> usize;

    /// How many tokens the slot holds now.
    fn slot_len(&self, slot: usize) -> usize;

    /// Forgets the slot's tokens from position `len` on; costs nothing. A `len` beyond the end changes nothing.
    fn truncate(&mut self, slot: usize, len: usize);

    /// Appends `tokens` to the slot's sequence and writes the wanted logits into `out`.
    ///
    /// `out` is cleared first and then holds `vocabulary_size` numbers per wanted position, in order. Any number
    /// of tokens may be given: long runs are computed in batches. On error the slot keeps the length it had.
    ///
    /// # Errors
    /// [`DecoderError::ContextFull`] when the tokens don't fit, [`DecoderError::TokenOutOfRange`] and
    /// [`DecoderError::NoSuchSlot`] for bad arguments, [`DecoderError::Backend`] when a device fails.
    fn forward(
        &mut self,
        slot: usize,
        tokens: &[u32],
        wanted: Logits,
        out: &mut Vec<f32>,
    ) -> Result<(), DecoderError>;

    /// What the network holds in memory.
    fn memory(&self) -> MemoryUse;
}

/// Where the network should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevicePreference {
    /// The fastest device that this build and this machine have.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The processor through candle: slow and plain, what the kernels are compared with.
    CpuReference,
    /// An NVIDIA card; needs the `cuda` feature.
    Cuda,
    /// An Apple GPU; needs the `metal` feature.
    Metal,
}

/// How to load a model.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Threads that compute; `None`: one per core.
    pub threads: Option<usize>,
    /// Tokens a slot can hold; `None`: what the model was trained for. Never more than that.
    pub context_length: Option<usize>,
    /// Where to run.
    pub device: DevicePreference,
    /// Independent sequences to keep, at least 1. Default 4.
    pub slots: usize,
    /// Refuse to load when the estimate is above this many bytes.
    pub memory_limit_bytes: Option<u64>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            threads: None,
            context_length: None,
            device: DevicePreference::Auto,
            slots: 4,
            memory_limit_bytes: None,
        }
    }
}

/// Bytes that a loaded network holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Packed weights.
    pub weights_bytes: u64,
    /// Key-value caches of all slots when full. Pages are only taken from the system as a slot fills.
    pub kv_bytes: u64,
    /// Buffers for activations, at the largest batch.
    pub scratch_bytes: u64,
}

impl MemoryUse {
    /// The sum of the parts, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.kv_bytes + self.scratch_bytes
    }
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Weight bytes of the file that have been packed.
    pub done_bytes: u64,
    /// Weight bytes in the file.
    pub total_bytes: u64,
}

/// Why a network couldn't be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecoderError {
    /// The file's architecture isn't one of the families known here.
    #[error("unknown architecture \"{found}\"; known are {}", Architecture::NAMES.join(", "))]
    UnknownArchitecture {
        /// The value of `general.architecture`.
        found: String,
    },
    /// The file lacks something or holds it in the wrong form.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A metadata value is absurd or asks for something that isn't supported.
    #[error("metadata \"{key}\": {problem}")]
    BadMetadata {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A weight has the wrong shape.
    #[error("tensor \"{name}\" has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// The tensor's name.
        name: String,
        /// The shape in the file, the contiguous dimension last.
        found: Vec<usize>,
        /// The shape that the metadata asks for.
        expected: Vec<usize>,
    },
    /// A weight has a type that can't be used in its place.
    #[error("tensor \"{name}\" has type {found}, which is not supported there")]
    TensorType {
        /// The tensor's name.
        name: String,
        /// The type in the file.
        found: String,
    },
    /// The tokens don't fit the slot.
    #[error("{adding} tokens don't fit: the sequence has {len} of at most {capacity}")]
    ContextFull {
        /// Tokens cached already.
        len: usize,
        /// Tokens that were to be added.
        adding: usize,
        /// Tokens a slot can hold.
        capacity: usize,
    },
    /// A token id isn't in the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocabulary_size}")]
    TokenOutOfRange {
        /// The offending id.
        token: u32,
        /// Size of the vocabulary.
        vocabulary_size: usize,
    },
    /// The slot doesn't exist.
    #[error("slot {slot} does not exist; there are {slot_count}")]
    NoSuchSlot {
        /// The slot asked for.
        slot: usize,
        /// How many there are.
        slot_count: usize,
    },
    /// The model needs more memory than it may take.
    #[error(
        "the model needs {needed_bytes} bytes ({weights_bytes} for weights, {kv_bytes} for its context), \
         the limit is {limit_bytes}"
    )]
    DoesNotFit {
        /// Everything together.
        needed_bytes: u64,
        /// Weights alone.
        weights_bytes: u64,
        /// Key-value caches alone.
        kv_bytes: u64,
        /// The limit it was held against.
        limit_bytes: u64,
    },
    /// The system refused to give memory.
    #[error("could not allocate {bytes} bytes")]
    OutOfMemory {
        /// The size of the allocation that failed.
        bytes: usize,
    },
    /// The device asked for isn't in this build or not on this machine.
    #[error("device {device:?} is not available: {reason}")]
    DeviceUnavailable {
        /// The device.
        device: DevicePreference,
        /// What is missing.
        reason: String,
    },
    /// The library or driver underneath failed.
    #[error("computation failed: {0}")]
    Backend(String),
}
