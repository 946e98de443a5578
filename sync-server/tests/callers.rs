//! The real server and those who call it: devices, strangers, and those who only want to harm it.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::UdpSocket;

use common::{PATIENCE, Process, call, closed, next, stranger};
use hearth_protocol::codec::Wire;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::MailboxId;
use hearth_protocol::message::{Reply, ReplyFrame, Request, RequestFrame, ToMailbox};
use hearth_transport::{Connection, Event};

/// A question that a stranger may ask: is there something in this mailbox?
fn mailbox(id: u32) -> Vec<u8> {
    let request = Request::Mailbox(ToMailbox {
        mailbox: MailboxId([7; 16]),
        message: None,
    });
    RequestFrame { id, request }.encode()
}

/// Asks, and waits for an answer to it.
async fn ask(connection: &mut Connection, id: u32) {
    connection.sender.frame(mailbox(id)).unwrap();
    loop {
        match next(connection).await {
            Event::Frame(bytes) => {
                let frame = ReplyFrame::decode(&bytes).unwrap();
                if frame.to == id {
                    assert!(!matches!(frame.reply, Reply::Welcome(_)));
                    return;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_an_answer_and_the_server_proves_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let mut device = call(server.listening, 1).await.unwrap();
    assert_eq!(device.key, Some(server.address.key.0));
    ask(&mut device, 1).await;
    assert_eq!(server.metric("connections"), 1);
    assert!(server.terminate());
    let end = closed(&mut device).await;
    assert_eq!(
        (end.code, end.by_peer),
        (Some(ErrorCode::Busy), true),
        "come back later"
    );
}

#[tokio::test]
async fn another_protocol_and_a_caller_without_a_certificate_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let refused = stranger(b"h3")
        .connect(server.listening, "localhost")
        .unwrap()
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("ALPN") || refused.to_string().contains("protocol"),
        "{refused}"
    );
    // In TLS 1.3 the client is done before the server has looked at its certificate: it hears of it on first use.
    let endpoint = stranger(hearth_protocol::ALPN);
    let connection = endpoint
        .connect(server.listening, "localhost")
        .unwrap()
        .await
        .unwrap();
    let end = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(end.to_string().contains("certificate"), "{end}");
    server
        .until("connections_failed_total", |failed| failed == 2)
        .await;
    ask(&mut call(server.listening, 1).await.unwrap(), 1).await;
}

#[tokio::test]
async fn callers_whose_handshakes_fail_soon_have_to_show_their_address() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\nhandshakes_before_retry = 4\n").unwrap();
    let server = Process::start(
        &folder.path().join("data"),
        &["--config", config.to_str().unwrap()],
    );
    // What is left of each takes memory for seconds, so it counts as under way.
    let calls = (0..12).map(|_| async {
        let calling = stranger(b"h3").connect(server.listening, "localhost").unwrap();
        calling.await.unwrap_err();
    });
    for call in calls {
        call.await;
    }
    assert!(server.metric("connections_retried_total") >= 4);
    server.until("handshakes", |handshakes| handshakes == 0).await;
    ask(&mut call(server.listening, 1).await.unwrap(), 1).await;
}

#[tokio::test]
async fn garbage_on_the_port_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for length in (0..1_400).step_by(7) {
        let mut packet: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        socket.send_to(&packet, server.listening).unwrap();
        // The same with the look of a QUIC version 1 initial packet.
        if packet.len() > 5 {
            packet[..5].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
            socket.send_to(&packet, server.listening).unwrap();
        }
    }
    ask(&mut call(server.listening, 1).await.unwrap(), 1).await;
}

#[tokio::test]
async fn garbage_in_a_frame_and_a_frame_that_is_too_long_close_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let mut device = call(server.listening, 1).await.unwrap();
    device.sender.frame(vec![0xff; 100]).unwrap();
    assert_eq!(closed(&mut device).await.code, Some(ErrorCode::Malformed));
    let mut device = call(server.listening, 1).await.unwrap();
    device.sender.frame(vec![0; (4 << 20) + 1]).unwrap();
    assert_eq!(closed(&mut device).await.code, Some(ErrorCode::TooLarge));
    assert!(
        server.metric("bytes_in_total") < 1_000,
        "it was refused by its length"
    );
}

#[tokio::test]
async fn a_caller_that_says_nothing_or_only_begins_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\nfirst_frame_seconds = 1\n").unwrap();
    let server = Process::start(
        &folder.path().join("data"),
        &["--config", config.to_str().unwrap()],
    );
    let mut silent = call(server.listening, 1).await.unwrap();
    let end = closed(&mut silent).await;
    assert_eq!((end.code, end.by_peer), (Some(ErrorCode::Busy), true));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn big_ten_thousand_half_open_handshakes_cost_little_and_keep_nobody_out() {
    const CALLS: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    ask(&mut call(server.listening, 1).await.unwrap(), 1).await;
    let before = server.resident_kib();

    // Initial packets of real handshakes that are never continued, and of many of them the end, which makes room for
    // others: caught on the way and sent from one socket.
    let trap = UdpSocket::bind("127.0.0.1:0").unwrap();
    trap.set_read_timeout(Some(PATIENCE)).unwrap();
    let endpoint = stranger(hearth_protocol::ALPN);
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut packet = [0; 2_048];
    for _ in 0..CALLS {
        let calling = endpoint.connect(trap.local_addr().unwrap(), "localhost").unwrap();
        let caught = tokio::task::block_in_place(|| trap.recv(&mut packet));
        flood
            .send_to(&packet[..caught.unwrap()], server.listening)
            .unwrap();
        drop(calling);
    }
    ask(&mut call(server.listening, 1).await.unwrap(), 1).await;
    let more = server.resident_kib().saturating_sub(before);
    println!("{CALLS} half-open handshakes: {more} KiB more");
    assert!(more < 64 << 10, "{more} KiB more");
    assert!(server.metric("connections_retried_total") > 0);
    assert!(server.metric("handshakes") <= 33);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn idle_connections_cost_little() {
    many_idle(200, 128).await;
}

/// The long one: `cargo nextest run --profile all -E 'test(big_)'`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn big_ten_thousand_idle_connections() {
    many_idle(10_000, 64).await;
}

#[cfg(target_os = "linux")]
async fn many_idle(count: usize, kib_each: u64) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let limits = "[limits]\nconnections_per_address = 20000\nhandshakes_before_retry = 512\n";
    std::fs::write(&config, limits).unwrap();
    let server = Process::start(
        &folder.path().join("data"),
        &["--config", config.to_str().unwrap()],
    );
    ask(&mut call(server.listening, 1).await.unwrap(), 1).await;
    let before = server.resident_kib();
    let identity = hearth_transport::Identity::from_seed(&[1; 32]).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dialer = hearth_transport::Dialer::new(socket, hearth_transport::Limits::default()).unwrap();
    let mut idle = Vec::with_capacity(count);
    while idle.len() < count {
        let batch = (0..20).map(|_| async {
            let mut device = dialer
                .connect(&identity, server.listening, "localhost")
                .await
                .unwrap();
            ask(&mut device, 1).await;
            device
        });
        idle.extend(futures::future::join_all(batch).await);
    }
    let open = idle.len() as u64;
    assert!(server.metric("sessions") >= open);
    let each = server.resident_kib().saturating_sub(before) / open;
    println!("{open} idle connections: {each} KiB each");
    assert!(each <= kib_each, "{each} KiB each");
}

#[tokio::test]
async fn metrics_can_be_parsed_and_health_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let mut device = call(server.listening, 1).await.unwrap();
    ask(&mut device, 1).await;
    assert_eq!(server.page("/healthz").0, 200);
    assert_eq!(server.page("/readyz").0, 200);
    let (status, body) = server.page("/metrics");
    assert_eq!(status, 200);
    let mut names = std::collections::BTreeSet::new();
    let mut lines = body.lines();
    while let Some(help) = lines.next() {
        let name = help.strip_prefix("# HELP ").unwrap().split(' ').next().unwrap();
        let kind = lines
            .next()
            .unwrap()
            .strip_prefix(&format!("# TYPE {name} "))
            .unwrap();
        let value = lines.next().unwrap().strip_prefix(&format!("{name} ")).unwrap();
        value.parse::<u64>().unwrap();
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert!(names.insert(name), "{name} twice");
    }
    assert!(names.len() > 20);
    assert_eq!(server.metric("frames_in_total"), 1);
    assert_eq!(server.metric("sessions"), 1);
    drop(device);
    server.until("sessions", |sessions| sessions == 0).await;
}

#[tokio::test]
async fn too_many_connections_of_one_address_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\nconnections_per_address = 2\n").unwrap();
    let server = Process::start(
        &folder.path().join("data"),
        &["--config", config.to_str().unwrap()],
    );
    let (_one, _two) = (
        call(server.listening, 1).await.unwrap(),
        call(server.listening, 2).await.unwrap(),
    );
    assert!(matches!(
        call(server.listening, 3).await,
        Err(hearth_transport::DialError::Busy)
    ));
}
