//! Transfers over HTTP that survive bad servers.

use std::time::Duration;

/// How a broken transfer is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in a row that brought no byte before the source is given up.
    pub attempts: u32,
    /// First pause; it doubles with each attempt.
    pub first_pause: Duration,
    /// Longest pause, also where a server asks for a longer one.
    pub longest_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}
