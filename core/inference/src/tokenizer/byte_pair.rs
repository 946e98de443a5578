//! Byte-level BPE: words by regular expression, bytes merged by rank.

use std::collections::HashMap;
use std::sync::Mutex;

use super::merge::{Merge, Merger, NO_TOKEN, bounded_parts};
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::{Vocabulary, byte_level_table};
use super::{TokenKind, TokenizerError};
use crate::gguf::{GgufFile, StringArray};

#[derive(Debug)]
pub(super) struct BytePair {
    pre_tokenizer: PreTokenizer,
    /// The token of each single byte.
    byte_ids: [u32; 256],
    merges: HashMap<(u32, u32), Merge>,
    unknown: Option<u32>,
    scratch: Mutex<Vec<Merger>>,
}

impl BytePair {
    pub(super) fn new(file: &GgufFile, vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let pre_tokenizer = PreTokenizer::named(file.get("tokenizer.ggml.pre")?)?;
        let mut byte_ids = [NO_TOKEN; 256];
        for (byte, id) in (0..=u8::MAX).zip(&mut byte_ids) {
            *id = vocabulary.find(&[byte]).unwrap_or(NO_TOKEN);
        }
        let merges = read_merges(&file.require("tokenizer.ggml.merges")?, vocabulary)?;
        let unknown = (vocabulary.ids()).find_map(|(id, kind)| (kind == TokenKind::Unknown).then_some(id));
        Ok(Self {
            pre_tokenizer,
            byte_ids,
            merges,
            unknown,
            scratch: Mutex::default(),
        })
    }

    pub(super) fn adds_bos_by_default(&self) -> bool {
        self.pre_tokenizer.adds_bos
    }

    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, ids: &mut Vec<u32>) {
        let mut merger = self
            .scratch
            .lock()
            .ok()
            .and_then(|mut pool| pool.pop())
            .unwrap_or_default();
        for part in bounded_parts(text) {
            self.pre_tokenizer.split(part, |word| {
                self.encode_word(vocabulary, word.as_bytes(), &mut merger, ids);
            });
        }
        merger.clear();
        if let Ok(mut pool) = self.scratch.lock() {
            pool.push(merger);
        }
    }

    fn encode_word(&self, vocabulary: &Vocabulary, word: &[u8], merger: &mut Merger, ids: &mut Vec<u32>) {
        if self.pre_tokenizer.whole_words_first
            && let Some(id) = vocabulary.find(word)
        {
            ids.push(id);
            return;
        }
        merger.clear();
        for (position, &byte) in word.iter().enumerate() {
            merger.push(position as u32, 1, self.byte_ids[usize::from(byte)]);
        }
        merger.run(
            |left, right| self.merges.get(&(left.id, right.id)).copied(),
            |symbol| match symbol.id {
                NO_TOKEN => ids.extend(self.unknown),
                id => ids.push(id),
            },
        );
    }
}

/// Each line of the list is two tokens with a space between, the earlier the sooner merged. A merge
/// whose parts or product aren't tokens can't be used and is left out.
fn read_merges(
    lines: &StringArray<'_>,
    vocabulary: &Vocabulary,
) -> Result<HashMap<(u32, u32), Merge>, TokenizerError> {
    let byte_of = byte_level_table();
    let mut merges = HashMap::with_capacity(lines.len());
    let mut product = Vec::new();
    let mut left_out = 0_usize;
    for (rank, line) in lines.iter().enumerate() {
        let line = std::str::from_utf8(line)
            .map_err(|_| TokenizerError::inconsistent(format!("merge {rank} is not UTF-8")))?;
        // The first character may itself be a space in vocabularies that don't spell it.
        let space = line
            .char_indices()
            .skip(1)
            .find(|&(_, character)| character == ' ');
        let Some((space, _)) = space else {
            return Err(TokenizerError::inconsistent(format!("merge {rank} has one part")));
        };
        product.clear();
        let mut decode = |part: &str| {
            for character in part.chars() {
                match byte_of.get(character as usize).copied().flatten() {
                    Some(byte) => product.push(byte),
                    None => product.extend(character.encode_utf8(&mut [0; 4]).bytes()),
                }
            }
            product.len()
        };
        let middle = decode(&line[..space]);
        decode(&line[space + 1..]);
        let ids = (
            vocabulary.find(&product[..middle]),
            vocabulary.find(&product[middle..]),
            vocabulary.find(&product),
        );
        if let (Some(left), Some(right), Some(id)) = ids {
            merges.entry((left, right)).or_insert(Merge {
                priority: rank as u32,
                id,
            });
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "merges of tokens that the vocabulary lacks were left out"
        );
    }
    Ok(merges)
}
