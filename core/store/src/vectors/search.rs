//! The nearest vectors: a scan of the mirror's 8-bit vectors, then the best of them with the query as it is, then the
//! very best by the file's own numbers.

use std::collections::HashMap;

use super::mirror::{IndexMirror, Matrix, quantize};
use super::{Index, decode, dot, model_seq, unit};
use crate::error::StoreError;
use crate::recall_index::{Filter, RowKey, Sieve, best};
use crate::store::Store;

/// So many more than asked for are looked at with the query as it is, which the scan has rounded.
const MARGIN: usize = 64;
/// So many are read from the file. Each is a page to be read and decrypted, and for the rest what the mirror says is near
/// enough: within 0.005.
const EXACT: usize = 32;

impl Store {
    /// Rows by the cosine of their vector and `query`, the nearest first: exact for the nearest 32, and within 0.005 for
    /// the rest. Rows without a vector of this model aren't
    /// found; nothing is, when no row has one.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when `query` isn't of the model's dimensions or has no direction;
    /// [`StoreError::NotFound`] for an unknown chat in the filter.
    pub fn search_vectors(
        &self,
        index: Index,
        model_id: &str,
        query: &[f32],
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<(RowKey, f32)>, StoreError> {
        let Some((model, unit_query)) = ready(self, model_id, query)? else {
            return Ok(Vec::new());
        };
        let mirror = self.mirror(index)?;
        let Some(matrix) = mirror.models.get(&model) else {
            return Ok(Vec::new());
        };
        let sieve = Sieve::new(&self.connection, index, filter)?;
        let mut near: Vec<(f32, usize)> =
            scan(&mirror, matrix, &sieve, &unit_query, limit.saturating_add(MARGIN))
                .into_iter()
                .map(|slot| (matrix.cosine(slot, &unit_query), slot))
                .collect();
        near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        near.truncate(limit);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT vector FROM {} WHERE seq = ?1",
            index.vector_table()
        ))?;
        let mut found = Vec::with_capacity(near.len());
        for (rank, (mut cosine, slot)) in near.into_iter().enumerate() {
            let row = matrix.rows[slot];
            if rank < EXACT {
                cosine = statement.query_row([row.vector], |found| {
                    let vector = decode(found.get_ref(0)?.as_blob()?);
                    Ok(vector.iter().zip(&unit_query).map(|(a, b)| a * b).sum::<f32>())
                })?;
            }
            found.push((RowKey(row.item), cosine));
        }
        best(&mut found, limit);
        Ok(found)
    }
}

/// The model's inner number and the query at length one; `None` for a model that no vector is of.
fn ready(store: &Store, model_id: &str, query: &[f32]) -> Result<Option<(i64, Vec<f32>)>, StoreError> {
    let unit_query = unit(query)
        .ok_or_else(|| StoreError::Invalid("a query has a direction: it is finite and not zero".into()))?;
    let Some((model, dimensions)) = model_seq(&store.connection, model_id)? else {
        return Ok(None);
    };
    if dimensions != query.len() {
        return Err(StoreError::Invalid(format!(
            "vectors of {model_id} have {dimensions} numbers, the query has {}",
            query.len()
        )));
    }
    Ok(Some((model, unit_query)))
}

/// See [`Store::cosines`].
pub(crate) fn cosines(
    store: &Store,
    index: Index,
    model_id: &str,
    query: &[f32],
    rows: &[RowKey],
) -> Result<HashMap<RowKey, f32>, StoreError> {
    let Some((model, unit_query)) = ready(store, model_id, query)? else {
        return Ok(HashMap::new());
    };
    let mirror = store.mirror(index)?;
    let Some(matrix) = mirror.models.get(&model) else {
        return Ok(HashMap::new());
    };
    let found = rows.iter().filter_map(|key| {
        let slot = matrix.slot_of(key.0)?;
        Some((*key, matrix.cosine(slot, &unit_query)))
    });
    Ok(found.collect())
}

/// The `limit` slots whose 8-bit vectors are nearest to `query`, in no order.
fn scan(mirror: &IndexMirror, matrix: &Matrix, sieve: &Sieve, query: &[f32], limit: usize) -> Vec<usize> {
    let (_, codes) = quantize(query);
    let codes: Vec<i8> = codes.collect();
    let mut dots = Vec::with_capacity(matrix.rows.len());
    dot::dots(&matrix.codes, &codes, &mut dots);
    let mut scores: Vec<(f32, usize)> = matrix
        .rows
        .iter()
        .zip(dots)
        .enumerate()
        .filter(|(_, (row, _))| {
            let facts = mirror.facts_at(row.place);
            facts.is_some_and(|(item, facts)| sieve.lets(*item, facts))
        })
        .map(|(slot, (row, dot))| (dot as f32 * row.scale, slot))
        .collect();
    if scores.len() > limit {
        scores.select_nth_unstable_by(limit, |a, b| b.0.total_cmp(&a.0));
        scores.truncate(limit);
    }
    scores.into_iter().map(|(_, slot)| slot).collect()
}
