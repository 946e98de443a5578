//! Which chats are being answered: one answer at a time in each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::EngineError;
use crate::types::{ChatId, MessageId};

/// The answers that are being written.
#[derive(Debug, Clone, Default)]
pub(super) struct ActiveReplies {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    chats: HashMap<ChatId, Active>,
    /// How many hold answers back.
    held: usize,
}

#[derive(Debug, Clone)]
struct Active {
    reply: Option<MessageId>,
    cancel: CancellationToken,
    done: CancellationToken,
}

/// The right to answer in a chat; given back on drop.
#[derive(Debug)]
pub(super) struct Answering {
    replies: ActiveReplies,
    chat: ChatId,
}

/// The right that nothing is answered; given back on drop.
#[derive(Debug)]
pub(super) struct Quiet {
    replies: ActiveReplies,
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.replies.lock().held -= 1;
    }
}

impl ActiveReplies {
    /// Lets no answer begin while [`Quiet`] is held. Errors: [`EngineError::Busy`] while one is being written.
    pub(super) fn hold(&self) -> Result<Quiet, EngineError> {
        let mut state = self.lock();
        if state.held > 0 || !state.chats.is_empty() {
            return Err(EngineError::Busy);
        }
        state.held = 1;
        Ok(Quiet {
            replies: self.clone(),
        })
    }

    /// Ends every answer that is being written, waits until they are stored, and lets none begin while [`Quiet`] is held.
    pub(super) async fn silence(&self) -> Quiet {
        let running: Vec<Active> = {
            let mut state = self.lock();
            state.held += 1;
            state.chats.values().cloned().collect()
        };
        let quiet = Quiet {
            replies: self.clone(),
        };
        for active in running {
            end(Some(active)).await;
        }
        quiet
    }

    /// Begins an answer that `cancel` ends. Errors: [`EngineError::Busy`].
    pub(super) fn begin(&self, chat: ChatId, cancel: CancellationToken) -> Result<Answering, EngineError> {
        let mut state = self.lock();
        if state.held > 0 {
            return Err(EngineError::Busy);
        }
        match state.chats.entry(chat) {
            std::collections::hash_map::Entry::Occupied(_) => Err(EngineError::Busy),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Active {
                    reply: None,
                    cancel,
                    done: CancellationToken::new(),
                });
                Ok(Answering {
                    replies: self.clone(),
                    chat,
                })
            }
        }
    }

    /// Ends the answer `reply` early and waits until it is stored; false when it is not being written.
    pub(super) async fn stop(&self, reply: MessageId) -> bool {
        let active = self
            .lock()
            .chats
            .values()
            .find(|active| active.reply == Some(reply))
            .cloned();
        end(active).await
    }

    /// Ends whatever is being written in a chat, and waits.
    pub(super) async fn stop_chat(&self, chat: ChatId) -> bool {
        let active = self.lock().chats.get(&chat).cloned();
        end(active).await
    }

    pub(super) fn len(&self) -> usize {
        self.lock().chats.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn end(active: Option<Active>) -> bool {
    let Some(active) = active else { return false };
    active.cancel.cancel();
    active.done.cancelled().await;
    true
}

impl Answering {
    /// Names the answer, so that it can be stopped.
    pub(super) fn name(&self, reply: MessageId) {
        if let Some(active) = self.replies.lock().chats.get_mut(&self.chat) {
            active.reply = Some(reply);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(active) = self.replies.lock().chats.remove(&self.chat) {
            active.done.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_is_answered_while_quiet_is_held() {
        let replies = ActiveReplies::default();
        let chat = ChatId::from_u128(1);
        let answering = replies.begin(chat, CancellationToken::new()).unwrap();
        assert!(matches!(replies.hold(), Err(EngineError::Busy)));
        drop(answering);
        let quiet = replies.hold().unwrap();
        assert!(matches!(replies.hold(), Err(EngineError::Busy)));
        let refused = replies.begin(chat, CancellationToken::new());
        assert!(matches!(refused, Err(EngineError::Busy)));
        drop(quiet);
        replies.begin(chat, CancellationToken::new()).unwrap();
    }
}
