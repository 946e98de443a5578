//! SentencePiece BPE: characters merged by the score of the token they make, bytes for the rest.

use std::borrow::Cow;
use std::sync::Mutex;

use super::merge::{Merge, Merger, NO_TOKEN, bounded_parts};
use super::vocabulary::Vocabulary;
use super::{TokenKind, TokenizerError};
use crate::gguf::GgufFile;

#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Per token: its score turned round, so that the best score is the lowest number.
    priorities: Vec<u32>,
    /// The token of each single byte.
    byte_ids: [u32; 256],
    unknown: Option<u32>,
    /// The bytes that stand before a space inside some token: elsewhere no token reaches over the
    /// beginning of a run of spaces, so that text can be cut there.
    joins_space: [bool; 256],
    add_space_prefix: bool,
    scratch: Mutex<Vec<Merger>>,
}

impl SentencePiece {
    pub(super) fn new(file: &GgufFile, vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let scores: Vec<f32> = file.require("tokenizer.ggml.scores")?;
        if scores.len() < vocabulary.len() {
            let problem = format!("{} tokens but {} scores", vocabulary.len(), scores.len());
            return Err(TokenizerError::inconsistent(problem));
        }
        let mut byte_ids = [NO_TOKEN; 256];
        let mut joins_space = [false; 256];
        let mut unknown = file.get("tokenizer.ggml.unknown_token_id")?;
        for (id, kind) in vocabulary.ids() {
            match (kind, vocabulary.bytes(id)) {
                (TokenKind::Byte, &[byte]) => byte_ids[usize::from(byte)] = id,
                (TokenKind::Unknown, _) => unknown = unknown.or(Some(id)),
                (TokenKind::Normal, bytes) => {
                    let pairs = bytes.windows(2).filter(|pair| pair[1] == b' ' && pair[0] != b' ');
                    pairs.for_each(|pair| joins_space[usize::from(pair[0])] = true);
                }
                _ => {}
            }
        }
        Ok(Self {
            priorities: scores.into_iter().map(priority).collect(),
            byte_ids,
            unknown: unknown.filter(|&id| (id as usize) < vocabulary.len()),
            joins_space,
            add_space_prefix: file.get("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            scratch: Mutex::default(),
        })
    }

    /// `after_special`: at the start of the text or right after a special token, where a space is put
    /// before the text if the model was trained so.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        after_special: bool,
        ids: &mut Vec<u32>,
    ) {
        let mut merger = self
            .scratch
            .lock()
            .ok()
            .and_then(|mut pool| pool.pop())
            .unwrap_or_default();
        // In these vocabularies U+2581 spells a space, so that the character itself can't be told from one.
        let mut text = if text.contains('\u{2581}') {
            text.replace('\u{2581}', " ").into()
        } else {
            Cow::Borrowed(text)
        };
        if self.add_space_prefix && after_special {
            text.to_mut().insert(0, ' ');
        }
        for part in bounded_parts(&text) {
            let mut rest = part;
            while !rest.is_empty() {
                let (word, after) = rest.split_at(self.word_end(rest.as_bytes()));
                self.encode_word(vocabulary, word, &mut merger, ids);
                rest = after;
            }
        }
        merger.clear();
        if let Ok(mut pool) = self.scratch.lock() {
            pool.push(merger);
        }
    }

    /// Where the text may first be cut without changing its tokens.
    fn word_end(&self, text: &[u8]) -> usize {
        let cut = text
            .windows(2)
            .position(|pair| pair[1] == b' ' && pair[0] != b' ' && !self.joins_space[usize::from(pair[0])]);
        cut.map_or(text.len(), |before| before + 1)
    }

    fn encode_word(&self, vocabulary: &Vocabulary, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        merger.clear();
        for (position, character) in text.char_indices() {
            let length = character.len_utf8();
            let id = vocabulary.find(&text.as_bytes()[position..position + length]);
            merger.push(position as u32, length as u32, id.unwrap_or(NO_TOKEN));
        }
        merger.run(
            |left, right| {
                let start = left.start as usize;
                let end = right.start as usize + right.length as usize;
                let id = vocabulary.find(text.as_bytes().get(start..end)?)?;
                Some(Merge {
                    priority: *self.priorities.get(id as usize)?,
                    id,
                })
            },
            |symbol| match symbol.id {
                NO_TOKEN => {
                    for &byte in symbol.bytes(text.as_bytes()) {
                        match self.byte_ids[usize::from(byte)] {
                            NO_TOKEN => ids.extend(self.unknown),
                            id => ids.push(id),
                        }
                    }
                }
                id => ids.push(id),
            },
        );
    }
}

/// Maps scores to integers in the opposite order; not-a-number comes last.
fn priority(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    // Adding zero makes negative zero positive.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_in_the_opposite_order_of_scores() {
        let scores = [
            f32::INFINITY,
            3.5,
            1.0,
            0.0,
            -0.5,
            -1000.0,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        let priorities: Vec<u32> = scores.iter().map(|&score| priority(score)).collect();
        assert!(priorities.is_sorted_by(|a, b| a < b), "{priorities:?}");
        assert_eq!(priority(0.0), priority(-0.0));
    }
}
