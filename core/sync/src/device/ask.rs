//! What is asked of the other side.

use hearth_protocol::codec::{Set, Wire};
use hearth_protocol::id::Hash;
use hearth_protocol::message::{Applied, Fetch, Request, RequestFrame};
use hearth_protocol::statement::AnyStatement;

use super::DeviceError;
use super::session::Asked;
use super::turn::Turn;

impl Turn<'_> {
    /// Sends a request.
    pub(super) fn ask(&mut self, request: Request, asked: Asked) {
        let Some(session) = self.d.session.as_mut() else {
            return;
        };
        let id = session.next;
        session.next += 1;
        session.asked.insert(id, asked);
        self.sends
            .push(super::Output::Send(RequestFrame { id, request }.encode()));
    }

    pub(super) fn is_asked(&self, which: impl Fn(&Asked) -> bool) -> bool {
        self.d
            .session
            .as_ref()
            .is_some_and(|session| session.asked.values().any(which))
    }

    pub(super) fn ask_erasures(&mut self, from: u64) {
        let range = hearth_protocol::message::Range {
            from,
            count: hearth_protocol::limits::MAX_STATEMENTS as u64,
        };
        self.ask(Request::Fetch(Fetch::Erasures(range)), Asked::FetchErasures);
    }

    pub(super) fn ask_control(&mut self) {
        if !self.is_asked(|asked| matches!(asked, Asked::FetchControl)) {
            let from = self.d.account.number() + 1;
            let range = hearth_protocol::message::Range {
                from,
                count: hearth_protocol::limits::MAX_CONTROL_ENTRIES as u64,
            };
            self.ask(Request::Fetch(Fetch::Control(range)), Asked::FetchControl);
        }
    }

    /// A signed statement to the other side, outside of the unsent ones.
    pub(super) fn ask_statement(&mut self, number: u64, statement: AnyStatement) {
        self.ask(
            Request::Statement(Box::new(statement.clone())),
            Asked::Statement(number, Box::new(statement)),
        );
    }

    pub(super) fn ask_applied(&mut self, cursor: u64, root: Hash) {
        self.ask(
            Request::Applied(Applied {
                erased_cursor: cursor,
                erased_root: root,
            }),
            Asked::Applied,
        );
    }

    pub(super) fn ask_shards(&mut self, shards: &[u8]) -> Result<(), DeviceError> {
        let set = Set::new(shards.iter().copied())?;
        if let Some(session) = self.session() {
            session.shards_asked = shards.len().max(1);
        }
        self.ask(Request::Fetch(Fetch::Shards(set)), Asked::FetchShards);
        Ok(())
    }
}
