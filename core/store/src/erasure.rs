//! Erasing for good: what would go is shown first, part by part; then it goes in one transaction, and a receipt says what
//! went.
//!
//! The plan is noted before it is carried out, and the receipt before the write-ahead log is emptied, so that opening
//! the store ends what a crash cut short. What was erased is remembered by its id alone: no import and no backup brings
//! it back.

mod carry_out;
mod preview;
mod recount;
mod replay;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::id::{ChatId, ErasureId, MemoryId, MessageId};
use crate::store::Store;
use crate::sync::Author;

pub(crate) use carry_out::{EMPTIED, delete_chat, remove_memories};
pub use preview::{
    EraseChat, EraseMemory, EraseMore, ErasePreview, EraseScope, EraseTurn, MemoryReason, TurnReason,
};
pub use replay::{Erased, ErasedKind};
pub(crate) use replay::{is_erased, replay};

/// What is to be erased: everything that stayed ticked. Ids of what is gone already are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasePlan {
    /// Memories. What they had superseded and isn't named here itself goes to review.
    #[serde(default)]
    pub memories: Vec<MemoryId>,
    /// Turns to be replaced by nothing: the message stays in its place, empty.
    #[serde(default)]
    pub turns: Vec<MessageId>,
    /// Chats, whole.
    #[serde(default)]
    pub chats: Vec<ChatId>,
    /// Those of the memories of which everything goes that says the same, on other devices too.
    #[serde(default)]
    pub alike: Vec<MemoryId>,
    /// Memories that the person keeps, though they would go with the others.
    #[serde(default)]
    pub kept_memories: Vec<MemoryId>,
    /// Turns that the person keeps, though they would go with a memory.
    #[serde(default)]
    pub kept_turns: Vec<MessageId>,
}

/// How much an erasure removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseCounts {
    /// Memories.
    pub memories: u64,
    /// Links of memories to the turns they were drawn from.
    pub sources: u64,
    /// Turns that were emptied.
    pub turns: u64,
    /// Chats.
    pub chats: u64,
    /// Messages of these chats.
    pub messages: u64,
    /// Entries of the full-text indexes.
    pub text_entries: u64,
    /// Vectors of all models.
    pub vectors: u64,
    /// Sentences of the biography.
    pub biography_sentences: u64,
    /// Jobs that were to work on what is gone.
    pub jobs: u64,
    /// Titles: of these chats, and of others that were drawn from an emptied turn.
    pub titles: u64,
}

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseReceipt {
    /// Names the erasure.
    pub id: ErasureId,
    /// When it was asked for; milliseconds since the Unix epoch.
    pub erased_at_ms: i64,
    /// The memories that went.
    pub memories: Vec<MemoryId>,
    /// The turns that were emptied.
    pub turns: Vec<MessageId>,
    /// The chats that went.
    pub chats: Vec<ChatId>,
    /// Older versions that stayed, and are to be confirmed now.
    pub to_review: Vec<MemoryId>,
    /// What was removed, as it was removed.
    pub counts: EraseCounts,
    /// The same, as the difference of the tables' sizes before and after, counted by other code.
    pub recount: EraseCounts,
    /// Whether the write-ahead log was emptied too. When not (another program reads the database), the next erasure, the
    /// engine's end or its next start does it.
    #[serde(default)]
    pub log_emptied: bool,
}

/// Carries out a plan and counts twice what went.
fn counted(
    connection: &Connection,
    plan: &ErasePlan,
    id: ErasureId,
    erased_at_ms: i64,
    author: Author,
) -> Result<EraseReceipt, StoreError> {
    let before = recount::sizes(connection, plan)?;
    let mut receipt = carry_out::carry_out(connection, plan, id, erased_at_ms, author)?;
    receipt.recount = recount::sizes(connection, plan)?.since(&before);
    Ok(receipt)
}

/// Carries out a plan that another device made, within the caller's transaction, and keeps the receipt. The log is emptied
/// by [`Store::settle_erasures`] after it.
pub(crate) fn run_plan(
    connection: &Connection,
    plan: &ErasePlan,
    id: ErasureId,
    now_ms: i64,
) -> Result<EraseReceipt, StoreError> {
    let receipt = counted(connection, plan, id, now_ms, Author::Machine)?;
    let document = serde_json::to_string(&receipt).map_err(|error| StoreError::Invalid(error.to_string()))?;
    connection
        .prepare_cached(
            "INSERT INTO erasure (id, erased_at_ms, state, document) VALUES (?1, ?2, 'done', ?3)",
        )?
        .execute((id, now_ms, document))?;
    Ok(receipt)
}

/// Notes that something went which no receipt tells of, within the caller's transaction: the log is emptied after it, also
/// when the program is killed in between.
pub(crate) fn note_unsettled(connection: &Connection, now_ms: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO erasure (id, erased_at_ms, state, document) VALUES (?1, ?2, 'done', 'null')",
        )?
        .execute((ErasureId::random(), now_ms))?;
    Ok(())
}

impl Store {
    /// Erases what `plan` names: from the tables, the full-text indexes, the vectors, the queue of jobs and the biography
    /// in one transaction, then from the write-ahead log.
    ///
    /// Once the plan is noted (the first thing that is written) it is carried out sooner or later: when this fails or the
    /// program ends before it is through, opening the store goes on with it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a turn that is still being written; nothing is noted then. [`StoreError::Full`].
    pub fn erase(&mut self, plan: &ErasePlan, now_ms: i64) -> Result<EraseReceipt, StoreError> {
        carry_out::check(&self.connection, plan)?;
        let id = ErasureId::random();
        let document = serde_json::to_string(plan).map_err(|error| StoreError::Invalid(error.to_string()))?;
        self.connection
            .prepare_cached(
                "INSERT INTO erasure (id, erased_at_ms, state, document) VALUES (?1, ?2, 'begun', ?3)",
            )?
            .execute((id, now_ms, document))?;
        let receipt = self.carry_out(id)?;
        Ok(EraseReceipt {
            log_emptied: self.settle_erasures()?,
            ..receipt
        })
    }

    /// Carries out an erasure that was noted.
    fn carry_out(&mut self, id: ErasureId) -> Result<EraseReceipt, StoreError> {
        let transaction = self.transaction()?;
        let (erased_at_ms, document): (i64, String) = transaction.query_row(
            "SELECT erased_at_ms, document FROM erasure WHERE id = ?1 AND state = 'begun'",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let plan: ErasePlan =
            serde_json::from_str(&document).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let receipt = counted(&transaction, &plan, id, erased_at_ms, Author::Person)?;
        let document =
            serde_json::to_string(&receipt).map_err(|error| StoreError::Invalid(error.to_string()))?;
        transaction.execute(
            "UPDATE erasure SET state = 'done', document = ?2 WHERE id = ?1",
            (id, document),
        )?;
        transaction.commit()?;
        Ok(receipt)
    }

    /// Empties the log after erasures; says whether that could be done. Where not, the next erasure, the next call or the
    /// next opening of the store does it.
    ///
    /// # Errors
    /// [`StoreError::Full`] and others of the database.
    pub fn settle_erasures(&mut self) -> Result<bool, StoreError> {
        match self.truncate_log() {
            Ok(()) => {
                self.connection.execute_batch(
                    "DELETE FROM erasure WHERE state = 'done' AND document = 'null';
                     UPDATE erasure SET state = 'settled' WHERE state = 'done';",
                )?;
                Ok(true)
            }
            Err(StoreError::LogInUse) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends erasures that were cut short; says how many. Opening a store does this already. One that can't be carried out
    /// keeps nobody from opening the store: it stays noted.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    pub fn resume_erasures(&mut self) -> Result<usize, StoreError> {
        let open: Vec<(ErasureId, bool)> = self
            .connection
            .prepare_cached("SELECT id, state = 'begun' FROM erasure WHERE state <> 'settled' ORDER BY seq")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        if open.is_empty() {
            return Ok(0);
        }
        let mut ended = 0;
        for (id, begun) in open {
            if begun {
                match self.carry_out(id) {
                    Ok(_) => {}
                    Err(StoreError::Full) => return Err(StoreError::Full),
                    Err(error) => {
                        tracing::error!(%id, %error, "an erasure that was begun can't be ended");
                        continue;
                    }
                }
            }
            ended += 1;
        }
        self.settle_erasures()?;
        Ok(ended)
    }

    /// The receipt of an erasure.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for one that was begun but isn't done.
    pub fn erase_receipt(&self, id: ErasureId) -> Result<EraseReceipt, StoreError> {
        let found: Option<(String, bool)> = self
            .connection
            .prepare_cached(
                "SELECT document, state = 'settled' FROM erasure
                 WHERE id = ?1 AND state <> 'begun' AND document <> 'null'",
            )?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (document, settled) = found.ok_or_else(|| StoreError::not_found("erasure", id))?;
        let receipt: EraseReceipt =
            serde_json::from_str(&document).map_err(|error| StoreError::Invalid(error.to_string()))?;
        Ok(EraseReceipt {
            log_emptied: settled,
            ..receipt
        })
    }

    /// The ids of all erasures that were done, the latest first.
    pub fn erasures(&self) -> Result<Vec<ErasureId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM erasure WHERE state <> 'begun' AND document <> 'null' ORDER BY seq DESC",
        )?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
