//! Beginning at a checkpoint: what was alive there comes out of its chain, the rest as runs from its frontier on.
//!
//! So a new device reads what lives, and not every hole since the account began; and a device that slept while the holes
//! before a frontier were folded away gets on again.

use std::collections::BTreeSet;

use hearth_protocol::envelope::{Detached, Nothing, next_link};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{DeviceId, Handle, Hash, Link, LogId};
use hearth_protocol::message::{Fetch, Request};
use hearth_protocol::statement::{AnyStatement, Checkpoint, Live, live_root};
use hearth_protocol::vector::Head;

use super::outbox::ITEM_BYTES;
use super::record::{Place, Torn, live_key, place_key, space};
use super::session::{Asked, genuine};
use super::statement::CHECKPOINT;
use super::turn::Turn;
use super::{DeviceError, Notice, Suspicion};
use crate::content::Content;

/// Under this statements keep the checkpoint that this device began at.
const BEGUN_AT: u8 = 7;

/// Bytes of what waited for keys that are applied in one step.
const APPLY_BYTES: usize = 8 << 20;

/// How far a session is with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It goes on from the device's own vector.
    No,
    /// The checkpoint is to be asked for.
    Wanted,
    /// It was asked for: everything that comes before the answer is held.
    Waiting,
    /// It is here.
    Done,
}

impl Turn<'_> {
    /// The checkpoint to begin at, as long as that is so.
    pub(super) fn start_with(&self) -> Option<Hash> {
        if self.d.state.starting.is_some() {
            return self.d.state.starting;
        }
        let expected = self.d.state.expected.as_ref()?.checkpoint;
        let own = self.d.state.log;
        let fresh = self
            .d
            .logs
            .iter()
            .all(|(log, state)| state.stored.seq == 0 || Some(*log) == own);
        (expected != Hash::ZERO && fresh).then_some(expected)
    }

    /// Whether something of what lived at the checkpoint isn't applied yet.
    pub(super) fn is_beginning(&self) -> bool {
        self.d.state.starting.is_some() || !self.d.torn.is_empty()
    }

    /// Asks for the checkpoint; true: the rest waits for it.
    pub(super) fn starts(&mut self) -> bool {
        let wanted = self.start_with();
        let Some(session) = self.d.session.as_mut() else {
            return false;
        };
        match (session.start, wanted) {
            (Start::Wanted, Some(id)) => {
                session.start = Start::Waiting;
                session.vector_said = true;
                self.ask(
                    Request::Fetch(Fetch::Checkpoint(id)),
                    Asked::FetchCheckpoint(Some(id)),
                );
                true
            }
            (Start::Wanted, None) => {
                session.start = Start::No;
                false
            }
            (Start::Waiting, _) => true,
            (Start::No | Start::Done, _) => false,
        }
    }

    /// Something can't be reached by chain any more: the newest checkpoint helps. True: it is asked for.
    pub(super) fn start_anew(&mut self) -> bool {
        let Some(session) = self.d.session.as_mut() else {
            return false;
        };
        if session.start_tried {
            return false;
        }
        session.start_tried = true;
        session.start = Start::Waiting;
        session.target = None;
        self.ask(
            Request::Fetch(Fetch::NewestCheckpoint(Nothing {})),
            Asked::FetchCheckpoint(None),
        );
        true
    }

    /// The checkpoint that was asked for isn't there any more, or there is none.
    pub(super) fn start_refused(&mut self, asked: Option<Hash>, code: ErrorCode, retry: u64) {
        if matches!(code, ErrorCode::RateLimited | ErrorCode::Busy) {
            if let Some(session) = self.session() {
                session.start = Start::Wanted;
            }
            self.wake_at(retry);
            return;
        }
        // A newer one of the same device may have taken its place.
        if asked.is_some() && self.start_anew() {
            return;
        }
        self.d.state.starting = None;
        if let Some(session) = self.session() {
            session.start = Start::No;
            session.vector_said = false;
        }
    }

    /// The answer: a checkpoint by a member. `asked`: which, or the newest.
    pub(super) fn start_answered(
        &mut self,
        asked: Option<Hash>,
        statements: Vec<AnyStatement>,
    ) -> Result<(), DeviceError> {
        let account = self.account();
        let found = statements.into_iter().find_map(|statement| match statement {
            AnyStatement::Checkpoint(checkpoint) => Some(checkpoint),
            _ => None,
        });
        // Of one that is out, too: it may have made the last one, and its frontier counts as far as it was let.
        let by_member = found.filter(|checkpoint| {
            let member = self.d.account.devices().get(&checkpoint.statement.device);
            genuine(checkpoint, &account, member.map(|member| &member.keys.log))
        });
        // None: it isn't what a device of the account signed. It goes on by chain, and whether all came stays open.
        let Some(checkpoint) = by_member else {
            self.start_refused(None, ErrorCode::NotFound, 0);
            return Ok(());
        };
        let id = checkpoint.id(&account);
        match asked {
            Some(asked) if asked == id => self.start_at(id, &checkpoint)?,
            Some(_) => {
                self.start_refused(None, ErrorCode::NotFound, 0);
            }
            None => {
                if let Some(session) = self.session() {
                    session.vector_said = true;
                }
                self.ask(
                    Request::Fetch(Fetch::Checkpoint(id)),
                    Asked::FetchCheckpoint(Some(id)),
                );
            }
        }
        Ok(())
    }

    /// Takes the frontier over: what was before it comes out of its chain.
    fn start_at(&mut self, id: Hash, checkpoint: &Signed<Checkpoint>) -> Result<(), DeviceError> {
        // Beside each device's newest: a newer one doesn't change where this device began.
        self.disk.put(space::STATEMENT, &[BEGUN_AT], checkpoint);
        if self.d.state.starting != Some(id) {
            // Another beginning: what lives there comes once more.
            for (key, _) in self.disk.all::<Torn>(space::TORN, &[])? {
                self.disk.delete(space::TORN, &key);
            }
        }
        let frontier: Vec<(LogId, Head)> = checkpoint.statement.frontier.iter().copied().collect();
        for (log, head) in frontier {
            let Some(state) = self.d.logs.get(&log) else {
                continue;
            };
            let device = state.open.statement.device;
            let Some(head) = self.allowed(&device, &log, head) else {
                continue;
            };
            if Some(log) == self.d.state.log || state.stored.seq >= head.seq {
                continue;
            }
            // What waited is of no more use by itself: if it lives, it comes again.
            for seq in state.applied.seq + 1..=state.stored.seq {
                self.disk.delete(space::BODY, &place_key(&log, seq));
            }
            if let Some(state) = self.d.logs.get_mut(&log) {
                (state.stored, state.applied, state.folded) = (head, head, head);
            }
            self.put_log(&log);
        }
        self.d.state.starting = Some(id);
        if let Some(session) = self.session() {
            session.start = Start::Done;
            session.start_came = true;
            (session.complete, session.target) = (false, None);
        }
        self.release_held()
    }

    /// As far of a log as its device may have written it.
    fn allowed(&self, device: &DeviceId, log: &LogId, head: Head) -> Option<Head> {
        if self.d.account.accepts_item(device, log, head.seq) {
            return Some(head);
        }
        let last = self.d.account.last_item(device, log);
        self.d
            .account
            .revocations()
            .iter()
            .filter_map(|revocation| revocation.cut.get(log))
            .find(|cut| cut.seq == last)
            .copied()
    }

    /// The checkpoint that this device is beginning at.
    fn beginning(&self) -> Result<Option<Signed<Checkpoint>>, DeviceError> {
        let Some(id) = self.d.state.starting else {
            return Ok(None);
        };
        self.checkpoint_of(&id)
    }

    /// A checkpoint that is kept, by its id.
    pub(super) fn checkpoint_of(&self, id: &Hash) -> Result<Option<Signed<Checkpoint>>, DeviceError> {
        let account = self.account();
        let mut all: Vec<(Vec<u8>, Signed<Checkpoint>)> = self.disk.all(space::STATEMENT, &[BEGUN_AT])?;
        all.extend(self.disk.all(space::STATEMENT, &[CHECKPOINT])?);
        Ok(all
            .into_iter()
            .map(|(_, checkpoint)| checkpoint)
            .find(|checkpoint| checkpoint.id(&account) == *id))
    }

    /// Envelopes out of their chain.
    pub(super) fn take_detached(&mut self, list: Vec<Detached>) -> Result<(), DeviceError> {
        let Some(checkpoint) = self.beginning()? else {
            // The holes behind what is here were folded away: a checkpoint leads on.
            self.start_anew();
            return Ok(());
        };
        let account = self.account();
        if let Some(session) = self.session() {
            session.start_came = true;
        }
        for Detached { previous, envelope } in list {
            let (log, seq) = (envelope.log, envelope.seq);
            let (Some(key), Some(state)) = (self.log_key(&log), self.d.logs.get(&log)) else {
                continue;
            };
            let device = state.open.statement.device;
            let folded = state.folded.seq;
            let before = checkpoint
                .statement
                .frontier
                .get(&log)
                .is_some_and(|head| seq <= head.seq);
            let at = place_key(&log, seq);
            if seq == 0
                || !before
                || !self.d.account.accepts_item(&device, &log, seq)
                // With a place it was taken; without one its log hadn't begun here when it came.
                || self.disk.has(space::TORN, &at)? && self.disk.has(space::PLACE, &at)?
            {
                continue;
            }
            let Ok(header_hash) = envelope.verify(&account, &previous, &key) else {
                self.notice(Notice::Tampered);
                continue;
            };
            self.disk.put(
                space::TORN,
                &at,
                &Torn {
                    previous,
                    header_hash,
                },
            );
            let handle = envelope.sealed.fields.handle;
            // What lies behind what was here already was judged when it came.
            if seq > folded || self.disk.has(space::LIVE, &live_key(&handle, &log, seq))? {
                continue;
            }
            let place = Place {
                link: next_link(&previous, &header_hash),
                header_hash,
                signature: Some(envelope.sealed.signature),
            };
            self.disk.put(space::PLACE, &at, &place);
            if self.is_erased(&handle)? {
                continue;
            }
            self.disk.put(space::BODY, &at, &envelope.sealed);
            // A document's pieces come before what puts them together: whoever waits lets nobody of its log pass.
            let first = self.d.torn.range((log, 0)..).next();
            let waits = first.is_some_and(|(other, earlier)| *other == log && *earlier < seq);
            if waits || !self.is_applied_now(&log, seq, &previous, envelope.sealed)? {
                self.disk.put(space::WAITS, &at, &0u8);
                self.d.torn.insert((log, seq));
            }
            // Perhaps a piece that a document waits for.
            self.d.torn_again |= self.d.torn_pieces;
        }
        Ok(())
    }

    /// Whether a document that came out of its chain in pieces isn't here whole.
    pub(super) fn lacks_pieces(
        &mut self,
        log: &LogId,
        seq: u64,
        handle: &Handle,
    ) -> Result<bool, DeviceError> {
        if self.d.logs.get(log).is_none_or(|state| seq > state.folded.seq) {
            return Ok(false);
        }
        let last = seq - 1;
        let previous = self.link_before(log, last)?;
        let piece = match (previous, self.body(log, last)?) {
            (Some(previous), Some(sealed)) if sealed.fields.handle == *handle => {
                self.opened(log, last, &previous, sealed)?
            }
            _ => None,
        };
        let mut lacks = true;
        if let Some(Content::Chunk { count, .. }) = piece {
            lacks = false;
            for seq in seq.saturating_sub(count.into())..seq {
                lacks |= !self.disk.has(space::LIVE, &live_key(handle, log, seq))?;
            }
        }
        self.d.torn_pieces |= lacks;
        Ok(lacks)
    }

    /// Tries those again that wait for keys, when there are new ones.
    pub(super) fn apply_waiting(&mut self) -> Result<(), DeviceError> {
        let again = std::mem::take(&mut self.d.torn_again);
        if self.d.torn.is_empty() || self.d.torn_table == self.d.table && !again {
            return Ok(());
        }
        self.d.torn_table = self.d.table;
        self.d.torn_pieces = false;
        let mut bytes = 0;
        let waiting: Vec<(LogId, u64)> = self.d.torn.iter().copied().collect();
        let mut behind: BTreeSet<(LogId, Handle)> = BTreeSet::new();
        for (log, seq) in waiting {
            let at = place_key(&log, seq);
            let torn: Option<Torn> = self.disk.get(space::TORN, &at)?;
            let (Some(torn), Some(body)) = (torn, self.body(&log, seq)?) else {
                self.disk.delete(space::WAITS, &at);
                self.d.torn.remove(&(log, seq));
                continue;
            };
            if bytes >= APPLY_BYTES {
                // Not more in one transaction.
                self.d.torn_again = true;
                self.wake_at(self.now);
                return Ok(());
            }
            let handle = body.fields.handle;
            let size = body.ciphertext.len() + ITEM_BYTES;
            if behind.contains(&(log, handle)) || !self.is_applied_now(&log, seq, &torn.previous, body)? {
                behind.insert((log, handle));
                continue;
            }
            bytes += size;
            self.disk.delete(space::WAITS, &at);
            self.d.torn.remove(&(log, seq));
        }
        self.begun()
    }

    /// Heartbeats that came meanwhile can be compared now.
    fn begun(&mut self) -> Result<(), DeviceError> {
        if let Some(session) = self.session() {
            session.start_came = true;
        }
        if self.is_beginning() {
            return Ok(());
        }
        self.compare_all()
    }

    /// Whether all has come that lived at the checkpoint, by its root. Something of it may have been erased or covered since:
    /// then heartbeats have to tell. If nothing was, what is missing is withheld, and asked for at every connection.
    pub(super) fn finish_start(&mut self) -> Result<(), DeviceError> {
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        if session.complete && !session.start_retried && !self.d.torn.is_empty() {
            let at = session.missing_at.max(self.now);
            if at == self.now
                && let Some(session) = self.session()
            {
                // A key may have come with an envelope.
                session.start_retried = true;
                self.d.torn_again = true;
            }
            self.wake_at(at);
        }
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        if self.d.state.starting.is_none() || !session.complete || session.start == Start::No {
            return Ok(());
        }
        let until = session.missing_at;
        if !session.start_came && self.now < until {
            self.wake_at(until);
            return Ok(());
        }
        if !session.start_came && !self.d.torn.is_empty() {
            return Ok(());
        }
        if let Some(session) = self.session() {
            session.start_came = false;
        }
        if let Some(checkpoint) = self.beginning()? {
            let statement = &checkpoint.statement;
            if !self.has_lived_there(statement)? {
                if self.now < until {
                    self.wake_at(until);
                    return Ok(());
                }
                if self.start_over() {
                    return Ok(());
                }
                if !self.d.torn.is_empty() {
                    return Ok(());
                }
                if self.applied_vector()? == statement.frontier
                    && self.d.erased.root() == statement.erased_root
                {
                    if let Some(session) = self.session() {
                        session.start = Start::No;
                    }
                    self.notice(Notice::Suspicion(Suspicion::Checkpoint));
                    return Ok(());
                }
            }
        }
        self.d.state.starting = None;
        let heads: Vec<(LogId, u64)> = self
            .d
            .logs
            .iter()
            .map(|(log, state)| (*log, state.stored.seq))
            .filter(|(_, seq)| *seq > 0)
            .collect();
        if let Some(session) = self.session() {
            // If it turns out to lack something, the next connection begins again.
            session.start = Start::No;
            session.unacked.extend(heads);
            session.ack_due = true;
        }
        self.begun()
    }

    /// More came than could be held, so something is missing for that alone: once more. True: it is asked for.
    fn start_over(&mut self) -> bool {
        let Some((session, id)) = self.d.session.as_mut().zip(self.d.state.starting) else {
            return false;
        };
        if !session.start_dropped {
            return false;
        }
        (session.start_dropped, session.start, session.target) = (false, Start::Waiting, None);
        self.ask(
            Request::Fetch(Fetch::Checkpoint(id)),
            Asked::FetchCheckpoint(Some(id)),
        );
        true
    }

    /// Whether all that lived at a checkpoint has come, or is what lives here now.
    pub(super) fn has_lived_there(&self, checkpoint: &Checkpoint) -> Result<bool, DeviceError> {
        let root = checkpoint.live_root;
        Ok(self.torn_root(checkpoint)? == root || self.live_root()? == root)
    }

    /// The link before an item.
    pub(super) fn link_before(&self, log: &LogId, seq: u64) -> Result<Option<Link>, DeviceError> {
        match self.disk.get::<Torn>(space::TORN, &place_key(log, seq))? {
            Some(torn) => Ok(Some(torn.previous)),
            None => self.link_at(log, seq.saturating_sub(1)),
        }
    }

    /// The root of what came out of its chain up to a checkpoint's frontier.
    fn torn_root(&self, checkpoint: &Checkpoint) -> Result<Hash, DeviceError> {
        let mut live = Vec::new();
        self.disk.each(space::TORN, &[], |key, torn: Torn| {
            let (log, seq) = super::record::of_place_key(key).ok_or(DeviceError::Missing(space::TORN))?;
            if checkpoint.frontier.get(&log).is_some_and(|head| seq <= head.seq) {
                live.push(Live {
                    log,
                    seq,
                    header_hash: torn.header_hash,
                });
            }
            Ok(())
        })?;
        Ok(live_root(live))
    }
}
