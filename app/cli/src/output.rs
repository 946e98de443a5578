//! Standard output and standard error: what is printed where, and how.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use console::{Style, Term};
use rustyline::history::MemHistory;
use rustyline::{Behavior, Config, Editor};
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::text;

/// Where a command prints. Answers and data go to standard output, everything else to standard error.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "four independent facts")]
pub(crate) struct Output {
    /// Data as JSON.
    pub(crate) json: bool,
    /// Standard output is a terminal.
    pub(crate) terminal: bool,
    /// Standard error is a terminal.
    pub(crate) notes_terminal: bool,
    colour: bool,
}

#[allow(
    clippy::unused_self,
    reason = "printing goes through the output that was passed in"
)]
impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Self {
            json,
            terminal: io::stdout().is_terminal(),
            notes_terminal: io::stderr().is_terminal(),
            colour: !set("NO_COLOR") && !dumb,
        }
    }

    /// A person can be asked: standard input and standard error are terminals.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && self.notes_terminal
    }

    /// Columns of the terminal; 80 where there is none.
    pub(crate) fn width(&self) -> usize {
        let term = if self.terminal {
            Term::stdout()
        } else {
            Term::stderr()
        };
        term.size_checked()
            .map_or(80, |(_, columns)| usize::from(columns))
            .max(20)
    }

    /// Columns that a table of data may take: the terminal's, and as many as it needs elsewhere.
    pub(crate) fn table_width(&self) -> usize {
        if self.terminal { self.width() } else { usize::MAX }
    }

    /// One line of data.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(line.as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// A piece of an answer, shown at once.
    pub(crate) fn piece(&self, piece: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.safe(piece).as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// One JSON value on a line of its own.
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        Ok(stdout.flush()?)
    }

    /// A note for the person; lost quietly when nobody reads it.
    pub(crate) fn note(&self, note: &str) {
        let _ = writeln!(
            io::stderr(),
            "{}",
            if self.notes_terminal {
                text::printable(note)
            } else {
                note.to_owned()
            }
        );
    }

    /// A quiet note: only where a person is watching.
    pub(crate) fn aside(&self, note: &str) {
        if self.notes_terminal && !self.json {
            let _ = writeln!(io::stderr(), "{}", self.dim_note(&text::printable(note)));
        }
    }

    /// A piece of dim text on standard error, without a line's end.
    pub(crate) fn aside_piece(&self, piece: &str) {
        if self.notes_terminal && !self.json {
            let _ = write!(io::stderr(), "{}", self.dim_note(&text::printable(piece)));
            let _ = io::stderr().flush();
        }
    }

    /// A note that the next one replaces, on the line where the cursor stands; empty clears the line.
    pub(crate) fn passing(&self, note: &str) {
        if self.notes_terminal && !self.json {
            let _ = write!(
                io::stderr(),
                "\r\u{1b}[K{}",
                self.dim_note(&text::printable(note))
            );
            let _ = io::stderr().flush();
        }
    }

    /// Asks a question that is answered by yes or no. Ctrl-C and Ctrl-D are a no, at once: the editor reads keys, where a
    /// plain read would wait for the end of the line.
    pub(crate) fn confirm(&self, question: &str, default: bool) -> bool {
        let choice = if default { "[Y/n]" } else { "[y/N]" };
        let prompt = format!("{} {choice} ", text::printable(question));
        let config = Config::builder().behavior(Behavior::PreferTerm).build();
        let line = Editor::<(), MemHistory>::with_history(config, MemHistory::new())
            .and_then(|mut editor| editor.readline(&prompt));
        match line.as_deref().map(str::trim).map(str::to_lowercase).as_deref() {
            Ok("") => default,
            Ok("y" | "yes") => true,
            Ok(_) | Err(_) => false,
        }
    }

    /// Says what went wrong; returns the exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        if let Failure::Api(error) = failure {
            let mut stderr = io::stderr().lock();
            let _ = if self.json {
                writeln!(stderr, "{}", json!({"error": error}))
            } else {
                let hint = error
                    .hint
                    .as_deref()
                    .map(|hint| format!("\n{}", text::sentence(hint)))
                    .unwrap_or_default();
                let word = self.style(Style::new().for_stderr().red(), "hearth:", self.notes_terminal);
                writeln!(stderr, "{word} {}{}", text::sentence(&error.message), hint)
            };
        }
        ExitCode::from(failure.exit_code())
    }

    /// Bold on a terminal.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.style(Style::new().bold(), text, self.terminal)
    }

    /// Dim on a terminal.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.style(Style::new().dim(), text, self.terminal)
    }

    fn dim_note(&self, text: &str) -> String {
        self.style(Style::new().for_stderr().dim(), text, self.notes_terminal)
    }

    fn style(&self, style: Style, text: &str, terminal: bool) -> String {
        if terminal && self.colour {
            style.force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }

    /// Text that a person or a model wrote: a terminal would obey its control characters, a file or pipe gets it whole.
    pub(crate) fn safe(&self, text: &str) -> String {
        if self.terminal {
            text::printable(text)
        } else {
            text.to_owned()
        }
    }
}
