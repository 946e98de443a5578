//! The desktop shell: windows, tray, permissions; it adapts and decides nothing.
//!
//! Invariant: everything it shows comes through `hearth-api`. Empty until the window is built.
