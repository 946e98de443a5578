//! What came from another device meets what was here: the rules that a new fact goes through, with outcomes that depend on
//! the two memories alone, so that every device that compares them comes to the same.

use hearth_store::{
    MemoryChange, MemoryId, MemoryStatus, Settled, SourceTurn, Store, StoreError, Superseded,
};

use super::super::{Engine, Result};
use super::{convert, keep};
use crate::memory::compare::{self, Action, Candidate, Statement};

/// So many of what arrives are compared in one go on the database's thread: others wait there.
const AT_ONCE: usize = 64;
/// So many of what arrives at once are compared at all; what comes in larger numbers is a history, not news.
const MOST: usize = 4096;

impl Engine {
    /// Compares memories that have just arrived with those that were here: of two that say the same the one with the lower
    /// identifier stays, with the sources of both; what contradicts becomes history or is asked about, as among one
    /// device's own. By words alone: vectors of what has arrived are made later, in idle time.
    pub(in crate::engine) async fn compare_arrived(&self, arrived: Vec<MemoryId>) -> Result<()> {
        let now_ms = self.now_ms();
        for some in arrived[..arrived.len().min(MOST)].chunks(AT_ONCE) {
            let some = some.to_vec();
            self.inner
                .chats
                .store()
                .run(move |store| some.into_iter().try_for_each(|id| settle(store, id, now_ms)))
                .await?;
        }
        Ok(())
    }
}

/// Compares one that has arrived with the others.
pub(crate) fn settle(store: &mut Store, id: MemoryId, now_ms: i64) -> std::result::Result<(), StoreError> {
    let Some(memory) = convert::here(store.memory(id))? else {
        return Ok(());
    };
    if memory.status != MemoryStatus::Active {
        return Ok(());
    }
    let mut near = keep::nearest(store, &memory.text, None)?;
    near.retain(|(other, _)| other.id != id);
    let candidates: Vec<Candidate<'_, MemoryId>> = near
        .iter()
        .map(|(other, cosine)| Candidate::of(other, *cosine, None))
        .collect();
    let new = Statement {
        text: &memory.text,
        kind: memory.kind,
        confidence: memory.confidence,
        at_ms: memory.updated_at_ms,
    };
    let when = |id: MemoryId| {
        near.iter()
            .find(|(other, _)| other.id == id)
            .map(|(other, _)| (other.updated_at_ms, other.id))
    };
    for action in compare::decide(&new, &candidates) {
        match action {
            Action::Insert | Action::InsertForReview => {}
            Action::Reinforce(twin) => unite(store, id.min(twin), id.max(twin), now_ms)?,
            Action::Supersede { old, valid_to_ms } => {
                replace(store, old, id, Some(valid_to_ms), now_ms)?;
            }
            Action::InsertSuperseded { by } => {
                let ended = near.iter().find(|(other, _)| other.id == by);
                let ended = ended.map(|(other, _)| other.created_at_ms);
                replace(store, id, by, ended, now_ms)?;
            }
            Action::Ask { old } => {
                // The later one waits for the person's word, on whichever device the two met.
                let later = match when(old) {
                    Some(other) if other > (memory.updated_at_ms, id) => old,
                    _ => id,
                };
                store.set_memory_status(later, MemoryStatus::Review, now_ms)?;
            }
        }
    }
    Ok(())
}

/// Of two that say the same, one stays.
fn unite(
    store: &mut Store,
    stays: MemoryId,
    goes: MemoryId,
    now_ms: i64,
) -> std::result::Result<(), StoreError> {
    let (kept, twin) = (store.memory(stays)?, store.memory(goes)?);
    if kept.status != MemoryStatus::Active || twin.status != MemoryStatus::Active {
        return Ok(());
    }
    let mut sources = Vec::new();
    for source in &twin.sources {
        if convert::here(store.message(source.message))?.is_some() {
            sources.push(SourceTurn {
                chat: source.chat,
                message: source.message,
            });
        }
    }
    let change = (twin.pinned && !kept.pinned).then(|| MemoryChange {
        pinned: Some(true),
        ..MemoryChange::default()
    });
    let settled = Settled::Known {
        id: stays,
        sources: &sources,
        said_at_ms: kept.updated_at_ms.max(twin.updated_at_ms),
        change,
    };
    let superseded = Superseded {
        memory: goes,
        valid_to_ms: None,
    };
    store.settle_memory(&settled, &[superseded], now_ms).map(drop)
}

/// Makes one memory the other's history, unless that would close a circle: then they are history of each other already.
fn replace(
    store: &mut Store,
    old: MemoryId,
    by: MemoryId,
    valid_to_ms: Option<i64>,
    now_ms: i64,
) -> std::result::Result<(), StoreError> {
    match store.supersede_memory(old, by, valid_to_ms, now_ms) {
        Err(StoreError::Invalid(_)) => Ok(()),
        done => done,
    }
}
