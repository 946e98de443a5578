//! What can be wrong with a GGUF file, in words a person can act on.

use std::io;
use std::path::PathBuf;

const DAMAGED: &str = "the file is damaged; check it with `hearth models verify` and download it again";

/// Why a GGUF file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file could not be opened or mapped.
    #[error("can't open model file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file doesn't start with `GGUF`.
    #[error("this is not a GGUF model file: it doesn't start with \"GGUF\"")]
    NotGguf,
    /// A version this reader doesn't know.
    #[error("GGUF version {found} is not supported (2 and 3 are): get a current conversion of the model")]
    UnsupportedVersion {
        /// The file's version.
        found: u32,
    },
    /// The file was written for big-endian machines.
    #[error("this GGUF file is big-endian, which is not supported: get the ordinary conversion of the model")]
    BigEndian,
    /// The header ends early, or a count or length in it is larger than what follows.
    #[error(
        "the file ends inside {what}: {needed} bytes needed at offset {offset}, {available} there: it was cut short or {DAMAGED}"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where in the file.
        offset: u64,
        /// Bytes the value claims.
        needed: u64,
        /// Bytes left in the file.
        available: u64,
    },
    /// A tensor's bytes lie outside the file.
    #[error(
        "tensor `{tensor}` ends at byte {needed} of a file of {available} bytes: the download is incomplete or {DAMAGED}"
    )]
    TruncatedTensor {
        /// The tensor.
        tensor: String,
        /// Where it would end.
        needed: u64,
        /// The file's size.
        available: u64,
    },
    /// A value type number that doesn't exist.
    #[error("metadata `{key}` has unknown value type {found}: {DAMAGED}")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type number.
        found: u32,
    },
    /// Arrays of arrays beyond what any model uses.
    #[error("metadata `{key}` nests arrays too deeply: {DAMAGED}")]
    NestedTooDeeply {
        /// The key.
        key: String,
    },
    /// Text that is not UTF-8, or a name that is too long.
    #[error("{what} is not valid text: {DAMAGED}")]
    BadText {
        /// What was being read.
        what: &'static str,
    },
    /// The same key twice.
    #[error("metadata key `{key}` appears twice: {DAMAGED}")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The same tensor twice.
    #[error("tensor `{tensor}` appears twice: {DAMAGED}")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// `general.alignment` is no power of two, too small or absurdly large.
    #[error("general.alignment is {found}, not a power of two from 8 to 65536: {DAMAGED}")]
    BadAlignment {
        /// The value.
        found: u64,
    },
    /// A tensor with too many dimensions.
    #[error("tensor `{tensor}` has {found} dimensions (at most 4 exist): {DAMAGED}")]
    TooManyDimensions {
        /// The tensor.
        tensor: String,
        /// Its dimension count.
        found: u32,
    },
    /// A zero or overflowing dimension, or a width that isn't a multiple of the type's block.
    #[error("tensor `{tensor}` has an impossible shape: {DAMAGED}")]
    BadShape {
        /// The tensor.
        tensor: String,
    },
    /// A tensor type number this reader doesn't know.
    #[error(
        "tensor `{tensor}` is stored as unknown type {found}: the model is newer than this program, or {DAMAGED}"
    )]
    UnknownTensorType {
        /// The tensor.
        tensor: String,
        /// The type number.
        found: u32,
    },
    /// A tensor that doesn't start on a multiple of the alignment.
    #[error("tensor `{tensor}` starts at {offset}, which is not a multiple of {alignment}: {DAMAGED}")]
    MisalignedTensor {
        /// The tensor.
        tensor: String,
        /// Its offset in the data part.
        offset: u64,
        /// The file's alignment.
        alignment: usize,
    },
    /// A key that the model needs is absent.
    #[error("the model file lacks the metadata `{key}`: it is incomplete or not of a supported kind")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A tensor that the model needs is absent.
    #[error("the model file lacks the tensor `{name}`: it is incomplete or not of a supported kind")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A value of another type than its key calls for, or one out of range.
    #[error("metadata `{key}` is {found} where {expected} is needed: {DAMAGED}")]
    WrongType {
        /// The key.
        key: String,
        /// What the file has.
        found: &'static str,
        /// What is needed.
        expected: &'static str,
    },
}
