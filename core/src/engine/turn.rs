//! A turn of a chat: what is said is stored, the answer is written and stored as it grows.

use std::time::Duration;

use hearth_store as store;
use hearth_store::{FinishedMessage, NewChat, NewMessage};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::active::Answering;
use super::convert::{self, ChatChoices};
use super::memory::{self, Remembering};
use super::outbox::{Outbox, Progress};
use super::prepare::{Prepared, Question};
use super::{Engine, Result};
use crate::context::HistoryMessage;
use crate::error::EngineError;
use crate::host::port::{Generated, GenerationEvent};
use crate::title;
use crate::types::{
    ChatEvent, ContextReport, EditParams, Edited, EngineEvent, FinishReason, MemoryReport, Message,
    MessageId, RegenerateParams, ReplyMetadata, Role, SendParams, Timings, TurnOptions, Usage,
};

/// How often a growing answer is saved; a crash loses no more than this and one save.
const SAVE_EVERY: Duration = Duration::from_millis(400);

/// Where the message to answer comes from.
enum Asked {
    /// It is new: to be stored below `parent`.
    New {
        parent: Option<store::MessageId>,
        text: String,
    },
    /// It is stored.
    Stored(store::MessageId),
}

/// The chat it is asked in.
enum Place {
    Existing(store::ChatId),
    New {
        choices: ChatChoices,
        incognito: bool,
        /// Whether it is remembered.
        memory: bool,
    },
}

/// A message and its answer, as stored.
struct Answered {
    question: store::MessageId,
    reply: Message,
}

/// What a model is told where neither the chat nor the settings say anything. Short, because it stands before every
/// chat; plain, because the smallest models follow little more.
const DEFAULT_SYSTEM_PROMPT: &str = "You are Hearth, a helpful assistant. Keep answers short and true.";

impl Engine {
    /// Says something in a chat, or begins one, and has it answered. Events come in the order of [`ChatEvent`]; a slow
    /// receiver gets text in larger pieces, a dropped one none. `cancel`, or dropping the future, ends the answer:
    /// what there is of it is kept.
    ///
    /// Errors: nothing is stored when the answer could not begin ([`EngineError::ModelMissing`],
    /// [`EngineError::ContextTooLarge`], [`EngineError::Busy`], …); a model that fails later leaves a failed reply.
    pub async fn send(
        &self,
        params: SendParams,
        events: mpsc::Sender<ChatEvent>,
        cancel: CancellationToken,
    ) -> Result<Message> {
        self.work(cancel, move |engine, cancel| async move {
            let SendParams {
                chat,
                parent,
                text,
                system,
                model,
                options,
                incognito,
                memory,
            } = params;
            check_text(&text)?;
            if incognito && memory == Some(true) {
                let reason = "an incognito chat is never remembered";
                return Err(EngineError::InvalidRequest(reason.into()));
            }
            let place = match chat {
                Some(_) if system.is_some() || model.is_some() || incognito || memory.is_some() => {
                    let reason =
                        "system, model, memory and incognito are for new chats; configure this one instead";
                    return Err(EngineError::InvalidRequest(reason.into()));
                }
                Some(chat) => Place::Existing(chat.into()),
                None if parent.is_some() => {
                    return Err(EngineError::InvalidRequest(
                        "a new chat has no message to follow".into(),
                    ));
                }
                None => Place::New {
                    choices: ChatChoices { system, model },
                    incognito,
                    memory: memory.unwrap_or(!incognito),
                },
            };
            let parent = match (&place, parent) {
                (_, Some(parent)) => Some(parent.into()),
                (Place::Existing(chat), None) => engine.inner.chats.chat(*chat).await?.head,
                (Place::New { .. }, None) => None,
            };
            let answered = engine
                .answer(place, Asked::New { parent, text }, options, events, cancel)
                .await?;
            Ok(answered.reply)
        })
        .await
    }

    /// Changes a message: see [`Edited`]. The old branch stays.
    pub async fn edit(
        &self,
        params: EditParams,
        events: mpsc::Sender<ChatEvent>,
        cancel: CancellationToken,
    ) -> Result<Edited> {
        self.work(cancel, move |engine, cancel| async move {
            let EditParams {
                message,
                text,
                options,
            } = params;
            check_text(&text)?;
            let old = engine.inner.chats.message(message.into()).await?;
            match old.role {
                store::Role::User => {
                    let asked = Asked::New {
                        parent: old.parent,
                        text,
                    };
                    let answered = engine
                        .answer(Place::Existing(old.chat), asked, options, events, cancel)
                        .await?;
                    let question = engine.inner.chats.message(answered.question).await?;
                    Ok(Edited {
                        message: engine.inner.chats.view(question).await?,
                        reply: Some(answered.reply),
                    })
                }
                store::Role::Assistant => {
                    let _answering = engine.inner.active.begin(old.chat.into(), cancel)?;
                    let new = NewMessage {
                        chat: old.chat,
                        parent: old.parent,
                        role: old.role,
                        text,
                        reasoning: String::new(),
                        status: store::MessageStatus::Complete,
                        created_at_ms: engine.now_ms(),
                        model: None,
                        metadata: Value::Null,
                    };
                    let message = engine.inner.chats.append(new).await?;
                    engine.tell_chat(old.chat);
                    Ok(Edited {
                        message: engine.inner.chats.view(message).await?,
                        reply: None,
                    })
                }
                _ => Err(EngineError::InvalidRequest(
                    "only a person's or a model's message can be edited".into(),
                )),
            }
        })
        .await
    }

    /// Answers a message again, as a sibling of the given reply.
    pub async fn regenerate(
        &self,
        params: RegenerateParams,
        events: mpsc::Sender<ChatEvent>,
        cancel: CancellationToken,
    ) -> Result<Message> {
        self.work(cancel, move |engine, cancel| async move {
            let old = engine.inner.chats.message(params.message.into()).await?;
            let question = match (old.role, old.parent) {
                (store::Role::User, _) => old.id,
                (store::Role::Assistant, Some(parent)) => parent,
                _ => return Err(EngineError::InvalidRequest("this message answers nothing".into())),
            };
            let place = Place::Existing(old.chat);
            let answered = engine
                .answer(place, Asked::Stored(question), params.options, events, cancel)
                .await?;
            Ok(answered.reply)
        })
        .await
    }

    /// Ends a reply that is being written, and waits until what there is of it is stored; false when it was finished.
    pub async fn stop_reply(&self, reply: MessageId) -> Result<bool> {
        if self.inner.active.stop(reply).await {
            return Ok(true);
        }
        self.inner.chats.message(reply.into()).await.map(|_| false)
    }

    async fn answer(
        &self,
        place: Place,
        asked: Asked,
        mut options: TurnOptions,
        events: mpsc::Sender<ChatEvent>,
        cancel: CancellationToken,
    ) -> Result<Answered> {
        // Work for idle moments gives way from here on.
        let _waits = self.inner.idle.person_waits();
        let chats = &self.inner.chats;
        let mut outbox = Outbox::new(events);
        let mut answering = None;
        let mut choices = match &place {
            Place::Existing(chat) => {
                answering = Some(self.inner.active.begin((*chat).into(), cancel.clone())?);
                ChatChoices::of(&chats.chat(*chat).await?.metadata)
            }
            Place::New { choices, .. } => choices.clone(),
        };
        choices.system = choices.system.filter(|system| !system.trim().is_empty());
        let branch = match (&place, &asked) {
            (
                Place::Existing(chat),
                Asked::New {
                    parent: Some(leaf), ..
                }
                | Asked::Stored(leaf),
            ) => chats.branch(*chat, Some(*leaf)).await?,
            _ => Vec::new(),
        };
        let remembering = self.remembering(&place).await?;
        let said = match &asked {
            Asked::New { text, .. } => text.as_str(),
            Asked::Stored(_) => branch.last().map_or("", |message| message.text.as_str()),
        };
        let mut by_the_way = None;
        match memory::command(said) {
            Some(memory::Command::Remember { fact, alone: false }) => by_the_way = Some(fact),
            Some(command) => {
                return self
                    .obey_in_chat(place, asked, command, remembering, answering, outbox, cancel)
                    .await;
            }
            None => {}
        }
        let session = match &place {
            Place::Existing(chat) => Some(crate::types::ChatId::from(*chat).as_u128() as u64),
            Place::New { .. } => None,
        };
        options.model = options.model.or_else(|| choices.model.clone());
        let memory = self.turn_memory(remembering, &branch, said).await?;
        let question = Question {
            system: self.system_prompt(&choices, &branch),
            earlier: branch
                .iter()
                .rev()
                .filter_map(|message| convert::reply_metadata(&message.metadata))
                .find(|earlier| earlier.model != memory::ANSWERED_BY),
            history: history(&branch, &asked),
            memory,
            options,
            session,
        };
        let mut prepared = self.prepare(question, &mut outbox, &cancel).await?;
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let (chat, new_chat, answering) = self.enter(place, &asked, answering, &cancel).await?;
        prepared.generation.session = Some(crate::types::ChatId::from(chat).as_u128() as u64);
        let question = self.store_question(chat, asked).await;
        let kept = match (by_the_way.filter(|_| remembering == Remembering::Yes), &question) {
            (Some(fact), Ok(question)) => self.keep_by_the_way(fact, chat, *question).await,
            _ => Ok(MemoryReport::default()),
        };
        let begun = match (question, kept) {
            (Ok(question), Ok(kept)) => {
                prepared.memory.kept = kept.kept;
                let reply = self.store_beginning(chat, question, &prepared).await;
                reply.map(|reply| (question, reply))
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let (question, reply) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                if new_chat {
                    let _ = chats.delete(chat).await;
                }
                return Err(error);
            }
        };
        answering.name(reply.id.into());
        outbox.push_event(ChatEvent::Started {
            chat: chat.into(),
            message: question.into(),
            reply: reply.id.into(),
            model: prepared.model.clone(),
            context: prepared.context.clone(),
            memory: prepared.memory.clone(),
        });
        self.tell_chat(chat);
        self.note_used(&prepared.memory.recalled).await?;
        let written = self
            .write(prepared, reply.id, &mut outbox, cancel, answering)
            .await;
        match remembering {
            Remembering::Yes => self.note_growth(chat).await?,
            Remembering::Off | Remembering::Paused => self.pass_over(chat, question).await?,
            Remembering::Incognito => {}
        }
        self.tell_chat(chat);
        outbox.send_all().await;
        Ok(Answered {
            question,
            reply: chats.view(written?).await?,
        })
    }

    /// The chat, made if it is new (true), with the right to answer in it.
    async fn enter(
        &self,
        place: Place,
        asked: &Asked,
        answering: Option<Answering>,
        cancel: &CancellationToken,
    ) -> Result<(store::ChatId, bool, Answering)> {
        let chats = &self.inner.chats;
        let (chat, is_new) = match place {
            Place::Existing(chat) => (chat, false),
            Place::New {
                choices,
                incognito,
                memory,
            } => {
                let title = if let Asked::New { text, .. } = asked {
                    title::from_message(text)
                } else {
                    String::new()
                };
                let new = NewChat {
                    title,
                    created_at_ms: self.now_ms(),
                    metadata: choices.put_into(&Value::Null),
                };
                let chat = chats.create(new, incognito).await?;
                if !memory && !incognito {
                    let off = move |store: &mut store::Store| store.set_chat_memory(chat.id, false);
                    chats.store().run(off).await?;
                }
                (chat.id, true)
            }
        };
        let answering = match answering {
            Some(answering) => answering,
            None => match self.inner.active.begin(chat.into(), cancel.clone()) {
                Ok(answering) => answering,
                Err(error) => {
                    let _ = chats.delete(chat).await;
                    return Err(error);
                }
            },
        };
        Ok((chat, is_new, answering))
    }

    /// Whether memory is at work in a place.
    async fn remembering(&self, place: &Place) -> Result<Remembering> {
        let in_store = match place {
            Place::Existing(chat) if self.inner.chats.memory().has_chat(*chat) => {
                return Ok(Remembering::Incognito);
            }
            Place::New { incognito: true, .. } => return Ok(Remembering::Incognito),
            Place::New { memory: false, .. } => return Ok(Remembering::Off),
            Place::New { .. } => None,
            Place::Existing(chat) => Some(*chat),
        };
        let look = move |store: &mut store::Store| {
            Ok(if store.memory_paused()? {
                Remembering::Paused
            } else if in_store.is_some_and(|chat| !store.chat_memory(chat).unwrap_or(false)) {
                Remembering::Off
            } else {
                Remembering::Yes
            })
        };
        self.inner.chats.store().run(look).await
    }

    /// Does what was said to memory, and stores it with its answer, which no model writes.
    #[allow(clippy::too_many_arguments, reason = "what a turn has found out so far")]
    async fn obey_in_chat(
        &self,
        place: Place,
        asked: Asked,
        command: memory::Command,
        remembering: Remembering,
        answering: Option<Answering>,
        mut outbox: Outbox<ChatEvent>,
        cancel: CancellationToken,
    ) -> Result<Answered> {
        let (chat, new_chat, answering) = self.enter(place, &asked, answering, &cancel).await?;
        let done = match self.store_question(chat, asked).await {
            Ok(question) => {
                let done = self.obey(command, remembering, chat, question).await;
                done.map(|(text, memory)| (question, text, memory))
            }
            Err(error) => Err(error),
        };
        let (question, text, memory) = match done {
            Ok(done) => done,
            Err(error) => {
                if new_chat {
                    let _ = self.inner.chats.delete(chat).await;
                }
                return Err(error);
            }
        };
        let context = ContextReport::default();
        let metadata = ReplyMetadata {
            model: memory::ANSWERED_BY.into(),
            finish_reason: Some(FinishReason::Stop),
            usage: Usage::default(),
            timings: Timings::default(),
            context: context.clone(),
            error: None,
            memory: memory.clone(),
        };
        let reply = self
            .inner
            .chats
            .append(NewMessage {
                chat,
                parent: Some(question),
                role: store::Role::Assistant,
                text: text.clone(),
                reasoning: String::new(),
                status: store::MessageStatus::Complete,
                created_at_ms: self.now_ms(),
                model: None,
                metadata: convert::stored_reply_metadata(&metadata),
            })
            .await?;
        drop(answering);
        outbox.push_event(ChatEvent::Started {
            chat: chat.into(),
            message: question.into(),
            reply: reply.id.into(),
            model: metadata.model,
            context,
            memory,
        });
        outbox.push(Progress::Token { text });
        self.tell_chat(chat);
        outbox.send_all().await;
        Ok(Answered {
            question,
            reply: self.inner.chats.view(reply).await?,
        })
    }

    /// The chat's own instructions, else those of an imported branch, else the setting's.
    fn system_prompt(&self, choices: &ChatChoices, branch: &[store::Message]) -> Option<String> {
        let of_branch = || {
            branch
                .iter()
                .find(|m| m.role == store::Role::System)
                .map(|m| m.text.clone())
        };
        let of_settings = || self.settings().system_prompt;
        let system = choices
            .system
            .clone()
            .or_else(of_branch)
            .or_else(of_settings)
            .unwrap_or_else(|| DEFAULT_SYSTEM_PROMPT.to_owned());
        Some(system).filter(|system| !system.trim().is_empty())
    }

    /// Stores an empty reply.
    async fn store_beginning(
        &self,
        chat: store::ChatId,
        question: store::MessageId,
        prepared: &Prepared,
    ) -> Result<store::Message> {
        let metadata = reply_metadata(prepared, None, Usage::default(), Timings::default(), None);
        let new = NewMessage {
            chat,
            parent: Some(question),
            role: store::Role::Assistant,
            text: String::new(),
            reasoning: String::new(),
            status: store::MessageStatus::Streaming,
            created_at_ms: self.now_ms(),
            model: Some(prepared.model.clone()),
            metadata: convert::stored_reply_metadata(&metadata),
        };
        self.inner.chats.append(new).await
    }

    /// Stores the question, if it is new.
    async fn store_question(&self, chat: store::ChatId, asked: Asked) -> Result<store::MessageId> {
        let (parent, text) = match asked {
            Asked::Stored(id) => return Ok(id),
            Asked::New { parent, text } => (parent, text),
        };
        let new = NewMessage {
            chat,
            parent,
            role: store::Role::User,
            text,
            reasoning: String::new(),
            status: store::MessageStatus::Complete,
            created_at_ms: self.now_ms(),
            model: None,
            metadata: Value::Null,
        };
        Ok(self.inner.chats.append(new).await?.id)
    }

    /// Writes the reply and stores it as it grows.
    async fn write(
        &self,
        prepared: Prepared,
        reply: store::MessageId,
        outbox: &mut Outbox<ChatEvent>,
        cancel: CancellationToken,
        answering: Answering,
    ) -> Result<store::Message> {
        let (sink, mut from_model) = mpsc::unbounded_channel();
        let asked_ms = prepared.asked.elapsed().as_secs_f64() * 1000.0;
        let ticket = prepared.lease.model().generate(
            prepared.generation.clone(),
            Box::new(move |event| {
                let _ = sink.send(event);
            }),
        );
        let mut save = tokio::time::interval(SAVE_EVERY);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut text, mut reasoning, mut unsaved, mut cancelled) =
            (String::new(), String::new(), false, false);
        let mut save_error = None;
        let ended = loop {
            tokio::select! {
                event = from_model.recv() => match event {
                    Some(GenerationEvent::Queued(position)) => outbox.push(Progress::Queued { position }),
                    Some(GenerationEvent::Prefill { done, total, reused }) => {
                        outbox.push(Progress::Prefill { done, total, reused });
                    }
                    Some(GenerationEvent::Reasoning(piece)) => {
                        reasoning.push_str(&piece);
                        unsaved = true;
                        outbox.push(Progress::Reasoning { text: piece });
                    }
                    Some(GenerationEvent::Text(piece)) => {
                        text.push_str(&piece);
                        unsaved = true;
                        outbox.push(Progress::Token { text: piece });
                    }
                    Some(GenerationEvent::Done(generated)) => break Ok(generated),
                    Some(GenerationEvent::Failed(error)) => break Err(error),
                    None => break Err(EngineError::Internal("the model ended without a word".into())),
                },
                _ = save.tick(), if unsaved => {
                    unsaved = false;
                    if let Err(error) = self.inner.chats.update(reply, text.clone(), reasoning.clone(), self.now_ms()).await {
                        // What cannot be kept is not written on.
                        save_error.get_or_insert(error);
                        ticket.cancel();
                    }
                }
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    ticket.cancel();
                }
                () = outbox.send_next() => {}
            }
        };
        drop(ticket);
        let ended = match save_error {
            Some(error) => Err(error),
            None => ended,
        };
        let (status, metadata, error) = match ended {
            Ok(Generated {
                finish,
                usage,
                mut timings,
                text: whole,
                reasoning: thoughts,
            }) => {
                (text, reasoning) = (whole, thoughts);
                timings.load_ms = prepared.load_ms;
                timings.first_token_ms += asked_ms;
                self.record(timings, usage);
                let status = match finish {
                    FinishReason::Cancelled => store::MessageStatus::Stopped,
                    FinishReason::Stop | FinishReason::Length => store::MessageStatus::Complete,
                };
                (
                    status,
                    reply_metadata(&prepared, Some(finish), usage, timings, None),
                    None,
                )
            }
            Err(error) => {
                let metadata = reply_metadata(
                    &prepared,
                    None,
                    Usage::default(),
                    Timings::default(),
                    Some(error.code().into()),
                );
                (store::MessageStatus::Failed, metadata, Some(error))
            }
        };
        drop(prepared);
        let finished = FinishedMessage {
            text,
            reasoning,
            status,
            metadata: convert::stored_reply_metadata(&metadata),
            finished_at_ms: self.now_ms(),
        };
        let stored = self.inner.chats.finish(reply, finished).await;
        drop(answering);
        match error {
            Some(error) => Err(error),
            None => stored,
        }
    }
}

fn reply_metadata(
    prepared: &Prepared,
    finish_reason: Option<FinishReason>,
    usage: Usage,
    timings: Timings,
    error: Option<String>,
) -> ReplyMetadata {
    let context = prepared.context.clone();
    ReplyMetadata {
        model: prepared.model.clone(),
        finish_reason,
        usage,
        timings,
        context,
        error,
        memory: prepared.memory.clone(),
    }
}

fn history(branch: &[store::Message], asked: &Asked) -> Vec<HistoryMessage> {
    let stored = branch.iter().map(|message| HistoryMessage {
        id: Some(message.id.into()),
        role: convert::role(message.role),
        text: message.text.clone(),
    });
    let new = match asked {
        Asked::New { text, .. } => Some(HistoryMessage {
            id: None,
            role: Role::User,
            text: text.clone(),
        }),
        Asked::Stored(_) => None,
    };
    stored.chain(new).collect()
}

fn check_text(text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(EngineError::InvalidRequest("there is nothing to say".into()));
    }
    Ok(())
}

impl Engine {
    fn tell_chat(&self, chat: store::ChatId) {
        self.tell(EngineEvent::ChatsChanged {
            chat: Some(chat.into()),
        });
    }
}
