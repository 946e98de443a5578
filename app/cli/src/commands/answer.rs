//! Showing an answer while it is written, the same way for `ask` and `chat`.

use hearth_api::methods::chat::{ChatEvent, Stop, StopParams, TurnOptions};
use hearth_api::types::{ContextReport, MemoryReport, Message, MessageId, MessageStatus, Sampling};
use hearth_api::{ApiError, Call, Client, ErrorCode, Method, Update};

use crate::args::Answering;
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// Choices for one answer, as typed.
pub(super) fn options(answering: &Answering) -> TurnOptions {
    let sampling = Sampling {
        temperature: answering.temperature,
        seed: answering.seed,
        ..Sampling::default()
    };
    TurnOptions {
        model: answering.model.clone(),
        sampling,
        max_tokens: answering.max_tokens,
        ..TurnOptions::default()
    }
}

/// How an answer ended.
pub(super) enum Ended<T> {
    /// With the method's output.
    Done(T),
    /// With an error, before or after pieces of the answer were shown.
    Failed(ApiError),
}

/// Shows an answer's pieces until its end. Ctrl-C stops the answer; what had arrived is kept and the method's output
/// follows. A second Ctrl-C doesn't wait for that.
pub(super) async fn show<M: Method<Event = ChatEvent>>(
    client: &Client,
    mut call: Call<M>,
    output: &Output,
) -> Result<Ended<M::Output>, Failure> {
    let mut screen = Screen::new(output);
    let mut reply: Option<MessageId> = None;
    let mut stopping = false;
    loop {
        let update = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {
                let Some(reply) = reply.filter(|_| !stopping) else { return Err(Failure::Interrupted) };
                stopping = true;
                let _ = client.call::<Stop>(StopParams { reply }).await;
                continue;
            }
            update = call.next() => update,
        };
        match update {
            Some(Update::Event(event)) => {
                if let ChatEvent::Started { reply: begun, .. } = &event {
                    reply = Some(*begun);
                }
                screen.event(event)?;
            }
            Some(Update::Done(result)) => {
                screen.end()?;
                return Ok(match result {
                    Ok(done) => Ended::Done(done),
                    Err(error) => Ended::Failed(error),
                });
            }
            None => {
                screen.end()?;
                return Ok(Ended::Failed(ApiError::new(
                    ErrorCode::Disconnected,
                    "the engine ended",
                )));
            }
        }
    }
}

/// What is on the screen of one answer so far.
struct Screen<'a> {
    output: &'a Output,
    /// A note without a line's end stands on standard error.
    waiting: bool,
    thinking: bool,
    /// The answer's last line has no end yet.
    line_open: bool,
}

impl<'a> Screen<'a> {
    fn new(output: &'a Output) -> Self {
        Self {
            output,
            waiting: false,
            thinking: false,

            line_open: false,
        }
    }

    fn event(&mut self, event: ChatEvent) -> Result<(), Failure> {
        match event {
            ChatEvent::Loading { model, .. } => self.wait(&format!("Loading {model} …")),
            ChatEvent::Queued { position } if position > 0 => {
                self.wait(&format!(
                    "Waiting for {} …",
                    text::counted(position, "other answer")
                ));
            }
            ChatEvent::Prefill { done, total, reused } if done < total && total - reused > 512 => {
                let percent = u64::from(done) * 100 / u64::from(total.max(1));
                self.wait(&format!("Reading … {percent} %"));
            }
            ChatEvent::Reasoning { text } => {
                self.clear();
                self.thinking = true;
                self.output.aside_piece(&text);
            }
            ChatEvent::Token { text } => {
                self.clear();
                if self.thinking {
                    self.output.aside("\n");
                    self.thinking = false;
                }
                if !self.output.json && !text.is_empty() {
                    self.output.piece(&text)?;
                    self.line_open = !text.ends_with('\n');
                }
            }
            ChatEvent::Started { .. } | ChatEvent::Queued { .. } | ChatEvent::Prefill { .. } => {}
        }
        Ok(())
    }

    /// Replaces the waiting note; only where a person is watching.
    fn wait(&mut self, note: &str) {
        if self.output.notes_terminal && !self.output.json {
            let note = text::one_line(note, self.output.width().saturating_sub(1));
            self.output.passing(&note);
            self.waiting = true;
        }
    }

    fn clear(&mut self) {
        if self.waiting {
            self.output.passing("");
            self.waiting = false;
        }
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.clear();
        if self.line_open {
            self.output.piece("\n")?;
        }
        Ok(())
    }
}

/// What a person should know about a finished answer: that something was left out, or that it isn't whole.
pub(super) fn remarks(message: &Message) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(metadata) = &message.metadata {
        remarks.extend(left_out(&metadata.context));
        if metadata.finish_reason == Some(hearth_api::types::FinishReason::Length) {
            remarks.push("The answer ends here because it reached its longest length.".to_owned());
        }
    }
    remarks.extend(match message.status {
        MessageStatus::Stopped => Some("Stopped. What had arrived is kept.".to_owned()),
        MessageStatus::Interrupted => Some("Interrupted. What had arrived is kept.".to_owned()),
        MessageStatus::Failed => Some("This answer failed half-way. What had arrived is kept.".to_owned()),
        MessageStatus::Streaming | MessageStatus::Complete => None,
    });
    remarks
}

/// How much of what is remembered an answer drew on, in a sentence; none when it drew on nothing.
pub(super) fn drew_on(memory: &MemoryReport) -> Option<String> {
    let number = memory.recalled.len() as u64;
    (number > 0 && memory.kept.is_empty()).then(|| {
        let memories = if number == 1 { "memory" } else { "memories" };
        format!("Drew on {number} {memories}.")
    })
}

fn left_out(context: &ContextReport) -> Option<String> {
    let count = context.left_out_turns.len() as u64;
    (count > 0).then(|| {
        format!(
            "The model didn't see the {} of this chat ({} tokens): they don't fit its window of {} tokens.",
            if count == 1 {
                "oldest message".to_owned()
            } else {
                format!("{count} oldest messages")
            },
            text::count(context.left_out_tokens),
            text::count(context.window),
        )
    })
}
