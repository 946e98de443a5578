//! Lines on a local socket: one JSON object each.
//!
//! To the engine: `{"id":1,"method":"chat.send","params":{…}}` and `{"cancel":1}`. From it, for each id: any number of
//! `{"id":1,"event":{…}}`, then one `{"id":1,"result":{…}}` or `{"id":1,"error":{…}}`. A line that is not understood is
//! answered with `{"id":null,"error":{…}}`.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::error::ApiError;

/// Longest line that an engine takes, and longest that a caller should send, bytes.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;

/// A line to the engine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Incoming {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) params: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cancel: Option<u64>,
}

/// A line from the engine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    pub(crate) id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ApiError>,
}

/// One line of `value`, with its end.
pub(crate) fn line(value: &impl Serialize) -> String {
    // Values made of JSON and strings always serialise.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A line, without its end, in the buffer.
    Line,
    /// A line longer than allowed; it was skipped.
    TooLong,
    /// Nothing follows.
    End,
}

/// Reads a line of at most `max_bytes` into `buffer`. A last line without an end is dropped.
pub(crate) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    max_bytes: usize,
    buffer: &mut Vec<u8>,
) -> io::Result<Read> {
    buffer.clear();
    let mut too_long = false;
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(Read::End);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let piece = &chunk[..end.unwrap_or(chunk.len())];
        too_long |= buffer.len() + piece.len() > max_bytes;
        if too_long {
            buffer.clear();
        } else {
            buffer.extend_from_slice(piece);
        }
        let used = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(if too_long { Read::TooLong } else { Read::Line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    #[tokio::test]
    async fn lines_are_cut_at_their_ends_and_long_ones_skipped() {
        for capacity in [1, 3, 64] {
            let mut reader = BufReader::with_capacity(capacity, &b"ab\n\n0123456789\ncd\nrest"[..]);
            let mut buffer = Vec::new();
            let mut seen = Vec::new();
            loop {
                match read_line(&mut reader, 4, &mut buffer).await.unwrap() {
                    Read::Line => seen.push(String::from_utf8(buffer.clone()).unwrap()),
                    Read::TooLong => seen.push("too long".into()),
                    Read::End => break,
                }
            }
            assert_eq!(seen, ["ab", "", "too long", "cd"]);
        }
    }
}
