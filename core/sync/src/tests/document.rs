//! Records as documents: round trips, merging, hostile bytes, sizes.

mod foreign;
mod media;
mod merging;
mod seeds;
mod sizes;

use std::collections::BTreeMap;

use hearth_protocol::id::LogId;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::content::DocumentKind;
use crate::document::{
    ChatRecord, Doc, DocumentError, LocalId, MemoryKind, MemoryOrigin, MemoryRecord, MemoryStatus,
    MessageRecord, MessageStatus, Record, Role, SettingsRecord, Source, UsageRecord, Use,
};

fn actor(number: u8) -> LogId {
    LogId([number; 16])
}

fn memory() -> MemoryRecord {
    MemoryRecord {
        id: [7; 16],
        text: "Prefers trains to planes, where there is time".into(),
        kind: MemoryKind::Preference,
        confidence: 0.9,
        sensitive: false,
        valid_from_ms: None,
        valid_to_ms: None,
        created_at_ms: 1_790_000_000_000,
        updated_at_ms: 1_790_000_000_000,
        status: MemoryStatus::Active,
        origin: MemoryOrigin::Extracted,
        pinned: false,
        sources: [(
            *b"0123456789abcdef",
            Source {
                chat: [9; 16],
                text_hash: *b"8f3a09c1d27be6540f9e7713ab2c5d68",
            },
        )]
        .into(),
    }
}

fn message(number: u8, text: &str) -> MessageRecord {
    MessageRecord {
        parent: number.checked_sub(1).map(|before| [before; 16]),
        role: if number.is_multiple_of(2) {
            Role::User
        } else {
            Role::Assistant
        },
        status: MessageStatus::Complete,
        text: text.into(),
        reasoning: String::new(),
        created_at_ms: 1_790_000_000_000 + i64::from(number),
        updated_at_ms: 1_790_000_000_000 + i64::from(number),
        model: None,
        metadata: None,
    }
}

fn chat(messages: u8) -> ChatRecord {
    ChatRecord {
        id: [1; 16],
        title: "A title".into(),
        created_at_ms: 1_790_000_000_000,
        updated_at_ms: 1_790_000_000_900,
        head: messages.checked_sub(1).map(|last| [last; 16]),
        memory: true,
        settings: BTreeMap::new(),
        messages: (0..messages)
            .map(|number| ([number; 16], message(number, &format!("Says {number}."))))
            .collect(),
    }
}

fn ids() -> impl Strategy<Value = LocalId> {
    // Few, so that they meet.
    (0u8..6).prop_map(|number| [number; 16])
}

fn memories() -> impl Strategy<Value = MemoryRecord> {
    let content = (
        "[a-zA-Zéß東 ]{0,20}x",
        0usize..5,
        prop_oneof![Just(1.0f32), 0.0f32..=1.0],
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<i64>()),
    );
    let rest = (
        any::<i64>(),
        0i64..5,
        prop_oneof![
            Just(MemoryStatus::Active),
            Just(MemoryStatus::Review),
            proptest::option::of(ids()).prop_map(|by| MemoryStatus::Superseded { by }),
        ],
        0usize..3,
        btree_map(ids(), (ids(), any::<[u8; 32]>()), 0..4),
    );
    (content, rest).prop_map(|(content, rest)| {
        let (text, kind, confidence, sensitive, pinned, valid_from_ms, valid_to_ms) = content;
        let (created_at_ms, later, status, origin, sources) = rest;
        let kinds = [
            MemoryKind::Constraint,
            MemoryKind::Biography,
            MemoryKind::Preference,
            MemoryKind::Event,
            MemoryKind::Context,
        ];
        MemoryRecord {
            id: [7; 16],
            text,
            kind: kinds[kind],
            confidence,
            sensitive,
            valid_from_ms,
            valid_to_ms,
            created_at_ms,
            updated_at_ms: created_at_ms.saturating_add(later),
            status,
            origin: [
                MemoryOrigin::Stated,
                MemoryOrigin::Extracted,
                MemoryOrigin::Imported,
            ][origin],
            pinned,
            sources: sources
                .into_iter()
                .map(|(message, (chat, text_hash))| (message, Source { chat, text_hash }))
                .collect(),
        }
    })
}

fn chats() -> impl Strategy<Value = ChatRecord> {
    let messages = vec(("[a-z ]{0,300}", any::<u8>(), 0usize..4, any::<i64>()), 0..8);
    let settings = btree_map("[a-z]{1,8}", "[a-z0-9]{1,8}", 0..3);
    ("[a-z ]{0,9}", 0i64..3, any::<bool>(), settings, messages).prop_map(
        |(title, later, memory, settings, messages)| {
            let mut there: BTreeMap<LocalId, MessageRecord> = BTreeMap::new();
            for (number, (text, parent, role, at)) in (0u8..).zip(messages) {
                let role = [Role::System, Role::User, Role::Assistant, Role::Tool][role];
                let message = MessageRecord {
                    parent: (parent < number).then_some([parent; 16]),
                    role,
                    status: if at % 2 == 0 {
                        MessageStatus::Complete
                    } else {
                        MessageStatus::Stopped
                    },
                    reasoning: if role == Role::Assistant {
                        text.clone()
                    } else {
                        String::new()
                    },
                    text,
                    created_at_ms: at,
                    updated_at_ms: at.saturating_add(later),
                    model: (role == Role::Assistant).then(|| "a model".to_owned()),
                    metadata: (at % 3 == 0).then(|| r#"{"a":1.0}"#.to_owned()),
                };
                there.insert([number; 16], message);
            }
            ChatRecord {
                id: [1; 16],
                title,
                created_at_ms: 5,
                updated_at_ms: 5 + later,
                head: there.keys().next_back().copied(),
                memory,
                settings: settings
                    .into_iter()
                    .map(|(name, value)| (name, format!("{value:?}")))
                    .collect(),
                messages: there,
            }
        },
    )
}

/// A record of any kind; of one kind they all have one id.
fn records() -> impl Strategy<Value = Record> {
    let settings = btree_map("[a-z.]{1,6}", "[a-z0-9]{1,6}", 0..5);
    let uses = btree_map(ids(), (any::<u32>(), any::<i64>()), 0..5);
    prop_oneof![
        memories().prop_map(Record::Memory),
        chats().prop_map(Record::Chat),
        settings.prop_map(|values| Record::Settings(SettingsRecord {
            group: "general".into(),
            values,
        })),
        uses.prop_map(|uses| Record::Usage(UsageRecord {
            log: [3; 16],
            uses: uses
                .into_iter()
                .map(|(memory, (count, last_used_at_ms))| (
                    memory,
                    Use {
                        count,
                        last_used_at_ms
                    }
                ))
                .collect(),
        })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_record_comes_back(first in records(), second in records()) {
        let mut doc = Doc::new(actor(1));
        let change = doc.update(&first).unwrap().unwrap();
        prop_assert_eq!(doc.record(first.kind()).unwrap(), first.clone());
        prop_assert_eq!(doc.update(&first).unwrap(), None);
        let mut other = Doc::new(actor(2));
        other.apply(&[&change.bytes]).unwrap();
        prop_assert_eq!(other.record(first.kind()).unwrap(), first.clone());
        prop_assert_eq!(other.heads(), vec![change.hash]);
        let loaded = Doc::load(&doc.save(), actor(1)).unwrap();
        prop_assert_eq!(loaded.record(first.kind()).unwrap(), first.clone());
        if second.kind() == first.kind() {
            let heads = doc.heads();
            if let Some(change) = doc.update(&second).unwrap() {
                prop_assert_eq!(doc.changes_since(&heads), vec![change.bytes]);
            } else {
                prop_assert_eq!(&first, &second);
            }
            prop_assert_eq!(doc.record(second.kind()).unwrap(), second);
        }
    }
}

#[test]
fn only_what_differs_is_written() {
    let mut doc = Doc::new(actor(1));
    let new = doc.update(&Record::Chat(chat(5))).unwrap().unwrap();
    let mut longer = chat(6);
    longer.title.clear();
    let more = doc.update(&Record::Chat(longer.clone())).unwrap().unwrap();
    let texts = |bytes: &[u8], text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    assert!(texts(&more.bytes, "Says 5."));
    assert!(!texts(&more.bytes, "Says 4.") && !texts(&more.bytes, "A title"));
    assert!(more.bytes.len() < new.bytes.len());
    assert_eq!(doc.record(DocumentKind::Chat).unwrap(), Record::Chat(longer));
}

#[test]
fn a_document_is_of_one_id() {
    let mut doc = Doc::new(actor(1));
    doc.update(&Record::Memory(memory())).unwrap();
    let mut other = memory();
    other.id = [8; 16];
    assert_eq!(doc.update(&Record::Memory(other)), Err(DocumentError::Mismatch));
    let long = MemoryRecord {
        text: "x".repeat(20_000),
        ..memory()
    };
    assert!(matches!(
        doc.update(&Record::Memory(long)),
        Err(DocumentError::TooLarge(_))
    ));
    assert_eq!(
        doc.record(DocumentKind::Memory).unwrap(),
        Record::Memory(memory())
    );
    assert!(matches!(doc.record(DocumentKind::Chat), Ok(Record::Chat(_))));
    assert!(matches!(
        doc.record(DocumentKind::Media),
        Err(DocumentError::Malformed(_))
    ));
}

#[test]
fn messages_come_parents_first() {
    let chat = chat(9);
    let ordered: Vec<u8> = chat.in_order().iter().map(|(id, _)| id[0]).collect();
    assert_eq!(ordered, (0..9).collect::<Vec<_>>());
}
