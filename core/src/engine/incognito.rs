//! Chats that live in memory only. Pure: no clock, no disk, randomness by new ids only.

use std::collections::HashMap;

use hearth_store::{
    Chat, ChatId, FinishedMessage, Message, MessageId, MessageStatus, NewChat, NewMessage, StoreError,
};
use serde_json::Value;

/// The same tree of messages as the store's, without a file.
#[derive(Debug, Default)]
pub(crate) struct Incognito {
    chats: HashMap<ChatId, MemoryChat>,
    chat_of: HashMap<MessageId, ChatId>,
}

#[derive(Debug)]
struct MemoryChat {
    chat: Chat,
    /// In the order in which they were made.
    messages: Vec<Message>,
}

impl Incognito {
    pub(crate) fn has_chat(&self, id: ChatId) -> bool {
        self.chats.contains_key(&id)
    }

    pub(crate) fn has_message(&self, id: MessageId) -> bool {
        self.chat_of.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.chats.len()
    }

    /// All chats with their number of messages, the latest changed first.
    pub(crate) fn chats(&self) -> Vec<(Chat, usize)> {
        let mut chats: Vec<_> = self
            .chats
            .values()
            .map(|c| (c.chat.clone(), c.messages.len()))
            .collect();
        chats.sort_by_key(|(chat, _)| std::cmp::Reverse((chat.updated_at_ms, chat.id)));
        chats
    }

    pub(crate) fn create_chat(&mut self, new: NewChat) -> Chat {
        let chat = Chat {
            id: ChatId::random(),
            title: new.title,
            created_at_ms: new.created_at_ms,
            updated_at_ms: new.created_at_ms,
            head: None,
            metadata: new.metadata,
        };
        self.chats.insert(
            chat.id,
            MemoryChat {
                chat: chat.clone(),
                messages: Vec::new(),
            },
        );
        chat
    }

    pub(crate) fn chat(&self, id: ChatId) -> Result<(Chat, usize), StoreError> {
        let chat = self.chats.get(&id).ok_or_else(|| not_found("chat", id))?;
        Ok((chat.chat.clone(), chat.messages.len()))
    }

    /// Changes title or metadata.
    pub(crate) fn change_chat(
        &mut self,
        id: ChatId,
        title: Option<String>,
        metadata: Option<Value>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let chat = &mut self.chats.get_mut(&id).ok_or_else(|| not_found("chat", id))?.chat;
        chat.title = title.unwrap_or(std::mem::take(&mut chat.title));
        chat.metadata = metadata.unwrap_or(std::mem::take(&mut chat.metadata));
        chat.updated_at_ms = now_ms;
        Ok(())
    }

    pub(crate) fn delete_chat(&mut self, id: ChatId) -> bool {
        self.chat_of.retain(|_, chat| *chat != id);
        self.chats.remove(&id).is_some()
    }

    pub(crate) fn append(&mut self, new: NewMessage) -> Result<Message, StoreError> {
        if let Some(parent) = new.parent
            && self.chat_of.get(&parent) != Some(&new.chat)
        {
            return Err(not_found("message", parent));
        }
        let chat = self
            .chats
            .get_mut(&new.chat)
            .ok_or_else(|| not_found("chat", new.chat))?;
        let message = Message {
            id: MessageId::random(),
            chat: new.chat,
            parent: new.parent,
            role: new.role,
            text: new.text,
            reasoning: new.reasoning,
            status: new.status,
            created_at_ms: new.created_at_ms,
            updated_at_ms: new.created_at_ms,
            model: new.model,
            metadata: new.metadata,
        };
        chat.chat.head = Some(message.id);
        chat.chat.updated_at_ms = new.created_at_ms;
        chat.messages.push(message.clone());
        self.chat_of.insert(message.id, new.chat);
        Ok(message)
    }

    pub(crate) fn update(
        &mut self,
        id: MessageId,
        text: &str,
        reasoning: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let message = self.message_mut(id)?;
        text.clone_into(&mut message.text);
        reasoning.clone_into(&mut message.reasoning);
        message.updated_at_ms = now_ms;
        Ok(())
    }

    pub(crate) fn finish(&mut self, id: MessageId, finished: FinishedMessage) -> Result<Message, StoreError> {
        let message = self.message_mut(id)?;
        debug_assert_eq!(message.status, MessageStatus::Streaming);
        message.text = finished.text;
        message.reasoning = finished.reasoning;
        message.status = finished.status;
        message.metadata = finished.metadata;
        message.updated_at_ms = finished.finished_at_ms;
        Ok(message.clone())
    }

    pub(crate) fn message(&self, id: MessageId) -> Result<Message, StoreError> {
        self.all_with(id)?
            .iter()
            .find(|m| m.id == id)
            .cloned()
            .ok_or_else(|| not_found("message", id))
    }

    pub(crate) fn branch(&self, chat: ChatId, leaf: Option<MessageId>) -> Result<Vec<Message>, StoreError> {
        let chat = self.chats.get(&chat).ok_or_else(|| not_found("chat", chat))?;
        let mut next = leaf.or(chat.chat.head);
        let mut branch = Vec::new();
        while let Some(id) = next {
            let message = chat
                .messages
                .iter()
                .find(|m| m.id == id)
                .ok_or_else(|| not_found("message", id))?;
            next = message.parent;
            branch.push(message.clone());
        }
        branch.reverse();
        Ok(branch)
    }

    pub(crate) fn siblings(&self, id: MessageId) -> Result<Vec<MessageId>, StoreError> {
        let parent = self.message(id)?.parent;
        Ok(self
            .all_with(id)?
            .iter()
            .filter(|m| m.parent == parent)
            .map(|m| m.id)
            .collect())
    }

    pub(crate) fn newest_leaf(&self, id: MessageId) -> Result<MessageId, StoreError> {
        let messages = self.all_with(id)?;
        let mut leaf = id;
        while let Some(child) = messages.iter().rev().find(|m| m.parent == Some(leaf)) {
            leaf = child.id;
        }
        Ok(leaf)
    }

    pub(crate) fn set_head(&mut self, chat: ChatId, message: MessageId) -> Result<(), StoreError> {
        if self.chat_of.get(&message) != Some(&chat) {
            return Err(not_found("message", message));
        }
        self.chats
            .get_mut(&chat)
            .ok_or_else(|| not_found("chat", chat))?
            .chat
            .head = Some(message);
        Ok(())
    }

    fn all_with(&self, id: MessageId) -> Result<&[Message], StoreError> {
        let chat = self.chat_of.get(&id).and_then(|chat| self.chats.get(chat));
        chat.map(|chat| chat.messages.as_slice())
            .ok_or_else(|| not_found("message", id))
    }

    fn message_mut(&mut self, id: MessageId) -> Result<&mut Message, StoreError> {
        let chat = self.chat_of.get(&id).and_then(|chat| self.chats.get_mut(chat));
        chat.and_then(|chat| chat.messages.iter_mut().find(|m| m.id == id))
            .ok_or_else(|| not_found("message", id))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "ids are small and copied")]
fn not_found(what: &'static str, id: impl std::fmt::Display) -> StoreError {
    StoreError::NotFound {
        what,
        id: id.to_string(),
    }
}
