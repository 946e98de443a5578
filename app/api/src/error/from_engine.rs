//! Engine errors, classified once, with what to do about them.

use hearth_core::EngineError;
use serde_json::json;

use super::{ApiError, ErrorCode};

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> ApiError {
        let message = match &error {
            EngineError::NotFound { what: "account" } => "this profile belongs to no account".to_owned(),
            other => other.to_string(),
        };
        let (code, hint, details) = match error {
            EngineError::InvalidRequest(_) => (ErrorCode::InvalidRequest, None, None),
            EngineError::NotFound { what } => (
                ErrorCode::NotFound,
                match what {
                    "account" => {
                        Some("make one with: hearth account create; or join one with: hearth devices pair")
                    }
                    "device" => Some("hearth devices list shows those there are"),
                    _ => None,
                },
                Some(json!({ "what": what })),
            ),
            EngineError::Locked { needs } => (
                ErrorCode::Locked,
                Some(
                    "give it with --passphrase-file FILE or in HEARTH_PASSPHRASE, or the key with --key-file FILE",
                ),
                Some(json!({ "needs": needs })),
            ),
            EngineError::KeyUnavailable(_) => (ErrorCode::Locked, None, None),
            EngineError::WrongKey => (
                ErrorCode::WrongKey,
                Some("check the passphrase or the key file"),
                None,
            ),
            EngineError::ProfileInUse { pid } => (
                ErrorCode::ProfileInUse,
                Some("use that engine (without --in-process), or end it with: hearth engine stop"),
                Some(json!({ "pid": pid })),
            ),
            EngineError::NewerSchema { found, supported } => (
                ErrorCode::NewerSchema,
                Some("update this program"),
                Some(json!({ "found": found, "supported": supported })),
            ),
            EngineError::Corrupt(_) => (ErrorCode::Corrupt, Some("restore a backup"), None),
            EngineError::ModelMissing { model, known } => (
                ErrorCode::ModelMissing,
                Some(if known {
                    "pull it first"
                } else {
                    "list the models to see which there are"
                }),
                Some(json!({ "model": model, "known": known })),
            ),
            EngineError::ModelDoesNotFit {
                model,
                needed_bytes,
                limit_bytes,
            } => (
                ErrorCode::ModelDoesNotFit,
                Some("choose a smaller model or a smaller window"),
                Some(json!({ "model": model, "needed_bytes": needed_bytes, "limit_bytes": limit_bytes })),
            ),
            EngineError::ModelInvalid { model, .. } => (
                ErrorCode::ModelInvalid,
                Some("verify the model or choose another"),
                Some(json!({ "model": model })),
            ),
            EngineError::ContextTooLarge {
                needed_tokens,
                window_tokens,
                ..
            } => (
                ErrorCode::ContextTooLarge,
                Some("shorten it, or set a larger window if the model allows"),
                Some(json!({ "needed_tokens": needed_tokens, "window_tokens": window_tokens })),
            ),
            EngineError::Busy => (
                ErrorCode::Busy,
                Some("stop the running answer or wait for it"),
                None,
            ),
            EngineError::ModelBusy(_) => (ErrorCode::Busy, None, None),
            EngineError::NoSpace => (ErrorCode::NoSpace, Some("free some space and try again"), None),
            EngineError::Network(_) => (
                ErrorCode::Network,
                Some("check the connection and try again"),
                None,
            ),
            EngineError::HashMismatch(_) => (ErrorCode::HashMismatch, Some("try again"), None),
            EngineError::Cancelled => (ErrorCode::Cancelled, None, None),
            EngineError::Unsupported(_) => (ErrorCode::Unsupported, None, None),
            EngineError::Io { .. } => (ErrorCode::Io, None, None),
            EngineError::Stopped => (ErrorCode::Disconnected, Some("start the engine again"), None),
            _ => (
                ErrorCode::Internal,
                Some("this is a defect: please report it"),
                None,
            ),
        };
        ApiError {
            code,
            message,
            hint: hint.map(Into::into),
            details,
        }
    }
}
