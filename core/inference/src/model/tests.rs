//! The engine's behaviour, with a decoder that repeats what it was told, and on small random networks.

mod echo;
mod networks;
mod requests;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::decoder::Architecture;
use crate::gguf::GgmlType;
use crate::sampling::SamplingOptions;
use crate::testing::{self, tiny};

/// Longer than any step of a test takes, so that a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// A request's events, in order.
struct Events {
    receiver: Receiver<GenerateEvent>,
    ticket: Option<Ticket>,
}

impl Events {
    fn next(&self) -> GenerateEvent {
        self.receiver.recv_timeout(PATIENCE).expect("an event")
    }

    /// All events to the end; checks that there is exactly one last event and that it is the last.
    fn all(self) -> Vec<GenerateEvent> {
        let mut events = Vec::new();
        loop {
            let event = self.next();
            let last = matches!(event, GenerateEvent::Done(_) | GenerateEvent::Failed(_));
            events.push(event);
            if last {
                break;
            }
        }
        assert!(
            self.receiver.recv_timeout(PATIENCE).is_err(),
            "an event after the last"
        );
        events
    }

    fn last(self) -> Result<Completion, GenerateError> {
        match self.all().pop() {
            Some(GenerateEvent::Done(completion)) => Ok(completion),
            Some(GenerateEvent::Failed(error)) => Err(error),
            other => panic!("{other:?} is no end"),
        }
    }

    fn done(self) -> Completion {
        self.last().expect("the request to succeed")
    }
}

fn generate(model: &LanguageModel, request: GenerateRequest) -> Events {
    let (sender, receiver): (Sender<_>, _) = channel();
    let ticket = model.generate(
        request,
        Box::new(move |event| {
            let _ = sender.send(event);
        }),
    );
    Events {
        receiver,
        ticket: Some(ticket),
    }
}

fn greedy(tokens: Vec<u32>, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        sampling: SamplingOptions::greedy(),
        ..GenerateRequest::new(tokens, max_tokens)
    }
}
