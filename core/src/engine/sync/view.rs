//! What faces see of the machine: plain words, no keys.

use hearth_protocol::control::ServerIdentity;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::DeviceId;
use hearth_sync::device::{Device, ErasureStatus, Link, Notice, Proof, Suspicion, Waits};
use serde_json::Value;

use crate::net::ServerAddress;
use crate::types::{DeviceInfo, ErasureInfo, SyncState, SyncStatus};

/// How a profile without an account stands.
pub(super) fn without_account() -> SyncStatus {
    SyncStatus {
        state: SyncState::NoAccount,
        account: None,
        server: None,
        server_address: None,
        epoch: 0,
        changed_here: 0,
        unsealed: 0,
        unconfirmed: 0,
        unsent: 0,
        waits: Vec::new(),
        problem: None,
        findings: Vec::new(),
        settled: false,
        reached: false,
        met: Vec::new(),
        devices: Vec::new(),
        erasures: Vec::new(),
    }
}

pub(super) fn state(link: Link, has_server: bool, ended: bool) -> SyncState {
    match (ended, has_server, link) {
        (true, ..) => SyncState::Revoked,
        (_, false, Link::Offline) => SyncState::NoServer,
        (.., Link::Offline) => SyncState::Offline,
        (.., Link::Greeting) => SyncState::Connecting,
        (.., Link::Gate | Link::Catching) => SyncState::CatchingUp,
        (.., Link::Live) => SyncState::Live,
    }
}

/// A server's address as a person gives it to another device.
pub(super) fn address(server: &ServerIdentity) -> Option<String> {
    let address = ServerAddress {
        endpoint: server.endpoint.parse().ok()?,
        key: server.key,
    };
    Some(address.to_string())
}

pub(super) fn status(device: &Device, now_ms: u64, ended: bool, problem: Option<String>) -> SyncStatus {
    let status = device.status(now_ms);
    let server = device.account().server();
    let endpoint = server.map(|server| server.endpoint.to_string());
    let server_address = server.and_then(address);
    let state = state(status.link, server.is_some(), ended);
    let reached = status.link == Link::Live && (status.at_server || server.is_none());
    let settled = reached
        && (status.unsealed, status.unconfirmed, status.unsent) == (0, 0, 0)
        && status.waits.is_empty();
    SyncStatus {
        state,
        account: Some(device.account_id().to_string()),
        server: endpoint,
        server_address,
        epoch: status.epoch,
        changed_here: 0,
        unsealed: status.unsealed as u64,
        unconfirmed: status.unconfirmed,
        unsent: status.unsent as u64,
        waits: status.waits.iter().map(waits).collect(),
        problem,
        findings: Vec::new(),
        settled,
        reached,
        met: Vec::new(),
        devices: status
            .devices
            .into_iter()
            .map(|device| DeviceInfo {
                device: device.device.to_string(),
                name: String::new(),
                this: device.this,
                revoked: device.revoked,
                last_seen_ms: device.last_seen_ms.map(signed),
                last_verified_ms: device.last_verified_ms.map(signed),
                epoch: device.epoch,
                open_erasures: device.erasures_open as u64,
            })
            .collect(),
        erasures: status.erasures.iter().map(erasure).collect(),
    }
}

fn erasure(status: &ErasureStatus) -> ErasureInfo {
    let names = |devices: &[DeviceId]| devices.iter().map(ToString::to_string).collect();
    ErasureInfo {
        erasure: status.erase.to_string(),
        because: status.because.map(|because| because.to_string()),
        at_ms: signed(status.at_ms),
        done_here: status.done_here,
        confirmed: names(&status.acknowledged),
        waits_for_devices: names(&status.missing.acks),
        waits_for_new_keys: status.missing.epoch,
        waits_for_keys_of: names(&status.missing.epoch_acks),
        receipts: status.receipts.len() as u64,
        waits_for_servers: status.missing.receipts.len() as u64,
        complete: status.complete,
        overdue: status.overdue,
    }
}

/// Gives the devices the names that they are called by: an object, from identifier to name. Any device may have written it,
/// so no more of a name is shown than a device may be called here.
pub(super) fn name_devices(devices: &mut [DeviceInfo], names: &Value) {
    for device in devices {
        let Some(name) = names.get(&device.device).and_then(Value::as_str) else {
            continue;
        };
        device.name.clear();
        for letter in name.chars().filter(|letter| !letter.is_control()) {
            if device.name.len() + letter.len_utf8() > super::MAX_NAME_BYTES {
                break;
            }
            device.name.push(letter);
        }
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Things that no document can hold.
pub(super) fn too_large(things: usize) -> String {
    format!(
        "{things} of what changed here is too large to be synced (a message above 8 MiB, a chat of very many messages) and stays \
         on this device: shorten it, or begin a new chat"
    )
}

/// Why something waits while there is no connection.
pub(super) const NO_CONNECTION: &str =
    "there is no connection to the server; it goes out as soon as there is one";

fn waits(waits: &Waits) -> String {
    match waits {
        Waits::Connection => NO_CONNECTION.into(),
        Waits::Epoch => "a device was shut out, and the keys are being changed".into(),
        Waits::EpochKey => "another device has to hand over the running key: bring one online".into(),
        Waits::Answer => {
            "this profile, or the server, looks restored from a backup or copied, so nothing is sent until you say which: \
             restored: `hearth sync doctor --restored`; a copy of a profile that is still in use: `hearth profile wipe`, \
             then let it in as a device of its own with `hearth devices pair`"
                .into()
        }
        Waits::Confirmation => "the server hasn't confirmed yet".into(),
        Waits::Room => refusal(ErrorCode::QuotaReached),
        Waits::Missing(_) => "something that belongs to it is still on its way from another device".into(),
    }
}

/// A refusal, in words that say what to do.
pub(super) fn refusal(code: ErrorCode) -> String {
    match code {
        ErrorCode::VersionTooOld => "this device speaks an old protocol: update Hearth here".into(),
        ErrorCode::VersionTooNew => "the server speaks an old protocol: its operator has to update it".into(),
        ErrorCode::UnknownAccount => "the server doesn't know this account; this device brings it there".into(),
        ErrorCode::UnknownDevice => {
            "the server doesn't know this device; it may have been put back to a backup from before the device was let in: \
             bring another device online, which tells it"
                .into()
        }
        ErrorCode::RevokedDevice => "this device was shut out of the account".into(),
        ErrorCode::StaleInstance => {
            "another copy of this device has connected, or it was restored: see `hearth sync doctor`".into()
        }
        ErrorCode::Superseded => "another connection of this device took over".into(),
        ErrorCode::NotInvited => {
            "this server opens accounts only by invitation, and was shown no code that is good (one is for one account, and ends after \
             some days): ask its operator for one, and give it with --invitation"
                .into()
        }
        ErrorCode::AccountExists => "the server has this account already".into(),
        ErrorCode::QuotaReached => {
            "the account's space at the server is used up: nothing is lost, and what has no room there is sent again when \
             there is some: erase something everywhere, or ask the server's operator for more"
                .into()
        }
        ErrorCode::Purged => {
            "the server's operator has removed this account from it: what is here stays here, and nothing is synced. If that \
             was a mistake, or was agreed on, bring it there again: `hearth sync doctor --restored`"
                .into()
        }
        ErrorCode::RateLimited => "the server is busy and asks to wait".into(),
        ErrorCode::Busy => "the server has ended, or is busy and asks to wait".into(),
        ErrorCode::StorageFailed => "the server can't store anything now: its operator has to look".into(),
        ErrorCode::PairingUnknown | ErrorCode::PairingExpired | ErrorCode::PairingUsed => {
            "the pairing code isn't valid any more: show a new one".into()
        }
        ErrorCode::Moved => "the account has moved to another server, and this device follows".into(),
        ErrorCode::WrongTransportKey => {
            "the server knows this device by another key: was the profile put together from two? Let it in anew with \
             `hearth devices pair`"
                .into()
        }
        ErrorCode::EraseNotAcknowledged => {
            "this device took too long to carry out an erasure; it goes on, and calls again".into()
        }
        ErrorCode::Malformed | ErrorCode::OutOfTurn | ErrorCode::BadSignature | ErrorCode::ControlInvalid => format!(
            "the server doesn't understand this device ({code:?}): update both; if it stays so, it is a defect to be reported"
        ),
        other => format!("the server refuses ({other:?}); it is tried again"),
    }
}

/// Clocks that differ much: how far this one is ahead.
pub(super) fn clock(ahead_ms: i64) -> String {
    let days = ahead_ms.unsigned_abs() / (24 * 60 * 60 * 1_000);
    let by = match days {
        0..=1 => "a day".to_owned(),
        2..=59 => format!("{days} days"),
        60..=729 => format!("{} months", (days + 15) / 30),
        _ => format!("{} years", (days + 182) / 365),
    };
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    format!(
        "this device's clock is {by} {side} the server's: nothing is lost, but times are shown wrong, and what is due by \
         time comes late or early; set the clock, or tell the server's operator if it is right"
    )
}

/// A notice, in words; only for those that a person has to see.
pub(super) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::FalseServer => {
            "whoever answered at the server's address couldn't prove to be the server; nothing was sent"
                .into()
        }
        Notice::QuotaReached => refusal(ErrorCode::QuotaReached),
        Notice::ClockSkew(by) => clock(*by),
        Notice::RestoredOrCopied => waits(&Waits::Answer),
        Notice::Dropped => {
            "a change of the account was overtaken by another device's: look, and order it again".into()
        }
        Notice::Moved(_) => "the account has moved to another server".into(),
        Notice::PhraseChanged => {
            "the account has a new recovery phrase: the old one gets nothing back any more".into()
        }
        Notice::BranchLost => {
            "the account's history had come apart, and another device's part of it holds: whom this device had shut out stays \
             out, and what else it had changed is done again"
                .into()
        }
        Notice::WrittenAgain(_) => "the server didn't keep something, and it is sent again".into(),
        Notice::Damaged { .. } => "another device's change is damaged and was left out".into(),
        Notice::Tampered => {
            "what arrived isn't what was signed: the server or the way to it damages data".into()
        }
        Notice::Suspicion(Suspicion::Withheld { .. }) => "the server seems to withhold changes".into(),
        Notice::Suspicion(Suspicion::Erasure { .. }) => "the server seems to withhold an erasure".into(),
        Notice::Suspicion(Suspicion::LiveRoot { .. }) => {
            "another device sees other content than this one: the server may hide something".into()
        }
        Notice::Suspicion(Suspicion::Control | Suspicion::Checkpoint) => {
            "the server shows an older state of the account than another device has seen".into()
        }
        Notice::Proof(Proof::TwoHashes { .. } | Proof::SplitView { .. }) => {
            "proof that somebody lies, a device, a copy of one or the server: hearth sync doctor".into()
        }
        // No person has to see these.
        Notice::UpToDate
        | Notice::Refused { .. }
        | Notice::Revoked
        | Notice::Enrolled { .. }
        | Notice::ShutOut(_)
        | Notice::Epoch(_)
        | Notice::Erasing(_)
        | Notice::Erased(_)
        | Notice::JoinComplete => String::new(),
    }
}
