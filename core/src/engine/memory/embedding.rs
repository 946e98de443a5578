//! Vectors for what is remembered and for what is asked, by the model that embeds, where there is one.

use std::sync::Arc;

use super::super::{Engine, Result};
use crate::error::EngineError;
use crate::host::port::{Embedder, LoadRequest};
use crate::host::{Lease, Wanted};
use crate::memory::compare::Judgement;
use crate::models::Task;
use crate::types::EngineEvent;

/// Longest text that is handed to a model, in characters: far more than any window holds.
const MAX_CHARS: usize = 8192;

/// A model in memory, with its identifier.
pub(super) struct EmbeddingModel {
    pub(super) id: String,
    lease: Lease<dyn Embedder>,
}

impl Engine {
    /// The model that embeds; none when none is here.
    pub(super) fn wanted_embedder(&self) -> Option<Wanted> {
        let settings = self.settings();
        let models = &self.inner.models;
        let preferred = settings.embedding_model.as_deref();
        let installed = models
            .resolve_default(Task::Embedding, self.profile().profile, preferred)
            .ok()
            .filter(|installed| installed.manifest.task == Task::Embedding)?;
        let id = installed.manifest.id;
        Some(Wanted {
            path: models.folder_of(&id).ok()?,
            id,
            request: LoadRequest::default(),
        })
    }

    /// Takes it into memory; none when there is none, or when it can't be used: then words alone are compared.
    pub(super) async fn embedder(&self) -> Option<EmbeddingModel> {
        self.embedder_of(&self.wanted_embedder()?).await
    }

    /// The model of this name, when it is here still.
    pub(super) fn embedder_called(&self, id: &str) -> Option<Wanted> {
        let models = &self.inner.models;
        let installed = models.ready(id).ok()?;
        (installed.manifest.task == Task::Embedding).then_some(())?;
        Some(Wanted {
            path: models.folder_of(id).ok()?,
            id: id.to_owned(),
            request: LoadRequest::default(),
        })
    }

    /// Takes a model into memory; none when it can't be used.
    pub(super) async fn embedder_of(&self, wanted: &Wanted) -> Option<EmbeddingModel> {
        let loaded = self.inner.host.loaded();
        match self.inner.host.embedder(wanted).await {
            Ok(lease) => {
                if !loaded.iter().any(|model| model.id == wanted.id) {
                    self.tell(EngineEvent::ModelsChanged);
                }
                Some(EmbeddingModel {
                    id: wanted.id.clone(),
                    lease,
                })
            }
            Err(error) => {
                tracing::warn!(code = error.code(), "the model that embeds can't be used");
                None
            }
        }
    }
}

impl EmbeddingModel {
    /// The vector of one text; none when it has no meaning to the model, or the model fails, which is logged.
    pub(super) async fn embed_one(&self, text: String) -> Option<Vec<f32>> {
        self.embed_or_none(vec![text]).await.pop().flatten()
    }

    /// A vector for each text; none for any when the model fails, which is logged: then words alone are compared.
    pub(super) async fn embed_or_none(&self, texts: Vec<String>) -> Vec<Option<Vec<f32>>> {
        let count = texts.len();
        self.embed(texts).await.unwrap_or_else(|error| {
            tracing::warn!(code = error.code(), "the model that embeds failed");
            vec![None; count]
        })
    }

    /// A vector for each text, `None` for one that has no meaning to the model. Texts longer than its window are cut.
    pub(super) async fn embed(&self, texts: Vec<String>) -> Result<Vec<Option<Vec<f32>>>> {
        let model = Arc::clone(self.lease.model());
        let work = move || {
            let texts: Vec<&str> = texts.iter().map(|text| beginning(text, MAX_CHARS)).collect();
            if let Ok((vectors, _)) = model.embed(&texts) {
                return Ok(vectors.into_iter().map(usable).collect());
            }
            // One of them is too long, or cannot be embedded at all: find out which.
            texts.into_iter().map(|text| one(&*model, text)).collect()
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(EngineError::Internal("the embedding model panicked".into())))
    }
}

impl EmbeddingModel {
    /// What each pair of an older and a later statement is to each other; none where the model can't tell: then the rules
    /// are alone.
    pub(super) async fn judge(&self, pairs: Vec<(String, String)>) -> Option<Vec<Judgement>> {
        let model = Arc::clone(self.lease.model());
        let work = move || {
            let pairs: Vec<(&str, &str)> = pairs
                .iter()
                .map(|(older, later)| (beginning(older, MAX_CHARS), beginning(later, MAX_CHARS)))
                .collect();
            model.judge(&pairs)
        };
        let judged = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(EngineError::Internal("the judge of pairs panicked".into())));
        judged.unwrap_or_else(|error| {
            tracing::warn!(code = error.code(), "pairs of facts can't be judged");
            None
        })
    }
}

/// The vector of as much of a text as the model's window holds.
fn one(model: &dyn Embedder, text: &str) -> Result<Option<Vec<f32>>> {
    let mut text = text;
    loop {
        match model.embed(&[text]) {
            Ok((vectors, _)) => return Ok(vectors.into_iter().next().and_then(usable)),
            Err(EngineError::ContextTooLarge {
                needed_tokens,
                window_tokens,
                ..
            }) => {
                let chars = text.chars().count();
                let fitting = chars * window_tokens as usize / needed_tokens.max(1) as usize;
                let shorter = beginning(text, fitting.min(chars.saturating_sub(1)));
                if shorter.is_empty() {
                    return Ok(None);
                }
                text = shorter;
            }
            Err(error) => return Err(error),
        }
    }
}

fn beginning(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// A vector with a direction.
fn usable(vector: Vec<f32>) -> Option<Vec<f32>> {
    let length: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (length.is_finite() && length > 1e-20).then_some(vector)
}
