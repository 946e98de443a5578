//! A store in memory: for tests, the simulator, and a peer that serves for as long as it runs.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use hearth_protocol::id::AccountId;

use crate::store::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Space, Store, StoreError, Visit};

type Key = (AccountId, Space, Vec<u8>);

/// Rows in memory. A clone is a backup.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    rows: BTreeMap<Key, Vec<u8>>,
    /// What the open transaction replaced, in order.
    undo: Option<Vec<(Key, Option<Vec<u8>>)>>,
    scrubs: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every row, ascending.
    pub fn rows(&self) -> impl Iterator<Item = (&AccountId, Space, &[u8], &[u8])> {
        self.rows
            .iter()
            .map(|((account, space, key), value)| (account, *space, key.as_slice(), value.as_slice()))
    }

    /// How many bytes keys and values have together.
    pub fn bytes(&self) -> usize {
        self.rows
            .iter()
            .map(|((_, _, key), value)| key.len() + value.len())
            .sum()
    }

    /// How often it was scrubbed.
    pub fn scrubs(&self) -> u64 {
        self.scrubs
    }

    fn change(&mut self, key: Key, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let undo = self.undo.as_mut().ok_or(StoreError::NoTransaction)?;
        let before = match value {
            Some(value) => self.rows.insert(key.clone(), value),
            None => self.rows.remove(&key),
        };
        undo.push((key, before));
        Ok(())
    }
}

impl Store for MemoryStore {
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.undo.is_some() {
            return Err(StoreError::NoTransaction);
        }
        self.undo = Some(Vec::new());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.undo.take().map(|_| ()).ok_or(StoreError::NoTransaction)
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        for (key, before) in self.undo.take().into_iter().flatten().rev() {
            match before {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        Ok(())
    }

    fn get(&self, account: &AccountId, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(&(*account, space, key.to_vec())).cloned())
    }

    fn put(&mut self, account: &AccountId, space: Space, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::TooLarge);
        }
        self.change((*account, space, key.to_vec()), Some(value.to_vec()))
    }

    fn delete(&mut self, account: &AccountId, space: Space, key: &[u8]) -> Result<(), StoreError> {
        self.change((*account, space, key.to_vec()), None)
    }

    fn scan(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let rows = self.rows.range((*account, space, from.to_vec())..);
        for ((_, _, key), value) in rows.take_while(|((of, at, _), _)| of == account && *at == space) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let last = Bound::Included((*account, space, from.to_vec()));
        let rows = self.rows.range((Bound::Unbounded, last)).rev();
        for ((_, _, key), value) in rows.take_while(|((of, at, _), _)| of == account && *at == space) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn purge(&mut self, account: &AccountId) -> Result<(), StoreError> {
        let keys: Vec<Key> = self
            .rows
            .range((*account, Space::ALL[0], Vec::new())..)
            .map(|(key, _)| key.clone())
            .take_while(|(of, _, _)| of == account)
            .collect();
        keys.into_iter().try_for_each(|key| self.change(key, None))
    }

    fn scrub(&mut self) -> Result<(), StoreError> {
        if self.undo.is_some() {
            return Err(StoreError::NoTransaction);
        }
        self.scrubs += 1;
        Ok(())
    }
}
