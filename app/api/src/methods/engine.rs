//! The engine itself.

use hearth_core::types::{EngineEvent, Status};

use super::{Empty, NoEvent, method};

method! {
    /// What the engine says about itself.
    GetStatus, "status", Empty, NoEvent, Status
}
method! {
    /// Tells what changes, until cancelled or the engine ends.
    Watch, "events.watch", Empty, EngineEvent, Empty
}
method! {
    /// Ends the engine; replies being written are stopped and kept.
    Shutdown, "engine.stop", Empty, NoEvent, Empty
}
