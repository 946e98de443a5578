//! Import of chats from an export of ours: all or nothing, and twice is the same as once.

use std::io::Read;

use serde::Serialize;

use crate::error::StoreError;
use crate::store::Store;

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Chats that were not here before.
    pub chats_added: u64,
    /// Chats that were here and got messages they lacked.
    pub chats_extended: u64,
    /// Chats that were here already, with every message.
    pub chats_unchanged: u64,
    /// Messages that were not here before.
    pub messages_added: u64,
    /// Messages that were here already.
    pub messages_unchanged: u64,
    /// Messages that came in under another id, because theirs names something else here.
    pub messages_renumbered: u64,
    /// What was left out or replaced by a placeholder, and why.
    pub skipped: Vec<Skipped>,
}

/// A kind of thing that an import left out or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Why, in words for the user.
    pub reason: String,
    /// How often.
    pub count: u64,
}

impl Store {
    /// Imports a document of [`Store::export_chats`] in one transaction. Ids are kept where they are free; what is
    /// here already is not doubled; a chat that has grown elsewhere gets the messages it lacks.
    ///
    /// # Errors
    /// [`StoreError::Import`] with the position for anything that is not a complete, valid document of a known
    /// version; nothing is imported then.
    pub fn import_chats(&mut self, from: &mut dyn Read, now_ms: i64) -> Result<ImportReport, StoreError> {
        let _ = (from, now_ms);
        Err(StoreError::Invalid("not built yet".into()))
    }
}
