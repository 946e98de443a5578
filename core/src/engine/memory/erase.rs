//! Erasing: what a request means, what it would take, and the taking.

use std::collections::HashSet;

use hearth_protocol::id::Handle;
use hearth_store as store;
use hearth_store::{
    EraseMore, Filter, Index, MemoryReason, RowKey, RowSource, Store, StoreError, TextQuery, TurnReason,
    WordForms,
};

use super::super::{Engine, Result, convert as chats};
use super::keep::Vector;
use super::{convert, receipts};
use crate::types::{
    ChatId, EngineEvent, EraseChat, EraseMemory, EraseParams, ErasePreview, EraseReason, EraseReceipt,
    EraseScope, EraseSeen, EraseTurn, ForgetOffer, MemoryId, MessageId,
};

/// Memories at least so near to a topic are about it, whatever their words.
const ABOUT: f32 = 0.6;
const NEAREST: usize = 50;

impl Engine {
    /// What erasing would take, part by part, when these memories of it are taken that are not ticked by themselves.
    /// Nothing is changed.
    ///
    /// Errors: [`crate::EngineError::NotFound`] for what is not there.
    pub async fn preview_erase(
        &self,
        scope: EraseScope,
        take_memories: Vec<MemoryId>,
    ) -> Result<ErasePreview> {
        let scope = self.scope(scope).await?;
        let take = take_memories.into_iter().map(Into::into).collect();
        self.inner
            .chats
            .store()
            .run(move |store| {
                let preview = preview(store, &scope, take)?;
                view(store, preview)
            })
            .await
    }

    /// Erases for good what the preview ticks, but for what is to be kept: rows, vectors, indexes, jobs, sentences of the
    /// biography, in one transaction; then the database's log. Nothing is answered and nothing drawn from chats
    /// meanwhile.
    ///
    /// Errors: [`crate::EngineError::Busy`] while something is being answered, as it may draw on what goes;
    /// [`crate::EngineError::InvalidRequest`] when the person has seen a preview and more would go now, and when much would
    /// go from other devices, too: that is [`Engine::erase_everywhere`], which can be taken back for a while.
    pub async fn erase(&self, params: EraseParams) -> Result<EraseReceipt> {
        self.check_not_much(&params).await?;
        self.erase_at_once(params).await
    }

    pub(in crate::engine) async fn erase_at_once(&self, params: EraseParams) -> Result<EraseReceipt> {
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
                let take = params.take_memories.into_iter().map(Into::into).collect();
                let mut preview = preview(store, &scope, take)?;
                let keep: HashSet<MemoryId> = params.keep_memories.iter().copied().collect();
                for memory in &mut preview.memories {
                    memory.ticked &= !keep.contains(&memory.id.into());
                }
                let keep: HashSet<MessageId> = params.keep_turns.iter().copied().collect();
                for turn in &mut preview.turns {
                    turn.ticked &= !keep.contains(&turn.message.into());
                }
                let keep: HashSet<ChatId> = params.keep_chats.into_iter().collect();
                for chat in &mut preview.chats {
                    chat.ticked &= !keep.contains(&chat.id.into());
                }
                if let Some(seen) = &params.seen {
                    check_seen(&preview, seen)?;
                }
                let plan = store::ErasePlan {
                    kept_memories: params.keep_memories.into_iter().map(Into::into).collect(),
                    kept_turns: params.keep_turns.into_iter().map(Into::into).collect(),
                    ..preview.plan()
                };
                let receipt = store.erase(&plan, now_ms)?;
                let chats = !receipt.chats.is_empty() || !receipt.turns.is_empty();
                Ok((receipts::view(receipt), chats))
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

/// The store's preview, with the memories that are taken besides and the answers that drew on what goes and repeat it.
fn preview(
    store: &Store,
    scope: &store::EraseScope,
    take: Vec<store::MemoryId>,
) -> Result<store::ErasePreview, StoreError> {
    let mut more = EraseMore {
        take,
        answers: Vec::new(),
    };
    let first = store.plan_erasure_with(scope, &more)?;
    more.answers = answers_repeating(store, &first)?;
    if more.answers.is_empty() {
        return Ok(first);
    }
    store.plan_erasure_with(scope, &more)
}

/// What another device's order takes here besides what it names, because its author couldn't know of it: memories that say
/// the same, older versions, what they were drawn from, and answers that repeat them. What the person keeps stays.
pub(crate) fn follows(store: &Store, handles: &[Handle]) -> Result<store::ErasePlan, StoreError> {
    let named = store.named_by_order(handles)?;
    if named.memories.is_empty() && named.turns.is_empty() {
        return Ok(store::ErasePlan::default());
    }
    let scope = store::EraseScope::Items {
        memories: named.alike.clone(),
        turns: named.turns.clone(),
    };
    let mut all = preview(store, &scope, Vec::new())?;
    let mut others = store::ErasePreview::default();
    for id in &named.memories {
        if all.memories.iter().all(|part| part.id != *id) {
            let memory = store.memory(*id)?;
            others.memories.push(store::EraseMemory {
                id: *id,
                state: memory.status.state(),
                text: memory.text,
                kind: memory.kind,
                reason: MemoryReason::Asked,
                ticked: true,
            });
        }
    }
    // As when chats go: of these, only the answers that repeat them.
    let answers = answers_repeating(store, &others)?;
    all.memories.retain(|part| !named.memories.contains(&part.id));
    let mut plan = all.plan();
    plan.turns.extend(answers);
    plan.turns.retain(|id| !named.turns.contains(id));
    plan.turns.sort_unstable();
    plan.turns.dedup();
    plan.alike.clear();
    store.spare_kept(handles, &mut plan)?;
    Ok(plan)
}

/// Answers that drew on a memory that goes and have one of its telling words, or that offered to erase a turn that goes.
fn answers_repeating(
    store: &Store,
    preview: &store::ErasePreview,
) -> Result<Vec<store::MessageId>, StoreError> {
    let listed: HashSet<store::MessageId> = preview.turns.iter().map(|turn| turn.message).collect();
    let forms = WordForms::new()?;
    let (mut telling, mut ids) = (HashSet::new(), HashSet::new());
    for memory in preview.memories.iter().filter(|memory| memory.ticked) {
        telling.extend(forms.telling(&memory.text)?);
        ids.insert(*memory.id.as_bytes());
    }
    ids.extend(preview.turns.iter().map(|turn| *turn.message.as_bytes()));
    let mut answers = Vec::new();
    if ids.is_empty() {
        return Ok(answers);
    }
    for answer in store.messages_naming(&ids)? {
        if listed.contains(&answer) {
            continue;
        }
        let message = store.message(answer)?;
        let offers =
            chats::reply_metadata(&message.metadata).is_some_and(|metadata| metadata.memory.forget.is_some());
        if offers || forms.repeats(&message.text, &telling)? || forms.repeats(&message.reasoning, &telling)? {
            answers.push(answer);
        }
    }
    Ok(answers)
}

/// Says that something would go now that was not there to be seen.
fn check_seen(preview: &store::ErasePreview, seen: &EraseSeen) -> Result<(), StoreError> {
    let memories: HashSet<MemoryId> = seen.memories.iter().copied().collect();
    let turns: HashSet<MessageId> = seen.turns.iter().copied().collect();
    let chats: HashSet<ChatId> = seen.chats.iter().copied().collect();
    let plan = preview.plan();
    let all = plan.memories.into_iter().all(|id| memories.contains(&id.into()))
        && plan.turns.into_iter().all(|id| turns.contains(&id.into()))
        && plan.chats.into_iter().all(|id| chats.contains(&id.into()));
    if all {
        return Ok(());
    }
    Err(StoreError::Invalid(
        "more would go than was shown, as something came in meanwhile; nothing was erased, look at it again"
            .into(),
    ))
}

/// A preview as faces see it.
fn view(store: &Store, preview: store::ErasePreview) -> Result<ErasePreview, StoreError> {
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

/// Memories that have every word of a topic or mean it, and messages that have every word of it, wherever they stand and
/// whatever became of them.
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
        let near = near.into_iter().filter(|(_, cosine)| *cosine >= ABOUT);
        let known: HashSet<RowKey> = memories.iter().copied().collect();
        memories.extend(near.map(|(key, _)| key).filter(|key| !known.contains(key)));
    }
    for row in store.recall_rows(Index::Memories, &memories)? {
        if let RowSource::Memory(id) = row.source {
            offer.memories.push(id.into());
        }
    }
    // By the names of speakers, too, which these rows have.
    let turns = having_all(store, Index::Turns, &words)?;
    let mut known = HashSet::new();
    for row in store.recall_rows(Index::Turns, &turns)? {
        if let RowSource::Turn { message, .. } = row.source {
            known.insert(message);
            offer.turns.push(message.into());
        }
    }
    let others = store.messages_about(topic)?.into_iter();
    offer
        .turns
        .extend(others.filter(|id| !known.contains(id)).map(MessageId::from));
    Ok(offer)
}

/// Rows that have every word, in any of its forms.
fn having_all(store: &Store, index: Index, words: &[String]) -> Result<Vec<RowKey>, StoreError> {
    let mut all: Option<Vec<RowKey>> = None;
    for word in words {
        let query = TextQuery {
            words: vec![word.clone()],
            previous_weight: 0.0,
            max_rows: usize::MAX,
        };
        let found = store.search_text(index, &query, &Filter::default(), usize::MAX)?;
        let keys = found.into_iter().map(|(key, _)| key);
        all = Some(match all {
            None => keys.collect(),
            Some(all) => {
                let keys: HashSet<RowKey> = keys.collect();
                all.into_iter().filter(|key| keys.contains(key)).collect()
            }
        });
    }
    Ok(all.unwrap_or_default())
}
