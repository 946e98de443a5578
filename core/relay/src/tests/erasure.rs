//! Erasures, the gate, receipts.

use hearth_protocol::envelope::Item;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::{Fetch, PushErase, Range, Reply, Request};

use super::kit::*;
use crate::{Config, Relay, Signer as _, Space};

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

fn holds(world: &World, bytes: &[u8]) -> bool {
    world
        .relay
        .store()
        .inner
        .rows()
        .any(|(_, _, _, value)| value.windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn an_erasure_takes_the_bodies_and_every_later_write() {
    let (mut world, mut one, session, mut two, other) = two();
    for body in [b"CANARY ONE".as_slice(), b"CANARY TWO"] {
        let batch = one.change(1, body);
        world.batch(session, &batch);
    }
    let batch = one.change(2, b"KEPT");
    world.batch(session, &batch);
    world.look(other);
    assert!(holds(&world, b"CANARY"));
    let erase = two.erase(&[1]);
    world.accept(other, push_erase(erase.clone())).unwrap();
    assert!(!holds(&world, b"CANARY"));
    assert!(holds(&world, b"KEPT"));
    // Everybody connected is told; the author isn't.
    let got = world.look(session);
    assert!(matches!(&got[..], [Got::Reply(0, Reply::Erasures(part))] if part.erasures[0] == erase));
    assert_eq!(world.look(other), []);

    // A late write is a hole.
    let batch = one.change(1, b"CANARY THREE");
    let got = world.batch(session, &batch);
    assert!(matches!(&got[..], [Got::Reply(0, Reply::Stored(stored))]
        if stored.holed[0].code == ErrorCode::HandleErased));
    assert!(!holds(&world, b"CANARY"));
    // And so is what a new device gets.
    let late = world.connect(2);
    two.vector.clear();
    world.hello(late, &mut two);
    let got = world.ask(late, Request::Vector(two.vector()));
    let kinds: Vec<bool> = items(&got)
        .iter()
        .map(|(_, _, item)| matches!(item, Item::Envelope(_)))
        .collect();
    assert_eq!(kinds, [false, false, true, false]);

    // The same again changes nothing; one that isn't signed by the log's device doesn't count.
    world.accept(late, push_erase(erase.clone())).unwrap();
    assert_eq!(world.relay.erasures(&world.account, 0).unwrap().1.len(), 1);
    let mut forged = erase;
    forged.signature.0[1] ^= 1;
    assert_eq!(
        world.accept(late, push_erase(forged)),
        Err(ErrorCode::BadSignature)
    );
    let mut stranger = world.device(2);
    stranger.log = hearth_protocol::id::LogId([9; 16]);
    let unopened = stranger.erase(&[3]);
    assert_eq!(world.accept(late, push_erase(unopened)), Err(ErrorCode::WrongLog));
}

#[test]
fn nothing_passes_the_gate_either_way_until_the_erased_set_is_applied() {
    let (mut world, mut one, session, mut two, other) = two();
    let batch = one.change(2, b"content");
    world.batch(session, &batch);
    world.close(other);
    let erase = one.erase(&[1]);
    world.accept(session, push_erase(erase)).unwrap();

    let other = world.connect(2);
    let (welcome, rest) = world.hello(other, &mut two);
    assert!(welcome.ahead.is_some());
    assert!(
        rest.iter()
            .any(|got| matches!(got, Got::Reply(0, Reply::Erasures(_))))
    );
    assert!(items(&rest).is_empty());
    assert!(
        !rest
            .iter()
            .any(|got| matches!(got, Got::Reply(_, Reply::Registry(_) | Reply::Complete(_))))
    );
    // Nothing comes in, nothing is given out.
    let batch = two.change(5, b"not yet");
    assert_eq!(refusals(&world.batch(other, &batch)), [ErrorCode::GateClosed]);
    let vector = world.ask(other, Request::Vector(two.vector()));
    assert!(items(&vector).is_empty());
    for fetch in [
        Fetch::Shards(hearth_protocol::codec::Set::new([9]).unwrap()),
        Fetch::Items(hearth_protocol::codec::List::default()),
        Fetch::Checkpoint(hearth_protocol::id::Hash([1; 32])),
    ] {
        assert_eq!(
            world.accept(other, Request::Fetch(fetch)),
            Err(ErrorCode::GateClosed)
        );
    }
    let update = world.table.clone();
    assert_eq!(
        world.accept(other, Request::Registry(Box::new(update))),
        Err(ErrorCode::GateClosed)
    );
    // A wrong root doesn't open it, the right one does.
    assert_eq!(world.apply(other, &mut two), Err(ErrorCode::GateClosed));
    two.erased = one.erased.clone();
    two.head = hearth_protocol::vector::Head {
        seq: 0,
        ..world.device(2).head
    };
    world.apply(other, &mut two).unwrap();
    let batch = world.device(2).change(5, b"now");
    let got = world.batch(other, &batch);
    assert!(matches!(&got[0], Got::Reply(0, Reply::Stored(stored)) if stored.seq == 1));
}

#[test]
fn a_device_may_bring_what_the_server_lacks_before_the_gate_opens() {
    let (mut world, one, session, mut two, other) = two();
    world.close(other);
    let erase = two.erase(&[4]);
    let other = world.connect(2);
    let (welcome, _) = world.hello(other, &mut two);
    assert!(welcome.ahead.is_some());
    assert_eq!(world.apply(other, &mut two), Err(ErrorCode::GateClosed));
    let got = world.ask(
        other,
        Request::Fetch(Fetch::ErasureIds(Range { from: 0, count: 99 })),
    );
    assert!(matches!(&got[..], [Got::Reply(_, Reply::ErasureIds(ids))] if ids.is_empty()));
    world.accept(other, push_erase(erase.clone())).unwrap();
    world.apply(other, &mut two).unwrap();
    let got = world.ask(
        other,
        Request::Fetch(Fetch::ErasureIds(Range { from: 0, count: 99 })),
    );
    assert!(matches!(&got[..], [Got::Reply(_, Reply::ErasureIds(ids))]
        if ids.to_vec() == vec![erase.id(&world.account)]));
    assert_eq!(world.look(session).len(), 1);
    assert_eq!(one.erases, 0);
}

#[test]
fn who_does_not_acknowledge_within_half_a_minute_is_closed() {
    let (mut world, mut one, session, two, other) = two();
    let erase = one.erase(&[1]);
    world.accept(session, push_erase(erase)).unwrap();
    world.tick();
    world.look(session);
    world.look(other);
    assert_eq!(world.relay.wants_tick(), Some(world.now + 30_000));
    world.now += 29_999;
    world.tick();
    assert_eq!(world.look(other), []);
    world.now += 1;
    world.tick();
    assert_eq!(closed(&world.look(other)), Some(ErrorCode::EraseNotAcknowledged));
    assert_eq!(world.look(session), [], "the author has nothing to acknowledge");
    // It comes back, applies, and stays.
    let mut back = two;
    back.erased = one.erased.clone();
    back.erased_cursor = 1;
    let other = world.connect(2);
    world.hello(other, &mut back);
    let erase = one.erase(&[2]);
    world.accept(session, push_erase(erase)).unwrap();
    back.erased = one.erased.clone();
    world.apply(other, &mut back).unwrap();
    world.now += 60_000;
    world.tick();
    assert_eq!(closed(&world.look(other)), None);
}

#[test]
fn receipts_follow_the_scrub() {
    let (mut world, mut one, session, _, other) = two();
    let batch = one.change(1, &[1; 100]);
    world.batch(session, &batch);
    let erase = one.erase(&[1, 7]);
    let id = erase.id(&world.account);
    world.accept(session, push_erase(erase.clone())).unwrap();
    world.look(other);
    assert_eq!(world.relay.wants_tick(), Some(0));
    let fetch = Request::Fetch(Fetch::Erasure(id));
    let got = world.ask(session, fetch.clone());
    assert!(matches!(&got[..], [Got::Reply(_, Reply::Statements(list))] if list.is_empty()));
    assert_eq!(world.relay.store().inner.scrubs(), 0);
    world.now += 500;
    world.tick();
    assert_eq!(world.relay.store().inner.scrubs(), 1);
    for session in [session, other] {
        let got = world.look(session);
        let [Got::Reply(0, Reply::Receipt(receipt))] = got.as_slice() else {
            panic!("{got:?}");
        };
        receipt.verify(&world.account, &key(SERVER).public()).unwrap();
        assert_eq!(receipt.statement.erase, id);
        assert_eq!(receipt.statement.bodies, 1);
        assert!(receipt.statement.bytes > 100);
        assert_eq!(receipt.statement.at.ms, world.now);
        assert_eq!(receipt.statement.backups_until.ms, world.now + 1_000);
    }
    // Acknowledgements are kept beside it.
    let done = one.erase_ack(id);
    world.accept(session, done.clone()).unwrap();
    world.accept(session, done).unwrap();
    let unknown = one.erase_ack(hearth_protocol::id::Hash([1; 32]));
    assert_eq!(world.accept(session, unknown), Err(ErrorCode::NotFound));
    let got = world.ask(session, fetch);
    assert!(
        matches!(&got[..], [Got::Reply(_, Reply::Receipt(_)), Got::Reply(_, Reply::Statements(list))]
        if list.len() == 1)
    );
    assert_eq!(
        world.relay.wants_tick(),
        Some(START_MS + 30_000),
        "the other hasn't applied it"
    );
}

#[test]
fn a_receipt_that_is_owed_survives_the_server() {
    let (mut world, mut one, session, _, _) = two();
    let erase = one.erase(&[1]);
    world.accept(session, push_erase(erase)).unwrap();
    let store = world.relay.store().clone();
    world.relay = Relay::new(store, Config::server(Box::new(key(SERVER)))).unwrap();
    assert_eq!(world.relay.wants_tick(), Some(0));
    world.tick();
    assert_eq!(world.relay.wants_tick(), None);
    assert!(
        world
            .relay
            .store()
            .inner
            .rows()
            .any(|(_, space, ..)| space == Space::Receipts)
    );
}

#[test]
fn a_registry_that_comes_along_does_not_hold_up_an_erasure() {
    let (mut world, mut one, session, _, _) = two();
    let account = world.account;
    let before = world.table.table.id(&account);
    let wrong = table(&account, 1, 1, 2, hearth_protocol::id::Hash([1; 32]), &[], vec![]);
    let erase = one.erase(&[9]);
    let request = Request::Erase(Box::new(PushErase {
        erase,
        registry: Some(Box::new(wrong)),
    }));
    assert_eq!(world.accept(session, request), Err(ErrorCode::RegistryConflict));
    assert_eq!(world.relay.erasures(&account, 0).unwrap().1.len(), 1);
    let right = table(&account, 1, 1, 2, before, &[], vec![]);
    let erase = one.erase(&[10]);
    let request = Request::Erase(Box::new(PushErase {
        erase,
        registry: Some(Box::new(right)),
    }));
    world.accept(session, request).unwrap();
    assert!(
        !world
            .relay
            .store()
            .inner
            .rows()
            .any(|(_, space, ..)| space == Space::Shards),
        "the shard's old writing is gone"
    );
}

#[test]
fn a_revocation_takes_later_erasures_of_the_device_out_of_the_set() {
    let (mut world, mut one, session, mut two, other) = two();
    let kept = two.erase(&[1]);
    let dropped = two.erase(&[2]);
    world.accept(other, push_erase(kept)).unwrap();
    world.accept(other, push_erase(dropped)).unwrap();
    one.erased = two.erased.clone();
    world.look(session);
    world.apply(session, &mut one).unwrap();
    let cut = hearth_protocol::codec::Map::new([(two.log, two.head)]).unwrap();
    let (kept, dropped) = (two.erased[0], two.erased[1]);
    world.tick();
    for erase in [kept, dropped] {
        let ack = one.erase_ack(erase);
        world.accept(session, ack).unwrap();
    }
    let late = two.erase(&[3]);
    world.accept(other, push_erase(late)).unwrap();
    one.erased = two.erased.clone();
    world.apply(session, &mut one).unwrap();
    let rows = |world: &World, space: Space, shared: bool| {
        let of = if shared {
            crate::store::SHARED
        } else {
            world.account
        };
        let mut rows = 0;
        crate::Store::scan(world.relay.store(), &of, space, &[], &mut |_, _| {
            rows += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        rows
    };
    let before = rows(&world, Space::Statements, false);
    assert_eq!(
        (
            rows(&world, Space::Receipts, false),
            rows(&world, Space::Owed, true)
        ),
        (2, 1)
    );
    let entry = world.revocation(1, 2, cut, &[(two.log, 1)]);
    world.push_entry(session, entry).unwrap();
    assert_eq!(world.relay.erasures(&world.account, 0).unwrap().1.len(), 1);
    // Nor what confirmed the others, or would have.
    assert_eq!(
        (
            rows(&world, Space::Receipts, false),
            rows(&world, Space::Owed, true)
        ),
        (1, 0)
    );
    assert_eq!(rows(&world, Space::Acks, false), 1);
    assert_eq!(rows(&world, Space::Statements, false), before - 1);
    one.erased.pop();
    one.erased.pop();
    one.erased_cursor = 3;
    let session = world.connect(1);
    one.control = (world.state.head(), world.state.number());
    let (welcome, _) = world.hello(session, &mut one);
    assert!(
        welcome.ahead.is_none() || welcome.ahead.unwrap().erased_root == erased(&one),
        "the root is of what still counts"
    );
    // The handle isn't refused any more; whoever wants it gone says so again.
    let mut fields = fields(
        2,
        hearth_protocol::envelope::Kind::Changes(hearth_protocol::envelope::Nothing {}),
    );
    fields.generation = 1;
    let (item, _) = one.write(fields, b"again");
    let batch = one.run(1, vec![item]);
    let got = world.batch(session, &batch);
    assert!(matches!(&got[0], Got::Reply(0, Reply::Stored(stored)) if stored.holed.is_empty()));
}

fn erased(device: &Device) -> hearth_protocol::id::Hash {
    hearth_protocol::erasure::erased_root(device.erased.clone())
}
