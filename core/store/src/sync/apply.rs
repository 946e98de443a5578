//! Making rows what came from other devices.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};

use super::content::{fields, setting};
use super::scope::{DEVICE_CHAT_FIELDS, OF_A_CHAT};
use super::{SettingsGroup, SyncChat, SyncContent, SyncItem, SyncMessage, SyncReport, capture, erase, usage};
use crate::biography;
use crate::erasure::{EMPTIED, ErasedKind};
use crate::error::StoreError;
use crate::id::{MemoryId, MessageId};
use crate::memories::{Memory, MemoryState, MemoryStatus, check_confidence, check_text, memory_by_seq};
use crate::messages::MessageStatus;
use crate::recall_index;
use crate::search;
use crate::vectors::{self, Index};

/// Makes the rows of a thing what `content` says. `false` when the thing was erased here: nothing is changed then.
///
/// Leaves no mark, unless there is one already the rows had to become something else than the content,
/// or the content is `more` than its document.
pub(super) fn apply(
    connection: &Connection,
    content: &SyncContent,
    more: bool,
    report: &mut SyncReport,
) -> Result<bool, StoreError> {
    let item = content.item();
    let dirty = capture::is_dirty(connection, &item)?;
    let exact = match content {
        SyncContent::Memory(memory) => {
            if erase::memory_is_erased(connection, memory)? {
                return Ok(false);
            }
            apply_memory(connection, memory, report)?
        }
        SyncContent::Chat(chat) => {
            if erase::chat_is_erased(connection, chat.id)? {
                return Ok(false);
            }
            apply_chat(connection, chat, report)?
        }
        SyncContent::Settings { group, values } => {
            let place = SettingsGroup::new(group);
            let mut synced = Map::new();
            for (name, text) in values {
                let value = serde_json::from_str(text)
                    .map_err(|_| StoreError::Invalid(format!("the setting {name} is no JSON")))?;
                synced.insert(name.clone(), value);
            }
            let name = place.setting();
            let before = setting(connection, &name)?;
            let after = place.with(before.clone(), synced);
            if before.as_ref() != Some(&after) {
                put_setting(connection, &name, &after)?;
                report.settings.push(group.clone());
            }
            true
        }
        SyncContent::Usage { device, uses } => {
            usage::apply(connection, *device, uses)?;
            true
        }
    };
    let exact = exact && !more;
    if !dirty && exact {
        capture::untouch(connection, &item)?;
    } else if !exact {
        capture::touch(connection, &item)?;
    }
    Ok(true)
}

fn put_setting(connection: &Connection, name: &str, value: &Value) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute((name, value.to_string()))?;
    Ok(())
}

fn memory_seq(connection: &Connection, id: MemoryId) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT seq FROM memory WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

/// Says whether the row is now what was given.
fn apply_memory(connection: &Connection, new: &Memory, report: &mut SyncReport) -> Result<bool, StoreError> {
    check_text(&new.text)?;
    check_confidence(new.confidence)?;
    let mut exact = true;
    let mut state = new.status.state();
    let mut successor = None;
    let mut missing = None;
    if let MemoryStatus::Superseded { by: Some(by) } = new.status {
        successor = memory_seq(connection, by)?;
        if successor.is_none() && erase::is_gone(connection, by.as_bytes(), ErasedKind::Memory)? {
            // As where the successor was erased: it is to be confirmed.
            state = MemoryState::Review;
            exact = false;
        } else if successor.is_none() {
            missing = Some(by);
        }
    }
    let old = match memory_seq(connection, new.id)? {
        Some(seq) => Some((seq, memory_by_seq(connection, seq)?)),
        None => None,
    };
    let columns = (
        new.id,
        &new.text,
        new.kind,
        f64::from(new.confidence),
        new.sensitive,
        new.valid_from_ms,
        new.valid_to_ms,
        new.created_at_ms,
        new.updated_at_ms,
        state,
        new.origin,
        new.pinned,
    );
    let seq = if let Some((seq, old)) = &old {
        let renewed = old.text != new.text;
        if renewed {
            // The index first: it reads the text that it has to forget.
            recall_index::remove_memory(connection, *seq)?;
            vectors::remove(connection, Index::Memories, *seq)?;
        }
        connection
            .prepare_cached(
                "UPDATE memory SET text = ?2, kind = ?3, confidence = ?4, sensitive = ?5, valid_from_ms = ?6,
                                   valid_to_ms = ?7, created_at_ms = ?8, updated_at_ms = ?9, status = ?10, origin = ?11,
                                   pinned = ?12, superseded_by = NULL
                 WHERE id = ?1",
            )?
            .execute(columns)?;
        if renewed {
            recall_index::add_memory(connection, *seq)?;
        }
        let holds = |memory: &Memory| {
            (
                memory.kind,
                memory.valid_from_ms,
                memory.valid_to_ms,
                memory.sensitive,
            )
        };
        if renewed || holds(old) != holds(new) || old.status.state() != state || (old.pinned && !new.pinned) {
            biography::drop_drawn_from(connection, *seq)?;
        }
        *seq
    } else {
        connection
            .prepare_cached(
                "INSERT INTO memory (id, text, kind, confidence, sensitive, valid_from_ms, valid_to_ms, created_at_ms,
                                     updated_at_ms, status, origin, pinned)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(columns)?;
        let seq = connection.last_insert_rowid();
        recall_index::add_memory(connection, seq)?;
        usage::arrived(connection, new.id)?;
        seq
    };
    exact &= set_sources(connection, seq, new)?;
    connection
        .prepare_cached("DELETE FROM sync_successor WHERE memory = ?1")?
        .execute([new.id])?;
    if let Some(by) = missing {
        connection
            .prepare_cached("INSERT INTO sync_successor (memory, successor) VALUES (?1, ?2)")?
            .execute((new.id, by))?;
    }
    if let Some(successor) = successor {
        set_successor(connection, seq, successor)?;
    }
    // What waited for this one.
    let waiting: Vec<MemoryId> = connection
        .prepare_cached("SELECT memory FROM sync_successor WHERE successor = ?1")?
        .query_map([new.id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for older in waiting {
        let item = SyncItem::memory(older);
        let dirty = capture::is_dirty(connection, &item)?;
        if let Some(older) = memory_seq(connection, older)? {
            set_successor(connection, older, seq)?;
        }
        connection
            .prepare_cached("DELETE FROM sync_successor WHERE memory = ?1")?
            .execute([older])?;
        if !dirty {
            capture::untouch(connection, &item)?;
        }
    }
    exact &= open_circle(connection, seq)?;
    match old {
        None => report.new_memories.push(new.id),
        Some((_, old)) => {
            if old.text != new.text || old.status != new.status || old.kind != new.kind {
                report.changed_memories.push(new.id);
            }
        }
    }
    Ok(exact)
}

fn set_successor(connection: &Connection, memory: i64, successor: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE memory SET superseded_by = ?2 WHERE seq = ?1 AND status = 'superseded' AND seq <> ?2",
        )?
        .execute((memory, successor))?;
    Ok(())
}

/// Opens a circle of successors that edits made at once have closed: the lowest id of it is active again. Says whether
/// the memory itself was left as it was given.
fn open_circle(connection: &Connection, start: i64) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT superseded_by, id FROM memory WHERE seq = ?1")?;
    let mut circle: Vec<(MemoryId, i64)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(start);
    while let Some(seq) = next {
        if !seen.insert(seq) {
            break;
        }
        let (by, id) = statement.query_row([seq], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get(1)?)))?;
        circle.push((id, seq));
        next = by;
    }
    // Only what was given can have closed one: it leads back there or nowhere.
    if next != Some(start) {
        return Ok(true);
    }
    let Some((id, lowest)) = circle.into_iter().min() else {
        return Ok(true);
    };
    connection
        .prepare_cached("UPDATE memory SET status = 'active', superseded_by = NULL WHERE seq = ?1")?
        .execute([lowest])?;
    biography::drop_drawn_from(connection, lowest)?;
    capture::touch(connection, &SyncItem::memory(id))?;
    Ok(lowest != start)
}

/// Makes the sources of a memory those that are given, but what was erased. Says whether none was.
fn set_sources(connection: &Connection, seq: i64, new: &Memory) -> Result<bool, StoreError> {
    let mut exact = true;
    let mut kept = Vec::with_capacity(new.sources.len());
    for source in &new.sources {
        if erase::is_gone(connection, source.message.as_bytes(), ErasedKind::Message)?
            || erase::is_gone(connection, source.chat.as_bytes(), ErasedKind::Chat)?
        {
            exact = false;
            continue;
        }
        kept.push(source.message);
        connection
            .prepare_cached(
                "INSERT INTO memory_source (memory, chat, message, text_hash) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (memory, message) DO UPDATE SET chat = excluded.chat, text_hash = excluded.text_hash
                 WHERE chat <> excluded.chat OR text_hash <> excluded.text_hash",
            )?
            .execute((seq, source.chat, source.message, source.text_hash))?;
    }
    let there: Vec<MessageId> = connection
        .prepare_cached("SELECT message FROM memory_source WHERE memory = ?1")?
        .query_map([seq], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for message in there.iter().filter(|message| !kept.contains(message)) {
        connection
            .prepare_cached("DELETE FROM memory_source WHERE memory = ?1 AND message = ?2")?
            .execute((seq, message))?;
    }
    Ok(exact)
}

/// Says whether the rows are now what was given.
fn apply_chat(connection: &Connection, new: &SyncChat, report: &mut SyncReport) -> Result<bool, StoreError> {
    type Row = (i64, String, Option<i64>, bool);
    let there: Option<Row> = connection
        .prepare_cached("SELECT seq, metadata, head, memory FROM chat WHERE id = ?1")?
        .query_row([new.id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let mut synced = Map::new();
    for (name, text) in &new.settings {
        let value = serde_json::from_str(text)
            .map_err(|_| StoreError::Invalid(format!("the chat's setting {name} is no JSON")))?;
        synced.insert(name.clone(), value);
    }
    for prefix in OF_A_CHAT {
        let name = format!("{prefix}{}", new.id);
        match synced.remove(prefix) {
            Some(value) => put_setting(connection, &name, &value)?,
            None => {
                connection
                    .prepare_cached("DELETE FROM setting WHERE name = ?1")?
                    .execute([name])?;
            }
        }
    }
    let mut metadata = fields(there.as_ref().map_or("null", |there| &there.1));
    metadata.retain(|name, _| DEVICE_CHAT_FIELDS.contains(&name.as_str()));
    metadata.extend(
        synced
            .into_iter()
            .filter(|(name, _)| !DEVICE_CHAT_FIELDS.contains(&name.as_str())),
    );
    let metadata = if metadata.is_empty() {
        Value::Null
    } else {
        Value::Object(metadata)
    };
    let chat = if let Some((seq, _, _, memory)) = there {
        if memory != new.memory {
            switch_memory(connection, seq, new.memory)?;
        }
        connection
            .prepare_cached(
                "UPDATE chat SET title = ?2, created_at_ms = ?3, updated_at_ms = ?4, metadata = ?5 WHERE seq = ?1",
            )?
            .execute((seq, &new.title, new.created_at_ms, new.updated_at_ms, metadata.to_string()))?;
        seq
    } else {
        connection
            .prepare_cached(
                "INSERT INTO chat (id, title, created_at_ms, updated_at_ms, metadata, memory)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                new.id,
                &new.title,
                new.created_at_ms,
                new.updated_at_ms,
                metadata.to_string(),
                new.memory,
            ))?;
        connection.last_insert_rowid()
    };
    let (places, exact) = apply_messages(connection, chat, new, report)?;
    let head = new.head.and_then(|head| places.get(&head).copied().flatten());
    let present = there.and_then(|there| there.2);
    // A reply that is being written here stays in view.
    let writing: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM message WHERE seq = ?1 AND status = 'streaming')")?
        .query_row([present], |row| row.get(0))?;
    if !writing && head.is_some() && head != present {
        connection
            .prepare_cached("UPDATE chat SET head = ?2 WHERE seq = ?1")?
            .execute((chat, head))?;
    }
    report.changed_chats.push(new.id);
    Ok(exact)
}

fn switch_memory(connection: &Connection, chat: i64, on: bool) -> Result<(), StoreError> {
    recall_index::remove_turns_of(connection, chat)?;
    connection
        .prepare_cached("UPDATE chat SET memory = ?2 WHERE seq = ?1")?
        .execute((chat, on))?;
    if on {
        recall_index::add_turns_of(connection, chat)?;
    } else {
        connection
            .prepare_cached(
                "DELETE FROM turn_vector WHERE item IN (SELECT seq FROM message WHERE chat = ?1)",
            )?
            .execute([chat])?;
    }
    Ok(())
}

/// The rows of a chat's messages by id. Nothing is removed: what the given doesn't have is this device's, and on its way.
#[allow(clippy::type_complexity, reason = "said here")]
fn apply_messages(
    connection: &Connection,
    chat: i64,
    new: &SyncChat,
    report: &mut SyncReport,
) -> Result<(HashMap<MessageId, Option<i64>>, bool), StoreError> {
    let mut places: HashMap<MessageId, Option<i64>> = HashMap::with_capacity(new.messages.len());
    let mut exact = true;
    for message in &new.messages {
        if message.status == MessageStatus::Streaming {
            return Err(StoreError::Invalid(
                "a message that is being written isn't synced".into(),
            ));
        }
        if let Some(metadata) = &message.metadata
            && !matches!(serde_json::from_str(metadata), Ok(Value::Object(_)))
        {
            return Err(StoreError::Invalid(
                "a message's metadata is no JSON object".into(),
            ));
        }
        let parent = match message.parent {
            Some(parent) => places.get(&parent).copied().ok_or_else(|| {
                StoreError::Invalid(format!(
                    "message {} stands before its parent {parent}",
                    message.id
                ))
            })?,
            None => None,
        };
        let there: Option<(i64, i64)> = connection
            .prepare_cached("SELECT seq, chat FROM message WHERE id = ?1")?
            .query_row([message.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let erased = erase::is_gone(connection, message.id.as_bytes(), ErasedKind::Message)?;
        let emptied;
        let message = if erased {
            emptied = SyncMessage {
                text: String::new(),
                reasoning: String::new(),
                metadata: Some(EMPTIED.to_owned()),
                ..message.clone()
            };
            if message.text != emptied.text || message.reasoning != emptied.reasoning {
                // The document holds what is gone: it goes, and the chat goes on in another.
                report.to_replace.push(SyncItem::chat(new.id));
                exact = false;
            }
            &emptied
        } else {
            message
        };
        let seq = match there {
            Some((seq, of)) if of == chat => {
                change_message(connection, seq, message)?;
                Some(seq)
            }
            // The id is another chat's message here: what stands below it comes in below its parent.
            Some(_) => {
                tracing::warn!("a synced message has the id of one in another chat");
                parent
            }
            None => Some(insert_message(connection, chat, parent, message)?),
        };
        places.insert(message.id, seq);
    }
    let here: Vec<MessageId> = connection
        .prepare_cached("SELECT id FROM message WHERE chat = ?1 AND status <> 'streaming'")?
        .query_map([chat], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    exact &= here.iter().all(|id| places.contains_key(id));
    Ok((places, exact))
}

fn insert_message(
    connection: &Connection,
    chat: i64,
    parent: Option<i64>,
    message: &SyncMessage,
) -> Result<i64, StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO message (id, chat, parent, role, status, text, reasoning, created_at_ms, updated_at_ms, model,
                                  metadata)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute((
            message.id,
            chat,
            parent,
            message.role,
            message.status,
            &message.text,
            &message.reasoning,
            message.created_at_ms,
            message.updated_at_ms,
            &message.model,
            message.metadata.as_deref().unwrap_or("null"),
        ))?;
    let seq = connection.last_insert_rowid();
    search::index(connection, seq, &message.text)?;
    recall_index::add_turn(connection, seq)?;
    Ok(seq)
}

fn change_message(connection: &Connection, seq: i64, new: &SyncMessage) -> Result<(), StoreError> {
    type Row = (String, String, MessageStatus, Option<String>, String);
    let (text, reasoning, status, model, metadata): Row = connection
        .prepare_cached("SELECT text, reasoning, status, model, metadata FROM message WHERE seq = ?1")?
        .query_row([seq], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
    let new_metadata = new.metadata.as_deref().unwrap_or("null");
    let same = text == new.text
        && reasoning == new.reasoning
        && status == new.status
        && model == new.model
        && metadata == new_metadata;
    // One that is being written here is this device's, and one that was emptied stays empty.
    if same || status == MessageStatus::Streaming || metadata == EMPTIED {
        return Ok(());
    }
    if text != new.text {
        connection
            .prepare_cached("DELETE FROM turn_vector WHERE item = ?1")?
            .execute([seq])?;
    }
    connection
        .prepare_cached("DELETE FROM message_search WHERE rowid = ?1")?
        .execute([seq])?;
    recall_index::change_turn(connection, seq, || {
        connection
            .prepare_cached(
                "UPDATE message SET text = ?2, reasoning = ?3, status = ?4, model = ?5, metadata = ?6, updated_at_ms = ?7
                 WHERE seq = ?1",
            )?
            .execute((
                seq,
                &new.text,
                &new.reasoning,
                new.status,
                &new.model,
                new_metadata,
                new.updated_at_ms,
            ))?;
        Ok(())
    })?;
    search::index(connection, seq, &new.text)
}
