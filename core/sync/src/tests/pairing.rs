use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlError, ControlStatement, Genesis, genesis_approval_id,
};
use hearth_protocol::id::{AccountId, DeviceKeys, Hash, Signature, TimeMs};
use hearth_protocol::limits::PAIRING_TTL_MS;
use hearth_protocol::pairing::{MailboxMessage, ScanCode, TypedCode};

use super::{Counting, secret};
use crate::keys::SigningKey;
use crate::pairing::{Admitted, Admitting, Code, Joined, Joining, Output, PairingError, Sponsor};
use crate::recovery::Phrase;
use crate::secret::Random;

/// A device with its log key.
pub(crate) struct Owner {
    pub(crate) log: SigningKey,
    pub(crate) keys: DeviceKeys,
    phrase: Phrase,
}

pub(crate) fn sign_entry(statement: ControlStatement, account: &AccountId, key: &SigningKey) -> ControlEntry {
    let mut entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    entry.signature = key.sign(&entry.id(account));
    entry
}

impl Owner {
    pub(crate) fn new(seed: u8, phrase: Phrase) -> Self {
        let log = SigningKey::from_seed(&secret(seed)).unwrap();
        let transport = SigningKey::from_seed(&secret(seed + 100)).unwrap();
        let keys = DeviceKeys {
            log: log.public(),
            transport: transport.public(),
            agreement: crate::hpke::public_key(&secret(seed)),
        };
        Self { log, keys, phrase }
    }

    pub(crate) fn genesis(&self) -> ControlEntry {
        let mut statement = ControlStatement {
            number: 0,
            previous: Hash::ZERO,
            author: self.keys.device_id(),
            at: TimeMs { ms: 1 },
            action: Action::Genesis(Box::new(Genesis {
                nonce: [7; 16],
                device: self.keys,
                recovery: self.phrase.public().unwrap(),
                server: None,
                approval: Signature([0; 64]),
            })),
        };
        let approved = genesis_approval_id(&statement);
        if let Action::Genesis(genesis) = &mut statement.action {
            genesis.approval = self.phrase.signing().unwrap().sign(&approved);
        }
        sign_entry(statement, &AccountId([0; 32]), &self.log)
    }

    pub(crate) fn next(&self, account: &Account, action: Action) -> ControlEntry {
        let statement = ControlStatement {
            number: account.number() + 1,
            previous: account.head(),
            author: self.keys.device_id(),
            at: TimeMs { ms: 2 },
            action,
        };
        sign_entry(statement, &account.id(), &self.log)
    }
}

fn device(seed: u8) -> Owner {
    Owner::new(seed, Phrase::from_entropy(secret(9)))
}

const NOW: u64 = 1_750_000_000_000;

/// Both sides with the mailbox between them, and somebody who may change what lies in it.
struct Scene {
    old: Owner,
    new: Owner,
    random: Counting,
    joining: Joining,
    admitting: Admitting,
    to_old: Vec<MailboxMessage>,
    to_new: Vec<MailboxMessage>,
    said: Vec<String>,
    digits: (Option<String>, Option<String>),
    failed: (Vec<u32>, Vec<u32>),
    enrol: Option<Admitted>,
    joined: Option<Joined>,
    ended: (Option<PairingError>, Option<PairingError>),
}

fn typed(text: &[u8; 11]) -> Code {
    Code::Typed(TypedCode::new(*text))
}

impl Scene {
    /// The new device shows a code, the old one is given one.
    fn of(shown: &Code, given: &Code) -> Self {
        let (old, new) = (device(1), device(2));
        let mut random = Counting::default();
        let (joining, first) = Joining::begin(shown, new.keys, NOW, &mut random).unwrap();
        let sponsor = sponsor(&old);
        let mut scene = Self {
            admitting: Admitting::begin(given, sponsor, NOW).unwrap(),
            joining,
            old,
            new,
            random,
            to_old: Vec::new(),
            to_new: Vec::new(),
            said: Vec::new(),
            digits: (None, None),
            failed: (Vec::new(), Vec::new()),
            enrol: None,
            joined: None,
            ended: (None, None),
        };
        scene.of_new(Ok(first));
        scene
    }

    fn scanned() -> Self {
        let code = Code::to_scan(
            device(2).keys,
            "a:1".to_owned().try_into().unwrap(),
            &mut Counting::default(),
        );
        Self::of(&code, &code)
    }

    fn typed() -> Self {
        Self::of(&typed(b"abcdefghijk"), &typed(b"abcdefghijk"))
    }

    fn of_new(&mut self, outputs: Result<Vec<Output<Joined>>, PairingError>) {
        match outputs {
            Err(why) => self.ended.0 = Some(why),
            Ok(outputs) => {
                for output in outputs {
                    match output {
                        Output::Send(message) => self.to_old.push(message),
                        Output::TryFailed { left } => self.failed.0.push(left),
                        Output::Compare(digits) => self.digits.0 = Some(digits),
                        Output::Failed(why) => self.ended.0 = Some(why),
                        Output::Done(joined) => self.joined = Some(joined),
                    }
                }
            }
        }
    }

    fn of_old(&mut self, outputs: Result<Vec<Output<Admitted>>, PairingError>) {
        match outputs {
            Err(why) => self.ended.1 = Some(why),
            Ok(outputs) => {
                for output in outputs {
                    match output {
                        Output::Send(message) => self.to_new.push(message),
                        Output::TryFailed { left } => self.failed.1.push(left),
                        Output::Compare(digits) => self.digits.1 = Some(digits),
                        Output::Failed(why) => self.ended.1 = Some(why),
                        Output::Done(enrol) => self.enrol = Some(enrol),
                    }
                }
            }
        }
    }

    fn old_takes(&mut self, message: &MailboxMessage) {
        let outputs = self.admitting.receive(message, NOW + 1, &mut self.random);
        self.of_old(outputs);
    }

    fn new_takes(&mut self, message: &MailboxMessage) {
        let outputs = self
            .joining
            .receive(message, &self.new.log, NOW + 1, &mut self.random);
        self.of_new(outputs);
    }

    /// Delivers until nothing moves. Everything is delivered twice, and to its own sender too: that changes nothing.
    fn settle(&mut self) {
        while !self.to_old.is_empty() || !self.to_new.is_empty() {
            for message in std::mem::take(&mut self.to_old) {
                self.said.push(kind(&message).to_owned());
                self.old_takes(&message);
                self.old_takes(&message);
                self.new_takes(&message);
            }
            for message in std::mem::take(&mut self.to_new) {
                self.said.push(kind(&message).to_owned());
                self.new_takes(&message);
                self.new_takes(&message);
                self.old_takes(&message);
            }
        }
    }

    /// Both users say yes; the old device writes the entry.
    fn finish(&mut self) -> Vec<ControlEntry> {
        let outputs = self.joining.confirm(true, NOW + 2);
        self.of_new(outputs);
        let outputs = self.admitting.confirm(true, NOW + 2, &mut self.random);
        self.of_old(outputs);
        let genesis = self.old.genesis();
        let account = Account::open(&genesis).unwrap();
        let enrol = self.enrol.clone().expect("the enrolment comes out");
        let entry = self.old.next(&account, Action::Enrol(Box::new(enrol)));
        let outputs = self
            .admitting
            .enrolled(Some(entry.id(&account.id())), &mut self.random);
        self.of_old(outputs);
        self.settle();
        vec![genesis, entry]
    }
}

fn sponsor(old: &Owner) -> Sponsor {
    let genesis = old.genesis();
    let account = genesis.opens().unwrap();
    Sponsor {
        device: old.keys,
        control: genesis.id(&account),
        genesis,
        checkpoint: Hash([6; 32]),
        min_version: 1,
    }
}

fn kind(message: &MailboxMessage) -> &'static str {
    match message {
        MailboxMessage::Spake(_) => "share",
        MailboxMessage::Confirm(_) => "confirm",
        MailboxMessage::Sealed(_) => "sealed",
    }
}

#[test]
fn a_scanned_code_pairs() {
    let mut scene = Scene::scanned();
    scene.settle();
    assert!(scene.digits.0.is_some() && scene.digits.0 == scene.digits.1);
    assert_eq!((&scene.enrol, &scene.joined), (&None, &None), "nobody said yes");
    let entries = scene.finish();
    let joined = scene.joined.as_ref().unwrap();
    let account = joined.check(&entries).unwrap();
    assert!(account.member(&scene.new.keys.device_id()).is_some());
    assert_eq!(joined.sponsor, scene.old.keys);
    assert_eq!(joined.checkpoint, Hash([6; 32]));
    assert_eq!(scene.said, ["sealed"; 4]);
    assert_eq!(scene.failed, (vec![], vec![]));
    // Used up on both sides.
    let message = MailboxMessage::Spake([1; 32]);
    scene.new_takes(&message);
    scene.old_takes(&message);
    assert_eq!(scene.ended, (Some(PairingError::Used), Some(PairingError::Used)));
}

#[test]
fn a_typed_code_pairs_in_eight_messages() {
    let mut scene = Scene::typed();
    scene.settle();
    let entries = scene.finish();
    scene.joined.as_ref().unwrap().check(&entries).unwrap();
    assert_eq!(
        scene.said,
        [
            "share", "share", "confirm", "confirm", "sealed", "sealed", "sealed", "sealed"
        ]
    );
}

#[test]
fn a_mistyped_code_may_be_typed_again_three_times_in_all() {
    // The first four characters lead to the mailbox; the slip is behind them.
    let (right, wrong) = (typed(b"abcdefghijk"), typed(b"abcdefghijl"));
    let mut scene = Scene::of(&right, &wrong);
    let Code::Typed(code) = &wrong else { unreachable!() };
    scene.settle();
    assert_eq!(scene.failed, (vec![2], vec![2]));
    let outputs = scene.admitting.retype(code, NOW + 1, &mut scene.random);
    scene.of_old(outputs);
    scene.settle();
    assert_eq!(scene.failed, (vec![2, 1], vec![2, 1]));
    let Code::Typed(code) = &right else { unreachable!() };
    let outputs = scene.admitting.retype(code, NOW + 1, &mut scene.random);
    scene.of_old(outputs);
    scene.settle();
    assert!(scene.digits.0.is_some() && scene.digits.0 == scene.digits.1);
    scene.finish();
    assert!(scene.joined.is_some());
    let most = hearth_protocol::limits::MAX_PAIRING_MESSAGES;
    assert!(scene.said.len() <= most, "{} messages", scene.said.len());

    let mut scene = Scene::of(&right, &wrong);
    let Code::Typed(code) = &wrong else { unreachable!() };
    scene.settle();
    let other = TypedCode::new(*b"zzzzdefghij");
    assert_eq!(
        scene.admitting.retype(&other, NOW + 1, &mut scene.random).err(),
        Some(PairingError::OtherCode)
    );
    for _ in 0..2 {
        let outputs = scene.admitting.retype(code, NOW + 1, &mut scene.random);
        scene.of_old(outputs);
        scene.settle();
    }
    let used = Some(PairingError::Used);
    assert_eq!(scene.ended, (used, used), "the code is used up, and both know");
}

#[test]
fn whoever_guesses_at_the_new_device_has_three_guesses() {
    let mut scene = Scene::typed();
    scene.to_old.clear();
    for guess in 1..=3u8 {
        scene.new_takes(&MailboxMessage::Spake(point(guess)));
        scene.new_takes(&MailboxMessage::Confirm([guess; 32]));
    }
    assert_eq!(scene.failed.0, [2, 1]);
    assert_eq!(scene.ended.0, Some(PairingError::Used));
    // Garbage instead of a point costs one too.
    let mut scene = Scene::typed();
    scene.new_takes(&MailboxMessage::Spake([2; 32]));
    assert_eq!(scene.failed.0, [2]);
}

/// Some point of the curve.
fn point(seed: u8) -> [u8; 32] {
    SigningKey::from_seed(&secret(seed)).unwrap().public().0
}

#[test]
fn ten_minutes_are_counted_and_a_clock_that_jumps_ends_them() {
    for later in [PAIRING_TTL_MS, u64::MAX - NOW] {
        let mut scene = Scene::typed();
        let message = MailboxMessage::Spake(point(1));
        let outputs = scene
            .joining
            .receive(&message, &scene.new.log, NOW + later, &mut scene.random);
        assert_eq!(outputs, Err(PairingError::Expired));
        let outputs = scene.admitting.receive(&message, NOW + later, &mut scene.random);
        assert_eq!(outputs, Err(PairingError::Expired));
    }
    let mut scene = Scene::scanned();
    scene.settle();
    assert_eq!(scene.joining.confirm(true, 5), Err(PairingError::Expired));
    assert_eq!(
        scene
            .admitting
            .confirm(true, NOW + PAIRING_TTL_MS, &mut scene.random),
        Err(PairingError::Expired)
    );
}

#[test]
fn digits_that_differ_end_it_on_either_side() {
    let mut scene = Scene::scanned();
    scene.settle();
    assert_eq!(
        scene.joining.confirm(false, NOW + 2),
        Err(PairingError::StringsDiffer)
    );
    let outputs = scene.admitting.confirm(false, NOW + 2, &mut scene.random);
    scene.of_old(outputs);
    assert_eq!(scene.ended.1, Some(PairingError::StringsDiffer));
    assert!(scene.enrol.is_none() && scene.to_new.len() == 1);

    let mut scene = Scene::scanned();
    scene.settle();
    let outputs = scene.joining.confirm(true, NOW + 2);
    scene.of_new(outputs);
    let outputs = scene.admitting.confirm(false, NOW + 2, &mut scene.random);
    scene.of_old(outputs);
    scene.settle();
    assert_eq!(scene.ended.0, Some(PairingError::Refused));
    assert!(scene.joined.is_none());
}

#[test]
fn an_enrolment_that_could_not_be_made_is_told() {
    let mut scene = Scene::scanned();
    scene.settle();
    let outputs = scene.admitting.confirm(true, NOW + 2, &mut scene.random);
    scene.of_old(outputs);
    assert!(scene.enrol.is_some());
    let outputs = scene.admitting.enrolled(None, &mut scene.random);
    scene.of_old(outputs);
    scene.settle();
    assert_eq!(scene.ended.0, Some(PairingError::Refused));
}

#[test]
fn keys_that_are_not_those_of_the_code_are_refused() {
    let mut random = Counting::default();
    let endpoint = || String::new().try_into().unwrap();
    let Code::Scanned(code) = Code::to_scan(device(2).keys, endpoint(), &mut random) else {
        unreachable!()
    };
    // Somebody who saw the code shows keys of their own: the key of the messages follows from the code's keys too.
    let theirs = Code::Scanned(ScanCode {
        device: device(3).keys,
        ..code.clone()
    });
    let mut scene = Scene::of(&theirs, &Code::Scanned(code.clone()));
    scene.settle();
    assert_eq!(scene.failed.1, [2]);
    assert_eq!(scene.digits, (None, None));
    // Even under the right key.
    let shown = Code::Scanned(code.clone());
    let (_, first) = Joining::begin(&shown, device(3).keys, NOW, &mut random).unwrap();
    let mut admitting = Admitting::begin(&shown, sponsor(&device(1)), NOW).unwrap();
    let Output::Send(message) = &first[0] else {
        unreachable!()
    };
    assert_eq!(
        admitting.receive(message, NOW, &mut random),
        Err(PairingError::OtherKeys)
    );
    let later = Code::Scanned(ScanCode { version: 2, ..code });
    assert_eq!(
        Admitting::begin(&later, sponsor(&device(1)), NOW).err(),
        Some(PairingError::CodeTooNew)
    );
}

#[test]
fn a_changed_message_costs_a_try_and_the_next_one_works() {
    for place in 0..3 {
        for typed in [false, true] {
            let mut scene = if typed { Scene::typed() } else { Scene::scanned() };
            let mut sealed = 0;
            for _ in 0..40 {
                let (from_new, mut message) = match (scene.to_old.first(), scene.to_new.first()) {
                    (Some(_), _) => (true, scene.to_old.remove(0)),
                    (None, Some(_)) => (false, scene.to_new.remove(0)),
                    (None, None) => break,
                };
                if let MailboxMessage::Sealed(bytes) = &mut message {
                    if sealed == place {
                        let mut changed = bytes.to_vec();
                        changed[20] ^= 1;
                        *bytes = changed.try_into().unwrap();
                    }
                    sealed += 1;
                }
                if from_new {
                    scene.old_takes(&message);
                } else {
                    scene.new_takes(&message);
                }
            }
            let spent = scene.failed.0.len() + scene.failed.1.len();
            assert!(spent > 0, "place {place}, typed {typed}");
            // Only where the enrolled device is the one that noticed does the new one wait for good: its user sees it.
            if place == 1 {
                assert!(scene.digits.0.is_some(), "typed {typed}");
                assert_eq!(scene.digits.0, scene.digits.1, "typed {typed}");
                let entries = scene.finish();
                scene.joined.unwrap().check(&entries).unwrap();
            } else {
                assert!(scene.enrol.is_none() && scene.joined.is_none());
            }
        }
    }
}

#[test]
fn versions_that_do_not_meet_say_which_side_to_update() {
    let mut scene = Scene::scanned();
    let mut demanding = sponsor(&scene.old);
    demanding.min_version = 2;
    let code = Code::to_scan(
        device(2).keys,
        "a:1".to_owned().try_into().unwrap(),
        &mut Counting::default(),
    );
    scene.admitting = Admitting::begin(&code, demanding, NOW).unwrap();
    scene.settle();
    assert_eq!(
        scene.ended,
        (Some(PairingError::ThisTooOld), Some(PairingError::OtherTooOld))
    );
}

#[test]
fn the_log_has_to_hold_this_very_pairing() {
    let mut scene = Scene::scanned();
    scene.settle();
    let entries = scene.finish();
    let joined = scene.joined.unwrap();
    assert_eq!(joined.check(&entries[..1]).err(), Some(PairingError::NotEnrolled));
    assert_eq!(joined.check(&[]).err(), Some(PairingError::NotEnrolled));
    let other = Joined {
        transcript: Hash([1; 32]),
        ..joined.clone()
    };
    assert_eq!(other.check(&entries).err(), Some(PairingError::NotEnrolled));
    let other = Joined {
        control: Hash([1; 32]),
        ..joined.clone()
    };
    assert_eq!(other.check(&entries).err(), Some(PairingError::NotEnrolled));
    let other = Joined {
        sponsor: device(5).keys,
        ..joined.clone()
    };
    assert_eq!(other.check(&entries).err(), Some(PairingError::NotEnrolled));
    let mut forged = entries;
    forged[1].signature.0[0] ^= 1;
    assert!(matches!(
        joined.check(&forged),
        Err(PairingError::Control(ControlError::Signature(_)))
    ));
}

#[test]
fn a_flood_of_messages_ends_it() {
    let mut scene = Scene::typed();
    for flood in 0..200u8 {
        scene.new_takes(&MailboxMessage::Confirm([flood; 32]));
        scene.old_takes(&MailboxMessage::Confirm([flood; 32]));
    }
    assert_eq!(scene.ended, (Some(PairingError::Used), Some(PairingError::Used)));
}

#[test]
fn calls_that_nothing_waits_for_change_nothing() {
    let mut scene = Scene::typed();
    assert_eq!(scene.joining.confirm(true, NOW), Err(PairingError::NotNow));
    let random: &mut dyn Random = &mut Counting::default();
    assert_eq!(
        scene.admitting.confirm(true, NOW, random),
        Err(PairingError::NotNow)
    );
    assert_eq!(
        scene.admitting.enrolled(Some(Hash::ZERO), random),
        Err(PairingError::NotNow)
    );
    let code = TypedCode::new(*b"abcdefghijk");
    assert_eq!(
        scene.admitting.retype(&code, NOW, random),
        Err(PairingError::NotNow)
    );
    scene.settle();
    let entries = scene.finish();
    scene.joined.unwrap().check(&entries).unwrap();
    assert_eq!(
        format!("{:?} {:?}", scene.joining, scene.admitting),
        "Joining Admitting"
    );
    assert_eq!(format!("{:?}", typed(b"abcdefghijk")), "Code::Typed");
}
