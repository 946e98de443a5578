//! Devices of one account, how far they are in sync, and what was erased on all of them.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// How far the connection to the account's server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// This profile belongs to no account.
    NoAccount,
    /// The account has no server.
    NoServer,
    /// There is no connection; everything works, and goes out later.
    Offline,
    /// The server is called, or checked.
    Connecting,
    /// Not everything has arrived.
    CatchingUp,
    /// Everything that the server had is here; news come as they happen.
    Live,
    /// The server isn't reached, or there is none: devices of the account on the local network are, and exchange what they have.
    LocalNetwork,
    /// This device was shut out, or its account ended here.
    Revoked,
}

/// A device of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct DeviceInfo {
    /// Its identifier: 64 hexadecimal digits.
    pub device: String,
    /// What its owner calls it; empty when it hasn't said yet.
    pub name: String,
    /// It is this one.
    pub this: bool,
    /// It was shut out.
    pub revoked: bool,
    /// When it last vouched for its state, by its own clock; milliseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_ms: Option<i64>,
    /// The last time that its state was the same as here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified_ms: Option<i64>,
    /// The newest epoch whose key it has confirmed.
    pub epoch: u64,
    /// Erasures that it hasn't confirmed.
    pub open_erasures: u64,
}

/// How sync stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct SyncStatus {
    /// The connection.
    pub state: SyncState,
    /// The account: 64 hexadecimal digits, to be compared with what a certificate says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where its server is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The server's address as another device takes it, its key included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_address: Option<String>,
    /// The number of the running epoch.
    pub epoch: u64,
    /// Things that changed here and aren't sealed yet.
    pub changed_here: u64,
    /// Documents that wait to be sealed.
    pub unsealed: u64,
    /// Envelopes that the server hasn't confirmed.
    pub unconfirmed: u64,
    /// Statements that the server hasn't taken.
    pub unsent: u64,
    /// Why something waits, one sentence each.
    pub waits: Vec<String>,
    /// What went wrong last, as long as it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What points to an attack or to damage, until it is dismissed (`sync.dismiss`) or disproved; proofs first.
    pub findings: Vec<SyncFinding>,
    /// Everything of this device is at the server, and everything of the server is here.
    pub settled: bool,
    /// What changes the account (letting devices in, shutting them out, new keys) can be done now: at its server, or on the
    /// local network for an account that has none.
    pub reached: bool,
    /// The devices that this one meets on the local network now: identifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub met: Vec<String>,
    /// The account's devices, those shut out too.
    pub devices: Vec<DeviceInfo>,
    /// Erasures, the oldest first.
    pub erasures: Vec<ErasureInfo>,
}

/// How sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Signed evidence that somebody lies.
    Proof,
    /// Something points to a server that withholds or lies; there may be another reason.
    Suspicion,
    /// Something arrived damaged and was left out.
    Damage,
}

/// Something a person should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct SyncFinding {
    /// How sure it is.
    pub kind: FindingKind,
    /// What, and what to do.
    pub text: String,
    /// The device that it is about: 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When it was first seen; milliseconds since 1970-01-01 UTC.
    pub first_at_ms: i64,
    /// When it was seen last.
    pub last_at_ms: i64,
    /// How often.
    pub times: u64,
}

/// An erasure on every device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ErasureInfo {
    /// Its identifier: 64 hexadecimal digits.
    pub erasure: String,
    /// The erasure that it follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// When it was ordered, by its author's clock; milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// Gone from this device.
    pub done_here: bool,
    /// Devices that have confirmed.
    pub confirmed: Vec<String>,
    /// Devices that haven't.
    pub waits_for_devices: Vec<String>,
    /// The keys haven't been changed since: they are within a day, or at once with `devices.rotate`.
    pub waits_for_new_keys: bool,
    /// Devices that may still have the old keys.
    pub waits_for_keys_of: Vec<String>,
    /// Receipts of servers.
    pub receipts: u64,
    /// Servers without one.
    pub waits_for_servers: u64,
    /// Nothing is missing.
    pub complete: bool,
    /// It isn't complete after 30 days.
    pub overdue: bool,
}

/// Parameters of creating an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct AccountCreateParams {
    /// The server's address, as its operator shows it: `hearth-sync://host:port/#KEY`; none: an account without a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The operator's invitation code, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
    /// What this device is called; the machine's name otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An account that has just been made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AccountCreated {
    /// The recovery phrase: 24 words, told this once and kept nowhere.
    pub phrase: String,
    /// How it stands.
    pub status: SyncStatus,
}

impl std::fmt::Debug for AccountCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountCreated")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Parameters of moving the account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct MoveParams {
    /// The new server's address: `hearth-sync://host:port/#KEY`.
    pub server: String,
    /// Its operator's invitation code, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
}

impl std::fmt::Debug for MoveParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MoveParams")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Parameters of getting an account back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct RecoverParams {
    /// The account's server: `hearth-sync://host:port/#KEY`.
    pub server: String,
    /// The 24 words.
    pub phrase: String,
    /// Whether the other devices stay. Those that don't are shut out: for when they were lost.
    pub keep_devices: bool,
    /// What this device is called; the machine's name otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl std::fmt::Debug for RecoverParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecoverParams")
            .field("server", &self.server)
            .field("keep_devices", &self.keep_devices)
            .finish_non_exhaustive()
    }
}

/// Parameters of looking what a phrase opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct FindParams {
    /// The account's server: `hearth-sync://host:port/#KEY`.
    pub server: String,
    /// The 24 words.
    pub phrase: String,
}

impl std::fmt::Debug for FindParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FindParams")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What a phrase opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FoundAccount {
    /// The account: 64 hexadecimal digits.
    pub account: String,
    /// When its newest entry was made, by its author's clock; milliseconds since 1970-01-01 UTC. Whether there is a newer one
    /// that the server hides can't be verified: a time older than the person remembers is a warning.
    pub head_at_ms: i64,
    /// Its devices that aren't shut out.
    pub devices: Vec<String>,
}

/// An account that was got back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Recovered {
    /// How it stands.
    pub status: SyncStatus,
    /// When its newest entry was made, by its author's clock; milliseconds since 1970-01-01 UTC. Whether there is a newer one
    /// that the server hides can't be verified: a time older than the person remembers is a warning.
    pub head_at_ms: i64,
}

/// Parameters of a new device's side of a pairing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct PairParams {
    /// The account's server, as `account.status` of the other device shows it: `hearth-sync://host:port/#KEY`; none: the
    /// account has none, and the other device is on the same local network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What this device is called; the machine's name otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a running pairing tells.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum PairEvent {
    /// Show this: the other device scans or types it within ten minutes.
    Code {
        /// To be typed.
        typed: String,
        /// To be scanned, as text.
        scan: String,
        /// The same as a QR code of half blocks, for a terminal that is light on dark.
        qr: String,
        /// The same as an SVG image, one unit a module.
        svg: String,
        /// When it ends; milliseconds since 1970-01-01 UTC.
        expires_at_ms: i64,
    },
    /// Show these six digits and ask whether the other device shows the same; then call `devices.answer`.
    Compare {
        /// The digits.
        digits: String,
    },
    /// A try failed: a wrong code. The enrolled device types it again and calls `devices.answer`.
    TryFailed {
        /// Tries left.
        left: u32,
    },
    /// The person said yes; the other side hasn't yet.
    Waiting,
}

impl std::fmt::Debug for PairEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Code { .. } => "Code",
            Self::Compare { .. } => "Compare",
            Self::TryFailed { .. } => "TryFailed",
            Self::Waiting => "Waiting",
        })
    }
}

/// A person's answer to a running pairing.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct PairAnswer {
    /// Whether both devices show the same digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<bool>,
    /// Which digits are meant: an answer to others is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<String>,
    /// The code, typed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl std::fmt::Debug for PairAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairAnswer")
            .field("same", &self.same)
            .finish_non_exhaustive()
    }
}

/// What erasing everywhere tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum EraseEverywhereEvent {
    /// So much would go that it waits first: cancel the call to take it back. Nothing is erased yet.
    Undo {
        /// How long; seconds.
        seconds: u32,
    },
    /// Erased here; the order is on its way.
    Ordered,
}

/// What erasing everywhere did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ErasedEverywhere {
    /// What was erased here.
    pub receipt: super::EraseReceipt,
    /// The orders to the other devices.
    pub erasures: Vec<ErasureInfo>,
}
