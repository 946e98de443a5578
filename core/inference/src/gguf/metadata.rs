//! Metadata values: checked once when the file is opened, decoded when asked for.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::Cursor;
use super::{DEFAULT_ALIGNMENT, GgufError};

/// Deepest nesting of arrays; real files have none.
const MAX_ARRAY_DEPTH: usize = 4;
/// The format asks for multiples of 8: less would misalign numbers in memory.
const MIN_ALIGNMENT: u64 = 8;
const MAX_ALIGNMENT: u64 = 65_536;

/// The type of a metadata value, with the format's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MetadataType {
    /// Unsigned 8-bit integer.
    U8 = 0,
    /// Signed 8-bit integer.
    I8 = 1,
    /// Unsigned 16-bit integer.
    U16 = 2,
    /// Signed 16-bit integer.
    I16 = 3,
    /// Unsigned 32-bit integer.
    U32 = 4,
    /// Signed 32-bit integer.
    I32 = 5,
    /// 32-bit float.
    F32 = 6,
    /// One byte, zero or not.
    Bool = 7,
    /// Bytes, meant to be UTF-8.
    String = 8,
    /// A list of values of one type.
    Array = 9,
    /// Unsigned 64-bit integer.
    U64 = 10,
    /// Signed 64-bit integer.
    I64 = 11,
    /// 64-bit float.
    F64 = 12,
}

impl MetadataType {
    /// The type with this number, if there is one.
    pub fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes a value of this type takes; `None` for strings and arrays.
    pub fn size_bytes(self) -> Option<usize> {
        Some(match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::String | Self::Array => return None,
        })
    }
}

/// A metadata value, borrowed from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetadataValue<'a> {
    /// Any unsigned integer type.
    Unsigned(u64),
    /// Any signed integer type.
    Signed(i64),
    /// Either float type.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string; not promised to be UTF-8.
    String(&'a [u8]),
    /// A list.
    Array(ArrayValue<'a>),
}

/// A metadata list, borrowed from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArrayValue<'a> {
    element_type: MetadataType,
    count: usize,
    bytes: &'a [u8],
}

impl<'a> ArrayValue<'a> {
    /// The type of the elements.
    pub fn element_type(&self) -> MetadataType {
        self.element_type
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements of a list of scalars or strings; nothing for a list of lists.
    pub fn iter(&self) -> impl Iterator<Item = MetadataValue<'a>> {
        let Self {
            element_type,
            count,
            bytes,
        } = *self;
        let mut cursor = Cursor::new(bytes);
        (0..count).map_while(move |_| match element_type {
            MetadataType::Array => None,
            MetadataType::String => cursor.string("a string").ok().map(MetadataValue::String),
            scalar => {
                let size = scalar.size_bytes()? as u64;
                cursor
                    .take(size, "a value")
                    .ok()
                    .map(|bytes| decode_scalar(scalar, bytes))
            }
        })
    }
}

impl MetadataValue<'_> {
    /// A word for the kind of value, for error messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) => "an integer (perhaps out of range)",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
        }
    }
}

/// A metadata list of byte strings.
#[derive(Clone, Copy, Debug)]
pub struct StringArray<'a>(ArrayValue<'a>);

impl<'a> StringArray<'a> {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The strings, in order. They are not promised to be UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter_map(|value| match value {
            MetadataValue::String(bytes) => Some(bytes),
            _ => None,
        })
    }
}

/// A type that a metadata value can be read as. See [`GgufFile::get`](super::GgufFile::get).
pub trait FromMetadata<'a>: Sized {
    /// What is expected, for error messages.
    const EXPECTED: &'static str;

    /// The value as `Self`, or `None` when it is of another kind or out of range.
    fn from_metadata(value: MetadataValue<'a>) -> Option<Self>;
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl<'a> FromMetadata<'a> for $integer {
            const EXPECTED: &'static str = concat!("an integer in the range of ", stringify!($integer));

            fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
                match value {
                    MetadataValue::Unsigned(number) => number.try_into().ok(),
                    MetadataValue::Signed(number) => number.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}
from_integer!(u8, i8, u16, i16, u32, i32, u64, i64, usize);

impl<'a> FromMetadata<'a> for f32 {
    const EXPECTED: &'static str = "a float";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        f64::from_metadata(value).map(|number| number as f32)
    }
}

impl<'a> FromMetadata<'a> for f64 {
    const EXPECTED: &'static str = "a float";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        match value {
            MetadataValue::Float(number) => Some(number),
            _ => None,
        }
    }
}

impl<'a> FromMetadata<'a> for bool {
    const EXPECTED: &'static str = "a boolean";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        match value {
            MetadataValue::Bool(flag) => Some(flag),
            _ => None,
        }
    }
}

impl<'a> FromMetadata<'a> for &'a str {
    const EXPECTED: &'static str = "UTF-8 text";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        match value {
            MetadataValue::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

impl<'a> FromMetadata<'a> for String {
    const EXPECTED: &'static str = "UTF-8 text";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        <&str>::from_metadata(value).map(str::to_owned)
    }
}

impl<'a> FromMetadata<'a> for StringArray<'a> {
    const EXPECTED: &'static str = "an array of strings";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        match value {
            MetadataValue::Array(array) if array.element_type == MetadataType::String => Some(Self(array)),
            _ => None,
        }
    }
}

macro_rules! from_array {
    ($($element:ty),*) => {$(
        impl<'a> FromMetadata<'a> for Vec<$element> {
            const EXPECTED: &'static str = concat!("an array of ", stringify!($element));

            fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
                let MetadataValue::Array(array) = value else { return None };
                let mut elements = Vec::with_capacity(array.count);
                for element in array.iter() {
                    elements.push(<$element>::from_metadata(element)?);
                }
                (elements.len() == array.count).then_some(elements)
            }
        }
    )*};
}
from_array!(u8, i8, u16, i16, u32, i32, u64, i64, usize, f32, f64, bool);

/// A checked value's place in the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value_type: MetadataType,
    /// For arrays.
    element_type: MetadataType,
    count: usize,
    bytes: Range<usize>,
}

impl Entry {
    pub(super) fn value<'a>(&self, file: &'a [u8]) -> MetadataValue<'a> {
        let bytes = file.get(self.bytes.clone()).unwrap_or_default();
        match self.value_type {
            MetadataType::String => MetadataValue::String(bytes),
            MetadataType::Array => MetadataValue::Array(ArrayValue {
                element_type: self.element_type,
                count: self.count,
                bytes,
            }),
            scalar => decode_scalar(scalar, bytes),
        }
    }
}

/// Decodes a scalar from exactly its bytes.
fn decode_scalar(value_type: MetadataType, bytes: &[u8]) -> MetadataValue<'static> {
    let mut padded = [0; 8];
    let length = bytes.len().min(8);
    padded[..length].copy_from_slice(&bytes[..length]);
    let raw = u64::from_le_bytes(padded);
    match value_type {
        MetadataType::I8 => MetadataValue::Signed(i64::from(raw as i8)),
        MetadataType::I16 => MetadataValue::Signed(i64::from(raw as i16)),
        MetadataType::I32 => MetadataValue::Signed(i64::from(raw as i32)),
        MetadataType::I64 => MetadataValue::Signed(raw as i64),
        MetadataType::F32 => MetadataValue::Float(f64::from(f32::from_bits(raw as u32))),
        MetadataType::F64 => MetadataValue::Float(f64::from_bits(raw)),
        MetadataType::Bool => MetadataValue::Bool(raw != 0),
        _ => MetadataValue::Unsigned(raw),
    }
}

pub(super) fn read_all(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Entry>, GgufError> {
    // Key length, value type and one byte of value: no entry is shorter.
    let count = cursor.bounded_count(count, 8 + 4 + 1, "the metadata")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.name("a metadata key")?;
        let entry = read_entry(cursor, &key)?;
        if metadata.contains_key(&key) {
            return Err(GgufError::DuplicateKey { key });
        }
        metadata.insert(key, entry);
    }
    Ok(metadata)
}

fn read_entry(cursor: &mut Cursor<'_>, key: &str) -> Result<Entry, GgufError> {
    let value_type = read_type(cursor, key)?;
    let (element_type, count, bytes) = match value_type {
        MetadataType::Array => {
            let element_type = read_type(cursor, key)?;
            let count = cursor.u64("an array's length")?;
            let start = cursor.position();
            skip_elements(cursor, key, element_type, count, 1)?;
            (element_type, count as usize, start..cursor.position())
        }
        MetadataType::String => {
            let length = cursor.string("a string")?.len();
            (value_type, 1, cursor.position() - length..cursor.position())
        }
        scalar => {
            let start = cursor.position();
            cursor.take(scalar.size_bytes().unwrap_or(0) as u64, "a metadata value")?;
            (value_type, 1, start..cursor.position())
        }
    };
    Ok(Entry {
        value_type,
        element_type,
        count,
        bytes,
    })
}

fn read_type(cursor: &mut Cursor<'_>, key: &str) -> Result<MetadataType, GgufError> {
    let id = cursor.u32("a value type")?;
    MetadataType::from_id(id).ok_or_else(|| GgufError::UnknownValueType {
        key: key.to_owned(),
        found: id,
    })
}

/// Walks over an array's elements: afterwards all of them are known to be in the file.
fn skip_elements(
    cursor: &mut Cursor<'_>,
    key: &str,
    element_type: MetadataType,
    count: u64,
    depth: usize,
) -> Result<(), GgufError> {
    match element_type {
        MetadataType::String => {
            let count = cursor.bounded_count(count, 8, "an array of strings")?;
            for _ in 0..count {
                cursor.string("a string of an array")?;
            }
        }
        MetadataType::Array => {
            if depth >= MAX_ARRAY_DEPTH {
                return Err(GgufError::NestedTooDeeply { key: key.to_owned() });
            }
            let count = cursor.bounded_count(count, 4 + 8, "an array of arrays")?;
            for _ in 0..count {
                let inner_type = read_type(cursor, key)?;
                let inner_count = cursor.u64("an array's length")?;
                skip_elements(cursor, key, inner_type, inner_count, depth + 1)?;
            }
        }
        scalar => {
            let size = scalar.size_bytes().unwrap_or(1) as u64;
            cursor.take(count.saturating_mul(size), "an array")?;
        }
    }
    Ok(())
}

pub(super) fn alignment(metadata: &BTreeMap<String, Entry>, file: &[u8]) -> Result<usize, GgufError> {
    let Some(entry) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let value = entry.value(file);
    let Some(found) = u64::from_metadata(value) else {
        return Err(GgufError::WrongType {
            key: "general.alignment".to_owned(),
            found: value.type_name(),
            expected: u64::EXPECTED,
        });
    };
    if !found.is_power_of_two() || !(MIN_ALIGNMENT..=MAX_ALIGNMENT).contains(&found) {
        return Err(GgufError::BadAlignment { found });
    }
    Ok(found as usize)
}
