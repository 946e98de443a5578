//! Which settings are the person's, and go to every device, and which are the device's. The one list.

use serde_json::{Map, Value};

/// Fields of the engine's settings that are synced. What is in neither list isn't.
pub const SYNCED_SETTINGS: &[&str] = &[
    "max_reply_tokens",
    "system_prompt",
    "sampling",
    "memory_recalled",
    "memory_tokens",
    "biography_tokens",
    "memory_limit",
    "memory_extraction",
    "recall_weights",
];

/// Fields of the engine's settings that stay on the device: they name files of its models, or follow from its memory and
/// processor.
pub const DEVICE_SETTINGS: &[&str] = &[
    "chat_model",
    "embedding_model",
    "model_profile",
    "context_length",
    "threads",
    "unload_after_seconds",
    "local_network",
];

/// Fields of a chat's metadata that stay on the device.
pub const DEVICE_CHAT_FIELDS: &[&str] = &["model"];

/// The store's row of the engine's settings.
pub(super) const ENGINE_SETTINGS: &str = "settings";
/// The group of the engine's settings.
pub(super) const GENERAL: &str = "general";
/// Rows that are a group of their own: this and its name. Their value is an object, all of whose fields are synced.
pub(super) const GROUP_PREFIX: &str = "sync.group.";
/// Rows that belong to a chat: these and its id. They say up to where it was mined, so that no second device mines it.
pub(crate) const OF_A_CHAT: [&str; 2] = ["memory.mined.", "memory.passed."];

/// A group of settings, and where the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsGroup(String);

impl SettingsGroup {
    /// The group of this name, as `devices` for their names.
    pub fn new(name: &str) -> SettingsGroup {
        SettingsGroup(name.to_owned())
    }

    /// The name under which [`crate::Store::get_setting`] has it.
    pub fn setting(&self) -> String {
        if self.0 == GENERAL {
            ENGINE_SETTINGS.to_owned()
        } else {
            format!("{GROUP_PREFIX}{}", self.0)
        }
    }

    /// Whether a field of it is synced.
    pub fn syncs(&self, field: &str) -> bool {
        self.0 != GENERAL || SYNCED_SETTINGS.contains(&field)
    }

    /// Its value with the synced fields replaced by `synced`, the others as they are.
    pub(super) fn with(&self, value: Option<Value>, synced: Map<String, Value>) -> Value {
        let mut fields = match value {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        fields.retain(|name, _| !self.syncs(name));
        fields.extend(synced.into_iter().filter(|(name, _)| self.syncs(name)));
        Value::Object(fields)
    }
}
