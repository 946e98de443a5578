//! What the machine writes down: spaces of the journal, and the encoding of what is in them.
//!
//! These bytes never travel. They use the wire's encoding, so that what was torn or altered isn't taken for a value.

use hearth_protocol::codec::{Blob, DecodeError, Map, Reader, Set, Wire};
use hearth_protocol::erasure::{Erase, EraseSet};
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{DeviceId, Handle, Hash, InstanceToken, Link, LogId, Signature};
use hearth_protocol::statement::{Heartbeat, LogOpen};
use hearth_protocol::vector::{Head, Positions};

use crate::content::DocumentKind;

/// Spaces of the journal.
pub mod space {
    /// One record, `state`: the rest of the machine's own state.
    pub const STATE: u8 = 1;
    /// Number (8 bytes, big-endian) → control entry.
    pub const CONTROL: u8 = 2;
    /// Log → how far it is known.
    pub const LOG: u8 = 3;
    /// Log and number → link, header hash, signature: stays when the body goes.
    pub const PLACE: u8 = 4;
    /// Log and number → the envelope, sealed as it came.
    pub const BODY: u8 = 5;
    /// Handle, log and number → header hash: the live set.
    pub const LIVE: u8 = 6;
    /// Handle → what was merged into the document, and what its snapshots cover.
    pub const DOCUMENT: u8 = 7;
    /// Handle, generation and key reference → document key. Secret.
    pub const KEY: u8 = 8;
    /// Erasure → the statement, and whether it is done here.
    pub const ERASE: u8 = 9;
    /// Erased handle → the erasure.
    pub const ERASED: u8 = 10;
    /// Kind and id → statements that are kept: acknowledgements, grants, the newest heartbeats and checkpoints.
    pub const STATEMENT: u8 = 11;
    /// Number → what waits to be sealed. Holds content: as secret as the documents.
    pub const OUTBOX: u8 = 12;
    /// Handle → a snapshot is asked for.
    pub const NEED: u8 = 13;
    /// Server key → instance token, cursor.
    pub const SERVER: u8 = 14;
    /// Number → an entry of the control log that is to be made.
    pub const INTENT: u8 = 15;
    /// Erasure and server key → its receipt.
    pub const RECEIPT: u8 = 16;
    /// One record: the registry's table.
    pub const TABLE: u8 = 17;
    /// Index → the shard in force, sealed.
    pub const SHARD: u8 = 18;
    /// Device → its newest heartbeat and when it was compared.
    pub const PEER: u8 = 19;
    /// Number → a statement that the account's server hasn't taken yet.
    pub const UNSENT: u8 = 20;
    /// One record: the wraps of the running epoch.
    pub const WRAPS: u8 = 21;
    /// Handle, generation and key reference → nothing: a key that this device writes with, because it made it, or because a
    /// member of its generation did.
    pub const WRITES: u8 = 22;
    /// Log and number → nothing: an envelope of somebody who was shut out that lacks what it names. It isn't applied; its
    /// body stays.
    pub const ASIDE: u8 = 23;
    /// Log and number → the link before an envelope that came out of its chain, and its header hash.
    pub const TORN: u8 = 24;
    /// Log and number of those that wait for their key.
    pub const WAITS: u8 = 25;
    /// Handle, generation and key reference → the envelope that brings in a key that was made here, as long as others may not
    /// have it.
    pub const FRESH: u8 = 26;
    /// Handle and log → how far the pieces of a document are here.
    pub const PIECES: u8 = 27;
}

/// A struct of the journal: its fields, one after the other.
macro_rules! stored {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_meta])* pub(crate) $field: $type),* }

        impl hearth_protocol::codec::Wire for $name {
            const MIN_BYTES: usize = 0 $(+ <$type as hearth_protocol::codec::Wire>::MIN_BYTES)*;
            fn write(&self, out: &mut Vec<u8>) {
                $(hearth_protocol::codec::Wire::write(&self.$field, out);)*
            }
            fn read(
                reader: &mut hearth_protocol::codec::Reader<'_>,
            ) -> Result<Self, hearth_protocol::codec::DecodeError> {
                Ok(Self { $($field: hearth_protocol::codec::Wire::read(reader)?),* })
            }
        }
    };
}

stored! {
    /// Where a document key that was made here is brought in.
    pub(crate) struct BroughtIn {
        /// The log.
        log: LogId,
        /// The number there; 0: nowhere any more.
        seq: u64,
    }
}

stored! {
    /// What a new device was told in its pairing.
    pub(crate) struct Expected {
        /// The control log's head at the pairing.
        control: Hash,
        /// The checkpoint of the other device; zeros: none.
        checkpoint: Hash,
        /// The transcript that both users compared.
        transcript: Hash,
    }
}

stored! {
    /// The machine's own state that has no record of its own.
    #[derive(Default)]
    pub(crate) struct State {
        /// The account exists at its server.
        opened: bool,
        /// Invitation for opening it.
        invitation: hearth_protocol::control::Text255,
        /// The log that this incarnation writes.
        log: Option<LogId>,
        /// How many erasures it has signed in that log.
        erase_number: u64,
        /// Erasures that the log's envelopes have named.
        announced: EraseSet,
        /// The number of the last heartbeat, and when it was made.
        heartbeat: u64,
        heartbeat_at: u64,
        /// Numbers for the outbox, intents and unsent statements.
        counter: u64,
        /// Shards of the registry that lack a key or hold one too many.
        dirty: Set<u8, 256>,
        /// Since when; 0: never mind.
        dirty_since: u64,
        /// An epoch is wanted at the latest then; 0: none.
        rotate_at: u64,
        /// Set until a new device has checked what it was told.
        expected: Option<Expected>,
        /// The server's or the user's answer is awaited: restored or copied?
        doubtful: bool,
        /// How many logs it has opened because its server said that it was restored.
        afresh: u64,
        /// The newest checkpoint of this device.
        checkpoint: Option<Hash>,
        /// The device was revoked.
        revoked: bool,
        /// The checkpoint that this device begins at, until all that lived there is here.
        starting: Option<Hash>,
    }
}

stored! {
    /// A log.
    pub(crate) struct Log {
        /// Its opening.
        open: Signed<LogOpen>,
        /// How far its chain is verified and stored.
        stored: Head,
        /// How far its items are applied: what is between the two waits.
        applied: Head,
        /// Up to here only what lived at a checkpoint is here, out of its chain.
        folded: Head,
        /// Of the own log: how far the server's `Stored` has been heard.
        safe: u64,
    }
}

stored! {
    /// The place of an item in its log.
    pub(crate) struct Place {
        /// The link at it.
        link: Link,
        /// Its header hash.
        header_hash: Hash,
        /// Its signature, unless it came as a bare hole.
        signature: Option<Signature>,
    }
}

stored! {
    /// An envelope that came out of its chain.
    pub(crate) struct Torn {
        /// The link before it.
        previous: Link,
        /// Its header hash.
        header_hash: Hash,
    }
}

stored! {
    /// What is known of a document.
    #[derive(Default)]
    pub(crate) struct Document {
        /// The own last envelope of it, and what was merged from other logs since: log → number.
        merged: Positions,
        /// What accepted snapshots cover.
        covered: Positions,
        /// Envelopes of it that are alive.
        live: u64,
    }
}

stored! {
    /// Pieces of a document, one after the other.
    pub(crate) struct Pieces {
        /// The next one's index.
        next: u32,
        /// How many there are.
        count: u32,
    }
}

stored! {
    /// An erasure.
    pub(crate) struct Erasure {
        /// The statement.
        erase: Signed<Erase>,
        /// Hash of this device's journal of it, once it is done here.
        journal: Option<Hash>,
        /// When it came.
        seen: u64,
        /// Whether a server has it.
        sent: bool,
    }
}

stored! {
    /// A server or peer.
    pub(crate) struct Server {
        /// The token of its last `Welcome`.
        instance: InstanceToken,
        /// How many erasures of its order are applied.
        cursor: u64,
        /// Logs that it is being brought out of their chains, and up to where their living envelopes are there.
        torn: Positions,
    }
}

stored! {
    /// Another device, as far as heartbeats tell.
    pub(crate) struct Peer {
        /// Its newest heartbeat.
        heartbeat: Box<Signed<Heartbeat>>,
        /// When it fit, by the heartbeat's own time; 0: never.
        verified: u64,
    }
}

/// The most a piece of the outbox holds: a content's bytes, encoded.
type Piece = Blob<{ 1 << 20 }>;

/// What waits to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) handle: Handle,
    pub(crate) kind: DocumentKind,
    pub(crate) what: Piecemeal,
}

/// A piece of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piecemeal {
    /// One change.
    Change(Piece),
    /// A whole document, with what it covers.
    Snapshot { covers: Positions, document: Piece },
    /// A piece of one.
    Chunk { index: u32, count: u32, bytes: Piece },
}

impl Piecemeal {
    /// About how many bytes it takes in an envelope.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Change(bytes) => bytes.len() + 4,
            Self::Snapshot { document, .. } => document.len(),
            Self::Chunk { bytes, .. } => bytes.len(),
        }
    }
}

impl Wire for Waiting {
    const MIN_BYTES: usize = 20;
    fn write(&self, out: &mut Vec<u8>) {
        self.handle.write(out);
        self.kind.write(out);
        match &self.what {
            Piecemeal::Change(bytes) => {
                out.push(1);
                bytes.write(out);
            }
            Piecemeal::Snapshot { covers, document } => {
                out.push(2);
                covers.write(out);
                document.write(out);
            }
            Piecemeal::Chunk { index, count, bytes } => {
                out.push(3);
                index.write(out);
                count.write(out);
                bytes.write(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (handle, kind) = (Wire::read(reader)?, Wire::read(reader)?);
        let what = match reader.byte()? {
            1 => Piecemeal::Change(Wire::read(reader)?),
            2 => Piecemeal::Snapshot {
                covers: Wire::read(reader)?,
                document: Wire::read(reader)?,
            },
            3 => Piecemeal::Chunk {
                index: Wire::read(reader)?,
                count: Wire::read(reader)?,
                bytes: Wire::read(reader)?,
            },
            tag => return Err(DecodeError::UnknownTag(u16::from(tag))),
        };
        Ok(Self { handle, kind, what })
    }
}

/// `log ‖ number`, so that a log's items lie in order.
pub(crate) fn place_key(log: &LogId, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&log.0);
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The log and the number of a place key.
pub(crate) fn of_place_key(key: &[u8]) -> Option<(LogId, u64)> {
    let (log, seq) = key.split_first_chunk::<16>()?;
    Some((LogId(*log), u64::from_be_bytes(seq.try_into().ok()?)))
}

/// `handle ‖ log ‖ number`.
pub(crate) fn live_key(handle: &Handle, log: &LogId, seq: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..16].copy_from_slice(&handle.0);
    key[16..].copy_from_slice(&place_key(log, seq));
    key
}

/// The log and the number of a live key.
pub(crate) fn of_live_key(key: &[u8]) -> Option<(Handle, LogId, u64)> {
    let key: &[u8; 40] = key.try_into().ok()?;
    let (handle, rest) = key.split_first_chunk::<16>()?;
    let (log, seq) = rest.split_first_chunk::<16>()?;
    let seq = u64::from_be_bytes(seq.try_into().ok()?);
    Some((Handle(*handle), LogId(*log), seq))
}

/// A map with one more position; a full map stays as it is.
pub(crate) fn raised<const MAX: usize>(
    map: &Map<LogId, u64, MAX>,
    more: impl IntoIterator<Item = (LogId, u64)>,
) -> Map<LogId, u64, MAX> {
    let mut all: std::collections::BTreeMap<LogId, u64> = map.iter().copied().collect();
    for (log, seq) in more {
        let highest = all.entry(log).or_default();
        *highest = seq.max(*highest);
    }
    Map::new(all).unwrap_or_else(|_| map.clone())
}

/// A device as a key.
pub(crate) fn pair_key(first: &[u8], second: &DeviceId) -> Vec<u8> {
    [first, second.as_ref()].concat()
}
