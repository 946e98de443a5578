//! Memory as a whole: how much there is, the biography, a question to the person.

use hearth_store as store;
use hearth_store::{Index, MemoryKind, MemoryQuery, MemoryState, Store, StoreError};
use serde_json::json;

use super::super::{Engine, Result};
use super::{convert, prompt};
use crate::types::{Biography, BiographySentence, MemoryKindCount, MemoryQuestion, MemoryStats};

/// A person is asked no more often than this, unless they want to be.
const ASK_EVERY_MS: i64 = 24 * 60 * 60 * 1000;
/// What was not said again for so long may have changed.
const OLD_MS: i64 = 180 * ASK_EVERY_MS;
/// The setting that names when a person was last asked, and about what: an identifier.
const ASKED: &str = "memory.asked";
/// More missing vectors than this are not counted.
const MOST_COUNTED: usize = 1_000_000;

impl Engine {
    /// How much is remembered, and how far the work on it is.
    pub async fn memory_stats(&self) -> Result<MemoryStats> {
        let embedder = self.wanted_embedder().map(|wanted| wanted.id);
        let extraction = self.extraction();
        let (model, wanted) = (extraction.model.map(|model| model.id), extraction.wanted);
        self.inner
            .chats
            .store()
            .run(move |store| {
                let counts = store.memory_counts()?;
                let in_state = |wanted| {
                    let found = counts.by_state.iter().find(|(state, _)| *state == wanted);
                    found.map_or(0, |(_, count)| *count)
                };
                let not_embedded = match &embedder {
                    Some(id) => lacking(store, id)?,
                    None => 0,
                };
                Ok(MemoryStats {
                    paused: store.memory_paused()?,
                    memories: counts.total,
                    active: in_state(MemoryState::Active),
                    superseded: in_state(MemoryState::Superseded),
                    review: in_state(MemoryState::Review),
                    sensitive: counts.sensitive,
                    pinned: counts.pinned,
                    kinds: counts
                        .by_kind
                        .iter()
                        .map(|(kind, count)| MemoryKindCount {
                            kind: (*kind).into(),
                            count: *count,
                        })
                        .collect(),
                    turns: store.index_len(Index::Turns)?,
                    embedding_model: embedder,
                    not_embedded,
                    extraction_model: model,
                    extraction: wanted,
                    jobs: store.jobs()?.len() as u64,
                    biography_sentences: store.biography()?.sentences.len() as u64,
                })
            })
            .await
    }

    /// The biography as it stands.
    pub async fn biography(&self) -> Result<Biography> {
        let biography = self.inner.chats.store().run(|store| store.biography()).await?;
        let sentence = |sentence: store::BiographySentence| BiographySentence {
            text: sentence.text,
            memories: sentence.sources.into_iter().map(Into::into).collect(),
        };
        Ok(Biography {
            sentences: biography.sentences.into_iter().map(sentence).collect(),
            built_at_ms: biography.built_at_ms,
            stale: biography.stale,
        })
    }

    /// A memory to ask the person about: one that waits for their word, else one that was not said again for half a year.
    /// None when one was asked about in the last day, unless `now`.
    pub async fn review_question(&self, now: bool) -> Result<Option<MemoryQuestion>> {
        let now_ms = self.now_ms();
        let store = self.inner.chats.store();
        let memory = store
            .run(move |store| {
                let asked = store.get_setting(ASKED)?.unwrap_or_default();
                let lately = asked["at_ms"]
                    .as_i64()
                    // A clock that was set back must not silence this for years.
                    .is_some_and(|at| (0..ASK_EVERY_MS).contains(&now_ms.saturating_sub(at)));
                if !now && (lately || store.memory_paused()?) {
                    return Ok(None);
                }
                let last = asked["memory"].as_str().map(str::to_owned);
                let Some(memory) = to_ask_about(store, last.as_deref(), now_ms)? else {
                    return Ok(None);
                };
                store.set_setting(ASKED, &json!({"at_ms": now_ms, "memory": memory.id}))?;
                Ok(Some(memory))
            })
            .await?;
        let Some(memory) = memory else {
            return Ok(None);
        };
        let contradicts = if memory.status == store::MemoryStatus::Review {
            self.contradicted_by(memory.clone()).await?
        } else {
            Vec::new()
        };
        let contradicts = contradicts
            .into_iter()
            .find(|other| other.status == store::MemoryStatus::Active);
        store
            .run(move |store| {
                let question = question(&memory, contradicts.as_ref());
                Ok(Some(MemoryQuestion {
                    memory: convert::memory(store, memory)?,
                    contradicts: contradicts
                        .map(|other| convert::memory(store, other))
                        .transpose()?,
                    question,
                }))
            })
            .await
    }
}

fn lacking(store: &Store, model: &str) -> Result<u64, StoreError> {
    let mut lacking = 0;
    for index in [Index::Memories, Index::Turns] {
        lacking += store.rows_without_vector(index, model, MOST_COUNTED)?.len() as u64;
    }
    Ok(lacking)
}

/// What to ask about: what waits longest, else what was not said again for longest. The one asked about last only when
/// no other waits.
fn to_ask_about(store: &Store, last: Option<&str>, now_ms: i64) -> Result<Option<store::Memory>, StoreError> {
    let was_asked = |memory: &store::Memory| last == Some(memory.id.to_string().as_str());
    // One more than is asked about, as the first may be the one that was.
    let stalest = |query| {
        store.memories(&MemoryQuery {
            stalest_first: true,
            limit: Some(2),
            ..query
        })
    };
    let mut waiting = stalest(MemoryQuery {
        state: Some(MemoryState::Review),
        ..MemoryQuery::default()
    })?;
    waiting.sort_by_key(was_asked);
    if let Some(memory) = waiting.into_iter().next() {
        return Ok(Some(memory));
    }
    let mut old = Vec::new();
    for kind in [MemoryKind::Biography, MemoryKind::Preference] {
        let of_kind = stalest(MemoryQuery {
            kind: Some(kind),
            state: Some(MemoryState::Active),
            pinned: Some(false),
            updated_until_ms: Some(now_ms.saturating_sub(OLD_MS)),
            ..MemoryQuery::default()
        })?;
        old.extend(of_kind.into_iter().filter(|memory| !was_asked(memory)));
    }
    Ok(old.into_iter().min_by_key(|memory| memory.updated_at_ms))
}

fn question(memory: &store::Memory, contradicts: Option<&store::Memory>) -> String {
    let said = prompt::date(memory.created_at_ms);
    match contradicts {
        Some(other) => format!(
            "You once mentioned “{}” ({said}), and before that “{}” ({}). Which is right?",
            memory.text,
            other.text,
            prompt::date(other.created_at_ms)
        ),
        None => format!(
            "You once mentioned “{}” ({said}): is that still right?",
            memory.text
        ),
    }
}
