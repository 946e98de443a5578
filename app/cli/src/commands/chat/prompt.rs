//! Typing lines: an editor with an in-memory history on its own thread, as it blocks.

use std::borrow::Cow;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};

use crate::failure::Failure;

/// What came from the keyboard.
pub(super) enum Line {
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of a file.
    End,
}

/// The line editor.
pub(super) struct Prompt {
    editor: Option<Editor<Continuation, MemHistory>>,
}

impl Prompt {
    pub(super) fn new() -> Result<Self, Failure> {
        let config = Config::builder().auto_add_history(false).build();
        let mut editor = Editor::with_history(config, MemHistory::new()).map_err(failed)?;
        editor.set_helper(Some(Continuation));
        Ok(Self { editor: Some(editor) })
    }

    /// Lines that the arrow keys recall, oldest first.
    pub(super) fn remember<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        if let Some(editor) = &mut self.editor {
            for line in lines {
                let _ = editor.add_history_entry(line);
            }
        }
    }

    /// Reads one line, which begins as `initial`.
    pub(super) async fn line(&mut self, prompt: &'static str, initial: &str) -> Result<Line, Failure> {
        let Some(mut editor) = self.editor.take() else {
            return Ok(Line::End);
        };
        let initial = initial.to_owned();
        let typing = tokio::task::spawn_blocking(move || {
            let read = editor.readline_with_initial(prompt, (&initial, ""));
            (editor, read)
        });
        let (editor, read) = typing.await.map_err(|_| Failure::Interrupted)?;
        let editor = self.editor.insert(editor);
        match read {
            Ok(text) => {
                let text = text.replace("\\\n", "\n");
                if !text.trim().is_empty() {
                    let _ = editor.add_history_entry(&text);
                }
                Ok(Line::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => error.into(),
        _ => Failure::usage("The terminal can't be read, or what was typed isn't UTF-8."),
    }
}

/// A line that ends with a backslash goes on in the next one.
struct Continuation;

impl Validator for Continuation {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let more = context.input().ends_with('\\');
        Ok(if more {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Highlighter for Continuation {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Completer for Continuation {
    type Candidate = String;
}

impl Hinter for Continuation {
    type Hint = String;
}

impl Helper for Continuation {}
