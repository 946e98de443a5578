//! A model that does what the last message says, to inject what a real one seldom does.
//!
//! - `count` counts from 1 until cancelled, one number every few milliseconds;
//! - `fail` writes "par" and "tial" and fails;
//! - `panic` panics, where JSON is wanted;
//! - anything else is echoed word by word.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_core::EngineError;
use hearth_core::host::port::{
    ChatModel, Embedder, Generated, Generation, GenerationEvent, GenerationSink, LoadRequest, ModelLoader,
    PromptMessage, Ticket,
};
use hearth_core::types::{FinishReason, ResponseFormat, Timings, Usage};

/// Loading with this window passes the check and fails.
pub const UNLOADABLE_WINDOW: u32 = 1234;
const PACE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone)]
pub struct FakeLoader {
    pub window: u32,
    /// Every prompt that was made.
    pub prompts: Arc<Mutex<Vec<Vec<PromptMessage>>>>,
    /// How many answers were cancelled.
    pub cancelled: tokio::sync::watch::Sender<u32>,
    pub loads: Arc<Mutex<u32>>,
    /// Set to break the loaded model; loading mends it.
    pub down: Arc<std::sync::atomic::AtomicBool>,
    /// Texts that were embedded.
    pub embedded: Arc<Mutex<Vec<String>>>,
    /// How often texts can still be embedded before that fails; `None` for ever.
    pub embeddings_left: Arc<Mutex<Option<u32>>>,
    /// What it is told where JSON is wanted, in place of the last message.
    pub json: Arc<Mutex<Option<String>>>,
    /// How often JSON was wanted.
    pub asked_json: tokio::sync::watch::Sender<u32>,
}

impl FakeLoader {
    pub fn new(window: u32) -> Self {
        let cancelled = tokio::sync::watch::Sender::new(0);
        Self {
            window,
            prompts: Arc::default(),
            cancelled,
            loads: Arc::default(),
            down: Arc::default(),
            embedded: Arc::default(),
            embeddings_left: Arc::default(),
            json: Arc::default(),
            asked_json: tokio::sync::watch::Sender::new(0),
        }
    }
}

impl ModelLoader for FakeLoader {
    fn check_chat(&self, id: &str, _: &Path, request: LoadRequest) -> Result<(), EngineError> {
        match request.memory_limit_bytes {
            Some(limit) if limit < 1000 => Err(EngineError::ModelDoesNotFit {
                model: id.into(),
                needed_bytes: 1000,
                limit_bytes: limit,
            }),
            _ => Ok(()),
        }
    }

    fn load_chat(&self, id: &str, _: &Path, request: LoadRequest) -> Result<Arc<dyn ChatModel>, EngineError> {
        if request.window == Some(UNLOADABLE_WINDOW) {
            return Err(EngineError::ModelInvalid {
                model: id.into(),
                reason: "fake".into(),
            });
        }
        *self.loads.lock().unwrap() += 1;
        self.down.store(false, std::sync::atomic::Ordering::Relaxed);
        Ok(Arc::new(FakeChat(self.clone())))
    }

    fn load_embedder(&self, id: &str, _: &Path) -> Result<Arc<dyn Embedder>, EngineError> {
        Ok(Arc::new(FakeEmbedder(self.clone(), id.len())))
    }
}

/// Texts with words in common lie near each other; elsewhere for a model with a name of another length.
struct FakeEmbedder(FakeLoader, usize);

const DIMENSIONS: usize = 64;

impl Embedder for FakeEmbedder {
    fn embed(&self, texts: &[&str]) -> Result<(Vec<Vec<f32>>, u32), EngineError> {
        match &mut *self.0.embeddings_left.lock().unwrap() {
            Some(0) => {
                return Err(EngineError::ModelInvalid {
                    model: "fake".into(),
                    reason: "told to fail".into(),
                });
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let mut vectors = Vec::new();
        for text in texts {
            let mut vector = vec![0.0; DIMENSIONS];
            for word in text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| word.len() > 2)
            {
                let place = word
                    .to_lowercase()
                    .bytes()
                    .fold(7_usize, |hash, byte| (hash * 31 + usize::from(byte)) % 1_000_003);
                vector[(place + self.1) % DIMENSIONS] += 1.0;
            }
            vectors.push(vector);
        }
        self.0
            .embedded
            .lock()
            .unwrap()
            .extend(texts.iter().map(|text| (*text).to_owned()));
        Ok((vectors, 1))
    }
    fn dimensions(&self) -> u32 {
        DIMENSIONS as u32
    }
    fn memory_bytes(&self) -> u64 {
        1000
    }
    fn window(&self) -> u32 {
        512
    }
}

struct FakeChat(FakeLoader);

fn words(text: &str) -> u32 {
    text.split_whitespace().count() as u32
}

impl ChatModel for FakeChat {
    fn window(&self) -> u32 {
        self.0.window
    }
    fn memory_bytes(&self) -> u64 {
        1000
    }
    fn device(&self) -> String {
        "fake".into()
    }
    /// One token a word; the first says which prompt it is.
    fn prompt(&self, messages: &[PromptMessage], _: bool) -> Result<Vec<u32>, EngineError> {
        let mut prompts = self.0.prompts.lock().unwrap();
        prompts.push(messages.to_vec());
        let length = messages.iter().map(|message| words(&message.text)).sum::<u32>() as usize;
        let mut tokens = vec![0; length.max(1)];
        tokens[0] = prompts.len() as u32 - 1;
        Ok(tokens)
    }
    fn is_down(&self) -> bool {
        self.0.down.load(std::sync::atomic::Ordering::Relaxed)
    }
    fn count_tokens(&self, text: &str) -> u32 {
        words(text)
    }
    fn generate(&self, generation: Generation, sink: GenerationSink) -> Box<dyn Ticket> {
        let prompts = self.0.prompts.lock().unwrap();
        let last = prompts[generation.tokens[0] as usize]
            .last()
            .unwrap()
            .text
            .clone();
        drop(prompts);
        let (cancel, is_cancelled) = channel::<()>();
        let cancelled = self.0.cancelled.clone();
        let mut last = last;
        if matches!(generation.format, ResponseFormat::JsonSchema { .. }) {
            last = self.0.json.lock().unwrap().clone().unwrap_or(last);
            self.0.asked_json.send_modify(|count| *count += 1);
            assert_ne!(last, "panic", "told to panic");
        }
        std::thread::spawn(move || {
            if speak(&last, &generation, sink, &is_cancelled) == Some(FinishReason::Cancelled) {
                cancelled.send_modify(|count| *count += 1);
            }
        });
        Box::new(FakeTicket(Mutex::new(Some(cancel))))
    }
}

fn speak(
    last: &str,
    generation: &Generation,
    mut sink: GenerationSink,
    cancelled: &std::sync::mpsc::Receiver<()>,
) -> Option<FinishReason> {
    let total = generation.tokens.len() as u32;
    sink(GenerationEvent::Prefill {
        done: total,
        total,
        reused: 0,
    });
    let counting = last == "count";
    let pieces: Box<dyn Iterator<Item = String> + Send> = match last {
        "count" => Box::new((1_u32..).map(|n| format!("{n} "))),
        "fail" => Box::new(["par".to_owned(), "tial".to_owned()].into_iter()),
        text => Box::new(
            text.split_inclusive(' ')
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .into_iter(),
        ),
    };
    let (mut text, mut count, mut finish) = (String::new(), 0, FinishReason::Stop);
    for piece in pieces {
        if count == generation.max_tokens && !counting {
            finish = FinishReason::Length;
            break;
        }
        text.push_str(&piece);
        count += 1;
        sink(GenerationEvent::Text(piece));
        let pause = if counting { PACE } else { Duration::ZERO };
        match cancelled.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                finish = FinishReason::Cancelled;
                break;
            }
        }
    }
    if last == "fail" {
        let error = EngineError::ModelInvalid {
            model: "fake".into(),
            reason: "told to fail".into(),
        };
        sink(GenerationEvent::Failed(error));
        return None;
    }
    let usage = Usage {
        prompt_tokens: total,
        reused_tokens: 0,
        completion_tokens: count,
    };
    let generated = Generated {
        finish,
        usage,
        timings: Timings::default(),
        text,
        reasoning: String::new(),
    };
    sink(GenerationEvent::Done(generated));
    Some(finish)
}

struct FakeTicket(Mutex<Option<Sender<()>>>);

impl Ticket for FakeTicket {
    fn cancel(&self) {
        self.0.lock().unwrap().take();
    }
}
