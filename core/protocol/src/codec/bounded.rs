//! Containers that carry their limit in their type: what was built can be encoded, and what is encoded can be decoded.

use std::ops::Deref;

use super::{DecodeError, Reader, Wire, write_number};
#[cfg(any(test, feature = "samples"))]
use super::{Sample, Sampled};

/// More items or bytes than the wire allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} items or bytes, and the limit is {limit}")]
pub struct TooLarge {
    /// How many there were.
    pub length: usize,
    /// How many are allowed.
    pub limit: usize,
}

fn within(length: usize, limit: usize) -> Result<(), TooLarge> {
    if length > limit {
        Err(TooLarge { length, limit })
    } else {
        Ok(())
    }
}

/// At most `MAX` items in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// The items, owned.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = TooLarge;
    fn try_from(items: Vec<T>) -> Result<Self, TooLarge> {
        within(items.len(), MAX).map(|()| Self(items))
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Wire, const MAX: usize> Wire for List<T, MAX> {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        write_number(self.0.len() as u64, out);
        for item in &self.0 {
            item.write(out);
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(MAX, T::MIN_BYTES)?;
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(T::read(reader)?);
        }
        Ok(Self(items))
    }
}

#[cfg(any(test, feature = "samples"))]
impl<T: Sampled, const MAX: usize> Sampled for List<T, MAX> {
    fn sample(source: &mut Sample<'_>) -> Self {
        let count = source.count(MAX);
        Self((0..count).map(|_| T::sample(source)).collect())
    }
}

/// At most `MAX` different items, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for Set<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord, const MAX: usize> Set<T, MAX> {
    /// Sorts the items and drops repetitions.
    pub fn new(items: impl IntoIterator<Item = T>) -> Result<Self, TooLarge> {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable();
        items.dedup();
        within(items.len(), MAX).map(|()| Self(items))
    }

    /// Whether the item is there.
    pub fn contains(&self, item: &T) -> bool {
        self.0.binary_search(item).is_ok()
    }
}

impl<T, const MAX: usize> Deref for Set<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Wire + Ord, const MAX: usize> Wire for Set<T, MAX> {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        write_number(self.0.len() as u64, out);
        for item in &self.0 {
            item.write(out);
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let items = List::<T, MAX>::read(reader)?.0;
        if items.windows(2).all(|pair| pair[0] < pair[1]) {
            Ok(Self(items))
        } else {
            Err(DecodeError::NotCanonical)
        }
    }
}

#[cfg(any(test, feature = "samples"))]
impl<T: Sampled + Ord, const MAX: usize> Sampled for Set<T, MAX> {
    fn sample(source: &mut Sample<'_>) -> Self {
        let mut items = List::<T, MAX>::sample(source).0;
        items.sort_unstable();
        items.dedup();
        Self(items)
    }
}

/// At most `MAX` values by key, keys ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<K, V, const MAX: usize>(Vec<(K, V)>);

impl<K, V, const MAX: usize> Default for Map<K, V, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V, const MAX: usize> Map<K, V, MAX> {
    /// Sorts by key; of several values of one key the last stays.
    pub fn new(items: impl IntoIterator<Item = (K, V)>) -> Result<Self, TooLarge> {
        let map: std::collections::BTreeMap<K, V> = items.into_iter().collect();
        within(map.len(), MAX).map(|()| Self(map.into_iter().collect()))
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0
            .binary_search_by(|(other, _)| other.cmp(key))
            .ok()
            .map(|index| &self.0[index].1)
    }
}

impl<K, V, const MAX: usize> Deref for Map<K, V, MAX> {
    type Target = [(K, V)];
    fn deref(&self) -> &[(K, V)] {
        &self.0
    }
}

impl<K: Wire + Ord, V: Wire, const MAX: usize> Wire for Map<K, V, MAX> {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        write_number(self.0.len() as u64, out);
        for (key, value) in &self.0 {
            key.write(out);
            value.write(out);
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(MAX, K::MIN_BYTES + V::MIN_BYTES)?;
        let mut items: Vec<(K, V)> = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let key = K::read(reader)?;
            if items.last().is_some_and(|(last, _)| *last >= key) {
                return Err(DecodeError::NotCanonical);
            }
            items.push((key, V::read(reader)?));
        }
        Ok(Self(items))
    }
}

#[cfg(any(test, feature = "samples"))]
impl<K: Sampled + Ord, V: Sampled, const MAX: usize> Sampled for Map<K, V, MAX> {
    fn sample(source: &mut Sample<'_>) -> Self {
        let count = source.count(MAX);
        let items: std::collections::BTreeMap<K, V> = (0..count)
            .map(|_| (K::sample(source), V::sample(source)))
            .collect();
        Self(items.into_iter().collect())
    }
}

/// At most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Blob<MAX> {
    /// The bytes, owned.
    pub fn into_inner(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> std::fmt::Debug for Blob<MAX> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Blob<MAX> {
    type Error = TooLarge;
    fn try_from(bytes: Vec<u8>) -> Result<Self, TooLarge> {
        within(bytes.len(), MAX).map(|()| Self(bytes))
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> Wire for Blob<MAX> {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        write_number(self.0.len() as u64, out);
        out.extend_from_slice(&self.0);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.count(MAX, 1)?;
        Ok(Self(reader.take(length)?.to_vec()))
    }
}

#[cfg(any(test, feature = "samples"))]
impl<const MAX: usize> Sampled for Blob<MAX> {
    fn sample(source: &mut Sample<'_>) -> Self {
        let length = source.count(MAX);
        Self((0..length).map(|_| source.byte()).collect())
    }
}

/// At most `MAX` bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TooLarge;
    fn try_from(text: String) -> Result<Self, TooLarge> {
        within(text.len(), MAX).map(|()| Self(text))
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Wire for Text<MAX> {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        write_number(self.0.len() as u64, out);
        out.extend_from_slice(self.0.as_bytes());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = Blob::<MAX>::read(reader)?.0;
        String::from_utf8(bytes)
            .map(Self)
            .map_err(|_| DecodeError::BadText)
    }
}

#[cfg(any(test, feature = "samples"))]
impl<const MAX: usize> Sampled for Text<MAX> {
    fn sample(source: &mut Sample<'_>) -> Self {
        let length = source.count(MAX);
        Self(
            (0..length)
                .map(|_| char::from(b' ' + source.byte() % 95))
                .collect(),
        )
    }
}
