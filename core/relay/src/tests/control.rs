//! The control log, epochs and the registry.

use hearth_protocol::codec::{Map, Set};
use hearth_protocol::control::{Action, EpochWraps, Recover, device_proof_id};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, AgreementKey, DeviceId, Hash};
use hearth_protocol::message::{Fetch, PushControl, Reply, Request};
use hearth_protocol::registry::RegistryUpdate;
use hearth_protocol::vector::VersionVector;

use super::kit::*;
use crate::{Output, Signer as _};

fn push_epoch(
    world: &mut World,
    session: crate::SessionId,
    (entry, wraps): (hearth_protocol::control::ControlEntry, EpochWraps),
    registry: &RegistryUpdate,
) -> Result<(), ErrorCode> {
    let request = Request::Control(Box::new(PushControl {
        entry: entry.clone(),
        wraps: Some(Box::new(wraps)),
        registry: Some(Box::new(registry.clone())),
    }));
    world.accept(session, request)?;
    world.state.append(&entry, &world.entries).unwrap();
    world.entries.push(entry);
    world.table = registry.clone();
    Ok(())
}

fn table_id(world: &World) -> Hash {
    world.table.table.id(&world.account)
}

#[test]
fn an_account_is_opened_once_and_by_whom_the_operator_likes() {
    struct Only(&'static str);
    impl crate::Admission for Only {
        fn admits(&self, _: &AccountId, invitation: &str, _: u64) -> bool {
            invitation == self.0
        }
    }
    let mut world = World::empty(|config| config.admission = Box::new(Only("come in")));
    let session = world.connect(1);
    let open = world.opening("please");
    assert_eq!(world.accept(session, open), Err(ErrorCode::NotInvited));
    let foreign = world.connect(2);
    let open = world.opening("come in");
    assert_eq!(
        world.accept(foreign, open.clone()),
        Err(ErrorCode::WrongTransportKey)
    );
    world.accept(session, open.clone()).unwrap();
    let session = world.connect(1);
    assert_eq!(world.accept(session, open), Err(ErrorCode::AccountExists));
    // The same connection goes on with `Hello`.
    let mut device = world.device(1);
    world.hello(session, &mut device);

    // For another server; and with a table of another epoch.
    let mut other = World::empty(|config| config.signer = Box::new(key(SERVER + 1)));
    let session = other.connect(1);
    let open = other.opening("");
    assert_eq!(other.accept(session, open), Err(ErrorCode::ControlInvalid));
    let mut other = World::empty(|_| {});
    other.table = table(&other.account, 1, 2, 1, Hash::ZERO, &[], vec![]);
    let session = other.connect(1);
    let open = other.opening("");
    assert_eq!(other.accept(session, open), Err(ErrorCode::RegistryConflict));
    let mut device = other.device(1);
    device.table = Hash::ZERO;
    let got = other.ask(session, Request::Hello(Box::new(device.hello())));
    assert_eq!(
        closed(&got),
        Some(ErrorCode::UnknownAccount),
        "a refused opening leaves nothing"
    );
}

#[test]
fn an_account_that_was_lost_is_brought_again_and_one_that_was_removed_only_by_an_opening() {
    let mut world = World::new();
    let device = world.device(1);
    let session = world.online(&mut device.clone());
    // The table has gone on since its epoch began.
    let next = table(&world.account, 1, 1, 2, table_id(&world), &[], vec![]);
    world
        .accept(session, Request::Registry(Box::new(next.clone())))
        .unwrap();
    world.table = next;
    let account = world.account;
    let (known, out) = world
        .relay
        .purge(&account, world.now, &mut world.entropy)
        .unwrap();
    assert!(known);
    assert!(
        out.iter().any(|output| matches!(
            output,
            Output::Close {
                code: ErrorCode::Purged,
                ..
            }
        )),
        "{out:?}"
    );
    for _ in 0..2 {
        let session = world.connect(1);
        let got = world.ask(session, Request::Hello(Box::new(device.hello())));
        assert_eq!(closed(&got), Some(ErrorCode::Purged));
    }
    let session = world.connect(1);
    let open = world.opening("");
    world.accept(session, open).unwrap();
    let mut fresh = world.device(1);
    world.hello(session, &mut fresh);
    // Nothing is left of the removal.
    world
        .relay
        .purge(&AccountId([9; 32]), world.now, &mut world.entropy)
        .unwrap();
    assert_eq!(world.relay.accounts().unwrap().len(), 1);
}

#[test]
fn an_invitation_is_good_for_one_account() {
    struct Coded;
    impl crate::Admission for Coded {
        fn admits(&self, _: &AccountId, invitation: &str, _: u64) -> bool {
            invitation == "code"
        }
    }
    let mut world = World::empty(|config| config.admission = Box::new(Coded));
    let session = world.connect(1);
    let open = world.opening("code");
    world.accept(session, open).unwrap();
    let used = world.account;
    world.relay.purge(&used, world.now, &mut world.entropy).unwrap();
    // Even after the account is gone, the code isn't free for others; it is for the same one.
    let session = world.connect(1);
    let open = world.opening("code");
    world.accept(session, open).unwrap();
}

#[test]
fn the_log_grows_by_compare_and_swap() {
    let mut world = World::new();
    let mut device = world.device(1);
    let session = world.online(&mut device);
    let two = world.enrolment(1, 2);
    let three = world.enrolment(1, 3);
    world.push_entry(session, two.clone()).unwrap();
    let late = Request::Control(Box::new(PushControl {
        entry: three,
        wraps: None,
        registry: None,
    }));
    assert_eq!(world.accept(session, late), Err(ErrorCode::ControlConflict));
    // The answer got lost, and the entry comes again.
    let again = Request::Control(Box::new(PushControl {
        entry: two,
        wraps: None,
        registry: None,
    }));
    world.accept(session, again).unwrap();
    let mut forged = world.enrolment(1, 3);
    forged.signature.0[0] ^= 1;
    assert_eq!(world.push_entry(session, forged), Err(ErrorCode::BadSignature));
    let stranger = world.enrolment(7, 3);
    assert_eq!(
        world.push_entry(session, stranger),
        Err(ErrorCode::ControlInvalid)
    );
    // Nothing of it is left in memory or store.
    world.enrol(session, 1, 3);
    assert_eq!(world.relay.accounts().unwrap()[0].devices, 3);
}

#[test]
fn an_epoch_fits_members_keys_and_registry() {
    let mut world = World::new();
    let mut device = world.device(1);
    let session = world.online(&mut device);
    world.enrol(session, 1, 2);
    let account = world.account;
    let next =
        |world: &World, folded: &[_]| table(&account, 1, 2, 2, table_id(world), folded, vec![shard(9, 2)]);

    let update = next(&world, &[]);
    let pushed = world.epoch(1, &update);
    // Wraps for too few, to a key that was replaced, another table, none at all.
    let (entry, wraps) = world.epoch_to(1, &update, &[(id(1), keys(1).agreement)]);
    assert_eq!(
        push_epoch(&mut world, session, (entry, wraps), &update),
        Err(ErrorCode::ControlInvalid)
    );
    let stale = [(id(1), AgreementKey([9; 32])), (id(2), keys(2).agreement)];
    let (entry, wraps) = world.epoch_to(1, &update, &stale);
    assert_eq!(
        push_epoch(&mut world, session, (entry, wraps), &update),
        Err(ErrorCode::AgreementStale)
    );
    let other = table(&account, 1, 2, 2, table_id(&world), &[], vec![shard(9, 3)]);
    assert_eq!(
        push_epoch(&mut world, session, pushed.clone(), &other),
        Err(ErrorCode::ControlInvalid)
    );
    let bare = Request::Control(Box::new(PushControl {
        entry: pushed.0.clone(),
        wraps: None,
        registry: None,
    }));
    assert_eq!(world.accept(session, bare), Err(ErrorCode::ControlInvalid));

    // A document key that only an envelope holds would be lost with the old epoch.
    let mut fields = fields(
        4,
        hearth_protocol::envelope::Kind::Changes(hearth_protocol::envelope::Nothing {}),
    );
    fields.new_key = Some(new_key(world.state.epoch().unwrap().0));
    let (item, _) = device.write(fields, b"with a key");
    let batch = device.run(1, vec![item]);
    world.batch(session, &batch);
    assert_eq!(
        push_epoch(&mut world, session, pushed, &update),
        Err(ErrorCode::CutStale)
    );
    let update = next(&world, &[(device.log, 1)]);
    let pushed = world.epoch(1, &update);
    push_epoch(&mut world, session, pushed, &update).unwrap();

    // The next one is wrapped to the keys that were acknowledged.
    let (epoch, _) = world.state.epoch().map(|(id, epoch)| (id, epoch.number)).unwrap();
    let fresh = device.epoch_ack(epoch, 2, 55);
    world.accept(session, fresh).unwrap();
    let update = table(
        &account,
        1,
        3,
        3,
        table_id(&world),
        &[(device.log, 1)],
        vec![shard(9, 4)],
    );
    let pushed = world.epoch(1, &update);
    assert_eq!(
        push_epoch(&mut world, session, pushed, &update),
        Err(ErrorCode::AgreementStale)
    );
    let keys = [(id(1), AgreementKey([55; 32])), (id(2), keys(2).agreement)];
    let pushed = world.epoch_to(1, &update, &keys);
    push_epoch(&mut world, session, pushed, &update).unwrap();
    assert!(matches!(
        world.ask(session, Request::Fetch(Fetch::Wraps(hearth_protocol::envelope::Nothing {}))).as_slice(),
        [Got::Reply(_, Reply::Wraps(wraps))] if wraps.devices.len() == 2
    ));
}

#[test]
fn a_revocation_cuts_behind_what_is_here_and_shuts_out_at_once() {
    let mut world = World::new();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    world.enrol(session, 1, 2);
    let mut two = world.device(2);
    let other = world.online(&mut two);
    let batch = two.change(5, b"from two");
    world.batch(other, &batch);

    let short = world.revocation(1, 2, VersionVector::default(), &[]);
    assert_eq!(world.push_entry(session, short), Err(ErrorCode::CutStale));
    let cut = Map::new([(two.log, two.head)]).unwrap();
    let entry = world.revocation(1, 2, cut, &[]);
    world.look(other);
    world.push_entry(session, entry.clone()).unwrap();
    // It is shown the entry, and closed.
    let got = world.look(other);
    assert!(matches!(&got[0], Got::Reply(0, Reply::Control(part)) if part.entries[0] == entry));
    assert_eq!(closed(&got), Some(ErrorCode::RevokedDevice));
    // It comes again: it is shown the entry again, and nothing else.
    let again = world.connect(2);
    let got = world.ask(again, Request::Hello(Box::new(two.hello())));
    assert!(matches!(&got[0], Got::Reply(0, Reply::Control(_))));
    assert_eq!(closed(&got), Some(ErrorCode::RevokedDevice));

    // What it had written before the cut stays, what others wrote with an old generation is void from here on.
    let late = two.change(5, b"too late");
    let got = world.batch(session, &late);
    assert_eq!(refusals(&got), [ErrorCode::WrongLog]);
    let batch = one.change(6, b"under an old key");
    let got = world.batch(session, &batch);
    assert!(matches!(&got[..], [Got::Reply(0, Reply::Stored(stored))]
        if stored.holed.iter().map(|hole| hole.code).eq([ErrorCode::GenerationStale])));
}

#[test]
fn the_registry_grows_by_compare_and_swap() {
    let mut world = World::new();
    let account = world.account;
    let mut one = world.device(1);
    let session = world.online(&mut one);
    world.enrol(session, 1, 2);
    let mut two = world.device(2);
    let other = world.online(&mut two);
    two.table = table_id(&world);

    let first = table_id(&world);
    let mut update = table(&account, 1, 1, 2, first, &[], vec![shard(9, 1), shard(10, 1)]);
    // A shard that isn't brought and isn't here.
    update.shards = vec![shard(9, 1)].try_into().unwrap();
    assert_eq!(
        world.accept(session, Request::Registry(Box::new(update.clone()))),
        Err(ErrorCode::RegistryConflict)
    );
    // One that is here needn't be brought.
    update.shards = vec![shard(10, 1)].try_into().unwrap();
    world
        .accept(session, Request::Registry(Box::new(update.clone())))
        .unwrap();
    let got = world.look(other);
    assert!(
        matches!(&got[..], [Got::Reply(0, Reply::Registry(part))] if part.shards.to_vec() == vec![shard(10, 1)]),
        "{got:?}"
    );
    let late = table(&account, 2, 1, 2, first, &[], vec![shard(9, 3)]);
    assert_eq!(
        world.accept(other, Request::Registry(Box::new(late))),
        Err(ErrorCode::RegistryConflict)
    );
    let mut forged = table(&account, 1, 1, 3, update.table.id(&account), &[], vec![]);
    forged.table.signature.0[5] ^= 1;
    assert_eq!(
        world.accept(session, Request::Registry(Box::new(forged))),
        Err(ErrorCode::BadSignature)
    );
    let got = world.ask(
        other,
        Request::Fetch(Fetch::Shards(Set::new([9, 10, 11]).unwrap())),
    );
    assert!(matches!(&got[..], [Got::Reply(_, Reply::Registry(part))]
        if part.shards.to_vec() == vec![shard(9, 1), shard(10, 1)] && *part.table == update.table));
}

#[test]
fn the_phrase_finds_the_account_and_recovers_it() {
    let mut world = World::new();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    let batch = one.change(5, b"from one");
    world.batch(session, &batch);
    world.close(session);

    let lost = world.connect(4);
    let got = world.ask(lost, recovering(PHRASE));
    let [Got::Reply(1, Reply::Welcome(welcome))] = got.as_slice() else {
        panic!("{got:?}");
    };
    let (phrase, nobody) = (AccountId(key(PHRASE).public().0), DeviceId([0; 32]));
    let proof = hearth_protocol::message::session_id(&phrase, &nobody, &EXPORTER);
    hearth_protocol::hash::verify(&key(SERVER).public(), &proof, &welcome.proof).unwrap();
    assert_eq!(welcome.own, None);
    let got = world.ask(
        lost,
        Request::Fetch(Fetch::Control(hearth_protocol::message::Range {
            from: 0,
            count: 9,
        })),
    );
    assert!(matches!(&got[..], [Got::Reply(_, Reply::Control(part))] if part.entries.len() == 2));
    let got = world.ask(lost, Request::Vector(VersionVector::default()));
    let [Got::Reply(_, Reply::Complete(complete))] = got.as_slice() else {
        panic!("{got:?}");
    };
    let cut = complete.vector.clone();

    let recover = |world: &World, cut| {
        let proof = key(4).sign(&device_proof_id(&world.account, &keys(4), &Hash::ZERO));
        let entry = world.entry(
            4,
            Action::Recover(Box::new(Recover {
                device: keys(4),
                proof,
                keep: Set::default(),
                cut,
                erasures: Map::default(),
            })),
        );
        sign_entry(entry, &world.account, PHRASE)
    };
    let short = recover(&world, VersionVector::default());
    assert_eq!(world.push_entry(lost, short), Err(ErrorCode::CutStale));
    let entry = recover(&world, cut);
    world.push_entry(lost, entry).unwrap();
    // From here on it is a device as any other.
    let mut four = world.device(4);
    four.control = (world.state.head(), 2);
    let (_, rest) = world.hello(lost, &mut four);
    assert_eq!(items(&rest).len(), 1);

    // Nothing else is allowed with nothing but the phrase.
    let session = world.connect(4);
    world.ask(session, recovering(PHRASE));
    let got = world.ask(
        session,
        Request::Fetch(Fetch::ErasureIds(hearth_protocol::message::Range {
            from: 0,
            count: 9,
        })),
    );
    assert_eq!(closed(&got), Some(ErrorCode::OutOfTurn));
    let session = world.connect(4);
    world.ask(session, recovering(PHRASE));
    let entry = world.enrolment(4, 5);
    let got = world.ask(
        session,
        Request::Control(Box::new(PushControl {
            entry,
            wraps: None,
            registry: None,
        })),
    );
    assert_eq!(closed(&got), Some(ErrorCode::OutOfTurn));
}

/// At a peer tables may leave numbers out, but not so many that none are left.
#[test]
fn a_table_does_not_use_up_the_numbers() {
    let mut world = World::new();
    let account = world.account;
    let store = crate::testing::Faulty::new(world.relay.store().inner.clone());
    world.relay = crate::Relay::new(store, crate::Config::peer(Box::new(key(SERVER)))).unwrap();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    let previous = Hash([9; 32]);
    for (number, taken) in [(u64::MAX, false), (1 << 21, false), (1 << 10, true)] {
        let update = table(&account, 1, 1, number, previous, &[], vec![shard(9, 1)]);
        let got = world.accept(session, Request::Registry(Box::new(update)));
        assert_eq!(got.is_ok(), taken, "{number}: {got:?}");
    }
    let next = table(&account, 1, 1, (1 << 10) + 1, table_id(&world), &[], vec![]);
    world.accept(session, Request::Registry(Box::new(next))).unwrap();
}

/// The phrase's public key stands in every certificate: whoever reads one learns nothing more by it.
#[test]
fn the_phrases_public_key_alone_gets_no_answer() {
    let mut world = World::new();
    let phrase = key(PHRASE).public();
    let by = |seed: u8, exporter: &[u8; 32]| {
        let proof = key(seed).sign(&hearth_protocol::message::claim_id(&phrase, exporter));
        Request::Claim(hearth_protocol::message::Claim {
            versions: Set::new([1]).unwrap(),
            phrase,
            proof,
        })
    };
    for (claim, why) in [
        (by(4, &EXPORTER), "another key's signature"),
        (by(PHRASE, &[78; 32]), "said on another connection"),
    ] {
        let stranger = world.connect(4);
        let got = world.ask(stranger, claim);
        assert_eq!(closed(&got), Some(ErrorCode::BadSignature), "{why}");
        let told = got
            .iter()
            .any(|got| matches!(got, Got::Reply(_, Reply::Welcome(_))));
        assert!(!told, "{why}: {got:?}");
    }
    let mut hello = world.device(4).hello();
    hello.account = AccountId(phrase.0);
    hello.device = DeviceId([0; 32]);
    let stranger = world.connect(4);
    let got = world.ask(stranger, Request::Hello(Box::new(hello)));
    assert_eq!(closed(&got), Some(ErrorCode::UnknownAccount));
}

#[test]
fn a_branch_takes_the_logs_place_only_if_it_wins() {
    let mut world = World::new();
    let mut one = world.device(1);
    let session = world.online(&mut one);
    let fork = world.entries.len();
    let (shared, entries) = (world.state.clone(), world.entries.clone());
    world.enrol(session, 1, 2);
    world.enrol(session, 1, 3);
    let held = world.entries.clone();
    let grown = (world.state.clone(), world.entries.clone());
    // Another one from the same entry on.
    (world.state, world.entries) = (shared, entries);
    for new in 10..14 {
        let entry = world.enrolment(1, new);
        world.state.append(&entry, &world.entries).unwrap();
        world.entries.push(entry);
    }
    let other = world.entries.split_off(fork);
    (world.state, world.entries) = grown;
    let branch = |count: usize| other[..count].to_vec();
    let push = |entries: Vec<hearth_protocol::control::ControlEntry>| {
        Request::Branch(Box::new(hearth_protocol::message::PushBranch {
            entries: entries.try_into().unwrap(),
            wraps: None,
        }))
    };
    let conflict = Err(ErrorCode::ControlConflict);
    assert_eq!(world.accept(session, push(branch(1))), conflict, "shorter");
    assert_eq!(world.accept(session, push(Vec::new())), conflict, "empty");
    assert_eq!(
        world.accept(session, push(held[fork..].to_vec())),
        conflict,
        "its own"
    );
    assert_eq!(
        world.accept(session, push(held[..1].to_vec())),
        conflict,
        "a genesis"
    );
    let mut forged = branch(3);
    forged[2].signature.0[0] ^= 1;
    assert_eq!(world.accept(session, push(forged)), Err(ErrorCode::BadSignature));
    let mut gap = branch(4);
    gap.remove(1);
    assert_eq!(world.accept(session, push(gap)), conflict, "a gap");
    // The one that it lets in is shut out by the other branch: it knows of nothing that it may bring.
    let mut two = world.device(2);
    let second = world.online(&mut two);
    assert_eq!(
        world.accept(second, push(branch(3))),
        conflict,
        "by one that isn't a member there"
    );
    world.accept(session, push(branch(3))).unwrap();
    let mut again = world.device(1);
    again.instance = one.instance;
    let fresh = world.connect(1);
    let (welcome, _) = world.hello(fresh, &mut again);
    let ahead = welcome.ahead.unwrap();
    let last = branch(3).pop().unwrap();
    assert_eq!(
        (ahead.control, ahead.control_number),
        (last.id(&world.account), last.statement.number)
    );
    let gone = world.connect(2);
    let hello = world.device(2).hello();
    let got = world.ask(gone, Request::Hello(Box::new(hello)));
    assert_eq!(closed(&got), Some(ErrorCode::UnknownDevice));
}
