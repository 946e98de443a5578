//! The device machine, its journal and the documents: everything that happens on the database's thread.
//!
//! One step of the machine is one transaction: its journal, its keys, the documents and rows that it changes, and the end of
//! the marks of what was handed over. After an error the machine must be loaded again.

use std::collections::BTreeSet;

use hearth_protocol::codec::Wire;
use hearth_protocol::entropy::Entropy;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{Handle, Hash, LogId};
use hearth_protocol::message::Priority;
use hearth_store::{
    Dirty, DocumentWrite, ErasureDone, ErasureOrder, Store, StoreError, SyncBatch, SyncItem, SyncKind,
    SyncPiece, SyncRecord, SyncReport,
};
use hearth_sync::content::DocumentKind;
use hearth_sync::device::{
    Device, DeviceError, Incoming as FromOthers, Input, Journal, JournalError, Keychain, LocalContent,
    Notice, Output,
};
use hearth_sync::document::DocumentError;
use zeroize::Zeroizing;

use super::super::memory::{COMPARE, follows};
use super::findings;
use crate::documents::{Arrived, DocumentsError, Incoming, Snapshot, publications, snapshot, united};
use crate::error::EngineError;

/// The engine's own part of the journal; the machine's spaces count from 1.
pub(super) const OWN: u8 = 255;
/// The device's keys. They lie in the encrypted database, beside the journal that they belong to, so that both change in one
/// transaction, however often a step changes them; whatever opens the database (keychain, passphrase, key file) guards them.
/// A database that comes back from a backup brings its old keys along: the server's head of the log tells that.
const KEYCHAIN: &[u8] = b"keychain";
/// There once everything has arrived that the account had when this device came to it.
const JOINED: &[u8] = b"joined";
/// So much is read of what changed at a time.
const DIRTY_AT_ONCE: usize = 64;
/// So many handles are ordered to be erased at a time; the machine splits them into erasures of its own.
const ERASED_AT_ONCE: usize = 4096;
/// How long until it is looked again whether the database's log can be emptied.
const SETTLE_AGAIN_MS: u64 = 30_000;
/// Writes nothing: what it is given to is never edited.
const NOBODY: LogId = LogId([0; 16]);

/// The operating system's randomness.
#[derive(Debug, Clone, Copy)]
pub(super) struct OsEntropy;

impl Entropy for OsEntropy {
    // No program can go on without randomness.
    fn fill(&mut self, bytes: &mut [u8]) {
        #[cfg(feature = "testing")]
        if hearth_store::testing::fill(bytes) {
            return;
        }
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// The journal, as the machine reads it.
struct Disk<'a>(&'a Store);

impl Journal for Disk<'_> {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        self.0.sync_record(space, key).map_err(journal_error)
    }

    fn scan(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, JournalError> {
        let records = self
            .0
            .sync_records(space, prefix, after, limit)
            .map_err(journal_error)?;
        Ok(records
            .into_iter()
            .map(|record| (record.key, record.value.unwrap_or_default()))
            .collect())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn journal_error(error: StoreError) -> JournalError {
    JournalError(error.to_string())
}

/// Something to send, in order.
#[derive(Debug)]
pub(super) enum Outgoing {
    Frame(Vec<u8>),
    Batch(Vec<u8>, Priority),
    Close(Option<ErrorCode>),
}

/// What is to be done outside of the database after its transactions.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) notices: Vec<Notice>,
    pub(super) wake_at_ms: Option<u64>,
    /// What came of the transactions.
    pub(super) reports: Vec<SyncReport>,
}

impl Effects {
    fn wake_by(&mut self, at_ms: u64) {
        self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |other| other.min(at_ms)));
    }
}

/// What a step wants done in one transaction.
#[derive(Debug, Default)]
pub(super) struct Planned {
    outputs: Vec<Output>,
    batch: SyncBatch,
}

impl Planned {
    /// Whether something of this device is about to be erased.
    pub(super) fn erases(&self) -> bool {
        self.outputs
            .iter()
            .any(|output| matches!(output, Output::EraseNow { .. }))
    }
}

/// The machine and what surrounds it.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) device: Device,
    /// Documents that the machine wants whole, once they may be published.
    wanted: BTreeSet<Handle>,
    /// Things whose documents were given up for new ones since the start.
    replaced: BTreeSet<SyncItem>,
    /// Changes that can't be synced, by their marks.
    stuck: BTreeSet<i64>,
    /// Everything that the account had when this device came to it is here: what arrives now is news.
    pub(super) joined: bool,
    /// What went may still be in the write-ahead log, because another program reads the database. Until the log is empty
    /// nothing counts as gone, so nothing is said to anybody.
    unsettled: bool,
    /// When to look again; ms since the epoch.
    settle_at_ms: u64,
    /// Erasures to confirm once it is.
    unconfirmed: Vec<ErasureDone>,
    /// What waits to be sent until then, in order.
    held: Vec<Outgoing>,
}

impl Machine {
    /// The profile's device; none when it has no account.
    pub(super) fn load(store: &mut Store) -> Result<Option<Self>, EngineError> {
        if !store.syncs()? {
            return Ok(None);
        }
        let Some(bytes) = store.sync_record(OWN, KEYCHAIN)? else {
            return Ok(None);
        };
        let keys = Keychain::decode(&bytes)
            .map_err(|error| EngineError::Corrupt(format!("the device's keys are damaged: {error}")))?;
        let device = Device::load(&Disk(store), keys).map_err(|error| device_error(&error))?;
        let joined = store.sync_record(OWN, JOINED)?.is_some();
        let mut machine = Self::of(device, joined);
        // Whoever ran before may have ended between erasing and emptying the log.
        machine.unsettled = !store.settle_erasures()?;
        Ok(Some(machine))
    }

    fn of(device: Device, joined: bool) -> Self {
        Self {
            device,
            wanted: BTreeSet::new(),
            replaced: BTreeSet::new(),
            stuck: BTreeSet::new(),
            joined,
            unsettled: false,
            settle_at_ms: 0,
            unconfirmed: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Notes that all is here that was there before.
    pub(super) fn now_joined(&mut self, store: &mut Store, now_ms: i64) -> Result<(), EngineError> {
        let batch = SyncBatch {
            records: vec![SyncRecord {
                space: OWN,
                key: JOINED.to_vec(),
                value: Some(Vec::new()),
            }],
            ..SyncBatch::default()
        };
        store.sync_write(&batch, now_ms)?;
        self.joined = true;
        Ok(())
    }

    /// Keeps a device that has just been made, and begins to note what changes.
    pub(super) fn begin(
        store: &mut Store,
        device: Device,
        outputs: Vec<Output>,
        now_ms: i64,
    ) -> Result<Self, EngineError> {
        let mut machine = Self::of(device, false);
        let keys = machine.device.keychain().encode();
        let planned = Planned {
            outputs,
            batch: SyncBatch {
                records: vec![own_keys(&keys)],
                ..SyncBatch::default()
            },
        };
        store.begin_sync()?;
        let begun = machine.carry_out(store, planned, now_ms, &mut Effects::default());
        if let Err(error) = begun {
            store.end_sync()?;
            return Err(error);
        }
        Ok(machine)
    }

    /// Takes one input and says what is to be written; nothing is written yet.
    pub(super) fn step(&mut self, store: &Store, input: Input, now_ms: i64) -> Result<Planned, EngineError> {
        if matches!(input, Input::Connected { .. } | Input::Disconnected) {
            // It was meant for a connection that has ended; the journal has what is still to be said.
            self.held.clear();
        }
        let outputs = self
            .device
            .step(input, time(now_ms), &mut OsEntropy, &Disk(store))
            .map_err(|error| device_error(&error))?;
        Ok(Planned {
            outputs,
            batch: SyncBatch::default(),
        })
    }

    /// Writes what a step planned, and then everything that follows from it: confirmations of erasures, what waits to be
    /// published.
    pub(super) fn finish(
        &mut self,
        store: &mut Store,
        planned: Planned,
        now_ms: i64,
    ) -> Result<Effects, EngineError> {
        let mut effects = Effects::default();
        self.carry_out(store, planned, now_ms, &mut effects)?;
        self.pump(store, now_ms, &mut effects)?;
        self.settle(store, now_ms, &mut effects)?;
        if effects.notices.contains(&Notice::UpToDate) {
            let records = findings::disproved(store, &self.device, time(now_ms))?;
            write_own(store, records, now_ms)?;
        }
        Ok(effects)
    }

    /// The person has looked at what was found.
    pub(super) fn dismiss(store: &mut Store, now_ms: i64) -> Result<(), EngineError> {
        let records = findings::dismissed(store)?;
        write_own(store, records, now_ms)
    }

    /// Holds back what is to be sent while the log of the database may hold what went.
    fn settle(&mut self, store: &mut Store, now_ms: i64, effects: &mut Effects) -> Result<(), EngineError> {
        let now = time(now_ms);
        // A clock that was set back must not make it wait for ever. SQLite itself waits some seconds for the other program.
        let due = self.settle_at_ms <= now || self.settle_at_ms > now + SETTLE_AGAIN_MS;
        if self.unsettled && due {
            self.unsettled = !store.settle_erasures()?;
            self.settle_at_ms = now + SETTLE_AGAIN_MS;
        }
        if !self.unsettled && !self.unconfirmed.is_empty() {
            for done in std::mem::take(&mut self.unconfirmed) {
                self.confirm_or_wait(store, &done, now_ms, effects)?;
            }
            self.pump(store, now_ms, effects)?;
        }
        self.held.append(&mut effects.outgoing);
        if self.unsettled {
            effects.wake_by(self.settle_at_ms);
        } else {
            effects.outgoing = std::mem::take(&mut self.held);
        }
        Ok(())
    }

    fn confirm_or_wait(
        &mut self,
        store: &mut Store,
        done: &ErasureDone,
        now_ms: i64,
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        if self.unsettled {
            self.unconfirmed.push(done.clone());
            return Ok(());
        }
        self.confirm(store, done, now_ms, effects)
    }

    /// Hands over what was erased, asked for and changed here.
    fn pump(&mut self, store: &mut Store, now_ms: i64, effects: &mut Effects) -> Result<(), EngineError> {
        store.tell_usage(random_handle().0, now_ms)?;
        loop {
            let erased = store.outgoing_erasures(ERASED_AT_ONCE)?;
            if erased.is_empty() {
                break;
            }
            let mut planned = self.step(store, Input::Erase(erased.clone()), now_ms)?;
            planned.batch.ordered = erased;
            self.carry_out(store, planned, now_ms, effects)?;
        }
        if self.device.writing().is_none() {
            return Ok(());
        }
        while let Some(handle) = self.wanted.pop_first() {
            self.give_whole(store, handle, now_ms, effects)?;
        }
        let mut seen = BTreeSet::new();
        loop {
            let dirty = store.dirty(DIRTY_AT_ONCE + self.stuck.len())?;
            let fresh: Vec<Dirty> = dirty
                .into_iter()
                .filter(|dirty| seen.insert(dirty.mark) && !self.stuck.contains(&dirty.mark))
                .collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for dirty in fresh {
                self.give_changes(store, &dirty, now_ms, effects)?;
            }
        }
    }

    /// Publishes what changed of one thing.
    fn give_changes(
        &mut self,
        store: &mut Store,
        dirty: &Dirty,
        now_ms: i64,
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        let made = match self.device.writing() {
            Some(log) => publications(store, dirty, log, random_handle()),
            None => return Ok(()),
        };
        let made = match made {
            Ok(made) => made,
            Err(DocumentsError::Store(error)) => return Err(error.into()),
            Err(DocumentsError::Document(error)) => {
                return self.cannot_give(store, dirty, &error);
            }
        };
        let mut cleared = false;
        for publication in made {
            let mut planned = if publication.changes.is_empty() {
                Planned::default()
            } else {
                let input = Input::Changed {
                    handle: publication.handle,
                    kind: publication.kind,
                    content: LocalContent::Changes(publication.changes),
                };
                self.step(store, input, now_ms)?
            };
            cleared |= publication.mark.is_some();
            planned.batch.clear.extend(publication.mark);
            planned.batch.documents.extend(publication.write);
            self.carry_out(store, planned, now_ms, effects)?;
        }
        if !cleared {
            let mut planned = Planned::default();
            planned.batch.clear.push(dirty.mark);
            self.carry_out(store, planned, now_ms, effects)?;
        }
        Ok(())
    }

    /// A change that doesn't go into its document. A document that is damaged, or says that it is another thing's, is given
    /// up for a new one, once; what is too large stays noted as changed, so that a face can say so.
    fn cannot_give(
        &mut self,
        store: &mut Store,
        dirty: &Dirty,
        error: &DocumentError,
    ) -> Result<(), EngineError> {
        let lost = !matches!(error, DocumentError::TooLarge(_));
        if lost && self.replaced.insert(dirty.item.clone()) {
            tracing::warn!(%error, "a document can't be written to: its thing goes on in a new one");
            store.replace_documents(&dirty.item)?;
        } else if self.stuck.insert(dirty.mark) {
            tracing::warn!(%error, "a change can't be synced");
        }
        Ok(())
    }

    /// Things that changed here and can't be synced.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Publishes a document as a whole.
    fn give_whole(
        &mut self,
        store: &mut Store,
        handle: Handle,
        now_ms: i64,
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        let Some(kept) = store.sync_document(handle)? else {
            return Ok(());
        };
        let kind = document_kind(kept.item.kind);
        let Snapshot { document } = match snapshot(store, handle, NOBODY) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(()),
            Err(DocumentsError::Store(error)) => return Err(error.into()),
            Err(DocumentsError::Document(error)) => {
                tracing::warn!(%error, "a document that was kept can't be read");
                return Ok(());
            }
        };
        let content = LocalContent::Snapshot { document };
        let planned = self.step(
            store,
            Input::Changed {
                handle,
                kind,
                content,
            },
            now_ms,
        )?;
        self.carry_out(store, planned, now_ms, effects)
    }

    fn carry_out(
        &mut self,
        store: &mut Store,
        planned: Planned,
        now_ms: i64,
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        let Planned { outputs, mut batch } = planned;
        let mut incoming = Incoming::new(store, NOBODY);
        for output in outputs {
            match output {
                Output::Write(records) => {
                    batch.records.extend(records.into_iter().map(|record| SyncRecord {
                        space: record.space,
                        key: record.key,
                        value: record.value,
                    }));
                }
                Output::Apply {
                    handle,
                    kind,
                    content,
                    log,
                    ..
                } => take(store, &mut incoming, &mut batch, (handle, log), kind, content)?,
                Output::EraseNow { erase, handles } => batch.erasures.push(ErasureOrder {
                    erase: erase.0,
                    also: follows(store, &handles)?,
                    handles,
                }),
                Output::Keychain(keys) => {
                    // An acknowledgement of an epoch says that what opened the ones before is gone: from the log, too.
                    let older = store.sync_record(OWN, KEYCHAIN)?.map(Zeroizing::new);
                    let older = older.and_then(|bytes| Keychain::decode(&bytes).ok());
                    batch.forgets |= older.is_some_and(|older| !keys.has_all_of(&older));
                    batch.records.push(own_keys(&keys.encode()));
                }
                Output::Send(bytes) => effects.outgoing.push(Outgoing::Frame(bytes)),
                Output::SendBatch { bytes, priority } => {
                    effects.outgoing.push(Outgoing::Batch(bytes, priority));
                }
                Output::Close(code) => effects.outgoing.push(Outgoing::Close(code)),
                // What waits is looked for after every step.
                Output::Publish { .. } => {}
                Output::NeedSnapshot { handle } => _ = self.wanted.insert(handle),
                Output::Notice(notice) => {
                    batch.records.extend(findings::record(store, &notice, now_ms)?);
                    effects.notices.push(notice);
                }
                Output::WakeAt(at) => effects.wake_by(at),
            }
        }
        let (documents, damaged) = incoming.finish().map_err(documents_error)?;
        for (_, error) in damaged {
            // An enrolled device's mistake: it must not stop the others.
            tracing::warn!(%error, "what another device sent can't be read");
        }
        batch.documents.extend(documents);
        if batch == SyncBatch::default() {
            return Ok(());
        }
        // What the account had before this device came is a history, not news.
        batch.job_of_new = self.joined.then_some(COMPARE);
        let mut report = store.sync_write(&batch, now_ms)?;
        let done = std::mem::take(&mut report.erasures);
        if report.log_in_use && !self.unsettled {
            self.unsettled = true;
            self.settle_at_ms = time(now_ms) + SETTLE_AGAIN_MS;
            tracing::warn!(
                "another program reads the database: what was erased is confirmed once it has ended"
            );
        }
        effects.reports.push(report);
        for done in done {
            self.confirm_or_wait(store, &done, now_ms, effects)?;
            if let Some(report) = effects.reports.last_mut() {
                report.erasures.push(done);
            }
        }
        Ok(())
    }

    /// Says that an erasure is carried out, and brings back what another document still says.
    fn confirm(
        &mut self,
        store: &mut Store,
        done: &ErasureDone,
        now_ms: i64,
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        for item in &done.rebuild {
            let Some(kept) = store.sync_documents(item)?.into_iter().next() else {
                continue;
            };
            let content = united(store, item).map_err(documents_error)?;
            let batch = SyncBatch {
                documents: vec![DocumentWrite {
                    document: kept,
                    content,
                    more: false,
                }],
                ..SyncBatch::default()
            };
            effects.reports.push(store.sync_write(&batch, now_ms)?);
        }
        let input = Input::ClosureDone {
            erase: Hash(done.erase),
            journal: Hash(done.journal),
            more: done.more.clone(),
        };
        let mut planned = self.step(store, input, now_ms)?;
        planned.batch.ordered.clone_from(&done.more);
        self.carry_out(store, planned, now_ms, effects)
    }

    /// The certificate of an erasure; none: there is no such erasure.
    pub(super) fn certificate(
        &self,
        store: &Store,
        erase: &Hash,
        now_ms: i64,
    ) -> Result<Option<(Vec<u8>, bool)>, EngineError> {
        self.device
            .certificate(erase, time(now_ms), &Disk(store))
            .map(|made| made.map(|(file, report)| (file, report.complete)))
            .map_err(|error| device_error(&error))
    }

    /// The wraps of the running epoch, for a drill.
    pub(super) fn wraps(store: &Store) -> Result<Option<hearth_protocol::control::EpochWraps>, EngineError> {
        let record = store.sync_record(hearth_sync::device::space::WRAPS, b"state")?;
        Ok(record.and_then(|bytes| Wire::decode(&bytes).ok()))
    }
}

/// Writes records of the engine's own, by themselves.
fn write_own(store: &mut Store, records: Vec<SyncRecord>, now_ms: i64) -> Result<(), EngineError> {
    if !records.is_empty() {
        let batch = SyncBatch {
            records,
            ..SyncBatch::default()
        };
        store.sync_write(&batch, now_ms)?;
    }
    Ok(())
}

/// Puts what came into its document; pieces wait until the last one is here.
fn take(
    store: &Store,
    incoming: &mut Incoming<'_>,
    batch: &mut SyncBatch,
    (handle, log): (Handle, LogId),
    kind: Option<DocumentKind>,
    content: FromOthers,
) -> Result<(), EngineError> {
    let (kind, whole) = match (content, kind) {
        (FromOthers::Chunk { index, bytes, .. }, _) => {
            let place = index;
            keep_piece(
                batch,
                SyncPiece {
                    handle,
                    log,
                    place,
                    bytes,
                },
            );
            return Ok(());
        }
        (_, None) => return Ok(()),
        (FromOthers::Changes(changes), Some(kind)) => {
            return incoming
                .take(handle, kind, Arrived::Changes(&changes))
                .map_err(documents_error);
        }
        (FromOthers::Snapshot { document, .. }, Some(kind)) if !document.is_empty() => (kind, document),
        (FromOthers::Snapshot { .. }, Some(kind)) => (kind, put_together(store, batch, (handle, log))?),
    };
    incoming
        .take(handle, kind, Arrived::Snapshot(&whole))
        .map_err(documents_error)
}

/// Keeps a piece. The first one begins its document anew, whatever a try before it has left.
fn keep_piece(batch: &mut SyncBatch, piece: SyncPiece) {
    if piece.place == 0 {
        let of = (piece.handle, piece.log);
        batch.pieces.retain(|other| (other.handle, other.log) != of);
        batch.assembled.push(of);
    }
    batch.pieces.push(piece);
}

/// The pieces of a document, one behind the other; they aren't kept any longer.
fn put_together(
    store: &Store,
    batch: &mut SyncBatch,
    (handle, log): (Handle, LogId),
) -> Result<Vec<u8>, EngineError> {
    // Where it has begun within this very step, what the database has is of a try before it.
    let begun = batch.assembled.contains(&(handle, log));
    let mut pieces = if begun {
        Vec::new()
    } else {
        store.sync_pieces(handle, log)?
    };
    // Those of this step aren't there yet.
    let (these, others) = std::mem::take(&mut batch.pieces)
        .into_iter()
        .partition(|piece: &SyncPiece| (piece.handle, piece.log) == (handle, log));
    batch.pieces = others;
    let these: Vec<SyncPiece> = these;
    pieces.retain(|piece| these.iter().all(|other| other.place != piece.place));
    pieces.extend(these);
    pieces.sort_by_key(|piece| piece.place);
    batch.assembled.push((handle, log));
    Ok(pieces.into_iter().flat_map(|piece| piece.bytes).collect())
}

fn document_kind(kind: SyncKind) -> DocumentKind {
    match kind {
        SyncKind::Memory => DocumentKind::Memory,
        SyncKind::Chat => DocumentKind::Chat,
        SyncKind::Settings => DocumentKind::Settings,
        SyncKind::Usage => DocumentKind::Usage,
        SyncKind::Media => DocumentKind::Media,
    }
}

fn documents_error(error: DocumentsError) -> EngineError {
    match error {
        DocumentsError::Store(error) => error.into(),
        DocumentsError::Document(error) => EngineError::Internal(format!("a document of sync: {error}")),
    }
}

fn own_keys(keys: &[u8]) -> SyncRecord {
    SyncRecord {
        space: OWN,
        key: KEYCHAIN.to_vec(),
        value: Some(keys.to_vec()),
    }
}

fn random_handle() -> Handle {
    let mut bytes = [0; 16];
    OsEntropy.fill(&mut bytes);
    Handle(bytes)
}

/// A clock before 1970 is 1970.
pub(super) fn time(now_ms: i64) -> u64 {
    u64::try_from(now_ms).unwrap_or(0)
}

pub(super) fn device_error(error: &DeviceError) -> EngineError {
    EngineError::Internal(format!("sync: {error}"))
}

#[cfg(test)]
mod tests;
