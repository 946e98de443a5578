//! What an erasure would take, part by part, each to be unticked.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

use super::ErasePlan;
use crate::error::StoreError;
use crate::id::{ChatId, MemoryId, MessageId};
use crate::memories::{Memory, MemoryKind, MemoryState, memory_seq};
use crate::messages::Role;
use crate::names::names;
use crate::recall_index::{Filter, RowKey, TextQuery, WordForms};
use crate::store::Store;
use crate::vectors::{Index, decode};

/// What somebody wants to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseScope {
    /// These memories and turns: named, or found by a search for a topic.
    Items {
        /// Memories.
        #[serde(default)]
        memories: Vec<MemoryId>,
        /// Turns.
        #[serde(default)]
        turns: Vec<MessageId>,
    },
    /// These chats, and the memories that came from nowhere else.
    Chats(Vec<ChatId>),
    /// Every memory and every chat.
    Everything,
}

names! {
    /// Why a memory is in a preview.
    MemoryReason {
        /// It was asked for.
        Asked = "asked",
        /// It says the same as one that was asked for, word for word or (then it isn't ticked) nearly.
        Duplicate = "duplicate",
        /// One that was asked for took its place. Unticked, it goes to review.
        OlderVersion = "older_version",
        /// It was drawn from a chat that goes, and from no other.
        OnlySource = "only_source",
    }
}

names! {
    /// Why a turn is in a preview.
    TurnReason {
        /// It was asked for.
        Asked = "asked",
        /// A memory that goes was drawn from it.
        Source = "source",
        /// It answers such a turn, and repeats a telling word of the memory, or of a turn that was asked for.
        Answer = "answer",
    }
}

/// A memory that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseMemory {
    /// The memory.
    pub id: MemoryId,
    /// Its text.
    pub text: String,
    /// Its kind.
    pub kind: MemoryKind,
    /// Its status.
    pub state: MemoryState,
    /// Why it is here.
    pub reason: MemoryReason,
    /// Whether it goes unless somebody says otherwise.
    pub ticked: bool,
}

/// A turn that may be emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseTurn {
    /// Its chat.
    pub chat: ChatId,
    /// The message.
    pub message: MessageId,
    /// Who speaks.
    pub role: Role,
    /// Its text.
    pub text: String,
    /// When it was said.
    pub at_ms: i64,
    /// Why it is here.
    pub reason: TurnReason,
    /// Memories that were drawn from it too and stay; they lose it as their source.
    pub also_source_of: Vec<MemoryId>,
    /// Whether it goes unless somebody says otherwise.
    pub ticked: bool,
}

/// A chat that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseChat {
    /// The chat.
    pub id: ChatId,
    /// Its title.
    pub title: String,
    /// Number of its messages.
    pub messages: u64,
    /// Whether it goes unless somebody says otherwise.
    pub ticked: bool,
}

/// What belongs to a preview besides what the scope names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EraseMore {
    /// Memories of the preview to tick that are not ticked by themselves; what comes with them is listed then, too.
    pub take: Vec<MemoryId>,
    /// Answers that are known to repeat what goes.
    pub answers: Vec<MessageId>,
}

/// Everything an erasure would take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasePreview {
    /// Memories, those that were asked for first.
    pub memories: Vec<EraseMemory>,
    /// Turns, by chat and time.
    pub turns: Vec<EraseTurn>,
    /// Whole chats.
    pub chats: Vec<EraseChat>,
    /// Memories that have a source in a chat that goes, and another: they stay, and lose the one.
    pub spared: Vec<MemoryId>,
    /// Sentences of the biography that go with the ticked memories.
    pub biography_sentences: u64,
}

impl ErasePreview {
    /// The plan with every tick as it is.
    pub fn plan(&self) -> ErasePlan {
        ErasePlan {
            memories: self
                .memories
                .iter()
                .filter(|part| part.ticked)
                .map(|part| part.id)
                .collect(),
            turns: self
                .turns
                .iter()
                .filter(|part| part.ticked)
                .map(|part| part.message)
                .collect(),
            chats: self
                .chats
                .iter()
                .filter(|part| part.ticked)
                .map(|part| part.id)
                .collect(),
            // Where whole chats go, what says the same elsewhere stays.
            alike: self
                .memories
                .iter()
                .filter(|part| self.chats.is_empty() && part.ticked && part.reason == MemoryReason::Asked)
                .map(|part| part.id)
                .collect(),
            ..ErasePlan::default()
        }
    }
}

/// Cosine from which on a memory is shown as a likely duplicate. It is only a proposal: "allergic" and "not allergic"
/// are nearer than that.
const NEAR_COSINE: f32 = 0.9;
/// Above so many memories likely duplicates aren't looked for.
const MOST_COMPARED: usize = 200;

impl Store {
    /// What erasing `scope` would take. Nothing is changed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a memory, message or chat that isn't there.
    pub fn plan_erasure(&self, scope: &EraseScope) -> Result<ErasePreview, StoreError> {
        self.plan_erasure_with(scope, &EraseMore::default())
    }

    /// Like [`Store::plan_erasure`], with more than the scope says by itself. What of it isn't there is passed over.
    ///
    /// # Errors
    /// As for [`Store::plan_erasure`].
    pub fn plan_erasure_with(
        &self,
        scope: &EraseScope,
        more: &EraseMore,
    ) -> Result<ErasePreview, StoreError> {
        let mut preview = Preview {
            store: self,
            forms: WordForms::new()?,
            memories: Vec::new(),
            known: BTreeSet::new(),
            ticked: HashSet::new(),
            chats: HashSet::new(),
            turns: BTreeMap::new(),
        };
        let mut result = ErasePreview::default();
        match scope {
            EraseScope::Items { memories, turns } => {
                for id in memories {
                    preview.memory(*id, MemoryReason::Asked, true)?;
                }
                preview.duplicates()?;
                preview.older_versions(true)?;
                preview.take(&more.take)?;
                for id in turns {
                    preview.asked_turn(*id)?;
                }
                preview.sources(&more.answers)?;
            }
            EraseScope::Chats(chats) => {
                for chat in chats {
                    result.chats.push(preview.chat(*chat)?);
                }
                preview.chats.extend(chats);
                result.spared = preview.of_chats(chats)?;
                // They came from elsewhere: the person is asked, as when the chat is deleted.
                preview.older_versions(false)?;
                preview.take(&more.take)?;
                preview.sources(&more.answers)?;
            }
            EraseScope::Everything => {
                for id in self.ids("SELECT id FROM memory ORDER BY seq")? {
                    preview.memory(MemoryId::from_bytes(id), MemoryReason::Asked, true)?;
                }
                for id in self.ids("SELECT id FROM chat ORDER BY seq")? {
                    result.chats.push(preview.chat(ChatId::from_bytes(id))?);
                }
            }
        }
        result.biography_sentences = preview.biography_sentences()?;
        result.memories = preview.memories;
        result.turns = preview.turns.into_values().collect();
        result.turns.sort_by_key(|turn| (turn.chat, turn.at_ms));
        Ok(result)
    }

    fn ids(&self, sql: &str) -> Result<Vec<[u8; 16]>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

struct Preview<'a> {
    store: &'a Store,
    forms: WordForms,
    memories: Vec<EraseMemory>,
    known: BTreeSet<MemoryId>,
    /// The memories that are ticked, once that is settled.
    ticked: HashSet<MemoryId>,
    /// Chats that go, and with them their turns.
    chats: HashSet<ChatId>,
    turns: BTreeMap<MessageId, EraseTurn>,
}

impl Preview<'_> {
    fn memory(&mut self, id: MemoryId, reason: MemoryReason, ticked: bool) -> Result<(), StoreError> {
        if !self.known.insert(id) {
            return Ok(());
        }
        let memory = self.store.memory(id)?;
        self.memories.push(EraseMemory {
            id,
            text: memory.text,
            kind: memory.kind,
            state: memory.status.state(),
            reason,
            ticked,
        });
        Ok(())
    }

    /// Memories that say the same as those that are in already, and those that nearly do.
    fn duplicates(&mut self) -> Result<(), StoreError> {
        let asked: Vec<(MemoryId, String)> = self
            .memories
            .iter()
            .map(|memory| (memory.id, memory.text.clone()))
            .collect();
        if asked.len() > MOST_COMPARED {
            return Ok(());
        }
        let all = Filter::default();
        for (id, text) in &asked {
            let seq = memory_seq(&self.store.connection, *id)?;
            let words = TextQuery::new(text);
            let mut near: Vec<RowKey> = self
                .store
                .search_text(Index::Memories, &words, &all, 50)?
                .into_iter()
                .map(|hit| hit.0)
                .collect();
            let vectors: Vec<(String, Vec<f32>)> = self
                .store
                .connection
                .prepare_cached(
                    "SELECT e.id, v.vector FROM memory_vector AS v JOIN embedding_model AS e ON e.seq = v.model
                     WHERE v.item = ?1",
                )?
                .query_map([seq], |row| Ok((row.get(0)?, decode(row.get_ref(1)?.as_blob()?))))?
                .collect::<Result<_, _>>()?;
            let mut nearest = BTreeSet::new();
            for (model, vector) in vectors {
                for (key, cosine) in self
                    .store
                    .search_vectors(Index::Memories, &model, &vector, &all, 10)?
                {
                    if cosine >= NEAR_COSINE {
                        near.push(key);
                        nearest.insert(key);
                    }
                }
            }
            for key in near {
                let (other, other_text): (MemoryId, String) = self
                    .store
                    .connection
                    .prepare_cached("SELECT id, text FROM memory WHERE seq = ?1")?
                    .query_row([key.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let same = plain(&other_text) == plain(text);
                if same || nearest.contains(&key) {
                    self.memory(other, MemoryReason::Duplicate, same)?;
                }
            }
        }
        Ok(())
    }

    /// What the ticked memories took the place of and, as far as that is ticked, what that took the place of, and so on.
    fn older_versions(&mut self, ticked_too: bool) -> Result<(), StoreError> {
        let mut next = 0;
        while next < self.memories.len() {
            let EraseMemory { id, ticked, .. } = self.memories[next];
            next += 1;
            if !ticked {
                continue;
            }
            let older: Vec<MemoryId> = self
                .store
                .connection
                .prepare_cached(
                    "SELECT o.id FROM memory AS o JOIN memory AS m ON m.seq = o.superseded_by WHERE m.id = ?1
                     ORDER BY o.seq",
                )?
                .query_map([id], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in older {
                let near = |part: &EraseMemory| {
                    part.id == id && part.reason == MemoryReason::Duplicate && !part.ticked
                };
                // Mostly it says nearly the same, too.
                if let Some(place) = self.memories.iter().position(near) {
                    let mut part = self.memories.remove(place);
                    next -= usize::from(place < next);
                    part.reason = MemoryReason::OlderVersion;
                    part.ticked = ticked_too;
                    self.memories.push(part);
                } else {
                    self.memory(id, MemoryReason::OlderVersion, ticked_too)?;
                }
            }
        }
        Ok(())
    }

    /// Ticks memories that are in, and with them the older versions that they took the place of.
    fn take(&mut self, take: &[MemoryId]) -> Result<(), StoreError> {
        for memory in &mut self.memories {
            memory.ticked |= take.contains(&memory.id);
        }
        if !take.is_empty() {
            self.older_versions(self.chats.is_empty())?;
        }
        let ticked = self.memories.iter().filter(|memory| memory.ticked);
        self.ticked = ticked.map(|memory| memory.id).collect();
        Ok(())
    }

    /// A turn that was asked for, and the answers to it that repeat it.
    fn asked_turn(&mut self, id: MessageId) -> Result<(), StoreError> {
        if !self.turn(id, TurnReason::Asked)? {
            return Err(StoreError::not_found("message", id));
        }
        let text = self.store.message(id)?.text;
        self.answers(id, |forms| forms.telling(&text))
    }

    /// The turns the ticked memories were drawn from, what answers them in the same words, and these answers.
    fn sources(&mut self, answers: &[MessageId]) -> Result<(), StoreError> {
        let ticked: Vec<MemoryId> = self
            .memories
            .iter()
            .filter(|memory| memory.ticked)
            .map(|memory| memory.id)
            .collect();
        for id in ticked {
            let Memory { text, sources, .. } = self.store.memory(id)?;
            for source in sources {
                if self.turn(source.message, TurnReason::Source)? {
                    self.answers(source.message, |forms| forms.telling(&text))?;
                }
            }
        }
        for answer in answers {
            self.turn(*answer, TurnReason::Answer)?;
        }
        Ok(())
    }

    /// The answers to a turn that have one of its telling words, in what they say or in what led there.
    fn answers(
        &mut self,
        turn: MessageId,
        telling: impl Fn(&WordForms) -> Result<HashSet<String>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut children = self.store.children(turn)?;
        children.retain(|child| child.role == Role::Assistant && !self.turns.contains_key(&child.id));
        if children.is_empty() {
            return Ok(());
        }
        let words = telling(&self.forms)?;
        for child in children {
            if self.forms.repeats(&child.text, &words)? || self.forms.repeats(&child.reasoning, &words)? {
                self.turn(child.id, TurnReason::Answer)?;
            }
        }
        Ok(())
    }

    /// Puts a turn in; says whether it is there at all, and not in a chat that goes anyway.
    fn turn(&mut self, id: MessageId, reason: TurnReason) -> Result<bool, StoreError> {
        if self.turns.contains_key(&id) {
            return Ok(true);
        }
        let message = match self.store.message(id) {
            Ok(message) => message,
            Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.chats.contains(&message.chat) {
            return Ok(false);
        }
        let sources: Vec<MemoryId> = self
            .store
            .connection
            .prepare_cached(
                "SELECT m.id FROM memory_source AS s JOIN memory AS m ON m.seq = s.memory WHERE s.message = ?1
                 ORDER BY m.seq",
            )?
            .query_map([id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let turn = EraseTurn {
            chat: message.chat,
            message: id,
            role: message.role,
            text: message.text,
            at_ms: message.created_at_ms,
            reason,
            also_source_of: sources
                .into_iter()
                .filter(|id| !self.ticked.contains(id))
                .collect(),
            ticked: true,
        };
        self.turns.insert(id, turn);
        Ok(true)
    }

    fn chat(&self, id: ChatId) -> Result<EraseChat, StoreError> {
        Ok(EraseChat {
            id,
            title: self.store.chat(id)?.title,
            messages: self.store.message_count(id)?,
            ticked: true,
        })
    }

    /// Puts in the memories that came from these chats alone; those that have another source come back.
    fn of_chats(&mut self, chats: &[ChatId]) -> Result<Vec<MemoryId>, StoreError> {
        let mut spared = Vec::new();
        for (id, alone) in super::carry_out::drawn_from_chats(&self.store.connection, chats)? {
            if alone {
                self.memory(id, MemoryReason::OnlySource, true)?;
            } else {
                spared.push(id);
            }
        }
        Ok(spared)
    }

    fn biography_sentences(&self) -> Result<u64, StoreError> {
        let mut sentences = BTreeSet::new();
        let mut statement = self.store.connection.prepare_cached(
            "SELECT s.sentence FROM biography_source AS s JOIN memory AS m ON m.seq = s.memory WHERE m.id = ?1",
        )?;
        for memory in self.memories.iter().filter(|memory| memory.ticked) {
            for sentence in statement.query_map([memory.id], |row| row.get::<_, i64>(0))? {
                sentences.insert(sentence?);
            }
        }
        Ok(sentences.len() as u64)
    }
}

/// A text as its letters and digits alone, for comparing.
fn plain(text: &str) -> String {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join(" ")
}
