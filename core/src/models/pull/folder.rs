//! A local folder as a source: a USB stick, a network share, another profile's models.

use super::partial::{Partial, append_pieces, send_all, spawn_reader};
use super::progress::Reporter;
use super::{Stop, Wanted, pinned};
use crate::models::error::ModelError;
use crate::models::events::PullPhase;
use crate::models::files;
use crate::models::manifest::Manifest;
use crate::models::marker::Installed;
use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A folder that has all files of a model.
pub(crate) struct Folder {
    paths: BTreeMap<String, PathBuf>,
}

/// Looks for a model's files; `None` when one is missing or has another size, or when nobody states its digest:
/// neither the manifest nor a marker in the folder.
pub(crate) fn open(folder: &Path, manifest: &Manifest) -> Result<Option<(Folder, Vec<Wanted>)>, ModelError> {
    let own = folder.join(&manifest.id);
    let wanted = match pinned(manifest) {
        Some(wanted) => wanted,
        None => match Installed::read(&own)? {
            Some(marker) if marker.damaged.is_none() => pinned(&marker.manifest).unwrap_or_default(),
            _ => return Ok(None),
        },
    };
    let mut paths = BTreeMap::new();
    for file in &manifest.files {
        let Some(wanted) = wanted.iter().find(|wanted| wanted.name == file.name) else {
            return Ok(None);
        };
        let candidates = [own.join(&file.name), folder.join(&file.name)];
        let whole = |path: &PathBuf| matches!(files::size_of(path), Ok(Some(size)) if size == wanted.size);
        let Some(path) = candidates.into_iter().find(whole) else {
            return Ok(None);
        };
        paths.insert(file.name.clone(), path);
    }
    Ok(Some((Folder { paths }, wanted)))
}

impl Folder {
    pub(crate) async fn fetch(
        &mut self,
        partial: &mut Partial,
        report: &mut Reporter<'_>,
    ) -> Result<(), Stop> {
        let wanted = partial.wanted().clone();
        let Some(path) = self.paths.get(&wanted.name).cloned() else {
            return Err(Stop::refused(format!("{} is not there", wanted.name)));
        };
        partial.set_origin(None)?;
        let start = partial.len();
        let pieces = spawn_reader(move |send| {
            let mut file = std::fs::File::open(path)?;
            file.seek(SeekFrom::Start(start))?;
            send_all(&mut file, send)
        });
        append_pieces(partial, pieces, wanted.size, PullPhase::Downloading, report).await
    }
}
