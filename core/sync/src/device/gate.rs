//! The gate: until both erased sets are the same, and applied here, nothing of the data passes.

use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::Hash;
use hearth_protocol::limits::MAX_STATEMENTS;
use hearth_protocol::message::{Fetch, Range, Request};

use super::session::{Asked, Stage};
use super::turn::Turn;
use super::{DeviceError, Notice};

/// Erasures of an account that are compared one by one.
const MAX_IDS: usize = 1 << 20;

impl Turn<'_> {
    /// Opens the gate, or says what is applied.
    pub(super) fn gate(&mut self) -> Result<(), DeviceError> {
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        if !session.gate_differs {
            return self.open_gate();
        }
        if session.erasures_due || !self.erasures_settled() {
            return Ok(());
        }
        self.say_applied()
    }

    /// All that is known is done here, and sent.
    fn erasures_settled(&self) -> bool {
        self.d
            .erased
            .all
            .values()
            .all(|known| !known.counted || (known.done && known.sent))
    }

    fn say_applied(&mut self) -> Result<(), DeviceError> {
        let root = self.d.erased.root();
        let cursor = self.cursor()?;
        let Some(session) = self.session() else {
            return Ok(());
        };
        if session.applied_root == Some(root) {
            return Ok(());
        }
        session.applied_root = Some(root);
        self.ask_applied(cursor, root);
        Ok(())
    }

    /// While the gate is open: answers an erasure that was pushed, within the time it has.
    pub(super) fn say_applied_live(&mut self) -> Result<(), DeviceError> {
        let due = self
            .d
            .session
            .as_ref()
            .is_some_and(|session| session.applied_due && !session.erasures_due);
        if due && self.erasures_settled() {
            if let Some(session) = self.session() {
                session.applied_due = false;
            }
            self.say_applied()?;
        }
        Ok(())
    }

    pub(super) fn open_gate(&mut self) -> Result<(), DeviceError> {
        if let Some(session) = self.session()
            && session.stage == Stage::Gate
        {
            session.stage = Stage::Open;
            let early = session.early.take();
            self.release_held()?;
            if let Some(stored) = early {
                self.stored(&stored)?;
            }
        }
        Ok(())
    }

    /// The roots differ after everything: ids are compared.
    pub(super) fn compare_erasures(&mut self) {
        let Some(session) = self.session() else {
            return;
        };
        if session.compared_ids {
            self.notice(Notice::Refused {
                code: ErrorCode::GateClosed,
                retry_after_ms: 0,
            });
            self.end(None);
            return;
        }
        session.compared_ids = true;
        session.their_erasures.clear();
        self.ask_ids(0);
    }

    fn ask_ids(&mut self, from: u64) {
        let range = Range {
            from,
            count: MAX_STATEMENTS as u64,
        };
        self.ask(
            Request::Fetch(Fetch::ErasureIds(range)),
            Asked::FetchErasureIds(from),
        );
    }

    pub(super) fn erasure_ids(&mut self, from: u64, ids: &[Hash]) -> Result<(), DeviceError> {
        let Some(session) = self.d.session.as_mut() else {
            return Ok(());
        };
        let before = session.their_erasures.len();
        session.their_erasures.extend(ids.iter().copied());
        let brought = session.their_erasures.len() - before;
        if brought < ids.len() || session.their_erasures.len() > MAX_IDS {
            // The same ones again, or more than anybody orders: there would be no end.
            self.end(Some(ErrorCode::Malformed));
            return Ok(());
        }
        if ids.len() == MAX_STATEMENTS {
            self.ask_ids(from + ids.len() as u64);
            return Ok(());
        }
        let theirs = std::mem::take(&mut session.their_erasures);
        let mut lost = Vec::new();
        for (id, known) in &mut self.d.erased.all {
            if !theirs.contains(id) {
                if known.sent {
                    lost.push(*id);
                }
                (known.sent, known.asked) = (false, false);
            }
        }
        if self.at_home() {
            // A server that was restored refused the acknowledgement of what it didn't know.
            for id in lost {
                self.acknowledge_again(&id)?;
            }
        }
        let lacking = theirs.iter().any(|id| !self.d.erased.all.contains_key(id));
        let Some(session) = self.session() else {
            return Ok(());
        };
        session.applied_root = None;
        if lacking {
            session.erasures_due = true;
            self.remember_server(|record| record.cursor = 0)?;
            self.ask_erasures(1);
        }
        Ok(())
    }
}
