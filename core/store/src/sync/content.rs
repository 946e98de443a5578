//! What a thing is now, as far as it is synced.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};

use super::scope::{DEVICE_CHAT_FIELDS, OF_A_CHAT};
use super::{SettingsGroup, SyncChat, SyncContent, SyncDocument, SyncItem, SyncKind, SyncMessage, usage};
use crate::connection::Json;
use crate::error::StoreError;
use crate::id::{ChatId, MemoryId, MessageId};
use crate::memories::{MemoryStatus, memory_by_seq};
use crate::messages::MessageStatus;
use crate::store::Store;

impl Store {
    /// What a thing is now; `None` when it isn't here, or is of a kind that the store doesn't have.
    pub fn sync_content(&self, item: &SyncItem) -> Result<Option<SyncContent>, StoreError> {
        content(&self.connection, item)
    }

    /// The documents of a thing, the lowest handle first: that is the one to write to. Mostly there is one; there are
    /// more where several devices brought the same thing in before they knew of each other.
    pub fn sync_documents(&self, item: &SyncItem) -> Result<Vec<SyncDocument>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT handle, kind, local, document, published FROM sync_document
             WHERE kind = ?1 AND local = ?2 ORDER BY handle",
        )?;
        let rows = statement.query_map((item.kind as u8, &item.local), document_from)?;
        Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// The document with this handle.
    pub fn sync_document(
        &self,
        handle: hearth_protocol::id::Handle,
    ) -> Result<Option<SyncDocument>, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT handle, kind, local, document, published FROM sync_document WHERE handle = ?1",
            )?
            .query_row([handle.0], document_from)
            .optional()?
            .flatten())
    }
}

fn document_from(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<SyncDocument>> {
    let published: Vec<u8> = row.get(4)?;
    let Some(kind) = SyncKind::from_number(row.get(1)?) else {
        return Ok(None);
    };
    Ok(Some(SyncDocument {
        handle: hearth_protocol::id::Handle(row.get(0)?),
        item: SyncItem {
            kind,
            local: row.get(2)?,
        },
        document: row.get(3)?,
        published: published
            .chunks_exact(32)
            .filter_map(|head| head.try_into().ok())
            .collect(),
    }))
}

pub(super) fn content(connection: &Connection, item: &SyncItem) -> Result<Option<SyncContent>, StoreError> {
    let id = || <[u8; 16]>::try_from(item.local.as_slice()).ok();
    match item.kind {
        SyncKind::Memory => match id() {
            Some(id) => memory(connection, MemoryId::from_bytes(id)),
            None => Ok(None),
        },
        SyncKind::Chat => match id() {
            Some(id) => chat(connection, ChatId::from_bytes(id)),
            None => Ok(None),
        },
        SyncKind::Settings => {
            let Ok(group) = std::str::from_utf8(&item.local) else {
                return Ok(None);
            };
            settings(connection, group).map(Some)
        }
        SyncKind::Usage => match id() {
            Some(id) => usage::content(connection, id),
            None => Ok(None),
        },
        SyncKind::Media => Ok(None),
    }
}

fn memory(connection: &Connection, id: MemoryId) -> Result<Option<SyncContent>, StoreError> {
    let seq: Option<i64> = connection
        .prepare_cached("SELECT seq FROM memory WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(seq) = seq else { return Ok(None) };
    let mut memory = memory_by_seq(connection, seq)?;
    if memory.status == (MemoryStatus::Superseded { by: None }) {
        let by = connection
            .prepare_cached("SELECT successor FROM sync_successor WHERE memory = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        memory.status = MemoryStatus::Superseded { by };
    }
    Ok(Some(SyncContent::Memory(memory)))
}

fn chat(connection: &Connection, id: ChatId) -> Result<Option<SyncContent>, StoreError> {
    type Row = (i64, String, i64, i64, Option<i64>, String, bool);
    let row: Option<Row> = connection
        .prepare_cached(
            "SELECT seq, title, created_at_ms, updated_at_ms, head, metadata, memory FROM chat WHERE id = ?1",
        )?
        .query_row([id], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
            ))
        })
        .optional()?;
    let Some((seq, title, created_at_ms, updated_at_ms, head, metadata, memory)) = row else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "SELECT m.id, p.id, m.role, m.status, m.text, m.reasoning, m.created_at_ms, m.updated_at_ms, m.model, m.metadata
         FROM message AS m LEFT JOIN message AS p ON p.seq = m.parent
         WHERE m.chat = ?1 AND m.status <> 'streaming' ORDER BY m.seq",
    )?;
    let messages = statement
        .query_map([seq], |row| {
            let metadata: String = row.get(9)?;
            Ok(SyncMessage {
                id: row.get(0)?,
                parent: row.get(1)?,
                role: row.get(2)?,
                status: row.get(3)?,
                text: row.get(4)?,
                reasoning: row.get(5)?,
                created_at_ms: row.get(6)?,
                updated_at_ms: row.get(7)?,
                model: row.get(8)?,
                metadata: (metadata != "null").then_some(metadata),
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut settings: BTreeMap<String, String> = fields(&metadata)
        .into_iter()
        .filter(|(name, _)| !DEVICE_CHAT_FIELDS.contains(&name.as_str()))
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    for prefix in OF_A_CHAT {
        let value: Option<String> = connection
            .prepare_cached("SELECT value FROM setting WHERE name = ?1")?
            .query_row([format!("{prefix}{id}")], |row| row.get(0))
            .optional()?;
        settings.extend(value.map(|value| (prefix.to_owned(), value)));
    }
    Ok(Some(SyncContent::Chat(SyncChat {
        id,
        title,
        created_at_ms,
        updated_at_ms,
        head: ended(connection, head)?,
        memory,
        settings,
        messages,
    })))
}

/// The head, or above it the first message that has ended.
fn ended(connection: &Connection, head: Option<i64>) -> Result<Option<MessageId>, StoreError> {
    let mut next = head;
    let mut statement = connection.prepare_cached("SELECT id, status, parent FROM message WHERE seq = ?1")?;
    while let Some(seq) = next {
        let (id, status, parent) = statement.query_row([seq], |row| {
            Ok((row.get(0)?, row.get::<_, MessageStatus>(1)?, row.get(2)?))
        })?;
        if status != MessageStatus::Streaming {
            return Ok(Some(id));
        }
        next = parent;
    }
    Ok(None)
}

fn settings(connection: &Connection, group: &str) -> Result<SyncContent, StoreError> {
    let place = SettingsGroup::new(group);
    let values = match setting(connection, &place.setting())? {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    Ok(SyncContent::Settings {
        group: group.to_owned(),
        values: values
            .into_iter()
            .filter(|(name, _)| place.syncs(name))
            .map(|(name, value)| (name, value.to_string()))
            .collect(),
    })
}

pub(super) fn setting(connection: &Connection, name: &str) -> Result<Option<Value>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT value FROM setting WHERE name = ?1")?
        .query_row([name], |row| Ok(row.get::<_, Json>(0)?.0))
        .optional()?)
}

/// The fields of an object; none of anything else.
pub(super) fn fields(json: &str) -> Map<String, Value> {
    match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
