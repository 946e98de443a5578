//! Engines to test: a home of their own, a model, and a client of either kind.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hearth_api::methods::Method;
use hearth_api::methods::chat::{ChatEvent, SendParams};
use hearth_api::types::{ChatId, Message};
use hearth_api::{ApiError, Call, Client, ErrorCode, ServeOptions, Update, serve_local};
use hearth_core::host::port::ModelLoader;
use hearth_core::models::{Catalogue, Installed, InstalledFile, Manifest};
use hearth_core::{Engine, EngineOptions, Unlock};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::fake::FakeLoader;

/// How long a test waits for what should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const CHAT_MODEL: &str = "smollm2-135m-instruct-q4_1";
pub const EMBEDDING_MODEL: &str = "all-minilm-l6-v2";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    InProcess,
    Socket,
}

/// Runs a scenario over both kinds of client.
macro_rules! both {
    ($($(#[$attribute:meta])* async fn $name:ident($via:ident: Via) $body:block)*) => {$(
        mod $name {
            use super::*;
            async fn scenario($via: Via) $body
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_process() {
                scenario(Via::InProcess).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_the_socket() {
                scenario(Via::Socket).await;
            }
        }
    )*};
}
pub(crate) use both;

pub struct Bench {
    pub dir: TempDir,
    pub engine: Engine,
    pub client: Client,
    pub fake: FakeLoader,
    pub served: Option<JoinHandle<Result<(), ApiError>>>,
}

pub fn home_of(dir: &Path) -> PathBuf {
    dir.join("home")
}

pub fn options(dir: &Path, loader: Arc<dyn ModelLoader>) -> EngineOptions {
    let mut options = EngineOptions::new(home_of(dir), Unlock::with_key_file(dir.join("key")));
    options.models_dir = dir.join("models");
    options.model_profile = Some(hearth_api::types::ModelProfile::Small);
    options.loader = loader;
    // Work on memory is asked for where a test is about it.
    options.idle_pause = None;
    options
}

/// Starts serving and waits until clients can attach.
pub async fn serve(engine: &Engine, options: ServeOptions) -> JoinHandle<Result<(), ApiError>> {
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let engine = engine.clone();
    let served = tokio::spawn(async move {
        serve_local(engine, options, move || {
            let _ = ready.send(());
        })
        .await
    });
    is_ready.await.unwrap();
    served
}

pub async fn client_of(engine: &Engine, via: Via) -> (Client, Option<JoinHandle<Result<(), ApiError>>>) {
    match via {
        Via::InProcess => (Client::in_process(engine.clone()), None),
        Via::Socket => {
            let served = serve(engine, ServeOptions::default()).await;
            (Client::attach(engine.home()).await.unwrap(), Some(served))
        }
    }
}

impl Bench {
    /// An engine with a fake model whose window has so many words.
    pub async fn with_window(via: Via, window: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = FakeLoader::new(window);
        install(&dir.path().join("models"), CHAT_MODEL, None);
        let engine = Engine::open(options(dir.path(), Arc::new(fake.clone())))
            .await
            .unwrap();
        let (client, served) = client_of(&engine, via).await;
        Self {
            dir,
            engine,
            client,
            fake,
            served,
        }
    }

    pub async fn new(via: Via) -> Self {
        Self::with_window(via, 1000).await
    }

    pub async fn stop(self) -> TempDir {
        self.engine.stop().await;
        if let Some(served) = self.served {
            served.await.unwrap().unwrap();
        }
        self.dir
    }

    pub async fn call<M: Method>(&self, params: M::Params) -> Result<M::Output, ApiError> {
        self.client.call::<M>(params).await
    }

    /// Says something and waits for the answer.
    pub async fn say(&self, chat: Option<ChatId>, text: &str) -> Result<Message, ApiError> {
        let params = SendParams {
            chat,
            text: text.into(),
            ..SendParams::default()
        };
        Ok(self
            .call::<hearth_api::methods::chat::Send>(params)
            .await?
            .message)
    }
}

/// The events of a call up to the first that `wanted` accepts.
pub async fn until<M: Method<Event = ChatEvent>>(
    call: &mut Call<M>,
    wanted: fn(&ChatEvent) -> bool,
) -> ChatEvent {
    loop {
        match call.next().await {
            Some(Update::Event(event)) if wanted(&event) => return event,
            Some(Update::Event(_)) => {}
            _ => panic!("the call ended before the event came"),
        }
    }
}

pub fn is_token(event: &ChatEvent) -> bool {
    matches!(event, ChatEvent::Token { .. })
}

pub fn is_started(event: &ChatEvent) -> bool {
    matches!(event, ChatEvent::Started { .. })
}

#[track_caller]
pub fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> ErrorCode {
    result.unwrap_err().code
}

/// Puts a model there as if it had been pulled: the files of `from`, or empty ones of the right size.
pub fn install(models_dir: &Path, id: &str, from: Option<&Path>) {
    let manifest = Catalogue::embedded().get(id).unwrap().clone();
    install_as(models_dir, id, from, manifest);
}

/// Puts a model there that the catalogue doesn't have: another's empty files under a name of its own.
pub fn install_copy(models_dir: &Path, of: &str, id: &str) {
    let mut manifest = Catalogue::embedded().get(of).unwrap().clone();
    manifest.id = id.into();
    install_as(models_dir, id, None, manifest);
}

fn install_as(models_dir: &Path, id: &str, from: Option<&Path>, manifest: Manifest) {
    let folder = models_dir.join(id);
    std::fs::create_dir_all(&folder).unwrap();
    for file in &manifest.files {
        let to = folder.join(&file.name);
        match from {
            Some(from) => {
                let real = from.join(id).join(&file.name).canonicalize();
                let real =
                    real.unwrap_or_else(|_| panic!("{id} is missing: `make models` fetches test models"));
                std::fs::hard_link(&real, &to)
                    .or_else(|_| std::fs::copy(&real, &to).map(|_| ()))
                    .unwrap();
            }
            None => std::fs::File::create(&to).unwrap().set_len(file.size).unwrap(),
        }
    }
    let files = manifest.files.iter().map(|file| InstalledFile {
        name: file.name.clone(),
        size: file.size,
        sha256: file.sha256.unwrap(),
    });
    let installed = Installed {
        schema: 1,
        files: files.collect(),
        manifest,
        source: "test".into(),
        revision: None,
        damaged: None,
    };
    std::fs::write(
        folder.join("manifest.json"),
        serde_json::to_vec(&installed).unwrap(),
    )
    .unwrap();
}
