//! Recall, asked outright and before an answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use hearth_store as store;
use hearth_store::{RowSource, Store, StoreError};

use super::super::{Engine, Result, convert as chats};
use super::embedding::EmbeddingModel;
use super::{convert, prompt};
use crate::error::EngineError;
use crate::memory::recall::{self, Over, RecallQuery, RecallWeights};
use crate::settings;
use crate::types::{MemoryId, MessageId, RecallHit, RecallOver, RecallParams, Recalled, RecalledTurn};

/// Most characters of a question that are looked at: far more than the model that embeds reads.
const MAX_QUERY_CHARS: usize = 8192;
/// Earlier things said that count as part of a question.
const PREVIOUS: usize = 3;
/// Hits when the request names no number.
const DEFAULT_LIMIT: u32 = 10;

/// Below this score a memory has nothing to do with what is said; better no memory than a wrong one.
const FITS: f64 = 0.2;

/// A memory that goes before the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Quoted {
    pub(in crate::engine) id: MemoryId,
    pub(in crate::engine) line: String,
}

impl Engine {
    /// What is remembered that answers a question, the best first. Words alone are compared where no model that embeds
    /// is here.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for an empty question, or a limit that isn't from 1 to 1,000.
    pub async fn recall(&self, params: RecallParams) -> Result<Recalled> {
        let limit = super::limit(params.limit, DEFAULT_LIMIT)?;
        if params.query.trim().is_empty() {
            return Err(EngineError::InvalidRequest(
                "the question is empty: say what to look for".into(),
            ));
        }
        let query = RecallQuery {
            text: params.query,
            previous: params.previous,
            over: match params.over {
                RecallOver::Facts => Over::Facts,
                RecallOver::Turns => Over::Turns,
                RecallOver::All => Over::All,
            },
            limit,
            now_ms: params.now_ms.unwrap_or_else(|| self.now_ms()),
            filter: store::Filter {
                chats: params
                    .chats
                    .map(|chats| chats.into_iter().map(Into::into).collect()),
                ..store::Filter::default()
            },
        };
        let (hits, embedding_model) = self.search_remembered(query, hit_view).await?;
        Ok(Recalled {
            hits,
            embedding_model,
        })
    }

    /// Searches, and makes of each hit what the caller wants; names the model that compared meanings.
    async fn search_remembered<T: Send + 'static>(
        &self,
        mut query: RecallQuery,
        view: impl Fn(&Store, recall::RecallHit) -> std::result::Result<Option<T>, StoreError> + Send + 'static,
    ) -> Result<(Vec<T>, Option<String>)> {
        truncate(&mut query.text);
        let skipped = query.previous.len().saturating_sub(PREVIOUS);
        query.previous.drain(..skipped);
        query.previous.iter_mut().for_each(truncate);
        let vector = match self.query_embedder().await? {
            Some(model) if !query.text.trim().is_empty() => {
                let vector = model.embed_one(query.text.clone()).await;
                vector.map(|vector| (model.id, vector))
            }
            _ => None,
        };
        let weights = self.recall_weights();
        self.inner
            .chats
            .store()
            .run(move |store| {
                let asked = vector
                    .as_ref()
                    .map(|(model, vector)| (model.as_str(), vector.as_slice()));
                let hits = recall::recall(store, asked, &query, &weights)?;
                let mut views = Vec::with_capacity(hits.len());
                for hit in hits {
                    views.extend(view(store, hit)?);
                }
                Ok((views, vector.map(|(model, _)| model)))
            })
            .await
    }

    /// The model whose vectors most rows have: while a new one embeds everything anew, search goes on with the old.
    /// None when nothing has been embedded yet.
    async fn query_embedder(&self) -> Result<Option<EmbeddingModel>> {
        let Some(wanted) = self.wanted_embedder() else {
            return Ok(None);
        };
        let of = |store: &mut Store| store.embedding_models();
        let models = self.inner.chats.store().run(of).await?;
        let rows = |model: &store::EmbeddingModel| model.memories + model.turns;
        let mut best = models.iter().filter(|model| rows(model) > 0).collect::<Vec<_>>();
        best.sort_by_key(|model| std::cmp::Reverse((rows(model), model.id == wanted.id)));
        for model in best {
            let wanted = if model.id == wanted.id {
                Some(wanted.clone())
            } else {
                self.embedder_called(&model.id)
            };
            if let Some(wanted) = wanted
                && let Some(model) = self.embedder_of(&wanted).await
            {
                return Ok(Some(model));
            }
        }
        Ok(None)
    }

    fn recall_weights(&self) -> RecallWeights {
        let set = self.settings().recall_weights;
        set.and_then(|weights| settings::recall_weights(&weights).ok())
            .unwrap_or_default()
    }

    /// The memories that fit what is said now, the best first.
    pub(in crate::engine) async fn recall_for_turn(
        &self,
        text: &str,
        previous: Vec<String>,
    ) -> Result<Vec<Quoted>> {
        let most = self.recalled_memories();
        if most == 0 {
            return Ok(Vec::new());
        }
        let now_ms = self.now_ms();
        let query = RecallQuery {
            text: text.to_owned(),
            previous,
            over: Over::Facts,
            limit: most as usize,
            now_ms,
            filter: store::Filter::default(),
        };
        let quoted = move |store: &Store, hit: recall::RecallHit| match hit.row.source {
            _ if hit.score < FITS => Ok(None),
            RowSource::Memory(id) => {
                convert::here(store.memory(id)).map(|memory| memory.map(|memory| quoted(&memory, now_ms)))
            }
            RowSource::Turn { .. } => Ok(None),
        };
        self.search_remembered(query, quoted)
            .await
            .map(|(found, _)| found)
    }

    /// What stood with earlier messages, as it reads now, without what is gone.
    pub(super) async fn quoted_again(
        &self,
        drew_on: Vec<(MessageId, Vec<MemoryId>)>,
    ) -> Result<HashMap<MessageId, Vec<String>>> {
        if drew_on.is_empty() {
            return Ok(HashMap::new());
        }
        let now_ms = self.now_ms();
        let quote = move |store: &mut Store| {
            let mut known = HashMap::new();
            let mut lines = HashMap::with_capacity(drew_on.len());
            for (message, ids) in drew_on {
                let mut with = Vec::with_capacity(ids.len());
                for id in ids {
                    let line = match known.entry(id) {
                        Entry::Occupied(line) => line.into_mut(),
                        Entry::Vacant(place) => {
                            let memory = convert::here(store.memory(id.into()))?;
                            place.insert(memory.map(|memory| quoted(&memory, now_ms).line))
                        }
                    };
                    with.extend(line.clone());
                }
                lines.insert(message, with);
            }
            Ok(lines)
        };
        self.inner.chats.store().run(quote).await
    }

    /// Notes that these memories stood before a model.
    pub(in crate::engine) async fn note_used(&self, ids: &[MemoryId]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<store::MemoryId> = ids.iter().map(|id| (*id).into()).collect();
        let now_ms = self.now_ms();
        self.inner
            .chats
            .store()
            .run(move |store| store.mark_used(&ids, now_ms))
            .await
    }
}

fn quoted(memory: &store::Memory, now_ms: i64) -> Quoted {
    Quoted {
        id: memory.id.into(),
        line: prompt::line(memory, now_ms),
    }
}

fn truncate(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_QUERY_CHARS) {
        text.truncate(end);
    }
}

/// A hit as faces see it; none for what is gone.
fn hit_view(store: &Store, hit: recall::RecallHit) -> std::result::Result<Option<RecallHit>, StoreError> {
    let score = hit.score;
    Ok(match hit.row.source {
        RowSource::Memory(id) => match convert::here(store.memory(id))? {
            Some(memory) => Some(RecallHit::Memory {
                score,
                memory: convert::memory(store, memory)?,
            }),
            None => None,
        },
        RowSource::Turn { chat, message } => {
            let (Some(said), Some(place)) = (
                convert::here(store.message(message))?,
                convert::here(store.chat(chat))?,
            ) else {
                return Ok(None);
            };
            let turn = RecalledTurn {
                message: message.into(),
                name: said.metadata["turn"].as_str().map(str::to_owned),
                chat: chat.into(),
                chat_title: place.title,
                role: chats::role(said.role),
                speaker: hit.row.speaker,
                at_ms: said.created_at_ms,
                text: said.text,
            };
            Some(RecallHit::Turn { score, turn })
        }
    })
}
