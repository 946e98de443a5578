//! Any bytes at all are loaded as a document, applied as changes and read as every kind of record. What Automerge panics at
//! is an error; nothing ends the process, hangs, or takes memory without bounds; what was taken can be saved and loaded.
//!
//! Mutations know the format: a column's bytes, its name, the order of chunks are changed, and lengths, checksums, heads and
//! the hashes by which changes name each other are made right again. Else nearly every input would end at a checksum.
#![no_main]

#[path = "document/chunks.rs"]
mod chunks;

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::Automerge;
use chunks::{Chunk, File, split, with_heads};
use hearth_protocol::id::LogId;
use hearth_sync::content::DocumentKind;
use hearth_sync::document::{Doc, Record, SettingsRecord, guard};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const KINDS: [DocumentKind; 5] = [
    DocumentKind::Memory,
    DocumentKind::Chat,
    DocumentKind::Settings,
    DocumentKind::Usage,
    DocumentKind::Media,
];

fn actor(number: u8) -> LogId {
    LogId([number; 16])
}

/// Everything that a device does with a document that it took.
fn used(doc: &Doc) {
    let saved = doc.save();
    let loaded = Doc::load(&saved, actor(3)).expect("what was taken is loaded again");
    assert_eq!(loaded.heads(), doc.heads());
    let heads = doc.heads();
    assert!(doc.has(&heads));
    for change in doc.changes_since(&[]) {
        let _ = Doc::new(actor(4)).apply(&[change]);
    }
    let _ = (doc.changes_since(&heads), doc.waiting(), doc.snapshot());
    for kind in KINDS {
        let Ok(record) = doc.record(kind) else { continue };
        edited(loaded.clone(), &record);
        let _ = doc.merged_with(&record, &loaded);
    }
    let other = Record::Settings(SettingsRecord {
        group: "general".into(),
        values: [("a".into(), "1".into())].into(),
    });
    let next = edited(loaded, &other);
    let mut both = doc.clone();
    let _ = both.merge(&next.save());
}

fn edited(mut doc: Doc, record: &Record) -> Doc {
    if let Ok(Some(_)) = doc.update(record) {
        let again = Doc::load(&doc.save(), actor(3)).expect("what was edited is loaded again");
        assert_eq!(again.heads(), doc.heads());
    }
    doc
}

fn survive(bytes: &[u8]) {
    if let Ok(doc) = Doc::load(bytes, actor(1)) {
        let _ = (doc.save(), doc.snapshot(), doc.changes_since(&[]), doc.waiting());
        KINDS.iter().for_each(|kind| drop(doc.record(*kind)));
    }
    let mut doc = Doc::new(actor(1));
    if doc.merge(bytes).is_ok() {
        used(&doc);
    }
    let chunks = split(bytes);
    let Some((first, rest)) = chunks.split_first() else {
        return;
    };
    let document = first[8] == 0;
    let mut doc = Doc::new(actor(2));
    if document && doc.merge(first).is_err() {
        return;
    }
    let mut all = doc.clone();
    let changes = if document { rest } else { &chunks[..] };
    let mut taken = false;
    for change in changes {
        let before = doc.heads();
        match doc.apply(&[change]) {
            Ok(()) => taken = true,
            Err(_) => assert_eq!(doc.heads(), before),
        }
    }
    if taken {
        used(&doc);
    }
    if changes.len() > 1 && all.apply(changes).is_ok() {
        used(&all);
    }
}

/// The heads that a document has, where they aren't those that it names.
fn right_heads(bytes: &[u8]) -> Option<Vec<u8>> {
    guard::document(bytes).ok()?;
    let read = catch_unwind(AssertUnwindSafe(|| Automerge::load_unverified_heads(bytes).ok()));
    let mut heads: Vec<[u8; 32]> = read.ok()??.get_heads().iter().map(|head| head.0).collect();
    heads.sort_unstable();
    with_heads(bytes, &heads)
}

fuzz_target!(
    init: {
        // A panic inside Automerge is caught and no finding; one that isn't caught ends the process all the same.
        if std::env::var_os("HEARTH_SHOW_PANICS").is_none() {
            std::panic::set_hook(Box::new(|_| ()));
        }
    },
    |bytes: &[u8]| {
        survive(bytes);
        if bytes.get(8) == Some(&0)
            && let Some(first) = split(bytes).first()
            && let Some(fixed) = right_heads(first)
        {
            survive(&[&fixed, &bytes[first.len()..]].concat());
        }
    }
);

/// Small and repeatable: what a mutation does next.
struct Draw(u32);

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % count.max(1)
    }
}

fn mutated(bytes: &mut Vec<u8>) {
    let size = bytes.len();
    bytes.resize(size + 32, 0);
    let most = bytes.len();
    let size = fuzzer_mutate(bytes, size, most);
    bytes.truncate(size);
}

fn mutated_columns(columns: &mut Vec<(u64, Vec<u8>)>, draw: &mut Draw) {
    if columns.is_empty() {
        return;
    }
    let (one, other) = (draw.below(columns.len()), draw.below(columns.len()));
    match draw.below(16) {
        0 => columns[one].0 = draw.below(256) as u64,
        1 => drop(columns.remove(one)),
        2 => {
            let copy = columns[one].clone();
            columns.insert(other, copy);
        }
        3 => columns[one].1 = columns[other].1.clone(),
        4 => columns[one].1.clear(),
        5 => {
            columns[one].0 = columns[one].0 & !8;
            columns.sort_by_key(|(named, _)| *named);
        }
        _ => mutated(&mut columns[one].1),
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut draw = Draw(seed | 1);
    let mut file = File::read(&data[..size]);
    if file.chunks.is_empty() || draw.below(64) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    for _ in 0..=draw.below(3) {
        let count = file.chunks.len();
        let at = draw.below(count);
        if draw.below(24) == 0 {
            if draw.below(2) == 0 && count > 1 {
                file.chunks.swap(at, (at + 1) % count);
            } else {
                file.chunks.remove(at);
            }
            if file.chunks.is_empty() {
                return fuzzer_mutate(data, size, max_size);
            }
            continue;
        }
        match &mut file.chunks[at].0 {
            Chunk::Change {
                deps,
                head,
                columns,
                rest,
            } => match draw.below(12) {
                0 | 1 => mutated(head),
                2 if !deps.is_empty() => drop(deps.pop()),
                3 if draw.below(4) == 0 => mutated(rest),
                _ => mutated_columns(columns, &mut draw),
            },
            Chunk::Document {
                actors,
                heads,
                changes,
                operations,
                rest,
            } => match draw.below(16) {
                0 => mutated(actors),
                1 if !heads.is_empty() => drop(heads.pop()),
                2 if draw.below(4) == 0 => mutated(rest),
                3..=7 => mutated_columns(changes, &mut draw),
                _ => mutated_columns(operations, &mut draw),
            },
            Chunk::Other(_, content) => mutated(content),
        }
    }
    let bytes = file.write();
    if bytes.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
});
