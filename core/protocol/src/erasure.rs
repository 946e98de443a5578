//! Erasing: the order, what devices and servers answer, and the certificate.

use crate::codec::{List, Map, Set, wire_code, wire_struct};
use crate::control::ControlEntry;
use crate::hash::{Signed, Statement, label, merkle_root};
use crate::id::{DeviceId, Handle, Hash, LogId, TimeMs, VerifyKey};
use crate::limits::{MAX_CERTIFICATE_STATEMENTS, MAX_ERASE_HANDLES, MAX_LOGS, MAX_STATEMENTS};
use crate::statement::{EpochAck, LogOpen};

/// Which erasures: log → the number of its last one.
pub type EraseSet = Map<LogId, u64, MAX_LOGS>;

wire_struct! {
    /// An order to erase. It holds for ever, against every edit made at the same time.
    pub struct Erase {
        /// The author's log.
        pub log: LogId,
        /// Counts the erasures of this log from 1: a gap shows that one is withheld.
        pub number: u64,
        /// Fresh random bytes: the id says nothing about the handles.
        pub nonce: [u8; 16],
        /// Documents and blobs; among them marks ([`mark`]).
        pub handles: Set<Handle, MAX_ERASE_HANDLES>,
        /// The erasure that this one follows from (its closure was wider on this device), or that it issues again.
        pub because: Option<Hash>,
        /// The newest control entry that the author knew.
        pub control: Hash,
        /// When, by the author's clock. The 30 days count from here.
        pub at: TimeMs,
    }
}

/// What a mark says of the thing whose id it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Marked {
    /// A memory is gone for good.
    Memory = 1,
    /// A chat is gone for good, with all its turns.
    Chat = 2,
    /// A turn is gone for good; its chat goes on in another document.
    Turn = 3,
    /// A memory stays, though all that it was drawn from may be gone; or a turn stays, though a memory drawn from it goes.
    Kept = 4,
    /// What says the same as a memory goes with it: a device that has more of it than the author knew takes that too.
    Alike = 5,
}

/// Stands beside the handles of an erasure and tells devices, and nobody else, which *things* are meant: the first 16 bytes
/// of a hash of a thing's id, which is random and never leaves a sealed body. A document can go because its chat was deleted
/// or because one of its turns was; only a mark says which, so that everything drawn from it, known or not, goes or stays.
pub fn mark(what: Marked, id: &[u8; 16]) -> Handle {
    let hash = crate::hash::hash(label::ERASE_MARK, &[&[what as u8], id]);
    Handle(std::array::from_fn(|place| hash.0[place]))
}

wire_struct! {
    /// A device says that it has erased.
    pub struct EraseAck {
        /// The erasure's id.
        pub erase: Hash,
        /// The device.
        pub device: DeviceId,
        /// Hash of the device's journal of this erasure: every step with how much it removed.
        pub journal: Hash,
        /// When, by the device's clock.
        pub at: TimeMs,
    }
}

wire_struct! {
    /// A server says that it has erased. It proves that the server said so, no more.
    pub struct Receipt {
        /// The erasure's id.
        pub erase: Hash,
        /// Envelopes whose bodies were deleted.
        pub bodies: u64,
        /// Their bytes.
        pub bytes: u64,
        /// When they were deleted, by the server's clock.
        pub at: TimeMs,
        /// By when the freed storage is overwritten, and the last of the server's backups that held them is gone.
        pub backups_until: TimeMs,
    }
}

wire_code! {
    /// How far a certificate reaches.
    pub enum CertificateState: u8 {
        /// Some device's confirmation is missing.
        Provisional = 1,
        /// Every device that ever held it has confirmed, or was revoked.
        Complete = 2,
    }
}

wire_struct! {
    /// A receipt with the server that gave it.
    pub struct ServerReceipt {
        /// The server's key: it must be in the control entries.
        pub server: VerifyKey,
        /// The receipt.
        pub receipt: Signed<Receipt>,
    }
}

wire_struct! {
    /// What a certificate says.
    pub struct CertificateBody {
        /// The layout: 1.
        pub version: u16,
        /// The whole control log, genesis first.
        pub control: List<ControlEntry, { crate::limits::MAX_CERTIFICATE_CONTROL }>,
        /// The openings of every log that is named.
        pub logs: List<Signed<LogOpen>, MAX_LOGS>,
        /// The erasure first, then those that follow from it.
        pub erasures: List<Signed<Erase>, MAX_STATEMENTS>,
        /// Of servers.
        pub receipts: List<ServerReceipt, MAX_CERTIFICATE_STATEMENTS>,
        /// Of devices.
        pub acks: List<Signed<EraseAck>, MAX_CERTIFICATE_STATEMENTS>,
        /// Of devices, for the epoch that ended the keys.
        pub epoch_acks: List<Signed<EpochAck>, MAX_STATEMENTS>,
        /// What the issuer takes it for; a verifier decides for itself and refuses a certificate that claims too much.
        pub state: CertificateState,
        /// The device that put it together.
        pub issuer: DeviceId,
        /// When, by its clock.
        pub at: TimeMs,
    }
}

/// A certificate: signed as a whole, so that no byte of it can be changed.
pub type Certificate = Signed<CertificateBody>;

/// The first bytes of a certificate file, before the encoded [`Certificate`].
pub const CERTIFICATE_MAGIC: &[u8; 16] = b"hearth-erasure-1";

impl Statement for Erase {
    const LABEL: &'static str = label::ERASE;
}
impl Statement for EraseAck {
    const LABEL: &'static str = label::ERASE_ACK;
}
impl Statement for Receipt {
    const LABEL: &'static str = label::RECEIPT;
}
impl Statement for CertificateBody {
    const LABEL: &'static str = label::CERTIFICATE;
}

/// The root of a set of erasures, by their ids. Order and repetition don't matter.
pub fn erased_root(ids: impl IntoIterator<Item = Hash>) -> Hash {
    let ids: std::collections::BTreeSet<Hash> = ids.into_iter().collect();
    let leaves: Vec<&[u8]> = ids.iter().map(AsRef::as_ref).collect();
    merkle_root(&leaves)
}
