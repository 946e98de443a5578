//! The two ways to compute a network must agree, and each with itself.

use super::*;
use crate::decoder::Architecture;
use crate::decoder::cpu::CpuDecoder;
use crate::gguf::GgmlType;
use crate::testing::{FAMILIES, VOCABULARY, tiny};

const OPTIONS: LoadOptions = LoadOptions {
    threads: Some(2),
    context_length: Some(300),
    device: DevicePreference::CpuReference,
    slots: 2,
    memory_limit_bytes: None,
};

fn candle(file: &GgufFile) -> CandleDecoder {
    CandleDecoder::load(file, &OPTIONS, &Device::Cpu, Precision::Float).unwrap()
}

fn cpu(file: &GgufFile) -> CpuDecoder {
    CpuDecoder::load(file, &OPTIONS, &mut |_| ()).unwrap()
}

/// More tokens than the tiny Gemma's window has, and than one batch.
fn tokens(count: usize) -> Vec<u32> {
    (0..count)
        .map(|n| (n * n * 31 + n * 7) as u32 % VOCABULARY as u32)
        .collect()
}

fn all_logits(decoder: &mut dyn Decoder, slot: usize, tokens: &[u32]) -> Vec<f32> {
    let mut out = Vec::new();
    decoder.forward(slot, tokens, Logits::All, &mut out).unwrap();
    assert_eq!(out.len(), tokens.len() * VOCABULARY);
    out
}

/// Root mean square of the difference over that of the expected numbers.
#[track_caller]
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let square = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x * x)).sum::<f64>();
    let difference = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (difference / square(&mut expected.iter().copied())).sqrt() as f32
}

#[test]
fn our_kernels_compute_what_candle_does() {
    for family in FAMILIES {
        for matrices in [
            GgmlType::F32,
            GgmlType::Q8_0,
            GgmlType::Q4_0,
            GgmlType::Q4_1,
            GgmlType::Q5_0,
        ] {
            let file = tiny(family, matrices, 11);
            let tokens = tokens(40);
            let expected = all_logits(&mut candle(&file), 0, &tokens);
            let found = all_logits(&mut cpu(&file), 0, &tokens);
            let error = relative_error(&found, &expected);
            println!("{family:?} {matrices:?}: {error}");
            // Ours round activations to 8 bits, and floats too; a wrong rotation or mask is off by half and more.
            assert!(error < 0.1, "{family:?} {matrices:?}: relative error {error}");
        }
    }
}

#[test]
fn token_by_token_equals_all_at_once() {
    for family in FAMILIES {
        let file = tiny(family, GgmlType::F32, 12);
        let tokens = tokens(BATCH + 20);
        let mut decoder = candle(&file);
        let expected = all_logits(&mut decoder, 0, &tokens);
        let mut found = all_logits(&mut decoder, 1, &tokens[..BATCH - 3]);
        for token in &tokens[BATCH - 3..] {
            found.extend(all_logits(&mut decoder, 1, &[*token]));
        }
        let error = relative_error(&found, &expected);
        assert!(error < 1e-4, "{family:?}: {error}");
    }
}

#[test]
fn a_slot_can_be_rolled_back_and_the_other_is_left_alone() {
    for family in FAMILIES {
        let file = tiny(family, GgmlType::F32, 13);
        let tokens = tokens(30);
        let mut decoder = candle(&file);
        let expected = all_logits(&mut decoder, 0, &tokens);
        all_logits(&mut decoder, 1, &[1, 2, 3]);
        decoder.truncate(0, 10);
        decoder.truncate(0, 20);
        assert_eq!((decoder.slot_len(0), decoder.slot_len(1)), (10, 3));
        let found = all_logits(&mut decoder, 0, &tokens[10..]);
        assert!(
            relative_error(&found, &expected[10 * VOCABULARY..]) < 1e-4,
            "{family:?}"
        );
    }
}

#[test]
fn bad_arguments_are_errors_and_change_nothing() {
    let mut decoder = candle(&tiny(Architecture::Llama, GgmlType::F32, 14));
    let mut out = Vec::new();
    decoder.forward(0, &[1, 2], Logits::None, &mut out).unwrap();
    assert!(out.is_empty());
    let mut fail = |slot, tokens: &[u32]| decoder.forward(slot, tokens, Logits::Last, &mut out).unwrap_err();
    assert!(matches!(
        fail(2, &[1]),
        DecoderError::NoSuchSlot {
            slot: 2,
            slot_count: 2
        }
    ));
    let last = VOCABULARY as u32;
    assert!(matches!(fail(0, &[1, last]), DecoderError::TokenOutOfRange { token, .. } if token == last));
    let full = fail(0, &[1; 299]);
    assert!(
        matches!(
            full,
            DecoderError::ContextFull {
                len: 2,
                adding: 299,
                capacity: 300
            }
        ),
        "{full}"
    );
    assert_eq!(decoder.slot_len(0), 2);
    decoder.forward(0, &[1; 298], Logits::Last, &mut out).unwrap();
    assert_eq!((decoder.slot_len(0), out.len()), (300, VOCABULARY));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment where the models lie"
)]
fn big_real_models_agree() {
    let models = std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS names the models' folder");
    for model in [
        "smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf",
        "qwen2.5-coder-0.5b-instruct-q4_k_m/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "gemma-3-270m-q4_k_m/gemma-3-270m-q4_k_m.gguf",
    ] {
        let file = GgufFile::open(&std::path::Path::new(&models).join(model)).unwrap();
        let tokenizer = crate::tokenizer::Tokenizer::from_gguf(&file).unwrap();
        let text =
            "The capital of France is Paris, and the capital of Italy is Rome. Trains run between them every";
        let tokens = tokenizer.encode(text, crate::tokenizer::EncodeOptions::PROMPT);
        let run = |decoder: &mut dyn Decoder| {
            let mut out = Vec::new();
            decoder.forward(0, &tokens, Logits::Last, &mut out).unwrap();
            let best = crate::sampling::likeliest(&out).unwrap();
            println!(
                "{model}: {:?}",
                String::from_utf8_lossy(tokenizer.token_bytes(best))
            );
            out
        };
        let expected = run(&mut candle(&file));
        let load = |precision| CandleDecoder::load(&file, &OPTIONS, &Device::Cpu, precision).unwrap();
        let rounded = relative_error(&run(&mut load(Precision::Quantized)), &expected);
        let ours = relative_error(&run(&mut cpu(&file)), &expected);
        println!("{model}: candle rounded {rounded}, ours {ours}");
        assert!(rounded < 0.1 && ours < 0.1);
    }
}
