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

/// What opened an earlier epoch is gone from the log, too, before anybody hears that it is gone.
#[test]
fn the_log_is_emptied_when_the_device_lets_go_of_a_key() {
    let (folder, mut store, mut machine) = erasing();
    machine.finish(&mut store, Planned::default(), NOW_MS).unwrap();
    let log = folder.path().join("profile").join("hearth.db-wal");
    // The header of SQLite's log: its salts are new whenever the log begins anew.
    let header = || {
        std::fs::read(&log)
            .unwrap()
            .into_iter()
            .take(32)
            .collect::<Vec<u8>>()
    };
    let mut keep = |keys: Keychain| {
        let before = header();
        let planned = Planned {
            outputs: vec![Output::Keychain(Box::new(keys))],
            batch: SyncBatch::default(),
        };
        machine.finish(&mut store, planned, NOW_MS).unwrap();
        header() != before
    };
    let (keys, others) = (Keychain::random(&mut OsEntropy), Keychain::random(&mut OsEntropy));
    assert!(keep(keys.clone()), "those of before are gone");
    assert!(!keep(keys.clone()) && !keep(keys), "nothing went");
    assert!(keep(others));
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

#[test]
fn what_points_to_an_attack_is_kept_until_it_is_dismissed_or_disproved() {
    use hearth_sync::device::{Proof, Suspicion};
    let (_folder, mut store, mut machine) = erasing();
    let log = LogId([7; 16]);
    let missing = Notice::Suspicion(Suspicion::Withheld { log });
    let proof = Notice::Proof(Proof::TwoHashes { log, seq: 3 });
    let say = |machine: &mut Machine, store: &mut Store, notices: &[Notice], at: i64| {
        let planned = Planned {
            outputs: notices.iter().cloned().map(Output::Notice).collect(),
            batch: SyncBatch::default(),
        };
        machine.finish(store, planned, at).unwrap();
        findings::list(store, &machine.device).unwrap()
    };
    say(&mut machine, &mut store, std::slice::from_ref(&missing), NOW_MS);
    // In one step with what says that all is well: a proof stays, and so does nothing that has come meanwhile.
    let found = say(
        &mut machine,
        &mut store,
        &[missing, proof, Notice::UpToDate],
        NOW_MS + 5,
    );
    let kinds: Vec<_> = found.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [crate::types::FindingKind::Proof]);
    assert_eq!((found[0].first_at_ms, found[0].times), (NOW_MS + 5, 1));
    let again = Notice::Proof(Proof::TwoHashes { log, seq: 4 });
    let found = say(&mut machine, &mut store, &[again], NOW_MS + 9);
    assert_eq!(
        (found[0].first_at_ms, found[0].last_at_ms, found[0].times),
        (NOW_MS + 5, NOW_MS + 9, 2)
    );
    // It outlives the machine.
    let mut machine = Machine::load(&mut store).unwrap().unwrap();
    assert_eq!(findings::list(&store, &machine.device).unwrap(), found);
    Machine::dismiss(&mut store, NOW_MS + 10).unwrap();
    assert_eq!(findings::list(&store, &machine.device).unwrap(), []);
    // A server can't fill the disk with them.
    let many: Vec<Notice> = (0..400u16)
        .map(|n| {
            let mut log = [0; 16];
            log[..2].copy_from_slice(&n.to_be_bytes());
            Notice::Damaged {
                log: LogId(log),
                seq: 1,
            }
        })
        .collect();
    for some in many.chunks(50) {
        say(&mut machine, &mut store, some, NOW_MS + 11);
    }
    let found = findings::list(&store, &machine.device).unwrap();
    assert!(found.len() >= 250 && found.len() <= 256 + 50, "{}", found.len());
}

#[test]
fn a_document_that_cant_be_written_to_is_given_up_once_and_nothing_is_forgotten() {
    use hearth_store::{SyncDocument, SyncItem};
    let (_folder, mut store, mut machine) = erasing();
    machine.finish(&mut store, Planned::default(), NOW_MS).unwrap();
    let item = SyncItem::settings("general");
    let document = SyncDocument {
        handle: Handle([5; 16]),
        item: item.clone(),
        document: b"no document".to_vec(),
        published: Vec::new(),
    };
    let batch = SyncBatch {
        documents: vec![DocumentWrite {
            document,
            content: None,
            more: false,
        }],
        ..SyncBatch::default()
    };
    store.sync_write(&batch, NOW_MS).unwrap();
    let dirty = Dirty {
        mark: 1,
        item: item.clone(),
    };
    let error = publications(&store, &dirty, LogId([1; 16]), Handle([2; 16])).unwrap_err();
    let DocumentsError::Document(error) = error else {
        panic!("{error}")
    };
    machine.cannot_give(&mut store, &dirty, &error).unwrap();
    assert!(store.sync_documents(&item).unwrap().is_empty());
    assert_eq!(store.outgoing_erasures(9).unwrap(), [Handle([5; 16])]);
    let again = store
        .dirty(9)
        .unwrap()
        .into_iter()
        .find(|dirty| dirty.item == item)
        .unwrap();
    assert!(
        publications(&store, &again, LogId([1; 16]), Handle([2; 16])).is_ok(),
        "it goes on in a new one"
    );
    // What fails again, or is too large, stays noted.
    machine
        .cannot_give(&mut store, &again, &DocumentError::Mismatch)
        .unwrap();
    assert_eq!(machine.stuck(), 1);
    assert!(store.is_dirty(&item).unwrap());
    let other = Dirty {
        mark: 77,
        item: SyncItem::settings("other"),
    };
    machine
        .cannot_give(&mut store, &other, &DocumentError::TooLarge("a chat"))
        .unwrap();
    assert_eq!(machine.stuck(), 2);
}

#[test]
fn a_document_in_pieces_holds_nothing_of_an_earlier_try() {
    let (_folder, mut store, _machine) = erasing();
    let of = (Handle([7; 16]), LogId([8; 16]));
    let piece = |place: u32, bytes: &[u8]| SyncPiece {
        handle: of.0,
        log: of.1,
        place,
        bytes: bytes.to_vec(),
    };
    let mut batch = SyncBatch::default();
    for place in 0..3 {
        keep_piece(&mut batch, piece(place, b"old"));
    }
    store.sync_write(&batch, NOW_MS).unwrap();
    // Over two steps, and in one.
    let mut batch = SyncBatch::default();
    keep_piece(&mut batch, piece(0, b"new"));
    store.sync_write(&batch, NOW_MS).unwrap();
    let mut batch = SyncBatch::default();
    keep_piece(&mut batch, piece(1, b"er"));
    assert_eq!(put_together(&store, &mut batch, of).unwrap(), b"newer");
    keep_piece(&mut batch, piece(0, b"newest"));
    assert_eq!(put_together(&store, &mut batch, of).unwrap(), b"newest");
    // What begins behind what was put together stays.
    keep_piece(&mut batch, piece(0, b"next"));
    store.sync_write(&batch, NOW_MS).unwrap();
    assert_eq!(store.sync_pieces(of.0, of.1).unwrap(), [piece(0, b"next")]);
}
