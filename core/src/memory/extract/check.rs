//! Checks of a fact against what the user said.

use std::collections::HashSet;

use super::Kind;
use super::sentences::{CUES, plain};
use crate::memory::compare::is_same_word;

/// Whether every number, name and content word of `fact` stands in the user's words.
pub(super) fn is_grounded(fact: &str, said: &str) -> bool {
    let said_words = stems(said);
    let known = |word: &String| {
        said_words.contains(word)
            || FREE.contains(&word.as_str())
            || said_words
                .iter()
                .any(|other| alike(word, other) || is_same_word(word, other))
    };
    stems(fact).iter().all(known)
}

/// Words that a change of person brings with it.
const FREE: &[&str] = &[
    "the", "user", "user's", "is", "has", "does", "their", "them", "they", "theirs", "themself", "called",
    "not", "are", "have", "was", "had", "a", "an", "of", "in", "to", "would", "will", "cannot", "s",
];

fn stems(text: &str) -> HashSet<String> {
    plain(text)
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| word.trim_matches('\''))
        .map(|word| word.strip_suffix("'s").unwrap_or(word))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Forms of one word: a common beginning and a short rest. Numbers and short words have none.
fn alike(a: &str, b: &str) -> bool {
    let common = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let longest = a.chars().count().max(b.chars().count());
    let shortest = a.chars().count().min(b.chars().count());
    let ending = common == shortest && common >= 2 && longest - common <= 2;
    !a.contains(|c: char| c.is_ascii_digit()) && (ending || common >= 4 && longest - common <= 3)
}

/// Whether a fact belongs to a special category (GDPR, article 9), by its words.
pub(crate) fn is_sensitive(fact: &str) -> bool {
    CUES.found("sensitive", &plain(fact))
}

/// The kind that a model gives, less what it may not give: a constraint is never overridden later, so it takes words that make it one.
pub(super) fn kind(fact: &str, said: Kind) -> Kind {
    const HARD: &[&str] = &[
        "must",
        "never",
        "always",
        "cannot",
        "can't",
        "not allowed",
        "forbidden",
        "no",
        "only",
        "nie",
        "niemals",
        "immer",
        "jamais",
        "toujours",
        "nunca",
        "siempre",
        "muss",
        "darf",
    ];
    let lower = plain(fact);
    let hard = is_sensitive(fact)
        || HARD
            .iter()
            .any(|word| super::sentences::find_words(&lower, word).is_some());
    if said == Kind::Constraint && !hard {
        Kind::Preference
    } else {
        said
    }
}
