//! Secrets that are wiped when they go, randomness that is passed in, and the two primitives everything is sealed with:
//! HKDF-SHA256 and ChaCha20-Poly1305.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use hearth_protocol::entropy::Entropy as Random;

/// `N` fresh random bytes.
pub fn random_bytes<const N: usize>(random: &mut dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// 32 secret bytes. Neither printed nor compared, and zeroed when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh one.
    pub fn random(random: &mut dyn Random) -> Self {
        Self(random_bytes(random))
    }

    /// The bytes, for a keychain or for sealing.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

/// A body doesn't open: another key, another place, or changed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes don't open with this key at this place")]
pub struct DoesNotOpen;

/// HMAC-SHA256, which is HKDF's extract step too.
pub(crate) fn extract(salt: &[u8], parts: &[&[u8]]) -> Secret {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, salt));
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    Secret(bytes)
}

/// HKDF's expand step, at most 32 bytes.
pub(crate) fn expand(prk: &Secret, info: &[&[u8]], out: &mut [u8]) {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &prk.0);
    // Both fail only for outputs above 255 hashes.
    let filled = prk.expand(info, Length(out.len())).and_then(|okm| okm.fill(out));
    assert!(filled.is_ok(), "HKDF gives at most 8,160 bytes");
}

/// HKDF-SHA256 (RFC 5869) with 32 bytes of output.
pub(crate) fn derive(secret: &Secret, salt: &[u8], info: &[u8]) -> Secret {
    let mut out = [0; 32];
    expand(&extract(salt, &[&secret.0]), &[info], &mut out);
    Secret(out)
}

/// The nonce of keys that are used once.
pub(crate) const ZERO_NONCE: [u8; 12] = [0; 12];

fn cipher(key: &Secret) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, &key.0)
        .ok()
        .map(LessSafeKey::new)
}

/// ChaCha20-Poly1305: the ciphertext with its tag. Every key is used once, so the nonce is the caller's only when a
/// standard says so (HPKE).
pub(crate) fn seal_bytes(key: &Secret, nonce: [u8; 12], aad: &[u8], mut plaintext: Vec<u8>) -> Vec<u8> {
    let sealed = cipher(key).and_then(|cipher| {
        let nonce = Nonce::assume_unique_for_key(nonce);
        cipher
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut plaintext)
            .ok()
    });
    assert!(sealed.is_some(), "sealing fails only above 256 GiB");
    plaintext
}

/// The plaintext of [`seal_bytes`].
pub(crate) fn open_bytes(
    key: &Secret,
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, DoesNotOpen> {
    let mut bytes = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher(key)
        .and_then(|cipher| {
            cipher
                .open_in_place(nonce, Aad::from(aad), &mut bytes)
                .ok()
                .map(|open| open.len())
        })
        .ok_or(DoesNotOpen)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Seals 32 secret bytes.
pub(crate) fn seal_secret(key: &Secret, aad: &[u8], secret: &Secret) -> [u8; 48] {
    let sealed = seal_bytes(key, ZERO_NONCE, aad, secret.0.to_vec());
    let mut bytes = [0; 48];
    bytes.copy_from_slice(&sealed);
    bytes
}

/// Opens what [`seal_secret`] sealed.
pub(crate) fn open_secret(key: &Secret, aad: &[u8], sealed: &[u8; 48]) -> Result<Secret, DoesNotOpen> {
    let mut opened = open_bytes(key, ZERO_NONCE, aad, sealed)?;
    let secret = <[u8; 32]>::try_from(opened.as_slice())
        .map(Secret)
        .map_err(|_| DoesNotOpen);
    opened.zeroize();
    secret
}
