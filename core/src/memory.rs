//! Long-term memory: what is taken in, told apart, corrected and found again.

pub mod compare;
pub mod extract;
pub mod intent;
pub mod recall;
pub mod when;
