#![allow(clippy::unwrap_used)]

use hearth_protocol::id::AccountId;
use hearth_relay::testing::check_store;
use hearth_store::{Protection, SyncBatch};

use super::*;

fn lent(folder: &std::path::Path) -> Lent {
    let key = folder.join("key");
    let mut store = Store::create(&folder.join("profile"), &Protection::KeyFile(key)).unwrap();
    store.begin_sync().unwrap();
    store.peer_lend(&[1; 16]).unwrap();
    Lent {
        store: Arc::new(Mutex::new(Some(store))),
        lease: [1; 16],
        open: false,
        dug: false,
        lost: Arc::default(),
    }
}

#[test]
fn the_rows_do_what_every_store_of_a_relay_must() {
    let mut folders = Vec::new();
    check_store(|| {
        let folder = tempfile::tempdir().unwrap();
        let lent = lent(folder.path());
        folders.push(folder);
        lent
    });
}

#[test]
fn a_relay_whose_rows_went_says_so_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut lent = lent(folder.path());
    let account = AccountId([7; 32]);
    let write = |lent: &mut Lent| {
        lent.begin()?;
        lent.put(&account, Space::Items, b"key", b"value")?;
        lent.commit()
    };
    write(&mut lent).unwrap();
    // What an erasure does in its transaction.
    let erasure = hearth_store::ErasureOrder {
        erase: [1; 32],
        also: hearth_store::ErasePlan::default(),
        handles: Vec::new(),
    };
    let batch = SyncBatch {
        erasures: vec![erasure],
        ..SyncBatch::default()
    };
    lent.with(|store| store.sync_write(&batch, 0)).unwrap();
    assert_eq!(lent.get(&account, Space::Items, b"key").unwrap(), None);
    assert!(!lent.lost.load(Ordering::Relaxed));
    assert!(write(&mut lent).is_err());
    assert!(lent.lost.load(Ordering::Relaxed));
    lent.rollback().unwrap();
    assert_eq!(lent.get(&account, Space::Items, b"key").unwrap(), None);
    // Without the database nothing is done, and nothing panics.
    lent.store.lock().unwrap().take();
    assert!(write(&mut lent).is_err());
}
