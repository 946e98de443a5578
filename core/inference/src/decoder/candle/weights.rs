//! Weights on a candle device, each checked against the shape the metadata asks for.

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{GgmlDType, QMatMul};
use candle_core::{Device, Module, Tensor};

use super::Precision;
use crate::decoder::{DecoderConfig, DecoderError, tensor_names as names};
use crate::gguf::{GgmlType, GgufFile, TensorInfo};

/// A matrix `[outputs, inputs]` with an optional bias.
pub(super) struct Linear {
    matrix: QMatMul,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.matrix.forward(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

pub(super) struct Layer {
    pub(super) attention_norm: Tensor,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) query_norm: Option<Tensor>,
    pub(super) key_norm: Option<Tensor>,
    pub(super) output: Linear,
    pub(super) post_attention_norm: Option<Tensor>,
    pub(super) feed_forward_norm: Tensor,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) post_feed_forward_norm: Option<Tensor>,
}

pub(super) struct Weights {
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: Tensor,
    pub(super) output: Linear,
    embedding: TensorInfo,
    embedding_type: GgmlDType,
}

impl Weights {
    pub(super) fn load(
        file: &GgufFile,
        config: &DecoderConfig,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, DecoderError> {
        let loader = Loader {
            file,
            device,
            precision,
        };
        let (width, vocabulary) = (config.width, config.vocabulary_size);
        let embedding = loader.info(names::TOKEN_EMBEDDING, &[vocabulary, width])?.clone();
        let embedding_type = candle_type(&embedding)?;
        let output = if is_tied(file) {
            names::TOKEN_EMBEDDING
        } else {
            names::OUTPUT
        };
        Ok(Self {
            layers: (0..config.layer_count)
                .map(|index| loader.layer(config, index))
                .collect::<Result<_, _>>()?,
            output_norm: loader.vector(names::OUTPUT_NORM, width)?,
            output: loader.linear(output, None, vocabulary, width)?,
            embedding,
            embedding_type,
        })
    }

    /// The embeddings of `tokens`, `[tokens, width]`, from the rows in the mapped file.
    pub(super) fn embed(
        &self,
        file: &GgufFile,
        tokens: &[u32],
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let bytes = file.tensor_bytes(&self.embedding);
        let row_bytes = bytes.len() / self.embedding.rows().max(1);
        // Words, not bytes, so that rows of floats are aligned.
        let mut words = vec![0u32; (tokens.len() * row_bytes).div_ceil(4)];
        let rows: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        for (row, &token) in rows.chunks_exact_mut(row_bytes).zip(tokens) {
            row.copy_from_slice(&bytes[token as usize * row_bytes..][..row_bytes]);
        }
        let shape = vec![tokens.len(), self.embedding.columns()];
        let rows = &rows[..tokens.len() * row_bytes];
        qtensor_from_ggml(self.embedding_type, rows, shape, &Device::Cpu)?
            .dequantize(&Device::Cpu)?
            .to_device(device)
    }
}

struct Loader<'a> {
    file: &'a GgufFile,
    device: &'a Device,
    precision: Precision,
}

impl Loader<'_> {
    fn layer(&self, config: &DecoderConfig, index: usize) -> Result<Layer, DecoderError> {
        let name = |part: &str| names::layer(index, part);
        let (width, hidden, size) = (config.width, config.feed_forward_length, config.head_size);
        let (queries, keys) = (config.head_count * size, config.kv_head_count * size);
        let linear = |part, bias: Option<&str>, outputs, inputs| {
            self.linear(&name(part), bias.map(name).as_deref(), outputs, inputs)
        };
        let optional = |part, len| self.optional_vector(&name(part), len);
        Ok(Layer {
            attention_norm: self.vector(&name(names::ATTENTION_NORM), width)?,
            query: linear(names::QUERY, Some(names::QUERY_BIAS), queries, width)?,
            key: linear(names::KEY, Some(names::KEY_BIAS), keys, width)?,
            value: linear(names::VALUE, Some(names::VALUE_BIAS), keys, width)?,
            query_norm: optional(names::QUERY_NORM, size)?,
            key_norm: optional(names::KEY_NORM, size)?,
            output: linear(names::ATTENTION_OUTPUT, None, width, queries)?,
            post_attention_norm: optional(names::POST_ATTENTION_NORM, width)?,
            feed_forward_norm: self.vector(&name(names::FEED_FORWARD_NORM), width)?,
            gate: linear(names::FEED_FORWARD_GATE, None, hidden, width)?,
            up: linear(names::FEED_FORWARD_UP, None, hidden, width)?,
            down: linear(names::FEED_FORWARD_DOWN, None, width, hidden)?,
            post_feed_forward_norm: optional(names::POST_FEED_FORWARD_NORM, width)?,
        })
    }

    fn linear(
        &self,
        name: &str,
        bias: Option<&str>,
        outputs: usize,
        inputs: usize,
    ) -> Result<Linear, DecoderError> {
        let info = self.info(name, &[outputs, inputs])?;
        let tensor = self.quantized(info)?;
        let matrix = match self.precision {
            Precision::Quantized => QMatMul::from_qtensor(tensor)?,
            Precision::Float => QMatMul::Tensor(tensor.dequantize(self.device)?),
        };
        let bias = bias.map(|bias| self.optional_vector(bias, outputs)).transpose()?;
        Ok(Linear {
            matrix,
            bias: bias.flatten(),
        })
    }

    fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Tensor>, DecoderError> {
        self.file.tensor(name).map(|_| self.vector(name, len)).transpose()
    }

    fn vector(&self, name: &str, len: usize) -> Result<Tensor, DecoderError> {
        let info = self.info(name, &[len])?;
        Ok(self.quantized(info)?.dequantize(self.device)?)
    }

    fn quantized(&self, info: &TensorInfo) -> Result<candle_core::quantized::QTensor, DecoderError> {
        let bytes = self.file.tensor_bytes(info);
        let tensor = qtensor_from_ggml(candle_type(info)?, bytes, info.shape.clone(), self.device)?;
        self.file.release_tensor(info);
        Ok(tensor)
    }

    fn info(&self, name: &str, expected: &[usize]) -> Result<&TensorInfo, DecoderError> {
        let info = self.file.require_tensor(name)?;
        if info.shape != expected {
            return Err(DecoderError::TensorShape {
                name: name.to_owned(),
                found: info.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok(info)
    }
}

/// Whether the token embeddings serve as output projection too.
pub(super) fn is_tied(file: &GgufFile) -> bool {
    file.tensor(names::OUTPUT).is_none()
}

/// Types that candle keeps as plain floats.
pub(super) fn is_float(ggml_type: GgmlType) -> bool {
    matches!(ggml_type, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16)
}

/// Divisors of the rotary frequencies, where the file has them.
pub(super) fn frequency_factors(file: &GgufFile, pairs: usize) -> Result<Option<Vec<f32>>, DecoderError> {
    if file.tensor(names::ROPE_FREQUENCY_FACTORS).is_none() {
        return Ok(None);
    }
    let loader = Loader {
        file,
        device: &Device::Cpu,
        precision: Precision::Float,
    };
    let factors = loader.vector(names::ROPE_FREQUENCY_FACTORS, pairs)?;
    Ok(Some(factors.to_vec1()?))
}

fn candle_type(info: &TensorInfo) -> Result<GgmlDType, DecoderError> {
    Ok(match info.ggml_type {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::BF16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2_K => GgmlDType::Q2K,
        GgmlType::Q3_K => GgmlDType::Q3K,
        GgmlType::Q4_K => GgmlDType::Q4K,
        GgmlType::Q5_K => GgmlDType::Q5K,
        GgmlType::Q6_K => GgmlDType::Q6K,
        other => {
            return Err(DecoderError::TensorType {
                name: info.name.clone(),
                found: other.name().to_owned(),
            });
        }
    })
}
