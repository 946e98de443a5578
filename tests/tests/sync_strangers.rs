//! Who calls a server and wants nothing of it: garbage, handshakes that never end, words that never come to an end. Devices go
//! on meanwhile, and the server stays small.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hearth_tests::device::{Device, LIMIT, converged};
use hearth_tests::dice::Dice;
use hearth_tests::sync_server::SyncServer;
use hearth_transport::{Dialer, Identity, Limits};

#[test]
fn garbage_on_the_port_keeps_nobody_out() {
    let server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    let mut dice = Dice::new(13);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = ("127.0.0.1", server.port());
    for round in 0..4_000u64 {
        let length = dice.within(&(0..=1_400)) as usize;
        let mut packet: Vec<u8> = (0..length).map(|_| dice.bits() as u8).collect();
        // Every other one begins as a connection's first packet does.
        if round % 2 == 0 && length > 5 {
            packet[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        socket.send_to(&packet, target).unwrap();
    }
    devices[0].add("thylacine on the old road");
    converged(&devices, LIMIT);
    assert!(!server.log().contains("panicked"));
}

/// First packets of so many callers: what each sends before it has heard anything.
fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nobody = sink.local_addr().unwrap();
        let dialer = Dialer::new(UdpSocket::bind("127.0.0.1:0").unwrap(), Limits::default()).unwrap();
        let identity = Identity::from_seed(&[5; 32]).unwrap();
        let mut packets = Vec::with_capacity(count);
        let mut packet = [0; 2048];
        while packets.len() < count {
            let calling = dialer.connect(&identity, nobody, "localhost");
            tokio::select! {
                called = calling => panic!("{:?}", called.err()),
                came = sink.recv(&mut packet) => packets.push(packet[..came.unwrap()].to_vec()),
            }
        }
        packets
    })
}

#[test]
fn ten_thousand_half_open_connections_keep_nobody_out() {
    const CALLERS: usize = 10_000;
    let server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    devices[0].add("potoroo under the log");
    converged(&devices, LIMIT);
    let before = server.resident_kib();
    let packets = first_packets(CALLERS);
    // From many addresses, as an attacker has them: all of 127.0.0.0/8 is this machine.
    let callers: Vec<UdpSocket> = (0..200u8)
        .filter_map(|number| UdpSocket::bind((Ipv4Addr::new(127, 0, 7, number + 1), 0)).ok())
        .collect();
    assert!(!callers.is_empty());
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            for (number, packet) in packets.iter().enumerate() {
                callers[number % callers.len()].send_to(packet, target).unwrap();
                if number % 16 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        devices[1].add("quoll in the rafters");
        flood.join().unwrap();
    });
    // A device that comes anew, in the middle of it.
    devices[0].stop();
    devices[0].start();
    assert_eq!(converged(&devices, LIMIT).len(), 2);
    let grown = server.resident_kib().saturating_sub(before);
    println!("{CALLERS} half-open connections: {grown} KiB more");
    assert!(grown < 96 << 10, "{grown} KiB");
    assert!(!server.log().contains("panicked"));
}

#[test]
fn callers_that_say_a_byte_now_and_then_are_closed_and_keep_nobody_out() {
    const CALLERS: u8 = 120;
    let server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            runtime.spawn(async move {
                let from = Ipv4Addr::new(127, 0, 9, number % 40 + 1);
                let Ok(socket) = UdpSocket::bind((from, 0)) else {
                    return Duration::ZERO;
                };
                let mut endpoint = quinn::Endpoint::new(
                    quinn::EndpointConfig::default(),
                    None,
                    socket,
                    std::sync::Arc::new(quinn::TokioRuntime),
                )
                .unwrap();
                let identity = Identity::from_seed(&[number; 32]).unwrap();
                endpoint.set_default_client_config(hearth_transport::dial::quic_config(&identity).unwrap());
                let called = endpoint.connect(target, "localhost").unwrap().await;
                let Ok(connection) = called else {
                    return Duration::ZERO;
                };
                let begun = Instant::now();
                let Ok((mut control, _)) = connection.open_bi().await else {
                    return begun.elapsed();
                };
                // A frame of a megabyte, a byte at a time.
                for byte in [0, 16, 0, 0].into_iter().chain(std::iter::repeat(7)) {
                    if control.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    let pause = tokio::time::sleep(Duration::from_millis(400));
                    tokio::select! {
                        _ = connection.closed() => break,
                        () = pause => {}
                    }
                }
                begun.elapsed()
            })
        })
        .collect();
    // Devices come and go meanwhile.
    devices[0].add("pademelon at dusk");
    devices[1].stop();
    devices[1].start();
    devices[1].add("numbat at noon");
    assert_eq!(converged(&devices, LIMIT).len(), 2);
    let held: Vec<Duration> = callers
        .into_iter()
        .map(|caller| runtime.block_on(caller).unwrap())
        .collect();
    let longest = held.iter().max().unwrap();
    println!("the longest held {longest:?}");
    assert!(*longest > Duration::from_secs(1), "they were let in at all");
    assert!(*longest < Duration::from_secs(30), "{longest:?}");
    assert!(!server.log().contains("panicked"));
}
