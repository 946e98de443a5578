//! The relay driven by hand-made devices.
#![allow(clippy::wildcard_imports)] // The kit is made of small functions, and every test uses most of them.

mod bounds;
mod control;
mod damage;
mod data;
mod erasure;
mod items;
mod kit;
mod mailbox;
mod property;
mod sessions;
mod store;
