//! Metrics and health, over plain HTTP on an address of their own.
//!
//! `/metrics` in Prometheus' text form, `/healthz` while the process works, `/readyz` while devices are served. Nothing
//! here names an account, a device or an address.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use hearth_transport::{host, listen};

/// What is asked of the running server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// The relay answers.
    pub alive: bool,
    /// It also takes new content and new connections.
    pub ready: bool,
    /// Accounts.
    pub accounts: u64,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Free bytes of its disk.
    pub free_bytes: u64,
}

/// Asks the server.
pub(crate) type Ask = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Health> + Send>> + Send + Sync>;

/// What is counted elsewhere.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) listener: Arc<listen::Counters>,
    pub(crate) host: Arc<host::Counters>,
    pub(crate) ask: Ask,
}

/// Serves until the listener's task is dropped.
pub(crate) async fn serve(listener: TcpListener, sources: Sources) {
    let ask = Arc::clone(&sources.ask);
    let healthz = move || async move { answer((ask)().await.alive) };
    let ask = Arc::clone(&sources.ask);
    let readyz = move || async move { answer((ask)().await.ready) };
    let metrics = move || async move {
        let text = render(&sources, (sources.ask)().await);
        (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
    };
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics ended");
    }
}

fn answer(good: bool) -> impl IntoResponse {
    if good {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not now\n")
    }
}

fn render(sources: &Sources, health: Health) -> String {
    let mut out = String::new();
    let mut line = |name: &str, kind: &str, help: &str, value: u64| {
        // Writing to a string doesn't fail.
        let _ = write!(
            out,
            "# HELP hearth_sync_{name} {help}\n# TYPE hearth_sync_{name} {kind}\nhearth_sync_{name} {value}\n"
        );
    };
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let now = |gauge: &AtomicUsize| gauge.load(Ordering::Relaxed) as u64;
    let (listener, host) = (&sources.listener, &sources.host);
    line(
        "up",
        "gauge",
        "1 while devices are served.",
        u64::from(health.ready),
    );
    line("accounts", "gauge", "Accounts on this server.", health.accounts);
    line(
        "sessions",
        "gauge",
        "Sessions that are open.",
        now(&host.sessions),
    );
    line(
        "connections",
        "gauge",
        "Connections that are open.",
        now(&listener.open),
    );
    line(
        "handshakes",
        "gauge",
        "Handshakes under way.",
        now(&listener.handshakes),
    );
    line(
        "database_bytes",
        "gauge",
        "Bytes of the database and its log.",
        health.database_bytes,
    );
    line(
        "disk_free_bytes",
        "gauge",
        "Free bytes of the disk it is on.",
        health.free_bytes,
    );
    line(
        "connections_accepted_total",
        "counter",
        "Handshakes that succeeded.",
        count(&listener.accepted),
    );
    line(
        "connections_failed_total",
        "counter",
        "Handshakes that failed.",
        count(&listener.failed),
    );
    line(
        "connections_retried_total",
        "counter",
        "Callers asked to prove their address.",
        count(&listener.retried),
    );
    line(
        "connections_refused_total",
        "counter",
        "Callers turned away.",
        count(&listener.refused),
    );
    line(
        "connections_ignored_total",
        "counter",
        "Callers left without an answer.",
        count(&listener.ignored),
    );
    line(
        "welcomed_total",
        "counter",
        "Sessions that were welcomed.",
        count(&host.welcomed),
    );
    line(
        "frames_in_total",
        "counter",
        "Frames received.",
        count(&host.frames_in),
    );
    line(
        "batches_in_total",
        "counter",
        "Batches received.",
        count(&host.batches_in),
    );
    line(
        "bytes_in_total",
        "counter",
        "Bytes of frames and batches received.",
        count(&host.bytes_in),
    );
    line(
        "frames_out_total",
        "counter",
        "Frames sent.",
        count(&host.frames_out),
    );
    line(
        "batches_out_total",
        "counter",
        "Batches sent.",
        count(&host.batches_out),
    );
    line(
        "bytes_out_total",
        "counter",
        "Bytes of frames and batches sent.",
        count(&host.bytes_out),
    );
    line(
        "groups_total",
        "counter",
        "Groups of inputs that were made durable together.",
        count(&host.groups),
    );
    line(
        "inputs_total",
        "counter",
        "Inputs in these groups.",
        count(&host.inputs),
    );
    line(
        "busy_microseconds_total",
        "counter",
        "Time the relay has worked.",
        count(&host.busy_us),
    );
    line(
        "store_failures_total",
        "counter",
        "Times that the store failed.",
        count(&host.failures),
    );
    out
}
