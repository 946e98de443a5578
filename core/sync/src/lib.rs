//! The device side of sync as a state machine: documents, sealing, erasure.
//!
//! Invariant: no I/O, no clock and no randomness of its own; all three are passed in. [`PROTOCOL.md`](../PROTOCOL.md)
//! is the specification. What exists so far is the ground: keys, sealing and signing.

pub mod content;
pub mod hpke;
pub mod keys;
pub mod recovery;
pub mod registry;
pub mod seal;
pub mod secret;

#[cfg(test)]
mod tests;
