//! What one device or account may use up: tests of what was once without a bound.

use hearth_protocol::codec::Map;
use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::{
    Batch, Detached, Envelope, HeaderVersion, Item, Kind, Nothing, Sealed, next_link,
};
use hearth_protocol::erasure::erased_root;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::Statement;
use hearth_protocol::id::{Hash, Signature};
use hearth_protocol::message::{Applied, Fetch, PushControl, Range, Reply, Request};
use hearth_protocol::statement::{AnyStatement, Checkpoint, LogOpen};
use hearth_protocol::vector::{Head, VersionVector};

use super::kit::*;
use crate::store::{Space, Store};
use crate::{Input, SessionId};

fn two_with(configure: impl FnOnce(&mut crate::Config)) -> (World, Device, SessionId, Device, SessionId) {
    let mut world = World::with(configure);
    let mut one = world.device(1);
    let a = world.online(&mut one);
    world.enrol(a, 1, 2);
    let mut two = world.device(2);
    two.control = (world.state.head(), world.state.number());
    let b = world.online(&mut two);
    world.look(a);
    world.look(b);
    (world, one, a, two, b)
}

/// 4,090 plain holes and an envelope, as one batch.
fn long_stretch(device: &mut Device, handle: u8) -> Vec<u8> {
    let first = device.head.seq + 1;
    let mut items = Vec::new();
    for place in 0..4_090u64 {
        let hash = hearth_protocol::hash::sha256(&(first + place).to_be_bytes());
        items.push(Item::Hole(hash));
        device.head = Head {
            seq: device.head.seq + 1,
            link: next_link(&device.head.link, &hash),
        };
    }
    let (item, _) = device.write(fields(handle, Kind::Changes(Nothing {})), b"body");
    items.push(item);
    device.run(first, items)
}

#[test]
fn a_log_of_holes_is_sent_after_an_erasure_too() {
    let (mut world, mut one, a, two, b) = two_with(|_| {});
    for handle in [1, 2] {
        let batch = long_stretch(&mut one, handle);
        let got = world.batch(a, &batch);
        assert_eq!(refusals(&got), []);
    }
    world.close(b);
    let erase = one.erase(&[1]);
    world.accept(a, push_erase(erase)).unwrap();
    let mut two = two;
    two.erased = one.erased.clone();
    let b = world.connect(2);
    let (_, _) = world.hello(b, &mut two);
    let mut got = world.ask(b, Request::Vector(VersionVector::default()));
    for _ in 0..8 {
        world.input(b, Input::Drained);
        got.extend(world.look(b));
    }
    assert_eq!(items(&got).len(), 2 * 4_091);
}

#[test]
fn of_holes_one_in_64_keeps_its_signature_and_the_last() {
    let (mut world, mut one, a, two, b) = two_with(|_| {});
    for _ in 0..200 {
        let batch = one.change(1, b"body");
        world.batch(a, &batch);
    }
    world.close(b);
    let erase = one.erase(&[1]);
    world.accept(a, push_erase(erase)).unwrap();
    let mut two = two;
    two.erased = one.erased.clone();
    let b = world.connect(2);
    let (_, _) = world.hello(b, &mut two);
    let got = world.ask(b, Request::Vector(VersionVector::default()));
    let items = items(&got);
    assert_eq!(items.len(), 200);
    let signed: Vec<u64> = items
        .iter()
        .filter(|(_, _, item)| matches!(item, Item::SignedHole(_)))
        .map(|(_, seq, _)| *seq)
        .collect();
    // Behind 192 there is no mark yet when they go.
    assert_eq!(signed[..3], [64, 128, 192]);
    assert_eq!(signed[3..], (193..=200).collect::<Vec<u64>>());
}

#[test]
fn damage_ends_the_account_it_is_in_and_not_the_relay() {
    let (mut world, mut one, a, _, b) = two_with(|_| {});
    let batch = one.change(1, b"body");
    world.batch(a, &batch);
    let account = world.account;
    let store = world.relay.store_mut();
    store.begin().unwrap();
    let mut key = None;
    store
        .scan(&account, Space::Items, &[], &mut |found, _| {
            key = Some(found.to_vec());
            std::ops::ControlFlow::Break(())
        })
        .unwrap();
    store.delete(&account, Space::Items, &key.unwrap()).unwrap();
    store.commit().unwrap();
    // `input` fails the test if the relay gives up.
    world.look(b);
    let got = world.ask(b, Request::Vector(VersionVector::default()));
    assert_eq!(closed(&got), Some(ErrorCode::StorageFailed));
    assert_eq!(closed(&world.look(a)), Some(ErrorCode::StorageFailed));
    let again = world.connect(1);
    let got = world.ask(again, Request::Hello(Box::new(one.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::StorageFailed));
    // Its operator can remove it.
    assert!(
        world
            .relay
            .purge(&account, world.now, &mut world.entropy)
            .unwrap()
            .0
    );
    let again = world.connect(1);
    let got = world.ask(again, Request::Hello(Box::new(one.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::Purged));
    for space in [Space::Phrases, Space::Accounts] {
        let mut left = 0;
        let count: crate::store::Visit<'_> = &mut |_, _| {
            left += 1;
            std::ops::ControlFlow::Continue(())
        };
        world
            .relay
            .store()
            .scan(&crate::store::SHARED, space, &[], count)
            .unwrap();
        assert_eq!(left, 0, "{space:?}");
    }
}

fn claim(world: &World, device: &Device, seq: u64) -> Request {
    let head = Head {
        seq,
        link: device.head.link,
    };
    Request::Statement(Box::new(AnyStatement::Checkpoint(Box::new(device.sign(
        Checkpoint {
            device: id(device.n),
            frontier: Map::new([(device.log, head)]).unwrap(),
            live_root: Hash::ZERO,
            erased_root: Hash::ZERO,
            control: world.state.head(),
            table: Hash::ZERO,
            at: at(START_MS),
        },
    )))))
}

#[test]
fn a_claimed_frontier_moves_no_log_and_a_cut_costs_what_is_there() {
    let (mut world, mut one, a, mut two, _) = two_with(|_| {});
    let request = claim(&world, &one, 1 << 61);
    world.accept(a, request).unwrap();
    // Nobody begins there: what comes of that log would be passed over.
    let newest = Request::Fetch(Fetch::NewestCheckpoint(Nothing {}));
    assert_eq!(refusals(&world.ask(a, newest)), [ErrorCode::NotFound]);
    let (Item::Envelope(sealed), _) = one.clone().write(fields(1, Kind::Changes(Nothing {})), b"x") else {
        panic!("no envelope")
    };
    let garbage = Batch::Detached(
        vec![Detached {
            previous: one.head.link,
            envelope: Envelope {
                version: HeaderVersion::V1,
                log: one.log,
                seq: 1 << 60,
                sealed: Sealed {
                    signature: Signature([0; 64]),
                    ..sealed
                },
            },
        }]
        .try_into()
        .unwrap(),
    );
    let got = world.batch(a, &garbage.encode());
    assert_eq!(refusals(&got), [ErrorCode::WrongLink]);
    let batch = one.change(1, b"honest");
    assert_eq!(refusals(&world.batch(a, &batch)), []);
    // A cut far beyond what is there is no loop.
    let far = |head: Head| Head {
        seq: 1 << 61,
        link: head.link,
    };
    let cut = Map::new([(one.log, far(one.head)), (two.log, far(two.head))]).unwrap();
    let entry = world.revocation(1, 2, cut, &[]);
    world.push_entry(a, entry).unwrap();
    let batch = two.change(2, b"of the one who is out");
    let got = world.batch(a, &batch);
    assert_eq!(refusals(&got), [], "within its cut");
}

#[test]
fn what_is_exempt_waits_too() {
    let (mut world, mut one, a, mut two, b) = two_with(|config| config.limits.exempt_burst = 5);
    world.now += 60_000;
    let mut codes = Vec::new();
    for _ in 0..6 {
        let erase = one.erase(&[1]);
        codes.push(world.accept(a, push_erase(erase)));
    }
    assert_eq!(codes[5], Err(ErrorCode::RateLimited));
    assert!(codes[..5].iter().all(Result::is_ok));
    // The other device has its own.
    let erase = two.erase(&[9]);
    world.accept(b, push_erase(erase)).unwrap();

    // And what is kept of them has an end.
    let (mut world, mut one, a, ..) = two_with(|config| config.limits.erasure_bytes = 2_000);
    let mut last = Ok(());
    for _ in 0..6 {
        let erase = one.erase(&[1]);
        last = world.accept(a, push_erase(erase));
    }
    assert_eq!(last, Err(ErrorCode::QuotaReached));
}

#[test]
fn what_one_device_keeps_has_an_end_and_the_others_go_on() {
    let (mut world, mut one, a, mut two, b) = two_with(|config| config.limits.unfolded = 3);
    let erase = two.erase(&[1]);
    world.accept(b, push_erase(erase.clone())).unwrap();
    one.erased = two.erased.clone();
    world.apply(a, &mut one).unwrap();
    for seq in 1..=3 {
        let batch = two.change(1, b"body");
        assert_eq!(refusals(&world.batch(b, &batch)), [], "{seq}");
    }
    let batch = two.change(2, b"body");
    assert_eq!(refusals(&world.batch(b, &batch)), [ErrorCode::QuotaReached]);
    // A second log of the same device has no more room.
    let mut other = two.clone();
    other.nonce = [33; 16];
    let open = LogOpen {
        device: id(2),
        nonce: other.nonce,
    };
    other.log = open.log(&world.account);
    other.head = Head {
        seq: 0,
        link: hearth_protocol::id::Link(open.id(&world.account).0),
    };
    let request = other.log_open();
    world.accept(b, request).unwrap();
    let batch = other.change(2, b"body");
    assert_eq!(refusals(&world.batch(b, &batch)), [ErrorCode::QuotaReached]);
    world.look(a);
    for seq in 1..=3 {
        let batch = one.change(2, b"body");
        assert_eq!(refusals(&world.batch(a, &batch)), [], "{seq}");
    }
}

#[test]
fn four_plain_holes_cost_as_much_as_an_item() {
    let (mut world, mut one, a, ..) = two_with(|config| {
        config.limits.item_burst = 1_100;
        config.limits.items_per_s = 1;
    });
    let batch = long_stretch(&mut one, 1);
    assert_eq!(refusals(&world.batch(a, &batch)), []);
    let batch = long_stretch(&mut one, 2);
    assert_eq!(refusals(&world.batch(a, &batch)), [ErrorCode::RateLimited]);
}

#[test]
fn a_revocation_takes_the_holes_of_a_stolen_device_with_it() {
    let (mut world, one, a, mut two, b) = two_with(|_| {});
    let batch = two.change(1, b"kept");
    world.batch(b, &batch);
    let kept = two.head;
    let batch = two.change(2, b"kept as well");
    world.batch(b, &batch);
    let last = two.head;
    // Two runs of holes, each with a signed one behind it.
    for _ in 0..2 {
        let first = two.head.seq + 1;
        let mut items = Vec::new();
        for place in 0..100u64 {
            let hash = hearth_protocol::hash::sha256(&(first + place).to_be_bytes());
            two.head = Head {
                seq: two.head.seq + 1,
                link: next_link(&two.head.link, &hash),
            };
            let signed = place == 99;
            items.push(if signed {
                signed_hole(&two, hash)
            } else {
                Item::Hole(hash)
            });
        }
        let batch = two.run(first, items);
        assert_eq!(refusals(&world.batch(b, &batch)), []);
    }
    let rows = |world: &World, space: Space| {
        let mut rows = 0;
        world
            .relay
            .store()
            .scan(&world.account, space, &[], &mut |_, _| {
                rows += 1;
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        rows
    };
    assert!(rows(&world, Space::Holes) >= 6);
    let cut = |head: Head| Map::new([(one.log, one.head), (two.log, head)]).unwrap();
    // Nothing that lives may be cut off, and no place that isn't signed, or isn't that of this log, is an end.
    let unsigned = Head {
        seq: last.seq + 50,
        link: two.head.link,
    };
    let other = Head {
        seq: last.seq,
        link: kept.link,
    };
    for wrong in [kept, unsigned, other] {
        let entry = world.revocation(1, 2, cut(wrong), &[]);
        assert_eq!(world.push_entry(a, entry), Err(ErrorCode::CutStale), "{wrong:?}");
    }
    // Of those who stay nothing goes.
    let entry = world.revocation(1, 1, cut(last), &[]);
    assert_eq!(world.push_entry(a, entry), Err(ErrorCode::CutStale));
    let entry = world.revocation(1, 2, cut(last), &[]);
    world.push_entry(a, entry).unwrap();
    assert_eq!(rows(&world, Space::Holes), 0);
    assert_eq!(rows(&world, Space::Items), 2);
    let got = world.ask(a, Request::Vector(VersionVector::default()));
    let seqs: Vec<u64> = items(&got).iter().map(|(_, seq, _)| *seq).collect();
    assert_eq!(seqs, [1, 2]);
}

#[test]
fn an_acknowledgement_costs_as_many_requests_as_it_names_logs() {
    let (mut world, mut one, a, two, b) = two_with(|config| {
        config.limits.exempt_burst = 10;
        config.limits.exempt_per_s = 1;
    });
    world.now += 60_000;
    let batch = one.change(1, b"body");
    world.batch(a, &batch);
    let both = || ack(&[(one.log, 1), (two.log, 0)], 0);
    for _ in 0..3 {
        world.accept(b, both()).unwrap();
    }
    assert_eq!(world.accept(b, both()), Err(ErrorCode::RateLimited));
    world.accept(b, ack(&[], 0)).unwrap();
}

#[test]
fn a_restored_store_knows_who_was_purged_since() {
    let mut newer = World::new();
    let one = newer.device(1);
    let account = newer.account;
    assert!(
        newer
            .relay
            .purge(&account, START_MS, &mut newer.entropy)
            .unwrap()
            .0
    );
    let mut older = World::empty(|_| {});
    older.relay.carry_over_purges(&newer.relay).unwrap();
    let session = older.connect(1);
    let got = older.ask(session, Request::Hello(Box::new(one.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::Purged));
    // One that was opened again since isn't said to be gone.
    older.relay.carry_over_purges(&World::new().relay).unwrap();
    let session = older.connect(1);
    let got = older.ask(session, Request::Hello(Box::new(one.hello())));
    assert_eq!(closed(&got), Some(ErrorCode::UnknownAccount));
}

#[test]
fn ids_of_erasures_are_read_once() {
    let (mut world, mut one, a, ..) = two_with(|_| {});
    for _ in 0..60 {
        let erase = one.erase(&[1]);
        world.accept(a, push_erase(erase)).unwrap();
    }
    let mut told = Vec::new();
    let before = world.relay.store().visited();
    for from in [0, 20, 40, 60] {
        let fetch = Fetch::ErasureIds(Range { from, count: 20 });
        for got in world.ask(a, Request::Fetch(fetch)) {
            if let Got::Reply(_, Reply::ErasureIds(ids)) = got {
                told.extend(ids.into_inner());
            }
        }
    }
    let visited = world.relay.store().visited() - before;
    assert!(visited <= 60 + 3, "{visited} rows for 60 ids");
    let mut all = one.erased.clone();
    all.sort();
    assert_eq!(told, all);
    // From anywhere else it is counted.
    let fetch = Fetch::ErasureIds(Range { from: 7, count: 2 });
    let got = world.ask(a, Request::Fetch(fetch));
    assert!(got.iter().any(|got| matches!(
        got,
        Got::Reply(_, Reply::ErasureIds(ids)) if ids[..] == all[7..9]
    )));
}

#[test]
fn the_erased_root_is_not_computed_for_every_erasure() {
    let (mut world, mut one, a, _, b) = two_with(|_| {});
    world.close(b);
    for _ in 0..20 {
        let erase = one.erase(&[1]);
        world.accept(a, push_erase(erase)).unwrap();
    }
    let before = world.relay.store().visited();
    for _ in 0..100 {
        let erase = one.erase(&[2]);
        world.accept(a, push_erase(erase)).unwrap();
    }
    let visited = world.relay.store().visited() - before;
    assert!(visited < 100 * 20, "{visited} rows for 100 erasures");
    world.apply(a, &mut one).unwrap();
}

#[test]
fn a_batch_costs_its_items_and_a_refusal_gives_nothing_back() {
    let (mut world, mut one, a, ..) = two_with(|config| config.limits.item_burst = 10);
    let mut batches = Vec::new();
    for first in [1, 7] {
        let mut items = Vec::new();
        for handle in first..first + 6 {
            items.push(one.write(fields(handle, Kind::Changes(Nothing {})), b"x").0);
        }
        batches.push(one.run(u64::from(first), items));
    }
    assert_eq!(refusals(&world.batch(a, &batches[0])), []);
    assert_eq!(refusals(&world.batch(a, &batches[1])), [ErrorCode::RateLimited]);

    // An epoch with wrong wraps is refused before anything is written, and the account stays in memory.
    let (mut world, one, a, ..) = two_with(|config| config.limits.request_burst = 6);
    let previous = world.table.table.id(&world.account);
    let next = table(&world.account, 1, 2, 2, previous, &[], vec![shard(9, 2)]);
    let (entry, _) = world.epoch(1, &next);
    world.relay.store_mut().writes_left = Some(0);
    let mut refused = Vec::new();
    for _ in 0..7 {
        let request = Request::Control(Box::new(PushControl {
            entry: entry.clone(),
            wraps: Some(Box::new(wraps_for(&[], PHRASE))),
            registry: Some(Box::new(next.clone())),
        }));
        refused.push(world.accept(a, request));
    }
    assert_eq!(refused[0], Err(ErrorCode::ControlInvalid));
    assert_eq!(refused[6], Err(ErrorCode::RateLimited));
    assert_eq!(one.n, 1);
}

#[test]
fn a_wrong_code_uses_up_no_opening() {
    struct Coded;
    impl crate::Admission for Coded {
        fn admits(&self, _: &hearth_protocol::id::AccountId, invitation: &str, _: u64) -> bool {
            invitation == "code"
        }
    }
    let mut world = World::empty(|config| {
        config.admission = Box::new(Coded);
        config.limits.opens_per_hour = 1;
    });
    let session = world.connect(1);
    for _ in 0..3 {
        let open = world.opening("guess");
        assert_eq!(world.accept(session, open), Err(ErrorCode::NotInvited));
    }
    let open = world.opening("code");
    world.accept(session, open).unwrap();
}

#[test]
fn a_device_cannot_call_its_new_entry_an_old_one() {
    let (mut world, _, a, mut two, b) = two_with(|_| {});
    let batch = two.change(1, b"would be cut off");
    world.batch(b, &batch);
    world.close(a);
    let mut one = world.device(1);
    one.instance = hearth_protocol::id::InstanceToken([0; 16]);
    one.control = (Hash([9; 32]), u64::MAX);
    let a = world.connect(1);
    world.ask(a, Request::Hello(Box::new(one.hello())));
    let entry = world.revocation(1, 2, VersionVector::default(), &[]);
    assert_eq!(world.push_entry(a, entry), Err(ErrorCode::CutStale));
}

#[test]
fn a_stolen_device_leaves_room_for_its_revocation_and_for_others() {
    let (mut world, one, a, two, b) = two_with(|config| config.limits.entries_per_day = 3);
    for new in [3, 4, 5] {
        world.enrol(b, 2, new);
    }
    let entry = world.enrolment(2, 6);
    assert_eq!(world.push_entry(b, entry), Err(ErrorCode::RateLimited));
    let opening = |nonce: u8| {
        let open = two.sign(LogOpen {
            device: id(2),
            nonce: [nonce; 16],
        });
        Request::Statement(Box::new(AnyStatement::LogOpen(open)))
    };
    let mut opened = 1;
    let refused = loop {
        match world.accept(b, opening(100 + opened)) {
            Ok(()) => opened += 1,
            Err(code) => break code,
        }
    };
    assert_eq!((opened, refused), (64, ErrorCode::TooLarge));
    // The other one may still act, by revoking too.
    let state = world.relay.accounts().unwrap()[0].logs;
    assert_eq!(state, 65);
    let mut cut = vec![(one.log, one.head), (two.log, two.head)];
    for nonce in 101..=163u8 {
        let open = LogOpen {
            device: id(2),
            nonce: [nonce; 16],
        };
        let link = hearth_protocol::id::Link(open.id(&world.account).0);
        cut.push((open.log(&world.account), Head { seq: 0, link }));
    }
    let entry = world.revocation(1, 2, Map::new(cut).unwrap(), &[]);
    world.push_entry(a, entry).unwrap();
}

#[test]
fn a_place_holds_one_erasure_for_ever() {
    let (mut world, one, a, mut two, b) = two_with(|_| {});
    let erase = two.erase(&[1]);
    world.accept(b, push_erase(erase)).unwrap();
    let cut = Map::new([(one.log, one.head), (two.log, two.head)]).unwrap();
    let entry = world.revocation(1, 2, cut, &[(two.log, 1)]);
    world.push_entry(a, entry).unwrap();
    // The key that was revoked orders anew, under the number that still counts.
    two.erases = 0;
    let again = two.erase(&[2]);
    assert_eq!(world.accept(a, push_erase(again)), Err(ErrorCode::WrongLog));
}

#[test]
fn saying_the_same_wins_no_time_at_the_gate() {
    let (mut world, mut one, a, _, b) = two_with(|_| {});
    let erase = one.erase(&[1]);
    world.accept(a, push_erase(erase)).unwrap();
    world.look(b);
    for _ in 0..3 {
        world.now += 9_000;
        let applied = Applied {
            erased_cursor: 0,
            erased_root: erased_root([]),
        };
        world.accept(b, Request::Applied(applied)).unwrap();
    }
    world.now += 9_000;
    world.tick();
    assert_eq!(closed(&world.look(b)), Some(ErrorCode::EraseNotAcknowledged));
}

#[test]
fn who_has_nothing_but_the_phrase_s_key_holds_nobody_up() {
    let (mut world, _, a, ..) = two_with(|config| config.limits.request_burst = 50);
    let stranger = world.connect(7);
    world.ask(stranger, recovering(PHRASE));
    let mut last = Vec::new();
    for _ in 0..1_001 {
        let range = Range { from: 1, count: 1 };
        last = refusals(&world.ask(stranger, Request::Fetch(Fetch::Control(range))));
    }
    assert_eq!(last, [ErrorCode::RateLimited]);
    world.enrol(a, 1, 3);
}

#[test]
fn only_what_erases_uses_the_reserve() {
    let (mut world, mut one, a, ..) = two_with(|_| {});
    world.relay.store_mut().only_reserve = true;
    let request = claim(&world, &one, 0);
    assert_eq!(world.accept(a, request), Err(ErrorCode::StorageFailed));
    let registry = Request::Registry(Box::new(world.table.clone()));
    assert_eq!(world.accept(a, registry), Err(ErrorCode::StorageFailed));
    let erase = one.erase(&[1]);
    let id = erase.id(&world.account);
    world.accept(a, push_erase(erase)).unwrap();
    let ack = one.erase_ack(id);
    world.accept(a, ack).unwrap();
    // Each account has a little of it a day.
    world.relay.config_mut().limits.reserve_bytes = 100;
    let erase = one.erase(&[2]);
    assert_eq!(world.accept(a, push_erase(erase)), Err(ErrorCode::StorageFailed));
}

#[test]
fn who_was_revoked_learns_nothing_that_came_after() {
    let (mut world, one, a, two, b) = two_with(|_| {});
    world.close(b);
    let cut = Map::new([(one.log, one.head), (two.log, two.head)]).unwrap();
    let entry = world.revocation(1, 2, cut, &[]);
    world.push_entry(a, entry).unwrap();
    let number = world.state.number();
    world.enrol(a, 1, 3);
    // It knows nothing but the genesis, so that it is told of the running epoch, too; but not its wraps.
    let mut two = two;
    two.control = (Hash(world.account.0), 0);
    let b = world.connect(2);
    let got = world.ask(b, Request::Hello(Box::new(two.hello())));
    assert!(!got.iter().any(|got| matches!(
        got,
        Got::Reply(_, Reply::Control(part)) if part.wraps.is_some()
    )));
    let entries: Vec<u64> = got
        .iter()
        .flat_map(|got| match got {
            Got::Reply(_, Reply::Control(part)) => {
                part.entries.iter().map(|entry| entry.statement.number).collect()
            }
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(entries.last(), Some(&number));
}

#[test]
fn no_account_opens_in_the_reserve() {
    let mut world = World::empty(|_| {});
    let session = world.connect(1);
    world.relay.store_mut().only_reserve = true;
    let open = world.opening("");
    assert_eq!(world.accept(session, open), Err(ErrorCode::StorageFailed));
    world.relay.store_mut().only_reserve = false;
    let open = world.opening("");
    world.accept(session, open).unwrap();
}
