//! What is done next, whatever has happened: the gate, what is missing, what waits to be sent.

use hearth_protocol::id::{Hash, LogId};
use hearth_protocol::message::{Acked, Fetch, Request};
use hearth_protocol::vector::{Positions, VersionVector};

use super::session::{Asked, Stage};
use super::turn::Turn;
use super::{DeviceError, Notice, Suspicion};

/// How long what was announced may take before it is asked for again.
pub(super) const MISSING_AFTER_MS: u64 = 30_000;
/// Erasures whose confirmations are asked for in one session.
const MAX_CONFIRMATIONS: usize = 64;
/// How long after everything is here others are granted the epoch's key.
pub(super) const GRANT_AFTER_MS: u64 = 2_000;
/// At most one acknowledgement in this time.
const ACK_INTERVAL_MS: u64 = 200;

impl Turn<'_> {
    /// Everything that can be done now, is.
    pub(super) fn pump(&mut self) -> Result<(), DeviceError> {
        if self.ends || self.d.session.is_none() {
            return Ok(());
        }
        if self.stage() == Some(Stage::Control) {
            self.settle()?;
        }
        if self.ends {
            return Ok(());
        }
        if self.stage() >= Some(Stage::Gate) {
            self.say_unsent()?;
            self.send_erasures()?;
        }
        if self.stage() >= Some(Stage::Gate) {
            self.say_newest_key()?;
        }
        if self.stage() == Some(Stage::Gate) {
            self.gate()?;
        }
        if self.stage() >= Some(Stage::Gate) {
            self.issue()?;
        }
        let now = self.now;
        if let Some(session) = self.session()
            && session.resend_at != 0
        {
            if session.resend_at <= now {
                session.resend_at = 0;
                self.resend();
            } else {
                let at = session.resend_at;
                self.wake_at(at);
            }
        }
        if self.stage() == Some(Stage::Open) {
            self.want_registry()?;
            self.bring_table()?;
            self.fetch_missing()?;
            self.apply_all()?;
            self.reach_target()?;
            self.set_aside()?;
            self.finish_start()?;
            self.ask_confirmations()?;
            self.upload()?;
            self.say_applied_live()?;
            self.look_unexplained()?;
            self.look_vouched()?;
            self.look_other_lives()?;
            self.keep_house()?;
            self.say_unsent()?;
            self.send_erasures()?;
        }
        self.acknowledge()
    }

    /// After the gate: asks for what is missing.
    fn fetch_missing(&mut self) -> Result<(), DeviceError> {
        if self.starts() {
            return Ok(());
        }
        let (vector, now) = (self.vector()?, self.now);
        let Some(session) = self.session() else {
            return Ok(());
        };
        if session.dropped && session.complete {
            let at = session.dropped_after;
            if now >= at {
                session.dropped = false;
                session.dropped_after = now + MISSING_AFTER_MS;
                self.ask(Request::Vector(vector), Asked::Vector);
                return Ok(());
            }
            self.wake_at(at);
            return self.up_to_date();
        }
        let Some(ahead) = &session.ahead else {
            return self.up_to_date();
        };
        if session.complete {
            return self.up_to_date();
        }
        if ahead.vector == session.said_vector && !session.vector_said {
            session.complete = true;
            return self.up_to_date();
        }
        if !ahead.delta && !session.vector_said {
            session.vector_said = true;
            self.ask(Request::Vector(vector), Asked::Vector);
        }
        Ok(())
    }

    pub(super) fn up_to_date(&mut self) -> Result<(), DeviceError> {
        let Some(session) = self.session() else {
            return Ok(());
        };
        if session.complete && !session.up_to_date_said && session.held.is_empty() {
            session.up_to_date_said = true;
            // Whoever lacks the epoch's key is granted it then, unless somebody else was quicker.
            let at = self.now + GRANT_AFTER_MS;
            self.wake_at(at);
            self.notice(Notice::UpToDate);
            self.check_expected()?;
        }
        Ok(())
    }

    /// The other side has sent all; some of it may still be on its way, as streams overtake each other.
    pub(super) fn completed(&mut self, vector: VersionVector) -> Result<(), DeviceError> {
        let at = self.now + MISSING_AFTER_MS;
        if let Some(session) = self.session() {
            session.target = Some(vector);
            session.missing_at = at;
        }
        self.d.torn_again = true;
        self.reach_target()
    }

    /// Whether all that was announced is here.
    fn reach_target(&mut self) -> Result<(), DeviceError> {
        let now = self.now;
        let Some(vector) = self.session().and_then(|session| session.target.clone()) else {
            return Ok(());
        };
        let lacks = |log: &LogId, seq: u64| {
            self.d.logs.get(log).is_none_or(|state| {
                state.stored.seq < seq
                    && self
                        .d
                        .account
                        .accepts_item(&state.open.statement.device, log, seq)
            })
        };
        let missing: Vec<LogId> = vector
            .iter()
            .filter(|(log, head)| lacks(log, head.seq))
            .map(|(log, _)| *log)
            .collect();
        let Some(session) = self.session() else {
            return Ok(());
        };
        if !missing.is_empty() && now < session.missing_at {
            let at = session.missing_at;
            self.wake_at(at);
            return Ok(());
        }
        if !missing.is_empty() && !session.missing_asked {
            session.missing_asked = true;
            session.target = None;
            let vector = self.vector()?;
            self.ask(Request::Vector(vector), Asked::Vector);
            return Ok(());
        }
        // Behind what was folded away, perhaps: a checkpoint leads on from there.
        if !missing.is_empty() && self.start_anew() {
            return Ok(());
        }
        let Some(session) = self.session() else {
            return Ok(());
        };
        session.target = None;
        session.complete = true;
        session.ack_due = true;
        for log in missing {
            self.notice(Notice::Suspicion(Suspicion::Withheld { log }));
        }
        self.plan_refill(&vector)?;
        self.up_to_date()
    }

    /// Once in a session: confirmations of erasures that went by while this device was away.
    fn ask_confirmations(&mut self) -> Result<(), DeviceError> {
        let Some(session) = self.d.session.as_mut() else {
            return Ok(());
        };
        if session.confirmations_asked || !session.complete {
            return Ok(());
        }
        // Acknowledgements come as statements, and whoever has nothing new has none, unless it comes from a backup made within
        // a session, which looks like that session's end: once in a process's life it asks for them all the same. A receipt
        // is said to those who are there, once, so that nothing tells of one that was lost on its way.
        let news = session.ahead.is_some();
        session.confirmations_asked = true;
        let open: Vec<Hash> = self
            .d
            .erased
            .all
            .iter()
            .filter(|(id, known)| {
                let told = !news && self.d.confirmations_told.contains(id);
                !known.complete
                    && known.sent
                    && self.d.missing(id).is_some_and(|missing| {
                        let late =
                            !missing.acks.is_empty() || !missing.epoch && !missing.epoch_acks.is_empty();
                        !missing.receipts.is_empty() || !told && late
                    })
            })
            .map(|(id, _)| *id)
            .take(MAX_CONFIRMATIONS)
            .collect();
        for id in open {
            self.ask(Request::Fetch(Fetch::Erasure(id)), Asked::FetchErasure(id));
        }
        self.tell_peer()
    }

    /// Says how far everything is stored, so that the other side knows the vector next time.
    fn acknowledge(&mut self) -> Result<(), DeviceError> {
        let now = self.now;
        let Some(session) = self.session() else {
            return Ok(());
        };
        if !session.ack_due && session.unacked.is_empty() {
            return Ok(());
        }
        let next = session.acked_at.saturating_add(ACK_INTERVAL_MS);
        if now < next && !session.ack_due {
            self.wake_at(next);
            return Ok(());
        }
        session.acked_at = now;
        session.ack_due = false;
        let acked = Acked {
            upto: Positions::new(std::mem::take(&mut session.unacked))?,
            statements: session.statements,
        };
        self.ask(Request::Ack(acked), Asked::Ack);
        Ok(())
    }
}
