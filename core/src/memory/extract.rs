//! Facts about the user, found in what the user said.
//!
//! Turn by turn: rules choose statements in which the user speaks of themselves or of theirs (no questions, suppositions,
//! jokes, quotations, tasks, and nothing that the assistant said) and put them into the third person; the model is
//! asked of each one whether it lasts and of what kind it is, in a form it cannot leave. A fact's words must be the
//! user's words. So a model can at worst keep a true but trifling sentence; it cannot invent one, and orders hidden in a
//! text stay text.
//!
//! Statements are recognised in English, German, French, Spanish, Portuguese, Italian and Dutch, and to a small part in
//! Russian, Polish, Swedish, Danish, Norwegian, Finnish and Turkish. English facts are rewritten; the others keep the
//! user's own words.

mod ask;
mod check;
mod model;
mod rewrite;
mod sentences;

use serde_json::Value;

pub(crate) use check::is_sensitive;
pub use hearth_store::MemoryKind as Kind;
pub use model::ChatJson;
pub(crate) use model::json_generation;

use crate::error::EngineError;
use crate::host::port::PromptMessage;
use crate::types::Role;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who says it.
    pub speaker: Role,
    /// What is said.
    pub text: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A fact about the user.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// One short statement.
    pub text: String,
    /// Its kind.
    pub kind: Kind,
    /// How often facts found this way are right, 0 to 1; measured, not the model's claim.
    pub confidence: f32,
    /// Whether it belongs to a special category of personal data.
    pub sensitive: bool,
    /// Since when it has held, in milliseconds since the Unix epoch.
    pub valid_from_ms: Option<i64>,
    /// Until when it held.
    pub valid_to_ms: Option<i64>,
    /// The turns it comes from.
    pub source_turns: Vec<usize>,
}

/// A model that answers in a demanded form.
pub trait JsonModel {
    /// The answer as JSON text that follows `schema`, of at most `max_tokens` tokens. Blocks.
    fn answer(
        &self,
        messages: &[PromptMessage],
        schema: &Value,
        max_tokens: u32,
    ) -> Result<String, EngineError>;
}

/// How facts are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExtractOptions {
    /// Facts with less confidence are dropped.
    pub min_confidence: f32,
    /// How far the model's word is taken.
    pub trust: Trust,
}

/// How far a model's judgement of a statement is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The model decides; its "none" also drops statements whose attribute the rules know.
    Full,
    /// The model decides only about statements that the rules do not know.
    Partial,
    /// The model is not asked: only what the rules know is kept.
    Rules,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            min_confidence: 0.7,
            trust: Trust::Partial,
        }
    }
}

impl ExtractOptions {
    /// What a model of this id was measured to be good for; unknown models get what the smallest measured one of their sort gets.
    pub fn for_model(id: &str) -> Self {
        let trust = if id.starts_with("smollm2-135m") {
            Trust::Rules
        } else {
            Trust::Partial
        };
        Self {
            trust,
            ..Self::default()
        }
    }
}

/// Finds facts about the user in a conversation, in order.
///
/// # Errors
/// What the model fails with; an answer that is not of the demanded form only loses its statement.
pub fn extract(
    turns: &[Turn],
    model: &dyn JsonModel,
    options: &ExtractOptions,
) -> Result<Vec<Fact>, EngineError> {
    let schema = ask::schema();
    let mut facts: Vec<Fact> = Vec::new();
    for candidate in sentences::candidates(turns) {
        let text = rewrite::fact(&candidate);
        if text.split_whitespace().count() < 2 || !check::is_grounded(&text, &said(turns, candidate.turn)) {
            continue;
        }
        let known = super::compare::known_kind(&text);
        let opinion = if options.trust == Trust::Rules {
            None
        } else {
            ask::read(&model.answer(&ask::messages(&candidate), &schema, ask::MAX_TOKENS)?)
        };
        let Some((kind, confidence)) = judge(&text, known, opinion, options.trust, candidate.asked_for)
        else {
            continue;
        };
        if confidence < options.min_confidence {
            continue;
        }
        let (valid_from_ms, valid_to_ms) =
            super::when::validity(&text, kind == Kind::Event, turns[candidate.turn].at_ms);
        facts.push(Fact {
            sensitive: is_sensitive(&text) || opinion.is_some_and(|opinion| opinion.private),
            text,
            kind,
            confidence,
            valid_from_ms,
            valid_to_ms,
            source_turns: vec![candidate.turn],
        });
    }
    Ok(facts)
}

/// Everything the user has said up to a turn.
fn said(turns: &[Turn], until: usize) -> String {
    let texts: Vec<&str> = turns[..=until]
        .iter()
        .filter(|turn| turn.speaker == Role::User)
        .map(|turn| turn.text.as_str())
        .collect();
    texts.join("\n")
}

/// Kind and confidence of a statement, from what rules and model say of it.
///
/// The confidences follow the shares of right facts among the few found each way in the `extraction` bench; they are rough.
fn judge(
    text: &str,
    known: Option<Kind>,
    opinion: Option<ask::Opinion>,
    trust: Trust,
    asked_for: bool,
) -> Option<(Kind, f32)> {
    let said = opinion
        .and_then(|opinion| opinion.kind)
        .map(|kind| check::kind(text, kind));
    if asked_for {
        return Some((known.or(said).unwrap_or(Kind::Biography), 1.0));
    }
    match (known, said, trust) {
        // The rules know the kinds of the attributes that they know.
        (Some(kind), Some(_), _) => Some((kind, 0.95)),
        (Some(kind), None, Trust::Rules | Trust::Partial) => Some((kind, 0.85)),
        (None, Some(kind), Trust::Full | Trust::Partial) => Some((kind, 0.9)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
