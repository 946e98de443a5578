//! The engine: one per profile, owner of its database and models.

mod active;
mod chats;
mod conversations;
mod convert;
mod generate;
mod incognito;
mod memory;
mod models;
mod outbox;
mod prepare;
mod profile;
mod restore;
mod store_thread;
mod sync;
mod turn;
mod unlock;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hearth_store::Protection;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use crate::error::EngineError;
use crate::host::ModelHost;
use crate::latency::LatencyLog;
use crate::models::{Machine, ModelStore, Profile, ProfileChoice, Task};
use crate::options::EngineOptions;
use crate::settings;
use crate::types::{
    DatabaseStatus, EngineEvent, MachineStatus, Settings, SettingsChange, Status, Timings, Usage,
};
use active::ActiveReplies;
pub use chats::{ImportFormat, ImportSource};
use conversations::Conversations;
pub use hearth_store::ImportReport;
use memory::Idle;
pub use memory::MemoryFormat;
#[cfg(test)]
pub(crate) use memory::{follows, settle};
use store_thread::StoreThread;
#[cfg(feature = "testing")]
pub use sync::testing;

type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Changes that a slow watcher may lag behind before it misses some.
const WATCH_QUEUE: usize = 256;
/// How often models that nobody uses are looked for.
const IDLE_CHECK: Duration = Duration::from_secs(10);

/// A handle to an open engine; clones share it. The engine ends with [`Engine::stop`].
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    options: EngineOptions,
    home: PathBuf,
    chats: Conversations,
    store_thread: Mutex<Option<JoinHandle<()>>>,
    protection: Mutex<Protection>,
    models: ModelStore,
    host: ModelHost,
    machine: Machine,
    settings: RwLock<Settings>,
    active: ActiveReplies,
    idle: Arc<Idle>,
    sync: sync::Sync,
    latency: Mutex<LatencyLog>,
    changes: broadcast::Sender<EngineEvent>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    /// Work on the profile's files that must not be cut short.
    upkeep: TaskTracker,
    opened: Instant,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("home", &self.inner.home)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens or makes the profile in `options.home` and takes its lock, until the engine is stopped. Models are loaded
    /// when first needed. Must be called within a Tokio runtime of several threads.
    ///
    /// Errors: [`EngineError::ProfileInUse`], [`EngineError::Locked`], [`EngineError::WrongKey`],
    /// [`EngineError::NewerSchema`], [`EngineError::Corrupt`], [`EngineError::Io`]; nothing is changed on error.
    pub async fn open(options: EngineOptions) -> Result<Engine> {
        make_home(&options.home)?;
        let home = options
            .home
            .canonicalize()
            .map_err(|source| io_error(&options.home, source))?;
        let protection = Arc::new(Mutex::new(None));
        let (store, thread) = StoreThread::start({
            let (home, unlock, protection) = (home.clone(), options.unlock.clone(), Arc::clone(&protection));
            move || {
                restore::recover_restore_locked(&home)?;
                let (store, opened_with) = unlock::open_or_create(&home, &unlock)?;
                *lock(&protection) = Some(opened_with);
                Ok(store)
            }
        })
        .await?;
        let stored = store.run(|store| store.get_setting(settings::STORE_KEY)).await?;
        let machine = tokio::task::spawn_blocking(Machine::read)
            .await
            .map_err(|_| EngineError::Internal("reading the machine's facts panicked".into()))?;
        let protection = lock(&protection).take();
        let inner = Inner {
            home,
            chats: Conversations::new(store),
            store_thread: Mutex::new(Some(thread)),
            protection: Mutex::new(protection.ok_or_else(|| EngineError::Internal("no protection".into()))?),
            models: ModelStore::new(&options.models_dir, options.model_sources.clone()),
            host: ModelHost::new(Arc::clone(&options.loader)),
            machine,
            settings: RwLock::new(settings::from_stored(stored)),
            active: ActiveReplies::default(),
            idle: Arc::default(),
            sync: sync::Sync::default(),
            latency: Mutex::default(),
            changes: broadcast::channel(WATCH_QUEUE).0,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            upkeep: TaskTracker::new(),
            opened: Instant::now(),
            options,
        };
        let engine = Engine {
            inner: Arc::new(inner),
        };
        tracing::info!(pid = std::process::id(), "engine open");
        tokio::spawn(unload_idle_models(
            Arc::downgrade(&engine.inner),
            engine.inner.stopping.clone(),
        ));
        if let Some(pause) = engine.inner.options.idle_pause {
            let inner = Arc::downgrade(&engine.inner);
            tokio::spawn(memory::run_idle(inner, pause, engine.inner.stopping.clone()));
        }
        engine.start_sync().await;
        Ok(engine)
    }

    /// The profile's folder.
    pub fn home(&self) -> &Path {
        &self.inner.home
    }

    /// What changes from now on.
    pub fn watch(&self) -> broadcast::Receiver<EngineEvent> {
        self.inner.changes.subscribe()
    }

    /// Asks the engine to end; [`Engine::stopping`] tells whoever serves it, who then calls [`Engine::stop`].
    pub fn request_stop(&self) {
        if !self.inner.stopping.is_cancelled() {
            self.tell(EngineEvent::Stopping);
        }
        self.inner.stopping.cancel();
    }

    /// Completes when the engine was asked to end.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.inner.stopping.clone().cancelled_owned()
    }

    /// Whether anything is being answered, embedded or pulled.
    pub fn is_working(&self) -> bool {
        !self.inner.tasks.is_empty()
    }

    /// Ends the engine: replies being written are stopped and kept, models are unloaded, the database is closed and the
    /// profile's lock given back. All other methods fail with [`EngineError::Stopped`] afterwards.
    pub async fn stop(&self) {
        self.request_stop();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.upkeep.close();
        self.inner.upkeep.wait().await;
        self.inner.host.unload_all().await;
        let _ = self.close_store().await;
        let thread = lock(&self.inner.store_thread).take();
        // The thread itself ends with the last handle; its database is closed already.
        drop(thread);
        tracing::info!("engine ended");
    }

    /// Closes the database, after everything that was asked of it.
    async fn close_store(&self) -> Result<()> {
        self.inner
            .chats
            .store()
            .run_on_place(|place| {
                *place = None;
                Ok(())
            })
            .await
    }

    /// Runs work to its end on a task of its own. Dropping the future, `cancel` and the engine's end all cancel the
    /// token that the work gets.
    async fn work<T, F>(
        &self,
        cancel: CancellationToken,
        work: impl FnOnce(Engine, CancellationToken) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.inner.stopping.is_cancelled() {
            return Err(EngineError::Stopped);
        }
        let token = cancel.child_token();
        let _cancel_on_drop = token.clone().drop_guard();
        let stopping = self.inner.stopping.clone();
        let work = work(self.clone(), token.clone());
        let task = self.inner.tasks.spawn(async move {
            let cancel_at_the_end = async {
                stopping.cancelled().await;
                token.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                result = work => result,
                () = cancel_at_the_end => Err(EngineError::Stopped),
            }
        });
        task.await
            .unwrap_or_else(|_| Err(EngineError::Internal("the work panicked".into())))
    }

    /// What the engine says about itself.
    pub async fn status(&self) -> Result<Status> {
        let inner = &self.inner;
        let statistics = inner.chats.store().run(|store| store.statistics()).await?;
        let machine = tokio::task::spawn_blocking(Machine::read)
            .await
            .unwrap_or_else(|_| inner.machine.clone());
        let profile = self.profile();
        let ready = inner.models.ready_models()?;
        let chat_model = self.wanted_chat_model(None).ok().map(|wanted| wanted.id);
        let protection = lock(&inner.protection).kind();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_ms: u64::try_from(inner.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            home: inner.home.to_string_lossy().into_owned(),
            loaded_models: inner.host.loaded(),
            ready_models: ready.into_iter().map(|installed| installed.manifest.id).collect(),
            chat_model,
            machine: MachineStatus {
                processors: machine.processors as u32,
                memory_bytes: machine.memory_bytes,
                free_memory_bytes: machine.available_bytes,
                memory_limit_bytes: self.memory_limit_bytes(),
                profile: convert::profile(profile.profile),
                profile_overridden: profile.overridden,
            },
            database: DatabaseStatus {
                protection: unlock::from_store(protection),
                schema_version: statistics.schema_version,
                size_bytes: statistics.database_bytes + statistics.log_bytes,
                chats: statistics.chats,
                messages: statistics.messages,
                incognito_chats: inner.chats.memory().len() as u64,
            },
            active_replies: inner.active.len() as u32,
            latency: lock(&inner.latency).report(),
        })
    }

    /// The settings as set.
    pub fn settings(&self) -> Settings {
        self.inner
            .settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes settings. Errors: [`EngineError::InvalidRequest`] for values out of range, [`EngineError::ModelMissing`]
    /// for models that are not here; nothing is changed then.
    pub async fn change_settings(&self, change: SettingsChange) -> Result<Settings> {
        let wanted = [
            (&change.chat_model, Task::Chat, "answers"),
            (&change.embedding_model, Task::Embedding, "embeds"),
        ];
        for (id, task, does) in wanted {
            let Some(id) = id else { continue };
            if self.inner.models.ready(id)?.manifest.task != task {
                return Err(EngineError::InvalidRequest(format!(
                    "{id} is not a model that {does}"
                )));
            }
        }
        let new = settings::apply(&self.settings(), change)?;
        let value = serde_json::to_value(&new).map_err(|error| EngineError::Internal(error.to_string()))?;
        self.inner
            .chats
            .store()
            .run(move |store| store.set_setting(settings::STORE_KEY, &value))
            .await?;
        self.inner
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&new);
        self.tell(EngineEvent::SettingsChanged);
        Ok(new)
    }

    fn profile(&self) -> ProfileChoice {
        let wanted = self.inner.options.model_profile.or(self.settings().model_profile);
        Profile::choose(&self.inner.machine, wanted.map(convert::wanted_profile))
    }

    /// Most bytes that a model may take; `None` where the machine does not tell what it has.
    fn memory_limit_bytes(&self) -> Option<u64> {
        let machine = Some(self.inner.machine.memory_bytes / 4 * 3).filter(|&bytes| bytes > 0);
        self.inner.options.memory_limit_bytes.or(machine)
    }

    fn now_ms(&self) -> i64 {
        self.inner.options.clock.now_ms()
    }

    fn tell(&self, event: EngineEvent) {
        // Nobody watching is fine.
        let _ = self.inner.changes.send(event);
    }

    fn record(&self, timings: Timings, usage: Usage) {
        tracing::info!(
            prompt_tokens = usage.prompt_tokens,
            reused_tokens = usage.reused_tokens,
            completion_tokens = usage.completion_tokens,
            queue_ms = timings.queue_ms,
            first_token_ms = timings.first_token_ms,
            decode_ms = timings.decode_ms,
            "answered"
        );
        lock(&self.inner.latency).record(timings, usage);
    }
}

async fn unload_idle_models(inner: std::sync::Weak<Inner>, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(IDLE_CHECK) => {}
            () = stopping.cancelled() => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        let engine = Engine { inner };
        let limit = engine
            .settings()
            .unload_after_seconds
            .filter(|seconds| *seconds > 0);
        if let Some(seconds) = limit
            && engine
                .inner
                .host
                .unload_idle(Duration::from_secs(seconds.into()))
                .await
        {
            engine.tell(EngineEvent::ModelsChanged);
        }
    }
}

/// Makes the home folder, for its owner only.
fn make_home(home: &Path) -> Result<()> {
    if home.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(home).map_err(|source| io_error(home, source))
}

fn io_error(path: &Path, source: std::io::Error) -> EngineError {
    if source.kind() == std::io::ErrorKind::StorageFull {
        return EngineError::NoSpace;
    }
    EngineError::Io {
        path: path.to_owned(),
        source,
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
