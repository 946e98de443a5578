//! What goes out: local changes wait unsealed; what is sealed is on disk before it is sent, and goes again as it is.

use std::collections::BTreeSet;

use hearth_protocol::codec::{Blob, Wire};
use hearth_protocol::envelope::{
    Batch, Covers, HeaderVersion, Item, Kind, Nothing, Run, SignedHole, next_link,
};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::key_ref;
use hearth_protocol::id::{Handle, Hash, InstanceToken, LogId};
use hearth_protocol::limits::{MAX_BATCH_ITEMS, MAX_CHUNK_BYTES, MAX_HEADER_LOGS};
use hearth_protocol::message::{Priority, Stored};
use hearth_protocol::statement::AnyStatement;
use hearth_protocol::vector::{FewPositions, Head, Positions, VersionVector};

use super::bring::Bringing;
use super::pump::MISSING_AFTER_MS;
use super::record::{
    Log, Piecemeal, Place, Server, Waiting, live_key, of_live_key, place_key, raised, space,
};
use super::session::Stage;
use super::turn::Turn;
use super::{BATCH_BYTES, COMPACT_AT, DeviceError, LocalContent, MAX_UNCONFIRMED_BYTES, Notice, Output};
use crate::content::{Content, DocumentKind, MAX_CONTENT_BYTES};
use crate::seal::{Draft, seal};
use crate::secret::Secret;

/// Bytes of content that are left for what surrounds it.
const ROOM: usize = MAX_CONTENT_BYTES - 16 * 1024;
/// Changes of one envelope.
const MAX_CHANGES: usize = 4_096;
/// How long content waits that the server had no room for.
pub(super) const QUOTA_WAIT_MS: u64 = 60 * 60 * 1_000;
/// Times that a session sends everything again before it is given up.
const MAX_RESENDS: u32 = 8;
/// At least so long between two times.
const RESEND_MS: u64 = 1_000;
/// Bytes of an item beside its body, about.
pub(super) const ITEM_BYTES: usize = 400;

impl Turn<'_> {
    /// Something is to be published: it waits on disk.
    pub(super) fn changed(
        &mut self,
        handle: Handle,
        kind: DocumentKind,
        content: LocalContent,
    ) -> Result<(), DeviceError> {
        if self.is_erased(&handle)? {
            return Ok(());
        }
        match content {
            LocalContent::Changes(changes) => {
                if changes.iter().any(|change| change.len() > ROOM) {
                    self.need(&handle, self.now);
                    return Ok(());
                }
                for change in changes {
                    let what = Piecemeal::Change(change.try_into()?);
                    self.wait(&Waiting { handle, kind, what });
                }
            }
            LocalContent::Snapshot { document } => {
                self.changed_whole(handle, kind, document)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, waiting: &Waiting) {
        let number = self.next_number();
        self.disk.put(space::OUTBOX, &number.to_be_bytes(), waiting);
        self.d
            .outbox
            .insert(number, (waiting.handle, waiting.what.size()));
    }

    fn changed_whole(
        &mut self,
        handle: Handle,
        kind: DocumentKind,
        document: Vec<u8>,
    ) -> Result<(), DeviceError> {
        // It stands for everything of this document that is here.
        self.drop_waiting(&handle);
        self.d.needed.remove(&handle);
        self.d.asked_needs.remove(&handle);
        self.disk.delete(space::NEED, &handle.0);
        let mut covers = self.document(&handle)?.covered;
        let mut live = Vec::new();
        self.disk.each(space::LIVE, &handle.0, |key, _: Hash| {
            live.extend(of_live_key(key).map(|(_, log, seq)| (log, seq)));
            Ok(())
        })?;
        covers = raised(&covers, live);
        let whole = if document.len() <= ROOM {
            document
        } else {
            let pieces = document.chunks(MAX_CHUNK_BYTES);
            let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
            for (index, bytes) in (0..count).zip(pieces) {
                let what = Piecemeal::Chunk {
                    index,
                    count,
                    bytes: bytes.to_vec().try_into()?,
                };
                self.wait(&Waiting { handle, kind, what });
            }
            Vec::new()
        };
        let what = Piecemeal::Snapshot {
            covers,
            document: whole.try_into()?,
        };
        self.wait(&Waiting { handle, kind, what });
        Ok(())
    }

    fn drop_waiting(&mut self, handle: &Handle) {
        let numbers: Vec<u64> = self
            .d
            .outbox
            .iter()
            .filter(|(_, (other, _))| other == handle)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.d.outbox.remove(&number);
            self.disk.delete(space::OUTBOX, &number.to_be_bytes());
        }
    }

    /// Asks for a snapshot of a document, not before this time.
    pub(super) fn need(&mut self, handle: &Handle, at: u64) {
        self.d.needed.insert(*handle, at);
        self.d.asked_needs.remove(handle);
        self.disk.put(space::NEED, &handle.0, &at);
    }

    /// How long a document waits that the other side took as a hole: it may be late with the reason, or have none. Nothing
    /// at first, then a second, and twice as long each time.
    fn wait_if_turned_away(&mut self, handle: &Handle) -> u64 {
        let now = self.now;
        self.d
            .turned_away
            .retain(|_, (_, last)| now.saturating_sub(*last) <= 2 * QUOTA_WAIT_MS);
        let (times, last) = self.d.turned_away.entry(*handle).or_default();
        let wait = match *times {
            0 => 0,
            times => (1_000 << (times - 1).min(12)).min(QUOTA_WAIT_MS),
        };
        *times += 1;
        *last = now;
        wait
    }

    /// The server says how much it has of the account: what it had no room for is tried again if there is some.
    pub(super) fn try_room(&mut self, used_bytes: u64, quota_bytes: u64) {
        if quota_bytes != 0 && used_bytes >= quota_bytes {
            return;
        }
        let now = self.now;
        let waiting: Vec<Handle> = self
            .d
            .needed
            .iter()
            .filter(|(handle, at)| **at > now && !self.d.turned_away.contains_key(handle))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in waiting {
            self.need(&handle, now);
        }
    }

    pub(super) fn ask_needed(&mut self) {
        if self
            .d
            .session
            .as_ref()
            .and_then(|session| session.publishing)
            .is_none()
        {
            return;
        }
        let now = self.now;
        let ready: Vec<Handle> = self
            .d
            .needed
            .iter()
            .filter(|(handle, at)| **at <= now && !self.d.asked_needs.contains(handle))
            .map(|(handle, _)| *handle)
            .collect();
        if let Some(next) = self.d.needed.values().filter(|at| **at > now).min().copied() {
            self.wake_at(next);
        }
        for handle in ready {
            self.d.asked_needs.insert(handle);
            self.asides.push(Output::NeedSnapshot { handle });
        }
    }

    /// What the other side says of the own log decides whether numbers may be given out.
    pub(super) fn check_own(&mut self, own: Option<Head>) -> Result<(), DeviceError> {
        let head = self.own_log().map(|(log, state)| (log, state.stored));
        let mut known = None;
        match (head, own) {
            (None, None) => {}
            (None, Some(_)) => self.d.state.doubtful = true,
            (Some((log, _)), None) => known = Some((log, 0, false)),
            (Some((log, stored)), Some(theirs)) => {
                let ours = if theirs.seq <= stored.seq {
                    self.link_at(&log, theirs.seq)?
                } else {
                    None
                };
                if ours == Some(theirs.link) {
                    known = Some((log, theirs.seq, true));
                } else {
                    self.d.state.doubtful = true;
                }
            }
        }
        if self.d.state.doubtful {
            self.notice(Notice::RestoredOrCopied);
            return Ok(());
        }
        if let (Some((log, seq, open)), Some(session)) = (known, self.d.session.as_mut()) {
            session.confirmed.insert(log, seq);
            session.sending.insert(log, seq + 1);
            if open {
                session.opened.insert(log);
            }
            self.safe(&log, seq);
        }
        Ok(())
    }

    /// The account's server has the own log up to here. Its word may come late, with the next `Welcome`.
    fn safe(&mut self, log: &LogId, seq: u64) {
        if self.at_home()
            && let Some(state) = self.d.logs.get_mut(log)
            && seq > state.safe
        {
            state.safe = seq;
            self.put_log(log);
        }
    }

    /// Opens the first log, and says once in a session that numbers may be given out.
    pub(super) fn publish(&mut self) {
        if self.d.state.doubtful || self.d.account.member(&self.d.me).is_none() {
            return;
        }
        if self.d.state.log.is_none() {
            self.open_log();
        }
        let Some(log) = self.d.state.log else {
            return;
        };
        let open = self.log_is_open();
        if let Some(session) = self.d.session.as_mut()
            && open
            && !session.published
        {
            session.published = true;
            session.publishing = Some(log);
            session.sending.entry(log).or_insert(1);
            self.asides.push(Output::Publish { log });
        }
    }

    /// The user says that this device, or the server, was restored: a new log, and what may be lost is written again.
    /// Where the server's operator had removed the account, it is brought there again.
    pub(super) fn restored(&mut self) -> Result<(), DeviceError> {
        if std::mem::take(&mut self.d.removed) {
            self.d.state.opened = false;
            self.end(None);
            return Ok(());
        }
        self.d.state.doubtful = false;
        for (key, mut server) in self.disk.all::<Server>(space::SERVER, &[])? {
            server.instance = InstanceToken([0; 16]);
            self.disk.put(space::SERVER, &key, &server);
        }
        let mut again: BTreeSet<Handle> = self.d.outbox.values().map(|(handle, _)| *handle).collect();
        if let Some((log, state)) = self.own_log().map(|(log, state)| (log, state.clone())) {
            // What no server has confirmed may have other content under the same number elsewhere.
            let safe = state.safe.min(state.stored.seq);
            let link = self.link_at(&log, safe)?.unwrap_or(state.stored.link);
            for seq in safe + 1..=state.stored.seq {
                if let Some(body) = self.body(&log, seq)? {
                    let handle = body.fields.handle;
                    again.insert(handle);
                    self.drop_body(&log, seq, &handle)?;
                    // Nothing depends on a number that may have another content, or none.
                    let mut document = self.document(&handle)?;
                    if document.merged.get(&log).is_some_and(|merged| *merged > safe) {
                        let others = document.merged.iter().copied().filter(|(other, _)| *other != log);
                        let others = raised(&Positions::default(), others);
                        document.merged = raised(&others, (safe > 0).then_some((log, safe)));
                        self.disk.put(space::DOCUMENT, &handle.0, &document);
                    }
                }
                self.disk.delete(space::PLACE, &place_key(&log, seq));
            }
            let head = Head { seq: safe, link };
            if let Some(state) = self.d.logs.get_mut(&log) {
                (state.stored, state.applied) = (head, head);
            }
            self.put_log(&log);
        }
        for handle in again {
            self.drop_waiting(&handle);
            self.need(&handle, self.now);
        }
        self.open_log();
        if self.d.session.is_some() {
            self.end(None);
        }
        Ok(())
    }

    /// What the other side lacks of any log, after it has said what it has.
    pub(super) fn plan_refill(&mut self, theirs: &VersionVector) -> Result<(), DeviceError> {
        let (own, home) = (self.d.state.log, self.at_home());
        let mut openings = Vec::new();
        let awake = self.d.logs.iter().filter(|(_, state)| self.d.is_awake(state));
        let awake: Vec<(LogId, Log)> = awake.map(|(log, state)| (*log, state.clone())).collect();
        for (log, state) in &awake {
            let have = theirs.get(log).map_or(0, |head| head.seq);
            let Some(session) = self.d.session.as_mut() else {
                return Ok(());
            };
            if theirs.get(log).is_some() {
                session.opened.insert(*log);
            }
            let mine = Some(*log) == own;
            // What the account's server lacks of the own log waits among the unsent.
            if mine && home {
                continue;
            }
            // A peer that the account's server isn't may lack what that server has had for long.
            if !session.opened.contains(log) && (mine || state.stored.seq > have) {
                openings.push(state.open.clone());
            }
            if !mine
                && !self.plan_torn(log, state.folded.seq, have)?
                && state.stored.seq > have
                && let Some(session) = self.session()
            {
                session.confirmed.insert(*log, have);
                session.sending.insert(*log, have + 1);
            }
        }
        for open in openings {
            self.ask_statement(0, AnyStatement::LogOpen(open));
        }
        self.compare_all()
    }

    /// Something refused to fit: at once the first time. Where one batch was turned away, all that were on their way behind it
    /// are refused, too, and say no more than the first.
    pub(super) fn resend_soon(&mut self) {
        let now = self.now;
        let Some(session) = self.d.session.as_mut() else {
            return;
        };
        if session.resend_at != 0 {
            return;
        }
        let next = session.resent_at.saturating_add(RESEND_MS);
        if now < next {
            session.resend_at = next;
            self.wake_at(next);
        } else {
            self.resend();
        }
    }

    /// Begins again behind what is confirmed, after a batch was refused.
    pub(super) fn resend(&mut self) {
        let now = self.now;
        let Some(session) = self.d.session.as_mut() else {
            return;
        };
        session.resent += 1;
        session.resent_at = now;
        session.unconfirmed.clear();
        if session.resent > MAX_RESENDS && !session.bringing.is_empty() {
            // It doesn't believe this device's frontier: everything else goes on.
            session.bringing.clear();
            session.resent = 0;
        }
        if session.resent > MAX_RESENDS {
            self.notice(Notice::Refused {
                code: ErrorCode::WrongLink,
                retry_after_ms: 0,
            });
            self.end(None);
            return;
        }
        session.bringing.values_mut().for_each(Bringing::again);
        for (log, next) in &mut session.sending {
            *next = session.confirmed.get(log).copied().unwrap_or(0) + 1;
        }
    }

    /// Sends what is sealed and not sent, then seals what waits.
    pub(super) fn upload(&mut self) -> Result<(), DeviceError> {
        // What follows something that was turned away wouldn't fit.
        if self
            .d
            .session
            .as_ref()
            .is_some_and(|session| session.resend_at != 0)
        {
            return Ok(());
        }
        let logs: Vec<(LogId, u64)> = self
            .d
            .session
            .iter()
            .flat_map(|session| {
                session
                    .sending
                    .iter()
                    .filter(|(log, _)| session.opened.contains(log))
            })
            .map(|(log, next)| (*log, *next))
            .collect();
        let doubtful = self.d.state.doubtful;
        for (log, mut next) in logs {
            if doubtful && Some(log) == self.d.state.log {
                continue;
            }
            while let Some(after) = self.send_run(&log, next, Priority::Backfill)? {
                next = after;
            }
        }
        self.send_torn()?;
        self.seal_waiting()
    }

    pub(super) fn room(&self) -> usize {
        self.d.session.as_ref().map_or(0, |session| {
            let out: usize = session.unconfirmed.values().map(|(_, bytes)| *bytes).sum();
            let torn: usize = session.bringing.values().map(Bringing::unconfirmed).sum();
            MAX_UNCONFIRMED_BYTES.saturating_sub(out + torn)
        })
    }

    /// Sends one run of a log from this number on; the number behind it, if there was one.
    fn send_run(&mut self, log: &LogId, from: u64, priority: Priority) -> Result<Option<u64>, DeviceError> {
        let last = self.d.logs.get(log).map_or(0, |state| state.stored.seq);
        // What was folded away here has no chain.
        let folded = self.d.logs.get(log).map_or(0, |state| state.folded.seq);
        if from <= folded || from > last || self.room() == 0 {
            return Ok(None);
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        // Nothing may end with a hole that nobody signed.
        let (mut whole, mut seq) = (0, from);
        while seq <= last && items.len() < MAX_BATCH_ITEMS && bytes < BATCH_BYTES {
            let place: Option<Place> = self.disk.get(space::PLACE, &place_key(log, seq))?;
            let item = match (self.body(log, seq)?, place) {
                (Some(sealed), _) => {
                    bytes += sealed.ciphertext.len() + ITEM_BYTES;
                    Item::Envelope(sealed)
                }
                (None, Some(place)) => {
                    bytes += 100;
                    match place.signature {
                        Some(signature) => Item::SignedHole(SignedHole {
                            header_hash: place.header_hash,
                            signature,
                        }),
                        None => Item::Hole(place.header_hash),
                    }
                }
                (None, None) => break,
            };
            let signed = !matches!(item, Item::Hole(_));
            items.push(item);
            seq += 1;
            if signed {
                whole = items.len();
            }
        }
        items.truncate(whole);
        if items.is_empty() {
            return Ok(None);
        }
        let next = from + items.len() as u64;
        let run = Run {
            version: HeaderVersion::V1,
            log: *log,
            first_seq: from,
            items: items.try_into()?,
        };
        let encoded = Batch::Run(run).encode();
        if let Some(session) = self.session() {
            let out = session.unconfirmed.entry(*log).or_default();
            *out = (next - 1, out.1 + encoded.len());
            session.sending.insert(*log, next);
        }
        self.sends.push(Output::SendBatch {
            bytes: encoded,
            priority,
        });
        Ok(Some(next))
    }

    /// Seals what waits, while there is room, and sends it.
    fn seal_waiting(&mut self) -> Result<(), DeviceError> {
        let Some(log) = self.d.session.as_ref().and_then(|session| session.publishing) else {
            return Ok(());
        };
        if self.d.state.doubtful || self.epoch_is_known_outside() || self.stage() != Some(Stage::Open) {
            return Ok(());
        }
        while !self.d.outbox.is_empty() && self.room() > 0 {
            let from = self.d.logs.get(&log).map_or(0, |state| state.stored.seq) + 1;
            let sent = self
                .d
                .session
                .as_ref()
                .and_then(|session| session.sending.get(&log).copied());
            if sent != Some(from) {
                break;
            }
            let (mut bytes, mut count) = (0, 0);
            while bytes < BATCH_BYTES && count < MAX_BATCH_ITEMS {
                match self.seal_next(&log)? {
                    Some(size) => bytes += size + ITEM_BYTES,
                    None => break,
                }
                count += 1;
            }
            if count == 0 || self.send_run(&log, from, Priority::Live)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Seals the oldest that waits, with everything of the same document that fits beside it.
    fn seal_next(&mut self, log: &LogId) -> Result<Option<usize>, DeviceError> {
        let Some((first, (handle, _))) = self.d.outbox.iter().next().map(|(n, entry)| (*n, *entry)) else {
            return Ok(None);
        };
        let Some(waiting) = self.waiting(first)? else {
            return Err(DeviceError::Missing(space::OUTBOX));
        };
        let Some((key, fresh)) = self.key_to_write(&handle)? else {
            return Ok(None);
        };
        let mut used = vec![first];
        let (kind, at) = (waiting.kind, self.at());
        let (header, content) = match waiting.what {
            Piecemeal::Change(change) => {
                let mut size = change.len() + 4;
                let mut changes: Vec<Blob<MAX_CONTENT_BYTES>> = vec![change.into_inner().try_into()?];
                let same: Vec<u64> = self
                    .d
                    .outbox
                    .range(first + 1..)
                    .filter(|(_, (other, _))| *other == handle)
                    .map(|(number, _)| *number)
                    .collect();
                for number in same {
                    let Some(Waiting {
                        what: Piecemeal::Change(change),
                        ..
                    }) = self.waiting(number)?
                    else {
                        break;
                    };
                    if changes.len() >= MAX_CHANGES || size + change.len() + 4 > ROOM {
                        break;
                    }
                    size += change.len() + 4;
                    changes.push(change.into_inner().try_into()?);
                    used.push(number);
                }
                let changes = changes.try_into()?;
                (Kind::Changes(Nothing {}), Content::Changes { kind, at, changes })
            }
            Piecemeal::Snapshot { covers, document } => {
                let document = document.into_inner().try_into()?;
                let content = Content::Snapshot { kind, at, document };
                let seq = self.d.logs.get(log).map_or(0, |state| state.stored.seq) + 1;
                (Kind::Snapshot(Covers::new(&covers, log, seq)), content)
            }
            Piecemeal::Chunk { index, count, bytes } => {
                let bytes = bytes.into_inner().try_into()?;
                (Kind::Chunk(Nothing {}), Content::Chunk { index, count, bytes })
            }
        };
        let content = zeroize::Zeroizing::new(content.encode());
        self.seal_one(log, handle, header, &content, &key, fresh)?;
        for number in used {
            self.d.outbox.remove(&number);
            self.disk.delete(space::OUTBOX, &number.to_be_bytes());
        }
        Ok(Some(content.len()))
    }

    /// The key that a document is written with now, and whether it has to be brought in; none: it can't be sealed yet.
    fn key_to_write(&mut self, handle: &Handle) -> Result<Option<(Secret, bool)>, DeviceError> {
        let known = self.writing_key(handle)?;
        if let Some(key) = &known {
            let generation = self.d.account.generation();
            let reference = key_ref(&self.account(), handle, generation, key.expose());
            if !self.is_fresh(handle, generation, reference)? {
                return Ok(Some((key.clone(), false)));
            }
        }
        if self.epoch_key().is_none() {
            self.want_wraps();
            return Ok(None);
        }
        Ok(Some((known.unwrap_or_else(|| Secret::random(self.random)), true)))
    }

    /// At most 64 logs whose erasures this log hasn't named.
    fn to_announce(&self) -> Result<FewPositions, DeviceError> {
        let announced = &self.d.state.announced;
        let news = self
            .d
            .erased
            .positions()
            .filter(|(log, number)| announced.get(log).copied().unwrap_or(0) < *number);
        Ok(FewPositions::new(news.take(MAX_HEADER_LOGS))?)
    }

    fn seal_one(
        &mut self,
        log: &LogId,
        handle: Handle,
        kind: Kind,
        content: &[u8],
        key: &Secret,
        fresh: bool,
    ) -> Result<(), DeviceError> {
        let account = self.account();
        let generation = self.d.account.generation();
        let stored = self
            .d
            .logs
            .get(log)
            .ok_or(DeviceError::Missing(space::LOG))?
            .stored;
        let mut document = self.document(&handle)?;
        let erased = self.to_announce()?;
        let depends = FewPositions::new(
            document
                .merged
                .iter()
                .filter(|(other, _)| other != log)
                .copied()
                .take(MAX_HEADER_LOGS),
        )?;
        let epoch = self.epoch_key().map(|(id, key)| (id, key.clone()));
        let bring_in = match &epoch {
            Some((id, epoch)) if fresh => Some((*id, epoch)),
            _ => None,
        };
        let draft = Draft {
            account: &account,
            log: *log,
            seq: stored.seq + 1,
            previous: &stored.link,
            kind,
            handle,
            generation,
            key,
            bring_in,
            erased,
            depends,
            content,
        };
        let (envelope, hash) = seal(&draft, &self.d.signer, self.random)?;
        let (kind, erased) = (draft.kind, draft.erased);
        let head = Head {
            seq: stored.seq + 1,
            link: next_link(&stored.link, &hash),
        };
        let place = Place {
            link: head.link,
            header_hash: hash,
            signature: Some(envelope.sealed.signature),
        };
        let at = place_key(log, head.seq);
        self.disk.put(space::PLACE, &at, &place);
        self.disk.put(space::BODY, &at, &envelope.sealed);
        if let Kind::Snapshot(covers) = &kind {
            self.cover(&handle, &mut document, &covers.all(log, head.seq))?;
        }
        self.disk
            .put(space::LIVE, &live_key(&handle, log, head.seq), &hash);
        // Within this log the chain says it; another log of this device's, after a restore, has to name it.
        document.merged = raised(&Positions::default(), [(*log, head.seq)]);
        document.live += 1;
        let crowded = document.live >= COMPACT_AT && document.live % COMPACT_AT == 0;
        self.disk.put(space::DOCUMENT, &handle.0, &document);
        if fresh {
            let reference = key_ref(&account, &handle, generation, key.expose());
            self.add_key(&handle, generation, reference, key)?;
            self.write_with(&handle, generation, reference);
            self.brought_in(&handle, generation, reference, (*log, head.seq))?;
        }
        self.d.state.announced = raised(&self.d.state.announced, erased.iter().copied());
        if let Some(state) = self.d.logs.get_mut(log) {
            (state.stored, state.applied) = (head, head);
        }
        self.put_log(log);
        (self.d.keys.seq, self.d.keys.link) = (head.seq, head.link);
        self.keychain = true;
        if crowded && !matches!(kind, Kind::Chunk(_)) {
            self.need(&handle, self.now);
        }
        Ok(())
    }

    /// The other side has everything of a log up to here, some of it as holes.
    pub(super) fn stored(&mut self, stored: &Stored) -> Result<(), DeviceError> {
        let (log, seq) = (stored.log, stored.seq);
        let Some(state) = self.d.logs.get(&log) else {
            return Ok(());
        };
        let mine = state.open.statement.device == self.d.me;
        if mine
            && !stored.holed.is_empty()
            && let Some(session) = self.d.session.as_mut()
            && session.stage < Stage::Open
        {
            // Why there are holes can be told once both sides have the same erasures.
            session.early.get_or_insert_with(|| stored.clone());
            return Ok(());
        }
        self.torn_stored(&log, seq)?;
        let Some(state) = self.d.logs.get(&log) else {
            return Ok(());
        };
        if seq > state.stored.seq || self.link_at(&log, seq)?.is_some_and(|link| link != stored.link) {
            if self.d.state.log == Some(log) {
                self.d.state.doubtful = true;
                self.notice(Notice::RestoredOrCopied);
            }
            return Ok(());
        }
        if let Some(session) = self.d.session.as_mut() {
            if session
                .confirmed
                .insert(log, seq)
                .is_none_or(|before| before < seq)
            {
                session.resent = 0;
            }
            if session
                .unconfirmed
                .get(&log)
                .is_some_and(|(last, _)| *last <= seq)
            {
                session.unconfirmed.remove(&log);
            }
            session.unacked.insert(log, seq);
        }
        if !mine {
            return Ok(());
        }
        for hole in stored.holed.iter() {
            let Some(body) = self.body(&log, hole.seq)? else {
                continue;
            };
            let handle = body.fields.handle;
            if hole.code == ErrorCode::HandleErased && !self.is_erased(&handle)? {
                // It stays alive, and its erasure may come behind this: until then nobody erased it.
                let at = self.now + MISSING_AFTER_MS;
                if let Some(session) = self.session() {
                    session.unexplained.entry(handle).or_insert((log, at));
                }
                continue;
            }
            self.drop_body(&log, hole.seq, &handle)?;
            if body.fields.new_key.is_some() && hole.code != ErrorCode::HandleErased {
                // Others can't open what it brought in: the shards have to say it.
                self.mark_dirty(handle.0[0]);
                self.d.state.dirty_since = 1;
            }
            match hole.code {
                ErrorCode::HandleErased => continue,
                ErrorCode::QuotaReached => {
                    self.notice(Notice::QuotaReached);
                    self.d.turned_away.remove(&handle);
                    self.need(&handle, self.now + QUOTA_WAIT_MS);
                    self.wake_at(self.now + QUOTA_WAIT_MS);
                }
                _ => {
                    let at = self.now + self.wait_if_turned_away(&handle);
                    self.need(&handle, at);
                    self.wake_at(at);
                }
            }
            if !self.is_erased(&handle)? {
                self.notice(Notice::WrittenAgain(handle));
            }
        }
        self.safe(&log, seq);
        if self.at_home() {
            let holes = stored.holed.iter().map(|hole| hole.seq).collect();
            self.brought_up_to(&log, seq, &holes)?;
        }
        Ok(())
    }
}
