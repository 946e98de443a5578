//! The store as its users see it, on real files.
#![allow(missing_docs, clippy::unwrap_used, clippy::format_push_string)]

#[path = "it/chats.rs"]
mod chats;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/erasure.rs"]
mod erasure;
#[path = "it/import.rs"]
mod import;
#[path = "it/kit.rs"]
mod kit;
#[path = "it/memories.rs"]
mod memories;
#[path = "it/memory_import.rs"]
mod memory_import;
#[path = "it/model.rs"]
mod model;
#[path = "it/profile.rs"]
mod profile;
#[path = "it/search.rs"]
mod search;
