//! What must hold. Each rule is written down anew from the page, without the code that the steps go by.

use super::ledger::{Counts, DEVICES, Evidence, Kind, LogTip, NONE};
use super::rules::Model;
use super::state::{Set, State, bit, has, item, members};

type Held = Result<(), &'static str>;

fn hold(fine: bool, rule: &'static str) -> Held {
    if fine { Ok(()) } else { Err(rule) }
}

/// A revocation, as the page has it: whom, where every log was cut, and its place among the revocations.
struct Cut {
    targets: Vec<usize>,
    heads: Counts,
    generation: u8,
}

/// Adds a revocation, as far as somebody is still there to be shut out.
fn add(cuts: &mut Vec<Cut>, mut targets: Vec<usize>, cut: Counts) {
    targets.retain(|target| !cuts.iter().any(|before| before.targets.contains(target)));
    if !targets.is_empty() {
        let generation = cuts.len() as u8 + 1;
        cuts.push(Cut {
            targets,
            heads: cut,
            generation,
        });
    }
}

impl Model {
    pub fn hold_always(&mut self, s: &State) -> Held {
        self.logs_agree(s)?;
        for d in 0..DEVICES {
            self.keys_of_epochs(s, d)?;
            erased_is_gone(s, d)?;
            self.cuts_are_kept(s, s.devices[d].chain, s.devices[d].have, d)?;
            self.certificates(s, d)?;
        }
        hold(
            self.counted(s, s.server.chain, s.server.erased) == 0 || s.server.bodies == 0,
            "the server has a body of what was erased",
        )?;
        self.cuts_are_kept(s, s.server.chain, s.server.bodies, DEVICES)?;
        self.shut_out_reads_nothing(s)
    }

    /// One chain; after a restored server at most two branches, of which everybody finds the same one better.
    fn logs_agree(&mut self, s: &State) -> Held {
        let joined: Vec<LogTip> = s.devices.iter().filter(|d| d.joined).map(|d| d.chain).collect();
        for ours in joined {
            let theirs = s.server.chain;
            if !s.restored {
                hold(
                    self.ledger.begins(ours, theirs),
                    "a device has what isn't in the server's log",
                )?;
            } else if !self.ledger.begins(ours, theirs) && !self.ledger.begins(theirs, ours) {
                let (one, other) = (self.ledger.wins(ours, theirs), self.ledger.wins(theirs, ours));
                hold(one != other, "two devices disagree which branch wins")?;
            }
        }
        Ok(())
    }

    /// Who holds which epoch's key.
    fn keys_of_epochs(&mut self, s: &State, d: usize) -> Held {
        let device = &s.devices[d];
        for held in device.epochs.iter().copied().filter(|held| *held != NONE) {
            hold(
                !self.ledger.is_revoked(held, d),
                "a device has the key of an epoch that began after it was shut out",
            )?;
            let said = self.on_epoch(device, d);
            let old = said != NONE && held != said && self.ledger.begins(held, said);
            hold(
                !old,
                "a device has an old epoch's key after it said that it has a new one",
            )?;
        }
        let running = self.ledger.epoch(device.chain);
        let taken = (running != NONE)
            .then(|| self.epoch_key(device, running))
            .flatten();
        hold(
            taken.is_none_or(|taken| taken == running),
            "a device takes another epoch's key for the running one",
        )?;
        // What it still has opens no earlier epoch.
        let said = self.on_epoch(device, d);
        let (first, last) = device.agreement;
        if said != NONE && first == last {
            let mut at = self.ledger.before(said);
            while at != NONE {
                let opens =
                    matches!(self.ledger.kind(at), Kind::Epoch { wraps, .. } if wraps[d] == first + 1);
                hold(!opens, "an agreement key that is left opens an earlier epoch")?;
                at = self.ledger.before(at);
            }
        }
        Ok(())
    }

    /// The revocations on a log, counted as the page counts them. Those that a reunion brings in count, too, and take with
    /// their target whom it let in behind the fork.
    fn cuts(&self, chain: LogTip) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = Vec::new();
        for tip in self.ledger.tips(NONE, chain) {
            match self.ledger.kind(tip) {
                Kind::Revoke { target, cut, .. } => add(&mut cuts, vec![target.into()], cut),
                Kind::Unite { losing, .. } => {
                    let before = self.ledger.before(tip);
                    let fork = self.ledger.fork(before, losing);
                    for entry in self.ledger.tips(fork, losing) {
                        if let Kind::Revoke { target, cut, .. } = self.ledger.kind(entry) {
                            let mut targets = vec![usize::from(target)];
                            for entry in self.ledger.tips(fork, before) {
                                if let Kind::Enrol { by, device } = self.ledger.kind(entry)
                                    && targets.contains(&by.into())
                                {
                                    targets.push(device.into());
                                }
                            }
                            targets.retain(|target| self.ledger.was_enrolled(before, *target));
                            add(&mut cuts, targets, cut);
                        }
                    }
                }
                _ => {}
            }
        }
        cuts
    }

    /// Nothing stands that lies behind a cut: not of who was shut out, nor of others under an older key.
    fn cuts_are_kept(&mut self, s: &State, chain: LogTip, bodies: Set, who: usize) -> Held {
        if who < DEVICES && self.ledger.is_revoked(chain, who) {
            return Ok(());
        }
        for cut in self.cuts(chain) {
            for log in 0..DEVICES {
                for seq in cut.heads[log] + 1..=super::state::ITEMS as u8 {
                    let place = item(log, seq);
                    let behind = has(bodies, place)
                        && (cut.targets.contains(&log) || s.items[place].generation < cut.generation);
                    hold(!behind, "a write behind a revocation's cut was accepted")?;
                }
            }
        }
        Ok(())
    }

    /// What is written by those who know of a revocation can't be read by who was shut out: not with all the keys it had
    /// and every message that there ever was.
    fn shut_out_reads_nothing(&mut self, s: &State) -> Held {
        for d in 0..DEVICES {
            let device = &s.devices[d];
            let mut keys = device.keys;
            for (place, item) in s.items.iter().enumerate() {
                if item.new_key != NONE && device.epochs.contains(&item.new_key) {
                    keys |= bit(place);
                }
            }
            let running = self.ledger.epoch(s.server.chain);
            if device.epochs.contains(&running) {
                keys |= s.server.table;
            }
            for item in s.items.iter().filter(|item| item.generation != u8::MAX) {
                let read = item.shut_out & 1 << d != 0 && has(keys, item.key.into());
                hold(!read, "who was shut out can read what was written after it")?;
            }
        }
        Ok(())
    }

    /// Whether a certificate about this erasure should be complete: everybody who is a member and may have held it has
    /// confirmed it and an epoch that ends it.
    fn seems_complete(&self, s: &State, d: usize, place: usize) -> bool {
        let device = &s.devices[d];
        let chain = device.chain;
        let follows = self.followers(s, d, place);
        members(follows).all(|place| {
            if !self.counts(s, chain, place) {
                return true;
            }
            let ended = self.ended(chain, s.orders[place]);
            ended != NONE
                && has(device.receipts, place)
                && (0..DEVICES).all(|other| {
                    let account = self.ledger.account(chain);
                    let id = self.ledger.id(other);
                    let Some(member) = account.member(&id) else {
                        return true;
                    };
                    let said = self.on_epoch(device, other);
                    member.enrolled > self.ledger.number(ended)
                        || has(device.known[other].acks, place)
                            && said != NONE
                            && self.ledger.epoch_number(said) >= self.ledger.epoch_number(ended)
                })
        })
    }

    /// An erasure and those that follow from it, as far as a device knows them.
    fn followers(&self, s: &State, d: usize, place: usize) -> Set {
        let mut found = bit(place);
        loop {
            let more = members(s.devices[d].noted & !found).filter(|other| {
                let because = self.ledger.ordered(s.orders[*other]).because;
                members(found).any(|place| s.orders[place] == because)
            });
            match more.fold(0, |set, place| set | bit(place)) {
                0 => return found,
                more => found |= more,
            }
        }
    }

    /// A certificate is complete only if it is true, and there is one wherever nothing is missing.
    fn certificates(&mut self, s: &State, d: usize) -> Held {
        if !self.active(s, d) {
            return Ok(());
        }
        let device = &s.devices[d];
        for place in members(device.done) {
            if !self.counts(s, device.chain, place) {
                continue;
            }
            let seems = self.seems_complete(s, d, place);
            if !seems && !self.scope.certify_all {
                continue;
            }
            match self.ledger.certify(self.evidence(s, d, place)) {
                Ok(true) => self.is_true(s, d, place)?,
                Ok(false) => hold(!seems, "a certificate misses something that isn't missing")?,
                Err(_) => hold(!seems, "there is no certificate although nothing is missing")?,
            }
        }
        Ok(())
    }

    /// What a complete certificate says, looked at on the devices themselves.
    fn is_true(&self, s: &State, d: usize, place: usize) -> Held {
        let chain = s.devices[d].chain;
        let ended = self.ended(chain, s.orders[place]);
        for (other, device) in s.devices.iter().enumerate() {
            if !device.joined
                || self.ledger.is_revoked(chain, other)
                || !self.ledger.was_enrolled(chain, other)
            {
                continue;
            }
            let old = device
                .epochs
                .iter()
                .any(|held| *held != NONE && ended != *held && self.ledger.begins(*held, ended));
            // A body without its key may still come to it, from one that was shut out: it can't be read.
            hold(
                device.have | device.keys == 0,
                "a certificate is complete, and a device still has what was erased",
            )?;
            hold(
                !old,
                "a certificate is complete, and a device still has an old epoch's key",
            )?;
        }
        Ok(())
    }

    /// Once nothing happens by itself any more: one head, one epoch, one erased set.
    pub fn hold_at_rest(&mut self, s: &State) -> Held {
        let chain = s.server.chain;
        let mut read: Option<Set> = None;
        let mut gone: Option<bool> = None;
        // The server has forgotten that somebody is out: the others wait for what that one would have to say.
        let forgotten = (0..DEVICES)
            .any(|d| self.ledger.is_member(chain, d) && self.ledger.is_revoked(s.devices[d].chain, d));
        for d in 0..DEVICES {
            let device = &s.devices[d];
            // Who knows that it was shut out says no more, also to a server that has forgotten it.
            let left = self.ledger.is_revoked(device.chain, d);
            if !device.joined || left || !self.ledger.is_member(chain, d) {
                continue;
            }
            hold(device.chain == chain, "at rest, and a member has another head")?;
            hold(
                device.pending == NONE && device.wants == 0,
                "at rest, and something is still wanted",
            )?;
            hold(
                !device.rotate && !self.wants_epoch(s, d),
                "at rest, and a new epoch is still wanted",
            )?;
            let running = self.ledger.epoch(chain);
            hold(
                self.epoch_key(device, running) == Some(running),
                "at rest, and a member can't open the running epoch",
            )?;
            hold(
                self.on_epoch(device, d) == running,
                "at rest, and a member hasn't said that it has taken on the running epoch",
            )?;
            hold(
                s.server.epochs[d] == running && s.server.agreement[d] == device.agreement.1,
                "at rest, and the server doesn't know a member's newest agreement key",
            )?;
            hold(
                device.agreement.0 == device.agreement.1,
                "at rest, and a member still has an old agreement key",
            )?;
            hold(
                self.counted(s, chain, device.done) == s.server.erased,
                "at rest, and a member's erased set is another",
            )?;
            hold(
                gone.is_none_or(|gone| gone == (device.noted != 0)),
                "at rest, and what one member has erased another one has",
            )?;
            gone = Some(device.noted != 0);
            hold(device.dirty == 0, "at rest, and a change wasn't published")?;
            if s.server.erased == 0 && !s.restored && !ever_erased(s) {
                hold(
                    read.is_none_or(|read| read == device.have),
                    "at rest, and two members read different things",
                )?;
                read = Some(device.have);
            }
            for place in members(self.counted(s, chain, device.done)) {
                hold(
                    forgotten || self.seems_complete(s, d, place),
                    "at rest, and an erasure isn't complete",
                )?;
            }
        }
        Ok(())
    }

    /// Everything that a device has about an erasure.
    fn evidence(&self, s: &State, d: usize, place: usize) -> Evidence {
        let device = &s.devices[d];
        let mut erasures = [NONE; 6];
        let (mut receipts, mut acks) = (0, [0; DEVICES]);
        for (at, place) in members(device.noted).take(6).enumerate() {
            erasures[at] = s.orders[place];
            receipts |= u8::from(has(device.receipts, place)) << at;
            for (other, acks) in acks.iter_mut().enumerate() {
                *acks |= u8::from(has(device.known[other].acks, place)) << at;
            }
        }
        Evidence {
            issuer: d as u8,
            control: device.chain,
            subject: s.orders[place],
            erasures,
            receipts,
            acks,
            epochs: std::array::from_fn(|other| self.on_epoch(device, other)),
        }
    }
}

/// What a device has confirmed as erased can't be read on it, by any copy and any key.
fn erased_is_gone(s: &State, d: usize) -> Held {
    let device = &s.devices[d];
    let said = device.done | device.known[d].acks;
    hold(
        said == 0 || device.have | device.got | device.keys == 0,
        "an erased document can be read on a device that confirmed it",
    )
}

/// Whether anything was ever erased, also by an order that doesn't count any more.
fn ever_erased(s: &State) -> bool {
    s.orders.iter().any(|order| *order != NONE)
}
