//! A world in memory: devices with their disks, a server with its store, connections that lose and reorder, and a clock.
//!
//! Everything that happens is drawn from one seed, so a seed is a run: [`World::trace`] is the hash of all of it.
//! A document is the set of the changes made to it; a snapshot is the encoding of that set. An adversary sits at the
//! wire ([`World::down`], [`World::up`]) or has the server's store and key ([`World::put_store`], [`World::server_key`]).
#![allow(unreachable_pub, clippy::disallowed_methods)] // Its knobs are in the environment.
#![allow(dead_code)] // Each suite uses a part of it.

mod checks;
mod node;
mod random;
mod run;
mod server;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hearth_protocol::control::{ServerIdentity, device_proof_id};
use hearth_protocol::entropy::Entropy;
use hearth_protocol::hash::sha256;
use hearth_protocol::id::{DeviceId, Handle, Hash, VerifyKey};
use hearth_relay::{Config, Input as ToRelay, Output as FromRelay, Relay, SessionId};
use hearth_sync::device::{Device, Founding, Input, Joining, Keychain, Peer, Recovery, Step};
use hearth_sync::keys::SigningKey;
use hearth_sync::recovery::Phrase;
use hearth_sync::secret::Secret;

#[allow(unused_imports)]
pub use checks::{is_accusation, is_alarm};
#[allow(unused_imports)]
pub use node::{Disk, Documents, Node};
pub use random::Seeded;
#[allow(unused_imports)]
pub use server::ServerStore;
#[allow(unused_imports)]
pub use wire::{Passing, Tap};

use server::{ServerKey, new_store};
use wire::{Connection, Pipe};

/// What faults there are: once in so many events each; 0: never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub lose_connection: usize,
    /// A device's process ends before one of a step's outputs.
    pub crash: usize,
    /// A stream doesn't arrive.
    pub lose_batch: usize,
    /// A stream arrives twice.
    pub duplicate: usize,
    /// A device's transaction fails.
    pub device_full: usize,
    /// The server's disk is full for a while, from the middle of a transaction on.
    pub server_full: usize,
    /// The server's process ends.
    pub server_crash: usize,
}

pub struct World {
    pub random: Seeded,
    /// The server, then those that devices run for the local network.
    pub relays: Vec<Relay<ServerStore>>,
    peers: Vec<Peer>,
    /// Where other servers are.
    addresses: BTreeMap<VerifyKey, usize>,
    server: ServerIdentity,
    server_seed: Secret,
    pub nodes: Vec<Node>,
    connections: BTreeMap<SessionId, Connection>,
    next_session: u64,
    pub now: u64,
    pub faults: Faults,
    full_until: u64,
    pub phrase: Phrase,
    trace: Hash,
    pub events: u64,
    /// Bytes that went either way.
    pub bytes: usize,
    pub frames: usize,
    pub verbose: bool,
    /// Who sits at the wire to the devices.
    pub down: Option<Tap>,
    /// Who sits at the wire to the relays.
    pub up: Option<Tap>,
    /// Changes that the server has confirmed to somebody: they may not be lost any more.
    pub kept: BTreeSet<(Handle, Vec<u8>)>,
    /// Of each document: its text, the beginnings of its sealed bodies, its keys.
    pub secrets: BTreeMap<Handle, BTreeSet<Vec<u8>>>,
}

impl World {
    /// One device with an account, not connected yet.
    pub fn new(seed: u64) -> Self {
        Self::of(seed, true)
    }

    /// The same of an account that has no server: nobody may call relay 0.
    pub fn without_server(seed: u64) -> Self {
        Self::of(seed, false)
    }

    fn of(seed: u64, with_server: bool) -> Self {
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
            relays: vec![Relay::new(new_store(), config).unwrap()],
            peers: vec![Peer::Server],
            addresses: BTreeMap::new(),
            server,
            server_seed,
            nodes: Vec::new(),
            connections: BTreeMap::new(),
            next_session: 1,
            now: 1_800_000_000_000,
            faults: Faults::default(),
            full_until: 0,
            phrase,
            trace: Hash::ZERO,
            events: 0,
            bytes: 0,
            frames: 0,
            verbose: std::env::var_os("WORLD").is_some(),
            down: None,
            up: None,
            kept: BTreeSet::new(),
            secrets: BTreeMap::new(),
            random,
        };
        let keys = Keychain::random(&mut world.random);
        let mut node = world.node();
        let founding = Founding {
            phrase: world.phrase.clone(),
            server: with_server.then(|| world.server.clone()),
            invitation: String::new(),
        };
        let (device, outputs) = Device::create(founding, keys, world.now, &mut node.random).unwrap();
        node.device = Some(device);
        world.nodes.push(node);
        world.carry_out(0, outputs, None);
        world
    }

    fn node(&mut self) -> Node {
        Node::new(Seeded::new(self.random.number()))
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

    #[track_caller]
    pub fn device(&self, node: usize) -> &Device {
        let device = self.nodes[node].device.as_ref();
        device.unwrap_or_else(|| panic!("node {node} is down"))
    }

    pub fn handle(&mut self) -> Handle {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        Handle(bytes)
    }

    /// Connects a node to the server, and keeps it connected.
    pub fn online(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        (this.online, this.call_at, this.closes) = (true, 0, 0);
    }

    pub fn offline(&mut self, node: usize) {
        self.nodes[node].online = false;
        self.hang_up(node);
    }

    /// Ends a node's connection; it calls again if it is online.
    pub fn hang_up(&mut self, node: usize) {
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

    /// A node calls another relay from here on.
    pub fn call(&mut self, node: usize, relay: usize) {
        self.offline(node);
        self.nodes[node].calls = relay;
        self.online(node);
    }

    /// A device's disk comes back from a backup; its keychain doesn't.
    pub fn restore_disk(&mut self, node: usize, disk: Disk) {
        self.crash(node);
        self.nodes[node].disk = disk;
        self.log(&format!("disk {node} restored"), &[]);
    }

    /// A whole machine comes back from a backup: disk and keychain.
    pub fn restore_machine(&mut self, node: usize, disk: Disk, keychain: Vec<u8>) {
        self.restore_disk(node, disk);
        self.nodes[node].keychain = keychain;
    }

    /// A copy of a node, disk and keychain: what a copied disk image is on another machine. Not online yet.
    pub fn copy(&mut self, node: usize) -> usize {
        let mut copy = self.node();
        copy.disk = self.nodes[node].disk.clone();
        copy.keychain.clone_from(&self.nodes[node].keychain);
        copy.calls = self.nodes[node].calls;
        copy.skew = self.nodes[node].skew;
        self.nodes.push(copy);
        self.log(&format!("{node} copied"), &[]);
        self.nodes.len() - 1
    }

    /// Puts a node away for good.
    pub fn retire(&mut self, node: usize) {
        self.offline(node);
        self.crash(node);
        self.nodes[node].retired = true;
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
}
