//! The store's memories as faces see them, and back.

use hearth_store as store;

use crate::types::{
    ErasureId, Memory, MemoryId, MemoryKind, MemoryOrigin, MemorySource, MemoryState, MemoryStatus,
};

impl From<store::MemoryId> for MemoryId {
    fn from(id: store::MemoryId) -> Self {
        Self::from_u128(u128::from_be_bytes(*id.as_bytes()))
    }
}

impl From<MemoryId> for store::MemoryId {
    fn from(id: MemoryId) -> Self {
        Self::from_bytes(id.as_u128().to_be_bytes())
    }
}

impl From<store::ErasureId> for ErasureId {
    fn from(id: store::ErasureId) -> Self {
        Self::from_u128(u128::from_be_bytes(*id.as_bytes()))
    }
}

impl From<ErasureId> for store::ErasureId {
    fn from(id: ErasureId) -> Self {
        Self::from_bytes(id.as_u128().to_be_bytes())
    }
}

impl From<store::MemoryKind> for MemoryKind {
    fn from(kind: store::MemoryKind) -> Self {
        match kind {
            store::MemoryKind::Constraint => Self::Constraint,
            store::MemoryKind::Biography => Self::Biography,
            store::MemoryKind::Preference => Self::Preference,
            store::MemoryKind::Event => Self::Event,
            store::MemoryKind::Context => Self::Context,
        }
    }
}

impl From<MemoryKind> for store::MemoryKind {
    fn from(kind: MemoryKind) -> Self {
        match kind {
            MemoryKind::Constraint => Self::Constraint,
            MemoryKind::Biography => Self::Biography,
            MemoryKind::Preference => Self::Preference,
            MemoryKind::Event => Self::Event,
            MemoryKind::Context => Self::Context,
        }
    }
}

impl From<MemoryState> for store::MemoryState {
    fn from(state: MemoryState) -> Self {
        match state {
            MemoryState::Active => Self::Active,
            MemoryState::Superseded => Self::Superseded,
            MemoryState::Review => Self::Review,
        }
    }
}

fn origin(origin: store::MemoryOrigin) -> MemoryOrigin {
    match origin {
        store::MemoryOrigin::Stated => MemoryOrigin::Stated,
        store::MemoryOrigin::Extracted => MemoryOrigin::Extracted,
        store::MemoryOrigin::Imported => MemoryOrigin::Imported,
    }
}

fn status(status: store::MemoryStatus) -> MemoryStatus {
    match status {
        store::MemoryStatus::Active => MemoryStatus::Active,
        store::MemoryStatus::Superseded { by } => MemoryStatus::Superseded {
            by: by.map(Into::into),
        },
        store::MemoryStatus::Review => MemoryStatus::Review,
    }
}

/// A memory with the chats and times of its sources, as far as they are here.
pub(super) fn memory(store: &store::Store, memory: store::Memory) -> Result<Memory, store::StoreError> {
    let sources = memory
        .sources
        .into_iter()
        .map(|source| {
            let title = here(store.chat(source.chat))?.map(|chat| chat.title);
            let said = here(store.message(source.message))?;
            Ok(MemorySource {
                chat: source.chat.into(),
                chat_title: title,
                message: source.message.into(),
                at_ms: said.map(|message| message.created_at_ms),
            })
        })
        .collect::<Result<_, store::StoreError>>()?;
    Ok(Memory {
        id: memory.id.into(),
        text: memory.text,
        kind: memory.kind.into(),
        confidence: memory.confidence,
        sensitive: memory.sensitive,
        valid_from_ms: memory.valid_from_ms,
        valid_to_ms: memory.valid_to_ms,
        created_at_ms: memory.created_at_ms,
        updated_at_ms: memory.updated_at_ms,
        status: status(memory.status),
        origin: origin(memory.origin),
        use_count: memory.use_count,
        last_used_at_ms: memory.last_used_at_ms,
        pinned: memory.pinned,
        sources,
    })
}

pub(super) fn memories(
    store: &store::Store,
    found: Vec<store::Memory>,
) -> Result<Vec<Memory>, store::StoreError> {
    found.into_iter().map(|one| memory(store, one)).collect()
}

/// `None` for what is not there (any more).
pub(super) fn here<T>(found: Result<T, store::StoreError>) -> Result<Option<T>, store::StoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(store::StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
