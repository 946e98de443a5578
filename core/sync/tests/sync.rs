//! Devices and a server, joined: what one writes the others have, what one erases nobody has.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod world;

use hearth_protocol::control::RevokeReason;
use hearth_protocol::error::ErrorCode;
use hearth_sync::device::{Input, Link, Notice};
use world::{Faults, World};

/// Seeds to run; `SEEDS` says how many.
fn seeds(first: u64, usual: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok());
    first..first + wanted.unwrap_or(usual)
}

/// Two devices of one account, online and at rest.
fn pair(seed: u64) -> World {
    let mut world = World::new(seed);
    world.online(0);
    world.settle(1_000);
    let new = world.enrol(0);
    world.settle(1_000);
    world.online(new);
    world.settle(5_000);
    world
}

#[test]
fn a_first_device_opens_its_account_and_publishes() {
    let mut world = World::new(1);
    let handle = world.handle();
    world.edit(0, handle, b"first");
    world.online(0);
    world.settle(5_000);
    let status = world.device(0).status(world.now);
    assert_eq!(status.link, Link::Live, "{status:#?}");
    assert_eq!(
        (status.unsealed, status.unconfirmed, status.unsent),
        (0, 0, 0),
        "{status:#?}"
    );
    world.assert_honest();
}

#[test]
fn a_second_device_gets_everything_and_both_see_each_other_live() {
    let mut world = World::new(2);
    world.online(0);
    let early = world.handle();
    world.edit(0, early, b"before");
    world.settle(1_000);
    let new = world.enrol(0);
    world.settle(1_000);
    world.online(new);
    world.settle(5_000);
    world.assert_converged();
    assert!(world.nodes[new].disk.documents.contains_key(&early));
    let late = world.handle();
    world.edit(new, late, b"after");
    world.edit(0, late, b"beside");
    world.settle(5_000);
    world.assert_converged();
    assert_eq!(world.nodes[0].disk.documents[&late].len(), 2);
    assert!(world.seen(new, |notice| *notice == Notice::JoinComplete));
    world.assert_honest();
}

#[test]
fn what_was_edited_offline_on_both_is_merged() {
    let mut world = pair(3);
    let handle = world.handle();
    world.edit(0, handle, b"common");
    world.settle(5_000);
    world.offline(0);
    world.offline(1);
    world.edit(0, handle, b"mine");
    world.edit(1, handle, b"yours");
    world.online(0);
    world.online(1);
    world.settle(5_000);
    world.assert_converged();
    assert_eq!(world.nodes[0].disk.documents[&handle].len(), 3);
    world.assert_honest();
}

#[test]
fn reconnecting_with_nothing_new_takes_one_round_trip_and_512_bytes() {
    let mut world = pair(4);
    world.offline(1);
    world.settle(5_000);
    world.online(1);
    world.settle(5_000);
    world.offline(1);
    (world.bytes, world.frames) = (0, 0);
    world.online(1);
    world.settle(1_000);
    assert_eq!(world.frames, 1, "Hello, and nothing else");
    assert!(world.bytes <= 512, "{} bytes", world.bytes);
    assert_eq!(world.device(1).status(world.now).link, Link::Live);
}

#[test]
fn an_erasure_reaches_a_device_that_was_off_before_anything_else_does() {
    let mut world = pair(5);
    let (gone, kept) = (world.handle(), world.handle());
    world.edit(0, gone, b"secret");
    world.edit(0, kept, b"other");
    world.settle(5_000);
    world.offline(1);
    world.edit(1, gone, b"more of it, offline");
    world.erase(0, gone);
    world.settle(5_000);
    world.online(1);
    world.settle(10_000);
    world.assert_gone(&gone);
    world.assert_converged();
    world.assert_honest();
    let erasure = &world.device(0).status(world.now).erasures[0];
    assert_eq!(erasure.acknowledged.len(), 2, "{erasure:#?}");
    assert_eq!(erasure.receipts.len(), 1, "{erasure:#?}");
    assert!(!erasure.complete);
    let id = erasure.erase;
    let journal = &world.nodes[1].disk.journal;
    let (_, report) = world
        .device(1)
        .certificate(&id, world.now, journal)
        .unwrap()
        .unwrap();
    assert!(!report.complete, "no epoch has ended its keys");
    world.give(0, Input::Rotate);
    world.settle(10_000);
    for node in 0..2 {
        let erasure = &world.device(node).status(world.now).erasures[0];
        assert!(erasure.complete, "node {node}: {erasure:#?}");
        assert!(world.seen(node, |notice| matches!(notice, Notice::Erased(_))));
    }
    for node in 0..2 {
        let journal = &world.nodes[node].disk.journal;
        let made = world.device(node).certificate(&id, world.now, journal);
        let (file, report) = made.unwrap().unwrap();
        assert!(report.complete, "{report:#?}");
        assert!(hearth_protocol::certificate::verify(&file).unwrap().complete);
    }
}

#[test]
fn an_erasure_changes_the_epoch_by_itself_within_a_day() {
    let mut world = pair(6);
    let gone = world.handle();
    world.edit(0, gone, b"secret");
    world.settle(5_000);
    world.erase(0, gone);
    world.settle(24 * 60 * 60 * 1_000);
    assert_eq!(world.device(1).status(world.now).epoch, 2);
    assert!(world.device(1).status(world.now).erasures[0].complete);
    world.assert_honest();
}

#[test]
fn what_a_new_device_erases_before_it_knows_that_it_was_let_in_is_erased_everywhere() {
    let mut world = World::new(71);
    world.online(0);
    let (gone, later) = (world.handle(), world.handle());
    world.edit(0, gone, b"secret");
    world.settle(1_000);
    let new = world.enrol(0);
    world.erase(new, gone);
    world.settle(1_000);
    world.online(new);
    world.erase(new, later);
    world.settle(10_000);
    world.assert_gone(&gone);
    assert_eq!(world.device(0).status(world.now).erasures.len(), 2);
    world.assert_honest();
}

#[test]
fn a_confirmation_that_was_lost_on_its_way_is_made_up_for_by_the_next_welcome() {
    let mut lost = 0;
    for seed in 720..740 {
        let mut world = pair(seed);
        let handle = world.handle();
        world.edit(0, handle, b"something");
        // The other one has it, so the server does; whether it has said so is chance.
        while !world.nodes[1].disk.documents.contains_key(&handle) {
            assert!(world.step());
        }
        lost += world.device(0).status(world.now).unconfirmed;
        world.offline(0);
        world.online(0);
        world.settle(10_000);
        assert_eq!(world.device(0).status(world.now).unconfirmed, 0, "seed {seed}");
        world.assert_converged();
    }
    assert!(lost > 0);
}

#[test]
fn a_receipt_that_was_lost_with_a_connection_is_asked_for_again() {
    for seed in 740..770 {
        let mut world = pair(seed);
        let gone = world.handle();
        world.edit(0, gone, b"secret");
        world.settle(5_000);
        world.erase(0, gone);
        for _ in 0..6 {
            let events = 4 + world.random.below(8);
            world.run(events);
            world.offline(1);
            world.online(1);
        }
        world.settle(10_000);
        for node in 0..2 {
            let erasure = &world.device(node).status(world.now).erasures[0];
            assert_eq!(erasure.receipts.len(), 1, "seed {seed}: {node}: {erasure:#?}");
        }
    }
}

#[test]
fn a_revoked_device_is_told_and_gets_nothing_more() {
    let mut world = pair(7);
    let third = world.enrol(0);
    world.settle(1_000);
    world.online(third);
    world.settle(5_000);
    let before = world.handle();
    world.edit(third, before, b"written in time");
    world.settle(5_000);
    let target = world.device(third).id();
    world.give(
        0,
        Input::Revoke {
            target,
            reason: RevokeReason::Lost,
        },
    );
    world.settle(10_000);
    assert!(world.seen(third, |notice| *notice == Notice::Revoked));
    assert_eq!(world.device(1).status(world.now).epoch, 2, "a new epoch at once");
    let after = world.handle();
    world.edit(1, after, b"not for everybody");
    world.edit(1, before, b"nor this");
    world.settle(10_000);
    world.assert_converged();
    assert!(world.nodes[0].disk.documents[&before].contains(b"written in time".as_slice()));
    assert!(!world.nodes[third].disk.documents.contains_key(&after));
    world.assert_honest();
}

#[test]
fn the_phrase_alone_brings_everything_back() {
    let mut world = pair(8);
    let (kept, gone) = (world.handle(), world.handle());
    world.edit(0, kept, b"kept");
    world.edit(1, gone, b"gone");
    world.settle(5_000);
    world.erase(1, gone);
    world.settle(5_000);
    world.offline(0);
    world.offline(1);
    let new = world.recover(&[]);
    world.online(new);
    world.settle(20_000);
    let device = world.device(new);
    assert_eq!(device.account().members().count(), 1);
    assert_eq!(device.status(world.now).epoch, 2, "a new epoch at once");
    assert!(world.nodes[new].disk.documents.contains_key(&kept));
    assert!(!world.nodes[new].disk.documents.contains_key(&gone));
    world.edit(new, kept, b"more");
    world.settle(5_000);
    assert_eq!(world.device(new).status(world.now).unconfirmed, 0);
    world.online(0);
    world.settle(5_000);
    assert!(world.seen(0, |notice| *notice == Notice::Revoked));
    world.assert_honest();
}

#[test]
fn a_device_from_a_backup_asks_and_loses_nothing() {
    let mut world = pair(9);
    let handle = world.handle();
    world.edit(0, handle, b"before");
    world.settle(5_000);
    let backup = world.nodes[0].disk.clone();
    world.edit(0, handle, b"after");
    world.settle(5_000);
    world.restore_disk(0, backup);
    world.edit(0, handle, b"offline, restored");
    world.settle(5_000);
    assert!(world.seen(0, |notice| *notice == Notice::RestoredOrCopied));
    assert!(
        !world.nodes[0].disk.dirty.is_empty(),
        "nothing is published before the answer"
    );
    world.give(0, Input::Restored);
    world.settle(10_000);
    world.assert_converged();
    assert_eq!(world.nodes[1].disk.documents[&handle].len(), 3);
    let accused = world.nodes[1]
        .notices
        .iter()
        .any(|notice| matches!(notice, Notice::Proof(_) | Notice::Suspicion(_) | Notice::Tampered));
    assert!(!accused, "{:?}", world.nodes[1].notices);
}

#[test]
fn a_server_from_a_backup_revives_nothing_and_is_filled_up() {
    let mut world = pair(10);
    let (kept, gone) = (world.handle(), world.handle());
    world.edit(0, kept, b"one");
    world.edit(1, gone, b"secret");
    world.settle(5_000);
    let backup = world.relays[0].store().clone();
    world.edit(1, kept, b"two");
    world.settle(5_000);
    world.erase(0, gone);
    world.settle(5_000);
    world.give(0, Input::Rotate);
    world.settle(5_000);
    let third = world.enrol(0);
    world.settle(5_000);
    world.restore_server(backup);
    world.settle(120_000);
    world.online(third);
    world.settle(120_000);
    world.assert_gone(&gone);
    world.assert_converged();
    assert_eq!(world.nodes[third].disk.documents[&kept].len(), 2);
    world.assert_honest();
}

#[test]
fn a_server_from_a_backup_gets_the_acknowledgements_again_of_erasures_that_it_lost() {
    let mut world = pair(73);
    let gone = world.handle();
    world.edit(0, gone, b"secret");
    world.settle(5_000);
    let backup = world.relays[0].store().clone();
    world.erase(0, gone);
    world.settle(5_000);
    world.restore_server(backup);
    world.settle(120_000);
    // It knows of the others' acknowledgements from the server alone.
    let third = world.enrol(0);
    world.settle(1_000);
    world.online(third);
    world.settle(120_000);
    world.give(0, Input::Rotate);
    world.settle(120_000);
    let erasure = &world.device(third).status(world.now).erasures[0];
    assert!(erasure.complete, "{erasure:#?}");
}

#[test]
fn a_device_acknowledges_again_at_a_restored_server_that_others_have_filled_up() {
    let mut world = pair(74);
    let second = world.enrol(0);
    world.settle(1_000);
    world.online(second);
    let gone = world.handle();
    world.edit(0, gone, b"secret");
    world.settle(5_000);
    let backup = world.relays[0].store().clone();
    world.erase(0, gone);
    world.settle(5_000);
    world.offline(1);
    world.restore_server(backup);
    world.settle(120_000);
    world.online(1);
    world.settle(120_000);
    let fourth = world.enrol(0);
    world.settle(1_000);
    world.online(fourth);
    world.settle(120_000);
    world.give(0, Input::Rotate);
    world.settle(120_000);
    let erasure = &world.device(fourth).status(world.now).erasures[0];
    assert!(erasure.complete, "{erasure:#?}");
}

#[test]
fn two_devices_meet_without_the_server() {
    let mut world = pair(11);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    let peer = world.serve(1);
    world.offline(0);
    world.offline(1);
    let gone = world.handle();
    world.edit(0, gone, b"soon gone");
    world.edit(0, handle, b"from 0");
    world.edit(1, handle, b"from 1");
    world.call(0, peer);
    world.call(1, peer);
    world.settle(60_000);
    world.assert_converged();
    assert_eq!(world.nodes[1].disk.documents[&handle].len(), 3);
    world.erase(1, gone);
    world.settle(60_000);
    world.assert_gone(&gone);
    let erasure = &world.device(0).status(world.now).erasures[0];
    assert!(erasure.receipts.is_empty(), "no server has confirmed");
    world.call(0, 0);
    world.call(1, 0);
    world.settle(60_000);
    world.assert_converged();
    let erasure = &world.device(0).status(world.now).erasures[0];
    assert_eq!(erasure.receipts.len(), 1, "{erasure:#?}");
    world.assert_honest();
}

#[test]
fn many_small_edits_are_drawn_together() {
    let mut world = pair(12);
    let handle = world.handle();
    for number in 0..150u32 {
        let node = (number % 2) as usize;
        world.edit(node, handle, &number.to_be_bytes());
        world.settle(50);
    }
    world.settle(10_000);
    world.assert_converged();
    let live = |world: &World, node: usize| {
        let records = world.nodes[node].disk.journal.records();
        records
            .filter(|(space, _, _)| *space == hearth_sync::device::space::LIVE)
            .count()
    };
    assert!(live(&world, 0) < 100, "{} envelopes are alive", live(&world, 0));
    assert_eq!(live(&world, 0), live(&world, 1));
    let third = world.enrol(1);
    world.settle(1_000);
    world.online(third);
    world.settle(10_000);
    world.assert_converged();
    assert_eq!(world.nodes[third].disk.documents[&handle].len(), 150);
    world.assert_honest();
}

#[test]
fn a_device_that_is_slowed_down_goes_on_where_it_was() {
    let mut world = pair(13);
    let limits = &mut world.relays[0].config_mut().limits;
    // More than one batch, as what is sent again goes together.
    (limits.bytes_per_s, limits.byte_burst) = (100_000, 1_500_000);
    // Large ones are too much soon. Small ones behind them would be allowed, and don't fit.
    let mut handles = Vec::new();
    for length in [40_000; 60].into_iter().chain([100; 60]) {
        let handle = world.handle();
        world.edit(0, handle, &vec![7; length]);
        handles.push(handle);
    }
    world.settle(60_000);
    for handle in &handles {
        assert!(world.nodes[1].disk.documents.contains_key(handle));
    }
    assert_eq!(world.device(0).status(world.now).unconfirmed, 0);
    let refused =
        |code| move |notice: &Notice| matches!(notice, Notice::Refused { code: other, .. } if *other == code);
    assert!(world.seen(0, refused(ErrorCode::RateLimited)));
    assert!(!world.seen(0, refused(ErrorCode::WrongLink)));
    world.assert_converged();
    world.assert_honest();
}

#[test]
fn a_document_larger_than_an_envelope_goes_in_pieces() {
    let mut world = pair(13);
    let handle = world.handle();
    for number in 0..3u8 {
        world.edit(0, handle, &vec![number; 900_000]);
    }
    world.edit(0, handle, &vec![9; 1_100_000]);
    world.settle(10_000);
    world.assert_converged();
    assert_eq!(world.nodes[1].disk.documents[&handle].len(), 4);
    world.assert_honest();
}

/// A random life of three devices: edits, erasures, rotations, with connections that break and processes that die.
fn live(seed: u64, faults: Faults) -> World {
    let mut world = World::new(seed);
    world.online(0);
    world.settle(1_000);
    for _ in 0..2 {
        let new = world.enrol(0);
        world.settle(1_000);
        world.online(new);
    }
    world.settle(5_000);
    world.faults = faults;
    let mut handles = vec![world.handle()];
    for round in 0..60u32 {
        let node = world.random.below(3);
        match world.random.below(12) {
            0 => handles.push(world.handle()),
            1 => {
                let which = world.random.below(handles.len());
                let handle = handles[which];
                if world.nodes[node].device.is_some() {
                    world.erase(node, handle);
                }
            }
            2 => world.offline(node),
            3 | 4 => world.online(node),
            5 => {
                if world.random.once_in(4) && world.nodes[node].device.is_some() {
                    world.give(node, Input::Rotate);
                }
            }
            _ => {
                let which = world.random.below(handles.len());
                let handle = handles[which];
                world.edit(node, handle, &round.to_be_bytes());
            }
        }
        let events = world.random.below(40);
        world.run(events);
    }
    world.faults = Faults::default();
    for node in 0..3 {
        world.online(node);
    }
    world.settle(120_000);
    world
}

#[test]
fn lives_without_faults_converge() {
    for seed in seeds(100, 10) {
        println!("seed {seed}");
        let world = live(seed, Faults::default());
        world.assert_converged();
        world.assert_honest();
    }
}

#[test]
fn lives_with_broken_connections_converge() {
    for seed in seeds(200, 20) {
        println!("seed {seed}");
        let faults = Faults {
            lose_connection: 30,
            ..Faults::default()
        };
        let world = live(seed, faults);
        world.assert_converged();
        world.assert_honest();
    }
}

#[test]
fn lives_with_crashes_converge() {
    for seed in seeds(300, 20) {
        println!("seed {seed}");
        let faults = Faults {
            lose_connection: 60,
            crash: 40,
            ..Faults::default()
        };
        let world = live(seed, faults);
        world.assert_converged();
        world.assert_honest();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let faults = Faults {
        lose_connection: 40,
        crash: 60,
        ..Faults::default()
    };
    assert_eq!(live(7, faults).trace(), live(7, faults).trace());
    assert_ne!(live(7, faults).trace(), live(8, faults).trace());
}

/// What the phrase opens is on every device, also on the one that made the epoch: for a drill, and for a server that lacks it.
#[test]
fn every_device_has_the_wraps_of_the_running_epoch() {
    use hearth_protocol::codec::Wire;
    use hearth_protocol::control::{EpochWraps, wraps_hash};
    let mut world = pair(31);
    let held = |world: &World, node: usize| {
        let records = world.nodes[node].disk.journal.records();
        let wraps = records
            .filter(|(space, _, _)| *space == hearth_sync::device::space::WRAPS)
            .find_map(|(_, _, value)| EpochWraps::decode(value).ok());
        let account = world.device(node).account();
        let (_, epoch) = account.epoch().unwrap();
        (
            epoch.number,
            wraps.is_some_and(|wraps| wraps_hash(&account.id(), &wraps) == epoch.wraps),
        )
    };
    let (before, _) = held(&world, 0);
    world.give(0, Input::Rotate);
    world.settle(5_000);
    for node in 0..2 {
        let (number, has) = held(&world, node);
        assert!(number > before && has, "device {node}, epoch {number}");
    }
}

/// A pairing that took too long, as the server couldn't be reached: nobody is let in later.
#[test]
fn an_enrolment_that_was_withdrawn_doesnt_come() {
    let mut world = pair(32);
    world.offline(0);
    let members = |world: &World| world.device(1).account().members().count();
    let before = members(&world);
    let new = world.enrol(0);
    let device = world.device(new).keychain().public().unwrap().device_id();
    world.give(0, Input::Withdraw { device });
    let fine = world.handle();
    world.edit(0, fine, b"after");
    world.online(0);
    world.settle(10_000);
    assert_eq!(members(&world), before);
    world.assert_converged();
    assert!(
        !world.seen(0, |notice| *notice == Notice::Dropped),
        "nothing was sent that is refused"
    );
}
