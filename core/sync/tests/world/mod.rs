//! A world in memory: devices with their disks, a server with its store, connections that lose and reorder, and a clock.
//!
//! Everything that happens is drawn from one seed, so a seed is a run: [`World::trace`] is the hash of all of it.
//! A document is the set of the changes made to it; a snapshot is the encoding of that set.
#![allow(unreachable_pub, clippy::disallowed_methods)] // Its knobs are in the environment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{ServerIdentity, device_proof_id};
use hearth_protocol::entropy::Entropy;
use hearth_protocol::envelope::Batch;
use hearth_protocol::hash::sha256;
use hearth_protocol::id::{DeviceId, Handle, Hash, LogId, Signature, VerifyKey};
use hearth_relay::{Config, Input as ToRelay, MemoryStore, Output as FromRelay, Relay, SessionId, Signer};
use hearth_sync::content::DocumentKind;
use hearth_sync::device::{
    Device, Founding, Incoming, Input, Joining, Keychain, LocalContent, MemoryJournal, Notice, Output, Peer,
    Recovery, Step,
};
use hearth_sync::keys::SigningKey;
use hearth_sync::recovery::Phrase;
use hearth_sync::secret::Secret;

/// A stream of random bytes out of a seed.
#[derive(Debug, Clone)]
pub struct Seeded {
    seed: u64,
    count: u64,
}

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// Below `limit`, which isn't 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.count += 1;
            let digest = sha256(&[self.seed.to_be_bytes(), self.count.to_be_bytes()].concat());
            chunk.copy_from_slice(&digest.0[..chunk.len()]);
        }
    }
}

struct ServerKey(SigningKey);

impl Signer for ServerKey {
    fn public(&self) -> VerifyKey {
        self.0.public()
    }
    fn sign(&self, id: &Hash) -> Signature {
        self.0.sign(id)
    }
}

/// What faults there are: once in so many events each; 0: never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub lose_connection: usize,
    pub crash: usize,
}

/// What each document says: the changes made to it.
pub type Documents = BTreeMap<Handle, BTreeSet<Vec<u8>>>;

/// A device's disk: what a transaction holds together.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub journal: MemoryJournal,
    pub documents: Documents,
    /// Changes that were made here and not handed over.
    pub dirty: BTreeSet<(Handle, Vec<u8>)>,
    pub erased: BTreeSet<Handle>,
    /// Pieces of documents whose end hasn't come.
    pieces: BTreeMap<(Handle, LogId), Vec<u8>>,
}

pub struct Node {
    pub device: Option<Device>,
    pub disk: Disk,
    pub keychain: Vec<u8>,
    /// Inputs of the node's own core, lost in a crash.
    pending: VecDeque<Input>,
    pub session: Option<SessionId>,
    pub online: bool,
    /// Which relay it calls.
    pub calls: usize,
    wake: Option<u64>,
    pub notices: Vec<Notice>,
    random: Seeded,
    /// What the node's clock is off by.
    pub skew: i64,
}

#[derive(Default)]
struct Pipe {
    control: VecDeque<Vec<u8>>,
    batches: BTreeMap<LogId, VecDeque<Vec<u8>>>,
    ends: bool,
}

impl Pipe {
    fn len(&self) -> usize {
        usize::from(!self.control.is_empty()) + self.batches.len()
    }

    fn batch(&mut self, bytes: Vec<u8>) {
        let log = match Batch::decode(&bytes) {
            Ok(Batch::Run(run)) => run.log,
            _ => LogId([0; 16]),
        };
        self.batches.entry(log).or_default().push_back(bytes);
    }

    /// The next message of the queue with this number; true: a batch.
    fn take(&mut self, which: usize) -> Option<(bool, Vec<u8>)> {
        let mut which = which;
        if !self.control.is_empty() {
            if which == 0 {
                return self.control.pop_front().map(|bytes| (false, bytes));
            }
            which -= 1;
        }
        let log = *self.batches.keys().nth(which)?;
        let queue = self.batches.get_mut(&log)?;
        let bytes = queue.pop_front();
        if queue.is_empty() {
            self.batches.remove(&log);
        }
        bytes.map(|bytes| (true, bytes))
    }
}

struct Connection {
    node: usize,
    relay: usize,
    up: Pipe,
    down: Pipe,
}

pub struct World {
    pub random: Seeded,
    /// The server, then those that devices run for the local network.
    pub relays: Vec<Relay<MemoryStore>>,
    peers: Vec<Peer>,
    server: ServerIdentity,
    server_seed: Secret,
    pub nodes: Vec<Node>,
    connections: BTreeMap<SessionId, Connection>,
    next_session: u64,
    pub now: u64,
    pub faults: Faults,
    pub phrase: Phrase,
    trace: Hash,
    pub events: u64,
    /// Bytes that went either way.
    pub bytes: usize,
    pub frames: usize,
    pub verbose: bool,
}

/// Bytes for a set.
fn snapshot(set: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in set {
        (item.len() as u64).write(&mut bytes);
        bytes.extend_from_slice(item);
    }
    bytes
}

fn read_snapshot(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut reader = hearth_protocol::codec::Reader::new(bytes);
    let mut set = BTreeSet::new();
    while reader.remaining() > 0 {
        let length = u64::read(&mut reader).unwrap();
        set.insert(reader.take(length as usize).unwrap().to_vec());
    }
    set
}

impl World {
    /// One device with an account, not connected yet.
    pub fn new(seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let server_seed = Secret::random(&mut random);
        let key = SigningKey::from_seed(&server_seed).unwrap();
        let server = ServerIdentity {
            key: key.public(),
            endpoint: "server:1".to_string().try_into().unwrap(),
        };
        let config = Config::server(Box::new(ServerKey(key)));
        let phrase = Phrase::random(&mut random);
        let mut world = Self {
            relays: vec![Relay::new(MemoryStore::new(), config).unwrap()],
            peers: vec![Peer::Server],
            server,
            server_seed,
            nodes: Vec::new(),
            connections: BTreeMap::new(),
            next_session: 1,
            now: 1_800_000_000_000,
            faults: Faults::default(),
            phrase,
            trace: Hash::ZERO,
            events: 0,
            bytes: 0,
            frames: 0,
            verbose: std::env::var_os("WORLD").is_some(),
            random,
        };
        let keys = Keychain::random(&mut world.random);
        let mut node = world.node();
        let founding = Founding {
            recovery: world.phrase.public().unwrap(),
            server: Some(world.server.clone()),
            invitation: String::new(),
        };
        let (device, outputs) = Device::create(founding, keys, world.now, &mut node.random).unwrap();
        node.device = Some(device);
        world.nodes.push(node);
        world.carry_out(0, outputs, None);
        world
    }

    fn node(&mut self) -> Node {
        Node {
            device: None,
            disk: Disk::default(),
            keychain: Vec::new(),
            pending: VecDeque::new(),
            session: None,
            online: false,
            calls: 0,
            wake: None,
            notices: Vec::new(),
            random: Seeded::new(self.random.number()),
            skew: 0,
        }
    }

    /// Hash of everything that happened.
    pub fn trace(&self) -> Hash {
        self.trace
    }

    fn log(&mut self, what: &str, bytes: &[u8]) {
        self.events += 1;
        self.trace = sha256(&[&self.trace.0, what.as_bytes(), &sha256(bytes).0].concat());
        if self.verbose {
            println!("{:6} {what} {} bytes", self.events, bytes.len());
        }
    }

    /// Lets a new device in, by a device that is a member; both online afterwards once it is let in.
    pub fn enrol(&mut self, by: usize) -> usize {
        let mut node = self.node();
        let keys = Keychain::random(&mut node.random);
        let public = keys.public().unwrap();
        let old = self.nodes[by].device.as_ref().unwrap();
        let transcript = sha256(&self.random.number().to_be_bytes());
        let proof = keys
            .signing()
            .unwrap()
            .sign(&device_proof_id(&old.account_id(), &public, &transcript));
        let joining = Joining {
            genesis: old.control_log()[0].clone(),
            control: old.account().head(),
            checkpoint: old.checkpoint().unwrap_or(Hash::ZERO),
            transcript,
        };
        let (device, outputs) = Device::join(joining, keys, self.now, &mut node.random).unwrap();
        node.device = Some(device);
        self.nodes.push(node);
        let new = self.nodes.len() - 1;
        self.carry_out(new, outputs, None);
        self.give(
            by,
            Input::Enrol {
                keys: public,
                proof,
                transcript,
            },
        );
        new
    }

    pub fn device(&self, node: usize) -> &Device {
        self.nodes[node].device.as_ref().unwrap()
    }

    /// Connects a node to the server, and keeps it connected.
    pub fn online(&mut self, node: usize) {
        self.nodes[node].online = true;
    }

    pub fn offline(&mut self, node: usize) {
        self.nodes[node].online = false;
        if let Some(session) = self.nodes[node].session {
            self.drop_connection(session);
        }
    }

    fn connect(&mut self, node: usize) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let mut exporter = [0; 32];
        self.random.fill(&mut exporter);
        let transport = self.device(node).keychain().transport_public().unwrap();
        let relay = self.nodes[node].calls;
        let out = self.relays[relay]
            .step(
                session,
                ToRelay::Connected {
                    transport_key: transport.0,
                    exporter,
                },
                self.now,
                &mut self.random,
            )
            .unwrap();
        self.connections.insert(
            session,
            Connection {
                node,
                relay,
                up: Pipe::default(),
                down: Pipe::default(),
            },
        );
        self.nodes[node].session = Some(session);
        self.log(&format!("connect {node}"), &[]);
        self.hand_down(out);
        self.give(
            node,
            Input::Connected {
                exporter,
                peer: self.peers[relay],
            },
        );
    }

    fn drop_connection(&mut self, session: SessionId) {
        let Some(connection) = self.connections.remove(&session) else {
            return;
        };
        let (node, relay) = (connection.node, connection.relay);
        let out = self.relays[relay]
            .step(session, ToRelay::Closed, self.now, &mut self.random)
            .unwrap();
        self.hand_down(out);
        if self.nodes[node].session == Some(session) {
            self.nodes[node].session = None;
            self.log(&format!("disconnect {node}"), &[]);
            if self.nodes[node].device.is_some() {
                self.give(node, Input::Disconnected);
            }
        }
    }

    fn hand_down(&mut self, outputs: Vec<FromRelay>) {
        for output in outputs {
            match output {
                FromRelay::Frame { to, bytes } => {
                    if let Some(connection) = self.connections.get_mut(&to) {
                        connection.down.control.push_back(bytes);
                    }
                }
                FromRelay::Batch { to, bytes, .. } => {
                    if let Some(connection) = self.connections.get_mut(&to) {
                        connection.down.batch(bytes);
                    }
                }
                FromRelay::Close { to, .. } => {
                    if let Some(connection) = self.connections.get_mut(&to) {
                        connection.down.ends = true;
                    }
                }
            }
        }
    }

    /// Gives a node's device one input and does what it says; it may crash in between.
    pub fn give(&mut self, node: usize, input: Input) {
        // The marks go in the transaction that the changes wait in.
        let mut marks = Vec::new();
        if let Input::Changed { handle, content, .. } = &input {
            let all = self.nodes[node].disk.dirty.iter();
            marks.extend(all.filter(|(other, _)| other == handle).cloned());
            if let LocalContent::Changes(changes) = content {
                marks.retain(|(_, change)| changes.contains(change));
            }
        }
        let now = self.clock(node);
        let this = &mut self.nodes[node];
        let Some(device) = this.device.as_mut() else {
            return;
        };
        let outputs = device
            .step(input, now, &mut this.random, &this.disk.journal)
            .unwrap();
        let crash = if self.faults.crash > 0 && self.random.once_in(self.faults.crash) {
            Some(self.random.below(outputs.len() + 1))
        } else {
            None
        };
        if crash != Some(0) {
            for mark in marks {
                self.nodes[node].disk.dirty.remove(&mark);
            }
        }
        self.carry_out(node, outputs, crash);
    }

    pub fn clock(&self, node: usize) -> u64 {
        self.now.saturating_add_signed(self.nodes[node].skew)
    }

    fn carry_out(&mut self, node: usize, outputs: Vec<Output>, crash: Option<usize>) {
        // What belongs to the transaction is done or not as a whole.
        let within = outputs
            .iter()
            .take_while(|output| {
                matches!(
                    output,
                    Output::Write(_) | Output::Apply { .. } | Output::EraseNow { .. }
                )
            })
            .count();
        if crash == Some(0) {
            self.crash(node);
            return;
        }
        for (place, output) in outputs.into_iter().enumerate() {
            if place >= within && crash.is_some_and(|crash| crash.max(within) <= place) {
                self.crash(node);
                return;
            }
            self.carry_out_one(node, output);
        }
    }

    fn carry_out_one(&mut self, node: usize, output: Output) {
        let this = &mut self.nodes[node];
        match output {
            Output::Write(records) => this.disk.journal.write(&records),
            Output::Apply {
                handle, content, log, ..
            } => {
                assert!(
                    !this.disk.erased.contains(&handle),
                    "an erased document was delivered again to {node}"
                );
                let document = this.disk.documents.entry(handle).or_default();
                match content {
                    Incoming::Changes(changes) => document.extend(changes),
                    Incoming::Snapshot { document: bytes, .. } => {
                        let whole = match this.disk.pieces.remove(&(handle, log)) {
                            Some(pieces) if bytes.is_empty() => pieces,
                            _ => bytes,
                        };
                        document.extend(read_snapshot(&whole));
                    }
                    Incoming::Chunk { index, bytes, .. } => {
                        let pieces = this.disk.pieces.entry((handle, log)).or_default();
                        if index == 0 {
                            pieces.clear();
                        }
                        pieces.extend(bytes);
                    }
                }
            }
            Output::EraseNow { erase, handles } => {
                for handle in handles {
                    this.disk.documents.remove(&handle);
                    this.disk.dirty.retain(|(other, _)| *other != handle);
                    this.disk.erased.insert(handle);
                }
                this.pending.push_back(Input::ClosureDone {
                    erase,
                    journal: sha256(&erase.0),
                    more: Vec::new(),
                });
            }
            Output::Keychain(keys) => this.keychain = keys.encode().to_vec(),
            Output::Send(bytes) => {
                self.frames += 1;
                self.bytes += bytes.len();
                if let Some(connection) = this
                    .session
                    .and_then(|session| self.connections.get_mut(&session))
                {
                    connection.up.control.push_back(bytes);
                }
            }
            Output::SendBatch { bytes, .. } => {
                self.bytes += bytes.len();
                if let Some(connection) = this
                    .session
                    .and_then(|session| self.connections.get_mut(&session))
                {
                    connection.up.batch(bytes);
                }
            }
            Output::Close(_) => {
                if let Some(session) = this.session.take()
                    && let Some(connection) = self.connections.remove(&session)
                {
                    let out = self.relays[connection.relay]
                        .step(session, ToRelay::Closed, self.now, &mut self.random)
                        .unwrap();
                    self.hand_down(out);
                }
            }
            Output::Publish { .. } => {}
            Output::NeedSnapshot { handle } => {
                if let Some(set) = this.disk.documents.get(&handle) {
                    // Made when it is given, so that it holds everything that came before.
                    let document = snapshot(set);
                    this.pending.push_back(Input::Changed {
                        handle,
                        kind: DocumentKind::Memory,
                        content: LocalContent::Snapshot {
                            heads: Vec::new(),
                            document,
                        },
                    });
                }
            }
            Output::Notice(notice) => {
                if self.verbose {
                    println!("       node {node}: {notice:?}");
                }
                if notice == Notice::Revoked {
                    this.online = false;
                }
                this.notices.push(notice);
            }
            Output::WakeAt(at) => {
                let at = at.saturating_add_signed(-this.skew);
                this.wake = Some(this.wake.map_or(at, |other| other.min(at)));
            }
        }
    }

    /// The process of a node ends; what is on its disk stays.
    pub fn crash(&mut self, node: usize) {
        self.log(&format!("crash {node}"), &[]);
        self.nodes[node].device = None;
        self.nodes[node].pending.clear();
        self.nodes[node].wake = None;
        if let Some(session) = self.nodes[node].session.take()
            && let Some(connection) = self.connections.remove(&session)
        {
            let out = self.relays[connection.relay]
                .step(session, ToRelay::Closed, self.now, &mut self.random)
                .unwrap();
            self.hand_down(out);
        }
    }

    fn start(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let keys = Keychain::decode(&this.keychain).unwrap();
        this.device = Some(Device::load(&this.disk.journal, keys).unwrap());
        self.log(&format!("start {node}"), &[]);
        self.give(node, Input::Tick);
    }

    /// A change that a user makes on a node.
    pub fn edit(&mut self, node: usize, handle: Handle, change: &[u8]) {
        let this = &mut self.nodes[node];
        if this.disk.erased.contains(&handle) {
            return;
        }
        this.disk
            .documents
            .entry(handle)
            .or_default()
            .insert(change.to_vec());
        this.disk.dirty.insert((handle, change.to_vec()));
    }

    pub fn erase(&mut self, node: usize, handle: Handle) {
        self.give(node, Input::Erase(vec![handle]));
    }

    pub fn handle(&mut self) -> Handle {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        Handle(bytes)
    }

    /// Whatever a node's core has to hand over.
    fn own_input(&mut self, node: usize) -> Option<Input> {
        let this = &mut self.nodes[node];
        if let Some(mut input) = this.pending.pop_front() {
            if let Input::Changed {
                handle,
                content: LocalContent::Snapshot { document, .. },
                ..
            } = &mut input
            {
                // As it is by now.
                match this.disk.documents.get(handle) {
                    Some(set) => *document = snapshot(set),
                    None => return None,
                }
            }
            return Some(input);
        }
        let device = this.device.as_ref()?;
        device.writing()?;
        let (handle, _) = this.disk.dirty.first()?.clone();
        let changes: Vec<Vec<u8>> = this
            .disk
            .dirty
            .iter()
            .filter(|(other, _)| *other == handle)
            .map(|(_, change)| change.clone())
            .collect();
        Some(Input::Changed {
            handle,
            kind: DocumentKind::Memory,
            content: LocalContent::Changes(changes),
        })
    }

    fn has_own_input(&self, node: usize) -> bool {
        let this = &self.nodes[node];
        !this.pending.is_empty()
            || (!this.disk.dirty.is_empty()
                && this
                    .device
                    .as_ref()
                    .is_some_and(|device| device.writing().is_some()))
    }

    /// One event, drawn from the seed; false: there is nothing to do now.
    pub fn step(&mut self) -> bool {
        self.now += 1 + self.random.number() % 20;
        for node in 0..self.nodes.len() {
            if self.nodes[node].device.is_none() {
                self.start(node);
                return true;
            }
        }
        let mut choices: Vec<(u8, usize, SessionId)> = Vec::new();
        let none = SessionId(0);
        for (node, this) in self.nodes.iter().enumerate() {
            if this.online && this.session.is_none() {
                choices.push((0, node, none));
            }
            if self.has_own_input(node) {
                choices.push((1, node, none));
            }
            if this.wake.is_some_and(|at| at <= self.now) {
                choices.push((2, node, none));
            }
        }
        for (session, connection) in &self.connections {
            for _ in 0..connection.up.len() {
                choices.push((3, connection.node, *session));
            }
            for _ in 0..connection.down.len() {
                choices.push((4, connection.node, *session));
            }
            if connection.down.len() == 0 && connection.down.ends {
                choices.push((5, connection.node, *session));
            }
        }
        for (place, relay) in self.relays.iter().enumerate() {
            if relay.wants_tick().is_some_and(|at| at <= self.now) {
                choices.push((6, place, none));
            }
        }
        if choices.is_empty() {
            return false;
        }
        if self.faults.lose_connection > 0
            && !self.connections.is_empty()
            && self.random.once_in(self.faults.lose_connection)
        {
            let which = self.random.below(self.connections.len());
            if let Some(session) = self.connections.keys().nth(which).copied() {
                self.drop_connection(session);
                return true;
            }
        }
        let (what, node, session) = choices[self.random.below(choices.len())];
        match what {
            0 => self.connect(node),
            1 => {
                if let Some(input) = self.own_input(node) {
                    self.log(&format!("own {node}"), &[]);
                    self.give(node, input);
                }
            }
            2 => {
                self.nodes[node].wake = None;
                self.log(&format!("tick {node}"), &[]);
                self.give(node, Input::Tick);
            }
            3 => self.deliver_up(node, session),
            4 => self.deliver_down(node, session),
            5 => self.drop_connection(session),
            _ => {
                self.log("relay tick", &[]);
                let out = self.relays[node].tick(self.now, &mut self.random).unwrap();
                self.hand_down(out);
            }
        }
        true
    }

    fn deliver_up(&mut self, node: usize, session: SessionId) {
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        let relay = connection.relay;
        let which = self.random.below(connection.up.len());
        let Some((is_batch, bytes)) = connection.up.take(which) else {
            return;
        };
        let mut what = format!("{node} → relay{}", if is_batch { " batch" } else { "" });
        if self.verbose && !is_batch {
            let text = format!("{:?}", hearth_protocol::message::RequestFrame::decode(&bytes));
            let _ = write!(what, " {text:.300}");
        }
        self.log(&what, &bytes);
        let input = if is_batch {
            ToRelay::Batch(&bytes)
        } else {
            ToRelay::Frame(&bytes)
        };
        let out = self.relays[relay]
            .step(session, input, self.now, &mut self.random)
            .unwrap();
        self.hand_down(out);
    }

    fn deliver_down(&mut self, node: usize, session: SessionId) {
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        let relay = connection.relay;
        let which = self.random.below(connection.down.len());
        let Some((is_batch, bytes)) = connection.down.take(which) else {
            return;
        };
        let drained = connection.down.len() == 0;
        let mut what = format!("relay → {node}{}", if is_batch { " batch" } else { "" });
        if self.verbose && !is_batch {
            let text = format!("{:?}", hearth_protocol::message::ReplyFrame::decode(&bytes));
            let _ = write!(what, " {text:.300}");
        }
        self.log(&what, &bytes);
        self.bytes += bytes.len();
        let input = if is_batch {
            Input::Batch(bytes)
        } else {
            Input::Frame(bytes)
        };
        self.give(node, input);
        if drained && self.connections.contains_key(&session) {
            let out = self.relays[relay]
                .step(session, ToRelay::Drained, self.now, &mut self.random)
                .unwrap();
            self.hand_down(out);
        }
    }

    /// Runs until nothing happens any more and no clock is due within `patience_ms`.
    pub fn settle(&mut self, patience_ms: u64) {
        let end = self.now + patience_ms;
        let mut steps = 0;
        loop {
            while self.step() {
                steps += 1;
                assert!(steps < 200_000, "it never comes to rest");
            }
            let next = self
                .nodes
                .iter()
                .filter_map(|node| node.wake)
                .chain(self.relays.iter().filter_map(Relay::wants_tick))
                .min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => return,
            }
        }
    }

    /// Runs so many events.
    pub fn run(&mut self, events: usize) {
        for _ in 0..events {
            if !self.step() {
                return;
            }
        }
    }

    /// Every member that is online has the same documents.
    pub fn assert_converged(&self) {
        let mut seen: Option<(usize, &Documents)> = None;
        for (node, this) in self.nodes.iter().enumerate() {
            let Some(device) = &this.device else { continue };
            if !this.online || device.account().member(&device.id()).is_none() {
                continue;
            }
            assert!(
                this.disk.dirty.is_empty(),
                "node {node} hasn't published everything"
            );
            match seen {
                None => seen = Some((node, &this.disk.documents)),
                Some((other, documents)) => assert!(
                    *documents == this.disk.documents,
                    "nodes {other} and {node} differ: {documents:?}\n{:?}\n{:#?}\n{:#?}",
                    this.disk.documents,
                    device.status(self.now),
                    self.device(other).status(self.now),
                ),
            }
        }
    }

    /// Nobody was accused of anything.
    pub fn assert_honest(&self) {
        for (node, this) in self.nodes.iter().enumerate() {
            for notice in &this.notices {
                assert!(
                    !matches!(
                        notice,
                        Notice::Proof(_)
                            | Notice::Tampered
                            | Notice::FalseServer
                            | Notice::Suspicion(_)
                            | Notice::Damaged { .. }
                            | Notice::RestoredOrCopied
                    ),
                    "node {node} says {notice:?}"
                );
            }
        }
    }

    /// Nothing of these bytes is on any device's disk.
    pub fn assert_gone(&self, handle: &Handle) {
        for (node, this) in self.nodes.iter().enumerate() {
            assert!(
                !this.disk.documents.contains_key(handle),
                "node {node} has the document"
            );
        }
    }

    /// Lets a node serve others on the local network: the relay to call.
    pub fn serve(&mut self, node: usize) -> usize {
        let device = self.device(node);
        let key = SigningKey::from_seed(&device.keychain().transport).unwrap();
        let (peer, history) = (Peer::Device(key.public()), device.control_log().to_vec());
        let mut relay = Relay::new(MemoryStore::new(), Config::peer(Box::new(ServerKey(key)))).unwrap();
        relay.adopt(&history).unwrap();
        self.relays.push(relay);
        self.peers.push(peer);
        self.relays.len() - 1
    }

    /// A node calls another relay from here on.
    pub fn call(&mut self, node: usize, relay: usize) {
        self.offline(node);
        self.nodes[node].calls = relay;
        self.online(node);
    }

    /// The server's store comes back from a backup.
    pub fn restore_server(&mut self, store: MemoryStore) {
        let sessions: Vec<SessionId> = self.connections.keys().copied().collect();
        for session in sessions {
            self.drop_connection(session);
        }
        let key = SigningKey::from_seed(&self.server_seed).unwrap();
        self.relays[0] = Relay::new(store, Config::server(Box::new(ServerKey(key)))).unwrap();
        self.relays[0].restored().unwrap();
        self.log("server restored", &[]);
    }

    /// A device's disk comes back from a backup; its keychain doesn't.
    pub fn restore_disk(&mut self, node: usize, disk: Disk) {
        self.crash(node);
        self.nodes[node].disk = disk;
        self.log(&format!("disk {node} restored"), &[]);
    }

    /// Lets a new device in by the phrase alone; only these devices stay.
    pub fn recover(&mut self, keep: &[DeviceId]) -> usize {
        let mut node = self.node();
        let keys = Keychain::random(&mut node.random);
        let transport_key = keys.transport_public().unwrap().0;
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let exporter = [7; 32];
        let connected = ToRelay::Connected {
            transport_key,
            exporter,
        };
        self.relays[0]
            .step(session, connected, self.now, &mut self.random)
            .unwrap();
        let (mut recovery, first) = Recovery::new(self.phrase.clone(), keys, exporter).unwrap();
        let mut steps = VecDeque::from(first);
        let mut done = None;
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Send(bytes) => {
                    let input = ToRelay::Frame(&bytes);
                    let out = self.relays[0]
                        .step(session, input, self.now, &mut self.random)
                        .unwrap();
                    for output in out {
                        match output {
                            FromRelay::Frame { to, bytes } if to == session => {
                                steps.extend(recovery.frame(&bytes, self.now, &mut node.random).unwrap());
                            }
                            other => self.hand_down(vec![other]),
                        }
                    }
                }
                Step::Found(_) => steps.extend(recovery.keep(keep, self.now).unwrap()),
                Step::Done { device, outputs } => done = Some((device, outputs)),
                Step::Refused(code) => panic!("refused: {code:?}"),
                Step::FalseServer => panic!("a false server"),
            }
        }
        let out = self.relays[0]
            .step(session, ToRelay::Closed, self.now, &mut self.random)
            .unwrap();
        self.hand_down(out);
        let (device, outputs) = done.unwrap();
        node.device = Some(*device);
        self.nodes.push(node);
        let new = self.nodes.len() - 1;
        self.carry_out(new, outputs, None);
        new
    }

    pub fn seen(&self, node: usize, wanted: impl Fn(&Notice) -> bool) -> bool {
        self.nodes[node].notices.iter().any(wanted)
    }
}
