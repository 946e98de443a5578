//! Drives a relay: connections on one side, a thread of its own that may block on the other.
//!
//! What has come in while the relay was at work is handed to it together, between [`Machine::begin`] and
//! [`Machine::commit`], so that one write to the disk serves many devices. Nothing is sent before `commit` has returned.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hearth_protocol::codec::Reader;
use hearth_protocol::error::ErrorCode;
use hearth_relay::{Input, Output, SessionId, StoreError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::connection::{Connection, Event, Sender};

/// Inputs that are handed over together, at most.
const GROUP_INPUTS: usize = 512;
/// Inputs of one session that wait for the relay: what others send then waits for no more of it than this.
const SESSION_INPUTS: usize = 32;
/// Bytes of inputs that wait for the relay, over all sessions.
const WAITING_BYTES: usize = 64 << 20;
/// Bytes of outputs after which a group ends, so that they don't pile up before they are durable.
const GROUP_BYTES: usize = 64 << 20;
/// Bytes that may wait to be sent over all sessions. Beyond it those with the most are closed.
const QUEUED_BYTES: usize = 1 << 30;
/// How often time is told.
const TICK: Duration = Duration::from_millis(250);
/// A session that has less than this to send may be given more.
const DRAINED_BYTES: usize = 1 << 20;
/// Sessions that weren't welcomed, at most: one more, and the oldest of them goes.
const STRANGERS: usize = 4_096;
/// How long a session may stay without being welcomed: a pairing code is good for ten minutes.
const STRANGER: Duration = Duration::from_mins(12);
/// Frames that a stranger may send at once.
const STRANGER_FRAMES: u32 = 64;
/// One more each.
const STRANGER_FRAME: Duration = Duration::from_millis(200);

/// What is driven: a relay with its store, clock and randomness.
pub trait Machine: Send + 'static {
    /// Begins a group of steps.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Something happened on a connection. After an error the session is closed and others go on. What was closed, by that
    /// or by an output, isn't heard of again.
    fn step(&mut self, session: SessionId, input: Input<'_>) -> Result<Vec<Output>, StoreError>;

    /// Makes the group durable. After an error nothing of it counts: all sessions are closed, and the machine must be as
    /// one that was just started.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Time has passed. Called outside of groups: `urgently` right after a group, else four times a second.
    fn tick(&mut self, urgently: bool) -> Result<Vec<Output>, StoreError>;
}

/// What a host has done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions now.
    pub sessions: AtomicUsize,
    /// Sessions that were welcomed, since the start.
    pub welcomed: AtomicU64,
    /// Frames that came in.
    pub frames_in: AtomicU64,
    /// Batches that came in.
    pub batches_in: AtomicU64,
    /// Bytes of both.
    pub bytes_in: AtomicU64,
    /// Frames put out.
    pub frames_out: AtomicU64,
    /// Batches put out.
    pub batches_out: AtomicU64,
    /// Bytes of both.
    pub bytes_out: AtomicU64,
    /// Groups that were committed.
    pub groups: AtomicU64,
    /// Inputs in them.
    pub inputs: AtomicU64,
    /// Time the machine has worked, microseconds.
    pub busy_us: AtomicU64,
    /// Steps, ticks and commits that failed.
    pub failures: AtomicU64,
}

/// A running machine.
#[derive(Debug)]
pub struct Host<M> {
    commands: mpsc::Sender<Command<M>>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
    next: AtomicU64,
    strangers: Strangers,
}

/// Sessions that weren't welcomed yet, the oldest first.
#[derive(Debug)]
struct Strangers {
    most: usize,
    senders: Mutex<BTreeMap<SessionId, Sender>>,
}

impl Strangers {
    fn enter(&self, session: SessionId, sender: &Sender) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        // Who was welcomed meanwhile is none any more.
        if senders.len() >= self.most {
            senders.retain(|_, sender| !sender.is_identified());
        }
        if senders.len() >= self.most
            && let Some((_, oldest)) = senders.pop_first()
        {
            oldest.close(Some(ErrorCode::Busy));
        }
        senders.insert(session, sender.clone());
    }

    fn leave(&self, session: SessionId) {
        self.senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&session);
    }
}

/// How many frames a stranger may still send.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    /// Waits until one more may be handed on.
    async fn take(&mut self) {
        let earned = self.since.elapsed().as_millis() / STRANGER_FRAME.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.since += STRANGER_FRAME * earned;
        self.left = self.left.saturating_add(earned).min(STRANGER_FRAMES);
        if self.left == 0 {
            tokio::time::sleep_until(self.since + STRANGER_FRAME).await;
            self.since += STRANGER_FRAME;
        } else {
            self.left -= 1;
        }
    }
}

type Work<M> = Box<dyn FnOnce(&mut M) + Send>;

enum Command<M> {
    Open {
        session: SessionId,
        transport_key: [u8; 32],
        exporter: [u8; 32],
        session_end: SessionEnd,
    },
    Frame(SessionId, Vec<u8>, Place),
    Batch(SessionId, Vec<u8>, Place),
    Drained(SessionId),
    Closed(SessionId),
    Tick,
    Run(Work<M>),
    Stop(oneshot::Sender<()>),
}

/// Room for an input, among all that wait and among its session's.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Where a session's outputs go.
#[derive(Debug, Clone)]
struct SessionEnd {
    sender: Sender,
    /// Something was put out.
    put_out: Arc<Notify>,
    welcomed: bool,
}

impl<M: Machine> Host<M> {
    /// Starts the thread. Needs a running tokio runtime.
    pub fn start(machine: M) -> io::Result<Self> {
        Self::with(machine, QUEUED_BYTES, STRANGERS)
    }

    /// The same with other limits: bytes that wait to be sent over all sessions, and sessions that nobody has welcomed.
    pub fn with(machine: M, queued_limit: usize, strangers: usize) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(1_024);
        let counters = Arc::new(Counters::default());
        let worker = Worker {
            machine,
            sessions: HashMap::new(),
            counters: Arc::clone(&counters),
            queued_limit,
            unshed: 0,
        };
        thread::Builder::new()
            .name("relay".into())
            .spawn(move || worker.run(inbox))?;
        let ticks = commands.downgrade();
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                let Some(commands) = ticks.upgrade() else { break };
                if commands.send(Command::Tick).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            commands,
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
            counters,
            next: AtomicU64::new(1),
            strangers: Strangers {
                most: strangers,
                senders: Mutex::default(),
            },
        })
    }

    /// What it has done.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves a connection to its end. One whose key isn't known gets none.
    pub async fn serve(&self, connection: Connection) {
        let Connection {
            key,
            exporter,
            sender,
            mut events,
            ..
        } = connection;
        let Some(transport_key) = key else { return };
        let session = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let put_out = Arc::new(Notify::new());
        let session_end = SessionEnd {
            sender: sender.clone(),
            put_out: Arc::clone(&put_out),
            welcomed: false,
        };
        if !self
            .command(Command::Open {
                session,
                transport_key,
                exporter,
                session_end,
            })
            .await
        {
            sender.close(Some(ErrorCode::Busy));
            return;
        }
        self.strangers.enter(session, &sender);
        let mut allowance = Allowance {
            left: STRANGER_FRAMES,
            since: Instant::now(),
        };
        let lifetime = tokio::time::sleep(STRANGER);
        tokio::pin!(lifetime);
        let inputs = Arc::new(Semaphore::new(SESSION_INPUTS));
        let mut owed = false;
        let mut stranger = true;
        loop {
            if stranger && sender.is_identified() {
                stranger = false;
                self.strangers.leave(session);
            }
            let command = tokio::select! {
                () = &mut lifetime, if stranger => {
                    if !sender.is_identified() {
                        sender.close(Some(ErrorCode::Busy));
                        break;
                    }
                    continue;
                }
                event = events.next() => match event {
                    Event::Frame(bytes) => {
                        if stranger {
                            allowance.take().await;
                        }
                        let Some(place) = self.place(&inputs, bytes.len()).await else { break };
                        Command::Frame(session, bytes, place)
                    }
                    Event::Batch(bytes) => {
                        let Some(place) = self.place(&inputs, bytes.len()).await else { break };
                        Command::Batch(session, bytes, place)
                    }
                    Event::Closed(closed) => {
                        tracing::debug!(session = session.0, reason = %closed.detail, "session ended");
                        break;
                    }
                },
                () = put_out.notified(), if !owed => {
                    owed = true;
                    continue;
                }
                drained = sender.drained_to(DRAINED_BYTES), if owed => {
                    owed = false;
                    if drained.is_err() {
                        continue;
                    }
                    Command::Drained(session)
                }
            };
            if !self.command(command).await {
                sender.close(Some(ErrorCode::Busy));
                break;
            }
        }
        self.strangers.leave(session);
        self.command(Command::Closed(session)).await;
    }

    /// Runs something on the machine's thread, between groups. None: the host has stopped.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut M) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |machine: &mut M| {
            answer.send(work(machine)).ok();
        });
        self.command(Command::Run(work)).await;
        answered.await.ok()
    }

    /// Ends all sessions, as a server does that comes back later, and the thread once its work is done.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.command(Command::Stop(done)).await;
        stopped.await.ok();
    }

    /// Waits until the thread has ended: after [`Host::stop`], or because the machine panicked. Then nobody is served any
    /// more.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    async fn command(&self, command: Command<M>) -> bool {
        self.commands.send(command).await.is_ok()
    }

    async fn place(&self, inputs: &Arc<Semaphore>, bytes: usize) -> Option<Place> {
        let own = Arc::clone(inputs).acquire_owned().await.ok()?;
        let bytes = bytes.min(WAITING_BYTES) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
        Some((own, room))
    }
}

struct Worker<M> {
    machine: M,
    sessions: HashMap<SessionId, SessionEnd>,
    counters: Arc<Counters>,
    queued_limit: usize,
    /// Bytes put out since it was last looked how much waits.
    unshed: usize,
}

fn size(output: &Output) -> usize {
    match output {
        Output::Frame { bytes, .. } | Output::Batch { bytes, .. } => bytes.len(),
        Output::Close { .. } => 0,
    }
}

impl<M: Machine> Worker<M> {
    fn run(mut self, mut inbox: mpsc::Receiver<Command<M>>) {
        let mut held: Option<Command<M>> = None;
        while let Some(command) = held.take().or_else(|| inbox.blocking_recv()) {
            let began = std::time::Instant::now();
            match command {
                Command::Tick => self.tick(false),
                Command::Run(work) => work(&mut self.machine),
                Command::Stop(done) => {
                    self.close_all(ErrorCode::Busy);
                    // The machine goes first, so that its files are closed when the answer is there.
                    drop(self);
                    drop(inbox);
                    done.send(()).ok();
                    return;
                }
                first => {
                    held = self.group(first, &mut inbox);
                    self.tick(true);
                }
            }
            self.counters
                .busy_us
                .fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Steps through what is waiting, as one transaction. What ends the group is given back.
    fn group(&mut self, first: Command<M>, inbox: &mut mpsc::Receiver<Command<M>>) -> Option<Command<M>> {
        if let Err(error) = self.machine.begin() {
            self.failed("begin", &error);
            if let Command::Open { session_end, .. } = first {
                session_end.sender.close(Some(ErrorCode::StorageFailed));
            }
            self.close_all(ErrorCode::StorageFailed);
            return None;
        }
        let mut outputs = Vec::new();
        let mut counted = 0;
        let mut bytes = 0;
        let mut next = Some(first);
        let mut inputs = 0;
        while let Some(command) = next.take() {
            match command {
                Command::Open { .. }
                | Command::Frame(..)
                | Command::Batch(..)
                | Command::Drained(_)
                | Command::Closed(_) => self.step(command, &mut outputs),
                other => {
                    next = Some(other);
                    break;
                }
            }
            inputs += 1;
            bytes += outputs[counted..].iter().map(size).sum::<usize>();
            counted = outputs.len();
            if inputs < GROUP_INPUTS && bytes < GROUP_BYTES {
                next = inbox.try_recv().ok();
            }
        }
        match self.machine.commit() {
            Ok(()) => self.put_out(outputs),
            Err(error) => {
                self.failed("commit", &error);
                self.close_all(ErrorCode::StorageFailed);
            }
        }
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.counters.inputs.fetch_add(inputs as u64, Ordering::Relaxed);
        next
    }

    fn step(&mut self, command: Command<M>, outputs: &mut Vec<Output>) {
        let counters = &self.counters;
        let count = |counter: &AtomicU64, bytes: usize| {
            counter.fetch_add(1, Ordering::Relaxed);
            counters.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        };
        let (session, result) = match command {
            Command::Open {
                session,
                transport_key,
                exporter,
                session_end,
            } => {
                self.sessions.insert(session, session_end);
                counters.sessions.store(self.sessions.len(), Ordering::Relaxed);
                (
                    session,
                    self.machine.step(
                        session,
                        Input::Connected {
                            transport_key,
                            exporter,
                        },
                    ),
                )
            }
            Command::Closed(session) => {
                if self.sessions.remove(&session).is_none() {
                    return;
                }
                counters.sessions.store(self.sessions.len(), Ordering::Relaxed);
                (session, self.machine.step(session, Input::Closed))
            }
            // What still comes from a session that was closed is nobody's.
            Command::Frame(session, ..) | Command::Batch(session, ..) | Command::Drained(session)
                if !self.sessions.contains_key(&session) =>
            {
                return;
            }
            Command::Frame(session, bytes, _place) => {
                count(&counters.frames_in, bytes.len());
                (session, self.machine.step(session, Input::Frame(&bytes)))
            }
            Command::Batch(session, bytes, _place) => {
                count(&counters.batches_in, bytes.len());
                (session, self.machine.step(session, Input::Batch(&bytes)))
            }
            Command::Drained(session) => (session, self.machine.step(session, Input::Drained)),
            Command::Tick | Command::Run(_) | Command::Stop(_) => return,
        };
        match result {
            Ok(more) => outputs.extend(more),
            Err(error) => {
                self.failed("step", &error);
                outputs.push(Output::Close {
                    to: session,
                    code: ErrorCode::StorageFailed,
                });
            }
        }
    }

    fn tick(&mut self, urgently: bool) {
        match self.machine.tick(urgently) {
            Ok(outputs) => self.put_out(outputs),
            Err(error) => self.failed("tick", &error),
        }
    }

    /// Closes the sessions with the most to send until the rest is bounded.
    fn shed(&mut self) {
        self.unshed = 0;
        let mut queued: Vec<(usize, SessionId)> = self
            .sessions
            .iter()
            .map(|(id, session)| (session.sender.queued_bytes(), *id))
            .collect();
        let mut all: usize = queued.iter().map(|(bytes, _)| bytes).sum();
        queued.sort_unstable();
        while all > self.queued_limit
            && let Some((bytes, id)) = queued.pop()
        {
            all -= bytes;
            if let Some(session) = self.sessions.get(&id) {
                // Its `Closed` is on its way.
                session.sender.abort(Some(ErrorCode::Busy));
            }
        }
    }

    fn put_out(&mut self, outputs: Vec<Output>) {
        self.unshed += outputs.iter().map(size).sum::<usize>();
        for output in outputs {
            let (to, bytes) = match &output {
                Output::Frame { to, bytes } | Output::Batch { to, bytes, .. } => (*to, bytes.len()),
                Output::Close { to, .. } => (*to, 0),
            };
            let Some(session) = self.sessions.get_mut(&to) else {
                continue;
            };
            self.counters.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
            // A session that can't be sent to has ended, or ends: its `Closed` is on its way.
            match output {
                Output::Frame { bytes, .. } => {
                    self.counters.frames_out.fetch_add(1, Ordering::Relaxed);
                    if !session.welcomed && is_welcome(&bytes) {
                        session.welcomed = true;
                        session.sender.identified();
                        self.counters.welcomed.fetch_add(1, Ordering::Relaxed);
                    }
                    session.sender.frame(bytes).ok();
                    session.put_out.notify_one();
                }
                Output::Batch { bytes, priority, .. } => {
                    self.counters.batches_out.fetch_add(1, Ordering::Relaxed);
                    session.sender.batch(bytes, priority).ok();
                    session.put_out.notify_one();
                }
                Output::Close { code, .. } => {
                    // The machine has forgotten it already.
                    session.sender.close(Some(code));
                    self.sessions.remove(&to);
                    self.counters
                        .sessions
                        .store(self.sessions.len(), Ordering::Relaxed);
                }
            }
        }
        if self.unshed > self.queued_limit / 16 {
            self.shed();
        }
    }

    fn close_all(&mut self, code: ErrorCode) {
        for (_, session) in self.sessions.drain() {
            session.sender.close(Some(code));
        }
        self.counters.sessions.store(0, Ordering::Relaxed);
    }

    fn failed(&self, what: &'static str, error: &StoreError) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(what, %error, cause, "the store failed");
    }
}

/// Whether a frame is the answer to `Hello` that lets a session in.
fn is_welcome(frame: &[u8]) -> bool {
    let mut reader = Reader::new(frame);
    reader.number().is_ok() && reader.byte() == Ok(1)
}
