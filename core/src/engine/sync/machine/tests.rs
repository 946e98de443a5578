use hearth_store::{EraseScope, MemoryKind, MemoryOrigin, MemoryStatus, NewMemory, Protection, Store};
use hearth_sync::device::Founding;
use hearth_sync::recovery::Phrase;

use super::*;

const NOW_MS: i64 = 1_000_000;

/// A profile with an account, and one memory that is being erased everywhere.
fn erasing() -> (tempfile::TempDir, Store, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let key = Protection::KeyFile(folder.path().join("key"));
    let mut store = Store::create(&folder.path().join("profile"), &key).unwrap();
    let founding = Founding {
        phrase: Phrase::random(&mut OsEntropy),
        server: None,
        invitation: String::new(),
    };
    let keys = Keychain::random(&mut OsEntropy);
    let (device, outputs) = Device::create(founding, keys, time(NOW_MS), &mut OsEntropy).unwrap();
    let mut machine = Machine::begin(&mut store, device, outputs, NOW_MS).unwrap();
    let new = NewMemory {
        text: "The canary is blue".into(),
        kind: MemoryKind::Preference,
        confidence: 1.0,
        sensitive: false,
        valid_from_ms: None,
        valid_to_ms: None,
        created_at_ms: NOW_MS,
        sources: Vec::new(),
        status: MemoryStatus::Active,
        origin: MemoryOrigin::Extracted,
        pinned: false,
    };
    let memory = store.add_memory(&new, None).unwrap().id;
    machine.finish(&mut store, Planned::default(), NOW_MS).unwrap();
    let plan = store
        .plan_erasure(&EraseScope::Items {
            memories: vec![memory],
            turns: Vec::new(),
        })
        .unwrap();
    store.erase(&plan.plan(), NOW_MS).unwrap();
    (folder, store, machine)
}

fn done_here(machine: &Machine) -> Vec<bool> {
    let status = machine.device.status(time(NOW_MS));
    status.erasures.iter().map(|erasure| erasure.done_here).collect()
}

#[test]
fn an_erasure_is_confirmed_at_once_when_nobody_else_reads_the_database() {
    let (_folder, mut store, mut machine) = erasing();
    let effects = machine.finish(&mut store, Planned::default(), NOW_MS).unwrap();
    assert_eq!(done_here(&machine), [true]);
    assert!(effects.reports.iter().any(|report| !report.erasures.is_empty()));
}

#[test]
fn nothing_is_confirmed_or_sent_until_the_log_is_empty() {
    let (_folder, mut store, mut machine) = erasing();
    machine.unsettled = true;
    machine.settle_at_ms = time(NOW_MS) + 10;
    machine.held.push(Outgoing::Frame(vec![1]));
    let effects = machine.finish(&mut store, Planned::default(), NOW_MS).unwrap();
    assert_eq!(done_here(&machine), [false]);
    assert!(effects.outgoing.is_empty());
    assert_eq!(effects.wake_at_ms, Some(time(NOW_MS) + 10));
    let effects = machine
        .finish(&mut store, Planned::default(), NOW_MS + 10)
        .unwrap();
    assert_eq!(done_here(&machine), [true]);
    assert!(matches!(&effects.outgoing[..], [Outgoing::Frame(bytes)] if *bytes == [1]));
}

#[test]
fn what_was_held_back_for_one_connection_isnt_sent_on_the_next() {
    let (_folder, mut store, mut machine) = erasing();
    machine.held.push(Outgoing::Frame(vec![1]));
    let planned = machine.step(&store, Input::Disconnected, NOW_MS).unwrap();
    assert!(
        machine
            .finish(&mut store, planned, NOW_MS)
            .unwrap()
            .outgoing
            .is_empty()
    );
}
