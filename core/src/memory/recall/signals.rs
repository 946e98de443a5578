//! What speaks for and against a turn, as numbers.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::features::{Wishes, asks, is_first_person, is_time, prose};
use super::question::{Question, Voice};
use super::words::{each_word, stem, stems};

/// A turn that may answer, with what the index knows about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidate {
    /// What was said, without the speaker's name.
    pub text: String,
    /// What was said before it; empty when nothing was.
    pub previous: String,
    /// The speaker's name, when turns have names.
    pub speaker: Option<String>,
    /// Whether the person said it, and not the assistant.
    pub by_person: bool,
    /// Candidates of the same sitting have the same number.
    pub sitting: usize,
    /// When it was said, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The cosine of its vector and the question's, when both are there.
    pub cosine: Option<f32>,
    /// The better cosine of its two neighbours.
    pub neighbour_cosine: Option<f32>,
}

macro_rules! signals {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One number for each signal: of a turn, what was measured; of the weights, what it counts.
        #[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Signals {
            $($(#[$doc])* pub $name: f32,)*
        }

        impl Signals {
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($name)),*].len();
            /// What they are called, in order.
            pub const NAMES: [&'static str; Signals::COUNT] = [$(stringify!($name)),*];

            /// In order.
            pub fn to_array(self) -> [f32; Signals::COUNT] {
                [$(self.$name),*]
            }

            /// In order.
            pub fn from_array(numbers: [f32; Signals::COUNT]) -> Signals {
                let [$($name),*] = numbers;
                Signals { $($name),* }
            }
        }
    };
}

signals! {
    /// BM25 of the turn and the one before it, against the best of the candidates (0 to 1).
    words,
    /// Share of the question's words, by their rarity, that the turn has (0 to 1).
    cover,
    /// The same for the candidates of its sitting together.
    chat_cover,
    /// The three best BM25 scores of its sitting, against the best sitting's.
    chat_words,
    /// Cosine with the question, against the mean of the best five.
    near,
    /// The better one of its neighbours', likewise.
    near_neighbour,
    /// Whether it was said by whom the question names or means.
    speaker,
    /// Share of its words that are in questions (0 to 1).
    asks,
    /// Whether the turn before it asked something.
    answers,
    /// Whether it is about the speaker: "I", "my", "we".
    first_person,
    /// The logarithm of its words against that of 31, at most 1: a greeting tells little.
    length,
    /// The logarithm of its words over 60, at least 0: whatever is long has many words in common with any question.
    excess,
    /// Whether it names a time and the question asks for one.
    tells_time,
    /// Whether it is a standing instruction and the question wants something done.
    instruction,
    /// Whether it says what the person prefers and the question wants advice.
    preference,
    /// Said in the time the question names (1), or soon after (less).
    at_time,
}

impl Signals {
    /// The sum of the products.
    pub fn dot(self, weights: &Signals) -> f32 {
        self.to_array()
            .iter()
            .zip(weights.to_array())
            .map(|(a, b)| a * b)
            .sum()
    }
}

/// Longer turns are looked at as far as this, in words.
const MOST_WORDS: usize = 400;
/// And no further than this in bytes, code included.
const MOST_BYTES: usize = 8000;
/// Words of a turn and of the one before it that BM25 looks at.
const MOST_CONTEXT_WORDS: usize = 200;
/// What was said so many days after a time is half as likely about it still … by `exp(-days / DAYS_AFTER)`.
const DAYS_AFTER: f32 = 7.0;
const DAY_MS: f32 = 86_400_000.0;

/// What the index knows about how frequent words are.
#[derive(Debug, Clone, Default)]
pub struct Frequencies {
    /// How many rows there are.
    pub rows: u64,
    /// How many rows have each word of the question, in its order.
    pub with_word: Vec<u64>,
}

/// The signals of every candidate, in order.
pub fn signals(question: &Question, frequencies: &Frequencies, candidates: &[Candidate]) -> Vec<Signals> {
    let mut lookup = Lookup::new(question);
    let rarity = rarity(question, frequencies);
    let counted: Vec<Counted> = candidates
        .iter()
        .map(|candidate| Counted::new(candidate, question, &mut lookup))
        .collect();
    let own = bm25(counted.iter().map(|c| (&c.own, c.words)), &rarity);
    let context = bm25(counted.iter().map(|c| (&c.context, c.context_words)), &rarity);
    let total = rarity.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    let best_context = most(context.iter().copied());
    let sittings = Sittings::new(candidates, &counted, &own, &rarity);
    let scale = cosine_scale(candidates);
    let speakers = Speakers::new(question, candidates);
    let mut all = Vec::with_capacity(candidates.len());
    for (at, (candidate, counted)) in candidates.iter().zip(&counted).enumerate() {
        let cover: f32 = counted
            .own
            .iter()
            .zip(&rarity)
            .filter(|(n, _)| **n > 0.0)
            .map(|(_, rarity)| rarity)
            .sum();
        let sitting = &sittings.of[&candidate.sitting];
        let flag = |is: bool| f32::from(u8::from(is));
        all.push(Signals {
            words: context[at] / best_context,
            cover: cover / total,
            chat_cover: sitting.cover / total,
            chat_words: sitting.best() / sittings.best,
            near: candidate.cosine.unwrap_or(0.0) / scale,
            near_neighbour: candidate.neighbour_cosine.unwrap_or(0.0).max(0.0) / scale,
            speaker: flag(speakers.meant(candidate)),
            asks: counted.asks,
            answers: flag(counted.answers),
            first_person: flag(counted.first_person),
            length: ((counted.words + 1.0).ln() / 31f32.ln()).min(1.0),
            excess: (counted.words / 60.0).max(1.0).ln(),
            tells_time: flag(question.asks_time && counted.tells_time),
            instruction: flag(counted.wishes.instruction),
            preference: flag(counted.wishes.preference),
            at_time: at_time(question, candidate.at_ms),
        });
    }
    all
}

/// How much finding each word says: its inverse document frequency, times what it counts in the question.
pub(super) fn rarity(question: &Question, frequencies: &Frequencies) -> Vec<f32> {
    let rows = frequencies.rows as f32;
    let with = frequencies.with_word.iter().copied().chain(std::iter::repeat(0));
    question
        .words
        .iter()
        .zip(with)
        .map(|(asked, with)| {
            let with = (with as f32).min(rows);
            (1.0 + (rows - with + 0.5) / (with + 0.5)).ln() * asked.weight
        })
        .collect()
}

/// What is asked of a word. Most words of the candidates are the same few, so each is looked at once.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Where its stem is among the question's.
    place: Option<usize>,
    first_person: bool,
    time: bool,
}

struct Lookup<'a> {
    vocabulary: HashMap<&'a str, usize>,
    known: HashMap<String, Known>,
}

impl Lookup<'_> {
    fn new(question: &Question) -> Lookup<'_> {
        let stems = question.words.iter().map(|asked| asked.stem.as_str());
        Lookup {
            vocabulary: stems.zip(0..).collect(),
            known: HashMap::new(),
        }
    }

    fn word(&mut self, word: &str) -> Known {
        if let Some(known) = self.known.get(word) {
            return *known;
        }
        let known = Known {
            place: self.vocabulary.get(stem(word).as_str()).copied(),
            first_person: is_first_person(word),
            time: is_time(word),
        };
        self.known.insert(word.to_owned(), known);
        known
    }
}

/// What is seen in a candidate: which of the question's words it has, and how often.
struct Counted {
    own: Vec<f32>,
    words: f32,
    context: Vec<f32>,
    context_words: f32,
    answers: bool,
    asks: f32,
    first_person: bool,
    tells_time: bool,
    /// What it wishes for, when that matters.
    wishes: Wishes,
}

impl Counted {
    fn new(candidate: &Candidate, question: &Question, lookup: &mut Lookup<'_>) -> Counted {
        let said = prose(beginning(&candidate.text));
        let before = prose(beginning(&candidate.previous));
        let mut own = vec![0.0; lookup.vocabulary.len()];
        let mut context = own.clone();
        let (mut words, mut words_before) = (0, 0);
        let (mut first_person, mut tells_time) = (false, false);
        each_word(&said, |word| {
            words += 1;
            if words > MOST_WORDS {
                return;
            }
            let known = lookup.word(word);
            first_person |= known.first_person;
            tells_time |= known.time;
            if let Some(place) = known.place {
                own[place] += 1.0;
                if words <= MOST_CONTEXT_WORDS {
                    context[place] += 1.0;
                }
            }
        });
        each_word(&before, |word| {
            words_before += 1;
            if words_before <= MOST_CONTEXT_WORDS
                && let Some(place) = lookup.word(word).place
            {
                context[place] += 1.0;
            }
        });
        let context_words = words.min(MOST_CONTEXT_WORDS) + words_before.min(MOST_CONTEXT_WORDS);
        let wishes = question.wants_advice && candidate.by_person;
        Counted {
            own,
            words: words.min(MOST_WORDS) as f32,
            context,
            context_words: context_words as f32,
            answers: candidate.previous.contains('?'),
            asks: asks(&said),
            first_person,
            tells_time,
            wishes: if wishes {
                Wishes::new(&said, words)
            } else {
                Wishes::default()
            },
        }
    }
}

/// As much of a text as is looked at.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(MOST_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// BM25 (Robertson and Zaragoza, 2009) with the usual constants; the mean length is that of the candidates.
fn bm25<'a>(texts: impl Iterator<Item = (&'a Vec<f32>, f32)> + Clone, rarity: &[f32]) -> Vec<f32> {
    const K1: f32 = 1.2;
    const B: f32 = 0.75;
    let (sum, count) = texts.clone().fold((0.0, 0.0), |(sum, count), (_, length)| {
        (sum + length, count + 1.0)
    });
    let mean = (sum / f32::max(count, 1.0)).max(1.0);
    texts
        .map(|(counts, length)| {
            let damping = K1 * (1.0 - B + B * length / mean);
            counts
                .iter()
                .zip(rarity)
                .map(|(n, rarity)| rarity * n * (K1 + 1.0) / (n + damping))
                .sum()
        })
        .collect()
}

struct Sitting {
    cover: f32,
    has: Vec<bool>,
    /// Its three best scores, the best first.
    scores: [f32; 3],
}

impl Sitting {
    fn best(&self) -> f32 {
        self.scores.iter().sum()
    }
}

/// What the candidates of each sitting have together: one turn names the subject, another says the rest.
struct Sittings {
    of: HashMap<usize, Sitting>,
    best: f32,
}

impl Sittings {
    fn new(candidates: &[Candidate], counted: &[Counted], own: &[f32], rarity: &[f32]) -> Sittings {
        let mut of: HashMap<usize, Sitting> = HashMap::new();
        for ((candidate, counted), score) in candidates.iter().zip(counted).zip(own) {
            let sitting = of.entry(candidate.sitting).or_insert_with(|| Sitting {
                cover: 0.0,
                has: vec![false; rarity.len()],
                scores: [0.0; 3],
            });
            for (place, n) in counted.own.iter().enumerate() {
                if *n > 0.0 && !sitting.has[place] {
                    sitting.has[place] = true;
                    sitting.cover += rarity[place];
                }
            }
            let mut score = *score;
            for best in &mut sitting.scores {
                if score > *best {
                    std::mem::swap(best, &mut score);
                }
            }
        }
        let best = most(of.values().map(Sitting::best));
        Sittings { of, best }
    }
}

/// The largest of some numbers, and never 0.
fn most(numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.fold(1e-9, f32::max)
}

/// Cosines lie close together, and where depends on the question; the best five are the measure.
fn cosine_scale(candidates: &[Candidate]) -> f32 {
    const BEST: usize = 5;
    let mut cosines: Vec<f32> = candidates.iter().filter_map(|c| c.cosine).collect();
    cosines.sort_unstable_by(|a, b| b.total_cmp(a));
    cosines.truncate(BEST);
    let mean = cosines.iter().sum::<f32>() / cosines.len().max(1) as f32;
    mean.max(0.1)
}

/// Whose turns the question asks for.
struct Speakers {
    named: HashSet<String>,
    voice: Option<Voice>,
}

impl Speakers {
    fn new(question: &Question, candidates: &[Candidate]) -> Speakers {
        let all: HashSet<&str> = candidates.iter().filter_map(|c| c.speaker.as_deref()).collect();
        let asked = stems(&question.text);
        let named: HashSet<String> = all
            .iter()
            .filter(|name| stems(name).iter().any(|word| asked.contains(word)))
            .map(|name| (*name).to_owned())
            .collect();
        // Who names everybody means nobody in particular.
        let telling = named.len() < all.len();
        Speakers {
            voice: question.voice.filter(|_| all.is_empty()),
            named: if telling { named } else { HashSet::new() },
        }
    }

    fn meant(&self, candidate: &Candidate) -> bool {
        match (&candidate.speaker, self.voice) {
            (Some(name), _) => self.named.contains(name),
            (None, Some(voice)) => candidate.by_person == (voice == Voice::Person),
            (None, None) => false,
        }
    }
}

/// The names of speakers that the question says, as stems.
pub fn named_speakers(question: &Question, candidates: &[Candidate]) -> HashSet<String> {
    let speakers = Speakers::new(question, candidates);
    speakers.named.iter().flat_map(|name| stems(name)).collect()
}

fn at_time(question: &Question, at_ms: i64) -> f32 {
    question
        .when
        .spans
        .iter()
        .map(|span| {
            if at_ms < span.from_ms {
                0.0
            } else if at_ms < span.to_ms {
                1.0
            } else {
                (-(at_ms.saturating_sub(span.to_ms) as f32) / DAY_MS / DAYS_AFTER).exp()
            }
        })
        .fold(0.0, f32::max)
}

#[cfg(test)]
mod tests;
