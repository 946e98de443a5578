//! The decoder on candle tensors: the plain reference that Hearth's own kernels are compared with, and the path
//! onto graphics cards.
//!
//! Weights stay in the file's quantisation; activations, keys and values are 32-bit floats. The key-value cache
//! is allocated once and written in place.

mod weights;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_i};

use self::weights::{Layer, Weights};
use super::{
    Activation, Decoder, DecoderConfig, DecoderError, DevicePreference, LoadOptions, Logits, MemoryUse,
    RopeConfig, RopeStyle, tensor_names,
};
use crate::gguf::GgufFile;

/// Tokens computed at once; bounds the scores' memory.
const BATCH: usize = 256;

impl From<candle_core::Error> for DecoderError {
    fn from(error: candle_core::Error) -> Self {
        Self::Backend(error.to_string())
    }
}

/// How weights are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// By candle's kernels for the file's quantisation, which also round activations.
    #[default]
    Quantized,
    /// As 32-bit floats: exact and large, for comparisons.
    Float,
}

/// A network on candle tensors.
pub struct CandleDecoder {
    config: DecoderConfig,
    device: Device,
    file: GgufFile,
    weights: Weights,
    global_rope: RopeTable,
    local_rope: Option<RopeTable>,
    slots: Vec<Slot>,
    capacity: usize,
    memory: MemoryUse,
}

/// One sequence: keys and values of each layer, `[kv_heads, capacity, head_size]`.
struct Slot {
    len: usize,
    keys: Vec<Tensor>,
    values: Vec<Tensor>,
}

/// Cosines and sines, `[capacity, dimensions / 2]`.
struct RopeTable {
    config: RopeConfig,
    cos: Tensor,
    sin: Tensor,
}

/// The device for a preference, and why it isn't a better one.
///
/// # Errors
/// [`DecoderError::DeviceUnavailable`] when a certain device is asked for and not there.
pub fn open_device(preference: DevicePreference) -> Result<(Device, Option<String>), DecoderError> {
    let unavailable = |error: candle_core::Error| DecoderError::DeviceUnavailable {
        device: preference,
        reason: error.to_string(),
    };
    match preference {
        DevicePreference::Cpu | DevicePreference::CpuReference => Ok((Device::Cpu, None)),
        DevicePreference::Cuda => Ok((Device::new_cuda(0).map_err(unavailable)?, None)),
        DevicePreference::Metal => Ok((Device::new_metal(0).map_err(unavailable)?, None)),
        DevicePreference::Auto => {
            let opened = if cfg!(feature = "cuda") {
                Device::new_cuda(0)
            } else if cfg!(feature = "metal") {
                Device::new_metal(0)
            } else {
                return Ok((Device::Cpu, None));
            };
            Ok(match opened {
                Ok(device) => (device, None),
                Err(error) => (Device::Cpu, Some(format!("no graphics card answered: {error}"))),
            })
        }
    }
}

impl CandleDecoder {
    /// Loads the weights of `file` onto `device`. Reads `context_length` and `slots` of the options.
    ///
    /// # Errors
    /// Whatever [`DecoderConfig::from_gguf`] finds, tensors that are missing, of a wrong shape or an unknown
    /// type, and what the device reports.
    pub fn load(
        file: &GgufFile,
        options: &LoadOptions,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, DecoderError> {
        let config = DecoderConfig::from_gguf(file)?;
        let memory = estimate(file, &config, options, precision);
        let capacity = capacity(&config, options);
        let weights = Weights::load(file, &config, device, precision)?;
        let factors = weights::frequency_factors(file, config.rope.dimensions / 2)?;
        let global_rope = RopeTable::new(config.rope, factors.as_deref(), capacity, device)?;
        let local_rope = (0..config.layer_count)
            .any(|layer| config.is_windowed(layer))
            .then(|| RopeTable::new(config.local_rope, None, capacity, device))
            .transpose()?;
        let slots = (0..options.slots.max(1))
            .map(|_| Slot::new(&config, capacity, device))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            device: device.clone(),
            file: file.clone(),
            weights,
            global_rope,
            local_rope,
            slots,
            capacity,
            memory,
        })
    }

    fn check(&self, slot: usize, tokens: &[u32]) -> Result<usize, DecoderError> {
        let Some(found) = self.slots.get(slot) else {
            return Err(DecoderError::NoSuchSlot {
                slot,
                slot_count: self.slots.len(),
            });
        };
        let vocabulary_size = self.config.vocabulary_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary_size) {
            return Err(DecoderError::TokenOutOfRange {
                token,
                vocabulary_size,
            });
        }
        if tokens.len() > self.capacity - found.len {
            return Err(DecoderError::ContextFull {
                len: found.len,
                adding: tokens.len(),
                capacity: self.capacity,
            });
        }
        Ok(found.len)
    }

    /// Runs one batch at `start`; the last layer's output, `[tokens, width]`.
    fn batch(&self, slot: &Slot, tokens: &[u32], start: usize) -> candle_core::Result<Tensor> {
        let config = &self.config;
        let mut x = self.weights.embed(&self.file, tokens, &self.device)?;
        if (config.embedding_scale - 1.0).abs() > f32::EPSILON {
            x = (x * f64::from(config.embedding_scale))?;
        }
        let everything = self.mask(tokens.len(), start, None)?;
        let windowed = match config.sliding_window {
            Some(window) if self.local_rope.is_some() => self.mask(tokens.len(), start, Some(window))?,
            _ => None,
        };
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let (table, mask) = match &self.local_rope {
                Some(local) if config.is_windowed(index) => (local, &windowed),
                _ => (&self.global_rope, &everything),
            };
            let normed = rms_norm(&x, &layer.attention_norm, config.norm_epsilon)?;
            let cache = (&slot.keys[index], &slot.values[index]);
            let mut attended = self.attention(layer, &normed, cache, start, table, mask.as_ref())?;
            if let Some(norm) = &layer.post_attention_norm {
                attended = rms_norm(&attended, norm, config.norm_epsilon)?;
            }
            x = (x + attended)?;
            let normed = rms_norm(&x, &layer.feed_forward_norm, config.norm_epsilon)?;
            let gate = layer.gate.forward(&normed)?;
            let gate = match config.activation {
                Activation::Silu => gate.silu()?,
                Activation::Gelu => gate.gelu()?,
            };
            let hidden = (gate * layer.up.forward(&normed)?)?;
            let mut fed = layer.down.forward(&hidden)?;
            if let Some(norm) = &layer.post_feed_forward_norm {
                fed = rms_norm(&fed, norm, config.norm_epsilon)?;
            }
            x = (x + fed)?;
        }
        Ok(x)
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        (keys, values): (&Tensor, &Tensor),
        start: usize,
        table: &RopeTable,
        mask: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let config = &self.config;
        let (count, size) = (x.dim(0)?, config.head_size);
        let (heads, kv_heads) = (config.head_count, config.kv_head_count);
        let end = start + count;
        let norm = |x: Tensor, weight: &Option<Tensor>| match weight {
            Some(weight) => rms_norm(&x.contiguous()?, weight, config.norm_epsilon),
            None => Ok(x),
        };
        // [count, heads * size] -> [heads, count, size]
        let split = |x: Tensor, heads: usize| x.reshape((count, heads, size));
        let query = norm(split(layer.query.forward(x)?, heads)?, &layer.query_norm)?;
        let key = norm(split(layer.key.forward(x)?, kv_heads)?, &layer.key_norm)?;
        let value = split(layer.value.forward(x)?, kv_heads)?
            .transpose(0, 1)?
            .contiguous()?;
        let query = table.rotate(&query.transpose(0, 1)?, start)?;
        let key = table.rotate(&key.transpose(0, 1)?, start)?;
        keys.slice_set(&key, 1, start)?;
        values.slice_set(&value, 1, start)?;
        let (keys, values) = (keys.narrow(1, 0, end)?, values.narrow(1, 0, end)?);

        // The query heads of one key-value head are rows of one product: nothing is repeated.
        let group = config.group_size();
        let query = (query.reshape((kv_heads, group * count, size))? * f64::from(config.attention_scale))?;
        let mut scores = query.matmul(&keys.transpose(1, 2)?)?;
        if let Some(cap) = config.attention_softcap {
            scores = ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?;
        }
        if let Some(mask) = mask {
            scores = scores
                .reshape((kv_heads, group, count, end))?
                .broadcast_add(mask)?
                .reshape((kv_heads, group * count, end))?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&values.contiguous()?)?;
        let mixed = mixed
            .reshape((heads, count, size))?
            .transpose(0, 1)?
            .contiguous()?;
        layer.output.forward(&mixed.reshape((count, heads * size))?)
    }

    /// What each of `count` tokens from `start` may not see, `[count, start + count]`; none when a single token
    /// sees everything.
    fn mask(&self, count: usize, start: usize, window: Option<usize>) -> candle_core::Result<Option<Tensor>> {
        let end = start + count;
        let window = window.unwrap_or(usize::MAX);
        if count == 1 && end <= window {
            return Ok(None);
        }
        let mut mask = vec![0f32; count * end];
        for (row, line) in mask.chunks_exact_mut(end).enumerate() {
            let position = start + row;
            line[position + 1..].fill(f32::NEG_INFINITY);
            let hidden = (position + 1).saturating_sub(window);
            line[..hidden].fill(f32::NEG_INFINITY);
        }
        Tensor::from_vec(mask, (count, end), &self.device).map(Some)
    }

    /// Projects `x` onto the vocabulary and appends the result to `out`.
    fn project(&self, x: &Tensor, out: &mut Vec<f32>) -> candle_core::Result<()> {
        let x = rms_norm(
            &x.contiguous()?,
            &self.weights.output_norm,
            self.config.norm_epsilon,
        )?;
        let mut logits = self.weights.output.forward(&x)?;
        if let Some(cap) = self.config.final_softcap {
            logits = ((logits / f64::from(cap))?.tanh()? * f64::from(cap))?;
        }
        out.extend(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}

impl Decoder for CandleDecoder {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn slot_count(&self) -> usize {
        self.slots.len()
    }

    fn slot_capacity(&self) -> usize {
        self.capacity
    }

    fn slot_len(&self, slot: usize) -> usize {
        self.slots.get(slot).map_or(0, |slot| slot.len)
    }

    fn truncate(&mut self, slot: usize, len: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.len = slot.len.min(len);
        }
    }

    fn forward(
        &mut self,
        slot: usize,
        tokens: &[u32],
        wanted: Logits,
        out: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        out.clear();
        let start = self.check(slot, tokens)?;
        let last_batch = tokens.len().div_ceil(BATCH).saturating_sub(1);
        for (number, batch) in tokens.chunks(BATCH).enumerate() {
            let x = self.batch(&self.slots[slot], batch, start + number * BATCH)?;
            match wanted {
                Logits::All => self.project(&x, out)?,
                Logits::Last if number == last_batch => {
                    self.project(&x.narrow(0, batch.len() - 1, 1)?, out)?;
                }
                Logits::Last | Logits::None => {}
            }
        }
        self.slots[slot].len = start + tokens.len();
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        self.memory
    }
}

impl Slot {
    fn new(config: &DecoderConfig, capacity: usize, device: &Device) -> candle_core::Result<Self> {
        let shape = (config.kv_head_count, capacity, config.head_size);
        let cache = || {
            (0..config.layer_count)
                .map(|_| Tensor::zeros(shape, DType::F32, device))
                .collect::<candle_core::Result<Vec<_>>>()
        };
        Ok(Self {
            len: 0,
            keys: cache()?,
            values: cache()?,
        })
    }
}

impl RopeTable {
    fn new(
        config: RopeConfig,
        factors: Option<&[f32]>,
        capacity: usize,
        device: &Device,
    ) -> candle_core::Result<Self> {
        let pairs = config.dimensions / 2;
        let base = f64::from(config.frequency_base);
        let frequencies: Vec<f64> = (0..pairs)
            .map(|pair| {
                let exponent = -2.0 * pair as f64 / config.dimensions as f64;
                let factor = factors
                    .and_then(|factors| factors.get(pair))
                    .map_or(1.0, |&f| f64::from(f));
                f64::from(config.frequency_scale) * base.powf(exponent) / factor
            })
            .collect();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in 0..capacity {
            for frequency in &frequencies {
                let angle = position as f64 * frequency;
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        Ok(Self {
            config,
            cos: Tensor::from_vec(cos, (capacity, pairs), device)?,
            sin: Tensor::from_vec(sin, (capacity, pairs), device)?,
        })
    }

    /// Rotates `[heads, count, size]` whose first token is at `start`.
    fn rotate(&self, x: &Tensor, start: usize) -> candle_core::Result<Tensor> {
        let (_, count, size) = x.dims3()?;
        let rotated = self.config.dimensions;
        let cos = self.cos.narrow(0, start, count)?;
        let sin = self.sin.narrow(0, start, count)?;
        let head = x.narrow(D::Minus1, 0, rotated)?.unsqueeze(0)?.contiguous()?;
        let head = match self.config.style {
            RopeStyle::Interleaved => rope_i(&head, &cos, &sin)?,
            RopeStyle::Halves => rope(&head, &cos, &sin)?,
        };
        let head = head.squeeze(0)?;
        if rotated == size {
            return Ok(head);
        }
        Tensor::cat(&[head, x.narrow(D::Minus1, rotated, size - rotated)?], D::Minus1)
    }
}

/// Tokens a slot holds under `options`.
fn capacity(config: &DecoderConfig, options: &LoadOptions) -> usize {
    options.context_length.map_or(config.context_length, |wanted| {
        wanted.clamp(1, config.context_length)
    })
}

/// What loading would take.
pub fn estimate(
    file: &GgufFile,
    config: &DecoderConfig,
    options: &LoadOptions,
    precision: Precision,
) -> MemoryUse {
    let float = |elements: usize| elements as u64 * 4;
    let weights_bytes = file
        .tensors()
        .iter()
        .filter(|tensor| tensor.name != tensor_names::TOKEN_EMBEDDING || weights::is_tied(file))
        .map(|tensor| match precision {
            Precision::Quantized if !weights::is_float(tensor.ggml_type) => tensor.size_bytes() as u64,
            _ => float(tensor.element_count()),
        })
        .sum();
    let capacity = capacity(config, options);
    let head_row = config.kv_head_count.saturating_mul(config.head_size);
    let per_token = float(2usize.saturating_mul(config.layer_count).saturating_mul(head_row));
    let kv_bytes = per_token
        .saturating_mul(capacity as u64)
        .saturating_mul(options.slots.max(1) as u64);
    let batch = BATCH.min(capacity);
    let scores = config.head_count.saturating_mul(batch).saturating_mul(capacity);
    let wide = batch.saturating_mul(3 * config.feed_forward_length + 6 * config.width);
    let scratch_bytes = float(scores.saturating_mul(3).saturating_add(wide))
        .saturating_add(float(config.vocabulary_size).saturating_mul(2))
        .saturating_add(float(capacity).saturating_mul(2 * config.head_size as u64));
    MemoryUse {
        weights_bytes,
        kv_bytes,
        scratch_bytes,
    }
}

#[cfg(test)]
mod tests;
