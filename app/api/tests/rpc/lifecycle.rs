use std::sync::Arc;
use std::time::Duration;

use hearth_api::methods::{Empty, engine::GetStatus, models, settings};
use hearth_api::types::SettingsChange;
use hearth_api::{Client, ErrorCode, ServeOptions};
use hearth_core::{Engine, Unlock};

use crate::fake::FakeLoader;
use crate::kit::{Bench, CHAT_MODEL, Via, both, code, home_of, options, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_engine_is_told_who_has_the_profile() {
    let bench = Bench::new(Via::InProcess).await;
    let error = Engine::open(options(bench.dir.path(), Arc::new(FakeLoader::new(100))))
        .await
        .unwrap_err();
    let error = hearth_api::ApiError::from(error);
    assert_eq!(error.code, ErrorCode::ProfileInUse);
    assert_eq!(error.details.unwrap()["pid"], std::process::id());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_start_at_once_one_wins_and_the_others_attach() {
    let dir = tempfile::tempdir().unwrap();
    let starts = (0..4).map(|_| {
        let dir = dir.path().to_owned();
        tokio::spawn(async move {
            let open = || async {
                let engine = Engine::open(options(&dir, Arc::new(FakeLoader::new(100)))).await?;
                // The winner keeps serving until it is told to stop.
                serve(&engine, ServeOptions::default()).await;
                Ok(Client::in_process(engine))
            };
            Client::attach_or(&home_of(&dir), open).await
        })
    });
    for start in starts.collect::<Vec<_>>() {
        let client = start.await.unwrap().unwrap();
        assert_eq!(
            client.call::<GetStatus>(Empty {}).await.unwrap().pid,
            std::process::id()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_engine_ends_by_itself_and_its_profile_opens_again() {
    let bench = Bench::new(Via::InProcess).await;
    let idle = ServeOptions {
        idle_exit: Some(Duration::from_secs(1)),
        ..ServeOptions::default()
    };
    let served = serve(&bench.engine, idle).await;
    let client = Client::attach(bench.engine.home()).await.unwrap();
    tokio::time::timeout(Duration::from_millis(1500), bench.engine.stopping())
        .await
        .unwrap_err();
    client.call::<GetStatus>(Empty {}).await.unwrap();
    drop(client);
    served.await.unwrap().unwrap();
    Engine::open(options(bench.dir.path(), Arc::new(FakeLoader::new(100))))
        .await
        .unwrap()
        .stop()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_opens_with_its_passphrase_only() {
    let dir = tempfile::tempdir().unwrap();
    let with = |unlock: Unlock| {
        let mut options = options(dir.path(), Arc::new(FakeLoader::new(100)));
        options.unlock = unlock;
        Engine::open(options)
    };
    let engine = with(Unlock::with_passphrase("open sesame")).await.unwrap();
    engine.stop().await;
    let error =
        |result: Result<Engine, hearth_core::EngineError>| hearth_api::ApiError::from(result.unwrap_err());
    let missing = error(with(Unlock::with_key_file(dir.path().join("key"))).await);
    assert_eq!(
        (missing.code, missing.details.unwrap()),
        (ErrorCode::Locked, serde_json::json!({"needs": "a passphrase"}))
    );
    assert_eq!(
        error(with(Unlock::with_passphrase("open barley")).await).code,
        ErrorCode::WrongKey
    );
    with(Unlock::with_passphrase("open sesame"))
        .await
        .unwrap()
        .stop()
        .await;
}

both! {
    async fn a_model_that_broke_is_loaded_again(via: Via) {
        let bench = Bench::new(via).await;
        bench.say(None, "hello").await.unwrap();
        bench.fake.down.store(true, std::sync::atomic::Ordering::Relaxed);
        bench.say(None, "hello again").await.unwrap();
        assert_eq!(*bench.fake.loads.lock().unwrap(), 2);
        bench.stop().await;
    }

    async fn a_model_that_fails_to_load_leaves_the_old_one(via: Via) {
        let bench = Bench::new(via).await;
        bench.say(None, "hello").await.unwrap();
        let window = Some(crate::fake::UNLOADABLE_WINDOW);
        let change = SettingsChange { context_length: window, ..SettingsChange::default() };
        bench.call::<settings::Set>(change).await.unwrap();
        assert_eq!(code(bench.say(None, "hello").await), ErrorCode::ModelInvalid);
        let status = bench.call::<GetStatus>(Empty {}).await.unwrap();
        let loaded: Vec<_> = status.loaded_models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(loaded, [CHAT_MODEL]);
        bench.stop().await;
    }

    async fn models_are_listed_chosen_and_freed(via: Via) {
        let bench = Bench::new(via).await;
        bench.say(None, "hello").await.unwrap();
        let models = bench.call::<models::List>(Empty {}).await.unwrap().models;
        let chat = models.iter().find(|model| model.id == CHAT_MODEL).unwrap();
        assert!(chat.loaded && chat.default && chat.fits, "{chat:?}");
        assert!(models.iter().any(|model| !model.loaded && !model.default));
        let params = models::ModelParams { model: CHAT_MODEL.into() };
        bench.call::<models::Unload>(params.clone()).await.unwrap();
        let status = bench.call::<GetStatus>(Empty {}).await.unwrap();
        assert!(status.loaded_models.is_empty());
        assert_eq!((status.chat_model.as_deref(), status.latency.replies), (Some(CHAT_MODEL), 1));
        bench.call::<models::Use>(params).await.unwrap();
        let missing = models::ModelParams { model: "qwen3-4b-q4_k_m".into() };
        assert_eq!(code(bench.call::<models::Use>(missing).await), ErrorCode::ModelMissing);
        let unknown = models::ModelParams { model: "nonsense".into() };
        assert_eq!(code(bench.call::<models::Unload>(unknown).await), ErrorCode::ModelMissing);
        bench.stop().await;
    }
}

#[test]
fn error_codes_of_engine_and_api_are_the_same() {
    use hearth_core::EngineError as E;
    let errors = [
        E::InvalidRequest(String::new()),
        E::NotFound { what: "chat" },
        E::Locked {
            needs: "a passphrase",
        },
        E::KeyUnavailable(String::new()),
        E::WrongKey,
        E::ProfileInUse { pid: None },
        E::NewerSchema {
            found: 2,
            supported: 1,
        },
        E::Corrupt(String::new()),
        E::ModelMissing {
            model: String::new(),
            known: true,
        },
        E::ModelDoesNotFit {
            model: String::new(),
            needed_bytes: 2,
            limit_bytes: 1,
        },
        E::ModelInvalid {
            model: String::new(),
            reason: String::new(),
        },
        E::ContextTooLarge {
            what: "it",
            needed_tokens: 2,
            window_tokens: 1,
        },
        E::Busy,
        E::ModelBusy(String::new()),
        E::NoSpace,
        E::Network(String::new()),
        E::HashMismatch(String::new()),
        E::Cancelled,
        E::Unsupported(String::new()),
        E::Io {
            path: "x".into(),
            source: std::io::ErrorKind::Other.into(),
        },
        E::Stopped,
        E::Internal(String::new()),
    ];
    for error in errors {
        let code = error.code();
        let api = hearth_api::ApiError::from(error).code;
        assert_eq!(serde_json::to_value(api).unwrap(), code);
    }
}
