//! The journal that the machine reads, and what a step is about to write to it.

use std::collections::BTreeMap;
use std::ops::Bound;

use hearth_protocol::codec::Wire;

use super::DeviceError;

/// One write to the journal.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What kind of record it is: see [`super::space`].
    pub space: u8,
    /// Its key.
    pub key: Vec<u8>,
    /// Its new value; none: the record goes, and its bytes with it (`secure_delete`).
    pub value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = self.value.as_ref().map(Vec::len);
        write!(
            formatter,
            "Record({}, {} key bytes, {length:?})",
            self.space,
            self.key.len()
        )
    }
}

/// The journal can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal can't be read: {0}")]
pub struct JournalError(pub String);

/// Keys and values of a space.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The machine's records on disk, as they are after every write of earlier steps: an ordered map
/// `(space, key) → value`. It holds document keys: keep it in the encrypted database.
pub trait Journal {
    /// The value of a key.
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError>;

    /// At most `limit` records of a space whose keys begin with `prefix` and lie behind `after`, keys ascending as bytes.
    fn scan(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, JournalError>;
}

/// A journal in memory, for tests and the simulator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryJournal(BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl MemoryJournal {
    /// Carries out one `Write`.
    pub fn write(&mut self, records: &[Record]) {
        for record in records {
            let key = (record.space, record.key.clone());
            match &record.value {
                Some(value) => self.0.insert(key, value.clone()),
                None => self.0.remove(&key),
            };
        }
    }

    /// Every record, for scans of what is still there.
    pub fn records(&self) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
        self.0
            .iter()
            .map(|((space, key), value)| (*space, key.as_slice(), value.as_slice()))
    }
}

impl Journal for MemoryJournal {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, JournalError> {
        Ok(range(&self.0, space, prefix, after)
            .take(limit)
            .map(|(key, value)| (key.to_vec(), value.clone()))
            .collect())
    }
}

/// The entries of a space behind `after` whose keys begin with `prefix`.
fn range<'a, V>(
    map: &'a BTreeMap<(u8, Vec<u8>), V>,
    space: u8,
    prefix: &'a [u8],
    after: Option<&[u8]>,
) -> impl Iterator<Item = (&'a [u8], &'a V)> {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded((space, after.to_vec())),
        _ => Bound::Included((space, prefix.to_vec())),
    };
    map.range((from, Bound::Unbounded))
        .take_while(move |((other, key), _)| *other == space && key.starts_with(prefix))
        .map(|((_, key), value)| (key.as_slice(), value))
}

/// How many records are read from the journal at a time.
const PAGE: usize = 512;

/// The journal with what this step has written on top.
pub(crate) struct Disk<'a> {
    journal: &'a dyn Journal,
    written: BTreeMap<(u8, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a> Disk<'a> {
    pub(crate) fn new(journal: &'a dyn Journal) -> Self {
        Self {
            journal,
            written: BTreeMap::new(),
        }
    }

    pub(crate) fn bytes(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, DeviceError> {
        match self.written.get(&(space, key.to_vec())) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.journal.get(space, key)?),
        }
    }

    pub(crate) fn get<T: Wire>(&self, space: u8, key: &[u8]) -> Result<Option<T>, DeviceError> {
        self.bytes(space, key)?
            .map(|bytes| T::decode(&bytes).map_err(|error| DeviceError::Record(space, error)))
            .transpose()
    }

    pub(crate) fn has(&self, space: u8, key: &[u8]) -> Result<bool, DeviceError> {
        Ok(self.bytes(space, key)?.is_some())
    }

    pub(crate) fn put(&mut self, space: u8, key: &[u8], value: &impl Wire) {
        self.written.insert((space, key.to_vec()), Some(value.encode()));
    }

    pub(crate) fn delete(&mut self, space: u8, key: &[u8]) {
        self.written.insert((space, key.to_vec()), None);
    }

    /// At most `limit` records behind `after`, with what was written in this step.
    pub(crate) fn page(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, DeviceError> {
        let mut found = BTreeMap::new();
        let mut from = after.map(<[u8]>::to_vec);
        loop {
            let page = self.journal.scan(space, prefix, from.as_deref(), limit)?;
            let last = page.last().map(|(key, _)| key.clone());
            let whole = page.len() < limit;
            let gone = page
                .iter()
                .filter(|(key, _)| matches!(self.written.get(&(space, key.clone())), Some(None)))
                .count();
            found.extend(
                page.into_iter()
                    .filter(|(key, _)| !self.written.contains_key(&(space, key.clone()))),
            );
            // Only records that this step deletes can leave a page short.
            if whole || gone == 0 || found.len() >= limit {
                let reached = if whole { None } else { last };
                for (key, value) in range(&self.written, space, prefix, after) {
                    if reached.as_deref().is_some_and(|reached| key > reached) {
                        break;
                    }
                    if let Some(value) = value {
                        found.insert(key.to_vec(), value.clone());
                    }
                }
                return Ok(found.into_iter().take(limit).collect());
            }
            from = last;
        }
    }

    /// Every record of a prefix, decoded in key order; one page of bytes in memory at a time.
    pub(crate) fn each<T: Wire>(
        &self,
        space: u8,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], T) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.page(space, prefix, after.as_deref(), PAGE)?;
            for (key, value) in &page {
                visit(
                    key,
                    T::decode(value).map_err(|error| DeviceError::Record(space, error))?,
                )?;
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Every record of a prefix.
    pub(crate) fn all<T: Wire>(&self, space: u8, prefix: &[u8]) -> Result<Vec<(Vec<u8>, T)>, DeviceError> {
        let mut found = Vec::new();
        self.each(space, prefix, |key, value| {
            found.push((key.to_vec(), value));
            Ok(())
        })?;
        Ok(found)
    }

    /// What this step writes.
    pub(crate) fn into_records(self) -> Vec<Record> {
        self.written
            .into_iter()
            .map(|((space, key), value)| Record { space, key, value })
            .collect()
    }
}
