//! The serving side of sync as a state machine, shared by the server, LAN peers and the simulator.
//!
//! Invariant: no I/O and no key that opens anything. Empty until sync is built.
