//! Percentiles over the latest replies.

use std::collections::VecDeque;

use crate::types::{LatencyReport, Percentiles, Timings, Usage};

const KEPT: usize = 512;

/// Remembers where the time of the latest replies went.
#[derive(Debug, Default)]
pub(crate) struct LatencyLog {
    replies: VecDeque<(Timings, Usage)>,
}

impl LatencyLog {
    /// Adds a reply, forgetting the oldest when there are 512.
    pub(crate) fn record(&mut self, timings: Timings, usage: Usage) {
        if self.replies.len() == KEPT {
            self.replies.pop_front();
        }
        self.replies.push_back((timings, usage));
    }

    /// The percentiles of what is remembered.
    pub(crate) fn report(&self) -> LatencyReport {
        let all = |value: fn(&Timings, &Usage) -> Option<f64>| {
            percentiles(
                self.replies
                    .iter()
                    .filter_map(|(timings, usage)| value(timings, usage))
                    .collect(),
            )
        };
        LatencyReport {
            replies: self.replies.len() as u32,
            queue_ms: all(|timings, _| Some(timings.queue_ms)),
            first_token_ms: all(|timings, _| Some(timings.first_token_ms)),
            prefill_tokens_per_second: all(|timings, usage| {
                rate(
                    usage.prompt_tokens.saturating_sub(usage.reused_tokens),
                    timings.prefill_ms,
                )
            }),
            // The first token belongs to the prefill.
            decode_tokens_per_second: all(|timings, usage| {
                rate(usage.completion_tokens.saturating_sub(1), timings.decode_ms)
            }),
        }
    }
}

fn rate(tokens: u32, ms: f64) -> Option<f64> {
    (tokens > 0 && ms > 0.0).then(|| f64::from(tokens) * 1000.0 / ms)
}

/// Nearest-rank percentiles; zeros of nothing.
fn percentiles(mut values: Vec<f64>) -> Percentiles {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (share * values.len() as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    Percentiles {
        p50: at(0.50),
        p95: at(0.95),
        p99: at(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks_of_the_latest() {
        let mut log = LatencyLog::default();
        assert_eq!(log.report(), LatencyReport::default());
        for n in 0..1000 {
            let timings = Timings {
                queue_ms: f64::from(n),
                prefill_ms: 100.0,
                ..Timings::default()
            };
            log.record(
                timings,
                Usage {
                    prompt_tokens: 30,
                    reused_tokens: 10,
                    completion_tokens: 0,
                },
            );
        }
        let report = log.report();
        assert_eq!(report.replies, 512);
        assert_eq!(
            report.queue_ms,
            Percentiles {
                p50: 743.0,
                p95: 974.0,
                p99: 994.0
            }
        );
        assert!((report.prefill_tokens_per_second.p50 - 200.0).abs() < 1e-9);
        assert!(report.decode_tokens_per_second.p50.abs() < 1e-9);
    }
}
