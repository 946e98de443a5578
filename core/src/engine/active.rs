//! Which chats are being answered: one answer at a time in each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::EngineError;
use crate::types::{ChatId, MessageId};

/// The answers that are being written.
#[derive(Debug, Clone, Default)]
pub(super) struct ActiveReplies {
    chats: Arc<Mutex<HashMap<ChatId, Active>>>,
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

impl ActiveReplies {
    /// Begins an answer that `cancel` ends. Errors: [`EngineError::Busy`].
    pub(super) fn begin(&self, chat: ChatId, cancel: CancellationToken) -> Result<Answering, EngineError> {
        match self.lock().entry(chat) {
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
            .values()
            .find(|active| active.reply == Some(reply))
            .cloned();
        end(active).await
    }

    /// Ends whatever is being written in a chat, and waits.
    pub(super) async fn stop_chat(&self, chat: ChatId) -> bool {
        let active = self.lock().get(&chat).cloned();
        end(active).await
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChatId, Active>> {
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(active) = self.replies.lock().get_mut(&self.chat) {
            active.reply = Some(reply);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(active) = self.replies.lock().remove(&self.chat) {
            active.done.cancel();
        }
    }
}
