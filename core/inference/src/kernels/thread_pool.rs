//! Threads that stay awake between the small steps of a forward pass.
//!
//! A decode step is a couple of hundred parallel steps of a few microseconds. Workers therefore wait for the next
//! one spinning, and go to sleep only when none comes for a while. Work is cut into chunks that threads take one by
//! one, so that a thread that lost its core delays nobody for longer than a chunk.
#![allow(
    unsafe_code,
    reason = "lends a closure's borrow to other threads for the length of one call"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Rounds of waiting before a worker goes to sleep, about half a millisecond.
const SPINS_BEFORE_SLEEP: u32 = 8_000;
/// Rounds of waiting before a waiting thread offers its core to others.
const SPINS_BEFORE_YIELD: u32 = 2_000;

type Step<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A fixed set of threads that run one step at a time.
///
/// The thread that calls [`ThreadPool::run`] takes part, as worker 0. Dropping the pool ends its threads.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts steps; a change tells workers that `step` holds a new one.
    epoch: AtomicU64,
    /// The step that workers may join; taken back as soon as no chunk is left.
    step: Mutex<Option<Job>>,
    next_chunk: AtomicUsize,
    /// Workers that have joined the step and not finished it.
    busy: AtomicUsize,
    sleepers: AtomicUsize,
    wake: Condvar,
    panicked: AtomicBool,
    closing: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    step: Step<'static>,
    chunks: usize,
}

impl ThreadPool {
    /// Starts `threads - 1` threads, at least none.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            step: Mutex::new(None),
            next_chunk: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            wake: Condvar::new(),
            panicked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let workers = (1..threads)
            .filter_map(|index| {
                let shared = Arc::clone(&shared);
                // A thread that can't be started is work for the others.
                std::thread::Builder::new()
                    .name(format!("inference-{index}"))
                    .spawn(move || shared.work(index))
                    .ok()
            })
            .collect();
        Self { shared, workers }
    }

    /// How many threads take part in a step, the caller's among them. Worker numbers are below this.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `step(worker, chunk)` for every chunk below `chunks`, on all threads, and returns when all are done.
    ///
    /// Two calls with the same worker number never overlap. Needs exclusive use: steps can't be nested.
    ///
    /// # Panics
    /// When `step` panicked on any thread.
    pub fn run(&mut self, chunks: usize, step: impl Fn(usize, usize) + Sync) {
        if chunks == 0 {
            return;
        }
        if chunks == 1 || self.workers.is_empty() {
            for chunk in 0..chunks {
                step(0, chunk);
            }
            return;
        }
        let shared = &*self.shared;
        let step: Step<'_> = &step;
        // SAFETY: a worker uses the reference only between joining, which is impossible once the step has been taken
        // back, and leaving `busy`, which is awaited below before this function returns, also when `step` panics here.
        let step = unsafe { std::mem::transmute::<Step<'_>, Step<'static>>(step) };
        shared.next_chunk.store(0, Ordering::Relaxed);
        {
            let mut slot = shared.step.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some(Job { step, chunks });
            shared.epoch.fetch_add(1, Ordering::SeqCst);
        }
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            shared.wake.notify_all();
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| shared.take_chunks(0, Job { step, chunks })));
        if outcome.is_err() {
            // Let the others stop early; what they did is lost anyway.
            shared.next_chunk.store(chunks, Ordering::Relaxed);
        }
        // A worker that hasn't come by now, asleep or without a core, isn't waited for.
        *shared.step.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut waiting = Waiting::default();
        while shared.busy.load(Ordering::Acquire) > 0 {
            waiting.pause();
        }
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        assert!(
            !shared.panicked.swap(false, Ordering::Relaxed),
            "a step panicked on another thread"
        );
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        {
            let _slot = self.shared.step.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        }
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.await_epoch(seen);
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            let job = {
                let slot = self.step.lock().unwrap_or_else(PoisonError::into_inner);
                seen = self.epoch.load(Ordering::SeqCst);
                if slot.is_some() {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                }
                *slot
            };
            let Some(job) = job else { continue };
            if catch_unwind(AssertUnwindSafe(|| self.take_chunks(index, job))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
                self.next_chunk.store(job.chunks, Ordering::Relaxed);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    fn take_chunks(&self, worker: usize, job: Job) {
        loop {
            let chunk = self.next_chunk.fetch_add(1, Ordering::Relaxed);
            if chunk >= job.chunks {
                return;
            }
            (job.step)(worker, chunk);
        }
    }

    /// Returns when the epoch isn't `seen` any more.
    fn await_epoch(&self, seen: u64) {
        let mut waiting = Waiting::default();
        while waiting.rounds < SPINS_BEFORE_SLEEP {
            if self.epoch.load(Ordering::Acquire) != seen {
                return;
            }
            waiting.pause();
        }
        let mut slot = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.epoch.load(Ordering::SeqCst) == seen {
            slot = self.wake.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Waiting {
    rounds: u32,
}

impl Waiting {
    fn pause(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds.is_multiple_of(SPINS_BEFORE_YIELD) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once() {
        for threads in [1, 2, 5] {
            let mut pool = ThreadPool::new(threads);
            for chunks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(chunks, |worker, chunk| {
                    assert!(worker < threads);
                    counts[chunk].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn steps_follow_each_other_without_overlap() {
        let mut pool = ThreadPool::new(3);
        let mut values = vec![0u64; 64];
        for step in 0..300 {
            let cells: Vec<AtomicU64> = values.iter().map(|&value| AtomicU64::new(value)).collect();
            pool.run(cells.len(), |_, chunk| {
                cells[chunk].fetch_add(step, Ordering::Relaxed);
            });
            values = cells.into_iter().map(AtomicU64::into_inner).collect();
        }
        assert!(values.iter().all(|&value| value == 300 * 299 / 2));
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let mut pool = ThreadPool::new(2);
        for _ in 0..3 {
            while pool.shared.sleepers.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let sum = AtomicUsize::new(0);
            pool.run(100, |_, chunk| {
                sum.fetch_add(chunk, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let mut pool = ThreadPool::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(10, |_, chunk| assert_ne!(chunk, 5, "expected in this test"));
        }));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, |_, _| {
            sum.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 10);
    }
}
