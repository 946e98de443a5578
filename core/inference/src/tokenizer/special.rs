//! Special tokens: which they are, where they stand in a text, which of them end generation.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};

use super::vocabulary::Vocabulary;
use super::{TokenKind, TokenizerError};
use crate::gguf::GgufFile;

/// Put between the characters of a control token's name that is meant as text: a code point reserved
/// for a program's internal use, which text may not contain.
const LITERAL_MARK: char = '\u{FDD0}';

/// Names of tokens that end a turn, a message or the text, in the model families that have them.
/// Files often name only one of them in their metadata.
const END_NAMES: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    // Padding, repository and file separators of code models: text goes on in another document.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Metadata keys of further end tokens.
const END_KEYS: &[&str] = &[
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
];

#[derive(Debug)]
pub(super) struct SpecialTokens {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    /// In ascending order.
    pub(super) end_of_generation: Vec<u32>,
    /// Control, unknown and user-defined tokens.
    all: Matcher,
    /// User-defined tokens alone.
    user_defined: Matcher,
}

#[derive(Debug)]
struct Matcher {
    automaton: Option<AhoCorasick>,
    ids: Vec<u32>,
}

/// A part of a text.
pub(super) enum Part<'t> {
    Text(&'t str),
    Token(u32),
}

impl SpecialTokens {
    /// Finds the special tokens, and makes control tokens of end tokens that the file calls normal.
    pub(super) fn find(
        file: &GgufFile,
        vocabulary: &mut Vocabulary,
        sentence_piece: bool,
    ) -> Result<Self, TokenizerError> {
        let id_under = |key: &str, default: Option<u32>| -> Result<Option<u32>, TokenizerError> {
            // Converters write -1, which reads as 4294967295, for "none".
            let id = file.get::<i64>(key)?.map_or(default, |id| u32::try_from(id).ok());
            Ok(id.filter(|&id| (id as usize) < vocabulary.len()))
        };
        let (default_bos, default_eos) = if sentence_piece {
            (Some(1), Some(2))
        } else {
            (None, None)
        };
        let bos = id_under("tokenizer.ggml.bos_token_id", default_bos)?;
        let eos = id_under("tokenizer.ggml.eos_token_id", default_eos)?;

        let mut ends = BTreeSet::from_iter(eos);
        for key in END_KEYS {
            ends.extend(id_under(key, None)?);
        }
        let mut named = Vec::new();
        for (id, kind) in vocabulary.ids() {
            if kind == TokenKind::Unused {
                continue;
            }
            // In Gemma `</s>` is the tag that ends struck-out text.
            let is_tag = kind == TokenKind::UserDefined && vocabulary.bytes(id) == b"</s>";
            if let Ok(name) = std::str::from_utf8(vocabulary.bytes(id))
                && END_NAMES.contains(&name)
                && !is_tag
            {
                named.push(id);
            }
        }
        for id in named {
            if vocabulary.kind(id) != Some(TokenKind::Control) {
                tracing::debug!(id, "an end token was not marked as control token");
                vocabulary.set_kind(id, TokenKind::Control);
            }
            ends.insert(id);
        }

        let of_kinds = |kinds: &[TokenKind]| -> Result<Matcher, TokenizerError> {
            Matcher::new(vocabulary, |kind| kinds.contains(&kind))
        };
        let all = of_kinds(&[TokenKind::Control, TokenKind::Unknown, TokenKind::UserDefined])?;
        let user_defined = of_kinds(&[TokenKind::UserDefined])?;
        Ok(Self {
            bos,
            eos,
            end_of_generation: ends.into_iter().collect(),
            all,
            user_defined,
        })
    }

    /// Cuts `text` at special tokens: the leftmost first, the longest of those that start together.
    pub(super) fn partition(&self, text: &str, parse_special: bool, mut take: impl FnMut(Part<'_>)) {
        let matcher = if parse_special {
            &self.all
        } else {
            &self.user_defined
        };
        let mut done = 0;
        for (start, end, id) in matcher.find_all(text) {
            if done < start {
                take(Part::Text(&text[done..start]));
            }
            take(Part::Token(id));
            done = end;
        }
        if done < text.len() {
            take(Part::Text(&text[done..]));
        }
    }

    pub(super) fn escape<'t>(&self, text: &'t str, vocabulary: &Vocabulary) -> Cow<'t, str> {
        let mut escaped = String::new();
        let mut done = 0;
        for (start, end, id) in self.all.find_all(text) {
            if vocabulary.kind(id) == Some(TokenKind::UserDefined) {
                continue;
            }
            escaped.push_str(&text[done..start]);
            for character in text[start..end].chars() {
                escaped.push(character);
                escaped.push(LITERAL_MARK);
            }
            done = end;
        }
        if done == 0 {
            return Cow::Borrowed(text);
        }
        escaped.push_str(&text[done..]);
        Cow::Owned(escaped)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<u32> {
        let mut matches = self.all.find_all(name);
        matches
            .next()
            .filter(|&(start, end, _)| start == 0 && end == name.len())
            .map(|(_, _, id)| id)
    }
}

impl Matcher {
    fn new(vocabulary: &Vocabulary, wanted: impl Fn(TokenKind) -> bool) -> Result<Self, TokenizerError> {
        // Names that aren't UTF-8 could match in the middle of a character.
        let ids: Vec<u32> = vocabulary
            .ids()
            .filter(|&(id, kind)| {
                let name = vocabulary.bytes(id);
                wanted(kind) && !name.is_empty() && std::str::from_utf8(name).is_ok()
            })
            .map(|(id, _)| id)
            .collect();
        let automaton = if ids.is_empty() {
            None
        } else {
            let names = ids.iter().map(|&id| vocabulary.bytes(id));
            let built = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(names);
            Some(built.map_err(|error| TokenizerError::inconsistent(error.to_string()))?)
        };
        Ok(Self { automaton, ids })
    }

    fn find_all(&self, text: &str) -> impl Iterator<Item = (usize, usize, u32)> {
        let matches = self
            .automaton
            .iter()
            .flat_map(move |automaton| automaton.find_iter(text));
        matches.filter_map(|found| {
            let id = self.ids.get(found.pattern().as_usize())?;
            Some((found.start(), found.end(), *id))
        })
    }
}

pub(super) fn without_literal_marks(text: &str) -> Cow<'_, str> {
    if text.contains(LITERAL_MARK) {
        Cow::Owned(text.replace(LITERAL_MARK, ""))
    } else {
        Cow::Borrowed(text)
    }
}
