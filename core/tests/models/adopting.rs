//! Files put there by hand, verification, repair, removal.

use crate::kit::{FILE, Home, ID, Reply, Server, content, manifest, options, sha256};
use hearth_core::models::{ModelError, ModelFile, ModelStore, StoreOptions, VerifyReport};
use std::path::Path;
use tokio_util::sync::CancellationToken;

async fn verify(store: &ModelStore, id: &str) -> Result<VerifyReport, ModelError> {
    store.verify(id, &CancellationToken::new(), &mut |_| {}).await
}

fn put(home: &Home, bytes: &[u8]) {
    std::fs::create_dir_all(home.path("")).unwrap();
    std::fs::write(home.path(FILE), bytes).unwrap();
}

#[tokio::test]
async fn right_files_put_there_by_hand_become_ready_by_verification_or_by_a_pull() {
    let bytes = content(30, 40_000);
    let home = Home::new(manifest(&bytes), options("http://127.0.0.1:9"));
    assert!(matches!(
        verify(&home.store, ID).await,
        Err(ModelError::NotReady { .. })
    ));
    put(&home, &bytes);
    assert_eq!(home.state(), "unverified");
    assert!(
        home.store.path_of(ID).is_err(),
        "nobody has looked at its digest yet"
    );
    let report = verify(&home.store, ID).await.unwrap();
    assert!(report.ok && report.adopted);
    home.assert_ready(&bytes);
    assert!(!verify(&home.store, ID).await.unwrap().adopted);

    let home = Home::new(manifest(&bytes), options("http://127.0.0.1:9"));
    put(&home, &bytes);
    home.pull().await.0.unwrap();
    home.assert_ready(&bytes);
}

#[tokio::test]
async fn wrong_files_put_there_by_hand_are_reported_and_replaced_by_a_pull() {
    let bytes = content(31, 40_000);
    let body = bytes.clone();
    let server = Server::start(move |request| Reply::honest(request, &body)).await;
    let home = Home::new(manifest(&bytes), options(&server.url));
    put(&home, &content(32, 40_000));
    let report = verify(&home.store, ID).await.unwrap();
    assert!(!report.ok && !report.adopted);
    assert_eq!(report.files[0].actual, Some(sha256(&content(32, 40_000))));
    assert_eq!(home.state(), "unverified");
    home.pull().await.0.unwrap();
    home.assert_ready(&bytes);
}

#[tokio::test]
async fn damage_is_found_told_and_repaired() {
    let bytes = content(33, 40_000);
    let body = bytes.clone();
    let server = Server::start(move |request| Reply::honest(request, &body)).await;
    let home = Home::new(manifest(&bytes), options(&server.url));
    home.pull().await.0.unwrap();
    assert!(verify(&home.store, ID).await.unwrap().ok);
    let mut damaged = bytes.clone();
    damaged[20_000] ^= 0x10;
    put(&home, &damaged);
    assert_eq!(home.state(), "ready", "a list does not read weights");
    let report = verify(&home.store, ID).await.unwrap();
    assert!(!report.ok && report.files[0].size == Some(40_000));
    assert!(
        home.state().starts_with("corrupt: weights.gguf has SHA-256"),
        "{}",
        home.state()
    );
    assert!(
        home.store
            .path_of(ID)
            .unwrap_err()
            .to_string()
            .contains("corrupt")
    );
    home.pull().await.0.unwrap();
    home.assert_ready(&bytes);
    // Missing or cut files show without reading.
    put(&home, &bytes[..100]);
    assert_eq!(home.state(), "corrupt: weights.gguf has 100 bytes, not 40000");
    std::fs::remove_file(home.path(FILE)).unwrap();
    assert_eq!(home.state(), "corrupt: weights.gguf is missing");
    assert!(!verify(&home.store, ID).await.unwrap().ok);
    // Restored by hand: verification takes the damage back.
    put(&home, &bytes);
    assert!(verify(&home.store, ID).await.unwrap().ok);
    home.assert_ready(&bytes);
    // A marker that is no marker counts for nothing.
    std::fs::write(home.path("manifest.json"), b"{\"schema\":1}").unwrap();
    assert_eq!(home.state(), "unverified");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn only_the_files_that_are_missing_are_fetched() {
    let (weights, words) = (content(34, 40_000), content(35, 500));
    let mut two = manifest(&weights);
    two.files.push(ModelFile {
        name: "words.json".into(),
        size: 500,
        sha256: Some(sha256(&words)),
    });
    let (body, small) = (weights.clone(), words.clone());
    let server = Server::start(move |request| {
        Reply::honest(
            request,
            if request.path.ends_with("words.json") {
                &small
            } else {
                &body
            },
        )
    })
    .await;
    let home = Home::new(two, options(&server.url));
    put(&home, &weights);
    assert_eq!(home.state(), "partial: 40000 bytes");
    home.pull().await.0.unwrap();
    assert_eq!(home.state(), "ready");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(std::fs::read(home.path("words.json")).unwrap(), words);
}

#[tokio::test]
async fn removal_refuses_what_is_in_use_and_leaves_foreign_files() {
    let bytes = content(36, 40_000);
    let home = Home::new(manifest(&bytes), options("http://127.0.0.1:9"));
    assert_eq!(home.store.remove(ID, false, false).unwrap().freed_bytes, 0);
    put(&home, &bytes);
    verify(&home.store, ID).await.unwrap();
    assert!(matches!(
        home.store.remove(ID, true, false),
        Err(ModelError::InUse { .. })
    ));
    home.assert_ready(&bytes);
    std::fs::write(home.path("notes.txt"), b"mine").unwrap();
    std::fs::write(home.part(), b"part").unwrap();
    let removed = home.store.remove(ID, true, true).unwrap();
    assert_eq!(removed.left, ["notes.txt"]);
    assert!(removed.freed_bytes > 40_004);
    assert_eq!(home.state(), "absent");
    std::fs::remove_file(home.path("notes.txt")).unwrap();
    put(&home, &bytes);
    home.store.remove(ID, false, false).unwrap();
    assert!(!home.path("").exists());
}

/// The folder that `./test` fills.
pub(crate) fn real_models() -> &'static Path {
    let folder =
        std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS names the folder of test models");
    Box::leak(std::path::PathBuf::from(folder).into_boxed_path())
}

#[cfg(unix)]
#[tokio::test]
async fn the_real_small_models_are_recognised_by_their_digests() {
    let folder = tempfile::tempdir().unwrap();
    for id in hearth_core::models::Profile::Small.model_ids() {
        let own = folder.path().join(id);
        std::fs::create_dir(&own).unwrap();
        for file in &hearth_core::models::Catalogue::embedded().get(id).unwrap().files {
            let original = real_models().join(id).join(&file.name);
            assert!(
                original.is_file(),
                "{} is missing; ./test pulls it",
                original.display()
            );
            std::os::unix::fs::symlink(std::path::absolute(original).unwrap(), own.join(&file.name)).unwrap();
        }
        let store = ModelStore::new(folder.path(), StoreOptions::default());
        let report = verify(&store, id).await.unwrap();
        assert!(report.ok && report.adopted, "{report:?}");
        assert!(store.path_of(id).unwrap().is_file());
    }
}
