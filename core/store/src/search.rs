//! Full-text search over the messages of all chats.

use serde::Serialize;

use crate::error::StoreError;
use crate::id::{ChatId, MessageId};
use crate::messages::Role;
use crate::store::Store;

/// Stands before a match in [`SearchHit::snippet`]: U+E000, a private-use character that faces replace.
pub const HIGHLIGHT_START: char = '\u{E000}';
/// Stands after a match in [`SearchHit::snippet`]: U+E001.
pub const HIGHLIGHT_END: char = '\u{E001}';

/// What to search for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// Words as the user typed them, no operators: all must occur; the last also matches as the beginning of a word.
    pub text: String,
    /// At most this many hits.
    pub limit: usize,
    /// Only in this chat.
    pub chat: Option<ChatId>,
}

/// A message that matched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchHit {
    /// Its chat.
    pub chat: ChatId,
    /// The chat's title.
    pub title: String,
    /// The message.
    pub message: MessageId,
    /// Who speaks in it.
    pub role: Role,
    /// The place of the match, with [`HIGHLIGHT_START`] and [`HIGHLIGHT_END`] around matches and `…` where cut.
    pub snippet: String,
    /// BM25, higher is better; comparable within one search only.
    pub score: f64,
    /// When the message was created.
    pub created_at_ms: i64,
}

impl Store {
    /// Messages that match, the best first. No text can be a syntax error; a text without a word finds nothing.
    pub fn search(&self, query: &SearchQuery) -> Result<Vec<SearchHit>, StoreError> {
        let _ = query;
        Err(StoreError::Invalid("not built yet".into()))
    }
}
