//! Models of the inference package.

use std::path::Path;
use std::sync::Arc;

use hearth_inference::chat_template::{ChatMessage, RenderOptions, Role as TemplateRole};
use hearth_inference::embedding::{EmbedError, EmbedOptions, PairClassifier, TextEmbedder};
use hearth_inference::gguf::GgufFile;
use hearth_inference::model::{
    self, GenerateError, GenerateEvent, GenerateRequest, LanguageModel, LoadError, LoadOptions,
};
use hearth_inference::sampling::SamplingOptions;
use hearth_inference::tokenizer::EncodeOptions;

use super::port::{
    ChatModel, Embedder, Generated, Generation, GenerationEvent, GenerationSink, LoadRequest, ModelLoader,
    PromptMessage, Ticket,
};
use crate::error::EngineError;
use crate::memory::compare::{JUDGE_ADAPTER, JUDGE_MODEL, Judgement};
use crate::types::{FinishReason, ResponseFormat, Role, Sampling, Timings, Usage};

/// Loads models with the inference package.
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeLoader;

impl ModelLoader for NativeLoader {
    fn check_chat(&self, id: &str, path: &Path, request: LoadRequest) -> Result<(), EngineError> {
        let options = load_options(request);
        let file = GgufFile::open(path).map_err(|error| load_error(id, LoadError::File(error)))?;
        let needed = model::estimate_memory(&file, &options).map_err(|error| load_error(id, error))?;
        match options.memory_limit_bytes {
            Some(limit_bytes) if needed.total_bytes() > limit_bytes => {
                Err(load_error(id, LoadError::DoesNotFit { needed, limit_bytes }))
            }
            _ => Ok(()),
        }
    }

    fn load_chat(
        &self,
        id: &str,
        path: &Path,
        request: LoadRequest,
    ) -> Result<Arc<dyn ChatModel>, EngineError> {
        let model =
            LanguageModel::load(path, load_options(request)).map_err(|error| load_error(id, error))?;
        Ok(Arc::new(NativeChat {
            id: id.to_owned(),
            model,
        }))
    }

    fn load_embedder(&self, id: &str, folder: &Path) -> Result<Arc<dyn Embedder>, EngineError> {
        let options = EmbedOptions {
            model_id: Some(id.to_owned()),
            ..EmbedOptions::default()
        };
        let embedder = TextEmbedder::load(folder, options).map_err(|error| embed_error(id, &error))?;
        let weights =
            std::fs::metadata(folder.join("model.safetensors")).map_or(0, |metadata| metadata.len());
        let judge = if id == JUDGE_MODEL {
            let read = embedder.pair_classifier(JUDGE_ADAPTER);
            Some(read.map_err(|error| embed_error(id, &error))?)
        } else {
            None
        };
        Ok(Arc::new(NativeEmbedder {
            embedder,
            judge,
            weights_bytes: weights,
        }))
    }
}

fn load_options(request: LoadRequest) -> LoadOptions {
    LoadOptions {
        threads: request.threads.map(|threads| threads as usize),
        context_length: request.window.map(|window| window as usize),
        memory_limit_bytes: request.memory_limit_bytes,
        ..LoadOptions::default()
    }
}

fn load_error(id: &str, error: LoadError) -> EngineError {
    match error {
        LoadError::DoesNotFit { needed, limit_bytes } => EngineError::ModelDoesNotFit {
            model: id.to_owned(),
            needed_bytes: needed.total_bytes(),
            limit_bytes,
        },
        error => EngineError::ModelInvalid {
            model: id.to_owned(),
            reason: error.to_string(),
        },
    }
}

fn embed_error(id: &str, error: &EmbedError) -> EngineError {
    EngineError::ModelInvalid {
        model: id.to_owned(),
        reason: error.to_string(),
    }
}

struct NativeChat {
    id: String,
    model: LanguageModel,
}

impl ChatModel for NativeChat {
    fn window(&self) -> u32 {
        count(self.model.info().context_length)
    }

    fn memory_bytes(&self) -> u64 {
        self.model.info().memory.total_bytes()
    }

    fn device(&self) -> String {
        self.model.info().device.to_string()
    }

    fn prompt(&self, messages: &[PromptMessage], reasoning: bool) -> Result<Vec<u32>, EngineError> {
        let messages: Vec<ChatMessage> = messages
            .iter()
            .map(|message| ChatMessage {
                role: match message.role {
                    Role::System => TemplateRole::System,
                    Role::User | Role::Tool => TemplateRole::User,
                    Role::Assistant => TemplateRole::Assistant,
                },
                content: message.text.clone(),
            })
            .collect();
        let options = RenderOptions {
            enable_thinking: reasoning,
            ..RenderOptions::default()
        };
        let text = self
            .model
            .render(&messages, options)
            .map_err(|error| EngineError::ModelInvalid {
                model: self.id.clone(),
                reason: error.to_string(),
            })?;
        Ok(self.model.tokenize(&text, EncodeOptions::PROMPT))
    }

    fn is_down(&self) -> bool {
        self.model.failure().is_some()
    }

    fn count_tokens(&self, text: &str) -> u32 {
        count(self.model.count_tokens(text))
    }

    fn generate(&self, generation: Generation, mut sink: GenerationSink) -> Box<dyn Ticket> {
        let request = GenerateRequest {
            tokens: generation.tokens,
            session: generation.session,
            sampling: sampling_options(&generation.sampling),
            max_tokens: generation.max_tokens as usize,
            stop: generation.stop,
            format: match generation.format {
                ResponseFormat::Text => model::ResponseFormat::Text,
                ResponseFormat::JsonObject => model::ResponseFormat::JsonObject,
                ResponseFormat::JsonSchema { schema } => model::ResponseFormat::JsonSchema(schema),
            },
            reasoning: generation.reasoning,
        };
        let id = self.id.clone();
        let ticket = self
            .model
            .generate(request, Box::new(move |event| sink(generation_event(&id, event))));
        Box::new(NativeTicket(ticket))
    }
}

struct NativeTicket(model::Ticket);

impl Ticket for NativeTicket {
    fn cancel(&self) {
        self.0.cancel();
    }
}

fn sampling_options(sampling: &Sampling) -> SamplingOptions {
    let default = SamplingOptions::default();
    SamplingOptions {
        temperature: sampling.temperature.unwrap_or(default.temperature),
        top_k: sampling.top_k.map_or(default.top_k, |k| k as usize),
        top_p: sampling.top_p.unwrap_or(default.top_p),
        min_p: sampling.min_p.unwrap_or(default.min_p),
        repetition_penalty: sampling.repetition_penalty.unwrap_or(default.repetition_penalty),
        repetition_window: sampling
            .repetition_window
            .map_or(default.repetition_window, |window| window as usize),
        seed: sampling.seed,
    }
}

fn generation_event(id: &str, event: GenerateEvent) -> GenerationEvent {
    match event {
        GenerateEvent::Queued { position } => GenerationEvent::Queued(count(position)),
        GenerateEvent::Prefill { done, total, reused } => GenerationEvent::Prefill {
            done: count(done),
            total: count(total),
            reused: count(reused),
        },
        GenerateEvent::Reasoning(text) => GenerationEvent::Reasoning(text),
        GenerateEvent::Text(text) => GenerationEvent::Text(text),
        GenerateEvent::Done(done) => GenerationEvent::Done(Generated {
            finish: match done.finish {
                model::FinishReason::Stop => FinishReason::Stop,
                model::FinishReason::Length => FinishReason::Length,
                model::FinishReason::Cancelled => FinishReason::Cancelled,
            },
            usage: Usage {
                prompt_tokens: count(done.prompt_tokens),
                reused_tokens: count(done.reused_tokens),
                completion_tokens: count(done.completion_tokens),
            },
            timings: Timings {
                load_ms: 0.0,
                queue_ms: done.timings.queue_ms,
                prefill_ms: done.timings.prefill_ms,
                first_token_ms: done.timings.first_token_ms,
                decode_ms: done.timings.decode_ms,
            },
            text: done.text,
            reasoning: done.reasoning,
        }),
        GenerateEvent::Failed(error) => GenerationEvent::Failed(generate_error(id, &error)),
    }
}

fn generate_error(id: &str, error: &GenerateError) -> EngineError {
    let message = error.to_string();
    match error {
        GenerateError::PromptTooLong {
            prompt_tokens,
            window_tokens,
        } => EngineError::ContextTooLarge {
            what: "the prompt",
            needed_tokens: count(*prompt_tokens).saturating_add(1),
            window_tokens: count(*window_tokens),
        },
        GenerateError::Sampling(_) | GenerateError::Constraint(_) | GenerateError::EmptyPrompt => {
            EngineError::InvalidRequest(message)
        }
        _ => EngineError::ModelInvalid {
            model: id.to_owned(),
            reason: message,
        },
    }
}

struct NativeEmbedder {
    embedder: TextEmbedder,
    /// For the model that it was made for.
    judge: Option<PairClassifier>,
    weights_bytes: u64,
}

impl Embedder for NativeEmbedder {
    fn embed(&self, texts: &[&str]) -> Result<(Vec<Vec<f32>>, u32), EngineError> {
        let failed = |error| embed_error(self.embedder.model_id(), &error);
        let mut tokens = 0_u32;
        for text in texts {
            let needed_tokens = count(self.embedder.count_tokens(text).map_err(failed)?);
            let window_tokens = self.window();
            if needed_tokens > window_tokens {
                return Err(EngineError::ContextTooLarge {
                    what: "a text to embed",
                    needed_tokens,
                    window_tokens,
                });
            }
            tokens = tokens.saturating_add(needed_tokens);
        }
        Ok((self.embedder.embed(texts).map_err(failed)?, tokens))
    }

    fn judge(&self, pairs: &[(&str, &str)]) -> Result<Option<Vec<Judgement>>, EngineError> {
        let Some(judge) = &self.judge else {
            return Ok(None);
        };
        let classes = self
            .embedder
            .classify_pairs(judge, pairs)
            .map_err(|error| embed_error(self.embedder.model_id(), &error))?;
        Ok(classes
            .iter()
            .map(|classes| Judgement::from_classes(classes))
            .collect())
    }

    fn dimensions(&self) -> u32 {
        count(self.embedder.dimensions())
    }

    fn memory_bytes(&self) -> u64 {
        self.weights_bytes
    }

    fn window(&self) -> u32 {
        count(self.embedder.max_tokens())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
