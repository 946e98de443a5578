//! What comes in: chains are checked and stored, then applied as soon as everything they build on is.
//!
//! A log is applied in order: an item that waits holds up those behind it, so that what is applied is always a vector,
//! and equal vectors mean equal live sets. Causality has no cycles, so something can always go on.

use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::{
    Batch, Envelope, HeaderVersion, Item, Kind, Run, Sealed, header_hash, next_link, position_id,
};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::verify;
use hearth_protocol::id::{Handle, Hash, Link, LogId, Signature, VerifyKey};
use hearth_protocol::limits::MAX_CHUNK_BYTES;
use hearth_protocol::vector::Head;

use super::record::{Document, Pieces, Place, live_key, of_live_key, place_key, raised, space};
use super::session::Stage;
use super::start::Start;
use super::turn::Turn;
use super::{DeviceError, Incoming, MAX_HELD_BYTES, Notice, Output, Proof, Suspicion};
use crate::content::{Content, DocumentKind};
use crate::document::MAX_DOCUMENT_BYTES;
use crate::keys::EpochKey;
use crate::seal::{new_document_key, open};
use crate::secret::Secret;

/// Pieces of one document: as many as the largest has.
const MAX_PIECES: u32 = (MAX_DOCUMENT_BYTES / MAX_CHUNK_BYTES) as u32 + 1;

/// What becomes of an item that is next.
enum Verdict {
    /// Applied, or nothing to apply.
    Done,
    /// Something that it builds on is missing.
    Waits,
}

impl Turn<'_> {
    pub(super) fn batch(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        if self.d.session.is_none() {
            return Ok(());
        }
        match Batch::decode(bytes) {
            Ok(Batch::Run(run)) => {
                let known = self.d.logs.contains_key(&run.log);
                if self.stage() == Some(Stage::Open) && known && !self.waits_for_start() {
                    self.take_run(run)
                } else {
                    self.hold(run.log, bytes.to_vec());
                    Ok(())
                }
            }
            // Only whoever begins at a checkpoint is sent these; or whoever asks too far back, and then does.
            Ok(Batch::Detached(_)) if self.waits_for_start() => {
                self.hold(LogId([0; 16]), bytes.to_vec());
                Ok(())
            }
            Ok(Batch::Detached(list)) => self.take_detached(list.into_inner()),
            Err(_) => {
                self.end(Some(ErrorCode::Malformed));
                Ok(())
            }
        }
    }

    fn waits_for_start(&self) -> bool {
        let session = self.d.session.as_ref();
        session.is_some_and(|session| session.start == Start::Waiting)
    }

    /// Streams overtake each other: a run may come before its log's opening, the gate's answer, even the greeting's.
    /// As bytes: decoded, a run of holes takes ten times as many.
    fn hold(&mut self, log: LogId, bytes: Vec<u8>) {
        let Some(session) = self.session() else {
            return;
        };
        if session.held_bytes + bytes.len() <= MAX_HELD_BYTES {
            session.held_bytes += bytes.len();
            session.held.push_back((log, bytes));
        } else {
            session.dropped = true;
            session.start_dropped = true;
        }
    }

    pub(super) fn release_held(&mut self) -> Result<(), DeviceError> {
        if self.stage() != Some(Stage::Open) || self.waits_for_start() {
            return Ok(());
        }
        let Some(session) = self.session() else {
            return Ok(());
        };
        let held = std::mem::take(&mut session.held);
        session.held_bytes = 0;
        for (log, bytes) in held {
            match Batch::decode(&bytes) {
                Ok(Batch::Run(_)) if !self.d.logs.contains_key(&log) => self.hold(log, bytes),
                Ok(Batch::Run(run)) => self.take_run(run)?,
                Ok(Batch::Detached(list)) => self.take_detached(list.into_inner())?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn take_run(&mut self, run: Run) -> Result<(), DeviceError> {
        let log = run.log;
        let account = self.account();
        let (Some(key), Some(state)) = (self.log_key(&log), self.d.logs.get(&log).cloned()) else {
            return Ok(());
        };
        let device = state.open.statement.device;
        let mut head = state.stored;
        // What isn't vouched for by a signature yet.
        let mut bare: Vec<(u64, Place)> = Vec::new();
        let mut seq = run.first_seq;
        for item in run.items.into_inner() {
            if seq <= state.stored.seq {
                self.seen_before(&log, seq, item, &key)?;
                seq += 1;
                continue;
            }
            let reached = bare.last().map_or(head, |(seq, place)| Head {
                seq: *seq,
                link: place.link,
            });
            // A gap: what is between was lost, and is asked for once everything else has come.
            if seq != reached.seq + 1 {
                if let Some(session) = self.session() {
                    session.dropped = true;
                }
                break;
            }
            if !self.d.account.accepts_item(&device, &log, seq) {
                break;
            }
            let (hash, signature, sealed) = taken_apart(&account, &log, seq, &reached.link, item);
            let link = next_link(&reached.link, &hash);
            // A revocation says where the chain ends: another one isn't gone along with.
            if let Some(last) = self.d.account.last_head(&device, &log)
                && last.seq == seq
                && last.link != link
            {
                self.notice(Notice::Suspicion(Suspicion::Withheld { log }));
                break;
            }
            let place = Place {
                link,
                header_hash: hash,
                signature,
            };
            let Some(signature) = signature else {
                bare.push((seq, place));
                seq += 1;
                continue;
            };
            if verify(&key, &position_id(&account, &log, seq, &link), &signature).is_err() {
                self.notice(Notice::Tampered);
                break;
            }
            for (seq, place) in bare.drain(..) {
                self.disk.put(space::PLACE, &place_key(&log, seq), &place);
            }
            self.disk.put(space::PLACE, &place_key(&log, seq), &place);
            if let Some(sealed) = sealed
                && !self.is_erased(&sealed.fields.handle)?
            {
                self.disk.put(space::BODY, &place_key(&log, seq), &sealed);
            }
            head = Head { seq, link };
            seq += 1;
        }
        if head.seq > state.stored.seq {
            if let Some(state) = self.d.logs.get_mut(&log) {
                state.stored = head;
            }
            self.put_log(&log);
            if let Some(session) = self.session() {
                session.unacked.insert(log, head.seq);
            }
        }
        Ok(())
    }

    /// An item whose number is known: the same, or a proof, or the body of what was passed off as a hole.
    fn seen_before(&mut self, log: &LogId, seq: u64, item: Item, key: &VerifyKey) -> Result<(), DeviceError> {
        let account = self.account();
        let Some(previous) = self.link_at(log, seq.saturating_sub(1))? else {
            return Ok(());
        };
        let Some(place) = self.disk.get::<Place>(space::PLACE, &place_key(log, seq))? else {
            return Ok(());
        };
        let (hash, signature, sealed) = taken_apart(&account, log, seq, &previous, item);
        let link = next_link(&previous, &hash);
        let signed = signature.is_some_and(|signature| {
            verify(key, &position_id(&account, log, seq, &link), &signature).is_ok()
        });
        if hash != place.header_hash {
            if signed {
                self.notice(Notice::Proof(Proof::TwoHashes { log: *log, seq }));
            } else {
                self.notice(Notice::Tampered);
            }
            return Ok(());
        }
        let applied = self.d.logs.get(log).is_some_and(|state| seq <= state.applied.seq);
        if let (Some(sealed), true, None) = (sealed, signed && applied, self.body(log, seq)?) {
            self.late_body(log, seq, &previous, sealed)?;
        }
        Ok(())
    }

    /// A body that comes after its hole.
    fn late_body(
        &mut self,
        log: &LogId,
        seq: u64,
        previous: &Link,
        sealed: Sealed,
    ) -> Result<(), DeviceError> {
        let mine = self
            .d
            .logs
            .get(log)
            .is_some_and(|state| state.open.statement.device == self.d.me);
        let document = self.document(&sealed.fields.handle)?;
        let covered = document.covered.get(log).is_some_and(|upto| seq <= *upto);
        if mine || covered {
            return Ok(());
        }
        self.disk.put(space::BODY, &place_key(log, seq), &sealed);
        if let Verdict::Waits = self.apply(log, seq, previous, sealed)? {
            self.disk.delete(space::BODY, &place_key(log, seq));
        }
        Ok(())
    }

    pub(super) fn body(&self, log: &LogId, seq: u64) -> Result<Option<Sealed>, DeviceError> {
        self.disk.get(space::BODY, &place_key(log, seq))
    }

    pub(super) fn document(&self, handle: &Handle) -> Result<Document, DeviceError> {
        Ok(self.disk.get(space::DOCUMENT, &handle.0)?.unwrap_or_default())
    }

    /// Whether everything that is stored is applied.
    pub(super) fn all_applied(&self) -> bool {
        !self.is_beginning() && self.d.logs.values().all(|log| log.applied.seq == log.stored.seq)
    }

    /// Applies what can be, until nothing moves any more.
    pub(super) fn apply_all(&mut self) -> Result<(), DeviceError> {
        self.apply_waiting()?;
        loop {
            let ready: Vec<LogId> = self
                .d
                .logs
                .iter()
                .filter(|(_, log)| log.applied.seq < log.stored.seq)
                .map(|(id, _)| *id)
                .collect();
            let mut moved = false;
            for log in ready {
                while self.apply_next(&log)? {
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// The place of the item that is to be applied next, if one is stored.
    pub(super) fn next_item(&self, log: &LogId) -> Result<Option<(u64, Place)>, DeviceError> {
        let Some(state) = self.d.logs.get(log) else {
            return Ok(None);
        };
        if state.applied.seq >= state.stored.seq {
            return Ok(None);
        }
        let seq = state.applied.seq + 1;
        let place: Place = self
            .disk
            .get(space::PLACE, &place_key(log, seq))?
            .ok_or(DeviceError::Missing(space::PLACE))?;
        Ok(Some((seq, place)))
    }

    /// Everything of a log up to this item is applied.
    pub(super) fn advance(&mut self, log: &LogId, seq: u64, place: &Place) {
        if let Some(state) = self.d.logs.get_mut(log) {
            state.applied = Head {
                seq,
                link: place.link,
            };
        }
        self.put_log(log);
        self.d.aside_stale = true;
    }

    pub(super) fn apply_next(&mut self, log: &LogId) -> Result<bool, DeviceError> {
        let Some((seq, place)) = self.next_item(log)? else {
            return Ok(false);
        };
        let Some(previous) = self.d.logs.get(log).map(|state| state.applied.link) else {
            return Ok(false);
        };
        let done = match self.body(log, seq)? {
            Some(sealed) => self.is_applied_now(log, seq, &previous, sealed)?,
            None => true,
        };
        if done {
            self.advance(log, seq, &place);
        }
        Ok(done)
    }

    /// Applies an envelope, unless it lacks something.
    pub(super) fn is_applied_now(
        &mut self,
        log: &LogId,
        seq: u64,
        previous: &Link,
        sealed: Sealed,
    ) -> Result<bool, DeviceError> {
        let verdict = self.apply(log, seq, previous, sealed)?;
        Ok(matches!(verdict, Verdict::Done))
    }

    /// Whether every erasure that an envelope names is done here.
    fn erasures_done(&self, sealed: &Sealed) -> bool {
        sealed.fields.erased.iter().all(|(log, number)| {
            self.d.erased.upto(log) >= *number
                || self.d.logs.get(log).is_some_and(|state| {
                    !self
                        .d
                        .account
                        .accepts_erasure(&state.open.statement.device, log, *number)
                })
        })
    }

    /// Whether a log's chain is here up to where a revocation has cut it off, if one has: nobody can go on with it up to a
    /// cut beyond what there was.
    fn leads_to_the_cut(&self, log: &LogId) -> bool {
        self.d.logs.get(log).is_some_and(|state| {
            let last = self.d.account.last_head(&state.open.statement.device, log);
            last.is_none_or(|last| state.stored.seq >= last.seq)
        })
    }

    /// Whether what an envelope builds on is applied, or covered by a snapshot that is.
    fn built_on(&self, sealed: &Sealed, document: &Document) -> bool {
        sealed.fields.depends.iter().all(|(log, seq)| {
            self.d.logs.get(log).is_some_and(|state| {
                state.applied.seq >= *seq
                    || !self
                        .d
                        .account
                        .accepts_item(&state.open.statement.device, log, *seq)
            }) || document.covered.get(log).is_some_and(|upto| upto >= seq)
        })
    }

    fn apply(
        &mut self,
        log: &LogId,
        seq: u64,
        previous: &Link,
        sealed: Sealed,
    ) -> Result<Verdict, DeviceError> {
        let fields = &sealed.fields;
        let handle = fields.handle;
        let log_device = &self
            .d
            .logs
            .get(log)
            .ok_or(DeviceError::Missing(space::LOG))?
            .open
            .statement
            .device;
        let generation = fields.generation;
        let void =
            self.d.account.is_void(log, seq, generation) || self.d.account.is_ahead(log_device, generation);
        if void || self.is_erased(&handle)? {
            self.disk.delete(space::BODY, &place_key(log, seq));
            return Ok(Verdict::Done);
        }
        let mut document = self.document(&handle)?;
        if document.covered.get(log).is_some_and(|upto| seq <= *upto) {
            self.disk.delete(space::BODY, &place_key(log, seq));
            return Ok(Verdict::Done);
        }
        // Of a revocation that isn't here yet: a batch overtakes the entry.
        let unheard = generation > self.d.account.generation();
        if unheard
            || !self.leads_to_the_cut(log)
            || !self.erasures_done(&sealed)
            || !self.built_on(&sealed, &document)
        {
            return Ok(Verdict::Waits);
        }
        let envelope = Envelope {
            version: HeaderVersion::V1,
            log: *log,
            seq,
            sealed,
        };
        let Some(key) = self.key_for(&envelope)? else {
            return Ok(Verdict::Waits);
        };
        let content = self.unsealed(&envelope, previous, &key)?;
        let Some((hash, content)) = content else {
            // Rightly signed: its author's own fault. It keeps its place, and everybody drops it alike.
            self.notice(Notice::Damaged { log: *log, seq });
            self.disk.delete(space::BODY, &place_key(log, seq));
            return Ok(Verdict::Done);
        };
        if let Content::Snapshot { document, .. } = &content
            && document.is_empty()
            && self.lacks_pieces(log, seq, &handle)?
        {
            return Ok(Verdict::Waits);
        }
        let torn = self.d.logs.get(log).is_some_and(|state| seq <= state.folded.seq);
        if torn && matches!(content, Content::Chunk { .. }) && !self.is_next_piece(&handle, log, &content)? {
            // Out of the chain one may come before the one that it continues.
            self.d.torn_pieces = true;
            return Ok(Verdict::Waits);
        }
        if let Kind::Snapshot(covers) = &envelope.sealed.fields.kind {
            self.cover(&handle, &mut document, &covers.all(log, seq))?;
        }
        document.merged = raised(&document.merged, [(*log, seq)]);
        document.live += 1;
        self.disk.put(space::DOCUMENT, &handle.0, &document);
        self.disk.put(space::LIVE, &live_key(&handle, log, seq), &hash);
        if !self.is_whole(&handle, log, &content)? {
            return Ok(Verdict::Done);
        }
        let (kind, at_ms, content) = incoming(content);
        self.effects.push(Output::Apply {
            handle,
            kind,
            content,
            log: *log,
            seq,
            at_ms,
        });
        Ok(Verdict::Done)
    }

    /// Whether content can be put out: pieces come in order, from the first on, and what ends them is of use only if all are
    /// here. One can be missing because the server had no room for it: the author writes the document again then.
    fn is_whole(&mut self, handle: &Handle, log: &LogId, content: &Content) -> Result<bool, DeviceError> {
        let key = [handle.0, log.0].concat();
        let known: Option<Pieces> = self.disk.get(space::PIECES, &key)?;
        match content {
            Content::Changes { .. } => Ok(true),
            Content::Chunk { index, count, .. } => {
                let fits = continues(known.as_ref(), *index, *count);
                if fits {
                    let (next, count) = (*index + 1, *count);
                    self.disk.put(space::PIECES, &key, &Pieces { next, count });
                } else {
                    self.disk.delete(space::PIECES, &key);
                }
                Ok(fits)
            }
            Content::Snapshot { document, .. } => {
                self.disk.delete(space::PIECES, &key);
                let all = known.is_some_and(|known| known.next == known.count);
                Ok(!document.is_empty() || all)
            }
        }
    }

    fn is_next_piece(&self, handle: &Handle, log: &LogId, content: &Content) -> Result<bool, DeviceError> {
        let known: Option<Pieces> = self.disk.get(space::PIECES, &[handle.0, log.0].concat())?;
        Ok(match content {
            Content::Chunk { index, count, .. } => continues(known.as_ref(), *index, *count),
            _ => true,
        })
    }

    /// The header hash and content of an envelope; none: it isn't what it says.
    fn unsealed(
        &self,
        envelope: &Envelope,
        previous: &Link,
        key: &Secret,
    ) -> Result<Option<(Hash, Content)>, DeviceError> {
        let signer = self
            .log_key(&envelope.log)
            .ok_or(DeviceError::Missing(space::LOG))?;
        let opened = open(&self.account(), previous, &signer, envelope, key);
        Ok(opened
            .ok()
            .and_then(|(hash, bytes)| Some((hash, Content::decode(&bytes).ok()?)))
            .filter(|(_, content)| fits(content, &envelope.sealed.fields.kind)))
    }

    /// The content of an envelope that is here; none: its key isn't, or it isn't what it says.
    pub(super) fn opened(
        &mut self,
        log: &LogId,
        seq: u64,
        previous: &Link,
        sealed: Sealed,
    ) -> Result<Option<Content>, DeviceError> {
        let envelope = Envelope {
            version: HeaderVersion::V1,
            log: *log,
            seq,
            sealed,
        };
        let Some(key) = self.key_for(&envelope)? else {
            return Ok(None);
        };
        Ok(self
            .unsealed(&envelope, previous, &key)?
            .map(|(_, content)| content))
    }

    /// What an accepted snapshot covers is alive no more.
    pub(super) fn cover(
        &mut self,
        handle: &Handle,
        document: &mut Document,
        covers: &[(LogId, u64)],
    ) -> Result<(), DeviceError> {
        for (key, _) in self.disk.all::<Hash>(space::LIVE, &handle.0)? {
            if let Some((_, log, seq)) = of_live_key(&key)
                && covers.iter().any(|(other, upto)| *other == log && seq <= *upto)
            {
                self.disk.delete(space::LIVE, &key);
                self.disk.delete(space::BODY, &place_key(&log, seq));
                document.live = document.live.saturating_sub(1);
            }
        }
        document.covered = raised(&document.covered, covers.iter().copied());
        Ok(())
    }

    /// The key of an envelope: known, or brought in by it under an epoch whose key is here.
    pub(super) fn key_for(&mut self, envelope: &Envelope) -> Result<Option<Secret>, DeviceError> {
        let fields = &envelope.sealed.fields;
        if let Some(key) = self.document_key(&fields.handle, fields.generation, fields.key)? {
            return Ok(Some(key));
        }
        let Some(new_key) = &fields.new_key else {
            return Ok(None);
        };
        let Some(epoch) = self.epoch_by_id(&new_key.epoch) else {
            return Ok(None);
        };
        match new_document_key(&self.account(), envelope, &epoch) {
            Ok(Some(key)) => {
                self.add_key(&fields.handle, fields.generation, fields.key, &key)?;
                let author = self
                    .d
                    .logs
                    .get(&envelope.log)
                    .map(|log| log.open.statement.device);
                if author.is_some_and(|author| self.d.account.member(&author).is_some()) {
                    self.write_with(&fields.handle, fields.generation, fields.key);
                }
                Ok(Some(key))
            }
            _ => Ok(None),
        }
    }

    /// The key of an epoch by its entry's id, as long as it isn't destroyed.
    fn epoch_by_id(&self, id: &Hash) -> Option<EpochKey> {
        let account = self.account();
        self.d.keys.epochs.iter().find_map(|key| {
            let number = self.d.epoch_entry(key.number)?;
            let entry = self.d.history.get(usize::try_from(number).ok()?)?;
            (entry.id(&account) == *id).then(|| key.clone())
        })
    }
}

/// Whether a piece begins a document or is the one behind what is there of it.
fn continues(known: Option<&Pieces>, index: u32, count: u32) -> bool {
    let next = known
        .filter(|known| known.count == count)
        .map_or(0, |known| known.next);
    index == 0 || index == next
}

/// Header hash, signature and body of an item at its place.
fn taken_apart(
    account: &hearth_protocol::id::AccountId,
    log: &LogId,
    seq: u64,
    previous: &Link,
    item: Item,
) -> (Hash, Option<Signature>, Option<Sealed>) {
    match item {
        Item::Hole(hash) => (hash, None, None),
        Item::SignedHole(hole) => (hole.header_hash, Some(hole.signature), None),
        Item::Envelope(sealed) => {
            let envelope = Envelope {
                version: HeaderVersion::V1,
                log: *log,
                seq,
                sealed,
            };
            let data = hearth_protocol::envelope::associated_data(account, previous, &envelope.header());
            let hash = header_hash(&data, &envelope.sealed.ciphertext);
            (hash, Some(envelope.sealed.signature), Some(envelope.sealed))
        }
    }
}

/// The content is of the kind that the header says.
fn fits(content: &Content, kind: &Kind) -> bool {
    matches!(
        (content, kind),
        (Content::Changes { .. }, Kind::Changes(_)) | (Content::Snapshot { .. }, Kind::Snapshot(_))
    ) || matches!((content, kind), (Content::Chunk { count, .. }, Kind::Chunk(_)) if *count <= MAX_PIECES)
}

fn incoming(content: Content) -> (Option<DocumentKind>, u64, Incoming) {
    match content {
        Content::Changes { kind, at, changes } => {
            let changes = changes
                .into_inner()
                .into_iter()
                .map(hearth_protocol::codec::Blob::into_inner)
                .collect();
            (Some(kind), at.ms, Incoming::Changes(changes))
        }
        Content::Snapshot { kind, at, document } => (
            Some(kind),
            at.ms,
            Incoming::Snapshot {
                document: document.into_inner(),
            },
        ),
        Content::Chunk { index, count, bytes } => (
            None,
            0,
            Incoming::Chunk {
                index,
                count,
                bytes: bytes.into_inner(),
            },
        ),
    }
}
