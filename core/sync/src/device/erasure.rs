//! Erasures: ordered here, arrived, done, sent, confirmed by everybody.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use hearth_protocol::codec::Set;
use hearth_protocol::control::{Action, ControlEntry};
use hearth_protocol::erasure::{Erase, EraseAck, EraseSet, Receipt, erased_root};
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{DeviceId, Handle, Hash, LogId, VerifyKey};
use hearth_protocol::limits::{EPOCH_BATCH_MS, MAX_ERASE_HANDLES, MAX_LOGS};
use hearth_protocol::message::{ErasePart, PushErase, Request};
use hearth_protocol::statement::AnyStatement;

use super::disk::Disk;
use super::record::{Erasure, Waiting, of_live_key, place_key, space};
use super::session::{Asked, Session, Stage, genuine};
use super::turn::Turn;
use super::{Device, DeviceError, Notice, Output, Peer, Proof, Suspicion};
use crate::secret::random_bytes;

/// Erasures that are sent before the first is answered.
const MAX_SENDING: usize = 64;

/// An erasure, as far as it has to be in memory.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // Facts that don't depend on each other.
pub(super) struct Known {
    pub(super) log: LogId,
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) because: Option<Hash>,
    /// Gone from this device.
    pub(super) done: bool,
    /// Its author is, or was then, entitled.
    pub(super) counted: bool,
    /// A server has it.
    pub(super) sent: bool,
    /// It is being sent.
    pub(super) asked: bool,
    /// The epoch whose beginning ended its keys.
    pub(super) ended: Option<u64>,
    /// Who has confirmed it.
    pub(super) acks: BTreeSet<DeviceId>,
    pub(super) receipts: BTreeSet<VerifyKey>,
    /// Everybody has.
    pub(super) complete: bool,
}

/// All erasures.
#[derive(Debug, Default)]
pub(super) struct Erased {
    pub(super) all: BTreeMap<Hash, Known>,
    /// Log → the number up to which all of its erasures are done.
    upto: BTreeMap<LogId, u64>,
    beyond: BTreeMap<LogId, BTreeSet<u64>>,
    /// A log and a number hold one erasure: the first that came.
    places: BTreeMap<(LogId, u64), Hash>,
    root: Cell<Option<Hash>>,
}

impl Erased {
    /// The root over what is erased here.
    pub(super) fn root(&self) -> Hash {
        if let Some(root) = self.root.get() {
            return root;
        }
        let done = self.all.iter().filter(|(_, known)| known.done && known.counted);
        let root = erased_root(done.map(|(id, _)| *id));
        self.root.set(Some(root));
        root
    }

    pub(super) fn get_mut(&mut self, id: &Hash) -> Option<&mut Known> {
        self.all.get_mut(id)
    }

    /// Up to which number every erasure of a log is done here.
    pub(super) fn upto(&self, log: &LogId) -> u64 {
        self.upto.get(log).copied().unwrap_or(0)
    }

    /// How far the erasures of every log are done, without gaps.
    pub(super) fn positions(&self) -> impl Iterator<Item = (LogId, u64)> {
        self.upto.iter().map(|(log, number)| (*log, *number))
    }

    /// Logs with an erasure behind a gap.
    pub(super) fn gaps(&self) -> impl Iterator<Item = LogId> {
        self.beyond
            .iter()
            .filter(|(_, numbers)| !numbers.is_empty())
            .map(|(log, _)| *log)
    }

    /// Those done whose keys no epoch has ended.
    pub(super) fn to_end(&self) -> Vec<Hash> {
        let open = self
            .all
            .iter()
            .filter(|(_, known)| known.done && known.counted && known.ended.is_none());
        open.map(|(id, _)| *id).collect()
    }

    pub(super) fn ended(&mut self, ids: &[Hash], epoch: u64) {
        for id in ids {
            if let Some(known) = self.all.get_mut(id) {
                known.ended.get_or_insert(epoch);
            }
        }
    }

    /// Which epochs end what, in a control log that isn't the one from before.
    pub(super) fn end_again(&mut self, history: &[ControlEntry]) {
        for known in self.all.values_mut() {
            known.ended = None;
        }
        for entry in history {
            if let Action::Epoch(epoch) = &entry.statement.action {
                self.ended(&epoch.ends, epoch.number);
            }
        }
    }

    fn forget(&mut self, id: &Hash) {
        if let Some(known) = self.all.remove(id)
            && self.at(known.log, known.number) == Some(*id)
        {
            self.places.remove(&(known.log, known.number));
        }
        self.root.set(None);
    }

    /// The erasure that a log holds under a number.
    fn at(&self, log: LogId, number: u64) -> Option<Hash> {
        self.places.get(&(log, number)).copied()
    }

    fn insert(&mut self, id: Hash, known: Known) {
        let (log, number, done) = (known.log, known.number, known.done);
        self.places.entry((log, number)).or_insert(id);
        self.all.insert(id, known);
        if done {
            self.count(log, number);
        }
        self.root.set(None);
    }

    fn count(&mut self, log: LogId, number: u64) {
        let beyond = self.beyond.entry(log).or_default();
        beyond.insert(number);
        let upto = self.upto.entry(log).or_default();
        while beyond.remove(&(*upto + 1)) {
            *upto += 1;
        }
        // A log that was restored may have counted twice.
        beyond.retain(|number| *number > *upto);
    }

    fn finish(&mut self, id: &Hash) {
        if let Some(known) = self.all.get_mut(id) {
            known.done = true;
            let (log, number) = (known.log, known.number);
            self.count(log, number);
            self.root.set(None);
        }
    }
}

fn known(erase: &Erase, done: bool, sent: bool, counted: bool) -> Known {
    Known {
        log: erase.log,
        number: erase.number,
        at: erase.at.ms,
        because: erase.because,
        done,
        counted,
        sent,
        asked: false,
        ended: None,
        acks: BTreeSet::new(),
        receipts: BTreeSet::new(),
        complete: false,
    }
}

fn entitled(device: &Device, erase: &Erase) -> bool {
    device.logs.get(&erase.log).is_some_and(|log| {
        device
            .account
            .accepts_erasure(&log.open.statement.device, &erase.log, erase.number)
    })
}

/// Whether an erasure doesn't count any more because its author was shut out.
fn fell_with_its_author(device: &Device, erase: &Erase) -> bool {
    let author = device.logs.get(&erase.log).map(|log| log.open.statement.device);
    let member = author.and_then(|author| device.account.devices().get(&author));
    member.is_some_and(|member| member.revoked.is_some())
        && !entitled(device, erase)
        && device.account.member(&device.me).is_some()
}

pub(super) fn load(device: &mut Device, disk: &Disk<'_>) -> Result<(), DeviceError> {
    let mut found = Vec::new();
    disk.each(space::ERASE, &[], |key, record: Erasure| {
        let id = key
            .try_into()
            .map(Hash)
            .map_err(|_| DeviceError::Missing(space::ERASE))?;
        let erase = &record.erase.statement;
        let counted = entitled(device, erase);
        found.push((id, known(erase, record.journal.is_some(), record.sent, counted)));
        Ok(())
    })?;
    for (id, known) in found {
        device.erased.insert(id, known);
    }
    device.erased.end_again(&device.history);
    disk.each(space::RECEIPT, &[], |key, _: Signed<Receipt>| {
        if let (Some((erase, rest)), true) = (key.split_first_chunk::<32>(), key.len() == 64)
            && let Some(known) = device.erased.all.get_mut(&Hash(*erase))
            && let Ok(server) = <[u8; 32]>::try_from(rest)
        {
            known.receipts.insert(VerifyKey(server));
        }
        Ok(())
    })
}

impl Turn<'_> {
    /// The user's order: signed, done here, then sent.
    pub(super) fn order(&mut self, handles: &[Handle], because: Option<Hash>) -> Result<(), DeviceError> {
        let mut fresh = Vec::new();
        for handle in handles {
            if because.is_some() || !self.disk.has(space::ERASED, &handle.0)? {
                fresh.push(*handle);
            }
        }
        self.sign_order(fresh, because)
    }

    /// An own erasure whose place another one has: this device had ordered that one before it came back from a backup.
    /// Nobody takes it there, so it is ordered under another number.
    pub(super) fn order_anew(&mut self, id: &Hash) -> Result<(), DeviceError> {
        let Some(record) = self.disk.get::<Erasure>(space::ERASE, &id.0)? else {
            return Ok(());
        };
        self.disk.delete(space::ERASE, &id.0);
        self.d.erased.forget(id);
        let statement = record.erase.statement;
        self.sign_order(statement.handles.to_vec(), statement.because)
    }

    fn sign_order(&mut self, mut fresh: Vec<Handle>, because: Option<Hash>) -> Result<(), DeviceError> {
        fresh.sort_unstable();
        fresh.dedup();
        if self.own_log().is_none() {
            self.open_log();
        }
        let Some((log, _)) = self.own_log() else {
            return Ok(());
        };
        let account = self.account();
        for handles in fresh.chunks(MAX_ERASE_HANDLES) {
            self.d.state.erase_number += 1;
            let erase = Erase {
                log,
                number: self.d.state.erase_number,
                nonce: random_bytes(self.random),
                handles: Set::new(handles.iter().copied())?,
                because,
                control: self.d.account.head(),
                at: self.at(),
            };
            let signed = self.d.signer.sign_statement(&account, erase);
            self.take_erasure(signed, false)?;
        }
        self.sweep_waiting()
    }

    /// An erasure that is genuine: noted, what the machine has of it forgotten, the rest put out to be erased.
    fn take_erasure(&mut self, erase: Signed<Erase>, sent: bool) -> Result<(), DeviceError> {
        let id = erase.id(&self.account());
        let handles: Vec<Handle> = erase.statement.handles.to_vec();
        let counted = entitled(self.d, &erase.statement);
        self.d
            .erased
            .insert(id, known(&erase.statement, false, sent, counted));
        // The entry that ended it may have come before it.
        for entry in &self.d.history {
            if let Action::Epoch(epoch) = &entry.statement.action
                && epoch.ends.contains(&id)
            {
                self.d.erased.ended(&[id], epoch.number);
            }
        }
        let is_ended = self
            .d
            .erased
            .all
            .get(&id)
            .is_some_and(|known| known.ended.is_some());
        for handle in &handles {
            self.forget(handle, &id)?;
        }
        // Others may have confirmed it before it came.
        for ack in Self::erase_acks(&self.disk, &id)? {
            if let Some(known) = self.d.erased.get_mut(&id) {
                known.acks.insert(ack.statement.device);
            }
        }
        self.sweep.extend(&handles);
        let mine = self
            .d
            .logs
            .get(&erase.statement.log)
            .is_some_and(|log| log.open.statement.device == self.d.me);
        let record = Erasure {
            erase,
            journal: None,
            seen: self.now,
            sent,
        };
        self.disk.put(space::ERASE, &id.0, &record);
        self.effects.push(Output::EraseNow { erase: id, handles });
        self.notice(Notice::Erasing(id));
        // Its author changes the epoch; the rest would, an hour later.
        let wait = if mine {
            EPOCH_BATCH_MS - 60 * 60 * 1_000
        } else {
            EPOCH_BATCH_MS
        };
        if !is_ended {
            self.rotate_by(self.now + wait);
        }
        Ok(())
    }

    /// Deletes what the machine has of a handle: bodies, keys, what waits.
    fn forget(&mut self, handle: &Handle, erase: &Hash) -> Result<(), DeviceError> {
        self.disk.put(space::ERASED, &handle.0, erase);
        for (key, _) in self.disk.all::<Hash>(space::LIVE, &handle.0)? {
            if let Some((_, log, seq)) = of_live_key(&key) {
                self.disk.delete(space::BODY, &place_key(&log, seq));
            }
            self.disk.delete(space::LIVE, &key);
        }
        let keys = self.disk.all::<[u8; 32]>(space::KEY, &handle.0)?;
        if !keys.is_empty() {
            self.mark_dirty(handle.0[0]);
        }
        for (key, _) in keys {
            self.disk.delete(space::KEY, &key);
            self.disk.delete(space::WRITES, &key);
            self.disk.delete(space::FRESH, &key);
        }
        self.disk.delete(space::DOCUMENT, &handle.0);
        for (key, _) in self.disk.page(space::PIECES, &handle.0, None, MAX_LOGS)? {
            self.disk.delete(space::PIECES, &key);
        }
        self.disk.delete(space::NEED, &handle.0);
        self.d.needed.remove(handle);
        self.d.turned_away.remove(handle);
        let waiting: Vec<u64> = self
            .d
            .outbox
            .iter()
            .filter(|(_, (other, _))| other == handle)
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            self.d.outbox.remove(&number);
            self.disk.delete(space::OUTBOX, &number.to_be_bytes());
        }
        Ok(())
    }

    /// Deletes bodies of what was just erased that wait for something: they have no place in the live set yet. Once for all
    /// erasures that came together, as every waiting body is looked at.
    fn sweep_waiting(&mut self) -> Result<(), DeviceError> {
        let handles = std::mem::take(&mut self.sweep);
        if handles.is_empty() {
            return Ok(());
        }
        let waiting: Vec<(LogId, u64, u64)> = self
            .d
            .logs
            .iter()
            .filter(|(_, log)| log.applied.seq < log.stored.seq)
            .map(|(id, log)| (*id, log.applied.seq + 1, log.stored.seq))
            .collect();
        let torn: Vec<(LogId, u64)> = self.d.torn.iter().copied().collect();
        for (log, seq) in torn {
            if let Some(body) = self.body(&log, seq)?
                && handles.contains(&body.fields.handle)
            {
                self.disk.delete(space::BODY, &place_key(&log, seq));
                self.disk.delete(space::WAITS, &place_key(&log, seq));
                self.d.torn.remove(&(log, seq));
            }
        }
        for (log, from, to) in waiting {
            for seq in from..=to {
                if let Some(body) = self.body(&log, seq)?
                    && handles.contains(&body.fields.handle)
                {
                    self.disk.delete(space::BODY, &place_key(&log, seq));
                }
            }
        }
        self.sweep_aside(&handles)
    }

    /// After a load: what was begun and isn't confirmed is put out again.
    pub(super) fn erase_again(&mut self) -> Result<(), DeviceError> {
        let open: Vec<Hash> = self
            .d
            .erased
            .all
            .iter()
            .filter(|(_, known)| !known.done)
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            if let Some(record) = self.disk.get::<Erasure>(space::ERASE, &id.0)? {
                self.effects.push(Output::EraseNow {
                    erase: id,
                    handles: record.erase.statement.handles.to_vec(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn closure_done(
        &mut self,
        id: &Hash,
        journal: Hash,
        more: &[Handle],
    ) -> Result<(), DeviceError> {
        let Some(mut record) = self.disk.get::<Erasure>(space::ERASE, &id.0)? else {
            return Ok(());
        };
        let mut wider = Vec::new();
        for handle in more {
            if !self.disk.has(space::ERASED, &handle.0)? {
                wider.push(*handle);
            }
        }
        if record.journal.is_none() {
            record.journal = Some(journal);
            self.disk.put(space::ERASE, &id.0, &record);
            self.d.erased.finish(id);
            self.d.aside_stale = true;
            self.d.torn_again = true;
            let account = self.account();
            let ack = EraseAck {
                erase: *id,
                device: self.d.me,
                journal,
                at: self.at(),
            };
            let signed = self.d.signer.sign_statement(&account, ack);
            self.keep_erase_ack(&signed);
            self.unsent(&AnyStatement::EraseAck(signed));
            // Shut out while it was being carried out here: what is gone goes everywhere.
            if fell_with_its_author(self.d, &record.erase.statement) {
                self.order(&record.erase.statement.handles, Some(*id))?;
            }
        }
        if !wider.is_empty() {
            self.order(&wider, Some(*id))?;
        }
        self.look_complete(id);
        Ok(())
    }

    /// Erasures of the other side.
    pub(super) fn erasures(&mut self, part: &ErasePart) -> Result<(), DeviceError> {
        let account = self.account();
        let mut whole = true;
        for erase in part.erasures.iter() {
            let id = erase.id(&account);
            if let Some(known) = self.d.erased.get_mut(&id) {
                if !known.sent {
                    self.erase_sent(&id)?;
                }
                continue;
            }
            let key = self.log_key(&erase.statement.log);
            if key.is_none() {
                // Of a log that this device hasn't heard of yet, as after a backup: it waits for that.
                whole = false;
            } else if !genuine(erase, &account, key.as_ref()) {
                whole = false;
                self.notice(Notice::Suspicion(Suspicion::Erasure {
                    log: erase.statement.log,
                }));
            } else if entitled(self.d, &erase.statement) && self.place_is_free(erase)? {
                self.take_erasure(erase.clone(), true)?;
            }
        }
        self.sweep_waiting()?;
        if whole {
            self.remember_server(|record| record.cursor = record.cursor.max(part.cursor))?;
        }
        if let Some(session) = self.session() {
            session.erasures_due = part.more;
            session.applied_root = None;
            session.applied_due |= session.stage == Stage::Open;
        }
        Ok(())
    }

    /// Whether an erasure's place isn't another one's. An own one that nobody has yet makes room for what this device had
    /// ordered before it came back from a backup.
    fn place_is_free(&mut self, erase: &Signed<Erase>) -> Result<bool, DeviceError> {
        let (log, number) = (erase.statement.log, erase.statement.number);
        let Some(other) = self.d.erased.at(log, number) else {
            return Ok(true);
        };
        let own = self
            .d
            .logs
            .get(&log)
            .is_some_and(|state| state.open.statement.device == self.d.me);
        if own && self.d.erased.all.get(&other).is_some_and(|known| !known.sent) {
            self.order_anew(&other)?;
            return Ok(true);
        }
        self.notice(Notice::Proof(Proof::TwoHashes { log, seq: number }));
        Ok(false)
    }

    /// The other side calls something erased. Both have the same erasures here, as soon as those that are on their way
    /// have come: if it isn't one of them, nobody has erased it.
    pub(super) fn look_unexplained(&mut self) -> Result<(), DeviceError> {
        let Some(session) = self.session() else {
            return Ok(());
        };
        let all = std::mem::take(&mut session.unexplained);
        let mut later = BTreeMap::new();
        for (handle, (log, at)) in all {
            if self.is_erased(&handle)? {
                continue;
            }
            if self.now < at {
                self.wake_at(at);
                later.insert(handle, (log, at));
            } else {
                self.notice(Notice::Suspicion(Suspicion::Erasure { log }));
            }
        }
        if let Some(session) = self.session() {
            session.unexplained = later;
        }
        Ok(())
    }

    /// Sends the erasures that the account's server lacks.
    pub(super) fn send_erasures(&mut self) -> Result<(), DeviceError> {
        // A peer on the local network loses the opening with every erasure, and whether the account's server has it says
        // nothing of it there.
        let at_peer = self
            .d
            .session
            .as_ref()
            .is_some_and(|session| matches!(session.peer, Peer::Device(_)));
        let own_ready = at_peer || self.log_is_open();
        let now = self.now;
        let after = self.session().map_or(0, |session| session.erase_after);
        if after > now {
            self.wake_at(after);
            return Ok(());
        }
        let sending = self
            .d
            .erased
            .all
            .values()
            .filter(|known| known.asked && !known.sent)
            .count();
        let me = self.d.me;
        let ready: Vec<Hash> = self
            .d
            .erased
            .all
            .iter()
            .filter(|(_, known)| known.done && known.counted && !known.sent && !known.asked)
            .filter(|(_, known)| {
                own_ready
                    || self
                        .d
                        .logs
                        .get(&known.log)
                        .is_some_and(|log| log.open.statement.device != me)
            })
            .map(|(id, _)| *id)
            .take(MAX_SENDING.saturating_sub(sending))
            .collect();
        let (own, mut openings) = (self.d.state.log, BTreeSet::new());
        for id in ready {
            let Some(record) = self.disk.get::<Erasure>(space::ERASE, &id.0)? else {
                continue;
            };
            // Whoever lost everything, or serves for the first time, doesn't know whose log it is; the log's own device may be off.
            let log = record.erase.statement.log;
            let known = |session: &Session| session.opened.contains(&log);
            if (at_peer || Some(log) != own)
                && !self.d.session.as_ref().is_some_and(known)
                && openings.insert(log)
            {
                let open = self.d.logs.get(&log).map(|state| state.open.clone());
                if let Some(open) = open {
                    self.ask_statement(0, AnyStatement::LogOpen(open));
                }
            }
            if let Some(known) = self.d.erased.get_mut(&id) {
                known.asked = true;
            }
            let push = PushErase {
                erase: record.erase,
                registry: None,
            };
            self.ask(Request::Erase(Box::new(push)), Asked::Erase(id));
        }
        Ok(())
    }

    pub(super) fn erase_sent(&mut self, id: &Hash) -> Result<(), DeviceError> {
        if let Some(known) = self.d.erased.get_mut(id) {
            known.sent = true;
            known.asked = false;
        }
        if let Some(mut record) = self.disk.get::<Erasure>(space::ERASE, &id.0)? {
            record.sent = true;
            self.disk.put(space::ERASE, &id.0, &record);
        }
        // Acknowledgements of it may have come before it.
        if let Some(session) = self.session() {
            session.refused.clear();
        }
        // Its keys leave the registry now.
        if !self.d.state.dirty.is_empty() {
            self.d.state.dirty_since = 1;
        }
        Ok(())
    }

    /// The other side refused an acknowledgement because it doesn't know the erasure, as a server that was restored: both
    /// are said again, once in a session. False: that was tried, or there is no such erasure.
    pub(super) fn erasure_unknown_there(&mut self, number: u64, id: &Hash) -> bool {
        let first = self
            .session()
            .is_some_and(|session| session.before_their_erasure.insert(number));
        match self.d.erased.get_mut(id) {
            Some(known) if first && known.counted => {
                (known.sent, known.asked) = (false, false);
                true
            }
            _ => false,
        }
    }

    /// After revocations: erasures that no longer count are issued again by whoever has applied them.
    pub(super) fn recount(&mut self) -> Result<(), DeviceError> {
        let ids: Vec<Hash> = self.d.erased.all.keys().copied().collect();
        for id in ids {
            let Some(record) = self.disk.get::<Erasure>(space::ERASE, &id.0)? else {
                continue;
            };
            let counts = entitled(self.d, &record.erase.statement);
            let Some(known) = self.d.erased.get_mut(&id) else {
                continue;
            };
            let fell = known.counted && !counts && known.done;
            known.counted = counts;
            // Whoever was shut out orders nothing of the others any more.
            if fell && self.d.account.member(&self.d.me).is_some() {
                self.order(&record.erase.statement.handles, Some(id))?;
            }
        }
        self.d.erased.root.set(None);
        Ok(())
    }

    /// How far the erasures of these devices are done here: what stays valid of them.
    pub(super) fn erasures_of(&self, devices: &BTreeSet<DeviceId>) -> Result<EraseSet, DeviceError> {
        let theirs = self.d.erased.positions().filter(|(log, number)| {
            *number > 0
                && self
                    .d
                    .logs
                    .get(log)
                    .is_some_and(|state| devices.contains(&state.open.statement.device))
        });
        Ok(EraseSet::new(theirs)?)
    }

    /// A server says that it has erased.
    pub(super) fn receipt(&mut self, receipt: &Signed<Receipt>) {
        let account = self.account();
        let server = self
            .servers()
            .into_iter()
            .find(|key| genuine(receipt, &account, Some(key)));
        let id = receipt.statement.erase;
        if let (Some(server), Some(known)) = (server, self.d.erased.get_mut(&id)) {
            known.receipts.insert(server);
            let key = [id.as_ref(), server.as_ref()].concat();
            self.disk.put(space::RECEIPT, &key, receipt);
            self.look_complete(&id);
        }
    }

    /// The keys of every server that the control log names, oldest first.
    pub(super) fn servers(&self) -> Vec<VerifyKey> {
        self.d.servers()
    }

    /// Whether an erasure has become complete.
    pub(super) fn look_complete(&mut self, id: &Hash) {
        let complete = self.d.missing(id).is_some_and(|missing| missing.is_none());
        if let Some(known) = self.d.erased.get_mut(id)
            && complete
            && !known.complete
        {
            known.complete = true;
            self.notice(Notice::Erased(*id));
        }
    }

    /// After the control log was exchanged: what was complete may lack something now.
    pub(super) fn forget_completeness(&mut self) {
        let ids: Vec<Hash> = self.d.erased.all.keys().copied().collect();
        for id in ids {
            let complete = self.d.missing(&id).is_some_and(|missing| missing.is_none());
            if let Some(known) = self.d.erased.get_mut(&id) {
                known.complete = complete;
            }
        }
    }

    pub(super) fn look_all_complete(&mut self) {
        let open: Vec<Hash> = self
            .d
            .erased
            .all
            .iter()
            .filter(|(_, known)| !known.complete)
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            self.look_complete(&id);
        }
    }

    pub(super) fn is_erased(&self, handle: &Handle) -> Result<bool, DeviceError> {
        self.disk.has(space::ERASED, &handle.0)
    }

    /// A page of what waits; only to read it.
    pub(super) fn waiting(&self, number: u64) -> Result<Option<Waiting>, DeviceError> {
        self.disk.get(space::OUTBOX, &number.to_be_bytes())
    }
}
