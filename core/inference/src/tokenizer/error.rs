//! Why a tokenizer could not be made from a model file.

use crate::gguf::GgufError;

/// Why a tokenizer could not be made from a model file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file's metadata is wrong or incomplete.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A kind of tokenizer that isn't supported.
    #[error(
        "the model's tokenizer is of kind `{found}`; `gpt2` (BPE) and `llama` (SentencePiece) are supported"
    )]
    UnsupportedModel {
        /// `tokenizer.ggml.model`.
        found: String,
    },
    /// A way of splitting words that isn't known. Guessing it would feed the model wrong tokens.
    #[error("the model splits words in the unknown way `{found}`: it is newer than this program")]
    UnsupportedPreTokenizer {
        /// `tokenizer.ggml.pre`.
        found: String,
    },
    /// Lists of unequal length, ids out of range, tokens of absurd length.
    #[error(
        "the model's vocabulary is inconsistent: {problem}; download the model again or get another conversion"
    )]
    Inconsistent {
        /// What is wrong.
        problem: String,
    },
}

impl TokenizerError {
    pub(super) fn inconsistent(problem: impl Into<String>) -> Self {
        Self::Inconsistent {
            problem: problem.into(),
        }
    }
}
