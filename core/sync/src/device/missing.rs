//! What an erasure still waits for.

use hearth_protocol::control::{Action, Member};
use hearth_protocol::id::{DeviceId, Hash, VerifyKey};

use super::Device;

/// What an erasure still waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StillMissing {
    /// Devices that haven't said that they erased.
    pub acks: Vec<DeviceId>,
    /// No epoch has ended its keys yet.
    pub epoch: bool,
    /// Devices that haven't taken on an epoch at or behind that one.
    pub epoch_acks: Vec<DeviceId>,
    /// Servers without a receipt.
    pub receipts: Vec<VerifyKey>,
}

impl StillMissing {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Device {
    /// What an erasure still waits for; none: it isn't known here.
    pub fn missing(&self, erase: &Hash) -> Option<StillMissing> {
        let known = self.erased.all.get(erase)?;
        // Devices enrolled after the epoch that ended it never had a key of it.
        let end = known.ended.and_then(|epoch| self.epoch_entry(epoch));
        let held = |member: &Member| member.revoked.is_none() && end.is_none_or(|end| member.enrolled < end);
        let devices: Vec<DeviceId> = self
            .account
            .devices()
            .iter()
            .filter(|(_, member)| held(member))
            .map(|(device, _)| *device)
            .collect();
        let acks = devices
            .iter()
            .filter(|device| !known.acks.contains(device))
            .copied()
            .collect();
        let epoch_acks = devices
            .iter()
            .filter(|device| {
                known
                    .ended
                    .is_none_or(|epoch| self.on_epoch.get(device).is_none_or(|number| *number < epoch))
            })
            .copied()
            .collect();
        let receipts = self
            .servers()
            .into_iter()
            .filter(|key| !known.receipts.contains(key))
            .collect();
        Some(StillMissing {
            acks,
            epoch: known.ended.is_none(),
            epoch_acks,
            receipts,
        })
    }

    /// The number of the entry that began an epoch.
    pub(super) fn epoch_entry(&self, number: u64) -> Option<u64> {
        let entry = self
            .history
            .iter()
            .find(|entry| matches!(&entry.statement.action, Action::Epoch(epoch) if epoch.number == number));
        entry.map(|entry| entry.statement.number)
    }

    /// The keys of every server that the control log names, oldest first.
    pub(super) fn servers(&self) -> Vec<VerifyKey> {
        let mut keys = Vec::new();
        for entry in &self.history {
            let server = match &entry.statement.action {
                Action::Genesis(genesis) => genesis.server.as_ref(),
                Action::ServerChange(change) => change.server.as_ref(),
                _ => None,
            };
            if let Some(server) = server
                && !keys.contains(&server.key)
            {
                keys.push(server.key);
            }
        }
        keys
    }
}
