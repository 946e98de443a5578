//! The settings of ranking.

use serde::{Deserialize, Serialize};

use super::signals::Signals;
use hearth_store::MemoryKind;

/// What counts how much. All of it are settings; the defaults of [`TurnWeights`] were fitted by
/// `cargo run -p hearth-benches -- recall --fit` on dialogues written for this project.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecallWeights {
    /// How turns of chats are found and ranked.
    pub turns: TurnWeights,
    /// How memories are ranked.
    pub facts: FactWeights,
    /// How many are looked at closely before the best are chosen.
    pub pool: PoolSizes,
}

/// How many rows each search hands on to be looked at closely: more find more and take longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSizes {
    /// From the search by words.
    pub words: usize,
    /// From the search by vectors.
    pub vectors: usize,
}

impl Default for PoolSizes {
    fn default() -> PoolSizes {
        PoolSizes {
            words: 200,
            vectors: 200,
        }
    }
}

/// What each signal of a turn counts: the score is the sum of the products.
///
/// Scores are fused, not ranks: reciprocal ranks forget how much better the first is than the second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnWeights {
    /// One for each signal.
    pub signals: Signals,
    /// The sum at which a turn is as likely wanted as not, for the score from 0 to 1 that is shown.
    pub center: f32,
}

impl Default for TurnWeights {
    fn default() -> TurnWeights {
        TurnWeights {
            signals: Signals {
                words: 1.44,
                cover: 2.45,
                chat_cover: 2.05,
                chat_words: 0.63,
                near: 3.11,
                near_neighbour: 1.79,
                speaker: 0.93,
                asks: -1.06,
                answers: 0.45,
                first_person: 0.49,
                length: 4.25,
                excess: -1.98,
                tells_time: 0.89,
                instruction: 2.23,
                preference: 2.0,
                at_time: 3.41,
            },
            center: 10.9,
        }
    }
}

/// How a memory's score is put together: similarity × recency × confidence × familiarity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FactWeights {
    /// What the cosine counts in the similarity.
    pub near: f32,
    /// What the share of the question's words that occur counts in the similarity.
    pub cover: f32,
    /// Added to the similarity of a preference or constraint when advice or a service is asked for.
    pub standing: f32,
    /// Added to the similarity of what held at the time that the question names.
    pub at_time: f32,
    /// The age in days at which each kind has faded to half: `1 / (1 + (age / half) ^ steepness)`.
    pub half_days: HalfDays,
    /// How suddenly it fades.
    pub steepness: f32,
    /// How much of the fading is left for a question about the past, from 0 to 1.
    pub past_fading: f32,
    /// The discount for each doubling of how often a memory was used: `1 / (1 + discount × log2(1 + uses))`.
    pub familiarity_discount: f32,
}

impl Default for FactWeights {
    fn default() -> FactWeights {
        FactWeights {
            near: 0.6,
            cover: 0.4,
            standing: 0.15,
            at_time: 0.2,
            half_days: HalfDays::default(),
            steepness: 1.57,
            past_fading: 0.2,
            familiarity_discount: 0.03,
        }
    }
}

/// Days until a kind of memory has faded to half. A constraint never fades.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HalfDays {
    /// Lasting facts about a life.
    pub biography: f32,
    /// Likes and dislikes.
    pub preference: f32,
    /// What happened or will.
    pub event: f32,
    /// Moods and current tasks.
    pub context: f32,
}

impl Default for HalfDays {
    fn default() -> HalfDays {
        HalfDays {
            biography: 1440.0,
            preference: 720.0,
            event: 180.0,
            context: 21.0,
        }
    }
}

impl HalfDays {
    /// Of a kind; `None` when it never fades.
    pub fn of(&self, kind: MemoryKind) -> Option<f32> {
        match kind {
            MemoryKind::Constraint => None,
            MemoryKind::Biography => Some(self.biography),
            MemoryKind::Preference => Some(self.preference),
            MemoryKind::Event => Some(self.event),
            MemoryKind::Context => Some(self.context),
        }
    }
}
