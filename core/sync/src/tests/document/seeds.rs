//! What the fuzz target `document` begins with: files that this code wrote, in `core/sync/fuzz/seeds/document`.
#![allow(clippy::disallowed_methods)] // What a fuzzer begins with, and what it found, are files.

use std::path::PathBuf;

use super::{actor, chat, memory, message};
use crate::document::{Doc, Record, SettingsRecord, UsageRecord, Use};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/document")
}

/// A document of each kind, and its changes one after the other: by one device, and by two at once.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut corrected = memory();
    corrected.text = "Prefers night trains".into();
    corrected.sources.clear();
    let mut longer = chat(2);
    longer.settings = [("model".into(), "\"a model\"".into())].into();
    longer
        .messages
        .insert([9; 16], message(9, &"Lorem ipsum dolor sit amet. ".repeat(20)));
    let settings = |value: &str| {
        Record::Settings(SettingsRecord {
            group: "general".into(),
            values: [("language".into(), value.into())].into(),
        })
    };
    let usage = |count| {
        Record::Usage(UsageRecord {
            log: [3; 16],
            uses: [(
                [7; 16],
                Use {
                    count,
                    last_used_at_ms: 1_790_000_000_000,
                },
            )]
            .into(),
        })
    };
    for (name, first, second) in [
        ("memory", Record::Memory(memory()), Record::Memory(corrected)),
        ("chat", Record::Chat(chat(1)), Record::Chat(longer)),
        ("settings", settings("\"de\""), settings("\"fr\"")),
        ("usage", usage(1), usage(2)),
    ] {
        let mut doc = Doc::new(actor(1));
        let begun = doc.update(&first).unwrap().unwrap().bytes;
        let mut other = Doc::load(&doc.save(), actor(2)).unwrap();
        let mine = doc.update(&second).unwrap().unwrap().bytes;
        // The same by another actor: it stands beside the first.
        let theirs = other.update(&second).unwrap().unwrap().bytes;
        files.push((format!("{name}-changes"), [begun, mine, theirs.clone()].concat()));
        files.push((
            format!("{name}-and-change"),
            [doc.save(), theirs.clone()].concat(),
        ));
        doc.apply(&[theirs]).unwrap();
        files.push((name.to_owned(), doc.save()));
    }
    files
}

#[test]
fn seeds_are_documents() {
    let mut read = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let doc = Doc::load(&bytes, actor(5)).unwrap();
        assert!(!doc.waiting() && !doc.heads().is_empty());
        read += 1;
    }
    assert_eq!(read, files().len());
}

#[test]
#[ignore = "writes the seeds"]
fn write_document_seeds() {
    for (name, bytes) in files() {
        std::fs::write(folder().join(name), bytes).unwrap();
    }
}
