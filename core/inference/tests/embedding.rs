//! The embedding model's edges: batches, empty and long texts, damaged files.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use hearth_inference::embedding::{EmbedError, EmbedOptions, TextEmbedder};

#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment where the models lie"
)]
fn folder() -> PathBuf {
    let models = std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS names the models' folder");
    PathBuf::from(models).join("all-minilm-l6-v2")
}

fn load() -> TextEmbedder {
    TextEmbedder::load(&folder(), EmbedOptions::default()).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    dot / (norm(a) * norm(b))
}

#[test]
fn a_batch_gives_what_single_texts_give() {
    let embedder = load();
    let long = "a long text about trains and planes ".repeat(100);
    let texts = [
        "",
        "short",
        "Prefers trains to planes",
        &long,
        "ein süßer Text 🔥",
    ];
    let together = embedder.embed(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        let alone = &embedder.embed(&[text]).unwrap()[0];
        assert!(cosine(vector, alone) > 0.999_99);
    }
    assert!(embedder.embed(&[]).unwrap().is_empty());
}

#[test]
fn a_missing_folder_is_named() {
    let error = TextEmbedder::load(&folder().join("nowhere"), EmbedOptions::default()).unwrap_err();
    assert!(
        matches!(&error, EmbedError::Io { path, .. } if path.ends_with("nowhere/config.json")),
        "{error}"
    );
}

#[test]
fn a_damaged_model_is_an_error() {
    let damaged = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(folder().join(file), damaged.path().join(file)).unwrap();
    }
    std::fs::write(damaged.path().join("model.safetensors"), [200; 1000]).unwrap();
    assert!(matches!(
        TextEmbedder::load(damaged.path(), EmbedOptions::default()),
        Err(EmbedError::Compute(_))
    ));
    std::fs::write(damaged.path().join("config.json"), "{\"hidden_size\": 0}").unwrap();
    assert!(matches!(
        TextEmbedder::load(damaged.path(), EmbedOptions::default()),
        Err(EmbedError::Config(_))
    ));
}
