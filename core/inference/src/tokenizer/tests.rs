//! The tokenizers of real models against llama.cpp's ids, and small hand-made ones.
#![allow(
    clippy::disallowed_methods,
    reason = "tests find model files through the environment"
)]

use std::path::PathBuf;

use serde::Deserialize;

use super::*;
use crate::gguf::writer::GgufWriter;

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf";
const QWEN25: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
const GEMMA3: &str = "gemma-3-270m-q4_k_m/gemma-3-270m-q4_k_m.gguf";

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    text: String,
    parse_special: bool,
    ids: Vec<u32>,
}

fn load(model: &str) -> Tokenizer {
    let folder = std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS names the models' folder");
    let path = PathBuf::from(folder).join(model);
    let file = GgufFile::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Tokenizer::from_gguf(&file).unwrap()
}

fn compare_with_goldens(model: &str, goldens: &str) {
    let tokenizer = load(model);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(goldens);
    let goldens: Goldens = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(goldens.cases.len() >= 120);
    let mut differing = Vec::new();
    for Golden {
        text,
        parse_special,
        ids,
    } in goldens.cases
    {
        let found = tokenizer.encode(
            &text,
            EncodeOptions {
                add_special: false,
                parse_special,
            },
        );
        if found != ids {
            differing.push(format!(
                "{text:?} special={parse_special}\n  peer {ids:?}\n  ours {found:?}"
            ));
        }
        if !parse_special && !(model == GEMMA3 && text.contains('\u{2581}')) {
            let bytes = tokenizer.decode(&found);
            assert_eq!(String::from_utf8_lossy(&bytes), text, "ids lose text");
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
}

#[test]
fn smollm2_ids_equal_the_peers() {
    compare_with_goldens(SMOLLM2, "tokenizer-smollm2.json");
}

#[test]
fn big_qwen_ids_equal_the_peers() {
    compare_with_goldens(QWEN25, "tokenizer-qwen2.5.json");
}

#[test]
fn big_gemma_ids_equal_the_peers() {
    compare_with_goldens(GEMMA3, "tokenizer-gemma3.json");
}
