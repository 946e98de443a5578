//! What to do when a listener cannot accept.

use std::io;
use std::time::{Duration, Instant};

/// Out of file descriptors, accepting fails at once, again and again: without a pause that is a busy loop.
const PAUSE: Duration = Duration::from_millis(50);
/// Time between two lines of log about it.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The failures of one listener so far.
#[derive(Debug, Default)]
pub(crate) struct AcceptFailures {
    logged: Option<Instant>,
    unlogged: u32,
}

impl AcceptFailures {
    /// Logs the failure, unless one was logged lately, and pauses before the next try.
    pub(crate) async fn wait_out(&mut self, error: &io::Error) {
        if let Some(before) = self.log_now(Instant::now()) {
            tracing::warn!(%error, before, "a connection could not be accepted");
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// The number of failures that were not logged, when it is time to log again.
    fn log_now(&mut self, now: Instant) -> Option<u32> {
        let lately = self
            .logged
            .is_some_and(|logged| now.saturating_duration_since(logged) < LOG_EVERY);
        if lately {
            self.unlogged = self.unlogged.saturating_add(1);
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_logged_seldom() {
        let mut failures = AcceptFailures::default();
        let start = Instant::now();
        let logged: Vec<_> = (0..1000)
            .filter_map(|n| failures.log_now(start + n * PAUSE))
            .collect();
        assert_eq!(logged, [0, 199, 199, 199, 199]);
    }

    #[tokio::test]
    async fn a_failure_pauses_the_listener() {
        let began = Instant::now();
        AcceptFailures::default()
            .wait_out(&io::Error::from_raw_os_error(24))
            .await;
        assert!(began.elapsed() >= PAUSE);
    }
}
