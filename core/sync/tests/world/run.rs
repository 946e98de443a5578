//! Time passing: one event after the other, drawn from the seed.

use hearth_relay::{Relay, SessionId};
use hearth_sync::device::Input;

use super::World;

impl World {
    /// One event, drawn from the seed; false: there is nothing to do now.
    pub fn step(&mut self) -> bool {
        self.now += 1 + self.random.number() % 20;
        self.server_faults();
        for node in 0..self.nodes.len() {
            let this = &mut self.nodes[node];
            if this.device.is_none() && !this.retired {
                if self.events >= this.down_until {
                    self.start(node);
                } else {
                    self.log("down", &[]);
                }
                return true;
            }
        }
        let mut choices: Vec<(u8, usize, SessionId)> = Vec::new();
        let none = SessionId(0);
        for (node, this) in self.nodes.iter().enumerate() {
            if this.retired {
                continue;
            }
            if this.online && this.session.is_none() && this.call_at <= self.now {
                choices.push((0, node, none));
            }
            if self.has_own_input(node) {
                choices.push((1, node, none));
            }
            if this.wake.is_some_and(|at| at <= self.now) {
                choices.push((2, node, none));
            }
        }
        for (session, connection) in &self.connections {
            for _ in 0..connection.up.len() {
                choices.push((3, connection.node, *session));
            }
            for _ in 0..connection.down.len() {
                choices.push((4, connection.node, *session));
            }
            if connection.down.len() == 0 && connection.down.ends {
                choices.push((5, connection.node, *session));
            }
        }
        for (place, relay) in self.relays.iter().enumerate() {
            if relay.wants_tick().is_some_and(|at| at <= self.now) {
                choices.push((6, place, none));
            }
        }
        if choices.is_empty() {
            return false;
        }
        if !self.connections.is_empty() && self.random.once_in(self.faults.lose_connection) {
            let which = self.random.below(self.connections.len());
            if let Some(session) = self.connections.keys().nth(which).copied() {
                self.drop_connection(session);
                return true;
            }
        }
        let (what, node, session) = choices[self.random.below(choices.len())];
        match what {
            0 => self.connect(node),
            1 => {
                if let Some(input) = self.own_input(node) {
                    self.log(&format!("own {node}"), &[]);
                    self.give(node, input);
                }
            }
            2 => {
                self.nodes[node].wake = None;
                self.log(&format!("tick {node}"), &[]);
                self.give(node, Input::Tick);
            }
            3 => self.deliver_up(node, session),
            4 => self.deliver_down(node, session),
            5 => self.drop_connection(session),
            _ => {
                self.log("relay tick", &[]);
                let out = self.relays[node].tick(self.now, &mut self.random).unwrap();
                self.hand_down(out);
            }
        }
        true
    }

    /// Runs until nothing happens any more and no clock is due within `patience_ms`.
    pub fn settle(&mut self, patience_ms: u64) {
        let end = self.now + patience_ms;
        let mut steps = 0;
        loop {
            while self.step() {
                steps += 1;
                assert!(steps < 200_000, "it never comes to rest");
            }
            let next = self
                .nodes
                .iter()
                .filter(|node| !node.retired)
                .flat_map(|node| {
                    let calls = node.online && node.session.is_none();
                    [node.wake, calls.then_some(node.call_at)]
                })
                .flatten()
                .chain(self.relays.iter().filter_map(Relay::wants_tick))
                .min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => return,
            }
        }
    }

    /// Runs so many events.
    pub fn run(&mut self, events: usize) {
        for _ in 0..events {
            if !self.step() {
                return;
            }
        }
    }

    /// Lets time pass without anything due being missed: everything at rest, `ms` later.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        self.settle(ms);
        self.now = self.now.max(end);
        self.settle(0);
    }
}
