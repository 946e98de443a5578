//! Accepting connections, with limits on how many there are and how long they may dawdle.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::accept::AcceptFailures;

use super::engine::{Connect, Engine};
use super::error::HttpError;
use super::guard::AllowedHosts;
use super::routes::{App, router};

/// How many, how large, how long.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections open at once; further ones get 503 and are closed.
    pub connections: usize,
    /// Requests being answered at once, waiting ones included; further ones get 503 with `Retry-After`.
    pub requests: usize,
    /// Largest request body in bytes.
    pub body_bytes: usize,
    /// Time for a request's head to arrive, also the longest a connection may idle.
    pub head_patience: Duration,
    /// Time for a request's body to arrive.
    pub body_patience: Duration,
    /// Time in which a client must read on while an answer is streamed.
    pub write_patience: Duration,
    /// Time that answers being written get to end when the server stops.
    pub stop_patience: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            requests: 128,
            body_bytes: 8 << 20,
            head_patience: Duration::from_secs(15),
            body_patience: Duration::from_secs(30),
            write_patience: Duration::from_mins(1),
            stop_patience: Duration::from_secs(5),
        }
    }
}

/// How the server is to behave.
#[derive(Clone)]
pub struct HttpOptions {
    /// The bearer token that every request but `/health` must carry.
    pub token: String,
    /// Names under which the server may be addressed.
    pub hosts: AllowedHosts,
    /// Limits.
    pub limits: HttpLimits,
}

/// Serves until `stop` is cancelled, then lets answers being written end for a while.
///
/// A connection that cannot be accepted is no reason to end: the next one may be.
pub async fn serve_http(
    listener: TcpListener,
    connect: Connect,
    options: HttpOptions,
    stop: CancellationToken,
) {
    let limits = options.limits.clone();
    let places = Arc::new(Semaphore::new(limits.connections));
    let router = router(Arc::new(App::new(Engine::new(connect), options)));
    let mut failures = AcceptFailures::default();
    let (tasks, abort) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                failures.wait_out(&error).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let connection = Connection {
                    router: router.clone(),
                    limits: limits.clone(),
                    _place: place,
                };
                tasks.spawn(connection.run(stream, stop.clone(), abort.clone()));
            }
            Err(_) => drop(tokio::spawn(turn_away(stream))),
        }
    }
    tasks.close();
    if tokio::time::timeout(limits.stop_patience, tasks.wait())
        .await
        .is_err()
    {
        abort.cancel();
        tasks.wait().await;
    }
}

struct Connection {
    router: Router,
    limits: HttpLimits,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, stop: CancellationToken, abort: CancellationToken) {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let router = self.router.clone();
            async move {
                router
                    .oneshot(request.map(Body::new))
                    .await
                    .map_err(|never: Infallible| never)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_patience)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = abort.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// Tells a client beyond the limit so, without reading what it sends.
async fn turn_away(mut stream: TcpStream) {
    let body = HttpError::busy("Too many connections are open. Try again in a few seconds.")
        .body()
        .to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let telling = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0_u8; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), telling).await;
}
