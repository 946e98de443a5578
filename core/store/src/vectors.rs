//! Embeddings of memories and turns, and the search for the nearest.
//!
//! The file holds them as 32-bit floats of length one, by row and model; several models live side by side, so that a
//! change of the model re-embeds in idle time while search goes on.

mod dot;
mod mirror;
mod search;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::memories::EmbeddedText;
use crate::recall_index::RowKey;
use crate::store::Store;

pub(crate) use mirror::{IndexMirror, Mirror};
pub(crate) use search::cosines;

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Index {
    /// Memories.
    Memories,
    /// Turns of chats: what was said and answered, in full, where memory isn't switched off.
    Turns,
}

/// Most dimensions a vector may have.
pub const MAX_DIMENSIONS: usize = 4096;

impl Index {
    /// The table of its vectors.
    pub(crate) fn vector_table(self) -> &'static str {
        match self {
            Index::Memories => "memory_vector",
            Index::Turns => "turn_vector",
        }
    }

    /// The rows it has, each with its text as `seq, text`.
    fn rows(self) -> &'static str {
        match self {
            Index::Memories => "SELECT seq, text FROM memory",
            Index::Turns => {
                "SELECT m.seq AS seq, hearth_turn(m.text, m.metadata) AS text
                 FROM message AS m JOIN chat AS c ON c.seq = m.chat
                 WHERE m.status = 'complete' AND m.role IN ('user', 'assistant') AND m.text <> '' AND c.memory = 1"
            }
        }
    }
}

/// A row that waits for its vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextToEmbed {
    /// The row.
    pub key: RowKey,
    /// What to embed: the memory, or what was said in the turn (see [`turn_words`](crate::turn_words)).
    pub text: String,
}

/// A model that some vectors are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmbeddingModel {
    /// The model's id.
    pub id: String,
    /// How many numbers its vectors have.
    pub dimensions: usize,
    /// Vectors of memories.
    pub memories: u64,
    /// Vectors of turns.
    pub turns: u64,
}

impl Store {
    /// Rows that have no vector of this model yet, the newest first, with the text to embed.
    pub fn rows_without_vector(
        &self,
        index: Index,
        model_id: &str,
        limit: usize,
    ) -> Result<Vec<TextToEmbed>, StoreError> {
        let model = model_seq(&self.connection, model_id)?.map_or(-1, |(seq, _)| seq);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT seq, text FROM ({}) AS r
             WHERE NOT EXISTS (SELECT 1 FROM {} AS v WHERE v.item = r.seq AND v.model = ?1)
             ORDER BY seq DESC LIMIT ?2",
            index.rows(),
            index.vector_table()
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map((model, limit), |row| {
            Ok(TextToEmbed {
                key: RowKey(row.get(0)?),
                text: row.get(1)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Stores vectors of one model, in one transaction; replaces those that are there. Rows that are gone meanwhile, or
    /// whose text is no longer `embedded`'s, are passed over. Says how many were stored.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a vector that is not of the model's dimensions, is all zero, or isn't finite.
    pub fn set_vectors(
        &mut self,
        index: Index,
        model_id: &str,
        embedded: &[(TextToEmbed, Vec<f32>)],
    ) -> Result<usize, StoreError> {
        let transaction = self.transaction()?;
        let mut stored = 0;
        for (row, vector) in embedded {
            let same: Option<bool> = transaction
                .prepare_cached(&format!(
                    "SELECT text = ?2 FROM ({}) AS r WHERE seq = ?1",
                    index.rows()
                ))?
                .query_row((row.key.0, &row.text), |row| row.get(0))
                .optional()?;
            if same == Some(true) {
                put(&transaction, index, row.key.0, EmbeddedText { model_id, vector })?;
                stored += 1;
            }
        }
        transaction.commit()?;
        Ok(stored)
    }

    /// The vector of a row, as stored: of length one.
    pub fn vector(&self, index: Index, key: RowKey, model_id: &str) -> Result<Option<Vec<f32>>, StoreError> {
        let bytes: Option<Vec<u8>> = self
            .connection
            .prepare_cached(&format!(
                "SELECT v.vector FROM {} AS v JOIN embedding_model AS e ON e.seq = v.model
                 WHERE v.item = ?1 AND e.id = ?2",
                index.vector_table()
            ))?
            .query_row((key.0, model_id), |row| row.get(0))
            .optional()?;
        Ok(bytes.map(|bytes| decode(&bytes)))
    }

    /// The models that vectors are of.
    pub fn embedding_models(&self) -> Result<Vec<EmbeddingModel>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, dimensions, (SELECT count(*) FROM memory_vector AS v WHERE v.model = e.seq),
                    (SELECT count(*) FROM turn_vector AS v WHERE v.model = e.seq)
             FROM embedding_model AS e ORDER BY seq",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(EmbeddingModel {
                id: row.get(0)?,
                dimensions: row.get::<_, i64>(1)? as usize,
                memories: row.get::<_, i64>(2)? as u64,
                turns: row.get::<_, i64>(3)? as u64,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Removes every vector of a model, as when another has taken its place everywhere.
    pub fn remove_vectors(&mut self, model_id: &str) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        if let Some((model, _)) = model_seq(&transaction, model_id)? {
            transaction.execute("DELETE FROM memory_vector WHERE model = ?1", [model])?;
            transaction.execute("DELETE FROM turn_vector WHERE model = ?1", [model])?;
            transaction.execute("DELETE FROM embedding_model WHERE seq = ?1", [model])?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// The inner number and the dimensions of a model.
fn model_seq(connection: &Connection, id: &str) -> Result<Option<(i64, usize)>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT seq, dimensions FROM embedding_model WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as usize)))
        .optional()?)
}

/// Stores the vector of a row.
///
/// # Errors
/// [`StoreError::Invalid`].
pub(crate) fn put(
    connection: &Connection,
    index: Index,
    item: i64,
    text: EmbeddedText<'_>,
) -> Result<(), StoreError> {
    let dimensions = text.vector.len();
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(StoreError::Invalid(format!(
            "a vector has 1 to {MAX_DIMENSIONS} numbers, not {dimensions}"
        )));
    }
    let vector = unit(text.vector)
        .ok_or_else(|| StoreError::Invalid("a vector has a direction: it is finite and not zero".into()))?;
    let model = match model_seq(connection, text.model_id)? {
        Some((model, known)) if known == dimensions => model,
        Some((_, known)) => {
            return Err(StoreError::Invalid(format!(
                "vectors of {} have {known} numbers, this one has {dimensions}",
                text.model_id
            )));
        }
        None => {
            connection
                .prepare_cached("INSERT INTO embedding_model (id, dimensions) VALUES (?1, ?2)")?
                .execute((text.model_id, dimensions as i64))?;
            connection.last_insert_rowid()
        }
    };
    connection
        .prepare_cached(&format!(
            "INSERT INTO {} (item, model, vector) VALUES (?1, ?2, ?3)
             ON CONFLICT (item, model) DO UPDATE SET vector = excluded.vector",
            index.vector_table()
        ))?
        .execute((item, model, encode(&vector)))?;
    Ok(())
}

/// Removes the vectors of a row.
pub(crate) fn remove(connection: &Connection, index: Index, item: i64) -> Result<usize, StoreError> {
    Ok(connection
        .prepare_cached(&format!("DELETE FROM {} WHERE item = ?1", index.vector_table()))?
        .execute([item])?)
}

/// `vector` brought to length one; `None` when it has no direction.
pub(crate) fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let length = vector
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt();
    if !length.is_finite() || length < 1e-30 {
        return None;
    }
    Some(vector.iter().map(|x| (f64::from(*x) / length) as f32).collect())
}

pub(crate) fn encode(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

pub(crate) fn decode(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|chunk| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))
        .collect()
}
