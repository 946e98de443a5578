//! One batch of tokens through the network.
//!
//! Each parallel step hands every thread parts that nobody else touches: panels of sixteen output columns in matrix
//! products, tokens in norms, heads and blocks of positions in the cache, tiles of queries in attention.
#![allow(
    unsafe_code,
    reason = "threads write disjoint parts of shared buffers: see each block"
)]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::CpuDecoder;
use super::kv_cache::KvCache;
use super::rope::RopeTable;
use super::weights::LayerWeights;
use crate::decoder::{Activation, DecoderConfig, Logits};
use crate::kernels::{
    AttentionInputs, AttentionState, CHUNK, Kernels, LANES, PackedMatrix, QuantizedRows, RowsMut, ThreadPool,
};

/// The largest number that the cache's 16 bits hold.
const HALF_MAX: f32 = 65_504.0;

/// Query rows that share one pass over keys and values when a batch is computed.
const TILE_ROWS: usize = 32;
/// Fewest positions worth a thread of their own when few queries attend to many.
const POSITIONS_PER_PART: usize = 192;
/// Output columns between two looks at the counter of chunks, in panels.
const FEWEST_PANELS: usize = 2;

/// Buffers of a forward pass, kept between calls.
pub(super) struct Scratch {
    /// The residual stream, `[tokens, width]`.
    hidden: Vec<f32>,
    /// Queries, keys and values, `[tokens, heads + 2 · key-value heads, head size]`.
    projected: Vec<f32>,
    /// Attention's output `[tokens, heads, head size]`, also what a normed part adds to the stream.
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    quantized: QuantizedRows,
    /// Parts of attention over split positions: weighted sums, then largest and total, for each part and row.
    parts: Vec<f32>,
    workers: Vec<Mutex<Worker>>,
}

/// What one thread needs for itself.
#[derive(Default)]
struct Worker {
    row: Vec<f32>,
    queries: Vec<f32>,
    weighted: Vec<f32>,
    largest: Vec<f32>,
    total: Vec<f32>,
    scores: Vec<f32>,
    visible: Vec<Range<usize>>,
}

impl Scratch {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            hidden: Vec::new(),
            projected: Vec::new(),
            mixed: Vec::new(),
            gate: Vec::new(),
            up: Vec::new(),
            quantized: QuantizedRows::default(),
            parts: Vec::new(),
            workers: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    /// Bytes held now, but for the few of each thread.
    pub(super) fn bytes(&self) -> usize {
        let floats = [
            &self.hidden,
            &self.projected,
            &self.mixed,
            &self.gate,
            &self.up,
            &self.parts,
        ];
        floats
            .iter()
            .map(|buffer| buffer.capacity() * size_of::<f32>())
            .sum::<usize>()
            + self.quantized.bytes()
    }

    /// Bytes held after a batch of `tokens`.
    pub(super) fn bytes_at_most(config: &DecoderConfig, tokens: usize) -> usize {
        let queries = config.head_count * config.head_size;
        let projected = queries + 2 * config.kv_head_count * config.head_size;
        let floats = config.width + projected + queries.max(config.width) + 2 * config.feed_forward_length;
        let quantized = queries.max(config.width).max(config.feed_forward_length) * 3 / 2;
        tokens * (floats * size_of::<f32>() + quantized)
    }

    fn reserve(&mut self, config: &DecoderConfig, tokens: usize) {
        let queries = config.head_count * config.head_size;
        for (buffer, width) in [
            (&mut self.hidden, config.width),
            (
                &mut self.projected,
                queries + 2 * config.kv_head_count * config.head_size,
            ),
            (&mut self.mixed, queries.max(config.width)),
            (&mut self.gate, config.feed_forward_length),
            (&mut self.up, config.feed_forward_length),
        ] {
            if buffer.len() < tokens * width {
                buffer.resize(tokens * width, 0.0);
            }
        }
    }
}

impl CpuDecoder {
    /// Computes `tokens`, at most a batch, whose arguments have been checked.
    pub(super) fn forward_batch(&mut self, slot: usize, tokens: &[u32], wanted: Logits, out: &mut Vec<f32>) {
        let count = tokens.len();
        let start = self.cache.len(slot);
        self.scratch.reserve(&self.config, count);
        self.rope.prepare(start, count);
        if self.config.sliding_window.is_some() {
            self.local_rope.prepare(start, count);
        }
        self.embed(tokens);
        for layer in 0..self.config.layer_count {
            let mut pass = LayerPass {
                config: &self.config,
                weights: &self.weights.layers[layer],
                rope: if self.config.is_windowed(layer) {
                    &self.local_rope
                } else {
                    &self.rope
                },
                kernels: self.kernels,
                pool: &mut self.pool,
                scratch: &mut self.scratch,
                cache: &mut self.cache,
                slot,
                layer,
                start,
                count,
            };
            pass.attention();
            pass.feed_forward();
        }
        match wanted {
            Logits::None => {}
            Logits::Last => self.project_logits(count - 1..count, out),
            Logits::All => self.project_logits(0..count, out),
        }
    }

    fn embed(&mut self, tokens: &[u32]) {
        let width = self.config.width;
        for (token, row) in tokens.iter().zip(self.scratch.hidden.chunks_exact_mut(width)) {
            self.weights.embedding.dequantize_row(*token as usize, row);
            for x in row {
                *x *= self.config.embedding_scale;
            }
        }
    }

    fn project_logits(&mut self, rows: Range<usize>, out: &mut Vec<f32>) {
        let (width, vocabulary) = (self.config.width, self.config.vocabulary_size);
        let (count, padded) = (rows.len(), vocabulary.next_multiple_of(LANES));
        norm_and_quantize(
            self.kernels,
            &mut self.pool,
            &self.scratch.workers,
            &self.scratch.hidden[rows.start * width..rows.end * width],
            &self.weights.output_norm,
            self.config.norm_epsilon,
            &mut self.scratch.quantized,
        );
        let before = out.len();
        out.resize(before + count * padded, 0.0);
        let logits = &mut out[before..];
        let target = RowsMut::new(logits, padded);
        project(
            self.kernels,
            &mut self.pool,
            &self.scratch.quantized,
            &[(&self.weights.output, target)],
            false,
        );
        if padded != vocabulary {
            for row in 1..count {
                logits.copy_within(row * padded..row * padded + vocabulary, row * vocabulary);
            }
            out.truncate(before + count * vocabulary);
        }
        if let Some(cap) = self.config.final_softcap {
            out[before..]
                .iter_mut()
                .for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
    }
}

/// One layer over one batch.
struct LayerPass<'a> {
    config: &'a DecoderConfig,
    weights: &'a LayerWeights,
    rope: &'a RopeTable,
    kernels: &'static dyn Kernels,
    pool: &'a mut ThreadPool,
    scratch: &'a mut Scratch,
    cache: &'a mut KvCache,
    slot: usize,
    layer: usize,
    /// Position of the batch's first token.
    start: usize,
    /// Tokens in the batch.
    count: usize,
}

impl LayerPass<'_> {
    fn attention(&mut self) {
        let (config, weights, count) = (self.config, self.weights, self.count);
        let (width, queries) = (config.width, config.head_count * config.head_size);
        let keys = config.kv_head_count * config.head_size;
        norm_and_quantize(
            self.kernels,
            self.pool,
            &self.scratch.workers,
            &self.scratch.hidden[..count * width],
            &weights.attention_norm,
            config.norm_epsilon,
            &mut self.scratch.quantized,
        );
        let stride = queries + 2 * keys;
        let projected = RowsMut::new(&mut self.scratch.projected[..count * stride], stride);
        project(
            self.kernels,
            self.pool,
            &self.scratch.quantized,
            &[
                (&weights.query, projected),
                (&weights.key, projected.skip_columns(queries)),
                (&weights.value, projected.skip_columns(queries + keys)),
            ],
            false,
        );
        self.rotate_and_store();
        self.attend();
        let mixed = &self.scratch.mixed[..count * queries];
        quantize_rows(
            self.kernels,
            self.pool,
            mixed,
            queries,
            &mut self.scratch.quantized,
        );
        self.project_into_stream(&weights.attention_output, weights.post_attention_norm.as_deref());
    }

    fn feed_forward(&mut self) {
        let (config, weights, count) = (self.config, self.weights, self.count);
        let (width, hidden) = (config.width, config.feed_forward_length);
        norm_and_quantize(
            self.kernels,
            self.pool,
            &self.scratch.workers,
            &self.scratch.hidden[..count * width],
            &weights.feed_forward_norm,
            config.norm_epsilon,
            &mut self.scratch.quantized,
        );
        let gate = RowsMut::new(&mut self.scratch.gate[..count * hidden], hidden);
        let up = RowsMut::new(&mut self.scratch.up[..count * hidden], hidden);
        let (kernels, inputs) = (self.kernels, &self.scratch.quantized);
        let panels = weights.gate.panel_count();
        let at_once = panels_at_once(panels, self.pool.threads());
        self.pool.run(panels.div_ceil(at_once), |_, chunk| {
            let range = chunk * at_once..((chunk + 1) * at_once).min(panels);
            let (column, len) = (range.start * LANES, range.len() * LANES);
            // SAFETY: these columns of both buffers belong to this chunk alone.
            unsafe {
                kernels.multiply(&weights.gate, range.clone(), inputs, &gate, false);
                kernels.multiply(&weights.up, range, inputs, &up, false);
                for row in 0..count {
                    let (gate, up) = (gate.slice(row, column, len), up.slice(row, column, len));
                    match config.activation {
                        Activation::Silu => kernels.silu_multiply(gate, up),
                        Activation::Gelu => kernels.gelu_multiply(gate, up),
                    }
                }
            }
        });
        let gated = &self.scratch.gate[..count * hidden];
        quantize_rows(
            self.kernels,
            self.pool,
            gated,
            hidden,
            &mut self.scratch.quantized,
        );
        self.project_into_stream(&weights.down, weights.post_feed_forward_norm.as_deref());
    }

    /// Adds what the matrix makes of the quantised rows to the residual stream, normed first where the family does.
    fn project_into_stream(&mut self, matrix: &PackedMatrix, norm: Option<&[f32]>) {
        let (width, count) = (self.config.width, self.count);
        let Some(norm) = norm else {
            let hidden = RowsMut::new(&mut self.scratch.hidden[..count * width], width);
            project(
                self.kernels,
                self.pool,
                &self.scratch.quantized,
                &[(matrix, hidden)],
                true,
            );
            return;
        };
        let mixed = RowsMut::new(&mut self.scratch.mixed[..count * width], width);
        project(
            self.kernels,
            self.pool,
            &self.scratch.quantized,
            &[(matrix, mixed)],
            false,
        );
        let hidden = RowsMut::new(&mut self.scratch.hidden[..count * width], width);
        let (kernels, workers, epsilon) = (self.kernels, &self.scratch.workers, self.config.norm_epsilon);
        for_rows(self.pool, count, |worker, row| {
            let mut worker = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
            worker.row.resize(width, 0.0);
            // SAFETY: this row of both buffers belongs to this call alone.
            let (mixed, hidden) = unsafe { (mixed.slice(row, 0, width), hidden.slice(row, 0, width)) };
            kernels.rms_norm(mixed, norm, epsilon, &mut worker.row);
            kernels.add(hidden, &worker.row);
        });
    }

    /// Biases, norms, rotates and scales queries and keys, and puts keys and values into the cache.
    fn rotate_and_store(&mut self) {
        let (config, weights, rope, kernels) = (self.config, self.weights, self.rope, self.kernels);
        let (size, heads, kv_heads) = (config.head_size, config.head_count, config.kv_head_count);
        let stride = (heads + 2 * kv_heads) * size;
        let (start, count) = (self.start, self.count);
        let projected = RowsMut::new(&mut self.scratch.projected[..count * stride], stride);
        let (workers, epsilon) = (&self.scratch.workers, config.norm_epsilon);
        let key_starts: Vec<usize> = (start..start + count).map(|p| self.cache.key_start(p)).collect();
        let value_starts: Vec<usize> = (start..start + count)
            .map(|p| self.cache.value_start(p))
            .collect();
        let cache = self.cache.layer_mut(self.slot, self.layer);
        for_rows(self.pool, count, |worker, token| {
            let mut worker = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
            let half = &mut worker.row;
            half.resize(size, 0.0);
            // SAFETY: this row belongs to this call alone.
            let row = unsafe { projected.slice(token, 0, stride) };
            if let Some(bias) = &weights.bias {
                kernels.add(row, bias);
            }
            let (queries, rest) = row.split_at_mut(heads * size);
            let (keys, values) = rest.split_at_mut(kv_heads * size);
            let mut prepare = |head: &mut [f32], norm: &Option<Vec<f32>>| {
                if let Some(norm) = norm {
                    half.copy_from_slice(head);
                    kernels.rms_norm(half, norm, epsilon, head);
                }
                rope.rotate(token, head);
            };
            for head in queries.chunks_exact_mut(size) {
                prepare(head, &weights.query_norm);
                for x in head {
                    *x *= config.attention_scale;
                }
            }
            for (index, head) in keys.chunks_exact_mut(size).enumerate() {
                prepare(head, &weights.key_norm);
                for (d, &x) in head.iter().enumerate() {
                    let at = cache.ptr(index, key_starts[token] + d * LANES, 1);
                    // SAFETY: this position's place in the cache belongs to this call alone.
                    unsafe { at.write(half::f16::from_f32(x.clamp(-HALF_MAX, HALF_MAX)).to_bits()) };
                }
            }
            for (index, head) in values.chunks_exact_mut(size).enumerate() {
                // Infinity would turn masked positions, whose weight is 0, into NaN.
                for x in head.iter_mut() {
                    *x = x.clamp(-HALF_MAX, HALF_MAX);
                }
                // SAFETY: as above.
                let place = unsafe { cache.slice(index, value_starts[token], size) };
                kernels.to_half(head, place);
            }
        });
    }

    /// Lets the batch's queries attend to the cache; the result goes to `mixed`.
    fn attend(&mut self) {
        let (config, kernels, cache) = (self.config, self.kernels, &*self.cache);
        let (slot, layer, start, count) = (self.slot, self.layer, self.start, self.count);
        let (size, group) = (config.head_size, config.group_size());
        let stride = (config.head_count + 2 * config.kv_head_count) * size;
        let window = if config.is_windowed(layer) {
            config.sliding_window
        } else {
            None
        };
        let visible = |token: usize| {
            let end = start + token + 1;
            window.map_or(0, |window| end.saturating_sub(window))..end
        };
        let tile_tokens = (TILE_ROWS / group).clamp(1, count);
        let tiles = count.div_ceil(tile_tokens);
        let positions = visible(count - 1).end - visible(0).start;
        let work = tiles * config.kv_head_count;
        let wanted_parts = (self.pool.threads() * 4).div_ceil(work);
        let part_count = wanted_parts.min(positions.div_ceil(POSITIONS_PER_PART)).max(1);

        let part_stride = tile_tokens * group * (size + 2);
        let needed = if part_count > 1 {
            work * part_count * part_stride
        } else {
            part_stride
        };
        if self.scratch.parts.len() < needed {
            self.scratch.parts.resize(needed, 0.0);
        }
        let parts = RowsMut::new(&mut self.scratch.parts, part_stride);
        let mixed_stride = config.head_count * size;
        let mixed = RowsMut::new(&mut self.scratch.mixed[..count * mixed_stride], mixed_stride);
        let (projected, workers) = (&self.scratch.projected, &self.scratch.workers);

        self.pool.run(work * part_count, |worker, chunk| {
            // The last tiles see the most: they go first, so that no thread is left with one at the end.
            let (unit, part) = (work - 1 - chunk / part_count, chunk % part_count);
            let (tile, kv_head) = (unit / config.kv_head_count, unit % config.kv_head_count);
            let tokens = tile * tile_tokens..((tile + 1) * tile_tokens).min(count);
            let rows = tokens.len() * group;
            let mut worker = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
            let worker = &mut *worker;
            worker.queries.clear();
            worker.visible.clear();
            for token in tokens.clone() {
                let from = token * stride + kv_head * group * size;
                worker
                    .queries
                    .extend_from_slice(&projected[from..from + group * size]);
                worker.visible.extend((0..group).map(|_| visible(token)));
            }
            worker.weighted.resize(rows * size, 0.0);
            worker.largest.resize(rows, 0.0);
            worker.total.resize(rows, 0.0);
            worker.scores.resize((rows * CHUNK).max(worker.scores.len()), 0.0);
            let all = visible(tokens.start).start..visible(tokens.end - 1).end;
            let (keys, values) = cache.head(slot, layer, kv_head);
            let inputs = AttentionInputs {
                queries: &worker.queries,
                visible: &worker.visible,
                keys,
                values,
                head_size: size,
                softcap: config.attention_softcap,
                positions: part_of(&all, part, part_count),
            };
            let mut state = AttentionState {
                weighted: &mut worker.weighted,
                largest: &mut worker.largest,
                total: &mut worker.total,
                scores: &mut worker.scores,
            };
            kernels.attend(&inputs, &mut state);
            if part_count > 1 {
                // SAFETY: this part's place belongs to this chunk alone.
                let place = unsafe { parts.slice(unit * part_count + part, 0, rows * (size + 2)) };
                let (weighted, numbers) = place.split_at_mut(rows * size);
                weighted.copy_from_slice(state.weighted);
                numbers[..rows].copy_from_slice(state.largest);
                numbers[rows..].copy_from_slice(state.total);
                return;
            }
            for (row, (weighted, total)) in state.weighted.chunks_exact(size).zip(&*state.total).enumerate() {
                let column = (kv_head * group + row % group) * size;
                // SAFETY: these heads of these tokens belong to this chunk alone.
                let place = unsafe { mixed.slice(tokens.start + row / group, column, size) };
                place
                    .iter_mut()
                    .zip(weighted)
                    .for_each(|(out, x)| *out = x / total);
            }
        });
        if part_count == 1 {
            return;
        }
        for unit in 0..work {
            let (tile, kv_head) = (unit / config.kv_head_count, unit % config.kv_head_count);
            let first = tile * tile_tokens;
            let rows = tile_tokens.min(count - first) * group;
            for row in 0..rows {
                let column = (kv_head * group + row % group) * size;
                // SAFETY: all threads have finished.
                let place = unsafe { mixed.slice(first + row / group, column, size) };
                let part =
                    |part: usize| unsafe { parts.slice(unit * part_count + part, 0, rows * (size + 2)) };
                merge_parts(place, row, rows, (0..part_count).map(part));
            }
        }
    }
}

/// The `index`-th of `count` about equal parts, cut at multiples of the positions in a block of keys.
fn part_of(positions: &Range<usize>, index: usize, count: usize) -> Range<usize> {
    let cut = |index: usize| match index {
        0 => positions.start,
        i if i == count => positions.end,
        i => ((positions.start + positions.len() * i / count) / LANES * LANES).max(positions.start),
    };
    cut(index)..cut(index + 1)
}

/// Joins the parts of one row's softmax: weighted sums, then for all rows the largest score, then the total.
fn merge_parts<'a>(
    out: &mut [f32],
    row: usize,
    rows: usize,
    parts: impl Iterator<Item = &'a mut [f32]> + Clone,
) {
    let size = out.len();
    let largest_of = |part: &[f32]| part[rows * size + row];
    let largest = parts
        .clone()
        .map(|part| largest_of(part))
        .fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    out.fill(0.0);
    for part in parts {
        let factor = (largest_of(part) - largest).exp();
        total += part[rows * size + rows + row] * factor;
        let weighted = &part[row * size..][..size];
        out.iter_mut()
            .zip(weighted)
            .for_each(|(out, x)| *out += x * factor);
    }
    for x in out {
        *x /= total;
    }
}

/// Calls `step(worker, row)` for every row, on all threads if there are enough rows.
fn for_rows(pool: &mut ThreadPool, rows: usize, step: impl Fn(usize, usize) + Sync) {
    const ROWS_AT_ONCE: usize = 4;
    if rows <= ROWS_AT_ONCE {
        (0..rows).for_each(|row| step(0, row));
        return;
    }
    pool.run(rows.div_ceil(ROWS_AT_ONCE), |worker, chunk| {
        let first = chunk * ROWS_AT_ONCE;
        (first..rows.min(first + ROWS_AT_ONCE)).for_each(|row| step(worker, row));
    });
}

fn norm_and_quantize(
    kernels: &dyn Kernels,
    pool: &mut ThreadPool,
    workers: &[Mutex<Worker>],
    values: &[f32],
    weight: &[f32],
    epsilon: f32,
    quantized: &mut QuantizedRows,
) {
    let width = weight.len();
    let rows = values.len() / width;
    quantized.reshape(rows, width);
    let quantized = quantized.shared();
    for_rows(pool, rows, |worker, row| {
        let mut worker = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
        worker.row.resize(width, 0.0);
        kernels.rms_norm(&values[row * width..][..width], weight, epsilon, &mut worker.row);
        // SAFETY: this row belongs to this call alone.
        let (codes, numbers) = unsafe { quantized.part(row, 0, width) };
        kernels.quantize(&worker.row, codes, numbers);
    });
}

fn quantize_rows(
    kernels: &dyn Kernels,
    pool: &mut ThreadPool,
    values: &[f32],
    width: usize,
    quantized: &mut QuantizedRows,
) {
    let rows = values.len() / width;
    quantized.reshape(rows, width);
    let quantized = quantized.shared();
    for_rows(pool, rows, |_, row| {
        // SAFETY: this row belongs to this call alone.
        let (codes, numbers) = unsafe { quantized.part(row, 0, width) };
        kernels.quantize(&values[row * width..][..width], codes, numbers);
    });
}

/// How many panels a thread takes at once: several turns a thread, so that all finish together.
fn panels_at_once(panels: usize, threads: usize) -> usize {
    (panels / (threads * 8)).clamp(FEWEST_PANELS, 32)
}

/// Multiplies the quantised rows with each matrix into its own output.
fn project(
    kernels: &dyn Kernels,
    pool: &mut ThreadPool,
    inputs: &QuantizedRows,
    outputs: &[(&PackedMatrix, RowsMut<'_>)],
    accumulate: bool,
) {
    let total: usize = outputs.iter().map(|(matrix, _)| matrix.panel_count()).sum();
    let at_once = panels_at_once(total, pool.threads());
    pool.run(total.div_ceil(at_once), |_, chunk| {
        let mut range = chunk * at_once..((chunk + 1) * at_once).min(total);
        let mut before = 0;
        for (matrix, out) in outputs {
            let end = before + matrix.panel_count();
            let part = range.start.max(before)..range.end.min(end);
            if part.start < part.end {
                // SAFETY: these panels' columns belong to this chunk alone.
                unsafe {
                    kernels.multiply(
                        matrix,
                        part.start - before..part.end - before,
                        inputs,
                        out,
                        accumulate,
                    );
                }
                range.start = part.end;
            }
            before = end;
        }
    });
}
