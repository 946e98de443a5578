//! The store's things as faces see them, and back.

use hearth_store as store;
use serde_json::{Value, json};

use crate::types::{self, Chat, ChatId, Message, MessageId, MessageStatus, ReplyMetadata, Role, SearchHit};

impl From<store::ChatId> for ChatId {
    fn from(id: store::ChatId) -> Self {
        Self::from_u128(u128::from_be_bytes(*id.as_bytes()))
    }
}

impl From<ChatId> for store::ChatId {
    fn from(id: ChatId) -> Self {
        Self::from_bytes(id.as_u128().to_be_bytes())
    }
}

impl From<store::MessageId> for MessageId {
    fn from(id: store::MessageId) -> Self {
        Self::from_u128(u128::from_be_bytes(*id.as_bytes()))
    }
}

impl From<MessageId> for store::MessageId {
    fn from(id: MessageId) -> Self {
        Self::from_bytes(id.as_u128().to_be_bytes())
    }
}

pub(super) fn role(role: store::Role) -> Role {
    match role {
        store::Role::System => Role::System,
        store::Role::User => Role::User,
        store::Role::Assistant => Role::Assistant,
        store::Role::Tool => Role::Tool,
    }
}

fn status(status: store::MessageStatus) -> MessageStatus {
    match status {
        store::MessageStatus::Streaming => MessageStatus::Streaming,
        store::MessageStatus::Complete => MessageStatus::Complete,
        store::MessageStatus::Stopped => MessageStatus::Stopped,
        store::MessageStatus::Interrupted => MessageStatus::Interrupted,
        store::MessageStatus::Failed => MessageStatus::Failed,
    }
}

/// A message with its siblings.
pub(super) fn message(message: store::Message, siblings: Vec<store::MessageId>) -> Message {
    Message {
        id: message.id.into(),
        chat: message.chat.into(),
        parent: message.parent.map(Into::into),
        role: role(message.role),
        text: message.text,
        reasoning: Some(message.reasoning).filter(|reasoning| !reasoning.is_empty()),
        status: status(message.status),
        created_at_ms: message.created_at_ms,
        metadata: reply_metadata(&message.metadata),
        siblings: siblings.into_iter().map(Into::into).collect(),
    }
}

/// How a reply came to be, where that was recorded.
pub(super) fn reply_metadata(metadata: &Value) -> Option<ReplyMetadata> {
    serde_json::from_value(metadata.get("reply")?.clone()).ok()
}

/// The form in which that is recorded.
pub(super) fn stored_reply_metadata(metadata: &ReplyMetadata) -> Value {
    json!({ "reply": metadata })
}

/// A chat's own instructions and model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ChatChoices {
    pub(super) system: Option<String>,
    pub(super) model: Option<String>,
}

impl ChatChoices {
    pub(super) fn of(metadata: &Value) -> Self {
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            system: text("system"),
            model: text("model"),
        }
    }

    /// `metadata` with these choices in it; what else it has stays.
    pub(super) fn put_into(&self, metadata: &Value) -> Value {
        let mut fields = metadata.as_object().cloned().unwrap_or_default();
        for (name, value) in [("system", &self.system), ("model", &self.model)] {
            match value {
                Some(value) => fields.insert(name.into(), json!(value)),
                None => fields.shift_remove(name),
            };
        }
        if fields.is_empty() {
            Value::Null
        } else {
            Value::Object(fields)
        }
    }
}

pub(super) fn chat(chat: store::Chat, message_count: u64, incognito: bool, memory: bool) -> Chat {
    let choices = ChatChoices::of(&chat.metadata);
    Chat {
        id: chat.id.into(),
        title: chat.title,
        system: choices.system,
        model: choices.model,
        head: chat.head.map(Into::into),
        created_at_ms: chat.created_at_ms,
        updated_at_ms: chat.updated_at_ms,
        message_count: u32::try_from(message_count).unwrap_or(u32::MAX),
        incognito,
        memory,
    }
}

pub(super) fn search_hit(hit: store::SearchHit) -> SearchHit {
    SearchHit {
        chat: hit.chat.into(),
        chat_title: hit.title,
        message: hit.message.into(),
        role: role(hit.role),
        snippet: hit
            .snippet
            .replace(store::HIGHLIGHT_START, "«")
            .replace(store::HIGHLIGHT_END, "»"),
        score: hit.score,
        created_at_ms: hit.created_at_ms,
    }
}

pub(super) fn profile(profile: crate::models::Profile) -> types::ModelProfile {
    match profile {
        crate::models::Profile::Small => types::ModelProfile::Small,
        crate::models::Profile::Standard => types::ModelProfile::Standard,
        crate::models::Profile::Large => types::ModelProfile::Large,
    }
}

pub(super) fn wanted_profile(profile: types::ModelProfile) -> crate::models::Profile {
    match profile {
        types::ModelProfile::Small => crate::models::Profile::Small,
        types::ModelProfile::Standard => crate::models::Profile::Standard,
        types::ModelProfile::Large => crate::models::Profile::Large,
    }
}

pub(super) fn task(task: crate::models::Task) -> types::ModelTask {
    use crate::models::Task;
    match task {
        Task::Chat => types::ModelTask::Chat,
        Task::Embedding => types::ModelTask::Embedding,
        Task::VoiceActivity => types::ModelTask::VoiceActivity,
        Task::Transcription => types::ModelTask::Speech,
        Task::Speech | Task::Vision | Task::Safety => types::ModelTask::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_live_beside_what_else_a_chat_carries() {
        let choices = ChatChoices {
            system: Some("be brief".into()),
            model: None,
        };
        let stored = choices.put_into(&json!({"source": "chatgpt", "model": "old"}));
        assert_eq!(stored, json!({"source": "chatgpt", "system": "be brief"}));
        assert_eq!(ChatChoices::of(&stored), choices);
        assert_eq!(ChatChoices::default().put_into(&Value::Null), Value::Null);
    }

    #[test]
    fn ids_keep_their_text() {
        let id = store::ChatId::random();
        assert_eq!(ChatId::from(id).to_string(), id.to_string());
        assert_eq!(store::ChatId::from(ChatId::from(id)), id);
    }
}
