//! By what this device finds the others on the local network, and is found.

use hearth_protocol::control::Action;
use hearth_protocol::id::{DeviceId, Hash, VerifyKey};

use super::Device;
use crate::discovery::{Found, Sign, announce, joining_key, recognize};
use crate::secret::Secret;

impl Device {
    /// What this device announces on the local network in this quarter of an hour. Empty once it was shut out.
    ///
    /// Under the running epoch's key; under earlier ones as long as a member hasn't acknowledged a later one; and for
    /// members that were let in and have no epoch's key yet, under that of their pairing.
    pub fn announcement(&self, now_ms: u64) -> Vec<Sign> {
        announce(&self.announced_keys(), &self.me, now_ms)
    }

    /// Whose announcement this is, if it is of this account: another member, or somebody whom this device can't name.
    pub fn recognize(&self, announced: &[Sign], now_ms: u64) -> Option<Found> {
        let mut keys: Vec<Secret> = self.keys.discovery_keys().cloned().collect();
        keys.extend(self.joining_keys());
        let members = self.account.members().map(|(device, _)| *device);
        let others: Vec<DeviceId> = members.filter(|device| *device != self.me).collect();
        recognize(announced, &keys, others, now_ms)
    }

    /// The transport key of a member.
    pub fn transport_key(&self, device: &DeviceId) -> Option<VerifyKey> {
        let mut members = self.account.members();
        let (_, member) = members.find(|(member, _)| *member == device)?;
        Some(member.keys.transport)
    }

    fn announced_keys(&self) -> Vec<Secret> {
        if self.state.revoked {
            return Vec::new();
        }
        let running = self.account.epoch().map_or(0, |(_, epoch)| epoch.number);
        let behind = self
            .account
            .members()
            .map(|(device, _)| self.on_epoch.get(device).copied().unwrap_or(0))
            .min()
            .unwrap_or(0);
        let earlier = usize::try_from(running.saturating_sub(behind)).unwrap_or(usize::MAX);
        let keys = self.keys.discovery_keys().take(earlier.saturating_add(1));
        let mut keys: Vec<Secret> = keys.cloned().collect();
        keys.extend(self.joining_keys());
        keys
    }

    /// Of those who have no epoch's key yet, as far as is known; of this device, while that is itself.
    fn joining_keys(&self) -> Vec<Secret> {
        let account = self.account.id();
        let own = self
            .state
            .expected
            .as_ref()
            .filter(|_| self.keys.discovery_keys().next().is_none())
            .map(|expected| expected.transcript);
        let others = self
            .history
            .iter()
            .filter_map(|entry| match &entry.statement.action {
                Action::Enrol(enrol) => Some((enrol.device.device_id(), enrol.transcript)),
                _ => None,
            });
        let waiting = others.filter(|(device, transcript)| {
            *transcript != Hash::ZERO
                && !self.on_epoch.contains_key(device)
                && self.account.member(device).is_some()
        });
        own.into_iter()
            .chain(waiting.map(|(_, transcript)| transcript))
            .map(|transcript| joining_key(&account, &transcript))
            .collect()
    }
}
