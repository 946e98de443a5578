//! What goes out: a queue of frames, a queue of batches by priority, and an end that lets both be heard.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::Priority;
use quinn::{SendStream, VarInt};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::{close_code, closed};
use crate::connection::Closed;
use crate::limits::{LINGER, Limits, STREAMS};
use crate::order::{Lane, lane};

/// Why something can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection is closed, or about to be.
    #[error("the connection is closed")]
    Closed,
    /// Too much waits already: the connection closes.
    #[error("the other end doesn't take what is sent to it")]
    Full,
}

/// The way out. Clones share it; sending never waits.
#[derive(Debug, Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    quic: quinn::Connection,
    state: Mutex<State>,
    limit: usize,
    patience: Duration,
    pace: u64,
    identified: AtomicBool,
    frames: Notify,
    batches: Notify,
    /// Something was written, or the connection ended.
    written: Notify,
    /// An end was asked for.
    ending: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    batches: Queue,
    bytes: usize,
    ending: Option<Ending>,
}

/// Batches by urgency. None overtakes another of its log, as a log's links only fit in order.
#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<(Priority, u64), Vec<u8>>,
    /// Of each lane, how many wait, and how urgent the last of them is.
    lanes: HashMap<Lane, (usize, Priority)>,
    count: u64,
}

impl Queue {
    fn push(&mut self, bytes: Vec<u8>, priority: Priority) {
        let mut priority = priority;
        if let Some(lane) = lane(&bytes).filter(|lane| *lane != Lane::Free) {
            let (count, last) = self.lanes.entry(lane).or_insert((0, priority));
            priority = priority.max(*last);
            (*count, *last) = (*count + 1, priority);
        }
        self.waiting.insert((priority, self.count), bytes);
        self.count += 1;
    }

    /// The first, if it is at least so urgent.
    fn pop(&mut self, least: Priority) -> Option<(Priority, Vec<u8>)> {
        let entry = self.waiting.first_entry()?;
        if entry.key().0 > least {
            return None;
        }
        let ((priority, _), bytes) = entry.remove_entry();
        if let Some(lane) = lane(&bytes)
            && let Some((count, _)) = self.lanes.get_mut(&lane)
        {
            *count -= 1;
            if *count == 0 {
                self.lanes.remove(&lane);
            }
        }
        Some((priority, bytes))
    }
}

/// How a connection is to end.
#[derive(Debug, Clone, Copy)]
struct Ending {
    code: Option<ErrorCode>,
}

impl Sender {
    pub(super) fn start(
        quic: quinn::Connection,
        limits: &Limits,
        control: oneshot::Receiver<SendStream>,
    ) -> Self {
        let shared = Arc::new(Shared {
            quic,
            state: Mutex::default(),
            limit: limits.queue_bytes,
            patience: limits.idle,
            pace: limits.pace.max(1),
            identified: AtomicBool::new(false),
            frames: Notify::new(),
            batches: Notify::new(),
            written: Notify::new(),
            ending: Notify::new(),
        });
        tokio::spawn(write_frames(Arc::clone(&shared), control));
        tokio::spawn(write_batches(Arc::clone(&shared)));
        Self { shared }
    }

    /// Sends a frame, given without its length. Frames arrive in order.
    pub fn frame(&self, bytes: Vec<u8>) -> Result<(), SendError> {
        self.queue(bytes.len(), |state| state.frames.push_back(bytes))?;
        self.shared.frames.notify_one();
        Ok(())
    }

    /// Sends a batch. It goes before less urgent ones, but never before one of its own log.
    pub fn batch(&self, bytes: Vec<u8>, priority: Priority) -> Result<(), SendError> {
        self.queue(bytes.len(), |state| state.batches.push(bytes, priority))?;
        self.shared.batches.notify_one();
        Ok(())
    }

    /// Bytes that wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.shared.state().bytes
    }

    /// Waits until at most so many bytes wait to be sent.
    pub async fn drained_to(&self, bytes: usize) -> Result<(), SendError> {
        loop {
            let written = self.shared.written.notified();
            {
                let state = self.shared.state();
                if state.ending.is_some() || self.shared.quic.close_reason().is_some() {
                    return Err(SendError::Closed);
                }
                if state.bytes <= bytes {
                    return Ok(());
                }
            }
            written.await;
        }
    }

    /// Ends the connection: frames that wait go out first, for at most three seconds; batches don't.
    pub fn close(&self, code: Option<ErrorCode>) {
        self.shared.state().ending.get_or_insert(Ending { code });
        self.shared.wake();
    }

    /// Ends the connection at once.
    pub fn abort(&self, code: Option<ErrorCode>) {
        let code = self.shared.state().ending.get_or_insert(Ending { code }).code;
        self.shared.end(code);
        self.shared.wake();
    }

    /// The other end is known: it may send batches from here on.
    pub fn identified(&self) {
        self.shared.identified.store(true, Ordering::Relaxed);
        self.quic().set_receive_window(VarInt::from_u32(8 << 20));
        self.quic()
            .set_max_concurrent_uni_streams(VarInt::from_u32(STREAMS));
    }

    /// Whether the other end is known.
    pub fn is_identified(&self) -> bool {
        self.shared.identified.load(Ordering::Relaxed)
    }

    /// Waits for the end.
    pub(crate) async fn closed(&self) -> Closed {
        let error = self.shared.quic.closed().await;
        let mut closed = closed(&error);
        if !closed.by_peer && closed.code.is_none() {
            closed.code = self.shared.state().ending.and_then(|ending| ending.code);
        }
        closed
    }

    pub(super) fn quic(&self) -> &quinn::Connection {
        &self.shared.quic
    }

    fn queue(&self, bytes: usize, push: impl FnOnce(&mut State)) -> Result<(), SendError> {
        let mut state = self.shared.state();
        if state.ending.is_some() || self.shared.quic.close_reason().is_some() {
            return Err(SendError::Closed);
        }
        if state.bytes > 0 && state.bytes + bytes > self.shared.limit {
            drop(state);
            self.abort(Some(ErrorCode::Busy));
            return Err(SendError::Full);
        }
        state.bytes += bytes;
        push(&mut state);
        Ok(())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.frames.notify_one();
        self.batches.notify_one();
        self.written.notify_waiters();
        self.ending.notify_waiters();
    }

    /// Closes, unless that is done: to close again would hide why.
    fn end(&self, code: Option<ErrorCode>) {
        if self.quic.close_reason().is_none() {
            self.quic.close(close_code(code), b"");
        }
    }

    fn written(&self, bytes: usize) {
        self.state().bytes -= bytes;
        self.written.notify_waiters();
    }

    /// The next frame; none: the end was asked for and nothing is left.
    async fn next_frame(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut state = self.state();
                if let Some(frame) = state.frames.pop_front() {
                    return Some(frame);
                }
                if state.ending.is_some() {
                    return None;
                }
            }
            self.frames.notified().await;
        }
    }

    /// The next batch of at least this priority; none: the end was asked for.
    async fn next_batch(&self, least: Priority) -> Option<(Priority, Vec<u8>)> {
        loop {
            {
                let mut state = self.state();
                if state.ending.is_some() {
                    return None;
                }
                if let Some(next) = state.batches.pop(least) {
                    return Some(next);
                }
            }
            self.batches.notified().await;
        }
    }

    /// Waits until an end was asked for.
    async fn ending(&self) {
        loop {
            let ending = self.ending.notified();
            if self.state().ending.is_some() {
                break;
            }
            ending.await;
        }
    }

    /// Waits until an end was asked for and its time is over.
    async fn lingered(&self) {
        self.ending().await;
        tokio::time::sleep(LINGER).await;
    }

    /// How long so many bytes may take before the other end counts as gone.
    fn patience(&self, bytes: usize) -> Duration {
        self.patience + Duration::from_secs(bytes as u64 / self.pace)
    }
}

async fn write_frames(shared: Arc<Shared>, control: oneshot::Receiver<SendStream>) {
    let work = async {
        let mut stream = tokio::select! {
            stream = control => stream.ok()?,
            // Nobody is there who could hear anything.
            () = shared.ending() => return None,
        };
        stream.set_priority(i32::from(i8::MAX)).ok()?;
        while let Some(frame) = shared.next_frame().await {
            let prefix = (frame.len() as u32).to_be_bytes();
            let write = async {
                stream.write_all(&prefix).await?;
                stream.write_all(&frame).await
            };
            timeout(shared.patience(frame.len()), write).await.ok()?.ok()?;
            shared.written(frame.len());
        }
        stream.finish().ok()?;
        stream.stopped().await.ok()
    };
    tokio::select! {
        _ = work => {}
        () = shared.lingered() => {}
        _ = shared.quic.closed() => {}
    }
    let ending = shared.state().ending;
    let code = ending.map_or(Some(ErrorCode::Busy), |ending| ending.code);
    shared.end(code);
    shared.wake();
}

async fn write_batches(shared: Arc<Shared>) {
    let work = async {
        let mut writing = FuturesUnordered::new();
        // What has no stream yet. One at a time: several could be given theirs in another order.
        let mut first: Option<(Priority, Vec<u8>, Instant)> = None;
        loop {
            // Half of the streams stay free for what can't wait.
            let least = if writing.len() < STREAMS as usize / 2 {
                Priority::Backfill
            } else {
                Priority::Live
            };
            let deadline = first.as_ref().map_or_else(Instant::now, |(_, _, at)| *at);
            tokio::select! {
                next = shared.next_batch(least), if first.is_none() && writing.len() < STREAMS as usize => {
                    let (priority, bytes) = next?;
                    let deadline = Instant::now() + shared.patience(bytes.len());
                    first = Some((priority, bytes, deadline));
                }
                stream = timeout_at(deadline, shared.quic.open_uni()), if first.is_some() => {
                    let stream = stream.ok()?.ok()?;
                    let (priority, bytes, deadline) = first.take()?;
                    writing.push(write_batch(&shared, stream, priority, bytes, deadline));
                }
                Some(done) = writing.next() => done?,
            }
        }
    };
    let ended: Option<()> = tokio::select! {
        ended = work => ended,
        _ = shared.quic.closed() => None,
    };
    debug_assert!(ended.is_none());
    if shared.state().ending.is_none() {
        shared.end(Some(ErrorCode::Busy));
    }
}

async fn write_batch(
    shared: &Shared,
    mut stream: SendStream,
    priority: Priority,
    bytes: Vec<u8>,
    deadline: Instant,
) -> Option<()> {
    let write = async {
        stream.set_priority(-(priority as i32)).ok()?;
        stream.write_all(&bytes).await.ok()?;
        stream.finish().ok()
    };
    timeout_at(deadline, write).await.ok()??;
    shared.written(bytes.len());
    Some(())
}
