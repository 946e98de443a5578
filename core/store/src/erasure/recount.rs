//! The sizes of everything an erasure takes from, counted without a look at how it does that.

use rusqlite::Connection;

use super::{EraseCounts, ErasePlan};
use crate::error::StoreError;

/// How much there is; of emptied turns, those that the plan names.
pub(super) fn sizes(connection: &Connection, plan: &ErasePlan) -> Result<EraseCounts, StoreError> {
    let count = |sql: &str| -> Result<u64, StoreError> {
        let count: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(count as u64)
    };
    let turns = serde_json::to_string(&plan.turns).map_err(|error| StoreError::Invalid(error.to_string()))?;
    let emptied: i64 = connection
        .prepare_cached(
            "SELECT count(DISTINCT m.seq) FROM json_each(?1) AS t JOIN message AS m ON m.id = unhex(t.value)
             WHERE m.text = '' AND m.reasoning = '' AND m.metadata ->> 'erased' = 1",
        )?
        .query_row([turns], |row| row.get(0))?;
    Ok(EraseCounts {
        memories: count("SELECT count(*) FROM memory")?,
        sources: count("SELECT count(*) FROM memory_source")?,
        turns: emptied as u64,
        chats: count("SELECT count(*) FROM chat")?,
        messages: count("SELECT count(*) FROM message")?,
        text_entries: count("SELECT count(*) FROM memory_search_docsize")?
            + count("SELECT count(*) FROM turn_search_docsize")?
            + count("SELECT count(*) FROM message_search_docsize")?,
        vectors: count("SELECT count(*) FROM memory_vector")? + count("SELECT count(*) FROM turn_vector")?,
        biography_sentences: count("SELECT count(*) FROM biography")?,
        jobs: count("SELECT count(*) FROM job")?,
        titles: count("SELECT count(*) FROM chat WHERE title <> ''")?,
    })
}

impl EraseCounts {
    /// What is gone since `before`. Emptied turns have become more, everything else fewer.
    pub(super) fn since(&self, before: &EraseCounts) -> EraseCounts {
        EraseCounts {
            memories: before.memories - self.memories,
            sources: before.sources - self.sources,
            turns: self.turns.saturating_sub(before.turns),
            chats: before.chats - self.chats,
            messages: before.messages - self.messages,
            text_entries: before.text_entries - self.text_entries,
            vectors: before.vectors - self.vectors,
            biography_sentences: before.biography_sentences - self.biography_sentences,
            jobs: before.jobs - self.jobs,
            titles: before.titles - self.titles,
        }
    }
}
