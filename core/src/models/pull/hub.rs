//! A model hub: repositories with revisions, large files with a stated SHA-256.

use super::http::Http;
use super::partial::{Partial, pin_path};
use super::progress::Reporter;
use super::{Stop, Wanted, pinned};
use crate::models::digest::Sha256Hex;
use crate::models::error::{FailureKind, ModelError};
use crate::models::files;
use crate::models::manifest::{HubSource, Manifest};
use crate::models::store::StoreOptions;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The revision taken when a manifest names none.
const NEWEST: &str = "main";

/// A repository at one revision.
pub(crate) struct Hub {
    http: Http,
    base: Url,
    source: HubSource,
    revision: String,
    pin: PathBuf,
}

/// What the first pull took from the hub, so that later ones go on with the same bytes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pin {
    repository: String,
    revision: String,
    files: Vec<PinnedFile>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PinnedFile {
    name: String,
    size: u64,
    sha256: Sha256Hex,
}

/// The hub's description of a revision; fields that don't matter here are left out.
#[derive(Debug, Deserialize)]
struct Description {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<LargeFile>,
}

#[derive(Debug, Deserialize)]
struct LargeFile {
    #[serde(alias = "oid")]
    sha256: Option<Sha256Hex>,
    size: Option<u64>,
}

/// Settles the revision and what its files must be: from the manifest, an earlier pull's pin, or the hub's description.
pub(crate) async fn open(
    options: &StoreOptions,
    source: &HubSource,
    manifest: &Manifest,
    folder: &Path,
    report: &mut Reporter<'_>,
) -> Result<(Hub, Vec<Wanted>), Stop> {
    let base: Url = format!("{}/", options.hub_url.trim_end_matches('/'))
        .parse()
        .map_err(|error| Stop::refused(format!("{:?} is no address: {error}", options.hub_url)))?;
    let http = Http::new(options, &base)?;
    let mut hub = Hub {
        http,
        base,
        source: source.clone(),
        revision: String::new(),
        pin: pin_path(folder),
    };
    let stated = pinned(manifest);
    if let (Some(revision), Some(wanted)) = (&source.revision, &stated) {
        hub.revision.clone_from(revision);
        return Ok((hub, wanted.clone()));
    }
    if let Some((revision, wanted)) = hub.read_pin(manifest) {
        hub.revision = revision;
        return Ok((hub, wanted));
    }
    let wanted = hub.describe(manifest, report).await?;
    hub.write_pin(&wanted)?;
    Ok((hub, wanted))
}

impl Hub {
    /// The commit that files are taken from.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    pub(crate) async fn fetch(
        &mut self,
        partial: &mut Partial,
        report: &mut Reporter<'_>,
    ) -> Result<(), Stop> {
        let path = self.path(&partial.wanted().name).to_owned();
        let url = self.url(&["resolve", &self.revision], &path)?;
        let result = self.http.fetch(&url, partial, report).await;
        if let Err(Stop::Source(FailureKind::Refused, reason)) = result {
            // The pinned revision may be gone: the next pull asks for the newest.
            files::remove_if_there(&self.pin).map_err(ModelError::io(&self.pin))?;
            return Err(Stop::refused(format!("{path} at {}: {reason}", self.revision)));
        }
        result
    }

    async fn describe(
        &mut self,
        manifest: &Manifest,
        report: &mut Reporter<'_>,
    ) -> Result<Vec<Wanted>, Stop> {
        let asked = self.source.revision.clone().unwrap_or_else(|| NEWEST.into());
        let mut url = self.base.clone();
        let repository = self.source.repository.clone();
        append(&mut url, &["api", "models"], &repository)?;
        append(&mut url, &["revision"], &asked)?;
        url.set_query(Some("blobs=true"));
        let Some(answer) = self.http.json(&url, report).await? else {
            return match pinned(manifest) {
                // A plain mirror has files and no descriptions; the digests are known, so nothing is lost.
                Some(wanted) => {
                    self.revision = asked;
                    Ok(wanted)
                }
                None => Err(Stop::refused(format!("there is no {repository} at {asked}"))),
            };
        };
        let description: Description = serde_json::from_value(answer)
            .map_err(|error| Stop::wrong_content(format!("the hub's description is unclear: {error}")))?;
        if !(7..=64).contains(&description.sha.len())
            || !description.sha.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(Stop::wrong_content(format!("{:?} is no commit", description.sha)));
        }
        self.revision = description.sha;
        manifest
            .files
            .iter()
            .map(|file| self.settle(file, &description.siblings))
            .collect()
    }

    fn settle(&self, file: &crate::models::ModelFile, siblings: &[Sibling]) -> Result<Wanted, Stop> {
        let path = self.path(&file.name);
        let there = siblings
            .iter()
            .find(|sibling| sibling.rfilename == path)
            .ok_or_else(|| Stop::refused(format!("the repository has no {path}")))?;
        let stated = there.lfs.as_ref().and_then(|large| large.sha256);
        let size = there.lfs.as_ref().and_then(|large| large.size).or(there.size);
        match (file.sha256, stated) {
            (Some(expected), Some(stated)) if expected != stated => Err(Stop::wrong_content(format!(
                "the hub's {path} has SHA-256 {stated}, expected {expected}"
            ))),
            (Some(expected), _) => match size {
                Some(size) if size != file.size => Err(Stop::wrong_content(format!(
                    "the hub's {path} has {size} bytes, not {}",
                    file.size
                ))),
                _ => Ok(Wanted {
                    name: file.name.clone(),
                    size: file.size,
                    sha256: expected,
                }),
            },
            (None, Some(stated)) => {
                let size =
                    size.ok_or_else(|| Stop::wrong_content(format!("the hub states no size of {path}")))?;
                Ok(Wanted {
                    name: file.name.clone(),
                    size,
                    sha256: stated,
                })
            }
            (None, None) => Err(Stop::refused(format!(
                "nobody states a SHA-256 of {path}, so it could not be checked"
            ))),
        }
    }

    fn path<'a>(&'a self, name: &'a str) -> &'a str {
        self.source.paths.get(name).map_or(name, String::as_str)
    }

    fn url(&self, middle: &[&str], path: &str) -> Result<Url, Stop> {
        let mut url = self.base.clone();
        append(&mut url, &[], &self.source.repository)?;
        append(&mut url, middle, path)?;
        Ok(url)
    }

    fn read_pin(&self, manifest: &Manifest) -> Option<(String, Vec<Wanted>)> {
        let pin: Pin = serde_json::from_str(&files::read_small(&self.pin, 1 << 20).ok()?).ok()?;
        if pin.repository != self.source.repository {
            return None;
        }
        let settled = |file: &crate::models::ModelFile| {
            let pinned = pin.files.iter().find(|pinned| pinned.name == file.name)?;
            let agrees = file.sha256.is_none_or(|sha256| sha256 == pinned.sha256);
            agrees.then(|| Wanted {
                name: file.name.clone(),
                size: pinned.size,
                sha256: pinned.sha256,
            })
        };
        let wanted = manifest.files.iter().map(settled).collect::<Option<Vec<_>>>()?;
        Some((pin.revision, wanted))
    }

    fn write_pin(&self, wanted: &[Wanted]) -> Result<(), ModelError> {
        let files = wanted
            .iter()
            .map(|file| PinnedFile {
                name: file.name.clone(),
                size: file.size,
                sha256: file.sha256,
            })
            .collect();
        let pin = Pin {
            repository: self.source.repository.clone(),
            revision: self.revision.clone(),
            files,
        };
        let text = serde_json::to_vec(&pin).map_err(|error| ModelError::Io {
            path: self.pin.clone(),
            source: error.into(),
        })?;
        files::write_atomically(&self.pin, &text).map_err(ModelError::io(&self.pin))
    }
}

/// Appends path segments, percent-encoded where needed.
fn append(url: &mut Url, segments: &[&str], path: &str) -> Result<(), Stop> {
    let mut parts = url
        .path_segments_mut()
        .map_err(|()| Stop::refused("the hub's address can't have paths"))?;
    parts
        .pop_if_empty()
        .extend(segments.iter().copied().chain(path.split('/')));
    Ok(())
}
