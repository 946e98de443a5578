//! Sealing, wrapping and recovering; the vectors that `PROTOCOL.md` refers to.

mod discovery;
mod document;
mod hpke;
mod keys;
mod pairing;
mod qr;
mod recovery;
mod seal;
mod vectors;

use crate::secret::{Random, Secret};

/// Bytes that count: every value of a test differs, and the next run gives the same ones.
#[derive(Debug, Default)]
pub(crate) struct Counting(u64);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.0 += 1;
            let digest = hearth_protocol::hash::sha256(&self.0.to_be_bytes());
            chunk.copy_from_slice(&digest.0[..chunk.len()]);
        }
    }
}

pub(crate) fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    use std::fmt::Write as _;
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap())
        .collect()
}
