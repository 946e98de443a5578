//! Long-term memory, joined: what is remembered, what a turn draws on, what idle time does.
//!
//! **Where it enters.** A person's word enters at once: `memory.add`, an edit, a confirmation, "remember that…" in a
//! chat ([`commands`]). Everything else enters in idle time: when a chat has grown by about 200 tokens, a job is put into
//! the store's queue ([`mine`]); the idle runner ([`idle`]) has the local model propose facts (`crate::memory::extract`),
//! compares each with its neighbours by rules (`crate::memory::compare`, [`keep`]) and stores the outcome. Incognito
//! chats, chats whose memory is off, and everything while memory is paused, never enter.
//!
//! **Who owns it.** The store does: memories, vectors, the text index, jobs and the biography are rows of one encrypted
//! file, behind the store's thread. The engine decides (what is same, what supersedes, what is asked) and keeps no copy.
//!
//! **Where it goes.** Before an answer, recall finds the memories that fit the question ([`recall`]); the best of them
//! stand in front of it in the prompt as quotes under a budget of their own, the biography stands in the instructions
//! ([`prompt`]). The reply records their identifiers and no words, so that every answer can list what it drew on, and an
//! earlier turn's prompt can be written again from them. Nothing else leaves: export is on request.
//!
//! **Where it rests.** In `hearth.db` and nowhere else. Logs have counts and codes; metadata of replies has identifiers;
//! settings keep, per chat, the identifier of the last message that was mined.
//!
//! **How it is erased.** By id, chat, topic or all, after a preview that names every part ([`erase`]); where somebody
//! looked at it, nothing goes that they were not shown. With a memory go those that say the same word for word (what says
//! nearly the same is listed, and goes when it is taken), the versions it took the place of, the turns it came from, the
//! answers to these that have one of its telling words, and every answer whose metadata says that it drew on it and that
//! has one. A topic takes the memories that have its words or mean it, the messages that have its words in any form,
//! whether or not recall looks at them, and the answers to these that repeat them. A chat takes the memories that came
//! from it alone; what these took the place of is asked about when it came from elsewhere. The store removes all this with
//! vectors, index entries, jobs and sentences of the biography in one transaction, empties its log, counts again and gives
//! a receipt ([`receipts`]). Caches of prompts live in memory alone and are dropped with the models.
//!
//! Not found is what nothing leads to: the same thing said elsewhere in other words, an answer further down that repeats
//! it from the conversation alone (unless a topic's words are in it), a chat's instructions, a title that a person chose.
//! What was exported or backed up lies elsewhere; neither comes back here. An export during which something is erased fails,
//! as what it has written may still say it.

mod biography;
mod classify;
mod commands;
mod convert;
mod embedding;
mod erase;
mod idle;
mod keep;
mod look;
mod merged;
mod mine;
mod prompt;
mod recall;
mod receipts;
mod transfer;
mod turn;

use hearth_store as store;
use hearth_store::MemoryQuery;

use super::{Engine, Result};
use crate::error::EngineError;
use crate::memory::when;
use crate::types::{
    EngineEvent, Memory, MemoryDetail, MemoryDraft, MemoryEdit, MemoryId, MemoryKept, MemoryListParams,
    MemoryListed,
};
pub(super) use commands::{ANSWERED_BY, Command, Remembering, command};
pub(crate) use erase::follows;
pub(super) use idle::{Idle, run as run_idle};
use keep::{Judged, Kept, NewFact, Vector};
pub(in crate::engine) use merged::JOB as COMPARE;
#[cfg(test)]
pub(crate) use merged::settle;
pub use transfer::MemoryFormat;
pub(super) use turn::{Told, TurnMemory};

/// Most memories in one list.
const MAX_LISTED: u32 = 1000;
/// Most steps of history that are shown of a memory.
const MAX_HISTORY: usize = 100;

impl Engine {
    /// Keeps what the person writes as a memory: stated, and certain. What says the same already is only reinforced; what
    /// it contradicts becomes history, or is asked about. While memory is paused this is kept, too, and the outcome says so:
    /// it was asked for.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for an empty text, one above 16 KiB, or times out of order.
    pub async fn add_memory(&self, draft: MemoryDraft) -> Result<MemoryKept> {
        let text = one_fact(&draft.text)?;
        check_times(draft.valid_from_ms, draft.valid_to_ms)?;
        let told = classify::classify(&text);
        let kind = draft.kind.map_or(told.kind, Into::into);
        let at_ms = self.now_ms();
        let (valid_from_ms, valid_to_ms) = match (draft.valid_from_ms, draft.valid_to_ms) {
            (None, None) => when::validity(&text, kind == store::MemoryKind::Event, at_ms),
            given => given,
        };
        let fact = NewFact {
            kind,
            sensitive: draft.sensitive.unwrap_or(told.sensitive),
            text,
            confidence: 1.0,
            valid_from_ms,
            valid_to_ms,
            at_ms,
            origin: store::MemoryOrigin::Stated,
            sources: Vec::new(),
            pinned: draft.pinned,
        };
        let kept = self.keep_fact(fact).await?;
        let view = self.kept_view(kept).await?;
        Ok(view)
    }

    /// Compares a fact with what is remembered, keeps it, and tells the watchers.
    async fn keep_fact(&self, fact: NewFact) -> Result<Kept> {
        let vector = self.vector_of(&fact.text).await;
        let kept = self.keep_embedded(fact, vector).await?;
        self.tell_memory(Some(kept.memory.id.into()));
        self.inner.idle.wake();
        Ok(kept)
    }

    /// The same for a fact whose vector is known, without telling anyone.
    async fn keep_embedded(&self, fact: NewFact, vector: Option<Vector>) -> Result<Kept> {
        let judged = self.judged(&fact.text, fact.at_ms, vector.as_ref()).await?;
        let now_ms = self.now_ms();
        let store = self.inner.chats.store();
        store
            .run(move |store| keep::keep(store, fact, vector.as_ref(), &judged, now_ms))
            .await
    }

    /// What the classifier of pairs holds of a statement and the memories near it; nothing where there is none.
    async fn judged(&self, text: &str, at_ms: i64, vector: Option<&Vector>) -> Result<Judged> {
        let (Some(vector), Some(model)) = (vector, self.embedder().await) else {
            return Ok(Judged::new());
        };
        let (text, vector) = (text.to_owned(), vector.clone());
        let pairs = self
            .inner
            .chats
            .store()
            .run(move |store| keep::pairs(store, &text, at_ms, Some(&vector)))
            .await?;
        let (ids, texts): (Vec<_>, Vec<_>) = pairs
            .into_iter()
            .map(|pair| (pair.memory, (pair.older, pair.later)))
            .unzip();
        if ids.is_empty() {
            return Ok(Judged::new());
        }
        let judged = model.judge(texts).await.unwrap_or_default();
        Ok(ids.into_iter().zip(judged).collect())
    }

    /// Memories that hold (or wait) and that this one contradicts, whatever their kind. Where one of two waits for the
    /// person's word it counts, too, that the other contradicts this one.
    async fn contradicted_by(&self, memory: store::Memory) -> Result<Vec<store::Memory>> {
        let vector = self.vector_of(&memory.text).await;
        // As if this one was said last, and first.
        let last = self.judged(&memory.text, i64::MAX, vector.as_ref()).await?;
        let first = self.judged(&memory.text, i64::MIN, vector.as_ref()).await?;
        let store = self.inner.chats.store();
        store
            .run(move |store| keep::contradicted_by(store, &memory, vector.as_ref(), &last, &first))
            .await
    }

    async fn kept_view(&self, kept: Kept) -> Result<MemoryKept> {
        self.inner
            .chats
            .store()
            .run(move |store| {
                Ok(MemoryKept {
                    memory: convert::memory(store, kept.memory)?,
                    known: kept.known,
                    superseded: kept.superseded.into_iter().map(Into::into).collect(),
                    contradicts: kept.contradicts.into_iter().map(Into::into).collect(),
                    paused: store.memory_paused()?,
                })
            })
            .await
    }

    /// The vector of a text; none without a model that embeds, or when it fails: then words alone are compared.
    async fn vector_of(&self, text: &str) -> Option<Vector> {
        let model = self.embedder().await?;
        let vector = model.embed_one(text.to_owned()).await?;
        Some((model.id, vector))
    }

    /// Memories, the newest first, and how many there are.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for a limit that isn't from 1 to 1,000.
    pub async fn list_memories(&self, params: MemoryListParams) -> Result<MemoryListed> {
        let limit = limit(params.limit, MAX_LISTED)?;
        let query = MemoryQuery {
            kind: params.kind.map(Into::into),
            state: params.state.map(Into::into),
            text_contains: params.text,
            source_chat: params.chat.map(Into::into),
            sensitive: params.sensitive,
            pinned: params.pinned,
            updated_until_ms: None,
            stalest_first: false,
            limit: Some(limit),
            offset: params.offset.unwrap_or(0) as usize,
        };
        self.inner
            .chats
            .store()
            .run(move |store| {
                let found = store.memories(&query)?;
                Ok(MemoryListed {
                    memories: convert::memories(store, found)?,
                    total: store.count_memories(&query)?,
                })
            })
            .await
    }

    /// One memory with what it took the place of and what took its place.
    pub async fn show_memory(&self, memory: MemoryId) -> Result<MemoryDetail> {
        let id = memory.into();
        self.inner
            .chats
            .store()
            .run(move |store| {
                let memory = store.memory(id)?;
                let (mut later, mut next) = (Vec::new(), memory.status);
                while let store::MemoryStatus::Superseded { by: Some(by) } = next
                    && later.len() < MAX_HISTORY
                {
                    let one = store.memory(by)?;
                    next = one.status;
                    later.push(one);
                }
                let earlier = store.earlier_versions(id)?;
                Ok(MemoryDetail {
                    memory: convert::memory(store, memory)?,
                    earlier: convert::memories(store, earlier)?,
                    later: convert::memories(store, later)?,
                })
            })
            .await
    }

    /// The person corrects a memory. A new text makes a new one, stated and certain; the old one becomes history. What
    /// waited to be confirmed holds then; what is history stays that, corrected.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for an empty text, or when it would end before it begins.
    pub async fn edit_memory(&self, edit: MemoryEdit) -> Result<Memory> {
        let id: store::MemoryId = edit.memory.into();
        let endless = edit.endless == Some(true);
        if endless && edit.valid_to_ms.is_some() {
            return Err(EngineError::InvalidRequest(
                "a memory has an end or it has none".into(),
            ));
        }
        let present = self
            .inner
            .chats
            .store()
            .run(move |store| store.memory(id))
            .await?;
        let ends = edit.valid_to_ms.or(present.valid_to_ms.filter(|_| !endless));
        check_times(edit.valid_from_ms.or(present.valid_from_ms), ends)?;
        let text = edit.text.as_deref().map(one_fact).transpose()?;
        let vector = match &text {
            Some(text) => self.vector_of(text).await,
            None => None,
        };
        let now_ms = self.now_ms();
        let edited = self
            .inner
            .chats
            .store()
            .run(move |store| {
                let old = store.memory(id)?;
                let change = store::MemoryChange {
                    kind: edit.kind.map(Into::into),
                    sensitive: edit.sensitive,
                    valid_from_ms: edit.valid_from_ms.map(Some),
                    valid_to_ms: match edit.valid_to_ms {
                        None if endless => Some(None),
                        end => end.map(Some),
                    },
                    status: Some(keep::edited(old.status)),
                    ..keep::certain()
                };
                let new = match text.filter(|text| *text != old.text) {
                    None => store.update_memory(id, &change, None, now_ms)?,
                    Some(text) => keep::correct(store, &old, text, &change, vector.as_ref(), now_ms)?,
                };
                convert::memory(store, new)
            })
            .await?;
        self.tell_memory(Some(edited.id));
        self.inner.idle.wake();
        Ok(edited)
    }

    /// The person says that a memory is right: it is certain from here on, and what contradicts it becomes history.
    pub async fn confirm_memory(&self, memory: MemoryId) -> Result<MemoryKept> {
        let id: store::MemoryId = memory.into();
        let present = self
            .inner
            .chats
            .store()
            .run(move |store| store.memory(id))
            .await?;
        let contradicted = self.contradicted_by(present).await?;
        let now_ms = self.now_ms();
        let kept = self
            .inner
            .chats
            .store()
            .run(move |store| {
                let memory = store.memory(id)?;
                keep::confirm(store, &memory, &contradicted, now_ms)
            })
            .await?;
        self.tell_memory(Some(memory));
        self.inner.idle.wake();
        self.kept_view(kept).await
    }

    /// Pins a memory, so that it never fades nor makes room for others, or lets it loose.
    pub async fn pin_memory(&self, memory: MemoryId, pinned: bool) -> Result<Memory> {
        let id = memory.into();
        let pinned = self
            .inner
            .chats
            .store()
            .run(move |store| {
                store.pin_memory(id, pinned)?;
                let memory = store.memory(id)?;
                convert::memory(store, memory)
            })
            .await?;
        self.tell_memory(Some(memory));
        Ok(pinned)
    }

    /// Pauses memory, or lets it go on: while it is paused nothing is drawn from chats and nothing put before a model.
    pub async fn pause_memory(&self, paused: bool) -> Result<()> {
        self.inner
            .chats
            .store()
            .run(move |store| store.set_memory_paused(paused))
            .await?;
        if paused {
            self.inner.idle.give_way();
        } else {
            self.inner.idle.wake();
        }
        self.tell_memory(None);
        Ok(())
    }

    fn tell_memory(&self, memory: Option<MemoryId>) {
        self.tell(EngineEvent::MemoryChanged { memory });
    }
}

/// A text as one fact: without space around it, not empty.
fn one_fact(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(EngineError::InvalidRequest("a memory needs a text".into()));
    }
    Ok(text.to_owned())
}

/// How many a person asked for, from 1 to [`MAX_LISTED`].
fn limit(asked: Option<u32>, default: u32) -> Result<usize> {
    let limit = asked.unwrap_or(default);
    if !(1..=MAX_LISTED).contains(&limit) {
        return Err(EngineError::InvalidRequest(format!(
            "limit must be from 1 to {MAX_LISTED}, not {limit}"
        )));
    }
    Ok(limit as usize)
}

fn check_times(from_ms: Option<i64>, to_ms: Option<i64>) -> Result<()> {
    match (from_ms, to_ms) {
        (Some(from), Some(to)) if from > to => Err(EngineError::InvalidRequest(
            "a memory can't end before it begins".into(),
        )),
        _ => Ok(()),
    }
}
