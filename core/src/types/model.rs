//! Models: what exists, what is here, what is happening to it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ModelTask {
    /// Answers.
    Chat,
    /// Turns text into vectors.
    Embedding,
    /// Finds speech in sound.
    VoiceActivity,
    /// Turns speech into text.
    Speech,
    /// Anything else in the catalogue.
    Other,
}

/// Whether a model's files are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ModelState {
    /// No file of it.
    Absent,
    /// A download was begun.
    Partial {
        /// Bytes that are here.
        done_bytes: u64,
    },
    /// All files are here, but their hashes were not checked: verifying makes it usable.
    Unverified,
    /// All files are here and their hashes were checked.
    Ready,
    /// Files are here but wrong.
    Damaged,
}

/// One model of the catalogue, or an imported one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own name on the wire"
)]
pub struct ModelSummary {
    /// Its identifier, also the name of its folder.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// What it is for.
    pub task: ModelTask,
    /// Architecture as the file names it, such as `llama`.
    pub architecture: String,
    /// All files together.
    pub size_bytes: u64,
    /// Estimated memory when loaded with the default window.
    pub memory_bytes: u64,
    /// Tokens it was trained for; none for models without a window.
    pub context_length: Option<u32>,
    /// SPDX expression or the licence's name.
    pub license: String,
    /// Whether its files are here.
    pub state: ModelState,
    /// Whether it is in memory.
    pub loaded: bool,
    /// Whether it is the one used when none is named.
    pub default: bool,
    /// Whether this machine's memory suffices.
    pub fits: bool,
    /// Brought in by the person rather than listed in the catalogue.
    pub imported: bool,
    /// The profile that proposes it: `small`, `standard` or `large`.
    pub profile: Option<String>,
}

/// What a download or a check is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum PullPhase {
    /// Looking at sources and free space.
    Preparing,
    /// Bytes are coming.
    Downloading,
    /// Hashes are being computed.
    Verifying,
}

/// How far a download or a check is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PullProgress {
    /// The model.
    pub model: String,
    /// What is being done.
    pub phase: PullPhase,
    /// The file being worked on.
    pub file: Option<String>,
    /// Bytes done, all files together.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Current rate; none before it is known.
    pub bytes_per_second: Option<f64>,
    /// Estimate; none before it is known.
    pub seconds_left: Option<f64>,
    /// Where the bytes come from: a host or a registry, never a full address.
    pub source: Option<String>,
    /// Something a person may want to know: a source that failed, another try.
    pub note: Option<String>,
}
