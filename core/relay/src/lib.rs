//! The serving side of sync as a state machine, shared by the server, LAN peers and the simulator.
//!
//! Invariant: no I/O and no key that opens anything. [`PROTOCOL.md`](../../sync/PROTOCOL.md) says what is said and why.
//! Being built: so far the seams, that is what goes in and out ([`Input`], [`Output`]) and where things rest ([`Store`]).

pub mod memory;
pub mod session;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;

pub use memory::MemoryStore;
pub use session::{Input, Output, SessionId};
pub use store::{Space, Store, StoreError};
