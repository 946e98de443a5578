//! What the biography was made from: ids alone. Every device writes the sentences from its own memories, so no text of a
//! memory is in a document that outlives it.
//!
//! `b` holds one building of it: the time (8 bytes, big-endian), then for each sentence the number of its sources (one
//! byte) and their ids. Of two at once the later one holds.

use automerge::ScalarValue;

use super::tree::{Tree, UPDATED, bytes};
use super::{DocumentError, LocalId, malformed};

/// Most sentences, and most sources of each.
const MAX_SENTENCES: usize = 1000;
const MAX_SOURCES: usize = 255;

/// One building of the biography.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BiographyRecord {
    /// When it was built; milliseconds since the Unix epoch.
    pub built_at_ms: i64,
    /// For each sentence, in order, the memories it was made from.
    pub sentences: Vec<Vec<LocalId>>,
}

impl BiographyRecord {
    pub(super) fn read(tree: &Tree) -> Result<Self, DocumentError> {
        let value = tree.get("b").and_then(bytes);
        let value = value.ok_or_else(|| malformed("a biography without a building"))?;
        let short = || malformed("a biography that ends too early");
        let (time, mut rest) = value.split_first_chunk::<8>().ok_or_else(short)?;
        let mut sentences = Vec::new();
        while let Some((count, after)) = rest.split_first() {
            let (ids, after) = after
                .split_at_checked(usize::from(*count) * 16)
                .ok_or_else(short)?;
            let ids = ids.chunks_exact(16).filter_map(|id| id.try_into().ok());
            sentences.push(ids.collect());
            if sentences.len() > MAX_SENTENCES {
                return Err(DocumentError::TooLarge("a biography"));
            }
            rest = after;
        }
        Ok(Self {
            built_at_ms: i64::from_be_bytes(*time),
            sentences,
        })
    }

    pub(super) fn tree(&self) -> Result<Tree, DocumentError> {
        let mut value = self.built_at_ms.to_be_bytes().to_vec();
        if self.sentences.len() > MAX_SENTENCES || self.sentences.iter().any(|one| one.len() > MAX_SOURCES) {
            return Err(DocumentError::TooLarge("a biography"));
        }
        for sources in &self.sentences {
            value.push(sources.len() as u8);
            value.extend(sources.iter().flatten());
        }
        let mut tree = Tree::default();
        tree.put("b", ScalarValue::Bytes(value));
        tree.put(UPDATED, ScalarValue::Int(self.built_at_ms));
        Ok(tree)
    }

    pub(super) fn united(self, other: Self) -> Self {
        if other.built_at_ms > self.built_at_ms {
            other
        } else {
            self
        }
    }
}
