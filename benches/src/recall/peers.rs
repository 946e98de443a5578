//! What recall is measured against: plain BM25, BM25 with stems and context, vectors alone, and reciprocal ranks.

use std::collections::HashMap;

use hearth_core::memory::recall::stems;

use super::conversation::Indexed;

/// Scores of every turn, by their place.
pub(super) type Scores = Vec<f32>;

/// The peers' names, in the order of [`Peers::scores`].
pub(super) const NAMES: [&str; 4] = ["bm25", "bm25_stemmed_context", "minilm", "rrf"];

/// The peers over one conversation.
pub(super) struct Peers<'a> {
    indexed: &'a Indexed,
    plain: Bm25,
    stemmed: Bm25,
}

impl<'a> Peers<'a> {
    pub(super) fn new(indexed: &'a Indexed) -> Peers<'a> {
        let turns = &indexed.conversation.turns;
        let context = turns.iter().enumerate().map(|(at, turn)| {
            let before = at.checked_sub(1).map(|at| &turns[at]);
            let before = before.filter(|before| before.sitting == turn.sitting);
            let mut words = stems(turn.speaker.as_deref().unwrap_or_default());
            words.extend(stems(&turn.text));
            words.extend(stems(&turn.caption));
            words.extend(before.map(|before| stems(&before.text)).unwrap_or_default());
            words
        });
        Peers {
            plain: Bm25::new(turns.iter().map(|turn| plain(&turn.text))),
            stemmed: Bm25::new(context),
            indexed,
        }
    }

    /// Of each peer, for one question.
    pub(super) fn scores(&self, question: usize) -> [Scores; 4] {
        let text = &self.indexed.conversation.questions[question].text;
        let vector = &self.indexed.question_vectors[question];
        let plain = self.plain.scores(&plain(text));
        let stemmed = self.stemmed.scores(&stems(text));
        let near: Scores = self
            .indexed
            .turn_vectors
            .iter()
            .map(|turn| turn.iter().zip(vector).map(|(a, b)| a * b).sum())
            .collect();
        let fused = rrf(&[&stemmed, &near]);
        [plain, stemmed, near, fused]
    }
}

/// Words of letters and digits in lower case, as they stand.
fn plain(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

struct Bm25 {
    /// For each word the turns that have it, and how often.
    turns: HashMap<String, Vec<(usize, f32)>>,
    lengths: Vec<f32>,
    mean: f32,
}

impl Bm25 {
    fn new(texts: impl Iterator<Item = Vec<String>>) -> Bm25 {
        let mut turns: HashMap<String, Vec<(usize, f32)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (at, words) in texts.enumerate() {
            lengths.push(words.len() as f32);
            for word in words {
                let places = turns.entry(word).or_default();
                match places.last_mut() {
                    Some((place, count)) if *place == at => *count += 1.0,
                    _ => places.push((at, 1.0)),
                }
            }
        }
        Bm25 {
            turns,
            mean: lengths.iter().sum::<f32>() / lengths.len().max(1) as f32,
            lengths,
        }
    }

    fn scores(&self, question: &[String]) -> Scores {
        let mut scores = vec![0.0; self.lengths.len()];
        for word in question {
            let Some(places) = self.turns.get(word) else {
                continue;
            };
            let (all, with) = (self.lengths.len() as f32, places.len() as f32);
            let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            for (at, count) in places {
                let damping = 1.2 * (0.25 + 0.75 * self.lengths[*at] / self.mean);
                scores[*at] += rarity * count * 2.2 / (count + damping);
            }
        }
        scores
    }
}

/// Reciprocal rank fusion (Cormack and others, 2009) with its usual constant.
fn rrf(lists: &[&Scores]) -> Scores {
    let mut fused = vec![0.0; lists.first().map_or(0, |list| list.len())];
    for list in lists {
        for (rank, at) in super::measure::ranked(list).into_iter().enumerate() {
            fused[at] += 1.0 / (61.0 + rank as f32);
        }
    }
    fused
}
