//! Well-formed values out of arbitrary bytes, so that a property test or a fuzzer reaches every type without a strategy
//! of its own.

/// Bytes that decide a value. When they run out, zeros follow.
#[derive(Debug)]
pub struct Sample<'a> {
    bytes: &'a [u8],
}

impl<'a> Sample<'a> {
    /// Values decided by these bytes: the same bytes, the same values.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number of any magnitude: the first byte says how many bits it has.
    pub fn number(&mut self) -> u64 {
        let bits = u32::from(self.byte()) % 65;
        let value = u64::from_le_bytes(std::array::from_fn(|_| self.byte()));
        value & u64::MAX.checked_shr(64 - bits).unwrap_or(0)
    }

    /// How many items a container has: few, and none once the bytes have run out.
    pub fn count(&mut self, max: usize) -> usize {
        usize::from(self.byte() % 5).min(max)
    }
}

/// A type of which well-formed values can be made up.
pub trait Sampled: Sized {
    /// A well-formed value.
    fn sample(source: &mut Sample<'_>) -> Self;
}
