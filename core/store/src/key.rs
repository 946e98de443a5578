//! The key hierarchy: a random database key, wrapped by a key that a keychain, a passphrase or a key file gives.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::StoreError;

/// What opens a profile.
#[derive(Clone)]
pub enum Protection {
    /// A random key kept by the operating system's keychain.
    Keychain {
        /// The service under which the keychain lists it, such as `"Hearth"`.
        service: String,
        /// The account under which the keychain lists it, such as the profile's path.
        account: String,
    },
    /// Words that the user knows; stretched by Argon2id.
    Passphrase(Zeroizing<String>),
    /// A file with a random key, for machines without a user: created when it isn't there, mode 0600, and never in
    /// the profile's own folder.
    KeyFile(PathBuf),
}

impl Protection {
    /// Which kind this is.
    pub fn kind(&self) -> ProtectionKind {
        match self {
            Protection::Keychain { .. } => ProtectionKind::Keychain,
            Protection::Passphrase(_) => ProtectionKind::Passphrase,
            Protection::KeyFile(_) => ProtectionKind::KeyFile,
        }
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protection::Keychain { service, account } => write!(f, "Keychain({service}, {account})"),
            Protection::Passphrase(_) => f.write_str("Passphrase(…)"),
            Protection::KeyFile(path) => write!(f, "KeyFile({})", path.display()),
        }
    }
}

/// How a profile is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtectionKind {
    /// By the operating system's keychain.
    Keychain,
    /// By a passphrase.
    Passphrase,
    /// By a key file.
    KeyFile,
}

impl fmt::Display for ProtectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProtectionKind::Keychain => "keychain entry",
            ProtectionKind::Passphrase => "passphrase",
            ProtectionKind::KeyFile => "key file",
        })
    }
}

/// What stretching a passphrase costs (Argon2id, RFC 9106). It is stored with what it protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for KdfCost {
    /// RFC 9106's second recommendation: 64 MiB, three passes, four lanes.
    fn default() -> KdfCost {
        KdfCost {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 4,
        }
    }
}

/// A place that keeps secrets for the user.
pub trait Keychain: Send + Sync {
    /// The secret of this entry, if there is one.
    fn get(&self, service: &str, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError>;
    /// Creates or replaces an entry.
    fn set(&self, service: &str, account: &str, secret: &[u8]) -> Result<(), StoreError>;
    /// Removes an entry; no error when it isn't there.
    fn remove(&self, service: &str, account: &str) -> Result<(), StoreError>;
}

/// The keychain of the operating system: Keychain on macOS, Credential Manager on Windows, the Secret Service
/// elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsKeychain;

impl Keychain for OsKeychain {
    fn get(&self, _service: &str, _account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        Err(StoreError::Keychain {
            reason: "not built yet".into(),
        })
    }

    fn set(&self, _service: &str, _account: &str, _secret: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Keychain {
            reason: "not built yet".into(),
        })
    }

    fn remove(&self, _service: &str, _account: &str) -> Result<(), StoreError> {
        Err(StoreError::Keychain {
            reason: "not built yet".into(),
        })
    }
}
