//! Downloads with their progress: bars on a terminal, lines elsewhere, JSON lines with `--json`.

use std::time::{Duration, Instant};

use hearth_api::methods::Empty;
use hearth_api::methods::models::{List, Pull, PullParams};
use hearth_api::types::{ModelState, ModelSummary, ModelTask, PullPhase, PullProgress};
use hearth_api::{ApiError, Call, Client, ErrorCode, Method, Update};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Offers to download the model that `error` says is missing; the request can then be made again.
pub(super) async fn missing(
    client: &Client,
    error: &ApiError,
    yes: bool,
    output: &Output,
) -> Result<(), Failure> {
    let models = client.call::<List>(Empty {}).await?.models;
    let wanted = error
        .details
        .as_ref()
        .and_then(|details| details["model"].as_str());
    let found = match wanted {
        Some(id) => models.iter().find(|model| model.id == id),
        None => models
            .iter()
            .find(|model| model.default && model.task == ModelTask::Chat),
    };
    let Some(model) = found.filter(|model| model.state != ModelState::Ready && !model.imported) else {
        return Err(error.clone().into());
    };
    let what = format!(
        "{} ({}, licence {})",
        model.name,
        text::size(model.size_bytes),
        model.license
    );
    let command = match model.state {
        ModelState::Unverified => format!("hearth models verify {}", model.id),
        _ => format!("hearth models pull {}", model.id),
    };
    let (is_not, bring) = match model.state {
        ModelState::Unverified => ("is here, but its files were never checked", "Check them with"),
        ModelState::Damaged => ("is damaged", "Repair it with"),
        ModelState::Partial { .. } => ("is only partly on this machine", "Go on with the download with"),
        _ => ("isn't on this machine yet", "Download it with"),
    };
    if !yes {
        if output.json || !output.can_ask() {
            let message = format!("The model {what} {is_not}.");
            let hint = format!("{bring}: {command}");
            let details = json!({"model": model.id, "size_bytes": model.size_bytes, "command": command});
            return Err(ApiError::new(ErrorCode::ModelMissing, message)
                .hint(hint)
                .details(details)
                .into());
        }
        output.note(&format!(
            "The model {what} {is_not}. It will answer here, without the network."
        ));
        if !output.confirm("Download it now?", true) {
            let message = format!("Without a model there is no answer. Download it later with: {command}");
            return Err(Failure::new(ErrorCode::ModelMissing, message));
        }
    }
    let params = PullParams {
        models: vec![model.id.clone()],
    };
    run(client.stream::<Pull>(params), &Quiet(output))
        .await
        .map(|_| ())
}

/// Where progress is told.
pub(super) trait Teller {
    fn output(&self) -> &Output;
    /// Progress goes to standard output as JSON lines, rather than to standard error.
    fn lines(&self) -> bool;
}

/// A download on the way to something else: never on standard output.
struct Quiet<'a>(&'a Output);

impl Teller for Quiet<'_> {
    fn output(&self) -> &Output {
        self.0
    }

    fn lines(&self) -> bool {
        false
    }
}

impl Teller for Output {
    fn output(&self) -> &Output {
        self
    }

    fn lines(&self) -> bool {
        self.json
    }
}

/// Shows progress until the method ends. Ctrl-C cancels it.
pub(super) async fn run<M: Method<Event = PullProgress>>(
    mut call: Call<M>,
    teller: &impl Teller,
) -> Result<M::Output, Failure> {
    let mut progress = Progress::new(teller);
    loop {
        let update = tokio::select! {
            update = call.next() => update,
            _ = tokio::signal::ctrl_c() => {
                drop(call);
                progress.clear();
                teller.output().note("Cancelled. What has arrived is kept: the same command goes on from there.");
                return Err(Failure::Interrupted);
            }
        };
        match update {
            Some(Update::Event(event)) => progress.tell(&event)?,
            Some(Update::Done(output)) => {
                progress.clear();
                return Ok(output?);
            }
            None => return Err(Failure::new(ErrorCode::Disconnected, "The engine ended.")),
        }
    }
}

struct Progress<'a, T> {
    teller: &'a T,
    bar: Option<ProgressBar>,
    last: Option<(Instant, String, PullPhase)>,
}

impl<'a, T: Teller> Progress<'a, T> {
    fn new(teller: &'a T) -> Self {
        Self {
            teller,
            bar: None,
            last: None,
        }
    }

    fn tell(&mut self, event: &PullProgress) -> Result<(), Failure> {
        let output = self.teller.output();
        if let Some(note) = event.note.as_ref().filter(|_| !output.json) {
            match &self.bar {
                Some(bar) => bar.suspend(|| output.note(&text::sentence(note))),
                None => output.note(&text::sentence(note)),
            }
        }
        if self.teller.lines() {
            return output.value(&json!({"event": "progress", "progress": event}));
        }
        if output.notes_terminal && !output.json {
            self.draw(event, output.width());
            return Ok(());
        }
        let due = self.last.as_ref().is_none_or(|(at, model, phase)| {
            *model != event.model || *phase != event.phase || at.elapsed() >= LINE_EVERY
        });
        if due {
            self.last = Some((Instant::now(), event.model.clone(), event.phase));
            output.note(&line(event));
        }
        Ok(())
    }

    fn draw(&mut self, event: &PullProgress, width: usize) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = if width < 60 {
                "{msg}"
            } else {
                "{msg} {wide_bar:.dim} {percent:>3} %"
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("━━─"));
            bar
        });
        bar.set_length(event.total_bytes);
        bar.set_position(event.done_bytes);
        bar.set_message(text::one_line(
            &line(event),
            width.saturating_sub(if width < 60 { 1 } else { 16 }),
        ));
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// One line about where a download is.
fn line(event: &PullProgress) -> String {
    let PullProgress {
        model,
        done_bytes,
        total_bytes,
        ..
    } = event;
    match event.phase {
        PullPhase::Preparing => format!("{model}: looking for it"),
        PullPhase::Verifying => format!("{model}: checking {}", text::size(*total_bytes)),
        PullPhase::Downloading => {
            let mut line = format!(
                "{model}: {} of {}",
                text::size(*done_bytes),
                text::size(*total_bytes)
            );
            if let Some(rate) = event.bytes_per_second {
                line = format!("{line}, {}/s", text::size(rate as u64));
            }
            if let Some(left) = event.seconds_left {
                line = format!("{line}, {} left", text::duration(left));
            }
            line
        }
    }
}

/// A line about a model that is ready.
pub(super) fn ready_line(model: &ModelSummary) -> String {
    format!("{} is ready ({}).", model.id, text::size(model.size_bytes))
}
