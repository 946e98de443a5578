//! Errors of the parts, as the engine tells them.

use hearth_store::StoreError;

use super::EngineError;
use crate::models::{FailureKind, ModelError, PullError};

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> EngineError {
        let message = error.to_string();
        match error {
            StoreError::NoProfile { .. } => EngineError::NotFound { what: "profile" },
            StoreError::AlreadyExists { .. } | StoreError::Invalid(_) | StoreError::Import { .. } => {
                EngineError::InvalidRequest(message)
            }
            StoreError::WrongKey => EngineError::WrongKey,
            StoreError::WrongProtection { expected } => EngineError::Locked {
                needs: needs(expected),
            },
            StoreError::NewerSchema { found, supported } => EngineError::NewerSchema { found, supported },
            StoreError::Locked { pid } => EngineError::ProfileInUse { pid },
            StoreError::Full => EngineError::NoSpace,
            StoreError::Corrupt { .. } => EngineError::Corrupt(message),
            StoreError::NotFound { what, .. } => EngineError::NotFound { what },
            StoreError::Keychain { .. } | StoreError::KeyFile { .. } => EngineError::KeyUnavailable(message),
            StoreError::Io { path, source, .. } => EngineError::Io { path, source },
            _ => EngineError::Internal(message),
        }
    }
}

/// What has to be given to open a profile of this kind.
pub(crate) fn needs(kind: hearth_store::ProtectionKind) -> &'static str {
    match kind {
        hearth_store::ProtectionKind::Keychain => "the operating system's keychain",
        hearth_store::ProtectionKind::Passphrase => "a passphrase",
        hearth_store::ProtectionKind::KeyFile => "a key file",
    }
}

impl From<ModelError> for EngineError {
    fn from(error: ModelError) -> EngineError {
        let message = error.to_string();
        match error {
            ModelError::Unknown { id, .. } => EngineError::ModelMissing {
                model: id,
                known: false,
            },
            ModelError::NotReady { id, .. } => EngineError::ModelMissing {
                model: id,
                known: true,
            },
            ModelError::NoneReady { suggestion, .. } => EngineError::ModelMissing {
                model: suggestion,
                known: true,
            },
            ModelError::InvalidId(_) | ModelError::NotImportable { .. } => {
                EngineError::InvalidRequest(message)
            }
            ModelError::InUse { .. } | ModelError::Busy { .. } => EngineError::ModelBusy(message),
            ModelError::NoSpace { .. } => EngineError::NoSpace,
            ModelError::Cancelled => EngineError::Cancelled,
            ModelError::InvalidManifest { .. } => EngineError::Corrupt(message),
            ModelError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                EngineError::NoSpace
            }
            ModelError::Io { path, source } => EngineError::Io { path, source },
        }
    }
}

impl From<PullError> for EngineError {
    fn from(error: PullError) -> EngineError {
        let message = error.to_string();
        match error {
            PullError::Model(error) => error.into(),
            PullError::AllSourcesFailed { failures, .. } => {
                let wrong = failures
                    .iter()
                    .any(|failure| failure.kind == FailureKind::WrongContent);
                if wrong {
                    EngineError::HashMismatch(message)
                } else {
                    EngineError::Network(message)
                }
            }
        }
    }
}
