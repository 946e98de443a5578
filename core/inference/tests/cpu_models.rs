//! The forward pass on real weights: what the models say, and that it doesn't depend on how tokens arrive.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the environment says where the models are"
)]

use std::path::PathBuf;

use hearth_inference::decoder::cpu::CpuDecoder;
use hearth_inference::decoder::{Decoder, LoadOptions, Logits};
use hearth_inference::gguf::{GgufFile, StringArray};

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf";
const QWEN: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
const GEMMA: &str = "gemma-3-270m-q4_k_m/gemma-3-270m-q4_k_m.gguf";

struct Model {
    vocabulary: Vec<String>,
    decoder: CpuDecoder,
}

impl Model {
    fn load(name: &str) -> Self {
        let folder =
            std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS names the models' folder");
        let path = PathBuf::from(folder).join(name);
        let file = GgufFile::open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; `make models` fetches it", path.display()));
        let vocabulary: StringArray<'_> = file.require("tokenizer.ggml.tokens").unwrap();
        let vocabulary = vocabulary
            .iter()
            .map(|token| String::from_utf8_lossy(token).into_owned())
            .collect();
        let options = LoadOptions {
            context_length: Some(256),
            slots: 1,
            ..LoadOptions::default()
        };
        Self {
            vocabulary,
            decoder: CpuDecoder::load(&file, &options, &mut |_| {}).unwrap(),
        }
    }

    /// Token ids of whole words of the vocabulary, `_` standing for a leading space.
    fn tokens(&self, words: &[&str]) -> Vec<u32> {
        let find = |word: &&str| {
            let spellings = [word.replace('_', "Ġ"), word.replace('_', "▁")];
            self.vocabulary
                .iter()
                .position(|token| spellings.contains(token))
                .unwrap() as u32
        };
        words.iter().map(find).collect()
    }

    fn logits(&mut self, tokens: &[u32]) -> Vec<f32> {
        let mut logits = Vec::new();
        self.decoder
            .forward(0, tokens, Logits::Last, &mut logits)
            .unwrap();
        logits
    }

    fn continue_greedily(&mut self, words: &[&str], count: usize) -> String {
        let mut next = self.tokens(words);
        let mut text = String::new();
        for _ in 0..count {
            let logits = self.logits(&next);
            let best = logits
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .unwrap()
                .0;
            text.push_str(&self.vocabulary[best]);
            next = vec![best as u32];
        }
        text.replace(['Ġ', '▁'], " ")
    }
}

#[test]
fn smollm2_knows_the_capital_of_france() {
    let text = Model::load(SMOLLM2).continue_greedily(&["The", "_capital", "_of", "_France", "_is"], 8);
    assert!(text.contains("Paris"), "{text}");
}

#[test]
fn big_qwen_knows_the_capital_of_france() {
    let text = Model::load(QWEN).continue_greedily(&["The", "_capital", "_of", "_France", "_is"], 8);
    assert!(text.contains("Paris"), "{text}");
}

#[test]
fn big_gemma_goes_on_as_in_llama_cpp() {
    // A base model: llama.cpp's first token is " the" as well, with " a" and " Paris" behind it.
    let mut model = Model::load(GEMMA);
    let prompt = ["<bos>", "The", "_capital", "_of", "_France", "_is"];
    let text = model.continue_greedily(&prompt, 8);
    assert!(text.starts_with(" the capital"), "{text}");
    model.decoder.truncate(0, 0);
    let tokens = model.tokens(&prompt);
    let logits = model.logits(&tokens);
    let mut best: Vec<usize> = (0..logits.len()).collect();
    best.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let words: Vec<&str> = best[..3]
        .iter()
        .map(|&token| model.vocabulary[token].as_str())
        .collect();
    assert_eq!(words, ["▁the", "▁a", "▁Paris"]);
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// Kernels sum in an order that doesn't depend on how many tokens are computed together.
#[test]
fn the_way_tokens_arrive_changes_nothing() {
    let mut model = Model::load(SMOLLM2);
    let tokens: Vec<u32> = (0..90).map(|i| 100 + i * 37 % 1000).collect();
    let whole = model.logits(&tokens);
    for chunk in [1, 7, 64] {
        model.decoder.truncate(0, 0);
        let mut logits = Vec::new();
        for tokens in tokens.chunks(chunk) {
            logits = model.logits(tokens);
        }
        assert!(largest_difference(&whole, &logits) < 1e-3, "chunks of {chunk}");
    }
    // All positions' logits end with the last one's.
    model.decoder.truncate(0, 0);
    let mut all = Vec::new();
    model.decoder.forward(0, &tokens, Logits::All, &mut all).unwrap();
    let vocabulary_size = model.decoder.config().vocabulary_size;
    assert_eq!(all.len(), tokens.len() * vocabulary_size);
    assert!(largest_difference(&whole, &all[all.len() - vocabulary_size..]) < 1e-3);
}

#[test]
fn a_truncated_sequence_forgets_its_end() {
    let mut model = Model::load(SMOLLM2);
    let tokens: Vec<u32> = (0..60).map(|i| 100 + i * 37 % 1000).collect();
    let fresh = model.logits(&tokens);
    model.decoder.truncate(0, 20);
    model.logits(&[5, 6, 7]);
    model.decoder.truncate(0, 20);
    assert_eq!(model.decoder.slot_len(0), 20);
    let again = model.logits(&tokens[20..]);
    assert!(largest_difference(&fresh, &again) < 1e-3);
}

#[test]
fn bad_arguments_change_nothing() {
    let mut model = Model::load(SMOLLM2);
    model.logits(&[1, 2, 3]);
    let mut out = Vec::new();
    let outcomes = [
        model.decoder.forward(0, &[4, 49_152], Logits::Last, &mut out),
        model.decoder.forward(1, &[4], Logits::Last, &mut out),
        model.decoder.forward(0, &[4; 254], Logits::Last, &mut out),
    ];
    let messages: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_err().to_string())
        .collect();
    assert_eq!(
        messages,
        [
            "token 49152 is outside the vocabulary of 49152",
            "slot 1 does not exist; there are 1",
            "254 tokens don't fit: the sequence has 3 of at most 256",
        ]
    );
    assert_eq!(model.decoder.slot_len(0), 3);
    assert!(model.decoder.forward(0, &[], Logits::Last, &mut out).is_ok() && out.is_empty());
}

/// A single token that attends to many positions has them split between threads; sums then differ in their last bits,
/// which the rounding of activations can widen, but never change what the model says.
#[test]
fn split_attention_says_the_same() {
    let mut model = Model::load(SMOLLM2);
    let tokens: Vec<u32> = (0..240).map(|i| 100 + i * 37 % 1000).collect();
    let whole = model.logits(&tokens);
    model.decoder.truncate(0, 200);
    let mut logits = Vec::new();
    for token in &tokens[200..] {
        logits = model.logits(&[*token]);
    }
    let range = whole.iter().fold(0.0f32, |range, x| range.max(x.abs()));
    let difference = largest_difference(&whole, &logits);
    assert!(difference < 0.02 * range, "{difference} of {range}");
}
