//! Beginning at a checkpoint: new devices, devices that slept while holes were folded away, servers that are brought what
//! has no chain any more.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod world;

use hearth_protocol::control::RevokeReason;
use hearth_protocol::entropy::Entropy as _;
use hearth_protocol::envelope::Batch;
use hearth_protocol::message::Reply;
use hearth_relay::Space;
use hearth_sync::device::{Input, Notice};
use world::{Passing, Tap, World};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// So many devices of one account, online and at rest.
fn devices(seed: u64, count: usize) -> World {
    let mut world = World::new(seed);
    world.relays[0].config_mut().folds = true;
    world.online(0);
    world.settle(1_000);
    while world.nodes.len() < count {
        let new = world.enrol(0);
        world.settle(1_000);
        world.online(new);
        world.settle(5_000);
    }
    world
}

/// Bytes of all envelopes that are alive on a node, as they travel.
fn live_bytes(world: &World, node: usize) -> usize {
    let records = world.nodes[node].disk.journal.records();
    records
        .filter(|(kind, _, _)| *kind == hearth_sync::device::space::BODY)
        .map(|(_, _, value)| value.len())
        .sum()
}

/// A new device, online and at rest, and the bytes that went either way for it.
fn joined(world: &mut World, by: usize) -> (usize, usize) {
    let new = world.enrol(by);
    world.settle(1_000);
    world.bytes = 0;
    world.online(new);
    world.settle(60_000);
    assert!(
        world.seen(new, |notice| *notice == Notice::JoinComplete),
        "{:?} {:?}",
        world.device(new).status(world.now).waits,
        world.nodes[new].notices
    );
    (new, world.bytes)
}

#[test]
fn a_new_device_begins_at_the_checkpoint_of_its_pairing() {
    // `COLD=10000` for the number that counts.
    let wanted = std::env::var("COLD").ok().and_then(|text| text.parse().ok());
    let count: usize = wanted.unwrap_or(300);
    let mut world = devices(80, 2);
    let mut handles = Vec::new();
    for number in 0..count {
        let handle = world.handle();
        // About what a memory is, with its fields and its history.
        let mut text = vec![0; 700];
        world.random.fill(&mut text);
        world.edit(number % 2, handle, &text);
        handles.push(handle);
        if number % 50 == 0 {
            world.settle(1_000);
        }
    }
    world.settle(5_000);
    // Most of what was ever written is gone.
    let gone: Vec<_> = (0..3 * count).map(|_| world.handle()).collect();
    for (number, handle) in gone.iter().enumerate() {
        world.edit(number % 2, *handle, &[number as u8; 300]);
        if number % 50 == 0 {
            world.settle(1_000);
        }
    }
    world.settle(5_000);
    world.give(0, Input::Erase(gone));
    world.settle(DAY_MS + 2 * HOUR_MS);
    let (chained, whole) = joined(&mut world, 0);
    world.give(0, Input::Checkpoint);
    world.settle(5_000);
    let (new, bytes) = joined(&mut world, 0);
    let live = live_bytes(&world, 0);
    println!(
        "{count} documents of 700 bytes, {live} bytes alive: {bytes} bytes ({:.3}), by chain {whole} ({:.3})",
        bytes as f64 / live as f64,
        whole as f64 / live as f64
    );
    world.assert_converged();
    assert_eq!(live_bytes(&world, new), live);
    assert_eq!(live_bytes(&world, chained), live);
    assert!(bytes < whole);
    // Beside what lives: 52 bytes each for the link and the place, the registry, and its table twice.
    assert!(
        (bytes as f64) < live as f64 * 1.15 + 60_000.0,
        "{bytes} of {live}"
    );
    // It goes on as any other: it writes, erases, restarts, and vouches.
    world.edit(new, handles[0], b"by the new one");
    world.give(new, Input::Erase(vec![handles[1]]));
    world.settle(5_000);
    world.crash(new);
    world.settle(5_000);
    world.edit(1, handles[2], b"by an old one");
    world.settle(DAY_MS + HOUR_MS);
    world.assert_gone(&handles[1]);
    world.assert_converged();
    world.assert_honest();
    // Behind the next two, the server folds; the one after begins there all the same.
    world.give(new, Input::Checkpoint);
    world.settle(5_000);
    let (last, _) = joined(&mut world, new);
    world.assert_converged();
    assert!(world.nodes[last].disk.documents.len() == count - 1);
    world.settle(DAY_MS + HOUR_MS);
    world.assert_honest();
}

#[test]
fn whoever_slept_while_holes_were_folded_away_gets_on_again() {
    for seed in 90..93 {
        println!("seed {seed}");
        let mut world = devices(seed, 3);
        let (kept, gone) = (world.handle(), world.handle());
        world.edit(0, kept, b"one");
        world.edit(2, kept, b"two");
        world.settle(5_000);
        world.offline(2);
        world.edit(2, kept, b"offline");
        for round in 0..4u8 {
            let other = world.handle();
            world.edit(0, other, &[round]);
            world.edit(1, kept, &[round]);
            world.edit(0, gone, &[round]);
            world.settle(5_000);
            if round == 2 {
                world.erase(0, gone);
                world.settle(5_000);
            }
            world.give((round % 2) as usize, Input::Checkpoint);
            world.settle(5_000);
        }
        world.settle(DAY_MS + 2 * HOUR_MS);
        world.online(2);
        world.settle(DAY_MS + 2 * HOUR_MS);
        world.assert_converged();
        world.assert_gone(&gone);
        assert_eq!(world.nodes[2].disk.documents[&kept].len(), 7);
        world.assert_honest();
    }
}

#[test]
fn beginning_at_a_checkpoint_survives_crashes_and_broken_connections() {
    for seed in 100..112 {
        println!("seed {seed}");
        let mut world = devices(seed, 2);
        for number in 0..40u8 {
            let handle = world.handle();
            world.edit(usize::from(number % 2), handle, &vec![number; 30_000]);
        }
        let gone = world.handle();
        world.edit(0, gone, b"secret");
        world.settle(5_000);
        world.give(0, Input::Checkpoint);
        world.settle(5_000);
        let new = world.enrol(0);
        world.settle(1_000);
        // Between the pairing and its first connection something goes, and something is new.
        world.erase(1, gone);
        let late = world.handle();
        world.edit(1, late, b"late");
        world.settle(5_000);
        world.faults.crash = 30;
        world.faults.lose_connection = 30;
        world.online(new);
        world.run(400);
        world.no_more_faults();
        for node in 0..3 {
            world.online(node);
        }
        world.settle(DAY_MS + 2 * HOUR_MS);
        world.assert_converged();
        world.assert_gone(&gone);
        assert!(world.seen(new, |notice| *notice == Notice::JoinComplete));
        world.assert_honest();
    }
}

#[test]
fn a_device_that_began_at_a_checkpoint_can_bring_everything_to_another_server() {
    for seed in 120..136 {
        println!("seed {seed}");
        let mut world = devices(seed, 2);
        let mut handles = Vec::new();
        for number in 0..30u8 {
            let handle = world.handle();
            world.edit(usize::from(number % 2), handle, &vec![number; 90_000]);
            handles.push(handle);
        }
        let gone = world.handle();
        world.edit(0, gone, b"secret");
        world.settle(5_000);
        world.erase(0, gone);
        world.settle(DAY_MS + 2 * HOUR_MS);
        world.give(0, Input::Checkpoint);
        world.settle(5_000);
        let (third, _) = joined(&mut world, 0);
        world.edit(0, handles[0], b"after the checkpoint");
        world.settle(5_000);
        world.retire(0);
        world.retire(1);
        world.edit(third, handles[1], b"by the last one");
        let (new, server) = world.another_server();
        let invitation = String::new();
        world.give(
            third,
            Input::ChangeServer {
                server: Some(server),
                invitation,
            },
        );
        world.settle(60_000);
        assert_eq!(world.nodes[third].calls, new);
        let fourth = world.enrol(third);
        world.settle(1_000);
        world.call(fourth, new);
        world.settle(DAY_MS + 2 * HOUR_MS);
        world.assert_converged();
        world.assert_gone(&gone);
        let documents = &world.nodes[fourth].disk.documents;
        assert_eq!(documents.len(), 30);
        assert_eq!(
            (documents[&handles[0]].len(), documents[&handles[1]].len()),
            (2, 2)
        );
        world.assert_honest();
    }
}

/// A world whose device 2 began at a checkpoint, of 30 documents; devices 0 and 1 are gone for good, and what device 1 wrote
/// is all erased. The handles, and the server that it moves to.
fn moving(seed: u64) -> (World, Vec<hearth_protocol::id::Handle>, usize) {
    let mut world = devices(seed, 2);
    let mut handles = Vec::new();
    for number in 0..30u8 {
        let handle = world.handle();
        world.edit(0, handle, &vec![number; 90_000]);
        handles.push(handle);
    }
    let gone: Vec<_> = (0..5).map(|_| world.handle()).collect();
    for handle in &gone {
        world.edit(1, *handle, b"soon gone");
    }
    world.settle(5_000);
    world.give(0, Input::Erase(gone));
    world.settle(DAY_MS + 2 * HOUR_MS);
    world.give(0, Input::Checkpoint);
    world.settle(5_000);
    let (third, _) = joined(&mut world, 0);
    world.retire(0);
    world.retire(1);
    let (new, server) = world.another_server();
    let invitation = String::new();
    let server = Some(server);
    world.give(third, Input::ChangeServer { server, invitation });
    (world, handles, new)
}

#[test]
fn what_has_no_chain_comes_whole_over_connections_that_break() {
    for seed in 140..152 {
        println!("seed {seed}");
        let (mut world, handles, new) = moving(seed);
        world.faults.crash = 40;
        world.faults.lose_connection = 15;
        world.faults.lose_batch = 10;
        world.run(500);
        world.no_more_faults();
        world.online(2);
        world.settle(DAY_MS);
        assert_eq!(world.nodes[2].calls, new);
        let fourth = world.enrol(2);
        world.settle(1_000);
        world.call(fourth, new);
        world.settle(DAY_MS + 2 * HOUR_MS);
        world.assert_converged();
        assert_eq!(world.nodes[fourth].disk.documents.len(), handles.len());
        world.assert_honest();
    }
}

#[test]
fn a_server_that_was_brought_what_lives_has_the_vector_of_its_devices() {
    let (mut world, _, new) = moving(160);
    world.settle(DAY_MS);
    // Nothing is brought again: the next greeting is all there is.
    for _ in 0..2 {
        world.hang_up(2);
        world.bytes = 0;
        world.settle(5_000);
    }
    assert_eq!(world.nodes[2].calls, new);
    assert!(world.bytes <= 512, "{} bytes", world.bytes);
    world.assert_honest();
}

#[test]
fn a_document_in_pieces_comes_out_of_its_chain_whole_in_any_order() {
    for reversed in [false, true] {
        let mut world = devices(170, 2);
        let (large, small) = (world.handle(), world.handle());
        let mut text = vec![0; 3 << 20];
        world.random.fill(&mut text);
        world.edit(0, small, b"before");
        world.settle(5_000);
        world.edit(0, large, &text);
        world.settle(5_000);
        world.give(0, Input::Checkpoint);
        world.settle(5_000);
        let new = world.enrol(0);
        world.settle(1_000);
        world.down = reversed.then(|| {
            let mut kept: Vec<Passing> = Vec::new();
            let tap: Tap = Box::new(move |_, passing| match passing {
                Passing::Batch(Batch::Detached(list)) => {
                    for one in list.into_inner() {
                        kept.insert(0, Passing::Batch(Batch::Detached(vec![one].try_into().unwrap())));
                    }
                    Vec::new()
                }
                Passing::Reply(frame) if matches!(frame.reply, Reply::Complete(_)) => {
                    let mut all = std::mem::take(&mut kept);
                    all.push(Passing::Reply(frame));
                    all
                }
                other => vec![other],
            });
            tap
        });
        world.online(new);
        world.settle(60_000);
        assert!(world.seen(new, |notice| *notice == Notice::JoinComplete));
        world.assert_converged();
        assert!(world.nodes[new].disk.documents[&large].contains(&text));
        world.assert_honest();
    }
}

/// Rows of items that a server keeps, holes and living ones.
fn item_rows(world: &World, relay: usize) -> usize {
    let rows = world.relays[relay].store().inner.rows();
    rows.filter(|(_, space, _, _)| *space == Space::Items).count()
}

#[test]
fn the_second_pairing_folds_and_the_third_device_gets_all_that_lives() {
    for seed in 180..186 {
        println!("seed {seed}");
        let mut world = devices(seed, 2);
        let (kept, edited, gone) = (world.handle(), world.handle(), world.handle());
        world.edit(0, kept, b"kept");
        world.edit(0, gone, b"the secret");
        // So often that a snapshot takes their place.
        for round in 0..100u8 {
            world.edit(usize::from(round % 2), edited, &[round]);
            world.settle(1_000);
        }
        world.settle(DAY_MS);
        world.erase(1, gone);
        world.settle(5_000);
        let before = item_rows(&world, 0);
        world.give(0, Input::Checkpoint);
        world.settle(5_000);
        joined(&mut world, 0);
        assert_eq!(item_rows(&world, 0), before);
        world.give(1, Input::Checkpoint);
        world.settle(5_000);
        joined(&mut world, 1);
        let folded = item_rows(&world, 0);
        assert!(folded < before / 2, "{folded} of {before}");
        world.give(2, Input::Checkpoint);
        world.settle(5_000);
        let (last, _) = joined(&mut world, 2);
        world.assert_converged();
        world.assert_gone(&gone);
        let documents = &world.nodes[last].disk.documents;
        assert_eq!((documents.len(), documents[&edited].len()), (2, 100));
        world.settle(2 * DAY_MS);
        world.assert_honest();
    }
}

#[test]
fn a_device_from_a_backup_of_before_the_folding_gets_on_again() {
    for seed in 190..196 {
        println!("seed {seed}");
        let mut world = devices(seed, 3);
        let (kept, gone) = (world.handle(), world.handle());
        world.edit(2, kept, b"before the backup");
        world.edit(0, gone, b"the secret");
        world.settle(5_000);
        let backup = world.nodes[2].disk.clone();
        world.edit(2, kept, b"after the backup");
        world.settle(5_000);
        world.offline(2);
        for round in 0..4u8 {
            let other = world.handle();
            world.edit(0, other, &[round]);
            world.edit(1, kept, &[round]);
            world.settle(5_000);
            if round == 1 {
                world.erase(0, gone);
                world.settle(5_000);
            }
            world.give(usize::from(round % 2), Input::Checkpoint);
            world.settle(5_000);
        }
        world.restore_disk(2, backup);
        world.online(2);
        world.settle(60_000);
        assert!(world.seen(2, |notice| *notice == Notice::RestoredOrCopied));
        world.give(2, Input::Restored);
        world.settle(2 * DAY_MS);
        world.assert_converged();
        world.assert_gone(&gone);
        assert_eq!(world.nodes[2].disk.documents[&kept].len(), 6);
        world.assert_nobody_accused();
    }
}

#[test]
fn everybody_moves_to_another_server_after_the_folding() {
    for seed in 200..206 {
        println!("seed {seed}");
        let mut world = devices(seed, 2);
        let (kept, gone) = (world.handle(), world.handle());
        for round in 0..4u8 {
            world.edit(0, kept, &[round]);
            world.edit(1, gone, &[round]);
            world.settle(5_000);
            world.give(usize::from(round % 2), Input::Checkpoint);
            world.settle(5_000);
        }
        let (third, _) = joined(&mut world, 1);
        world.erase(0, gone);
        world.edit(third, kept, b"by the third");
        world.settle(5_000);
        let (new, server) = world.another_server();
        let (server, invitation) = (Some(server), String::new());
        world.give(0, Input::ChangeServer { server, invitation });
        world.settle(DAY_MS);
        for node in 0..3 {
            assert_eq!(world.nodes[node].calls, new);
        }
        world.edit(1, kept, b"at the new one");
        world.give(1, Input::Checkpoint);
        world.settle(5_000);
        let fourth = world.enrol(1);
        world.settle(1_000);
        world.call(fourth, new);
        world.settle(2 * DAY_MS);
        world.assert_converged();
        world.assert_gone(&gone);
        assert_eq!(world.nodes[fourth].disk.documents[&kept].len(), 6);
        assert!(world.seen(fourth, |notice| *notice == Notice::JoinComplete));
        world.assert_honest();
    }
}

#[test]
fn the_phrase_brings_everything_back_after_the_folding() {
    for seed in 210..216 {
        println!("seed {seed}");
        let mut world = devices(seed, 2);
        let (kept, gone) = (world.handle(), world.handle());
        for round in 0..4u8 {
            world.edit(0, kept, &[round]);
            world.edit(1, gone, &[round]);
            world.settle(5_000);
            world.give(usize::from(round % 2), Input::Checkpoint);
            world.settle(5_000);
        }
        world.erase(0, gone);
        world.edit(1, kept, b"the last word");
        world.settle(5_000);
        world.retire(0);
        world.retire(1);
        let new = world.recover(&[]);
        world.online(new);
        world.settle(2 * DAY_MS);
        let documents = &world.nodes[new].disk.documents;
        assert_eq!((documents.len(), documents[&kept].len()), (1, 5));
        world.assert_honest();
    }
}

#[test]
fn whoever_slept_begins_at_the_checkpoint_of_a_device_that_was_shut_out() {
    for seed in 220..226 {
        println!("seed {seed}");
        let mut world = devices(seed, 3);
        let kept = world.handle();
        world.edit(2, kept, b"before");
        world.settle(5_000);
        world.offline(2);
        for round in 0..3u8 {
            world.edit(0, kept, &[round]);
            world.settle(5_000);
            world.give(0, Input::Checkpoint);
            world.settle(5_000);
        }
        let target = world.device(0).id();
        let reason = RevokeReason::Lost;
        world.give(1, Input::Revoke { target, reason });
        world.settle(60_000);
        world.edit(1, kept, b"after");
        world.online(2);
        world.settle(2 * DAY_MS);
        world.assert_converged();
        assert_eq!(world.nodes[2].disk.documents[&kept].len(), 5);
        world.assert_honest();
    }
}
