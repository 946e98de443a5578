//! Weights in the one layout that every kernel reads.
//!
//! Sixteen rows form a *panel*, stored as blocks of thirty-two columns. Within a block the thirty-two codes of a row
//! are eight groups of four; a 64-byte line holds one group of each of the sixteen rows, so that a byte dot-product
//! instruction gives sixteen rows' sums in sixteen lanes. Per block and panel:
//!
//! | layout | lines of codes | scales (half precision) | bits per weight |
//! |---|---|---|---|
//! | [`Layout::Four`] | 4: groups 2i in the low and 2i+1 in the high nibbles | 16 | 4.5 |
//! | [`Layout::FourWithMinimum`] | the same | 16 scales, 16 minima | 5 |
//! | [`Layout::Five`] | 4 as above, 1 of fifth bits: bit g for group g | 16 | 5.5 |
//! | [`Layout::FiveWithMinimum`] | the same | 16 scales, 16 minima | 6 |
//! | [`Layout::Six`] | 4 as above, 2 of upper bits: bits 2(g mod 4) for group g | 2 × 16, one per 16 columns | 7 |
//! | [`Layout::Eight`] | 8, signed | 16 | 8.5 |
//!
//! Codes and scales of a matrix lie in two separate runs, so that every line of codes is aligned to 64 bytes.

use std::sync::Arc;

use half::f16;

use super::blocks::{self, BLOCK, Block};
use super::buffer::Buffer;
use super::simd::LANES;
use crate::gguf::GgmlType;

/// How a matrix's codes are stored; see the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `scale · (code - 8)`, codes of four bits.
    Four,
    /// `scale · code + minimum`, codes of four bits.
    FourWithMinimum,
    /// `scale · (code - 16)`, codes of five bits.
    Five,
    /// `scale · code + minimum`, codes of five bits.
    FiveWithMinimum,
    /// `scale · (code - 32)`, codes of six bits, a scale per sixteen columns.
    Six,
    /// `scale · code`, signed codes of eight bits.
    Eight,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Self; 6] = [
        Self::Four,
        Self::FourWithMinimum,
        Self::Five,
        Self::FiveWithMinimum,
        Self::Six,
        Self::Eight,
    ];

    /// Bytes of codes per block of a panel; a multiple of 64.
    pub(crate) const fn code_bytes(self) -> usize {
        match self {
            Self::Four | Self::FourWithMinimum => 256,
            Self::Five | Self::FiveWithMinimum => 320,
            Self::Six => 384,
            Self::Eight => 512,
        }
    }

    /// Half-precision numbers per block of a panel.
    pub(crate) const fn scale_count(self) -> usize {
        match self {
            Self::Four | Self::Five | Self::Eight => LANES,
            Self::FourWithMinimum | Self::FiveWithMinimum | Self::Six => 2 * LANES,
        }
    }

    /// The code that stands for zero.
    pub(crate) const fn zero(self) -> i32 {
        match self {
            Self::FourWithMinimum | Self::FiveWithMinimum | Self::Eight => 0,
            Self::Four => 8,
            Self::Five => 16,
            Self::Six => 32,
        }
    }

    pub(crate) const fn has_minimum(self) -> bool {
        matches!(self, Self::FourWithMinimum | Self::FiveWithMinimum)
    }
}

/// Where a matrix lies in the memory it shares with the model's other matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) layout: Layout,
    codes_offset: usize,
    scales_offset: usize,
    pub(crate) end: usize,
}

impl Placement {
    /// Places a matrix at the first free byte; `columns` must be a multiple of 32. `None` on overflow.
    pub(crate) fn new(rows: usize, columns: usize, layout: Layout, free_from: usize) -> Option<Self> {
        let blocks = rows.div_ceil(LANES).checked_mul(columns / BLOCK)?;
        let codes_offset = free_from.checked_next_multiple_of(64)?;
        let scales_offset = codes_offset.checked_add(blocks.checked_mul(layout.code_bytes())?)?;
        let end = scales_offset.checked_add(blocks.checked_mul(layout.scale_count() * 2)?)?;
        Some(Self {
            rows,
            columns,
            layout,
            codes_offset,
            scales_offset,
            end,
        })
    }

    pub(crate) fn panel_count(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    fn blocks_per_panel(&self) -> usize {
        self.columns / BLOCK
    }

    /// Bytes of codes in one panel.
    pub(crate) fn panel_code_bytes(&self) -> usize {
        self.blocks_per_panel() * self.layout.code_bytes()
    }

    /// Bytes of scales in one panel.
    pub(crate) fn panel_scale_bytes(&self) -> usize {
        self.blocks_per_panel() * self.layout.scale_count() * 2
    }

    /// The matrix's part of the shared memory, as codes and scales.
    pub(crate) fn split<'a>(&self, memory: &'a mut [u8]) -> (&'a mut [u8], &'a mut [u8]) {
        memory[self.codes_offset..self.end].split_at_mut(self.scales_offset - self.codes_offset)
    }
}

/// A matrix `[rows, columns]` of packed weights. Cheap to clone: clones share the memory.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    memory: Arc<Buffer>,
    placement: Placement,
}

impl PackedMatrix {
    pub(crate) fn new(memory: Arc<Buffer>, placement: Placement) -> Self {
        assert!(
            placement.end <= memory.bytes().len(),
            "a matrix must lie within its memory"
        );
        Self { memory, placement }
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.placement.rows
    }

    /// Inputs; a multiple of 32.
    pub fn columns(&self) -> usize {
        self.placement.columns
    }

    /// How the codes are stored.
    pub fn layout(&self) -> Layout {
        self.placement.layout
    }

    /// Groups of sixteen rows, the last perhaps padded with zeros.
    pub fn panel_count(&self) -> usize {
        self.placement.panel_count()
    }

    pub(crate) fn panel_codes(&self, panel: usize) -> &[u8] {
        let size = self.placement.panel_code_bytes();
        &self.memory.bytes()[self.placement.codes_offset + panel * size..][..size]
    }

    pub(crate) fn panel_scales(&self, panel: usize) -> &[u16] {
        let size = self.placement.panel_scale_bytes();
        bytemuck::cast_slice(&self.memory.bytes()[self.placement.scales_offset + panel * size..][..size])
    }

    /// Writes one row's weights into `out`, which must hold `columns` numbers.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(
            row < self.rows() && out.len() == self.columns(),
            "row and length must fit the matrix"
        );
        let layout = self.layout();
        let (panel, lane) = (row / LANES, row % LANES);
        let codes = self.panel_codes(panel).chunks_exact(layout.code_bytes());
        let scales = self.panel_scales(panel).chunks_exact(layout.scale_count());
        for ((codes, scales), out) in codes.zip(scales).zip(out.chunks_exact_mut(BLOCK)) {
            let number = |index: usize| f16::from_bits(scales[index]).to_f32();
            let first = number(lane);
            let second = if layout == Layout::Six {
                number(LANES + lane)
            } else {
                first
            };
            let minimum = if layout.has_minimum() {
                number(LANES + lane)
            } else {
                0.0
            };
            for (i, out) in out.iter_mut().enumerate() {
                let code = code_at(layout, codes, lane, i) - layout.zero();
                *out = code as f32 * if i < 16 { first } else { second } + minimum;
            }
        }
    }
}

/// The code of column `i` of a block for the row at `lane`.
fn code_at(layout: Layout, codes: &[u8], lane: usize, i: usize) -> i32 {
    let (group, at) = (i / 4, lane * 4 + i % 4);
    if layout == Layout::Eight {
        return i32::from(codes[group * 64 + at] as i8);
    }
    let nibble = codes[group / 2 * 64 + at] >> (group % 2 * 4) & 15;
    let upper = match layout {
        Layout::Five | Layout::FiveWithMinimum => codes[256 + at] >> group & 1,
        Layout::Six => codes[256 + group / 4 * 64 + at] >> (group % 4 * 2) & 3,
        _ => 0,
    };
    i32::from(nibble | upper << 4)
}

/// Packs the sixteen rows from `panel · 16` of a stored matrix; rows past the end become zeros.
///
/// `rows` holds the whole matrix as the file does, `row_bytes` to a row.
pub(crate) fn pack_panel(
    ggml_type: GgmlType,
    rows: &[u8],
    row_bytes: usize,
    panel: usize,
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let Some(layout) = blocks::layout_of(ggml_type) else {
        return;
    };
    let stored = &rows[panel * LANES * row_bytes..];
    let count = (stored.len() / row_bytes).min(LANES);
    // Padding rows have scale 0, whatever their codes mean.
    let mut tile = [Block::default(); LANES];
    let code_blocks = codes.chunks_exact_mut(layout.code_bytes());
    let scale_blocks = scales.chunks_exact_mut(layout.scale_count() * 2);
    for (index, (codes, scales)) in code_blocks.zip(scale_blocks).enumerate() {
        for (block, row) in tile.iter_mut().zip(stored.chunks_exact(row_bytes)).take(count) {
            *block = blocks::read(ggml_type, row, index);
        }
        pack_block(layout, &tile, codes, scales);
    }
}

fn pack_block(layout: Layout, tile: &[Block; LANES], codes: &mut [u8], scales: &mut [u8]) {
    for (lane, block) in tile.iter().enumerate() {
        let mut words = [0u32; 8];
        for (word, bytes) in words.iter_mut().zip(block.codes.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let mut put = |line: usize, word: u32| {
            codes[line * 64 + lane * 4..][..4].copy_from_slice(&word.to_le_bytes());
        };
        if layout == Layout::Eight {
            for (group, &word) in words.iter().enumerate() {
                put(group, word);
            }
        } else {
            for pair in 0..4 {
                put(
                    pair,
                    words[2 * pair] & 0x0F0F_0F0F | (words[2 * pair + 1] & 0x0F0F_0F0F) << 4,
                );
            }
        }
        match layout {
            Layout::Five | Layout::FiveWithMinimum => {
                put(
                    4,
                    (0..8).fold(0, |bits, g| bits | (words[g] >> 4 & 0x0101_0101) << g),
                );
            }
            Layout::Six => {
                for line in 0..2 {
                    let upper = |i: usize| (words[4 * line + i] >> 4 & 0x0303_0303) << (2 * i);
                    put(4 + line, (0..4).fold(0, |bits, i| bits | upper(i)));
                }
            }
            _ => {}
        }
        let mut put_scale = |index: usize, value: f32| {
            scales[2 * index..2 * index + 2].copy_from_slice(&f16::from_f32(value).to_bits().to_ne_bytes());
        };
        put_scale(lane, block.scales[0]);
        if layout.has_minimum() {
            put_scale(LANES + lane, block.minimum);
        } else if layout == Layout::Six {
            put_scale(LANES + lane, block.scales[1]);
        }
    }
}
