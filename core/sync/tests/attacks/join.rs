//! Attacks on a device that comes new.

use hearth_protocol::control::Action;
use hearth_protocol::envelope::{Batch, Detached};
use hearth_protocol::message::{Complete, Reply};
use hearth_protocol::statement::AnyStatement;
use hearth_protocol::vector::{Head, VersionVector};
use hearth_sync::device::{Input, Notice, Suspicion};

use crate::kit::*;
use crate::world::{Passing, World};

/// Two devices, a document, and a third that was let in with a checkpoint and hasn't called yet.
fn joining(seed: u64) -> (World, usize, hearth_protocol::id::Handle) {
    let (mut world, handle) = pair(seed);
    world.give(0, Input::Checkpoint);
    world.settle(5_000);
    let third = world.enrol(0);
    world.settle(5_000);
    (world, third, handle)
}

/// A server that keeps all items to itself and says that this is all there is.
fn nothing_there(
    third: usize,
    mut keep: impl FnMut(&AnyStatement) -> bool + 'static,
) -> Option<crate::world::Tap> {
    to(third, move |passing| match passing {
        Passing::Batch(_) => Vec::new(),
        Passing::Reply(mut frame) => {
            if let Reply::Complete(Complete { vector }) = &mut frame.reply {
                let none = vector.iter().map(|(log, head)| (*log, Head { seq: 0, ..*head }));
                *vector = VersionVector::new(none).unwrap();
            }
            if let Reply::Statements(list) = &mut frame.reply {
                let kept: Vec<AnyStatement> = std::mem::take(list)
                    .into_inner()
                    .into_iter()
                    .filter(&mut keep)
                    .collect();
                *list = kept.try_into().unwrap();
            }
            vec![Passing::Reply(frame)]
        }
        other => vec![other],
    })
}

#[test]
fn a_stale_view_for_a_new_device_contradicts_its_checkpoint() {
    let (mut world, third, handle) = joining(1);
    world.down = nothing_there(third, |statement| {
        !matches!(statement, AnyStatement::Heartbeat(_))
    });
    world.online(third);
    world.settle(60_000);
    assert!(!has(&world, third, &handle, b"known to both"));
    assert_eq!(world.alarms(third), [&Notice::Suspicion(Suspicion::Checkpoint)]);
    assert!(!world.seen(third, |notice| *notice == Notice::JoinComplete));
    all_is_well(&mut world);
    assert!(world.seen(third, |notice| *notice == Notice::JoinComplete));
}

#[test]
fn a_checkpoint_that_is_withheld_leaves_the_joining_open() {
    let (mut world, third, handle) = joining(2);
    let hides = |statement: &AnyStatement| {
        !matches!(
            statement,
            AnyStatement::Heartbeat(_) | AnyStatement::Checkpoint(_)
        )
    };
    world.down = nothing_there(third, hides);
    world.online(third);
    world.settle(60_000);
    assert!(!has(&world, third, &handle, b"known to both"));
    assert!(!world.seen(third, |notice| *notice == Notice::JoinComplete));
    all_is_well(&mut world);
    assert!(world.seen(third, |notice| *notice == Notice::JoinComplete));
    assert!(has(&world, third, &handle, b"known to both"));
}

#[test]
fn a_forged_checkpoint_vouches_for_nothing() {
    let (mut world, third, handle) = joining(3);
    let (key, id) = (stranger(&mut world), account(&world));
    let (log, me) = (log_of(&world, 0), world.device(0).id());
    world.down = to(third, move |passing| match passing {
        Passing::Batch(_) => Vec::new(),
        Passing::Reply(mut frame) => {
            if let Reply::Complete(Complete { vector }) = &mut frame.reply {
                let none = vector.iter().map(|(log, head)| (*log, Head { seq: 0, ..*head }));
                *vector = VersionVector::new(none).unwrap();
            }
            if let Reply::Statements(list) = &mut frame.reply {
                let mut all = std::mem::take(list).into_inner();
                all.retain(|statement| !matches!(statement, AnyStatement::Heartbeat(_)));
                for statement in &mut all {
                    if let AnyStatement::Checkpoint(checkpoint) = statement {
                        let mut forged = checkpoint.statement.clone();
                        forged.frontier = VersionVector::default();
                        assert_eq!(forged.device, me);
                        **checkpoint = key.sign_statement(&id, forged);
                    }
                }
                *list = all.try_into().unwrap();
            }
            vec![Passing::Reply(frame)]
        }
        other => vec![other],
    });
    world.online(third);
    world.settle(60_000);
    assert_eq!(world.alarms(third), [&Notice::Tampered], "{log:?}");
    assert!(!world.seen(third, |notice| *notice == Notice::JoinComplete));
    all_is_well(&mut world);
    assert!(has(&world, third, &handle, b"known to both"));
    assert!(world.seen(third, |notice| *notice == Notice::JoinComplete));
}

#[test]
fn a_control_log_that_does_not_lead_to_its_enrolment_is_not_believed() {
    let (mut world, third, _) = joining(4);
    // Cut off before its own enrolment, and said to be whole.
    let head = world.device(0).account().number() - 1;
    let entry = world.device(0).control_log()[head as usize].id(&account(&world));
    world.down = replies_to(third, move |mut frame| {
        match &mut frame.reply {
            Reply::Welcome(welcome) => {
                if let Some(ahead) = &mut welcome.ahead {
                    (ahead.control_number, ahead.control) = (head, entry);
                }
            }
            Reply::Control(part) => {
                let mut entries = std::mem::take(&mut part.entries).into_inner();
                entries.retain(|entry| entry.statement.number <= head);
                part.entries = entries.try_into().unwrap();
            }
            _ => {}
        }
        vec![frame]
    });
    let sent = requests(&mut world, third);
    world.online(third);
    world.settle(2_000);
    assert!(world.seen(third, |notice| *notice == Notice::Suspicion(Suspicion::Control)));
    assert!(world.nodes[third].disk.documents.is_empty());
    let told = sent.borrow().iter().all(|request| {
        use hearth_protocol::message::Request;
        matches!(request, Request::Hello(_) | Request::Fetch(_))
    });
    assert!(told, "{:?}", sent.borrow());
    all_is_well(&mut world);
}

#[test]
fn another_accounts_server_is_not_believed_by_a_new_device() {
    let (mut world, third, _) = joining(5);
    // Another account's log in place of this one, from the first entry after the genesis on.
    let (other, _) = pair(1_005);
    let foreign = other.device(0).control_log().to_vec();
    world.down = replies_to(third, move |mut frame| {
        if let Reply::Control(part) = &mut frame.reply {
            let entries: Vec<_> = part
                .entries
                .iter()
                .map(|entry| {
                    let number = entry.statement.number as usize;
                    foreign.get(number).unwrap_or(entry).clone()
                })
                .collect();
            assert!(
                entries
                    .iter()
                    .all(|entry| !matches!(entry.statement.action, Action::Genesis(_)))
            );
            part.entries = entries.try_into().unwrap();
        }
        vec![frame]
    });
    world.online(third);
    world.settle(2_000);
    assert!(!world.alarms(third).is_empty());
    assert!(world.nodes[third].disk.documents.is_empty());
    assert_eq!(
        world.device(third).account().members().count(),
        1,
        "the genesis, and nobody else"
    );
    all_is_well(&mut world);
}

/// Changes what is sent to a node out of its chain.
fn detached_to(
    node: usize,
    mut change: impl FnMut(Vec<Detached>) -> Vec<Detached> + 'static,
) -> Option<crate::world::Tap> {
    to(node, move |passing| match passing {
        Passing::Batch(Batch::Detached(list)) => {
            let list = change(list.into_inner());
            vec![Passing::Batch(Batch::Detached(list.try_into().unwrap()))]
        }
        other => vec![other],
    })
}

#[test]
fn a_living_envelope_that_is_folded_away_is_missed_by_a_new_device() {
    let (mut world, third, handle) = joining(10);
    let kept = world.handle();
    world.edit(1, kept, b"comes later");
    world.settle(5_000);
    world.down = detached_to(third, move |list| {
        let others = list.into_iter();
        others
            .filter(|one| one.envelope.sealed.fields.handle != handle)
            .collect()
    });
    world.online(third);
    world.settle(120_000);
    assert!(!has(&world, third, &handle, b"known to both"));
    assert!(!world.seen(third, |notice| *notice == Notice::JoinComplete));
    // By a heartbeat at the latest.
    world.settle(25 * 60 * 60 * 1_000);
    assert!(world.seen(third, |notice| matches!(
        notice,
        Notice::Suspicion(Suspicion::LiveRoot { .. } | Suspicion::Checkpoint)
    )));
    assert!(!world.seen(third, |notice| *notice == Notice::JoinComplete));
    all_is_well(&mut world);
    assert!(has(&world, third, &handle, b"known to both"));
    assert!(world.seen(third, |notice| *notice == Notice::JoinComplete));
}

#[test]
fn an_envelope_out_of_its_chain_that_is_not_as_it_was_signed_is_not_taken() {
    for place in 0..4 {
        let (mut world, third, handle) = joining(11);
        world.down = detached_to(third, move |mut list| {
            for one in &mut list {
                match place {
                    0 => one.previous.0[7] ^= 1,
                    1 => one.envelope.seq += 1,
                    2 => one.envelope.sealed.fields.handle.0[0] ^= 1,
                    _ => one.envelope.sealed.signature.0[9] ^= 1,
                }
            }
            list
        });
        world.online(third);
        world.settle(60_000);
        assert!(world.nodes[third].disk.documents.is_empty());
        assert!(!world.seen(third, |notice| *notice == Notice::JoinComplete));
        all_is_well(&mut world);
        assert!(has(&world, third, &handle, b"known to both"));
        assert!(world.seen(third, |notice| *notice == Notice::JoinComplete));
    }
}

#[test]
fn whoever_slept_misses_a_living_envelope_that_was_folded_away() {
    let mut world = devices(12, 3);
    world.relays[0].config_mut().folds = true;
    let (known, missed) = (world.handle(), world.handle());
    world.edit(0, known, b"known to all");
    world.settle(5_000);
    world.offline(2);
    world.edit(0, missed, b"written meanwhile");
    for round in 0..3u8 {
        world.edit(1, known, &[round]);
        world.settle(5_000);
        world.give(0, Input::Checkpoint);
        world.settle(5_000);
    }
    world.down = detached_to(2, move |list| {
        let others = list.into_iter();
        others
            .filter(|one| one.envelope.sealed.fields.handle != missed)
            .collect()
    });
    world.online(2);
    world.settle(25 * 60 * 60 * 1_000);
    assert!(!has(&world, 2, &missed, b"written meanwhile"));
    assert!(world.seen(2, |notice| matches!(
        notice,
        Notice::Suspicion(Suspicion::LiveRoot { .. } | Suspicion::Checkpoint)
    )));
    for node in [0, 1] {
        assert!(
            world
                .alarms(node)
                .iter()
                .all(|notice| matches!(notice, Notice::Suspicion(Suspicion::LiveRoot { .. })))
        );
    }
}
