//! What is on its way: queues between nodes and relays, and whoever sits at the wire.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::Batch;
use hearth_protocol::id::LogId;
use hearth_protocol::message::{Reply, ReplyFrame, RequestFrame};
use hearth_relay::{Input as ToRelay, Output as FromRelay, SessionId};
use hearth_sync::device::Input;

use super::World;

/// Something on its way between a node and a relay, as whoever sits at the wire sees and sends it.
#[derive(Debug, Clone)]
pub enum Passing {
    Request(RequestFrame),
    Reply(ReplyFrame),
    Batch(Batch),
    /// Bytes that are none of these, or are to be sent as they are: of a stream, or of the control stream.
    Raw {
        batch: bool,
        bytes: Vec<u8>,
    },
}

impl Passing {
    /// A reply that nobody asked for.
    pub fn news(reply: Reply) -> Self {
        Self::Reply(ReplyFrame { to: 0, reply })
    }

    fn encode(self) -> (bool, Vec<u8>) {
        match self {
            Self::Request(frame) => (false, frame.encode()),
            Self::Reply(frame) => (false, frame.encode()),
            Self::Batch(batch) => (true, batch.encode()),
            Self::Raw { batch, bytes } => (batch, bytes),
        }
    }

    fn of(batch: bool, up: bool, bytes: Vec<u8>) -> Self {
        let known = match (batch, up) {
            (true, _) => Batch::decode(&bytes).ok().map(Self::Batch),
            (false, true) => RequestFrame::decode(&bytes).ok().map(Self::Request),
            (false, false) => ReplyFrame::decode(&bytes).ok().map(Self::Reply),
        };
        known.unwrap_or(Self::Raw { batch, bytes })
    }
}

/// Sits at the wire of every node (its number comes first) and says what goes on instead.
pub type Tap = Box<dyn FnMut(usize, Passing) -> Vec<Passing>>;

#[derive(Default)]
pub(super) struct Pipe {
    pub(super) control: VecDeque<Vec<u8>>,
    batches: BTreeMap<LogId, VecDeque<Vec<u8>>>,
    pub(super) ends: bool,
}

impl Pipe {
    pub(super) fn len(&self) -> usize {
        usize::from(!self.control.is_empty()) + self.batches.len()
    }

    fn put(&mut self, batch: bool, bytes: Vec<u8>) {
        if batch {
            let log = match Batch::decode(&bytes) {
                Ok(Batch::Run(run)) => run.log,
                _ => LogId([0; 16]),
            };
            self.batches.entry(log).or_default().push_back(bytes);
        } else {
            self.control.push_back(bytes);
        }
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

pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) relay: usize,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
}

impl World {
    pub(super) fn hand_down(&mut self, outputs: Vec<FromRelay>) {
        for output in outputs {
            match output {
                FromRelay::Frame { to, bytes } => self.put_down(to, false, bytes),
                FromRelay::Batch { to, bytes, .. } => self.put_down(to, true, bytes),
                FromRelay::Close { to, code } => {
                    if let Some(connection) = self.connections.get_mut(&to) {
                        connection.down.ends = true;
                        let node = &mut self.nodes[connection.node];
                        node.closed_by_relay.push(code);
                        node.back_off(self.now);
                    }
                }
            }
        }
    }

    fn put_down(&mut self, to: SessionId, batch: bool, bytes: Vec<u8>) {
        let Some(connection) = self.connections.get_mut(&to) else {
            return;
        };
        let node = connection.node;
        match self.down.as_mut() {
            Some(tap) => {
                for (batch, bytes) in tap(node, Passing::of(batch, false, bytes))
                    .into_iter()
                    .map(Passing::encode)
                {
                    connection.down.put(batch, bytes);
                }
            }
            None => connection.down.put(batch, bytes),
        }
    }

    pub(super) fn put_up(&mut self, node: usize, batch: bool, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.frames += usize::from(!batch);
        let session = self.nodes[node].session;
        let Some(connection) = session.and_then(|session| self.connections.get_mut(&session)) else {
            return;
        };
        match self.up.as_mut() {
            Some(tap) => {
                for (batch, bytes) in tap(node, Passing::of(batch, true, bytes))
                    .into_iter()
                    .map(Passing::encode)
                {
                    connection.up.put(batch, bytes);
                }
            }
            None => connection.up.put(batch, bytes),
        }
    }

    /// Puts something on a node's wire, as if its relay had sent it. False: it has no connection.
    pub fn inject_down(&mut self, node: usize, passing: Passing) -> bool {
        let session = self.nodes[node].session;
        let Some(connection) = session.and_then(|session| self.connections.get_mut(&session)) else {
            return false;
        };
        let (batch, bytes) = passing.encode();
        connection.down.put(batch, bytes);
        true
    }

    pub(super) fn deliver_up(&mut self, node: usize, session: SessionId) {
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
            let text = format!("{:?}", RequestFrame::decode(&bytes));
            let _ = write!(what, " {text:.300}");
        }
        self.log(&what, &bytes);
        if is_batch && self.lose_batch() {
            self.drop_connection(session);
            return;
        }
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

    pub(super) fn deliver_down(&mut self, node: usize, session: SessionId) {
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
            let text = format!("{:?}", ReplyFrame::decode(&bytes));
            let _ = write!(what, " {text:.300}");
        }
        self.log(&what, &bytes);
        self.bytes += bytes.len();
        if is_batch && self.lose_batch() {
            self.drop_connection(session);
            return;
        }
        if is_batch
            && self.random.once_in(self.faults.duplicate)
            && let Some(connection) = self.connections.get_mut(&session)
        {
            connection.down.put(true, bytes.clone());
        }
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

    /// A stream that doesn't arrive; its connection goes with it, later than what overtook it.
    fn lose_batch(&mut self) -> bool {
        let lost = self.random.once_in(self.faults.lose_batch);
        if lost {
            self.log("lost", &[]);
        }
        lost
    }
}
