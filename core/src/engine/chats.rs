//! Chats as things: listing, finding, naming, removing, moving.

mod lines;

pub(super) use lines::time_ms as moment_ms;

use std::io::{BufRead, Cursor};
use std::path::PathBuf;

use hearth_store::{ChatQuery, ChatSelection, ChatSummary, ImportReport, SearchQuery, StoreError};

use super::convert::ChatChoices;
use super::{Engine, Result, convert, io_error};
use crate::error::EngineError;
use crate::types::{Chat, ChatDetail, ChatId, EngineEvent, MessageId, SearchHit};

/// Longest title, in characters.
const MAX_TITLE_CHARS: usize = 200;

/// Where imported chats are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportSource {
    /// In a file; an absolute path.
    File(PathBuf),
    /// Here.
    Text(String),
}

/// The form of imported chats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImportFormat {
    /// Whichever it is: ChatGPT's is a list, ours an object, lines are an object each.
    #[default]
    Auto,
    /// Our own export.
    Hearth,
    /// ChatGPT's `conversations.json`.
    ChatGpt,
    /// One turn a line, as JSON: `chat`, `turn`, `speaker`, `time`, `text` and perhaps `caption`; or `role` and `content`,
    /// all of one chat.
    Lines,
}

impl Engine {
    /// Chats, the latest changed first, incognito ones among them.
    pub async fn list_chats(&self, limit: u32, offset: u32) -> Result<Vec<Chat>> {
        let (limit, offset) = (limit as usize, offset as usize);
        let memory: Vec<Chat> = {
            let chats = self.inner.chats.memory().chats();
            chats
                .into_iter()
                .map(|(chat, count)| convert::chat(chat, count as u64, true, false))
                .collect()
        };
        // Incognito chats stand among the others: take enough of the store's for any place they may have.
        let query = ChatQuery {
            limit: Some(limit.saturating_add(memory.len())),
            offset: offset.saturating_sub(memory.len()),
            ..ChatQuery::default()
        };
        let skipped = query.offset;
        let stored = self
            .inner
            .chats
            .store()
            .run(move |store| {
                let listed = store.chats(&query)?;
                let view = |summary: ChatSummary| {
                    let memory = store.chat_memory(summary.chat.id)?;
                    Ok(convert::chat(summary.chat, summary.messages, false, memory))
                };
                listed
                    .into_iter()
                    .map(view)
                    .collect::<std::result::Result<Vec<_>, StoreError>>()
            })
            .await?;
        let mut chats: Vec<Chat> = memory.into_iter().chain(stored).collect();
        chats.sort_by_key(|chat| std::cmp::Reverse(chat.updated_at_ms));
        Ok(chats.into_iter().skip(offset - skipped).take(limit).collect())
    }

    /// A chat with the branch that ends in `leaf`, or with the shown one.
    pub async fn show_chat(&self, chat: ChatId, leaf: Option<MessageId>) -> Result<ChatDetail> {
        let id = chat.into();
        let chat = self.inner.chats.chat_view(id).await?;
        let branch = self.inner.chats.branch(id, leaf.map(Into::into)).await?;
        Ok(ChatDetail {
            chat,
            messages: self.inner.chats.views(id, branch).await?,
        })
    }

    /// Messages that have all the words, best first. Incognito chats are not searched.
    pub async fn search(&self, text: String, limit: u32, chat: Option<ChatId>) -> Result<Vec<SearchHit>> {
        let query = SearchQuery {
            text,
            limit: limit as usize,
            chat: chat.map(Into::into),
        };
        let hits = self
            .inner
            .chats
            .store()
            .run(move |store| store.search(&query))
            .await?;
        Ok(hits.into_iter().map(convert::search_hit).collect())
    }

    /// Names a chat; the name is cut to one line of 200 characters.
    pub async fn rename_chat(&self, chat: ChatId, title: String) -> Result<()> {
        let title: String = title
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(MAX_TITLE_CHARS)
            .collect();
        if title.is_empty() {
            return Err(EngineError::InvalidRequest(
                "a title has at least one character".into(),
            ));
        }
        self.inner
            .chats
            .change(chat.into(), Some(title), None, self.now_ms())
            .await?;
        self.tell(EngineEvent::ChatsChanged { chat: Some(chat) });
        Ok(())
    }

    /// Changes a chat's instructions or model; an empty text removes the chat's own. Switches memory on or off for it:
    /// off, its turns are not recalled and nothing is drawn from it; what was drawn before stays.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for memory in an incognito chat.
    pub async fn configure_chat(
        &self,
        chat: ChatId,
        system: Option<String>,
        model: Option<String>,
        memory: Option<bool>,
    ) -> Result<Chat> {
        let id = chat.into();
        let incognito = self.inner.chats.memory().has_chat(id);
        if incognito && memory == Some(true) {
            return Err(EngineError::InvalidRequest(
                "an incognito chat is never remembered".into(),
            ));
        }
        if let Some(model) = model.as_deref().filter(|model| !model.is_empty()) {
            self.inner.models.ready(model)?;
        }
        let metadata = self.inner.chats.chat(id).await?.metadata;
        let mut choices = ChatChoices::of(&metadata);
        let some = |text: String| Some(text).filter(|text| !text.trim().is_empty());
        choices.system = system.map_or(choices.system, some);
        choices.model = model.map_or(choices.model, some);
        self.inner
            .chats
            .change(id, None, Some(choices.put_into(&metadata)), self.now_ms())
            .await?;
        if let Some(on) = memory.filter(|_| !incognito) {
            let set = move |store: &mut hearth_store::Store| store.set_chat_memory(id, on);
            self.inner.chats.store().run(set).await?;
        }
        self.tell(EngineEvent::ChatsChanged { chat: Some(chat) });
        self.inner.chats.chat_view(id).await
    }

    /// Deletes chats for good, stopping answers that are being written; all of them, incognito ones too, when none is
    /// named. Says how many.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for more than [`crate::types::BULK_ERASURE`] where they go from other devices,
    /// too: that is [`Engine::erase_everywhere`].
    pub async fn delete_chats(&self, chats: Option<Vec<ChatId>>) -> Result<u32> {
        let chats = match chats {
            Some(chats) => chats,
            None => self
                .list_chats(u32::MAX, 0)
                .await?
                .into_iter()
                .map(|chat| chat.id)
                .collect(),
        };
        let kept = chats
            .iter()
            .filter(|chat| !self.inner.chats.memory().has_chat((**chat).into()));
        self.check_few_chats(kept.count())?;
        let (mut deleted, mut failed) = (0, None);
        for chat in chats {
            self.inner.active.stop_chat(chat).await;
            match self.inner.chats.delete(chat.into()).await {
                Ok(Ok(())) => {}
                // The chat is gone all the same.
                Ok(Err(error)) => failed = Some(error),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            deleted += 1;
        }
        if deleted > 0 {
            self.tell(EngineEvent::ChatsChanged { chat: None });
        }
        failed.map_or(Ok(deleted), Err)
    }

    /// Shows the branch through `message`, down to its newest end.
    pub async fn set_head(&self, chat: ChatId, message: MessageId) -> Result<ChatDetail> {
        self.inner
            .chats
            .show_branch_of(chat.into(), message.into())
            .await?;
        self.tell(EngineEvent::ChatsChanged { chat: Some(chat) });
        self.show_chat(chat, None).await
    }

    /// Chats as one JSON document, held in memory; all but incognito ones when none is named.
    pub async fn export_chats(&self, chats: Option<Vec<ChatId>>) -> Result<String> {
        let selection = ChatSelection {
            chats: chats.map(|chats| chats.into_iter().map(Into::into).collect()),
        };
        let export = move |store: &mut hearth_store::Store| {
            let mut document = Vec::new();
            store.export_chats(&selection, &mut document)?;
            Ok(document)
        };
        let document = self.inner.chats.store().run(export).await?;
        String::from_utf8(document).map_err(|_| EngineError::Internal("the export is not text".into()))
    }

    /// Takes in chats, all or nothing; what is here already is not doubled. With `remember`, memories are drawn from them
    /// in idle moments, as from chats held here; else they are only found by recall.
    pub async fn import_chats(
        &self,
        source: ImportSource,
        format: ImportFormat,
        remember: bool,
    ) -> Result<ImportReport> {
        let now_ms = self.now_ms();
        let mut reader: Box<dyn BufRead + Send> = match source {
            ImportSource::Text(text) => Box::new(Cursor::new(text)),
            ImportSource::File(path) if path.is_absolute() => {
                let file = std::fs::File::open(&path).map_err(|source| io_error(&path, source))?;
                Box::new(std::io::BufReader::new(file))
            }
            ImportSource::File(_) => {
                return Err(EngineError::InvalidRequest("the path must be absolute".into()));
            }
        };
        let format = match format {
            ImportFormat::Auto if first_byte(&mut *reader) == Some(b'[') => ImportFormat::ChatGpt,
            ImportFormat::Auto if lines::begins(first_line(&mut *reader)) => ImportFormat::Lines,
            ImportFormat::Auto => ImportFormat::Hearth,
            known => known,
        };
        if format == ImportFormat::Lines {
            let document = tokio::task::spawn_blocking(move || lines::to_document(reader));
            let document = document
                .await
                .unwrap_or_else(|_| Err(EngineError::Internal("reading chats panicked".into())))?;
            reader = Box::new(Cursor::new(document));
        }
        let import = move |store: &mut hearth_store::Store| {
            if format == ImportFormat::ChatGpt {
                store.import_chatgpt(&mut reader, now_ms)
            } else {
                store.import_chats(&mut reader, now_ms)
            }
        };
        let report = self.inner.chats.store().run(import).await?;
        self.note_import(&report, remember).await?;
        self.inner.idle.wake();
        self.tell(EngineEvent::ChatsChanged { chat: None });
        Ok(report)
    }
}

/// The first line, as far as one read gives it, left in the reader.
fn first_line(reader: &mut dyn BufRead) -> &[u8] {
    let chunk = reader.fill_buf().unwrap_or_default();
    let end = chunk
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(chunk.len());
    &chunk[..end]
}

/// The first byte that is not white space, left in the reader.
fn first_byte(reader: &mut dyn BufRead) -> Option<u8> {
    loop {
        let chunk = reader.fill_buf().ok()?;
        let space = chunk.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match chunk.get(space) {
            Some(byte) => return Some(*byte),
            None if chunk.is_empty() => return None,
            None => reader.consume(space),
        }
    }
}
