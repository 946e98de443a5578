//! Memories as a JSON document that comes back in exactly.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::write::{check_confidence, check_text, text_hash};
use super::{Memory, MemoryKind, MemoryOrigin, MemoryState, MemoryStatus, SourceTurn};
use crate::erasure::ErasedKind;
use crate::error::StoreError;
use crate::id::MemoryId;
use crate::recall_index;
use crate::store::Store;
use crate::sync;

/// The `format` field of an export.
pub const MEMORY_EXPORT_FORMAT: &str = "hearth-memories";
/// The `version` field of an export.
pub const MEMORY_EXPORT_VERSION: u32 = 1;

/// What an import of memories did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryImportReport {
    /// Memories that were not here before.
    pub added: u64,
    /// Memories that were here already; they are left as they are here.
    pub unchanged: u64,
    /// Memories that were erased here; they don't come back.
    pub erased: u64,
}

/// A memory as it stands in an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    id: MemoryId,
    text: String,
    kind: MemoryKind,
    confidence: f32,
    sensitive: bool,
    #[serde(default)]
    valid_from_ms: Option<i64>,
    #[serde(default)]
    valid_to_ms: Option<i64>,
    created_at_ms: i64,
    updated_at_ms: i64,
    sources: Vec<SourceTurn>,
    status: MemoryState,
    #[serde(default)]
    superseded_by: Option<MemoryId>,
    origin: MemoryOrigin,
    use_count: u32,
    #[serde(default)]
    last_used_at_ms: Option<i64>,
    pinned: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    memories: Vec<Record>,
    #[allow(dead_code, reason = "checked before the rest is read")]
    format: String,
    #[allow(dead_code, reason = "checked before the rest is read")]
    version: u64,
}

impl From<Memory> for Record {
    fn from(memory: Memory) -> Record {
        Record {
            id: memory.id,
            text: memory.text,
            kind: memory.kind,
            confidence: memory.confidence,
            sensitive: memory.sensitive,
            valid_from_ms: memory.valid_from_ms,
            valid_to_ms: memory.valid_to_ms,
            created_at_ms: memory.created_at_ms,
            updated_at_ms: memory.updated_at_ms,
            sources: memory
                .sources
                .iter()
                .map(|source| SourceTurn {
                    chat: source.chat,
                    message: source.message,
                })
                .collect(),
            status: memory.status.state(),
            superseded_by: match memory.status {
                MemoryStatus::Superseded { by } => by,
                _ => None,
            },
            origin: memory.origin,
            use_count: memory.use_count,
            last_used_at_ms: memory.last_used_at_ms,
            pinned: memory.pinned,
        }
    }
}

impl Store {
    /// Writes every memory as one JSON document (see `FORMAT.md`), oldest first; says how many. Vectors aren't in it:
    /// they are made again.
    pub fn export_memories(&self, to: &mut dyn Write) -> Result<u64, StoreError> {
        let failed = |error| StoreError::io("write", Path::new("the export"), error);
        write!(
            to,
            "{{\"format\":\"{MEMORY_EXPORT_FORMAT}\",\"version\":{MEMORY_EXPORT_VERSION},\"memories\":["
        )
        .map_err(failed)?;
        let seqs: Vec<i64> = self
            .connection
            .prepare_cached("SELECT seq FROM memory ORDER BY created_at_ms, seq")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for (number, seq) in seqs.iter().enumerate() {
            let record = Record::from(super::by_seq(&self.connection, *seq)?);
            to.write_all(if number == 0 { b"\n" } else { b",\n" })
                .map_err(failed)?;
            serde_json::to_writer(&mut *to, &record).map_err(|error| failed(error.into()))?;
        }
        to.write_all(b"\n]}\n")
            .and_then(|()| to.flush())
            .map_err(failed)?;
        Ok(seqs.len() as u64)
    }

    /// Imports a document of [`Store::export_memories`] in one transaction. Ids are kept; a memory that is here already
    /// is left as it is; one that was erased here doesn't come back.
    ///
    /// # Errors
    /// [`StoreError::Import`] for anything that is not a complete, valid document of a known version: nothing is imported
    /// then. That includes an id that occurs twice, and memories that superseded each other in a circle or by one that
    /// is neither in the document nor here.
    pub fn import_memories(&mut self, from: &mut dyn Read) -> Result<MemoryImportReport, StoreError> {
        let mut text = String::new();
        from.read_to_string(&mut text)
            .map_err(|error| StoreError::io("read", Path::new("the import"), error))?;
        let records = parse(&text)?;
        let transaction = self.transaction()?;
        let mut report = MemoryImportReport::default();
        let mut added = Vec::new();
        for record in &records {
            if sync::is_gone(&transaction, record.id.as_bytes(), ErasedKind::Memory)? {
                report.erased += 1;
            } else if here(&transaction, record.id)?.is_some() {
                report.unchanged += 1;
            } else {
                added.push((record, insert(&transaction, record)?));
                report.added += 1;
            }
        }
        // When all are there, in whatever order they came.
        for (record, seq) in added {
            let Some(by) = record.superseded_by else { continue };
            let by_seq = here(&transaction, by)?;
            if by_seq.is_none() && !sync::is_gone(&transaction, by.as_bytes(), ErasedKind::Memory)? {
                return Err(refused(format!(
                    "memory {} is superseded by {by}, which is neither in the document nor here",
                    record.id
                )));
            }
            transaction
                .prepare_cached("UPDATE memory SET superseded_by = ?2 WHERE seq = ?1")?
                .execute((seq, by_seq))?;
        }
        transaction.commit()?;
        Ok(report)
    }
}

fn refused(reason: impl Into<String>) -> StoreError {
    StoreError::Import {
        line: 0,
        column: 0,
        reason: reason.into(),
    }
}

fn json_error(error: &serde_json::Error) -> StoreError {
    let words = error.to_string();
    StoreError::Import {
        line: error.line(),
        column: error.column(),
        reason: match words.rsplit_once(" at line ") {
            Some((reason, _)) => reason.to_owned(),
            None => words,
        },
    }
}

fn here(connection: &Connection, id: MemoryId) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT seq FROM memory WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

/// The records of a document, once all of it is known to make sense.
fn parse(text: &str) -> Result<Vec<Record>, StoreError> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u64,
    }
    let text = text.trim_start_matches('\u{FEFF}');
    let head: Head = serde_json::from_str(text).map_err(|error| json_error(&error))?;
    if head.format != MEMORY_EXPORT_FORMAT {
        return Err(refused(format!(
            "format {:?} is not {MEMORY_EXPORT_FORMAT:?}",
            head.format
        )));
    }
    if head.version != u64::from(MEMORY_EXPORT_VERSION) {
        return Err(refused(format!(
            "version {} of the export format is not known; this program knows version {MEMORY_EXPORT_VERSION}: update it",
            head.version
        )));
    }
    let document: Document = serde_json::from_str(text).map_err(|error| json_error(&error))?;
    check(&document.memories)?;
    Ok(document.memories)
}

fn check(records: &[Record]) -> Result<(), StoreError> {
    let mut successors = HashMap::with_capacity(records.len());
    for record in records {
        let checked = check_text(&record.text).and_then(|()| check_confidence(record.confidence));
        checked.map_err(|error| refused(format!("memory {}: {error}", record.id)))?;
        if record.superseded_by.is_some() && record.status != MemoryState::Superseded {
            return Err(refused(format!(
                "memory {} names a successor but isn't superseded",
                record.id
            )));
        }
        let messages: HashSet<_> = record.sources.iter().map(|source| source.message).collect();
        if messages.len() < record.sources.len() {
            return Err(refused(format!("a source of memory {} occurs twice", record.id)));
        }
        if successors.insert(record.id, record.superseded_by).is_some() {
            return Err(refused(format!("memory {} occurs twice", record.id)));
        }
    }
    // Known to lead to an end.
    let mut ends: HashSet<MemoryId> = HashSet::new();
    for record in records {
        let mut path = HashSet::new();
        let mut next = Some(record.id);
        while let Some(id) = next {
            if ends.contains(&id) {
                break;
            }
            if !path.insert(id) {
                return Err(refused(format!(
                    "memory {id} is superseded by itself, through others"
                )));
            }
            next = successors.get(&id).copied().flatten();
        }
        ends.extend(path);
    }
    Ok(())
}

/// Puts a memory in, its successor aside; its inner number.
fn insert(connection: &Connection, record: &Record) -> Result<i64, StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO memory (id, text, kind, confidence, sensitive, valid_from_ms, valid_to_ms, created_at_ms,
                                 updated_at_ms, status, origin, use_count, last_used_at_ms, pinned)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute((
            record.id,
            &record.text,
            record.kind,
            f64::from(record.confidence),
            record.sensitive,
            record.valid_from_ms,
            record.valid_to_ms,
            record.created_at_ms,
            record.updated_at_ms,
            record.status,
            record.origin,
            record.use_count,
            record.last_used_at_ms,
            record.pinned,
        ))?;
    let seq = connection.last_insert_rowid();
    recall_index::add_memory(connection, seq)?;
    for source in &record.sources {
        let text: Option<String> = connection
            .prepare_cached(
                "SELECT m.text FROM message AS m JOIN chat AS c ON c.seq = m.chat WHERE m.id = ?1 AND c.id = ?2",
            )?
            .query_row((source.message, source.chat), |row| row.get(0))
            .optional()?;
        // Of a message that isn't here no text has this hash.
        let hash = match text {
            Some(text) => text_hash(connection, &text)?,
            None => [0; 32],
        };
        connection
            .prepare_cached(
                "INSERT INTO memory_source (memory, chat, message, text_hash) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((seq, source.chat, source.message, hash))?;
    }
    Ok(seq)
}
