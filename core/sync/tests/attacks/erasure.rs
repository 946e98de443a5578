//! Attacks on erasing: what is withheld, revived, invented or confirmed by somebody else.

use hearth_protocol::certificate;
use hearth_protocol::codec::Set;
use hearth_protocol::erasure::{Erase, EraseAck, Receipt};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{Hash, TimeMs};
use hearth_protocol::message::{ErasePart, Reply};
use hearth_protocol::statement::AnyStatement;
use hearth_relay::Space;
use hearth_relay::store::Store;
use hearth_sync::device::{Input, Link, Notice, Suspicion, Waits};

use crate::kit::*;
use crate::world::{Passing, World};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn only_erasure(world: &World, node: usize) -> hearth_sync::device::ErasureStatus {
    world.device(node).status(world.now).erasures[0].clone()
}

fn certified(world: &World, node: usize, id: &Hash) -> bool {
    let journal = &world.nodes[node].disk.journal;
    let made = world.device(node).certificate(id, world.now, journal);
    let (file, report) = made.unwrap().unwrap();
    assert_eq!(certificate::verify(&file).unwrap(), report);
    report.complete
}

#[test]
fn a_withheld_erasure_never_completes_and_is_shown_as_overdue() {
    let (mut world, handle) = pair(1);
    let other = world.handle();
    world.down = replies_to(1, |frame| match frame.reply {
        Reply::Erasures(_) => Vec::new(),
        _ => vec![frame],
    });
    world.erase(0, handle);
    world.settle(10_000);
    world.give(0, Input::Rotate);
    // The relay turns out whoever doesn't answer an erasure: it greets again, and stands at the gate.
    world.pass(60_000);
    assert!(
        world.nodes[1]
            .closed_by_relay
            .contains(&ErrorCode::EraseNotAcknowledged)
    );
    assert_eq!(world.device(1).status(world.now).link, Link::Gate);
    world.edit(0, other, b"behind the gate");
    world.edit(1, other, b"before the gate");
    world.pass(60_000);
    assert!(!has(&world, 1, &other, b"behind the gate") && !has(&world, 0, &other, b"before the gate"));
    let erasure = only_erasure(&world, 0);
    assert!(!erasure.complete && !erasure.overdue, "{erasure:#?}");
    assert_eq!(erasure.missing.acks, [world.device(1).id()]);
    assert!(!certified(&world, 0, &erasure.erase));
    world.now += 31 * DAY_MS;
    let erasure = only_erasure(&world, 0);
    assert!(erasure.overdue && !erasure.complete, "{erasure:#?}");
    all_is_well(&mut world);
    world.assert_gone(&handle);
    assert!(only_erasure(&world, 0).complete, "{:#?}", only_erasure(&world, 0));
    assert!(certified(&world, 0, &erasure.erase));
    world.assert_honest();
}

#[test]
fn what_names_a_withheld_erasure_waits() {
    let (mut world, handle) = pair(2);
    let other = world.handle();
    // Node 1 is in a view without the erasure, and given what node 0 writes after it.
    let view = world.second_view(world.relays[0].store().clone());
    world.call(1, view);
    world.settle(5_000);
    let caught = shared::<Vec<Passing>>();
    let copy = caught.clone();
    world.up = Some(Box::new(move |node, passing| {
        if let (0, Passing::Batch(_)) = (node, &passing) {
            copy.borrow_mut().push(passing.clone());
        }
        vec![passing]
    }));
    world.erase(0, handle);
    world.settle(5_000);
    world.edit(0, other, b"written after it");
    world.settle(5_000);
    for passing in caught.take() {
        world.inject_down(1, passing);
    }
    world.settle(5_000);
    let log = log_of(&world, 0);
    assert!(!has(&world, 1, &other, b"written after it"));
    let waits = world.device(1).status(world.now).waits;
    assert!(waits.contains(&Waits::Missing(log)), "{waits:?}");
    assert_eq!(only_erasure(&world, 0).missing.acks, [world.device(1).id()]);
}

#[test]
fn an_erased_body_is_not_revived_by_its_replay() {
    let (mut world, handle) = pair(3);
    let (heard, tap) = listen(1);
    world.down = tap;
    world.edit(0, handle, b"soon to be gone");
    world.settle(1_000);
    world.edit(0, handle, b"and this as well");
    world.settle(1_000);
    world.down = None;
    let late = intercept(&mut world, 1, |world| {
        world.edit(0, handle, b"held back until then");
    });
    world.erase(1, handle);
    world.settle(5_000);
    world.assert_gone(&handle);
    inject_run(&mut world, 1, late);
    let old = heard.take();
    for node in 0..2 {
        for passing in &old {
            if let Passing::Batch(_) = passing {
                world.inject_down(node, passing.clone());
                world.settle(0);
            }
        }
    }
    // To a device that comes new, too.
    let third = world.enrol(0);
    world.settle(5_000);
    world.online(third);
    world.settle(5_000);
    for passing in old {
        if let Passing::Batch(_) = passing {
            world.inject_down(third, passing);
            world.settle(0);
        }
    }
    world.settle(5_000);
    world.assert_gone(&handle);
    all_is_well(&mut world);
    world.assert_gone(&handle);
    world.assert_honest();
}

#[test]
fn a_store_that_puts_erased_bodies_back_revives_nothing() {
    let (mut world, handle) = pair(4);
    world.edit(0, handle, b"soon to be gone");
    world.settle(5_000);
    let items: Vec<(Vec<u8>, Vec<u8>)> = world.relays[0]
        .store()
        .inner
        .rows()
        .filter(|(_, space, _, _)| *space == Space::Items)
        .map(|(_, _, key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    world.erase(1, handle);
    world.settle(5_000);
    let id = account(&world);
    let mut store = world.relays[0].store().clone();
    store.inner.begin().unwrap();
    for (key, value) in items {
        store.inner.put(&id, Space::Items, &key, &value).unwrap();
    }
    store.inner.commit().unwrap();
    world.put_store(store);
    let third = world.enrol(0);
    world.settle(5_000);
    world.online(third);
    all_is_well(&mut world);
    for node in 0..3 {
        assert!(!world.nodes[node].disk.documents.contains_key(&handle));
    }
    assert!(world.found(&handle).is_some_and(|place| place.contains("relay")));
    world.assert_nobody_accused();
}

#[test]
fn an_invented_erasure_erases_nothing() {
    let (mut world, handle) = pair(5);
    let (log, id) = (log_of(&world, 0), account(&world));
    let erase = Erase {
        log,
        number: 1,
        nonce: [3; 16],
        handles: Set::new([handle]).unwrap(),
        because: None,
        control: world.device(0).account().head(),
        at: TimeMs { ms: world.now },
    };
    let part = |erase: Signed<Erase>| {
        Reply::Erasures(ErasePart {
            cursor: 1,
            erasures: vec![erase].try_into().unwrap(),
            more: false,
        })
    };
    for key in [stranger(&mut world), world.server_key()] {
        let forged = key.sign_statement(&id, erase.clone());
        inject(&mut world, 1, part(forged));
    }
    let shown = Notice::Suspicion(Suspicion::Erasure { log });
    assert_eq!(world.alarms(1), [&shown, &shown]);
    assert!(has(&world, 1, &handle, b"known to both"));
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"known to both"));
    // By its author's key it would have been one.
    let key = world.device(0).keychain().signing().unwrap();
    inject(&mut world, 1, part(key.sign_statement(&id, erase)));
    assert!(!world.nodes[1].disk.documents.contains_key(&handle));
}

#[test]
fn a_withheld_erasure_between_others_is_missed() {
    let (mut world, handle) = pair(6);
    let (second, third) = (world.handle(), world.handle());
    world.edit(0, second, b"the second one");
    world.edit(0, third, b"the third one");
    world.settle(5_000);
    world.offline(1);
    for handle in [handle, second, third] {
        world.erase(0, handle);
        world.settle(1_000);
    }
    let log = log_of(&world, 0);
    world.down = replies_to(1, |mut frame| {
        if let Reply::Erasures(part) = &mut frame.reply {
            let kept: Vec<_> = std::mem::take(&mut part.erasures)
                .into_inner()
                .into_iter()
                .filter(|erase| erase.statement.number != 2)
                .collect();
            part.erasures = kept.try_into().unwrap();
        }
        vec![frame]
    });
    world.online(1);
    world.run(200);
    let status = world.device(1).status(world.now);
    assert!(status.waits.contains(&Waits::Missing(log)), "{status:#?}");
    assert_ne!(status.link, Link::Live);
    assert!(
        !world.nodes[1].disk.documents.contains_key(&third),
        "what came is done"
    );
    assert!(world.nodes[1].disk.documents.contains_key(&second));
    all_is_well(&mut world);
    for handle in [handle, second, third] {
        world.assert_gone(&handle);
    }
    world.assert_honest();
}

#[test]
fn receipts_by_another_key_do_not_count() {
    let (mut world, handle) = pair(7);
    world.down = replies_to(0, |frame| match frame.reply {
        Reply::Receipt(_) => Vec::new(),
        _ => vec![frame],
    });
    world.erase(0, handle);
    world.settle(5_000);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    let erase = only_erasure(&world, 0).erase;
    let receipt = |erase: Hash| Receipt {
        erase,
        bodies: 1,
        bytes: 100,
        at: TimeMs { ms: 1 },
        backups_until: TimeMs { ms: 2 },
    };
    let key = stranger(&mut world);
    let forged = key.sign_statement(&account(&world), receipt(erase));
    inject(&mut world, 0, Reply::Receipt(forged));
    // A member isn't a server.
    let key = world.device(1).keychain().signing().unwrap();
    let forged = key.sign_statement(&account(&world), receipt(erase));
    inject(&mut world, 0, Reply::Receipt(forged));
    // Nor does one of the server count for another erasure, or in another account.
    let other = world.signed_by_server(receipt(hash_of(b"another erasure")));
    inject(&mut world, 0, Reply::Receipt(other));
    let mut foreign = account(&world);
    foreign.0[0] ^= 1;
    let key = world.server_key();
    let other = key.sign_statement(&foreign, receipt(erase));
    inject(&mut world, 0, Reply::Receipt(other));
    let erasure = only_erasure(&world, 0);
    assert!(erasure.receipts.is_empty() && !erasure.complete, "{erasure:#?}");
    assert!(!certified(&world, 0, &erase));
    let genuine = world.signed_by_server(receipt(erase));
    inject(&mut world, 0, Reply::Receipt(genuine));
    assert!(only_erasure(&world, 0).complete);
    assert!(certified(&world, 0, &erase));
    assert_no_alarm(&world, 0);
}

#[test]
fn acknowledgements_by_somebody_else_do_not_count() {
    let (mut world, handle) = pair(8);
    let other = world.handle();
    world.edit(0, other, b"another document");
    world.settle(5_000);
    world.offline(1);
    world.erase(0, handle);
    world.settle(5_000);
    let (erase, device, id) = (
        only_erasure(&world, 0).erase,
        world.device(1).id(),
        account(&world),
    );
    let ack = |erase: Hash| EraseAck {
        erase,
        device,
        journal: hash_of(b"a journal"),
        at: TimeMs { ms: 1 },
    };
    let keys = [
        stranger(&mut world),
        world.server_key(),
        world.device(0).keychain().signing().unwrap(),
    ];
    for key in &keys {
        let forged = key.sign_statement(&id, ack(erase));
        say(&mut world, 0, AnyStatement::EraseAck(forged));
    }
    assert_eq!(world.alarms(0).len(), 3);
    assert!(world.alarms(0).iter().all(|notice| **notice == Notice::Tampered));
    // A genuine one, for another erasure.
    let key = world.device(1).keychain().signing().unwrap();
    let mut moved = key.sign_statement(&id, ack(hash_of(b"another")));
    moved.statement.erase = erase;
    say(&mut world, 0, AnyStatement::EraseAck(moved));
    let erasure = only_erasure(&world, 0);
    assert_eq!(erasure.missing.acks, [device], "{erasure:#?}");
    world.give(0, Input::Rotate);
    world.settle(10_000);
    assert!(!certified(&world, 0, &erase));
    world.online(1);
    all_is_well(&mut world);
    assert!(only_erasure(&world, 0).complete);
}

#[test]
fn a_server_that_shows_an_old_root_delays_and_makes_nobody_forget() {
    let (mut world, handle) = pair(9);
    world.erase(0, handle);
    world.settle(5_000);
    // To the devices it says: nothing was ever erased. What they have applied stays so.
    world.down = Some(Box::new(|_, passing| match passing {
        Passing::Reply(mut frame) => {
            if let Reply::Welcome(welcome) = &mut frame.reply
                && let Some(ahead) = &mut welcome.ahead
            {
                (ahead.erased_root, ahead.erased_cursor) = (Hash::ZERO, 0);
            }
            vec![Passing::Reply(frame)]
        }
        other => vec![other],
    }));
    let third = world.enrol(0);
    for node in 0..2 {
        world.hang_up(node);
    }
    world.settle(5_000);
    world.online(third);
    world.settle(60_000);
    for node in 0..2 {
        assert!(world.nodes[node].disk.erased.contains(&handle));
        assert_no_alarm(&world, node);
    }
    all_is_well(&mut world);
    world.assert_gone(&handle);
    world.assert_honest();
}

#[test]
fn a_body_of_an_erased_document_that_still_waits_goes_with_it() {
    let (mut world, handle) = pair(10);
    let other = world.handle();
    world.edit(1, other, b"what the next builds on");
    world.settle(2_000);
    // Node 1's next change of the document is kept from node 0's friend: what node 0 writes then waits there.
    let third = world.enrol(0);
    world.settle(5_000);
    world.online(third);
    world.settle(5_000);
    let log = log_of(&world, 1);
    world.down = runs_to(
        third,
        move |run| if run.log == log { Vec::new() } else { vec![run] },
    );
    world.edit(1, handle, b"kept back from the third");
    world.settle(2_000);
    world.edit(0, handle, b"follows what was kept back");
    world.settle(2_000);
    let waits = world.device(third).status(world.now).waits;
    assert!(waits.contains(&Waits::Missing(log_of(&world, 0))), "{waits:?}");
    world.erase(0, handle);
    world.settle(5_000);
    world.assert_gone(&handle);
    all_is_well(&mut world);
    world.assert_gone(&handle);
}

/// An erasure and an edit cross, and the connection breaks before the author hears of either: the greeting names the hole
/// before the gate has brought the erasure.
#[test]
fn a_hole_that_the_greeting_names_accuses_nobody() {
    let (mut world, handle) = pair(41);
    world.down = to(0, |_| Vec::new());
    world.erase(1, handle);
    world.settle(200);
    world.edit(0, handle, b"crosses the erasure");
    world.settle(200);
    world.down = None;
    world.hang_up(0);
    world.settle(120_000);
    assert_no_alarm(&world, 0);
    all_is_well(&mut world);
    world.assert_gone(&handle);
}

/// A device writes under an epoch that has just ended, and hears neither that nor that the server took it as a hole; then
/// the server is restored, and the log that it wrote ends.
#[test]
fn what_was_taken_as_a_hole_before_a_restore_is_written_again() {
    let (mut world, _) = pair(42);
    let handle = world.handle();
    world.down = to(1, |_| Vec::new());
    world.give(0, Input::Rotate);
    world.settle(5_000);
    world.edit(1, handle, b"under the epoch that ended");
    world.settle(5_000);
    assert!(!has(&world, 0, &handle, b"under the epoch that ended"));
    world.down = None;
    world.offline(1);
    let store = world.relays[0].store().clone();
    world.restore_server(store);
    world.online(1);
    world.settle(120_000);
    assert!(has(&world, 0, &handle, b"under the epoch that ended"));
    all_is_well(&mut world);
}
