//! Rows that aren't what was written: whatever the damage, the relay ends no worse than with the account refused, and
//! another account is served as before.

use hearth_protocol::codec::{Map, Set, Wire};
use hearth_protocol::envelope::Nothing;
use hearth_protocol::id::{AccountId, Hash};
use hearth_protocol::message::{Applied, Fetch, ItemRange, Range, Reply, Request, RequestFrame};
use hearth_protocol::statement::{AnyStatement, Checkpoint};
use hearth_protocol::vector::VersionVector;
use proptest::prelude::*;

use super::kit::*;
use crate::{Config, Input, MemoryStore, Relay, SessionId, Space, Store};

/// An account with two devices, in which everything has happened that leaves rows.
fn lived() -> (World, Device, Device) {
    let mut world = World::new();
    let mut one = world.device(1);
    let a = world.online(&mut one);
    world.enrol(a, 1, 2);
    let mut two = world.device(2);
    let b = world.online(&mut two);
    for number in 0..70u8 {
        let batch = one.change(number % 3, &[number; 40]);
        world.batch(a, &batch);
    }
    let batch = two.change(7, &[7; 3_000]);
    world.batch(b, &batch);
    let snapshot = two.snapshot(2, &[(one.log, 60)]);
    world.batch(b, &snapshot);
    world
        .accept(a, ack(&[(two.log, two.head.seq), (one.log, 70)], 0))
        .unwrap();
    let erase = one.erase(&[1]);
    let erased = erase.id(&world.account);
    world.accept(a, push_erase(erase)).unwrap();
    two.erased.clone_from(&one.erased);
    world.apply(b, &mut two).unwrap();
    for (session, device) in [(a, &one), (b, &two)] {
        world.accept(session, device.erase_ack(erased)).unwrap();
    }
    world.tick();
    let checkpoint = Checkpoint {
        device: id(1),
        frontier: Map::new([(one.log, one.head), (two.log, two.head)]).unwrap(),
        live_root: Hash::ZERO,
        erased_root: Hash::ZERO,
        control: world.state.head(),
        table: world.table.table.id(&world.account),
        at: at(START_MS),
    };
    let vouched = AnyStatement::Checkpoint(Box::new(one.sign(checkpoint)));
    world.accept(a, Request::Statement(Box::new(vouched))).unwrap();
    // One more, whose receipt is still owed.
    let erase = one.erase(&[0]);
    world.accept(a, push_erase(erase)).unwrap();
    two.erased.clone_from(&one.erased);
    (world, one, two)
}

/// The account that nothing is done to: the same devices in another one.
fn neighbour() -> (World, Device) {
    let mut world = World::of([8; 16]);
    let mut one = world.device(1);
    let session = world.online(&mut one);
    for number in 0..3 {
        let batch = one.change(number, b"the neighbour's");
        world.batch(session, &batch);
    }
    (world, one)
}

fn rows(store: &MemoryStore) -> Vec<(AccountId, Space, Vec<u8>, Vec<u8>)> {
    store
        .rows()
        .map(|(account, space, key, value)| (*account, space, key.to_vec(), value.to_vec()))
        .collect()
}

/// What befalls a row.
#[derive(Debug, Clone)]
enum Damage {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Longer(Vec<u8>),
    Other(Vec<u8>),
    /// Another row's value.
    Swapped(prop::sample::Index),
    /// A number in it that is as high as can be.
    Highest(prop::sample::Index),
    Gone,
    /// A byte of its key, in place of it or beside it.
    Key(prop::sample::Index, u8, bool),
    LongKey(Vec<u8>),
}

fn damages() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    prop_oneof![
        3 => (index(), any::<u8>()).prop_map(|(place, byte)| Damage::Byte(place, byte)),
        1 => index().prop_map(Damage::Cut),
        1 => bytes().prop_map(Damage::Longer),
        1 => bytes().prop_map(Damage::Other),
        2 => index().prop_map(Damage::Swapped),
        4 => index().prop_map(Damage::Highest),
        1 => Just(Damage::Gone),
        3 => (index(), any::<u8>(), any::<bool>()).prop_map(|(at, byte, beside)| Damage::Key(at, byte, beside)),
        1 => bytes().prop_map(Damage::LongKey),
    ]
}

fn damage(store: &mut MemoryStore, of: prop::sample::Index, what: &Damage) {
    let all = rows(store);
    let (account, space, key, value) = &all[of.index(all.len())];
    let mut value = value.clone();
    let mut at = key.clone();
    let mut keep = false;
    match what {
        Damage::Byte(place, byte) if !value.is_empty() => {
            let place = place.index(value.len());
            value[place] = *byte;
        }
        Damage::Cut(place) => value.truncate(place.index(value.len() + 1)),
        Damage::Longer(more) => value.extend_from_slice(more),
        Damage::Other(other) => value.clone_from(other),
        Damage::Swapped(other) => {
            let alike: Vec<_> = all.iter().filter(|(_, there, _, _)| there == space).collect();
            value.clone_from(&alike[other.index(alike.len())].3);
        }
        Damage::Highest(place) if !value.is_empty() => {
            let place = place.index(value.len());
            let highest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
            value.splice(place..=place, highest);
        }
        Damage::Gone => keep = true,
        Damage::Key(place, byte, beside) if !at.is_empty() => {
            let place = place.index(at.len());
            at[place] = *byte;
            keep = *beside;
        }
        Damage::LongKey(more) => at.extend(more.iter().take(40)),
        _ => {}
    }
    at.truncate(crate::store::MAX_KEY_BYTES);
    store.begin().unwrap();
    let gone = matches!(what, Damage::Gone);
    if gone || (at != *key && !keep) {
        store.delete(account, *space, key).unwrap();
    }
    if !gone {
        store.put(account, *space, &at, &value).unwrap();
    }
    store.commit().unwrap();
}

/// One connection to a relay. What comes back isn't looked at, only that something does.
struct Line<'a> {
    relay: &'a mut Relay<MemoryStore>,
    session: SessionId,
    asked: u32,
    open: bool,
    welcome: bool,
    sent: usize,
    entropy: &'a mut Counting,
}

impl Line<'_> {
    fn step(&mut self, input: Input<'_>) {
        if !self.open {
            return;
        }
        let outputs = self
            .relay
            .step(self.session, input, START_MS + 5, self.entropy)
            .unwrap();
        for output in outputs {
            match output {
                crate::Output::Frame { to, bytes } if to == self.session => {
                    self.sent += bytes.len();
                    if let Ok(frame) = hearth_protocol::message::ReplyFrame::decode(&bytes) {
                        self.welcome |= matches!(frame.reply, Reply::Welcome(_));
                    }
                }
                crate::Output::Batch { to, bytes, .. } if to == self.session => self.sent += bytes.len(),
                crate::Output::Close { to, .. } if to == self.session => self.open = false,
                _ => {}
            }
        }
    }

    fn ask(&mut self, request: Request) {
        self.asked += 1;
        let frame = RequestFrame {
            id: self.asked,
            request,
        }
        .encode();
        self.step(Input::Frame(&frame));
    }
}

/// Everything that a device does, on a connection of its own.
fn visit(
    relay: &mut Relay<MemoryStore>,
    number: u64,
    device: &Device,
    entropy: &mut Counting,
) -> (bool, usize) {
    let mut line = Line {
        relay,
        session: SessionId(number),
        asked: 0,
        open: true,
        welcome: false,
        sent: 0,
        entropy,
    };
    line.step(Input::Connected {
        transport_key: keys(device.n).transport.0,
        exporter: EXPORTER,
    });
    let mut device = device.clone();
    line.ask(Request::Hello(Box::new(device.hello())));
    line.ask(Request::Vector(VersionVector::default()));
    for _ in 0..3 {
        line.step(Input::Drained);
    }
    let range = |from| Range {
        from,
        count: u64::MAX,
    };
    let all = ItemRange {
        log: device.log,
        range: range(1),
    };
    for fetch in [
        Fetch::Control(range(0)),
        Fetch::Erasures(range(0)),
        Fetch::Items(vec![all].try_into().unwrap()),
        Fetch::Shards(Set::new([9]).unwrap()),
        Fetch::Wraps(Nothing {}),
        Fetch::NewestCheckpoint(Nothing {}),
        Fetch::ErasureIds(range(0)),
        Fetch::ErasureIds(range(1)),
        Fetch::Erasure(device.erased.first().copied().unwrap_or(Hash::ZERO)),
    ] {
        line.ask(Request::Fetch(fetch));
    }
    line.ask(Request::Applied(Applied {
        erased_cursor: device.erased.len() as u64,
        erased_root: hearth_protocol::erasure::erased_root(device.erased.clone()),
    }));
    let batch = device.change(5, b"one more");
    line.step(Input::Batch(&batch));
    let snapshot = device.snapshot(2, &[(device.log, device.head.seq)]);
    line.step(Input::Batch(&snapshot));
    line.ask(ack(&[(device.log, device.head.seq)], u64::MAX));
    let erase = device.erase(&[2]);
    let erased = erase.id(&device.account);
    line.ask(push_erase(erase));
    line.ask(device.erase_ack(erased));
    line.ask(device.log_open());
    line.step(Input::Drained);
    (line.welcome, line.sent)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn damaged_rows_harm_nobody_else(harm in prop::collection::vec((any::<prop::sample::Index>(), damages()), 1..4)) {
        thread_local! {
            static SCENE: (MemoryStore, Device, Device, MemoryStore, Device, AccountId) = {
                let (world, one, two) = lived();
                let (other, neighbour) = neighbour();
                let account = world.account;
                let store = |world: World| world.relay.into_store().inner;
                (store(world), one, two, store(other), neighbour, account)
            };
        }
        SCENE.with(|(store, one, two, other, neighbour, account)| {
            let mut store = store.clone();
            for (of, what) in &harm {
                damage(&mut store, *of, what);
            }
            store.begin().unwrap();
            for (account, space, key, value) in rows(other) {
                store.put(&account, space, &key, &value).unwrap();
            }
            store.commit().unwrap();
            let mut entropy = Counting::default();
            let mut relay = Relay::new(store, Config::server(Box::new(key(SERVER)))).unwrap();
            let (alone, _) = visit(&mut Relay::new(other.clone(), Config::server(Box::new(key(SERVER)))).unwrap(), 1, neighbour, &mut Counting::default());
            assert!(alone);
            visit(&mut relay, 1, one, &mut entropy);
            visit(&mut relay, 2, two, &mut entropy);
            let _ = relay.tick(START_MS + 10, &mut entropy);
            let _ = (relay.accounts(), relay.erasures(account, 0), relay.has_moved(account));
            let _ = relay.backup_made(account, u64::MAX);
            let (welcome, sent) = visit(&mut relay, 3, neighbour, &mut entropy);
            assert!(welcome, "the neighbour isn't served");
            assert!(sent > 3 * b"the neighbour's".len());
            let _ = relay.purge(account, START_MS + 20, &mut entropy);
            let left = relay.tick(START_MS + 30, &mut entropy);
            assert!(left.is_ok(), "{left:?}");
        });
    }
}
