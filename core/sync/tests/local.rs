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

#[test]
fn what_one_peer_has_taken_is_told_to_the_next() {
    let (mut world, relay) = pair(6);
    let gone = world.handle();
    world.edit(0, gone, b"soon gone");
    world.settle(10_000);
    // Alone it serves itself, and its own relay takes its confirmation.
    world.offline(1);
    let own = world.serve(1);
    world.call(1, own);
    world.erase(1, gone);
    world.settle(10_000);
    world.call(1, relay);
    world.settle(30_000);
    world.give(0, Input::Rotate);
    world.settle(60_000);
    world.assert_gone(&gone);
    for node in 0..2 {
        let erasure = &world.device(node).status(world.now).erasures[0];
        assert!(erasure.complete, "{node}: {erasure:#?}");
    }
    world.assert_converged();
    world.assert_honest();
}

/// An epoch's wraps go with whatever a peer has lost: the members grant each other its key.
#[test]
fn an_epoch_whose_wraps_a_peer_has_lost_is_granted() {
    for seed in 20..32 {
        let (mut world, relay) = pair(seed);
        let before = world.device(0).account().number();
        world.give(1, Input::Rotate);
        for _ in 0..10_000 {
            if world.device(0).account().number() > before {
                break;
            }
            world.step();
        }
        assert_eq!(world.device(0).account().number(), before + 1);
        world.put_peer_store(relay, 0, Faulty::new(MemoryStore::new()));
        world.call(1, relay);
        world.call(0, relay);
        world.settle(60_000);
        let handle = world.handle();
        world.edit(0, handle, b"under the new key");
        world.settle(30_000);
        assert!(world.nodes[1].disk.documents.contains_key(&handle), "seed {seed}");
        world.assert_converged();
        world.assert_honest();
    }
}

/// The account's server has the log's opening; a peer that begins anew doesn't, and takes no erasure without.
#[test]
fn what_the_serving_device_erases_without_the_server_reaches_the_others() {
    let mut world = World::new(7);
    world.online(0);
    world.settle(5_000);
    let new = world.enrol(0);
    world.online(new);
    world.settle(30_000);
    let gone = world.handle();
    world.edit(0, gone, b"soon gone");
    world.settle(10_000);
    world.offline(0);
    world.offline(new);
    let relay = world.serve(new);
    world.call(new, relay);
    world.call(0, relay);
    world.settle(10_000);
    world.erase(new, gone);
    // Its own transaction has emptied what the relay had.
    world.put_peer_store(relay, new, Faulty::new(MemoryStore::new()));
    world.call(new, relay);
    world.call(0, relay);
    world.settle(60_000);
    for node in [0, new] {
        assert!(
            !world.nodes[node].disk.documents.contains_key(&gone),
            "node {node}"
        );
    }
    for node in [0, new] {
        world.call(node, 0);
    }
    world.settle(30_000);
    world.give(0, Input::Rotate);
    world.settle(60_000);
    world.assert_gone(&gone);
    world.assert_converged();
    assert!(world.device(0).status(world.now).erasures[0].complete);
    world.assert_honest();
}

/// Its relay knows nobody's newest key: the first epoch that it proposes there is refused, and is tried again.
#[test]
fn a_device_alone_changes_the_keys_at_its_own_relay() {
    let (mut world, relay) = pair(8);
    world.offline(1);
    world.give(1, Input::Rotate);
    let before = world.device(1).status(world.now).epoch;
    let own = world.serve(1);
    world.call(1, own);
    world.settle(10_000);
    assert_eq!(world.device(1).status(world.now).epoch, before + 1);
    world.call(1, relay);
    world.settle(30_000);
    assert_eq!(world.device(0).status(world.now).epoch, before + 1);
    world.assert_converged();
    world.assert_honest();
}
