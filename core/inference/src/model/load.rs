//! From a file to a running engine thread's parts.

use super::options::{DeviceChoice, MemoryEstimate, ModelInfo};
use super::{DevicePreference, LoadError, LoadOptions};
use crate::decoder::candle::{self, CandleDecoder, Precision, open_device};
use crate::decoder::cpu::{self, CpuDecoder};
use crate::decoder::{Decoder, DecoderConfig, DecoderError};
use crate::gguf::{GgmlType, GgufFile, TensorInfo};
use candle_core::Device;

/// Window in tokens, for each slot, when none is asked for and the model allows more.
const DEFAULT_CONTEXT_LENGTH: usize = 8192;
/// Multiply-adds of one prefill step: some 100 ms on two cores, and so the delay of a cancellation.
const SLICE_WORK: u64 = 48_000_000_000;

impl From<DecoderError> for LoadError {
    fn from(error: DecoderError) -> Self {
        match error {
            DecoderError::Gguf(error) => Self::File(error),
            DecoderError::DeviceUnavailable { device, reason } => Self::Device {
                device: format!("{device:?}").to_lowercase(),
                reason,
            },
            DecoderError::OutOfMemory { .. } | DecoderError::Backend(_) => Self::Build(error.to_string()),
            other => Self::Unsupported(other.to_string()),
        }
    }
}

/// Where the network will run.
enum Target {
    /// Hearth's own kernels.
    Cpu,
    /// Candle, on any device.
    Candle(Device),
}

fn target(preference: DevicePreference) -> Result<(Target, Option<String>), LoadError> {
    let (device, fallback) = open_device(preference)?;
    let own = device.is_cpu() && preference != DevicePreference::CpuReference;
    Ok((if own { Target::Cpu } else { Target::Candle(device) }, fallback))
}

/// The options with every default filled in.
fn resolve(config: &DecoderConfig, options: &LoadOptions) -> LoadOptions {
    let wanted = options.context_length.unwrap_or(DEFAULT_CONTEXT_LENGTH);
    LoadOptions {
        context_length: Some(wanted.clamp(1, config.context_length.max(1))),
        slots: options.slots.max(1),
        ..options.clone()
    }
}

/// What the model in `file` would need under `options`, without loading it.
///
/// # Errors
/// [`LoadError::DoesNotFit`] when it is above the options' limit, and what is wrong with the file.
pub fn estimate_memory(file: &GgufFile, options: &LoadOptions) -> Result<MemoryEstimate, LoadError> {
    let config = DecoderConfig::from_gguf(file)?;
    let (target, _) = target(options.device)?;
    estimate_on(&target, file, &config, &resolve(&config, options))
}

fn estimate_on(
    target: &Target,
    file: &GgufFile,
    config: &DecoderConfig,
    options: &LoadOptions,
) -> Result<MemoryEstimate, LoadError> {
    let needed: MemoryEstimate = match target {
        Target::Cpu => cpu::estimate(file, options)?.into(),
        Target::Candle(_) => candle::estimate(file, config, options, Precision::Quantized).into(),
    };
    match options.memory_limit_bytes {
        Some(limit_bytes) if needed.total_bytes() > limit_bytes => {
            Err(LoadError::DoesNotFit { needed, limit_bytes })
        }
        _ => Ok(needed),
    }
}

/// Loads the network of `file`; what it is, and the parts.
pub(super) fn open(
    file: &GgufFile,
    options: &LoadOptions,
) -> Result<(Box<dyn Decoder>, ModelInfo), LoadError> {
    let config = DecoderConfig::from_gguf(file)?;
    let options = resolve(&config, options);
    let (target, fallback) = target(options.device)?;
    estimate_on(&target, file, &config, &options)?;
    let (decoder, name, detail): (Box<dyn Decoder>, _, _) = match target {
        Target::Cpu => {
            let decoder = CpuDecoder::load(file, &options, &mut |_| ())?;
            let detail = format!("{}, {} threads", decoder.kernels_name(), decoder.threads());
            (Box::new(decoder), "cpu", detail)
        }
        Target::Candle(device) => {
            let decoder = CandleDecoder::load(file, &options, &device, Precision::Quantized)?;
            let (name, detail) = match &device {
                Device::Cpu => ("cpu-reference", "candle".to_owned()),
                Device::Cuda(_) => ("cuda", "candle, card 0".to_owned()),
                Device::Metal(_) => ("metal", "candle, card 0".to_owned()),
            };
            (Box::new(decoder), name, detail)
        }
    };
    let info = ModelInfo {
        architecture: config.architecture.name().to_owned(),
        name: file.get("general.name")?,
        context_length: decoder.slot_capacity(),
        trained_context_length: config.context_length,
        vocabulary_size: config.vocabulary_size,
        parameters: file
            .tensors()
            .iter()
            .map(|tensor| tensor.element_count() as u64)
            .sum(),
        file_bytes: file.size_bytes() as u64,
        quantization: main_type(file).name().to_owned(),
        device: DeviceChoice {
            name: name.to_owned(),
            detail,
            fallback,
        },
        memory: decoder.memory().into(),
        slots: decoder.slot_count(),
        // Filled in from the template when the engine starts.
        has_chat_template: false,
        chat_template: String::new(),
        reasoning: false,
    };
    Ok((decoder, info))
}

/// The type that holds most of the weights.
fn main_type(file: &GgufFile) -> GgmlType {
    let count = |wanted: GgmlType| -> usize {
        let tensors = file.tensors().iter();
        tensors
            .filter(|tensor| tensor.ggml_type == wanted)
            .map(TensorInfo::element_count)
            .sum()
    };
    GgmlType::ALL
        .iter()
        .copied()
        .max_by_key(|&wanted| count(wanted))
        .unwrap_or(GgmlType::F32)
}

/// Prompt tokens computed in one step: fixed for a model, so that the same prompt is always computed alike.
pub(super) fn prefill_slice(parameters: u64) -> usize {
    let tokens = (SLICE_WORK / parameters.max(1)).clamp(32, 256) as usize;
    tokens - tokens % 32
}
