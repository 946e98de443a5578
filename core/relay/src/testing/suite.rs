//! What every store must do. Each case gets an empty store and panics where the store is wrong.
//!
//! ```ignore
//! #[test]
//! fn is_a_store() {
//!     hearth_relay::testing::check_store(|| SqliteStore::in_memory().unwrap());
//! }
//! ```
#![allow(clippy::unwrap_used)] // A suite of tests, kept in the library so that other packages can run it.

use std::ops::ControlFlow;

use hearth_protocol::id::AccountId;

use crate::memory::MemoryStore;
use crate::store::{MAX_KEY_BYTES, MAX_VALUE_BYTES, SHARED, Space, Store};

/// A named check.
pub type Case<S> = (&'static str, fn(&mut S));

/// Runs every case on a store of its own.
pub fn check_store<S: Store>(mut empty: impl FnMut() -> S) {
    for (name, case) in suite::<S>() {
        let mut store = empty();
        case(&mut store);
        // A name in the output of a failing run: the case that began last and isn't here is the one.
        println!("store: {name}: ok");
    }
}

/// Every case there is.
pub fn suite<S: Store>() -> Vec<Case<S>> {
    vec![
        ("rows come back", rows_come_back),
        ("rows are apart by account and space", rows_are_apart),
        ("scans are in order of bytes", scans_are_in_order),
        ("a scan ends when told", scans_end),
        ("a transaction is all or nothing", all_or_nothing),
        ("reads see the transaction's writes", reads_see_writes),
        ("large values", large_values),
        ("purge takes one account", purge_takes_one),
        ("misuse is refused", misuse_is_refused),
        ("random work equals the store in memory", random_work),
    ]
}

fn account(byte: u8) -> AccountId {
    AccountId([byte; 32])
}

fn write<S: Store>(store: &mut S, rows: &[(u8, Space, &[u8], &[u8])]) {
    store.begin().unwrap();
    for (of, space, key, value) in rows {
        store.put(&account(*of), *space, key, value).unwrap();
    }
    store.commit().unwrap();
}

fn all<S: Store>(store: &S, of: &AccountId, space: Space, from: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    store
        .scan(of, space, from, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn back<S: Store>(store: &S, of: &AccountId, space: Space, from: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    store
        .scan_back(of, space, from, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    keys
}

fn rows_come_back<S: Store>(store: &mut S) {
    assert_eq!(store.get(&account(1), Space::Items, b"a").unwrap(), None);
    write(
        store,
        &[(1, Space::Items, b"a", b"one"), (1, Space::Items, b"b", b"")],
    );
    assert_eq!(
        store.get(&account(1), Space::Items, b"a").unwrap().unwrap(),
        b"one"
    );
    assert_eq!(store.get(&account(1), Space::Items, b"b").unwrap().unwrap(), b"");
    assert_eq!(store.get(&account(1), Space::Items, b"").unwrap(), None);
    write(
        store,
        &[(1, Space::Items, b"a", b"two"), (1, Space::Items, b"", b"e")],
    );
    assert_eq!(
        store.get(&account(1), Space::Items, b"a").unwrap().unwrap(),
        b"two"
    );
    assert_eq!(store.get(&account(1), Space::Items, b"").unwrap().unwrap(), b"e");
    store.begin().unwrap();
    store.delete(&account(1), Space::Items, b"a").unwrap();
    store.delete(&account(1), Space::Items, b"never there").unwrap();
    store.commit().unwrap();
    assert_eq!(store.get(&account(1), Space::Items, b"a").unwrap(), None);
}

fn rows_are_apart<S: Store>(store: &mut S) {
    let mut rows: Vec<(u8, Space, &[u8], &[u8])> = Vec::new();
    let values: Vec<[u8; 2]> = Space::ALL.iter().map(|space| [*space as u8, 0]).collect();
    for (space, value) in Space::ALL.iter().zip(&values) {
        rows.push((1, *space, b"k", value));
    }
    rows.push((2, Space::Items, b"k", b"other account"));
    write(store, &rows);
    for (space, value) in Space::ALL.iter().zip(&values) {
        let found = all(store, &account(1), *space, b"");
        assert_eq!(found, [(b"k".to_vec(), value.to_vec())], "{space:?}");
    }
    assert_eq!(all(store, &account(2), Space::Items, b"").len(), 1);
    assert!(all(store, &account(2), Space::Logs, b"").is_empty());
    assert!(all(store, &SHARED, Space::Items, b"").is_empty());
}

fn scans_are_in_order<S: Store>(store: &mut S) {
    let keys: &[&[u8]] = &[
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\xff",
        b"\x01",
        b"a",
        b"a\x00",
        b"ab",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xff\xff",
    ];
    // Written in another order than they are read.
    for key in keys.iter().rev() {
        write(store, &[(3, Space::Handles, key, key)]);
    }
    write(
        store,
        &[(2, Space::Handles, b"b", b""), (4, Space::Handles, b"b", b"")],
    );
    let mut sorted: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
    sorted.sort();
    for (place, from) in sorted.iter().enumerate() {
        let found: Vec<Vec<u8>> = all(store, &account(3), Space::Handles, from)
            .into_iter()
            .map(|(key, value)| {
                assert_eq!(key, value);
                key
            })
            .collect();
        assert_eq!(found, sorted[place..], "from {from:?}");
        let mut descending = sorted[..=place].to_vec();
        descending.reverse();
        assert_eq!(back(store, &account(3), Space::Handles, from), descending);
    }
    // From between two keys.
    assert_eq!(
        all(store, &account(3), Space::Handles, b"aa")[0].0,
        b"ab".to_vec()
    );
    assert_eq!(
        back(store, &account(3), Space::Handles, b"aa")[0],
        b"a\x00".to_vec()
    );
    assert_eq!(
        back(store, &account(3), Space::Handles, &[0xff; 9])[0],
        b"\xff\xff".to_vec()
    );
}

fn scans_end<S: Store>(store: &mut S) {
    let keys: Vec<[u8; 2]> = (0..500u16).map(u16::to_be_bytes).collect();
    store.begin().unwrap();
    for key in &keys {
        store.put(&account(1), Space::Items, key, &[1; 100]).unwrap();
    }
    store.commit().unwrap();
    let mut seen = Vec::new();
    store
        .scan(&account(1), Space::Items, &keys[40], &mut |key, _| {
            seen.push(key.to_vec());
            if seen.len() == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(
        seen,
        keys[40..43].iter().map(|key| key.to_vec()).collect::<Vec<_>>()
    );
    let mut last = None;
    store
        .scan_back(&account(1), Space::Items, &[0xff; 4], &mut |key, _| {
            last = Some(key.to_vec());
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(last.unwrap(), keys[499].to_vec());
}

fn all_or_nothing<S: Store>(store: &mut S) {
    write(
        store,
        &[(1, Space::Logs, b"kept", b"1"), (1, Space::Logs, b"gone", b"1")],
    );
    store.begin().unwrap();
    store.put(&account(1), Space::Logs, b"kept", b"2").unwrap();
    store.put(&account(1), Space::Logs, b"new", b"2").unwrap();
    store.put(&account(1), Space::Logs, b"new", b"3").unwrap();
    store.delete(&account(1), Space::Logs, b"gone").unwrap();
    store.rollback().unwrap();
    let rows = all(store, &account(1), Space::Logs, b"");
    assert_eq!(
        rows,
        [
            (b"gone".to_vec(), b"1".to_vec()),
            (b"kept".to_vec(), b"1".to_vec())
        ]
    );
    // Where no transaction is open, there is nothing to roll back, and that is no error.
    store.rollback().unwrap();
    write(store, &[(1, Space::Logs, b"kept", b"4")]);
    assert_eq!(
        store.get(&account(1), Space::Logs, b"kept").unwrap().unwrap(),
        b"4"
    );
}

fn reads_see_writes<S: Store>(store: &mut S) {
    write(store, &[(1, Space::Control, b"a", b"old")]);
    store.begin().unwrap();
    store.put(&account(1), Space::Control, b"a", b"new").unwrap();
    store.put(&account(1), Space::Control, b"b", b"new").unwrap();
    assert_eq!(
        store.get(&account(1), Space::Control, b"a").unwrap().unwrap(),
        b"new"
    );
    assert_eq!(all(store, &account(1), Space::Control, b"").len(), 2);
    store.delete(&account(1), Space::Control, b"a").unwrap();
    assert_eq!(store.get(&account(1), Space::Control, b"a").unwrap(), None);
    assert_eq!(back(store, &account(1), Space::Control, b"z"), [b"b".to_vec()]);
    store.commit().unwrap();
    assert_eq!(all(store, &account(1), Space::Control, b"").len(), 1);
}

fn large_values<S: Store>(store: &mut S) {
    let value: Vec<u8> = (0..MAX_VALUE_BYTES).map(|place| (place % 251) as u8).collect();
    let key = [7; MAX_KEY_BYTES];
    write(store, &[(1, Space::Items, &key, &value)]);
    assert!(store.get(&account(1), Space::Items, &key).unwrap().unwrap() == value);
    let rows = all(store, &account(1), Space::Items, b"");
    assert!(rows[0].0 == key && rows[0].1 == value);
}

fn purge_takes_one<S: Store>(store: &mut S) {
    for space in Space::ALL {
        write(
            store,
            &[
                (1, *space, b"k", b"v"),
                (2, *space, b"k", b"v"),
                (3, *space, b"k", b"v"),
            ],
        );
    }
    store.begin().unwrap();
    store.purge(&account(2)).unwrap();
    store.rollback().unwrap();
    assert_eq!(all(store, &account(2), Space::Items, b"").len(), 1);
    store.begin().unwrap();
    store.purge(&account(2)).unwrap();
    store.commit().unwrap();
    for space in Space::ALL {
        assert_eq!(all(store, &account(1), *space, b"").len(), 1, "{space:?}");
        assert_eq!(all(store, &account(2), *space, b"").len(), 0, "{space:?}");
        assert_eq!(all(store, &account(3), *space, b"").len(), 1, "{space:?}");
    }
    store.scrub().unwrap();
    assert_eq!(all(store, &account(1), Space::Items, b"").len(), 1);
}

fn misuse_is_refused<S: Store>(store: &mut S) {
    assert!(
        store.put(&account(1), Space::Items, b"k", b"v").is_err(),
        "a write outside of a transaction"
    );
    assert!(store.delete(&account(1), Space::Items, b"k").is_err());
    assert_eq!(store.get(&account(1), Space::Items, b"k").unwrap(), None);
}

/// Compares with the store in memory, step by step. The seed is fixed: a failure comes back.
fn random_work<S: Store>(store: &mut S) {
    let mut model = MemoryStore::new();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |below: u64| {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for round in 0..200u64 {
        store.begin().unwrap();
        model.begin().unwrap();
        for _ in 0..next(8) {
            let of = account(next(3) as u8);
            let space = Space::ALL[next(3) as usize];
            let key: Vec<u8> = (0..next(3)).map(|_| next(4) as u8 * 85).collect();
            if next(4) == 0 {
                store.delete(&of, space, &key).unwrap();
                model.delete(&of, space, &key).unwrap();
            } else {
                let value = vec![round as u8; next(40) as usize];
                store.put(&of, space, &key, &value).unwrap();
                model.put(&of, space, &key, &value).unwrap();
            }
        }
        if next(3) == 0 {
            store.rollback().unwrap();
            model.rollback().unwrap();
        } else {
            store.commit().unwrap();
            model.commit().unwrap();
        }
        for of in 0..3 {
            for space in &Space::ALL[..3] {
                let from: Vec<u8> = (0..next(2)).map(|_| next(4) as u8 * 85).collect();
                assert_eq!(
                    all(store, &account(of), *space, &from),
                    all(&model, &account(of), *space, &from),
                    "round {round}"
                );
                assert_eq!(
                    back(store, &account(of), *space, &from),
                    back(&model, &account(of), *space, &from),
                    "round {round}"
                );
            }
        }
    }
}
