//! The thread that owns the database; the asynchronous side sends it closures and awaits their results.

use std::sync::mpsc;
use std::thread::JoinHandle;

use hearth_store::{Store, StoreError};
use tokio::sync::oneshot;

use crate::error::EngineError;

type Job = Box<dyn FnOnce(&mut Option<Store>) + Send>;

/// A handle to the thread; the thread ends, and the database closes, with the last one.
#[derive(Clone)]
pub(crate) struct StoreThread {
    jobs: mpsc::Sender<Job>,
}

impl StoreThread {
    /// Opens a database on a thread of its own.
    pub(crate) async fn start(
        open: impl FnOnce() -> Result<Store, EngineError> + Send + 'static,
    ) -> Result<(Self, JoinHandle<()>), EngineError> {
        let (jobs, to_do) = mpsc::channel::<Job>();
        let (opened, is_open) = oneshot::channel();
        let work = move || {
            let mut store = match open() {
                Ok(store) => Some(store),
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok(()));
            while let Ok(job) = to_do.recv() {
                job(&mut store);
            }
        };
        let thread = std::thread::Builder::new()
            .name("hearth-store".into())
            .spawn(work)
            .map_err(|error| EngineError::Internal(format!("no thread for the database: {error}")))?;
        is_open
            .await
            .map_err(|_| EngineError::Internal("opening the database panicked".into()))??;
        Ok((Self { jobs }, thread))
    }

    /// Runs `work` on the database, after everything that was asked for before. Once asked for it is done, even when
    /// nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.run_on_place(move |place| match place {
            Some(store) => work(store).map_err(EngineError::from),
            None => Err(EngineError::Stopped),
        })
        .await
    }

    /// Runs `work` on the place where the open database is, to close or to replace it.
    pub(crate) async fn run_on_place<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Option<Store>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |place| {
            let _ = answer.send(work(place));
        });
        self.jobs.send(job).map_err(|_| EngineError::Stopped)?;
        answered.await.map_err(|_| EngineError::Stopped)?
    }
}
