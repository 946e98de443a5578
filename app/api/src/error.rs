//! What went wrong, in a form that programs and people understand.

mod from_engine;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;

/// Stable names of what can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request cannot be understood or contradicts itself.
    InvalidRequest,
    /// No method has this name.
    UnknownMethod,
    /// The request is larger than allowed.
    TooLarge,
    /// No such chat, message or other thing.
    NotFound,
    /// The profile needs a passphrase or a key that was not given.
    Locked,
    /// The passphrase or key does not open the profile.
    WrongKey,
    /// Another engine owns the profile; `details.pid` names its process.
    ProfileInUse,
    /// The database was written by a newer version.
    NewerSchema,
    /// The database or an imported file is damaged.
    Corrupt,
    /// No such model, or its files are not here.
    ModelMissing,
    /// The model needs more memory than there is; `details` has both numbers.
    ModelDoesNotFit,
    /// The model's file cannot be used.
    ModelInvalid,
    /// The prompt does not fit the window; `details.needed_tokens` and `details.window_tokens`.
    ContextTooLarge,
    /// The chat is already being answered.
    Busy,
    /// No space left on the disk.
    NoSpace,
    /// A download failed.
    Network,
    /// A download is not what the catalogue promises.
    HashMismatch,
    /// Someone cancelled it.
    Cancelled,
    /// This cannot be done in this build, on this machine or with this model.
    Unsupported,
    /// A file could not be read or written.
    Io,
    /// The engine ended, or the connection to it broke.
    Disconnected,
    /// A defect in the engine.
    Internal,
}

impl ErrorCode {
    /// The command line's exit code: 1 failure, 2 usage, 3 not found, 4 wrong key or locked, 5 model missing or not
    /// fitting, 6 context too large, 7 disk, 8 network, 130 cancelled.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InvalidRequest | Self::UnknownMethod | Self::TooLarge => 2,
            Self::NotFound => 3,
            Self::Locked | Self::WrongKey | Self::ProfileInUse => 4,
            Self::ModelMissing | Self::ModelDoesNotFit | Self::ModelInvalid => 5,
            Self::ContextTooLarge => 6,
            Self::NoSpace | Self::Io => 7,
            Self::Network | Self::HashMismatch => 8,
            Self::Cancelled => 130,
            Self::NewerSchema
            | Self::Corrupt
            | Self::Busy
            | Self::Unsupported
            | Self::Disconnected
            | Self::Internal => 1,
        }
    }
}

/// What went wrong. Never contains words of a chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("{message}")]
#[ts(optional_fields)]
pub struct ApiError {
    /// What kind of thing went wrong.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Numbers and names for programs; an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl ApiError {
    /// An error without hint and details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            details: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with details.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}
