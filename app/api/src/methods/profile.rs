//! The profile as a whole.

use std::path::PathBuf;

use hearth_core::types::NewProtection;
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use zeroize::Zeroizing;

use super::{Empty, NoEvent, method};

method! {
    /// Changes what opens the profile.
    ChangeProtection, "profile.change_protection", ChangeProtectionParams, NoEvent, Empty
}
method! {
    /// Writes an encrypted copy of the database that its own passphrase opens.
    Backup, "profile.backup", BackupParams, NoEvent, BackedUp
}
method! {
    /// Replaces the database by a backup.
    Restore, "profile.restore", RestoreParams, NoEvent, Empty
}
method! {
    /// Deletes the database and its key for good, and ends the engine. Models stay.
    Wipe, "profile.wipe", WipeParams, NoEvent, Empty
}

/// Parameters of [`ChangeProtection`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ChangeProtectionParams {
    /// The present passphrase, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(as = "Option<String>")]
    pub current_passphrase: Option<Zeroizing<String>>,
    /// What shall open the profile.
    pub new: NewProtection,
}

/// Parameters of [`Backup`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct BackupParams {
    /// The file to write; an absolute path where nothing is yet.
    pub path: PathBuf,
    /// The backup's passphrase.
    #[ts(as = "String")]
    pub passphrase: Zeroizing<String>,
}

/// Output of [`Backup`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BackedUp {
    /// Size of the file.
    pub bytes: u64,
}

/// Parameters of [`Restore`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct RestoreParams {
    /// The backup; an absolute path.
    pub path: PathBuf,
    /// Its passphrase.
    #[ts(as = "String")]
    pub passphrase: Zeroizing<String>,
    /// Must be true when the profile has chats: they will be gone.
    #[serde(default)]
    #[ts(optional, as = "Option<bool>")]
    pub replace: bool,
}

/// Parameters of [`Wipe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct WipeParams {
    /// Must be true.
    pub confirm: bool,
}

macro_rules! secret_debug {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}
secret_debug!(ChangeProtectionParams, BackupParams, RestoreParams);
