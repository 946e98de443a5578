//! What is erased on one is gone on all, and what is kept stays.

use hearth_protocol::erasure::{Marked, mark};
use hearth_protocol::id::{Handle, LogId};
use serde_json::json;

use super::{Device, chat, items};
use crate::{DocumentWrite, ErasePlan, MemoryStatus, SyncBatch, SyncContent, SyncItem, SyncKind, SyncPiece};

#[test]
fn an_erased_memory_goes_everywhere_and_never_comes_back() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let secret = one.remember("The secretcanary is out", &[]);
    let older = one.remember("Older of it", &[]);
    one.store.supersede_memory(older, secret, None, 11).unwrap();
    let sent = one.publish();
    other.take(&sent);
    let plan = ErasePlan {
        memories: vec![secret],
        ..ErasePlan::default()
    };
    one.store.erase(&plan, 50).unwrap();
    assert!(!one.holds("secretcanary"), "nor the document");
    let orders = one.orders();
    assert_eq!(orders.len(), 2, "its document and its mark");
    let done = other.erase(&orders);
    assert_eq!((done.more.len(), done.rebuild.len()), (0, 0));
    assert_eq!(done.receipt.unwrap().memories, [secret]);
    assert!(other.memory(secret).is_none() && !other.holds("secretcanary"));
    assert_eq!(other.memory(older).unwrap().status, MemoryStatus::Review);
    // Late arrivals: the same handle, another handle of the same id, the id by import.
    let report = other.take(&sent);
    assert!(report.new_memories.is_empty(), "{report:?}");
    let mut twin: Vec<DocumentWrite> = sent
        .into_iter()
        .filter(|write| write.document.item == SyncItem::memory(secret))
        .collect();
    twin[0].document.handle = Handle([99; 16]);
    let report = other.take(&twin);
    assert_eq!(report.refused, [Handle([99; 16])]);
    assert_eq!(other.orders(), [Handle([99; 16])], "and it is erased everywhere");
    assert!(!other.holds("secretcanary"));
    // An import of what was marked before it ever was here.
    let unseen = crate::MemoryId::from_bytes([77; 16]);
    other.erase(&[mark(Marked::Memory, unseen.as_bytes())]);
    let record = json!({"format": "hearth-memories", "version": 1, "memories": [{
        "id": unseen, "text": "Unseen", "kind": "event", "confidence": 1.0, "sensitive": false, "created_at_ms": 1,
        "updated_at_ms": 1, "sources": [], "status": "active", "origin": "stated", "use_count": 0, "pinned": false,
    }]});
    let imported = other
        .store
        .import_memories(&mut record.to_string().as_bytes())
        .unwrap();
    assert_eq!((imported.added, imported.erased), (0, 1));
    // The same order again, as after a crash, does nothing more.
    let again = other.erase(&orders);
    assert!(again.more.is_empty() && again.receipt.is_none_or(|receipt| receipt.memories.is_empty()));
    assert_ne!(
        again.journal, done.journal,
        "the journal begins with random bytes"
    );
}

#[test]
fn a_redacted_turn_leaves_the_chat_and_what_is_kept() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    let first = one.say(talk, "my plaincanary word");
    let second = one.say(talk, "my secretcanary word");
    let kept = one.remember("From both", &[(talk, first), (talk, second)]);
    let spared = one.remember("Unticked", &[(talk, second)]);
    let going = one.remember("Of the secretcanary", &[(talk, second)]);
    other.take(&one.publish());
    // Drawn on the other device meanwhile, from the turn that goes.
    let drawn = other.remember("Drawn of secretcanary", &[(talk, second)]);
    let late = other.publish();
    let answer = other.say(talk, "an answer, offline");
    let plan = ErasePlan {
        memories: vec![going],
        turns: vec![second],
        ..ErasePlan::default()
    };
    one.store.erase(&plan, 50).unwrap();
    assert!(!one.holds("secretcanary"));
    assert!(
        items(&one.store).contains(&SyncItem::chat(talk)),
        "it goes on in a new document"
    );
    let orders = one.orders();
    let sent = one.publish();

    let done = other.erase(&orders);
    assert!(!other.holds("secretcanary"));
    assert_eq!(
        done.more.len(),
        2,
        "the document and the mark of what was drawn here: {done:?}"
    );
    assert!(other.memory(going).is_none() && other.memory(drawn).is_none());
    assert_eq!(other.memory(kept).unwrap().sources.len(), 1);
    assert_eq!(other.memory(spared).unwrap().sources.len(), 0);
    assert_eq!(other.store.message(second).unwrap().text, "");
    assert_eq!(other.store.message(first).unwrap().text, "my plaincanary word");
    let report = other.take(&sent);
    assert!(
        report.refused.is_empty() && report.rejected.is_empty(),
        "{report:?}"
    );
    let read = other.chat_content(talk).unwrap();
    assert_eq!(read.messages.len(), 3);
    assert!(read.messages.iter().any(|message| message.id == answer));
    assert!(
        items(&other.store).contains(&SyncItem::chat(talk)),
        "the answer is on its way"
    );
    // The one that erased gets what was drawn elsewhere, late.
    let report = one.take(&late);
    assert_eq!(report.refused.len(), 1);
    assert!(one.memory(drawn).is_none() && !one.holds("secretcanary"));
    one.take(&other.publish());
    for item in [
        SyncItem::chat(talk),
        SyncItem::memory(kept),
        SyncItem::memory(spared),
    ] {
        let mut both = [&one, &other].map(|device| device.store.sync_content(&item).unwrap().unwrap());
        for content in &mut both {
            if let SyncContent::Memory(memory) = content {
                memory.updated_at_ms = 0;
            }
        }
        assert_eq!(both[0], both[1]);
    }
    assert_eq!(one.chat_content(talk).unwrap().messages.len(), 3);
}

/// The turn that went never came here, and something was said here meanwhile: that stays.
#[test]
fn what_was_said_here_outlives_a_redaction_of_what_was_not_seen() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    one.say(talk, "hello");
    other.take(&one.publish());
    let secret = one.say(talk, "a secretcanary here");
    one.publish();
    let answer = other.say(talk, "an answer, offline");
    let plan = ErasePlan {
        turns: vec![secret],
        ..ErasePlan::default()
    };
    one.store.erase(&plan, 50).unwrap();
    other.erase(&one.orders());
    assert_eq!(other.store.message(answer).unwrap().text, "an answer, offline");
    other.take(&one.publish());
    one.take(&other.publish());
    assert_eq!(one.chat_content(talk).unwrap().messages.len(), 3);
    assert_eq!(one.store.message(answer).unwrap().text, "an answer, offline");
}

/// The device that gives a document up never saw what is in this one's, and its order says no reason.
#[test]
fn what_was_said_here_outlives_its_document() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    one.say(talk, "hello");
    let sent = one.publish();
    other.take(&sent);
    let answer = other.say(talk, "an answer");
    other.publish();
    let done = other.erase(&[sent[0].document.handle]);
    assert!(done.more.is_empty());
    assert_eq!(other.store.message(answer).unwrap().text, "an answer");
    let anew = other.publish();
    assert_ne!(anew[0].document.handle, sent[0].document.handle);
    one.take(&anew);
    assert_eq!(one.store.message(answer).unwrap().text, "an answer");
}

/// Another document of the chat is here, and doesn't say what was said here.
#[test]
fn what_was_said_here_goes_on_in_the_document_that_is_left() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    one.say(talk, "hello");
    let sent = one.publish();
    other.take(&sent);
    let answer = other.say(talk, "an answer");
    let mut twin = sent.clone();
    twin[0].document.handle = Handle([3; 16]);
    other.take(&twin);
    let goes = sent[0].document.handle;
    assert_eq!(other.publish()[0].document.handle, goes, "the lowest");
    other.erase(&[goes]);
    let anew = other.publish();
    assert_eq!(anew[0].document.handle, twin[0].document.handle);
    one.take(&anew);
    assert_eq!(one.store.message(answer).unwrap().text, "an answer");
}

#[test]
fn a_deleted_chat_takes_what_came_from_it_alone() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let (talk, stays) = (chat(&mut one.store), chat(&mut one.store));
    let said = one.say(talk, "a secretcanary here");
    let elsewhere = one.say(stays, "elsewhere");
    let alone = one.remember("Of secretcanary", &[(talk, said)]);
    let both = one.remember("Of both", &[(talk, said), (stays, elsewhere)]);
    other.take(&one.publish());
    let drawn = other.remember("Drawn of secretcanary", &[(talk, said)]);
    one.store.delete_chat(talk).unwrap();
    assert!(!one.holds("secretcanary"));
    let done = other.erase(&one.orders());
    assert!(!other.holds("secretcanary"));
    assert!(
        other.chat_content(talk).is_none() && other.memory(alone).is_none() && other.memory(drawn).is_none()
    );
    assert_eq!(other.memory(both).unwrap().sources.len(), 1);
    // Not published yet: its mark alone.
    assert_eq!(done.more, [mark(Marked::Memory, drawn.as_bytes())]);
}

/// A document that goes without a mark is one that something takes the place of: its content goes, its id may come back.
/// Of a chat what isn't marked stays.
#[test]
fn without_a_mark_the_id_may_come_back() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    let said = one.say(talk, "a word");
    let fact = one.remember("A fact of secretcanary", &[(talk, said)]);
    let older = one.remember("An older one", &[]);
    one.store.supersede_memory(older, fact, None, 12).unwrap();
    one.store
        .set_setting(
            "settings",
            &json!({"system_prompt": "secretcanary", "threads": 1}),
        )
        .unwrap();
    let sent = one.publish();
    other.take(&sent);
    let handles: Vec<Handle> = sent
        .iter()
        .filter(|write| write.document.item != SyncItem::memory(older))
        .map(|write| write.document.handle)
        .collect();
    let done = other.erase(&handles);
    assert!(done.receipt.is_none() && done.more.is_empty());
    assert!(!other.holds("secretcanary"));
    assert!(other.memory(fact).is_none() && other.store.message(said).is_ok());
    let Some(SyncContent::Memory(waits)) = other.store.sync_content(&SyncItem::memory(older)).unwrap() else {
        panic!("it stays")
    };
    assert_eq!(waits.status, MemoryStatus::Superseded { by: Some(fact) });
    // The same handles never again.
    other.take(&sent);
    assert!(
        other.memory(fact).is_none()
            && other
                .store
                .sync_documents(&SyncItem::chat(talk))
                .unwrap()
                .is_empty()
    );
    assert!(!other.holds("secretcanary"));
    let mut anew = sent;
    anew.retain(|write| write.document.item.kind != SyncKind::Settings);
    for (number, write) in (0u8..).zip(&mut anew) {
        write.document.handle = Handle([100 + number; 16]);
    }
    let report = other.take(&anew);
    assert!(report.refused.is_empty());
    assert_eq!(other.memory(fact).unwrap().sources.len(), 1);
    assert_eq!(
        other.memory(older).unwrap().status,
        MemoryStatus::Superseded { by: Some(fact) }
    );
}

#[test]
fn evicted_memories_leave_other_devices_without_a_mark() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let facts = [one.remember("The first", &[]), one.remember("The second", &[])];
    one.store.supersede_memory(facts[1], facts[0], None, 11).unwrap();
    other.take(&one.publish());
    one.store.evict_memories(1).unwrap();
    let orders = one.orders();
    assert_eq!(orders.len(), 1);
    other.erase(&orders);
    assert!(other.memory(facts[0]).is_none() && other.memory(facts[1]).is_some());
    assert!(other.store.erased().unwrap().is_empty());
    // What it took the place of keeps saying so, on both.
    for device in [&one, &other] {
        let Some(SyncContent::Memory(left)) = device.store.sync_content(&SyncItem::memory(facts[1])).unwrap()
        else {
            panic!("it stays")
        };
        assert_eq!(left.status, MemoryStatus::Superseded { by: Some(facts[0]) });
    }
}

#[test]
fn a_document_with_what_was_erased_is_replaced() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let talk = chat(&mut one.store);
    let said = one.say(talk, "a secretcanary here");
    let sent = one.publish();
    other.erase(&[mark(Marked::Turn, said.as_bytes())]);
    let report = other.take(&sent);
    assert!(report.refused.is_empty());
    assert_eq!(other.store.message(said).unwrap().text, "");
    assert!(!other.holds("secretcanary"));
    assert_eq!(other.orders(), [sent[0].document.handle]);
    assert_eq!(items(&other.store), [SyncItem::chat(talk)]);
    assert_ne!(other.publish()[0].document.handle, sent[0].document.handle);
}

#[test]
fn pieces_wait_and_go_with_their_handle() {
    let mut one = Device::new(1);
    let piece = |handle: u8, log: u8, place, bytes: &str| SyncPiece {
        handle: Handle([handle; 16]),
        log: LogId([log; 16]),
        place,
        bytes: bytes.as_bytes().to_vec(),
    };
    let all = [
        piece(1, 1, 1, "secretcanary"),
        piece(1, 1, 0, "a"),
        piece(1, 2, 0, "b"),
        piece(2, 1, 0, "c"),
    ];
    let batch = |pieces: &[SyncPiece], assembled: &[(Handle, LogId)]| SyncBatch {
        pieces: pieces.to_vec(),
        assembled: assembled.to_vec(),
        ..SyncBatch::default()
    };
    one.store.sync_write(&batch(&all, &[]), 1).unwrap();
    let here = |one: &Device, handle, log| {
        one.store
            .sync_pieces(Handle([handle; 16]), LogId([log; 16]))
            .unwrap()
    };
    assert_eq!(here(&one, 1, 1), [all[1].clone(), all[0].clone()]);
    one.store
        .sync_write(&batch(&[], &[(Handle([1; 16]), LogId([2; 16]))]), 1)
        .unwrap();
    assert_eq!((here(&one, 1, 2).len(), here(&one, 1, 1).len()), (0, 2));
    // What was put together, or begins anew, goes before what comes in the same transaction.
    let again = [piece(3, 1, 0, "d"), piece(3, 1, 1, "e")];
    one.store.sync_write(&batch(&again, &[]), 1).unwrap();
    one.store
        .sync_write(&batch(&again[..1], &[(Handle([3; 16]), LogId([1; 16]))]), 1)
        .unwrap();
    assert_eq!(here(&one, 3, 1), [again[0].clone()]);
    one.erase(&[Handle([1; 16])]);
    assert!(here(&one, 1, 1).is_empty() && !one.holds("secretcanary"));
    one.store.sync_write(&batch(&all, &[]), 1).unwrap();
    assert_eq!((here(&one, 1, 1).len(), here(&one, 2, 1).len()), (0, 1));
}

#[test]
fn several_documents_of_one_thing_are_kept_side_by_side() {
    let mut one = Device::new(1);
    let fact = one.remember("Imported twice", &[]);
    let mut sent = one.publish();
    sent[0].document.handle = Handle([0; 16]);
    one.take(&sent);
    let item = SyncItem::memory(fact);
    let documents = one.store.sync_documents(&item).unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0].handle, Handle([0; 16]), "the lowest handle first");
    assert_eq!(
        one.store.sync_document(Handle([0; 16])).unwrap().as_ref(),
        Some(&documents[0])
    );
    // One of them goes without a mark: the thing is to be written again from the other.
    let done = one.erase(&[Handle([0; 16])]);
    assert_eq!(done.rebuild, [item]);
    // With the mark the other goes, too.
    let done = one.erase(&[mark(Marked::Memory, fact.as_bytes())]);
    assert_eq!(done.more, [documents[1].handle]);
    assert!(
        one.store
            .sync_documents(&SyncItem::memory(fact))
            .unwrap()
            .is_empty()
    );
}

/// Carrying out another device's order keeps nothing: what has other sources stays because of them, and goes with them.
#[test]
fn what_outlives_one_order_by_another_source_goes_with_that_source() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    let first = chat(&mut one.store);
    let second = chat(&mut one.store);
    let said = [first, second].map(|talk| (talk, one.say(talk, "the secretcanary is out")));
    other.take(&one.publish());
    // Drawn offline, from both.
    let drawn = other.remember("Of the secretcanary", &said);
    let late = other.publish();
    let erase = |device: &mut Device, talk| {
        let plan = ErasePlan {
            chats: vec![talk],
            ..ErasePlan::default()
        };
        device.store.erase(&plan, 50).unwrap();
        device.orders()
    };
    let orders = erase(&mut one, first);
    let done = other.erase(&orders);
    assert_eq!(done.more, [], "a machine keeps nothing");
    assert_eq!(other.memory(drawn).unwrap().sources.len(), 1);
    let orders = erase(&mut one, second);
    other.erase(&orders);
    assert!(other.memory(drawn).is_none() && !other.holds("secretcanary"));
    assert_eq!(one.take(&late).refused.len(), 1);
}

/// A person's own plan keeps only what would have gone by it.
#[test]
fn a_plan_keeps_what_it_would_have_taken_and_nothing_else() {
    let mut one = Device::new(1);
    let first = chat(&mut one.store);
    let second = chat(&mut one.store);
    let said = [first, second].map(|talk| (talk, one.say(talk, "hello")));
    let both = one.remember("Of both", &said);
    let unticked = one.remember("Of the first", &said[..1]);
    let plan = ErasePlan {
        chats: vec![first],
        ..ErasePlan::default()
    };
    one.store.erase(&plan, 50).unwrap();
    let orders = one.orders();
    assert!(orders.contains(&mark(Marked::Kept, unticked.as_bytes())));
    assert!(!orders.contains(&mark(Marked::Kept, both.as_bytes())));
    // With the second, everything that it came from is gone.
    let plan = ErasePlan {
        chats: vec![second],
        ..ErasePlan::default()
    };
    one.store.erase(&plan, 51).unwrap();
    assert!(one.orders().contains(&mark(Marked::Kept, both.as_bytes())));
}

/// Somebody reads the database: what went is in its log still. The report says so, and opening the store ends it.
#[test]
fn an_order_is_settled_when_the_log_is_empty_and_not_before() {
    let (mut one, mut other) = (Device::new(1), Device::new(2));
    one.remember("The secretcanary is out", &[]);
    let sent = one.publish();
    other.take(&sent);
    let log = other.dir.path().join("hearth.db-wal");
    let reader = crate::connection::open(&other.dir.path().join("hearth.db"), &other.store.key).unwrap();
    other
        .store
        .connection
        .busy_timeout(std::time::Duration::ZERO)
        .unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM memory;")
        .unwrap();
    // By its handle alone: no receipt tells of it.
    let order = crate::ErasureOrder {
        erase: [9; 32],
        handles: vec![sent[0].document.handle],
        also: ErasePlan::default(),
    };
    let batch = SyncBatch {
        erasures: vec![order],
        ..SyncBatch::default()
    };
    let report = other.store.sync_write(&batch, 8).unwrap();
    assert!(report.log_in_use && report.erasures[0].receipt.is_none());
    assert_eq!(other.store.erasures().unwrap(), [], "there is no receipt to show");
    assert!(!other.store.settle_erasures().unwrap());
    drop(reader);
    // As after a kill: the log stays as it is, and a new process opens the store.
    let before = std::fs::metadata(&log).unwrap().len();
    assert_eq!(other.store.resume_erasures().unwrap(), 1);
    // What it settled is noted in a new one.
    assert!(std::fs::metadata(&log).unwrap().len() < before);
    assert_eq!(other.store.resume_erasures().unwrap(), 0);
    let report = other.store.sync_write(&batch, 9).unwrap();
    assert!(!report.log_in_use);
}

/// A document's key that goes without an order leaves the log too; other records cost nothing.
#[test]
fn the_log_is_emptied_when_a_key_goes() {
    let one = &mut Device::new(1);
    let log = one.dir.path().join("hearth.db-wal");
    let mut write = |space, value: Option<&[u8]>| {
        let record = crate::SyncRecord {
            space,
            key: vec![1],
            value: value.map(<[u8]>::to_vec),
        };
        let batch = SyncBatch {
            records: vec![record],
            ..SyncBatch::default()
        };
        one.store.sync_write(&batch, 1).unwrap();
        std::fs::metadata(&log).unwrap().len()
    };
    let put = write(8, Some(b"key"));
    assert!(write(7, Some(b"other")) > put);
    let before = write(7, None);
    assert!(before > put);
    // What is left is the note that it was emptied.
    assert!(write(8, None) < before);
    // Of keys that are a part of another record the caller knows.
    let mut batch = SyncBatch {
        records: vec![crate::SyncRecord {
            space: 255,
            key: vec![2],
            value: Some(vec![0; 9_000]),
        }],
        ..SyncBatch::default()
    };
    one.store.sync_write(&batch, 1).unwrap();
    let before = std::fs::metadata(&log).unwrap().len();
    batch.forgets = true;
    one.store.sync_write(&batch, 1).unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() < before);
}
