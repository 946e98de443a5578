//! The key hierarchy: a random database key, wrapped by a key that a keychain, a passphrase or a key file gives.

mod header;
mod key_file;
mod keychain;
mod passphrase;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::StoreError;

pub(crate) use header::{Header, HeaderPlace};
pub use keychain::OsKeychain;

/// A 256-bit key, wiped from memory when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

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

/// A new random key.
pub(crate) fn random_secret() -> Result<Secret, StoreError> {
    random::<32>().map(Zeroizing::new)
}

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes).map_err(|error| {
        StoreError::Invalid(format!("the operating system gives no random bytes: {error}"))
    })?;
    Ok(bytes)
}

/// The operating system's randomness; a test may have set a source of its own.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(feature = "testing")]
    if crate::testing::fill(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// Lowercase hexadecimal digits of `bytes`.
pub(crate) fn to_hex(bytes: &[u8]) -> Zeroizing<String> {
    use fmt::Write;
    // Reserved at once, so that no half-written copy stays behind in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        // Writing into a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that exactly `2 * N` lowercase hexadecimal digits stand for.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = Zeroizing::new([0; N]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}
