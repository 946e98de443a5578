//! What a review of the machine found: each of these broke it once.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, dead_code)]

mod world;

#[path = "attacks/kit.rs"]
mod kit;

use hearth_protocol::codec::Set;
use hearth_protocol::control::RevokeReason;
use hearth_protocol::envelope::{Envelope, HeaderVersion, Item, next_link};
use hearth_protocol::erasure::Erase;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::key_ref;
use hearth_protocol::id::{Handle, LogId, TimeMs};
use hearth_protocol::message::{ErasePart, Holed, Reply, Stored};
use hearth_protocol::vector::FewPositions;
use hearth_sync::device::{Input, Notice, Proof, Record, Suspicion, space};
use hearth_sync::secret::Secret;
use kit::*;
use world::World;

/// How many records of a space a node has.
fn records(world: &World, node: usize, space: u8) -> usize {
    let all = world.nodes[node].disk.journal.records();
    all.filter(|(at, _, _)| *at == space).count()
}

/// A document key in a node's journal, as a table would have brought it; what it is called.
fn plant(world: &mut World, node: usize, handle: Handle, generation: u32) -> [u8; 8] {
    let key = Secret::random(&mut world.random);
    let reference = key_ref(&account(world), &handle, generation, key.expose());
    let record = Record {
        space: space::KEY,
        key: [&handle.0[..], &generation.to_be_bytes(), &reference.0].concat(),
        value: Some(key.expose().to_vec()),
    };
    world.nodes[node].disk.journal.write(&[record]);
    reference.0
}

fn part_of(world: &World, node: usize, log: LogId, number: u64, nonce: u8, handle: Handle) -> Reply {
    let erase = Erase {
        log,
        number,
        nonce: [nonce; 16],
        handles: Set::new([handle]).unwrap(),
        because: None,
        control: world.device(node).account().head(),
        at: TimeMs { ms: world.now },
    };
    let key = world.device(node).keychain().signing().unwrap();
    Reply::Erasures(ErasePart {
        cursor: number,
        erasures: vec![key.sign_statement(&account(world), erase)]
            .try_into()
            .unwrap(),
        more: false,
    })
}

#[test]
fn what_nobody_erased_isnt_dropped_because_a_server_says_so() {
    let (mut world, _) = pair(1);
    let log = log_of(&world, 0);
    let seq = stored(&world, 0, &log);
    let bodies = records(&world, 0, space::BODY);
    let holed = (1..=seq).map(|seq| Holed {
        seq,
        code: ErrorCode::HandleErased,
    });
    let said = Stored {
        log,
        seq,
        link: link(&world, 0, &log, seq),
        holed: holed.collect::<Vec<_>>().try_into().unwrap(),
    };
    inject(&mut world, 0, Reply::Stored(said));
    assert_eq!(records(&world, 0, space::BODY), bodies);
    assert!(
        world
            .alarms(0)
            .contains(&&Notice::Suspicion(Suspicion::Erasure { log }))
    );
    all_is_well(&mut world);
}

#[test]
fn a_second_erasure_for_one_place_erases_nothing() {
    let (mut world, handle) = pair(2);
    let other = world.handle();
    world.edit(0, other, b"stays");
    world.settle(5_000);
    let log = log_of(&world, 0);
    world.erase(0, handle);
    world.settle(5_000);
    world.assert_gone(&handle);
    let second = part_of(&world, 0, log, 1, 9, other);
    inject(&mut world, 1, second.clone());
    assert!(has(&world, 1, &other, b"stays"));
    let proof = Notice::Proof(Proof::TwoHashes { log, seq: 1 });
    assert!(world.alarms(1).contains(&&proof));
    // Also after a start.
    world.crash(1);
    world.settle(5_000);
    reconnect(&mut world, 1);
    inject(&mut world, 1, second);
    assert!(has(&world, 1, &other, b"stays"));
    all_is_well(&mut world);
}

#[test]
fn keys_that_came_before_a_revocation_are_not_written_with_after_it() {
    let mut world = devices(3, 3);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    let planted = plant(&mut world, 0, handle, 1);
    let target = world.device(2).id();
    world.give(
        0,
        Input::Revoke {
            target,
            reason: RevokeReason::Lost,
        },
    );
    world.settle(10_000);
    world.retire(2);
    assert_eq!(world.device(0).account().generation(), 1);
    let run = intercept(&mut world, 1, |world| world.edit(0, handle, b"not for the thief"));
    assert_eq!(first_envelope(&run).fields.generation, 1);
    assert_ne!(first_envelope(&run).fields.key.0, planted);
    world.hang_up(1);
    world.settle(10_000);
    world.edit(1, handle, b"nor this");
    world.settle(10_000);
    assert!(has(&world, 1, &handle, b"not for the thief") && has(&world, 0, &handle, b"nor this"));
}

#[test]
fn more_keys_than_a_shard_holds_stop_nobody() {
    let (mut world, handle) = pair(4);
    for number in 0..16_385_u32 {
        let mut planted = Handle([0xff; 16]);
        planted.0[0] = handle.0[0];
        planted.0[12..].copy_from_slice(&number.to_be_bytes());
        plant(&mut world, 0, planted, 0);
    }
    let before = world.device(0).account().epoch().unwrap().1.number;
    world.edit(0, handle, b"goes on");
    world.give(0, Input::Rotate);
    world.settle(60_000);
    assert!(world.device(0).account().epoch().unwrap().1.number > before);
    world.edit(0, handle, b"and on");
    world.settle(10_000);
    assert!(has(&world, 1, &handle, b"and on"));
}

#[test]
fn no_body_of_what_is_erased_is_kept_while_it_waits() {
    let (mut world, handle) = pair(5);
    let late = intercept(&mut world, 1, |world| {
        world.edit(0, handle, b"late, and withheld");
    });
    world.erase(1, handle);
    world.settle(5_000);
    let bodies = records(&world, 1, space::BODY);
    let (id, log) = (account(&world), late.log);
    let key = world.device(0).keychain().signing().unwrap();
    let seq = stored(&world, 1, &log) + 1;
    let previous = link(&world, 1, &log, seq - 1);
    // One of another document waits for what never comes; behind it, one of the erased document.
    let mut first = first_envelope(&late);
    first.fields.handle = world.handle();
    first.fields.depends = FewPositions::new([(log_of(&world, 1), 1 << 40)]).unwrap();
    let first = sign_item(&id, log, seq, &previous, first, &key);
    let Item::Envelope(sealed) = first.clone() else {
        unreachable!()
    };
    let envelope = Envelope {
        version: HeaderVersion::V1,
        log,
        seq,
        sealed,
    };
    let next = next_link(&previous, &envelope.header_hash(&id, &previous));
    let second = sign_item(&id, log, seq + 1, &next, first_envelope(&late), &key);
    let mut run = late;
    run.first_seq = seq;
    run.items = vec![first, second].try_into().unwrap();
    inject_run(&mut world, 1, run);
    assert_eq!(stored(&world, 1, &log), seq + 1);
    assert_eq!(records(&world, 1, space::BODY), bodies + 1, "only what waits");
}

#[test]
fn an_erasure_that_comes_after_its_epoch_is_ended_by_it() {
    let (mut world, handle) = pair(6);
    world.offline(1);
    world.erase(0, handle);
    world.settle(5_000);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    world.online(1);
    world.settle(10_000);
    let status = world.device(1).status(world.now);
    assert!(!status.erasures[0].missing.epoch, "{:?}", status.erasures);
}
