//! Whether two facts are one, contradict each other, or stand beside each other; and what follows from that.
//!
//! Rules first: a vector's cosine only proposes what to compare. "Allergic" and "not allergic" lie at 0.96, 10 and
//! 20 mg at 0.98, while honest paraphrases sit lower; so numbers with their units, negation, names, order and time are
//! compared as such. A statement is taken apart into claims (whose attribute has which value), by patterns that are
//! data ([`claims`]); two claims of one attribute then agree, refine or exclude each other. Where the rules find nothing,
//! a small classifier of pairs may ([`judge`]).
//!
//! English is covered widely. German, French and Spanish have the patterns of everyday attributes. In every other
//! language numbers, dates and negation still keep statements from being called the same; contradictions are found
//! where verb and words agree and only negation or numbers differ.

mod claims;
mod judge;
mod quantity;
mod relation;
mod sorts;
mod spelling;
mod words;

use hearth_store::{Memory, MemoryId, MemoryStatus};

use crate::memory::extract::Kind;

pub use judge::{JUDGE_ADAPTER, JUDGE_MODEL, Judgement, WORTH_JUDGING};

/// How a statement stands to an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It says nothing that the older one does not.
    Same,
    /// Both cannot hold now.
    Contradicts,
    /// Neither.
    Separate,
}

/// A fact, as far as it is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statement<'a> {
    /// One short fact.
    pub text: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// 0 to 1.
    pub confidence: f32,
    /// When it was said, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// How `new` stands to `old`. `cosine` is that of their vectors; 0 where there are none. `judged` is the classifier's
/// opinion, where it was asked: it speaks where the rules found nothing.
pub fn relation(
    old: &Statement<'_>,
    new: &Statement<'_>,
    cosine: f32,
    judged: Option<Judgement>,
) -> Relation {
    let (parsed_old, parsed_new) = (claims::parse(old.text), claims::parse(new.text));
    relate(&parsed_old, &parsed_new, (old.kind, new.kind), cosine, judged)
}

fn relate(
    old: &claims::Parsed,
    new: &claims::Parsed,
    kinds: (Kind, Kind),
    cosine: f32,
    judged: Option<Judgement>,
) -> Relation {
    match (relation::relate(old, new, kinds, cosine), judged) {
        (Relation::Separate, Some(judged)) => {
            let asked = kinds.0 == Kind::Constraint || kinds.1 == Kind::Constraint;
            judge::second_opinion(old, new, judged, asked)
        }
        (relation, _) => relation,
    }
}

/// Whether two words in lower case are forms of one.
pub(crate) fn is_same_word(a: &str, b: &str) -> bool {
    a == b || words::LEXICON.lemma(a) == words::LEXICON.lemma(b)
}

/// What sort of fact a statement is, if one of its attributes is known to the rules and it speaks of the present.
pub(crate) fn known_kind(text: &str) -> Option<Kind> {
    let parsed = claims::parse(text);
    parsed
        .claims
        .iter()
        .filter(|claim| !claim.past && !claim.hypothetical)
        .find_map(|claim| match claim.slot {
            "allergy" => Some(Kind::Constraint),
            "rank" | "order" | "likes" | "diet" | "answers" => Some(Kind::Preference),
            "when" => Some(Kind::Event),
            "mood" | "" | "over" | "switched" => None,
            "reading" | "watching" | "activity" => Some(Kind::Context),
            "attribute" | "has" | "state" => claim
                .key
                .iter()
                .chain(&claim.value.words)
                .chain(&claim.subject)
                .map(String::as_str)
                .chain(
                    parsed
                        .words
                        .iter()
                        .filter(|word| word.lemma == "own")
                        .map(|_| "pet"),
                )
                .any(|word| words::LEXICON.has("unique", word) || words::LEXICON.has("several", word))
                .then_some(Kind::Biography),
            _ => Some(Kind::Biography),
        })
}

/// One thing to do about a new fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<Id> {
    /// Keep it as a memory of its own.
    Insert,
    /// Keep it for the user to confirm.
    InsertForReview,
    /// Keep it as history: a later statement already says otherwise.
    InsertSuperseded {
        /// The later one.
        by: Id,
    },
    /// It is known: add its sources to this one.
    Reinforce(Id),
    /// This one holds no longer.
    Supersede {
        /// The old one.
        old: Id,
        /// Until when it held.
        valid_to_ms: i64,
    },
    /// Ask the user which of the two holds.
    Ask {
        /// The old one.
        old: Id,
    },
}

/// A memory that a new fact is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<'a, Id> {
    /// Its id.
    pub id: Id,
    /// What it says.
    pub statement: Statement<'a>,
    /// Whether the user pinned it: then it is never replaced without asking.
    pub pinned: bool,
    /// Whether the user is already asked about it.
    pub in_review: bool,
    /// Cosine of its vector and the new fact's.
    pub cosine: f32,
    /// What the classifier holds of the pair, in the order in which the two were said.
    pub judged: Option<Judgement>,
}

impl<'a> Candidate<'a, MemoryId> {
    /// A stored memory, last said when it was last changed.
    pub fn of(memory: &'a Memory, cosine: f32, judged: Option<Judgement>) -> Self {
        Self {
            id: memory.id,
            statement: Statement {
                text: &memory.text,
                kind: memory.kind,
                confidence: memory.confidence,
                at_ms: memory.updated_at_ms,
            },
            pinned: memory.pinned,
            in_review: memory.status == MemoryStatus::Review,
            cosine,
            judged,
        }
    }
}

/// Confidences that lie closer than this are not told apart: they are shares measured on small sets.
const MARGIN: f32 = 0.08;

/// What to do with `new`, given the memories that are nearest to it; superseded ones are left out by the caller.
///
/// Hand in generously (the twenty nearest, whatever their cosine): the rules tell apart what the vectors do not.
/// `context` and `preference`: the newest wins. `biography` and `event`: the newest wins if its confidence is not lower,
/// otherwise the user is asked. `constraint` and pinned memories are never overridden: the user is asked. While the user
/// is asked about `new`, it replaces nothing.
pub fn decide<Id: Copy + PartialEq>(
    new: &Statement<'_>,
    candidates: &[Candidate<'_, Id>],
) -> Vec<Action<Id>> {
    let parsed = claims::parse(new.text);
    let mut same: Option<&Candidate<'_, Id>> = None;
    let mut clashes = Vec::new();
    for candidate in candidates {
        let old = claims::parse(candidate.statement.text);
        let kinds = (candidate.statement.kind, new.kind);
        // What was said earlier is the older one, in whatever order the two arrive.
        let late = candidate.statement.at_ms > new.at_ms;
        let (cosine, judged) = (candidate.cosine, candidate.judged);
        let contradicted =
            late && relate(&parsed, &old, (kinds.1, kinds.0), cosine, judged) == Relation::Contradicts;
        // Whichever was said first: what is known already may say all of it.
        let relation = match relate(&old, &parsed, kinds, cosine, judged) {
            _ if contradicted => Relation::Contradicts,
            Relation::Contradicts if late => Relation::Separate,
            relation => relation,
        };
        match relation {
            Relation::Same if same.is_none_or(|best| candidate.cosine > best.cosine) => {
                same = Some(candidate);
            }
            Relation::Contradicts => clashes.push((candidate, late)),
            Relation::Same | Relation::Separate => {}
        }
    }
    let mut actions = Vec::new();
    let mut insert = Action::Insert;
    for (candidate, late) in clashes {
        let old = &candidate.statement;
        let asked = old.kind == Kind::Constraint || new.kind == Kind::Constraint || candidate.pinned;
        let weaker =
            matches!(old.kind, Kind::Biography | Kind::Event) && new.confidence + MARGIN < old.confidence;
        if asked || weaker && !late {
            insert = Action::InsertForReview;
            if !candidate.in_review {
                actions.push(Action::Ask { old: candidate.id });
            }
        } else if late {
            // What waits for the user's word makes nothing history.
            if insert == Action::Insert && !candidate.in_review {
                insert = Action::InsertSuperseded { by: candidate.id };
            }
        } else {
            actions.push(Action::Supersede {
                old: candidate.id,
                valid_to_ms: new.at_ms,
            });
        }
    }
    // What is not settled replaces nothing: then the user is asked about all of it.
    if insert == Action::InsertForReview && same.is_none_or(|known| known.in_review) {
        let waits = |id: Id| {
            candidates
                .iter()
                .any(|candidate| candidate.id == id && candidate.in_review)
        };
        actions.retain(|action| !matches!(action, Action::Supersede { old, .. } if waits(*old)));
        for action in &mut actions {
            if let Action::Supersede { old, .. } = *action {
                *action = Action::Ask { old };
            }
        }
    }
    match same {
        Some(known) => actions.push(Action::Reinforce(known.id)),
        None => actions.insert(0, insert),
    }
    actions
}

#[cfg(test)]
mod tests;
