//! Reading a model's files again and comparing their digests.

use super::digest::Sha256Hex;
use super::error::{ModelError, wrong_digest};
use super::events::PullEvent;
use super::files;
use super::manifest::Manifest;
use super::marker::{FOUND, Installed, InstalledFile};
use super::pull::LockWait;
use super::pull::partial::digest_of;
use super::pull::progress::Reporter;
use super::store::{ModelState, ModelStore};
use serde::{Deserialize, Serialize};
use std::path::Path;
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
    /// [`ModelError::NotReady`] when nothing is here to verify, or nobody states what it must be;
    /// [`ModelError::Busy`] while it is being pulled; [`ModelError::Cancelled`]; [`ModelError::Io`].
    pub async fn verify(
        &self,
        id: &str,
        cancel: &CancellationToken,
        events: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<VerifyReport, ModelError> {
        let manifest = self.manifest(id)?;
        let folder = self.model_folder(id);
        let (state, _) = self.state_of(&manifest)?;
        if state == ModelState::Absent {
            return Err(ModelError::NotReady {
                id: id.into(),
                state: state.to_string(),
            });
        }
        let mut report = Reporter::new(id, manifest.size_bytes(), cancel, events);
        let _lock = self.lock(id, LockWait::Fail, &mut report).await?;
        let (state, marker) = self.state_of(&manifest)?;
        // What the catalogue pins comes before what a file on disk says of itself.
        let wanted: Vec<(String, Option<Sha256Hex>)> = manifest
            .files
            .iter()
            .map(|file| {
                let recorded = marker
                    .iter()
                    .flat_map(|marker| &marker.files)
                    .find(|have| have.name == file.name);
                (
                    file.name.clone(),
                    file.sha256.or(recorded.map(|have| have.sha256)),
                )
            })
            .collect();
        if wanted.iter().any(|(_, expected)| expected.is_none()) {
            return Err(ModelError::NotReady {
                id: id.into(),
                state: state.to_string(),
            });
        }
        let mut checks = Vec::new();
        for (name, expected) in wanted {
            let path = folder.join(&name);
            let size = files::size_of(&path).map_err(ModelError::io(&path))?;
            let actual = match size {
                Some(_) => Some(digest_of(&path, &name, &mut report).await?),
                None => None,
            };
            report.file_done(size.unwrap_or(0));
            checks.push(FileCheck {
                name,
                size,
                expected,
                actual,
                ok: actual.is_some() && actual == expected,
            });
        }
        let wrong = checks.iter().find(|check| !check.ok);
        let adopted = match (marker, wrong) {
            (None, None) => {
                Self::record(&manifest, &folder, &checks)?;
                true
            }
            (None, Some(_)) => false,
            (Some(mut marker), wrong) => {
                let damaged = wrong.map(explain);
                if marker.damaged != damaged {
                    marker.damaged = damaged;
                    marker.write(&folder)?;
                }
                false
            }
        };
        Ok(VerifyReport {
            id: id.into(),
            ok: wrong.is_none(),
            adopted,
            files: checks,
        })
    }

    fn record(manifest: &Manifest, folder: &Path, checks: &[FileCheck]) -> Result<(), ModelError> {
        let verified = checks
            .iter()
            .filter_map(|check| {
                Some(InstalledFile {
                    name: check.name.clone(),
                    size: check.size?,
                    sha256: check.actual?,
                })
            })
            .collect();
        Installed::new(manifest, verified, FOUND.into(), None).write(folder)
    }
}

fn explain(check: &FileCheck) -> String {
    match (check.expected, check.actual) {
        (Some(expected), Some(actual)) => wrong_digest(&check.name, expected, actual),
        _ => format!("{} is missing", check.name),
    }
}
