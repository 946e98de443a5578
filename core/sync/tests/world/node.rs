//! A device with its disk: what its machine says is carried out, or is cut short by a crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::Sealed;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::sha256;
use hearth_protocol::id::{Handle, LogId};
use hearth_relay::{Input as ToRelay, SessionId};
use hearth_sync::content::DocumentKind;
use hearth_sync::device::{
    Device, Incoming, Input, Keychain, LocalContent, MemoryJournal, Notice, Output, Record, space,
};

use super::World;
use super::random::Seeded;

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
    pub(super) pieces: BTreeMap<(Handle, LogId), Vec<u8>>,
}

pub struct Node {
    pub device: Option<Device>,
    pub disk: Disk,
    pub keychain: Vec<u8>,
    /// Inputs of the node's own core, lost in a crash.
    pub(super) pending: VecDeque<Input>,
    pub session: Option<SessionId>,
    pub online: bool,
    /// Which relay it calls.
    pub calls: usize,
    pub(super) wake: Option<u64>,
    pub notices: Vec<Notice>,
    /// With what its machine closed connections.
    pub closed: Vec<Option<ErrorCode>>,
    /// With what relays closed them.
    pub closed_by_relay: Vec<ErrorCode>,
    pub(super) random: Seeded,
    /// What the node's clock is off by.
    pub skew: i64,
    /// After a close it calls again only then, and later each time until something has come of it.
    pub(super) call_at: u64,
    pub(super) closes: u32,
    /// It is started again only from this event on.
    pub(super) down_until: u64,
    /// Somebody has put it away for good: neither started nor looked at any more.
    pub retired: bool,
}

impl Node {
    pub(super) fn new(random: Seeded) -> Self {
        Self {
            device: None,
            disk: Disk::default(),
            keychain: Vec::new(),
            pending: VecDeque::new(),
            session: None,
            online: false,
            calls: 0,
            wake: None,
            notices: Vec::new(),
            closed: Vec::new(),
            closed_by_relay: Vec::new(),
            random,
            skew: 0,
            call_at: 0,
            closes: 0,
            down_until: 0,
            retired: false,
        }
    }
}

impl Node {
    /// Somebody has closed the connection: calling at once wouldn't help.
    pub(super) fn back_off(&mut self, now: u64) {
        self.call_at = now + (100 << self.closes.min(9));
        self.closes += 1;
    }
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
        let mut crash = None;
        if self.random.once_in(self.faults.crash) {
            crash = Some(self.random.below(outputs.len() + 1));
        }
        // A full disk: the transaction fails as a whole, and so it goes until somebody has made room.
        if self.random.once_in(self.faults.device_full) && matches!(outputs.first(), Some(Output::Write(_))) {
            crash = Some(0);
            self.nodes[node].down_until = self.events + 1 + self.random.below(40) as u64;
        }
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

    pub(super) fn carry_out(&mut self, node: usize, outputs: Vec<Output>, crash: Option<usize>) {
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
            Output::Write(records) => {
                this.disk.journal.write(&records);
                self.note_secrets(&records);
            }
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
                    this.disk.pieces.retain(|(other, _), _| *other != handle);
                    this.disk.erased.insert(handle);
                }
                this.pending.push_back(Input::ClosureDone {
                    erase,
                    journal: sha256(&erase.0),
                    more: Vec::new(),
                });
            }
            Output::Keychain(keys) => this.keychain = keys.encode().to_vec(),
            Output::Send(bytes) => self.put_up(node, false, bytes),
            Output::SendBatch { bytes, .. } => self.put_up(node, true, bytes),
            Output::Close(code) => {
                this.closed.push(code);
                this.back_off(self.now);
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
                        content: LocalContent::Snapshot { document },
                    });
                }
            }
            Output::Notice(notice) => {
                if self.verbose {
                    println!("       node {node}: {notice:?}");
                }
                match &notice {
                    Notice::Revoked => this.online = false,
                    Notice::Moved(Some(server)) => {
                        if let Some(relay) = self.addresses.get(&server.key) {
                            this.calls = *relay;
                        }
                    }
                    Notice::UpToDate => this.closes = 0,
                    _ => {}
                }
                this.notices.push(notice);
            }
            Output::WakeAt(at) => {
                let at = at.saturating_add_signed(-this.skew);
                this.wake = Some(this.wake.map_or(at, |other| other.min(at)));
            }
        }
    }

    /// Remembers what of a document would open or be it, if it were still found after its erasure.
    fn note_secrets(&mut self, records: &[Record]) {
        for record in records {
            let Some(value) = &record.value else { continue };
            let (handle, secret) = match record.space {
                space::KEY => {
                    let Some(handle) = record.key.first_chunk::<16>() else {
                        continue;
                    };
                    (Handle(*handle), value.clone())
                }
                space::BODY => match Sealed::decode(value) {
                    Ok(sealed) => (sealed.fields.handle, sealed.ciphertext[..32].to_vec()),
                    Err(_) => continue,
                },
                _ => continue,
            };
            self.secrets.entry(handle).or_default().insert(secret);
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

    pub(super) fn start(&mut self, node: usize) {
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
        // What is short is found by chance.
        if change.len() >= 8 {
            self.secrets.entry(handle).or_default().insert(change.to_vec());
        }
    }

    pub fn erase(&mut self, node: usize, handle: Handle) {
        self.give(node, Input::Erase(vec![handle]));
    }

    /// Whatever a node's core has to hand over.
    pub(super) fn own_input(&mut self, node: usize) -> Option<Input> {
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

    pub(super) fn has_own_input(&self, node: usize) -> bool {
        let this = &self.nodes[node];
        !this.pending.is_empty()
            || (!this.disk.dirty.is_empty()
                && this
                    .device
                    .as_ref()
                    .is_some_and(|device| device.writing().is_some()))
    }
}
