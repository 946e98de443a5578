//! The classifier of pairs beside PyTorch's, which `benches/judge/train.py` wrote down.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::path::PathBuf;

use hearth_core::memory::compare::{JUDGE_ADAPTER, JUDGE_MODEL};
use hearth_inference::embedding::{EmbedError, EmbedOptions, TextEmbedder};

#[derive(serde::Deserialize)]
struct Golden {
    older: String,
    later: String,
    classes: Vec<f32>,
}

fn embedder() -> TextEmbedder {
    let models = std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS names the models' folder");
    TextEmbedder::load(&PathBuf::from(models).join(JUDGE_MODEL), EmbedOptions::default()).unwrap()
}

#[test]
fn pairs_are_judged_as_pytorch_judges_them() {
    let golden: Vec<Golden> = serde_json::from_str(include_str!("goldens/judge.json")).unwrap();
    let embedder = embedder();
    let judge = embedder.pair_classifier(JUDGE_ADAPTER).unwrap();
    let pairs: Vec<(&str, &str)> = golden
        .iter()
        .map(|pair| (pair.older.as_str(), pair.later.as_str()))
        .collect();
    // Together, so that the short ones are padded.
    let classes = embedder.classify_pairs(&judge, &pairs).unwrap();
    assert_eq!(classes.len(), golden.len());
    for (pair, ours) in golden.iter().zip(&classes) {
        assert_eq!(ours.len(), pair.classes.len());
        for (a, b) in ours.iter().zip(&pair.classes) {
            // The adapter is kept in half precision.
            assert!(
                (a - b).abs() < 0.02,
                "{} / {}: {ours:?}, PyTorch {:?}",
                pair.older,
                pair.later,
                pair.classes
            );
        }
    }
}

#[test]
fn an_adapter_that_does_not_fit_is_refused() {
    let embedder = embedder();
    for broken in [
        &b""[..],
        &JUDGE_ADAPTER[..JUDGE_ADAPTER.len() / 2],
        &b"{\"types\": 3}"[..],
    ] {
        assert!(embedder.pair_classifier(broken).is_err());
    }
    // Whole, but one tensor has another name.
    let mut other = JUDGE_ADAPTER.to_vec();
    let at = other
        .windows(9)
        .position(|window| window == b"head.out\"")
        .unwrap();
    other[at] = b'b';
    let refused = embedder.pair_classifier(&other);
    assert!(
        matches!(refused, Err(EmbedError::Config(ref reason)) if reason.contains("head.out")),
        "{refused:?}"
    );
}

#[test]
fn no_pair_is_too_long_or_too_odd() {
    let embedder = embedder();
    let judge = embedder.pair_classifier(JUDGE_ADAPTER).unwrap();
    let long = "lives in a house by the sea ".repeat(2000);
    let pairs = [("", ""), (long.as_str(), long.as_str()), ("🔥", "\u{200f}\0")];
    let classes = embedder.classify_pairs(&judge, &pairs).unwrap();
    assert_eq!(classes.len(), 3);
    for probabilities in classes {
        let sum: f32 = probabilities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-3, "{probabilities:?}");
    }
    assert!(embedder.classify_pairs(&judge, &[]).unwrap().is_empty());
}
