//! The real models through the real store.

use std::path::PathBuf;
use std::sync::Arc;

use hearth_api::methods::chat::{Send, SendParams, TurnOptions};
use hearth_api::methods::generate::{Complete, CompleteParams, Embed, EmbedParams};
use hearth_api::types::{FinishReason, ResponseFormat, Role, Sampling, Turn};
use hearth_api::{Client, ErrorCode};
use hearth_core::Engine;
use hearth_core::host::native::NativeLoader;
use tempfile::TempDir;

use crate::kit::{CHAT_MODEL, EMBEDDING_MODEL, Via, both, client_of, code, install, options};

async fn engine() -> (TempDir, Engine) {
    let models = std::env::var_os("HEARTH_TEST_MODELS").map(PathBuf::from);
    let models = models.expect("HEARTH_TEST_MODELS says where the test models are");
    let dir = tempfile::tempdir().unwrap();
    for id in [CHAT_MODEL, EMBEDDING_MODEL] {
        install(&dir.path().join("models"), id, Some(&models));
    }
    let engine = Engine::open(options(dir.path(), Arc::new(NativeLoader)))
        .await
        .unwrap();
    (dir, engine)
}

fn greedy(max_tokens: u32) -> TurnOptions {
    let sampling = Sampling {
        temperature: Some(0.0),
        ..Sampling::default()
    };
    TurnOptions {
        sampling,
        max_tokens: Some(max_tokens),
        ..TurnOptions::default()
    }
}

async fn ask(client: &Client, params: SendParams) -> hearth_api::types::Message {
    client.call::<Send>(params).await.unwrap().message
}

both! {
    async fn a_model_answers_remembers_and_reuses_its_cache(via: Via) {
        let (_dir, engine) = engine().await;
        let (client, _served) = client_of(&engine, via).await;
        let text = "What is the capital of France?".to_owned();
        let first = ask(&client, SendParams { text, options: greedy(24), ..SendParams::default() }).await;
        assert!(first.text.contains("Paris"), "{}", first.text);
        let metadata = first.metadata.unwrap();
        assert!(metadata.timings.load_ms > 0.0 && metadata.usage.prompt_tokens > 10, "{metadata:?}");
        let text = "And which river flows through it?".to_owned();
        let second = SendParams { chat: Some(first.chat), text, options: greedy(8), ..SendParams::default() };
        let usage = ask(&client, second).await.metadata.unwrap().usage;
        assert!(usage.reused_tokens >= metadata.usage.prompt_tokens, "{usage:?} after {:?}", metadata.usage);
        engine.stop().await;
    }

    async fn completions_follow_seed_format_and_limit(via: Via) {
        let (_dir, engine) = engine().await;
        let (client, _served) = client_of(&engine, via).await;
        let messages = vec![Turn { role: Role::User, content: "Tell me about the sea.".into() }];
        let sampling = Sampling { temperature: Some(1.0), seed: Some(7), ..Sampling::default() };
        let params = CompleteParams { messages, sampling, max_tokens: Some(12), ..CompleteParams::default() };
        let one = client.call::<Complete>(params.clone()).await.unwrap();
        let two = client.call::<Complete>(params.clone()).await.unwrap();
        assert_eq!(one.text, two.text);
        assert_eq!((one.finish_reason, one.usage.completion_tokens), (FinishReason::Length, 12));
        let schema = serde_json::json!({"type": "object", "properties": {"blue": {"type": "boolean"}}, "required": ["blue"], "additionalProperties": false});
        let json = CompleteParams { format: ResponseFormat::JsonSchema { schema }, max_tokens: Some(40), ..params };
        let json = client.call::<Complete>(json).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&json.text).unwrap();
        assert!(value["blue"].is_boolean(), "{value}");
        engine.stop().await;
    }

    async fn texts_become_vectors(via: Via) {
        let (_dir, engine) = engine().await;
        let (client, _served) = client_of(&engine, via).await;
        let input = vec!["a cat on a mat".into(), "a kitten on a rug".into(), "quarterly tax report".into()];
        let made = client.call::<Embed>(EmbedParams { input, model: None }).await.unwrap();
        let dot = |a: usize, b: usize| made.vectors[a].iter().zip(&made.vectors[b]).map(|(a, b)| a * b).sum::<f32>();
        assert_eq!((made.vectors.len(), made.dimensions), (3, 384));
        assert!((dot(0, 0) - 1.0).abs() < 1e-4);
        assert!(dot(0, 1) > dot(0, 2) + 0.2);
        // "a cat on a mat" has five words, and a token at each end.
        assert!(made.tokens > 3 * 5, "{}", made.tokens);
        assert_eq!(code(client.call::<Embed>(EmbedParams::default()).await), ErrorCode::InvalidRequest);
        let long = EmbedParams { input: vec!["word ".repeat(1000)], model: None };
        let error = client.call::<Embed>(long).await.unwrap_err();
        assert_eq!((error.code, &error.details.unwrap()["needed_tokens"]), (ErrorCode::ContextTooLarge, &1002.into()));
        engine.stop().await;
    }
}
