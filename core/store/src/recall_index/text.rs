//! Search by words: BM25 over stems, the turn before as a second column.

use std::collections::HashMap;

use rusqlite::Connection;

use super::forms::telling_words;
use super::{Filter, RowKey, Sieve};
use crate::error::StoreError;
use crate::search::{segment, stands_alone};
use crate::store::Store;
use crate::vectors::Index;

/// What to search for: any of the words, the rarest counting most.
#[derive(Debug, Clone, PartialEq)]
pub struct TextQuery {
    /// Words, or runs of characters where no spaces are written; each is looked up as it stands, as a phrase.
    pub words: Vec<String>,
    /// What a word in the previous turn counts against one in the turn itself; 0 leaves the previous turn out.
    pub previous_weight: f64,
    /// Rows that may be looked at: words that so many rows have that this would be passed are left out, the most
    /// frequent first.
    pub max_rows: usize,
}

/// How many rows have a word, as far as it is worth remembering.
#[derive(Debug, Default)]
pub(crate) struct FrequentWords(HashMap<(Index, String), Frequency>);

#[derive(Debug, Clone, Copy)]
struct Frequency {
    rows: usize,
    /// Rows of the whole index when that was counted.
    of: usize,
}

/// From so many rows on, counting takes longer than remembering.
const FREQUENT: usize = 200;
/// Counting goes no further: what is in more rows is left out of any query.
const MOST_COUNTED: usize = 50_000;
/// More are not remembered.
const MOST_REMEMBERED: usize = 20_000;

impl FrequentWords {
    /// What was counted, unless the index has grown or shrunk by a tenth since.
    fn get(&self, index: Index, word: &str, of: usize) -> Option<usize> {
        let known = self.0.get(&(index, word.to_owned()))?;
        (known.of.abs_diff(of) <= known.of / 10).then_some(known.rows)
    }

    fn note(&mut self, index: Index, word: &str, rows: usize, of: usize) {
        if self.0.len() >= MOST_REMEMBERED {
            self.0.clear();
        }
        self.0.insert((index, word.to_owned()), Frequency { rows, of });
    }
}

/// More words than this are not looked at.
const MAX_WORDS: usize = 64;
const MAX_WORD_CHARACTERS: usize = 64;
const DEFAULT_MAX_ROWS: usize = 10_000;

impl TextQuery {
    /// The words of a text, as a person wrote it. Words that say little (articles, pronouns, …) are left out, unless
    /// there are no others. A text without words finds nothing.
    pub fn new(text: &str) -> TextQuery {
        let mut words = telling_words(text);
        words.truncate(MAX_WORDS);
        TextQuery {
            words,
            previous_weight: 0.5,
            max_rows: DEFAULT_MAX_ROWS,
        }
    }
}

impl Store {
    /// Rows that have at least one of the words, by BM25 (higher is better; comparable within one search only), the
    /// best first. No word can be a syntax error.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat in the filter.
    pub fn search_text(
        &self,
        index: Index,
        query: &TextQuery,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<(RowKey, f64)>, StoreError> {
        let mirror = self.mirror(index)?;
        let search = Search {
            index,
            query,
            connection: &self.connection,
            of: mirror.len(),
        };
        let (chosen, rows) = search.choose(&mut self.frequent_words.borrow_mut())?;
        if chosen.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let sieve = Sieve::new(&self.connection, index, filter)?;
        let table = search.table();
        let weights = match index {
            Index::Memories => "",
            Index::Turns => ", 1.0, ?3",
        };
        // A single word that is in too many rows: the newest have to do.
        let (most, order) = if rows > query.max_rows {
            (
                i64::try_from(query.max_rows).unwrap_or(i64::MAX),
                "ORDER BY rowid DESC",
            )
        } else {
            (-1, "")
        };
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT rowid, -bm25({table}{weights}) FROM {table} WHERE {table} MATCH ?1 {order} LIMIT ?2"
        ))?;
        let expression = search.expression(&chosen);
        let mut rows = match index {
            Index::Memories => statement.query((expression, most))?,
            Index::Turns => statement.query((expression, most, query.previous_weight))?,
        };
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            if mirror.facts(seq).is_some_and(|facts| sieve.lets(seq, facts)) {
                found.push((RowKey(seq), row.get(1)?));
            }
        }
        best(&mut found, limit);
        Ok(found)
    }
}

impl Store {
    /// How many rows have each of the words, by its stem, in the text or in the turn before; 50,000 when there are more,
    /// and for a frequent word as many as when it was last counted.
    pub fn word_rows(&self, index: Index, words: &[String]) -> Result<Vec<u64>, StoreError> {
        let of = self.mirror(index)?.len();
        let query = TextQuery::new("");
        let search = Search {
            index,
            query: &query,
            connection: &self.connection,
            of,
        };
        let mut frequent = self.frequent_words.borrow_mut();
        words
            .iter()
            .map(|word| match quoted(word) {
                Some(word) => Ok(search.rows(&word, &mut frequent)? as u64),
                None => Ok(0),
            })
            .collect()
    }
}

/// Leaves the best `limit` in order: by score, then the newest.
pub(crate) fn best<S: PartialOrd + Copy>(found: &mut Vec<(RowKey, S)>, limit: usize) {
    let order = |a: &(RowKey, S), b: &(RowKey, S)| {
        b.1.partial_cmp(&a.1)
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(b.0.cmp(&a.0))
    };
    if found.len() > limit {
        found.select_nth_unstable_by(limit, order);
        found.truncate(limit);
    }
    found.sort_unstable_by(order);
}

struct Search<'a> {
    index: Index,
    query: &'a TextQuery,
    connection: &'a Connection,
    /// Rows of the index.
    of: usize,
}

impl Search<'_> {
    fn table(&self) -> &'static str {
        match self.index {
            Index::Memories => "memory_search",
            Index::Turns => "turn_search",
        }
    }

    /// The words to look for, as FTS5 strings: the rarest, as far as the rows suffice, but one at least that occurs.
    /// And in how many rows they are together, at most.
    fn choose(&self, frequent: &mut FrequentWords) -> Result<(Vec<String>, usize), StoreError> {
        let mut counted = Vec::new();
        for word in self
            .query
            .words
            .iter()
            .take(MAX_WORDS)
            .filter_map(|word| quoted(word))
        {
            let rows = self.rows(&word, frequent)?;
            if rows > 0 {
                counted.push((rows, word));
            }
        }
        counted.sort();
        counted.dedup();
        let (mut chosen, mut together) = (Vec::new(), 0);
        for (rows, word) in counted {
            if together + rows > self.query.max_rows && !chosen.is_empty() {
                break;
            }
            together += rows;
            chosen.push(word);
        }
        Ok((chosen, together))
    }

    /// How many rows have the word, or had when that was last counted.
    fn rows(&self, word: &str, frequent: &mut FrequentWords) -> Result<usize, StoreError> {
        if let Some(rows) = frequent.get(self.index, word, self.of) {
            return Ok(rows);
        }
        let table = self.table();
        let rows: i64 = self
            .connection
            .prepare_cached(&format!(
                "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ?1 LIMIT ?2)"
            ))?
            .query_row(
                (self.expression(&[word.to_owned()]), MOST_COUNTED as i64),
                |row| row.get(0),
            )?;
        let rows = rows as usize;
        if rows >= FREQUENT {
            frequent.note(self.index, word, rows, self.of);
        }
        Ok(rows)
    }

    fn expression(&self, words: &[String]) -> String {
        let any = words.join(" OR ");
        if self.index == Index::Turns && self.query.previous_weight <= 0.0 {
            format!("text : ({any})")
        } else {
            any
        }
    }
}

/// An FTS5 string; `None` when there is no letter or digit in it.
fn quoted(word: &str) -> Option<String> {
    let plain: String = word
        .chars()
        .filter(|c| !c.is_control() && *c != '"')
        .take(MAX_WORD_CHARACTERS)
        .collect();
    plain
        .contains(char::is_alphanumeric)
        .then(|| format!("\"{}\"", segment(&plain)))
}

/// The words of a text in lower case. Where no spaces are written: every two neighbouring characters.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_alphanumeric() || is_mark(c)))
        .filter(|piece| piece.contains(char::is_alphanumeric))
        .flat_map(|piece| {
            let mut words = Vec::new();
            let mut plain = String::new();
            let mut run: Vec<char> = Vec::new();
            for c in piece.chars() {
                if stands_alone(c) {
                    words.extend(take(&mut plain));
                    run.push(c);
                } else {
                    pairs(&mut run, &mut words);
                    plain.extend(c.to_lowercase());
                }
            }
            words.extend(take(&mut plain));
            pairs(&mut run, &mut words);
            words
        })
}

fn take(plain: &mut String) -> Option<String> {
    (!plain.is_empty()).then(|| std::mem::take(plain))
}

fn pairs(run: &mut Vec<char>, words: &mut Vec<String>) {
    match run.len() {
        0 => {}
        1 => words.push(run[0].to_string()),
        _ => words.extend(run.windows(2).map(|pair| pair.iter().collect::<String>())),
    }
    run.clear();
}

/// Combining marks, which belong to the letter before them.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// English words that are in every second sentence; what is frequent in other languages is left out by its number of
/// rows.
pub(super) fn is_stop_word(word: &str) -> bool {
    const STOP_WORDS: &[&str] = &[
        "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
        "because", "been", "before", "being", "but", "by", "can", "could", "d", "did", "do", "does", "doing",
        "don", "down", "for", "from", "had", "has", "have", "having", "he", "her", "here", "hers", "him",
        "his", "how", "i", "if", "in", "into", "is", "isn", "it", "its", "just", "ll", "m", "me", "more",
        "most", "my", "no", "nor", "not", "now", "of", "off", "on", "once", "only", "or", "other", "our",
        "out", "over", "own", "re", "s", "same", "she", "should", "so", "some", "such", "t", "than", "that",
        "the", "their", "them", "then", "there", "these", "they", "this", "those", "through", "to", "too",
        "under", "until", "up", "ve", "very", "was", "we", "were", "what", "when", "where", "which", "while",
        "who", "whom", "why", "will", "with", "would", "you", "your",
    ];
    STOP_WORDS.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(TextQuery::new(text).words, expected, "{text}");
    }

    #[test]
    fn a_text_becomes_its_telling_words() {
        check(
            "What did I tell you about the dog's vet?",
            &["tell", "dog", "vet"],
        );
        check("where are you", &["where", "are", "you"]);
        check("", &[]);
        check("?! 🦀 *", &[]);
        check("Zürich ZÜRICH zürich", &["zürich"]);
        check("我喜欢火车 ok", &["我喜", "喜欢", "欢火", "火车", "ok"]);
        check("GPT模型", &["gpt", "模型"]);
        check("서울에서", &["서울", "울에", "에서"]);
    }

    #[test]
    fn stop_words_are_sorted() {
        for word in ["a", "the", "your", "isn", "through"] {
            assert!(is_stop_word(word), "{word}");
        }
        assert!(!is_stop_word("train"));
    }
}
