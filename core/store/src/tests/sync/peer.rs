//! What a device keeps for the others goes with every erasure, page by page, and with the account.

use super::Device;
use crate::tests::{open, pages};

const ACCOUNT: [u8; 32] = [3; 32];

fn fill(device: &mut Device) {
    device.store.peer_lend(&[1; 16]).unwrap();
    device.store.peer_begin().unwrap();
    device
        .store
        .peer_put(&ACCOUNT, 7, b"place", b"sealedcanary")
        .unwrap();
    device.store.peer_commit().unwrap();
}

fn rows(device: &Device) -> i64 {
    let count = "SELECT count(*) FROM sync_peer";
    device
        .store
        .connection
        .query_row(count, [], |row| row.get(0))
        .unwrap()
}

#[test]
fn an_erasure_empties_what_is_kept_for_others_and_the_log_with_it() {
    let mut device = Device::new(1);
    let memory = device.remember("The secretcanary is out", &[]);
    let sent = device.publish();
    fill(&mut device);
    assert!(device.holds("sealedcanary"));
    let handle = sent
        .iter()
        .find(|write| write.document.item == crate::SyncItem::memory(memory))
        .unwrap()
        .document
        .handle;
    // Anything else leaves it.
    device.store.sync_write(&crate::SyncBatch::default(), 5).unwrap();
    assert_eq!(rows(&device), 2);
    let log = device.dir.path().join("hearth.db-wal");
    // The header of SQLite's log: its salts are new whenever the log begins anew.
    let header = || {
        std::fs::read(&log)
            .unwrap()
            .into_iter()
            .take(32)
            .collect::<Vec<u8>>()
    };
    let (before, length) = (header(), std::fs::metadata(&log).unwrap().len());
    assert_eq!(before.len(), 32);
    device.erase(&[handle]);
    assert_eq!(rows(&device), 0);
    assert!(!pages::contains(
        &pages::decrypted(&device.store.connection),
        "sealedcanary"
    ));
    assert_ne!(header(), before, "the log was emptied");
    assert!(std::fs::metadata(&log).unwrap().len() < length);
    assert!(
        !device.store.peer_lent_to(&[1; 16]).unwrap(),
        "whoever had the rows is told"
    );
}

#[test]
fn rows_are_lent_to_one_run_and_go_with_the_account() {
    let mut device = Device::new(1);
    fill(&mut device);
    device.store.peer_lend(&[2; 16]).unwrap();
    assert!(!device.store.peer_lent_to(&[1; 16]).unwrap());
    assert!(device.store.peer_lent_to(&[2; 16]).unwrap());
    // It is there after the next start, and a transaction that was cut short isn't.
    device.store.peer_begin().unwrap();
    device
        .store
        .peer_put(&ACCOUNT, 7, b"later", b"cut short")
        .unwrap();
    let dir = device.dir;
    drop(device.store);
    let mut store = open(dir.path()).unwrap();
    assert_eq!(
        store.peer_get(&ACCOUNT, 7, b"place").unwrap().as_deref(),
        Some(&b"sealedcanary"[..])
    );
    assert_eq!(store.peer_get(&ACCOUNT, 7, b"later").unwrap(), None);
    store.end_sync().unwrap();
    assert!(!store.peer_lent_to(&[2; 16]).unwrap());
    assert_eq!(store.peer_get(&ACCOUNT, 7, b"place").unwrap(), None);
    assert!(
        store.peer_lend(&[3; 16]).is_err(),
        "nothing is kept without an account"
    );
    assert!(!pages::contains(
        &pages::decrypted(&store.connection),
        "sealedcanary"
    ));
}
