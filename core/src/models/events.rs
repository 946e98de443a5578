//! What a pull tells while it runs.

use super::error::SourceFailure;
use serde::{Deserialize, Serialize};

/// One thing that happened during a pull.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PullEvent {
    /// Another process works on the same model; this one waits for it.
    Waiting {
        /// The model.
        id: String,
    },
    /// A source is tried now.
    Source {
        /// The model.
        id: String,
        /// The source, for people.
        source: String,
    },
    /// Bytes arrived, or are being checked. At most about ten a second, and always one at a phase's end.
    Progress(Progress),
    /// A transfer broke off and will go on where it stopped.
    Retrying {
        /// The model.
        id: String,
        /// What happened.
        reason: String,
        /// Pause before going on, in milliseconds.
        wait_ms: u64,
    },
    /// What was there could not be continued; the file starts from its first byte.
    Restarted {
        /// The model.
        id: String,
        /// Why.
        reason: String,
    },
    /// A source was given up; the next one follows.
    SourceFailed {
        /// The model.
        id: String,
        /// Which and why.
        failure: SourceFailure,
    },
    /// A profile could not be had and another is taken.
    FellBack {
        /// Profile given up.
        from: String,
        /// Profile taken.
        to: String,
        /// Why.
        reason: String,
    },
    /// The model is verified and ready.
    Ready {
        /// The model.
        id: String,
        /// True when nothing had to be fetched.
        was_ready: bool,
    },
}

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The model.
    pub id: String,
    /// The file at work.
    pub file: String,
    /// What is being done.
    pub phase: PullPhase,
    /// Bytes of the whole model that are done.
    pub bytes: u64,
    /// Bytes of the whole model.
    pub total_bytes: u64,
    /// Smoothed rate in bytes per second; `None` until it means something.
    pub bytes_per_second: Option<f64>,
    /// Time left in seconds at that rate.
    pub remaining_seconds: Option<f64>,
}

/// Phases of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPhase {
    /// Reading again what is on disk, to go on from there or to verify it.
    Checking,
    /// Bytes arrive from a source.
    Downloading,
    /// Fetched parts are joined.
    Joining,
}
