use hearth_store::{ChatQuery, FinishedMessage, MessageId, MessageStatus, NewChat, Role, StoreError};
use serde_json::{Value, json};

use crate::kit::{Profile, chat, new_message, say, texts};

#[test]
fn editing_and_regenerating_keep_the_old_branches() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    assert_eq!(store.branch(id, None).unwrap(), []);
    let ask = say(&mut store, id, None, Role::User, "ask");
    let first = say(&mut store, id, Some(ask.id), Role::Assistant, "first answer");
    let second = say(&mut store, id, Some(ask.id), Role::Assistant, "second answer");
    let edited = say(&mut store, id, None, Role::User, "ask, edited");
    assert_eq!(texts(&store.branch(id, None).unwrap()), ["ask, edited"]);
    assert_eq!(
        texts(&store.branch(id, Some(first.id)).unwrap()),
        ["ask", "first answer"]
    );
    assert_eq!(
        texts(&store.siblings(second.id).unwrap()),
        ["first answer", "second answer"]
    );
    assert_eq!(texts(&store.siblings(edited.id).unwrap()), ["ask", "ask, edited"]);
    assert_eq!(
        texts(&store.children(ask.id).unwrap()),
        ["first answer", "second answer"]
    );
    assert_eq!(store.newest_leaf(ask.id).unwrap(), second.id);
    store.set_head(id, first.id).unwrap();
    assert_eq!(store.chat(id).unwrap().head, Some(first.id));
    assert_eq!(texts(&store.branch(id, None).unwrap()), ["ask", "first answer"]);
}

#[test]
fn what_belongs_elsewhere_is_refused() {
    let profile = Profile::new();
    let mut store = profile.create();
    let here = chat(&mut store, "here").id;
    let there = chat(&mut store, "there").id;
    let message = say(&mut store, here, None, Role::User, "hello");
    let wrong = store.append_message(new_message(there, Some(message.id), Role::User, "no"));
    assert!(matches!(wrong, Err(StoreError::Invalid(_))));
    assert!(matches!(
        store.set_head(there, message.id),
        Err(StoreError::Invalid(_))
    ));
    assert!(matches!(
        store.branch(there, Some(message.id)),
        Err(StoreError::Invalid(_))
    ));
    let unknown = MessageId::random();
    assert!(matches!(
        store.message(unknown),
        Err(StoreError::NotFound { what: "message", .. })
    ));
    let list = NewChat {
        metadata: json!([1]),
        ..NewChat::default()
    };
    assert!(matches!(store.create_chat(list), Err(StoreError::Invalid(_))));
    assert_eq!(store.branch(there, None).unwrap(), []);
}

#[test]
fn a_streamed_answer_grows_and_ends_once() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let mut new = new_message(id, None, Role::Assistant, "");
    new.status = MessageStatus::Streaming;
    let reply = store.append_message(new).unwrap();
    store
        .update_streaming(reply.id, "Once", "let me think", 2100)
        .unwrap();
    let seen = store.message(reply.id).unwrap();
    assert_eq!(
        (seen.text.as_str(), seen.reasoning.as_str(), seen.updated_at_ms),
        ("Once", "let me think", 2100)
    );
    let finished = FinishedMessage {
        text: "Once upon".into(),
        reasoning: "let me think".into(),
        status: MessageStatus::Stopped,
        metadata: json!({"tokens": 2}),
        finished_at_ms: 2200,
    };
    let done = store.finish_message(reply.id, finished.clone()).unwrap();
    assert_eq!(done, store.message(reply.id).unwrap());
    assert_eq!(done.status, MessageStatus::Stopped);
    assert!(matches!(
        store.finish_message(reply.id, finished),
        Err(StoreError::Invalid(_))
    ));
    assert!(matches!(
        store.update_streaming(reply.id, "x", "", 1),
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(store.chat(id).unwrap().updated_at_ms, 2200);
}

#[test]
fn chats_are_listed_by_last_change_and_title() {
    let profile = Profile::new();
    let mut store = profile.create();
    let first = chat(&mut store, "Night trains").id;
    let second = chat(&mut store, "Bread").id;
    say(
        &mut store,
        first,
        None,
        Role::User,
        &format!("  {}\n end", "word ".repeat(50)),
    );
    let list = store.chats(&ChatQuery::default()).unwrap();
    assert_eq!(
        list.iter().map(|line| line.chat.id).collect::<Vec<_>>(),
        [first, second]
    );
    assert_eq!(list[0].messages, 1);
    assert_eq!(list[0].preview.chars().count(), 119);
    store.rename_chat(second, "Rye bread", 9000).unwrap();
    let query = ChatQuery {
        limit: Some(1),
        ..ChatQuery::default()
    };
    assert_eq!(store.chats(&query).unwrap()[0].chat.title, "Rye bread");
    let query = ChatQuery {
        title_contains: Some("TRAIN".into()),
        ..ChatQuery::default()
    };
    assert_eq!(store.chats(&query).unwrap().len(), 1);
    store
        .set_chat_metadata(first, &json!({"memory": false}), 9001)
        .unwrap();
    assert_eq!(store.chat(first).unwrap().metadata, json!({"memory": false}));
    store.delete_chat(first).unwrap();
    assert!(matches!(store.chat(first), Err(StoreError::NotFound { .. })));
    assert_eq!(store.statistics().unwrap().messages, 0);
}

#[test]
fn a_chat_of_two_thousand_turns_is_read_and_deleted() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let mut parent = None;
    let mut document = String::new();
    // Through an import, which is one transaction.
    for number in 0..2000u32 {
        let own = format!("{number:032x}");
        let above = parent.map_or("null".to_owned(), |parent| format!("\"{parent}\""));
        let comma = if number == 0 { "" } else { "," };
        document += &format!(r#"{comma}{{"id":"{own}","parent":{above},"role":"user","text":"t{number}"}}"#);
        parent = Some(own);
    }
    let head = parent.unwrap();
    let document = format!(
        r#"{{"format":"hearth-chats","version":1,"chats":[{{"id":"{id}","head":"{head}","updated_at_ms":5000,"messages":[{document}]}}]}}"#
    );
    store.import_chats(&mut document.as_bytes(), 7).unwrap();
    let branch = store.branch(id, None).unwrap();
    assert_eq!(branch.len(), 2000);
    assert_eq!(branch[1999].text, "t1999");
    store.delete_chat(id).unwrap();
    assert_eq!(store.statistics().unwrap().messages, 0);
}

#[test]
fn settings_are_json_values() {
    let profile = Profile::new();
    let mut store = profile.create();
    assert_eq!(store.get_setting("model").unwrap(), None);
    store
        .set_setting("model", &json!({"id": "a", "temperature": 0.7}))
        .unwrap();
    store.set_setting("model", &json!("b")).unwrap();
    store.set_setting("nothing", &Value::Null).unwrap();
    drop(store);
    let mut store = profile.open();
    assert_eq!(store.get_setting("model").unwrap(), Some(json!("b")));
    assert_eq!(store.settings().unwrap().len(), 2);
    assert!(store.remove_setting("nothing").unwrap());
    assert!(!store.remove_setting("nothing").unwrap());
}
