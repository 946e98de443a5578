//! What a question asks for: words, a speaker, a time, advice.

use std::collections::HashSet;

use super::words::{each_word, is_stop_word, stem};
use crate::memory::when::{When, when};

/// Whose turns are asked for when the question names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// What the person said: "when did I …", "my …".
    Person,
    /// What the assistant said: "what did you recommend …".
    Assistant,
}

/// A word to look for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// As it stands, in lower case.
    pub word: String,
    /// Its stem.
    pub stem: String,
    /// 1, or less when it comes from an earlier turn.
    pub weight: f32,
}

/// A question taken apart.
#[derive(Debug, Clone)]
pub struct Question {
    /// What it says about time.
    pub when: When,
    /// The question without its expressions of time.
    pub text: String,
    /// Its words, each stem once, in order.
    pub words: Vec<Asked>,
    /// Whose turns it asks for.
    pub voice: Option<Voice>,
    /// Whether it wants something done or advised, and doesn't ask for what was said: standing wishes bear on it.
    pub wants_advice: bool,
    /// Whether it asks when something was, or how long.
    pub asks_time: bool,
}

/// What a word of the turns before the question counts against one of the question.
const PREVIOUS_WEIGHT: f32 = 0.2;
/// More words are not looked at.
const MAX_WORDS: usize = 64;

impl Question {
    /// Takes apart `text`, asked at `now_ms`, after the turns `previous`.
    pub fn new(text: &str, previous: &[String], now_ms: i64) -> Question {
        let when = when(text, now_ms);
        let mut rest = String::with_capacity(text.len());
        let mut from = 0;
        for bytes in &when.expressions {
            rest += &text[from..bytes.start];
            rest.push(' ');
            from = bytes.end;
        }
        rest += &text[from..];
        let mut seen = HashSet::new();
        let mut words = asked(&rest, 1.0, &mut seen, is_stop_word);
        if words.is_empty() {
            // Of stop words alone.
            words = asked(&rest, 1.0, &mut seen, |_| false);
        }
        for turn in previous {
            words.extend(asked(turn, PREVIOUS_WEIGHT, &mut seen, is_stop_word));
        }
        words.truncate(MAX_WORDS);
        let line = Line::new(text);
        Question {
            voice: voice(&line),
            wants_advice: !line.has_any(RECALLING) && !asks_for_fact(&line),
            asks_time: line.starts_with_any(&[
                "when ",
                "how long ",
                "since when ",
                "what time ",
                "which day ",
            ]),
            when,
            text: rest,
            words,
        }
    }

    /// Leaves out the words of a speaker's name, which their turns needn't say, unless nothing would be left.
    pub fn leave_out(&mut self, names: &HashSet<String>) {
        let own = |asked: &Asked| asked.weight >= 1.0 && !names.contains(&asked.stem);
        if self.words.iter().any(own) {
            self.words.retain(|asked| !names.contains(&asked.stem));
        }
    }
}

/// Questions for what was said or done.
const RECALLING: &[&str] = &[
    " did i ",
    " did we ",
    " did you ",
    " have i ",
    " have we ",
    " have you ",
    " had i ",
    " had we ",
    " had you ",
    " do i ",
    " do we ",
    " do you ",
    " does i ",
    " was i ",
    " were we ",
    " were you ",
    " how many ",
    " how long ",
    " how much ",
    " how often ",
    " when ",
];

/// Whether it asks what something of the person's is: "what colour is my car", "who is our dentist". Their wishes bear on
/// that no more than anything else they said.
fn asks_for_fact(line: &Line) -> bool {
    const ASKING: &[&str] = &["what ", "which ", "who ", "whose ", "where "];
    const MINE: &[&str] = &[
        " is my ",
        " are my ",
        " was my ",
        " were my ",
        " is our ",
        " are our ",
        " was our ",
        " were our ",
        " am i ",
        " does my ",
        " do my ",
        " did my ",
        " does our ",
        " do our ",
        " did our ",
    ];
    // "What's my …": the verb went with its apostrophe.
    const SHORT: &[&str] = &[
        "what my ",
        "who my ",
        "where my ",
        "what our ",
        "who our ",
        "where our ",
    ];
    const ADVICE: &[&str] = &[
        " best ",
        " good ",
        " better ",
        " should ",
        " recommend",
        " suggest",
        " wrong ",
    ];
    line.starts_with_any(ASKING)
        && (line.has_any(MINE) || line.starts_with_any(SHORT))
        && !line.has_any(ADVICE)
}

fn voice(line: &Line) -> Option<Voice> {
    const SAID: &[&str] = &[
        " did you ",
        " have you ",
        " had you ",
        " were you ",
        " would you ",
        " your advice ",
        " your suggestion",
        " your recommendation",
        " your answer",
        " your explanation",
        " you recommend",
        " you suggest",
        " you advis",
        " you propos",
        " you explain",
        " you told ",
        " you said ",
        " you gave ",
        " you provid",
        " you describ",
        " you mention",
        " you list",
    ];
    const MINE: &[&str] = &[" i ", " my ", " me ", " mine ", " myself ", " we ", " our "];
    // "What would you suggest" asks for advice, not for what was advised.
    if line.has_any(SAID) && !line.has_any(&[" would you "]) {
        Some(Voice::Assistant)
    } else if line.has_any(MINE) {
        Some(Voice::Person)
    } else {
        None
    }
}

fn asked(text: &str, weight: f32, seen: &mut HashSet<String>, dull: impl Fn(&str) -> bool) -> Vec<Asked> {
    let mut words = Vec::new();
    each_word(text, |word| {
        let stem = stem(word);
        if !dull(word) && seen.insert(stem.clone()) {
            words.push(Asked {
                word: word.to_owned(),
                stem,
                weight,
            });
        }
    });
    words
}

/// The words of a text, unstemmed, with one space around each: a phrase is looked for as " so and so ".
pub(super) struct Line(String);

impl Line {
    /// The line of a text.
    pub(super) fn new(text: &str) -> Line {
        let mut line = String::with_capacity(text.len() + 2);
        line.push(' ');
        each_word(text, |word| {
            line += word;
            line.push(' ');
        });
        Line(line)
    }

    /// Whether one of the phrases occurs.
    pub(super) fn has_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.0.contains(phrase))
    }

    /// Whether it begins with one of the phrases.
    pub(super) fn starts_with_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.0[1..].starts_with(phrase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_684_411_200_000;

    fn question(text: &str) -> Question {
        Question::new(text, &[], NOW_MS)
    }

    fn stems(question: &Question) -> Vec<(&str, f32)> {
        question
            .words
            .iter()
            .map(|asked| (asked.stem.as_str(), asked.weight))
            .collect()
    }

    #[test]
    fn expressions_of_time_are_no_words() {
        let question = question("What did Ana's sister buy in May 2022?");
        assert_eq!(stems(&question), [("ana", 1.0), ("sister", 1.0), ("bui", 1.0)]);
        assert_eq!(question.when.spans.len(), 1);
    }

    #[test]
    fn a_question_of_stop_words_has_words() {
        assert_eq!(question("Who are you?").words.len(), 3);
        assert_eq!(question("").words.len(), 0);
    }

    #[test]
    fn earlier_turns_count_less() {
        let question = Question::new("And the red one?", &["The red car was cheap.".into()], NOW_MS);
        assert_eq!(
            stems(&question),
            [("red", 1.0), ("on", 1.0), ("car", 0.2), ("cheap", 0.2)]
        );
    }

    #[test]
    fn whose_words_are_asked_for() {
        for (text, voice) in [
            ("When did I go to the zoo?", Some(Voice::Person)),
            ("What is my budget?", Some(Voice::Person)),
            ("What did you recommend for my back?", Some(Voice::Assistant)),
            ("Which library would you suggest for my app?", Some(Voice::Person)),
            ("When did Ana go to the zoo?", None),
        ] {
            assert_eq!(question(text).voice, voice, "{text}");
        }
    }

    #[test]
    fn advice_is_told_from_recollection() {
        for (text, advice) in [
            ("How should I format the list?", true),
            ("Show me a function that sorts.", true),
            ("What did I tell you about the list?", false),
            ("How many lists have I made?", false),
            ("When is my appointment?", false),
            ("What colour is my car?", false),
            ("what's my sister's name", false),
            ("Who is our dentist?", false),
            ("What does my brother do?", false),
            ("What is the best way to cook my rice?", true),
            ("What should my next step be?", true),
            ("Which film is good for my parents?", true),
        ] {
            assert_eq!(question(text).wants_advice, advice, "{text}");
        }
        assert!(question("How long was the film?").asks_time);
    }

    #[test]
    fn names_of_speakers_are_left_out_unless_nothing_else_is_asked() {
        let names = HashSet::from(["ana".to_owned()]);
        let mut asked = question("What did Ana buy?");
        asked.leave_out(&names);
        assert_eq!(asked.words.len(), 1);
        let mut asked = question("Who is Ana?");
        asked.leave_out(&names);
        assert_eq!(stems(&asked), [("ana", 1.0)]);
    }
}
