//! The thread that owns the database; the asynchronous side sends it closures and awaits their results.

use std::panic::AssertUnwindSafe;
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
            // What panics over one text must not take the database from everyone: its transaction is undone.
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(place)));
            let panicked = |_| Err(EngineError::Internal("work on the database panicked".into()));
            let _ = answer.send(done.unwrap_or_else(panicked));
        });
        self.jobs.send(job).map_err(|_| EngineError::Stopped)?;
        answered.await.map_err(|_| EngineError::Stopped)?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hearth_store::Protection;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_undone_and_the_next_is_done() {
        let home = tempfile::tempdir().unwrap();
        let (path, protection) = (
            home.path().join("home"),
            Protection::KeyFile(home.path().join("key")),
        );
        std::fs::create_dir(&path).unwrap();
        let (thread, _) = StoreThread::start(move || Ok(Store::create(&path, &protection)?))
            .await
            .unwrap();
        let broken = thread.run(|store| -> Result<(), StoreError> {
            store.set_setting("a", &json!(1))?;
            panic!("on purpose");
        });
        assert!(matches!(broken.await, Err(EngineError::Internal(_))));
        let kept = thread.run(|store| store.get_setting("a")).await.unwrap();
        assert_eq!(kept, Some(json!(1)));
    }
}
