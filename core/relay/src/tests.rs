//! The relay driven by hand-made devices.

mod store;
