//! What a face shows of a device's sync.

use hearth_protocol::id::{DeviceId, Hash, LogId, VerifyKey};
use hearth_protocol::limits::ERASE_DEADLINE_MS;

use super::missing::StillMissing;
use super::session::Stage;
use super::{Device, Peer};

/// How far the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    Offline,
    /// The other side is being greeted and checked.
    Greeting,
    /// Erasures are brought to one before anything else passes.
    Gate,
    /// Everything passes; not all has arrived.
    Catching,
    /// All that the other side had is here, and news come as they happen.
    Live,
}

/// Why something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// For a connection.
    Connection,
    /// For a new epoch, as somebody was shut out.
    Epoch,
    /// For the key of the running epoch: another device has to grant it.
    EpochKey,
    /// For the user: restored or copied?
    Answer,
    /// For the server's confirmation.
    Confirmation,
    /// For space at the server.
    Room,
    /// For items of other logs, for an erasure or for a key: in these logs.
    Missing(LogId),
}

/// A device of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Which.
    pub device: DeviceId,
    /// It is this one.
    pub this: bool,
    /// It was shut out.
    pub revoked: bool,
    /// The time of its newest heartbeat, by its clock; ms since the epoch.
    pub last_seen_ms: Option<u64>,
    /// The time of its newest heartbeat that fits everything that is here.
    pub last_verified_ms: Option<u64>,
    /// The newest epoch that it has taken on.
    pub epoch: u64,
    /// Erasures that it hasn't confirmed.
    pub erasures_open: usize,
}

/// An erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureStatus {
    /// Which.
    pub erase: Hash,
    /// The one that it follows from.
    pub because: Option<Hash>,
    /// When it was ordered, by its author's clock; ms since the epoch.
    pub at_ms: u64,
    /// Gone from this device.
    pub done_here: bool,
    /// Who has confirmed.
    pub acknowledged: Vec<DeviceId>,
    /// Servers that have.
    pub receipts: Vec<VerifyKey>,
    /// What it waits for.
    pub missing: StillMissing,
    /// Nothing is missing.
    pub complete: bool,
    /// It isn't complete after 30 days.
    pub overdue: bool,
}

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The connection.
    pub link: Link,
    /// It is to the account's server, not to a device.
    pub at_server: bool,
    /// The running epoch.
    pub epoch: u64,
    /// Its key is here.
    pub epoch_key: bool,
    /// The control log's length.
    pub control_entries: u64,
    /// Documents with something that isn't sealed yet.
    pub unsealed: usize,
    /// Envelopes that the account's server hasn't confirmed.
    pub unconfirmed: u64,
    /// Statements that it hasn't taken.
    pub unsent: usize,
    /// Why something waits.
    pub waits: Vec<Waits>,
    /// The account's devices, those shut out too.
    pub devices: Vec<DeviceStatus>,
    /// Erasures, the oldest first.
    pub erasures: Vec<ErasureStatus>,
}

impl Device {
    /// How far the connection is.
    pub fn link(&self) -> Link {
        match &self.session {
            None => Link::Offline,
            Some(session) => match session.stage {
                Stage::Proving | Stage::Opening | Stage::Greeting | Stage::Control => Link::Greeting,
                Stage::Gate => Link::Gate,
                Stage::Open if session.complete => Link::Live,
                Stage::Open => Link::Catching,
            },
        }
    }

    /// Whose log it is; none: nobody's that is known here.
    pub fn log_device(&self, log: &LogId) -> Option<DeviceId> {
        Some(self.logs.get(log)?.open.statement.device)
    }

    /// Everything at a glance. Looks at every erasure.
    pub fn status(&self, now_ms: u64) -> Status {
        let mut documents: Vec<_> = self.outbox.values().map(|(handle, _)| *handle).collect();
        documents.sort_unstable();
        documents.dedup();
        let unconfirmed = self
            .state
            .log
            .and_then(|log| self.logs.get(&log))
            .map_or(0, |log| log.stored.seq.saturating_sub(log.safe));
        Status {
            link: self.link(),
            at_server: self
                .session
                .as_ref()
                .is_some_and(|session| session.peer == Peer::Server),
            epoch: self.account.epoch().map_or(0, |(_, epoch)| epoch.number),
            epoch_key: self.has_epoch_key(),
            control_entries: self.account.number() + 1,
            unsealed: documents.len(),
            unconfirmed,
            unsent: self.unsent.len(),
            waits: self.waits(!documents.is_empty(), unconfirmed > 0, now_ms),
            devices: self.device_statuses(),
            erasures: self.erasure_statuses(now_ms),
        }
    }

    fn has_epoch_key(&self) -> bool {
        self.account
            .epoch()
            .is_some_and(|(_, epoch)| self.keys.epoch(epoch.number).is_some())
    }

    /// Whether something waits for space at the server, or is about to be tried again.
    pub fn waits_for_room(&self, now_ms: u64) -> bool {
        let mut later = self.needed.iter().filter(|(_, at)| **at > now_ms);
        later.any(|(handle, _)| !self.turned_away.contains_key(handle))
    }

    fn waits(&self, unsealed: bool, unconfirmed: bool, now_ms: u64) -> Vec<Waits> {
        let mut waits = Vec::new();
        if self.waits_for_room(now_ms) {
            waits.push(Waits::Room);
        }
        if self.session.is_none() && (unsealed || unconfirmed || !self.unsent.is_empty()) {
            waits.push(Waits::Connection);
        } else if unconfirmed {
            waits.push(Waits::Confirmation);
        }
        if self.state.doubtful {
            waits.push(Waits::Answer);
        }
        if !self.has_epoch_key() {
            waits.push(Waits::EpochKey);
        }
        if self.state.rotate_at != 0 && unsealed {
            waits.push(Waits::Epoch);
        }
        let missing = self
            .logs
            .iter()
            .filter(|(_, log)| log.applied.seq < log.stored.seq);
        waits.extend(missing.map(|(log, _)| Waits::Missing(*log)));
        waits.extend(self.erased.gaps().map(Waits::Missing));
        waits
    }

    fn device_statuses(&self) -> Vec<DeviceStatus> {
        let status = |(device, member): (&DeviceId, &hearth_protocol::control::Member)| {
            let seen = self.peers.get(device);
            DeviceStatus {
                device: *device,
                this: *device == self.me,
                revoked: member.revoked.is_some(),
                last_seen_ms: seen.map(|seen| seen.at),
                last_verified_ms: seen.map(|seen| seen.verified).filter(|at| *at > 0),
                epoch: self.on_epoch.get(device).copied().unwrap_or(0),
                erasures_open: self
                    .erased
                    .all
                    .values()
                    .filter(|known| !known.complete && !known.acks.contains(device))
                    .count(),
            }
        };
        self.account.devices().iter().map(status).collect()
    }

    fn erasure_statuses(&self, now_ms: u64) -> Vec<ErasureStatus> {
        let mut all: Vec<ErasureStatus> = self
            .erased
            .all
            .iter()
            .filter(|(_, known)| known.counted)
            .map(|(id, known)| ErasureStatus {
                erase: *id,
                because: known.because,
                at_ms: known.at,
                done_here: known.done,
                acknowledged: known.acks.iter().copied().collect(),
                receipts: known.receipts.iter().copied().collect(),
                missing: self.missing(id).unwrap_or_default(),
                complete: known.complete,
                overdue: !known.complete && now_ms > known.at.saturating_add(ERASE_DEADLINE_MS),
            })
            .collect();
        all.sort_by_key(|status| (status.at_ms, status.erase));
        all
    }
}
