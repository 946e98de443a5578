//! When to call again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(5);
/// A connection that held for so long ends the row of failures.
const STEADY: Duration = Duration::from_mins(1);

/// Waits that double, each cut by chance to between a half and the whole of it, so that devices that lost a server
/// together don't come back together. It has no clock and no chance of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after a call failed, or a connection ended that had held for `held`.
    ///
    /// `chance` is any random number. `at_least` is what the server asked for (`retry_after_ms`), zero if nothing.
    pub fn after(&mut self, held: Duration, chance: u32, at_least: Duration) -> Duration {
        if held >= STEADY {
            self.failures = 0;
        }
        let whole = FIRST.saturating_mul(1 << self.failures.min(20)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        let part = half.as_millis() as u64 * u64::from(chance) / u64::from(u32::MAX);
        // Who was told when to come back comes a little later, not all at that moment.
        half + Duration::from_millis(part) + at_least
    }

    /// A connection brought both sides to one. A server that then goes away may just be starting anew, so the next failures
    /// count less; one that goes away every time is still called more and more rarely.
    pub fn worked(&mut self) {
        self.failures /= 2;
    }

    /// The network has changed, or the user asks: the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(chance: u32, count: usize) -> Vec<u128> {
        let mut backoff = Backoff::default();
        (0..count)
            .map(|_| backoff.after(Duration::ZERO, chance, Duration::ZERO).as_millis())
            .collect()
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        assert_eq!(waits(u32::MAX, 4), [500, 1_000, 2_000, 4_000]);
        assert_eq!(waits(0, 4), [250, 500, 1_000, 2_000]);
        assert_eq!(waits(u32::MAX, 100).last(), Some(&300_000));
    }

    #[test]
    fn a_connection_that_held_begins_anew_and_one_that_did_not_does_not() {
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            backoff.after(Duration::from_secs(59), u32::MAX, Duration::ZERO);
        }
        assert_eq!(
            backoff
                .after(Duration::from_secs(59), u32::MAX, Duration::ZERO)
                .as_secs(),
            32
        );
        assert_eq!(backoff.after(STEADY, u32::MAX, Duration::ZERO).as_millis(), 500);
    }

    #[test]
    fn a_server_that_works_between_its_failures_is_called_soon() {
        let mut backoff = Backoff::default();
        let mut next = || backoff.after(Duration::from_secs(1), u32::MAX, Duration::ZERO);
        let down = (0..8).map(|_| next()).max();
        assert_eq!(down, Some(Duration::from_secs(64)));
        let waits = (0..30).map(|_| {
            backoff.worked();
            backoff.after(Duration::from_secs(1), u32::MAX, Duration::ZERO)
        });
        let waits: Vec<_> = waits.collect();
        assert!(
            waits[4..].iter().all(|wait| *wait <= Duration::from_secs(1)),
            "{waits:?}"
        );
    }

    #[test]
    fn what_the_server_asks_for_is_kept() {
        let mut backoff = Backoff::default();
        let asked = Duration::from_mins(10);
        assert!(backoff.after(Duration::ZERO, 0, asked) >= asked);
    }
}
