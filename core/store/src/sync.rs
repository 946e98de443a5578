//! The store's side of sync: the device machine's journal, documents, what changed, and what came from other devices.
//!
//! **What changed** is noted by triggers of SQLite, in the transaction that changes it ([`capture`](self)): every way of
//! writing is covered, also those that are written later, and none can forget it. They exist only while sync runs, so that a
//! profile without an account pays nothing; noting costs a message or memory 15 to 20 µs of some 400 (`measure_noting`, medians on
//! two busy cores). The chats that are incognito aren't in the store at all; which settings belong
//! to the device alone is said in one place, [`SYNCED_SETTINGS`] and [`DEVICE_SETTINGS`].
//!
//! **A local change** becomes a document like this: [`Store::dirty`] names it, [`Store::sync_content`] says what it is
//! now, `hearth-sync` writes the difference into the document ([`Store::sync_documents`]), the device machine gets the
//! change; then its journal, the document, and the end of the mark are written in one transaction ([`Store::sync_write`]).
//!
//! **A remote change**: `hearth-sync` applies it to the document and says what the whole now is; journal, document and rows
//! are written in one transaction, full text with them. That leaves no mark. Vectors of new texts are missing until the
//! job that embeds in idle time has made them. Where what came can't be stored as it is (a successor that was erased), the
//! row is made right and marked, so that the document follows it.
//!
//! **Twins.** What [`SyncReport`] calls new is compared with what was here by the rules of long-term memory. Two devices
//! may do that at once, each for the other's memory. They end up the same because the outcome depends on ids alone: of two
//! that say the same, the one with the lower id stays, takes the sources of the other, and supersedes it. Both make the same
//! edits of the same two documents; no third memory comes to be, and nothing is erased. Should edits made at once ever
//! close a circle of successors, applying them opens it: the lowest id of the circle is active again, on every device.
//!
//! **Erasing** (`sync/erase.rs`) uses marks (`hearth_protocol::erasure::mark`) beside handles: they say of which *things* an
//! erasure is, so that each device computes the same closure over what it has, whether the erasing device knew of that or
//! not, and at once.

mod apply;
mod capture;
mod content;
mod erase;
mod journal;
mod peer;
mod scope;
mod usage;
mod write;

use std::collections::BTreeMap;

use hearth_protocol::id::Handle;

use crate::error::StoreError;
use crate::id::{ChatId, MemoryId, MessageId};
use crate::memories::Memory;
use crate::messages::{MessageStatus, Role};
use crate::store::Store;

pub(crate) use erase::{Author, Leaving, is_gone, ordered_here};
pub use peer::{PeerLease, PeerVisit};
pub(crate) use scope::OF_A_CHAT;
pub use scope::{DEVICE_CHAT_FIELDS, DEVICE_SETTINGS, SYNCED_SETTINGS, SettingsGroup};
pub use usage::SyncUse;
pub(crate) use usage::forget as forget_use;
pub use write::{DocumentWrite, ErasureDone, ErasureOrder, SyncBatch, SyncPiece, SyncRecord, SyncReport};

/// What a document is of. The numbers are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SyncKind {
    /// A memory.
    Memory = 1,
    /// A chat.
    Chat = 2,
    /// A group of settings.
    Settings = 3,
    /// Recall counters.
    Usage = 4,
    /// A media blob.
    Media = 5,
}

impl SyncKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<SyncKind> {
        [
            SyncKind::Memory,
            SyncKind::Chat,
            SyncKind::Settings,
            SyncKind::Usage,
            SyncKind::Media,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// Names what a document is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncItem {
    /// What it is.
    pub kind: SyncKind,
    /// The 16 bytes of its id; of settings the name of the group.
    pub local: Vec<u8>,
}

impl SyncItem {
    /// A memory.
    pub fn memory(id: MemoryId) -> SyncItem {
        SyncItem {
            kind: SyncKind::Memory,
            local: id.as_bytes().to_vec(),
        }
    }

    /// A chat.
    pub fn chat(id: ChatId) -> SyncItem {
        SyncItem {
            kind: SyncKind::Chat,
            local: id.as_bytes().to_vec(),
        }
    }

    /// A group of settings.
    pub fn settings(group: &str) -> SyncItem {
        SyncItem {
            kind: SyncKind::Settings,
            local: group.as_bytes().to_vec(),
        }
    }
}

/// Something that changed here and isn't in its document yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirty {
    /// Names this change: what changes again meanwhile gets another mark.
    pub mark: i64,
    /// What changed.
    pub item: SyncItem,
}

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncDocument {
    /// Its handle.
    pub handle: Handle,
    /// What it is of.
    pub item: SyncItem,
    /// Its bytes.
    pub document: Vec<u8>,
    /// The heads of what was handed over to be published.
    pub published: Vec<[u8; 32]>,
}

/// A chat with all that is synced of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncChat {
    /// The chat's id.
    pub id: ChatId,
    /// May be empty.
    pub title: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When a message was last added, or the chat renamed.
    pub updated_at_ms: i64,
    /// The last message of the branch in use that has ended.
    pub head: Option<MessageId>,
    /// Whether it is remembered.
    pub memory: bool,
    /// Its metadata's fields, but [`DEVICE_CHAT_FIELDS`], and up to where it was mined; each a JSON text.
    pub settings: BTreeMap<String, String>,
    /// Messages that have ended, parents before their children.
    pub messages: Vec<SyncMessage>,
}

/// A message that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncMessage {
    /// The message's id.
    pub id: MessageId,
    /// The message before it; of the same chat, and before it in the list.
    pub parent: Option<MessageId>,
    /// Who speaks.
    pub role: Role,
    /// Anything but streaming.
    pub status: MessageStatus,
    /// The text.
    pub text: String,
    /// The model's reasoning; empty when there is none.
    pub reasoning: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When its text or status last changed.
    pub updated_at_ms: i64,
    /// The id of the model that wrote it.
    pub model: Option<String>,
    /// A JSON object, where there is one.
    pub metadata: Option<String>,
}

/// What a thing is, as far as it is synced.
#[derive(Debug, Clone, PartialEq)]
pub enum SyncContent {
    /// A memory; how often it was used isn't looked at. Of a successor that isn't here the id is given all the same.
    Memory(Memory),
    /// A chat.
    Chat(SyncChat),
    /// Settings by name, each a JSON text.
    Settings {
        /// The group.
        group: String,
        /// The values.
        values: BTreeMap<String, String>,
    },
    /// How often a device put memories before its model.
    Usage {
        /// The id of the device's counts.
        device: [u8; 16],
        /// By memory.
        uses: BTreeMap<MemoryId, SyncUse>,
    },
}

impl SyncContent {
    /// What it is of.
    pub fn item(&self) -> SyncItem {
        match self {
            SyncContent::Memory(memory) => SyncItem::memory(memory.id),
            SyncContent::Chat(chat) => SyncItem::chat(chat.id),
            SyncContent::Settings { group, .. } => SyncItem::settings(group),
            SyncContent::Usage { device, .. } => SyncItem {
                kind: SyncKind::Usage,
                local: device.to_vec(),
            },
        }
    }
}

impl Store {
    /// Whether the profile syncs.
    pub fn syncs(&self) -> Result<bool, StoreError> {
        running(&self.connection)
    }

    /// Begins to sync: from now on changes are noted, and everything that is here counts as changed. Twice is once.
    pub fn begin_sync(&mut self) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        if !running(&transaction)? {
            transaction.execute("UPDATE sync_state SET running = 1", [])?;
            capture::begin(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Notes changes as this version of the program does, where an older one began to sync. Opening a store does this.
    pub(crate) fn renew_capture(&mut self) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        if running(&transaction)? {
            capture::renew(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Ends sync and forgets all that belongs to it: journal, documents, what was to be sent. Memories, chats and settings
    /// stay, as do the ids of what was erased.
    ///
    /// # Errors
    /// [`StoreError::LogInUse`]: it has ended all the same.
    pub fn end_sync(&mut self) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        capture::end(&transaction)?;
        transaction.execute_batch(
            "DELETE FROM sync_record; DELETE FROM sync_document; DELETE FROM sync_piece; DELETE FROM sync_dirty; DELETE FROM sync_successor;
             DELETE FROM sync_erased; DELETE FROM sync_outgoing_erasure; DELETE FROM memory_use;
             DELETE FROM sync_peer;
             UPDATE sync_state SET running = 0, usage = NULL, usage_told_at_ms = NULL;",
        )?;
        transaction.commit()?;
        self.truncate_log()
    }
}

/// Removes what notes changes, to be made again by [`Store::renew_capture`].
pub(crate) fn drop_capture(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    capture::end(connection)
}

pub(crate) fn running(connection: &rusqlite::Connection) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT running FROM sync_state")?
        .query_row([], |row| row.get(0))?)
}
