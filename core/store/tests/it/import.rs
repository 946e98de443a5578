use hearth_store::{ChatId, ChatSelection, ImportReport, MessageStatus, NewChat, Role, Store, StoreError};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::kit::{Profile, chat, new_message, say, texts};

fn export(store: &Store) -> String {
    let mut bytes = Vec::new();
    store.export_chats(&ChatSelection::default(), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A store with branches, odd characters, odd numbers and every status.
fn rich(profile: &Profile) -> Store {
    let mut store = profile.create();
    let metadata =
        json!({"float": 0.1, "big": 1.0e300, "precise": 2.225_073_858_507_201e-308, "text": "\u{0}\"\\ 🦀"});
    let id = store
        .create_chat(NewChat {
            title: "Ünï \"q\"".into(),
            created_at_ms: 5,
            metadata,
        })
        .unwrap()
        .id;
    let ask = say(&mut store, id, None, Role::User, "ask\r\n\u{0}\u{FEFF}");
    let mut parent = ask.id;
    for status in [
        MessageStatus::Complete,
        MessageStatus::Stopped,
        MessageStatus::Failed,
        MessageStatus::Interrupted,
    ] {
        let mut new = new_message(id, Some(parent), Role::Assistant, "answer");
        new.status = status;
        new.reasoning = "hm".into();
        new.model = Some("small".into());
        new.metadata = json!({"usage": {"tokens": 3}});
        parent = store.append_message(new).unwrap().id;
    }
    say(&mut store, id, Some(ask.id), Role::Tool, "tool");
    say(&mut store, id, None, Role::System, "other root");
    store.set_head(id, ask.id).unwrap();
    chat(&mut store, "empty");
    store
}

#[test]
fn an_export_comes_back_exactly_and_only_once() {
    let (here, there) = (Profile::new(), Profile::new());
    let store = rich(&here);
    let document = export(&store);
    let mut copy = there.create();
    let report = copy.import_chats(&mut document.as_bytes(), 9).unwrap();
    let expected = ImportReport {
        chats_added: 2,
        messages_added: 7,
        changed: report.changed.clone(),
        ..ImportReport::default()
    };
    assert_eq!(report, expected);
    let added = report.changed;
    assert_eq!(export(&copy), document);
    let report = copy.import_chats(&mut document.as_bytes(), 9).unwrap();
    let expected = ImportReport {
        chats_unchanged: 2,
        messages_unchanged: 7,
        unchanged: report.unchanged.clone(),
        ..ImportReport::default()
    };
    assert_eq!(report, expected);
    assert!(added.len() == 2 && report.unchanged == added, "{added:?}");
    assert_eq!(export(&copy), document);
    // As a tool leaves it that sorts keys and indents.
    let value: Value = serde_json::from_str(&document).unwrap();
    let sorted = json!({"chats": value["chats"], "format": value["format"], "version": value["version"]});
    let sorted = format!("\u{FEFF}{}", serde_json::to_string_pretty(&sorted).unwrap());
    let report = copy.import_chats(&mut sorted.as_bytes(), 9).unwrap();
    assert_eq!((report.chats_unchanged, report.messages_added), (2, 0));
}

#[test]
fn chats_that_went_on_in_two_places_grow_together() {
    let (here, there) = (Profile::new(), Profile::new());
    let mut store = here.create();
    let id = chat(&mut store, "").id;
    let ask = say(&mut store, id, None, Role::User, "ask");
    let mut copy = there.create();
    copy.import_chats(&mut export(&store).as_bytes(), 0).unwrap();
    say(&mut store, id, Some(ask.id), Role::Assistant, "answer here");
    let mut later = new_message(id, Some(ask.id), Role::Assistant, "answer there");
    later.created_at_ms = 3000;
    let later = copy.append_message(later).unwrap();
    let report = store.import_chats(&mut export(&copy).as_bytes(), 0).unwrap();
    assert_eq!(
        (
            report.chats_extended,
            report.messages_added,
            report.messages_unchanged
        ),
        (1, 1, 1)
    );
    assert_eq!(
        texts(&store.children(ask.id).unwrap()),
        ["answer here", "answer there"]
    );
    assert_eq!(store.chat(id).unwrap().head, Some(later.id));
}

#[test]
fn an_id_that_means_something_else_here_is_replaced_the_same_way_each_time() {
    let (here, there) = (Profile::new(), Profile::new());
    let mut store = here.create();
    let id = chat(&mut store, "").id;
    say(&mut store, id, None, Role::User, "ask");
    let changed = export(&store).replace("\"ask\"", "\"something else\"");
    let other_chat = export(&store).replace(&id.to_string(), &ChatId::random().to_string());
    for document in [changed, other_chat] {
        let report = store.import_chats(&mut document.as_bytes(), 0).unwrap();
        assert_eq!((report.messages_added, report.messages_renumbered), (1, 1));
        let report = store.import_chats(&mut document.as_bytes(), 0).unwrap();
        assert_eq!((report.messages_added, report.messages_unchanged), (0, 1));
    }
    assert_eq!(store.statistics().unwrap().messages, 3);
    drop(there);
}

#[test]
fn what_is_not_a_whole_export_is_refused_with_its_place() {
    let profile = Profile::new();
    let mut store = rich(&profile);
    let document = export(&store);
    let before = document.clone();
    let mut check = |bad: &str, expected: &str| match store.import_chats(&mut bad.as_bytes(), 0) {
        Err(StoreError::Import { line, column, reason }) => {
            assert!(reason.contains(expected), "{reason} lacks {expected}");
            assert!(line > 0, "{line}:{column} {reason}");
        }
        other => panic!("{bad}: {other:?}"),
    };
    check(&document.replace("\"version\":2", "\"version\":3"), "version 3");
    check(&document.replace("hearth-chats", "other"), "format \"other\"");
    check(&document[..document.len() / 2], "EOF");
    check(
        &document.replacen("\"role\":\"user\"", "\"role\":\"pope\"", 1),
        "unknown variant `pope`",
    );
    check(
        &document.replacen("\"text\":\"ask", "\"texts\":\"ask", 1),
        "unknown field `texts`",
    );
    check(
        &document.replacen(
            "\"parent\":null",
            "\"parent\":\"00000000000000000000000000000000\"",
            1,
        ),
        "before its parent",
    );
    check(
        &document.replacen("\"head\":\"", "\"head\":\"0", 1),
        "32 lowercase",
    );
    check(&format!("{document}x"), "trailing characters");
    check("", "EOF");
    check("[]", "an export of chats");
    check(
        "{\"format\":\"hearth-chats\",\"version\":1}",
        "missing field `chats`",
    );
    check(&format!("{{\"chats\":{}", "[".repeat(100_000)), "");
    assert_eq!(export(&store), before);
}

#[test]
fn a_selection_is_exported_and_an_unknown_chat_is_an_error() {
    let profile = Profile::new();
    let mut store = rich(&profile);
    let id = chat(&mut store, "only this").id;
    let mut bytes = Vec::new();
    let report = store
        .export_chats(
            &ChatSelection {
                chats: Some(vec![id]),
            },
            &mut bytes,
        )
        .unwrap();
    assert_eq!((report.chats, report.messages), (1, 0));
    let unknown = ChatSelection {
        chats: Some(vec![id, ChatId::random()]),
    };
    let mut bytes = Vec::new();
    assert!(matches!(
        store.export_chats(&unknown, &mut bytes),
        Err(StoreError::NotFound { .. })
    ));
    assert!(bytes.is_empty());
}

fn chatgpt() -> Value {
    let message = |role: &str, parts: Value| {
        json!({"author": {"role": role, "name": null, "metadata": {}}, "create_time": 1_700_000_000.123_456,
               "update_time": null, "content": {"content_type": "text", "parts": parts}, "status":
               "finished_successfully", "end_turn": true, "weight": 1.0, "metadata": {"model_slug": "gpt-4o"},
               "recipient": "all"})
    };
    let mut hidden = message("system", json!(["secret instructions"]));
    hidden["metadata"]["is_visually_hidden_from_conversation"] = json!(true);
    let mut picture = message(
        "user",
        json!([{"content_type": "image_asset_pointer", "asset_pointer": "file-service://x",
        "size_bytes": 5}, "What is this?"]),
    );
    picture["content"]["content_type"] = json!("multimodal_text");
    let mut thoughts = message("assistant", json!([]));
    thoughts["content"] =
        json!({"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "It is a cat."}]});
    let mut code = message("assistant", json!([]));
    code["content"] = json!({"content_type": "code", "language": "python", "text": "print(1)"});
    let mut tool = message("tool", json!([]));
    tool["author"]["name"] = json!("python");
    tool["content"] = json!({"content_type": "execution_output", "text": "1"});
    let node = |message: Value, parent: Value, children: Value| json!({"id": "", "message": message, "parent": parent, "children": children});
    let ask = "11111111-1111-4111-8111-111111111111";
    json!([
        {
            "title": "Pictures", "create_time": 1_700_000_000.5, "update_time": 1_700_000_100, "current_node": "second",
            "conversation_id": "22222222-2222-4222-8222-222222222222",
            "mapping": {
                "client-created-root": node(Value::Null, Value::Null, json!(["hidden"])),
                "hidden": node(hidden, json!("client-created-root"), json!(["system"])),
                "system": node(message("system", json!([""])), json!("hidden"), json!([ask])),
                ask: node(picture, json!("system"), json!(["thoughts", "second"])),
                "thoughts": node(thoughts, json!(ask), json!(["first"])),
                "first": node(message("assistant", json!(["A cat."])), json!("thoughts"), json!(["code"])),
                "code": node(code, json!("first"), json!(["tool"])),
                "tool": node(tool, json!("code"), json!(["gone"])),
                "second": node(message("assistant", json!(["A dog."])), json!(ask), json!([ask])),
            },
        },
        {"title": null, "mapping": {}},
        {"title": "nothing"},
    ])
}

#[test]
fn a_chatgpt_export_comes_in_with_its_branches() {
    let profile = Profile::new();
    let mut store = profile.create();
    let document = chatgpt().to_string();
    let report = store.import_chatgpt(&mut document.as_bytes(), 5).unwrap();
    assert_eq!((report.chats_added, report.messages_added), (1, 5));
    let reasons: Vec<(&str, u64)> = report
        .skipped
        .iter()
        .map(|skipped| (skipped.reason.as_str(), skipped.count))
        .collect();
    assert_eq!(
        reasons,
        [
            ("hidden message", 1),
            ("empty message", 1),
            ("image (a placeholder stands in its message)", 1),
            ("link to a message that is not in the file", 1),
            ("conversation without messages", 1),
            ("conversation without messages (no mapping)", 1),
        ]
    );
    let id: ChatId = "22222222222242228222222222222222".parse().unwrap();
    let chat = store.chat(id).unwrap();
    assert_eq!(
        (chat.title.as_str(), chat.created_at_ms, chat.updated_at_ms),
        ("Pictures", 1_700_000_000_500, 1_700_000_100_000)
    );
    let shown = store.branch(id, None).unwrap();
    assert_eq!(texts(&shown), ["[image not imported]\n\nWhat is this?", "A dog."]);
    assert_eq!(shown[0].created_at_ms, 1_700_000_000_123);
    assert_eq!(shown[1].model.as_deref(), Some("gpt-4o"));
    let first = &store.siblings(shown[1].id).unwrap()[0];
    assert_eq!(
        (first.text.as_str(), first.reasoning.as_str()),
        ("A cat.", "It is a cat.")
    );
    let code = &store.children(first.id).unwrap()[0];
    assert_eq!(code.text, "```python\nprint(1)\n```");
    let tool = &store.children(code.id).unwrap()[0];
    assert_eq!(
        (tool.role, tool.metadata["name"].as_str()),
        (Role::Tool, Some("python"))
    );
    let again = store.import_chatgpt(&mut document.as_bytes(), 6).unwrap();
    assert_eq!((again.chats_unchanged, again.messages_added), (1, 0));
    for bad in ["{}", "[1]", "[{}", "nothing"] {
        assert!(
            matches!(
                store.import_chatgpt(&mut bad.as_bytes(), 5),
                Err(StoreError::Import { .. })
            ),
            "{bad}"
        );
    }
}

/// Damages a document: cuts, flips, repeats, or puts one of its own pieces elsewhere.
fn damage(document: &str, edits: &[(usize, usize, u8)]) -> Vec<u8> {
    let mut bytes = document.as_bytes().to_vec();
    for (position, other, kind) in edits {
        if bytes.is_empty() {
            break;
        }
        let (from, to) = (position % bytes.len(), other % bytes.len());
        match kind % 5 {
            0 => bytes[from] = *kind,
            1 => bytes.truncate(from),
            2 => drop(bytes.drain(from.min(to)..from.max(to).min(from.min(to) + 40))),
            3 => {
                let piece = bytes[to..(to + 60).min(bytes.len())].to_vec();
                bytes.splice(from..from, piece);
            }
            _ => bytes[from] = b"{}[]\",:019-etfn"[to % 15],
        }
    }
    bytes
}

#[test]
fn no_damaged_document_panics_or_comes_in_by_half() {
    let (here, there) = (Profile::new(), Profile::new());
    let ours = export(&rich(&here));
    let theirs = chatgpt().to_string();
    let mut store = there.create();
    let edits = proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 1..4);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let store = std::cell::RefCell::new(&mut store);
    runner
        .run(&edits, |edits| {
            let store = &mut **store.borrow_mut();
            for chatgpt in [false, true] {
                let before = export(store);
                let bytes = damage(if chatgpt { &theirs } else { &ours }, &edits);
                let result = if chatgpt {
                    store.import_chatgpt(&mut bytes.as_slice(), 1)
                } else {
                    store.import_chats(&mut bytes.as_slice(), 1)
                };
                match result {
                    Ok(_) => {
                        let chats = store.chats(&hearth_store::ChatQuery::default()).unwrap();
                        for line in chats {
                            store.delete_chat(line.chat.id).unwrap();
                        }
                    }
                    Err(StoreError::Import { .. }) => assert_eq!(export(store), before),
                    Err(other) => panic!("{other:?}"),
                }
            }
            Ok(())
        })
        .unwrap();
    store.into_inner().verify().unwrap();
}
