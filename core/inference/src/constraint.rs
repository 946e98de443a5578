//! Answers in a demanded form: JSON by schema, enforced token by token with `llguidance`.
//!
//! Most tokens a model wants to write are allowed, so a token is drawn first and checked (microseconds); only
//! when it is refused is the mask of the whole vocabulary computed and another drawn from what is allowed. Where
//! the form leaves no choice its tokens are taken without asking the model.
//!
//! White space between JSON's parts is one space, or one line break and some indentation, so that a model
//! can't go on with blanks for ever.

use std::fmt;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{SimpleVob, TokEnv};

/// White space allowed between two parts of the JSON.
const WHITE_SPACE: &str = r"\x20|\x0A\x20{0,24}";

/// Why a constraint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// The schema is invalid, or uses something that cannot be enforced.
    #[error("the JSON schema cannot be used: {0}")]
    Schema(String),
    /// The tokenizer cannot drive the grammar.
    #[error("constrained answers are not possible with this model: {0}")]
    Tokenizer(String),
    /// The grammar became too complex while the answer was written.
    #[error("the JSON schema became too complex to follow: {0}")]
    Parser(String),
}

/// Makes constraints for one model's vocabulary.
pub struct ConstraintFactory {
    parsers: ParserFactory,
}

impl fmt::Debug for ConstraintFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConstraintFactory").finish_non_exhaustive()
    }
}

impl ConstraintFactory {
    /// Prepares a vocabulary; takes some milliseconds for 100,000 tokens.
    pub fn new(tok_env: &TokEnv) -> Result<Self, ConstraintError> {
        let mut parsers = ParserFactory::new_simple(tok_env)
            .map_err(|error| ConstraintError::Tokenizer(error.to_string()))?;
        parsers.quiet();
        parsers.limits_mut().verbose_errors = false;
        Ok(Self { parsers })
    }

    /// Only JSON that is valid under `schema` (JSON Schema; an object or a boolean).
    ///
    /// # Errors
    /// [`ConstraintError::Schema`] for a schema that is malformed, that nothing can satisfy, or that uses keywords
    /// which can't be enforced: refused rather than ignored.
    pub fn json_schema(&self, schema: &Value) -> Result<Constraint, ConstraintError> {
        let mut schema = match schema {
            Value::Object(_) => schema.clone(),
            Value::Bool(true) => json!({}),
            Value::Bool(false) => {
                return Err(ConstraintError::Schema("`false` allows no answer at all".into()));
            }
            other => {
                let problem = format!("it must be an object, not {other}");
                return Err(ConstraintError::Schema(problem));
            }
        };
        if let Some(members) = schema.as_object_mut() {
            // The compiler's own options travel in the schema; a caller's are not taken.
            members.insert("x-guidance".into(), json!({ "whitespace_pattern": WHITE_SPACE }));
        }
        let parser = self
            .parsers
            .create_parser(TopLevelGrammar::from_json_schema(schema));
        let mut matcher = Matcher::new(parser);
        if let Some(error) = matcher.get_error() {
            return Err(ConstraintError::Schema(error));
        }
        if let Some(warning) = matcher.grammar_warnings().first() {
            return Err(ConstraintError::Schema(warning.clone()));
        }
        let mask = matcher
            .compute_mask()
            .map_err(|e| ConstraintError::Schema(e.to_string()))?;
        if mask.is_zero() {
            return Err(ConstraintError::Schema("no answer can satisfy it".into()));
        }
        Ok(Constraint { matcher })
    }

    /// Any JSON object.
    pub fn json_object(&self) -> Result<Constraint, ConstraintError> {
        self.json_schema(&json!({ "type": "object" }))
    }
}

/// The state of one constrained answer.
pub struct Constraint {
    matcher: Matcher,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl Constraint {
    /// Whether `token` may come next. Costs microseconds.
    pub fn allows(&mut self, token: u32) -> Result<bool, ConstraintError> {
        let accepted = self.matcher.validate_tokens(&[token]).map_err(parser_error)?;
        Ok(accepted == 1)
    }

    /// All tokens that may come next. Costs up to a millisecond.
    pub fn mask(&mut self) -> Result<SimpleVob, ConstraintError> {
        self.matcher.compute_mask_or_eos().map_err(parser_error)
    }

    /// Goes on by a token that is allowed.
    pub fn commit(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.matcher.consume_token(token).map_err(parser_error)
    }

    /// Tokens that must come next, if there is no choice; each is still to be committed.
    pub fn forced(&mut self) -> Vec<u32> {
        self.matcher.compute_ff_tokens()
    }

    /// Whether the answer could end here.
    pub fn may_end(&mut self) -> Result<bool, ConstraintError> {
        self.matcher.is_accepting().map_err(parser_error)
    }

    /// Whether the answer is complete and nothing can follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

fn parser_error(error: impl fmt::Display) -> ConstraintError {
    ConstraintError::Parser(error.to_string())
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::decoder::Architecture;
    use crate::gguf::{GgmlType, GgufFile};
    use crate::testing::{END, VOCABULARY, tiny};
    use crate::tokenizer::{EncodeOptions, Tokenizer};

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_gguf(&tiny(Architecture::Llama, GgmlType::F32, 0)).unwrap()
    }

    fn factory() -> ConstraintFactory {
        ConstraintFactory::new(&tokenizer().tok_env()).unwrap()
    }

    /// How many bytes of `text` are allowed, a token a byte.
    fn accepted(schema: &Value, text: &str) -> usize {
        let mut constraint = factory().json_schema(schema).unwrap();
        for (at, byte) in text.bytes().enumerate() {
            if constraint.is_complete() || !constraint.allows(byte.into()).unwrap() {
                return at;
            }
            constraint.commit(byte.into()).unwrap();
        }
        text.len()
    }

    #[track_caller]
    fn check(schema: &Value, text: &str, expected: usize) {
        assert_eq!(accepted(schema, text), expected, "of {text}");
    }

    #[test]
    fn only_valid_json_is_allowed() {
        let schema = json!({
            "type": "object",
            "properties": { "age": { "type": "integer", "minimum": 3, "maximum": 20 } },
            "required": ["age"],
            "additionalProperties": false,
        });
        check(&schema, r#"{"age":12}"#, 10);
        check(&schema, r#"{ "age": 12 }"#, 13);
        check(&schema, r#"{"age":21}"#, 8);
        check(&schema, r#"{"name":1}"#, 2);
        check(&schema, "{}", 1);
        check(&schema, "[1]", 0);
    }

    #[test]
    fn white_space_cannot_go_on() {
        let schema = json!({ "type": "array", "items": { "type": "integer" } });
        check(&schema, "[  1]", 2);
        check(&schema, "[\n\n1]", 2);
        check(&schema, "[\n    1\n]", 9);
        check(&schema, &format!("[\n{}1]", " ".repeat(40)), 26);
        // Nor can the caller's schema open that door.
        let schema = json!({ "type": "array", "x-guidance": { "whitespace_pattern": " *" } });
        check(&schema, "[  1]", 2);
    }

    #[test]
    fn the_mask_agrees_with_the_check() {
        let schema = json!({ "type": "object", "properties": { "hell": { "enum": ["he", "th", 4] } } });
        let mut constraint = factory().json_schema(&schema).unwrap();
        for byte in r#"{"hell":"th"}"#.bytes() {
            let mask = constraint.mask().unwrap();
            for token in 0..VOCABULARY as u32 {
                let allowed =
                    constraint.allows(token).unwrap() || token == END && constraint.may_end().unwrap();
                assert_eq!(
                    mask.is_allowed(token),
                    allowed,
                    "token {token} before {}",
                    char::from(byte)
                );
            }
            constraint.commit(byte.into()).unwrap();
        }
        assert!(constraint.may_end().unwrap() && constraint.is_complete());
    }

    #[test]
    fn what_must_come_is_known_without_asking() {
        let schema = json!({ "const": "hello" });
        let mut constraint = factory().json_schema(&schema).unwrap();
        let forced = constraint.forced();
        assert_eq!(tokenizer().decode(&forced), b"\"hello\"");
        for token in forced {
            constraint.commit(token).unwrap();
        }
        assert!(constraint.is_complete());
    }

    #[test]
    fn unusable_schemas_are_refused_before_anything_runs() {
        for schema in [
            json!({ "type": "strange" }),
            json!({ "type": "integer", "minimum": 5, "maximum": 4 }),
            json!({ "type": "string", "pattern": "(" }),
            json!({ "$ref": "https://example.com/schema.json" }),
            json!({ "type": "object", "patternProperties": 5 }),
            json!(false),
            json!("object"),
            json!(null),
        ] {
            let error = factory().json_schema(&schema).map(|_| ()).unwrap_err();
            assert!(
                matches!(&error, ConstraintError::Schema(why) if !why.is_empty()),
                "{schema}: {error:?}"
            );
        }
        assert!(factory().json_schema(&json!(true)).is_ok());
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is told by its environment where the models lie"
    )]
    fn a_long_answer_in_a_real_vocabulary_is_accepted() {
        let models =
            std::env::var_os("HEARTH_TEST_MODELS").expect("HEARTH_TEST_MODELS names the models' folder");
        let path = "smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf";
        let file = GgufFile::open(&std::path::Path::new(&models).join(path)).unwrap();
        let tokenizer = Tokenizer::from_gguf(&file).unwrap();
        let factory = ConstraintFactory::new(&tokenizer.tok_env()).unwrap();
        let schema = json!({
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "fact": { "type": "string" },
                    "kind": { "enum": ["constraint", "biography", "preference", "event", "context"] },
                    "confidence": { "type": "number" },
                },
                "required": ["fact", "kind", "confidence"],
                "additionalProperties": false,
            },
        });
        let fact = r#"{"fact": "Prefers trains to planes, and tea to coffee", "kind": "preference", "confidence": 0.8}"#;
        let text = format!("[{}]", [fact; 8].join(", "));
        let tokens = tokenizer.encode(&text, EncodeOptions::TEXT);
        let mut constraint = factory.json_schema(&schema).unwrap();
        for &token in &tokens {
            assert!(constraint.allows(token).unwrap());
            constraint.commit(token).unwrap();
            constraint.forced();
        }
        assert!(constraint.is_complete());
    }
}
