//! The peer that stands for the least that one could do: Automerge's own sync protocol over the same QUIC, nothing
//! sealed, nothing signed, nothing kept on disk. Its server reads every document.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use automerge::sync::{Message, State, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{Automerge, ChangeHash, ROOT};
use hearth_protocol::id::LogId;
use hearth_transport::{Connection, Event, Identity, Limits, Listener, Sender};
use serde_json::json;
use tokio::sync::mpsc;

use super::node::dialer;
use super::records::Written;
use super::server::Peer;

/// Bytes of a frame, about.
const FRAME_BYTES: usize = 512 << 10;
/// Nothing heard for so long: it is over.
const QUIET: Duration = Duration::from_secs(1);
/// A document's number that is none: the caller's own number follows.
const HELLO: u32 = u32::MAX;

/// Memory number `number`, as Automerge has it.
pub(super) fn document(number: usize) -> Result<Automerge> {
    let (written, _) = Written::new(number, LogId([7; 16]))?;
    Ok(Automerge::load(&written.doc.save())?)
}

/// Messages by document, in frames.
#[derive(Default)]
struct Letter(Vec<u8>);

impl Letter {
    fn put(&mut self, number: u32, message: &[u8]) {
        self.0.extend_from_slice(&number.to_be_bytes());
        self.0.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.0.extend_from_slice(message);
    }

    fn flush(&mut self, sender: &Sender, at_least: usize) -> Result<()> {
        if self.0.len() > at_least {
            sender.frame(std::mem::take(&mut self.0))?;
        }
        Ok(())
    }
}

fn read(mut bytes: &[u8]) -> Result<Vec<(u32, &[u8])>> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let number = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (message, rest) = rest.split_at_checked(length).context("a short frame")?;
        messages.push((number, message));
        bytes = rest;
    }
    Ok(messages)
}

/// What the server has.
#[derive(Default)]
struct Hub {
    documents: HashMap<u32, Automerge>,
    /// Of each caller: what it is known to have of each document.
    states: HashMap<u64, HashMap<u32, State>>,
    online: HashMap<u64, Sender>,
    /// Who takes part in a document.
    members: HashMap<u32, Vec<u64>>,
}

impl Hub {
    fn hello(&mut self, caller: u64, sender: Sender) -> Result<()> {
        // As a server would that has kept it on disk.
        for state in self.states.entry(caller).or_default().values_mut() {
            *state = State::decode(&state.encode())?;
        }
        self.online.insert(caller, sender);
        Ok(())
    }

    fn frame(&mut self, caller: u64, bytes: &[u8]) -> Result<()> {
        let mut letters: BTreeMap<u64, Letter> = BTreeMap::new();
        for (number, message) in read(bytes)? {
            let document = self.documents.entry(number).or_default();
            let state = self.states.entry(caller).or_default().entry(number).or_default();
            document.receive_sync_message(state, Message::decode(message)?)?;
            let members = self.members.entry(number).or_default();
            if !members.contains(&caller) {
                members.push(caller);
            }
            for member in members {
                let Some(sender) = self.online.get(member) else {
                    continue;
                };
                let state = self.states.entry(*member).or_default().entry(number).or_default();
                if let Some(answer) = document.generate_sync_message(state) {
                    let letter = letters.entry(*member).or_default();
                    letter.put(number, &answer.encode());
                    letter.flush(sender, FRAME_BYTES)?;
                }
            }
        }
        for (member, mut letter) in letters {
            if let Some(sender) = self.online.get(&member) {
                letter.flush(sender, 0)?;
            }
        }
        Ok(())
    }
}

/// The server's process: says its port, and serves until it is ended.
pub(super) async fn serve(documents: usize) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let limits = Limits {
        connections_per_address: 10_000,
        ..Limits::default()
    };
    let mut listener = Listener::new(socket, &Identity::from_seed(&[2; 32])?, limits)?;
    let mut hub = Hub::default();
    for number in 0..documents {
        hub.documents.insert(number as u32, document(number)?);
    }
    let hub = Arc::new(Mutex::new(hub));
    println!("{}", json!({ "address": listener.address()?.to_string() }));
    while let Some(connection) = listener.accept().await {
        connection.sender.identified();
        tokio::spawn(session(Arc::clone(&hub), connection));
    }
    Ok(())
}

async fn session(hub: Arc<Mutex<Hub>>, mut connection: Connection) -> Result<()> {
    let mut caller = None;
    loop {
        let Event::Frame(bytes) = connection.events.next().await else {
            return Ok(());
        };
        let mut hub = hub.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = caller {
            hub.frame(caller, &bytes)?;
            continue;
        }
        let (number, own) = *read(&bytes)?.first().context("an empty hello")?;
        ensure!(number == HELLO, "no hello");
        let own = u64::from_be_bytes(own.try_into()?);
        hub.hello(own, connection.sender.clone())?;
        caller = Some(own);
    }
}

/// The server in a process of its own.
pub(super) fn start(documents: usize) -> Result<Peer> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["sync-side", "--documents", &documents.to_string()]);
    Peer::start(&mut command)
}

fn address_of(peer: &Peer) -> Result<SocketAddr> {
    Ok(peer.ready["address"].as_str().context("no address")?.parse()?)
}

/// A caller with its documents.
struct Client {
    own: u64,
    documents: Vec<(Automerge, State)>,
    /// Messages of each document.
    messages: Vec<u32>,
    up: usize,
    down: usize,
    frames: usize,
}

impl Client {
    fn new(own: u64, documents: Vec<Automerge>) -> Client {
        Client {
            own,
            messages: vec![0; documents.len()],
            documents: documents
                .into_iter()
                .map(|document| (document, State::new()))
                .collect(),
            up: 0,
            down: 0,
            frames: 0,
        }
    }

    async fn call(&self, address: SocketAddr) -> Result<Connection> {
        let mut seed = [3; 32];
        seed[..8].copy_from_slice(&self.own.to_be_bytes());
        let connection = dialer()?
            .connect(&Identity::from_seed(&seed)?, address, "localhost")
            .await?;
        let mut hello = Letter::default();
        hello.put(HELLO, &self.own.to_be_bytes());
        hello.flush(&connection.sender, 0)?;
        Ok(connection)
    }

    /// Syncs every document until nothing more is heard; when the last of them was whole, from the beginning on.
    async fn exchange(&mut self, address: SocketAddr, wanted: usize) -> Result<Duration> {
        let begun = Instant::now();
        let mut connection = self.call(address).await?;
        let mut letter = Letter::default();
        for number in 0..self.documents.len() {
            self.say(number, &mut letter);
            self.send(&mut letter, &connection, FRAME_BYTES)?;
        }
        self.send(&mut letter, &connection, 0)?;
        let mut whole = None;
        let mut heads = self
            .documents
            .iter()
            .filter(|(document, _)| !document.get_heads().is_empty())
            .count();
        while let Ok(event) = tokio::time::timeout(QUIET, connection.events.next()).await {
            let Event::Frame(bytes) = event else {
                bail!("the peer has hung up: {event:?}");
            };
            self.down += bytes.len() + 4;
            for (number, message) in read(&bytes)? {
                let number = number as usize;
                self.messages[number] += 1;
                let (document, state) = &mut self.documents[number];
                let empty = document.get_heads().is_empty();
                document.receive_sync_message(state, Message::decode(message)?)?;
                heads += usize::from(empty && !document.get_heads().is_empty());
                self.say(number, &mut letter);
            }
            self.send(&mut letter, &connection, 0)?;
            if heads >= wanted && whole.is_none() {
                whole = Some(begun.elapsed());
            }
        }
        connection.sender.close(None);
        whole
            .or_else(|| (heads >= wanted).then(|| begun.elapsed()))
            .context("documents are missing")
    }

    fn say(&mut self, number: usize, letter: &mut Letter) {
        let (document, state) = &mut self.documents[number];
        if let Some(message) = document.generate_sync_message(state) {
            letter.put(number as u32, &message.encode());
            self.messages[number] += 1;
        }
    }

    fn send(&mut self, letter: &mut Letter, connection: &Connection, at_least: usize) -> Result<()> {
        if letter.0.len() > at_least {
            self.up += letter.0.len() + 4;
            self.frames += 1;
        }
        letter.flush(&connection.sender, at_least)
    }
}

/// What connecting again costs.
pub(super) struct Reconnected {
    pub(super) up: usize,
    pub(super) bytes: usize,
    pub(super) round_trips: f64,
}

/// Connecting again with nothing new: one caller, so many documents.
pub(super) async fn reconnect(documents: usize) -> Result<Reconnected> {
    let peer = start(documents)?;
    let all = (0..documents).map(document).collect::<Result<_>>()?;
    let mut client = Client::new(1, all);
    client.exchange(address_of(&peer)?, documents).await?;
    for (_, state) in &mut client.documents {
        *state = State::decode(&state.encode())?;
    }
    (client.up, client.down) = (0, 0);
    client.messages = vec![0; documents];
    client.exchange(address_of(&peer)?, documents).await?;
    let most = client.messages.iter().max().copied().unwrap_or(0);
    Ok(Reconnected {
        up: client.up,
        bytes: client.up + client.down,
        round_trips: f64::from(most) / 2.0,
    })
}

/// How long a caller with nothing needs until it has so many documents.
pub(super) async fn join(documents: usize) -> Result<f64> {
    let peer = start(documents)?;
    let mut client = Client::new(2, vec![Automerge::new(); documents]);
    let took = client.exchange(address_of(&peer)?, documents).await?;
    Ok(took.as_secs_f64())
}

/// Bytes both ways until two sides are equal again.
pub(super) struct Wire {
    pub(super) first: f64,
    pub(super) pin: f64,
    pub(super) correction: f64,
    pub(super) hundred: f64,
    pub(super) hundred_small: f64,
}

/// Two sides of one document.
struct Two {
    a: (Automerge, State),
    b: (Automerge, State),
}

impl Two {
    fn settle(&mut self) -> Result<f64> {
        let mut bytes = 0;
        loop {
            let mut said = false;
            if let Some(message) = self.a.0.generate_sync_message(&mut self.a.1) {
                let message = message.encode();
                bytes += message.len();
                self.b
                    .0
                    .receive_sync_message(&mut self.b.1, Message::decode(&message)?)?;
                said = true;
            }
            if let Some(message) = self.b.0.generate_sync_message(&mut self.b.1) {
                let message = message.encode();
                bytes += message.len();
                self.a
                    .0
                    .receive_sync_message(&mut self.a.1, Message::decode(&message)?)?;
                said = true;
            }
            if !said {
                return Ok(bytes as f64);
            }
        }
    }

    fn take(&mut self, changes: &[Vec<u8>]) -> Result<f64> {
        for change in changes {
            let change = automerge::Change::try_from(change.as_slice())?;
            self.a.0.apply_changes([change])?;
        }
        self.settle()
    }
}

/// The same edits as ours.
pub(super) fn wire() -> Result<Wire> {
    let (mut memory, first) = Written::new(1, LogId([7; 16]))?;
    let mut two = Two {
        a: (Automerge::new(), State::new()),
        b: (Automerge::new(), State::new()),
    };
    let first = two.take(&[first])?;
    let pin = two.take(&[memory.pin()?])?;
    let correction = two.take(&[memory.correct()?])?;
    let corrections: Vec<_> = (0..100).map(|_| memory.correct()).collect::<Result<_>>()?;
    let pins: Vec<_> = (0..100).map(|_| memory.pin()).collect::<Result<_>>()?;
    Ok(Wire {
        first,
        pin,
        correction,
        hundred: two.take(&corrections)?,
        hundred_small: two.take(&pins)?,
    })
}

/// Microseconds to take one small change in, parsed, checked and applied: the median.
pub(super) fn receive_us(repetitions: usize) -> Result<f64> {
    let (mut memory, first) = Written::new(1, LogId([7; 16]))?;
    let mut two = Two {
        a: (Automerge::new(), State::new()),
        b: (Automerge::new(), State::new()),
    };
    two.take(&[first])?;
    let mut times = Vec::new();
    for _ in 0..repetitions {
        two.a
            .0
            .apply_changes([automerge::Change::try_from(memory.pin()?.as_slice())?])?;
        let message = two
            .a
            .0
            .generate_sync_message(&mut two.a.1)
            .context("no message")?
            .encode();
        let start = Instant::now();
        two.b
            .0
            .receive_sync_message(&mut two.b.1, Message::decode(&message)?)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        two.settle()?;
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// When each change was made.
type Made = Arc<Mutex<HashMap<ChangeHash, Instant>>>;

/// Milliseconds from an edit of one device to its being in another's document, at so many edits a second over so many
/// pairs; and seconds of the server's processor for a thousand of them.
pub(super) async fn live(pairs: usize, rate: f64, length: Duration) -> Result<(Vec<f64>, f64)> {
    let peer = start(0)?;
    let address = address_of(&peer)?;
    let made: Made = Arc::default();
    let (times, mut arrived) = mpsc::unbounded_channel();
    let pause = Duration::from_secs_f64(2.0 * pairs as f64 / rate);
    let mut tasks = Vec::new();
    for pair in 0..pairs {
        // Both sides begin with the same document, so that they edit one field.
        let common = document(pair)?;
        for side in 0..2 {
            let (made, times) = (Arc::clone(&made), times.clone());
            let document = common.fork();
            let offset = pause.mul_f64((pair * 2 + side) as f64 / (2.0 * pairs as f64));
            tasks.push(tokio::spawn(async move {
                let number = (pair * 2 + side) as u64;
                edit(
                    number,
                    pair as u32,
                    document,
                    address,
                    pause,
                    offset,
                    length,
                    &made,
                    &times,
                )
                .await
            }));
        }
    }
    drop(times);
    let mut found = Vec::new();
    while let Some(time) = arrived.recv().await {
        found.push(time);
    }
    for task in tasks {
        task.await??;
    }
    let edits = made.lock().unwrap_or_else(PoisonError::into_inner).len();
    Ok((found, peer.cpu_seconds() / edits as f64 * 1_000.0))
}

#[expect(clippy::too_many_arguments, reason = "one task, told everything at once")]
async fn edit(
    own: u64,
    number: u32,
    document: Automerge,
    address: SocketAddr,
    pause: Duration,
    offset: Duration,
    length: Duration,
    made: &Made,
    times: &mpsc::UnboundedSender<f64>,
) -> Result<()> {
    let mut client = Client::new(own + 10, vec![document]);
    let mut connection = client.call(address).await?;
    let (mut document, mut state) = client.documents.remove(0);
    let say = |document: &Automerge, state: &mut State, connection: &Connection| -> Result<()> {
        let mut letter = Letter::default();
        if let Some(message) = document.generate_sync_message(state) {
            letter.put(number, &message.encode());
        }
        letter.flush(&connection.sender, 0)
    };
    say(&document, &mut state, &connection)?;
    let begin = tokio::time::Instant::now() + Duration::from_secs(1) + offset;
    let mut next = begin;
    let mut count = 0_u64;
    let end = begin + length;
    loop {
        let editing = next < end;
        tokio::select! {
            event = connection.events.next() => {
                let Event::Frame(bytes) = event else { return Ok(()) };
                let before = document.get_heads();
                for (_, message) in read(&bytes)? {
                    document.receive_sync_message(&mut state, Message::decode(message)?)?;
                }
                let now = Instant::now();
                for change in document.get_changes(&before) {
                    if let Some(at) = made.lock().unwrap_or_else(PoisonError::into_inner).get(&change.hash()) {
                        let _ = times.send(now.duration_since(*at).as_secs_f64() * 1_000.0);
                    }
                }
                say(&document, &mut state, &connection)?;
            }
            () = tokio::time::sleep_until(next), if editing => {
                next += pause;
                count += 1;
                let at = Instant::now();
                let mut transaction = document.transaction();
                transaction.put(ROOT, "t", format!("edit {count} of device {own}, {:064x}", count * 7919 + own))?;
                if let Some(hash) = transaction.commit().0 {
                    made.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, at);
                }
                say(&document, &mut state, &connection)?;
            }
            () = tokio::time::sleep_until(end + Duration::from_secs(2)) => {
                connection.sender.close(None);
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_of_a_frame_as_they_were_put_in() {
        let mut letter = Letter::default();
        letter.put(7, b"one");
        letter.put(HELLO, b"");
        assert_eq!(read(&letter.0).unwrap(), [(7, &b"one"[..]), (HELLO, &b""[..])]);
        assert!(read(&letter.0[..9]).is_err(), "a short frame");
    }

    #[test]
    fn two_sides_are_equal_after_an_edit_and_it_cost_something() {
        let wire = wire().unwrap();
        assert!(
            wire.pin > 86.0 && wire.first > 200.0,
            "{} {}",
            wire.pin,
            wire.first
        );
    }
}
