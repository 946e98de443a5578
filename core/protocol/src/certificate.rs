//! Erasure certificates: put together by a device, verified by anybody, offline.
//!
//! A certificate proves what devices and servers *said*. What it can't prove is listed in [`Report::residuals`].
//! `core/sync/PROTOCOL.md`, section 8, is the specification.

mod assemble;
mod verify;

pub use assemble::{AssembleError, Parts, assemble};
pub use verify::verify;

use crate::codec::DecodeError;
use crate::control::{ControlError, RevokeReason};
use crate::id::{AccountId, DeviceId, Hash, LogId, TimeMs, VerifyKey};

/// The layout that this package writes and reads.
pub const CERTIFICATE_VERSION: u16 = 1;

/// A part of a certificate, by its place in its list (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// An entry of the control log.
    Control(usize),
    /// The opening of a log.
    Log(usize),
    /// An erasure; the first is the subject.
    Erasure(usize),
    /// A server's receipt.
    Receipt(usize),
    /// A device's acknowledgement of an erasure.
    Ack(usize),
    /// A device's acknowledgement of an epoch.
    EpochAck(usize),
    /// The whole, by its issuer.
    Certificate,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, index) = match self {
            Self::Control(index) => ("control entry", index),
            Self::Log(index) => ("log", index),
            Self::Erasure(index) => ("erasure", index),
            Self::Receipt(index) => ("receipt", index),
            Self::Ack(index) => ("acknowledgement", index),
            Self::EpochAck(index) => ("epoch acknowledgement", index),
            Self::Certificate => return formatter.write_str("the certificate as a whole"),
        };
        write!(formatter, "{name} {index}")
    }
}

/// Why a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file doesn't begin as one.
    #[error("this is no erasure certificate")]
    NotACertificate,
    /// The file is larger than any certificate.
    #[error("the file is larger than a certificate may be")]
    TooLarge,
    /// A layout that this version doesn't know.
    #[error("the certificate has layout {0}, which this version doesn't know")]
    Version(u16),
    /// The bytes aren't those of a certificate.
    #[error("the certificate doesn't decode: {0}")]
    Decode(#[from] DecodeError),
    /// The control log doesn't hold together.
    #[error("control entry {index} doesn't follow: {source}")]
    Control {
        /// Which, from 0.
        index: usize,
        /// Why.
        source: ControlError,
    },
    /// It names no erasure.
    #[error("the certificate names no erasure")]
    Empty,
    /// A signature is wrong.
    #[error("{0}: the signature is wrong")]
    Signature(Part),
    /// A part is of a device that isn't in the control log, or of a log that isn't opened here.
    #[error("{0}: its author is unknown")]
    UnknownAuthor(Part),
    /// The author wasn't entitled: it was revoked before.
    #[error("{0}: its author was not entitled to it")]
    NotEntitled(Part),
    /// The part names a control entry or an epoch that the control log doesn't reach.
    #[error("{0}: it names an entry that the control log doesn't hold")]
    BeyondControl(Part),
    /// The part belongs to nothing in this certificate.
    #[error("{0}: it belongs to nothing in this certificate")]
    Stray(Part),
    /// The part says what another one has said already.
    #[error("{0}: it repeats another part")]
    Repeated(Part),
    /// The certificate says that it is complete, and something is missing.
    #[error("the certificate claims to be complete, and is not")]
    ClaimsTooMuch,
}

/// How far a device has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It acknowledged every erasure, and destroyed the keys of the epochs before.
    Confirmed,
    /// It was enrolled after the epochs that ended the keys: it never had any.
    NeverHeld,
    /// It belongs to the account, and something of it is missing.
    Missing,
    /// It was revoked, and had confirmed before.
    RevokedConfirmed,
    /// It was revoked before it had confirmed: nobody knows what it still has.
    RevokedUnconfirmed,
}

/// A device that belongs or belonged to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// The device.
    pub device: DeviceId,
    /// How far it has confirmed.
    pub standing: Standing,
    /// Why it was revoked, if by a `Revoke`.
    pub reason: Option<RevokeReason>,
    /// Erasures that it hasn't acknowledged, of those asked of it.
    pub unacknowledged: Vec<Hash>,
    /// Whether its acknowledgement of an epoch is missing: it may still have keys.
    pub keys_unconfirmed: bool,
    /// When it said that the last erasure was done, by its clock.
    pub at: Option<TimeMs>,
}

/// What a server said about one erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptReport {
    /// The erasure.
    pub erase: Hash,
    /// Envelopes whose bodies were deleted.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When, by the server's clock.
    pub at: TimeMs,
    /// By when its last backup with them is gone.
    pub backups_until: TimeMs,
}

/// A server that the account has lived on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// Its key.
    pub server: VerifyKey,
    /// Where it was, as the control log last said.
    pub endpoint: String,
    /// What it said.
    pub receipts: Vec<ReceiptReport>,
    /// Erasures for which a receipt is asked of it and missing.
    pub missing: Vec<Hash>,
}

/// What stays uncertain whatever a certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// This device was revoked before it had confirmed.
    RevokedDevice(DeviceId),
    /// This device was let in on a branch of the control log that lost, and never after: it may have held keys.
    LosingBranchDevice(DeviceId),
    /// This server was named on a branch of the control log that lost, and never after: it may hold ciphertext.
    LosingBranchServer(VerifyKey),
    /// The recovery phrase, together with ciphertext and wraps that somebody kept against the protocol.
    Phrase,
    /// Backups made by operating systems of devices.
    DeviceBackups,
    /// Backups of this server, until then by its clock.
    ServerBackups(VerifyKey, TimeMs),
    /// Receipts prove what a server said, not what it did.
    ServersWord,
    /// The certificate shows the account as of this entry of the control log, by its id and number. A device that was let
    /// in on another branch isn't in it: compare both with what another device shows.
    Branch(Hash, u64),
    /// Every time is its writer's claim.
    Times,
}

/// What a certificate that holds says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The account: compare it with what a device shows.
    pub account: AccountId,
    /// The erasure that the certificate is about.
    pub subject: Hash,
    /// The device that ordered it.
    pub author: DeviceId,
    /// The log it was ordered in, and its number there.
    pub place: (LogId, u64),
    /// When it was ordered, by the author's clock.
    pub ordered: TimeMs,
    /// Every erasure it covers, the subject first.
    pub erasures: Vec<Hash>,
    /// Documents and blobs that these name.
    pub handles: usize,
    /// Nothing is missing. Else the certificate is provisional.
    pub complete: bool,
    /// Erasures whose keys no epoch has ended yet.
    pub unended: Vec<Hash>,
    /// Every device of the account, in the order of their ids.
    pub devices: Vec<DeviceReport>,
    /// Every server of the account, in the order of their keys.
    pub servers: Vec<ServerReport>,
    /// What stays uncertain.
    pub residuals: Vec<Residual>,
    /// The device that put the certificate together.
    pub issuer: DeviceId,
    /// When, by its clock.
    pub issued: TimeMs,
    /// The number of the last control entry that the certificate holds.
    pub control_number: u64,
    /// Its id.
    pub control_head: Hash,
}

impl Report {
    /// The devices of one standing.
    pub fn devices_that_are(&self, standing: Standing) -> impl Iterator<Item = DeviceId> {
        let devices = self.devices.iter();
        devices
            .filter(move |device| device.standing == standing)
            .map(|device| device.device)
    }
}
