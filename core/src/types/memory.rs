//! What is remembered: facts with where they came from, what recall finds, and what erasing takes.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{ChatId, ErasureId, MemoryId, MessageId, Role};

/// What a memory is about; it decides how contradictions are resolved and how fast it fades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// An allergy, a hard rule: never overridden by inference, never fading.
    Constraint,
    /// A lasting fact about the person's life.
    Biography,
    /// A like or dislike.
    Preference,
    /// Something that happened or will.
    Event,
    /// A mood, a current task.
    Context,
}

/// Whether a memory is held to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum MemoryStatus {
    /// Held to be true now.
    Active,
    /// Was true; kept as history.
    Superseded {
        /// What took its place, if that is still there.
        by: Option<MemoryId>,
    },
    /// The person is asked whether it is right.
    Review,
}

/// A status without its details, to choose by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum MemoryState {
    /// Held to be true now.
    Active,
    /// Was true; kept as history.
    Superseded,
    /// The person is asked whether it is right.
    Review,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum MemoryOrigin {
    /// The person wrote or confirmed it.
    Stated,
    /// It was drawn from a conversation.
    Extracted,
    /// It came in with an import.
    Imported,
}

/// A turn that a memory was drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MemorySource {
    /// The chat.
    pub chat: ChatId,
    /// That chat's name; none when it is not here.
    pub chat_title: Option<String>,
    /// The message.
    pub message: MessageId,
    /// When it was said, milliseconds since 1970-01-01 UTC; none when the message is not here.
    pub at_ms: Option<i64>,
}

/// One memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Memory {
    /// Its identifier.
    pub id: MemoryId,
    /// One short fact.
    pub text: String,
    /// What it is about.
    pub kind: MemoryKind,
    /// 0 to 1; 1 when the person wrote or confirmed it.
    pub confidence: f32,
    /// A special category of personal data (GDPR article 9).
    pub sensitive: bool,
    /// Since when it holds, where known; milliseconds since 1970-01-01 UTC, as all times here.
    pub valid_from_ms: Option<i64>,
    /// Until when it held, where known.
    pub valid_to_ms: Option<i64>,
    /// When it was first kept.
    pub created_at_ms: i64,
    /// When it last changed, or was said again.
    pub updated_at_ms: i64,
    /// Whether it is held to be true.
    pub status: MemoryStatus,
    /// Who says so.
    pub origin: MemoryOrigin,
    /// How often it stood before the model.
    pub use_count: u32,
    /// When that was last.
    pub last_used_at_ms: Option<i64>,
    /// Kept whatever happens, and never fading.
    pub pinned: bool,
    /// Where it was said.
    pub sources: Vec<MemorySource>,
}

/// A memory with its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MemoryDetail {
    /// The memory.
    pub memory: Memory,
    /// What it took the place of, latest first.
    pub earlier: Vec<Memory>,
    /// What took its place, nearest first.
    pub later: Vec<Memory>,
}

/// A memory that the person writes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct MemoryDraft {
    /// One short fact, at most 16 KiB.
    pub text: String,
    /// What it is about; absent means: told from its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<MemoryKind>,
    /// A special category of personal data; absent means: told from its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<bool>,
    /// Since when it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from_ms: Option<i64>,
    /// Until when it held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to_ms: Option<i64>,
    /// Keep it whatever happens.
    pub pinned: bool,
}

/// What became of a memory that was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MemoryKept {
    /// The memory; one that was there already, where it says the same.
    pub memory: Memory,
    /// It was there already.
    pub known: bool,
    /// What it took the place of; kept as history.
    pub superseded: Vec<MemoryId>,
    /// What it contradicts and did not override: the person should say which is right.
    pub contradicts: Vec<MemoryId>,
    /// Memory is paused; this was kept all the same, as the person asked for it outright.
    pub paused: bool,
}

/// Which memories to list, newest first. What is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct MemoryListParams {
    /// Of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<MemoryKind>,
    /// With this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MemoryState>,
    /// With these letters in its text, whatever their case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Said in this chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatId>,
    /// Sensitive ones only, or the others only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<bool>,
    /// Pinned ones only, or the others only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// At most so many, 1 to 1,000; default 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Leave out so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
}

/// Memories, and how many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MemoryListed {
    /// The memories.
    pub memories: Vec<Memory>,
    /// How many there are, the limit aside.
    pub total: u64,
}

/// A correction by the person: what is absent stays. A new text makes a new memory, stated and certain, and the old one
/// history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct MemoryEdit {
    /// The memory.
    pub memory: MemoryId,
    /// What is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MemoryKind>,
    /// A special category of personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<bool>,
    /// Since when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from_ms: Option<i64>,
    /// Until when it held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to_ms: Option<i64>,
    /// It has no end, whatever was noted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endless: Option<bool>,
}

/// What recall looks through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum RecallOver {
    /// Memories.
    #[default]
    Facts,
    /// Turns of past chats.
    Turns,
    /// Both.
    All,
}

/// A question to what is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct RecallParams {
    /// The question; not empty.
    pub query: String,
    /// What was said before it, oldest first; the last three count.
    pub previous: Vec<String>,
    /// What to look through.
    pub over: RecallOver,
    /// At most so many, 1 to 1,000; default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only in these chats, and in what was drawn from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chats: Option<Vec<ChatId>>,
    /// The time at which it is asked, for `last spring` and the like; absent means now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<i64>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Recalled {
    /// The best first.
    pub hits: Vec<RecallHit>,
    /// The model that compared meanings; none where words alone were compared, as no model that embeds is here or
    /// nothing has been embedded by it yet.
    pub embedding_model: Option<String>,
}

/// One memory or turn that recall found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "source")]
pub enum RecallHit {
    /// A memory.
    Memory {
        /// Higher is better; comparable within one question only.
        score: f64,
        /// The memory.
        memory: Memory,
    },
    /// A turn of a chat.
    Turn {
        /// Higher is better; comparable within one question only.
        score: f64,
        /// The turn.
        turn: RecalledTurn,
    },
}

/// A turn of a chat that recall found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RecalledTurn {
    /// The message.
    pub message: MessageId,
    /// What an imported file called it.
    pub name: Option<String>,
    /// The chat.
    pub chat: ChatId,
    /// That chat's title; what an imported file called it.
    pub chat_title: String,
    /// Who said it.
    pub role: Role,
    /// Who said it, by name, where that is known.
    pub speaker: Option<String>,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// What was said.
    pub text: String,
}

/// What stood before the model of what is remembered, by identifiers alone: what is erased leaves no words here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct MemoryReport {
    /// Memories that stood with the question, best first.
    pub recalled: Vec<MemoryId>,
    /// Memories that the biography was made from, where it stood in the instructions.
    pub biography: Vec<MemoryId>,
    /// Tokens of both.
    pub tokens: u32,
    /// Memories that were kept because the person said so in this turn.
    pub kept: Vec<MemoryId>,
    /// What is to be erased once the person says so: "forget my dog" was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub forget: Option<ForgetOffer>,
}

/// What "forget …" was found to mean, waiting for the person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ForgetOffer {
    /// The memories.
    pub memories: Vec<MemoryId>,
    /// Turns that say it without a memory.
    pub turns: Vec<MessageId>,
}

/// What to erase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "what", deny_unknown_fields)]
pub enum EraseScope {
    /// These memories, and these turns besides those that they came from.
    Items {
        /// The memories.
        #[serde(default)]
        #[ts(optional, as = "Option<Vec<MemoryId>>")]
        memories: Vec<MemoryId>,
        /// Turns.
        #[serde(default)]
        #[ts(optional, as = "Option<Vec<MessageId>>")]
        turns: Vec<MessageId>,
    },
    /// Chats with what was drawn from them alone.
    Chats {
        /// The chats.
        chats: Vec<ChatId>,
    },
    /// What a search for this finds.
    Topic {
        /// The topic.
        topic: String,
    },
    /// Every memory and every chat.
    All,
}

/// Why something is among what would be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EraseReason {
    /// It was asked for.
    Asked,
    /// It says the same, or nearly; then it is not ticked.
    Duplicate,
    /// It is an older version.
    Older,
    /// It came from what goes, and from nowhere else; or a memory that goes came from it.
    Source,
    /// It is an answer that repeats it.
    Answer,
}

/// A memory that may be erased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EraseMemory {
    /// The memory.
    pub memory: Memory,
    /// Why it is among them.
    pub why: EraseReason,
    /// It goes unless the person says otherwise.
    pub ticked: bool,
}

/// A turn that may be erased: the message stays in its place, empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EraseTurn {
    /// The message.
    pub message: MessageId,
    /// The chat.
    pub chat: ChatId,
    /// That chat's name.
    pub chat_title: String,
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// Why it is among them.
    pub why: EraseReason,
    /// Memories that stay and lose it as their source.
    pub also_source_of: Vec<MemoryId>,
    /// It goes unless the person says otherwise.
    pub ticked: bool,
}

/// A chat that may be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EraseChat {
    /// The chat.
    pub chat: ChatId,
    /// Its name.
    pub title: String,
    /// Its messages, on all branches.
    pub messages: u64,
    /// It goes unless the person says otherwise.
    pub ticked: bool,
}

/// What would be erased, part by part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ErasePreview {
    /// Memories, those that were asked for first.
    pub memories: Vec<EraseMemory>,
    /// Turns, by chat and time.
    pub turns: Vec<EraseTurn>,
    /// Whole chats.
    pub chats: Vec<EraseChat>,
    /// Memories that come from what goes and from elsewhere too: they stay.
    pub spared: Vec<MemoryId>,
    /// Sentences of the biography that go at once.
    pub biography_sentences: u64,
}

/// So many memories, turns and chats are erased from all devices of an account at once; more only with a time to take it back.
pub const BULK_ERASURE: usize = 20;

/// What to erase, and which parts of its preview to leave or take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct EraseParams {
    /// What.
    pub scope: EraseScope,
    /// Memories of the preview to keep; older versions that are kept go to review.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<MemoryId>>")]
    pub keep_memories: Vec<MemoryId>,
    /// Turns of the preview to keep.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<MessageId>>")]
    pub keep_turns: Vec<MessageId>,
    /// Chats of the preview to keep.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<ChatId>>")]
    pub keep_chats: Vec<ChatId>,
    /// Memories of the preview to take that it did not tick.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<MemoryId>>")]
    pub take_memories: Vec<MemoryId>,
    /// What the person was shown. When anything else would go now, as something came in meanwhile, nothing is erased and
    /// that is an error. Left out, what is found now goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub seen: Option<EraseSeen>,
    /// Must be true: what is erased can't be brought back.
    #[serde(default)]
    #[ts(optional, as = "Option<bool>")]
    pub confirm: bool,
}

/// The parts of a preview, by identifiers alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct EraseSeen {
    /// Memories.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<MemoryId>>")]
    pub memories: Vec<MemoryId>,
    /// Turns.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<MessageId>>")]
    pub turns: Vec<MessageId>,
    /// Chats.
    #[serde(default)]
    #[ts(optional, as = "Option<Vec<ChatId>>")]
    pub chats: Vec<ChatId>,
}

/// What was erased: counts and identifiers alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EraseReceipt {
    /// The erasure.
    pub erasure: ErasureId,
    /// When, milliseconds since 1970-01-01 UTC.
    pub erased_at_ms: i64,
    /// Memories.
    pub memories: u64,
    /// Turns that were emptied.
    pub turns: u64,
    /// Chats.
    pub chats: u64,
    /// Their messages.
    pub messages: u64,
    /// Titles that said it.
    pub titles: u64,
    /// Entries of the indexes of words.
    pub text_entries: u64,
    /// Vectors.
    pub vectors: u64,
    /// Sentences of the biography.
    pub biography_sentences: u64,
    /// Pieces of work that were to be done on it.
    pub jobs: u64,
    /// Older versions that were kept, to be confirmed now.
    pub to_review: Vec<MemoryId>,
    /// An independent count of what is left agrees.
    pub recounted: bool,
    /// The database's log was emptied, too; otherwise another program reads the database, and the engine's end or next
    /// start empties it.
    pub log_emptied: bool,
}

/// Which receipts to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
#[ts(optional_fields)]
pub struct EraseReceiptsParams {
    /// At most so many, 1 to 1,000; default 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Leaves out so many, the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
}

/// Receipts of erasures, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EraseReceipts {
    /// These.
    pub receipts: Vec<EraseReceipt>,
    /// How many there are in all.
    pub total: u64,
}

/// A receipt with the identifiers of what went, which name nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EraseReceiptDetail {
    /// The receipt.
    pub receipt: EraseReceipt,
    /// The memories.
    pub erased_memories: Vec<MemoryId>,
    /// The turns that were emptied.
    pub erased_turns: Vec<MessageId>,
    /// The chats.
    pub erased_chats: Vec<ChatId>,
}

/// How much is remembered, and how far the work on it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MemoryStats {
    /// Nothing is drawn from chats nor put before a model.
    pub paused: bool,
    /// Memories.
    pub memories: u64,
    /// Held to be true.
    pub active: u64,
    /// Kept as history.
    pub superseded: u64,
    /// Waiting for the person's word.
    pub review: u64,
    /// Sensitive ones.
    pub sensitive: u64,
    /// Pinned ones.
    pub pinned: u64,
    /// By kind.
    pub kinds: Vec<MemoryKindCount>,
    /// Turns of chats that recall looks through.
    pub turns: u64,
    /// The model that embeds; none when none is here, so that recall compares words alone.
    pub embedding_model: Option<String>,
    /// Memories and turns that wait for their vector.
    pub not_embedded: u64,
    /// Memories are drawn from chats in idle moments.
    pub extraction: bool,
    /// The model that judges what of a chat is worth keeping; none where rules alone decide, as for a model that is too
    /// small for it.
    pub extraction_model: Option<String>,
    /// Pieces of work that wait for an idle moment.
    pub jobs: u64,
    /// Sentences of the biography.
    pub biography_sentences: u64,
}

/// How many memories there are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MemoryKindCount {
    /// The kind.
    pub kind: MemoryKind,
    /// How many.
    pub count: u64,
}

/// What is always in context: sentences, each with the memories it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Biography {
    /// The sentences, in order.
    pub sentences: Vec<BiographySentence>,
    /// When it was last built; milliseconds since 1970-01-01 UTC.
    pub built_at_ms: Option<i64>,
    /// It will be built anew in the next idle moment.
    pub stale: bool,
}

/// A sentence of the biography.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BiographySentence {
    /// The sentence.
    pub text: String,
    /// The memories it was made from.
    pub memories: Vec<MemoryId>,
}

/// What an import of memories did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MemoryImported {
    /// Memories that are new.
    pub added: u64,
    /// Memories that were here already.
    pub known: u64,
    /// Memories left out because they were erased here once.
    pub erased: u64,
}

/// What idle work did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MemoryWorked {
    /// Memories and turns that got a vector.
    pub embedded: u64,
    /// Chats from which memories were drawn.
    pub mined: u64,
    /// Memories that are new.
    pub added: u64,
    /// Memories that were said again.
    pub reinforced: u64,
    /// Memories that became history.
    pub superseded: u64,
    /// The biography was built anew.
    pub biography: bool,
    /// Jobs that failed, to be tried again later.
    pub failed: u64,
    /// What waits still.
    pub jobs: u64,
}

/// A question to the person about a memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MemoryQuestion {
    /// The memory.
    pub memory: Memory,
    /// What it contradicts, where that is why it is asked.
    pub contradicts: Option<Memory>,
    /// The question, in a sentence.
    pub question: String,
}
