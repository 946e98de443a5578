//! What is remembered: keeping, finding, correcting, erasing.

use hearth_core::types::{
    Biography, EraseParams, ErasePreview, EraseReceipt, EraseReceiptDetail, EraseReceipts,
    EraseReceiptsParams, EraseScope, ErasureId, Memory, MemoryDetail, MemoryDraft, MemoryEdit, MemoryId,
    MemoryImported, MemoryKept, MemoryListParams, MemoryListed, MemoryQuestion, MemoryStats, MemoryWorked,
    RecallParams, Recalled,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::chats::{ExportEvent, Exported, ImportSource};
use super::{Empty, NoEvent, method};

method! {
    /// Keeps what the person writes. What says the same is only noted again; what it contradicts becomes history, or is
    /// asked about.
    Add, "memory.add", MemoryDraft, NoEvent, MemoryKept
}
method! {
    /// Lists memories, newest first.
    List, "memory.list", MemoryListParams, NoEvent, MemoryListed
}
method! {
    /// One memory with what it took the place of and what took its place.
    Show, "memory.show", MemoryParams, NoEvent, MemoryDetail
}
method! {
    /// Finds memories by their words and their meaning, best first: `recall` over facts.
    Search, "memory.search", SearchParams, NoEvent, Recalled
}
method! {
    /// Corrects a memory. A new text makes a new one and the old one history.
    Edit, "memory.edit", MemoryEdit, NoEvent, Memory
}
method! {
    /// Says that a memory is right: it is certain from here on, and what contradicts it becomes history.
    Confirm, "memory.confirm", MemoryParams, NoEvent, MemoryKept
}
method! {
    /// Pins a memory, so that it never fades nor makes room, or lets it loose.
    Pin, "memory.pin", PinParams, NoEvent, Memory
}
method! {
    /// What erasing would take, part by part; nothing is erased.
    PreviewErase, "memory.erase_preview", PreviewParams, NoEvent, ErasePreview
}
method! {
    /// Erases for good, and counts again whether anything is left.
    Erase, "memory.erase", EraseParams, NoEvent, EraseReceipt
}
method! {
    /// Lists the receipts of what was erased, the latest first.
    Receipts, "memory.receipts", EraseReceiptsParams, NoEvent, EraseReceipts
}
method! {
    /// One receipt, with the identifiers of what went.
    Receipt, "memory.receipt", ReceiptParams, NoEvent, EraseReceiptDetail
}
method! {
    /// Writes all memories as JSON, in pieces of at most 64 KiB, to be joined by the caller. Fails when something is erased
    /// meanwhile, which the pieces may say.
    Export, "memory.export", Empty, ExportEvent, Exported
}
method! {
    /// Reads memories: Hearth's own export, all or nothing; another assistant's list of memories or plain lines, which change
    /// nothing unless every entry can be read, and are then kept one by one: cut short, do it again.
    Import, "memory.import", ImportParams, NoEvent, MemoryImported
}
method! {
    /// Pauses memory: nothing is drawn from chats and nothing put before a model.
    Pause, "memory.pause", Empty, NoEvent, Empty
}
method! {
    /// Lets a paused memory go on.
    Resume, "memory.resume", Empty, NoEvent, Empty
}
method! {
    /// How much is remembered, and how far the work on it is.
    Stats, "memory.stats", Empty, NoEvent, MemoryStats
}
method! {
    /// The biography: what stands in every prompt, each sentence with the memories it was made from.
    Bio, "memory.bio", Empty, NoEvent, Biography
}
method! {
    /// A question about a memory that the person may be asked now; seldom one, to be answered by `memory.confirm`,
    /// `memory.edit` or `memory.erase`.
    Review, "memory.review", ReviewParams, NoEvent, Reviewed
}
method! {
    /// Does now what else waits for an idle moment: vectors, memories drawn from chats, the biography. Gives way to
    /// answers meanwhile.
    Work, "memory.work", Empty, NoEvent, MemoryWorked
}
method! {
    /// Finds what is remembered that answers a question: memories, turns of past chats, or both.
    Recall, "recall", RecallParams, NoEvent, Recalled
}

/// Parameters that name a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct MemoryParams {
    /// The memory.
    pub memory: MemoryId,
}

/// Parameters of [`Search`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "MemorySearchParams", optional_fields)]
pub struct SearchParams {
    /// What to look for.
    pub text: String,
    /// At most so many, 1 to 1,000; default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Parameters of [`Pin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "MemoryPinParams")]
pub struct PinParams {
    /// The memory.
    pub memory: MemoryId,
    /// False lets it loose.
    #[serde(default = "yes")]
    #[ts(optional, as = "Option<bool>")]
    pub pinned: bool,
}

fn yes() -> bool {
    true
}

/// Parameters of [`PreviewErase`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "MemoryErasePreviewParams")]
pub struct PreviewParams {
    /// What would be erased.
    pub scope: EraseScope,
    /// Memories of the preview to take that it does not tick by itself, with what comes along.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<MemoryId>>")]
    pub take_memories: Vec<MemoryId>,
}

/// Parameters of [`Receipt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "MemoryReceiptParams")]
pub struct ReceiptParams {
    /// The erasure.
    pub erasure: ErasureId,
}

/// The form of imported memories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(rename = "MemoryImportFormat")]
pub enum ImportFormat {
    /// Whichever it is.
    #[default]
    Auto,
    /// Hearth's export.
    Hearth,
    /// Plain facts of another assistant: a JSON list (of texts, or of objects with a text), or a line each.
    Facts,
}

/// Parameters of [`Import`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "MemoryImportParams")]
pub struct ImportParams {
    /// Where.
    pub source: ImportSource,
    /// What.
    #[serde(default)]
    #[ts(optional, as = "Option<ImportFormat>")]
    pub format: ImportFormat,
}

/// Parameters of [`Review`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(rename = "MemoryReviewParams")]
pub struct ReviewParams {
    /// Whatever was asked lately.
    #[ts(optional, as = "Option<bool>")]
    pub now: bool,
}

/// Output of [`Review`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(rename = "MemoryReviewed")]
pub struct Reviewed {
    /// The question; none when there is nothing to ask now.
    pub question: Option<MemoryQuestion>,
}
