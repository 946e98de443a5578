//! What can go wrong in the engine. Messages never contain words of a chat.

mod from_parts;

use std::path::PathBuf;

pub(crate) use from_parts::needs;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The request contradicts itself or is out of range.
    #[error("{0}")]
    InvalidRequest(String),
    /// No such thing.
    #[error("there is no such {what}")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
    },
    /// The profile needs something to open that was not given.
    #[error("the profile is locked: it needs {needs}")]
    Locked {
        /// What.
        needs: &'static str,
    },
    /// The passphrase or key is wrong.
    #[error("the passphrase or key does not open this profile")]
    WrongKey,
    /// The keychain or the key file cannot be used.
    #[error("{0}")]
    KeyUnavailable(String),
    /// Another engine owns the profile.
    #[error("another engine owns this profile{}", pid.map(|p| format!(" (process {p})")).unwrap_or_default())]
    ProfileInUse {
        /// Its process, where known.
        pid: Option<u32>,
    },
    /// Written by a newer version.
    #[error("the database has format {found}, this version reads up to {supported}")]
    NewerSchema {
        /// The database's.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// Damaged data.
    #[error("{0}")]
    Corrupt(String),
    /// No such model, or not here.
    #[error("the model {model} is not here")]
    ModelMissing {
        /// Which.
        model: String,
        /// Whether the catalogue knows it, so that it can be pulled.
        known: bool,
    },
    /// Not enough memory.
    #[error("the model {model} needs {needed_bytes} bytes of memory, {limit_bytes} are allowed")]
    ModelDoesNotFit {
        /// Which.
        model: String,
        /// What it needs.
        needed_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// The model's file cannot be used.
    #[error("the model {model} cannot be used: {reason}")]
    ModelInvalid {
        /// Which.
        model: String,
        /// Why.
        reason: String,
    },
    /// The prompt does not fit.
    #[error("{what} needs {needed_tokens} tokens, the window has room for {window_tokens}")]
    ContextTooLarge {
        /// What does not fit.
        what: &'static str,
        /// What it needs.
        needed_tokens: u32,
        /// What there is.
        window_tokens: u32,
    },
    /// The chat is being answered.
    #[error("this chat is already being answered")]
    Busy,
    /// The model is in use or being changed.
    #[error("{0}")]
    ModelBusy(String),
    /// The disk is full.
    #[error("there is no space left on the disk")]
    NoSpace,
    /// A download failed.
    #[error("{0}")]
    Network(String),
    /// A download is not what was promised.
    #[error("{0}")]
    HashMismatch(String),
    /// Cancelled by the caller.
    #[error("cancelled")]
    Cancelled,
    /// Not possible here.
    #[error("{0}")]
    Unsupported(String),
    /// A file could not be used.
    #[error("{}: {}", path.display(), plain(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The engine has ended.
    #[error("the engine has ended")]
    Stopped,
    /// A defect.
    #[error("internal error: {0}")]
    Internal(String),
}

impl EngineError {
    /// A stable name of what went wrong, kept with a reply that failed.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::NotFound { .. } => "not_found",
            Self::Locked { .. } | Self::KeyUnavailable(_) => "locked",
            Self::WrongKey => "wrong_key",
            Self::ProfileInUse { .. } => "profile_in_use",
            Self::NewerSchema { .. } => "newer_schema",
            Self::Corrupt(_) => "corrupt",
            Self::ModelMissing { .. } => "model_missing",
            Self::ModelDoesNotFit { .. } => "model_does_not_fit",
            Self::ModelInvalid { .. } => "model_invalid",
            Self::ContextTooLarge { .. } => "context_too_large",
            Self::Busy | Self::ModelBusy(_) => "busy",
            Self::NoSpace => "no_space",
            Self::Network(_) => "network",
            Self::HashMismatch(_) => "hash_mismatch",
            Self::Cancelled => "cancelled",
            Self::Unsupported(_) => "unsupported",
            Self::Io { .. } => "io",
            Self::Stopped => "disconnected",
            Self::Internal(_) => "internal",
        }
    }
}

/// An I/O error in plain words, without the operating system's number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
