//! Hello and everything that closes a connection.

use hearth_protocol::codec::{Set, Wire};
use hearth_protocol::envelope::Nothing;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::verify;
use hearth_protocol::id::{AccountId, Hash, InstanceToken};
use hearth_protocol::limits::{MAX_BATCH_BYTES, MAX_MESSAGE_BYTES};
use hearth_protocol::message::{Fetch, Priority, Range, Reply, Request, RequestFrame, server_id};
use hearth_protocol::statement::AnyStatement;

use super::kit::*;
use crate::{Input, Output, Signer};

#[test]
fn nothing_new_is_one_round_trip_of_at_most_512_bytes() {
    let mut world = World::new();
    // Ten devices, each with a log of its own.
    let mut first = world.device(1);
    let session = world.online(&mut first);
    for n in 2..=10 {
        world.enrol(session, 1, n);
    }
    let mut devices = vec![first];
    devices.extend((2..=10).map(|n| world.device(n)));
    for device in &mut devices {
        let session = world.online(device);
        let batch = device.change(device.n, b"something");
        world.batch(session, &batch);
    }
    let vector = devices.iter().map(|device| (device.log, device.head)).collect();
    let device = &mut devices[4];
    device.vector = vector;
    // Once to settle, then nothing is new.
    let session = world.connect(5);
    world.hello(session, device);
    let confirm = ack(
        &device
            .vector
            .iter()
            .map(|(log, head)| (*log, head.seq))
            .collect::<Vec<_>>(),
        100,
    );
    world.accept(session, confirm).unwrap();
    world.close(session);

    let session = world.connect(5);
    let hello = RequestFrame {
        id: 1,
        request: Request::Hello(Box::new(device.hello())),
    }
    .encode();
    let outputs = world
        .relay
        .step(session, Input::Frame(&hello), world.now, &mut world.entropy)
        .unwrap();
    let answer: usize = outputs
        .iter()
        .map(|output| match output {
            Output::Frame { bytes, .. } | Output::Batch { bytes, .. } => bytes.len() + 4,
            Output::Close { .. } => panic!("closed"),
        })
        .sum();
    let total = hello.len() + 4 + answer;
    assert!(total <= 512, "{total} bytes");
    world.route(outputs);
    let got = world.look(session);
    let [Got::Reply(1, Reply::Welcome(welcome))] = got.as_slice() else {
        panic!("{got:?}");
    };
    assert_eq!(welcome.ahead, None);
    assert_eq!(welcome.own, Some(device.head));
}

#[test]
fn a_delta_follows_a_vector_that_is_remembered() {
    let mut world = World::new();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    world.enrol(session, 1, 2);
    let mut two = world.device(2);
    let other = world.online(&mut two);
    world.look(other);
    let batch = one.change(3, b"first");
    world.batch(session, &batch);
    let got = world.look(other);
    assert!(matches!(&got[..], [Got::Batch(_, Priority::Live)]), "{got:?}");
    two.vector.insert(one.log, one.head);
    world.accept(other, ack(&[(one.log, 1)], 10)).unwrap();
    world.close(other);
    let batch = one.change(3, b"second");
    world.batch(session, &batch);

    // The digest is of what it has acknowledged: what is missing follows at once.
    let other = world.connect(2);
    let (welcome, rest) = world.hello(other, &mut two);
    assert!(welcome.ahead.unwrap().delta);
    assert_eq!(
        items(&rest)
            .iter()
            .map(|(log, seq, _)| (*log, *seq))
            .collect::<Vec<_>>(),
        [(one.log, 2)]
    );
    assert!(
        matches!(rest.last(), Some(Got::Reply(0, Reply::Complete(complete)))
        if complete.vector.get(&one.log) == Some(&one.head))
    );

    // An unknown digest: the device says what it has.
    let mut stranger = two.clone();
    stranger.vector.remove(&one.log);
    stranger.vector.insert(two.log, two.head);
    let other = world.connect(2);
    let (welcome, rest) = world.hello(other, &mut stranger);
    assert!(!welcome.ahead.unwrap().delta);
    assert!(items(&rest).is_empty());
    let got = world.ask(other, Request::Vector(stranger.vector()));
    assert_eq!(items(&got).len(), 2);
    assert!(matches!(got.last(), Some(Got::Reply(0, Reply::Complete(_)))));
}

#[test]
fn who_may_not_in_is_told_why() {
    let mut world = World::new();
    let device = world.device(1);

    let mut elsewhere = device.hello();
    elsewhere.account = AccountId([9; 32]);
    let session = world.connect(1);
    let got = world.ask(session, Request::Hello(Box::new(elsewhere)));
    assert_eq!(
        got,
        [
            refused(1, ErrorCode::UnknownAccount),
            Got::Close(ErrorCode::UnknownAccount)
        ]
    );

    let session = world.connect(2);
    let got = world.ask(session, Request::Hello(Box::new(world.device(2).hello())));
    assert_eq!(closed(&got), Some(ErrorCode::UnknownDevice));

    let session = world.connect(2);
    let got = world.ask(session, Request::Hello(Box::new(device.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::WrongTransportKey));

    for (versions, code) in [
        ([0].as_slice(), ErrorCode::VersionTooOld),
        ([2, 9].as_slice(), ErrorCode::VersionTooNew),
    ] {
        let mut hello = device.hello();
        hello.versions = Set::new(versions.iter().copied()).unwrap();
        let session = world.connect(1);
        let got = world.ask(session, Request::Hello(Box::new(hello)));
        assert_eq!(closed(&got), Some(code));
        let [Got::Reply(1, Reply::Refused(refusal)), _] = got.as_slice() else {
            panic!("{got:?}");
        };
        let range = refusal.versions.unwrap();
        assert_eq!((range.lowest, range.highest), (1, 1));
    }
}

#[test]
fn copies_of_a_device_are_told_apart() {
    let mut world = World::new();
    let mut device = world.device(1);
    let first = world.online(&mut device);
    let mut copy = device.clone();
    world.close(first);
    // The answer got lost: the token before is as good as the one that was offered.
    let before = device.instance;
    let session = world.connect(1);
    world.hello(session, &mut device);
    device.instance = before;
    let session = world.connect(1);
    world.hello(session, &mut device);
    let session = world.connect(1);
    world.hello(session, &mut device);
    let session = world.connect(1);
    let got = world.ask(session, Request::Hello(Box::new(copy.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::StaleInstance));
    // The user has said "restored": zeros begin anew, and now the other one is stale.
    copy.instance = InstanceToken([0; 16]);
    let session = world.connect(1);
    world.hello(session, &mut copy);
    let session = world.connect(1);
    let got = world.ask(session, Request::Hello(Box::new(device.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::StaleInstance));
}

#[test]
fn a_device_from_a_backup_gets_statements_again_that_it_had_confirmed() {
    let mut world = World::new();
    let mut device = world.device(1);
    let first = world.online(&mut device);
    world.enrol(first, 1, 2);
    let mut other = world.device(2);
    world.online(&mut other);
    let got = world.look(first);
    let opening = |got: &[Got]| {
        got.iter().any(|got| match got {
            Got::Reply(0, Reply::Statements(list)) => list.iter().any(
                |statement| matches!(statement, AnyStatement::LogOpen(open) if open.statement.device == id(2)),
            ),
            _ => false,
        })
    };
    assert!(opening(&got), "{got:?}");
    let mut backup = device.clone();
    world.accept(first, ack(&[], 1)).unwrap();
    let again = |world: &mut World, device: &mut Device| {
        let session = world.connect(1);
        let (_, mut got) = world.hello(session, device);
        got.extend(world.look(session));
        opening(&got)
    };
    assert!(!again(&mut world, &mut device));
    backup.instance = InstanceToken([0; 16]);
    assert!(again(&mut world, &mut backup));
}

#[test]
fn a_second_connection_ends_the_first() {
    let mut world = World::new();
    let mut device = world.device(1);
    let first = world.online(&mut device);
    let second = world.connect(1);
    world.hello(second, &mut device);
    assert_eq!(world.look(first), [Got::Close(ErrorCode::Superseded)]);
    assert_eq!(world.relay.sessions(), 1);
    // What the first one still says is heard by nobody.
    assert_eq!(world.ask(first, Request::Goodbye(Nothing {})), []);
}

#[test]
fn garbage_and_disorder_close() {
    let mut world = World::new();
    let mut device = world.device(1);
    let close = |world: &mut World, session, input: Input<'_>, code| {
        world.input(session, input);
        assert_eq!(closed(&world.look(session)), Some(code));
    };
    let session = world.online(&mut device);
    close(
        &mut world,
        session,
        Input::Frame(&[1, 2, 3]),
        ErrorCode::Malformed,
    );
    let session = world.online(&mut device);
    close(&mut world, session, Input::Batch(&[7]), ErrorCode::Malformed);
    let session = world.online(&mut device);
    let large = vec![0; MAX_MESSAGE_BYTES + 1];
    close(&mut world, session, Input::Frame(&large), ErrorCode::TooLarge);
    let session = world.online(&mut device);
    let large = vec![0; MAX_BATCH_BYTES + 1];
    close(&mut world, session, Input::Batch(&large), ErrorCode::TooLarge);
    // Numbers count from 1, without a gap.
    let session = world.online(&mut device);
    let frame = RequestFrame {
        id: 9,
        request: Request::Goodbye(Nothing {}),
    }
    .encode();
    close(&mut world, session, Input::Frame(&frame), ErrorCode::OutOfTurn);
    // Before `Hello` nothing else; after it no other.
    let session = world.connect(1);
    let got = world.ask(
        session,
        Request::Fetch(Fetch::Control(Range { from: 0, count: 1 })),
    );
    assert_eq!(closed(&got), Some(ErrorCode::OutOfTurn));
    let session = world.connect(1);
    world.input(session, Input::Batch(&[1]));
    assert_eq!(closed(&world.look(session)), Some(ErrorCode::OutOfTurn));
    let session = world.online(&mut device);
    let got = world.ask(session, Request::Hello(Box::new(device.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::OutOfTurn));
}

#[test]
fn too_much_at_once_waits() {
    let mut world = World::with(|config| {
        config.limits.requests_per_s = 2;
        config.limits.request_burst = 4;
    });
    let mut device = world.device(1);
    let session = world.online(&mut device);
    let fetch = Request::Fetch(Fetch::Control(Range { from: 0, count: 1 }));
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes = world.ask(session, fetch.clone());
    }
    let Some(Got::Reply(_, Reply::Refused(refusal))) = codes.first() else {
        panic!("{codes:?}");
    };
    assert_eq!(refusal.code, ErrorCode::RateLimited);
    assert_eq!(refusal.retry_after_ms, 500);
    // Erasures and acknowledgements pass all the same.
    let erase = device.erase(&[1]);
    world.accept(session, push_erase(erase)).unwrap();
    world.accept(session, ack(&[], 0)).unwrap();
    world.now += 1_000;
    assert!(matches!(
        world.ask(session, fetch).as_slice(),
        [Got::Reply(_, Reply::Control(_))]
    ));
}

#[test]
fn the_control_log_is_told_from_where_a_device_stands() {
    let mut world = World::new();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    world.enrol(session, 1, 2);
    let mut behind = world.device(1);
    behind.instance = one.instance;
    let session = world.connect(1);
    let (welcome, rest) = world.hello(session, &mut behind);
    assert_eq!(welcome.ahead.unwrap().control_number, 2);
    let Some(Got::Reply(0, Reply::Control(part))) = rest.first() else {
        panic!("{rest:?}");
    };
    assert_eq!(part.entries.to_vec(), world.entries[1..].to_vec());
    assert!(part.wraps.is_some(), "the running epoch is among them");
    assert!(!part.more);
    // A head that isn't in our log: by what doesn't follow it the device knows, and asks for what it wants.
    behind.control = (Hash([3; 32]), 1);
    let session = world.connect(1);
    let (_, rest) = world.hello(session, &mut behind);
    let Some(Got::Reply(0, Reply::Control(part))) = rest.first() else {
        panic!("{rest:?}");
    };
    assert_eq!(part.entries.to_vec(), world.entries[2..].to_vec());
    assert_ne!(part.entries[0].statement.previous, behind.control.0);
}

#[test]
fn a_server_proves_its_key_to_whoever_asks_first() {
    let mut world = World::new();
    let mut device = world.device(1);
    let ask = RequestFrame {
        id: 0,
        request: Request::Prove(Nothing {}),
    }
    .encode();
    let session = world.connect(9);
    for _ in 0..2 {
        world.input(session, Input::Frame(&ask));
        let got = world.look(session);
        let [Got::Reply(0, Reply::Proof(proof))] = &got[..] else {
            panic!("{got:?}")
        };
        verify(&key(SERVER).public(), &server_id(&EXPORTER), proof).unwrap();
    }
    // It counts as nothing: what follows begins with 1.
    let session = world.connect(1);
    world.input(session, Input::Frame(&ask));
    world.look(session);
    world.hello(session, &mut device);
    // Later `Welcome` has said it.
    world.input(session, Input::Frame(&ask));
    assert_eq!(closed(&world.look(session)), Some(ErrorCode::OutOfTurn));
    let session = world.connect(1);
    let numbered = world.ask(session, Request::Prove(Nothing {}));
    assert_eq!(closed(&numbered), Some(ErrorCode::OutOfTurn));
}
