//! Text to tokens and back, with the vocabulary of a model file.

/// How text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Add the tokens the model expects around a text, such as a beginning-of-sequence token.
    pub add_special: bool,
    /// Read control tokens written out in the text as what they are. Never for a user's text.
    pub parse_special: bool,
}
