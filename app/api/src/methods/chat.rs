//! Turns of a chat.

pub use hearth_core::types::{ChatEvent, EditParams, Edited, RegenerateParams, SendParams, TurnOptions};
use hearth_core::types::{Message, MessageId};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{NoEvent, method};

method! {
    /// Says something in a chat, or begins one, and has it answered. A caller that goes away stops the answer; what
    /// had arrived is kept.
    Send, "chat.send", SendParams, ChatEvent, Reply
}
method! {
    /// Changes a message. A person's message gets a sibling with the new text, and an answer; a model's message gets
    /// a sibling with the given text, and no answer. The old branch stays.
    Edit, "chat.edit", EditParams, ChatEvent, Edited
}
method! {
    /// Answers the same message again, as a sibling of the given reply.
    Regenerate, "chat.regenerate", RegenerateParams, ChatEvent, Reply
}
method! {
    /// Stops a reply that is being written, whoever asked for it; what had arrived is kept.
    Stop, "chat.stop", StopParams, NoEvent, Stopped
}

/// Parameters of [`Stop`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct StopParams {
    /// The reply.
    pub reply: MessageId,
}

/// Output of [`Send`] and [`Regenerate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Reply {
    /// The finished answer.
    pub message: Message,
}

/// Output of [`Stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Stopped {
    /// False when the reply was already finished.
    pub stopped: bool,
}
