//! The engine as its clients see it, in this process and over the local socket.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod chat;
mod crash;
mod erase;
mod fake;
mod http_memory;
mod idle;
mod kit;
mod lifecycle;
mod memory;
mod profile;
mod real;
mod socket;
