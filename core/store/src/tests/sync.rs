//! What is noted, what is applied, what is erased: two and three stores that exchange their contents as a device machine
//! would. A document here is the debug form of its content.

mod erasing;
mod peer;

use std::collections::BTreeMap;

use hearth_protocol::id::Handle;
use serde_json::json;
use tempfile::TempDir;

use super::{chat, create, finished, message, open, pages};
use crate::vectors::{Index, IndexMirror};
use crate::{
    ChatId, DocumentWrite, EmbeddedText, ErasureOrder, Filter, Memory, MemoryChange, MemoryId, MemoryKind,
    MemoryOrigin, MemoryStatus, MessageId, MessageStatus, NewMemory, SettingsGroup, SourceTurn, Store,
    StoreError, Superseded, SyncBatch, SyncContent, SyncDocument, SyncItem, SyncRecord, SyncReport,
    TextQuery,
};

/// A store that syncs.
struct Device {
    dir: TempDir,
    store: Store,
    name: u8,
    made: u8,
}

impl Device {
    fn new(name: u8) -> Device {
        let (dir, mut store) = create();
        store.begin_sync().unwrap();
        Device {
            dir,
            store,
            name,
            made: 0,
        }
    }

    /// What is dirty becomes documents: what to send.
    fn publish(&mut self) -> Vec<DocumentWrite> {
        let mut out = Vec::new();
        for dirty in self.store.dirty(usize::MAX).unwrap() {
            let mut documents = self.store.sync_documents(&dirty.item).unwrap();
            let Some(content) = self.store.sync_content(&dirty.item).unwrap() else {
                panic!("{:?} is dirty and not here", dirty.item)
            };
            let handle = if documents.is_empty() {
                self.made += 1;
                Handle([self.name, self.made, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            } else {
                documents.remove(0).handle
            };
            let document = SyncDocument {
                handle,
                item: dirty.item.clone(),
                document: format!("{content:?}").into_bytes(),
                published: vec![[1; 32]],
            };
            let batch = SyncBatch {
                documents: vec![DocumentWrite {
                    document: document.clone(),
                    content: None,
                    more: false,
                }],
                clear: vec![dirty.mark],
                ..SyncBatch::default()
            };
            self.store.sync_write(&batch, 5).unwrap();
            out.push(DocumentWrite {
                document,
                content: Some(content),
                more: false,
            });
        }
        out
    }

    fn take(&mut self, documents: &[DocumentWrite]) -> SyncReport {
        let batch = SyncBatch {
            documents: documents.to_vec(),
            ..SyncBatch::default()
        };
        let report = self.store.sync_write(&batch, 6).unwrap();
        self.check();
        report
    }

    /// What was erased here, to be ordered of the others.
    fn orders(&mut self) -> Vec<Handle> {
        let handles = self.store.outgoing_erasures(usize::MAX).unwrap();
        let batch = SyncBatch {
            ordered: handles.clone(),
            ..SyncBatch::default()
        };
        self.store.sync_write(&batch, 7).unwrap();
        assert_eq!(self.store.outgoing_erasures(9).unwrap(), []);
        handles
    }

    fn erase(&mut self, handles: &[Handle]) -> crate::ErasureDone {
        let order = ErasureOrder {
            erase: [9; 32],
            handles: handles.to_vec(),
            also: crate::ErasePlan::default(),
        };
        let batch = SyncBatch {
            erasures: vec![order],
            ..SyncBatch::default()
        };
        let mut report = self.store.sync_write(&batch, 8).unwrap();
        self.check();
        let done = report.erasures.remove(0);
        if let Some(receipt) = &done.receipt {
            assert_eq!(receipt.counts, receipt.recount);
        }
        done
    }

    /// Everything that must hold after any write.
    fn check(&self) {
        for index in [Index::Memories, Index::Turns] {
            let mirror = self.store.mirror(index).unwrap().contents();
            assert_eq!(
                mirror,
                IndexMirror::afresh(&self.store.connection, index).contents()
            );
        }
        for table in ["memory_search", "turn_search", "message_search"] {
            let check = format!("INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)");
            self.store.connection.execute(&check, []).unwrap();
        }
        self.store.verify().unwrap();
    }

    fn remember(&mut self, text: &str, sources: &[(ChatId, MessageId)]) -> MemoryId {
        let new = NewMemory {
            text: text.into(),
            kind: MemoryKind::Preference,
            confidence: 0.5,
            sensitive: false,
            valid_from_ms: None,
            valid_to_ms: None,
            created_at_ms: 10,
            sources: sources
                .iter()
                .map(|(chat, message)| SourceTurn {
                    chat: *chat,
                    message: *message,
                })
                .collect(),
            status: MemoryStatus::Active,
            origin: MemoryOrigin::Stated,
            pinned: false,
        };
        let vector = EmbeddedText {
            model_id: "m",
            vector: &[1.0, 2.0],
        };
        self.store.add_memory(&new, Some(vector)).unwrap().id
    }

    fn say(&mut self, chat: ChatId, text: &str) -> MessageId {
        let mut new = message(chat, text, MessageStatus::Complete);
        new.parent = self.store.chat(chat).unwrap().head;
        self.store.append_message(new).unwrap().id
    }

    fn chat_content(&self, id: ChatId) -> Option<crate::SyncChat> {
        match self.store.sync_content(&SyncItem::chat(id)).unwrap() {
            Some(SyncContent::Chat(chat)) => Some(chat),
            _ => None,
        }
    }

    fn memory(&self, id: MemoryId) -> Option<Memory> {
        match self.store.memory(id) {
            Ok(memory) => Some(memory),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn finds(&self, words: &str) -> usize {
        let query = TextQuery::new(words);
        self.store
            .search_text(Index::Memories, &query, &Filter::default(), 9)
            .unwrap()
            .len()
    }

    fn holds(&self, text: &str) -> bool {
        pages::contains(&pages::decrypted(&self.store.connection), text)
    }
}

fn items(store: &Store) -> Vec<SyncItem> {
    store
        .dirty(usize::MAX)
        .unwrap()
        .into_iter()
        .map(|dirty| dirty.item)
        .collect()
}

#[test]
fn the_journal_is_an_ordered_map() {
    let (_dir, mut store) = create();
    let record = |space, key: &[u8], value: Option<&[u8]>| SyncRecord {
        space,
        key: key.to_vec(),
        value: value.map(<[u8]>::to_vec),
    };
    let all = [
        record(1, &[1], Some(b"a")),
        record(1, &[1, 0], Some(b"b")),
        record(1, &[1, 255], Some(b"c")),
        record(1, &[2], Some(b"d")),
        record(2, &[1, 7], Some(b"e")),
        record(1, &[255], Some(b"f")),
        record(1, &[255, 255], Some(b"")),
    ];
    let batch = |records: &[SyncRecord]| SyncBatch {
        records: records.to_vec(),
        ..SyncBatch::default()
    };
    store.sync_write(&batch(&all), 1).unwrap();
    assert_eq!(store.sync_records(1, &[1], None, 9).unwrap(), all[..3]);
    assert_eq!(store.sync_records(1, &[1], Some(&[1]), 1).unwrap(), all[1..2]);
    assert_eq!(store.sync_records(1, &[255], None, 9).unwrap(), all[5..]);
    assert_eq!(store.sync_records(1, &[], None, 99).unwrap().len(), 6);
    let changes = [
        record(1, &[1, 0], Some(b"new")),
        record(1, &[2], None),
        record(9, &[9], None),
    ];
    store.sync_write(&batch(&changes), 1).unwrap();
    assert_eq!(
        store.sync_record(1, &[1, 0]).unwrap().as_deref(),
        Some(&b"new"[..])
    );
    assert_eq!(store.sync_record(1, &[2]).unwrap(), None);
    assert_eq!(
        store.sync_record(1, &[255, 255]).unwrap().as_deref(),
        Some(&b""[..])
    );
}

#[test]
fn changes_are_noted_while_sync_runs_and_only_then() {
    let (dir, mut store) = create();
    let id = chat(&mut store);
    store.set_setting("settings", &json!({"threads": 3})).unwrap();
    assert!(store.dirty(9).unwrap().is_empty() && !store.syncs().unwrap());
    store.begin_sync().unwrap();
    store.begin_sync().unwrap();
    assert_eq!(items(&store), [SyncItem::settings("general"), SyncItem::chat(id)]);
    let clear = |store: &mut Store| {
        let batch = SyncBatch {
            clear: store
                .dirty(usize::MAX)
                .unwrap()
                .iter()
                .map(|dirty| dirty.mark)
                .collect(),
            ..SyncBatch::default()
        };
        store.sync_write(&batch, 1).unwrap();
        assert_eq!(items(store), []);
    };
    clear(&mut store);
    // A reply that is being written isn't noted before it has ended, but the chat's head is.
    let reply = store
        .append_message(message(id, "", MessageStatus::Streaming))
        .unwrap();
    clear(&mut store);
    store.update_streaming(reply.id, "so far", "", 2).unwrap();
    assert_eq!(items(&store), []);
    store.finish_message(reply.id, finished("all")).unwrap();
    assert_eq!(items(&store), [SyncItem::chat(id)]);
    clear(&mut store);
    store.rename_chat(id, "name", 3).unwrap();
    assert_eq!(items(&store), [SyncItem::chat(id)]);
    clear(&mut store);
    store.set_chat_memory(id, false).unwrap();
    assert_eq!(items(&store), [SyncItem::chat(id)]);
    store.set_chat_memory(id, true).unwrap();
    clear(&mut store);
    store
        .set_setting(&format!("memory.mined.{id}"), &json!(reply.id))
        .unwrap();
    assert_eq!(items(&store), [SyncItem::chat(id)]);
    clear(&mut store);
    for (setting, group) in [("settings", "general"), ("sync.group.devices", "devices")] {
        store.set_setting(setting, &json!({"a": 1})).unwrap();
        assert_eq!(items(&store), [SyncItem::settings(group)]);
        clear(&mut store);
    }
    store.set_setting("settings", &json!({"a": 1})).unwrap();
    store.set_setting("memory.biography.counted", &json!(4)).unwrap();
    assert_eq!(items(&store), []);
    store.remove_setting("sync.group.devices").unwrap();
    assert_eq!(items(&store), [SyncItem::settings("devices")]);
    clear(&mut store);

    let new = NewMemory {
        text: "A fact".into(),
        kind: MemoryKind::Event,
        confidence: 1.0,
        sensitive: false,
        valid_from_ms: None,
        valid_to_ms: None,
        created_at_ms: 1,
        sources: Vec::new(),
        status: MemoryStatus::Active,
        origin: MemoryOrigin::Stated,
        pinned: false,
    };
    let fact = store.add_memory(&new, None).unwrap().id;
    assert_eq!(items(&store), [SyncItem::memory(fact)]);
    clear(&mut store);
    // How often it is used isn't for every edit's time.
    store.mark_used(&[fact], 9).unwrap();
    assert_eq!(items(&store), []);
    let source = SourceTurn {
        chat: id,
        message: reply.id,
    };
    store.reinforce_memory(fact, &[source], 1).unwrap();
    assert_eq!(items(&store), [SyncItem::memory(fact)]);
    let taken = store.dirty(1).unwrap();
    store.pin_memory(fact, true).unwrap();
    // What changed since it was taken is still noted.
    let batch = SyncBatch {
        clear: vec![taken[0].mark],
        ..SyncBatch::default()
    };
    store.sync_write(&batch, 1).unwrap();
    assert_eq!(items(&store), [SyncItem::memory(fact)]);
    assert!(store.is_dirty(&SyncItem::memory(fact)).unwrap());
    drop(store);
    let mut store = open(dir.path()).unwrap();
    store.pin_memory(fact, false).unwrap();
    assert_eq!(items(&store), [SyncItem::memory(fact)]);
    store.end_sync().unwrap();
    store.pin_memory(fact, true).unwrap();
    assert_eq!(items(&store), []);
    let left: i64 = store
        .connection
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn what_one_has_the_other_gets() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    let first = one.say(talk, "I like night trains");
    let second = one.say(talk, "Noted");
    one.store
        .set_chat_metadata(talk, &json!({"system": "Be brief", "model": "a file"}), 4)
        .unwrap();
    one.store
        .set_setting(&format!("memory.mined.{talk}"), &json!(second))
        .unwrap();
    let old = one.remember("Likes day trains", &[(talk, first)]);
    let new = one.remember("Likes night trains", &[(talk, first), (talk, second)]);
    one.store.supersede_memory(old, new, Some(5), 12).unwrap();
    let settings = json!({"system_prompt": "Always rhyme", "threads": 9, "chat_model": "m"});
    one.store.set_setting("settings", &settings).unwrap();
    other
        .store
        .set_setting("settings", &json!({"threads": 2}))
        .unwrap();
    other.publish();

    let mut sent = one.publish();
    // In whatever order.
    sent.reverse();
    let report = other.take(&sent);
    assert_eq!(report.new_memories.len(), 2);
    assert_eq!(
        (report.changed_chats, report.settings),
        (vec![talk], vec!["general".to_owned()])
    );
    assert!(report.rejected.is_empty() && report.refused.is_empty());
    assert_eq!(
        items(&other.store),
        [],
        "what was applied is no change of this device's"
    );
    for item in [SyncItem::chat(talk), SyncItem::memory(old), SyncItem::memory(new)] {
        assert_eq!(
            one.store.sync_content(&item).unwrap(),
            other.store.sync_content(&item).unwrap()
        );
    }
    assert_eq!(
        other.memory(old).unwrap().status,
        MemoryStatus::Superseded { by: Some(new) }
    );
    assert_eq!(
        other.store.chat(talk).unwrap().metadata,
        json!({"system": "Be brief"})
    );
    assert_eq!(
        other.store.get_setting("settings").unwrap(),
        Some(json!({"threads": 2, "system_prompt": "Always rhyme"}))
    );
    assert_eq!(other.finds("night trains"), 2);
    assert_eq!(other.store.branch(talk, None).unwrap().len(), 2);
    // Vectors are made here, by the job that makes all.
    assert_eq!(
        other
            .store
            .rows_without_vector(Index::Memories, "m", 9)
            .unwrap()
            .len(),
        2
    );

    let change = MemoryChange {
        text: Some("Likes sleepers".into()),
        ..MemoryChange::default()
    };
    other.store.update_memory(new, &change, None, 20).unwrap();
    let third = other.say(talk, "Sleepers, then");
    let report = one.take(&other.publish());
    assert_eq!(report.changed_memories, [new]);
    assert_eq!(one.memory(new).unwrap().text, "Likes sleepers");
    assert_eq!(one.store.chat(talk).unwrap().head, Some(third));
    assert_eq!(one.store.chat(talk).unwrap().metadata["model"], "a file");
    assert_eq!((one.finds("sleepers"), one.finds("night")), (1, 0));
    assert_eq!(
        one.store
            .rows_without_vector(Index::Memories, "m", 9)
            .unwrap()
            .len(),
        1
    );
    assert_eq!(items(&one.store), []);
}

#[test]
fn a_change_that_waits_here_stays_noted() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let fact = one.remember("A fact", &[]);
    other.take(&one.publish());
    one.store.pin_memory(fact, true).unwrap();
    let sent = one.publish();
    let change = MemoryChange {
        sensitive: Some(true),
        ..MemoryChange::default()
    };
    other.store.update_memory(fact, &change, None, 30).unwrap();
    other.take(&sent);
    assert_eq!(items(&other.store), [SyncItem::memory(fact)]);
}

#[test]
fn what_cannot_be_stored_is_told_and_changes_nothing() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    one.say(talk, "hello");
    let fact = one.remember("A fact", &[]);
    let mut sent = one.publish();
    for write in &mut sent {
        match &mut write.content {
            Some(SyncContent::Memory(memory)) => memory.text = " ".into(),
            Some(SyncContent::Chat(chat)) => chat.messages[0].parent = Some(MessageId::from_bytes([8; 16])),
            _ => {}
        }
    }
    let report = other.take(&sent);
    assert_eq!(report.rejected.len(), 2);
    assert!(other.memory(fact).is_none() && other.chat_content(talk).is_none());
    assert_eq!(
        other.store.sync_documents(&SyncItem::memory(fact)).unwrap().len(),
        1
    );
}

/// What a newer version or a mistake of another device says never stops the rest.
#[test]
fn one_bad_message_does_not_wedge_the_others() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let bad = chat(&mut one.store);
    let good = chat(&mut one.store);
    one.say(bad, "bad");
    one.say(good, "good");
    let sent = one.publish();
    for metadata in ["no json", "[1]", "3", "{\"a\":1", "null"] {
        let mut sent = sent.clone();
        for write in &mut sent {
            if let Some(SyncContent::Chat(chat)) = &mut write.content
                && chat.id == bad
            {
                chat.messages[0].metadata = Some(metadata.into());
            }
        }
        let report = other.take(&sent);
        assert_eq!(report.rejected.len(), 1, "{metadata}");
        assert!(other.chat_content(bad).is_none() && other.chat_content(good).is_some());
    }
    // Any rule of the schema, also one that nobody thought of here.
    other
        .store
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER rule BEFORE INSERT ON message WHEN new.text = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END;",
        )
        .unwrap();
    let report = other.take(&sent);
    assert_eq!(report.rejected.len(), 1);
    assert!(other.chat_content(bad).is_none() && other.chat_content(good).is_some());
    other.store.connection.execute_batch("DROP TRIGGER rule").unwrap();
    assert!(other.take(&sent).rejected.is_empty() && other.chat_content(bad).is_some());
}

/// An older version of the program began to sync: its triggers go when this one opens the store.
#[test]
fn triggers_are_those_of_the_version_that_runs() {
    let (dir, mut store) = create();
    store.begin_sync().unwrap();
    let made = |store: &Store| -> Vec<(String, String)> {
        store
            .connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE name GLOB 'sync_*' AND type IN ('trigger', 'view') ORDER BY name")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let wanted = made(&store);
    assert!(wanted.len() > 10);
    store
        .connection
        .execute_batch(
            "DROP TRIGGER sync_chat_insert; DROP TRIGGER sync_setting_insert; DROP TRIGGER sync_setting_update;
             DROP TRIGGER sync_setting_delete; DROP VIEW sync_setting_item;
             CREATE VIEW sync_setting_item (name, kind, local) AS SELECT name, 3, CAST('old' AS BLOB) FROM setting;
             CREATE TRIGGER sync_old AFTER INSERT ON chat BEGIN DELETE FROM sync_dirty; END;",
        )
        .unwrap();
    drop(store);
    let mut store = open(dir.path()).unwrap();
    assert_eq!(made(&store), wanted);
    assert!(
        items(&store).is_empty(),
        "what is in its document isn't noted again"
    );
    let id = chat(&mut store);
    assert_eq!(items(&store), [SyncItem::chat(id)]);
    // Nor do they come to be where nothing syncs.
    store.end_sync().unwrap();
    drop(store);
    assert_eq!(made(&open(dir.path()).unwrap()), []);
}

/// Two devices that make each the other's memory history at once end with the lower id active, both.
#[test]
fn a_circle_of_successors_opens_the_same_way_everywhere() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let ids = [
        one.remember("Drinks tea", &[]),
        one.remember("Drinks coffee", &[]),
    ];
    let (low, high) = (ids[0].min(ids[1]), ids[0].max(ids[1]));
    other.take(&one.publish());
    one.store.supersede_memory(low, high, None, 20).unwrap();
    other.store.supersede_memory(high, low, None, 21).unwrap();
    let (from_one, from_other) = (one.publish(), other.publish());
    one.take(&from_other);
    other.take(&from_one);
    for _ in 0..2 {
        let (from_one, from_other) = (one.publish(), other.publish());
        one.take(&from_other);
        other.take(&from_one);
    }
    for device in [&one, &other] {
        assert_eq!(device.memory(low).unwrap().status, MemoryStatus::Active);
        assert_eq!(
            device.memory(high).unwrap().status,
            MemoryStatus::Superseded { by: Some(low) }
        );
        assert_eq!(items(&device.store), []);
    }
}

/// Two devices that stored the same fact: each merges the twins by its own, and they end the same, with two memories.
#[test]
fn twins_that_both_merge_converge() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let (talk, chat_of_other) = (chat(&mut one.store), chat(&mut other.store));
    let (said, said_there) = (
        one.say(talk, "I like tea"),
        other.say(chat_of_other, "Tea, as ever"),
    );
    let mine = one.remember("Likes tea", &[(talk, said)]);
    let theirs = other.remember("Likes tea", &[(chat_of_other, said_there)]);
    let (from_one, from_other) = (one.publish(), other.publish());
    one.take(&from_other);
    other.take(&from_one);
    let (keep, go) = (mine.min(theirs), mine.max(theirs));
    for device in [&mut one, &mut other] {
        let sources: Vec<SourceTurn> = device
            .memory(go)
            .unwrap()
            .sources
            .iter()
            .map(|source| SourceTurn {
                chat: source.chat,
                message: source.message,
            })
            .collect();
        let settled = crate::Settled::Known {
            id: keep,
            sources: &sources,
            said_at_ms: 40,
            change: None,
        };
        let superseded = Superseded {
            memory: go,
            valid_to_ms: None,
        };
        device.store.settle_memory(&settled, &[superseded], 40).unwrap();
    }
    let (from_one, from_other) = (one.publish(), other.publish());
    one.take(&from_other);
    other.take(&from_one);
    for device in [&one, &other] {
        assert_eq!(device.memory(keep).unwrap().sources.len(), 2);
        assert_eq!(
            device.memory(go).unwrap().status,
            MemoryStatus::Superseded { by: Some(keep) }
        );
        assert_eq!(
            device
                .store
                .memories(&crate::MemoryQuery::default())
                .unwrap()
                .len(),
            2
        );
    }
}

/// What noting costs; run it with `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_noting() {
    use std::time::Instant;
    for syncing in [false, true] {
        let (_dir, mut store) = create();
        if syncing {
            store.begin_sync().unwrap();
        }
        let talk = chat(&mut store);
        let fact = NewMemory {
            text: "A fact".into(),
            kind: MemoryKind::Event,
            confidence: 1.0,
            sensitive: false,
            valid_from_ms: None,
            valid_to_ms: None,
            created_at_ms: 1,
            sources: Vec::new(),
            status: MemoryStatus::Active,
            origin: MemoryOrigin::Stated,
            pinned: false,
        };
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..2000 {
            let begin = Instant::now();
            store
                .append_message(message(talk, "some words", MessageStatus::Complete))
                .unwrap();
            times[0].push(begin.elapsed());
            let begin = Instant::now();
            let id = store.add_memory(&fact, None).unwrap().id;
            times[1].push(begin.elapsed());
            let begin = Instant::now();
            store.mark_used(&[id], 2).unwrap();
            times[2].push(begin.elapsed());
        }
        for (what, mut times) in ["append", "remember", "use"].into_iter().zip(times) {
            times.sort();
            println!(
                "syncing {syncing}: {what} p50 {:?} p95 {:?}",
                times[1000], times[1900]
            );
        }
    }
}

#[test]
fn settings_keep_what_is_the_devices() {
    let group = SettingsGroup::new("general");
    assert!(group.syncs("sampling") && !group.syncs("threads") && !group.syncs("of_tomorrow"));
    assert_eq!(SettingsGroup::new("devices").setting(), "sync.group.devices");
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    one.store
        .set_setting("sync.group.devices", &json!({"aa": "Laptop"}))
        .unwrap();
    other.take(&one.publish());
    assert_eq!(
        other.store.get_setting("sync.group.devices").unwrap(),
        Some(json!({"aa": "Laptop"}))
    );
    let values: BTreeMap<String, String> = [("aa".to_owned(), "no json".to_owned())].into();
    let mut sent = other.publish();
    assert!(sent.is_empty());
    sent.push(DocumentWrite {
        document: SyncDocument {
            handle: Handle([5; 16]),
            item: SyncItem::settings("devices"),
            document: Vec::new(),
            published: Vec::new(),
        },
        content: Some(SyncContent::Settings {
            group: "devices".into(),
            values,
        }),
        more: false,
    });
    assert_eq!(one.take(&sent).rejected.len(), 1);
}
