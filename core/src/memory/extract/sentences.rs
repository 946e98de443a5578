//! Which of the user's words are worth a look: statements about the user, by rules and without a model.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Turn;
use crate::memory::intent::{Intent, intent};
use crate::types::Role;

/// A statement by the user about the user or the user's world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The turn it stands in.
    pub(super) turn: usize,
    /// In the user's words, without words that add nothing.
    pub(super) text: String,
    /// Whom "she" or "they" at its beginning means, in the user's words: "my sister Ana".
    pub(super) antecedent: Option<String>,
    /// What the assistant said before, if that was a question.
    pub(super) question: Option<String>,
    /// Whether the user asked for it to be remembered.
    pub(super) asked_for: bool,
}

/// The phrases of `cues.txt`.
pub(super) struct Cues(HashMap<&'static str, Vec<&'static str>>);

pub(super) static CUES: LazyLock<Cues> = LazyLock::new(|| {
    let mut classes: HashMap<&'static str, Vec<&'static str>> = HashMap::new();
    for line in include_str!("cues.txt").lines() {
        if let Some((class, phrases)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
            classes.entry(class).or_default().extend(
                phrases
                    .split('|')
                    .map(str::trim)
                    .filter(|phrase| !phrase.is_empty()),
            );
        }
    }
    Cues(classes)
});

impl Cues {
    fn phrases(&self, class: &str) -> &[&'static str] {
        self.0.get(class).map_or(&[], Vec::as_slice)
    }

    /// Whether a phrase of the class stands in `text` (lower case) as whole words.
    pub(super) fn found(&self, class: &str, text: &str) -> bool {
        self.phrases(class)
            .iter()
            .any(|phrase| find_words(text, phrase).is_some())
    }

    /// Whether `text` (lower case) begins with a phrase of the class.
    pub(super) fn begins(&self, class: &str, text: &str) -> bool {
        self.phrases(class)
            .iter()
            .any(|phrase| find_words(text, phrase) == Some(0))
    }
}

/// Where `phrase` stands in `text` as whole words.
pub(super) fn find_words(text: &str, phrase: &str) -> Option<usize> {
    let word = |c: char| c.is_alphanumeric() || c == '\'';
    text.match_indices(phrase).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back().is_none_or(|c| !word(c));
        let after = text[at + phrase.len()..].chars().next().is_none_or(|c| !word(c));
        before && (after || phrase.ends_with('\''))
    })
}

/// Lower case with plain apostrophes.
pub(super) fn plain(text: &str) -> String {
    text.replace(['\u{2019}', '\u{2018}'], "'").to_lowercase()
}

/// Where the byte `at` of `plain(text)` comes from in `text`, whose letters and marks may have other lengths: always the
/// beginning of a character, or the end.
fn place_in(text: &str, at: usize) -> usize {
    let mut behind = 0;
    for (place, c) in text.char_indices() {
        if behind >= at {
            return place;
        }
        behind += match c {
            '\u{2019}' | '\u{2018}' => 1,
            c => c.to_lowercase().map(char::len_utf8).sum(),
        };
    }
    text.len()
}

/// Texts longer than this are taken for pasted ones.
const PASTED_CHARS: usize = 1_200;
/// Shortest and longest statement, in words.
const WORDS: std::ops::RangeInclusive<usize> = 2..=40;

/// All statements of the user that may hold a lasting fact, in order.
pub(super) fn candidates(turns: &[Turn]) -> Vec<Candidate> {
    let mut out: Vec<Candidate> = Vec::new();
    let mut antecedent: Option<(usize, String)> = None;
    for (number, turn) in turns.iter().enumerate() {
        if turn.speaker != Role::User {
            continue;
        }
        let question = turns[..number]
            .last()
            .filter(|before| before.speaker == Role::Assistant && before.text.trim_end().ends_with('?'))
            .map(|before| last_sentence(&before.text));
        let own = own_words(&turn.text);
        for sentence in sentences(&own) {
            let lower = plain(&sentence);
            if takes_back(&lower) {
                // "Just kidding": neither this nor what was said just before was meant.
                let said = |candidate: &Candidate| candidate.turn == number;
                let here = out.iter().any(said);
                let last = out.last().map(|candidate| candidate.turn);
                out.retain(|candidate| {
                    if here {
                        !said(candidate)
                    } else {
                        Some(candidate.turn) != last
                    }
                });
                continue;
            }
            if CUES.found("joke", &lower) || CUES.found("order", &lower) {
                continue;
            }
            if let Intent::Remember(what) = intent(&sentence) {
                out.extend(clauses(&what).into_iter().map(|text| Candidate {
                    turn: number,
                    text,
                    antecedent: None,
                    question: None,
                    asked_for: true,
                }));
                continue;
            }
            let told = if lower.trim_end().ends_with('?') {
                before_question(&sentence)
            } else {
                Some(sentence.clone())
            };
            let Some(told) = told else { continue };
            let mut supposed = false;
            for clause in clauses(&told) {
                let text = without_consequence(&without_leads(&clause));
                let lower = plain(&text);
                supposed |= CUES.found("suppose", &lower);
                let words = lower.split_whitespace().count();
                if supposed || !WORDS.contains(&words) || CUES.begins("chat", &lower) {
                    continue;
                }
                let about_other = CUES.begins("pronoun", &lower);
                let recent = antecedent
                    .as_ref()
                    .filter(|(at, _)| number - at <= 4)
                    .map(|(_, whom)| whom.clone());
                if let Some(whom) = possession(&text) {
                    antecedent = Some((number, whom));
                }
                let keep = if about_other {
                    recent.is_some()
                } else {
                    CUES.found("own", &lower)
                };
                if keep {
                    out.push(Candidate {
                        turn: number,
                        text,
                        antecedent: recent.filter(|_| about_other),
                        question: question.clone(),
                        asked_for: false,
                    });
                }
            }
            if let Some(whom) = possession(&sentence) {
                antecedent = Some((number, whom));
            }
        }
    }
    out
}

fn takes_back(lower: &str) -> bool {
    let short = lower.trim_matches(|c: char| !c.is_alphanumeric() && c != '/');
    [
        "just kidding",
        "kidding",
        "joking",
        "i'm kidding",
        "i'm joking",
        "only joking",
        "nur spaß",
        "je plaisante",
        "es broma",
        "just joking",
        "scherzo",
    ]
    .contains(&short)
}

/// What of a message the user says themselves: without code, quotations and text handed over to be worked on.
fn own_words(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    let lower = plain(text);
    if lower.len() > 4 * PASTED_CHARS {
        // Nobody types as much about themselves at once.
        let first = text.lines().next().unwrap_or_default();
        return if first.len() < PASTED_CHARS && first.len() < text.len() {
            own_words(first)
        } else {
            String::new()
        };
    }
    let first_line = lower.lines().next().unwrap_or_default();
    let handed_over =
        CUES.begins("task", first_line) && (lower.contains('\n') || lower.chars().count() > PASTED_CHARS);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
            continue;
        }
        if code || line.trim_start().starts_with('>') || handed_over && number > 0 {
            continue;
        }
        let lower = plain(line);
        // "Translate: …", "SYSTEM: …"
        let colon = line.find(':').filter(|at| {
            let head = plain(&line[..*at]);
            CUES.begins("task", &head) || CUES.found("task", &head) && head.split_whitespace().count() < 6
        });
        let line = colon.map_or(line, |at| &line[..at]);
        // A story that the user orders is about nobody.
        let ordered = CUES.begins("task", &lower);
        for (index, sentence) in sentences(line).into_iter().enumerate() {
            if !(ordered && index == 0) {
                out.push_str(&sentence);
                out.push(' ');
            }
        }
        out.push('\n');
    }
    unquoted(&out)
}

/// The text with quotations and code between marks taken out.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut closing: Option<char> = None;
    let mut before = ' ';
    for c in text.chars() {
        if let Some(end) = closing {
            if c == end || c == '\n' {
                closing = None;
            }
        } else {
            closing = match c {
                '"' if !before.is_alphanumeric() => Some('"'),
                '“' => Some('”'),
                '„' => Some('“'),
                '«' => Some('»'),
                '`' => Some('`'),
                _ => None,
            };
            if closing.is_some() {
                out.push('…');
            } else {
                out.push(c);
            }
        }
        before = c;
    }
    out
}

/// The sentences of a text, with their closing marks.
pub(super) fn sentences(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current = String::new();
    let chars: Vec<char> = text.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        if c != '\n' {
            current.push(c);
        }
        let ends = match c {
            '\n' | '!' | '?' | '。' | '！' | '？' | '…' => true,
            '.' => {
                let next = chars.get(at + 1);
                let last = current
                    .trim_end_matches('.')
                    .rsplit(' ')
                    .next()
                    .unwrap_or_default();
                let short = last.chars().count() <= 3 && last.chars().next().is_some_and(char::is_uppercase);
                next.is_none_or(|c| c.is_whitespace()) && !short
            }
            _ => false,
        };
        if ends {
            if !current.trim().is_empty() {
                out.push(current.trim().to_owned());
            }
            current.clear();
        }
    }
    if !current.trim().is_empty() {
        out.push(current.trim().to_owned());
    }
    out
}

/// What a question tells before it asks: "I take 50 mg, can I drink?"
fn before_question(sentence: &str) -> Option<String> {
    let at = sentence
        .char_indices()
        .filter(|(_, c)| matches!(c, ',' | ';' | '–' | '—' | '-'))
        .map(|(at, _)| at)
        .find(|at| {
            let rest = plain(sentence[*at..].trim_start_matches([',', ';', '–', '—', '-', ' ']));
            let rest = rest
                .strip_prefix("so ")
                .or_else(|| rest.strip_prefix("and "))
                .unwrap_or(&rest);
            CUES.begins("ask", rest)
        })?;
    let told = sentence[..at].trim();
    (!CUES.begins("ask", &plain(told))).then(|| told.to_owned())
}

fn last_sentence(text: &str) -> String {
    sentences(text).pop().unwrap_or_default()
}

/// A sentence's statements: it is cut where a conjunction is followed by a new "I", "my" or "she".
fn clauses(sentence: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = sentence.to_owned();
    loop {
        let lower = plain(&rest);
        let cut = CUES
            .phrases("split")
            .iter()
            .filter_map(|mark| {
                let spaced = mark.chars().all(char::is_alphabetic);
                lower.match_indices(*mark).map(|(at, _)| at).find_map(|at| {
                    let before = !spaced || lower[..at].ends_with([' ', ',']);
                    let after = &lower[at + mark.len()..];
                    let begins = after.starts_with(' ') && {
                        let next = after.trim_start();
                        let next = next
                            .strip_prefix("so ")
                            .or_else(|| next.strip_prefix("and "))
                            .or_else(|| next.strip_prefix("but "))
                            .unwrap_or(next);
                        CUES.begins("own", next)
                            || CUES.begins("pronoun", next)
                            || CUES.begins("suppose", next)
                    };
                    (before && begins && at > 3).then_some((at, at + mark.len()))
                })
            })
            .min();
        let Some((end, begin)) = cut else { break };
        let (end, begin) = (place_in(&rest, end), place_in(&rest, begin));
        out.push(rest[..end].trim().to_owned());
        rest.drain(..begin);
    }
    out.push(rest);
    out
}

/// "I live in Valencia, so rice is no problem": what follows from a statement is dropped.
fn without_consequence(text: &str) -> String {
    let lower = plain(text);
    let cut = CUES
        .phrases("so")
        .iter()
        .filter_map(|word| {
            let at = lower.find(&format!(", {word} "))?;
            (lower[..at].split_whitespace().count() > 2).then_some(at)
        })
        .min();
    cut.map_or_else(|| text.to_owned(), |at| text[..place_in(text, at)].to_owned())
}

/// A statement without "well, by the way," before it and "haha" after.
fn without_leads(clause: &str) -> String {
    let mut text = clause.trim().to_owned();
    loop {
        let lower = plain(&text);
        let lead = CUES
            .phrases("lead")
            .iter()
            .filter(|lead| find_words(&lower, lead) == Some(0))
            .map(|lead| lead.len())
            .max();
        let Some(lead) = lead.filter(|lead| *lead < lower.trim_end().len()) else {
            break;
        };
        text = text[place_in(&text, lead)..]
            .trim_start_matches([' ', ',', ':', '-', '–', '—', '…', '.', '!'])
            .to_owned();
    }
    let mut text = text
        .trim_end_matches(['.', '!', ' ', ',', ';', '…', '-', '–', '—'])
        .to_owned();
    for tail in [
        "by the way",
        "btw",
        "though",
        "anyway",
        "actually",
        "übrigens",
        "haha",
        "in case i ask again",
        "by now",
        "of course",
        "you know",
    ] {
        let lower = plain(&text);
        if lower.ends_with(tail) && lower.len() > tail.len() + 4 {
            text.truncate(place_in(&text, lower.len() - tail.len()));
            text = text.trim_end_matches([' ', ',']).to_owned();
        }
    }
    text
}

/// The first "my sister Ana" of a text.
fn possession(text: &str) -> Option<String> {
    const MINE: &[&str] = &[
        "my", "our", "mein", "meine", "meinen", "meiner", "mon", "ma", "mi", "meu", "minha", "mio", "mia",
        "mijn",
    ];
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words
        .iter()
        .position(|word| MINE.contains(&plain(word).trim_matches(|c: char| !c.is_alphanumeric())))?;
    let mut out = Vec::new();
    for word in &words[at + 1..] {
        let clean = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '\'' && c != '-');
        let name = clean.chars().next().is_some_and(char::is_uppercase);
        if out.is_empty() || name && out.len() < 3 {
            out.push(clean.trim_end_matches("'s").to_owned());
        } else {
            break;
        }
        if word.ends_with([',', '.', '!', '?', ';', ':']) || clean.ends_with("'s") {
            break;
        }
    }
    (!out.is_empty()).then(|| out.join(" "))
}
