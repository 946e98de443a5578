//! The forward pass on the processor: our own kernels, packed weights, half-precision cache.
//!
//! The reference for every other device, and what runs where there is no graphics card.

mod forward;
mod kv_cache;
mod rope;
mod weights;

use std::num::NonZero;

use self::forward::Scratch;
use self::kv_cache::KvCache;
use self::rope::RopeTable;
use self::weights::{Plan, Weights};
use super::{Decoder, DecoderConfig, DecoderError, LoadOptions, LoadProgress, Logits, MemoryUse};
use crate::gguf::GgufFile;
use crate::kernels::{Kernels, ThreadPool, select};

/// Tokens computed together at most; longer runs go in several batches.
pub const BATCH: usize = 512;

/// A network on the processor.
pub struct CpuDecoder {
    config: DecoderConfig,
    weights: Weights,
    cache: KvCache,
    rope: RopeTable,
    local_rope: RopeTable,
    kernels: &'static dyn Kernels,
    pool: ThreadPool,
    scratch: Scratch,
}

impl CpuDecoder {
    /// Checks the file, then packs its weights; the file isn't needed afterwards.
    ///
    /// Device and memory limit in `options` are the caller's business: see [`estimate`].
    ///
    /// # Errors
    /// Whatever [`DecoderConfig::from_gguf`] says, and missing, misshapen or unsupported tensors, before anything
    /// large is allocated; [`DecoderError::OutOfMemory`] when the system refuses memory.
    pub fn load(
        file: &GgufFile,
        options: &LoadOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, DecoderError> {
        let threads = thread_count(options);
        Self::load_with(file, options, select(), ThreadPool::new(threads), progress)
    }

    fn load_with(
        file: &GgufFile,
        options: &LoadOptions,
        kernels: &'static dyn Kernels,
        mut pool: ThreadPool,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, DecoderError> {
        let config = DecoderConfig::from_gguf(file)?;
        let plan = Plan::new(file, &config)?;
        let weights = plan.pack(&mut pool, progress)?;
        let cache = KvCache::new(&config, options.slots.max(1), capacity(&config, options))?;
        let factors = weights.rope_factors.as_deref();
        Ok(Self {
            rope: RopeTable::new(&config.rope, factors),
            local_rope: RopeTable::new(&config.local_rope, factors),
            scratch: Scratch::new(pool.threads()),
            config,
            weights,
            cache,
            kernels,
            pool,
        })
    }

    /// The kernels in use, such as `avx512-vnni`.
    pub fn kernels_name(&self) -> &'static str {
        self.kernels.name()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

/// What loading the file on the processor would take, without loading it.
///
/// # Errors
/// As [`CpuDecoder::load`], but for memory.
pub fn estimate(file: &GgufFile, options: &LoadOptions) -> Result<MemoryUse, DecoderError> {
    let config = DecoderConfig::from_gguf(file)?;
    let plan = Plan::new(file, &config)?;
    let slot = KvCache::slot_bytes(&config, capacity(&config, options));
    let kv_bytes = slot.and_then(|slot| slot.checked_mul(options.slots.max(1)));
    Ok(MemoryUse {
        weights_bytes: plan.bytes() as u64,
        kv_bytes: kv_bytes.ok_or(DecoderError::OutOfMemory { bytes: usize::MAX })? as u64,
        scratch_bytes: Scratch::bytes_at_most(&config, BATCH) as u64,
    })
}

fn capacity(config: &DecoderConfig, options: &LoadOptions) -> usize {
    options.context_length.map_or(config.context_length, |wanted| {
        wanted.clamp(1, config.context_length)
    })
}

fn thread_count(options: &LoadOptions) -> usize {
    options
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(NonZero::get))
        .unwrap_or(1)
        .clamp(1, 256)
}

impl Decoder for CpuDecoder {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn slot_count(&self) -> usize {
        self.cache.slot_count()
    }

    fn slot_capacity(&self) -> usize {
        self.cache.capacity()
    }

    fn slot_len(&self, slot: usize) -> usize {
        self.cache.len(slot)
    }

    fn truncate(&mut self, slot: usize, len: usize) {
        if len < self.cache.len(slot) {
            self.cache.set_len(slot, len);
        }
    }

    fn forward(
        &mut self,
        slot: usize,
        tokens: &[u32],
        wanted: Logits,
        out: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        out.clear();
        if slot >= self.cache.slot_count() {
            return Err(DecoderError::NoSuchSlot {
                slot,
                slot_count: self.cache.slot_count(),
            });
        }
        let (len, capacity) = (self.cache.len(slot), self.cache.capacity());
        if tokens.len() > capacity - len {
            return Err(DecoderError::ContextFull {
                len,
                adding: tokens.len(),
                capacity,
            });
        }
        let vocabulary_size = self.config.vocabulary_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary_size) {
            return Err(DecoderError::TokenOutOfRange {
                token,
                vocabulary_size,
            });
        }
        let mut done = 0;
        for batch in tokens.chunks(BATCH) {
            done += batch.len();
            let wanted = match wanted {
                Logits::Last if done < tokens.len() => Logits::None,
                wanted => wanted,
            };
            self.forward_batch(slot, batch, wanted, out);
            self.cache.set_len(slot, len + done);
        }
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            weights_bytes: self.weights.bytes as u64,
            kv_bytes: self.cache.bytes() as u64,
            scratch_bytes: self.scratch.bytes() as u64,
        }
    }
}
