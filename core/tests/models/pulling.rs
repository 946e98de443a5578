//! Pulls as a whole: order of sources, two at once, cancelling, room on the disk, plans.

use crate::kit::{FILE, Home, ID, Reply, Server, content, hub_source, manifest, options};
use hearth_core::models::{
    Catalogue, FailureKind, LockWait, Machine, ModelError, ModelStore, Profile, PullError, PullEvent,
    PullOptions, PullPhase, Source, StoreOptions, Task,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test]
async fn a_pull_tells_its_progress_and_a_second_one_needs_no_network() {
    let bytes = content(10, 2_000_000);
    let body = bytes.clone();
    let server = Server::start(move |request| Reply::honest(request, &body)).await;
    let home = Home::new(manifest(&bytes), options(&server.url));
    assert_eq!(home.state(), "absent");
    assert!(matches!(home.store.path_of(ID), Err(ModelError::NotReady { .. })));
    let (result, events) = home.pull().await;
    let installed = result.unwrap();
    home.assert_ready(&bytes);
    assert_eq!(installed.source, format!("{}/owner/model", server.url));
    assert_eq!(home.store.path_of(ID).unwrap(), home.path(FILE));
    assert!(matches!(&events[0], PullEvent::Source { .. }), "{events:?}");
    let last = events.iter().rev().find_map(|event| match event {
        PullEvent::Progress(progress) => Some(progress),
        _ => None,
    });
    let last = last.unwrap();
    assert_eq!(
        (last.bytes, last.total_bytes, last.phase),
        (2_000_000, 2_000_000, PullPhase::Downloading)
    );
    assert_eq!(
        events.last(),
        Some(&PullEvent::Ready {
            id: ID.into(),
            was_ready: false
        })
    );
    drop(server);
    let (result, events) = home.pull().await;
    assert_eq!(result.unwrap(), installed);
    assert_eq!(
        events,
        [PullEvent::Ready {
            id: ID.into(),
            was_ready: true
        }]
    );
}

#[tokio::test]
async fn sources_are_tried_in_order_and_each_failure_is_told() {
    let bytes = content(11, 70_000);
    let mirror = tempfile::tempdir().unwrap();
    let mut options = options("http://127.0.0.1:9");
    options.python = Some("/nowhere/python".into());
    let mut two = manifest(&bytes);
    two.sources
        .push(crate::kit::wheels(mirror.path(), FILE, &bytes, 2));
    let home = Home::new(two.clone(), options.clone());
    let (result, events) = home.pull().await;
    let error = result.unwrap_err();
    assert!(error.is_unreachable());
    let PullError::AllSourcesFailed { failures, .. } = &error else {
        panic!("{error}")
    };
    let kinds: Vec<FailureKind> = failures.iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::Unreachable, FailureKind::MissingTool]);
    assert!(error.to_string().contains("apt install python3-pip"), "{error}");
    let told = events
        .iter()
        .filter(|event| matches!(event, PullEvent::SourceFailed { .. }))
        .count();
    assert_eq!(told, 2);

    // A folder that has it comes first; one that has something else is passed over without a word.
    let wrong = tempfile::tempdir().unwrap();
    std::fs::write(wrong.path().join(FILE), b"short").unwrap();
    std::fs::write(mirror.path().join(FILE), &bytes).unwrap();
    options.folders = vec![wrong.path().into(), mirror.path().into()];
    let home = Home::new(two, options);
    let (result, events) = home.pull().await;
    assert_eq!(
        result.unwrap().source,
        format!("folder {}", mirror.path().display())
    );
    home.assert_ready(&bytes);
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, PullEvent::SourceFailed { .. })),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_folder_with_wrong_bytes_fails_and_the_next_source_starts_clean() {
    let bytes = content(12, 70_000);
    let body = bytes.clone();
    let server = Server::start(move |request| Reply::honest(request, &body)).await;
    let mirror = tempfile::tempdir().unwrap();
    std::fs::create_dir(mirror.path().join(ID)).unwrap();
    std::fs::write(mirror.path().join(ID).join(FILE), content(13, 70_000)).unwrap();
    let mut options = options(&server.url);
    options.folders = vec![mirror.path().into()];
    let home = Home::new(manifest(&bytes), options);
    let (result, events) = home.pull().await;
    result.unwrap();
    home.assert_ready(&bytes);
    assert_eq!(server.starts(), [0]);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, PullEvent::SourceFailed { .. }))
    );
}

#[tokio::test]
async fn one_source_goes_on_where_another_stopped() {
    let bytes = content(14, 90_000);
    let body = bytes.clone();
    let server = Server::start(move |request| Reply::honest(request, &body).cut(30_000)).await;
    let mut patience = options(&server.url);
    patience.retries.attempts = 1;
    let home = Home::new(manifest(&bytes), patience.clone());
    home.pull().await.0.unwrap_err();
    assert_eq!(home.state(), "partial: 30000 bytes");
    let body = bytes.clone();
    let other = Server::start(move |request| {
        assert!(
            !request.headers.contains_key("if-range"),
            "another server's tag means nothing here"
        );
        Reply::honest(request, &body)
    })
    .await;
    patience.hub_url.clone_from(&other.url);
    let store = ModelStore::with_catalogue(home.folder.path(), home.store.catalogue().clone(), patience);
    store
        .pull(ID, &PullOptions::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!(other.starts(), [30_000]);
    home.assert_ready(&bytes);
}

#[tokio::test]
async fn of_two_pulls_at_once_one_fetches_and_the_other_waits_or_fails() {
    let bytes = content(15, 50_000);
    let body = bytes.clone();
    let opened = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&opened);
    let server = Server::start(move |request| {
        let reply = Reply::honest(request, &body);
        if gate.load(Ordering::SeqCst) {
            reply
        } else {
            reply.cut(10_000).stalling()
        }
    })
    .await;
    let home = Home::new(manifest(&bytes), options(&server.url));
    let first = PullOptions::default();
    let (store, options) = (home.store.clone(), first.clone());
    let pulling = tokio::spawn(async move { store.pull(ID, &options, &mut |_| {}).await });
    server.answered().await;
    let part = home.part();
    let here = || std::fs::metadata(&part).is_ok_and(|metadata| metadata.len() == 10_000);
    crate::kit::until("10,000 bytes on disk", here).await;
    let fail = PullOptions {
        lock: LockWait::Fail,
        ..PullOptions::default()
    };
    assert!(matches!(
        home.pull_with(&fail).await.0,
        Err(PullError::Model(ModelError::Busy { .. }))
    ));
    assert!(matches!(
        home.store.remove(ID, false, false),
        Err(ModelError::Busy { .. })
    ));
    let (waiting_told, told) = tokio::sync::oneshot::channel();
    let store = home.store.clone();
    let waiting = tokio::spawn(async move {
        let mut waiting_told = Some(waiting_told);
        let mut sink = |event| {
            if matches!(event, PullEvent::Waiting { .. }) {
                waiting_told.take().unwrap().send(()).unwrap();
            }
        };
        store.pull(ID, &PullOptions::default(), &mut sink).await
    });
    told.await.unwrap();
    opened.store(true, Ordering::SeqCst);
    first.cancel.cancel();
    assert!(pulling.await.unwrap().unwrap_err().is_cancelled());
    waiting.await.unwrap().unwrap();
    home.assert_ready(&bytes);
    assert_eq!(
        server.starts(),
        [0, 10_000],
        "the one that waited went on where the other stopped"
    );
}

#[tokio::test]
async fn cancelling_keeps_what_came() {
    let bytes = content(16, 50_000);
    let body = bytes.clone();
    let server = Server::start(move |request| match request.number {
        0 => Reply::honest(request, &body).cut(12_345).stalling(),
        _ => Reply::honest(request, &body),
    })
    .await;
    let home = Home::new(manifest(&bytes), options(&server.url));
    let options = PullOptions::default();
    let cancel = options.cancel.clone();
    let part = home.part();
    let stopper = tokio::spawn(async move {
        let here = || std::fs::metadata(&part).is_ok_and(|metadata| metadata.len() == 12_345);
        crate::kit::until("12,345 bytes on disk", here).await;
        cancel.cancel();
    });
    let (result, _) = home.pull_with(&options).await;
    stopper.await.unwrap();
    assert!(result.unwrap_err().is_cancelled());
    assert_eq!(home.state(), "partial: 12345 bytes");
    home.pull().await.0.unwrap();
    home.assert_ready(&bytes);
    assert_eq!(server.starts(), [0, 12_345]);
    // Cancelled before it began: no request at all.
    home.store.remove(ID, false, false).unwrap();
    assert!(home.pull_with(&options).await.0.unwrap_err().is_cancelled());
    assert_eq!(server.starts().len(), 2);
}

#[tokio::test]
async fn room_on_the_disk_is_checked_before_anything_is_fetched() {
    let bytes = content(17, 50_000);
    let body = bytes.clone();
    let server = Server::start(move |request| Reply::honest(request, &body).cut(20_000)).await;
    let mut options = options(&server.url);
    options.disk_margin_bytes = 1_000;
    options.retries.attempts = 1;
    let with_room = |bytes: u64| StoreOptions {
        free_disk_bytes: Arc::new(move |_| Ok(bytes)),
        ..options.clone()
    };
    let home = Home::new(manifest(&bytes), with_room(50_999));
    let error = home.pull().await.0.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("51000 bytes are needed, 50999 bytes are free"),
        "{text}"
    );
    assert!(matches!(error, PullError::Model(ModelError::NoSpace { .. })));
    assert!(server.requests().is_empty());
    // Only what is missing counts.
    let catalogue = home.store.catalogue().clone();
    let store = ModelStore::with_catalogue(home.folder.path(), catalogue.clone(), with_room(51_000));
    store
        .pull(ID, &PullOptions::default(), &mut |_| {})
        .await
        .unwrap_err();
    assert_eq!(home.state(), "partial: 20000 bytes");
    let store = ModelStore::with_catalogue(home.folder.path(), catalogue, with_room(30_999));
    let text = store
        .pull(ID, &PullOptions::default(), &mut |_| {})
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("31000 bytes are needed"), "{text}");
}

#[tokio::test]
async fn offline_says_so_without_trying() {
    let bytes = content(18, 10);
    let server = Server::start(|_| panic!("no request is made")).await;
    let home = Home::new(
        manifest(&bytes),
        StoreOptions {
            offline: true,
            ..options(&server.url)
        },
    );
    let error = home.pull().await.0.unwrap_err();
    assert!(error.to_string().contains("offline"), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn names_that_are_no_models_are_refused() {
    let home = Home::new(manifest(b"x"), options("http://127.0.0.1:9"));
    for id in [
        "",
        "../x",
        "/etc",
        "UPPER",
        "a b",
        "a\0b",
        ".hidden",
        &"x".repeat(97),
    ] {
        let result = home.store.pull(id, &PullOptions::default(), &mut |_| {}).await;
        assert!(
            matches!(result, Err(PullError::Model(ModelError::InvalidId(_)))),
            "{id:?}"
        );
        assert!(home.store.remove(id, false, true).is_err());
    }
    let text = home
        .store
        .pull("model", &PullOptions::default(), &mut |_| {})
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "no model is called \"model\"; did you mean model-under-test?"
    );
    assert!(!home.folder.path().join("model").exists());
}

#[tokio::test]
async fn a_profile_whose_hub_is_out_of_reach_falls_back_to_the_small_one() {
    let chat = content(20, 5_000);
    let embedding = content(21, 6_000);
    let mirror = tempfile::tempdir().unwrap();
    let mut manifests: Vec<_> = Catalogue::embedded().iter().cloned().collect();
    for manifest in &mut manifests {
        manifest.sources.retain(|source| matches!(source, Source::Hub(_)));
        let bytes = match manifest.id.as_str() {
            "smollm2-135m-instruct-q4_1" => &chat,
            "all-minilm-l6-v2" => &embedding,
            _ => continue,
        };
        manifest.files.truncate(1);
        manifest.files[0].size = bytes.len() as u64;
        manifest.files[0].sha256 = Some(crate::kit::sha256(bytes));
        std::fs::create_dir(mirror.path().join(&manifest.id)).unwrap();
        std::fs::write(
            mirror.path().join(&manifest.id).join(&manifest.files[0].name),
            bytes,
        )
        .unwrap();
    }
    let options = StoreOptions {
        folders: vec![mirror.path().into()],
        ..options("http://127.0.0.1:9")
    };
    let home = Home::with(manifests, options);
    let machine = Machine {
        memory_bytes: 24 << 30,
        available_bytes: 24 << 30,
        processors: 2,
        gpu: None,
    };
    let plan = home.store.plan(Profile::choose(&machine, None));
    assert_eq!(plan.choice.profile, Profile::Standard);
    assert!(plan.download_bytes > 1_000_000_000);
    let no_model = home
        .store
        .resolve_default(Task::Chat, Profile::Standard, None)
        .unwrap_err()
        .to_string();
    assert!(no_model.contains("no chat model"), "{no_model}");
    let mut events = Vec::new();
    let pulled = home
        .store
        .pull_plan(&plan, &PullOptions::default(), &mut |event| events.push(event))
        .await
        .unwrap();
    assert_eq!(pulled.choice.profile, Profile::Small);
    assert!(
        pulled.choice.reason.contains("could not be reached"),
        "{}",
        pulled.choice.reason
    );
    let ids: Vec<&str> = pulled
        .models
        .iter()
        .map(|model| model.manifest.id.as_str())
        .collect();
    assert_eq!(ids, Profile::Small.model_ids());
    assert!(events.iter().any(
        |event| matches!(event, PullEvent::FellBack { from, to, .. } if from == "standard" && to == "small")
    ));
    let chosen = home
        .store
        .resolve_default(Task::Chat, Profile::Standard, None)
        .unwrap();
    assert_eq!(chosen.manifest.id, "smollm2-135m-instruct-q4_1");
    assert!(
        home.store
            .resolve_default(Task::Chat, Profile::Standard, Some("qwen3-4b-q4_k_m"))
            .is_err()
    );
    assert_eq!(
        home.store
            .plan(Profile::choose(&machine, Some(Profile::Small)))
            .download_bytes,
        0
    );
}

#[tokio::test]
async fn a_manifest_without_sources_fails_in_words() {
    let mut lonely = manifest(b"x");
    lonely.sources.clear();
    let home = Home::new(lonely, options("http://127.0.0.1:9"));
    assert!(
        home.pull()
            .await
            .0
            .unwrap_err()
            .to_string()
            .contains("has no source")
    );
    let mut wrong = manifest(b"x");
    wrong.sources = vec![hub_source(None)];
    let home = Home::new(wrong, options("not an address"));
    assert!(
        home.pull()
            .await
            .0
            .unwrap_err()
            .to_string()
            .contains("no address")
    );
}
