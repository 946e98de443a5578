//! What a turn of a chat draws on, and how much of it fits.

use std::collections::HashMap;

use hearth_store as store;

use super::super::{Engine, Result, convert};
use super::commands::Remembering;
use super::recall::Quoted;
use super::{biography, mine, prompt};
use crate::context::HistoryMessage;
use crate::types::{MemoryId, MemoryReport, MessageId};

/// Most tokens of memories that stand with a question, unless the settings say otherwise.
const RECALLED_TOKENS: u32 = 400;
/// Most tokens of the biography.
const BIOGRAPHY_TOKENS: u32 = 1000;
/// Neither takes more than this part of the window.
const PART_OF_WINDOW: u32 = 8;
/// Most memories that stand with a question.
const RECALLED: u32 = 5;
/// Most memories that are kept.
const MOST_MEMORIES: u32 = 100_000;
/// A token has about so many bytes of plain text.
const BYTES_PER_TOKEN: usize = 4;
/// Earlier things said that are part of a question to memory.
const PREVIOUS: usize = 3;

/// What is remembered and fits a turn, before anything is counted.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct TurnMemory {
    /// For the question, the best first.
    recalled: Vec<Quoted>,
    /// For earlier turns, by the message that was answered: what stood with it then.
    earlier: HashMap<MessageId, Vec<String>>,
    biography: Vec<(String, Vec<MemoryId>)>,
}

/// What of it a turn is told.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Told {
    with_question: Vec<String>,
    earlier: HashMap<MessageId, Vec<String>>,
    biography: Vec<String>,
    pub(in crate::engine) report: MemoryReport,
}

/// Most tokens of each.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Budgets {
    recalled: u32,
    biography: u32,
}

impl Engine {
    /// What is remembered that fits `said`, which follows `branch` (or is its end). Nothing where memory is not at work.
    pub(in crate::engine) async fn turn_memory(
        &self,
        remembering: Remembering,
        branch: &[store::Message],
        said: &str,
    ) -> Result<TurnMemory> {
        if remembering != Remembering::Yes {
            return Ok(TurnMemory::default());
        }
        let users = branch
            .iter()
            .filter(|message| message.role == store::Role::User && message.text != said);
        let previous: Vec<String> = users.map(|message| message.text.clone()).collect();
        let skipped = previous.len().saturating_sub(PREVIOUS);
        let recalled = self.recall_for_turn(said, previous[skipped..].to_vec()).await?;
        let mut drew_on = Vec::new();
        for reply in branch
            .iter()
            .filter(|message| message.role == store::Role::Assistant)
        {
            let Some((metadata, question)) = convert::reply_metadata(&reply.metadata).zip(reply.parent)
            else {
                continue;
            };
            // Answers of ours draw on memories, but no prompt was made for them.
            if metadata.model != super::ANSWERED_BY && !metadata.memory.recalled.is_empty() {
                drew_on.push((question.into(), metadata.memory.recalled));
            }
        }
        let earlier = self.quoted_again(drew_on).await?;
        let biography = self.inner.chats.store().run(|store| store.biography()).await?;
        let biography = biography.sentences.into_iter().map(|sentence| {
            let ids = biography::drawn_on(std::slice::from_ref(&sentence));
            (sentence.text, ids.into_iter().map(Into::into).collect())
        });
        Ok(TurnMemory {
            recalled,
            earlier,
            biography: biography.collect(),
        })
    }

    /// What the settings allow in a window of so many tokens.
    pub(in crate::engine) fn memory_budgets(&self, window: u32) -> Budgets {
        let settings = self.settings();
        let most = window / PART_OF_WINDOW;
        Budgets {
            recalled: settings.memory_tokens.unwrap_or(RECALLED_TOKENS).min(most),
            biography: settings.biography_tokens.unwrap_or(BIOGRAPHY_TOKENS).min(most),
        }
    }

    pub(super) fn recalled_memories(&self) -> u32 {
        self.settings().memory_recalled.unwrap_or(RECALLED)
    }

    pub(super) fn memory_cap(&self) -> usize {
        self.settings().memory_limit.unwrap_or(MOST_MEMORIES) as usize
    }

    /// The biography's size where no model counts.
    pub(super) fn biography_bytes(&self) -> usize {
        self.settings().biography_tokens.unwrap_or(BIOGRAPHY_TOKENS) as usize * BYTES_PER_TOKEN
    }

    /// Chats came in: memories are to be drawn from them, or never.
    pub(in crate::engine) async fn note_import(
        &self,
        report: &store::ImportReport,
        remember: bool,
    ) -> Result<()> {
        let now_ms = self.now_ms();
        let (changed, unchanged) = (report.changed.clone(), report.unchanged.clone());
        let note =
            move |store: &mut store::Store| mine::note_import(store, &changed, &unchanged, remember, now_ms);
        self.inner.chats.store().run(note).await
    }

    /// Something was said in a chat while nothing was to be remembered.
    pub(in crate::engine) async fn pass_over(
        &self,
        chat: store::ChatId,
        question: store::MessageId,
    ) -> Result<()> {
        let pass = move |store: &mut store::Store| mine::pass_over(store, chat, question);
        self.inner.chats.store().run(pass).await
    }

    /// A chat has grown: it may be worth mining.
    pub(in crate::engine) async fn note_growth(&self, chat: store::ChatId) -> Result<()> {
        if !self.extraction().wanted {
            return Ok(());
        }
        let now_ms = self.now_ms();
        self.inner
            .chats
            .store()
            .run(move |store| mine::note_growth(store, chat, now_ms))
            .await
    }
}

impl TurnMemory {
    /// As much of it as the budgets allow.
    pub(in crate::engine) fn within(self, budgets: Budgets, mut tokens_of: impl FnMut(&str) -> u32) -> Told {
        let lines: Vec<String> = self.recalled.iter().map(|quoted| quoted.line.clone()).collect();
        let (kept, tokens) = prompt::within(&lines, budgets.recalled, &mut tokens_of);
        let sentences: Vec<String> = self.biography.iter().map(|(text, _)| text.clone()).collect();
        let (kept_sentences, biography_tokens) =
            prompt::within(&sentences, budgets.biography, &mut tokens_of);
        let mut biography = Vec::new();
        for id in self.biography[..kept_sentences].iter().flat_map(|(_, ids)| ids) {
            if !biography.contains(id) {
                biography.push(*id);
            }
        }
        Told {
            report: MemoryReport {
                recalled: self.recalled[..kept].iter().map(|quoted| quoted.id).collect(),
                biography,
                tokens: tokens + biography_tokens,
                kept: Vec::new(),
                forget: None,
            },
            with_question: lines[..kept].to_vec(),
            earlier: self.earlier,
            biography: sentences[..kept_sentences].to_vec(),
        }
    }
}

impl Told {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.with_question.is_empty() && self.earlier.is_empty() && self.biography.is_empty()
    }

    /// Instructions and history with it. Earlier questions get what they had, so that the prompt begins as it began.
    pub(in crate::engine) fn put_into(
        &self,
        system: Option<String>,
        mut history: Vec<HistoryMessage>,
    ) -> (Option<String>, Vec<HistoryMessage>) {
        let last = history.len().saturating_sub(1);
        for (index, message) in history.iter_mut().enumerate() {
            let lines = if index == last {
                Some(&self.with_question)
            } else {
                message.id.and_then(|id| self.earlier.get(&id))
            };
            if let Some(lines) = lines {
                message.text = prompt::with_question(lines, &message.text);
            }
        }
        (prompt::with_biography(system, &self.biography), history)
    }
}
