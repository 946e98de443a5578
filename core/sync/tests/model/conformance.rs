//! The rules of the model against the devices and the server themselves: both go the same way, drawn from a seed, and where
//! they come to rest the same people belong to the account, and the same can be read.
//!
//! At every step one device goes offline or comes back, or its user wants something, and then both come to rest. Who is
//! first doesn't depend on chance then: else the two would draw differently.

use hearth_protocol::control::RevokeReason;
use hearth_protocol::id::Handle;
use hearth_sync::device::Input;

use super::explore::System;
use super::ledger::DEVICES;
use super::rules::{Model, Rules, Scope, Step};
use super::state::{Budget, State};
use super::world::{Seeded, World};

/// Longer than an epoch waits for more erasures.
const A_DAY_AND_MORE_MS: u64 = 26 * 60 * 60 * 1_000;

struct Both {
    model: Model,
    state: State,
    world: World,
    handle: Handle,
    random: Seeded,
    way: Vec<String>,
}

impl Both {
    fn new(seed: u64) -> Self {
        let plenty = Budget {
            enrols: 0,
            revokes: 2,
            rotations: 1,
            orders: 2,
            edits: 2,
            losses: 0,
            backups: 0,
            restores: 0,
            rogue: 0,
        };
        let scope = Scope {
            budget: plenty,
            three: true,
            local: false,
            certify_all: false,
        };
        let mut model = Model::new(Rules::REAL, scope);
        let state = model.initial();
        let mut world = World::new(seed);
        world.online(0);
        world.settle(1_000);
        while world.nodes.len() < DEVICES {
            let new = world.enrol(0);
            world.settle(1_000);
            world.online(new);
            world.settle(5_000);
        }
        let handle = world.handle();
        world.edit(0, handle, b"in the beginning");
        world.settle(5_000);
        Self {
            model,
            state,
            world,
            handle,
            random: Seeded::new(seed),
            way: Vec::new(),
        }
    }

    /// Both do one thing.
    fn act(&mut self) {
        let d = self.random.below(DEVICES);
        let who = d as u8;
        if self.random.once_in(2) {
            let online = !self.model.online[d];
            self.model.online[d] = online;
            self.way.push(format!("{d} online: {online}"));
            if online {
                self.world.online(d);
            } else {
                self.world.offline(d);
            }
            return;
        }
        let target = self.random.below(DEVICES);
        let step = match self.random.below(4) {
            0 => Step::WantRevoke(who, target as u8),
            1 => Step::WantRotate(who),
            2 => Step::Order(who),
            _ => Step::Edit(who),
        };
        let Some(next) = self.model.take(&self.state, step) else {
            return;
        };
        self.state = next;
        self.way.push(format!("{step:?}"));
        match step {
            Step::WantRevoke(..) => {
                let target = self.world.device(target).id();
                let reason = RevokeReason::Lost;
                self.world.give(d, Input::Revoke { target, reason });
            }
            Step::WantRotate(_) => self.world.give(d, Input::Rotate),
            Step::Order(_) => self.world.erase(d, self.handle),
            _ => {
                let change = self.random.number().to_be_bytes();
                self.world.edit(d, self.handle, &change);
            }
        }
    }

    fn rest(&mut self) {
        self.world.settle(A_DAY_AND_MORE_MS);
        let mut out = Vec::new();
        for _ in 0..1_000 {
            out.clear();
            self.model.steps(&self.state, &mut out);
            out.retain(|(step, _)| Model::by_itself(step));
            if out.is_empty() {
                return;
            }
            let drawn = self.random.below(out.len());
            self.state = out.swap_remove(drawn).1;
            let fine = self.model.always(&self.state);
            assert_eq!(fine, Ok(()), "{:?}", self.way);
        }
        panic!("the model never comes to rest: {:?}", self.way);
    }

    fn compare(&self) {
        let ids: Vec<_> = (0..DEVICES).map(|d| self.world.device(d).id()).collect();
        for d in 0..DEVICES {
            let (device, node, real) = (
                &self.state.devices[d],
                &self.world.nodes[d],
                self.world.device(d).account(),
            );
            let way = &self.way;
            for (other, id) in ids.iter().enumerate() {
                assert_eq!(
                    real.member(id).is_some(),
                    self.model.ledger.is_member(device.chain, other),
                    "whether {other} is a member to {d}, after {way:?}"
                );
            }
            assert_eq!(
                real.generation(),
                self.model.ledger.account(device.chain).generation(),
                "how many revocations {d} knows, after {way:?}"
            );
            assert_eq!(
                node.disk.documents.contains_key(&self.handle),
                device.have != 0,
                "whether {d} can read it, after {way:?}"
            );
            assert_eq!(
                node.disk.erased.contains(&self.handle),
                device.noted != 0,
                "whether {d} has erased it, after {way:?}"
            );
            assert_eq!(
                node.disk.dirty.is_empty(),
                device.dirty == 0,
                "whether {d} has something to publish, after {way:?}"
            );
        }
    }
}

#[test]
fn model_and_machines_come_to_the_same() {
    let (mut revoked, mut erased) = (0, 0);
    for seed in 0..60 {
        let mut both = Both::new(seed);
        for _ in 0..10 {
            both.act();
            both.rest();
            both.compare();
        }
        revoked += both.model.ledger.account(both.state.server.chain).generation();
        erased += both.state.server.erased.count_ones();
    }
    println!("{revoked} revocations, {erased} erasures");
    assert!(revoked > 20 && erased > 20, "the ways lead somewhere");
}
