//! The device side of sync as a state machine: documents, sealing, erasure.
//!
//! Invariant: no I/O, no clock and no randomness of its own; all three are passed in. Empty until sync is built.
