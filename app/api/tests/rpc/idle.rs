//! Work for idle moments: what it does, that it gives way, and that it survives.

use std::sync::Arc;
use std::time::Duration;

use hearth_api::methods::chat::{Send, SendParams};
use hearth_api::methods::memory::{List, Pause, Resume, Stats, Work};
use hearth_api::methods::{Empty, chats, settings};
use hearth_api::types::{MemoryListParams, MemoryOrigin, MemoryWorked, SettingsChange};
use hearth_core::Engine;
use hearth_core::clock::ManualClock;
use tokio_util::sync::CancellationToken;

use crate::kit::{Bench, EMBEDDING_MODEL, PATIENCE, Via, client_of, install, options};

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
