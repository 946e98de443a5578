//! Databases that earlier versions of the schema left, as committed. To make the files of a new version, run
//! `cargo test -p hearth-store write_fixture -- --ignored` once, with the schema at that version.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hearth_protocol::id::{Handle, LogId};
use serde_json::Value;
use tempfile::TempDir;

use super::{chat, create, message, open};
use crate::{
    BiographySentence, ChatQuery, DATABASE_FILE, DocumentWrite, EmbeddedText, ErasePlan, Filter, Index,
    KEY_HEADER_FILE, MemoryKind, MemoryOrigin, MemoryQuery, MemoryStatus, MessageStatus, NewJob, NewMemory,
    SCHEMA_VERSION, SearchQuery, SourceTurn, Store, SyncBatch, SyncContent, SyncDocument, SyncItem, SyncKind,
    SyncPiece, SyncRecord, SyncUse, TextQuery,
};

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
}

/// A copy of a version's database, opened and checked.
fn opened(version: u32) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    for name in [DATABASE_FILE, KEY_HEADER_FILE] {
        fs::copy(fixture(version).join(name), dir.path().join(name)).unwrap();
    }
    let store = open(dir.path()).unwrap();
    store.verify().unwrap();
    (dir, store)
}

#[test]
fn the_database_of_version_1_opens() {
    let (_dir, mut store) = opened(1);
    assert_eq!(store.statistics().unwrap().schema_version, SCHEMA_VERSION);
    let chats = store.chats(&ChatQuery::default()).unwrap();
    assert_eq!(
        (chats.len(), chats[0].chat.title.as_str(), chats[0].messages),
        (1, "title", 2)
    );
    let hits = store
        .search(&SearchQuery {
            text: "大学 first".into(),
            limit: 5,
            chat: None,
        })
        .unwrap();
    assert_eq!(
        store.message(hits[0].message).unwrap().status,
        MessageStatus::Complete
    );
    assert_eq!(store.get_setting("answer").unwrap(), Some(42.into()));
    // Its turns can be recalled; the interrupted answer is none.
    let turns = |store: &Store| {
        let query = TextQuery::new("first cut 大学");
        let hits = store.search_text(Index::Turns, &query, &Filter::default(), 9);
        hits.unwrap().len()
    };
    assert_eq!((turns(&store), store.index_len(Index::Turns).unwrap()), (1, 1));
    assert_eq!(store.rows_without_vector(Index::Turns, "m", 9).unwrap().len(), 1);
    assert_eq!(store.memory_counts().unwrap().total, 0);
    store.delete_chat(chats[0].chat.id).unwrap();
    assert_eq!(turns(&store), 0);
    store.verify().unwrap();
}

/// Something in every table of long-term memory.
fn remember(store: &mut Store) {
    let messages = store
        .branch(store.chats(&ChatQuery::default()).unwrap()[0].chat.id, None)
        .unwrap();
    let source = SourceTurn {
        chat: messages[0].chat,
        message: messages[0].id,
    };
    let mut new = NewMemory {
        text: "Studied in 東京".into(),
        kind: MemoryKind::Biography,
        confidence: 0.75,
        sensitive: true,
        valid_from_ms: Some(1),
        valid_to_ms: None,
        created_at_ms: 4,
        sources: vec![source],
        status: MemoryStatus::Active,
        origin: MemoryOrigin::Extracted,
        pinned: true,
    };
    let vector = EmbeddedText {
        model_id: "m",
        vector: &[3.0, 4.0],
    };
    let first = store.add_memory(&new, Some(vector)).unwrap();
    new.text = "Studied in Kyoto".into();
    let second = store.add_memory(&new, None).unwrap();
    store.supersede_memory(first.id, second.id, Some(5), 6).unwrap();
    new.text = "To be forgotten".into();
    let third = store.add_memory(&new, None).unwrap();
    let sentence = BiographySentence {
        text: "A student.".into(),
        sources: vec![second.id],
    };
    store.set_biography(&[sentence], 7).unwrap();
    let job = NewJob {
        kind: "embed".into(),
        key: second.id.to_string(),
        payload: Value::Null,
        not_before_ms: 8,
    };
    store.enqueue(&job).unwrap();
    let plan = ErasePlan {
        memories: vec![third.id],
        ..ErasePlan::default()
    };
    store.erase(&plan, 9).unwrap();
}

#[test]
fn the_database_of_version_2_opens() {
    let (_dir, mut store) = opened(2);
    let all = store.memories(&MemoryQuery::default()).unwrap();
    assert_eq!(all.len(), 2);
    let (kyoto, tokyo) = (&all[0], &all[1]);
    assert_eq!(tokyo.status, MemoryStatus::Superseded { by: Some(kyoto.id) });
    assert!(store.source_unchanged(&kyoto.sources[0]).unwrap());
    let (everything, query) = (Filter::default(), TextQuery::new("studies in 東京"));
    assert_eq!(
        store
            .search_text(Index::Memories, &query, &everything, 9)
            .unwrap()
            .len(),
        2
    );
    let near = store
        .search_vectors(Index::Memories, "m", &[4.0, 3.0], &everything, 9)
        .unwrap();
    assert!((near[0].1 - 0.96).abs() < 1e-6, "{near:?}");
    assert_eq!(store.biography().unwrap().sentences[0].sources, [kyoto.id]);
    assert_eq!(
        store.claim_next(&[], 8).unwrap().unwrap().key,
        kyoto.id.to_string()
    );
    let receipt = store.erase_receipt(store.erasures().unwrap()[0]).unwrap();
    assert!(receipt.log_emptied);
    assert_eq!(store.erased().unwrap().len(), 1);
}

/// A document, a record and a piece, and nothing left to publish.
fn synced(store: &Store) -> SyncBatch {
    let item = store.dirty(1).unwrap()[0].item.clone();
    let handle = Handle([7; 16]);
    SyncBatch {
        records: vec![SyncRecord {
            space: 1,
            key: b"key".to_vec(),
            value: Some(b"value".to_vec()),
        }],
        documents: vec![DocumentWrite {
            document: SyncDocument {
                handle,
                item,
                document: b"a document".to_vec(),
                published: vec![[5; 32]],
            },
            content: None,
            more: false,
        }],
        pieces: vec![SyncPiece {
            handle,
            log: LogId([9; 16]),
            place: 0,
            bytes: b"a piece".to_vec(),
        }],
        clear: store.dirty(99).unwrap().iter().map(|dirty| dirty.mark).collect(),
        ..SyncBatch::default()
    }
}

#[test]
fn the_database_of_version_3_opens() {
    let (_dir, mut store) = opened(3);
    assert!(store.syncs().unwrap());
    // The message that was cut short is marked as interrupted, and that is a change.
    let dirty = store.dirty(9).unwrap();
    assert_eq!(dirty.len(), 1);
    assert_eq!(dirty[0].item.kind, SyncKind::Chat);
    let handle = Handle([7; 16]);
    let document = store.sync_document(handle).unwrap().unwrap();
    assert_eq!(
        (document.document.as_slice(), document.published),
        (&b"a document"[..], vec![[5; 32]])
    );
    assert_eq!(
        store.sync_record(1, b"key").unwrap().as_deref(),
        Some(&b"value"[..])
    );
    let log = LogId([9; 16]);
    assert_eq!(store.sync_pieces(handle, log).unwrap().len(), 1);
    let fact = store.memories(&MemoryQuery::default()).unwrap().remove(0);
    store.pin_memory(fact.id, !fact.pinned).unwrap();
    assert_eq!(store.dirty(9).unwrap().len(), 2);
}

#[test]
fn the_database_of_version_4_opens() {
    let (_dir, mut store) = opened(4);
    let fact = store.memories(&MemoryQuery::default()).unwrap().remove(0);
    assert_eq!((fact.use_count, fact.last_used_at_ms), (3, Some(90)));
    store.mark_used(&[fact.id], 91).unwrap();
    assert!(!store.tell_usage([1; 16], 0).unwrap(), "it begins");
    let day = 24 * 60 * 60 * 1000;
    assert!(store.tell_usage([2; 16], day).unwrap());
    let own = SyncItem {
        kind: SyncKind::Usage,
        local: vec![1; 16],
    };
    let Some(SyncContent::Usage { uses, .. }) = store.sync_content(&own).unwrap() else {
        panic!("no counts")
    };
    assert_eq!(uses[&fact.id].count, 1, "what this device counted");
    store.peer_lend(&[1; 16]).unwrap();
    assert!(store.peer_lent_to(&[1; 16]).unwrap());
}

#[test]
fn the_database_of_version_5_opens() {
    let (_dir, store) = opened(5);
    assert!(store.peer_lent_to(&[4; 16]).unwrap());
    let row = store.peer_get(&[6; 32], 7, b"place").unwrap();
    assert_eq!(row.as_deref(), Some(&b"of another device"[..]));
}

#[test]
#[ignore = "writes the fixture of the current schema version"]
fn write_fixture() {
    let (dir, mut store) = create();
    let id = chat(&mut store);
    store
        .append_message(message(id, "the first, 東京大学", MessageStatus::Complete))
        .unwrap();
    let reply = store
        .append_message(message(id, "", MessageStatus::Streaming))
        .unwrap();
    store.update_streaming(reply.id, "cut short", "", 3).unwrap();
    store.set_setting("answer", &42.into()).unwrap();
    remember(&mut store);
    store.begin_sync().unwrap();
    store.sync_write(&synced(&store), 10).unwrap();
    let fact = store.memories(&MemoryQuery::default()).unwrap().remove(0);
    let content = SyncContent::Usage {
        device: [8; 16],
        uses: BTreeMap::from([(
            fact.id,
            SyncUse {
                count: 3,
                last_used_at_ms: 90,
            },
        )]),
    };
    let document = SyncDocument {
        handle: Handle([8; 16]),
        item: content.item(),
        document: b"counts".to_vec(),
        published: Vec::new(),
    };
    let batch = SyncBatch {
        documents: vec![DocumentWrite {
            document,
            content: Some(content),
            more: false,
        }],
        ..SyncBatch::default()
    };
    store.sync_write(&batch, 11).unwrap();
    store.peer_lend(&[4; 16]).unwrap();
    store.peer_begin().unwrap();
    store
        .peer_put(&[6; 32], 7, b"place", b"of another device")
        .unwrap();
    store.peer_commit().unwrap();
    drop(store);
    let to = fixture(SCHEMA_VERSION);
    fs::create_dir_all(&to).unwrap();
    for name in [DATABASE_FILE, KEY_HEADER_FILE] {
        fs::copy(dir.path().join(name), to.join(name)).unwrap();
    }
}
