//! New accounts: opened by a device here, or brought from another server.

use hearth_protocol::base32;
use hearth_protocol::codec::Wire;
use hearth_protocol::control::{Account, Action, ControlEntry};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::sha256;
use hearth_protocol::id::AccountId;
use hearth_protocol::limits::MAX_CONTROL_ENTRIES;
use hearth_protocol::message::OpenAccount;

use super::control::refused;
use super::{ACCEPTED, Fault, Relay, STORAGE_RETRY_MS, Turn};
use crate::account::{Loaded, RESTORED_KEY};
use crate::session::SessionId;
use crate::store::{SHARED, Space, Store, StoreError};

/// Entries of an account that was just made: its genesis and its first epoch.
const FIRST_ENTRIES: usize = 2;

/// An hour, in seconds.
const HOUR_S: u64 = 3_600;

impl<S: Store> Relay<S> {
    pub(super) fn open(
        &mut self,
        id: SessionId,
        number: u32,
        open: &OpenAccount,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let transport_key = self.session(id)?.transport_key;
        if !self.is_server() {
            return Err(ErrorCode::NotInvited.into());
        }
        if self.rows.store.only_reserve_left() {
            return Err(Fault::Refuse(ErrorCode::StorageFailed, STORAGE_RETRY_MS));
        }
        // What costs nothing first; the entries' signatures last.
        let account = open
            .entries
            .first()
            .and_then(ControlEntry::opens)
            .ok_or(ErrorCode::ControlInvalid)?;
        let named = open.entries.iter().any(|entry| match &entry.statement.action {
            Action::Genesis(genesis) => genesis.device.transport == transport_key,
            Action::Enrol(enrol) => enrol.device.transport == transport_key,
            Action::Recover(recover) => recover.device.transport == transport_key,
            _ => false,
        });
        if !named {
            return Err(ErrorCode::WrongTransportKey.into());
        }
        if !self
            .config
            .admission
            .admits(&account, &open.invitation, turn.now_ms)
        {
            return Err(ErrorCode::NotInvited.into());
        }
        // One code, however it is spelled.
        let code =
            sha256(&base32::decode(&open.invitation).unwrap_or_else(|_| open.invitation.as_bytes().to_vec()));
        let used: Option<AccountId> = self.rows.get(&SHARED, Space::Invitations, &code.0)?;
        // Of an account that was purged, the hash is left.
        let purged = AccountId(sha256(&account.0).0);
        if !open.invitation.is_empty() && used.is_some_and(|by| by != account && by != purged) {
            return Err(ErrorCode::NotInvited.into());
        }
        // Only whoever may come in uses an opening up.
        let limit = self.config.limits.opens_per_hour;
        if self
            .opens
            .take(HOUR_S, u64::from(limit), u64::from(limit) * HOUR_S, turn.now_ms)
            .is_err()
        {
            return Err(Fault::Refuse(
                ErrorCode::RateLimited,
                HOUR_S * 1_000 / u64::from(limit.max(1)),
            ));
        }
        if self.load(&account)? {
            return Err(ErrorCode::AccountExists.into());
        }
        let control = Account::replay(&open.entries).map_err(refused)?;
        let by_member = control
            .members()
            .any(|(_, member)| member.keys.transport == transport_key);
        if !by_member {
            return Err(ErrorCode::WrongTransportKey.into());
        }
        if !open.invitation.is_empty() {
            self.rows.put(&SHARED, Space::Invitations, &code.0, &account)?;
        }
        // An account that comes from elsewhere has more entries than one message holds, or names us at its end.
        let whole = open.entries.len() < MAX_CONTROL_ENTRIES;
        let key = self.key;
        let named = control.server().is_some_and(|server| server.key == key);
        if whole && !named {
            return Err(ErrorCode::ControlInvalid.into());
        }
        // A new account has its first entries, and the table that its epoch names. Else its devices bring what was here, and
        // was lost or removed, or what was elsewhere.
        let table = control.epoch().map(|(_, epoch)| epoch.table);
        let fresh = open.entries.len() <= FIRST_ENTRIES && table == Some(open.registry.table.id(&account));
        self.rows.delete(&SHARED, Space::Purged, &sha256(&account.0).0)?;
        self.put_account(control, &open.entries)?;
        if !fresh {
            self.rows.put(&account, Space::Account, RESTORED_KEY, &0u64)?;
        }
        let outcome = self.put_epoch(&account, open, whole, fresh);
        if outcome.is_err() {
            // The transaction is rolled back; this session has no account that would be dropped with it.
            self.accounts.remove(&account);
        }
        outcome?;
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    fn put_epoch(
        &mut self,
        account: &AccountId,
        open: &OpenAccount,
        whole: bool,
        fresh: bool,
    ) -> Result<(), Fault> {
        let epoch = self
            .loaded(account)?
            .control
            .epoch()
            .map(|(_, epoch)| epoch.clone());
        let Some(epoch) = epoch else {
            return Err(ErrorCode::ControlInvalid.into());
        };
        if !whole && hearth_protocol::control::wraps_hash(account, &open.wraps) != epoch.wraps {
            // They are of an epoch whose entry is still to come; it brings them again.
            return Ok(());
        }
        self.check_wraps(account, &open.wraps, &epoch, fresh)?;
        self.rows.put(account, Space::Wraps, b"", &open.wraps)?;
        self.check_registry(account, &open.registry, !fresh, false, None)?;
        Ok(self.put_registry(account, &open.registry)?)
    }

    /// Writes a new account with these entries.
    pub(super) fn put_account(
        &mut self,
        control: Account,
        entries: &[ControlEntry],
    ) -> Result<(), StoreError> {
        let account = control.id();
        let key = self.key;
        self.rows.put_bytes(&SHARED, Space::Accounts, &account.0, &[])?;
        for entry in entries {
            let number = entry.statement.number.to_be_bytes();
            self.rows.put(&account, Space::Control, &number, entry)?;
        }
        self.remember_phrase(&account, control.recovery())?;
        let mut loaded = Loaded::new(control);
        loaded.row.arrived = loaded.is_here(&key);
        loaded.row.control_bytes = entries.iter().map(|entry| entry.encode().len() as u64).sum();
        loaded.save(&mut self.rows)?;
        self.accounts.insert(account, loaded);
        Ok(())
    }

    /// Puts an account in that this device is a member of, so that it can serve others on the local network: its control
    /// log from the genesis on. Does nothing if it is there already with at least these entries; what is new is added.
    pub fn adopt(&mut self, entries: &[ControlEntry]) -> Result<(), AdoptError> {
        self.rows.begin()?;
        let outcome = self.adopt_within(entries);
        if outcome.is_ok() {
            self.rows.store.commit()?;
        } else {
            self.rows.store.rollback()?;
            if let Some(account) = entries.first().and_then(ControlEntry::opens) {
                self.accounts.remove(&account);
            }
        }
        outcome
    }

    fn adopt_within(&mut self, entries: &[ControlEntry]) -> Result<(), AdoptError> {
        let control = Account::replay(entries).map_err(|_| AdoptError::Invalid)?;
        let account = control.id();
        if !self.load(&account)? {
            return Ok(self.put_account(control, entries)?);
        }
        let (known, head) = {
            let ours = &self.loaded(&account)?.control;
            (ours.number(), ours.head())
        };
        let place = usize::try_from(known).map_err(|_| AdoptError::Invalid)?;
        match entries.get(place) {
            None => Ok(()),
            Some(entry) if entry.id(&account) != head => Err(AdoptError::Invalid),
            Some(_) => {
                for entry in &entries[place + 1..] {
                    let failed = |fault| match fault {
                        Fault::Store(error) => AdoptError::Store(error),
                        _ => AdoptError::Invalid,
                    };
                    let before = self
                        .append(&account, entry, entries)
                        .map_err(failed)?
                        .map_err(|_| AdoptError::Invalid)?;
                    self.after_entry(&account, &before, entry).map_err(failed)?;
                }
                Ok(())
            }
        }
    }
}

/// An account can't be put in.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The entries don't replay, or fork from those that are there.
    #[error("the control log doesn't replay, or is another branch than the one that is stored")]
    Invalid,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
