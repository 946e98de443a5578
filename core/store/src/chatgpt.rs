//! Import of ChatGPT's `conversations.json`.

use std::io::Read;

use crate::error::StoreError;
use crate::import::ImportReport;
use crate::store::Store;

impl Store {
    /// Imports the `conversations.json` of a ChatGPT data export, every branch, in one transaction; twice is the
    /// same as once. What has no place here (pictures, audio, hidden system nodes) is counted in the report.
    ///
    /// # Errors
    /// [`StoreError::Import`] with the position when it is not such a file; nothing is imported then.
    pub fn import_chatgpt(&mut self, from: &mut dyn Read, now_ms: i64) -> Result<ImportReport, StoreError> {
        let _ = (from, now_ms);
        Err(StoreError::Invalid("not built yet".into()))
    }
}
