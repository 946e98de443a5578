//! What devices say outside of logs and of the control log: kept in the order of arrival, the old ones dropped where only
//! the newest counts.

use std::ops::ControlFlow;

use hearth_protocol::erasure::EraseAck;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{Signed, Statement};
use hearth_protocol::id::{AccountId, DeviceId, Hash, Link, LogId};
use hearth_protocol::limits::{LOGS_FOR_NEW_DEVICES, MAX_DEVICE_LOGS, MAX_LOGS};
use hearth_protocol::statement::{AnyStatement, Checkpoint, EpochAck, Grant, Heartbeat, LogOpen};
use hearth_protocol::vector::{Head, VersionVector};

use super::control::any_log_key;
use super::{ACCEPTED, Fault, Relay, Turn};
use crate::account::device_row;
use crate::rows::{DeviceRow, LogRow};
use crate::session::SessionId;
use crate::store::{Space, Store, StoreError};

/// The kinds of which only each device's newest is kept, as tags in [`Space::Newest`]. They are those of the wire.
pub(super) const EPOCH_ACK: u8 = 3;
pub(super) const GRANT: u8 = 4;
pub(super) const HEARTBEAT: u8 = 5;
pub(super) const CHECKPOINT: u8 = 6;

/// What an acknowledgement of an erasure takes in the store, about.
pub(super) const ACK_BYTES: u64 = 300;

/// Checkpoints with their cursors.
pub(super) type Checkpoints = Vec<(u64, Box<Signed<Checkpoint>>)>;

/// How far both frontiers reach.
fn behind_both(one: &VersionVector, other: &VersionVector) -> VersionVector {
    let lower = one.iter().filter_map(|(log, head)| {
        let theirs = other.get(log)?;
        Some((*log, if theirs.seq < head.seq { *theirs } else { *head }))
    });
    VersionVector::new(lower).unwrap_or_default()
}

fn newest_key(kind: u8, device: &DeviceId) -> [u8; 33] {
    let mut key = [kind; 33];
    key[1..].copy_from_slice(&device.0);
    key
}

impl<S: Store> Relay<S> {
    pub(super) fn take_statement(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        statement: &AnyStatement,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let before = self.loaded(account)?.row.statements;
        match statement {
            AnyStatement::LogOpen(open) => self.take_log_open(account, open)?,
            AnyStatement::EraseAck(ack) => self.take_erase_ack(account, ack)?,
            AnyStatement::EpochAck(ack) => {
                let by = ack.statement.device;
                if !self.take_epoch_ack(account, ack)? && self.session(id)?.device() == Some(by) {
                    // It doesn't know what it has said itself: it comes from a backup.
                    self.tell_again(id, account, &by)?;
                }
            }
            AnyStatement::Grant(grant) => self.take_grant(account, grant)?,
            AnyStatement::Heartbeat(heartbeat) => self.take_heartbeat(account, heartbeat)?,
            AnyStatement::Checkpoint(checkpoint) => {
                self.take_checkpoint(account, checkpoint, turn.now_ms)?;
            }
        }
        let after = self.loaded(account)?.row.statements;
        let session = self.session(id)?;
        if session.statements_sent == before {
            // It needn't be told what it has just said.
            session.statements_sent = after;
        }
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    fn member_key(
        &mut self,
        account: &AccountId,
        device: &DeviceId,
    ) -> Result<hearth_protocol::id::VerifyKey, Fault> {
        let member = self
            .loaded(account)?
            .control
            .member(device)
            .map(|member| member.keys.log);
        member.ok_or(Fault::from(ErrorCode::BadSignature))
    }

    /// Appends a statement, and gives its cursor.
    fn add_statement(&mut self, account: &AccountId, statement: &AnyStatement) -> Result<u64, Fault> {
        let mut loaded = self.take_loaded(account)?;
        loaded.row.statements += 1;
        let cursor = loaded.row.statements;
        let saved = loaded.save(&mut self.rows);
        self.accounts.insert(*account, loaded);
        saved?;
        self.rows
            .put(account, Space::Statements, &cursor.to_be_bytes(), statement)?;
        Ok(cursor)
    }

    /// Appends a statement in place of the device's last one of its kind.
    fn replace_statement(
        &mut self,
        account: &AccountId,
        kind: u8,
        device: &DeviceId,
        statement: &AnyStatement,
    ) -> Result<(), Fault> {
        self.drop_statement(account, kind, device)?;
        let cursor = self.add_statement(account, statement)?;
        self.rows
            .put(account, Space::Newest, &newest_key(kind, device), &cursor)?;
        Ok(())
    }

    fn drop_statement(&mut self, account: &AccountId, kind: u8, device: &DeviceId) -> Result<(), StoreError> {
        let key = newest_key(kind, device);
        if let Some(cursor) = self.rows.get::<u64>(account, Space::Newest, &key)? {
            self.rows
                .delete(account, Space::Statements, &cursor.to_be_bytes())?;
            self.rows.delete(account, Space::Newest, &key)?;
        }
        Ok(())
    }

    /// The newest statement of a kind by a device.
    pub(super) fn newest(
        &self,
        account: &AccountId,
        kind: u8,
        device: &DeviceId,
    ) -> Result<Option<AnyStatement>, StoreError> {
        match self
            .rows
            .get::<u64>(account, Space::Newest, &newest_key(kind, device))?
        {
            Some(cursor) => self.rows.get(account, Space::Statements, &cursor.to_be_bytes()),
            None => Ok(None),
        }
    }

    /// Every device's newest checkpoint with its cursor, the newest last.
    pub(super) fn checkpoints(&self, account: &AccountId) -> Result<Checkpoints, StoreError> {
        let keys = self
            .rows
            .keys(account, Space::Newest, &[CHECKPOINT], usize::MAX)?;
        let mut found = Vec::new();
        for key in keys {
            let cursor: u64 = self.rows.need(account, Space::Newest, &key)?;
            let statement = self
                .rows
                .need(account, Space::Statements, &cursor.to_be_bytes())?;
            if let AnyStatement::Checkpoint(checkpoint) = statement {
                found.push((cursor, checkpoint));
            }
        }
        found.sort_by_key(|(cursor, _)| *cursor);
        Ok(found)
    }

    /// What a device has said that no longer counts once it is out. The newest checkpoint of all stays until a member makes
    /// another: without one nobody could begin behind what was folded away.
    pub(super) fn drop_newest(&mut self, account: &AccountId, device: &DeviceId) -> Result<(), StoreError> {
        [EPOCH_ACK, GRANT, HEARTBEAT]
            .into_iter()
            .try_for_each(|kind| self.drop_statement(account, kind, device))?;
        let newest = self.checkpoints(account)?.pop();
        let known = self
            .accounts
            .get(account)
            .is_some_and(|loaded| loaded.control.devices().contains_key(device));
        if known && newest.is_some_and(|(_, newest)| newest.statement.device == *device) {
            return Ok(());
        }
        self.drop_statement(account, CHECKPOINT, device)
    }

    /// Grants are for one epoch.
    pub(super) fn drop_grants(&mut self, account: &AccountId) -> Result<(), StoreError> {
        self.drop_all(account, GRANT)
    }

    /// Heartbeats name what isn't here any more.
    pub(super) fn drop_heartbeats(&mut self, account: &AccountId) -> Result<(), StoreError> {
        self.drop_all(account, HEARTBEAT)
    }

    fn drop_all(&mut self, account: &AccountId, kind: u8) -> Result<(), StoreError> {
        for key in self.rows.keys(account, Space::Newest, &[kind], usize::MAX)? {
            let cursor: u64 = self.rows.need(account, Space::Newest, &key)?;
            self.rows
                .delete(account, Space::Statements, &cursor.to_be_bytes())?;
            self.rows.delete(account, Space::Newest, &key)?;
        }
        Ok(())
    }

    pub(super) fn take_log_open(&mut self, account: &AccountId, open: &Signed<LogOpen>) -> Result<(), Fault> {
        let loaded = self.loaded(account)?;
        let log = open.statement.log(account);
        if loaded.logs.contains_key(&log) {
            return Ok(());
        }
        let device = open.statement.device;
        let key = any_log_key(loaded, &device).ok_or(ErrorCode::BadSignature)?;
        open.verify(account, &key).map_err(|_| ErrorCode::BadSignature)?;
        // Of a device that is out, only what it had written before.
        let useful =
            loaded.control.accepts_item(&device, &log, 1) || loaded.control.accepts_erasure(&device, &log, 1);
        if !useful {
            return Err(ErrorCode::WrongLog.into());
        }
        let own = loaded
            .logs
            .values()
            .filter(|row| row.open.statement.device == device)
            .count();
        // The last ones are for devices that have none yet.
        let room = if own == 0 {
            MAX_LOGS
        } else {
            MAX_LOGS - LOGS_FOR_NEW_DEVICES
        };
        if own >= MAX_DEVICE_LOGS || loaded.logs.len() >= room {
            return Err(ErrorCode::TooLarge.into());
        }
        let start = Head {
            seq: 0,
            link: Link(open.id(account).0),
        };
        // Numbers needn't be without gaps: the logs of a device that only a losing branch knew are gone.
        let number = loaded.numbers.last_key_value().map_or(0, |(last, _)| last + 1);
        let row = LogRow {
            number,
            open: open.clone(),
            folded: start,
            head: start,
            new_keys: 0,
            holed: hearth_protocol::codec::List::default(),
        };
        self.rows.put(account, Space::Logs, &log.0, &row)?;
        let loaded = self.loaded(account)?;
        loaded.row.logs += 1;
        loaded.numbers.insert(number, log);
        loaded.logs.insert(log, row);
        self.add_statement(account, &AnyStatement::LogOpen(open.clone()))?;
        Ok(())
    }

    fn take_erase_ack(&mut self, account: &AccountId, ack: &Signed<EraseAck>) -> Result<(), Fault> {
        let statement = &ack.statement;
        // An acknowledgement says that something is gone: it counts from whoever ever was a member.
        let key = any_log_key(self.loaded(account)?, &statement.device).ok_or(ErrorCode::BadSignature)?;
        ack.verify(account, &key).map_err(|_| ErrorCode::BadSignature)?;
        let known: Option<u64> = self.rows.get(account, Space::EraseIds, &statement.erase.0)?;
        if known.is_none() {
            return Err(ErrorCode::NotFound.into());
        }
        let key = [statement.erase.0, statement.device.0].concat();
        if self.rows.get::<u64>(account, Space::Acks, &key)?.is_some() {
            return Ok(());
        }
        let limit = self.config.limits.erasure_bytes;
        let loaded = self.loaded(account)?;
        if limit > 0 && loaded.row.erasure_bytes.saturating_add(ACK_BYTES) > limit {
            return Err(ErrorCode::QuotaReached.into());
        }
        loaded.row.erasure_bytes += ACK_BYTES;
        let cursor = self.add_statement(account, &AnyStatement::EraseAck(ack.clone()))?;
        self.rows.put(account, Space::Acks, &key, &cursor)?;
        Ok(())
    }

    /// False: a newer one is here.
    fn take_epoch_ack(&mut self, account: &AccountId, ack: &Signed<EpochAck>) -> Result<bool, Fault> {
        let statement = &ack.statement;
        let key = self.member_key(account, &statement.device)?;
        ack.verify(account, &key).map_err(|_| ErrorCode::BadSignature)?;
        // It needn't be of an epoch of this log: one of a branch that lost still tells the agreement key that its device has.
        let epoch = self.loaded(account)?.control.epoch();
        if epoch.is_none_or(|(_, running)| statement.number > running.number) {
            return Err(ErrorCode::NotFound.into());
        }
        let mut device = device_row(&self.rows, account, &statement.device)?;
        if statement.number < device.epoch {
            return Ok(false);
        }
        if statement.number == device.epoch && device.agreement == Some(statement.agreement) {
            return Ok(true);
        }
        device.epoch = statement.number;
        device.agreement = Some(statement.agreement);
        self.rows
            .put(account, Space::Devices, &statement.device.0, &device)?;
        self.replace_statement(
            account,
            EPOCH_ACK,
            &statement.device,
            &AnyStatement::EpochAck(ack.clone()),
        )?;
        Ok(true)
    }

    /// Sends a device all statements again, whatever it had confirmed.
    fn tell_again(&mut self, id: SessionId, account: &AccountId, device: &DeviceId) -> Result<(), Fault> {
        let remembered = DeviceRow {
            statements: 0,
            ..device_row(&self.rows, account, device)?
        };
        self.rows.put(account, Space::Devices, &device.0, &remembered)?;
        let session = self.session(id)?;
        session.statements_sent = 0;
        session.statement_marks.clear();
        Ok(())
    }

    fn take_grant(&mut self, account: &AccountId, grant: &Signed<Grant>) -> Result<(), Fault> {
        let statement = &grant.statement;
        let key = self.member_key(account, &statement.author)?;
        grant.verify(account, &key).map_err(|_| ErrorCode::BadSignature)?;
        let running = self.loaded(account)?.control.epoch().map(|(id, _)| id);
        let to = self.agreement_key(account, &statement.device)?;
        if running != Some(statement.epoch) || to != Some(statement.wrap.to) {
            return Err(ErrorCode::AgreementStale.into());
        }
        let device = statement.device;
        self.replace_statement(account, GRANT, &device, &AnyStatement::Grant(grant.clone()))
    }

    fn take_heartbeat(&mut self, account: &AccountId, heartbeat: &Signed<Heartbeat>) -> Result<(), Fault> {
        let statement = &heartbeat.statement;
        let key = self.member_key(account, &statement.device)?;
        heartbeat
            .verify(account, &key)
            .map_err(|_| ErrorCode::BadSignature)?;
        // Whoever reads it expects what it names: what isn't here, as after a restore, has to be brought first.
        let loaded = self.loaded(account)?;
        let here = |log: &LogId| loaded.logs.get(log).map_or(0, |row| row.head.seq);
        if statement.vector.iter().any(|(log, head)| head.seq > here(log)) {
            return Err(ErrorCode::NotFound.into());
        }
        if let Some(AnyStatement::Heartbeat(last)) = self.newest(account, HEARTBEAT, &statement.device)?
            && last.statement.number >= statement.number
        {
            return Ok(());
        }
        self.replace_statement(
            account,
            HEARTBEAT,
            &statement.device,
            &AnyStatement::Heartbeat(Box::new(heartbeat.clone())),
        )
    }

    fn take_checkpoint(
        &mut self,
        account: &AccountId,
        checkpoint: &Signed<Checkpoint>,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let statement = &checkpoint.statement;
        let key = self.member_key(account, &statement.device)?;
        checkpoint
            .verify(account, &key)
            .map_err(|_| ErrorCode::BadSignature)?;
        if self.is_checkpoint(account, &statement.id(account))? {
            return Ok(());
        }
        if self.contradicts(account, &statement.frontier)? {
            return Err(ErrorCode::WrongLink.into());
        }
        let arriving = self.is_arriving(account, now_ms)?;
        if !arriving && !self.reaches_folded(account, &statement.frontier)? {
            // Nobody could begin there any more; the one that leads on stays.
            return Ok(());
        }
        // What stood until now is the newest but one from here on: behind both holes may go.
        let fold = self
            .checkpoints(account)?
            .pop()
            .map(|(_, last)| behind_both(&last.statement.frontier, &statement.frontier));
        self.replace_statement(
            account,
            CHECKPOINT,
            &statement.device,
            &AnyStatement::Checkpoint(Box::new(checkpoint.clone())),
        )?;
        self.drop_old_checkpoints(account)?;
        match fold {
            Some(frontier) if self.config.folds => self.fold(account, &frontier),
            _ => Ok(()),
        }
    }

    /// Whether a frontier names another link than the one that is here.
    fn contradicts(&mut self, account: &AccountId, frontier: &VersionVector) -> Result<bool, Fault> {
        self.load(account)?;
        let Some(loaded) = self.accounts.get(account) else {
            return Ok(false);
        };
        for (log, head) in frontier.iter() {
            let Some(place) = loaded.log(account, log) else {
                continue;
            };
            // A place that is there; what a claim beyond it says can't be known.
            let known = (place.row.folded.seq..=place.row.head.seq).contains(&head.seq);
            if known
                && place
                    .link_at(&self.rows, head.seq)?
                    .is_some_and(|link| link != head.link)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether everything that was folded away lies behind a frontier: whoever begins there misses nothing.
    pub(super) fn reaches_folded(
        &mut self,
        account: &AccountId,
        frontier: &VersionVector,
    ) -> Result<bool, Fault> {
        let loaded = self.loaded(account)?;
        Ok(loaded.logs.iter().all(|(log, row)| {
            let last = loaded.control.last_item(&row.open.statement.device, log);
            let has = frontier.get(log).map_or(0, |head| head.seq);
            has >= row.folded.seq.min(last)
        }))
    }

    /// The newest checkpoint at which somebody can begin, of all that there are.
    pub(super) fn newest_checkpoint(
        &mut self,
        account: &AccountId,
    ) -> Result<Option<Box<Signed<Checkpoint>>>, Fault> {
        for (_, checkpoint) in self.checkpoints(account)?.into_iter().rev() {
            if self.leads_on(account, &checkpoint.statement.frontier)? {
                return Ok(Some(checkpoint));
            }
        }
        Ok(None)
    }

    /// Whether somebody can begin at a checkpoint: it is behind what was folded away, and names nothing that isn't here. What
    /// a log says up to there would be passed over, for ever, by whoever believed a member's claim.
    pub(super) fn leads_on(&mut self, account: &AccountId, frontier: &VersionVector) -> Result<bool, Fault> {
        if !self.reaches_folded(account, frontier)? {
            return Ok(false);
        }
        let loaded = self.loaded(account)?;
        Ok(frontier.iter().all(|(log, head)| {
            loaded.logs.get(log).is_some_and(|row| {
                let last = loaded.control.last_item(&row.open.statement.device, log);
                head.seq.min(last) <= row.head.seq
            })
        }))
    }

    /// A member's checkpoint takes the place of those of devices that are out.
    fn drop_old_checkpoints(&mut self, account: &AccountId) -> Result<(), Fault> {
        for (_, checkpoint) in self.checkpoints(account)? {
            let device = checkpoint.statement.device;
            if self.loaded(account)?.control.member(&device).is_none() {
                self.drop_statement(account, CHECKPOINT, &device)?;
            }
        }
        Ok(())
    }

    fn is_checkpoint(&self, account: &AccountId, id: &Hash) -> Result<bool, StoreError> {
        let known = self.checkpoints(account)?;
        Ok(known.iter().any(|(_, checkpoint)| checkpoint.id(account) == *id))
    }

    /// Acknowledgements of an erasure.
    pub(super) fn acks(&self, account: &AccountId, erase: &Hash) -> Result<Vec<AnyStatement>, StoreError> {
        let mut cursors = Vec::new();
        self.rows
            .values::<u64>(account, Space::Acks, &erase.0, &mut |key, _, cursor| {
                if !key.starts_with(&erase.0) {
                    return ControlFlow::Break(());
                }
                cursors.push(cursor);
                ControlFlow::Continue(())
            })?;
        cursors
            .into_iter()
            .map(|cursor| self.rows.need(account, Space::Statements, &cursor.to_be_bytes()))
            .collect()
    }
}
