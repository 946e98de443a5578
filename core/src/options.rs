//! What a face passes in when it opens an engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};
use crate::host::native::NativeLoader;
use crate::host::port::ModelLoader;
use crate::models::StoreOptions;
use crate::net::LocalNetwork;
use crate::types::{ModelProfile, ProtectionKind};

/// A person who reads an answer or types the next line is not idle yet.
const IDLE_PAUSE: Duration = Duration::from_secs(8);

/// Everything an engine needs to know from outside.
#[derive(Clone)]
pub struct EngineOptions {
    /// The profile's folder; made (mode 0700) when absent.
    pub home: PathBuf,
    /// What opens the profile.
    pub unlock: Unlock,
    /// Where model files are kept.
    pub models_dir: PathBuf,
    /// Where models come from and how patiently.
    pub model_sources: StoreOptions,
    /// Reads models into memory.
    pub loader: Arc<dyn ModelLoader>,
    /// Most bytes that loaded models may take; absent means three quarters of the machine's memory.
    pub memory_limit_bytes: Option<u64>,
    /// Profile to use whatever the machine and the settings say.
    pub model_profile: Option<ModelProfile>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Idle work on memory begins when nothing was asked for so long; absent: only when asked for.
    pub idle_pause: Option<Duration>,
    /// How devices of one account find each other without a server; the setting `local_network` can turn it off.
    pub local_network: LocalNetwork,
}

impl std::fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineOptions")
            .field("home", &self.home)
            .field("unlock", &self.unlock)
            .finish_non_exhaustive()
    }
}

impl EngineOptions {
    /// Options for a profile in `home` with models beside it, opened with `unlock`.
    pub fn new(home: impl Into<PathBuf>, unlock: Unlock) -> Self {
        let home = home.into();
        let models_dir = home.join("models");
        Self {
            home,
            unlock,
            models_dir,
            model_sources: StoreOptions::default(),
            loader: Arc::new(NativeLoader),
            memory_limit_bytes: None,
            model_profile: None,
            clock: Arc::new(SystemClock),
            idle_pause: Some(IDLE_PAUSE),
            local_network: LocalNetwork::default(),
        }
    }
}

/// What opens the profile. An existing profile says which of these it needs; a new one is protected by
/// `create_as`, else by the passphrase if given, else by the keychain if allowed and present, else by the key file.
#[derive(Clone, Default)]
pub struct Unlock {
    /// The passphrase.
    pub passphrase: Option<Zeroizing<String>>,
    /// The key file; made when a new profile needs it.
    pub key_file: Option<PathBuf>,
    /// Whether the operating system's keychain may be used.
    pub keychain: bool,
    /// How to protect a new profile.
    pub create_as: Option<ProtectionKind>,
}

impl Unlock {
    /// A passphrase and nothing else.
    pub fn with_passphrase(passphrase: impl Into<String>) -> Self {
        Self {
            passphrase: Some(Zeroizing::new(passphrase.into())),
            ..Self::default()
        }
    }

    /// A key file and nothing else.
    pub fn with_key_file(path: impl Into<PathBuf>) -> Self {
        Self {
            key_file: Some(path.into()),
            ..Self::default()
        }
    }
}

impl std::fmt::Debug for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unlock")
            .field("passphrase", &self.passphrase.as_ref().map(|_| "…"))
            .field("key_file", &self.key_file.is_some())
            .field("keychain", &self.keychain)
            .field("create_as", &self.create_as)
            .finish()
    }
}
