//! What a session is sent: from its positions on, as far as its credit reaches, in the order that the protocol gives.

use std::ops::ControlFlow;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::ControlEntry;
use hearth_protocol::erasure::Erase;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{AccountId, DeviceId, Hash};
use hearth_protocol::limits::{MAX_CONTROL_ENTRIES, MAX_STATEMENTS};
use hearth_protocol::message::{Complete, ControlPart, ErasePart, Priority, RegistryPart, Reply};
use hearth_protocol::registry::Shard;
use hearth_protocol::statement::AnyStatement;

use super::{Phase, Relay, Session, Turn};
use crate::account::{Loaded, control_entry, table};
use crate::rows::{Rows, number_of};
use crate::session::{Output, SessionId};
use crate::store::{Space, Store, StoreError};

/// About how many bytes one message or batch has, when there is more to send.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// How many places a session remembers at which an `Ack` may confirm statements.
const STATEMENT_MARKS: usize = 64;

impl<S: Store> Relay<S> {
    /// Sends every session of an account what it lacks.
    pub(super) fn push(&mut self, account: &AccountId, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        let ids: Vec<SessionId> = self.present.get(account).into_iter().flatten().copied().collect();
        ids.into_iter().try_for_each(|id| self.push_to(id, turn))
    }

    pub(super) fn push_to(&mut self, id: SessionId, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        let Some(Phase::Ready(account, device)) = self.sessions.get(&id).map(|session| session.phase) else {
            return Ok(());
        };
        self.load(&account)?;
        let (Some(mut session), Some(loaded)) = (self.sessions.remove(&id), self.accounts.get(&account))
        else {
            return Err(StoreError::Damaged("an account is missing"));
        };
        let mut push = Push {
            rows: &self.rows,
            loaded,
            account,
            device,
            id,
            session: &mut session,
        };
        let outcome = push.everything(turn);
        let shut_out = loaded.control.member(&device).is_none() && session.control >= loaded.control.number();
        let deadline_ms = session.erase_deadline_ms;
        self.sessions.insert(id, session);
        if let Some(deadline_ms) = deadline_ms {
            self.remind(deadline_ms);
        }
        outcome?;
        if shut_out {
            turn.refuse(id, 0, ErrorCode::RevokedDevice, 0);
            self.close(id, ErrorCode::RevokedDevice, turn);
        }
        Ok(())
    }

    /// Control entries from a number on.
    pub(super) fn control_part(
        &self,
        account: &AccountId,
        from: u64,
        count: u64,
    ) -> Result<ControlPart, StoreError> {
        let loaded = self
            .accounts
            .get(account)
            .ok_or(StoreError::Damaged("an account is missing"))?;
        control_part(&self.rows, loaded, account, from, count)
    }
}

pub(super) fn control_part<S: Store>(
    rows: &Rows<S>,
    loaded: &Loaded,
    account: &AccountId,
    from: u64,
    count: u64,
) -> Result<ControlPart, StoreError> {
    let last = loaded.control.number();
    let running = loaded.control.epoch().map(|(id, _)| id);
    let mut entries: Vec<ControlEntry> = Vec::new();
    let mut bytes = 0;
    let mut wraps = None;
    let mut number = from;
    while number <= last
        && (number - from) < count
        && entries.len() < MAX_CONTROL_ENTRIES
        && bytes < PIECE_BYTES
    {
        let entry =
            control_entry(rows, account, number)?.ok_or(StoreError::Damaged("a control entry is missing"))?;
        bytes += entry.encode().len();
        if Some(entry.id(account)) == running {
            wraps = rows.get(account, Space::Wraps, b"")?.map(Box::new);
        }
        entries.push(entry);
        number += 1;
    }
    Ok(ControlPart {
        more: number <= last && (number - from) < count,
        entries: entries.try_into().unwrap_or_default(),
        wraps,
    })
}

/// Erasures with cursors from this one on.
pub(super) fn erase_part<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
    from: u64,
    count: u64,
) -> Result<ErasePart, StoreError> {
    let mut erasures: Vec<Signed<Erase>> = Vec::new();
    let mut cursor = from.saturating_sub(1);
    let (mut bytes, mut more) = (0, false);
    let limit = MAX_STATEMENTS.min(usize::try_from(count).unwrap_or(usize::MAX));
    rows.values::<Signed<Erase>>(
        account,
        Space::Erasures,
        &from.to_be_bytes(),
        &mut |key, value, erase| {
            if erasures.len() >= limit || bytes >= PIECE_BYTES {
                more = true;
                return ControlFlow::Break(());
            }
            bytes += value.len();
            cursor = number_of(key).map_or(cursor, |number| number.max(cursor));
            erasures.push(erase);
            ControlFlow::Continue(())
        },
    )?;
    Ok(ErasePart {
        cursor,
        erasures: erasures.try_into().unwrap_or_default(),
        more,
    })
}

/// One session's turn.
struct Push<'a, S> {
    rows: &'a Rows<S>,
    loaded: &'a Loaded,
    account: AccountId,
    device: DeviceId,
    id: SessionId,
    session: &'a mut Session,
}

impl<S: Store> Push<'_, S> {
    fn say(&mut self, reply: Reply, turn: &mut Turn<'_>) {
        let bytes = turn.reply(self.id, 0, reply);
        self.session.credit = self.session.credit.saturating_sub(bytes);
    }

    fn send(&mut self, bytes: Vec<u8>, turn: &mut Turn<'_>) {
        self.session.credit = self.session.credit.saturating_sub(bytes.len());
        turn.out.push(Output::Batch {
            to: self.id,
            bytes,
            priority: if self.session.complete {
                Priority::Live
            } else {
                Priority::Backfill
            },
        });
    }

    fn everything(&mut self, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        self.control(turn)?;
        if self.loaded.control.member(&self.device).is_none() {
            return Ok(());
        }
        self.statements(turn)?;
        self.erasures(turn)?;
        if self.session.gate {
            self.registry(turn)?;
            self.items(turn)?;
        }
        Ok(())
    }

    fn control(&mut self, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        while self.session.control < self.loaded.control.number() && self.session.credit > 0 {
            let from = self.session.control + 1;
            let part = control_part(self.rows, self.loaded, &self.account, from, u64::MAX)?;
            self.session.control += part.entries.len() as u64;
            self.say(Reply::Control(part), turn);
        }
        Ok(())
    }

    fn statements(&mut self, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        while self.session.statements_sent < self.loaded.row.statements && self.session.credit > 0 {
            let from = self.session.statements_sent + 1;
            let mut statements: Vec<AnyStatement> = Vec::new();
            let mut cursor = self.loaded.row.statements;
            let mut bytes = 0;
            let device = self.device;
            self.rows.values::<AnyStatement>(
                &self.account,
                Space::Statements,
                &from.to_be_bytes(),
                &mut |key, value, statement| {
                    if statements.len() >= MAX_STATEMENTS || bytes >= PIECE_BYTES {
                        // Beyond where it was, whatever a key says: else this would never end.
                        cursor = number_of(key).map_or(from, |next| next.saturating_sub(1).max(from));
                        return ControlFlow::Break(());
                    }
                    let for_another = matches!(
                        &statement,
                        AnyStatement::Grant(grant) if grant.statement.device != device
                    );
                    if !for_another {
                        bytes += value.len();
                        statements.push(statement);
                    }
                    ControlFlow::Continue(())
                },
            )?;
            self.session.statements_sent = cursor;
            self.session.statements_count += statements.len() as u64;
            let marks = &mut self.session.statement_marks;
            if marks.len() >= STATEMENT_MARKS {
                // A later mark says more than an earlier one; only the newest may be too new for the next `Ack`.
                marks.remove(STATEMENT_MARKS / 2);
            }
            marks.push_back((self.session.statements_count, cursor));
            if !statements.is_empty() {
                self.say(Reply::Statements(statements.try_into().unwrap_or_default()), turn);
            }
        }
        Ok(())
    }

    fn erasures(&mut self, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        while self.session.erased_sent < self.loaded.row.erased_cursor && self.session.credit > 0 {
            let part = erase_part(self.rows, &self.account, self.session.erased_sent + 1, u64::MAX)?;
            self.session.erased_sent = if part.more {
                part.cursor
            } else {
                self.loaded.row.erased_cursor
            };
            if self.session.gate {
                self.session.erase_deadline_ms.get_or_insert(
                    turn.now_ms
                        .saturating_add(hearth_protocol::limits::ERASE_ACK_TIMEOUT_MS),
                );
            }
            if !part.erasures.is_empty() {
                self.say(Reply::Erasures(part), turn);
            }
        }
        Ok(())
    }

    /// The table, and what changed since the one that the session has, if that is small and was the last change.
    fn registry(&mut self, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        let current = self.loaded.row.table;
        if self.session.table_sent == current || current == Hash::ZERO || self.session.credit == 0 {
            return Ok(());
        }
        let table = table(self.rows, &self.account)?.ok_or(StoreError::Damaged("the table is missing"))?;
        let mut shards: Vec<Shard> = Vec::new();
        let mut bytes = 0;
        if table.statement.previous == self.session.table_sent {
            for index in &self.loaded.shards_changed {
                let shard: Option<Shard> = self.rows.get(&self.account, Space::Shards, &[*index])?;
                let Some(shard) = shard else { continue };
                bytes += shard.sealed.len();
                if bytes > PIECE_BYTES {
                    break;
                }
                shards.push(shard);
            }
        }
        self.session.table_sent = current;
        self.say(
            Reply::Registry(RegistryPart {
                table: Box::new(table),
                shards: shards.try_into().unwrap_or_default(),
            }),
            turn,
        );
        Ok(())
    }

    fn items(&mut self, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        if !self.what_was_before(turn)? {
            return Ok(());
        }
        let Some(mut sent) = self.session.sent.take() else {
            return Ok(());
        };
        let outcome = self.runs(&mut sent, turn);
        let done = outcome.is_ok()
            && self
                .loaded
                .logs
                .values()
                .all(|row| row.head.seq <= sent.get(&row.number).copied().unwrap_or(0));
        self.session.sent = Some(sent);
        outcome?;
        let told = self.session.control >= self.loaded.control.number()
            && self.session.statements_sent >= self.loaded.row.statements
            // A peer that was only just put in has none to tell of.
            && (self.session.table_sent == self.loaded.row.table || self.loaded.row.table == Hash::ZERO);
        if done && told && !self.session.complete {
            self.session.complete = true;
            let vector = self.loaded.vector();
            self.say(Reply::Complete(Complete { vector }), turn);
        }
        Ok(())
    }

    fn runs(
        &mut self,
        sent: &mut std::collections::BTreeMap<u32, u64>,
        turn: &mut Turn<'_>,
    ) -> Result<(), StoreError> {
        let (loaded, account) = (self.loaded, self.account);
        for (number, id) in &loaded.numbers {
            let Some(log) = loaded.log(&account, id) else {
                continue;
            };
            let at = sent.entry(*number).or_insert(0);
            while *at < log.row.head.seq && self.session.credit > 0 {
                if *at < log.row.folded.seq {
                    let (batch, done) = log.detached(self.rows, *at + 1, log.row.folded.seq, PIECE_BYTES)?;
                    *at = done;
                    if let Some(batch) = batch {
                        self.send(batch, turn);
                    }
                    continue;
                }
                let Some((batch, last)) = log.run(self.rows, *at + 1, u64::MAX, PIECE_BYTES)? else {
                    return Err(StoreError::Damaged("a log ends early"));
                };
                *at = last;
                self.send(batch, turn);
            }
        }
        Ok(())
    }

    /// What lives up to the frontier of the checkpoint that was asked for: whether all of it is sent.
    fn what_was_before(&mut self, turn: &mut Turn<'_>) -> Result<bool, StoreError> {
        let Some(mut before) = self.session.before.take() else {
            return Ok(true);
        };
        while let Some((number, (from, upto))) = before.first_key_value().map(|(key, value)| (*key, *value)) {
            if self.session.credit == 0 {
                self.session.before = Some(before);
                return Ok(false);
            }
            let log = self.loaded.by_number(&self.account, number)?;
            let (batch, done) = log.detached(self.rows, from, upto, PIECE_BYTES)?;
            if done >= upto {
                before.remove(&number);
            } else {
                before.insert(number, (done + 1, upto));
            }
            if let Some(batch) = batch {
                self.send(batch, turn);
            }
        }
        Ok(true)
    }
}
