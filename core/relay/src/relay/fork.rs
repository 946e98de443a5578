//! A control log that has forked, because a store was put back from a backup: the branch that wins is taken over.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{Account, Action, wins, wraps_hash};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, DeviceId, LogId};
use hearth_protocol::limits::{MAX_CONTROL_ENTRY_BYTES, MAX_LOSING_ENTRIES};
use hearth_protocol::message::PushBranch;
use hearth_protocol::statement::AnyStatement;

use super::control::{Before, has_room, refused};
use super::{ACCEPTED, Fault, Relay, Turn};
use crate::account::{RESTORED_KEY, history};
use crate::items::Log;
use crate::rows::DeviceRow;
use crate::session::SessionId;
use crate::store::{Space, Store, StoreError};

impl<S: Store> Relay<S> {
    /// A member shows another branch. If it wins, it takes the place of ours; who accepted ours brings in what it said
    /// (`Unite`). Everybody else is closed: they learn of it at their next `Hello`.
    pub(super) fn take_branch(
        &mut self,
        id: SessionId,
        number: u32,
        (account, device): (&AccountId, &DeviceId),
        push: PushBranch,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let conflict = || Fault::from(ErrorCode::ControlConflict);
        let entries = push.entries.into_inner();
        let fork = entries.first().map_or(0, |first| first.statement.number);
        let last = self.loaded(account)?.control.number();
        if fork == 0 || fork > last {
            return Err(conflict());
        }
        let mut all = history(&self.rows, account, u64::MAX)?;
        let losing = all.split_off(usize::try_from(fork).map_err(|_| conflict())?);
        let can_lose = losing.len() <= MAX_LOSING_ENTRIES
            && !losing
                .iter()
                .any(|entry| matches!(entry.statement.action, Action::Recover(_) | Action::Unite(_)));
        if !can_lose || !wins(account, &entries, &losing) {
            return Err(conflict());
        }
        let believed = self.is_arriving(account, turn.now_ms)?;
        let damaged = |_| StoreError::Damaged("the control log doesn't replay");
        let mut next = Account::resume(all.iter()).map_err(damaged)?;
        let shared = next.revocations().len();
        let mut bytes: u64 = all.iter().map(|entry| entry.encode().len() as u64).sum();
        for entry in &entries {
            let length = entry.encode().len();
            if length > MAX_CONTROL_ENTRY_BYTES {
                return Err(ErrorCode::TooLarge.into());
            }
            has_room(bytes, entry, length as u64)?;
            bytes += length as u64;
            if !believed && entry.statement.author == *device {
                self.allow_entry(account, device, entry, turn.now_ms)?;
            }
            next.append(entry, &all).map_err(refused)?;
            all.push(entry.clone());
        }
        if next.member(device).is_none() {
            return Err(conflict());
        }
        for entry in &losing {
            let at = entry.statement.number.to_be_bytes();
            self.rows.delete(account, Space::Control, &at)?;
        }
        for entry in &entries {
            let at = entry.statement.number.to_be_bytes();
            self.rows.put(account, Space::Control, &at, entry)?;
        }
        let fits = |wraps| {
            next.epoch()
                .is_some_and(|(_, epoch)| wraps_hash(account, wraps) == epoch.wraps)
        };
        let same = next.epoch().map(|(id, _)| id) == self.loaded(account)?.control.epoch().map(|(id, _)| id);
        match &push.wraps {
            Some(wraps) if fits(wraps) => self.rows.put(account, Space::Wraps, b"", &**wraps)?,
            _ if same => {}
            _ => self.rows.delete(account, Space::Wraps, b"")?,
        }
        self.exchange(account, next, shared, bytes)?;
        let others: Vec<SessionId> = self.present.get(account).into_iter().flatten().copied().collect();
        for other in others.into_iter().filter(|other| *other != id) {
            self.close(other, ErrorCode::Busy, turn);
        }
        let head = self.loaded(account)?.control.number();
        self.session(id)?.control = head;
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    /// Puts another state in place of the one there was, and drops what only the old one allowed.
    fn exchange(
        &mut self,
        account: &AccountId,
        next: Account,
        shared: usize,
        bytes: u64,
    ) -> Result<(), Fault> {
        let key = self.key;
        let loaded = self.loaded(account)?;
        let old = std::mem::replace(&mut loaded.control, next);
        loaded.row.control_bytes = bytes;
        loaded.row.arrived |= loaded.is_here(&key);
        let recovery = *loaded.control.recovery();
        let strangers: BTreeSet<DeviceId> = old
            .devices()
            .keys()
            .filter(|device| !loaded.control.devices().contains_key(device))
            .copied()
            .collect();
        if old.recovery().signing != recovery.signing {
            self.forget_phrase(account, old.recovery())?;
            self.remember_phrase(account, &recovery)?;
        }
        // Devices bring what they have: it may have been cut off here, or sealed for another epoch.
        self.rows.put(account, Space::Account, RESTORED_KEY, &0u64)?;
        self.forget_strangers(account, &strangers)?;
        let before = Before {
            members: old.members().map(|(device, _)| *device).collect(),
            revocations: shared,
        };
        self.enforce_revocations(account, &before)?;
        self.drop_grants(account)?;
        for place in self.rows.keys(account, Space::Devices, &[], usize::MAX)? {
            let row: DeviceRow = self.rows.need(account, Space::Devices, &place)?;
            // The number of an epoch that this log may not have; the agreement key stays the device's newest.
            self.rows
                .put(account, Space::Devices, &place, &DeviceRow { epoch: 0, ..row })?;
        }
        Ok(())
    }

    /// Drops everything of devices that the control log doesn't know: it comes again once they are let in again.
    fn forget_strangers(&mut self, account: &AccountId, strangers: &BTreeSet<DeviceId>) -> Result<(), Fault> {
        if strangers.is_empty() {
            return Ok(());
        }
        self.drop_heartbeats(account)?;
        for device in strangers {
            self.drop_newest(account, device)?;
            self.rows.delete(account, Space::Devices, &device.0)?;
        }
        let mut said = Vec::new();
        self.rows
            .values::<AnyStatement>(account, Space::Statements, &[], &mut |key, _, statement| {
                let (by, ack) = match &statement {
                    AnyStatement::LogOpen(open) => (open.statement.device, None),
                    AnyStatement::EraseAck(ack) => (ack.statement.device, Some(ack.statement.erase)),
                    _ => return ControlFlow::Continue(()),
                };
                if strangers.contains(&by) {
                    said.push((key.to_vec(), ack.map(|erase| [erase.0, by.0].concat())));
                }
                ControlFlow::Continue(())
            })?;
        for (key, ack) in said {
            self.rows.delete(account, Space::Statements, &key)?;
            if let Some(ack) = ack {
                self.rows.delete(account, Space::Acks, &ack)?;
            }
        }
        let mut loaded = self.take_loaded(account)?;
        let logs: Vec<LogId> = loaded
            .logs
            .iter()
            .filter(|(_, row)| strangers.contains(&row.open.statement.device))
            .map(|(log, _)| *log)
            .collect();
        for log in logs {
            let Some(row) = loaded.logs.remove(&log) else {
                continue;
            };
            let there = Log {
                account,
                id: &log,
                row: &row,
            };
            let gone = there.truncate(&mut self.rows, 0)?;
            loaded.row.used_bytes = loaded.row.used_bytes.saturating_sub(gone.bytes);
            loaded.row.holes = loaded.row.holes.saturating_sub(gone.holes);
            self.rows.delete(account, Space::Logs, &log.0)?;
            loaded.numbers.remove(&row.number);
            loaded.row.logs -= 1;
        }
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        Ok(saved?)
    }
}
