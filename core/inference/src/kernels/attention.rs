//! Attention of a few queries over one key-value head, without ever holding all scores.
//!
//! Positions pass by in chunks; a running maximum and sum per query row rescale what was accumulated before
//! (online softmax, <https://arxiv.org/abs/1805.02867>; tiling as in <https://arxiv.org/abs/2205.14135>). Keys lie in
//! blocks of sixteen positions with the head's dimensions as rows, so that a lane is a position and scores need no
//! horizontal sums; values lie position by position, so that a lane is a dimension.
#![allow(unsafe_code, reason = "vector operations: see the contract of `Simd`")]

use std::ops::Range;

use super::simd::{LANES, Simd, exp, tanh};

/// Positions handled between two rescalings; a multiple of 32.
pub(crate) const CHUNK: usize = 128;

/// Queries that attend to the same keys and values.
pub(crate) struct AttentionInputs<'a> {
    /// `[rows, head_size]`, already scaled.
    pub(crate) queries: &'a [f32],
    /// The positions that each row sees; not empty for at least one row.
    pub(crate) visible: &'a [Range<usize>],
    /// Half precision, `[positions / 16, head_size, 16]`.
    pub(crate) keys: &'a [u16],
    /// Half precision, `[positions, head_size]`.
    pub(crate) values: &'a [u16],
    /// A multiple of 16.
    pub(crate) head_size: usize,
    /// Scores become `cap · tanh(score / cap)`.
    pub(crate) softcap: Option<f32>,
    /// The positions to look at in this call; rows see their part of it.
    pub(crate) positions: Range<usize>,
}

/// What has been accumulated for each row: `Σ e^(score - largest) · value`, the largest score, and the sum of weights.
pub(crate) struct AttentionState<'a> {
    /// `[rows, head_size]`.
    pub(crate) weighted: &'a mut [f32],
    /// `[rows]`.
    pub(crate) largest: &'a mut [f32],
    /// `[rows]`.
    pub(crate) total: &'a mut [f32],
    /// Room for `rows · CHUNK` numbers.
    pub(crate) scores: &'a mut [f32],
}

/// Starts the state afresh and goes over the positions.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd>(inputs: &AttentionInputs<'_>, state: &mut AttentionState<'_>) {
    let (rows, size) = (inputs.visible.len(), inputs.head_size);
    let Range { start, end } = inputs.positions;
    assert!(size.is_multiple_of(LANES) && inputs.queries.len() == rows * size);
    assert!(state.weighted.len() == rows * size && state.largest.len() == rows && state.total.len() == rows);
    assert!(state.scores.len() >= rows * CHUNK);
    assert!(inputs.keys.len() >= end.next_multiple_of(LANES) * size && inputs.values.len() >= end * size);
    state.weighted.fill(0.0);
    state.largest.fill(f32::NEG_INFINITY);
    state.total.fill(0.0);

    let mut from = start / LANES * LANES;
    while from < end {
        let to = (from + CHUNK).min(end);
        // SAFETY: the lengths checked above cover every row, block and position that the helpers touch.
        unsafe {
            let mut row = 0;
            while row < rows {
                let taken = match rows - row {
                    1 => score_rows::<S, 1>(inputs, state, row, from..to),
                    2 => score_rows::<S, 2>(inputs, state, row, from..to),
                    3 => score_rows::<S, 3>(inputs, state, row, from..to),
                    _ => score_rows::<S, 4>(inputs, state, row, from..to),
                };
                for row in row..row + taken {
                    soften::<S>(inputs, state, row, from..to);
                }
                row += taken;
            }
            let mut row = 0;
            while row < rows {
                row += match rows - row {
                    1 => add_values::<S, 1>(inputs, state, row, from..to),
                    2 => add_values::<S, 2>(inputs, state, row, from..to),
                    3 => add_values::<S, 3>(inputs, state, row, from..to),
                    _ => add_values::<S, 4>(inputs, state, row, from..to),
                };
            }
        }
        from = to;
    }
}

/// Scores of `R` rows for the positions of a chunk, which starts at a multiple of sixteen.
#[inline(always)]
unsafe fn score_rows<S: Simd, const R: usize>(
    inputs: &AttentionInputs<'_>,
    state: &mut AttentionState<'_>,
    row: usize,
    chunk: Range<usize>,
) -> usize {
    let size = inputs.head_size;
    let blocks = (chunk.len()).div_ceil(LANES);
    // SAFETY: `attend` has checked that rows, keys and scores reach this far.
    unsafe {
        let queries = inputs.queries.as_ptr().add(row * size);
        let scores = state.scores.as_mut_ptr().add(row * CHUNK);
        let keys = inputs.keys.as_ptr().add(chunk.start * size);
        let mut block = 0;
        while block + 2 <= blocks {
            let (a, b) = (
                keys.add(block * LANES * size),
                keys.add((block + 1) * LANES * size),
            );
            let mut first = [S::splat(0.0); R];
            let mut second = [S::splat(0.0); R];
            for d in 0..size {
                let (ka, kb) = (S::load_half(a.add(d * LANES)), S::load_half(b.add(d * LANES)));
                for r in 0..R {
                    let q = S::splat(*queries.add(r * size + d));
                    first[r] = S::mul_add(ka, q, first[r]);
                    second[r] = S::mul_add(kb, q, second[r]);
                }
            }
            for r in 0..R {
                S::store(scores.add(r * CHUNK + block * LANES), first[r]);
                S::store(scores.add(r * CHUNK + (block + 1) * LANES), second[r]);
            }
            block += 2;
        }
        if block < blocks {
            let a = keys.add(block * LANES * size);
            let mut sums = [S::splat(0.0); R];
            for d in 0..size {
                let k = S::load_half(a.add(d * LANES));
                for r in 0..R {
                    sums[r] = S::mul_add(k, S::splat(*queries.add(r * size + d)), sums[r]);
                }
            }
            for r in 0..R {
                S::store(scores.add(r * CHUNK + block * LANES), sums[r]);
            }
        }
    }
    R
}

/// Turns one row's scores into weights and rescales what the row has accumulated.
#[inline(always)]
unsafe fn soften<S: Simd>(
    inputs: &AttentionInputs<'_>,
    state: &mut AttentionState<'_>,
    row: usize,
    chunk: Range<usize>,
) {
    let size = inputs.head_size;
    let padded = chunk.len().next_multiple_of(LANES);
    let scores = &mut state.scores[row * CHUNK..][..padded];
    // SAFETY: `scores` and the row's accumulator are whole vectors long.
    unsafe {
        if let Some(cap) = inputs.softcap {
            for i in (0..padded).step_by(LANES) {
                let at = scores.as_mut_ptr().add(i);
                let scaled = S::mul(S::load(at), S::splat(1.0 / cap));
                S::store(at, S::mul(tanh::<S>(scaled), S::splat(cap)));
            }
        }
        let visible = &inputs.visible[row];
        let first = visible
            .start
            .max(inputs.positions.start)
            .clamp(chunk.start, chunk.end)
            - chunk.start;
        let last = visible.end.clamp(chunk.start, chunk.end) - chunk.start;
        if first >= last {
            scores.fill(0.0);
            return;
        }
        scores[..first].fill(f32::NEG_INFINITY);
        scores[last..].fill(f32::NEG_INFINITY);

        let mut largest = S::load(scores.as_ptr());
        for i in (LANES..padded).step_by(LANES) {
            largest = S::max(largest, S::load(scores.as_ptr().add(i)));
        }
        let before = state.largest[row];
        let now = before.max(S::largest(largest));
        let mut total = S::splat(0.0);
        for i in (0..padded).step_by(LANES) {
            let at = scores.as_mut_ptr().add(i);
            let weight = exp::<S>(S::sub(S::load(at), S::splat(now)));
            S::store(at, weight);
            total = S::add(total, weight);
        }
        // `exp` gives a tiny number for what isn't visible: exactly zero is needed.
        scores[..first].fill(0.0);
        scores[last..].fill(0.0);
        let keep = if before == now { 1.0 } else { (before - now).exp() };
        state.total[row] = state.total[row] * keep + S::sum(total);
        state.largest[row] = now;
        if keep != 1.0 {
            let weighted = state.weighted.as_mut_ptr().add(row * size);
            for d in (0..size).step_by(LANES) {
                S::store(weighted.add(d), S::mul(S::load(weighted.add(d)), S::splat(keep)));
            }
        }
    }
}

/// Adds the chunk's values, weighted, to `R` rows.
#[inline(always)]
unsafe fn add_values<S: Simd, const R: usize>(
    inputs: &AttentionInputs<'_>,
    state: &mut AttentionState<'_>,
    row: usize,
    chunk: Range<usize>,
) -> usize {
    let size = inputs.head_size;
    // SAFETY: `attend` has checked that rows and values reach this far.
    unsafe {
        let mut d = 0;
        while d + 4 * LANES <= size {
            add_columns::<S, R, 4>(inputs, state, row, chunk.clone(), d);
            d += 4 * LANES;
        }
        while d < size {
            add_columns::<S, R, 1>(inputs, state, row, chunk.clone(), d);
            d += LANES;
        }
    }
    R
}

#[inline(always)]
unsafe fn add_columns<S: Simd, const R: usize, const D: usize>(
    inputs: &AttentionInputs<'_>,
    state: &mut AttentionState<'_>,
    row: usize,
    chunk: Range<usize>,
    column: usize,
) {
    let size = inputs.head_size;
    // SAFETY: as in `add_values`; `column + D · 16 <= size`.
    unsafe {
        let weighted = state.weighted.as_mut_ptr().add(row * size + column);
        let weights = state.scores.as_ptr().add(row * CHUNK);
        let mut values = inputs.values.as_ptr().add(chunk.start * size + column);
        let mut sums = [[S::splat(0.0); D]; R];
        for r in 0..R {
            for v in 0..D {
                sums[r][v] = S::load(weighted.add(r * size + v * LANES));
            }
        }
        for i in 0..chunk.len() {
            let mut lines = [S::splat(0.0); D];
            for v in 0..D {
                lines[v] = S::load_half(values.add(v * LANES));
            }
            for r in 0..R {
                let weight = S::splat(*weights.add(r * CHUNK + i));
                for v in 0..D {
                    sums[r][v] = S::mul_add(lines[v], weight, sums[r][v]);
                }
            }
            values = values.add(size);
        }
        for r in 0..R {
            for v in 0..D {
                S::store(weighted.add(r * size + v * LANES), sums[r][v]);
            }
        }
    }
}
