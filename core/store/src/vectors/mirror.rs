//! A copy in memory of what search looks at in every row: the facts that filters ask for, and 8-bit vectors.
//!
//! The file is the only truth. The copy is read from it at the first search, and from then on SQLite itself names every
//! row that any statement touched (its update hook); before a search these rows are read again. Rows of transactions
//! that were rolled back are named too, and read again in vain. So nothing that writes has to think of the copy.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Index, decode};
use crate::error::StoreError;
use crate::recall_index::{Facts, kind_bit, state_bit};

/// Rows touched since they were last read, by their numbers.
#[derive(Debug, Default)]
struct Touched {
    items: HashSet<i64, SeqHash>,
    vectors: HashSet<i64, SeqHash>,
}

/// Where SQLite's update hook and the mirrors meet; `None` until an index was read.
#[derive(Debug, Default)]
struct Ledger {
    memories: Option<Touched>,
    turns: Option<Touched>,
}

impl Ledger {
    fn of(&mut self, index: Index) -> &mut Option<Touched> {
        match index {
            Index::Memories => &mut self.memories,
            Index::Turns => &mut self.turns,
        }
    }

    fn touch(&mut self, table: &str, row: i64) {
        let (touched, vector) = match table {
            "memory" => (&mut self.memories, false),
            "memory_vector" => (&mut self.memories, true),
            "message" => (&mut self.turns, false),
            "turn_vector" => (&mut self.turns, true),
            _ => return,
        };
        if let Some(touched) = touched {
            let rows = if vector {
                &mut touched.vectors
            } else {
                &mut touched.items
            };
            rows.insert(row);
        }
    }
}

/// The mirrors of both indexes.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    ledger: Arc<Mutex<Ledger>>,
    memories: IndexMirror,
    turns: IndexMirror,
}

impl Mirror {
    /// Begins to listen to `connection`; what was read before, from another one, is forgotten.
    pub(crate) fn listen(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        *self = Mirror::default();
        let ledger = Arc::clone(&self.ledger);
        connection.update_hook(Some(move |_, _: &str, table: &str, row| {
            ledger
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .touch(table, row);
        }))?;
        Ok(())
    }

    /// Makes the mirror of `index` what the file is now.
    pub(crate) fn update(&mut self, connection: &Connection, index: Index) -> Result<(), StoreError> {
        let mirror = match index {
            Index::Memories => &mut self.memories,
            Index::Turns => &mut self.turns,
        };
        // Taken out first: when reading fails, everything is read at the next try.
        let touched = self
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of(index)
            .take();
        match touched {
            Some(touched) if touched.items.len() + touched.vectors.len() <= 1000 + mirror.facts.len() / 4 => {
                mirror.refresh(connection, index, &touched)?;
            }
            _ => *mirror = IndexMirror::read(connection, index)?,
        }
        *self
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of(index) = Some(Touched::default());
        Ok(())
    }

    /// The mirror of `index` as it was when it was last made current.
    pub(crate) fn of(&self, index: Index) -> &IndexMirror {
        match index {
            Index::Memories => &self.memories,
            Index::Turns => &self.turns,
        }
    }
}

/// The mirror of one index.
#[derive(Debug, Default)]
pub(crate) struct IndexMirror {
    /// Where in `facts` an item is.
    places: HashMap<i64, u32, SeqHash>,
    /// Each with the item's number; a free place has none.
    facts: Vec<Option<(i64, Facts)>>,
    free: Vec<u32>,
    pub(super) models: HashMap<i64, Matrix, SeqHash>,
    /// Which model a vector is of.
    model_of: HashMap<i64, i64, SeqHash>,
}

/// The vectors of one model as 8-bit numbers, each with a scale.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    pub(super) dimensions: usize,
    /// One after the other.
    pub(super) codes: Vec<i8>,
    pub(super) rows: Vec<MatrixRow>,
    /// Where in `rows` a vector is, by its number in the file.
    slots: HashMap<i64, u32, SeqHash>,
    /// The same, by its item's number: an item has one vector of a model.
    by_item: HashMap<i64, u32, SeqHash>,
}

impl Matrix {
    /// Where the vector of an item is.
    pub(super) fn slot_of(&self, item: i64) -> Option<usize> {
        self.by_item.get(&item).map(|slot| *slot as usize)
    }

    /// The cosine of a vector and a query of length one, as near as 8 bits tell.
    pub(super) fn cosine(&self, slot: usize, query: &[f32]) -> f32 {
        let codes = &self.codes[slot * self.dimensions..][..self.dimensions];
        let sum: f32 = codes
            .iter()
            .zip(query)
            .map(|(code, x)| f32::from(*code) * x)
            .sum();
        sum * self.rows[slot].scale
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MatrixRow {
    /// The vector's number in the file.
    pub(super) vector: i64,
    /// The item it is of.
    pub(super) item: i64,
    /// Where the item's facts are.
    pub(super) place: u32,
    /// What a code of 1 stands for.
    pub(super) scale: f32,
}

impl IndexMirror {
    fn read(connection: &Connection, index: Index) -> Result<IndexMirror, StoreError> {
        let mut mirror = IndexMirror::default();
        let mut statement = connection.prepare(facts_sql(index))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            mirror.set_facts(row.get(0)?, facts(index, row)?);
        }
        let table = index.vector_table();
        let mut statement = connection.prepare(&format!(
            "SELECT seq, item, model, vector FROM {table} ORDER BY seq"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            mirror.set_vector(row)?;
        }
        Ok(mirror)
    }

    fn refresh(
        &mut self,
        connection: &Connection,
        index: Index,
        touched: &Touched,
    ) -> Result<(), StoreError> {
        for vector in &touched.vectors {
            self.remove_vector(*vector);
        }
        let sql = format!("{} AND seq = ?1", facts_sql(index));
        let mut statement = connection.prepare_cached(&sql)?;
        for item in &touched.items {
            match statement.query_row([item], |row| facts(index, row)).optional()? {
                Some(facts) => self.set_facts(*item, facts),
                None => self.remove_facts(*item),
            }
        }
        let table = index.vector_table();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT seq, item, model, vector FROM {table} WHERE seq = ?1"
        ))?;
        for vector in &touched.vectors {
            let mut rows = statement.query([vector])?;
            if let Some(row) = rows.next()? {
                self.set_vector(row)?;
            }
        }
        Ok(())
    }

    fn set_facts(&mut self, item: i64, facts: Facts) {
        if let Some(place) = self.places.get(&item) {
            self.facts[*place as usize] = Some((item, facts));
        } else if let Some(place) = self.free.pop() {
            self.places.insert(item, place);
            self.facts[place as usize] = Some((item, facts));
        } else {
            self.places.insert(item, self.facts.len() as u32);
            self.facts.push(Some((item, facts)));
        }
    }

    fn remove_facts(&mut self, item: i64) {
        if let Some(place) = self.places.remove(&item) {
            self.facts[place as usize] = None;
            self.free.push(place);
        }
    }

    fn set_vector(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let (vector, item, model): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // A vector of what is no turn (any more) isn't searched.
        let Some(place) = self.places.get(&item) else {
            return Ok(());
        };
        let numbers = decode(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?);
        let matrix = self.models.entry(model).or_insert_with(|| Matrix {
            dimensions: numbers.len(),
            ..Matrix::default()
        });
        if numbers.len() != matrix.dimensions {
            return Err(StoreError::Invalid(format!(
                "vector {vector} is not of its model's dimensions"
            )));
        }
        let (scale, codes) = quantize(&numbers);
        matrix.codes.extend(codes);
        matrix.slots.insert(vector, matrix.rows.len() as u32);
        matrix.by_item.insert(item, matrix.rows.len() as u32);
        matrix.rows.push(MatrixRow {
            vector,
            item,
            place: *place,
            scale,
        });
        self.model_of.insert(vector, model);
        Ok(())
    }

    fn remove_vector(&mut self, vector: i64) {
        let Some(matrix) = self
            .model_of
            .remove(&vector)
            .and_then(|model| self.models.get_mut(&model))
        else {
            return;
        };
        let Some(slot) = matrix.slots.remove(&vector) else {
            return;
        };
        let slot = slot as usize;
        let last = matrix.rows.len() - 1;
        let removed = matrix.rows.swap_remove(slot);
        // Unless the item's new vector was read before its old one went.
        if matrix.by_item.get(&removed.item) == Some(&(slot as u32)) {
            matrix.by_item.remove(&removed.item);
        }
        let width = matrix.dimensions;
        matrix.codes.copy_within(last * width.., slot * width);
        matrix.codes.truncate(last * width);
        if let Some(moved) = matrix.rows.get(slot) {
            matrix.slots.insert(moved.vector, slot as u32);
            matrix.by_item.insert(moved.item, slot as u32);
        }
    }

    /// Everything in it, in an order that doesn't depend on how it came to be.
    #[cfg(test)]
    pub(crate) fn contents(&self) -> Vec<String> {
        let facts = self
            .facts
            .iter()
            .flatten()
            .map(|(item, facts)| format!("{item} {facts:?}"));
        let vectors = self.models.iter().flat_map(|(model, matrix)| {
            let codes = matrix.codes.chunks_exact(matrix.dimensions);
            matrix.rows.iter().zip(codes).map(move |(row, codes)| {
                let place = self.facts_at(row.place).map(|(item, _)| *item);
                assert_eq!(place, Some(row.item));
                let slot = matrix.slot_of(row.item).unwrap();
                assert_eq!(matrix.rows[slot], *row);
                format!("{model} {} {} {} {codes:?}", row.vector, row.item, row.scale)
            })
        });
        let mut contents: Vec<String> = facts.chain(vectors).collect();
        contents.sort();
        contents
    }

    /// A mirror that was read from the file just now.
    #[cfg(test)]
    pub(crate) fn afresh(connection: &Connection, index: Index) -> IndexMirror {
        IndexMirror::read(connection, index).unwrap()
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// What filters ask about an item.
    pub(crate) fn facts(&self, item: i64) -> Option<&Facts> {
        self.places
            .get(&item)
            .and_then(|place| self.facts_at(*place))
            .map(|(_, facts)| facts)
    }

    pub(super) fn facts_at(&self, place: u32) -> Option<&(i64, Facts)> {
        self.facts[place as usize].as_ref()
    }
}

fn facts_sql(index: Index) -> &'static str {
    match index {
        Index::Memories => "SELECT seq, kind, status, sensitive, pinned FROM memory WHERE 1",
        Index::Turns => {
            "SELECT seq, chat FROM message
             WHERE status = 'complete' AND role IN ('user', 'assistant') AND text <> ''"
        }
    }
}

fn facts(index: Index, row: &Row<'_>) -> rusqlite::Result<Facts> {
    let always = Facts {
        chat: 0,
        kind: 0,
        state: 0,
        sensitive: false,
        pinned: false,
    };
    Ok(match index {
        Index::Memories => Facts {
            kind: kind_bit(row.get(1)?),
            state: state_bit(row.get(2)?),
            sensitive: row.get(3)?,
            pinned: row.get(4)?,
            ..always
        },
        Index::Turns => Facts {
            chat: row.get(1)?,
            ..always
        },
    })
}

/// A vector as numbers from -127 to 127 and what 1 of them stands for.
pub(super) fn quantize(vector: &[f32]) -> (f32, impl Iterator<Item = i8> + '_) {
    let largest = vector.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    (scale, vector.iter().map(move |x| (x / scale).round() as i8))
}

type SeqHash = BuildHasherDefault<SeqHasher>;

/// Hashes SQLite's row numbers, which nobody chooses: a multiplication suffices.
#[derive(Debug, Default)]
pub(super) struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_i64(i64::from(*byte));
        }
    }

    fn write_i64(&mut self, number: i64) {
        let mixed = (self.0 ^ number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
