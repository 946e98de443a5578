//! Bytes on the wire: ids, sealed envelopes, version vectors, messages and size limits.
//!
//! Invariant: nothing here can open a sealed body, wait, or read a clock. Empty until sync is built.
