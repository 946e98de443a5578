//! Rotary position embedding, with the angles of a batch computed once for all layers.

use crate::decoder::{RopeConfig, RopeStyle};

/// Cosines and sines of the positions of one batch.
pub(super) struct RopeTable {
    style: RopeStyle,
    /// Turns per position of each pair, in radians.
    frequencies: Vec<f64>,
    /// For each token all cosines, then all sines.
    angles: Vec<f32>,
}

impl RopeTable {
    /// `factors` divide the frequencies (Llama 3.1's `rope_freqs`).
    pub(super) fn new(config: &RopeConfig, factors: Option<&[f32]>) -> Self {
        let frequencies = (0..config.dimensions / 2)
            .map(|pair| {
                let exponent = -2.0 * pair as f64 / config.dimensions as f64;
                let factor = factors
                    .and_then(|factors| factors.get(pair))
                    .copied()
                    .unwrap_or(1.0);
                f64::from(config.frequency_base).powf(exponent) * f64::from(config.frequency_scale)
                    / f64::from(factor)
            })
            .collect();
        Self {
            style: config.style,
            frequencies,
            angles: Vec::new(),
        }
    }

    /// Computes the angles of `count` positions from `start` on.
    pub(super) fn prepare(&mut self, start: usize, count: usize) {
        self.angles.clear();
        for position in start..start + count {
            let angle = |frequency: &f64| position as f64 * frequency;
            self.angles
                .extend(self.frequencies.iter().map(|f| angle(f).cos() as f32));
            self.angles
                .extend(self.frequencies.iter().map(|f| angle(f).sin() as f32));
        }
    }

    /// Rotates one head of the batch's token `index`.
    pub(super) fn rotate(&self, index: usize, head: &mut [f32]) {
        let pairs = self.frequencies.len();
        let (cosines, sines) = self.angles[index * 2 * pairs..][..2 * pairs].split_at(pairs);
        match self.style {
            RopeStyle::Interleaved => {
                for ((pair, cosine), sine) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
                    let (x, y) = (pair[0], pair[1]);
                    pair[0] = x * cosine - y * sine;
                    pair[1] = x * sine + y * cosine;
                }
            }
            RopeStyle::Halves => {
                let (first, second) = head[..2 * pairs].split_at_mut(pairs);
                for (((x, y), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                    (*x, *y) = (*x * cosine - *y * sine, *x * sine + *y * cosine);
                }
            }
        }
    }
}
