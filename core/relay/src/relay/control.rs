//! The control log: grows by compare-and-swap on its head, and what an entry does to what is stored.

use std::ops::ControlFlow;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{
    Action, ControlEntry, ControlError, Epoch, EpochWraps, RecoveryKeys, wraps_hash,
};
use hearth_protocol::erasure::Erase;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{AccountId, AgreementKey, DeviceId, Hash, VerifyKey};
use hearth_protocol::limits::MAX_CONTROL_ENTRY_BYTES;
use hearth_protocol::message::PushControl;
use hearth_protocol::registry::Table;
use hearth_protocol::vector::{Head, VersionVector};

use super::{ACCEPTED, DAY_S, Fault, Phase, Relay, Turn};
use crate::account::{Loaded, RESTORED_KEY, control_entry, device_row, history};
use crate::items::{Log, Place};
use crate::rows::{Rows, number_of};
use crate::session::SessionId;
use crate::store::{SHARED, Space, Store, StoreError};

/// A log of this length is longer than a certificate may carry.
const MAX_ENTRIES: u64 = hearth_protocol::limits::MAX_CERTIFICATE_CONTROL as u64;

/// The last numbers are for what shuts a device out, and the last of them for the phrase alone: else a stolen device
/// could fill the log up and stay for ever.
const FOR_REVOCATIONS: u64 = 1_024;
const FOR_RECOVERY: u64 = 64;

/// Bytes of a control log: half of what a certificate, which carries all of it, may have.
const MAX_BYTES: u64 = hearth_protocol::limits::MAX_CERTIFICATE_BYTES as u64 / 2;

/// As [`FOR_REVOCATIONS`] and [`FOR_RECOVERY`], in bytes.
const BYTES_FOR_REVOCATIONS: u64 = 4 << 20;
const BYTES_FOR_RECOVERY: u64 = 1 << 20;

/// Revocations and recoveries of one device in an hour.
const URGENT_PER_HOUR: u64 = 64;

impl<S: Store> Relay<S> {
    pub(super) fn take_control(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        push: PushControl,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let session = self.session(id)?;
        let recovering = matches!(session.phase, Phase::Recovering(_));
        let (gate, at_hello) = (session.gate, session.control_at_hello);
        let by = session.device();
        let entry = push.entry;
        if recovering && !matches!(entry.statement.action, Action::Recover(_)) {
            return Err(Fault::Close(ErrorCode::OutOfTurn));
        }
        if entry.encode().len() > MAX_CONTROL_ENTRY_BYTES {
            return Err(ErrorCode::TooLarge.into());
        }
        let loaded = self.loaded(account)?;
        let entry_id = entry.id(account);
        let at = entry.statement.number;
        if at <= loaded.control.number() {
            // An answer that got lost: the entry is in already.
            return match control_entry(&self.rows, account, at)? {
                Some(ours) if ours == entry => {
                    turn.reply(id, number, ACCEPTED);
                    Ok(())
                }
                _ => Err(ErrorCode::ControlConflict.into()),
            };
        }
        if entry.statement.previous != loaded.control.head() {
            return Err(ErrorCode::ControlConflict.into());
        }
        let bytes = entry.encode().len() as u64;
        has_room(loaded.row.control_bytes, &entry, bytes)?;
        // Not new, only new to us: the device had it when it said `Hello`, and that can be, because this store was put back
        // from a backup or is a peer's, or because somebody else made the entry. Or the account is on its way here. Then
        // what travelled beside it once may be gone. A device's word for its own entry isn't enough: it could say so of
        // every new one, and cut off or lose what the checks below keep.
        let believed = self.is_arriving(account, turn.now_ms)? || by != Some(entry.statement.author);
        let refill = at <= at_hello && believed || !self.loaded(account)?.row.arrived && self.is_server();
        if let (false, Some(by)) = (refill, by) {
            self.allow_entry(account, &by, &entry, turn.now_ms)?;
        }
        self.load(account)?;
        let loaded = self
            .accounts
            .get(account)
            .ok_or(StoreError::Damaged("an account is missing"))?;
        match &entry.statement.action {
            Action::Revoke(revoke) if !refill => {
                check_cut(&self.rows, account, loaded, &revoke.cut, Some(&revoke.target))?;
            }
            Action::Recover(recover) if !refill => {
                check_cut(&self.rows, account, loaded, &recover.cut, None)?;
            }
            _ => {}
        }
        // Everything that can be wrong is looked at before the first write: what is refused costs no reading again.
        if let Action::Epoch(epoch) = &entry.statement.action {
            match &push.wraps {
                Some(wraps) => self.check_wraps(account, wraps, epoch, !refill)?,
                None if refill => {}
                None => return Err(ErrorCode::ControlInvalid.into()),
            }
            match &push.registry {
                Some(_) if !gate => return Err(ErrorCode::GateClosed.into()),
                Some(update) => {
                    if !refill {
                        if update.table.id(account) != epoch.table {
                            return Err(ErrorCode::ControlInvalid.into());
                        }
                        check_folded(self.loaded(account)?, &update.table.statement)?;
                    }
                    self.check_registry(account, update, refill, true, Some(epoch.number))?;
                }
                None if refill => {}
                None => return Err(ErrorCode::ControlInvalid.into()),
            }
        }
        let history = match entry.statement.action {
            Action::Unite(_) => history(&self.rows, account, at)?,
            _ => Vec::new(),
        };
        let before = self.append(account, &entry, &history)?.map_err(refused)?;
        if let Action::Epoch(_) = &entry.statement.action {
            match &push.wraps {
                Some(wraps) => self.rows.put(account, Space::Wraps, b"", wraps)?,
                None => self.rows.delete(account, Space::Wraps, b"")?,
            }
            if let Some(update) = &push.registry {
                self.put_registry(account, update)?;
                self.session(id)?.table_sent = update.table.id(account);
            }
        }
        self.after_entry(account, &before, &entry)?;
        let session = self.session(id)?;
        if session.control + 1 == at {
            session.control = at;
        }
        debug_assert_eq!(self.loaded(account)?.control.head(), entry_id);
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    /// Takes an entry if it follows, and writes it. Gives what after it is needed of the state before.
    pub(super) fn append(
        &mut self,
        account: &AccountId,
        entry: &ControlEntry,
        history: &[ControlEntry],
    ) -> Result<Result<Before, ControlError>, Fault> {
        let key = self.key;
        let loaded = self.loaded(account)?;
        let before = Before {
            members: loaded.control.members().map(|(device, _)| *device).collect(),
            revocations: loaded.control.revocations().len(),
        };
        let phrase = *loaded.control.recovery();
        // In place, not in a copy: the state may be megabytes. If a write fails from here on, the account is read again.
        if let Err(error) = loaded.control.append(entry, history) {
            return Ok(Err(error));
        }
        let next = *loaded.control.recovery();
        loaded.row.control_bytes += entry.encode().len() as u64;
        let arrives = loaded.is_here(&key) && !loaded.row.arrived;
        loaded.row.arrived |= arrives;
        let number = entry.statement.number.to_be_bytes();
        self.rows.put(account, Space::Control, &number, entry)?;
        if arrives {
            // Its devices bring the rest now.
            self.rows.put(account, Space::Account, RESTORED_KEY, &0u64)?;
        }
        if phrase.signing != next.signing {
            self.forget_phrase(account, &phrase)?;
            self.remember_phrase(account, &next)?;
        }
        let loaded = self.take_loaded(account)?;
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        saved?;
        Ok(Ok(before))
    }

    /// Whether this account's devices may bring what isn't here, without what travelled beside it: it is on its way here,
    /// a peer serves it, or within the last month it came or the store was put back from a backup.
    pub(super) fn is_arriving(&mut self, account: &AccountId, now_ms: u64) -> Result<bool, StoreError> {
        if !self.is_server() || !self.loaded(account)?.row.arrived {
            return Ok(true);
        }
        let until: Option<u64> = self.rows.get(account, Space::Account, RESTORED_KEY)?;
        Ok(until.is_some_and(|until| until == 0 || now_ms < until))
    }

    /// A new entry comes off the allowance of the device that brings it.
    pub(super) fn allow_entry(
        &mut self,
        account: &AccountId,
        by: &DeviceId,
        entry: &ControlEntry,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let per_day = u64::from(self.config.limits.entries_per_day.max(1));
        let own = self.allowance(account, now_ms).devices.entry(*by).or_default();
        // Amounts are in seconds, so that slow rates come out even.
        let taken = match entry.statement.action {
            Action::Revoke(_) | Action::Recover(_) => {
                own.urgent.take(3_600 / URGENT_PER_HOUR, 1, 3_600, now_ms)
            }
            _ => own.entries.take(DAY_S / per_day, 1, DAY_S, now_ms),
        };
        taken.map_err(super::limited)
    }

    /// Takes the account out of memory for as long as rows are written with it.
    pub(super) fn take_loaded(&mut self, account: &AccountId) -> Result<Loaded, StoreError> {
        self.load(account)?;
        self.accounts
            .remove(account)
            .ok_or(StoreError::Damaged("an account is missing"))
    }

    /// An account is found by its phrase. Whoever came first keeps a phrase that two accounts name.
    pub(super) fn remember_phrase(
        &mut self,
        account: &AccountId,
        recovery: &RecoveryKeys,
    ) -> Result<(), StoreError> {
        let key = &recovery.signing.0;
        if self
            .rows
            .get::<AccountId>(&SHARED, Space::Phrases, key)?
            .is_none()
        {
            self.rows.put(&SHARED, Space::Phrases, key, account)?;
        }
        Ok(())
    }

    pub(super) fn forget_phrase(
        &mut self,
        account: &AccountId,
        recovery: &RecoveryKeys,
    ) -> Result<(), StoreError> {
        let key = &recovery.signing.0;
        if self.rows.get::<AccountId>(&SHARED, Space::Phrases, key)? == Some(*account) {
            self.rows.delete(&SHARED, Space::Phrases, key)?;
        }
        Ok(())
    }

    /// Checks the wraps of an epoch. `strict`: for exactly the members, to each one's newest agreement key.
    pub(super) fn check_wraps(
        &mut self,
        account: &AccountId,
        wraps: &EpochWraps,
        epoch: &Epoch,
        strict: bool,
    ) -> Result<(), Fault> {
        if wraps_hash(account, wraps) != epoch.wraps {
            return Err(ErrorCode::ControlInvalid.into());
        }
        if strict {
            let control = &self.loaded(account)?.control;
            let members = control.members().map(|(device, _)| device);
            let fits = wraps.devices.iter().map(|(device, _)| device).eq(members)
                && wraps.recovery.to == control.recovery().agreement;
            if !fits {
                return Err(ErrorCode::ControlInvalid.into());
            }
            for (device, wrap) in wraps.devices.iter() {
                if self.agreement_key(account, device)? != Some(wrap.to) {
                    return Err(ErrorCode::AgreementStale.into());
                }
            }
        }
        Ok(())
    }

    /// The agreement key that a device says epochs are to be wrapped to.
    pub(super) fn agreement_key(
        &mut self,
        account: &AccountId,
        device: &DeviceId,
    ) -> Result<Option<AgreementKey>, StoreError> {
        let newest = device_row(&self.rows, account, device)?.agreement;
        let first = self
            .loaded(account)?
            .control
            .member(device)
            .map(|member| member.keys.agreement);
        Ok(newest.or(first))
    }

    /// What an entry does beside standing in the log.
    pub(super) fn after_entry(
        &mut self,
        account: &AccountId,
        before: &Before,
        entry: &ControlEntry,
    ) -> Result<(), Fault> {
        let revoked = self.loaded(account)?.control.revocations().len() > before.revocations;
        if revoked {
            self.enforce_revocations(account, before)?;
        }
        if matches!(entry.statement.action, Action::Epoch(_)) {
            self.drop_grants(account)?;
        }
        Ok(())
    }

    /// Drops what revocations have made invalid: erasures that don't count, items beyond a cut, what was remembered of
    /// those who are out. After an ordinary revocation there is no item beyond the cut; one that `Unite` brings in may
    /// have been made before items that are here by now.
    pub(super) fn enforce_revocations(&mut self, account: &AccountId, before: &Before) -> Result<(), Fault> {
        let out: Vec<DeviceId> = {
            let loaded = self.loaded(account)?;
            before
                .members
                .iter()
                .copied()
                .filter(|device| loaded.control.member(device).is_none())
                .collect()
        };
        for device in &out {
            self.rows.delete(account, Space::Devices, &device.0)?;
            self.drop_newest(account, device)?;
        }
        self.drop_uncounted_erasures(account)?;
        let mut loaded = self.take_loaded(account)?;
        let outcome = cut_logs(&mut self.rows, account, &mut loaded, before.revocations);
        self.accounts.insert(*account, loaded);
        outcome
    }

    /// Drops what confirms an erasure that doesn't count any more, and says how many bytes that was charged for.
    fn drop_confirmations(&mut self, account: &AccountId, erase: &Hash) -> Result<u64, StoreError> {
        let mut freed = 0;
        for key in self.rows.keys(account, Space::Acks, &erase.0, usize::MAX)? {
            let cursor: u64 = self.rows.need(account, Space::Acks, &key)?;
            self.rows
                .delete(account, Space::Statements, &cursor.to_be_bytes())?;
            self.rows.delete(account, Space::Acks, &key)?;
            freed += super::statement::ACK_BYTES;
        }
        self.rows.delete(account, Space::Receipts, &erase.0)?;
        let owed = [account.0, erase.0].concat();
        self.rows.delete(&SHARED, Space::Owed, &owed)?;
        Ok(freed)
    }

    /// Takes out of the erased set what a revocation has cut off. The bodies are gone all the same.
    fn drop_uncounted_erasures(&mut self, account: &AccountId) -> Result<(), Fault> {
        self.load(account)?;
        let Some(loaded) = self.accounts.get(account) else {
            return Ok(());
        };
        let control = &loaded.control;
        let owners: std::collections::BTreeMap<_, _> = loaded
            .logs
            .iter()
            .map(|(log, row)| (*log, row.open.statement.device))
            .collect();
        let mut gone = Vec::new();
        self.rows
            .values::<Signed<Erase>>(account, Space::Erasures, &[], &mut |key, _, erase| {
                let statement = &erase.statement;
                let counts = owners
                    .get(&statement.log)
                    .is_some_and(|device| control.accepts_erasure(device, &statement.log, statement.number));
                if !counts && let Ok(cursor) = number_of(key) {
                    gone.push((cursor, erase));
                }
                ControlFlow::Continue(())
            })?;
        if gone.is_empty() {
            return Ok(());
        }
        let mut freed = 0;
        for (cursor, erase) in gone {
            freed += super::erasure::erasure_bytes(&erase);
            let place = super::erasure::place_key(&erase.statement);
            self.rows.delete(account, Space::ErasePlaces, &place)?;
            self.rows
                .delete(account, Space::Erasures, &cursor.to_be_bytes())?;
            let id = erase.id(account);
            self.rows.delete(account, Space::EraseIds, &id.0)?;
            freed += self.drop_confirmations(account, &id)?;
            for handle in erase.statement.handles.iter() {
                self.rows.delete(
                    account,
                    Space::Erased,
                    &super::erasure::erased_key(handle, cursor),
                )?;
            }
        }
        let mut loaded = self.take_loaded(account)?;
        loaded.row.root_stale = true;
        loaded.row.erasure_bytes = loaded.row.erasure_bytes.saturating_sub(freed);
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        Ok(saved?)
    }
}

/// Refuses a revocation that would cut off something that is here. Of the one that it shuts out, holes at the end of a
/// log may go: else nobody could be rid of those that a stolen device has written.
fn check_cut<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
    loaded: &Loaded,
    cut: &VersionVector,
    target: Option<&DeviceId>,
) -> Result<(), Fault> {
    for (log, row) in &loaded.logs {
        let Head { seq, link } = row.head;
        let mut reaches = match cut.get(log) {
            Some(head) => head.seq > seq || *head == Head { seq, link },
            None => seq == 0,
        };
        if !reaches && target == Some(&row.open.statement.device) {
            let place = Log {
                account,
                id: log,
                row,
            };
            reaches = place.can_end_at(rows, cut.get(log))?;
        }
        if !reaches {
            return Err(ErrorCode::CutStale.into());
        }
    }
    Ok(())
}

/// Refuses a table for a new epoch that lacks a document key which only an envelope holds: with the old epoch's key it
/// would be lost.
pub(super) fn check_folded(loaded: &Loaded, table: &Table) -> Result<(), Fault> {
    let reaches = loaded.logs.iter().all(|(log, row)| {
        row.new_keys == 0 || table.folded.get(log).is_some_and(|upto| *upto >= row.new_keys)
    });
    if reaches {
        Ok(())
    } else {
        Err(ErrorCode::CutStale.into())
    }
}

/// What is said about an entry that doesn't follow.
pub(super) fn refused(error: ControlError) -> Fault {
    Fault::from(match error {
        ControlError::NotNext => ErrorCode::ControlConflict,
        ControlError::Signature(_) => ErrorCode::BadSignature,
        ControlError::TooLarge => ErrorCode::TooLarge,
        _ => ErrorCode::ControlInvalid,
    })
}

/// What is needed of the state before an entry once it was taken.
pub(super) struct Before {
    pub(super) members: Vec<DeviceId>,
    pub(super) revocations: usize,
}

/// Refuses an entry that would take the room of those that shut a device out.
pub(super) fn has_room(before: u64, entry: &ControlEntry, bytes: u64) -> Result<(), Fault> {
    let (numbers, reserved) = match entry.statement.action {
        Action::Recover(_) => (0, 0),
        Action::Revoke(_) | Action::Unite(_) | Action::Epoch(_) => (FOR_RECOVERY, BYTES_FOR_RECOVERY),
        _ => (FOR_REVOCATIONS, BYTES_FOR_REVOCATIONS),
    };
    let fits = entry.statement.number < MAX_ENTRIES - numbers
        && before.saturating_add(bytes) <= MAX_BYTES - reserved;
    if fits {
        Ok(())
    } else {
        Err(ErrorCode::ControlInvalid.into())
    }
}

/// Ends logs at the cut of their device's revocation, and turns into holes what revocations from `first` on make void.
/// It looks at rows that are there, whatever numbers a cut or a frontier claims.
fn cut_logs<S: Store>(
    rows: &mut Rows<S>,
    account: &AccountId,
    loaded: &mut Loaded,
    first: usize,
) -> Result<(), Fault> {
    let ids: Vec<_> = loaded.logs.keys().copied().collect();
    for id in ids {
        let Some(row) = loaded.logs.get(&id).cloned() else {
            continue;
        };
        let log = Log {
            account,
            id: &id,
            row: &row,
        };
        let last = loaded.control.last_item(&row.open.statement.device, &id);
        let mut freed = 0;
        if last < row.head.seq {
            let head = log.signed_head(rows, last)?;
            // Below what was folded only what lives is there; beyond the cut, that goes, too.
            let gone = log.truncate(rows, last.min(head.seq))?;
            freed += gone.bytes;
            loaded.row.holes = loaded.row.holes.saturating_sub(gone.holes);
            if let Some(row) = loaded.logs.get_mut(&id) {
                row.head = head;
                row.new_keys = row.new_keys.min(last);
            }
            loaded.save_log(rows, &id)?;
        }
        let void_from = loaded
            .control
            .revocations()
            .iter()
            .skip(first)
            .map(|revocation| revocation.cut.get(&id).map_or(0, |head| head.seq))
            .min();
        let Some(row) = loaded.logs.get(&id).cloned() else {
            continue;
        };
        let log = Log {
            account,
            id: &id,
            row: &row,
        };
        if let Some(void_from) = void_from
            && void_from < row.head.seq
        {
            for Place { seq, live } in log.places_from(rows, void_from + 1)? {
                if let Some(live) = live
                    && loaded.control.is_void(&id, seq, live.generation)
                {
                    freed += log.dig(rows, seq, None)?.unwrap_or(0);
                    loaded.row.holes += u64::from(seq > row.folded.seq);
                }
            }
        }
        loaded.row.used_bytes = loaded.row.used_bytes.saturating_sub(freed);
    }
    Ok(loaded.save(rows)?)
}

/// A key that the control log knows for a device, member or not.
pub(super) fn any_log_key(loaded: &Loaded, device: &DeviceId) -> Option<VerifyKey> {
    loaded.control.devices().get(device).map(|member| member.keys.log)
}

/// Nothing that is named yet.
pub(super) const NO_TABLE: Hash = Hash::ZERO;

#[cfg(test)]
mod tests {
    use hearth_protocol::control::{ControlStatement, Revoke, RevokeReason, ServerChange};
    use hearth_protocol::id::{Signature, TimeMs};

    use super::*;

    fn fits(number: u64, bytes: u64, action: Action) -> bool {
        let statement = ControlStatement {
            number,
            previous: Hash::ZERO,
            author: DeviceId([1; 32]),
            at: TimeMs { ms: 0 },
            action,
        };
        let entry = ControlEntry {
            statement,
            signature: Signature([0; 64]),
        };
        has_room(bytes, &entry, 100).is_ok()
    }

    #[test]
    fn the_last_numbers_and_bytes_are_for_what_shuts_out() {
        let change = || Action::ServerChange(Box::new(ServerChange { server: None }));
        let revoke = || {
            Action::Revoke(Box::new(Revoke {
                target: DeviceId([2; 32]),
                reason: RevokeReason::Lost,
                cut: VersionVector::default(),
                erasures: hearth_protocol::codec::Map::default(),
            }))
        };
        let last = MAX_ENTRIES - FOR_REVOCATIONS - 1;
        assert!(fits(last, 0, change()) && !fits(last + 1, 0, change()));
        assert!(fits(last + 1, 0, revoke()));
        let last = MAX_ENTRIES - FOR_RECOVERY - 1;
        assert!(fits(last, 0, revoke()) && !fits(last + 1, 0, revoke()));
        let most = MAX_BYTES - BYTES_FOR_REVOCATIONS - 100;
        assert!(fits(1, most, change()) && !fits(1, most + 1, change()));
        let most = MAX_BYTES - BYTES_FOR_RECOVERY - 100;
        assert!(fits(1, most, revoke()) && !fits(1, most + 1, revoke()));
    }
}
