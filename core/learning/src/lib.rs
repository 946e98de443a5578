//! Bandits, off-policy estimators, drift detection and ranking as pure maths.
//!
//! Invariant: no I/O, no clock, no global randomness. Empty until learning is built.
