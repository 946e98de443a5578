//! Media: a blob that never changes, so no Automerge document. Its handle and key are its own, and say nothing about the
//! content; it is erased with the last thing that refers to it.
//!
//! What is sealed is the canonical encoding of [`Media`]: `{version u8 = 1, id [16], type text<255>, name text<1024>,
//! created_at u64, digest [32], data blob<64 MiB>}`, cut into [`pieces`] when it doesn't fit one body. The digest is
//! SHA-256 of the data: it stays inside.

use hearth_protocol::codec::{Blob, DecodeError, Reader, Text, Wire};
use hearth_protocol::hash::sha256;

use super::{DocumentError, LocalId, malformed};

/// Most bytes of a blob.
pub const MAX_MEDIA_BYTES: usize = 64 << 20;
/// Bytes of a piece.
pub const PIECE_BYTES: usize = 256 << 10;
const VERSION: u8 = 1;
/// Bytes that the encoding has beside the data, at most.
const MAX_FRAME_BYTES: usize = 2048;

/// A picture, a recording, a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Its id in the store.
    pub id: LocalId,
    /// Media type (RFC 6838), as `image/png`; at most 255 bytes.
    pub media_type: String,
    /// What the person calls it; may be empty, at most 1,024 bytes.
    pub name: String,
    /// Milliseconds since the Unix epoch; earlier times count as that.
    pub created_at_ms: i64,
    /// The bytes, at most [`MAX_MEDIA_BYTES`].
    pub data: Vec<u8>,
}

impl Media {
    /// The bytes to seal.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, DocumentError> {
        let large = |what| move |_| DocumentError::TooLarge(what);
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.id);
        Text::<255>::try_from(self.media_type.clone())
            .map_err(large("a media type"))?
            .write(&mut out);
        Text::<1024>::try_from(self.name.clone())
            .map_err(large("a medium's name"))?
            .write(&mut out);
        (self.created_at_ms.max(0) as u64).write(&mut out);
        out.extend_from_slice(&sha256(&self.data).0);
        Blob::<MAX_MEDIA_BYTES>::try_from(self.data.clone())
            .map_err(large("a medium"))?
            .write(&mut out);
        Ok(out)
    }

    /// Reads what [`Media::encode`] wrote.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`], also when the digest isn't the data's.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut reader = Reader::new(bytes);
        let media = Self::read(&mut reader).map_err(malformed)?;
        if reader.remaining() > 0 {
            return Err(malformed("bytes are left over after a medium"));
        }
        Ok(media)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.byte()? != VERSION {
            return Err(DecodeError::NotCanonical);
        }
        let id = Wire::read(reader)?;
        let media_type: Text<255> = Wire::read(reader)?;
        let name: Text<1024> = Wire::read(reader)?;
        let created_at_ms = i64::try_from(u64::read(reader)?).map_err(|_| DecodeError::TooLarge)?;
        let digest: [u8; 32] = Wire::read(reader)?;
        let data: Blob<MAX_MEDIA_BYTES> = Wire::read(reader)?;
        if sha256(&data).0 != digest {
            return Err(DecodeError::NotCanonical);
        }
        Ok(Self {
            id,
            media_type: media_type.to_string(),
            name: name.to_string(),
            created_at_ms,
            data: data.to_vec(),
        })
    }
}

/// Cuts bytes into pieces of [`PIECE_BYTES`], the last one shorter; at least one.
pub fn pieces(bytes: &[u8]) -> impl ExactSizeIterator<Item = &[u8]> {
    let count = bytes.len().div_ceil(PIECE_BYTES).max(1);
    (0..count).map(move |place| &bytes[place * PIECE_BYTES..bytes.len().min((place + 1) * PIECE_BYTES)])
}

/// Puts pieces together again, in whatever order they come.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    pieces: std::collections::BTreeMap<u32, Vec<u8>>,
    count: Option<u32>,
}

impl Assembly {
    /// Takes a piece; the whole, when it was the last one that was missing.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] for pieces that contradict each other; [`DocumentError::TooLarge`].
    pub fn take(&mut self, index: u32, count: u32, bytes: &[u8]) -> Result<Option<Vec<u8>>, DocumentError> {
        if index >= count || self.count.is_some_and(|known| known != count) {
            return Err(malformed("pieces that don't belong together"));
        }
        if count as usize > (MAX_MEDIA_BYTES + MAX_FRAME_BYTES).div_ceil(PIECE_BYTES)
            || bytes.len() > PIECE_BYTES
        {
            return Err(DocumentError::TooLarge("a medium"));
        }
        if index + 1 < count && bytes.len() != PIECE_BYTES {
            return Err(malformed("a piece that is cut short"));
        }
        if self.pieces.get(&index).is_some_and(|known| known != bytes) {
            return Err(malformed("a piece that was another before"));
        }
        self.count = Some(count);
        self.pieces.insert(index, bytes.to_vec());
        let whole = self.pieces.len() == count as usize;
        Ok(whole.then(|| self.pieces.values().flatten().copied().collect()))
    }
}
