//! The store's things as records, and back.

use hearth_store as store;
use hearth_store::{SyncContent, SyncItem, SyncKind};
use hearth_sync::content::DocumentKind;
use hearth_sync::document::{
    ChatRecord, LocalId, MemoryKind, MemoryOrigin, MemoryRecord, MemoryStatus, MessageRecord, MessageStatus,
    Record, Role, SettingsRecord, Source, UsageRecord, Use,
};

pub(super) fn document_kind(kind: SyncKind) -> DocumentKind {
    match kind {
        SyncKind::Memory => DocumentKind::Memory,
        SyncKind::Chat => DocumentKind::Chat,
        SyncKind::Settings => DocumentKind::Settings,
        SyncKind::Usage => DocumentKind::Usage,
        SyncKind::Media => DocumentKind::Media,
    }
}

pub(super) fn sync_kind(kind: DocumentKind) -> SyncKind {
    match kind {
        DocumentKind::Memory => SyncKind::Memory,
        DocumentKind::Chat => SyncKind::Chat,
        DocumentKind::Settings => SyncKind::Settings,
        DocumentKind::Usage => SyncKind::Usage,
        DocumentKind::Media => SyncKind::Media,
    }
}

/// What a record is of.
pub(super) fn item(record: &Record) -> SyncItem {
    let local = match record {
        Record::Memory(memory) => memory.id.to_vec(),
        Record::Chat(chat) => chat.id.to_vec(),
        Record::Settings(settings) => settings.group.clone().into_bytes(),
        Record::Usage(usage) => usage.log.to_vec(),
    };
    SyncItem {
        kind: sync_kind(record.kind()),
        local,
    }
}

/// Pairs of variants, one way and the other.
macro_rules! pairs {
    ($there:ident, $back:ident, $type:ident { $($variant:ident),* }) => {
        fn $there(value: store::$type) -> $type {
            match value { $(store::$type::$variant => $type::$variant,)* }
        }
        fn $back(value: $type) -> store::$type {
            match value { $($type::$variant => store::$type::$variant,)* }
        }
    };
}

pairs!(
    kind,
    kind_back,
    MemoryKind {
        Constraint,
        Biography,
        Preference,
        Event,
        Context
    }
);
pairs!(
    origin,
    origin_back,
    MemoryOrigin {
        Stated,
        Extracted,
        Imported
    }
);
pairs!(
    role,
    role_back,
    Role {
        System,
        User,
        Assistant,
        Tool
    }
);

fn status(status: store::MessageStatus) -> Option<MessageStatus> {
    Some(match status {
        store::MessageStatus::Streaming => return None,
        store::MessageStatus::Complete => MessageStatus::Complete,
        store::MessageStatus::Stopped => MessageStatus::Stopped,
        store::MessageStatus::Interrupted => MessageStatus::Interrupted,
        store::MessageStatus::Failed => MessageStatus::Failed,
    })
}

fn status_back(status: MessageStatus) -> store::MessageStatus {
    match status {
        MessageStatus::Complete => store::MessageStatus::Complete,
        MessageStatus::Stopped => store::MessageStatus::Stopped,
        MessageStatus::Interrupted => store::MessageStatus::Interrupted,
        MessageStatus::Failed => store::MessageStatus::Failed,
    }
}

/// What the store has, as a record.
pub(super) fn record(content: &SyncContent) -> Record {
    match content {
        SyncContent::Memory(memory) => Record::Memory(MemoryRecord {
            id: *memory.id.as_bytes(),
            text: memory.text.clone(),
            kind: kind(memory.kind),
            confidence: memory.confidence,
            sensitive: memory.sensitive,
            valid_from_ms: memory.valid_from_ms,
            valid_to_ms: memory.valid_to_ms,
            created_at_ms: memory.created_at_ms,
            updated_at_ms: memory.updated_at_ms,
            status: match memory.status {
                store::MemoryStatus::Active => MemoryStatus::Active,
                store::MemoryStatus::Superseded { by } => MemoryStatus::Superseded {
                    by: by.map(|by| *by.as_bytes()),
                },
                store::MemoryStatus::Review => MemoryStatus::Review,
            },
            origin: origin(memory.origin),
            pinned: memory.pinned,
            sources: memory
                .sources
                .iter()
                .map(|source| {
                    let found = Source {
                        chat: *source.chat.as_bytes(),
                        text_hash: source.text_hash,
                    };
                    (*source.message.as_bytes(), found)
                })
                .collect(),
        }),
        SyncContent::Chat(chat) => Record::Chat(ChatRecord {
            id: *chat.id.as_bytes(),
            title: chat.title.clone(),
            created_at_ms: chat.created_at_ms,
            updated_at_ms: chat.updated_at_ms,
            head: chat.head.map(|head| *head.as_bytes()),
            memory: chat.memory,
            settings: chat.settings.clone(),
            messages: chat.messages.iter().filter_map(message).collect(),
        }),
        SyncContent::Settings { group, values } => Record::Settings(SettingsRecord {
            group: group.clone(),
            values: values.clone(),
        }),
        SyncContent::Usage { device, uses } => Record::Usage(UsageRecord {
            log: *device,
            uses: uses
                .iter()
                .map(|(memory, used)| {
                    let used = Use {
                        count: used.count,
                        last_used_at_ms: used.last_used_at_ms,
                    };
                    (*memory.as_bytes(), used)
                })
                .collect(),
        }),
    }
}

fn message(message: &store::SyncMessage) -> Option<(LocalId, MessageRecord)> {
    let record = MessageRecord {
        parent: message.parent.map(|parent| *parent.as_bytes()),
        role: role(message.role),
        status: status(message.status)?,
        text: message.text.clone(),
        reasoning: message.reasoning.clone(),
        created_at_ms: message.created_at_ms,
        updated_at_ms: message.updated_at_ms,
        model: message.model.clone(),
        metadata: message.metadata.clone(),
    };
    Some((*message.id.as_bytes(), record))
}

/// A record as the store takes it.
pub(super) fn content(record: &Record) -> SyncContent {
    match record {
        Record::Memory(memory) => SyncContent::Memory(store::Memory {
            id: store::MemoryId::from_bytes(memory.id),
            text: memory.text.clone(),
            kind: kind_back(memory.kind),
            confidence: memory.confidence,
            sensitive: memory.sensitive,
            valid_from_ms: memory.valid_from_ms,
            valid_to_ms: memory.valid_to_ms,
            created_at_ms: memory.created_at_ms,
            updated_at_ms: memory.updated_at_ms,
            sources: memory
                .sources
                .iter()
                .map(|(message, source)| store::MemorySource {
                    chat: store::ChatId::from_bytes(source.chat),
                    message: store::MessageId::from_bytes(*message),
                    text_hash: source.text_hash,
                })
                .collect(),
            status: match memory.status {
                MemoryStatus::Active => store::MemoryStatus::Active,
                MemoryStatus::Superseded { by } => store::MemoryStatus::Superseded {
                    by: by.map(store::MemoryId::from_bytes),
                },
                MemoryStatus::Review => store::MemoryStatus::Review,
            },
            origin: origin_back(memory.origin),
            use_count: 0,
            last_used_at_ms: None,
            pinned: memory.pinned,
        }),
        Record::Chat(chat) => SyncContent::Chat(store::SyncChat {
            id: store::ChatId::from_bytes(chat.id),
            title: chat.title.clone(),
            created_at_ms: chat.created_at_ms,
            updated_at_ms: chat.updated_at_ms,
            head: chat.head.map(store::MessageId::from_bytes),
            memory: chat.memory,
            settings: chat.settings.clone(),
            messages: chat
                .in_order()
                .into_iter()
                .map(|(id, message)| store::SyncMessage {
                    id: store::MessageId::from_bytes(id),
                    parent: message.parent.map(store::MessageId::from_bytes),
                    role: role_back(message.role),
                    status: status_back(message.status),
                    text: message.text.clone(),
                    reasoning: message.reasoning.clone(),
                    created_at_ms: message.created_at_ms,
                    updated_at_ms: message.updated_at_ms,
                    model: message.model.clone(),
                    metadata: message.metadata.clone(),
                })
                .collect(),
        }),
        Record::Settings(settings) => SyncContent::Settings {
            group: settings.group.clone(),
            values: settings.values.clone(),
        },
        Record::Usage(usage) => SyncContent::Usage {
            device: usage.log,
            uses: usage
                .uses
                .iter()
                .map(|(memory, used)| {
                    let used = store::SyncUse {
                        count: used.count,
                        last_used_at_ms: used.last_used_at_ms,
                    };
                    (store::MemoryId::from_bytes(*memory), used)
                })
                .collect(),
        },
    }
}
