//! Chats wherever they are: in the database, or in memory when they are incognito.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_store::{
    Chat, ChatId, FinishedMessage, Message, MessageId, NewChat, NewMessage, Store, StoreError,
};
use serde_json::Value;

use super::incognito::Incognito;
use super::store_thread::StoreThread;
use super::{Result, convert};
use crate::types;

/// All chats of the profile.
#[derive(Clone)]
pub(super) struct Conversations {
    store: StoreThread,
    memory: Arc<Mutex<Incognito>>,
}

impl Conversations {
    pub(super) fn new(store: StoreThread) -> Self {
        Self {
            store,
            memory: Arc::default(),
        }
    }

    pub(super) fn store(&self) -> &StoreThread {
        &self.store
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Incognito> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one of two equal operations, depending on where the chat is.
    async fn on_chat<T: Send + 'static>(
        &self,
        chat: ChatId,
        in_memory: impl FnOnce(&mut Incognito) -> Result<T, StoreError>,
        in_store: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        self.here_or_in_store(|memory| memory.has_chat(chat), in_memory, in_store)
            .await
    }

    async fn on_message<T: Send + 'static>(
        &self,
        message: MessageId,
        in_memory: impl FnOnce(&mut Incognito) -> Result<T, StoreError>,
        in_store: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        self.here_or_in_store(|memory| memory.has_message(message), in_memory, in_store)
            .await
    }

    async fn here_or_in_store<T: Send + 'static>(
        &self,
        is_here: impl FnOnce(&Incognito) -> bool,
        in_memory: impl FnOnce(&mut Incognito) -> Result<T, StoreError>,
        in_store: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        let here = {
            let mut memory = self.memory();
            is_here(&memory).then(|| in_memory(&mut memory))
        };
        match here {
            Some(result) => Ok(result?),
            None => self.store.run(in_store).await,
        }
    }

    pub(super) async fn create(&self, new: NewChat, incognito: bool) -> Result<Chat> {
        if incognito {
            return Ok(self.memory().create_chat(new));
        }
        self.store.run(move |store| store.create_chat(new)).await
    }

    pub(super) async fn chat(&self, id: ChatId) -> Result<Chat> {
        self.on_chat(id, |memory| Ok(memory.chat(id)?.0), move |store| store.chat(id))
            .await
    }

    /// A chat as faces see it.
    pub(super) async fn chat_view(&self, id: ChatId) -> Result<types::Chat> {
        let incognito = self.memory().has_chat(id);
        let (chat, count, remembered) = self
            .on_chat(
                id,
                |memory| memory.chat(id).map(|(chat, count)| (chat, count as u64, false)),
                move |store| Ok((store.chat(id)?, store.message_count(id)?, store.chat_memory(id)?)),
            )
            .await?;
        Ok(convert::chat(chat, count, incognito, remembered))
    }

    pub(super) async fn change(
        &self,
        id: ChatId,
        title: Option<String>,
        metadata: Option<Value>,
        now_ms: i64,
    ) -> Result<()> {
        let (title_too, metadata_too) = (title.clone(), metadata.clone());
        self.on_chat(
            id,
            move |memory| memory.change_chat(id, title, metadata, now_ms),
            move |store| {
                if let Some(title) = title_too {
                    store.rename_chat(id, &title, now_ms)?;
                }
                match metadata_too {
                    Some(metadata) => store.set_chat_metadata(id, &metadata, now_ms),
                    None => Ok(()),
                }
            },
        )
        .await
    }

    /// Deletes a chat. The inner error is of the database's log, which could not be emptied: the chat is gone then.
    pub(super) async fn delete(&self, id: ChatId) -> Result<Result<()>> {
        if self.memory().delete_chat(id) {
            return Ok(Ok(()));
        }
        self.store
            .run(move |store| {
                let emptied = match store.delete_chat(id) {
                    Ok(()) => Ok(()),
                    Err(error @ StoreError::LogInUse) => Err(error.into()),
                    Err(error) => return Err(error),
                };
                Ok(emptied)
            })
            .await
    }

    pub(super) async fn append(&self, new: NewMessage) -> Result<Message> {
        let again = new.clone();
        self.on_chat(
            new.chat,
            |memory| memory.append(new),
            move |store| store.append_message(again),
        )
        .await
    }

    pub(super) async fn update(
        &self,
        id: MessageId,
        text: String,
        reasoning: String,
        now_ms: i64,
    ) -> Result<()> {
        let (text_too, reasoning_too) = (text.clone(), reasoning.clone());
        self.on_message(
            id,
            |memory| memory.update(id, &text, &reasoning, now_ms),
            move |store| store.update_streaming(id, &text_too, &reasoning_too, now_ms),
        )
        .await
    }

    pub(super) async fn finish(&self, id: MessageId, finished: FinishedMessage) -> Result<Message> {
        let again = finished.clone();
        self.on_message(
            id,
            |memory| memory.finish(id, finished),
            move |store| store.finish_message(id, again),
        )
        .await
    }

    pub(super) async fn message(&self, id: MessageId) -> Result<Message> {
        self.on_message(id, |memory| memory.message(id), move |store| store.message(id))
            .await
    }

    pub(super) async fn branch(&self, chat: ChatId, leaf: Option<MessageId>) -> Result<Vec<Message>> {
        self.on_chat(
            chat,
            |memory| memory.branch(chat, leaf),
            move |store| store.branch(chat, leaf),
        )
        .await
    }

    /// Messages as faces see them.
    pub(super) async fn views(&self, chat: ChatId, messages: Vec<Message>) -> Result<Vec<types::Message>> {
        let again = messages.clone();
        self.on_chat(
            chat,
            |memory| {
                let view =
                    |message: Message| Ok(convert::message(message.clone(), memory.siblings(message.id)?));
                messages.into_iter().map(view).collect()
            },
            move |store| {
                let view = |message: Message| {
                    let siblings = store
                        .siblings(message.id)?
                        .into_iter()
                        .map(|sibling| sibling.id)
                        .collect();
                    Ok(convert::message(message, siblings))
                };
                again.into_iter().map(view).collect()
            },
        )
        .await
    }

    pub(super) async fn view(&self, message: Message) -> Result<types::Message> {
        let mut views = self.views(message.chat, vec![message]).await?;
        views
            .pop()
            .ok_or(crate::EngineError::NotFound { what: "message" })
    }

    /// Shows the branch that goes through `message`, down to its newest end.
    pub(super) async fn show_branch_of(&self, chat: ChatId, message: MessageId) -> Result<()> {
        self.on_chat(
            chat,
            |memory| {
                let leaf = memory.newest_leaf(message)?;
                memory.set_head(chat, leaf)
            },
            move |store| {
                let leaf = store.newest_leaf(message)?;
                store.set_head(chat, leaf)
            },
        )
        .await
    }
}
