//! Our answers beside those of llama.cpp and sentence-transformers, which `benches/peers/goldens_*.py` wrote down.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests stop where something is missing, and find their models through the environment"
)]

mod embeddings;
mod greedy;
mod perplexity;

use std::path::{Path, PathBuf};

use hearth_inference::decoder::cpu::CpuDecoder;
use hearth_inference::decoder::{Decoder, LoadOptions};
use hearth_inference::gguf::GgufFile;

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1";
const QWEN2: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m";
const GEMMA3: &str = "gemma-3-270m-q4_k_m";

/// Where a model's files are.
fn model_folder(id: &str) -> PathBuf {
    let models = PathBuf::from(std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS is set"));
    let folder = models.join(id);
    assert!(
        folder.is_dir(),
        "{} is missing: `make models` pulls it",
        folder.display()
    );
    folder
}

/// The GGUF file of a model.
fn model_file(id: &str) -> GgufFile {
    let folder = model_folder(id);
    let mut files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = files.find(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    GgufFile::open(&path.unwrap_or_else(|| panic!("no GGUF file in {}", folder.display()))).unwrap()
}

/// A model on the processor, with room for the goldens.
fn decoder(file: &GgufFile) -> Box<dyn Decoder> {
    let options = LoadOptions {
        context_length: Some(1024),
        ..LoadOptions::default()
    };
    Box::new(CpuDecoder::load(file, &options, &mut |_| ()).unwrap())
}

/// A golden file's text.
fn golden_text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A golden file read as `T`.
fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&golden_text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
