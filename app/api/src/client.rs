//! Calls methods of an engine, wherever it runs.

mod local;
mod remote;

use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use hearth_core::Engine;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::error::{ApiError, ErrorCode};
use crate::methods::Method;
use crate::socket;

/// How long the winner of a race to start an engine may take until it listens.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);
const ATTACH_PAUSE: Duration = Duration::from_millis(20);

/// Something a running call tells.
#[derive(Debug)]
pub enum Update<M: Method> {
    /// An event.
    Event(M::Event),
    /// The end: nothing follows.
    Done(Result<M::Output, ApiError>),
}

/// What a transport delivers for one call.
pub(crate) enum RawUpdate {
    /// An event.
    Event(Value),
    /// The end.
    Done(Result<Value, ApiError>),
}

/// One call as a transport sees it.
pub(crate) struct RawCall {
    pub(crate) updates: mpsc::UnboundedReceiver<RawUpdate>,
    pub(crate) cancel: Box<dyn Fn() + Send + Sync>,
}

/// A way to reach an engine.
pub(crate) trait Transport: Send + Sync {
    /// Begins a call; never blocks.
    fn start(&self, method: &'static str, params: Value) -> RawCall;
}

/// Calls methods of an engine in this process or behind a local socket. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Attaches to the engine that owns the profile in `home`; `None` when none is listening.
    pub async fn attach(home: &Path) -> Option<Client> {
        let stream = socket::connect(home).await?;
        Some(Client {
            transport: Arc::new(remote::Remote::new(stream)),
        })
    }

    /// Calls `engine` directly.
    pub fn in_process(engine: Engine) -> Client {
        Client {
            transport: Arc::new(local::Local::new(engine)),
        }
    }

    /// Attaches to a running engine, or else opens one with `open`. When another process opens the same profile at
    /// the same moment and wins, attaches to the winner's as soon as it listens, or fails with
    /// [`ErrorCode::ProfileInUse`] after ten seconds.
    pub async fn attach_or<F>(home: &Path, open: impl FnOnce() -> F) -> Result<Client, ApiError>
    where
        F: Future<Output = Result<Client, ApiError>>,
    {
        if let Some(client) = Self::attach(home).await {
            return Ok(client);
        }
        match open().await {
            Err(error) if error.code == ErrorCode::ProfileInUse => {
                Self::attach_within(home, ATTACH_LIMIT).await.ok_or(error)
            }
            other => other,
        }
    }

    /// Attaches to an engine that is starting; `None` when none listens within `limit`.
    pub async fn attach_within(home: &Path, limit: Duration) -> Option<Client> {
        let attempts = async {
            loop {
                if let Some(client) = Self::attach(home).await {
                    return client;
                }
                tokio::time::sleep(ATTACH_PAUSE).await;
            }
        };
        tokio::time::timeout(limit, attempts).await.ok()
    }

    /// Calls a method and waits for its output; events are dropped. Dropping the future cancels the call.
    pub async fn call<M: Method>(&self, params: M::Params) -> Result<M::Output, ApiError> {
        self.stream::<M>(params).output().await
    }

    /// Calls a method and tells its events. Dropping the call cancels it.
    pub fn stream<M: Method>(&self, params: M::Params) -> Call<M> {
        match serde_json::to_value(params) {
            Ok(params) => Call {
                raw: Some(self.transport.start(M::NAME, params)),
                method: PhantomData,
            },
            Err(_) => Call {
                raw: None,
                method: PhantomData,
            },
        }
    }
}

/// A running call: a stream of events that ends with [`Update::Done`]. Dropping it cancels the call.
pub struct Call<M: Method> {
    raw: Option<RawCall>,
    method: PhantomData<fn() -> M>,
}

impl<M: Method> Call<M> {
    /// Asks for the call to end early and goes on listening: an answer that is being written ends with what there is,
    /// most other calls with [`ErrorCode::Cancelled`].
    pub fn cancel(&self) {
        if let Some(raw) = &self.raw {
            (raw.cancel)();
        }
    }

    /// The next event or the end; `None` after the end.
    pub async fn next(&mut self) -> Option<Update<M>> {
        std::future::poll_fn(|context| self.poll_update(context)).await
    }

    /// Waits for the output, dropping events.
    pub async fn output(mut self) -> Result<M::Output, ApiError> {
        while let Some(update) = self.next().await {
            if let Update::Done(result) = update {
                return result;
            }
        }
        Err(disconnected())
    }

    fn poll_update(&mut self, context: &mut Context<'_>) -> Poll<Option<Update<M>>> {
        let Some(raw) = self.raw.as_mut() else {
            return Poll::Ready(None);
        };
        let update = match std::task::ready!(raw.updates.poll_recv(context)) {
            Some(RawUpdate::Event(value)) => match serde_json::from_value(value) {
                Ok(event) => Update::Event(event),
                Err(_) => Update::Done(Err(not_understood())),
            },
            Some(RawUpdate::Done(Ok(value))) => match serde_json::from_value(value) {
                Ok(output) => Update::Done(Ok(output)),
                Err(_) => Update::Done(Err(not_understood())),
            },
            Some(RawUpdate::Done(Err(error))) => Update::Done(Err(error)),
            None => Update::Done(Err(disconnected())),
        };
        if matches!(update, Update::Done(_)) {
            self.raw = None;
        }
        Poll::Ready(Some(update))
    }
}

impl<M: Method> Drop for Call<M> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<M: Method> Stream for Call<M> {
    type Item = Update<M>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Update<M>>> {
        self.poll_update(context)
    }
}

pub(crate) fn disconnected() -> ApiError {
    ApiError::new(
        ErrorCode::Disconnected,
        "the engine ended or the connection to it broke",
    )
    .hint("try again; the engine is started when needed")
}

fn not_understood() -> ApiError {
    ApiError::new(ErrorCode::Internal, "the engine's answer was not understood")
        .hint("are the engine and this program of the same version?")
}
