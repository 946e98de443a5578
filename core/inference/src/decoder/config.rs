//! The network's shape, read from the model file's metadata.

use super::{DecoderError, tensor_names};
use crate::gguf::{FromMetadata, GgufFile};

/// Counts in the metadata above this are taken for damage; the largest networks stay far below.
const MAX_COUNT: usize = 1 << 24;
/// Window pattern of Gemma 3 where the file doesn't state one: five windowed layers, then a global one.
const GEMMA3_LAYER_INTERVAL: usize = 6;
/// Rotary base of Gemma 3's windowed layers where the file doesn't state one.
const GEMMA3_LOCAL_ROPE_BASE: f32 = 10_000.0;
/// Layers of the one Gemma 3 size whose attention scale follows the width (27B).
const GEMMA3_27B_LAYERS: usize = 62;

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
        self.sliding_window.is_some() && !(layer + 1).is_multiple_of(self.global_layer_interval)
    }

    /// The rotary embedding of the layer.
    pub fn layer_rope(&self, layer: usize) -> &RopeConfig {
        if self.is_windowed(layer) {
            &self.local_rope
        } else {
            &self.rope
        }
    }

    /// Whether each query and key head is normed before it is rotated.
    pub fn has_head_norms(&self) -> bool {
        matches!(self.architecture, Architecture::Qwen3 | Architecture::Gemma3)
    }

    /// Whether attention's and the feed-forward part's outputs are normed before they are added.
    pub fn has_post_norms(&self) -> bool {
        self.architecture == Architecture::Gemma3
    }

    /// Query heads that share one key-value head.
    pub fn group_size(&self) -> usize {
        self.head_count / self.kv_head_count
    }
}

impl DecoderConfig {
    /// Reads the configuration from a file's metadata and the shape of its token embeddings.
    ///
    /// # Errors
    /// [`DecoderError::UnknownArchitecture`], [`DecoderError::Gguf`] for missing or mistyped keys,
    /// [`DecoderError::BadMetadata`] for values that can't be or that ask for something unknown.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, DecoderError> {
        let name = file.architecture()?;
        let architecture =
            Architecture::from_name(name).ok_or_else(|| DecoderError::UnknownArchitecture {
                found: name.to_owned(),
            })?;
        let keys = Keys {
            file,
            prefix: architecture.name(),
        };
        let gemma = architecture == Architecture::Gemma3;

        let width = keys.count("embedding_length")?;
        let layer_count = keys.count("block_count")?;
        let head_count = keys.count("attention.head_count")?;
        let kv_head_count = keys
            .optional_count("attention.head_count_kv")?
            .unwrap_or(head_count);
        let head_size = keys
            .optional_count("attention.key_length")?
            .unwrap_or(width / head_count);
        let value_size = keys
            .optional_count("attention.value_length")?
            .unwrap_or(head_size);
        keys.check(
            "attention.head_count_kv",
            head_count.is_multiple_of(kv_head_count),
            || format!("{kv_head_count} key-value heads can't serve {head_count} query heads evenly"),
        )?;
        keys.check(
            "attention.value_length",
            value_size == head_size && head_size > 0,
            || format!("heads of {head_size} for keys and {value_size} for values are not supported"),
        )?;
        if let Some(experts) = keys.optional::<usize>("expert_count")? {
            keys.check("expert_count", experts == 0, || {
                "mixtures of experts are not supported".to_owned()
            })?;
        }

        let embedding = file.require_tensor(tensor_names::TOKEN_EMBEDDING)?;
        let vocabulary_size = embedding.rows();
        if embedding.shape != [vocabulary_size, width] {
            return Err(DecoderError::TensorShape {
                name: embedding.name.clone(),
                found: embedding.shape.clone(),
                expected: vec![vocabulary_size, width],
            });
        }

        let rope = rope_config(&keys, architecture, head_size)?;
        let local_base = keys
            .optional("rope.freq_base_swa")?
            .unwrap_or(GEMMA3_LOCAL_ROPE_BASE);
        keys.check("rope.freq_base_swa", is_positive(local_base), || {
            format!("{local_base} is no rotary base")
        })?;
        let norm_epsilon: f32 = keys.require("attention.layer_norm_rms_epsilon")?;
        keys.check(
            "attention.layer_norm_rms_epsilon",
            (0.0..1.0).contains(&norm_epsilon),
            || format!("{norm_epsilon} is not between 0 and 1"),
        )?;
        let scaled_size = if gemma && layer_count == GEMMA3_27B_LAYERS {
            width / head_count
        } else {
            head_size
        };
        let attention_scale = keys
            .optional("attention.scale")?
            .filter(|&scale| is_positive(scale))
            .unwrap_or(1.0 / (scaled_size as f32).sqrt());
        let sliding_window = if gemma {
            keys.optional_count("attention.sliding_window")?
        } else {
            None
        };
        let layer_interval = match sliding_window {
            Some(_) => keys
                .optional_count("attention.sliding_window_pattern")?
                .unwrap_or(GEMMA3_LAYER_INTERVAL),
            None => 1,
        };
        Ok(Self {
            architecture,
            vocabulary_size,
            context_length: keys.count("context_length")?,
            width,
            layer_count,
            feed_forward_length: keys.count("feed_forward_length")?,
            head_count,
            kv_head_count,
            head_size,
            norm_epsilon,
            attention_scale,
            attention_softcap: keys.softcap("attn_logit_softcapping")?,
            final_softcap: keys.softcap("final_logit_softcapping")?,
            embedding_scale: if gemma { (width as f32).sqrt() } else { 1.0 },
            activation: if gemma { Activation::Gelu } else { Activation::Silu },
            rope,
            local_rope: RopeConfig {
                frequency_base: local_base,
                frequency_scale: 1.0,
                ..rope
            },
            sliding_window,
            global_layer_interval: layer_interval,
        })
    }
}

fn rope_config(
    keys: &Keys<'_>,
    architecture: Architecture,
    head_size: usize,
) -> Result<RopeConfig, DecoderError> {
    let dimensions = keys.optional_count("rope.dimension_count")?.unwrap_or(head_size);
    keys.check(
        "rope.dimension_count",
        dimensions.is_multiple_of(2) && dimensions <= head_size,
        || format!("{dimensions} numbers of a head of {head_size} can't be rotated in pairs"),
    )?;
    let frequency_base = keys.optional("rope.freq_base")?.unwrap_or(10_000.0);
    keys.check("rope.freq_base", is_positive(frequency_base), || {
        format!("{frequency_base} is no rotary base")
    })?;
    let scaling: &str = keys.optional("rope.scaling.type")?.unwrap_or("none");
    let factor: f32 = keys.optional("rope.scaling.factor")?.unwrap_or(1.0);
    let frequency_scale = match scaling {
        "none" | "" => 1.0,
        "linear" => {
            keys.check("rope.scaling.factor", is_positive(factor), || {
                format!("{factor} is not positive")
            })?;
            1.0 / factor
        }
        other => {
            return Err(keys.bad(
                "rope.scaling.type",
                format!("\"{other}\" is not supported; none and linear are"),
            ));
        }
    };
    let style = if architecture == Architecture::Llama {
        RopeStyle::Interleaved
    } else {
        RopeStyle::Halves
    };
    Ok(RopeConfig {
        style,
        dimensions,
        frequency_base,
        frequency_scale,
    })
}

fn is_positive(value: f32) -> bool {
    value.is_finite() && value > 0.0
}

/// Metadata keys below one architecture's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    prefix: &'static str,
}

impl<'a> Keys<'a> {
    fn optional<T: FromMetadata<'a>>(&self, key: &str) -> Result<Option<T>, DecoderError> {
        Ok(self.file.get(&format!("{}.{key}", self.prefix))?)
    }

    fn require<T: FromMetadata<'a>>(&self, key: &str) -> Result<T, DecoderError> {
        Ok(self.file.require(&format!("{}.{key}", self.prefix))?)
    }

    fn count(&self, key: &str) -> Result<usize, DecoderError> {
        let value = self.require(key)?;
        self.check_count(key, value)
    }

    fn optional_count(&self, key: &str) -> Result<Option<usize>, DecoderError> {
        self.optional(key)?
            .map(|value| self.check_count(key, value))
            .transpose()
    }

    fn check_count(&self, key: &str, value: usize) -> Result<usize, DecoderError> {
        self.check(key, (1..=MAX_COUNT).contains(&value), || {
            format!("{value} is not between 1 and {MAX_COUNT}")
        })?;
        Ok(value)
    }

    fn softcap(&self, key: &str) -> Result<Option<f32>, DecoderError> {
        Ok(self.optional(key)?.filter(|&cap| is_positive(cap)))
    }

    fn check(&self, key: &str, holds: bool, problem: impl FnOnce() -> String) -> Result<(), DecoderError> {
        if holds {
            Ok(())
        } else {
            Err(self.bad(key, problem()))
        }
    }

    fn bad(&self, key: &str, problem: String) -> DecoderError {
        DecoderError::BadMetadata {
            key: format!("{}.{key}", self.prefix),
            problem,
        }
    }
}
