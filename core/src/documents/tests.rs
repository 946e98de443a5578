//! Two and three profiles with real databases and real documents, joined by hand where the device machine would be.

use std::collections::BTreeMap;

use hearth_protocol::erasure::{Marked, mark};
use hearth_protocol::id::{Handle, LogId};
use hearth_store::{
    ChatId, DEVICE_SETTINGS, ErasePlan, ErasureOrder, MemoryChange, MemoryId, MemoryKind, MemoryOrigin,
    MemoryQuery, MemoryStatus, MessageId, MessageStatus, NewChat, NewMemory, NewMessage, Protection, Role,
    SYNCED_SETTINGS, SourceTurn, Store, SyncBatch, SyncItem, SyncKind, SyncReport,
};
use hearth_sync::content::DocumentKind;
use hearth_sync::document::{Doc, Record};
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::{Arrived, Incoming, convert, publications, snapshot};

type Sent = Vec<(Handle, DocumentKind, Vec<Vec<u8>>)>;

struct Device {
    dir: TempDir,
    store: Store,
    log: LogId,
    made: u8,
}

impl Device {
    fn new(name: u8) -> Device {
        let dir = tempfile::tempdir().unwrap();
        let options = hearth_store::StoreOptions {
            kdf: hearth_store::KdfCost {
                memory_kib: 64,
                passes: 1,
                lanes: 1,
            },
            ..hearth_store::StoreOptions::default()
        };
        let words = Protection::Passphrase(Zeroizing::new("words".into()));
        let mut store = Store::create_with(dir.path(), &words, &options).unwrap();
        store.begin_sync().unwrap();
        Device {
            dir,
            store,
            log: LogId([name; 16]),
            made: 0,
        }
    }

    fn publish(&mut self) -> Sent {
        let mut sent = Vec::new();
        for dirty in self.store.dirty(usize::MAX).unwrap() {
            self.made += 1;
            let mut fresh = [self.log.0[0]; 16];
            fresh[1] = self.made;
            let made = publications(&self.store, &dirty, self.log, Handle(fresh)).unwrap();
            let mut batch = SyncBatch {
                clear: vec![dirty.mark],
                ..SyncBatch::default()
            };
            assert!(made.last().is_none_or(|last| last.mark == Some(dirty.mark)));
            for made in made {
                batch.documents.extend(made.write);
                if !made.changes.is_empty() {
                    sent.push((made.handle, made.kind, made.changes));
                }
            }
            self.store.sync_write(&batch, 5).unwrap();
        }
        sent
    }

    fn take(&mut self, sent: &Sent) -> SyncReport {
        let mut incoming = Incoming::new(&self.store, self.log);
        for (handle, kind, changes) in sent {
            incoming.take(*handle, *kind, Arrived::Changes(changes)).unwrap();
        }
        let (documents, damaged) = incoming.finish().unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        let batch = SyncBatch {
            documents,
            ..SyncBatch::default()
        };
        let report = self.store.sync_write(&batch, 6).unwrap();
        assert!(report.rejected.is_empty(), "{report:?}");
        report
    }

    fn remember(&mut self, text: &str, sources: Vec<SourceTurn>) -> MemoryId {
        let new = NewMemory {
            text: text.into(),
            kind: MemoryKind::Preference,
            confidence: 0.75,
            sensitive: false,
            valid_from_ms: Some(3),
            valid_to_ms: None,
            created_at_ms: 10,
            sources,
            status: MemoryStatus::Active,
            origin: MemoryOrigin::Extracted,
            pinned: false,
        };
        self.store.add_memory(&new, None).unwrap().id
    }

    fn chat(&mut self) -> ChatId {
        let new = NewChat {
            title: "A chat".into(),
            created_at_ms: 1,
            metadata: Value::Null,
        };
        self.store.create_chat(new).unwrap().id
    }

    fn say(&mut self, chat: ChatId, text: &str) -> MessageId {
        let parent = self.store.chat(chat).unwrap().head;
        let new = NewMessage {
            chat,
            parent,
            role: Role::User,
            text: text.into(),
            reasoning: String::new(),
            status: MessageStatus::Complete,
            created_at_ms: 20,
            model: None,
            metadata: json!({"n": 1.0}),
        };
        self.store.append_message(new).unwrap().id
    }

    /// Whether any document here says it, once it is inflated.
    fn documents_say(&self, text: &str) -> bool {
        let mut items: Vec<SyncItem> = Vec::new();
        items.extend(
            self.store
                .memories(&MemoryQuery::default())
                .unwrap()
                .iter()
                .map(|m| SyncItem::memory(m.id)),
        );
        let chats = self.store.chats(&hearth_store::ChatQuery::default()).unwrap();
        items.extend(chats.iter().map(|chat| SyncItem::chat(chat.chat.id)));
        items.into_iter().any(|item| {
            let documents = self.store.sync_documents(&item).unwrap();
            documents.into_iter().any(|document| {
                let doc = Doc::load(&document.document, self.log).unwrap();
                let changes = doc.changes_since(&[]);
                let inflated = changes.iter().map(|change| inflate(change));
                inflated.into_iter().any(|bytes| contains(&bytes, text)) || contains(&document.document, text)
            })
        })
    }

    /// Without the order of siblings, which is that in which they came here.
    fn content(&self, item: &SyncItem) -> Option<Record> {
        self.store
            .sync_content(item)
            .unwrap()
            .as_ref()
            .map(convert::record)
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A change, inflated where it is compressed.
fn inflate(change: &[u8]) -> Vec<u8> {
    if change.get(8) != Some(&2) {
        return change.to_vec();
    }
    let mut at = 9;
    while change[at] & 0x80 != 0 {
        at += 1;
    }
    let mut inflated = Vec::new();
    let mut decoder = flate2::bufread::DeflateDecoder::new(&change[at + 1..]);
    std::io::Read::read_to_end(&mut decoder, &mut inflated).unwrap();
    inflated
}

/// Both take what the other has until nothing is left to say.
fn settle(one: &mut Device, other: &mut Device) {
    for _ in 0..6 {
        let (from_one, from_other) = (one.publish(), other.publish());
        if from_one.is_empty() && from_other.is_empty() {
            return;
        }
        one.take(&from_other);
        other.take(&from_one);
    }
    panic!("they never come to rest");
}

#[test]
fn edits_on_two_devices_merge_by_field() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = one.chat();
    let said = one.say(
        talk,
        "I like night trains, and long texts are compressed. "
            .repeat(20)
            .as_str(),
    );
    let source = SourceTurn {
        chat: talk,
        message: said,
    };
    let fact = one.remember("Likes night trains", vec![source]);
    one.store
        .set_setting("settings", &json!({"system_prompt": "Rhyme", "threads": 4}))
        .unwrap();
    settle(&mut one, &mut other);
    for item in [
        SyncItem::memory(fact),
        SyncItem::chat(talk),
        SyncItem::settings("general"),
    ] {
        assert_eq!(one.content(&item), other.content(&item));
    }
    // At once, and both before they hear of each other.
    let text = MemoryChange {
        text: Some("Likes sleepers".into()),
        ..MemoryChange::default()
    };
    one.store.update_memory(fact, &text, None, 30).unwrap();
    let pinned = MemoryChange {
        pinned: Some(true),
        confidence: Some(1.0),
        ..MemoryChange::default()
    };
    other.store.update_memory(fact, &pinned, None, 31).unwrap();
    let (left, right) = (one.say(talk, "left"), other.say(talk, "right"));
    one.store.rename_chat(talk, "Trains", 40).unwrap();
    // One hears of the other while its own edits wait: none is lost.
    let sent = other.publish();
    one.take(&sent);
    let merged = one.store.memory(fact).unwrap();
    assert_eq!(
        (merged.text.as_str(), merged.pinned, merged.confidence),
        ("Likes sleepers", true, 1.0)
    );
    settle(&mut one, &mut other);
    for device in [&one, &other] {
        let memory = device.store.memory(fact).unwrap();
        assert_eq!(
            (memory.text.as_str(), memory.pinned, memory.updated_at_ms),
            ("Likes sleepers", true, 31)
        );
        assert_eq!(device.store.message_count(talk).unwrap(), 3);
        assert_eq!(device.store.chat(talk).unwrap().title, "Trains");
        assert_eq!(device.store.siblings(left).unwrap().len(), 2, "{right}");
    }
    assert_eq!(
        one.content(&SyncItem::chat(talk)),
        other.content(&SyncItem::chat(talk))
    );
    // What one has published goes whole, too.
    let handle = one.store.sync_documents(&SyncItem::chat(talk)).unwrap()[0].handle;
    let mut third = Device::new(3);
    let whole = snapshot(&one.store, handle, one.log).unwrap().unwrap();
    assert_eq!(
        snapshot(&other.store, handle, other.log).unwrap(),
        Some(whole.clone())
    );
    let mut incoming = Incoming::new(&third.store, third.log);
    incoming
        .take(handle, DocumentKind::Chat, Arrived::Snapshot(&whole.document))
        .unwrap();
    let documents = incoming.finish().unwrap().0;
    let batch = SyncBatch {
        documents,
        ..SyncBatch::default()
    };
    third.store.sync_write(&batch, 6).unwrap();
    assert_eq!(
        one.content(&SyncItem::chat(talk)),
        third.content(&SyncItem::chat(talk))
    );
}

/// Both import the same export before they know of each other: two documents of one thing become one thing.
#[test]
fn the_same_import_on_two_devices_is_one() {
    let mut source = Device::new(9);
    let fact = source.remember("Imported", Vec::new());
    let talk = source.chat();
    source.say(talk, "hello");
    let (mut memories, mut chats) = (Vec::new(), Vec::new());
    source.store.export_memories(&mut memories).unwrap();
    source
        .store
        .export_chats(&hearth_store::ChatSelection::default(), &mut chats)
        .unwrap();
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    for device in [&mut one, &mut other] {
        device.store.import_memories(&mut memories.as_slice()).unwrap();
        device.store.import_chats(&mut chats.as_slice(), 9).unwrap();
    }
    other.say(talk, "more");
    let pinned = MemoryChange {
        pinned: Some(true),
        ..MemoryChange::default()
    };
    other.store.update_memory(fact, &pinned, None, 40).unwrap();
    settle(&mut one, &mut other);
    for device in [&one, &other] {
        assert_eq!(
            device
                .store
                .sync_documents(&SyncItem::memory(fact))
                .unwrap()
                .len(),
            2
        );
        assert!(device.store.memory(fact).unwrap().pinned);
        assert_eq!(device.store.message_count(talk).unwrap(), 2);
        assert_eq!(device.store.memories(&MemoryQuery::default()).unwrap().len(), 1);
    }
    one.store
        .update_memory(
            fact,
            &MemoryChange {
                pinned: Some(false),
                ..pinned
            },
            None,
            50,
        )
        .unwrap();
    settle(&mut one, &mut other);
    assert!(!other.store.memory(fact).unwrap().pinned);
}

/// Two groups of settings that began apart are one, and what is taken out of it stays out.
#[test]
fn settings_that_began_apart_become_one_group() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    one.store
        .set_setting("settings", &json!({"system_prompt": "Rhyme", "threads": 1}))
        .unwrap();
    other
        .store
        .set_setting("settings", &json!({"memory_limit": 9, "threads": 2}))
        .unwrap();
    settle(&mut one, &mut other);
    let item = SyncItem::settings("general");
    assert_eq!(one.content(&item), other.content(&item));
    assert_eq!(one.store.sync_documents(&item).unwrap().len(), 2);
    other
        .store
        .set_setting("settings", &json!({"memory_limit": 8, "threads": 2}))
        .unwrap();
    settle(&mut one, &mut other);
    assert_eq!(
        one.store.get_setting("settings").unwrap(),
        Some(json!({"threads": 1, "memory_limit": 8}))
    );
}

/// What is erased on one is in no page and no inflated document of the other, whatever that has done meanwhile.
#[test]
fn erasing_reaches_what_the_other_did_offline() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = one.chat();
    let plain = one.say(talk, &"a plaincanary stays ".repeat(30));
    let secret = one.say(talk, &"a secretcanary goes ".repeat(30));
    let of_both = vec![
        SourceTurn {
            chat: talk,
            message: plain,
        },
        SourceTurn {
            chat: talk,
            message: secret,
        },
    ];
    let kept = one.remember("Of both", of_both.clone());
    let gone = one.remember("The secretcanary", of_both[1..].to_vec());
    settle(&mut one, &mut other);
    assert!(other.documents_say("secretcanary"));
    // Offline: an edit of what goes, a memory drawn from it, an answer in the chat.
    let edit = MemoryChange {
        text: Some("The secretcanary, edited".into()),
        ..MemoryChange::default()
    };
    other.store.update_memory(gone, &edit, None, 30).unwrap();
    let drawn = other.remember("Drawn from secretcanary", of_both[1..].to_vec());
    let late = other.publish();
    other.say(talk, "an answer");

    let plan = ErasePlan {
        memories: vec![gone],
        turns: vec![secret],
        chats: Vec::new(),
        ..ErasePlan::default()
    };
    one.store.erase(&plan, 50).unwrap();
    let order = |device: &mut Device, handles: Vec<Handle>| {
        let batch = SyncBatch {
            erasures: vec![ErasureOrder {
                erase: [1; 32],
                handles,
                also: ErasePlan::default(),
            }],
            ..SyncBatch::default()
        };
        let report = device.store.sync_write(&batch, 60).unwrap();
        let more = report.erasures[0].more.clone();
        let given_back = SyncBatch {
            ordered: more.clone(),
            ..SyncBatch::default()
        };
        device.store.sync_write(&given_back, 60).unwrap();
        more
    };
    let orders = one.store.outgoing_erasures(usize::MAX).unwrap();
    let more = order(&mut other, orders);
    assert!(!more.is_empty());
    order(&mut one, more);
    one.take(&late);
    settle(&mut one, &mut other);
    for device in [&one, &other] {
        assert!(!device.documents_say("secretcanary"));
        assert!(device.documents_say("plaincanary"));
        for id in [gone, drawn] {
            assert!(device.store.memory(id).is_err());
        }
        assert_eq!(device.store.memory(kept).unwrap().sources.len(), 1);
        assert_eq!(device.store.message_count(talk).unwrap(), 3);
        assert_eq!(device.store.message(secret).unwrap().text, "");
        device.store.verify().unwrap();
        assert!(
            device
                .dir
                .path()
                .join("hearth.db-wal")
                .metadata()
                .map_or(0, |log| log.len())
                < 1 << 20
        );
    }
    assert_eq!(
        one.content(&SyncItem::chat(talk)),
        other.content(&SyncItem::chat(talk))
    );
}

#[test]
fn what_cannot_be_read_holds_nothing_up() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let fact = one.remember("A fact", Vec::new());
    let mut sent = one.publish();
    sent.push((Handle([7; 16]), DocumentKind::Memory, vec![b"no change".to_vec()]));
    let mut incoming = Incoming::new(&other.store, other.log);
    for (handle, kind, changes) in &sent {
        incoming.take(*handle, *kind, Arrived::Changes(changes)).unwrap();
    }
    let (documents, damaged) = incoming.finish().unwrap();
    assert_eq!((documents.len(), damaged.len()), (1, 1));
    let batch = SyncBatch {
        documents,
        ..SyncBatch::default()
    };
    other.store.sync_write(&batch, 6).unwrap();
    assert_eq!(other.store.memory(fact).unwrap().text, "A fact");
}

/// Every setting of the engine is said to be the person's or the device's.
#[test]
fn every_setting_is_in_one_list() {
    let settings = serde_json::to_value(crate::types::Settings::default()).unwrap();
    let mut said: BTreeMap<&str, u8> = BTreeMap::new();
    for name in SYNCED_SETTINGS.iter().chain(DEVICE_SETTINGS) {
        *said.entry(name).or_default() += 1;
    }
    let fields: Vec<&str> = settings.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(!fields.is_empty());
    for field in &fields {
        assert_eq!(said.get(field), Some(&1), "{field}");
    }
    assert_eq!(said.len(), fields.len());
}

/// What the one who erased couldn't know of goes too: what another device stored and said offline.
#[test]
fn what_says_the_same_elsewhere_goes_with_an_order() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let chat = one.chat();
    let source = one.say(chat, "my safe says secretcanary");
    let gone = one.remember(
        "The safe says secretcanary",
        vec![SourceTurn {
            chat,
            message: source,
        }],
    );
    let stays = one.remember("The door is plaincanary", Vec::new());
    settle(&mut one, &mut other);

    let own = other.chat();
    let asked = other.say(own, "it says secretcanary, keep that");
    let twin = other.remember(
        "the safe says secretcanary.",
        vec![SourceTurn {
            chat: own,
            message: asked,
        }],
    );
    let mut answer = |text: &str, used: MemoryId| {
        let new = NewMessage {
            chat: own,
            parent: other.store.chat(own).unwrap().head,
            role: Role::Assistant,
            text: text.into(),
            reasoning: String::new(),
            status: MessageStatus::Complete,
            created_at_ms: 40,
            model: None,
            metadata: json!({"memory": {"recalled": [used.to_string()]}}),
        };
        other.store.append_message(new).unwrap().id
    };
    let repeats = answer("Your safe says secretcanary.", gone);
    let silent = answer("There is such a thing.", gone);
    let elsewhere = answer("The door is plaincanary.", stays);

    let erase = |plan: &ErasePlan, one: &mut Device, other: &mut Device| {
        one.store.erase(plan, 50).unwrap();
        let handles = one.store.outgoing_erasures(usize::MAX).unwrap();
        let also = crate::engine::follows(&other.store, &handles).unwrap();
        let order = ErasureOrder {
            erase: [1; 32],
            handles,
            also,
        };
        let batch = SyncBatch {
            erasures: vec![order],
            ..SyncBatch::default()
        };
        other.store.sync_write(&batch, 60).unwrap().erasures.remove(0)
    };
    let scope = hearth_store::EraseScope::Items {
        memories: vec![gone],
        turns: Vec::new(),
    };
    // The person keeps the turn that it was drawn from.
    let plan = ErasePlan {
        turns: Vec::new(),
        kept_turns: vec![source],
        ..one.store.plan_erasure(&scope).unwrap().plan()
    };
    assert_eq!(plan.alike, [gone]);
    let done = erase(&plan, &mut one, &mut other);
    for id in [gone, twin] {
        assert!(other.store.memory(id).is_err());
    }
    let said = |id| other.store.message(id).unwrap().text;
    assert_eq!((said(asked), said(repeats)), (String::new(), String::new()));
    assert_eq!(said(silent), "There is such a thing.");
    assert_eq!(said(elsewhere), "The door is plaincanary.");
    assert_eq!(said(source), "my safe says secretcanary");
    assert!(other.store.memory(stays).is_ok());
    let ordered = |what, id: &[u8; 16]| done.more.contains(&mark(what, id));
    assert!(ordered(Marked::Memory, twin.as_bytes()) && ordered(Marked::Turn, repeats.as_bytes()));
}

/// A chat that goes takes what came from it alone, not what says the same and came from elsewhere.
#[test]
fn a_chat_that_goes_elsewhere_takes_no_twins() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let chat = one.chat();
    let source = one.say(chat, "my safe says secretcanary");
    let gone = one.remember(
        "The safe says secretcanary",
        vec![SourceTurn {
            chat,
            message: source,
        }],
    );
    settle(&mut one, &mut other);
    let twin = other.remember("The safe says secretcanary", Vec::new());
    let scope = hearth_store::EraseScope::Chats(vec![chat]);
    let plan = one.store.plan_erasure(&scope).unwrap().plan();
    assert_eq!(plan.memories, [gone]);
    one.store.erase(&plan, 50).unwrap();
    let handles = one.store.outgoing_erasures(usize::MAX).unwrap();
    let also = crate::engine::follows(&other.store, &handles).unwrap();
    assert_eq!(also, ErasePlan::default());
    let order = ErasureOrder {
        erase: [1; 32],
        handles,
        also,
    };
    let batch = SyncBatch {
        erasures: vec![order],
        ..SyncBatch::default()
    };
    other.store.sync_write(&batch, 60).unwrap();
    assert!(other.store.memory(gone).is_err() && other.store.memory(twin).is_ok());
}

/// What each of two devices says of its memories, once both have what the other has and have compared it.
fn compared(one: &mut Device, other: &mut Device) -> Vec<(String, MemoryStatus, usize)> {
    let hear = |to: &mut Device, sent: &Sent| {
        for id in to.take(sent).new_memories {
            crate::engine::settle(&mut to.store, id, 70).unwrap();
        }
    };
    // What a comparison changes the other device hears of: that must come to an end.
    for _ in 0..4 {
        let (mine, yours) = (one.publish(), other.publish());
        hear(other, &mine);
        hear(one, &yours);
    }
    assert!(one.publish().is_empty() && other.publish().is_empty());
    let says = |device: &Device| {
        let mut all = device.store.memories(&MemoryQuery::default()).unwrap();
        all.sort_by_key(|memory| memory.id);
        all.into_iter()
            .map(|memory| (memory.text, memory.status, memory.sources.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(says(one), says(other));
    says(one)
}

#[test]
fn one_fact_stored_on_two_devices_becomes_one() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    for device in [&mut one, &mut other] {
        let chat = device.chat();
        let message = device.say(chat, "I live in Oslo");
        device.remember("The user lives in Oslo", vec![SourceTurn { chat, message }]);
    }
    let all = compared(&mut one, &mut other);
    let active: Vec<_> = all.iter().filter(|part| part.1 == MemoryStatus::Active).collect();
    assert_eq!(active.len(), 1, "{all:?}");
    assert_eq!(active[0].2, 2, "it has the sources of both: {all:?}");
}

#[test]
fn what_contradicts_on_two_devices_is_settled_alike() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    one.remember("The user lives in Oslo", Vec::new());
    other.remember("The user lives in Bergen", Vec::new());
    let all = compared(&mut one, &mut other);
    let active = all.iter().filter(|part| part.1 == MemoryStatus::Active);
    assert_eq!(active.count(), 1, "{all:?}");
}

/// How often memories were used is told once a day, and adds up on every device.
#[test]
fn counts_of_use_add_up_over_devices() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let memory = one.remember("The user lives in Oslo", Vec::new());
    settle(&mut one, &mut other);
    let used = |device: &Device| {
        let memory = device.store.memory(memory).unwrap();
        (memory.use_count, memory.last_used_at_ms)
    };
    let day = |one: &mut Device, other: &mut Device, now_ms: i64| {
        for (device, id) in [(&mut *one, [1; 16]), (&mut *other, [2; 16])] {
            device.store.tell_usage(id, now_ms).unwrap();
        }
        settle(one, other);
    };
    day(&mut one, &mut other, 100);
    one.store.mark_used(&[memory], 110).unwrap();
    one.store.mark_used(&[memory], 120).unwrap();
    other.store.mark_used(&[memory], 115).unwrap();
    day(&mut one, &mut other, 200);
    assert_eq!(
        (used(&one), used(&other)),
        ((2, Some(120)), (1, Some(115))),
        "not twice a day"
    );
    day(&mut one, &mut other, 100 + DAY);
    assert_eq!((used(&one), used(&other)), ((3, Some(120)), (3, Some(120))));
    other.store.mark_used(&[memory], 200 + DAY).unwrap();
    day(&mut one, &mut other, 100 + 2 * DAY);
    assert_eq!(
        (used(&one), used(&other)),
        ((4, Some(200 + DAY)), (4, Some(200 + DAY)))
    );
    day(&mut one, &mut other, 100 + 3 * DAY);
    assert_eq!(used(&one).0, 4, "what was told is told once");
    // Counts may come before their memory does, and go with it.
    let late = one.remember("The door is blue", Vec::new());
    one.store.mark_used(&[late], 300 + DAY).unwrap();
    one.store.tell_usage([1; 16], 100 + 4 * DAY).unwrap();
    let mut sent = one.publish();
    sent.sort_by_key(|(_, kind, _)| *kind != DocumentKind::Usage);
    assert_eq!(sent.len(), 2);
    for part in sent {
        other.take(&vec![part]);
    }
    assert_eq!(other.store.memory(late).unwrap().use_count, 1);
    let scope = hearth_store::EraseScope::Items {
        memories: vec![late],
        turns: Vec::new(),
    };
    let plan = one.store.plan_erasure(&scope).unwrap().plan();
    one.store.erase(&plan, 50).unwrap();
    day(&mut one, &mut other, 100 + 5 * DAY);
    let uses = one.content(&SyncItem {
        kind: SyncKind::Usage,
        local: vec![1; 16],
    });
    assert!(matches!(uses, Some(Record::Usage(told)) if told.uses.keys().eq([memory.as_bytes()])));
}
