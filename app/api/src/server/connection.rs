//! One client of the local socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_core::Engine;
use interprocess::local_socket::tokio::Stream;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dispatch::{Request, dispatch};
use crate::error::{ApiError, ErrorCode};
use crate::wire::{self, Incoming, Outgoing, Read};

/// Lines that may wait for a slow client before the work waits for it.
const LINE_QUEUE: usize = 32;
/// Calls of one client at once.
const MAX_CALLS: usize = 256;
/// How long a client that does not read may hold up the engine's end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves one client until it goes away or the engine stops. A client that goes away cancels its calls.
pub(super) async fn serve(stream: Stream, engine: Engine, max_line_bytes: usize) {
    let stream = Arc::new(stream);
    let mut reader = BufReader::new(&*stream);
    let (lines, to_write) = mpsc::channel::<String>(LINE_QUEUE);
    let mut writer = tokio::spawn(write(Arc::clone(&stream), to_write));
    let gone = CancellationToken::new();
    let mut calls = Calls {
        engine: engine.clone(),
        lines,
        gone: gone.clone(),
        tokens: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            // The buffer keeps a line that is read in part: `read_line` is cancelled only when the loop ends.
            read = read_next(&mut reader, max_line_bytes, &mut buffer, &mut calls) => match read {
                Ok(Read::Line) => calls.take(&buffer).await,
                Ok(Read::TooLong) => calls.refuse(None, too_long(max_line_bytes)).await,
                Ok(Read::End) | Err(_) => {
                    gone.cancel();
                    break;
                }
            },
            () = engine.stopping() => break,
            _ = &mut writer => {
                gone.cancel();
                calls.finish().await;
                return;
            }
        }
    }
    if gone.is_cancelled() {
        writer.abort();
        calls.finish().await;
        return;
    }
    // The engine stops: let what is running end and be told.
    let all_told = async {
        calls.finish().await;
        let _ = (&mut writer).await;
    };
    if tokio::time::timeout(FAREWELL, all_told).await.is_err() {
        writer.abort();
    }
}

/// Reads a line while letting finished calls go.
async fn read_next(
    reader: &mut (impl tokio::io::AsyncBufRead + Unpin),
    max_line_bytes: usize,
    buffer: &mut Vec<u8>,
    calls: &mut Calls,
) -> std::io::Result<Read> {
    let read = wire::read_line(reader, max_line_bytes, buffer);
    tokio::pin!(read);
    loop {
        tokio::select! {
            read = &mut read => return read,
            Some(done) = calls.tasks.join_next(), if !calls.tasks.is_empty() => {
                if let Ok(id) = done {
                    calls.tokens.remove(&id);
                }
            }
        }
    }
}

async fn write(stream: Arc<Stream>, mut lines: mpsc::Receiver<String>) {
    let mut send = &*stream;
    while let Some(line) = lines.recv().await {
        if send.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = send.flush().await;
}

struct Calls {
    engine: Engine,
    lines: mpsc::Sender<String>,
    gone: CancellationToken,
    tokens: HashMap<u64, CancellationToken>,
    tasks: JoinSet<u64>,
}

impl Calls {
    /// Begins or cancels what a line asks for.
    async fn take(&mut self, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match serde_json::from_slice::<Incoming>(line) {
            Ok(Incoming {
                id: None,
                method: None,
                params: None,
                cancel: Some(id),
            }) => {
                if let Some(token) = self.tokens.get(&id) {
                    token.cancel();
                }
            }
            Ok(Incoming {
                id: Some(id),
                method: Some(method),
                params,
                cancel: None,
            }) => {
                if self.tokens.contains_key(&id) {
                    self.refuse(Some(id), invalid("this id is in use")).await;
                } else if self.tokens.len() >= MAX_CALLS {
                    let error = ApiError::new(ErrorCode::Busy, "too many calls at once on this connection");
                    self.refuse(Some(id), error).await;
                } else {
                    self.start(id, method, params.unwrap_or(Value::Null));
                }
            }
            Ok(Incoming { id, .. }) => {
                self.refuse(id, invalid("a line has either id and method, or cancel"))
                    .await;
            }
            // The parser's words can repeat what was sent: only the place is told.
            Err(error) => {
                let place = format!("not a request: {} at column {}", category(&error), error.column());
                self.refuse(None, invalid(place)).await;
            }
        }
    }

    fn start(&mut self, id: u64, method: String, params: Value) {
        let cancel = self.gone.child_token();
        self.tokens.insert(id, cancel.clone());
        let lines = self.lines.clone();
        let (events, mut from_call) = mpsc::channel::<Value>(1);
        let request = Request {
            engine: self.engine.clone(),
            params,
            events,
            cancel,
        };
        self.tasks.spawn(async move {
            let to_client = lines.clone();
            // It owns its end of the channel: when the client is gone, the work does not wait for it.
            let told = async move {
                while let Some(event) = from_call.recv().await {
                    let line = wire::line(&Outgoing {
                        id: Some(id),
                        event: Some(event),
                        ..Outgoing::default()
                    });
                    if to_client.send(line).await.is_err() {
                        break;
                    }
                }
            };
            let (result, ()) = tokio::join!(dispatch(request, &method), told);
            let last = match result {
                Ok(result) => Outgoing {
                    id: Some(id),
                    result: Some(result),
                    ..Outgoing::default()
                },
                Err(error) => Outgoing {
                    id: Some(id),
                    error: Some(error),
                    ..Outgoing::default()
                },
            };
            let _ = lines.send(wire::line(&last)).await;
            id
        });
    }

    async fn refuse(&self, id: Option<u64>, error: ApiError) {
        let _ = self
            .lines
            .send(wire::line(&Outgoing {
                id,
                error: Some(error),
                ..Outgoing::default()
            }))
            .await;
    }

    /// Waits for all calls and lets the writer end.
    async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}

fn too_long(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::TooLarge, format!("a request may have {limit} bytes"))
}

fn category(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "unknown or misplaced field",
        _ => "malformed JSON",
    }
}
