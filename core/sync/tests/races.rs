//! Races that random lives have found, each by itself: what comes in an odd order, and accuses nobody.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, dead_code)]

mod world;

#[path = "attacks/kit.rs"]
mod kit;

use std::collections::BTreeSet;

use hearth_protocol::control::RevokeReason;
use hearth_protocol::envelope::{Envelope, HeaderVersion, Item, Run, SignedHole};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::{Refusal, Reply, Request};
use hearth_protocol::statement::AnyStatement;
use hearth_sync::device::Input;
use kit::*;
use world::{Passing, World};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Runs to a node are kept in what this gives, and don't arrive.
fn hold_runs(world: &mut World, node: usize) -> Shared<Vec<Run>> {
    let held: Shared<Vec<Run>> = shared();
    let copy = held.clone();
    world.down = runs_to(node, move |run| {
        copy.borrow_mut().push(run);
        Vec::new()
    });
    held
}

/// A node's clock jumps, so that its next heartbeat is due.
fn next_heartbeat(world: &mut World, node: usize) {
    world.nodes[node].skew += 2 * DAY_MS as i64;
}

#[test]
fn what_was_erased_meanwhile_is_named_before_its_erasure_comes() {
    let (mut world, handle) = pair(1);
    // From here on node 0 hears nothing, and writes what node 1 has erased.
    world.down = to(0, |_| Vec::new());
    world.erase(1, handle);
    world.settle(1_000);
    world.edit(0, handle, b"after its erasure");
    world.settle(1_000);
    assert!(!world.nodes[0].disk.erased.contains(&handle));
    // Its next greeting is answered with the hole, and with the erasure only then.
    world.down = None;
    world.hang_up(0);
    world.settle(60_000);
    world.assert_honest();
    assert!(world.nodes[0].disk.erased.contains(&handle));
    world.assert_gone(&handle);
    all_is_well(&mut world);
}

#[test]
fn a_device_that_was_shut_out_erases_for_itself_alone() {
    let mut world = devices(2, 3);
    let (handle, other) = (world.handle(), world.handle());
    world.edit(2, handle, b"known to all");
    world.edit(2, other, b"known to all");
    world.settle(5_000);
    let target = world.device(2).id();
    let reason = RevokeReason::Lost;
    world.give(1, Input::Revoke { target, reason });
    world.settle(5_000);
    let before = world.events;
    world.erase(2, handle);
    world.settle(5_000);
    assert!(!world.nodes[2].disk.documents.contains_key(&handle));
    assert!(has(&world, 1, &handle, b"known to all"));
    assert!(
        world.events - before < 100,
        "it orders again and again what nobody takes"
    );
}

#[test]
fn a_heartbeat_that_overtakes_what_it_names_accuses_nobody() {
    let (mut world, handle) = pair(3);
    world.offline(0);
    world.edit(1, handle, b"first");
    world.settle(5_000);
    let held = hold_runs(&mut world, 0);
    world.online(0);
    world.settle(1_000);
    // All that the server had then is held up; now there is more, and a heartbeat that names it.
    next_heartbeat(&mut world, 1);
    world.edit(1, handle, b"second");
    world.settle(2_000);
    world.down = None;
    let runs = std::mem::take(&mut *held.borrow_mut());
    assert_eq!(runs.len(), 2, "{runs:?}");
    let link = |world: &World| world.device(0).link();
    for run in runs {
        inject_run(&mut world, 0, run);
        world.settle(1_000);
        world.assert_honest();
    }
    assert_eq!(link(&world), hearth_sync::device::Link::Live);
    assert!(has(&world, 0, &handle, b"second"));
    world.settle(120_000);
    world.assert_honest();
    all_is_well(&mut world);
}

#[test]
fn what_others_vouched_for_before_a_restore_may_be_brought_later() {
    let mut world = devices(4, 3);
    let handle = world.handle();
    world.edit(1, handle, b"known to all");
    world.settle(5_000);
    let backup = world.relays[0].store().clone();
    // Node 0 hears what node 1 has, and doesn't get it.
    let held = hold_runs(&mut world, 0);
    next_heartbeat(&mut world, 1);
    world.edit(1, handle, b"after the backup");
    world.erase(2, world.nodes[0].disk.documents.keys().next().copied().unwrap());
    world.settle(5_000);
    assert!(!held.borrow().is_empty());
    world.down = None;
    for node in 0..3 {
        world.offline(node);
    }
    world.restore_server(backup);
    world.online(0);
    world.settle(120_000);
    world.assert_nobody_accused();
    for node in 1..3 {
        world.online(node);
        world.settle(5_000);
    }
    all_is_well(&mut world);
    world.assert_nobody_accused();
}

#[test]
fn what_a_server_refuses_is_said_again_later_and_later() {
    let (mut world, handle) = pair(6);
    // Acknowledgements of node 1 are refused, as if the server didn't know the erasure yet.
    let said: Shared<BTreeSet<u32>> = shared();
    let (copy, asked) = (said.clone(), said.clone());
    world.up = Some(Box::new(move |node, passing| {
        if let (1, Passing::Request(frame)) = (node, &passing)
            && matches!(&frame.request, Request::Statement(statement) if matches!(**statement, AnyStatement::EraseAck(_)))
        {
            copy.borrow_mut().insert(frame.id);
        }
        vec![passing]
    }));
    world.down = replies_to(1, move |mut frame| {
        if asked.borrow().contains(&frame.to) {
            frame.reply = Reply::Refused(Refusal {
                code: ErrorCode::NotFound,
                retry_after_ms: 0,
                versions: None,
            });
        }
        vec![frame]
    });
    world.erase(0, handle);
    world.settle(1_000);
    assert!(!said.borrow().is_empty());
    // Two seconds, four, eight, …, and never longer than ten minutes; each after the last refusal.
    let mut waited = Vec::new();
    for _ in 0..12 {
        let (refused, before) = (world.now, said.borrow().len());
        while said.borrow().len() == before && world.now < refused + 1_000_000 {
            world.pass(100);
        }
        waited.push((world.now - refused + 500) / 1_000);
    }
    // The first refusal was up to a second before.
    assert_eq!(
        waited[1..],
        [4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600],
        "{waited:?}"
    );
    assert!(waited[0] <= 2, "{waited:?}");
    assert!(world.device(1).status(world.now).unsent > 0, "it is kept");
    // And taken as soon as nothing speaks against it.
    (world.up, world.down) = (None, None);
    world.pass(601_000);
    assert_eq!(world.device(1).status(world.now).unsent, 0);
    all_is_well(&mut world);
    world.assert_honest();
}

#[test]
fn a_disk_from_a_backup_hears_of_logs_in_which_nothing_stands_yet() {
    let mut world = devices(7, 2);
    let disk = world.nodes[0].disk.clone();
    let third = world.enrol(1);
    world.settle(5_000);
    world.online(third);
    world.settle(5_000);
    // The token of its last session is still good; that it has heard of the third one's log is remembered there.
    world.restore_disk(0, disk);
    world.settle(5_000);
    let handle = world.handle();
    world.edit(third, handle, b"by one that it had forgotten");
    world.settle(5_000);
    assert!(has(&world, 0, &handle, b"by one that it had forgotten"));
    all_is_well(&mut world);
    world.assert_nobody_accused();
}

#[test]
fn what_stands_behind_a_cut_and_was_read_comes_to_all() {
    let mut world = devices(8, 3);
    let handle = world.handle();
    world.edit(2, handle, b"before the backup");
    world.settle(5_000);
    let backup = world.relays[0].store().clone();
    world.offline(1);
    world.edit(2, handle, b"only node 0 has read it");
    world.settle(5_000);
    for node in 0..3 {
        world.offline(node);
    }
    world.restore_server(backup);
    world.online(1);
    world.settle(5_000);
    let target = world.device(2).id();
    let reason = RevokeReason::Lost;
    world.give(1, Input::Revoke { target, reason });
    world.settle(5_000);
    assert!(world.device(1).account().member(&target).is_none());
    world.online(0);
    world.settle(60_000);
    assert!(has(&world, 1, &handle, b"only node 0 has read it"));
    all_is_well(&mut world);
    world.assert_nobody_accused();
}

#[test]
fn a_key_whose_envelope_became_a_hole_is_brought_in_again() {
    let (mut world, _) = pair(9);
    let handle = world.handle();
    // Node 0 writes a new document while node 1 changes the epoch: what brings its key in is sealed for the old one.
    world.down = to(0, |_| Vec::new());
    world.give(1, Input::Rotate);
    world.settle(5_000);
    world.edit(0, handle, b"sealed for the old epoch");
    world.settle(5_000);
    // It hears of that, writes the document again, and is never seen again: before its table says the key.
    world.up = Some(Box::new(|node, passing| match &passing {
        Passing::Request(frame) if node == 0 && matches!(frame.request, Request::Registry(_)) => Vec::new(),
        _ => vec![passing],
    }));
    world.down = None;
    world.hang_up(0);
    world.settle(5_000);
    world.offline(0);
    let holed = world.seen(0, |notice| {
        *notice == hearth_sync::device::Notice::WrittenAgain(handle)
    });
    assert!(holed, "{:?}", world.nodes[0].notices);
    world.settle(60_000);
    assert!(has(&world, 1, &handle, b"sealed for the old epoch"));
    all_is_well(&mut world);
    world.assert_nobody_accused();
}

#[test]
fn a_hole_that_overtakes_its_erasure_accuses_nobody() {
    let (mut world, handle) = pair(10);
    let log = log_of(&world, 1);
    let before = stored(&world, 1, &log);
    let previous = link(&world, 1, &log, before);
    // What node 1 writes reaches node 0 as the hole that an erasure has made of it meanwhile.
    let id = account(&world);
    let run = intercept(&mut world, 0, |world| world.edit(1, handle, b"soon erased"));
    let sealed = first_envelope(&run);
    let signature = sealed.signature;
    let envelope = Envelope {
        version: HeaderVersion::V1,
        log,
        seq: before + 1,
        sealed,
    };
    let header_hash = envelope.header_hash(&id, &previous);
    let hole = Item::SignedHole(SignedHole {
        header_hash,
        signature,
    });
    let run = Run {
        items: vec![hole].try_into().unwrap(),
        ..run
    };
    inject_run(&mut world, 0, run);
    // Its heartbeat of that moment comes, then the erasure.
    next_heartbeat(&mut world, 1);
    world.give(1, Input::Tick);
    world.settle(2_000);
    assert_eq!(stored(&world, 0, &log), before + 1);
    world.assert_honest();
    world.erase(1, handle);
    world.settle(5_000);
    world.assert_honest();
    world.settle(60_000);
    world.assert_honest();
    all_is_well(&mut world);
    world.assert_honest();
}

#[test]
fn a_machine_that_forgot_its_newest_agreement_key_is_given_the_epoch() {
    for (rounds, away) in [(1, true), (2, false), (3, true)] {
        let mut world = devices(11, 2);
        let handle = world.handle();
        world.edit(1, handle, b"before the backup");
        world.settle(5_000);
        // The token in it is the one of the session that goes on: nothing tells the server what is missing afterwards.
        let (disk, keychain) = (world.nodes[0].disk.clone(), world.nodes[0].keychain.clone());
        for _ in 0..rounds {
            world.give(1, Input::Rotate);
            world.settle(10_000);
        }
        world.offline(0);
        if away {
            world.give(1, Input::Rotate);
            world.settle(10_000);
        }
        world.restore_machine(0, disk, keychain);
        world.online(0);
        world.settle(60_000);
        all_is_well(&mut world);
        assert!(world.device(0).status(world.now).epoch_key, "{rounds} {away}");
        world.edit(0, handle, b"after it");
        world.settle(60_000);
        assert!(has(&world, 1, &handle, b"after it"), "{rounds} {away}");
        world.assert_nobody_accused();
    }
}
