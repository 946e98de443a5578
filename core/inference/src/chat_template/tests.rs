//! Templates against jinja2's output, and what is done about templates that refuse, drop or fail.
#![allow(
    clippy::disallowed_methods,
    reason = "tests find model files through the environment"
)]

use std::path::{Path, PathBuf};

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
    template: String,
    messages: Vec<ChatMessage>,
    add_generation_prompt: bool,
    enable_thinking: bool,
    text: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn models() -> PathBuf {
    std::env::var_os("HEARTH_TEST_MODELS")
        .expect("HEARTH_TEST_MODELS names the models' folder")
        .into()
}

fn from_model(model: &str) -> ChatTemplate {
    let path = models().join(model);
    let file = GgufFile::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    ChatTemplate::from_gguf(&file, &tokenizer).unwrap()
}

fn from_folder(name: &str) -> ChatTemplate {
    let source = std::fs::read_to_string(folder().join("templates").join(name)).unwrap();
    ChatTemplate::from_source(&source, "<BOS>", "<EOS>").unwrap()
}

/// 2026-03-09 14:05:07, the time in the goldens.
fn now() -> LocalTime {
    LocalTime::from_unix(1_773_065_107, 0)
}

fn compare(template: &ChatTemplate, name: &str) {
    let goldens: Goldens =
        serde_json::from_slice(&std::fs::read(folder().join("templates.json")).unwrap()).unwrap();
    let mut compared = 0;
    for case in goldens.cases.into_iter().filter(|case| case.template == name) {
        let Golden {
            messages,
            add_generation_prompt,
            enable_thinking,
            ..
        } = case;
        let rendered = template.render(
            &messages,
            RenderOptions {
                add_generation_prompt,
                enable_thinking,
                now: Some(now()),
            },
        );
        let has_system = messages.iter().any(|message| message.role == Role::System);
        match case.text {
            // A template that drops system messages is where the peer's output isn't wanted.
            Some(_) if has_system && !template.takes_system_message() => {
                let text = rendered.unwrap().to_lowercase();
                assert!(
                    text.contains("be brief") || text.contains("you're"),
                    "{name} dropped the system message"
                );
            }
            Some(expected) => assert_eq!(rendered.unwrap(), expected, "{name}: {messages:?}"),
            None => assert!(
                rendered.is_ok(),
                "{name} should get turns that alternate: {rendered:?}"
            ),
        }
        compared += 1;
    }
    assert_eq!(compared, 21, "{name}");
}

#[test]
fn renders_as_the_peer_does() {
    for name in [
        "qwen3-like.jinja",
        "llama3-like.jinja",
        "gemma3-like.jinja",
        "gemma1-like.jinja",
        "parts-only.jinja",
        "python-methods.jinja",
    ] {
        compare(&from_folder(name), name);
    }
}

#[test]
fn smollm2_renders_as_the_peer_does() {
    let template = from_model(SMOLLM2);
    assert_eq!(template.origin(), TemplateOrigin::File);
    compare(&template, "SmolLM2-135M-Instruct.Q4_1.gguf");
}

#[test]
fn big_qwen_renders_as_the_peer_does() {
    compare(&from_model(QWEN25), "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
}

#[test]
fn big_gemma_base_model_gets_gemma_turns() {
    let template = from_model(GEMMA3);
    assert_eq!(template.origin(), TemplateOrigin::Gemma);
    let messages = [
        ChatMessage::new(Role::System, "Be brief."),
        ChatMessage::new(Role::User, "Hi"),
    ];
    assert_eq!(
        template.render(&messages, RenderOptions::default()).unwrap(),
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn a_refused_system_message_goes_before_the_first_user_turn() {
    let template = from_folder("gemma1-like.jinja");
    assert!(!template.takes_system_message());
    let messages = [
        ChatMessage::new(Role::System, "Be brief."),
        ChatMessage::new(Role::User, "Hi"),
        ChatMessage::new(Role::Assistant, "Hello"),
        ChatMessage::new(Role::User, "Bye"),
    ];
    assert_eq!(
        template.render(&messages, RenderOptions::default()).unwrap(),
        "<BOS><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n\
         <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn a_dropped_system_message_is_noticed() {
    let source = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}";
    let template = ChatTemplate::from_source(source, "", "").unwrap();
    let messages = [
        ChatMessage::new(Role::System, "rules"),
        ChatMessage::new(Role::User, "hi"),
    ];
    assert_eq!(
        template.render(&messages, RenderOptions::default()).unwrap(),
        "[rules\n\nhi]"
    );
    assert_eq!(
        template.render(&messages[..1], RenderOptions::default()).unwrap(),
        "[rules]"
    );
}

#[test]
fn a_refusal_that_cannot_be_helped_keeps_its_words() {
    let template =
        ChatTemplate::from_source("{{ raise_exception('never: ' ~ bos_token) }}", "<s>", "").unwrap();
    let outcome = template.render(&[ChatMessage::new(Role::User, "hi")], RenderOptions::default());
    assert!(matches!(outcome, Err(TemplateError::Refused { reason }) if reason == "never: <s>"));
    assert!(matches!(
        template.render(&[], RenderOptions::default()),
        Err(TemplateError::Empty)
    ));
}

#[test]
fn hostile_templates_end() {
    let endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(1000) %}x\
                   {% endfor %}{% endfor %}{% endfor %}";
    let huge = "{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{{ s }}{% endfor %}";
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    for source in [endless, huge, recursive] {
        let template = ChatTemplate::from_source(source, "", "").unwrap();
        let outcome = template.render(&[ChatMessage::new(Role::User, "hi")], RenderOptions::default());
        assert!(matches!(outcome, Err(TemplateError::Failed { .. })), "{source}");
    }
}

#[test]
fn without_a_time_templates_use_their_own_date() {
    let template = from_folder("llama3-like.jinja");
    let messages = [ChatMessage::new(Role::User, "hi")];
    let with = |now| {
        template
            .render(
                &messages,
                RenderOptions {
                    now,
                    ..RenderOptions::default()
                },
            )
            .unwrap()
    };
    assert!(with(None).contains("Today Date: 26 Jul 2024\n"));
    assert!(with(Some(now())).contains("Today Date: 09 Mar 2026\n"));
}

#[test]
fn thinking_is_recognised() {
    assert!(from_folder("qwen3-like.jinja").mentions_thinking());
    assert!(!from_folder("gemma3-like.jinja").mentions_thinking());
    assert!(ChatTemplate::opens_thinking("<|im_start|>assistant\n<think>\n"));
    assert!(!ChatTemplate::opens_thinking(
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    ));
}

/// A vocabulary of all bytes and the given control tokens, with an optional template.
fn small_model(control: &[&str], template: Option<&str>) -> ChatTemplate {
    let mut texts: Vec<String> = (b'!'..=b'~').map(|byte| char::from(byte).to_string()).collect();
    let mut types = vec![1; texts.len()];
    for name in control {
        texts.push((*name).to_owned());
        types.push(3);
    }
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "gpt-2")
        .set("tokenizer.ggml.tokens", texts)
        .set("tokenizer.ggml.token_type", types)
        .set("tokenizer.ggml.merges", Vec::<String>::new());
    if let Some(template) = template {
        writer.set("tokenizer.chat_template", template);
    }
    let file = GgufFile::from_bytes(writer.to_bytes()).unwrap();
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    ChatTemplate::from_gguf(&file, &tokenizer).unwrap()
}

#[test]
fn models_without_a_template_get_one_by_their_tokens() {
    let messages = [
        ChatMessage::new(Role::System, "S"),
        ChatMessage::new(Role::User, "U"),
        ChatMessage::new(Role::Assistant, "A"),
        ChatMessage::new(Role::User, "V"),
    ];
    let check = |control: &[&str], template, origin, expected: &str| {
        let template = small_model(control, template);
        assert_eq!(template.origin(), origin);
        assert_eq!(
            template.render(&messages, RenderOptions::default()).unwrap(),
            expected
        );
    };
    let chat_ml = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n\
                   <|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n";
    check(
        &["<|im_start|>", "<|im_end|>"],
        None,
        TemplateOrigin::ChatMl,
        chat_ml,
    );
    check(
        &["<|im_start|>", "<|im_end|>"],
        Some("{% broken"),
        TemplateOrigin::ChatMl,
        chat_ml,
    );
    check(
        &["<|im_start|>", "<|im_end|>"],
        Some(" \n"),
        TemplateOrigin::ChatMl,
        chat_ml,
    );
    check(
        &["<start_of_turn>", "<end_of_turn>"],
        None,
        TemplateOrigin::Gemma,
        "<start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n\
         <start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n",
    );
    check(
        &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        None,
        TemplateOrigin::Llama3,
        "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n",
    );
    check(
        &[],
        None,
        TemplateOrigin::Plain,
        "S\n\nUser: U\nAssistant: A\nUser: V\nAssistant:",
    );
}
