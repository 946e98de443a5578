//! Randomness that is passed in.

/// Where random bytes come from: the operating system in a server or in core, a seed in the simulator.
pub trait Entropy {
    /// Fills the bytes, all of them, with bytes that nobody can foresee.
    fn fill(&mut self, bytes: &mut [u8]);
}
