//! What an operator does, with nobody connected or while the relay runs.

use hearth_protocol::envelope::Nothing;
use hearth_protocol::erasure::Erase;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{Signed, sha256};
use hearth_protocol::id::{AccountId, DeviceId};

use super::open::AdoptError;
use super::{Fault, Relay, Turn};
use crate::account::{RESTORED_KEY, device_row};
use crate::rows::{DeviceRow, LogRow};
use crate::session::Output;
use crate::store::{SHARED, Space, Store, StoreError};

/// What an operator sees of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// The account.
    pub account: AccountId,
    /// Devices that belong to it.
    pub devices: usize,
    /// Logs that were opened.
    pub logs: usize,
    /// Bytes of bodies and of the registry.
    pub used_bytes: u64,
    /// Items that were ever written, holes and folded ones included.
    pub items: u64,
    /// Erasures.
    pub erasures: u64,
    /// When a device was last here, in milliseconds since 1970; none: never.
    pub last_seen_ms: Option<u64>,
    /// Whether it lives on another server by now.
    pub moved: bool,
}

impl<S: Store> Relay<S> {
    /// Every account's id.
    pub(super) fn account_ids(&self) -> Result<Vec<AccountId>, StoreError> {
        let keys = self.rows.keys(&SHARED, Space::Accounts, &[], usize::MAX)?;
        keys.into_iter()
            .map(|key| {
                key.try_into()
                    .map(AccountId)
                    .map_err(|_| StoreError::Damaged("an account's id is too short"))
            })
            .collect()
    }

    /// Every account. Replays the control log of those that nobody is connected to.
    pub fn accounts(&mut self) -> Result<Vec<AccountInfo>, StoreError> {
        let role = self.config.role;
        let key = self.key;
        let mut infos = Vec::new();
        for account in self.account_ids()? {
            let loaded = self.loaded(&account)?;
            let members: Vec<DeviceId> = loaded.control.members().map(|(device, _)| *device).collect();
            let mut info = AccountInfo {
                account,
                devices: members.len(),
                logs: loaded.logs.len(),
                used_bytes: loaded.row.used_bytes,
                items: loaded.logs.values().map(|row| row.head.seq).sum(),
                erasures: loaded.row.erased_cursor,
                last_seen_ms: None,
                moved: loaded.moved(role, &key),
            };
            for device in members {
                let seen = device_row(&self.rows, &account, &device)?.seen_ms;
                info.last_seen_ms = info.last_seen_ms.max((seen > 0).then_some(seen));
            }
            if !self.present.contains_key(&account) {
                self.accounts.remove(&account);
            }
            infos.push(info);
        }
        Ok(infos)
    }

    /// Deletes everything of an account, and closes its sessions. Says whether it was there. The bytes are gone from the
    /// disk after the store's next scrub. Its devices are told `Purged`, until one of them opens it again.
    pub fn purge(
        &mut self,
        account: &AccountId,
        now_ms: u64,
        entropy: &mut dyn hearth_protocol::entropy::Entropy,
    ) -> Result<(bool, Vec<Output>), StoreError> {
        let recovery = match self.load(account) {
            Ok(false) => return Ok((false, Vec::new())),
            Ok(true) => Some(*self.loaded(account)?.control.recovery()),
            // Rows that make no sense go as well.
            Err(StoreError::Damaged(_)) => None,
            Err(error) => return Err(error),
        };
        let mut turn = Turn {
            now_ms,
            entropy,
            out: Vec::new(),
        };
        let sessions = self.present.get(account).cloned().unwrap_or_default();
        for id in sessions {
            self.close(id, ErrorCode::Purged, &mut turn);
        }
        self.rows.begin()?;
        let outcome = (|| {
            match &recovery {
                Some(recovery) => self.forget_phrase(account, recovery)?,
                None => self.forget_phrases_of(account)?,
            }
            for key in self.rows.keys(&SHARED, Space::Owed, &account.0, usize::MAX)? {
                self.rows.delete(&SHARED, Space::Owed, &key)?;
            }
            self.rows.delete(&SHARED, Space::Accounts, &account.0)?;
            // The code stays used, by whom is forgotten: a hash tells only whoever has the id.
            for key in self.rows.keys(&SHARED, Space::Invitations, &[], usize::MAX)? {
                if self.rows.need::<AccountId>(&SHARED, Space::Invitations, &key)? == *account {
                    self.rows.put(
                        &SHARED,
                        Space::Invitations,
                        &key,
                        &AccountId(sha256(&account.0).0),
                    )?;
                }
            }
            // Else the first device that calls would bring all of it again.
            self.rows
                .put(&SHARED, Space::Purged, &sha256(&account.0).0, &Nothing {})?;
            self.rows.store.purge(account)?;
            self.rows.store.commit()
        })();
        self.accounts.remove(account);
        if let Err(error) = outcome {
            self.rows.store.rollback()?;
            return Err(error);
        }
        self.damaged.remove(account);
        Ok((true, turn.out))
    }

    /// By which phrases an account is found whose control log can't be read.
    fn forget_phrases_of(&mut self, account: &AccountId) -> Result<(), StoreError> {
        for key in self.rows.keys(&SHARED, Space::Phrases, &[], usize::MAX)? {
            if self.rows.need::<AccountId>(&SHARED, Space::Phrases, &key)? == *account {
                self.rows.delete(&SHARED, Space::Phrases, &key)?;
            }
        }
        Ok(())
    }

    /// The store was put back from a backup: every device is taken at its next `Hello` with whatever token it has, is
    /// asked for its vector, and gets all statements again. Call it before anybody connects.
    pub fn restored(&mut self) -> Result<(), StoreError> {
        for account in self.account_ids()? {
            self.accounts.remove(&account);
            self.rows.begin()?;
            let outcome = (|| {
                for key in self.rows.keys(&account, Space::Devices, &[], usize::MAX)? {
                    let row: DeviceRow = self.rows.need(&account, Space::Devices, &key)?;
                    let row = DeviceRow {
                        any_token: true,
                        restored: true,
                        statements: 0,
                        vector: hearth_protocol::vector::VersionVector::default(),
                        ..row
                    };
                    self.rows.put(&account, Space::Devices, &key, &row)?;
                }
                self.rows.put(&account, Space::Account, RESTORED_KEY, &0u64)?;
                self.rows.store.commit()
            })();
            if let Err(error) = outcome {
                self.rows.store.rollback()?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes over from a newer state of this store who belongs to an account: its control log, the wraps of its epoch, and
    /// who opened which log. Call it after a restore, before [`replay`](Self::replay): a device that was revoked meanwhile
    /// isn't let in again. Says whether it could be: not if the newer control log is another branch.
    pub fn carry_over(&mut self, account: &AccountId, newer: &Self) -> Result<bool, StoreError> {
        let mut entries = Vec::new();
        for key in newer.rows.keys(account, Space::Control, &[], usize::MAX)? {
            entries.push(newer.rows.need(account, Space::Control, &key)?);
        }
        match self.adopt(&entries) {
            Ok(()) => {}
            Err(AdoptError::Store(error)) => return Err(error),
            Err(AdoptError::Invalid) => return Ok(false),
        }
        let mut wraps = Vec::new();
        newer.rows.scan(account, Space::Wraps, &[], &mut |key, value| {
            wraps.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })?;
        self.rows.begin()?;
        let outcome = (|| {
            for key in self.rows.keys(account, Space::Wraps, &[], usize::MAX)? {
                self.rows.delete(account, Space::Wraps, &key)?;
            }
            for (key, value) in &wraps {
                self.rows.put_bytes(account, Space::Wraps, key, value)?;
            }
            self.rows.store.commit()
        })();
        if let Err(error) = outcome {
            self.rows.store.rollback()?;
            return Err(error);
        }
        let mut opened = Vec::new();
        for key in newer.rows.keys(account, Space::Logs, &[], usize::MAX)? {
            opened.push(newer.rows.need::<LogRow>(account, Space::Logs, &key)?);
        }
        opened.sort_by_key(|row| row.number);
        for row in opened {
            self.load(account)?;
            self.rows.begin()?;
            match self.take_log_open(account, &row.open) {
                Ok(()) => self.rows.store.commit()?,
                Err(fault) => {
                    self.rows.store.rollback()?;
                    self.accounts.remove(account);
                    // One that has no meaning any more.
                    if let Fault::Store(error) = fault {
                        return Err(error);
                    }
                }
            }
        }
        self.accounts.remove(account);
        Ok(true)
    }

    /// Takes over which invitations were used in a newer state of this store.
    pub fn carry_over_invitations(&mut self, newer: &Self) -> Result<(), StoreError> {
        let mut used = Vec::new();
        newer
            .rows
            .scan(&SHARED, Space::Invitations, &[], &mut |key, value| {
                used.push((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            })?;
        self.rows.begin()?;
        let outcome = used
            .iter()
            .try_for_each(|(key, value)| self.rows.put_bytes(&SHARED, Space::Invitations, key, value))
            .and_then(|()| self.rows.store.commit());
        if outcome.is_err() {
            self.rows.store.rollback()?;
        }
        outcome
    }

    /// Takes over which accounts were purged in a newer state of this store, and weren't opened again: devices of those
    /// that are younger than this state are told so as well. Call it before accounts are purged here.
    pub fn carry_over_purges(&mut self, newer: &Self) -> Result<(), StoreError> {
        let purged = newer.rows.keys(&SHARED, Space::Purged, &[], usize::MAX)?;
        let there = newer.account_ids()?;
        self.rows.begin()?;
        let outcome = (|| {
            for account in &there {
                self.rows.delete(&SHARED, Space::Purged, &sha256(&account.0).0)?;
            }
            for key in &purged {
                self.rows.put(&SHARED, Space::Purged, key, &Nothing {})?;
            }
            self.rows.store.commit()
        })();
        if outcome.is_err() {
            self.rows.store.rollback()?;
        }
        outcome
    }

    /// Carries out erasures that a newer state of this store had: call it after a restore, before anybody connects, so
    /// that nothing erased is ever served again. Those whose log this older state doesn't know yet are skipped, and said
    /// how many; the devices bring them.
    pub fn replay(&mut self, account: &AccountId, erasures: &[Signed<Erase>]) -> Result<usize, StoreError> {
        if !self.load(account)? {
            return Ok(erasures.len());
        }
        let mut skipped = 0;
        for erase in erasures {
            self.rows.begin()?;
            match self.put_erase(account, erase) {
                Ok(()) => self.rows.store.commit()?,
                Err(fault) => {
                    self.rows.store.rollback()?;
                    self.accounts.remove(account);
                    match fault {
                        Fault::Store(error) => return Err(error),
                        _ => skipped += 1,
                    }
                }
            }
        }
        Ok(skipped)
    }

    /// Erasures of an account from a cursor on, at most 1,024, with the cursor after them: for a copy that outlives a
    /// restore.
    pub fn erasures(&self, account: &AccountId, after: u64) -> Result<(u64, Vec<Signed<Erase>>), StoreError> {
        let part = super::push::erase_part(&self.rows, account, after.saturating_add(1), u64::MAX)?;
        Ok((part.cursor, part.erasures.into_inner()))
    }

    /// Whether an account's control log names another server by now.
    pub fn has_moved(&mut self, account: &AccountId) -> Result<bool, StoreError> {
        let (role, key) = (self.config.role, self.key);
        Ok(self.load(account)? && self.loaded(account)?.moved(role, &key))
    }
}
