//! Work for idle moments: vectors that are missing, memories to draw from chats, the biography.
//!
//! It begins when nothing has been answered for some seconds, and gives way at once when a person asks for something:
//! what the model writes for it is cancelled and its job goes back into the store's queue, which survives a restart.
//! What has no job of its own (a missing vector) is found by looking.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use hearth_store::{Index, Job, RowKey, Store, StoreError, TextToEmbed};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::{Engine, Inner, Result};
use super::{biography, mine};
use crate::error::EngineError;
use crate::types::MemoryWorked;

/// Texts that are embedded at a time; also the most whose vectors a kill loses.
const BATCH: usize = 16;
/// A job that failed so often is given up.
const MAX_ATTEMPTS: u32 = 5;
/// After the first failure a job waits so long, then twice as long, and so on.
const FIRST_RETRY_MS: i64 = 60_000;
/// No job waits longer.
const LONGEST_WAIT_MS: i64 = FIRST_RETRY_MS << MAX_ATTEMPTS;
/// How often the runner looks for work that nobody told it of, as a biography that has become old.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Who works, and for whom it gives way.
#[derive(Debug, Default)]
pub(in crate::engine) struct Idle {
    wake: Notify,
    quiet: Notify,
    people: AtomicU32,
    last: Mutex<Option<Instant>>,
    current: Mutex<CancellationToken>,
    working: tokio::sync::Mutex<()>,
}

/// A person waits for something: idle work stands still until this is dropped.
#[derive(Debug)]
pub(in crate::engine) struct PersonWaits(Arc<Idle>);

impl Idle {
    /// Lets idle work give way until the result is dropped.
    pub(in crate::engine) fn person_waits(self: &Arc<Self>) -> PersonWaits {
        self.people.fetch_add(1, Ordering::SeqCst);
        self.give_way();
        PersonWaits(Arc::clone(self))
    }

    /// Interrupts the present piece of work.
    pub(in crate::engine) fn give_way(&self) {
        lock(&self.current).cancel();
    }

    /// There may be something to do.
    pub(in crate::engine) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A token that the next person who waits cancels; cancelled already while one waits.
    fn begin(&self, cancel: &CancellationToken) -> CancellationToken {
        let token = cancel.child_token();
        *lock(&self.current) = token.clone();
        if self.people.load(Ordering::SeqCst) > 0 {
            token.cancel();
        }
        token
    }

    /// Completes when the present piece of work has ended; none begins while the result is held.
    pub(in crate::engine) async fn until_stopped(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.give_way();
        self.working.lock().await
    }

    /// Completes when nobody waits for anything.
    async fn until_quiet(&self) {
        loop {
            let notified = self.quiet.notified();
            if self.people.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// How long until nobody has waited for `pause`; `None` when that is so.
    fn still_busy(&self, pause: Duration) -> Option<Duration> {
        if self.people.load(Ordering::SeqCst) > 0 {
            return Some(pause);
        }
        let since = (*lock(&self.last))?.elapsed();
        pause.checked_sub(since).filter(|rest| !rest.is_zero())
    }
}

impl Drop for PersonWaits {
    fn drop(&mut self) {
        *lock(&self.0.last) = Some(Instant::now());
        if self.0.people.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.quiet.notify_waiters();
            self.0.wake();
        }
    }
}

/// Works whenever nothing was asked for `pause`, until the engine ends.
pub(in crate::engine) async fn run(inner: Weak<Inner>, pause: Duration, stopping: CancellationToken) {
    let Some(idle) = inner.upgrade().map(|inner| Arc::clone(&inner.idle)) else {
        return;
    };
    *lock(&idle.last) = Some(Instant::now());
    idle.wake();
    loop {
        tokio::select! {
            () = idle.wake.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopping.cancelled() => return,
        }
        while let Some(rest) = idle.still_busy(pause) {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stopping.cancelled() => return,
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        let engine = Engine { inner };
        match engine.has_idle_work().await {
            Ok(true) => {}
            Ok(false) | Err(EngineError::Stopped) => continue,
            Err(error) => {
                tracing::warn!(code = error.code(), "idle work can't be looked for");
                continue;
            }
        }
        let work = |engine: Engine, cancel: CancellationToken| async move {
            engine
                .work_while_quiet(&cancel, &mut MemoryWorked::default())
                .await
        };
        match engine.work(stopping.clone(), work).await {
            Ok(_) | Err(EngineError::Cancelled | EngineError::Stopped) => {}
            Err(error) => tracing::warn!(code = error.code(), "idle work failed"),
        }
    }
}

impl Engine {
    /// Does all idle work now, giving way to whoever asks for something meanwhile, and says what was done. Nothing is
    /// done while memory is paused. Jobs that failed are tried again later, not now.
    pub async fn work_on_memory(&self, cancel: CancellationToken) -> Result<MemoryWorked> {
        self.work(cancel, |engine, cancel| async move {
            let mut worked = MemoryWorked::default();
            while !engine.work_while_quiet(&cancel, &mut worked).await? {
                tokio::select! {
                    () = engine.inner.idle.until_quiet() => {}
                    () = cancel.cancelled() => return Err(EngineError::Cancelled),
                }
            }
            worked.jobs = engine.jobs_waiting().await?;
            Ok(worked)
        })
        .await
    }

    /// Pieces of work in the queue.
    pub(super) async fn jobs_waiting(&self) -> Result<u64> {
        let jobs = |store: &mut Store| Ok(store.jobs()?.len() as u64);
        self.inner.chats.store().run(jobs).await
    }

    /// Works until nothing is left to do (true) or somebody waits (false).
    async fn work_while_quiet(&self, cancel: &CancellationToken, worked: &mut MemoryWorked) -> Result<bool> {
        let _only = self.inner.idle.working.lock().await;
        let token = self.inner.idle.begin(cancel);
        let store = self.inner.chats.store();
        if store.run(|store| store.memory_paused()).await? {
            return Ok(true);
        }
        let before = worked.clone();
        let done = self.work_until(&token, worked).await;
        if *worked != before {
            self.tell_memory(None);
        }
        match done {
            Ok(()) => Ok(true),
            Err(EngineError::Cancelled) if !cancel.is_cancelled() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is anything to do, without doing it.
    async fn has_idle_work(&self) -> Result<bool> {
        let (wanted, now_ms) = (self.wanted_embedder(), self.now_ms());
        self.inner
            .chats
            .store()
            .run(move |store| {
                if store.memory_paused()? {
                    return Ok(false);
                }
                let due = |job: &Job| {
                    let wait_ms = job.not_before_ms.saturating_sub(now_ms);
                    !job.running && !(1..=LONGEST_WAIT_MS).contains(&wait_ms)
                };
                if store.jobs()?.iter().any(due) || biography::is_due(store, now_ms)? {
                    return Ok(true);
                }
                let Some(wanted) = wanted else { return Ok(false) };
                for index in [Index::Memories, Index::Turns] {
                    if !store.rows_without_vector(index, &wanted.id, 1)?.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
            .await
    }

    async fn work_until(&self, token: &CancellationToken, worked: &mut MemoryWorked) -> Result<()> {
        let now_ms = self.now_ms();
        let mend = move |store: &mut Store| after_a_jump_of_the_clock(store, now_ms);
        self.inner.chats.store().run(mend).await?;
        if let Err(error) = self.compare_arrived().await {
            tracing::warn!(code = error.code(), "what arrived can't be compared");
            worked.failed += 1;
        }
        let mut embeds = true;
        loop {
            check(token)?;
            if embeds {
                match self.embed_what_lacks_a_vector(token, worked).await {
                    Err(error) if !matches!(error, EngineError::Cancelled | EngineError::Stopped) => {
                        // Words alone are compared then; chats are mined all the same.
                        tracing::warn!(code = error.code(), "texts can't be embedded");
                        worked.failed += 1;
                        embeds = false;
                    }
                    embedded => embedded?,
                }
            }
            let now_ms = self.now_ms();
            let job = self
                .inner
                .chats
                .store()
                .run(move |store| store.claim_next(&[mine::JOB], now_ms))
                .await?;
            let Some(job) = job else { break };
            self.run_job(job, token, worked).await?;
        }
        if self.rebuild_biography(token).await? {
            worked.biography = true;
        }
        let cap = self.memory_cap();
        let evict = move |store: &mut Store| store.evict_memories(cap).map(drop);
        self.inner.chats.store().run(evict).await
    }

    async fn run_job(&self, job: Job, token: &CancellationToken, worked: &mut MemoryWorked) -> Result<()> {
        let result = match job.kind.as_str() {
            mine::JOB => self.mine(&job, token, worked).await,
            _ => Ok(()),
        };
        let now_ms = self.now_ms();
        let (end, result) = match result {
            Ok(()) => (End::Done, Ok(())),
            Err(error @ (EngineError::Cancelled | EngineError::Stopped)) => {
                (End::Interrupted(now_ms), Err(error))
            }
            Err(error) => {
                tracing::warn!(
                    code = error.code(),
                    attempts = job.attempts,
                    "a job of memory failed"
                );
                worked.failed += 1;
                let wait = FIRST_RETRY_MS << job.attempts.saturating_sub(1).min(16);
                let end = if job.attempts < MAX_ATTEMPTS {
                    End::Again(now_ms.saturating_add(wait))
                } else {
                    End::GivenUp
                };
                (end, Ok(()))
            }
        };
        let settle = move |store: &mut Store| end.settle(store, &job);
        self.inner.chats.store().run(settle).await?;
        result
    }

    /// Gives every memory and turn the vector that it lacks; a model that was changed for another finds all of them
    /// lacking. When none lacks one any more, vectors of other models go.
    async fn embed_what_lacks_a_vector(
        &self,
        token: &CancellationToken,
        worked: &mut MemoryWorked,
    ) -> Result<()> {
        let Some(wanted) = self.wanted_embedder() else {
            return Ok(());
        };
        for index in [Index::Memories, Index::Turns] {
            // What the model finds no meaning in would be found lacking for ever.
            let mut without = HashSet::<RowKey>::new();
            loop {
                check(token)?;
                let (id, most) = (wanted.id.clone(), BATCH + without.len());
                let rows = self
                    .inner
                    .chats
                    .store()
                    .run(move |store| store.rows_without_vector(index, &id, most))
                    .await?;
                let rows: Vec<TextToEmbed> = rows
                    .into_iter()
                    .filter(|row| !without.contains(&row.key))
                    .take(BATCH)
                    .collect();
                if rows.is_empty() {
                    break;
                }
                let Some(model) = self.embedder().await else {
                    return Ok(());
                };
                let texts = rows.iter().map(|row| row.text.clone()).collect();
                let vectors = model.embed(texts).await?;
                let mut embedded = Vec::with_capacity(rows.len());
                for (row, vector) in rows.into_iter().zip(vectors) {
                    match vector {
                        Some(vector) => embedded.push((row, vector)),
                        None => drop(without.insert(row.key)),
                    }
                }
                let id = model.id;
                let keys: Vec<RowKey> = embedded.iter().map(|(row, _)| row.key).collect();
                let stored = self
                    .inner
                    .chats
                    .store()
                    .run(move |store| store.set_vectors(index, &id, &embedded))
                    .await?;
                worked.embedded += stored as u64;
                if stored == 0 {
                    // Changed or gone meanwhile; the next look tells. Never look at the same for ever.
                    without.extend(keys);
                }
            }
        }
        self.inner
            .chats
            .store()
            .run(move |store| {
                for model in store.embedding_models()? {
                    if model.id != wanted.id {
                        store.remove_vectors(&model.id)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Builds the biography anew when it is stale or a month old.
    async fn rebuild_biography(&self, token: &CancellationToken) -> Result<bool> {
        check(token)?;
        let (now_ms, bytes) = (self.now_ms(), self.biography_bytes());
        self.inner
            .chats
            .store()
            .run(move |store| {
                if !biography::is_due(store, now_ms)? {
                    return Ok(false);
                }
                biography::rebuild(store, bytes, now_ms)?;
                Ok(true)
            })
            .await
    }
}

/// Jobs that are to wait for longer than any of ours does were put off by a clock that was wrong.
fn after_a_jump_of_the_clock(store: &mut Store, now_ms: i64) -> std::result::Result<(), StoreError> {
    for job in store.jobs()? {
        if !job.running && job.not_before_ms > now_ms.saturating_add(LONGEST_WAIT_MS) {
            store.fail(&job, now_ms)?;
        }
    }
    Ok(())
}

/// How a job ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    Again(i64),
    /// It gave way, which is no failure.
    Interrupted(i64),
    GivenUp,
}

impl End {
    fn settle(self, store: &mut Store, job: &Job) -> std::result::Result<(), StoreError> {
        match self {
            Self::Done => store.complete(job),
            Self::Again(at_ms) => store.fail(job, at_ms),
            Self::Interrupted(at_ms) => store.give_back(job, at_ms),
            Self::GivenUp => store.remove_job(job.number).map(drop),
        }
    }
}

fn check(token: &CancellationToken) -> Result<()> {
    if token.is_cancelled() {
        return Err(EngineError::Cancelled);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
