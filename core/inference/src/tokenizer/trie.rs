//! The vocabulary as a prefix tree, for constrained decoding.

use std::sync::Arc;

use toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use super::{EncodeOptions, TokenKind, Tokenizer};

/// The tree's own limit is 1,024 levels.
const MAX_TOKEN_BYTES: usize = 1000;
/// The tree's own limit is 2²² nodes; each byte makes at most one.
const MAX_TOTAL_BYTES: usize = (1 << 22) - 1024;

struct Environment {
    trie: TokTrie,
    tokenizer: Tokenizer,
}

pub(super) fn environment(tokenizer: &Tokenizer) -> TokEnv {
    let size = tokenizer.vocabulary_size() as u32;
    let ends = tokenizer.end_of_generation();
    let end = tokenizer.eos().or(ends.first().copied()).unwrap_or(0);
    let info = TokRxInfo {
        tok_bos: tokenizer.bos(),
        ..TokRxInfo::new(size, end)
    };

    let mut total = 0;
    let mut left_out = 0_usize;
    let words: Vec<Vec<u8>> = (0..size)
        .map(|id| {
            let bytes = tokenizer.token_bytes(id);
            let word = match tokenizer.kind(id) {
                Some(TokenKind::Control | TokenKind::Unknown) => {
                    [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
                }
                Some(TokenKind::Unused) | None => Vec::new(),
                // A text token that began with the marker byte, which no UTF-8 has, would pass as
                // special.
                _ if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) => Vec::new(),
                _ => bytes.to_vec(),
            };
            if word.len() > MAX_TOKEN_BYTES || total + word.len() > MAX_TOTAL_BYTES {
                left_out += 1;
                return Vec::new();
            }
            total += word.len();
            word
        })
        .collect();
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "tokens too long or too many for constrained decoding were left out"
        );
    }
    let mut trie = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        // The first one is the one that the tree reports as the end token.
        let mut ordered = vec![end];
        ordered.extend(ends.iter().copied().filter(|&id| id != end));
        trie = trie.with_eos_tokens(&ordered);
    }
    Arc::new(Environment {
        trie,
        tokenizer: tokenizer.clone(),
    })
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            let mut ids = Vec::new();
            self.tokenizer.encode_parts(text, false, false, &mut ids);
            ids
        })
    }

    fn tokenize_bytes_special(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            self.tokenizer.encode(
                text,
                EncodeOptions {
                    add_special: false,
                    parse_special: true,
                },
            )
        })
    }
}
