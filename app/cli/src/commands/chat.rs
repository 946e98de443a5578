//! `hearth chat`: a conversation, line by line.
//!
//! What was typed can be recalled with the arrow keys: this session's lines, and the chat's own turns when it goes on.
//! They are kept in memory only; there is no history file.

use std::io::{self, IsTerminal};

use hearth_api::methods::chat::{Edit, EditParams, Regenerate, RegenerateParams, Send, SendParams};
use hearth_api::methods::chats::{Configure, ConfigureParams, Rename, RenameParams, Show, ShowParams};
use hearth_api::methods::memory::{
    Confirm, Edit as EditMemory, MemoryParams, Review, ReviewParams, Show as ShowMemory,
};
use hearth_api::methods::models::List as ListModels;
use hearth_api::methods::{Empty, engine::GetStatus};
use hearth_api::types::{ChatDetail, ChatId, EraseScope, MemoryEdit, Message, ModelState, ModelTask, Role};
use hearth_api::{ApiError, ErrorCode};

use self::command::Typed;
use self::prompt::{Line, Prompt};
use super::answer::{self, Ended};
use super::chats::print_messages;
use super::memory::{self, erase};
use super::{find_chat, pull, short};
use crate::args::{Answering, Chat as Args};
use crate::connect::{Profile, Session, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

mod command;
mod prompt;

/// Messages shown when a chat goes on.
const SHOWN_AGAIN: usize = 4;

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    if output.json {
        return Err(Failure::usage(
            "`hearth chat` is for people; programs use `hearth ask --json`.",
        ));
    }
    let mut conversation = Conversation {
        session: profile.connect(Want::Lasting, output).await?,
        answering: args.answering,
        chat: None,
        output,
    };
    let result = conversation
        .run(args.chat.or(args.last.then(|| "last".to_owned())))
        .await;
    conversation.session.close().await;
    result
}

struct Conversation<'a> {
    session: Session,
    answering: Answering,
    chat: Option<ChatId>,
    output: &'a Output,
}

/// What to ask the engine for.
enum Request {
    Say(String),
    Again(Message),
    Change(Message, String),
}

impl Conversation<'_> {
    async fn run(&mut self, resumed: Option<String>) -> Result<(), Failure> {
        let mut prompt = Prompt::new()?;
        match resumed {
            Some(name) => self.open(&name, &mut prompt).await?,
            None => self.greet(self.answering.incognito).await?,
        }
        self.ask_about_memory().await?;
        loop {
            let text = match prompt.line("> ", "").await? {
                Line::Text(text) => text,
                Line::Interrupted => {
                    self.output.aside("Ctrl-D or /quit leaves.");
                    continue;
                }
                Line::End => return Ok(()),
            };
            let typed = command::read(&text);
            if matches!(typed, Typed::Quit) {
                return Ok(());
            }
            match self.obey(typed, &mut prompt).await {
                Ok(()) => {}
                Err(Failure::Interrupted) => self.output.aside("Stopped."),
                Err(failure @ Failure::OutputClosed) => return Err(failure),
                Err(failure) => {
                    // Without a person who could go on, a failure ends the command.
                    if !io::stdin().is_terminal() {
                        return Err(failure);
                    }
                    let _ = self.output.fail(&failure);
                    if failure.code() == Some(ErrorCode::Disconnected) {
                        self.session.client = self.session.profile.connect_again().await?;
                        self.output
                            .note("The engine was started again; what had arrived is kept.");
                    }
                }
            }
        }
    }

    async fn greet(&self, incognito: bool) -> Result<(), Failure> {
        let status = self.session.client.call::<GetStatus>(Empty {}).await?;
        let model = self
            .answering
            .model
            .as_deref()
            .or(status.chat_model.as_deref())
            .unwrap_or("no model yet");
        let kept = if incognito {
            "kept until the engine ends, in memory only"
        } else {
            "kept here, encrypted"
        };
        self.output.aside(&format!(
            "{model} on this machine; {kept}. /help shows what you can type, Ctrl-D leaves."
        ));
        Ok(())
    }

    async fn obey(&mut self, typed: Typed, prompt: &mut Prompt) -> Result<(), Failure> {
        match typed {
            Typed::Nothing | Typed::Quit => Ok(()),
            Typed::Say(text) => self.answer(Request::Say(text)).await,
            Typed::Help => {
                self.output.note(command::HELP);
                Ok(())
            }
            Typed::New => {
                self.chat = None;
                self.output.note("A new chat begins with your next line.");
                Ok(())
            }
            Typed::Regenerate => {
                let reply = self.latest(Role::Assistant).await?;
                self.answer(Request::Again(reply)).await
            }
            Typed::Edit(text) => self.edit(text, prompt).await,
            Typed::Model(None) => self.list_models().await,
            Typed::Model(Some(model)) => self.choose_model(model).await,
            Typed::System(text) => self.instruct(text).await,
            Typed::Title(title) => {
                let chat = self.present()?;
                self.session
                    .client
                    .call::<Rename>(RenameParams { chat, title })
                    .await?;
                Ok(())
            }
            Typed::Open(name) => self.open(&name, prompt).await,
            Typed::Show => {
                let detail = self.detail().await?;
                print_messages(&detail, detail.messages.len(), self.output)
            }
            Typed::Context => self.context().await,
            Typed::Sources => self.sources().await,
            Typed::Right(name) => {
                let memory = memory::find_memory(&self.session.client, &name).await?;
                self.session
                    .client
                    .call::<Confirm>(MemoryParams { memory })
                    .await?;
                self.output.note("Confirmed.");
                Ok(())
            }
            Typed::Corrected(name, text) => {
                let edit = MemoryEdit {
                    memory: memory::find_memory(&self.session.client, &name).await?,
                    text: Some(text),
                    kind: None,
                    sensitive: None,
                    valid_from_ms: None,
                    valid_to_ms: None,
                    endless: None,
                };
                self.session.client.call::<EditMemory>(edit).await?;
                self.output.note("Corrected.");
                Ok(())
            }
            Typed::Wrong(hint) => Err(Failure::usage(hint)),
        }
    }

    /// Asks, shows the answer, and downloads a missing model on the way.
    async fn answer(&mut self, request: Request) -> Result<(), Failure> {
        let mut pulled = false;
        loop {
            match self.answer_once(&request).await? {
                Ok(message) => {
                    self.chat = Some(message.chat);
                    for remark in answer::remarks(&message) {
                        self.output.note(&remark);
                    }
                    return self.after_memory(&message).await;
                }
                Err(error) if error.code == ErrorCode::ModelMissing && !pulled => {
                    pull::missing(&self.session.client, &error, self.answering.yes, self.output).await?;
                    pulled = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says what the answer drew on, and asks whether to forget what was asked to be forgotten.
    async fn after_memory(&self, message: &Message) -> Result<(), Failure> {
        let Some(memory) = message.metadata.as_ref().map(|metadata| &metadata.memory) else {
            return Ok(());
        };
        if let Some(line) = answer::drew_on(memory) {
            self.output.aside(&format!("{line} /sources shows them."));
        }
        let Some(offer) = &memory.forget else {
            return Ok(());
        };
        let scope = EraseScope::Items {
            memories: offer.memories.clone(),
            turns: offer.turns.iter().copied().chain([message.id]).collect(),
        };
        let wishes = erase::Wishes::default();
        if !self.output.can_ask() {
            self.output
                .note("Nothing is erased: there is nobody to ask. `hearth memory erase --topic …` does it.");
            return Ok(());
        }
        match erase::run(&self.session.client, scope, &wishes, self.output).await {
            Err(Failure::Interrupted) => {
                self.output.note("Nothing was erased.");
                Ok(())
            }
            result => result,
        }
    }

    /// What the last answer drew on.
    async fn sources(&self) -> Result<(), Failure> {
        let reply = self.latest(Role::Assistant).await?;
        let memory = reply.metadata.map(|metadata| metadata.memory).unwrap_or_default();
        let mut ids = memory.recalled;
        ids.extend(memory.kept);
        let biography = memory.biography.iter().filter(|id| !ids.contains(id)).count() as u64;
        if ids.is_empty() && biography == 0 {
            self.output.note("This answer drew on nothing remembered.");
        }
        for id in ids {
            match self
                .session
                .client
                .call::<ShowMemory>(MemoryParams { memory: id })
                .await
            {
                Ok(detail) => memory::show_detail(&detail, self.output)?,
                Err(error) if error.code == ErrorCode::NotFound => {
                    self.output.note("(a memory that was erased since)");
                }
                Err(error) => return Err(error.into()),
            }
        }
        if biography > 0 {
            self.output.note(&format!(
                "The biography stood before it, made of {} more. `hearth memory bio` shows it.",
                if biography == 1 {
                    "1 memory".to_owned()
                } else {
                    format!("{biography} memories")
                }
            ));
        }
        Ok(())
    }

    /// At the beginning, seldom: whether something remembered still holds.
    async fn ask_about_memory(&self) -> Result<(), Failure> {
        if !self.output.can_ask() || self.answering.incognito || self.answering.no_memory {
            return Ok(());
        }
        let reviewed = self
            .session
            .client
            .call::<Review>(ReviewParams::default())
            .await?;
        if let Some(question) = reviewed.question {
            let id = memory::short(question.memory.id);
            self.output.note(&question.question);
            self.output.aside(&format!(
                "/right {id} says yes; /wrong {id} TEXT corrects it; `hearth memory erase {id}` erases it."
            ));
        }
        Ok(())
    }

    async fn answer_once(&self, request: &Request) -> Result<Result<Message, ApiError>, Failure> {
        let (client, options) = (&self.session.client, answer::options(&self.answering));
        Ok(match request {
            Request::Say(text) => {
                let params = SendParams {
                    chat: self.chat,
                    parent: None,
                    text: text.clone(),
                    system: self.answering.system.clone().filter(|_| self.chat.is_none()),
                    model: self.answering.model.clone().filter(|_| self.chat.is_none()),
                    options,
                    incognito: self.answering.incognito && self.chat.is_none(),
                    memory: (self.answering.no_memory && self.chat.is_none()).then_some(false),
                };
                match answer::show(client, client.stream::<Send>(params), self.output).await? {
                    Ended::Done(reply) => Ok(reply.message),
                    Ended::Failed(error) => Err(error),
                }
            }
            Request::Again(reply) => {
                let params = RegenerateParams {
                    message: reply.id,
                    options,
                };
                match answer::show(client, client.stream::<Regenerate>(params), self.output).await? {
                    Ended::Done(reply) => Ok(reply.message),
                    Ended::Failed(error) => Err(error),
                }
            }
            Request::Change(message, text) => {
                let params = EditParams {
                    message: message.id,
                    text: text.clone(),
                    options,
                };
                match answer::show(client, client.stream::<Edit>(params), self.output).await? {
                    Ended::Done(edited) => Ok(edited.reply.unwrap_or(edited.message)),
                    Ended::Failed(error) => Err(error),
                }
            }
        })
    }

    /// Changes the latest question; the old one and its answer stay as another branch.
    async fn edit(&mut self, text: Option<String>, prompt: &mut Prompt) -> Result<(), Failure> {
        let message = self.latest(Role::User).await?;
        let text = match text {
            Some(text) => text,
            None => match prompt.line("edit> ", &message.text).await? {
                Line::Text(text) if !text.trim().is_empty() => text,
                _ => return Ok(()),
            },
        };
        if text.trim() == message.text.trim() {
            self.output.note("Nothing was changed.");
            return Ok(());
        }
        self.answer(Request::Change(message, text)).await
    }

    async fn list_models(&self) -> Result<(), Failure> {
        let models = self.session.client.call::<ListModels>(Empty {}).await?.models;
        for model in models
            .iter()
            .filter(|model| model.task == ModelTask::Chat && model.state == ModelState::Ready)
        {
            let mark = if model.default { "*" } else { " " };
            self.output
                .note(&format!("{mark} {}  {}", model.id, text::size(model.size_bytes)));
        }
        self.output
            .note("/model ID answers with another one from here on.");
        Ok(())
    }

    async fn choose_model(&mut self, model: String) -> Result<(), Failure> {
        let models = self.session.client.call::<ListModels>(Empty {}).await?.models;
        if !models
            .iter()
            .any(|known| known.id == model && known.task == ModelTask::Chat)
        {
            let failure = Failure::not_found(format!("There is no model {model:?} that answers."));
            return Err(failure.hint("/model without a name lists those that are here."));
        }
        if let Some(chat) = self.chat {
            let params = ConfigureParams {
                chat,
                system: None,
                model: Some(model.clone()),
                memory: None,
            };
            self.session.client.call::<Configure>(params).await?;
        }
        self.output.note(&format!("{model} answers from here on."));
        self.answering.model = Some(model);
        Ok(())
    }

    async fn instruct(&mut self, text: String) -> Result<(), Failure> {
        if let Some(chat) = self.chat {
            let params = ConfigureParams {
                chat,
                system: Some(text.clone()),
                model: None,
                memory: None,
            };
            self.session.client.call::<Configure>(params).await?;
        }
        self.output.note(if text.is_empty() {
            "The chat has no instructions of its own now."
        } else {
            "The model gets these instructions from here on."
        });
        self.answering.system = Some(text).filter(|text| !text.is_empty());
        Ok(())
    }

    async fn open(&mut self, name: &str, prompt: &mut Prompt) -> Result<(), Failure> {
        let chat = find_chat(&self.session.client, name).await?;
        let detail = self
            .session
            .client
            .call::<Show>(ShowParams { chat, leaf: None })
            .await?;
        let asked = detail
            .messages
            .iter()
            .filter(|message| message.role == Role::User);
        prompt.remember(asked.map(|message| message.text.as_str()));
        if self.chat.is_none() {
            self.greet(detail.chat.incognito).await?;
        }
        self.chat = Some(chat);
        self.output.aside(&format!(
            "Going on with {} ({}).",
            text::one_line(&detail.chat.title, 60),
            short(chat)
        ));
        if self.output.terminal {
            print_messages(&detail, SHOWN_AGAIN, self.output)?;
            self.output.line("")?;
        }
        Ok(())
    }

    async fn context(&self) -> Result<(), Failure> {
        let reply = self.latest(Role::Assistant).await?;
        let Some(metadata) = reply.metadata else {
            return Err(Failure::not_found(
                "This answer was imported; how it came to be isn't known.",
            ));
        };
        let (context, usage, timings) = (&metadata.context, &metadata.usage, &metadata.timings);
        self.output.note(&format!(
            "Window {} tokens: prompt {}, of which {} from the cache; {} kept free for the answer.",
            text::count(context.window),
            text::count(context.prompt_tokens),
            text::count(usage.reused_tokens),
            text::count(context.reserved_for_reply),
        ));
        self.output.note(&format!(
            "Seen: {}. Not seen: {}.",
            text::counted(context.kept_turns, "message"),
            text::counted(context.left_out_turns.len() as u64, "message"),
        ));
        self.output.note(&format!(
            "{} wrote {} tokens; first after {:.0} ms, all after {:.1} s.",
            metadata.model,
            text::count(usage.completion_tokens),
            timings.first_token_ms,
            (timings.first_token_ms + timings.decode_ms) / 1000.0,
        ));
        Ok(())
    }

    fn present(&self) -> Result<ChatId, Failure> {
        self.chat
            .ok_or_else(|| Failure::not_found("This chat has no messages yet."))
    }

    async fn detail(&self) -> Result<ChatDetail, Failure> {
        let params = ShowParams {
            chat: self.present()?,
            leaf: None,
        };
        Ok(self.session.client.call::<Show>(params).await?)
    }

    /// The latest message of the shown branch by `role`.
    async fn latest(&self, role: Role) -> Result<Message, Failure> {
        let messages = self.detail().await?.messages;
        let found = messages.into_iter().rfind(|message| message.role == role);
        found.ok_or_else(|| Failure::not_found("There is no such message in this chat yet."))
    }
}
