//! What a device does: with entries it hears of, with its keys, with what it writes and what it erases.

use super::super::ledger::{Counts, DEVICES, Kind, LogTip, NONE, ORDERS, Order};
use super::super::state::{ITEMS, Item, Set, State, bit, has, item, members, slot};
use super::{Model, hold, note_said, open_all};

impl Model {
    /// A device takes the next entry of a log.
    pub(super) fn adopt(&mut self, s: &mut State, d: usize, tip: LogTip) {
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

    pub(super) fn drop_wants(&self, s: &mut State, d: usize) {
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

    pub(super) fn epoch_changed(&self, s: &mut State, d: usize) {
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
    pub(super) fn membership_fell(&mut self, s: &mut State, d: usize, before: LogTip) {
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
    pub(super) fn order(&mut self, s: &mut State, d: usize, because: u16) -> usize {
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
    pub(super) fn note(&self, s: &mut State, d: usize, places: Set) {
        let device = &mut s.devices[d];
        device.noted |= places;
        (device.got, device.keys, device.dirty) = (0, 0, 0);
        if !self.rules.erases_first {
            device.known[d].acks |= places;
        }
    }

    /// Erasures are carried out: nothing is left. If their author was shut out meanwhile, they are ordered again.
    pub(super) fn carry(&mut self, s: &mut State, d: usize) -> bool {
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

    pub(super) fn order_again(&mut self, s: &mut State, d: usize, place: usize) {
        if self.rules.reissues {
            let because = s.orders[place];
            let again = self.order(s, d, because);
            s.devices[d].done |= bit(again);
            s.devices[d].known[d].acks |= bit(again);
        }
    }

    /// Takes the place of an item in a log: its body, if it is to be had.
    pub(super) fn receive(&self, s: &mut State, d: usize, log: usize, seq: u8, body: bool) {
        let chain = s.devices[d].chain;
        let void = self.is_void(chain, &s.items, log, seq);
        let device = &mut s.devices[d];
        device.vector[log] = seq;
        if body && !void && (device.noted == 0 || !self.rules.refuses_erased) {
            device.got |= bit(item(log, seq));
        }
        open_all(s, d);
    }

    pub(super) fn can_fetch(&self, s: &State, d: usize, log: usize) -> Option<u8> {
        let device = &s.devices[d];
        let seq = device.vector[log] + 1;
        (log != d
            && self.settled(s, d)
            && seq <= s.server.heads[log]
            && self.ledger.was_enrolled(device.chain, log)
            && self.accepts_item(device.chain, log, seq))
        .then_some(seq)
    }

    pub(super) fn fetch(&self, s: &mut State, d: usize, log: usize) -> bool {
        let Some(seq) = self.can_fetch(s, d, log) else {
            return false;
        };
        let body = has(s.server.bodies, item(log, seq));
        self.receive(s, d, log, seq, body);
        true
    }

    pub(super) fn hear(&self, s: &mut State, d: usize) -> bool {
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

    pub(super) fn sign(&mut self, s: &mut State, d: usize, kind: Kind) -> bool {
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

    pub(super) fn sign_revoke(&mut self, s: &mut State, d: usize, target: usize) -> bool {
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
    pub(super) fn nobody_can(&self, s: &State) -> bool {
        (0..DEVICES)
            .all(|d| !self.connected(s, d) || !self.level(s, d) || !self.has_running_key(&s.devices[d]))
    }

    pub(super) fn sign_epoch(&mut self, s: &mut State, d: usize) -> bool {
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

    pub(super) fn take_key(&self, s: &mut State, d: usize) -> bool {
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

    pub(super) fn take_on(&self, s: &mut State, d: usize) -> bool {
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

    pub(super) fn seal(&self, s: &mut State, d: usize) -> bool {
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
}
