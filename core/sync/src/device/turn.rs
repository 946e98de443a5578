//! One step: the state, what the journal holds, and what is to come out.

use std::collections::{BTreeMap, BTreeSet};

use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlStatement, EpochWraps, Genesis, genesis_approval_id, wraps_hash,
};
use hearth_protocol::erasure::EraseSet;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{Statement, log_id};
use hearth_protocol::id::{AccountId, DeviceId, Handle, Hash, Link, LogId, Signature, TimeMs};
use hearth_protocol::limits::SHARDS;
use hearth_protocol::statement::{AnyStatement, LogOpen};
use hearth_protocol::vector::{Head, VersionVector};

use super::disk::Disk;
use super::record::{Expected, Log, State, Waiting, place_key, space};
use super::{
    Device, DeviceError, Erased, Founding, Input, Joining, Journal, Keychain, MemoryJournal, Notice, Output,
};
use crate::keys::{EpochKey, SigningKey};
use crate::secret::{Random, random_bytes};

/// The key of the one record of a space that has one.
pub(super) const ONLY: &[u8] = b"state";

pub(super) struct Turn<'a> {
    pub(super) d: &'a mut Device,
    pub(super) disk: Disk<'a>,
    pub(super) now: u64,
    pub(super) random: &'a mut dyn Random,
    /// What belongs into the transaction of the write.
    pub(super) effects: Vec<Output>,
    /// What is sent, after the keychain was written.
    pub(super) sends: Vec<Output>,
    /// What is said to the face.
    pub(super) asides: Vec<Output>,
    pub(super) keychain: bool,
    /// Handles that were erased in this step, and whose bodies may still wait for something.
    pub(super) sweep: BTreeSet<Handle>,
    /// The connection is closed after what is sent, with this code.
    pub(super) ends: bool,
    close: Option<ErrorCode>,
    pub(super) wake: Option<u64>,
    state_before: State,
}

impl Device {
    /// Whether the control log knows the device of a log. One that only a losing branch let in sleeps until it is let in
    /// again: nobody else can take its log.
    pub(super) fn is_awake(&self, log: &Log) -> bool {
        self.account.devices().contains_key(&log.open.statement.device)
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        d: &'a mut Device,
        now: u64,
        random: &'a mut dyn Random,
        journal: &'a dyn Journal,
    ) -> Self {
        let state_before = d.state.clone();
        Self {
            d,
            disk: Disk::new(journal),
            now,
            random,
            effects: Vec::new(),
            sends: Vec::new(),
            asides: Vec::new(),
            keychain: false,
            sweep: BTreeSet::new(),
            ends: false,
            close: None,
            wake: None,
            state_before,
        }
    }

    pub(super) fn take(&mut self, input: Input) -> Result<(), DeviceError> {
        if std::mem::take(&mut self.d.fresh) {
            self.erase_again()?;
        }
        match input {
            Input::Connected { exporter, peer } => self.connected(exporter, peer)?,
            Input::Disconnected => self.d.session = None,
            Input::Frame(bytes) => self.frame(&bytes)?,
            Input::Batch(bytes) => self.batch(&bytes)?,
            Input::Changed {
                handle,
                kind,
                content,
            } => self.changed(handle, kind, content)?,
            Input::Erase(handles) => self.order(&handles, None)?,
            Input::ClosureDone { erase, journal, more } => self.closure_done(&erase, journal, &more)?,
            Input::Checkpoint => self.make_checkpoint()?,
            Input::Restored => self.restored()?,
            Input::Tick => self.tick()?,
            command => self.command(command)?,
        }
        self.pump()
    }

    /// Everything that came out, in the order in which it is to be done.
    pub(super) fn finish(mut self) -> Vec<Output> {
        if self.d.state != self.state_before {
            let state = self.d.state.clone();
            self.disk.put(space::STATE, ONLY, &state);
        }
        let mut outputs = Vec::new();
        let records = self.disk.into_records();
        if !records.is_empty() {
            outputs.push(Output::Write(records));
        }
        outputs.append(&mut self.effects);
        if self.keychain {
            outputs.push(Output::Keychain(Box::new(self.d.keys.clone())));
        }
        outputs.append(&mut self.sends);
        if self.ends {
            self.d.session = None;
            outputs.push(Output::Close(self.close));
        }
        outputs.append(&mut self.asides);
        if let Some(at) = self.wake {
            outputs.push(Output::WakeAt(at));
        }
        outputs
    }

    /// Closes the connection, once what was said is sent.
    pub(super) fn end(&mut self, code: Option<ErrorCode>) {
        self.ends = true;
        self.close = code;
    }

    pub(super) fn account(&self) -> AccountId {
        self.d.account.id()
    }

    pub(super) fn at(&self) -> TimeMs {
        TimeMs { ms: self.now }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        let notice = Output::Notice(notice);
        let repeated = self.asides.iter().any(
            |other| matches!((other, &notice), (Output::Notice(one), Output::Notice(two)) if one == two),
        );
        if !repeated {
            self.asides.push(notice);
        }
    }

    pub(super) fn wake_at(&mut self, at: u64) {
        self.wake = Some(self.wake.map_or(at, |other| other.min(at)));
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.d.state.counter += 1;
        self.d.state.counter
    }

    pub(super) fn put_log(&mut self, log: &LogId) {
        if let Some(state) = self.d.logs.get(log) {
            self.disk.put(space::LOG, &log.0, state);
        }
    }

    /// The link after an item that is on disk.
    pub(super) fn link_at(&self, log: &LogId, seq: u64) -> Result<Option<Link>, DeviceError> {
        let Some(state) = self.d.logs.get(log) else {
            return Ok(None);
        };
        if seq == 0 {
            return Ok(Some(first_link(&self.account(), &state.open.statement)));
        }
        if seq == state.stored.seq {
            return Ok(Some(state.stored.link));
        }
        if seq == state.folded.seq {
            return Ok(Some(state.folded.link));
        }
        let place: Option<super::record::Place> = self.disk.get(space::PLACE, &place_key(log, seq))?;
        Ok(place.map(|place| place.link))
    }

    /// What is stored: every log that is open, those without an item too.
    pub(super) fn vector(&self) -> Result<VersionVector, DeviceError> {
        let awake = self.d.logs.iter().filter(|(_, state)| self.d.is_awake(state));
        Ok(VersionVector::new(
            awake.map(|(log, state)| (*log, state.stored)),
        )?)
    }

    /// What is applied.
    pub(super) fn applied_vector(&self) -> Result<VersionVector, DeviceError> {
        let awake = self.d.logs.iter().filter(|(_, state)| self.d.is_awake(state));
        let heads = awake.map(|(log, state)| (*log, state.applied));
        Ok(VersionVector::new(heads.filter(|(_, head)| head.seq > 0))?)
    }

    /// Opens a log for this incarnation.
    pub(super) fn open_log(&mut self) {
        let statement = LogOpen {
            device: self.d.me,
            nonce: random_bytes(self.random),
        };
        let account = self.account();
        let log = statement.log(&account);
        let link = first_link(&account, &statement);
        let open = self.d.signer.sign_statement(&account, statement);
        let head = Head { seq: 0, link };
        self.d.logs.insert(
            log,
            Log {
                open: open.clone(),
                stored: head,
                applied: head,
                folded: head,
                safe: 0,
            },
        );
        self.put_log(&log);
        self.d.state.log = Some(log);
        self.d.state.erase_number = 0;
        self.d.state.announced = EraseSet::default();
        (self.d.keys.seq, self.d.keys.link) = (0, link);
        self.keychain = true;
        self.unsent(&AnyStatement::LogOpen(open));
    }

    /// The own log, if it may be written.
    pub(super) fn own_log(&self) -> Option<(LogId, &Log)> {
        let log = self.d.state.log?;
        self.d.logs.get(&log).map(|state| (log, state))
    }
}

/// The link before a log's first item: the id of its opening.
pub(super) fn first_link(account: &AccountId, open: &LogOpen) -> Link {
    Link(open.id(account).0)
}

/// The device that a log is of, if its id is right.
pub(super) fn log_of(account: &AccountId, open: &LogOpen) -> LogId {
    log_id(account, &open.device, &open.nonce)
}

fn empty(keys: Keychain, genesis: ControlEntry) -> Result<Device, DeviceError> {
    let signer = keys.signing()?;
    let me = keys.public()?.device_id();
    Ok(Device {
        account: Account::open(&genesis)?,
        history: vec![genesis],
        keys,
        signer,
        me,
        state: State::default(),
        logs: BTreeMap::new(),
        erased: Erased::default(),
        agreement: BTreeMap::new(),
        on_epoch: BTreeMap::new(),
        lost_keys: BTreeSet::new(),
        lost_ack: 0,
        wraps: None,
        granted: BTreeMap::new(),
        outbox: BTreeMap::new(),
        needed: BTreeMap::new(),
        turned_away: BTreeMap::new(),
        table: Hash::ZERO,
        table_epoch: 0,
        table_known: None,
        shards: vec![Hash::ZERO; SHARDS],
        unsent: BTreeSet::new(),
        peers: BTreeMap::new(),
        asked_needs: BTreeSet::new(),
        keys_stale: false,
        asks_first: false,
        confirmations_told: BTreeSet::new(),
        aside: false,
        aside_stale: false,
        torn: BTreeSet::new(),
        torn_table: Hash::ZERO,
        torn_pieces: false,
        torn_again: false,
        fresh: true,
        removed: false,
        phrase: None,
        session: None,
    })
}

pub(super) fn load(journal: &dyn Journal, keys: Keychain) -> Result<Device, DeviceError> {
    let disk = Disk::new(journal);
    let history: Vec<ControlEntry> = disk
        .all(space::CONTROL, &[])?
        .into_iter()
        .map(|(_, entry)| entry)
        .collect();
    let genesis = history.first().ok_or(DeviceError::Missing(space::CONTROL))?;
    let mut device = empty(keys, genesis.clone())?;
    device.account = Account::replay(&history)?;
    device.history = history;
    device.state = disk
        .get(space::STATE, ONLY)?
        .ok_or(DeviceError::Missing(space::STATE))?;
    for (key, log) in disk.all::<Log>(space::LOG, &[])? {
        let id = LogId(
            key.as_slice()
                .try_into()
                .map_err(|_| DeviceError::Missing(space::LOG))?,
        );
        device.logs.insert(id, log);
    }
    disk.each(space::OUTBOX, &[], |key, waiting: Waiting| {
        let number = u64::from_be_bytes(key.try_into().map_err(|_| DeviceError::Missing(space::OUTBOX))?);
        device
            .outbox
            .insert(number, (waiting.handle, waiting.what.size()));
        Ok(())
    })?;
    for (key, at) in disk.all::<u64>(space::NEED, &[])? {
        if let Ok(handle) = <[u8; 16]>::try_from(key.as_slice()) {
            device.needed.insert(Handle(handle), at);
        }
    }
    let wraps: Option<EpochWraps> = disk.get(space::WRAPS, ONLY)?;
    device.wraps = wraps.map(|wraps| wraps_hash(&device.account.id(), &wraps));
    super::erasure::load(&mut device, &disk)?;
    super::statement::load(&mut device, &disk)?;
    super::registry::load(&mut device, &disk)?;
    super::aside::load(&mut device, &disk)?;
    disk.each(space::WAITS, &[], |key, _: u8| {
        device.torn.extend(super::record::of_place_key(key));
        Ok(())
    })?;
    // A keychain that is further than the journal: the database is from a backup.
    if let Some(log) = device.state.log.and_then(|log| device.logs.get(&log)) {
        let ahead = device.keys.seq > log.stored.seq
            || (device.keys.seq == log.stored.seq && device.keys.link != log.stored.link);
        device.state.doubtful |= ahead;
        if !ahead {
            (device.keys.seq, device.keys.link) = (log.stored.seq, log.stored.link);
        }
    }
    Ok(device)
}

pub(super) fn create(
    founding: Founding,
    keys: Keychain,
    now: u64,
    random: &mut dyn Random,
) -> Result<(Device, Vec<Output>), DeviceError> {
    let public = keys.public()?;
    let signer = keys.signing()?;
    let mut statement = ControlStatement {
        number: 0,
        previous: Hash::ZERO,
        author: public.device_id(),
        at: TimeMs { ms: now },
        action: Action::Genesis(Box::new(Genesis {
            nonce: random_bytes(random),
            device: public,
            recovery: founding.phrase.public()?,
            server: founding.server,
            approval: Signature([0; 64]),
        })),
    };
    let approved = genesis_approval_id(&statement);
    if let Action::Genesis(genesis) = &mut statement.action {
        genesis.approval = founding.phrase.signing()?.sign(&approved);
    }
    let mut device = empty(keys, sign_entry(&signer, &AccountId([0; 32]), statement))?;
    device.state.invitation = founding.invitation.try_into()?;
    let journal = MemoryJournal::default();
    let mut turn = Turn::new(&mut device, now, random, &journal);
    turn.write_entry(0);
    let proposal = turn.propose_epoch()?;
    turn.d.keys.proposed = Some(EpochKey {
        number: proposal.key.number,
        key: proposal.key.key.clone(),
    });
    turn.accept_entry(&proposal.entry)??;
    turn.take_wraps(&proposal.wraps);
    turn.adopt_update(&proposal.registry)?;
    turn.open_log();
    // Written whether or not it differs from the default.
    let state = turn.d.state.clone();
    turn.disk.put(space::STATE, ONLY, &state);
    let outputs = turn.finish();
    Ok((device, outputs))
}

pub(super) fn join(
    joining: Joining,
    keys: Keychain,
    now: u64,
    random: &mut dyn Random,
) -> Result<(Device, Vec<Output>), DeviceError> {
    let mut device = empty(keys, joining.genesis)?;
    device.state.opened = true;
    device.state.expected = Some(Expected {
        control: joining.control,
        checkpoint: joining.checkpoint,
        transcript: joining.transcript,
    });
    let journal = MemoryJournal::default();
    let mut turn = Turn::new(&mut device, now, random, &journal);
    turn.write_entry(0);
    let state = turn.d.state.clone();
    turn.disk.put(space::STATE, ONLY, &state);
    turn.keychain = true;
    let outputs = turn.finish();
    Ok((device, outputs))
}

/// A device that the phrase has let in, by the last entry of this history.
pub(super) fn recovered(
    history: Vec<ControlEntry>,
    wraps: Option<&EpochWraps>,
    keys: Keychain,
    now: u64,
    random: &mut dyn Random,
) -> Result<(Device, Vec<Output>), DeviceError> {
    let genesis = history
        .first()
        .cloned()
        .ok_or(DeviceError::Missing(space::CONTROL))?;
    let mut device = empty(keys, genesis)?;
    device.account = Account::replay(&history)?;
    device.history = history;
    device.state.opened = true;
    let journal = MemoryJournal::default();
    let mut turn = Turn::new(&mut device, now, random, &journal);
    for number in 0..turn.d.history.len() {
        turn.write_entry(number);
    }
    if let Some(wraps) = wraps {
        turn.disk.put(space::WRAPS, ONLY, wraps);
        turn.d.wraps = Some(wraps_hash(&turn.account(), wraps));
    }
    // Those who were shut out know the running epoch's key.
    turn.rotate_by(now);
    let state = turn.d.state.clone();
    turn.disk.put(space::STATE, ONLY, &state);
    turn.keychain = true;
    let outputs = turn.finish();
    Ok((device, outputs))
}

pub(super) fn sign_entry(
    signer: &SigningKey,
    account: &AccountId,
    statement: ControlStatement,
) -> ControlEntry {
    let mut entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    entry.signature = signer.sign(&entry.id(account));
    entry
}

/// A device by a record's key.
pub(super) fn device_of(key: &[u8]) -> Option<DeviceId> {
    key.try_into().ok().map(DeviceId)
}
