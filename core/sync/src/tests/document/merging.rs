//! Two and three devices that write at once.

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT, ReadDoc};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{actor, chat, memories, memory, message, records};
use crate::content::DocumentKind;
use crate::document::{Doc, DocumentError, MemoryRecord, MemoryStatus, Record};

#[derive(Debug, Clone)]
enum Step {
    Edit(usize, Record),
    /// The one takes a change of the other's that it lacks, any.
    Deliver(usize, usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edits = prop_oneof![
        vec(memories().prop_map(Record::Memory), 1..12),
        vec(
            records().prop_filter("one kind", |record| record.kind() == DocumentKind::Chat),
            1..6
        ),
        vec(
            records().prop_filter("one kind", |record| record.kind() == DocumentKind::Settings),
            1..8
        ),
    ];
    (
        edits,
        vec((0usize..3, 0usize..3, 0usize..99, any::<bool>()), 0..40),
    )
        .prop_map(|(edits, order)| {
            let mut edits = edits.into_iter();
            let mut steps = Vec::new();
            for (one, other, which, edit) in order {
                match edit.then(|| edits.next()).flatten() {
                    Some(record) => steps.push(Step::Edit(one, record)),
                    None => steps.push(Step::Deliver(one, other, which)),
                }
            }
            steps.extend(edits.map(|record| Step::Edit(0, record)));
            steps
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever the order in which three devices edit and hear of each other: when all have everything, they say the
    /// same, in the same bytes.
    #[test]
    fn replicas_converge(begins in any::<bool>(), steps in steps(), order in vec(0usize..3, 6)) {
        let mut docs: Vec<Doc> = (1..=3).map(|number| Doc::new(actor(number))).collect();
        let mut kind = DocumentKind::Memory;
        if let Some(Step::Edit(_, record)) = steps.iter().find(|step| matches!(step, Step::Edit(..))) {
            kind = record.kind();
            // Mostly a document begins on one device.
            if begins {
                docs[0].update(record).unwrap();
                let bytes = docs[0].save();
                for doc in &mut docs[1..] {
                    doc.merge(&bytes).unwrap();
                }
            }
        }
        for step in steps {
            match step {
                Step::Edit(one, record) => {
                    docs[one].update(&record).unwrap();
                    prop_assert_eq!(docs[one].record(kind).unwrap(), record);
                }
                Step::Deliver(from, to, which) => {
                    let mut changes = docs[from].changes_since(&docs[to].heads());
                    if !changes.is_empty() {
                        let change = changes.swap_remove(which % changes.len());
                        docs[to].apply(&[change]).unwrap();
                    }
                }
            }
        }
        for (step, to) in order.into_iter().enumerate() {
            let from = (to + 1 + step % 2) % 3;
            let bytes = docs[from].save();
            docs[to].merge(&bytes).unwrap();
        }
        for _ in 0..2 {
            for to in 0..3 {
                let mut changes: Vec<Vec<u8>> = (0..3).flat_map(|from| docs[from].changes_since(&[])).collect();
                changes.reverse();
                docs[to].apply(&changes).unwrap();
            }
        }
        let bytes = docs[0].snapshot();
        for doc in &docs {
            prop_assert!(!doc.waiting());
            prop_assert_eq!(doc.heads(), docs[0].heads());
            prop_assert_eq!(doc.record(kind).ok(), docs[0].record(kind).ok());
            prop_assert!(doc.snapshot() == bytes, "the same changes in other bytes");
        }
        if !docs[0].heads().is_empty() {
            let loaded = Doc::load(&bytes, actor(9)).unwrap();
            prop_assert_eq!(loaded.record(kind).ok(), docs[0].record(kind).ok());
            prop_assert!(loaded.snapshot() == bytes);
        }
    }
}

/// Two devices with the same memory.
fn pair() -> (Doc, Doc) {
    let mut one = Doc::new(actor(1));
    one.update(&Record::Memory(memory())).unwrap();
    let other = Doc::load(&one.save(), actor(2)).unwrap();
    (one, other)
}

fn exchanged(mut one: Doc, mut other: Doc) -> MemoryRecord {
    let (from_one, from_other) = (one.changes_since(&[]), other.changes_since(&[]));
    one.apply(&from_other).unwrap();
    other.apply(&from_one).unwrap();
    let Record::Memory(merged) = one.record(DocumentKind::Memory).unwrap() else {
        panic!("no memory")
    };
    assert_eq!(
        other.record(DocumentKind::Memory).unwrap(),
        Record::Memory(merged.clone())
    );
    merged
}

#[test]
fn edits_of_one_memory_merge_by_field() {
    let (mut one, mut other) = pair();
    let base = memory();
    let corrected = MemoryRecord {
        text: "Prefers night trains".into(),
        updated_at_ms: base.updated_at_ms + 9,
        ..base.clone()
    };
    let pinned = MemoryRecord {
        pinned: true,
        status: MemoryStatus::Superseded { by: Some([5; 16]) },
        updated_at_ms: base.updated_at_ms + 4,
        ..base.clone()
    };
    one.update(&Record::Memory(corrected.clone())).unwrap();
    other.update(&Record::Memory(pinned.clone())).unwrap();
    let merged = exchanged(one, other);
    assert_eq!(merged.text, corrected.text);
    assert_eq!((merged.pinned, merged.status), (true, pinned.status));
    assert_eq!(
        merged.updated_at_ms, corrected.updated_at_ms,
        "the later time, whoever wrote it"
    );
}

#[test]
fn sources_are_a_set() {
    let (mut one, mut other) = pair();
    let source = memory().sources[b"0123456789abcdef"];
    let mut more = memory();
    more.sources.insert([1; 16], source);
    let mut fewer = memory();
    fewer.sources.clear();
    fewer.sources.insert([2; 16], source);
    one.update(&Record::Memory(more)).unwrap();
    other.update(&Record::Memory(fewer)).unwrap();
    let merged = exchanged(one, other);
    assert_eq!(
        merged.sources.keys().copied().collect::<Vec<_>>(),
        [[1; 16], [2; 16]]
    );
}

#[test]
fn what_one_takes_back_another_may_set_again() {
    let (mut one, mut other) = pair();
    let pinned = MemoryRecord {
        pinned: true,
        ..memory()
    };
    one.update(&Record::Memory(pinned.clone())).unwrap();
    other.apply(&one.changes_since(&[])).unwrap();
    one.update(&Record::Memory(memory())).unwrap();
    other
        .update(&Record::Memory(MemoryRecord {
            sensitive: true,
            ..pinned
        }))
        .unwrap();
    let merged = exchanged(one, other);
    assert!(!merged.pinned && merged.sensitive);
}

#[test]
fn branches_of_a_chat_unite() {
    let mut one = Doc::new(actor(1));
    one.update(&Record::Chat(chat(3))).unwrap();
    let mut other = Doc::load(&one.save(), actor(2)).unwrap();
    let (mut left, mut right) = (chat(3), chat(3));
    let mut said = message(3, "left");
    left.messages.insert([100; 16], said.clone());
    left.head = Some([100; 16]);
    said.text = "right".into();
    right.messages.insert([200; 16], said);
    right.head = Some([200; 16]);
    one.update(&Record::Chat(left)).unwrap();
    other.update(&Record::Chat(right)).unwrap();
    one.apply(&other.changes_since(&[])).unwrap();
    let Record::Chat(merged) = one.record(DocumentKind::Chat).unwrap() else {
        panic!("no chat")
    };
    assert_eq!(merged.messages.len(), 5);
    assert!(merged.head == Some([100; 16]) || merged.head == Some([200; 16]));
}

/// What a newer version keeps in a document outlives an edit by this one, and so does a value that it alone knows.
#[test]
fn fields_of_a_newer_version_stay() {
    let mut doc = Doc::new(actor(1));
    doc.update(&Record::Memory(memory())).unwrap();
    let mut newer = Automerge::load(&doc.save())
        .unwrap()
        .with_actor(ActorId::from([2; 16]));
    let mut transaction = newer.transaction();
    transaction.put(&ROOT, "zz", "of tomorrow").unwrap();
    transaction.put(&ROOT, "k", 77u64).unwrap();
    transaction.put(&ROOT, "s", 9u64).unwrap();
    let list = transaction
        .put_object(&ROOT, "list", automerge::ObjType::List)
        .unwrap();
    transaction.insert(&list, 0, 5).unwrap();
    transaction.commit();
    doc.merge(&newer.save()).unwrap();
    let Record::Memory(read) = doc.record(DocumentKind::Memory).unwrap() else {
        panic!("no memory")
    };
    assert_eq!(
        read.status,
        MemoryStatus::Review,
        "what isn't understood isn't held to be true"
    );
    let edited = MemoryRecord {
        text: "Edited".into(),
        ..read
    };
    doc.update(&Record::Memory(edited)).unwrap().unwrap();
    let later = Automerge::load(&doc.save()).unwrap();
    for (field, value) in [
        ("zz", "of tomorrow".into()),
        ("k", 77u64.into()),
        ("s", 9u64.into()),
    ] {
        let there = later.get(&ROOT, field).unwrap().unwrap().0;
        assert_eq!(there.as_scalar(), Some(&value), "{field}");
    }
    assert!(later.get(&ROOT, "list").unwrap().is_some());
}

/// A copy of a device that writes under the same log is noticed, and changes nothing.
#[test]
fn an_actor_that_is_used_twice_is_noticed() {
    let (mut one, _) = pair();
    let mut copy = Doc::load(&one.save(), actor(1)).unwrap();
    let pinned = MemoryRecord {
        pinned: true,
        ..memory()
    };
    one.update(&Record::Memory(pinned.clone())).unwrap();
    let other = MemoryRecord {
        sensitive: true,
        ..memory()
    };
    let change = copy.update(&Record::Memory(other)).unwrap().unwrap();
    let before = one.save();
    assert_eq!(one.apply(&[change.bytes]), Err(DocumentError::ActorReused));
    assert_eq!(one.save(), before);
    assert_eq!(one.record(DocumentKind::Memory).unwrap(), Record::Memory(pinned));
}

#[test]
fn the_same_thing_in_two_documents_is_read_as_one() {
    let mut older = memory();
    let mut newer = memory();
    newer.text = "Prefers night trains".into();
    newer.updated_at_ms += 5;
    older
        .sources
        .insert([4; 16], memory().sources[b"0123456789abcdef"]);
    older.created_at_ms -= 5;
    let one = Record::united([Record::Memory(older.clone()), Record::Memory(newer.clone())]).unwrap();
    let two = Record::united([Record::Memory(newer.clone()), Record::Memory(older)]).unwrap();
    assert_eq!(one, two);
    let Record::Memory(united) = one else {
        panic!("no memory")
    };
    assert_eq!((united.text, united.sources.len()), (newer.text, 2));

    let (mut left, mut right) = (chat(3), chat(2));
    right.messages.insert([50; 16], message(1, "another"));
    left.updated_at_ms += 1;
    let both = Record::united([Record::Chat(right), Record::Chat(left)]).unwrap();
    let Record::Chat(both) = both else {
        panic!("no chat")
    };
    assert_eq!((both.messages.len(), both.head), (4, Some([2; 16])));
    assert_eq!(Record::united([]), None);
}

/// What waits here and what came from elsewhere make one record, and no change before its time.
#[test]
fn what_waits_is_merged_without_a_change() {
    let (before, mut elsewhere) = pair();
    let waits = MemoryRecord {
        text: "Edited here".into(),
        pinned: true,
        ..memory()
    };
    let came = MemoryRecord {
        text: "Edited there".into(),
        status: MemoryStatus::Review,
        ..memory()
    };
    elsewhere.update(&Record::Memory(came)).unwrap();
    let mut after = before.clone();
    after.apply(&elsewhere.changes_since(&[])).unwrap();
    let heads = after.heads();
    let merged = before.merged_with(&Record::Memory(waits), &after).unwrap();
    let Record::Memory(merged) = merged else {
        panic!("no memory")
    };
    assert_eq!(
        (merged.text.as_str(), merged.pinned, merged.status),
        ("Edited here", true, MemoryStatus::Review)
    );
    assert_eq!(after.heads(), heads);
    after.update(&Record::Memory(merged.clone())).unwrap().unwrap();
    assert_eq!(
        after.record(DocumentKind::Memory).unwrap(),
        Record::Memory(merged)
    );
}
