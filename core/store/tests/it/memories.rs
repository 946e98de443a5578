use hearth_store::{
    BiographySentence, EmbeddedText, Filter, Index, MemoryChange, MemoryKind, MemoryOrigin, MemoryQuery,
    MemoryState, MemoryStatus, NewJob, NewMemory, Role, RowSource, SourceTurn, Store, StoreError, TextQuery,
};
use serde_json::json;

use crate::kit::{Profile, chat, new_message, say};

pub(crate) fn fact(text: &str, kind: MemoryKind, at_ms: i64) -> NewMemory {
    NewMemory {
        text: text.into(),
        kind,
        confidence: 0.9,
        sensitive: false,
        valid_from_ms: None,
        valid_to_ms: None,
        created_at_ms: at_ms,
        sources: Vec::new(),
        status: MemoryStatus::Active,
        origin: MemoryOrigin::Extracted,
        pinned: false,
    }
}

fn by_words(store: &Store, index: Index, text: &str, filter: &Filter) -> Vec<String> {
    let hits = store
        .search_text(index, &TextQuery::new(text), filter, 10)
        .unwrap();
    let keys: Vec<_> = hits.iter().map(|hit| hit.0).collect();
    let rows = store.recall_rows(index, &keys).unwrap();
    rows.into_iter().map(|row| row.text).collect()
}

fn by_vector(store: &Store, query: &[f32], filter: &Filter) -> Vec<String> {
    let hits = store
        .search_vectors(Index::Memories, "m", query, filter, 10)
        .unwrap();
    let keys: Vec<_> = hits.iter().map(|hit| hit.0).collect();
    let rows = store.recall_rows(Index::Memories, &keys).unwrap();
    rows.into_iter().map(|row| row.text).collect()
}

pub(crate) fn embedded(vector: &[f32]) -> EmbeddedText<'_> {
    EmbeddedText {
        model_id: "m",
        vector,
    }
}

#[test]
fn a_memory_is_kept_with_its_sources_and_found_both_ways() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let said = say(&mut store, id, None, Role::User, "My dog Rex likes trains");
    let new = NewMemory {
        sources: vec![SourceTurn {
            chat: id,
            message: said.id,
        }],
        ..fact("Has a dog named Rex", MemoryKind::Biography, 5)
    };
    let dog = store.add_memory(&new, Some(embedded(&[1.0, 0.0, 0.0]))).unwrap();
    let train = store
        .add_memory(
            &fact("Prefers trains", MemoryKind::Preference, 6),
            Some(embedded(&[0.0, 2.0, 0.0])),
        )
        .unwrap();
    drop(store);
    let mut store = profile.open();
    assert_eq!(store.memory(dog.id).unwrap(), dog);
    assert!(store.source_unchanged(&dog.sources[0]).unwrap());
    let all = Filter::default();
    assert_eq!(
        by_words(&store, Index::Memories, "the dogs", &all),
        [dog.text.as_str()]
    );
    assert_eq!(
        by_vector(&store, &[0.9, 0.5, 0.0], &all),
        [dog.text.as_str(), &train.text]
    );
    let only = Filter {
        kinds: vec![MemoryKind::Preference],
        ..Filter::default()
    };
    assert_eq!(by_vector(&store, &[0.9, 0.5, 0.0], &only), [train.text.as_str()]);
    let of_chat = Filter {
        chats: Some(vec![id]),
        ..Filter::default()
    };
    assert_eq!(by_vector(&store, &[0.0, 1.0, 0.0], &of_chat), [dog.text.as_str()]);
    let change = MemoryChange {
        text: Some("Has a cat named Tom".into()),
        ..MemoryChange::default()
    };
    let changed = store.update_memory(dog.id, &change, None, 9).unwrap();
    assert_eq!(
        (changed.text.as_str(), changed.updated_at_ms),
        ("Has a cat named Tom", 9)
    );
    assert!(by_words(&store, Index::Memories, "dog", &all).is_empty());
    assert_eq!(
        by_words(&store, Index::Memories, "cats", &all),
        [changed.text.as_str()]
    );
    // The old text's vector is gone with it.
    assert_eq!(by_vector(&store, &[1.0, 0.0, 0.0], &all), [train.text.as_str()]);
    let waiting = store.rows_without_vector(Index::Memories, "m", 9).unwrap();
    assert_eq!(waiting.len(), 1);
    let vectors: Vec<_> = waiting
        .into_iter()
        .map(|row| (row, vec![0.0, 0.0, 1.0]))
        .collect();
    assert_eq!(store.set_vectors(Index::Memories, "m", &vectors).unwrap(), 1);
    assert_eq!(by_vector(&store, &[0.0, 0.0, 1.0], &all)[0], changed.text);
    store.verify().unwrap();
}

#[test]
fn what_no_memory_can_be_is_refused() {
    let profile = Profile::new();
    let mut store = profile.create();
    let one = store
        .add_memory(&fact("one", MemoryKind::Event, 1), Some(embedded(&[1.0, 0.0])))
        .unwrap();
    let two = store
        .add_memory(&fact("two", MemoryKind::Event, 1), None)
        .unwrap();
    for text in ["", " \n", &"x".repeat(100_000)] {
        let error = store
            .add_memory(&fact(text, MemoryKind::Event, 1), None)
            .unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
    }
    for confidence in [-0.1, 1.1, f32::NAN] {
        let new = NewMemory {
            confidence,
            ..fact("three", MemoryKind::Event, 1)
        };
        assert!(matches!(
            store.add_memory(&new, None),
            Err(StoreError::Invalid(_))
        ));
    }
    for vector in [&[1.0f32, 0.0, 0.0][..], &[], &[0.0, 0.0], &[f32::NAN, 1.0]] {
        let result = store.add_memory(&fact("three", MemoryKind::Event, 1), Some(embedded(vector)));
        assert!(matches!(result, Err(StoreError::Invalid(_))), "{vector:?}");
    }
    let elsewhere = chat(&mut store, "").id;
    let here = chat(&mut store, "").id;
    let said = say(&mut store, here, None, Role::User, "said here");
    let new = NewMemory {
        sources: vec![SourceTurn {
            chat: elsewhere,
            message: said.id,
        }],
        ..fact("three", MemoryKind::Event, 1)
    };
    assert!(matches!(
        store.add_memory(&new, None),
        Err(StoreError::NotFound { .. })
    ));
    store.supersede_memory(one.id, two.id, Some(7), 8).unwrap();
    for (old, by) in [(two.id, one.id), (two.id, two.id)] {
        assert!(matches!(
            store.supersede_memory(old, by, None, 9),
            Err(StoreError::Invalid(_))
        ));
    }
    let query = MemoryQuery {
        state: Some(MemoryState::Superseded),
        ..MemoryQuery::default()
    };
    let old = store.memories(&query).unwrap();
    assert_eq!(old.len(), 1);
    assert_eq!(
        (old[0].status, old[0].valid_to_ms),
        (MemoryStatus::Superseded { by: Some(two.id) }, Some(7))
    );
    assert_eq!(store.memory_counts().unwrap().total, 2);
    store.verify().unwrap();
}

#[test]
fn turns_are_found_with_the_turn_before_them() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let ask = say(&mut store, id, None, Role::User, "Where did we go by ferry?");
    let mut new = new_message(id, Some(ask.id), Role::Assistant, "To the island of Vis.");
    new.metadata = json!({"speaker": "Mara", "caption": "a harbour"});
    let answer = store.append_message(new).unwrap();
    let all = Filter::default();
    assert_eq!(
        by_words(&store, Index::Turns, "Mara islands", &all),
        ["Mara: To the island of Vis.\n[a harbour]"]
    );
    let hits = store
        .search_text(Index::Turns, &TextQuery::new("ferries"), &all, 9)
        .unwrap();
    assert_eq!(hits.len(), 2);
    let rows = store.recall_rows(Index::Turns, &[hits[1].0]).unwrap();
    assert_eq!(
        rows[0].source,
        RowSource::Turn {
            chat: id,
            message: answer.id
        }
    );
    assert_eq!(
        (rows[0].previous_text.as_str(), rows[0].speaker.as_deref()),
        (ask.text.as_str(), Some("Mara"))
    );
    let alone = TextQuery {
        previous_weight: 0.0,
        ..TextQuery::new("ferry")
    };
    assert_eq!(store.search_text(Index::Turns, &alone, &all, 9).unwrap().len(), 1);
    let nowhere = Filter {
        chats: Some(Vec::new()),
        ..Filter::default()
    };
    assert!(by_words(&store, Index::Turns, "ferry", &nowhere).is_empty());
    store.set_chat_memory(id, false).unwrap();
    assert!(by_words(&store, Index::Turns, "ferry", &all).is_empty());
    say(&mut store, id, Some(answer.id), Role::User, "The ferry was late");
    assert_eq!(store.index_len(Index::Turns).unwrap(), 0);
    store.set_chat_memory(id, true).unwrap();
    assert_eq!(
        by_words(&store, Index::Turns, "late", &all),
        ["The ferry was late"]
    );
    store.delete_chat(id).unwrap();
    assert_eq!(store.index_len(Index::Turns).unwrap(), 0);
    store.verify().unwrap();
}

#[test]
fn jobs_are_done_once_and_survive() {
    let profile = Profile::new();
    let mut store = profile.create();
    let job = |key: &str, not_before_ms| NewJob {
        kind: "extract".into(),
        key: key.into(),
        payload: json!({}),
        not_before_ms,
    };
    store.enqueue(&job("b", 20)).unwrap();
    store.enqueue(&job("a", 10)).unwrap();
    store.enqueue(&job("a", 5)).unwrap();
    assert_eq!(store.jobs().unwrap().len(), 2);
    assert_eq!(store.claim_next(&[], 9).unwrap(), None);
    assert_eq!(store.claim_next(&["embed"], 99).unwrap(), None);
    let first = store.claim_next(&["embed", "extract"], 99).unwrap().unwrap();
    assert_eq!((first.key.as_str(), first.attempts), ("a", 1));
    // Cut short: it is begun again.
    drop(store);
    let mut store = profile.open();
    let first = store.claim_next(&[], 99).unwrap().unwrap();
    assert_eq!((first.key.as_str(), first.attempts), ("a", 2));
    // Asked for while it runs: done once more.
    store.enqueue(&job("a", 10)).unwrap();
    store.complete(&first).unwrap();
    let second = store.claim_next(&[], 19).unwrap().unwrap();
    assert_eq!(second.key, "a");
    store.fail(&second, 50).unwrap();
    let third = store.claim_next(&[], 49).unwrap().unwrap();
    assert_eq!(third.key, "b");
    store.complete(&third).unwrap();
    assert_eq!(store.claim_next(&[], 49).unwrap(), None);
    // Given back, it counts as not begun.
    let second = store.claim_next(&[], 50).unwrap().unwrap();
    store.give_back(&second, 60).unwrap();
    assert_eq!(store.claim_next(&[], 59).unwrap(), None);
    let again = store.claim_next(&[], 60).unwrap().unwrap();
    assert_eq!((again.attempts, again.number), (second.attempts, second.number));
    store.complete(&second).unwrap();
    assert!(store.jobs().unwrap().is_empty());
}

#[test]
fn a_sentence_of_the_biography_falls_with_its_source() {
    let profile = Profile::new();
    let mut store = profile.create();
    let one = store
        .add_memory(&fact("Lives in Lyon", MemoryKind::Biography, 1), None)
        .unwrap();
    let two = store
        .add_memory(&fact("Has a dog", MemoryKind::Biography, 1), None)
        .unwrap();
    let sentence = |text: &str, sources: &[hearth_store::MemoryId]| BiographySentence {
        text: text.into(),
        sources: sources.to_vec(),
    };
    let sentences = [
        sentence("In Lyon with a dog.", &[one.id, two.id]),
        sentence("A dog.", &[two.id]),
    ];
    store.set_biography(&sentences, 7).unwrap();
    let biography = store.biography().unwrap();
    assert_eq!(
        (biography.sentences.as_slice(), biography.stale),
        (&sentences[..], false)
    );
    store.supersede_memory(one.id, two.id, None, 9).unwrap();
    let biography = store.biography().unwrap();
    assert_eq!(
        (biography.sentences.as_slice(), biography.stale),
        (&sentences[1..], true)
    );
    assert!(matches!(
        store.set_biography(&[sentence("x", &[])], 8),
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(store.biography().unwrap(), biography);

    // What it says no longer holds, or is no longer to be said: it goes at once. What was only noted again stays.
    let change = MemoryChange::default;
    let set = |store: &mut Store| store.set_biography(&[sentence("A dog.", &[two.id])], 10).unwrap();
    for (change, stays) in [
        (
            MemoryChange {
                sensitive: Some(true),
                ..change()
            },
            false,
        ),
        (
            MemoryChange {
                sensitive: Some(false),
                pinned: Some(true),
                ..change()
            },
            true,
        ),
        (
            MemoryChange {
                kind: Some(MemoryKind::Event),
                ..change()
            },
            false,
        ),
        (
            MemoryChange {
                valid_to_ms: Some(Some(5)),
                ..change()
            },
            false,
        ),
        (
            MemoryChange {
                confidence: Some(0.8),
                ..change()
            },
            true,
        ),
        (
            MemoryChange {
                pinned: Some(false),
                ..change()
            },
            false,
        ),
    ] {
        set(&mut store);
        store.update_memory(two.id, &change, None, 11).unwrap();
        let biography = store.biography().unwrap();
        assert_eq!(
            (biography.sentences.len(), biography.stale),
            (usize::from(stays), !stays),
            "{change:?}"
        );
    }
    for (pinned, stays) in [(false, true), (true, true), (false, false)] {
        set(&mut store);
        store.pin_memory(two.id, pinned).unwrap();
        assert_eq!(
            store.biography().unwrap().sentences.len(),
            usize::from(stays),
            "{pinned}"
        );
    }
}

#[test]
fn what_was_not_said_for_longest_is_listed_first() {
    let profile = Profile::new();
    let mut store = profile.create();
    let ids: Vec<_> = [30, 10, 20]
        .map(|at| {
            store
                .add_memory(&fact(&format!("Said at {at}"), MemoryKind::Biography, at), None)
                .unwrap()
                .id
        })
        .to_vec();
    store.reinforce_memory(ids[1], &[], 40).unwrap();
    let query = |until| MemoryQuery {
        updated_until_ms: until,
        stalest_first: true,
        ..MemoryQuery::default()
    };
    let list = |query| {
        store
            .memories(&query)
            .unwrap()
            .into_iter()
            .map(|memory| memory.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(query(None)), [ids[2], ids[0], ids[1]]);
    assert_eq!(list(query(Some(30))), [ids[2], ids[0]]);
    assert_eq!(store.count_memories(&query(Some(29))).unwrap(), 1);
}

/// Whatever is remembered, said or asked: no panic, no syntax error, and what was stored comes back.
#[test]
fn any_text_is_remembered_and_searched() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let scripts: String = (0x20..0x2_FA20u32)
        .step_by(97)
        .filter_map(char::from_u32)
        .collect();
    let long = "many different words ".repeat(5000);
    let binary: String = (0..=255u8).map(char::from).collect();
    let texts = [
        "🦀🎉🫠",
        "أفضّل القهوة على الشاي",
        "\u{202E}txet desrever",
        "私は東京で犬と暮らしています",
        "the and of to",
        "NEAR(a b) OR \"x\" AND NOT *",
        "\u{0}\u{1}",
        &scripts,
        &binary,
        &long,
        "e\u{301}\u{301}\u{301}",
        &"x".repeat(16_000),
    ];
    let all = Filter::default();
    for text in texts {
        let added = store.add_memory(&fact(text, MemoryKind::Event, i64::MAX), None);
        if let Ok(memory) = &added {
            assert_eq!(store.memory(memory.id).unwrap().text, text);
        } else {
            assert!(text.len() > hearth_store::MAX_MEMORY_BYTES, "{added:?}");
        }
        let parent = store.chat(id).unwrap().head;
        say(&mut store, id, parent, Role::User, text);
    }
    for text in texts.into_iter().chain(["", " ", "?", "\""]) {
        for index in [Index::Memories, Index::Turns] {
            store.search_text(index, &TextQuery::new(text), &all, 10).unwrap();
        }
    }
    for (text, word) in [
        (texts[1], "القهوة"),
        (texts[3], "東京"),
        (texts[4], "the of"),
        (texts[4], "THE"),
    ] {
        assert_eq!(by_words(&store, Index::Memories, word, &all), [text], "{word}");
    }
    let words = TextQuery {
        words: vec!["\"".into(), String::new(), "犬".into(), "*".into()],
        previous_weight: 0.0,
        max_rows: 1,
    };
    assert_eq!(
        store.search_text(Index::Turns, &words, &all, 10).unwrap().len(),
        1
    );
    assert!(
        store
            .search_text(Index::Turns, &words, &all, 0)
            .unwrap()
            .is_empty()
    );
    store.verify().unwrap();
}

/// Times come from outside, and a clock may jump: nothing depends on their order.
#[test]
fn a_clock_that_jumps_harms_nothing() {
    const TEN_YEARS_MS: i64 = 315_576_000_000;
    let profile = Profile::new();
    let mut store = profile.create();
    let now_ms = 1_700_000_000_000;
    let one = store
        .add_memory(&fact("one", MemoryKind::Event, now_ms + TEN_YEARS_MS), None)
        .unwrap();
    let two = store
        .add_memory(&fact("two", MemoryKind::Event, now_ms), None)
        .unwrap();
    store.mark_used(&[one.id], now_ms + TEN_YEARS_MS).unwrap();
    store.mark_used(&[one.id], now_ms).unwrap();
    assert_eq!(
        store.memory(one.id).unwrap().last_used_at_ms,
        Some(now_ms + TEN_YEARS_MS)
    );
    store
        .supersede_memory(one.id, two.id, Some(now_ms), now_ms - TEN_YEARS_MS)
        .unwrap();
    assert_eq!(store.memory(one.id).unwrap().updated_at_ms, now_ms + TEN_YEARS_MS);
    for edge in [i64::MIN, i64::MAX] {
        let change = MemoryChange {
            valid_from_ms: Some(Some(edge)),
            ..MemoryChange::default()
        };
        store.update_memory(two.id, &change, None, edge).unwrap();
        by_words(&store, Index::Memories, "two", &Filter::default());
    }
    let job = NewJob {
        kind: "k".into(),
        key: "k".into(),
        payload: json!({}),
        not_before_ms: i64::MAX,
    };
    store.enqueue(&job).unwrap();
    let claimed = store.claim_next(&[], i64::MAX).unwrap().unwrap();
    store.enqueue(&job).unwrap();
    store.complete(&claimed).unwrap();
    assert_eq!(store.evict_memories(1).unwrap(), 1);
    store.memory(one.id).unwrap();
}
