//! Sorts of values: a colour is no diet, whatever changed.
//!
//! "Actually I prefer green now" leaves out what it is about. It takes the place of something only where that could have
//! such a value: what somebody's favourite colour was, not that they are vegan.

use std::collections::BTreeSet;

use super::claims::{Claim, Parsed, is_content};
use super::judge;
use super::words::{LEXICON, Word};

/// Sorts with the class of `words.txt` that has their words.
const SORTS: [&str; 10] = [
    "colour",
    "diet",
    "tongue",
    "drink",
    "food",
    "sport",
    "transport",
    "instrument",
    "music",
    "animal",
];
/// Sorts whose words are all known: what is none of them is no value of such an attribute.
const CLOSED: [&str; 3] = ["colour", "diet", "tongue"];
/// Sorts of which a value may stand in the other's place: who is vegan may eat meat again.
const NEAR: [(&str, &str); 2] = [("diet", "food"), ("food", "drink")];
/// More words than these say what they are about.
const MOST_WORDS: usize = 2;
/// Verbs that say of a value that it is the one, and not of what.
const VERBS: [&str; 12] = [
    "prefer", "like", "want", "choose", "be", "go", "become", "turn", "switch", "take", "get", "pick",
];

/// Whether the later of two statements names a value alone, and one of a sort that the older one is not about.
pub(super) fn misfit(old: &Parsed, new: &Parsed) -> bool {
    let Some(values) = elliptic(new) else {
        return false;
    };
    let known = |word: &Word| old.words.iter().any(|other| other.lemma == word.lemma);
    if values.iter().any(|word| known(word)) {
        return false;
    }
    let wanted: BTreeSet<&str> = values.iter().flat_map(|word| sorts_of(word)).collect();
    let held = sorts(old);
    if wanted.is_empty() {
        // An unknown word is no colour, but may be a town or a sport.
        return !held.is_empty() && held.iter().all(|sort| CLOSED.contains(sort));
    }
    let near = |a: &str, b: &str| a == b || NEAR.contains(&(a, b)) || NEAR.contains(&(b, a));
    !wanted.iter().any(|a| held.iter().any(|b| near(a, b)))
}

/// The words of a statement that are its value, where it says nothing else.
fn elliptic(parsed: &Parsed) -> Option<Vec<&Word>> {
    let specific =
        |claim: &Claim| !judge::is_unspecific(claim.slot) && !["likes", "occupation"].contains(&claim.slot);
    if parsed
        .claims
        .iter()
        .any(|claim| specific(claim) || !claim.subject.is_empty())
    {
        return None;
    }
    if parsed
        .words
        .iter()
        .any(|word| word.class.negation || word.quantity.is_some())
    {
        return None;
    }
    let mut verbs = 0;
    let mut values = Vec::new();
    for word in &parsed.words {
        if word.class.change || word.class.boundary || word.class.filler {
            continue;
        }
        if VERBS.contains(&word.lemma.as_str()) || word.lower.ends_with("ly") {
            verbs += usize::from(word.class.verb);
        } else if is_content(word) {
            values.push(word);
        }
    }
    (verbs <= 2 && (1..=MOST_WORDS).contains(&values.len())).then_some(values)
}

fn sorts_of(word: &Word) -> Vec<&'static str> {
    let of = |class: &str| LEXICON.has(class, &word.lower) || LEXICON.has(class, &word.lemma);
    let mut found: Vec<&'static str> = SORTS.into_iter().filter(|sort| of(sort)).collect();
    if LEXICON.has("trade", &word.lower) || LEXICON.has("trade", &word.lemma) || of("trade-noun") {
        found.push("trade");
    }
    if of("region") || of("town-noun") {
        found.push("place");
    }
    found
}

/// What an older statement is about: the sorts of its words, and those that its attributes have.
fn sorts(parsed: &Parsed) -> BTreeSet<&'static str> {
    let mut found: BTreeSet<&'static str> = parsed
        .words
        .iter()
        .filter(|word| is_content(word))
        .flat_map(sorts_of)
        .collect();
    for claim in &parsed.claims {
        let of: &[&str] = match claim.slot {
            "residence" => &["place"],
            "occupation" | "employer" | "field" => &["trade"],
            "speaks" => &["tongue"],
            "drinks" => &["drink"],
            "eats" => &["food"],
            "plays" => &["sport", "instrument"],
            "commute" | "vehicle" => &["transport"],
            _ => &[],
        };
        found.extend(of);
    }
    found
}
