//! What is kept of items, beside a model that keeps everything.

use std::collections::BTreeMap;

use hearth_protocol::codec::{Map, Wire};
use hearth_protocol::envelope::{
    Batch, Envelope, Fields, HeaderVersion, Item, Kind, Nothing, Sealed, next_link, position_id,
};
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{Handle, KeyRef, Link, LogId, ShortSalt, Signature};
use hearth_protocol::statement::LogOpen;
use hearth_protocol::vector::Head;
use proptest::prelude::*;

use super::kit::*;
use crate::MemoryStore;
use crate::config::Signer;
use crate::items::{Log, Mark, places_of};
use crate::rows::{LogRow, Rows};

const LOG: LogId = LogId([3; 16]);

/// An item as it was written, and whether its body is still there.
struct Written {
    envelope: Envelope,
    previous: Link,
    link: Link,
    lives: bool,
}

struct Scene {
    rows: Rows<MemoryStore>,
    row: LogRow,
    written: BTreeMap<u64, Written>,
}

/// Handles of which two begin alike.
fn handle(number: u8) -> Handle {
    let mut handle = [7; 16];
    handle[15] = number;
    if number > 1 {
        handle[0] = number;
    }
    Handle(handle)
}

impl Scene {
    fn new() -> Self {
        let mut rows = Rows {
            store: MemoryStore::default(),
            writes: 0,
        };
        rows.begin().unwrap();
        let open = LogOpen {
            device: id(1),
            nonce: [1; 16],
        };
        let start = Head {
            seq: 0,
            link: Link([9; 32]),
        };
        let row = LogRow {
            number: 1,
            open: Signed {
                statement: open,
                signature: Signature([0; 64]),
            },
            folded: start,
            head: start,
            new_keys: 0,
            holed: hearth_protocol::codec::List::default(),
        };
        Self {
            rows,
            row,
            written: BTreeMap::new(),
        }
    }

    fn account() -> hearth_protocol::id::AccountId {
        hearth_protocol::id::AccountId([5; 32])
    }

    fn write(&mut self, number: u8, size: usize) -> u64 {
        let Head { seq, link: previous } = self.row.head;
        let seq = seq + 1;
        let mut envelope = Envelope {
            version: HeaderVersion::V1,
            log: LOG,
            seq,
            sealed: Sealed {
                fields: Fields {
                    kind: Kind::Changes(Nothing {}),
                    handle: handle(number),
                    generation: 0,
                    key: KeyRef([1; 8]),
                    new_key: None,
                    erased: Map::default(),
                    depends: Map::default(),
                    salt: ShortSalt([2; 8]),
                },
                ciphertext: vec![number; size].try_into().unwrap(),
                signature: Signature([0; 64]),
            },
        };
        let account = Self::account();
        let link = next_link(&previous, &envelope.header_hash(&account, &previous));
        envelope.sealed.signature = key(1).sign(&position_id(&account, &LOG, seq, &link));
        let written = Written {
            envelope,
            previous,
            link,
            lives: false,
        };
        self.written.insert(seq, written);
        self.row.head = Head { seq, link };
        seq
    }

    fn with<T>(&mut self, act: impl FnOnce(&Log<'_>, &mut Rows<MemoryStore>) -> T) -> T {
        let account = Self::account();
        let row = self.row.clone();
        let log = Log {
            account: &account,
            id: &LOG,
            row: &row,
        };
        act(&log, &mut self.rows)
    }

    /// As the relay takes it: the head moves after the item is in.
    fn live(&mut self, number: u8, size: usize) {
        let before = self.row.head;
        let seq = self.write(number, size);
        let head = std::mem::replace(&mut self.row.head, before);
        self.put(seq, true);
        self.row.head = head;
    }

    fn put(&mut self, seq: u64, chained: bool) {
        let written = self.written.get_mut(&seq).unwrap();
        written.lives = true;
        let (previous, sealed) = (written.previous, written.envelope.sealed.clone());
        self.with(|log, rows| log.put_live(rows, seq, previous, sealed, chained, 0).unwrap());
    }

    /// Plain holes, and the signed one that has to follow them.
    fn holes(&mut self, count: usize) {
        let first = self.row.head.seq + 1;
        let mut hashes = Vec::new();
        for _ in 0..count {
            let seq = self.write(9, 10);
            let written = &self.written[&seq];
            hashes.push(written.envelope.header_hash(&Self::account(), &written.previous));
        }
        let last = hashes.pop().unwrap();
        self.with(|log, rows| log.put_holes(rows, first, &hashes).unwrap());
        let Head { seq, link } = self.row.head;
        let mark = Mark {
            header_hash: last,
            signature: self.written[&seq].envelope.sealed.signature,
            link,
        };
        self.with(|log, rows| log.put_mark(rows, seq, mark).unwrap());
    }

    fn nth(&self, lives: bool, place: usize) -> Option<u64> {
        let folded = self.row.folded.seq;
        let found: Vec<u64> = self
            .written
            .iter()
            .filter(|(seq, written)| written.lives == lives && (lives || **seq > folded))
            .map(|(seq, _)| *seq)
            .collect();
        (!found.is_empty()).then(|| found[place % found.len()])
    }

    fn fold(&mut self, upto: u64, limit: usize) {
        let found = self.with(|log, rows| log.foldable(rows, upto, limit).unwrap());
        let last = found.upto;
        for (seq, previous) in &found.bare {
            assert_eq!(*previous, self.written[seq].previous);
        }
        let link = self.written[&last].link;
        self.with(|log, rows| {
            assert_eq!(log.link_at(rows, last).unwrap(), Some(link));
            for (seq, previous) in found.bare {
                log.put_link(rows, seq, previous).unwrap();
            }
            for hole in &found.holes {
                log.remove(rows, hole).unwrap();
            }
        });
        self.row.folded = Head { seq: last, link };
    }

    fn check(&mut self) {
        let (folded, head) = (self.row.folded.seq, self.row.head.seq);
        for seq in folded.max(1)..=head {
            let link = self.written[&seq].link;
            self.with(|log, rows| assert_eq!(log.link_at(rows, seq).unwrap(), Some(link), "{seq}"));
        }
        // In its chain everything is sent, and ends with something signed.
        let mut at = folded + 1;
        while at <= head {
            let (batch, last) = self
                .with(|log, rows| log.run(rows, at, head, 2_000))
                .unwrap()
                .unwrap();
            let Ok(Batch::Run(run)) = Batch::decode(&batch) else {
                panic!("no run");
            };
            assert_eq!((run.first_seq, run.items.len() as u64), (at, last + 1 - at));
            assert!(!matches!(run.items.last(), Some(Item::Hole(_))));
            for (seq, item) in (at..).zip(run.items.iter()) {
                let written = &self.written[&seq];
                let hash = written.envelope.header_hash(&Self::account(), &written.previous);
                match item {
                    Item::Envelope(sealed) => {
                        assert!(written.lives && *sealed == written.envelope.sealed);
                    }
                    Item::Hole(hole) => assert!(!written.lives && *hole == hash),
                    Item::SignedHole(hole) => {
                        assert!(!written.lives && hole.header_hash == hash);
                        assert_eq!(hole.signature, written.envelope.sealed.signature);
                    }
                }
            }
            at = last + 1;
        }
        // Out of it, whatever lives, with the link before it.
        let mut found = Vec::new();
        let mut at = 1;
        while at <= head {
            let (batch, done) = self
                .with(|log, rows| log.detached(rows, at, head, 2_000))
                .unwrap();
            if let Some(batch) = batch {
                let Ok(Batch::Detached(list)) = Batch::decode(&batch) else {
                    panic!("nothing detached");
                };
                for detached in list.iter() {
                    let written = &self.written[&detached.envelope.seq];
                    assert!(detached.previous == written.previous && detached.envelope == written.envelope);
                    found.push(detached.envelope.seq);
                }
            }
            at = done + 1;
        }
        let lives = self.written.iter().filter(|(_, written)| written.lives);
        assert_eq!(found, lives.map(|(seq, _)| *seq).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_of_items_is_enough(steps in prop::collection::vec((0u8..12, any::<u16>()), 1..120)) {
        let mut scene = Scene::new();
        for (what, value) in steps {
            let place = usize::from(value);
            match what {
                0..=3 => {
                    for _ in 0..=place % 20 {
                        scene.live((place % 4) as u8, if value % 11 == 0 { 5_000 } else { 20 });
                    }
                }
                4 => scene.holes(1 + place % 90),
                5..=8 => {
                    for step in 0..=place % 30 {
                        if let Some(seq) = scene.nth(true, place + step) {
                            scene.with(|log, rows| log.dig(rows, seq, None).unwrap().unwrap());
                            scene.written.get_mut(&seq).unwrap().lives = false;
                        }
                    }
                }
                9 => {
                    if let Some(seq) = scene.nth(false, place) {
                        scene.put(seq, false);
                    }
                }
                10 => scene.check(),
                _ => {
                    let (folded, head) = (scene.row.folded.seq, scene.row.head.seq);
                    if folded < head {
                        scene.fold(folded + 1 + u64::from(value) % (head - folded), 1 + place % 200);
                    }
                }
            }
        }
        scene.check();
    }
}

#[test]
fn handles_that_begin_alike_are_told_apart() {
    let mut scene = Scene::new();
    for number in [0, 1, 0, 2] {
        scene.live(number, 20);
    }
    let account = Scene::account();
    let found = |scene: &Scene, number, after, limit| {
        places_of(&scene.rows, &account, &handle(number), after, limit).unwrap()
    };
    assert_eq!(found(&scene, 0, None, 9), [(1, 1), (1, 2), (1, 3)]);
    assert_eq!(found(&scene, 0, Some((1, 1)), 1), [(1, 2)]);
    assert_eq!(found(&scene, 2, None, 9), [(1, 4)]);
    let dug = |scene: &mut Scene, seq, number| {
        scene.with(|log, rows| log.dig(rows, seq, Some(&handle(number))).unwrap().is_some())
    };
    assert!(!dug(&mut scene, 2, 0) && dug(&mut scene, 2, 1) && dug(&mut scene, 1, 0));
    assert_eq!(found(&scene, 0, None, 9), [(1, 3)]);
}

#[test]
fn keys_are_in_the_order_of_numbers() {
    let numbers = [0, 1, 255, 256, 65_535, 65_536, 1 << 40, u64::MAX];
    let keys = numbers.map(|seq| crate::items::item_key(300, seq));
    assert!(keys.is_sorted());
    for (key, seq) in keys.iter().zip(numbers) {
        assert_eq!(crate::items::place_of(key).unwrap(), (300, seq));
    }
    for bad in [&[0, 1][..], &[0, 1, 2, 3], &[0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert!(crate::items::place_of(bad).is_err());
    }
}
