//! Devices on the local network: an account that never had a server, and relays that lose what they had.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod world;

use hearth_protocol::control::RevokeReason;
use hearth_relay::{MemoryStore, testing::Faulty};
use hearth_sync::device::{Input, Link, Notice};
use hearth_sync::discovery::Found;
use world::World;

/// Two devices of an account without a server; the first serves. The world, and the relay to call.
fn pair(seed: u64) -> (World, usize) {
    let mut world = World::without_server(seed);
    let relay = world.serve(0);
    world.call(0, relay);
    world.settle(5_000);
    let new = world.enrol(0);
    world.settle(5_000);
    world.call(new, relay);
    world.settle(30_000);
    (world, relay)
}

#[test]
fn an_account_without_a_server_lets_devices_in_edits_and_erases() {
    let (mut world, relay) = pair(1);
    let (kept, gone) = (world.handle(), world.handle());
    world.edit(0, kept, b"kept");
    world.edit(1, gone, b"soon gone");
    world.settle(10_000);
    world.assert_converged();
    assert!(world.nodes[0].disk.documents.contains_key(&gone));
    assert!(world.nodes[1].disk.documents.contains_key(&kept));
    let status = world.device(1).status(world.now);
    assert_eq!(
        (status.link, status.unsealed, status.unconfirmed),
        (Link::Live, 0, 0),
        "{status:#?}"
    );
    world.erase(1, gone);
    world.settle(10_000);
    world.give(0, Input::Rotate);
    world.settle(60_000);
    world.assert_gone(&gone);
    world.assert_converged();
    let erasure = &world.device(0).status(world.now).erasures[0];
    assert!(erasure.complete, "no server owes a receipt: {erasure:#?}");

    // The other one serves now, with an empty store.
    let other = world.serve(1);
    world.call(0, other);
    world.call(1, other);
    let late = world.handle();
    world.edit(0, late, b"late");
    world.settle(60_000);
    world.assert_converged();
    assert!(world.nodes[1].disk.documents.contains_key(&late));

    // Shut out, it hears so from the relay that knows, and isn't believed anything any more.
    world.call(0, relay);
    world.call(1, relay);
    world.settle(10_000);
    let target = world.device(1).id();
    let reason = RevokeReason::Lost;
    world.give(0, Input::Revoke { target, reason });
    world.settle(30_000);
    world.call(1, relay);
    world.settle(30_000);
    assert!(world.seen(1, |notice| *notice == Notice::Revoked));
    assert!(world.device(1).announcement(world.now).is_empty());
    world.assert_honest();
}

#[test]
fn members_find_each_other_whatever_epoch_they_slept_through() {
    let (mut world, relay) = pair(2);
    let found = |world: &World, by: usize, of: usize| {
        let announced = world.device(of).announcement(world.now);
        world.device(by).recognize(&announced, world.now)
    };
    let id = |world: &World, node: usize| world.device(node).id();
    assert_eq!(found(&world, 0, 1), Some(Found::Member(id(&world, 1))));
    assert_eq!(
        world.device(0).announcement(world.now).len(),
        1,
        "one key is enough"
    );
    world.offline(1);
    world.settle(1_000);
    for _ in 0..2 {
        world.give(0, Input::Rotate);
        world.settle(30_000);
    }
    assert_eq!(found(&world, 0, 1), Some(Found::Member(id(&world, 1))));
    assert_eq!(found(&world, 1, 0), Some(Found::Member(id(&world, 0))));
    // Let in, and not called yet: it has no epoch's key.
    let new = world.enrol(0);
    world.settle(10_000);
    assert_eq!(found(&world, 0, new), Some(Found::Member(id(&world, new))));
    // It knows the founder from its pairing, and of the others that they are there.
    assert_eq!(found(&world, new, 0), Some(Found::Member(id(&world, 0))));
    assert_eq!(found(&world, 1, new), None, "let in while it slept");
    let stranger = World::new(3);
    let theirs = stranger.device(0).announcement(world.now);
    assert_eq!(world.device(0).recognize(&theirs, world.now), None);
    for node in [1, new] {
        world.call(node, relay);
    }
    world.settle(60_000);
    world.assert_converged();
    assert_eq!(
        world.device(0).announcement(world.now).len(),
        1,
        "all have the newest key"
    );
    world.assert_honest();
}

#[test]
fn a_peer_that_dropped_all_it_kept_is_filled_again_and_accuses_nobody() {
    let (mut world, relay) = pair(4);
    let handles: Vec<_> = (0..20).map(|_| world.handle()).collect();
    for (place, handle) in handles.iter().enumerate() {
        world.edit(
            place % 2,
            *handle,
            &[b"number ".as_slice(), &[place as u8 + 1; 40]].concat(),
        );
    }
    world.settle(10_000);
    world.erase(0, handles[0]);
    world.settle(5_000);
    world.put_peer_store(relay, 0, Faulty::new(MemoryStore::new()));
    world.call(0, relay);
    world.call(1, relay);
    world.edit(1, handles[3], b"afterwards");
    world.settle(120_000);
    world.assert_converged();
    world.assert_gone(&handles[0]);
    for node in 0..2 {
        assert!(!world.seen(node, |notice| *notice == Notice::RestoredOrCopied));
        let status = world.device(node).status(world.now);
        assert_eq!((status.link, status.unconfirmed), (Link::Live, 0), "{status:#?}");
    }
    world.assert_honest();
}

#[test]
fn a_peer_that_emptied_its_store_by_an_erasure_is_filled_by_its_own_device_alone() {
    let (mut world, relay) = pair(5);
    let (gone, kept) = (world.handle(), world.handle());
    world.edit(0, gone, b"soon gone");
    world.edit(1, kept, b"kept");
    world.settle(10_000);
    world.erase(1, gone);
    world.settle(500);
    world.offline(1);
    world.put_peer_store(relay, 0, Faulty::new(MemoryStore::new()));
    world.call(0, relay);
    world.settle(30_000);
    let status = world.device(0).status(world.now);
    assert_eq!((status.link, status.unsent), (Link::Live, 0), "{status:#?}");
    world.call(1, relay);
    world.settle(60_000);
    world.give(0, Input::Rotate);
    world.settle(60_000);
    world.assert_gone(&gone);
    world.assert_converged();
    assert!(world.device(0).status(world.now).erasures[0].complete);
    world.assert_honest();
}
