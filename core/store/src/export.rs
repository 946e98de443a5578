//! Chats as a JSON document that comes back in exactly.

use std::io::Write;
use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chats::chat_seq;
use crate::error::StoreError;
use crate::id::{ChatId, MessageId};
use crate::messages::{MessageStatus, Role};
use crate::store::Store;

/// The `format` field of an export.
pub const EXPORT_FORMAT: &str = "hearth-chats";
/// The `version` field of an export. Version 1 didn't say of a chat whether it is remembered.
pub const EXPORT_VERSION: u32 = 2;

/// Which chats to export.
#[derive(Debug, Clone, Default)]
pub struct ChatSelection {
    /// These, in this order; `None` for all, oldest first.
    pub chats: Option<Vec<ChatId>>,
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Chats written.
    pub chats: u64,
    /// Messages written, on all branches.
    pub messages: u64,
}

impl Store {
    /// Writes the selected chats, with every branch, as one JSON document (see `FORMAT.md`), one chat in memory at a
    /// time.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat, before anything is written.
    pub fn export_chats(
        &self,
        selection: &ChatSelection,
        to: &mut dyn Write,
    ) -> Result<ExportReport, StoreError> {
        let chats = match &selection.chats {
            Some(ids) => ids
                .iter()
                .map(|id| chat_seq(&self.connection, *id))
                .collect::<Result<Vec<_>, _>>()?,
            None => self
                .connection
                .prepare_cached("SELECT seq FROM chat ORDER BY created_at_ms, seq")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?,
        };
        let failed = |error| StoreError::io("write", Path::new("the export"), error);
        write!(
            to,
            "{{\"format\":\"{EXPORT_FORMAT}\",\"version\":{EXPORT_VERSION},\"chats\":["
        )
        .map_err(failed)?;
        let mut report = ExportReport::default();
        for seq in chats {
            let record = chat_record(&self.connection, seq)?;
            to.write_all(if report.chats == 0 { b"\n" } else { b",\n" })
                .map_err(failed)?;
            serde_json::to_writer(&mut *to, &record).map_err(|error| failed(error.into()))?;
            report.chats += 1;
            report.messages += record.messages.len() as u64;
        }
        to.write_all(b"\n]}\n")
            .and_then(|()| to.flush())
            .map_err(failed)?;
        Ok(report)
    }
}

/// A chat as it stands in an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatRecord {
    pub(crate) id: ChatId,
    #[serde(default)]
    pub(crate) title: String,
    pub(crate) created_at_ms: Option<i64>,
    pub(crate) updated_at_ms: Option<i64>,
    pub(crate) head: Option<MessageId>,
    /// Whether it is remembered; where it isn't said, it is.
    #[serde(default = "remembered")]
    pub(crate) memory: bool,
    /// Kept as text, so that numbers come back as they were.
    pub(crate) metadata: Option<Box<RawValue>>,
    /// Parents before their children.
    pub(crate) messages: Vec<MessageRecord>,
}

/// A message as it stands in an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageRecord {
    pub(crate) id: MessageId,
    pub(crate) parent: Option<MessageId>,
    pub(crate) role: Role,
    #[serde(default = "complete")]
    pub(crate) status: MessageStatus,
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) reasoning: String,
    pub(crate) created_at_ms: Option<i64>,
    pub(crate) updated_at_ms: Option<i64>,
    pub(crate) model: Option<String>,
    pub(crate) metadata: Option<Box<RawValue>>,
}

fn remembered() -> bool {
    true
}

fn complete() -> MessageStatus {
    MessageStatus::Complete
}

fn raw(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Box<RawValue>>> {
    let text: String = row.get(column)?;
    let invalid = |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error));
    let value = RawValue::from_string(text).map_err(invalid)?;
    Ok(if value.get() == "null" { None } else { Some(value) })
}

fn chat_record(connection: &Connection, seq: i64) -> Result<ChatRecord, StoreError> {
    let mut record = connection
        .prepare_cached(
            "SELECT c.id, c.title, c.created_at_ms, c.updated_at_ms, h.id, c.metadata, c.memory
             FROM chat AS c LEFT JOIN message AS h ON h.seq = c.head WHERE c.seq = ?1",
        )?
        .query_row([seq], |row| {
            Ok(ChatRecord {
                id: row.get(0)?,
                title: row.get(1)?,
                created_at_ms: row.get(2)?,
                updated_at_ms: row.get(3)?,
                head: row.get(4)?,
                memory: row.get(6)?,
                metadata: raw(row, 5)?,
                messages: Vec::new(),
            })
        })?;
    let mut statement = connection.prepare_cached(
        "SELECT m.id, p.id, m.role, m.status, m.text, m.reasoning, m.created_at_ms, m.updated_at_ms, m.model,
                m.metadata
         FROM message AS m LEFT JOIN message AS p ON p.seq = m.parent WHERE m.chat = ?1 ORDER BY m.seq",
    )?;
    let rows = statement.query_map([seq], |row| {
        Ok(MessageRecord {
            id: row.get(0)?,
            parent: row.get(1)?,
            role: row.get(2)?,
            status: row.get(3)?,
            text: row.get(4)?,
            reasoning: row.get(5)?,
            created_at_ms: row.get(6)?,
            updated_at_ms: row.get(7)?,
            model: row.get(8)?,
            metadata: raw(row, 9)?,
        })
    })?;
    record.messages = rows.collect::<Result<_, _>>()?;
    Ok(record)
}
