//! The forward pass on real weights: what the models say, and that it doesn't depend on how tokens arrive.
#![allow(clippy::unwrap_used)]

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
fn big_gemma_knows_the_capital_of_france() {
    let text =
        Model::load(GEMMA).continue_greedily(&["<bos>", "The", "_capital", "_of", "_France", "_is"], 8);
    assert!(text.contains("Paris"), "{text}");
}
