//! Writes GGUF version 3 files: tests make tiny models with it, tools re-write real ones.

use std::io::{self, Write};

use super::{DEFAULT_ALIGNMENT, GgmlType, MAGIC, MetadataType};

/// A metadata value to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Unsigned 32-bit integer, the usual type of counts and token ids.
    U32(u32),
    /// Signed 32-bit integer.
    I32(i32),
    /// Unsigned 64-bit integer.
    U64(u64),
    /// 32-bit float.
    F32(f32),
    /// Boolean.
    Bool(bool),
    /// Text.
    String(String),
    /// List of texts.
    Strings(Vec<String>),
    /// List of 32-bit floats.
    F32s(Vec<f32>),
    /// List of signed 32-bit integers.
    I32s(Vec<i32>),
    /// List of unsigned 32-bit integers.
    U32s(Vec<u32>),
    /// List of booleans.
    Bools(Vec<bool>),
}

macro_rules! value_from {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
value_from!(
    u32 => U32, i32 => I32, u64 => U64, f32 => F32, bool => Bool, String => String, Vec<String> => Strings,
    Vec<f32> => F32s, Vec<i32> => I32s, Vec<u32> => U32s, Vec<bool> => Bools,
);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    ggml_type: GgmlType,
    bytes: Vec<u8>,
}

/// Collects metadata and tensors, then writes them in one go.
///
/// Nothing is checked against the rules of the format, so that tests can also write files that break
/// them; [`GgufFile`](super::GgufFile) does the checking.
#[derive(Default)]
pub struct GgufWriter {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

impl GgufWriter {
    /// A file of the given network family (`general.architecture`).
    pub fn new(architecture: &str) -> Self {
        let mut writer = Self::default();
        writer.set("general.architecture", architecture);
        writer
    }

    /// Sets a metadata value; the last one set under a key counts.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.metadata.iter_mut().find(|(existing, _)| existing == key) {
            Some((_, slot)) => *slot = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Adds a tensor from its bytes. `shape` is row-major: the last dimension is contiguous.
    pub fn tensor(&mut self, name: &str, shape: &[usize], ggml_type: GgmlType, bytes: Vec<u8>) -> &mut Self {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            ggml_type,
            bytes,
        });
        self
    }

    /// Adds an `F32` tensor. `shape` is row-major: the last dimension is contiguous.
    pub fn tensor_f32(&mut self, name: &str, shape: &[usize], values: &[f32]) -> &mut Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, shape, GgmlType::F32, bytes)
    }

    /// The whole file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(MAGIC);
        put_u32(&mut file, 3);
        put_u64(&mut file, self.tensors.len() as u64);
        put_u64(&mut file, self.metadata.len() as u64);
        for (key, value) in &self.metadata {
            put_string(&mut file, key);
            put_value(&mut file, value);
        }
        let alignment = self.alignment();
        let mut offset: usize = 0;
        for tensor in &self.tensors {
            put_string(&mut file, &tensor.name);
            put_u32(&mut file, tensor.shape.len() as u32);
            for &length in tensor.shape.iter().rev() {
                put_u64(&mut file, length as u64);
            }
            put_u32(&mut file, tensor.ggml_type.id());
            put_u64(&mut file, offset as u64);
            offset = (offset + tensor.bytes.len()).next_multiple_of(alignment);
        }
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(alignment), 0);
            file.extend(&tensor.bytes);
        }
        file
    }

    /// Writes the whole file.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.to_bytes())
    }

    fn alignment(&self) -> usize {
        self.metadata
            .iter()
            .find_map(|(key, value)| match value {
                Value::U32(alignment) if key == "general.alignment" => Some((*alignment as usize).max(1)),
                _ => None,
            })
            .unwrap_or(DEFAULT_ALIGNMENT)
    }
}

fn put_u32(file: &mut Vec<u8>, value: u32) {
    file.extend(value.to_le_bytes());
}

fn put_u64(file: &mut Vec<u8>, value: u64) {
    file.extend(value.to_le_bytes());
}

fn put_string(file: &mut Vec<u8>, text: &str) {
    put_u64(file, text.len() as u64);
    file.extend(text.as_bytes());
}

fn put_array<T>(
    file: &mut Vec<u8>,
    element_type: MetadataType,
    elements: &[T],
    put: impl Fn(&mut Vec<u8>, &T),
) {
    put_u32(file, MetadataType::Array as u32);
    put_u32(file, element_type as u32);
    put_u64(file, elements.len() as u64);
    for element in elements {
        put(file, element);
    }
}

fn put_value(file: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U32(number) => {
            put_u32(file, MetadataType::U32 as u32);
            file.extend(number.to_le_bytes());
        }
        Value::I32(number) => {
            put_u32(file, MetadataType::I32 as u32);
            file.extend(number.to_le_bytes());
        }
        Value::U64(number) => {
            put_u32(file, MetadataType::U64 as u32);
            file.extend(number.to_le_bytes());
        }
        Value::F32(number) => {
            put_u32(file, MetadataType::F32 as u32);
            file.extend(number.to_le_bytes());
        }
        Value::Bool(flag) => {
            put_u32(file, MetadataType::Bool as u32);
            file.push(u8::from(*flag));
        }
        Value::String(text) => {
            put_u32(file, MetadataType::String as u32);
            put_string(file, text);
        }
        Value::Strings(texts) => put_array(file, MetadataType::String, texts, |file, text| {
            put_string(file, text);
        }),
        Value::F32s(numbers) => put_array(file, MetadataType::F32, numbers, |file, n| {
            file.extend(n.to_le_bytes());
        }),
        Value::I32s(numbers) => put_array(file, MetadataType::I32, numbers, |file, n| {
            file.extend(n.to_le_bytes());
        }),
        Value::U32s(numbers) => put_array(file, MetadataType::U32, numbers, |file, n| {
            file.extend(n.to_le_bytes());
        }),
        Value::Bools(flags) => put_array(file, MetadataType::Bool, flags, |file, flag| {
            file.push(u8::from(*flag));
        }),
    }
}
