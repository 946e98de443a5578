//! The certificate of an erasure, out of what was collected.

use hearth_protocol::certificate::{Parts, Report, assemble};
use hearth_protocol::erasure::ServerReceipt;
use hearth_protocol::id::{Hash, TimeMs, VerifyKey};

use std::collections::BTreeMap;

use super::disk::Disk;
use super::record::{Erasure, space};
use super::turn::Turn;
use super::{Device, DeviceError, Journal};

impl Device {
    /// The file of an erasure's certificate and what it says: complete, or provisional with what there is so far. It
    /// tells of the erasure and of every one that follows from it. None: no such erasure.
    pub fn certificate(
        &self,
        erase: &Hash,
        now_ms: u64,
        journal: &dyn Journal,
    ) -> Result<Option<(Vec<u8>, Report)>, DeviceError> {
        if !self.erased.all.get(erase).is_some_and(|known| known.counted) {
            return Ok(None);
        }
        let disk = Disk::new(journal);
        let mut parts = Parts {
            subject: *erase,
            control: self.history.clone(),
            logs: self.logs.values().map(|log| log.open.clone()).collect(),
            erasures: Vec::new(),
            receipts: Vec::new(),
            acks: Vec::new(),
            epoch_acks: Turn::epoch_acks(&disk)?,
            issuer: self.me,
            at: TimeMs { ms: now_ms },
        };
        for id in self.following(erase) {
            let record: Erasure = disk
                .get(space::ERASE, &id.0)?
                .ok_or(DeviceError::Missing(space::ERASE))?;
            parts.erasures.push(record.erase);
            parts.acks.extend(Turn::erase_acks(&disk, &id)?);
            for (key, receipt) in disk.all(space::RECEIPT, &id.0)? {
                if let Some(Ok(server)) = key.get(32..).map(<[u8; 32]>::try_from) {
                    parts.receipts.push(ServerReceipt {
                        server: VerifyKey(server),
                        receipt,
                    });
                }
            }
        }
        Ok(Some(assemble(parts, |id| self.signer.sign(id))?))
    }

    /// An erasure and those that follow from it, each behind the one that it names.
    fn following(&self, erase: &Hash) -> Vec<Hash> {
        let mut following: BTreeMap<Hash, Vec<Hash>> = BTreeMap::new();
        for (other, known) in &self.erased.all {
            if let (Some(because), true) = (known.because, known.counted) {
                following.entry(because).or_default().push(*other);
            }
        }
        let mut ids = vec![*erase];
        let mut place = 0;
        while let Some(id) = ids.get(place).copied() {
            // Each names one other, so nobody comes twice, but for one that names itself through others.
            ids.extend(
                following
                    .remove(&id)
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|other| other != erase),
            );
            place += 1;
        }
        ids
    }
}
