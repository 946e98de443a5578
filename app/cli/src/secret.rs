//! Passphrases: from a file, the environment or a person, never from an argument.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use hearth_api::ErrorCode;
use zeroize::Zeroizing;

use crate::args::Global;
use crate::failure::Failure;
use crate::output::Output;

/// A passphrase that is wiped from memory after use.
pub(crate) type Passphrase = Zeroizing<String>;

const LONGEST_BYTES: u64 = 64 << 10;

/// The passphrase that was given with the command, if any.
pub(crate) fn given(global: &Global) -> Result<Option<Passphrase>, Failure> {
    if let Some(path) = &global.passphrase_file {
        return from_file(path).map(Some);
    }
    from_environment("HEARTH_PASSPHRASE")
}

/// A passphrase from an environment variable; an empty one is none.
pub(crate) fn from_environment(name: &str) -> Result<Option<Passphrase>, Failure> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(Zeroizing::new(value))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!("{name} isn't UTF-8 text."))),
    }
}

/// The first line of a file.
pub(crate) fn from_file(path: &Path) -> Result<Passphrase, Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    let mut line = Zeroizing::new(String::new());
    let read = BufReader::new(file.take(LONGEST_BYTES)).read_line(&mut line);
    read.map_err(|error| Failure::file(path, &error))?;
    let passphrase = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if passphrase.is_empty() {
        return Err(Failure::usage(format!(
            "{}: the first line is empty, so there is no passphrase.",
            path.display()
        )));
    }
    Ok(passphrase)
}

/// Asks a person, without showing what is typed.
pub(crate) fn ask(output: &Output, question: &str) -> Result<Passphrase, Failure> {
    if !output.notes_terminal {
        return Err(Failure::new(
            ErrorCode::Locked,
            "A passphrase is needed, and there is no terminal to ask on.",
        )
        .hint("Give it with --passphrase-file FILE or in HEARTH_PASSPHRASE."));
    }
    let typed = rpassword::prompt_password(format!("{question}: ")).map_err(|_| Failure::Interrupted)?;
    Ok(Zeroizing::new(typed))
}

/// Asks for a new passphrase twice.
pub(crate) fn ask_new(output: &Output, what: &str) -> Result<Passphrase, Failure> {
    loop {
        let first = ask(output, &format!("New passphrase for {what}"))?;
        if first.is_empty() {
            output.note("An empty passphrase protects nothing. Try again, or press Ctrl-C.");
            continue;
        }
        if *first == *ask(output, "The same again")? {
            return Ok(first);
        }
        output.note("They differ. Try again.");
    }
}
