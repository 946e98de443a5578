//! The algorithms, written once against [`Simd`] and compiled for each processor family.
//!
//! Everything here is inlined into functions that enable the family's instructions (see [`super`]).
#![allow(unsafe_code, reason = "vector operations: see the contract of `Simd`")]

use std::ops::Range;

use super::blocks::BLOCK;
use super::packed::{Layout, PackedMatrix};
use super::rows::{BlockNumbers, QuantizedRows, RowsMut};
use super::simd::{LANES, Simd, exp, tanh};

/// Tokens whose quantised activations stay in the second-level cache while panels pass by.
const TOKEN_BLOCK: usize = 64;

/// Four codes of each of sixteen rows, group `GROUP` of the block at `codes`.
#[inline(always)]
unsafe fn group<S: Simd, const LAYOUT: usize, const GROUP: usize>(codes: *const u8) -> S::Bytes {
    let layout = const { Layout::ALL[LAYOUT] };
    // SAFETY: a block holds `code_bytes` bytes, which every offset below respects.
    unsafe {
        if matches!(layout, Layout::Eight) {
            return S::load_bytes(codes.add(GROUP * 64));
        }
        let line = S::load_bytes(codes.add(GROUP / 2 * 64));
        let low = if GROUP.is_multiple_of(2) {
            S::low_nibbles(line)
        } else {
            S::high_nibbles(line)
        };
        match layout {
            Layout::Five | Layout::FiveWithMinimum => {
                S::with_fifth_bit::<GROUP>(low, S::load_bytes(codes.add(256)))
            }
            Layout::Six => {
                let upper = S::load_bytes(codes.add(256 + GROUP / 4 * 64));
                match GROUP % 4 {
                    0 => S::with_two_bits::<0>(low, upper),
                    1 => S::with_two_bits::<1>(low, upper),
                    2 => S::with_two_bits::<2>(low, upper),
                    _ => S::with_two_bits::<3>(low, upper),
                }
            }
            _ => low,
        }
    }
}

/// Sums of one panel's sixteen rows for `T` tokens, whose activations lie `stride` apart.
#[inline(always)]
unsafe fn panel<S: Simd, const LAYOUT: usize, const T: usize>(
    blocks: usize,
    mut codes: *const u8,
    mut scales: *const u16,
    mut activations: *const i8,
    activation_stride: usize,
    mut numbers: *const BlockNumbers,
    number_stride: usize,
) -> [S::Floats; T] {
    let layout = const { Layout::ALL[LAYOUT] };
    let signed = matches!(layout, Layout::Eight);
    let offset = if signed { S::SIGNED_OFFSET } else { layout.zero() };
    // SAFETY: the caller passes a panel of `blocks` blocks and `T` tokens of as many blocks at the strides.
    unsafe {
        let mut totals = [S::splat(0.0); T];
        for _ in 0..blocks {
            let mut first = [S::splat_int(0); T];
            let mut second = [S::splat_int(0); T];
            for t in 0..T {
                let sums = (*numbers.add(t * number_stride)).sums;
                if matches!(layout, Layout::Six) {
                    first[t] = S::splat_int(-offset * sums[0]);
                    second[t] = S::splat_int(-offset * sums[1]);
                } else if offset != 0 {
                    first[t] = S::splat_int(-offset * (sums[0] + sums[1]));
                }
            }
            macro_rules! accumulate {
                ($group:literal, $sums:ident) => {
                    let weights = group::<S, LAYOUT, $group>(codes);
                    for t in 0..T {
                        let four = activations.add(t * activation_stride + $group * 4);
                        $sums[t] = if signed {
                            S::dot_signed($sums[t], weights, four)
                        } else {
                            S::dot_unsigned($sums[t], weights, four)
                        };
                    }
                };
            }
            accumulate!(0, first);
            accumulate!(1, first);
            accumulate!(2, first);
            accumulate!(3, first);
            if matches!(layout, Layout::Six) {
                accumulate!(4, second);
                accumulate!(5, second);
                accumulate!(6, second);
                accumulate!(7, second);
            } else {
                accumulate!(4, first);
                accumulate!(5, first);
                accumulate!(6, first);
                accumulate!(7, first);
            }
            let scale = S::load_half(scales);
            for t in 0..T {
                let numbers = &*numbers.add(t * number_stride);
                let mut product = S::mul(S::to_floats(first[t]), scale);
                if matches!(layout, Layout::Six) {
                    product = S::mul_add(S::to_floats(second[t]), S::load_half(scales.add(LANES)), product);
                }
                totals[t] = S::mul_add(product, S::splat(numbers.scale), totals[t]);
                if layout.has_minimum() {
                    let minimum = S::load_half(scales.add(LANES));
                    totals[t] = S::mul_add(minimum, S::splat(numbers.scaled_sum), totals[t]);
                }
            }
            codes = codes.add(layout.code_bytes());
            scales = scales.add(layout.scale_count());
            activations = activations.add(BLOCK);
            numbers = numbers.add(1);
        }
        totals
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const LAYOUT: usize, const T: usize>(
    weights: &PackedMatrix,
    index: usize,
    inputs: &QuantizedRows,
    token: usize,
    out: &RowsMut,
    accumulate: bool,
) {
    let blocks = weights.columns() / BLOCK;
    // SAFETY: `multiply` has checked that the tokens and the panel exist; the output's rows hold whole panels.
    unsafe {
        let sums = panel::<S, LAYOUT, T>(
            blocks,
            weights.panel_codes(index).as_ptr(),
            weights.panel_scales(index).as_ptr(),
            inputs.codes_ptr(token),
            inputs.columns(),
            inputs.numbers_ptr(token),
            blocks,
        );
        for (t, &sum) in sums.iter().enumerate() {
            let to = out.ptr(token + t, index * LANES, LANES);
            let sum = if accumulate { S::add(S::load(to), sum) } else { sum };
            S::store(to, sum);
        }
    }
}

#[inline(always)]
unsafe fn multiply_layout<S: Simd, const LAYOUT: usize>(
    weights: &PackedMatrix,
    panels: Range<usize>,
    inputs: &QuantizedRows,
    out: &RowsMut,
    accumulate: bool,
) {
    let mut start = 0;
    while start < inputs.rows() {
        let end = (start + TOKEN_BLOCK).min(inputs.rows());
        for index in panels.clone() {
            let mut token = start;
            // SAFETY: tokens and panels are within the bounds that `multiply` has checked.
            unsafe {
                if S::TOKEN_TILE >= 8 {
                    while token + 8 <= end {
                        tile::<S, LAYOUT, 8>(weights, index, inputs, token, out, accumulate);
                        token += 8;
                    }
                }
                if S::TOKEN_TILE >= 4 {
                    while token + 4 <= end {
                        tile::<S, LAYOUT, 4>(weights, index, inputs, token, out, accumulate);
                        token += 4;
                    }
                }
                if S::TOKEN_TILE >= 2 {
                    while token + 2 <= end {
                        tile::<S, LAYOUT, 2>(weights, index, inputs, token, out, accumulate);
                        token += 2;
                    }
                }
                while token < end {
                    tile::<S, LAYOUT, 1>(weights, index, inputs, token, out, accumulate);
                    token += 1;
                }
            }
        }
        start = end;
    }
}

/// `out[t][r] (+)= Σ weights[r][k] · inputs[t][k]` for the rows of some panels and all tokens of `inputs`.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(
    weights: &PackedMatrix,
    panels: Range<usize>,
    inputs: &QuantizedRows,
    out: &RowsMut,
    accumulate: bool,
) {
    assert_eq!(
        weights.columns(),
        inputs.columns(),
        "inputs must be as long as the matrix's rows"
    );
    assert!(
        panels.end <= weights.panel_count(),
        "the matrix has that many panels"
    );
    // SAFETY: checked above; `RowsMut` checks its own bounds.
    unsafe {
        match weights.layout() {
            Layout::Four => multiply_layout::<S, 0>(weights, panels, inputs, out, accumulate),
            Layout::FourWithMinimum => multiply_layout::<S, 1>(weights, panels, inputs, out, accumulate),
            Layout::Five => multiply_layout::<S, 2>(weights, panels, inputs, out, accumulate),
            Layout::FiveWithMinimum => multiply_layout::<S, 3>(weights, panels, inputs, out, accumulate),
            Layout::Six => multiply_layout::<S, 4>(weights, panels, inputs, out, accumulate),
            Layout::Eight => multiply_layout::<S, 5>(weights, panels, inputs, out, accumulate),
        }
    }
}

/// Quantises blocks of thirty-two to signed bytes: `value ≈ scale · code`.
#[inline(always)]
pub(crate) unsafe fn quantize<S: Simd>(values: &[f32], codes: &mut [i8], numbers: &mut [BlockNumbers]) {
    let blocks = values
        .chunks_exact(BLOCK)
        .zip(codes.chunks_exact_mut(BLOCK))
        .zip(numbers);
    for ((values, codes), numbers) in blocks {
        // SAFETY: both slices have 32 elements.
        unsafe {
            let (a, b) = (S::load(values.as_ptr()), S::load(values.as_ptr().add(LANES)));
            let largest = S::largest(S::max(S::abs(a), S::abs(b)));
            let scale = largest / 127.0;
            let inverse = S::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
            let (a, b) = (S::round(S::mul(a, inverse)), S::round(S::mul(b, inverse)));
            S::store_low_bytes(codes.as_mut_ptr(), a);
            S::store_low_bytes(codes.as_mut_ptr().add(LANES), b);
            let sums = [S::sum_ints(a), S::sum_ints(b)];
            *numbers = BlockNumbers {
                scale,
                scaled_sum: scale * (sums[0] + sums[1]) as f32,
                sums,
            };
        }
    }
}

/// `out[i] = values[i] / sqrt(mean(values²) + epsilon) · weight[i]`; the length is a multiple of 16.
#[inline(always)]
pub(crate) unsafe fn rms_norm<S: Simd>(values: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(values.len() == weight.len() && values.len() == out.len() && values.len().is_multiple_of(LANES));
    // SAFETY: all three slices have the same length, a multiple of the lanes.
    unsafe {
        let mut sums = [S::splat(0.0); 2];
        for (i, chunk) in values.chunks_exact(LANES).enumerate() {
            let x = S::load(chunk.as_ptr());
            sums[i % 2] = S::mul_add(x, x, sums[i % 2]);
        }
        let mean = S::sum(S::add(sums[0], sums[1])) / values.len() as f32;
        let factor = S::splat(1.0 / (mean + epsilon).sqrt());
        for i in (0..values.len()).step_by(LANES) {
            let scaled = S::mul(S::load(values.as_ptr().add(i)), factor);
            S::store(
                out.as_mut_ptr().add(i),
                S::mul(scaled, S::load(weight.as_ptr().add(i))),
            );
        }
    }
}

/// `gate[i] = silu(gate[i]) · up[i]`; the length is a multiple of 16.
#[inline(always)]
pub(crate) unsafe fn silu_multiply<S: Simd>(gate: &mut [f32], up: &[f32]) {
    assert!(gate.len() == up.len() && gate.len().is_multiple_of(LANES));
    for i in (0..gate.len()).step_by(LANES) {
        // SAFETY: both slices have the same length, a multiple of the lanes.
        unsafe {
            let x = S::load(gate.as_ptr().add(i));
            let denominator = S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)));
            let y = S::mul(S::div(x, denominator), S::load(up.as_ptr().add(i)));
            S::store(gate.as_mut_ptr().add(i), y);
        }
    }
}

/// √(2/π), of GELU's approximation.
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// `gate[i] = gelu(gate[i]) · up[i]` with the tanh approximation; the length is a multiple of 16.
#[inline(always)]
pub(crate) unsafe fn gelu_multiply<S: Simd>(gate: &mut [f32], up: &[f32]) {
    assert!(gate.len() == up.len() && gate.len().is_multiple_of(LANES));
    for i in (0..gate.len()).step_by(LANES) {
        // SAFETY: both slices have the same length, a multiple of the lanes.
        unsafe {
            let x = S::load(gate.as_ptr().add(i));
            let cubic = S::mul_add(S::mul(S::mul(x, x), S::splat(0.044_715)), x, x);
            let t = tanh::<S>(S::mul(cubic, S::splat(SQRT_2_OVER_PI)));
            let half = S::mul(x, S::splat(0.5));
            let y = S::mul(S::mul_add(half, t, half), S::load(up.as_ptr().add(i)));
            S::store(gate.as_mut_ptr().add(i), y);
        }
    }
}

/// `values[i] += other[i]`.
#[inline(always)]
pub(crate) unsafe fn add<S: Simd>(values: &mut [f32], other: &[f32]) {
    let mut values = values.chunks_exact_mut(LANES);
    let mut other = other.chunks_exact(LANES);
    for (a, b) in values.by_ref().zip(other.by_ref()) {
        // SAFETY: both chunks have sixteen elements.
        unsafe { S::store(a.as_mut_ptr(), S::add(S::load(a.as_ptr()), S::load(b.as_ptr()))) }
    }
    for (a, b) in values.into_remainder().iter_mut().zip(other.remainder()) {
        *a += b;
    }
}

/// Rounds to half precision; the length is a multiple of 16.
#[inline(always)]
pub(crate) unsafe fn to_half<S: Simd>(values: &[f32], out: &mut [u16]) {
    assert!(values.len() == out.len() && values.len().is_multiple_of(LANES));
    for i in (0..values.len()).step_by(LANES) {
        // SAFETY: both slices have the same length, a multiple of the lanes.
        unsafe { S::store_half(out.as_mut_ptr().add(i), S::load(values.as_ptr().add(i))) }
    }
}
