//! Bounds Automerge's binary format before Automerge reads it.
//!
//! The format compresses: a kilobyte can stand for a gigabyte (DEFLATE), twenty bytes for 2⁶⁰ operations (run lengths).
//! Automerge takes both at their word. So everything is walked through here first: what would be inflated is inflated
//! against a limit, and the rows that each column would have are counted. Values themselves Automerge checks.
//!
//! Format: <https://automerge.org/automerge-binary-format-spec/>. A file is chunks: `85 6f 4a 83`, a checksum (4 bytes, the
//! beginning of SHA-256 over type, length and content), a type, a length, the content. Bundles (type 3) aren't taken.

use std::io::Read;

use hearth_protocol::hash::sha256;

use super::{DocumentError, MAX_DOCUMENT_BYTES, malformed};

/// Most operations of all changes that are read together, or of a document: of each chunk the longest column counts.
pub const MAX_OPERATIONS: u64 = 4 << 20;
/// Most columns of a chunk: there are seventeen kinds.
const MAX_COLUMNS: u64 = 64;

/// The number of the column of actions.
const ACTION: u64 = 4;
/// The action that begins or ends a mark, the last there is.
const MARK: u64 = 7;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const DOCUMENT: u8 = 0;
const CHANGE: u8 = 1;
const COMPRESSED: u8 = 2;

/// What may still be read.
#[derive(Debug)]
pub struct Room {
    bytes: usize,
    rows: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            bytes: MAX_DOCUMENT_BYTES,
            rows: MAX_OPERATIONS,
        }
    }
}

impl Room {
    fn bytes(&mut self, count: usize) -> Result<(), DocumentError> {
        self.bytes = self
            .bytes
            .checked_sub(count)
            .ok_or(DocumentError::TooLarge("a document"))?;
        Ok(())
    }

    fn rows(&mut self, count: u64) -> Result<(), DocumentError> {
        let large = DocumentError::TooLarge("the number of operations");
        self.rows = self.rows.checked_sub(count).ok_or(large)?;
        Ok(())
    }

    fn inflate(&mut self, bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
        let mut inflated = Vec::new();
        let mut limited = flate2::bufread::DeflateDecoder::new(bytes).take(self.bytes as u64 + 1);
        limited.read_to_end(&mut inflated).map_err(malformed)?;
        self.bytes(inflated.len())?;
        Ok(inflated)
    }
}

/// Checks one change: exactly one chunk of that kind.
///
/// # Errors
/// [`DocumentError::Malformed`], [`DocumentError::TooLarge`].
pub fn change(bytes: &[u8], room: &mut Room) -> Result<(), DocumentError> {
    room.bytes(bytes.len())?;
    let mut input = Input(bytes);
    chunk(&mut input, room, false)?;
    if input.0.is_empty() {
        Ok(())
    } else {
        Err(malformed("bytes are left over after a change"))
    }
}

/// Checks a document: one chunk of it, and changes after that.
///
/// # Errors
/// As for [`change`].
pub fn document(bytes: &[u8]) -> Result<(), DocumentError> {
    let mut room = Room::default();
    room.bytes(bytes.len())?;
    let mut input = Input(bytes);
    if bytes.is_empty() {
        return Err(malformed("nothing is no document"));
    }
    while !input.0.is_empty() {
        chunk(&mut input, &mut room, true)?;
    }
    Ok(())
}

fn chunk(input: &mut Input<'_>, room: &mut Room, documents_too: bool) -> Result<(), DocumentError> {
    if input.take(4)? != MAGIC {
        return Err(malformed("these bytes aren't Automerge's"));
    }
    let checksum = input.take(4)?;
    let kind = input.byte()?;
    let length = input.length()?;
    let content = input.take(length)?;
    let inflated;
    let content = match kind {
        COMPRESSED => {
            inflated = room.inflate(content)?;
            &inflated[..]
        }
        CHANGE => content,
        DOCUMENT if documents_too => content,
        _ => return Err(malformed("a kind of chunk that isn't taken here")),
    };
    // Of a compressed change the checksum is of what it is inflated to.
    let named = if kind == COMPRESSED { CHANGE } else { kind };
    let mut hashed = vec![named];
    write_number(content.len() as u64, &mut hashed);
    hashed.extend_from_slice(content);
    if sha256(&hashed).0[..4] != *checksum {
        return Err(malformed("a checksum that is wrong"));
    }
    let mut content = Input(content);
    if kind == DOCUMENT {
        document_content(&mut content, room)
    } else {
        change_content(&mut content, room)
    }
}

fn change_content(input: &mut Input<'_>, room: &mut Room) -> Result<(), DocumentError> {
    let deps = input.length()?;
    input.take(deps.saturating_mul(32))?;
    input.prefixed()?; // actor
    input.number()?; // number of the change
    input.number()?; // number of its first operation
    input.number()?; // time, signed, but as long
    let message = input.prefixed()?;
    if std::str::from_utf8(message).is_err() {
        return Err(malformed("a message that isn't UTF-8"));
    }
    for _ in 0..input.length()? {
        input.prefixed()?; // other actors
    }
    let columns = columns(input)?;
    let mut longest = 0;
    for (kind, length) in columns {
        if kind.deflated() {
            return Err(malformed("a compressed column in a change"));
        }
        longest = longest.max(kind.rows(input.take(length)?, room)?);
    }
    room.rows(longest)
}

fn document_content(input: &mut Input<'_>, room: &mut Room) -> Result<(), DocumentError> {
    for _ in 0..input.length()? {
        input.prefixed()?; // actors
    }
    let heads = input.length()?;
    input.take(heads.saturating_mul(32))?;
    let changes = columns(input)?;
    let operations = columns(input)?;
    for columns in [changes, operations] {
        let mut longest = 0;
        for (kind, length) in columns {
            let data = input.take(length)?;
            let rows = if kind.deflated() {
                let inflated = room.inflate(data)?;
                kind.rows(&inflated, room)?
            } else {
                kind.rows(data, room)?
            };
            longest = longest.max(rows);
        }
        room.rows(longest)?;
    }
    Ok(())
}

fn columns(input: &mut Input<'_>) -> Result<Vec<(Column, usize)>, DocumentError> {
    let count = input.number()?;
    if count > MAX_COLUMNS {
        return Err(malformed("more columns than there are kinds"));
    }
    (0..count)
        .map(|_| Ok((Column(input.number()?), input.length()?)))
        .collect()
}

/// A column's specification: its kind in the low three bits, then whether it is compressed, then its number.
struct Column(u64);

impl Column {
    fn deflated(&self) -> bool {
        self.0 & 8 != 0
    }

    fn number(&self) -> u64 {
        self.0 >> 4
    }

    /// Counts the rows of a column's data; more than there is room for are an error.
    fn rows(&self, data: &[u8], room: &Room) -> Result<u64, DocumentError> {
        // Each column may have all rows there are room for: rows of different columns are the same operations. The
        // chunk's longest one is what the chunk takes.
        let mut own = Room {
            bytes: 0,
            rows: room.rows,
        };
        let mut input = Input(data);
        match self.0 & 7 {
            // A group: how many rows of the following columns belong to each of its own.
            0 => input.runs(&mut own, |input, repeated, own| {
                let each = input.number()?;
                own.rows(each.saturating_mul(repeated))
            }),
            // What each operation does. Marks aren't written here, and Automerge's index of them can end the process when
            // their ids make no sense: no error, no panic to catch.
            2 if self.number() == ACTION => input.runs(&mut own, |input, _, _| match input.number()? {
                MARK.. => Err(malformed("an operation that isn't taken here")),
                _ => Ok(()),
            }),
            // An actor's or another number; the length of a value: the room for the values is that of their column.
            1 | 2 | 6 => input.runs(&mut own, |input, _, _| input.number().map(drop)),
            // The difference to the row before.
            3 => input.runs(&mut own, |input, _, _| input.number().map(drop)),
            4 => {
                while !input.0.is_empty() {
                    let run = input.number()?;
                    own.rows(run)?;
                }
                Ok(())
            }
            5 => input.runs(&mut own, |input, repeated, own| {
                let text = input.prefixed()?;
                // A long text that is repeated often would be copied as often.
                own.rows((text.len() as u64 / 64).saturating_mul(repeated))
            }),
            // The values' bytes.
            _ => Ok(()),
        }?;
        Ok(room.rows - own.rows)
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DocumentError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DocumentError> {
        Ok(self.take(1)?[0])
    }

    /// A number in base 128, at most 64 bits; of a signed one its length alone is of interest.
    fn number(&mut self) -> Result<u64, DocumentError> {
        let mut value = 0u64;
        for place in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(7 * place).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a number of more than 64 bits"))
    }

    fn signed(&mut self) -> Result<i64, DocumentError> {
        let before = self.0;
        let value = self.number()?;
        let length = before.len() - self.0.len();
        let bits = 7 * length as u32;
        let negative = before[length - 1] & 0x40 != 0;
        Ok(if negative && bits < 64 {
            (value | u64::MAX << bits) as i64
        } else {
            value as i64
        })
    }

    fn length(&mut self) -> Result<usize, DocumentError> {
        usize::try_from(self.number()?).map_err(|_| malformed("a length beyond the input"))
    }

    fn prefixed(&mut self) -> Result<&'a [u8], DocumentError> {
        let length = self.length()?;
        self.take(length)
    }

    /// Run lengths: a positive count and a value that is repeated; a negative one and as many values; 0 and a count of
    /// rows without a value. `value` reads one and is told how often it counts.
    fn runs(
        &mut self,
        room: &mut Room,
        mut value: impl FnMut(&mut Self, u64, &mut Room) -> Result<(), DocumentError>,
    ) -> Result<(), DocumentError> {
        while !self.0.is_empty() {
            match self.signed()? {
                0 => {
                    let nulls = self.number()?;
                    room.rows(nulls)?;
                }
                count if count > 0 => {
                    room.rows(count as u64)?;
                    value(self, count as u64, room)?;
                }
                count => {
                    room.rows(count.unsigned_abs())?;
                    for _ in 0..count.unsigned_abs() {
                        value(self, 1, room)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn write_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
