//! Chats as things: listing, finding, naming, removing, moving.

use std::path::PathBuf;

use hearth_core::types::{Chat, ChatDetail, ChatId, MessageId, SearchHit};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{Empty, NoEvent, method};
use crate::{ApiError, ErrorCode};

method! {
    /// Lists chats, latest first.
    List, "chats.list", ListParams, NoEvent, Listed
}
method! {
    /// One chat with one branch.
    Show, "chats.show", ShowParams, NoEvent, ChatDetail
}
method! {
    /// Finds messages by their words, best first. Incognito chats are not searched.
    Search, "chats.search", SearchParams, NoEvent, Found
}
method! {
    /// Names a chat.
    Rename, "chats.rename", RenameParams, NoEvent, Empty
}
method! {
    /// Changes a chat's instructions or model, or switches memory off or on for it.
    Configure, "chats.configure", ConfigureParams, NoEvent, Chat
}
method! {
    /// Deletes chats for good.
    Delete, "chats.delete", DeleteParams, NoEvent, Deleted
}
method! {
    /// Shows another branch: the given message's, down to its latest descendant.
    SetHead, "chats.set_head", SetHeadParams, NoEvent, ChatDetail
}
method! {
    /// Writes chats as JSON, in pieces of at most 64 KiB, to be joined by the caller. Fails when something is erased
    /// meanwhile, which the pieces may say.
    Export, "chats.export", ExportParams, ExportEvent, Exported
}
method! {
    /// Reads chats from a file: Hearth's own export, ChatGPT's `conversations.json`, or one turn a line.
    Import, "chats.import", ImportParams, NoEvent, Imported
}

/// Parameters of [`List`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct ListParams {
    /// At most so many, at most and by default 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Leave out so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
}

/// Output of [`List`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Listed {
    /// The chats.
    pub chats: Vec<Chat>,
}

/// Parameters of [`Show`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ShowParams {
    /// The chat.
    pub chat: ChatId,
    /// The end of the branch; absent means the shown one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<MessageId>,
}

/// Parameters of [`Search`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct SearchParams {
    /// Words; all must occur, the last may be the beginning of one.
    pub text: String,
    /// At most so many; default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only in this chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatId>,
}

/// Output of [`Search`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Found {
    /// The matching messages.
    pub hits: Vec<SearchHit>,
}

/// Parameters of [`Rename`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct RenameParams {
    /// The chat.
    pub chat: ChatId,
    /// Its new name.
    pub title: String,
}

/// Parameters of [`Configure`]: an empty text removes the chat's own choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ConfigureParams {
    /// The chat.
    pub chat: ChatId,
    /// Instructions to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether it is remembered: off, nothing is drawn from it and nothing put before the model in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
}

/// Which chats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "select", deny_unknown_fields)]
pub enum Selection {
    /// Every chat; never incognito ones.
    All,
    /// These chats.
    Chats {
        /// The chats.
        chats: Vec<ChatId>,
    },
}

/// Parameters of [`Delete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct DeleteParams {
    /// Which chats.
    pub which: Selection,
}

/// Output of [`Delete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Deleted {
    /// Chats deleted.
    pub chats: u32,
}

/// Parameters of [`SetHead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct SetHeadParams {
    /// The chat.
    pub chat: ChatId,
    /// A message of the branch.
    pub message: MessageId,
}

/// Parameters of [`Export`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ExportParams {
    /// Which chats.
    pub which: Selection,
}

/// A piece of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ExportEvent {
    /// The piece.
    pub chunk: String,
}

/// Output of [`Export`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Exported {
    /// Bytes written, all pieces together.
    pub bytes: u64,
}

/// Why an export is not to be kept that something was erased during: it may still say it.
pub fn erased_meanwhile() -> ApiError {
    ApiError::new(
        ErrorCode::Busy,
        "something was erased while this was written, and what was written may still say it",
    )
    .hint("Keep nothing of it, and write it again.")
}

/// The form of an imported file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ImportFormat {
    /// Whichever it is.
    #[default]
    Auto,
    /// Hearth's export.
    Hearth,
    /// ChatGPT's `conversations.json`.
    Chatgpt,
    /// One turn a line, as JSON: `chat`, `turn`, `speaker`, `time`, `text` and perhaps `caption`; or `role` and `content`,
    /// all of one chat.
    Lines,
}

/// Where imported chats are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "from", deny_unknown_fields)]
pub enum ImportSource {
    /// A file that the engine can read; an absolute path.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// The request itself; at most 16 MiB over a socket.
    Text {
        /// The file's content.
        text: String,
    },
}

/// Parameters of [`Import`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ImportParams {
    /// Where.
    pub source: ImportSource,
    /// What.
    #[serde(default)]
    #[ts(optional, as = "Option<ImportFormat>")]
    pub format: ImportFormat,
    /// Draw memories from them in idle moments; default false: they are only found by recall.
    #[serde(default)]
    #[ts(optional, as = "Option<bool>")]
    pub remember: bool,
}

/// Output of [`Import`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Imported {
    /// Chats that are new.
    pub chats: u32,
    /// Messages that are new.
    pub messages: u32,
    /// Chats that were already here.
    pub skipped_chats: u32,
    /// What could not be read, one sentence each, without words of a chat.
    pub warnings: Vec<String>,
}
