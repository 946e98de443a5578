//! The BERT encoder (<https://arxiv.org/abs/1810.04805>) on candle tensors.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use super::EmbedError;
use super::adapter::{Adapter, LowRank};

/// Part of `config.json`.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Config {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    layer_norm_eps: f32,
    type_vocab_size: usize,
    hidden_act: String,
    pub(super) vocab_size: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "bert")]
    model_type: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

fn bert() -> String {
    "bert".into()
}

fn absolute() -> String {
    "absolute".into()
}

impl Config {
    /// Whether this encoder computes what the configuration asks for.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.model_type != "bert" || self.position_embedding_type != "absolute" {
            return Err(format!(
                "it is a \"{}\" with {} positions; only BERT with absolute ones is known",
                self.model_type, self.position_embedding_type
            ));
        }
        if self.hidden_act != "gelu" {
            return Err(format!("its activation \"{}\" is unknown", self.hidden_act));
        }
        if self.num_attention_heads == 0
            || !self.hidden_size.is_multiple_of(self.num_attention_heads)
            || self.hidden_size == 0
            || self.max_position_embeddings < 2
        {
            return Err(format!(
                "{} heads can't share a width of {}",
                self.num_attention_heads, self.hidden_size
            ));
        }
        Ok(())
    }
}

/// A matrix, stored `[inputs, outputs]`, and its bias.
struct Linear {
    matrix: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, x: &Tensor, adapted: Option<&LowRank>) -> candle_core::Result<Tensor> {
        let y = x.matmul(&self.matrix)?.broadcast_add(&self.bias)?;
        match adapted {
            Some(low_rank) => y + low_rank.forward(x)?,
            None => Ok(y),
        }
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Norm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }
}

struct Layer {
    /// Query, key and value side by side.
    attention_in: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
    feed_forward_norm: Norm,
}

/// A loaded encoder.
pub(super) struct Bert {
    words: Tensor,
    /// `[positions, width]`.
    positions: Tensor,
    /// Token types, `[types, width]`.
    types: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
    width: usize,
}

impl Bert {
    pub(super) fn load(path: &Path, config: &Config, device: &Device) -> Result<Self, EmbedError> {
        let source = Source {
            tensors: candle_core::safetensors::load(path, device)?,
            config,
        };
        let width = config.hidden_size;
        let words = source.tensor("embeddings.word_embeddings.weight", &[config.vocab_size, width])?;
        let shape = [config.max_position_embeddings, width];
        let positions = source.tensor("embeddings.position_embeddings.weight", &shape)?;
        let shape = [config.type_vocab_size, width];
        let types = source.tensor("embeddings.token_type_embeddings.weight", &shape)?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| source.layer(&format!("encoder.layer.{index}")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            words,
            positions,
            types,
            embedding_norm: source.norm("embeddings.LayerNorm")?,
            layers,
            heads: config.num_attention_heads,
            width,
        })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn inner_width(&self) -> candle_core::Result<usize> {
        self.layers
            .first()
            .map_or(Ok(0), |layer| layer.feed_forward_in.bias.dim(0))
    }

    /// The last layer for `ids` `[texts, tokens]`: `[texts, tokens, width]`. `mask` is 1 for real tokens and 0 for
    /// padding; none when nothing is padded.
    pub(super) fn forward(&self, ids: &Tensor, mask: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let (_, tokens) = ids.dims2()?;
        let types = self.types.narrow(0, 0, 1)?;
        let places = self.positions.narrow(0, 0, tokens)?.broadcast_add(&types)?;
        self.run(ids, &places.unsqueeze(0)?, mask, None)
    }

    /// The same with an adapter, for pairs: `types` `[texts, tokens]` is 0 for the first text and 1 for the second.
    pub(super) fn forward_adapted(
        &self,
        ids: &Tensor,
        types: &Tensor,
        mask: Option<&Tensor>,
        adapter: &Adapter,
    ) -> candle_core::Result<Tensor> {
        let (texts, tokens) = ids.dims2()?;
        let types = adapter
            .types
            .index_select(&types.flatten_all()?, 0)?
            .reshape((texts, tokens, self.width))?;
        let places = types.broadcast_add(&self.positions.narrow(0, 0, tokens)?)?;
        self.run(ids, &places, mask, Some(adapter))
    }

    fn run(
        &self,
        ids: &Tensor,
        places: &Tensor,
        mask: Option<&Tensor>,
        adapter: Option<&Adapter>,
    ) -> candle_core::Result<Tensor> {
        let (texts, tokens) = ids.dims2()?;
        let shape = (texts, tokens, self.width);
        let words = self.words.index_select(&ids.flatten_all()?, 0)?.reshape(shape)?;
        let x = words.broadcast_add(places)?;
        let mut x = self
            .embedding_norm
            .forward(&x)?
            .reshape((texts * tokens, self.width))?;
        // 0 for real tokens, a number no score can outweigh for padding.
        let hidden = match mask {
            Some(mask) => Some(mask.affine(1e9, -1e9)?.reshape((texts, 1, 1, tokens))?),
            None => None,
        };
        for (number, layer) in self.layers.iter().enumerate() {
            let adapted = adapter.and_then(|adapter| adapter.layers.get(number));
            let all = layer
                .attention_in
                .forward(&x, adapted.map(|adapted| &adapted.attention_in))?;
            let attended = self.attention(&all, texts, tokens, hidden.as_ref())?;
            let attended = layer
                .attention_out
                .forward(&attended, adapted.map(|adapted| &adapted.attention_out))?;
            x = layer.attention_norm.forward(&(x + attended)?)?;
            let inner = layer
                .feed_forward_in
                .forward(&x, adapted.map(|adapted| &adapted.feed_forward_in))?
                .gelu_erf()?;
            let fed = layer
                .feed_forward_out
                .forward(&inner, adapted.map(|adapted| &adapted.feed_forward_out))?;
            x = layer.feed_forward_norm.forward(&(x + fed)?)?;
        }
        x.reshape(shape)
    }

    /// `all` are queries, keys and values side by side.
    fn attention(
        &self,
        all: &Tensor,
        texts: usize,
        tokens: usize,
        hidden: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let size = self.width / self.heads;
        // [texts, tokens, 3, heads, size] -> [3, texts, heads, tokens, size]
        let all = all
            .reshape((texts, tokens, 3, self.heads, size))?
            .permute([2, 0, 3, 1, 4])?
            .contiguous()?;
        let (query, key, value) = (all.get(0)?, all.get(1)?, all.get(2)?);
        let query = (query / (size as f64).sqrt())?;
        let mut scores = query.matmul(&key.transpose(2, 3)?)?;
        if let Some(hidden) = hidden {
            scores = scores.broadcast_add(hidden)?;
        }
        softmax_last_dim(&scores)?
            .matmul(&value)?
            .transpose(1, 2)?
            .reshape((texts * tokens, self.width))
    }
}

/// Tensors by name, each checked for its shape.
struct Source<'a> {
    tensors: HashMap<String, Tensor>,
    config: &'a Config,
}

impl Source<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, EmbedError> {
        let found = self
            .tensors
            .get(name)
            .or_else(|| self.tensors.get(&format!("bert.{name}")))
            .ok_or_else(|| EmbedError::Config(format!("tensor \"{name}\" is missing")))?;
        if found.dims() != shape {
            return Err(EmbedError::Config(format!(
                "tensor \"{name}\" has shape {:?}, expected {shape:?}",
                found.dims()
            )));
        }
        Ok(found.to_dtype(DType::F32)?)
    }

    fn layer(&self, at: &str) -> Result<Layer, EmbedError> {
        let (width, inner) = (self.config.hidden_size, self.config.intermediate_size);
        let parts = ["query", "key", "value"]
            .map(|part| self.linear(&format!("{at}.attention.self.{part}"), width, width));
        let [query, key, value] = parts;
        let (query, key, value) = (query?, key?, value?);
        Ok(Layer {
            attention_in: Linear {
                matrix: Tensor::cat(&[query.matrix, key.matrix, value.matrix], D::Minus1)?,
                bias: Tensor::cat(&[query.bias, key.bias, value.bias], D::Minus1)?,
            },
            attention_out: self.linear(&format!("{at}.attention.output.dense"), width, width)?,
            attention_norm: self.norm(&format!("{at}.attention.output.LayerNorm"))?,
            feed_forward_in: self.linear(&format!("{at}.intermediate.dense"), inner, width)?,
            feed_forward_out: self.linear(&format!("{at}.output.dense"), width, inner)?,
            feed_forward_norm: self.norm(&format!("{at}.output.LayerNorm"))?,
        })
    }

    fn linear(&self, at: &str, outputs: usize, inputs: usize) -> Result<Linear, EmbedError> {
        let matrix = self.tensor(&format!("{at}.weight"), &[outputs, inputs])?;
        Ok(Linear {
            matrix: matrix.t()?.contiguous()?,
            bias: self.tensor(&format!("{at}.bias"), &[outputs])?,
        })
    }

    fn norm(&self, at: &str) -> Result<Norm, EmbedError> {
        let width = [self.config.hidden_size];
        Ok(Norm {
            weight: self.tensor(&format!("{at}.weight"), &width)?,
            bias: self.tensor(&format!("{at}.bias"), &width)?,
            epsilon: self.config.layer_norm_eps,
        })
    }
}
