//! Importing GGUF files of any origin.

use crate::adopting::real_models;
use crate::kit::{FILE, Home, ID, content, manifest, options};
use hearth_core::models::{ImportMode, Imported, ModelError, ModelStore, StoreOptions, Task};
use hearth_inference::gguf::writer::GgufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A model small enough to make up; `name` is its title.
fn tiny(name: &str) -> GgufWriter {
    let mut writer = GgufWriter::new("llama");
    writer
        .set("general.name", name)
        .set("general.license", "mit")
        .set("llama.embedding_length", 8_u32)
        .set("llama.block_count", 1_u32)
        .set("llama.attention.head_count", 2_u32)
        .set("llama.attention.head_count_kv", 1_u32)
        .set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32)
        .set("llama.feed_forward_length", 16_u32)
        .set("llama.context_length", 64_u32)
        .tensor_f32("token_embd.weight", &[4, 8], &[0.5; 32]);
    writer
}

struct Desk {
    home: Home,
    outside: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let home = Home::new(manifest(&content(40, 1_000)), options("http://127.0.0.1:9"));
        Self {
            home,
            outside: tempfile::tempdir().unwrap(),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.outside.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn import(&self, path: &Path, mode: ImportMode) -> Result<Imported, ModelError> {
        self.home
            .store
            .import(path, mode, &CancellationToken::new(), &mut |_| {})
            .await
    }

    /// Nothing was made in the folder of models.
    fn assert_untouched(&self) {
        let here: Vec<_> = std::fs::read_dir(self.home.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != ".locks")
            .collect();
        assert!(here.is_empty(), "{here:?}");
    }
}

#[tokio::test]
async fn a_file_becomes_a_model_with_an_id_from_its_name() {
    let desk = Desk::new();
    let path = desk.put("My Model (Q4).GGUF", &tiny("Tiny\nTitle").to_bytes());
    let imported = desk.import(&path, ImportMode::Copy).await.unwrap();
    let manifest = &imported.installed.manifest;
    assert_eq!(
        (
            manifest.id.as_str(),
            manifest.name.as_str(),
            manifest.licence.as_str(),
            manifest.architecture.as_str()
        ),
        ("my-model-q4", "TinyTitle", "mit", "llama")
    );
    assert_eq!(
        (manifest.context_length, manifest.parameters, manifest.task),
        (64, Some(32), Task::Chat)
    );
    assert!(!imported.was_present && !imported.linked && !manifest.run_by_us);
    let store = &desk.home.store;
    let entry = store.entry("my-model-q4").unwrap();
    assert!(entry.imported && entry.state.to_string() == "ready");
    assert!(
        store
            .list()
            .unwrap()
            .iter()
            .any(|entry| entry.manifest.id == "my-model-q4")
    );
    std::fs::remove_file(&path).unwrap();
    assert!(
        store
            .verify("my-model-q4", &CancellationToken::new(), &mut |_| {})
            .await
            .unwrap()
            .ok
    );
    // The same bytes again are the same model; others of that name get a number.
    let again = desk.put("other name.gguf", &tiny("Tiny\nTitle").to_bytes());
    let imported = desk.import(&again, ImportMode::Copy).await.unwrap();
    assert!(imported.was_present && imported.installed.manifest.id == "my-model-q4");
    let other = desk.put("my-model-q4.gguf", &tiny("Other").to_bytes());
    let imported = desk.import(&other, ImportMode::HardLink).await.unwrap();
    assert_eq!(imported.installed.manifest.id, "my-model-q4-2");
    assert!(imported.linked);
    store.remove("my-model-q4-2", false, false).unwrap();
    assert!(other.is_file(), "the original stays");
    assert!(matches!(
        store.entry("my-model-q4-2"),
        Err(ModelError::Unknown { .. })
    ));
}

#[tokio::test]
async fn a_name_of_the_catalogue_is_not_taken_by_other_bytes() {
    let desk = Desk::new();
    let path = desk.put(&format!("{ID}.gguf"), &tiny("x").to_bytes());
    assert_eq!(
        desk.import(&path, ImportMode::Copy)
            .await
            .unwrap()
            .installed
            .manifest
            .id,
        format!("{ID}-2")
    );
    assert_eq!(desk.home.state(), "absent");
}

async fn check_refused(name: &str, bytes: &[u8], says: &str) {
    let desk = Desk::new();
    let path = desk.put(name, bytes);
    let error = desk.import(&path, ImportMode::Copy).await.unwrap_err();
    assert!(matches!(error, ModelError::NotImportable { .. }), "{error}");
    assert!(error.to_string().contains(says), "{error}");
    desk.assert_untouched();
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_the_reason() {
    let whole = tiny("x").to_bytes();
    check_refused("empty.gguf", b"", "GGUF").await;
    check_refused("page.gguf", b"<html>not found</html>", "not a GGUF").await;
    check_refused("cut.gguf", &whole[..whole.len() - 1], "incomplete").await;
    check_refused("header.gguf", &whole[..40], "cut short").await;
    check_refused(
        "mamba.gguf",
        &GgufWriter::new("mamba").to_bytes(),
        "unknown architecture",
    )
    .await;
    check_refused(
        "split.gguf",
        &tiny("x").set("split.count", 3_u32).to_bytes(),
        "one of 3 parts",
    )
    .await;
}

#[tokio::test]
async fn paths_that_are_no_files_are_refused() {
    let desk = Desk::new();
    let folder = desk.outside.path().to_owned();
    assert!(matches!(
        desk.import(&folder, ImportMode::Copy).await,
        Err(ModelError::NotImportable { .. })
    ));
    let nothing = folder.join("nothing.gguf");
    assert!(matches!(
        desk.import(&nothing, ImportMode::Copy).await,
        Err(ModelError::Io { .. })
    ));
    desk.assert_untouched();
}

#[tokio::test]
async fn room_and_cancelling_are_respected() {
    let desk = Desk::new();
    let path = desk.put("x.gguf", &tiny("x").to_bytes());
    let options = StoreOptions {
        free_disk_bytes: Arc::new(|_| Ok(3)),
        ..options("http://127.0.0.1:9")
    };
    let store = ModelStore::with_catalogue(
        desk.home.folder.path(),
        desk.home.store.catalogue().clone(),
        options,
    );
    let error = store
        .import(&path, ImportMode::Copy, &CancellationToken::new(), &mut |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ModelError::NoSpace {
                available_bytes: 3,
                ..
            }
        ),
        "{error}"
    );
    let stop = CancellationToken::new();
    stop.cancel();
    let result = desk
        .home
        .store
        .import(&path, ImportMode::Copy, &stop, &mut |_| {})
        .await;
    assert!(matches!(result, Err(ModelError::Cancelled)));
    desk.assert_untouched();
}

#[tokio::test]
async fn a_file_of_the_catalogue_is_recognised_under_any_name() {
    let outside = tempfile::tempdir().unwrap();
    let models = tempfile::tempdir_in(outside.path()).unwrap();
    let original = real_models().join("smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        original.is_file(),
        "{} is missing; ./test pulls it",
        original.display()
    );
    let store = ModelStore::new(models.path(), StoreOptions::default());
    let imported = store
        .import(
            &original,
            ImportMode::HardLink,
            &CancellationToken::new(),
            &mut |_| {},
        )
        .await
        .unwrap();
    assert_eq!(imported.installed.manifest.id, "smollm2-135m-instruct-q4_1");
    assert!(store.path_of("smollm2-135m-instruct-q4_1").unwrap().is_file());
    assert_ne!(imported.installed.files[0].name, FILE);
}
