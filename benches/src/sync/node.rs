//! A device of the load generator: the real device machine on a real connection, its journal in memory.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use hearth_protocol::control::{ServerIdentity, device_proof_id};
use hearth_protocol::entropy::Entropy;
use hearth_protocol::hash::sha256;
use hearth_protocol::id::{Handle, Hash};
use hearth_sync::content::DocumentKind;
use hearth_sync::device::{
    Device, Founding, Input, Joining, Keychain, Link, LocalContent, MemoryJournal, Notice, Output, Peer,
};
use hearth_sync::recovery::Phrase;
use hearth_transport::{Connection, DialError, Dialer, Event, Identity, Limits};
use rand::RngCore;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, oneshot, watch};

use super::server::Server;

/// How long anything of one device may take before the bench gives up.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// How often a device looks at what is due, whatever it has said.
const LOOK: Duration = Duration::from_mins(1);
/// Times that a device calls before the bench gives up: each takes ten seconds where nobody answers.
const CALLS: usize = 4;
/// Connections that share a socket.
const SOCKETS: usize = 4;

/// Randomness of the generator; good enough for keys that protect nothing.
pub(super) struct Dice(ChaCha20Rng);

impl Dice {
    /// Another one at every call.
    pub(super) fn new() -> Dice {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Dice(ChaCha20Rng::seed_from_u64(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Random bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A handle.
    pub(super) fn handle(&mut self) -> Handle {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        Handle(bytes)
    }
}

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// Something that passed on a device's connection, or was done with it.
#[derive(Debug, Clone)]
pub(super) enum Passed {
    /// A frame, with the length before it counted.
    Frame { out: bool, bytes: Vec<u8> },
    /// A batch.
    Batch { out: bool, bytes: Vec<u8> },
    /// A document got something.
    Applied,
    /// An erasure was carried out.
    Erased,
    /// All is here.
    UpToDate,
}

impl Passed {
    /// Application bytes, and whether they went out.
    pub(super) fn bytes(&self) -> Option<(bool, usize)> {
        match self {
            Passed::Frame { out, bytes } => Some((*out, bytes.len() + 4)),
            Passed::Batch { out, bytes } => Some((*out, bytes.len())),
            _ => None,
        }
    }
}

/// Called with every output of the device, after the step that gave it.
pub(super) type Watcher = Box<dyn FnMut(&Output) + Send>;

/// The device and what surrounds it.
pub(super) struct Node {
    pub(super) device: Device,
    journal: MemoryJournal,
    random: Dice,
    connection: Option<Connection>,
    wake: Option<u64>,
    /// Its clock is ahead by this.
    pub(super) ahead_ms: u64,
    /// What passed, while it is wanted.
    pub(super) passed: Option<Vec<(Instant, Passed)>>,
    pub(super) watcher: Option<Watcher>,
    /// Documents' contents that arrived.
    pub(super) applied: u64,
    pub(super) notices: Vec<Notice>,
    /// Why the last connection ended, in words.
    closed: Option<String>,
}

impl Node {
    /// The time that it goes by.
    pub(super) fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_millis() as u64 + self.ahead_ms
    }

    /// Whether a connection is there and all has arrived, and numbers may be given out.
    pub(super) fn live(&self) -> bool {
        self.device.status(self.now_ms()).link == Link::Live && self.device.writing().is_some()
    }

    /// Whether nothing of this device waits for the server.
    pub(super) fn confirmed(&self) -> bool {
        let status = self.device.status(self.now_ms());
        status.unsealed == 0 && status.unconfirmed == 0 && status.unsent == 0
    }

    fn note(&mut self, what: impl FnOnce() -> Passed) {
        if let Some(passed) = &mut self.passed {
            passed.push((Instant::now(), what()));
        }
    }

    /// One input, and everything that follows from it here.
    pub(super) fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let now = self.now_ms();
            let stepped = self.device.step(input, now, &mut self.random, &self.journal);
            match stepped {
                Ok(outputs) => {
                    for output in outputs {
                        self.carry_out(output, &mut inputs);
                    }
                }
                Err(error) => {
                    self.closed = Some(error.to_string());
                    self.connection = None;
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output, inputs: &mut Vec<Input>) {
        if let Some(watcher) = &mut self.watcher {
            watcher(&output);
        }
        match output {
            Output::Write(records) => self.journal.write(&records),
            Output::Apply { .. } => {
                self.applied += 1;
                self.note(|| Passed::Applied);
            }
            Output::EraseNow { erase, .. } => {
                self.note(|| Passed::Erased);
                inputs.push(Input::ClosureDone {
                    erase,
                    journal: sha256(&erase.0),
                    more: Vec::new(),
                });
            }
            Output::Send(bytes) => {
                self.note(|| Passed::Frame {
                    out: true,
                    bytes: bytes.clone(),
                });
                if let Some(connection) = &self.connection {
                    // A connection that is gone says so by itself.
                    let _ = connection.sender.frame(bytes);
                }
            }
            Output::SendBatch { bytes, priority } => {
                self.note(|| Passed::Batch {
                    out: true,
                    bytes: bytes.clone(),
                });
                if let Some(connection) = &self.connection {
                    let _ = connection.sender.batch(bytes, priority);
                }
            }
            Output::Close(code) => {
                self.closed = Some(format!("closed here: {code:?}"));
                if let Some(connection) = self.connection.take() {
                    connection.sender.close(code);
                }
            }
            // As large as a memory's document is; only the generator's own documents grow so far.
            Output::NeedSnapshot { handle } => inputs.push(Input::Changed {
                handle,
                kind: DocumentKind::Memory,
                content: LocalContent::Snapshot {
                    document: self.random.bytes(300),
                },
            }),
            Output::Notice(notice) => {
                if notice == Notice::UpToDate {
                    self.note(|| Passed::UpToDate);
                }
                self.notices.push(notice);
            }
            Output::WakeAt(at) => self.wake = Some(self.wake.map_or(at, |other| other.min(at))),
            Output::Keychain(_) | Output::Publish { .. } => {}
        }
    }

    /// Something new of a document, as bytes that the generator made.
    pub(super) fn change(&mut self, handle: Handle, changes: Vec<Vec<u8>>) {
        self.give(Input::Changed {
            handle,
            kind: DocumentKind::Memory,
            content: LocalContent::Changes(changes),
        });
    }

    fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.sender.close(None);
        }
        self.give(Input::Disconnected);
    }

    async fn call(&mut self, dialer: &Dialer, address: SocketAddr) -> Result<()> {
        let identity = Identity::from_seed(self.device.keychain().transport.expose())?;
        let mut left = CALLS;
        let connection = loop {
            left -= 1;
            match dialer.connect(&identity, address, "localhost").await {
                // As a device does: thousands of handshakes at once, on the generator's processors, take their time.
                Err(DialError::Unreachable | DialError::Busy) if left > 0 => {}
                called => break called?,
            }
        };
        let exporter = connection.exporter;
        self.connection = Some(connection);
        self.give(Input::Connected {
            exporter,
            peer: Peer::Server,
        });
        Ok(())
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>, tick: watch::Sender<u64>) {
        loop {
            let now = self.now_ms();
            let wait = self
                .wake
                .map_or(LOOK, |at| Duration::from_millis(at.saturating_sub(now)))
                .min(LOOK);
            let connection = self.connection.as_mut();
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None => break,
                    Some(Order::Do(work)) => {
                        work(&mut self);
                        continue;
                    }
                    Some(Order::Call(dialer, address, answer)) => {
                        let called = self.call(&dialer, address).await;
                        let _ = answer.send(called);
                    }
                },
                event = async {
                    match connection {
                        Some(connection) => connection.events.next().await,
                        None => std::future::pending().await,
                    }
                } => match event {
                    Event::Frame(bytes) => {
                        self.note(|| Passed::Frame { out: false, bytes: bytes.clone() });
                        self.give(Input::Frame(bytes));
                    }
                    Event::Batch(bytes) => {
                        self.note(|| Passed::Batch { out: false, bytes: bytes.clone() });
                        self.give(Input::Batch(bytes));
                    }
                    Event::Closed(closed) => {
                        self.closed = Some(format!("{:?} {}", closed.code, closed.detail));
                        self.connection = None;
                        self.give(Input::Disconnected);
                    }
                },
                () = tokio::time::sleep(wait) => {
                    self.wake = None;
                    self.give(Input::Tick);
                }
            }
            tick.send_modify(|count| *count += 1);
        }
        self.hang_up();
    }
}

enum Order {
    Do(Box<dyn FnOnce(&mut Node) + Send>),
    Call(Dialer, SocketAddr, oneshot::Sender<Result<()>>),
}

/// A way to a device that runs. Dropping it ends the device.
pub(super) struct Running {
    orders: mpsc::UnboundedSender<Order>,
    ticks: watch::Receiver<u64>,
    dialer: Dialer,
    address: SocketAddr,
}

impl Running {
    fn start(device: Device, outputs: Vec<Output>, net: &Net) -> Running {
        let mut node = Node {
            device,
            journal: MemoryJournal::default(),
            random: Dice::new(),
            connection: None,
            wake: None,
            ahead_ms: 0,
            passed: None,
            watcher: None,
            applied: 0,
            notices: Vec::new(),
            closed: None,
        };
        let mut inputs = Vec::new();
        for output in outputs {
            node.carry_out(output, &mut inputs);
        }
        let (orders, from_bench) = mpsc::unbounded_channel();
        let (tick, ticks) = watch::channel(0);
        tokio::spawn(node.run(from_bench, tick));
        Running {
            orders,
            ticks,
            dialer: net.dialer(),
            address: net.address,
        }
    }

    /// Works on the device, without waiting for it.
    pub(super) fn tell(&self, work: impl FnOnce(&mut Node) + Send + 'static) {
        // One that has ended has nothing to do.
        let _ = self.orders.send(Order::Do(Box::new(work)));
    }

    /// Works on the device, and gives what that gave.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.tell(move |node| {
            let _ = answer.send(work(node));
        });
        answered.await.context("a device has ended")
    }

    /// Waits until something is so.
    pub(super) async fn until(
        &self,
        what: &str,
        so: impl Fn(&Node) -> bool + Send + Clone + 'static,
    ) -> Result<()> {
        let mut ticks = self.ticks.clone();
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            ticks.mark_unchanged();
            let so = so.clone();
            let looked = self.ask(move |node| {
                let status = node.device.status(node.now_ms());
                let last = node
                    .notices
                    .iter()
                    .rev()
                    .take(3)
                    .map(|notice| format!("{notice:?}"));
                let last: Vec<String> = last.collect();
                let how = format!(
                    "{:?}, {:?}, {} arrived, {last:?}, {:?}",
                    status.link, status.waits, node.applied, node.closed
                );
                (so(node), how)
            });
            let (is, how) = looked.await?;
            if is {
                return Ok(());
            }
            if tokio::time::timeout_at(end, ticks.changed()).await.is_err() {
                bail!("{what} didn't happen: {how}");
            }
        }
    }

    /// Calls the server.
    pub(super) async fn call(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Call(self.dialer.clone(), self.address, answer);
        self.orders.send(order).ok().context("a device has ended")?;
        answered.await?
    }

    /// Calls the server, and waits until all has arrived.
    pub(super) async fn online(&self) -> Result<()> {
        self.call().await?;
        self.until("being live", Node::live).await
    }

    /// Ends the connection.
    pub(super) async fn offline(&self) -> Result<()> {
        self.ask(Node::hang_up).await
    }

    /// Gives an input.
    pub(super) async fn give(&self, input: Input) -> Result<()> {
        self.ask(move |node| node.give(input)).await
    }

    /// Waits until the server has confirmed everything of this device.
    pub(super) async fn confirmed(&self) -> Result<()> {
        self.until("the server's confirmation", Node::confirmed).await
    }

    /// Waits until so much has arrived.
    pub(super) async fn applied(&self, count: u64) -> Result<()> {
        self.until("the arrival of everything", move |node| node.applied >= count)
            .await
    }
}

/// The generator's sockets, and the server that they call.
pub(super) struct Net {
    dialers: Vec<Dialer>,
    next: AtomicU64,
    address: SocketAddr,
    server: ServerIdentity,
}

impl Net {
    /// Opens the sockets.
    pub(super) fn new(server: &Server) -> Result<Net> {
        Ok(Net {
            dialers: (0..SOCKETS).map(|_| dialer()).collect::<Result<_>>()?,
            next: AtomicU64::new(0),
            address: server.address,
            server: server.identity.clone(),
        })
    }

    fn dialer(&self) -> Dialer {
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        self.dialers[next % self.dialers.len()].clone()
    }

    /// A new account with one device, which is live.
    pub(super) async fn found(&self) -> Result<Running> {
        let mut dice = Dice::new();
        let founding = Founding {
            phrase: Phrase::random(&mut dice),
            server: Some(self.server.clone()),
            invitation: String::new(),
        };
        let keys = Keychain::random(&mut dice);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        let (device, outputs) = Device::create(founding, keys, now, &mut dice)?;
        let running = Running::start(device, outputs, self);
        running.online().await?;
        Ok(running)
    }

    /// Lets one more device into the account of a device, as a pairing would after its digits were compared.
    pub(super) async fn enrol(&self, by: &Running) -> Result<Running> {
        let mut dice = Dice::new();
        let keys = Keychain::random(&mut dice);
        let public = keys.public()?;
        let transcript = sha256(&dice.bytes(16));
        by.give(Input::Checkpoint).await?;
        let (joining, account) = by
            .ask(move |node| {
                let device = &node.device;
                let joining = device.control_log().first().map(|genesis| Joining {
                    genesis: genesis.clone(),
                    control: device.account().head(),
                    checkpoint: device.checkpoint().unwrap_or(Hash::ZERO),
                    transcript,
                });
                (joining, device.account_id())
            })
            .await?;
        let proof = keys
            .signing()?
            .sign(&device_proof_id(&account, &public, &transcript));
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        let (device, outputs) = Device::join(joining.context("no genesis")?, keys, now, &mut dice)?;
        let id = device.id();
        by.give(Input::Enrol {
            keys: public,
            proof,
            transcript,
        })
        .await?;
        by.until("an enrolment", move |node| {
            node.notices
                .iter()
                .any(|notice| matches!(notice, Notice::Enrolled { device, .. } if *device == id))
        })
        .await?;
        let running = Running::start(device, outputs, self);
        running.online().await?;
        Ok(running)
    }

    /// A new account with so many devices, all live.
    pub(super) async fn account(&self, devices: usize) -> Result<Vec<Running>> {
        let mut all = vec![self.found().await?];
        while all.len() < devices {
            let new = self.enrol(&all[0]).await?;
            all.push(new);
        }
        Ok(all)
    }
}

/// A socket to call from.
pub(super) fn dialer() -> Result<Dialer> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(Dialer::new(socket, Limits::default())?)
}
