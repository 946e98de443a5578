//! A device's own keys, and the key of an epoch.

use hearth_protocol::control::{Epoch, Wrap};
use hearth_protocol::hash::{Signed, Statement, context, hash, label, signed_bytes};
use hearth_protocol::id::{AccountId, AgreementKey, DeviceId, Hash, Signature, VerifyKey};
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::hpke;
use crate::secret::{DoesNotOpen, Random, Secret, random_bytes};

/// An Ed25519 key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningKey({:?})", self.public)
    }
}

/// A seed doesn't give a key. It can't happen with 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the seed doesn't give a signing key")]
pub struct BadSeed;

impl SigningKey {
    /// The key of a seed (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &Secret) -> Result<Self, BadSeed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| BadSeed)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map(VerifyKey)
            .map_err(|_| BadSeed)?;
        Ok(Self { pair, public })
    }

    /// The public key.
    pub fn public(&self) -> VerifyKey {
        self.public
    }

    /// Vouches for an id.
    pub fn sign(&self, id: &Hash) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(&signed_bytes(id)).as_ref());
        Signature(bytes)
    }

    /// Signs a statement for an account.
    pub fn sign_statement<T: Statement>(&self, account: &AccountId, statement: T) -> Signed<T> {
        Signed {
            signature: self.sign(&statement.id(account)),
            statement,
        }
    }
}

/// The key of an epoch: it seals the table of shard keys and new document keys.
#[derive(Clone, Debug)]
pub struct EpochKey {
    /// The epoch's number.
    pub number: u64,
    /// The key.
    pub key: Secret,
}

impl EpochKey {
    /// A fresh key.
    pub fn random(number: u64, random: &mut dyn Random) -> Self {
        Self {
            number,
            key: Secret::random(random),
        }
    }

    /// What [`Epoch::commitment`] holds.
    pub fn commitment(&self, account: &AccountId) -> Hash {
        hash(
            label::EPOCH_COMMIT,
            &[&account.0, &self.number.to_be_bytes(), self.key.expose()],
        )
    }

    /// Wraps the key for a device, or for the recovery phrase (`None`).
    pub fn wrap(
        &self,
        account: &AccountId,
        membership: &Hash,
        device: Option<&DeviceId>,
        to: &AgreementKey,
        random: &mut dyn Random,
    ) -> Result<Wrap, DoesNotOpen> {
        let info = wrap_info(
            account,
            self.number,
            membership,
            &self.commitment(account),
            device,
        );
        let (encapsulated, bytes) = hpke::seal(to, &info, &[], self.key.expose(), &random_bytes(random))?;
        let sealed = bytes.try_into().map_err(|_| DoesNotOpen)?;
        Ok(Wrap {
            to: *to,
            encapsulated,
            sealed,
        })
    }

    /// Opens a wrap, and checks that the key is the one that the epoch commits to.
    pub fn unwrap(
        account: &AccountId,
        epoch: &Epoch,
        device: Option<&DeviceId>,
        private: &Secret,
        wrap: &Wrap,
    ) -> Result<Self, DoesNotOpen> {
        let info = wrap_info(
            account,
            epoch.number,
            &epoch.membership,
            &epoch.commitment,
            device,
        );
        let opened = hpke::open(private, &wrap.encapsulated, &info, &[], &wrap.sealed)?;
        let key = <[u8; 32]>::try_from(opened)
            .map(Secret::new)
            .map_err(|_| DoesNotOpen)?;
        let this = Self {
            number: epoch.number,
            key,
        };
        if this.commitment(account) == epoch.commitment {
            Ok(this)
        } else {
            Err(DoesNotOpen)
        }
    }

    /// The key of discovery on the local network: it opens nothing, so it may outlive the epoch.
    pub fn discovery_key(&self, account: &AccountId) -> Secret {
        let mut info = context(label::LAN);
        info.extend_from_slice(&account.0);
        crate::secret::derive(&self.key, &[], &info)
    }
}

/// HPKE's info of a wrap. The epoch's entry names the wraps' hash, so they can't name the entry: they name what it says.
fn wrap_info(
    account: &AccountId,
    number: u64,
    membership: &Hash,
    commitment: &Hash,
    device: Option<&DeviceId>,
) -> Vec<u8> {
    let mut info = context(label::EPOCH_WRAP);
    info.extend_from_slice(&account.0);
    info.extend_from_slice(&number.to_be_bytes());
    info.extend_from_slice(&membership.0);
    info.extend_from_slice(&commitment.0);
    info.extend_from_slice(device.map_or(&[0; 32], |device| &device.0));
    info
}
