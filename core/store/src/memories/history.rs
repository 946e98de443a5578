//! What a memory took the place of, and which answers name it.

use std::collections::HashSet;

use super::{MEMORY, MEMORY_TABLES, Memory, memory_from, memory_seq, with_sources};
use crate::error::StoreError;
use crate::id::{MemoryId, MessageId};
use crate::store::Store;

impl Store {
    /// Every memory that `id` took the place of, directly or by way of others, the latest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn earlier_versions(&self, id: MemoryId) -> Result<Vec<Memory>, StoreError> {
        let seq = memory_seq(&self.connection, id)?;
        let found = self
            .connection
            .prepare_cached(&format!(
                "WITH RECURSIVE earlier (seq) AS (
                     SELECT seq FROM memory WHERE superseded_by = ?1
                     UNION
                     SELECT m.seq FROM memory AS m JOIN earlier AS e ON m.superseded_by = e.seq
                 )
                 SELECT {MEMORY} FROM {MEMORY_TABLES} WHERE m.seq IN (SELECT seq FROM earlier)
                 ORDER BY m.created_at_ms DESC, m.seq DESC"
            ))?
            .query_map([seq], memory_from)?
            .collect::<Result<Vec<_>, _>>()?;
        found
            .into_iter()
            .map(|memory| with_sources(&self.connection, memory))
            .collect()
    }

    /// Answers whose metadata names one of these ids, wherever in it; the oldest first. Looks at every answer, once.
    pub fn messages_naming(&self, ids: &HashSet<[u8; 16]>) -> Result<Vec<MessageId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, metadata FROM message WHERE role = 'assistant' AND metadata <> 'null' ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        let mut naming = Vec::new();
        while let Some(row) = rows.next()? {
            let metadata = row.get_ref(1)?.as_str().unwrap_or_default();
            if ids_in(metadata).any(|id| ids.contains(&id)) {
                naming.push(row.get(0)?);
            }
        }
        Ok(naming)
    }
}

/// Everything in a text that reads as an id.
fn ids_in(text: &str) -> impl Iterator<Item = [u8; 16]> + '_ {
    text.split(|c: char| !c.is_ascii_hexdigit())
        .filter_map(|digits| digits.parse().ok())
        .map(|id: MemoryId| *id.as_bytes())
}
