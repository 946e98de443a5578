//! Bringing what has no chain here to another server: living envelopes out of their chains, before a frontier that this
//! device vouches for.
//!
//! The other side goes on from the frontier as soon as the first of a log is there, so its vector doesn't say how far it
//! was brought: this device remembers it, on disk, until all of a log is there.

use std::collections::VecDeque;

use hearth_protocol::codec::{List, Wire};
use hearth_protocol::envelope::{Batch, Detached, Envelope, HeaderVersion, Run, Sealed};
use hearth_protocol::id::LogId;
use hearth_protocol::limits::MAX_BATCH_ITEMS;
use hearth_protocol::message::Priority;
use hearth_protocol::statement::AnyStatement;
use hearth_protocol::vector::Positions;

use super::record::{place_key, space};
use super::turn::Turn;
use super::{BATCH_BYTES, DeviceError, Output};

/// How many bodies are read at a time.
const AT_ONCE: usize = 32;

/// A log whose living envelopes are on their way.
#[derive(Debug, Clone)]
pub(super) struct Bringing {
    /// Up to here they are there.
    sure: u64,
    /// The next to send.
    next: u64,
    /// Batches that aren't confirmed: the number behind each, and its bytes.
    out: VecDeque<(u64, usize)>,
    /// The other side's head.
    theirs: u64,
}

impl Bringing {
    /// Bytes that aren't confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.out.iter().map(|(_, bytes)| *bytes).sum()
    }

    /// Begins again behind what is confirmed.
    pub(super) fn again(&mut self) {
        self.out.clear();
        self.next = self.sure + 1;
    }
}

impl Turn<'_> {
    /// Whether a log has to be brought out of its chain to a side that has it up to `theirs`.
    pub(super) fn plan_torn(&mut self, log: &LogId, folded: u64, theirs: u64) -> Result<bool, DeviceError> {
        let begun = self.server_record()?.torn.get(log).copied();
        if begun.is_none() && theirs >= folded {
            return Ok(false);
        }
        // What was there may have been lost since.
        let sure = begun.unwrap_or(theirs).min(theirs);
        self.remember_torn(log, Some(sure))?;
        let bringing = Bringing {
            sure,
            next: sure + 1,
            out: VecDeque::new(),
            theirs,
        };
        if let Some(session) = self.session() {
            session.bringing.entry(*log).or_insert(bringing);
        }
        Ok(true)
    }

    fn remember_torn(&mut self, log: &LogId, sure: Option<u64>) -> Result<(), DeviceError> {
        let known = self.server_record()?.torn;
        let others = known.iter().filter(|(other, _)| other != log).copied();
        let torn = Positions::new(others.chain(sure.map(|sure| (*log, sure))))?;
        self.remember_server(|record| record.torn = torn)
    }

    /// Vouches for where this device stands: once in a session, and as soon as it can.
    fn vouch(&mut self) -> Result<(), DeviceError> {
        let waits = self.is_beginning() || self.is_erasing();
        let Some(session) = self.session() else {
            return Ok(());
        };
        if session.bringing.is_empty() || session.vouching || waits {
            return Ok(());
        }
        session.vouching = true;
        // For this side only: what it lacks of the own log comes beside it.
        let checkpoint = self.checkpoint_now()?;
        let signed = self.d.signer.sign_statement(&self.account(), checkpoint);
        self.ask_statement(0, AnyStatement::Checkpoint(Box::new(signed)));
        Ok(())
    }

    /// Sends living envelopes out of their chain, as long as there is room.
    pub(super) fn send_torn(&mut self) -> Result<(), DeviceError> {
        self.vouch()?;
        let Some((vouched, logs)) = self.d.session.as_ref().and_then(|session| {
            let opened = |log: &&LogId| session.opened.contains(log);
            let logs: Vec<LogId> = session.bringing.keys().filter(opened).copied().collect();
            Some((session.vouched.clone()?, logs))
        }) else {
            return Ok(());
        };
        for log in logs {
            let upto = vouched.get(&log).map_or(0, |head| head.seq);
            self.send_torn_of(&log, upto)?;
        }
        Ok(())
    }

    fn send_torn_of(&mut self, log: &LogId, upto: u64) -> Result<(), DeviceError> {
        while self.room() > 0 {
            let Some(bringing) = self
                .d
                .session
                .as_ref()
                .and_then(|session| session.bringing.get(log))
            else {
                return Ok(());
            };
            if bringing.next > upto {
                break;
            }
            let nothing_out = bringing.out.is_empty();
            let behind = bringing.theirs < upto;
            let (list, bytes, next) = self.torn_batch(log, bringing.next, upto)?;
            let batch = if !list.is_empty() {
                Some(Batch::Detached(list.try_into()?))
            } else if nothing_out && behind {
                // Nothing lives there any more: the log goes on from the frontier.
                Some(Batch::Run(Run {
                    version: HeaderVersion::V1,
                    log: *log,
                    first_seq: upto + 1,
                    items: List::default(),
                }))
            } else {
                None
            };
            if let Some(bringing) = self.session().and_then(|session| session.bringing.get_mut(log)) {
                bringing.next = next;
                if batch.is_some() {
                    bringing.out.push_back((next, bytes));
                }
            }
            if let Some(batch) = batch {
                self.sends.push(Output::SendBatch {
                    bytes: batch.encode(),
                    priority: Priority::Backfill,
                });
            }
        }
        let done = self.d.session.as_ref().is_some_and(|session| {
            let bringing = session.bringing.get(log);
            bringing.is_some_and(|bringing| bringing.next > upto && bringing.out.is_empty())
        });
        if done {
            self.remember_torn(log, None)?;
            if let Some(session) = self.session() {
                session.bringing.remove(log);
                // What is written from here on follows as ever.
                session.confirmed.insert(*log, upto);
                session.sending.insert(*log, upto + 1);
            }
        }
        Ok(())
    }

    /// The other side has taken the oldest batch of a log that was on its way.
    pub(super) fn torn_stored(&mut self, log: &LogId, seq: u64) -> Result<(), DeviceError> {
        let Some(bringing) = self.session().and_then(|session| session.bringing.get_mut(log)) else {
            return Ok(());
        };
        let Some((next, _)) = bringing.out.pop_front() else {
            return Ok(());
        };
        (bringing.sure, bringing.theirs) = (next - 1, seq);
        self.remember_torn(log, Some(next - 1))
    }

    /// Living envelopes of a log from this number on, of about a batch's bytes; their bytes, and the number behind them.
    fn torn_batch(
        &self,
        log: &LogId,
        from: u64,
        upto: u64,
    ) -> Result<(Vec<Detached>, usize, u64), DeviceError> {
        let (mut list, mut bytes) = (Vec::new(), 0);
        let mut after = place_key(log, from.saturating_sub(1)).to_vec();
        loop {
            let page = self.disk.page(space::BODY, &log.0, Some(&after), AT_ONCE)?;
            let whole = page.len() < AT_ONCE;
            for (key, value) in page {
                let seq = super::record::of_place_key(&key).map_or(u64::MAX, |(_, seq)| seq);
                if seq > upto {
                    return Ok((list, bytes, upto + 1));
                }
                after = key;
                let sealed =
                    Sealed::decode(&value).map_err(|error| DeviceError::Record(space::BODY, error))?;
                let previous = self.link_before(log, seq)?;
                let Some(previous) = previous else { continue };
                bytes += value.len();
                list.push(Detached {
                    previous,
                    envelope: Envelope {
                        version: HeaderVersion::V1,
                        log: *log,
                        seq,
                        sealed,
                    },
                });
                if bytes >= BATCH_BYTES || list.len() >= MAX_BATCH_ITEMS {
                    return Ok((list, bytes, seq + 1));
                }
            }
            if whole {
                return Ok((list, bytes, upto + 1));
            }
        }
    }

    /// Whether the opening of a log is among what the account's server hasn't taken.
    pub(super) fn opening_waits(&self, log: &LogId) -> Result<bool, DeviceError> {
        let account = self.account();
        let waiting: Vec<(Vec<u8>, AnyStatement)> = self.disk.all(space::UNSENT, &[])?;
        Ok(waiting.iter().any(|(_, statement)| {
            matches!(statement, AnyStatement::LogOpen(open) if open.statement.log(&account) == *log)
        }))
    }
}
