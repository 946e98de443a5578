//! A disk that fails, fills up and loses power, under SQLite; for tests.
//!
//! A shim between SQLite and its own file layer, installed as the default of the process by the first [`Disk`]. Files below
//! a disk's folder are watched, all others pass through. A write is done at once and remembered until its file is synced,
//! so that [`Disk::restart`] can leave the files as a power cut would: what was never synced is there, or isn't, or by half,
//! sector by sector. Nothing is really synced, which makes tests fast.
//!
//! What it doesn't know: memory-mapped files other than the index of the write-ahead log (it turns them off), and files that
//! are written around SQLite.

mod disk;
mod shim;

pub use disk::{Counts, Cut, Disk, Fault};
