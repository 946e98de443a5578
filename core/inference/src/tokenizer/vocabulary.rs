//! All tokens' bytes and kinds, with a table from bytes to id.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::TokenizerError;
use crate::gguf::{GgufFile, StringArray};

/// Longest token, in bytes. The longest in known models is 1,024 spaces.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Most tokens. The largest known vocabularies have some 300,000.
const MAX_TOKENS: usize = 1 << 23;

/// What a token is for, with the file format's numbers (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Stands for what no other token covers.
    Unknown,
    /// Steers the model; no part of the text.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// Padding of the vocabulary: has no text and never occurs.
    Unused,
    /// A single byte.
    Byte,
}

impl TokenKind {
    fn from_number(number: i32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<u32>,
    kinds: Vec<TokenKind>,
    by_bytes: HashTable<u32>,
    hasher: RandomState,
}

impl Vocabulary {
    /// A vocabulary whose texts spell bytes with printable characters.
    pub(super) fn byte_level(file: &GgufFile) -> Result<Self, TokenizerError> {
        let byte_of = byte_level_table();
        let merged = [TokenKind::Normal, TokenKind::UserDefined];
        Self::read(file, &merged, |text, kind, bytes| {
            match (kind, std::str::from_utf8(text)) {
                (TokenKind::Normal | TokenKind::Byte, Ok(text)) => {
                    for character in text.chars() {
                        match byte_of.get(character as usize).copied().flatten() {
                            Some(byte) => bytes.push(byte),
                            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
                        }
                    }
                }
                _ => bytes.extend(text),
            }
        })
    }

    /// A vocabulary whose texts write spaces as U+2581 and bytes as `<0x0A>`.
    pub(super) fn sentence_piece(file: &GgufFile) -> Result<Self, TokenizerError> {
        let merged = [TokenKind::Normal];
        Self::read(file, &merged, |text, kind, bytes| {
            match (kind, std::str::from_utf8(text)) {
                (TokenKind::Byte, Ok(text)) => match parse_byte_token(text) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend(text.bytes()),
                },
                (TokenKind::Normal, Ok(text)) => {
                    for (index, part) in text.split('\u{2581}').enumerate() {
                        if index > 0 {
                            bytes.push(b' ');
                        }
                        bytes.extend(part.bytes());
                    }
                }
                _ => bytes.extend(text),
            }
        })
    }

    /// `merged` are the kinds that merging can lead to.
    fn read(
        file: &GgufFile,
        merged: &[TokenKind],
        decode: impl Fn(&[u8], TokenKind, &mut Vec<u8>),
    ) -> Result<Self, TokenizerError> {
        let texts: StringArray<'_> = file.require("tokenizer.ggml.tokens")?;
        let types: Option<Vec<i32>> = file.get("tokenizer.ggml.token_type")?;
        if texts.is_empty() || texts.len() > MAX_TOKENS {
            return Err(TokenizerError::inconsistent(format!("{} tokens", texts.len())));
        }
        if let Some(types) = &types
            && types.len() < texts.len()
        {
            let problem = format!("{} tokens but {} token types", texts.len(), types.len());
            return Err(TokenizerError::inconsistent(problem));
        }

        let mut vocabulary = Self {
            bytes: Vec::with_capacity(texts.len() * 8),
            ends: Vec::with_capacity(texts.len()),
            kinds: Vec::with_capacity(texts.len()),
            by_bytes: HashTable::with_capacity(texts.len()),
            hasher: RandomState::new(),
        };
        for (id, text) in texts.iter().enumerate() {
            let number = types
                .as_ref()
                .and_then(|types| types.get(id))
                .copied()
                .unwrap_or(1);
            let kind = TokenKind::from_number(number);
            if text.len() > MAX_TOKEN_BYTES {
                let problem = format!("token {id} is {} bytes long", text.len());
                return Err(TokenizerError::inconsistent(problem));
            }
            if kind != TokenKind::Unused {
                decode(text, kind, &mut vocabulary.bytes);
            }
            let end = u32::try_from(vocabulary.bytes.len())
                .map_err(|_| TokenizerError::inconsistent("the tokens' texts exceed 4 GiB"))?;
            vocabulary.ends.push(end);
            vocabulary.kinds.push(kind);
            if merged.contains(&kind) {
                vocabulary.index(id as u32);
            }
        }
        Ok(vocabulary)
    }

    fn index(&mut self, id: u32) {
        let Self {
            bytes,
            ends,
            by_bytes,
            hasher,
            ..
        } = self;
        let key = slice(bytes, ends, id);
        if key.is_empty() {
            return;
        }
        let hash = hasher.hash_one(key);
        by_bytes
            .entry(
                hash,
                |&other| slice(bytes, ends, other) == key,
                |&other| hasher.hash_one(slice(bytes, ends, other)),
            )
            .or_insert(id);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, id)
    }

    pub(super) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    pub(super) fn set_kind(&mut self, id: u32, kind: TokenKind) {
        if let Some(slot) = self.kinds.get_mut(id as usize) {
            *slot = kind;
        }
    }

    /// The text token with exactly these bytes; the first one where there are several. Control, byte
    /// and unused tokens are never found: no text may become one by being merged.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes);
        self.by_bytes
            .find(hash, |&id| slice(&self.bytes, &self.ends, id) == bytes)
            .copied()
            .filter(|&id| !matches!(self.kind(id), Some(TokenKind::Control)))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (u32, TokenKind)> {
        self.kinds.iter().enumerate().map(|(id, &kind)| (id as u32, kind))
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let id = id as usize;
    let Some(&end) = ends.get(id) else { return &[] };
    let start = id
        .checked_sub(1)
        .and_then(|previous| ends.get(previous))
        .copied()
        .unwrap_or(0);
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

fn parse_byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

/// The byte that each printable stand-in character spells, indexed by code point.
///
/// Bytes that are printable in Latin-1 stand for themselves, the other 68 are numbered from U+0100 on:
/// the mapping GPT-2 introduced, so that vocabularies are readable.
pub(super) fn byte_level_table() -> [Option<u8>; 0x100 + 68] {
    let mut table = [None; 0x100 + 68];
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let index = if printable {
            usize::from(byte)
        } else {
            next += 1;
            next - 1
        };
        table[index] = Some(byte);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_level_table_is_a_bijection() {
        let table = byte_level_table();
        let mut bytes: Vec<u8> = table.iter().flatten().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(table['Ġ' as usize], Some(b' '));
        assert_eq!(table['Ċ' as usize], Some(b'\n'));
        assert_eq!(table['ł' as usize], Some(0xA0));
        assert_eq!(table['Ń' as usize], Some(0xAD));
    }

    #[test]
    fn byte_tokens_are_two_hex_digits() {
        assert_eq!(parse_byte_token("<0x0A>"), Some(10));
        assert_eq!(parse_byte_token("<0xAAA>"), None);
        assert_eq!(parse_byte_token("0x0A"), None);
    }
}
