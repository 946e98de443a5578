//! Any entries at all are replayed as a control log: no panic, and a refused entry changes nothing.
#![no_main]

use hearth_protocol::codec::{List, Wire};
use hearth_protocol::control::{Account, ControlEntry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(entries) = List::<ControlEntry, 64>::decode(bytes) else { return };
    let Some((first, rest)) = entries.split_first() else { return };
    let Ok(mut account) = Account::open(first) else { return };
    for entry in rest {
        let before = account.clone();
        if account.append(entry, &entries).is_err() {
            assert_eq!(account, before);
        }
    }
});
