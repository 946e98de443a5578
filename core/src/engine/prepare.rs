//! Everything about an answer that is decided before it begins: which model, what of the chat fits, which limits.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::memory::{Told, TurnMemory};
use super::outbox::{Outbox, Progress};
use super::{Engine, Result};
use crate::context::{self, Budget, HistoryMessage, HistoryTurn, PlanError};
use crate::error::EngineError;
use crate::host::port::{ChatModel, Generation, LoadRequest, PromptMessage};
use crate::host::{Lease, Wanted};
use crate::models::Task;
use crate::settings::check_sampling;
use crate::types::{
    ContextReport, EngineEvent, MemoryReport, ReplyMetadata, ResponseFormat, Role, Sampling, TurnOptions,
};

/// What is to be answered.
pub(super) struct Question {
    /// Instructions to the model.
    pub(super) system: Option<String>,
    /// The branch, the message to answer last.
    pub(super) history: Vec<HistoryMessage>,
    /// What is remembered and fits it.
    pub(super) memory: TurnMemory,
    /// How the reply before this one came to be.
    pub(super) earlier: Option<ReplyMetadata>,
    /// Choices for this answer; the model named here is taken.
    pub(super) options: TurnOptions,
    /// Which conversation it belongs to.
    pub(super) session: Option<u64>,
}

/// An answer that is ready to begin.
pub(super) struct Prepared {
    pub(super) lease: Lease<dyn ChatModel>,
    pub(super) model: String,
    pub(super) generation: Generation,
    pub(super) context: ContextReport,
    pub(super) memory: MemoryReport,
    pub(super) load_ms: f64,
    pub(super) asked: Instant,
}

impl Engine {
    /// The model that answers: `requested`, else the setting's, else the profile's.
    pub(super) fn wanted_chat_model(&self, requested: Option<&str>) -> Result<Wanted> {
        let settings = self.settings();
        let models = &self.inner.models;
        let installed = match requested {
            Some(id) => models.ready(id)?,
            None => {
                models.resolve_default(Task::Chat, self.profile().profile, settings.chat_model.as_deref())?
            }
        };
        let id = installed.manifest.id;
        if installed.manifest.task != Task::Chat {
            return Err(EngineError::InvalidRequest(format!(
                "{id} is not a model that answers"
            )));
        }
        let request = LoadRequest {
            window: settings.context_length,
            threads: settings.threads,
            memory_limit_bytes: self.memory_limit_bytes(),
        };
        Ok(Wanted {
            path: models.path_of(&id)?,
            id,
            request,
        })
    }

    /// How the model's publisher advises to choose tokens; empty where it says nothing.
    pub(super) fn advised_sampling(&self, id: &str) -> Sampling {
        let manifest = self.inner.models.manifest(id);
        manifest.map(|manifest| manifest.sampling).unwrap_or_default()
    }

    /// Takes a model, telling when it has to be loaded. Errors: [`EngineError::Cancelled`].
    pub(super) async fn take_chat_model<E: From<Progress>>(
        &self,
        wanted: &Wanted,
        outbox: &mut Outbox<E>,
        cancel: &CancellationToken,
    ) -> Result<(Lease<dyn ChatModel>, f64)> {
        let (began, mut has_begun) = mpsc::unbounded_channel();
        let lease = self.inner.host.chat(wanted, move || {
            let _ = began.send(Instant::now());
        });
        tokio::pin!(lease);
        let mut loading_since = None;
        loop {
            tokio::select! {
                Some(at) = has_begun.recv() => {
                    loading_since = Some(at);
                    self.tell_loading(&wanted.id, 0.0, outbox);
                }
                lease = &mut lease => {
                    let lease = lease?;
                    // The note of the beginning may still be on its way.
                    if let Some(at) = loading_since.or_else(|| has_begun.try_recv().ok()) {
                        self.tell_loading(&wanted.id, 1.0, outbox);
                        self.tell(EngineEvent::ModelsChanged);
                        return Ok((lease, at.elapsed().as_secs_f64() * 1000.0));
                    }
                    return Ok((lease, 0.0));
                }
                () = outbox.send_next() => {}
                () = cancel.cancelled() => return Err(EngineError::Cancelled),
            }
        }
    }

    fn tell_loading<E: From<Progress>>(&self, model: &str, fraction: f32, outbox: &mut Outbox<E>) {
        outbox.push(Progress::Loading {
            model: model.to_owned(),
            fraction,
        });
        self.tell(EngineEvent::ModelLoading {
            model: model.to_owned(),
            fraction,
        });
    }

    /// Chooses the model, budgets the window and makes the prompt. Nothing is stored yet.
    pub(super) async fn prepare<E: From<Progress>>(
        &self,
        question: Question,
        outbox: &mut Outbox<E>,
        cancel: &CancellationToken,
    ) -> Result<Prepared> {
        let asked = Instant::now();
        check_limits(&question.options)?;
        let wanted = self.wanted_chat_model(question.options.model.as_deref())?;
        let (lease, load_ms) = self.take_chat_model(&wanted, outbox, cancel).await?;
        let model = Arc::clone(lease.model());
        let settings = self.settings();
        let Question {
            system,
            history,
            memory,
            earlier,
            options,
            session,
        } = question;
        let earlier = earlier
            .filter(|earlier| earlier.model == wanted.id)
            .map(|earlier| earlier.context);
        let max_tokens = options.max_tokens.or(settings.max_reply_tokens);
        let reasoning = options.reasoning.unwrap_or(true);
        let budgets = self.memory_budgets(model.window());
        let fit = tokio::task::spawn_blocking(move || {
            let budget = Budget::new(model.window(), max_tokens);
            let told = memory.within(budgets, |text| model.count_tokens(text));
            let fit = |told: &Told| {
                let (system, history) = told.put_into(system.clone(), history.clone());
                fit(
                    &*model,
                    system.as_deref(),
                    history,
                    earlier.as_ref(),
                    budget,
                    reasoning,
                )
            };
            match fit(&told) {
                // What is said comes before what is remembered.
                Err(EngineError::ContextTooLarge { .. }) if !told.is_empty() => {
                    let nothing = Told::default();
                    fit(&nothing).map(|(tokens, context)| (tokens, context, nothing.report))
                }
                fitted => fitted.map(|(tokens, context)| (tokens, context, told.report)),
            }
        });
        let (tokens, context, memory) = fit
            .await
            .unwrap_or_else(|_| Err(EngineError::Internal("making the prompt panicked".into())))?;
        let room = context.window.saturating_sub(context.prompt_tokens);
        let generation = Generation {
            tokens,
            session,
            sampling: options
                .sampling
                .or(&settings.sampling)
                .or(&self.advised_sampling(&wanted.id)),
            max_tokens: max_tokens.unwrap_or(context::DEFAULT_REPLY_TOKENS).min(room),
            stop: options.stop,
            format: ResponseFormat::Text,
            reasoning,
        };
        Ok(Prepared {
            lease,
            model: wanted.id,
            generation,
            context,
            memory,
            load_ms,
            asked,
        })
    }
}

/// Refuses what is out of range.
pub(super) fn check_limits(options: &TurnOptions) -> Result<()> {
    check_sampling(&options.sampling)?;
    if options.max_tokens == Some(0) {
        return Err(EngineError::InvalidRequest(
            "max_tokens must be at least 1".into(),
        ));
    }
    check_stop(&options.stop)
}

/// Refuses too many or too long stop strings.
pub(super) fn check_stop(stop: &[String]) -> Result<()> {
    if stop.len() > 16 || stop.iter().any(|text| text.is_empty() || text.len() > 256) {
        return Err(EngineError::InvalidRequest(
            "stop takes up to 16 strings of 1 to 256 bytes".into(),
        ));
    }
    Ok(())
}

fn fit(
    model: &dyn ChatModel,
    system: Option<&str>,
    history: Vec<HistoryMessage>,
    earlier: Option<&ContextReport>,
    budget: Budget,
    reasoning: bool,
) -> Result<(Vec<u32>, ContextReport)> {
    let turns = context::turns(history);
    let system_tokens = system.map_or(0, |system| model.count_tokens(system));
    let previous = earlier.map_or(0, |earlier| {
        context::previous_start(&turns, earlier, budget, system_tokens)
    });
    let mut latest = None;
    let plan = context::plan(turns.len(), budget, previous, |first| {
        let tokens = model.prompt(&prompt_messages(system, &turns[first..]), reasoning)?;
        let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        latest = Some((first, tokens));
        Ok(count)
    });
    let plan = plan.map_err(|error| match error {
        PlanError::Count(error) => error,
        PlanError::TooLarge { needed, window } => EngineError::ContextTooLarge {
            what: "this message with the system prompt",
            needed_tokens: needed,
            window_tokens: window,
        },
    })?;
    let tokens = match latest {
        Some((first, tokens)) if first == plan.first_kept => tokens,
        _ => model.prompt(&prompt_messages(system, &turns[plan.first_kept..]), reasoning)?,
    };
    let report = context::report(plan, budget.window, system_tokens, &turns, |message| {
        model.count_tokens(&message.text)
    });
    Ok((tokens, report))
}

/// The messages of a prompt. Neighbours with the same role are joined, as many templates demand roles that alternate.
fn prompt_messages(system: Option<&str>, turns: &[HistoryTurn]) -> Vec<PromptMessage> {
    let mut messages: Vec<PromptMessage> = Vec::new();
    if let Some(system) = system {
        messages.push(PromptMessage {
            role: Role::System,
            text: system.to_owned(),
        });
    }
    for message in turns.iter().flat_map(|turn| &turn.messages) {
        let role = if message.role == Role::Assistant {
            Role::Assistant
        } else {
            Role::User
        };
        match messages.last_mut() {
            Some(last) if last.role == role => {
                last.text.push_str("\n\n");
                last.text.push_str(&message.text);
            }
            _ => messages.push(PromptMessage {
                role,
                text: message.text.clone(),
            }),
        }
    }
    messages
}
