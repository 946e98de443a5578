//! What a device keeps in the operating system's keychain.

use hearth_protocol::codec::{DecodeError, List, Reader, Wire};
use hearth_protocol::hash::hash;
use hearth_protocol::hash::label;
use hearth_protocol::id::{AgreementKey, DeviceKeys, Hash, Link, VerifyKey};
use zeroize::Zeroizing;

use crate::hpke;
use crate::keys::{BadSeed, EpochKey, SigningKey};
use crate::secret::{Random, Secret};

/// Discovery keys that are kept: members that slept through more epochs find each other through a server.
const MAX_DISCOVERY_KEYS: usize = 16;
/// Keys of one kind that are read back: as many as a control log has entries, so that what was written can always be read. More
/// than a few pile up where a server withholds the registry, or takes no acknowledgement.
const MAX_KEYS: usize = hearth_protocol::limits::MAX_CERTIFICATE_CONTROL;

/// A device's keys, and how far its log was when it last wrote: a database from a backup is told by it.
///
/// It never travels. Replaced as a whole with every `Output::Keychain`.
#[derive(Debug, Clone)]
pub struct Keychain {
    /// Seed of the log key.
    pub log: Secret,
    /// Seed of the transport key.
    pub transport: Secret,
    /// Agreement keys, newest last; more than one only while a server hasn't accepted the newest.
    pub(crate) agreement: Vec<Secret>,
    /// Epoch keys: the newest last; the one before only until the new table is read.
    pub(crate) epochs: Vec<EpochKey>,
    /// An epoch that this device proposes, until the control log has it or another.
    pub(crate) proposed: Option<EpochKey>,
    /// Discovery keys of epochs, newest last.
    pub(crate) discovery: Vec<Secret>,
    /// The number of the last item of the own log that was given out.
    pub(crate) seq: u64,
    /// Its link.
    pub(crate) link: Link,
}

impl Keychain {
    /// Fresh keys, for a new device.
    pub fn random(random: &mut dyn Random) -> Self {
        Self {
            log: Secret::random(random),
            transport: Secret::random(random),
            agreement: vec![Secret::random(random)],
            epochs: Vec::new(),
            proposed: None,
            discovery: Vec::new(),
            seq: 0,
            link: Link([0; 32]),
        }
    }

    /// The key that signs.
    pub fn signing(&self) -> Result<SigningKey, BadSeed> {
        SigningKey::from_seed(&self.log)
    }

    /// The public keys, as an enrolment names them.
    pub fn public(&self) -> Result<DeviceKeys, BadSeed> {
        Ok(DeviceKeys {
            log: self.signing()?.public(),
            transport: self.transport_public()?,
            agreement: self.newest_agreement(),
        })
    }

    /// The public key of the device's TLS certificate.
    pub fn transport_public(&self) -> Result<VerifyKey, BadSeed> {
        Ok(SigningKey::from_seed(&self.transport)?.public())
    }

    pub(crate) fn newest_agreement(&self) -> AgreementKey {
        self.agreement
            .last()
            .map_or(AgreementKey([0; 32]), hpke::public_key)
    }

    /// The private key of a public one, unless it was destroyed.
    pub(crate) fn private(&self, public: &AgreementKey) -> Option<&Secret> {
        self.agreement.iter().find(|key| hpke::public_key(key) == *public)
    }

    pub(crate) fn epoch(&self, number: u64) -> Option<&EpochKey> {
        self.epochs.iter().find(|key| key.number == number)
    }

    /// Discovery keys for the local network: of this epoch and of earlier ones, newest first.
    pub fn discovery_keys(&self) -> impl Iterator<Item = &Secret> {
        self.discovery.iter().rev()
    }

    pub(crate) fn remember_discovery(&mut self, key: Secret) {
        self.discovery.push(key);
        if self.discovery.len() > MAX_DISCOVERY_KEYS {
            self.discovery.remove(0);
        }
    }

    /// Whether every key that opens something in `older` is here, too. Else what holds `older` must be gone from the disk before
    /// anybody is told that the keys are.
    pub fn has_all_of(&self, older: &Self) -> bool {
        let opens = |keys: &Self| -> Vec<Secret> {
            let epochs = keys.epochs.iter().chain(&keys.proposed);
            let epochs = epochs.map(|epoch| epoch.key.clone());
            keys.agreement.iter().cloned().chain(epochs).collect()
        };
        let here = opens(self);
        opens(older)
            .iter()
            .all(|old| here.iter().any(|key| key.expose() == old.expose()))
    }

    /// As bytes, for the operating system's keychain.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(1024));
        out.push(1);
        self.log.expose().write(&mut out);
        self.transport.expose().write(&mut out);
        secrets(&self.agreement, &mut out);
        for list in [&self.epochs[..], self.proposed.as_slice()] {
            (list.len() as u64).write(&mut out);
            for key in list {
                key.number.write(&mut out);
                key.key.expose().write(&mut out);
            }
        }
        secrets(&self.discovery, &mut out);
        self.seq.write(&mut out);
        self.link.write(&mut out);
        let check = hash(label::POSITION, &[&out]);
        check.write(&mut out);
        out
    }

    /// Reads [`Keychain::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (content, check) = bytes
            .split_at_checked(bytes.len().saturating_sub(Hash::LENGTH))
            .ok_or(DecodeError::Truncated)?;
        if hash(label::POSITION, &[content]).0.as_slice() != check {
            return Err(DecodeError::NotCanonical);
        }
        let mut reader = Reader::new(content);
        if reader.byte()? != 1 {
            return Err(DecodeError::UnknownTag(0));
        }
        let log = Secret::new(Wire::read(&mut reader)?);
        let transport = Secret::new(Wire::read(&mut reader)?);
        let agreement = read_secrets(&mut reader)?;
        let epochs = read_epochs(&mut reader)?;
        let proposed = read_epochs(&mut reader)?.pop();
        let discovery = read_secrets(&mut reader)?;
        Ok(Self {
            log,
            transport,
            agreement,
            epochs,
            proposed,
            discovery,
            seq: Wire::read(&mut reader)?,
            link: Wire::read(&mut reader)?,
        })
    }
}

fn secrets(list: &[Secret], out: &mut Vec<u8>) {
    (list.len() as u64).write(out);
    for secret in list {
        secret.expose().write(out);
    }
}

fn read_secrets(reader: &mut Reader<'_>) -> Result<Vec<Secret>, DecodeError> {
    let list: List<[u8; 32], MAX_KEYS> = Wire::read(reader)?;
    Ok(list.iter().map(|bytes| Secret::new(*bytes)).collect())
}

fn read_epochs(reader: &mut Reader<'_>) -> Result<Vec<EpochKey>, DecodeError> {
    let count = reader.count(MAX_KEYS, 33)?;
    (0..count)
        .map(|_| {
            Ok(EpochKey {
                number: Wire::read(reader)?,
                key: Secret::new(Wire::read(reader)?),
            })
        })
        .collect()
}
