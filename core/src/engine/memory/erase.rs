//! Erasing: what a request means, what it would take, and the taking.

use std::collections::{BTreeSet, HashSet};

use hearth_store as store;
use hearth_store::{
    Filter, Index, MemoryReason, RowKey, RowSource, Store, StoreError, TextQuery, TurnReason,
};

use super::super::{Engine, Result, convert as chats};
use super::keep::Vector;
use super::{convert, mine};
use crate::types::{
    EngineEvent, EraseChat, EraseMemory, EraseParams, ErasePreview, EraseReason, EraseReceipt, EraseScope,
    EraseTurn, ForgetOffer,
};

/// Most rows of one word that are looked at.
const MAX_ROWS: usize = 10_000;
/// Memories at least so near to a topic are about it, whatever their words.
const ABOUT: f32 = 0.6;
const NEAREST: usize = 50;

impl Engine {
    /// What erasing would take, part by part. Nothing is changed.
    ///
    /// Errors: [`crate::EngineError::NotFound`] for what is not there.
    pub async fn preview_erase(&self, scope: EraseScope) -> Result<ErasePreview> {
        let scope = self.scope(scope).await?;
        self.inner
            .chats
            .store()
            .run(move |store| {
                let (preview, answers) = preview(store, scope)?;
                view(store, preview, &answers)
            })
            .await
    }

    /// Erases for good what the preview ticks, but for what is to be kept: rows, vectors, indexes, jobs, sentences of the
    /// biography, in one transaction; then the database's log. Nothing is answered and nothing drawn from chats
    /// meanwhile.
    ///
    /// Errors: [`crate::EngineError::Busy`] while something is being answered, as it may draw on what goes.
    pub async fn erase(&self, params: EraseParams) -> Result<EraseReceipt> {
        let _waits = self.inner.idle.person_waits();
        let _quiet = self.inner.active.hold()?;
        let _only = self.inner.idle.until_stopped().await;
        let scope = self.scope(params.scope).await?;
        let now_ms = self.now_ms();
        let (receipt, chats) = self
            .inner
            .chats
            .store()
            .run(move |store| {
                let (mut preview, _) = preview(store, scope)?;
                for memory in &mut preview.memories {
                    let id = memory.id.into();
                    memory.ticked = (memory.ticked || params.take_memories.contains(&id))
                        && !params.keep_memories.contains(&id);
                }
                for turn in &mut preview.turns {
                    turn.ticked &= !params.keep_turns.contains(&turn.message.into());
                }
                for chat in &mut preview.chats {
                    chat.ticked &= !params.keep_chats.contains(&chat.id.into());
                }
                let receipt = store.erase(&preview.plan(), now_ms)?;
                for chat in &receipt.chats {
                    mine::forget_chat(store, *chat)?;
                }
                let chats = !receipt.chats.is_empty() || !receipt.turns.is_empty();
                Ok((receipt_view(receipt), chats))
            })
            .await?;
        self.tell_memory(None);
        if chats {
            self.tell(EngineEvent::ChatsChanged { chat: None });
        }
        self.inner.idle.wake();
        Ok(receipt)
    }

    /// A scope by identifiers alone.
    async fn scope(&self, scope: EraseScope) -> Result<store::EraseScope> {
        Ok(match scope {
            EraseScope::Items { memories, turns } => store::EraseScope::Items {
                memories: memories.into_iter().map(Into::into).collect(),
                turns: turns.into_iter().map(Into::into).collect(),
            },
            EraseScope::Chats { chats } => {
                store::EraseScope::Chats(chats.into_iter().map(Into::into).collect())
            }
            EraseScope::Topic { topic } => {
                let found = self.about(&topic).await?;
                store::EraseScope::Items {
                    memories: found.memories.into_iter().map(Into::into).collect(),
                    turns: found.turns.into_iter().map(Into::into).collect(),
                }
            }
            EraseScope::All => store::EraseScope::Everything,
        })
    }
}

/// The store's preview, with the answers that drew on what goes and repeat it.
fn preview(
    store: &Store,
    scope: store::EraseScope,
) -> Result<(store::ErasePreview, HashSet<store::MessageId>), StoreError> {
    let first = store.plan_erasure(&scope)?;
    let store::EraseScope::Items { memories, mut turns } = scope else {
        return Ok((first, HashSet::new()));
    };
    let answers = answers_repeating(store, &first)?;
    if answers.is_empty() {
        return Ok((first, answers));
    }
    turns.extend(answers.iter().copied());
    let scope = store::EraseScope::Items { memories, turns };
    Ok((store.plan_erasure(&scope)?, answers))
}

/// Answers that drew on a memory that goes and have one of its telling words, or that offered to erase a turn that goes.
fn answers_repeating(
    store: &Store,
    preview: &store::ErasePreview,
) -> Result<HashSet<store::MessageId>, StoreError> {
    let listed: HashSet<store::MessageId> = preview.turns.iter().map(|turn| turn.message).collect();
    let mut telling = BTreeSet::new();
    let mut ids = Vec::new();
    for memory in preview.memories.iter().filter(|memory| memory.ticked) {
        telling.extend(TextQuery::new(&memory.text).words);
        ids.push(memory.id.to_string());
    }
    ids.extend(preview.turns.iter().map(|turn| turn.message.to_string()));
    let mut answers = HashSet::new();
    for answer in store.messages_naming(&ids)? {
        let message = store.message(answer)?;
        let offers =
            chats::reply_metadata(&message.metadata).is_some_and(|metadata| metadata.memory.forget.is_some());
        let repeats = || {
            let words = TextQuery::new(&message.text).words;
            words.iter().any(|word| telling.contains(word))
        };
        if !listed.contains(&answer) && (offers || repeats()) {
            answers.insert(answer);
        }
    }
    Ok(answers)
}

/// A preview as faces see it.
fn view(
    store: &Store,
    preview: store::ErasePreview,
    answers: &HashSet<store::MessageId>,
) -> Result<ErasePreview, StoreError> {
    let mut memories = Vec::with_capacity(preview.memories.len());
    for part in preview.memories {
        memories.push(EraseMemory {
            memory: convert::memory(store, store.memory(part.id)?)?,
            why: match part.reason {
                MemoryReason::Asked => EraseReason::Asked,
                MemoryReason::Duplicate => EraseReason::Duplicate,
                MemoryReason::OlderVersion => EraseReason::Older,
                MemoryReason::OnlySource => EraseReason::Source,
            },
            ticked: part.ticked,
        });
    }
    let mut turns = Vec::with_capacity(preview.turns.len());
    for turn in preview.turns {
        turns.push(EraseTurn {
            message: turn.message.into(),
            chat: turn.chat.into(),
            chat_title: store.chat(turn.chat)?.title,
            role: chats::role(turn.role),
            text: turn.text,
            at_ms: turn.at_ms,
            why: match turn.reason {
                TurnReason::Asked if answers.contains(&turn.message) => EraseReason::Answer,
                TurnReason::Asked => EraseReason::Asked,
                TurnReason::Source => EraseReason::Source,
                TurnReason::Answer => EraseReason::Answer,
            },
            also_source_of: turn.also_source_of.into_iter().map(Into::into).collect(),
            ticked: turn.ticked,
        });
    }
    let chat = |chat: store::EraseChat| EraseChat {
        chat: chat.id.into(),
        title: chat.title,
        messages: chat.messages,
        ticked: chat.ticked,
    };
    Ok(ErasePreview {
        memories,
        turns,
        chats: preview.chats.into_iter().map(chat).collect(),
        spared: preview.spared.into_iter().map(Into::into).collect(),
        biography_sentences: preview.biography_sentences,
    })
}

fn receipt_view(receipt: store::EraseReceipt) -> EraseReceipt {
    let counts = receipt.counts;
    EraseReceipt {
        erasure: receipt.id.into(),
        erased_at_ms: receipt.erased_at_ms,
        memories: counts.memories,
        turns: counts.turns,
        chats: counts.chats,
        messages: counts.messages,
        titles: counts.titles,
        text_entries: counts.text_entries,
        vectors: counts.vectors,
        biography_sentences: counts.biography_sentences,
        jobs: counts.jobs,
        to_review: receipt.to_review.into_iter().map(Into::into).collect(),
        recounted: counts == receipt.recount,
        log_emptied: receipt.log_emptied,
    }
}

/// Memories that have every word of a topic or mean it, and turns that have every word of it.
pub(super) fn about(store: &Store, topic: &str, vector: Option<&Vector>) -> Result<ForgetOffer, StoreError> {
    let words = TextQuery::new(topic).words;
    let mut offer = ForgetOffer {
        memories: Vec::new(),
        turns: Vec::new(),
    };
    if words.is_empty() {
        return Ok(offer);
    }
    let mut memories = having_all(store, Index::Memories, &words)?;
    if let Some((model, vector)) = vector {
        let near = store.search_vectors(Index::Memories, model, vector, &Filter::default(), NEAREST)?;
        for (key, _) in near.into_iter().filter(|(_, cosine)| *cosine >= ABOUT) {
            if !memories.contains(&key) {
                memories.push(key);
            }
        }
    }
    for row in store.recall_rows(Index::Memories, &memories)? {
        if let RowSource::Memory(id) = row.source {
            offer.memories.push(id.into());
        }
    }
    let turns = having_all(store, Index::Turns, &words)?;
    for row in store.recall_rows(Index::Turns, &turns)? {
        if let RowSource::Turn { message, .. } = row.source {
            offer.turns.push(message.into());
        }
    }
    Ok(offer)
}

/// Rows that have every word, in any of its forms.
fn having_all(store: &Store, index: Index, words: &[String]) -> Result<Vec<RowKey>, StoreError> {
    let mut all: Option<Vec<RowKey>> = None;
    for word in words {
        let query = TextQuery {
            words: vec![word.clone()],
            previous_weight: 0.0,
            max_rows: MAX_ROWS,
        };
        let found = store.search_text(index, &query, &Filter::default(), MAX_ROWS)?;
        let keys: Vec<RowKey> = found.into_iter().map(|(key, _)| key).collect();
        all = Some(match all {
            None => keys,
            Some(all) => all.into_iter().filter(|key| keys.contains(key)).collect(),
        });
    }
    Ok(all.unwrap_or_default())
}
