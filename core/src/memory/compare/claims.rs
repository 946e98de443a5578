//! What a statement claims: which attribute of whom has which value.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::quantity::Quantity;
use super::words::{LEXICON, STOPS, Word, words};

/// How many values an attribute has at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    One,
    Many,
    /// Two values, the first before the second.
    Order,
    /// What the statement itself must show: "the X is Y".
    Open,
}

/// One attribute with its value.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent properties of one claim"
)]
pub(super) struct Claim {
    pub(super) slot: &'static str,
    pub(super) arity: Arity,
    pub(super) subject: BTreeSet<String>,
    pub(super) key: BTreeSet<String>,
    pub(super) value: Value,
    /// What has taken the second place, or is over.
    pub(super) other: Option<Value>,
    pub(super) negative: bool,
    pub(super) past: bool,
    pub(super) hypothetical: bool,
    /// Tells that something has changed.
    pub(super) change: bool,
    /// A state of the moment.
    pub(super) momentary: bool,
    /// First and last word of the claim.
    pub(super) span: (usize, usize),
}

/// What stands in a value's place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Value {
    pub(super) words: BTreeSet<String>,
    pub(super) head: String,
    pub(super) quantities: Vec<Quantity>,
    pub(super) capital: bool,
    /// Names, each with its lemma and as it is written: "Ine" and "Ines" are two.
    pub(super) names: Vec<(String, String)>,
    pub(super) article: bool,
    /// Whether it names a large place, or no place in particular.
    pub(super) region: bool,
}

impl Value {
    fn of(words: &[Word]) -> Value {
        let content: Vec<&Word> = words
            .iter()
            .filter(|word| is_content(word) && !word.class.change)
            .collect();
        Value {
            words: content.iter().map(|word| word.lemma.clone()).collect(),
            head: content.last().map(|word| word.lemma.clone()).unwrap_or_default(),
            quantities: words.iter().filter_map(|word| word.quantity).collect(),
            region: content
                .last()
                .is_some_and(|word| LEXICON.has("region", &word.lower)),
            capital: content.iter().any(|word| word.capital),
            names: content
                .iter()
                .filter(|word| word.named)
                .map(|word| (word.lemma.clone(), word.lower.clone()))
                .collect(),
            article: words.first().is_some_and(|word| {
                ["a", "an", "ein", "eine", "un", "une", "una"].contains(&word.lower.as_str())
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.quantities.is_empty()
    }
}

/// A statement taken apart.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) words: Vec<Word>,
    pub(super) claims: Vec<Claim>,
    /// Values that are said to be over: "instead of X", "switched from X".
    pub(super) over: Vec<(BTreeSet<String>, Value)>,
}

#[derive(Debug)]
enum Item {
    Start,
    Words(Vec<&'static str>, bool),
    Any,
    Capture(char, &'static str),
}

#[derive(Debug)]
struct Pattern {
    slot: &'static str,
    key: Vec<&'static str>,
    arity: Arity,
    change: bool,
    negative: bool,
    momentary: bool,
    items: Vec<Item>,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    include_str!("patterns.txt")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(pattern)
        .collect()
});

fn pattern(line: &'static str) -> Option<Pattern> {
    let (head, body) = line.split_once(": ")?;
    let mut head = head.split_whitespace();
    let (slot, key) = head
        .next()
        .map(|slot| slot.split_once('/').unwrap_or((slot, "")))?;
    let flags: Vec<&str> = head.collect();
    let has = |flag: &str| {
        flags
            .iter()
            .any(|f| *f == flag || f.starts_with(['=', '+', '-']) && f.contains(flag))
    };
    let items = body
        .split_whitespace()
        .map(|word| match word {
            "^" => Item::Start,
            "*" => Item::Any,
            _ if word.starts_with('{') => {
                let inner = word.trim_matches(['{', '}']);
                let (name, class) = inner.split_once(':').unwrap_or((inner, ""));
                Item::Capture(name.chars().next().unwrap_or('v'), class)
            }
            _ => {
                let optional = word.ends_with('?');
                Item::Words(word.trim_end_matches('?').split('|').collect(), optional)
            }
        })
        .collect();
    Some(Pattern {
        slot,
        key: key.split('_').filter(|word| !word.is_empty()).collect(),
        arity: if has("order") {
            Arity::Order
        } else if has("many") {
            Arity::Many
        } else if slot == "attribute" && !has("+") {
            Arity::Open
        } else {
            Arity::One
        },
        change: has("+"),
        negative: has("-"),
        momentary: has("="),
        items,
    })
}

/// Where captures begin and end, by their letter.
type Captures = Vec<(char, usize, usize)>;

struct Match {
    captures: Captures,
    end: usize,
    literals: Vec<usize>,
}

/// Longer texts are no short facts: they are compared word by word only.
const MOST_WORDS: usize = 120;

/// Takes a statement apart.
pub(super) fn parse(text: &str) -> Parsed {
    let all = words(text);
    let mut over = Vec::new();
    let (words, instead) = without_instead(all);
    if let Some(value) = instead {
        over.push((BTreeSet::new(), value));
    }
    let mut claims: Vec<Claim> = Vec::new();
    let short = words.len() <= MOST_WORDS;
    for pattern in PATTERNS.iter().filter(|_| short) {
        for start in 0..words.len() {
            if skippable(&words[start]) && !begins_with(pattern, &words[start]) {
                continue;
            }
            let mut found = Match {
                captures: Vec::new(),
                end: start,
                literals: Vec::new(),
            };
            if !matches(&pattern.items, &words, start, start, &mut found) {
                continue;
            }
            let span = (start, found.end);
            if claims
                .iter()
                .any(|claim| claim.span.0 < span.1 && span.0 < claim.span.1)
            {
                continue;
            }
            if let Some(claim) = claim(pattern, &words, &found, span) {
                if let Some(value) = claim.other.clone().filter(|_| claim.arity != Arity::Order) {
                    over.push((claim.subject.clone(), value));
                }
                claims.push(claim);
            }
        }
    }
    for (value, span) in replaced(&words) {
        let covered = claims
            .iter()
            .any(|claim| claim.span.0 <= span.0 && span.1 <= claim.span.1);
        if !covered {
            over.push((subject(&words, span.0), value));
        }
    }
    if let Some(claim) = plain(&words, &claims) {
        claims.push(claim);
    }
    Parsed { words, claims, over }
}

/// Whether a word says something of its own.
pub(super) fn is_content(word: &Word) -> bool {
    let class = word.class;
    word.quantity.is_none()
        && !class.filler
        && !class.negation
        && !class.boundary
        && (!STOPS.contains(&word.lower.as_str()) || ["before", "after"].contains(&word.lower.as_str()))
        && !matches!(
            word.lemma.as_str(),
            "be" | "have" | "sein" | "haben" | "être" | "avoir" | "ser"
        )
}

fn skippable(word: &Word) -> bool {
    (word.class.filler || word.class.negation || word.class.change) && !word.class.boundary
}

fn begins_with(pattern: &Pattern, word: &Word) -> bool {
    match pattern.items.iter().find(|item| !matches!(item, Item::Start)) {
        Some(Item::Words(options, _)) => {
            options.contains(&word.lemma.as_str()) || options.contains(&word.lower.as_str())
        }
        _ => false,
    }
}

/// Matches pattern items from `at` on.
fn matches(items: &[Item], words: &[Word], start: usize, at: usize, found: &mut Match) -> bool {
    let Some((item, rest)) = items.split_first() else {
        found.end = at;
        return true;
    };
    match item {
        Item::Start => {
            words[..at]
                .iter()
                .all(|word| skippable(word) || word.class.boundary)
                && matches(rest, words, start, at, found)
        }
        Item::Words(options, optional) => {
            let mut here = at;
            while here < words.len() {
                let word = &words[here];
                if options.contains(&word.lower.as_str()) || options.contains(&word.lemma.as_str()) {
                    found.literals.push(here);
                    if matches(rest, words, start, here + 1, found) {
                        return true;
                    }
                    found.literals.pop();
                    break;
                }
                if !skippable(word) {
                    break;
                }
                here += 1;
            }
            *optional && matches(rest, words, start, at, found)
        }
        Item::Any => {
            let mut taken = 0;
            let mut here = at;
            loop {
                if matches(rest, words, start, here, found) {
                    return true;
                }
                let stop = words.get(here).is_none_or(|word| word.class.boundary);
                if stop || taken == 3 {
                    return false;
                }
                taken += usize::from(!words[here].class.filler);
                here += 1;
            }
        }
        Item::Capture(name, class) => {
            let begin = (at..words.len())
                .find(|at| !(words[*at].class.negation || words[*at].class.change && !words[*at].capital))
                .unwrap_or(words.len());
            let ends = capture_ends(words, begin, class, rest.is_empty());
            for end in ends {
                if *name == 'k' && begin == start && !at_clause_start(words, begin) {
                    return false;
                }
                if !fits(&words[begin..end], class, *name, words.get(end)) {
                    continue;
                }
                found.captures.push((*name, begin, end));
                if matches(rest, words, start, end, found) {
                    return true;
                }
                found.captures.pop();
            }
            false
        }
    }
}

fn at_clause_start(words: &[Word], at: usize) -> bool {
    words[..at]
        .iter()
        .rev()
        .take_while(|word| !word.class.boundary)
        .all(skippable)
}

/// Where a capture may end, in the order to be tried.
fn capture_ends(words: &[Word], begin: usize, class: &str, last: bool) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut content = 0;
    let mut end = begin;
    let when = matches!(class, "when" | "quantity" | "bare");
    while end < words.len() && end - begin < 9 {
        let word = &words[end];
        if word.class.boundary
            && !(["and", "or"].contains(&word.lower.as_str()) && content > 0 && !verb_follows(words, end))
        {
            break;
        }
        let stop = STOPS.contains(&word.lower.as_str()) && content > 0;
        if last
            && stop
            && class != "rest"
            && !(when && words.get(end + 1).is_some_and(|next| next.quantity.is_some()))
        {
            break;
        }
        content += usize::from(is_content(word) || word.quantity.is_some());
        end += 1;
        if content > 0 {
            ends.push(end);
        }
    }
    if last {
        ends.reverse();
        if !when {
            ends.truncate(1);
        }
    }
    ends
}

fn verb_follows(words: &[Word], at: usize) -> bool {
    words[at + 1..]
        .iter()
        .find(|word| !skippable(word))
        .is_some_and(|word| word.class.verb)
}

/// Whether words can be a value of a class.
fn fits(words: &[Word], class: &str, name: char, next: Option<&Word>) -> bool {
    let content: Vec<&Word> = words.iter().filter(|word| is_content(word)).collect();
    let quantity = |wanted: fn(Quantity) -> bool| words.iter().filter_map(|word| word.quantity).any(wanted);
    if name == 'k' {
        // An attribute's name is a noun phrase.
        let last = content.len().saturating_sub(1);
        let verb = content.iter().enumerate().any(|(at, word)| {
            let driving_test = word.lower.ends_with("ing") && at < last;
            word.class.verb
                && word.lower != word.lemma
                && !driving_test
                && !matches!(word.lemma.as_str(), "answer" | "call" | "name")
        }) || words
            .iter()
            .any(|word| word.lemma == "be" || word.lemma == "have");
        return !content.is_empty() && !verb;
    }
    match class {
        "trade" => {
            !content.iter().any(|word| word.class.verb)
                && (content.len() == 1 || !content.iter().any(|word| word.capital))
                && content
                    .last()
                    .is_some_and(|word| LEXICON.is_trade(word, words.first()))
                && next.is_none_or(|word| !LEXICON.is_trade(word, words.first()))
        }
        "role" => content
            .last()
            .is_some_and(|word| LEXICON.is_trade(word, None) || LEXICON.ends_like_trade(word)),
        "name" => content.iter().any(|word| word.capital),
        "place" => {
            !content.is_empty()
                && !quantity(Quantity::is_when)
                && !content
                    .iter()
                    .any(|word| LEXICON.is_trade(word, words.first()) && !word.capital)
        }
        "org" => !content.is_empty() && words.first().is_some_and(|word| word.quantity.is_none()),
        "when" => quantity(Quantity::is_when),
        "quantity" => {
            words.iter().any(|word| word.quantity.is_some()) && content.is_empty()
                || quantity(Quantity::is_when)
        }
        "bare" => content.is_empty() && words.len() == 1 && next.is_none(),
        "exclusive" => {
            content.last().is_some_and(|word| {
                LEXICON.is_exclusive(&word.lemma) && !(word.capital && word.lemma != word.lower)
            }) && content.len() < 3
                || content.first().is_some_and(|word| {
                    LEXICON.is_exclusive(&word.lemma)
                        && !word.class.verb
                        && !(word.capital && word.lemma != word.lower)
                })
        }
        _ => true,
    }
}

fn claim(pattern: &Pattern, words: &[Word], found: &Match, span: (usize, usize)) -> Option<Claim> {
    let capture = |name: char| {
        found
            .captures
            .iter()
            .find(|(n, ..)| *n == name)
            .map(|(_, begin, end)| (*begin, *end))
    };
    let value_of = |name: char| capture(name).map(|(begin, end)| Value::of(&words[begin..end]));
    let (value, other) = if pattern.arity == Arity::Order {
        (value_of('a')?, value_of('b'))
    } else {
        (value_of('v').unwrap_or_default(), value_of('o'))
    };
    let mut key: BTreeSet<String> = pattern.key.iter().map(|word| (*word).to_owned()).collect();
    if let Some((begin, end)) = capture('k') {
        key.extend(
            words[begin..end]
                .iter()
                .filter(|word| is_content(word) && !word.class.change)
                .map(|word| word.lemma.clone()),
        );
    }
    drop_frequencies(&mut key);
    if capture('k').is_some() && key.is_empty() {
        return None;
    }
    let scope = scope(words, span);
    let denied = scope
        .clone()
        .filter(|at| words[*at].class.negation && !found.literals.contains(at))
        .filter(|at| capture('o').is_none() || capture('v').is_none_or(|(_, end)| *at < end))
        .filter(|at| capture('o').is_none_or(|(begin, end)| !(begin..end).contains(at)))
        .count()
        > 0;
    let hypothetical = scope.clone().any(|at| {
        words[at].class.hypothetical
            && at < span.1
            && !found.literals.contains(&at)
            && capture('v').is_none_or(|(begin, _)| at < begin)
            && !words[at].capital
            || words[at].class.hypothetical && at < span.0
    });
    let past = !pattern.change
        && !pattern.negative
        && is_past(words, scope.start, span, found.literals.first().copied());
    let momentary = pattern.momentary;
    Some(Claim {
        slot: pattern.slot,
        arity: pattern.arity,
        subject: subject(words, span.0),
        key,
        value,
        other,
        negative: denied != pattern.negative,
        past,
        hypothetical: hypothetical && pattern.arity != Arity::Order,
        change: pattern.change || scope.clone().any(|at| words[at].class.change),
        momentary,
        span,
    })
}

/// How often something is so belongs to no attribute's name.
fn drop_frequencies(key: &mut BTreeSet<String>) {
    for word in [
        "day", "daily", "every", "month", "monthly", "week", "weekly", "year", "yearly", "morning", "annual",
        "annually", "new", "current", "main", "primary", "usual", "annual",
    ] {
        if key.len() > 1 {
            key.remove(word);
        }
    }
    if key.len() > 1 {
        key.remove("name");
    }
}

/// The words from the beginning of a span's clause to its end.
fn scope(words: &[Word], span: (usize, usize)) -> std::ops::Range<usize> {
    let begin = words[..span.0]
        .iter()
        .rposition(|word| word.class.boundary)
        .map_or(0, |at| at + 1);
    begin..span.1
}

fn is_past(words: &[Word], begin: usize, span: (usize, usize), verb: Option<usize>) -> bool {
    let finite = (begin..span.1).find(|at| words[*at].class.verb || words[*at].class.past);
    finite.is_some_and(|at| words[at].class.past && verb.is_none_or(|verb| at <= verb))
}

/// Whom a claim is about: what stands before it in its clause. Empty is the user.
///
/// A clause without a subject goes on about the one of the sentence: "Father is 78, lives in Plovdiv".
fn subject(words: &[Word], start: usize) -> BTreeSet<String> {
    let own = nouns(&words[scope(words, (start, start))]);
    if !own.is_empty() {
        return own;
    }
    let verb = words[..start]
        .iter()
        .position(|word| word.class.verb || word.lemma == "be" || word.lemma == "have")
        .unwrap_or(0);
    nouns(&words[..verb])
}

fn nouns(words: &[Word]) -> BTreeSet<String> {
    words
        .iter()
        .filter(|word| is_content(word) && !word.class.hypothetical && !word.class.change)
        .filter(|word| {
            !word.lower.ends_with("ly")
                && ![
                    "new", "current", "main", "old", "begin", "can", "could", "must", "should", "able",
                    "come", "grow", "continue",
                ]
                .contains(&word.lemma.as_str())
        })
        .map(|word| word.lemma.clone())
        .collect()
}

/// Cuts off "instead of X" and "rather than X" where these end the statement.
fn without_instead(mut words: Vec<Word>) -> (Vec<Word>, Option<Value>) {
    let at = (1..words.len().saturating_sub(2)).find(|at| {
        let pair = (words[*at].lower.as_str(), words[at + 1].lower.as_str());
        matches!(
            pair,
            ("instead", "of") | ("statt" | "anstatt", _) | ("au", "lieu")
        )
    });
    let Some(at) = at else { return (words, None) };
    let rest = words.split_off(at);
    let mut value = Value::of(&rest[1..]);
    value.words.remove("one");
    if let Some(last) = words.last_mut() {
        last.class.change |= !last.class.boundary && last.quantity.is_none() && last.class.filler;
    }
    (words, Some(value))
}

/// What a statement of change says is over, whatever the attribute is.
fn replaced(words: &[Word]) -> Vec<(Value, (usize, usize))> {
    let mut out = Vec::new();
    for at in 0..words.len() {
        let verb = words[at].lemma.as_str();
        let (from, to): (&[&str], &[&str]) = match verb {
            "switch" | "change" | "move" | "go" => (&["from"], &["to", "into"]),
            "replace" | "swap" => (&[""], &["with", "by", "for"]),
            _ => continue,
        };
        let begin = if from[0].is_empty() {
            Some(at + 1)
        } else {
            words[at + 1..]
                .iter()
                .take(4)
                .position(|word| from.contains(&word.lower.as_str()))
                .map(|offset| at + offset + 2)
        };
        let Some(begin) = begin else { continue };
        let end = (begin..words.len()).find(|end| to.contains(&words[*end].lower.as_str()));
        if let Some(end) = end.filter(|end| *end > begin) {
            out.push((Value::of(&words[begin..end]), (at, end)));
        }
    }
    out
}

/// A statement of which no pattern knows the attribute: its verb with all that follows.
fn plain(words: &[Word], claims: &[Claim]) -> Option<Claim> {
    if !claims.is_empty() {
        return None;
    }
    let verb = words
        .iter()
        .position(|word| {
            word.class.verb
                && !matches!(word.lemma.as_str(), "be" | "have" | "do")
                && !word.class.hypothetical
        })
        .or_else(|| {
            words
                .iter()
                .position(|word| word.lemma == "be" || word.lemma == "have")
        })
        .or_else(|| words.iter().position(is_content))?;
    let span = (verb, words.len());
    let scope = scope(words, (verb, verb));
    Some(Claim {
        slot: "",
        arity: Arity::Many,
        subject: subject(words, verb),
        key: [words[verb].lemma.clone()].into(),
        value: Value::of(&words[verb + 1..]),
        other: None,
        negative: words.iter().any(|word| word.class.negation),
        past: is_past(words, scope.start, span, Some(verb)),
        hypothetical: words[..=verb].iter().any(|word| word.class.hypothetical),
        change: words.iter().any(|word| word.class.change),
        momentary: false,
        span,
    })
}
