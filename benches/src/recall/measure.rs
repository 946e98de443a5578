//! How well rankings do: evidence recall at k, over turns and over sittings.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::conversation::{Asked, Conversation};

/// Places by score, the best first; of equals the first.
pub(super) fn ranked(scores: &[f32]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    places
}

/// A mean of shares.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, share: f64) {
        self.sum += share;
        self.count += 1;
    }

    /// In percent.
    pub(super) fn percent(self) -> f64 {
        (1000.0 * self.sum / self.count.max(1) as f64).round() / 10.0
    }
}

/// Of some questions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) at: [Mean; 3],
    pub(super) all_statements: Mean,
    pub(super) sitting_hit: Mean,
    pub(super) sittings: Mean,
}

/// Turns among which evidence is looked for.
pub(super) const DEPTHS: [usize; 3] = [5, 10, 50];
const STATEMENTS_DEPTH: usize = 10;
const SITTINGS_DEPTH: usize = 5;

/// What a retriever did, over all questions and by category.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) all: Figures,
    pub(super) categories: BTreeMap<String, Figures>,
    /// Without LoCoMo's category 5.
    pub(super) answerable: Figures,
    /// How long each question took, in milliseconds.
    pub(super) times_ms: Vec<f64>,
}

impl Tally {
    /// Counts a question and the turns found for it, the best first.
    pub(super) fn add(&mut self, conversation: &Conversation, asked: &Asked, found: &[usize]) {
        let mut to = vec![&mut self.all];
        if asked.category != "5" {
            to.push(&mut self.answerable);
        }
        to.push(self.categories.entry(asked.category.clone()).or_default());
        let share = |depth: usize| {
            let top = &found[..depth.min(found.len())];
            asked.evidence.iter().filter(|place| top.contains(place)).count() as f64
                / asked.evidence.len() as f64
        };
        let top = &found[..STATEMENTS_DEPTH.min(found.len())];
        let all_statements = asked
            .statements
            .iter()
            .all(|turns| turns.iter().any(|turn| top.contains(turn)));
        let mut order = Vec::new();
        for place in found {
            let sitting = conversation.turns[*place].sitting;
            if !order.contains(&sitting) {
                order.push(sitting);
            }
        }
        let wanted: HashSet<usize> = asked
            .evidence
            .iter()
            .map(|at| conversation.turns[*at].sitting)
            .collect();
        let hit = order.first().is_some_and(|sitting| wanted.contains(sitting));
        let held = order
            .iter()
            .take(SITTINGS_DEPTH)
            .filter(|sitting| wanted.contains(sitting))
            .count();
        for figures in to {
            for (mean, depth) in figures.at.iter_mut().zip(DEPTHS) {
                mean.add(share(depth));
            }
            figures.all_statements.add(f64::from(u8::from(all_statements)));
            figures.sitting_hit.add(f64::from(u8::from(hit)));
            figures.sittings.add(held as f64 / wanted.len().max(1) as f64);
        }
    }
}

impl Figures {
    pub(super) fn questions(&self) -> usize {
        self.at[0].count
    }

    fn json(&self, sessions: bool, statements: bool) -> Map<String, Value> {
        let mut map = Map::new();
        for (mean, depth) in self.at.iter().zip(DEPTHS) {
            map.insert(format!("R@{depth}"), json!(mean.percent()));
        }
        if sessions {
            map.insert("session_hit@1".into(), json!(self.sitting_hit.percent()));
            map.insert("session_R@5".into(), json!(self.sittings.percent()));
        }
        if statements {
            map.insert("all_statements@10".into(), json!(self.all_statements.percent()));
        }
        map.insert("questions".into(), json!(self.questions()));
        map
    }
}

impl Tally {
    /// The time below which the given share of the questions took; 0 when nothing was timed.
    pub(super) fn time_ms(&self, share: f64) -> f64 {
        let mut times = self.times_ms.clone();
        times.sort_unstable_by(f64::total_cmp);
        let at = (share * times.len() as f64) as usize;
        times
            .get(at.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    }

    /// The figures of all questions, and under their names those of the categories.
    pub(super) fn json(&self, beam: bool) -> Value {
        let mut map = self.all.json(!beam, false);
        if !beam {
            map.insert(
                "without_category_5".into(),
                Value::Object(self.answerable.json(true, false)),
            );
        }
        let categories = self
            .categories
            .iter()
            .map(|(name, figures)| (name.clone(), Value::Object(figures.json(false, beam))))
            .collect();
        map.insert("categories".into(), Value::Object(categories));
        if beam {
            for (name, category) in [
                ("contradictions_both@10", "contradiction_resolution"),
                ("updates_both@10", "knowledge_update"),
            ] {
                if let Some(figures) = self.categories.get(category) {
                    map.insert(name.into(), json!(figures.all_statements.percent()));
                }
            }
        }
        Value::Object(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recall::conversation::Turn;

    #[test]
    fn shares_are_counted_at_their_depths() {
        let turn = |sitting| Turn {
            speaker: None,
            by_person: true,
            text: String::new(),
            caption: String::new(),
            sitting,
            at_ms: 0,
        };
        let conversation = Conversation {
            turns: (0..12).map(|at| turn(at / 2)).collect(),
            questions: Vec::new(),
        };
        let asked = Asked {
            text: String::new(),
            category: "1".into(),
            evidence: vec![4, 11],
            statements: vec![vec![4], vec![11]],
        };
        let mut tally = Tally::default();
        tally.add(&conversation, &asked, &[0, 4, 1, 2, 3, 5, 6, 7, 8, 9, 11]);
        let figures = &tally.all;
        let percents = [
            figures.at[0],
            figures.at[1],
            figures.at[2],
            figures.all_statements,
            figures.sitting_hit,
            figures.sittings,
        ];
        let percents = percents.map(|mean| mean.percent().to_string());
        assert_eq!(percents, ["50", "50", "100", "0", "0", "50"]);
    }
}
