//! How a profile is protected.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use zeroize::Zeroizing;

/// What opens a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ProtectionKind {
    /// A key in the operating system's keychain.
    Keychain,
    /// A passphrase.
    Passphrase,
    /// A key in a file.
    KeyFile,
}

/// A new way to open a profile.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum NewProtection {
    /// The operating system's keychain.
    Keychain,
    /// A passphrase.
    Passphrase {
        /// The passphrase.
        #[ts(as = "String")]
        passphrase: Zeroizing<String>,
    },
    /// A key in a file, made if absent.
    KeyFile {
        /// The file.
        path: PathBuf,
    },
}

impl std::fmt::Debug for NewProtection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keychain => "Keychain",
            Self::Passphrase { .. } => "Passphrase(…)",
            Self::KeyFile { .. } => "KeyFile(…)",
        })
    }
}
