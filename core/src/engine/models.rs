//! Models: listing, pulling, checking, choosing.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Engine, Result, convert};
use crate::error::EngineError;
use crate::models::{self, ImportMode, ModelEntry, PullEvent, PullOptions, Task};
use crate::types::{
    EngineEvent, ModelState, ModelSummary, ModelTask, PullPhase, PullProgress, SettingsChange,
};

impl Engine {
    /// The catalogue and imported models.
    pub async fn list_models(&self) -> Result<Vec<ModelSummary>> {
        let models = self.inner.models.clone();
        let entries = tokio::task::spawn_blocking(move || models.list())
            .await
            .map_err(panicked)??;
        Ok(entries.into_iter().map(|entry| self.summary(entry)).collect())
    }

    /// Downloads models and checks them; the profile's when none is named. Progress that the receiver has no room for
    /// is dropped.
    pub async fn pull_models(
        &self,
        ids: Vec<String>,
        events: mpsc::Sender<PullProgress>,
        cancel: CancellationToken,
    ) -> Result<Vec<ModelSummary>> {
        self.work(cancel, move |engine, cancel| async move {
            let models = &engine.inner.models;
            let options = PullOptions {
                cancel,
                ..PullOptions::default()
            };
            let mut progress = ProgressTeller::new(events);
            let mut pulled = Vec::new();
            if ids.is_empty() {
                let plan = models.plan(engine.profile());
                let plan = models
                    .pull_plan(&plan, &options, &mut |event| progress.tell(event))
                    .await?;
                pulled.extend(plan.models.into_iter().map(|installed| installed.manifest.id));
            }
            for id in ids {
                models
                    .pull(&id, &options, &mut |event| progress.tell(event))
                    .await?;
                pulled.push(id);
            }
            engine.tell(EngineEvent::ModelsChanged);
            pulled
                .iter()
                .map(|id| Ok(engine.summary(models.entry(id)?)))
                .collect()
        })
        .await
    }

    /// Names of a model's files that are missing or wrong.
    pub async fn verify_model(
        &self,
        id: String,
        events: mpsc::Sender<PullProgress>,
        cancel: CancellationToken,
    ) -> Result<Vec<String>> {
        self.work(cancel, move |engine, cancel| async move {
            let mut progress = ProgressTeller::new(events);
            let report = engine
                .inner
                .models
                .verify(&id, &cancel, &mut |event| progress.tell(event))
                .await?;
            engine.tell(EngineEvent::ModelsChanged);
            let bad = report
                .files
                .into_iter()
                .filter(|file| !file.ok)
                .map(|file| file.name);
            Ok(bad.collect())
        })
        .await
    }

    /// Deletes a model's files, after freeing its memory.
    pub async fn remove_model(&self, id: String) -> Result<()> {
        self.inner.host.unload(&id).await;
        let models = self.inner.models.clone();
        tokio::task::spawn_blocking(move || models.remove(&id, false, false))
            .await
            .map_err(panicked)??;
        self.tell(EngineEvent::ModelsChanged);
        Ok(())
    }

    /// Brings in a GGUF file by copying it. Its identifier is made from the file's name.
    pub async fn import_model(
        &self,
        path: PathBuf,
        events: mpsc::Sender<PullProgress>,
        cancel: CancellationToken,
    ) -> Result<ModelSummary> {
        if !path.is_absolute() {
            return Err(EngineError::InvalidRequest("the path must be absolute".into()));
        }
        self.work(cancel, move |engine, cancel| async move {
            let models = &engine.inner.models;
            let mut progress = ProgressTeller::new(events);
            let imported = models
                .import(&path, ImportMode::Copy, &cancel, &mut |event| {
                    progress.tell(event);
                })
                .await?;
            engine.tell(EngineEvent::ModelsChanged);
            Ok(engine.summary(models.entry(&imported.installed.manifest.id)?))
        })
        .await
    }

    /// Makes a model the one used when none is named.
    pub async fn use_model(&self, id: String) -> Result<ModelSummary> {
        let change = match self.inner.models.ready(&id)?.manifest.task {
            Task::Chat => SettingsChange {
                chat_model: Some(id.clone()),
                ..SettingsChange::default()
            },
            Task::Embedding => SettingsChange {
                embedding_model: Some(id.clone()),
                ..SettingsChange::default()
            },
            _ => {
                return Err(EngineError::InvalidRequest(format!(
                    "{id} neither answers nor embeds"
                )));
            }
        };
        self.change_settings(change).await?;
        self.tell(EngineEvent::ModelsChanged);
        Ok(self.summary(self.inner.models.entry(&id)?))
    }

    /// Frees the memory of a model, after the answers it is writing.
    pub async fn unload_model(&self, id: String) -> Result<()> {
        self.inner.models.manifest(&id)?;
        if self.inner.host.unload(&id).await {
            self.tell(EngineEvent::ModelsChanged);
        }
        Ok(())
    }

    fn summary(&self, entry: ModelEntry) -> ModelSummary {
        let settings = self.settings();
        let manifest = entry.manifest;
        let task = convert::task(manifest.task);
        let default = match task {
            ModelTask::Chat => self.wanted_chat_model(None).ok().map(|wanted| wanted.id),
            ModelTask::Embedding => {
                let preferred = settings.embedding_model.as_deref();
                let found =
                    self.inner
                        .models
                        .resolve_default(Task::Embedding, self.profile().profile, preferred);
                found.ok().map(|installed| installed.manifest.id)
            }
            _ => None,
        };
        let state = match entry.state {
            models::ModelState::Ready => ModelState::Ready,
            models::ModelState::Absent => ModelState::Absent,
            models::ModelState::Corrupt { .. } => ModelState::Damaged,
            models::ModelState::Unverified => ModelState::Unverified,
            models::ModelState::Partial { .. } => ModelState::Partial {
                done_bytes: entry.disk_bytes,
            },
        };
        let proposed = models::Profile::ALL.into_iter().find(|profile| {
            profile.model_ids().contains(&manifest.id.as_str())
                || profile.chat_models().contains(&manifest.id.as_str())
        });
        ModelSummary {
            loaded: self
                .inner
                .host
                .loaded()
                .iter()
                .any(|model| model.id == manifest.id),
            default: default.as_deref() == Some(manifest.id.as_str()),
            fits: self
                .memory_limit_bytes()
                .is_none_or(|limit| manifest.memory_bytes <= limit),
            size_bytes: manifest.size_bytes(),
            context_length: (manifest.context_length > 0).then_some(manifest.context_length),
            profile: proposed.map(|profile| profile.as_str().to_owned()),
            id: manifest.id,
            name: manifest.name,
            task,
            architecture: manifest.architecture,
            memory_bytes: manifest.memory_bytes,
            license: manifest.licence,
            state,
            imported: entry.imported,
        }
    }
}

fn panicked(_: tokio::task::JoinError) -> EngineError {
    EngineError::Internal("work on models panicked".into())
}

/// Turns what a pull tells into what faces show.
struct ProgressTeller {
    events: mpsc::Sender<PullProgress>,
    latest: PullProgress,
}

impl ProgressTeller {
    fn new(events: mpsc::Sender<PullProgress>) -> Self {
        let latest = PullProgress {
            model: String::new(),
            phase: PullPhase::Preparing,
            file: None,
            done_bytes: 0,
            total_bytes: 0,
            bytes_per_second: None,
            seconds_left: None,
            source: None,
            note: None,
        };
        Self { events, latest }
    }

    fn tell(&mut self, event: PullEvent) {
        let latest = &mut self.latest;
        latest.note = None;
        match event {
            PullEvent::Waiting { id } => {
                latest.model = id;
                latest.phase = PullPhase::Preparing;
                latest.note = Some("another process is working on this model".into());
            }
            PullEvent::Source { id, source } => {
                latest.model = id;
                latest.phase = PullPhase::Preparing;
                latest.source = Some(source);
            }
            PullEvent::Progress(progress) => {
                latest.model = progress.id;
                latest.phase = match progress.phase {
                    models::PullPhase::Checking | models::PullPhase::Joining => PullPhase::Verifying,
                    models::PullPhase::Downloading => PullPhase::Downloading,
                };
                latest.file = Some(progress.file);
                latest.done_bytes = progress.bytes;
                latest.total_bytes = progress.total_bytes;
                latest.bytes_per_second = progress.bytes_per_second;
                latest.seconds_left = progress.remaining_seconds;
            }
            PullEvent::Retrying { id, reason, .. } | PullEvent::Restarted { id, reason } => {
                latest.model = id;
                latest.note = Some(reason);
            }
            PullEvent::SourceFailed { id, failure } => {
                latest.model = id;
                latest.note = Some(format!("{}: {}", failure.source, failure.reason));
            }
            PullEvent::FellBack { reason, .. } => latest.note = Some(reason),
            PullEvent::Ready { id, .. } => {
                latest.model = id;
                latest.done_bytes = latest.total_bytes;
            }
        }
        let _ = self.events.try_send(latest.clone());
    }
}
