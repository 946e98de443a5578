//! The mirror never disagrees with the file, whatever was done, undone or cut short.

use proptest::prelude::*;
use serde_json::Value;

use super::{create, message, open, words};
use crate::vectors::{Index, IndexMirror};
use crate::{
    ChatId, ChatQuery, EmbeddedText, ErasePlan, MemoryChange, MemoryId, MemoryKind, MemoryOrigin,
    MemoryQuery, MemoryStatus, MessageId, MessageStatus, NewChat, NewMemory, SourceTurn, Store, StoreError,
};

#[derive(Debug, Clone)]
enum Op {
    Add(u8, bool),
    Change(usize, u8),
    Supersede(usize, usize),
    Pin(usize),
    Use(usize),
    Say(usize),
    Embed(bool, u8),
    SwitchChat(usize, bool),
    DeleteChat(usize),
    Erase(usize, usize),
    Evict(u8),
    DropModel,
    Import,
    RenewKey,
    Reopen,
    RollBack(u8),
    Fail(u16, Box<Op>),
    Look,
}

fn plain_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (any::<u8>(), any::<bool>()).prop_map(|(number, vector)| Op::Add(number, vector)),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(which, number)| Op::Change(which, number)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(old, by)| Op::Supersede(old, by)),
        1 => any::<usize>().prop_map(Op::Pin),
        1 => any::<usize>().prop_map(Op::Use),
        6 => any::<usize>().prop_map(Op::Say),
        4 => (any::<bool>(), any::<u8>()).prop_map(|(turns, number)| Op::Embed(turns, number)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(chat, on)| Op::SwitchChat(chat, on)),
        1 => any::<usize>().prop_map(Op::DeleteChat),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(memory, turn)| Op::Erase(memory, turn)),
        1 => any::<u8>().prop_map(Op::Evict),
        1 => Just(Op::DropModel),
        1 => Just(Op::Import),
        1 => Just(Op::Look),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => plain_op(),
        3 => any::<u8>().prop_map(Op::RollBack),
        5 => (any::<u16>(), plain_op()).prop_map(|(step, op)| Op::Fail(step, Box::new(op))),
        1 => Just(Op::RenewKey),
        1 => Just(Op::Reopen),
    ]
}

fn memories(store: &Store) -> Vec<MemoryId> {
    let memories = store.memories(&MemoryQuery::default()).unwrap_or_default();
    memories.into_iter().map(|memory| memory.id).collect()
}

fn chats(store: &Store) -> Vec<ChatId> {
    let chats = store.chats(&ChatQuery::default()).unwrap_or_default();
    chats.into_iter().map(|line| line.chat.id).collect()
}

fn messages(store: &Store) -> Vec<(ChatId, MessageId)> {
    let chats = chats(store).into_iter();
    chats
        .flat_map(|chat| store.branch(chat, None).unwrap_or_default())
        .map(|message| (message.chat, message.id))
        .collect()
}

fn pick<T: Copy>(from: &[T], number: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[number % from.len()])
}

fn vector(number: u8) -> [f32; 3] {
    [1.0, f32::from(number), 3.0]
}

fn run(store: &mut Store, op: &Op, now_ms: i64) -> Result<(), StoreError> {
    match op {
        Op::Add(number, with_vector) => {
            let source = pick(&messages(store), usize::from(*number));
            let new = NewMemory {
                text: format!("fact {number}"),
                kind: MemoryKind::ALL[usize::from(*number) % 5],
                confidence: 1.0,
                sensitive: number % 2 == 0,
                valid_from_ms: None,
                valid_to_ms: (number % 3 == 0).then_some(now_ms),
                created_at_ms: now_ms,
                sources: source
                    .map(|(chat, message)| SourceTurn { chat, message })
                    .into_iter()
                    .collect(),
                status: MemoryStatus::Active,
                origin: MemoryOrigin::Stated,
                pinned: false,
            };
            let numbers = vector(*number);
            let vector = with_vector.then_some(EmbeddedText {
                model_id: "m",
                vector: &numbers,
            });
            store.add_memory(&new, vector).map(|_| ())
        }
        Op::Change(which, number) => {
            let Some(id) = pick(&memories(store), *which) else {
                return Ok(());
            };
            let change = MemoryChange {
                text: (number % 2 == 0).then(|| format!("changed {number}")),
                sensitive: Some(number % 3 == 0),
                ..MemoryChange::default()
            };
            store.update_memory(id, &change, None, now_ms).map(|_| ())
        }
        Op::Supersede(old, by) => {
            let all = memories(store);
            let (Some(old), Some(by)) = (pick(&all, *old), pick(&all, *by)) else {
                return Ok(());
            };
            match store.supersede_memory(old, by, None, now_ms) {
                Err(StoreError::Invalid(_)) => Ok(()),
                other => other,
            }
        }
        Op::Pin(which) => pick(&memories(store), *which).map_or(Ok(()), |id| store.pin_memory(id, true)),
        Op::Use(which) => {
            let used: Vec<MemoryId> = pick(&memories(store), *which).into_iter().collect();
            store.mark_used(&used, now_ms)
        }
        Op::Say(which) => {
            let known = chats(store);
            let id = match pick(&known, *which) {
                Some(id) if known.len() >= 3 => id,
                _ => {
                    let new = NewChat {
                        title: "title".into(),
                        created_at_ms: 1,
                        metadata: Value::Null,
                    };
                    store.create_chat(new)?.id
                }
            };
            let mut new = message(id, &format!("said {now_ms}"), MessageStatus::Complete);
            new.parent = store.chat(id)?.head;
            store.append_message(new).map(|_| ())
        }
        Op::Embed(turns, number) => {
            let index = if *turns { Index::Turns } else { Index::Memories };
            let waiting = store.rows_without_vector(index, "m", 3)?;
            let vectors: Vec<_> = waiting
                .into_iter()
                .map(|row| (row, vector(*number).to_vec()))
                .collect();
            store.set_vectors(index, "m", &vectors).map(|_| ())
        }
        Op::SwitchChat(which, on) => {
            pick(&chats(store), *which).map_or(Ok(()), |id| store.set_chat_memory(id, *on))
        }
        Op::DeleteChat(which) => pick(&chats(store), *which).map_or(Ok(()), |id| store.delete_chat(id)),
        Op::Erase(memory, turn) => {
            let plan = ErasePlan {
                memories: pick(&memories(store), *memory).into_iter().collect(),
                turns: pick(&messages(store), *turn)
                    .map(|(_, id)| id)
                    .into_iter()
                    .collect(),
                chats: Vec::new(),
                ..ErasePlan::default()
            };
            store.erase(&plan, now_ms).map(|_| ())
        }
        Op::Evict(cap) => store.evict_memories(usize::from(*cap)).map(|_| ()),
        Op::DropModel => store.remove_vectors("m"),
        Op::Import => {
            let mut document = Vec::new();
            store.export_memories(&mut document)?;
            store.evict_memories(0)?;
            store.import_memories(&mut document.as_slice()).map(|_| ())
        }
        Op::RenewKey => store.renew_key(&words()),
        Op::Reopen | Op::Look => Ok(()),
        Op::RollBack(number) => {
            // What any of them may do, and then not.
            drop(store.transaction()?);
            store.connection.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 UPDATE memory SET sensitive = 1 - sensitive, pinned = 1 WHERE seq % 3 = {number} % 3;
                 DELETE FROM turn_vector WHERE seq % 2 = {number} % 2;
                 UPDATE memory_vector SET vector = x'0000803f0000000000000000' WHERE seq % 2 = 0;
                 UPDATE message SET role = 'assistant' WHERE seq % 3 = {number} % 3;
                 DELETE FROM memory_vector WHERE seq % 3 = 0;
                 ROLLBACK"
            ))?;
            Ok(())
        }
        Op::Fail(step, inner) => {
            let mut left = u32::from(*step) % 3000;
            // Once, or from then on.
            let lasting = step % 2 == 0;
            let fail = move || {
                let due = left == 1 || (left == 0 && lasting);
                left = left.saturating_sub(1);
                due
            };
            store.connection.progress_handler(1, Some(fail))?;
            let _ = run(store, inner, now_ms);
            store.connection.progress_handler(0, None::<fn() -> bool>)?;
            // A failure that lasts keeps even the transaction's end from ending it; the next one does.
            drop(store.transaction()?);
            Ok(())
        }
    }
}

fn agree(store: &Store) {
    for index in [Index::Memories, Index::Turns] {
        let kept = store.mirror(index).unwrap().contents();
        assert_eq!(
            kept,
            IndexMirror::afresh(&store.connection, index).contents(),
            "{index:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn the_mirror_is_the_file(ops in proptest::collection::vec(op(), 1..50)) {
        let (dir, mut store) = create();
        for (step, op) in ops.iter().enumerate() {
            if matches!(op, Op::Reopen) {
                drop(store);
                store = open(dir.path()).unwrap();
            }
            run(&mut store, op, step as i64).unwrap();
            if step % 3 == 0 {
                agree(&store);
            }
        }
        agree(&store);
        for table in ["memory_search", "turn_search", "message_search"] {
            let check = format!("INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)");
            store.connection.execute(&check, []).unwrap();
        }
        store.verify().unwrap();
    }
}
