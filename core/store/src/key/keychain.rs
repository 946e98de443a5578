//! The operating system's keychain.

use zeroize::Zeroizing;

use super::Keychain;
use crate::error::StoreError;

/// The keychain of the operating system: Keychain on macOS, Credential Manager on Windows, the Secret Service
/// elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsKeychain;

impl Keychain for OsKeychain {
    fn get(&self, service: &str, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        match entry(service, account)?.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(keyring::Error::NoEntry) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn set(&self, service: &str, account: &str, secret: &[u8]) -> Result<(), StoreError> {
        entry(service, account)?
            .set_secret(secret)
            .map_err(|error| unavailable(&error))
    }

    fn remove(&self, service: &str, account: &str) -> Result<(), StoreError> {
        match entry(service, account)?.delete_credential() {
            Ok(()) | Err(keyring::Error::NoEntry) => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn entry(service: &str, account: &str) -> Result<keyring::Entry, StoreError> {
    keyring::Entry::new(service, account).map_err(|error| unavailable(&error))
}

fn unavailable(error: &keyring::Error) -> StoreError {
    StoreError::Keychain {
        reason: error.to_string(),
    }
}
