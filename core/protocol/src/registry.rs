//! The key registry as the server sees it: 256 sealed shards, and a sealed table of their keys.

#[cfg(any(test, feature = "samples"))]
use crate::codec::Sampled;
use crate::codec::{Blob, List, Wire, wire_struct};
use crate::hash::{Signed, Statement, hash, label};
use crate::id::{AccountId, DeviceId, Hash, Salt};
use crate::limits::{MAX_SHARD_BYTES, SHARDS};
use crate::vector::Positions;

wire_struct! {
    /// Document keys of the handles that begin with one byte, sealed under a key that is used for this one writing.
    pub struct Shard {
        /// The handles' first byte.
        pub index: u8,
        /// Salt of the seal.
        pub salt: Salt,
        /// The keys.
        pub sealed: Blob<MAX_SHARD_BYTES>,
    }
}

wire_struct! {
    /// Which shards are in force, and their keys under the epoch's key.
    pub struct Table {
        /// The epoch, by its number: its entry names this table, so it can't be named by its id.
        pub epoch: u64,
        /// Counts tables from 1.
        pub number: u64,
        /// The table before; [`Hash::ZERO`] at the first.
        pub previous: Hash,
        /// The device that signs.
        pub author: DeviceId,
        /// Document keys that envelopes brought in up to here are in the shards.
        pub folded: Positions,
        /// The shards by index: [`shard_id`], or [`Hash::ZERO`] where there is none.
        pub shards: ShardIds,
        /// Salt of the seal.
        pub salt: Salt,
        /// 256 shard keys, and the tag.
        pub sealed: ShardKeysSealed,
    }
}

/// 256 ids.
pub type ShardIds = Fixed<Hash, SHARDS>;

/// 256 sealed keys and a tag.
pub type ShardKeysSealed = Box<[u8; SHARDS * 32 + 16]>;

/// Exactly `N` items, without a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed<T, const N: usize>(Box<[T; N]>);

impl<T, const N: usize> Fixed<T, N> {
    /// By index.
    pub fn from_fn(item: impl FnMut(usize) -> T) -> Self {
        Self(Box::new(std::array::from_fn(item)))
    }
}

impl<T, const N: usize> std::ops::Deref for Fixed<T, N> {
    type Target = [T; N];
    fn deref(&self) -> &[T; N] {
        &self.0
    }
}

impl<const N: usize> Wire for Fixed<Hash, N> {
    const MIN_BYTES: usize = N * 32;
    fn write(&self, out: &mut Vec<u8>) {
        for item in self.0.iter() {
            item.write(out);
        }
    }
    fn read(reader: &mut crate::codec::Reader<'_>) -> Result<Self, crate::codec::DecodeError> {
        let mut items = Box::new([Hash::ZERO; N]);
        for item in items.iter_mut() {
            *item = Hash::read(reader)?;
        }
        Ok(Self(items))
    }
}

#[cfg(any(test, feature = "samples"))]
impl<const N: usize> Sampled for Fixed<Hash, N> {
    fn sample(source: &mut crate::codec::Sample<'_>) -> Self {
        Self::from_fn(|_| Hash::sample(source))
    }
}

wire_struct! {
    /// A new table, and the shards that changed with it.
    pub struct RegistryUpdate {
        /// The table.
        pub table: Signed<Table>,
        /// Shards that the table names and the server may not have.
        pub shards: List<Shard, SHARDS>,
    }
}

impl Statement for Table {
    const LABEL: &'static str = label::TABLE;
}

/// The id of a shard.
pub fn shard_id(account: &AccountId, shard: &Shard) -> Hash {
    hash(label::SHARD, &[&account.0, &shard.encode()])
}
