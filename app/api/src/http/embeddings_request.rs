//! Reading a `/v1/embeddings` request and writing its answer.

use serde_json::{Value, json};

use super::chat_request::named_model;
use super::error::HttpError;
use super::fields::{Fields, wrong_type};

/// Most texts in one request (OpenAI's own limit).
const MOST_INPUTS: usize = 2048;

/// A request that was understood completely.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EmbeddingsRequest {
    /// Absent means the setting's.
    pub(super) model: Option<String>,
    pub(super) input: Vec<String>,
    /// Little-endian `f32`s in base64 instead of numbers: what the official clients ask for.
    pub(super) base64: bool,
    /// Wanted length of the vectors; only the model's own is accepted.
    pub(super) dimensions: Option<u32>,
}

impl EmbeddingsRequest {
    /// Reads the body of a request.
    pub(super) fn parse(body: &[u8]) -> Result<Self, HttpError> {
        let mut fields = Fields::of_body(body)?;
        let model = match fields.require("model")? {
            Value::String(model) => model,
            other => return Err(wrong_type("model", "a string", &other)),
        };
        let input = inputs(fields.require("input")?)?;
        let base64 = match fields.string("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                let text = format!("'encoding_format' must be float or base64, not {other:?}.");
                return Err(HttpError::invalid_value("encoding_format", text));
            }
        };
        let dimensions = fields.count("dimensions", 1)?;
        fields.ignore(&["user"]);
        fields.finish()?;
        Ok(Self {
            model: named_model(model),
            input,
            base64,
            dimensions,
        })
    }
}

/// The answer to a request, `embeddings` in the order of the inputs.
pub(super) fn response(model: &str, embeddings: &[Vec<f32>], as_base64: bool, prompt_tokens: u32) -> Value {
    let data: Vec<Value> = embeddings
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if as_base64 {
                json!(base64(vector))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let usage = json!({"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens});
    json!({"object": "list", "data": data, "model": model, "usage": usage})
}

fn inputs(value: Value) -> Result<Vec<String>, HttpError> {
    let texts = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| match item {
                Value::String(text) => Ok(text),
                Value::Number(_) | Value::Array(_) => Err(HttpError::unsupported(
                    "input",
                    "Lists of tokens are not accepted; send text.",
                )),
                other => Err(wrong_type(&format!("input[{index}]"), "a string", &other)),
            })
            .collect::<Result<_, _>>()?,
        other => return Err(wrong_type("input", "a string or a list of strings", &other)),
    };
    if texts.is_empty() || texts.len() > MOST_INPUTS {
        let text = format!("'input' must hold 1 to {MOST_INPUTS} texts, not {}.", texts.len());
        return Err(HttpError::invalid_value("input", text));
    }
    if texts.iter().any(String::is_empty) {
        return Err(HttpError::invalid_value(
            "input",
            "'input' may not hold an empty text.",
        ));
    }
    Ok(texts)
}

/// Standard base64 with padding (RFC 4648, section 4) of the vector's little-endian bytes.
fn base64(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let sextet = group >> (18 - 6 * place) & 63;
            let padding = place > chunk.len();
            text.push(if padding {
                '='
            } else {
                char::from(ALPHABET[sextet as usize])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<EmbeddingsRequest, HttpError> {
        EmbeddingsRequest::parse(body.to_string().as_bytes())
    }

    #[test]
    fn one_text_or_many_are_read() {
        let one = parse(&json!({"model": "m", "input": "a", "user": "u"})).unwrap();
        assert_eq!((one.input, one.base64), (vec!["a".to_owned()], false));
        let many = parse(&json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64"})).unwrap();
        assert!(many.base64 && many.input.len() == 2);
    }

    #[test]
    fn what_is_not_text_is_refused() {
        for input in [
            json!([]),
            json!(""),
            json!([1, 2]),
            json!([[1, 2]]),
            json!({}),
            json!(["a", true]),
            json!(["a", ""]),
        ] {
            assert_eq!(
                parse(&json!({"model": "m", "input": input})).unwrap_err().status,
                400,
                "{input}"
            );
        }
        assert!(parse(&json!({"model": "m", "input": vec!["a"; MOST_INPUTS + 1]})).is_err());
        assert!(parse(&json!({"model": "m", "input": "a", "encoding_format": "int8"})).is_err());
        assert!(parse(&json!({"model": "m", "input": "a", "speed": 1})).is_err());
        assert!(parse(&json!({"model": "m"})).is_err());
    }

    #[test]
    fn base64_holds_little_endian_floats() {
        // Python: base64.b64encode(struct.pack("<f", x)) for each of the vectors.
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64(&[1.0, -2.5, 0.1]), "AACAPwAAIMDNzMw9");
    }
}
