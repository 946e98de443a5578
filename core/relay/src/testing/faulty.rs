//! A store that fails when it is told to.

use hearth_protocol::id::AccountId;

use crate::store::{Space, Store, StoreError, Visit};

/// Passes everything on, until the writes it may still make are used up: then each fails as a full disk does.
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    /// The store behind it.
    pub inner: S,
    /// How many more writes and commits succeed; `None`: all.
    pub writes_left: Option<u64>,
    /// Whether [`Store::only_reserve_left`] says so.
    pub only_reserve: bool,
    visited: std::cell::Cell<u64>,
}

impl<S> Faulty<S> {
    /// A store that doesn't fail yet.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            writes_left: None,
            only_reserve: false,
            visited: std::cell::Cell::new(0),
        }
    }

    /// How many rows were visited by ascending scans so far.
    pub fn visited(&self) -> u64 {
        self.visited.get()
    }

    fn spend(&mut self) -> Result<(), StoreError> {
        match &mut self.writes_left {
            Some(0) => Err(StoreError::Full),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl<S: Store> Store for Faulty<S> {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.inner.begin()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.spend()?;
        self.inner.commit()
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.inner.rollback()
    }

    fn get(&self, account: &AccountId, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(account, space, key)
    }

    fn put(&mut self, account: &AccountId, space: Space, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.spend()?;
        self.inner.put(account, space, key, value)
    }

    fn delete(&mut self, account: &AccountId, space: Space, key: &[u8]) -> Result<(), StoreError> {
        self.spend()?;
        self.inner.delete(account, space, key)
    }

    fn scan(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.inner.scan(account, space, from, &mut |key, value| {
            self.visited.set(self.visited.get() + 1);
            visit(key, value)
        })
    }

    fn scan_back(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.inner.scan_back(account, space, from, visit)
    }

    fn purge(&mut self, account: &AccountId) -> Result<(), StoreError> {
        self.spend()?;
        self.inner.purge(account)
    }

    fn scrub(&mut self) -> Result<(), StoreError> {
        self.inner.scrub()
    }

    fn only_reserve_left(&self) -> bool {
        self.only_reserve || self.inner.only_reserve_left()
    }
}
