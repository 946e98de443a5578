//! A decoder that repeats the prompt: what it says is known, and it can be held, broken or made to panic.

use std::sync::{Arc, Mutex};

use super::*;
use crate::decoder::{DecoderConfig, DecoderError, Logits, MemoryUse};
use crate::gguf::GgufFile;
use crate::testing::END;

/// Ends the prompt: what stands before it is repeated after it.
pub(super) const REPEAT: u32 = 0;
pub(super) const WINDOW: usize = 200;
pub(super) const SLOTS: usize = 4;

/// What one call of `forward` was asked to compute.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) slot: usize,
    pub(super) start: usize,
    pub(super) tokens: Vec<u32>,
}

type Hook = Box<dyn FnMut(&Call) -> Result<(), DecoderError> + Send>;

struct Echo {
    config: DecoderConfig,
    slots: Vec<Vec<u32>>,
    calls: Arc<Mutex<Vec<Call>>>,
    hook: Hook,
}

impl Decoder for Echo {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn slot_count(&self) -> usize {
        self.slots.len()
    }

    fn slot_capacity(&self) -> usize {
        WINDOW
    }

    fn slot_len(&self, slot: usize) -> usize {
        self.slots[slot].len()
    }

    fn truncate(&mut self, slot: usize, len: usize) {
        self.slots[slot].truncate(len);
    }

    fn forward(
        &mut self,
        slot: usize,
        tokens: &[u32],
        wanted: Logits,
        out: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        let call = Call {
            slot,
            start: self.slots[slot].len(),
            tokens: tokens.to_vec(),
        };
        self.calls.lock().unwrap().push(call.clone());
        (self.hook)(&call)?;
        let sequence = &mut self.slots[slot];
        sequence.extend(tokens);
        assert!(sequence.len() <= WINDOW, "the window was overrun");
        out.clear();
        if wanted == Logits::Last {
            let mark = sequence.iter().position(|&token| token == REPEAT).unwrap_or(0);
            let next = sequence.len() - 1 - mark;
            let token = if next < mark { sequence[next] } else { END };
            *out = vec![0.0; self.config.vocabulary_size];
            out[token as usize] = 50.0;
        }
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse::default()
    }
}

/// A model that repeats, what it was asked to compute, and what happens before each computation.
pub(super) fn echo(hook: Hook) -> (LanguageModel, Arc<Mutex<Vec<Call>>>) {
    let file: GgufFile = tiny(Architecture::Llama, GgmlType::F32, 0);
    let options = LoadOptions {
        device: DevicePreference::CpuReference,
        ..LoadOptions::default()
    };
    let (_, info) = load::open(&file, &options).unwrap();
    let calls = Arc::default();
    let decoder = Echo {
        config: DecoderConfig::from_gguf(&file).unwrap(),
        slots: vec![Vec::new(); SLOTS],
        calls: Arc::clone(&calls),
        hook,
    };
    let info = ModelInfo {
        context_length: WINDOW,
        slots: SLOTS,
        ..info
    };
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let template = ChatTemplate::from_gguf(&file, &tokenizer).unwrap();
    (
        LanguageModel::start(Box::new(decoder), tokenizer, template, info).unwrap(),
        calls,
    )
}

pub(super) fn plain_echo() -> LanguageModel {
    echo(Box::new(|_| Ok(()))).0
}

/// A prompt that is answered by these tokens.
pub(super) fn repeat(tokens: &[u32]) -> Vec<u32> {
    [tokens, &[REPEAT]].concat()
}

/// A prompt that is answered by this text, a token a byte.
pub(super) fn say(text: &str) -> Vec<u32> {
    repeat(&text.bytes().map(u32::from).collect::<Vec<_>>())
}
