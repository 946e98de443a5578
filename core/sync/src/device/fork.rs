//! A control log with two branches: a server was restored, or lies. The branch that wins is the one everybody goes on with,
//! and whoever had accepted the other brings in what that one had revoked.

use hearth_protocol::codec::{List, Wire};
use hearth_protocol::control::{Account, Action, ControlEntry, ControlStatement, Unite, wins};
use hearth_protocol::id::Hash;
use hearth_protocol::limits::{MAX_CONTROL_ENTRIES, MAX_LOSING_ENTRIES};
use hearth_protocol::message::{Fetch, PushBranch, Range, Request};

use super::record::space;
use super::session::{Asked, Stage};
use super::turn::{ONLY, Turn, sign_entry};
use super::{Device, DeviceError, Notice, Suspicion};

impl Device {
    /// Whether an entry is in the control log, or in a branch that it has brought in.
    pub(super) fn knows_entry(&self, id: &Hash) -> bool {
        let account = self.account.id();
        self.history.iter().any(|entry| {
            entry.id(&account) == *id
                || matches!(&entry.statement.action, Action::Unite(both)
                if both.losing.iter().any(|bytes| {
                    ControlEntry::decode(bytes).is_ok_and(|losing| losing.id(&account) == *id)
                }))
        })
    }
}

impl Turn<'_> {
    /// The other side's log isn't a part of ours, nor ours of it: it is read again from so far back that the shorter branch
    /// could still be brought in.
    pub(super) fn fork_found(&mut self) {
        let own = self.d.account.number();
        let Some(session) = self.d.session.as_mut() else {
            return;
        };
        let theirs = session.ahead.as_ref().map(|ahead| ahead.control_number);
        let (Some(theirs), false, Stage::Control) = (theirs, session.fork_asked, session.stage) else {
            // The fork lies further back than any that can be brought together; or a log that was settled forks under our
            // eyes: the next connection tells.
            if session.fork_asked {
                self.notice(Notice::Suspicion(Suspicion::Control));
            }
            self.end(None);
            return;
        };
        session.fork_asked = true;
        session.branch.clear();
        self.ask_fork(
            (own.min(theirs) + 1)
                .saturating_sub(MAX_LOSING_ENTRIES as u64)
                .max(1),
        );
    }

    fn ask_fork(&mut self, from: u64) {
        let range = Range {
            from,
            count: MAX_CONTROL_ENTRIES as u64,
        };
        self.ask(Request::Fetch(Fetch::Control(range)), Asked::FetchControl);
    }

    /// Goes on reading, if a fork is being read and this was only a part.
    pub(super) fn ask_more_of_fork(&mut self, from: u64) {
        let forked = self.d.session.as_ref().is_some_and(|session| session.fork_asked);
        if forked && !self.is_asked(|asked| matches!(asked, Asked::FetchControl)) {
            self.ask_fork(from);
        }
    }

    /// An entry of the other branch.
    pub(super) fn branch(&mut self, entry: &ControlEntry) {
        let account = self.account();
        let before = usize::try_from(entry.statement.number)
            .ok()
            .and_then(|number| self.d.history.get(number.checked_sub(1)?))
            .map(|entry| entry.id(&account));
        let Some(session) = self.d.session.as_mut() else {
            return;
        };
        match session.branch.last() {
            Some(last) if Some(entry.statement.number) != last.statement.number.checked_add(1) => {}
            Some(_) => session.branch.push(entry.clone()),
            None if before == Some(entry.statement.previous) => session.branch.push(entry.clone()),
            None => self.fork_found(),
        }
        if let Some(session) = self.session()
            && session.branch.len() > MAX_LOSING_ENTRIES + MAX_CONTROL_ENTRIES
        {
            self.notice(Notice::Suspicion(Suspicion::Control));
            self.end(None);
        }
    }

    /// Two branches: the better one stands, and brings in what the other said.
    pub(super) fn reunite(&mut self, number: u64) -> Result<(), DeviceError> {
        let account = self.account();
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        let theirs = session.branch.clone();
        let (Some(first), Some(last)) = (theirs.first(), theirs.last()) else {
            return Ok(());
        };
        if last.statement.number < number {
            if !self.is_asked(|asked| matches!(asked, Asked::FetchControl)) {
                self.ask_fork(last.statement.number.saturating_add(1));
            }
            return Ok(());
        }
        if self.is_asked(|asked| matches!(asked, Asked::Issue { .. } | Asked::Branch)) {
            return Ok(());
        }
        let fork = usize::try_from(first.statement.number).unwrap_or(usize::MAX);
        let ours: Vec<ControlEntry> = self.d.history.iter().skip(fork).cloned().collect();
        if wins(&account, &ours, &theirs) {
            return self.push_branch(&ours);
        }
        let mut entries: Vec<ControlEntry> = self.d.history.iter().take(fork).cloned().collect();
        entries.extend(theirs.iter().cloned());
        let Ok(state) = Account::replay(&entries) else {
            self.notice(Notice::Tampered);
            self.end(None);
            return Ok(());
        };
        if brings_in(&theirs, &ours) {
            return self.adopt_branch(fork, entries, state);
        }
        let can_lose = ours.len() <= MAX_LOSING_ENTRIES
            && !ours
                .iter()
                .any(|entry| matches!(entry.statement.action, Action::Recover(_) | Action::Unite(_)));
        if !can_lose || state.member(&self.d.me).is_none() {
            // Shut out in a branch that nobody who knew ours has joined: not believed, shown.
            self.notice(Notice::Suspicion(Suspicion::Control));
            self.end(None);
            return Ok(());
        }
        let losing: Vec<_> = ours
            .iter()
            .map(|entry| entry.encode().try_into())
            .collect::<Result<_, _>>()?;
        let both = Unite {
            fork: self
                .d
                .history
                .get(fork.wrapping_sub(1))
                .map_or(Hash::ZERO, |entry| entry.id(&account)),
            losing: List::try_from(losing)?,
        };
        let statement = ControlStatement {
            number: state.number() + 1,
            previous: state.head(),
            author: self.d.me,
            at: self.at(),
            action: Action::Unite(Box::new(both)),
        };
        let entry = sign_entry(&self.d.signer, &account, statement);
        self.send_entry(entry, 0, None, None);
        Ok(())
    }

    /// Turned away as one that was shut out, and shown a branch in which that is so: believed if somebody who knew ours has
    /// joined it.
    pub(super) fn shut_out_elsewhere(&mut self) -> Result<(), DeviceError> {
        let theirs = match self.session() {
            Some(session) => std::mem::take(&mut session.branch),
            None => return Ok(()),
        };
        let Some(fork) = theirs
            .first()
            .and_then(|first| usize::try_from(first.statement.number).ok())
        else {
            return Ok(());
        };
        let ours: Vec<ControlEntry> = self.d.history.iter().skip(fork).cloned().collect();
        let joined = brings_in(&theirs, &ours);
        let mut entries: Vec<ControlEntry> = self.d.history.iter().take(fork).cloned().collect();
        entries.extend(theirs);
        match Account::replay(&entries) {
            Ok(state) if joined => self.adopt_branch(fork, entries, state),
            _ => {
                self.notice(Notice::Suspicion(Suspicion::Control));
                self.end(None);
                Ok(())
            }
        }
    }

    /// The other side holds the branch that loses: it is given ours.
    fn push_branch(&mut self, ours: &[ControlEntry]) -> Result<(), DeviceError> {
        let entries: Vec<ControlEntry> = ours.iter().take(MAX_CONTROL_ENTRIES).cloned().collect();
        let account = self.account();
        let running = self.d.account.epoch().map(|(id, _)| id);
        let wraps = if entries.iter().any(|entry| Some(entry.id(&account)) == running) {
            self.disk.get(space::WRAPS, ONLY)?.map(Box::new)
        } else {
            None
        };
        let push = PushBranch {
            entries: entries.try_into()?,
            wraps,
        };
        self.ask(Request::Branch(Box::new(push)), Asked::Branch);
        Ok(())
    }

    /// A branch was taken, or `Unite` was: what was said at the greeting is no longer so.
    pub(super) fn branch_taken(&mut self) {
        self.end(None);
    }

    /// `Unite` was taken behind the other branch, which is ours from now on.
    pub(super) fn united(&mut self, entry: &ControlEntry) -> Result<(), DeviceError> {
        let Some(session) = self.session() else {
            return Ok(());
        };
        let theirs = std::mem::take(&mut session.branch);
        let Some(fork) = theirs
            .first()
            .and_then(|first| usize::try_from(first.statement.number).ok())
        else {
            return Ok(());
        };
        let mut entries: Vec<ControlEntry> = self.d.history.iter().take(fork).cloned().collect();
        entries.extend(theirs);
        if entries.last() != Some(entry) {
            entries.push(entry.clone());
        }
        let state = Account::replay(&entries)?;
        self.adopt_branch(fork, entries, state)
    }

    /// Takes the other branch over.
    fn adopt_branch(
        &mut self,
        fork: usize,
        entries: Vec<ControlEntry>,
        state: Account,
    ) -> Result<(), DeviceError> {
        for number in fork..self.d.history.len().max(entries.len()) {
            self.disk.delete(space::CONTROL, &(number as u64).to_be_bytes());
        }
        let lost = std::mem::replace(&mut self.d.history, entries).split_off(fork);
        self.d.account = state;
        for number in fork..self.d.history.len() {
            self.write_entry(number);
        }
        // Keys of the epochs that are in force; those of the branch that lost open nothing that is written from now on, and
        // one of the same number would stand in the way.
        let account = self.account();
        let real = |key: &crate::keys::EpochKey| {
            self.d.history.iter().any(|entry| {
                matches!(&entry.statement.action, Action::Epoch(epoch)
                    if epoch.number == key.number && epoch.commitment == key.commitment(&account))
            })
        };
        let epochs: Vec<_> = self
            .d
            .keys
            .epochs
            .iter()
            .filter(|key| real(key))
            .cloned()
            .collect();
        self.d.keys.epochs = epochs;
        self.keychain = true;
        self.reread_epoch_acks()?;
        self.d.erased.end_again(&self.d.history);
        // What only this branch's table and envelopes held is written for everybody.
        for index in 0..=u8::MAX {
            self.mark_dirty(index);
        }
        self.d.state.dirty_since = 1;
        self.membership_fell()?;
        if self.d.state.revoked {
            return Ok(());
        }
        self.epoch_changed();
        self.say_lost_again(&lost);
        self.forget_completeness();
        // The other side may have forgotten what only this branch made valid: the newest agreement key, for one.
        self.say_again()?;
        self.notice(Notice::BranchLost);
        self.branch_taken();
        Ok(())
    }

    /// What this device had made in the branch that lost is made again; a revocation counts as it is.
    fn say_lost_again(&mut self, lost: &[ControlEntry]) {
        for entry in lost {
            if entry.statement.author != self.d.me {
                continue;
            }
            match &entry.statement.action {
                action @ (Action::Enrol(_) | Action::ServerChange(_)) => {
                    let number = self.next_number();
                    self.disk.put(space::INTENT, &number.to_be_bytes(), action);
                }
                // It was signed by a phrase for its place: nobody but the user can do that again.
                Action::Phrase(_) => self.notice(Notice::Dropped),
                Action::Epoch(_) => self.rotate_by(self.now),
                Action::Genesis(_) | Action::Revoke(_) | Action::Recover(_) | Action::Unite(_) => {}
            }
        }
    }
}

/// Whether somebody who knew one branch has joined the other.
fn brings_in(branch: &[ControlEntry], other: &[ControlEntry]) -> bool {
    branch.iter().any(|entry| {
        matches!(&entry.statement.action, Action::Unite(both)
            if both.losing.len() >= other.len()
                && both.losing.iter().zip(other).all(|(bytes, entry)| **bytes == *entry.encode()))
    })
}
