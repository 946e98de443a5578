//! An engine process that is killed while it answers.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_api::methods::chat::{ChatEvent, Send, SendParams};
use hearth_api::types::MessageStatus;
use hearth_api::{Client, ServeOptions, Update};
use hearth_core::Engine;

use crate::fake::FakeLoader;
use crate::kit::{CHAT_MODEL, home_of, install, options, serve};

const DIR: &str = "HEARTH_TEST_ENGINE_DIR";

/// Not a test: the process that `a_kill_loses_at_most_the_last_second` starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other process of a test"]
async fn engine_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let engine = Engine::open(options(dir.as_ref(), Arc::new(FakeLoader::new(100_000))))
        .await
        .unwrap();
    serve(&engine, ServeOptions::default())
        .await
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_at_most_the_last_second() {
    let dir = tempfile::tempdir().unwrap();
    install(&dir.path().join("models"), CHAT_MODEL, None);
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["crash::engine_process", "--exact", "--ignored"])
        .env(DIR, dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let home = home_of(dir.path());
    let client = Client::attach_within(&home, Duration::from_secs(30))
        .await
        .unwrap();
    let mut counting = client.stream::<Send>(SendParams {
        text: "count".into(),
        ..SendParams::default()
    });
    let (mut chat, mut arrived, started) = (None, Vec::new(), Instant::now());
    while started.elapsed() < Duration::from_millis(2500) {
        match counting.next().await {
            Some(Update::Event(ChatEvent::Started { chat: begun, .. })) => chat = Some(begun),
            Some(Update::Event(ChatEvent::Token { text })) => arrived.push((started.elapsed(), text)),
            Some(Update::Event(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    process.kill().unwrap();
    let killed = started.elapsed();
    process.wait().unwrap();
    drop((counting, client));

    let engine = Engine::open(options(dir.path(), Arc::new(FakeLoader::new(100))))
        .await
        .unwrap();
    let shown = engine.show_chat(chat.unwrap(), None).await.unwrap();
    assert_eq!(shown.messages[0].text, "count");
    let reply = &shown.messages[1];
    assert_eq!(reply.status, MessageStatus::Interrupted);
    let before_last_second: String = arrived
        .iter()
        .filter(|(at, _)| *at + Duration::from_secs(1) < killed)
        .map(|(_, text)| text.as_str())
        .collect();
    assert!(
        before_last_second.len() > 50,
        "the model wrote too little to tell"
    );
    assert!(
        reply.text.starts_with(&before_last_second),
        "{} bytes kept, {} had arrived a second before",
        reply.text.len(),
        before_last_second.len()
    );
    engine.stop().await;
}
