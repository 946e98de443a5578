//! Memories as documents, the same for every side.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hearth_protocol::id::LogId;
use hearth_sync::document::{Doc, MemoryKind, MemoryOrigin, MemoryRecord, MemoryStatus, Record, Source};

/// Milliseconds since the epoch: when the first memory was made.
const BEGIN_MS: i64 = 1_800_000_000_000;

/// A memory and its document.
pub(super) struct Written {
    pub(super) doc: Doc,
    record: MemoryRecord,
    edits: usize,
}

fn id(number: usize, salt: u8) -> [u8; 16] {
    let mut id = [salt; 16];
    id[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    id[8..].copy_from_slice(
        &(number as u64 + 1)
            .wrapping_mul(0xD6E8_FEB8_6659_FD93)
            .to_be_bytes(),
    );
    id
}

impl Written {
    /// Memory number `number`, about a hundred characters with one source, written by `actor`; and its first change.
    pub(super) fn new(number: usize, actor: LogId) -> Result<(Written, Vec<u8>)> {
        let source = Source {
            chat: id(number / 10, 2),
            text_hash: hearth_protocol::hash::sha256(&id(number, 3)).0,
        };
        let record = MemoryRecord {
            id: id(number, 1),
            text: crate::memory_speed::memory(number),
            kind: MemoryKind::Event,
            confidence: 0.9,
            sensitive: false,
            valid_from_ms: None,
            valid_to_ms: None,
            created_at_ms: BEGIN_MS + number as i64 * 60_000,
            updated_at_ms: BEGIN_MS + number as i64 * 60_000,
            status: MemoryStatus::Active,
            origin: MemoryOrigin::Extracted,
            pinned: false,
            sources: BTreeMap::from([(id(number, 4), source)]),
        };
        let mut written = Written {
            doc: Doc::new(actor),
            record,
            edits: 0,
        };
        let change = written.update()?;
        Ok((written, change))
    }

    fn update(&mut self) -> Result<Vec<u8>> {
        let change = self.doc.update(&Record::Memory(self.record.clone()))?;
        Ok(change.context("an edit that changes nothing")?.bytes)
    }

    /// A small edit: pinned, or no longer.
    pub(super) fn pin(&mut self) -> Result<Vec<u8>> {
        self.record.pinned = !self.record.pinned;
        self.update()
    }

    /// A correction: another text, and the time.
    pub(super) fn correct(&mut self) -> Result<Vec<u8>> {
        self.edits += 1;
        self.record.text = crate::memory_speed::memory(1_000_000 + self.edits);
        self.record.updated_at_ms += 1_000;
        self.update()
    }
}
