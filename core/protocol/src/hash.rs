//! Hashing and checking signatures: the only cryptography of this package, and none of it needs a secret.

use ring::digest::{Context, SHA256};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::codec::{DecodeError, Reader, Wire};
#[cfg(any(test, feature = "samples"))]
use crate::codec::{Sample, Sampled};
use crate::id::{AccountId, DeviceId, DeviceKeys, Handle, Hash, KeyRef, LogId, Signature, VerifyKey};

/// The label of every hash and derivation. No two uses share one, so no value of one use is one of another.
pub mod label {
    macro_rules! labels {
        ($($(#[$meta:meta])* $name:ident = $text:literal),* $(,)?) => {
            $($(#[$meta])* pub const $name: &str = $text;)*
            /// Every label, for the test that no two are equal.
            pub const ALL: &[&str] = &[$($text),*];
        };
    }
    labels! {
        /// A device's id.
        DEVICE = "device id",
        /// A log's id.
        LOG = "log id",
        /// The short name of a document key.
        KEY_REF = "document key id",
        /// What an Ed25519 signature is made over.
        SIGNATURE = "signature",
        /// An envelope's header, as associated data and as hash.
        ENVELOPE = "envelope",
        /// What the signature of an envelope is made over.
        POSITION = "position",
        /// The running hash of a log.
        LINK = "link",
        /// HKDF: the key of one envelope.
        ENVELOPE_KEY = "envelope key",
        /// HKDF: the key that wraps a new document key.
        KEY_WRAP = "document key wrap",
        /// HKDF: the key of the table of shard keys.
        TABLE_KEY = "table key",
        /// HKDF: the key of one shard.
        SHARD_KEY = "shard key",
        /// HPKE: info of an epoch key's wrap.
        EPOCH_WRAP = "epoch wrap",
        /// Commits to an epoch key.
        EPOCH_COMMIT = "epoch commitment",
        /// The list of wraps of an epoch.
        EPOCH_WRAPS = "epoch wraps",
        /// HKDF: what a device of an epoch is found by on the local network.
        LAN = "lan discovery",
        /// Digest of a version vector.
        VECTOR = "version vector",
        /// A shard's id.
        SHARD = "shard",
        /// Leaf of a Merkle tree.
        LEAF = "merkle leaf",
        /// Inner node of a Merkle tree.
        NODE = "merkle node",
        /// Statement: a control entry.
        CONTROL = "control entry",
        /// What the phrase signs of the entry that opens its account.
        GENESIS_APPROVAL = "genesis approval",
        /// A new device's proof that it holds its log key.
        DEVICE_PROOF = "device proof",
        /// Statement: a log is opened.
        LOG_OPEN = "log open",
        /// Statement: an erasure.
        ERASE = "erase",
        /// A mark: stands in an erasure for the id of a thing, not of a document.
        ERASE_MARK = "erase mark",
        /// Statement: a device has erased.
        ERASE_ACK = "erase acknowledgement",
        /// Statement: a server has erased.
        RECEIPT = "erase receipt",
        /// Statement: a device has destroyed an epoch's keys.
        EPOCH_ACK = "epoch acknowledgement",
        /// Statement: an epoch key, wrapped later.
        GRANT = "epoch grant",
        /// Statement: a device's state, daily.
        HEARTBEAT = "heartbeat",
        /// Statement: a point from which history may be folded.
        CHECKPOINT = "checkpoint",
        /// Statement: the registry's table.
        TABLE = "table",
        /// Statement: a certificate.
        CERTIFICATE = "certificate",
        /// A server's or peer's proof of its identity key in a session.
        SESSION = "session",
        /// A recovery phrase's proof in a session.
        CLAIM = "claim",
        /// A server's proof of its identity key to somebody who has said nothing yet.
        SERVER = "server",
        /// Commitment of a pairing.
        PAIRING_COMMIT = "pairing commitment",
        /// Transcript of a pairing.
        PAIRING_TRANSCRIPT = "pairing transcript",
        /// The short authentication string.
        PAIRING_SAS = "pairing short string",
        /// HKDF: keys of a pairing.
        PAIRING_KEY = "pairing key",
        /// The mailbox of a pairing.
        PAIRING_MAILBOX = "pairing mailbox",
        /// The check character of a typed code.
        PAIRING_CHECK = "pairing check",
        /// HKDF: the recovery keys out of the phrase's entropy.
        RECOVERY = "recovery",
    }
}

/// What stands before everything that is hashed or derived: a length byte and `hearth-sync/1 <label>`.
pub fn context(label: &str) -> Vec<u8> {
    let text = format!("hearth-sync/1 {label}");
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// SHA-256 over the label's context and the parts. All parts but the last have a fixed length or carry their own.
pub fn hash(label: &str, parts: &[&[u8]]) -> Hash {
    let mut state = Context::new(&SHA256);
    state.update(&context(label));
    for part in parts {
        state.update(part);
    }
    finish(state)
}

/// Plain SHA-256, without a label: of ciphertexts alone.
pub fn sha256(bytes: &[u8]) -> Hash {
    let mut state = Context::new(&SHA256);
    state.update(bytes);
    finish(state)
}

fn finish(state: Context) -> Hash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(state.finish().as_ref());
    Hash(bytes)
}

/// The signature is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is wrong")]
pub struct BadSignature;

/// The bytes that are signed to vouch for an id.
pub fn signed_bytes(id: &Hash) -> Vec<u8> {
    let mut bytes = context(label::SIGNATURE);
    bytes.extend_from_slice(&id.0);
    bytes
}

#[cfg(test)]
std::thread_local! {
    /// How many signatures this thread has checked.
    pub(crate) static VERIFIED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Checks a signature over an id: Ed25519 (RFC 8032), the equation without cofactor, `S` below the group's order.
pub fn verify(key: &VerifyKey, id: &Hash, signature: &Signature) -> Result<(), BadSignature> {
    #[cfg(test)]
    VERIFIED.with(|count| count.set(count.get() + 1));
    UnparsedPublicKey::new(&ED25519, &key.0)
        .verify(&signed_bytes(id), &signature.0)
        .map_err(|_| BadSignature)
}

/// A value that is signed on its own.
pub trait Statement: Wire {
    /// Its label.
    const LABEL: &'static str;

    /// Its id within an account: what is signed, and what others name it by.
    fn id(&self, account: &AccountId) -> Hash {
        hash(Self::LABEL, &[&account.0, &self.encode()])
    }
}

/// A statement and a signature over its id. The signature is no part of the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    /// What is said.
    pub statement: T,
    /// Whose key made it depends on the statement.
    pub signature: Signature,
}

impl<T: Wire> Wire for Signed<T> {
    const MIN_BYTES: usize = T::MIN_BYTES + Signature::MIN_BYTES;
    fn write(&self, out: &mut Vec<u8>) {
        self.statement.write(out);
        self.signature.write(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            statement: T::read(reader)?,
            signature: Signature::read(reader)?,
        })
    }
}

#[cfg(any(test, feature = "samples"))]
impl<T: Sampled> Sampled for Signed<T> {
    fn sample(source: &mut Sample<'_>) -> Self {
        Self {
            statement: T::sample(source),
            signature: Signature::sample(source),
        }
    }
}

impl<T: Statement> Signed<T> {
    /// The statement's id.
    pub fn id(&self, account: &AccountId) -> Hash {
        self.statement.id(account)
    }

    /// Checks that this key signed the statement for this account.
    pub fn verify(&self, account: &AccountId, key: &VerifyKey) -> Result<(), BadSignature> {
        verify(key, &self.id(account), &self.signature)
    }
}

impl DeviceKeys {
    /// The id of the device that has these keys. The agreement key changes and is no part of it.
    pub fn device_id(&self) -> DeviceId {
        DeviceId(hash(label::DEVICE, &[&self.log.0, &self.transport.0]).0)
    }
}

/// The id of a log: it says which account and device it is of, so that nobody else can claim it.
pub fn log_id(account: &AccountId, device: &DeviceId, nonce: &[u8; 16]) -> LogId {
    let digest = hash(label::LOG, &[&account.0, &device.0, nonce]);
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    LogId(id)
}

/// The short name of a document key. `key` is hashed, not kept.
pub fn key_ref(account: &AccountId, handle: &Handle, generation: u32, key: &[u8; 32]) -> KeyRef {
    let digest = hash(
        label::KEY_REF,
        &[&account.0, &handle.0, &generation.to_be_bytes(), key],
    );
    let mut id = [0; 8];
    id.copy_from_slice(&digest.0[..8]);
    KeyRef(id)
}

/// The root of a Merkle tree (the shape of RFC 9162, section 2.1.1) over leaves in ascending order.
///
/// The caller sorts and drops repetitions. Of no leaves it is [`Hash::ZERO`].
pub fn merkle_root(leaves: &[&[u8]]) -> Hash {
    let mut level: Vec<Hash> = leaves.iter().map(|leaf| hash(label::LEAF, &[leaf])).collect();
    // Joining neighbours level by level, an odd last one carried up, gives the same tree as splitting at the largest
    // power of two.
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => hash(label::NODE, &[&left.0, &right.0]),
                rest => rest[0],
            })
            .collect();
    }
    level.first().copied().unwrap_or(Hash::ZERO)
}
