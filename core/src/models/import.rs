//! Taking in a GGUF file that a person has.

use super::error::ModelError;
use super::events::{PullEvent, PullPhase};
use super::files;
use super::manifest::{self, Manifest, ModelFile, Task};
use super::marker::{Installed, InstalledFile};
use super::pull::partial::{Partial, append_pieces, data_path, digest_of, send_all, spawn_reader};
use super::pull::progress::Reporter;
use super::pull::{LockWait, Stop, Wanted};
use super::store::ModelStore;
use crate::types::Sampling;
use hearth_inference::decoder::DecoderConfig;
use hearth_inference::gguf::{GgufError, GgufFile};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Longest id made from a file name, in bytes; leaves room for a number.
const MAX_STEM_BYTES: usize = 64;
/// Longest name shown to people, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Names of devices on Windows, whatever follows the first dot; some with a number.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];
/// Window that the memory estimate assumes, in tokens.
const USUAL_WINDOW: usize = 8192;

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

/// What a GGUF file says of itself.
struct Header {
    architecture: String,
    name: Option<String>,
    licence: Option<String>,
    quantization: Option<String>,
    parameters: u64,
    context_length: u32,
    kv_bytes: u64,
}

impl ModelStore {
    /// Imports a GGUF file: its header is checked, its digest recorded. A file whose digest the catalogue knows
    /// becomes that model; others get an id made from their file name, with a number where that is taken.
    ///
    /// # Errors
    /// [`ModelError::NotImportable`] with the reason; [`ModelError::NoSpace`]; [`ModelError::Busy`];
    /// [`ModelError::Cancelled`]; [`ModelError::Io`]. Nothing is left behind then.
    pub async fn import(
        &self,
        path: &Path,
        mode: ImportMode,
        cancel: &CancellationToken,
        events: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<Imported, ModelError> {
        let refuse = |reason: String| ModelError::NotImportable {
            path: path.into(),
            reason,
        };
        let original = path.canonicalize().map_err(ModelError::io(path))?;
        let size = match files::size_of(&original) {
            Ok(Some(size)) => size,
            Ok(None) => return Err(refuse("there is no such file".into())),
            Err(error) => return Err(refuse(error.to_string())),
        };
        let stem = path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let mut report = Reporter::new(&sanitise(&stem), size, cancel, events);
        let opened = original.clone();
        let header = tokio::task::spawn_blocking(move || read_header(&opened))
            .await
            .unwrap_or_else(|_| Err("reading its header failed".into()))
            .map_err(refuse)?;
        let sha256 = digest_of(&original, &stem, &mut report).await?;
        report.file_done(size);
        if let Some(installed) = self
            .ready_models()?
            .into_iter()
            .find(|ready| ready.files.len() == 1 && ready.files[0].sha256 == sha256)
        {
            return Ok(Imported {
                installed,
                was_present: true,
                linked: false,
            });
        }
        let manifest = match self.known(sha256) {
            Some(known) => known.clone(),
            None => header.manifest(self.free_id(&sanitise(&stem)), &stem, size),
        };
        manifest
            .validate()
            .map_err(|reason| ModelError::InvalidManifest {
                id: manifest.id.clone(),
                reason,
            })?;
        let name = manifest.files[0].name.clone();
        let wanted = Wanted { name, size, sha256 };
        let folder = self.model_folder(&manifest.id);
        let made = !folder.exists();
        fs::create_dir_all(&folder).map_err(ModelError::io(&folder))?;
        let _lock = self.lock(&manifest.id, LockWait::Fail, &mut report).await?;
        let taken = self.take(&original, &folder, &wanted, mode, &mut report).await;
        let linked = match taken {
            Ok(linked) => linked,
            Err(error) => {
                if made {
                    fs::remove_dir_all(&folder).map_err(ModelError::io(&folder))?;
                }
                return Err(match error {
                    Stop::Model(error) => error,
                    Stop::Source(_, reason) => ModelError::NotImportable {
                        path: path.into(),
                        reason,
                    },
                });
            }
        };
        let file = InstalledFile {
            name: wanted.name,
            size,
            sha256,
        };
        let installed = Installed::new(
            &manifest,
            vec![file],
            format!("imported from {}", path.display()),
            None,
        );
        installed.write(&folder)?;
        Ok(Imported {
            installed,
            was_present: false,
            linked,
        })
    }

    /// Brings the file in; true when it is a second name of the original.
    async fn take(
        &self,
        original: &Path,
        folder: &Path,
        wanted: &Wanted,
        mode: ImportMode,
        report: &mut Reporter<'_>,
    ) -> Result<bool, Stop> {
        let target = folder.join(&wanted.name);
        let own = target.canonicalize().is_ok_and(|target| target == original);
        if own {
            return Ok(false);
        }
        if mode == ImportMode::HardLink {
            let name = data_path(folder, &format!("link-{}", wanted.name));
            files::remove_if_there(&name).map_err(ModelError::io(&name))?;
            if fs::hard_link(original, &name).is_ok() {
                fs::rename(&name, &target).map_err(ModelError::io(&target))?;
                files::sync_folder(folder).map_err(ModelError::io(folder))?;
                return Ok(true);
            }
        }
        let needed_bytes = wanted.size + self.options.disk_margin_bytes;
        let available_bytes = (self.options.free_disk_bytes)(folder).map_err(ModelError::io(folder))?;
        if available_bytes < needed_bytes {
            return Err(ModelError::NoSpace {
                path: folder.into(),
                needed_bytes,
                available_bytes,
            }
            .into());
        }
        let mut partial = Partial::open(folder, wanted, report).await?;
        partial.restart().await?;
        let source = original.to_owned();
        let pieces = spawn_reader(move |send| send_all(&mut fs::File::open(source)?, send));
        append_pieces(&mut partial, pieces, wanted.size, PullPhase::Joining, report).await?;
        match partial.finish().await? {
            Ok(()) => Ok(false),
            Err(_) => Err(Stop::wrong_content("it changed while it was copied")),
        }
    }

    /// The model of the catalogue that consists of one file with this digest.
    fn known(&self, sha256: super::Sha256Hex) -> Option<&Manifest> {
        self.catalogue()
            .iter()
            .find(|known| known.files.len() == 1 && known.files[0].sha256 == Some(sha256))
    }

    /// `stem`, or `stem-2`, …: the first id that neither the catalogue nor the folder uses.
    fn free_id(&self, stem: &str) -> String {
        let numbered = (2_u32..).map(|number| format!("{stem}-{number}"));
        std::iter::once(stem.to_owned())
            .chain(numbered)
            .find(|id| self.catalogue().get(id).is_none() && !self.model_folder(id).exists())
            .unwrap_or_default()
    }
}

impl Header {
    fn manifest(self, id: String, stem: &str, size: u64) -> Manifest {
        let name = presentable(self.name.as_deref().unwrap_or(stem)).unwrap_or_else(|| id.clone());
        let file = ModelFile {
            name: format!("{id}.gguf"),
            size,
            sha256: None,
        };
        Manifest {
            name,
            task: Task::Chat,
            architecture: self.architecture,
            quantization: self.quantization,
            parameters: Some(self.parameters),
            licence: self
                .licence
                .as_deref()
                .and_then(presentable)
                .unwrap_or_else(|| "unknown".into()),
            context_length: self.context_length,
            memory_bytes: size.saturating_add(size / 8).saturating_add(self.kv_bytes),
            run_by_us: false,
            sampling: Sampling::default(),
            notes: "Imported from a file.".into(),
            files: vec![file],
            sources: Vec::new(),
            id,
        }
    }
}

/// Reads and checks the header; the error is a sentence for people.
fn read_header(path: &Path) -> Result<Header, String> {
    let file = GgufFile::open(path).map_err(|error| match error {
        GgufError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    })?;
    if let Ok(Some(count @ 2..)) = file.get::<u64>("split.count") {
        return Err(format!(
            "it is one of {count} parts of a model; join them into one file first"
        ));
    }
    let config = DecoderConfig::from_gguf(&file).map_err(|error| error.to_string())?;
    let text = |key: &str| file.get::<&str>(key).ok().flatten().map(str::to_owned);
    let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut parameters = 0_u64;
    for tensor in file.tensors() {
        let count = tensor.element_count() as u64;
        parameters = parameters.saturating_add(count);
        *kinds.entry(tensor.ggml_type.name()).or_default() += count;
    }
    let window = config.context_length.min(USUAL_WINDOW);
    // Keys and values, two bytes a number. The counts come from the file and may be absurd.
    let per_token = [config.layer_count, config.kv_head_count, config.head_size]
        .into_iter()
        .fold(2 * 2_u64, |product, count| product.saturating_mul(count as u64));
    Ok(Header {
        architecture: config.architecture.name().to_owned(),
        name: text("general.name"),
        licence: text("general.license"),
        quantization: kinds
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(name, _)| name.to_owned()),
        parameters,
        context_length: u32::try_from(config.context_length).unwrap_or(u32::MAX),
        kv_bytes: (window as u64).saturating_mul(per_token),
    })
}

/// An id from a file name: lowercase letters, digits and single `.`, `-`, `_`; never empty, hidden or reserved.
fn sanitise(stem: &str) -> String {
    let mut id = String::new();
    for character in stem.to_lowercase().chars() {
        let plain = character.is_ascii_alphanumeric() || matches!(character, '.' | '_');
        let character = if plain { character } else { '-' };
        if character.is_ascii_alphanumeric() || !id.ends_with(['.', '-', '_']) {
            id.push(character);
        }
        if id.len() >= MAX_STEM_BYTES {
            break;
        }
    }
    let id = id.trim_matches(['.', '-', '_']);
    let first = id
        .split('.')
        .next()
        .unwrap_or("")
        .trim_end_matches(|last: char| last.is_ascii_digit());
    let id = if id.is_empty() || RESERVED.contains(&first) {
        format!("model-{id}")
    } else {
        id.to_owned()
    };
    let id = id.trim_end_matches('-');
    debug_assert!(manifest::check_id(id).is_ok(), "{id}");
    id.to_owned()
}

/// A foreign text in one line of bounded length, without control characters; `None` when nothing is left.
fn presentable(text: &str) -> Option<String> {
    let line: String = text
        .chars()
        .filter(|character| !character.is_control())
        .take(MAX_NAME_CHARS)
        .collect();
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_any_file_name() {
        for (stem, expected) in [
            ("Qwen3-4B-Q4_K_M", "qwen3-4b-q4_k_m"),
            ("My Model (final) v2", "my-model-final-v2"),
            ("../../etc/passwd", "etc-passwd"),
            ("...", "model"),
            ("", "model"),
            ("日本語", "model"),
            ("Ünïcode", "n-code"),
            ("con", "model-con"),
            ("COM1.old", "model-com1.old"),
            ("a\u{0}b\nc", "a-b-c"),
        ] {
            assert_eq!(sanitise(stem), expected, "{stem:?}");
        }
        assert_eq!(sanitise(&"x".repeat(5_000)).len(), MAX_STEM_BYTES);
        assert!(manifest::check_id(&sanitise(&"-x".repeat(5_000))).is_ok());
    }

    #[test]
    fn foreign_texts_are_cut_to_one_line() {
        assert_eq!(presentable("a\nb\u{1b}[31m"), Some("ab[31m".into()));
        assert_eq!(presentable(" \n\t"), None);
        assert_eq!(
            presentable(&"é".repeat(1_000)).unwrap().chars().count(),
            MAX_NAME_CHARS
        );
    }
}
