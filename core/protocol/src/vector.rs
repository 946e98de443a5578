//! Version vectors: how far each log is known.

use crate::codec::{Map, Wire, wire_struct};
use crate::hash::{hash, label};
use crate::id::{AccountId, Hash, Link, LogId};
use crate::limits::{MAX_HEADER_LOGS, MAX_LOGS};

wire_struct! {
    /// The last known position of a log: how many items, and the running hash over them.
    #[derive(Copy)]
    pub struct Head {
        /// The number of the last item. The first has 1; 0 is the opening of the log.
        pub seq: u64,
        /// The running hash at that item.
        pub link: Link,
    }
}

/// Log → head: one for the whole account, whatever the number of documents.
pub type VersionVector = Map<LogId, Head, MAX_LOGS>;

/// Log → number of an item, without the hash.
pub type Positions = Map<LogId, u64, MAX_LOGS>;

/// A few positions, in an envelope's header.
pub type FewPositions = Map<LogId, u64, MAX_HEADER_LOGS>;

/// What two sides compare before they send a vector.
pub fn vector_digest(account: &AccountId, vector: &VersionVector) -> Hash {
    hash(label::VECTOR, &[&account.0, &vector.encode()])
}
