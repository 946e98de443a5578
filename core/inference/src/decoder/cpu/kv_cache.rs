//! Keys and values of the tokens seen so far, in half precision.
//!
//! A slot is one run of memory, reserved when the model is loaded and taken from the system page by page as tokens
//! arrive. For each layer and key-value head it holds the keys of all positions, in blocks of sixteen positions with
//! the head's dimensions as rows (see [`crate::kernels`]'s attention), then the values, position by position.

use crate::decoder::{DecoderConfig, DecoderError};
use crate::kernels::{Buffer, LANES, RowsMut};

/// All slots.
pub(super) struct KvCache {
    slots: Vec<Slot>,
    head_count: usize,
    head_size: usize,
    capacity: usize,
}

struct Slot {
    memory: Buffer,
    len: usize,
}

impl KvCache {
    /// Reserves `slots` sequences of `capacity` tokens.
    pub(super) fn new(config: &DecoderConfig, slots: usize, capacity: usize) -> Result<Self, DecoderError> {
        let bytes =
            Self::slot_bytes(config, capacity).ok_or(DecoderError::OutOfMemory { bytes: usize::MAX })?;
        let slot = || {
            let memory = Buffer::zeroed(bytes).ok_or(DecoderError::OutOfMemory { bytes })?;
            Ok(Slot { memory, len: 0 })
        };
        Ok(Self {
            slots: (0..slots).map(|_| slot()).collect::<Result<_, DecoderError>>()?,
            head_count: config.kv_head_count,
            head_size: config.head_size,
            capacity,
        })
    }

    /// Bytes of one slot; `None` on overflow.
    pub(super) fn slot_bytes(config: &DecoderConfig, capacity: usize) -> Option<usize> {
        [
            config.layer_count,
            config.kv_head_count,
            config.head_size,
            2,
            size_of::<u16>(),
        ]
        .into_iter()
        .try_fold(capacity.checked_next_multiple_of(LANES)?, usize::checked_mul)
    }

    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.memory.bytes().len()).sum()
    }

    pub(super) fn len(&self, slot: usize) -> usize {
        self.slots.get(slot).map_or(0, |slot| slot.len)
    }

    pub(super) fn set_len(&mut self, slot: usize, len: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.len = len;
        }
    }

    /// Halves that keys or values of one head take.
    fn head_span(&self) -> usize {
        self.capacity.next_multiple_of(LANES) * self.head_size
    }

    /// Keys and values of one layer and head.
    pub(super) fn head(&self, slot: usize, layer: usize, head: usize) -> (&[u16], &[u16]) {
        let span = self.head_span();
        let all: &[u16] = bytemuck::cast_slice(self.slots[slot].memory.bytes());
        all[(layer * self.head_count + head) * 2 * span..][..2 * span].split_at(span)
    }

    /// One layer's heads as rows: a row holds a head's keys, then its values.
    pub(super) fn layer_mut(&mut self, slot: usize, layer: usize) -> RowsMut<'_, u16> {
        let span = self.head_span();
        let all: &mut [u16] = bytemuck::cast_slice_mut(self.slots[slot].memory.bytes_mut());
        let layer_len = self.head_count * 2 * span;
        RowsMut::new(&mut all[layer * layer_len..][..layer_len], 2 * span)
    }

    /// Where in a head's row the key of `position` has its first dimension; the others follow sixteen apart.
    pub(super) fn key_start(&self, position: usize) -> usize {
        position / LANES * LANES * self.head_size + position % LANES
    }

    /// Where in a head's row the value of `position` starts.
    pub(super) fn value_start(&self, position: usize) -> usize {
        self.head_span() + position * self.head_size
    }
}
