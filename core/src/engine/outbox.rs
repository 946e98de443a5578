//! Events on their way to a caller that may be slow: pieces of text that wait are joined, the writing never waits.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::types::{ChatEvent, CompleteEvent};

/// What an answer tells while it is written, whoever asked for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    Loading { model: String, fraction: f32 },
    Queued { position: u32 },
    Prefill { done: u32, total: u32, reused: u32 },
    Reasoning { text: String },
    Token { text: String },
}

impl From<Progress> for ChatEvent {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Loading { model, fraction } => Self::Loading { model, fraction },
            Progress::Queued { position } => Self::Queued { position },
            Progress::Prefill { done, total, reused } => Self::Prefill { done, total, reused },
            Progress::Reasoning { text } => Self::Reasoning { text },
            Progress::Token { text } => Self::Token { text },
        }
    }
}

impl From<Progress> for CompleteEvent {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Loading { model, fraction } => Self::Loading { model, fraction },
            Progress::Queued { position } => Self::Queued { position },
            Progress::Prefill { done, total, reused } => Self::Prefill { done, total, reused },
            Progress::Reasoning { text } => Self::Reasoning { text },
            Progress::Token { text } => Self::Token { text },
        }
    }
}

/// Events that wait for the caller.
pub(super) struct Outbox<E> {
    waiting: VecDeque<Waiting<E>>,
    events: mpsc::Sender<E>,
    closed: bool,
}

enum Waiting<E> {
    Progress(Progress),
    Event(E),
}

impl<E: From<Progress>> Outbox<E> {
    pub(super) fn new(events: mpsc::Sender<E>) -> Self {
        Self {
            waiting: VecDeque::new(),
            events,
            closed: false,
        }
    }

    /// Adds an event that stays as it is.
    pub(super) fn push_event(&mut self, event: E) {
        self.waiting.push_back(Waiting::Event(event));
    }

    /// Adds an event; one that continues or replaces the last one that waits is joined with it.
    pub(super) fn push(&mut self, progress: Progress) {
        if let Some(Waiting::Progress(last)) = self.waiting.back_mut() {
            match (last, &progress) {
                (Progress::Token { text }, Progress::Token { text: more })
                | (Progress::Reasoning { text }, Progress::Reasoning { text: more }) => {
                    return text.push_str(more);
                }
                (last @ Progress::Prefill { .. }, Progress::Prefill { .. })
                | (last @ Progress::Queued { .. }, Progress::Queued { .. }) => return *last = progress,
                _ => {}
            }
        }
        self.waiting.push_back(Waiting::Progress(progress));
    }

    /// Sends one event as soon as the caller takes it; never returns when there is none. Safe to cancel.
    pub(super) async fn send_next(&mut self) {
        if self.waiting.is_empty() || self.closed {
            return std::future::pending().await;
        }
        let Ok(permit) = self.events.reserve().await else {
            self.closed = true;
            return;
        };
        match self.waiting.pop_front() {
            Some(Waiting::Progress(progress)) => permit.send(progress.into()),
            Some(Waiting::Event(event)) => permit.send(event),
            None => {}
        }
    }

    /// Sends all that waits, unless the caller is gone.
    pub(super) async fn send_all(&mut self) {
        while !self.waiting.is_empty() && !self.closed {
            self.send_next().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn text_that_waits_is_joined_and_nothing_is_lost() {
        let (events, mut received) = mpsc::channel::<ChatEvent>(1);
        let mut outbox = Outbox::new(events);
        let token = |text: &str| Progress::Token { text: text.into() };
        outbox.push(Progress::Prefill {
            done: 1,
            total: 4,
            reused: 0,
        });
        outbox.push(Progress::Prefill {
            done: 4,
            total: 4,
            reused: 0,
        });
        outbox.push(Progress::Reasoning { text: "hm".into() });
        for piece in ["a", "b", "c"] {
            outbox.push(token(piece));
        }
        let read = async {
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(received.recv().await.unwrap());
            }
            seen
        };
        let ((), seen) = tokio::join!(outbox.send_all(), read);
        assert_eq!(
            seen,
            [
                ChatEvent::Prefill {
                    done: 4,
                    total: 4,
                    reused: 0
                },
                ChatEvent::Reasoning { text: "hm".into() },
                ChatEvent::Token { text: "abc".into() }
            ]
        );
        drop(received);
        outbox.push(token("d"));
        outbox.send_all().await;
    }
}
