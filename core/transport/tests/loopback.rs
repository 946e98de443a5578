//! Both ends over loopback: who is proved, what is delivered, and what a connection does to those who break its limits.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::Priority;
use hearth_transport::dial::quic_config;
use hearth_transport::tls::public_key;
use hearth_transport::{Closed, Connection, DialError, Dialer, Event, Identity, Limits, Listener};
use tokio::time::timeout;

const DEVICE: [u8; 32] = [1; 32];
const SERVER: [u8; 32] = [2; 32];

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn listener(limits: Limits) -> (Listener, SocketAddr) {
    let listener = Listener::new(socket(), &Identity::from_seed(&SERVER).unwrap(), limits).unwrap();
    let address = listener.address().unwrap();
    (listener, address)
}

async fn call(address: SocketAddr) -> Result<Connection, DialError> {
    let dialer = Dialer::new(socket(), Limits::default()).unwrap();
    dialer
        .connect(&Identity::from_seed(&DEVICE).unwrap(), address, "localhost")
        .await
}

/// Device's end, server's end.
async fn pair(limits: Limits) -> (Connection, Connection, Listener) {
    let (mut listener, address) = listener(limits);
    let (device, server) = tokio::join!(call(address), listener.accept());
    (device.unwrap(), server.unwrap(), listener)
}

async fn next(connection: &mut Connection) -> Event {
    timeout(Duration::from_secs(20), connection.events.next())
        .await
        .expect("an event in time")
}

async fn frame(connection: &mut Connection) -> Vec<u8> {
    match next(connection).await {
        Event::Frame(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

async fn closed(connection: &mut Connection) -> Closed {
    loop {
        if let Event::Closed(closed) = next(connection).await {
            return closed;
        }
    }
}

#[tokio::test]
async fn each_end_proves_its_key_and_both_have_the_same_keying_material() {
    let (device, server, _listener) = pair(Limits::default()).await;
    assert_eq!(server.key, public_key(&DEVICE));
    assert_eq!(device.key, public_key(&SERVER));
    assert_eq!(device.exporter, server.exporter);
    let (other, _, _listener) = pair(Limits::default()).await;
    assert_ne!(device.exporter, other.exporter);
}

#[tokio::test]
async fn frames_arrive_whole_and_in_order_both_ways() {
    let (mut device, mut server, _listener) = pair(Limits::default()).await;
    let sent: Vec<Vec<u8>> = [0, 1, 5, 70_000, 4 << 20, 3]
        .iter()
        .map(|length| vec![7; *length])
        .collect();
    for bytes in &sent {
        device.sender.frame(bytes.clone()).unwrap();
    }
    for bytes in &sent {
        assert!(frame(&mut server).await == *bytes);
        server.sender.frame(bytes.clone()).unwrap();
    }
    for bytes in &sent {
        assert!(frame(&mut device).await == *bytes);
    }
}

fn batch(log: u8, number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![1, 1];
    bytes.extend([log; 16]);
    bytes.extend(number.to_be_bytes());
    bytes.resize(length.max(22), 0);
    bytes
}

#[tokio::test]
async fn batches_wait_until_the_device_is_known_and_those_of_a_log_keep_their_order() {
    let (mut device, mut server, _listener) = pair(Limits::default()).await;
    for number in 0..40 {
        let length = if number % 2 == 0 { 300_000 } else { 30 };
        device
            .sender
            .batch(batch(number as u8 % 2, number, length), Priority::Live)
            .unwrap();
    }
    device.sender.frame(b"hello".to_vec()).unwrap();
    assert_eq!(frame(&mut server).await, b"hello");
    assert!(
        device.sender.queued_bytes() > 0,
        "nothing but the first frame may pass"
    );
    server.sender.identified();
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..40 {
        let Event::Batch(bytes) = next(&mut server).await else {
            panic!("not a batch")
        };
        let number = u32::from_be_bytes(bytes[18..22].try_into().unwrap());
        assert_eq!(bytes.len(), if number % 2 == 0 { 300_000 } else { 30 });
        seen[usize::from(bytes[2])].push(number);
    }
    assert_eq!(seen[0], (0..40).step_by(2).collect::<Vec<_>>());
    assert_eq!(seen[1], (1..40).step_by(2).collect::<Vec<_>>());
    timeout(Duration::from_secs(20), device.sender.drained_to(0))
        .await
        .unwrap()
        .unwrap();

    // The device takes batches from the start: to call is to have chosen.
    server
        .sender
        .batch(batch(9, 1, 4 << 20), Priority::Backfill)
        .unwrap();
    assert!(matches!(next(&mut device).await, Event::Batch(bytes) if bytes.len() == 4 << 20));
}

#[tokio::test]
async fn what_is_urgent_overtakes_other_logs_and_never_its_own() {
    let (mut device, mut server, _listener) = pair(Limits::default()).await;
    let sender = &device.sender;
    for number in 0..20 {
        sender
            .batch(batch(1, number, 200_000), Priority::Backfill)
            .unwrap();
    }
    for number in 20..30 {
        sender.batch(batch(1, number, 100), Priority::Live).unwrap();
    }
    sender.batch(batch(2, 0, 100), Priority::Live).unwrap();
    sender.frame(b"hello".to_vec()).unwrap();
    frame(&mut server).await;
    server.sender.identified();
    let mut seen = Vec::new();
    while seen.len() < 31 {
        let Event::Batch(bytes) = next(&mut server).await else {
            panic!("not a batch")
        };
        seen.push((bytes[2], u32::from_be_bytes(bytes[18..22].try_into().unwrap())));
    }
    let urgent = seen.iter().position(|(log, _)| *log == 2).unwrap();
    assert!(urgent < 20, "it came as number {urgent}");
    seen.remove(urgent);
    let one: Vec<_> = (0..30).map(|number| (1, number)).collect();
    assert_eq!(seen, one);

    // What has gone out holds up nothing any more.
    sender.drained_to(0).await.unwrap();
    assert!(device.sender.batch(batch(1, 30, 100), Priority::Live).is_ok());
    assert!(matches!(next(&mut server).await, Event::Batch(bytes) if bytes.len() == 100));
    server.sender.close(None);
    closed(&mut device).await;
}

#[tokio::test]
async fn what_was_said_before_the_end_is_heard_and_so_is_the_reason() {
    let (mut device, mut server, _listener) = pair(Limits::default()).await;
    device.sender.frame(b"hello".to_vec()).unwrap();
    frame(&mut server).await;
    server.sender.frame(vec![5; 3 << 20]).unwrap();
    server.sender.close(Some(ErrorCode::RevokedDevice));
    assert!(server.sender.frame(Vec::new()).is_err());
    assert_eq!(frame(&mut device).await.len(), 3 << 20);
    let end = closed(&mut device).await;
    assert_eq!((end.code, end.by_peer), (Some(ErrorCode::RevokedDevice), true));
    let end = closed(&mut server).await;
    assert_eq!((end.code, end.by_peer), (Some(ErrorCode::RevokedDevice), false));
}

#[tokio::test]
async fn letting_go_of_a_connection_ends_it() {
    let (device, mut server, listener) = pair(Limits::default()).await;
    device.sender.frame(b"hello".to_vec()).unwrap();
    frame(&mut server).await;
    drop(device);
    let end = closed(&mut server).await;
    assert_eq!((end.code, end.by_peer), (None, true));
    // The place of the connection is free again: the guard goes with its tasks.
    let open = || listener.counters().open.load(Ordering::Relaxed);
    timeout(Duration::from_secs(10), async {
        while open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn whoever_says_nothing_is_closed() {
    let limits = Limits {
        first_frame: Duration::from_millis(50),
        ..Limits::default()
    };
    let (mut device, _server, _listener) = pair(limits).await;
    assert_eq!(closed(&mut device).await.code, Some(ErrorCode::Busy));
}

/// A caller by hand: the control stream of a connection, to be written to at will.
async fn by_hand(address: SocketAddr) -> (quinn::Connection, quinn::SendStream) {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quic_config(&Identity::from_seed(&DEVICE).unwrap()).unwrap());
    let connection = endpoint.connect(address, "localhost").unwrap().await.unwrap();
    let (stream, _) = connection.open_bi().await.unwrap();
    (connection, stream)
}

/// The reason that the other end closed with.
async fn reason(connection: &quinn::Connection) -> u64 {
    match timeout(Duration::from_secs(20), connection.closed())
        .await
        .unwrap()
    {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

/// Patient for a twentieth of a second, then a MiB per second is the least.
fn impatient() -> Limits {
    Limits {
        grace: Duration::from_millis(50),
        pace: 1 << 20,
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_frame_that_does_not_come_on_closes_the_connection() {
    let (mut listener, address) = listener(impatient());
    let ((connection, mut stream), mut server) =
        tokio::join!(by_hand(address), async { listener.accept().await.unwrap() });
    stream.write_all(&[0, 0, 0, 3, 1, 2, 3]).await.unwrap();
    assert_eq!(frame(&mut server).await, [1, 2, 3]);
    // Silence between frames is no fault, a frame that stops in the middle is one.
    stream.write_all(&[0, 0, 1, 0]).await.unwrap();
    assert_eq!(reason(&connection).await, ErrorCode::Busy as u64);
}

#[tokio::test]
async fn a_batch_that_does_not_come_on_closes_the_connection() {
    let (mut listener, address) = listener(impatient());
    let ((connection, mut stream), mut server) =
        tokio::join!(by_hand(address), async { listener.accept().await.unwrap() });
    stream.write_all(&[0, 0, 0, 0]).await.unwrap();
    assert_eq!(frame(&mut server).await, []);
    server.sender.identified();
    let mut batch = connection.open_uni().await.unwrap();
    batch.write_all(&[1, 1, 2]).await.unwrap();
    assert_eq!(reason(&connection).await, ErrorCode::Busy as u64);
}

#[tokio::test]
async fn a_batch_that_is_too_long_closes_the_connection_and_one_that_is_given_up_does_not() {
    let (mut device, mut server, _listener) = pair(Limits::default()).await;
    device.sender.frame(b"hello".to_vec()).unwrap();
    frame(&mut server).await;
    server.sender.identified();
    device
        .sender
        .batch(vec![2; (4 << 20) + 1], Priority::Live)
        .unwrap();
    assert_eq!(closed(&mut device).await.code, Some(ErrorCode::TooLarge));

    let (mut listener, address) = listener(Limits::default());
    let ((connection, mut stream), mut server) =
        tokio::join!(by_hand(address), async { listener.accept().await.unwrap() });
    stream.write_all(&[0, 0, 0, 0]).await.unwrap();
    assert_eq!(frame(&mut server).await, []);
    server.sender.identified();
    let mut given_up = connection.open_uni().await.unwrap();
    given_up.write_all(&batch(7, 1, 30)).await.unwrap();
    let mut kept = connection.open_uni().await.unwrap();
    kept.write_all(&batch(7, 2, 30)).await.unwrap();
    kept.finish().unwrap();
    given_up.reset(0u32.into()).unwrap();
    assert!(matches!(next(&mut server).await, Event::Batch(bytes) if bytes == batch(7, 2, 30)));
}

#[tokio::test]
async fn a_full_queue_closes_instead_of_growing() {
    let limits = Limits {
        queue_bytes: 1 << 20,
        ..Limits::default()
    };
    let (mut device, mut server, _listener) = pair(limits).await;
    device.sender.frame(b"hello".to_vec()).unwrap();
    frame(&mut server).await;
    // The device doesn't take what is sent: windows and queue fill up.
    let refused = (0..64).find_map(|_| server.sender.batch(batch(1, 0, 900_000), Priority::Live).err());
    assert_eq!(refused, Some(hearth_transport::SendError::Full));
    assert_eq!(closed(&mut device).await.code, Some(ErrorCode::Busy));
}

#[tokio::test]
async fn too_many_of_one_address_are_turned_away() {
    let limits = Limits {
        connections_per_address: 2,
        ..Limits::default()
    };
    let (mut listener, address) = listener(limits);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (device, server) = tokio::join!(call(address), listener.accept());
        kept.push((device.unwrap(), server.unwrap()));
    }
    assert!(matches!(call(address).await, Err(DialError::Busy)));
    assert_eq!(
        listener.counters().retried.load(Ordering::Relaxed),
        1,
        "asked to prove the address first"
    );
}

#[tokio::test]
async fn calling_where_nobody_is_says_so() {
    let nobody = socket();
    let dialer = Dialer::new(
        socket(),
        Limits {
            handshake: Duration::from_millis(200),
            ..Limits::default()
        },
    )
    .unwrap();
    let called = dialer
        .connect(
            &Identity::from_seed(&DEVICE).unwrap(),
            nobody.local_addr().unwrap(),
            "localhost",
        )
        .await;
    assert!(matches!(called, Err(DialError::Unreachable)));
}

/// Passes datagrams on to whichever server stands behind it, as a port does that a new process has taken over.
async fn port(mut behind: tokio::sync::watch::Receiver<SocketAddr>) -> SocketAddr {
    let bind = || tokio::net::UdpSocket::bind("127.0.0.1:0");
    let (front, back) = (bind().await.unwrap(), bind().await.unwrap());
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut here) = (vec![0; 2048], vec![0; 2048]);
        let mut device = None;
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut there) => {
                    device = Some(from);
                    let server = *behind.borrow_and_update();
                    back.send_to(&there[..length], server).await.unwrap();
                }
                Ok((length, from)) = back.recv_from(&mut here) => {
                    // What the one before still says isn't heard: its process is gone.
                    let stands = *behind.borrow();
                    if let (Some(device), true) = (device, from == stands) {
                        front.send_to(&here[..length], device).await.unwrap();
                    }
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_was_killed_and_runs_again_ends_its_old_connections_at_once() {
    let (mut before, first) = listener(Limits::default());
    let (stands, behind) = tokio::sync::watch::channel(first);
    let address = port(behind).await;
    let (device, server) = tokio::join!(call(address), before.accept());
    let (mut device, _server) = (device.unwrap(), server.unwrap());
    let (_after, second) = listener(Limits::default());
    stands.send(second).unwrap();
    device.sender.frame(b"is anybody there?".to_vec()).unwrap();
    let ended = timeout(Duration::from_secs(5), closed(&mut device)).await;
    assert_eq!(ended.expect("at once").code, None);
}
