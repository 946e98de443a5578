//! Long-term memory: what is taken in, told apart, corrected and found again.

pub mod recall;
pub mod when;
