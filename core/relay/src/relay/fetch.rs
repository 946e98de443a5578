//! Questions. An answer holds as much as fits into about a mebibyte (shards: three); whoever wants more asks on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hearth_protocol::codec::List;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, DeviceId, Hash};
use hearth_protocol::limits::MAX_STATEMENTS;
use hearth_protocol::message::{Fetch, ItemRange, Priority, Range, RegistryPart, Reply};
use hearth_protocol::registry::Shard;
use hearth_protocol::statement::AnyStatement;

use super::push::{PIECE_BYTES, erase_part};
use super::statement::EPOCH_ACK;
use super::{ACCEPTED, Fault, Relay, Turn};
use crate::account::table;
use crate::session::{Output, SessionId};
use crate::store::{Space, Store};

/// So many ids of erasures that are passed over count as one more request.
const IDS_A_REQUEST: u64 = 256;

/// How long whoever asks faster than it reads shall wait, in milliseconds.
const CREDIT_RETRY_MS: u64 = 500;

impl<S: Store> Relay<S> {
    pub(super) fn fetch(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        device: &DeviceId,
        fetch: &Fetch,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let session = self.session(id)?;
        if session.credit == 0 {
            return Err(Fault::Refuse(ErrorCode::RateLimited, CREDIT_RETRY_MS));
        }
        let gate = session.gate;
        match fetch {
            Fetch::Items(_) | Fetch::Shards(_) | Fetch::Checkpoint(_) if !gate => {
                Err(ErrorCode::GateClosed.into())
            }
            Fetch::Items(ranges) => self.fetch_items(id, number, account, ranges, turn),
            Fetch::Shards(indices) => self.fetch_shards(id, number, account, indices, turn),
            Fetch::Checkpoint(checkpoint) => {
                self.fetch_checkpoint(id, number, account, device, checkpoint, turn)
            }
            Fetch::ErasureIds(range) => self.fetch_erasure_ids(id, number, account, device, *range, turn),
            Fetch::Erasure(erase) => self.fetch_erasure(id, number, account, erase, turn),
            open => self.fetch_open(id, number, account, open, turn),
        }
    }

    /// What somebody with nothing but the phrase may ask for.
    pub(super) fn fetch_recovering(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        fetch: &Fetch,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        if self.session(id)?.credit == 0 {
            return Err(Fault::Refuse(ErrorCode::RateLimited, CREDIT_RETRY_MS));
        }
        match fetch {
            Fetch::Control(_) | Fetch::Wraps(_) | Fetch::NewestCheckpoint(_) | Fetch::Erasures(_) => {
                self.fetch_open(id, number, account, fetch, turn)
            }
            _ => Err(Fault::Close(ErrorCode::OutOfTurn)),
        }
    }

    /// What needs no gate.
    fn fetch_open(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        fetch: &Fetch,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        self.load(account)?;
        let reply = match fetch {
            Fetch::Control(range) => Reply::Control(self.control_part(account, range.from, range.count)?),
            Fetch::Erasures(range) => {
                Reply::Erasures(erase_part(&self.rows, account, range.from, range.count)?)
            }
            Fetch::Wraps(_) => match self.rows.get(account, Space::Wraps, b"")? {
                Some(wraps) => Reply::Wraps(Box::new(wraps)),
                None => return Err(ErrorCode::NotFound.into()),
            },
            Fetch::NewestCheckpoint(_) => match self.newest_checkpoint(account)? {
                Some(checkpoint) => Reply::Statements(one(AnyStatement::Checkpoint(checkpoint))),
                None => return Err(ErrorCode::NotFound.into()),
            },
            _ => return Err(ErrorCode::NotFound.into()),
        };
        self.answer(id, number, reply, turn)
    }

    fn answer(&mut self, id: SessionId, number: u32, reply: Reply, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let bytes = turn.reply(id, number, reply);
        let session = self.session(id)?;
        session.credit = session.credit.saturating_sub(bytes);
        Ok(())
    }

    fn fetch_items(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        ranges: &[ItemRange],
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        self.load(account)?;
        let mut batches = Vec::new();
        let mut bytes = 0;
        for ItemRange { log, range } in ranges {
            let place = self
                .accounts
                .get(account)
                .and_then(|loaded| loaded.log(account, log))
                .ok_or(ErrorCode::NotFound)?;
            let upto = range.from.saturating_add(range.count.saturating_sub(1));
            let mut at = range.from.max(1);
            while at <= upto.min(place.row.head.seq) && bytes < PIECE_BYTES {
                let (batch, last) = if at <= place.row.folded.seq {
                    place.detached(&self.rows, at, upto.min(place.row.folded.seq), PIECE_BYTES)?
                } else {
                    match place.run(&self.rows, at, upto, PIECE_BYTES)? {
                        Some((batch, last)) => (Some(batch), last),
                        None => break,
                    }
                };
                at = last + 1;
                bytes += batch.as_ref().map_or(0, Vec::len);
                batches.extend(batch);
            }
        }
        for batch in batches {
            turn.out.push(Output::Batch {
                to: id,
                bytes: batch,
                priority: Priority::Backfill,
            });
        }
        let session = self.session(id)?;
        session.credit = session.credit.saturating_sub(bytes);
        turn.reply(id, number, ACCEPTED);
        Ok(())
    }

    fn fetch_shards(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        indices: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let Some(table) = table(&self.rows, account)? else {
            return Err(ErrorCode::NotFound.into());
        };
        let mut shards: Vec<Shard> = Vec::new();
        let mut bytes = 0;
        for index in indices {
            let shard: Option<Shard> = self.rows.get(account, Space::Shards, &[*index])?;
            let Some(shard) = shard else { continue };
            bytes += shard.sealed.len();
            if bytes > 3 * PIECE_BYTES {
                break;
            }
            shards.push(shard);
        }
        let part = RegistryPart {
            table: Box::new(table),
            shards: shards.try_into().unwrap_or_default(),
        };
        self.answer(id, number, Reply::Registry(part), turn)
    }

    /// The checkpoint, and what lives at it; then the rest of the logs from its frontier on.
    fn fetch_checkpoint(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        _device: &DeviceId,
        checkpoint: &Hash,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let found = self
            .checkpoints(account)?
            .into_iter()
            .map(|(_, found)| found)
            .find(|found| found.id(account) == *checkpoint)
            .ok_or(ErrorCode::NotFound)?;
        if !self.leads_on(account, &found.statement.frontier)? {
            // What was folded away since is behind it, or it is ahead of what is here: the newest may lead on.
            return Err(ErrorCode::NotFound.into());
        }
        let loaded = self.loaded(account)?;
        let mut before = BTreeMap::new();
        let mut sent = BTreeMap::new();
        for (log, row) in &loaded.logs {
            let upto = found
                .statement
                .frontier
                .get(log)
                .map_or(0, |head| head.seq.min(row.head.seq));
            if upto > 0 {
                before.insert(row.number, (1, upto));
            }
            sent.insert(row.number, upto);
        }
        let session = self.session(id)?;
        session.before = Some(before);
        session.sent = Some(sent);
        session.complete = false;
        self.answer(
            id,
            number,
            Reply::Statements(one(AnyStatement::Checkpoint(found))),
            turn,
        )
    }

    fn fetch_erasure_ids(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        device: &DeviceId,
        range: Range,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let count = usize::try_from(range.count)
            .unwrap_or(usize::MAX)
            .min(MAX_STATEMENTS);
        // Who asks on where the last answer ended is answered from there; else what is passed over is counted.
        let begin = match self.session(id)?.ids_told {
            Some((next, last)) if next == range.from && next > 0 => Some(last),
            _ => None,
        };
        let mut passed = if begin.is_some() { 1 } else { range.from };
        let all = self.loaded(account)?.row.erased_cursor;
        self.allow_exempt(account, device, passed.min(all) / IDS_A_REQUEST, 0, turn.now_ms)?;
        let mut ids: Vec<Hash> = Vec::new();
        let start = begin.map_or(Vec::new(), |last| last.0.to_vec());
        self.rows.scan(account, Space::EraseIds, &start, &mut |key, _| {
            if passed > 0 {
                passed -= 1;
            } else if let Ok(id) = key.try_into() {
                ids.push(Hash(id));
            }
            if ids.len() < count {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        if let Some(last) = ids.last() {
            self.session(id)?.ids_told = Some((range.from.saturating_add(ids.len() as u64), *last));
        }
        self.answer(
            id,
            number,
            Reply::ErasureIds(ids.try_into().unwrap_or_default()),
            turn,
        )
    }

    fn fetch_erasure(
        &mut self,
        id: SessionId,
        number: u32,
        account: &AccountId,
        erase: &Hash,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let receipt = self.receipt(account, erase)?;
        let mut acks = self.acks(account, erase)?;
        if receipt.is_none()
            && acks.is_empty()
            && self
                .rows
                .get::<u64>(account, Space::EraseIds, &erase.0)?
                .is_none()
        {
            return Err(ErrorCode::NotFound.into());
        }
        // Whoever comes from a backup within a session lacks these as well, and nothing else tells it.
        let members: Vec<DeviceId> = self
            .loaded(account)?
            .control
            .members()
            .map(|(device, _)| *device)
            .collect();
        acks.truncate(MAX_STATEMENTS - members.len().min(MAX_STATEMENTS));
        for device in members {
            acks.extend(self.newest(account, EPOCH_ACK, &device)?);
        }
        if let Some(receipt) = receipt {
            self.answer(id, number, Reply::Receipt(receipt), turn)?;
        }
        self.answer(
            id,
            number,
            Reply::Statements(acks.try_into().unwrap_or_default()),
            turn,
        )
    }
}

fn one(statement: AnyStatement) -> List<AnyStatement, MAX_STATEMENTS> {
    vec![statement].try_into().unwrap_or_default()
}
