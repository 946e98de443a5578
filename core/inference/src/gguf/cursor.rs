//! A reading position that can't leave the file.

use super::GgufError;

/// Longest key or tensor name, in bytes. The format's own limits are 65,535 and 64.
const MAX_NAME_BYTES: u64 = 65_535;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn truncated(&self, needed: u64, what: &'static str) -> GgufError {
        GgufError::Truncated {
            what,
            offset: self.position as u64,
            needed,
            available: self.remaining() as u64,
        }
    }

    pub(super) fn take(&mut self, count: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.position.checked_add(count))
            .and_then(|end| self.bytes.get(self.position..end));
        let Some(taken) = taken else {
            return Err(self.truncated(count, what));
        };
        self.position += taken.len();
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        let bytes = self.take(4, what)?;
        Ok(bytes.try_into().map_or(0, u32::from_le_bytes))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        let bytes = self.take(8, what)?;
        Ok(bytes.try_into().map_or(0, u64::from_le_bytes))
    }

    /// A count of items of at least `min_bytes` each: refused when they can't all be in the file, so
    /// that the caller may allocate for them.
    pub(super) fn bounded_count(
        &self,
        count: u64,
        min_bytes: u64,
        what: &'static str,
    ) -> Result<usize, GgufError> {
        let needed = count.saturating_mul(min_bytes);
        if needed > self.remaining() as u64 {
            return Err(self.truncated(needed, what));
        }
        Ok(count as usize)
    }

    /// A length-prefixed byte string.
    pub(super) fn string(&mut self, what: &'static str) -> Result<&'a [u8], GgufError> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    /// A length-prefixed key or name: short and UTF-8.
    pub(super) fn name(&mut self, what: &'static str) -> Result<String, GgufError> {
        let length = self.u64(what)?;
        if length > MAX_NAME_BYTES {
            return Err(GgufError::BadText { what });
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| GgufError::BadText { what })
    }
}
