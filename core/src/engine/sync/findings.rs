//! What points to an attack, or to damage: kept until a person has looked at it.
//!
//! A notice comes in a step of the machine; it is written down in that step's transaction, beside the machine's journal,
//! one record for each thing of which it is said: when first, when last, how often. A suspicion that what arrives later
//! disproves is dropped; all else goes when the person says so, and with the account. No text of the person's is in it.

use hearth_protocol::id::{DeviceId, LogId};
use hearth_store::{Store, StoreError, SyncRecord};
use hearth_sync::device::{Device, Notice, Proof, Suspicion, Waits};
use serde::{Deserialize, Serialize};

use super::machine::OWN;
use crate::types::{FindingKind, SyncFinding};

/// Before the key of each.
const PREFIX: &[u8] = b"finding:";
/// Further ones aren't kept: a server can't fill the disk with them.
const MOST: usize = 256;

#[derive(Serialize, Deserialize)]
struct Kept {
    first_at_ms: i64,
    last_at_ms: i64,
    times: u64,
}

/// What is said, of whom.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Finding {
    what: u8,
    subject: [u8; 32],
}

const WITHHELD: u8 = 1;
const ERASURE: u8 = 2;
const LIVE_ROOT: u8 = 3;
const CONTROL: u8 = 4;
const CHECKPOINT: u8 = 5;
const TAMPERED: u8 = 6;
const DAMAGED: u8 = 7;
const FALSE_SERVER: u8 = 8;
const TWO_HASHES: u8 = 9;
const SPLIT_VIEW: u8 = 10;

impl Finding {
    fn of(notice: &Notice) -> Option<Self> {
        let log = |log: &LogId| {
            let mut subject = [0; 32];
            subject[..log.0.len()].copy_from_slice(&log.0);
            subject
        };
        let (what, subject) = match notice {
            Notice::Suspicion(Suspicion::Withheld { log: of }) => (WITHHELD, log(of)),
            Notice::Suspicion(Suspicion::Erasure { log: of }) => (ERASURE, log(of)),
            Notice::Suspicion(Suspicion::LiveRoot { device }) => (LIVE_ROOT, device.0),
            Notice::Suspicion(Suspicion::Control) => (CONTROL, [0; 32]),
            Notice::Suspicion(Suspicion::Checkpoint) => (CHECKPOINT, [0; 32]),
            Notice::Tampered => (TAMPERED, [0; 32]),
            Notice::Damaged { log: of, .. } => (DAMAGED, log(of)),
            Notice::FalseServer => (FALSE_SERVER, [0; 32]),
            Notice::Proof(Proof::TwoHashes { log: of, .. }) => (TWO_HASHES, log(of)),
            Notice::Proof(Proof::SplitView { device, .. }) => (SPLIT_VIEW, device.0),
            _ => return None,
        };
        Some(Self { what, subject })
    }

    fn key(&self) -> Vec<u8> {
        [PREFIX, &[self.what], &self.subject].concat()
    }

    fn from_key(key: &[u8]) -> Option<Self> {
        let (what, subject) = key.strip_prefix(PREFIX)?.split_first()?;
        Some(Self {
            what: *what,
            subject: subject.try_into().ok()?,
        })
    }

    fn log(&self) -> Option<LogId> {
        matches!(self.what, WITHHELD | ERASURE | DAMAGED | TWO_HASHES)
            .then(|| self.subject.first_chunk().copied().map(LogId))
            .flatten()
    }

    fn device(&self, device: &Device) -> Option<DeviceId> {
        match self.what {
            LIVE_ROOT | SPLIT_VIEW => Some(DeviceId(self.subject)),
            _ => device.log_device(&self.log()?),
        }
    }

    fn kind(&self) -> FindingKind {
        match self.what {
            TWO_HASHES | SPLIT_VIEW => FindingKind::Proof,
            TAMPERED | DAMAGED => FindingKind::Damage,
            _ => FindingKind::Suspicion,
        }
    }

    fn text(&self) -> &'static str {
        match self.what {
            WITHHELD => {
                "the server said that this device has everything, and something that another device names is missing"
            }
            ERASURE => "the server handed out a device's erasures and left one out",
            LIVE_ROOT => {
                "that device sees other content than this one: the server may hide something from one of them"
            }
            CONTROL => "the server shows an older state of the account than this device has seen",
            CHECKPOINT => {
                "what the server gave this device isn't what the other one vouched for at the pairing"
            }
            TAMPERED => {
                "what arrived isn't what was signed: the server, or the way to it, damages data; nothing of it was taken"
            }
            DAMAGED => {
                "a change of that device doesn't open and was left out: bring it online with a newer version, or shut it out"
            }
            FALSE_SERVER => {
                "whoever answered at the server's address couldn't prove to be the server; nothing was sent"
            }
            TWO_HASHES => {
                "one place of that device's signed history exists twice: it was copied, its keys are in other hands, or the \
                 server shows two versions. Is it yours alone? If not: hearth devices revoke"
            }
            _ => {
                "that device vouches for another history than this one has: one of you is shown a false one, or that device \
                 lies. Compare both devices; if it isn't yours alone: hearth devices revoke; if it is, leave this server"
            }
        }
    }
}

/// The record that notes a notice, if it is one to be kept.
pub(super) fn record(store: &Store, notice: &Notice, now_ms: i64) -> Result<Option<SyncRecord>, StoreError> {
    let Some(finding) = Finding::of(notice) else {
        return Ok(None);
    };
    let key = finding.key();
    let known = store
        .sync_record(OWN, &key)?
        .and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    if known.is_none() && store.sync_records(OWN, PREFIX, None, MOST)?.len() >= MOST {
        return Ok(None);
    }
    let kept = Kept {
        first_at_ms: known.as_ref().map_or(now_ms, |known| known.first_at_ms),
        last_at_ms: now_ms,
        times: known.map_or(0, |known| known.times).saturating_add(1),
    };
    Ok(Some(SyncRecord {
        space: OWN,
        key,
        value: serde_json::to_vec(&kept).ok(),
    }))
}

/// All that is kept, proofs first, then the newest.
pub(super) fn list(store: &Store, device: &Device) -> Result<Vec<SyncFinding>, StoreError> {
    let mut all = Vec::new();
    for record in store.sync_records(OWN, PREFIX, None, MOST)? {
        let kept = record
            .value
            .as_deref()
            .and_then(|bytes| serde_json::from_slice::<Kept>(bytes).ok());
        let (Some(finding), Some(kept)) = (Finding::from_key(&record.key), kept) else {
            continue;
        };
        all.push(SyncFinding {
            kind: finding.kind(),
            text: finding.text().to_owned(),
            device: finding.device(device).map(|device| device.to_string()),
            first_at_ms: kept.first_at_ms,
            last_at_ms: kept.last_at_ms,
            times: kept.times,
        });
    }
    all.sort_by_key(|finding| (finding.kind != FindingKind::Proof, -finding.last_at_ms));
    Ok(all)
}

/// Removes what the person has looked at: everything that was there at that time.
pub(super) fn dismissed(store: &Store) -> Result<Vec<SyncRecord>, StoreError> {
    let all = store.sync_records(OWN, PREFIX, None, MOST)?;
    Ok(all.into_iter().map(gone).collect())
}

/// Removes what is disproved: what was missing has come.
pub(super) fn disproved(store: &Store, device: &Device, now_ms: u64) -> Result<Vec<SyncRecord>, StoreError> {
    let all = store.sync_records(OWN, PREFIX, None, MOST)?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let waits = device.status(now_ms).waits;
    let over = |record: &SyncRecord| {
        let finding = Finding::from_key(&record.key);
        finding.is_some_and(|finding| {
            matches!(finding.what, WITHHELD | ERASURE)
                && finding
                    .log()
                    .is_some_and(|log| !waits.contains(&Waits::Missing(log)))
        })
    };
    Ok(all.into_iter().filter(over).map(gone).collect())
}

fn gone(record: SyncRecord) -> SyncRecord {
    SyncRecord {
        value: None,
        ..record
    }
}
