//! A certificate that says nothing but a public key: TLS wants one, the protocol judges keys by itself.
//!
//! X.509 version 3 (RFC 5280) with an Ed25519 key (RFC 8410), signed by itself, valid for all time. Written by hand
//! because it has one shape: the same key always gives the same bytes.

use ring::signature::{Ed25519KeyPair, KeyPair};

/// `SubjectPublicKeyInfo` of an Ed25519 key, up to the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// PKCS #8 of an Ed25519 key, up to the seed (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// `AlgorithmIdentifier` of Ed25519.
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

/// The name that issuer and subject have, and the only alternative name.
const NAME: &[u8] = b"hearth";

/// A private key in the form that rustls reads.
pub(crate) fn pkcs8(seed: &[u8; 32]) -> Vec<u8> {
    [&PKCS8_PREFIX[..], seed].concat()
}

/// The key of a `SubjectPublicKeyInfo`, if it is an Ed25519 one.
pub(crate) fn ed25519_key(spki: &[u8]) -> Option<[u8; 32]> {
    spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

/// The certificate of a key pair, DER.
pub(crate) fn self_signed(key: &Ed25519KeyPair) -> Vec<u8> {
    let spki = [&SPKI_PREFIX[..], key.public_key().as_ref()].concat();
    let common_name = element(
        0x30,
        &[&[0x06, 0x03, 0x55, 0x04, 0x03], &element(0x0c, &[NAME])[..]],
    );
    let name = element(0x30, &[&element(0x31, &[&common_name])]);
    let validity = element(
        0x30,
        &[
            &element(0x17, &[b"700101000000Z"]),
            &element(0x18, &[b"99991231235959Z"]),
        ],
    );
    let alternative = element(0x04, &[&element(0x30, &[&element(0x82, &[NAME])])]);
    let extension = element(0x30, &[&[0x06, 0x03, 0x55, 0x1d, 0x11], &alternative[..]]);
    let to_be_signed = element(
        0x30,
        &[
            &[0xa0, 0x03, 0x02, 0x01, 0x02], // version 3
            &[0x02, 0x01, 0x01],             // serial number 1
            &ED25519,
            &name,
            &validity,
            &name,
            &spki,
            &element(0xa3, &[&element(0x30, &[&extension])]),
        ],
    );
    let signature = key.sign(&to_be_signed);
    element(
        0x30,
        &[
            &to_be_signed,
            &ED25519,
            &element(0x03, &[&[0], signature.as_ref()]),
        ],
    )
}

/// Tag, length and content (X.690, definite lengths below 65,536).
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=0x7f => out.push(length as u8),
        length @ 0x80..=0xff => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(content);
    out
}
