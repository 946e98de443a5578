//! Batches that come in. A rightly signed envelope is never rejected: it is taken, or taken as a hole, and the code says
//! why. So nobody ever has to sign one place twice.

use std::collections::BTreeMap;

use hearth_protocol::codec::{List, Wire};
use hearth_protocol::envelope::{
    Batch, Detached, Envelope, HeaderVersion, Item, Run, Sealed, next_link, position_id,
};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::verify;
use hearth_protocol::id::{AccountId, DeviceId, Handle, Hash, LogId};
use hearth_protocol::message::{Holed, Reply, Stored};
use hearth_protocol::vector::Head;

use super::{Fault, Phase, Relay, STORAGE_RETRY_MS, Turn};
use crate::account::{Loaded, table};
use crate::items::{ItemRow, Log, Mark};
use crate::rows::MAX_REMEMBERED_HOLES;
use crate::session::SessionId;
use crate::store::{Store, StoreError};

/// No log ever gets here; a member's claim that one did is ignored, so that counting on doesn't overflow.
const MAX_SEQ: u64 = 1 << 62;

/// How long whoever has too many items that aren't folded away shall wait, in milliseconds.
const UNFOLDED_RETRY_MS: u64 = 60 * 60 * 1_000;

/// Plain holes that cost as much as one item whose signature is checked.
const HOLES_AN_ITEM: usize = 4;

/// What comes of the items of a run.
struct Taken {
    /// What was taken as holes.
    holed: Vec<Holed>,
    /// Why the rest wasn't taken.
    stopped: Option<ErrorCode>,
}

impl<S: Store> Relay<S> {
    pub(super) fn take_batch(
        &mut self,
        id: SessionId,
        bytes: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let session = self.session(id)?;
        let Phase::Ready(account, device) = session.phase else {
            return Err(Fault::Close(ErrorCode::OutOfTurn));
        };
        let gate = session.gate;
        let batch = Batch::decode(bytes).map_err(|_| Fault::Close(ErrorCode::Malformed))?;
        if !gate {
            return Err(ErrorCode::GateClosed.into());
        }
        let role = self.config.role;
        let key = self.key;
        if self.loaded(&account)?.moved(role, &key) {
            return Err(ErrorCode::Moved.into());
        }
        if self.rows.store.only_reserve_left() {
            return Err(Fault::Refuse(ErrorCode::StorageFailed, STORAGE_RETRY_MS));
        }
        // What it costs is checking signatures; a plain hole is hashed and kept.
        let items = match &batch {
            Batch::Run(run) => {
                let plain = run
                    .items
                    .iter()
                    .filter(|item| matches!(item, Item::Hole(_)))
                    .count();
                run.items.len() - plain + plain.div_ceil(HOLES_AN_ITEM)
            }
            Batch::Detached(list) => list.len(),
        };
        self.allow(&account, 1, bytes.len() as u64, items as u64, turn.now_ms)?;
        let most = self.config.limits.unfolded;
        if let Batch::Run(run) = &batch
            && self.loaded(&account)?.unfolded(&run.log) >= most
        {
            // Nobody honest comes near, and whoever does is alone in it: what others write goes on.
            return Err(Fault::Refuse(ErrorCode::QuotaReached, UNFOLDED_RETRY_MS));
        }
        match batch {
            Batch::Run(run) => self.take_run(id, &account, &device, run, turn),
            Batch::Detached(list) => self.take_detached(id, &account, &device, list.into_inner(), turn),
        }
    }

    fn take_run(
        &mut self,
        id: SessionId,
        account: &AccountId,
        device: &DeviceId,
        run: Run,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let log = run.log;
        if !self.loaded(account)?.logs.contains_key(&log) {
            return Err(ErrorCode::WrongLog.into());
        }
        let last = run
            .first_seq
            .saturating_add(run.items.len() as u64)
            .saturating_sub(1);
        let from = match run.first_seq.checked_sub(1) {
            Some(before) => self.arrive_at(account, device, &log, before, turn.now_ms)?,
            None => None,
        };
        let arriving = self.is_arriving(account, turn.now_ms)?;
        let mut loaded = self.take_loaded(account)?;
        let outcome = self.take_items(account, &mut loaded, run, (from, arriving), turn.now_ms);
        let row = loaded.logs.get(&log).cloned();
        self.accounts.insert(*account, loaded);
        let (taken, Some(row)) = (outcome?, row) else {
            return Err(ErrorCode::WrongLog.into());
        };
        let session = self.session(id)?;
        if let Some(sent) = &mut session.sent {
            // It has what it has sent, and of another's log perhaps no more.
            let own = row.open.statement.device == *device;
            let has = if own { row.head.seq } else { last.min(row.head.seq) };
            let at = sent.entry(row.number).or_insert(0);
            *at = has.max(*at);
        }
        turn.reply(
            id,
            0,
            Reply::Stored(Stored {
                log,
                seq: row.head.seq,
                link: row.head.link,
                holed: taken.holed.try_into().unwrap_or_default(),
            }),
        );
        if let Some(code) = taken.stopped {
            turn.refuse(id, 0, code, 0);
        }
        Ok(())
    }

    /// Takes the items of a run one after the other, until one doesn't fit. `from`: a frontier that the run begins behind,
    /// and that a first item signed over its link confirms. `arriving`: devices bring what was here or elsewhere before.
    fn take_items(
        &mut self,
        account: &AccountId,
        loaded: &mut Loaded,
        run: Run,
        (from, arriving): (Option<Head>, bool),
        now_ms: u64,
    ) -> Result<Taken, Fault> {
        let log = run.log;
        let mut taken = Taken {
            holed: Vec::new(),
            stopped: None,
        };
        let (key, device, number) = match loaded.logs.get(&log) {
            Some(row) => (
                loaded.log_key(row).ok_or(ErrorCode::WrongLog)?,
                row.open.statement.device,
                row.number,
            ),
            None => return Err(ErrorCode::WrongLog.into()),
        };
        let mut judge = Judge {
            arriving,
            ..Judge::default()
        };
        // Holes that nothing signed stands behind yet.
        let mut unsigned: Vec<Hash> = Vec::new();
        let mut row = loaded
            .logs
            .get(&log)
            .cloned()
            .ok_or(StoreError::Damaged("a log is missing"))?;
        if let Some(from) = from {
            row.head = from;
            row.folded = from;
        }
        let start = row.head;
        // Of a log in which nothing lives any more, nothing signed is left to bring.
        let bare = run.items.is_empty();
        let mut link = row.head.link;
        let mut seq = run.first_seq;
        for item in run.items.into_inner() {
            let next = row.head.seq + unsigned.len() as u64 + 1;
            if seq == 0 || seq > next {
                taken.stopped = Some(ErrorCode::WrongLink);
                break;
            }
            if seq < next {
                if let Item::Envelope(sealed) = item
                    && unsigned.is_empty()
                {
                    let brings_key = brings_key(loaded, &sealed);
                    let place = Log {
                        account,
                        id: &log,
                        row: &row,
                    };
                    match self.refill(loaded, place, seq, sealed, &key, &mut judge, now_ms)? {
                        Refilled::Put if brings_key => row.new_keys = row.new_keys.max(seq),
                        Refilled::Put | Refilled::Not => {}
                        Refilled::Contradicts => {
                            taken.stopped = Some(ErrorCode::WrongLink);
                            break;
                        }
                    }
                }
                seq += 1;
                continue;
            }
            if !loaded.control.accepts_item(&device, &log, seq) {
                taken.stopped = Some(ErrorCode::WrongLog);
                break;
            }
            let (header_hash, signature) = match &item {
                Item::Hole(header_hash) => {
                    link = next_link(&link, header_hash);
                    unsigned.push(*header_hash);
                    seq += 1;
                    continue;
                }
                Item::SignedHole(hole) => (hole.header_hash, hole.signature),
                Item::Envelope(sealed) => {
                    let envelope = envelope(&log, seq, sealed.clone());
                    (envelope.header_hash(account, &link), sealed.signature)
                }
            };
            let after = next_link(&link, &header_hash);
            if verify(&key, &position_id(account, &log, seq, &after), &signature).is_err() {
                taken.stopped = Some(ErrorCode::BadSignature);
                break;
            }
            loaded.row.holes += unsigned.len() as u64;
            self.put_unsigned(account, &log, &mut row, &mut unsigned)?;
            let place = Log {
                account,
                id: &log,
                row: &row,
            };
            let refused = match &item {
                Item::Envelope(sealed) => self.judge(loaded, &log, seq, sealed, &mut judge)?,
                _ => None,
            };
            match item {
                Item::Envelope(sealed) if refused.is_none() => {
                    if brings_key(loaded, &sealed) {
                        row.new_keys = seq;
                    }
                    let place = Log {
                        account,
                        id: &log,
                        row: &row,
                    };
                    loaded.row.used_bytes +=
                        place.put_live(&mut self.rows, seq, link, sealed, true, now_ms)?;
                }
                _ => {
                    taken.holed.extend(refused.map(|code| Holed { seq, code }));
                    loaded.row.holes += 1;
                    let mark = Mark {
                        header_hash,
                        signature,
                        link: after,
                    };
                    place.put_mark(&mut self.rows, seq, mark)?;
                }
            }
            row.head = Head { seq, link: after };
            link = after;
            seq += 1;
        }
        if !taken.holed.is_empty() {
            let mut holed: Vec<Holed> = row.holed.to_vec();
            holed.extend(&taken.holed);
            let surplus = holed.len().saturating_sub(MAX_REMEMBERED_HOLES);
            holed.drain(..surplus);
            row.holed = holed.try_into().unwrap_or_default();
        }
        debug_assert_eq!(number, row.number);
        // A frontier that nothing signed stood behind isn't taken over.
        if (from.is_none() || row.head != start || bare) && loaded.logs.get(&log) != Some(&row) {
            loaded.logs.insert(log, row);
            loaded.save_log(&mut self.rows, &log)?;
        }
        loaded.save(&mut self.rows)?;
        Ok(taken)
    }

    /// Writes the holes that something signed stands behind now.
    fn put_unsigned(
        &mut self,
        account: &AccountId,
        log: &LogId,
        row: &mut crate::rows::LogRow,
        unsigned: &mut Vec<Hash>,
    ) -> Result<(), StoreError> {
        let place = Log {
            account,
            id: log,
            row,
        };
        place.put_holes(&mut self.rows, row.head.seq + 1, unsigned)?;
        for header_hash in unsigned.drain(..) {
            row.head = Head {
                seq: row.head.seq + 1,
                link: next_link(&row.head.link, &header_hash),
            };
        }
        Ok(())
    }

    /// Why an envelope is kept as a hole only; `None`: it is kept.
    fn judge(
        &self,
        loaded: &Loaded,
        log: &LogId,
        seq: u64,
        sealed: &Sealed,
        judge: &mut Judge,
    ) -> Result<Option<ErrorCode>, StoreError> {
        let account = loaded.id();
        let fields = &sealed.fields;
        let erased = if let Some(erased) = judge.erased.get(&fields.handle) {
            *erased
        } else {
            let erased = self.is_erased(&account, &fields.handle)?;
            judge.erased.insert(fields.handle, erased);
            erased
        };
        if erased {
            return Ok(Some(ErrorCode::HandleErased));
        }
        let author = loaded.logs.get(log).map(|row| row.open.statement.device);
        let ahead = author.is_some_and(|author| loaded.control.is_ahead(&author, fields.generation));
        if ahead || loaded.control.is_void(log, seq, fields.generation) {
            return Ok(Some(ErrorCode::GenerationStale));
        }
        // What comes back after a restore, a move or a fork may have been sealed for any epoch; whoever had it before has its
        // key, and writes it into the registry.
        if let Some(new_key) = &fields.new_key
            && loaded.control.epoch().map(|(id, _)| id) != Some(new_key.epoch)
            && !judge.arriving
        {
            // An envelope from an earlier epoch that comes late, to a server that was restored or is new: its key is in
            // the registry by now.
            let in_registry = if let Some(folded) = &judge.folded {
                folded
            } else {
                let table = table(&self.rows, &account)?;
                judge
                    .folded
                    .insert(table.map(|table| table.statement.folded).unwrap_or_default())
            };
            if in_registry.get(log).is_none_or(|upto| *upto < seq) {
                return Ok(Some(ErrorCode::EpochStale));
            }
        }
        let quota = self.config.limits.quota_bytes;
        let size = sealed.ciphertext.len() as u64;
        if quota > 0 && loaded.row.used_bytes.saturating_add(size) > quota {
            return Ok(Some(ErrorCode::QuotaReached));
        }
        Ok(None)
    }

    /// An envelope for a place that is taken. Where a body is missing, and nothing speaks against it, it is put back; an
    /// envelope that isn't the one whose hash stands there ends the batch.
    #[allow(clippy::too_many_arguments)] // Of one caller, which has them all at hand.
    fn refill(
        &mut self,
        loaded: &mut Loaded,
        place: Log<'_>,
        seq: u64,
        sealed: Sealed,
        key: &hearth_protocol::id::VerifyKey,
        judge: &mut Judge,
        now_ms: u64,
    ) -> Result<Refilled, Fault> {
        let account = place.account;
        let stored = match place.item(&self.rows, seq)? {
            // Folded away: neither wanted nor comparable.
            None => return Ok(Refilled::Not),
            Some(ItemRow::Live { sealed: ours, .. }) if *ours == sealed => return Ok(Refilled::Not),
            Some(stored) => stored,
        };
        let Some(previous) = place.link_at(&self.rows, seq - 1)? else {
            return Ok(Refilled::Not);
        };
        let living = matches!(stored, ItemRow::Live { .. });
        let header_hash = envelope(place.id, seq, sealed.clone()).header_hash(account, &previous);
        if place.header_hash(seq, stored, &previous) != header_hash {
            return Ok(Refilled::Contradicts);
        }
        let signed = position_id(account, place.id, seq, &next_link(&previous, &header_hash));
        if living || verify(key, &signed, &sealed.signature).is_err() {
            return Ok(Refilled::Not);
        }
        if self.judge(loaded, place.id, seq, &sealed, judge)?.is_some() {
            return Ok(Refilled::Not);
        }
        let handle = sealed.fields.handle;
        if self.is_covered(&loaded.numbers, account, &handle, place.id, seq)? {
            return Ok(Refilled::Not);
        }
        loaded.row.holes = loaded.row.holes.saturating_sub(1);
        loaded.row.used_bytes += place.put_live(&mut self.rows, seq, previous, sealed, false, now_ms)?;
        Ok(Refilled::Put)
    }

    /// Envelopes out of their chain: for an account that comes from elsewhere, where a checkpoint vouches for what stood
    /// before them.
    fn take_detached(
        &mut self,
        id: SessionId,
        account: &AccountId,
        device: &DeviceId,
        list: Vec<Detached>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let mut stored: BTreeMap<LogId, Vec<Holed>> = BTreeMap::new();
        let mut stopped = None;
        let mut judge = Judge {
            arriving: self.is_arriving(account, turn.now_ms)?,
            ..Judge::default()
        };
        for detached in list {
            let Envelope { log, seq, .. } = detached.envelope;
            if !self.loaded(account)?.logs.contains_key(&log) || seq == 0 {
                stopped = Some(ErrorCode::WrongLog);
                break;
            }
            let frontier = match self.reach(account, device, &log, seq, turn.now_ms)? {
                Reach::Here => None,
                Reach::Behind(frontier) => Some(frontier),
                Reach::Not => {
                    stopped = Some(ErrorCode::WrongLink);
                    break;
                }
            };
            let mut loaded = self.take_loaded(account)?;
            let outcome =
                self.put_detached(account, &mut loaded, detached, frontier, &mut judge, turn.now_ms);
            self.accounts.insert(*account, loaded);
            match outcome? {
                Ok(holed) => stored.entry(log).or_default().extend(holed),
                Err(code) => {
                    stopped = Some(code);
                    break;
                }
            }
        }
        let loaded = self.take_loaded(account)?;
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        saved?;
        for (log, holed) in stored {
            let Some(row) = self.loaded(account)?.logs.get(&log).cloned() else {
                continue;
            };
            let session = self.session(id)?;
            if let Some(sent) = &mut session.sent {
                sent.insert(row.number, row.head.seq);
            }
            turn.reply(
                id,
                0,
                Reply::Stored(Stored {
                    log,
                    seq: row.head.seq,
                    link: row.head.link,
                    holed: List::try_from(holed).unwrap_or_default(),
                }),
            );
        }
        if let Some(code) = stopped {
            turn.refuse(id, 0, code, 0);
        }
        Ok(())
    }

    fn put_detached(
        &mut self,
        account: &AccountId,
        loaded: &mut Loaded,
        detached: Detached,
        frontier: Option<Head>,
        judge: &mut Judge,
        now_ms: u64,
    ) -> Result<Result<Option<Holed>, ErrorCode>, Fault> {
        let Detached { previous, envelope } = detached;
        let (log, seq) = (envelope.log, envelope.seq);
        let Some(row) = loaded.logs.get(&log).cloned() else {
            return Ok(Err(ErrorCode::WrongLog));
        };
        let place = Log {
            account,
            id: &log,
            row: &row,
        };
        if !loaded.control.accepts_item(&row.open.statement.device, &log, seq) {
            return Ok(Err(ErrorCode::WrongLog));
        }
        if let Some(stored) = place.item(&self.rows, seq)? {
            if matches!(stored, ItemRow::Live { .. }) {
                return Ok(Ok(None));
            }
            if place.header_hash(seq, stored, &previous) != envelope.header_hash(account, &previous) {
                return Ok(Err(ErrorCode::WrongLink));
            }
        }
        let key = loaded.log_key(&row).ok_or(ErrorCode::WrongLog)?;
        if envelope.verify(account, &previous, &key).is_err() {
            return Ok(Err(ErrorCode::BadSignature));
        }
        // Only now: whoever can't show something signed doesn't move the log.
        if let (Some(frontier), Some(row)) = (frontier, loaded.logs.get_mut(&log)) {
            row.head = frontier;
            row.folded = frontier;
            loaded.save_log(&mut self.rows, &log)?;
        }
        if let Some(code) = self.judge(loaded, &log, seq, &envelope.sealed, judge)? {
            return Ok(Ok(Some(Holed { seq, code })));
        }
        if self.is_covered(
            &loaded.numbers,
            account,
            &envelope.sealed.fields.handle,
            &log,
            seq,
        )? {
            return Ok(Ok(None));
        }
        let brings_key = brings_key(loaded, &envelope.sealed);
        loaded.row.used_bytes +=
            place.put_live(&mut self.rows, seq, previous, envelope.sealed, false, now_ms)?;
        if brings_key && let Some(row) = loaded.logs.get_mut(&log) {
            row.new_keys = row.new_keys.max(seq);
            loaded.save_log(&mut self.rows, &log)?;
        }
        Ok(Ok(None))
    }

    /// Whether an item has a place.
    fn reach(
        &mut self,
        account: &AccountId,
        device: &DeviceId,
        log: &LogId,
        seq: u64,
        now_ms: u64,
    ) -> Result<Reach, Fault> {
        let head = self.loaded(account)?.logs.get(log).map_or(0, |row| row.head.seq);
        if seq <= head {
            return Ok(Reach::Here);
        }
        let frontier = self.frontier(account, device, log, now_ms)?;
        let frontier = frontier.filter(|frontier| seq <= frontier.seq);
        Ok(frontier.map_or(Reach::Not, Reach::Behind))
    }

    /// A run that begins right behind the frontier of the sender's newest checkpoint may skip what stood before.
    fn arrive_at(
        &mut self,
        account: &AccountId,
        device: &DeviceId,
        log: &LogId,
        before: u64,
        now_ms: u64,
    ) -> Result<Option<Head>, Fault> {
        let head = self.loaded(account)?.logs.get(log).map_or(0, |row| row.head.seq);
        if before <= head {
            return Ok(None);
        }
        let frontier = self.frontier(account, device, log, now_ms)?;
        Ok(frontier.filter(|frontier| frontier.seq == before))
    }

    /// Where the sender's newest checkpoint says that a log stands: believed only while the account is on its way here.
    fn frontier(
        &mut self,
        account: &AccountId,
        device: &DeviceId,
        log: &LogId,
        now_ms: u64,
    ) -> Result<Option<Head>, StoreError> {
        if !self.is_arriving(account, now_ms)? {
            return Ok(None);
        }
        match self.newest(account, super::statement::CHECKPOINT, device)? {
            Some(hearth_protocol::statement::AnyStatement::Checkpoint(checkpoint)) => {
                let frontier = checkpoint.statement.frontier.get(log).copied();
                Ok(frontier.filter(|head| head.seq < MAX_SEQ))
            }
            _ => Ok(None),
        }
    }
}

/// Where an item out of its chain belongs.
enum Reach {
    /// In the log as it is.
    Here,
    /// Before the frontier of the sender's newest checkpoint, at which the log then begins anew.
    Behind(Head),
    /// Nowhere.
    Not,
}

/// What comes of an envelope for a place that is taken.
enum Refilled {
    /// The body is back.
    Put,
    /// It isn't wanted, or was there.
    Not,
    /// Another one stands there.
    Contradicts,
}

/// What was looked up while one batch is judged.
#[derive(Default)]
struct Judge {
    arriving: bool,
    erased: BTreeMap<Handle, bool>,
    folded: Option<hearth_protocol::vector::Positions>,
}

/// Whether an envelope brings in a document key that would be lost with the running epoch's key.
fn brings_key(loaded: &Loaded, sealed: &Sealed) -> bool {
    let running = loaded.control.epoch().map(|(id, _)| id);
    sealed
        .fields
        .new_key
        .as_ref()
        .is_some_and(|new_key| Some(new_key.epoch) == running)
}

fn envelope(log: &LogId, seq: u64, sealed: Sealed) -> Envelope {
    Envelope {
        version: HeaderVersion::V1,
        log: *log,
        seq,
        sealed,
    }
}
