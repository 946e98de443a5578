//! `Hello` and what settles a session: vectors, the gate, acknowledgements.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use hearth_protocol::codec::{Map, Wire};
use hearth_protocol::control::{Action, ControlEntry};
use hearth_protocol::envelope::Nothing;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{sha256, verify};
use hearth_protocol::id::{AccountId, DeviceId, InstanceToken, LogId, TimeMs};
use hearth_protocol::limits::MAX_LOSING_ENTRIES;
use hearth_protocol::message::{
    Acked, Ahead, Applied, Claim, Complete, Hello, Refusal, Reply, Stored, VersionRange, Welcome,
    choose_version, claim_id, session_id,
};
use hearth_protocol::statement::AnyStatement;
use hearth_protocol::vector::{Head, VersionVector, vector_digest};

use super::control::NO_TABLE;
use super::{ACCEPTED, Fault, Phase, Relay, Turn};
use crate::account::{Loaded, RESTORED_KEY, control_entry, device_row};
use crate::rows::{DeviceRow, number_of};
use crate::session::SessionId;
use crate::store::{SHARED, Space, Store, StoreError};

/// How long after a restore devices are believed to bring what the store had: who sleeps longer than a month loses nothing
/// but that others have to bring it.
const RESTORED_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

const NO_TOKEN: InstanceToken = InstanceToken([0; 16]);

impl<S: Store> Relay<S> {
    pub(super) fn hello(
        &mut self,
        id: SessionId,
        number: u32,
        hello: &Hello,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let version = match choose_version(&hello.versions, self.config.versions) {
            Ok(version) => version,
            Err(code) => {
                self.refuse_version(id, number, code, 0, turn);
                return Ok(());
            }
        };
        let cached = self.accounts.contains_key(&hello.account);
        if !self.load(&hello.account)? {
            return Err(Fault::Close(self.not_here(&hello.account)?));
        }
        let outcome = self.hello_to(id, number, hello, version, turn);
        // Whoever wasn't let in doesn't keep an account in memory that nobody is connected to.
        if !cached && !self.present.contains_key(&hello.account) {
            self.accounts.remove(&hello.account);
        }
        outcome
    }

    /// Why an account isn't here. Devices bring one that was lost, and none that was removed.
    fn not_here(&self, account: &AccountId) -> Result<ErrorCode, StoreError> {
        let removed: Option<Nothing> = self.rows.get(&SHARED, Space::Purged, &sha256(&account.0).0)?;
        Ok(if removed.is_some() {
            ErrorCode::Purged
        } else {
            ErrorCode::UnknownAccount
        })
    }

    fn hello_to(
        &mut self,
        id: SessionId,
        number: u32,
        hello: &Hello,
        version: u16,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let transport_key = self.session(id)?.transport_key;
        let loaded = self.loaded(&hello.account)?;
        let Some(device) = loaded.control.devices().get(&hello.device) else {
            return Err(Fault::Close(ErrorCode::UnknownDevice));
        };
        if device.keys.transport != transport_key {
            return Err(Fault::Close(ErrorCode::WrongTransportKey));
        }
        if device.revoked.is_some() {
            return self.turn_away(id, number, hello, turn);
        }
        let lowest = loaded.control.min_version();
        if version < lowest {
            self.refuse_version(id, number, ErrorCode::VersionTooOld, lowest, turn);
            return Ok(());
        }
        let mut remembered = device_row(&self.rows, &hello.account, &hello.device)?;
        let known = [remembered.current, remembered.offered, NO_TOKEN];
        if !remembered.any_token && !known.contains(&hello.instance) {
            return Err(Fault::Close(ErrorCode::StaleInstance));
        }
        self.erased_root(&hello.account, Some(&hello.device), turn.now_ms)?;
        let restored: Option<u64> = self.rows.get(&hello.account, Space::Account, RESTORED_KEY)?;
        match restored {
            Some(0) => {
                let until = turn.now_ms.saturating_add(RESTORED_MS);
                self.rows
                    .put(&hello.account, Space::Account, RESTORED_KEY, &until)?;
            }
            Some(until) if until <= turn.now_ms => {
                self.rows.delete(&hello.account, Space::Account, RESTORED_KEY)?;
            }
            _ => {}
        }
        let mut token = [0; 16];
        turn.entropy.fill(&mut token);
        if hello.instance == NO_TOKEN || hello.instance != remembered.offered {
            // It begins anew, or knows nothing of its last session here, as after a backup: what it had confirmed may be
            // missing there.
            remembered.statements = 0;
        }
        remembered.current = hello.instance;
        remembered.offered = InstanceToken(token);
        remembered.any_token = false;
        if std::mem::take(&mut remembered.restored) {
            remembered.left = hello.log;
        }
        remembered.seen_ms = turn.now_ms;
        self.rows
            .put(&hello.account, Space::Devices, &hello.device.0, &remembered)?;
        let earlier = self.present.get(&hello.account).cloned().unwrap_or_default();
        for other in earlier {
            let same = self.sessions.get(&other).and_then(super::Session::device) == Some(hello.device);
            if same && other != id {
                self.close(other, ErrorCode::Superseded, turn);
            }
        }
        // Of a table that came back in pieces, or with less than it names: whoever has all of it brings it.
        let lacks = restored.is_some() && self.lacks_shards(&hello.account)?;
        let (welcome, holed) = self.settle_session(id, hello, &remembered, version, lacks, turn.now_ms)?;
        turn.reply(id, number, Reply::Welcome(Box::new(welcome)));
        if let Some(stored) = holed {
            turn.reply(id, 0, Reply::Stored(stored));
        }
        Ok(())
    }

    fn refuse_version(
        &mut self,
        id: SessionId,
        number: u32,
        code: ErrorCode,
        at_least: u16,
        turn: &mut Turn<'_>,
    ) {
        let refusal = Refusal {
            code,
            retry_after_ms: 0,
            versions: Some(VersionRange {
                lowest: self
                    .config
                    .versions
                    .first()
                    .map_or(0, |lowest| at_least.max(*lowest)),
                highest: self.config.versions.last().copied().unwrap_or(0),
            }),
        };
        turn.reply(id, number, Reply::Refused(refusal));
        self.close(id, code, turn);
    }

    /// A revoked device gets the entries that it lacks up to the one that revoked it, and nothing else: what came after,
    /// who joined and where the account lives, isn't its business any more.
    fn turn_away(
        &mut self,
        id: SessionId,
        number: u32,
        hello: &Hello,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let (from, joined) = self.where_it_stands(hello)?;
        let control = &self.loaded(&hello.account)?.control;
        let revoked = control
            .devices()
            .get(&hello.device)
            .and_then(|device| device.revoked);
        let last = revoked
            .and_then(|index| control.revocations().get(index))
            .map_or(0, |revocation| revocation.number);
        // Of another branch, also what shows that somebody from there has joined this one: else it needn't believe it.
        let last = last.max(joined);
        let mut part = self.control_part(&hello.account, from, (last + 1).saturating_sub(from))?;
        part.wraps = None;
        if !part.entries.is_empty() {
            turn.reply(id, 0, Reply::Control(part));
        }
        turn.refuse(id, number, ErrorCode::RevokedDevice, 0);
        self.close(id, ErrorCode::RevokedDevice, turn);
        Ok(())
    }

    /// From which control entry on a device has to be told, and the reunion that names its head, if that is of a branch that
    /// lost (else 0).
    fn where_it_stands(&mut self, hello: &Hello) -> Result<(u64, u64), Fault> {
        let account = &hello.account;
        let number = self.loaded(account)?.control.number();
        let behind = hello.control_number.saturating_add(1);
        let ours = control_entry(&self.rows, account, hello.control_number)?;
        if ours.is_none_or(|entry| entry.id(account) == hello.control) {
            return Ok((behind, 0));
        }
        let from = behind.min(number + 1).saturating_sub(MAX_LOSING_ENTRIES as u64);
        let mut joined = 0;
        self.rows.values::<ControlEntry>(
            account,
            Space::Control,
            &from.to_be_bytes(),
            &mut |_, _, entry| match &entry.statement.action {
                Action::Unite(both)
                    if both.losing.iter().any(|bytes| {
                        ControlEntry::decode(bytes).is_ok_and(|losing| losing.id(account) == hello.control)
                    }) =>
                {
                    joined = entry.statement.number;
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            },
        )?;
        Ok((from.max(1), joined))
    }

    fn settle_session(
        &mut self,
        id: SessionId,
        hello: &Hello,
        remembered: &DeviceRow,
        version: u16,
        lacks_shards: bool,
        now_ms: u64,
    ) -> Result<(Welcome, Option<Stored>), Fault> {
        let loaded = self
            .accounts
            .get(&hello.account)
            .ok_or(StoreError::Damaged("an account is missing"))?;
        let control = &loaded.control;
        let digest = loaded.digest();
        let gate = hello.erased_root == loaded.row.erased_root;
        let table = if lacks_shards { NO_TABLE } else { loaded.row.table };
        let (sent, delta) = if hello.vector == digest {
            (Some(positions(loaded, &loaded.vector())), false)
        } else if hello.vector == vector_digest(&hello.account, &remembered.vector) {
            (Some(positions(loaded, &remembered.vector)), true)
        } else {
            (None, false)
        };
        let same = hello.control == control.head() && gate && hello.table == table && hello.vector == digest;
        let ahead = (!same).then(|| Ahead {
            control: control.head(),
            control_number: control.number(),
            erased_cursor: loaded.row.erased_cursor,
            erased_root: loaded.row.erased_root,
            table,
            vector: digest,
            delta,
        });
        let own_log = hello
            .log
            .and_then(|log| loaded.logs.get(&log).map(|row| (log, row)))
            .filter(|(_, row)| row.open.statement.device == hello.device);
        let holed = own_log
            .filter(|(_, row)| !row.holed.is_empty())
            .map(|(log, row)| Stored {
                log,
                seq: row.head.seq,
                link: row.head.link,
                holed: row.holed.to_vec().try_into().unwrap_or_default(),
            });
        let session = self
            .sessions
            .get_mut(&id)
            .ok_or(Fault::Close(ErrorCode::OutOfTurn))?;
        if let Some(account) = session.account() {
            self.present.entry(account).or_default().remove(&id);
        }
        session.phase = Phase::Ready(hello.account, hello.device);
        self.present.entry(hello.account).or_default().insert(id);
        // Of another branch: what follows doesn't fit, and by that the device knows.
        session.control = hello.control_number.min(control.number());
        session.control_at_hello = hello.control_number;
        session.erased_sent = if gate {
            loaded.row.erased_cursor
        } else {
            hello.erased_cursor.min(loaded.row.erased_cursor)
        };
        session.erased_applied = session.erased_sent;
        session.gate = gate;
        session.statements_sent = remembered.statements.min(loaded.row.statements);
        session.table_sent = hello.table;
        session.sent = sent;
        session.complete = same;
        let proof = session_id(&hello.account, &hello.device, &session.exporter);
        let welcome = Welcome {
            version,
            proof: self.config.signer.sign(&proof),
            instance: remembered.offered,
            own: own_log.map(|(_, row)| row.head),
            afresh: hello.log.is_some() && hello.log == remembered.left,
            ahead,
            used_bytes: loaded.row.used_bytes,
            quota_bytes: self.config.limits.quota_bytes,
            at: TimeMs { ms: now_ms },
        };
        Ok((welcome, holed))
    }

    /// Somebody with nothing but the phrase: the account is found by the phrase's public key. Whoever was shown a
    /// certificate knows that key: so without its signature nothing is looked up.
    pub(super) fn claimed(
        &mut self,
        id: SessionId,
        number: u32,
        claim: &Claim,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let version = match choose_version(&claim.versions, self.config.versions) {
            Ok(version) => version,
            Err(code) => {
                self.refuse_version(id, number, code, 0, turn);
                return Ok(());
            }
        };
        let exporter = self.session(id)?.exporter;
        if verify(&claim.phrase, &claim_id(&claim.phrase, &exporter), &claim.proof).is_err() {
            return Err(Fault::Close(ErrorCode::BadSignature));
        }
        let account: Option<AccountId> = self.rows.get(&SHARED, Space::Phrases, &claim.phrase.0)?;
        let Some(account) = account else {
            return Err(Fault::Close(ErrorCode::UnknownAccount));
        };
        let key = self.key;
        let role = self.config.role;
        self.load(&account)?;
        self.erased_root(&account, None, turn.now_ms)?;
        let loaded = self.loaded(&account)?;
        if loaded.moved(role, &key) {
            return Err(Fault::Close(ErrorCode::Moved));
        }
        let ahead = Ahead {
            control: loaded.control.head(),
            control_number: loaded.control.number(),
            erased_cursor: loaded.row.erased_cursor,
            erased_root: loaded.row.erased_root,
            table: loaded.row.table,
            vector: loaded.digest(),
            delta: false,
        };
        let used_bytes = loaded.row.used_bytes;
        let session = self.session(id)?;
        let proof = session_id(&AccountId(claim.phrase.0), &DeviceId([0; 32]), &session.exporter);
        session.phase = Phase::Recovering(account);
        self.present.entry(account).or_default().insert(id);
        let welcome = Welcome {
            version,
            proof: self.config.signer.sign(&proof),
            instance: NO_TOKEN,
            own: None,
            afresh: false,
            ahead: Some(ahead),
            used_bytes,
            quota_bytes: self.config.limits.quota_bytes,
            at: TimeMs { ms: turn.now_ms },
        };
        turn.reply(id, number, Reply::Welcome(Box::new(welcome)));
        Ok(())
    }

    /// The server's vector, for whoever recovers and has to cut behind it.
    pub(super) fn tell_vector(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let vector = self.loaded(account)?.vector();
        turn.reply(id, number, Reply::Complete(Complete { vector }));
        Ok(())
    }

    /// The device says what it has, because its digest was unknown, or because it wants to begin again.
    pub(super) fn take_vector(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        device: &DeviceId,
        vector: VersionVector,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let sent = positions(self.loaded(account)?, &vector);
        let mut remembered = device_row(&self.rows, account, device)?;
        // It lacks what it had confirmed, as after a backup: so it may of statements.
        let behind = |(log, head): &(LogId, Head)| vector.get(log).is_none_or(|now| now.seq < head.seq);
        let went_back = remembered.vector.iter().any(behind)
            || self.lacks_an_opening(account, &vector, remembered.statements)?;
        if remembered.vector != vector {
            remembered.vector = vector;
            if went_back {
                remembered.statements = 0;
            }
            self.rows.put(account, Space::Devices, &device.0, &remembered)?;
        }
        let session = self.session(id)?;
        if went_back {
            session.statements_sent = 0;
            session.statement_marks.clear();
        }
        session.sent = Some(sent);
        session.complete = false;
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    /// Whether a vector lacks a log whose opening is among the first statements, up to this one.
    fn lacks_an_opening(
        &mut self,
        account: &AccountId,
        vector: &VersionVector,
        upto: u64,
    ) -> Result<bool, Fault> {
        let logs = self.loaded(account)?.logs.keys();
        let unknown: BTreeSet<LogId> = logs.filter(|log| vector.get(log).is_none()).copied().collect();
        let mut lacks = false;
        if unknown.is_empty() || upto == 0 {
            return Ok(false);
        }
        self.rows
            .values::<AnyStatement>(account, Space::Statements, &[], &mut |key, _, statement| {
                let behind = number_of(key).map_or(true, |number| number > upto);
                lacks |= matches!(&statement, AnyStatement::LogOpen(open)
                    if !behind && unknown.contains(&open.statement.log(account)));
                if lacks || behind {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        Ok(lacks)
    }

    /// The gate opens when the device has applied what the relay has.
    pub(super) fn applied(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        applied: &Applied,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let now_ms = turn.now_ms;
        let device = self.session(id)?.device();
        let cursor = self.loaded(account)?.row.erased_cursor;
        // More has come since: the root is that of what the device has, and needn't be compared.
        let behind = self.session(id)?.gate && applied.erased_cursor < cursor;
        let same = !behind && applied.erased_root == self.erased_root(account, device.as_ref(), now_ms)?;
        let row = self.loaded(account)?.row.clone();
        let session = self.session(id)?;
        if same {
            session.gate = true;
            session.erased_sent = row.erased_cursor;
            session.erased_applied = row.erased_cursor;
            session.erase_deadline_ms = None;
        } else if behind {
            // Whoever doesn't get on has no more time for it.
            let grew = applied.erased_cursor > session.erased_applied;
            session.erased_applied = session.erased_applied.max(applied.erased_cursor);
            if session.erased_applied >= session.erased_sent {
                session.erase_deadline_ms = None;
            } else if grew {
                session.erase_deadline_ms = Some(Self::deadline(now_ms));
            } else {
                session.erase_deadline_ms.get_or_insert(Self::deadline(now_ms));
            }
        } else {
            if session.gate {
                session.erase_deadline_ms.get_or_insert(Self::deadline(now_ms));
            }
            return Err(ErrorCode::GateClosed.into());
        }
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    /// What is durable on the device: remembered for its next `Hello`, and what lets covered bodies go.
    pub(super) fn take_ack(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        device: &DeviceId,
        acked: &Acked,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        self.load(account)?;
        let mut remembered = device_row(&self.rows, account, device)?;
        let before = remembered.clone();
        let mut vector: BTreeMap<LogId, Head> = remembered.vector.iter().copied().collect();
        let mut own = None;
        for (log, seq) in acked.upto.iter() {
            let loaded = self.loaded(account)?;
            if loaded.logs.get(log).is_some_and(|row| {
                row.open.statement.device == *device && row.holed.first().is_some_and(|hole| hole.seq <= *seq)
            }) {
                own = Some((*log, *seq));
            }
            if vector.get(log).is_some_and(|head| head.seq >= *seq) {
                continue;
            }
            let link = match self
                .accounts
                .get(account)
                .and_then(|loaded| loaded.log(account, log))
            {
                Some(log) => log.link_at(&self.rows, *seq)?,
                None => None,
            };
            if let Some(link) = link {
                vector.insert(*log, Head { seq: *seq, link });
            }
        }
        remembered.vector = Map::new(vector).map_err(|_| ErrorCode::TooLarge)?;
        let session = self.session(id)?;
        while let Some((count, cursor)) = session.statement_marks.front().copied() {
            if count > acked.statements {
                break;
            }
            remembered.statements = remembered.statements.max(cursor);
            session.statement_marks.pop_front();
        }
        if remembered != before {
            self.rows.put(account, Space::Devices, &device.0, &remembered)?;
        }
        if let Some((log, seq)) = own {
            let loaded = self.loaded(account)?;
            if let Some(row) = loaded.logs.get_mut(&log) {
                let left: Vec<_> = row.holed.iter().filter(|hole| hole.seq > seq).copied().collect();
                row.holed = left.try_into().unwrap_or_default();
            }
            if let Some(loaded) = self.accounts.get(account) {
                loaded.save_log(&mut self.rows, &log)?;
            }
        }
        self.compact_acknowledged(account, device, acked)?;
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }
}

/// From where each log has to be sent to somebody who has this vector, by the logs' numbers.
fn positions(loaded: &Loaded, vector: &VersionVector) -> BTreeMap<u32, u64> {
    loaded
        .logs
        .iter()
        .map(|(log, row)| {
            let has = vector.get(log).map_or(0, |head| head.seq);
            (row.number, has.min(row.head.seq))
        })
        .collect()
}
