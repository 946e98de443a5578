//! How memories are ranked: similarity × recency × confidence × familiarity.

use hearth_store::{MemoryKind, MemoryState, RecallRow};
use serde::Serialize;

use super::question::Question;
use super::weights::FactWeights;

/// What ranking looks at in a memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fact {
    /// What it is about.
    pub kind: Option<MemoryKind>,
    /// Whether it was replaced by another one.
    pub superseded: bool,
    /// From 0 to 1.
    pub confidence: f32,
    /// When it was first stored; milliseconds since the Unix epoch, as all times here.
    pub at_ms: i64,
    /// When it was last said or changed.
    pub updated_at_ms: i64,
    /// Since when it holds.
    pub valid_from_ms: Option<i64>,
    /// Until when it held.
    pub valid_to_ms: Option<i64>,
    /// How often it was put before the model.
    pub use_count: u32,
    /// Never fading.
    pub pinned: bool,
    /// The cosine of its vector and the question's, when both are there.
    pub cosine: Option<f32>,
    /// Share of the question's words, by their rarity, that it has.
    pub cover: f32,
}

impl Fact {
    /// The memory of a row.
    pub fn new(row: &RecallRow, cosine: Option<f32>, cover: f32) -> Fact {
        Fact {
            kind: row.kind,
            superseded: row.state == Some(MemoryState::Superseded),
            confidence: row.confidence,
            at_ms: row.at_ms,
            updated_at_ms: row.updated_at_ms,
            valid_from_ms: row.valid_from_ms,
            valid_to_ms: row.valid_to_ms,
            use_count: row.use_count,
            pinned: row.pinned,
            cosine,
            cover,
        }
    }
}

/// What a memory's score is the product of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FactParts {
    /// How well it fits the question, from 0 to 1.
    pub similarity: f32,
    /// How fresh it still is, from 0 to 1.
    pub recency: f32,
    /// How sure it is, from 0 to 1.
    pub confidence: f32,
    /// Less, the more often it was used, from 0 to 1.
    pub familiarity: f32,
}

impl FactParts {
    /// How well `fact` answers `question`, asked at `now_ms`.
    pub fn new(question: &Question, weights: &FactWeights, fact: &Fact, now_ms: i64) -> FactParts {
        // Without a vector the words have to do.
        let fit = match fact.cosine {
            Some(cosine) => {
                let total = (weights.near + weights.cover).max(f32::MIN_POSITIVE);
                (weights.near * cosine.max(0.0) + weights.cover * fact.cover) / total
            }
            None => fact.cover,
        };
        let standing = matches!(fact.kind, Some(MemoryKind::Preference | MemoryKind::Constraint));
        let wish = if standing && question.wants_advice {
            weights.standing
        } else {
            0.0
        };
        let held = if question
            .when
            .spans
            .iter()
            .any(|span| held(fact, span.from_ms, span.to_ms))
        {
            weights.at_time
        } else {
            0.0
        };
        FactParts {
            similarity: (fit + wish + held).clamp(0.0, 1.0),
            recency: recency(weights, fact, now_ms, question.when.past),
            confidence: fact.confidence.clamp(0.0, 1.0),
            familiarity: 1.0 / (1.0 + weights.familiarity_discount * (fact.use_count as f32 + 1.0).log2()),
        }
    }

    /// The product.
    pub fn score(&self) -> f32 {
        self.similarity * self.recency * self.confidence * self.familiarity
    }
}

/// Whether it held at some time from `from_ms` to `to_ms`.
fn held(fact: &Fact, from_ms: i64, to_ms: i64) -> bool {
    fact.valid_from_ms.unwrap_or(fact.at_ms) < to_ms && fact.valid_to_ms.is_none_or(|end| from_ms < end)
}

/// A sigmoid in the logarithm of the age since it was last said. What was pinned, and constraints, don't fade.
fn recency(weights: &FactWeights, fact: &Fact, now_ms: i64, past: bool) -> f32 {
    const DAY_MS: f32 = 86_400_000.0;
    let Some(half) = fact
        .kind
        .and_then(|kind| weights.half_days.of(kind))
        .filter(|_| !fact.pinned)
    else {
        return 1.0;
    };
    // A clock that was set back makes nothing younger than now.
    let age = (now_ms.saturating_sub(fact.updated_at_ms).max(0) as f32) / DAY_MS;
    let fresh = 1.0 / (1.0 + (age / half.max(f32::MIN_POSITIVE)).powf(weights.steepness));
    if past || fact.superseded {
        1.0 - (1.0 - fresh) * weights.past_fading
    } else {
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW_MS: i64 = 1_684_411_200_000;

    fn fact(kind: MemoryKind, age_days: i64) -> Fact {
        Fact {
            kind: Some(kind),
            confidence: 1.0,
            at_ms: NOW_MS - age_days * DAY_MS,
            updated_at_ms: NOW_MS - age_days * DAY_MS,
            cosine: Some(0.5),
            cover: 0.5,
            ..Fact::default()
        }
    }

    fn parts(question: &str, fact: &Fact) -> FactParts {
        let question = Question::new(question, &[], NOW_MS);
        FactParts::new(&question, &FactWeights::default(), fact, NOW_MS)
    }

    #[track_caller]
    fn near(a: f32, b: f32) {
        assert!((a - b).abs() < 0.01, "{a} is not about {b}");
    }

    #[test]
    fn events_fade_as_designed() {
        let fresh = |days| parts("What happened?", &fact(MemoryKind::Event, days)).recency;
        near(fresh(0), 1.0);
        near(fresh(180), 0.5);
        near(fresh(730), 0.1);
        near(fresh(-400), 1.0);
    }

    #[test]
    fn kinds_fade_at_their_own_pace_and_constraints_never() {
        let fresh = |kind| parts("What?", &fact(kind, 365)).recency;
        assert!(fresh(MemoryKind::Context) < fresh(MemoryKind::Event));
        assert!(fresh(MemoryKind::Event) < fresh(MemoryKind::Preference));
        assert!(fresh(MemoryKind::Preference) < fresh(MemoryKind::Biography));
        near(fresh(MemoryKind::Constraint), 1.0);
        let pinned = Fact {
            pinned: true,
            ..fact(MemoryKind::Context, 3650)
        };
        near(parts("What?", &pinned).recency, 1.0);
    }

    #[test]
    fn questions_about_the_past_hardly_fade() {
        let old = fact(MemoryKind::Event, 730);
        near(parts("Where did I live before?", &old).recency, 0.82);
        near(parts("Where do I live?", &old).recency, 0.1);
    }

    #[test]
    fn wishes_come_up_when_advice_is_wanted() {
        let wish = fact(MemoryKind::Preference, 0);
        near(parts("What should I cook?", &wish).similarity, 0.65);
        near(parts("When did I cook?", &wish).similarity, 0.5);
    }

    #[test]
    fn what_held_at_the_time_comes_up() {
        let held = Fact {
            valid_from_ms: Some(NOW_MS - 900 * DAY_MS),
            valid_to_ms: Some(NOW_MS - 300 * DAY_MS),
            ..fact(MemoryKind::Biography, 0)
        };
        near(parts("Where did I live in 2021?", &held).similarity, 0.7);
        near(parts("Where did I live this week?", &held).similarity, 0.5);
    }

    #[test]
    fn what_was_often_said_is_discounted() {
        let often = Fact {
            use_count: 31,
            ..fact(MemoryKind::Constraint, 0)
        };
        near(parts("What?", &often).familiarity, 1.0 / 1.15);
    }
}
