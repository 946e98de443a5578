//! Memories out and in: Hearth's own document, and other assistants' lists of plain facts.

use std::io::{BufRead, Cursor, Read};

use hearth_store::{MAX_MEMORY_BYTES, MemoryOrigin};
use serde_json::Value;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::super::chats::ImportSource;
use super::super::{Engine, Result, io_error};
use super::classify;
use super::keep::NewFact;
use crate::error::EngineError;
use crate::types::MemoryImported;

/// Largest list of another assistant, bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// Most facts in such a list.
const MAX_FACTS: usize = 100_000;
/// How sure one is of a fact that another assistant wrote down.
const IMPORTED_CONFIDENCE: f32 = 0.8;
/// So many texts are embedded at a time.
const BATCH: usize = 32;

/// The form of imported memories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemoryFormat {
    /// Whichever it is.
    #[default]
    Auto,
    /// Our own export.
    Hearth,
    /// Another assistant's: a JSON list of texts or of objects with a text, or a line each.
    Facts,
}

/// A plain fact of another assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plain {
    text: String,
    at_ms: Option<i64>,
}

impl Engine {
    /// All memories as one JSON document, held in memory.
    pub async fn export_memories(&self) -> Result<String> {
        let export = |store: &mut hearth_store::Store| {
            let mut document = Vec::new();
            store.export_memories(&mut document)?;
            Ok(document)
        };
        let document = self.inner.chats.store().run(export).await?;
        String::from_utf8(document).map_err(|_| EngineError::Internal("the export is not text".into()))
    }

    /// Takes in memories. A document that is not whole and valid changes nothing. Our own export is all or nothing; another
    /// assistant's facts are compared and kept one by one, so that an import that was cut short is ended by doing it again.
    /// Those that were erased here stay erased; those that are known are not doubled.
    ///
    /// Errors: [`EngineError::Corrupt`] or [`EngineError::InvalidRequest`] for a document that is not whole and valid, with
    /// the place.
    pub async fn import_memories(
        &self,
        source: ImportSource,
        format: MemoryFormat,
    ) -> Result<MemoryImported> {
        let mut reader: Box<dyn BufRead + Send> = match source {
            ImportSource::Text(text) => Box::new(Cursor::new(text)),
            ImportSource::File(path) if path.is_absolute() => {
                let file = std::fs::File::open(&path).map_err(|source| io_error(&path, source))?;
                Box::new(std::io::BufReader::with_capacity(64 << 10, file))
            }
            ImportSource::File(_) => {
                return Err(EngineError::InvalidRequest("the path must be absolute".into()));
            }
        };
        let format = match format {
            MemoryFormat::Auto if is_ours(reader.fill_buf().unwrap_or_default()) => MemoryFormat::Hearth,
            MemoryFormat::Auto => MemoryFormat::Facts,
            known => known,
        };
        let imported = if format == MemoryFormat::Hearth {
            self.import_own(reader).await?
        } else {
            let facts = tokio::task::spawn_blocking(move || read_facts(reader))
                .await
                .unwrap_or_else(|_| Err(EngineError::Internal("reading memories panicked".into())))?;
            self.import_facts(facts).await?
        };
        self.tell_memory(None);
        self.inner.idle.wake();
        Ok(imported)
    }

    async fn import_own(&self, mut reader: Box<dyn BufRead + Send>) -> Result<MemoryImported> {
        let report = self
            .inner
            .chats
            .store()
            .run(move |store| store.import_memories(&mut reader))
            .await?;
        Ok(MemoryImported {
            added: report.added,
            known: report.unchanged,
            erased: report.erased,
        })
    }

    async fn import_facts(&self, facts: Vec<Plain>) -> Result<MemoryImported> {
        let now_ms = self.now_ms();
        let model = self.embedder().await;
        let mut imported = MemoryImported::default();
        for batch in facts.chunks(BATCH) {
            let texts = batch.iter().map(|fact| fact.text.clone()).collect();
            let vectors = match &model {
                Some(model) => model.embed_or_none(texts).await,
                None => vec![None; batch.len()],
            };
            let id = model.as_ref().map(|model| model.id.clone()).unwrap_or_default();
            for (fact, vector) in batch.iter().zip(vectors) {
                let vector = vector.map(|vector| (id.clone(), vector));
                let kept = self.keep_embedded(fact.clone().into_fact(now_ms), vector).await?;
                imported.added += u64::from(!kept.known);
                imported.known += u64::from(kept.known);
            }
        }
        Ok(imported)
    }
}

impl Plain {
    fn into_fact(self, now_ms: i64) -> NewFact {
        let told = classify::classify(&self.text);
        NewFact {
            text: self.text,
            kind: told.kind,
            confidence: IMPORTED_CONFIDENCE,
            sensitive: told.sensitive,
            valid_from_ms: None,
            valid_to_ms: None,
            at_ms: self.at_ms.unwrap_or(now_ms),
            origin: MemoryOrigin::Imported,
            sources: Vec::new(),
            pinned: false,
        }
    }
}

/// Whether a document that begins like this is our own export.
fn is_ours(beginning: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&beginning[..beginning.len().min(1024)]);
    text.trim_start_matches('\u{feff}').trim_start().starts_with('{') && text.contains("\"hearth-memories\"")
}

/// The facts of a list, or every place where it is none.
fn read_facts(reader: impl Read) -> Result<Vec<Plain>> {
    let mut text = String::new();
    let read = reader.take(MAX_LIST_BYTES + 1).read_to_string(&mut text);
    if read.is_err() {
        return Err(refused("it is not UTF-8 text"));
    }
    if text.len() as u64 > MAX_LIST_BYTES {
        return Err(refused("it is larger than 64 MiB"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let facts = if text.trim_start().starts_with(['[', '{']) && !text.trim_start().starts_with("[2") {
        json_facts(text)?
    } else {
        line_facts(text)?
    };
    match facts.len() {
        0 => Err(refused("there is no fact in it")),
        1..=MAX_FACTS => Ok(facts),
        more => Err(refused(&format!("{more} facts are more than {MAX_FACTS}"))),
    }
}

fn refused(reason: &str) -> EngineError {
    EngineError::InvalidRequest(format!("nothing was imported: {reason}"))
}

fn json_facts(text: &str) -> Result<Vec<Plain>> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        refused(&format!(
            "it is not JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let list = match &document {
        Value::Array(list) => Some(list),
        Value::Object(fields) => ["memories", "facts", "items", "data"]
            .iter()
            .find_map(|name| fields.get(*name)?.as_array()),
        _ => None,
    };
    let list = list.ok_or_else(|| refused("it is neither a list nor an object with a list of memories"))?;
    list.iter()
        .enumerate()
        .map(|(index, entry)| {
            json_fact(entry).map_err(|reason| refused(&format!("entry {}: {reason}", index + 1)))
        })
        .collect()
}

fn json_fact(entry: &Value) -> Result<Plain, String> {
    let (text, at_ms) = match entry {
        Value::String(text) => (text.as_str(), None),
        Value::Object(fields) => {
            let text = ["text", "memory", "content", "fact", "value", "title"]
                .iter()
                .find_map(|name| fields.get(*name)?.as_str())
                .ok_or("it has no text")?;
            let at = [
                "created_at",
                "created",
                "create_time",
                "timestamp",
                "date",
                "updated_at",
            ]
            .iter()
            .find_map(|name| super::super::chats::moment_ms(fields.get(*name)?));
            (text, at)
        }
        _ => return Err("it is neither a text nor an object".into()),
    };
    plain(text, at_ms)
}

fn line_facts(text: &str) -> Result<Vec<Plain>> {
    let mut facts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (line, at_ms) = undated(line.trim());
        let line = line
            .trim_start_matches(['-', '*', '•', '–'])
            .trim()
            .trim_matches('"')
            .trim();
        // Headings and ruled lines say nothing.
        if line.starts_with('#') || !line.chars().any(char::is_alphanumeric) {
            continue;
        }
        facts.push(plain(line, at_ms).map_err(|reason| refused(&format!("line {}: {reason}", index + 1)))?);
    }
    Ok(facts)
}

/// A line without the date in front of it: `[2025-04-01] - Likes trains`.
fn undated(line: &str) -> (&str, Option<i64>) {
    let bare = line.trim_start_matches(['-', '*', '•', '–', ' ', '[']);
    let Some((date, rest)) = bare.split_at_checked(10) else {
        return (line, None);
    };
    let rest = rest.trim_start_matches([']', ':', '-', '–', ' ', '.']);
    match Date::parse(date, &format_description!("[year]-[month]-[day]")) {
        Ok(date) if !rest.is_empty() => {
            let at: OffsetDateTime = date.midnight().assume_utc();
            (rest, Some(at.unix_timestamp() * 1000))
        }
        _ => (line, None),
    }
}

fn plain(text: &str, at_ms: Option<i64>) -> Result<Plain, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() > MAX_MEMORY_BYTES {
        return Err(format!("it is longer than {MAX_MEMORY_BYTES} bytes"));
    }
    Ok(Plain {
        text: text.to_owned(),
        at_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &str) -> Result<Vec<String>, String> {
        let facts = read_facts(list.as_bytes()).map_err(|error| error.to_string())?;
        Ok(facts.into_iter().map(|fact| fact.text).collect())
    }

    #[test]
    fn lists_of_other_assistants_are_read() {
        let expected = Ok(vec!["Likes trains".to_owned(), "Lives in Lyon".to_owned()]);
        for list in [
            r#"["Likes trains", "Lives in Lyon"]"#,
            r#"{"memories": [{"memory": "Likes trains", "created_at": "2025-04-01"}, {"text": "Lives in Lyon "}]}"#,
            "# Memories\n- Likes trains\n\n* Lives in Lyon\n---\n",
            "[2025-04-01] - Likes trains\n2025-04-02: \"Lives in Lyon\"",
            "\u{feff}Likes trains\r\nLives in Lyon",
        ] {
            assert_eq!(texts(list), expected, "{list}");
        }
        let dated = read_facts("[2025-04-01] - Likes trains".as_bytes()).unwrap();
        assert_eq!(dated[0].at_ms, Some(1_743_465_600_000));
    }

    #[test]
    fn a_bad_entry_refuses_the_list_by_its_place_without_its_words() {
        let check = |list: &str, place: &str| {
            let error = texts(list).unwrap_err();
            assert!(error.contains(place) && !error.contains("marmalade"), "{error}");
        };
        check(r#"["fine", 7]"#, "entry 2");
        check(r#"[{"x": "marmalade"}]"#, "entry 1");
        check(r#"["fine", "#, "line 1");
        check("", "no fact");
        check(&format!("fine\n{}", "marmalade ".repeat(2000)), "line 2");
        assert!(read_facts(&b"\xff\xfe"[..]).is_err());
        assert!(is_ours(br#"{"format":"hearth-memories","version":1"#) && !is_ours(b"[]"));
    }
}
