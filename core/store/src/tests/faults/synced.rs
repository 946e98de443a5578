//! The same for a profile that syncs: what other devices have a part in.

use hearth_protocol::erasure::{Marked, mark};
use hearth_protocol::id::Handle;

use super::{Base, Change, Random, canary, open, run};
use crate::{
    ChatId, DocumentWrite, ErasePlan, ErasureOrder, MemoryId, MemoryStatus, MessageId, Store, SyncBatch,
    SyncContent, SyncDocument, SyncItem, SyncRecord,
};

/// The handle of the document of a chat or memory.
fn handle(kind: u8, number: usize) -> Handle {
    let mut bytes = [kind; 16];
    bytes[0] = number as u8;
    Handle(bytes)
}

/// A document whose bytes have these words.
fn document(kind: u8, number: usize, item: SyncItem, words: &str) -> DocumentWrite {
    DocumentWrite {
        document: SyncDocument {
            handle: handle(kind, number),
            item,
            document: format!("a document {words} of {number}").into_bytes(),
            published: vec![[kind; 32]],
        },
        content: None,
        more: false,
    }
}

/// Begins to sync: each chat and memory gets a document with its words in it, and nothing is left to publish.
pub(super) fn begin(store: &mut Store, memories: &[MemoryId], chats: &[ChatId]) {
    store.begin_sync().unwrap();
    let of_memories = memories
        .iter()
        .enumerate()
        .map(|(number, id)| document(1, number, SyncItem::memory(*id), &canary("memory", number)));
    let of_chats = chats.iter().enumerate().map(|(number, id)| {
        let words: Vec<String> = (0..8).map(|turn| canary("turn", number * 8 + turn)).collect();
        document(2, number, SyncItem::chat(*id), &words.join(" "))
    });
    let batch = SyncBatch {
        records: (0..20).map(|number| record(number, Some(b"waits"))).collect(),
        documents: of_memories.chain(of_chats).collect(),
        clear: store
            .dirty(usize::MAX)
            .unwrap()
            .iter()
            .map(|dirty| dirty.mark)
            .collect(),
        ..SyncBatch::default()
    };
    store.sync_write(&batch, 70).unwrap();
}

fn record(number: u8, value: Option<&[u8]>) -> SyncRecord {
    SyncRecord {
        space: number % 3,
        key: vec![number, 7],
        value: value.map(<[u8]>::to_vec),
    }
}

impl Base {
    /// A change that other devices have a part in.
    pub(super) fn synced_change(&self, seed: u64, random: &mut Random) -> Change {
        let (memory, chat) = (random.below(40), random.below(6));
        match seed % 8 {
            0 => Change::DeleteChat(self.chats[chat]),
            1 => Change::Evict(20 + random.below(20)),
            2 => Change::Update(self.memories[memory]),
            // Another device's edit of one memory and all of a new one, in one transaction with the journal.
            3 | 4 => Change::Sync(Box::new(self.incoming(memory, chat, random))),
            5 | 6 => {
                let mut handles = Vec::new();
                for _ in 0..=random.below(5) {
                    let number = random.below(40);
                    handles.push(handle(1, number));
                    handles.push(mark(Marked::Memory, self.memories[number].as_bytes()));
                }
                if random.below(2) == 0 {
                    handles.push(handle(2, chat));
                    handles.push(mark(Marked::Chat, self.chats[chat].as_bytes()));
                }
                let other = (chat + 1) % 6;
                if random.below(2) == 0 {
                    // A turn was redacted elsewhere.
                    handles.push(handle(2, other));
                    let turn = self.messages[other * 8 + random.below(8)].1;
                    handles.push(mark(Marked::Turn, turn.as_bytes()));
                }
                handles.push(handle(9, 9));
                Change::Sync(Box::new(SyncBatch {
                    erasures: vec![ErasureOrder {
                        erase: [7; 32],
                        handles,
                        also: ErasePlan::default(),
                    }],
                    records: vec![record(3, None), record(50, Some(b"erasing"))],
                    ..SyncBatch::default()
                }))
            }
            _ => Change::Erase(ErasePlan {
                memories: (0..=random.below(5))
                    .map(|_| self.memories[random.below(40)])
                    .collect(),
                turns: (0..random.below(4))
                    .map(|_| self.messages[random.below(48)].1)
                    .collect(),
                chats: (0..random.below(2)).map(|_| self.chats[chat]).collect(),
                ..ErasePlan::default()
            }),
        }
    }

    fn incoming(&self, memory: usize, chat: usize, random: &mut Random) -> SyncBatch {
        let store = open(self.copy().path()).unwrap();
        let item = SyncItem::memory(self.memories[memory]);
        let Some(SyncContent::Memory(mut edited)) = store.sync_content(&item).unwrap() else {
            panic!("no memory")
        };
        edited.text = format!("Remembers {} now", canary("edited", memory));
        edited.sources.truncate(random.below(2));
        let mut new = edited.clone();
        new.id = MemoryId::from_bytes([random.below(200) as u8; 16]);
        new.text = "Remembers something new".into();
        new.status = MemoryStatus::Superseded {
            by: Some(self.memories[(memory + 1) % 40]),
        };
        let place = SyncItem::chat(self.chats[chat]);
        let Some(SyncContent::Chat(mut longer)) = store.sync_content(&place).unwrap() else {
            panic!("no chat")
        };
        let mut said = longer.messages[0].clone();
        said.id = MessageId::from_bytes([3; 16]);
        said.parent = longer.head;
        said.text = canary("said", chat);
        longer.head = Some(said.id);
        longer.messages.push(said);
        let write = |kind, number, item, content| DocumentWrite {
            content: Some(content),
            ..document(kind, number, item, "anew")
        };
        SyncBatch {
            records: vec![record(1, Some(b"came")), record(2, None)],
            documents: vec![
                write(1, memory, item, SyncContent::Memory(edited)),
                write(1, 77, SyncItem::memory(new.id), SyncContent::Memory(new)),
                write(2, chat, place, SyncContent::Chat(longer)),
            ],
            ..SyncBatch::default()
        }
    }
}

#[test]
fn a_kill_anywhere_leaves_nothing_half_synced() {
    run(&Base::new(true), 0..16, Base::synced_change);
}

/// As many as the task asks for, and more.
#[test]
fn big_a_kill_anywhere_leaves_nothing_half_synced() {
    run(&Base::new(true), 1000..1400, Base::synced_change);
}
