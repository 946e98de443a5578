//! The file's bytes, mapped or owned. The only unsafe code of the reader: mapping a file.
#![allow(unsafe_code, reason = "mapping a file is unsafe: see the safety comments")]

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;

use super::GgufError;

#[derive(Debug)]
pub(super) enum FileBytes {
    Mapped(Mmap),
    Owned(AlignedBytes),
}

/// Bytes in memory that begin at a multiple of 8, as a mapping does, so that tensors are aligned.
#[derive(Debug, Default)]
pub(super) struct AlignedBytes {
    words: Vec<u64>,
    length: usize,
}

impl AlignedBytes {
    pub(super) fn copy(bytes: &[u8]) -> Self {
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self {
            words,
            length: bytes.len(),
        }
    }
}

impl FileBytes {
    pub(super) fn map(path: &Path) -> Result<Self, GgufError> {
        let io = |source| GgufError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        // An empty file can't be mapped on every system.
        if metadata.len() == 0 {
            return Ok(Self::Owned(AlignedBytes::default()));
        }
        // SAFETY: the mapping is read-only and private to this process's view. Another process that
        // truncates the file can end this one with a bus error, which `GgufFile` documents; model
        // files are written under a temporary name and never changed after the rename.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self::Mapped(map))
    }

    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self
            && range.start < range.end
            && range.end <= map.len()
        {
            // SAFETY: the pages belong to a read-only shared mapping of a file: dropping them loses no
            // data, the next access reads the same bytes from the file again.
            let outcome = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "could not release mapped pages");
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => &bytemuck::cast_slice(&bytes.words)[..bytes.length],
        }
    }
}
