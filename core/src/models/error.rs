//! What can go wrong with models, in words that say what to do.

use super::digest::Sha256Hex;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Failure of an operation on the models of this machine.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Neither the catalogue nor the folder has this model.
    #[error("no model is called {id:?}{}", suggest(.similar))]
    Unknown {
        /// What was asked for.
        id: String,
        /// Ids that look like it.
        similar: Vec<String>,
    },
    /// The text cannot be an id at all.
    #[error("{0}")]
    InvalidId(String),
    /// The model is known but not (or not wholly) on this machine.
    #[error("{id} is not on this machine ({state}); pull it first")]
    NotReady {
        /// The model.
        id: String,
        /// What there is instead.
        state: String,
    },
    /// No model for a task is on this machine.
    #[error("no {task} model is on this machine; pull one, for example {suggestion}")]
    NoneReady {
        /// The task, as a word.
        task: String,
        /// An id worth pulling.
        suggestion: String,
    },
    /// The model is loaded right now.
    #[error("{id} is in use; stop using it first, or force its removal")]
    InUse {
        /// The model.
        id: String,
    },
    /// Another process is pulling or changing this model.
    #[error("another process is working on {id}")]
    Busy {
        /// The model.
        id: String,
    },
    /// A file offered for import is no model that can be used.
    #[error("{} can't be imported: {reason}", path.display())]
    NotImportable {
        /// The file offered.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk has no room.
    #[error(
        "not enough room in {}: {needed_bytes} bytes are needed, {available_bytes} bytes are free",
        path.display()
    )]
    NoSpace {
        /// Folder on the disk in question.
        path: PathBuf,
        /// Bytes needed, with a margin.
        needed_bytes: u64,
        /// Bytes free.
        available_bytes: u64,
    },
    /// Stopped on request. What was fetched stays and is used next time.
    #[error("stopped; what was fetched is kept")]
    Cancelled,
    /// A manifest, embedded or on disk, makes no sense.
    #[error("the manifest of {id} is invalid: {reason}")]
    InvalidManifest {
        /// The model or file.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Failure of a pull.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Trouble on this machine: no such model, no room, stopped, …
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Every source was tried in vain.
    #[error("{id} could not be fetched{}", list(.failures))]
    AllSourcesFailed {
        /// The model.
        id: String,
        /// One entry per source tried, in order.
        failures: Vec<SourceFailure>,
    },
}

/// Why one source did not give a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFailure {
    /// The source, for people.
    pub source: String,
    /// What sort of failure.
    pub kind: FailureKind,
    /// What happened.
    pub reason: String,
}

/// Sorts of failure of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It can't be reached, or it stopped answering.
    Unreachable,
    /// It answered that it hasn't the file or won't give it.
    Refused,
    /// It gave bytes or statements that contradict the manifest or each other.
    WrongContent,
    /// A program needed for it is missing on this machine.
    MissingTool,
}

impl ModelError {
    /// Wraps an I/O error with the path it happened at.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl PullError {
    /// Whether no source could be reached at all: the case in which another, obtainable model may help.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::AllSourcesFailed { failures, .. } => failures
                .iter()
                .all(|failure| matches!(failure.kind, FailureKind::Unreachable | FailureKind::MissingTool)),
            Self::Model(_) => false,
        }
    }

    /// Whether it was stopped on request.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Model(ModelError::Cancelled))
    }
}

/// Says that a file's digest differs, with both.
pub(crate) fn wrong_digest(name: &str, expected: Sha256Hex, actual: Sha256Hex) -> String {
    format!("{name} has SHA-256 {actual}, expected {expected}")
}

fn suggest(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", similar.join(", "))
    }
}

fn list(failures: &[SourceFailure]) -> String {
    if failures.is_empty() {
        return ": it has no source".into();
    }
    failures.iter().fold(String::new(), |text, failure| {
        format!("{text}\n  {}: {}", failure.source, failure.reason)
    })
}
