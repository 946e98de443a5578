//! The serving side of sync as a state machine, shared by the server, LAN peers and the simulator.
//!
//! Invariant: no I/O and no key that opens anything. [`PROTOCOL.md`](../../sync/PROTOCOL.md) says what is said and why.
//! [`Relay`] takes what happens on connections and says what has to happen on them; [`Store`] is where things rest.

mod account;
pub mod config;
mod items;
pub mod memory;
mod rate;
mod relay;
mod rows;
pub mod session;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;

pub use config::{Admission, Anybody, Config, Limits, Nobody, Role, Signer};
pub use memory::MemoryStore;
pub use relay::{AccountInfo, AdoptError, CREDIT_BYTES, Relay};
pub use session::{Input, Output, SessionId};
pub use store::{Space, Store, StoreError};
