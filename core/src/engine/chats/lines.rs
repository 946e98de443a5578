//! Chats as lines of JSON, one turn each: `{"chat", "turn", "speaker", "time", "text", "caption"?}`.
//!
//! What such a file calls a chat or a turn is kept, so that recall can name it again; ids of ours follow from those
//! names, so that the same file twice is the same as once.
//!
//! Lines without a chat, such as `{"role": "user", "content": "…"}`, are one chat all together, in the order of the lines;
//! its name follows from what they say.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

use super::super::Result;
use crate::error::EngineError;
use crate::title;

/// Longest line, bytes.
const MAX_LINE_BYTES: usize = 4 << 20;
/// Longest name of a chat, a turn or a speaker, bytes.
const MAX_NAME_BYTES: usize = 200;
/// What a line is, said to those whose lines are something else.
const EXPECTED: &str = "a line is {\"chat\": \"…\", \"turn\": \"…\", \"speaker\": \"user\", \"text\": \"…\"}, or {\"role\": \"user\", \
                        \"content\": \"…\"} where all of them are one chat";
/// So many bad lines are named; there may be more.
const NAMED_LINES: usize = 20;
/// Whole numbers below this are seconds, others milliseconds.
const LARGEST_SECONDS: i64 = 100_000_000_000;

/// One line.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default, alias = "chat_id")]
    chat: Option<String>,
    #[serde(default, alias = "turn_id", alias = "id")]
    turn: Option<String>,
    #[serde(alias = "role")]
    speaker: String,
    #[serde(default, alias = "timestamp")]
    time: Option<Value>,
    #[serde(alias = "content")]
    text: String,
    #[serde(default)]
    caption: Option<String>,
}

/// A turn of a chat, both by the names that the file gives them or that follow from it.
struct Turn {
    chat: String,
    name: String,
    line: Line,
}

/// A chat as far as it was read.
#[derive(Default)]
struct Growing {
    /// What somebody said first, where the file doesn't name the chat.
    title: Option<String>,
    /// The first speaker by a name of their own: the person whose chat it is.
    first_speaker: Option<String>,
    last: Option<String>,
    last_ms: Option<i64>,
    messages: Vec<Value>,
}

/// Whether a file whose first line begins like this is of this form.
pub(super) fn begins(first_line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(first_line);
    let line = line.trim_start_matches('\u{feff}').trim_start();
    let names_chat = match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => {
            return !fields.contains_key("format")
                && (fields.contains_key("chat") || fields.contains_key("chat_id") || is_unnamed(&fields));
        }
        Ok(_) => false,
        // Longer than what was read of it, or broken.
        Err(_) => ["\"chat\"", "\"chat_id\"", "\"content\""]
            .iter()
            .any(|name| line.contains(name)),
    };
    line.starts_with('{') && names_chat && !line.contains("\"format\"")
}

/// Whether a line says who speaks and what, but not in which chat.
fn is_unnamed(fields: &Map<String, Value>) -> bool {
    let has = |names: [&str; 2]| names.iter().any(|name| fields.contains_key(*name));
    !has(["chat", "chat_id"]) && has(["role", "speaker"]) && has(["content", "text"])
}

/// What the one chat of a file is called whose lines name none: it follows from all they say. None for lines that name
/// theirs.
fn name_of_all(all: &[u8]) -> Option<String> {
    let lines = all.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.clone().find(|line| !line.is_empty())?;
    let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first);
    let Ok(Value::Object(fields)) = serde_json::from_slice(first) else {
        return None;
    };
    if !is_unnamed(&fields) {
        return None;
    }
    let mut hash = Sha256::new_with_prefix("hearth imported lines ");
    for line in lines.filter(|line| !line.is_empty()) {
        hash.update(line);
        hash.update(b"\n");
    }
    Some(hex(&hash.finalize()[..16]))
}

/// The lines as a document of our own export, in which chats stand in the order of their first turns.
///
/// Errors: [`EngineError::InvalidRequest`] names every line (the first twenty) that is not a turn; nothing of a file
/// with one such line is taken.
pub(super) fn to_document(mut reader: impl BufRead) -> Result<Vec<u8>> {
    let (mut chats, mut order) = (HashMap::<String, Growing>::new(), Vec::new());
    let mut seen = HashSet::new();
    let (mut wrong, mut wrong_lines) = (Vec::new(), 0_usize);
    let mut all = Vec::new();
    reader
        .read_to_end(&mut all)
        .map_err(|error| EngineError::InvalidRequest(format!("the chats can't be read: {error}")))?;
    let name = name_of_all(&all);
    for (at, line) in all.split(|byte| *byte == b'\n').enumerate() {
        let number = at + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let added = turn_of(line, number, name.as_deref()).and_then(|turn| {
            if !seen.insert((turn.chat.clone(), turn.name.clone())) {
                return Err("this turn of this chat stood on an earlier line".to_owned());
            }
            let chat = chats.entry(turn.chat.clone()).or_insert_with(|| {
                order.push(turn.chat.clone());
                Growing::default()
            });
            chat.add(turn, name.is_some())
        });
        if let Err(reason) = added {
            wrong_lines += 1;
            if wrong.len() < NAMED_LINES {
                wrong.push(format!("line {number}: {reason}"));
            }
        }
    }
    if wrong_lines > 0 {
        let more = wrong_lines - wrong.len();
        let rest = if more > 0 {
            format!("; and {more} more lines")
        } else {
            String::new()
        };
        return Err(EngineError::InvalidRequest(format!(
            "nothing was imported: {}{rest}; {EXPECTED}",
            wrong.join("; ")
        )));
    }
    let chats: Vec<Value> = order
        .into_iter()
        .filter_map(|name| chats.remove(&name).map(|chat| chat.finish(&name)))
        .collect();
    Ok(json!({"format": "hearth-chats", "version": 1, "chats": chats})
        .to_string()
        .into_bytes())
}

/// A line as a turn, or why it is none; the reason has no words of it. `all` is the chat where lines name none.
fn turn_of(line: &[u8], number: usize, all: Option<&str>) -> std::result::Result<Turn, String> {
    if line.len() > MAX_LINE_BYTES {
        return Err(format!("longer than {} MiB", MAX_LINE_BYTES >> 20));
    }
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line: Line = serde_json::from_str(text).map_err(|error| reason(&error))?;
    let (chat, turn) = match (line.chat.take(), line.turn.take(), all) {
        (Some(_), _, Some(_)) => return Err("`chat` stands here and not on the first line".to_owned()),
        (None, turn, Some(all)) => (all.to_owned(), turn.unwrap_or_else(|| number.to_string())),
        (Some(chat), Some(turn), None) => (chat, turn),
        (None, ..) => return Err("`chat` is missing".to_owned()),
        (_, None, _) => return Err("`turn` is missing".to_owned()),
    };
    for (name, value) in [("chat", &chat), ("turn", &turn), ("speaker", &line.speaker)] {
        if value.trim().is_empty() || value.len() > MAX_NAME_BYTES {
            return Err(format!("`{name}` must have 1 to {MAX_NAME_BYTES} bytes"));
        }
    }
    if line.text.trim().is_empty()
        && line
            .caption
            .as_deref()
            .is_none_or(|caption| caption.trim().is_empty())
    {
        return Err("neither `text` nor `caption` says anything".to_owned());
    }
    Ok(Turn {
        chat,
        name: turn,
        line,
    })
}

/// What is wrong with a line of JSON, without its words: serde quotes values of a wrong type.
fn reason(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let field = words
        .strip_prefix("missing field ")
        .map(|rest| rest.split('`').nth(1).unwrap_or_default().to_owned());
    match (field, error.classify()) {
        (Some(field), _) => format!("`{field}` is missing"),
        (None, serde_json::error::Category::Data) => "a field has the wrong type".to_owned(),
        _ => "not JSON".to_owned(),
    }
}

impl Growing {
    fn add(&mut self, turn: Turn, unnamed: bool) -> std::result::Result<(), String> {
        let Turn {
            chat,
            name,
            line: turn,
        } = turn;
        let at_ms = match turn.time.filter(|time| !time.is_null()) {
            Some(time) => Some(
                time_ms(&time).ok_or("`time` is neither a date (RFC 3339) nor milliseconds since 1970")?,
            ),
            // None at all is the time of the import, which the store fills in.
            None => self.last_ms,
        };
        let (role, named) = self.role(&turn.speaker);
        let mut metadata = json!({ "turn": name });
        if named {
            metadata["speaker"] = json!(turn.speaker);
        }
        let id = derived_id("turn", &[&chat, &name]);
        // Of a picture without words the caption is what was said.
        let mut text = turn.text;
        if let Some(caption) = turn.caption.filter(|caption| !caption.trim().is_empty()) {
            if text.trim().is_empty() {
                text = caption;
            } else {
                metadata["caption"] = json!(caption);
            }
        }
        if unnamed && self.title.is_none() && role == "user" {
            self.title = Some(title::from_message(&text));
        }
        self.messages.push(json!({
            "id": id, "parent": self.last, "role": role, "text": text,
            "created_at_ms": at_ms, "updated_at_ms": at_ms, "model": null, "metadata": metadata,
        }));
        self.last = Some(id);
        self.last_ms = at_ms;
        Ok(())
    }

    /// Who speaks, and whether by a name of their own. Of two people the first to speak is the one whose chat it is.
    fn role(&mut self, speaker: &str) -> (&'static str, bool) {
        match speaker.to_lowercase().as_str() {
            "user" | "human" | "you" | "me" => ("user", false),
            "assistant" | "model" | "ai" | "bot" => ("assistant", false),
            "system" => ("system", false),
            "tool" => ("tool", false),
            _ => {
                let first = self.first_speaker.get_or_insert_with(|| speaker.to_owned());
                (if first == speaker { "user" } else { "assistant" }, true)
            }
        }
    }

    fn finish(self, name: &str) -> Value {
        let times = || self.messages.iter().filter_map(|m| m["created_at_ms"].as_i64());
        let (first, last) = (times().min(), times().max());
        json!({
            "id": derived_id("chat", &[name]), "title": self.title.as_deref().unwrap_or(name), "created_at_ms": first, "updated_at_ms": last,
            "head": self.last, "metadata": {"chat": name}, "messages": self.messages,
        })
    }
}

/// An identifier of ours as it is, else one that follows from the names.
fn derived_id(what: &str, names: &[&str]) -> String {
    if let [name] = names
        && name.len() == 32
        && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return (*name).to_owned();
    }
    let mut hash = Sha256::new_with_prefix("hearth imported ");
    for part in std::iter::once(&what).chain(names) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize()[..16])
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
    }
    text
}

/// A time as files have it: a number of (milli)seconds since 1970, or a date with or without time and zone (UTC).
pub(in crate::engine) fn time_ms(time: &Value) -> Option<i64> {
    match time {
        Value::Number(number) => {
            let number = number.as_f64().filter(|n| n.is_finite())? as i64;
            if number.abs() < LARGEST_SECONDS {
                number.checked_mul(1000)
            } else {
                Some(number)
            }
        }
        Value::String(text) => {
            let text = text.trim();
            let moment = OffsetDateTime::parse(text, &Rfc3339)
                .ok()
                .or_else(|| without_zone(text).map(PrimitiveDateTime::assume_utc))?;
            i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
        }
        _ => None,
    }
}

fn without_zone(text: &str) -> Option<PrimitiveDateTime> {
    let text = text.replacen('T', " ", 1);
    let long = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let short = format_description!("[year]-[month]-[day] [hour]:[minute]");
    PrimitiveDateTime::parse(&text, &long)
        .or_else(|_| PrimitiveDateTime::parse(&text, &short))
        .ok()
        .or_else(|| {
            Date::parse(&text, &format_description!("[year]-[month]-[day]"))
                .map(Date::midnight)
                .ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value> {
        to_document(text.as_bytes()).map(|document| serde_json::from_slice(&document).unwrap())
    }

    #[test]
    fn turns_become_a_branch_and_keep_their_names() {
        let lines = r#"{"chat":"c1","turn":"D1:1","speaker":"Ann","time":"2023-05-08T13:56:00Z","text":"Hi"}
{"chat":"c2","turn":"D1:1","speaker":"user","time":1700000000,"text":"other"}

{"chat":"c1","turn":"D1:2","speaker":"Bob","time":"2023-05-08 14:00","text":"Look","caption":"a dog"}
{"chat":"c1","turn":"D1:3","speaker":"Ann","text":"Nice","session":3}"#;
        let document = read(lines).unwrap();
        let chats = document["chats"].as_array().unwrap();
        let titles: Vec<_> = chats.iter().map(|chat| chat["title"].as_str().unwrap()).collect();
        assert_eq!(titles, ["c1", "c2"]);
        let turns = chats[0]["messages"].as_array().unwrap();
        let roles: Vec<_> = turns.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "user"]);
        assert_eq!(turns[1]["parent"], turns[0]["id"]);
        assert_eq!(
            turns[1]["metadata"],
            json!({"turn": "D1:2", "speaker": "Bob", "caption": "a dog"})
        );
        assert_eq!(turns[0]["created_at_ms"], json!(1_683_554_160_000_i64));
        assert_eq!(
            turns[2]["created_at_ms"], turns[1]["created_at_ms"],
            "without a time: the one before"
        );
        assert_eq!(
            chats[1]["messages"][0]["created_at_ms"],
            json!(1_700_000_000_000_i64)
        );
        assert_eq!(chats[1]["messages"][0]["metadata"], json!({"turn": "D1:1"}));
        assert_ne!(turns[0]["id"], chats[1]["messages"][0]["id"]);
        assert_eq!(read(lines).unwrap(), document, "ids follow from names");
    }

    #[test]
    fn every_bad_line_is_named_and_nothing_of_it_quoted() {
        let secret = "marmalade";
        let lines = [
            format!(r#"{{"chat":"c","turn":"1","speaker":"user","text":"{secret}"}}"#),
            format!(r#"{{"chat":"c","turn":"2","speaker":"user","text":7,"x":"{secret}"}}"#),
            secret.to_owned(),
            r#"{"chat":"c","turn":"3","speaker":"user"}"#.to_owned(),
            format!(r#"{{"chat":"c","turn":"1","speaker":"user","text":"{secret}"}}"#),
            format!(r#"{{"chat":"c","turn":"4","speaker":"user","time":"{secret}","text":"x"}}"#),
            r#"{"chat":"c","turn":"5","speaker":" ","text":"x"}"#.to_owned(),
            r#"{"chat":"c","turn":"6","speaker":"user","text":"  "}"#.to_owned(),
            "[1]".to_owned(),
        ];
        let error = read(&lines.join("\n")).unwrap_err().to_string();
        for number in 2..=9 {
            assert!(error.contains(&format!("line {number}: ")), "{error}");
        }
        assert!(!error.contains("line 1: ") && !error.contains(secret), "{error}");
        assert!(error.contains("`text` is missing"), "{error}");
        let many = "x\n".repeat(30);
        assert!(
            read(&many)
                .unwrap_err()
                .to_string()
                .contains("; and 10 more lines; a line is {")
        );
    }

    #[test]
    fn lines_that_name_no_chat_are_one() {
        let lines = "\u{feff}{\"role\":\"system\",\"content\":\"Be brief.\"}\n\n{\"role\":\"user\",\"content\":\"Hello there\"}\r\n\
                     {\"role\":\"assistant\",\"content\":\"Hi\",\"timestamp\":\"2024-05-01\"}\n";
        let document = read(lines).unwrap();
        let chats = document["chats"].as_array().unwrap();
        assert_eq!((chats.len(), &chats[0]["title"]), (1, &json!("Hello there")));
        let said: Vec<_> = chats[0]["messages"].as_array().unwrap().iter().collect();
        let told: Vec<_> = said
            .iter()
            .map(|m| (m["role"].as_str(), m["text"].as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (Some("system"), Some("Be brief.")),
                (Some("user"), Some("Hello there")),
                (Some("assistant"), Some("Hi"))
            ]
        );
        assert_eq!(
            (&said[1]["parent"], &said[1]["metadata"]),
            (&said[0]["id"], &json!({"turn": "3"}))
        );
        assert_eq!(read(lines).unwrap(), document, "the same file is the same chat");
        let other = read(&lines.replace("Hi", "Ho")).unwrap();
        assert_ne!(other["chats"][0]["id"], chats[0]["id"], "another file is another");
        let mixed = format!(
            "{lines}{}",
            r#"{"chat":"c","turn":"1","speaker":"user","text":"x"}"#
        );
        let error = read(&mixed).unwrap_err().to_string();
        assert!(
            error.contains("line 5: `chat` stands here and not on the first line"),
            "{error}"
        );
        let mixed = r#"{"chat":"c","turn":"1","speaker":"user","text":"x"}
{"role":"user","content":"x"}
{"role":"assistant","content":null}"#;
        let error = read(mixed).unwrap_err().to_string();
        assert!(
            error.contains("line 2: `chat` is missing; line 3: a field has the wrong type; a line is {"),
            "{error}"
        );
    }

    #[test]
    fn such_files_are_told_from_others_by_their_first_line() {
        assert!(begins(br#"{"chat":"c","turn":"1"}"#) && begins(br#"{"role":"user","content":"hi"}"#));
        assert!(begins(br#" {"content":"a lon"#) && !begins(br#"{"role":"user"}"#));
        assert!(!begins(br#"{"format":"hearth-chats","version":1,"chats":["#));
        assert!(!begins(br#"{"format":"hearth-chats","version":1,"chats":[]}"#));
        assert!(!begins(b"[") && !begins(b"nonsense"));
        assert!(begins(
            b"\xef\xbb\xbf{\"turn\":\"1\",\"chat\":\"c\",\"text\":\"cut he"
        ));
    }
}
