//! Attacks on who belongs to the account, on who serves it, and on the version that is spoken.

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{
    Action, ControlEntry, ControlStatement, Enrol, RevokeReason, device_proof_id,
};
use hearth_protocol::envelope::Batch;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{DeviceKeys, Signature, TimeMs};
use hearth_protocol::message::{ControlPart, Refusal, Reply, ReplyFrame, Request};
use hearth_sync::device::{Input, Keychain, Link, Notice};
use hearth_sync::keys::SigningKey;

use crate::kit::*;
use crate::world::{Passing, World};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn part(entry: ControlEntry) -> Reply {
    Reply::Control(ControlPart {
        entries: vec![entry].try_into().unwrap(),
        wraps: None,
        more: false,
    })
}

/// An enrolment of somebody's keys, as the next entry, said to be by node 0 and signed by this key.
fn enrolment(world: &mut World, signer: &SigningKey) -> ControlEntry {
    let keys = Keychain::random(&mut world.random);
    let (device, transcript) = (keys.public().unwrap(), hash_of(b"no pairing"));
    let id = account(world);
    let proof = keys
        .signing()
        .unwrap()
        .sign(&device_proof_id(&id, &device, &transcript));
    let known = world.device(1).account();
    let statement = ControlStatement {
        number: known.number() + 1,
        previous: known.head(),
        author: world.device(0).id(),
        at: TimeMs { ms: world.now },
        action: Action::Enrol(Box::new(Enrol {
            device,
            proof,
            transcript,
        })),
    };
    let mut entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    entry.signature = signer.sign(&entry.id(&id));
    entry
}

#[test]
fn a_forged_enrolment_lets_nobody_in() {
    let (mut world, _) = pair(1);
    let key = stranger(&mut world);
    let entry = enrolment(&mut world, &key);
    inject(&mut world, 1, part(entry));
    assert_eq!(world.alarms(1), [&Notice::Tampered]);
    // The server's own key signs no entries, either.
    reconnect(&mut world, 1);
    let key = world.server_key();
    let entry = enrolment(&mut world, &key);
    inject(&mut world, 1, part(entry));
    assert_eq!(world.alarms(1).len(), 2);
    assert_eq!(world.device(1).account().devices().len(), 2);
    all_is_well(&mut world);
    // Rightly signed it would have been taken: nothing but the signature was wrong.
    let key = world.device(0).keychain().signing().unwrap();
    let entry = enrolment(&mut world, &key);
    inject(&mut world, 1, part(entry));
    assert_eq!(world.device(1).account().devices().len(), 3);
}

#[test]
fn an_enrolment_with_exchanged_keys_is_tampering() {
    let (mut world, _) = pair(2);
    let mallory = Keychain::random(&mut world.random).public().unwrap();
    world.down = replies_to(1, move |mut frame| {
        if let Reply::Control(part) = &mut frame.reply {
            let mut entries = std::mem::take(&mut part.entries).into_inner();
            for entry in &mut entries {
                if let Action::Enrol(enrol) = &mut entry.statement.action {
                    enrol.device = DeviceKeys {
                        agreement: mallory.agreement,
                        ..enrol.device
                    };
                }
            }
            part.entries = entries.try_into().unwrap();
        }
        vec![frame]
    });
    world.enrol(0);
    world.settle(5_000);
    assert!(world.seen(1, |notice| *notice == Notice::Tampered));
    assert!(world.alarms(1).iter().all(|notice| **notice == Notice::Tampered));
    assert_eq!(world.device(1).account().devices().len(), 2);
    all_is_well(&mut world);
    assert_eq!(world.device(1).account().devices().len(), 3);
}

#[test]
fn a_flipped_bit_at_any_byte_of_an_entry_changes_no_membership() {
    let (mut world, _) = pair(3);
    let key = world.device(0).keychain().signing().unwrap();
    let entry = enrolment(&mut world, &key);
    let bytes = entry.encode();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let Ok(entry) = ControlEntry::decode(&flipped) else {
            continue;
        };
        reconnect(&mut world, 1);
        inject(&mut world, 1, part(entry));
        assert_eq!(world.device(1).account().devices().len(), 2, "byte {at}");
    }
    all_is_well(&mut world);
}

#[test]
fn a_false_server_gets_nothing_but_hello() {
    let (mut world, handle) = pair(4);
    world.offline(1);
    world.edit(1, handle, b"not for false servers");
    let key = stranger(&mut world);
    let (sent, proof) = (requests(&mut world, 1), key.sign(&hash_of(b"a session")));
    world.down = replies_to(1, move |mut frame| {
        if let Reply::Welcome(welcome) = &mut frame.reply {
            welcome.proof = proof;
        }
        vec![frame]
    });
    world.online(1);
    world.run(40);
    assert!(world.seen(1, |notice| *notice == Notice::FalseServer));
    assert!(
        world
            .alarms(1)
            .iter()
            .all(|notice| **notice == Notice::FalseServer)
    );
    let told = sent.borrow();
    assert!(
        told.iter().all(|request| matches!(request, Request::Hello(_))),
        "{told:?}"
    );
    drop(told);
    all_is_well(&mut world);
}

#[test]
fn a_welcome_of_another_session_proves_nothing() {
    let (mut world, _) = pair(5);
    let (heard, tap) = listen(1);
    world.down = tap;
    world.hang_up(1);
    world.settle(1_000);
    let old = heard.borrow().iter().find_map(|passing| match passing {
        Passing::Reply(frame) => match &frame.reply {
            Reply::Welcome(welcome) => Some(welcome.proof),
            _ => None,
        },
        _ => None,
    });
    let proof = old.unwrap();
    world.down = replies_to(1, move |mut frame| {
        if let Reply::Welcome(welcome) = &mut frame.reply {
            welcome.proof = proof;
        }
        vec![frame]
    });
    world.hang_up(1);
    world.run(30);
    assert!(world.seen(1, |notice| *notice == Notice::FalseServer));
    all_is_well(&mut world);
}

#[test]
fn a_lower_version_is_not_spoken() {
    let (mut world, handle) = pair(6);
    world.offline(1);
    world.edit(1, handle, b"only in a version that is safe");
    let sent = requests(&mut world, 1);
    world.down = replies_to(1, |mut frame| {
        if let Reply::Welcome(welcome) = &mut frame.reply {
            welcome.version = 0;
        }
        vec![frame]
    });
    world.online(1);
    world.run(30);
    assert!(world.nodes[1].closed.contains(&Some(ErrorCode::VersionTooOld)));
    assert!(
        sent.borrow()
            .iter()
            .all(|request| matches!(request, Request::Hello(_)))
    );
    assert_no_alarm(&world, 1);
    all_is_well(&mut world);
}

#[test]
fn a_device_does_not_believe_that_it_was_shut_out_without_the_entry() {
    let (mut world, handle) = pair(7);
    world.down = replies_to(1, |mut frame| {
        if let Reply::Welcome(_) = frame.reply {
            frame.reply = Reply::Refused(Refusal {
                code: ErrorCode::RevokedDevice,
                retry_after_ms: 0,
                versions: None,
            });
        }
        vec![frame]
    });
    world.hang_up(1);
    world.run(60);
    let shown = Notice::Refused {
        code: ErrorCode::RevokedDevice,
        retry_after_ms: 0,
    };
    assert!(world.seen(1, |notice| *notice == shown));
    assert!(!world.seen(1, |notice| *notice == Notice::Revoked));
    assert!(has(&world, 1, &handle, b"known to both"));
    all_is_well(&mut world);
    assert_no_alarm(&world, 1);
}

#[test]
fn a_device_that_was_shut_out_reads_nothing_of_what_follows() {
    let mut world = devices(8, 3);
    let handle = world.handle();
    world.edit(2, handle, b"of a member");
    world.settle(5_000);
    // The server doesn't tell node 2, and passes everything else on to it.
    let view = world.second_view(world.relays[0].store().clone());
    world.call(2, view);
    world.settle(5_000);
    let (heard, tap) = listen(1);
    world.down = tap;
    let target = world.device(2).id();
    let reason = RevokeReason::Lost;
    world.give(0, Input::Revoke { target, reason });
    world.settle(10_000);
    let fresh = world.handle();
    world.edit(0, handle, b"not for the thief");
    world.edit(0, fresh, b"nor is this one");
    world.settle(5_000);
    assert!(has(&world, 1, &fresh, b"nor is this one"));
    let all = std::mem::take(&mut *heard.borrow_mut());
    let mut passed = 0;
    for passing in all {
        let news = match passing {
            Passing::Reply(frame) => match frame.reply {
                Reply::Control(_) => continue,
                reply => Passing::news(reply),
            },
            Passing::Batch(Batch::Run(run)) => Passing::Batch(Batch::Run(run)),
            _ => continue,
        };
        passed += usize::from(world.inject_down(2, news));
        world.settle(0);
    }
    assert!(passed > 5);
    assert!(!has(&world, 2, &handle, b"not for the thief"));
    assert!(!world.nodes[2].disk.documents.contains_key(&fresh));
    // Shown the entries in the end, it knows.
    world.call(2, 0);
    all_is_well(&mut world);
    assert!(world.seen(2, |notice| *notice == Notice::Revoked));
}

#[test]
fn a_server_that_forgets_a_revocation_is_told_again() {
    let mut world = devices(9, 3);
    let handle = world.handle();
    world.edit(0, handle, b"before anything");
    world.settle(5_000);
    let before = world.relays[0].store().clone();
    world.offline(2);
    let target = world.device(2).id();
    let reason = RevokeReason::Lost;
    world.give(0, Input::Revoke { target, reason });
    world.settle(10_000);
    world.put_store(before);
    world.online(2);
    world.settle(60_000);
    assert!(world.device(1).account().member(&target).is_none());
    all_is_well(&mut world);
    assert!(
        world.seen(2, |notice| *notice == Notice::Revoked),
        "the entry is there again"
    );
    world.assert_nobody_accused();
}

#[test]
fn two_views_age_and_are_brought_together_when_they_cross() {
    let (mut world, handle) = pair(10);
    world.pass(DAY_MS);
    let verified = |world: &World, node: usize| {
        let status = world.device(node).status(world.now);
        let other = status.devices.into_iter().find(|device| !device.this).unwrap();
        world.now - other.last_verified_ms.unwrap()
    };
    for node in 0..2 {
        assert!(
            verified(&world, node) <= DAY_MS + 60_000,
            "{}",
            verified(&world, node)
        );
    }
    let view = world.second_view(world.relays[0].store().clone());
    world.call(1, view);
    for day in 0..5u8 {
        world.edit(0, handle, &[day; 10]);
        world.edit(1, handle, &[day + 100; 10]);
        world.pass(DAY_MS);
        assert_eq!(world.device(1).status(world.now).link, Link::Live);
    }
    // Nothing inside a view tells of the other; but both show how old their last agreement is.
    for node in 0..2 {
        assert_no_alarm(&world, node);
        assert!(verified(&world, node) >= 4 * DAY_MS, "{}", verified(&world, node));
    }
    world.call(1, 0);
    world.settle(60_000);
    // The other view's tokens aren't known here: the user is asked.
    assert!(!world.alarms(1).is_empty());
    assert!(
        world
            .alarms(1)
            .iter()
            .all(|notice| **notice == Notice::RestoredOrCopied)
    );
    world.give(1, Input::Restored);
    world.settle(60_000);
    all_is_well(&mut world);
    assert_eq!(world.nodes[0].disk.documents[&handle].len(), 11);
    world.assert_nobody_accused();
    world.pass(DAY_MS);
    for node in 0..2 {
        assert!(
            verified(&world, node) <= DAY_MS + 60_000,
            "{}",
            verified(&world, node)
        );
    }
}

#[test]
fn a_false_head_of_ones_own_log_asks_before_anything_is_written() {
    let (mut world, handle) = pair(11);
    world.offline(1);
    world.down = replies_to(1, |mut frame| {
        if let Reply::Welcome(welcome) = &mut frame.reply
            && let Some(own) = &mut welcome.own
        {
            own.seq += 5;
        }
        vec![frame]
    });
    let sent = requests(&mut world, 1);
    world.edit(1, handle, b"waits for an answer");
    world.online(1);
    world.settle(5_000);
    assert_eq!(world.alarms(1), [&Notice::RestoredOrCopied]);
    assert!(
        !world.nodes[1].disk.dirty.is_empty(),
        "nothing is published before the answer"
    );
    assert!(!sent.borrow().is_empty());
    (world.down, world.up) = (None, None);
    world.give(1, Input::Restored);
    world.settle(10_000);
    all_is_well(&mut world);
    assert!(has(&world, 0, &handle, b"waits for an answer"));
}

#[test]
fn a_server_that_says_without_end_that_it_was_restored_takes_no_more_than_sixteen_logs() {
    let (mut world, handle) = pair(12);
    world.offline(1);
    world.down = replies_to(1, |mut frame| {
        if let Reply::Welcome(welcome) = &mut frame.reply {
            welcome.afresh = true;
        }
        vec![frame]
    });
    world.edit(1, handle, b"waits for an answer");
    world.online(1);
    // A node waits longer after every close.
    world.settle(24 * 60 * 60 * 1_000);
    assert_eq!(world.alarms(1), [&Notice::RestoredOrCopied]);
    world.down = None;
    world.give(1, Input::Restored);
    world.settle(10_000);
    all_is_well(&mut world);
    assert!(has(&world, 0, &handle, b"waits for an answer"));
}

/// Whoever is on the way answers a greeting with a refusal; then it shows itself for the server, or not.
fn refused_on_the_way(seed: u64, code: ErrorCode) {
    let (mut world, handle) = pair(seed);
    let forger = stranger(&mut world);
    let forge = move |mut frame: ReplyFrame| {
        match frame.reply {
            Reply::Welcome(_) => {
                frame.reply = Reply::Refused(Refusal {
                    code,
                    retry_after_ms: 0,
                    versions: None,
                });
            }
            Reply::Proof(_) => frame.reply = Reply::Proof(forger.sign(&hash_of(b"not over this"))),
            _ => return Vec::new(),
        }
        vec![frame]
    };
    world.down = replies_to(1, forge);
    let sent = requests(&mut world, 1);
    for _ in 0..3 {
        world.hang_up(1);
        world.online(1);
        world.settle(1_000);
    }
    let all = sent.borrow();
    let harmless = |request: &Request| matches!(request, Request::Hello(_) | Request::Prove(_));
    assert!(all.iter().all(harmless), "{all:?}");
    assert!(all.iter().any(|request| matches!(request, Request::Prove(_))));
    drop(all);
    assert!(!world.seen(1, |notice| *notice == Notice::RestoredOrCopied));
    assert!(world.seen(1, |notice| *notice == Notice::FalseServer));
    world.edit(1, handle, b"published all the same");
    all_is_well(&mut world);
    assert!(has(&world, 0, &handle, b"published all the same"));
    let opened = |request: &Request| matches!(request, Request::Open(_));
    assert!(!sent.borrow().iter().any(opened));
}

#[test]
fn an_unknown_account_is_believed_of_the_server_alone() {
    refused_on_the_way(8, ErrorCode::UnknownAccount);
}

#[test]
fn an_account_that_was_removed_is_believed_of_the_server_alone() {
    refused_on_the_way(10, ErrorCode::Purged);
}

#[test]
fn a_stale_instance_is_believed_of_the_server_alone() {
    refused_on_the_way(9, ErrorCode::StaleInstance);
}
