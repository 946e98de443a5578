//! Histories without a liar, however odd: nobody is accused, nothing that was kept is lost, nothing that was erased
//! comes back. At most a device that was restored or copied asks its own user whether it was.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod world;

use hearth_protocol::control::RevokeReason;
use hearth_protocol::id::Handle;
use hearth_relay::{Space, Store};
use hearth_sync::device::{Input, Notice, Waits};
use world::World;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// So many devices of one account, online and at rest.
fn devices(seed: u64, count: usize) -> World {
    let mut world = World::new(seed);
    world.online(0);
    world.settle(1_000);
    for _ in 1..count {
        let new = world.enrol(0);
        world.settle(1_000);
        world.online(new);
        world.settle(5_000);
    }
    world
}

fn has(world: &World, node: usize, handle: &Handle, change: &[u8]) -> bool {
    let document = world.nodes[node].disk.documents.get(handle);
    document.is_some_and(|document| document.contains(change))
}

/// Everybody calls anew, and all come to the same.
fn all_is_well(world: &mut World) {
    for node in 0..world.nodes.len() {
        world.hang_up(node);
        if world.nodes[node].online {
            world.online(node);
        }
    }
    world.settle(120_000);
    world.assert_converged();
    world.assert_nobody_accused();
}

/// Whether a node's user is asked "restored or copied?".
fn is_asked(world: &World, node: usize) -> bool {
    let status = world.device(node).status(world.now);
    status.waits.contains(&Waits::Answer)
}

#[test]
fn a_machine_from_a_backup_asks_and_loses_nothing() {
    let mut world = devices(1, 2);
    let (handle, later) = (world.handle(), world.handle());
    world.edit(0, handle, b"before the backup");
    world.settle(5_000);
    let (disk, keychain) = (world.nodes[0].disk.clone(), world.nodes[0].keychain.clone());
    world.edit(0, handle, b"after the backup");
    world.edit(0, later, b"a new one, after it");
    world.settle(5_000);
    world.hang_up(0);
    world.settle(5_000);
    world.restore_machine(0, disk, keychain);
    world.edit(0, handle, b"on the restored one");
    world.settle(5_000);
    assert!(is_asked(&world, 0));
    assert!(
        !world.nodes[0].disk.dirty.is_empty(),
        "nothing is published before the answer"
    );
    world.give(0, Input::Restored);
    world.online(0);
    world.settle(10_000);
    all_is_well(&mut world);
    for text in [
        b"before the backup".as_slice(),
        b"after the backup",
        b"on the restored one",
    ] {
        assert!(has(&world, 1, &handle, text) && has(&world, 0, &handle, text));
    }
    assert!(world.alarms(1).is_empty());
}

#[test]
fn a_machine_from_a_backup_of_an_earlier_epoch_comes_back() {
    let mut world = devices(2, 2);
    let (handle, gone) = (world.handle(), world.handle());
    world.edit(0, handle, b"before the backup");
    world.edit(0, gone, b"soon to be erased");
    world.settle(5_000);
    let (disk, keychain) = (world.nodes[0].disk.clone(), world.nodes[0].keychain.clone());
    world.erase(1, gone);
    world.settle(5_000);
    for _ in 0..3 {
        world.give(1, Input::Rotate);
        world.settle(30_000);
    }
    world.edit(1, handle, b"in a later epoch");
    world.settle(5_000);
    world.restore_machine(0, disk, keychain);
    world.edit(0, handle, b"on the restored one");
    world.settle(5_000);
    if is_asked(&world, 0) {
        world.give(0, Input::Restored);
    }
    world.online(0);
    world.settle(60_000);
    all_is_well(&mut world);
    assert!(world.device(0).status(world.now).epoch_key);
    assert!(has(&world, 1, &handle, b"on the restored one") && has(&world, 0, &handle, b"in a later epoch"));
    world.assert_gone(&gone);
    // And it goes on in the next one.
    world.give(1, Input::Rotate);
    world.settle(60_000);
    all_is_well(&mut world);
    let fresh = world.handle();
    world.edit(1, fresh, b"in the newest epoch");
    world.settle(60_000);
    assert!(has(&world, 0, &fresh, b"in the newest epoch"));
}

/// The running epoch is wrapped to a key that went with the restore, and the device never acknowledged it.
#[test]
fn a_machine_from_a_backup_gets_an_epoch_that_began_without_it() {
    let mut world = devices(61, 2);
    let handle = world.handle();
    world.edit(0, handle, b"before the backup");
    world.settle(5_000);
    let (disk, keychain) = (world.nodes[0].disk.clone(), world.nodes[0].keychain.clone());
    world.give(1, Input::Rotate);
    world.settle(30_000);
    world.offline(0);
    world.give(1, Input::Rotate);
    world.settle(30_000);
    world.edit(1, handle, b"in an epoch that it never saw");
    world.settle(5_000);
    world.restore_machine(0, disk, keychain);
    world.settle(5_000);
    if is_asked(&world, 0) {
        world.give(0, Input::Restored);
    }
    world.online(0);
    world.settle(60_000);
    assert!(world.device(0).status(world.now).epoch_key);
    all_is_well(&mut world);
    assert!(has(&world, 0, &handle, b"in an epoch that it never saw"));
}

#[test]
fn a_machine_from_a_backup_hears_again_what_was_said_since() {
    for sessions in [0, 1, 3] {
        hears_again(sessions);
    }
}

/// The machine comes back from a backup that is so many sessions old.
fn hears_again(sessions: u32) {
    let mut world = devices(15, 2);
    let handle = world.handle();
    world.edit(0, handle, b"before the backup");
    world.settle(5_000);
    let (disk, keychain) = (world.nodes[0].disk.clone(), world.nodes[0].keychain.clone());
    // A device whose log the restored one has never heard of.
    let third = world.enrol(1);
    world.settle(5_000);
    world.online(third);
    world.settle(5_000);
    world.edit(third, handle, b"by one that came later");
    world.settle(5_000);
    for _ in 0..sessions {
        world.hang_up(0);
        world.settle(5_000);
    }
    world.restore_machine(0, disk, keychain);
    world.settle(5_000);
    if is_asked(&world, 0) {
        world.give(0, Input::Restored);
        world.online(0);
    }
    world.settle(120_000);
    all_is_well(&mut world);
    assert!(has(&world, 0, &handle, b"by one that came later"));
}

/// Its disk was copied within a session that goes on: nothing but what it asks for tells it what it had confirmed since.
#[test]
fn a_disk_from_this_very_session_hears_who_confirmed_an_erasure() {
    let mut world = devices(16, 3);
    let handle = world.handle();
    world.edit(0, handle, b"soon gone");
    world.settle(5_000);
    world.offline(1);
    world.offline(2);
    world.erase(0, handle);
    world.settle(1_000);
    world.give(0, Input::Rotate);
    world.settle(30_000);
    let disk = world.nodes[0].disk.clone();
    world.online(1);
    world.online(2);
    world.settle(30_000);
    let complete = |world: &World| {
        let status = world.device(0).status(world.now);
        assert_eq!(status.erasures.len(), 1);
        status.erasures[0].complete
    };
    assert!(complete(&world));
    world.restore_disk(0, disk);
    world.run(1);
    assert!(!complete(&world), "it has forgotten");
    world.settle(5_000);
    assert!(!is_asked(&world, 0));
    assert!(complete(&world));
    all_is_well(&mut world);
}

#[test]
fn a_copied_machine_is_asked_and_enrols_again() {
    let mut world = devices(3, 2);
    let handle = world.handle();
    world.edit(0, handle, b"before the copy");
    world.settle(5_000);
    let copy = world.copy(0);
    world.hang_up(0);
    world.settle(5_000);
    world.edit(0, handle, b"by the first");
    world.settle(5_000);
    world.online(copy);
    world.edit(copy, handle, b"by the copy");
    world.settle(5_000);
    assert!(is_asked(&world, copy), "its log is further than it knows");
    // "Copied": it enrols again with new keys, and brings along what it had.
    let brought = world.nodes[copy].disk.dirty.clone();
    world.retire(copy);
    // The other one is asked too, where the copy has taken its place at the server for a moment.
    world.online(0);
    world.settle(5_000);
    if is_asked(&world, 0) {
        world.give(0, Input::Restored);
        world.online(0);
    }
    world.settle(60_000);
    let new = world.enrol(0);
    world.settle(5_000);
    world.online(new);
    for (handle, change) in brought {
        world.edit(new, handle, &change);
    }
    world.settle(10_000);
    all_is_well(&mut world);
    for text in [b"by the first".as_slice(), b"by the copy"] {
        assert!(has(&world, 1, &handle, text), "{}", String::from_utf8_lossy(text));
    }
    assert!(world.alarms(1).is_empty());
}

#[test]
fn a_copy_that_says_restored_accuses_nobody() {
    let mut world = devices(4, 2);
    let handle = world.handle();
    world.edit(0, handle, b"before the copy");
    world.settle(5_000);
    let copy = world.copy(0);
    world.online(copy);
    for round in 0..6u8 {
        let (one, two) = if round % 2 == 0 { (0, copy) } else { (copy, 0) };
        world.offline(two);
        world.online(one);
        world.edit(one, handle, &[round; 10]);
        world.edit(two, handle, &[round + 100; 10]);
        world.run(200);
        // Wrongly answered, every time.
        if is_asked(&world, one) {
            world.give(one, Input::Restored);
            world.online(one);
        }
        world.run(200);
    }
    world.retire(copy);
    world.online(0);
    world.settle(5_000);
    if is_asked(&world, 0) {
        world.give(0, Input::Restored);
    }
    world.settle(60_000);
    all_is_well(&mut world);
    assert!(world.alarms(1).is_empty(), "{:?}", world.alarms(1));
}

#[test]
fn an_old_device_comes_back_after_months() {
    let mut world = devices(5, 3);
    let (handle, gone) = (world.handle(), world.handle());
    world.edit(2, handle, b"long ago");
    world.edit(2, gone, b"long ago, and gone");
    world.settle(5_000);
    world.offline(2);
    world.edit(2, handle, b"written on the last day");
    world.edit(2, gone, b"more of what is gone");
    for day in 0..200u32 {
        world.edit(
            (day % 2) as usize,
            handle,
            &[b"day ".as_slice(), &day.to_be_bytes()].concat(),
        );
        match day {
            20 => world.erase(0, gone),
            60 => {
                let fourth = world.enrol(1);
                world.settle(5_000);
                world.online(fourth);
            }
            100 => {
                let target = world.device(3).id();
                let reason = RevokeReason::Retired;
                world.give(0, Input::Revoke { target, reason });
            }
            _ => {}
        }
        world.pass(DAY_MS);
    }
    let waiting = &world.device(0).status(world.now).erasures[0];
    assert!(
        waiting.overdue && waiting.missing.acks == [world.device(2).id()],
        "{waiting:#?}"
    );
    world.online(2);
    world.settle(60_000);
    all_is_well(&mut world);
    assert!(has(&world, 0, &handle, b"written on the last day"));
    assert_eq!(world.nodes[2].disk.documents[&handle].len(), 202);
    world.pass(2 * DAY_MS);
    world.assert_gone(&gone);
    let erasure = &world.device(0).status(world.now).erasures[0];
    assert!(erasure.complete, "{erasure:#?}");
    world.assert_honest();
}

#[test]
fn a_server_from_its_first_backup_is_filled_up() {
    let mut world = World::new(6);
    world.online(0);
    world.settle(5_000);
    let first = world.relays[0].store().clone();
    let (handle, gone) = (world.handle(), world.handle());
    for _ in 0..2 {
        let new = world.enrol(0);
        world.settle(1_000);
        world.online(new);
        world.settle(5_000);
    }
    for node in 0..3 {
        world.edit(node, handle, &[node as u8; 12]);
        world.edit(node, gone, &[node as u8 + 100; 12]);
        world.settle(2_000);
    }
    world.erase(2, gone);
    world.settle(5_000);
    for node in 0..3 {
        world.give(node, Input::Rotate);
        world.settle(30_000);
    }
    world.edit(1, handle, b"in the third epoch");
    world.settle(5_000);
    world.restore_server(first);
    world.settle(120_000);
    for node in 0..3 {
        if is_asked(&world, node) {
            world.give(node, Input::Restored);
        }
    }
    world.settle(120_000);
    all_is_well(&mut world);
    world.assert_gone(&gone);
    let fourth = world.enrol(2);
    world.settle(10_000);
    world.online(fourth);
    world.settle(120_000);
    all_is_well(&mut world);
    assert_eq!(world.nodes[fourth].disk.documents[&handle].len(), 4);
}

/// Its table came back without what it names, as when a connection ends between two messages of it.
#[test]
fn a_server_that_lacks_shards_is_brought_them_by_whoever_has_them() {
    let mut world = devices(17, 2);
    let handle = world.handle();
    world.edit(0, handle, b"under a key that only a shard holds");
    world.settle(5_000);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let account = world.device(0).account_id();
    let mut store = world.relays[0].store().clone();
    store.begin().unwrap();
    store.delete(&account, Space::Shards, &handle.0[..1]).unwrap();
    store.commit().unwrap();
    world.restore_server(store);
    world.settle(30_000);
    let new = world.enrol(0);
    world.settle(5_000);
    world.online(new);
    world.settle(30_000);
    assert!(has(&world, new, &handle, b"under a key that only a shard holds"));
    all_is_well(&mut world);
}

#[test]
fn a_server_and_a_device_from_the_same_night_come_back() {
    let mut world = devices(7, 2);
    let (handle, gone) = (world.handle(), world.handle());
    world.edit(0, handle, b"before that night");
    world.edit(0, gone, b"erased afterwards");
    world.settle(5_000);
    let store = world.relays[0].store().clone();
    let (disk, keychain) = (world.nodes[0].disk.clone(), world.nodes[0].keychain.clone());
    world.edit(0, handle, b"after it, on the first");
    world.edit(1, handle, b"after it, on the other");
    world.settle(5_000);
    world.erase(1, gone);
    world.settle(5_000);
    world.restore_machine(0, disk, keychain);
    world.restore_server(store);
    world.settle(120_000);
    for node in 0..2 {
        if is_asked(&world, node) {
            world.give(node, Input::Restored);
        }
    }
    world.edit(0, handle, b"and after that");
    world.settle(120_000);
    all_is_well(&mut world);
    world.assert_gone(&gone);
    for text in [
        b"after it, on the first".as_slice(),
        b"after it, on the other",
        b"and after that",
    ] {
        assert!(has(&world, 0, &handle, text), "{}", String::from_utf8_lossy(text));
    }
}

/// The server is put back from a backup of the very moment that the device's is of: their heads agree, and what the others
/// have of the device's log isn't there yet when it writes.
#[test]
fn a_server_and_a_device_from_the_same_night_write_before_the_others_come() {
    let mut world = devices(8, 2);
    let handle = world.handle();
    world.edit(0, handle, b"before that night");
    world.settle(5_000);
    let store = world.relays[0].store().clone();
    let (disk, keychain) = (world.nodes[0].disk.clone(), world.nodes[0].keychain.clone());
    world.edit(0, handle, b"after it");
    world.settle(5_000);
    world.offline(0);
    world.offline(1);
    world.restore_machine(0, disk, keychain);
    world.restore_server(store);
    world.online(0);
    world.edit(0, handle, b"on the restored one");
    world.settle(60_000);
    assert!(!is_asked(&world, 0), "it goes on by itself");
    world.online(1);
    world.settle(120_000);
    all_is_well(&mut world);
    for text in [
        b"before that night".as_slice(),
        b"after it",
        b"on the restored one",
    ] {
        for node in 0..2 {
            assert!(
                has(&world, node, &handle, text),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }
}

#[test]
fn clocks_that_jump_by_years_stop_nothing() {
    let year = 365 * DAY_MS as i64;
    for (seed, skews) in [[10 * year, -10 * year], [-30 * year, 0], [0, 40 * year]]
        .into_iter()
        .enumerate()
    {
        let mut world = devices(80 + seed as u64, 2);
        let (handle, gone) = (world.handle(), world.handle());
        world.edit(0, handle, b"by right clocks");
        world.edit(1, gone, b"erased by wrong clocks");
        world.settle(5_000);
        for (node, skew) in skews.into_iter().enumerate() {
            world.nodes[node].skew = skew;
            world.hang_up(node);
        }
        world.settle(5_000);
        for node in 0..2 {
            world.edit(node, handle, &[node as u8 + 1; 11]);
            world.settle(5_000);
        }
        world.erase(0, gone);
        world.settle(5_000);
        world.give(1, Input::Rotate);
        world.settle(60_000);
        let target_epoch = world.device(0).status(world.now).epoch;
        assert_eq!(target_epoch, 2);
        assert!(world.device(1).status(world.now).erasures[0].complete);
        world.assert_gone(&gone);
        // And back again.
        for node in 0..2 {
            world.nodes[node].skew = 0;
            world.hang_up(node);
        }
        world.edit(1, handle, b"by right clocks again");
        world.settle(60_000);
        all_is_well(&mut world);
        world.assert_honest();
        let told = (0..2).any(|node| world.seen(node, |notice| matches!(notice, Notice::ClockSkew(_))));
        assert!(told, "clocks that differ by years are shown");
        for node in 0..2 {
            world.edit(node, handle, &[node as u8 + 50; 11]);
        }
        world.pass(3 * DAY_MS);
        all_is_well(&mut world);
        world.assert_honest();
    }
}

#[test]
fn keys_end_soon_though_the_clock_was_years_ahead_at_the_erasure() {
    let mut world = devices(85, 1);
    let (handle, gone) = (world.handle(), world.handle());
    world.edit(0, handle, b"to stay");
    world.edit(0, gone, b"to go");
    world.settle(5_000);
    world.nodes[0].skew = 10 * 365 * DAY_MS as i64;
    world.hang_up(0);
    world.erase(0, gone);
    world.settle(5_000);
    world.nodes[0].skew = 0;
    world.hang_up(0);
    world.pass(2 * DAY_MS);
    all_is_well(&mut world);
    let status = world.device(0).status(world.now);
    assert_eq!((status.epoch, status.erasures[0].complete), (2, true));
    world.assert_gone(&gone);
    world.assert_honest();
}

#[test]
fn a_servers_clock_that_jumps_stops_nothing() {
    let mut world = devices(9, 2);
    let handle = world.handle();
    for ahead in [20 * 365 * DAY_MS, 1] {
        world.edit(0, handle, &ahead.to_be_bytes());
        world.now += ahead;
        for node in 0..2 {
            world.nodes[node].skew -= i64::try_from(ahead).unwrap();
            world.hang_up(node);
        }
        world.settle(60_000);
        all_is_well(&mut world);
    }
    world.now -= 10 * 365 * DAY_MS;
    world.edit(1, handle, b"in the past of the server");
    for node in 0..2 {
        world.hang_up(node);
        world.online(node);
    }
    world.settle(60_000);
    all_is_well(&mut world);
    assert!(has(&world, 0, &handle, b"in the past of the server"));
    world.assert_honest();
}

#[test]
fn erasing_and_editing_at_once_ends_erased_everywhere() {
    let mut world = devices(10, 3);
    let handles: Vec<Handle> = (0..6).map(|_| world.handle()).collect();
    for handle in &handles {
        world.edit(0, *handle, b"known to everybody");
    }
    world.settle(5_000);
    for node in 0..3 {
        world.offline(node);
    }
    for (place, handle) in handles.iter().enumerate() {
        let by = place % 3;
        world.erase(by, *handle);
        world.edit((by + 1) % 3, *handle, b"edited at the same time");
        // Two erase the same.
        if place >= 3 {
            world.erase((by + 2) % 3, *handle);
        }
    }
    for node in 0..3 {
        world.online(node);
    }
    world.settle(60_000);
    all_is_well(&mut world);
    for handle in &handles {
        world.assert_gone(handle);
    }
    world.pass(2 * DAY_MS);
    for erasure in world.device(1).status(world.now).erasures {
        assert!(erasure.complete, "{erasure:#?}");
    }
    world.assert_honest();
}

/// What is erased on a device that was shut out goes there, and is ordered of nobody.
#[test]
fn a_device_that_was_shut_out_erases_what_it_has_and_comes_to_rest() {
    let mut world = devices(14, 2);
    let handle = world.handle();
    world.edit(0, handle, b"on both");
    world.settle(5_000);
    let target = world.device(1).id();
    let reason = RevokeReason::Lost;
    world.give(0, Input::Revoke { target, reason });
    world.settle(5_000);
    world.erase(1, handle);
    world.settle(60_000);
    assert!(!world.nodes[1].disk.documents.contains_key(&handle));
    assert!(has(&world, 0, &handle, b"on both"), "nobody ordered it there");
}

#[test]
fn crossed_revocations_accuse_nobody() {
    let mut world = devices(11, 3);
    let handle = world.handle();
    world.edit(0, handle, b"before they fell out");
    world.settle(5_000);
    let ids = [world.device(0).id(), world.device(1).id()];
    let reason = RevokeReason::Lost;
    for node in 0..2 {
        world.edit(node, handle, &[node as u8 + 1; 9]);
        world.give(
            node,
            Input::Revoke {
                target: ids[1 - node],
                reason,
            },
        );
    }
    world.settle(60_000);
    all_is_well(&mut world);
    let members = world.device(2).account().members().count();
    assert_eq!(members, 2, "the server has taken one of the two first");
    let stays = usize::from(world.device(2).account().member(&ids[0]).is_none());
    assert!(world.seen(1 - stays, |notice| *notice == Notice::Revoked));
    world.edit(stays, handle, b"after it");
    world.settle(10_000);
    assert!(has(&world, 2, &handle, b"after it"));
    assert!(!has(&world, 1 - stays, &handle, b"after it"));
    world.assert_honest();
}

#[test]
fn a_revocation_that_crosses_edits_and_erasures_loses_no_members_word() {
    let mut world = devices(12, 3);
    let (handle, gone) = (world.handle(), world.handle());
    world.edit(0, handle, b"before all of it");
    world.edit(1, gone, b"erased meanwhile");
    world.settle(5_000);
    for node in 0..3 {
        world.offline(node);
    }
    world.edit(0, handle, b"by the one that revokes");
    world.edit(1, handle, b"by the one beside");
    world.erase(1, gone);
    world.edit(2, handle, b"by the one shut out");
    let (target, reason) = (world.device(2).id(), RevokeReason::Lost);
    world.give(0, Input::Revoke { target, reason });
    world.online(0);
    world.run(10);
    world.online(1);
    world.run(15);
    world.online(2);
    world.settle(60_000);
    all_is_well(&mut world);
    for node in 0..2 {
        assert!(has(&world, node, &handle, b"by the one that revokes"));
        assert!(has(&world, node, &handle, b"by the one beside"));
    }
    world.assert_gone(&gone);
    assert!(world.seen(2, |notice| *notice == Notice::Revoked));
    world.assert_honest();
}

#[test]
fn two_pairings_at_once_let_both_in() {
    let mut world = devices(13, 2);
    let handle = world.handle();
    world.edit(0, handle, b"known to everybody");
    world.settle(5_000);
    world.give(0, Input::Checkpoint);
    world.settle(1_000);
    let one = world.enrol(0);
    world.give(0, Input::Checkpoint);
    let two = world.enrol(0);
    let three = world.enrol(1);
    world.settle(10_000);
    for new in [one, two, three] {
        world.online(new);
    }
    world.settle(60_000);
    all_is_well(&mut world);
    world.pass(2 * DAY_MS);
    for new in [one, two, three] {
        assert!(has(&world, new, &handle, b"known to everybody"));
        assert!(
            world.seen(new, |notice| *notice == Notice::JoinComplete),
            "node {new}"
        );
    }
    world.assert_honest();
}

#[test]
fn disks_that_fill_up_on_either_side_lose_nothing() {
    let mut world = devices(14, 2);
    let handle = world.handle();
    world.faults.device_full = 8;
    world.faults.server_full = 20;
    for round in 0..40u8 {
        world.edit(usize::from(round % 2), handle, &[round; 9]);
        world.run(25);
    }
    world.no_more_faults();
    world.settle(60_000);
    all_is_well(&mut world);
    assert_eq!(world.nodes[0].disk.documents[&handle].len(), 40);
    world.assert_honest();
}
