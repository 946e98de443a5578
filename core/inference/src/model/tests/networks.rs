//! The whole way, on small networks with random weights.

use serde_json::{Value, json};

use super::*;
use crate::testing::FAMILIES;

fn load(family: Architecture) -> LanguageModel {
    load_on(family, DevicePreference::Cpu)
}

fn load_on(family: Architecture, device: DevicePreference) -> LanguageModel {
    let file = tiny(family, GgmlType::Q8_0, 5);
    let options = LoadOptions {
        device,
        ..LoadOptions::default()
    };
    let (decoder, info) = load::open(&file, &options).unwrap();
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let template = ChatTemplate::from_gguf(&file, &tokenizer).unwrap();
    LanguageModel::start(decoder, tokenizer, template, info).unwrap()
}

fn prompt(model: &LanguageModel, text: &str) -> Vec<u32> {
    model.tokenize(text, EncodeOptions::PROMPT)
}

#[test]
fn a_reused_prefix_gives_the_same_answer() {
    for family in FAMILIES {
        let reference = || load_on(family, DevicePreference::CpuReference);
        let (model, other) = (reference(), reference());
        let first = prompt(&model, "hello there, this is the first turn of a chat");
        let reply = generate(&model, greedy(first.clone(), 20)).done();
        let mut turn = first;
        turn.extend(prompt(&model, &reply.text));
        turn.extend(prompt(&model, " and the second turn"));
        let warm = generate(&model, greedy(turn.clone(), 20)).done();
        let fresh = generate(&other, greedy(turn, 20)).done();
        assert!(warm.reused_tokens > 20 && fresh.reused_tokens == 0);
        assert_eq!(warm.text, fresh.text, "{family:?}");
    }
}

#[test]
fn a_seed_fixes_the_answer() {
    let model = load(Architecture::Llama);
    let draw = |seed, session| {
        let mut request = GenerateRequest::new(prompt(&model, "hello"), 20);
        request.sampling.seed = Some(seed);
        request.session = Some(session);
        generate(&model, request).done().text
    };
    assert_eq!(draw(1, 1), draw(1, 2));
    assert_ne!(draw(1, 1), draw(2, 1));
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 12 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "kind": { "enum": ["constraint", "biography", null] },
            "tags": { "type": "array", "items": { "type": "boolean" }, "maxItems": 3 },
        },
        "required": ["name", "age", "kind", "tags"],
        "additionalProperties": false,
    })
}

fn is_valid(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    object.len() == 4
        && object["name"]
            .as_str()
            .is_some_and(|name| name.chars().count() <= 12)
        && object["age"].as_u64().is_some_and(|age| age <= 150)
        && (object["kind"].is_null()
            || ["constraint", "biography"]
                .iter()
                .any(|kind| object["kind"] == *kind))
        && object["tags"]
            .as_array()
            .is_some_and(|tags| tags.len() <= 3 && tags.iter().all(Value::is_boolean))
}

#[test]
fn json_is_valid_whatever_the_network_wants() {
    let model = load(Architecture::Qwen2);
    let mut finished = 0;
    for seed in 0..60 {
        let mut request = GenerateRequest::new(prompt(&model, "hello"), if seed % 4 == 0 { 25 } else { 150 });
        request.sampling.seed = Some(seed);
        request.sampling.temperature = if seed % 2 == 0 { 0.8 } else { 3.0 };
        request.format = ResponseFormat::JsonSchema(schema());
        let done = generate(&model, request).done();
        let parsed = serde_json::from_str::<Value>(&done.text);
        match done.finish {
            FinishReason::Stop => {
                finished += 1;
                assert!(parsed.as_ref().is_ok_and(is_valid), "seed {seed}: {}", done.text);
            }
            // Cut short, it must not look complete.
            _ => assert!(
                parsed.is_err(),
                "seed {seed}: {} is complete but said to be cut",
                done.text
            ),
        }
    }
    assert!(finished > 30, "only {finished} answers were finished");
}

#[test]
fn any_object_is_an_object() {
    let model = load(Architecture::Llama);
    for seed in 0..20 {
        let mut request = GenerateRequest::new(prompt(&model, "{"), 200);
        request.sampling.seed = Some(seed);
        request.format = ResponseFormat::JsonObject;
        let done = generate(&model, request).done();
        assert!(done.text.starts_with('{'), "seed {seed}: {}", done.text);
        if done.finish == FinishReason::Stop {
            // Not `Value`: a network may write numbers that no float holds.
            serde_json::from_str::<serde::de::IgnoredAny>(&done.text).unwrap();
        }
    }
}

#[test]
fn an_estimate_above_the_limit_is_refused_with_numbers() {
    let file = tiny(Architecture::Llama, GgmlType::F32, 1);
    let needed = estimate_memory(&file, &LoadOptions::default()).unwrap();
    assert!(
        needed.weights_bytes > 100_000 && needed.kv_bytes > 100_000,
        "{needed:?}"
    );
    let options = LoadOptions {
        memory_limit_bytes: Some(needed.total_bytes() - 1),
        ..LoadOptions::default()
    };
    let error = estimate_memory(&file, &options).unwrap_err();
    assert!(
        matches!(error, LoadError::DoesNotFit { needed: n, .. } if n == needed),
        "{error}"
    );
    assert!(load::open(&file, &options).is_err());
    let options = LoadOptions {
        memory_limit_bytes: Some(needed.total_bytes()),
        ..LoadOptions::default()
    };
    assert!(load::open(&file, &options).is_ok());
}

#[test]
fn tensors_of_wrong_shapes_are_named() {
    use crate::decoder::tensor_names::{ATTENTION_OUTPUT, layer};
    for family in FAMILIES {
        let name = layer(1, ATTENTION_OUTPUT);
        let file = testing::tiny_with_odd_matrix(family, &name);
        let options = LoadOptions {
            device: DevicePreference::CpuReference,
            ..LoadOptions::default()
        };
        let error = load::open(&file, &options).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains("[2, 3]"), "{error}");
    }
}

#[test]
fn any_tokens_are_answered() {
    for family in FAMILIES {
        let model = load(family);
        for round in 0..5u32 {
            // Bytes that are no UTF-8, control tokens and thinking tags in any order.
            let tokens = (0..60)
                .map(|n| (n * n * 37 + n * round * 11) % testing::VOCABULARY as u32)
                .collect();
            let mut request = GenerateRequest::new(tokens, 40);
            request.sampling.seed = Some(round.into());
            request.sampling.temperature = 5.0;
            request.sampling.top_k = 0;
            let done = generate(&model, request).done();
            assert!(done.completion_tokens <= 40 && done.prompt_tokens == 60);
        }
    }
}
