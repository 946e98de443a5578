//! A server that attacks: everything between the devices and an honest relay is in its hands, and so are the relay's
//! store and its key; no device's key is. `PROTOCOL.md`, section 16, is the table of what comes of it, by these tests'
//! names: an attack is *detected* (which notice the user sees), *harmless* (all end as without it), or *bounded and
//! shown*. `honest.rs` holds the opposite: histories that nobody may be accused for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub)]

mod world;

#[path = "attacks/control.rs"]
mod control;
#[path = "attacks/erasure.rs"]
mod erasure;
#[path = "attacks/flood.rs"]
mod flood;
#[path = "attacks/items.rs"]
mod items;
#[path = "attacks/join.rs"]
mod join;
#[path = "attacks/keys.rs"]
mod keys;
#[path = "attacks/kit.rs"]
mod kit;
#[path = "attacks/mailbox.rs"]
mod mailbox;
