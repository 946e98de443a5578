//! Repeated measurements of one quantity on one side.

use serde_json::{Value, json};

use crate::Only;

/// Measurements in the order they were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle value; the mean of the two middle ones for an even count.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            length if length % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// The best value: what the machine can do when nothing else disturbs it.
    pub(crate) fn best(&self, better: Better) -> Option<f64> {
        match better {
            Better::Higher => self.0.iter().copied().max_by(f64::total_cmp),
            Better::Lower => self.0.iter().copied().min_by(f64::total_cmp),
        }
    }
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// Such as tokens per second.
    Higher,
    /// Such as milliseconds.
    Lower,
}

/// One quantity, measured on both sides.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Name in the table, such as `prefill 512`.
    pub(crate) name: &'static str,
    /// Unit in the table, such as `tok/s`.
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) hearth: Samples,
    pub(crate) peer: Samples,
    /// What the ratio of the two bests must reach (`Higher`) or not exceed (`Lower`), where a target is set.
    pub(crate) target: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, unit: &'static str, better: Better, target: Option<f64>) -> Figure {
        Figure {
            name,
            unit,
            better,
            hearth: Samples::default(),
            peer: Samples::default(),
            target,
        }
    }

    /// The samples of one side.
    pub(crate) fn side(&mut self, side: Only) -> &mut Samples {
        match side {
            Only::Hearth => &mut self.hearth,
            Only::Peer => &mut self.peer,
        }
    }

    /// Our best over the peer's best.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.hearth.best(self.better)? / self.peer.best(self.better)?)
    }

    /// Whether the target is met; `None` where there is none, or a side was not measured.
    pub(crate) fn meets_target(&self) -> Option<bool> {
        let (ratio, target) = (self.ratio()?, self.target?);
        Some(match self.better {
            Better::Higher => ratio >= target,
            Better::Lower => ratio <= target,
        })
    }

    /// Unit, best and median of both sides, and the ratio.
    pub(crate) fn json(&self) -> Value {
        json!({
            "unit": self.unit,
            "hearth": { "best": self.hearth.best(self.better), "median": self.hearth.median() },
            "peer": { "best": self.peer.best(self.better), "median": self.peer.median() },
            "ratio": self.ratio(),
            "target": self.target,
        })
    }
}
