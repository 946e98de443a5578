//! HPKE (RFC 9180), base mode, one message a context: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
//!
//! Written out over `ring` and `x25519-dalek`: it is one page, the RFC's vectors check it, and it leaves the workspace
//! with one AEAD and one HKDF.

use hearth_protocol::id::AgreementKey;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::secret::{DoesNotOpen, Secret, expand, extract, open_bytes, seal_bytes};

const KEM: [u8; 5] = *b"KEM\x00\x20";
const SUITE: [u8; 10] = *b"HPKE\x00\x20\x00\x01\x00\x03";
const VERSION: &[u8] = b"HPKE-v1";

fn labeled_extract(suite: &[u8], salt: &[u8], label: &str, ikm: &[u8]) -> Secret {
    extract(salt, &[VERSION, suite, label.as_bytes(), ikm])
}

fn labeled_expand<const N: usize>(suite: &[u8], prk: &Secret, label: &str, info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let length = (N as u16).to_be_bytes();
    expand(prk, &[&length, VERSION, suite, label.as_bytes(), info], &mut out);
    out
}

/// RFC 9180, 7.1.3: a private key out of 32 random bytes.
pub fn derive_private_key(random: &[u8; 32]) -> Secret {
    let prk = labeled_extract(&KEM, &[], "dkp_prk", random);
    Secret::new(labeled_expand(&KEM, &prk, "sk", &[]))
}

/// The public key of a private key.
pub fn public_key(private: &Secret) -> AgreementKey {
    AgreementKey(PublicKey::from(&StaticSecret::from(*private.expose())).to_bytes())
}

/// X25519; keys of small order, which would give everybody the same secret, are refused.
fn agree(private: &Secret, public: &[u8; 32]) -> Result<Secret, DoesNotOpen> {
    let shared = StaticSecret::from(*private.expose()).diffie_hellman(&PublicKey::from(*public));
    if shared.was_contributory() {
        Ok(Secret::new(shared.to_bytes()))
    } else {
        Err(DoesNotOpen)
    }
}

fn shared_secret(dh: &Secret, encapsulated: &[u8; 32], recipient: &[u8; 32]) -> Secret {
    let prk = labeled_extract(&KEM, &[], "eae_prk", dh.expose());
    let context = [encapsulated.as_slice(), recipient].concat();
    Secret::new(labeled_expand(&KEM, &prk, "shared_secret", &context))
}

fn key_and_nonce(shared: &Secret, info: &[u8]) -> (Secret, [u8; 12]) {
    let mut context = vec![0];
    context.extend_from_slice(labeled_extract(&SUITE, &[], "psk_id_hash", &[]).expose());
    context.extend_from_slice(labeled_extract(&SUITE, &[], "info_hash", info).expose());
    let secret = labeled_extract(&SUITE, shared.expose(), "secret", &[]);
    let key = Secret::new(labeled_expand(&SUITE, &secret, "key", &context));
    (key, labeled_expand(&SUITE, &secret, "base_nonce", &context))
}

/// Seals for the holder of a key: the encapsulated key, and the ciphertext with its tag. `random` is used for nothing
/// else, ever.
pub fn seal(
    to: &AgreementKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    random: &[u8; 32],
) -> Result<([u8; 32], Vec<u8>), DoesNotOpen> {
    let ephemeral = derive_private_key(random);
    let encapsulated = public_key(&ephemeral).0;
    let dh = agree(&ephemeral, &to.0)?;
    let (key, nonce) = key_and_nonce(&shared_secret(&dh, &encapsulated, &to.0), info);
    Ok((encapsulated, seal_bytes(&key, nonce, aad, plaintext.to_vec())))
}

/// Opens what was sealed for this private key.
pub fn open(
    private: &Secret,
    encapsulated: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, DoesNotOpen> {
    let dh = agree(private, encapsulated)?;
    let (key, nonce) = key_and_nonce(&shared_secret(&dh, encapsulated, &public_key(private).0), info);
    open_bytes(&key, nonce, aad, sealed)
}
