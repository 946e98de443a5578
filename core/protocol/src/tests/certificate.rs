use std::sync::LazyLock;

use proptest::prelude::*;

use super::accounts::{Chain, cut, device_id, epoch, public, revoke, sign};
use crate::certificate::{
    AssembleError, CertificateError, Part, Parts, Report, Residual, Standing, assemble, verify,
};
use crate::codec::{List, Map, Set, Wire};
use crate::control::{
    Action, ControlError, Enrol, Revoke, RevokeReason, ServerChange, ServerIdentity, Unite, device_proof_id,
};
use crate::erasure::{
    CERTIFICATE_MAGIC, Certificate, CertificateState, Erase, EraseAck, Receipt, ServerReceipt,
};
use crate::hash::{BadSignature, Signed, Statement};
use crate::id::{Handle, Hash, LogId, TimeMs, VerifyKey};
use crate::statement::{EpochAck, LogOpen};

const COMMITTED: &str = include_str!("../../vectors/certificate.txt");
/// Signs as the first server.
const SERVER: u8 = 80;
const AT: TimeMs = TimeMs {
    ms: 1_750_000_100_000,
};

/// An account of three devices and a server; device 1 erases, and an epoch ends it.
struct Story {
    chain: Chain,
    parts: Parts,
}

impl Story {
    fn new() -> Self {
        let mut chain = Chain::new();
        chain.enrol(1, 2);
        chain.enrol(1, 3);
        let parts = Parts {
            subject: Hash::ZERO,
            control: Vec::new(),
            logs: Vec::new(),
            erasures: Vec::new(),
            receipts: Vec::new(),
            acks: Vec::new(),
            epoch_acks: Vec::new(),
            issuer: device_id(2),
            at: AT,
        };
        let mut story = Self { chain, parts };
        story.move_to(SERVER);
        story.epoch(&[]);
        story
    }

    /// All three confirm, and so does the server.
    fn complete() -> Self {
        let mut story = Self::new();
        let erase = story.erase(1, 1, None);
        story.parts.subject = erase;
        let entry = story.epoch(&[erase]);
        for device in 1..=3 {
            story.ack(device, erase);
            story.epoch_ack(device, entry);
        }
        story.receipt(SERVER, erase);
        story
    }

    fn sign<T: Statement>(&self, seed: u8, statement: T) -> Signed<T> {
        Signed {
            signature: sign(seed, &statement.id(&self.chain.state.id())),
            statement,
        }
    }

    fn open(device: u8) -> LogOpen {
        LogOpen {
            device: device_id(device),
            nonce: [device; 16],
        }
    }

    fn log(&self, device: u8) -> LogId {
        Self::open(device).log(&self.chain.state.id())
    }

    fn erase(&mut self, by: u8, number: u64, because: Option<Hash>) -> Hash {
        let erase = Erase {
            log: self.log(by),
            number,
            nonce: [by; 16],
            handles: Set::new([Handle([by; 16]), Handle([number as u8 + 100; 16])]).unwrap(),
            because,
            control: self.chain.state.head(),
            at: AT,
        };
        let erase = self.sign(by, erase);
        let id = erase.id(&self.chain.state.id());
        self.parts.erasures.push(erase);
        let open = self.sign(by, Self::open(by));
        if !self.parts.logs.contains(&open) {
            self.parts.logs.push(open);
        }
        id
    }

    fn epoch(&mut self, ends: &[Hash]) -> Hash {
        let number = self
            .chain
            .state
            .epoch()
            .map_or(1, |(_, running)| running.number + 1);
        let mut next = epoch(&self.chain, number);
        next.ends = ends.to_vec().try_into().unwrap();
        self.chain.act(1, Action::Epoch(Box::new(next))).unwrap();
        self.chain.state.head()
    }

    fn move_to(&mut self, server: u8) {
        let server = ServerIdentity {
            key: public(server),
            endpoint: format!("server-{server}:4433").try_into().unwrap(),
        };
        let change = ServerChange { server: Some(server) };
        self.chain.act(1, Action::ServerChange(Box::new(change))).unwrap();
    }

    fn ack(&mut self, device: u8, erase: Hash) {
        let ack = EraseAck {
            erase,
            device: device_id(device),
            journal: Hash([device; 32]),
            at: AT,
        };
        self.parts.acks.push(self.sign(device, ack));
    }

    fn epoch_ack(&mut self, device: u8, entry: Hash) {
        let number = self.chain.state.epoch().unwrap().1.number;
        let ack = EpochAck {
            epoch: entry,
            number,
            device: device_id(device),
            agreement: crate::id::AgreementKey([device; 32]),
            at: AT,
        };
        self.parts.epoch_acks.push(self.sign(device, ack));
    }

    fn receipt(&mut self, server: u8, erase: Hash) {
        let receipt = Receipt {
            erase,
            bodies: 7,
            bytes: 4_096,
            at: AT,
            backups_until: TimeMs { ms: AT.ms + 1_000 },
        };
        self.parts.receipts.push(ServerReceipt {
            server: public(server),
            receipt: self.sign(server, receipt),
        });
    }

    /// The issuer is device 2, whose seed is 2.
    fn assemble(&self) -> Result<(Vec<u8>, Report), AssembleError> {
        let mut parts = self.parts.clone();
        parts.control.clone_from(&self.chain.entries);
        assemble(parts, |id| sign(2, id))
    }

    fn report(&self) -> Report {
        self.assemble().unwrap().1
    }

    /// What a verifier says to a certificate that somebody else put together.
    fn forged(&self, change: impl FnOnce(&mut Body)) -> Result<Report, CertificateError> {
        let mut certificate = decode(&self.assemble().unwrap().0);
        change(&mut certificate.statement);
        let id = certificate.statement.id(&self.chain.state.id());
        certificate.signature = sign(2, &id);
        verify(&encode(&certificate))
    }
}

type Body = crate::erasure::CertificateBody;

fn decode(bytes: &[u8]) -> Certificate {
    Certificate::decode(&bytes[16..]).unwrap()
}

fn encode(certificate: &Certificate) -> Vec<u8> {
    [CERTIFICATE_MAGIC.as_slice(), &certificate.encode()].concat()
}

/// Changes a list within its limit.
fn edit<T: Clone, const MAX: usize>(list: &mut List<T, MAX>, change: impl FnOnce(&mut Vec<T>)) {
    let mut items = list.to_vec();
    change(&mut items);
    *list = items.try_into().unwrap_or_default();
}

fn standing(report: &Report, device: u8) -> Standing {
    let id = device_id(device);
    let found = report.devices.iter().find(|entry| entry.device == id);
    found.unwrap().standing
}

#[test]
fn a_certificate_in_which_nothing_is_missing_is_complete() {
    let story = Story::complete();
    let (bytes, report) = story.assemble().unwrap();
    assert_eq!(verify(&bytes).as_ref(), Ok(&report));
    assert!(report.complete);
    assert_eq!(report.account, story.chain.state.id());
    assert_eq!(report.subject, story.parts.subject);
    assert_eq!((report.author, report.issuer), (device_id(1), device_id(2)));
    assert_eq!((report.handles, report.control_number), (2, 5));
    assert_eq!(report.devices_that_are(Standing::Confirmed).count(), 3);
    assert_eq!(report.servers.len(), 1);
    assert_eq!(report.servers[0].endpoint, "server-80:4433");
    assert_eq!(report.servers[0].receipts[0].bodies, 7);
    let backups = Residual::ServerBackups(public(SERVER), TimeMs { ms: AT.ms + 1_000 });
    assert_eq!(
        report.residuals,
        [
            Residual::Phrase,
            Residual::DeviceBackups,
            backups,
            Residual::ServersWord,
            Residual::Branch(report.control_head, report.control_number),
            Residual::Times
        ]
    );
}

#[test]
fn the_committed_certificate_is_reproduced_and_verifies() {
    let (bytes, report) = Story::complete().assemble().unwrap();
    let hex = super::vectors::hex(&bytes);
    let lines = format!(
        "certificate = {hex}\naccount = {}\nsubject = {}\n",
        report.account, report.subject
    );
    let committed = COMMITTED.lines().filter(|line| !line.starts_with('#'));
    assert!(
        committed.eq(lines.lines()),
        "vectors/certificate.txt doesn't hold what is computed:\n{lines}"
    );
}

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| Story::complete().assemble().unwrap().0);

#[test]
fn no_bit_of_a_byte_can_be_changed_and_no_end_cut_off() {
    for place in 0..BYTES.len() {
        let mut changed = BYTES.clone();
        changed[place] ^= 1 << (place % 8);
        assert!(verify(&changed).is_err(), "byte {place}");
    }
    for end in (0..BYTES.len()).step_by(7) {
        assert!(verify(&BYTES[..end]).is_err(), "cut at {end}");
    }
    let longer = [BYTES.as_slice(), &[0]].concat();
    assert!(verify(&longer).is_err());
}

proptest! {
    #[test]
    fn any_other_byte_anywhere_is_noticed(place in 0..BYTES.len(), other in 1u8..) {
        let mut changed = BYTES.clone();
        changed[place] ^= other;
        prop_assert!(verify(&changed).is_err(), "byte {place} ^ {other:#x}");
    }

    #[test]
    fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verify(&bytes).is_err());
        let named = [CERTIFICATE_MAGIC.as_slice(), &bytes].concat();
        prop_assert!(verify(&named).is_err());
    }
}

#[test]
fn another_layout_and_another_file_are_told_apart() {
    assert_eq!(
        verify(b"hearth-erasure-2"),
        Err(CertificateError::NotACertificate)
    );
    assert_eq!(verify(b""), Err(CertificateError::NotACertificate));
    let later = [CERTIFICATE_MAGIC.as_slice(), &[2]].concat();
    assert_eq!(verify(&later), Err(CertificateError::Version(2)));
}

#[test]
fn what_is_missing_makes_it_provisional_and_is_named() {
    // A device that hasn't erased.
    let mut story = Story::complete();
    story.parts.acks.remove(2);
    let report = story.report();
    assert!(!report.complete);
    assert_eq!(standing(&report, 3), Standing::Missing);
    let third = report.devices.iter().find(|entry| entry.device == device_id(3));
    assert_eq!(third.unwrap().unacknowledged, [story.parts.subject]);
    assert!(!third.unwrap().keys_unconfirmed);

    // One that may still have keys.
    let mut story = Story::complete();
    story.parts.epoch_acks.remove(0);
    let report = story.report();
    assert!(!report.complete && report.devices.iter().any(|entry| entry.keys_unconfirmed));
    assert_eq!(standing(&report, 1), Standing::Missing);

    // A server that hasn't answered.
    let mut story = Story::complete();
    story.parts.receipts.clear();
    let report = story.report();
    assert!(!report.complete);
    assert_eq!(report.servers[0].missing, [story.parts.subject]);

    // No epoch has ended it.
    let mut story = Story::new();
    story.parts.subject = story.erase(1, 1, None);
    for device in 1..=3 {
        story.ack(device, story.parts.subject);
    }
    story.receipt(SERVER, story.parts.subject);
    let report = story.report();
    assert!(!report.complete);
    assert_eq!(report.unended, [story.parts.subject]);
    assert_eq!(standing(&report, 1), Standing::Missing);

    // And whoever says otherwise is refused.
    let refused = story.forged(|body| body.state = CertificateState::Complete);
    assert_eq!(refused, Err(CertificateError::ClaimsTooMuch));
    let modest = Story::complete().forged(|body| body.state = CertificateState::Provisional);
    assert!(modest.unwrap().complete, "a verifier decides for itself");
}

#[test]
fn an_account_without_a_server_needs_no_receipt() {
    let mut story = Story::new();
    story.chain = Chain::new();
    story.epoch(&[]);
    let erase = story.erase(1, 1, None);
    story.parts.subject = erase;
    let entry = story.epoch(&[erase]);
    story.ack(1, erase);
    story.epoch_ack(1, entry);
    story.parts.issuer = device_id(1);
    let mut parts = story.parts.clone();
    parts.control.clone_from(&story.chain.entries);
    let (_, report) = assemble(parts, |id| sign(1, id)).unwrap();
    assert!(report.complete && report.servers.is_empty());
    assert!(!report.residuals.contains(&Residual::ServersWord));
}

#[test]
fn a_device_enrolled_after_the_end_never_held_anything() {
    let mut story = Story::complete();
    story.chain.enrol(1, 4);
    let report = story.report();
    assert!(report.complete);
    assert_eq!(standing(&report, 4), Standing::NeverHeld);

    // Before it, it is asked.
    let mut story = Story::new();
    let erase = story.erase(1, 1, None);
    story.parts.subject = erase;
    story.chain.enrol(1, 4);
    let entry = story.epoch(&[erase]);
    for device in 1..=3 {
        story.ack(device, erase);
        story.epoch_ack(device, entry);
    }
    story.receipt(SERVER, erase);
    let report = story.report();
    assert!(!report.complete);
    assert_eq!(standing(&report, 4), Standing::Missing);
    // A control log that ends before the ending epoch hides the question, and nothing is complete.
    let short = story.forged(|body| edit(&mut body.control, |entries| entries.truncate(5)));
    assert_eq!(short, Err(CertificateError::BeyondControl(Part::EpochAck(0))));
}

#[test]
fn servers_are_asked_up_to_the_end() {
    let mut story = Story::complete();
    story.move_to(81);
    assert!(story.report().complete, "a later server never had anything");
    let mut story = Story::new();
    story.move_to(81);
    let erase = story.erase(1, 1, None);
    story.parts.subject = erase;
    let entry = story.epoch(&[erase]);
    for device in 1..=3 {
        story.ack(device, erase);
        story.epoch_ack(device, entry);
    }
    story.receipt(81, erase);
    let report = story.report();
    assert!(!report.complete, "the old server owes one too");
    story.receipt(SERVER, erase);
    assert!(story.report().complete);
}

#[test]
fn a_revoked_device_is_named() {
    let mut story = Story::new();
    let erase = story.erase(1, 1, None);
    story.parts.subject = erase;
    story.chain.act(1, revoke(3, cut(&[]))).unwrap();
    let entry = story.epoch(&[erase]);
    for device in 1..=2 {
        story.ack(device, erase);
        story.epoch_ack(device, entry);
    }
    story.receipt(SERVER, erase);
    let report = story.report();
    assert!(report.complete, "it is named instead of waited for");
    assert_eq!(standing(&report, 3), Standing::RevokedUnconfirmed);
    assert_eq!(report.residuals[0], Residual::RevokedDevice(device_id(3)));
    let third = report.devices.iter().find(|entry| entry.device == device_id(3));
    assert_eq!(third.unwrap().reason, Some(RevokeReason::Lost));

    // One that had confirmed before isn't.
    let mut story = Story::complete();
    story.chain.act(1, revoke(3, cut(&[]))).unwrap();
    let report = story.report();
    assert_eq!(standing(&report, 3), Standing::RevokedConfirmed);
    assert!(!report.residuals.contains(&Residual::RevokedDevice(device_id(3))));
}

#[test]
fn erasures_that_follow_are_asked_for_too() {
    let mut story = Story::new();
    let first = story.erase(1, 1, None);
    let wider = story.erase(2, 1, Some(first));
    let widest = story.erase(3, 1, Some(wider));
    let unrelated = story.erase(2, 2, None);
    story.parts.subject = first;
    let entry = story.epoch(&[first, wider, widest, unrelated]);
    for device in 1..=3 {
        for erase in [first, wider, unrelated] {
            story.ack(device, erase);
        }
        story.epoch_ack(device, entry);
    }
    for erase in [first, wider, widest] {
        story.receipt(SERVER, erase);
    }
    let report = story.report();
    assert_eq!(report.erasures, [first, wider, widest]);
    assert!(!report.complete);
    for device in 1..=3 {
        story.ack(device, widest);
    }
    assert!(story.report().complete);

    let alone = story.forged(|body| edit(&mut body.erasures, |list| drop(list.remove(1))));
    assert_eq!(alone, Err(CertificateError::Stray(Part::Erasure(1))));
    let swapped = story.forged(|body| edit(&mut body.erasures, |list| list.swap(1, 2)));
    assert_eq!(swapped, Err(CertificateError::Stray(Part::Erasure(1))));
    let other = story.parts.erasures[3].clone();
    let unrelated = story.forged(|body| edit(&mut body.erasures, |list| list.push(other)));
    assert_eq!(unrelated, Err(CertificateError::Stray(Part::Erasure(3))));
}

#[test]
fn what_a_revoked_device_ordered_counts_up_to_its_revocation() {
    let mut story = Story::new();
    let first = story.erase(1, 1, None);
    let late = story.erase(3, 1, Some(first));
    story.parts.subject = first;
    let shut_out = Revoke {
        target: device_id(3),
        reason: RevokeReason::Retired,
        cut: cut(&[]),
        erasures: Map::default(),
    };
    story.chain.act(1, Action::Revoke(Box::new(shut_out))).unwrap();
    assert_eq!(story.report().erasures, [first], "what doesn't count is left out");
    let mut own = story.parts.clone();
    own.subject = late;
    own.control.clone_from(&story.chain.entries);
    assert_eq!(
        assemble(own, |id| sign(2, id)).unwrap_err(),
        AssembleError::Part(CertificateError::NotEntitled(Part::Erasure(0)))
    );
    // Issued again by a member, it is the link between the two, and nobody is asked for it.
    let again = story.erase(2, 1, Some(late));
    let entry = story.epoch(&[first, again]);
    for device in 1..=2 {
        for erase in [first, again] {
            story.ack(device, erase);
        }
        story.epoch_ack(device, entry);
    }
    for erase in [first, again] {
        story.receipt(SERVER, erase);
    }
    let report = story.report();
    assert_eq!(report.erasures, [first, again]);
    assert!(report.complete);
    let useless = story.forged(|body| {
        edit(&mut body.erasures, |list| list.truncate(2));
        edit(&mut body.logs, Vec::clear);
        let logs = [1, 3].map(|device| story.sign(device, Story::open(device)));
        body.logs = logs.to_vec().try_into().unwrap();
        edit(&mut body.acks, |list| {
            list.retain(|ack| ack.statement.erase == first);
        });
        edit(&mut body.receipts, |list| {
            list.retain(|given| given.receipt.statement.erase == first);
        });
    });
    assert_eq!(useless, Err(CertificateError::NotEntitled(Part::Erasure(1))));
}

#[test]
fn a_part_too_many_is_refused() {
    let story = Story::complete();
    let twice = |change: fn(&mut Body)| story.forged(change).unwrap_err();
    assert_eq!(
        twice(|body| edit(&mut body.logs, |list| list.push(list[0].clone()))),
        CertificateError::Repeated(Part::Log(1))
    );
    assert_eq!(
        twice(|body| edit(&mut body.receipts, |list| list.push(list[0].clone()))),
        CertificateError::Repeated(Part::Receipt(1))
    );
    assert_eq!(
        twice(|body| edit(&mut body.acks, |list| list.push(list[0].clone()))),
        CertificateError::Repeated(Part::Ack(3))
    );
    assert_eq!(
        twice(|body| edit(&mut body.epoch_acks, |list| list.push(list[0].clone()))),
        CertificateError::Repeated(Part::EpochAck(3))
    );
    assert_eq!(
        twice(|body| edit(&mut body.erasures, |list| list.push(list[0].clone()))),
        CertificateError::Stray(Part::Erasure(1))
    );
    assert_eq!(
        twice(|body| edit(&mut body.erasures, Vec::clear)),
        CertificateError::Empty
    );

    let log = story.sign(2, Story::open(2));
    let unused = story.forged(|body| edit(&mut body.logs, |list| list.push(log)));
    assert_eq!(unused, Err(CertificateError::Stray(Part::Log(1))));
    let mut other = Story::complete();
    other.parts.acks.clear();
    other.parts.receipts.clear();
    other.ack(1, Hash([9; 32]));
    other.receipt(SERVER, Hash([9; 32]));
    let ack = other.parts.acks[0].clone();
    let stray = story.forged(|body| edit(&mut body.acks, |list| list.push(ack)));
    assert_eq!(stray, Err(CertificateError::Stray(Part::Ack(3))));
    let receipt = other.parts.receipts[0].clone();
    let stray = story.forged(|body| edit(&mut body.receipts, |list| list.push(receipt)));
    assert_eq!(stray, Err(CertificateError::Stray(Part::Receipt(1))));
    // An acknowledgement of an epoch from before.
    let (entry, number) = (story.chain.entries[4].id(&story.chain.state.id()), 1);
    let early = EpochAck {
        epoch: entry,
        number,
        ..story.parts.epoch_acks[0].statement
    };
    let early = story.sign(1, early);
    let stray = story.forged(|body| edit(&mut body.epoch_acks, |list| list[0] = early));
    assert_eq!(stray, Err(CertificateError::Stray(Part::EpochAck(0))));
}

#[test]
fn a_foreign_signature_is_refused_wherever_it_stands() {
    let story = Story::complete();
    let forged = |change: fn(&mut Body)| story.forged(change).unwrap_err();
    let wrong = CertificateError::Signature;
    assert_eq!(
        forged(|body| edit(&mut body.logs, |list| list[0].signature.0[9] ^= 1)),
        wrong(Part::Log(0))
    );
    assert_eq!(
        forged(|body| edit(&mut body.erasures, |list| list[0].signature.0[9] ^= 1)),
        wrong(Part::Erasure(0))
    );
    assert_eq!(
        forged(|body| edit(&mut body.receipts, |list| list[0].receipt.signature.0[9] ^= 1)),
        wrong(Part::Receipt(0))
    );
    assert_eq!(
        forged(|body| edit(&mut body.acks, |list| list[1].signature = list[0].signature)),
        wrong(Part::Ack(1))
    );
    assert_eq!(
        forged(|body| edit(&mut body.epoch_acks, |list| list[2].statement.at.ms += 1)),
        wrong(Part::EpochAck(2))
    );
    assert_eq!(
        forged(|body| edit(&mut body.control, |list| list[1].signature.0[9] ^= 1)),
        CertificateError::Control {
            index: 1,
            source: ControlError::Signature(BadSignature)
        }
    );
    assert_eq!(
        forged(|body| edit(&mut body.control, Vec::clear)),
        CertificateError::Control {
            index: 0,
            source: ControlError::Genesis
        }
    );
    // A receipt of a server that the control log doesn't name; strangers' parts; a stranger as issuer.
    assert_eq!(
        forged(|body| edit(&mut body.receipts, |list| list[0].server = VerifyKey([7; 32]))),
        CertificateError::UnknownAuthor(Part::Receipt(0))
    );
    assert_eq!(
        forged(|body| edit(&mut body.acks, |list| list[0].statement.device = device_id(9))),
        CertificateError::UnknownAuthor(Part::Ack(0))
    );
    assert_eq!(
        forged(|body| edit(&mut body.logs, Vec::clear)),
        CertificateError::UnknownAuthor(Part::Erasure(0))
    );
    assert_eq!(
        forged(|body| body.issuer = device_id(9)),
        CertificateError::UnknownAuthor(Part::Certificate)
    );
    assert_eq!(
        forged(|body| body.issuer = device_id(1)),
        wrong(Part::Certificate)
    );
    let mut parts = story.parts.clone();
    parts.control.clone_from(&story.chain.entries);
    assert_eq!(
        assemble(parts, |id| sign(3, id)).unwrap_err(),
        AssembleError::Part(wrong(Part::Certificate))
    );
}

#[test]
fn only_a_member_issues() {
    let mut story = Story::complete();
    story.chain.act(1, revoke(2, cut(&[]))).unwrap();
    assert_eq!(
        story.assemble().unwrap_err(),
        AssembleError::Part(CertificateError::NotEntitled(Part::Certificate))
    );
}

#[test]
fn a_control_log_that_ends_too_early_is_refused() {
    let story = Story::complete();
    let cut_off = |length| story.forged(|body| edit(&mut body.control, |list| list.truncate(length)));
    // The epoch that ends it is gone, then the entry that the erasure's author knew.
    assert_eq!(
        cut_off(5),
        Err(CertificateError::BeyondControl(Part::EpochAck(0)))
    );
    assert_eq!(cut_off(4), Err(CertificateError::BeyondControl(Part::Erasure(0))));
    assert_eq!(
        cut_off(1),
        Err(CertificateError::UnknownAuthor(Part::Certificate))
    );
}

#[test]
fn what_a_losing_branch_let_in_is_named() {
    let mut story = Story::complete();
    let mut losing = story.chain.fork();
    let shared = losing.state.head();
    losing.enrol(2, 7);
    story.chain.enrol(1, 4);
    story.chain.enrol(1, 5);
    let branch = losing.entries[story.chain.entries.len() - 2..].to_vec();
    let encoded: Vec<_> = branch
        .iter()
        .map(|entry| entry.encode().try_into().unwrap())
        .collect();
    let unite = Unite {
        fork: shared,
        losing: encoded.try_into().unwrap(),
    };
    story.chain.act(2, Action::Unite(Box::new(unite))).unwrap();
    let report = story.report();
    let named = Residual::LosingBranchDevice(device_id(7));
    assert!(report.complete && report.residuals.contains(&named));
    // Let in again on this branch, it is a device like any other.
    let account = story.chain.state.id();
    let device = super::accounts::device(7);
    let transcript = Hash([9; 32]);
    let proof = sign(7, &device_proof_id(&account, &device, &transcript));
    let again = Enrol {
        device,
        proof,
        transcript,
    };
    story.chain.act(1, Action::Enrol(Box::new(again))).unwrap();
    let report = story.report();
    assert!(!report.residuals.contains(&named));
    assert_eq!(standing(&report, 7), Standing::NeverHeld);
}

#[test]
fn an_erasure_ordered_on_a_branch_that_lost_has_a_certificate() {
    let mut story = Story::new();
    let mut losing = story.chain.fork();
    let shared = losing.state.head();
    losing.enrol(2, 7);
    // Device 2 knows only its own branch yet.
    std::mem::swap(&mut story.chain, &mut losing);
    let erase = story.erase(2, 1, None);
    story.parts.subject = erase;
    std::mem::swap(&mut story.chain, &mut losing);
    story.chain.enrol(1, 4);
    story.chain.enrol(1, 5);
    assert!(matches!(
        story.assemble(),
        Err(AssembleError::Part(CertificateError::BeyondControl(
            Part::Erasure(0)
        )))
    ));
    let branch: Vec<_> = losing
        .entries
        .last()
        .map(|entry| entry.encode().try_into().unwrap())
        .into_iter()
        .collect();
    let unite = Unite {
        fork: shared,
        losing: branch.try_into().unwrap(),
    };
    story.chain.act(2, Action::Unite(Box::new(unite))).unwrap();
    let entry = story.epoch(&[erase]);
    for device in 1..=5 {
        story.ack(device, erase);
        story.epoch_ack(device, entry);
    }
    story.receipt(SERVER, erase);
    assert!(story.report().complete);
}
