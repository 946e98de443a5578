//! Recovery: a device with nothing but the words and a server lets itself in.
//!
//! It learns the account by the phrase's public key, reads the control log, opens the running epoch and asks the user
//! which devices stay. Nothing is believed before the control log has said whose key the server's is and the welcome's
//! proof was right. Whether the log that it was shown is the newest can't be verified: [`Found::head_at_ms`] is shown.

use hearth_protocol::codec::{Set, Wire};
use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlStatement, EpochWraps, Recover, device_proof_id, wraps_hash,
};
use hearth_protocol::envelope::Nothing;
use hearth_protocol::erasure::EraseSet;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::verify;
use hearth_protocol::id::{AccountId, DeviceId, Hash, LogId, TimeMs, VerifyKey};
use hearth_protocol::limits::{MAX_CONTROL_ENTRIES, MAX_STATEMENTS};
use hearth_protocol::message::{
    Claim, Fetch, PushControl, Range, Reply, ReplyFrame, Request, RequestFrame, Welcome, claim_id, session_id,
};
use hearth_protocol::vector::VersionVector;
use hearth_protocol::{PROTOCOL_VERSION, SUPPORTED_VERSIONS};
use std::collections::{BTreeMap, BTreeSet};

use super::turn::{self, sign_entry};
use super::{Device, DeviceError, Keychain, Output};
use crate::keys::EpochKey;
use crate::recovery::Phrase;
use crate::secret::Random;

/// A control log of more entries is refused: no certificate could carry it either.
const MAX_ENTRIES: usize = 65_536;

/// More erasures than a server keeps of an account are no account's.
const MAX_ERASURES: usize = 1 << 20;

/// What was found by the phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The account.
    pub account: AccountId,
    /// When the newest entry was made, by its author's clock: older than the user remembers means that the server hides
    /// something.
    pub head_at_ms: u64,
    /// The devices that belong to it.
    pub devices: Vec<DeviceId>,
}

/// What a recovery puts out.
#[derive(Debug)]
pub enum Step {
    /// A frame for the control stream.
    Send(Vec<u8>),
    /// Ask the user, then [`Recovery::keep`].
    Found(Found),
    /// The device is let in: carry its outputs out, end the connection, connect as it.
    Done {
        /// The device.
        device: Box<Device>,
        /// What it wants done first.
        outputs: Vec<Output>,
    },
    /// The phrase fits no account here, or the server refuses for another reason.
    Refused(ErrorCode),
    /// Whoever answered isn't the account's server, or shows what doesn't hold.
    FalseServer,
}

/// A recovery under way, on one connection.
#[derive(Debug)]
pub struct Recovery {
    phrase: Phrase,
    keys: Option<Keychain>,
    exporter: [u8; 32],
    next: u32,
    welcome: Option<Box<Welcome>>,
    history: Vec<ControlEntry>,
    account: Option<Account>,
    epoch: Option<EpochKey>,
    wraps: Option<EpochWraps>,
    erasures: BTreeMap<LogId, BTreeSet<u64>>,
    erasures_read: bool,
    vector: Option<VersionVector>,
    entry: Option<ControlEntry>,
}

impl Recovery {
    /// Begins on a connection; `keys` are fresh. The first frame.
    pub fn new(phrase: Phrase, keys: Keychain, exporter: [u8; 32]) -> Result<(Self, Vec<Step>), DeviceError> {
        let mut recovery = Self {
            phrase,
            keys: Some(keys),
            exporter,
            next: 1,
            welcome: None,
            history: Vec::new(),
            account: None,
            epoch: None,
            wraps: None,
            erasures: BTreeMap::new(),
            erasures_read: false,
            vector: None,
            entry: None,
        };
        let signing = recovery.phrase.signing()?;
        let phrase = signing.public();
        let claim = Claim {
            versions: Set::new(SUPPORTED_VERSIONS.iter().copied())?,
            phrase,
            proof: signing.sign(&claim_id(&phrase, &exporter)),
        };
        let first = recovery.ask(Request::Claim(claim));
        Ok((recovery, vec![first]))
    }

    fn ask(&mut self, request: Request) -> Step {
        let id = self.next;
        self.next += 1;
        Step::Send(RequestFrame { id, request }.encode())
    }

    fn ask_control(&mut self) -> Step {
        self.ask(Request::Fetch(Fetch::Control(Range {
            from: self.history.len() as u64,
            count: MAX_CONTROL_ENTRIES as u64,
        })))
    }

    fn ask_erasures(&mut self, from: u64) -> Step {
        self.ask(Request::Fetch(Fetch::Erasures(Range {
            from,
            count: MAX_STATEMENTS as u64,
        })))
    }

    /// Takes a frame.
    pub fn frame(
        &mut self,
        bytes: &[u8],
        now_ms: u64,
        random: &mut dyn Random,
    ) -> Result<Vec<Step>, DeviceError> {
        let Ok(frame) = ReplyFrame::decode(bytes) else {
            return Ok(vec![Step::Refused(ErrorCode::Malformed)]);
        };
        match frame.reply {
            Reply::Refused(refusal) if refusal.code == ErrorCode::CutStale => {
                // Somebody has written since: with the newer vector it is made again.
                self.vector = None;
                Ok(vec![self.ask(Request::Vector(VersionVector::default()))])
            }
            Reply::Refused(refusal) => Ok(vec![Step::Refused(refusal.code)]),
            Reply::Welcome(welcome) if self.welcome.is_none() => {
                if welcome.version != PROTOCOL_VERSION || welcome.ahead.is_none() {
                    return Ok(vec![Step::FalseServer]);
                }
                self.welcome = Some(welcome);
                Ok(vec![self.ask_control()])
            }
            Reply::Control(part) if self.account.is_none() => self.control(part.entries.to_vec(), part.more),
            Reply::Wraps(wraps) => Ok(self.wraps(*wraps)),
            Reply::Erasures(part) if !self.erasures_read => {
                for erase in part.erasures.iter() {
                    let numbers = self.erasures.entry(erase.statement.log).or_default();
                    numbers.insert(erase.statement.number);
                }
                let read: usize = self.erasures.values().map(BTreeSet::len).sum();
                if part.more && part.erasures.is_empty() || read > MAX_ERASURES {
                    return Ok(vec![Step::FalseServer]);
                }
                if part.more {
                    return Ok(vec![self.ask_erasures(part.cursor.saturating_add(1))]);
                }
                self.erasures_read = true;
                Ok(vec![self.ask(Request::Vector(VersionVector::default()))])
            }
            Reply::Complete(complete) => {
                self.vector = Some(complete.vector);
                match &self.entry {
                    // A second try: the user has answered already.
                    Some(entry) => {
                        let keep = match &entry.statement.action {
                            Action::Recover(recover) => recover.keep.to_vec(),
                            _ => Vec::new(),
                        };
                        self.keep(&keep, now_ms)
                    }
                    None => Ok(self.found().into_iter().collect()),
                }
            }
            Reply::Accepted(_) if self.entry.is_some() && self.vector.is_some() => self.done(now_ms, random),
            _ => Ok(Vec::new()),
        }
    }

    fn control(&mut self, entries: Vec<ControlEntry>, more: bool) -> Result<Vec<Step>, DeviceError> {
        if entries.is_empty() && more || self.history.len() + entries.len() > MAX_ENTRIES {
            return Ok(vec![Step::FalseServer]);
        }
        self.history.extend(entries);
        if more {
            return Ok(vec![self.ask_control()]);
        }
        let signing = self.phrase.public()?.signing;
        let welcome = self.welcome.take();
        let account = Account::replay(&self.history).ok().filter(|account| {
            let leads = welcome
                .as_ref()
                .and_then(|welcome| welcome.ahead.as_ref())
                .is_some_and(|ahead| ahead.control == account.head());
            account.recovery().signing == signing && leads
        });
        let proved = account.as_ref().zip(welcome).is_some_and(|(account, welcome)| {
            let id = session_id(&AccountId(signing.0), &DeviceId([0; 32]), &self.exporter);
            let key: Option<VerifyKey> = account.server().map(|server| server.key);
            key.is_some_and(|key| verify(&key, &id, &welcome.proof).is_ok())
        });
        if !proved {
            return Ok(vec![Step::FalseServer]);
        }
        self.account = account;
        Ok(vec![self.ask(Request::Fetch(Fetch::Wraps(Nothing {})))])
    }

    fn wraps(&mut self, wraps: EpochWraps) -> Vec<Step> {
        let Some((account, epoch)) = self
            .account
            .as_ref()
            .and_then(|account| Some((account.id(), account.epoch()?.1)))
        else {
            return vec![Step::FalseServer];
        };
        let opened = EpochKey::unwrap(&account, epoch, None, &self.phrase.agreement(), &wraps.recovery);
        match opened {
            Ok(key) if wraps_hash(&account, &wraps) == epoch.wraps => {
                self.epoch = Some(key);
                self.wraps = Some(wraps);
                vec![self.ask_erasures(1)]
            }
            _ => vec![Step::FalseServer],
        }
    }

    fn found(&self) -> Option<Step> {
        let account = self.account.as_ref()?;
        Some(Step::Found(Found {
            account: account.id(),
            head_at_ms: self.history.last().map_or(0, |entry| entry.statement.at.ms),
            devices: account.members().map(|(device, _)| *device).collect(),
        }))
    }

    /// The user has said which devices stay; all others are shut out.
    pub fn keep(&mut self, keep: &[DeviceId], now_ms: u64) -> Result<Vec<Step>, DeviceError> {
        let (Some(account), Some(keys), Some(vector)) = (&self.account, &self.keys, &self.vector) else {
            return Ok(Vec::new());
        };
        let id = account.id();
        let public = keys.public()?;
        // Without gaps: what is beyond one may be withheld, and is issued again by whoever has it.
        let erasures = self.erasures.iter().map(|(log, numbers)| {
            let run = (1..=numbers.len() as u64).take_while(|number| numbers.contains(number));
            (*log, run.count() as u64)
        });
        let recover = Recover {
            device: public,
            proof: keys.signing()?.sign(&device_proof_id(&id, &public, &Hash::ZERO)),
            keep: Set::new(keep.iter().copied())?,
            cut: vector.clone(),
            erasures: EraseSet::new(erasures.filter(|(_, number)| *number > 0))?,
        };
        let statement = ControlStatement {
            number: account.number() + 1,
            previous: account.head(),
            author: public.device_id(),
            at: TimeMs { ms: now_ms },
            action: Action::Recover(Box::new(recover)),
        };
        let entry = sign_entry(&self.phrase.signing()?, &id, statement);
        self.entry = Some(entry.clone());
        Ok(vec![self.ask(Request::Control(Box::new(PushControl {
            entry,
            wraps: None,
            registry: None,
        })))])
    }

    fn done(&mut self, now_ms: u64, random: &mut dyn Random) -> Result<Vec<Step>, DeviceError> {
        let (Some(entry), Some(mut keys), Some(epoch)) =
            (self.entry.take(), self.keys.take(), self.epoch.take())
        else {
            return Ok(Vec::new());
        };
        let account = self.account.as_ref().map_or(AccountId([0; 32]), Account::id);
        keys.remember_discovery(epoch.discovery_key(&account));
        keys.epochs.push(epoch);
        let mut history = std::mem::take(&mut self.history);
        history.push(entry);
        let (device, outputs) = turn::recovered(history, self.wraps.as_ref(), keys, now_ms, random)?;
        Ok(vec![Step::Done {
            device: Box::new(device),
            outputs,
        }])
    }
}
