//! Words as the indexes compare them: without regard to case, accents and endings, and of a text all of them.
//!
//! A query looks at a text's telling words alone, and not at many; what is to be erased must be found wherever it
//! stands.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::Connection;
use unicode_normalization::UnicodeNormalization;

use super::text::{is_stop_word, words};
use crate::error::StoreError;
use crate::id::MessageId;
use crate::search::{segment, stands_alone};
use crate::store::Store;

/// Finds out the forms of words, by the tokenizer of recall's indexes.
pub struct WordForms {
    /// A database of no file, with that tokenizer.
    tokenizer: Connection,
    known: RefCell<HashMap<String, String>>,
}

impl std::fmt::Debug for WordForms {
    /// Without the words: they are a person's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WordForms").finish_non_exhaustive()
    }
}

/// More words are not remembered.
const MOST_KNOWN: usize = 100_000;
/// So many words are looked up at once: FTS5 bounds an expression's size.
const WORDS_AT_ONCE: usize = 100;

impl WordForms {
    /// Ready for texts.
    ///
    /// # Errors
    /// [`StoreError`] when SQLite has no memory.
    pub fn new() -> Result<WordForms, StoreError> {
        let tokenizer = Connection::open_in_memory()?;
        tokenizer.execute_batch(
            "CREATE VIRTUAL TABLE word USING fts5 (
                 text, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
             );
             CREATE VIRTUAL TABLE token USING fts5vocab ('word', 'instance');",
        )?;
        Ok(WordForms {
            tokenizer,
            known: RefCell::default(),
        })
    }

    /// The words that say what a text is about: all but articles, pronouns and the like, unless there are no others.
    pub fn telling(&self, text: &str) -> Result<HashSet<String>, StoreError> {
        let text: String = text.nfc().collect();
        self.of(telling_words(&text))
    }

    /// Whether a text has one of these words, each in the form that [`WordForms::telling`] gives it.
    pub fn repeats(&self, text: &str, telling: &HashSet<String>) -> Result<bool, StoreError> {
        let text: String = text.nfc().collect();
        // A word of one character may stand anywhere in a run of them.
        let alone = text.chars().filter(|c| stands_alone(*c)).map(String::from);
        let all = words(&text).chain(alone).collect();
        Ok(!self.of(all)?.is_disjoint(telling))
    }

    fn of(&self, words: Vec<String>) -> Result<HashSet<String>, StoreError> {
        let mut known = self.known.borrow_mut();
        if known.len() > MOST_KNOWN {
            known.clear();
        }
        let words: BTreeSet<String> = words.into_iter().collect();
        let (mut forms, mut unknown) = (HashSet::new(), Vec::new());
        for word in words {
            if word.contains(stands_alone) {
                forms.insert(word);
            } else if let Some(form) = known.get(&word) {
                forms.insert(form.clone());
            } else {
                unknown.push(word);
            }
        }
        for (word, form) in unknown.iter().zip(self.forms(&unknown)?) {
            forms.insert(form.clone());
            known.insert(word.clone(), form);
        }
        Ok(forms)
    }

    /// The form of each word; where the tokenizer takes it apart, its pieces in their order.
    fn forms(&self, words: &[String]) -> Result<Vec<String>, StoreError> {
        // Undone at the end.
        let trial = self.tokenizer.unchecked_transaction()?;
        let mut insert = trial.prepare_cached("INSERT INTO word (rowid, text) VALUES (?1, ?2)")?;
        for (number, word) in words.iter().enumerate() {
            insert.execute((number as i64, word))?;
        }
        let mut forms = vec![String::new(); words.len()];
        let mut statement = trial.prepare_cached("SELECT doc, term FROM token ORDER BY doc, offset")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let form = &mut forms[row.get::<_, i64>(0)? as usize];
            if !form.is_empty() {
                form.push(' ');
            }
            form.push_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
        }
        Ok(forms)
    }
}

/// The telling words of a text, each once, in order: what [`super::TextQuery::new`] has, but all of them.
pub(crate) fn telling_words(text: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut words: Vec<String> = words(text).filter(|word| seen.insert(word.clone())).collect();
    if words.iter().any(|word| !is_stop_word(word)) {
        words.retain(|word| !is_stop_word(word));
    }
    words
}

impl Store {
    /// Messages of any chat that have every telling word of a text, in any of its forms; the oldest first. Those too that
    /// recall leaves out: of chats without memory, stopped, failed, from the system or a tool. One that is still being
    /// written isn't found. A text without words finds nothing.
    pub fn messages_about(&self, text: &str) -> Result<Vec<MessageId>, StoreError> {
        let text: String = text.nfc().collect();
        let forms = WordForms::new()?;
        let mut all: Option<BTreeSet<i64>> = None;
        for word in telling_words(&text) {
            let having = self.messages_having(&word, &forms)?;
            let both = match all {
                None => having,
                Some(all) => all.intersection(&having).copied().collect(),
            };
            if both.is_empty() {
                return Ok(Vec::new());
            }
            all = Some(both);
        }
        let mut statement = self
            .connection
            .prepare_cached("SELECT id FROM message WHERE seq = ?1")?;
        let ids = all.unwrap_or_default();
        let ids = ids
            .into_iter()
            .map(|seq| statement.query_row([seq], |row| row.get(0)));
        Ok(ids.collect::<Result<_, _>>()?)
    }

    fn messages_having(&self, word: &str, forms: &WordForms) -> Result<BTreeSet<i64>, StoreError> {
        let form = forms.forms(&[word.to_owned()])?.remove(0);
        let phrase = [word.to_owned()];
        let wanted = match form.chars().next() {
            // This index has no stems: which of its words have this one is found out first.
            Some(first) if !word.contains(stands_alone) && !form.contains(' ') => {
                let mut terms = self.indexed_words(first)?;
                let stems = forms.forms(&terms)?;
                let mut stems = stems.iter();
                terms.retain(|_| stems.next() == Some(&form));
                terms
            }
            _ => phrase.to_vec(),
        };
        let mut found = BTreeSet::new();
        let mut statement = self
            .connection
            .prepare_cached("SELECT rowid FROM message_search WHERE message_search MATCH ?1")?;
        for words in wanted.chunks(WORDS_AT_ONCE) {
            let quoted: Vec<String> = words
                .iter()
                .map(|word| format!("\"{}\"", segment(word)))
                .collect();
            for seq in statement.query_map([quoted.join(" OR ")], |row| row.get(0))? {
                found.insert(seq?);
            }
        }
        Ok(found)
    }

    /// The words of the messages' index that begin with this character.
    fn indexed_words(&self, first: char) -> Result<Vec<String>, StoreError> {
        self.connection.execute_batch(
            "CREATE VIRTUAL TABLE IF NOT EXISTS temp.message_word USING fts5vocab ('main', 'message_search', 'row')",
        )?;
        let (from, to) = (first.to_string(), format!("{first}{}", char::MAX));
        let mut statement = self
            .connection
            .prepare_cached("SELECT term FROM temp.message_word WHERE term >= ?1 AND term <= ?2")?;
        let rows = statement.query_map((from, to), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, text: &str, repeated: bool) {
        let forms = WordForms::new().unwrap();
        let telling = forms.telling(said).unwrap();
        assert_eq!(
            forms.repeats(text, &telling).unwrap(),
            repeated,
            "{said}: {text} ({telling:?})"
        );
    }

    #[test]
    fn a_text_repeats_another_in_any_form() {
        check("Has two dogs", "a dog", true);
        check("Has two dogs", "has cats", false);
        check("Caf\u{65}\u{301}", "CAFE", true);
        check("我的狗", "小狗", false);
        check("我的狗", "你的狗", true);
        check("狗", "你的小狗", true);
        check("GPT模型", "模型", true);
        check("你", "I am", false);
        check("?! 🦀", "🦀", false);
        check("I am he", "he is", true);
        check("l'été", "d'ete", true);
        check("कुत्ता", "कविता", false);
    }
}
