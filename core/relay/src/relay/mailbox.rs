//! Pairing mailboxes: a few small messages between two devices that know the same code, in memory, for ten minutes.

use hearth_protocol::codec::{List, Wire};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::limits::{MAX_PAIRING_BYTES, MAX_PAIRING_MESSAGES, PAIRING_TTL_MS};
use hearth_protocol::message::{Reply, ToMailbox};
use hearth_protocol::pairing::MailboxMessage;

use super::{Fault, Relay, Turn};
use crate::session::SessionId;
use crate::store::Store;

/// Mailboxes that one connection may begin.
const MAX_MADE: u32 = 3;

/// What whoever finds no room shall wait, in milliseconds.
const FULL_RETRY_MS: u64 = 60_000;

/// A mailbox. When it is over it stays for as long again, empty, so that whoever is late is told why.
#[derive(Debug)]
pub(super) struct Mailbox {
    made_ms: u64,
    messages: Vec<MailboxMessage>,
}

impl Mailbox {
    fn expired(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.made_ms) >= PAIRING_TTL_MS
    }

    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.ends_ms()
    }

    pub(super) fn ends_ms(&self) -> u64 {
        self.made_ms.saturating_add(2 * PAIRING_TTL_MS)
    }
}

impl<S: Store> Relay<S> {
    pub(super) fn mail(
        &mut self,
        id: SessionId,
        number: u32,
        request: ToMailbox,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let ToMailbox { mailbox, message } = request;
        if message
            .as_ref()
            .is_some_and(|message| message.encode().len() > MAX_PAIRING_BYTES + 8)
        {
            return Err(ErrorCode::TooLarge.into());
        }
        let limit = self.config.limits.mailboxes;
        let full = self.mailboxes.len() >= limit;
        let made = self.session(id)?.mailboxes_made;
        match (self.mailboxes.get_mut(&mailbox), message) {
            (Some(there), _) if there.expired(turn.now_ms) => {
                there.messages = Vec::new();
                return Err(ErrorCode::PairingExpired.into());
            }
            (Some(there), Some(_)) if there.messages.len() >= MAX_PAIRING_MESSAGES => {
                return Err(ErrorCode::PairingUsed.into());
            }
            (Some(there), Some(message)) => {
                there.messages.push(message.clone());
                let others: Vec<SessionId> = self
                    .sessions
                    .iter()
                    .filter(|(other, session)| **other != id && session.mailbox == Some(mailbox))
                    .map(|(other, _)| *other)
                    .collect();
                for other in others {
                    let one = List::try_from(vec![message.clone()]).unwrap_or_default();
                    turn.reply(other, 0, Reply::Mailbox(one));
                }
            }
            (None, Some(_)) if made >= MAX_MADE => {
                return Err(Fault::Refuse(ErrorCode::RateLimited, FULL_RETRY_MS));
            }
            (None, Some(_)) if full => return Err(Fault::Refuse(ErrorCode::Busy, FULL_RETRY_MS)),
            (None, Some(message)) => {
                let others: Vec<SessionId> = self
                    .sessions
                    .iter()
                    .filter(|(other, session)| **other != id && session.mailbox == Some(mailbox))
                    .map(|(other, _)| *other)
                    .collect();
                for other in others {
                    let one = List::try_from(vec![message.clone()]).unwrap_or_default();
                    turn.reply(other, 0, Reply::Mailbox(one));
                }
                self.mailboxes.insert(
                    mailbox,
                    Mailbox {
                        made_ms: turn.now_ms,
                        messages: vec![message],
                    },
                );
                self.remind(turn.now_ms.saturating_add(2 * PAIRING_TTL_MS));
                self.session(id)?.mailboxes_made = made + 1;
            }
            (_, None) => {}
        }
        self.session(id)?.mailbox = Some(mailbox);
        let messages = self
            .mailboxes
            .get(&mailbox)
            .map(|there| there.messages.clone())
            .unwrap_or_default();
        turn.reply(
            id,
            number,
            Reply::Mailbox(messages.try_into().unwrap_or_default()),
        );
        Ok(())
    }
}
