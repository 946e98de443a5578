//! What has to be true in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use automerge::{AutoCommit, ChangeHash};
use hearth_core::engine::testing::Driver;
use hearth_protocol::id::{Hash, LogId};
use hearth_store::{SyncItem, SyncKind};
use hearth_sync::device::Notice;
use hearth_sync::document::Doc;

use super::home::{Content, Home};
use super::model::{Fate, shown, value};
use super::world::World;

/// The machine's space of what is alive (`hearth_sync::device`): document, log and number.
const LIVE: u8 = 6;

impl World {
    /// Everything that must be true once all is well and at rest.
    pub fn check(&mut self) {
        let seed = self.seed;
        let living = self.living();
        self.tell_live(&living);
        self.check_honest();
        for home in &living {
            self.check_at_rest(*home);
        }
        let first = self.homes[living[0]].content();
        let documents = documents(&self.homes[living[0]], &first);
        for home in &living[1..] {
            let other = self.homes[*home].content();
            assert_eq!(
                first.memories, other.memories,
                "seed {seed}: {} and {home}",
                living[0]
            );
            assert_eq!(first.chats, other.chats, "seed {seed}: {} and {home}", living[0]);
            assert_eq!(
                first.settings, other.settings,
                "seed {seed}: {} and {home}",
                living[0]
            );
            let theirs = self::documents(&self.homes[*home], &other);
            if documents != theirs {
                let differing: Vec<_> = documents
                    .keys()
                    .chain(theirs.keys())
                    .filter(|handle| documents.get(*handle) != theirs.get(*handle))
                    .map(|handle| (documents.get(handle), theirs.get(handle)))
                    .collect();
                for change in self.only_at(&documents, &theirs, *home, &other) {
                    println!("only at {home}: {change}");
                }
                for change in self.only_at(&theirs, &documents, living[0], &first) {
                    println!("only at {}: {change}", living[0]);
                }
                panic!(
                    "seed {seed}: documents of {} and {home}: {differing:?}",
                    living[0]
                );
            }
        }
        self.check_model(living[0]);
        self.check_erasures();
        for home in &living {
            self.homes[*home]
                .store()
                .verify()
                .unwrap_or_else(|error| panic!("seed {seed}: {home}: {error}"));
        }
        assert!(
            self.server.check().is_empty(),
            "seed {seed}: {:?}",
            self.server.check()
        );
        self.scan();
    }

    /// The heads of a device's documents that the other one's don't end in, with what they change.
    fn only_at(&self, less: &Documents, more: &Documents, home: usize, content: &Content) -> Vec<String> {
        let mut all = Vec::new();
        for item in items(content) {
            for document in self.homes[home].store().sync_documents(&item).unwrap() {
                let heads = more.get(&document.handle.0).map(|(_, heads)| heads);
                let there = less.get(&document.handle.0).map(|(_, heads)| heads);
                let Ok(mut automerge) = AutoCommit::load(&document.document) else {
                    continue;
                };
                for head in heads.into_iter().flatten() {
                    if there.is_none_or(|there| !there.contains(head))
                        && let Some(change) = automerge.get_change_by_hash(&ChangeHash(head.0))
                    {
                        all.push(format!("{item:?}: {:?}", change.decode()));
                    }
                }
            }
        }
        all
    }

    /// Prints what the devices hold for alive, as far as it differs.
    fn tell_live(&self, living: &[usize]) {
        let live = |home: usize| -> BTreeSet<String> {
            let store = self.homes[home].store();
            let all = store.sync_records(LIVE, &[], None, usize::MAX).unwrap();
            let hexadecimal = |key: &[u8]| {
                key.iter().fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                })
            };
            all.iter().map(|record| hexadecimal(&record.key)).collect()
        };
        for home in &living[1..] {
            for (one, other) in [(living[0], *home), (*home, living[0])] {
                for key in live(one).difference(&live(other)) {
                    self.tell(&format!("alive at {one} and not at {other}: {key}"));
                }
            }
        }
    }

    /// Nobody was accused of anything.
    fn check_honest(&self) {
        for (number, home) in self.homes.iter().enumerate() {
            for notice in &home.notices {
                let accuses = matches!(
                    notice,
                    Notice::Proof(_)
                        | Notice::Tampered
                        | Notice::FalseServer
                        | Notice::Suspicion(_)
                        | Notice::Damaged { .. }
                );
                assert!(!accuses, "seed {}: device {number} says {notice:?}", self.seed);
            }
        }
    }

    fn check_at_rest(&self, home: usize) {
        let (seed, this) = (self.seed, &self.homes[home]);
        let device = self
            .device(home)
            .unwrap_or_else(|| panic!("seed {seed}: {home} doesn't run"));
        let status = device.status(self.now_ms);
        let dirty = this.store().dirty(100).unwrap();
        let outgoing = this.store().outgoing_erasures(100).unwrap();
        assert!(
            dirty.is_empty() && outgoing.is_empty() && status.unsealed == 0 && status.unconfirmed == 0,
            "seed {seed}: {home} keeps {dirty:?} {outgoing:?} {status:#?}"
        );
        assert_eq!(
            status.link,
            hearth_sync::device::Link::Live,
            "seed {seed}: {home} {status:#?}"
        );
    }

    fn check_model(&self, home: usize) {
        let (seed, this) = (self.seed, &self.homes[home]);
        let shown = shown(this);
        for (key, thing) in &self.model.things {
            match self.model.fate(key) {
                Fate::Here => assert!(shown.contains(key), "seed {seed}: {key:?} is lost: {thing:?}"),
                Fate::Gone => assert!(!shown.contains(key), "seed {seed}: {key:?} is there: {thing:?}"),
                Fate::Either => continue,
            }
            let Some(value) = value(this, key).filter(|_| shown.contains(key)) else {
                continue;
            };
            let known = thing.words.iter().any(|word| value.contains(word));
            assert!(known, "seed {seed}: {key:?} says {value}: {thing:?}");
            let over = thing.edits.iter().find(|edit| edit.sure && edit.before == value);
            if let Some(edit) = over
                && !thing.loose
            {
                panic!("seed {seed}: {key:?} says {value} again, after {edit:?}: {thing:?}");
            }
        }
    }

    /// Every erasure of the account is complete, and its certificate holds.
    fn check_erasures(&self) {
        let seed = self.seed;
        for home in self.living() {
            let this = &self.homes[home];
            let driver: &Driver = this.driver.as_ref().unwrap();
            let now = self.clock(home);
            // One that was to be shut out, and wasn't in the end, may never have confirmed.
            let shut_out = self.homes.iter().all(|home| !home.leaving);
            for erasure in driver.device().status(now).erasures {
                let made = driver
                    .certificate(this.store(), &erasure.erase, now as i64)
                    .unwrap();
                let (file, complete) = made.unwrap();
                let report = hearth_protocol::certificate::verify(&file).unwrap();
                assert_eq!(report.complete, complete, "seed {seed}");
                assert_eq!(complete, erasure.complete, "seed {seed}: {home}: {erasure:?}");
                assert!(
                    complete || !shut_out,
                    "seed {seed}: {home}: {erasure:#?} {:#?}",
                    driver.device().status(now).devices
                );
            }
        }
    }
}

type Documents = BTreeMap<[u8; 16], (SyncItem, Vec<Hash>)>;

/// Everything that has documents.
fn items(content: &Content) -> Vec<SyncItem> {
    let memories = content.memories.iter().map(|memory| SyncItem::memory(memory.id));
    let chats = content.chats.keys().map(|chat| SyncItem::chat(*chat));
    let groups = content.settings.keys().map(|name| SyncItem {
        kind: SyncKind::Settings,
        local: name
            .strip_prefix("sync.group.")
            .unwrap_or("general")
            .as_bytes()
            .to_vec(),
    });
    memories.chain(chats).chain(groups).collect()
}

/// The heads of every document.
fn documents(home: &Home, content: &Content) -> Documents {
    let mut all = Documents::new();
    for item in items(content) {
        for document in home.store().sync_documents(&item).unwrap() {
            let heads = Doc::load(&document.document, LogId([0; 16])).unwrap().heads();
            all.insert(document.handle.0, (item.clone(), heads));
        }
    }
    all
}
