//! Models end to end: pulls from hostile servers and from packages, kills, verification, import, removal.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[path = "models/adopting.rs"]
mod adopting;
#[path = "models/hostile_server.rs"]
mod hostile_server;
#[path = "models/hub.rs"]
mod hub;
#[path = "models/importing.rs"]
mod importing;
#[path = "models/killing.rs"]
mod killing;
#[path = "models/kit.rs"]
mod kit;
#[path = "models/packages.rs"]
mod packages;
#[path = "models/pulling.rs"]
mod pulling;
