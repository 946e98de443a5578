//! A new fact meets what is remembered: it is known, takes the place of something, is kept beside it, or asks.

use std::collections::HashMap;

use hearth_store::{
    EmbeddedText, Filter, Index, Memory, MemoryChange, MemoryId, MemoryKind, MemoryOrigin, MemoryQuery,
    MemoryState, MemoryStatus, NewMemory, RowSource, Settled, SourceTurn, Store, StoreError, Superseded,
    TextQuery,
};

use crate::memory::compare::{self, Action, Candidate, Judgement, Relation, Statement, WORTH_JUDGING};
use crate::memory::when;

/// So many of the nearest memories, by vectors and by words each, are compared with a new one.
const NEAREST: usize = 20;

/// A fact on its way in.
#[derive(Debug, Clone)]
pub(super) struct NewFact {
    pub(super) text: String,
    pub(super) kind: MemoryKind,
    pub(super) confidence: f32,
    pub(super) sensitive: bool,
    pub(super) valid_from_ms: Option<i64>,
    pub(super) valid_to_ms: Option<i64>,
    /// When it was said.
    pub(super) at_ms: i64,
    pub(super) origin: MemoryOrigin,
    pub(super) sources: Vec<SourceTurn>,
    pub(super) pinned: bool,
}

/// A vector and the model that made it.
pub(super) type Vector = (String, Vec<f32>);

/// What the classifier of pairs holds of memories and the fact that they are compared with.
pub(super) type Judged = HashMap<MemoryId, Judgement>;

/// A memory and a fact, to be judged: the older statement first.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) memory: MemoryId,
    pub(super) older: String,
    pub(super) later: String,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) memory: Memory,
    pub(super) known: bool,
    pub(super) superseded: Vec<MemoryId>,
    pub(super) contradicts: Vec<MemoryId>,
}

/// Compares and keeps. Done twice it is as good as done once: a fact that is there already is only reinforced, and one
/// that was kept from the same message as history stays that.
pub(super) fn keep(
    store: &mut Store,
    fact: NewFact,
    vector: Option<&Vector>,
    judged: &Judged,
    now_ms: i64,
) -> Result<Kept, StoreError> {
    if let Some(memory) = in_history(store, &fact)? {
        return Ok(Kept {
            memory,
            known: true,
            superseded: Vec::new(),
            contradicts: Vec::new(),
        });
    }
    let near = nearest(store, &fact.text, vector)?;
    let candidates: Vec<Candidate<'_, MemoryId>> = near
        .iter()
        .map(|(memory, cosine)| Candidate::of(memory, *cosine, judged.get(&memory.id).copied()))
        .collect();
    let new = Statement {
        text: &fact.text,
        kind: fact.kind,
        confidence: fact.confidence,
        at_ms: fact.at_ms,
    };
    let actions = compare::decide(&new, &candidates);
    let known = actions.iter().find_map(|action| match action {
        Action::Reinforce(id) => Some(*id),
        _ => None,
    });
    let mut contradicts = Vec::new();
    let mut status = MemoryStatus::Active;
    let mut valid_to_ms = fact.valid_to_ms;
    for action in &actions {
        match action {
            Action::Insert | Action::Reinforce(_) | Action::Supersede { .. } => {}
            Action::InsertForReview => status = MemoryStatus::Review,
            Action::InsertSuperseded { by } => {
                status = MemoryStatus::Superseded { by: Some(*by) };
                // It held until the later one was said.
                let later = near.iter().find(|(memory, _)| memory.id == *by);
                valid_to_ms = valid_to_ms.or(later.map(|(memory, _)| memory.created_at_ms));
            }
            Action::Ask { old } => contradicts.push(*old),
        }
    }
    let superseded: Vec<Superseded> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Supersede { old, valid_to_ms } if Some(*old) != known => Some(Superseded {
                memory: *old,
                valid_to_ms: Some(*valid_to_ms),
            }),
            _ => None,
        })
        .collect();
    let new;
    let settled = if let Some(id) = known {
        let known = near
            .iter()
            .map(|(memory, _)| memory)
            .find(|memory| memory.id == id);
        let change = known.and_then(|known| {
            // The person says outright what was only inferred, or waited for their word.
            if fact.origin == MemoryOrigin::Stated && contradicts.is_empty() && !is_certain(known) {
                return Some(certain());
            }
            // Said again with enough confidence to take something's place, it waits no longer.
            (known.status == MemoryStatus::Review && !superseded.is_empty()).then(|| MemoryChange {
                status: Some(MemoryStatus::Active),
                confidence: Some(known.confidence.max(fact.confidence)),
                ..MemoryChange::default()
            })
        });
        Settled::Known {
            id,
            sources: &fact.sources,
            // Said again when it was said, not when it was found: what was said in between is older.
            said_at_ms: fact.at_ms,
            change,
        }
    } else {
        new = NewMemory {
            text: fact.text,
            kind: fact.kind,
            confidence: fact.confidence,
            sensitive: fact.sensitive,
            valid_from_ms: fact.valid_from_ms,
            valid_to_ms,
            created_at_ms: fact.at_ms,
            sources: fact.sources,
            status,
            origin: fact.origin,
            pinned: fact.pinned,
        };
        Settled::New {
            memory: &new,
            vector: vector.map(embedded),
        }
    };
    Ok(Kept {
        memory: store.settle_memory(&settled, &superseded, now_ms)?,
        known: known.is_some(),
        superseded: superseded.into_iter().map(|old| old.memory).collect(),
        contradicts,
    })
}

/// A memory that is history, of the same words from the same message: what of it is to be settled was settled.
fn in_history(store: &Store, fact: &NewFact) -> Result<Option<Memory>, StoreError> {
    for source in &fact.sources {
        let found = store.memories(&MemoryQuery {
            state: Some(MemoryState::Superseded),
            text_contains: Some(fact.text.clone()),
            source_chat: Some(source.chat),
            ..MemoryQuery::default()
        })?;
        let same = |memory: &Memory| {
            memory.text == fact.text && memory.sources.iter().any(|from| from.message == source.message)
        };
        if let Some(memory) = found.into_iter().find(same) {
            return Ok(Some(memory));
        }
    }
    Ok(None)
}

/// The person's own words in the place of `old`, which becomes history; what it came from is kept. History that is
/// corrected stays history.
pub(super) fn correct(
    store: &mut Store,
    old: &Memory,
    text: String,
    change: &MemoryChange,
    vector: Option<&Vector>,
    now_ms: i64,
) -> Result<Memory, StoreError> {
    let mut sources = Vec::new();
    for source in &old.sources {
        if super::convert::here(store.message(source.message))?.is_some() {
            sources.push(SourceTurn {
                chat: source.chat,
                message: source.message,
            });
        }
    }
    let new = NewMemory {
        text,
        kind: change.kind.unwrap_or(old.kind),
        confidence: 1.0,
        sensitive: change.sensitive.unwrap_or(old.sensitive),
        valid_from_ms: change.valid_from_ms.unwrap_or(old.valid_from_ms),
        valid_to_ms: change.valid_to_ms.unwrap_or(old.valid_to_ms),
        created_at_ms: now_ms,
        sources,
        status: edited(old.status),
        origin: MemoryOrigin::Stated,
        pinned: old.pinned,
    };
    let settled = Settled::New {
        memory: &new,
        vector: vector.map(embedded),
    };
    let superseded = Superseded {
        memory: old.id,
        valid_to_ms: Some(now_ms),
    };
    store.settle_memory(&settled, &[superseded], now_ms)
}

/// The person says that a memory is right: it is certain, and what contradicts it becomes history.
pub(super) fn confirm(
    store: &mut Store,
    memory: &Memory,
    contradicted: &[Memory],
    now_ms: i64,
) -> Result<Kept, StoreError> {
    let superseded: Vec<Superseded> = contradicted
        .iter()
        .map(|other| Superseded {
            memory: other.id,
            valid_to_ms: Some(now_ms),
        })
        .collect();
    let mut change = certain();
    if memory.status != MemoryStatus::Active || super::prompt::is_over(memory, now_ms) {
        // Whatever had ended it, it holds; an end that its own words name stays.
        let (_, ends) = when::validity(
            &memory.text,
            memory.kind == MemoryKind::Event,
            memory.created_at_ms,
        );
        change.valid_to_ms = Some(ends);
    }
    let settled = Settled::Known {
        id: memory.id,
        sources: &[],
        said_at_ms: now_ms,
        change: Some(change),
    };
    Ok(Kept {
        memory: store.settle_memory(&settled, &superseded, now_ms)?,
        known: true,
        superseded: superseded.iter().map(|old| old.memory).collect(),
        contradicts: Vec::new(),
    })
}

/// Memories that hold (or wait) and that this one contradicts, whatever their kind; where one of the two waits, those
/// that contradict it, too. `last` and `first` are what the classifier holds of them as if this one was said last, and
/// first.
pub(super) fn contradicted_by(
    store: &Store,
    memory: &Memory,
    vector: Option<&Vector>,
    last: &Judged,
    first: &Judged,
) -> Result<Vec<Memory>, StoreError> {
    let near = nearest(store, &memory.text, vector)?;
    let waits = |memory: &Memory| memory.status == MemoryStatus::Review;
    let contradicts = |(other, cosine): &(Memory, f32)| {
        let this = Candidate::of(memory, 1.0, None).statement;
        let that = Candidate::of(other, *cosine, None).statement;
        let judged = |judged: &Judged| judged.get(&other.id).copied();
        let clash = |old: &Statement<'_>, new: &Statement<'_>, judged: Option<Judgement>| {
            compare::relation(old, new, *cosine, judged) == Relation::Contradicts
        };
        other.id != memory.id
            && (clash(&that, &this, judged(last))
                || (waits(memory) || waits(other)) && clash(&this, &that, judged(first)))
    };
    Ok(near
        .into_iter()
        .filter(contradicts)
        .map(|(other, _)| other)
        .collect())
}

/// What is to be judged of a statement and the memories near it. One that was said later than `at_ms` is the later one.
pub(super) fn pairs(
    store: &Store,
    text: &str,
    at_ms: i64,
    vector: Option<&Vector>,
) -> Result<Vec<Pair>, StoreError> {
    let near = nearest(store, text, vector)?;
    Ok(near
        .into_iter()
        .filter(|(memory, cosine)| *cosine >= WORTH_JUDGING && memory.text != text)
        .map(|(memory, _)| {
            let late = memory.updated_at_ms > at_ms;
            let (older, later) = if late {
                (text.to_owned(), memory.text)
            } else {
                (memory.text, text.to_owned())
            };
            Pair {
                memory: memory.id,
                older,
                later,
            }
        })
        .collect())
}

fn embedded((model_id, vector): &Vector) -> EmbeddedText<'_> {
    EmbeddedText { model_id, vector }
}

/// The change that makes a memory the person's word.
pub(super) fn certain() -> MemoryChange {
    MemoryChange {
        confidence: Some(1.0),
        origin: Some(MemoryOrigin::Stated),
        status: Some(MemoryStatus::Active),
        ..MemoryChange::default()
    }
}

/// The status of a memory that the person has corrected: what held or waited holds, history stays history.
pub(super) fn edited(status: MemoryStatus) -> MemoryStatus {
    match status {
        MemoryStatus::Active | MemoryStatus::Review => MemoryStatus::Active,
        MemoryStatus::Superseded { by } => MemoryStatus::Superseded { by },
    }
}

fn is_certain(memory: &Memory) -> bool {
    memory.origin == MemoryOrigin::Stated && memory.status == MemoryStatus::Active && memory.confidence >= 1.0
}

/// Memories that are not history, near by vector or by words, with their cosine (0 where there is none).
pub(super) fn nearest(
    store: &Store,
    text: &str,
    vector: Option<&Vector>,
) -> Result<Vec<(Memory, f32)>, StoreError> {
    let filter = Filter {
        states: vec![MemoryState::Active, MemoryState::Review],
        ..Filter::default()
    };
    let mut keys = Vec::new();
    if let Some((model, vector)) = vector {
        keys = store.search_vectors(Index::Memories, model, vector, &filter, NEAREST)?;
    }
    for (key, _) in store.search_text(Index::Memories, &TextQuery::new(text), &filter, NEAREST)? {
        if keys.iter().any(|(known, _)| *known == key) {
            continue;
        }
        let cosine = match vector {
            Some((model, vector)) => store
                .vector(Index::Memories, key, model)?
                .map_or(0.0, |other| cosine(vector, &other)),
            None => 0.0,
        };
        keys.push((key, cosine));
    }
    let rows = store.recall_rows(
        Index::Memories,
        &keys.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
    )?;
    let mut near = Vec::with_capacity(rows.len());
    for row in rows {
        let cosine = keys
            .iter()
            .find(|(key, _)| *key == row.key)
            .map_or(0.0, |(_, cosine)| *cosine);
        if let RowSource::Memory(id) = row.source {
            near.push((store.memory(id)?, cosine));
        }
    }
    Ok(near)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let lengths = length(a) * length(b);
    if lengths > 0.0 { dot / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hearth_store::{ChatId, MessageId, MessageStatus, NewChat, NewMessage, Protection, Role};

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let protection = Protection::KeyFile(home.path().join("key"));
        let folder = home.path().join("home");
        std::fs::create_dir(&folder).unwrap();
        let store = Store::create(&folder, &protection).unwrap();
        (home, store)
    }

    fn said(store: &mut Store, chat: ChatId, text: &str, at_ms: i64) -> MessageId {
        let new = NewMessage {
            chat,
            parent: None,
            role: Role::User,
            text: text.into(),
            reasoning: String::new(),
            status: MessageStatus::Complete,
            created_at_ms: at_ms,
            model: None,
            metadata: serde_json::Value::Null,
        };
        store.append_message(new).unwrap().id
    }

    fn drawn(text: &str, confidence: f32, at_ms: i64, sources: Vec<SourceTurn>) -> NewFact {
        NewFact {
            text: text.into(),
            kind: MemoryKind::Biography,
            confidence,
            sensitive: false,
            valid_from_ms: None,
            valid_to_ms: None,
            at_ms,
            origin: MemoryOrigin::Extracted,
            sources,
            pinned: false,
        }
    }

    fn keep(store: &mut Store, fact: NewFact) -> Kept {
        super::keep(store, fact, None, &Judged::new(), 99).unwrap()
    }

    #[test]
    fn a_batch_that_is_kept_twice_is_kept_once() {
        let (_home, mut store) = store();
        let chat = store
            .create_chat(NewChat {
                title: String::new(),
                created_at_ms: 0,
                metadata: serde_json::Value::Null,
            })
            .unwrap()
            .id;
        let batch: Vec<NewFact> = [("Lives in Paris", 1), ("Lives in Lyon", 2)]
            .map(|(text, at_ms)| {
                let message = said(&mut store, chat, text, at_ms);
                drawn(text, 0.9, at_ms, vec![SourceTurn { chat, message }])
            })
            .into();
        let mut first = Vec::new();
        for fact in batch.clone() {
            first.push(keep(&mut store, fact).memory.id);
        }
        // Cut short before anyone noted that it was done.
        for (fact, id) in batch.into_iter().zip(&first) {
            let again = keep(&mut store, fact);
            assert!(again.known && again.memory.id == *id, "{again:?}");
            assert!(
                again.superseded.is_empty() && again.contradicts.is_empty(),
                "{again:?}"
            );
        }
        assert_eq!(store.count_memories(&MemoryQuery::default()).unwrap(), 2);
        assert_eq!(
            store.memory(first[0]).unwrap().status,
            MemoryStatus::Superseded { by: Some(first[1]) }
        );
    }

    #[test]
    fn one_value_holds_whatever_waits() {
        let (_home, mut store) = store();
        let holds = |store: &Store| {
            let query = MemoryQuery {
                state: Some(MemoryState::Active),
                ..MemoryQuery::default()
            };
            let held = store.memories(&query).unwrap();
            held.into_iter().map(|memory| memory.text).collect::<Vec<_>>()
        };
        keep(&mut store, drawn("Lives in Paris", 0.95, 1, Vec::new()));
        let doubt = keep(&mut store, drawn("Lives in Lyon", 0.7, 2, Vec::new()));
        assert_eq!(doubt.memory.status, MemoryStatus::Review);
        // As weak again: it waits still, and replaces nothing.
        let again = keep(&mut store, drawn("Lives in Lyon", 0.7, 3, Vec::new()));
        assert!(again.known && again.superseded.is_empty(), "{again:?}");
        assert_eq!(holds(&store), ["Lives in Paris"]);
        // Said with confidence, it holds.
        let sure = keep(&mut store, drawn("Lives in Lyon", 0.95, 4, Vec::new()));
        assert_eq!(
            (sure.memory.status, sure.memory.confidence),
            (MemoryStatus::Active, 0.95)
        );
        assert_eq!(sure.superseded.len(), 1);
        assert_eq!(holds(&store), ["Lives in Lyon"]);
    }
}
