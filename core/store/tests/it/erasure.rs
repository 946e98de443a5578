use hearth_store::{
    BiographySentence, EraseCounts, ErasePreview, EraseScope, Filter, Index, Memory, MemoryId, MemoryKind,
    MemoryQuery, MemoryReason, MemoryState, Message, MessageStatus, NewJob, NewMemory, NewMessage, Role,
    SearchQuery, SourceTurn, Store, StoreError, TextQuery, TurnReason,
};
use serde_json::json;

use crate::kit::{PASSPHRASE, Profile, chat, new_message, options, say, words};
use crate::memories::{embedded, fact};

fn from(text: &str, turns: &[&Message]) -> NewMemory {
    NewMemory {
        sources: turns
            .iter()
            .map(|turn| SourceTurn {
                chat: turn.chat,
                message: turn.id,
            })
            .collect(),
        ..fact(text, MemoryKind::Biography, 5)
    }
}

fn items(memories: &[&Memory]) -> EraseScope {
    EraseScope::Items {
        memories: memories.iter().map(|memory| memory.id).collect(),
        turns: Vec::new(),
    }
}

fn reasons(preview: &ErasePreview) -> Vec<(&str, MemoryReason, bool)> {
    let parts = preview.memories.iter();
    parts
        .map(|part| (part.text.as_str(), part.reason, part.ticked))
        .collect()
}

fn found(store: &Store, index: Index, text: &str) -> usize {
    let hits = store.search_text(index, &TextQuery::new(text), &Filter::default(), 50);
    hits.unwrap().len()
}

#[test]
fn a_preview_names_every_part_and_an_erasure_takes_what_is_ticked() {
    let profile = Profile::new();
    let mut store = profile.create();
    let talk = chat(&mut store, "My dog Rex").id;
    let said = say(
        &mut store,
        talk,
        None,
        Role::User,
        "My dog Rex is ill, we live in Lyon",
    );
    let answer = say(
        &mut store,
        talk,
        Some(said.id),
        Role::Assistant,
        "Poor Rex! Call a vet.",
    );
    let after = say(&mut store, talk, Some(answer.id), Role::User, "I will");
    let puppy = store.add_memory(&from("Has a puppy", &[]), None).unwrap();
    let dog = store
        .add_memory(&from("Has a dog, Rex.", &[&said]), Some(embedded(&[1.0, 0.1])))
        .unwrap();
    store.supersede_memory(puppy.id, dog.id, None, 6).unwrap();
    let twin = store.add_memory(&from("has a dog: Rex", &[]), None).unwrap();
    let near = store
        .add_memory(&from("Has no pets but the dog", &[]), Some(embedded(&[1.0, 0.2])))
        .unwrap();
    let lyon = store.add_memory(&from("Lives in Lyon", &[&said]), None).unwrap();
    let sentence = |text: &str, memory: &Memory| BiographySentence {
        text: text.into(),
        sources: vec![memory.id],
    };
    store
        .set_biography(
            &[sentence("A dog owner.", &dog), sentence("From Lyon.", &lyon)],
            7,
        )
        .unwrap();
    let job = |key: String, payload| NewJob {
        kind: "embed".into(),
        key,
        payload,
        not_before_ms: 0,
    };
    store
        .enqueue(&job("one".into(), json!({ "memory": dog.id })))
        .unwrap();
    store
        .enqueue(&job(format!("turn {}", said.id), json!({})))
        .unwrap();
    store
        .enqueue(&job("other".into(), json!({ "memory": lyon.id })))
        .unwrap();

    let before = store.plan_erasure(&items(&[&dog])).unwrap();
    assert_eq!(store.plan_erasure(&items(&[&dog])).unwrap(), before);
    assert_eq!(
        reasons(&before),
        [
            ("Has a dog, Rex.", MemoryReason::Asked, true),
            ("has a dog: Rex", MemoryReason::Duplicate, true),
            ("Has no pets but the dog", MemoryReason::Duplicate, false),
            ("Has a puppy", MemoryReason::OlderVersion, true),
        ]
    );
    let turns: Vec<_> = before
        .turns
        .iter()
        .map(|turn| (turn.message, turn.reason))
        .collect();
    assert!(
        turns.contains(&(said.id, TurnReason::Source)) && turns.contains(&(answer.id, TurnReason::Answer))
    );
    assert_eq!(turns.len(), 2);
    let source = before.turns.iter().find(|turn| turn.message == said.id).unwrap();
    assert_eq!(source.also_source_of, [lyon.id]);
    assert_eq!(before.biography_sentences, 1);

    // The older version stays, and so does the answer.
    let mut preview = before;
    preview.memories[3].ticked = false;
    preview
        .turns
        .iter_mut()
        .find(|turn| turn.message == answer.id)
        .unwrap()
        .ticked = false;
    let receipt = store.erase(&preview.plan(), 99).unwrap();
    assert!(receipt.log_emptied);
    assert_eq!(receipt.to_review, [puppy.id]);
    assert_eq!(
        receipt.counts,
        EraseCounts {
            memories: 2,
            sources: 2,
            turns: 1,
            text_entries: 3,
            vectors: 1,
            biography_sentences: 1,
            jobs: 2,
            titles: 1,
            ..EraseCounts::default()
        }
    );
    assert_eq!(receipt.recount, receipt.counts);
    assert_eq!(store.erase_receipt(receipt.id).unwrap(), receipt);

    assert_eq!(
        store.memory(puppy.id).unwrap().status.state(),
        MemoryState::Review
    );
    for gone in [dog.id, twin.id] {
        assert!(matches!(store.memory(gone), Err(StoreError::NotFound { .. })));
    }
    store.memory(near.id).unwrap();
    assert_eq!(store.memory(lyon.id).unwrap().sources, []);
    let emptied = store.message(said.id).unwrap();
    assert_eq!(
        (emptied.text.as_str(), &emptied.metadata),
        ("", &json!({"erased": true}))
    );
    assert_eq!(store.chat(talk).unwrap().title, "");
    assert_eq!(store.branch(talk, None).unwrap().last().unwrap().id, after.id);
    // Neither as itself nor as the answer's context.
    assert_eq!(found(&store, Index::Turns, "Lyon"), 0);
    assert_eq!(found(&store, Index::Turns, "Rex"), 2);
    let query = SearchQuery {
        text: "lyon".into(),
        limit: 9,
        chat: None,
    };
    assert_eq!(store.search(&query).unwrap(), []);
    assert_eq!(
        store.biography().unwrap().sentences,
        [sentence("From Lyon.", &lyon)]
    );
    assert_eq!(store.jobs().unwrap().len(), 1);
    // Once more is nothing.
    let again = store.erase(&preview.plan(), 100).unwrap();
    assert_eq!(
        (again.counts, again.recount),
        (EraseCounts::default(), EraseCounts::default())
    );
    store.verify().unwrap();
}

#[test]
fn a_chat_takes_along_what_came_from_it_alone() {
    for erase in [false, true] {
        let profile = Profile::new();
        let mut store = profile.create();
        let (one, two) = (chat(&mut store, "one").id, chat(&mut store, "two").id);
        let here = say(
            &mut store,
            one,
            None,
            Role::User,
            "I like night trains and rye bread",
        );
        let there = say(&mut store, two, None, Role::User, "Night trains again");
        let trains = store
            .add_memory(&from("Likes night trains", &[&here, &there]), None)
            .unwrap();
        let bread = store
            .add_memory(&from("Likes rye bread", &[&here]), None)
            .unwrap();
        let typed = store.add_memory(&from("Is called Mara", &[]), None).unwrap();
        if erase {
            let preview = store.plan_erasure(&EraseScope::Chats(vec![one])).unwrap();
            assert_eq!(
                reasons(&preview),
                [("Likes rye bread", MemoryReason::OnlySource, true)]
            );
            assert_eq!(
                (preview.spared.as_slice(), preview.chats.len()),
                (&[trains.id][..], 1)
            );
            let receipt = store.erase(&preview.plan(), 9).unwrap();
            assert_eq!(receipt.recount, receipt.counts);
            assert_eq!(
                (
                    receipt.counts.memories,
                    receipt.counts.messages,
                    receipt.counts.sources
                ),
                (1, 1, 2)
            );
        } else {
            store.delete_chat(one).unwrap();
        }
        assert!(matches!(store.memory(bread.id), Err(StoreError::NotFound { .. })));
        store.memory(typed.id).unwrap();
        let left = store.memory(trains.id).unwrap();
        assert_eq!(
            left.sources.iter().map(|source| source.chat).collect::<Vec<_>>(),
            [two]
        );
        store.verify().unwrap();
    }
}

#[test]
fn everything_is_everything() {
    let profile = Profile::new();
    let mut store = profile.create();
    for number in 0..5 {
        let id = chat(&mut store, "title").id;
        let said = say(&mut store, id, None, Role::User, "words");
        let new = from(&format!("fact {number}"), &[&said]);
        store
            .add_memory(&new, Some(embedded(&[1.0, number as f32])))
            .unwrap();
    }
    let preview = store.plan_erasure(&EraseScope::Everything).unwrap();
    let receipt = store.erase(&preview.plan(), 9).unwrap();
    assert_eq!(receipt.recount, receipt.counts);
    assert_eq!(store.memory_counts().unwrap().total, 0);
    let statistics = store.statistics().unwrap();
    assert_eq!((statistics.chats, statistics.messages), (0, 0));
    assert!(
        store
            .search_vectors(Index::Memories, "m", &[1.0, 0.0], &Filter::default(), 9)
            .unwrap()
            .is_empty()
    );
    store.verify().unwrap();
}

#[test]
fn what_was_erased_comes_back_with_no_backup_and_no_import() {
    let profile = Profile::new();
    let mut store = profile.create();
    let (kept, doomed, deleted) = (
        chat(&mut store, "a").id,
        chat(&mut store, "b").id,
        chat(&mut store, "c").id,
    );
    let said = say(&mut store, kept, None, Role::User, "the secret word is kumquat");
    say(&mut store, kept, Some(said.id), Role::Assistant, "noted");
    for id in [doomed, deleted] {
        say(&mut store, id, None, Role::User, "more about the kumquat");
    }
    let memory = store.add_memory(&from("Likes kumquats", &[&said]), None).unwrap();
    let mut document = Vec::new();
    store
        .export_chats(&hearth_store::ChatSelection::default(), &mut document)
        .unwrap();
    let backup = profile.outside.path().join("backup");
    store.backup(&backup, "b").unwrap();
    let mut plan = store.plan_erasure(&items(&[&memory])).unwrap().plan();
    plan.chats.push(doomed);
    store.erase(&plan, 50).unwrap();
    store.delete_chat(deleted).unwrap();

    let report = store.import_chats(&mut document.as_slice(), 60).unwrap();
    assert_eq!((report.chats_added, report.skipped.len()), (1, 2));
    assert_eq!(store.message(said.id).unwrap().text, "");
    assert!(matches!(store.chat(doomed), Err(StoreError::NotFound { .. })));
    store.chat(deleted).unwrap();
    assert_eq!(found(&store, Index::Turns, "kumquat"), 1);

    let erased = store.erased().unwrap();
    let lock = store.into_lock();
    std::fs::rename(&profile.dir, profile.outside.path().join("old")).unwrap();
    std::fs::create_dir(&profile.dir).unwrap();
    drop(lock);
    let lock = hearth_store::EngineLock::acquire(&profile.dir).unwrap();
    let store = Store::restore_locked(
        lock,
        &backup,
        "b",
        &profile.dir,
        &words(PASSPHRASE),
        &options(),
        &erased,
    );
    let store = store.unwrap();
    assert_eq!(store.message(said.id).unwrap().text, "");
    assert_eq!(store.erased().unwrap(), erased);
    assert!(matches!(
        store.memory(memory.id),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(store.chat(doomed), Err(StoreError::NotFound { .. })));
    assert_eq!(found(&store, Index::Turns, "kumquat"), 1);
    store.verify().unwrap();
}

#[test]
fn a_turn_that_is_being_written_cannot_be_erased_yet() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let mut new = new_message(id, None, Role::Assistant, "");
    new.status = MessageStatus::Streaming;
    let reply = store.append_message(new).unwrap();
    let scope = EraseScope::Items {
        memories: Vec::new(),
        turns: vec![reply.id],
    };
    let plan = store.plan_erasure(&scope).unwrap().plan();
    assert!(matches!(store.erase(&plan, 1), Err(StoreError::Invalid(_))));
    assert!(store.erasures().unwrap().is_empty());
}

#[test]
fn the_longest_unused_are_evicted_and_never_the_pinned() {
    let profile = Profile::new();
    let mut store = profile.create();
    let mut add = |text: &str, kind, pinned| {
        let new = NewMemory {
            pinned,
            ..fact(text, kind, 10)
        };
        store.add_memory(&new, None).unwrap().id
    };
    let allergy = add("Allergic to nuts", MemoryKind::Constraint, false);
    let pinned = add("Pinned", MemoryKind::Event, true);
    let used = add("Used", MemoryKind::Event, false);
    let unused = add("Unused", MemoryKind::Event, false);
    store.mark_used(&[used, MemoryId::random()], 20).unwrap();
    assert_eq!(store.memory(used).unwrap().use_count, 1);
    assert_eq!(store.evict_memories(3).unwrap(), 1);
    assert!(store.memory(unused).is_err());
    assert_eq!(store.evict_memories(0).unwrap(), 1);
    assert!(store.memory(used).is_err());
    store.memory(allergy).unwrap();
    store.memory(pinned).unwrap();
    assert_eq!(store.evict_memories(0).unwrap(), 0);
}

/// Two hundred words that say nothing, each another.
fn filler() -> String {
    let words: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
    words.join(" ") + " "
}

#[track_caller]
fn answer_is_listed(memory: &str, answer: &str, reasoning: &str, listed: bool) {
    let profile = Profile::new();
    let mut store = profile.create();
    let talk = chat(&mut store, "talk").id;
    let said = say(&mut store, talk, None, Role::User, "Something was said");
    let new = NewMessage {
        reasoning: reasoning.into(),
        ..new_message(talk, Some(said.id), Role::Assistant, answer)
    };
    let answer = store.append_message(new).unwrap();
    let memory = store.add_memory(&from(memory, &[&said]), None).unwrap();
    let preview = store.plan_erasure(&items(&[&memory])).unwrap();
    let found = preview.turns.iter().any(|turn| turn.message == answer.id);
    assert_eq!(found, listed, "{}: {}", memory.text, answer.text);
}

#[test]
fn an_answer_that_repeats_a_memory_goes_however_long_it_is_and_in_whatever_form() {
    let long = |end: &str| format!("{}{end}", filler());
    answer_is_listed("My dog is called Rex", &long("Rex"), "", true);
    answer_is_listed("Has two dogs", "Your dog must be lovely", "", true);
    answer_is_listed("Has two dogs", "Your cat must be lovely", "", false);
    answer_is_listed("Habite à Orléans", "ORLEANS est belle", "", true);
    answer_is_listed("我的狗叫雷克斯", &long("雷克斯很可爱"), "", true);
    answer_is_listed("我的狗叫雷克斯", &long("今天天气好"), "", false);
    answer_is_listed(&long("Rex"), "Rex!", "", true);
    answer_is_listed("My dog is called Rex", "How lovely", "They told me of Rex", true);
    let endless = "x".repeat(300);
    answer_is_listed(
        &format!("Is called {endless}"),
        &format!("Hello {endless}!"),
        "",
        true,
    );
    // Letters that the index takes apart are one word all the same.
    answer_is_listed("मेरा कुत्ता", "बिल्ली अच्छी है", "", false);
    answer_is_listed("मेरा कुत्ता", "कुत्ता अच्छा है", "", true);
}

#[test]
fn an_answer_to_a_turn_that_was_asked_for_goes_when_it_repeats_it() {
    let profile = Profile::new();
    let mut store = profile.create();
    let talk = chat(&mut store, "talk").id;
    let said = say(&mut store, talk, None, Role::User, "My dog Rex is ill");
    let mut stopped = new_message(talk, Some(said.id), Role::Assistant, "Then Rex should");
    stopped.status = MessageStatus::Stopped;
    let stopped = store.append_message(stopped).unwrap();
    let other = say(&mut store, talk, Some(said.id), Role::Assistant, "See a vet");
    let scope = EraseScope::Items {
        memories: Vec::new(),
        turns: vec![said.id],
    };
    let preview = store.plan_erasure(&scope).unwrap();
    let turns: Vec<_> = preview
        .turns
        .iter()
        .map(|turn| (turn.message, turn.reason))
        .collect();
    assert!(turns.contains(&(stopped.id, TurnReason::Answer)), "{turns:?}");
    assert!(!turns.iter().any(|turn| turn.0 == other.id), "{turns:?}");
}

#[test]
fn erasing_a_chat_leaves_older_versions_that_came_from_elsewhere_to_the_person() {
    let profile = Profile::new();
    let mut store = profile.create();
    let (one, two) = (chat(&mut store, "one").id, chat(&mut store, "two").id);
    let here = say(&mut store, one, None, Role::User, "I live in Lyon now");
    let there = say(&mut store, two, None, Role::User, "I live in Paris");
    let paris = store
        .add_memory(&from("Lives in Paris", &[&there]), None)
        .unwrap();
    let lyon = store.add_memory(&from("Lives in Lyon", &[&here]), None).unwrap();
    store.supersede_memory(paris.id, lyon.id, None, 6).unwrap();
    let preview = store.plan_erasure(&EraseScope::Chats(vec![one])).unwrap();
    assert_eq!(
        reasons(&preview),
        [
            ("Lives in Lyon", MemoryReason::OnlySource, true),
            ("Lives in Paris", MemoryReason::OlderVersion, false),
        ]
    );
    let receipt = store.erase(&preview.plan(), 9).unwrap();
    assert_eq!(receipt.to_review, [paris.id]);
    assert_eq!(store.memory(paris.id).unwrap().sources.len(), 1);
}

#[test]
fn answers_are_found_by_the_ids_that_they_name() {
    let profile = Profile::new();
    let mut store = profile.create();
    let talk = chat(&mut store, "talk").id;
    let one = store.add_memory(&from("One", &[]), None).unwrap().id;
    let other = store.add_memory(&from("Other", &[]), None).unwrap().id;
    let answer = |store: &mut Store, role, metadata| {
        let new = NewMessage {
            metadata,
            ..new_message(talk, None, role, "Yes")
        };
        store.append_message(new).unwrap().id
    };
    let naming = answer(
        &mut store,
        Role::Assistant,
        json!({"memory": {"recalled": [other, one]}}),
    );
    answer(
        &mut store,
        Role::Assistant,
        json!({"memory": {"recalled": [other]}, "sha256": format!("{one}{one}")}),
    );
    answer(&mut store, Role::User, json!({"about": one}));
    let ids = |ids: &[MemoryId]| ids.iter().map(|id| *id.as_bytes()).collect();
    assert_eq!(store.messages_naming(&ids(&[one])).unwrap(), [naming]);
    assert_eq!(store.messages_naming(&ids(&[one, other])).unwrap().len(), 2);
    assert_eq!(store.messages_naming(&ids(&[])).unwrap(), []);
}

#[test]
fn messages_are_found_by_a_topic_wherever_they_stand() {
    let profile = Profile::new();
    let mut store = profile.create();
    let (open, off) = (chat(&mut store, "open").id, chat(&mut store, "off").id);
    store.set_chat_memory(off, false).unwrap();
    let end = |store: &mut Store, chat, role, status, text: &str| {
        let mut new = new_message(chat, None, role, text);
        new.status = status;
        store.append_message(new).unwrap().id
    };
    let all = [
        end(
            &mut store,
            open,
            Role::User,
            MessageStatus::Complete,
            "Two DOGS and a café",
        ),
        end(
            &mut store,
            open,
            Role::Assistant,
            MessageStatus::Stopped,
            "Your dog's cafes",
        ),
        end(
            &mut store,
            off,
            Role::Assistant,
            MessageStatus::Failed,
            &format!("{}dog in the CAFÉ", filler()),
        ),
        end(
            &mut store,
            off,
            Role::System,
            MessageStatus::Complete,
            "A dog, a Cafe",
        ),
    ];
    end(
        &mut store,
        open,
        Role::User,
        MessageStatus::Complete,
        "A dogma in a café",
    );
    let han = end(
        &mut store,
        off,
        Role::User,
        MessageStatus::Stopped,
        "我的狗叫雷克斯",
    );
    let about = |store: &Store, text: &str| store.messages_about(text).unwrap();
    assert_eq!(about(&store, "my dog in the café"), all);
    assert_eq!(about(&store, "dogs, cafes"), all);
    assert_eq!(about(&store, "雷克斯"), [han]);
    assert_eq!(about(&store, "dog cat"), []);
    assert_eq!(about(&store, "?!"), []);
    let long = "z".repeat(300);
    let named = end(
        &mut store,
        open,
        Role::User,
        MessageStatus::Complete,
        &format!("My {long}."),
    );
    assert_eq!(about(&store, &long), [named]);
    store.verify().unwrap();
}

#[test]
fn an_older_version_goes_though_it_says_nearly_the_same() {
    let profile = Profile::new();
    let mut store = profile.create();
    let ids = ["Has a grey dog", "Has a brown dog", "Has a black dog"].map(|text| {
        let vector = Some(embedded(&[1.0, 0.1]));
        store.add_memory(&from(text, &[]), vector).unwrap().id
    });
    store.supersede_memory(ids[0], ids[1], None, 6).unwrap();
    store.supersede_memory(ids[1], ids[2], None, 7).unwrap();
    let near = store
        .add_memory(&from("Has a red dog", &[]), Some(embedded(&[1.0, 0.1])))
        .unwrap();
    let scope = EraseScope::Items {
        memories: vec![ids[2]],
        turns: Vec::new(),
    };
    let preview = store.plan_erasure(&scope).unwrap();
    assert_eq!(
        reasons(&preview),
        [
            ("Has a black dog", MemoryReason::Asked, true),
            ("Has a red dog", MemoryReason::Duplicate, false),
            ("Has a brown dog", MemoryReason::OlderVersion, true),
            ("Has a grey dog", MemoryReason::OlderVersion, true),
        ]
    );
    store.erase(&preview.plan(), 9).unwrap();
    store.memory(near.id).unwrap();
    assert_eq!(store.count_memories(&MemoryQuery::default()).unwrap(), 1);
}
