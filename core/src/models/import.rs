//! Taking in a GGUF file that a person has.

use super::error::ModelError;
use super::events::PullEvent;
use super::marker::Installed;
use super::store::ModelStore;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// How the file gets into the folder of models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImportMode {
    /// A copy: the original may be changed or deleted.
    #[default]
    Copy,
    /// A second name for the same bytes where the disk can do that (else a copy): takes no room, but whoever changes
    /// the original damages the model.
    HardLink,
}

/// An imported model.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its record.
    pub installed: Installed,
    /// The same bytes were here before, under this id; nothing was copied.
    pub was_present: bool,
    /// The file is a second name of the original, not a copy.
    pub linked: bool,
}

impl ModelStore {
    /// Imports a GGUF file: its header is checked, its digest recorded. A file whose digest the catalogue knows
    /// becomes that model; others get an id made from their file name.
    ///
    /// # Errors
    /// [`ModelError::NotImportable`] with the reason; [`ModelError::NoSpace`]; [`ModelError::Cancelled`];
    /// [`ModelError::Io`].
    #[allow(clippy::unused_async)]
    pub async fn import(
        &self,
        path: &Path,
        _mode: ImportMode,
        _cancel: &CancellationToken,
        _events: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<Imported, ModelError> {
        Err(ModelError::NotImportable {
            path: path.into(),
            reason: "imports are not built yet".into(),
        })
    }
}
