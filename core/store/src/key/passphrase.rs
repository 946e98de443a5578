//! Passphrases, stretched by Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Params, Version};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::{KdfCost, Secret};
use crate::error::StoreError;

/// The most that a stored cost may ask for: beyond it a header is taken for damaged rather than obeyed.
const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 64;

/// The wrapping key that `passphrase` gives with this salt and cost.
///
/// The passphrase is put into Unicode's composed form (NFC) first, so that keyboards that type accents differently
/// agree.
pub(super) fn stretch(passphrase: &str, salt: &[u8], cost: KdfCost) -> Result<Secret, StoreError> {
    if passphrase.is_empty() {
        return Err(StoreError::Invalid("the passphrase is empty; choose one".into()));
    }
    if cost.memory_kib > MAX_MEMORY_KIB || cost.passes > MAX_PASSES || cost.lanes > MAX_LANES {
        return Err(StoreError::Invalid(format!(
            "the passphrase's cost is beyond reason: {cost:?}"
        )));
    }
    let invalid = |error| StoreError::Invalid(format!("the passphrase's cost {cost:?} is invalid: {error}"));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(invalid)?;
    let composed: Zeroizing<String> = Zeroizing::new(passphrase.nfc().collect());
    let mut key = Secret::default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(composed.as_bytes(), salt, key.as_mut())
        .map_err(invalid)?;
    Ok(key)
}
