//! The test kit: what scenarios across packages share.

pub mod hearth;
pub mod pages;
pub mod sync_server;
