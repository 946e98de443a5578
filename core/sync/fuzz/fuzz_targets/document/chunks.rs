//! Automerge's files taken apart and put together again: lengths, checksums and hashes come out right whatever was changed.

use std::collections::BTreeMap;
use std::io::Read;

use hearth_protocol::hash::sha256;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// What a compressed chunk or column may become here: more is left alone.
const MAX_INFLATED: u64 = 1 << 20;

/// A column: its specification and its bytes.
pub type Column = (u64, Vec<u8>);

/// A chunk taken apart.
pub enum Chunk {
    Change {
        deps: Vec<[u8; 32]>,
        /// Actor, numbers, time, message, other actors: as they stand.
        head: Vec<u8>,
        columns: Vec<Column>,
        rest: Vec<u8>,
    },
    Document {
        /// With their count.
        actors: Vec<u8>,
        heads: Vec<[u8; 32]>,
        changes: Vec<Column>,
        operations: Vec<Column>,
        rest: Vec<u8>,
    },
    /// It couldn't be taken apart: its kind and content.
    Other(u8, Vec<u8>),
}

/// What a file is, and the hash that each of its changes had.
pub struct File {
    pub chunks: Vec<(Chunk, [u8; 32])>,
}

/// The chunks of a file, each as it stands. What follows the last whole one isn't among them.
pub fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut input = bytes;
    let mut found = Vec::new();
    while let Some(length) = chunk_length(input) {
        let (chunk, rest) = input.split_at(length);
        found.push(chunk);
        input = rest;
    }
    found
}

fn chunk_length(bytes: &[u8]) -> Option<usize> {
    let mut input = bytes.strip_prefix(&MAGIC)?.get(5..)?;
    let length = number(&mut input)?;
    let start = bytes.len() - input.len();
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then_some(end)
}

impl File {
    pub fn read(bytes: &[u8]) -> Self {
        let chunks = split(bytes).into_iter().map(|chunk| {
            let mut input = &chunk[9..];
            let _ = number(&mut input);
            let (kind, content) = match chunk[8] {
                2 => inflated(input).map_or((2, input.to_vec()), |content| (1, content)),
                kind => (kind, input.to_vec()),
            };
            let hash = hash(kind, &content);
            let read = match kind {
                0 => document(&content),
                1 => change(&content),
                _ => None,
            };
            (read.unwrap_or(Chunk::Other(kind, content)), hash)
        });
        Self {
            chunks: chunks.collect(),
        }
    }

    /// The file's bytes. A change that another builds on is named by the hash that it has now.
    pub fn write(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut renamed: BTreeMap<[u8; 32], [u8; 32]> = BTreeMap::new();
        for (chunk, was) in &mut self.chunks {
            if let Chunk::Change { deps, .. } = chunk {
                for dep in deps.iter_mut() {
                    if let Some(now) = renamed.get(dep) {
                        *dep = *now;
                    }
                }
                deps.sort_unstable();
            }
            let (kind, content) = chunk.content();
            let now = hash(kind, &content);
            renamed.insert(*was, now);
            put_chunk(kind, &content, &mut out);
        }
        out
    }
}

/// A document's chunk whose heads are these.
pub fn with_heads(bytes: &[u8], heads: &[[u8; 32]]) -> Option<Vec<u8>> {
    let mut file = File::read(bytes);
    let Some((
        Chunk::Document {
            heads: named, rest, ..
        },
        _,
    )) = file.chunks.first_mut()
    else {
        return None;
    };
    if *named == heads {
        return None;
    }
    named.clear();
    named.extend_from_slice(heads);
    rest.clear();
    Some(file.write())
}

impl Chunk {
    fn content(&self) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        match self {
            Self::Change {
                deps,
                head,
                columns,
                rest,
            } => {
                put_hashes(deps, &mut out);
                out.extend_from_slice(head);
                put_columns(columns, &mut out);
                put_data(columns, &mut out);
                out.extend_from_slice(rest);
                (1, out)
            }
            Self::Document {
                actors,
                heads,
                changes,
                operations,
                rest,
            } => {
                out.extend_from_slice(actors);
                put_hashes(heads, &mut out);
                put_columns(changes, &mut out);
                put_columns(operations, &mut out);
                put_data(changes, &mut out);
                put_data(operations, &mut out);
                out.extend_from_slice(rest);
                (0, out)
            }
            Self::Other(kind, content) => (*kind, content.clone()),
        }
    }
}

fn change(content: &[u8]) -> Option<Chunk> {
    let mut input = content;
    let deps = hashes(&mut input)?;
    let before = input;
    prefixed(&mut input)?;
    for _ in 0..3 {
        number(&mut input)?;
    }
    prefixed(&mut input)?;
    for _ in 0..number(&mut input)? {
        prefixed(&mut input)?;
    }
    let head = before[..before.len() - input.len()].to_vec();
    let named = named_columns(&mut input)?;
    let columns = data(named, &mut input)?;
    Some(Chunk::Change {
        deps,
        head,
        columns,
        rest: input.to_vec(),
    })
}

fn document(content: &[u8]) -> Option<Chunk> {
    let mut input = content;
    for _ in 0..number(&mut input)? {
        prefixed(&mut input)?;
    }
    let actors = content[..content.len() - input.len()].to_vec();
    let heads = hashes(&mut input)?;
    let changes = named_columns(&mut input)?;
    let operations = named_columns(&mut input)?;
    let changes = data(changes, &mut input)?;
    let operations = data(operations, &mut input)?;
    Some(Chunk::Document {
        actors,
        heads,
        changes,
        operations,
        rest: input.to_vec(),
    })
}

fn hash(kind: u8, content: &[u8]) -> [u8; 32] {
    let mut hashed = vec![kind];
    put_number(content.len() as u64, &mut hashed);
    hashed.extend_from_slice(content);
    sha256(&hashed).0
}

fn put_chunk(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&hash(kind, content)[..4]);
    out.push(kind);
    put_number(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn put_hashes(hashes: &[[u8; 32]], out: &mut Vec<u8>) {
    put_number(hashes.len() as u64, out);
    hashes.iter().for_each(|hash| out.extend_from_slice(hash));
}

fn put_columns(columns: &[Column], out: &mut Vec<u8>) {
    put_number(columns.len() as u64, out);
    for (named, data) in columns {
        put_number(*named, out);
        put_number(data.len() as u64, out);
    }
}

fn put_data(columns: &[Column], out: &mut Vec<u8>) {
    columns.iter().for_each(|(_, data)| out.extend_from_slice(data));
}

fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for place in 0..10 {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place).unwrap_or_default();
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(input: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(taken)
}

fn prefixed<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(input)?;
    take(input, length)
}

fn hashes(input: &mut &[u8]) -> Option<Vec<[u8; 32]>> {
    let count = number(input)?;
    let bytes = take(input, count.checked_mul(32)?)?;
    Some(bytes.as_chunks::<32>().0.to_vec())
}

fn named_columns(input: &mut &[u8]) -> Option<Vec<(u64, u64)>> {
    let count = number(input)?;
    (0..count.min(64))
        .map(|_| Some((number(input)?, number(input)?)))
        .collect()
}

/// The columns' bytes, inflated where they are compressed.
fn data(named: Vec<(u64, u64)>, input: &mut &[u8]) -> Option<Vec<Column>> {
    named
        .into_iter()
        .map(|(named, length)| {
            let data = take(input, length)?;
            Some(match named & 8 {
                0 => (named, data.to_vec()),
                _ => (named & !8, inflated(data)?),
            })
        })
        .collect()
}

fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut limited = flate2::bufread::DeflateDecoder::new(bytes).take(MAX_INFLATED);
    limited.read_to_end(&mut out).ok()?;
    (out.len() < MAX_INFLATED as usize).then_some(out)
}
