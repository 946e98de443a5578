//! Taking things out of every table and index they are in.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::replay::{ErasedKind, note_erased};
use super::{EraseCounts, ErasePlan, EraseReceipt};
use crate::error::StoreError;
use crate::id::{ChatId, ErasureId, MemoryId, MessageId};
use crate::messages::MessageStatus;
use crate::sync::{Author, Leaving, OF_A_CHAT, forget_use};
use crate::{biography, recall_index, search};

/// What an emptied message has for metadata.
pub(crate) const EMPTIED: &str = r#"{"erased":true}"#;

/// # Errors
/// [`StoreError::Invalid`] for a turn that is still being written.
pub(super) fn check(connection: &Connection, plan: &ErasePlan) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("SELECT status FROM message WHERE id = ?1")?;
    for turn in &plan.turns {
        let status = statement.query_row([turn], |row| row.get(0)).optional()?;
        if status == Some(MessageStatus::Streaming) {
            return Err(StoreError::Invalid(format!(
                "message {turn} is still being written; it can be erased when it has ended"
            )));
        }
    }
    Ok(())
}

/// Erases what `plan` names and is there, within the caller's transaction.
pub(super) fn carry_out(
    connection: &Connection,
    plan: &ErasePlan,
    id: ErasureId,
    now_ms: i64,
    author: Author,
) -> Result<EraseReceipt, StoreError> {
    let mut counts = EraseCounts::default();
    let mut receipt = EraseReceipt {
        id,
        erased_at_ms: now_ms,
        memories: Vec::new(),
        turns: Vec::new(),
        chats: Vec::new(),
        to_review: Vec::new(),
        counts,
        recount: counts,
        log_emptied: false,
    };
    // What other devices are to erase too, as long as it is here to be found.
    let leaving = Leaving::of(connection, plan, author)?;
    let mut chats = Vec::new();
    for chat in set(&plan.chats) {
        if let Some(seq) = seq_of(connection, "chat", chat.as_bytes())? {
            chats.push((chat, seq));
        }
        note_erased(connection, chat.as_bytes(), ErasedKind::Chat, now_ms)?;
    }
    for turn in set(&plan.turns) {
        note_erased(connection, turn.as_bytes(), ErasedKind::Message, now_ms)?;
        let going = |chat: i64| chats.iter().any(|(_, seq)| *seq == chat);
        if empty_turn(connection, turn, going, &mut counts)? {
            receipt.turns.push(turn);
        }
    }
    let mut memories = Vec::new();
    for memory in set(&plan.memories) {
        note_erased(connection, memory.as_bytes(), ErasedKind::Memory, now_ms)?;
        if let Some(seq) = seq_of(connection, "memory", memory.as_bytes())? {
            memories.push(seq);
            receipt.memories.push(memory);
        }
    }
    receipt.to_review = remove_memories(connection, &memories, Some(now_ms), &mut counts)?;
    for (chat, seq) in chats {
        remove_chat(connection, chat, seq, &mut counts)?;
        receipt.chats.push(chat);
    }
    if let Some(leaving) = leaving {
        leaving.order(connection)?;
    }
    receipt.counts = counts;
    Ok(receipt)
}

fn set<T: Ord + Copy>(ids: &[T]) -> BTreeSet<T> {
    ids.iter().copied().collect()
}

fn seq_of(connection: &Connection, table: &str, id: &[u8; 16]) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached(&format!("SELECT seq FROM {table} WHERE id = ?1"))?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

/// Removes memories from every table and index. What they had superseded, and stays, goes to review when
/// `review_ms` says when; its ids come back. Else it stays superseded, by nothing.
pub(crate) fn remove_memories(
    connection: &Connection,
    memories: &[i64],
    review_ms: Option<i64>,
    counts: &mut EraseCounts,
) -> Result<Vec<MemoryId>, StoreError> {
    let count = |sql: &str, memory: i64| -> Result<u64, StoreError> {
        let count: i64 = connection
            .prepare_cached(sql)?
            .query_row([memory], |row| row.get(0))?;
        Ok(count as u64)
    };
    let jobs = any_jobs(connection)?;
    let mut orphans: BTreeSet<i64> = BTreeSet::new();
    for memory in memories {
        let id: MemoryId = connection
            .prepare_cached("SELECT id FROM memory WHERE seq = ?1")?
            .query_row([memory], |row| row.get(0))?;
        let mut older = connection.prepare_cached("SELECT seq FROM memory WHERE superseded_by = ?1")?;
        for seq in older.query_map([memory], |row| row.get(0))? {
            orphans.insert(seq?);
        }
        orphans.remove(memory);
        if jobs {
            counts.jobs += remove_jobs(connection, &id.to_string())?;
        }
        counts.biography_sentences += biography::drop_drawn_from(connection, *memory)? as u64;
        counts.sources += count("SELECT count(*) FROM memory_source WHERE memory = ?1", *memory)?;
        counts.vectors += count("SELECT count(*) FROM memory_vector WHERE item = ?1", *memory)?;
        recall_index::remove_memory(connection, *memory)?;
        counts.text_entries += 1;
        forget_use(connection, id)?;
        // Its sources and vectors go with it, and what it superseded points nowhere.
        connection
            .prepare_cached("DELETE FROM memory WHERE seq = ?1")?
            .execute([memory])?;
        counts.memories += 1;
    }
    let mut to_review = Vec::new();
    if let Some(now_ms) = review_ms {
        for seq in orphans {
            let id: Option<MemoryId> = connection
                .prepare_cached(
                    "UPDATE memory SET status = 'review', updated_at_ms = max(updated_at_ms, ?2)
                     WHERE seq = ?1 RETURNING id",
                )?
                .query_row((seq, now_ms), |row| row.get(0))
                .optional()?;
            to_review.extend(id);
        }
    }
    Ok(to_review)
}

/// Replaces a turn by nothing, in its place, unless its chat is going anyway; says whether there was something to empty.
fn empty_turn(
    connection: &Connection,
    id: MessageId,
    chat_goes: impl Fn(i64) -> bool,
    counts: &mut EraseCounts,
) -> Result<bool, StoreError> {
    let found: Option<(i64, i64, String, String)> = connection
        .prepare_cached("SELECT seq, chat, text, metadata FROM message WHERE id = ?1")?
        .query_row([id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((seq, chat, text, metadata)) = found else {
        return Ok(false);
    };
    if chat_goes(chat) || metadata == EMPTIED {
        return Ok(false);
    }
    counts.jobs += remove_jobs(connection, &id.to_string())?;
    counts.sources += connection
        .prepare_cached("DELETE FROM memory_source WHERE message = ?1")?
        .execute([id])? as u64;
    counts.vectors += connection
        .prepare_cached("DELETE FROM turn_vector WHERE item = ?1")?
        .execute([seq])? as u64;
    // The index first: it reads the text that it has to forget.
    connection
        .prepare_cached("DELETE FROM message_search WHERE rowid = ?1")?
        .execute([seq])?;
    let (removed, added) = recall_index::change_turn(connection, seq, || {
        connection
            .prepare_cached("UPDATE message SET text = '', reasoning = '', metadata = ?2 WHERE seq = ?1")?
            .execute((seq, EMPTIED))?;
        Ok(())
    })?;
    search::index(connection, seq, "")?;
    counts.text_entries += (removed - added) as u64;
    counts.turns += 1;
    let title: String = connection
        .prepare_cached("SELECT title FROM chat WHERE seq = ?1")?
        .query_row([chat], |row| row.get(0))?;
    if drawn_from(&title, &text) {
        connection
            .prepare_cached("UPDATE chat SET title = '' WHERE seq = ?1")?
            .execute([chat])?;
        counts.titles += 1;
    }
    Ok(true)
}

/// Removes a chat with its messages from every table and index. Memories that had a source in it lose that; which of them
/// go, the caller decides before.
fn remove_chat(
    connection: &Connection,
    id: ChatId,
    seq: i64,
    counts: &mut EraseCounts,
) -> Result<(), StoreError> {
    let count = |sql: &str| -> Result<u64, StoreError> {
        let count: i64 = connection
            .prepare_cached(sql)?
            .query_row([seq], |row| row.get(0))?;
        Ok(count as u64)
    };
    for prefix in OF_A_CHAT {
        connection
            .prepare_cached("DELETE FROM setting WHERE name = ?1")?
            .execute([format!("{prefix}{id}")])?;
    }
    counts.messages += count("SELECT count(*) FROM message WHERE chat = ?1")?;
    counts.vectors +=
        count("SELECT count(*) FROM turn_vector WHERE item IN (SELECT seq FROM message WHERE chat = ?1)")?;
    counts.titles += count("SELECT count(*) FROM chat WHERE seq = ?1 AND title <> ''")?;
    counts.jobs += remove_jobs(connection, &id.to_string())?;
    if any_jobs(connection)? {
        let messages: Vec<MessageId> = connection
            .prepare_cached("SELECT id FROM message WHERE chat = ?1")?
            .query_map([seq], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for message in messages {
            counts.jobs += remove_jobs(connection, &message.to_string())?;
        }
    }
    counts.sources += connection
        .prepare_cached("DELETE FROM memory_source WHERE chat = ?1")?
        .execute([id])? as u64;
    // The indexes first: they read the text that they have to forget.
    counts.text_entries += connection
        .prepare_cached(
            "DELETE FROM message_search WHERE rowid IN
                 (SELECT seq FROM message WHERE chat = ?1 AND status <> 'streaming')",
        )?
        .execute([seq])? as u64;
    counts.text_entries += recall_index::remove_turns_of(connection, seq)? as u64;
    // Their vectors go with them.
    connection
        .prepare_cached("DELETE FROM message WHERE chat = ?1")?
        .execute([seq])?;
    connection
        .prepare_cached("DELETE FROM chat WHERE seq = ?1")?
        .execute([seq])?;
    counts.chats += 1;
    Ok(())
}

/// The memories that have a source in one of these chats, each with whether it has no other.
pub(super) fn drawn_from_chats(
    connection: &Connection,
    chats: &[ChatId],
) -> Result<Vec<(MemoryId, bool)>, StoreError> {
    let chats = serde_json::to_string(chats).map_err(|error| StoreError::Invalid(error.to_string()))?;
    let mut statement = connection.prepare_cached(
        "WITH going (chat) AS (SELECT unhex(value) FROM json_each(?1))
         SELECT m.id, NOT EXISTS (SELECT 1 FROM memory_source AS s
                                  WHERE s.memory = m.seq AND s.chat NOT IN (SELECT chat FROM going))
         FROM memory AS m
         WHERE m.seq IN (SELECT memory FROM memory_source WHERE chat IN (SELECT chat FROM going))
         ORDER BY m.seq",
    )?;
    let rows = statement.query_map([chats], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes a chat and the memories that came from it alone, within the caller's transaction.
pub(crate) fn delete_chat(
    connection: &Connection,
    id: ChatId,
    seq: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut counts = EraseCounts::default();
    let mut memories = Vec::new();
    let mut plan = ErasePlan {
        chats: vec![id],
        ..ErasePlan::default()
    };
    for (memory, alone) in drawn_from_chats(connection, &[id])? {
        if alone {
            note_erased(connection, memory.as_bytes(), ErasedKind::Memory, now_ms)?;
            memories.extend(seq_of(connection, "memory", memory.as_bytes())?);
            plan.memories.push(memory);
        }
    }
    let leaving = Leaving::of(connection, &plan, Author::Person)?;
    remove_memories(connection, &memories, Some(now_ms), &mut counts)?;
    remove_chat(connection, id, seq, &mut counts)?;
    if let Some(leaving) = leaving {
        // Other devices are told for good, so it is for good here too.
        note_erased(connection, id.as_bytes(), ErasedKind::Chat, now_ms)?;
        leaving.order(connection)?;
    }
    Ok(())
}

fn any_jobs(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM job)")?
        .query_row([], |row| row.get(0))?)
}

/// Removes jobs that name this id.
fn remove_jobs(connection: &Connection, id: &str) -> Result<u64, StoreError> {
    Ok(connection
        .prepare_cached("DELETE FROM job WHERE instr(key, ?1) > 0 OR instr(payload, ?1) > 0")?
        .execute([id])? as u64)
}

/// Whether a title says what a text said: at least half of its words that are no stop words are the text's.
fn drawn_from(title: &str, text: &str) -> bool {
    let title = recall_index::telling_words(title);
    let text: BTreeSet<String> = recall_index::telling_words(text).into_iter().collect();
    let shared = title.iter().filter(|word| text.contains(*word)).count();
    shared > 0 && shared * 2 >= title.len()
}

#[cfg(test)]
mod tests {
    use super::drawn_from;

    #[test]
    fn a_title_is_known_by_its_words() {
        assert!(drawn_from(
            "My dog Rex is ill…",
            "My dog Rex is ill, and the vet is away"
        ));
        assert!(drawn_from("Rex", "my dog rex"));
        assert!(drawn_from("我的狗叫", "我的狗叫雷克斯"));
        assert!(!drawn_from("", "my dog Rex"));
        assert!(!drawn_from("Travel plans for May", "my dog and my plans"));
    }
}
