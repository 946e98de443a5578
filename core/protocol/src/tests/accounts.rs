use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::codec::{Map, Set, Wire};
use crate::control::{
    Account, Action, ControlEntry, ControlError, ControlStatement, Enrol, Epoch, EpochWraps, Genesis, Phrase,
    Recover, RecoveryKeys, Revoke, RevokeReason, Unite, Wrap, device_proof_id, genesis_approval_id,
    phrase_id, wins, wraps_hash,
};
use crate::hash::{BadSignature, signed_bytes};
use crate::id::{
    AccountId, AgreementKey, DeviceId, DeviceKeys, Hash, Link, LogId, Signature, TimeMs, VerifyKey,
};
use crate::vector::{Head, VersionVector};

pub(super) fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

pub(super) fn public(seed: u8) -> VerifyKey {
    VerifyKey(key(seed).public_key().as_ref().try_into().unwrap())
}

pub(super) fn sign(seed: u8, id: &Hash) -> Signature {
    Signature(key(seed).sign(&signed_bytes(id)).as_ref().try_into().unwrap())
}

/// Device `n` signs with seed `n`.
pub(super) fn device(n: u8) -> DeviceKeys {
    DeviceKeys {
        log: public(n),
        transport: public(n + 100),
        agreement: AgreementKey([n; 32]),
    }
}

pub(super) fn device_id(n: u8) -> DeviceId {
    device(n).device_id()
}

/// The phrase signs with this seed.
const PHRASE: u8 = 90;

pub(super) fn genesis() -> ControlEntry {
    let mut statement = ControlStatement {
        number: 0,
        previous: Hash::ZERO,
        author: device_id(1),
        at: TimeMs {
            ms: 1_750_000_000_000,
        },
        action: Action::Genesis(Box::new(Genesis {
            nonce: [7; 16],
            device: device(1),
            recovery: RecoveryKeys {
                signing: public(PHRASE),
                agreement: AgreementKey([9; 32]),
            },
            server: None,
            approval: Signature([0; 64]),
        })),
    };
    approve(&mut statement, PHRASE);
    signed(statement, &AccountId([0; 32]), 1)
}

/// Puts in what the phrase signs.
fn approve(statement: &mut ControlStatement, seed: u8) {
    let approval = sign(seed, &genesis_approval_id(statement));
    if let Action::Genesis(genesis) = &mut statement.action {
        genesis.approval = approval;
    }
}

fn signed(statement: ControlStatement, account: &AccountId, seed: u8) -> ControlEntry {
    let mut entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    entry.signature = sign(seed, &entry.id(account));
    entry
}

/// A log with the state it gives.
pub(super) struct Chain {
    pub(super) entries: Vec<ControlEntry>,
    pub(super) state: Account,
}

impl Chain {
    pub(super) fn new() -> Self {
        let first = genesis();
        Self {
            state: Account::open(&first).unwrap(),
            entries: vec![first],
        }
    }

    fn entry(&self, author: u8, action: Action) -> ControlEntry {
        self.entry_signed(author, author, action)
    }

    pub(super) fn entry_signed(&self, author: u8, seed: u8, action: Action) -> ControlEntry {
        let statement = ControlStatement {
            number: self.state.number() + 1,
            previous: self.state.head(),
            author: device_id(author),
            at: TimeMs {
                ms: 1_750_000_000_001,
            },
            action,
        };
        signed(statement, &self.state.id(), seed)
    }

    fn add(&mut self, entry: ControlEntry) -> Result<(), ControlError> {
        let before = self.state.clone();
        let outcome = self.state.append(&entry, &self.entries);
        match outcome {
            Ok(()) => self.entries.push(entry),
            Err(_) => assert_eq!(self.state, before, "a refused entry changed the state"),
        }
        outcome
    }

    pub(super) fn act(&mut self, author: u8, action: Action) -> Result<(), ControlError> {
        self.add(self.entry(author, action))
    }

    pub(super) fn enrol(&mut self, by: u8, new: u8) {
        self.act(by, enrol(&self.state.id(), new)).unwrap();
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            state: self.state.clone(),
        }
    }

    fn members(&self) -> Vec<DeviceId> {
        self.state.members().map(|(id, _)| *id).collect()
    }
}

pub(super) fn enrol(account: &AccountId, new: u8) -> Action {
    let transcript = Hash([new; 32]);
    let proof = sign(new, &device_proof_id(account, &device(new), &transcript));
    Action::Enrol(Box::new(Enrol {
        device: device(new),
        proof,
        transcript,
    }))
}

pub(super) fn revoke(target: u8, cut: VersionVector) -> Action {
    Action::Revoke(Box::new(Revoke {
        target: device_id(target),
        reason: RevokeReason::Lost,
        cut,
        erasures: Map::new([(LogId([target; 16]), 2)]).unwrap(),
    }))
}

pub(super) fn cut(logs: &[(u8, u64)]) -> VersionVector {
    Map::new(logs.iter().map(|(log, seq)| {
        (
            LogId([*log; 16]),
            Head {
                seq: *seq,
                link: Link([*log; 32]),
            },
        )
    }))
    .unwrap()
}

pub(super) fn epoch(chain: &Chain, number: u64) -> Epoch {
    Epoch {
        number,
        membership: chain.state.membership(),
        commitment: Hash([1; 32]),
        wraps: Hash([2; 32]),
        table: Hash([3; 32]),
        ends: crate::codec::List::default(),
        min_version: 1,
    }
}

fn sorted(devices: &[u8]) -> Vec<DeviceId> {
    let mut ids: Vec<DeviceId> = devices.iter().map(|n| device_id(*n)).collect();
    ids.sort();
    ids
}

#[test]
fn devices_come_and_go() {
    let mut chain = Chain::new();
    assert_eq!(chain.members(), sorted(&[1]));
    chain.enrol(1, 2);
    chain.enrol(2, 3);
    assert_eq!(chain.members(), sorted(&[1, 2, 3]));
    chain.act(1, revoke(2, cut(&[(1, 5), (2, 7)]))).unwrap();
    assert_eq!(chain.members(), sorted(&[1, 3]));
    assert_eq!(chain.state.generation(), 1);
    assert_eq!(Account::replay(&chain.entries).unwrap(), chain.state);

    // The device that was shut out can say nothing any more, and can't return with the same keys.
    assert_eq!(chain.act(2, revoke(1, cut(&[]))), Err(ControlError::NotMember));
    let again = enrol(&chain.state.id(), 2);
    assert_eq!(chain.act(1, again), Err(ControlError::EnrolledBefore));
    assert_eq!(
        chain.act(1, revoke(2, cut(&[]))),
        Err(ControlError::TargetNotMember)
    );
}

#[test]
fn a_revocation_cuts_logs_erasures_and_old_keys() {
    let mut chain = Chain::new();
    chain.enrol(1, 2);
    chain.act(1, revoke(2, cut(&[(1, 5), (2, 7)]))).unwrap();
    let state = &chain.state;
    let (one, two, new) = (LogId([1; 16]), LogId([2; 16]), LogId([3; 16]));
    assert!(state.accepts_item(&device_id(2), &two, 7));
    assert!(!state.accepts_item(&device_id(2), &two, 8));
    assert!(
        !state.accepts_item(&device_id(2), &new, 1),
        "a log opened after the cut"
    );
    assert!(state.accepts_item(&device_id(1), &one, 1_000));
    assert!(!state.accepts_item(&device_id(9), &one, 1), "a stranger");
    assert!(state.accepts_erasure(&device_id(2), &two, 2));
    assert!(!state.accepts_erasure(&device_id(2), &two, 3));
    assert!(!state.is_void(&one, 5, 0) && state.is_void(&one, 6, 0) && !state.is_void(&one, 6, 1));
    assert!(state.is_void(&new, 1, 0));
}

#[test]
fn what_is_not_entitled_is_refused() {
    let mut chain = Chain::new();
    // Signed by another key than the author's; a stranger; the wrong place; a second genesis.
    let forged = chain.entry_signed(1, 2, enrol(&chain.state.id(), 2));
    assert_eq!(chain.add(forged), Err(BadSignature.into()));
    assert_eq!(
        chain.act(5, enrol(&chain.state.id(), 5)),
        Err(ControlError::NotMember)
    );
    let mut elsewhere = chain.entry(1, enrol(&chain.state.id(), 2));
    elsewhere.statement.previous = Hash([5; 32]);
    assert_eq!(chain.add(elsewhere), Err(ControlError::NotNext));
    assert_eq!(chain.add(genesis()), Err(ControlError::NotNext));
    let Action::Genesis(inner) = genesis().statement.action else {
        unreachable!()
    };
    assert_eq!(chain.act(1, Action::Genesis(inner)), Err(ControlError::Genesis));

    // A key whose owner didn't sign; a proof made for another account; an entry of another account.
    let Action::Enrol(mut stolen) = enrol(&chain.state.id(), 2) else {
        unreachable!()
    };
    stolen.proof = sign(
        1,
        &device_proof_id(&chain.state.id(), &stolen.device, &stolen.transcript),
    );
    assert_eq!(chain.act(1, Action::Enrol(stolen)), Err(BadSignature.into()));
    assert_eq!(
        chain.act(1, enrol(&AccountId([4; 32]), 2)),
        Err(BadSignature.into())
    );
    let foreign = signed(
        chain.entry(1, enrol(&chain.state.id(), 2)).statement,
        &AccountId([4; 32]),
        1,
    );
    assert_eq!(chain.add(foreign), Err(BadSignature.into()));

    let mut other = genesis();
    other.signature.0[0] ^= 1;
    assert_eq!(Account::open(&other), Err(BadSignature.into()));
    assert_eq!(Account::replay(&[]), Err(ControlError::Genesis));
}

#[test]
fn an_epoch_is_for_the_membership_it_names() {
    let mut chain = Chain::new();
    let wrap = |n: u8| Wrap {
        to: AgreementKey([n; 32]),
        encapsulated: [n; 32],
        sealed: [n; 48],
    };
    let wraps = EpochWraps {
        devices: Map::new([(device_id(1), wrap(1))]).unwrap(),
        recovery: wrap(9),
    };
    let mut first = epoch(&chain, 1);
    first.wraps = wraps_hash(&chain.state.id(), &wraps);
    let early = chain.entry(1, Action::Epoch(Box::new(first.clone())));
    chain.enrol(1, 2);
    assert_eq!(chain.add(early), Err(ControlError::NotNext));
    assert_eq!(
        chain.act(1, Action::Epoch(Box::new(first.clone()))),
        Err(ControlError::Epoch)
    );
    first.membership = chain.state.membership();
    chain.act(2, Action::Epoch(Box::new(first))).unwrap();
    assert_eq!(
        chain.state.check_wraps(&wraps),
        Err(ControlError::Wraps),
        "one member has no wrap"
    );

    let both = EpochWraps {
        devices: Map::new([(device_id(1), wrap(1)), (device_id(2), wrap(2))]).unwrap(),
        ..wraps
    };
    let mut second = epoch(&chain, 2);
    second.wraps = wraps_hash(&chain.state.id(), &both);
    chain.act(1, Action::Epoch(Box::new(second))).unwrap();
    chain.state.check_wraps(&both).unwrap();
    let changed = EpochWraps {
        recovery: wrap(8),
        ..both
    };
    assert_eq!(chain.state.check_wraps(&changed), Err(ControlError::Wraps));

    let mut lower = epoch(&chain, 3);
    lower.min_version = 0;
    assert_eq!(
        chain.act(1, Action::Epoch(Box::new(lower))),
        Err(ControlError::Epoch),
        "a downgrade"
    );
    assert_eq!(
        chain.act(1, Action::Epoch(Box::new(epoch(&chain, 2)))),
        Err(ControlError::Epoch)
    );
}

#[test]
fn the_phrase_lets_in_and_shuts_out() {
    let mut chain = Chain::new();
    chain.enrol(1, 2);
    chain.enrol(1, 3);
    let recover = |chain: &Chain, keep: &[u8]| {
        let proof = sign(4, &device_proof_id(&chain.state.id(), &device(4), &Hash::ZERO));
        Action::Recover(Box::new(Recover {
            device: device(4),
            proof,
            keep: Set::new(keep.iter().map(|n| device_id(*n))).unwrap(),
            cut: cut(&[(1, 5)]),
            erasures: Map::default(),
        }))
    };
    let by_a_device = chain.entry_signed(4, 1, recover(&chain, &[]));
    assert_eq!(chain.add(by_a_device), Err(BadSignature.into()));
    let entry = chain.entry_signed(4, PHRASE, recover(&chain, &[3]));
    chain.add(entry).unwrap();
    assert_eq!(chain.members(), sorted(&[3, 4]));

    // A new phrase needs the old one beside a member.
    let next = RecoveryKeys {
        signing: public(91),
        agreement: AgreementKey([8; 32]),
    };
    let hand_over = |chain: &Chain, old, new| {
        let id = phrase_id(&chain.state.id(), &chain.state.head(), &next);
        Action::Phrase(Box::new(Phrase {
            recovery: next,
            approval: sign(old, &id),
            acceptance: sign(new, &id),
        }))
    };
    assert_eq!(chain.act(3, hand_over(&chain, 3, 91)), Err(BadSignature.into()));
    assert_eq!(
        chain.act(3, hand_over(&chain, PHRASE, PHRASE)),
        Err(BadSignature.into()),
        "the new phrase has to agree"
    );
    chain.act(3, hand_over(&chain, PHRASE, 91)).unwrap();
    assert_eq!(chain.state.recovery(), &next);
    let stale = chain.entry_signed(4, PHRASE, recover(&chain, &[]));
    assert_eq!(chain.add(stale), Err(BadSignature.into()));
}

#[test]
fn a_full_account_takes_nobody_in() {
    let mut chain = Chain::new();
    for new in 2..=32 {
        chain.enrol(1, new);
    }
    let recover = |keep: std::ops::RangeInclusive<u8>| {
        let proof = sign(40, &device_proof_id(&chain.state.id(), &device(40), &Hash::ZERO));
        let recover = Recover {
            device: device(40),
            proof,
            keep: Set::new(keep.map(device_id)).unwrap(),
            cut: cut(&[]),
            erasures: Map::default(),
        };
        chain.entry_signed(40, PHRASE, Action::Recover(Box::new(recover)))
    };
    let (all, fewer) = (recover(1..=32), recover(2..=32));
    let one_more = chain.entry(1, enrol(&chain.state.id(), 33));
    assert_eq!(chain.add(one_more), Err(ControlError::TooManyDevices));
    assert_eq!(chain.add(all), Err(ControlError::TooManyDevices));
    chain.add(fewer).unwrap();
    assert_eq!(chain.state.members().count(), 32);
}

#[test]
fn revocations_of_a_forked_log_unite() {
    let mut ours = Chain::new();
    for new in [2, 3, 4] {
        ours.enrol(1, new);
    }
    let shared = ours.state.head();
    let mut theirs = ours.fork();
    // One branch shuts 2 out and lets 5 in; the other has 2 shut 1 out, and lets 6 in.
    ours.act(1, revoke(2, cut(&[]))).unwrap();
    ours.enrol(1, 5);
    ours.enrol(1, 7);
    theirs.act(2, revoke(1, cut(&[]))).unwrap();
    theirs.enrol(2, 6);
    let branch = |chain: &Chain| chain.entries[4..].to_vec();
    assert!(wins(&ours.state.id(), &branch(&ours), &branch(&theirs)));
    assert!(!wins(&ours.state.id(), &branch(&theirs), &branch(&ours)));

    let losing = |entries: &[ControlEntry]| {
        let encoded: Vec<_> = entries
            .iter()
            .map(|entry| entry.encode().try_into().unwrap())
            .collect();
        Action::Unite(Box::new(Unite {
            fork: shared,
            losing: encoded.try_into().unwrap(),
        }))
    };
    // What is in the log itself is no other branch; an empty one neither.
    assert_eq!(ours.act(3, losing(&branch(&ours))), Err(ControlError::Branch));
    assert_eq!(ours.act(3, losing(&[])), Err(ControlError::Branch));
    // The one that was shut out can't bring anything in.
    assert_eq!(
        ours.act(2, losing(&branch(&theirs))),
        Err(ControlError::NotMember)
    );
    let mut forged = branch(&theirs);
    forged[0].signature.0[3] ^= 1;
    assert_eq!(ours.act(3, losing(&forged)), Err(BadSignature.into()));
    ours.act(3, losing(&branch(&theirs))).unwrap();
    // Crossed revocations: both fall, and with the one whom it let in behind the fork. The losing branch's enrolment
    // doesn't count.
    assert_eq!(ours.members(), sorted(&[3, 4]));
    let generations: Vec<u32> = ours
        .state
        .revocations()
        .iter()
        .map(|one| one.generation)
        .collect();
    assert_eq!(generations, [1, 2]);
    assert_eq!(Account::replay(&ours.entries).unwrap(), ours.state);
}

/// A reunion whose losing branch is one entry that forks off right below the head.
fn reunion(chain: &Chain) -> Action {
    let last = chain.entries.len() - 1;
    let below = Chain {
        state: Account::replay(&chain.entries[..last]).unwrap(),
        entries: chain.entries[..last].to_vec(),
    };
    let losing = below.entry(
        2,
        Action::ServerChange(Box::new(crate::control::ServerChange { server: None })),
    );
    Action::Unite(Box::new(Unite {
        fork: below.state.head(),
        losing: vec![losing.encode().try_into().unwrap()].try_into().unwrap(),
    }))
}

#[test]
fn reunions_within_reunions_cost_what_they_hold() {
    let mut chain = Chain::new();
    chain.enrol(1, 2);
    chain.enrol(1, 3);
    for _ in 0..crate::limits::MAX_UNITES {
        let action = reunion(&chain);
        chain.act(1, action).unwrap();
    }
    let before = crate::hash::VERIFIED.get();
    let state = Account::replay(&chain.entries).unwrap();
    let checked = crate::hash::VERIFIED.get() - before;
    // Every entry once, the phrase's approval, two enrolments' proofs, and one losing entry for each reunion.
    let entries = chain.entries.len() as u64;
    assert_eq!(checked, entries + 3 + crate::limits::MAX_UNITES as u64);
    assert_eq!(state, chain.state);
    let action = reunion(&chain);
    assert_eq!(chain.act(1, action), Err(ControlError::TooMany));

    // What was checked once is put together again without a signature, to the same state.
    let before = crate::hash::VERIFIED.get();
    assert_eq!(Account::resume(chain.entries.iter()).unwrap(), state);
    assert_eq!(crate::hash::VERIFIED.get(), before);
    let gap = chain.entries.iter().take(1).chain(&chain.entries[2..]);
    assert_eq!(Account::resume(gap), Err(ControlError::NotNext));
}

/// Device `n` of more than 256.
fn many(n: u32) -> (Ed25519KeyPair, DeviceKeys) {
    let seed = crate::hash::sha256(&n.to_be_bytes());
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed.0).unwrap();
    let log = VerifyKey(pair.public_key().as_ref().try_into().unwrap());
    let keys = DeviceKeys {
        log,
        transport: VerifyKey(seed.0),
        agreement: AgreementKey([1; 32]),
    };
    (pair, keys)
}

#[test]
fn a_device_cannot_use_up_what_shuts_it_out() {
    let mut chain = Chain::new();
    let enrol_many = |chain: &Chain, n: u32| {
        let (pair, keys) = many(n);
        let id = device_proof_id(&chain.state.id(), &keys, &Hash::ZERO);
        let proof = Signature(pair.sign(&signed_bytes(&id)).as_ref().try_into().unwrap());
        (keys, proof)
    };
    let mut next = 0;
    loop {
        let (device, proof) = enrol_many(&chain, next);
        let action = Action::Enrol(Box::new(Enrol {
            device,
            proof,
            transcript: Hash::ZERO,
        }));
        chain.act(1, action).unwrap();
        let out = Action::Revoke(Box::new(Revoke {
            target: device.device_id(),
            reason: RevokeReason::Lost,
            cut: cut(&[]),
            erasures: Map::default(),
        }));
        next += 1;
        match chain.act(1, out) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, ControlError::TooMany);
                break;
            }
        }
    }
    assert_eq!(chain.state.revocations().len(), crate::limits::MAX_REVOCATIONS);
    // The phrase still shuts everybody out.
    let (device, proof) = enrol_many(&chain, next);
    let action = Action::Recover(Box::new(Recover {
        device,
        proof,
        keep: Set::new([]).unwrap(),
        cut: cut(&[]),
        erasures: Map::default(),
    }));
    let statement = ControlStatement {
        number: chain.state.number() + 1,
        previous: chain.state.head(),
        author: device.device_id(),
        at: TimeMs { ms: 1 },
        action,
    };
    let entry = signed(statement, &chain.state.id(), PHRASE);
    chain.add(entry).unwrap();
    assert_eq!(chain.members(), [device.device_id()]);
}

#[test]
fn an_account_is_opened_with_its_phrases_signature() {
    let good = genesis();
    assert!(Account::open(&good).is_ok());
    let again = |change: &dyn Fn(&mut ControlStatement)| {
        let mut statement = good.statement.clone();
        change(&mut statement);
        Account::open(&signed(statement, &AccountId([0; 32]), 1))
    };
    let forged = again(&|statement| approve(statement, 1));
    assert_eq!(forged, Err(BadSignature.into()), "somebody else's signature");
    // Whoever was the first device can't make a second account for the same words, either.
    let later = again(&|statement| statement.at.ms += 1);
    assert_eq!(later, Err(BadSignature.into()), "another time");
    let other = again(&|statement| {
        if let Action::Genesis(genesis) = &mut statement.action {
            genesis.nonce = [8; 16];
        }
    });
    assert_eq!(other, Err(BadSignature.into()), "another nonce");
}
