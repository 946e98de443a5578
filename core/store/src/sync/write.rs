//! One transaction for all that a step of the device machine writes.

use hearth_protocol::id::{Handle, LogId};

use super::{SyncContent, SyncDocument, SyncItem, apply, capture, erase, journal};
use crate::erasure::{ErasePlan, EraseReceipt, note_unsettled};
use crate::error::StoreError;
use crate::id::{ChatId, MemoryId};
use crate::jobs::{NewJob, enqueue};
use crate::store::Store;

/// A record of the device machine's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRecord {
    /// A part of the journal.
    pub space: u8,
    /// The key within it.
    pub key: Vec<u8>,
    /// The value; `None` removes the record.
    pub value: Option<Vec<u8>>,
}

/// A document to keep, and what its thing is by it.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentWrite {
    /// The document.
    pub document: SyncDocument,
    /// What the thing now is, when that may have changed here: with all of its documents taken together.
    pub content: Option<SyncContent>,
    /// The content is more than its lowest document says: it stays noted as changed, so that that document follows.
    pub more: bool,
}

/// A piece of a large document on its way here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncPiece {
    /// The document.
    pub handle: Handle,
    /// The log that it comes in.
    pub log: LogId,
    /// Which one, from 0.
    pub place: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An erasure that another device ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureOrder {
    /// Its id.
    pub erase: [u8; 32],
    /// Handles and marks.
    pub handles: Vec<Handle>,
    /// Memories and turns here that go with it, though its author didn't know of them. They are [`ErasureDone::more`].
    pub also: ErasePlan,
}

/// Everything that a step writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SyncBatch {
    /// The machine's journal.
    pub records: Vec<SyncRecord>,
    /// Erasures, carried out before documents are written.
    pub erasures: Vec<ErasureOrder>,
    /// Documents.
    pub documents: Vec<DocumentWrite>,
    /// Pieces to keep until the last one is here. Those of erased handles are passed over.
    pub pieces: Vec<SyncPiece>,
    /// Pieces that were put together, or are of no use: these documents' in these logs. Those of `pieces` come behind.
    pub assembled: Vec<(Handle, LogId)>,
    /// Marks of what is in its documents now ([`Store::dirty`]).
    pub clear: Vec<i64>,
    /// Erasures of this device's that the machine has taken over ([`Store::outgoing_erasures`]).
    pub ordered: Vec<Handle>,
    /// Keys go with this for good that the journal held: the write-ahead log is emptied after it.
    pub forgets: bool,
    /// A job of this kind is put into the queue for every memory that wasn't here before, with its id (32 hexadecimal digits)
    /// as the key: what is to be done about it is done, whatever ends the program first.
    pub job_of_new: Option<&'static str>,
}

/// An erasure that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureDone {
    /// The erasure's id.
    pub erase: [u8; 32],
    /// SHA-256 of the journal: 16 random bytes, then the steps and how much each removed.
    pub journal: [u8; 32],
    /// Handles and marks that the closure reached beyond the order. They are in [`Store::outgoing_erasures`] too, until
    /// they are given back as [`SyncBatch::ordered`].
    pub more: Vec<Handle>,
    /// Things of which a document went and another is left: to be written again from that.
    pub rebuild: Vec<SyncItem>,
    /// What was removed, where anything was by a mark.
    pub receipt: Option<EraseReceipt>,
}

/// What came of a [`SyncBatch`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Memories that weren't here before: to be compared with what was.
    pub new_memories: Vec<MemoryId>,
    /// Memories whose text, kind or status changed: to be compared again.
    pub changed_memories: Vec<MemoryId>,
    /// Chats that are new or changed. What is said in them was mined elsewhere.
    pub changed_chats: Vec<ChatId>,
    /// Groups of settings that changed.
    pub settings: Vec<String>,
    /// Documents of things that were erased: not kept, and ordered to be erased everywhere.
    pub refused: Vec<Handle>,
    /// Documents that were kept, though what they say can't be stored, and why.
    pub rejected: Vec<(Handle, String)>,
    /// Erasures that were carried out.
    pub erasures: Vec<ErasureDone>,
    /// What went may still be in the write-ahead log, because another program reads the database. Until
    /// [`Store::settle_erasures`] says that it is empty, nothing here counts as erased: an erasure isn't acknowledged.
    pub log_in_use: bool,
    /// Things whose document holds what was erased.
    pub(super) to_replace: Vec<SyncItem>,
}

impl Store {
    /// Writes all of a batch, or nothing. Documents of erased handles are passed over. After an erasure, and after the end
    /// of a key, the write-ahead log is emptied, or [`SyncReport::log_in_use`] says that it isn't.
    ///
    /// What a document says and the database doesn't take leaves no trace, and is [`SyncReport::rejected`]: the rest is
    /// written, and the next batch comes.
    ///
    /// # Errors
    /// [`StoreError::Full`] and others of the database; nothing is written then. When emptying the log fails, everything
    /// is written.
    pub fn sync_write(&mut self, batch: &SyncBatch, now_ms: i64) -> Result<SyncReport, StoreError> {
        let mut report = SyncReport::default();
        let mut transaction = self.transaction()?;
        let forgotten = journal::write(&transaction, &batch.records)?;
        if !batch.erasures.is_empty() {
            // What is kept for other devices may hold sealed bodies of it; they send again what lives.
            super::peer::forget(&transaction)?;
        }
        for order in &batch.erasures {
            let done = erase::carry_out(&transaction, order, now_ms)?;
            report.erasures.push(done);
        }
        for (handle, log) in &batch.assembled {
            transaction
                .prepare_cached("DELETE FROM sync_piece WHERE handle = ?1 AND log = ?2")?
                .execute((handle.0, log.0))?;
        }
        for piece in &batch.pieces {
            if !erase::is_ordered(&transaction, &piece.handle)? {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO sync_piece (handle, log, place, bytes) VALUES (?1, ?2, ?3, ?4)")?
                    .execute((piece.handle.0, piece.log.0, piece.place, &piece.bytes))?;
            }
        }
        for write in &batch.documents {
            let document = &write.document;
            if erase::is_ordered(&transaction, &document.handle)? {
                continue;
            }
            keep(&transaction, document)?;
            let Some(content) = &write.content else { continue };
            // What turns out not to fit leaves nothing behind.
            let attempt = transaction.savepoint()?;
            let mut found = SyncReport::default();
            match apply::apply(&attempt, content, write.more, &mut found) {
                Ok(true) => {
                    attempt.commit()?;
                    report.take(found);
                }
                Ok(false) => {
                    attempt.finish()?;
                    erase::refuse(&transaction, &document.handle)?;
                    report.refused.push(document.handle);
                }
                Err(StoreError::Invalid(reason)) => {
                    attempt.finish()?;
                    report.rejected.push((document.handle, reason));
                }
                Err(error) if error.is_constraint() => {
                    attempt.finish()?;
                    report
                        .rejected
                        .push((document.handle, "the database doesn't take it".into()));
                }
                Err(error) => return Err(error),
            }
        }
        for item in &report.to_replace {
            erase::order_documents(&transaction, item)?;
            capture::touch(&transaction, item)?;
        }
        capture::clear(&transaction, &batch.clear)?;
        if let Some(kind) = batch.job_of_new {
            for memory in &report.new_memories {
                let job = NewJob {
                    kind: kind.to_owned(),
                    key: memory.to_string(),
                    payload: serde_json::Value::Null,
                    not_before_ms: now_ms,
                };
                enqueue(&transaction, &job)?;
            }
        }
        for handle in &batch.ordered {
            transaction
                .prepare_cached("DELETE FROM sync_outgoing_erasure WHERE handle = ?1")?
                .execute([handle.0])?;
        }
        let forgotten = forgotten || batch.forgets;
        let other = !report.refused.is_empty() || !report.to_replace.is_empty() || forgotten;
        if other && report.erasures.is_empty() {
            note_unsettled(&transaction, now_ms)?;
        }
        transaction.commit()?;
        if other || !report.erasures.is_empty() {
            report.log_in_use = !self.settle_erasures()?;
        }
        Ok(report)
    }

    /// Handles and marks that were erased here and have yet to be ordered of the other devices, the oldest first.
    pub fn outgoing_erasures(&self, limit: usize) -> Result<Vec<Handle>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT handle FROM sync_outgoing_erasure ORDER BY seq LIMIT ?1")?;
        let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            row.get(0).map(Handle)
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The pieces of a document that came in a log and weren't put together yet, in order.
    pub fn sync_pieces(&self, handle: Handle, log: LogId) -> Result<Vec<SyncPiece>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT place, bytes FROM sync_piece WHERE handle = ?1 AND log = ?2 ORDER BY place",
        )?;
        let rows = statement.query_map((handle.0, log.0), |row| {
            Ok(SyncPiece {
                handle,
                log,
                place: row.get(0)?,
                bytes: row.get(1)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Gives a thing up its documents, here and everywhere, and notes it as changed: it goes on in a new one with what it is
    /// here.
    pub fn replace_documents(&mut self, item: &SyncItem) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        erase::order_documents(&transaction, item)?;
        capture::touch(&transaction, item)?;
        transaction.commit()?;
        Ok(())
    }

    /// What an order names that is here: memories and turns; of the memories apart those of which everything goes that says
    /// the same.
    pub fn named_by_order(&self, handles: &[Handle]) -> Result<ErasePlan, StoreError> {
        erase::named(&self.connection, handles)
    }

    /// Takes from a plan that follows from an order what the person keeps.
    pub fn spare_kept(&self, handles: &[Handle], plan: &mut ErasePlan) -> Result<(), StoreError> {
        erase::spare(&self.connection, handles, plan)
    }

    /// Whether a handle is erased for ever.
    pub fn is_erased_handle(&self, handle: Handle) -> Result<bool, StoreError> {
        erase::is_ordered(&self.connection, &handle)
    }
}

impl SyncReport {
    fn take(&mut self, mut other: SyncReport) {
        self.new_memories.append(&mut other.new_memories);
        self.changed_memories.append(&mut other.changed_memories);
        self.changed_chats.append(&mut other.changed_chats);
        self.settings.append(&mut other.settings);
        self.to_replace.append(&mut other.to_replace);
    }
}

fn keep(connection: &rusqlite::Connection, document: &SyncDocument) -> Result<(), StoreError> {
    let published: Vec<u8> = document.published.iter().flatten().copied().collect();
    connection
        .prepare_cached(
            "INSERT INTO sync_document (handle, kind, local, document, published) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (handle) DO UPDATE SET kind = excluded.kind, local = excluded.local,
                 document = excluded.document, published = excluded.published",
        )?
        .execute((
            document.handle.0,
            document.item.kind as u8,
            &document.item.local,
            &document.document,
            published,
        ))?;
    Ok(())
}
