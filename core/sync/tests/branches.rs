//! What happens to a control log that has two branches, and to what hangs on it: moving, new phrases, new devices that
//! begin at a checkpoint, revocations that reach back, a full account.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod world;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{Action, ControlEntry, ControlStatement, Revoke, RevokeReason};
use hearth_protocol::id::{Link, Signature, TimeMs};
use hearth_protocol::message::{ControlPart, Reply, ReplyFrame};
use hearth_protocol::vector::{Head, VersionVector};
use hearth_sync::device::Input;
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
    assert!(world.nodes[0].disk.documents.contains_key(&handle), "within the cut");
}
