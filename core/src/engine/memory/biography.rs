//! The biography: what stands in every prompt. Made of the memories' own words, so that it says nothing they don't.

use std::collections::HashSet;

use hearth_store::{
    BiographySentence, Memory, MemoryId, MemoryKind, MemoryQuery, MemoryState, Store, StoreError,
};
use serde_json::json;

use super::prompt;

/// It is built anew after so long.
const MONTH_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Or when there are so many memories more, or less, than when it was built.
const MANY_NEW: u64 = 5;
/// The setting that says how many memories held then.
const COUNTED: &str = "memory.biography.counted";
/// What is looked at of each kind; far more than fit.
const MOST: usize = 500;
/// In this order they are taken in. A mood or a task of the day is no biography.
const KINDS: [MemoryKind; 4] = [
    MemoryKind::Constraint,
    MemoryKind::Biography,
    MemoryKind::Preference,
    MemoryKind::Event,
];

/// Whether it is to be built now.
pub(super) fn is_due(store: &Store, now_ms: i64) -> Result<bool, StoreError> {
    let biography = store.biography()?;
    let Some(built_at_ms) = biography.built_at_ms else {
        return Ok(count(store)? > 0);
    };
    // One from the future was built while the clock was wrong.
    if biography.stale || now_ms.abs_diff(built_at_ms) >= MONTH_MS as u64 {
        return Ok(true);
    }
    let counted = store
        .get_setting(COUNTED)?
        .and_then(|count| count.as_u64())
        .unwrap_or(0);
    if count(store)?.abs_diff(counted) >= MANY_NEW {
        return Ok(true);
    }
    // What has come to its end stands in it no longer.
    for id in drawn_on(&biography.sentences) {
        if super::convert::here(store.memory(id))?.is_some_and(|memory| prompt::is_over(&memory, now_ms)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Builds it anew, of at most so many bytes.
pub(super) fn rebuild(store: &mut Store, bytes: usize, now_ms: i64) -> Result<(), StoreError> {
    let sentences = build(store, bytes, now_ms)?;
    store.set_setting(COUNTED, &json!(count(store)?))?;
    store.set_biography(&sentences, now_ms)
}

fn count(store: &Store) -> Result<u64, StoreError> {
    store.count_memories(&MemoryQuery {
        state: Some(MemoryState::Active),
        ..MemoryQuery::default()
    })
}

/// Sentences of at most `bytes` together: pinned memories first, then kind by kind the most certain and latest.
/// Sensitive ones are taken only when they are a constraint or pinned; what is over by `now_ms` is not.
fn build(store: &Store, bytes: usize, now_ms: i64) -> Result<Vec<BiographySentence>, StoreError> {
    let mut memories = Vec::new();
    for kind in KINDS {
        let mut of_kind = store.memories(&MemoryQuery {
            kind: Some(kind),
            state: Some(MemoryState::Active),
            limit: Some(MOST),
            ..MemoryQuery::default()
        })?;
        of_kind.retain(|memory| !memory.sensitive || kind == MemoryKind::Constraint || memory.pinned);
        of_kind.retain(|memory| !prompt::is_over(memory, now_ms));
        of_kind.sort_by(|a, b| {
            b.confidence
                .total_cmp(&a.confidence)
                .then(b.updated_at_ms.cmp(&a.updated_at_ms))
        });
        memories.extend(of_kind);
    }
    memories.sort_by_key(|memory| !memory.pinned);
    Ok(sentences(memories, bytes))
}

fn sentences(memories: Vec<Memory>, bytes: usize) -> Vec<BiographySentence> {
    let mut sentences: Vec<BiographySentence> = Vec::new();
    let mut left = bytes;
    for memory in memories {
        let text = sentence(&memory.text);
        let same = |known: &&mut BiographySentence| known.text.to_lowercase() == text.to_lowercase();
        if let Some(known) = sentences.iter_mut().find(same) {
            known.sources.push(memory.id);
        } else if text.len() <= left {
            left -= text.len();
            sentences.push(BiographySentence {
                text,
                sources: vec![memory.id],
            });
        }
    }
    sentences
}

/// A fact as a sentence: one line, with a full stop.
fn sentence(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | '"' | '\'')) {
        line.push('.');
    }
    line
}

/// The memories that the sentences were made from, each once.
pub(super) fn drawn_on(sentences: &[BiographySentence]) -> Vec<MemoryId> {
    let mut seen = HashSet::new();
    let ids = sentences.iter().flat_map(|sentence| &sentence.sources);
    ids.copied().filter(|id| seen.insert(*id)).collect()
}
