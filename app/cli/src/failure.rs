//! Why a command failed, and the exit code that says so.

use std::io;

use hearth_api::{ApiError, ErrorCode};
use hearth_core::EngineError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine, or this face in the engine's words.
    Api(Box<ApiError>),
    /// Whoever read our output is gone: nobody is left to tell.
    OutputClosed,
    /// Ctrl-C; everything was said already.
    Interrupted,
}

impl Failure {
    /// A failure of this face.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ApiError::new(code, message).into()
    }

    /// The command makes no sense as given.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// Nothing by this name.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// The same with what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Api(error) => error.hint(hint).into(),
            other => other,
        }
    }

    /// A file that can't be read or written.
    pub(crate) fn file(path: &std::path::Path, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => ErrorCode::NotFound,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
            _ => ErrorCode::Io,
        };
        Self::new(code, format!("{}: {}", path.display(), plain(error)))
    }

    /// The code of the failure, where it has one.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        if let Self::Api(error) = self {
            Some(error.code)
        } else {
            None
        }
    }

    /// The process's exit code, as `hearth --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Api(error) => error.code.exit_code(),
            Self::OutputClosed => 0,
            Self::Interrupted => 130,
        }
    }
}

/// An I/O error in plain words, without the operating system's number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        ApiError::from(error).into()
    }
}

/// Only for standard input and output; files say their name with [`Failure::file`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            io::ErrorKind::StorageFull => {
                Self::new(ErrorCode::NoSpace, "There is no space left on the disk.")
            }
            _ => Self::new(ErrorCode::Io, plain(&error)),
        }
    }
}
