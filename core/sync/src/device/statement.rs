//! Statements: what this device says outside of its log, and what it hears of others.

use std::collections::BTreeSet;

use hearth_protocol::erasure::{EraseAck, EraseSet};
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{DeviceId, Hash, LogId, TimeMs, VerifyKey};
use hearth_protocol::limits::{ERASE_DEADLINE_MS, HEARTBEAT_INTERVAL_MS, MAX_LOGS};
use hearth_protocol::message::Request;
use hearth_protocol::statement::{AnyStatement, Checkpoint, EpochAck, Heartbeat, Live, LogOpen, live_root};
use hearth_protocol::vector::Head;

use super::disk::Disk;
use super::erasure::Known;
use super::pump::{GRANT_AFTER_MS, MISSING_AFTER_MS};
use super::record::{Log, Peer, of_live_key, pair_key, space};
use super::session::{Asked, Stage, genuine};
use super::turn::{Turn, device_of, first_link, log_of};
use super::{Device, DeviceError, Notice, Proof, StillMissing, Suspicion};

/// Kinds of statements that are kept, as the first byte of their record's key.
const ERASE_ACK: u8 = 2;
const EPOCH_ACK: u8 = 3;
pub(super) const CHECKPOINT: u8 = 6;

/// What was refused is tried again after so long, then after twice that, …
pub(super) const SAY_AGAIN_MS: u64 = 2_000;
/// … but so often at least.
const LONGEST_SAY_AGAIN_MS: u64 = 600_000;
/// How long after a heartbeat that the server didn't take the next one is made.
const HEARTBEAT_AGAIN_MS: u64 = 600_000;
/// Statements that are sent before the first is answered.
const MAX_SAYING: usize = 64;

/// What heartbeats tell of a device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// The number of its newest one.
    pub(super) number: u64,
    /// When it was made.
    pub(super) at: u64,
    /// The time of the newest one that fits what is here; 0: none yet.
    pub(super) verified: u64,
}

pub(super) fn load(device: &mut Device, disk: &Disk<'_>) -> Result<(), DeviceError> {
    disk.each(space::STATEMENT, &[ERASE_ACK], |_, ack: Signed<EraseAck>| {
        let ack = ack.statement;
        if let Some(known) = device.erased.get_mut(&ack.erase) {
            known.acks.insert(ack.device);
        }
        Ok(())
    })?;
    let mut lost = None;
    disk.each(space::STATEMENT, &[EPOCH_ACK], |_, ack: Signed<EpochAck>| {
        let ack = ack.statement;
        // The keychain is written after the journal: an acknowledgement whose key was lost in between is made again.
        if ack.device == device.me && device.keys.private(&ack.agreement).is_none() {
            lost = lost.max(Some(ack.number));
        } else {
            note_epoch_ack(device, &ack);
        }
        Ok(())
    })?;
    let known = device.on_epoch.get(&device.me).copied();
    if let Some(lost) = lost
        && known.is_none_or(|known| lost > known)
    {
        device.lost_ack = lost;
        if known.is_some() {
            device.on_epoch.insert(device.me, lost - 1);
        }
    }
    for (key, peer) in disk.all::<Peer>(space::PEER, &[])? {
        if let Some(other) = device_of(&key) {
            let heartbeat = &peer.heartbeat.statement;
            device.peers.insert(
                other,
                Seen {
                    number: heartbeat.number,
                    at: heartbeat.at.ms,
                    verified: peer.verified,
                },
            );
        }
    }
    disk.each(space::UNSENT, &[], |key, _: AnyStatement| {
        if let Ok(number) = <[u8; 8]>::try_from(key) {
            device.unsent.insert(u64::from_be_bytes(number));
        }
        Ok(())
    })?;
    let ids: Vec<Hash> = device.erased.all.keys().copied().collect();
    for id in ids {
        let complete = device
            .missing(&id)
            .is_some_and(|missing| missing == StillMissing::default());
        if let Some(known) = device.erased.get_mut(&id) {
            known.complete = complete;
        }
    }
    Ok(())
}

fn note_epoch_ack(device: &mut Device, ack: &EpochAck) {
    // One of a branch that lost says which agreement key its device has, and nothing of the epochs in force.
    let account = device.account.id();
    let real = device
        .epoch_entry(ack.number)
        .and_then(|number| device.history.get(usize::try_from(number).ok()?))
        .is_some_and(|entry| entry.id(&account) == ack.epoch);
    if real {
        let number = device.on_epoch.entry(ack.device).or_default();
        *number = ack.number.max(*number);
    }
    let newest = device.agreement.entry(ack.device).or_insert((0, ack.agreement));
    if ack.number >= newest.0 {
        *newest = (ack.number, ack.agreement);
    }
}

impl Turn<'_> {
    /// A statement for the account's server: on disk until it has it.
    pub(super) fn unsent(&mut self, statement: &AnyStatement) {
        let number = self.next_number();
        self.disk.put(space::UNSENT, &number.to_be_bytes(), statement);
        self.d.unsent.insert(number);
    }

    fn key_of(&self, device: &DeviceId) -> Option<VerifyKey> {
        Some(self.d.account.devices().get(device)?.keys.log)
    }

    pub(super) fn keep_erase_ack(&mut self, ack: &Signed<EraseAck>) {
        let statement = &ack.statement;
        let key = pair_key(
            &[&[ERASE_ACK], statement.erase.as_ref()].concat(),
            &statement.device,
        );
        self.disk.put(space::STATEMENT, &key, ack);
        if let Some(known) = self.d.erased.get_mut(&statement.erase) {
            known.acks.insert(statement.device);
        }
    }

    pub(super) fn keep_epoch_ack(&mut self, ack: &Signed<EpochAck>) {
        let statement = &ack.statement;
        let number = statement.number.to_be_bytes();
        let key = pair_key(&[&[EPOCH_ACK], number.as_slice()].concat(), &statement.device);
        self.disk.put(space::STATEMENT, &key, ack);
        note_epoch_ack(self.d, statement);
        self.look_all_complete();
    }

    /// Looks again at which acknowledgements are of epochs in force.
    pub(super) fn reread_epoch_acks(&mut self) -> Result<(), DeviceError> {
        self.d.on_epoch.clear();
        for ack in Self::epoch_acks(&self.disk)? {
            note_epoch_ack(self.d, &ack.statement);
        }
        Ok(())
    }

    /// Every acknowledgement of an erasure that is kept.
    pub(super) fn erase_acks(disk: &Disk<'_>, erase: &Hash) -> Result<Vec<Signed<EraseAck>>, DeviceError> {
        let prefix = [&[ERASE_ACK], erase.as_ref()].concat();
        Ok(disk
            .all(space::STATEMENT, &prefix)?
            .into_iter()
            .map(|(_, ack)| ack)
            .collect())
    }

    /// Every acknowledgement of an epoch that is kept, the lowest number first.
    pub(super) fn epoch_acks(disk: &Disk<'_>) -> Result<Vec<Signed<EpochAck>>, DeviceError> {
        Ok(disk
            .all(space::STATEMENT, &[EPOCH_ACK])?
            .into_iter()
            .map(|(_, ack)| ack)
            .collect())
    }

    /// Every device's newest acknowledgement of an epoch.
    pub(super) fn newest_epoch_acks(&self) -> Result<Vec<AnyStatement>, DeviceError> {
        let mut newest = std::collections::BTreeMap::new();
        for ack in Self::epoch_acks(&self.disk)? {
            newest.insert(ack.statement.device, AnyStatement::EpochAck(ack));
        }
        Ok(newest.into_values().collect())
    }

    /// The account's server has lost what it had taken: this device says again what only it says.
    pub(super) fn say_again(&mut self) -> Result<(), DeviceError> {
        let me = self.d.me;
        let mut again = Vec::new();
        if let Some((_, state)) = self.own_log() {
            again.push(AnyStatement::LogOpen(state.open.clone()));
        }
        for ack in self.newest_epoch_acks()? {
            if matches!(&ack, AnyStatement::EpochAck(ack) if ack.statement.device == me) {
                again.push(ack);
            }
        }
        let erasures: Vec<Hash> = self.d.erased.all.keys().copied().collect();
        for id in erasures {
            let acks = Self::erase_acks(&self.disk, &id)?;
            let own = acks.into_iter().find(|ack| ack.statement.device == me);
            again.extend(own.map(AnyStatement::EraseAck));
        }
        // What waits from the last time isn't said twice: a peer may lose what it had again and again.
        let waiting = self.disk.all::<AnyStatement>(space::UNSENT, &[])?;
        again.retain(|statement| waiting.iter().all(|(_, other)| other != statement));
        for statement in again {
            self.unsent(&statement);
        }
        // A heartbeat is made anew.
        self.d.state.heartbeat_at = 0;
        Ok(())
    }

    /// Says once more that an erasure was carried out here.
    pub(super) fn acknowledge_again(&mut self, erase: &Hash) -> Result<(), DeviceError> {
        let me = self.d.me;
        let own = Self::erase_acks(&self.disk, erase)?
            .into_iter()
            .find(|ack| ack.statement.device == me);
        if let Some(own) = own {
            let again = AnyStatement::EraseAck(own);
            let waiting = self.disk.all::<AnyStatement>(space::UNSENT, &[])?;
            if waiting.iter().all(|(_, waits)| *waits != again) {
                self.unsent(&again);
            }
        }
        Ok(())
    }

    /// Once in a session with a peer of an account that has no server: acknowledgements, its own and those it heard. What one
    /// peer has taken the others lack, and each loses all it has with every erasure.
    pub(super) fn tell_peer(&mut self) -> Result<(), DeviceError> {
        let peer = self.d.session.as_ref().map(|session| session.peer);
        if !self.at_home() || !matches!(peer, Some(super::Peer::Device(_))) {
            return Ok(());
        }
        for ack in self.newest_epoch_acks()? {
            if matches!(&ack, AnyStatement::EpochAck(ack) if self.d.account.member(&ack.statement.device).is_some())
            {
                self.ask_statement(0, ack);
            }
        }
        // Whoever lacks one of an older one that is complete here asks for it.
        let now = self.now;
        let open = |known: &Known| !known.complete || known.at.saturating_add(ERASE_DEADLINE_MS) > now;
        let erasures = self
            .d
            .erased
            .all
            .iter()
            .filter(|(_, known)| known.counted && open(known));
        let erasures: Vec<Hash> = erasures.map(|(id, _)| *id).collect();
        for id in erasures {
            for ack in Self::erase_acks(&self.disk, &id)? {
                self.ask_statement(0, AnyStatement::EraseAck(ack));
            }
        }
        Ok(())
    }

    /// Whether the other side knows the own log's opening.
    pub(super) fn log_is_open(&self) -> bool {
        match (self.d.state.log, &self.d.session) {
            (Some(log), Some(session)) => session.opened.contains(&log),
            _ => false,
        }
    }

    /// Tries what was refused again, later and later.
    pub(super) fn say_later(&mut self) {
        let now = self.now;
        if self.d.unsent.is_empty() {
            return;
        }
        let Some(session) = self.session() else { return };
        if session.refused_until == 0 {
            session.refused_until = now.saturating_add(session.refused_for);
            session.refused_for = (session.refused_for * 2).min(LONGEST_SAY_AGAIN_MS);
        }
        let at = session.refused_until;
        self.wake_at(at);
    }

    /// Sends what the account's server hasn't taken.
    pub(super) fn say_unsent(&mut self) -> Result<(), DeviceError> {
        let now = self.now;
        let refused_until = self.session().map_or(0, |session| session.refused_until);
        if refused_until > now {
            self.wake_at(refused_until);
        } else if let (1.., Some(session)) = (refused_until, self.session()) {
            session.refused_until = 0;
            session.refused.clear();
        }
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        let room = MAX_SAYING.saturating_sub(session.saying.len());
        let numbers: Vec<u64> = self
            .d
            .unsent
            .iter()
            .filter(|number| !session.saying.contains(number) && !session.refused.contains(number))
            .copied()
            .take(room)
            .collect();
        for number in numbers {
            let Some(statement) = self
                .disk
                .get::<AnyStatement>(space::UNSENT, &number.to_be_bytes())?
            else {
                self.d.unsent.remove(&number);
                continue;
            };
            if matches!(&statement, AnyStatement::EpochAck(ack)
                if ack.statement.device == self.d.me && self.d.keys.private(&ack.statement.agreement).is_none())
            {
                // The keychain is written after the journal: its key was lost in between, and another one is named.
                self.d.unsent.remove(&number);
                self.disk.delete(space::UNSENT, &number.to_be_bytes());
                continue;
            }
            // An acknowledgement follows what it acknowledges.
            if let AnyStatement::EraseAck(ack) = &statement
                && self
                    .d
                    .erased
                    .all
                    .get(&ack.statement.erase)
                    .is_some_and(|known| known.counted && !known.sent)
            {
                continue;
            }
            if let Some(session) = self.session() {
                session.saying.insert(number);
            }
            self.ask_statement(number, statement);
        }
        Ok(())
    }

    /// A statement was taken.
    pub(super) fn said(&mut self, number: u64, statement: &AnyStatement) {
        let home = self.at_home();
        let me = self.d.me;
        if let (AnyStatement::Checkpoint(checkpoint), Some(session)) = (statement, self.session())
            && session.vouching
            && checkpoint.statement.device == me
        {
            session.vouched = Some(checkpoint.statement.frontier.clone());
        }
        if let AnyStatement::LogOpen(open) = statement {
            let log = open.statement.log(&self.account());
            if let Some(session) = self.session() {
                session.opened.insert(log);
            }
        }
        if home {
            self.d.unsent.remove(&number);
            self.disk.delete(space::UNSENT, &number.to_be_bytes());
            if let Some(session) = self.session() {
                session.saying.remove(&number);
            }
            if let AnyStatement::EpochAck(ack) = statement {
                self.epoch_ack_taken(&ack.statement);
            }
        }
    }

    /// A statement that won't be taken: what others can do without goes.
    pub(super) fn unsayable(&mut self, number: u64) -> Result<(), DeviceError> {
        let statement: Option<AnyStatement> = self.disk.get(space::UNSENT, &number.to_be_bytes())?;
        let useless = match &statement {
            Some(AnyStatement::Heartbeat(_)) => {
                // Something that it names has to come there first: a newer one is made in a while.
                let again = HEARTBEAT_INTERVAL_MS - HEARTBEAT_AGAIN_MS;
                self.d.state.heartbeat_at = self.now.saturating_sub(again);
                true
            }
            Some(AnyStatement::Grant(_) | AnyStatement::Checkpoint(_)) => true,
            // Of an erasure that doesn't count, or was ordered anew under another number.
            Some(AnyStatement::EraseAck(ack)) => {
                let known = self.d.erased.all.get(&ack.statement.erase);
                known.is_none_or(|known| !known.counted)
            }
            _ => false,
        };
        if useless {
            self.d.unsent.remove(&number);
            self.disk.delete(space::UNSENT, &number.to_be_bytes());
        }
        Ok(())
    }

    /// A statement of another device, or one's own that comes back.
    pub(super) fn hear(&mut self, statement: AnyStatement) -> Result<(), DeviceError> {
        let account = self.account();
        let fine = match statement {
            AnyStatement::LogOpen(open) => self.hear_log(open),
            AnyStatement::EraseAck(ack) => {
                let fine = genuine(&ack, &account, self.key_of(&ack.statement.device).as_ref());
                if fine {
                    let erase = ack.statement.erase;
                    self.keep_erase_ack(&ack);
                    self.look_complete(&erase);
                }
                fine
            }
            AnyStatement::EpochAck(ack) => {
                let fine = genuine(&ack, &account, self.key_of(&ack.statement.device).as_ref());
                if fine {
                    self.hear_epoch_ack(&ack)?;
                }
                fine
            }
            AnyStatement::Grant(grant) => {
                let fine = genuine(&grant, &account, self.key_of(&grant.statement.author).as_ref());
                if fine {
                    let statement = &grant.statement;
                    if self
                        .d
                        .account
                        .epoch()
                        .is_some_and(|(id, _)| id == statement.epoch)
                    {
                        self.d.granted.insert(statement.device, statement.wrap.to);
                    }
                    self.take_grant(statement);
                }
                fine
            }
            AnyStatement::Heartbeat(heartbeat) => {
                let key = self.key_of(&heartbeat.statement.device);
                let fine = genuine(&heartbeat, &account, key.as_ref());
                // Whoever was shut out can't accuse anybody any more.
                if fine && self.d.account.member(&heartbeat.statement.device).is_some() {
                    self.hear_heartbeat(heartbeat)?;
                }
                fine
            }
            AnyStatement::Checkpoint(checkpoint) => {
                let key = self.key_of(&checkpoint.statement.device);
                let fine = genuine(&checkpoint, &account, key.as_ref());
                if fine {
                    let key = pair_key(&[CHECKPOINT], &checkpoint.statement.device);
                    self.disk.put(space::STATEMENT, &key, &*checkpoint);
                }
                fine
            }
        };
        if !fine {
            self.notice(Notice::Tampered);
        }
        Ok(())
    }

    fn hear_log(&mut self, open: Signed<LogOpen>) -> bool {
        let account = self.account();
        if !genuine(&open, &account, self.key_of(&open.statement.device).as_ref()) {
            return false;
        }
        let log = log_of(&account, &open.statement);
        if !self.d.logs.contains_key(&log) && self.d.logs.len() < MAX_LOGS {
            let head = Head {
                seq: 0,
                link: first_link(&account, &open.statement),
            };
            self.d.logs.insert(
                log,
                Log {
                    open,
                    stored: head,
                    applied: head,
                    folded: head,
                    safe: 0,
                },
            );
            self.put_log(&log);
        }
        true
    }

    fn hear_epoch_ack(&mut self, ack: &Signed<EpochAck>) -> Result<(), DeviceError> {
        let statement = &ack.statement;
        let number = statement.number.to_be_bytes();
        let key = pair_key(&[&[EPOCH_ACK], number.as_slice()].concat(), &statement.device);
        if statement.device == self.d.me {
            let known = self.d.on_epoch.get(&self.d.me).copied().unwrap_or(0);
            if statement.number > known && self.d.keys.private(&statement.agreement).is_none() {
                // Said before this device came back from a backup: the key that it names is lost.
                self.disk.put(space::STATEMENT, &key, ack);
                self.d.lost_ack = self.d.lost_ack.max(statement.number);
            }
            return Ok(());
        }
        let known: Option<Signed<EpochAck>> = self.disk.get(space::STATEMENT, &key)?;
        if let Some(known) = known
            && known.statement.agreement != statement.agreement
        {
            // It was restored since, and has lost the key that it named then.
            self.d.lost_keys.insert(statement.device);
            self.d.granted.remove(&statement.device);
            self.wake_at(self.now + GRANT_AFTER_MS);
        }
        if statement.number < self.running() {
            // Its key may be newer than the one that the running epoch is wrapped to.
            self.wake_at(self.now + GRANT_AFTER_MS);
        }
        self.keep_epoch_ack(ack);
        Ok(())
    }

    fn hear_heartbeat(&mut self, heartbeat: Box<Signed<Heartbeat>>) -> Result<(), DeviceError> {
        let device = heartbeat.statement.device;
        let seen = self.d.peers.get(&device).copied().unwrap_or_default();
        if device == self.d.me || heartbeat.statement.number <= seen.number {
            return Ok(());
        }
        let seen = Seen {
            number: heartbeat.statement.number,
            at: heartbeat.statement.at.ms,
            verified: seen.verified,
        };
        self.d.peers.insert(device, seen);
        let peer = Peer {
            heartbeat,
            verified: seen.verified,
        };
        self.disk.put(space::PEER, &device.0, &peer);
        self.compare(peer)
    }

    /// Whether something of a log is missing that a heartbeat names, and that counts.
    fn lacks(&self, log: &LogId, seq: u64) -> bool {
        self.d.logs.get(log).is_none_or(|state| {
            let device = &state.open.statement.device;
            state.stored.seq < seq && self.d.account.accepts_item(device, log, seq)
        })
    }

    /// Compares what another device says it has applied with what is here.
    fn compare(&mut self, peer: Peer) -> Result<(), DeviceError> {
        if self.is_beginning() {
            // What is applied isn't all here yet.
            return Ok(());
        }
        let theirs = &peer.heartbeat.statement;
        let device = theirs.device;
        let mut whole = true;
        for (log, head) in theirs.vector.iter() {
            let stored = self.d.logs.get(log).map_or(0, |state| state.stored.seq);
            if stored < head.seq {
                whole = false;
            } else if self.link_at(log, head.seq)?.is_some_and(|link| link != head.link) {
                whole = false;
                self.notice(Notice::Proof(Proof::SplitView { device, log: *log }));
            }
        }
        if self.lives_otherwise(theirs)? {
            whole = false;
            // Bodies may have come as holes because of an erasure that is still on its way.
            let at = self.now + MISSING_AFTER_MS;
            if let Some(session) = self.session() {
                session.other_lives.entry(device).or_insert(at);
            }
            self.wake_at(at);
        }
        if whole && let Some(seen) = self.d.peers.get_mut(&device) {
            seen.verified = seen.at;
            let peer = Peer {
                verified: seen.verified,
                heartbeat: peer.heartbeat,
            };
            self.disk.put(space::PEER, &device.0, &peer);
            if self.d.session.as_ref().is_some_and(|session| session.complete) {
                self.check_expected()?;
            }
        }
        Ok(())
    }

    /// Whether a heartbeat has the same vector and erasures as this device, and another live set.
    fn lives_otherwise(&mut self, theirs: &Heartbeat) -> Result<bool, DeviceError> {
        self.try_aside()?;
        // An erasure that is under way has left the live set, and isn't in the erased set yet.
        let equal = !self.is_erasing()
            && theirs.vector == self.applied_vector()?
            && theirs.erased == self.erase_set()?;
        Ok(equal && theirs.erased_root == self.d.erased.root() && theirs.live_root != self.live_root()?)
    }

    /// Live sets that differed, and still do, are a suspicion.
    pub(super) fn look_other_lives(&mut self) -> Result<(), DeviceError> {
        let now = self.now;
        let Some(session) = self.session() else {
            return Ok(());
        };
        let due: Vec<DeviceId> = session
            .other_lives
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(device, _)| *device)
            .collect();
        session.other_lives.retain(|_, at| *at > now);
        if let Some(at) = session.other_lives.values().min().copied() {
            self.wake_at(at);
        }
        for device in due {
            if let Some(peer) = self.disk.get::<Peer>(space::PEER, &device.0)?
                && !self.is_beginning()
                && self.lives_otherwise(&peer.heartbeat.statement)?
            {
                self.notice(Notice::Suspicion(Suspicion::LiveRoot { device }));
                if let Some(expected) = &self.d.state.expected
                    && expected.checkpoint != Hash::ZERO
                {
                    // Something of what lived at the checkpoint was withheld, perhaps: once more.
                    self.d.state.starting = Some(expected.checkpoint);
                }
            }
        }
        Ok(())
    }

    /// After everything has arrived: heartbeats that couldn't be compared before.
    pub(super) fn compare_all(&mut self) -> Result<(), DeviceError> {
        let open: Vec<_> = self
            .d
            .peers
            .iter()
            .filter(|(_, seen)| seen.verified < seen.at)
            .map(|(device, _)| *device)
            .collect();
        for device in open {
            if let Some(peer) = self.disk.get::<Peer>(space::PEER, &device.0)? {
                self.compare(peer)?;
            }
        }
        if !self.vouched_missing()?.is_empty() {
            let at = self.now + MISSING_AFTER_MS;
            if let Some(session) = self.session() {
                session.vouched_at = at;
            }
            self.wake_at(at);
        }
        Ok(())
    }

    /// The logs of which heartbeats name more than is here.
    fn vouched_missing(&self) -> Result<BTreeSet<LogId>, DeviceError> {
        let mut missing = BTreeSet::new();
        for (device, seen) in &self.d.peers {
            if seen.verified == seen.at || self.d.account.member(device).is_none() {
                continue;
            }
            if let Some(peer) = self.disk.get::<Peer>(space::PEER, &device.0)? {
                let vector = peer.heartbeat.statement.vector;
                missing.extend(
                    vector
                        .iter()
                        .filter(|(log, head)| self.lacks(log, head.seq))
                        .map(|(log, _)| *log),
                );
            }
        }
        Ok(missing)
    }

    /// The other side has sent all it had, and others have more. Statements overtake what they name, so that it is waited
    /// for, and asked for once: only what doesn't come even then is withheld.
    pub(super) fn look_vouched(&mut self) -> Result<(), DeviceError> {
        let now = self.now;
        let Some(session) = self.session().filter(|session| session.vouched_at != 0) else {
            return Ok(());
        };
        let at = session.vouched_at;
        if now < at {
            self.wake_at(at);
            return Ok(());
        }
        let (asked, again) = (session.vouched_asked, now + MISSING_AFTER_MS);
        (session.vouched_asked, session.vouched_at) = (true, 0);
        let missing = self.vouched_missing()?;
        if missing.is_empty() {
            return Ok(());
        }
        if asked {
            for log in missing {
                self.notice(Notice::Suspicion(Suspicion::Withheld { log }));
            }
            return Ok(());
        }
        if let Some(session) = self.session() {
            session.vouched_at = again;
        }
        self.wake_at(again);
        let vector = self.vector()?;
        self.ask(Request::Vector(vector), Asked::Vector);
        Ok(())
    }

    /// The account's server was restored: what others vouched for before may be gone from it, until they bring it. They say
    /// anew what they have.
    pub(super) fn forget_vouchers(&mut self) -> Result<(), DeviceError> {
        for (key, peer) in self.disk.all::<Peer>(space::PEER, &[])? {
            if peer.verified < peer.heartbeat.statement.at.ms {
                self.disk.delete(space::PEER, &key);
                if let Some(device) = device_of(&key) {
                    self.d.peers.remove(&device);
                }
            }
        }
        Ok(())
    }

    fn erase_set(&self) -> Result<EraseSet, DeviceError> {
        Ok(EraseSet::new(
            self.d.erased.positions().filter(|(_, number)| *number > 0),
        )?)
    }

    /// The root of what is alive here.
    pub(super) fn live_root(&self) -> Result<Hash, DeviceError> {
        let mut live = BTreeSet::new();
        self.disk.each(space::LIVE, &[], |key, header_hash: Hash| {
            if let Some((_, log, seq)) = of_live_key(key)
                && self.d.logs.get(&log).is_some_and(|state| self.d.is_awake(state))
            {
                live.insert(Live {
                    log,
                    seq,
                    header_hash,
                });
            }
            Ok(())
        })?;
        Ok(live_root(live))
    }

    /// Once a day, when everything is here: what this device has applied.
    pub(super) fn heartbeat(&mut self) -> Result<(), DeviceError> {
        let state = &self.d.state;
        let due = state.heartbeat_at.saturating_add(HEARTBEAT_INTERVAL_MS);
        // A clock that was set back must not silence it.
        if state.heartbeat != 0 && self.now < due && self.now >= state.heartbeat_at {
            self.wake_at(due);
            return Ok(());
        }
        // Nor what the server hasn't: whoever can't get it would suspect it.
        if !self.all_applied() || self.has_unconfirmed() || self.is_filling() || self.is_erasing() {
            return Ok(());
        }
        self.try_aside()?;
        self.d.state.heartbeat += 1;
        self.d.state.heartbeat_at = self.now;
        let heartbeat = Heartbeat {
            device: self.d.me,
            number: self.d.state.heartbeat,
            vector: self.applied_vector()?,
            live_root: self.live_root()?,
            erased: self.erase_set()?,
            erased_root: self.d.erased.root(),
            control: self.d.account.head(),
            at: TimeMs { ms: self.now },
        };
        let signed = self.d.signer.sign_statement(&self.account(), heartbeat);
        self.unsent(&AnyStatement::Heartbeat(Box::new(signed)));
        Ok(())
    }

    pub(super) fn is_erasing(&self) -> bool {
        self.d.erased.all.values().any(|known| !known.done)
    }

    /// Whether the account's server hasn't confirmed all of the own log.
    fn has_unconfirmed(&self) -> bool {
        self.own_log().is_some_and(|(_, log)| log.safe < log.stored.seq)
    }

    /// Whether the other side lacks something of others' logs that is here.
    fn is_filling(&self) -> bool {
        self.d.session.as_ref().is_some_and(|session| {
            session.sending.keys().any(|log| {
                let confirmed = session.confirmed.get(log).copied().unwrap_or(0);
                self.d
                    .logs
                    .get(log)
                    .is_some_and(|state| confirmed < state.stored.seq)
            })
        })
    }

    /// Vouches for what is here, if others can have it: else the last checkpoint stands.
    pub(super) fn make_checkpoint(&mut self) -> Result<(), DeviceError> {
        if self.has_unconfirmed() || self.is_erasing() {
            return Ok(());
        }
        self.try_aside()?;
        let checkpoint = self.checkpoint_now()?;
        let account = self.account();
        let signed = self.d.signer.sign_statement(&account, checkpoint);
        self.d.state.checkpoint = Some(signed.id(&account));
        let key = pair_key(&[CHECKPOINT], &self.d.me);
        self.disk.put(space::STATEMENT, &key, &signed);
        self.unsent(&AnyStatement::Checkpoint(Box::new(signed)));
        Ok(())
    }

    pub(super) fn checkpoint_now(&self) -> Result<Checkpoint, DeviceError> {
        Ok(Checkpoint {
            device: self.d.me,
            frontier: self.applied_vector()?,
            live_root: self.live_root()?,
            erased_root: self.d.erased.root(),
            control: self.d.account.head(),
            table: self.d.table,
            at: self.at(),
        })
    }

    /// Of a new device: is what the other one vouched for here?
    pub(super) fn check_expected(&mut self) -> Result<(), DeviceError> {
        let Some(expected) = self.d.state.expected.clone() else {
            return Ok(());
        };
        if !self.all_applied() || self.d.account.member(&self.d.me).is_none() {
            return Ok(());
        }
        if expected.checkpoint != Hash::ZERO {
            match self.checkpoint_of(&expected.checkpoint)? {
                // Begun at it: nothing of what lived there is missing, or somebody else has to agree.
                Some(checkpoint) if self.d.logs.values().any(|log| log.folded.seq > 0) => {
                    if !self.has_lived_there(&checkpoint.statement)? && !self.is_agreed_with()? {
                        return Ok(());
                    }
                }
                Some(checkpoint) if !self.fits(&checkpoint.statement)? => {
                    self.misses_expected();
                    return Ok(());
                }
                Some(_) => {}
                // A newer one of the same device may have taken its place, or it is withheld: somebody who knows this
                // device has to agree first, in the next heartbeat at the latest.
                None if self.is_agreed_with()? => {}
                None => return Ok(()),
            }
        }
        self.d.state.expected = None;
        self.notice(Notice::JoinComplete);
        Ok(())
    }

    /// A server that was restored is filled up by whoever is there: only what doesn't come is a suspicion.
    fn misses_expected(&mut self) {
        let now = self.now;
        let Some(session) = self.session() else {
            return;
        };
        if session.expected_at == 0 {
            session.expected_at = now + MISSING_AFTER_MS;
        }
        let at = session.expected_at;
        if now < at {
            self.wake_at(at);
        } else if at != u64::MAX {
            session.expected_at = u64::MAX;
            self.notice(Notice::Suspicion(Suspicion::Checkpoint));
        }
    }

    /// Whether what a checkpoint vouches for is here.
    fn fits(&self, checkpoint: &Checkpoint) -> Result<bool, DeviceError> {
        for (log, head) in checkpoint.frontier.iter() {
            let stored = self.d.logs.get(log).map_or(0, |state| state.stored.seq);
            if stored < head.seq || self.link_at(log, head.seq)?.is_some_and(|link| link != head.link) {
                return Ok(false);
            }
        }
        if self.applied_vector()? == checkpoint.frontier && self.d.erased.root() == checkpoint.erased_root {
            return Ok(self.live_root()? == checkpoint.live_root);
        }
        Ok(true)
    }

    /// Whether a heartbeat of a device that knows of this one's enrolment fits what is here.
    fn is_agreed_with(&self) -> Result<bool, DeviceError> {
        let account = self.account();
        let enrolled = self.d.account.member(&self.d.me).map_or(0, |me| me.enrolled);
        let since = usize::try_from(enrolled).unwrap_or(usize::MAX);
        let known: BTreeSet<Hash> = self
            .d
            .history
            .iter()
            .skip(since)
            .map(|entry| entry.id(&account))
            .collect();
        for (device, seen) in &self.d.peers {
            if seen.verified == 0 || seen.verified < seen.at || self.d.account.member(device).is_none() {
                continue;
            }
            if let Some(peer) = self.disk.get::<Peer>(space::PEER, &device.0)?
                && known.contains(&peer.heartbeat.statement.control)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is done from time to time while everything passes.
    pub(super) fn keep_house(&mut self) -> Result<(), DeviceError> {
        self.settle_epoch();
        self.publish();
        let complete = self.d.session.as_ref().is_some_and(|session| session.complete);
        if complete && self.all_applied() && self.d.state.expected.is_some() {
            // The keys may have come after everything else.
            let first = self
                .session()
                .is_some_and(|session| !std::mem::replace(&mut session.join_checked, true));
            if first {
                self.check_expected()?;
            }
        }
        if complete && self.at_home() {
            self.fold()?;
            self.heartbeat()?;
        }
        self.ask_needed();
        if self
            .d
            .session
            .as_ref()
            .is_some_and(|session| session.up_to_date_said)
        {
            self.check_expected()?;
        }
        Ok(())
    }

    pub(super) fn tick(&mut self) -> Result<(), DeviceError> {
        if self.stage() == Some(Stage::Open)
            && self.d.session.as_ref().is_some_and(|session| session.complete)
        {
            self.grant_all()?;
        }
        Ok(())
    }
}
