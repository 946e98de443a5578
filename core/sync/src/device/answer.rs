//! What becomes of a request that was accepted or refused.

use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::Refusal;
use hearth_protocol::statement::AnyStatement;

use super::outbox::QUOTA_WAIT_MS;
use super::session::{Asked, Stage};
use super::turn::Turn;
use super::{DeviceError, Notice};

impl Turn<'_> {
    pub(super) fn accepted(&mut self, asked: Asked) -> Result<(), DeviceError> {
        match asked {
            Asked::Applied => self.open_gate(),
            Asked::Issue {
                entry,
                intent,
                registry,
            } => self.issued(&entry, intent, registry.as_deref()),
            Asked::Erase(id) => self.erase_sent(&id),
            Asked::Branch => {
                self.branch_taken();
                Ok(())
            }
            Asked::Registry(update) => {
                if let Some(session) = self.session() {
                    session.issuing = false;
                }
                self.adopt_update(&update)
            }
            Asked::Statement(number, statement) => {
                self.said(number, &statement);
                Ok(())
            }
            Asked::FetchShards => {
                if let Some(session) = self.session() {
                    session.shards_asked = 0;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn refused(&mut self, asked: Option<Asked>, refusal: &Refusal) -> Result<(), DeviceError> {
        let code = refusal.code;
        let retry = self.now.saturating_add(refusal.retry_after_ms.max(1_000));
        let waits = matches!(
            code,
            ErrorCode::RateLimited | ErrorCode::Busy | ErrorCode::StorageFailed
        );
        let a_batch = asked.is_none();
        match asked {
            Some(Asked::Open) if code == ErrorCode::AccountExists => {
                self.d.state.opened = true;
                return self.hello();
            }
            Some(Asked::Open) if code == ErrorCode::NotInvited => {
                // Another device may have a code: the next connection asks whether the account is there by now.
                self.d.state.opened = true;
                self.d.asks_first = true;
            }
            Some(Asked::Hello)
                if matches!(
                    code,
                    ErrorCode::UnknownAccount | ErrorCode::StaleInstance | ErrorCode::Purged
                ) && !self.d.session.as_ref().is_some_and(|session| session.proven) =>
            {
                // Whoever is on the way can say so: the next connection asks first who it is.
                self.d.asks_first = true;
                self.wake_at(retry);
                return Ok(());
            }
            Some(Asked::Hello)
                if code == ErrorCode::UnknownAccount
                    && self.at_server()
                    && self.d.state.expected.is_none() =>
            {
                // A server that lost the account, or a new one: the next connection brings it.
                self.d.state.opened = false;
            }
            // Removed, not lost: it is brought again only when the person says so.
            Some(Asked::Hello) if code == ErrorCode::Purged => self.d.removed = true,
            Some(Asked::Hello) if code == ErrorCode::StaleInstance => {
                self.d.state.doubtful = true;
                self.notice(Notice::RestoredOrCopied);
            }
            Some(Asked::Issue { entry, intent, .. }) => {
                return self.issue_refused(&entry, intent, code, retry);
            }
            // Its branch has grown meanwhile: the next connection compares again.
            Some(Asked::Branch) => self.end(None),
            Some(Asked::Registry(_)) => {
                let full = code == ErrorCode::QuotaReached;
                let retry = if full { self.now + QUOTA_WAIT_MS } else { retry };
                if full {
                    self.notice(Notice::QuotaReached);
                }
                if let Some(session) = self.session() {
                    session.issuing = false;
                    session.fold_after = retry;
                    session.table_wanted |= code == ErrorCode::RegistryConflict;
                }
                self.wake_at(retry);
                return Ok(());
            }
            Some(Asked::FetchCheckpoint(asked)) => {
                self.start_refused(asked, code, retry);
                return Ok(());
            }
            Some(Asked::FetchShards) if waits => {
                if let Some(session) = self.session() {
                    session.shards_asked = 0;
                    session.table_wanted = true;
                    session.registry_after = retry;
                }
                self.wake_at(retry);
                return Ok(());
            }
            // They went with a branch, or with a restore: somebody grants the key.
            Some(Asked::FetchWraps) if code == ErrorCode::NotFound => return Ok(()),
            Some(Asked::Applied) if code == ErrorCode::GateClosed => {
                self.compare_erasures();
                return Ok(());
            }
            Some(Asked::Statement(number, statement)) => {
                if let Some(session) = self.session() {
                    session.saying.remove(&number);
                }
                if let AnyStatement::EraseAck(ack) = &*statement
                    && code == ErrorCode::NotFound
                    && self.erasure_unknown_there(number, &ack.statement.erase)
                {
                    return Ok(());
                }
                if let Some(session) = self.session() {
                    session.refused.insert(number);
                }
                if !waits {
                    self.unsayable(number)?;
                    self.say_later();
                    return Ok(());
                }
            }
            Some(Asked::Erase(id)) => {
                let mut log = None;
                if let Some(known) = self.d.erased.get_mut(&id) {
                    known.asked = false;
                    log = Some(known.log);
                }
                // A log without items isn't in any vector: a server that lost its opening is told by this alone.
                if let (ErrorCode::WrongLog, Some(log)) = (code, log)
                    && let Some(open) = self.d.logs.get(&log).map(|state| state.open.clone())
                    && let Some(session) = self.session()
                {
                    if session.reopened.insert(log) {
                        self.ask_statement(0, AnyStatement::LogOpen(open));
                        return Ok(());
                    }
                    if session.is_reopening(&open) {
                        // Sent before the opening was.
                        return Ok(());
                    }
                    if open.statement.device == self.d.me {
                        return self.order_anew(&id);
                    }
                }
                if let Some(session) = self.session() {
                    session.erase_after = retry;
                }
                self.wake_at(retry);
            }
            _ => {}
        }
        if code == ErrorCode::RevokedDevice
            && self
                .d
                .session
                .as_ref()
                .is_some_and(|session| !session.branch.is_empty())
        {
            return self.shut_out_elsewhere();
        }
        if code == ErrorCode::RevokedDevice && self.stage() >= Some(Stage::Control) {
            // Believed only when the entry was seen: a server could else make a device give up.
            self.ask_control();
        }
        if a_batch && (waits || code == ErrorCode::QuotaReached) {
            // A batch that was turned away: it goes again.
            if let Some(session) = self.session() {
                session.resend_at = retry;
            }
        }
        if code == ErrorCode::WrongLink || code == ErrorCode::WrongLog || code == ErrorCode::GateClosed {
            self.resend_soon();
            return Ok(());
        }
        if let Some(session) = self.session() {
            session.issue_after = session.issue_after.max(retry);
        }
        self.notice(Notice::Refused {
            code,
            retry_after_ms: refusal.retry_after_ms,
        });
        if code == ErrorCode::QuotaReached {
            self.notice(Notice::QuotaReached);
        }
        self.wake_at(retry);
        Ok(())
    }
}
