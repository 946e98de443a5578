//! Bytes on the wire: ids, sealed envelopes, version vectors, messages, size limits.
//!
//! Invariant: nothing here can open a sealed body, wait, or read a clock. It hashes, checks signatures and replays the
//! control log, because the server, a peer on the local network and a certificate's verifier all need that and none of
//! them may hold a key. `core/sync/PROTOCOL.md` is the specification; this package is its wire side.

pub mod base32;
pub mod certificate;
pub mod codec;
pub mod control;
pub mod entropy;
pub mod envelope;
pub mod erasure;
pub mod error;
pub mod hash;
pub mod id;
pub mod limits;
pub mod message;
pub mod padding;
pub mod pairing;
pub mod registry;
pub mod statement;
pub mod vector;

#[cfg(test)]
mod tests;

/// The version that this package writes.
pub const PROTOCOL_VERSION: u16 = 1;

/// The versions that this package can speak, ascending.
pub const SUPPORTED_VERSIONS: &[u16] = &[1];

/// What both sides name in the TLS handshake.
pub const ALPN: &[u8] = b"hearth-sync/1";
