//! What a review of the machine found: each of these broke it once.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, dead_code)]

mod world;

#[path = "attacks/kit.rs"]
mod kit;

use std::collections::BTreeSet;

use hearth_protocol::codec::{Map, Set};
use hearth_protocol::control::{Action, ControlEntry, ControlStatement, Revoke, RevokeReason};
use hearth_protocol::envelope::{
    Batch, Envelope, Fields, HeaderVersion, Item, Kind, Nothing, SignedHole, next_link,
};
use hearth_protocol::erasure::Erase;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::key_ref;
use hearth_protocol::id::{Handle, KeyRef, Link, LogId, ShortSalt, Signature, TimeMs};
use hearth_protocol::message::{ControlPart, ErasePart, Holed, Reply, Stored};
use hearth_protocol::vector::{FewPositions, Head, VersionVector};
use hearth_sync::device::{Input, Notice, Proof, Record, Suspicion, Waits, space};
use hearth_sync::secret::Secret;
use kit::*;
use world::{Passing, World};

/// How many records of a space a node has.
fn records(world: &World, node: usize, space: u8) -> usize {
    let all = world.nodes[node].disk.journal.records();
    all.filter(|(at, _, _)| *at == space).count()
}

/// A document key in a node's journal, as a table would have brought it; what it is called.
fn plant(world: &mut World, node: usize, handle: Handle, generation: u32) -> [u8; 8] {
    let key = Secret::random(&mut world.random);
    let reference = key_ref(&account(world), &handle, generation, key.expose());
    let record = Record {
        space: space::KEY,
        key: [&handle.0[..], &generation.to_be_bytes(), &reference.0].concat(),
        value: Some(key.expose().to_vec()),
    };
    world.nodes[node].disk.journal.write(&[record]);
    reference.0
}

fn part_of(world: &World, node: usize, log: LogId, number: u64, nonce: u8, handle: Handle) -> Reply {
    let erase = Erase {
        log,
        number,
        nonce: [nonce; 16],
        handles: Set::new([handle]).unwrap(),
        because: None,
        control: world.device(node).account().head(),
        at: TimeMs { ms: world.now },
    };
    let key = world.device(node).keychain().signing().unwrap();
    Reply::Erasures(ErasePart {
        cursor: number,
        erasures: vec![key.sign_statement(&account(world), erase)]
            .try_into()
            .unwrap(),
        more: false,
    })
}

#[test]
fn what_nobody_erased_isnt_dropped_because_a_server_says_so() {
    let (mut world, _) = pair(1);
    let log = log_of(&world, 0);
    let seq = stored(&world, 0, &log);
    let bodies = records(&world, 0, space::BODY);
    let holed = (1..=seq).map(|seq| Holed {
        seq,
        code: ErrorCode::HandleErased,
    });
    let said = Stored {
        log,
        seq,
        link: link(&world, 0, &log, seq),
        holed: holed.collect::<Vec<_>>().try_into().unwrap(),
    };
    inject(&mut world, 0, Reply::Stored(said));
    assert!(world.alarms(0).is_empty(), "an erasure may still come");
    world.settle(60_000);
    assert_eq!(records(&world, 0, space::BODY), bodies);
    assert!(
        world
            .alarms(0)
            .contains(&&Notice::Suspicion(Suspicion::Erasure { log }))
    );
    all_is_well(&mut world);
}

#[test]
fn a_second_erasure_for_one_place_erases_nothing() {
    let (mut world, handle) = pair(2);
    let other = world.handle();
    world.edit(0, other, b"stays");
    world.settle(5_000);
    let log = log_of(&world, 0);
    world.erase(0, handle);
    world.settle(5_000);
    world.assert_gone(&handle);
    let second = part_of(&world, 0, log, 1, 9, other);
    inject(&mut world, 1, second.clone());
    assert!(has(&world, 1, &other, b"stays"));
    let proof = Notice::Proof(Proof::TwoHashes { log, seq: 1 });
    assert!(world.alarms(1).contains(&&proof));
    // Also after a start.
    world.crash(1);
    world.settle(5_000);
    reconnect(&mut world, 1);
    inject(&mut world, 1, second);
    assert!(has(&world, 1, &other, b"stays"));
    all_is_well(&mut world);
}

#[test]
fn keys_that_came_before_a_revocation_are_not_written_with_after_it() {
    let mut world = devices(3, 3);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    let planted = plant(&mut world, 0, handle, 1);
    let target = world.device(2).id();
    world.give(
        0,
        Input::Revoke {
            target,
            reason: RevokeReason::Lost,
        },
    );
    world.settle(10_000);
    world.retire(2);
    assert_eq!(world.device(0).account().generation(), 1);
    let run = intercept(&mut world, 1, |world| world.edit(0, handle, b"not for the thief"));
    assert_eq!(first_envelope(&run).fields.generation, 1);
    assert_ne!(first_envelope(&run).fields.key.0, planted);
    world.hang_up(1);
    world.settle(10_000);
    world.edit(1, handle, b"nor this");
    world.settle(10_000);
    assert!(has(&world, 1, &handle, b"not for the thief") && has(&world, 0, &handle, b"nor this"));
}

#[test]
fn more_keys_than_a_shard_holds_stop_nobody() {
    let (mut world, handle) = pair(4);
    for number in 0..16_385_u32 {
        let mut planted = Handle([0xff; 16]);
        planted.0[0] = handle.0[0];
        planted.0[12..].copy_from_slice(&number.to_be_bytes());
        plant(&mut world, 0, planted, 0);
    }
    let before = world.device(0).account().epoch().unwrap().1.number;
    world.edit(0, handle, b"goes on");
    world.give(0, Input::Rotate);
    world.settle(60_000);
    assert!(world.device(0).account().epoch().unwrap().1.number > before);
    world.edit(0, handle, b"and on");
    world.settle(10_000);
    assert!(has(&world, 1, &handle, b"and on"));
}

#[test]
fn no_body_of_what_is_erased_is_kept_while_it_waits() {
    let (mut world, handle) = pair(5);
    let late = intercept(&mut world, 1, |world| {
        world.edit(0, handle, b"late, and withheld");
    });
    world.erase(1, handle);
    world.settle(5_000);
    let bodies = records(&world, 1, space::BODY);
    let (id, log) = (account(&world), late.log);
    let key = world.device(0).keychain().signing().unwrap();
    let seq = stored(&world, 1, &log) + 1;
    let previous = link(&world, 1, &log, seq - 1);
    // One of another document waits for what never comes; behind it, one of the erased document.
    let mut first = first_envelope(&late);
    first.fields.handle = world.handle();
    first.fields.depends = FewPositions::new([(log_of(&world, 1), 1 << 40)]).unwrap();
    let first = sign_item(&id, log, seq, &previous, first, &key);
    let Item::Envelope(sealed) = first.clone() else {
        unreachable!()
    };
    let envelope = Envelope {
        version: HeaderVersion::V1,
        log,
        seq,
        sealed,
    };
    let next = next_link(&previous, &envelope.header_hash(&id, &previous));
    let second = sign_item(&id, log, seq + 1, &next, first_envelope(&late), &key);
    let mut run = late;
    run.first_seq = seq;
    run.items = vec![first, second].try_into().unwrap();
    inject_run(&mut world, 1, run);
    assert_eq!(stored(&world, 1, &log), seq + 1);
    assert_eq!(records(&world, 1, space::BODY), bodies + 1, "only what waits");
}

#[test]
fn an_erasure_that_comes_after_its_epoch_is_ended_by_it() {
    let (mut world, handle) = pair(6);
    world.offline(1);
    world.erase(0, handle);
    world.settle(5_000);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    world.online(1);
    world.settle(10_000);
    let status = world.device(1).status(world.now);
    assert!(!status.erasures[0].missing.epoch, "{:?}", status.erasures);
}

/// What a stolen device writes next, changed and signed with its key, on its way to the server. What it changes is said of
/// the envelope's header.
fn write_as(world: &mut World, node: usize, change: impl Fn(&mut Fields) + 'static) {
    let id = account(world);
    let key = world.device(node).keychain().signing().unwrap();
    let log = log_of(world, node);
    let previous = link(world, node, &log, stored(world, node, &log));
    world.up = Some(Box::new(move |other, passing| match passing {
        Passing::Batch(Batch::Run(mut run)) if other == node && run.log == log => {
            let mut sealed = first_envelope(&run);
            change(&mut sealed.fields);
            let item = sign_item(&id, log, run.first_seq, &previous, sealed, &key);
            run.items = vec![item].try_into().unwrap();
            vec![Passing::Batch(Batch::Run(run))]
        }
        other => vec![other],
    }));
    let handle = world.handle();
    world.edit(node, handle, b"by a thief");
    world.settle(2_000);
    world.up = None;
}

/// Nothing is held up: an edit arrives, an erasure gets complete, nobody is accused.
fn goes_on(world: &mut World, from: usize, to: usize, handle: Handle) {
    world.edit(from, handle, b"goes on after that");
    world.settle(20_000);
    assert!(
        has(world, to, &handle, b"goes on after that"),
        "{:#?}",
        world.device(from).status(world.now)
    );
    world.erase(from, handle);
    world.settle(20_000);
    world.give(from, Input::Rotate);
    world.settle(20_000);
    let status = world.device(from).status(world.now);
    assert!(
        status.erasures.iter().all(|erasure| erasure.complete),
        "{status:#?}"
    );
    for node in [from, to] {
        assert_no_alarm(world, node);
    }
}

fn revoke(world: &mut World, by: usize, target: usize) {
    let target = world.device(target).id();
    let reason = RevokeReason::Lost;
    world.give(by, Input::Revoke { target, reason });
    world.settle(10_000);
}

/// What a device waits for in vain doesn't hold up the account once its author is shut out.
fn waits_in_vain(seed: u64, change: impl Fn(&World, &mut Fields)) -> usize {
    let mut aside = 0;
    for recovers in [false, true] {
        let mut world = devices(seed, 3);
        let handle = world.handle();
        world.edit(0, handle, b"known to all");
        world.settle(5_000);
        let mut fields = template();
        change(&world, &mut fields);
        write_as(&mut world, 2, move |theirs| {
            theirs.depends = fields.depends.clone();
            theirs.erased = fields.erased.clone();
            theirs.generation = fields.generation;
            if fields.key.0 != [0; 8] {
                (theirs.key, theirs.new_key) = (fields.key, fields.new_key.clone());
            }
        });
        let log = log_of(&world, 2);
        assert_eq!(stored(&world, 0, &log), stored(&world, 1, &log));
        assert!(
            world
                .device(0)
                .status(world.now)
                .waits
                .contains(&Waits::Missing(log))
        );
        if recovers {
            let keep = [world.device(0).id(), world.device(1).id()];
            let new = world.recover(&keep);
            world.online(new);
            world.settle(20_000);
        } else {
            revoke(&mut world, 0, 2);
        }
        world.retire(2);
        world.settle(20_000);
        goes_on(&mut world, 0, 1, handle);
        aside += records(&world, 0, space::ASIDE);
    }
    aside
}

/// Names nothing.
fn template() -> Fields {
    Fields {
        kind: Kind::Changes(Nothing {}),
        handle: Handle([0; 16]),
        generation: 0,
        key: KeyRef([0; 8]),
        new_key: None,
        erased: FewPositions::default(),
        depends: FewPositions::default(),
        salt: ShortSalt([0; 8]),
    }
}

#[test]
fn a_dependency_that_never_comes_stops_nobody_once_its_author_is_out() {
    waits_in_vain(7, |world, fields| {
        fields.depends = FewPositions::new([(log_of(world, 0), 1 << 60)]).unwrap();
    });
}

#[test]
fn an_erasure_that_never_comes_stops_nobody_once_its_author_is_out() {
    waits_in_vain(8, |world, fields| {
        fields.erased = FewPositions::new([(log_of(world, 1), 1_000_000_000)]).unwrap();
    });
}

#[test]
fn a_key_that_nobody_has_stops_nobody_once_its_author_is_out() {
    waits_in_vain(9, |_, fields| fields.key = KeyRef([7; 8]));
}

#[test]
fn a_log_that_nobody_knows_stops_nobody_once_its_author_is_out() {
    waits_in_vain(10, |_, fields| {
        fields.depends = FewPositions::new([(LogId([9; 16]), 1)]).unwrap();
    });
}

#[test]
fn what_a_device_that_is_out_wrote_beyond_the_cut_is_on_all_or_on_none() {
    let mut world = devices(11, 3);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    let there = world.serve(1);
    world.call(1, there);
    world.call(2, there);
    world.settle(5_000);
    world.edit(2, handle, b"only two of them met");
    world.settle(5_000);
    assert!(has(&world, 1, &handle, b"only two of them met"));
    world.offline(2);
    revoke(&mut world, 0, 2);
    world.retire(2);
    world.call(1, 0);
    world.settle(20_000);
    assert!(has(&world, 0, &handle, b"only two of them met"));
    world.assert_converged();
    world.assert_nobody_accused();
}

#[test]
fn what_was_set_aside_is_applied_when_what_it_lacked_comes() {
    let mut world = devices(12, 4);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    // Device 1 writes something that only device 2 hears of, by the local network; what 2 makes of it reaches the server.
    let there = world.serve(1);
    world.call(1, there);
    world.call(2, there);
    world.settle(5_000);
    world.edit(1, handle, b"not at the server yet");
    world.settle(5_000);
    let theirs = log_of(&world, 1);
    world.offline(1);
    world.call(2, 0);
    // It brings its own log alone.
    world.up = Some(Box::new(move |_, passing| match passing {
        Passing::Batch(Batch::Run(run)) if run.log == theirs => Vec::new(),
        other => vec![other],
    }));
    world.edit(2, handle, b"made of that");
    world.settle(5_000);
    world.up = None;
    let log = log_of(&world, 2);
    assert!(
        world
            .device(0)
            .status(world.now)
            .waits
            .contains(&Waits::Missing(log))
    );
    revoke(&mut world, 0, 2);
    world.retire(2);
    world.settle(20_000);
    assert!(world.device(0).status(world.now).waits.is_empty());
    assert!(!has(&world, 0, &handle, b"made of that"));
    world.call(1, 0);
    world.settle(60_000);
    for node in [0, 3] {
        assert!(has(&world, node, &handle, b"not at the server yet"));
    }
    world.pass(25 * 60 * 60 * 1_000);
    for node in [0, 1, 3] {
        assert!(has(&world, node, &handle, b"made of that"), "{node}");
    }
    world.assert_converged();
    world.assert_nobody_accused();
}

#[test]
fn a_generation_that_nobody_knows_stops_nobody_once_its_author_is_out() {
    let aside = waits_in_vain(13, |_, fields| fields.generation = 5);
    assert_eq!(aside, 0, "it is void");
}

#[test]
fn nobody_writes_in_the_generation_of_its_own_revocation() {
    let aside = waits_in_vain(14, |_, fields| fields.generation = 1);
    assert_eq!(aside, 0, "it is void");
}

/// Node 1's word that node 2 is out, from node 2's log on as is said here.
fn shut_out_at(world: &mut World, cut: Head) -> Reply {
    let (id, log) = (account(world), log_of(world, 2));
    let device = world.device(1);
    let statement = ControlStatement {
        number: device.account().number() + 1,
        previous: device.account().head(),
        author: device.id(),
        at: TimeMs { ms: world.now },
        action: Action::Revoke(Box::new(Revoke {
            target: world.device(2).id(),
            reason: RevokeReason::Lost,
            cut: VersionVector::new([(log, cut)]).unwrap(),
            erasures: Map::default(),
        })),
    };
    let mut entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    entry.signature = device.keychain().signing().unwrap().sign(&entry.id(&id));
    Reply::Control(ControlPart {
        entries: vec![entry].try_into().unwrap(),
        wraps: None,
        more: false,
    })
}

/// What node 2 wrote before it was shut out comes after its revocation, which says that its log ends so far behind that, with
/// this link or with the right one.
fn comes_after_its_revocation(seed: u64, behind: u64, link: Option<Link>) -> bool {
    let mut world = devices(seed, 3);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    let run = intercept(&mut world, 0, |world| {
        world.edit(2, handle, b"written by who is out");
    });
    let right = kit::link(&world, 1, &run.log, run.first_seq);
    let cut = Head {
        seq: run.first_seq + behind,
        link: link.unwrap_or(right),
    };
    let reply = shut_out_at(&mut world, cut);
    inject(&mut world, 0, reply);
    inject_run(&mut world, 0, run);
    has(&world, 0, &handle, b"written by who is out")
}

#[test]
fn nobody_goes_on_to_a_cut_that_its_chain_does_not_lead_to() {
    assert!(comes_after_its_revocation(15, 0, None), "as it was");
    let false_link = Some(Link([7; 32]));
    assert!(!comes_after_its_revocation(16, 0, false_link), "another chain");
    assert!(!comes_after_its_revocation(17, 1 << 61, false_link), "beyond it");
}

#[test]
fn of_a_document_that_lacks_a_piece_nothing_is_put_together() {
    let (mut world, _) = pair(31);
    let handle = world.handle();
    let (id, log) = (account(&world), log_of(&world, 0));
    let mut previous = link(&world, 0, &log, stored(&world, 0, &log));
    let mut pieces = 0;
    world.down = items_to(1, move |log, seq, item| {
        let Item::Envelope(sealed) = item else {
            return item;
        };
        let (signature, kind) = (sealed.signature, sealed.fields.kind.clone());
        let envelope = Envelope {
            version: HeaderVersion::V1,
            log,
            seq,
            sealed,
        };
        let header_hash = envelope.header_hash(&id, &previous);
        previous = next_link(&previous, &header_hash);
        pieces += usize::from(matches!(kind, Kind::Chunk(_)));
        if pieces == 3 {
            pieces += 1;
            return Item::SignedHole(SignedHole {
                header_hash,
                signature,
            });
        }
        Item::Envelope(envelope.sealed)
    });
    world.edit(0, handle, &vec![9; 1_100_000]);
    world.settle(10_000);
    assert!(
        world.nodes[1]
            .disk
            .documents
            .get(&handle)
            .is_none_or(BTreeSet::is_empty)
    );
    // Written again it is whole.
    world.down = None;
    world.edit(0, handle, &vec![8; 1_100_000]);
    world.settle(10_000);
    assert_eq!(world.nodes[1].disk.documents[&handle].len(), 2);
}

/// Whether a node has the document key of this name.
fn has_key(world: &World, node: usize, reference: [u8; 8]) -> bool {
    let mut all = world.nodes[node].disk.journal.records();
    all.any(|(at, key, _)| at == space::KEY && key.ends_with(&reference))
}

#[test]
fn a_table_brings_no_keys_of_a_revocation_that_did_not_happen() {
    let (mut world, handle) = pair(32);
    let planted = plant(&mut world, 0, handle, 1);
    world.give(0, Input::Rotate);
    world.settle(10_000);
    assert!(has_key(&world, 0, planted) && !has_key(&world, 1, planted));
    world.edit(1, handle, b"goes on");
    world.settle(10_000);
    assert!(has(&world, 0, &handle, b"goes on"));
}

#[test]
fn a_table_by_who_is_out_brings_no_keys_of_its_revocation() {
    let mut world = devices(33, 3);
    let handle = world.handle();
    world.edit(0, handle, b"known to all");
    world.settle(5_000);
    let planted = plant(&mut world, 2, handle, 1);
    let late = shared::<Option<Reply>>();
    let kept = late.clone();
    world.down = replies_to(1, move |frame| match frame.reply {
        Reply::Registry(part) => {
            if !part.shards.is_empty() {
                *kept.borrow_mut() = Some(Reply::Registry(part));
            }
            Vec::new()
        }
        _ => vec![frame],
    });
    world.give(2, Input::Rotate);
    world.settle(10_000);
    let late = late.borrow_mut().take().expect("no table");
    let target = world.device(2).id();
    let reason = RevokeReason::Lost;
    world.give(0, Input::Revoke { target, reason });
    world.settle(300);
    assert_eq!(world.device(1).account().generation(), 1);
    inject(&mut world, 1, late);
    world.settle(300);
    assert!(!has_key(&world, 1, planted));
    world.retire(2);
    all_is_well(&mut world);
}
