//! What is said on the control stream.

use crate::codec::{DecodeError, List, Set, Wire, wire_enum, wire_struct};
use crate::control::{ControlEntry, EpochWraps, Text255};
use crate::envelope::Nothing;
use crate::erasure::{Erase, Receipt};
use crate::error::ErrorCode;
use crate::hash::{Signed, hash, label};
use crate::id::{
    AccountId, DeviceId, Hash, InstanceToken, Link, LogId, MailboxId, Signature, TimeMs, VerifyKey,
};
use crate::limits::{MAX_BATCH_ITEMS, MAX_CONTROL_ENTRIES, MAX_MESSAGE_BYTES, MAX_STATEMENTS, SHARDS};
use crate::pairing::MailboxMessage;
use crate::registry::{RegistryUpdate, Shard, Table};
use crate::statement::AnyStatement;
use crate::vector::{Head, Positions, VersionVector};

wire_struct! {
    /// The first message. It says what the device has, in hashes.
    pub struct Hello {
        /// Versions the device speaks.
        pub versions: Set<u16, 8>,
        /// The account.
        pub account: AccountId,
        /// The device.
        pub device: DeviceId,
        /// The token of the last `Welcome`; zeros at the first time.
        pub instance: InstanceToken,
        /// The log that the device writes; none before its first.
        pub log: Option<LogId>,
        /// Digest of its vector: what it has stored.
        pub vector: Hash,
        /// The newest control entry it knows.
        pub control: Hash,
        /// Its place in the log.
        pub control_number: u64,
        /// How many erasures of this server it has applied, in the server's order.
        pub erased_cursor: u64,
        /// Root of all erasures that it has applied.
        pub erased_root: Hash,
        /// The registry's table it knows.
        pub table: Hash,
    }
}

wire_struct! {
    /// What the server has that the device doesn't.
    pub struct Ahead {
        /// Control entries follow up to this one.
        pub control: Hash,
        /// Its place.
        pub control_number: u64,
        /// Erasures follow up to this cursor. Until the device says `Applied`, nothing else passes either way.
        pub erased_cursor: u64,
        /// Root of the server's erased set.
        pub erased_root: Hash,
        /// The registry's table.
        pub table: Hash,
        /// Digest of the server's vector.
        pub vector: Hash,
        /// The server knows which vector the device's digest is of, and sends the delta without being asked.
        pub delta: bool,
    }
}

wire_struct! {
    /// The answer to `Hello`.
    pub struct Welcome {
        /// The version that is spoken from here on: the highest of both.
        pub version: u16,
        /// By the server's (or peer's transport) key, over [`session_id`].
        pub proof: Signature,
        /// The token for the next `Hello`.
        pub instance: InstanceToken,
        /// The head of the device's own log, as the server has it: numbers are given out only from here.
        pub own: Option<Head>,
        /// The server was restored from a backup since the device wrote this log. The device may have been, too, without
        /// that anything tells: it goes on in a new log.
        pub afresh: bool,
        /// None: both have the same.
        pub ahead: Option<Ahead>,
        /// Bytes in use, and allowed (0: no limit).
        pub used_bytes: u64,
        /// See above.
        pub quota_bytes: u64,
        /// The server's clock: to show that one is off by years, never to decide.
        pub at: TimeMs,
    }
}

wire_struct! {
    /// A control entry, with what belongs to an epoch.
    pub struct PushControl {
        /// The entry.
        pub entry: ControlEntry,
        /// Of an `Epoch`.
        pub wraps: Option<Box<EpochWraps>>,
        /// Of an `Epoch`.
        pub registry: Option<Box<RegistryUpdate>>,
    }
}

wire_struct! {
    /// A branch of the control log, in place of the one that the server holds: see [`crate::control::wins`].
    pub struct PushBranch {
        /// Its entries from the fork on, in order.
        pub entries: List<ControlEntry, MAX_CONTROL_ENTRIES>,
        /// Of the epoch that runs at its end.
        pub wraps: Option<Box<EpochWraps>>,
    }
}

wire_struct! {
    /// An erasure, and the registry without its keys if that can go in the same transaction.
    pub struct PushErase {
        /// The erasure.
        pub erase: Signed<Erase>,
        /// Refused as `RegistryConflict` without holding up the erasure.
        pub registry: Option<Box<RegistryUpdate>>,
    }
}

wire_struct! {
    /// A new account.
    pub struct OpenAccount {
        /// Invitation code; empty where anybody may open one.
        pub invitation: Text255,
        /// Genesis, then the first `Epoch`.
        pub entries: List<ControlEntry, MAX_CONTROL_ENTRIES>,
        /// Of the running epoch.
        pub wraps: Box<EpochWraps>,
        /// Of the running epoch.
        pub registry: Box<RegistryUpdate>,
    }
}

wire_struct! {
    /// Applied through: by log, and of the server's erasures.
    pub struct Applied {
        /// Erasures, in the server's order.
        pub erased_cursor: u64,
        /// Root of everything erased.
        pub erased_root: Hash,
    }
}

wire_struct! {
    /// What is durable on the device.
    pub struct Acked {
        /// Items, by log.
        pub upto: Positions,
        /// How many of the statements that this session brought unasked, from the first on.
        pub statements: u64,
    }
}

wire_struct! {
    /// A range of a sequence.
    #[derive(Copy)]
    pub struct Range {
        /// The first.
        pub from: u64,
        /// How many at most.
        pub count: u64,
    }
}

wire_struct! {
    /// Items of one log, again.
    #[derive(Copy)]
    pub struct ItemRange {
        /// The log.
        pub log: LogId,
        /// Which.
        pub range: Range,
    }
}

wire_enum! {
    /// What a device asks for.
    pub enum Fetch {
        /// Control entries.
        1 => Control(Range),
        /// Erasures, in the server's order.
        2 => Erasures(Range),
        /// Items of logs.
        3 => Items(List<ItemRange, 256>),
        /// Shards of the registry, with the table.
        4 => Shards(Set<u8, SHARDS>),
        /// The wraps of the running epoch.
        5 => Wraps(Nothing),
        /// The newest checkpoint with this id and everything alive at it: how a new device begins.
        6 => Checkpoint(Hash),
        /// The newest checkpoint there is: for recovery.
        7 => NewestCheckpoint(Nothing),
        /// Ids of all erasures, when the roots differ after everything else.
        8 => ErasureIds(Range),
        /// Receipts and acknowledgements of an erasure, and every member's newest one of an epoch.
        9 => Erasure(Hash),
    }
}

wire_struct! {
    /// A message for a pairing.
    pub struct ToMailbox {
        /// The mailbox.
        pub mailbox: MailboxId,
        /// The message; none: only wait for what comes.
        pub message: Option<MailboxMessage>,
    }
}

wire_enum! {
    /// From a device.
    pub enum Request {
        /// First.
        1 => Hello(Box<Hello>),
        /// When the server didn't know the digest.
        2 => Vector(VersionVector),
        /// The gate opens.
        3 => Applied(Applied),
        /// Durable on this device, so that the server knows the vector next time and doesn't send the statements again.
        4 => Ack(Acked),
        /// To the control log.
        5 => Control(Box<PushControl>),
        /// To the erased set.
        6 => Erase(Box<PushErase>),
        /// To the registry.
        7 => Registry(Box<RegistryUpdate>),
        /// Anything else that is signed.
        8 => Statement(Box<AnyStatement>),
        /// A question.
        9 => Fetch(Fetch),
        /// A new account.
        10 => Open(Box<OpenAccount>),
        /// Pairing: allowed without `Hello`.
        11 => Mailbox(ToMailbox),
        /// The end.
        12 => Goodbye(Nothing),
        /// The branch of the control log that wins over the server's.
        13 => Branch(Box<PushBranch>),
        /// Who is it? With number 0, before `Hello` or `Open` alone.
        14 => Prove(Nothing),
        /// First, by somebody who has nothing but the recovery phrase.
        15 => Claim(Claim),
    }
}

wire_struct! {
    /// An account is claimed by its recovery phrase. The public key alone gets no answer: it stands in the control log, and
    /// so in every certificate.
    pub struct Claim {
        /// Versions the device speaks.
        pub versions: Set<u16, 8>,
        /// The phrase's signing key.
        pub phrase: VerifyKey,
        /// By it, over [`claim_id`].
        pub proof: Signature,
    }
}

wire_struct! {
    /// An item was taken as a hole.
    #[derive(Copy)]
    pub struct Holed {
        /// Which.
        pub seq: u64,
        /// Why.
        pub code: ErrorCode,
    }
}

wire_struct! {
    /// Everything of a log up to here is stored for good.
    pub struct Stored {
        /// The log.
        pub log: LogId,
        /// The last number.
        pub seq: u64,
        /// Its link.
        pub link: Link,
        /// What of it was taken as holes, since the last `Stored`.
        pub holed: List<Holed, MAX_BATCH_ITEMS>,
    }
}

wire_struct! {
    /// Control entries.
    pub struct ControlPart {
        /// In order.
        pub entries: List<ControlEntry, MAX_CONTROL_ENTRIES>,
        /// Of the running epoch, when it is among them.
        pub wraps: Option<Box<EpochWraps>>,
        /// Whether more follow.
        pub more: bool,
    }
}

wire_struct! {
    /// Erasures in the server's order.
    pub struct ErasePart {
        /// The cursor after the last one.
        pub cursor: u64,
        /// The erasures.
        pub erasures: List<Signed<Erase>, MAX_STATEMENTS>,
        /// Whether more follow.
        pub more: bool,
    }
}

wire_struct! {
    /// The registry.
    pub struct RegistryPart {
        /// The table.
        pub table: Box<Signed<Table>>,
        /// Shards.
        pub shards: List<Shard, SHARDS>,
    }
}

wire_struct! {
    /// Everything that the server has was sent.
    pub struct Complete {
        /// Up to this vector.
        pub vector: VersionVector,
    }
}

wire_struct! {
    /// A refusal.
    pub struct Refusal {
        /// Why.
        pub code: ErrorCode,
        /// When to try again; 0: not by waiting.
        pub retry_after_ms: u64,
        /// The server's lowest and highest version, for the version errors.
        pub versions: Option<VersionRange>,
    }
}

wire_struct! {
    /// Versions.
    #[derive(Copy)]
    pub struct VersionRange {
        /// The lowest.
        pub lowest: u16,
        /// The highest.
        pub highest: u16,
    }
}

wire_enum! {
    /// From a server or peer.
    pub enum Reply {
        /// To `Hello`.
        1 => Welcome(Box<Welcome>),
        /// Done; nothing to add.
        2 => Accepted(Nothing),
        /// Not done.
        3 => Refused(Refusal),
        /// Items are durable.
        4 => Stored(Stored),
        /// Control entries, asked for or new.
        5 => Control(ControlPart),
        /// Erasures, asked for or new.
        6 => Erasures(ErasePart),
        /// Signed statements, asked for or new.
        7 => Statements(List<AnyStatement, MAX_STATEMENTS>),
        /// The registry, asked for or new.
        8 => Registry(RegistryPart),
        /// A receipt.
        9 => Receipt(Signed<Receipt>),
        /// Nothing is missing.
        10 => Complete(Complete),
        /// Ids of erasures.
        11 => ErasureIds(List<Hash, MAX_STATEMENTS>),
        /// Pairing.
        12 => Mailbox(List<MailboxMessage, { crate::limits::MAX_PAIRING_MESSAGES }>),
        /// The wraps of the running epoch.
        13 => Wraps(Box<EpochWraps>),
        /// Over [`server_id`].
        14 => Proof(Signature),
    }
}

wire_struct! {
    /// A request with its number, by which replies name it.
    pub struct RequestFrame {
        /// Counts from 1 in a session.
        pub id: u32,
        /// The request.
        pub request: Request,
    }
}

wire_struct! {
    /// A reply.
    pub struct ReplyFrame {
        /// The request's number; 0: nobody asked.
        pub to: u32,
        /// The reply.
        pub reply: Reply,
    }
}

/// What goes first when several things wait for one connection: the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Erasures, and what answers them.
    Erasure,
    /// The rest of the control stream.
    Control,
    /// What was just written.
    Live,
    /// What was written before the connection began.
    Backfill,
}

/// What `Welcome.proof` is over. `exporter` is TLS keying material of this connection (RFC 8446, 7.5), so that the proof
/// holds for no other.
pub fn session_id(account: &AccountId, device: &DeviceId, exporter: &[u8; 32]) -> Hash {
    hash(label::SESSION, &[&account.0, &device.0, exporter])
}

/// What [`Claim::proof`] is over.
pub fn claim_id(phrase: &VerifyKey, exporter: &[u8; 32]) -> Hash {
    hash(label::CLAIM, &[&phrase.0, exporter])
}

/// What `Proof` is over: who opens an account or has only a phrase knows the server by its key, and hears no `Welcome` yet.
pub fn server_id(exporter: &[u8; 32]) -> Hash {
    hash(label::SERVER, &[exporter])
}

/// The label of the exported keying material; its context is empty, its length 32.
pub const EXPORTER_LABEL: &[u8] = b"hearth-sync/1 session";

/// Bytes of a frame's length prefix.
pub const FRAME_PREFIX_BYTES: usize = 4;

/// A message with its length before it, as four bytes, most significant first.
pub fn frame(message: &impl Wire) -> Vec<u8> {
    let mut bytes = vec![0; FRAME_PREFIX_BYTES];
    message.write(&mut bytes);
    let length = (bytes.len() - FRAME_PREFIX_BYTES) as u32;
    bytes[..FRAME_PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The length that a frame's prefix announces.
pub fn frame_length(prefix: [u8; FRAME_PREFIX_BYTES]) -> Result<usize, DecodeError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_MESSAGE_BYTES {
        Err(DecodeError::TooLarge)
    } else {
        Ok(length)
    }
}

/// The highest version that both speak.
pub fn choose_version(theirs: &[u16], ours: &[u16]) -> Result<u16, ErrorCode> {
    let common = theirs.iter().filter(|version| ours.contains(version)).max();
    common.copied().ok_or_else(|| {
        let newest_theirs = theirs.iter().max().copied().unwrap_or(0);
        let newest_ours = ours.iter().max().copied().unwrap_or(0);
        if newest_theirs < newest_ours {
            ErrorCode::VersionTooOld
        } else {
            ErrorCode::VersionTooNew
        }
    })
}
