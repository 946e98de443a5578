//! Attacks on the registry and on epochs: what could make a device lose keys, or seal under somebody else's.

use hearth_protocol::codec::{Blob, List, Wire};
use hearth_protocol::control::EpochWraps;
use hearth_protocol::message::{Fetch, RegistryPart, Reply, Request};
use hearth_protocol::statement::{AnyStatement, EpochAck, Grant};
use hearth_relay::Space;
use hearth_relay::store::Store;
use hearth_sync::device::{Input, Journal, Keychain, Notice, Waits, space};
use hearth_sync::keys::EpochKey;

use crate::kit::*;
use crate::world::{Passing, World};

fn keys_of(world: &World, node: usize) -> Vec<Vec<u8>> {
    let records = world.nodes[node].disk.journal.records();
    let keys = records.filter(|(at, _, _)| *at == space::KEY);
    keys.map(|(_, key, value)| [key, value].concat()).collect()
}

/// The newest registry part that a node was sent.
fn heard_registry(heard: &Shared<Vec<Passing>>) -> RegistryPart {
    let heard = heard.borrow();
    let part = heard.iter().rev().find_map(|passing| match passing {
        Passing::Reply(frame) => match &frame.reply {
            Reply::Registry(part) => Some(part.clone()),
            _ => None,
        },
        _ => None,
    });
    part.expect("no table was sent")
}

#[test]
fn a_registry_that_is_rolled_back_takes_no_key_away() {
    let (mut world, handle) = pair(1);
    let (heard, tap) = listen(1);
    world.down = tap;
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let old = heard_registry(&heard);
    let other = world.handle();
    world.edit(0, other, b"its key comes later");
    world.settle(120_000);
    let before = keys_of(&world, 1);
    inject(&mut world, 1, Reply::Registry(old.clone()));
    assert_eq!(keys_of(&world, 1), before);
    // Nor does one of an epoch that is over.
    world.down = None;
    world.give(0, Input::Rotate);
    world.settle(10_000);
    inject(&mut world, 1, Reply::Registry(old));
    assert_eq!(keys_of(&world, 1), before);
    world.settle(10_000);
    all_is_well(&mut world);
    let third = world.enrol(0);
    world.settle(5_000);
    world.online(third);
    world.settle(10_000);
    assert!(
        has(&world, third, &handle, b"known to both") && has(&world, third, &other, b"its key comes later")
    );
    world.assert_honest();
}

#[test]
fn a_store_whose_registry_is_rolled_back_is_filled_up_again() {
    let (mut world, handle) = pair(2);
    let old: Vec<(Space, Vec<u8>, Vec<u8>)> = world.relays[0]
        .store()
        .inner
        .rows()
        .filter(|(_, at, _, _)| matches!(at, Space::Table | Space::Shards))
        .map(|(_, at, key, value)| (at, key.to_vec(), value.to_vec()))
        .collect();
    let other = world.handle();
    world.edit(0, other, b"its key comes later");
    world.settle(10_000);
    world.pass(60 * 60 * 1_000);
    let id = account(&world);
    let mut store = world.relays[0].store().clone();
    store.inner.begin().unwrap();
    for (at, key, value) in old {
        store.inner.put(&id, at, &key, &value).unwrap();
    }
    store.inner.commit().unwrap();
    world.put_store(store);
    all_is_well(&mut world);
    world.edit(1, handle, b"and on it goes");
    all_is_well(&mut world);
    let third = world.enrol(0);
    world.settle(5_000);
    world.online(third);
    world.settle(120_000);
    assert!(has(&world, third, &other, b"its key comes later"));
    world.assert_nobody_accused();
}

#[test]
fn a_forged_table_is_tampering() {
    let (mut world, _) = pair(3);
    let (heard, tap) = listen(1);
    world.down = tap;
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let genuine = heard_registry(&heard);
    let before = (world.nodes[1].disk.journal.clone(), keys_of(&world, 1));
    let key = stranger(&mut world);
    let mut forged = genuine.clone();
    let mut table = genuine.table.statement.clone();
    table.number += 1;
    *forged.table = key.sign_statement(&account(&world), table.clone());
    inject(&mut world, 1, Reply::Registry(forged.clone()));
    // Changed, and with the genuine signature.
    forged.table.signature = genuine.table.signature;
    inject(&mut world, 1, Reply::Registry(forged.clone()));
    assert!(world.alarms(1).iter().all(|notice| **notice == Notice::Tampered));
    assert_eq!(world.alarms(1).len(), 2);
    assert_eq!(keys_of(&world, 1), before.1);
    let table_of =
        |journal: &hearth_sync::device::MemoryJournal| journal.get(space::TABLE, b"state").unwrap();
    assert_eq!(table_of(&world.nodes[1].disk.journal), table_of(&before.0));
    all_is_well(&mut world);
}

#[test]
fn shards_that_are_not_the_tables_give_no_keys() {
    let (mut world, handle) = pair(4);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let third = world.enrol(0);
    world.settle(5_000);
    // Of every shard for the new device a bit is flipped; and its envelopes don't come, so that it has keys from nowhere else.
    world.down = to(third, |passing| match passing {
        Passing::Reply(mut frame) => {
            if let Reply::Registry(part) = &mut frame.reply {
                let mut shards = std::mem::take(&mut part.shards).into_inner();
                for shard in &mut shards {
                    let mut bytes = shard.sealed.clone().into_inner();
                    bytes[40] ^= 1;
                    shard.sealed = Blob::try_from(bytes).unwrap();
                }
                part.shards = shards.try_into().unwrap();
            }
            vec![Passing::Reply(frame)]
        }
        Passing::Batch(_) => Vec::new(),
        other => vec![other],
    });
    world.online(third);
    world.settle(40_000);
    assert!(keys_of(&world, third).is_empty());
    assert!(world.seen(third, |notice| *notice == Notice::Tampered));
    all_is_well(&mut world);
    assert!(has(&world, third, &handle, b"known to both"));
}

/// A new device asks a server that has a table without its shards; they come after so long.
fn shards_that_come_after(ms: u64) -> (bool, usize) {
    let (mut world, handle) = pair(6);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let third = world.enrol(0);
    world.settle(5_000);
    let kept = shared::<bool>();
    *kept.borrow_mut() = true;
    let keeps = kept.clone();
    world.down = replies_to(third, move |mut frame| {
        if let (Reply::Registry(part), true) = (&mut frame.reply, *keeps.borrow()) {
            part.shards = List::default();
        }
        vec![frame]
    });
    let sent = requests(&mut world, third);
    world.online(third);
    let end = world.now + ms;
    world.settle(ms);
    let accused = world.seen(third, |notice| *notice == Notice::Tampered);
    assert!(keys_of(&world, third).is_empty());
    *kept.borrow_mut() = false;
    world.now = world.now.max(end);
    world.settle(60_000);
    assert!(has(&world, third, &handle, b"known to both"));
    let asked = |request: &&Request| matches!(request, Request::Fetch(Fetch::Shards(_)));
    let asked = sent.borrow().iter().filter(asked).count();
    all_is_well(&mut world);
    (accused, asked)
}

#[test]
fn shards_that_are_missing_are_asked_for_again_before_anybody_is_accused() {
    let (accused, asked) = shards_that_come_after(20_000);
    assert!(!accused, "a server that was restored may get them yet");
    assert!(asked <= 8, "{asked}");
    let (accused, asked) = shards_that_come_after(50_000);
    assert!(accused);
    assert!(asked <= 9, "{asked}");
}

#[test]
fn exchanged_wraps_open_nothing_and_are_asked_for_again() {
    let (mut world, handle) = pair(5);
    world.offline(1);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let (seed, id) = (stranger(&mut world), account(&world));
    let mut random = world.random.clone();
    let fake = EpochKey::random(2, &mut random);
    let me = world.device(1).id();
    let to_key = world.device(1).keychain().public().unwrap().agreement;
    let membership = world.device(0).account().membership();
    let wrap = fake
        .wrap(&id, &membership, Some(&me), &to_key, &mut random)
        .unwrap();
    let exchange = {
        let wrap = wrap.clone();
        move |wraps: &mut EpochWraps| {
            let devices = wraps.devices.iter().cloned();
            let devices =
                devices.map(|(device, old)| (device, if device == me { wrap.clone() } else { old }));
            wraps.devices = hearth_protocol::codec::Map::new(devices).unwrap();
        }
    };
    // Nor does anybody else grant it the key: those statements are kept back.
    world.down = replies_to(1, move |mut frame| {
        match &mut frame.reply {
            Reply::Control(part) => {
                if let Some(wraps) = &mut part.wraps {
                    exchange(wraps);
                }
            }
            Reply::Wraps(wraps) => exchange(wraps),
            Reply::Statements(_) => return Vec::new(),
            _ => {}
        }
        vec![frame]
    });
    world.online(1);
    world.settle(30_000);
    let status = world.device(1).status(world.now);
    assert!(
        !status.epoch_key && status.waits.contains(&Waits::EpochKey),
        "{status:#?}"
    );
    assert_no_alarm(&world, 1);
    // A grant of another key under the running epoch, signed by a member even, isn't taken: the entry commits to one.
    let epoch = world.device(0).account().epoch().unwrap().0;
    for key in [seed, world.device(0).keychain().signing().unwrap()] {
        let grant = Grant {
            epoch,
            author: world.device(0).id(),
            device: me,
            wrap: wrap.clone(),
        };
        let signed = key.sign_statement(&id, grant);
        world.inject_down(
            1,
            Passing::news(Reply::Statements(
                vec![AnyStatement::Grant(signed)].try_into().unwrap(),
            )),
        );
        world.settle(0);
    }
    assert!(!world.device(1).status(world.now).epoch_key);
    world.edit(0, handle, b"under the new epoch");
    all_is_well(&mut world);
    assert!(world.device(1).status(world.now).epoch_key);
    assert!(has(&world, 1, &handle, b"under the new epoch"));
}

#[test]
fn an_exchanged_epoch_ack_is_tampering_and_gets_no_wrap() {
    let (mut world, _) = pair(6);
    let mallory = Keychain::random(&mut world.random).public().unwrap().agreement;
    world.down = replies_to(0, move |mut frame| {
        if let Reply::Statements(list) = &mut frame.reply {
            let mut all = std::mem::take(list).into_inner();
            for statement in &mut all {
                if let AnyStatement::EpochAck(ack) = statement {
                    ack.statement.agreement = mallory;
                }
            }
            *list = all.try_into().unwrap();
        }
        vec![frame]
    });
    world.give(0, Input::Rotate);
    world.settle(10_000);
    assert!(world.seen(0, |notice| *notice == Notice::Tampered));
    // A made-up one of a later epoch, in the same name.
    let ack = EpochAck {
        epoch: world.device(0).account().epoch().unwrap().0,
        number: 9,
        device: world.device(1).id(),
        agreement: mallory,
        at: hearth_protocol::id::TimeMs { ms: 1 },
    };
    let key = world.server_key();
    let signed = key.sign_statement(&account(&world), ack);
    say(&mut world, 0, AnyStatement::EpochAck(signed));
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let rows = world.relays[0].store().inner.rows();
    let wraps: Vec<_> = rows.filter(|(_, at, _, _)| *at == Space::Wraps).collect();
    assert_eq!(wraps.len(), 1);
    let wraps = EpochWraps::decode(wraps[0].3).unwrap();
    assert!(wraps.devices.iter().all(|(_, wrap)| wrap.to != mallory));
    all_is_well(&mut world);
    assert!(world.device(1).status(world.now).epoch_key);
}

#[test]
fn withheld_epoch_acks_cost_a_device_nothing_but_time() {
    let (mut world, handle) = pair(7);
    world.down = statements_to(0, |statement| !matches!(statement, AnyStatement::EpochAck(_)));
    for _ in 0..3 {
        world.give(0, Input::Rotate);
        world.settle(60_000);
    }
    world.edit(0, handle, b"whoever can open it");
    world.settle(60_000);
    assert_no_alarm(&world, 0);
    all_is_well(&mut world);
    world.settle(120_000);
    assert!(has(&world, 1, &handle, b"whoever can open it"));
    assert!(world.device(1).status(world.now).epoch_key);
    world.assert_honest();
}
