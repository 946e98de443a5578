//! `/v1/chat/completions`: the answer in one piece, or as server-sent events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hearth_core::types::{Completion, FinishReason, Usage};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::methods::generate::{Complete, CompleteEvent};
use crate::{ApiError, Call, ErrorCode, Update};

use super::chat_request::ChatRequest;
use super::error::HttpError;
use super::routes::App;

/// Events waiting for a slow reader; beyond them the engine's events wait in the call.
const WAITING_EVENTS: usize = 64;

/// Answers one request; `slot` is held until the answer's end.
pub(super) async fn complete(
    app: &App,
    body: &[u8],
    slot: OwnedSemaphorePermit,
) -> Result<Response, HttpError> {
    let request = ChatRequest::parse(body)?;
    if !request.stream {
        let completion = app.engine.call::<Complete>(request.params).await?;
        return Ok(Json(completion_object(&completion)?).into_response());
    }
    // Waiting for acceptance lets refusals have a status of their own.
    let (model, call) = app.engine.begin::<Complete, _>(request.params, accepted).await?;
    let (events, receiver) = mpsc::channel(WAITING_EVENTS);
    let head = Head {
        id: random_id("chatcmpl-"),
        created: now_seconds(),
        model,
    };
    let patience = app.options.limits.write_patience;
    let stream = Stream {
        head,
        include_usage: request.include_usage,
        events,
        patience,
        _slot: slot,
    };
    tokio::spawn(stream.run(call));
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(receiver)));
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn accepted(update: Update<Complete>) -> Option<Result<String, ApiError>> {
    match update {
        Update::Event(CompleteEvent::Started { model, .. }) => Some(Ok(model)),
        Update::Event(_) => None,
        Update::Done(Err(error)) => Some(Err(error)),
        Update::Done(Ok(_)) => Some(Err(ApiError::new(
            ErrorCode::Internal,
            "the answer ended before it began",
        ))),
    }
}

/// What all chunks of one answer share.
struct Head {
    id: String,
    created: u64,
    model: String,
}

/// A streamed answer on its way. Dropping the call cancels the generation.
struct Stream {
    head: Head,
    include_usage: bool,
    events: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    patience: Duration,
    _slot: OwnedSemaphorePermit,
}

/// The client is gone, or hasn't read for too long.
struct Gone;

impl Stream {
    async fn run(self, mut call: Call<Complete>) {
        if self.forward(&mut call).await.is_err() {
            tracing::info!("http client went away, answer cancelled");
        }
    }

    async fn forward(&self, call: &mut Call<Complete>) -> Result<(), Gone> {
        self.delta(&json!({"role": "assistant", "content": ""})).await?;
        let output = loop {
            let update = tokio::select! {
                () = self.events.closed() => return Err(Gone),
                update = call.next() => update,
            };
            match update {
                Some(Update::Event(CompleteEvent::Token { text })) => {
                    self.delta(&json!({"content": text})).await?;
                }
                Some(Update::Event(CompleteEvent::Reasoning { text })) => {
                    self.delta(&json!({"reasoning_content": text})).await?;
                }
                Some(Update::Event(_)) => {}
                Some(Update::Done(output)) => break output,
                None => break Err(ApiError::new(ErrorCode::Disconnected, "the engine ended")),
            }
        };
        match output
            .map_err(HttpError::from)
            .and_then(|done| Ok((finish_reason(&done)?, done)))
        {
            Ok((reason, done)) => self.end(reason, &done).await?,
            Err(error) => self.send(&error.body()).await?,
        }
        self.send_text("data: [DONE]\n\n".to_owned()).await
    }

    async fn end(&self, reason: &str, done: &Completion) -> Result<(), Gone> {
        let choice = json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason});
        let mut last = self.chunk(&json!([choice]));
        last["hearth"] = extras(done);
        self.send(&last).await?;
        if self.include_usage {
            let mut chunk = self.chunk(&json!([]));
            chunk["usage"] = usage_object(&done.usage);
            self.send(&chunk).await?;
        }
        Ok(())
    }

    async fn delta(&self, delta: &Value) -> Result<(), Gone> {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
        self.send(&self.chunk(&json!([choice]))).await
    }

    fn chunk(&self, choices: &Value) -> Value {
        let mut chunk = json!({
            "id": self.head.id, "object": "chat.completion.chunk", "created": self.head.created,
            "model": self.head.model, "system_fingerprint": fingerprint(), "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    async fn send(&self, value: &Value) -> Result<(), Gone> {
        self.send_text(format!("data: {value}\n\n")).await
    }

    async fn send_text(&self, text: String) -> Result<(), Gone> {
        self.events
            .send_timeout(Ok(Bytes::from(text)), self.patience)
            .await
            .map_err(|_| Gone)
    }
}

fn completion_object(done: &Completion) -> Result<Value, HttpError> {
    let mut message = json!({"role": "assistant", "content": done.text, "refusal": null});
    if let Some(reasoning) = &done.reasoning {
        message["reasoning_content"] = json!(reasoning);
    }
    let choice =
        json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(done)?});
    Ok(json!({
        "id": random_id("chatcmpl-"), "object": "chat.completion", "created": now_seconds(), "model": done.model,
        "system_fingerprint": fingerprint(), "choices": [choice], "usage": usage_object(&done.usage),
        "hearth": extras(done),
    }))
}

/// What OpenAI's shape has no place for: where the time went and how the prompt filled the window.
fn extras(done: &Completion) -> Value {
    json!({"timings": done.timings, "context": done.context})
}

fn finish_reason(done: &Completion) -> Result<&'static str, HttpError> {
    match done.finish_reason {
        FinishReason::Stop => Ok("stop"),
        FinishReason::Length => Ok("length"),
        FinishReason::Cancelled => Err(HttpError::unavailable(
            "cancelled",
            "The answer was stopped before its end.",
        )),
    }
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.reused_tokens},
    })
}

fn fingerprint() -> &'static str {
    concat!("hearth-", env!("CARGO_PKG_VERSION"))
}

/// `prefix` and 128 random bits in hexadecimal; zeros should the system have none, which doesn't happen in practice.
pub(super) fn random_id(prefix: &str) -> String {
    let mut random = [0_u8; 16];
    let _ = getrandom::fill(&mut random);
    format!("{prefix}{:032x}", u128::from_le_bytes(random))
}

fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
