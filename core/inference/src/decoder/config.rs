//! The network's shape, read from the model file's metadata.

/// A family of networks, as `general.architecture` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama, Mistral, SmolLM and relatives.
    Llama,
    /// Qwen 2 and 2.5: biases on query, key and value.
    Qwen2,
    /// Qwen 3: norms on each query and key head.
    Qwen3,
    /// Gemma 3: head norms, norms after each part, GELU, scaled embeddings, sliding windows.
    Gemma3,
}

impl Architecture {
    /// The names understood, in declaration order.
    pub const NAMES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

    /// The family of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma3]
            .into_iter()
            .find(|a| a.name() == name)
    }

    /// The name in `general.architecture`, also the prefix of the family's metadata keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
        }
    }
}

/// The non-linearity of the feed-forward gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// The tanh approximation of GELU.
    Gelu,
}

/// Which pairs of a head's numbers are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// `(0, 1), (2, 3), …` (llama; its converter permutes query and key rows for this).
    Interleaved,
    /// `(0, d/2), (1, d/2 + 1), …` ("NeoX": qwen, gemma).
    Halves,
}

/// A rotary position embedding (<https://arxiv.org/abs/2104.09864>).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// How pairs are formed.
    pub style: RopeStyle,
    /// Numbers of each head that are rotated, even, at most the head size; the rest passes through.
    pub dimensions: usize,
    /// Pair `i` turns by `position · frequency_scale · frequency_base^(-2i / dimensions)`.
    pub frequency_base: f32,
    /// 1 unless positions are interpolated (`rope.scaling.type` linear).
    pub frequency_scale: f32,
}

/// Everything that shapes the computation.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// The family.
    pub architecture: Architecture,
    /// Token ids are below this.
    pub vocabulary_size: usize,
    /// Tokens the network was trained to attend to.
    pub context_length: usize,
    /// Size of the residual stream.
    pub width: usize,
    /// Number of layers.
    pub layer_count: usize,
    /// Hidden size of the feed-forward part.
    pub feed_forward_length: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key-value heads; divides `head_count`.
    pub kv_head_count: usize,
    /// Numbers in one query, key or value head.
    pub head_size: usize,
    /// Added to the mean square in every norm.
    pub norm_epsilon: f32,
    /// Scores are multiplied by this before the softmax.
    pub attention_scale: f32,
    /// Scores become `cap · tanh(score / cap)` when set.
    pub attention_softcap: Option<f32>,
    /// Logits become `cap · tanh(logit / cap)` when set.
    pub final_softcap: Option<f32>,
    /// Token embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// The feed-forward gate's non-linearity.
    pub activation: Activation,
    /// Rotary embedding of layers that see everything before them.
    pub rope: RopeConfig,
    /// Rotary embedding of layers with a sliding window.
    pub local_rope: RopeConfig,
    /// A token of a windowed layer sees itself and the `sliding_window - 1` tokens before it.
    pub sliding_window: Option<usize>,
    /// Every n-th layer (the last of each n) sees everything; the others have the window. 1: none has it.
    pub global_layer_interval: usize,
}

impl DecoderConfig {
    /// Whether the layer sees only [`Self::sliding_window`] tokens.
    pub fn is_windowed(&self, layer: usize) -> bool {
        self.sliding_window.is_some() && (layer + 1) % self.global_layer_interval != 0
    }

    /// The rotary embedding of the layer.
    pub fn layer_rope(&self, layer: usize) -> &RopeConfig {
        if self.is_windowed(layer) {
            &self.local_rope
        } else {
            &self.rope
        }
    }

    /// Query heads that share one key-value head.
    pub fn group_size(&self) -> usize {
        self.head_count / self.kv_head_count
    }
}
