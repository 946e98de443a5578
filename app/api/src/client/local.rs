//! Calls to an engine in this process.

use hearth_core::Engine;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{RawCall, RawUpdate, Transport};
use crate::dispatch::{Request, dispatch};

pub(super) struct Local {
    engine: Engine,
}

impl Local {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Transport for Local {
    fn start(&self, method: &'static str, params: Value) -> RawCall {
        let (updates, from_call) = mpsc::unbounded_channel();
        let (events, mut from_engine) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let request = Request {
            engine: self.engine.clone(),
            params,
            events,
            cancel: cancel.clone(),
        };
        tokio::spawn(async move {
            let to_caller = updates.clone();
            let told = async move {
                while let Some(event) = from_engine.recv().await {
                    if to_caller.send(RawUpdate::Event(event)).is_err() {
                        break;
                    }
                }
            };
            let (result, ()) = tokio::join!(dispatch(request, method), told);
            let _ = updates.send(RawUpdate::Done(result));
        });
        RawCall {
            updates: from_call,
            cancel: Box::new(move || cancel.cancel()),
        }
    }
}
