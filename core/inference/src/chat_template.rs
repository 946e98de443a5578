//! Chat templates: a conversation written the way a model was trained to read it.
//!
//! A model file carries its template as Jinja source. It is run as Hugging Face's `apply_chat_template`
//! runs it: block trimming on, Python's string methods, `raise_exception`, `strftime_now`, and `tojson`
//! with Python's spacing. Where a template refuses or drops a system message, the message is put before
//! the first user turn instead; nothing is lost silently. A file without a usable template gets one by
//! the control tokens its vocabulary has ([`TemplateOrigin`] says which).
//!
//! Templates come from model files, so they are bounded: in steps, in output, and by having no access
//! to anything but the messages.

mod fallback;
mod functions;
mod time;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use minijinja::value::Value;
use minijinja::{Environment, context};
use serde::{Deserialize, Serialize};

pub use self::fallback::TemplateOrigin;
pub use self::time::LocalTime;

use crate::gguf::{GgufError, GgufFile};
use crate::tokenizer::Tokenizer;

/// Instructions one rendering may take: some thousand times what real templates need.
const FUEL: u64 = 20_000_000;
/// Longest rendered text beyond the messages themselves, in bytes.
const MAX_OVERHEAD_BYTES: usize = 4 << 20;
/// How often templates may repeat a message.
const MAX_REPETITION: usize = 4;
const NAME: &str = "chat";

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

/// How a conversation is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// End with the beginning of the assistant's turn. Default true.
    pub add_generation_prompt: bool,
    /// For models that can: think before answering. Default true.
    pub enable_thinking: bool,
    /// The time templates see as now. Without one (the default) they fall back to a date of their own
    /// or none.
    pub now: Option<LocalTime>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            enable_thinking: true,
            now: None,
        }
    }
}

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is no message.
    #[error("a conversation needs at least one message")]
    Empty,
    /// The template itself refused the conversation.
    #[error("the model's chat template refuses this conversation: {reason}")]
    Refused {
        /// The template's own words.
        reason: String,
    },
    /// The template has an error or does what isn't supported.
    #[error("the model's chat template failed; choose another conversion of the model")]
    Failed {
        /// The template engine's error.
        source: Arc<minijinja::Error>,
    },
}

/// How a message's content is handed to the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentShape {
    /// As a string.
    Text,
    /// As a list of one part, `{"type": "text", "text": …}`.
    Parts,
}

/// A model's chat template. Cheap to clone.
#[derive(Clone)]
pub struct ChatTemplate {
    inner: Arc<Inner>,
}

struct Inner {
    environment: Environment<'static>,
    origin: TemplateOrigin,
    bos: String,
    eos: String,
    shape: ContentShape,
    takes_system: bool,
    mentions_thinking: bool,
}

impl ChatTemplate {
    /// The template of a model file, or one that fits its vocabulary where the file has none that works.
    ///
    /// # Errors
    /// Only when the file's metadata can't be read; a template that doesn't parse is replaced, see
    /// [`origin`](Self::origin).
    pub fn from_gguf(file: &GgufFile, tokenizer: &Tokenizer) -> Result<Self, GgufError> {
        let name = |id: Option<u32>| {
            id.map(|id| String::from_utf8_lossy(tokenizer.token_bytes(id)).into_owned())
                .unwrap_or_default()
        };
        let (bos, eos) = (name(tokenizer.bos()), name(tokenizer.eos()));
        let own: Option<&str> = file.get("tokenizer.chat_template")?;
        if let Some(source) = own.filter(|source| !source.trim().is_empty()) {
            match Self::compile(source, TemplateOrigin::File, &bos, &eos) {
                Ok(template) => return Ok(template),
                Err(error) => {
                    tracing::warn!(%error, "the model's chat template was replaced by a general one");
                }
            }
        }
        let (origin, source) = fallback::choose(tokenizer, own.is_some());
        Self::compile(source, origin, &bos, &eos).map_err(|_| GgufError::BadText {
            what: "the chat template",
        })
    }

    /// A template from Jinja source. `bos` and `eos` are the names of the begin and end tokens.
    pub fn from_source(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        Self::compile(source, TemplateOrigin::File, bos, eos)
    }

    fn compile(source: &str, origin: TemplateOrigin, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        functions::register(&mut environment);
        environment
            .add_template_owned(NAME, functions::without_generation_tags(source).into_owned())
            .map_err(failed)?;
        let mut inner = Inner {
            environment,
            origin,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            shape: ContentShape::Text,
            takes_system: true,
            mentions_thinking: source.contains("<think>") || source.contains("enable_thinking"),
        };
        inner.probe();
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The conversation as the model wants to read it.
    ///
    /// To be encoded with [`EncodeOptions::PROMPT`](crate::tokenizer::EncodeOptions::PROMPT). Text from
    /// outside should have gone through
    /// [`Tokenizer::escape_control_tokens`](crate::tokenizer::Tokenizer::escape_control_tokens) before.
    ///
    /// A system message that the template doesn't take is put before the first user turn, and turns of
    /// one role in a row are joined where the template insists on alternation.
    pub fn render(&self, messages: &[ChatMessage], options: RenderOptions) -> Result<String, TemplateError> {
        if messages.is_empty() {
            return Err(TemplateError::Empty);
        }
        let inner = &*self.inner;
        let fitting = if inner.takes_system {
            Cow::Borrowed(messages)
        } else {
            Cow::Owned(without_system(messages))
        };
        match inner.run(&fitting, options, inner.shape) {
            Err(TemplateError::Refused { reason }) => {
                let alternating = alternating(&without_system(messages));
                if alternating == *fitting {
                    return Err(TemplateError::Refused { reason });
                }
                tracing::debug!(reason, "the chat template wants alternating turns");
                // The first refusal describes the conversation as it was given.
                inner
                    .run(&alternating, options, inner.shape)
                    .map_err(|_| TemplateError::Refused { reason })
            }
            outcome => outcome,
        }
    }

    /// Where the template comes from.
    pub fn origin(&self) -> TemplateOrigin {
        self.inner.origin
    }

    /// Whether a system message has a place of its own. If not, it goes before the first user turn.
    pub fn takes_system_message(&self) -> bool {
        self.inner.takes_system
    }

    /// Whether the template knows of reasoning (`<think>`), on its own or by
    /// [`enable_thinking`](RenderOptions::enable_thinking).
    pub fn mentions_thinking(&self) -> bool {
        self.inner.mentions_thinking
    }

    /// Whether a rendered prompt leaves the model in the middle of its reasoning: it ends by opening a
    /// `<think>` block.
    pub fn opens_thinking(rendered: &str) -> bool {
        rendered.trim_end().ends_with("<think>")
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ChatTemplate")
            .field("origin", &self.inner.origin)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Finds out how contents are handed over and whether system messages arrive, by trying.
    fn probe(&mut self) {
        let user = ChatMessage::new(Role::User, "user-probe-5471");
        let system = ChatMessage::new(Role::System, "system-probe-9023");
        let options = RenderOptions::default();
        let arrives = |inner: &Self, messages: &[ChatMessage], shape, needle: &str| {
            inner
                .run(messages, options, shape)
                .is_ok_and(|text| text.contains(needle))
        };
        if !arrives(
            self,
            std::slice::from_ref(&user),
            ContentShape::Text,
            &user.content,
        ) && arrives(
            self,
            std::slice::from_ref(&user),
            ContentShape::Parts,
            &user.content,
        ) {
            self.shape = ContentShape::Parts;
        }
        let both = [system, user];
        self.takes_system = arrives(self, &both, self.shape, &both[0].content);
    }

    fn run(
        &self,
        messages: &[ChatMessage],
        options: RenderOptions,
        shape: ContentShape,
    ) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let text_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let mut output = BoundedOutput {
            bytes: Vec::with_capacity(text_bytes + 64 * messages.len() + 256),
            limit: text_bytes
                .saturating_mul(MAX_REPETITION)
                .saturating_add(MAX_OVERHEAD_BYTES),
        };
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| message_value(message, shape))
            .collect();
        let variables = context! {
            messages,
            add_generation_prompt => options.add_generation_prompt,
            enable_thinking => options.enable_thinking,
            thinking => options.enable_thinking,
            bos_token => self.bos,
            eos_token => self.eos,
            tools => (),
            documents => (),
            ..options.now.map(|now| context! { strftime_now => functions::strftime_now(now) }).unwrap_or_default()
        };
        template
            .render_captured_to(variables, &mut output)
            .map(drop)
            .map_err(|error| match functions::refusal(&error) {
                Some(reason) => TemplateError::Refused { reason },
                None => failed(error),
            })?;
        Ok(String::from_utf8_lossy(&output.bytes).into_owned())
    }
}

fn message_value(message: &ChatMessage, shape: ContentShape) -> Value {
    let content = match shape {
        ContentShape::Text => Value::from(message.content.as_str()),
        ContentShape::Parts => Value::from(vec![context! { type => "text", text => message.content }]),
    };
    context! { role => message.role, content }
}

fn failed(error: minijinja::Error) -> TemplateError {
    TemplateError::Failed {
        source: Arc::new(error),
    }
}

/// System messages joined and put before the first user turn; a conversation without a user turn
/// gets one.
fn without_system(messages: &[ChatMessage]) -> Vec<ChatMessage> {
    let is_system = |message: &&ChatMessage| message.role == Role::System;
    let instructions: Vec<&str> = messages
        .iter()
        .filter(is_system)
        .map(|message| message.content.as_str())
        .collect();
    let mut rest: Vec<ChatMessage> = messages
        .iter()
        .filter(|message| !is_system(message))
        .cloned()
        .collect();
    if instructions.is_empty() {
        return rest;
    }
    let instructions = instructions.join("\n\n");
    match rest.iter_mut().find(|message| message.role == Role::User) {
        Some(first) => first.content = format!("{instructions}\n\n{}", first.content),
        None => rest.insert(0, ChatMessage::new(Role::User, instructions)),
    }
    rest
}

/// Turns of one role in a row joined into one, beginning with a user turn.
fn alternating(messages: &[ChatMessage]) -> Vec<ChatMessage> {
    let mut joined: Vec<ChatMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        match joined.last_mut() {
            Some(last) if last.role == message.role => {
                last.content.push_str("\n\n");
                last.content.push_str(&message.content);
            }
            None if message.role == Role::Assistant => {
                joined.push(ChatMessage::new(Role::User, ""));
                joined.push(message.clone());
            }
            _ => joined.push(message.clone()),
        }
    }
    joined
}

/// Collects output up to a limit.
struct BoundedOutput {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for BoundedOutput {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.limit {
            return Err(io::Error::other(
                "the rendered text is out of all proportion to the messages",
            ));
        }
        self.bytes.extend(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
