//! The schema, as the list of steps that lead to it.

/// The schema version this program writes, and the newest it can read.
pub const SCHEMA_VERSION: u32 = 1;
