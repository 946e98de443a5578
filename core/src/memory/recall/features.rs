//! What can be seen in a turn without knowing the question.

use super::question::Line;

/// What a turn wishes for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Wishes {
    /// Whether it is a standing instruction to an assistant: "always …", "when I ask about …".
    pub(super) instruction: bool,
    /// Whether it says what somebody prefers.
    pub(super) preference: bool,
}

/// Longer texts contain an "always" by chance.
const INSTRUCTION_WORDS: usize = 40;

/// Share of the words of a prose that are in questions.
pub(super) fn asks(prose: &str) -> f32 {
    let (mut asked, mut all) = (0, 0);
    for sentence in sentences(prose) {
        let words = sentence.split_whitespace().count();
        all += words;
        if sentence.contains(['?', '？', '؟']) {
            asked += words;
        }
    }
    if all == 0 { 0.0 } else { asked as f32 / all as f32 }
}

/// Whether the word, in lower case, says that the speaker speaks of himself.
pub(super) fn is_first_person(word: &str) -> bool {
    matches!(word, "i" | "my" | "me" | "we" | "our" | "us")
}

/// Whether the word, in lower case, names a time: "yesterday", "week", "may", "1998".
pub(super) fn is_time(word: &str) -> bool {
    let year = word.len() == 4 && (word.starts_with("19") || word.starts_with("20"));
    TIMES.binary_search(&word).is_ok() || year && word.parse::<u16>().is_ok()
}

impl Wishes {
    /// What a prose of so many words wishes for.
    pub(super) fn new(prose: &str, words: usize) -> Wishes {
        let line = Line::new(prose);
        let orders = || {
            sentences(prose).any(|sentence| {
                let line = Line::new(sentence);
                line.starts_with_any(ORDERS)
                    || line.starts_with_any(&["please "])
                        && line.has_any(&[" please always ", " please never ", " please remember "])
            })
        };
        Wishes {
            instruction: words < INSTRUCTION_WORDS
                && (line.has_any(&[
                    " when i ask ",
                    " whenever i ask ",
                    " every time i ask ",
                    " in future ",
                    " in the future ",
                ]) || orders()),
            preference: line.has_any(PREFERENCES),
        }
    }
}

const ORDERS: &[&str] = &[
    "always ",
    "never ",
    "from now on ",
    "remember to ",
    "make sure to ",
    "make sure you ",
    "don t ever ",
    "whenever ",
    "every time ",
    "when i ask ",
];

const PREFERENCES: &[&str] = &[
    " i prefer ",
    " we prefer ",
    " i d prefer ",
    " i would prefer ",
    " i really prefer ",
    " i usually prefer ",
    " i generally prefer ",
    " i always prefer ",
    " i also prefer ",
    " i much prefer ",
    " i favor ",
    " i favour ",
    " my preference",
    " preferred ",
    " i d rather ",
    " we d rather ",
    " rather than ",
    " not a fan of ",
    " i avoid ",
];

/// In alphabetical order.
const TIMES: &[&str] = &[
    "ago",
    "april",
    "august",
    "autumn",
    "birthday",
    "december",
    "fall",
    "february",
    "friday",
    "january",
    "july",
    "june",
    "last",
    "march",
    "may",
    "monday",
    "month",
    "morning",
    "next",
    "november",
    "october",
    "recently",
    "saturday",
    "september",
    "since",
    "spring",
    "summer",
    "sunday",
    "thursday",
    "today",
    "tomorrow",
    "tonight",
    "tuesday",
    "wednesday",
    "week",
    "weekend",
    "winter",
    "year",
    "yesterday",
];

/// Runs of text that end with a full stop, a question or exclamation mark, or a line.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '!', '?', '\n', '。', '？', '！', '؟'])
        .filter(|sentence| sentence.chars().any(char::is_alphanumeric))
}

/// The text without what stands between fences: code says little of what a turn is about, at great length.
pub(super) fn prose(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("```") {
        return text.into();
    }
    let mut prose = String::with_capacity(text.len());
    for (number, piece) in text.split("```").enumerate() {
        if number % 2 == 0 {
            prose += piece;
            prose.push(' ');
        }
    }
    prose.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(text: &str) -> Wishes {
        Wishes::new(text, text.split_whitespace().count())
    }

    #[track_caller]
    fn check(text: &str, share: f32) {
        assert!((asks(text) - share).abs() < 1e-6, "{text}");
    }

    #[test]
    fn questions_are_measured_by_their_words() {
        check("How are you?", 1.0);
        check("I am fine. How are you?", 0.5);
        check("你好吗？", 1.0);
        check("", 0.0);
    }

    #[test]
    fn words_that_tell_who_and_when() {
        assert!(is_first_person("my") && !is_first_person("you"));
        for word in ["week", "1998", "sunday", "ago", "yesterday"] {
            assert!(is_time(word), "{word}");
        }
        for word in ["9000", "20th", "house"] {
            assert!(!is_time(word), "{word}");
        }
        assert!(TIMES.is_sorted());
    }

    #[test]
    fn standing_wishes() {
        for text in [
            "Always use metric units.",
            "Thanks! From now on, be brief.",
            "Please never mention prices.",
            "Name the key when I ask for a song",
        ] {
            assert!(wishes(text).instruction, "{text}");
        }
        for text in [
            "He always comes late",
            "I have never been there",
            &format!("Always {}", "so ".repeat(50)),
        ] {
            assert!(!wishes(text).instruction, "{text}");
        }
        assert!(wishes("I'd rather walk").preference);
        assert!(!wishes("I walked").preference);
    }

    #[test]
    fn code_is_no_prose() {
        assert_eq!(prose("see ```let a = 1;``` there"), "see   there ");
        assert_eq!(prose("open ```let"), "open  ");
        assert_eq!(prose("plain"), "plain");
    }
}
