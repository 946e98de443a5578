//! The steps: what users want, what devices and server do by themselves, what goes wrong.

mod device;
mod server;

use super::explore::System;
use super::ledger::{Counts, DEVICES, Kind, Ledger, LogTip, NONE, ORDERS};
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
