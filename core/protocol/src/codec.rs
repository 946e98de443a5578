//! The canonical encoding: one value has one spelling, and every other spelling is refused.
//!
//! Written by hand because signatures and hashes are taken over these bytes. A general codec either accepts several
//! spellings of a value (long varints, reordered maps) or leaves length checks to its user; here both are refused while
//! reading: `encode(decode(x)) == x` for every `x` that decodes. Nothing is allocated for a count or a length before it
//! was compared with its limit and with the bytes that are left. No input makes a decoder panic or recurse.

mod bounded;
mod macros;
#[cfg(any(test, feature = "samples"))]
mod sample;

pub use bounded::{Blob, List, Map, Set, Text, TooLarge};
pub(crate) use macros::{wire_code, wire_enum, wire_struct};
#[cfg(any(test, feature = "samples"))]
pub use sample::{Sample, Sampled};

/// Why bytes are not the encoding of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("the input ends inside a value")]
    Truncated,
    /// Bytes are left over after the value.
    #[error("bytes are left over after the value")]
    TrailingBytes,
    /// A count, a length or a number is above its limit.
    #[error("a count, length or number is above its limit")]
    TooLarge,
    /// A second spelling of a value: a number longer than needed, or a set out of order.
    #[error("not the canonical spelling")]
    NotCanonical,
    /// A tag that this version doesn't know.
    #[error("unknown tag {0}")]
    UnknownTag(u16),
    /// Text that isn't UTF-8.
    #[error("text is not UTF-8")]
    BadText,
}

/// A value with a canonical encoding.
pub trait Wire: Sized {
    /// The least number of bytes a value takes: bounds counts before anything is allocated.
    const MIN_BYTES: usize;

    /// Appends the encoding.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads one value.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The encoding.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The value whose encoding these bytes are, all of them.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader)?;
        if reader.remaining() == 0 {
            Ok(value)
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}

/// A cursor over input that can't be trusted.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.bytes.split_first().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(*first)
    }

    /// A number in base 128, least significant group first, in as few bytes as it needs.
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for index in 0..10 {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if index == 9 && group > 1 {
                return Err(DecodeError::TooLarge);
            }
            value |= group << (7 * index);
            if byte & 0x80 == 0 {
                return if byte == 0 && index > 0 {
                    Err(DecodeError::NotCanonical)
                } else {
                    Ok(value)
                };
            }
        }
        Err(DecodeError::TooLarge)
    }

    /// A count of items of at least `min_bytes` each: at most `max`, and no more than the rest of the input can hold.
    pub fn count(&mut self, max: usize, min_bytes: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.number()?).map_err(|_| DecodeError::TooLarge)?;
        if count > max {
            return Err(DecodeError::TooLarge);
        }
        if count.saturating_mul(min_bytes) > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        Ok(count)
    }
}

/// Appends a number in the form that [`Reader::number`] reads.
pub(crate) fn write_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

macro_rules! wire_number {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            const MIN_BYTES: usize = 1;
            fn write(&self, out: &mut Vec<u8>) {
                write_number(u64::from(*self), out);
            }
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::try_from(reader.number()?).map_err(|_| DecodeError::TooLarge)
            }
        }

        #[cfg(any(test, feature = "samples"))]
        impl Sampled for $type {
            fn sample(source: &mut Sample<'_>) -> Self {
                source.number() as Self
            }
        }
    )*};
}
wire_number!(u16, u32, u64);

impl Wire for u8 {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.byte()
    }
}

#[cfg(any(test, feature = "samples"))]
impl Sampled for u8 {
    fn sample(source: &mut Sample<'_>) -> Self {
        source.byte()
    }
}

impl Wire for bool {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::UnknownTag(u16::from(other))),
        }
    }
}

#[cfg(any(test, feature = "samples"))]
impl Sampled for bool {
    fn sample(source: &mut Sample<'_>) -> Self {
        source.byte() & 1 == 1
    }
}

impl<const N: usize> Wire for [u8; N] {
    const MIN_BYTES: usize = N;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.take(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }
}

#[cfg(any(test, feature = "samples"))]
impl<const N: usize> Sampled for [u8; N] {
    fn sample(source: &mut Sample<'_>) -> Self {
        std::array::from_fn(|_| source.byte())
    }
}

impl<T: Wire> Wire for Option<T> {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(if bool::read(reader)? {
            Some(T::read(reader)?)
        } else {
            None
        })
    }
}

#[cfg(any(test, feature = "samples"))]
impl<T: Sampled> Sampled for Option<T> {
    fn sample(source: &mut Sample<'_>) -> Self {
        bool::sample(source).then(|| T::sample(source))
    }
}

impl<T: Wire> Wire for Box<T> {
    const MIN_BYTES: usize = T::MIN_BYTES;
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::read(reader).map(Box::new)
    }
}

#[cfg(any(test, feature = "samples"))]
impl<T: Sampled> Sampled for Box<T> {
    fn sample(source: &mut Sample<'_>) -> Self {
        Box::new(T::sample(source))
    }
}
