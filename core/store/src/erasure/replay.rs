//! The ids of what was erased, which outlive it.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::{ErasePlan, carry_out};
use crate::error::StoreError;
use crate::id::{ChatId, ErasureId, MemoryId, MessageId};
use crate::names::names;
use crate::store::Store;
use crate::sync::Author;

names! {
    /// What an erased id named.
    ErasedKind {
        /// A memory.
        Memory = "memory",
        /// A turn of a chat.
        Message = "message",
        /// A chat.
        Chat = "chat",
    }
}

/// The id of something that was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Erased {
    /// The bytes of the id.
    pub id: [u8; 16],
    /// What it named.
    pub what: ErasedKind,
    /// When it was erased; milliseconds since the Unix epoch.
    pub erased_at_ms: i64,
}

impl Store {
    /// Everything that was ever erased here, by id: what a restored backup must not bring back
    /// ([`Store::restore_locked`]).
    pub fn erased(&self) -> Result<Vec<Erased>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, what, erased_at_ms FROM erased ORDER BY id")?;
        let rows = statement.query_map([], |row| {
            Ok(Erased {
                id: row.get(0)?,
                what: row.get(1)?,
                erased_at_ms: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Whether this id is one of something erased.
pub(crate) fn is_erased(
    connection: &Connection,
    id: &[u8; 16],
    what: ErasedKind,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM erased WHERE id = ?1 AND what = ?2")?
        .query_row((id, what), |_| Ok(()))
        .optional()?
        .is_some())
}

pub(super) fn note_erased(
    connection: &Connection,
    id: &[u8; 16],
    what: ErasedKind,
    now_ms: i64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO erased (id, what, erased_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?
        .execute((id, what, now_ms))?;
    Ok(())
}

/// Erases in a database that is not a profile's yet what was erased elsewhere, in one transaction.
pub(crate) fn replay(connection: &mut Connection, erased: &[Erased]) -> Result<(), StoreError> {
    if erased.is_empty() {
        return Ok(());
    }
    let mut plan = ErasePlan::default();
    for one in erased {
        match one.what {
            ErasedKind::Memory => plan.memories.push(MemoryId::from_bytes(one.id)),
            ErasedKind::Message => plan.turns.push(MessageId::from_bytes(one.id)),
            ErasedKind::Chat => plan.chats.push(ChatId::from_bytes(one.id)),
        }
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for one in erased {
        // With its own time, which the plan's would not overwrite.
        note_erased(&transaction, &one.id, one.what, one.erased_at_ms)?;
    }
    let latest = erased
        .iter()
        .map(|one| one.erased_at_ms)
        .max()
        .unwrap_or_default();
    carry_out::carry_out(&transaction, &plan, ErasureId::random(), latest, Author::Machine)?;
    transaction.commit()?;
    Ok(())
}
