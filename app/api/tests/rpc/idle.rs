//! Work for idle moments: what it does, that it gives way, and that it survives.

use std::sync::Arc;
use std::time::Duration;

use hearth_api::methods::chat::{Send, SendParams};
use hearth_api::methods::memory::{
    Add, Import, ImportFormat, ImportParams, List, Pause, Recall, Resume, Stats, Work,
};
use hearth_api::methods::profile::{Backup, BackupParams, Restore, RestoreParams};
use hearth_api::methods::{Empty, chats, settings};
use hearth_api::types::{
    ChatId, MemoryDraft, MemoryListParams, MemoryOrigin, MemoryWorked, RecallParams, SettingsChange,
};
use hearth_core::Engine;
use hearth_core::clock::ManualClock;
use tokio_util::sync::CancellationToken;

use crate::kit::{Bench, EMBEDDING_MODEL, PATIENCE, Via, client_of, install, install_copy, options};

/// A model that is trusted to judge what is worth keeping.
const LARGER_MODEL: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m";
const KEEP: &str = r#"{"kind": "biography", "private": false}"#;

/// Long enough to be worth mining.
const TOLD: &str = "I work as a lighthouse keeper on a small island.";

async fn bench() -> Bench {
    let bench = Bench::new(Via::InProcess).await;
    install(&bench.dir.path().join("models"), LARGER_MODEL, None);
    install(&bench.dir.path().join("models"), EMBEDDING_MODEL, None);
    let change = SettingsChange {
        chat_model: Some(LARGER_MODEL.into()),
        ..SettingsChange::default()
    };
    bench.call::<settings::Set>(change).await.unwrap();
    bench
}

async fn import(bench: &Bench, remember: bool) {
    let line =
        serde_json::json!({"chat": "c", "turn": "1", "speaker": "user", "text": TOLD, "time": "2026-01-10"});
    let params = chats::ImportParams {
        source: chats::ImportSource::Text {
            text: line.to_string(),
        },
        format: chats::ImportFormat::Auto,
        remember,
    };
    bench.call::<chats::Import>(params).await.unwrap();
}

async fn work(bench: &Bench) -> MemoryWorked {
    bench.call::<Work>(Empty {}).await.unwrap()
}

async fn texts(bench: &Bench) -> Vec<String> {
    let listed = bench.call::<List>(MemoryListParams::default()).await.unwrap();
    assert!(
        listed
            .memories
            .iter()
            .all(|memory| memory.origin == MemoryOrigin::Extracted && memory.confidence < 1.0)
    );
    listed.memories.into_iter().map(|memory| memory.text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_has_grown_is_mined_once() {
    let bench = bench().await;
    *bench.fake.json.lock().unwrap() = Some(KEEP.into());
    // Too little is said yet.
    let reply = bench.say(None, TOLD).await.unwrap();
    assert_eq!(bench.call::<Stats>(Empty {}).await.unwrap().jobs, 0);
    bench
        .say(Some(reply.chat), &"blah blah ".repeat(100))
        .await
        .unwrap();
    let stats = bench.call::<Stats>(Empty {}).await.unwrap();
    assert_eq!(
        (stats.jobs, stats.extraction, stats.extraction_model.as_deref()),
        (1, true, Some(LARGER_MODEL))
    );
    assert!(stats.not_embedded >= 4);
    let worked = work(&bench).await;
    assert_eq!(
        (worked.mined, worked.added, worked.failed, worked.jobs),
        (1, 1, 0, 0),
        "{worked:?}"
    );
    assert!(worked.embedded >= 4 && worked.biography, "{worked:?}");
    let texts = texts(&bench).await;
    assert!(texts.len() == 1 && texts[0].contains("lighthouse"), "{texts:?}");
    assert_eq!(
        work(&bench).await,
        MemoryWorked::default(),
        "nothing is left to do"
    );
    assert_eq!(bench.call::<Stats>(Empty {}).await.unwrap().not_embedded, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_answers_nonsense_keeps_nothing_and_loses_nothing() {
    let bench = bench().await;
    *bench.fake.json.lock().unwrap() = Some("]{ nonsense".into());
    import(&bench, true).await;
    let worked = work(&bench).await;
    assert_eq!((worked.failed, worked.jobs), (0, 0), "{worked:?}");
    bench.say(None, "still here").await.unwrap();
    // One that breaks is tried again later.
    *bench.fake.json.lock().unwrap() = Some("fail".into());
    let reply = bench
        .say(None, &format!("I have three sisters. {}", "la ".repeat(400)))
        .await
        .unwrap();
    let worked = work(&bench).await;
    assert_eq!((worked.failed, worked.jobs), (1, 1), "{worked:?}");
    assert_eq!(
        reply.text.len(),
        bench
            .call::<chats::Show>(chats::ShowParams {
                chat: reply.chat,
                leaf: None
            })
            .await
            .unwrap()
            .messages[1]
            .text
            .len()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_work_gives_way_to_a_question_and_goes_on_afterwards() {
    let bench = bench().await;
    // The model judges, and takes for ever.
    *bench.fake.json.lock().unwrap() = Some("count".into());
    import(&bench, true).await;
    let mut asked = bench.fake.asked_json.subscribe();
    let mut cancelled = bench.fake.cancelled.subscribe();
    let engine = bench.engine.clone();
    let working = tokio::spawn(async move { engine.work_on_memory(CancellationToken::default()).await });
    let wait = tokio::time::timeout(PATIENCE, asked.wait_for(|count| *count >= 1));
    wait.await.unwrap().unwrap();
    let answer = tokio::time::timeout(PATIENCE, bench.say(None, "hello there"))
        .await
        .unwrap();
    assert_eq!(answer.unwrap().text, "hello there");
    let wait = tokio::time::timeout(PATIENCE, cancelled.wait_for(|count| *count >= 1));
    wait.await.unwrap().unwrap();
    // Quiet again, it is asked again.
    let wait = tokio::time::timeout(PATIENCE, asked.wait_for(|count| *count >= 2));
    wait.await.unwrap().unwrap();
    *bench.fake.json.lock().unwrap() = Some(KEEP.into());
    bench.say(None, "hello again").await.unwrap();
    let worked = tokio::time::timeout(PATIENCE, working)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((worked.mined, worked.added, worked.jobs), (1, 1, 0), "{worked:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_the_engine_and_pause_holds_them() {
    let bench = bench().await;
    *bench.fake.json.lock().unwrap() = Some("count".into());
    import(&bench, true).await;
    let mut asked = bench.fake.asked_json.subscribe();
    let engine = bench.engine.clone();
    let working = tokio::spawn(async move { engine.work_on_memory(CancellationToken::default()).await });
    asked.wait_for(|count| *count >= 1).await.unwrap();
    // The engine ends in the middle of it.
    let fake = bench.fake.clone();
    let dir = bench.stop().await;
    assert!(working.await.unwrap().is_err());

    *fake.json.lock().unwrap() = Some(KEEP.into());
    let engine = Engine::open(options(dir.path(), Arc::new(fake.clone())))
        .await
        .unwrap();
    let (client, _) = client_of(&engine, Via::InProcess).await;
    assert_eq!(client.call::<Stats>(Empty {}).await.unwrap().jobs, 1);
    client.call::<Pause>(Empty {}).await.unwrap();
    let worked = client.call::<Work>(Empty {}).await.unwrap();
    assert_eq!(
        (worked.mined, worked.embedded, worked.jobs),
        (0, 0, 1),
        "{worked:?}"
    );
    client.call::<Resume>(Empty {}).await.unwrap();
    let worked = client.call::<Work>(Empty {}).await.unwrap();
    assert_eq!((worked.mined, worked.added, worked.jobs), (1, 1, 0), "{worked:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_works_by_itself_when_nobody_asks_for_anything() {
    let bench = bench().await;
    *bench.fake.json.lock().unwrap() = Some(KEEP.into());
    import(&bench, true).await;
    let fake = bench.fake.clone();
    let dir = bench.stop().await;
    let mut by_itself = options(dir.path(), Arc::new(fake.clone()));
    by_itself.idle_pause = Some(Duration::from_millis(20));
    let engine = Engine::open(by_itself).await.unwrap();
    let (client, _) = client_of(&engine, Via::InProcess).await;
    let worked = async {
        loop {
            let stats = client.call::<Stats>(Empty {}).await.unwrap();
            if stats.jobs == 0
                && stats.not_embedded == 0
                && stats.memories == 1
                && stats.biography_sentences == 1
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, worked).await.unwrap();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ten_years_puts_nothing_off() {
    const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3600 * 1000;
    let bench = bench().await;
    let fake = bench.fake.clone();
    let dir = bench.stop().await;
    let clock = ManualClock::at(1_800_000_000_000);
    let mut with_clock = options(dir.path(), Arc::new(fake.clone()));
    with_clock.clock = Arc::new(clock.clone());
    let engine = Engine::open(with_clock).await.unwrap();
    let (client, _) = client_of(&engine, Via::InProcess).await;
    let say = async |text: String| {
        let params = SendParams {
            text,
            ..SendParams::default()
        };
        client.call::<Send>(params).await.unwrap().message
    };
    // Everything is said and put off in a wrong future, then the clock is right again.
    clock.advance_ms(TEN_YEARS_MS);
    *fake.json.lock().unwrap() = Some("fail".into());
    say(format!("{TOLD} {}", "la ".repeat(400))).await;
    say("Remember that my dog is called Rex".into()).await;
    assert_eq!(client.call::<Work>(Empty {}).await.unwrap().failed, 1);
    clock.advance_ms(-TEN_YEARS_MS);
    *fake.json.lock().unwrap() = Some(KEEP.into());
    let worked = client.call::<Work>(Empty {}).await.unwrap();
    assert_eq!((worked.mined, worked.added, worked.jobs), (1, 1, 0), "{worked:?}");
    assert!(worked.biography, "{worked:?}");
    let answer = say("What is my dog called?".into()).await;
    assert!(!answer.metadata.unwrap().memory.recalled.is_empty());
    clock.advance_ms(2 * TEN_YEARS_MS);
    say("What is my dog called?".into()).await;
    client.call::<Work>(Empty {}).await.unwrap();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_models_are_not_asked_and_rules_decide() {
    let bench = Bench::new(Via::InProcess).await;
    let told = format!("{TOLD} {}", "la ".repeat(400));
    bench.say(None, &told).await.unwrap();
    let stats = bench.call::<Stats>(Empty {}).await.unwrap();
    assert_eq!(
        (stats.jobs, stats.extraction, stats.extraction_model),
        (1, true, None)
    );
    let worked = work(&bench).await;
    assert_eq!((worked.mined, worked.added), (1, 1), "{worked:?}");
    assert_eq!(*bench.fake.asked_json.borrow(), 0, "the model was not asked");
    // Chats that are not remembered are not mined, however they grow; nor is any when the person wants none to be.
    let off = SendParams {
        text: told.clone(),
        memory: Some(false),
        ..SendParams::default()
    };
    bench.call::<Send>(off).await.unwrap();
    let change = SettingsChange {
        memory_extraction: Some(false),
        ..SettingsChange::default()
    };
    bench.call::<settings::Set>(change).await.unwrap();
    bench.say(None, &told).await.unwrap();
    assert_eq!(work(&bench).await.mined, 0);
    bench.stop().await;
}

/// What is said, with enough behind it to be worth mining.
fn at_length(said: &str) -> String {
    format!("{said} {}", "la ".repeat(400))
}

async fn all_texts(bench: &Bench) -> Vec<String> {
    let listed = bench.call::<List>(MemoryListParams::default()).await.unwrap();
    listed.memories.into_iter().map(|memory| memory.text).collect()
}

async fn remember_chat(bench: &Bench, chat: ChatId, on: bool) {
    let params = chats::ConfigureParams {
        chat,
        system: None,
        model: None,
        memory: Some(on),
    };
    bench.call::<chats::Configure>(params).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_while_nothing_is_remembered_is_never_drawn_from() {
    let bench = Bench::new(Via::InProcess).await;
    let off = SendParams {
        text: at_length("I live in Lyon."),
        memory: Some(false),
        ..SendParams::default()
    };
    let chat = bench.call::<Send>(off).await.unwrap().message.chat;
    remember_chat(&bench, chat, true).await;
    bench.say(Some(chat), &at_length("Well then.")).await.unwrap();
    assert_eq!(work(&bench).await.added, 0);
    assert_eq!(all_texts(&bench).await, Vec::<String>::new());

    // What was said before a pause waits, what is said after it counts.
    let chat = bench
        .say(None, &at_length("I work as a nurse."))
        .await
        .unwrap()
        .chat;
    bench.call::<Pause>(Empty {}).await.unwrap();
    for said in ["I live in Rome.", "I have three sisters."] {
        bench.say(Some(chat), &at_length(said)).await.unwrap();
    }
    bench.call::<Resume>(Empty {}).await.unwrap();
    assert_eq!(work(&bench).await.added, 1);
    bench
        .say(Some(chat), &at_length("I'm allergic to nuts."))
        .await
        .unwrap();
    assert_eq!(work(&bench).await.added, 1);
    let mut texts = all_texts(&bench).await;
    texts.sort();
    assert_eq!(texts, ["Is allergic to nuts", "Works as a nurse"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_chats_are_drawn_from_only_when_that_is_asked_for() {
    let bench = Bench::new(Via::InProcess).await;
    bench.say(None, TOLD).await.unwrap();
    import(&bench, false).await;
    let all = bench
        .call::<chats::List>(chats::ListParams::default())
        .await
        .unwrap()
        .chats;
    let imported = all.iter().find(|chat| chat.title == "c").unwrap().id;
    bench
        .say(Some(imported), &at_length("Where was I?"))
        .await
        .unwrap();
    assert_eq!(work(&bench).await.added, 0);
    let other = serde_json::json!({"chat": "d", "turn": "1", "speaker": "user", "text": "I live in Lyon."});
    let params = chats::ImportParams {
        source: chats::ImportSource::Text {
            text: other.to_string(),
        },
        format: chats::ImportFormat::Auto,
        remember: true,
    };
    bench.call::<chats::Import>(params).await.unwrap();
    assert_eq!(
        work(&bench).await.added,
        1,
        "the other chats are not drawn from by that"
    );
    assert_eq!(all_texts(&bench).await, ["Lives in Lyon"]);
    bench.stop().await;

    // What was imported without it may be asked for later.
    let bench = Bench::new(Via::InProcess).await;
    import(&bench, false).await;
    assert_eq!(work(&bench).await.added, 0);
    import(&bench, true).await;
    assert_eq!(work(&bench).await.added, 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_at_once_is_not_doubled_when_its_chat_is_mined() {
    let bench = Bench::new(Via::InProcess).await;
    let said = "Remember that my dog is called Rex. And what should I cook tonight?";
    let first = bench.say(None, said).await.unwrap();
    // Said again meanwhile, so that what is mined was said before it.
    bench
        .say(None, "Remember that my dog is called Rex")
        .await
        .unwrap();
    bench.say(Some(first.chat), &at_length("Thanks.")).await.unwrap();
    let worked = work(&bench).await;
    assert_eq!(
        (worked.mined, worked.added, worked.reinforced),
        (1, 0, 1),
        "{worked:?}"
    );
    assert_eq!(all_texts(&bench).await, ["my dog is called Rex"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_that_break_extraction_are_passed_over() {
    let bench = bench().await;
    *bench.fake.json.lock().unwrap() = Some("panic".into());
    let chat = bench.say(None, &at_length(TOLD)).await.unwrap().chat;
    let worked = work(&bench).await;
    assert_eq!(
        (worked.mined, worked.added, worked.failed, worked.jobs),
        (1, 0, 0, 0),
        "{worked:?}"
    );
    *bench.fake.json.lock().unwrap() = Some(KEEP.into());
    bench
        .say(Some(chat), &at_length("I have three sisters."))
        .await
        .unwrap();
    let worked = work(&bench).await;
    assert_eq!((worked.mined, worked.added), (1, 1), "{worked:?}");
    let texts = texts(&bench).await;
    assert!(texts.len() == 1 && texts[0].contains("sisters"), "{texts:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_way_is_no_failure() {
    let bench = bench().await;
    *bench.fake.json.lock().unwrap() = Some("count".into());
    import(&bench, true).await;
    let mut asked = bench.fake.asked_json.subscribe();
    let engine = bench.engine.clone();
    let working = tokio::spawn(async move { engine.work_on_memory(CancellationToken::default()).await });
    // As often as a job may fail.
    for times in 1..=5 {
        let wait = tokio::time::timeout(PATIENCE, asked.wait_for(|count| *count >= times));
        wait.await.unwrap().unwrap();
        if times == 5 {
            *bench.fake.json.lock().unwrap() = Some("fail".into());
        }
        bench.say(None, "hello there").await.unwrap();
    }
    let worked = tokio::time::timeout(PATIENCE, working)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        (worked.failed, worked.jobs),
        (1, 1),
        "it is tried again: {worked:?}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedding_model_that_fails_leaves_words_to_compare() {
    let bench = Bench::new(Via::InProcess).await;
    install(&bench.dir.path().join("models"), EMBEDDING_MODEL, None);
    bench.say(None, "Remember that I live in Lyon").await.unwrap();
    work(&bench).await;
    *bench.fake.embeddings_left.lock().unwrap() = Some(0);
    let told = bench
        .say(None, "Remember that my dog is called Rex")
        .await
        .unwrap();
    assert!(told.text.contains("I'll remember"), "{}", told.text);
    let answer = bench.say(None, "What is my dog called?").await.unwrap();
    assert_eq!(answer.metadata.unwrap().memory.recalled.len(), 1);
    let list = ImportParams {
        source: chats::ImportSource::Text {
            text: "- Likes trains".into(),
        },
        format: ImportFormat::Facts,
    };
    assert_eq!(bench.call::<Import>(list).await.unwrap().added, 1);
    bench
        .say(None, &at_length("I have three sisters."))
        .await
        .unwrap();
    let worked = work(&bench).await;
    assert_eq!(
        (worked.failed, worked.embedded, worked.mined, worked.added),
        (1, 0, 1, 1),
        "{worked:?}"
    );
    *bench.fake.embeddings_left.lock().unwrap() = None;
    let worked = work(&bench).await;
    assert!(worked.failed == 0 && worked.embedded > 3, "{worked:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_embedding_model_embeds_everything_anew_while_search_goes_on() {
    const OTHER: &str = "another-model-that-embeds";
    // Each has a place of its own in the vectors of the fake.
    const ANIMALS: [&str; 20] = [
        "badger", "camel", "eagle", "falcon", "giraffe", "hedgehog", "iguana", "jackal", "koala", "lizard",
        "meerkat", "newt", "otter", "salmon", "tiger", "zebra", "stork", "robin", "puma", "ostrich",
    ];
    let bench = Bench::new(Via::InProcess).await;
    let models = bench.dir.path().join("models");
    install(&models, EMBEDDING_MODEL, None);
    install_copy(&models, EMBEDDING_MODEL, OTHER);
    let change = |model: &str| SettingsChange {
        embedding_model: Some(model.into()),
        ..SettingsChange::default()
    };
    bench
        .call::<settings::Set>(change(EMBEDDING_MODEL))
        .await
        .unwrap();
    for animal in ANIMALS {
        let draft = MemoryDraft {
            text: format!("My painting of the {animal} hangs upstairs"),
            ..MemoryDraft::default()
        };
        bench.call::<Add>(draft).await.unwrap();
    }
    work(&bench).await;
    let found = async |animal: &str| {
        let params = RecallParams {
            query: format!("Where is my painting of the {animal}?"),
            limit: Some(3),
            ..RecallParams::default()
        };
        let recalled = bench.call::<Recall>(params).await.unwrap();
        let hit = format!("{:?}", recalled.hits);
        assert!(hit.contains(animal), "{animal}: {hit}");
        recalled.embedding_model
    };
    assert_eq!(found("badger").await.as_deref(), Some(EMBEDDING_MODEL));
    bench.call::<settings::Set>(change(OTHER)).await.unwrap();
    assert_eq!(
        found("badger").await.as_deref(),
        Some(EMBEDDING_MODEL),
        "nothing is embedded anew yet"
    );
    // Cut short after the first batch: some have vectors of both models, some of the old one.
    *bench.fake.embeddings_left.lock().unwrap() = Some(1);
    let worked = work(&bench).await;
    assert!(
        worked.embedded > 0 && worked.embedded < ANIMALS.len() as u64 && worked.failed == 1,
        "{worked:?}"
    );
    *bench.fake.embeddings_left.lock().unwrap() = None;
    for animal in ["badger", "ostrich"] {
        assert_eq!(found(animal).await.as_deref(), Some(EMBEDDING_MODEL));
    }
    let rest = ANIMALS.len() as u64 - worked.embedded;
    let worked = work(&bench).await;
    assert_eq!((worked.embedded, worked.failed), (rest, 0), "{worked:?}");
    for animal in ["badger", "ostrich"] {
        assert_eq!(found(animal).await.as_deref(), Some(OTHER));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_biography_takes_in_what_was_said_long_ago() {
    let bench = Bench::new(Via::InProcess).await;
    bench.say(None, "Remember that I live in Lyon").await.unwrap();
    assert!(work(&bench).await.biography);
    let list = [
        "Likes trains",
        "Plays the cello",
        "Has a cat",
        "Speaks Basque",
        "Works as a nurse",
    ];
    let dated: Vec<String> = list.iter().map(|fact| format!("[2020-04-01] - {fact}")).collect();
    let params = ImportParams {
        source: chats::ImportSource::Text {
            text: dated.join("\n"),
        },
        format: ImportFormat::Facts,
    };
    assert_eq!(bench.call::<Import>(params).await.unwrap().added, 5);
    assert!(work(&bench).await.biography);
    let stats = bench.call::<Stats>(Empty {}).await.unwrap();
    assert_eq!(stats.biography_sentences, 6);
    assert!(!work(&bench).await.biography);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_worked_on_while_a_backup_takes_the_place_of_the_database() {
    let bench = bench().await;
    import(&bench, true).await;
    let path = bench.dir.path().join("backup");
    let backup = BackupParams {
        path: path.clone(),
        passphrase: "pass".to_owned().into(),
    };
    bench.call::<Backup>(backup).await.unwrap();
    // The model judges, and takes for ever.
    *bench.fake.json.lock().unwrap() = Some("count".into());
    let mut asked = bench.fake.asked_json.subscribe();
    let engine = bench.engine.clone();
    let working = tokio::spawn(async move { engine.work_on_memory(CancellationToken::default()).await });
    let wait = tokio::time::timeout(PATIENCE, asked.wait_for(|count| *count >= 1));
    wait.await.unwrap().unwrap();
    *bench.fake.json.lock().unwrap() = Some(KEEP.into());
    let restore = RestoreParams {
        path,
        passphrase: "pass".to_owned().into(),
        replace: true,
    };
    bench.call::<Restore>(restore).await.unwrap();
    // What was begun has ended, and goes on with what was restored.
    let worked = tokio::time::timeout(PATIENCE, working)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((worked.mined, worked.added, worked.jobs), (1, 1, 0), "{worked:?}");
    assert_eq!(texts(&bench).await.len(), 1);
    bench.stop().await;
}
