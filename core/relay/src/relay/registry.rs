//! The key registry: sealed shards under a table that grows by compare-and-swap.

use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, Hash};
use hearth_protocol::limits::SHARDS;
use hearth_protocol::registry::{RegistryUpdate, Shard, shard_id};

use super::control::{NO_TABLE, any_log_key};
use super::{ACCEPTED, Fault, Relay, Turn};
use crate::account::table;
use crate::session::SessionId;
use crate::store::{Space, Store, StoreError};

/// How far the number of a table that arrives may be beyond the one that is here, and of one that arrives where none is. A
/// device makes one a day.
const TABLE_LEAP: u64 = 1 << 20;
const FIRST_TABLE: u64 = 1 << 40;

impl<S: Store> Relay<S> {
    pub(super) fn take_registry(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        update: &RegistryUpdate,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        if !self.session(id)?.gate {
            return Err(ErrorCode::GateClosed.into());
        }
        // A peer keeps the newest table that it sees; a server begins with what it is brought.
        let arriving = !self.is_server() || !self.loaded(account)?.row.arrived;
        self.check_registry(account, update, arriving, false, None)?;
        self.put_registry(account, update)?;
        self.session(id)?.table_sent = update.table.id(account);
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    /// Whether a shard isn't here that the running epoch's table names.
    pub(super) fn lacks_shards(&mut self, account: &AccountId) -> Result<bool, Fault> {
        let epoch = self
            .loaded(account)?
            .control
            .epoch()
            .map(|(_, epoch)| epoch.number);
        let Some(table) = table(&self.rows, account)?.filter(|table| Some(table.statement.epoch) == epoch)
        else {
            return Ok(false);
        };
        let here = self.rows.keys(account, Space::Shards, &[], SHARDS)?;
        let named = table.statement.shards.iter();
        Ok((0..=u8::MAX)
            .zip(named)
            .any(|(index, id)| *id != Hash::ZERO && !here.contains(&vec![index])))
    }

    /// Checks an update, and writes nothing.
    ///
    /// `arriving`: the account comes from elsewhere, so the table may follow one that isn't here, and its shards may come
    /// in several messages. `exempt`: what the update belongs to isn't held up by a quota. `epoch`: the number of the epoch
    /// that comes with it; none: the one that runs.
    pub(super) fn check_registry(
        &mut self,
        account: &AccountId,
        update: &RegistryUpdate,
        arriving: bool,
        exempt: bool,
        epoch: Option<u64>,
    ) -> Result<(), Fault> {
        let conflict = || Fault::from(ErrorCode::RegistryConflict);
        let current = table(&self.rows, account)?;
        let quota = self.config.limits.quota_bytes;
        let loaded = self.loaded(account)?;
        let next = &update.table.statement;
        let next_id = update.table.id(account);
        let author = if arriving {
            any_log_key(loaded, &next.author)
        } else {
            loaded.control.member(&next.author).map(|member| member.keys.log)
        };
        let author = author.ok_or(ErrorCode::BadSignature)?;
        update
            .table
            .verify(account, &author)
            .map_err(|_| ErrorCode::BadSignature)?;
        let again = next_id == loaded.row.table && current.is_some();
        let running = epoch.or_else(|| loaded.control.epoch().map(|(_, epoch)| epoch.number));
        if !again {
            if running != Some(next.epoch) {
                return Err(conflict());
            }
            let follows = match &current {
                Some(current) => {
                    next.previous == loaded.row.table
                        && Some(next.number) == current.statement.number.checked_add(1)
                }
                None => arriving || next.previous == NO_TABLE && next.number == 1,
            };
            // A table that arrives in place of one which arrived before it has the higher number.
            let replaces = arriving
                && current
                    .as_ref()
                    .is_some_and(|current| next.number > current.statement.number);
            // The last number there is would be followed by none.
            let leap = current.as_ref().map_or(FIRST_TABLE, |current| {
                current.statement.number.saturating_add(TABLE_LEAP)
            });
            if !follows && !replaces || next.number > leap {
                return Err(conflict());
            }
        }
        let had = |index: usize| {
            current
                .as_ref()
                .map_or(Hash::ZERO, |current| current.statement.shards[index])
        };
        let mut brought: Vec<Option<&Shard>> = vec![None; SHARDS];
        for shard in update.shards.iter() {
            let index = usize::from(shard.index);
            if brought[index].is_some() || shard_id(account, shard) != next.shards[index] {
                return Err(conflict());
            }
            brought[index] = Some(shard);
        }
        let complete = (0..SHARDS).all(|index| {
            let named = next.shards[index];
            named == Hash::ZERO || brought[index].is_some() || named == had(index)
        });
        if !complete && !arriving && !again {
            return Err(conflict());
        }
        let before = loaded.row.used_bytes;
        let mut used = before;
        for (index, shard) in brought.into_iter().enumerate() {
            if next.shards[index] == had(index) && shard.is_none() {
                continue;
            }
            let old: Option<Shard> = self.rows.get(account, Space::Shards, &[index as u8])?;
            used = used.saturating_sub(old.map_or(0, |old| old.sealed.len() as u64));
            used = used.saturating_add(shard.map_or(0, |shard| shard.sealed.len() as u64));
        }
        if !exempt && quota > 0 && used > quota && used > before {
            return Err(ErrorCode::QuotaReached.into());
        }
        Ok(())
    }

    /// Writes an update that was checked.
    pub(super) fn put_registry(
        &mut self,
        account: &AccountId,
        update: &RegistryUpdate,
    ) -> Result<(), StoreError> {
        let current = table(&self.rows, account)?;
        let next = &update.table.statement;
        let mut used = self.loaded(account)?.row.used_bytes;
        let mut changed = Vec::new();
        for index in 0..SHARDS {
            let shard = update
                .shards
                .iter()
                .find(|shard| usize::from(shard.index) == index);
            let had = current
                .as_ref()
                .map_or(Hash::ZERO, |current| current.statement.shards[index]);
            if next.shards[index] == had && shard.is_none() {
                continue;
            }
            let key = [index as u8];
            let old: Option<Shard> = self.rows.get(account, Space::Shards, &key)?;
            used = used.saturating_sub(old.map_or(0, |old| old.sealed.len() as u64));
            match shard {
                Some(shard) => {
                    used = used.saturating_add(shard.sealed.len() as u64);
                    self.rows.put(account, Space::Shards, &key, shard)?;
                }
                None => self.rows.delete(account, Space::Shards, &key)?,
            }
            changed.push(index as u8);
        }
        self.rows.put(account, Space::Table, b"", &update.table)?;
        let mut loaded = self.take_loaded(account)?;
        loaded.row.used_bytes = used;
        loaded.row.table = update.table.id(account);
        loaded.shards_changed = changed;
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        saved
    }
}
