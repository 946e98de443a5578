//! What a control log means: replayed entry by entry, it says who belongs, which epoch runs and what a revocation cut off.

use std::collections::BTreeMap;

use super::{
    Action, ControlEntry, Epoch, EpochWraps, Recover, RecoveryKeys, ServerIdentity, Unite, device_proof_id,
    genesis_approval_id, phrase_id, wraps_hash,
};
use crate::codec::{DecodeError, Wire};
use crate::erasure::EraseSet;
use crate::hash::{BadSignature, verify};
use crate::id::{AccountId, DeviceId, DeviceKeys, Hash, Link, LogId, Signature};
use crate::limits::{
    MAX_CONTROL_ENTRY_BYTES, MAX_DEVICES, MAX_DEVICES_EVER, MAX_REVOCATIONS, MAX_UNITES, RECOVERY_RESERVE,
};
use crate::vector::{Head, VersionVector};

/// Why an entry doesn't follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The first entry isn't a genesis, or a later one is.
    #[error("a genesis is the first entry, and no other is")]
    Genesis,
    /// The entry doesn't name the head: the log has grown or forked.
    #[error("the entry doesn't follow the head of the control log")]
    NotNext,
    /// The author isn't a member at this point.
    #[error("the author is not a member")]
    NotMember,
    /// A signature is wrong.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The device was enrolled before: a device that comes back needs new keys.
    #[error("the device was enrolled before")]
    EnrolledBefore,
    /// The account is full.
    #[error("the account has as many devices as it may")]
    TooManyDevices,
    /// The target isn't a member, or one that stays isn't.
    #[error("the device that is named is not a member")]
    TargetNotMember,
    /// The epoch doesn't follow, or names a membership that has changed: it has to be issued again.
    #[error("the epoch doesn't fit the membership")]
    Epoch,
    /// The wraps aren't those that the epoch names, or aren't for exactly the members.
    #[error("the epoch's wraps don't fit")]
    Wraps,
    /// The losing branch doesn't begin in this log, or holds what can't lose.
    #[error("the losing branch doesn't fit")]
    Branch,
    /// An entry of the losing branch doesn't decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The entry is larger than a losing branch could bring in.
    #[error("the control entry is too large")]
    TooLarge,
    /// The log has as many revocations, reunions or devices ever enrolled as it may. Of the first and the last the phrase
    /// has some left that no device can use up.
    #[error("the control log has as many entries of this kind as it may")]
    TooMany,
}

/// A device that is or was enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its keys.
    pub keys: DeviceKeys,
    /// The number of the entry that enrolled it.
    pub enrolled: u64,
    /// Who enrolled it; the first device, and one that the phrase let in: itself.
    pub by: DeviceId,
    /// The revocation that ended it, as an index into [`Account::revocations`].
    pub revoked: Option<usize>,
}

/// What a revocation cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The number of the entry.
    pub number: u64,
    /// The generation from here on.
    pub generation: u32,
    /// Where every log stood.
    pub cut: VersionVector,
    /// The erasures of the devices shut out that stay valid.
    pub erasures: EraseSet,
}

/// The state after some entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    id: AccountId,
    head: Hash,
    number: u64,
    membership: Hash,
    generation: u32,
    min_version: u16,
    devices: BTreeMap<DeviceId, Member>,
    revocations: Vec<Revocation>,
    epoch: Option<(Hash, Epoch)>,
    recovery: RecoveryKeys,
    server: Option<ServerIdentity>,
    unites: usize,
}

impl Account {
    /// The state after the genesis.
    pub fn open(entry: &ControlEntry) -> Result<Self, ControlError> {
        let account = Self::open_trusted(entry)?;
        if let Action::Genesis(genesis) = &entry.statement.action {
            entry.verify(&account.id, &genesis.device.log)?;
            let approved = genesis_approval_id(&entry.statement);
            verify(&genesis.recovery.signing, &approved, &genesis.approval)?;
        }
        Ok(account)
    }

    /// As [`open`](Self::open), without looking at the signature.
    fn open_trusted(entry: &ControlEntry) -> Result<Self, ControlError> {
        let Action::Genesis(genesis) = &entry.statement.action else {
            return Err(ControlError::Genesis);
        };
        let id = entry.opens().ok_or(ControlError::Genesis)?;
        let device = genesis.device.device_id();
        let statement = &entry.statement;
        if statement.number != 0 || statement.previous != Hash::ZERO {
            return Err(ControlError::Genesis);
        }
        if statement.author != device {
            return Err(ControlError::NotMember);
        }
        let member = Member {
            keys: genesis.device,
            enrolled: 0,
            by: device,
            revoked: None,
        };
        Ok(Self {
            id,
            head: Hash(id.0),
            number: 0,
            membership: Hash(id.0),
            generation: 0,
            min_version: 0,
            devices: BTreeMap::from([(device, member)]),
            revocations: Vec::new(),
            epoch: None,
            recovery: genesis.recovery,
            server: genesis.server.clone(),
            unites: 0,
        })
    }

    /// The state after entries that were checked before, when they were taken: genesis first. It looks only at whether
    /// they are a chain, so it costs a hash an entry and no signature.
    pub fn resume<'a>(mut entries: impl Iterator<Item = &'a ControlEntry>) -> Result<Self, ControlError> {
        let mut account = Self::open_trusted(entries.next().ok_or(ControlError::Genesis)?)?;
        entries.try_for_each(|entry| account.append_trusted(entry))?;
        Ok(account)
    }

    /// Takes the next of entries that were checked before: as [`resume`](Self::resume).
    pub fn append_trusted(&mut self, entry: &ControlEntry) -> Result<(), ControlError> {
        if Some(entry.statement.number) != self.number.checked_add(1) || entry.statement.previous != self.head
        {
            return Err(ControlError::NotNext);
        }
        let losing = match &entry.statement.action {
            Action::Genesis(_) => return Err(ControlError::Genesis),
            Action::Unite(both) => decode_losing(both)?,
            _ => Vec::new(),
        };
        self.apply(entry, entry.id(&self.id), &losing);
        Ok(())
    }

    /// The state after all of these entries, the first a genesis.
    pub fn replay(entries: &[ControlEntry]) -> Result<Self, ControlError> {
        let (first, rest) = entries.split_first().ok_or(ControlError::Genesis)?;
        let mut account = Self::open(first)?;
        for entry in rest {
            account.append(entry, entries)?;
        }
        Ok(account)
    }

    /// Takes the next entry, or leaves the state as it was: everything is checked before anything changes.
    ///
    /// `history` holds the entries up to the head at least, genesis first, as they were taken here; only a `Unite` looks
    /// at it. Its signatures were checked when they were taken and aren't checked again: else reunions within reunions
    /// would cost exponential time.
    pub fn append(&mut self, entry: &ControlEntry, history: &[ControlEntry]) -> Result<(), ControlError> {
        let id = self.check(entry)?;
        let losing = match &entry.statement.action {
            Action::Unite(both) => self.check_branch(both, history)?,
            _ => Vec::new(),
        };
        self.apply(entry, id, &losing);
        Ok(())
    }

    /// Everything about an entry but a `Unite`'s other branch. Gives the entry's id.
    fn check(&self, entry: &ControlEntry) -> Result<Hash, ControlError> {
        let statement = &entry.statement;
        if Some(statement.number) != self.number.checked_add(1) || statement.previous != self.head {
            return Err(ControlError::NotNext);
        }
        if entry.encode().len() > MAX_CONTROL_ENTRY_BYTES {
            return Err(ControlError::TooLarge);
        }
        let id = entry.id(&self.id);
        let signer = if let Action::Recover(_) = &statement.action {
            &self.recovery.signing
        } else {
            &self
                .member(&statement.author)
                .ok_or(ControlError::NotMember)?
                .keys
                .log
        };
        verify(signer, &id, &entry.signature)?;
        match &statement.action {
            Action::Genesis(_) => return Err(ControlError::Genesis),
            Action::Enrol(enrol) => {
                let remaining = self.members().count();
                if self.devices.len() >= MAX_DEVICES_EVER {
                    return Err(ControlError::TooMany);
                }
                self.check_new(&enrol.device, &enrol.proof, &enrol.transcript, remaining)?;
            }
            Action::Revoke(revoke) => {
                self.member(&revoke.target).ok_or(ControlError::TargetNotMember)?;
                if self.revocations.len() >= MAX_REVOCATIONS {
                    return Err(ControlError::TooMany);
                }
            }
            Action::Epoch(epoch) => self.check_epoch(epoch)?,
            Action::Recover(recover) => self.check_recovery(recover, &statement.author)?,
            Action::Phrase(phrase) => {
                let handed_over = phrase_id(&self.id, &statement.previous, &phrase.recovery);
                verify(&self.recovery.signing, &handed_over, &phrase.approval)?;
                verify(&phrase.recovery.signing, &handed_over, &phrase.acceptance)?;
            }
            Action::Unite(_) if self.unites >= MAX_UNITES => return Err(ControlError::TooMany),
            Action::ServerChange(_) | Action::Unite(_) => {}
        }
        Ok(id)
    }

    /// Takes an entry that was checked. `losing` is the other branch of a `Unite`.
    fn apply(&mut self, entry: &ControlEntry, id: Hash, losing: &[ControlEntry]) {
        let statement = &entry.statement;
        match &statement.action {
            Action::Genesis(_) => {}
            Action::Enrol(enrol) => self.admit(&enrol.device, statement.author, statement.number),
            Action::Revoke(revoke) => {
                self.shut_out(&[revoke.target], &revoke.cut, &revoke.erasures, statement.number);
            }
            Action::Epoch(epoch) => {
                self.min_version = epoch.min_version;
                self.epoch = Some((id, (**epoch).clone()));
            }
            Action::Recover(recover) => {
                let gone: Vec<DeviceId> = self
                    .members()
                    .map(|(device, _)| *device)
                    .filter(|device| !recover.keep.contains(device))
                    .collect();
                self.shut_out(&gone, &recover.cut, &recover.erasures, statement.number);
                self.admit(&recover.device, statement.author, statement.number);
            }
            Action::Phrase(phrase) => self.recovery = phrase.recovery,
            Action::ServerChange(change) => self.server.clone_from(&change.server),
            Action::Unite(_) => {
                self.unites += 1;
                let fork = losing.first().map_or(u64::MAX, |first| first.statement.number);
                for entry in losing {
                    if let Action::Revoke(revoke) = &entry.statement.action
                        && self.devices.contains_key(&revoke.target)
                    {
                        let out = self.let_in_since(revoke.target, fork);
                        if !out.is_empty() {
                            self.shut_out(&out, &revoke.cut, &revoke.erasures, statement.number);
                        }
                    }
                }
            }
        }
        if matches!(
            statement.action,
            Action::Enrol(_) | Action::Revoke(_) | Action::Recover(_) | Action::Unite(_)
        ) {
            self.membership = id;
        }
        self.head = id;
        self.number = statement.number;
    }

    /// Whether these keys may join `remaining` members.
    fn check_new(
        &self,
        keys: &DeviceKeys,
        proof: &Signature,
        transcript: &Hash,
        remaining: usize,
    ) -> Result<(), ControlError> {
        verify(&keys.log, &device_proof_id(&self.id, keys, transcript), proof)?;
        if self.devices.contains_key(&keys.device_id()) {
            return Err(ControlError::EnrolledBefore);
        }
        if remaining >= MAX_DEVICES {
            return Err(ControlError::TooManyDevices);
        }
        Ok(())
    }

    fn admit(&mut self, keys: &DeviceKeys, by: DeviceId, number: u64) {
        let member = Member {
            keys: *keys,
            enrolled: number,
            by,
            revoked: None,
        };
        self.devices.insert(keys.device_id(), member);
    }

    /// A device and whom it let in from this entry on, and whom those did: as far as they are members.
    fn let_in_since(&self, device: DeviceId, number: u64) -> Vec<DeviceId> {
        let mut all = vec![device];
        let mut place = 0;
        while let Some(by) = all.get(place).copied() {
            let theirs = self
                .devices
                .iter()
                .filter(|(id, member)| member.by == by && member.enrolled >= number && !all.contains(id));
            let theirs: Vec<DeviceId> = theirs.map(|(id, _)| *id).collect();
            all.extend(theirs);
            place += 1;
        }
        all.retain(|id| self.member(id).is_some());
        all
    }

    fn shut_out(&mut self, targets: &[DeviceId], cut: &VersionVector, erasures: &EraseSet, number: u64) {
        self.generation = self.generation.saturating_add(1);
        self.revocations.push(Revocation {
            number,
            generation: self.generation,
            cut: cut.clone(),
            erasures: erasures.clone(),
        });
        let index = self.revocations.len() - 1;
        for target in targets {
            if let Some(member) = self.devices.get_mut(target) {
                member.revoked.get_or_insert(index);
            }
        }
    }

    fn check_epoch(&self, epoch: &Epoch) -> Result<(), ControlError> {
        let expected = self
            .epoch
            .as_ref()
            .map_or(Some(1), |(_, last)| last.number.checked_add(1));
        let fits = Some(epoch.number) == expected
            && epoch.membership == self.membership
            && epoch.min_version >= self.min_version;
        if fits { Ok(()) } else { Err(ControlError::Epoch) }
    }

    fn check_recovery(&self, recover: &Recover, author: &DeviceId) -> Result<(), ControlError> {
        if recover.device.device_id() != *author {
            return Err(ControlError::NotMember);
        }
        if recover.keep.iter().any(|device| self.member(device).is_none()) {
            return Err(ControlError::TargetNotMember);
        }
        if self.revocations.len() >= MAX_REVOCATIONS + RECOVERY_RESERVE
            || self.devices.len() >= MAX_DEVICES_EVER + RECOVERY_RESERVE
        {
            return Err(ControlError::TooMany);
        }
        self.check_new(&recover.device, &recover.proof, &Hash::ZERO, recover.keep.len())
    }

    /// Replays the losing branch from the fork on, and gives its entries.
    fn check_branch(
        &self,
        both: &Unite,
        history: &[ControlEntry],
    ) -> Result<Vec<ControlEntry>, ControlError> {
        let losing = decode_losing(both)?;
        let first = losing.first().ok_or(ControlError::Branch)?;
        // The shared part ends before the losing branch's first entry, and that entry isn't in this log.
        let shared = usize::try_from(first.statement.number).map_err(|_| ControlError::Branch)?;
        if first.statement.number > self.number {
            return Err(ControlError::Branch);
        }
        let before = history.get(..shared).ok_or(ControlError::Branch)?;
        let mut branch = Self::resume(before.iter())?;
        if branch.id != self.id || branch.head != both.fork {
            return Err(ControlError::Branch);
        }
        if history
            .get(shared)
            .is_some_and(|ours| ours.id(&self.id) == first.id(&self.id))
        {
            return Err(ControlError::Branch);
        }
        for entry in &losing {
            // What outranks a branch can't be in the losing one.
            if matches!(entry.statement.action, Action::Recover(_) | Action::Unite(_)) {
                return Err(ControlError::Branch);
            }
            let id = branch.check(entry)?;
            branch.apply(entry, id, &[]);
        }
        // What the losing branch revokes counts here too, and so does its room.
        let brought = losing
            .iter()
            .filter(|entry| matches!(entry.statement.action, Action::Revoke(_)))
            .count();
        if self.revocations.len() + brought > MAX_REVOCATIONS + RECOVERY_RESERVE {
            return Err(ControlError::TooMany);
        }
        Ok(losing)
    }

    /// Checks the wraps of the running epoch: those it names, for exactly the members.
    pub fn check_wraps(&self, wraps: &EpochWraps) -> Result<(), ControlError> {
        let (_, epoch) = self.epoch.as_ref().ok_or(ControlError::Wraps)?;
        let for_members = wraps
            .devices
            .iter()
            .map(|(device, _)| device)
            .eq(self.members().map(|(id, _)| id));
        let for_phrase = wraps.recovery.to == self.recovery.agreement;
        if for_members && for_phrase && wraps_hash(&self.id, wraps) == epoch.wraps {
            Ok(())
        } else {
            Err(ControlError::Wraps)
        }
    }

    /// A device that belongs to the account now.
    pub fn member(&self, device: &DeviceId) -> Option<&Member> {
        self.devices.get(device).filter(|member| member.revoked.is_none())
    }

    /// The devices that belong to the account now.
    pub fn members(&self) -> impl Iterator<Item = (&DeviceId, &Member)> {
        self.devices.iter().filter(|(_, member)| member.revoked.is_none())
    }

    /// Every device that ever belonged to it.
    pub fn devices(&self) -> &BTreeMap<DeviceId, Member> {
        &self.devices
    }

    /// Whether an item of a log of this device is its own to write: a revoked device's only up to the cut.
    pub fn accepts_item(&self, device: &DeviceId, log: &LogId, seq: u64) -> bool {
        self.devices
            .get(device)
            .is_some_and(|member| match self.ended_by(member) {
                None => true,
                Some(revocation) => revocation.cut.get(log).is_some_and(|head| seq <= head.seq),
            })
    }

    /// The last item of a log of this device that is its own to write: as [`accepts_item`](Self::accepts_item).
    pub fn last_item(&self, device: &DeviceId, log: &LogId) -> u64 {
        match self.devices.get(device) {
            None => 0,
            Some(member) => self.ended_by(member).map_or(u64::MAX, |revocation| {
                revocation.cut.get(log).map_or(0, |head| head.seq)
            }),
        }
    }

    /// Where a revocation has cut off a log of this device; none: it wasn't shut out.
    pub fn last_head(&self, device: &DeviceId, log: &LogId) -> Option<Head> {
        let ended = self.ended_by(self.devices.get(device)?)?;
        let nothing = Head {
            seq: 0,
            link: Link([0; 32]),
        };
        Some(ended.cut.get(log).copied().unwrap_or(nothing))
    }

    /// Whether an erasure of a log of this device counts.
    pub fn accepts_erasure(&self, device: &DeviceId, log: &LogId, number: u64) -> bool {
        self.devices
            .get(device)
            .is_some_and(|member| match self.ended_by(member) {
                None => true,
                Some(revocation) => revocation.erasures.get(log).is_some_and(|last| number <= *last),
            })
    }

    /// Whether an envelope is void: written beyond a revocation's cut with a key from before that revocation. It keeps
    /// its place in the chain, and its author writes it again.
    pub fn is_void(&self, log: &LogId, seq: u64, generation: u32) -> bool {
        self.revocations.iter().any(|revocation| {
            generation < revocation.generation && revocation.cut.get(log).is_none_or(|head| seq > head.seq)
        })
    }

    /// Whether an envelope of this device is void because of its generation: nobody who was shut out knew of that
    /// revocation when it wrote, nor of one after it.
    pub fn is_ahead(&self, device: &DeviceId, generation: u32) -> bool {
        self.shut_out_in(device).is_some_and(|ended| generation >= ended)
    }

    /// The generation that began when this device was shut out; none: it wasn't.
    pub fn shut_out_in(&self, device: &DeviceId) -> Option<u32> {
        let ended = self.ended_by(self.devices.get(device)?)?;
        Some(ended.generation)
    }

    fn ended_by(&self, member: &Member) -> Option<&Revocation> {
        member.revoked.and_then(|index| self.revocations.get(index))
    }

    /// The account.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// The newest entry.
    pub fn head(&self) -> Hash {
        self.head
    }

    /// Its number; the genesis has 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The newest entry that changed who is a member.
    pub fn membership(&self) -> Hash {
        self.membership
    }

    /// How many revocations there were: the generation of the document keys written with now.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The lowest protocol version that the account's devices speak.
    pub fn min_version(&self) -> u16 {
        self.min_version
    }

    /// The running epoch, with its entry's id.
    pub fn epoch(&self) -> Option<(Hash, &Epoch)> {
        self.epoch.as_ref().map(|(id, epoch)| (*id, epoch))
    }

    /// The phrase's keys.
    pub fn recovery(&self) -> &RecoveryKeys {
        &self.recovery
    }

    /// Where the account lives.
    pub fn server(&self) -> Option<&ServerIdentity> {
        self.server.as_ref()
    }

    /// Every revocation, oldest first.
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }
}

fn decode_losing(both: &Unite) -> Result<Vec<ControlEntry>, ControlError> {
    let decoded = both.losing.iter().map(|bytes| ControlEntry::decode(bytes));
    Ok(decoded.collect::<Result<_, _>>()?)
}

/// Whether the first of two branches of a forked log wins: one with a recovery, else the longer one, else the one whose
/// first entry has the lower id.
pub fn wins(account: &AccountId, ours: &[ControlEntry], theirs: &[ControlEntry]) -> bool {
    let rank = |branch: &[ControlEntry]| {
        let recovers = branch
            .iter()
            .any(|entry| matches!(entry.statement.action, Action::Recover(_)));
        let first = branch.first().map_or(Hash([0xff; 32]), |entry| entry.id(account));
        (recovers, branch.len(), std::cmp::Reverse(first))
    };
    rank(ours) > rank(theirs)
}
