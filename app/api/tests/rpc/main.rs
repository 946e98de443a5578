//! The engine as its clients see it, in this process and over the local socket.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod chat;
mod crash;
mod fake;
mod kit;
mod lifecycle;
mod profile;
mod real;
mod socket;
