//! English statements in the first person as facts in the third: "I'm a nurse" becomes "Is a nurse".
//!
//! Other languages keep the user's own words: a fact that is quoted says nothing that was not said.

use super::sentences::{Candidate, plain};

/// A candidate as a fact.
pub(super) fn fact(candidate: &Candidate) -> String {
    let text = candidate.text.trim();
    let plain_text = plain(text);
    let mut words: Vec<String> = text
        .replace(['\u{2019}', '\u{2018}'], "'")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let first = plain_text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    if let Some(whom) = &candidate.antecedent {
        let rest = words.split_off(1);
        let (subject, verb) = match first.as_str() {
            "he's" | "she's" | "they're" => (
                Some(whom.clone()),
                Some(if is_participle(rest.first()) { "has" } else { "is" }),
            ),
            "he" | "she" | "they" => (Some(whom.clone()), None),
            "his" | "her" | "hers" | "their" => (Some(format!("{whom}'s")), None),
            // In other languages the pronoun stays and the reader is told whom it means.
            _ => {
                let told = format!("{whom}: {text}");
                return capitalise(&told);
            }
        };
        let out: Vec<String> = subject
            .into_iter()
            .chain(verb.map(str::to_owned))
            .chain(rest)
            .collect();
        return capitalise(&third_person(&out).join(" "));
    }
    if !ENGLISH.contains(&first.trim_matches(|c: char| !c.is_alphanumeric() && c != '\''))
        && !is_english(&plain_text)
    {
        return capitalise(text);
    }
    let rest = words.split_off(1.min(words.len()));
    let out: Vec<String> = match first.as_str() {
        "i'm" | "we're" => start("is", rest),
        "i've" | "we've" => start("has", rest),
        "i'd" | "we'd" => start("would", rest),
        "i'll" | "we'll" => start("will", rest),
        "i" | "we" => conjugated(rest),
        "my" | "our" => rest,
        "me" => start("the user", rest),
        _ => {
            // "Running helps me", "On Mondays I swim"
            let mut all = vec![first_word(text)];
            all.extend(rest);
            inner_subject(all)
        }
    };
    let fact = capitalise(&third_person(&out).join(" "));
    match fact.strip_prefix("Is ") {
        Some(name) if is_name(name) => format!("Is called {name}"),
        _ => fact,
    }
}

/// Whether what "I'm" goes on with can only be a name: capitals, and no nationality.
fn is_name(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let people = [
        "ish", "an", "ese", "ch", "ic", "im", "ew", "ist", "eek", "iss", "du", "ai", "eli",
    ];
    (1..=3).contains(&words.len())
        && words.iter().all(|word| {
            word.chars().next().is_some_and(char::is_uppercase)
                && word.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | '\''))
                && word.chars().skip(1).any(char::is_lowercase)
        })
        && !people.iter().any(|end| text.ends_with(end))
}

const ENGLISH: &[&str] = &[
    "i", "i'm", "i've", "i'd", "i'll", "my", "we", "we're", "we've", "we'll", "our",
];

fn is_english(plain: &str) -> bool {
    let known = |word: &str| {
        matches!(
            word,
            "the"
                | "is"
                | "are"
                | "my"
                | "i"
                | "and"
                | "of"
                | "with"
                | "in"
                | "to"
                | "for"
                | "that"
                | "i'm"
                | "we"
                | "our"
                | "me"
                | "was"
        )
    };
    let words: Vec<&str> = plain.split_whitespace().collect();
    words
        .iter()
        .filter(|word| known(word.trim_matches([',', '.'])))
        .count()
        * 4
        >= words.len()
}

fn start(verb: &str, rest: Vec<String>) -> Vec<String> {
    std::iter::once(verb.to_owned()).chain(rest).collect()
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Puts the verb after "I" in its third person, behind adverbs.
fn conjugated(mut rest: Vec<String>) -> Vec<String> {
    let at = rest.iter().position(|word| !is_adverb(&plain(word))).unwrap_or(0);
    if let Some(word) = rest.get(at).cloned() {
        let lower = plain(&word);
        let bare = lower.trim_end_matches([',', '.', ';']);
        rest[at] = match bare {
            "am" | "are" => "is".into(),
            "have" => "has".into(),
            "don't" => "does not".into(),
            "do" => "does".into(),
            "haven't" => "has not".into(),
            "aren't" => "is not".into(),
            "were" => "was".into(),
            "can't" | "cannot" => "cannot".into(),
            _ if is_modal_or_past(bare) => word,
            _ => third(&word),
        };
    }
    rest
}

/// "On Mondays I swim": the user's "I" inside a sentence, with its verb.
fn inner_subject(words: Vec<String>) -> Vec<String> {
    let at = words
        .iter()
        .position(|word| ["i", "i'm", "i've", "we", "we're"].contains(&plain(word).as_str()));
    let Some(at) = at else { return words };
    let mut before: Vec<String> = words[..at].to_vec();
    let pronoun = plain(&words[at]);
    let rest = words[at + 1..].to_vec();
    let after = match pronoun.as_str() {
        "i'm" | "we're" => start("is", rest),
        "i've" => start("has", rest),
        _ => conjugated(rest),
    };
    before.push("the user".into());
    before.extend(after);
    before
}

fn is_adverb(word: &str) -> bool {
    word.ends_with("ly") && word.len() > 4
        || matches!(
            word,
            "also"
                | "always"
                | "never"
                | "often"
                | "sometimes"
                | "still"
                | "just"
                | "now"
                | "currently"
                | "both"
                | "all"
                | "only"
                | "even"
                | "already"
                | "once"
                | "then"
        )
}

fn is_modal_or_past(word: &str) -> bool {
    const PAST: &[&str] = &[
        "can",
        "could",
        "must",
        "will",
        "won't",
        "should",
        "would",
        "may",
        "might",
        "was",
        "wasn't",
        "had",
        "did",
        "didn't",
        "went",
        "got",
        "took",
        "gave",
        "bought",
        "sold",
        "met",
        "grew",
        "left",
        "came",
        "saw",
        "made",
        "became",
        "ran",
        "ate",
        "drank",
        "drove",
        "flew",
        "lost",
        "found",
        "won",
        "broke",
        "fell",
        "taught",
        "wrote",
        "built",
        "began",
        "chose",
        "felt",
        "kept",
        "paid",
        "said",
        "told",
        "thought",
        "knew",
        "slept",
        "spent",
        "swam",
        "stood",
        "tore",
        "hurt",
        "quit",
        "cut",
        "put",
        "set",
        "couldn't",
        "shouldn't",
        "mustn't",
        "used",
        "learnt",
        "heard",
    ];
    PAST.contains(&word)
        || word.ends_with("ed")
            && word.len() > 4
            && !matches!(
                word,
                "need" | "feed" | "speed" | "succeed" | "exceed" | "proceed" | "breed" | "bleed"
            )
}

fn third(word: &str) -> String {
    let cut = word.trim_end_matches([',', '.', ';', ':']);
    let mark = &word[cut.len()..];
    let ends = |list: &[&str]| list.iter().any(|end| cut.ends_with(end));
    let out = if ends(&["s", "sh", "ch", "x", "z", "o"]) {
        format!("{cut}es")
    } else if cut.ends_with('y') && !ends(&["ay", "ey", "oy", "uy"]) {
        format!("{}ies", &cut[..cut.len() - 1])
    } else {
        format!("{cut}s")
    };
    out + mark
}

/// The user's "my" and "me" inside a fact.
fn third_person(words: &[String]) -> Vec<String> {
    words
        .iter()
        .map(|word| {
            let lower = plain(word);
            let cut = lower.trim_end_matches([',', '.', ';', ':', '!']);
            let mark = &lower[cut.len()..];
            let out = match cut {
                "my" | "our" => "their",
                "me" | "us" => "them",
                "mine" | "ours" => "theirs",
                "myself" | "ourselves" => "themself",
                "i" | "we" => "they",
                "i'm" | "we're" => "they are",
                "i've" | "we've" => "they have",
                _ => return word.clone(),
            };
            format!("{out}{mark}")
        })
        .collect()
}

fn is_participle(word: Option<&String>) -> bool {
    word.is_some_and(|word| word == "been" || word == "got" || word == "had")
}

fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
