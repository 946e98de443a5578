//! Serves an engine to other processes over a local socket.

use std::time::Duration;

use hearth_core::Engine;

use crate::error::{ApiError, ErrorCode};

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
            max_line_bytes: 16 << 20,
            max_clients: 256,
        }
    }
}

/// Serves `engine` on the socket of its home folder until the engine stops or is idle for too long. Other processes
/// can attach as soon as `ready` was called.
///
/// Errors: the socket cannot be made.
#[allow(clippy::unused_async)]
pub async fn serve_local(
    engine: Engine,
    options: ServeOptions,
    ready: impl FnOnce() + Send,
) -> Result<(), ApiError> {
    let _ = (engine, options, ready);
    Err(ApiError::new(ErrorCode::Unsupported, "not built yet"))
}
