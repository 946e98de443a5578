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

/// What is replaced, deleted or purged leaves nothing behind, however large it is.
#[test]
fn large_values_go_with_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path(), 0).unwrap();
    let account = AccountId([7; 32]);
    let large = |byte: u8| vec![byte; 300_000];
    let bytes = |store: &SqliteStore| store.accounts().unwrap().first().map_or(0, |size| size.bytes);
    let put = |store: &mut SqliteStore, key: &[u8], value: &[u8]| {
        store.begin().unwrap();
        store.put(&account, Space::Items, key, value).unwrap();
        store.commit().unwrap();
    };
    put(&mut store, b"a", &large(1));
    put(&mut store, b"a", &large(2));
    put(&mut store, b"b", &large(3));
    assert_eq!(bytes(&store), 600_000);
    assert_eq!(store.get(&account, Space::Items, b"a").unwrap(), Some(large(2)));
    let mut seen = Vec::new();
    store
        .scan_back(&account, Space::Items, b"z", &mut |key, value| {
            seen.push((key.to_vec(), value[0], value.len()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, [(b"b".to_vec(), 3, 300_000), (b"a".to_vec(), 2, 300_000)]);
    put(&mut store, b"a", b"small");
    assert_eq!(bytes(&store), 300_005);
    store.begin().unwrap();
    store.delete(&account, Space::Items, b"b").unwrap();
    store.commit().unwrap();
    assert_eq!(bytes(&store), 5);
    put(&mut store, b"c", &large(4));
    store.begin().unwrap();
    store.purge(&account).unwrap();
    store.commit().unwrap();
    store.scrub().unwrap();
    let file = std::fs::read(folder.path().join(crate::store::DATABASE)).unwrap();
    for byte in 1..=4 {
        assert_eq!(
            memchr::memmem::find(&file, &[byte; 64]),
            None,
            "{byte} is still there"
        );
    }
}
