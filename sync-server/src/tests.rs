//! The embedded store passes the suite of every store, alone and within groups.

use hearth_protocol::id::AccountId;
use hearth_relay::store::Visit;
use hearth_relay::{Space, Store, StoreError};

use crate::SqliteStore;

#[test]
fn the_embedded_store_is_a_store() {
    let folders = std::cell::RefCell::new(Vec::new());
    hearth_relay::testing::check_store(|| {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), 0).unwrap();
        folders.borrow_mut().push(folder);
        store
    });
}

/// A store within a group; scrubbing, which needs none, ends it for a moment.
struct Grouped(SqliteStore);

impl Store for Grouped {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.0.begin()
    }
    fn commit(&mut self) -> Result<(), StoreError> {
        self.0.commit()
    }
    fn rollback(&mut self) -> Result<(), StoreError> {
        self.0.rollback()
    }
    fn get(&self, account: &AccountId, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(account, space, key)
    }
    fn put(&mut self, account: &AccountId, space: Space, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.put(account, space, key, value)
    }
    fn delete(&mut self, account: &AccountId, space: Space, key: &[u8]) -> Result<(), StoreError> {
        self.0.delete(account, space, key)
    }
    fn scan(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.0.scan(account, space, from, visit)
    }
    fn scan_back(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.0.scan_back(account, space, from, visit)
    }
    fn purge(&mut self, account: &AccountId) -> Result<(), StoreError> {
        self.0.purge(account)
    }
    fn scrub(&mut self) -> Result<(), StoreError> {
        self.0.end_group()?;
        self.0.scrub()?;
        self.0.begin_group()
    }
}

#[test]
fn so_it_is_within_a_group() {
    let folders = std::cell::RefCell::new(Vec::new());
    hearth_relay::testing::check_store(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path(), 0).unwrap();
        store.begin_group().unwrap();
        folders.borrow_mut().push(folder);
        Grouped(store)
    });
}
