//! What this device keeps when it serves the account's other devices on the local network: the rows of `hearth-relay`.
//!
//! **Data in**: sealed bodies, control entries, erasures and statements that other devices hand over, and this device's own.
//! All of it is signed by its author and opened by nobody here. **Owner**: the relay (`hearth-core`, `engine/sync/local`);
//! its keys and values mean nothing to the store. **At rest**: one table, `sync_peer`, in the encrypted database. It goes
//! with the account ([`Store::end_sync`]). No export and no plain copy has it.
//!
//! **Erasure**: it is a cache: every living thing in it is on the devices, which send it again. So when this device carries
//! out an erasure, the transaction that does it empties the table, and the log is emptied with the rest of the erasure before
//! anybody is told ([`Store::sync_write`]). What the relay itself replaces or deletes is overwritten in its page as
//! everywhere, and [`Store::peer_settle`] empties the log.
//!
//! **The lease** tells a relay that runs that its rows went: it is a row that goes with them.

use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;
use crate::store::Store;

/// A run of the relay: random.
pub type PeerLease = [u8; 16];

/// Called for every row of a scan, with its key and value; false ends it.
pub type PeerVisit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// The relay's spaces count from 1.
const LEASE_SPACE: u8 = 0;

impl Store {
    /// Lends the rows to one run of the relay; whoever had them has them no more.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the profile doesn't sync.
    pub fn peer_lend(&mut self, lease: &PeerLease) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        if !super::running(&transaction)? {
            return Err(StoreError::Invalid("the profile doesn't sync".into()));
        }
        put(&transaction, &[0; 32], LEASE_SPACE, b"", lease)?;
        transaction.commit()?;
        Ok(())
    }

    /// Whether the rows are still lent to this run.
    pub fn peer_lent_to(&self, lease: &PeerLease) -> Result<bool, StoreError> {
        Ok(self.peer_get(&[0; 32], LEASE_SPACE, b"")?.as_deref() == Some(lease.as_slice()))
    }

    /// Begins a transaction over the rows. Until it ends nothing else may be asked of the store.
    pub fn peer_begin(&mut self) -> Result<(), StoreError> {
        // One whose end failed would be in the way.
        self.peer_rollback()?;
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Ends it, durably. After an error nothing of it counts.
    pub fn peer_commit(&mut self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Ends it without a trace, if one is open.
    pub fn peer_rollback(&mut self) -> Result<(), StoreError> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    /// Overwrites what the log still holds of rows that went. False: another program reads the database, so it does still.
    pub fn peer_settle(&mut self) -> Result<bool, StoreError> {
        self.settle_erasures()
    }

    /// The value of a row.
    pub fn peer_get(&self, account: &[u8; 32], space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT value FROM sync_peer WHERE account = ?1 AND space = ?2 AND key = ?3")?
            .query_row((account, space, key), |row| row.get(0))
            .optional()?)
    }

    /// Writes a row, in place of the one with this key.
    pub fn peer_put(
        &mut self,
        account: &[u8; 32],
        space: u8,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        put(&self.connection, account, space, key, value)
    }

    /// Deletes a row, if it is there.
    pub fn peer_delete(&mut self, account: &[u8; 32], space: u8, key: &[u8]) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM sync_peer WHERE account = ?1 AND space = ?2 AND key = ?3")?
            .execute((account, space, key))?;
        Ok(())
    }

    /// Deletes every row of an account.
    pub fn peer_purge(&mut self, account: &[u8; 32]) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM sync_peer WHERE account = ?1 AND space > 0")?
            .execute([account])?;
        Ok(())
    }

    /// Visits the rows of a space in ascending order, from this key on; or in descending order, from the last whose key is
    /// at most this one.
    pub fn peer_scan(
        &self,
        account: &[u8; 32],
        space: u8,
        from: &[u8],
        descending: bool,
        visit: PeerVisit<'_>,
    ) -> Result<(), StoreError> {
        let statement = if descending {
            "SELECT key, value FROM sync_peer WHERE account = ?1 AND space = ?2 AND key <= ?3 ORDER BY key DESC"
        } else {
            "SELECT key, value FROM sync_peer WHERE account = ?1 AND space = ?2 AND key >= ?3 ORDER BY key"
        };
        let mut statement = self.connection.prepare_cached(statement)?;
        let mut rows = statement.query((account, space, from))?;
        while let Some(row) = rows.next()? {
            let (key, value) = (row.get_ref(0)?, row.get_ref(1)?);
            let bytes = |value: rusqlite::types::ValueRef<'_>| value.as_blob().map(<[u8]>::to_vec);
            let (Ok(key), Ok(value)) = (bytes(key), bytes(value)) else {
                break;
            };
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// Forgets all rows, the lease too.
    pub fn peer_forget(&mut self) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        forget(&transaction)?;
        transaction.commit()?;
        Ok(())
    }
}

fn put(
    connection: &Connection,
    account: &[u8; 32],
    space: u8,
    key: &[u8],
    value: &[u8],
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO sync_peer (account, space, key, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account, space, key) DO UPDATE SET value = excluded.value",
        )?
        .execute((account, space, key, value))?;
    Ok(())
}

/// Forgets all rows within the caller's transaction.
pub(super) fn forget(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("DELETE FROM sync_peer", [])?;
    Ok(())
}
