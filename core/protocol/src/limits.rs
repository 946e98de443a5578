//! Every limit of the protocol, in one place. A decoder refuses what is above its limit before it allocates.

/// Devices of an account that are not revoked.
pub const MAX_DEVICES: usize = 32;
/// Logs of an account: every incarnation of a device opens one.
pub const MAX_LOGS: usize = 1_024;
/// Logs of one device: who needs more enrols again.
pub const MAX_DEVICE_LOGS: usize = 64;
/// The last logs of an account are for devices that have none yet: else one device could leave none for a new one.
pub const LOGS_FOR_NEW_DEVICES: usize = 64;
/// Logs that an envelope's header names (dependencies, erasures newly known).
pub const MAX_HEADER_LOGS: usize = 64;
/// Bytes of a sealed body, with padding and tag.
pub const MAX_BODY_BYTES: usize = (1 << 20) + 16;
/// Bytes of media in one chunk.
pub const MAX_CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a batch: one unidirectional stream.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
/// Envelopes and holes of a batch.
pub const MAX_BATCH_ITEMS: usize = 4_096;
/// Bytes of a framed message of the control stream, without its length.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Entries of the control log in one message.
pub const MAX_CONTROL_ENTRIES: usize = 256;
/// Bytes of one control entry.
pub const MAX_CONTROL_ENTRY_BYTES: usize = 128 << 10;
/// Entries of a losing branch that `Unite` brings in.
pub const MAX_LOSING_ENTRIES: usize = 64;
/// Reunions (`Unite`) of one control log. Each replays what stands before it once, so they are what replaying costs most;
/// a log forks when a server was restored or lies, which nobody lets happen sixteen times.
pub const MAX_UNITES: usize = 16;
/// Revocations of one control log by devices. Everybody keeps each with its cut (up to 57 KiB) in memory.
pub const MAX_REVOCATIONS: usize = 256;
/// Devices that were ever enrolled.
pub const MAX_DEVICES_EVER: usize = 1_024;
/// Revocations and enrolments beyond these two limits that only the recovery phrase may make (and, of revocations, a
/// reunion bring in): a stolen device can't use up what shuts it out.
pub const RECOVERY_RESERVE: usize = 64;
/// Handles of one erasure.
pub const MAX_ERASE_HANDLES: usize = 1_024;
/// Statements (erasures, acknowledgements, …) of one message.
pub const MAX_STATEMENTS: usize = 1_024;
/// Control entries of a certificate: the whole log.
pub const MAX_CERTIFICATE_CONTROL: usize = 65_536;
/// Acknowledgements, or receipts, of a certificate: one of every device or server for every erasure.
pub const MAX_CERTIFICATE_STATEMENTS: usize = 65_536;
/// Bytes of a certificate file.
pub const MAX_CERTIFICATE_BYTES: usize = 64 << 20;
/// Erasures that one epoch ends.
pub const MAX_EPOCH_ERASURES: usize = 1_024;
/// Shards of the key registry.
pub const SHARDS: usize = 256;
/// Bytes of a sealed shard: about 20,000 keys.
pub const MAX_SHARD_BYTES: usize = 1 << 20;
/// Bytes of a text on the wire (server address, invitation).
pub const MAX_TEXT_BYTES: usize = 255;
/// Bytes of a message between two devices that pair.
pub const MAX_PAIRING_BYTES: usize = 16 << 10;
/// Messages in a pairing mailbox: a typed pairing is 8 at its first try, and each try before it was 3.
pub const MAX_PAIRING_MESSAGES: usize = 16;
/// How long a pairing code is good for.
pub const PAIRING_TTL_MS: u64 = 10 * 60 * 1_000;
/// Tries of a pairing code, counted by the devices.
pub const PAIRING_TRIES: u32 = 3;
/// How long a connected device may take to acknowledge an erasure before it is closed.
pub const ERASE_ACK_TIMEOUT_MS: u64 = 30 * 1_000;
/// How long an erasure may take everywhere before it is shown as overdue.
pub const ERASE_DEADLINE_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// How often a device signs a heartbeat, at least.
pub const HEARTBEAT_INTERVAL_MS: u64 = 24 * 60 * 60 * 1_000;
/// The most an epoch change after an erasure waits for others to join it.
pub const EPOCH_BATCH_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long a new connection may take until its first message is complete.
pub const HELLO_TIMEOUT_MS: u64 = 10 * 1_000;
/// How often a silent connection is kept alive.
pub const KEEP_ALIVE_MS: u64 = 22 * 1_000;
