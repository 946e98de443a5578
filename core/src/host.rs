//! Models in memory: at most one that answers and one that embeds, loaded when first needed.
//!
//! Whoever uses a model holds a lease; a model is replaced when its leases are back. Leases and replacements queue in
//! the order in which they were asked for, so that two chats with different models take turns.

pub mod native;
pub mod port;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::error::EngineError;
use crate::models::Machine;
use crate::types::{LoadedModel, ModelTask};
use port::{ChatModel, Embedder, LoadRequest, ModelLoader};

/// Which model to have in memory, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) request: LoadRequest,
}

struct Slot<M: ?Sized> {
    loaded: Arc<RwLock<Option<Loaded<M>>>>,
    /// What status says, readable while a model is loading.
    summary: Mutex<Option<LoadedModel>>,
    users: Arc<AtomicU32>,
    last_used: Mutex<Instant>,
    /// Whether a loaded model still works; one that does not is loaded again.
    works: fn(&M) -> bool,
    /// Held by whoever replaces the model.
    changing: tokio::sync::Mutex<()>,
}

struct Loaded<M: ?Sized> {
    wanted: Wanted,
    model: Arc<M>,
}

/// The right to use a model; it stays in memory until all leases are back.
pub(crate) struct Lease<M: ?Sized + 'static> {
    guard: OwnedRwLockReadGuard<Option<Loaded<M>>, Loaded<M>>,
    users: Arc<AtomicU32>,
}

impl<M: ?Sized> Lease<M> {
    pub(crate) fn model(&self) -> &Arc<M> {
        &self.guard.model
    }
}

impl<M: ?Sized> Drop for Lease<M> {
    fn drop(&mut self) {
        self.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<M: ?Sized + Send + Sync + 'static> Slot<M> {
    fn new(works: fn(&M) -> bool) -> Self {
        Self {
            works,
            loaded: Arc::new(RwLock::new(None)),
            summary: Mutex::new(None),
            users: Arc::new(AtomicU32::new(0)),
            last_used: Mutex::new(Instant::now()),
            changing: tokio::sync::Mutex::new(()),
        }
    }

    fn lease(&self, guard: OwnedRwLockReadGuard<Option<Loaded<M>>>, wanted: &Wanted) -> Option<Lease<M>> {
        let guard = OwnedRwLockReadGuard::try_map(guard, |loaded| {
            loaded
                .as_ref()
                .filter(|l| l.wanted == *wanted && (self.works)(&l.model))
        })
        .ok()?;
        self.users.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_used) = Instant::now();
        Some(Lease {
            guard,
            users: Arc::clone(&self.users),
        })
    }

    fn summary(&self) -> Option<LoadedModel> {
        let mut summary = lock(&self.summary).clone()?;
        summary.queue_length = self.users.load(Ordering::Relaxed);
        Some(summary)
    }

    /// A lease of the wanted model, which `load` gives when it is not there; `loading` is told when that begins.
    async fn obtain(
        self: &Arc<Self>,
        wanted: &Wanted,
        mut loading: impl FnMut(),
        check: impl Fn() -> Result<(), EngineError> + Clone + Send + 'static,
        load: impl Fn(&Wanted) -> Result<(Arc<M>, LoadedModel), EngineError> + Clone + Send + 'static,
    ) -> Result<Lease<M>, EngineError> {
        if let Some(lease) = self.lease(Arc::clone(&self.loaded).read_owned().await, wanted) {
            return Ok(lease);
        }
        loading();
        // One change at a time. Whoever finds the model there afterwards must not wait for the leases of others.
        let _change = self.changing.lock().await;
        loop {
            if let Some(lease) = self.lease(Arc::clone(&self.loaded).read_owned().await, wanted) {
                return Ok(lease);
            }
            Arc::clone(self)
                .replace(wanted.clone(), check.clone(), load.clone())
                .await?;
        }
    }

    /// Puts what `load` gives in the place of what is there. Once begun it ends, whoever stops waiting for it. Memory
    /// for two models may not be there, so the old one goes first and is loaded again when the new one fails.
    async fn replace(
        self: Arc<Self>,
        wanted: Wanted,
        check: impl FnOnce() -> Result<(), EngineError> + Send + 'static,
        load: impl Fn(&Wanted) -> Result<(Arc<M>, LoadedModel), EngineError> + Send + 'static,
    ) -> Result<(), EngineError> {
        let mut place = Arc::clone(&self.loaded).write_owned().await;
        let task = tokio::task::spawn_blocking(move || {
            // What surely fails leaves the old model where it is.
            check()?;
            *lock(&self.summary) = None;
            let old = place.take().map(|loaded| loaded.wanted);
            let mut put = |wanted: Wanted| {
                let began = Instant::now();
                let (model, summary) = load(&wanted)
                    .inspect_err(|error| tracing::warn!(model = wanted.id, %error, "model not loaded"))?;
                let (ms, memory_bytes) = (began.elapsed().as_millis() as u64, summary.memory_bytes);
                tracing::info!(
                    model = wanted.id,
                    ms,
                    memory_bytes,
                    device = summary.device,
                    "model loaded"
                );
                *lock(&self.summary) = Some(summary);
                *place = Some(Loaded { wanted, model });
                Ok(())
            };
            let result = put(wanted);
            if let (Err(_), Some(old)) = (&result, old) {
                // What matters to the caller is why the new one failed.
                let _ = put(old);
            }
            result
        });
        task.await
            .unwrap_or_else(|_| Err(EngineError::Internal("loading a model panicked".into())))
    }

    async fn unload(self: Arc<Self>) {
        let mut place = Arc::clone(&self.loaded).write_owned().await;
        let _ = tokio::task::spawn_blocking(move || {
            *lock(&self.summary) = None;
            *place = None;
        })
        .await;
    }

    fn is_idle_since(&self, limit: Duration) -> bool {
        self.users.load(Ordering::Relaxed) == 0
            && lock(&self.summary).is_some()
            && lock(&self.last_used).elapsed() >= limit
    }
}

/// The models in memory.
pub(crate) struct ModelHost {
    loader: Arc<dyn ModelLoader>,
    chat: Arc<Slot<dyn ChatModel>>,
    embedder: Arc<Slot<dyn Embedder>>,
}

impl ModelHost {
    pub(crate) fn new(loader: Arc<dyn ModelLoader>) -> Self {
        Self {
            loader,
            chat: Arc::new(Slot::<dyn ChatModel>::new(|model| !model.is_down())),
            embedder: Arc::new(Slot::<dyn Embedder>::new(|_| true)),
        }
    }

    /// The model that answers, loaded if need be; `loading` is told when that begins.
    pub(crate) async fn chat(
        &self,
        wanted: &Wanted,
        loading: impl FnMut(),
    ) -> Result<Lease<dyn ChatModel>, EngineError> {
        let check = {
            let (loader, slot) = (Arc::clone(&self.loader), Arc::clone(&self.chat));
            let Wanted { id, path, request } = wanted.clone();
            move || {
                let replaced = slot.summary().map_or(0, |model| model.memory_bytes);
                loader.check_chat(&id, &path, within_free_memory(request, replaced))
            }
        };
        let loader = Arc::clone(&self.loader);
        let load = move |wanted: &Wanted| {
            let model = loader.load_chat(&wanted.id, &wanted.path, wanted.request)?;
            let summary = LoadedModel {
                id: wanted.id.clone(),
                task: ModelTask::Chat,
                device: model.device(),
                memory_bytes: model.memory_bytes(),
                context_length: model.window(),
                queue_length: 0,
            };
            Ok((model, summary))
        };
        self.chat.obtain(wanted, loading, check, load).await
    }

    /// The model that embeds, loaded if need be.
    pub(crate) async fn embedder(&self, wanted: &Wanted) -> Result<Lease<dyn Embedder>, EngineError> {
        let loader = Arc::clone(&self.loader);
        let load = move |wanted: &Wanted| {
            let model = loader.load_embedder(&wanted.id, &wanted.path)?;
            let summary = LoadedModel {
                id: wanted.id.clone(),
                task: ModelTask::Embedding,
                device: "cpu".into(),
                memory_bytes: model.memory_bytes(),
                context_length: model.window(),
                queue_length: 0,
            };
            Ok((model, summary))
        };
        self.embedder.obtain(wanted, || {}, || Ok(()), load).await
    }

    /// What is in memory now.
    pub(crate) fn loaded(&self) -> Vec<LoadedModel> {
        self.chat
            .summary()
            .into_iter()
            .chain(self.embedder.summary())
            .collect()
    }

    /// Waits for the model's leases and frees its memory; says whether it was loaded.
    pub(crate) async fn unload(&self, id: &str) -> bool {
        if self.chat.summary().is_some_and(|model| model.id == id) {
            Arc::clone(&self.chat).unload().await;
            return true;
        }
        if self.embedder.summary().is_some_and(|model| model.id == id) {
            Arc::clone(&self.embedder).unload().await;
            return true;
        }
        false
    }

    /// Frees everything.
    pub(crate) async fn unload_all(&self) {
        Arc::clone(&self.chat).unload().await;
        Arc::clone(&self.embedder).unload().await;
    }

    /// Frees models that nobody used for `limit`; says whether there was one.
    pub(crate) async fn unload_idle(&self, limit: Duration) -> bool {
        let (chat, embedder) = (self.chat.is_idle_since(limit), self.embedder.is_idle_since(limit));
        if chat {
            Arc::clone(&self.chat).unload().await;
        }
        if embedder {
            Arc::clone(&self.embedder).unload().await;
        }
        chat || embedder
    }
}

/// The request with no more memory than is free once `replaced_bytes` of the model in its place are given back. Unknown
/// figures limit nothing.
fn within_free_memory(request: LoadRequest, replaced_bytes: u64) -> LoadRequest {
    let free = match Machine::read().available_bytes {
        0 => None,
        bytes => Some(bytes.saturating_add(replaced_bytes)),
    };
    LoadRequest {
        memory_limit_bytes: request.memory_limit_bytes.into_iter().chain(free).min(),
        ..request
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
