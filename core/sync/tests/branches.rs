//! What happens to a control log that has two branches, and to what hangs on it: moving, new phrases,
//! revocations that reach back, a full account.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod world;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{Action, ControlEntry, ControlStatement, Revoke, RevokeReason};
use hearth_protocol::id::{Link, Signature, TimeMs};
use hearth_protocol::message::{ControlPart, Reply, ReplyFrame};
use hearth_protocol::vector::{Head, VersionVector};
use hearth_sync::device::{Input, Notice};
use hearth_sync::recovery::Phrase;
use world::World;

/// So many devices of one account, online and at rest.
fn devices(seed: u64, count: usize) -> World {
    let mut world = World::new(seed);
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

/// An entry that a node signs by itself, behind what it knows.
fn entry_by(world: &World, node: usize, action: Action) -> ControlEntry {
    let device = world.device(node);
    let statement = ControlStatement {
        number: device.account().number() + 1,
        previous: device.account().head(),
        author: device.id(),
        at: TimeMs { ms: world.now },
        action,
    };
    let mut entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    let key = device.keychain().signing().unwrap();
    entry.signature = key.sign(&entry.id(&device.account_id()));
    entry
}

#[test]
fn a_revocation_that_claims_what_nobody_wrote_costs_nothing() {
    let mut world = devices(1, 3);
    let handle = world.handle();
    world.edit(2, handle, b"of the one that is shut out");
    world.settle(5_000);
    let log = world.device(2).writing().unwrap();
    let head = Head {
        seq: u64::MAX,
        link: Link([1; 32]),
    };
    let revoke = Revoke {
        target: world.device(2).id(),
        reason: RevokeReason::Lost,
        cut: VersionVector::new([(log, head)]).unwrap(),
        erasures: hearth_protocol::codec::Map::default(),
    };
    let entry = entry_by(&world, 1, Action::Revoke(Box::new(revoke)));
    let part = ControlPart {
        entries: vec![entry].try_into().unwrap(),
        wraps: None,
        more: false,
    };
    let reply = ReplyFrame {
        to: 0,
        reply: Reply::Control(part),
    };
    world.give(0, Input::Frame(reply.encode()));
    let account = world.device(0).account();
    assert!(account.member(&world.device(2).id()).is_none());
    assert!(
        world.nodes[0].disk.documents.contains_key(&handle),
        "within the cut"
    );
}

/// The server comes back from a backup, with nobody there.
fn restored(world: &mut World, backup: world::ServerStore) {
    for node in 0..world.nodes.len() {
        world.offline(node);
    }
    world.restore_server(backup);
}

/// Everybody comes, and all is as it should be.
fn all_together(world: &mut World) {
    for node in 0..world.nodes.len() {
        world.online(node);
        world.settle(5_000);
    }
    world.settle(120_000);
    world.assert_converged();
    let heads: Vec<_> = (0..world.nodes.len())
        .filter(|node| world.nodes[*node].online)
        .map(|node| world.device(node).account().head())
        .collect();
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "{heads:?}");
    for node in 0..world.nodes.len() {
        let status = world.device(node).status(world.now);
        if world.nodes[node].online {
            assert!(status.epoch_key, "node {node}: {status:#?}");
            assert_eq!(
                (status.unsealed, status.unconfirmed),
                (0, 0),
                "node {node}: {status:#?}"
            );
        }
    }
}

/// A server was restored to before what device 0 did, and device 2, which was away, did something else meanwhile. `ours`:
/// how often device 0 changed the epoch, `theirs`: how often device 2 did.
fn forked(seed: u64, ours: usize, theirs: usize) -> World {
    let mut world = devices(seed, 3);
    let shared = world.handle();
    world.edit(0, shared, b"before");
    world.settle(5_000);
    world.offline(2);
    let backup = world.relays[0].store().clone();
    let third = world.enrol(0);
    world.settle(1_000);
    world.online(third);
    world.settle(5_000);
    for _ in 0..ours {
        world.give(0, Input::Rotate);
        world.settle(5_000);
    }
    let (one, gone) = (world.handle(), world.handle());
    world.edit(third, one, b"by the device that the first let in");
    world.edit(third, shared, b"and to what was there");
    world.edit(0, gone, b"secret");
    world.settle(5_000);
    world.erase(0, gone);
    world.settle(5_000);
    restored(&mut world, backup);
    world.online(2);
    world.settle(5_000);
    let fourth = world.enrol(2);
    world.settle(1_000);
    world.online(fourth);
    world.settle(5_000);
    for _ in 0..theirs {
        world.give(2, Input::Rotate);
        world.settle(5_000);
    }
    let other = world.handle();
    world.edit(fourth, other, b"by the device that the other let in");
    world.edit(2, shared, b"by the other");
    world.settle(5_000);
    world.offline(fourth);
    world.offline(2);
    all_together(&mut world);
    assert_eq!(world.device(0).account().members().count(), 5);
    world.assert_gone(&gone);
    let documents = &world.nodes[0].disk.documents;
    assert!(documents.contains_key(&one) && documents.contains_key(&other));
    assert_eq!(documents[&shared].len(), 3);
    world.assert_honest();
    world
}

#[test]
fn a_server_with_the_losing_branch_takes_the_other_over() {
    for seed in 10..14 {
        println!("seed {seed}");
        let world = forked(seed, 2, 0);
        for node in [2, 4] {
            assert!(world.seen(node, |notice| *notice == Notice::BranchLost));
        }
        assert!(!world.seen(0, |notice| *notice == Notice::BranchLost));
    }
}

#[test]
fn a_device_with_the_losing_branch_joins_the_servers() {
    for seed in 20..24 {
        println!("seed {seed}");
        let world = forked(seed, 0, 2);
        for node in [0, 1, 3] {
            assert!(
                world.seen(node, |notice| *notice == Notice::BranchLost),
                "node {node}"
            );
        }
        assert!(!world.seen(2, |notice| *notice == Notice::BranchLost));
    }
}

#[test]
fn of_branches_of_one_length_everybody_takes_the_same() {
    for seed in 30..36 {
        println!("seed {seed}");
        forked(seed, 1, 1);
    }
}

#[test]
fn crossed_revocations_both_count() {
    let mut first_won = 0;
    for seed in 40..46 {
        println!("seed {seed}");
        let mut world = devices(seed, 4);
        let (mine, late) = (world.handle(), world.handle());
        world.edit(0, mine, b"by the first");
        world.edit(1, mine, b"by the second");
        world.settle(5_000);
        let backup = world.relays[0].store().clone();
        let revoke = |world: &mut World, by: usize, target: usize| {
            let target = world.device(target).id();
            let reason = RevokeReason::Lost;
            world.give(by, Input::Revoke { target, reason });
            world.settle(10_000);
        };
        // Device 2 sees the one, device 3 the other.
        world.offline(1);
        world.offline(3);
        revoke(&mut world, 0, 1);
        restored(&mut world, backup);
        world.online(1);
        world.online(3);
        world.settle(5_000);
        revoke(&mut world, 1, 0);
        world.edit(3, late, b"after that");
        world.settle(5_000);
        // Who was shut out by a branch that nobody of theirs has joined yet goes on asking.
        for node in [2, 0, 1] {
            world.online(node);
            world.settle(5_000);
        }
        all_together(&mut world);
        let account = world.device(2).account();
        let members: Vec<_> = account.members().map(|(device, _)| *device).collect();
        let mut stay = vec![world.device(2).id(), world.device(3).id()];
        stay.sort_unstable();
        assert_eq!(members, stay);
        for node in [0, 1] {
            assert!(
                world.seen(node, |notice| *notice == Notice::Revoked),
                "node {node}"
            );
        }
        assert_eq!(world.nodes[2].disk.documents[&mine].len(), 2);
        assert!(world.nodes[2].disk.documents.contains_key(&late));
        first_won += usize::from(world.seen(3, |notice| *notice == Notice::BranchLost));
    }
    println!("the first branch won {first_won} times of 6");
    assert!(first_won > 0 && first_won < 6, "both ways are to be seen");
}

#[test]
fn an_account_moves_to_another_server() {
    for seed in 50..54 {
        println!("seed {seed}");
        let mut world = devices(seed, 3);
        let (kept, gone, late) = (world.handle(), world.handle(), world.handle());
        world.edit(0, kept, b"by the first");
        world.edit(2, kept, b"by the one that is away then");
        world.edit(1, gone, b"secret");
        world.settle(5_000);
        world.offline(2);
        world.edit(2, late, b"offline");
        world.edit(2, gone, b"more of it, offline");
        world.erase(0, gone);
        world.settle(5_000);
        let (new, server) = world.another_server();
        world.give(
            0,
            Input::ChangeServer {
                server: Some(server.clone()),
                invitation: String::new(),
            },
        );
        world.settle(5_000);
        for node in [0, 1] {
            assert!(world.seen(node, |notice| *notice == Notice::Moved(Some(server.clone()))));
            assert_eq!(world.nodes[node].calls, new);
        }
        world.edit(1, kept, b"at the new one");
        world.settle(5_000);
        // The one that was away asks at the old server, and is told.
        world.online(2);
        world.settle(5_000);
        assert!(world.seen(2, |notice| *notice == Notice::Moved(Some(server.clone()))));
        world.settle(60_000);
        assert_eq!(world.nodes[2].calls, new);
        let third = world.enrol(2);
        world.settle(1_000);
        world.call(third, new);
        all_together(&mut world);
        world.assert_gone(&gone);
        let documents = &world.nodes[third].disk.documents;
        assert_eq!(documents[&kept].len(), 3);
        assert!(documents.contains_key(&late));
        world.assert_honest();
    }
}

#[test]
fn a_new_phrase_replaces_the_old_one_at_once() {
    let mut world = devices(60, 2);
    let kept = world.handle();
    world.edit(0, kept, b"kept");
    world.settle(5_000);
    let (old, new) = (world.phrase.clone(), Phrase::random(&mut world.random));
    // Not with other words than those in force.
    let wrong = Phrase::random(&mut world.random);
    let ask = |old: &Phrase, new: &Phrase| Input::NewPhrase {
        old: Box::new(old.clone()),
        new: Box::new(new.clone()),
    };
    world.give(1, ask(&wrong, &new));
    world.settle(5_000);
    assert!(world.seen(1, |notice| *notice == Notice::Dropped));
    assert_eq!(*world.device(1).account().recovery(), old.public().unwrap());
    world.give(1, ask(&old, &new));
    world.settle(10_000);
    for node in [0, 1] {
        assert!(world.seen(node, |notice| *notice == Notice::PhraseChanged));
        assert_eq!(*world.device(node).account().recovery(), new.public().unwrap());
        let status = world.device(node).status(world.now);
        assert_eq!(
            (status.epoch, status.epoch_key),
            (2, true),
            "wrapped to the new words at once"
        );
    }
    world.offline(0);
    world.offline(1);
    let lost = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.recover(&[])));
    let said = *lost.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("UnknownAccount"), "{said}");
    world.phrase = new;
    let back = world.recover(&[]);
    world.online(back);
    world.settle(20_000);
    assert!(world.nodes[back].disk.documents.contains_key(&kept));
    world.online(0);
    world.online(1);
    world.settle(5_000);
    world.assert_honest();
}

/// What a server without room does to devices.
#[test]
fn a_full_account_loses_nothing_and_says_so() {
    for seed in 70..74 {
        println!("seed {seed}");
        let mut world = devices(seed, 2);
        let (small, large, gone) = (world.handle(), world.handle(), world.handle());
        world.edit(0, small, b"fits");
        world.edit(0, gone, &vec![3; 20_000]);
        world.settle(5_000);
        world.relays[0].config_mut().limits.quota_bytes = 30_000;
        world.edit(0, large, &vec![1; 40_000]);
        world.edit(1, large, &vec![2; 45_000]);
        world.settle(5_000);
        for node in [0, 1] {
            assert!(
                world.seen(node, |notice| *notice == Notice::QuotaReached),
                "node {node}"
            );
            let status = world.device(node).status(world.now);
            assert_eq!(status.link, hearth_sync::device::Link::Live);
        }
        assert_eq!(
            world.nodes[0].disk.documents[&large].len(),
            1,
            "nobody else has it"
        );
        // Erasures go on, and make room.
        world.erase(1, gone);
        world.settle(5_000);
        world.assert_gone(&gone);
        // It is tried again by itself: an hour later, without a new connection.
        world.relays[0].config_mut().limits.quota_bytes = 0;
        world.settle(2 * 60 * 60 * 1_000);
        world.assert_converged();
        assert_eq!(world.nodes[0].disk.documents[&large].len(), 2);
        for node in [0, 1] {
            let status = world.device(node).status(world.now);
            assert_eq!(
                (status.unsealed, status.unconfirmed),
                (0, 0),
                "node {node}: {status:#?}"
            );
        }
        // And while there was no room, a crash lost nothing either.
        world.relays[0].config_mut().limits.quota_bytes = 1;
        world.edit(0, small, &[5; 5_000]);
        world.settle(5_000);
        world.crash(0);
        world.settle(5_000);
        world.relays[0].config_mut().limits.quota_bytes = 0;
        world.settle(2 * 60 * 60 * 1_000);
        world.assert_converged();
        assert_eq!(world.nodes[1].disk.documents[&small].len(), 2);
        world.assert_honest();
    }
}

#[test]
fn an_erasure_whose_author_falls_while_it_is_carried_out_holds_everywhere() {
    for seed in 40..60 {
        let mut world = devices(seed, 3);
        let handle = world.handle();
        world.edit(0, handle, b"what goes");
        world.settle(5_000);
        world.offline(0);
        world.erase(1, handle);
        while !world.nodes[2].disk.erased.contains(&handle) {
            assert!(world.step(), "it never comes to device 2");
        }
        // Device 2 isn't done with it when its user shuts the author out.
        let target = world.device(1).id();
        let reason = RevokeReason::Lost;
        world.give(2, Input::Revoke { target, reason });
        world.settle(60_000);
        world.online(0);
        world.settle(60_000);
        assert!(world.device(0).account().member(&target).is_none());
        assert!(
            !world.nodes[0].disk.documents.contains_key(&handle),
            "seed {seed}: gone on one, and still there on the other"
        );
    }
}
