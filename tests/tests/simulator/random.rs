//! Everything that is left to chance, out of one seed.

use hearth_protocol::entropy::Entropy;
use hearth_protocol::hash::sha256;

/// A stream of random bytes out of a seed.
#[derive(Debug, Clone)]
pub struct Seeded {
    seed: u64,
    count: u64,
}

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// Below `limit`, which isn't 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these, which aren't none.
    pub fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.count += 1;
            let digest = sha256(&[self.seed.to_be_bytes(), self.count.to_be_bytes()].concat());
            chunk.copy_from_slice(&digest.0[..chunk.len()]);
        }
    }
}
