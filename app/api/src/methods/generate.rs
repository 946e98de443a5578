//! Answers and vectors outside any chat; nothing of them is stored.

pub use hearth_core::types::{CompleteEvent, CompleteParams, EmbedParams};
use hearth_core::types::{Completion, Embeddings};

use super::{NoEvent, method};

method! {
    /// Answers the given turns. Nothing is left out: a prompt larger than the window is an error with both numbers.
    Complete, "complete", CompleteParams, CompleteEvent, Completion
}
method! {
    /// Turns texts into vectors. A text longer than the model's window is an error.
    Embed, "embed", EmbedParams, NoEvent, Embeddings
}
