//! How often one device put memories before its model. Each device writes a document of its own, at most once a day, so
//! that neither two devices' counts collide nor the server sees which memory was recalled when. What a memory's use is on
//! the whole is the sum over the devices.
//!
//! `i` is the id of the counts; `u` and a memory's id its count (4 bytes) and when it was last used (8 bytes, big-endian).

use std::collections::BTreeMap;

use automerge::ScalarValue;

use super::tree::{ID, Tree, bytes, id_name, id_of, id_value};
use super::{DocumentError, LocalId};

/// How often a memory was used, and when last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// How often, on this device.
    pub count: u32,
    /// When that was last; milliseconds since the Unix epoch.
    pub last_used_at_ms: i64,
}

/// One device's counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageRecord {
    /// The id of the device's counts, which it keeps for good.
    pub log: LocalId,
    /// By memory.
    pub uses: BTreeMap<LocalId, Use>,
}

impl UsageRecord {
    pub(super) fn read(tree: &Tree) -> Result<Self, DocumentError> {
        let uses = tree.with_prefix("u").filter_map(|(memory, value)| {
            let (count, time) = bytes(value)?.split_first_chunk::<4>()?;
            let used = Use {
                count: u32::from_be_bytes(*count),
                last_used_at_ms: i64::from_be_bytes(time.try_into().ok()?),
            };
            Some((id_of(memory)?, used))
        });
        Ok(Self {
            log: tree.id()?,
            uses: uses.collect(),
        })
    }

    #[allow(clippy::unnecessary_wraps, reason = "as its siblings")]
    pub(super) fn tree(&self) -> Result<Tree, DocumentError> {
        let mut tree = Tree::default();
        tree.put(ID, id_value(&self.log));
        for (memory, used) in &self.uses {
            let mut value = used.count.to_be_bytes().to_vec();
            value.extend(used.last_used_at_ms.to_be_bytes());
            tree.put(id_name("u", memory), ScalarValue::Bytes(value));
        }
        Ok(tree)
    }

    pub(super) fn united(mut self, other: Self) -> Self {
        for (memory, used) in other.uses {
            let mine = self.uses.entry(memory).or_default();
            mine.count = mine.count.max(used.count);
            mine.last_used_at_ms = mine.last_used_at_ms.max(used.last_used_at_ms);
        }
        self
    }
}
