//! A chat model as one that answers in JSON.

use std::sync::Arc;
use std::sync::mpsc::channel;

use serde_json::Value;

use super::JsonModel;
use crate::error::EngineError;
use crate::host::port::{ChatModel, Generation, GenerationEvent, PromptMessage};
use crate::types::{ResponseFormat, Sampling};

/// Asks a chat model, always taking its likeliest answer. Blocks.
pub struct ChatJson(pub Arc<dyn ChatModel>);

impl JsonModel for ChatJson {
    fn answer(
        &self,
        messages: &[PromptMessage],
        schema: &Value,
        max_tokens: u32,
    ) -> Result<String, EngineError> {
        let (sender, receiver) = channel();
        let generation = json_generation(self.0.prompt(messages, false)?, schema, max_tokens);
        let ended = move |event| {
            let end = match event {
                GenerationEvent::Done(done) => Ok(done.text),
                GenerationEvent::Failed(error) => Err(error),
                _ => return,
            };
            // Whoever asked has gone.
            let _ = sender.send(end);
        };
        let _ticket = self.0.generate(generation, Box::new(ended));
        receiver
            .recv()
            .unwrap_or_else(|_| Err(EngineError::Internal("the model's thread ended".into())))
    }
}

/// An answer that follows a schema and is the same each time.
pub(crate) fn json_generation(tokens: Vec<u32>, schema: &Value, max_tokens: u32) -> Generation {
    Generation {
        tokens,
        session: None,
        sampling: Sampling {
            temperature: Some(0.0),
            ..Sampling::default()
        },
        max_tokens,
        stop: Vec::new(),
        format: ResponseFormat::JsonSchema {
            schema: schema.clone(),
        },
        reasoning: false,
    }
}
