//! Models.

use std::path::PathBuf;

use hearth_core::types::{ModelSummary, PullProgress};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{Empty, NoEvent, method};

method! {
    /// Lists the catalogue and imported models.
    List, "models.list", Empty, NoEvent, Listed
}
method! {
    /// Downloads models and checks them, going on where an earlier download ended.
    Pull, "models.pull", PullParams, PullProgress, Pulled
}
method! {
    /// Checks a model's files against their hashes.
    Verify, "models.verify", ModelParams, PullProgress, Verified
}
method! {
    /// Deletes a model's files.
    Remove, "models.remove", ModelParams, NoEvent, Empty
}
method! {
    /// Brings in a GGUF file.
    Import, "models.import", ImportParams, PullProgress, ModelSummary
}
method! {
    /// Makes a model the one used when none is named.
    Use, "models.use", ModelParams, NoEvent, ModelSummary
}
method! {
    /// Frees the memory of a model; one that is answering finishes first.
    Unload, "models.unload", ModelParams, NoEvent, Empty
}

/// Output of [`List`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(rename = "ModelsListed")]
pub struct Listed {
    /// The models.
    pub models: Vec<ModelSummary>,
}

/// Parameters of [`Pull`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct PullParams {
    /// The models; empty means those that the machine's profile proposes.
    pub models: Vec<String>,
}

/// Output of [`Pull`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Pulled {
    /// The models, now ready.
    pub models: Vec<ModelSummary>,
}

/// Parameters that name a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ModelParams {
    /// The model.
    pub model: String,
}

/// Output of [`Verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Verified {
    /// Whether every file is what the catalogue promises.
    pub ok: bool,
    /// Names of files that are missing or wrong.
    pub bad_files: Vec<String>,
}

/// Parameters of [`Import`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "ModelImportParams")]
pub struct ImportParams {
    /// The file; an absolute path. The model's identifier is made from its name.
    pub path: PathBuf,
}
