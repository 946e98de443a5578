//! What templates may call beyond the language: as in Hugging Face's `apply_chat_template`.

use std::borrow::Cow;
use std::io;

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::LocalTime;

/// A refusal by the template itself, kept apart from its failures.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "refused").with_source(Refusal(reason)))
    });
    environment.add_filter("tojson", to_json);
}

/// The template's own words, when it called `raise_exception`.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(current) = source {
        if let Some(Refusal(reason)) = current.downcast_ref() {
            return Some(reason.clone());
        }
        source = current.source();
    }
    None
}

/// `strftime_now(format)` with the time passed in.
pub(super) fn strftime_now(now: LocalTime) -> Value {
    Value::from_function(move |format: &str| now.format(format))
}

/// `tojson` as Python's `json.dumps` writes: spaces after separators, no escapes for HTML.
#[allow(
    clippy::needless_pass_by_value,
    reason = "filters take keyword arguments by value"
)]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Given in some templates; these are what happens anyway.
    let _: Option<Value> = options.get("ensure_ascii")?;
    let _: Option<Value> = options.get("separators")?;
    let _: Option<Value> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let outcome = match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, PythonFormatter)),
    };
    outcome.map_err(|error| Error::new(ErrorKind::BadSerialization, "not JSON").with_source(error))?;
    Ok(Value::from_safe_string(
        String::from_utf8_lossy(&bytes).into_owned(),
    ))
}

struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Makes `{% generation %}` blocks, which mark the assistant's words for training, blocks that change
/// nothing: the engine knows no custom blocks.
pub(super) fn without_generation_tags(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag_on) = rest.split_at(start);
        plain.push_str(before);
        let Some(end) = tag_on.find("%}") else {
            rest = tag_on;
            break;
        };
        let (tag, after) = tag_on.split_at(end + 2);
        let inside = &tag[2..tag.len() - 2];
        match inside.trim_matches('-').trim() {
            name @ ("generation" | "endgeneration") => {
                let replacement = if name == "generation" { "if true" } else { "endif" };
                plain.push_str(&tag.replacen(name, replacement, 1));
            }
            _ => plain.push_str(tag),
        }
        rest = after;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}
