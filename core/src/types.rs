//! The data that faces see: chats, messages, models, settings, status.
//!
//! Every type is plain data, serialised as JSON and described in TypeScript; none of them does anything.

pub mod chat;
pub mod completion;
pub mod id;
pub mod memory;
pub mod model;
pub mod profile;
pub mod settings;
pub mod status;
pub mod sync;
pub mod turn;

pub use chat::*;
pub use completion::*;
pub use id::{ChatId, ErasureId, IdError, MemoryId, MessageId};
pub use memory::*;
pub use model::*;
pub use profile::*;
pub use settings::*;
pub use status::*;
pub use sync::*;
pub use turn::*;
