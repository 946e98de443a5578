//! What a loaded model is, costs, and runs on.

use serde::{Deserialize, Serialize};

use crate::decoder::MemoryUse;

/// What a model needs in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryEstimate {
    /// Weights in the layout they are computed in.
    pub weights_bytes: u64,
    /// KV caches of all slots at their full length.
    pub kv_bytes: u64,
    /// Buffers of the forward pass.
    pub scratch_bytes: u64,
}

impl MemoryEstimate {
    /// The sum of all parts.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes
            .saturating_add(self.kv_bytes)
            .saturating_add(self.scratch_bytes)
    }
}

impl From<MemoryUse> for MemoryEstimate {
    fn from(memory: MemoryUse) -> Self {
        Self {
            weights_bytes: memory.weights_bytes,
            kv_bytes: memory.kv_bytes,
            scratch_bytes: memory.scratch_bytes,
        }
    }
}

/// The device a model runs on, and why not another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceChoice {
    /// Short name: `cpu`, `cpu-reference`, `cuda` or `metal`.
    pub name: String,
    /// What computes there, for people: instruction set and threads, or the GPU's ordinal.
    pub detail: String,
    /// Why a better device was not taken, when one was wished for.
    pub fallback: Option<String>,
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.detail)?;
        match &self.fallback {
            Some(reason) => write!(f, "; {reason}"),
            None => Ok(()),
        }
    }
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Family in the file's own words: `llama`, `qwen2`, `qwen3`, `gemma3`.
    pub architecture: String,
    /// Name in the file's metadata.
    pub name: Option<String>,
    /// Usable window in tokens: prompt and answer together.
    pub context_length: usize,
    /// Window the model was trained with, in tokens.
    pub trained_context_length: usize,
    /// Tokens in the vocabulary.
    pub vocabulary_size: usize,
    /// Weights, counted from the file's tensors.
    pub parameters: u64,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Quantisation that holds most of the weights, such as `Q4_1`.
    pub quantization: String,
    /// Where it runs.
    pub device: DeviceChoice,
    /// Memory it uses.
    pub memory: MemoryEstimate,
    /// Conversations kept warm at once.
    pub slots: usize,
    /// Whether the file brings a chat template that works.
    pub has_chat_template: bool,
    /// Where the chat template comes from, for people.
    pub chat_template: String,
    /// Whether the model thinks in a marked block before it answers.
    pub reasoning: bool,
}
