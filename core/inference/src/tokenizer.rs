//! Text to token ids and back, as the model file describes it.
//!
//! Two kinds of vocabulary are read from a GGUF file's `tokenizer.ggml.*` metadata: byte-level BPE
//! (`gpt2`: Llama 3, Qwen, SmolLM, …) and SentencePiece BPE (`llama`: Gemma, Llama 2). Both share one
//! merge loop ([`merge`]); what differs is how text is cut before it and what a merge's priority is.
//! Ids are the same as llama.cpp's, which the golden files under `tests/goldens` hold fast.
//!
//! Text becomes ids in three steps: special tokens are cut out, the rest is split into words by the
//! model's regular expressions (BPE only), and each word's bytes are merged into tokens.

mod byte_pair;
mod error;
mod merge;
mod pre_tokenizer;
mod sentence_piece;
mod special;
#[cfg(test)]
mod tests;
mod trie;
mod vocabulary;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use toktrie::TokEnv;

pub use self::error::TokenizerError;
pub use self::vocabulary::TokenKind;

use self::byte_pair::BytePair;
use self::sentence_piece::SentencePiece;
use self::special::SpecialTokens;
use self::vocabulary::Vocabulary;
use crate::gguf::GgufFile;

/// How [`Tokenizer::encode`] treats special tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add the begin and end tokens that the model wants around a text. A begin token that the text
    /// already starts with is not doubled.
    pub add_special: bool,
    /// Read the names of control tokens, such as `<|im_start|>`, as those tokens. Otherwise they are
    /// ordinary text. User-defined tokens (Gemma's runs of newlines) are always recognised.
    pub parse_special: bool,
}

impl EncodeOptions {
    /// For a rendered chat template: control tokens are parsed and the begin token added.
    pub const PROMPT: Self = Self {
        add_special: true,
        parse_special: true,
    };
    /// For plain text in the middle of something: nothing is parsed or added.
    pub const TEXT: Self = Self {
        add_special: false,
        parse_special: false,
    };
}

/// A model's tokenizer. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    environment: Arc<OnceLock<TokEnv>>,
}

#[derive(Debug)]
struct Inner {
    vocabulary: Vocabulary,
    special: SpecialTokens,
    algorithm: Algorithm,
    add_bos: bool,
    add_eos: bool,
}

#[derive(Debug)]
enum Algorithm {
    BytePair(BytePair),
    SentencePiece(SentencePiece),
}

impl Tokenizer {
    /// Reads the tokenizer of a model file. Takes some 100 ms for a vocabulary of 150,000 tokens.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        let model: &str = file.require("tokenizer.ggml.model")?;
        let (mut vocabulary, algorithm, bos_by_default) = match model {
            "gpt2" => {
                let vocabulary = Vocabulary::byte_level(file)?;
                let bytes = BytePair::new(file, &vocabulary)?;
                let adds_bos = bytes.adds_bos_by_default();
                (vocabulary, Algorithm::BytePair(bytes), adds_bos)
            }
            "llama" => {
                let vocabulary = Vocabulary::sentence_piece(file)?;
                let pieces = SentencePiece::new(file, &vocabulary)?;
                (vocabulary, Algorithm::SentencePiece(pieces), true)
            }
            other => {
                return Err(TokenizerError::UnsupportedModel {
                    found: other.to_owned(),
                });
            }
        };
        let special = SpecialTokens::find(file, &mut vocabulary, model == "llama")?;
        let add_bos = file
            .get("tokenizer.ggml.add_bos_token")?
            .unwrap_or(bos_by_default);
        let add_eos = file.get("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        let inner = Inner {
            vocabulary,
            special,
            algorithm,
            add_bos,
            add_eos,
        };
        Ok(Self {
            inner: Arc::new(inner),
            environment: Arc::default(),
        })
    }

    /// The token ids of `text`.
    ///
    /// Every text has ids: bytes that no token covers become byte tokens, or the unknown token.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        let inner = &*self.inner;
        if options.add_special && inner.add_bos {
            ids.extend(inner.special.bos);
        }
        let begin = ids.len();
        self.encode_parts(text, options.parse_special, true, &mut ids);
        if begin == 1 && ids.get(1) == ids.first() {
            ids.remove(0);
        }
        if options.add_special
            && inner.add_eos
            && (ids.len() <= begin || ids.last() != inner.special.eos.as_ref())
        {
            ids.extend(inner.special.eos);
        }
        ids
    }

    fn encode_parts(&self, text: &str, parse_special: bool, at_start: bool, ids: &mut Vec<u32>) {
        let mut after_special = at_start;
        self.inner
            .special
            .partition(text, parse_special, |part| match part {
                special::Part::Token(id) => {
                    ids.push(id);
                    after_special = true;
                }
                special::Part::Text(text) => {
                    let text = if parse_special {
                        special::without_literal_marks(text)
                    } else {
                        Cow::Borrowed(text)
                    };
                    match &self.inner.algorithm {
                        Algorithm::BytePair(algorithm) => {
                            algorithm.encode(&self.inner.vocabulary, &text, ids);
                        }
                        Algorithm::SentencePiece(algorithm) => {
                            algorithm.encode(&self.inner.vocabulary, &text, after_special, ids);
                        }
                    }
                    after_special = false;
                }
            });
    }

    /// Marks the names of control tokens in text that came from outside, so that they stay text.
    ///
    /// A message that quotes `<|im_end|>` must not end the turn when the rendered prompt is encoded
    /// with `parse_special`. The marks (U+FDD0, a code point that no text may contain) vanish in
    /// [`encode`](Self::encode). Costs one scan; text without such names is returned as it is.
    pub fn escape_control_tokens<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.inner.special.escape(text, &self.inner.vocabulary)
    }

    /// The bytes a token stands for; a control token's bytes are its name. Empty for ids without
    /// text and ids out of range. One token's bytes need not be whole UTF-8 characters.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.inner.vocabulary.bytes(id)
    }

    /// The bytes of several tokens joined, control tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let visible = ids.iter().filter(|&&id| !self.is_control(id));
        visible.flat_map(|&id| self.token_bytes(id)).copied().collect()
    }

    /// What kind of token this is; `None` for ids out of range.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.inner.vocabulary.kind(id)
    }

    /// Whether the token steers the model and isn't part of the text (`<|im_start|>`, end of text, …).
    pub fn is_control(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(TokenKind::Control | TokenKind::Unknown))
    }

    /// The id of the special (control or user-defined) token with this name.
    pub fn special_token(&self, name: &str) -> Option<u32> {
        self.inner.special.by_name(name)
    }

    /// The begin-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.inner.special.bos
    }

    /// The end-of-text token.
    pub fn eos(&self) -> Option<u32> {
        self.inner.special.eos
    }

    /// Whether generation ends with this token: end of text, of turn, of message, and the like.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.inner.special.end_of_generation.binary_search(&id).is_ok()
    }

    /// All tokens that end generation, in ascending order.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.inner.special.end_of_generation
    }

    /// Whether [`EncodeOptions::add_special`] adds a begin token.
    pub fn adds_bos(&self) -> bool {
        self.inner.add_bos && self.inner.special.bos.is_some()
    }

    /// How many ids there are: valid ids are `0..vocabulary_size`.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.vocabulary.len()
    }

    /// The vocabulary as constrained decoding wants it. Built at the first call (some 100 ms), then
    /// shared.
    pub fn tok_env(&self) -> TokEnv {
        self.environment
            .get_or_init(|| trie::environment(&self.without_environment()))
            .clone()
    }

    /// A handle for the environment to hold: it shares all but the environment, so that there is no cycle.
    fn without_environment(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            environment: Arc::default(),
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("vocabulary_size", &self.vocabulary_size())
            .finish_non_exhaustive()
    }
}
