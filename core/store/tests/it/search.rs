use hearth_store::{HIGHLIGHT_END, HIGHLIGHT_START, MessageStatus, Role, SearchQuery, Store};
use proptest::prelude::*;

use crate::kit::{Profile, chat, new_message, say};

fn found(store: &Store, text: &str) -> Vec<String> {
    let query = SearchQuery {
        text: text.into(),
        limit: 10,
        chat: None,
    };
    let hits = store.search(&query).unwrap();
    hits.iter()
        .map(|hit| {
            hit.snippet
                .replace(HIGHLIGHT_START, "[")
                .replace(HIGHLIGHT_END, "]")
        })
        .collect()
}

#[test]
fn words_are_found_whatever_their_case_accent_or_script() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    for text in [
        "The night train to Zürich leaves at ten.",
        "昨日、東京大学で新しい図書館を見ました。",
        "我喜欢坐火车去北京旅行",
        "내일 서울에서 만나요",
        "ฉันชอบกินข้าวผัด",
        "日本語とEnglishの混在 text",
        "Cafe\u{301} au lait",
    ] {
        say(&mut store, id, None, Role::User, text);
    }
    let check = |text: &str, expected: &str| assert_eq!(found(&store, text), [expected], "{text}");
    check("zurich NIGHT", "The [night] train to [Zürich] leaves at ten.");
    check("leaves at te", "The night train to Zürich [leaves] [at] [ten].");
    check("\"night train\"", "The [night train] to Zürich leaves at ten.");
    check("大学", "昨日、東京[大学]で新しい図書館を見ました。");
    check("図", "昨日、東京大学で新しい[図]書館を見ました。");
    check("火车 旅", "我喜欢坐[火车]去北京[旅]行");
    check("서울", "내일 [서울]에서 만나요");
    check("ข้าว", "ฉันชอบกิน[ข้าว]ผัด");
    check("english", "日本語と[English]の混在 text");
    check("café", "[Café] au lait");
    for nothing in ["大東", "rain", "\"train night\"", "車站", "", "***", "\"\"", "()"] {
        assert_eq!(found(&store, nothing), Vec::<String>::new(), "{nothing}");
    }
}

#[test]
fn a_hit_lands_on_its_message_and_the_best_comes_first() {
    let profile = Profile::new();
    let mut store = profile.create();
    let one = chat(&mut store, "one").id;
    let two = chat(&mut store, "two").id;
    say(
        &mut store,
        one,
        None,
        Role::User,
        &format!("rye {}", "and other flour ".repeat(40)),
    );
    let best = say(&mut store, two, None, Role::Assistant, "rye bread of rye");
    let query = SearchQuery {
        text: "rye".into(),
        limit: 10,
        chat: None,
    };
    let hits = store.search(&query).unwrap();
    assert_eq!(
        (hits[0].chat, hits[0].message, hits[0].title.as_str()),
        (two, best.id, "two")
    );
    assert!(hits[0].score > hits[1].score);
    assert!(hits[1].snippet.ends_with('…'));
    let only = SearchQuery {
        chat: Some(one),
        ..query.clone()
    };
    assert_eq!(store.search(&only).unwrap().len(), 1);
    let few = SearchQuery {
        limit: 1,
        ..query.clone()
    };
    assert_eq!(store.search(&few).unwrap().len(), 1);
    store.delete_chat(two).unwrap();
    assert_eq!(store.search(&query).unwrap().len(), 1);
}

#[test]
fn an_answer_is_found_once_it_has_ended() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let mut new = new_message(id, None, Role::Assistant, "");
    new.status = MessageStatus::Streaming;
    let reply = store.append_message(new).unwrap();
    store.update_streaming(reply.id, "halfway there", "", 1).unwrap();
    assert!(found(&store, "halfway").is_empty());
    drop(store);
    let store = profile.open();
    assert_eq!(
        store.message(reply.id).unwrap().status,
        MessageStatus::Interrupted
    );
    assert_eq!(found(&store, "halfway"), ["[halfway] there"]);
}

#[test]
fn no_query_is_a_syntax_error() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    say(&mut store, id, None, Role::User, "NEAR and far OR not");
    for text in [
        "NEAR(",
        "a OR",
        "\"",
        "text:x",
        "^a",
        "{a b}",
        "a NOT",
        "-x",
        "a*b*",
        "\u{0}",
        "ก็",
        "ü\u{308}",
        "𝕏",
    ] {
        found(&store, text);
    }
    found(&store, &"many words ".repeat(5000));
    found(&store, &"東".repeat(50_000));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    };
    proptest!(config, |(text in "\\PC{0,40}|[ \"*^:(){}+a-cNEAROT-]{0,30}")| {
        found(&store, &text);
    });
}
