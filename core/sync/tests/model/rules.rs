//! The steps: what users want, what devices and server do by themselves, what goes wrong.

use super::explore::System;
use super::ledger::{Counts, DEVICES, Kind, Ledger, LogTip, NONE, ORDERS, Order};
use super::state::{
    Budget, Device, EPOCHS, ITEMS, Item, Known, Server, Set, State, bit, has, item, members, slot,
};

/// The rules that can be broken on purpose, to see that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Rules {
    /// Entries are taken only behind the server's head.
    pub swaps: bool,
    /// A revocation wants a new epoch, and nothing is sealed before it.
    pub rotates: bool,
    /// An erasure is confirmed after it is carried out.
    pub erases_first: bool,
    /// Items are judged by the cuts of revocations.
    pub cuts: bool,
    /// Keys of earlier epochs go before an epoch is acknowledged.
    pub destroys_first: bool,
    /// A new epoch is wrapped to the members only.
    pub excludes: bool,
    /// An erased document's keys and bodies are refused ever after.
    pub refuses_erased: bool,
    /// Of a device's acknowledgements of epochs the one it made last tells its agreement key; else the one with the highest
    /// number of an epoch, whichever branch that was of.
    pub newest_last: bool,
    /// Who can't open the running epoch, nor is granted it, begins the next one from what it has.
    pub helps_itself: bool,
    /// An erasure that a revocation has taken out is ordered again by who has carried it out.
    pub reissues: bool,
}

impl Rules {
    pub const REAL: Self = Self {
        swaps: true,
        rotates: true,
        erases_first: true,
        cuts: true,
        destroys_first: true,
        excludes: true,
        refuses_erased: true,
        helps_itself: true,
        newest_last: true,
        reissues: true,
    };
}

/// What a run covers.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    pub budget: Budget,
    /// All three are members from the start; else two.
    pub three: bool,
    /// Devices also meet without the server, those that were shut out as well.
    pub local: bool,
    /// Certificates are made at every state, not only where nothing seems to be missing.
    pub certify_all: bool,
}

/// A device, as a small number.
pub type Who = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    // Users.
    WantEnrol(Who),
    WantRevoke(Who, Who),
    WantRotate(Who),
    Order(Who),
    Edit(Who),
    // Devices and server, by themselves.
    SignEnrol(Who),
    SignRevoke(Who, Who),
    SignEpoch(Who),
    /// The server looks at the entry that a device sent.
    Judge(Who),
    /// A device hears of the server's next entry, or that its own was taken.
    Learn(Who),
    /// A device and the server find that their logs differ, and settle it.
    Settle(Who),
    TakeKey(Who),
    /// The keys of earlier epochs go, and the device says so.
    TakeOn(Who),
    SayEpoch(Who),
    /// The device hears that the server has its acknowledgement.
    EpochSaid(Who),
    Grant(Who, Who),
    Hear(Who),
    Carry(Who),
    SendErase(Who),
    TakeErase(Who),
    SayErased(Who),
    Seal(Who),
    Push(Who, Who),
    Fetch(Who, Who),
    PushTable(Who),
    ReadTable(Who),
    // Without the server.
    Meet(Who, Who, Who),
    MeetErase(Who, Who),
    // What goes wrong.
    Lose(Who),
    Backup,
    Restore,
    RogueSeal(Who),
    RogueOrder(Who),
}

pub struct Model {
    pub ledger: Ledger,
    pub rules: Rules,
    pub scope: Scope,
    /// By device: whether it calls the server.
    pub online: [bool; DEVICES],
    /// What has happened before the search begins.
    pub script: Vec<Step>,
}

impl Model {
    pub fn new(rules: Rules, scope: Scope) -> Self {
        Self {
            ledger: Ledger::new(),
            rules,
            scope,
            online: [true; DEVICES],
            script: Vec::new(),
        }
    }

    /// Whether the server lets a device in.
    fn connected(&self, s: &State, d: usize) -> bool {
        self.online[d] && s.devices[d].joined && self.ledger.is_member(s.server.chain, d)
    }

    /// A member, as far as it knows.
    pub fn active(&self, s: &State, d: usize) -> bool {
        s.devices[d].joined && self.ledger.is_member(s.devices[d].chain, d)
    }

    /// The control logs of device and server are one.
    fn settled(&self, s: &State, d: usize) -> bool {
        self.connected(s, d) && self.active(s, d) && self.ledger.begins(s.devices[d].chain, s.server.chain)
    }

    fn level(&self, s: &State, d: usize) -> bool {
        self.settled(s, d) && s.devices[d].chain == s.server.chain
    }

    /// Somebody was shut out since the running epoch began.
    fn outside_knows(&self, chain: LogTip) -> bool {
        let epoch = self.ledger.epoch(chain);
        let began = if epoch == NONE {
            0
        } else {
            self.ledger.number(epoch)
        };
        let last = self.ledger.account(chain).revocations().last();
        self.rules.rotates && last.is_some_and(|last| last.number > began)
    }

    /// The key that a device takes for that of an epoch: it looks by number.
    pub fn epoch_key(&self, device: &Device, epoch: LogTip) -> Option<LogTip> {
        let number = self.ledger.epoch_number(epoch);
        let mut held = device.epochs.iter().copied().filter(|held| *held != NONE);
        held.find(|held| self.ledger.epoch_number(*held) == number)
    }

    /// The newest epoch of its own log that a device knows another one, or itself, to have taken on.
    pub fn on_epoch(&self, device: &Device, other: usize) -> LogTip {
        let said = device.known[other].said.iter().copied();
        let real = said.filter(|said| *said != NONE && self.ledger.begins(*said, device.chain));
        real.max_by_key(|said| self.ledger.epoch_number(*said))
            .unwrap_or(NONE)
    }

    fn is_on(&self, device: &Device, other: usize, running: LogTip) -> bool {
        let said = self.on_epoch(device, other);
        said != NONE && self.ledger.epoch_number(said) >= self.ledger.epoch_number(running)
    }

    fn has_running_key(&self, device: &Device) -> bool {
        let running = self.ledger.epoch(device.chain);
        running != NONE && self.epoch_key(device, running).is_some()
    }

    pub fn counts(&self, s: &State, chain: LogTip, place: usize) -> bool {
        s.orders[place] != NONE
            && self
                .ledger
                .accepts_erasure(chain, self.ledger.ordered(s.orders[place]))
    }

    /// The epoch that ended an erasure's keys.
    pub fn ended(&self, chain: LogTip, order: u16) -> LogTip {
        let tips = self.ledger.tips(NONE, chain);
        let ends = |tip: &LogTip| matches!(self.ledger.kind(*tip), Kind::Epoch { ends, .. } if ends.contains(&order));
        tips.into_iter().find(ends).unwrap_or(NONE)
    }

    fn to_end(&self, s: &State, d: usize) -> Vec<u16> {
        let device = &s.devices[d];
        members(device.done)
            .filter(|place| self.counts(s, device.chain, *place))
            .map(|place| s.orders[place])
            .filter(|order| self.ended(device.chain, *order) == NONE)
            .collect()
    }

    fn is_void(&self, chain: LogTip, items: &[Item], log: usize, seq: u8) -> bool {
        let generation = items[item(log, seq)].generation;
        self.rules.cuts && self.ledger.is_void(chain, log, seq, generation)
    }

    fn accepts_item(&self, chain: LogTip, log: usize, seq: u8) -> bool {
        if self.rules.cuts {
            self.ledger.accepts_item(chain, log, seq)
        } else {
            self.ledger.was_enrolled(chain, log)
        }
    }

    // Devices.

    /// A device takes the next entry of a log.
    fn adopt(&mut self, s: &mut State, d: usize, tip: LogTip) {
        let before = s.devices[d].chain;
        s.devices[d].chain = tip;
        if s.devices[d].pending == tip {
            s.devices[d].pending = NONE;
        }
        match self.ledger.kind(tip) {
            Kind::Revoke { .. } | Kind::Unite { .. } => self.membership_fell(s, d, before),
            Kind::Epoch { .. } => self.epoch_changed(s, d),
            Kind::Enrol { .. } | Kind::Genesis => {}
        }
        self.drop_wants(s, d);
    }

    fn drop_wants(&self, s: &mut State, d: usize) {
        let chain = s.devices[d].chain;
        if self.ledger.was_enrolled(chain, 2) {
            s.devices[d].wants &= !1;
        }
        for target in 0..DEVICES {
            if self.ledger.is_revoked(chain, target) {
                s.devices[d].wants &= !(2 << target);
            }
        }
        if !self.ledger.is_member(chain, d) && self.ledger.was_enrolled(chain, d) {
            (s.devices[d].wants, s.devices[d].rotate) = (0, false);
        }
    }

    fn epoch_changed(&self, s: &mut State, d: usize) {
        // The wraps come along with the entry, as long as the server has them.
        let with_wraps = self.connected(s, d)
            && s.server.wraps
            && self.ledger.epoch(s.server.chain) == self.ledger.epoch(s.devices[d].chain);
        let device = &mut s.devices[d];
        let running = self.ledger.epoch(device.chain);
        device.rotate = false;
        device.wraps = with_wraps && device.proposed != running;
        if device.proposed == running {
            hold(device, running);
        }
        if device.proposed != NONE
            && self.ledger.epoch_number(device.proposed) <= self.ledger.epoch_number(running)
        {
            device.proposed = NONE;
        }
        self.take_key(s, d);
        open_all(s, d);
    }

    /// After revocations: what they cut off goes, and erasures that don't count any more are ordered again.
    fn membership_fell(&mut self, s: &mut State, d: usize, before: LogTip) {
        let chain = s.devices[d].chain;
        if self.ledger.is_revoked(chain, d) {
            s.devices[d].pending = NONE;
            return;
        }
        s.devices[d].rotate |= self.rules.rotates;
        for log in 0..DEVICES {
            for seq in 1..=s.devices[d].vector[log] {
                let place = item(log, seq);
                let gone = !self.accepts_item(chain, log, seq);
                if gone || self.is_void(chain, &s.items, log, seq) {
                    let device = &mut s.devices[d];
                    if log == d && has(device.got, place) && device.noted == 0 {
                        device.dirty += 1;
                    }
                    device.got &= !bit(place);
                    device.have &= !bit(place);
                }
                if gone {
                    s.devices[d].vector[log] = s.devices[d].vector[log].min(seq - 1);
                }
            }
        }
        for place in members(s.devices[d].done) {
            let fell = self.counts(s, before, place) && !self.counts(s, chain, place);
            if fell {
                self.order_again(s, d, place);
            }
        }
    }

    /// Signs an erasure, and gives its place.
    fn order(&mut self, s: &mut State, d: usize, because: u16) -> usize {
        let number = (1..=ORDERS as u8)
            .find(|number| s.orders[slot(d, *number)] == NONE)
            .expect("a device orders no more than it has room for");
        let order = Order {
            by: d as u8,
            number,
            because,
            control: s.devices[d].chain,
        };
        let place = slot(d, number);
        s.orders[place] = self.ledger.order(order);
        self.note(s, d, bit(place));
        place
    }

    /// Erasures are written down: what the machine itself has of the document goes at once.
    fn note(&self, s: &mut State, d: usize, places: Set) {
        let device = &mut s.devices[d];
        device.noted |= places;
        (device.got, device.keys, device.dirty) = (0, 0, 0);
        if !self.rules.erases_first {
            device.known[d].acks |= places;
        }
    }

    /// Erasures are carried out: nothing is left. If their author was shut out meanwhile, they are ordered again.
    fn carry(&mut self, s: &mut State, d: usize) -> bool {
        let device = &mut s.devices[d];
        let (new, chain) = (device.noted & !device.done, device.chain);
        if new == 0 {
            return false;
        }
        device.done |= new;
        (device.got, device.have, device.keys, device.dirty) = (0, 0, 0, 0);
        device.known[d].acks |= new;
        for place in members(new) {
            let author = usize::from(self.ledger.ordered(s.orders[place]).by);
            let fell = self.ledger.is_revoked(chain, author) && !self.counts(s, chain, place);
            if fell && author != d && self.active(s, d) {
                self.order_again(s, d, place);
            }
        }
        true
    }

    fn order_again(&mut self, s: &mut State, d: usize, place: usize) {
        if self.rules.reissues {
            let because = s.orders[place];
            let again = self.order(s, d, because);
            s.devices[d].done |= bit(again);
            s.devices[d].known[d].acks |= bit(again);
        }
    }

    /// Takes the place of an item in a log: its body, if it is to be had.
    fn receive(&self, s: &mut State, d: usize, log: usize, seq: u8, body: bool) {
        let chain = s.devices[d].chain;
        let void = self.is_void(chain, &s.items, log, seq);
        let device = &mut s.devices[d];
        device.vector[log] = seq;
        if body && !void && (device.noted == 0 || !self.rules.refuses_erased) {
            device.got |= bit(item(log, seq));
        }
        open_all(s, d);
    }

    fn can_fetch(&self, s: &State, d: usize, log: usize) -> Option<u8> {
        let device = &s.devices[d];
        let seq = device.vector[log] + 1;
        (log != d
            && self.settled(s, d)
            && seq <= s.server.heads[log]
            && self.ledger.was_enrolled(device.chain, log)
            && self.accepts_item(device.chain, log, seq))
        .then_some(seq)
    }

    fn fetch(&self, s: &mut State, d: usize, log: usize) -> bool {
        let Some(seq) = self.can_fetch(s, d, log) else {
            return false;
        };
        let body = has(s.server.bodies, item(log, seq));
        self.receive(s, d, log, seq, body);
        true
    }

    fn hear(&self, s: &mut State, d: usize) -> bool {
        if !self.level(s, d) {
            return false;
        }
        let before = s.devices[d].clone();
        for other in (0..DEVICES).filter(|other| *other != d) {
            let (epoch, agreement) = (s.server.epochs[other], s.server.agreement[other]);
            let known = &mut s.devices[d].known[other];
            known.acks |= s.server.acks[other];
            if epoch != NONE {
                let number = self.ledger.epoch_number(epoch) as u8;
                note_said(known, epoch, number, agreement, self.rules.newest_last);
            }
        }
        s.devices[d].receipts |= s.server.erased & s.devices[d].noted;
        s.devices[d] != before
    }

    pub fn wants_epoch(&self, s: &State, d: usize) -> bool {
        let device = &s.devices[d];
        device.rotate || self.outside_knows(device.chain) || !self.to_end(s, d).is_empty()
    }

    fn sign(&mut self, s: &mut State, d: usize, kind: Kind) -> bool {
        if s.devices[d].pending != NONE || !self.settled(s, d) {
            return false;
        }
        match self.ledger.append(s.devices[d].chain, kind) {
            Ok(tip) => {
                s.devices[d].pending = tip;
                true
            }
            Err(error) => panic!("an honest device makes {kind:?}: {error}"),
        }
    }

    fn sign_revoke(&mut self, s: &mut State, d: usize, target: usize) -> bool {
        let device = &s.devices[d];
        if device.wants & 2 << target == 0 || !self.ledger.is_member(device.chain, target) {
            return false;
        }
        let done = (1..=ORDERS as u8).take_while(|number| has(device.done, slot(target, *number)));
        let kind = Kind::Revoke {
            by: d as u8,
            target: target as u8,
            cut: device.vector,
            erasures: done.count() as u8,
        };
        self.sign(s, d, kind)
    }

    /// No member can open the running epoch. A device takes it for so when it has waited for a grant in vain.
    fn nobody_can(&self, s: &State) -> bool {
        (0..DEVICES)
            .all(|d| !self.connected(s, d) || !self.level(s, d) || !self.has_running_key(&s.devices[d]))
    }

    fn sign_epoch(&mut self, s: &mut State, d: usize) -> bool {
        let device = &s.devices[d];
        let chain = device.chain;
        // Everything is applied, and the table is the newest.
        let ready = device.got & !device.have == 0
            && self.ledger.epoch(chain) != NONE
            && (self.has_running_key(device) || self.rules.helps_itself && self.nobody_can(s))
            && (device.noted != 0 || s.server.table & !device.keys == 0 || !self.has_running_key(device));
        if !ready || !self.wants_epoch(s, d) && self.has_running_key(device) {
            return false;
        }
        let mut wraps = Counts::default();
        for (other, wrap) in wraps.iter_mut().enumerate() {
            if self.ledger.is_member(chain, other)
                || !self.rules.excludes && self.ledger.was_enrolled(chain, other)
            {
                *wrap = 1 + device.known[other].agreement;
            }
        }
        let mut ends = [NONE; 3];
        for (place, order) in ends.iter_mut().zip(self.to_end(s, d)) {
            *place = order;
        }
        let kind = Kind::Epoch {
            by: d as u8,
            wraps,
            folded: device.vector,
            keys: device.keys,
            ends,
        };
        let signed = self.sign(s, d, kind);
        if signed {
            s.devices[d].proposed = s.devices[d].pending;
        }
        signed
    }

    // The server.

    /// The server takes an entry that follows its head.
    fn server_takes(&mut self, s: &mut State, tip: LogTip) {
        s.server.chain = tip;
        match self.ledger.kind(tip) {
            Kind::Revoke { .. } | Kind::Unite { .. } => self.enforce(s),
            Kind::Epoch { keys, .. } => {
                s.server.grants = Counts::default();
                s.server.wraps = true;
                s.server.table = if s.server.erased == 0 { keys } else { 0 };
            }
            Kind::Enrol { .. } | Kind::Genesis => {}
        }
    }

    fn enforce(&mut self, s: &mut State) {
        let chain = s.server.chain;
        for device in 0..DEVICES {
            if self.ledger.is_revoked(chain, device) {
                s.server.epochs[device] = NONE;
                s.server.grants[device] = 0;
            }
        }
        for place in members(s.server.erased) {
            if !self.counts(s, chain, place) {
                s.server.erased &= !bit(place);
            }
        }
        for log in 0..DEVICES {
            for seq in 1..=s.server.heads[log] {
                let gone = !self.accepts_item(chain, log, seq);
                if gone || self.is_void(chain, &s.items, log, seq) {
                    s.server.bodies &= !bit(item(log, seq));
                }
                if gone {
                    for seq in seq..=s.server.heads[log] {
                        s.server.bodies &= !bit(item(log, seq));
                    }
                    s.server.heads[log] = seq - 1;
                    break;
                }
            }
        }
    }

    /// The server looks at the entry that a device sent.
    fn judge(&mut self, s: &mut State, d: usize) -> bool {
        let tip = s.devices[d].pending;
        if tip == NONE || !self.online[d] || self.ledger.begins(tip, s.server.chain) {
            return false;
        }
        if !self.connected(s, d) {
            s.devices[d].pending = NONE;
            return true;
        }
        let follows = self.ledger.before(tip) == s.server.chain;
        if !follows && self.rules.swaps {
            // ControlConflict: the device fetches the log.
            s.devices[d].pending = NONE;
            while self.learn(s, d) {}
            return true;
        }
        match self.ledger.kind(tip) {
            Kind::Revoke { cut, .. }
                if self.rules.cuts && (0..DEVICES).any(|log| cut[log] < s.server.heads[log]) =>
            {
                // CutStale: the device fetches what it lacks.
                s.devices[d].pending = NONE;
                self.catch_up(s, d);
            }
            Kind::Epoch { wraps, .. }
                if (0..DEVICES).any(|device| {
                    self.ledger.is_member(s.server.chain, device)
                        && wraps[device] != s.server.agreement[device] + 1
                }) =>
            {
                // AgreementStale: one of both tells the other.
                s.devices[d].pending = NONE;
                for other in 0..DEVICES {
                    let known = s.devices[d].known[other];
                    let newest = self.newest_said(&known);
                    self.server_hears(s, other, newest, known.agreement);
                }
                self.hear(s, d);
            }
            Kind::Epoch { folded, .. }
                if (0..DEVICES).any(|log| {
                    (1..=s.server.heads[log])
                        .any(|seq| seq > folded[log] && s.items[item(log, seq)].new_key != NONE)
                }) =>
            {
                s.devices[d].pending = NONE;
                self.catch_up(s, d);
            }
            _ => self.server_takes(s, tip),
        }
        true
    }

    fn catch_up(&mut self, s: &mut State, d: usize) {
        for log in 0..DEVICES {
            while self.fetch(s, d, log) {}
        }
    }

    /// The server takes an acknowledgement of an epoch. False: it changes nothing.
    fn server_hears(&self, s: &mut State, device: usize, epoch: LogTip, agreement: u8) -> bool {
        if epoch == NONE || !self.ledger.is_member(s.server.chain, device) {
            return false;
        }
        let running = self.ledger.epoch(s.server.chain);
        let number = self.ledger.epoch_number(epoch) as u8;
        // It needn't be of this log: it tells the agreement key all the same.
        let real = self.rules.newest_last || u64::from(number) <= self.ledger.epoch_number(running);
        let had = s.server.numbers[device];
        let known = if self.rules.newest_last {
            agreement <= s.server.agreement[device]
        } else {
            number < had || number == had && s.server.agreement[device] == agreement
        };
        if real && !known {
            s.server.epochs[device] = epoch;
            s.server.numbers[device] = number;
            s.server.agreement[device] = agreement;
        }
        real && !known
    }

    /// The acknowledgement with the highest number.
    fn newest_said(&self, known: &Known) -> LogTip {
        let said = known.said.iter().copied().filter(|said| *said != NONE);
        said.max_by_key(|said| self.ledger.epoch_number(*said))
            .unwrap_or(NONE)
    }

    fn learn(&mut self, s: &mut State, d: usize) -> bool {
        let chain = s.devices[d].chain;
        let can = self.online[d]
            && s.devices[d].joined
            && chain != s.server.chain
            && self.ledger.begins(chain, s.server.chain)
            && !self.ledger.is_revoked(chain, d)
            && (self.ledger.was_enrolled(chain, d) || self.connected(s, d));
        if can {
            let next = self.ledger.next(chain, s.server.chain);
            self.adopt(s, d, next);
        }
        can
    }

    /// Whether somebody has brought in what a branch said.
    fn brings_in(&self, fork: LogTip, tip: LogTip, losing: LogTip) -> bool {
        let mut tips = self.ledger.tips(fork, tip).into_iter();
        tips.any(|tip| match self.ledger.kind(tip) {
            Kind::Unite { losing: theirs, .. } => self.ledger.begins(losing, theirs),
            _ => false,
        })
    }

    fn can_lose(&self, fork: LogTip, tip: LogTip) -> bool {
        let mut tips = self.ledger.tips(fork, tip).into_iter();
        tips.all(|tip| !matches!(self.ledger.kind(tip), Kind::Unite { .. }))
    }

    /// A device that has what the server lacks, or another branch.
    fn settle(&mut self, s: &mut State, d: usize) -> bool {
        let (ours, theirs) = (s.devices[d].chain, s.server.chain);
        if !self.online[d] || !self.active(s, d) || self.ledger.begins(ours, theirs) {
            return false;
        }
        let fork = self.ledger.fork(ours, theirs);
        if !self.connected(s, d) {
            // Turned away: believed if somebody who knew its branch has joined the other.
            let joined = fork != theirs && self.brings_in(fork, theirs, ours);
            if joined {
                self.go_over(s, d);
            }
            return joined;
        }
        if fork == theirs {
            let (before, wraps) = (self.ledger.epoch(theirs), s.devices[d].wraps);
            for tip in self.ledger.tips(fork, ours) {
                self.server_takes(s, tip);
            }
            if self.ledger.epoch(ours) != before {
                s.server.wraps = wraps;
            }
            return true;
        }
        if self.ledger.wins(ours, theirs) {
            let can = self.can_lose(fork, theirs);
            if can {
                s.server.chain = fork;
                for tip in self.ledger.tips(fork, ours) {
                    self.server_takes(s, tip);
                }
                if s.devices[d].wraps && self.ledger.begins(fork, self.ledger.epoch(ours)) {
                    s.server.wraps = true;
                } else if self.ledger.epoch(ours) != self.ledger.epoch(theirs) {
                    s.server.wraps = false;
                }
                self.exchanged(s);
            }
            return can;
        }
        // The device goes over, once what its own branch revoked is brought in.
        if !self.brings_in(fork, theirs, ours) {
            if !self.can_lose(fork, ours) {
                return false;
            }
            let kind = Kind::Unite {
                by: d as u8,
                losing: ours,
            };
            let tip = self.ledger.append(theirs, kind);
            let tip = tip.expect("who goes over is a member, and its branch can lose");
            self.server_takes(s, tip);
        }
        self.go_over(s, d);
        true
    }

    /// The server holds another branch than before.
    fn exchanged(&self, s: &mut State) {
        s.server.numbers = Counts::default();
        s.server.grants = Counts::default();
        for device in 0..DEVICES {
            if !self.ledger.was_enrolled(s.server.chain, device) {
                s.server.epochs[device] = NONE;
                s.server.agreement[device] = 0;
                s.server.acks[device] = 0;
                for seq in 1..=s.server.heads[device] {
                    s.server.bodies &= !bit(item(device, seq));
                }
                s.server.heads[device] = 0;
            }
        }
    }

    /// A device takes the server's branch for its own.
    fn go_over(&mut self, s: &mut State, d: usize) {
        let before = s.devices[d].chain;
        let fork = self.ledger.fork(before, s.server.chain);
        s.devices[d].chain = s.server.chain;
        s.devices[d].pending = NONE;
        let chain = s.server.chain;
        for held in &mut s.devices[d].epochs {
            if *held != NONE && !self.ledger.begins(*held, chain) {
                *held = NONE;
            }
        }
        s.devices[d].epochs.sort_unstable();
        self.membership_fell(s, d, before);
        if self.ledger.is_revoked(chain, d) {
            self.drop_wants(s, d);
            return;
        }
        self.epoch_changed(s, d);
        // What it had made in the branch that lost is made again.
        for lost in self.ledger.tips(fork, before) {
            match self.ledger.kind(lost) {
                Kind::Enrol { by, .. } if usize::from(by) == d => s.devices[d].wants |= 1,
                Kind::Epoch { by, .. } if usize::from(by) == d => s.devices[d].rotate = true,
                _ => {}
            }
        }
        self.drop_wants(s, d);
    }

    fn grant(&self, s: &mut State, d: usize, to: usize) -> bool {
        let device = &s.devices[d];
        let running = self.ledger.epoch(device.chain);
        let known = device.known[to];
        let agreement = known.agreement;
        let can = d != to
            && self.level(s, d)
            && self.ledger.is_member(device.chain, to)
            && running != NONE
            && !self.outside_knows(device.chain)
            && self.epoch_key(device, running) == Some(running)
            && !self.is_on(device, to, running)
            && !(device.wraps
                && matches!(self.ledger.kind(running), Kind::Epoch { wraps, .. } if wraps[to] == agreement + 1))
            && s.server.grants[to] != agreement + 1
            && s.server.agreement[to] == agreement;
        if can {
            s.server.grants[to] = agreement + 1;
        }
        can
    }

    fn take_key(&self, s: &mut State, d: usize) -> bool {
        let device = &s.devices[d];
        if !device.joined || !self.online[d] {
            return false;
        }
        let epoch = self.ledger.epoch(device.chain);
        if epoch == NONE || self.epoch_key(device, epoch).is_some() {
            return false;
        }
        let Kind::Epoch { wraps, .. } = self.ledger.kind(epoch) else {
            return false;
        };
        let (first, last) = device.agreement;
        let opens = |wrap: u8| wrap > 0 && (first..=last).contains(&(wrap - 1));
        let there = self.ledger.epoch(s.server.chain) == epoch;
        let wrapped = (device.wraps || there && s.server.wraps) && opens(wraps[d]);
        let granted = there && opens(s.server.grants[d]);
        if !wrapped && !granted {
            return false;
        }
        s.devices[d].wraps |= there && s.server.wraps;
        hold(&mut s.devices[d], epoch);
        open_all(s, d);
        true
    }

    fn take_on(&self, s: &mut State, d: usize) -> bool {
        let device = &s.devices[d];
        let running = self.ledger.epoch(device.chain);
        if !self.active(s, d) || running == NONE || self.epoch_key(device, running).is_none() {
            return false;
        }
        let number = self.ledger.epoch_number(running);
        if self.is_on(device, d, running) {
            return false;
        }
        let Kind::Epoch { keys, .. } = self.ledger.kind(running) else {
            return false;
        };
        let device = &mut s.devices[d];
        if device.noted == 0 {
            device.keys |= keys;
        }
        if self.rules.destroys_first {
            for held in &mut device.epochs {
                if *held != NONE && self.ledger.epoch_number(*held) < number {
                    *held = NONE;
                }
            }
            device.epochs.sort_unstable();
        }
        device.agreement.1 += 1;
        let newest = device.agreement.1;
        note_said(
            &mut device.known[d],
            running,
            number as u8,
            newest,
            self.rules.newest_last,
        );
        open_all(s, d);
        true
    }

    fn seal(&self, s: &mut State, d: usize) -> bool {
        let device = &s.devices[d];
        let chain = device.chain;
        let seq = device.vector[d] + 1;
        if device.dirty == 0 || device.noted != 0 || !self.settled(s, d) || self.outside_knows(chain) {
            return false;
        }
        if usize::from(seq) > ITEMS {
            // It stays unpublished, and that shows at rest.
            return false;
        }
        let generation = self.ledger.account(chain).generation() as u8;
        let place = item(d, seq);
        let known = members(device.keys).find(|key| s.items[*key].generation == generation);
        let mut shut_out = 0;
        for other in 0..DEVICES {
            shut_out |= u8::from(self.ledger.is_revoked(chain, other)) << other;
        }
        let mut made = Item {
            generation,
            key: known.unwrap_or(place) as u8,
            new_key: NONE,
            shut_out,
        };
        if known.is_none() {
            let Some(epoch) = self.epoch_key(device, self.ledger.epoch(chain)) else {
                return false;
            };
            made.new_key = epoch;
        }
        s.items[place] = made;
        let device = &mut s.devices[d];
        device.dirty -= 1;
        device.vector[d] = seq;
        device.keys |= bit(made.key.into());
        device.got |= bit(place);
        device.have |= bit(place);
        true
    }

    fn push(&mut self, s: &mut State, d: usize, log: usize) -> bool {
        let chain = s.server.chain;
        let seq = s.server.heads[log] + 1;
        if !self.settled(s, d) || seq > s.devices[d].vector[log] || !self.accepts_item(chain, log, seq) {
            return false;
        }
        let place = item(log, seq);
        let made = s.items[place];
        let running = self.ledger.epoch(chain);
        let folded = match self.ledger.kind(running) {
            Kind::Epoch { folded, .. } => folded,
            _ => Counts::default(),
        };
        let hole = s.server.erased != 0 && self.rules.refuses_erased
            || self.is_void(chain, &s.items, log, seq)
            || made.new_key != NONE && made.new_key != running && folded[log] < seq;
        s.server.heads[log] = seq;
        if has(s.devices[d].got, place) && !hole {
            s.server.bodies |= bit(place);
        }
        if !hole {
            return true;
        }
        // The server's entries are on their way before its answer.
        while self.learn(s, d) {}
        let device = &mut s.devices[d];
        if has(device.got, place) && log == d && device.noted == 0 {
            // The author writes it again.
            device.dirty += 1;
            device.got &= !bit(place);
            device.have &= !bit(place);
        }
        true
    }

    /// A device that has what another one lacks, without a server between them.
    fn meet(&self, s: &mut State, d: usize, from: usize, log: usize) -> bool {
        let seq = s.devices[d].vector[log] + 1;
        let can = self.scope.local
            && d != from
            && d != log
            && self.active(s, d)
            && s.devices[from].joined
            && seq <= s.devices[from].vector[log]
            && self.ledger.was_enrolled(s.devices[d].chain, log)
            && self.accepts_item(s.devices[d].chain, log, seq);
        if can {
            let body = has(s.devices[from].got, item(log, seq));
            self.receive(s, d, log, seq, body);
        }
        can
    }

    fn meet_erase(&self, s: &mut State, d: usize, from: usize) -> bool {
        if !self.scope.local || d == from || !self.active(s, d) || !s.devices[from].joined {
            return false;
        }
        let new = s.devices[from].noted & !s.devices[d].noted;
        let counted = self.counted(s, s.devices[d].chain, new);
        if counted != 0 {
            self.note(s, d, counted);
        }
        counted != 0
    }

    pub fn counted(&self, s: &State, chain: LogTip, places: Set) -> Set {
        members(places)
            .filter(|place| self.counts(s, chain, *place))
            .fold(0, |set, place| set | bit(place))
    }

    /// Takes a step, if it can be taken.
    pub fn take(&mut self, before: &State, step: Step) -> Option<State> {
        let mut s = before.clone();
        let took = self.take_in(&mut s, step);
        took.then_some(s)
    }

    fn take_in(&mut self, s: &mut State, step: Step) -> bool {
        match step {
            Step::WantEnrol(d) => {
                let d = usize::from(d);
                let can = s.budget.enrols > 0
                    && self.active(s, d)
                    && !s.devices[2].joined
                    && !self.ledger.was_enrolled(s.devices[d].chain, 2);
                if can {
                    s.budget.enrols -= 1;
                    s.devices[d].wants |= 1;
                    s.devices[2].joined = true;
                }
                can
            }
            Step::WantRevoke(d, target) => {
                let (d, target) = (usize::from(d), usize::from(target));
                let can = s.budget.revokes > 0
                    && self.active(s, d)
                    && self.ledger.is_member(s.devices[d].chain, target)
                    && s.devices[d].wants & 2 << target == 0;
                if can {
                    s.budget.revokes -= 1;
                    s.devices[d].wants |= 2 << target;
                }
                can
            }
            Step::WantRotate(d) => {
                let can =
                    s.budget.rotations > 0 && self.active(s, d.into()) && !s.devices[usize::from(d)].rotate;
                if can {
                    s.budget.rotations -= 1;
                    s.devices[usize::from(d)].rotate = true;
                }
                can
            }
            Step::Order(d) => {
                let device = &s.devices[usize::from(d)];
                let can =
                    s.budget.orders > 0 && self.active(s, d.into()) && device.have != 0 && device.noted == 0;
                if can {
                    s.budget.orders -= 1;
                    self.order(s, d.into(), NONE);
                }
                can
            }
            Step::Edit(d) => {
                let device = &s.devices[usize::from(d)];
                let can =
                    s.budget.edits > 0 && self.active(s, d.into()) && device.have != 0 && device.noted == 0;
                if can {
                    s.budget.edits -= 1;
                    s.devices[usize::from(d)].dirty += 1;
                }
                can
            }
            Step::SignEnrol(d) => {
                let device = &s.devices[usize::from(d)];
                let wanted = device.wants & 1 != 0 && !self.ledger.was_enrolled(device.chain, 2);
                wanted && self.sign(s, d.into(), Kind::Enrol { by: d, device: 2 })
            }
            Step::SignRevoke(d, target) => self.sign_revoke(s, d.into(), target.into()),
            Step::SignEpoch(d) => self.sign_epoch(s, d.into()),
            Step::Judge(d) => self.judge(s, d.into()),
            Step::Learn(d) => self.learn(s, d.into()),
            Step::Settle(d) => self.settle(s, d.into()),
            Step::TakeKey(d) => self.take_key(s, d.into()),
            Step::TakeOn(d) => self.take_on(s, d.into()),
            Step::SayEpoch(d) => {
                let d = usize::from(d);
                let own = s.devices[d].known[d];
                let newest = self.newest_said(&own);
                self.settled(s, d) && self.server_hears(s, d, newest, own.agreement)
            }
            Step::EpochSaid(d) => {
                let d = usize::from(d);
                let device = &mut s.devices[d];
                let (first, last) = device.agreement;
                let can = first < last && s.server.agreement[d] == last && {
                    device.agreement.0 = last;
                    true
                };
                can && self.connected(s, d)
            }
            Step::Grant(d, to) => self.grant(s, d.into(), to.into()),
            Step::Hear(d) => self.hear(s, d.into()),
            Step::Carry(d) => self.carry(s, d.into()),
            Step::SendErase(d) => {
                let d = usize::from(d);
                let device = &s.devices[d];
                let lacks = self.counted(s, device.chain, device.done & !s.server.erased);
                let taken = self.counted(s, s.server.chain, lacks);
                let can = taken != 0 && self.settled(s, d);
                if can {
                    s.server.erased |= taken;
                    (s.server.bodies, s.server.table) = (0, 0);
                }
                can
            }
            Step::TakeErase(d) => {
                let d = usize::from(d);
                let new = s.server.erased & !s.devices[d].noted;
                let new = self.counted(s, s.devices[d].chain, new);
                let can = new != 0 && self.level(s, d);
                if can {
                    self.note(s, d, new);
                }
                can
            }
            Step::SayErased(d) => {
                let d = usize::from(d);
                let new = s.devices[d].known[d].acks & s.server.erased & !s.server.acks[d];
                let can = new != 0 && self.settled(s, d);
                if can {
                    s.server.acks[d] |= new;
                }
                can
            }
            Step::Seal(d) => self.seal(s, d.into()),
            Step::Push(d, log) => self.push(s, d.into(), log.into()),
            Step::Fetch(d, log) => self.fetch(s, d.into(), log.into()),
            Step::PushTable(d) => {
                let d = usize::from(d);
                let device = &s.devices[d];
                let new = device.keys & !s.server.table;
                let can = new != 0
                    && s.server.erased == 0
                    && self.level(s, d)
                    && self.has_running_key(device)
                    && !self.outside_knows(device.chain);
                if can {
                    s.server.table |= new;
                }
                can
            }
            Step::ReadTable(d) => {
                let d = usize::from(d);
                let device = &s.devices[d];
                let new = s.server.table & !device.keys;
                let can = new != 0 && device.noted == 0 && self.level(s, d) && self.has_running_key(device);
                if can {
                    s.devices[d].keys |= new;
                    open_all(s, d);
                }
                can
            }
            Step::Meet(d, from, log) => self.meet(s, d.into(), from.into(), log.into()),
            Step::MeetErase(d, from) => self.meet_erase(s, d.into(), from.into()),
            Step::Lose(d) => {
                let can = s.budget.losses > 0 && s.devices[usize::from(d)].pending != NONE;
                if can {
                    s.budget.losses -= 1;
                    s.devices[usize::from(d)].pending = NONE;
                }
                can
            }
            Step::Backup => {
                let can = s.budget.backups > 0 && s.budget.restores > 0;
                if can {
                    s.budget.backups -= 1;
                    s.backup = s.server.clone();
                }
                can
            }
            Step::Restore => {
                let can = s.budget.restores > 0 && s.server != s.backup;
                if can {
                    s.budget.restores -= 1;
                    s.server = s.backup.clone();
                    s.restored = true;
                    for device in &mut s.devices {
                        device.pending = NONE;
                    }
                }
                can
            }
            Step::RogueSeal(d) => {
                let d = usize::from(d);
                let seq = s.devices[d].vector[d] + 1;
                let key = members(s.devices[d].keys).next();
                let out = self.scope.local && s.budget.rogue > 0 && self.ledger.is_revoked(s.server.chain, d);
                let (true, Some(key)) = (out && usize::from(seq) <= ITEMS, key) else {
                    return false;
                };
                s.budget.rogue -= 1;
                s.items[item(d, seq)] = Item {
                    key: key as u8,
                    new_key: NONE,
                    ..s.items[key]
                };
                let device = &mut s.devices[d];
                device.vector[d] = seq;
                device.got |= bit(item(d, seq));
                true
            }
            Step::RogueOrder(d) => {
                let d = usize::from(d);
                let room = s.orders[slot(d, ORDERS as u8)] == NONE;
                let out = self.scope.local && s.budget.rogue > 0 && self.ledger.is_revoked(s.server.chain, d);
                if out && room {
                    s.budget.rogue -= 1;
                    self.order(s, d, NONE);
                }
                out && room
            }
        }
    }
}

/// Remembers an acknowledgement of an epoch. A device numbers its agreement keys in the order in which it makes them, so
/// the higher is the newer.
fn note_said(known: &mut Known, epoch: LogTip, number: u8, agreement: u8, newest_last: bool) {
    if !known.said.contains(&epoch) {
        let free = known.said.iter().position(|said| *said == NONE);
        known.said[free.expect("no device acknowledges so many epochs")] = epoch;
        known.said.sort_unstable();
    }
    let newer = if newest_last {
        agreement > known.agreement
    } else {
        number >= known.of
    };
    if newer {
        (known.of, known.agreement) = (number, agreement);
    }
}

/// Puts a key beside the others; the order doesn't matter, so it is always the same.
fn hold(device: &mut Device, epoch: LogTip) {
    if !device.epochs.contains(&epoch) {
        let free = device.epochs.iter().position(|held| *held == NONE);
        device.epochs[free.expect("no device holds so many epochs")] = epoch;
        device.epochs.sort_unstable();
    }
}

/// Opens what can be opened.
fn open_all(s: &mut State, d: usize) {
    let items = s.items;
    let device = &mut s.devices[d];
    for place in members(device.got) {
        let new_key = items[place].new_key;
        if new_key != NONE && device.epochs.contains(&new_key) {
            device.keys |= bit(place);
        }
    }
    for place in members(device.got) {
        if has(device.keys, items[place].key.into()) {
            device.have |= bit(place);
        }
    }
}

/// Every step there is.
fn all_steps() -> Vec<Step> {
    let mut steps = vec![Step::Backup, Step::Restore];
    for d in 0..DEVICES as u8 {
        let own = [
            Step::WantEnrol,
            Step::WantRotate,
            Step::Order,
            Step::Edit,
            Step::SignEnrol,
            Step::SignEpoch,
            Step::Judge,
            Step::Learn,
            Step::Settle,
            Step::TakeKey,
            Step::TakeOn,
            Step::SayEpoch,
            Step::EpochSaid,
            Step::Hear,
            Step::Carry,
            Step::SendErase,
            Step::TakeErase,
            Step::SayErased,
            Step::Seal,
            Step::PushTable,
            Step::ReadTable,
            Step::Lose,
            Step::RogueSeal,
            Step::RogueOrder,
        ];
        steps.extend(own.into_iter().map(|step| step(d)));
        for other in 0..DEVICES as u8 {
            let both = [
                Step::WantRevoke,
                Step::SignRevoke,
                Step::Grant,
                Step::Push,
                Step::Fetch,
                Step::MeetErase,
            ];
            steps.extend(both.into_iter().map(|step| step(d, other)));
            steps.extend((0..DEVICES as u8).map(|log| Step::Meet(d, other, log)));
        }
    }
    steps
}

impl System for Model {
    type State = State;
    type Action = Step;

    /// Two or three devices in one epoch, with one document that all of them have.
    fn initial(&mut self) -> State {
        let third = self.scope.three;
        let mut chain = 0;
        for device in 1..if third { 3 } else { 2 } {
            chain = self.ledger.append(chain, Kind::Enrol { by: 0, device }).unwrap();
        }
        let wraps = [1, 1, u8::from(third)];
        let first = Kind::Epoch {
            by: 0,
            wraps,
            folded: [0; DEVICES],
            keys: 0,
            ends: [NONE; 3],
        };
        let epoch = self.ledger.append(chain, first).unwrap();
        let members: Vec<bool> = (0..DEVICES).map(|device| third || device < 2).collect();
        let nobody = Known {
            said: [NONE; EPOCHS],
            agreement: 0,
            of: 0,
            acks: 0,
        };
        let mut said = [nobody; DEVICES];
        for device in (0..DEVICES).filter(|device| members[*device]) {
            note_said(&mut said[device], epoch, 1, 1, true);
        }
        let mut items = [Item::NONE; DEVICES * ITEMS];
        items[0] = Item {
            generation: 0,
            key: 0,
            new_key: epoch,
            shut_out: 0,
        };
        let devices = std::array::from_fn(|d| Device {
            joined: members[d],
            chain: if members[d] { epoch } else { 0 },
            pending: NONE,
            proposed: NONE,
            epochs: said[d].said,
            wraps: false,
            agreement: (u8::from(members[d]), u8::from(members[d])),
            known: if members[d] { said } else { [nobody; DEVICES] },
            noted: 0,
            done: 0,
            receipts: 0,
            vector: [u8::from(members[d]), 0, 0],
            got: members[d].into(),
            have: members[d].into(),
            keys: members[d].into(),
            dirty: 0,
            wants: 0,
            rotate: false,
        });
        let server = Server {
            chain: epoch,
            epochs: said.map(|said| said.said[0]),
            numbers: said.map(|said| said.of),
            agreement: said.map(|said| said.agreement),
            grants: Counts::default(),
            wraps: true,
            erased: 0,
            acks: [0; DEVICES],
            heads: [1, 0, 0],
            bodies: 1,
            table: 1,
        };
        let mut state = State {
            backup: server.clone(),
            server,
            devices,
            items,
            orders: [NONE; DEVICES * ORDERS],
            budget: self.scope.budget,
            restored: false,
        };
        for step in self.script.clone() {
            state = self
                .take(&state, step)
                .unwrap_or_else(|| panic!("{step:?} can't be taken"));
        }
        state
    }

    fn steps(&mut self, state: &State, out: &mut Vec<(Step, State)>) {
        for step in all_steps() {
            if let Some(next) = self.take(state, step) {
                out.push((step, next));
            }
        }
    }

    fn by_itself(step: &Step) -> bool {
        !matches!(
            step,
            Step::WantEnrol(_)
                | Step::WantRevoke(..)
                | Step::WantRotate(_)
                | Step::Order(_)
                | Step::Edit(_)
                | Step::Meet(..)
                | Step::MeetErase(..)
                | Step::Lose(_)
                | Step::Backup
                | Step::Restore
                | Step::RogueSeal(_)
                | Step::RogueOrder(_)
        )
    }

    fn always(&mut self, state: &State) -> Result<(), &'static str> {
        self.hold_always(state)
    }

    fn at_rest(&mut self, state: &State) -> Result<(), &'static str> {
        self.hold_at_rest(state)
    }
}
