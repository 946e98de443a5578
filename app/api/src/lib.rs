//! The methods, events and error codes that every face speaks, and the ways to reach an engine.
//!
//! - [`methods`]: one type per method, with its parameters, events and output; TypeScript is generated from them.
//! - [`Client`]: calls methods, on an engine in this process or over a local socket, with the same behaviour.
//! - [`serve_local`]: lets other processes attach to an engine.
//! - [`http`]: the OpenAI-compatible HTTP surface.
//! - [`ApiError`]: what went wrong, as a stable code, a sentence and a hint.

mod client;
pub mod error;
pub mod http;
pub mod methods;
pub mod server;
pub mod socket;

mod accept;
#[cfg(test)]
mod bindings;
mod dispatch;
mod wire;

pub use client::{Call, Client, Update};
pub use dispatch::METHOD_NAMES;
pub use error::{ApiError, ErrorCode};
pub use hearth_core::types;
pub use methods::Method;
pub use server::{ServeOptions, serve_local};
pub use socket::socket_path;
pub use wire::MAX_REQUEST_BYTES;
