//! `hearth models`: what can be used, what is here, bringing and removing.

use hearth_api::ErrorCode;
use hearth_api::methods::Empty;
use hearth_api::methods::models::{
    Import, ImportParams, List, ModelParams, Pull, PullParams, Remove, Use, Verify,
};
use hearth_api::types::{ModelState, ModelSummary, ModelTask};
use serde_json::json;

use super::{confirm, pull, with_session};
use crate::args::Models;
use crate::connect::{Profile, Session, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) async fn run(profile: &Profile, args: Models, output: &Output) -> Result<(), Failure> {
    match args {
        Models::List => with_session(profile, Want::Brief, output, async |s| list(s, output).await).await,
        Models::Use { model } => {
            with_session(profile, Want::Brief, output, async |s| {
                choose(s, model, output).await
            })
            .await
        }
        Models::Remove { model, yes } => {
            with_session(profile, Want::Brief, output, async |s| {
                remove(s, model, yes, output).await
            })
            .await
        }
        Models::Pull { models, default: _ } => {
            working(profile, output, async |s| get(s, models, output).await).await
        }
        Models::Verify { model } => working(profile, output, async |s| verify(s, model, output).await).await,
        Models::Import { file } => {
            let path = file
                .canonicalize()
                .map_err(|error| Failure::file(&file, &error))?;
            working(profile, output, async |s| {
                import(s, ImportParams { path }, output).await
            })
            .await
        }
    }
}

/// Long work shows its own progress and handles Ctrl-C; other commands can attach meanwhile.
async fn working(
    profile: &Profile,
    output: &Output,
    work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let session = profile.connect(Want::Lasting, output).await?;
    let result = work(&session).await;
    session.close().await;
    result
}

async fn list(session: &Session, output: &Output) -> Result<(), Failure> {
    let listed = session.client.call::<List>(Empty {}).await?;
    if output.json {
        return output.value(&listed);
    }
    let rows: Vec<Vec<String>> = listed.models.iter().map(row).collect();
    for line in text::table(
        &["", "MODEL", "STATE", "SIZE", "MEMORY", "FOR", "LICENCE"],
        &rows,
        output.table_width(),
    ) {
        output.line(&line)?;
    }
    output.aside("* is used when none is named. Download with: hearth models pull MODEL");
    Ok(())
}

fn row(model: &ModelSummary) -> Vec<String> {
    let state = match model.state {
        ModelState::Ready if model.loaded => "loaded".to_owned(),
        ModelState::Ready => "ready".to_owned(),
        ModelState::Partial { done_bytes } => {
            format!(
                "{} %",
                (done_bytes * 100)
                    .checked_div(model.size_bytes)
                    .unwrap_or(0)
                    .min(99)
            )
        }
        ModelState::Unverified => "unverified".to_owned(),
        ModelState::Damaged => "damaged".to_owned(),
        ModelState::Absent if !model.fits => "too large".to_owned(),
        ModelState::Absent => "-".to_owned(),
    };
    let task = match model.task {
        ModelTask::Chat => "chat",
        ModelTask::Embedding => "embedding",
        ModelTask::VoiceActivity => "voice activity",
        ModelTask::Speech => "speech",
        ModelTask::Other => "other",
    };
    let mark = if model.default { "*" } else { "" };
    let memory = if model.memory_bytes == 0 {
        "-".to_owned()
    } else {
        text::size(model.memory_bytes)
    };
    let cells = [
        mark,
        &model.id,
        &state,
        &text::size(model.size_bytes),
        &memory,
        task,
        &model.license,
    ];
    cells.into_iter().map(text::printable).collect()
}

async fn get(session: &Session, models: Vec<String>, output: &Output) -> Result<(), Failure> {
    let pulled = pull::run(session.client.stream::<Pull>(PullParams { models }), output).await?;
    if output.json {
        return output.value(&json!({"event": "done", "models": pulled.models}));
    }
    for model in &pulled.models {
        output.line(&pull::ready_line(model))?;
    }
    Ok(())
}

async fn verify(session: &Session, model: String, output: &Output) -> Result<(), Failure> {
    let params = ModelParams { model: model.clone() };
    let verified = pull::run(session.client.stream::<Verify>(params), output).await?;
    if output.json {
        output.value(
            &json!({"event": "done", "model": model, "ok": verified.ok, "bad_files": verified.bad_files}),
        )?;
    } else if verified.ok {
        output.line(&format!("{model} is whole: every hash is right."))?;
    }
    if verified.ok {
        return Ok(());
    }
    let files = verified.bad_files.join(", ");
    Err(Failure::new(
        ErrorCode::ModelInvalid,
        format!("Missing or wrong in {model}: {files}."),
    )
    .hint(format!("Get them again with: hearth models pull {model}")))
}

async fn remove(session: &Session, model: String, yes: bool, output: &Output) -> Result<(), Failure> {
    let listed = session.client.call::<List>(Empty {}).await?;
    let found = listed.models.iter().find(|known| known.id == model);
    let size = found
        .map(|found| format!(" ({})", text::size(found.size_bytes)))
        .unwrap_or_default();
    let again = if found.is_some_and(|found| found.imported) {
        ""
    } else {
        " It can be downloaded again."
    };
    confirm(output, yes, &format!("Delete the files of {model}{size}?{again}"))?;
    session
        .client
        .call::<Remove>(ModelParams { model: model.clone() })
        .await?;
    if output.json {
        return output.value(&json!({"removed": model}));
    }
    output.line(&format!("Removed {model}."))
}

async fn import(session: &Session, params: ImportParams, output: &Output) -> Result<(), Failure> {
    let model = pull::run(session.client.stream::<Import>(params), output).await?;
    if output.json {
        return output.value(&json!({"event": "done", "model": model}));
    }
    output.line(&pull::ready_line(&model))?;
    output.aside(&format!("Use it with: hearth models use {}", model.id));
    Ok(())
}

async fn choose(session: &Session, model: String, output: &Output) -> Result<(), Failure> {
    let model = session.client.call::<Use>(ModelParams { model }).await?;
    if output.json {
        return output.value(&model);
    }
    output.line(&format!("{} is now used when no model is named.", model.id))?;
    if model.state != ModelState::Ready {
        output.note(&format!(
            "It isn't on this machine yet. Download it with: hearth models pull {}",
            model.id
        ));
    }
    Ok(())
}
