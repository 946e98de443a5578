//! Chats as a JSON document that comes back in exactly.

use std::io::Write;

use serde::Serialize;

use crate::error::StoreError;
use crate::id::ChatId;
use crate::store::Store;

/// The `format` field of an export.
pub const EXPORT_FORMAT: &str = "hearth-chats";
/// The `version` field of an export.
pub const EXPORT_VERSION: u32 = 1;

/// Which chats to export.
#[derive(Debug, Clone, Default)]
pub struct ChatSelection {
    /// These, in this order; `None` for all, oldest first.
    pub chats: Option<Vec<ChatId>>,
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Chats written.
    pub chats: u64,
    /// Messages written, on all branches.
    pub messages: u64,
}

impl Store {
    /// Writes the selected chats, with every branch, as one JSON document (see `FORMAT.md`), one chat in memory at a
    /// time.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat, before anything is written.
    pub fn export_chats(
        &self,
        selection: &ChatSelection,
        to: &mut dyn Write,
    ) -> Result<ExportReport, StoreError> {
        let _ = (selection, to);
        Err(StoreError::Invalid("not built yet".into()))
    }
}
