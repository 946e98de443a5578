//! Settings.

use hearth_core::types::{Settings, SettingsChange};

use super::{Empty, NoEvent, method};

method! {
    /// All settings as set; what is absent is chosen by the engine.
    Get, "settings.get", Empty, NoEvent, Settings
}
method! {
    /// Changes settings. Values out of range are refused and nothing is changed.
    Set, "settings.set", SettingsChange, NoEvent, Settings
}
