//! Shares with their intervals.

use serde_json::{Value, json};

/// How many of how many.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) hits: usize,
    pub(crate) of: usize,
}

impl Share {
    pub(crate) fn count(&mut self, hit: bool) {
        self.of += 1;
        self.hits += usize::from(hit);
    }

    pub(crate) fn percent(self) -> f64 {
        if self.of == 0 {
            0.0
        } else {
            100.0 * self.hits as f64 / self.of as f64
        }
    }

    /// Wilson's interval of 95 %, in percent.
    pub(crate) fn interval(self) -> (f64, f64) {
        if self.of == 0 {
            return (0.0, 100.0);
        }
        let (n, p, z) = (self.of as f64, self.hits as f64 / self.of as f64, 1.96_f64);
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        (100.0 * (middle - half).max(0.0), 100.0 * (middle + half).min(1.0))
    }

    pub(crate) fn text(self) -> String {
        let (low, high) = self.interval();
        format!(
            "{:.1} % ({low:.1}–{high:.1}, {} of {})",
            self.percent(),
            self.hits,
            self.of
        )
    }

    /// For `--json`.
    pub(crate) fn json(self) -> Value {
        let (low, high) = self.interval();
        json!({ "percent": self.percent(), "low": low, "high": high, "hits": self.hits, "of": self.of })
    }
}
