//! What the server does with what it is sent, and how device and server bring two branches together.

use super::super::ledger::{Counts, DEVICES, Kind, LogTip, NONE};
use super::super::state::{Known, State, bit, has, item, members};
use super::Model;

impl Model {
    /// The server takes an entry that follows its head.
    pub(super) fn server_takes(&mut self, s: &mut State, tip: LogTip) {
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

    pub(super) fn enforce(&mut self, s: &mut State) {
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
    pub(super) fn judge(&mut self, s: &mut State, d: usize) -> bool {
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

    pub(super) fn catch_up(&mut self, s: &mut State, d: usize) {
        for log in 0..DEVICES {
            while self.fetch(s, d, log) {}
        }
    }

    /// The server takes an acknowledgement of an epoch. False: it changes nothing.
    pub(super) fn server_hears(&self, s: &mut State, device: usize, epoch: LogTip, agreement: u8) -> bool {
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
    pub(super) fn newest_said(&self, known: &Known) -> LogTip {
        let said = known.said.iter().copied().filter(|said| *said != NONE);
        said.max_by_key(|said| self.ledger.epoch_number(*said))
            .unwrap_or(NONE)
    }

    pub(super) fn learn(&mut self, s: &mut State, d: usize) -> bool {
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
    pub(super) fn brings_in(&self, fork: LogTip, tip: LogTip, losing: LogTip) -> bool {
        let mut tips = self.ledger.tips(fork, tip).into_iter();
        tips.any(|tip| match self.ledger.kind(tip) {
            Kind::Unite { losing: theirs, .. } => self.ledger.begins(losing, theirs),
            _ => false,
        })
    }

    pub(super) fn can_lose(&self, fork: LogTip, tip: LogTip) -> bool {
        let mut tips = self.ledger.tips(fork, tip).into_iter();
        tips.all(|tip| !matches!(self.ledger.kind(tip), Kind::Unite { .. }))
    }

    /// A device that has what the server lacks, or another branch.
    pub(super) fn settle(&mut self, s: &mut State, d: usize) -> bool {
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
    pub(super) fn exchanged(&self, s: &mut State) {
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
    pub(super) fn go_over(&mut self, s: &mut State, d: usize) {
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

    pub(super) fn grant(&self, s: &mut State, d: usize, to: usize) -> bool {
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

    pub(super) fn push(&mut self, s: &mut State, d: usize, log: usize) -> bool {
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
}
