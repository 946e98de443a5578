//! Erasures: kept, carried out and refused ever after in one transaction; receipts once the store is scrubbed.

use std::ops::ControlFlow;

use hearth_protocol::erasure::{Erase, Receipt};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{Signed, Statement, merkle_root};
use hearth_protocol::id::{AccountId, DeviceId, Handle, Hash, TimeMs};
use hearth_protocol::message::{PushErase, Reply};

use super::{ACCEPTED, Fault, Phase, Relay, Turn};
use crate::items::places_of;
use crate::rows::{OwedRow, decode};
use crate::session::SessionId;
use crate::store::{SHARED, Space, Store, StoreError};

/// How many items of a handle are looked up at a time.
const PIECE: usize = 1_024;

/// Receipts signed after one scrub.
const MAX_RECEIPTS: usize = 4_096;

/// The key under which an erasure is found by a handle.
pub(super) fn erased_key(handle: &Handle, cursor: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&handle.0);
    key[16..].copy_from_slice(&cursor.to_be_bytes());
    key
}

/// The key under which an erasure is found by its place.
pub(super) fn place_key(erase: &Erase) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&erase.log.0);
    key[16..].copy_from_slice(&erase.number.to_be_bytes());
    key
}

/// What an erasure takes in the store, about: itself, its rows, its receipt, and one row a handle.
pub(super) fn erasure_bytes(erase: &Signed<Erase>) -> u64 {
    500 + 64 * erase.statement.handles.len() as u64
}

/// For so many erasures, computing their root counts as one more request.
const ROOT_IDS_A_REQUEST: u64 = 256;

impl<S: Store> Relay<S> {
    pub(super) fn take_erase(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        push: PushErase,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let before = self.loaded(account)?.row.erased_cursor;
        self.put_erase(account, &push.erase)?;
        let row = self.loaded(account)?.row.clone();
        let session = self.session(id)?;
        if session.erased_sent == before {
            // It has everything up to here, this one included.
            session.erased_sent = row.erased_cursor;
        }
        if session.erased_applied == before {
            session.erased_applied = row.erased_cursor;
        }
        let gate = session.gate;
        // The erasure stands, whatever is wrong with the registry that came along.
        let registry = match push.registry {
            None => Ok(()),
            Some(_) if !gate || self.rows.store.only_reserve_left() => {
                Err(Fault::from(ErrorCode::RegistryConflict))
            }
            Some(update) => match self
                .check_registry(account, &update, false, true, None)
                .and_then(|()| Ok(self.put_registry(account, &update)?))
            {
                Ok(()) => {
                    self.session(id)?.table_sent = update.table.id(account);
                    Ok(())
                }
                Err(Fault::Store(error)) => return Err(error.into()),
                Err(_) => Err(Fault::from(ErrorCode::RegistryConflict)),
            },
        };
        if registry.is_ok() {
            turn.reply(id, number, ACCEPTED);
        } else {
            turn.refuse(id, number, ErrorCode::RegistryConflict, 0);
        }
        if let Some(receipt) = self.receipt(account, &push.erase.id(account))? {
            turn.reply(id, 0, Reply::Receipt(receipt));
        }
        Ok(())
    }

    /// Takes an erasure into the set and carries it out. One that is there already changes nothing.
    pub(super) fn put_erase(&mut self, account: &AccountId, erase: &Signed<Erase>) -> Result<(), Fault> {
        let statement = &erase.statement;
        let loaded = self.loaded(account)?;
        let row = loaded.logs.get(&statement.log).ok_or(ErrorCode::WrongLog)?;
        let key = loaded.log_key(row).ok_or(ErrorCode::WrongLog)?;
        erase.verify(account, &key).map_err(|_| ErrorCode::BadSignature)?;
        let device = row.open.statement.device;
        if !loaded
            .control
            .accepts_erasure(&device, &statement.log, statement.number)
        {
            return Err(ErrorCode::WrongLog.into());
        }
        let id = statement.id(account);
        if self.rows.get::<u64>(account, Space::EraseIds, &id.0)?.is_some() {
            return Ok(());
        }
        // One place, one erasure: else a device that is out could still order new ones, under numbers it had before.
        let place = place_key(statement);
        if self
            .rows
            .get::<Hash>(account, Space::ErasePlaces, &place)?
            .is_some()
        {
            return Err(ErrorCode::WrongLog.into());
        }
        let bytes = erasure_bytes(erase);
        let limit = self.config.limits.erasure_bytes;
        let row = &self.loaded(account)?.row;
        if limit > 0 && row.erasure_bytes.saturating_add(bytes) > limit {
            return Err(ErrorCode::QuotaReached.into());
        }
        let cursor = row.erased_cursor + 1;
        self.rows.put(account, Space::ErasePlaces, &place, &id)?;
        self.rows
            .put(account, Space::Erasures, &cursor.to_be_bytes(), erase)?;
        self.rows.put(account, Space::EraseIds, &id.0, &cursor)?;
        let mut loaded = self.take_loaded(account)?;
        let mut done = OwedRow { bodies: 0, bytes: 0 };
        let mut loaded_holes = 0;
        for handle in statement.handles.iter() {
            self.rows
                .put_bytes(account, Space::Erased, &erased_key(handle, cursor), &[])?;
            let mut after = None;
            loop {
                let places = places_of(&self.rows, account, handle, after, PIECE)?;
                for (number, seq) in &places {
                    let log = loaded.by_number(account, *number)?;
                    // Another handle may begin alike.
                    let Some(bytes) = log.dig(&mut self.rows, *seq, Some(handle))? else {
                        continue;
                    };
                    loaded_holes += u64::from(*seq > log.row.folded.seq);
                    done.bodies += 1;
                    done.bytes += bytes;
                }
                after = places.last().copied();
                if places.len() < PIECE {
                    break;
                }
            }
        }
        loaded.row.erased_cursor = cursor;
        loaded.row.used_bytes = loaded.row.used_bytes.saturating_sub(done.bytes);
        loaded.row.holes += loaded_holes;
        loaded.row.erasure_bytes += bytes;
        // Computed when somebody has to know it: it takes every id.
        loaded.row.root_stale = true;
        loaded.save(&mut self.rows)?;
        self.accounts.insert(*account, loaded);
        if self.is_server() {
            let key = [account.0, id.0].concat();
            self.rows.put(&SHARED, Space::Owed, &key, &done)?;
            self.receipts_owed = true;
        }
        Ok(())
    }

    /// The root of the erased set. If erasures came since it was asked last, all ids are hashed, and the device that asks
    /// is charged for them.
    pub(super) fn erased_root(
        &mut self,
        account: &AccountId,
        device: Option<&DeviceId>,
        now_ms: u64,
    ) -> Result<Hash, Fault> {
        let row = &self.loaded(account)?.row;
        if !row.root_stale {
            return Ok(row.erased_root);
        }
        let cost = row.erased_cursor / ROOT_IDS_A_REQUEST;
        if let Some(device) = device {
            self.allow_exempt(account, device, cost, 0, now_ms)?;
        }
        let ids = self.rows.keys(account, Space::EraseIds, &[], usize::MAX)?;
        let leaves: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
        let root = merkle_root(&leaves);
        let mut loaded = self.take_loaded(account)?;
        loaded.row.erased_root = root;
        loaded.row.root_stale = false;
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        saved?;
        Ok(root)
    }

    /// Whether a handle was erased.
    pub(super) fn is_erased(&self, account: &AccountId, handle: &Handle) -> Result<bool, StoreError> {
        Ok(!self.rows.keys(account, Space::Erased, &handle.0, 1)?.is_empty())
    }

    pub(super) fn receipt(
        &self,
        account: &AccountId,
        erase: &Hash,
    ) -> Result<Option<Signed<Receipt>>, StoreError> {
        self.rows.get(account, Space::Receipts, &erase.0)
    }

    /// Scrubs the store, then signs what is owed and tells whoever is connected.
    pub(super) fn give_receipts(&mut self, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        let mut owed: Vec<(AccountId, Hash, OwedRow)> = Vec::new();
        self.rows.scan(&SHARED, Space::Owed, &[], &mut |key, value| {
            let parsed = key
                .split_first_chunk::<32>()
                .and_then(|(account, erase)| Some((*account, <[u8; 32]>::try_from(erase).ok()?)));
            // Of a damaged one nobody can say whose it was. The others get theirs.
            if let (Some((account, erase)), Ok(row)) = (parsed, decode::<OwedRow>(value)) {
                owed.push((AccountId(account), Hash(erase), row));
            }
            if owed.len() < MAX_RECEIPTS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        self.rows.store.scrub()?;
        let at = TimeMs { ms: turn.now_ms };
        let until = TimeMs {
            ms: turn.now_ms.saturating_add(self.config.backups_kept_ms),
        };
        let mut given = Vec::new();
        self.rows.begin()?;
        let outcome = owed.iter().try_for_each(|(account, erase, row)| {
            let receipt = Receipt {
                erase: *erase,
                bodies: row.bodies,
                bytes: row.bytes,
                at,
                backups_until: until,
            };
            let signature = self.config.signer.sign(&receipt.id(account));
            let receipt = Signed {
                statement: receipt,
                signature,
            };
            self.rows.put(account, Space::Receipts, &erase.0, &receipt)?;
            let key = [account.0, erase.0].concat();
            self.rows.delete(&SHARED, Space::Owed, &key)?;
            given.push((*account, receipt));
            Ok(())
        });
        if let Err(error) = outcome.and_then(|()| self.rows.store.commit()) {
            self.rows.store.rollback()?;
            // Still owed: the next tick tries again.
            return match error {
                StoreError::Damaged(_) => Err(error),
                _ => Ok(()),
            };
        }
        self.receipts_owed = owed.len() == MAX_RECEIPTS;
        for (account, receipt) in given {
            let devices: Vec<SessionId> = self
                .present
                .get(&account)
                .into_iter()
                .flatten()
                .copied()
                .filter(|id| {
                    self.sessions
                        .get(id)
                        .is_some_and(|session| matches!(session.phase, Phase::Ready(..)))
                })
                .collect();
            for id in devices {
                turn.reply(id, 0, Reply::Receipt(receipt.clone()));
            }
        }
        Ok(())
    }
}
