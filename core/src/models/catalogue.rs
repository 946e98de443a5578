//! The models this version knows, embedded from the repository's `models/` folder.

use super::manifest::{Manifest, Task};
use std::sync::OnceLock;

macro_rules! manifests {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/", $name, ".toml")))),*]
    };
}

/// Every file of `models/`; a test compares this list with the folder.
const EMBEDDED: &[(&str, &str)] = manifests![
    "all-minilm-l6-v2",
    "gemma-3-270m-q4_k_m",
    "qwen2.5-coder-0.5b-instruct-q4_k_m",
    "qwen2.5-coder-1.5b-instruct-q4_k_m",
    "qwen3-0.6b-q4_k_m",
    "qwen3-1.7b-q4_k_m",
    "qwen3-4b-q4_k_m",
    "smollm2-1.7b-instruct-q4_k_m",
    "smollm2-135m-instruct-q4_1",
];

/// A set of manifests, ordered by id.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    manifests: Vec<Manifest>,
}

impl Catalogue {
    /// The manifests embedded in this program.
    pub fn embedded() -> &'static Self {
        static EMBEDDED_CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        EMBEDDED_CATALOGUE.get_or_init(|| {
            // A manifest that doesn't parse is left out here and found by a test, not by a user's crash.
            let manifests = EMBEDDED.iter().filter_map(|(_, text)| toml::from_str(text).ok());
            Self::new(manifests.collect()).unwrap_or(Self {
                manifests: Vec::new(),
            })
        })
    }

    /// A catalogue of the given manifests.
    ///
    /// # Errors
    /// A sentence naming the manifest that is invalid or doubled.
    pub fn new(mut manifests: Vec<Manifest>) -> Result<Self, String> {
        for manifest in &manifests {
            manifest
                .validate()
                .map_err(|reason| format!("{}: {reason}", manifest.id))?;
        }
        manifests.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(pair) = manifests.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(format!("two manifests are called {}", pair[0].id));
        }
        Ok(Self { manifests })
    }

    /// Reads one manifest from TOML.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The manifest with this id.
    pub fn get(&self, id: &str) -> Option<&Manifest> {
        self.manifests
            .binary_search_by(|manifest| manifest.id.as_str().cmp(id))
            .ok()
            .map(|at| &self.manifests[at])
    }

    /// All manifests, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.iter()
    }

    /// The manifests of one task.
    pub fn for_task(&self, task: Task) -> impl Iterator<Item = &Manifest> {
        self.iter().filter(move |manifest| manifest.task == task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::manifest::Source;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_manifest_of_the_folder_is_embedded_and_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .into_string()
                    .unwrap()
                    .strip_suffix(".toml")
                    .map(Into::into)
            })
            .collect();
        assert_eq!(
            files,
            EMBEDDED.iter().map(|(name, _)| (*name).to_owned()).collect()
        );
        for (name, text) in EMBEDDED {
            let manifest = Catalogue::parse(text).unwrap_or_else(|reason| panic!("{name}: {reason}"));
            assert_eq!(manifest.id, *name);
            assert!(
                manifest.memory_bytes > manifest.size_bytes(),
                "{name} needs more memory than its file"
            );
            assert!(!manifest.sources.is_empty(), "{name} can be had somewhere");
            assert!(
                manifest.run_by_us || !manifest.notes.is_empty(),
                "{name} says what is not known of it"
            );
            assert!(
                manifest.is_pinned()
                    || manifest
                        .sources
                        .iter()
                        .any(|source| matches!(source, Source::Hub(_))),
                "{name}: somebody must state a digest"
            );
        }
        assert_eq!(Catalogue::embedded().iter().count(), EMBEDDED.len());
    }

    #[test]
    fn a_manifest_with_a_misspelt_field_or_an_escaping_name_is_refused() {
        let good = EMBEDDED[0].1;
        assert!(
            Catalogue::parse(&good.replace("licence =", "license ="))
                .unwrap_err()
                .contains("license")
        );
        assert!(
            Catalogue::parse(&good.replace("name = \"config.json\"", "name = \"../config.json\"")).is_err()
        );
        assert!(
            Catalogue::parse(&good.replace("name = \"config.json\"", "name = \"manifest.json\"")).is_err()
        );
        assert!(Catalogue::parse(&good.replace("id = \"all", "id = \"../all")).is_err());
    }
}
