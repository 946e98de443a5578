//! What can go wrong with a profile, in words that say what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::key::ProtectionKind;

/// Why the store refused or failed. Nothing was changed unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no profile in this folder.
    #[error("there is no profile in {}; create one first", dir.display())]
    NoProfile {
        /// The folder that was looked into.
        dir: PathBuf,
    },
    /// There is a profile (or the remains of one) where a new one should be made.
    #[error("{} is already there; choose an empty folder, or move it away first", path.display())]
    AlreadyExists {
        /// What is in the way.
        path: PathBuf,
    },
    /// The passphrase, key file or keychain entry does not open this profile.
    #[error("wrong key: this passphrase, key file or keychain entry does not open the profile")]
    WrongKey,
    /// The profile is protected in another way than the one offered.
    #[error("this profile is protected by a {expected}; open it with that")]
    WrongProtection {
        /// How the profile is protected.
        expected: ProtectionKind,
    },
    /// The database was written by a newer program.
    #[error(
        "the database has schema version {found}, this program knows versions up to {supported}; update the program"
    )]
    NewerSchema {
        /// The version in the file.
        found: u32,
        /// The newest version this program can read.
        supported: u32,
    },
    /// Another engine owns the profile.
    #[error("another engine{} has this profile open; attach to it or stop it first", pid_words(*pid))]
    Locked {
        /// The process that holds the lock, when it could be read.
        pid: Option<u32>,
    },
    /// The disk (or the database's page limit) is full. What was committed before is still there.
    #[error("no space left for the database; free some disk space and try again (nothing was lost)")]
    Full,
    /// A file is damaged or not what it should be.
    #[error("{} is damaged: {detail}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What was noticed.
        detail: String,
    },
    /// Another program reads the database file: what was changed is changed, but its write-ahead log, which may hold
    /// deleted text, could not be emptied.
    #[error(
        "another program is reading the database, so its log could not be emptied: deleted text may still be in it; end that program, and the next deletion or the engine's end empties the log"
    )]
    LogInUse,
    /// A chat, message or file that was asked for is not there.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing was asked for.
        what: &'static str,
        /// Its id or path.
        id: String,
    },
    /// The request contradicts itself or what is stored.
    #[error("{0}")]
    Invalid(String),
    /// The operating system's keychain can't be used.
    #[error(
        "the keychain can't be used ({reason}); protect the profile with a passphrase or a key file instead"
    )]
    Keychain {
        /// What the keychain said.
        reason: String,
    },
    /// The key file can't be used.
    #[error("the key file {} can't be used: {reason}", path.display())]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The document to import is not valid; nothing of it was imported.
    #[error("the import was refused at line {line}, column {column}: {reason}; nothing was imported")]
    Import {
        /// Line, from 1; 0 when the position has no meaning.
        line: usize,
        /// Column, from 1; 0 when the position has no meaning.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file operation failed.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb ("write", "rename").
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database engine failed in a way that has no words of its own here.
    #[error("the database failed: {0}")]
    Database(#[source] rusqlite::Error),
}

fn pid_words(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl StoreError {
    /// An I/O failure of `action` on `path`; a full disk becomes [`StoreError::Full`].
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> StoreError {
        if source.kind() == io::ErrorKind::StorageFull {
            return StoreError::Full;
        }
        StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether a row breaks a rule of the schema: the content's fault, not the database's.
    pub(crate) fn is_constraint(&self) -> bool {
        matches!(self, StoreError::Database(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation))
    }

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    pub(crate) fn not_found(what: &'static str, id: impl std::fmt::Display) -> StoreError {
        StoreError::NotFound {
            what,
            id: id.to_string(),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error() {
            Some(inner)
                if inner.code == ErrorCode::DiskFull || inner.extended_code == ffi::SQLITE_IOERR_SHMSIZE =>
            {
                StoreError::Full
            }
            Some(inner) if matches!(inner.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt {
                    path: PathBuf::from("hearth.db"),
                    detail: error.to_string(),
                }
            }
            _ => StoreError::Database(error),
        }
    }
}
