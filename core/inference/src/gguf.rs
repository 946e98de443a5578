//! GGUF model files: a reader that trusts nothing in the file, and a small writer.
//!
//! A GGUF file is a header, a list of key/value metadata, a list of tensor descriptions, padding, and
//! the tensors' bytes. [`GgufFile::open`] maps the file and checks every count, length, offset and
//! product against the file's size before anything is allocated, so that a damaged or hostile file
//! costs an error and never memory or a panic. Values stay in the mapping and are decoded when asked for.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little endian.

mod cursor;
mod error;
mod ggml_type;
mod mapping;
mod metadata;
#[cfg(test)]
mod tests;
pub mod writer;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use self::error::GgufError;
pub use self::ggml_type::GgmlType;
pub use self::metadata::{ArrayValue, FromMetadata, MetadataType, MetadataValue, StringArray};

use self::cursor::Cursor;
use self::mapping::{AlignedBytes, FileBytes};
use self::metadata::Entry;

/// The four bytes every GGUF file starts with.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of tensor data where the file doesn't state one, in bytes.
pub const DEFAULT_ALIGNMENT: usize = 32;
/// Most dimensions a tensor may have.
pub const MAX_DIMENSIONS: usize = 4;

/// A checked GGUF file. Cheap to clone: clones share the mapping.
///
/// The file must not be changed while it is open: a mapped file that another program truncates ends
/// this process with a bus error, as for every mapped file. Model files are written once and renamed
/// into place.
#[derive(Clone, Debug)]
pub struct GgufFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bytes: FileBytes,
    version: u32,
    alignment: usize,
    metadata: BTreeMap<String, Entry>,
    tensors: Vec<TensorInfo>,
    by_name: BTreeMap<String, usize>,
}

/// Where one tensor lies in the file and how its numbers are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Shape in row-major order: the last dimension is contiguous in memory. (The file itself lists
    /// the dimensions the other way round.) A weight of a linear layer is `[out_features, in_features]`.
    pub shape: Vec<usize>,
    /// How the numbers are stored.
    pub ggml_type: GgmlType,
    /// The tensor's bytes, as a range of the file.
    pub byte_range: Range<usize>,
}

impl TensorInfo {
    /// Length of the contiguous dimension; 1 for a scalar.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Product of all dimensions but the contiguous one.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// How many numbers the tensor holds.
    pub fn element_count(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many bytes the tensor takes in the file.
    pub fn size_bytes(&self) -> usize {
        self.byte_range.len()
    }
}

impl GgufFile {
    /// Maps and checks the file at `path`. Reads the header only; tensor bytes are paged in on use.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::parse(FileBytes::map(path)?)
    }

    /// Checks a file that is already in memory.
    #[allow(clippy::needless_pass_by_value, reason = "callers give the file away")]
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        Self::parse(FileBytes::Owned(AlignedBytes::copy(&bytes)))
    }

    fn parse(bytes: FileBytes) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(&bytes);
        let magic = cursor
            .take(4, "the magic number")
            .map_err(|_| GgufError::NotGguf)?;
        if magic != MAGIC {
            return Err(GgufError::NotGguf);
        }
        let version = cursor.u32("the version")?;
        match version {
            2 | 3 => {}
            _ if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian),
            _ => return Err(GgufError::UnsupportedVersion { found: version }),
        }
        let tensor_count = cursor.u64("the tensor count")?;
        let metadata_count = cursor.u64("the metadata count")?;

        let metadata = metadata::read_all(&mut cursor, metadata_count)?;
        let alignment = metadata::alignment(&metadata, &bytes)?;
        let raw = read_tensor_infos(&mut cursor, tensor_count)?;

        let data_start =
            cursor
                .position()
                .checked_next_multiple_of(alignment)
                .ok_or(GgufError::BadAlignment {
                    found: alignment as u64,
                })?;
        let (tensors, by_name) = place_tensors(raw, data_start, alignment, bytes.len())?;
        Ok(Self {
            inner: Arc::new(Inner {
                bytes,
                version,
                alignment,
                metadata,
                tensors,
                by_name,
            }),
        })
    }

    /// The format version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.inner.version
    }

    /// Alignment of every tensor's offset within the data part, in bytes.
    pub fn alignment(&self) -> usize {
        self.inner.alignment
    }

    /// Size of the whole file in bytes.
    pub fn size_bytes(&self) -> usize {
        self.inner.bytes.len()
    }

    /// All tensors in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.inner.tensors
    }

    /// The tensor called `name`, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.inner
            .by_name
            .get(name)
            .and_then(|&index| self.inner.tensors.get(index))
    }

    /// The tensor called `name`; an error that names it if there is none.
    pub fn require_tensor(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensor(name).ok_or_else(|| GgufError::MissingTensor {
            name: name.to_owned(),
        })
    }

    /// The bytes of a tensor of this file.
    ///
    /// Empty for a [`TensorInfo`] that came from a longer file.
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.inner
            .bytes
            .get(tensor.byte_range.clone())
            .unwrap_or_default()
    }

    /// Tells the operating system that a tensor's pages aren't needed for now.
    ///
    /// Lowers resident memory after weights were copied elsewhere; reading the tensor again reads the
    /// file again. Does nothing where the system has no such call.
    pub fn release_tensor(&self, tensor: &TensorInfo) {
        self.inner.bytes.release(tensor.byte_range.clone());
    }

    /// All metadata keys in alphabetical order, with their types.
    pub fn metadata_keys(&self) -> impl Iterator<Item = (&str, MetadataType)> {
        self.inner
            .metadata
            .iter()
            .map(|(key, entry)| (key.as_str(), entry.value_type))
    }

    /// The value under `key` as it is stored.
    pub fn value(&self, key: &str) -> Option<MetadataValue<'_>> {
        self.inner
            .metadata
            .get(key)
            .map(|entry| entry.value(&self.inner.bytes))
    }

    /// The value under `key` as a `T`, or `None` where the key is absent.
    ///
    /// Integers convert between widths when the value fits. `T` is one of `bool`, the integer types up
    /// to 64 bits, `f32`, `f64`, `&str`, `String`, [`StringArray`], and `Vec` of numbers or booleans.
    ///
    /// # Errors
    /// [`GgufError::WrongType`] when the value is of another kind or doesn't fit.
    pub fn get<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match T::from_metadata(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(GgufError::WrongType {
                key: key.to_owned(),
                found: value.type_name(),
                expected: T::EXPECTED,
            }),
        }
    }

    /// The value under `key` as a `T`; an absent key is an error.
    pub fn require<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<T, GgufError> {
        self.get(key)?
            .ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })
    }

    /// The network family the file says it holds (`general.architecture`), such as `llama`.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        self.require("general.architecture")
    }
}

struct RawTensor {
    name: String,
    shape: Vec<usize>,
    ggml_type: GgmlType,
    offset: u64,
    size: usize,
}

fn read_tensor_infos(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<RawTensor>, GgufError> {
    // Name length, dimension count, type and offset: no description is shorter.
    let count = cursor.bounded_count(count, 8 + 4 + 4 + 8, "the tensor descriptions")?;
    let mut tensors = Vec::with_capacity(count);
    for _ in 0..count {
        let name = cursor.name("a tensor name")?;
        let dimensions = cursor.u32("a tensor's dimension count")?;
        if dimensions as usize > MAX_DIMENSIONS {
            return Err(GgufError::TooManyDimensions {
                tensor: name,
                found: dimensions,
            });
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        let mut elements: usize = 1;
        for _ in 0..dimensions {
            let length = cursor.u64("a tensor dimension")?;
            let length = usize::try_from(length).ok().filter(|&length| length > 0);
            let product = length.and_then(|length| elements.checked_mul(length));
            let (Some(length), Some(product)) = (length, product) else {
                return Err(GgufError::BadShape { tensor: name });
            };
            elements = product;
            shape.push(length);
        }
        shape.reverse();
        let type_id = cursor.u32("a tensor type")?;
        let ggml_type = GgmlType::from_id(type_id).ok_or_else(|| GgufError::UnknownTensorType {
            tensor: name.clone(),
            found: type_id,
        })?;
        let offset = cursor.u64("a tensor offset")?;
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(ggml_type.block_elements()) {
            return Err(GgufError::BadShape { tensor: name });
        }
        let size = (elements / ggml_type.block_elements()).checked_mul(ggml_type.block_bytes());
        let Some(size) = size else {
            return Err(GgufError::BadShape { tensor: name });
        };
        tensors.push(RawTensor {
            name,
            shape,
            ggml_type,
            offset,
            size,
        });
    }
    Ok(tensors)
}

fn place_tensors(
    raw: Vec<RawTensor>,
    data_start: usize,
    alignment: usize,
    file_len: usize,
) -> Result<(Vec<TensorInfo>, BTreeMap<String, usize>), GgufError> {
    let mut tensors = Vec::with_capacity(raw.len());
    let mut by_name = BTreeMap::new();
    for RawTensor {
        name,
        shape,
        ggml_type,
        offset,
        size,
    } in raw
    {
        if !offset.is_multiple_of(alignment as u64) {
            return Err(GgufError::MisalignedTensor {
                tensor: name,
                offset,
                alignment,
            });
        }
        let start = usize::try_from(offset)
            .ok()
            .and_then(|offset| data_start.checked_add(offset));
        let range = start.and_then(|start| Some(start..start.checked_add(size)?));
        let Some(byte_range) = range.filter(|range| range.end <= file_len) else {
            return Err(GgufError::TruncatedTensor {
                tensor: name,
                needed: (data_start as u64)
                    .saturating_add(offset)
                    .saturating_add(size as u64),
                available: file_len as u64,
            });
        };
        if by_name.insert(name.clone(), tensors.len()).is_some() {
            return Err(GgufError::DuplicateTensor { tensor: name });
        }
        tensors.push(TensorInfo {
            name,
            shape,
            ggml_type,
            byte_range,
        });
    }
    Ok((tensors, by_name))
}
