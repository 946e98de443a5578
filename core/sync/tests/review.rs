//! What a review of the machine found: each of these broke it once.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, dead_code)]

mod world;

#[path = "attacks/kit.rs"]
mod kit;

use hearth_protocol::codec::Set;
use hearth_protocol::control::RevokeReason;
use hearth_protocol::envelope::{Batch, Envelope, Fields, HeaderVersion, Item, Kind, Nothing, next_link};
use hearth_protocol::erasure::Erase;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::key_ref;
use hearth_protocol::id::{Handle, KeyRef, LogId, ShortSalt, TimeMs};
use hearth_protocol::message::{ErasePart, Holed, Reply, Stored};
use hearth_protocol::vector::FewPositions;
use hearth_sync::device::{Input, Notice, Proof, Record, Suspicion, Waits, space};
use hearth_sync::secret::Secret;
use kit::*;
use world::{Passing, World};

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
    assert!(world.alarms(0).is_empty(), "an erasure may still come");
    world.settle(60_000);
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

/// What a stolen device writes next, changed and signed with its key, on its way to the server. What it changes is said of
/// the envelope's header.
fn write_as(world: &mut World, node: usize, change: impl Fn(&mut Fields) + 'static) {
    let id = account(world);
    let key = world.device(node).keychain().signing().unwrap();
    let log = log_of(world, node);
    let previous = link(world, node, &log, stored(world, node, &log));
    world.up = Some(Box::new(move |other, passing| match passing {
        Passing::Batch(Batch::Run(mut run)) if other == node && run.log == log => {
            let mut sealed = first_envelope(&run);
            change(&mut sealed.fields);
            let item = sign_item(&id, log, run.first_seq, &previous, sealed, &key);
            run.items = vec![item].try_into().unwrap();
            vec![Passing::Batch(Batch::Run(run))]
        }
        other => vec![other],
    }));
    let handle = world.handle();
    world.edit(node, handle, b"by a thief");
    world.settle(2_000);
    world.up = None;
}

/// Nothing is held up: an edit arrives, an erasure gets complete, nobody is accused.
fn goes_on(world: &mut World, from: usize, to: usize, handle: Handle) {
    world.edit(from, handle, b"goes on after that");
    world.settle(20_000);
    assert!(
        has(world, to, &handle, b"goes on after that"),
        "{:#?}",
        world.device(from).status(world.now)
    );
    world.erase(from, handle);
    world.settle(20_000);
    world.give(from, Input::Rotate);
    world.settle(20_000);
    let status = world.device(from).status(world.now);
    assert!(
        status.erasures.iter().all(|erasure| erasure.complete),
        "{status:#?}"
    );
    for node in [from, to] {
        assert_no_alarm(world, node);
    }
}

fn revoke(world: &mut World, by: usize, target: usize) {
    let target = world.device(target).id();
    let reason = RevokeReason::Lost;
    world.give(by, Input::Revoke { target, reason });
    world.settle(10_000);
}

/// What a device waits for in vain doesn't hold up the account once its author is shut out.
fn waits_in_vain(seed: u64, change: impl Fn(&World, &mut Fields)) {
    for recovers in [false, true] {
        let mut world = devices(seed, 3);
        let handle = world.handle();
        world.edit(0, handle, b"known to all");
        world.settle(5_000);
        let mut fields = template();
        change(&world, &mut fields);
        write_as(&mut world, 2, move |theirs| {
            theirs.depends = fields.depends.clone();
            theirs.erased = fields.erased.clone();
            if fields.key.0 != [0; 8] {
                (theirs.key, theirs.new_key) = (fields.key, fields.new_key.clone());
            }
        });
        let log = log_of(&world, 2);
        assert_eq!(stored(&world, 0, &log), stored(&world, 1, &log));
        assert!(
            world
                .device(0)
                .status(world.now)
                .waits
                .contains(&Waits::Missing(log))
        );
        if recovers {
            let keep = [world.device(0).id(), world.device(1).id()];
            let new = world.recover(&keep);
            world.online(new);
            world.settle(20_000);
        } else {
            revoke(&mut world, 0, 2);
        }
        world.retire(2);
        world.settle(20_000);
        goes_on(&mut world, 0, 1, handle);
    }
}

/// Names nothing.
fn template() -> Fields {
    Fields {
        kind: Kind::Changes(Nothing {}),
        handle: Handle([0; 16]),
        generation: 0,
        key: KeyRef([0; 8]),
        new_key: None,
        erased: FewPositions::default(),
        depends: FewPositions::default(),
        salt: ShortSalt([0; 8]),
    }
}

#[test]
fn a_dependency_that_never_comes_stops_nobody_once_its_author_is_out() {
    waits_in_vain(7, |world, fields| {
        fields.depends = FewPositions::new([(log_of(world, 0), 1 << 60)]).unwrap();
    });
}

#[test]
fn an_erasure_that_never_comes_stops_nobody_once_its_author_is_out() {
    waits_in_vain(8, |world, fields| {
        fields.erased = FewPositions::new([(log_of(world, 1), 1_000_000_000)]).unwrap();
    });
}

#[test]
fn a_key_that_nobody_has_stops_nobody_once_its_author_is_out() {
    waits_in_vain(9, |_, fields| fields.key = KeyRef([7; 8]));
}

#[test]
fn a_log_that_nobody_knows_stops_nobody_once_its_author_is_out() {
    waits_in_vain(10, |_, fields| {
        fields.depends = FewPositions::new([(LogId([9; 16]), 1)]).unwrap();
    });
}

#[test]
fn what_a_device_that_is_out_wrote_beyond_the_cut_is_on_all_or_on_none() {
    let mut world = devices(11, 3);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    let there = world.serve(1);
    world.call(1, there);
    world.call(2, there);
    world.settle(5_000);
    world.edit(2, handle, b"only two of them met");
    world.settle(5_000);
    assert!(has(&world, 1, &handle, b"only two of them met"));
    world.offline(2);
    revoke(&mut world, 0, 2);
    world.retire(2);
    world.call(1, 0);
    world.settle(20_000);
    assert!(has(&world, 0, &handle, b"only two of them met"));
    world.assert_converged();
    world.assert_nobody_accused();
}

#[test]
fn what_was_set_aside_is_applied_when_what_it_lacked_comes() {
    let mut world = devices(12, 4);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    // Device 1 writes something that only device 2 hears of, by the local network; what 2 makes of it reaches the server.
    let there = world.serve(1);
    world.call(1, there);
    world.call(2, there);
    world.settle(5_000);
    world.edit(1, handle, b"not at the server yet");
    world.settle(5_000);
    let theirs = log_of(&world, 1);
    world.offline(1);
    world.call(2, 0);
    // It brings its own log alone.
    world.up = Some(Box::new(move |_, passing| match passing {
        Passing::Batch(Batch::Run(run)) if run.log == theirs => Vec::new(),
        other => vec![other],
    }));
    world.edit(2, handle, b"made of that");
    world.settle(5_000);
    world.up = None;
    let log = log_of(&world, 2);
    assert!(
        world
            .device(0)
            .status(world.now)
            .waits
            .contains(&Waits::Missing(log))
    );
    revoke(&mut world, 0, 2);
    world.retire(2);
    world.settle(20_000);
    assert!(world.device(0).status(world.now).waits.is_empty());
    assert!(!has(&world, 0, &handle, b"made of that"));
    world.call(1, 0);
    world.settle(60_000);
    for node in [0, 3] {
        assert!(has(&world, node, &handle, b"not at the server yet"));
    }
    world.pass(25 * 60 * 60 * 1_000);
    for node in [0, 1, 3] {
        assert!(has(&world, node, &handle, b"made of that"), "{node}");
    }
    world.assert_converged();
    world.assert_nobody_accused();
}
