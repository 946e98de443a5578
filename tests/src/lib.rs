//! The test kit: what scenarios across packages share.

pub mod bad_network;
pub mod device;
pub mod dice;
pub mod hearth;
pub mod pages;
pub mod shim;
pub mod sync_server;
pub mod traces;
