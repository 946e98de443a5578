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
/// The kind of the jobs that say what has arrived; their keys are memories' identifiers.
pub(in crate::engine) const JOB: &str = "compare";
/// One that can't be compared is tried again after so long.
const RETRY_MS: i64 = 60_000;
/// And given up after so many tries.
const MAX_ATTEMPTS: u32 = 5;

impl Engine {
    /// Compares memories that have just arrived with those that were here: of two that say the same the one with the lower
    /// identifier stays, with the sources of both; what contradicts becomes history or is asked about, as among one
    /// device's own. By words alone: vectors of what has arrived are made later, in idle time. What has arrived stands in
    /// the store's queue since the transaction that brought it.
    pub(in crate::engine) async fn compare_arrived(&self) -> Result<()> {
        let now_ms = self.now_ms();
        let some = move |store: &mut Store| compare_some(store, now_ms);
        while self.inner.chats.store().run(some).await? {}
        Ok(())
    }
}

/// Compares some of what has arrived; says whether there may be more.
fn compare_some(store: &mut Store, now_ms: i64) -> std::result::Result<bool, StoreError> {
    for _ in 0..AT_ONCE {
        let Some(job) = store.claim_next(&[JOB], now_ms)? else {
            return Ok(false);
        };
        let settled = match job.key.parse() {
            Ok(id) => settle(store, id, now_ms),
            Err(_) => Ok(()),
        };
        match settled {
            Ok(()) => store.complete(&job)?,
            Err(error) if job.attempts >= MAX_ATTEMPTS => {
                tracing::warn!(%error, "a memory that arrived is never compared");
                store.complete(&job)?;
            }
            Err(error) => {
                store.fail(&job, now_ms.saturating_add(RETRY_MS))?;
                return Err(error);
            }
        }
    }
    Ok(true)
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

#[cfg(test)]
mod tests {
    use hearth_protocol::id::Handle;
    use hearth_store::{
        DocumentWrite, MemoryKind, MemoryOrigin, NewMemory, Protection, SyncBatch, SyncDocument, SyncItem,
    };

    use super::*;

    fn new(text: &str) -> NewMemory {
        NewMemory {
            text: text.into(),
            kind: MemoryKind::Preference,
            confidence: 1.0,
            sensitive: false,
            valid_from_ms: None,
            valid_to_ms: None,
            created_at_ms: 5,
            sources: Vec::new(),
            status: MemoryStatus::Active,
            origin: MemoryOrigin::Extracted,
            pinned: false,
        }
    }

    /// The program ends between the transaction that brought a memory and the look at what it says.
    #[test]
    fn what_arrived_is_compared_after_a_crash_too() {
        let folder = tempfile::tempdir().unwrap();
        let key = Protection::KeyFile(folder.path().join("key"));
        let (home, from) = (folder.path().join("here"), folder.path().join("there"));
        let mut there = Store::create(&from, &key).unwrap();
        there.begin_sync().unwrap();
        let far = there.add_memory(&new("My dog is called Rex"), None).unwrap().id;
        let item = SyncItem::memory(far);
        let content = there.sync_content(&item).unwrap();
        let mut here = Store::create(&home, &key).unwrap();
        here.begin_sync().unwrap();
        let near = here.add_memory(&new("My dog is called Rex"), None).unwrap().id;
        let batch = SyncBatch {
            documents: vec![DocumentWrite {
                document: SyncDocument {
                    handle: Handle([7; 16]),
                    item,
                    document: vec![1],
                    published: Vec::new(),
                },
                content,
                more: false,
            }],
            job_of_new: Some(JOB),
            ..SyncBatch::default()
        };
        here.sync_write(&batch, 9).unwrap();
        drop(here);

        let mut here = Store::open(&home, &key).unwrap();
        let both = |store: &Store| [near, far].map(|id| store.memory(id).unwrap().status);
        assert_eq!(both(&here), [MemoryStatus::Active; 2]);
        assert!(!compare_some(&mut here, 10).unwrap());
        let stays = near.min(far);
        let expected = [near, far].map(|id| match id {
            id if id == stays => MemoryStatus::Active,
            _ => MemoryStatus::Superseded { by: Some(stays) },
        });
        assert_eq!(both(&here), expected);
        assert!(here.jobs().unwrap().is_empty());
    }
}
