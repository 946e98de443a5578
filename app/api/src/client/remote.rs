//! Calls to an engine behind a local socket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use interprocess::local_socket::tokio::Stream;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{RawCall, RawUpdate, Transport};
use crate::error::{ApiError, ErrorCode};
use crate::wire::{self, Incoming, MAX_REQUEST_BYTES, Outgoing, Read};

/// Longest line taken from the engine, bytes. Only a defect makes longer ones.
const MAX_ANSWER_BYTES: usize = 1 << 30;

type Updates = mpsc::UnboundedSender<RawUpdate>;

pub(super) struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    next_id: AtomicU64,
    lines: mpsc::UnboundedSender<String>,
    /// Calls that wait for updates; none once the connection broke.
    waiting: Arc<Mutex<Option<HashMap<u64, Updates>>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Remote {
    pub(super) fn new(stream: Stream) -> Self {
        let stream = Arc::new(stream);
        let (lines, to_write) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let reader = tokio::spawn(read(Arc::clone(&stream), Arc::clone(&waiting)));
        let writer = tokio::spawn(write(stream, to_write));
        Self {
            shared: Arc::new(Shared {
                next_id: AtomicU64::new(1),
                lines,
                waiting,
                tasks: [reader, writer],
            }),
        }
    }
}

impl Transport for Remote {
    fn start(&self, method: &'static str, params: Value) -> RawCall {
        let (updates, from_engine) = mpsc::unbounded_channel();
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let request = Incoming {
            id: Some(id),
            method: Some(method.into()),
            params: Some(params),
            cancel: None,
        };
        let line = wire::line(&request);
        if line.len() > MAX_REQUEST_BYTES {
            let message = format!(
                "the request has {} bytes, {MAX_REQUEST_BYTES} are allowed",
                line.len()
            );
            let _ = updates.send(RawUpdate::Done(Err(ApiError::new(ErrorCode::TooLarge, message))));
        } else if let Some(waiting) = lock(&self.shared.waiting).as_mut() {
            waiting.insert(id, updates);
            let _ = self.shared.lines.send(line);
        }
        // Without the connection the sender is dropped here, which the call understands as the end.
        let shared = Arc::clone(&self.shared);
        RawCall {
            updates: from_engine,
            cancel: Box::new(move || {
                let cancel = Incoming {
                    id: None,
                    method: None,
                    params: None,
                    cancel: Some(id),
                };
                if lock(&shared.waiting)
                    .as_ref()
                    .is_some_and(|waiting| waiting.contains_key(&id))
                {
                    let _ = shared.lines.send(wire::line(&cancel));
                }
            }),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The reader ends at once. The writer ends when its queue is empty, so that a last cancel is still sent.
        self.tasks[0].abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(stream: Arc<Stream>, waiting: Arc<Mutex<Option<HashMap<u64, Updates>>>>) {
    let mut reader = BufReader::new(&*stream);
    let mut buffer = Vec::new();
    while let Ok(Read::Line) = wire::read_line(&mut reader, MAX_ANSWER_BYTES, &mut buffer).await {
        let Ok(Outgoing {
            id: Some(id),
            event,
            result,
            error,
        }) = serde_json::from_slice(&buffer)
        else {
            continue;
        };
        let mut guard = lock(&waiting);
        let Some(waiting) = guard.as_mut() else { return };
        match (event, result, error) {
            (Some(event), None, None) => {
                if let Some(updates) = waiting.get(&id) {
                    let _ = updates.send(RawUpdate::Event(event));
                }
            }
            (_, result, error) => {
                if let Some(updates) = waiting.remove(&id) {
                    let done = match (result, error) {
                        (Some(result), _) => Ok(result),
                        (None, Some(error)) => Err(error),
                        (None, None) => Err(super::not_understood()),
                    };
                    let _ = updates.send(RawUpdate::Done(done));
                }
            }
        }
    }
    *lock(&waiting) = None;
}

async fn write(stream: Arc<Stream>, mut lines: mpsc::UnboundedReceiver<String>) {
    let mut send = &*stream;
    while let Some(line) = lines.recv().await {
        if send.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = send.flush().await;
}
