//! Several devices of one account: making it, letting devices in, keeping them in sync, erasing on all of them.

use std::path::PathBuf;

use hearth_core::types::{
    AccountCreateParams, AccountCreated, DeviceInfo, EraseEverywhereEvent, EraseParams, ErasedEverywhere,
    ErasureInfo, FindParams, FoundAccount, MoveParams, PairAnswer, PairEvent, PairParams, RecoverParams,
    Recovered, SyncStatus,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use zeroize::Zeroizing;

use super::{Empty, NoEvent, method};

method! {
    /// Makes an account with this profile as its first device. The output has the recovery phrase, once.
    CreateAccount, "account.create", AccountCreateParams, NoEvent, AccountCreated
}
method! {
    /// Looks what a recovery phrase opens at a server; nothing changes by it.
    FindAccount, "account.find", FindParams, NoEvent, FoundAccount
}
method! {
    /// Gets an account back with its recovery phrase: this profile becomes a device of it.
    RecoverAccount, "account.recover", RecoverParams, NoEvent, Recovered
}
method! {
    /// Tries a recovery phrase; nothing is sent and nothing kept of it.
    Drill, "account.drill", DrillParams, NoEvent, Drilled
}
method! {
    /// Moves the account to another server; the other devices follow.
    MoveAccount, "account.move", MoveParams, NoEvent, SyncStatus
}
method! {
    /// A fresh recovery phrase, to be written down; nothing changes by it.
    ProposePhrase, "account.propose_phrase", Empty, NoEvent, ProposedPhrase
}
method! {
    /// Puts a new recovery phrase in the place of the old one.
    ChangePhrase, "account.change_phrase", ChangePhraseParams, NoEvent, SyncStatus
}
method! {
    /// How sync stands: the connection, what waits, devices, erasures.
    GetSyncStatus, "sync.status", Empty, NoEvent, SyncStatus
}
method! {
    /// Calls the server and waits until both have everything.
    SyncOnce, "sync.once", SyncOnceParams, NoEvent, SyncStatus
}
method! {
    /// Says that this profile, or the server, was restored from a backup: it goes on in a new log.
    SyncRestored, "sync.restored", Empty, NoEvent, SyncStatus
}
method! {
    /// Drops what was found, once a person has looked at it.
    DismissFindings, "sync.dismiss", Empty, NoEvent, SyncStatus
}
method! {
    /// The account's devices, those shut out too.
    ListDevices, "devices.list", Empty, NoEvent, DevicesListed
}
method! {
    /// Lets this profile into an account: shows a code, which a device of the account types or scans.
    Pair, "devices.pair", PairParams, PairEvent, SyncStatus
}
method! {
    /// Lets the device in that shows this code.
    Approve, "devices.approve", ApproveParams, PairEvent, DeviceInfo
}
method! {
    /// A person's answer to the pairing that goes on.
    AnswerPairing, "devices.answer", PairAnswer, NoEvent, Empty
}
method! {
    /// Shuts a device out, and changes the keys.
    RevokeDevice, "devices.revoke", RevokeDeviceParams, NoEvent, SyncStatus
}
method! {
    /// Calls a device something.
    RenameDevice, "devices.rename", RenameDeviceParams, NoEvent, SyncStatus
}
method! {
    /// Changes the account's keys now, which ends those of what was erased.
    RotateKeys, "devices.rotate", Empty, NoEvent, SyncStatus
}
method! {
    /// Erases here and on every device. Much waits for half a minute first: cancel the call to take it back.
    EraseEverywhere, "erasures.order", EraseEverywhereParams, EraseEverywhereEvent, ErasedEverywhere
}
method! {
    /// What was erased everywhere, and who has confirmed; the oldest first.
    ListErasures, "erasures.list", Empty, NoEvent, ErasuresListed
}
method! {
    /// Writes an erasure's certificate, complete or provisional.
    WriteCertificate, "erasures.certificate", CertificateParams, NoEvent, CertificateWritten
}

/// Parameters of [`Drill`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct DrillParams {
    /// The 24 words.
    #[ts(as = "String")]
    pub phrase: Zeroizing<String>,
}

impl std::fmt::Debug for DrillParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DrillParams(…)")
    }
}

/// Output of [`ProposePhrase`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ProposedPhrase {
    /// The 24 words.
    #[ts(as = "String")]
    pub phrase: Zeroizing<String>,
}

impl std::fmt::Debug for ProposedPhrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProposedPhrase(…)")
    }
}

/// Parameters of [`ChangePhrase`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ChangePhraseParams {
    /// The 24 words that are in force.
    #[ts(as = "String")]
    pub old: Zeroizing<String>,
    /// Those that take their place.
    #[ts(as = "String")]
    pub new: Zeroizing<String>,
}

impl std::fmt::Debug for ChangePhraseParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangePhraseParams(…)")
    }
}

/// Output of [`Drill`]: the phrase works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Drilled {
    /// The epoch that it opens.
    pub epoch: u64,
}

/// Parameters of [`SyncOnce`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct SyncOnceParams {
    /// Longest wait; 30 seconds when absent, at most an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_seconds: Option<u32>,
}

/// Output of [`ListDevices`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DevicesListed {
    /// The devices.
    pub devices: Vec<DeviceInfo>,
}

/// Parameters of [`Approve`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ApproveParams {
    /// What the other device shows: the typed code, or the text of the QR code.
    pub code: String,
}

impl std::fmt::Debug for ApproveParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApproveParams(…)")
    }
}

/// Parameters of [`RevokeDevice`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct RevokeDeviceParams {
    /// Its identifier, the beginning of it, or its name.
    pub device: String,
    /// It was lost or stolen, not put away.
    #[serde(default)]
    #[ts(optional, as = "Option<bool>")]
    pub lost: bool,
}

/// Parameters of [`RenameDevice`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct RenameDeviceParams {
    /// Its identifier, the beginning of it, or its name.
    pub device: String,
    /// Its new name.
    pub name: String,
}

/// Parameters of [`EraseEverywhere`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct EraseEverywhereParams {
    /// What; `confirm` must be true.
    pub erase: EraseParams,
}

/// Output of [`ListErasures`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ErasuresListed {
    /// The erasures.
    pub erasures: Vec<ErasureInfo>,
}

/// Parameters of [`WriteCertificate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct CertificateParams {
    /// The erasure's identifier.
    pub erasure: String,
    /// The file to write; an absolute path where nothing is yet.
    pub path: PathBuf,
}

/// Output of [`WriteCertificate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CertificateWritten {
    /// Size of the file.
    pub bytes: u64,
    /// Nothing is missing; otherwise it is provisional.
    pub complete: bool,
}
