//! What the task of sync does on the local network: see [`local`](super::local).

use std::sync::Arc;
use std::time::Instant;

use hearth_protocol::id::VerifyKey;
use hearth_sync::device::{Input, Link, Peer};

use super::local::{At, Call, Called, Local};
use super::machine::time;
use super::run::{LOOK, Worker};
use crate::net::LocalNetwork;
use crate::types::EngineEvent;

impl Worker {
    /// Whether the local network is needed now.
    fn needs_local(&self) -> bool {
        let Some(engine) = self.engine() else { return false };
        (!self.has_server() || self.server_missed)
            && !self.ended
            && self.at != Some(At::Server)
            && self.quiet_until <= tokio::time::Instant::now()
            && engine.inner.options.local_network != LocalNetwork::Off
            && engine.settings().local_network != Some(false)
    }

    /// Begins and ends what this device does on the local network; whom it should call.
    /// `calling`: somebody is being called already.
    pub(super) async fn look_around(&mut self, calling: bool) -> Option<Call> {
        let call = self.find_call(calling).await;
        self.tell_met();
        call
    }

    async fn find_call(&mut self, calling: bool) -> Option<Call> {
        if !self.needs_local() {
            if let Some(local) = self.local.take() {
                if self.at.is_some_and(|at| at != At::Server) {
                    self.disconnected().await;
                }
                local.end().await;
            }
            return None;
        }
        let engine = self.engine()?;
        let device = &self.machine.as_ref()?.device;
        if self.local.is_none() {
            let clock = Arc::clone(&engine.inner.options.clock);
            let network = &engine.inner.options.local_network;
            match Local::start(network, device, self.store.clone(), clock) {
                Ok(local) => self.local = Some(local),
                Err(error) => {
                    tracing::warn!(%error, "the local network can't be used");
                    self.quiet_until = tokio::time::Instant::now() + LOOK;
                    return None;
                }
            }
        }
        let now = time(engine.now_ms());
        let ready = device.link() == Link::Live && self.at == Some(At::Own);
        let local = self.local.as_mut()?;
        local.look(device, now, ready);
        if calling {
            return None;
        }
        let call = local.call(device, self.at)?;
        if call.at == At::Own && self.at.is_none() {
            // What the account has learned elsewhere.
            let history = device.control_log().to_vec();
            local.renew(Some(history)).await;
        }
        Some(call)
    }

    /// Tells faces whom this device meets, when that has changed.
    fn tell_met(&mut self) {
        let mut with = Vec::new();
        if let Some(machine) = &self.machine {
            match self.at {
                Some(At::Member(member)) => with.push(member),
                Some(At::Somebody) => {
                    let key = self.connection.as_ref().and_then(|connection| connection.key);
                    let mut members = machine.device.account().members();
                    let found = members.find(|(_, member)| Some(member.keys.transport.0) == key);
                    with.extend(found.map(|(id, _)| *id));
                }
                Some(At::Own) => with.extend(self.local.iter().flat_map(Local::callers)),
                Some(At::Server) | None => {}
            }
            if self.at == Some(At::Server) && machine.device.link() == Link::Live {
                self.server_missed = false;
            }
        }
        if with != self.with {
            self.with = with;
            self.show_state();
            if let Some(engine) = self.engine() {
                engine.tell(EngineEvent::DevicesChanged);
            }
            self.tick.send_modify(|count| *count += 1);
        }
    }

    /// A call on the local network came through, or didn't.
    pub(super) async fn dialed_local(&mut self, called: Called) {
        let Called { call, answer } = called;
        let Some(local) = &mut self.local else { return };
        let connection = match answer {
            Ok(connection) => connection,
            Err(busy) => return local.shun(call.address, busy),
        };
        let right = connection
            .key
            .is_some_and(|key| call.key.is_none_or(|expected| expected.0 == key));
        if !right || self.at == Some(At::Server) {
            connection.sender.close(None);
            return local.shun(call.address, false);
        }
        local.reached(call.address);
        self.disconnected().await;
        let key = VerifyKey(connection.key.unwrap_or_default());
        let exporter = connection.exporter;
        self.connection = Some(connection);
        self.at = Some(call.at);
        self.connected_at = Some(Instant::now());
        self.input(Input::Connected {
            exporter,
            peer: Peer::Device(key),
        })
        .await;
    }
}
