//! Bytes that aren't what they should be.
#![allow(clippy::disallowed_methods)] // What a fuzzer begins with, and what it found, are files.

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ObjType, ROOT, ScalarValue};
use hearth_protocol::hash::sha256;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{actor, chat, memory, message, records};
use crate::content::DocumentKind;
use crate::document::guard::{self, Room};
use crate::document::{Doc, DocumentError, Record};

const KINDS: [DocumentKind; 5] = [
    DocumentKind::Memory,
    DocumentKind::Chat,
    DocumentKind::Settings,
    DocumentKind::Usage,
    DocumentKind::Media,
];

/// Loads, applies, reads: whatever comes of it, nothing panics, the document is as good as before, and what went into one
/// is there once it was saved.
fn survive(bytes: &[u8]) {
    let base = Doc::new(actor(1));
    let loaded = Doc::load(bytes, actor(2)).ok();
    let mut applied = base.clone();
    let applied = applied.apply(&[bytes]).ok().map(|()| applied);
    let mut merged = base.clone();
    let merged = merged.merge(bytes).ok().map(|()| merged);
    for doc in [&applied, &merged].into_iter().flatten() {
        let again = Doc::load(&doc.save(), actor(3)).unwrap();
        assert_eq!(again.heads(), doc.heads());
    }
    for doc in [loaded, applied, merged].into_iter().flatten() {
        let _ = (doc.snapshot(), doc.changes_since(&[]), doc.waiting());
        for kind in KINDS {
            let _ = doc.record(kind);
        }
        let mut next = Doc::load(&doc.save(), actor(3)).unwrap_or(base.clone());
        if let Ok(Some(_)) = next.update(&Record::Memory(memory())) {
            Doc::load(&next.save(), actor(3)).unwrap();
        }
    }
}

/// Puts the right checksum into the first chunk of what was changed.
fn mend(bytes: &mut [u8]) {
    let Some(kind) = bytes.get(8).copied() else { return };
    if let Some(content) = bytes.get(8..)
        && kind < 2
    {
        let checksum = sha256(content).0;
        bytes[4..8].copy_from_slice(&checksum[..4]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_are_refused(bytes in vec(any::<u8>(), 0..200)) {
        survive(&bytes);
        let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0];
        chunk.extend_from_slice(&bytes);
        mend(&mut chunk);
        survive(&chunk);
    }

    /// Bytes changed anywhere, with a checksum that fits: what a faulty program would send.
    #[test]
    fn damaged_documents_never_panic(
        record in records(),
        later in records(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut doc = Doc::new(actor(1));
        let first = doc.update(&record).unwrap().unwrap().bytes;
        let mut all = vec![first];
        if later.kind() == record.kind() {
            all.extend(doc.update(&later).unwrap().map(|change| change.bytes));
        }
        all.push(doc.save());
        for mut bytes in all {
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            survive(&bytes);
            mend(&mut bytes);
            survive(&bytes);
        }
    }
}

fn written(write: impl FnOnce(&mut automerge::transaction::Transaction<'_>)) -> Doc {
    let mut document = Automerge::new().with_actor(ActorId::from([9; 16]));
    let mut transaction = document.transaction();
    write(&mut transaction);
    transaction.commit();
    Doc::load(&document.save(), actor(1)).unwrap()
}

#[test]
fn wrong_types_fall_back_or_are_told() {
    let doc = written(|document| {
        document.put(ROOT, "i", ScalarValue::Bytes(vec![7; 16])).unwrap();
        document.put(ROOT, "t", "A text").unwrap();
        for name in ["k", "c", "x", "f", "u", "a", "m", "p", "o", "rAAAA", "r"] {
            document.put(ROOT, name, "nonsense").unwrap();
        }
        document.put_object(ROOT, "s", ObjType::List).unwrap();
    });
    let Record::Memory(read) = doc.record(DocumentKind::Memory).unwrap() else {
        panic!("no memory")
    };
    assert_eq!(
        (read.text.as_str(), read.confidence, read.sources.len()),
        ("A text", 0.0, 0)
    );
    let empty = written(|document| document.put(ROOT, "t", 5).unwrap());
    for kind in KINDS {
        assert!(
            matches!(empty.record(kind), Err(DocumentError::Malformed(_))),
            "{kind:?}"
        );
    }
    let long = written(|document| {
        document.put(ROOT, "i", ScalarValue::Bytes(vec![7; 16])).unwrap();
        document.put(ROOT, "t", "x".repeat(17_000)).unwrap();
    });
    assert!(matches!(
        long.record(DocumentKind::Memory),
        Err(DocumentError::TooLarge(_))
    ));
}

#[test]
fn circles_and_missing_parents_become_roots() {
    let mut bad = chat(0);
    bad.head = Some([9; 16]);
    for (number, parent) in [(1, 2), (2, 3), (3, 1), (4, 1), (5, 99), (6, 6)] {
        let mut message = message(1, "text");
        message.parent = Some([parent; 16]);
        bad.messages.insert([number; 16], message);
    }
    let mut doc = Doc::new(actor(1));
    doc.update(&Record::Chat(bad)).unwrap();
    let Record::Chat(read) = doc.record(DocumentKind::Chat).unwrap() else {
        panic!("no chat")
    };
    assert_eq!(read.head, None);
    let parents: Vec<_> = read
        .messages
        .values()
        .map(|message| message.parent.map(|id| id[0]))
        .collect();
    assert_eq!(parents, [None, None, None, Some(1), None, None]);
    assert_eq!(read.in_order().len(), 6);
}

fn chunk(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, kind];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    mend(&mut bytes);
    bytes
}

/// A mark whose id is nobody's ended the process in Automerge's index of marks.
#[test]
fn marks_are_refused() {
    let mut document = Automerge::new().with_actor(ActorId::from([9; 16]));
    let mut transaction = document.transaction();
    let text = transaction.put_object(ROOT, "t", ObjType::Text).unwrap();
    transaction.splice_text(&text, 0, 0, "A text").unwrap();
    transaction.commit();
    assert!(Doc::load(&document.save(), actor(1)).is_ok());
    let mut transaction = document.transaction();
    let mark = Mark::new("bold".into(), true, 0, 3);
    transaction.mark(&text, mark, ExpandMark::Both).unwrap();
    transaction.commit();
    let change = document.get_last_local_change().unwrap().raw_bytes().to_vec();
    for refused in [
        Doc::load(&document.save(), actor(1)).map(drop),
        guard::change(&change, &mut Room::default()),
    ] {
        assert!(matches!(refused, Err(DocumentError::Malformed(_))), "{refused:?}");
    }
}

/// A file's chunks.
fn chunks(bytes: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = memchr::memmem::find_iter(bytes, &[0x85, 0x6f, 0x4a, 0x83]).collect();
    starts.push(bytes.len());
    starts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Changes that Automerge applies, and then writes so that it can't read them, or can't put into another order: the document
/// would be lost, or the process.
#[test]
fn what_a_fuzzer_found_is_refused_or_kept_whole() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/found/document");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        survive(&bytes);
        let mut doc = Doc::new(actor(1));
        for change in chunks(&bytes) {
            let _ = doc.apply(&[change]);
            let mut edited = doc.clone();
            if let Ok(Some(_)) = edited.update(&Record::Memory(memory())) {
                Doc::load(&edited.save(), actor(2)).unwrap();
            }
            for written in [doc.save(), doc.snapshot()] {
                let again = Doc::load(&written, actor(2)).unwrap();
                assert_eq!(again.heads(), doc.heads(), "{entry:?}");
            }
        }
        files += 1;
    }
    assert!(files >= 4);
}

/// Few bytes that stand for very many operations, or for very many bytes, are refused before anything is done about them.
#[test]
fn bombs_are_refused() {
    // No dependencies, an actor of one byte, numbers 1 and 1, time 0, no message, no other actors; then one column.
    let head = [0, 1, 9, 1, 1, 0, 0, 0, 1];
    for (column, data) in [
        (0x42u8, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 1][..]), // the action, 2³⁹ times
        (0x34, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]),          // a flag
        (0x43, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]),       // nothing, as often
        (0x70, &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]),       // one operation with as many predecessors
    ] {
        let mut content = head.to_vec();
        content.extend([column, data.len() as u8]);
        content.extend(data);
        let bytes = chunk(1, &content);
        let refused = guard::change(&bytes, &mut Room::default());
        assert!(
            matches!(refused, Err(DocumentError::TooLarge(_))),
            "{column:x}: {refused:?}"
        );
        assert!(Doc::new(actor(1)).apply(&[bytes]).is_err());
    }
    let mut deflated = Vec::new();
    let zeros = vec![0; 100 << 20];
    let mut encoder = flate2::bufread::DeflateEncoder::new(&zeros[..], flate2::Compression::best());
    std::io::Read::read_to_end(&mut encoder, &mut deflated).unwrap();
    assert!(deflated.len() < 200_000);
    let refused = guard::change(&chunk(2, &deflated), &mut Room::default());
    assert!(matches!(refused, Err(DocumentError::TooLarge(_))), "{refused:?}");
    // A document whose only column of operations is that.
    let mut content = vec![0, 0, 0, 1, 0x4a];
    let mut length = deflated.len();
    while length >= 0x80 {
        content.push(length as u8 | 0x80);
        length >>= 7;
    }
    content.push(length as u8);
    content.extend_from_slice(&deflated);
    let refused = guard::document(&chunk(0, &content));
    assert!(matches!(refused, Err(DocumentError::TooLarge(_))), "{refused:?}");
}

/// Each change is within the limit, all of them together aren't.
#[test]
fn operations_are_counted_over_all_changes() {
    // As above: the action, 2²¹ times.
    let mut content = vec![0, 1, 9, 1, 1, 0, 0, 0, 1];
    let data = [0x80, 0x80, 0x80, 0x01, 1];
    content.extend([0x42, data.len() as u8]);
    content.extend(data);
    let bytes = chunk(1, &content);
    let mut room = Room::default();
    guard::change(&bytes, &mut room).unwrap();
    guard::change(&bytes, &mut room).unwrap();
    let refused = guard::change(&bytes, &mut room);
    assert!(matches!(refused, Err(DocumentError::TooLarge(_))), "{refused:?}");
}

/// What was taken can be loaded again: a document grows up to its limit and stays as it is then.
#[test]
fn a_document_doesnt_grow_beyond_what_loads() {
    let mut written = Automerge::new().with_actor(ActorId::from([9; 16]));
    let mut doc = Doc::new(actor(1));
    let mut refused = None;
    // 9 MiB a change: no change is too large for itself.
    for name in 0..4 {
        let noise = vec![name; 9 << 20];
        let mut transaction = written.transaction();
        transaction
            .put(ROOT, format!("x{name}"), ScalarValue::Bytes(noise))
            .unwrap();
        transaction.commit();
        let bytes = written.get_last_local_change().unwrap().raw_bytes().to_vec();
        let before = doc.heads();
        if let Err(error) = doc.apply(&[bytes]) {
            assert_eq!(doc.heads(), before);
            refused = Some(error);
        }
    }
    Doc::load(&doc.save(), actor(2)).unwrap();
    assert_eq!(refused, Some(DocumentError::TooLarge("a document")));
}

/// What Automerge itself writes passes, long texts (which it compresses) included.
#[test]
fn the_guard_lets_real_documents_pass() {
    let mut long = chat(0);
    for number in 0..120u8 {
        let text = format!(
            "{number} {}",
            "Lorem ipsum dolor sit amet. ".repeat(usize::from(number))
        );
        long.messages.insert([number; 16], message(number, &text));
    }
    let mut doc = Doc::new(actor(1));
    let change = doc.update(&Record::Chat(long.clone())).unwrap().unwrap();
    guard::change(&change.bytes, &mut Room::default()).unwrap();
    guard::document(&doc.save()).unwrap();
    let mut other = Doc::new(actor(2));
    other.apply(&[change.bytes]).unwrap();
    assert_eq!(other.record(DocumentKind::Chat).unwrap(), Record::Chat(long));
}
