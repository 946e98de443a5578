//! What the engine says about itself.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{ChatId, MemoryId, ModelProfile, ModelTask, ProtectionKind, SyncState};

/// The engine's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Status {
    /// Version of the engine.
    pub version: String,
    /// Process that owns the profile.
    pub pid: u32,
    /// Milliseconds since the engine was opened.
    pub uptime_ms: u64,
    /// The profile's folder.
    pub home: String,
    /// Models in memory.
    pub loaded_models: Vec<LoadedModel>,
    /// Models whose files are here.
    pub ready_models: Vec<String>,
    /// The model that answers when none is named.
    pub chat_model: Option<String>,
    /// The machine, and the profile that suits it.
    pub machine: MachineStatus,
    /// The database.
    pub database: DatabaseStatus,
    /// Replies being written or waiting.
    pub active_replies: u32,
    /// Where the time of recent replies went.
    pub latency: LatencyReport,
}

/// A model in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct LoadedModel {
    /// Its identifier.
    pub id: String,
    /// What it is for.
    pub task: ModelTask,
    /// `cpu`, `cuda` or `metal`, with the device's name where known.
    pub device: String,
    /// Memory it takes: weights, caches and scratch.
    pub memory_bytes: u64,
    /// Its window in tokens.
    pub context_length: u32,
    /// Requests being served or waiting.
    pub queue_length: u32,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MachineStatus {
    /// Logical processors.
    pub processors: u32,
    /// All memory.
    pub memory_bytes: u64,
    /// Memory not in use.
    pub free_memory_bytes: u64,
    /// Most that models may take; absent where the machine does not tell how much it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub memory_limit_bytes: Option<u64>,
    /// Model profile in force.
    pub profile: ModelProfile,
    /// Whether the person chose it rather than the machine's memory.
    pub profile_overridden: bool,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DatabaseStatus {
    /// What opens it.
    pub protection: ProtectionKind,
    /// Schema version.
    pub schema_version: u32,
    /// Size on disk.
    pub size_bytes: u64,
    /// Chats.
    pub chats: u64,
    /// Messages in all chats.
    pub messages: u64,
    /// Chats that are kept in memory only.
    pub incognito_chats: u64,
}

/// Percentiles over recent replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct Percentiles {
    /// Half are at or below.
    pub p50: f64,
    /// 95 % are at or below.
    pub p95: f64,
    /// 99 % are at or below.
    pub p99: f64,
}

/// Where the time of recent replies went; zeros before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct LatencyReport {
    /// Replies counted, at most the latest 512.
    pub replies: u32,
    /// Waiting for a turn, milliseconds.
    pub queue_ms: Percentiles,
    /// Request to first token, milliseconds.
    pub first_token_ms: Percentiles,
    /// Prompt tokens read per second, reused ones not counted.
    pub prefill_tokens_per_second: Percentiles,
    /// Tokens written per second.
    pub decode_tokens_per_second: Percentiles,
}

/// Something changed that a face may want to show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum EngineEvent {
    /// Chats were made, renamed, extended or deleted; one chat, or many when absent.
    ChatsChanged {
        /// The chat.
        chat: Option<ChatId>,
    },
    /// Memories were made, changed or erased; one memory, or many when absent. Also: remembering was paused or goes on.
    MemoryChanged {
        /// The memory.
        memory: Option<MemoryId>,
    },
    /// A model was pulled, removed, imported, loaded or unloaded.
    ModelsChanged,
    /// A model is being read into memory.
    ModelLoading {
        /// The model.
        model: String,
        /// 0 to 1.
        fraction: f32,
    },
    /// Settings changed.
    SettingsChanged,
    /// The connection to the account's server changed.
    SyncStateChanged {
        /// How far it is now.
        state: SyncState,
    },
    /// Something points to an attack or to damage: `sync.status` says what.
    SyncFindings,
    /// What other devices wrote or erased has arrived.
    SyncApplied {
        /// Memories that are new, changed or gone.
        memories: u64,
        /// Chats that are.
        chats: u64,
    },
    /// A device was let in, shut out, or confirmed something.
    DevicesChanged,
    /// Something was erased everywhere, or confirmed.
    ErasuresChanged,
    /// The engine is about to end.
    Stopping,
    /// The watcher was too slow and missed events: look at everything again.
    Missed {
        /// How many.
        count: u64,
    },
}
