//! The blind server: it stores and forwards ciphertext.
//!
//! Invariant: it depends on neither `sync` nor `store`, so it cannot name a key or a plaintext type. `README.md` is the
//! operator's guide; what is said on the wire is in `core/sync/PROTOCOL.md`.

pub mod admission;
pub mod config;
pub mod folder;
pub mod identity;
pub mod machine;
pub mod metrics;
pub mod operate;
pub mod server;
pub mod store;

pub use config::Config;
pub use server::{Died, Server, StartError};
pub use store::SqliteStore;

#[cfg(test)]
mod tests;
