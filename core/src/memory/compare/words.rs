//! A statement as words: lemmas with what the rules need to know of each.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::quantity::{self, Dimension, Quantity};

/// One word, or one number with its unit.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// As written, in lower case.
    pub(super) lower: String,
    pub(super) lemma: String,
    /// Whether it was written with a capital.
    pub(super) capital: bool,
    /// Whether that capital is a name's, and not the sentence's.
    pub(super) named: bool,
    pub(super) quantity: Option<Quantity>,
    pub(super) class: Class,
}

/// What a word does in its sentence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties of one word")]
pub(super) struct Class {
    /// Carries nothing that could differ.
    pub(super) filler: bool,
    pub(super) negation: bool,
    pub(super) hypothetical: bool,
    pub(super) change: bool,
    /// Ends a clause.
    pub(super) boundary: bool,
    /// A form that only a verb in the past has.
    pub(super) past: bool,
    pub(super) verb: bool,
}

/// The word lists.
pub(super) struct Lexicon {
    lemmas: HashMap<&'static str, &'static str>,
    /// Verbs come before the nouns in the list.
    verbs: HashSet<&'static str>,
    classes: HashMap<&'static str, HashSet<&'static str>>,
    exclusive: Vec<Vec<String>>,
}

/// The lists of `words.txt`.
pub(super) static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| Lexicon::parse(include_str!("words.txt")));

const PAST: &[&str] = &[
    "was",
    "were",
    "had",
    "went",
    "left",
    "took",
    "gave",
    "got",
    "bought",
    "sold",
    "drove",
    "rode",
    "ate",
    "drank",
    "spoke",
    "ran",
    "wrote",
    "wore",
    "taught",
    "met",
    "slept",
    "woke",
    "rose",
    "felt",
    "kept",
    "thought",
    "knew",
    "said",
    "told",
    "made",
    "saw",
    "came",
    "grew",
    "chose",
    "swam",
    "sang",
    "lost",
    "found",
    "flew",
    "paid",
    "stood",
    "brought",
    "built",
    "won",
    "broke",
    "forgot",
    "spent",
    "began",
    "became",
    "held",
    "lebte",
    "wohnte",
    "arbeitete",
    "hatte",
    "habitait",
    "vivait",
    "travaillait",
    "était",
    "avait",
    "voulait",
    "vivía",
    "trabajaba",
    "era",
    "tenía",
    "wurde",
    "mochte",
    "ago",
    "yesterday",
    "formerly",
    "previously",
];

/// Verbs whose past looks like their stem: in the third person "read" can only be the past.
const UNMARKED: &[&str] = &["read", "put", "cut", "hurt", "hit", "let"];

/// Prepositions and the like: where a value ends.
pub(super) const STOPS: &[&str] = &[
    "at", "in", "on", "for", "with", "since", "because", "from", "until", "as", "to", "by", "after",
    "before", "during", "near", "about", "than", "over", "if", "when", "while", "where", "who", "which",
    "that", "instead", "although", "though", "through", "via", "into", "bei", "mit", "seit", "weil", "von",
    "nach", "zu", "als", "für", "aus", "avec", "depuis", "pour", "chez", "parce", "dans", "con", "desde",
    "porque", "para", "como",
];

const BOUNDARIES: &[&str] = &[
    "and", "but", "or", "und", "aber", "oder", "et", "mais", "ou", "y", "pero",
];

impl Lexicon {
    fn parse(text: &'static str) -> Self {
        let mut lexicon = Lexicon {
            lemmas: HashMap::new(),
            verbs: HashSet::new(),
            classes: HashMap::new(),
            exclusive: Vec::new(),
        };
        let mut verbs = false;
        let mut exclusive: Vec<Vec<&str>> = Vec::new();
        for line in text.lines() {
            if line.starts_with("# Verbs") {
                verbs = true;
            } else if line.starts_with("# Nouns") {
                verbs = false;
            }
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(rest) = line.strip_prefix('@') {
                let mut words = rest.split_whitespace();
                let class = words.next().unwrap_or_default();
                if class == "exclusive" {
                    exclusive.push(words.collect());
                } else {
                    lexicon.classes.entry(class).or_default().extend(words);
                }
            } else if let Some((lemma, forms)) = line.split_once(':') {
                lexicon.lemmas.insert(lemma, lemma);
                if verbs {
                    lexicon.verbs.insert(lemma);
                }
                for form in forms.split_whitespace() {
                    lexicon.lemmas.entry(form).or_insert(lemma);
                }
            }
        }
        let lemmas = |group: &Vec<&str>| group.iter().map(|word| lexicon.lemma(word)).collect();
        lexicon.exclusive = exclusive.iter().map(lemmas).collect();
        lexicon
    }

    /// The dictionary form of a word in lower case; unknown words are cut by rule, the same way for every form.
    pub(super) fn lemma(&self, word: &str) -> String {
        if let Some(lemma) = self.lemmas.get(word) {
            return (*lemma).to_owned();
        }
        if word.len() < 4 || !word.is_ascii() {
            return word.to_owned();
        }
        let cut = |suffix: &str| word.strip_suffix(suffix).filter(|stem| stem.len() >= 3);
        let stem = if let Some(stem) = cut("ies") {
            format!("{stem}y")
        } else if let Some(stem) = cut("ing").or_else(|| cut("ed")) {
            let bytes = stem.as_bytes();
            let doubled = bytes.len() > 3
                && bytes[bytes.len() - 1] == bytes[bytes.len() - 2]
                && !b"lsz".contains(&bytes[bytes.len() - 1]);
            stem[..stem.len() - usize::from(doubled)].to_owned()
        } else if let Some(stem) = cut("s").filter(|stem| !stem.ends_with(['s', 'u', 'i'])) {
            stem.strip_suffix("she")
                .map(|s| format!("{s}sh"))
                .or_else(|| stem.strip_suffix("che").map(|s| format!("{s}ch")))
                .unwrap_or_else(|| stem.to_owned())
        } else {
            word.to_owned()
        };
        if let Some(lemma) = self.lemmas.get(stem.as_str()) {
            return (*lemma).to_owned();
        }
        match stem.strip_suffix('e') {
            Some(short) if short.len() >= 3 => short.to_owned(),
            _ => stem,
        }
    }

    /// Whether any of the lists has a word.
    pub(super) fn knows(&self, word: &Word) -> bool {
        let has = |word: &str| {
            self.lemmas.contains_key(word) || self.classes.values().any(|words| words.contains(word))
        };
        has(&word.lower) || has(&word.lemma)
    }

    /// Whether `word` is in a class of `words.txt`.
    pub(super) fn has(&self, class: &str, word: &str) -> bool {
        self.classes.get(class).is_some_and(|words| words.contains(word))
    }

    /// Whether a lemma is a verb the lists know.
    pub(super) fn is_verb(&self, lemma: &str) -> bool {
        self.verbs.contains(lemma)
    }

    /// Whether two values cannot hold at once, such as "vegan" and "vegetarian".
    pub(super) fn exclude(&self, a: &str, b: &str) -> bool {
        a != b
            && self
                .exclusive
                .iter()
                .any(|group| group.iter().any(|word| word == a) && group.iter().any(|word| word == b))
    }

    /// Whether a value stands in a group of which one holds at a time.
    pub(super) fn is_exclusive(&self, word: &str) -> bool {
        self.exclusive
            .iter()
            .any(|group| group.iter().any(|known| known == word))
    }

    /// Whether a noun names what somebody can be by trade.
    ///
    /// Endings alone only count behind an article: "is a carpenter", but not "is clever".
    pub(super) fn is_trade(&self, word: &Word, first: Option<&Word>) -> bool {
        if self.has("trade", &word.lower) || self.has("trade", &word.lemma) {
            return true;
        }
        let article = first.is_some_and(|word| {
            ["a", "an", "ein", "eine", "un", "une", "una", "als", "as"].contains(&word.lower.as_str())
        });
        article && self.ends_like_trade(word)
    }

    /// Whether a word has an ending that names of trades have.
    pub(super) fn ends_like_trade(&self, word: &Word) -> bool {
        let ending = [
            "er", "or", "ist", "ian", "ant", "eur", "euse", "ière", "rice", "mann", "frau", "ero", "dor",
        ];
        word.quantity.is_none()
            && word.lower.chars().count() > 4
            && ending.iter().any(|ending| word.lower.ends_with(ending))
            && !self.has("nottrade", &word.lower)
            && !self.is_exclusive(&word.lemma)
    }

    fn class(&self, word: &str, lemma: &str, previous: Option<&Word>) -> Class {
        let verb = self.is_verb(lemma);
        let helped =
            previous.is_some_and(|word| word.lemma == "have" || word.lemma == "be" || word.lower == "to");
        Class {
            filler: self.has("filler", word) || word == "hat" && previous.is_none(),
            negation: self.has("negation", word) || ["ne", "n"].contains(&word),
            hypothetical: self.has("hypothetical", lemma) || self.has("hypothetical", word),
            change: self.has("change", word),
            boundary: BOUNDARIES.contains(&word),
            past: UNMARKED.contains(&word) && previous.is_none_or(|word| word.class.boundary)
                || PAST.contains(&word) && !(helped && word != "was" && word != "were" && word != "had")
                || verb && word.ends_with("ed") && !helped,
            verb,
        }
    }
}

/// The words of a statement.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let tokens = tokens(text);
    let mut at = 0;
    while at < tokens.len() {
        if let Some((quantity, length)) = quantity_at(&tokens[at..]) {
            out.push(Word {
                lower: tokens[at].0.clone(),
                lemma: "#".to_owned(),
                capital: false,
                named: false,
                quantity: Some(quantity),
                class: Class::default(),
            });
            at += length;
            continue;
        }
        let (lower, capital) = tokens[at].clone();
        at += 1;
        if lower == "," || lower == ";" || lower == "." {
            out.push(Word {
                lemma: lower.clone(),
                lower,
                capital: false,
                named: false,
                quantity: None,
                class: Class {
                    boundary: true,
                    filler: true,
                    ..Class::default()
                },
            });
            continue;
        }
        let mut lemma = LEXICON.lemma(&lower);
        // Inside a name a verb is none: "The Left Hand of Darkness".
        let inside = capital && out.last().is_some_and(|before: &Word| !before.class.boundary);
        if inside && LEXICON.is_verb(&lemma) {
            lemma.clone_from(&lower);
        }
        let class = LEXICON.class(&lower, &lemma, out.last());
        out.push(Word {
            lower,
            lemma,
            capital,
            named: capital && out.last().is_some_and(|before: &Word| before.lower != "."),
            quantity: None,
            class,
        });
    }
    mark_first_names(&mut out);
    mark_auxiliaries(&mut out);
    mark_phrases(&mut out);
    out
}

/// A sentence that begins with a word that the lists don't know and goes on with a verb begins with a name: "Ines is …".
fn mark_first_names(words: &mut [Word]) {
    for at in 0..words.len().saturating_sub(1) {
        let next = &words[at + 1];
        let verb = next.class.verb && next.lower != next.lemma || next.lemma == "be" || next.lemma == "have";
        words[at].named |= words[at].capital && verb && !LEXICON.knows(&words[at]);
    }
}

/// "Has", "is" and "started" before another verb say when, not what.
fn mark_auxiliaries(words: &mut [Word]) {
    for at in 0..words.len() {
        // A few words on at most: texts can be long.
        let next = words[at + 1..]
            .iter()
            .take(8)
            .find(|word| {
                !(word.class.filler || word.class.negation || word.class.change || word.lower.ends_with("ly"))
            })
            .cloned();
        let Some(next) = next else { continue };
        let participle = next.class.verb
            && (next.lower.ends_with("ed")
                || next.lower.ends_with("en")
                || PARTICIPLES.contains(&next.lower.as_str()));
        let going = next.class.verb && next.lower.ends_with("ing");
        match words[at].lemma.as_str() {
            "have" if participle || next.lower == "been" => words[at].class.filler = true,
            "go" if going => {
                words[at].class = Class {
                    filler: true,
                    ..Class::default()
                };
            }
            "be" if participle || going => words[at].class.filler = true,
            "begin" if going => {
                words[at].class = Class {
                    filler: true,
                    change: true,
                    ..Class::default()
                };
            }
            _ => {}
        }
    }
}

const PARTICIPLES: &[&str] = &[
    "moved", "become", "come", "gone", "left", "bought", "sold", "had", "made", "built", "set", "put",
    "read", "kept", "lost", "found", "won", "met", "run", "taught", "thought", "brought", "held", "paid",
    "quit", "cut", "begun", "swum", "flown", "grown", "got",
];

/// Phrases of several words that do what single words of a class do.
fn mark_phrases(words: &mut [Word]) {
    const FILLERS: &[&[&str]] = &[
        &["from", "now", "on"],
        &["as", "of", "now"],
        &["for", "now"],
        &["by", "now"],
        &["at", "the", "moment"],
        &["at", "present"],
        &["last", "week"],
        &["last", "month"],
        &["last", "year"],
        &["for", "years"],
        &["a", "lot"],
        &["in", "general"],
        &["from", "work"],
    ];
    for at in 0..words.len() {
        for phrase in &FILLERS[..FILLERS.len() - 1] {
            let found = words.len() >= at + phrase.len()
                && phrase
                    .iter()
                    .zip(&words[at..])
                    .all(|(wanted, word)| word.lower == *wanted);
            if found {
                for word in &mut words[at..at + phrase.len()] {
                    word.class.filler = true;
                    word.class.change |= phrase.contains(&"now");
                }
            }
        }
        let next = |ahead: usize| words.get(at + ahead);
        let ends = match words[at].lower.as_str() {
            "used" => {
                next(1).is_some_and(|word| word.lower == "to") && next(2).is_some_and(|word| word.class.verb)
            }
            "stopped" | "stop" | "stops" | "quit" | "quits" | "ceased" => {
                next(1).is_some_and(|word| word.lower.ends_with("ing"))
            }
            "gave" | "given" | "giving" | "gives" => {
                next(1).is_some_and(|word| word.lower == "up")
                    && next(2).is_some_and(|word| word.lower.ends_with("ing"))
            }
            _ => false,
        };
        if ends {
            words[at].class = Class {
                negation: true,
                ..Class::default()
            };
            if let Some(word) = words.get_mut(at + 1)
                && ["to", "up"].contains(&word.lower.as_str())
            {
                word.class.filler = true;
            }
        }
    }
    // "not only" denies nothing; French "plus" belongs to its "ne".
    for at in 0..words.len() {
        if words[at].class.negation && words.get(at + 1).is_some_and(|word| word.lower == "only") {
            words[at].class.negation = false;
            words[at].class.filler = true;
        }
        if ["plus", "mehr", "ya"].contains(&words[at].lower.as_str()) {
            words[at].class.filler = true;
        }
    }
}

/// The number that begins here, with how many tokens it takes.
fn quantity_at(tokens: &[(String, bool)]) -> Option<(Quantity, usize)> {
    let word = |at: usize| tokens.get(at).map_or("", |(lower, _)| lower.as_str());
    let made = |dimension, value, length| Some((Quantity { dimension, value }, length));
    let first = word(0);
    match first {
        "noon" | "mittag" | "midi" => return made(Dimension::TimeOfDay, 720.0, 1),
        "midnight" | "mitternacht" | "minuit" => return made(Dimension::TimeOfDay, 0.0, 1),
        "half" if word(1) == "past" => {
            let hour = quantity::number(word(2)).or_else(|| quantity::number_word(word(2)))?;
            return made(Dimension::HalfDay, (hour * 60.0 + 30.0).rem_euclid(720.0), 3);
        }
        _ => {}
    }
    if let Some(times) = quantity::times(first) {
        return made(Dimension::Times, times, 1);
    }
    if let Some(quantity) = quantity::calendar(first) {
        return Some((quantity, 1));
    }
    if first == "may" && tokens[0].1 {
        return made(Dimension::Month, 5.0, 1);
    }
    // A currency before its number.
    if let Some((Dimension::Money(currency), _)) = quantity::unit(first)
        && let Some(value) = quantity::number(word(1))
    {
        return made(Dimension::Money(currency), value, 2);
    }
    let (hours, minutes, is_clock) = match first.split_once(':') {
        Some((h, m)) if m.len() == 2 => (quantity::number(h)?, quantity::number(m)?, true),
        _ => (
            quantity::number(first).or_else(|| quantity::number_word(first))?,
            0.0,
            false,
        ),
    };
    let suffix = word(1);
    let pm = ["pm", "p.m"].contains(&suffix);
    if pm || ["am", "a.m"].contains(&suffix) && hours <= 12.0 {
        let hour = hours % 12.0 + if pm { 12.0 } else { 0.0 };
        return made(Dimension::TimeOfDay, hour * 60.0 + minutes, 2);
    }
    if ["o'clock", "uhr"].contains(&suffix) || is_clock {
        let half = hours <= 12.0 && !(is_clock && first.starts_with('0'));
        let dimension = if half {
            Dimension::HalfDay
        } else {
            Dimension::TimeOfDay
        };
        return made(
            dimension,
            hours * 60.0 + minutes,
            if is_clock && suffix != "uhr" { 1 } else { 2 },
        );
    }
    if let Some((dimension, factor)) = quantity::unit(suffix) {
        return made(dimension, hours * factor, 2);
    }
    if first.len() == 4 && (1900.0..2100.0).contains(&hours) && first.bytes().all(|b| b.is_ascii_digit()) {
        return made(Dimension::Year, hours, 1);
    }
    // A telephone number and its like: one number, all digits of it.
    let mut digits = first.to_owned();
    let mut length = 1;
    while first.bytes().all(|b| b.is_ascii_digit()) && length < 6 {
        let next = word(length);
        if next.is_empty() || next.len() > 8 || !next.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        digits.push_str(next);
        length += 1;
    }
    if length > 1 && digits.len() >= 6 {
        return made(Dimension::Count, digits.parse().ok()?, length);
    }
    made(Dimension::Count, hours, 1)
}

/// Words and marks in lower case, each with whether it began with a capital. Short forms are written out.
fn tokens(text: &str) -> Vec<(String, bool)> {
    let mut out: Vec<(String, bool)> = Vec::new();
    let text = text.replace(['\u{2019}', '\u{2018}', '\u{2bc}'], "'");
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_alphanumeric() || c == '°' {
            let start = at;
            let digits = c.is_ascii_digit();
            while at < chars.len() {
                let c = chars[at];
                let inner = at + 1 < chars.len() && chars[at + 1].is_alphanumeric();
                let goes_on = if digits {
                    c.is_ascii_digit()
                        || matches!(c, ':' | '.' | ',') && inner && chars[at + 1].is_ascii_digit()
                } else {
                    c.is_alphanumeric()
                        || c == '°'
                        || matches!(c, '\'' | '-' | '/') && inner
                        || c == '.' && inner
                };
                if !goes_on {
                    break;
                }
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            push(&mut out, &word);
        } else {
            at += 1;
            match c {
                // "Dr." and "St." end no clause.
                '.' if out
                    .last()
                    .is_some_and(|(word, capital)| *capital && word.chars().count() <= 3) => {}
                ',' | ';' | '.' | '!' | '?' | '(' | ')' | '\n' => {
                    out.push((if c == '.' { "." } else { "," }.to_owned(), false));
                }
                ':' => out.push(("is".to_owned(), false)),
                '$' | '€' | '£' | '¥' | '₹' | '%' => out.push((c.to_string(), false)),
                _ => {}
            }
        }
    }
    out
}

fn push(out: &mut Vec<(String, bool)>, word: &str) {
    let capital = word.chars().any(char::is_uppercase);
    let lower = word.to_lowercase();
    // Chinese, Japanese and the like are written without spaces: each character stands for itself.
    if lower
        .chars()
        .any(|c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{e00}'..='\u{e7f}'))
    {
        out.extend(lower.chars().map(|c| (c.to_string(), false)));
        return;
    }
    match lower.as_str() {
        "can't" | "cannot" => return out.extend([("can".into(), capital), ("not".into(), false)]),
        "won't" => return out.extend([("will".into(), capital), ("not".into(), false)]),
        _ => {}
    }
    if let Some(stem) = lower.strip_suffix("n't") {
        return out.extend([(stem.to_owned(), capital), ("not".into(), false)]);
    }
    let pronouns = [
        "i", "he", "she", "it", "that", "there", "we", "they", "you", "who", "what", "here",
    ];
    if let Some((stem, end)) = lower.rsplit_once('\'') {
        if pronouns.contains(&stem) {
            let verb = match end {
                "m" => "am",
                "s" => "is",
                "re" => "are",
                "ve" => "have",
                "ll" => "will",
                _ => "would",
            };
            return out.extend([(stem.to_owned(), capital), (verb.into(), false)]);
        }
        if end == "s" || end.is_empty() {
            return out.push((stem.to_owned(), capital));
        }
        // l'école, j'habite
        if stem.chars().count() <= 2 {
            return out.extend([(stem.to_owned(), capital), (end.to_owned(), capital)]);
        }
    }
    out.push((lower, capital));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lemmas(text: &str) -> String {
        words(text)
            .iter()
            .map(|word| word.lemma.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn forms_of_a_word_have_one_lemma() {
        assert_eq!(lemmas("lives lived living resides"), "live live live live");
        assert_eq!(lemmas("gardening gardens gardened"), "garden garden garden");
        assert_eq!(lemmas("hobbies hobby"), "hobby hobby");
        assert_eq!(lemmas("Doesn't smoke"), "do not smoke");
    }

    #[test]
    fn numbers_carry_their_units() {
        let check = |text: &str, dimension, value: f64| {
            let found = words(text).iter().find_map(|word| word.quantity).unwrap();
            assert!(
                found.dimension == dimension && (found.value - value).abs() < 1e-6,
                "{text}: {found:?}"
            );
        };
        check("10mg", Dimension::Mass, 0.01);
        check("takes 10 mg", Dimension::Mass, 0.01);
        check("7 pm", Dimension::TimeOfDay, 1140.0);
        check("19:00", Dimension::TimeOfDay, 1140.0);
        check("half past seven", Dimension::HalfDay, 450.0);
        check("1,100 euros", Dimension::Money(1), 1100.0);
        check("€1.100,50", Dimension::Money(1), 1100.5);
        check("twenty-two", Dimension::Count, 22.0);
        check("on Tuesdays", Dimension::Weekday, 1.0);
        check("in 2019", Dimension::Year, 2019.0);
        check("555 0134", Dimension::Count, 5_550_134.0);
    }
}
