//! The control log: who belongs to the account. A chain that grows by compare-and-swap on its head.

mod account;

pub use account::{Account, ControlError, Member, Revocation, wins};

use crate::codec::{Blob, List, Map, Wire, wire_code, wire_enum, wire_struct};
use crate::erasure::EraseSet;
use crate::hash::{BadSignature, Statement, hash, label, verify};
use crate::id::{AccountId, AgreementKey, DeviceId, DeviceKeys, Hash, Signature, TimeMs, VerifyKey};
use crate::limits::{MAX_CONTROL_ENTRY_BYTES, MAX_DEVICES, MAX_LOSING_ENTRIES, MAX_TEXT_BYTES};
use crate::vector::VersionVector;

wire_struct! {
    /// A server, by the key that proves it in every session, whatever certificate it shows.
    pub struct ServerIdentity {
        /// Signs the session proof and erase receipts.
        pub key: VerifyKey,
        /// `host:port`.
        pub endpoint: Text255,
    }
}

/// A short text.
pub type Text255 = crate::codec::Text<MAX_TEXT_BYTES>;

wire_struct! {
    /// The public half of the recovery phrase.
    #[derive(Copy)]
    pub struct RecoveryKeys {
        /// Signs `Recover` and `Phrase`.
        pub signing: VerifyKey,
        /// Every epoch key is wrapped to it.
        pub agreement: AgreementKey,
    }
}

wire_struct! {
    /// The first entry. Its id is the account's.
    pub struct Genesis {
        /// Fresh random bytes, so that two accounts of the same keys differ.
        pub nonce: [u8; 16],
        /// The first device.
        pub device: DeviceKeys,
        /// The phrase.
        pub recovery: RecoveryKeys,
        /// Where the account lives first; none for an account that has never had a server.
        pub server: Option<ServerIdentity>,
        /// By the phrase's signing key, over [`genesis_approval_id`]: whoever has nothing but the words knows by it that an
        /// account is theirs, and not one that a server made up around the phrase's public keys.
        pub approval: Signature,
    }
}

wire_struct! {
    /// A device is let in.
    pub struct Enrol {
        /// Its keys.
        pub device: DeviceKeys,
        /// Signature of the new device's log key over [`device_proof_id`]: nobody enrols a key that isn't theirs.
        pub proof: Signature,
        /// The pairing's transcript, which both sides compared.
        pub transcript: Hash,
    }
}

wire_code! {
    /// Why a device is revoked: shown, and decides nothing.
    pub enum RevokeReason: u8 {
        /// It is no longer used.
        Retired = 1,
        /// Lost or stolen.
        Lost = 2,
        /// A copy of it turned up, and it enrols again.
        Copied = 3,
    }
}

wire_struct! {
    /// A device is shut out.
    pub struct Revoke {
        /// The device. A device may revoke itself.
        pub target: DeviceId,
        /// Why.
        pub reason: RevokeReason,
        /// Where every log stood: beyond it the target's items are refused, and others' under older generations are void.
        pub cut: VersionVector,
        /// The target's erasures that stay valid, as (log, highest number) of its logs.
        pub erasures: EraseSet,
    }
}

wire_struct! {
    /// A new epoch key, and the end of the one before.
    pub struct Epoch {
        /// Counts from 1.
        pub number: u64,
        /// The last entry that changed who is a member: the wraps are for exactly these.
        pub membership: Hash,
        /// Commits to the key, so that everybody has the same one.
        pub commitment: Hash,
        /// Hash of the [`EpochWraps`], which travel beside the entry and are dropped at the next epoch.
        pub wraps: Hash,
        /// The registry's table under this epoch.
        pub table: Hash,
        /// Erasures whose keys end with the epoch before.
        pub ends: List<Hash, { crate::limits::MAX_EPOCH_ERASURES }>,
        /// No device of the account speaks a lower version from here on.
        pub min_version: u16,
    }
}

wire_struct! {
    /// One wrap of an epoch key: HPKE, base mode.
    pub struct Wrap {
        /// The agreement key it is for.
        pub to: AgreementKey,
        /// HPKE's encapsulated key.
        pub encapsulated: [u8; 32],
        /// The epoch key and its tag.
        pub sealed: [u8; 48],
    }
}

wire_struct! {
    /// An epoch key, for every member and for the recovery phrase.
    pub struct EpochWraps {
        /// By device.
        pub devices: Map<DeviceId, Wrap, MAX_DEVICES>,
        /// For the phrase.
        pub recovery: Wrap,
    }
}

wire_struct! {
    /// The phrase lets a device in, and may shut out all others.
    pub struct Recover {
        /// The new device.
        pub device: DeviceKeys,
        /// As in [`Enrol::proof`].
        pub proof: Signature,
        /// Devices that stay. All others are revoked; the phrase outranks revocations made at the same time.
        pub keep: crate::codec::Set<DeviceId, MAX_DEVICES>,
        /// Where the logs of those that don't stay are cut: as in [`Revoke::cut`].
        pub cut: VersionVector,
        /// As in [`Revoke::erasures`].
        pub erasures: EraseSet,
    }
}

wire_struct! {
    /// A new recovery phrase. Signed by the old phrase's key and by the new one's beside the author's.
    pub struct Phrase {
        /// Its keys.
        pub recovery: RecoveryKeys,
        /// By the old phrase's signing key, over [`phrase_id`].
        pub approval: Signature,
        /// By the new phrase's signing key, over the same: nobody hands an account over to a phrase that isn't theirs.
        pub acceptance: Signature,
    }
}

wire_struct! {
    /// The account moves.
    pub struct ServerChange {
        /// To this server; to none, when it stays on the local network.
        pub server: Option<ServerIdentity>,
    }
}

wire_struct! {
    /// Brings in what a losing branch had said, after a server had let the log fork.
    pub struct Unite {
        /// The last entry that both branches share.
        pub fork: Hash,
        /// The entries of the other branch, encoded, in order. Their revocations count; their other entries don't.
        pub losing: List<Blob<MAX_CONTROL_ENTRY_BYTES>, MAX_LOSING_ENTRIES>,
    }
}

wire_enum! {
    /// What an entry does.
    pub enum Action {
        /// Opens the account.
        1 => Genesis(Box<Genesis>),
        /// Lets a device in.
        2 => Enrol(Box<Enrol>),
        /// Shuts a device out.
        3 => Revoke(Box<Revoke>),
        /// Changes the epoch key.
        4 => Epoch(Box<Epoch>),
        /// The phrase lets a device in.
        5 => Recover(Box<Recover>),
        /// Changes the phrase.
        6 => Phrase(Box<Phrase>),
        /// Moves the account.
        7 => ServerChange(Box<ServerChange>),
        /// Ends a fork.
        8 => Unite(Box<Unite>),
    }
}

wire_struct! {
    /// A statement of the control log.
    pub struct ControlStatement {
        /// Its place: 0 is the genesis.
        pub number: u64,
        /// The entry before; [`Hash::ZERO`] at the genesis.
        pub previous: Hash,
        /// Whose log key signs; at `Recover` the new device, and the phrase's key signs instead.
        pub author: DeviceId,
        /// When, by the author's clock.
        pub at: TimeMs,
        /// What it does.
        pub action: Action,
    }
}

wire_struct! {
    /// An entry of the control log.
    pub struct ControlEntry {
        /// What it says.
        pub statement: ControlStatement,
        /// By the author's log key (at `Recover`: by the phrase's signing key), over the statement's id.
        pub signature: Signature,
    }
}

impl Statement for ControlStatement {
    const LABEL: &'static str = label::CONTROL;
}

impl ControlEntry {
    /// The account that this entry opens, if it is a genesis.
    pub fn opens(&self) -> Option<AccountId> {
        match self.statement.action {
            Action::Genesis(_) => Some(AccountId(self.id(&AccountId([0; 32])).0)),
            _ => None,
        }
    }

    /// The entry's id, which the next entry names. A genesis is hashed with an account of zeros.
    pub fn id(&self, account: &AccountId) -> Hash {
        match self.statement.action {
            Action::Genesis(_) => self.statement.id(&AccountId([0; 32])),
            _ => self.statement.id(account),
        }
    }

    /// Checks the signature.
    pub fn verify(&self, account: &AccountId, key: &VerifyKey) -> Result<(), BadSignature> {
        verify(key, &self.id(account), &self.signature)
    }
}

/// What a new device signs to prove that it holds its log key.
pub fn device_proof_id(account: &AccountId, device: &DeviceKeys, transcript: &Hash) -> Hash {
    hash(
        label::DEVICE_PROOF,
        &[&account.0, &device.encode(), &transcript.0],
    )
}

/// What the phrase signs of the account it is to recover: the whole entry, with zeros for this signature.
pub fn genesis_approval_id(genesis: &ControlStatement) -> Hash {
    let mut statement = genesis.clone();
    if let Action::Genesis(genesis) = &mut statement.action {
        genesis.approval = Signature([0; 64]);
    }
    hash(label::GENESIS_APPROVAL, &[&statement.encode()])
}

/// What the old phrase signs to hand over to the new one, and the new one to take over: bound to its place in the log.
pub fn phrase_id(account: &AccountId, previous: &Hash, next: &RecoveryKeys) -> Hash {
    hash(label::RECOVERY, &[&account.0, &previous.0, &next.encode()])
}

/// What [`Epoch::wraps`] holds.
pub fn wraps_hash(account: &AccountId, wraps: &EpochWraps) -> Hash {
    hash(label::EPOCH_WRAPS, &[&account.0, &wraps.encode()])
}
