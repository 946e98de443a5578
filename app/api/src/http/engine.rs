//! The way from a request to the engine, found again when the engine was restarted.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::methods::Method;
use crate::{ApiError, Call, Client, ErrorCode, Update};

use super::error::HttpError;

/// Reaches an engine, starting one when none runs. Called at first use and again when the connection is found broken.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Client, ApiError>> + Send + Sync>;

/// The engine behind the server.
pub(super) struct Engine {
    connect: Connect,
    client: Mutex<Option<Client>>,
}

impl Engine {
    pub(super) fn new(connect: Connect) -> Self {
        Self {
            connect,
            client: Mutex::new(None),
        }
    }

    /// Begins a call and waits until `begun` finds the update that shows it was accepted, or its end.
    ///
    /// When the engine turns out to be gone before that, it is reached anew and asked again, once.
    pub(super) async fn begin<M: Method, T>(
        &self,
        params: M::Params,
        mut begun: impl FnMut(Update<M>) -> Option<Result<T, ApiError>>,
    ) -> Result<(T, Call<M>), ApiError>
    where
        M::Params: Clone,
    {
        let mut again = true;
        loop {
            let mut call = self.client().await?.stream::<M>(params.clone());
            let found = loop {
                let Some(update) = call.next().await else {
                    break Err(gone());
                };
                if let Some(found) = begun(update) {
                    break found;
                }
            };
            match found {
                Err(error) if error.code == ErrorCode::Disconnected && again => {
                    again = false;
                    *self.client.lock().await = None;
                }
                found => return found.map(|found| (found, call)),
            }
        }
    }

    /// Calls and waits for the output.
    pub(super) async fn call<M: Method>(&self, params: M::Params) -> Result<M::Output, ApiError>
    where
        M::Params: Clone,
    {
        let done = |update| match update {
            Update::Done(output) => Some(output),
            Update::Event(_) => None,
        };
        self.begin::<M, _>(params, done).await.map(|(output, _)| output)
    }

    async fn client(&self) -> Result<Client, ApiError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        let client = (self.connect)().await?;
        *slot = Some(client.clone());
        Ok(client)
    }
}

fn gone() -> ApiError {
    ApiError::new(
        ErrorCode::Disconnected,
        "the engine ended or the connection to it broke",
    )
}

impl From<ApiError> for HttpError {
    fn from(error: ApiError) -> Self {
        let message = match &error.hint {
            Some(hint) => format!("{}; {hint}", error.message),
            None => error.message.clone(),
        };
        match error.code {
            ErrorCode::InvalidRequest => HttpError::invalid(message).with_code("invalid_value"),
            ErrorCode::Unsupported => HttpError::invalid(message).with_code("unsupported"),
            ErrorCode::ContextTooLarge => HttpError::invalid(message)
                .with_code("context_length_exceeded")
                .with_param("messages"),
            ErrorCode::TooLarge => HttpError::invalid(message).with_code("request_too_large"),
            ErrorCode::NotFound => HttpError::not_found("not_found", message),
            ErrorCode::ModelMissing => HttpError::not_found("model_not_found", message).with_param("model"),
            ErrorCode::ModelDoesNotFit => HttpError::unavailable("model_does_not_fit", message),
            ErrorCode::ModelInvalid => HttpError::unavailable("model_invalid", message),
            ErrorCode::Busy => HttpError::busy(message),
            ErrorCode::Cancelled => HttpError::unavailable("cancelled", message),
            ErrorCode::Disconnected | ErrorCode::Locked | ErrorCode::WrongKey | ErrorCode::ProfileInUse => {
                HttpError::unavailable("engine_unavailable", message)
            }
            _ => HttpError::internal(message),
        }
    }
}
