//! One request on its way through the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::request::{GenerateError, GenerateEvent, GenerateRequest};
use super::{EventSink, Ticket};
use crate::constraint::Constraint;
use crate::sampling::Sampler;

/// Why the engine thread ended; empty while it runs.
pub(super) type Down = Arc<OnceLock<String>>;

/// A request as the engine thread gets it.
pub(super) struct Job {
    pub(super) outlet: Outlet,
    /// What to do, or why it can't be done: reported on the engine thread like everything else.
    pub(super) plan: Result<Plan, GenerateError>,
    pub(super) submitted: Instant,
    /// The queue position that was last reported.
    pub(super) reported: Option<usize>,
}

/// A request that was found sound.
pub(super) struct Plan {
    pub(super) request: GenerateRequest,
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Constraint>,
    /// The prompt ends inside a thinking block.
    pub(super) thinking: bool,
}

/// Where a request's events go. Whatever becomes of the request, its sink gets exactly one last event: when
/// this is dropped without one, the model is down.
pub(super) struct Outlet {
    sink: Option<EventSink>,
    cancelled: Arc<AtomicBool>,
    down: Down,
}

impl Outlet {
    pub(super) fn new(sink: EventSink, down: Down) -> (Self, Ticket) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let ticket = Ticket::new(Arc::clone(&cancelled));
        let outlet = Self {
            sink: Some(sink),
            cancelled,
            down,
        };
        (outlet, ticket)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Delivers an event. A sink that panics is dropped and its request cancelled.
    pub(super) fn send(&mut self, event: GenerateEvent) {
        let Some(sink) = &mut self.sink else { return };
        if catch_unwind(AssertUnwindSafe(|| sink(event))).is_err() {
            tracing::error!("a listener for generated text panicked; its request is cancelled");
            self.sink = None;
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Delivers the last event.
    pub(super) fn finish(&mut self, event: GenerateEvent) {
        self.send(event);
        self.sink = None;
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.sink.is_some() {
            let reason = self.down.get().map_or("it was unloaded", String::as_str);
            self.finish(GenerateEvent::Failed(GenerateError::ModelDown(reason.to_owned())));
        }
    }
}
