//! What an answer's demanded form costs: the time spent in the constraint beside the time spent in the network.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hearth_inference::constraint::ConstraintFactory;
use hearth_inference::decoder::{Decoder, Logits};
use hearth_inference::gguf::GgufFile;
use hearth_inference::sampling::{Sampler, SamplingOptions, likeliest};
use hearth_inference::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::{Value, json};

/// Answers end here if they haven't before.
const TOKENS: usize = 256;
const PROMPT: &str =
    "<|im_start|>user\nInvent three people and describe them as JSON.<|im_end|>\n<|im_start|>assistant\n";

/// Greedily writes an answer under a schema and says what the form cost: preparing it, and per token.
pub(super) fn measure(decoder: &mut dyn Decoder, file: &GgufFile) -> Result<Value> {
    let tokenizer = Tokenizer::from_gguf(file)?;
    let start = Instant::now();
    let factory = ConstraintFactory::new(&tokenizer.tok_env())?;
    let vocabulary = start.elapsed();
    let start = Instant::now();
    let mut constraint = factory.json_schema(&schema())?;
    let compile = start.elapsed();

    let options = EncodeOptions {
        add_special: true,
        parse_special: true,
    };
    let mut sampler = Sampler::new(SamplingOptions::greedy())?;
    let mut logits = Vec::new();
    decoder.truncate(0, 0);
    decoder.forward(0, &tokenizer.encode(PROMPT, options), Logits::Last, &mut logits)?;
    let (mut form, mut network) = (Duration::ZERO, Duration::ZERO);
    let (mut tokens, mut slowest) = (Vec::new(), Duration::ZERO);
    while tokens.len() < TOKENS && !constraint.is_complete() {
        let best = likeliest(&logits).context("no logits")?;
        let start = Instant::now();
        let token = if constraint.allows(best)? {
            best
        } else {
            let mask = constraint.mask()?;
            sampler.draw(&logits, Some(&mask)).context("nothing is allowed")?
        };
        constraint.commit(token)?;
        let took = start.elapsed();
        form += took;
        slowest = slowest.max(took);
        if tokenizer.is_end_of_generation(token) {
            break;
        }
        tokens.push(token);
        let start = Instant::now();
        decoder.forward(0, &[token], Logits::Last, &mut logits)?;
        network += start.elapsed();
    }
    let count = tokens.len().max(1) as f64;
    Ok(json!({
        "tokens": tokens.len(),
        "microseconds_per_token": form.as_secs_f64() * 1e6 / count,
        "slowest_microseconds": slowest.as_secs_f64() * 1e6,
        "percent_of_decode": form.as_secs_f64() / network.as_secs_f64() * 100.0,
        "vocabulary_ms": vocabulary.as_secs_f64() * 1e3,
        "schema_ms": compile.as_secs_f64() * 1e3,
        "answer": String::from_utf8_lossy(&tokenizer.decode(&tokens)),
    }))
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "people": { "type": "array", "minItems": 3, "maxItems": 3, "items": {
            "type": "object",
            "properties": {
                "name": { "type": "string", "maxLength": 40 },
                "age": { "type": "integer", "minimum": 0, "maximum": 120 },
                "occupation": { "enum": ["baker", "carpenter", "nurse", "teacher", "writer"] },
                "languages": { "type": "array", "items": { "type": "string", "maxLength": 20 }, "maxItems": 3 },
                "address": {
                    "type": "object",
                    "properties": { "street": { "type": "string", "maxLength": 40 }, "city": { "type": "string", "maxLength": 40 } },
                    "required": ["street", "city"],
                    "additionalProperties": false
                }
            },
            "required": ["name", "age", "occupation", "languages", "address"],
            "additionalProperties": false
        } } },
        "required": ["people"],
        "additionalProperties": false
    })
}
