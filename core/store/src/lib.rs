//! Bytes on disk: one encrypted database per profile.
//!
//! A profile is a folder with two files of this package: `hearth.db`, an SQLite database encrypted as a whole by
//! SQLCipher, and `hearth.key`, a small JSON header that holds the database's random key in wrapped form.
//! [`Store`] is the only door to them. `FORMAT.md` beside this package describes every byte.
//!
//! Everything here blocks. There is no clock (times come in as milliseconds since the Unix epoch), no network, no
//! environment and no home folder: the caller passes paths and times in. A [`Store`] is `Send` but not `Sync`: it
//! belongs on a thread of its own, behind messages.

mod biography;
mod chatgpt;
mod chats;
mod connection;
mod erasure;
mod error;
mod export;
mod files;
mod id;
mod import;
mod jobs;
mod key;
mod lock;
mod memories;
mod messages;
mod migrations;
mod names;
mod recall_index;
mod search;
mod settings;
mod statistics;
mod store;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod transfer;
mod vectors;

#[cfg(test)]
mod tests;

pub use biography::{Biography, BiographySentence};
pub use chats::{Chat, ChatQuery, ChatSummary, NewChat};
pub use erasure::{
    EraseChat, EraseCounts, EraseMemory, EraseMore, ErasePlan, ErasePreview, EraseReceipt, EraseScope,
    EraseTurn, Erased, ErasedKind, MemoryReason, TurnReason,
};
pub use error::StoreError;
pub use export::{ChatSelection, EXPORT_FORMAT, EXPORT_VERSION, ExportReport};
pub use id::{ChatId, ErasureId, MemoryId, MessageId, ParseIdError};
pub use import::{ImportReport, Skipped};
pub use jobs::{Job, NewJob};
pub use key::{KdfCost, Keychain, OsKeychain, Protection, ProtectionKind};
pub use lock::EngineLock;
pub use memories::{
    EmbeddedText, MAX_MEMORY_BYTES, MEMORY_EXPORT_FORMAT, MEMORY_EXPORT_VERSION, Memory, MemoryChange,
    MemoryCounts, MemoryImportReport, MemoryKind, MemoryOrigin, MemoryQuery, MemorySource, MemoryState,
    MemoryStatus, NewMemory, Settled, SourceTurn, Superseded,
};
pub use messages::{FinishedMessage, Message, MessageStatus, NewMessage, Role};
pub use migrations::SCHEMA_VERSION;
pub use recall_index::{Filter, Neighbours, RecallRow, RowKey, RowSource, TextQuery, WordForms, turn_words};
pub use search::{HIGHLIGHT_END, HIGHLIGHT_START, SearchHit, SearchQuery};
pub use statistics::StoreStatistics;
pub use store::{DATABASE_FILE, KEY_HEADER_FILE, LOCK_FILE, Store, StoreOptions};
pub use sync::{
    DEVICE_CHAT_FIELDS, DEVICE_SETTINGS, Dirty, DocumentWrite, ErasureDone, ErasureOrder, PeerLease,
    PeerVisit, SYNCED_SETTINGS, SettingsGroup, SyncBatch, SyncChat, SyncContent, SyncDocument, SyncItem,
    SyncKind, SyncMessage, SyncPiece, SyncRecord, SyncReport, SyncUse,
};
pub use vectors::{EmbeddingModel, Index, MAX_DIMENSIONS, TextToEmbed};
