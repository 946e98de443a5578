//! Recall: the memories and the turns of past chats that bear on a question.
//!
//! Two searches, by words and by vectors, each hand on their best few hundred rows ([`PoolSizes`]); these are looked at
//! closely and ranked. Nothing here depends on the size of the index.
//!
//! *Turns* are ranked by the weighted sum of sixteen signals ([`Signals`]): how well the words and the vector fit, the
//! same for the turn's neighbours and for its sitting (turns of a chat that follow each other within half an hour), who
//! said it, whether it tells rather than asks, and whether it was said at the time that the question names. *Memories*
//! are ranked by similarity × recency × confidence × familiarity ([`FactParts`]). Scores are fused, not ranks.
//!
//! A time in the question ([`when`](super::when)) is a signal and no hard filter: what happened in May is often told in
//! June. For standing instructions and preferences, which are worded unlike the requests they bear on, there is a signal
//! of their own when the question wants something done.

mod facts;
mod features;
mod question;
mod signals;
mod weights;
mod words;

use std::collections::{HashMap, HashSet};

use hearth_store::{
    Filter, Index, MemoryState, Neighbours, RecallRow, Role, RowKey, RowSource, Store, StoreError, TextQuery,
};

pub use facts::{Fact, FactParts};
pub use question::{Asked, Question, Voice};
pub use signals::{Candidate, Frequencies, Signals, named_speakers, signals};
pub use weights::{FactWeights, HalfDays, PoolSizes, RecallWeights, TurnWeights};
pub use words::{is_stop_word, stems};

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Memories.
    Facts,
    /// Turns of chats.
    Turns,
    /// Both, in one list.
    All,
}

/// What to recall.
#[derive(Debug, Clone)]
pub struct RecallQuery {
    /// The question, or the turn that is to be answered.
    pub text: String,
    /// The turns before it, which count little.
    pub previous: Vec<String>,
    /// What is searched.
    pub over: Over,
    /// At most so many hits.
    pub limit: usize,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// What may be found. Without any `states`, memories that were superseded are found for questions about the past
    /// only.
    pub filter: Filter,
}

/// A memory or turn that bears on the question.
#[derive(Debug, Clone)]
pub struct RecallHit {
    /// What was found.
    pub row: RecallRow,
    /// From 0 to 1, comparable between memories and turns and between questions only roughly.
    pub score: f64,
    /// What the score was made of.
    pub parts: Parts,
}

/// What a score was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parts {
    /// Of a memory.
    Fact(FactParts),
    /// Of a turn.
    Turn(Signals),
}

/// Turns of a chat that follow each other within this time are of one sitting: half an hour.
pub const SITTING_GAP_MS: i64 = 30 * 60 * 1000;

/// What bears on the query, the best first. `vector` is the query's embedding with the id of its model; without one the
/// words have to do.
///
/// # Errors
/// The store's: [`StoreError::NotFound`] for an unknown chat in the filter, [`StoreError::Invalid`] for a vector that
/// isn't of its model's dimensions.
pub fn recall(
    store: &Store,
    vector: Option<(&str, &[f32])>,
    query: &RecallQuery,
    weights: &RecallWeights,
) -> Result<Vec<RecallHit>, StoreError> {
    let search = Search {
        store,
        vector,
        query,
        weights,
        question: Question::new(&query.text, &query.previous, query.now_ms),
    };
    let mut hits = Vec::new();
    if query.limit > 0 && query.over != Over::Turns {
        hits.extend(search.facts()?);
    }
    if query.limit > 0 && query.over != Over::Facts {
        hits.extend(search.turns()?);
    }
    // Of equals the newest.
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.row.at_ms.cmp(&a.row.at_ms)));
    hits.truncate(query.limit);
    Ok(hits)
}

/// What [`signals()`] takes, and the rows that the candidates are.
#[derive(Debug, Clone)]
pub struct TurnCandidates {
    /// The question, without the names of those who are asked about.
    pub question: Question,
    /// How frequent its words are.
    pub frequencies: Frequencies,
    /// The turns found.
    pub candidates: Vec<Candidate>,
    /// Their rows, in the same order.
    pub rows: Vec<RecallRow>,
}

/// The candidates for a question over turns, for measuring and fitting.
///
/// # Errors
/// As [`recall`].
pub fn candidates(
    store: &Store,
    vector: Option<(&str, &[f32])>,
    query: &RecallQuery,
    pool: PoolSizes,
) -> Result<TurnCandidates, StoreError> {
    let weights = RecallWeights {
        pool,
        ..RecallWeights::default()
    };
    let search = Search {
        store,
        vector,
        query,
        weights: &weights,
        question: Question::new(&query.text, &query.previous, query.now_ms),
    };
    search.turn_candidates()
}

struct Search<'a> {
    store: &'a Store,
    vector: Option<(&'a str, &'a [f32])>,
    query: &'a RecallQuery,
    weights: &'a RecallWeights,
    question: Question,
}

/// Rows found, each with its cosine when it has a vector.
struct Pool {
    keys: Vec<RowKey>,
    cosines: HashMap<RowKey, f32>,
}

impl Search<'_> {
    fn facts(&self) -> Result<Vec<RecallHit>, StoreError> {
        let mut filter = self.query.filter.clone();
        if filter.states.is_empty() && !self.question.when.past {
            filter.states = vec![MemoryState::Active, MemoryState::Review];
        }
        let pool = self.pool(Index::Memories, &filter)?;
        let frequencies = self.frequencies(Index::Memories, &self.question)?;
        let rarity = signals::rarity(&self.question, &frequencies);
        let total = rarity.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        let rows = self.store.recall_rows(Index::Memories, &pool.keys)?;
        let hits = rows.into_iter().map(|row| {
            let said: HashSet<String> = stems(&row.text).into_iter().collect();
            let found = self.question.words.iter().zip(&rarity);
            let cover: f32 = found
                .filter(|(asked, _)| said.contains(&asked.stem))
                .map(|(_, rarity)| rarity)
                .sum();
            let fact = Fact::new(&row, pool.cosines.get(&row.key).copied(), cover / total);
            let parts = FactParts::new(&self.question, &self.weights.facts, &fact, self.query.now_ms);
            RecallHit {
                score: f64::from(parts.score()),
                parts: Parts::Fact(parts),
                row,
            }
        });
        Ok(hits.collect())
    }

    fn turns(&self) -> Result<Vec<RecallHit>, StoreError> {
        let found = self.turn_candidates()?;
        let weights = &self.weights.turns;
        let signals = signals(&found.question, &found.frequencies, &found.candidates);
        let hits = found.rows.into_iter().zip(signals).map(|(row, signals)| {
            let sum = f64::from(signals.dot(&weights.signals) - weights.center);
            RecallHit {
                row,
                score: 1.0 / (1.0 + (-sum).exp()),
                parts: Parts::Turn(signals),
            }
        });
        Ok(hits.collect())
    }

    fn turn_candidates(&self) -> Result<TurnCandidates, StoreError> {
        let pool = self.pool(Index::Turns, &self.query.filter)?;
        let rows = self.store.recall_rows(Index::Turns, &pool.keys)?;
        let keys: Vec<RowKey> = rows.iter().map(|row| row.key).collect();
        let neighbours = self.store.neighbours(&keys)?;
        let mut cosines = pool.cosines;
        if let Some((model, vector)) = self.vector {
            let beside = neighbours.iter().flat_map(|n| [n.previous, n.next]).flatten();
            let missing: Vec<RowKey> = beside
                .map(|(key, _)| key)
                .chain(keys.iter().copied())
                .filter(|key| !cosines.contains_key(key))
                .collect();
            cosines.extend(self.store.cosines(Index::Turns, model, vector, &missing)?);
        }
        let sittings = sittings(&rows);
        let candidates: Vec<Candidate> = rows
            .iter()
            .zip(&neighbours)
            .zip(sittings)
            .map(|((row, beside), sitting)| candidate(row, *beside, sitting, &cosines))
            .collect();
        let mut question = self.question.clone();
        question.leave_out(&named_speakers(&question, &candidates));
        Ok(TurnCandidates {
            frequencies: self.frequencies(Index::Turns, &question)?,
            question,
            candidates,
            rows,
        })
    }

    fn pool(&self, index: Index, filter: &Filter) -> Result<Pool, StoreError> {
        let sizes = self.weights.pool;
        let mut keys = Vec::new();
        let mut cosines = HashMap::new();
        if let Some((model, vector)) = self.vector {
            for (key, cosine) in self
                .store
                .search_vectors(index, model, vector, filter, sizes.vectors)?
            {
                keys.push(key);
                cosines.insert(key, cosine);
            }
        }
        let mut text = TextQuery::new(&self.question.text);
        if text.words.is_empty() {
            text = TextQuery::new(&self.query.previous.join(" "));
        }
        for (key, _) in self.store.search_text(index, &text, filter, sizes.words)? {
            if !cosines.contains_key(&key) {
                keys.push(key);
            }
        }
        Ok(Pool { keys, cosines })
    }

    fn frequencies(&self, index: Index, question: &Question) -> Result<Frequencies, StoreError> {
        let words: Vec<String> = question.words.iter().map(|asked| asked.word.clone()).collect();
        Ok(Frequencies {
            rows: self.store.index_len(index)?,
            with_word: self.store.word_rows(index, &words)?,
        })
    }
}

fn candidate(
    row: &RecallRow,
    beside: Neighbours,
    sitting: usize,
    cosines: &HashMap<RowKey, f32>,
) -> Candidate {
    let near =
        |(key, at_ms): &(RowKey, i64)| (at_ms.abs_diff(row.at_ms) <= SITTING_GAP_MS as u64).then_some(*key);
    let previous = beside.previous.as_ref().and_then(near);
    let next = beside.next.as_ref().and_then(near);
    let name = row.speaker.as_deref();
    let text = name
        .and_then(|name| row.text.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or(&row.text);
    Candidate {
        text: text.to_owned(),
        previous: previous.map(|_| row.previous_text.clone()).unwrap_or_default(),
        speaker: row.speaker.clone(),
        // A turn with a name is a person's.
        by_person: row.role == Some(Role::User) || row.speaker.is_some(),
        sitting,
        at_ms: row.at_ms,
        cosine: cosines.get(&row.key).copied(),
        neighbour_cosine: [previous, next]
            .into_iter()
            .flatten()
            .filter_map(|key| cosines.get(&key).copied())
            .reduce(f32::max),
    }
}

/// A number for each row, the same for rows of one sitting. Rows that weren't found between two others may part them:
/// twice the time is allowed, then.
fn sittings(rows: &[RecallRow]) -> Vec<usize> {
    let chat = |row: &RecallRow| match row.source {
        RowSource::Turn { chat, .. } => Some(chat),
        RowSource::Memory(_) => None,
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| (chat(&rows[*at]), rows[*at].at_ms));
    let mut numbers = vec![0; rows.len()];
    let mut number = 0;
    for pair in order.windows(2) {
        let (before, after) = (&rows[pair[0]], &rows[pair[1]]);
        let apart = after.at_ms.saturating_sub(before.at_ms) > 2 * SITTING_GAP_MS;
        if apart || chat(before) != chat(after) {
            number += 1;
        }
        numbers[pair[1]] = number;
    }
    numbers
}

#[cfg(test)]
mod tests;
