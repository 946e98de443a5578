//! Models on this machine: which there are, where they come from, and whether their bytes are the right ones.
//!
//! One [`Manifest`] describes one model; the [`Catalogue`] embeds those of the repository's `models/` folder.
//! A [`ModelStore`] owns a folder of models: it pulls (resumable, verified), verifies, imports, lists and removes.
//!
//! On disk: `<models_dir>/<id>/<file>`, and `<id>/manifest.json` written last. No model counts as ready without
//! that marker, and the marker is written only after every file's SHA-256 was compared with the expected one.

pub mod catalogue;
pub mod error;
pub mod events;
pub mod import;
pub mod machine;
pub mod manifest;
pub mod profile;
pub mod pull;
pub mod store;
pub mod verify;

mod digest;
mod files;
mod marker;

pub use catalogue::Catalogue;
pub use digest::Sha256Hex;
pub use error::{FailureKind, ModelError, PullError, SourceFailure};
pub use events::{Progress, PullEvent, PullPhase};
pub use import::{ImportMode, Imported};
pub use machine::{Gpu, Machine};
pub use manifest::{HubSource, Manifest, ModelFile, PackageFile, PackagePart, PackagesSource, Source, Task};
pub use marker::{Installed, InstalledFile};
pub use profile::{Profile, ProfileChoice, PullPlan, PulledPlan};
pub use pull::{LockWait, PullOptions};
pub use store::{ModelEntry, ModelState, ModelStore, Removed, StoreOptions};
pub use verify::{FileCheck, VerifyReport};
