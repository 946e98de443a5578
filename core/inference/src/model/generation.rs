//! One answer in the making: prefill in slices, then token by token.

use std::time::{Duration, Instant};

use super::job::{Outlet, Plan};
use super::request::{Completion, FinishReason, GenerateError, GenerateEvent, ResponseFormat, Timings};
use super::slots::{Cache, Choice};
use crate::constraint::Constraint;
use crate::decoder::{Decoder, Logits};
use crate::reasoning::{Piece, ReasoningSplitter};
use crate::sampling::Sampler;
use crate::text_stream::TextStream;
use crate::tokenizer::Tokenizer;

/// What a step needs of the engine.
pub(super) struct Machine<'a> {
    pub(super) decoder: &'a mut dyn Decoder,
    pub(super) tokenizer: &'a Tokenizer,
    /// Prompt and answer together fit this many tokens.
    pub(super) window: usize,
    /// Prompt tokens computed in one step.
    pub(super) slice: usize,
}

/// A running request, owner of one slot.
pub(super) struct Generation {
    pub(super) slot: usize,
    outlet: Outlet,
    prompt: Vec<u32>,
    max_tokens: usize,
    sampler: Sampler,
    constraint: Option<Constraint>,
    prefilled: usize,
    reused: usize,
    generated: usize,
    logits: Vec<f32>,
    characters: TextStream,
    splitter: ReasoningSplitter,
    answer: TextStream,
    text: String,
    reasoning: String,
    submitted: Instant,
    admitted: Instant,
    prefill_end: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl Generation {
    pub(super) fn new(outlet: Outlet, plan: Plan, submitted: Instant, choice: Choice) -> Self {
        let Plan {
            request,
            mut sampler,
            constraint,
            thinking,
        } = plan;
        let window_start = request
            .tokens
            .len()
            .saturating_sub(request.sampling.repetition_window);
        for &token in &request.tokens[window_start..] {
            sampler.accept(token);
        }
        // A demanded form binds the answer from its first token, unless the prompt opened a thinking block.
        let free_start = matches!(request.format, ResponseFormat::Text);
        let splitter = if request.reasoning && (thinking || free_start) {
            ReasoningSplitter::new(thinking)
        } else {
            ReasoningSplitter::off()
        };
        let mut generation = Self {
            slot: choice.slot,
            outlet,
            prompt: request.tokens,
            max_tokens: request.max_tokens,
            sampler,
            constraint,
            prefilled: choice.reused,
            reused: choice.reused,
            generated: 0,
            logits: Vec::new(),
            characters: TextStream::default(),
            splitter,
            answer: TextStream::new(request.stop),
            text: String::new(),
            reasoning: String::new(),
            submitted,
            admitted: Instant::now(),
            prefill_end: None,
            first_token: None,
            last_token: None,
        };
        generation.report_prefill();
        generation
    }

    /// Computes one slice of the prompt or one token; true when the request has ended.
    pub(super) fn advance(&mut self, machine: &mut Machine<'_>, cache: &mut Cache) -> bool {
        if self.outlet.is_cancelled() {
            self.finish(FinishReason::Cancelled);
            return true;
        }
        let step = if self.prefilled < self.prompt.len() {
            self.prefill(machine, cache).map(|()| None)
        } else {
            self.decode(machine, cache)
        };
        match step {
            Ok(None) => false,
            Ok(Some(reason)) => {
                self.finish(reason);
                true
            }
            Err(error) => {
                machine.decoder.truncate(self.slot, 0);
                cache.tokens.clear();
                self.outlet.finish(GenerateEvent::Failed(error));
                true
            }
        }
    }

    fn prefill(&mut self, machine: &mut Machine<'_>, cache: &mut Cache) -> Result<(), GenerateError> {
        let end = (self.prefilled + machine.slice).min(self.prompt.len());
        let wanted = if end == self.prompt.len() {
            Logits::Last
        } else {
            Logits::None
        };
        let prompt = std::mem::take(&mut self.prompt);
        let outcome = self.forward(machine, cache, &prompt[self.prefilled..end], wanted);
        self.prompt = prompt;
        outcome?;
        self.prefilled = end;
        if end == self.prompt.len() {
            self.prefill_end = Some(Instant::now());
        }
        self.report_prefill();
        Ok(())
    }

    fn decode(
        &mut self,
        machine: &mut Machine<'_>,
        cache: &mut Cache,
    ) -> Result<Option<FinishReason>, GenerateError> {
        if self.max_tokens == 0 {
            return Ok(Some(FinishReason::Length));
        }
        let token = self.sample(machine.tokenizer)?;
        let mut batch = vec![token];
        if let Some(reason) = self.take(token, machine)? {
            return Ok(Some(reason));
        }
        let forced = match &mut self.constraint {
            Some(constraint) if self.splitter.is_answering() => constraint.forced(),
            _ => Vec::new(),
        };
        for token in forced {
            batch.push(token);
            if let Some(reason) = self.take(token, machine)? {
                return Ok(Some(reason));
            }
        }
        self.forward(machine, cache, &batch, Logits::Last)?;
        Ok(None)
    }

    fn forward(
        &mut self,
        machine: &mut Machine<'_>,
        cache: &mut Cache,
        tokens: &[u32],
        wanted: Logits,
    ) -> Result<(), GenerateError> {
        machine
            .decoder
            .forward(self.slot, tokens, wanted, &mut self.logits)
            .map_err(|error| GenerateError::Compute(error.to_string()))?;
        cache.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Draws the next token.
    fn sample(&mut self, tokenizer: &Tokenizer) -> Result<u32, GenerateError> {
        // Networks are padded to round vocabulary sizes: those tokens don't exist.
        self.logits.truncate(tokenizer.vocabulary_size());
        self.sampler.penalise(&mut self.logits);
        let broken = || GenerateError::Compute("the model gave no usable scores".to_owned());
        let token = self.sampler.draw(&self.logits, None).ok_or_else(broken)?;
        let Some(constraint) = &mut self.constraint else {
            return Ok(token);
        };
        if !self.splitter.is_answering() {
            return Ok(token);
        }
        let allowed = if tokenizer.is_end_of_generation(token) {
            constraint.may_end()?
        } else {
            constraint.allows(token)?
        };
        if allowed {
            return Ok(token);
        }
        let mask = constraint.mask()?;
        self.sampler.draw(&self.logits, Some(&mask)).ok_or_else(broken)
    }

    /// Accounts for a token of the answer and shows its text; a reason when the answer ends with it.
    fn take(&mut self, token: u32, machine: &Machine<'_>) -> Result<Option<FinishReason>, GenerateError> {
        let now = Instant::now();
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        self.generated += 1;
        self.sampler.accept(token);
        if machine.tokenizer.is_end_of_generation(token) {
            return Ok(Some(FinishReason::Stop));
        }
        let mut complete = false;
        if let Some(constraint) = &mut self.constraint
            && self.splitter.is_answering()
        {
            constraint.commit(token)?;
            complete = constraint.is_complete();
        }
        let bytes = machine.tokenizer.token_bytes(token);
        let visible = !machine.tokenizer.is_control(token) || ReasoningSplitter::is_tag(bytes);
        if visible && !bytes.is_empty() {
            let delta = self.characters.push(bytes);
            self.show(&delta.text);
        }
        if complete || self.answer.is_stopped() {
            return Ok(Some(FinishReason::Stop));
        }
        let full = self.prompt.len() + self.generated >= machine.window;
        Ok((full || self.generated >= self.max_tokens).then_some(FinishReason::Length))
    }

    fn show(&mut self, text: &str) {
        let pieces = self.splitter.push(text);
        self.deliver(pieces);
    }

    fn deliver(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Reasoning(part) => {
                    self.reasoning.push_str(&part);
                    self.outlet.send(GenerateEvent::Reasoning(part));
                }
                Piece::Text(part) => {
                    let delta = self.answer.push(part.as_bytes());
                    self.deliver_text(delta.text);
                }
            }
        }
    }

    fn deliver_text(&mut self, text: String) {
        if !text.is_empty() {
            self.text.push_str(&text);
            self.outlet.send(GenerateEvent::Text(text));
        }
    }

    fn report_prefill(&mut self) {
        let (done, total, reused) = (self.prefilled, self.prompt.len(), self.reused);
        self.outlet.send(GenerateEvent::Prefill { done, total, reused });
    }

    /// Lets out what was held back, and reports the end.
    fn finish(&mut self, finish: FinishReason) {
        let rest = self.characters.finish();
        self.show(&rest.text);
        let pieces = self.splitter.finish();
        self.deliver(pieces);
        let rest = self.answer.finish();
        self.deliver_text(rest.text);
        let completion = Completion {
            finish,
            prompt_tokens: self.prompt.len(),
            reused_tokens: self.reused,
            completion_tokens: self.generated,
            timings: self.timings(),
            text: std::mem::take(&mut self.text),
            reasoning: std::mem::take(&mut self.reasoning),
        };
        self.outlet.finish(GenerateEvent::Done(completion));
    }

    fn timings(&self) -> Timings {
        let ms = |from: Instant, to: Option<Instant>| {
            to.map_or(0.0, |to| to.saturating_duration_since(from).as_secs_f64() * 1e3)
        };
        Timings {
            queue_ms: ms(self.submitted, Some(self.admitted)),
            prefill_ms: ms(self.admitted, self.prefill_end),
            first_token_ms: ms(self.submitted, self.first_token),
            decode_ms: self.first_token.map_or(0.0, |first| ms(first, self.last_token)),
        }
    }
}

/// The report on a request that was cancelled before it got a slot.
pub(super) fn cancelled_in_queue(prompt_tokens: usize, waited: Duration) -> Completion {
    Completion {
        finish: FinishReason::Cancelled,
        prompt_tokens,
        reused_tokens: 0,
        completion_tokens: 0,
        timings: Timings {
            queue_ms: waited.as_secs_f64() * 1e3,
            ..Timings::default()
        },
        text: String::new(),
        reasoning: String::new(),
    }
}
