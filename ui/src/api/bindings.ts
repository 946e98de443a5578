// Generated from app/api by its tests; do not edit. `HEARTH_WRITE_BINDINGS=1 cargo test -p hearth-api bindings` rewrites it.

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
incognito: boolean, };

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
context: ContextReport, } | { "type": "queued", 
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
model?: string, };

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
chat: ChatId | null, } | { "type": "models_changed" } | { "type": "model_loading", 
/**
 * The model.
 */
model: string, 
/**
 * 0 to 1.
 */
fraction: number, } | { "type": "settings_changed" } | { "type": "stopping" } | { "type": "missed", 
/**
 * How many.
 */
count: number, };

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
 * Why a reply ended.
 */
export type FinishReason = "stop" | "length" | "cancelled";

/**
 * Output of [`Search`].
 */
export type Found = { 
/**
 * The matching messages.
 */
hits: Array<SearchHit>, };

/**
 * The form of an imported file.
 */
export type ImportFormat = "auto" | "hearth" | "chatgpt";

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
format?: ImportFormat, };

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
error: string | null, };

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
incognito: boolean, };

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
unload_after_seconds: number | null, };

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
  "settings.get": { params: Empty; event: NoEvent; output: Settings };
  "settings.set": { params: SettingsChange; event: NoEvent; output: Settings };
  "profile.change_protection": { params: ChangeProtectionParams; event: NoEvent; output: Empty };
  "profile.backup": { params: BackupParams; event: NoEvent; output: BackedUp };
  "profile.restore": { params: RestoreParams; event: NoEvent; output: Empty };
  "profile.wipe": { params: WipeParams; event: NoEvent; output: Empty };
}
