//! Every implementation against plain arithmetic in double precision, and packing against the file's own numbers.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::sync::Arc;

use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::gguf::GgmlType;

const SEED: u64 = 20_240_817;
const QUANTIZED: [GgmlType; 9] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
];

/// Random blocks with sane scales.
fn stored_rows(random: &mut StdRng, ggml_type: GgmlType, rows: usize, columns: usize) -> Vec<u8> {
    let blocks = rows * columns / ggml_type.block_elements();
    let mut bytes = vec![0u8; blocks * ggml_type.block_bytes()];
    random.fill(&mut bytes[..]);
    // Where a block keeps its half-precision factors.
    let factors: &[usize] = match ggml_type {
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => &[0],
        GgmlType::Q3_K => &[108],
        GgmlType::Q6_K => &[208],
        _ => &[0, 2],
    };
    for block in bytes.chunks_exact_mut(ggml_type.block_bytes()) {
        for &at in factors {
            let factor = f16::from_f32(random.random_range(-0.02..0.02));
            block[at..at + 2].copy_from_slice(&factor.to_le_bytes());
        }
    }
    bytes
}

fn pack(ggml_type: GgmlType, stored: &[u8], rows: usize, columns: usize) -> PackedMatrix {
    let place = Placement::new(rows, columns, layout_of(ggml_type).unwrap(), 0).unwrap();
    let mut memory = Buffer::zeroed(place.end).unwrap();
    let (codes, scales) = place.split(memory.bytes_mut());
    let panels = codes
        .chunks_mut(place.panel_code_bytes())
        .zip(scales.chunks_mut(place.panel_scale_bytes()));
    for (index, (codes, scales)) in panels.enumerate() {
        pack_panel(ggml_type, stored, stored.len() / rows, index, codes, scales);
    }
    PackedMatrix::new(Arc::new(memory), place)
}

fn random_floats(random: &mut StdRng, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| random.random_range(-1.0f32..1.0).powi(3) * 4.0)
        .collect()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let range = b.iter().fold(1e-6f32, |range, x| range.max(x.abs()));
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!(
            (x - y).abs() <= tolerance * range,
            "at {i}: {x} and {y} of {range}, seed {SEED}"
        );
    }
}

#[test]
fn products_agree_with_dequantized_rows() {
    let mut random = StdRng::seed_from_u64(SEED);
    for ggml_type in QUANTIZED {
        for (rows, columns, tokens) in [(1, 256, 1), (37, 512, 3), (16, 256, 15), (50, 768, 70)] {
            let stored = stored_rows(&mut random, ggml_type, rows, columns);
            let matrix = pack(ggml_type, &stored, rows, columns);
            let activations = random_floats(&mut random, tokens * columns);
            for kernels in available() {
                let mut inputs = QuantizedRows::default();
                inputs.reshape(tokens, columns);
                let mut expected = Vec::new();
                let padded = rows.next_multiple_of(LANES);
                for (token, activations) in activations.chunks_exact(columns).enumerate() {
                    let (codes, numbers) = inputs.row_mut(token);
                    kernels.quantize(activations, codes, numbers);
                    let mut weights = vec![0.0; columns];
                    for row in 0..padded {
                        if row >= rows {
                            expected.push(1.0);
                            continue;
                        }
                        matrix.dequantize_row(row, &mut weights);
                        let products =
                            weights
                                .iter()
                                .zip(&*codes)
                                .enumerate()
                                .map(|(i, (&weight, &code))| {
                                    f64::from(weight) * f64::from(code) * f64::from(numbers[i / BLOCK].scale)
                                });
                        expected.push(1.0 + products.sum::<f64>() as f32);
                    }
                }
                let mut out = vec![1.0; tokens * padded];
                let target = RowsMut::new(&mut out, padded);
                // SAFETY: no other thread knows of `out`.
                unsafe { kernels.multiply(&matrix, 0..matrix.panel_count(), &inputs, &target, true) };
                println!("{} {ggml_type:?} {rows}×{columns}×{tokens}", kernels.name());
                close(&out, &expected, 2e-5);
            }
        }
    }
}

#[test]
fn quantized_activations_stay_within_half_a_step() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut values = random_floats(&mut random, 320);
    values[64..96].fill(0.0);
    for kernels in available() {
        let (mut codes, mut numbers) = (vec![0; 320], vec![BlockNumbers::default(); 10]);
        kernels.quantize(&values, &mut codes, &mut numbers);
        for (i, (value, code)) in values.iter().zip(&codes).enumerate() {
            let scale = numbers[i / BLOCK].scale;
            assert!(
                (value - scale * f32::from(*code)).abs() <= 0.501 * scale,
                "{} at {i}",
                kernels.name()
            );
        }
        for (codes, numbers) in codes.chunks_exact(BLOCK).zip(&numbers) {
            let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum::<i32>();
            assert_eq!(numbers.sums, [sum(&codes[..16]), sum(&codes[16..])]);
        }
    }
}

#[test]
fn element_wise_functions_agree_with_the_standard_library() {
    let mut random = StdRng::seed_from_u64(SEED);
    let (x, up) = (random_floats(&mut random, 352), random_floats(&mut random, 352));
    for kernels in available() {
        let mut out = x.clone();
        kernels.silu_multiply(&mut out, &up);
        let silu: Vec<f32> = x
            .iter()
            .zip(&up)
            .map(|(x, up)| x / (1.0 + (-x).exp()) * up)
            .collect();
        close(&out, &silu, 1e-6);

        let mut out = x.clone();
        kernels.gelu_multiply(&mut out, &up);
        let gelu = |x: f32| 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh());
        let gelu: Vec<f32> = x.iter().zip(&up).map(|(&x, up)| gelu(x) * up).collect();
        close(&out, &gelu, 1e-6);

        let mut out = vec![0.0; 352];
        kernels.rms_norm(&x, &up, 1e-5, &mut out);
        let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / 352.0;
        let factor = 1.0 / (mean + 1e-5).sqrt();
        let norm: Vec<f32> = x
            .iter()
            .zip(&up)
            .map(|(&x, up)| (f64::from(x) * factor) as f32 * up)
            .collect();
        close(&out, &norm, 1e-6);

        let mut halves = vec![0; 352];
        kernels.to_half(&x, &mut halves);
        assert!(
            x.iter()
                .zip(&halves)
                .all(|(&x, &half)| f16::from_f32(x).to_bits() == half)
        );

        let mut out = x[..37].to_vec();
        kernels.add(&mut out, &up[..37]);
        assert!(
            out.iter()
                .zip(x.iter().zip(&up))
                .all(|(out, (x, up))| *out == x + up)
        );
    }
}

#[test]
fn attention_agrees_with_a_plain_softmax() {
    let mut random = StdRng::seed_from_u64(SEED);
    for (size, rows, positions, softcap) in [
        (16, 1, 1, None),
        (64, 3, 200, None),
        (80, 7, 300, None),
        (256, 4, 140, Some(2.0)),
        (64, 30, 129, None),
    ] {
        let capacity = 320;
        let (mut keys, mut values) = (vec![0u16; capacity * size], vec![0u16; capacity * size]);
        let mut half = || f16::from_f32(random.random_range(-1.0..1.0)).to_bits();
        keys.iter_mut().chain(&mut values).for_each(|x| *x = half());
        let queries = random_floats(&mut random, rows * size);
        let visible: Vec<_> = (0..rows)
            .map(|row| row.min(positions - 1) / 2..positions - row.min(positions - 1))
            .collect();
        let number = |bits: u16| f64::from(f16::from_bits(bits).to_f32());
        let mut expected = Vec::new();
        for (query, visible) in queries.chunks_exact(size).zip(&visible) {
            let score = |p: usize| {
                let key = (0..size).map(|d| number(keys[(p / 16 * size + d) * 16 + p % 16]));
                let score: f64 = query.iter().zip(key).map(|(&q, k)| f64::from(q) * k).sum();
                softcap.map_or(score, |cap: f32| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let largest = visible.clone().map(score).fold(f64::MIN, f64::max);
            let weights: Vec<f64> = visible.clone().map(|p| (score(p) - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..size {
                let weighted = visible
                    .clone()
                    .zip(&weights)
                    .map(|(p, w)| w * number(values[p * size + d]));
                expected.push((weighted.sum::<f64>() / total) as f32);
            }
        }
        for kernels in available() {
            let (mut weighted, mut largest, mut total) =
                (vec![9.0; rows * size], vec![9.0; rows], vec![9.0; rows]);
            let mut scores = vec![f32::NAN; rows * CHUNK];
            let inputs = AttentionInputs {
                queries: &queries,
                visible: &visible,
                keys: &keys,
                values: &values,
                head_size: size,
                softcap,
                positions: 0..positions,
            };
            let mut state = AttentionState {
                weighted: &mut weighted,
                largest: &mut largest,
                total: &mut total,
                scores: &mut scores,
            };
            kernels.attend(&inputs, &mut state);
            for (row, total) in weighted.chunks_exact_mut(size).zip(&total) {
                for x in row {
                    *x /= total;
                }
            }
            close(&weighted, &expected, 5e-6);
        }
    }
}

#[test]
fn floats_become_eight_bits_within_half_a_step() {
    let mut random = StdRng::seed_from_u64(SEED);
    let weights = random_floats(&mut random, 5 * 64);
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let matrix = pack(GgmlType::F32, &bytes, 5, 64);
    let mut row = vec![0.0; 64];
    for (index, weights) in weights.chunks_exact(64).enumerate() {
        matrix.dequantize_row(index, &mut row);
        for (got, expected) in row.chunks_exact(BLOCK).zip(weights.chunks_exact(BLOCK)) {
            let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            let step = largest / 127.0;
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 0.6 * step));
        }
    }
}

#[test]
fn packing_keeps_codes_and_rounds_scales_to_half_precision() {
    let mut random = StdRng::seed_from_u64(SEED);
    for ggml_type in QUANTIZED {
        let (rows, columns) = (21, 1024);
        let stored = stored_rows(&mut random, ggml_type, rows, columns);
        let matrix = pack(ggml_type, &stored, rows, columns);
        let (mut error, mut size) = (0.0, 0.0);
        let mut unpacked = vec![0.0; columns];
        for (row, stored) in stored.chunks_exact(stored.len() / rows).enumerate() {
            matrix.dequantize_row(row, &mut unpacked);
            for (index, unpacked) in unpacked.chunks_exact(BLOCK).enumerate() {
                let block = blocks::read(ggml_type, stored, index);
                for (i, &unpacked) in unpacked.iter().enumerate() {
                    let code = match matrix.layout() {
                        Layout::Eight => i32::from(block.codes[i] as i8),
                        layout => i32::from(block.codes[i]) - layout.zero(),
                    };
                    let exact = f64::from(block.scales[i / 16]) * f64::from(code) + f64::from(block.minimum);
                    error += (f64::from(unpacked) - exact).powi(2);
                    size += exact.powi(2);
                }
            }
        }
        let relative = (error / size).sqrt();
        println!("{ggml_type:?}: relative root-mean-square error {relative:.1e}");
        let two_factors = matches!(
            ggml_type,
            GgmlType::Q3_K | GgmlType::Q4_K | GgmlType::Q5_K | GgmlType::Q6_K
        );
        assert!(
            relative < if two_factors { 4e-4 } else { 1e-7 },
            "{ggml_type:?}: {relative}, seed {SEED}"
        );
    }
}
