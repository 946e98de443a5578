//! What devices say outside of logs and outside of the control log: each is signed on its own.

use crate::codec::wire_enum;
use crate::codec::{Wire, wire_struct};
use crate::control::Wrap;
use crate::erasure::{EraseAck, EraseSet};
use crate::hash::{Signed, Statement, label, log_id, merkle_root};
use crate::id::{AccountId, AgreementKey, DeviceId, Hash, LogId, TimeMs};
use crate::vector::VersionVector;

wire_struct! {
    /// Opens a log. Its id is the log's link before the first item.
    #[derive(Copy)]
    pub struct LogOpen {
        /// The device whose log key signs everything in it.
        pub device: DeviceId,
        /// Fresh random bytes: with account and device they make the log's id.
        pub nonce: [u8; 16],
    }
}

impl LogOpen {
    /// The log's id.
    pub fn log(&self, account: &AccountId) -> LogId {
        log_id(account, &self.device, &self.nonce)
    }
}

wire_struct! {
    /// A device has the key of an epoch and destroyed what opened the ones before.
    #[derive(Copy)]
    pub struct EpochAck {
        /// The epoch's entry.
        pub epoch: Hash,
        /// Its number.
        pub number: u64,
        /// The device.
        pub device: DeviceId,
        /// The agreement key that the next epoch is wrapped to.
        pub agreement: AgreementKey,
        /// When, by the device's clock.
        pub at: TimeMs,
    }
}

wire_struct! {
    /// The key of the running epoch, for a device that was enrolled after it began.
    pub struct Grant {
        /// The epoch's entry.
        pub epoch: Hash,
        /// Who grants.
        pub author: DeviceId,
        /// For whom.
        pub device: DeviceId,
        /// The key.
        pub wrap: Wrap,
    }
}

wire_struct! {
    /// What a device has applied: compared with what others have, it shows what a server hides.
    pub struct Heartbeat {
        /// The device.
        pub device: DeviceId,
        /// Counts the device's heartbeats: a lower number than seen is old.
        pub number: u64,
        /// How far every log was applied (opened and merged, not only received).
        pub vector: VersionVector,
        /// Root of the live set at that vector: see [`live_root`].
        pub live_root: Hash,
        /// The erasures applied.
        pub erased: EraseSet,
        /// Their root.
        pub erased_root: Hash,
        /// The newest control entry known.
        pub control: Hash,
        /// When, by the device's clock.
        pub at: TimeMs,
    }
}

wire_struct! {
    /// A state that a member vouches for: older holes may be folded away, and a new device starts from here.
    pub struct Checkpoint {
        /// The device.
        pub device: DeviceId,
        /// Where every log stands.
        pub frontier: VersionVector,
        /// Root of the live set there.
        pub live_root: Hash,
        /// Root of the erased set.
        pub erased_root: Hash,
        /// The control log's head.
        pub control: Hash,
        /// The registry's table.
        pub table: Hash,
        /// When, by the device's clock.
        pub at: TimeMs,
    }
}

wire_enum! {
    /// A statement with its signature.
    pub enum AnyStatement {
        /// Opens a log.
        1 => LogOpen(Signed<LogOpen>),
        /// An erasure is done on a device.
        2 => EraseAck(Signed<EraseAck>),
        /// An epoch is taken on.
        3 => EpochAck(Signed<EpochAck>),
        /// An epoch's key for a late device.
        4 => Grant(Signed<Grant>),
        /// A device's state.
        5 => Heartbeat(Box<Signed<Heartbeat>>),
        /// A folding point.
        6 => Checkpoint(Box<Signed<Checkpoint>>),
    }
}

impl Statement for LogOpen {
    const LABEL: &'static str = label::LOG_OPEN;
}
impl Statement for EpochAck {
    const LABEL: &'static str = label::EPOCH_ACK;
}
impl Statement for Grant {
    const LABEL: &'static str = label::GRANT;
}
impl Statement for Heartbeat {
    const LABEL: &'static str = label::HEARTBEAT;
}
impl Statement for Checkpoint {
    const LABEL: &'static str = label::CHECKPOINT;
}

wire_struct! {
    /// One envelope whose body is to be there: neither erased, nor covered by a snapshot, nor void.
    #[derive(Copy, PartialOrd, Ord)]
    pub struct Live {
        /// The log.
        pub log: LogId,
        /// The number.
        pub seq: u64,
        /// The header hash.
        pub header_hash: Hash,
    }
}

/// The root of the live set. Order and repetition don't matter.
pub fn live_root(live: impl IntoIterator<Item = Live>) -> Hash {
    let live: std::collections::BTreeSet<Live> = live.into_iter().collect();
    let encoded: Vec<Vec<u8>> = live.iter().map(Wire::encode).collect();
    let leaves: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
    merkle_root(&leaves)
}
