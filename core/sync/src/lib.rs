//! The device side of sync as a state machine: documents, sealing, erasure.
//!
//! Invariant: no I/O, no clock and no randomness of its own; all three are passed in. [`PROTOCOL.md`](../PROTOCOL.md)
//! is the specification.

pub mod content;
pub mod device;
pub mod discovery;
pub mod document;
pub mod hpke;
pub mod keys;
pub mod pairing;
pub mod recovery;
pub mod registry;
pub mod seal;
pub mod secret;

#[cfg(test)]
mod tests;
