//! Progress of a pull: how many bytes, how fast, how long still.

use crate::models::error::{ModelError, SourceFailure};
use crate::models::events::{Progress, PullEvent, PullPhase};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shortest time between two progress events.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Time over which the rate is smoothed, in seconds.
const SMOOTHING_S: f64 = 5.0;
/// A rate over less time than this says nothing.
const MEANINGFUL_S: f64 = 0.5;

/// Tells the events of one pull, and knows whether it shall stop.
pub(crate) struct Reporter<'a> {
    id: String,
    events: &'a mut (dyn FnMut(PullEvent) + Send),
    cancel: CancellationToken,
    total_bytes: u64,
    finished_bytes: u64,
    current: Option<Current>,
}

struct Current {
    file: String,
    phase: PullPhase,
    bytes: u64,
    rate: Rate,
    told: Option<Instant>,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(
        id: &str,
        total_bytes: u64,
        cancel: &CancellationToken,
        events: &'a mut (dyn FnMut(PullEvent) + Send),
    ) -> Self {
        Self {
            id: id.into(),
            events,
            cancel: cancel.clone(),
            total_bytes,
            finished_bytes: 0,
            current: None,
        }
    }

    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Fails when the caller wants to stop.
    pub(crate) fn check_cancelled(&self) -> Result<(), ModelError> {
        if self.cancel.is_cancelled() {
            Err(ModelError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// The size of the whole model, and that nothing of it is done.
    pub(crate) fn start(&mut self, total_bytes: u64) {
        self.total_bytes = total_bytes;
        self.finished_bytes = 0;
        self.current = None;
    }

    /// `bytes` of a file are done. Events are limited in number; see [`Reporter::flush`].
    pub(crate) fn at(&mut self, file: &str, phase: PullPhase, bytes: u64) {
        let now = Instant::now();
        let same = self
            .current
            .as_ref()
            .is_some_and(|current| current.phase == phase && current.file == file);
        if !same {
            self.flush();
            let rate = Rate::new(now, bytes);
            self.current = Some(Current {
                file: file.into(),
                phase,
                bytes,
                rate,
                told: None,
            });
        }
        let Some(current) = &mut self.current else { return };
        current.bytes = bytes;
        if current
            .told
            .is_none_or(|told| now.duration_since(told) >= EVENT_INTERVAL)
        {
            current.rate.sample(now, bytes);
            current.told = Some(now);
            self.tell();
        }
    }

    /// Tells the current figures once more, however recent the last event.
    pub(crate) fn flush(&mut self) {
        if let Some(current) = &mut self.current {
            current.rate.sample(Instant::now(), current.bytes);
            self.tell();
        }
    }

    /// A file is done.
    pub(crate) fn file_done(&mut self, size: u64) {
        self.flush();
        self.current = None;
        self.finished_bytes += size;
    }

    pub(crate) fn source(&mut self, source: &str) {
        (self.events)(PullEvent::Source {
            id: self.id.clone(),
            source: source.into(),
        });
    }

    pub(crate) fn source_failed(&mut self, failure: &SourceFailure) {
        (self.events)(PullEvent::SourceFailed {
            id: self.id.clone(),
            failure: failure.clone(),
        });
    }

    pub(crate) fn waiting(&mut self) {
        (self.events)(PullEvent::Waiting { id: self.id.clone() });
    }

    pub(crate) fn retrying(&mut self, reason: &str, wait: Duration) {
        self.flush();
        let wait_ms = wait.as_millis() as u64;
        (self.events)(PullEvent::Retrying {
            id: self.id.clone(),
            reason: reason.into(),
            wait_ms,
        });
    }

    pub(crate) fn restarted(&mut self, reason: &str) {
        self.current = None;
        (self.events)(PullEvent::Restarted {
            id: self.id.clone(),
            reason: reason.into(),
        });
    }

    pub(crate) fn ready(&mut self, was_ready: bool) {
        (self.events)(PullEvent::Ready {
            id: self.id.clone(),
            was_ready,
        });
    }

    fn tell(&mut self) {
        let Some(current) = &self.current else { return };
        let bytes = self.finished_bytes + current.bytes;
        let bytes_per_second = current.rate.bytes_per_second();
        let left = self.total_bytes.saturating_sub(bytes) as f64;
        let remaining_seconds = bytes_per_second
            .filter(|rate| *rate >= 1.0)
            .map(|rate| left / rate);
        (self.events)(PullEvent::Progress(Progress {
            id: self.id.clone(),
            file: current.file.clone(),
            phase: current.phase,
            bytes,
            total_bytes: self.total_bytes,
            bytes_per_second,
            remaining_seconds,
        }));
    }
}

/// An exponentially weighted rate, corrected for its short past.
#[derive(Debug, Clone, Copy)]
struct Rate {
    started: Instant,
    sampled: Instant,
    bytes: u64,
    average: f64,
}

impl Rate {
    fn new(now: Instant, bytes: u64) -> Self {
        Self {
            started: now,
            sampled: now,
            bytes,
            average: 0.0,
        }
    }

    fn sample(&mut self, now: Instant, bytes: u64) {
        let seconds = now.duration_since(self.sampled).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let weight = 1.0 - (-seconds / SMOOTHING_S).exp();
        let current = bytes.saturating_sub(self.bytes) as f64 / seconds;
        self.average += weight * (current - self.average);
        self.sampled = now;
        self.bytes = bytes;
    }

    fn bytes_per_second(&self) -> Option<f64> {
        let seconds = self.sampled.duration_since(self.started).as_secs_f64();
        (seconds >= MEANINGFUL_S).then(|| self.average / (1.0 - (-seconds / SMOOTHING_S).exp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_told_exactly_and_a_change_is_followed_smoothly() {
        let start = Instant::now();
        let mut rate = Rate::new(start, 1_000);
        assert_eq!(rate.bytes_per_second(), None);
        for tick in 1..=20_u64 {
            rate.sample(start + Duration::from_millis(100 * tick), 1_000 + 50_000 * tick);
        }
        assert!(
            (rate.bytes_per_second().unwrap() - 500_000.0).abs() < 1.0,
            "{rate:?}"
        );
        rate.sample(start + Duration::from_millis(2_100), 1_001_000);
        let after_a_stall = rate.bytes_per_second().unwrap();
        assert!((440_000.0..500_000.0).contains(&after_a_stall), "{after_a_stall}");
    }

    #[test]
    fn events_are_few_but_the_last_figures_are_always_told() {
        let mut told = Vec::new();
        let mut sink = |event| told.push(event);
        let mut reporter = Reporter::new("m", 5_000, &CancellationToken::new(), &mut sink);
        for bytes in 0..=1_000 {
            reporter.at("a", PullPhase::Downloading, bytes);
        }
        reporter.file_done(1_000);
        reporter.at("b", PullPhase::Downloading, 7);
        let figures: Vec<u64> = told
            .iter()
            .map(|event| match event {
                PullEvent::Progress(progress) => progress.bytes,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(figures.len() < 50, "{}", figures.len());
        assert!(
            figures.contains(&1_000) && figures.last() == Some(&1_007),
            "{figures:?}"
        );
    }
}
