//! Attacks on a pairing by whoever has the mailbox: the server, which knows neither the code nor what the users see.

use hearth_protocol::codec::Wire;
use hearth_protocol::pairing::MailboxMessage;
use hearth_sync::device::Keychain;
use hearth_sync::pairing::{Admitted, Admitting, Code, Joined, Joining, Output, PairingError, Sponsor};

use crate::kit::*;
use crate::world::{Seeded, World};

/// What a mailbox does with a message: from the new device or from the old one; what lies there instead.
type Mailbox<'a> = &'a mut dyn FnMut(bool, MailboxMessage) -> Vec<MailboxMessage>;

/// How a pairing went.
#[derive(Default)]
struct Went {
    joined: Option<Joined>,
    admitted: Option<Admitted>,
    tries_failed: usize,
    digits: (Option<String>, Option<String>),
    /// What either user saw, in the end.
    saw: (String, String),
    ended: Vec<PairingError>,
}

fn sponsor(world: &World) -> Sponsor {
    let device = world.device(0);
    Sponsor {
        device: device.keychain().public().unwrap(),
        genesis: device.control_log()[0].clone(),
        control: device.account().head(),
        checkpoint: hash_of(b"a checkpoint"),
        min_version: 1,
    }
}

/// A pairing through a mailbox of somebody's; both users look at the digits, and confirm if they are equal.
fn pairing(seed: u64, shown: &Code, given: &Code, new: &Keychain, mailbox: Mailbox<'_>) -> Went {
    let world = devices(77, 1);
    let (mut random, now) = (Seeded::new(seed), world.now);
    let (keys, log) = (new.public().unwrap(), new.signing().unwrap());
    let (mut joining, first) = Joining::begin(shown, keys, now, &mut random).unwrap();
    let mut admitting = Admitting::begin(given, sponsor(&world), now).unwrap();
    let mut went = Went::default();
    let mut lying: Vec<(bool, MailboxMessage)> = Vec::new();
    let mut of_new = vec![first];
    let mut of_old: Vec<Vec<Output<Admitted>>> = Vec::new();
    let mut retyped = None;
    for _ in 0..200 {
        for output in of_new.drain(..).flatten() {
            match output {
                Output::Send(message) => lying.extend(mailbox(true, message).into_iter().map(|m| (true, m))),
                Output::TryFailed { .. } => went.tries_failed += 1,
                Output::Compare(digits) => went.digits.0 = Some(digits),
                Output::Failed(error) => went.ended.push(error),
                Output::Done(joined) => went.joined = Some(joined),
            }
        }
        for output in of_old.drain(..).flatten() {
            match output {
                Output::Send(message) => {
                    lying.extend(mailbox(false, message).into_iter().map(|m| (false, m)));
                }
                Output::TryFailed { .. } => {
                    went.tries_failed += 1;
                    if let Code::Typed(code) = given {
                        retyped = no_error(admitting.retype(code, now, &mut random), &mut went);
                    }
                }
                Output::Compare(digits) => went.digits.1 = Some(digits),
                Output::Failed(error) => went.ended.push(error),
                Output::Done(admitted) => {
                    went.admitted = Some(admitted);
                    let verdict = admitting.enrolled(Some(hash_of(b"entry")), &mut random);
                    retyped = no_error(verdict, &mut went);
                }
            }
        }
        of_old.extend(retyped.take());
        if let (Some(one), Some(two)) = went.digits.clone() {
            went.digits = (None, None);
            let same = one == two;
            went.saw = (one, two);
            if let Some(outputs) = no_error(joining.confirm(same, now), &mut went) {
                of_new.push(outputs);
            }
            if let Some(outputs) = no_error(admitting.confirm(same, now, &mut random), &mut went) {
                of_old.push(outputs);
            }
            continue;
        }
        if lying.is_empty() && of_old.is_empty() {
            break;
        }
        if lying.is_empty() {
            continue;
        }
        let (from_new, message) = lying.remove(0);
        if from_new {
            if let Some(outputs) = no_error(admitting.receive(&message, now, &mut random), &mut went) {
                of_old.push(outputs);
            }
        } else if let Some(outputs) = no_error(joining.receive(&message, &log, now, &mut random), &mut went) {
            of_new.push(outputs);
        }
    }
    went
}

fn no_error<T>(result: Result<T, PairingError>, went: &mut Went) -> Option<T> {
    result.map_err(|error| went.ended.push(error)).ok()
}

/// A new device's keys, and a code of it: to scan or to type.
fn codes(seed: u64) -> (Keychain, [Code; 2]) {
    let mut random = Seeded::new(seed);
    let new = Keychain::random(&mut random);
    let endpoint = "server:1".to_owned().try_into().unwrap();
    let scanned = Code::to_scan(new.public().unwrap(), endpoint, &mut random);
    (new, [scanned, Code::to_type(&mut random)])
}

#[test]
fn a_mailbox_that_replays_changes_nothing() {
    let (new, codes) = codes(1);
    for code in codes {
        let mut all: Vec<MailboxMessage> = Vec::new();
        let went = pairing(1, &code, &code, &new, &mut |_, message| {
            all.push(message);
            all.iter().rev().chain(all.iter()).cloned().collect()
        });
        let (joined, admitted) = (went.joined.unwrap(), went.admitted.unwrap());
        assert_eq!(admitted.device, new.public().unwrap());
        assert_eq!(admitted.transcript, joined.transcript);
        assert_eq!(went.tries_failed, 0);
    }
}

#[test]
fn a_mailbox_that_drops_pairs_nobody() {
    let (new, codes) = codes(2);
    for code in codes {
        for of_new in [true, false] {
            let went = pairing(2, &code, &code, &new, &mut |from_new, message| {
                if from_new == of_new {
                    Vec::new()
                } else {
                    vec![message]
                }
            });
            assert!(went.joined.is_none() && went.admitted.is_none());
        }
    }
}

#[test]
fn a_changed_message_at_any_place_lets_nobody_else_in() {
    let (new, codes) = codes(3);
    let keys = new.public().unwrap();
    let (mut runs, mut unpaired) = (0, 0);
    for code in codes {
        for place in 0..8 {
            for at in [1, 3, 8, 20, 30, 100, 180] {
                let mut number = 0;
                let went = pairing(3, &code, &code, &new, &mut |_, message| {
                    number += 1;
                    let mut bytes = message.encode();
                    if number == place + 1 && at < bytes.len() {
                        bytes[at] ^= 4;
                    }
                    MailboxMessage::decode(&bytes).into_iter().collect()
                });
                runs += 1;
                unpaired += usize::from(went.admitted.is_none());
                assert!(
                    went.admitted
                        .as_ref()
                        .is_none_or(|admitted| admitted.device == keys)
                );
                if let (Some(joined), Some(admitted)) = (&went.joined, &went.admitted) {
                    assert_eq!(joined.transcript, admitted.transcript);
                }
                assert_eq!(went.saw.0, went.saw.1, "nobody was ever shown other digits");
            }
        }
    }
    assert!(unpaired > 0 && unpaired < runs, "{unpaired} of {runs}");
}

#[test]
fn whoever_does_not_know_the_code_has_three_guesses() {
    let (new, [_, real]) = codes(4);
    let (mallory, [_, guess]) = codes(1_004);
    // In the new device's place, and in the old one's.
    let went = pairing(4, &guess, &real, &mallory, &mut |_, message| vec![message]);
    assert!(went.admitted.is_none() && went.joined.is_none());
    assert_eq!(went.ended.last(), Some(&PairingError::Used), "{:?}", went.ended);
    assert!(went.tries_failed <= 4);
    let went = pairing(4, &real, &guess, &new, &mut |_, message| vec![message]);
    assert!(went.admitted.is_none() && went.joined.is_none());
    assert_eq!(went.ended.last(), Some(&PairingError::Used), "{:?}", went.ended);
}

#[test]
fn whoever_photographed_a_code_to_scan_has_other_keys() {
    let (_, [real, _]) = codes(5);
    let mallory = Keychain::random(&mut Seeded::new(1_005));
    let went = pairing(5, &real, &real, &mallory, &mut |_, message| vec![message]);
    assert!(went.admitted.is_none());
    assert!(went.ended.contains(&PairingError::OtherKeys), "{:?}", went.ended);
}

#[test]
fn whoever_stands_between_with_the_typed_code_shows_other_digits() {
    let (new, [_, code]) = codes(6);
    let mallory = Keychain::random(&mut Seeded::new(1_006));
    // Two pairings, each of one victim with the adversary: what the two users see.
    let with_new = pairing(6, &code, &code, &new, &mut |_, message| vec![message]);
    let with_old = pairing(1_006, &code, &code, &mallory, &mut |_, message| vec![message]);
    assert!(!with_new.saw.0.is_empty());
    assert_ne!(with_new.saw.0, with_old.saw.1);
}
