//! The control log on a device: taking entries, making them, and what they change here.

use std::collections::BTreeSet;

use hearth_protocol::control::{
    Action, ControlEntry, ControlError, ControlStatement, Enrol, Phrase, Revocation, Revoke, ServerChange,
    phrase_id,
};
use hearth_protocol::erasure::EraseSet;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{DeviceId, Hash, LogId, VerifyKey};
use hearth_protocol::message::{ControlPart, PushControl, Request};
use hearth_protocol::registry::RegistryUpdate;
use hearth_protocol::vector::{Head, VersionVector};

use super::record::{live_key, place_key, space};
use super::session::{Asked, Stage};
use super::turn::{ONLY, Turn, sign_entry};
use super::{DeviceError, Input, Notice, Peer, Suspicion};

/// How many records are read at a time where only their keys count: bodies are up to a mebibyte.
const NUMBERS_AT_ONCE: usize = 32;

impl Turn<'_> {
    /// A command of the user that becomes an entry, now or when a server is there.
    pub(super) fn command(&mut self, input: Input) -> Result<(), DeviceError> {
        let action = match input {
            Input::Enrol {
                keys,
                proof,
                transcript,
            } => Action::Enrol(Box::new(Enrol {
                device: keys,
                proof,
                transcript,
            })),
            Input::Revoke { target, reason } => Action::Revoke(Box::new(Revoke {
                target,
                reason,
                cut: VersionVector::default(),
                erasures: EraseSet::default(),
            })),
            Input::ChangeServer { server, invitation } => {
                // Too long a code is none that a server gave.
                self.d.state.invitation = invitation.try_into().unwrap_or_default();
                if self.d.account.server() == server.as_ref() && self.stage() == Some(Stage::Opening) {
                    // It was turned away for want of a code: the next call shows this one.
                    self.end(None);
                }
                Action::ServerChange(Box::new(ServerChange { server }))
            }
            Input::Rotate => {
                self.d.state.rotate_at = self.now;
                return Ok(());
            }
            Input::Withdraw { device } => {
                for (key, action) in self.disk.all::<Action>(space::INTENT, &[])? {
                    if matches!(&action, Action::Enrol(enrol) if enrol.device.device_id() == device) {
                        self.disk.delete(space::INTENT, &key);
                    }
                }
                return Ok(());
            }
            Input::NewPhrase { old, new } => {
                self.d.phrase = Some((old, new));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let number = self.next_number();
        self.disk.put(space::INTENT, &number.to_be_bytes(), &action);
        Ok(())
    }

    /// Writes an entry of the history down.
    pub(super) fn write_entry(&mut self, number: usize) {
        if let Some(entry) = self.d.history.get(number) {
            self.disk
                .put(space::CONTROL, &(number as u64).to_be_bytes(), entry);
        }
    }

    /// Takes the next entry, if it fits. False: it doesn't.
    pub(super) fn accept_entry(
        &mut self,
        entry: &ControlEntry,
    ) -> Result<Result<(), ControlError>, DeviceError> {
        if let Err(error) = self.d.account.append(entry, &self.d.history) {
            return Ok(Err(error));
        }
        self.d.history.push(entry.clone());
        self.write_entry(self.d.history.len() - 1);
        let id = entry.id(&self.account());
        match &entry.statement.action {
            Action::Enrol(enrol) => {
                let device = enrol.device.device_id();
                self.notice(Notice::Enrolled { device, entry: id });
                if entry.statement.author == self.d.me {
                    self.grant_to(&device)?;
                }
                if device == self.d.me {
                    // What was erased here before it knew that it was let in counts from now on.
                    self.recount()?;
                }
            }
            Action::Revoke(_) | Action::Recover(_) | Action::Unite(_) => self.membership_fell()?,
            Action::Epoch(_) => self.epoch_changed(),
            Action::ServerChange(change) => {
                self.notice(Notice::Moved(change.server.clone()));
                // It may not have the account yet.
                self.d.asks_first = change.server.is_some();
                let there = change.server.as_ref().map(|server| server.key);
                let elsewhere = self.d.session.as_ref().is_some_and(|session| {
                    session.peer == Peer::Server && session.key.is_some() && session.key != there
                });
                if elsewhere {
                    // The rest is for the new one.
                    self.end(None);
                }
            }
            Action::Phrase(_) => {
                self.notice(Notice::PhraseChanged);
                // The running epoch is wrapped to the old phrase, and not to the new one.
                let wait = if entry.statement.author == self.d.me {
                    0
                } else {
                    2_000
                };
                self.rotate_by(self.now + wait);
            }
            Action::Genesis(_) => {}
        }
        Ok(Ok(()))
    }

    /// After revocations: what they cut off, here.
    pub(super) fn membership_fell(&mut self) -> Result<(), DeviceError> {
        let gone: Vec<DeviceId> = self
            .d
            .account
            .devices()
            .iter()
            .filter(|(_, member)| member.revoked.is_some())
            .map(|(device, _)| *device)
            .collect();
        for device in gone {
            if device == self.d.me {
                self.d.state.revoked = true;
                self.notice(Notice::Revoked);
                self.end(None);
                return Ok(());
            }
            self.notice(Notice::ShutOut(device));
        }
        let revocations: Vec<Revocation> = self.d.account.revocations().to_vec();
        for revocation in &revocations {
            self.cut_off(revocation)?;
        }
        let wait = match self.d.history.last() {
            Some(last) if last.statement.author == self.d.me => 0,
            _ => 2_000,
        };
        self.rotate_by(self.now + wait);
        self.recount()
    }

    /// Asks for an epoch at this time at the latest.
    pub(super) fn rotate_by(&mut self, at: u64) {
        let state = &mut self.d.state;
        state.rotate_at = if state.rotate_at == 0 {
            at.max(1)
        } else {
            state.rotate_at.min(at.max(1))
        };
        self.wake_at(at);
    }

    /// Takes out what lies behind a revocation's cut: items of those shut out, and what is void.
    fn cut_off(&mut self, revocation: &Revocation) -> Result<(), DeviceError> {
        let logs: Vec<LogId> = self.d.logs.keys().copied().collect();
        for log in logs {
            let Some(state) = self.d.logs.get(&log).cloned() else {
                continue;
            };
            let device = state.open.statement.device;
            if !self.d.account.devices().contains_key(&device) {
                // Of a device that only a losing branch let in: it sleeps until that one is let in again.
                continue;
            }
            let cut = revocation.cut.get(&log).map_or(0, |head| head.seq);
            // What exists is looked at, not every number up to one that somebody claims.
            for seq in self.numbers_behind(space::BODY, &log, cut)? {
                let Some(body) = self.body(&log, seq)? else {
                    continue;
                };
                let gone = !self.d.account.accepts_item(&device, &log, seq);
                let generation = body.fields.generation;
                let void = self.d.account.is_void(&log, seq, generation)
                    || self.d.account.is_ahead(&device, generation);
                if gone || void {
                    let handle = body.fields.handle;
                    let lived = self.disk.has(space::LIVE, &live_key(&handle, &log, seq))?;
                    self.drop_body(&log, seq, &handle)?;
                    // A member writes again what is its own. What somebody who is out wrote, and is in the document here,
                    // is written by whoever has it: else devices that had it and those that hadn't would differ for ever.
                    let nobody_elses = self.d.account.member(&device).is_none() && lived;
                    if device == self.d.me || nobody_elses {
                        self.need(&handle, self.now);
                    }
                }
            }
            for seq in self.numbers_behind(space::PLACE, &log, cut)? {
                if !self.d.account.accepts_item(&device, &log, seq) {
                    self.disk.delete(space::PLACE, &place_key(&log, seq));
                }
            }
            if state.stored.seq > cut && !self.d.account.accepts_item(&device, &log, cut.saturating_add(1)) {
                // Of what was folded away only whoever revoked knows the link.
                let named = revocation.cut.get(&log).map(|head| head.link);
                let link = self.link_at(&log, cut)?.or(named);
                let link = link.unwrap_or(state.applied.link);
                let head = Head { seq: cut, link };
                if let Some(state) = self.d.logs.get_mut(&log) {
                    state.stored = head;
                    if state.folded.seq > cut {
                        state.folded = head;
                    }
                    if state.applied.seq > cut {
                        state.applied = head;
                    }
                }
                self.put_log(&log);
            }
        }
        Ok(())
    }

    /// The numbers of a log's records behind this one.
    fn numbers_behind(&self, space: u8, log: &LogId, seq: u64) -> Result<Vec<u64>, DeviceError> {
        let mut found = Vec::new();
        let mut after = place_key(log, seq).to_vec();
        loop {
            let page = self.disk.page(space, &log.0, Some(&after), NUMBERS_AT_ONCE)?;
            found.extend(page.iter().filter_map(|(key, _)| {
                let number = key.last_chunk::<8>()?;
                Some(u64::from_be_bytes(*number))
            }));
            match page.last() {
                Some((key, _)) if page.len() == NUMBERS_AT_ONCE => after.clone_from(key),
                _ => return Ok(found),
            }
        }
    }

    /// The log that is vouched for in the other device's part.
    pub(super) fn log_key(&self, log: &LogId) -> Option<VerifyKey> {
        let device = self.d.logs.get(log)?.open.statement.device;
        Some(self.d.account.devices().get(&device)?.keys.log)
    }

    pub(super) fn control_part(&mut self, part: &ControlPart) -> Result<(), DeviceError> {
        let account = self.account();
        for entry in part.entries.iter() {
            let number = entry.statement.number;
            let forked = self.session().is_some_and(|session| !session.branch.is_empty());
            let known = usize::try_from(number)
                .ok()
                .and_then(|number| self.d.history.get(number));
            match known {
                Some(ours) if !forked && ours.id(&account) == entry.id(&account) => {}
                Some(_) => self.branch(entry),
                None if forked => self.branch(entry),
                None if number == self.d.account.number() + 1 => match self.accept_entry(entry)? {
                    Ok(()) => {}
                    Err(ControlError::NotNext) => self.fork_found(),
                    Err(_) => {
                        self.notice(Notice::Tampered);
                        self.end(None);
                    }
                },
                None => self.ask_control(),
            }
            if self.ends {
                return Ok(());
            }
        }
        if let (Some(last), true) = (part.entries.last(), part.more) {
            self.ask_more_of_fork(last.statement.number.saturating_add(1));
        }
        if let Some(wraps) = &part.wraps {
            self.take_wraps(wraps);
        }
        if part
            .entries
            .iter()
            .any(|entry| matches!(entry.statement.action, Action::Epoch(_)))
            && let Some(session) = self.session()
        {
            session.table_wanted = true;
        }
        Ok(())
    }

    /// Brings both control logs to one.
    pub(super) fn settle(&mut self) -> Result<(), DeviceError> {
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        let target = session
            .ahead
            .as_ref()
            .map(|ahead| (ahead.control_number, ahead.control));
        let forked = !session.branch.is_empty();
        if session.unproved.is_some() && !self.prove(target)? {
            return Ok(());
        }
        if self.ends {
            return Ok(());
        }
        let Some((number, control)) = target else {
            self.settled();
            return Ok(());
        };
        if forked {
            return self.reunite(number);
        }
        let account = self.account();
        if self.d.account.number() < number {
            return Ok(());
        }
        let theirs = usize::try_from(number)
            .ok()
            .and_then(|number| self.d.history.get(number))
            .map(|entry| entry.id(&account));
        if theirs != Some(control) {
            if !self.is_asked(|asked| matches!(asked, Asked::FetchControl)) {
                self.fork_found();
            }
            return Ok(());
        }
        self.push_entries(number)?;
        self.settled();
        Ok(())
    }

    pub(super) fn settled(&mut self) {
        if let Some(session) = self.session() {
            session.stage = session.stage.max(Stage::Gate);
        }
        if self.d.account.member(&self.d.me).is_none() {
            self.notice(Notice::Refused {
                code: ErrorCode::UnknownDevice,
                retry_after_ms: 0,
            });
            self.end(None);
        }
    }

    /// Sends the entries that the other side lacks.
    pub(super) fn push_entries(&mut self, number: u64) -> Result<(), DeviceError> {
        let from = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(1);
        let entries: Vec<ControlEntry> = self.d.history.iter().skip(from).cloned().collect();
        let account = self.account();
        let running = self.d.account.epoch().map(|(id, _)| id);
        for entry in entries {
            let (mut wraps, mut registry) = (None, None);
            if Some(entry.id(&account)) == running {
                wraps = self.disk.get(space::WRAPS, ONLY)?.map(Box::new);
                // The registry is data: it passes only when the gate is open.
                if !self
                    .d
                    .session
                    .as_ref()
                    .is_some_and(|session| session.gate_differs)
                {
                    registry = self.whole_registry()?.map(Box::new);
                }
            }
            let push = PushControl {
                entry,
                wraps,
                registry,
            };
            self.ask(Request::Control(Box::new(push)), Asked::OldEntry);
        }
        Ok(())
    }

    /// Of a new device: what was told in the pairing is in the control log, and so is its own enrolment.
    fn prove(&mut self, target: Option<(u64, Hash)>) -> Result<bool, DeviceError> {
        let Some((number, control)) = target else {
            return Ok(false);
        };
        if self.d.account.number() < number {
            return Ok(false);
        }
        let Some(expected) = self.d.state.expected.clone() else {
            return Ok(false);
        };
        let me = self.d.me;
        let leads = self.d.account.head() == control
            && self.d.knows_entry(&expected.control)
            && self.d.history.iter().any(|entry| {
                matches!(&entry.statement.action, Action::Enrol(enrol)
                    if enrol.device.device_id() == me && enrol.transcript == expected.transcript)
            });
        let key = self.d.account.server().map(|server| server.key);
        let Some(session) = self.session() else {
            return Ok(false);
        };
        session.key = match session.peer {
            Peer::Server => key,
            Peer::Device(key) => Some(key),
        };
        let welcome = session.unproved.take();
        if !leads {
            self.notice(Notice::Suspicion(Suspicion::Control));
            self.end(None);
            return Ok(false);
        }
        if let Some(welcome) = welcome {
            self.proved(*welcome)?;
        }
        Ok(true)
    }

    /// Sends an entry that was made here.
    pub(super) fn send_entry(
        &mut self,
        entry: ControlEntry,
        intent: u64,
        wraps: Option<hearth_protocol::control::EpochWraps>,
        registry: Option<RegistryUpdate>,
    ) {
        if let Some(session) = self.session() {
            session.issuing = true;
        }
        let registry = registry.map(Box::new);
        let push = PushControl {
            entry: entry.clone(),
            wraps: wraps.map(Box::new),
            registry: registry.clone(),
        };
        self.ask(
            Request::Control(Box::new(push)),
            Asked::Issue {
                entry: Box::new(entry),
                intent,
                registry,
            },
        );
    }

    /// Makes the next entry that is wanted.
    pub(super) fn issue(&mut self) -> Result<(), DeviceError> {
        let now = self.now;
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        if session.issuing || !session.branch.is_empty() || !self.at_home() {
            return Ok(());
        }
        if session.issue_after > now {
            // Said at every step: an earlier time to wake up takes this one's place.
            let at = session.issue_after;
            self.wake_at(at);
            return Ok(());
        }
        let open = session.stage == Stage::Open && session.complete;
        if let Some((old, new)) = self.d.phrase.clone() {
            if old.public()? != *self.d.account.recovery() {
                // Not the phrase in force, or replaced meanwhile.
                self.d.phrase = None;
                self.notice(Notice::Dropped);
                return Ok(());
            }
            let recovery = new.public()?;
            let handed_over = phrase_id(&self.account(), &self.d.account.head(), &recovery);
            let phrase = Phrase {
                recovery,
                approval: old.signing()?.sign(&handed_over),
                acceptance: new.signing()?.sign(&handed_over),
            };
            let entry = self.entry(Action::Phrase(Box::new(phrase)));
            self.send_entry(entry, 0, None, None);
            return Ok(());
        }
        for (key, mut action) in self.disk.all::<Action>(space::INTENT, &[])? {
            if self.done(&action) {
                self.disk.delete(space::INTENT, &key);
                continue;
            }
            let number = <[u8; 8]>::try_from(key.as_slice()).map_or(0, u64::from_be_bytes);
            if let Action::Revoke(revoke) = &mut action {
                if !open {
                    continue;
                }
                revoke.cut = self.vector()?;
                revoke.erasures = self.erasures_of(&BTreeSet::from([revoke.target]))?;
            }
            let entry = self.entry(action);
            self.send_entry(entry, number, None, None);
            return Ok(());
        }
        if open && self.epoch_wanted() {
            let proposal = self.propose_epoch()?;
            self.d.keys.proposed = Some(proposal.key);
            self.keychain = true;
            self.send_entry(proposal.entry, 0, Some(proposal.wraps), Some(proposal.registry));
        }
        Ok(())
    }

    /// Whether what an intent wants is so already, or can't be any more.
    fn done(&mut self, action: &Action) -> bool {
        match action {
            Action::Enrol(enrol) => self.d.account.devices().contains_key(&enrol.device.device_id()),
            Action::Revoke(revoke) => self.d.account.member(&revoke.target).is_none(),
            Action::ServerChange(change) => self.d.account.server() == change.server.as_ref(),
            _ => true,
        }
    }

    /// A signed entry behind the head.
    pub(super) fn entry(&self, action: Action) -> ControlEntry {
        let statement = ControlStatement {
            number: self.d.account.number() + 1,
            previous: self.d.account.head(),
            author: self.d.me,
            at: self.at(),
            action,
        };
        sign_entry(&self.d.signer, &self.account(), statement)
    }

    pub(super) fn issued(
        &mut self,
        entry: &ControlEntry,
        intent: u64,
        registry: Option<&RegistryUpdate>,
    ) -> Result<(), DeviceError> {
        if let Some(session) = self.session() {
            session.issuing = false;
        }
        if let Action::Unite(_) = entry.statement.action {
            return self.united(entry);
        }
        if let Action::Phrase(_) = entry.statement.action {
            self.d.phrase = None;
        }
        if intent != 0 {
            self.disk.delete(space::INTENT, &intent.to_be_bytes());
        }
        // It may have come as news already.
        let known = usize::try_from(entry.statement.number)
            .ok()
            .and_then(|number| self.d.history.get(number))
            .is_some();
        if !known && self.accept_entry(entry)?.is_err() {
            self.ask_control();
            return Ok(());
        }
        if let Some(update) = registry {
            self.adopt_update(update)?;
        }
        Ok(())
    }

    pub(super) fn issue_refused(
        &mut self,
        entry: &ControlEntry,
        intent: u64,
        code: ErrorCode,
        retry: u64,
    ) -> Result<(), DeviceError> {
        let vector = self.vector()?;
        if let Some(session) = self.session() {
            session.issuing = false;
            session.issue_after = retry;
        }
        self.wake_at(retry);
        match code {
            // Whoever was quicker may have brought in the same.
            _ if matches!(entry.statement.action, Action::Unite(_)) => self.end(None),
            ErrorCode::ControlConflict => {
                if let Some(session) = self.session() {
                    session.issue_after = 0;
                }
                self.ask_control();
            }
            ErrorCode::CutStale => self.ask(Request::Vector(vector), Asked::Vector),
            ErrorCode::RegistryConflict => {
                if let Some(session) = self.session() {
                    session.table_wanted = true;
                }
            }
            ErrorCode::ControlInvalid | ErrorCode::BadSignature => {
                if intent != 0 {
                    self.disk.delete(space::INTENT, &intent.to_be_bytes());
                }
                if matches!(entry.statement.action, Action::Phrase(_)) {
                    self.d.phrase = None;
                }
                self.notice(Notice::Dropped);
                self.ask_control();
            }
            // An acknowledgement with a newer key is on its way, or the server has lost the one that is known here.
            ErrorCode::AgreementStale => {
                for statement in self.newest_epoch_acks()? {
                    self.ask_statement(0, statement);
                }
            }
            // Passes by waiting.
            _ => {}
        }
        Ok(())
    }

    /// Takes a body out of the live set and off the disk.
    pub(super) fn drop_body(
        &mut self,
        log: &LogId,
        seq: u64,
        handle: &hearth_protocol::id::Handle,
    ) -> Result<(), DeviceError> {
        self.disk.delete(space::BODY, &place_key(log, seq));
        let key = live_key(handle, log, seq);
        if self.disk.has(space::LIVE, &key)? {
            self.disk.delete(space::LIVE, &key);
            let mut document = self.document(handle)?;
            document.live = document.live.saturating_sub(1);
            self.disk.put(space::DOCUMENT, &handle.0, &document);
        }
        Ok(())
    }
}
