//! What a host does around the machine it drives: groups, what is sent when, and what a failure costs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::Priority;
use hearth_relay::{Input, Output, SessionId, StoreError};
use hearth_transport::{Connection, Dialer, Event, Host, Identity, Limits, Listener, Machine};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every frame with itself; does as some frames say; notes what happens.
struct Echo {
    notes: Sender<String>,
    /// Held before a commit returns.
    gate: Option<Receiver<()>>,
    fail: bool,
}

impl Machine for Echo {
    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn step(&mut self, session: SessionId, input: Input<'_>) -> Result<Vec<Output>, StoreError> {
        let note = match input {
            Input::Connected { transport_key, .. } => format!("connected {}", transport_key[0]),
            Input::Frame(bytes) => format!("frame {}", String::from_utf8_lossy(bytes)),
            Input::Batch(bytes) => format!("batch {}", bytes.len()),
            Input::Drained => "drained".to_owned(),
            Input::Closed => "closed".to_owned(),
        };
        self.notes.send(note).ok();
        match input {
            Input::Frame(b"fail step") => Err(StoreError::Full),
            Input::Frame(b"fail commit") => {
                self.fail = true;
                Ok(vec![Output::Frame {
                    to: session,
                    bytes: b"never".to_vec(),
                }])
            }
            Input::Frame(b"bye") => Ok(vec![
                Output::Frame {
                    to: session,
                    bytes: b"why".to_vec(),
                },
                Output::Close {
                    to: session,
                    code: ErrorCode::Moved,
                },
            ]),
            Input::Frame(b"wait") => {
                self.gate.as_ref().unwrap().recv().ok();
                Ok(Vec::new())
            }
            Input::Frame(b"panic") => panic!("a defect"),
            Input::Frame(b"much") => Ok((0..8)
                .map(|_| Output::Batch {
                    to: session,
                    bytes: vec![2; 1 << 20],
                    priority: Priority::Backfill,
                })
                .collect()),
            Input::Frame(bytes) => Ok(vec![Output::Frame {
                to: session,
                bytes: bytes.to_vec(),
            }]),
            _ => Ok(Vec::new()),
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(gate) = &self.gate {
            gate.recv().ok();
        }
        if std::mem::take(&mut self.fail) {
            Err(StoreError::Full)
        } else {
            Ok(())
        }
    }

    fn tick(&mut self, _: bool) -> Result<Vec<Output>, StoreError> {
        Ok(Vec::new())
    }
}

struct Setup {
    host: Arc<Host<Echo>>,
    notes: Receiver<String>,
    address: SocketAddr,
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn start(gate: Option<Receiver<()>>) -> Setup {
    start_with(gate, 1 << 30, 4_096)
}

fn start_with(gate: Option<Receiver<()>>, queued: usize, strangers: usize) -> Setup {
    let (sender, notes) = channel();
    let machine = Echo {
        notes: sender,
        gate,
        fail: false,
    };
    let host = Arc::new(Host::with(machine, queued, strangers).unwrap());
    let identity = Identity::from_seed(&[2; 32]).unwrap();
    let mut listener = Listener::new(socket(), &identity, Limits::default()).unwrap();
    let address = listener.address().unwrap();
    let served = Arc::clone(&host);
    tokio::spawn(async move {
        while let Some(connection) = listener.accept().await {
            let host = Arc::clone(&served);
            tokio::spawn(async move { host.serve(connection).await });
        }
    });
    Setup { host, notes, address }
}

async fn call(address: SocketAddr, seed: u8) -> Connection {
    let dialer = Dialer::new(socket(), Limits::default()).unwrap();
    dialer
        .connect(&Identity::from_seed(&[seed; 32]).unwrap(), address, "localhost")
        .await
        .unwrap()
}

async fn say(connection: &mut Connection, text: &[u8]) -> Event {
    connection.sender.frame(text.to_vec()).unwrap();
    timeout(PATIENCE, connection.events.next()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_in_and_outputs_come_back() {
    let setup = start(None);
    let mut device = call(setup.address, 1).await;
    assert!(matches!(say(&mut device, b"one").await, Event::Frame(bytes) if bytes == b"one"));
    assert!(matches!(say(&mut device, b"bye").await, Event::Frame(bytes) if bytes == b"why"));
    let Event::Closed(end) = timeout(PATIENCE, device.events.next()).await.unwrap() else {
        panic!("not closed")
    };
    assert_eq!(end.code, Some(ErrorCode::Moved));
    let mut notes = setup.notes.iter();
    assert!(notes.next().unwrap().starts_with("connected"));
    assert_eq!(notes.next().unwrap(), "frame one");
    assert_eq!(notes.find(|note| note != "drained").unwrap(), "frame bye");
    // What the machine closed itself is told to it no more than it asked for: at most once.
    let count = setup.host.run(|_| 7).await;
    assert_eq!(count, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_it_is_durable_and_what_waits_is_one_group() {
    let (open, gate) = channel();
    let setup = start(Some(gate));
    let mut device = call(setup.address, 1).await;
    let until = |wanted: &str| loop {
        if setup.notes.recv_timeout(PATIENCE).unwrap().starts_with(wanted) {
            break;
        }
    };
    // The connection's own group ends; the one of the first frame is held.
    until("connected");
    open.send(()).unwrap();
    for text in [&b"a"[..], b"b", b"c"] {
        device.sender.frame(text.to_vec()).unwrap();
    }
    until("frame a");
    let early = timeout(Duration::from_millis(200), device.events.next()).await;
    assert!(early.is_err(), "nothing is committed: {early:?}");
    for _ in 0..20 {
        open.send(()).unwrap();
    }
    for text in [&b"a"[..], b"b", b"c"] {
        let event = timeout(PATIENCE, device.events.next()).await.unwrap();
        assert!(matches!(event, Event::Frame(bytes) if bytes == text));
    }
    let counters = setup.host.counters();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert!(count(&counters.groups) < count(&counters.inputs), "{counters:?}");
    drop(open);
}

/// Who sends much waits for its own; others come in between.
#[tokio::test(flavor = "multi_thread")]
async fn one_session_does_not_fill_the_queue_of_all() {
    let (open, gate) = channel();
    let setup = start(Some(gate));
    let mut other = call(setup.address, 2).await;
    let mut flood = call(setup.address, 1).await;
    let mut notes = setup.notes.iter();
    let mut connected = 0;
    while connected < 2 {
        open.send(()).unwrap();
        connected += usize::from(notes.next().unwrap().starts_with("connected"));
    }
    flood.sender.frame(b"wait".to_vec()).unwrap();
    assert_eq!(
        notes.find(|note| note.starts_with("frame")).unwrap(),
        "frame wait"
    );
    for _ in 0..60 {
        flood.sender.frame(b"a".to_vec()).unwrap();
    }
    // Nothing comes while the first step is held; the frames are there long before this has passed.
    let half = Duration::from_millis(500);
    assert!(timeout(half, flood.events.next()).await.is_err());
    other.sender.frame(b"b".to_vec()).unwrap();
    assert!(timeout(half, other.events.next()).await.is_err());
    for _ in 0..200 {
        open.send(()).unwrap();
    }
    let before = notes.take_while(|note| note != "frame b").count();
    assert!(before < 40, "{before} frames of another session went first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_fails_closes_everybody_and_nothing_of_it_is_sent() {
    let setup = start(None);
    let (mut one, mut two) = (call(setup.address, 1).await, call(setup.address, 3).await);
    assert!(matches!(say(&mut one, b"one").await, Event::Frame(_)));
    assert!(matches!(say(&mut two, b"two").await, Event::Frame(_)));
    let Event::Closed(end) = say(&mut one, b"fail commit").await else {
        panic!("something was sent")
    };
    assert_eq!(end.code, Some(ErrorCode::StorageFailed));
    let Event::Closed(end) = timeout(PATIENCE, two.events.next()).await.unwrap() else {
        panic!("something was sent")
    };
    assert_eq!(end.code, Some(ErrorCode::StorageFailed));
    let mut again = call(setup.address, 1).await;
    assert!(matches!(say(&mut again, b"again").await, Event::Frame(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_closes_its_own_session() {
    let setup = start(None);
    let (mut one, mut two) = (call(setup.address, 1).await, call(setup.address, 3).await);
    assert!(matches!(say(&mut two, b"two").await, Event::Frame(_)));
    let Event::Closed(end) = say(&mut one, b"fail step").await else {
        panic!("something was sent")
    };
    assert_eq!(end.code, Some(ErrorCode::StorageFailed));
    assert!(matches!(say(&mut two, b"two").await, Event::Frame(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_hears_when_more_may_follow_and_when_a_session_is_gone() {
    let setup = start(None);
    let mut device = call(setup.address, 1).await;
    device.sender.frame(b"much".to_vec()).unwrap();
    for _ in 0..8 {
        let event = timeout(PATIENCE, device.events.next()).await.unwrap();
        assert!(matches!(event, Event::Batch(bytes) if bytes.len() == 1 << 20));
    }
    let until = |wanted: &str| loop {
        if setup.notes.recv_timeout(PATIENCE).unwrap() == wanted {
            break;
        }
    };
    until("drained");
    drop(device);
    until("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_tells_everybody_to_come_back_later() {
    let setup = start(None);
    let mut device = call(setup.address, 1).await;
    assert!(matches!(say(&mut device, b"one").await, Event::Frame(_)));
    setup.host.stop().await;
    let Event::Closed(end) = timeout(PATIENCE, device.events.next()).await.unwrap() else {
        panic!("not closed")
    };
    assert_eq!(end.code, Some(ErrorCode::Busy));
    assert_eq!(setup.host.run(|_| ()).await, None);
    let mut late = call(setup.address, 3).await;
    let Event::Closed(end) = timeout(PATIENCE, late.events.next()).await.unwrap() else {
        panic!("not closed")
    };
    assert_eq!(end.code, Some(ErrorCode::Busy));
}

async fn end(connection: &mut Connection) -> Option<ErrorCode> {
    loop {
        if let Event::Closed(end) = timeout(PATIENCE, connection.events.next()).await.unwrap() {
            return end.code;
        }
    }
}

/// Who was never welcomed makes room for who comes; who was welcomed stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_stranger_goes_when_there_are_too_many() {
    let setup = start_with(None, 1 << 30, 2);
    // The answer to its frame reads as a welcome: a number, then 1.
    let mut known = call(setup.address, 1).await;
    assert!(matches!(say(&mut known, &[0, 1]).await, Event::Frame(_)));
    let mut oldest = call(setup.address, 3).await;
    assert!(matches!(say(&mut oldest, b"one").await, Event::Frame(_)));
    let mut second = call(setup.address, 4).await;
    assert!(matches!(say(&mut second, b"two").await, Event::Frame(_)));
    let mut third = call(setup.address, 5).await;
    assert!(matches!(say(&mut third, b"three").await, Event::Frame(_)));
    assert_eq!(end(&mut oldest).await, Some(ErrorCode::Busy));
    assert!(matches!(say(&mut second, b"two").await, Event::Frame(_)));
    assert!(matches!(say(&mut known, b"one").await, Event::Frame(_)));
}

/// A stranger's frames wait for their turn after the first 64.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_slowed_down() {
    let setup = start(None);
    let mut stranger = call(setup.address, 1).await;
    let began = std::time::Instant::now();
    for _ in 0..74 {
        stranger.sender.frame(b"again".to_vec()).unwrap();
    }
    for _ in 0..74 {
        let event = timeout(PATIENCE, stranger.events.next()).await.unwrap();
        assert!(matches!(event, Event::Frame(_)));
    }
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
}

/// More waits to be sent than all sessions together may have: the one with the most is closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_over_all_sessions_is_bounded() {
    let setup = start_with(None, 12 << 20, 4_096);
    let mut good = call(setup.address, 1).await;
    assert!(matches!(say(&mut good, b"one").await, Event::Frame(_)));
    // It asks and asks, and reads nothing.
    let mut greedy = call(setup.address, 3).await;
    // Some of it is in buffers: those have an end.
    for _ in 0..40 {
        greedy.sender.frame(b"much".to_vec()).ok();
        let mut notes = setup.notes.iter();
        if notes
            .find(|note| note == "frame much" || note == "closed")
            .unwrap()
            == "closed"
        {
            break;
        }
    }
    // Or nothing, when it hears only that the host has forgotten it: the word before is one packet that may be lost.
    let why = end(&mut greedy).await;
    assert!(matches!(why, None | Some(ErrorCode::Busy)), "{why:?}");
    assert!(matches!(say(&mut good, b"one").await, Event::Frame(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_says_that_its_machine_has_panicked() {
    let setup = start(None);
    let device = call(setup.address, 1).await;
    device.sender.frame(b"panic".to_vec()).unwrap();
    timeout(PATIENCE, setup.host.ended()).await.unwrap();
}
