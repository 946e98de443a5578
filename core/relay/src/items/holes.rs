//! Plain holes, 32 places to a row: the key of a row costs as much as half a hole.

use std::ops::ControlFlow;

use hearth_protocol::id::Hash;

use super::{Log, item_key};
use crate::rows::Rows;
use crate::store::{Space, Store, StoreError};

/// Places of one row.
pub(super) const BLOCK: u64 = 32;

/// The plain holes of 32 places: four bytes of bits, the lowest for the first place, then the header hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HoleRow {
    bits: u32,
    hashes: Vec<Hash>,
}

impl HoleRow {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged("a row of holes doesn't decode");
        let (bits, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let bits = u32::from_be_bytes(*bits);
        let (hashes, rest) = rest.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != bits.count_ones() as usize {
            return Err(damaged());
        }
        Ok(Self {
            bits,
            hashes: hashes.iter().copied().map(Hash).collect(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.bits.to_be_bytes().to_vec();
        for hash in &self.hashes {
            bytes.extend_from_slice(&hash.0);
        }
        bytes
    }

    /// Which hash is a place's, and whether there is one.
    fn index(&self, seq: u64) -> (usize, bool) {
        let bit = 1u32 << (seq % BLOCK);
        (
            (self.bits & (bit - 1)).count_ones() as usize,
            self.bits & bit != 0,
        )
    }

    pub(super) fn get(&self, seq: u64) -> Option<Hash> {
        let (index, there) = self.index(seq);
        self.hashes.get(index).filter(|_| there).copied()
    }

    fn put(&mut self, seq: u64, hash: Hash) {
        let (index, there) = self.index(seq);
        if there {
            self.hashes[index] = hash;
        } else {
            self.bits |= 1 << (seq % BLOCK);
            self.hashes.insert(index, hash);
        }
    }

    fn take(&mut self, seq: u64) -> bool {
        let (index, there) = self.index(seq);
        if there {
            self.bits &= !(1 << (seq % BLOCK));
            self.hashes.remove(index);
        }
        there
    }
}

impl Log<'_> {
    pub(super) fn block<S: Store>(&self, rows: &Rows<S>, block: u64) -> Result<Option<HoleRow>, StoreError> {
        let key = item_key(self.row.number, block);
        let bytes = rows.store.get(self.account, Space::Holes, &key)?;
        bytes.map(|bytes| HoleRow::decode(&bytes)).transpose()
    }

    /// The first row of holes from a block on, with its block's number.
    pub(super) fn next_block<S: Store>(
        &self,
        rows: &Rows<S>,
        from: u64,
    ) -> Result<Option<(u64, HoleRow)>, StoreError> {
        let mut found = None;
        let key = item_key(self.row.number, from);
        rows.scan(self.account, Space::Holes, &key, &mut |key, value| {
            found = self
                .in_this_log(key)
                .map(|block| HoleRow::decode(value).map(|row| (block, row)));
            ControlFlow::Break(())
        })?;
        found.transpose()
    }

    /// The header hash of a plain hole.
    pub(super) fn hole<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.block(rows, seq / BLOCK)?.and_then(|row| row.get(seq)))
    }

    /// Puts successive holes in that nothing signed is kept of.
    pub(crate) fn put_holes<S: Store>(
        &self,
        rows: &mut Rows<S>,
        first: u64,
        hashes: &[Hash],
    ) -> Result<(), StoreError> {
        let mut places = (first..).zip(hashes).peekable();
        while let Some((seq, _)) = places.peek() {
            let block = seq / BLOCK;
            let mut row = self.block(rows, block)?.unwrap_or_default();
            while let Some((seq, hash)) = places.next_if(|(seq, _)| seq / BLOCK == block) {
                row.put(seq, *hash);
            }
            self.put_block(rows, block, &row)?;
        }
        Ok(())
    }

    /// Takes a plain hole out, and says whether there was one.
    pub(super) fn take_hole<S: Store>(&self, rows: &mut Rows<S>, seq: u64) -> Result<bool, StoreError> {
        let block = seq / BLOCK;
        let Some(mut row) = self.block(rows, block)? else {
            return Ok(false);
        };
        let there = row.take(seq);
        if there {
            self.put_block(rows, block, &row)?;
        }
        Ok(there)
    }

    /// Takes the plain holes behind a number out, row by row, and says how many there were.
    pub(super) fn drop_holes<S: Store>(&self, rows: &mut Rows<S>, after: u64) -> Result<u64, StoreError> {
        let first = after.saturating_add(1);
        let mut dropped = 0;
        let mut next = self.next_block(rows, first / BLOCK)?;
        while let Some((block, mut row)) = next {
            for seq in first.max(block * BLOCK)..(block + 1) * BLOCK {
                dropped += u64::from(row.take(seq));
            }
            self.put_block(rows, block, &row)?;
            next = self.next_block(rows, block + 1)?;
        }
        Ok(dropped)
    }

    fn put_block<S: Store>(&self, rows: &mut Rows<S>, block: u64, row: &HoleRow) -> Result<(), StoreError> {
        let key = item_key(self.row.number, block);
        if row.bits == 0 {
            rows.delete(self.account, Space::Holes, &key)
        } else {
            rows.put_bytes(self.account, Space::Holes, &key, &row.encode())
        }
    }
}
