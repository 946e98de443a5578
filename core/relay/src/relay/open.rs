//! New accounts: opened by a device here, or brought from another server.

use hearth_protocol::base32;
use hearth_protocol::control::{Account, Action, ControlEntry};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::sha256;
use hearth_protocol::id::AccountId;
use hearth_protocol::limits::MAX_CONTROL_ENTRIES;
use hearth_protocol::message::OpenAccount;

use super::control::refused;
use super::{ACCEPTED, Fault, Relay, Turn};
use crate::account::Loaded;
use crate::session::SessionId;
use crate::store::{SHARED, Space, Store, StoreError};

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
        let control = Account::replay(&open.entries).map_err(refused)?;
        let account = control.id();
        let by_member = control
            .members()
            .any(|(_, member)| member.keys.transport == transport_key);
        if !by_member {
            return Err(ErrorCode::WrongTransportKey.into());
        }
        if self.load(&account)? {
            return Err(ErrorCode::AccountExists.into());
        }
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
        if !self
            .config
            .admission
            .admits(&account, &open.invitation, turn.now_ms)
        {
            return Err(ErrorCode::NotInvited.into());
        }
        if !open.invitation.is_empty() {
            // One code, however it is spelled.
            let code =
                base32::decode(&open.invitation).unwrap_or_else(|_| open.invitation.as_bytes().to_vec());
            let key = sha256(&code);
            let used: Option<AccountId> = self.rows.get(&SHARED, Space::Invitations, &key.0)?;
            if used.is_some_and(|by| by != account) {
                return Err(ErrorCode::NotInvited.into());
            }
            self.rows.put(&SHARED, Space::Invitations, &key.0, &account)?;
        }
        // An account that comes from elsewhere has more entries than one message holds, or names us at its end.
        let whole = open.entries.len() < MAX_CONTROL_ENTRIES;
        let key = self.key;
        let named = control.server().is_some_and(|server| server.key == key);
        if whole && !named {
            return Err(ErrorCode::ControlInvalid.into());
        }
        let fresh = !open
            .entries
            .iter()
            .any(|entry| matches!(entry.statement.action, Action::ServerChange(_)));
        self.put_account(control, &open.entries)?;
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
        self.put_wraps(account, &open.wraps, &epoch, fresh)?;
        if fresh && open.registry.table.id(account) != epoch.table {
            return Err(ErrorCode::ControlInvalid.into());
        }
        self.put_registry(account, &open.registry, !fresh, false)
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
                    let before = self.loaded(&account)?.control.clone();
                    let mut after = before.clone();
                    after.append(entry, entries).map_err(|_| AdoptError::Invalid)?;
                    self.put_entry(&account, &before, after, entry)
                        .and_then(|()| self.after_entry(&account, &before, entry))
                        .map_err(|fault| match fault {
                            Fault::Store(error) => AdoptError::Store(error),
                            _ => AdoptError::Invalid,
                        })?;
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
