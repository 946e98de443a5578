//! Import of chats from an export of ours: all or nothing, and twice is the same as once.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rusqlite::{OptionalExtension, Transaction};
use serde::Serialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::connection::Json;
use crate::erasure::{EMPTIED, ErasedKind};
use crate::error::StoreError;
use crate::export::{ChatRecord, EXPORT_FORMAT, EXPORT_VERSION, MessageRecord};
use crate::id::{ChatId, MessageId};
use crate::messages::MessageStatus;
use crate::store::Store;
use crate::{recall_index, search, sync};

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Chats that were not here before.
    pub chats_added: u64,
    /// Chats that were here and got messages they lacked.
    pub chats_extended: u64,
    /// Chats that were here already, with every message.
    pub chats_unchanged: u64,
    /// Messages that were not here before.
    pub messages_added: u64,
    /// Messages that were here already.
    pub messages_unchanged: u64,
    /// Messages that came in under another id, because theirs names something else here.
    pub messages_renumbered: u64,
    /// What was left out or replaced by a placeholder, and why.
    pub skipped: Vec<Skipped>,
    /// The chats that were added or extended.
    pub changed: Vec<ChatId>,
    /// Those that were here already, with every message.
    pub unchanged: Vec<ChatId>,
}

/// A kind of thing that an import left out or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Why, in words for the user.
    pub reason: String,
    /// How often.
    pub count: u64,
}

impl ImportReport {
    /// Counts one more thing that was left out for this reason.
    pub(crate) fn skip(&mut self, reason: &str) {
        match self.skipped.iter_mut().find(|skipped| skipped.reason == reason) {
            Some(skipped) => skipped.count += 1,
            None => self.skipped.push(Skipped {
                reason: reason.to_owned(),
                count: 1,
            }),
        }
    }
}

impl Store {
    /// Imports a document of [`Store::export_chats`] in one transaction. Ids are kept where they are free; what is
    /// here already is not doubled; a chat that has grown elsewhere gets the messages it lacks, and is remembered or not as it
    /// is here. Where the document
    /// gives no times, `now_ms` is taken. A message that was still streaming comes in as interrupted.
    ///
    /// # Errors
    /// [`StoreError::Import`] with the position for anything that is not a complete, valid document of a known
    /// version; nothing is imported then.
    pub fn import_chats(&mut self, from: &mut dyn Read, now_ms: i64) -> Result<ImportReport, StoreError> {
        let transaction = self.transaction()?;
        let mut importer = Importer::new(&transaction, now_ms);
        parse(
            from,
            Document {
                importer: &mut importer,
            },
        )
        .map_err(|error| importer.explain(error))?;
        let report = importer.report;
        transaction.commit()?;
        Ok(report)
    }
}

/// Feeds the one JSON value in `from` to `seed`.
pub(crate) fn parse<S>(from: &mut dyn Read, seed: S) -> Result<(), serde_json::Error>
where
    S: for<'de> DeserializeSeed<'de, Value = ()>,
{
    let mut reader = BufReader::new(from);
    let byte_order_mark = [0xEF, 0xBB, 0xBF];
    if reader
        .fill_buf()
        .map_err(serde_json::Error::io)?
        .starts_with(&byte_order_mark)
    {
        reader.consume(byte_order_mark.len());
    }
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    seed.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Puts chats into the database within a transaction that its owner commits.
pub(crate) struct Importer<'t> {
    transaction: &'t Transaction<'t>,
    pub(crate) now_ms: i64,
    pub(crate) report: ImportReport,
    /// A failure of the database, which the JSON reader has no place for.
    failure: Option<StoreError>,
}

impl<'t> Importer<'t> {
    pub(crate) fn new(transaction: &'t Transaction<'t>, now_ms: i64) -> Importer<'t> {
        Importer {
            transaction,
            now_ms,
            report: ImportReport::default(),
            failure: None,
        }
    }

    /// [`Importer::chat`] inside a JSON reader, whose error it raises.
    pub(crate) fn take<E: de::Error>(&mut self, chat: &ChatRecord) -> Result<(), E> {
        self.chat(chat).map_err(|error| match error {
            StoreError::Invalid(reason) => E::custom(reason),
            error => {
                let words = error.to_string();
                self.failure = Some(error);
                E::custom(words)
            }
        })
    }

    /// What an error of [`parse`] was in truth.
    pub(crate) fn explain(&mut self, error: serde_json::Error) -> StoreError {
        if let Some(failure) = self.failure.take() {
            return failure;
        }
        let (line, column) = (error.line(), error.column());
        if error.is_io() {
            return StoreError::io("read", Path::new("the import"), error.into());
        }
        let words = error.to_string();
        let reason = match words.rsplit_once(" at line ") {
            Some((reason, _)) => reason.to_owned(),
            None => words,
        };
        StoreError::Import { line, column, reason }
    }

    /// Brings one chat in.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the record contradicts itself.
    fn chat(&mut self, record: &ChatRecord) -> Result<(), StoreError> {
        if sync::is_gone(self.transaction, record.id.as_bytes(), ErasedKind::Chat)? {
            self.report
                .skip("the chat was erased here; erased chats don't come back");
            return Ok(());
        }
        let last_ms = record
            .messages
            .iter()
            .filter_map(|message| message.updated_at_ms.or(message.created_at_ms))
            .max();
        let created_at_ms = record.created_at_ms.or(last_ms).unwrap_or(self.now_ms);
        let updated_at_ms = record.updated_at_ms.or(last_ms).unwrap_or(created_at_ms);
        let existing: Option<(i64, i64)> = self
            .transaction
            .prepare_cached("SELECT seq, updated_at_ms FROM chat WHERE id = ?1")?
            .query_row([record.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let chat = if let Some((seq, _)) = existing {
            seq
        } else {
            self.transaction
                .prepare_cached(
                    "INSERT INTO chat (id, title, created_at_ms, updated_at_ms, metadata, memory)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute((
                    record.id,
                    &record.title,
                    created_at_ms,
                    updated_at_ms,
                    metadata(record.metadata.as_deref())?,
                    record.memory,
                ))?;
            self.transaction.last_insert_rowid()
        };
        let added_before = self.report.messages_added;
        let mut places = HashMap::with_capacity(record.messages.len());
        for message in &record.messages {
            let parent = match message.parent {
                None => None,
                Some(parent) => Some(*places.get(&parent).ok_or_else(|| {
                    StoreError::Invalid(format!(
                        "message {} stands before its parent {parent}",
                        message.id
                    ))
                })?),
            };
            let seq = if sync::is_gone(self.transaction, message.id.as_bytes(), ErasedKind::Message)? {
                self.report.skip("the message was erased here; it comes in empty");
                self.message(record.id, chat, parent, created_at_ms, &emptied(message)?)?
            } else {
                self.message(record.id, chat, parent, created_at_ms, message)?
            };
            if places.insert(message.id, seq).is_some() {
                return Err(StoreError::Invalid(format!(
                    "message {} occurs twice in its chat",
                    message.id
                )));
            }
        }
        let head = match record.head {
            None => None,
            Some(head) => Some(*places.get(&head).ok_or_else(|| {
                StoreError::Invalid(format!(
                    "the head {head} of chat {} is not one of its messages",
                    record.id
                ))
            })?),
        };
        let added = self.report.messages_added > added_before;
        match existing {
            None => {
                self.transaction
                    .prepare_cached("UPDATE chat SET head = ?2 WHERE seq = ?1")?
                    .execute((chat, head))?;
                self.report.chats_added += 1;
                self.report.changed.push(record.id);
            }
            Some((_, here_ms)) if added => {
                // The chat went on elsewhere: if that is the later state, show that.
                if updated_at_ms > here_ms {
                    self.transaction
                        .prepare_cached(
                            "UPDATE chat SET head = coalesce(?2, head), title = ?3, updated_at_ms = ?4
                             WHERE seq = ?1",
                        )?
                        .execute((chat, head, &record.title, updated_at_ms))?;
                }
                self.report.chats_extended += 1;
                self.report.changed.push(record.id);
            }
            Some(_) => {
                self.report.chats_unchanged += 1;
                self.report.unchanged.push(record.id);
            }
        }
        Ok(())
    }

    /// Brings one message in, or finds it here; its inner number.
    fn message(
        &mut self,
        chat_id: ChatId,
        chat: i64,
        parent: Option<i64>,
        default_ms: i64,
        record: &MessageRecord,
    ) -> Result<i64, StoreError> {
        let status = match record.status {
            MessageStatus::Streaming => MessageStatus::Interrupted,
            status => status,
        };
        let mut id = record.id;
        if let Some((here, seq)) = self.existing(id)? {
            if here == chat && self.same(seq, parent, status, record)? {
                self.report.messages_unchanged += 1;
                return Ok(seq);
            }
            // The id names something else here. The new one follows from the content, so that the next import of
            // the same document finds this message again.
            id = derived_id(chat_id, record)?;
            if let Some((_, seq)) = self.existing(id)? {
                self.report.messages_unchanged += 1;
                return Ok(seq);
            }
            self.report.messages_renumbered += 1;
        }
        let created_at_ms = record.created_at_ms.unwrap_or(default_ms);
        self.transaction
            .prepare_cached(
                "INSERT INTO message (id, chat, parent, role, status, text, reasoning, created_at_ms,
                                      updated_at_ms, model, metadata)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute((
                id,
                chat,
                parent,
                record.role,
                status,
                &record.text,
                &record.reasoning,
                created_at_ms,
                record.updated_at_ms.unwrap_or(created_at_ms),
                &record.model,
                metadata(record.metadata.as_deref())?,
            ))?;
        let seq = self.transaction.last_insert_rowid();
        search::index(self.transaction, seq, &record.text)?;
        recall_index::add_turn(self.transaction, seq)?;
        self.report.messages_added += 1;
        Ok(seq)
    }

    /// The inner numbers of the chat and the message with this id.
    fn existing(&self, id: MessageId) -> Result<Option<(i64, i64)>, StoreError> {
        Ok(self
            .transaction
            .prepare_cached("SELECT chat, seq FROM message WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?)
    }

    /// Whether the message at `seq` is the one that `record` describes.
    fn same(
        &self,
        seq: i64,
        parent: Option<i64>,
        status: MessageStatus,
        record: &MessageRecord,
    ) -> Result<bool, StoreError> {
        let theirs: Value = value(record.metadata.as_deref())?;
        Ok(self
            .transaction
            .prepare_cached(
                "SELECT parent IS ?2 AND role = ?3 AND status = ?4 AND text = ?5 AND reasoning = ?6
                        AND coalesce(?7, created_at_ms) = created_at_ms
                        AND coalesce(?8, updated_at_ms) = updated_at_ms AND model IS ?9, metadata
                 FROM message WHERE seq = ?1",
            )?
            .query_row(
                (
                    seq,
                    parent,
                    record.role,
                    status,
                    &record.text,
                    &record.reasoning,
                    record.created_at_ms,
                    record.updated_at_ms,
                    &record.model,
                ),
                |row| Ok(row.get::<_, bool>(0)? && row.get::<_, Json>(1)?.0 == theirs),
            )?)
    }
}

/// What an erased message is: its place and nothing in it.
fn emptied(message: &MessageRecord) -> Result<MessageRecord, StoreError> {
    let metadata = RawValue::from_string(EMPTIED.to_owned());
    Ok(MessageRecord {
        id: message.id,
        parent: message.parent,
        role: message.role,
        status: message.status,
        text: String::new(),
        reasoning: String::new(),
        created_at_ms: message.created_at_ms,
        updated_at_ms: message.updated_at_ms,
        model: message.model.clone(),
        metadata: Some(metadata.map_err(|error| StoreError::Invalid(error.to_string()))?),
    })
}

/// Metadata as it is stored: as it was written, once it is known to be valid.
fn metadata(raw: Option<&RawValue>) -> Result<&str, StoreError> {
    value(raw)?;
    Ok(raw.map_or("null", RawValue::get))
}

fn value(raw: Option<&RawValue>) -> Result<Value, StoreError> {
    let Some(raw) = raw else { return Ok(Value::Null) };
    match serde_json::from_str(raw.get()) {
        Ok(value @ (Value::Null | Value::Object(_))) => Ok(value),
        Ok(_) => Err(StoreError::Invalid("metadata is an object or null".into())),
        Err(error) => Err(StoreError::Invalid(format!("metadata: {error}"))),
    }
}

fn derived_id(chat: ChatId, record: &MessageRecord) -> Result<MessageId, StoreError> {
    let content = serde_json::to_vec(record).map_err(|error| StoreError::Invalid(error.to_string()))?;
    Ok(MessageId::from_bytes(digest(&[
        b"hearth-import",
        chat.as_bytes(),
        &content,
    ])))
}

/// 128 bits that follow from `parts`.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}

/// The whole document; chats go in as they are read.
struct Document<'a, 't> {
    importer: &'a mut Importer<'t>,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an export of chats: an object with format, version and chats")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut format, mut version, mut chats) = (false, false, false);
        // Chats that come before it is known what they are (a tool may have sorted the keys).
        let mut early: Vec<ChatRecord> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "format" if !format => {
                    let found: String = map.next_value()?;
                    if found != EXPORT_FORMAT {
                        return Err(de::Error::custom(format!(
                            "format {found:?} is not {EXPORT_FORMAT:?}"
                        )));
                    }
                    format = true;
                }
                "version" if !version => {
                    let found: u64 = map.next_value()?;
                    if !(1..=u64::from(EXPORT_VERSION)).contains(&found) {
                        return Err(de::Error::custom(format!(
                            "version {found} of the export format is not known; this program knows versions 1 to \
                             {EXPORT_VERSION}: update it"
                        )));
                    }
                    version = true;
                }
                "chats" if !chats => {
                    chats = true;
                    if format && version {
                        map.next_value_seed(Chats {
                            importer: self.importer,
                        })?;
                    } else {
                        early = map.next_value()?;
                    }
                }
                "format" | "version" | "chats" => {
                    return Err(de::Error::custom(format!("{key} occurs twice")));
                }
                _ => return Err(de::Error::unknown_field(&key, &["format", "version", "chats"])),
            }
        }
        for (there, name) in [(format, "format"), (version, "version"), (chats, "chats")] {
            if !there {
                return Err(de::Error::missing_field(name));
            }
        }
        early.iter().try_for_each(|chat| self.importer.take(chat))
    }
}

struct Chats<'a, 't> {
    importer: &'a mut Importer<'t>,
}

impl<'de> DeserializeSeed<'de> for Chats<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Chats<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of chats")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(chat) = list.next_element::<ChatRecord>()? {
            self.importer.take(&chat)?;
        }
        Ok(())
    }
}
