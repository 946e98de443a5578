//! The engine thread: takes requests, gives them slots, and computes for each in turn.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};

use super::generation::{Generation, Machine, cancelled_in_queue};
use super::job::{Down, Job};
use super::request::GenerateEvent;
use super::slots::{Cache, choose};
use crate::decoder::Decoder;
use crate::tokenizer::Tokenizer;

/// Everything the engine thread owns. Dropping it fails whatever is still running or waiting.
pub(super) struct Engine {
    decoder: Box<dyn Decoder>,
    tokenizer: Tokenizer,
    window: usize,
    slice: usize,
    inbox: Receiver<Job>,
    queue: VecDeque<Job>,
    /// At most one request per slot; the next to compute stands first.
    active: VecDeque<Generation>,
    caches: Vec<Cache>,
    uses: u64,
}

impl Engine {
    pub(super) fn new(
        decoder: Box<dyn Decoder>,
        tokenizer: Tokenizer,
        window: usize,
        slice: usize,
        inbox: Receiver<Job>,
    ) -> Self {
        let caches = vec![Cache::default(); decoder.slot_count()];
        Self {
            decoder,
            tokenizer,
            window,
            slice,
            inbox,
            queue: VecDeque::new(),
            active: VecDeque::new(),
            caches,
            uses: 0,
        }
    }

    /// Serves until the last handle is gone, or until a defect ends it.
    pub(super) fn run(mut self, down: &Down) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let reason = match outcome {
            Ok(()) => "it was unloaded".to_owned(),
            Err(panic) => {
                let message = panic
                    .downcast_ref::<&str>()
                    .map(ToString::to_string)
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                tracing::error!(message, "the engine thread panicked");
                format!("the engine thread panicked: {message}")
            }
        };
        // Before `self` is dropped: the requests in it report this reason.
        let _ = down.set(reason);
    }

    fn serve(&mut self) {
        loop {
            if self.active.is_empty() && self.queue.is_empty() {
                match self.inbox.recv() {
                    Ok(job) => self.enqueue(job),
                    Err(_) => return,
                }
            }
            loop {
                match self.inbox.try_recv() {
                    Ok(job) => self.enqueue(job),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.drop_cancelled();
            self.admit();
            self.advance();
        }
    }

    fn enqueue(&mut self, mut job: Job) {
        match &job.plan {
            Ok(_) => self.queue.push_back(job),
            Err(error) => job.outlet.finish(GenerateEvent::Failed(error.clone())),
        }
    }

    /// Ends waiting requests whose ticket is gone.
    fn drop_cancelled(&mut self) {
        self.queue.retain_mut(|job| {
            let cancelled = job.outlet.is_cancelled();
            if cancelled {
                let tokens = job.plan.as_ref().map_or(0, |plan| plan.request.tokens.len());
                let completion = cancelled_in_queue(tokens, job.submitted.elapsed());
                job.outlet.finish(GenerateEvent::Done(completion));
            }
            !cancelled
        });
    }

    /// Gives free slots to waiting requests, in the order they came.
    fn admit(&mut self) {
        while let Some(Ok(plan)) = self.queue.front().map(|job| &job.plan) {
            let Some(choice) = choose(&self.caches, &plan.request.tokens, plan.request.session) else {
                break;
            };
            let session = plan.request.session;
            let Some(Job {
                outlet,
                plan: Ok(plan),
                submitted,
                ..
            }) = self.queue.pop_front()
            else {
                break;
            };
            self.uses += 1;
            let cache = &mut self.caches[choice.slot];
            cache.tokens.truncate(choice.reused);
            cache.session = session;
            cache.used = self.uses;
            cache.busy = true;
            self.decoder.truncate(choice.slot, choice.reused);
            self.active
                .push_back(Generation::new(outlet, plan, submitted, choice));
        }
        for (position, job) in self.queue.iter_mut().enumerate() {
            if job.reported != Some(position) {
                job.reported = Some(position);
                job.outlet.send(GenerateEvent::Queued { position });
            }
        }
    }

    /// One step of the request whose turn it is.
    fn advance(&mut self) {
        let Some(generation) = self.active.front_mut() else {
            return;
        };
        let mut machine = Machine {
            decoder: &mut *self.decoder,
            tokenizer: &self.tokenizer,
            window: self.window,
            slice: self.slice,
        };
        let cache = &mut self.caches[generation.slot];
        if generation.advance(&mut machine, cache) {
            cache.busy = false;
            self.active.pop_front();
        } else {
            self.active.rotate_left(1);
        }
    }
}
