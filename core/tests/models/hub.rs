//! The hub's descriptions: revisions are pinned, digests come from the hub or the manifest and must agree.

use crate::kit::{
    FILE, Home, ID, REVISION, Reply, Request, Server, content, hub_source, manifest, options, sha256,
};
use hearth_core::models::{Manifest, PullError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const API: &str = "/api/models/owner/model/revision/main?blobs=true";

/// A manifest that leaves revision, size and digest to the hub.
fn open_manifest() -> Manifest {
    let mut manifest = manifest(b"");
    manifest.files[0].size = 1_000;
    manifest.files[0].sha256 = None;
    manifest.sources = vec![hub_source(None)];
    manifest
}

fn description(revision: &str, files: &str) -> Reply {
    let body = format!(r#"{{"sha":"{revision}","private":false,"siblings":[{files}]}}"#);
    Reply::new("200 OK", &[("Content-Type", "application/json")], body.as_bytes())
}

fn large_file(bytes: &[u8]) -> String {
    let (size, digest) = (bytes.len(), sha256(bytes));
    format!(
        r#"{{"rfilename":"README.md","size":3}},
        {{"rfilename":"{FILE}","size":{size},"blobId":"x","lfs":{{"sha256":"{digest}","size":{size},"pointerSize":134}}}}"#
    )
}

async fn check_fails(
    manifest: Manifest,
    says: &str,
    script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) {
    let server = Server::start(script).await;
    let home = Home::new(manifest, options(&server.url));
    let error = home.pull().await.0.unwrap_err();
    assert!(
        matches!(error, PullError::AllSourcesFailed { .. }) && error.to_string().contains(says),
        "{error}"
    );
    assert!(
        server.requests().iter().all(|request| request.path == API),
        "no byte was fetched"
    );
}

#[tokio::test]
async fn the_first_pull_pins_the_revision_and_the_digest_that_the_hub_states() {
    let bytes = content(2, 40_000);
    let body = bytes.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |request| {
        if request.path == API {
            count.fetch_add(1, Ordering::Relaxed);
            return description(REVISION, &large_file(&body));
        }
        assert_eq!(request.path, format!("/owner/model/resolve/{REVISION}/{FILE}"));
        if request.start() == 0 {
            Reply::honest(request, &body).cut(999)
        } else {
            Reply::honest(request, &body)
        }
    })
    .await;
    let mut patience = options(&server.url);
    patience.retries.attempts = 1;
    let home = Home::new(open_manifest(), patience);
    home.pull().await.0.unwrap_err();
    assert_eq!(home.state(), "partial: 999 bytes");
    let installed = home.pull().await.0.unwrap();
    assert_eq!(
        asked.load(Ordering::Relaxed),
        1,
        "the second pull goes on with what the first one pinned"
    );
    home.assert_ready(&bytes);
    assert_eq!(installed.revision.as_deref(), Some(REVISION));
    assert_eq!(installed.files[0].sha256, sha256(&bytes));
    assert_eq!(
        installed.manifest.files[0].size, 40_000,
        "the estimate gave way to the hub's figure"
    );
    drop(server);
    assert!(home.pull().await.0.is_ok(), "no network is needed any more");
}

#[tokio::test]
async fn a_revision_that_is_gone_is_asked_for_anew_by_the_next_pull() {
    let bytes = content(3, 4_000);
    let body = bytes.clone();
    let newer = "f".repeat(40);
    let server = Server::start(move |request| {
        let first = request.number < 2;
        match request.path.as_str() {
            API => description(if first { REVISION } else { &newer }, &large_file(&body)),
            path if path.contains(REVISION) => Reply::new("404 Not Found", &[], b""),
            _ => Reply::honest(request, &body),
        }
    })
    .await;
    let home = Home::new(open_manifest(), options(&server.url));
    assert!(home.pull().await.0.unwrap_err().to_string().contains("404"));
    assert_eq!(home.pull().await.0.unwrap().revision, Some("f".repeat(40)));
    home.assert_ready(&bytes);
}

#[tokio::test]
async fn a_file_without_any_stated_digest_is_not_fetched() {
    check_fails(open_manifest(), "nobody states a SHA-256", |_| {
        description(REVISION, &format!(r#"{{"rfilename":"{FILE}","size":10}}"#))
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_contradicts_the_manifest_is_not_used() {
    let bytes = content(4, 100);
    let mut pinned = manifest(&bytes);
    pinned.sources = vec![hub_source(None)];
    check_fails(pinned.clone(), "expected", |_| {
        description(REVISION, &large_file(&content(5, 100)))
    })
    .await;
    check_fails(pinned.clone(), "not 100", |_| {
        description(REVISION, &format!(r#"{{"rfilename":"{FILE}","size":10}}"#))
    })
    .await;
    check_fails(pinned, "has no weights.gguf", |_| description(REVISION, "")).await;
}

#[tokio::test]
async fn nonsense_from_the_hub_is_refused() {
    check_fails(open_manifest(), "no JSON", |_| {
        Reply::new("200 OK", &[], b"<html>sign in to the wifi")
    })
    .await;
    check_fails(open_manifest(), "unclear", |_| {
        Reply::new("200 OK", &[], b"[1,2]")
    })
    .await;
    check_fails(open_manifest(), "no commit", |_| description("../../../evil", "")).await;
    check_fails(open_manifest(), "there is no owner/model", |_| {
        Reply::new("404 Not Found", &[], b"")
    })
    .await;
    check_fails(open_manifest(), "401", |_| {
        Reply::new("401 Unauthorized", &[], b"")
    })
    .await;
    let endless = vec![b' '; 9 << 20];
    check_fails(open_manifest(), "absurdly large", move |_| {
        Reply::new("200 OK", &[], &endless)
    })
    .await;
}

#[tokio::test]
async fn a_plain_mirror_without_descriptions_serves_pinned_files() {
    let bytes = content(6, 5_000);
    let body = bytes.clone();
    let server = Server::start(move |request| {
        if request.path.starts_with("/mirror/api/") {
            return Reply::new("404 Not Found", &[], b"");
        }
        assert_eq!(
            request.path,
            format!("/mirror/owner/model/resolve/main/deep/a%20name.bin")
        );
        Reply::honest(request, &body)
    })
    .await;
    let mut pinned = manifest(&bytes);
    let hearth_core::models::Source::Hub(mut source) = hub_source(None) else {
        unreachable!()
    };
    source.paths.insert(FILE.into(), "deep/a name.bin".into());
    pinned.sources = vec![hearth_core::models::Source::Hub(source)];
    let home = Home::new(pinned, options(&format!("{}/mirror/", server.url)));
    home.pull().await.0.unwrap();
    home.assert_ready(&bytes);
    assert_eq!(
        home.store.ready(ID).unwrap().source,
        format!("{}/mirror/owner/model", server.url)
    );
}
