//! The OpenAI-compatible HTTP surface, a thin face of the same engine as every other.
//!
//! `/v1/chat/completions`, `/v1/embeddings`, `/v1/models` and `/health` over HTTP/1.1, and `/memory…` and `/recall` beside
//! them. Every field of a request is understood, known to be harmless, or refused by name; nothing of a request for an
//! answer is stored. Requests must name this machine in their Host header, must not come from a foreign web page, and must
//! carry the bearer token (but for `/health`).
//!
//! The listener, the token and the way to reach an engine are passed in.

mod chat;
mod chat_request;
mod embeddings_request;
mod engine;
mod error;
mod fields;
mod guard;
mod memory;
mod routes;
mod server;
mod token;

pub use engine::Connect;
pub use error::HttpError;
pub use guard::AllowedHosts;
pub use server::{HttpLimits, HttpOptions, serve_http};
pub use token::{TOKEN_FILE, read_or_create_token};
