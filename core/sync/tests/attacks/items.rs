//! Attacks on envelopes and their chains.

use hearth_protocol::codec::Wire;
use hearth_protocol::control::RevokeReason;
use hearth_protocol::envelope::{
    Batch, Detached, Envelope, HeaderVersion, Item, Run, Sealed, SignedHole, next_link,
};
use hearth_protocol::id::{Hash, Link, Signature};
use hearth_protocol::message::Reply;
use hearth_protocol::statement::{AnyStatement, Heartbeat};
use hearth_protocol::vector::{Head, VersionVector};
use hearth_sync::device::{Input, Notice, Proof, Suspicion};

use crate::kit::*;
use crate::world::{Passing, Seeded};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn a_dropped_batch_is_asked_for_again() {
    let (mut world, handle) = pair(1);
    intercept(&mut world, 1, |world| world.edit(0, handle, b"dropped"));
    assert!(!has(&world, 1, &handle, b"dropped"));
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"dropped"));
    world.assert_honest();
}

#[test]
fn what_is_behind_a_dropped_batch_comes_without_a_new_connection() {
    let (mut world, handle) = pair(1);
    let mut dropped = false;
    world.down = runs_to(1, move |run| {
        if std::mem::replace(&mut dropped, true) {
            vec![run]
        } else {
            Vec::new()
        }
    });
    for text in [b"change one".as_slice(), b"change two", b"change 333"] {
        world.edit(0, handle, text);
        world.settle(1_000);
    }
    assert!(has(&world, 1, &handle, b"change one"));
    assert!(has(&world, 1, &handle, b"change 333"));
    world.assert_honest();
}

#[test]
fn batches_that_never_come_are_a_suspicion() {
    let (mut world, handle) = pair(2);
    world.down = runs_to(1, |_| Vec::new());
    world.edit(0, handle, b"withheld");
    world.settle(1_000);
    world.hang_up(1);
    world.settle(120_000);
    let log = log_of(&world, 0);
    assert_eq!(world.alarms(1), [&Notice::Suspicion(Suspicion::Withheld { log })]);
    all_is_well(&mut world);
}

#[test]
fn replayed_batches_change_nothing() {
    let (mut world, handle) = pair(3);
    let mut all: Vec<Run> = Vec::new();
    world.down = runs_to(1, move |run| {
        all.push(run);
        all.iter().chain(all.iter()).cloned().collect()
    });
    for text in [b"change one", b"change two", b"change 333"] {
        world.edit(0, handle, text);
        world.settle(1_000);
    }
    world.hang_up(1);
    world.settle(5_000);
    all_is_well(&mut world);
    world.assert_honest();
}

#[test]
fn reordered_batches_come_to_the_same() {
    let (mut world, handle) = pair(4);
    let mut waiting: Vec<Run> = Vec::new();
    world.down = runs_to(1, move |run| {
        waiting.push(run);
        if waiting.len() < 3 {
            return Vec::new();
        }
        waiting.drain(..).rev().collect()
    });
    for text in [b"change one", b"change two", b"change 333"] {
        world.edit(0, handle, text);
        world.settle(1_000);
    }
    assert!(
        !has(&world, 1, &handle, b"change 333"),
        "its place is behind a gap"
    );
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"change 333"));
    world.assert_honest();
}

#[test]
fn a_body_under_another_documents_handle_is_tampering() {
    let (mut world, handle) = pair(5);
    let other = world.handle();
    world.edit(0, other, b"another document");
    world.settle(1_000);
    world.down = items_to(1, move |_, _, item| match item {
        Item::Envelope(mut sealed) if sealed.fields.handle == handle => {
            sealed.fields.handle = other;
            Item::Envelope(sealed)
        }
        item => item,
    });
    world.edit(0, handle, b"meant for the first");
    world.settle(1_000);
    assert_eq!(world.alarms(1), [&Notice::Tampered]);
    assert!(!has(&world, 1, &other, b"meant for the first"));
    all_is_well(&mut world);
}

#[test]
fn bodies_of_two_envelopes_exchanged_are_tampering() {
    let (mut world, handle) = pair(6);
    world.offline(1);
    let other = world.handle();
    world.edit(0, handle, b"first text");
    world.settle(1_000);
    world.edit(0, other, b"other text");
    world.settle(1_000);
    world.down = runs_to(1, |mut run| {
        let mut items = run.items.into_inner();
        let bodies: Vec<usize> = (0..items.len())
            .filter(|place| matches!(items[*place], Item::Envelope(_)))
            .collect();
        if let [.., one, two] = bodies[..] {
            let (left, right) = items.split_at_mut(two);
            if let (Item::Envelope(one), Item::Envelope(two)) = (&mut left[one], &mut right[0]) {
                std::mem::swap(&mut one.ciphertext, &mut two.ciphertext);
            }
        }
        run.items = items.try_into().unwrap();
        vec![run]
    });
    world.online(1);
    world.settle(5_000);
    assert!(world.seen(1, |notice| *notice == Notice::Tampered));
    assert!(!has(&world, 1, &handle, b"other text") && !has(&world, 1, &other, b"first text"));
    all_is_well(&mut world);
}

#[test]
fn a_run_of_one_device_as_anothers_is_tampering() {
    let mut world = devices(7, 3);
    let handle = world.handle();
    for node in 0..3 {
        world.edit(node, handle, b"by everybody");
        world.settle(1_000);
    }
    for other in [1, 2] {
        let target = log_of(&world, other);
        let mut run = intercept(&mut world, 1, |world| world.edit(0, handle, &[other as u8; 9]));
        (run.log, run.first_seq) = (target, stored(&world, 1, &target) + 1);
        inject_run(&mut world, 1, run.clone());
        // At a place that is taken, too.
        run.first_seq = stored(&world, 1, &target);
        inject_run(&mut world, 1, run);
        assert!(!has(&world, 1, &handle, &[other as u8; 9]));
    }
    assert!(world.alarms(1).iter().all(|notice| **notice == Notice::Tampered));
    assert!(!world.alarms(1).is_empty());
    all_is_well(&mut world);
}

#[test]
fn an_item_at_another_place_of_its_log_is_tampering() {
    let (mut world, handle) = pair(8);
    let log = log_of(&world, 0);
    let first = intercept(&mut world, 1, |world| world.edit(0, handle, b"the earlier one"));
    let second = intercept(&mut world, 1, |world| world.edit(0, handle, b"the later one"));
    let place = stored(&world, 1, &log) + 1;
    let swapped = Run {
        first_seq: place,
        ..second.clone()
    };
    inject_run(&mut world, 1, swapped);
    assert_eq!(world.alarms(1), [&Notice::Tampered]);
    assert_eq!(stored(&world, 1, &log), place - 1, "nothing of it is stored");
    inject_run(&mut world, 1, first);
    inject_run(&mut world, 1, second);
    assert!(
        has(&world, 1, &handle, b"the later one"),
        "where they belong, they are taken"
    );
    all_is_well(&mut world);
}

#[test]
fn a_flipped_bit_at_any_byte_of_a_batch_applies_nothing() {
    let (mut world, handle) = pair(9);
    let log = log_of(&world, 0);
    let run = intercept(&mut world, 1, |world| world.edit(0, handle, b"as it was written"));
    let before = world.nodes[1].disk.documents.clone();
    let place = stored(&world, 1, &log);
    let bytes = Batch::Run(run.clone()).encode();
    let mut random = Seeded::new(9);
    let (mut closed, mut tampered) = (0, 0);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << random.below(8);
        let batch = Passing::Raw {
            batch: true,
            bytes: flipped,
        };
        let (closes, notices) = (world.nodes[1].closed.len(), world.alarms(1).len());
        world.down = runs_to(1, |_| Vec::new());
        reconnect(&mut world, 1);
        assert!(world.inject_down(1, batch));
        world.settle(0);
        assert_eq!(world.nodes[1].disk.documents, before, "byte {at}");
        assert_eq!(stored(&world, 1, &log), place, "byte {at}");
        closed += world.nodes[1].closed.len() - closes;
        tampered += world.alarms(1).len() - notices;
    }
    assert!(world.alarms(1).iter().all(|notice| **notice == Notice::Tampered));
    assert!(
        tampered > bytes.len() / 2,
        "{tampered} of {} were said",
        bytes.len()
    );
    assert!(closed > 0, "none was malformed");
    world.down = None;
    inject_run(&mut world, 1, run);
    assert!(has(&world, 1, &handle, b"as it was written"));
    all_is_well(&mut world);
}

#[test]
fn an_envelope_signed_by_a_stranger_is_tampering() {
    let (mut world, handle) = pair(10);
    let log = log_of(&world, 0);
    let mut run = intercept(&mut world, 1, |world| world.edit(0, handle, b"genuine text"));
    let (genuine, key) = (run.clone(), stranger(&mut world));
    let previous = link(&world, 0, &log, run.first_seq - 1);
    let mut sealed = first_envelope(&run);
    sealed.fields.salt.0[0] ^= 1;
    let item = sign_item(&account(&world), log, run.first_seq, &previous, sealed, &key);
    run.items = vec![item].try_into().unwrap();
    inject_run(&mut world, 1, run.clone());
    // And one that is honest beyond its signature.
    let sealed = first_envelope(&genuine);
    run.items = vec![sign_item(
        &account(&world),
        log,
        run.first_seq,
        &previous,
        sealed,
        &key,
    )]
    .try_into()
    .unwrap();
    inject_run(&mut world, 1, run);
    assert_eq!(world.alarms(1), [&Notice::Tampered, &Notice::Tampered]);
    assert!(!has(&world, 1, &handle, b"genuine text"));
    inject_run(&mut world, 1, genuine);
    assert!(has(&world, 1, &handle, b"genuine text"));
    all_is_well(&mut world);
}

#[test]
fn what_a_revoked_device_wrote_beyond_its_cut_is_taken_by_nobody() {
    let mut world = devices(11, 3);
    let handle = world.handle();
    world.edit(2, handle, b"in good time");
    world.settle(5_000);
    // The server keeps the revoked device in a view of its own, where it goes on writing.
    let view = world.second_view(world.relays[0].store().clone());
    world.call(2, view);
    world.settle(5_000);
    let target = world.device(2).id();
    let reason = RevokeReason::Lost;
    world.give(0, Input::Revoke { target, reason });
    world.settle(10_000);
    let sent = shared::<Vec<Run>>();
    let copy = sent.clone();
    world.up = Some(Box::new(move |node, passing| {
        if let (2, Passing::Batch(Batch::Run(run))) = (node, &passing) {
            copy.borrow_mut().push(run.clone());
        }
        vec![passing]
    }));
    world.edit(2, handle, b"after it was shut out");
    world.settle(5_000);
    let runs = sent.borrow().clone();
    assert!(!runs.is_empty());
    for run in runs {
        for node in [0, 1] {
            let place = stored(&world, node, &run.log);
            inject_run(&mut world, node, run.clone());
            assert!(!has(&world, node, &handle, b"after it was shut out"));
            assert_eq!(stored(&world, node, &run.log), place, "its chain ends at the cut");
        }
    }
    assert!(has(&world, 0, &handle, b"in good time"));
    // Nor is it told anything: it learns what has become of it, and no more.
    world.call(2, 0);
    all_is_well(&mut world);
    assert!(world.seen(2, |notice| *notice == Notice::Revoked));
    world.assert_honest();
}

#[test]
fn another_accounts_envelopes_and_statements_are_taken_by_nobody() {
    let (mut world, handle) = pair(12);
    let (mut other, foreign) = pair(1_012);
    let (heard, tap) = listen(1);
    other.down = tap;
    other.edit(0, foreign, b"of another account");
    other.settle(1_000);
    other.hang_up(1);
    let third = other.enrol(0);
    other.settle(5_000);
    other.online(third);
    other.settle(5_000);
    let before = world.nodes[1].disk.clone();
    for passing in heard.borrow().iter() {
        reconnect(&mut world, 1);
        let news = match passing.clone() {
            Passing::Reply(frame) => Passing::news(frame.reply),
            other => other,
        };
        world.inject_down(1, news);
        world.settle(0);
    }
    assert!(heard.borrow().len() > 10);
    assert_eq!(world.nodes[1].disk.documents, before.documents);
    assert_eq!(world.device(1).account().devices().len(), 2);
    assert!(!world.nodes[1].disk.documents.contains_key(&foreign));
    world.edit(0, handle, b"and on it goes");
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"and on it goes"));
}

#[test]
fn a_hole_for_a_living_body_is_found_out_by_the_next_heartbeat() {
    let (mut world, handle) = pair(13);
    // With its signature, as a server that has compacted would send it.
    let link = link(
        &world,
        0,
        &log_of(&world, 0),
        stored(&world, 0, &log_of(&world, 0)),
    );
    let id = account(&world);
    let mut previous = link;
    world.down = items_to(1, move |log, seq, item| match item {
        Item::Envelope(sealed) if sealed.fields.handle == handle => {
            let signature = sealed.signature;
            let envelope = Envelope {
                version: HeaderVersion::V1,
                log,
                seq,
                sealed,
            };
            let header_hash = envelope.header_hash(&id, &previous);
            previous = next_link(&previous, &header_hash);
            Item::SignedHole(SignedHole {
                header_hash,
                signature,
            })
        }
        item => item,
    });
    world.edit(0, handle, b"kept from one device");
    world.settle(5_000);
    assert!(!has(&world, 1, &handle, b"kept from one device"));
    assert_no_alarm(&world, 1);
    world.pass(2 * DAY_MS);
    let device = world.device(0).id();
    assert!(
        world.seen(1, |notice| *notice
            == Notice::Suspicion(Suspicion::LiveRoot { device })),
        "{:?}",
        world.nodes[1].notices
    );
}

#[test]
fn a_hole_at_the_tail_is_not_believed_without_a_signature() {
    let (mut world, handle) = pair(14);
    let log = log_of(&world, 0);
    let place = stored(&world, 1, &log);
    world.down = items_to(1, move |_, _, item| match item {
        Item::Envelope(_) => Item::Hole(hash_of(b"invented")),
        item => item,
    });
    world.edit(0, handle, b"behind an invented hole");
    world.settle(5_000);
    assert_eq!(stored(&world, 1, &log), place);
    // Nor with one of somebody else's.
    let hole = Item::SignedHole(SignedHole {
        header_hash: hash_of(b"invented"),
        signature: Signature([7; 64]),
    });
    let run = Run {
        version: HeaderVersion::V1,
        log,
        first_seq: place + 1,
        items: vec![hole].try_into().unwrap(),
    };
    inject_run(&mut world, 1, run);
    assert_eq!(stored(&world, 1, &log), place);
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"behind an invented hole"));
}

#[test]
fn a_hole_before_a_signed_one_is_not_believed() {
    let (mut world, handle) = pair(16);
    let log = log_of(&world, 0);
    let place = stored(&world, 1, &log);
    // Neither comes, so that what follows is new to the device.
    let kept: Shared<Vec<Item>> = shared();
    let keep = kept.clone();
    world.down = runs_to(1, move |run| {
        keep.borrow_mut().extend(run.items.into_inner());
        Vec::new()
    });
    for text in [b"the first.", b"the second"] {
        world.edit(0, handle, text);
        world.settle(1_000);
    }
    let kept = kept.borrow().clone();
    let [Item::Envelope(first), Item::Envelope(second)] = &kept[..] else {
        panic!("{} items", kept.len());
    };
    let before = link(&world, 0, &log, place);
    let id = account(&world);
    let envelope = |sealed: &Sealed, seq| Envelope {
        version: HeaderVersion::V1,
        log,
        seq,
        sealed: sealed.clone(),
    };
    let middle = next_link(&before, &envelope(first, place + 1).header_hash(&id, &before));
    let last = Item::SignedHole(SignedHole {
        header_hash: envelope(second, place + 2).header_hash(&id, &middle),
        signature: second.signature,
    });
    let holes = |first: Hash| Run {
        version: HeaderVersion::V1,
        log,
        first_seq: place + 1,
        items: vec![Item::Hole(first), last.clone()].try_into().unwrap(),
    };
    inject_run(&mut world, 1, holes(hash_of(b"invented")));
    assert_eq!(stored(&world, 1, &log), place);
    assert_eq!(world.alarms(1), [&Notice::Tampered]);
    let true_one = envelope(first, place + 1).header_hash(&id, &before);
    inject_run(&mut world, 1, holes(true_one));
    assert_eq!(stored(&world, 1, &log), place + 2, "a run that is true is taken");
}

#[test]
fn an_honest_device_cannot_be_shown_to_have_signed_twice() {
    let (mut world, handle) = pair(15);
    let (heard, tap) = listen(1);
    world.down = tap;
    world.edit(0, handle, b"signed once");
    world.settle(1_000);
    let run = heard.borrow().iter().find_map(|passing| match passing {
        Passing::Batch(Batch::Run(run)) => Some(run.clone()),
        _ => None,
    });
    let run = run.unwrap();
    let mut changed = run.clone();
    let mut sealed = first_envelope(&run);
    sealed.fields.salt.0[3] ^= 1;
    changed.items = vec![Item::Envelope(sealed)].try_into().unwrap();
    inject_run(&mut world, 1, changed.clone());
    inject_run(&mut world, 0, changed);
    for node in 0..2 {
        assert_eq!(world.alarms(node), [&Notice::Tampered]);
    }
    inject_run(&mut world, 1, run);
    assert_eq!(world.alarms(1).len(), 1);
    all_is_well(&mut world);
}

#[test]
fn two_signed_hashes_for_one_place_are_proven() {
    let (mut world, handle) = pair(16);
    let log = log_of(&world, 0);
    let (heard, tap) = listen(1);
    world.down = tap;
    world.edit(0, handle, b"signed the first time");
    world.settle(1_000);
    let run = heard.borrow().iter().find_map(|passing| match passing {
        Passing::Batch(Batch::Run(run)) => Some(run.clone()),
        _ => None,
    });
    let mut run = run.unwrap();
    // What only the device itself could do, or whoever has stolen its key.
    let key = world.device(0).keychain().signing().unwrap();
    let previous = link(&world, 0, &log, run.first_seq - 1);
    let mut sealed = first_envelope(&run);
    sealed.fields.salt.0[0] ^= 1;
    let item = sign_item(&account(&world), log, run.first_seq, &previous, sealed, &key);
    run.items = vec![item].try_into().unwrap();
    let seq = run.first_seq;
    inject_run(&mut world, 1, run);
    assert_eq!(world.alarms(1), [&Notice::Proof(Proof::TwoHashes { log, seq })]);
}

#[test]
fn a_heartbeat_that_names_another_link_proves_two_views() {
    let (mut world, handle) = pair(17);
    world.edit(0, handle, b"as it is here");
    world.settle(5_000);
    let log = log_of(&world, 0);
    let head = Head {
        seq: 1,
        link: Link([9; 32]),
    };
    let device = world.device(0).id();
    let heartbeat = |world: &crate::world::World, head: Head| Heartbeat {
        device,
        number: 1_000,
        vector: VersionVector::new([(log, head)]).unwrap(),
        live_root: hash_of(b""),
        erased: hearth_protocol::erasure::EraseSet::default(),
        erased_root: hash_of(b""),
        control: world.device(0).account().head(),
        at: hearth_protocol::id::TimeMs { ms: world.now },
    };
    // By a stranger it proves nothing.
    let statement = heartbeat(&world, head);
    let forged = stranger(&mut world).sign_statement(&account(&world), statement.clone());
    say(&mut world, 1, AnyStatement::Heartbeat(Box::new(forged)));
    assert_eq!(world.alarms(1), [&Notice::Tampered]);
    let key = world.device(0).keychain().signing().unwrap();
    let signed = key.sign_statement(&account(&world), statement);
    say(&mut world, 1, AnyStatement::Heartbeat(Box::new(signed)));
    let proof = Notice::Proof(Proof::SplitView { device, log });
    assert_eq!(world.alarms(1), [&Notice::Tampered, &proof]);
}

#[test]
fn envelopes_out_of_their_chain_are_not_applied() {
    let (mut world, handle) = pair(18);
    let log = log_of(&world, 0);
    let run = intercept(&mut world, 1, |world| {
        world.edit(0, handle, b"torn from its chain");
    });
    let detached = Detached {
        previous: link(&world, 0, &log, run.first_seq - 1),
        envelope: Envelope {
            version: HeaderVersion::V1,
            log,
            seq: run.first_seq,
            sealed: first_envelope(&run),
        },
    };
    let batch = Batch::Detached(vec![detached].try_into().unwrap());
    world.inject_down(1, Passing::Batch(batch));
    world.settle(0);
    assert!(!has(&world, 1, &handle, b"torn from its chain"));
    all_is_well(&mut world);
    world.assert_honest();
}

#[test]
fn a_server_that_accepts_and_drops_is_found_out_by_a_heartbeat() {
    let (mut world, handle) = pair(19);
    let log = log_of(&world, 0);
    // Node 1 is shown a world in which that log ends here, and told that this is all.
    let end = Head {
        seq: stored(&world, 1, &log),
        link: link(&world, 1, &log, stored(&world, 1, &log)),
    };
    world.down = to(1, move |passing| match passing {
        Passing::Batch(Batch::Run(run)) if run.log == log => Vec::new(),
        Passing::Reply(mut frame) => {
            if let Reply::Complete(complete) = &mut frame.reply {
                let heads = complete.vector.iter().copied().filter(|(other, _)| *other != log);
                complete.vector = VersionVector::new(heads.chain([(log, end)])).unwrap();
            }
            vec![Passing::Reply(frame)]
        }
        other => vec![other],
    });
    world.edit(0, handle, b"taken, and kept from the rest");
    world.settle(5_000);
    world.hang_up(1);
    world.settle(60_000);
    assert_no_alarm(&world, 1);
    world.pass(2 * DAY_MS);
    world.hang_up(1);
    world.settle(90_000);
    assert!(
        world.seen(1, |notice| *notice
            == Notice::Suspicion(Suspicion::Withheld { log })),
        "{:?}",
        world.nodes[1].notices
    );
    all_is_well(&mut world);
}

/// After a restore a device writes another log: nothing but the items say that they come after those of its old one.
#[test]
fn what_a_device_wrote_after_its_restore_waits_for_what_it_wrote_before() {
    let (mut world, handle) = pair(31);
    let before = intercept(&mut world, 1, |world| world.edit(0, handle, b"in the old log"));
    world.offline(1);
    world.give(0, Input::Restored);
    world.settle(5_000);
    world.down = runs_to(1, |_| Vec::new());
    world.online(1);
    world.settle(5_000);
    let after = intercept(&mut world, 1, |world| world.edit(0, handle, b"in the new one"));
    assert_ne!(before.log, after.log);
    inject_run(&mut world, 1, after);
    assert!(!has(&world, 1, &handle, b"in the new one"));
    inject_run(&mut world, 1, before);
    for text in [b"in the old log", b"in the new one"] {
        assert!(has(&world, 1, &handle, text));
    }
    reconnect(&mut world, 1);
    world.settle(10_000);
    all_is_well(&mut world);
}
