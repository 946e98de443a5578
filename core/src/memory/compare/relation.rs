//! How two statements stand to each other.

use std::collections::BTreeSet;

use super::claims::{Arity, Claim, Parsed, Value, is_content};
use super::quantity::{Agreement, Quantity, agreement};
use super::words::{LEXICON, Word};
use super::{Kind, Relation, spelling};

/// Below this cosine two statements whose attribute is unknown are about different things.
const RELATED: f32 = 0.5;
/// Above this cosine two statements without any difference that is compared are one.
const PARAPHRASE: f32 = 0.93;

/// What a pair of claims says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Different things.
    Unrelated,
    /// The second says nothing new.
    Agrees,
    /// The second says more.
    Refines,
    /// Not both.
    Clash,
}

pub(super) fn relate(old: &Parsed, new: &Parsed, kinds: (Kind, Kind), cosine: f32) -> Relation {
    if content_equal(old, new) && same_features(old, new) && !spelling::other_names(old, new) {
        return Relation::Same;
    }
    let mut agrees = false;
    for a in &old.claims {
        if is_over(a, new) {
            return Relation::Contradicts;
        }
        for b in &new.claims {
            match verdict(a, b, kinds, cosine) {
                Verdict::Clash => return Relation::Contradicts,
                Verdict::Agrees => agrees = true,
                Verdict::Refines | Verdict::Unrelated => {}
            }
        }
    }
    if agrees && adds_nothing(old, new) {
        return Relation::Same;
    }
    let alike = cosine >= PARAPHRASE && kinds.0 != Kind::Constraint;
    if alike && may_be_same(old, new) {
        return Relation::Same;
    }
    Relation::Separate
}

/// Whether nothing that is compared as such keeps two statements from being one: numbers, negation, names, order, time.
pub(super) fn may_be_same(old: &Parsed, new: &Parsed) -> bool {
    same_features(old, new)
        && names(old) == names(new)
        && !spelling::other_names(old, new)
        && !spelling::nearly_alike(old, new)
        && !excludes(old, new)
        && !swapped(old, new)
}

/// Whether the new statement says that an old claim is over: "switched from X", "instead of X".
fn is_over(claim: &Claim, new: &Parsed) -> bool {
    if claim.negative || claim.past || claim.hypothetical {
        return false;
    }
    let hypothetical = new.claims.iter().all(|claim| claim.hypothetical) && !new.claims.is_empty();
    !hypothetical
        && new.over.iter().any(|(subject, over)| {
            let about = if new.claims.is_empty() || !subject.is_empty() {
                subject.clone()
            } else {
                new.claims[0].subject.clone()
            };
            let about_key: BTreeSet<String> = about.difference(&claim.key).cloned().collect();
            !over.is_empty()
                && (claim.subject == about || claim.subject == about_key)
                && (covers(&claim.value, over) && claim.value.head == over.head
                    || same_value(&claim.value, over)
                    || frequent(&claim.value, over)
                    || amount_is_over(claim, over, new))
        })
}

/// "Drinks red wine every day", "gave up red wine": how often is no part of what is over.
fn frequent(value: &Value, over: &Value) -> bool {
    let rest: Vec<&String> = value.words.difference(&over.words).collect();
    covers(value, over)
        && !over.words.is_empty()
        && rest.iter().all(|word| {
            ["day", "week", "morning", "evening", "night", "month", "every"].contains(&word.as_str())
        })
}

/// "From 8 km to 12 km": the amount alone is over, and the rest of the old claim is spoken of.
fn amount_is_over(claim: &Claim, over: &Value, new: &Parsed) -> bool {
    let mentioned = new
        .words
        .iter()
        .any(|word| claim.key.contains(&word.lemma) || claim.value.words.contains(&word.lemma));
    over.words.is_empty()
        && mentioned
        && agreement(&claim.value.quantities, &over.quantities) == Agreement::Equal
}

fn verdict(a: &Claim, b: &Claim, kinds: (Kind, Kind), cosine: f32) -> Verdict {
    if a.hypothetical != b.hypothetical || !same_subject(a, b) {
        return Verdict::Unrelated;
    }
    if a.slot != b.slot || !same_key(a, b) {
        return Verdict::Unrelated;
    }
    // What was so once says nothing of what is so now.
    if a.past != b.past || a.hypothetical && !b.change {
        return if a.past == b.past && a.negative == b.negative && same_value(&a.value, &b.value) {
            Verdict::Agrees
        } else {
            Verdict::Unrelated
        };
    }
    if a.arity == Arity::Order && b.arity == Arity::Order {
        return order(a, b);
    }
    if a.negative != b.negative {
        let (denied, stated) = if a.negative {
            (&a.value, &b.value)
        } else {
            (&b.value, &a.value)
        };
        // "Eats no meat on Fridays" does not deny "eats meat"; "is allergic to nuts" denies "is not allergic to tree nuts".
        let covered = covers(stated, denied)
            && (a.slot.is_empty()
                || agreement(&stated.quantities, &denied.quantities) != Agreement::MoreInSecond);
        let narrower = a.arity == Arity::Many && covers(denied, stated) && !denied.is_empty();
        return if covered || narrower {
            Verdict::Clash
        } else {
            Verdict::Unrelated
        };
    }
    if same_value(&a.value, &b.value) {
        return Verdict::Agrees;
    }
    let numbers = agreement(&a.value.quantities, &b.value.quantities);
    if a.value.words == b.value.words && !spelling::clash(&a.value.names, &b.value.names) {
        return match numbers {
            Agreement::Conflict if !a.past => Verdict::Clash,
            Agreement::MoreInSecond => Verdict::Refines,
            Agreement::FewerInSecond => Verdict::Agrees,
            _ => Verdict::Unrelated,
        };
    }
    if a.negative {
        return Verdict::Unrelated;
    }
    if covers(&b.value, &a.value) && numbers != Agreement::Conflict {
        return Verdict::Refines;
    }
    if covers(&a.value, &b.value) && numbers != Agreement::Conflict {
        return Verdict::Agrees;
    }
    if a.past {
        return Verdict::Unrelated;
    }
    let clash = match a.arity {
        Arity::One => one_at_a_time(a, b),
        Arity::Open => open(a, b),
        Arity::Many => many(a, b, kinds, cosine),
        Arity::Order => false,
    };
    if clash { Verdict::Clash } else { Verdict::Unrelated }
}

/// Two values of an attribute that has one.
fn one_at_a_time(a: &Claim, b: &Claim) -> bool {
    if a.slot == "state" {
        return a
            .value
            .words
            .iter()
            .any(|x| b.value.words.iter().any(|y| LEXICON.exclude(x, y)));
    }
    if a.value.region != b.value.region && !b.change {
        return false;
    }
    comparable(&a.value, &b.value) || b.change || a.momentary && b.momentary
}

/// "The X is Y", "the X is Z": a clash where X can only have one such value.
fn open(a: &Claim, b: &Claim) -> bool {
    let several = a.key.iter().any(|word| LEXICON.has("several", word));
    let unique = a.key.iter().any(|word| LEXICON.has("unique", word));
    let excluded = LEXICON.exclude(&a.value.head, &b.value.head);
    if excluded || b.change && comparable(&a.value, &b.value) {
        return true;
    }
    if several && !unique {
        return false;
    }
    let named = a.value.capital && b.value.capital;
    let counted = a.value.words.is_empty() && b.value.words.is_empty();
    counted || (unique || named) && comparable(&a.value, &b.value)
}

/// Two values that can stand beside each other, unless the statement says that something changed.
fn many(a: &Claim, b: &Claim, kinds: (Kind, Kind), cosine: f32) -> bool {
    let shared: Vec<&String> = a.value.words.intersection(&b.value.words).collect();
    let opposite = a.value.words.difference(&b.value.words).any(|x| {
        b.value
            .words
            .difference(&a.value.words)
            .any(|y| LEXICON.exclude(x, y))
    });
    let frame = a.value.words.len().min(b.value.words.len());
    if opposite && !shared.is_empty() && shared.len() + 1 >= frame {
        return true;
    }
    let momentary = kinds == (Kind::Context, Kind::Context);
    a.slot.is_empty()
        && cosine >= RELATED
        && comparable(&a.value, &b.value)
        && (b.change && !shared.is_empty() || momentary && shared.len() * 2 >= frame && frame > 1)
}

fn order(a: &Claim, b: &Claim) -> Verdict {
    let (Some(a_second), Some(b_second)) = (&a.other, &b.other) else {
        return Verdict::Unrelated;
    };
    let straight = same_value(&a.value, &b.value) && same_value(a_second, b_second);
    let crossed = same_value(&a.value, b_second) && same_value(a_second, &b.value);
    if straight || crossed {
        let clash = crossed != (a.negative != b.negative);
        return if clash { Verdict::Clash } else { Verdict::Agrees };
    }
    Verdict::Unrelated
}

/// Whether values are of one sort, so that one can stand in the other's place.
fn comparable(a: &Value, b: &Value) -> bool {
    let when = |value: &Value| {
        value
            .quantities
            .iter()
            .any(|quantity: &Quantity| quantity.is_when())
    };
    let counted = |value: &Value| value.words.is_empty() && !value.quantities.is_empty();
    if when(a) != when(b) && (counted(a) || counted(b)) || counted(a) != counted(b) {
        return false;
    }
    if counted(a) {
        return agreement(&a.quantities, &b.quantities) == Agreement::Conflict;
    }
    a.capital == b.capital || a.article == b.article
}

fn same_subject(a: &Claim, b: &Claim) -> bool {
    a.subject == b.subject
        || !a.subject.is_empty()
            && !b.subject.is_empty()
            && (a.subject.is_subset(&b.subject) || b.subject.is_subset(&a.subject))
}

fn same_key(a: &Claim, b: &Claim) -> bool {
    a.key == b.key
        || !a.key.is_empty() && !b.key.is_empty() && (a.key.is_subset(&b.key) || b.key.is_subset(&a.key)) && {
            // "Phone number" and "number" may be one; "sister" and "sister's dentist" are not.
            let (short, long) = if a.key.len() < b.key.len() {
                (&a.key, &b.key)
            } else {
                (&b.key, &a.key)
            };
            let persons = |word: &String| {
                LEXICON.has("several", word)
                    || [
                        "mother", "father", "wife", "husband", "parent", "boss", "spouse", "partner",
                    ]
                    .contains(&word.as_str())
            };
            long.difference(short).all(|word| !persons(word))
        }
}

fn same_value(a: &Value, b: &Value) -> bool {
    a.words == b.words
        && !spelling::clash(&a.names, &b.names)
        && agreement(&a.quantities, &b.quantities) == Agreement::Equal
}

/// Whether all of `part` is in `whole`.
fn covers(whole: &Value, part: &Value) -> bool {
    part.words.is_subset(&whole.words)
        && !spelling::clash(&whole.names, &part.names)
        && matches!(
            agreement(&whole.quantities, &part.quantities),
            Agreement::Equal | Agreement::FewerInSecond
        )
}

/// Whether all that the new statement says beside its claims is said by the old one too.
fn adds_nothing(old: &Parsed, new: &Parsed) -> bool {
    let known: BTreeSet<&str> = old.words.iter().map(|word| word.lemma.as_str()).collect();
    let inside = |at: usize| {
        new.claims
            .iter()
            .any(|claim| (claim.span.0..claim.span.1).contains(&at))
    };
    let extra = new.words.iter().enumerate().any(|(at, word)| {
        !inside(at)
            && (is_content(word) && !word.class.change && !word.class.verb)
            && !known.contains(word.lemma.as_str())
    });
    let numbers = agreement(&numbers(&old.words), &numbers(&new.words));
    !extra && matches!(numbers, Agreement::Equal | Agreement::FewerInSecond)
}

fn numbers(words: &[Word]) -> Vec<Quantity> {
    words.iter().filter_map(|word| word.quantity).collect()
}

fn content(parsed: &Parsed) -> Vec<&str> {
    parsed
        .words
        .iter()
        .filter(|word| is_content(word) && !word.class.change)
        .map(|word| word.lemma.as_str())
        .collect()
}

fn content_equal(a: &Parsed, b: &Parsed) -> bool {
    content(a) == content(b)
}

fn same_features(a: &Parsed, b: &Parsed) -> bool {
    let denied = |parsed: &Parsed| parsed.words.iter().filter(|word| word.class.negation).count() % 2;
    let supposed = |parsed: &Parsed| parsed.words.iter().any(|word| word.class.hypothetical);
    let past = |parsed: &Parsed| parsed.words.iter().any(|word| word.class.past);
    denied(a) == denied(b)
        && supposed(a) == supposed(b)
        && past(a) == past(b)
        && agreement(&numbers(&a.words), &numbers(&b.words)) == Agreement::Equal
        && a.claims.iter().all(|x| {
            b.claims
                .iter()
                .all(|y| x.slot != y.slot || x.negative == y.negative)
        })
}

fn names(parsed: &Parsed) -> BTreeSet<&str> {
    parsed
        .words
        .iter()
        .skip(1)
        .filter(|word| word.capital && is_content(word))
        .map(|word| word.lemma.as_str())
        .collect()
}

fn excludes(a: &Parsed, b: &Parsed) -> bool {
    content(a)
        .iter()
        .any(|x| content(b).iter().any(|y| LEXICON.exclude(x, y)))
}

/// Whether words that both have stand in another order.
fn swapped(a: &Parsed, b: &Parsed) -> bool {
    let (first, second) = (content(a), content(b));
    let common = |list: &[&str], other: &[&str]| -> Vec<String> {
        list.iter()
            .filter(|word| other.contains(word))
            .map(|word| (*word).to_owned())
            .collect()
    };
    common(&first, &second) != common(&second, &first)
}
