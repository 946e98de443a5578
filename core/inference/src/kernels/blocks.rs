//! The quantised blocks of GGUF files, read thirty-two weights at a time.
//!
//! Formats: <https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h>. Every supported type comes down to
//! small unsigned codes with a scale for each sixteen and a minimum, see [`Block`].

use half::{bf16, f16};

use super::packed::Layout;
use crate::gguf::GgmlType;

/// Weights in a block, the unit of scales and of quantised activations.
pub const BLOCK: usize = 32;

/// Thirty-two weights: `weight[i] = scale[i / 16] · (code[i] - zero) + minimum`, `zero` being the layout's.
///
/// For [`Layout::Eight`] the codes are signed bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) codes: [u8; BLOCK],
    pub(crate) scales: [f32; 2],
    pub(crate) minimum: f32,
}

/// The packed layout that holds a file type, or `None` when the type isn't supported.
///
/// Quantised types keep their codes; scales are rounded to half precision where the file builds them from two
/// factors. `F32`, `F16` and `BF16` are quantised to eight bits with a scale per 32 weights.
pub(crate) fn layout_of(ggml_type: GgmlType) -> Option<Layout> {
    Some(match ggml_type {
        GgmlType::Q4_0 => Layout::Four,
        GgmlType::Q4_1 | GgmlType::Q4_K => Layout::FourWithMinimum,
        GgmlType::Q5_0 => Layout::Five,
        GgmlType::Q5_1 | GgmlType::Q5_K => Layout::FiveWithMinimum,
        GgmlType::Q3_K | GgmlType::Q6_K => Layout::Six,
        GgmlType::Q8_0 | GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => Layout::Eight,
        _ => return None,
    })
}

/// Reads block `index` (of thirty-two weights) of a row stored as `ggml_type`.
///
/// The type must have a layout and the row must be long enough; both are checked when a tensor is loaded.
pub(crate) fn read(ggml_type: GgmlType, row: &[u8], index: usize) -> Block {
    let per_block = ggml_type.block_elements().max(BLOCK) / BLOCK;
    let bytes = ggml_type.block_bytes() * (BLOCK / ggml_type.block_elements().min(BLOCK));
    let start = index / per_block * bytes;
    let data = &row[start..start + bytes];
    let part = index % per_block;
    match ggml_type {
        GgmlType::Q4_0 => simple(half(data, 0), 0.0, &data[2..18], 0),
        GgmlType::Q4_1 => simple(half(data, 0), half(data, 2), &data[4..20], 0),
        GgmlType::Q5_0 => simple(half(data, 0), 0.0, &data[6..22], word(data, 2)),
        GgmlType::Q5_1 => simple(half(data, 0), half(data, 2), &data[8..24], word(data, 4)),
        GgmlType::Q8_0 => {
            let mut block = Block {
                scales: [half(data, 0); 2],
                ..Block::default()
            };
            block.codes.copy_from_slice(&data[2..34]);
            block
        }
        GgmlType::Q3_K => q3_k(data, part),
        GgmlType::Q4_K => q4_k(data, part),
        GgmlType::Q5_K => q5_k(data, part),
        GgmlType::Q6_K => q6_k(data, part),
        GgmlType::F16 => quantize(|i| half(data, 2 * i)),
        GgmlType::BF16 => quantize(|i| bf16::from_le_bytes([data[2 * i], data[2 * i + 1]]).to_f32()),
        GgmlType::F32 => quantize(|i| f32::from_bits(word(data, 4 * i))),
        _ => Block::default(),
    }
}

fn half(data: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([data[at], data[at + 1]]).to_f32()
}

fn word(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// Nibbles in two halves, with a fifth bit of each from `high`.
fn simple(scale: f32, minimum: f32, nibbles: &[u8], high: u32) -> Block {
    let mut block = Block {
        scales: [scale; 2],
        minimum,
        ..Block::default()
    };
    for i in 0..16 {
        block.codes[i] = (nibbles[i] & 15) | (((high >> i) & 1) as u8 * 16);
        block.codes[i + 16] = (nibbles[i] >> 4) | (((high >> (i + 16)) & 1) as u8 * 16);
    }
    block
}

/// The six-bit scale and minimum of sub-block `part` of Q4_K and Q5_K.
fn k_scale(packed: &[u8], part: usize) -> (f32, f32) {
    let (scale, minimum) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        (
            (packed[part + 4] & 15) | (packed[part - 4] >> 6) << 4,
            (packed[part + 4] >> 4) | (packed[part] >> 6) << 4,
        )
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(data: &[u8], part: usize) -> Block {
    let (scale, minimum) = k_scale(&data[4..16], part);
    let mut block = Block {
        scales: [half(data, 0) * scale; 2],
        minimum: -half(data, 2) * minimum,
        ..Block::default()
    };
    let nibbles = &data[16 + part / 2 * 32..];
    for i in 0..32 {
        block.codes[i] = (nibbles[i] >> (part % 2 * 4)) & 15;
    }
    block
}

fn q5_k(data: &[u8], part: usize) -> Block {
    let (scale, minimum) = k_scale(&data[4..16], part);
    let mut block = Block {
        scales: [half(data, 0) * scale; 2],
        minimum: -half(data, 2) * minimum,
        ..Block::default()
    };
    let (high, nibbles) = (&data[16..48], &data[48 + part / 2 * 32..]);
    for i in 0..32 {
        block.codes[i] = (nibbles[i] >> (part % 2 * 4)) & 15 | ((high[i] >> part) & 1) << 4;
    }
    block
}

fn q6_k(data: &[u8], part: usize) -> Block {
    let (half_index, quarter) = (part / 4, part % 4);
    let low = &data[half_index * 64 + quarter % 2 * 32..];
    let high = &data[128 + half_index * 32..];
    let scales = &data[192 + part * 2..];
    let scale = half(data, 208);
    let mut block = Block {
        scales: [
            scale * f32::from(scales[0] as i8),
            scale * f32::from(scales[1] as i8),
        ],
        ..Block::default()
    };
    for i in 0..32 {
        block.codes[i] = (low[i] >> (quarter / 2 * 4)) & 15 | ((high[i] >> (quarter * 2)) & 3) << 4;
    }
    block
}

fn q3_k(data: &[u8], part: usize) -> Block {
    let (mask, low, packed) = (&data[..32], &data[32 + part / 4 * 32..], &data[96..108]);
    let d = half(data, 108);
    let scale = |j: usize| {
        let four = if j < 8 { packed[j] & 15 } else { packed[j - 8] >> 4 };
        let two = (packed[8 + j % 4] >> (j / 4 * 2)) & 3;
        d * (f32::from(four | two << 4) - 32.0)
    };
    let mut block = Block {
        scales: [scale(2 * part), scale(2 * part + 1)],
        ..Block::default()
    };
    for i in 0..32 {
        // Three bits around 4 in the file, around 32 in the six-bit layout.
        block.codes[i] = ((low[i] >> (part % 4 * 2)) & 3) + ((mask[i] >> part) & 1) * 4 + 28;
    }
    block
}

fn quantize(weight: impl Fn(usize) -> f32) -> Block {
    let largest = (0..BLOCK).map(|i| weight(i).abs()).fold(0.0, f32::max);
    // The scale is stored in half precision: divide by what will be read back.
    let scale = f16::from_f32(largest / 127.0).to_f32();
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut block = Block {
        scales: [scale; 2],
        ..Block::default()
    };
    for (i, code) in block.codes.iter_mut().enumerate() {
        *code = (weight(i) * inverse).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
    }
    block
}
