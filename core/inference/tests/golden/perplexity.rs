//! Perplexity on a chapter of Jane Austen's "Emma" (1815), beside llama.cpp's.
//!
//! The text (volume two, chapter one; from Debian's r-cran-janeaustenr, lines joined to paragraphs) is tokenised without special tokens and
//! cut into windows of 512, what is left over dropped. Each window starts with an empty cache and no beginning-of-sequence token; every
//! position but the first is scored.

use hearth_inference::decoder::Logits;

use super::{GEMMA3, QWEN2, SMOLLM2, decoder, golden, model_file};

#[derive(serde::Deserialize)]
struct Golden {
    window: usize,
    windows: usize,
    perplexity: f64,
    tokens: Vec<u32>,
}

/// −ln of the probability that a row of logits gives to `token`.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - largest)
}

fn check(model: &str) {
    let golden: Golden = golden(&format!("perplexity-{model}.json"));
    let mut decoder = decoder(&model_file(model));
    let vocabulary = decoder.config().vocabulary_size;
    let mut logits = Vec::new();
    let (mut total, mut count) = (0.0, 0);
    let windows: Vec<&[u32]> = golden.tokens.chunks_exact(golden.window).collect();
    assert_eq!(windows.len(), golden.windows);
    for window in windows {
        decoder.truncate(0, 0);
        // In parts, so that a large vocabulary doesn't need gigabytes of logits.
        for (part, tokens) in window.chunks(128).enumerate() {
            decoder.forward(0, tokens, Logits::All, &mut logits).unwrap();
            let next = &window[part * 128 + 1..];
            for (row, &token) in logits.chunks_exact(vocabulary).zip(next) {
                total += surprise(row, token);
                count += 1;
            }
        }
    }
    let perplexity = (total / f64::from(count)).exp();
    let off = perplexity / golden.perplexity - 1.0;
    println!(
        "{model}: {perplexity:.4}, llama.cpp {:.4}, {:+.3} %",
        golden.perplexity,
        off * 100.0
    );
    assert!(
        off.abs() <= 0.01,
        "{model}: {perplexity} is not within 1 % of {}",
        golden.perplexity
    );
}

#[test]
fn smollm2_is_as_surprised_as_llama_cpp() {
    check(SMOLLM2);
}

#[test]
fn big_qwen2_is_as_surprised_as_llama_cpp() {
    check(QWEN2);
}

#[test]
fn big_gemma3_is_as_surprised_as_llama_cpp() {
    check(GEMMA3);
}
