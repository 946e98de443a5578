//! Serves an engine to other processes over a local socket.

mod connection;

use std::time::Duration;

use hearth_core::Engine;
use interprocess::local_socket::tokio::prelude::*;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::accept::AcceptFailures;
use crate::error::{ApiError, ErrorCode};
use crate::socket;
use crate::wire::MAX_REQUEST_BYTES;

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// End after so long without clients and work; absent means never.
    pub idle_exit: Option<Duration>,
    /// Longest line taken from a client, bytes.
    pub max_line_bytes: usize,
    /// Most clients at once; further ones wait to be accepted.
    pub max_clients: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            idle_exit: None,
            max_line_bytes: MAX_REQUEST_BYTES,
            max_clients: 256,
        }
    }
}

/// Serves `engine` on the socket of its home folder until the engine is told to stop, or is idle for too long; on
/// return the engine has ended and its profile can be opened by others. Other processes can attach as soon as `ready`
/// was called.
///
/// Errors: the socket cannot be made; the engine is as it was.
pub async fn serve_local(
    engine: Engine,
    options: ServeOptions,
    ready: impl FnOnce() + Send,
) -> Result<(), ApiError> {
    let home = engine.home().to_owned();
    let listener = socket::listen(&home).map_err(|error| {
        let path = socket::socket_path(&home);
        ApiError::new(
            ErrorCode::Io,
            format!("cannot listen on {}: {error}", path.display()),
        )
    })?;
    ready();
    let mut failures = AcceptFailures::default();
    let mut clients = JoinSet::new();
    let mut idle_since = Instant::now();
    loop {
        let idle_deadline = options
            .idle_exit
            .filter(|_| clients.is_empty())
            .map(|limit| idle_since + limit);
        tokio::select! {
            accepted = listener.accept(), if clients.len() < options.max_clients => match accepted {
                Ok(stream) => {
                    clients.spawn(connection::serve(stream, engine.clone(), options.max_line_bytes));
                }
                Err(error) => failures.wait_out(&error).await,
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => idle_since = Instant::now(),
            () = engine.stopping() => break,
            () = sleep_until(idle_deadline) => {
                if !engine.is_working() {
                    break;
                }
                idle_since = Instant::now();
            }
        }
    }
    engine.request_stop();
    drop(listener);
    socket::remove(&home);
    while clients.join_next().await.is_some() {}
    engine.stop().await;
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
