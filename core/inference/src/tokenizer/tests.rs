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
        // The peer makes an end token of Gemma's tag; the model was trained with the tag.
        if model == GEMMA3 && text.contains("</s>") && !parse_special {
            continue;
        }
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
        let spells_spaces = model == GEMMA3 && text.contains('\u{2581}');
        if !parse_special && !spells_spaces {
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

/// A byte-level vocabulary: all bytes, the products of `merges`, then the special tokens.
fn byte_level(pre: &str, merges: &[&str], special: &[(&str, i32)]) -> GgufWriter {
    let table = vocabulary::byte_level_table();
    let stand_in = |byte: u8| {
        let code = table.iter().position(|&spelled| spelled == Some(byte)).unwrap();
        char::from_u32(code as u32).unwrap().to_string()
    };
    let mut texts: Vec<String> = (0..=u8::MAX).map(stand_in).collect();
    texts.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; texts.len()];
    for (name, kind) in special {
        texts.push((*name).to_owned());
        types.push(*kind);
    }
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", pre)
        .set("tokenizer.ggml.tokens", texts)
        .set("tokenizer.ggml.token_type", types)
        .set(
            "tokenizer.ggml.merges",
            merges.iter().map(|&merge| merge.to_owned()).collect::<Vec<_>>(),
        );
    writer
}

fn build(writer: &GgufWriter) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_gguf(&GgufFile::from_bytes(writer.to_bytes()).unwrap())
}

const PARSE: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: true,
};

#[test]
fn merges_go_by_rank_and_from_the_left() {
    let tokenizer = build(&byte_level("gpt-2", &["a a", "b c", "a b", "aa a"], &[])).unwrap();
    let pieces = |text| {
        let ids = tokenizer.encode(text, EncodeOptions::TEXT);
        let texts: Vec<&str> = ids
            .iter()
            .map(|&id| std::str::from_utf8(tokenizer.token_bytes(id)).unwrap())
            .collect();
        texts.join("|")
    };
    assert_eq!(pieces("abc"), "a|bc");
    assert_eq!(pieces("aaaa"), "aa|aa");
    assert_eq!(pieces("aaa"), "aaa");
    assert_eq!(pieces("aaaaa"), "aa|aaa");
}

#[test]
fn end_tokens_are_found_by_key_and_by_name() {
    let special = [
        ("<|im_start|>", 3),
        ("<|im_end|>", 3),
        ("<|endoftext|>", 3),
        ("<fin>", 3),
        ("<|eom_id|>", 1),
    ];
    let mut writer = byte_level("qwen2", &[], &special);
    writer.set("tokenizer.ggml.eos_token_id", 259_u32);
    let tokenizer = build(&writer).unwrap();
    assert_eq!(tokenizer.end_of_generation(), [257, 258, 259, 260]);
    assert!(
        tokenizer.is_control(260),
        "an end token that the file calls normal"
    );
    assert_eq!(tokenizer.eos(), Some(259));
    assert_eq!(tokenizer.bos(), None);
    assert!(!tokenizer.is_end_of_generation(256));
    assert_eq!(tokenizer.special_token("<|im_start|>"), Some(256));
    assert_eq!(tokenizer.special_token("<|im_start|>x"), None);
}

#[test]
fn a_begin_token_is_added_once() {
    let mut writer = byte_level("gpt-2", &[], &[("<s>", 3), ("<e>", 3)]);
    writer
        .set("tokenizer.ggml.bos_token_id", 256_u32)
        .set("tokenizer.ggml.eos_token_id", 257_u32);
    writer
        .set("tokenizer.ggml.add_bos_token", true)
        .set("tokenizer.ggml.add_eos_token", true);
    let tokenizer = build(&writer).unwrap();
    let a = u32::from(b'a');
    assert_eq!(tokenizer.encode("a", EncodeOptions::PROMPT), [256, a, 257]);
    assert_eq!(tokenizer.encode("<s>a<e>", EncodeOptions::PROMPT), [256, a, 257]);
    assert_eq!(tokenizer.encode("", EncodeOptions::PROMPT), [256, 257]);
    assert_eq!(tokenizer.encode("a", PARSE), [a]);
}

#[test]
fn quoted_control_tokens_stay_text() {
    let tokenizer = build(&byte_level("gpt-2", &[], &[("<|im_end|>", 3), ("<tool>", 4)])).unwrap();
    let quoted = "say <|im_end|> and <tool>, <|im_<|im_end|>end|>";
    let escaped = tokenizer.escape_control_tokens(quoted);
    let ids = tokenizer.encode(&format!("{escaped}<|im_end|>"), PARSE);
    assert_eq!(
        ids.iter().filter(|&&id| id == 256).count(),
        1,
        "only the template's own token"
    );
    assert_eq!(
        ids.iter().filter(|&&id| id == 257).count(),
        1,
        "user-defined tokens are text"
    );
    assert_eq!(String::from_utf8(tokenizer.decode(&ids)).unwrap(), quoted);
    assert!(matches!(
        tokenizer.escape_control_tokens("nothing special"),
        Cow::Borrowed(_)
    ));
}

#[test]
fn control_tokens_never_come_from_merging() {
    // `<` and `>` merge to the very text of a control token.
    let tokenizer = build(&byte_level("gpt-2", &["< >"], &[("<>", 3)])).unwrap();
    assert_eq!(tokenizer.encode("<>", EncodeOptions::TEXT), [256]);
    assert_eq!(tokenizer.encode("<>", PARSE), [257]);
}

fn sentence_piece(add_space_prefix: bool) -> Tokenizer {
    let mut texts: Vec<String> = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
    let mut types = vec![2, 3, 3];
    let mut scores = vec![0.0; 3];
    for byte in 0..=u8::MAX {
        texts.push(format!("<0x{byte:02X}>"));
        types.push(6);
        scores.push(0.0);
    }
    let words = [
        ("▁", -5.0),
        ("h", -6.0),
        ("i", -7.0),
        ("▁h", -2.0),
        ("hi", -1.0),
        ("▁hi", -0.5),
        ("\n\n", -9.0),
    ];
    for (text, score) in words {
        texts.push(text.to_owned());
        types.push(if text == "\n\n" { 4 } else { 1 });
        scores.push(score);
    }
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", texts)
        .set("tokenizer.ggml.token_type", types)
        .set("tokenizer.ggml.scores", scores)
        .set("tokenizer.ggml.add_space_prefix", add_space_prefix);
    build(&writer).unwrap()
}

#[test]
fn sentence_piece_merges_by_score_and_falls_back_to_bytes() {
    let tokenizer = sentence_piece(false);
    let byte = |byte: u8| 3 + u32::from(byte);
    assert_eq!(tokenizer.encode("hi hi", EncodeOptions::TEXT), [263, 264]);
    assert_eq!(
        tokenizer.encode("é", EncodeOptions::TEXT),
        [byte(0xC3), byte(0xA9)]
    );
    assert_eq!(
        tokenizer.encode("h\n\n\n", EncodeOptions::TEXT),
        [260, 265, byte(b'\n')]
    );
    assert_eq!(
        tokenizer.encode("hi", EncodeOptions::PROMPT),
        [1, 263],
        "a begin token is the default"
    );
    assert_eq!(
        tokenizer.decode(&[1, 264, byte(0xC3), byte(0xA9), 2]),
        " hié".as_bytes()
    );
    assert_eq!(
        sentence_piece(true).encode("hi</s>hi", PARSE),
        [264, 2, 264],
        "a space after special tokens"
    );
}

#[test]
fn inconsistent_vocabularies_are_refused() {
    let refused = |writer: &GgufWriter| build(writer).unwrap_err().to_string();
    let mut writer = byte_level("gpt-2", &[], &[]);
    writer.set("tokenizer.ggml.token_type", vec![1_i32]);
    assert!(refused(&writer).contains("256 tokens but 1 token types"));

    let mut writer = byte_level("gpt-2", &["a b"], &[]);
    writer.set("tokenizer.ggml.merges", vec!["ab".to_owned()]);
    assert!(refused(&writer).contains("merge 0 has one part"));

    let mut writer = byte_level("gpt-2", &[], &[]);
    writer.set("tokenizer.ggml.model", "t5");
    assert!(refused(&writer).contains("kind `t5`"));
    writer.set("tokenizer.ggml.model", 7_u32);
    assert!(refused(&writer).contains("tokenizer.ggml.model"));

    assert!(refused(&byte_level("surprise", &[], &[])).contains("`surprise`"));
    assert!(refused(&byte_level("gpt-2", &[], &[(&"x".repeat(20_000), 1)])).contains("20000 bytes long"));

    // Ids outside the vocabulary count as absent.
    let mut writer = byte_level("gpt-2", &[], &[]);
    writer
        .set("tokenizer.ggml.bos_token_id", u32::MAX)
        .set("tokenizer.ggml.eos_token_id", 999_u32);
    let tokenizer = build(&writer).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (None, None));
    assert_eq!(tokenizer.token_bytes(999), b"");
}

#[test]
fn constrained_decoding_sees_the_vocabulary() {
    let tokenizer = load(SMOLLM2);
    let environment = tokenizer.tok_env();
    let trie = environment.tok_trie();
    assert_eq!(trie.vocab_size(), tokenizer.vocabulary_size());
    assert_eq!(Some(trie.eos_token()), tokenizer.eos());
    assert!(trie.is_special_token(1));
    let text = "{\"name\": \"Ada\", \"age\": 36}";
    let ids = environment.tokenize(text);
    assert_eq!(ids, tokenizer.encode(text, EncodeOptions::TEXT));
    assert_eq!(trie.decode(&ids), text.as_bytes());
    assert_eq!(
        environment.tokenize_bytes(b"a\xff\xfeb").len(),
        2,
        "bytes that no text has are left out"
    );
    assert!(
        Arc::ptr_eq(&environment, &tokenizer.clone().tok_env()),
        "built once"
    );
}

#[test]
fn absurdly_long_tokens_do_not_break_the_tree() {
    let long = "y".repeat(5_000);
    let tokenizer = build(&byte_level("gpt-2", &[], &[(&long, 1), ("<|end|>", 3)])).unwrap();
    let environment = tokenizer.tok_env();
    assert_eq!(environment.tok_trie().token(256), b"");
    assert_eq!(environment.tok_trie().eos_token(), 257);
}

#[test]
fn long_words_take_no_quadratic_time() {
    // One million letters without a space, and as many spaces: minutes if merging were quadratic.
    let tokenizer = load(SMOLLM2);
    for text in [
        "ab".repeat(500_000),
        " ".repeat(1_000_000),
        "漢字".repeat(170_000),
    ] {
        let ids = tokenizer.encode(&text, EncodeOptions::TEXT);
        assert_eq!(tokenizer.decode(&ids), text.as_bytes());
    }
}
