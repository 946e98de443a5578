//! Answers and vectors outside any chat: nothing of them is stored.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::outbox::{Outbox, Progress};
use super::prepare::check_stop;
use super::{Engine, Result};
use crate::error::EngineError;
use crate::host::Wanted;
use crate::host::port::{ChatModel, Generation, GenerationEvent, LoadRequest, PromptMessage};
use crate::models::Task;
use crate::settings::check_sampling;
use crate::types::{
    CompleteEvent, CompleteParams, Completion, ContextReport, EmbedParams, Embeddings, EngineEvent,
    ResponseFormat, Role,
};

/// Largest JSON schema, in bytes of its shortest text: what is compiled grows with it.
const MAX_SCHEMA_BYTES: usize = 256 << 10;
/// Most texts that are embedded in one request.
const MAX_INPUTS: usize = 2048;

impl Engine {
    /// Answers the given turns. Nothing is left out: a prompt larger than the window is
    /// [`EngineError::ContextTooLarge`]. `cancel`, or dropping the future, ends the answer; what there is of it is the
    /// result.
    pub async fn complete(
        &self,
        params: CompleteParams,
        events: mpsc::Sender<CompleteEvent>,
        cancel: CancellationToken,
    ) -> Result<Completion> {
        self.work(cancel, move |engine, cancel| async move {
            engine.complete_now(params, events, cancel).await
        })
        .await
    }

    async fn complete_now(
        &self,
        params: CompleteParams,
        events: mpsc::Sender<CompleteEvent>,
        cancel: CancellationToken,
    ) -> Result<Completion> {
        let asked = Instant::now();
        // Work for idle moments gives way from here on.
        let _waits = self.inner.idle.person_waits();
        check_sampling(&params.sampling)?;
        check_stop(&params.stop)?;
        check_format(&params.format)?;
        if params.max_tokens == Some(0) {
            return Err(EngineError::InvalidRequest(
                "max_tokens must be at least 1".into(),
            ));
        }
        if !params
            .messages
            .iter()
            .any(|turn| matches!(turn.role, Role::User | Role::Tool))
        {
            return Err(EngineError::InvalidRequest(
                "there is no user message to answer".into(),
            ));
        }
        let mut outbox = Outbox::new(events);
        let wanted = self.wanted_chat_model(params.model.as_deref())?;
        let (lease, load_ms) = self.take_chat_model(&wanted, &mut outbox, &cancel).await?;
        let model = Arc::clone(lease.model());
        let messages: Vec<PromptMessage> = params
            .messages
            .into_iter()
            .map(|turn| PromptMessage {
                role: turn.role,
                text: turn.content,
            })
            .collect();
        let reasoning = params.reasoning.unwrap_or(params.format == ResponseFormat::Text);
        let system_tokens = messages
            .iter()
            .filter(|m| m.role == Role::System)
            .map(|m| model.count_tokens(&m.text))
            .sum();
        let kept_turns = messages.iter().filter(|m| m.role != Role::System).count() as u32;
        let (tokens, window) = tokio::task::spawn_blocking(move || {
            let window = ChatModel::window(&*model);
            model.prompt(&messages, reasoning).map(|tokens| (tokens, window))
        })
        .await
        .unwrap_or_else(|_| Err(EngineError::Internal("making the prompt panicked".into())))?;
        let prompt_tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        if prompt_tokens >= window {
            return Err(EngineError::ContextTooLarge {
                what: "the prompt with one token of an answer",
                needed_tokens: prompt_tokens.saturating_add(1),
                window_tokens: window,
            });
        }
        let room = window - prompt_tokens;
        let settings = self.settings();
        let max_tokens = params
            .max_tokens
            .or(settings.max_reply_tokens)
            .unwrap_or(room)
            .min(room);
        let context = ContextReport {
            window,
            reserved_for_reply: max_tokens,
            system_tokens,
            kept_turns,
            prompt_tokens,
            ..ContextReport::default()
        };
        let generation = Generation {
            tokens,
            session: None,
            sampling: params
                .sampling
                .or(&settings.sampling)
                .or(&self.advised_sampling(&wanted.id)),
            max_tokens,
            stop: params.stop,
            format: params.format,
            reasoning,
        };
        outbox.push_event(CompleteEvent::Started {
            model: wanted.id.clone(),
            prompt_tokens,
        });
        let asked_ms = asked.elapsed().as_secs_f64() * 1000.0;
        let (sink, mut from_model) = mpsc::unbounded_channel();
        let model = Arc::clone(lease.model());
        // Compiling a schema takes its time.
        let ticket = tokio::task::spawn_blocking(move || {
            model.generate(
                generation,
                Box::new(move |event| {
                    let _ = sink.send(event);
                }),
            )
        });
        let ticket = ticket
            .await
            .map_err(|_| EngineError::Internal("beginning the answer panicked".into()))?;
        let mut cancelled = false;
        let generated = loop {
            tokio::select! {
                event = from_model.recv() => match event {
                    Some(GenerationEvent::Queued(position)) => outbox.push(Progress::Queued { position }),
                    Some(GenerationEvent::Prefill { done, total, reused }) => {
                        outbox.push(Progress::Prefill { done, total, reused });
                    }
                    Some(GenerationEvent::Reasoning(text)) => outbox.push(Progress::Reasoning { text }),
                    Some(GenerationEvent::Text(text)) => outbox.push(Progress::Token { text }),
                    Some(GenerationEvent::Done(generated)) => break generated,
                    Some(GenerationEvent::Failed(error)) => return Err(error),
                    None => return Err(EngineError::Internal("the model ended without a word".into())),
                },
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    ticket.cancel();
                }
                () = outbox.send_next() => {}
            }
        };
        drop(ticket);
        drop(lease);
        outbox.send_all().await;
        let mut timings = generated.timings;
        timings.load_ms = load_ms;
        timings.first_token_ms += asked_ms;
        self.record(timings, generated.usage);
        Ok(Completion {
            model: wanted.id,
            text: generated.text,
            reasoning: Some(generated.reasoning).filter(|reasoning| !reasoning.is_empty()),
            finish_reason: generated.finish,
            usage: generated.usage,
            timings,
            context,
        })
    }

    /// Turns texts into vectors. Errors: [`EngineError::ContextTooLarge`] for a text longer than the model's window.
    pub async fn embed(&self, params: EmbedParams, cancel: CancellationToken) -> Result<Embeddings> {
        self.work(cancel, move |engine, cancel| async move {
            if params.input.is_empty() || params.input.len() > MAX_INPUTS {
                return Err(EngineError::InvalidRequest(format!(
                    "embed takes 1 to {MAX_INPUTS} texts"
                )));
            }
            let settings = engine.settings();
            let preferred = params.model.or(settings.embedding_model);
            let models = &engine.inner.models;
            let installed =
                models.resolve_default(Task::Embedding, engine.profile().profile, preferred.as_deref())?;
            let id = installed.manifest.id;
            if installed.manifest.task != Task::Embedding {
                return Err(EngineError::InvalidRequest(format!(
                    "{id} is not a model that embeds"
                )));
            }
            let wanted = Wanted {
                path: models.folder_of(&id)?,
                id,
                request: LoadRequest::default(),
            };
            let was_loaded = engine
                .inner
                .host
                .loaded()
                .iter()
                .any(|model| model.id == wanted.id);
            let lease = tokio::select! {
                lease = engine.inner.host.embedder(&wanted) => lease?,
                () = cancel.cancelled() => return Err(EngineError::Cancelled),
            };
            if !was_loaded {
                engine.tell(EngineEvent::ModelsChanged);
            }
            let (mut vectors, mut tokens) = (Vec::with_capacity(params.input.len()), 0);
            for piece in params.input.chunks(16) {
                if cancel.is_cancelled() {
                    return Err(EngineError::Cancelled);
                }
                let (model, texts) = (Arc::clone(lease.model()), piece.to_vec());
                let embedded = tokio::task::spawn_blocking(move || {
                    model.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>())
                });
                let (more, count) = embedded
                    .await
                    .unwrap_or_else(|_| Err(EngineError::Internal("the embedding model panicked".into())))?;
                vectors.extend(more);
                tokens += count;
            }
            Ok(Embeddings {
                model: wanted.id,
                dimensions: lease.model().dimensions(),
                vectors,
                tokens,
            })
        })
        .await
    }
}

fn check_format(format: &ResponseFormat) -> Result<()> {
    let ResponseFormat::JsonSchema { schema } = format else {
        return Ok(());
    };
    let bytes = schema.to_string().len();
    if bytes > MAX_SCHEMA_BYTES {
        return Err(EngineError::InvalidRequest(format!(
            "the JSON schema has {bytes} bytes; at most {MAX_SCHEMA_BYTES} are taken"
        )));
    }
    Ok(())
}
