//! Greedy continuations of 20 prompts beside llama.cpp's.

use hearth_inference::decoder::{Decoder, Logits};

use super::{GEMMA3, QWEN2, SMOLLM2, decoder, golden, model_file};

/// Tokens that must be equal, or all there are when the peer ended earlier.
const TOKENS: usize = 32;

#[derive(serde::Deserialize)]
struct Golden {
    /// For how many prompts the peer's other build chooses the same [`TOKENS`] tokens.
    other_build_equal: usize,
    margin_shift: MarginShift,
    prompts: Vec<Prompt>,
}

/// How far the distance between the two best logits moves between two builds of llama.cpp on the same tokens.
#[derive(serde::Deserialize)]
struct MarginShift {
    p99: f32,
}

#[derive(serde::Deserialize)]
struct Prompt {
    #[serde(rename = "prompt")]
    text: String,
    #[serde(rename = "prompt_tokens")]
    given: Vec<u32>,
    /// The peer's choices.
    tokens: Vec<u32>,
    /// The best logit less the runner-up's, at each step.
    margin: Vec<f32>,
}

/// How one prompt went.
#[derive(Debug, PartialEq)]
enum Outcome {
    Equal,
    /// Parted where the peer's own builds might have: both sides find the two tokens close.
    CloseCall {
        step: usize,
    },
    Wrong {
        step: usize,
        expected: u32,
        found: u32,
        margin: f32,
        our_margin: f32,
    },
}

fn follow(decoder: &mut dyn Decoder, prompt: &Prompt, closest: f32) -> Outcome {
    decoder.truncate(0, 0);
    let mut logits = Vec::new();
    decoder
        .forward(0, &prompt.given, Logits::Last, &mut logits)
        .unwrap();
    for (step, &expected) in prompt.tokens.iter().take(TOKENS).enumerate() {
        let best = logits
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        let found = best.0 as u32;
        if found != expected {
            let (margin, our_margin) = (prompt.margin[step], best.1 - logits[expected as usize]);
            return if margin <= closest && our_margin <= closest {
                Outcome::CloseCall { step }
            } else {
                Outcome::Wrong {
                    step,
                    expected,
                    found,
                    margin,
                    our_margin,
                }
            };
        }
        decoder
            .forward(0, &[expected], Logits::Last, &mut logits)
            .unwrap();
    }
    Outcome::Equal
}

fn check(model: &str) {
    let golden: Golden = golden(&format!("greedy-{model}.json"));
    assert_eq!(golden.prompts.len(), 20);
    let mut decoder = decoder(&model_file(model));
    let mut wrong = Vec::new();
    let mut equal = 0;
    for prompt in &golden.prompts {
        match follow(decoder.as_mut(), prompt, golden.margin_shift.p99) {
            Outcome::Equal => equal += 1,
            Outcome::CloseCall { step } => println!("close call at step {step} of {:?}", prompt.text),
            outcome @ Outcome::Wrong { .. } => wrong.push(format!("{:?}: {outcome:?}", prompt.text)),
        }
    }
    println!("{model}: {equal} of 20 equal for {TOKENS} tokens");
    assert!(wrong.is_empty(), "{model}:\n{}", wrong.join("\n"));
    // A network that is slightly off everywhere has more close calls than the peer's two builds have between them.
    let fewest = golden.other_build_equal.saturating_sub(3);
    assert!(
        equal >= fewest,
        "{model}: only {equal} of 20 prompts equal, fewer than {fewest}"
    );
}

#[test]
fn smollm2_continues_as_llama_cpp_does() {
    check(SMOLLM2);
}

#[test]
fn big_qwen2_continues_as_llama_cpp_does() {
    check(QWEN2);
}

#[test]
fn big_gemma3_continues_as_llama_cpp_does() {
    check(GEMMA3);
}
