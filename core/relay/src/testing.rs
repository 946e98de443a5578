//! For tests of this and other packages: what every store must do, and a store that fails when it is told to.

mod faulty;
mod suite;

pub use faulty::Faulty;
pub use suite::{Case, check_store, suite};
