//! What may go: bodies that a snapshot covers, once somebody else has the snapshot; holes behind a checkpoint.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hearth_protocol::envelope::Kind;
use hearth_protocol::id::{AccountId, DeviceId, Handle, LogId};
use hearth_protocol::message::Acked;
use hearth_protocol::vector::{Head, VersionVector};

use super::{Fault, Relay};
use crate::account::table;
use crate::items::{ItemRow, item_key, place_of, places_of};
use crate::rows::Rows;
use crate::store::{Space, Store, StoreError};

/// Bodies that one acknowledgement may delete; the rest goes with the next.
const MAX_BODIES: usize = 4_096;

/// How long the bodies of an account with one device are kept after they were covered, at the least.
const ALONE_MS: u64 = 24 * 60 * 60 * 1_000;

impl<S: Store> Relay<S> {
    /// Somebody has what is in these logs: what snapshots of others in them cover may go.
    pub(super) fn compact_acknowledged(
        &mut self,
        account: &AccountId,
        device: &DeviceId,
        acked: &Acked,
    ) -> Result<(), Fault> {
        let mut budget = MAX_BODIES;
        for (log, seq) in acked.upto.iter() {
            let Some(row) = self.loaded(account)?.logs.get(log).cloned() else {
                continue;
            };
            if row.open.statement.device == *device {
                continue;
            }
            for snapshot in self.covering(account, row.number, *seq, u64::MAX)? {
                self.compact(account, log, snapshot, &mut budget)?;
            }
        }
        Ok(())
    }

    /// Snapshots of a log up to a number that came before `before_ms` and whose covered bodies are still there.
    fn covering(
        &self,
        account: &AccountId,
        log: u32,
        upto: u64,
        before_ms: u64,
    ) -> Result<Vec<u64>, StoreError> {
        let mut found = Vec::new();
        self.rows.values::<u64>(
            account,
            Space::Covering,
            &item_key(log, 0),
            &mut |key, _, at_ms| match place_of(key) {
                Ok((number, seq)) if number == log && seq <= upto => {
                    if at_ms <= before_ms {
                        found.push(seq);
                    }
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            },
        )?;
        Ok(found)
    }

    /// Turns what a snapshot covers into holes, as far as the budget reaches. What brings in a document key stays until
    /// the registry has it.
    fn compact(
        &mut self,
        account: &AccountId,
        log: &LogId,
        seq: u64,
        budget: &mut usize,
    ) -> Result<(), Fault> {
        if *budget == 0 {
            return Ok(());
        }
        let folded = table(&self.rows, account)?.map(|table| table.statement.folded);
        let mut loaded = self.take_loaded(account)?;
        let (mut freed, mut dug, mut waits) = (0, 0, false);
        let outcome = (|| {
            let Some(place) = loaded.log(account, log) else {
                return Ok(());
            };
            let number = place.row.number;
            let Some(ItemRow::Live { sealed, .. }) = place.item(&self.rows, seq)? else {
                return self.rows.delete(account, Space::Covering, &item_key(number, seq));
            };
            let Kind::Snapshot(covers) = &sealed.fields.kind else {
                return Ok(());
            };
            let handle = sealed.fields.handle;
            for (covered, upto) in &covers.all(log, seq) {
                let Some(place) = loaded.log(account, covered) else {
                    continue;
                };
                for number in live_of(&self.rows, account, &handle, place.row.number, *upto, *budget)? {
                    if covered == log && number == seq {
                        continue;
                    }
                    let in_registry = folded
                        .as_ref()
                        .and_then(|folded| folded.get(covered))
                        .is_some_and(|upto| *upto >= number);
                    let Some(ItemRow::Live { sealed, .. }) = place.item(&self.rows, number)? else {
                        continue;
                    };
                    if sealed.fields.handle != handle {
                        continue;
                    }
                    if sealed.fields.new_key.is_some() && !in_registry {
                        waits = true;
                        continue;
                    }
                    freed += place.dig(&mut self.rows, number, Some(&handle))?.unwrap_or(0);
                    dug += u64::from(number > place.row.folded.seq);
                    *budget -= 1;
                    if *budget == 0 {
                        waits = true;
                        return Ok(());
                    }
                }
            }
            if !waits {
                self.rows
                    .delete(account, Space::Covering, &item_key(number, seq))?;
            }
            Ok(())
        })();
        if freed > 0 {
            loaded.row.used_bytes = loaded.row.used_bytes.saturating_sub(freed);
            loaded.row.holes += dug;
            loaded.save(&mut self.rows)?;
        }
        self.accounts.insert(*account, loaded);
        Ok(outcome?)
    }

    /// The operator has made a backup, begun at `begun_ms`. Covered bodies of an account with one device may go now, if they
    /// were covered at least a day before: nobody else could have confirmed that the snapshot is good.
    pub fn backup_made(&mut self, account: &AccountId, begun_ms: u64) -> Result<(), StoreError> {
        if !self.load(account)? || self.loaded(account)?.control.members().count() > 1 {
            return Ok(());
        }
        let logs: Vec<(LogId, u32, u64)> = self
            .loaded(account)?
            .logs
            .iter()
            .map(|(log, row)| (*log, row.number, row.head.seq))
            .collect();
        let before_ms = begun_ms.saturating_sub(ALONE_MS);
        self.rows.begin()?;
        let mut outcome = Ok(());
        for (log, number, last) in logs {
            for snapshot in self.covering(account, number, last, before_ms)? {
                let mut budget = MAX_BODIES;
                outcome = outcome.and_then(|()| self.compact(account, &log, snapshot, &mut budget));
            }
        }
        match outcome {
            Ok(()) => self.rows.store.commit()?,
            Err(fault) => {
                self.rows.store.rollback()?;
                self.accounts.remove(account);
                if let Fault::Store(error) = fault {
                    return Err(error);
                }
            }
        }
        if !self.present.contains_key(account) {
            self.accounts.remove(account);
        }
        Ok(())
    }

    /// Folds holes away up to a frontier that a member vouches for and that is ours too.
    pub(super) fn fold(&mut self, account: &AccountId, frontier: &VersionVector) -> Result<(), Fault> {
        let mut budget = MAX_BODIES;
        for (log, head) in frontier.iter() {
            let Some(row) = self.loaded(account)?.logs.get(log).cloned() else {
                continue;
            };
            if head.seq <= row.folded.seq || head.seq > row.head.seq {
                continue;
            }
            let link_at = |relay: &Self, seq| match relay.accounts.get(account) {
                Some(loaded) => loaded
                    .log(account, log)
                    .map_or(Ok(None), |log| log.link_at(&relay.rows, seq)),
                None => Ok(None),
            };
            let ours = link_at(self, head.seq)?;
            if ours != Some(head.link) {
                continue;
            }
            // Too much for one step: the next checkpoint folds on from there.
            let Some(place) = self
                .accounts
                .get(account)
                .and_then(|loaded| loaded.log(account, log))
            else {
                continue;
            };
            let found = place.foldable(&self.rows, head.seq, budget)?;
            let Some(link) = place.link_at(&self.rows, found.upto)? else {
                continue;
            };
            budget -= found.holes.len() + found.bare.len();
            let mut grown = 0;
            for (seq, previous) in &found.bare {
                grown += place.put_link(&mut self.rows, *seq, *previous)?;
            }
            for hole in &found.holes {
                place.remove(&mut self.rows, hole)?;
            }
            let mut loaded = self.take_loaded(account)?;
            if let Some(row) = loaded.logs.get_mut(log) {
                row.folded = Head {
                    seq: found.upto,
                    link,
                };
            }
            loaded.row.holes = loaded.row.holes.saturating_sub(found.holes.len() as u64);
            loaded.row.used_bytes += grown;
            let saved = loaded
                .save_log(&mut self.rows, log)
                .and_then(|()| loaded.save(&mut self.rows));
            self.accounts.insert(*account, loaded);
            saved?;
            if budget == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Whether a living snapshot of the handle covers this item. `logs`: by number.
    pub(super) fn is_covered(
        &self,
        logs: &BTreeMap<u32, LogId>,
        account: &AccountId,
        handle: &Handle,
        log: &LogId,
        seq: u64,
    ) -> Result<bool, StoreError> {
        for (number, at) in places_of(&self.rows, account, handle, None, MAX_BODIES)? {
            let row = self.rows.get(account, Space::Items, &item_key(number, at))?;
            let Some(ItemRow::Live { sealed, .. }) = row else {
                continue;
            };
            if sealed.fields.handle != *handle {
                continue;
            }
            if let Kind::Snapshot(covers) = &sealed.fields.kind
                && let Some(by) = logs.get(&number)
                && covers.upto(log, by, at).is_some_and(|upto| upto >= seq)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where living items of a handle may be in one log up to a number, at most `limit`.
fn live_of<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
    handle: &Handle,
    log: u32,
    upto: u64,
    limit: usize,
) -> Result<Vec<u64>, StoreError> {
    let found = places_of(rows, account, handle, Some((log, 0)), limit)?;
    let here = found
        .into_iter()
        .take_while(|(number, seq)| *number == log && *seq <= upto);
    Ok(here.map(|(_, seq)| seq).collect())
}
