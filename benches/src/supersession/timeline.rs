//! Timelines of facts, made from a seed and pools of phrases.

use std::collections::HashSet;

use anyhow::{Context, Result};
use hearth_core::memory::extract::Kind;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// What somebody says over time, and what should follow from it. One JSON object a line in a file of timelines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Timeline {
    pub(super) id: String,
    /// Oldest first.
    pub(super) facts: Vec<Fact>,
}

/// One fact of a timeline. Numbers refer to earlier facts of the timeline, from 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Fact {
    pub(super) text: String,
    pub(super) kind: Kind,
    #[serde(default = "confident")]
    pub(super) confidence: f32,
    pub(super) at_ms: i64,
    /// Whether it belongs to what the timeline asks for; the others are there to be left alone.
    #[serde(default)]
    pub(super) asked_for: bool,
    /// Facts that hold no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replaces: Vec<usize>,
    /// Says what this one said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) same_as: Option<usize>,
    /// Contradicts these, but may not replace them: the user is to be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) asks: Vec<usize>,
}

fn confident() -> f32 {
    0.9
}

/// A pool of phrases: a file of `benches/data/supersession`.
#[derive(Debug, Deserialize)]
pub(super) struct Pool {
    #[serde(default)]
    slot: Vec<Slot>,
}

#[derive(Debug, Deserialize)]
struct Slot {
    name: String,
    /// Slots of one domain do not meet in a timeline.
    domain: Option<String>,
    kind: Kind,
    shape: Shape,
    values: Vec<String>,
    says: Vec<String>,
    #[serde(default)]
    updates: Vec<String>,
    #[serde(default)]
    ends: Vec<String>,
    #[serde(default)]
    apart: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    One,
    Many,
    Order,
}

impl Slot {
    fn domain(&self) -> &str {
        self.domain.as_deref().unwrap_or(&self.name)
    }
}

const DAY_MS: i64 = 86_400_000;

impl Pool {
    pub(super) fn parse(text: &str) -> Result<Pool> {
        toml::from_str(text).context("a pool of phrases")
    }

    /// Every phrase, in lower case and without a full stop.
    pub(super) fn phrases(&self) -> impl Iterator<Item = String> + '_ {
        self.slot
            .iter()
            .flat_map(|slot| [&slot.says, &slot.updates, &slot.ends, &slot.apart])
            .flatten()
            .map(|phrase| plain(phrase))
    }

    /// Without the phrases that are known elsewhere, and without slots of which too little is left.
    pub(super) fn without(mut self, known: &HashSet<String>) -> Pool {
        for slot in &mut self.slot {
            for phrases in [&mut slot.says, &mut slot.updates, &mut slot.ends, &mut slot.apart] {
                phrases.retain(|phrase| !known.contains(&plain(phrase)));
            }
        }
        self.slot.retain(|slot| {
            slot.says.len() > 1
                && !slot.apart.is_empty()
                && match slot.shape {
                    Shape::One | Shape::Order => !slot.updates.is_empty(),
                    Shape::Many => !slot.ends.is_empty(),
                }
        });
        self
    }

    /// `count` timelines, each slot in turn.
    pub(super) fn timelines(&self, count: usize, seed: u64, name: &str) -> Vec<Timeline> {
        (0..count)
            .map(|number| {
                let mut random =
                    ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
                let slot = &self.slot[number % self.slot.len()];
                let mut maker = Maker {
                    random: &mut random,
                    facts: Vec::new(),
                    used: Vec::new(),
                    at_ms: 1_700_000_000_000,
                };
                maker.tell(self, slot);
                Timeline {
                    id: format!("{name}-{number}-{}", slot.name),
                    facts: maker.facts,
                }
            })
            .collect()
    }
}

struct Maker<'a> {
    random: &'a mut ChaCha8Rng,
    facts: Vec<Fact>,
    /// Phrases that are said once in a timeline.
    used: Vec<String>,
    at_ms: i64,
}

impl Maker<'_> {
    fn tell(&mut self, pool: &Pool, slot: &Slot) {
        let mut others: Vec<&Slot> = pool
            .slot
            .iter()
            .filter(|other| other.domain() != slot.domain())
            .collect();
        others.shuffle(self.random);
        let mut seen = vec![slot.domain()];
        others.retain(|other| {
            let new = !seen.contains(&other.domain());
            seen.push(other.domain());
            new
        });
        others.truncate(3);
        self.aside(&mut others);
        match slot.shape {
            Shape::One => self.one(slot, &mut others),
            Shape::Many => self.many(slot, &mut others),
            Shape::Order => self.order(slot, &mut others),
        }
        while !others.is_empty() {
            self.aside(&mut others);
        }
    }

    /// A value that changes once or twice.
    fn one(&mut self, slot: &Slot, others: &mut Vec<&Slot>) {
        let mut values: Vec<&String> = slot.values.iter().collect();
        values.shuffle(self.random);
        let changes = if slot.values.len() > 2 && self.random.random_bool(0.4) {
            2
        } else {
            1
        };
        let mut current: Vec<usize> = Vec::new();
        for number in 0..=changes.min(values.len() - 1) {
            let value = values[number];
            let old = number.checked_sub(1).map_or("", |before| values[before].as_str());
            let other = values
                .iter()
                .rev()
                .find(|other| **other != value)
                .map_or("", |other| other.as_str());
            let first = current.is_empty();
            let phrase = if first || slot.updates.is_empty() || self.random.random_bool(0.2) {
                self.pick(&slot.says)
            } else {
                self.pick(&slot.updates)
            };
            let weak = number == changes && slot.kind == Kind::Biography && self.random.random_bool(0.12);
            let text = fill(&phrase, value, old, other);
            let at = self.add(text, slot.kind, true);
            if weak {
                self.facts[at].confidence = 0.75;
                self.facts[at].asks.clone_from(&current);
                self.apart(slot, old, value);
                return;
            }
            self.facts[at].replaces.clone_from(&current);
            current = vec![at];
            if self.random.random_bool(0.4) {
                let again = self.paraphrase(slot, value, &phrase);
                self.facts[again].same_as = Some(at);
                current.push(again);
            }
            self.apart(slot, value, other);
            self.aside(others);
        }
        if !slot.ends.is_empty() && self.random.random_bool(0.2) {
            let value = values[changes.min(values.len() - 1)];
            let text = fill(&self.pick(&slot.ends), value, "", "");
            let at = self.add(text, slot.kind, true);
            self.facts[at].replaces = current;
        }
    }

    /// Values beside each other, of which one may end.
    fn many(&mut self, slot: &Slot, others: &mut Vec<&Slot>) {
        let mut values: Vec<&String> = slot.values.iter().collect();
        values.shuffle(self.random);
        let mut said: Vec<Vec<usize>> = Vec::new();
        let spare = values.last().map_or("", |value| value.as_str());
        for value in values.iter().take(3).copied() {
            let phrase = self.pick(&slot.says);
            let at = self.add(fill(&phrase, value, "", ""), slot.kind, true);
            let mut group = vec![at];
            if self.random.random_bool(0.4) {
                let again = self.paraphrase(slot, value, &phrase);
                self.facts[again].same_as = Some(at);
                group.push(again);
            }
            said.push(group);
            self.apart(slot, value, spare);
            self.aside(others);
            if said.len() + 2 > values.len() {
                break;
            }
        }
        if !slot.ends.is_empty() && self.random.random_bool(0.8) {
            let ended = self.random.random_range(0..said.len());
            let text = fill(&self.pick(&slot.ends), values[ended], "", "");
            let at = self.add(text, slot.kind, true);
            if slot.kind == Kind::Constraint {
                self.facts[at].asks.clone_from(&said[ended]);
            } else {
                self.facts[at].replaces.clone_from(&said[ended]);
            }
        }
    }

    /// One before the other, then the other way round.
    fn order(&mut self, slot: &Slot, others: &mut Vec<&Slot>) {
        let pair = self.pick(&slot.values);
        let Some((a, b)) = pair.split_once('|') else {
            return;
        };
        let swap = |phrase: &str, a: &str, b: &str| capitalise(&phrase.replace("{a}", a).replace("{b}", b));
        let phrase = self.pick(&slot.says);
        let mut current = vec![self.add(swap(&phrase, a, b), slot.kind, true)];
        if self.random.random_bool(0.4) {
            let again = self.pick(&slot.says);
            let at = self.add(swap(&again, a, b), slot.kind, true);
            self.facts[at].same_as = Some(current[0]);
            current.push(at);
        }
        for phrase in self.some(&slot.apart) {
            self.add(swap(&phrase, a, b), slot.kind, false);
        }
        self.aside(others);
        let phrase = self.pick(&slot.updates);
        let at = self.add(swap(&phrase, b, a), slot.kind, true);
        self.facts[at].replaces = current;
    }

    /// Something in nearly the same words that is beside the point.
    fn apart(&mut self, slot: &Slot, value: &str, other: &str) {
        for phrase in self.some(&slot.apart) {
            let text = phrase.replace("{v}", value).replace("{w}", other);
            let kind = if slot.kind == Kind::Constraint {
                Kind::Biography
            } else {
                slot.kind
            };
            if !self.used.contains(&phrase) {
                self.used.push(phrase);
                self.add(text, kind, false);
            }
        }
    }

    /// Something else altogether.
    fn aside(&mut self, others: &mut Vec<&Slot>) {
        let Some(other) = others.pop() else { return };
        let value = self.pick(&other.values);
        let phrase = self.pick(&other.says);
        let (a, b) = value.split_once('|').unwrap_or((&value, ""));
        let text = fill(&phrase.replace("{a}", a).replace("{b}", b), &value, "", "");
        self.add(text, other.kind, false);
    }

    fn paraphrase(&mut self, slot: &Slot, value: &str, not: &str) -> usize {
        let pool: Vec<String> = slot
            .says
            .iter()
            .filter(|phrase| *phrase != not)
            .cloned()
            .collect();
        let text = fill(&self.pick(&pool), value, "", "");
        self.add(text, slot.kind, true)
    }

    fn add(&mut self, text: String, kind: Kind, asked_for: bool) -> usize {
        self.at_ms += DAY_MS * self.random.random_range(1..60);
        self.facts.push(Fact {
            text,
            kind,
            confidence: confident(),
            at_ms: self.at_ms,
            asked_for,
            replaces: Vec::new(),
            same_as: None,
            asks: Vec::new(),
        });
        self.facts.len() - 1
    }

    fn pick(&mut self, pool: &[String]) -> String {
        pool.choose(self.random).cloned().unwrap_or_default()
    }

    fn some(&mut self, pool: &[String]) -> Vec<String> {
        let count = self.random.random_range(1..=2);
        pool.choose_multiple(self.random, count).cloned().collect()
    }
}

fn plain(phrase: &str) -> String {
    phrase.trim_end_matches('.').to_lowercase()
}

fn fill(phrase: &str, value: &str, old: &str, other: &str) -> String {
    capitalise(
        &phrase
            .replace("{v}", value)
            .replace("{o}", old)
            .replace("{w}", other),
    )
}

fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
