//! Every method of the engine: its name, parameters, events and output.
//!
//! Parameters refuse fields they do not know, so that a misspelt one is an error and not a different meaning.

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ts_rs::TS;

pub mod chat;
pub mod chats;
pub mod engine;
pub mod generate;
pub mod memory;
pub mod models;
pub mod profile;
pub mod settings;
pub mod sync;

/// One method.
pub trait Method: Send + Sync + 'static {
    /// Its name on the wire.
    const NAME: &'static str;
    /// What it takes; a JSON object.
    type Params: Serialize + DeserializeOwned + TS + Send + 'static;
    /// What it tells while it runs.
    type Event: Serialize + DeserializeOwned + TS + Send + 'static;
    /// What it returns; a JSON object.
    type Output: Serialize + DeserializeOwned + TS + Send + 'static;
}

/// The event of methods that tell nothing while they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub enum NoEvent {}

/// The parameters, or the output, of methods that have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(type = "Record<string, never>")]
pub struct Empty {}

macro_rules! method {
    ($(#[$doc:meta])* $name:ident, $wire:literal, $params:ty, $event:ty, $output:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl $crate::methods::Method for $name {
            const NAME: &'static str = $wire;
            type Params = $params;
            type Event = $event;
            type Output = $output;
        }
    };
}
pub(crate) use method;
