//! Drawing memories from chats, in idle time: which turns, by which model, and what becomes of its proposals.

use std::collections::HashSet;
use std::sync::Arc;

use hearth_store as store;
use hearth_store::{Job, MemoryOrigin, Message, MessageStatus, NewJob, Role, SourceTurn, Store, StoreError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::{Engine, Result};
use super::commands::{Command, command};
use super::keep::NewFact;
use crate::error::EngineError;
use crate::host::Wanted;
use crate::host::port::{ChatModel, GenerationEvent, PromptMessage};
use crate::memory::extract::{self, ExtractOptions, JsonModel, Trust, Turn, json_generation};
use crate::types::MemoryWorked;

/// The kind of these jobs.
pub(super) const JOB: &str = "mine";
/// A chat is mined when so many bytes are new: about 200 tokens.
const WORTH_MINING_BYTES: usize = 800;
/// So many turns are mined at a time; what a person's turn interrupts is at most this.
const TURNS_AT_A_TIME: usize = 12;
/// The setting that names a chat's last mined message: identifiers alone.
const MINED: &str = "memory.mined.";
/// Names it where the chat was imported and nothing was to be drawn from it.
const IMPORTED: &str = "imported";
/// The setting that names questions said while nothing was to be remembered, as long as earlier ones are not mined.
const PASSED: &str = "memory.passed.";

/// Who draws memories from chats.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Extraction {
    /// The model that judges what is worth keeping; none where rules alone decide: no model is here, or it is too small.
    pub(in crate::engine) model: Option<Wanted>,
    /// How far its judgement is taken.
    options: ExtractOptions,
    /// Memories are drawn.
    pub(in crate::engine) wanted: bool,
}

impl Engine {
    /// Who draws memories from chats, and whether anyone does.
    pub(in crate::engine) fn extraction(&self) -> Extraction {
        let rules = ExtractOptions {
            trust: Trust::Rules,
            ..ExtractOptions::default()
        };
        let model = self.wanted_chat_model(None).ok();
        let options = model
            .as_ref()
            .map_or(rules, |model| ExtractOptions::for_model(&model.id));
        Extraction {
            model: model.filter(|_| options.trust != Trust::Rules),
            options,
            wanted: self.settings().memory_extraction.unwrap_or(true),
        }
    }

    /// Mines what is new in the chat of `job`, a few turns at a time.
    pub(super) async fn mine(
        &self,
        job: &Job,
        token: &CancellationToken,
        worked: &mut MemoryWorked,
    ) -> Result<()> {
        let Some(chat) = job.payload["chat"].as_str().and_then(|id| id.parse().ok()) else {
            return Ok(());
        };
        let extraction = self.extraction();
        if !extraction.wanted {
            return Ok(());
        }
        let mut mined = false;
        loop {
            if token.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let new = self
                .inner
                .chats
                .store()
                .run(move |store| unmined(store, chat))
                .await?;
            let turns: Vec<Message> = new.into_iter().take(TURNS_AT_A_TIME).collect();
            let Some(last) = turns.last().map(|turn| turn.id) else {
                break;
            };
            for fact in self.extract_from(&extraction, chat, turns, token).await? {
                let kept = match self.keep_fact(fact).await {
                    // A mistake of ours over one fact must not keep the rest of the chat from being mined.
                    Err(error @ EngineError::Internal(_)) => {
                        tracing::warn!(code = error.code(), "a fact could not be kept");
                        continue;
                    }
                    kept => kept?,
                };
                worked.added += u64::from(!kept.known);
                worked.reinforced += u64::from(kept.known);
                worked.superseded += kept.superseded.len() as u64;
            }
            self.inner
                .chats
                .store()
                .run(move |store| set_mark(store, chat, &json!(last)))
                .await?;
            mined = true;
        }
        worked.mined += u64::from(mined);
        Ok(())
    }

    /// Facts that are found in these turns.
    async fn extract_from(
        &self,
        extraction: &Extraction,
        chat: store::ChatId,
        messages: Vec<Message>,
        token: &CancellationToken,
    ) -> Result<Vec<NewFact>> {
        // What was said to memory itself was done when it was said.
        let messages: Vec<Message> = messages
            .into_iter()
            .filter(|message| message.role != Role::User || !is_command_alone(&message.text))
            .filter(|message| message.role != Role::Assistant || message.model.is_some())
            .collect();
        if !messages.iter().any(|message| message.role == Role::User) {
            return Ok(Vec::new());
        }
        let lease = match &extraction.model {
            None => None,
            Some(wanted) => Some(tokio::select! {
                lease = self.inner.host.chat(wanted, || {}) => lease?,
                () = token.cancelled() => return Err(EngineError::Cancelled),
            }),
        };
        let turns: Vec<Turn> = messages
            .iter()
            .map(|message| Turn {
                speaker: super::super::convert::role(message.role),
                text: message.text.clone(),
                at_ms: message.created_at_ms,
            })
            .collect();
        let model = LeasedModel {
            model: lease.as_ref().map(|lease| Arc::clone(lease.model())),
            token: token.clone(),
        };
        let options = extraction.options;
        let work = move || extract::extract(&turns, &model, &options);
        let facts = match tokio::task::spawn_blocking(work).await {
            Ok(facts) => facts?,
            // A mistake of ours over these turns must not keep the rest of the chat from being mined.
            Err(error) if error.is_panic() => {
                tracing::warn!("drawing memories panicked; the turns are passed over");
                Vec::new()
            }
            Err(_) => return Err(EngineError::Stopped),
        };
        drop(lease);
        if token.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        Ok(facts
            .into_iter()
            .filter_map(|fact| {
                let from: Vec<&Message> = fact
                    .source_turns
                    .iter()
                    .filter_map(|index| messages.get(*index))
                    .collect();
                let at_ms = from.iter().map(|message| message.created_at_ms).max()?;
                Some(NewFact {
                    text: fact.text,
                    kind: fact.kind,
                    confidence: fact.confidence.clamp(0.0, 1.0),
                    sensitive: fact.sensitive,
                    valid_from_ms: fact.valid_from_ms,
                    valid_to_ms: fact.valid_to_ms,
                    at_ms,
                    origin: MemoryOrigin::Extracted,
                    sources: from
                        .into_iter()
                        .map(|message| SourceTurn {
                            chat,
                            message: message.id,
                        })
                        .collect(),
                    pinned: false,
                })
            })
            .collect())
    }
}

/// Whether a message was for memory alone, and done when it was said.
fn is_command_alone(text: &str) -> bool {
    command(text).is_some_and(|command| !matches!(command, Command::Remember { alone: false, .. }))
}

/// Puts a chat into the queue when enough of it is new, or it holds something to be remembered.
pub(super) fn note_growth(
    store: &mut Store,
    chat: store::ChatId,
    now_ms: i64,
) -> std::result::Result<(), StoreError> {
    let new = unmined(store, chat)?;
    let bytes: usize = new.iter().map(|message| message.text.len()).sum();
    let asked = |message: &Message| {
        message.role == Role::User && matches!(command(&message.text), Some(Command::Remember { .. }))
    };
    if bytes < WORTH_MINING_BYTES && !new.iter().any(asked) {
        return Ok(());
    }
    store.enqueue(&job(chat, now_ms))
}

/// What was said while nothing was to be remembered is never drawn from, however the chat goes on: `question` and what
/// answers it.
pub(super) fn pass_over(
    store: &mut Store,
    chat: store::ChatId,
    question: store::MessageId,
) -> std::result::Result<(), StoreError> {
    let of_this_turn = |message: &Message| message.id == question || message.parent == Some(question);
    if new_in(store, chat)?.iter().all(of_this_turn) {
        return pass_over_all(store, chat, |newest| json!(newest));
    }
    // What was said before waits still.
    let mut passed = passed_over(store, chat)?;
    passed.insert(question);
    store.set_setting(&passed_key(chat), &json!(passed))
}

/// Puts chats that were imported into the queue, the first begun first; or, where nothing is to be drawn from them, passes
/// over all that is in them. `unchanged` ones were here before, with every message: passed over then, they are mined now.
pub(super) fn note_import(
    store: &mut Store,
    changed: &[store::ChatId],
    unchanged: &[store::ChatId],
    remember: bool,
    now_ms: i64,
) -> std::result::Result<(), StoreError> {
    if !remember {
        for chat in changed {
            pass_over_all(store, *chat, |newest| json!({ IMPORTED: newest }))?;
        }
        return Ok(());
    }
    for chat in changed {
        // Exported with its memory off: nothing of it is drawn from when that is switched on.
        if super::convert::here(store.chat_memory(*chat))? == Some(false) {
            pass_over_all(store, *chat, |newest| json!({ IMPORTED: newest }))?;
        }
    }
    for chat in unchanged {
        if store
            .get_setting(&mined_key(*chat))?
            .is_some_and(|mark| mark.is_object())
        {
            store.remove_setting(&mined_key(*chat))?;
        }
    }
    let mut chats = Vec::with_capacity(changed.len() + unchanged.len());
    for chat in changed.iter().chain(unchanged) {
        chats.extend(super::convert::here(store.chat(*chat))?);
    }
    // What was said first is kept first.
    chats.sort_by_key(|chat| chat.created_at_ms);
    for chat in chats {
        if !unmined(store, chat.id)?.is_empty() {
            store.enqueue(&job(chat.id, now_ms))?;
        }
    }
    Ok(())
}

/// Marks everything that the shown branch has as mined.
fn pass_over_all(
    store: &mut Store,
    chat: store::ChatId,
    mark: impl FnOnce(store::MessageId) -> Value,
) -> std::result::Result<(), StoreError> {
    match store.branch(chat, None)?.last() {
        Some(newest) => set_mark(store, chat, &mark(newest.id)),
        None => Ok(()),
    }
}

/// Notes up to where a chat is mined; where only what is passed over follows, up to its end.
fn set_mark(store: &mut Store, chat: store::ChatId, mark: &Value) -> std::result::Result<(), StoreError> {
    store.set_setting(&mined_key(chat), mark)?;
    if !passed_over(store, chat)?.is_empty() && new_in(store, chat)?.is_empty() {
        if let Some(newest) = store.branch(chat, None)?.last() {
            store.set_setting(&mined_key(chat), &json!(newest.id))?;
        }
        store.remove_setting(&passed_key(chat))?;
    }
    Ok(())
}

/// Questions in a chat that nothing is drawn from, nor from their answers.
fn passed_over(
    store: &Store,
    chat: store::ChatId,
) -> std::result::Result<HashSet<store::MessageId>, StoreError> {
    let passed = store.get_setting(&passed_key(chat))?;
    let ids = passed.as_ref().and_then(Value::as_array).into_iter().flatten();
    Ok(ids.filter_map(|id| id.as_str()?.parse().ok()).collect())
}

fn job(chat: store::ChatId, now_ms: i64) -> NewJob {
    NewJob {
        kind: JOB.into(),
        key: chat.to_string(),
        payload: json!({ "chat": chat }),
        not_before_ms: now_ms,
    }
}

fn passed_key(chat: store::ChatId) -> String {
    format!("{PASSED}{chat}")
}

fn mined_key(chat: store::ChatId) -> String {
    format!("{MINED}{chat}")
}

/// Turns of the shown branch that were not mined yet, oldest first.
fn unmined(store: &Store, chat: store::ChatId) -> std::result::Result<Vec<Message>, StoreError> {
    match super::convert::here(store.chat_memory(chat))? {
        Some(true) => {}
        // Gone, or switched off meanwhile.
        Some(false) | None => return Ok(Vec::new()),
    }
    new_in(store, chat)
}

/// The same, whether or not the chat is remembered now.
fn new_in(store: &Store, chat: store::ChatId) -> std::result::Result<Vec<Message>, StoreError> {
    let branch = store.branch(chat, None)?;
    let mark = store.get_setting(&mined_key(chat))?;
    let mark: Option<store::MessageId> = mark
        .as_ref()
        .and_then(|mark| mark.as_str().or_else(|| mark[IMPORTED].as_str()))
        .and_then(|id| id.parse().ok());
    let mined = match mark {
        None => 0,
        Some(mark) => match branch.iter().position(|message| message.id == mark) {
            Some(place) => place + 1,
            // On another branch: what is older than it was mined, as far as it is shown here.
            None => match super::convert::here(store.message(mark))? {
                Some(mark) => branch
                    .iter()
                    .take_while(|message| message.created_at_ms <= mark.created_at_ms)
                    .count(),
                None => 0,
            },
        },
    };
    let passed = passed_over(store, chat)?;
    let said = |message: &Message| {
        message.status == MessageStatus::Complete
            && !passed.contains(&message.id)
            && message.parent.is_none_or(|question| !passed.contains(&question))
            && matches!(message.role, Role::User | Role::Assistant)
            && !message.text.trim().is_empty()
    };
    Ok(branch.into_iter().skip(mined).filter(said).collect())
}

/// The model that answers, if one is asked, for JSON; ends within a token when somebody waits.
struct LeasedModel {
    model: Option<Arc<dyn ChatModel>>,
    token: CancellationToken,
}

impl JsonModel for LeasedModel {
    fn answer(&self, messages: &[PromptMessage], schema: &Value, max_tokens: u32) -> Result<String> {
        if self.token.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let Some(model) = &self.model else {
            return Err(EngineError::Internal("no model draws memories".into()));
        };
        let tokens = model.prompt(messages, false)?;
        let (needed, window) = (tokens.len() as u32 + max_tokens, model.window());
        if needed > window {
            return Err(EngineError::ContextTooLarge {
                what: "what memories are drawn from",
                needed_tokens: needed,
                window_tokens: window,
            });
        }
        let generation = json_generation(tokens, schema, max_tokens);
        let (ended, has_ended) = std::sync::mpsc::channel();
        let ticket: Arc<dyn crate::host::port::Ticket> = Arc::from(model.generate(
            generation,
            Box::new(move |event| match event {
                GenerationEvent::Done(generated) => drop(ended.send(Ok(generated.text))),
                GenerationEvent::Failed(error) => drop(ended.send(Err(error))),
                _ => {}
            }),
        ));
        let answer = loop {
            match has_ended.recv_timeout(std::time::Duration::from_millis(10)) {
                Ok(answer) => break answer,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) if self.token.is_cancelled() => {
                    ticket.cancel();
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    break Err(EngineError::Internal("the model ended without a word".into()));
                }
            }
        };
        if self.token.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        answer
    }
}
