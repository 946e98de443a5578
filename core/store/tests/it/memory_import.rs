use hearth_store::{
    ErasePlan, Filter, Index, MemoryImportReport, MemoryKind, MemoryQuery, MemoryStatus, NewMemory, Role,
    SourceTurn, Store, StoreError, TextQuery,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::kit::{Profile, chat, say};
use crate::memories::fact;

fn export(store: &Store) -> String {
    let mut bytes = Vec::new();
    store.export_memories(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Every kind of memory, odd texts, history, sources here and gone.
fn rich(profile: &Profile) -> Store {
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let said = say(&mut store, id, None, Role::User, "I moved to Lyon");
    let source = vec![SourceTurn {
        chat: id,
        message: said.id,
    }];
    let mut ids = Vec::new();
    for (number, text) in [
        "Lives in Paris",
        "Lives in Lyon",
        "🦀🦀",
        "يحب القهوة",
        "北京\u{0}\"\\",
        "x",
    ]
    .iter()
    .enumerate()
    {
        let new = NewMemory {
            confidence: 0.1 + 0.123_456_7 * number as f32,
            sensitive: number == 2,
            valid_from_ms: (number == 3).then_some(-5),
            sources: if number == 1 { source.clone() } else { Vec::new() },
            pinned: number == 4,
            ..fact(text, MemoryKind::ALL[number % 5], 10 * number as i64)
        };
        ids.push(store.add_memory(&new, None).unwrap().id);
    }
    store.supersede_memory(ids[0], ids[1], Some(77), 80).unwrap();
    store.set_memory_status(ids[2], MemoryStatus::Review, 81).unwrap();
    store
        .set_memory_status(ids[3], MemoryStatus::Superseded { by: None }, 82)
        .unwrap();
    store.mark_used(&ids[..2], 90).unwrap();
    store
}

#[test]
fn an_export_comes_back_exactly_and_only_once() {
    let (here, there) = (Profile::new(), Profile::new());
    let store = rich(&here);
    let document = export(&store);
    let mut copy = there.create();
    let report = copy.import_memories(&mut document.as_bytes()).unwrap();
    assert_eq!(
        report,
        MemoryImportReport {
            added: 6,
            ..MemoryImportReport::default()
        }
    );
    assert_eq!(export(&copy), document);
    let report = copy.import_memories(&mut document.as_bytes()).unwrap();
    assert_eq!((report.added, report.unchanged), (0, 6));
    assert_eq!(export(&copy), document);
    let hits = copy.search_text(
        Index::Memories,
        &TextQuery::new("living in lyon"),
        &Filter::default(),
        9,
    );
    assert_eq!(hits.unwrap().len(), 2);
    // In a profile with the chat, the source is known again.
    let lyon = store
        .memories(&MemoryQuery::default())
        .unwrap()
        .into_iter()
        .find(|m| m.text == "Lives in Lyon");
    assert!(
        store
            .source_unchanged(&lyon.as_ref().unwrap().sources[0])
            .unwrap()
    );
    assert!(
        !copy
            .source_unchanged(&copy.memory(lyon.unwrap().id).unwrap().sources[0])
            .unwrap()
    );
    copy.verify().unwrap();
}

#[test]
fn what_was_erased_does_not_come_back() {
    let profile = Profile::new();
    let mut store = rich(&profile);
    let document = export(&store);
    let all = store.memories(&MemoryQuery::default()).unwrap();
    let lyon = all.iter().find(|memory| memory.text == "Lives in Lyon").unwrap();
    let paris = all.iter().find(|memory| memory.text == "Lives in Paris").unwrap();
    let plan = ErasePlan {
        memories: vec![lyon.id, paris.id],
        ..ErasePlan::default()
    };
    store.erase(&plan, 100).unwrap();
    let report = store.import_memories(&mut document.as_bytes()).unwrap();
    assert_eq!((report.added, report.unchanged, report.erased), (0, 4, 2));
    assert!(matches!(store.memory(lyon.id), Err(StoreError::NotFound { .. })));
    // The successor was erased elsewhere: history without an end.
    let other = Profile::new();
    let mut other = other.create();
    let plan = ErasePlan {
        memories: vec![lyon.id],
        ..ErasePlan::default()
    };
    other.erase(&plan, 100).unwrap();
    other.import_memories(&mut document.as_bytes()).unwrap();
    assert_eq!(
        other.memory(paris.id).unwrap().status,
        MemoryStatus::Superseded { by: None }
    );
}

#[test]
fn what_is_not_a_whole_export_is_refused_whole() {
    let (here, there) = (Profile::new(), Profile::new());
    let good: Value = serde_json::from_str(&export(&rich(&here))).unwrap();
    let mut store = there.create();
    let mut check = |change: &dyn Fn(&mut Value), reason: &str| {
        let mut document = good.clone();
        change(&mut document);
        let error = store
            .import_memories(&mut document.to_string().as_bytes())
            .unwrap_err();
        assert!(matches!(error, StoreError::Import { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error} has no {reason:?}");
        assert_eq!(store.memory_counts().unwrap().total, 0);
    };
    let first = good["memories"][0]["id"].clone();
    let second = good["memories"][1]["id"].clone();
    check(&|d| d["version"] = json!(2), "version 2");
    check(&|d| d["format"] = json!("hearth-chats"), "format");
    check(&|d| d["memories"][3]["id"] = first.clone(), "occurs twice");
    check(&|d| d["memories"][3]["colour"] = json!("red"), "colour");
    check(&|d| d["memories"][5]["text"] = json!(" "), "needs a text");
    check(&|d| d["memories"][5]["confidence"] = json!(1.5), "confidence");
    check(&|d| d["memories"][5]["kind"] = json!("rumour"), "rumour");
    check(
        &|d| d["memories"][5]["superseded_by"] = first.clone(),
        "isn't superseded",
    );
    check(
        &|d| {
            d["memories"][1]["status"] = json!("superseded");
            d["memories"][1]["superseded_by"] = first.clone();
        },
        "superseded by itself",
    );
    check(
        &|d| d["memories"][0]["superseded_by"] = first.clone(),
        "superseded by itself",
    );
    check(
        &|d| d["memories"][0]["superseded_by"] = json!("0".repeat(32)),
        "neither",
    );
    check(
        &|d| {
            let source = d["memories"][1]["sources"][0].clone();
            d["memories"][1]["sources"] = json!([source, source]);
        },
        "source",
    );
    assert_ne!(first, second);
    for field in [
        "id",
        "text",
        "kind",
        "confidence",
        "sensitive",
        "created_at_ms",
        "status",
        "origin",
        "sources",
    ] {
        check(
            &|d| drop(d["memories"][2].as_object_mut().unwrap().remove(field)),
            field,
        );
    }
    for field in ["format", "version", "memories"] {
        check(&|d| drop(d.as_object_mut().unwrap().remove(field)), field);
    }
    for bad in ["", "[]", "null", "{", "\u{0}"] {
        let error = store.import_memories(&mut bad.as_bytes()).unwrap_err();
        assert!(matches!(error, StoreError::Import { .. }), "{error:?}");
    }
    assert!(store.import_memories(&mut &[0xFF, 0xFE, 0x00][..]).is_err());
}

#[test]
fn no_damaged_document_panics_or_comes_in_by_half() {
    let (here, there) = (Profile::new(), Profile::new());
    let document = export(&rich(&here)).into_bytes();
    let store = std::cell::RefCell::new(there.create());
    let edits = proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 1..4);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    };
    proptest::test_runner::TestRunner::new(config)
        .run(&edits, |edits| {
            let mut bytes = document.clone();
            for (at, length, byte) in edits {
                let at = at % bytes.len();
                match byte % 3 {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.drain(at..(at + length % 40).min(bytes.len()))),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let mut store = store.borrow_mut();
            let before = export(&store);
            if store.import_memories(&mut bytes.as_slice()).is_err() {
                assert_eq!(export(&store), before);
            }
            Ok(())
        })
        .unwrap();
    store.into_inner().verify().unwrap();
}
