//! The second opinion: a classifier of pairs that was trained on how people say that something changed.
//!
//! Patterns know the phrases that they were written with; people use others. The classifier is a low-rank adapter
//! (`judge.safetensors`) on the encoder that embeds, so it costs little memory.
//! `benches/judge` has what it was trained with and how. It reads English and was taught to hold its tongue elsewhere.

use super::claims::Parsed;
use super::{Relation, relation, sorts, spelling};

/// The embedding model whose encoder the adapter belongs to.
pub const JUDGE_MODEL: &str = "all-minilm-l6-v2";

/// The adapter, in safetensors.
pub const JUDGE_ADAPTER: &[u8] = include_bytes!("judge.safetensors");

/// Below this cosine a pair is not worth being judged: hardly any contradiction lies there.
pub const WORTH_JUDGING: f32 = 0.25;

/// From here on the later statement is held to replace the older one; chosen on `held.toml`, which is not trained on.
const REPLACES: f32 = 0.97;
/// The same where nothing is replaced unasked: a needless question costs less than an allergy that is wrong.
const WORTH_ASKING: f32 = 0.8;
/// From here on both are held to say the same, if nothing that is compared as such differs.
const SAME: f32 = 0.95;

/// What the classifier holds of an older statement and a later one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Probability that both can't hold now.
    pub replaces: f32,
    /// Probability that the later one says nothing new.
    pub same: f32,
}

impl Judgement {
    /// From the classifier's probabilities; none when there are too few.
    pub fn from_classes(classes: &[f32]) -> Option<Self> {
        match classes {
            [replaces, same, ..] => Some(Self {
                replaces: *replaces,
                same: *same,
            }),
            _ => None,
        }
    }
}

/// Attributes by these names may be any.
const UNSPECIFIC: [&str; 6] = ["", "attribute", "has", "state", "over", "switched"];

/// Whether an attribute by this name may be any.
pub(super) fn is_unspecific(slot: &str) -> bool {
    UNSPECIFIC.contains(&slot)
}

/// Whether the rules know what both are about, and that it is not the same: where somebody lives and what they work as.
fn different_attributes(old: &Parsed, new: &Parsed) -> bool {
    let known = |parsed: &Parsed| -> Vec<&'static str> {
        let slots = parsed.claims.iter().map(|claim| claim.slot);
        slots.filter(|slot| !is_unspecific(slot)).collect()
    };
    let (old, new) = (known(old), known(new));
    !old.is_empty() && !new.is_empty() && old.iter().all(|slot| !new.contains(slot))
}

/// What follows where the rules found nothing. `asked`: a contradiction would be put to the user, not settled.
pub(super) fn second_opinion(old: &Parsed, new: &Parsed, judged: Judgement, asked: bool) -> Relation {
    let least = if asked { WORTH_ASKING } else { REPLACES };
    let other =
        || different_attributes(old, new) || sorts::misfit(old, new) || spelling::other_subjects(old, new);
    if judged.replaces >= least && !other() {
        Relation::Contradicts
    } else if judged.same >= SAME && relation::may_be_same(old, new) {
        Relation::Same
    } else {
        Relation::Separate
    }
}
