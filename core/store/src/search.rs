//! Full-text search over the messages of all chats.

use std::borrow::Cow;

use rusqlite::Connection;
use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

use crate::chats::chat_seq;
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

/// Between characters that the index takes as a word each: U+200B, ZERO WIDTH SPACE, which no word contains.
const BREAK: char = '\u{200B}';
/// Length of a snippet in the index's words, which are single characters where no spaces are written.
const SNIPPET_WORDS: i64 = 40;
/// More words than this in a query are not looked at: FTS5 bounds the depth of an expression.
const MAX_TERMS: usize = 32;
const MAX_TERM_CHARACTERS: usize = 256;

impl Store {
    /// Messages that match, the best first. No text can be a syntax error; a text without a word finds nothing.
    ///
    /// Words are compared without regard to case and accents. Where scripts are written without spaces (Chinese,
    /// Japanese, Thai, …) and in Korean any part of the text is found. Text in double quotes is found as it stands.
    pub fn search(&self, query: &SearchQuery) -> Result<Vec<SearchHit>, StoreError> {
        let Some(expression) = expression(&query.text) else {
            return Ok(Vec::new());
        };
        let chat = match query.chat {
            Some(chat) => Some(chat_seq(&self.connection, chat)?),
            None => None,
        };
        let mut statement = self.connection.prepare_cached(
            "SELECT c.id, c.title, m.id, m.role, snippet(message_search, 0, ?4, ?5, '…', ?6), -rank, m.created_at_ms
             FROM message_search JOIN message AS m ON m.seq = message_search.rowid JOIN chat AS c ON c.seq = m.chat
             WHERE message_search MATCH ?1 AND (?2 IS NULL OR m.chat = ?2)
             ORDER BY rank LIMIT ?3",
        )?;
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let (start, end) = (HIGHLIGHT_START.to_string(), HIGHLIGHT_END.to_string());
        let rows = statement.query_map((expression, chat, limit, start, end, SNIPPET_WORDS), |row| {
            Ok(SearchHit {
                chat: row.get(0)?,
                title: row.get(1)?,
                message: row.get(2)?,
                role: row.get(3)?,
                snippet: tidy(&row.get::<_, String>(4)?),
                score: row.get(5)?,
                created_at_ms: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Puts a message that has ended into the index.
pub(crate) fn index(connection: &Connection, seq: i64, text: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO message_search (rowid, text) VALUES (?1, ?2)")?
        .execute((seq, segment(text)))?;
    Ok(())
}

/// The text as it is indexed and searched: in composed form (NFC), with a break around every character of a script
/// that is written without spaces, so that a search for any run of them is a phrase of one-character words.
pub(crate) fn segment(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut segmented = String::with_capacity(text.len() * 2);
    let mut broken = true;
    for character in text.nfc() {
        if stands_alone(character) {
            if !broken {
                segmented.push(BREAK);
            }
            segmented.push(character);
            segmented.push(BREAK);
            broken = true;
        } else {
            segmented.push(character);
            broken = false;
        }
    }
    Cow::Owned(segmented)
}

/// Whether words of this character's script run together (or, in Korean, carry their particles).
pub(crate) fn stands_alone(character: char) -> bool {
    matches!(character,
        '\u{0E00}'..='\u{0EFF}' // Thai, Lao
        | '\u{1000}'..='\u{109F}' // Myanmar
        | '\u{1100}'..='\u{11FF}' // Hangul letters
        | '\u{1780}'..='\u{17FF}' // Khmer
        | '\u{3005}'..='\u{3007}' // 々〆〇
        | '\u{3040}'..='\u{318F}' // kana, Bopomofo, Hangul letters
        | '\u{31A0}'..='\u{31BF}' | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' // Han
        | '\u{AC00}'..='\u{D7FF}' // Hangul
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FF66}'..='\u{FFDC}' // half-width kana and Hangul
        | '\u{20000}'..='\u{3FFFF}') // Han
}

/// What the user typed as an FTS5 expression of nothing but quoted strings; `None` when there is no word in it.
fn expression(text: &str) -> Option<String> {
    let mut terms: Vec<String> = Vec::new();
    let mut unquoted_last = false;
    for (number, piece) in text.split('"').enumerate() {
        let before = terms.len();
        let unquoted = number % 2 == 0;
        if unquoted {
            terms.extend(piece.split_whitespace().filter_map(term));
        } else {
            terms.extend(term(piece));
        }
        if terms.len() > before {
            unquoted_last = unquoted;
        }
    }
    terms.truncate(MAX_TERMS);
    if unquoted_last {
        terms.last_mut()?.push('*');
    }
    if terms.is_empty() {
        None
    } else {
        Some(terms.join(" AND "))
    }
}

/// One quoted FTS5 string; `None` when no word is in it. `piece` has no quotation mark.
fn term(piece: &str) -> Option<String> {
    let words: String = piece
        .chars()
        .filter(|character| !character.is_control())
        .take(MAX_TERM_CHARACTERS)
        .collect();
    words
        .contains(char::is_alphanumeric)
        .then(|| format!("\"{}\"", segment(&words)))
}

/// A snippet without the breaks of [`segment`], and with highlights of neighbouring characters joined.
fn tidy(snippet: &str) -> String {
    let joint: String = [HIGHLIGHT_END, HIGHLIGHT_START].iter().collect();
    snippet.replace(BREAK, "").replace(&joint, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            expression(text).map(|text| text.replace(BREAK, "|")).as_deref(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn whatever_is_typed_becomes_quoted_strings() {
        check("", None);
        check(" \t\" \"\" * ( ) - : ", None);
        check("train", Some("\"train\"*"));
        check("night train", Some("\"night\" AND \"train\"*"));
        check("NOT a OR b*", Some("\"NOT\" AND \"a\" AND \"OR\" AND \"b*\"*"));
        check("\"night train\" to", Some("\"night train\" AND \"to\"*"));
        check("to \"night train\"", Some("\"to\" AND \"night train\""));
        check("to \"night tr", Some("\"to\" AND \"night tr\""));
        check("a\0b", Some("\"ab\"*"));
        check("東京へ go", Some("\"東|京|へ|\" AND \"go\"*"));
        check(
            "caf\u{65}\u{301}",
            Some("\"cafe\u{301}\"*".replace("e\u{301}", "é").as_str()),
        );
    }

    #[test]
    fn segmenting_keeps_the_text_but_for_breaks() {
        for text in [
            "plain",
            "GPT模型は good",
            "서울에서 만나요",
            "สวัสดีครับ",
            "Žluťoučký kůň",
        ] {
            assert_eq!(tidy(&segment(text)), text.nfc().collect::<String>());
        }
    }
}
