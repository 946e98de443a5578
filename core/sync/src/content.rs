//! What is inside a sealed body.

use hearth_protocol::codec::{Blob, DecodeError, List, Reader, Wire};
use hearth_protocol::id::TimeMs;

/// Bytes of content that one envelope holds: with its padding it stays within the limit of a body.
pub const MAX_CONTENT_BYTES: usize = (1 << 20) - 1;

/// Which document a handle is: the server never learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DocumentKind {
    /// A memory.
    Memory = 1,
    /// A chat.
    Chat = 2,
    /// A group of settings; the devices' names are one.
    Settings = 3,
    /// Recall counters, in batches of a day at most.
    Usage = 4,
    /// A media blob.
    Media = 5,
}

impl DocumentKind {
    const ALL: [Self; 5] = [Self::Memory, Self::Chat, Self::Settings, Self::Usage, Self::Media];
}

/// Bytes of a document or of a change.
pub type Bytes = Blob<MAX_CONTENT_BYTES>;

/// The content of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Changes in the order in which they were made: Automerge's own encoding of each.
    Changes {
        /// What the document is.
        kind: DocumentKind,
        /// When the batch was sealed, by the author's clock.
        at: TimeMs,
        /// The changes.
        changes: List<Bytes, 4_096>,
    },
    /// A whole document.
    Snapshot {
        /// What the document is.
        kind: DocumentKind,
        /// When it was made, by the author's clock.
        at: TimeMs,
        /// The document, as Automerge saves it; empty where it went before in pieces.
        document: Bytes,
    },
    /// A piece of a blob.
    Chunk {
        /// From 0.
        index: u32,
        /// How many there are.
        count: u32,
        /// The bytes.
        bytes: Bytes,
    },
}

impl Wire for DocumentKind {
    const MIN_BYTES: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = reader.byte()?;
        let kind = Self::ALL.into_iter().find(|kind| *kind as u8 == tag);
        kind.ok_or(DecodeError::UnknownTag(u16::from(tag)))
    }
}

impl Wire for Content {
    const MIN_BYTES: usize = 4;
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Changes { kind, at, changes } => {
                out.push(1);
                kind.write(out);
                at.write(out);
                changes.write(out);
            }
            Self::Snapshot { kind, at, document } => {
                out.push(2);
                kind.write(out);
                at.write(out);
                document.write(out);
            }
            Self::Chunk { index, count, bytes } => {
                out.push(3);
                index.write(out);
                count.write(out);
                bytes.write(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            1 => Ok(Self::Changes {
                kind: Wire::read(reader)?,
                at: Wire::read(reader)?,
                changes: Wire::read(reader)?,
            }),
            2 => Ok(Self::Snapshot {
                kind: Wire::read(reader)?,
                at: Wire::read(reader)?,
                document: Wire::read(reader)?,
            }),
            3 => {
                let (index, count) = (u32::read(reader)?, u32::read(reader)?);
                if index >= count {
                    return Err(DecodeError::TooLarge);
                }
                Ok(Self::Chunk {
                    index,
                    count,
                    bytes: Wire::read(reader)?,
                })
            }
            tag => Err(DecodeError::UnknownTag(u16::from(tag))),
        }
    }
}
