use super::*;
use hearth_store::{
    ChatId, EmbeddedText, MemoryKind, MemoryOrigin, MessageStatus, NewChat, NewMemory, NewMessage,
    Protection, TextToEmbed,
};
use serde_json::{Value, json};

const NOW_MS: i64 = 1_684_411_200_000;
const DAY: i64 = 86_400_000;

struct Home {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let protection = Protection::Passphrase(zeroize::Zeroizing::new("words".into()));
        Home {
            store: Store::create(folder.path(), &protection).unwrap(),
            _folder: folder,
        }
    }

    fn remember(&mut self, kind: MemoryKind, text: &str, age_days: i64) {
        let vector = vector(text);
        self.store
            .add_memory(
                &NewMemory {
                    text: text.into(),
                    kind,
                    confidence: 1.0,
                    sensitive: false,
                    valid_from_ms: None,
                    valid_to_ms: None,
                    created_at_ms: NOW_MS - age_days * DAY,
                    sources: Vec::new(),
                    status: hearth_store::MemoryStatus::Active,
                    origin: MemoryOrigin::Stated,
                    pinned: false,
                },
                Some(EmbeddedText {
                    model_id: "test",
                    vector: &vector,
                }),
            )
            .unwrap();
    }

    /// A chat of turns a minute apart, the first said so many days ago; "you" says every second one.
    fn chat(&mut self, age_days: i64, said: &[&str]) -> ChatId {
        let chat = NewChat {
            title: String::new(),
            created_at_ms: 0,
            metadata: Value::Null,
        };
        let chat = self.store.create_chat(chat).unwrap().id;
        let mut parent = None;
        for (at, text) in said.iter().enumerate() {
            let message = self
                .store
                .append_message(NewMessage {
                    chat,
                    parent,
                    role: if at % 2 == 0 { Role::User } else { Role::Assistant },
                    text: (*text).into(),
                    reasoning: String::new(),
                    status: MessageStatus::Complete,
                    created_at_ms: NOW_MS - age_days * DAY + at as i64 * 60_000,
                    model: None,
                    metadata: json!({}),
                })
                .unwrap();
            let key = self.store.turn_key(message.id).unwrap().unwrap();
            let text = TextToEmbed {
                key,
                text: (*text).into(),
            };
            let vector = vector(&text.text);
            self.store
                .set_vectors(Index::Turns, "test", &[(text, vector)])
                .unwrap();
            parent = Some(message.id);
        }
        chat
    }

    fn recall(&self, text: &str, over: Over, with_vector: bool) -> Vec<RecallHit> {
        let vector = vector(text);
        let query = RecallQuery {
            text: text.into(),
            previous: Vec::new(),
            over,
            limit: 10,
            now_ms: NOW_MS,
            filter: Filter::default(),
        };
        let vector = with_vector.then_some(("test", vector.as_slice()));
        recall(&self.store, vector, &query, &RecallWeights::default()).unwrap()
    }

    fn first(&self, text: &str, over: Over) -> String {
        self.recall(text, over, true)[0].row.text.clone()
    }
}

/// A bag of letters: texts with the same words are near.
fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.01; 64];
    for word in stems(text) {
        let place = word.bytes().fold(7usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(byte))
        }) % 64;
        vector[place] += 1.0;
    }
    vector
}

#[test]
fn memories_are_found_by_words_and_by_vectors() {
    let mut home = Home::new();
    home.remember(MemoryKind::Biography, "Lives in Lyon with two cats", 10);
    home.remember(MemoryKind::Preference, "Prefers trains to planes", 10);
    for with_vector in [true, false] {
        let hits = home.recall("Which cats does she have?", Over::Facts, with_vector);
        assert_eq!(hits[0].row.text, "Lives in Lyon with two cats");
        let Parts::Fact(parts) = hits[0].parts else {
            panic!("a memory has parts of a memory");
        };
        assert!(parts.similarity > 0.2 && parts.confidence > 0.99, "{parts:?}");
        assert!((0.0..=1.0).contains(&hits[0].score));
    }
}

#[test]
fn superseded_memories_answer_questions_about_the_past() {
    let mut home = Home::new();
    home.remember(MemoryKind::Biography, "Lives in Paris", 900);
    home.remember(MemoryKind::Biography, "Lives in Lyon", 10);
    let old = home.recall("Lives in Paris", Over::Facts, true)[0].row.clone();
    let new = home.recall("Lives in Lyon", Over::Facts, true)[0].row.clone();
    let (RowSource::Memory(old), RowSource::Memory(new)) = (old.source, new.source) else {
        panic!("memories were asked for");
    };
    home.store
        .supersede_memory(old, new, Some(NOW_MS - 10 * DAY), NOW_MS)
        .unwrap();
    let texts = |question: &str| -> Vec<String> {
        home.recall(question, Over::Facts, true)
            .into_iter()
            .map(|hit| hit.row.text)
            .collect()
    };
    assert_eq!(texts("Where does she live?"), ["Lives in Lyon"]);
    assert!(texts("Where did she live before?").contains(&"Lives in Paris".to_owned()));
}

#[test]
fn a_turn_is_found_by_what_stands_beside_it() {
    let mut home = Home::new();
    home.chat(
        40,
        &[
            "Which instrument should I learn?",
            "The cello suits you, take the small one.",
        ],
    );
    home.chat(20, &["The bread burned again.", "Lower the heat and cover it."]);
    assert_eq!(
        home.first("What did you recommend as my instrument?", Over::Turns),
        "The cello suits you, take the small one."
    );
    assert_eq!(
        home.first("What happened to my bread?", Over::Turns),
        "The bread burned again."
    );
}

#[test]
fn the_time_in_a_question_decides_between_equals() {
    let mut home = Home::new();
    home.chat(400, &["I ran ten kilometres today.", "Well done!"]);
    home.chat(40, &["I ran ten kilometres today.", "Very well done!"]);
    let hits = home.recall("How far did I run in April 2023?", Over::Turns, true);
    assert_eq!(hits[0].row.at_ms, NOW_MS - 40 * DAY);
    let hits = home.recall("How far did I run in April 2022?", Over::Turns, true);
    assert_eq!(hits[0].row.at_ms, NOW_MS - 400 * DAY);
}

#[test]
fn sittings_end_with_silence_and_with_the_chat() {
    let mut home = Home::new();
    home.chat(40, &["a bike", "a bike"]);
    home.chat(10, &["a bike"]);
    let hits = home.recall("bike", Over::Turns, false);
    let mut rows: Vec<RecallRow> = hits.into_iter().map(|hit| hit.row).collect();
    rows.sort_by_key(|row| row.at_ms);
    let numbers = sittings(&rows);
    assert!(
        numbers[0] == numbers[1] && numbers[1] != numbers[2],
        "{numbers:?}"
    );
    rows[1].at_ms += 2 * SITTING_GAP_MS;
    let numbers = sittings(&rows);
    assert!(numbers[0] != numbers[1], "{numbers:?}");
}

#[test]
fn both_lists_come_as_one() {
    let mut home = Home::new();
    home.remember(MemoryKind::Event, "Bought a red bike", 3);
    home.chat(3, &["I bought a red bike", "Congratulations!"]);
    let hits = home.recall("What colour has the bike?", Over::All, true);
    assert!(hits.iter().any(|hit| matches!(hit.parts, Parts::Fact(_))));
    assert!(hits.iter().any(|hit| matches!(hit.parts, Parts::Turn(_))));
    assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
}

#[test]
fn odd_questions_are_no_reason_to_fail() {
    let mut home = Home::new();
    home.chat(3, &["I bought a red bike", "🦀🦀", "مرحبا بالعالم", "我喜欢火车"]);
    home.remember(MemoryKind::Event, "我喜欢火车", 3);
    let long = "bike ".repeat(20_000);
    for question in [
        "",
        " ",
        "the of and",
        "🦀",
        "\"' OR NEAR(",
        "我喜欢火车吗",
        "مرحبا",
        "last week",
        &long,
        "\0",
    ] {
        for over in [Over::Facts, Over::Turns, Over::All] {
            for with_vector in [true, false] {
                let hits = home.recall(question, over, with_vector);
                assert!(hits.iter().all(|hit| hit.score.is_finite()), "{question:?}");
            }
        }
    }
    assert_eq!(home.first("火车", Over::Turns), "我喜欢火车");
}
