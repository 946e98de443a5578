//! Small models with random weights, for tests: every family, real tokenizers, no downloads.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::decoder::{Architecture, tensor_names as names};
use crate::gguf::writer::GgufWriter;
use crate::gguf::{GgmlType, GgufFile};

pub(crate) const WIDTH: usize = 64;
const HIDDEN: usize = 96;
const LAYERS: usize = 3;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const CONTEXT: u32 = 512;
/// Smaller than the prompts of the tests, so that windowed layers show.
const SLIDING_WINDOW: u32 = 8;

/// Ids of the tiny vocabulary: its first 256 tokens are the bytes.
pub(crate) const END: u32 = 256;
pub(crate) const THINK: u32 = 257;
pub(crate) const END_THINK: u32 = 258;
/// Whole words, so that tokens have different lengths.
const WORDS: [&str; 8] = ["he", "ll", "hell", "\":", "{\"", " t", "th", " th"];
pub(crate) const VOCABULARY: usize = 259 + WORDS.len();

pub(crate) const FAMILIES: [Architecture; 4] = [
    Architecture::Llama,
    Architecture::Qwen2,
    Architecture::Qwen3,
    Architecture::Gemma3,
];

/// A model of this family whose matrices have this type.
pub(crate) fn tiny(family: Architecture, matrices: GgmlType, seed: u64) -> GgufFile {
    GgufFile::from_bytes(build(family, matrices, seed, None).to_bytes()).unwrap()
}

/// A model one of whose matrices has the shape `[2, 3]`.
pub(crate) fn tiny_with_odd_matrix(family: Architecture, name: &str) -> GgufFile {
    let file = build(family, GgmlType::F32, 1, Some(name));
    GgufFile::from_bytes(file.to_bytes()).unwrap()
}

fn build(family: Architecture, matrices: GgmlType, seed: u64, odd: Option<&str>) -> GgufWriter {
    let mut file = GgufWriter::new(family.name());
    let head = if family == Architecture::Gemma3 {
        32
    } else {
        WIDTH / HEADS
    };
    for (key, value) in [
        ("embedding_length", WIDTH as u32),
        ("block_count", LAYERS as u32),
        ("feed_forward_length", HIDDEN as u32),
        ("attention.head_count", HEADS as u32),
        ("attention.head_count_kv", KV_HEADS as u32),
        ("attention.key_length", head as u32),
        ("attention.value_length", head as u32),
        ("context_length", CONTEXT),
    ] {
        file.set(&format!("{}.{key}", family.name()), value);
    }
    file.set(
        &format!("{}.attention.layer_norm_rms_epsilon", family.name()),
        1e-6f32,
    );
    if family == Architecture::Gemma3 {
        file.set("gemma3.attention.sliding_window", SLIDING_WINDOW);
        file.set("gemma3.attention.sliding_window_pattern", 2u32);
        file.set("gemma3.rope.freq_base", 1e6f32);
    }
    tokenizer(&mut file);
    weights(&mut file, family, head, (matrices, seed, odd));
    file
}

/// A byte-level vocabulary of [`VOCABULARY`] tokens.
fn tokenizer(file: &mut GgufWriter) {
    let spell = |bytes: &[u8]| bytes.iter().map(|&byte| spelling(byte)).collect::<String>();
    let mut tokens: Vec<String> = (0..=255u8).map(|byte| spell(&[byte])).collect();
    tokens.extend(["<|end|>", "<think>", "</think>"].map(String::from));
    tokens.extend(WORDS.map(|word| spell(word.as_bytes())));
    let mut kinds = vec![1i32; VOCABULARY];
    kinds[END as usize] = 3;
    kinds[THINK as usize] = 4;
    kinds[END_THINK as usize] = 4;
    let merges = [
        ("h", "e"),
        ("l", "l"),
        ("he", "ll"),
        ("\"", ":"),
        ("{", "\""),
        (" ", "t"),
        ("t", "h"),
        (" t", "h"),
    ];
    let merges: Vec<String> = merges
        .iter()
        .map(|(left, right)| format!("{} {}", spell(left.as_bytes()), spell(right.as_bytes())))
        .collect();
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.pre", "gpt-2");
    file.set("tokenizer.ggml.tokens", tokens);
    file.set("tokenizer.ggml.token_type", kinds);
    file.set("tokenizer.ggml.merges", merges);
    file.set("tokenizer.ggml.eos_token_id", END);
}

/// How GPT-2's vocabulary spells a byte: itself where it can be printed, else a character from 256 on.
fn spelling(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count();
    char::from_u32(256 + before as u32).unwrap()
}

fn weights(
    file: &mut GgufWriter,
    family: Architecture,
    head: usize,
    (matrices, seed, odd): (GgmlType, u64, Option<&str>),
) {
    let mut random = Random {
        rng: ChaCha8Rng::seed_from_u64(seed),
        file,
        matrices,
        odd,
    };
    let (queries, keys) = (HEADS * head, KV_HEADS * head);
    random.matrix(names::TOKEN_EMBEDDING, VOCABULARY, WIDTH);
    random.vector(names::OUTPUT_NORM, WIDTH, 1.0);
    if family != Architecture::Gemma3 {
        random.matrix(names::OUTPUT, VOCABULARY, WIDTH);
    }
    for index in 0..LAYERS {
        let name = |part: &str| names::layer(index, part);
        random.vector(&name(names::ATTENTION_NORM), WIDTH, 1.0);
        random.matrix(&name(names::QUERY), queries, WIDTH);
        random.matrix(&name(names::KEY), keys, WIDTH);
        random.matrix(&name(names::VALUE), keys, WIDTH);
        random.matrix(&name(names::ATTENTION_OUTPUT), WIDTH, queries);
        random.vector(&name(names::FEED_FORWARD_NORM), WIDTH, 1.0);
        random.matrix(&name(names::FEED_FORWARD_GATE), HIDDEN, WIDTH);
        random.matrix(&name(names::FEED_FORWARD_UP), HIDDEN, WIDTH);
        random.matrix(&name(names::FEED_FORWARD_DOWN), WIDTH, HIDDEN);
        if family == Architecture::Qwen2 {
            random.vector(&name(names::QUERY_BIAS), queries, 0.0);
            random.vector(&name(names::KEY_BIAS), keys, 0.0);
            random.vector(&name(names::VALUE_BIAS), keys, 0.0);
        }
        if matches!(family, Architecture::Qwen3 | Architecture::Gemma3) {
            random.vector(&name(names::QUERY_NORM), head, 1.0);
            random.vector(&name(names::KEY_NORM), head, 1.0);
        }
        if family == Architecture::Gemma3 {
            random.vector(&name(names::POST_ATTENTION_NORM), WIDTH, 1.0);
            random.vector(&name(names::POST_FEED_FORWARD_NORM), WIDTH, 1.0);
        }
    }
}

struct Random<'a> {
    rng: ChaCha8Rng,
    file: &'a mut GgufWriter,
    matrices: GgmlType,
    odd: Option<&'a str>,
}

impl Random<'_> {
    /// `count` numbers of this spread around `center`.
    fn numbers(&mut self, count: usize, center: f32, spread: f32) -> Vec<f32> {
        (0..count)
            .map(|_| center + self.rng.random_range(-1.0f32..1.0) * spread)
            .collect()
    }

    fn vector(&mut self, name: &str, len: usize, center: f32) {
        let values = self.numbers(len, center, 0.3);
        self.file.tensor_f32(name, &[len], &values);
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) {
        if self.odd == Some(name) {
            self.file.tensor_f32(name, &[2, 3], &[0.0; 6]);
            return;
        }
        let values = self.numbers(rows * columns, 0.0, 2.5 / (columns as f32).sqrt());
        if self.matrices == GgmlType::F32 {
            self.file.tensor_f32(name, &[rows, columns], &values);
            return;
        }
        let kind = match self.matrices {
            GgmlType::Q4_0 => GgmlDType::Q4_0,
            GgmlType::Q4_1 => GgmlDType::Q4_1,
            GgmlType::Q5_0 => GgmlDType::Q5_0,
            GgmlType::Q8_0 => GgmlDType::Q8_0,
            other => panic!("no tiny models of {}", other.name()),
        };
        let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
        let bytes = QTensor::quantize(&tensor, kind).unwrap().data().unwrap().to_vec();
        self.file.tensor(name, &[rows, columns], self.matrices, bytes);
    }
}
