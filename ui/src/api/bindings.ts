// Generated from app/api by its tests; do not edit. `HEARTH_WRITE_BINDINGS=1 cargo test -p hearth-api bindings` rewrites it.

/**
 * Parameters of creating an account.
 */
export type AccountCreateParams = { 
/**
 * The server's address, as its operator shows it: `hearth-sync://host:port/#KEY`; none: an account without a server.
 */
server?: string, 
/**
 * The operator's invitation code, where one is needed.
 */
invitation?: string, 
/**
 * What this device is called; the machine's name otherwise.
 */
name?: string, };

/**
 * An account that has just been made.
 */
export type AccountCreated = { 
/**
 * The recovery phrase: 24 words, told this once and kept nowhere.
 */
phrase: string, 
/**
 * How it stands.
 */
status: SyncStatus, };

/**
 * What went wrong. Never contains words of a chat.
 */
export type ApiError = { 
/**
 * What kind of thing went wrong.
 */
code: ErrorCode, 
/**
 * One sentence for people.
 */
message: string, 
/**
 * What to do about it.
 */
hint?: string, 
/**
 * Numbers and names for programs; an object.
 */
details?: JsonValue, };

/**
 * Parameters of [`Approve`].
 */
export type ApproveParams = { 
/**
 * What the other device shows: the typed code, or the text of the QR code.
 */
code: string, };

/**
 * Output of [`Backup`].
 */
export type BackedUp = { 
/**
 * Size of the file.
 */
bytes: number, };

/**
 * Parameters of [`Backup`].
 */
export type BackupParams = { 
/**
 * The file to write; an absolute path where nothing is yet.
 */
path: string, 
/**
 * The backup's passphrase.
 */
passphrase: string, };

/**
 * What is always in context: sentences, each with the memories it was made from.
 */
export type Biography = { 
/**
 * The sentences, in order.
 */
sentences: Array<BiographySentence>, 
/**
 * When it was last built; milliseconds since 1970-01-01 UTC.
 */
built_at_ms: number | null, 
/**
 * It will be built anew in the next idle moment.
 */
stale: boolean, };

/**
 * A sentence of the biography.
 */
export type BiographySentence = { 
/**
 * The sentence.
 */
text: string, 
/**
 * The memories it was made from.
 */
memories: Array<MemoryId>, };

/**
 * Parameters of [`WriteCertificate`].
 */
export type CertificateParams = { 
/**
 * The erasure's identifier.
 */
erasure: string, 
/**
 * The file to write; an absolute path where nothing is yet.
 */
path: string, };

/**
 * Output of [`WriteCertificate`].
 */
export type CertificateWritten = { 
/**
 * Size of the file.
 */
bytes: number, 
/**
 * Nothing is missing; otherwise it is provisional.
 */
complete: boolean, };

/**
 * Parameters of [`ChangePhrase`].
 */
export type ChangePhraseParams = { 
/**
 * The 24 words that are in force.
 */
old: string, 
/**
 * Those that take their place.
 */
new: string, };

/**
 * Parameters of [`ChangeProtection`].
 */
export type ChangeProtectionParams = { 
/**
 * The present passphrase, where there is one.
 */
current_passphrase?: string, 
/**
 * What shall open the profile.
 */
new: NewProtection, };

/**
 * A chat, without its messages.
 */
export type Chat = { 
/**
 * Its identifier.
 */
id: ChatId, 
/**
 * Its name; the beginning of the first message until someone renames it.
 */
title: string, 
/**
 * Instructions to the model for this chat; none means the setting's.
 */
system: string | null, 
/**
 * The model for this chat; none means the setting's.
 */
model: string | null, 
/**
 * The leaf of the branch that is shown.
 */
head: MessageId | null, 
/**
 * Milliseconds since 1970-01-01 UTC.
 */
created_at_ms: number, 
/**
 * Milliseconds since 1970-01-01 UTC.
 */
updated_at_ms: number, 
/**
 * Messages in all branches.
 */
message_count: number, 
/**
 * Kept in memory only, and gone when the engine ends.
 */
incognito: boolean, 
/**
 * Whether it is remembered: memories are drawn from it and put before the model in it.
 */
memory: boolean, };

/**
 * A chat and one of its branches, from the first message to the leaf.
 */
export type ChatDetail = { 
/**
 * The chat.
 */
chat: Chat, 
/**
 * The branch.
 */
messages: Array<Message>, };

/**
 * What happens while an answer is written, in this order; `token` and `reasoning` repeat.
 */
export type ChatEvent = { "type": "loading", 
/**
 * The model.
 */
model: string, 
/**
 * 0 to 1.
 */
fraction: number, } | { "type": "started", 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * The message being answered.
 */
message: MessageId, 
/**
 * The answer.
 */
reply: MessageId, 
/**
 * The model that answers.
 */
model: string, 
/**
 * What the model sees of the chat.
 */
context: ContextReport, 
/**
 * What it sees of what is remembered.
 */
memory: MemoryReport, } | { "type": "queued", 
/**
 * How many requests.
 */
position: number, } | { "type": "prefill", 
/**
 * Tokens read.
 */
done: number, 
/**
 * Tokens in all.
 */
total: number, 
/**
 * Tokens that were in the cache.
 */
reused: number, } | { "type": "reasoning", 
/**
 * The piece.
 */
text: string, } | { "type": "token", 
/**
 * The piece.
 */
text: string, };

/**
 * Names one chat.
 *
 * 128 random bits, written as 32 lowercase hexadecimal digits.
 */
export type ChatId = string;

/**
 * What happens while an answer is written.
 */
export type CompleteEvent = { "type": "loading", 
/**
 * The model.
 */
model: string, 
/**
 * 0 to 1.
 */
fraction: number, } | { "type": "started", 
/**
 * The model that answers.
 */
model: string, 
/**
 * Tokens of the prompt.
 */
prompt_tokens: number, } | { "type": "queued", 
/**
 * How many requests.
 */
position: number, } | { "type": "prefill", 
/**
 * Tokens read.
 */
done: number, 
/**
 * Tokens in all.
 */
total: number, 
/**
 * Tokens that were in the cache.
 */
reused: number, } | { "type": "reasoning", 
/**
 * The piece.
 */
text: string, } | { "type": "token", 
/**
 * The piece.
 */
text: string, };

/**
 * Turns to answer outside any chat.
 */
export type CompleteParams = { 
/**
 * The turns, oldest first; one of them at least is a person's.
 */
messages: Array<Turn>, 
/**
 * The model; absent means the setting's.
 */
model?: string, 
/**
 * How tokens are chosen.
 */
sampling: Sampling, 
/**
 * The form the reply must have.
 */
format: ResponseFormat, 
/**
 * Longest reply in tokens; absent means what is left of the window, or the setting's.
 */
max_tokens?: number, 
/**
 * The reply ends before any of these.
 */
stop: Array<string>, 
/**
 * Let a model that can think do so; default true for text, false for JSON.
 */
reasoning?: boolean, };

/**
 * A finished reply outside any chat.
 */
export type Completion = { 
/**
 * The model that wrote it.
 */
model: string, 
/**
 * The reply.
 */
text: string, 
/**
 * What the model thought before.
 */
reasoning: string | null, 
/**
 * Why it ended.
 */
finish_reason: FinishReason, 
/**
 * Tokens read and written.
 */
usage: Usage, 
/**
 * Where the time went.
 */
timings: Timings, 
/**
 * How the prompt filled the window; nothing is ever left out of a stateless completion.
 */
context: ContextReport, };

/**
 * Parameters of [`Configure`]: an empty text removes the chat's own choice.
 */
export type ConfigureParams = { 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * Instructions to the model.
 */
system?: string, 
/**
 * The model.
 */
model?: string, 
/**
 * Whether it is remembered: off, nothing is drawn from it and nothing put before the model in it.
 */
memory?: boolean, };

/**
 * What fitted the model's window, and what was left out.
 */
export type ContextReport = { 
/**
 * The window in tokens: prompt and reply together.
 */
window: number, 
/**
 * Tokens of it kept free for the reply.
 */
reserved_for_reply: number, 
/**
 * Tokens of the system prompt.
 */
system_tokens: number, 
/**
 * Messages of the chat that the model saw.
 */
kept_turns: number, 
/**
 * Messages of the chat that the model did not see, oldest first.
 */
left_out_turns: Array<MessageId>, 
/**
 * Tokens of those messages.
 */
left_out_tokens: number, 
/**
 * Tokens of the whole prompt, template included.
 */
prompt_tokens: number, };

/**
 * The database.
 */
export type DatabaseStatus = { 
/**
 * What opens it.
 */
protection: ProtectionKind, 
/**
 * Schema version.
 */
schema_version: number, 
/**
 * Size on disk.
 */
size_bytes: number, 
/**
 * Chats.
 */
chats: number, 
/**
 * Messages in all chats.
 */
messages: number, 
/**
 * Chats that are kept in memory only.
 */
incognito_chats: number, };

/**
 * Parameters of [`Delete`].
 */
export type DeleteParams = { 
/**
 * Which chats.
 */
which: Selection, };

/**
 * Output of [`Delete`].
 */
export type Deleted = { 
/**
 * Chats deleted.
 */
chats: number, };

/**
 * A device of the account.
 */
export type DeviceInfo = { 
/**
 * Its identifier: 64 hexadecimal digits.
 */
device: string, 
/**
 * What its owner calls it; empty when it hasn't said yet.
 */
name: string, 
/**
 * It is this one.
 */
this: boolean, 
/**
 * It was shut out.
 */
revoked: boolean, 
/**
 * When it last vouched for its state, by its own clock; milliseconds since 1970-01-01 UTC.
 */
last_seen_ms?: number, 
/**
 * The last time that its state was the same as here.
 */
last_verified_ms?: number, 
/**
 * The newest epoch whose key it has confirmed.
 */
epoch: number, 
/**
 * Erasures that it hasn't confirmed.
 */
open_erasures: number, };

/**
 * Output of [`ListDevices`].
 */
export type DevicesListed = { 
/**
 * The devices.
 */
devices: Array<DeviceInfo>, };

/**
 * Parameters of [`Drill`].
 */
export type DrillParams = { 
/**
 * The 24 words.
 */
phrase: string, };

/**
 * Output of [`Drill`]: the phrase works.
 */
export type Drilled = { 
/**
 * The epoch that it opens.
 */
epoch: number, };

/**
 * A change to a message.
 */
export type EditParams = { 
/**
 * The message.
 */
message: MessageId, 
/**
 * Its new text.
 */
text: string, 
/**
 * Choices for the answer, where there is one.
 */
options?: TurnOptions, };

/**
 * What an edit made.
 */
export type Edited = { 
/**
 * The new message.
 */
message: Message, 
/**
 * Its answer, when it was a person's.
 */
reply: Message | null, };

/**
 * Texts to turn into vectors.
 */
export type EmbedParams = { 
/**
 * The texts, at most 2,048.
 */
input: Array<string>, 
/**
 * The model; absent means the setting's.
 */
model?: string, };

/**
 * Texts as vectors.
 */
export type Embeddings = { 
/**
 * The model that made them.
 */
model: string, 
/**
 * Length of each vector.
 */
dimensions: number, 
/**
 * One vector of length 1 per input, in the same order.
 */
vectors: Array<Array<number>>, 
/**
 * Tokens read, all inputs together.
 */
tokens: number, };

/**
 * The parameters, or the output, of methods that have none.
 */
export type Empty = Record<string, never>;

/**
 * Something changed that a face may want to show.
 */
export type EngineEvent = { "type": "chats_changed", 
/**
 * The chat.
 */
chat: ChatId | null, } | { "type": "memory_changed", 
/**
 * The memory.
 */
memory: MemoryId | null, } | { "type": "models_changed" } | { "type": "model_loading", 
/**
 * The model.
 */
model: string, 
/**
 * 0 to 1.
 */
fraction: number, } | { "type": "settings_changed" } | { "type": "sync_state_changed", 
/**
 * How far it is now.
 */
state: SyncState, } | { "type": "sync_findings" } | { "type": "sync_applied", 
/**
 * Memories that are new, changed or gone.
 */
memories: number, 
/**
 * Chats that are.
 */
chats: number, } | { "type": "devices_changed" } | { "type": "erasures_changed" } | { "type": "stopping" } | { "type": "missed", 
/**
 * How many.
 */
count: number, };

/**
 * A chat that may be erased.
 */
export type EraseChat = { 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * Its name.
 */
title: string, 
/**
 * Its messages, on all branches.
 */
messages: number, 
/**
 * It goes unless the person says otherwise.
 */
ticked: boolean, };

/**
 * What erasing everywhere tells.
 */
export type EraseEverywhereEvent = { "type": "undo", 
/**
 * How long; seconds.
 */
seconds: number, } | { "type": "ordered" };

/**
 * Parameters of [`EraseEverywhere`].
 */
export type EraseEverywhereParams = { 
/**
 * What; `confirm` must be true.
 */
erase: EraseParams, };

/**
 * A memory that may be erased.
 */
export type EraseMemory = { 
/**
 * The memory.
 */
memory: Memory, 
/**
 * Why it is among them.
 */
why: EraseReason, 
/**
 * It goes unless the person says otherwise.
 */
ticked: boolean, };

/**
 * What to erase, and which parts of its preview to leave or take.
 */
export type EraseParams = { 
/**
 * What.
 */
scope: EraseScope, 
/**
 * Memories of the preview to keep; older versions that are kept go to review.
 */
keep_memories?: Array<MemoryId>, 
/**
 * Turns of the preview to keep.
 */
keep_turns?: Array<MessageId>, 
/**
 * Chats of the preview to keep.
 */
keep_chats?: Array<ChatId>, 
/**
 * Memories of the preview to take that it did not tick.
 */
take_memories?: Array<MemoryId>, 
/**
 * What the person was shown. When anything else would go now, as something came in meanwhile, nothing is erased and
 * that is an error. Left out, what is found now goes.
 */
seen?: EraseSeen, 
/**
 * Must be true: what is erased can't be brought back.
 */
confirm?: boolean, };

/**
 * What would be erased, part by part.
 */
export type ErasePreview = { 
/**
 * Memories, those that were asked for first.
 */
memories: Array<EraseMemory>, 
/**
 * Turns, by chat and time.
 */
turns: Array<EraseTurn>, 
/**
 * Whole chats.
 */
chats: Array<EraseChat>, 
/**
 * Memories that come from what goes and from elsewhere too: they stay.
 */
spared: Array<MemoryId>, 
/**
 * Sentences of the biography that go at once.
 */
biography_sentences: number, };

/**
 * Why something is among what would be erased.
 */
export type EraseReason = "asked" | "duplicate" | "older" | "source" | "answer";

/**
 * What was erased: counts and identifiers alone.
 */
export type EraseReceipt = { 
/**
 * The erasure.
 */
erasure: ErasureId, 
/**
 * When, milliseconds since 1970-01-01 UTC.
 */
erased_at_ms: number, 
/**
 * Memories.
 */
memories: number, 
/**
 * Turns that were emptied.
 */
turns: number, 
/**
 * Chats.
 */
chats: number, 
/**
 * Their messages.
 */
messages: number, 
/**
 * Titles that said it.
 */
titles: number, 
/**
 * Entries of the indexes of words.
 */
text_entries: number, 
/**
 * Vectors.
 */
vectors: number, 
/**
 * Sentences of the biography.
 */
biography_sentences: number, 
/**
 * Pieces of work that were to be done on it.
 */
jobs: number, 
/**
 * Older versions that were kept, to be confirmed now.
 */
to_review: Array<MemoryId>, 
/**
 * An independent count of what is left agrees.
 */
recounted: boolean, 
/**
 * The database's log was emptied, too; otherwise another program reads the database, and the engine's end or next
 * start empties it.
 */
log_emptied: boolean, };

/**
 * A receipt with the identifiers of what went, which name nothing any more.
 */
export type EraseReceiptDetail = { 
/**
 * The receipt.
 */
receipt: EraseReceipt, 
/**
 * The memories.
 */
erased_memories: Array<MemoryId>, 
/**
 * The turns that were emptied.
 */
erased_turns: Array<MessageId>, 
/**
 * The chats.
 */
erased_chats: Array<ChatId>, };

/**
 * Receipts of erasures, the latest first.
 */
export type EraseReceipts = { 
/**
 * These.
 */
receipts: Array<EraseReceipt>, 
/**
 * How many there are in all.
 */
total: number, };

/**
 * Which receipts to list.
 */
export type EraseReceiptsParams = { 
/**
 * At most so many, 1 to 1,000; default 1,000.
 */
limit?: number, 
/**
 * Leaves out so many, the latest.
 */
offset?: number, };

/**
 * What to erase.
 */
export type EraseScope = { "what": "items", 
/**
 * The memories.
 */
memories?: Array<MemoryId>, 
/**
 * Turns.
 */
turns?: Array<MessageId>, } | { "what": "chats", 
/**
 * The chats.
 */
chats: Array<ChatId>, } | { "what": "topic", 
/**
 * The topic.
 */
topic: string, } | { "what": "all" };

/**
 * The parts of a preview, by identifiers alone.
 */
export type EraseSeen = { 
/**
 * Memories.
 */
memories?: Array<MemoryId>, 
/**
 * Turns.
 */
turns?: Array<MessageId>, 
/**
 * Chats.
 */
chats?: Array<ChatId>, };

/**
 * A turn that may be erased: the message stays in its place, empty.
 */
export type EraseTurn = { 
/**
 * The message.
 */
message: MessageId, 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * That chat's name.
 */
chat_title: string, 
/**
 * Who said it.
 */
role: Role, 
/**
 * What was said.
 */
text: string, 
/**
 * When, milliseconds since 1970-01-01 UTC.
 */
at_ms: number, 
/**
 * Why it is among them.
 */
why: EraseReason, 
/**
 * Memories that stay and lose it as their source.
 */
also_source_of: Array<MemoryId>, 
/**
 * It goes unless the person says otherwise.
 */
ticked: boolean, };

/**
 * What erasing everywhere did.
 */
export type ErasedEverywhere = { 
/**
 * What was erased here.
 */
receipt: EraseReceipt, 
/**
 * The orders to the other devices.
 */
erasures: Array<ErasureInfo>, };

/**
 * Names one erasure.
 *
 * 128 random bits, written as 32 lowercase hexadecimal digits.
 */
export type ErasureId = string;

/**
 * An erasure on every device.
 */
export type ErasureInfo = { 
/**
 * Its identifier: 64 hexadecimal digits.
 */
erasure: string, 
/**
 * The erasure that it follows from.
 */
because?: string, 
/**
 * When it was ordered, by its author's clock; milliseconds since 1970-01-01 UTC.
 */
at_ms: number, 
/**
 * Gone from this device.
 */
done_here: boolean, 
/**
 * Devices that have confirmed.
 */
confirmed: Array<string>, 
/**
 * Devices that haven't.
 */
waits_for_devices: Array<string>, 
/**
 * The keys haven't been changed since: they are within a day, or at once with `devices.rotate`.
 */
waits_for_new_keys: boolean, 
/**
 * Devices that may still have the old keys.
 */
waits_for_keys_of: Array<string>, 
/**
 * Receipts of servers.
 */
receipts: number, 
/**
 * Servers without one.
 */
waits_for_servers: number, 
/**
 * Nothing is missing.
 */
complete: boolean, 
/**
 * It isn't complete after 30 days.
 */
overdue: boolean, };

/**
 * Output of [`ListErasures`].
 */
export type ErasuresListed = { 
/**
 * The erasures.
 */
erasures: Array<ErasureInfo>, };

/**
 * Stable names of what can go wrong.
 */
export type ErrorCode = "invalid_request" | "unknown_method" | "too_large" | "not_found" | "locked" | "wrong_key" | "profile_in_use" | "newer_schema" | "corrupt" | "model_missing" | "model_does_not_fit" | "model_invalid" | "context_too_large" | "busy" | "no_space" | "network" | "hash_mismatch" | "cancelled" | "unsupported" | "io" | "disconnected" | "internal";

/**
 * A piece of an export.
 */
export type ExportEvent = { 
/**
 * The piece.
 */
chunk: string, };

/**
 * Parameters of [`Export`].
 */
export type ExportParams = { 
/**
 * Which chats.
 */
which: Selection, };

/**
 * Output of [`Export`].
 */
export type Exported = { 
/**
 * Bytes written, all pieces together.
 */
bytes: number, };

/**
 * Parameters of looking what a phrase opens.
 */
export type FindParams = { 
/**
 * The account's server: `hearth-sync://host:port/#KEY`.
 */
server: string, 
/**
 * The 24 words.
 */
phrase: string, };

/**
 * How sure it is.
 */
export type FindingKind = "proof" | "suspicion" | "damage";

/**
 * Why a reply ended.
 */
export type FinishReason = "stop" | "length" | "cancelled";

/**
 * What "forget …" was found to mean, waiting for the person's word.
 */
export type ForgetOffer = { 
/**
 * The memories.
 */
memories: Array<MemoryId>, 
/**
 * Turns that say it without a memory.
 */
turns: Array<MessageId>, };

/**
 * Output of [`Search`].
 */
export type Found = { 
/**
 * The matching messages.
 */
hits: Array<SearchHit>, };

/**
 * What a phrase opens.
 */
export type FoundAccount = { 
/**
 * The account: 64 hexadecimal digits.
 */
account: string, 
/**
 * When its newest entry was made, by its author's clock; milliseconds since 1970-01-01 UTC. Whether there is a newer one
 * that the server hides can't be verified: a time older than the person remembers is a warning.
 */
head_at_ms: number, 
/**
 * Its devices that aren't shut out.
 */
devices: Array<string>, };

/**
 * The form of an imported file.
 */
export type ImportFormat = "auto" | "hearth" | "chatgpt" | "lines";

/**
 * Parameters of [`Import`].
 */
export type ImportParams = { 
/**
 * Where.
 */
source: ImportSource, 
/**
 * What.
 */
format?: ImportFormat, 
/**
 * Draw memories from them in idle moments; default false: they are only found by recall.
 */
remember?: boolean, };

/**
 * Where imported chats are.
 */
export type ImportSource = { "from": "file", 
/**
 * Its path.
 */
path: string, } | { "from": "text", 
/**
 * The file's content.
 */
text: string, };

/**
 * Output of [`Import`].
 */
export type Imported = { 
/**
 * Chats that are new.
 */
chats: number, 
/**
 * Messages that are new.
 */
messages: number, 
/**
 * Chats that were already here.
 */
skipped_chats: number, 
/**
 * What could not be read, one sentence each, without words of a chat.
 */
warnings: Array<string>, };

export type JsonValue = number | string | boolean | Array<JsonValue> | { [key in string]: JsonValue } | null;

/**
 * Where the time of recent replies went; zeros before the first.
 */
export type LatencyReport = { 
/**
 * Replies counted, at most the latest 512.
 */
replies: number, 
/**
 * Waiting for a turn, milliseconds.
 */
queue_ms: Percentiles, 
/**
 * Request to first token, milliseconds.
 */
first_token_ms: Percentiles, 
/**
 * Prompt tokens read per second, reused ones not counted.
 */
prefill_tokens_per_second: Percentiles, 
/**
 * Tokens written per second.
 */
decode_tokens_per_second: Percentiles, };

/**
 * Parameters of [`List`].
 */
export type ListParams = { 
/**
 * At most so many, at most and by default 1,000.
 */
limit?: number, 
/**
 * Leave out so many.
 */
offset?: number, };

/**
 * Output of [`List`].
 */
export type Listed = { 
/**
 * The chats.
 */
chats: Array<Chat>, };

/**
 * A model in memory.
 */
export type LoadedModel = { 
/**
 * Its identifier.
 */
id: string, 
/**
 * What it is for.
 */
task: ModelTask, 
/**
 * `cpu`, `cuda` or `metal`, with the device's name where known.
 */
device: string, 
/**
 * Memory it takes: weights, caches and scratch.
 */
memory_bytes: number, 
/**
 * Its window in tokens.
 */
context_length: number, 
/**
 * Requests being served or waiting.
 */
queue_length: number, };

/**
 * The machine.
 */
export type MachineStatus = { 
/**
 * Logical processors.
 */
processors: number, 
/**
 * All memory.
 */
memory_bytes: number, 
/**
 * Memory not in use.
 */
free_memory_bytes: number, 
/**
 * Most that models may take; absent where the machine does not tell how much it has.
 */
memory_limit_bytes?: number, 
/**
 * Model profile in force.
 */
profile: ModelProfile, 
/**
 * Whether the person chose it rather than the machine's memory.
 */
profile_overridden: boolean, };

/**
 * One memory.
 */
export type Memory = { 
/**
 * Its identifier.
 */
id: MemoryId, 
/**
 * One short fact.
 */
text: string, 
/**
 * What it is about.
 */
kind: MemoryKind, 
/**
 * 0 to 1; 1 when the person wrote or confirmed it.
 */
confidence: number, 
/**
 * A special category of personal data (GDPR article 9).
 */
sensitive: boolean, 
/**
 * Since when it holds, where known; milliseconds since 1970-01-01 UTC, as all times here.
 */
valid_from_ms: number | null, 
/**
 * Until when it held, where known.
 */
valid_to_ms: number | null, 
/**
 * When it was first kept.
 */
created_at_ms: number, 
/**
 * When it last changed, or was said again.
 */
updated_at_ms: number, 
/**
 * Whether it is held to be true.
 */
status: MemoryStatus, 
/**
 * Who says so.
 */
origin: MemoryOrigin, 
/**
 * How often it stood before the model.
 */
use_count: number, 
/**
 * When that was last.
 */
last_used_at_ms: number | null, 
/**
 * Kept whatever happens, and never fading.
 */
pinned: boolean, 
/**
 * Where it was said.
 */
sources: Array<MemorySource>, };

/**
 * A memory with its history.
 */
export type MemoryDetail = { 
/**
 * The memory.
 */
memory: Memory, 
/**
 * What it took the place of, latest first.
 */
earlier: Array<Memory>, 
/**
 * What took its place, nearest first.
 */
later: Array<Memory>, };

/**
 * A memory that the person writes.
 */
export type MemoryDraft = { 
/**
 * One short fact, at most 16 KiB.
 */
text: string, 
/**
 * What it is about; absent means: told from its words.
 */
kind?: MemoryKind, 
/**
 * A special category of personal data; absent means: told from its words.
 */
sensitive?: boolean, 
/**
 * Since when it holds.
 */
valid_from_ms?: number, 
/**
 * Until when it held.
 */
valid_to_ms?: number, 
/**
 * Keep it whatever happens.
 */
pinned: boolean, };

/**
 * A correction by the person: what is absent stays. A new text makes a new memory, stated and certain, and the old one
 * history.
 */
export type MemoryEdit = { 
/**
 * The memory.
 */
memory: MemoryId, 
/**
 * What is right.
 */
text?: string, 
/**
 * What it is about.
 */
kind?: MemoryKind, 
/**
 * A special category of personal data.
 */
sensitive?: boolean, 
/**
 * Since when it holds.
 */
valid_from_ms?: number, 
/**
 * Until when it held.
 */
valid_to_ms?: number, 
/**
 * It has no end, whatever was noted before.
 */
endless?: boolean, };

/**
 * Parameters of [`PreviewErase`].
 */
export type MemoryErasePreviewParams = { 
/**
 * What would be erased.
 */
scope: EraseScope, 
/**
 * Memories of the preview to take that it does not tick by itself, with what comes along.
 */
take_memories?: Array<MemoryId>, };

/**
 * Names one memory.
 *
 * 128 random bits, written as 32 lowercase hexadecimal digits.
 */
export type MemoryId = string;

/**
 * The form of imported memories.
 */
export type MemoryImportFormat = "auto" | "hearth" | "facts";

/**
 * Parameters of [`Import`].
 */
export type MemoryImportParams = { 
/**
 * Where.
 */
source: ImportSource, 
/**
 * What.
 */
format?: MemoryImportFormat, };

/**
 * What an import of memories did.
 */
export type MemoryImported = { 
/**
 * Memories that are new.
 */
added: number, 
/**
 * Memories that were here already.
 */
known: number, 
/**
 * Memories left out because they were erased here once.
 */
erased: number, };

/**
 * What became of a memory that was told.
 */
export type MemoryKept = { 
/**
 * The memory; one that was there already, where it says the same.
 */
memory: Memory, 
/**
 * It was there already.
 */
known: boolean, 
/**
 * What it took the place of; kept as history.
 */
superseded: Array<MemoryId>, 
/**
 * What it contradicts and did not override: the person should say which is right.
 */
contradicts: Array<MemoryId>, 
/**
 * Memory is paused; this was kept all the same, as the person asked for it outright.
 */
paused: boolean, };

/**
 * What a memory is about; it decides how contradictions are resolved and how fast it fades.
 */
export type MemoryKind = "constraint" | "biography" | "preference" | "event" | "context";

/**
 * How many memories there are of one kind.
 */
export type MemoryKindCount = { 
/**
 * The kind.
 */
kind: MemoryKind, 
/**
 * How many.
 */
count: number, };

/**
 * Which memories to list, newest first. What is absent does not narrow.
 */
export type MemoryListParams = { 
/**
 * Of this kind.
 */
kind?: MemoryKind, 
/**
 * With this status.
 */
state?: MemoryState, 
/**
 * With these letters in its text, whatever their case.
 */
text?: string, 
/**
 * Said in this chat.
 */
chat?: ChatId, 
/**
 * Sensitive ones only, or the others only.
 */
sensitive?: boolean, 
/**
 * Pinned ones only, or the others only.
 */
pinned?: boolean, 
/**
 * At most so many, 1 to 1,000; default 1,000.
 */
limit?: number, 
/**
 * Leave out so many.
 */
offset?: number, };

/**
 * Memories, and how many there are.
 */
export type MemoryListed = { 
/**
 * The memories.
 */
memories: Array<Memory>, 
/**
 * How many there are, the limit aside.
 */
total: number, };

/**
 * Who says so.
 */
export type MemoryOrigin = "stated" | "extracted" | "imported";

/**
 * Parameters that name a memory.
 */
export type MemoryParams = { 
/**
 * The memory.
 */
memory: MemoryId, };

/**
 * Parameters of [`Pin`].
 */
export type MemoryPinParams = { 
/**
 * The memory.
 */
memory: MemoryId, 
/**
 * False lets it loose.
 */
pinned?: boolean, };

/**
 * A question to the person about a memory.
 */
export type MemoryQuestion = { 
/**
 * The memory.
 */
memory: Memory, 
/**
 * What it contradicts, where that is why it is asked.
 */
contradicts: Memory | null, 
/**
 * The question, in a sentence.
 */
question: string, };

/**
 * Parameters of [`Receipt`].
 */
export type MemoryReceiptParams = { 
/**
 * The erasure.
 */
erasure: ErasureId, };

/**
 * What stood before the model of what is remembered, by identifiers alone: what is erased leaves no words here.
 */
export type MemoryReport = { 
/**
 * Memories that stood with the question, best first.
 */
recalled: Array<MemoryId>, 
/**
 * Memories that the biography was made from, where it stood in the instructions.
 */
biography: Array<MemoryId>, 
/**
 * Tokens of both.
 */
tokens: number, 
/**
 * Memories that were kept because the person said so in this turn.
 */
kept: Array<MemoryId>, 
/**
 * What is to be erased once the person says so: "forget my dog" was answered.
 */
forget?: ForgetOffer, };

/**
 * Parameters of [`Review`].
 */
export type MemoryReviewParams = { 
/**
 * Whatever was asked lately.
 */
now?: boolean, };

/**
 * Output of [`Review`].
 */
export type MemoryReviewed = { 
/**
 * The question; none when there is nothing to ask now.
 */
question: MemoryQuestion | null, };

/**
 * Parameters of [`Search`].
 */
export type MemorySearchParams = { 
/**
 * What to look for.
 */
text: string, 
/**
 * At most so many, 1 to 1,000; default 10.
 */
limit?: number, };

/**
 * A turn that a memory was drawn from.
 */
export type MemorySource = { 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * That chat's name; none when it is not here.
 */
chat_title: string | null, 
/**
 * The message.
 */
message: MessageId, 
/**
 * When it was said, milliseconds since 1970-01-01 UTC; none when the message is not here.
 */
at_ms: number | null, };

/**
 * A status without its details, to choose by.
 */
export type MemoryState = "active" | "superseded" | "review";

/**
 * How much is remembered, and how far the work on it is.
 */
export type MemoryStats = { 
/**
 * Nothing is drawn from chats nor put before a model.
 */
paused: boolean, 
/**
 * Memories.
 */
memories: number, 
/**
 * Held to be true.
 */
active: number, 
/**
 * Kept as history.
 */
superseded: number, 
/**
 * Waiting for the person's word.
 */
review: number, 
/**
 * Sensitive ones.
 */
sensitive: number, 
/**
 * Pinned ones.
 */
pinned: number, 
/**
 * By kind.
 */
kinds: Array<MemoryKindCount>, 
/**
 * Turns of chats that recall looks through.
 */
turns: number, 
/**
 * The model that embeds; none when none is here, so that recall compares words alone.
 */
embedding_model: string | null, 
/**
 * Memories and turns that wait for their vector.
 */
not_embedded: number, 
/**
 * Memories are drawn from chats in idle moments.
 */
extraction: boolean, 
/**
 * The model that judges what of a chat is worth keeping; none where rules alone decide, as for a model that is too
 * small for it.
 */
extraction_model: string | null, 
/**
 * Pieces of work that wait for an idle moment.
 */
jobs: number, 
/**
 * Sentences of the biography.
 */
biography_sentences: number, };

/**
 * Whether a memory is held to be true.
 */
export type MemoryStatus = { "state": "active" } | { "state": "superseded", 
/**
 * What took its place, if that is still there.
 */
by: MemoryId | null, } | { "state": "review" };

/**
 * What idle work did.
 */
export type MemoryWorked = { 
/**
 * Memories and turns that got a vector.
 */
embedded: number, 
/**
 * Chats from which memories were drawn.
 */
mined: number, 
/**
 * Memories that are new.
 */
added: number, 
/**
 * Memories that were said again.
 */
reinforced: number, 
/**
 * Memories that became history.
 */
superseded: number, 
/**
 * The biography was built anew.
 */
biography: boolean, 
/**
 * Jobs that failed, to be tried again later.
 */
failed: number, 
/**
 * What waits still.
 */
jobs: number, };

/**
 * One message, with what a face needs to show its place in the tree of branches.
 */
export type Message = { 
/**
 * Its identifier.
 */
id: MessageId, 
/**
 * The chat it belongs to.
 */
chat: ChatId, 
/**
 * The message it follows; none for a chat's first.
 */
parent: MessageId | null, 
/**
 * Who said it.
 */
role: Role, 
/**
 * What was said, as Markdown.
 */
text: string, 
/**
 * What the model thought before it answered, where it has such blocks.
 */
reasoning: string | null, 
/**
 * How far it is.
 */
status: MessageStatus, 
/**
 * When it was made, milliseconds since 1970-01-01 UTC.
 */
created_at_ms: number, 
/**
 * How a reply came to be; none for what a person wrote and for imported messages.
 */
metadata: ReplyMetadata | null, 
/**
 * All messages with the same parent, itself included, oldest first: the branches at this point.
 */
siblings: Array<MessageId>, };

/**
 * Names one message of a chat.
 *
 * 128 random bits, written as 32 lowercase hexadecimal digits.
 */
export type MessageId = string;

/**
 * How far a message is.
 */
export type MessageStatus = "streaming" | "complete" | "stopped" | "interrupted" | "failed";

/**
 * Parameters of [`Import`].
 */
export type ModelImportParams = { 
/**
 * The file; an absolute path. The model's identifier is made from its name.
 */
path: string, };

/**
 * Parameters that name a model.
 */
export type ModelParams = { 
/**
 * The model.
 */
model: string, };

/**
 * Which size of models suits the machine.
 */
export type ModelProfile = "small" | "standard" | "large";

/**
 * Whether a model's files are here.
 */
export type ModelState = { "state": "absent" } | { "state": "partial", 
/**
 * Bytes that are here.
 */
done_bytes: number, } | { "state": "unverified" } | { "state": "ready" } | { "state": "damaged" };

/**
 * One model of the catalogue, or an imported one.
 */
export type ModelSummary = { 
/**
 * Its identifier, also the name of its folder.
 */
id: string, 
/**
 * Its name for people.
 */
name: string, 
/**
 * What it is for.
 */
task: ModelTask, 
/**
 * Architecture as the file names it, such as `llama`.
 */
architecture: string, 
/**
 * All files together.
 */
size_bytes: number, 
/**
 * Estimated memory when loaded with the default window.
 */
memory_bytes: number, 
/**
 * Tokens it was trained for; none for models without a window.
 */
context_length: number | null, 
/**
 * SPDX expression or the licence's name.
 */
license: string, 
/**
 * Whether its files are here.
 */
state: ModelState, 
/**
 * Whether it is in memory.
 */
loaded: boolean, 
/**
 * Whether it is the one used when none is named.
 */
default: boolean, 
/**
 * Whether this machine's memory suffices.
 */
fits: boolean, 
/**
 * Brought in by the person rather than listed in the catalogue.
 */
imported: boolean, 
/**
 * The profile that proposes it: `small`, `standard` or `large`.
 */
profile: string | null, };

/**
 * What a model is for.
 */
export type ModelTask = "chat" | "embedding" | "voice_activity" | "speech" | "other";

/**
 * Output of [`List`].
 */
export type ModelsListed = { 
/**
 * The models.
 */
models: Array<ModelSummary>, };

/**
 * Parameters of moving the account.
 */
export type MoveParams = { 
/**
 * The new server's address: `hearth-sync://host:port/#KEY`.
 */
server: string, 
/**
 * Its operator's invitation code, where one is needed.
 */
invitation?: string, };

/**
 * A new way to open a profile.
 */
export type NewProtection = { "kind": "keychain" } | { "kind": "passphrase", 
/**
 * The passphrase.
 */
passphrase: string, } | { "kind": "key_file", 
/**
 * The file.
 */
path: string, };

/**
 * The event of methods that tell nothing while they run.
 */
export type NoEvent = never;

/**
 * A person's answer to a running pairing.
 */
export type PairAnswer = { 
/**
 * Whether both devices show the same digits.
 */
same?: boolean, 
/**
 * Which digits are meant: an answer to others is passed over.
 */
digits?: string, 
/**
 * The code, typed again.
 */
code?: string, };

/**
 * What a running pairing tells.
 */
export type PairEvent = { "type": "code", 
/**
 * To be typed.
 */
typed: string, 
/**
 * To be scanned, as text.
 */
scan: string, 
/**
 * The same as a QR code of half blocks, for a terminal that is light on dark.
 */
qr: string, 
/**
 * The same as an SVG image, one unit a module.
 */
svg: string, 
/**
 * When it ends; milliseconds since 1970-01-01 UTC.
 */
expires_at_ms: number, } | { "type": "compare", 
/**
 * The digits.
 */
digits: string, } | { "type": "try_failed", 
/**
 * Tries left.
 */
left: number, } | { "type": "waiting" };

/**
 * Parameters of a new device's side of a pairing.
 */
export type PairParams = { 
/**
 * The account's server, as `account.status` of the other device shows it: `hearth-sync://host:port/#KEY`; none: the
 * account has none, and the other device is on the same local network.
 */
server?: string, 
/**
 * What this device is called; the machine's name otherwise.
 */
name?: string, };

/**
 * Percentiles over recent replies.
 */
export type Percentiles = { 
/**
 * Half are at or below.
 */
p50: number, 
/**
 * 95 % are at or below.
 */
p95: number, 
/**
 * 99 % are at or below.
 */
p99: number, };

/**
 * Output of [`ProposePhrase`].
 */
export type ProposedPhrase = { 
/**
 * The 24 words.
 */
phrase: string, };

/**
 * What opens a profile.
 */
export type ProtectionKind = "keychain" | "passphrase" | "key_file";

/**
 * Parameters of [`Pull`].
 */
export type PullParams = { 
/**
 * The models; empty means those that the machine's profile proposes.
 */
models: Array<string>, };

/**
 * What a download or a check is doing.
 */
export type PullPhase = "preparing" | "downloading" | "verifying";

/**
 * How far a download or a check is.
 */
export type PullProgress = { 
/**
 * The model.
 */
model: string, 
/**
 * What is being done.
 */
phase: PullPhase, 
/**
 * The file being worked on.
 */
file: string | null, 
/**
 * Bytes done, all files together.
 */
done_bytes: number, 
/**
 * Bytes in all.
 */
total_bytes: number, 
/**
 * Current rate; none before it is known.
 */
bytes_per_second: number | null, 
/**
 * Estimate; none before it is known.
 */
seconds_left: number | null, 
/**
 * Where the bytes come from: a host or a registry, never a full address.
 */
source: string | null, 
/**
 * Something a person may want to know: a source that failed, another try.
 */
note: string | null, };

/**
 * Output of [`Pull`].
 */
export type Pulled = { 
/**
 * The models, now ready.
 */
models: Array<ModelSummary>, };

/**
 * One memory or turn that recall found.
 */
export type RecallHit = { "source": "memory", 
/**
 * Higher is better; comparable within one question only.
 */
score: number, 
/**
 * The memory.
 */
memory: Memory, } | { "source": "turn", 
/**
 * Higher is better; comparable within one question only.
 */
score: number, 
/**
 * The turn.
 */
turn: RecalledTurn, };

/**
 * What recall looks through.
 */
export type RecallOver = "facts" | "turns" | "all";

/**
 * A question to what is remembered.
 */
export type RecallParams = { 
/**
 * The question; not empty.
 */
query: string, 
/**
 * What was said before it, oldest first; the last three count.
 */
previous: Array<string>, 
/**
 * What to look through.
 */
over: RecallOver, 
/**
 * At most so many, 1 to 1,000; default 10.
 */
limit?: number, 
/**
 * Only in these chats, and in what was drawn from them.
 */
chats?: Array<ChatId>, 
/**
 * The time at which it is asked, for `last spring` and the like; absent means now.
 */
now_ms?: number, };

/**
 * What was found.
 */
export type Recalled = { 
/**
 * The best first.
 */
hits: Array<RecallHit>, 
/**
 * The model that compared meanings; none where words alone were compared, as no model that embeds is here or
 * nothing has been embedded by it yet.
 */
embedding_model: string | null, };

/**
 * A turn of a chat that recall found.
 */
export type RecalledTurn = { 
/**
 * The message.
 */
message: MessageId, 
/**
 * What an imported file called it.
 */
name: string | null, 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * That chat's title; what an imported file called it.
 */
chat_title: string, 
/**
 * Who said it.
 */
role: Role, 
/**
 * Who said it, by name, where that is known.
 */
speaker: string | null, 
/**
 * When, milliseconds since 1970-01-01 UTC.
 */
at_ms: number, 
/**
 * What was said.
 */
text: string, };

/**
 * Parameters of getting an account back.
 */
export type RecoverParams = { 
/**
 * The account's server: `hearth-sync://host:port/#KEY`.
 */
server: string, 
/**
 * The 24 words.
 */
phrase: string, 
/**
 * Whether the other devices stay. Those that don't are shut out: for when they were lost.
 */
keep_devices: boolean, 
/**
 * What this device is called; the machine's name otherwise.
 */
name?: string, };

/**
 * An account that was got back.
 */
export type Recovered = { 
/**
 * How it stands.
 */
status: SyncStatus, 
/**
 * When its newest entry was made, by its author's clock; milliseconds since 1970-01-01 UTC. Whether there is a newer one
 * that the server hides can't be verified: a time older than the person remembers is a warning.
 */
head_at_ms: number, };

/**
 * An answer to write anew.
 */
export type RegenerateParams = { 
/**
 * The reply to write anew, or the person's message to answer again.
 */
message: MessageId, 
/**
 * Choices for the answer.
 */
options?: TurnOptions, };

/**
 * Parameters of [`RenameDevice`].
 */
export type RenameDeviceParams = { 
/**
 * Its identifier, the beginning of it, or its name.
 */
device: string, 
/**
 * Its new name.
 */
name: string, };

/**
 * Parameters of [`Rename`].
 */
export type RenameParams = { 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * Its new name.
 */
title: string, };

/**
 * Output of [`Send`] and [`Regenerate`].
 */
export type Reply = { 
/**
 * The finished answer.
 */
message: Message, };

/**
 * How a reply came to be.
 */
export type ReplyMetadata = { 
/**
 * The model that wrote it.
 */
model: string, 
/**
 * Why it ended; none while it is being written or when it failed.
 */
finish_reason: FinishReason | null, 
/**
 * Tokens read and written.
 */
usage: Usage, 
/**
 * Where the time went.
 */
timings: Timings, 
/**
 * What the model saw of the chat, and what it did not.
 */
context: ContextReport, 
/**
 * The error that ended it, as a stable code.
 */
error: string | null, 
/**
 * What it drew on of what is remembered, by identifiers alone.
 */
memory: MemoryReport, };

/**
 * The form the reply must have.
 */
export type ResponseFormat = { "type": "text" } | { "type": "json_object" } | { "type": "json_schema", 
/**
 * The schema.
 */
schema: JsonValue, };

/**
 * Parameters of [`Restore`].
 */
export type RestoreParams = { 
/**
 * The backup; an absolute path.
 */
path: string, 
/**
 * Its passphrase.
 */
passphrase: string, 
/**
 * Must be true when the profile has chats: they will be gone.
 */
replace?: boolean, };

/**
 * Parameters of [`RevokeDevice`].
 */
export type RevokeDeviceParams = { 
/**
 * Its identifier, the beginning of it, or its name.
 */
device: string, 
/**
 * It was lost or stolen, not put away.
 */
lost?: boolean, };

/**
 * Who said something.
 */
export type Role = "system" | "user" | "assistant" | "tool";

/**
 * How tokens are chosen. What is absent comes from the settings, then from the engine's defaults.
 */
export type Sampling = { 
/**
 * 0 always takes the likeliest token; 0 to 2.
 */
temperature?: number, 
/**
 * Only the k likeliest tokens; 0 is off.
 */
top_k?: number, 
/**
 * Only the likeliest tokens that together reach this probability; 1 is off.
 */
top_p?: number, 
/**
 * Only tokens at least this likely relative to the likeliest; 0 is off.
 */
min_p?: number, 
/**
 * Divides the logits of recent tokens; 1 is off.
 */
repetition_penalty?: number, 
/**
 * How many recent tokens the penalty looks at.
 */
repetition_window?: number, 
/**
 * The same seed, model and prompt give the same text; absent means random.
 */
seed?: number, };

/**
 * A message that matches a search.
 */
export type SearchHit = { 
/**
 * The chat it is in.
 */
chat: ChatId, 
/**
 * That chat's name.
 */
chat_title: string, 
/**
 * The message.
 */
message: MessageId, 
/**
 * Who said it.
 */
role: Role, 
/**
 * The words around the match, matches between `«` and `»`.
 */
snippet: string, 
/**
 * Higher is better; comparable within one search only.
 */
score: number, 
/**
 * Milliseconds since 1970-01-01 UTC.
 */
created_at_ms: number, };

/**
 * Parameters of [`Search`].
 */
export type SearchParams = { 
/**
 * Words; all must occur, the last may be the beginning of one.
 */
text: string, 
/**
 * At most so many; default 20.
 */
limit?: number, 
/**
 * Only in this chat.
 */
chat?: ChatId, };

/**
 * Which chats.
 */
export type Selection = { "select": "all" } | { "select": "chats", 
/**
 * The chats.
 */
chats: Array<ChatId>, };

/**
 * Something to say in a chat.
 */
export type SendParams = { 
/**
 * The chat; absent begins one.
 */
chat?: ChatId, 
/**
 * The message this follows; absent means the end of the shown branch.
 */
parent?: MessageId, 
/**
 * What is said.
 */
text: string, 
/**
 * Instructions to the model, for a new chat only.
 */
system?: string, 
/**
 * The model of the chat, for a new chat only.
 */
model?: string, 
/**
 * Choices for this answer.
 */
options: TurnOptions, 
/**
 * Keep the new chat in memory only.
 */
incognito: boolean, 
/**
 * Whether the new chat is remembered; default true. Never for incognito ones.
 */
memory?: boolean, };

/**
 * Parameters of [`SetHead`].
 */
export type SetHeadParams = { 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * A message of the branch.
 */
message: MessageId, };

/**
 * All settings. What is absent is chosen by the engine.
 */
export type Settings = { 
/**
 * The model that answers when none is named.
 */
chat_model: string | null, 
/**
 * The model that embeds when none is named.
 */
embedding_model: string | null, 
/**
 * Overrides the profile chosen from the machine.
 */
model_profile: ModelProfile | null, 
/**
 * Window in tokens; the model's own limit still holds.
 */
context_length: number | null, 
/**
 * Longest reply in tokens when the request names none.
 */
max_reply_tokens: number | null, 
/**
 * Instructions for chats that have none of their own. Absent: a short prompt of Hearth's; empty: none at all.
 */
system_prompt: string | null, 
/**
 * Sampling when the request names none.
 */
sampling: Sampling, 
/**
 * Threads for inference.
 */
threads: number | null, 
/**
 * Unload a model after so many seconds without work; 0 never.
 */
unload_after_seconds: number | null, 
/**
 * Most memories that stand with a question, 0 to 10; default 5.
 */
memory_recalled: number | null, 
/**
 * Most tokens that they take; default 400, and never more than an eighth of the window.
 */
memory_tokens: number | null, 
/**
 * Most tokens of the biography in the instructions; default 1,000, never more than an eighth of the window; 0 none.
 */
biography_tokens: number | null, 
/**
 * Most memories that are kept; those that were not recalled for longest go first. Default 100,000.
 */
memory_limit: number | null, 
/**
 * Draw memories from chats in idle moments; default true.
 */
memory_extraction: boolean | null, 
/**
 * Look for the account's other devices on the local network while its server isn't reached, and let them find this one;
 * default true. Of this device alone.
 */
local_network: boolean | null, 
/**
 * What counts how much when recall ranks; parts that are absent are the engine's.
 */
recall_weights: JsonValue | null, };

/**
 * Changes to settings: what is absent stays; names in `reset` return to the engine's choice.
 */
export type SettingsChange = { 
/**
 * See [`Settings::chat_model`].
 */
chat_model?: string, 
/**
 * See [`Settings::embedding_model`].
 */
embedding_model?: string, 
/**
 * See [`Settings::model_profile`].
 */
model_profile?: ModelProfile, 
/**
 * See [`Settings::context_length`].
 */
context_length?: number, 
/**
 * See [`Settings::max_reply_tokens`].
 */
max_reply_tokens?: number, 
/**
 * See [`Settings::system_prompt`].
 */
system_prompt?: string, 
/**
 * See [`Settings::sampling`]; replaces all of it.
 */
sampling?: Sampling, 
/**
 * See [`Settings::threads`].
 */
threads?: number, 
/**
 * See [`Settings::unload_after_seconds`].
 */
unload_after_seconds?: number, 
/**
 * See [`Settings::memory_recalled`].
 */
memory_recalled?: number, 
/**
 * See [`Settings::memory_tokens`].
 */
memory_tokens?: number, 
/**
 * See [`Settings::biography_tokens`].
 */
biography_tokens?: number, 
/**
 * See [`Settings::memory_limit`].
 */
memory_limit?: number, 
/**
 * See [`Settings::memory_extraction`].
 */
memory_extraction?: boolean, 
/**
 * See [`Settings::local_network`].
 */
local_network?: boolean, 
/**
 * See [`Settings::recall_weights`]; replaces all of it.
 */
recall_weights?: JsonValue, 
/**
 * Names of settings to return to the engine's choice.
 */
reset: Array<string>, };

/**
 * Parameters of [`Show`].
 */
export type ShowParams = { 
/**
 * The chat.
 */
chat: ChatId, 
/**
 * The end of the branch; absent means the shown one.
 */
leaf?: MessageId, };

/**
 * The engine's state.
 */
export type Status = { 
/**
 * Version of the engine.
 */
version: string, 
/**
 * Process that owns the profile.
 */
pid: number, 
/**
 * Milliseconds since the engine was opened.
 */
uptime_ms: number, 
/**
 * The profile's folder.
 */
home: string, 
/**
 * Models in memory.
 */
loaded_models: Array<LoadedModel>, 
/**
 * Models whose files are here.
 */
ready_models: Array<string>, 
/**
 * The model that answers when none is named.
 */
chat_model: string | null, 
/**
 * The machine, and the profile that suits it.
 */
machine: MachineStatus, 
/**
 * The database.
 */
database: DatabaseStatus, 
/**
 * Replies being written or waiting.
 */
active_replies: number, 
/**
 * Where the time of recent replies went.
 */
latency: LatencyReport, };

/**
 * Parameters of [`Stop`].
 */
export type StopParams = { 
/**
 * The reply.
 */
reply: MessageId, };

/**
 * Output of [`Stop`].
 */
export type Stopped = { 
/**
 * False when the reply was already finished.
 */
stopped: boolean, };

/**
 * Something a person should know of.
 */
export type SyncFinding = { 
/**
 * How sure it is.
 */
kind: FindingKind, 
/**
 * What, and what to do.
 */
text: string, 
/**
 * The device that it is about: 64 hexadecimal digits.
 */
device?: string, 
/**
 * When it was first seen; milliseconds since 1970-01-01 UTC.
 */
first_at_ms: number, 
/**
 * When it was seen last.
 */
last_at_ms: number, 
/**
 * How often.
 */
times: number, };

/**
 * Parameters of [`SyncOnce`].
 */
export type SyncOnceParams = { 
/**
 * Longest wait; 30 seconds when absent, at most an hour.
 */
limit_seconds?: number, };

/**
 * How far the connection to the account's server is.
 */
export type SyncState = "no_account" | "no_server" | "offline" | "connecting" | "catching_up" | "live" | "local_network" | "revoked";

/**
 * How sync stands.
 */
export type SyncStatus = { 
/**
 * The connection.
 */
state: SyncState, 
/**
 * The account: 64 hexadecimal digits, to be compared with what a certificate says.
 */
account?: string, 
/**
 * Where its server is.
 */
server?: string, 
/**
 * The server's address as another device takes it, its key included.
 */
server_address?: string, 
/**
 * The number of the running epoch.
 */
epoch: number, 
/**
 * Things that changed here and aren't sealed yet.
 */
changed_here: number, 
/**
 * Documents that wait to be sealed.
 */
unsealed: number, 
/**
 * Envelopes that the server hasn't confirmed.
 */
unconfirmed: number, 
/**
 * Statements that the server hasn't taken.
 */
unsent: number, 
/**
 * Why something waits, one sentence each.
 */
waits: Array<string>, 
/**
 * What went wrong last, as long as it matters.
 */
problem?: string, 
/**
 * What points to an attack or to damage, until it is dismissed (`sync.dismiss`) or disproved; proofs first.
 */
findings: Array<SyncFinding>, 
/**
 * Everything of this device is at the server, and everything of the server is here.
 */
settled: boolean, 
/**
 * What changes the account (letting devices in, shutting them out, new keys) can be done now: at its server, or on the
 * local network for an account that has none.
 */
reached: boolean, 
/**
 * The devices that this one meets on the local network now: identifiers.
 */
met: Array<string>, 
/**
 * The account's devices, those shut out too.
 */
devices: Array<DeviceInfo>, 
/**
 * Erasures, the oldest first.
 */
erasures: Array<ErasureInfo>, };

/**
 * Where the time of a reply went, in milliseconds.
 */
export type Timings = { 
/**
 * Loading the model; 0 when it was loaded.
 */
load_ms: number, 
/**
 * Waiting for its turn.
 */
queue_ms: number, 
/**
 * Reading the prompt.
 */
prefill_ms: number, 
/**
 * From the request to the first token, everything above included.
 */
first_token_ms: number, 
/**
 * Writing the reply.
 */
decode_ms: number, };

/**
 * One turn put to a model outside any chat.
 */
export type Turn = { 
/**
 * Who says it.
 */
role: Role, 
/**
 * What is said.
 */
content: string, };

/**
 * Choices for one answer.
 */
export type TurnOptions = { 
/**
 * The model for this answer; else the chat's, else the setting's.
 */
model?: string, 
/**
 * How tokens are chosen.
 */
sampling: Sampling, 
/**
 * Longest reply in tokens.
 */
max_tokens?: number, 
/**
 * The reply ends before any of these.
 */
stop: Array<string>, 
/**
 * Let a model that can think do so; default true.
 */
reasoning?: boolean, };

/**
 * Tokens read and written.
 */
export type Usage = { 
/**
 * Tokens of the prompt.
 */
prompt_tokens: number, 
/**
 * Prompt tokens that were already in the model's cache.
 */
reused_tokens: number, 
/**
 * Tokens of the reply, reasoning included.
 */
completion_tokens: number, };

/**
 * Output of [`Verify`].
 */
export type Verified = { 
/**
 * Whether every file is what the catalogue promises.
 */
ok: boolean, 
/**
 * Names of files that are missing or wrong.
 */
bad_files: Array<string>, };

/**
 * Parameters of [`Wipe`].
 */
export type WipeParams = { 
/**
 * Must be true.
 */
confirm: boolean, };

/** Every method: what it takes, what it tells while it runs, what it returns. */
export interface Methods {
  "status": { params: Empty; event: NoEvent; output: Status };
  "events.watch": { params: Empty; event: EngineEvent; output: Empty };
  "engine.stop": { params: Empty; event: NoEvent; output: Empty };
  "chat.send": { params: SendParams; event: ChatEvent; output: Reply };
  "chat.edit": { params: EditParams; event: ChatEvent; output: Edited };
  "chat.regenerate": { params: RegenerateParams; event: ChatEvent; output: Reply };
  "chat.stop": { params: StopParams; event: NoEvent; output: Stopped };
  "chats.list": { params: ListParams; event: NoEvent; output: Listed };
  "chats.show": { params: ShowParams; event: NoEvent; output: ChatDetail };
  "chats.search": { params: SearchParams; event: NoEvent; output: Found };
  "chats.rename": { params: RenameParams; event: NoEvent; output: Empty };
  "chats.configure": { params: ConfigureParams; event: NoEvent; output: Chat };
  "chats.delete": { params: DeleteParams; event: NoEvent; output: Deleted };
  "chats.set_head": { params: SetHeadParams; event: NoEvent; output: ChatDetail };
  "chats.export": { params: ExportParams; event: ExportEvent; output: Exported };
  "chats.import": { params: ImportParams; event: NoEvent; output: Imported };
  "complete": { params: CompleteParams; event: CompleteEvent; output: Completion };
  "embed": { params: EmbedParams; event: NoEvent; output: Embeddings };
  "models.list": { params: Empty; event: NoEvent; output: ModelsListed };
  "models.pull": { params: PullParams; event: PullProgress; output: Pulled };
  "models.verify": { params: ModelParams; event: PullProgress; output: Verified };
  "models.remove": { params: ModelParams; event: NoEvent; output: Empty };
  "models.import": { params: ModelImportParams; event: PullProgress; output: ModelSummary };
  "models.use": { params: ModelParams; event: NoEvent; output: ModelSummary };
  "models.unload": { params: ModelParams; event: NoEvent; output: Empty };
  "memory.add": { params: MemoryDraft; event: NoEvent; output: MemoryKept };
  "memory.list": { params: MemoryListParams; event: NoEvent; output: MemoryListed };
  "memory.show": { params: MemoryParams; event: NoEvent; output: MemoryDetail };
  "memory.search": { params: MemorySearchParams; event: NoEvent; output: Recalled };
  "memory.edit": { params: MemoryEdit; event: NoEvent; output: Memory };
  "memory.confirm": { params: MemoryParams; event: NoEvent; output: MemoryKept };
  "memory.pin": { params: MemoryPinParams; event: NoEvent; output: Memory };
  "memory.erase_preview": { params: MemoryErasePreviewParams; event: NoEvent; output: ErasePreview };
  "memory.erase": { params: EraseParams; event: NoEvent; output: EraseReceipt };
  "memory.receipts": { params: EraseReceiptsParams; event: NoEvent; output: EraseReceipts };
  "memory.receipt": { params: MemoryReceiptParams; event: NoEvent; output: EraseReceiptDetail };
  "memory.export": { params: Empty; event: ExportEvent; output: Exported };
  "memory.import": { params: MemoryImportParams; event: NoEvent; output: MemoryImported };
  "memory.pause": { params: Empty; event: NoEvent; output: Empty };
  "memory.resume": { params: Empty; event: NoEvent; output: Empty };
  "memory.stats": { params: Empty; event: NoEvent; output: MemoryStats };
  "memory.bio": { params: Empty; event: NoEvent; output: Biography };
  "memory.review": { params: MemoryReviewParams; event: NoEvent; output: MemoryReviewed };
  "memory.work": { params: Empty; event: NoEvent; output: MemoryWorked };
  "recall": { params: RecallParams; event: NoEvent; output: Recalled };
  "settings.get": { params: Empty; event: NoEvent; output: Settings };
  "settings.set": { params: SettingsChange; event: NoEvent; output: Settings };
  "profile.change_protection": { params: ChangeProtectionParams; event: NoEvent; output: Empty };
  "profile.backup": { params: BackupParams; event: NoEvent; output: BackedUp };
  "profile.restore": { params: RestoreParams; event: NoEvent; output: Empty };
  "profile.wipe": { params: WipeParams; event: NoEvent; output: Empty };
  "account.create": { params: AccountCreateParams; event: NoEvent; output: AccountCreated };
  "account.find": { params: FindParams; event: NoEvent; output: FoundAccount };
  "account.recover": { params: RecoverParams; event: NoEvent; output: Recovered };
  "account.drill": { params: DrillParams; event: NoEvent; output: Drilled };
  "account.move": { params: MoveParams; event: NoEvent; output: SyncStatus };
  "account.propose_phrase": { params: Empty; event: NoEvent; output: ProposedPhrase };
  "account.change_phrase": { params: ChangePhraseParams; event: NoEvent; output: SyncStatus };
  "sync.status": { params: Empty; event: NoEvent; output: SyncStatus };
  "sync.once": { params: SyncOnceParams; event: NoEvent; output: SyncStatus };
  "sync.restored": { params: Empty; event: NoEvent; output: SyncStatus };
  "sync.dismiss": { params: Empty; event: NoEvent; output: SyncStatus };
  "devices.list": { params: Empty; event: NoEvent; output: DevicesListed };
  "devices.pair": { params: PairParams; event: PairEvent; output: SyncStatus };
  "devices.approve": { params: ApproveParams; event: PairEvent; output: DeviceInfo };
  "devices.answer": { params: PairAnswer; event: NoEvent; output: Empty };
  "devices.revoke": { params: RevokeDeviceParams; event: NoEvent; output: SyncStatus };
  "devices.rename": { params: RenameDeviceParams; event: NoEvent; output: SyncStatus };
  "devices.rotate": { params: Empty; event: NoEvent; output: SyncStatus };
  "erasures.order": { params: EraseEverywhereParams; event: EraseEverywhereEvent; output: ErasedEverywhere };
  "erasures.list": { params: Empty; event: NoEvent; output: ErasuresListed };
  "erasures.certificate": { params: CertificateParams; event: NoEvent; output: CertificateWritten };
}
