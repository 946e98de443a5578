//! What a person can set.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Sampling;

/// Which size of models suits the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ModelProfile {
    /// For any machine.
    Small,
    /// For 16 GiB of memory or a small GPU.
    Standard,
    /// For 32 GiB of memory or a large GPU.
    Large,
}

/// All settings. What is absent is chosen by the engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct Settings {
    /// The model that answers when none is named.
    pub chat_model: Option<String>,
    /// The model that embeds when none is named.
    pub embedding_model: Option<String>,
    /// Overrides the profile chosen from the machine.
    pub model_profile: Option<ModelProfile>,
    /// Window in tokens; the model's own limit still holds.
    pub context_length: Option<u32>,
    /// Longest reply in tokens when the request names none.
    pub max_reply_tokens: Option<u32>,
    /// Instructions for chats that have none of their own. Absent: a short prompt of Hearth's; empty: none at all.
    pub system_prompt: Option<String>,
    /// Sampling when the request names none.
    pub sampling: Sampling,
    /// Threads for inference.
    pub threads: Option<u32>,
    /// Unload a model after so many seconds without work; 0 never.
    pub unload_after_seconds: Option<u32>,
    /// Most memories that stand with a question, 0 to 10; default 5.
    pub memory_recalled: Option<u32>,
    /// Most tokens that they take; default 400, and never more than an eighth of the window.
    pub memory_tokens: Option<u32>,
    /// Most tokens of the biography in the instructions; default 1,000, never more than an eighth of the window; 0 none.
    pub biography_tokens: Option<u32>,
    /// Most memories that are kept; those that were not recalled for longest go first. Default 100,000.
    pub memory_limit: Option<u32>,
    /// Draw memories from chats in idle moments; default true.
    pub memory_extraction: Option<bool>,
    /// Look for the account's other devices on the local network while its server isn't reached, and let them find this one;
    /// default true. Of this device alone.
    pub local_network: Option<bool>,
    /// What counts how much when recall ranks; parts that are absent are the engine's.
    pub recall_weights: Option<serde_json::Value>,
}

/// Changes to settings: what is absent stays; names in `reset` return to the engine's choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct SettingsChange {
    /// See [`Settings::chat_model`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_model: Option<String>,
    /// See [`Settings::embedding_model`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_model: Option<String>,
    /// See [`Settings::model_profile`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_profile: Option<ModelProfile>,
    /// See [`Settings::context_length`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u32>,
    /// See [`Settings::max_reply_tokens`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_reply_tokens: Option<u32>,
    /// See [`Settings::system_prompt`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// See [`Settings::sampling`]; replaces all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// See [`Settings::threads`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// See [`Settings::unload_after_seconds`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unload_after_seconds: Option<u32>,
    /// See [`Settings::memory_recalled`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_recalled: Option<u32>,
    /// See [`Settings::memory_tokens`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_tokens: Option<u32>,
    /// See [`Settings::biography_tokens`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub biography_tokens: Option<u32>,
    /// See [`Settings::memory_limit`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u32>,
    /// See [`Settings::memory_extraction`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_extraction: Option<bool>,
    /// See [`Settings::local_network`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_network: Option<bool>,
    /// See [`Settings::recall_weights`]; replaces all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_weights: Option<serde_json::Value>,
    /// Names of settings to return to the engine's choice.
    pub reset: Vec<String>,
}
