//! The biography: sentences that are always in context, each with the memories it was made from.

use rusqlite::Connection;
use serde::Serialize;

use crate::error::StoreError;
use crate::id::MemoryId;
use crate::memories::memory_seq;
use crate::store::Store;

/// A sentence of the biography.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BiographySentence {
    /// The sentence.
    pub text: String,
    /// The memories it was made from; at least one.
    pub sources: Vec<MemoryId>,
}

/// The biography as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Biography {
    /// Its sentences, in order.
    pub sentences: Vec<BiographySentence>,
    /// When it was last built; `None` for never. Milliseconds since the Unix epoch.
    pub built_at_ms: Option<i64>,
    /// A sentence was dropped since, because what it was made from was erased, changed or superseded.
    pub stale: bool,
}

impl Store {
    /// Replaces the biography.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when a source was erased meanwhile; [`StoreError::Invalid`] for a sentence without one.
    pub fn set_biography(&mut self, sentences: &[BiographySentence], now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        transaction.execute("DELETE FROM biography WHERE seq > 0", [])?;
        for sentence in sentences {
            if sentence.sources.is_empty() {
                return Err(StoreError::Invalid(
                    "a sentence of the biography needs a source".into(),
                ));
            }
            transaction
                .prepare_cached("INSERT INTO biography (text) VALUES (?1)")?
                .execute([&sentence.text])?;
            let seq = transaction.last_insert_rowid();
            for source in &sentence.sources {
                transaction
                    .prepare_cached(
                        "INSERT OR IGNORE INTO biography_source (sentence, memory) VALUES (?1, ?2)",
                    )?
                    .execute((seq, memory_seq(&transaction, *source)?))?;
            }
        }
        transaction.execute(
            "UPDATE memory_state SET biography_built_at_ms = ?1, biography_stale = 0 WHERE one = 1",
            [now_ms],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// The biography as it stands.
    pub fn biography(&self) -> Result<Biography, StoreError> {
        let (built_at_ms, stale) = self
            .connection
            .prepare_cached("SELECT biography_built_at_ms, biography_stale FROM memory_state")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut sources = self.connection.prepare_cached(
            "SELECT m.id FROM biography_source AS s JOIN memory AS m ON m.seq = s.memory
             WHERE s.sentence = ?1 ORDER BY s.memory",
        )?;
        let sentences = self
            .connection
            .prepare_cached("SELECT seq, text FROM biography ORDER BY seq")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .map(|row| {
                let (seq, text): (i64, String) = row?;
                let sources = sources
                    .query_map([seq], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                Ok(BiographySentence { text, sources })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Biography {
            sentences,
            built_at_ms,
            stale,
        })
    }
}

/// Drops the sentences that a memory was used for, and notes that the biography is to be built anew.
pub(crate) fn drop_drawn_from(connection: &Connection, memory: i64) -> Result<usize, StoreError> {
    let dropped = connection
        .prepare_cached(
            "DELETE FROM biography WHERE seq IN (SELECT sentence FROM biography_source WHERE memory = ?1)",
        )?
        .execute([memory])?;
    if dropped > 0 {
        connection
            .prepare_cached("UPDATE memory_state SET biography_stale = 1 WHERE one = 1")?
            .execute([])?;
    }
    Ok(dropped)
}
