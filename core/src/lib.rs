//! What the assistant does. The only interface the faces (window, command line, HTTP) use.
//!
//! Nothing here knows a terminal, a window, a home folder or an environment variable: faces pass those in.

pub mod clock;
pub mod context;
pub mod documents;
pub mod engine;
pub mod error;
pub mod host;
pub mod memory;
pub mod models;
pub mod net;
pub mod options;
pub mod types;

mod latency;
mod settings;
mod title;

pub use engine::Engine;
pub use error::EngineError;
pub use hearth_protocol::certificate;
pub use hearth_sync::pairing::qr;
pub use options::{EngineOptions, Unlock};
