//! The key registry from inside: which document key is which, in 256 shards.

use hearth_protocol::codec::{DecodeError, Reader, Set, TooLarge, Wire};
use hearth_protocol::hash::{context, label};
use hearth_protocol::id::{AccountId, Handle, Hash, Salt};
use hearth_protocol::limits::SHARDS;
use hearth_protocol::registry::{Shard, ShardKeysSealed};
use zeroize::{Zeroize, Zeroizing};

use crate::keys::EpochKey;
use crate::seal::{pad, unpad};
use crate::secret::{DoesNotOpen, Random, Secret, ZERO_NONCE, derive, open_bytes, random_bytes, seal_bytes};

/// One document key. Keys of one handle and generation differ when two devices wrote it for the first time at once: the
/// registry keeps both, and the envelope names its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Zeroize)]
#[zeroize(drop)]
pub struct KeyEntry {
    handle: [u8; 16],
    generation: u32,
    key: [u8; 32],
}

impl KeyEntry {
    /// An entry.
    pub fn new(handle: Handle, generation: u32, key: &Secret) -> Self {
        Self {
            handle: handle.0,
            generation,
            key: *key.expose(),
        }
    }

    /// The document.
    pub fn handle(&self) -> Handle {
        Handle(self.handle)
    }

    /// The generation.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The key.
    pub fn key(&self) -> Secret {
        Secret::new(self.key)
    }

    /// The shard it belongs in.
    pub fn shard(&self) -> u8 {
        self.handle[0]
    }
}

impl std::fmt::Debug for KeyEntry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "KeyEntry({:?}, {})",
            Handle(self.handle),
            self.generation
        )
    }
}

impl Wire for KeyEntry {
    const MIN_BYTES: usize = 49;
    fn write(&self, out: &mut Vec<u8>) {
        self.handle.write(out);
        self.generation.write(out);
        self.key.write(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            handle: Wire::read(reader)?,
            generation: Wire::read(reader)?,
            key: Wire::read(reader)?,
        })
    }
}

/// A shard's content.
type Entries = Set<KeyEntry, MAX_SHARD_KEYS>;

/// Keys of one shard.
pub const MAX_SHARD_KEYS: usize = 1 << 14;

/// Why a shard can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The key is another one, or the bytes were changed.
    #[error(transparent)]
    Sealed(#[from] DoesNotOpen),
    /// What is in it isn't a list of keys.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It holds a key that belongs in another shard, or its padding is wrong.
    #[error("the shard's content is not what a shard holds")]
    Content,
    /// Too many keys for one shard.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

fn shard_info(account: &AccountId, index: u8) -> Vec<u8> {
    let mut info = context(label::SHARD_KEY);
    info.extend_from_slice(&account.0);
    info.push(index);
    info
}

/// Seals a shard under a fresh key: every writing has its own, so that an older one can be destroyed alone.
pub fn seal_shard(
    account: &AccountId,
    index: u8,
    entries: impl IntoIterator<Item = KeyEntry>,
    random: &mut dyn Random,
) -> Result<(Shard, Secret), ShardError> {
    let entries = Entries::new(entries)?;
    if entries.iter().any(|entry| entry.shard() != index) {
        return Err(ShardError::Content);
    }
    let key = Secret::random(random);
    let salt = Salt(random_bytes(random));
    let info = shard_info(account, index);
    let plain = Zeroizing::new(entries.encode());
    let sealed = seal_bytes(&derive(&key, &salt.0, &info), ZERO_NONCE, &info, pad(&plain));
    Ok((
        Shard {
            index,
            salt,
            sealed: sealed.try_into()?,
        },
        key,
    ))
}

/// The keys of a shard.
pub fn open_shard(account: &AccountId, shard: &Shard, key: &Secret) -> Result<Vec<KeyEntry>, ShardError> {
    let info = shard_info(account, shard.index);
    let opened = open_bytes(
        &derive(key, &shard.salt.0, &info),
        ZERO_NONCE,
        &info,
        &shard.sealed,
    )?;
    let plain = Zeroizing::new(unpad(opened).ok_or(ShardError::Content)?);
    let entries = Entries::decode(&plain)?;
    if entries.iter().any(|entry| entry.shard() != shard.index) {
        return Err(ShardError::Content);
    }
    Ok(entries.to_vec())
}

fn table_info(account: &AccountId, epoch: u64, number: u64, previous: &Hash) -> Vec<u8> {
    let mut info = context(label::TABLE_KEY);
    info.extend_from_slice(&account.0);
    info.extend_from_slice(&epoch.to_be_bytes());
    info.extend_from_slice(&number.to_be_bytes());
    info.extend_from_slice(&previous.0);
    info
}

/// The keys of all shards, by index.
pub type ShardKeys = [Secret; SHARDS];

/// Seals the shard keys of table `number` (after `previous`) under the epoch's key.
pub fn seal_shard_keys(
    account: &AccountId,
    epoch: &EpochKey,
    number: u64,
    previous: &Hash,
    keys: &ShardKeys,
    random: &mut dyn Random,
) -> Result<(Salt, ShardKeysSealed), DoesNotOpen> {
    let salt = Salt(random_bytes(random));
    let info = table_info(account, epoch.number, number, previous);
    let mut plain = Vec::with_capacity(SHARDS * 32 + 16);
    for key in keys {
        plain.extend_from_slice(key.expose());
    }
    let sealed = seal_bytes(&derive(&epoch.key, &salt.0, &info), ZERO_NONCE, &info, plain);
    let sealed: ShardKeysSealed = sealed.into_boxed_slice().try_into().map_err(|_| DoesNotOpen)?;
    Ok((salt, sealed))
}

/// The shard keys of a table.
pub fn open_shard_keys(
    account: &AccountId,
    epoch: &EpochKey,
    number: u64,
    previous: &Hash,
    salt: &Salt,
    sealed: &ShardKeysSealed,
) -> Result<Box<ShardKeys>, DoesNotOpen> {
    let info = table_info(account, epoch.number, number, previous);
    let plain = open_bytes(
        &derive(&epoch.key, &salt.0, &info),
        ZERO_NONCE,
        &info,
        sealed.as_slice(),
    )?;
    let plain = Zeroizing::new(plain);
    let mut keys = plain.chunks_exact(32).map(|chunk| {
        let mut key = [0; 32];
        key.copy_from_slice(chunk);
        Secret::new(key)
    });
    Ok(Box::new(std::array::from_fn(|_| {
        keys.next().unwrap_or_else(|| Secret::new([0; 32]))
    })))
}
