//! The task that keeps a profile in sync: it owns the machine, the connection and the timers.

mod arrived;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{DeviceId, Hash, VerifyKey};
use hearth_store::Store;
use hearth_sync::device::{Input, Link, Notice, Peer};
use hearth_sync::pairing::Sponsor;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::store_thread::StoreThread;
use super::super::{Engine, Inner, Result};
use super::findings;
use super::local::{At, Called, Local};
use super::machine::{Effects, Machine, OsEntropy, Outgoing, time};
use super::view;
use crate::error::EngineError;
use crate::net::{Backoff, Connection, Endpoint, Event, Identity, Network, is_server};
use crate::types::{EngineEvent, SyncState, SyncStatus};

/// A server may ask for no longer wait than this.
const LONGEST_WAIT: Duration = Duration::from_mins(15);
/// How long a server may take to answer a call.
const DIAL: Duration = Duration::from_secs(10);
/// How often the machine is asked what is due, whatever it has said.
pub(super) const LOOK: Duration = Duration::from_mins(1);
/// How long the end of a connection may take when the engine ends.
const GOODBYE: Duration = Duration::from_millis(500);
/// A connection on which nothing was heard for so long may be dead: whoever asks for the newest has it made anew.
const QUIET: Duration = Duration::from_secs(30);
/// How often the local network is looked at, while it is in use.
const LOOK_AROUND: Duration = Duration::from_millis(500);
/// How long the local network is left alone at first: a short command has ended by then.
const LEFT_ALONE: Duration = Duration::from_millis(300);
/// Notices that a slow listener may lag behind.
const NOTICES: usize = 256;

/// Something that the task is asked for.
pub(super) enum Command {
    /// How it stands.
    Status(oneshot::Sender<Result<SyncStatus>>),
    /// The person has looked at what was found.
    Dismiss(oneshot::Sender<Result<()>>),
    /// One input of the machine, as an order of the person's.
    Step(Box<Input>, oneshot::Sender<Result<()>>),
    /// Hands over what changed, calls the server now if it isn't connected.
    Nudge(oneshot::Sender<Result<()>>),
    /// What another device has to know to be let in; a fresh checkpoint is part of it.
    Sponsor(oneshot::Sender<Result<Sponsor>>),
    /// The certificate of an erasure.
    Certificate(Hash, oneshot::Sender<Result<Certificate>>),
    /// Tries a recovery phrase.
    Drill(zeroize::Zeroizing<String>, oneshot::Sender<Result<u64>>),
    /// Ends the task.
    Stop(oneshot::Sender<()>),
}

/// A certificate's file, and whether it is complete; none: there is no such erasure.
type Certificate = Option<(Vec<u8>, bool)>;

/// A way to the task.
#[derive(Clone)]
pub(super) struct Running {
    commands: mpsc::Sender<Command>,
    notices: broadcast::Sender<Notice>,
    ticks: watch::Receiver<u64>,
}

impl Running {
    /// Asks and waits for the answer. Errors: [`EngineError::Stopped`] when the task has ended.
    pub(super) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| EngineError::Stopped)?;
        answered.await.map_err(|_| EngineError::Stopped)
    }

    /// Gives the machine an input and carries out what follows.
    pub(super) async fn step(&self, input: Input) -> Result<()> {
        self.ask(|answer| Command::Step(Box::new(input), answer)).await?
    }

    /// What the machine says from now on.
    pub(super) fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Waits until `ready` says so of the status, or the time is over; gives the last status.
    pub(super) async fn wait_for(
        &self,
        limit: Duration,
        ready: impl Fn(&SyncStatus) -> bool,
    ) -> Result<(SyncStatus, bool)> {
        let mut ticks = self.ticks.clone();
        let end = tokio::time::Instant::now() + limit;
        loop {
            ticks.mark_unchanged();
            let status = self.ask(Command::Status).await??;
            if ready(&status) {
                return Ok((status, true));
            }
            match tokio::time::timeout_at(end, ticks.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(EngineError::Stopped),
                Err(_) => return Ok((status, false)),
            }
        }
    }
}

/// Starts the task for a machine that was loaded or has just been made.
pub(super) fn start(engine: &Engine, machine: Machine) -> Result<Running> {
    let (commands, from_faces) = mpsc::channel(16);
    let (notices, _) = broadcast::channel(NOTICES);
    let (tick, ticks) = watch::channel(0);
    let network = Network::new()
        .map_err(|error| EngineError::Network(format!("no socket for sync can be opened: {error}")))?;
    let identity = Identity::from_seed(machine.device.keychain().transport.expose())
        .map_err(|error| EngineError::Internal(format!("the device's transport key: {error}")))?;
    let worker = Worker {
        inner: Arc::downgrade(&engine.inner),
        store: engine.inner.chats.store().clone(),
        machine: Some(machine),
        network,
        identity: Arc::new(identity),
        notices: notices.clone(),
        tick,
        backoff: Backoff::default(),
        connection: None,
        at: None,
        local: None,
        server_missed: false,
        quiet_until: tokio::time::Instant::now() + LEFT_ALONE,
        with: Vec::new(),
        connected_at: None,
        heard_at: Instant::now(),
        called: false,
        clock_off_ms: None,
        dialed: None,
        proven: None,
        wake_at_ms: None,
        retry_after: Duration::ZERO,
        state: SyncState::Offline,
        problem: None,
        ended: false,
    };
    let changes = engine.inner.changes.subscribe();
    let stopping = engine.inner.stopping.clone();
    engine
        .inner
        .upkeep
        .spawn(worker.run(from_faces, changes, stopping));
    Ok(Running {
        commands,
        notices,
        ticks,
    })
}

type Dialing = JoinHandle<std::result::Result<Connection, String>>;

enum Happened {
    Stop,
    Command(Option<Command>),
    Net(Event),
    Dialed(std::result::Result<Connection, String>),
    DialedLocal(Option<Called>),
    Around,
    Due,
    Call,
    Changed,
}

pub(super) struct Worker {
    pub(super) inner: Weak<Inner>,
    pub(super) store: StoreThread,
    /// None after a failure, until it is loaded again.
    pub(super) machine: Option<Machine>,
    pub(super) network: Network,
    pub(super) identity: Arc<Identity>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) tick: watch::Sender<u64>,
    pub(super) backoff: Backoff,
    pub(super) connection: Option<Connection>,
    /// Where it is to, while there is one.
    pub(super) at: Option<At>,
    /// This device on the local network, while that is needed.
    pub(super) local: Option<Local>,
    /// The server was called and not reached, and hasn't been since.
    pub(super) server_missed: bool,
    /// Before that the local network is left alone.
    pub(super) quiet_until: tokio::time::Instant,
    /// The devices that are met on the local network now.
    pub(super) with: Vec<DeviceId>,
    pub(super) connected_at: Option<Instant>,
    /// When something came on it.
    heard_at: Instant,
    /// The first call has failed, or its connection is greeted: before that nobody knows whether the server is there.
    called: bool,
    /// How far this clock is ahead of the server's, where that is much.
    clock_off_ms: Option<i64>,
    /// The server that is being called, and the one that has shown its key.
    dialed: Option<VerifyKey>,
    proven: Option<VerifyKey>,
    pub(super) wake_at_ms: Option<u64>,
    /// What the server has asked us to wait, at least.
    pub(super) retry_after: Duration,
    pub(super) state: SyncState,
    /// Why there is no connection, in words.
    pub(super) problem: Option<String>,
    /// The device was shut out, or the profile has ended its account.
    pub(super) ended: bool,
}

impl Worker {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut changes: broadcast::Receiver<EngineEvent>,
        stopping: CancellationToken,
    ) {
        let mut dialing: Option<Dialing> = None;
        let mut dialing_local: Option<JoinHandle<Called>> = None;
        let mut call_at: Option<tokio::time::Instant> = Some(tokio::time::Instant::now());
        let mut done = None;
        // What was cut short goes on.
        self.input(Input::Tick).await;
        if let Some(engine) = self.engine() {
            engine.compare().await;
        }
        loop {
            let due = self.due();
            let happened = {
                let looks = self.local.is_some() || !self.has_server() || self.server_missed;
                let connection = self.connection.as_mut();
                let local = self.local.as_mut();
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => Happened::Stop,
                    command = commands.recv() => Happened::Command(command),
                    event = async {
                        match connection {
                            Some(connection) => connection.events.next().await,
                            None => std::future::pending().await,
                        }
                    } => Happened::Net(event),
                    dialed = async {
                        match dialing.as_mut() {
                            Some(dialing) => dialing.await,
                            None => std::future::pending().await,
                        }
                    } => Happened::Dialed(dialed.unwrap_or_else(|_| Err("the call panicked".into()))),
                    dialed = async {
                        match dialing_local.as_mut() {
                            Some(dialing) => dialing.await,
                            None => std::future::pending().await,
                        }
                    } => Happened::DialedLocal(dialed.ok()),
                    () = async {
                        match local {
                            Some(local) => local.changed().await,
                            None => std::future::pending().await,
                        }
                    } => Happened::Around,
                    () = tokio::time::sleep(LOOK_AROUND), if looks => Happened::Around,
                    change = changes.recv() => {
                        match change {
                            Err(broadcast::error::RecvError::Closed) => Happened::Stop,
                            Ok(
                                EngineEvent::MemoryChanged { .. }
                                | EngineEvent::ChatsChanged { .. }
                                | EngineEvent::SettingsChanged
                                | EngineEvent::Missed { .. },
                            )
                            | Err(broadcast::error::RecvError::Lagged(_)) => Happened::Changed,
                            _ => continue,
                        }
                    }
                    () = tokio::time::sleep(due) => Happened::Due,
                    () = async {
                        match call_at {
                            Some(at) => tokio::time::sleep_until(at).await,
                            None => std::future::pending().await,
                        }
                    } => Happened::Call,
                }
            };
            // A look at the status changes nothing: who waits for a change isn't woken by its own look.
            let looked = matches!(
                &happened,
                Happened::Around | Happened::Command(Some(Command::Status(_)))
            );
            match happened {
                Happened::Stop | Happened::Command(None) => break,
                Happened::Command(Some(Command::Stop(answer))) => {
                    done = Some(answer);
                    break;
                }
                Happened::Command(Some(Command::Nudge(answer))) => {
                    let handed = self.hand_over().await;
                    if self.is_doubtful() {
                        self.disconnected().await;
                    }
                    self.quiet_until = tokio::time::Instant::now();
                    if self.at != Some(At::Server) && dialing.is_none() && handed.is_ok() {
                        self.backoff.reset();
                        self.retry_after = Duration::ZERO;
                        call_at = Some(tokio::time::Instant::now());
                    }
                    let _ = answer.send(handed);
                }
                Happened::Command(Some(command)) => self.command(command).await,
                Happened::Net(Event::Frame(bytes)) => {
                    self.heard_at = Instant::now();
                    self.input(Input::Frame(bytes)).await;
                }
                Happened::Net(Event::Batch(bytes)) => {
                    self.heard_at = Instant::now();
                    self.input(Input::Batch(bytes)).await;
                }
                Happened::Net(Event::Closed(closed)) => {
                    self.called = true;
                    if self.at == Some(At::Server) {
                        self.problem = closed
                            .code
                            .map(view::refusal)
                            .or_else(|| (!closed.detail.is_empty()).then(|| closed.detail.clone()));
                    } else {
                        // Perhaps the others are back at the server.
                        self.backoff.reset();
                        call_at = None;
                    }
                    self.disconnected().await;
                }
                Happened::Dialed(dialed) => {
                    dialing = None;
                    match dialed {
                        Ok(connection) => {
                            self.disconnected().await;
                            self.connected(connection).await;
                        }
                        Err(problem) => {
                            self.called = true;
                            self.server_missed = true;
                            self.problem = Some(problem);
                            self.show_state();
                        }
                    }
                }
                Happened::DialedLocal(dialed) => {
                    dialing_local = None;
                    if let Some(called) = dialed {
                        self.dialed_local(called).await;
                    }
                }
                Happened::Around => {}
                Happened::Due => {
                    self.wake_at_ms = None;
                    self.input(Input::Tick).await;
                }
                Happened::Call => {
                    call_at = None;
                    dialing = self.dial();
                }
                Happened::Changed => {
                    // Many changes are told at once: one look is enough for all of them.
                    while changes.try_recv().is_ok() {}
                    if let Err(error) = self.hand_over().await {
                        tracing::warn!(code = error.code(), "what changed can't be handed over");
                    }
                }
            }
            if let Some(call) = self.look_around(dialing_local.is_some()).await {
                dialing_local = Some(tokio::spawn(
                    call.dial(self.network.clone(), Arc::clone(&self.identity)),
                ));
            }
            let missing = self.at != Some(At::Server) && self.has_server();
            if missing && dialing.is_none() && call_at.is_none() && !self.ended {
                call_at = Some(tokio::time::Instant::now() + self.pause());
            }
            if !looked {
                self.tick.send_modify(|count| *count += 1);
            }
        }
        if let Some(local) = self.local.take() {
            let _ = tokio::time::timeout(GOODBYE, local.end()).await;
        }
        if let Some(connection) = self.connection.take() {
            connection.sender.close(None);
            let _ = tokio::time::timeout(GOODBYE, self.network.idle()).await;
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    pub(super) fn engine(&self) -> Option<Engine> {
        self.inner.upgrade().map(|inner| Engine { inner })
    }

    fn now_ms(&self) -> i64 {
        self.engine().map_or(0, |engine| engine.now_ms())
    }

    /// How long until the machine wants to be asked.
    fn due(&self) -> Duration {
        let now = time(self.now_ms());
        let wait = self
            .wake_at_ms
            .map_or(LOOK, |at| Duration::from_millis(at.saturating_sub(now)));
        wait.min(LOOK)
    }

    fn pause(&mut self) -> Duration {
        let held = self.connected_at.take().map_or(Duration::ZERO, |at| at.elapsed());
        let mut chance = [0; 4];
        hearth_protocol::entropy::Entropy::fill(&mut OsEntropy, &mut chance);
        let at_least = std::mem::take(&mut self.retry_after);
        self.backoff.after(held, u32::from_be_bytes(chance), at_least)
    }

    fn dial(&mut self) -> Option<Dialing> {
        if self.ended {
            return None;
        }
        let server = self.machine.as_ref()?.device.account().server()?.clone();
        let Ok(endpoint) = server.endpoint.to_string().parse::<Endpoint>() else {
            self.called = true;
            self.problem = Some(format!(
                "{:?} is no address of a server",
                server.endpoint.to_string()
            ));
            self.show_state();
            return None;
        };
        let (network, identity) = (self.network.clone(), Arc::clone(&self.identity));
        let unproven = self.proven != Some(server.key);
        self.dialed = Some(server.key);
        if self.problem.is_none() && self.connection.is_none() {
            self.set_state(SyncState::Connecting);
        }
        Some(tokio::spawn(async move {
            match tokio::time::timeout(DIAL, network.connect(&identity, &endpoint)).await {
                Ok(Ok(mut connection)) => {
                    // An account is opened, here or after a move, before the server can prove itself by its welcome.
                    if unproven && !is_server(&mut connection, &server.key).await {
                        connection.sender.close(None);
                        return Err("whoever answers at the server's address has another key".into());
                    }
                    Ok(connection)
                }
                Ok(Err(error)) => Err(format!("the server can't be reached: {error}")),
                Err(_) => Err("the server doesn't answer".into()),
            }
        }))
    }

    async fn connected(&mut self, connection: Connection) {
        let exporter = connection.exporter;
        self.connection = Some(connection);
        self.proven = self.dialed;
        self.at = Some(At::Server);
        self.connected_at = Some(Instant::now());
        self.heard_at = Instant::now();
        self.problem = None;
        self.clock_off_ms = None;
        self.input(Input::Connected {
            exporter,
            peer: Peer::Server,
        })
        .await;
    }

    /// Whether the connection may be dead, or the next one may bring what this one can't: space at the server.
    fn is_doubtful(&self) -> bool {
        let now = time(self.now_ms());
        let waits_for_room = self
            .machine
            .as_ref()
            .is_some_and(|machine| machine.device.waits_for_room(now));
        let at_server = self.connection.as_ref().filter(|_| self.at == Some(At::Server));
        at_server.is_some_and(|connection| {
            waits_for_room || self.heard_at.elapsed() > QUIET && connection.sender.queued_bytes() == 0
        })
    }

    pub(super) async fn disconnected(&mut self) {
        self.at = None;
        if let Some(connection) = self.connection.take() {
            connection.sender.close(None);
            self.input(Input::Disconnected).await;
        }
        self.show_state();
    }

    /// Work on the machine, on the database's thread. A machine that fails is dropped, with its connection: the next call
    /// loads it anew.
    async fn with_machine<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Machine, &mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let machine = self.machine.take();
        let worked = self
            .store
            .run_on_place(move |place| {
                let store = place.as_mut().ok_or(EngineError::Stopped)?;
                let mut machine = match machine {
                    Some(machine) => machine,
                    None => Machine::load(store)?.ok_or(EngineError::NotFound { what: "account" })?,
                };
                let result = work(&mut machine, store);
                Ok((machine, result))
            })
            .await;
        let result = match worked {
            Ok((machine, result)) => {
                self.machine = result.is_ok().then_some(machine);
                result
            }
            Err(error) => Err(error),
        };
        if result.is_err()
            && let Some(connection) = self.connection.take()
        {
            self.at = None;
            // The machine that is loaded next knows of no connection.
            connection.sender.close(None);
        }
        result
    }

    pub(super) async fn input(&mut self, input: Input) {
        if let Err(error) = self.try_input(input).await {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &EngineError) {
        match error {
            EngineError::Stopped | EngineError::NotFound { .. } => self.ended = true,
            error => tracing::error!(%error, "a step of sync failed"),
        }
        self.problem = Some(error.to_string());
        self.show_state();
    }

    async fn try_input(&mut self, input: Input) -> Result<()> {
        let now_ms = self.now_ms();
        let outcome = self
            .with_machine(move |machine, store| {
                let planned = machine.step(store, input, now_ms)?;
                if planned.erases() {
                    return Ok(Err(planned));
                }
                machine.finish(store, planned, now_ms).map(Ok)
            })
            .await?;
        let effects = match outcome {
            Ok(effects) => effects,
            Err(planned) => {
                let engine = self.engine().ok_or(EngineError::Stopped)?;
                // An answer may draw on what goes. It ends here and is stored, so that what of it repeats that goes too.
                let _quiet = engine.inner.active.silence().await;
                // Nothing is drawn from chats while something of them is erased.
                let _only = engine.inner.idle.until_stopped().await;
                self.with_machine(move |machine, store| machine.finish(store, planned, now_ms))
                    .await?
            }
        };
        self.follow(effects).await;
        Ok(())
    }

    /// Hands over what changed and what was erased here.
    async fn hand_over(&mut self) -> Result<()> {
        let now_ms = self.now_ms();
        let effects = self
            .with_machine(move |machine, store| {
                machine.finish(store, super::machine::Planned::default(), now_ms)
            })
            .await;
        match effects {
            Ok(effects) => {
                self.follow(effects).await;
                Ok(())
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    async fn follow(&mut self, effects: Effects) {
        let mut close = false;
        for outgoing in effects.outgoing {
            let Some(connection) = &self.connection else { break };
            let sent = match outgoing {
                Outgoing::Frame(bytes) => connection.sender.frame(bytes).is_ok(),
                Outgoing::Batch(bytes, priority) => connection.sender.batch(bytes, priority).is_ok(),
                Outgoing::Close(code) => {
                    connection.sender.close(code);
                    close = true;
                    true
                }
            };
            if !sent {
                break;
            }
        }
        if close {
            // The machine has forgotten the session already.
            self.connection = None;
            self.at = None;
        }
        let erased = effects.reports.iter().any(|report| !report.erasures.is_empty());
        if let (true, Some(local)) = (erased, &self.local) {
            // What the relay kept for others went with it.
            local.renew(None).await;
        }
        if let Some(at) = effects.wake_at_ms {
            self.wake_at_ms = Some(self.wake_at_ms.map_or(at, |other| other.min(at)));
        }
        if let Some(engine) = self.engine() {
            engine.after_sync(effects.reports).await;
        }
        if effects
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::Moved(_)))
        {
            self.backoff.reset();
        }
        if effects.notices.contains(&Notice::UpToDate)
            && self.machine.as_ref().is_some_and(|machine| !machine.joined)
        {
            let now_ms = self.now_ms();
            let noted = self.with_machine(move |machine, store| machine.now_joined(store, now_ms));
            if let Err(error) = noted.await {
                self.failed(&error);
            }
        }
        for notice in effects.notices {
            self.notice(notice);
        }
        self.show_state();
    }

    fn notice(&mut self, notice: Notice) {
        let event = match &notice {
            Notice::Refused { code, retry_after_ms } => {
                self.retry_after = Duration::from_millis(*retry_after_ms).min(LONGEST_WAIT);
                self.problem = Some(view::refusal(*code));
                self.called = true;
                if *code == ErrorCode::UnknownAccount {
                    // The next connection brings the whole account: only to whom shows the server's key once more.
                    self.proven = None;
                }
                None
            }
            Notice::UpToDate => {
                self.problem = None;
                self.called = true;
                self.retry_after = Duration::ZERO;
                self.backoff.worked();
                None
            }
            Notice::WrittenAgain(_) => {
                tracing::warn!(what = %view::notice(&notice), "sync");
                None
            }
            // The status says both for as long as they last.
            Notice::ClockSkew(by) => {
                tracing::warn!(what = %view::clock(*by), "sync");
                self.clock_off_ms = Some(*by);
                None
            }
            Notice::QuotaReached => {
                tracing::warn!(what = %view::notice(&notice), "sync");
                None
            }
            Notice::Revoked => {
                self.ended = true;
                Some(EngineEvent::DevicesChanged)
            }
            Notice::Enrolled { .. } | Notice::ShutOut(_) | Notice::Epoch(_) | Notice::JoinComplete => {
                Some(EngineEvent::DevicesChanged)
            }
            Notice::Erasing(_) | Notice::Erased(_) => Some(EngineEvent::ErasuresChanged),
            // These are kept, and shown until they are dismissed.
            Notice::Suspicion(_)
            | Notice::Proof(_)
            | Notice::Tampered
            | Notice::Damaged { .. }
            | Notice::FalseServer => {
                let text = view::notice(&notice);
                tracing::warn!(what = %text, "sync");
                Some(EngineEvent::SyncFindings)
            }
            other => {
                let text = view::notice(other);
                tracing::warn!(what = %text, "sync");
                self.problem = Some(text);
                None
            }
        };
        if let (Some(event), Some(engine)) = (event, self.engine()) {
            engine.tell(event);
        }
        // Nobody listens: fine.
        let _ = self.notices.send(notice);
    }

    fn status(&self) -> Option<SyncStatus> {
        let engine = self.engine()?;
        let machine = self.machine.as_ref()?;
        let problem = self.problem.clone().or(self.clock_off_ms.map(view::clock));
        let now = time(engine.now_ms());
        let mut status = view::status(&machine.device, now, self.ended, problem);
        status.state = self.state_of(machine.device.link());
        status.met = self.with.iter().map(ToString::to_string).collect();
        if status.state == SyncState::Offline && !self.called {
            status.state = SyncState::Connecting;
        }
        Some(status)
    }

    pub(super) fn show_state(&mut self) {
        let Some(machine) = &self.machine else {
            return self.set_state(SyncState::Offline);
        };
        let link = machine.device.link();
        self.set_state(self.state_of(link));
    }

    fn state_of(&self, link: Link) -> SyncState {
        let connected = !matches!(link, Link::Offline | Link::Greeting);
        match self.at {
            Some(At::Server) | None => view::state(link, self.has_server(), self.ended),
            _ if self.ended => SyncState::Revoked,
            _ if connected && !self.with.is_empty() => SyncState::LocalNetwork,
            _ => view::state(Link::Offline, self.has_server(), false),
        }
    }

    pub(super) fn has_server(&self) -> bool {
        let machine = self.machine.as_ref();
        machine.is_none_or(|machine| machine.device.account().server().is_some())
    }

    fn set_state(&mut self, state: SyncState) {
        if self.state != state {
            self.state = state;
            if let Some(engine) = self.engine() {
                engine.tell(EngineEvent::SyncStateChanged { state });
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Status(answer) => {
                if self.machine.is_none()
                    && let Err(error) = self.hand_over().await
                {
                    let _ = answer.send(Err(error));
                } else if let Some(mut status) = self.status() {
                    let read = self.with_machine(|machine, store| {
                        let found = findings::list(store, &machine.device)?;
                        Ok((waiting(store)?, names(store)?, found, machine.stuck()))
                    });
                    if let Ok((waiting, names, found, stuck)) = read.await {
                        if stuck > 0 {
                            status.waits.push(view::too_large(stuck));
                        }
                        status.changed_here = waiting.saturating_sub(stuck as u64);
                        let unconnected = status.state == SyncState::Offline && status.changed_here > 0;
                        if unconnected && !status.waits.iter().any(|wait| wait == view::NO_CONNECTION) {
                            status.waits.insert(0, view::NO_CONNECTION.into());
                        }
                        status.findings = found;
                        view::name_devices(&mut status.devices, &names);
                    }
                    let _ = answer.send(Ok(status));
                }
            }
            Command::Step(input, answer) => {
                let done = self.try_input(*input).await;
                if let Err(error) = &done {
                    self.failed(error);
                }
                let _ = answer.send(done);
            }
            Command::Sponsor(answer) => {
                let made = self.sponsor().await;
                let _ = answer.send(made);
            }
            Command::Certificate(erase, answer) => {
                let now_ms = self.now_ms();
                let made = self
                    .with_machine(move |machine, store| machine.certificate(store, &erase, now_ms))
                    .await;
                let _ = answer.send(made);
            }
            Command::Drill(phrase, answer) => {
                let tried = self
                    .with_machine(move |machine, store| {
                        let wraps = Machine::wraps(store)?;
                        let device = &machine.device;
                        Ok(hearth_sync::recovery::drill(
                            &phrase,
                            device.account(),
                            device.control_log(),
                            wraps.as_ref(),
                        ))
                    })
                    .await;
                let _ = answer.send(tried.and_then(|tried| match tried {
                    Ok(hearth_sync::recovery::Drilled::Opens(epoch)) => Ok(epoch),
                    Ok(hearth_sync::recovery::Drilled::NoEpochYet) => Ok(0),
                    Err(error) => Err(EngineError::InvalidRequest(error.to_string())),
                }));
            }
            Command::Dismiss(answer) => {
                let now_ms = self.now_ms();
                let done = self
                    .with_machine(move |_, store| Machine::dismiss(store, now_ms))
                    .await;
                let _ = answer.send(done);
            }
            // Both are the loop's own.
            Command::Nudge(_) | Command::Stop(_) => {}
        }
    }

    async fn sponsor(&mut self) -> Result<Sponsor> {
        self.try_input(Input::Checkpoint).await?;
        let device = &self.machine.as_ref().ok_or(EngineError::Stopped)?.device;
        let keys = device
            .keychain()
            .public()
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let genesis = device.control_log().first().cloned();
        Ok(Sponsor {
            device: keys,
            genesis: genesis.ok_or_else(|| EngineError::Internal("no genesis".into()))?,
            control: device.account().head(),
            checkpoint: device.checkpoint().unwrap_or(Hash::ZERO),
            min_version: device.account().min_version(),
        })
    }
}

/// Things that changed here, and erasures, that aren't handed over.
fn waiting(store: &Store) -> std::result::Result<u64, hearth_store::StoreError> {
    Ok((store.dirty(usize::MAX)?.len() + store.outgoing_erasures(usize::MAX)?.len()) as u64)
}

fn names(store: &Store) -> std::result::Result<serde_json::Value, hearth_store::StoreError> {
    Ok(store.get_setting(&super::names_setting())?.unwrap_or_default())
}
