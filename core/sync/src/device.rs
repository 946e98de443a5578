//! A device of an account, as a state machine: what happened goes in, what has to be done comes out.
//!
//! It has no socket, clock, disk or randomness. [`Device::step`] takes one [`Input`] and gives [`Output`]s. All of a
//! step's writes are one [`Output::Write`], the first of the list. **Carry it out in one transaction together with the
//! step's [`Output::Apply`] and [`Output::EraseNow`]** (and, for [`Input::Changed`], with clearing the caller's own mark
//! that something is to be published); then do the rest in order. When a step or that transaction fails, drop the
//! machine and [`Device::load`] it again: a crash at any point looks the same. What a step promises to anybody is on disk
//! before it is sent, and nothing is believed before it was checked. `PROTOCOL.md` says what is said to whom and why.
//!
//! **Memory** is bounded by the account, not by what arrives: control log, one entry for every log (1,024 at most),
//! every erasure's id (about 150 bytes each), open requests. Envelopes, document keys and the live set stay in the
//! journal. What came too early is held up to [`MAX_HELD_BYTES`]; beyond that it is dropped and asked for again. At most
//! [`MAX_UNCONFIRMED_BYTES`] are sent before the server has confirmed them.

mod answer;
mod aside;
mod ask;
mod bring;
mod certificate;
mod control;
mod disk;
mod epoch;
mod erasure;
mod fork;
mod gate;
mod keychain;
mod local;
mod missing;
mod outbox;
mod pump;
mod receive;
mod record;
mod recover;
mod registry;
mod session;
mod start;
mod statement;
mod status;
mod turn;

use std::collections::{BTreeMap, BTreeSet};

use hearth_protocol::codec::{DecodeError, TooLarge};
use hearth_protocol::control::{Account, ControlEntry, ControlError, RevokeReason, ServerIdentity};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, DeviceId, DeviceKeys, Handle, Hash, LogId, Signature, VerifyKey};
use hearth_protocol::message::Priority;

pub use disk::{Journal, JournalError, MemoryJournal, Record, Rows};
pub use keychain::Keychain;
pub use missing::StillMissing;
pub use record::space;
pub use recover::{Found, Recovery, Step};
pub use status::{DeviceStatus, ErasureStatus, Link, Status, Waits};

use crate::content::DocumentKind;
use crate::keys::{BadSeed, SigningKey};
use crate::recovery::Phrase;
use crate::registry::ShardError;
use crate::secret::{DoesNotOpen, Random};
use erasure::Erased;
use record::{Log, State};
use session::Session;
use turn::Turn;

/// Bytes of batches that came before what they need (the opening of their log).
pub const MAX_HELD_BYTES: usize = 16 << 20;
/// Bytes that are sent and not confirmed yet.
pub const MAX_UNCONFIRMED_BYTES: usize = 8 << 20;
/// Bytes of one batch that a device makes.
pub const BATCH_BYTES: usize = 1 << 20;
/// Envelopes of a document that are alive before a snapshot is asked for.
pub const COMPACT_AT: u64 = 64;

/// Whom a connection is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The account's server.
    Server,
    /// A device of the account on the local network (or this device's own relay), by the key of its TLS certificate.
    Device(VerifyKey),
}

/// Something that was made here and is to be published.
#[derive(Clone, PartialEq, Eq)]
pub enum LocalContent {
    /// Changes of the document, in order. One that is larger than a mebibyte goes as a snapshot instead.
    Changes(Vec<Vec<u8>>),
    /// The whole document **as it is after everything that earlier steps put out**: it stands for all of that.
    Snapshot {
        /// The document, or the bytes of a media blob.
        document: Vec<u8>,
    },
}

/// Something that arrived, checked and opened.
#[derive(Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Changes to apply.
    Changes(Vec<Vec<u8>>),
    /// A document to merge. An empty one follows its chunks directly and ends them.
    Snapshot {
        /// The document.
        document: Vec<u8>,
    },
    /// A piece of a large document or blob; a snapshot with no document ends them.
    Chunk {
        /// From 0.
        index: u32,
        /// How many there are.
        count: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

// Neither says what is in it: it is user text.
impl std::fmt::Debug for LocalContent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changes(changes) => write!(formatter, "{} changes", changes.len()),
            Self::Snapshot { document, .. } => write!(formatter, "a document of {} bytes", document.len()),
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changes(changes) => write!(formatter, "{} changes", changes.len()),
            Self::Snapshot { document, .. } => write!(formatter, "a document of {} bytes", document.len()),
            Self::Chunk { index, count, .. } => write!(formatter, "piece {index} of {count}"),
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A connection is there. An earlier one is forgotten.
    Connected {
        /// Keying material of the TLS session: see [`hearth_protocol::message::EXPORTER_LABEL`].
        exporter: [u8; 32],
        /// To whom.
        peer: Peer,
    },
    /// A frame of the control stream, without its length.
    Frame(Vec<u8>),
    /// A whole unidirectional stream.
    Batch(Vec<u8>),
    /// The connection is gone.
    Disconnected,
    /// Something is to be published. It is on disk when the step's write is; it is sealed when it is sent.
    Changed {
        /// The document or blob.
        handle: Handle,
        /// What it is.
        kind: DocumentKind,
        /// What of it.
        content: LocalContent,
    },
    /// The user has asked for this to be erased everywhere, and the window to undo it is over. Any number of handles.
    Erase(Vec<Handle>),
    /// The closure of an [`Output::EraseNow`] is gone from this device.
    ClosureDone {
        /// The erasure.
        erase: Hash,
        /// Hash of the journal of its steps.
        journal: Hash,
        /// Documents that its closure holds on this device beyond the handles that it names.
        more: Vec<Handle>,
    },
    /// Both users have said that the short strings are equal: let this device in.
    Enrol {
        /// Its keys.
        keys: DeviceKeys,
        /// Its proof.
        proof: Signature,
        /// The pairing's transcript.
        transcript: Hash,
    },
    /// Don't let this device in after all, as long as the server hasn't got its entry.
    Withdraw {
        /// Which.
        device: DeviceId,
    },
    /// Shut a device out.
    Revoke {
        /// Which.
        target: DeviceId,
        /// Why.
        reason: RevokeReason,
    },
    /// Change the epoch's key now.
    Rotate,
    /// A new recovery phrase. Both are held until the entry is in the control log ([`Notice::PhraseChanged`]) and never
    /// written down: after a load it has to be asked for again. The old one recovers until then, and no longer.
    NewPhrase {
        /// The phrase in force, which approves.
        old: Box<Phrase>,
        /// The new one.
        new: Box<Phrase>,
    },
    /// The account moves.
    ChangeServer {
        /// To this server.
        server: Option<ServerIdentity>,
        /// The new server's invitation code; empty where none is needed.
        invitation: String,
    },
    /// Vouch for the present state, for a pairing or before folding: [`Device::checkpoint`] is its id then.
    Checkpoint,
    /// The user's answer to [`Notice::RestoredOrCopied`]: this device, or the server, was restored from a backup.
    Restored,
    /// Time has passed: at the latest when [`Output::WakeAt`] said.
    Tick,
}

/// What has to be done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Write these records, in one transaction with the step's `Apply` and `EraseNow`.
    Write(Vec<Record>),
    /// Put this into the document, in the same transaction. Bytes that are no change are skipped, not an error.
    Apply {
        /// The document.
        handle: Handle,
        /// What it is; a chunk doesn't say.
        kind: Option<DocumentKind>,
        /// What came.
        content: Incoming,
        /// The log that it came in.
        log: LogId,
        /// Its number there.
        seq: u64,
        /// When its author says that it was sealed, ms since the epoch; 0 for a chunk.
        at_ms: u64,
    },
    /// Erase these and what follows from them, then say [`Input::ClosureDone`]. Asked again after a crash.
    EraseNow {
        /// The erasure.
        erase: Hash,
        /// The handles that it names.
        handles: Vec<Handle>,
    },
    /// Replace the keychain's content by [`Keychain::encode`] of this.
    Keychain(Box<Keychain>),
    /// A frame for the control stream, without its length.
    Send(Vec<u8>),
    /// A unidirectional stream of its own.
    SendBatch {
        /// Its content.
        bytes: Vec<u8>,
        /// Its urgency.
        priority: Priority,
    },
    /// Close the connection, after what was sent.
    Close(Option<ErrorCode>),
    /// Numbers may be given out: hand over what waits as [`Input::Changed`], made by the actor of this log.
    Publish {
        /// The log.
        log: LogId,
    },
    /// Give a snapshot of this document as [`Input::Changed`]. Asked again after a load.
    NeedSnapshot {
        /// The document.
        handle: Handle,
    },
    /// Something that the user or the face should know.
    Notice(Notice),
    /// Call with [`Input::Tick`] then, at the latest; ms since the epoch.
    WakeAt(u64),
}

/// What a face shows. Nothing in it is user text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// All that the other side has is here.
    UpToDate,
    /// Whoever answered couldn't prove to be the server.
    FalseServer,
    /// The other side refuses. `retry_after_ms` is 0 where waiting doesn't help.
    Refused {
        /// Why.
        code: ErrorCode,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The account's space at the server is used up: what can't be stored is sent again later.
    QuotaReached,
    /// The clocks differ by more than a day: shown, nothing depends on it. Milliseconds, ours minus theirs.
    ClockSkew(i64),
    /// This device's log isn't where its keychain says: was it restored from a backup, or copied? Nothing is published
    /// until [`Input::Restored`]; a copy enrols again with new keys.
    RestoredOrCopied,
    /// The device was shut out: its entry was seen.
    Revoked,
    /// A device was let in.
    Enrolled {
        /// Which.
        device: DeviceId,
        /// The entry, for the pairing's verdict.
        entry: Hash,
    },
    /// A device was shut out.
    ShutOut(DeviceId),
    /// A new epoch's key is in force here.
    Epoch(u64),
    /// An entry of the control log that was asked for can't be made any more.
    Dropped,
    /// The control log had two branches, and the one that this device knew has lost: what it revoked stays so, and what this
    /// device had made in it is made again.
    BranchLost,
    /// A new recovery phrase is in force: the old one recovers no longer.
    PhraseChanged,
    /// The account has moved.
    Moved(Option<ServerIdentity>),
    /// An erasure arrived or was made.
    Erasing(Hash),
    /// An erasure is complete: every device and server has confirmed, and its keys have ended everywhere.
    Erased(Hash),
    /// A document of this device was not stored, and is written again.
    WrittenAgain(Handle),
    /// A signed envelope doesn't open, or isn't what it says: its author's fault, or damage on its way to its signature.
    Damaged {
        /// The log.
        log: LogId,
        /// The number.
        seq: u64,
    },
    /// What arrived isn't what was signed: damage by whoever sent it.
    Tampered,
    /// Something points to a server that withholds or lies; no proof.
    Suspicion(Suspicion),
    /// Proof that somebody lies.
    Proof(Proof),
    /// What the other device had vouched for in the pairing is all here.
    JoinComplete,
}

/// What can't be explained by a race, and yet isn't a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Said to be complete, and something that others name is missing.
    Withheld {
        /// The log that lacks items.
        log: LogId,
    },
    /// Two devices with the same vector and erasures have other live sets.
    LiveRoot {
        /// The other device.
        device: DeviceId,
    },
    /// An erasure is missing between two others, is forged, or is said to be there and isn't.
    Erasure {
        /// The log that it is of.
        log: LogId,
    },
    /// The control log that is known didn't come back.
    Control,
    /// What the pairing named isn't what the server gave.
    Checkpoint,
}

/// Evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Two signed hashes, or two erasures, for one place, unless its device was restored or copied.
    TwoHashes {
        /// The log.
        log: LogId,
        /// The number, of an item or of an erasure.
        seq: u64,
    },
    /// A device vouches for another link at a place that is known here: two views of one log.
    SplitView {
        /// The device.
        device: DeviceId,
        /// The log.
        log: LogId,
    },
}

/// A step can't be carried out. Drop the machine and load it again.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The journal can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A record is damaged.
    #[error("a record of space {0} is damaged: {1}")]
    Record(u8, DecodeError),
    /// A record is missing.
    #[error("a record of space {0} is missing")]
    Missing(u8),
    /// The journal's control log doesn't replay.
    #[error("the journal's control log doesn't replay: {0}")]
    Control(#[from] ControlError),
    /// The keychain isn't this device's.
    #[error("the keychain isn't this device's")]
    Keychain,
    /// A key can't be made.
    #[error(transparent)]
    Seed(#[from] BadSeed),
    /// A key doesn't fit.
    #[error(transparent)]
    Opens(#[from] DoesNotOpen),
    /// The registry can't be sealed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A certificate can't be made of what is here.
    #[error(transparent)]
    Certificate(#[from] hearth_protocol::certificate::AssembleError),
    /// The account is beyond a limit of the protocol.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// A device of an account.
#[allow(clippy::struct_excessive_bools)] // Facts that don't depend on each other.
pub struct Device {
    keys: Keychain,
    signer: SigningKey,
    me: DeviceId,
    account: Account,
    history: Vec<ControlEntry>,
    state: State,
    logs: BTreeMap<LogId, Log>,
    erased: Erased,
    /// Newest agreement key of each device, with the number of the epoch whose acknowledgement named it.
    agreement: BTreeMap<DeviceId, (u64, hearth_protocol::id::AgreementKey)>,
    /// Members that have the running epoch's key, as far as they said so.
    on_epoch: BTreeMap<DeviceId, u64>,
    /// Members that came back from a backup without the agreement key they had named: granted the epoch anew.
    lost_keys: BTreeSet<DeviceId>,
    /// The number of this device's own acknowledgement of an epoch whose key was lost with a backup; 0: none.
    lost_ack: u64,
    /// Hash of the wraps that are on disk.
    wraps: Option<Hash>,
    /// To whom the running epoch was granted by anybody, and to which key.
    granted: BTreeMap<DeviceId, hearth_protocol::id::AgreementKey>,
    /// What waits to be sealed, by number, with handle and size.
    outbox: BTreeMap<u64, (Handle, usize)>,
    /// Snapshots that are asked for, with the earliest time to ask.
    needed: BTreeMap<Handle, u64>,
    /// What the other side took as holes without a reason that is known here: how often in a row, and when the last time.
    turned_away: BTreeMap<Handle, (u32, u64)>,
    /// The table that was read whole.
    table: Hash,
    /// Its epoch.
    table_epoch: u64,
    /// The newest table that was shown, its number and id: the next one follows it.
    table_known: Option<(u64, Hash)>,
    /// The ids of the shards that were read, by index.
    shards: Vec<Hash>,
    /// Statements that the account's server hasn't taken, by number.
    unsent: BTreeSet<u64>,
    /// When each device's heartbeat fit, and the time of its newest one.
    peers: BTreeMap<DeviceId, statement::Seen>,
    /// Snapshots that were asked for since the load.
    asked_needs: BTreeSet<Handle>,
    /// The running epoch is wrapped to an agreement key that isn't here any more.
    keys_stale: bool,
    /// Envelopes of devices that were shut out may lie aside,
    aside: bool,
    /// and something has come since they were last tried.
    aside_stale: bool,
    /// Erasures whose confirmations the account's server has told since the load.
    confirmations_told: BTreeSet<Hash>,
    /// The next connection to the server asks first whether it is one: it was refused by somebody who hadn't shown it.
    asks_first: bool,
    /// Envelopes that came out of their chain and wait for their keys, and the table they were last tried with.
    torn: BTreeSet<(LogId, u64)>,
    torn_table: Hash,
    /// Some of them wait for pieces; and they are to be tried again.
    torn_pieces: bool,
    torn_again: bool,
    /// Nothing was done since the load.
    fresh: bool,
    /// The server's operator has removed the account from it.
    removed: bool,
    /// The phrase in force and the one that is to replace it.
    phrase: Option<(Box<Phrase>, Box<Phrase>)>,
    session: Option<Session>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Device({:?})", self.me)
    }
}

/// How an account begins.
#[derive(Debug, Clone)]
pub struct Founding {
    /// The phrase: it signs the account's first entry, and isn't kept.
    pub phrase: Phrase,
    /// The server, by the key that its operator shows.
    pub server: Option<ServerIdentity>,
    /// Its invitation code; empty where none is needed.
    pub invitation: String,
}

/// What a pairing has told a new device.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The account's first entry.
    pub genesis: ControlEntry,
    /// The control log's head, as the other device knew it.
    pub control: Hash,
    /// Its checkpoint; zeros: none.
    pub checkpoint: Hash,
    /// The transcript that both users compared.
    pub transcript: Hash,
}

impl Device {
    /// Reads a device's state from its journal. No connection is there yet.
    pub fn load(journal: &dyn Journal, keys: Keychain) -> Result<Self, DeviceError> {
        turn::load(journal, keys)
    }

    /// A new account with this device as its first. Nothing is sent before a connection is there.
    pub fn create(
        founding: Founding,
        keys: Keychain,
        now_ms: u64,
        random: &mut dyn Random,
    ) -> Result<(Self, Vec<Output>), DeviceError> {
        turn::create(founding, keys, now_ms, random)
    }

    /// A device that is being let into an account: it believes what leads to its own enrolment, and nothing else.
    pub fn join(
        joining: Joining,
        keys: Keychain,
        now_ms: u64,
        random: &mut dyn Random,
    ) -> Result<(Self, Vec<Output>), DeviceError> {
        turn::join(joining, keys, now_ms, random)
    }

    /// Takes one input. After an error the machine must be loaded again.
    pub fn step(
        &mut self,
        input: Input,
        now_ms: u64,
        random: &mut dyn Random,
        journal: &dyn Journal,
    ) -> Result<Vec<Output>, DeviceError> {
        let mut turn = Turn::new(self, now_ms, random, journal);
        turn.take(input)?;
        Ok(turn.finish())
    }

    /// The account.
    pub fn account_id(&self) -> AccountId {
        self.account.id()
    }

    /// This device.
    pub fn id(&self) -> DeviceId {
        self.me
    }

    /// What the control log says.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The control log, genesis first.
    pub fn control_log(&self) -> &[ControlEntry] {
        &self.history
    }

    /// The keys, as they are to be kept.
    pub fn keychain(&self) -> &Keychain {
        &self.keys
    }

    /// The log that this incarnation writes, once numbers may be given out: the actor of changes that are made now.
    pub fn writing(&self) -> Option<LogId> {
        self.session.as_ref().and_then(|session| session.publishing)
    }

    /// The newest checkpoint that this device has signed.
    pub fn checkpoint(&self) -> Option<Hash> {
        self.state.checkpoint
    }
}
