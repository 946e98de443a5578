//! Finds, checks and packs a model's weights.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use half::{bf16, f16};

use crate::decoder::{DecoderConfig, DecoderError, LoadProgress, tensor_names as names};
use crate::gguf::{GgmlType, GgufFile, TensorInfo};
use crate::kernels::{BLOCK, Buffer, PackedMatrix, Placement, ThreadPool, layout_of, pack_panel};

/// Every weight of a network.
pub(super) struct Weights {
    pub(super) embedding: PackedMatrix,
    pub(super) output: PackedMatrix,
    pub(super) output_norm: Vec<f32>,
    pub(super) rope_factors: Option<Vec<f32>>,
    pub(super) layers: Vec<LayerWeights>,
    /// Bytes of packed memory.
    pub(super) bytes: usize,
}

/// One layer's weights; what a family doesn't have is `None`.
pub(super) struct LayerWeights {
    pub(super) attention_norm: Vec<f32>,
    pub(super) query: PackedMatrix,
    pub(super) key: PackedMatrix,
    pub(super) value: PackedMatrix,
    /// Query, key and value biases one after the other.
    pub(super) bias: Option<Vec<f32>>,
    pub(super) query_norm: Option<Vec<f32>>,
    pub(super) key_norm: Option<Vec<f32>>,
    pub(super) attention_output: PackedMatrix,
    pub(super) post_attention_norm: Option<Vec<f32>>,
    pub(super) feed_forward_norm: Vec<f32>,
    pub(super) gate: PackedMatrix,
    pub(super) up: PackedMatrix,
    pub(super) down: PackedMatrix,
    pub(super) post_feed_forward_norm: Option<Vec<f32>>,
}

/// Which matrix goes where in the packed memory, before anything is read.
pub(super) struct Plan<'a> {
    file: &'a GgufFile,
    config: &'a DecoderConfig,
    matrices: Vec<(&'a TensorInfo, Placement)>,
    bytes: usize,
}

impl<'a> Plan<'a> {
    /// Checks presence, shape and type of every matrix.
    pub(super) fn new(file: &'a GgufFile, config: &'a DecoderConfig) -> Result<Self, DecoderError> {
        let mut plan = Self {
            file,
            config,
            matrices: Vec::new(),
            bytes: 0,
        };
        let (width, hidden) = (config.width, config.feed_forward_length);
        let (queries, keys) = (
            config.head_count * config.head_size,
            config.kv_head_count * config.head_size,
        );
        for (what, value, unit) in [
            ("embedding_length", width, BLOCK),
            ("feed_forward_length", hidden, BLOCK),
            ("attention.head_count", queries, BLOCK),
            ("attention.key_length", config.head_size, 16),
        ] {
            if !value.is_multiple_of(unit) {
                return Err(DecoderError::BadMetadata {
                    key: format!("{}.{what}", config.architecture.name()),
                    problem: format!("{value} is not a multiple of {unit}, which the kernels need"),
                });
            }
        }
        plan.add(names::TOKEN_EMBEDDING, config.vocabulary_size, width)?;
        if file.tensor(names::OUTPUT).is_some() {
            plan.add(names::OUTPUT, config.vocabulary_size, width)?;
        }
        for layer in 0..config.layer_count {
            for (part, rows, columns) in [
                (names::QUERY, queries, width),
                (names::KEY, keys, width),
                (names::VALUE, keys, width),
                (names::ATTENTION_OUTPUT, width, queries),
                (names::FEED_FORWARD_GATE, hidden, width),
                (names::FEED_FORWARD_UP, hidden, width),
                (names::FEED_FORWARD_DOWN, width, hidden),
            ] {
                plan.add(&names::layer(layer, part), rows, columns)?;
            }
        }
        Ok(plan)
    }

    /// Bytes that the packed matrices will take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn add(&mut self, name: &str, rows: usize, columns: usize) -> Result<(), DecoderError> {
        let tensor = self.file.require_tensor(name)?;
        check_shape(tensor, &[rows, columns])?;
        let layout = layout_of(tensor.ggml_type).ok_or_else(|| wrong_type(tensor))?;
        let placement = Placement::new(rows, columns, layout, self.bytes)
            .ok_or(DecoderError::OutOfMemory { bytes: usize::MAX })?;
        self.bytes = placement.end;
        self.matrices.push((tensor, placement));
        Ok(())
    }

    /// Packs everything, tensor by tensor, letting go of the file's pages on the way.
    pub(super) fn pack(
        &self,
        pool: &mut ThreadPool,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Weights, DecoderError> {
        let mut memory = Buffer::zeroed(self.bytes).ok_or(DecoderError::OutOfMemory { bytes: self.bytes })?;
        memory.prefer_large_pages();
        let total_bytes = self
            .matrices
            .iter()
            .map(|(tensor, _)| tensor.size_bytes() as u64)
            .sum();
        let mut done_bytes = 0;
        progress(LoadProgress {
            done_bytes,
            total_bytes,
        });
        for (tensor, placement) in &self.matrices {
            pack_matrix(pool, self.file, tensor, placement, memory.bytes_mut());
            self.file.release_tensor(tensor);
            done_bytes += tensor.size_bytes() as u64;
            progress(LoadProgress {
                done_bytes,
                total_bytes,
            });
        }
        let memory = Arc::new(memory);
        let matrices = self
            .matrices
            .iter()
            .map(|(tensor, place)| {
                (
                    tensor.name.as_str(),
                    PackedMatrix::new(Arc::clone(&memory), *place),
                )
            })
            .collect();
        Parts {
            file: self.file,
            config: self.config,
            matrices,
        }
        .assemble(self.bytes)
    }
}

fn pack_matrix(
    pool: &mut ThreadPool,
    file: &GgufFile,
    tensor: &TensorInfo,
    placement: &Placement,
    memory: &mut [u8],
) {
    /// Rows of sixteen a thread takes at once.
    const PANELS_AT_ONCE: usize = 8;
    let stored = file.tensor_bytes(tensor);
    let row_bytes = tensor.size_bytes() / tensor.rows();
    let (codes, scales) = placement.split(memory);
    let panels: Vec<_> = codes
        .chunks_mut(placement.panel_code_bytes())
        .zip(scales.chunks_mut(placement.panel_scale_bytes()))
        .map(Mutex::new)
        .collect();
    pool.run(panels.len().div_ceil(PANELS_AT_ONCE), |_, chunk| {
        let first = chunk * PANELS_AT_ONCE;
        for (index, panel) in panels.iter().enumerate().skip(first).take(PANELS_AT_ONCE) {
            let mut panel = panel.lock().unwrap_or_else(PoisonError::into_inner);
            let (codes, scales) = &mut *panel;
            pack_panel(tensor.ggml_type, stored, row_bytes, index, codes, scales);
        }
    });
}

/// The packed matrices by name, to be put together.
struct Parts<'a> {
    file: &'a GgufFile,
    config: &'a DecoderConfig,
    matrices: BTreeMap<&'a str, PackedMatrix>,
}

impl Parts<'_> {
    fn assemble(&self, bytes: usize) -> Result<Weights, DecoderError> {
        let config = self.config;
        let embedding = self.matrix(names::TOKEN_EMBEDDING)?;
        let layers = (0..config.layer_count)
            .map(|layer| self.layer(layer))
            .collect::<Result<_, _>>()?;
        Ok(Weights {
            output: self.matrix(names::OUTPUT).unwrap_or_else(|_| embedding.clone()),
            embedding,
            output_norm: self.vector(names::OUTPUT_NORM, config.width)?,
            rope_factors: self.optional(names::ROPE_FREQUENCY_FACTORS, config.rope.dimensions / 2)?,
            layers,
            bytes,
        })
    }

    fn layer(&self, layer: usize) -> Result<LayerWeights, DecoderError> {
        let (config, name) = (self.config, |part: &str| names::layer(layer, part));
        let (size, width) = (config.head_size, config.width);
        let biases = [
            self.optional(&name(names::QUERY_BIAS), config.head_count * size)?,
            self.optional(&name(names::KEY_BIAS), config.kv_head_count * size)?,
            self.optional(&name(names::VALUE_BIAS), config.kv_head_count * size)?,
        ];
        let bias = if biases.iter().any(Option::is_some) {
            let counts = [config.head_count, config.kv_head_count, config.kv_head_count];
            let parts = biases.into_iter().zip(counts);
            Some(
                parts
                    .flat_map(|(bias, heads)| bias.unwrap_or_else(|| vec![0.0; heads * size]))
                    .collect(),
            )
        } else {
            None
        };
        Ok(LayerWeights {
            attention_norm: self.vector(&name(names::ATTENTION_NORM), width)?,
            query: self.matrix(&name(names::QUERY))?,
            key: self.matrix(&name(names::KEY))?,
            value: self.matrix(&name(names::VALUE))?,
            bias,
            query_norm: self.family_vector(&name(names::QUERY_NORM), size, config.has_head_norms())?,
            key_norm: self.family_vector(&name(names::KEY_NORM), size, config.has_head_norms())?,
            attention_output: self.matrix(&name(names::ATTENTION_OUTPUT))?,
            post_attention_norm: self.family_vector(
                &name(names::POST_ATTENTION_NORM),
                width,
                config.has_post_norms(),
            )?,
            feed_forward_norm: self.vector(&name(names::FEED_FORWARD_NORM), width)?,
            gate: self.matrix(&name(names::FEED_FORWARD_GATE))?,
            up: self.matrix(&name(names::FEED_FORWARD_UP))?,
            down: self.matrix(&name(names::FEED_FORWARD_DOWN))?,
            post_feed_forward_norm: self.family_vector(
                &name(names::POST_FEED_FORWARD_NORM),
                width,
                config.has_post_norms(),
            )?,
        })
    }

    fn matrix(&self, name: &str) -> Result<PackedMatrix, DecoderError> {
        let missing = || crate::gguf::GgufError::MissingTensor {
            name: name.to_owned(),
        };
        Ok(self.matrices.get(name).cloned().ok_or_else(missing)?)
    }

    fn family_vector(&self, name: &str, len: usize, has: bool) -> Result<Option<Vec<f32>>, DecoderError> {
        if has {
            self.vector(name, len).map(Some)
        } else {
            Ok(None)
        }
    }

    fn optional(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>, DecoderError> {
        if self.file.tensor(name).is_some() {
            self.vector(name, len).map(Some)
        } else {
            Ok(None)
        }
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, DecoderError> {
        let tensor = self.file.require_tensor(name)?;
        check_shape(tensor, &[len])?;
        let bytes = self.file.tensor_bytes(tensor);
        Ok(match tensor.ggml_type {
            GgmlType::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            GgmlType::F16 => bytes
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            GgmlType::BF16 => bytes
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            _ => return Err(wrong_type(tensor)),
        })
    }
}

fn check_shape(tensor: &TensorInfo, expected: &[usize]) -> Result<(), DecoderError> {
    if tensor.shape == expected {
        return Ok(());
    }
    Err(DecoderError::TensorShape {
        name: tensor.name.clone(),
        found: tensor.shape.clone(),
        expected: expected.to_vec(),
    })
}

fn wrong_type(tensor: &TensorInfo) -> DecoderError {
    DecoderError::TensorType {
        name: tensor.name.clone(),
        found: tensor.ggml_type.name().to_owned(),
    }
}
