//! Every control log that comes up, as a tree of real entries: signed, encoded, and judged by [`Account`]. A state names a
//! log by the number of its last entry here, so an entry is made and checked once, whatever the number of states it is in.

use std::collections::HashMap;

use hearth_protocol::certificate::{Parts, assemble};
use hearth_protocol::codec::{List, Map, Wire};
use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlError, ControlStatement, Enrol, Epoch, EpochWraps, Genesis,
    RecoveryKeys, Revoke, RevokeReason, ServerIdentity, Unite, Wrap, device_proof_id, genesis_approval_id,
    wins, wraps_hash,
};
use hearth_protocol::erasure::{Erase, EraseAck, Receipt, ServerReceipt};
use hearth_protocol::hash::{Signed, Statement, sha256};
use hearth_protocol::id::{
    AccountId, AgreementKey, DeviceId, DeviceKeys, Handle, Hash, Link, LogId, Signature, TimeMs,
};
use hearth_protocol::statement::{EpochAck, LogOpen};
use hearth_protocol::vector::Head;
use hearth_sync::keys::SigningKey;
use hearth_sync::secret::Secret;

pub const DEVICES: usize = 3;
/// Erasures that a device orders at most.
pub const ORDERS: usize = 3;

/// The last entry of a control log.
pub type LogTip = u16;
/// No log, no epoch, no erasure.
pub const NONE: u16 = u16::MAX;

/// Per device, how many items or erasures.
pub type Counts = [u8; DEVICES];

/// An entry, without what follows from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Genesis,
    Enrol {
        by: u8,
        device: u8,
    },
    Revoke {
        by: u8,
        target: u8,
        cut: Counts,
        /// The target's erasures that stay.
        erasures: u8,
    },
    Epoch {
        by: u8,
        /// Device → 1 + the number of the agreement key; 0: none.
        wraps: Counts,
        /// The table under it: everything up to here that brought a key in.
        folded: Counts,
        /// The keys in that table.
        keys: u16,
        ends: [u16; 3],
    },
    Unite {
        by: u8,
        losing: LogTip,
    },
}

/// An erasure of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Order {
    pub by: u8,
    /// From 1.
    pub number: u8,
    pub because: u16,
    /// The newest entry that its author knew.
    pub control: LogTip,
}

struct Entry {
    before: LogTip,
    kind: Kind,
    signed: ControlEntry,
    account: Account,
    epoch: LogTip,
}

/// What a certificate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Evidence {
    pub issuer: u8,
    pub control: LogTip,
    pub subject: u16,
    /// Every erasure known.
    pub erasures: [u16; 6],
    /// Of those, which the server gave a receipt for.
    pub receipts: u8,
    /// By device: of those, which it has acknowledged.
    pub acks: Counts,
    /// By device: the newest epoch it has acknowledged.
    pub epochs: [LogTip; DEVICES],
}

pub struct Ledger {
    keys: Vec<SigningKey>,
    pub account: AccountId,
    entries: Vec<Entry>,
    made: HashMap<(LogTip, Kind), Result<LogTip, ControlError>>,
    orders: Vec<(Order, Signed<Erase>)>,
    ordered: HashMap<Order, u16>,
    won: HashMap<(LogTip, LogTip), bool>,
    certified: HashMap<Evidence, Result<bool, String>>,
}

const AT: TimeMs = TimeMs {
    ms: 1_800_000_000_000,
};
const SERVER: usize = DEVICES;
const PHRASE: usize = DEVICES + 1;

fn agreement(device: usize, number: u8) -> AgreementKey {
    let mut key = [9; 32];
    (key[0], key[1]) = (device as u8, number);
    AgreementKey(key)
}

impl Ledger {
    pub fn new() -> Self {
        let keys: Vec<SigningKey> = (0..DEVICES + 2)
            .map(|who| SigningKey::from_seed(&Secret::new([who as u8 + 1; 32])).unwrap())
            .collect();
        let mut ledger = Self {
            keys,
            account: AccountId([0; 32]),
            entries: Vec::new(),
            made: HashMap::new(),
            orders: Vec::new(),
            ordered: HashMap::new(),
            won: HashMap::new(),
            certified: HashMap::new(),
        };
        let genesis = Genesis {
            nonce: [7; 16],
            device: ledger.device_keys(0),
            recovery: RecoveryKeys {
                signing: ledger.keys[PHRASE].public(),
                agreement: agreement(PHRASE, 0),
            },
            server: Some(ServerIdentity {
                key: ledger.keys[SERVER].public(),
                endpoint: "server:1".to_string().try_into().unwrap(),
            }),
            approval: Signature([0; 64]),
        };
        let mut statement = ControlStatement {
            number: 0,
            previous: Hash::ZERO,
            author: ledger.id(0),
            at: AT,
            action: Action::Genesis(Box::new(genesis)),
        };
        let approval = ledger.keys[PHRASE].sign(&genesis_approval_id(&statement));
        if let Action::Genesis(genesis) = &mut statement.action {
            genesis.approval = approval;
        }
        let entry = ledger.sign_entry(0, statement);
        let account = Account::open(&entry).unwrap();
        ledger.account = account.id();
        ledger.entries.push(Entry {
            before: NONE,
            kind: Kind::Genesis,
            signed: entry,
            account,
            epoch: NONE,
        });
        ledger
    }

    fn device_keys(&self, device: usize) -> DeviceKeys {
        DeviceKeys {
            log: self.keys[device].public(),
            transport: self.keys[device].public(),
            agreement: agreement(device, 0),
        }
    }

    pub fn id(&self, device: usize) -> DeviceId {
        self.device_keys(device).device_id()
    }

    fn open(&self, device: usize) -> LogOpen {
        LogOpen {
            device: self.id(device),
            nonce: [device as u8; 16],
        }
    }

    pub fn log(&self, device: usize) -> LogId {
        self.open(device).log(&self.account)
    }

    fn sign_entry(&self, key: usize, statement: ControlStatement) -> ControlEntry {
        let mut entry = ControlEntry {
            statement,
            signature: Signature([0; 64]),
        };
        entry.signature = self.keys[key].sign(&entry.id(&self.account));
        entry
    }

    fn sign<T: Statement>(&self, key: usize, statement: T) -> Signed<T> {
        self.keys[key].sign_statement(&self.account, statement)
    }

    fn at(&self, tip: LogTip) -> &Entry {
        &self.entries[usize::from(tip)]
    }

    pub fn kind(&self, tip: LogTip) -> Kind {
        self.at(tip).kind
    }

    /// What [`Account`] makes of a log.
    pub fn account(&self, tip: LogTip) -> &Account {
        &self.at(tip).account
    }

    pub fn before(&self, tip: LogTip) -> LogTip {
        self.at(tip).before
    }

    /// The entry that began the running epoch; [`NONE`] before the first.
    pub fn epoch(&self, tip: LogTip) -> LogTip {
        self.at(tip).epoch
    }

    /// An epoch's number.
    pub fn epoch_number(&self, epoch: LogTip) -> u64 {
        match &self.at(epoch).signed.statement.action {
            Action::Epoch(epoch) => epoch.number,
            _ => 0,
        }
    }

    pub fn number(&self, tip: LogTip) -> u64 {
        self.at(tip).account.number()
    }

    pub fn is_member(&self, tip: LogTip, device: usize) -> bool {
        self.account(tip).member(&self.id(device)).is_some()
    }

    pub fn was_enrolled(&self, tip: LogTip, device: usize) -> bool {
        self.account(tip).devices().contains_key(&self.id(device))
    }

    pub fn is_revoked(&self, tip: LogTip, device: usize) -> bool {
        let account = self.account(tip);
        account
            .devices()
            .get(&self.id(device))
            .is_some_and(|member| member.revoked.is_some())
    }

    pub fn accepts_item(&self, tip: LogTip, log: usize, seq: u8) -> bool {
        let account = self.account(tip);
        account.accepts_item(&self.id(log), &self.log(log), u64::from(seq))
    }

    pub fn accepts_erasure(&self, tip: LogTip, order: Order) -> bool {
        let (device, log) = (self.id(order.by.into()), self.log(order.by.into()));
        self.account(tip)
            .accepts_erasure(&device, &log, u64::from(order.number))
    }

    pub fn is_void(&self, tip: LogTip, log: usize, seq: u8, generation: u8) -> bool {
        let account = self.account(tip);
        account.is_void(&self.log(log), u64::from(seq), u32::from(generation))
    }

    /// Whether one log is the other or its beginning.
    pub fn begins(&self, start: LogTip, tip: LogTip) -> bool {
        let mut at = tip;
        while self.number(at) > self.number(start) {
            at = self.before(at);
        }
        at == start
    }

    /// The entry of a log that follows its beginning.
    pub fn next(&self, start: LogTip, tip: LogTip) -> LogTip {
        let mut at = tip;
        while self.before(at) != start {
            at = self.before(at);
        }
        at
    }

    /// The last entry that two logs share.
    pub fn fork(&self, one: LogTip, other: LogTip) -> LogTip {
        let mut at = one;
        while !self.begins(at, other) {
            at = self.before(at);
        }
        at
    }

    /// The entries of a log behind its beginning, the first one first.
    pub fn tips(&self, start: LogTip, tip: LogTip) -> Vec<LogTip> {
        let mut tips = Vec::new();
        let mut at = tip;
        while at != start && at != NONE {
            tips.push(at);
            at = self.before(at);
        }
        tips.reverse();
        tips
    }

    fn log_entries(&self, start: LogTip, tip: LogTip) -> Vec<ControlEntry> {
        let tips = self.tips(start, tip);
        tips.iter().map(|tip| self.at(*tip).signed.clone()).collect()
    }

    /// Whether the first branch wins, as the protocol's own function has it.
    pub fn wins(&mut self, ours: LogTip, theirs: LogTip) -> bool {
        if let Some(won) = self.won.get(&(ours, theirs)) {
            return *won;
        }
        let fork = self.fork(ours, theirs);
        let won = wins(
            &self.account,
            &self.log_entries(fork, ours),
            &self.log_entries(fork, theirs),
        );
        self.won.insert((ours, theirs), won);
        won
    }

    /// Makes, signs and appends an entry; refused is what [`Account::append`] refuses.
    pub fn append(&mut self, before: LogTip, kind: Kind) -> Result<LogTip, ControlError> {
        if let Some(known) = self.made.get(&(before, kind)) {
            return *known;
        }
        let outcome = self.append_new(before, kind);
        self.made.insert((before, kind), outcome);
        outcome
    }

    fn append_new(&mut self, before: LogTip, kind: Kind) -> Result<LogTip, ControlError> {
        let mut account = self.account(before).clone();
        let (by, action) = self.action(before, kind);
        let statement = ControlStatement {
            number: account.number() + 1,
            previous: account.head(),
            author: self.id(by),
            at: AT,
            action,
        };
        let entry = self.sign_entry(by, statement);
        // As bytes, as it would travel.
        let entry = ControlEntry::decode(&entry.encode()).unwrap();
        account.append(&entry, &self.log_entries(NONE, before))?;
        let tip = u16::try_from(self.entries.len()).unwrap();
        assert_ne!(tip, NONE, "too many control entries");
        let epoch = match kind {
            Kind::Epoch { wraps, .. } => {
                account.check_wraps(&self.wraps(wraps))?;
                tip
            }
            _ => self.epoch(before),
        };
        self.entries.push(Entry {
            before,
            kind,
            signed: entry,
            account,
            epoch,
        });
        Ok(tip)
    }

    fn action(&self, before: LogTip, kind: Kind) -> (usize, Action) {
        let account = self.account(before);
        match kind {
            Kind::Genesis => unreachable!(),
            Kind::Enrol { by, device } => {
                let keys = self.device_keys(device.into());
                let transcript = Hash([3; 32]);
                let proof = device_proof_id(&self.account, &keys, &transcript);
                let enrol = Enrol {
                    device: keys,
                    proof: self.keys[usize::from(device)].sign(&proof),
                    transcript,
                };
                (by.into(), Action::Enrol(Box::new(enrol)))
            }
            Kind::Revoke {
                by,
                target,
                cut,
                erasures,
            } => {
                let cut = cut.iter().enumerate().map(|(log, seq)| {
                    let link = Link([*seq; 32]);
                    let seq = u64::from(*seq);
                    (self.log(log), Head { seq, link })
                });
                let kept = (erasures > 0).then(|| (self.log(target.into()), u64::from(erasures)));
                let revoke = Revoke {
                    target: self.id(target.into()),
                    reason: RevokeReason::Lost,
                    cut: Map::new(cut).unwrap(),
                    erasures: Map::new(kept).unwrap(),
                };
                (by.into(), Action::Revoke(Box::new(revoke)))
            }
            Kind::Epoch {
                by,
                wraps,
                folded,
                keys,
                ends,
            } => {
                let ends: Vec<Hash> = ends
                    .iter()
                    .filter(|order| **order != NONE)
                    .map(|order| self.order_id(*order))
                    .collect();
                let epoch = Epoch {
                    number: account.epoch().map_or(1, |(_, epoch)| epoch.number + 1),
                    membership: account.membership(),
                    commitment: sha256(&[b"key", account.head().as_ref(), &[by]].concat()),
                    wraps: wraps_hash(&self.account, &self.wraps(wraps)),
                    table: sha256(&[folded.as_slice(), &keys.to_be_bytes()].concat()),
                    ends: List::try_from(ends).unwrap(),
                    min_version: 1,
                };
                (by.into(), Action::Epoch(Box::new(epoch)))
            }
            Kind::Unite { by, losing } => {
                let fork = self.fork(before, losing);
                let losing: Vec<_> = self
                    .log_entries(fork, losing)
                    .iter()
                    .map(|entry| entry.encode().try_into().unwrap())
                    .collect();
                let both = Unite {
                    fork: self.account(fork).head(),
                    losing: List::try_from(losing).unwrap(),
                };
                (by.into(), Action::Unite(Box::new(both)))
            }
        }
    }

    fn wraps(&self, wraps: Counts) -> EpochWraps {
        let wrap = |to| Wrap {
            to,
            encapsulated: [1; 32],
            sealed: [2; 48],
        };
        let devices = wraps
            .iter()
            .enumerate()
            .filter(|(_, number)| **number > 0)
            .map(|(device, number)| (self.id(device), wrap(agreement(device, number - 1))));
        EpochWraps {
            devices: Map::new(devices).unwrap(),
            recovery: wrap(agreement(PHRASE, 0)),
        }
    }

    /// Signs an erasure.
    pub fn order(&mut self, order: Order) -> u16 {
        if let Some(known) = self.ordered.get(&order) {
            return *known;
        }
        let erase = Erase {
            log: self.log(order.by.into()),
            number: order.number.into(),
            nonce: [order.number; 16],
            handles: hearth_protocol::codec::Set::new([Handle([5; 16])]).unwrap(),
            because: (order.because != NONE).then(|| self.order_id(order.because)),
            control: self.account(order.control).head(),
            at: AT,
        };
        let signed = self.sign(order.by.into(), erase);
        let id = self.orders.len() as u16;
        self.orders.push((order, signed));
        self.ordered.insert(order, id);
        id
    }

    pub fn ordered(&self, order: u16) -> Order {
        self.orders[usize::from(order)].0
    }

    fn order_id(&self, order: u16) -> Hash {
        self.orders[usize::from(order)].1.id(&self.account)
    }

    /// Puts a certificate together and verifies it: whether it is complete, or why there is none.
    pub fn certify(&mut self, evidence: Evidence) -> Result<bool, String> {
        if let Some(known) = self.certified.get(&evidence) {
            return known.clone();
        }
        let outcome = self.certify_new(&evidence);
        self.certified.insert(evidence, outcome.clone());
        outcome
    }

    fn certify_new(&self, evidence: &Evidence) -> Result<bool, String> {
        let known = || {
            let orders = evidence.erasures.iter().enumerate();
            orders.filter(|(_, order)| **order != NONE)
        };
        let receipts = known()
            .filter(|(place, _)| evidence.receipts & 1 << place != 0)
            .map(|(_, order)| ServerReceipt {
                server: self.keys[SERVER].public(),
                receipt: self.sign(
                    SERVER,
                    Receipt {
                        erase: self.order_id(*order),
                        bodies: 1,
                        bytes: 1,
                        at: AT,
                        backups_until: AT,
                    },
                ),
            });
        let acks = (0..DEVICES).flat_map(|device| {
            known()
                .filter(move |(place, _)| evidence.acks[device] & 1 << place != 0)
                .map(move |(_, order)| {
                    let ack = EraseAck {
                        erase: self.order_id(*order),
                        device: self.id(device),
                        journal: Hash([device as u8; 32]),
                        at: AT,
                    };
                    self.sign(device, ack)
                })
        });
        let epoch_acks = evidence.epochs.iter().enumerate();
        let epoch_acks = epoch_acks
            .filter(|(_, epoch)| **epoch != NONE)
            .map(|(device, epoch)| {
                let ack = EpochAck {
                    epoch: self.account(*epoch).head(),
                    number: self.epoch_number(*epoch),
                    device: self.id(device),
                    agreement: agreement(device, 1),
                    at: AT,
                };
                self.sign(device, ack)
            });
        let parts = Parts {
            subject: self.order_id(evidence.subject),
            control: self.log_entries(NONE, evidence.control),
            logs: (0..DEVICES)
                .map(|device| self.sign(device, self.open(device)))
                .collect(),
            erasures: known()
                .map(|(_, order)| self.orders[usize::from(*order)].1.clone())
                .collect(),
            receipts: receipts.collect(),
            acks: acks.collect(),
            epoch_acks: epoch_acks.collect(),
            issuer: self.id(evidence.issuer.into()),
            at: AT,
        };
        let issuer = &self.keys[usize::from(evidence.issuer)];
        match assemble(parts, |id| issuer.sign(id)) {
            Ok((_, report)) => Ok(report.complete),
            Err(error) => Err(error.to_string()),
        }
    }
}
