//! The control log: grows by compare-and-swap on its head, and what an entry does to what is stored.

use std::ops::ControlFlow;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlError, Epoch, EpochWraps, RecoveryKeys, wraps_hash,
};
use hearth_protocol::erasure::Erase;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{AccountId, AgreementKey, DeviceId, Hash, VerifyKey};
use hearth_protocol::limits::MAX_CONTROL_ENTRY_BYTES;
use hearth_protocol::message::PushControl;
use hearth_protocol::registry::Table;
use hearth_protocol::vector::{Head, VersionVector};

use super::{ACCEPTED, Fault, Phase, Relay, Turn};
use crate::account::{Loaded, control_entry, device_row, history};
use crate::items::{Log, handle_key, item_key};
use crate::rows::{Rows, number_of};
use crate::session::SessionId;
use crate::store::{SHARED, Space, Store, StoreError};

/// A log of this length is longer than a certificate may carry.
const MAX_ENTRIES: u64 = 65_536;

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
        if entry.statement.previous != loaded.control.head() || at >= MAX_ENTRIES {
            return Err(ErrorCode::ControlConflict.into());
        }
        // Not new, only new to us: the device had it when it said `Hello`, or the account is on its way here. Then what
        // travelled beside it once may be gone.
        let refill = at <= at_hello || !loaded.row.arrived && self.is_server();
        let loaded = self.loaded(account)?;
        match &entry.statement.action {
            Action::Revoke(revoke) if !refill => check_cut(loaded, &revoke.cut)?,
            Action::Recover(recover) if !refill => check_cut(loaded, &recover.cut)?,
            _ => {}
        }
        let before = loaded.control.clone();
        let history = match entry.statement.action {
            Action::Unite(_) => history(&self.rows, account, at)?,
            _ => Vec::new(),
        };
        let mut after = before.clone();
        after.append(&entry, &history).map_err(refused)?;
        self.put_entry(account, &before, after, &entry)?;
        if let Action::Epoch(epoch) = &entry.statement.action {
            match push.wraps {
                Some(wraps) => self.put_wraps(account, &wraps, epoch, !refill)?,
                None if refill => self.rows.delete(account, Space::Wraps, b"")?,
                None => return Err(ErrorCode::ControlInvalid.into()),
            }
            match push.registry {
                Some(_) if !gate => return Err(ErrorCode::GateClosed.into()),
                Some(update) => {
                    if !refill {
                        if update.table.id(account) != epoch.table {
                            return Err(ErrorCode::ControlInvalid.into());
                        }
                        let loaded = self.loaded(account)?;
                        check_folded(loaded, &update.table.statement)?;
                    }
                    self.put_registry(account, &update, refill, true)?;
                    self.session(id)?.table_sent = update.table.id(account);
                }
                None if refill => {}
                None => return Err(ErrorCode::ControlInvalid.into()),
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

    /// Writes an entry, and the state after it.
    pub(super) fn put_entry(
        &mut self,
        account: &AccountId,
        before: &Account,
        after: Account,
        entry: &ControlEntry,
    ) -> Result<(), Fault> {
        self.rows.put(
            account,
            Space::Control,
            &entry.statement.number.to_be_bytes(),
            entry,
        )?;
        if before.recovery().signing != after.recovery().signing {
            self.forget_phrase(account, before.recovery())?;
            self.remember_phrase(account, after.recovery())?;
        }
        let key = self.key;
        let loaded = self.loaded(account)?;
        loaded.control = after;
        if loaded.is_here(&key) && !loaded.row.arrived {
            loaded.row.arrived = true;
        }
        let loaded = self.take_loaded(account)?;
        loaded.save(&mut self.rows)?;
        self.accounts.insert(*account, loaded);
        Ok(())
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

    /// Keeps the wraps of the running epoch in place of those of the one before. `strict`: for exactly the members, to
    /// each one's newest agreement key.
    pub(super) fn put_wraps(
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
            self.loaded(account)?
                .control
                .check_wraps(wraps)
                .map_err(|_| ErrorCode::ControlInvalid)?;
            for (device, wrap) in wraps.devices.iter() {
                if self.agreement_key(account, device)? != Some(wrap.to) {
                    return Err(ErrorCode::AgreementStale.into());
                }
            }
        }
        self.rows.put(account, Space::Wraps, b"", wraps)?;
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
        before: &Account,
        entry: &ControlEntry,
    ) -> Result<(), Fault> {
        let revoked = self.loaded(account)?.control.revocations().len() > before.revocations().len();
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
    fn enforce_revocations(&mut self, account: &AccountId, before: &Account) -> Result<(), Fault> {
        let out: Vec<DeviceId> = {
            let loaded = self.loaded(account)?;
            before
                .members()
                .map(|(device, _)| *device)
                .filter(|device| loaded.control.member(device).is_none())
                .collect()
        };
        for device in &out {
            self.rows.delete(account, Space::Devices, &device.0)?;
            self.drop_newest(account, device)?;
        }
        self.drop_uncounted_erasures(account)?;
        let mut loaded = self.take_loaded(account)?;
        let outcome = cut_logs(&mut self.rows, account, &mut loaded);
        self.accounts.insert(*account, loaded);
        outcome
    }

    /// Takes out of the erased set what a revocation has cut off. The bodies are gone all the same.
    fn drop_uncounted_erasures(&mut self, account: &AccountId) -> Result<(), Fault> {
        let loaded = self.loaded(account)?;
        let control = loaded.control.clone();
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
        for (cursor, erase) in gone {
            self.rows
                .delete(account, Space::Erasures, &cursor.to_be_bytes())?;
            self.rows.delete(account, Space::EraseIds, &erase.id(account).0)?;
            for handle in erase.statement.handles.iter() {
                self.rows.delete(
                    account,
                    Space::Erased,
                    &super::erasure::erased_key(handle, cursor),
                )?;
            }
        }
        let root = self.erased_root(account)?;
        let mut loaded = self.take_loaded(account)?;
        loaded.row.erased_root = root;
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        Ok(saved?)
    }
}

/// Refuses a revocation that would cut off something that is here.
fn check_cut(loaded: &Loaded, cut: &VersionVector) -> Result<(), Fault> {
    for (log, row) in &loaded.logs {
        let Head { seq, link } = row.head;
        let reaches = match cut.get(log) {
            Some(head) => head.seq > seq || *head == Head { seq, link },
            None => seq == 0,
        };
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

/// Ends logs at the cut of their device's revocation, and turns what is void into holes.
fn cut_logs<S: Store>(rows: &mut Rows<S>, account: &AccountId, loaded: &mut Loaded) -> Result<(), Fault> {
    let ids: Vec<_> = loaded.logs.keys().copied().collect();
    for id in ids {
        let Some(row) = loaded.logs.get(&id).cloned() else {
            continue;
        };
        let device = row.open.statement.device;
        let end = row.head.seq;
        // Items beyond a cut are the newest ones: look from the end.
        let mut last = end;
        while last > row.folded.seq && !loaded.control.accepts_item(&device, &id, last) {
            last -= 1;
        }
        let log = Log {
            account,
            id: &id,
            row: &row,
        };
        let mut freed = 0;
        if last < end {
            let link = log
                .link_at(rows, last)?
                .ok_or(StoreError::Damaged("a link is missing"))?;
            for seq in last + 1..=end {
                if let Some(crate::items::ItemRow::Live { sealed, .. }) = log.item(rows, seq)? {
                    let handle = sealed.fields.handle;
                    rows.delete(account, Space::Handles, &handle_key(&handle, row.number, seq))?;
                    rows.delete(account, Space::Covering, &item_key(row.number, seq))?;
                    freed += crate::items::LIVE_PREFIX as u64 + sealed.encode().len() as u64;
                }
                rows.delete(account, Space::Items, &item_key(row.number, seq))?;
            }
            if let Some(row) = loaded.logs.get_mut(&id) {
                row.head = Head { seq: last, link };
                row.new_keys = row.new_keys.min(last);
            }
            loaded.save_log(rows, &id)?;
        }
        let void_from = loaded
            .control
            .revocations()
            .iter()
            .map(|revocation| revocation.cut.get(&id).map_or(0, |head| head.seq))
            .min()
            .unwrap_or(u64::MAX);
        if void_from < last {
            let Some(row) = loaded.logs.get(&id).cloned() else {
                continue;
            };
            let log = Log {
                account,
                id: &id,
                row: &row,
            };
            for seq in void_from + 1..=last {
                if let Some(crate::items::ItemRow::Live { sealed, .. }) = log.item(rows, seq)?
                    && loaded.control.is_void(&id, seq, sealed.fields.generation)
                {
                    freed += log.dig(rows, seq)?.unwrap_or(0);
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
