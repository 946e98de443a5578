//! Batches, holes, live push, restored servers, retention.

use hearth_protocol::codec::{List, Map, Wire};
use hearth_protocol::envelope::{Batch, Detached, Item, Kind, Nothing};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{Hash, LogId};
use hearth_protocol::message::{Fetch, ItemRange, Priority, Range, Reply, Request, Stored};
use hearth_protocol::statement::{AnyStatement, Checkpoint, Heartbeat};

use super::kit::*;
use crate::{Config, Input, MemoryStore, Relay, Signer as _, Space, Store};

fn stored(got: &[Got]) -> Vec<Stored> {
    got.iter()
        .filter_map(|got| match got {
            Got::Reply(0, Reply::Stored(stored)) => Some(stored.clone()),
            _ => None,
        })
        .collect()
}

fn places(got: &[Got]) -> Vec<(LogId, u64)> {
    items(got).iter().map(|(log, seq, _)| (*log, *seq)).collect()
}

fn codes(stored: &Stored) -> Vec<(u64, ErrorCode)> {
    stored.holed.iter().map(|hole| (hole.seq, hole.code)).collect()
}

/// Two devices online with open logs.
fn two() -> (World, Device, crate::SessionId, Device, crate::SessionId) {
    let mut world = World::new();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    world.enrol(session, 1, 2);
    let mut two = world.device(2);
    let other = world.online(&mut two);
    world.look(session);
    world.look(other);
    (world, one, session, two, other)
}

#[test]
fn what_is_stored_is_pushed_to_the_others_and_not_back() {
    let (mut world, mut one, session, _, other) = two();
    let batch = one.change(3, b"hello");
    let got = world.batch(session, &batch);
    assert_eq!(got.len(), 1);
    let stored = &stored(&got)[0];
    assert_eq!((stored.log, stored.seq, stored.link), (one.log, 1, one.head.link));
    assert!(stored.holed.is_empty());
    let got = world.look(other);
    let [Got::Batch(pushed, Priority::Live)] = got.as_slice() else {
        panic!("{got:?}");
    };
    assert_eq!(pushed.encode(), batch);
    // The same again changes nothing and is pushed to nobody.
    let bytes = world.relay.store().inner.bytes();
    let got = world.batch(session, &batch);
    assert_eq!(self::stored(&got).len(), 1);
    assert_eq!(world.look(other), []);
    assert_eq!(world.relay.store().inner.bytes(), bytes);
}

#[test]
fn what_does_not_fit_a_log_is_refused() {
    let (mut world, mut one, session, two, _) = two();
    // A log that nobody opened.
    let mut stranger = world.device(1);
    stranger.nonce = [99; 16];
    stranger.log = LogId([99; 16]);
    let batch = stranger.change(1, b"x");
    let got = world.batch(session, &batch);
    assert_eq!(refusals(&got), [ErrorCode::WrongLog]);
    // A gap; the server says where it stands.
    let first = one.change(1, b"x");
    let second = one.change(1, b"y");
    let got = world.batch(session, &second);
    assert_eq!(stored(&got)[0].seq, 0);
    assert_eq!(refusals(&got), [ErrorCode::WrongLink]);
    // Another device's log under one's own signature; a flipped bit.
    let mut thief = one.clone();
    thief.log = two.log;
    thief.head = two.head;
    let batch = thief.change(1, b"x");
    assert_eq!(refusals(&world.batch(session, &batch)), [ErrorCode::BadSignature]);
    let mut broken = first.clone();
    let end = broken.len();
    broken[end - 70] ^= 1;
    assert_eq!(
        refusals(&world.batch(session, &broken)),
        [ErrorCode::BadSignature]
    );
    world.batch(session, &first);
    let got = world.batch(session, &second);
    assert_eq!(stored(&got)[0].seq, 2);
    // Two signed envelopes for one place: the second never gets in.
    let mut forked = world.device(1);
    let batch = forked.change(1, b"another");
    let got = world.batch(session, &batch);
    assert_eq!(refusals(&got), [ErrorCode::WrongLink]);
}

#[test]
fn an_envelope_that_may_not_be_kept_is_a_hole_and_its_author_is_told_until_it_knows() {
    let (mut world, mut one, session, mut two, other) = two();
    let mut fields = fields(3, Kind::Changes(Nothing {}));
    fields.new_key = Some(new_key(Hash([8; 32])));
    let (item, _) = one.write(fields, b"under an old epoch");
    let batch = one.run(1, vec![item]);
    let got = world.batch(session, &batch);
    assert_eq!(codes(&stored(&got)[0]), [(1, ErrorCode::EpochStale)]);
    // The others get a hole with its signature, so that they may move on.
    let got = world.look(other);
    assert!(
        matches!(&items(&got)[..], [(_, 1, Item::SignedHole(_))]),
        "{got:?}"
    );
    // The next one stands on the hole's link.
    let batch = one.change(3, b"kept");
    assert_eq!(stored(&world.batch(session, &batch))[0].link, one.head.link);
    two.vector.insert(one.log, one.head);

    // The answer got lost: it is repeated until it is confirmed.
    let session = world.connect(1);
    let (_, rest) = world.hello(session, &mut one);
    assert_eq!(codes(&stored(&rest)[0]), [(1, ErrorCode::EpochStale)]);
    world.accept(session, ack(&[(one.log, 2)], 0)).unwrap();
    let session = world.connect(1);
    let (_, rest) = world.hello(session, &mut one);
    assert!(stored(&rest).is_empty());
}

#[test]
fn quotas_hold_up_data_and_nothing_else() {
    let mut world = World::with(|config| config.limits.quota_bytes = 4_000);
    let mut one = world.device(1);
    let session = world.online(&mut one);
    let batch = one.change(1, &[1; 3_000]);
    assert!(stored(&world.batch(session, &batch))[0].holed.is_empty());
    let batch = one.change(2, &[2; 3_000]);
    assert_eq!(
        codes(&stored(&world.batch(session, &batch))[0]),
        [(2, ErrorCode::QuotaReached)]
    );
    world.enrol(session, 1, 2);
    let erase = one.erase(&[1]);
    world.accept(session, push_erase(erase)).unwrap();
    let (welcome, _) = {
        let session = world.connect(1);
        world.hello(session, &mut one)
    };
    assert!(welcome.used_bytes < 500, "{}", welcome.used_bytes);
    assert_eq!(welcome.quota_bytes, 4_000);
}

#[test]
fn a_full_store_takes_erasures_and_no_data() {
    let (mut world, mut one, session, _, _) = two();
    let batch = one.change(1, b"x");
    world.batch(session, &batch);
    world.relay.store_mut().only_reserve = true;
    let next = one.change(2, b"y");
    assert_eq!(refusals(&world.batch(session, &next)), [ErrorCode::StorageFailed]);
    let erase = one.erase(&[1]);
    world.accept(session, push_erase(erase)).unwrap();
    world.relay.store_mut().only_reserve = false;
    assert_eq!(stored(&world.batch(session, &next))[0].seq, 2);
}

#[test]
fn a_store_that_fails_closes_and_forgets_nothing() {
    // At whichever write it fails, the last being the end of the transaction: nothing of the batch counts or was said, and
    // it goes again afterwards.
    for writes in 0.. {
        let (mut world, mut one, session, _, other) = two();
        let batch = one.change(1, b"x");
        world.relay.store_mut().writes_left = Some(writes);
        world.input(session, Input::Batch(&batch));
        let got = world.look(session);
        if closed(&got).is_none() {
            assert!(writes > 4, "{writes} writes are enough");
            break;
        }
        assert_eq!(closed(&got), Some(ErrorCode::StorageFailed));
        assert_eq!(stored(&got), [], "after {writes} writes");
        assert_eq!(closed(&world.look(other)), Some(ErrorCode::StorageFailed));
        world.relay.store_mut().writes_left = None;
        let session = world.connect(1);
        let (welcome, _) = world.hello(session, &mut one);
        assert_eq!(welcome.own.unwrap().seq, 0, "after {writes} writes");
        assert_eq!(stored(&world.batch(session, &batch))[0].seq, 1);
    }
}

#[test]
fn backfill_comes_in_pieces_that_wait_for_the_connection() {
    let (mut world, mut one, session, mut two, _) = two();
    for _ in 0..14 {
        let batch = one.change(1, &vec![1; 1 << 20]);
        world.batch(session, &batch);
    }
    let other = world.connect(2);
    let (_, first) = world.hello(other, &mut two);
    let bytes = |got: &[Got]| items(got).len() << 20;
    assert!(bytes(&first) <= crate::CREDIT_BYTES + (2 << 20));
    assert!(
        !first
            .iter()
            .any(|got| matches!(got, Got::Reply(_, Reply::Complete(_))))
    );
    // Nothing more comes until it has left, whatever else happens.
    let got = world.ask(other, Request::Fetch(Fetch::Control(Range { from: 0, count: 1 })));
    assert_eq!(refusals(&got), [ErrorCode::RateLimited]);
    let batch = one.change(1, b"small");
    world.batch(session, &batch);
    assert_eq!(world.look(other), []);
    world.input(other, Input::Drained);
    let second = world.look(other);
    let mut all = places(&first);
    all.extend(places(&second));
    let expected: Vec<_> = (1..=15).map(|seq| (one.log, seq)).collect();
    assert_eq!(all, expected);
    assert!(matches!(second.last(), Some(Got::Reply(0, Reply::Complete(_)))));
}

#[test]
fn what_a_device_brings_of_anothers_log_says_nothing_of_the_rest() {
    let (mut world, mut one, session, mut two, _) = two();
    let batches: Vec<_> = (0..14).map(|_| one.change(1, &vec![1; 1 << 20])).collect();
    for batch in &batches {
        world.batch(session, batch);
    }
    let other = world.connect(2);
    let (_, first) = world.hello(other, &mut two);
    // Most waits for the connection. Meanwhile it brings what it has from elsewhere.
    world.batch(other, &batches[0]);
    world.input(other, Input::Drained);
    let mut all = places(&first);
    all.extend(places(&world.look(other)));
    let expected: Vec<_> = (1..=14).map(|seq| (one.log, seq)).collect();
    assert_eq!(all, expected);
}

#[test]
fn a_restored_server_is_filled_from_devices() {
    let (mut world, mut one, session, mut two, other) = two();
    let first = one.change(1, b"before the backup");
    world.batch(session, &first);
    let backup: MemoryStore = world.relay.store().inner.clone();
    let second = one.change(2, b"after the backup");
    world.batch(session, &second);
    let erase = two.erase(&[1]);
    world.accept(other, push_erase(erase.clone())).unwrap();
    let third = one.change(1, b"to something erased");
    world.batch(session, &third);

    let mut relay = Relay::new(
        crate::testing::Faulty::new(backup),
        Config::server(Box::new(key(SERVER))),
    )
    .unwrap();
    relay.restored().unwrap();
    assert_eq!(
        relay
            .replay(&world.account, std::slice::from_ref(&erase))
            .unwrap(),
        0
    );
    world.relay = relay;
    world.inbox.clear();
    // Whatever token it has; its own head is lower than it knows.
    let session = world.connect(1);
    one.erased = two.erased.clone();
    one.erased_cursor = 1;
    let (welcome, rest) = world.hello(session, &mut one);
    assert_eq!(welcome.own.unwrap().seq, 1);
    assert!(!welcome.ahead.unwrap().delta);
    assert!(items(&rest).is_empty());
    world.ask(session, Request::Vector(one.vector()));
    world.batch(session, &second);
    let got = world.batch(session, &third);
    assert_eq!(codes(&stored(&got)[0]), [(3, ErrorCode::HandleErased)]);
    assert_eq!(stored(&got)[0].link, one.head.link);
    // What was replayed is gone from the old state too.
    assert!(!world.relay.store().inner.rows().any(|(_, space, _, value)| {
        space == Space::Items
            && value
                .windows(6)
                .any(|window| window == b"backup" && [1, 4].contains(&value[0]))
            && value.windows(6).any(|window| window == b"before")
    }));
}

#[test]
fn a_missing_body_is_filled_again_by_its_header_hash() {
    let (mut world, mut one, session, mut two, other) = two();
    // The server got three items as holes only: from a device that lacked the bodies.
    let mut hashes = Vec::new();
    let mut batches = Vec::new();
    for handle in 1..=3 {
        let seq = one.head.seq + 1;
        let (item, hash) = one.write(fields(handle, Kind::Changes(Nothing {})), &[handle; 70]);
        hashes.push(hash);
        batches.push(one.run(seq, vec![item]));
    }
    // A tail that nobody signed proves nothing.
    let holes = run(one.log, 1, hashes.iter().map(|hash| Item::Hole(*hash)).collect());
    assert_eq!(stored(&world.batch(other, &holes))[0].seq, 0);
    let holes = run(
        one.log,
        1,
        vec![
            Item::Hole(hashes[0]),
            Item::Hole(hashes[1]),
            signed_hole(&one, hashes[2]),
        ],
    );
    // A signature stands for all before it: with another hole there it is none.
    let invented = [Hash([9; 32]), hashes[1]].map(Item::Hole);
    let invented = invented.into_iter().chain([signed_hole(&one, hashes[2])]);
    let got = world.batch(other, &run(one.log, 1, invented.collect()));
    assert_eq!(
        (stored(&got)[0].seq, refusals(&got)),
        (0, vec![ErrorCode::BadSignature])
    );
    let got = world.batch(other, &holes);
    assert_eq!((stored(&got)[0].seq, stored(&got)[0].link), (3, one.head.link));
    two.vector.insert(one.log, one.head);

    let erase = two.erase(&[3]);
    world.accept(other, push_erase(erase)).unwrap();
    one.erased = two.erased.clone();
    world.look(session);
    world.apply(session, &mut one).unwrap();
    for batch in &batches {
        world.batch(session, batch);
    }
    let got = world.ask(
        other,
        Request::Fetch(Fetch::Items(
            List::try_from(vec![ItemRange {
                log: one.log,
                range: Range { from: 1, count: 3 },
            }])
            .unwrap(),
        )),
    );
    let bodies: Vec<bool> = items(&got)
        .iter()
        .map(|(_, _, item)| matches!(item, Item::Envelope(_)))
        .collect();
    assert_eq!(bodies, [true, true, false], "the erased one stays a hole");
    // A body that isn't the hole's is no body.
    let mut other_body = world.device(1);
    let (item, _) = other_body.write(fields(9, Kind::Changes(Nothing {})), b"something else");
    let got = world.batch(session, &run(one.log, 1, vec![item]));
    assert_eq!(refusals(&got), [ErrorCode::WrongLink]);
}

#[test]
fn covered_bodies_go_when_somebody_else_has_the_snapshot() {
    let (mut world, mut one, session, two, other) = two();
    for _ in 0..3 {
        let batch = one.change(1, &[1; 200]);
        world.batch(session, &batch);
    }
    // One that brings in a key stays until the registry has it.
    let epoch = world.state.epoch().unwrap().0;
    let mut with_key = fields(1, Kind::Changes(Nothing {}));
    with_key.new_key = Some(new_key(epoch));
    let (item, _) = one.write(with_key, &[1; 200]);
    let batch = one.run(4, vec![item]);
    world.batch(session, &batch);
    let batch = one.snapshot(1, &[(one.log, 4)]);
    world.batch(session, &batch);
    let live = |world: &World| {
        world
            .relay
            .store()
            .inner
            .rows()
            .filter(|(_, space, _, value)| *space == Space::Items && [1, 4].contains(&value[0]))
            .count()
    };
    assert_eq!(live(&world), 5);
    // Its own acknowledgement doesn't count.
    world.accept(session, ack(&[(one.log, 5)], 0)).unwrap();
    assert_eq!(live(&world), 5);
    world.accept(other, ack(&[(one.log, 5)], 0)).unwrap();
    assert_eq!(live(&world), 2);
    let update = table(
        &world.account,
        1,
        1,
        2,
        world.table.table.id(&world.account),
        &[(one.log, 4)],
        vec![shard(9, 1)],
    );
    world
        .accept(session, Request::Registry(Box::new(update)))
        .unwrap();
    world.accept(other, ack(&[(one.log, 5)], 0)).unwrap();
    assert_eq!(live(&world), 1);
    assert_eq!(two.head.seq, 0);
}

#[test]
fn alone_a_day_and_a_backup_let_covered_bodies_go() {
    let mut world = World::new();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    let batch = one.change(1, &[1; 200]);
    world.batch(session, &batch);
    let batch = one.snapshot(1, &[(one.log, 1)]);
    world.batch(session, &batch);
    let used = |world: &mut World| world.relay.accounts().unwrap()[0].used_bytes;
    let before = used(&mut world);
    let account = one.account;
    world.relay.backup_made(&account, world.now + 1_000).unwrap();
    assert_eq!(used(&mut world), before);
    world
        .relay
        .backup_made(&account, world.now + 25 * 3_600_000)
        .unwrap();
    assert!(used(&mut world) < before);
}

fn checkpoint(world: &World, device: &Device, frontier: &Device) -> Request {
    Request::Statement(Box::new(AnyStatement::Checkpoint(Box::new(device.sign(
        Checkpoint {
            device: id(device.n),
            frontier: Map::new([(frontier.log, frontier.head)]).unwrap(),
            live_root: Hash([1; 32]),
            erased_root: Hash::ZERO,
            control: world.state.head(),
            table: Hash::ZERO,
            at: at(world.now + u64::from(device.n) + frontier.head.seq),
        },
    )))))
}

#[test]
fn holes_behind_the_newest_checkpoint_but_one_fold_away() {
    let (mut world, mut one, session, mut two, other) = two();
    for _ in 0..200 {
        let batch = one.change(1, &[1; 40]);
        world.batch(session, &batch);
    }
    let batch = one.change(2, b"stays");
    world.batch(session, &batch);
    let batch = one.snapshot(1, &[(one.log, 200)]);
    world.batch(session, &batch);
    world.accept(other, ack(&[(one.log, 202)], 0)).unwrap();
    let rows = |world: &World| {
        world
            .relay
            .store()
            .inner
            .rows()
            .map(|(_, space, _, value)| match space {
                Space::Items => 1,
                Space::Holes => (value.len() - 4) / 32,
                _ => 0,
            })
            .sum::<usize>()
    };
    assert_eq!(rows(&world), 202);
    let request = checkpoint(&world, &one, &one);
    let id = match &request {
        Request::Statement(statement) => match &**statement {
            AnyStatement::Checkpoint(checkpoint) => checkpoint.id(&world.account),
            _ => panic!(),
        },
        _ => panic!(),
    };
    world.accept(session, request).unwrap();
    assert_eq!(rows(&world), 202, "the newest doesn't fold yet");
    let at_checkpoint = one.clone();
    let batch = one.change(3, b"later");
    world.batch(session, &batch);
    let request = checkpoint(&world, &two, &one);
    world.accept(other, request).unwrap();
    assert_eq!(rows(&world), 3);

    // Who is behind the fold gets what lives out of its chain, then the rest in it.
    let third = world.connect(2);
    two.vector.clear();
    world.hello(third, &mut two);
    let got = world.ask(third, Request::Vector(two.vector()));
    assert_eq!(places(&got), [(one.log, 201), (one.log, 202), (one.log, 203)]);
    let detached = got.iter().find_map(|got| match got {
        Got::Batch(Batch::Detached(list), _) => Some(list.clone()),
        _ => None,
    });
    for item in detached.unwrap().iter() {
        item.envelope
            .verify(&world.account, &item.previous, &keys(1).log)
            .unwrap();
    }
    // A new device begins at the checkpoint.
    let got = world.ask(third, Request::Fetch(Fetch::Checkpoint(id)));
    assert!(matches!(&got[0], Got::Reply(_, Reply::Statements(list)) if list.len() == 1));
    assert_eq!(places(&got), [(one.log, 201), (one.log, 202), (one.log, 203)]);
    assert!(matches!(got.last(), Some(Got::Reply(0, Reply::Complete(_)))));
    // What is behind the fold can still be erased.
    let erase = at_checkpoint.clone().erase(&[2]);
    world.accept(session, push_erase(erase)).unwrap();
    assert_eq!(rows(&world), 2);
}

#[test]
fn an_account_moves_with_what_its_devices_have() {
    // The old server's logs are folded; the device has a checkpoint, the living envelopes, and what came after.
    let (mut old, mut one, session, _, other) = two();
    let mut living = Vec::new();
    for handle in 1..=3 {
        let previous = one.head.link;
        let batch = one.change(handle, &[handle; 70]);
        old.batch(session, &batch);
        let Ok(Batch::Run(run)) = Batch::decode(&batch) else {
            panic!()
        };
        let Item::Envelope(sealed) = &run.items[0] else {
            panic!()
        };
        living.push(Detached {
            previous,
            envelope: hearth_protocol::envelope::Envelope {
                version: run.version,
                log: run.log,
                seq: run.first_seq,
                sealed: sealed.clone(),
            },
        });
    }
    let vouched = checkpoint(&old, &one, &one);
    let after = one.change(4, b"after the checkpoint");
    old.batch(session, &after);
    let change = old.entry(
        1,
        hearth_protocol::control::Action::ServerChange(Box::new(hearth_protocol::control::ServerChange {
            server: Some(hearth_protocol::control::ServerIdentity {
                key: { key(SERVER + 1).public() },
                endpoint: "elsewhere:1".to_owned().try_into().unwrap(),
            }),
        })),
    );
    old.push_entry(session, change).unwrap();
    assert!(
        old.look(other)
            .iter()
            .any(|got| matches!(got, Got::Reply(0, Reply::Control(_))))
    );
    let late = one.clone().change(5, b"x");
    assert_eq!(refusals(&old.batch(session, &late)), [ErrorCode::Moved]);
    let account = old.account;
    assert!(old.relay.has_moved(&account).unwrap());
    let erase = one.erase(&[3]);
    old.accept(session, push_erase(erase.clone())).unwrap();

    let mut new = World::empty(|config| config.signer = Box::new(key(SERVER + 1)));
    new.entries = old.entries.clone();
    new.state = old.state.clone();
    new.table = table(
        &account,
        1,
        1,
        7,
        Hash([6; 32]),
        &[(one.log, 4)],
        vec![shard(9, 5)],
    );
    let session = new.connect(1);
    let open = new.opening("");
    // The running epoch's wraps are for those who were there then.
    let Request::Open(mut open) = open else { panic!() };
    open.wraps = Box::new(wraps_for(&[(id(1), keys(1).agreement)], PHRASE));
    new.accept(session, Request::Open(open)).unwrap();
    let mut hello = one.hello();
    hello.control = new.state.head();
    hello.control_number = new.state.number();
    hello.erased_root = Hash::ZERO;
    new.ask(session, Request::Hello(Box::new(hello)));
    let open = one.log_open();
    new.accept(session, open).unwrap();
    new.accept(session, push_erase(erase)).unwrap();
    new.apply(session, &mut one).unwrap();
    new.accept(session, vouched).unwrap();
    let detached = Batch::Detached(List::try_from(living).unwrap()).encode();
    let got = new.batch(session, &detached);
    assert_eq!(stored(&got)[0].seq, 3);
    assert_eq!(codes(&stored(&got)[0]), [(3, ErrorCode::HandleErased)]);
    let got = new.batch(session, &after);
    assert_eq!((stored(&got)[0].seq, stored(&got)[0].link), (4, one.head.link));
}

#[test]
fn a_heartbeat_that_names_what_isnt_here_is_refused() {
    let (mut world, mut one, session, _, _) = two();
    let heartbeat = |one: &Device, number: u64| {
        Request::Statement(Box::new(AnyStatement::Heartbeat(Box::new(one.sign(Heartbeat {
            device: id(1),
            number,
            vector: Map::new([(one.log, one.head)]).unwrap(),
            live_root: Hash::ZERO,
            erased: Map::default(),
            erased_root: Hash::ZERO,
            control: Hash::ZERO,
            at: at(START_MS),
        })))))
    };
    let batch = one.change(3, b"not here yet");
    let refused = world.accept(session, heartbeat(&one, 1));
    assert_eq!(
        refused,
        Err(ErrorCode::NotFound),
        "others would miss what it names"
    );
    world.batch(session, &batch);
    world.accept(session, heartbeat(&one, 2)).unwrap();
}

#[test]
fn only_the_newest_heartbeat_is_kept() {
    let (mut world, one, session, _, other) = two();
    let heartbeat = |number: u64| {
        Request::Statement(Box::new(AnyStatement::Heartbeat(Box::new(one.sign(Heartbeat {
            device: id(1),
            number,
            vector: Map::default(),
            live_root: Hash::ZERO,
            erased: Map::default(),
            erased_root: Hash::ZERO,
            control: Hash::ZERO,
            at: at(START_MS),
        })))))
    };
    for number in [1, 2, 5, 3] {
        world.accept(session, heartbeat(number)).unwrap();
    }
    assert_eq!(world.look(other).len(), 3, "the old one is pushed to nobody");
    // Nothing was confirmed: all that counts comes again, a log's opening before its items.
    let mut two = world.device(2);
    two.instance = hearth_protocol::id::InstanceToken([0; 16]);
    let other = world.connect(2);
    let (_, rest) = world.hello(other, &mut two);
    let statements: Vec<AnyStatement> = rest
        .iter()
        .filter_map(|got| match got {
            Got::Reply(0, Reply::Statements(list)) => Some(list.to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(statements.len(), 3, "two openings and one heartbeat");
    assert!(matches!(&statements[2], AnyStatement::Heartbeat(last) if last.statement.number == 5));
    // Confirmed by count: two of three.
    world.accept(other, ack(&[], 2)).unwrap();
    let again = world.connect(2);
    let (_, rest) = world.hello(again, &mut two);
    assert!(
        rest.iter()
            .any(|got| matches!(got, Got::Reply(0, Reply::Statements(_)))),
        "they came in one message, of which the last isn't confirmed"
    );
    world.accept(again, ack(&[], 3)).unwrap();
    let again = world.connect(2);
    let (_, rest) = world.hello(again, &mut two);
    assert!(
        !rest
            .iter()
            .any(|got| matches!(got, Got::Reply(0, Reply::Statements(_))))
    );
    let _ = world
        .relay
        .store()
        .get(&world.account, Space::Account, b"")
        .unwrap();
}
