//! Addresses and what answers them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use hearth_core::types::{ModelState, ModelSummary, ModelTask};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::methods::{Empty, engine::GetStatus, generate, models};

use super::chat;
use super::embeddings_request::{EmbeddingsRequest, response};
use super::engine::Engine;
use super::error::HttpError;
use super::guard::{check_origin, check_token};
use super::memory;
use super::server::HttpOptions;

/// How long `/health` waits for the engine.
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

/// What every request needs.
pub(super) struct App {
    pub(super) engine: Engine,
    pub(super) options: HttpOptions,
    slots: Arc<Semaphore>,
}

impl App {
    pub(super) fn new(engine: Engine, options: HttpOptions) -> Self {
        let slots = Arc::new(Semaphore::new(options.limits.requests));
        Self {
            engine,
            options,
            slots,
        }
    }

    /// A place among the requests being worked on, or 503.
    pub(super) fn slot(&self) -> Result<OwnedSemaphorePermit, HttpError> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            let message = "Too many requests are being answered at once. Try again in a few seconds.";
            HttpError::busy(message)
        })
    }
}

/// The whole surface.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*id}", get(one_model))
        .route("/v1/chat/completions", post(completions))
        .route("/v1/embeddings", post(embeddings))
        .merge(memory::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Checks who asks, before the body is read; logs address and status, never content.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let checked = check_origin(request.headers(), request.uri(), &app.options.hosts).and_then(|()| {
        let open = path == "/health";
        if open {
            Ok(())
        } else {
            check_token(request.headers(), &app.options.token)
        }
    });
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if let Ok(id) = HeaderValue::from_str(&chat::random_id("req_")) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = response.status().as_u16();
    tracing::info!(%method, path = known_path(&path), status, ms = begun.elapsed().as_millis() as u64, "http");
    response
}

/// Unknown addresses are not logged: they are someone else's text.
fn known_path(path: &str) -> &str {
    let known = [
        "/health",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/memory",
        "/recall",
    ];
    known
        .into_iter()
        .find(|known| path.starts_with(known))
        .unwrap_or("(unknown)")
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let status = app.engine.call::<GetStatus>(Empty {});
    match tokio::time::timeout(HEALTH_PATIENCE, status).await {
        Ok(Ok(_)) => Json(json!({"status": "ok"})).into_response(),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "engine unavailable"})),
        )
            .into_response(),
    }
}

async fn list_models(State(app): State<Arc<App>>) -> Result<Json<Value>, HttpError> {
    let ready: Vec<Value> = ready_models(&app).await?.iter().map(model_object).collect();
    Ok(Json(json!({"object": "list", "data": ready})))
}

async fn one_model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, HttpError> {
    let models = ready_models(&app).await?;
    let Some(model) = models.iter().find(|model| model.id == id) else {
        let message = "No model of this name is here. GET /v1/models lists those that are.";
        return Err(HttpError::not_found("model_not_found", message).with_param("model"));
    };
    Ok(Json(model_object(model)))
}

/// Models whose files are here and which this surface can use.
async fn ready_models(app: &App) -> Result<Vec<ModelSummary>, HttpError> {
    let listed = app.engine.call::<models::List>(Empty {}).await?;
    let usable = |model: &ModelSummary| {
        model.state == ModelState::Ready && matches!(model.task, ModelTask::Chat | ModelTask::Embedding)
    };
    Ok(listed.models.into_iter().filter(usable).collect())
}

fn model_object(model: &ModelSummary) -> Value {
    let details = json!({
        "name": model.name, "task": model.task, "context_length": model.context_length,
        "default": model.default, "loaded": model.loaded, "license": model.license,
    });
    json!({"id": model.id, "object": "model", "created": 0, "owned_by": "hearth", "hearth": details})
}

async fn completions(State(app): State<Arc<App>>, body: Body) -> Result<Response, HttpError> {
    let (body, slot) = admit(&app, body).await?;
    chat::complete(&app, &body, slot).await
}

async fn embeddings(State(app): State<Arc<App>>, body: Body) -> Result<Json<Value>, HttpError> {
    let (body, _slot) = admit(&app, body).await?;
    let request = EmbeddingsRequest::parse(&body)?;
    let params = generate::EmbedParams {
        input: request.input,
        model: request.model,
    };
    let made = app
        .engine
        .call::<generate::Embed>(params)
        .await
        .map_err(|error| {
            let mut error = HttpError::from(error);
            if error.code.as_deref() == Some("context_length_exceeded") {
                error.param = Some("input".to_owned());
            }
            error
        })?;
    if let Some(wanted) = request.dimensions.filter(|wanted| *wanted != made.dimensions) {
        let text = format!(
            "The model's vectors have {} dimensions, not {wanted}; they can't be shortened.",
            made.dimensions
        );
        return Err(HttpError::unsupported("dimensions", text));
    }
    Ok(Json(response(
        &made.model,
        &made.vectors,
        request.base64,
        made.tokens,
    )))
}

/// A place for the request and then its body: what bodies take in memory is limited by the number of places.
///
/// Without a place the body is thrown away as it comes.
pub(super) async fn admit(app: &App, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), HttpError> {
    match app.slot() {
        Ok(slot) => Ok((read_body(app, body, app.options.limits.body_bytes).await?, slot)),
        Err(busy) => {
            let _ = read_body(app, body, 0).await;
            Err(busy)
        }
    }
}

/// The whole body, within the limits of time and of size, `keep` bytes.
///
/// A body somewhat too large is read to its end and thrown away, so that the client sees the answer and not a broken
/// connection.
async fn read_body(app: &App, body: Body, keep: usize) -> Result<Bytes, HttpError> {
    let limits = &app.options.limits;
    let limit = limits.body_bytes;
    let bounds = http_body::Body::size_hint(&body);
    if bounds.lower() > 8 * limit as u64 {
        return Err(HttpError::too_large(limit));
    }
    let reading = async {
        let (mut whole, mut read) = (Vec::new(), 0_usize);
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| HttpError::invalid("The request body ended early."))?;
            read += chunk.len();
            if read > 8 * limit {
                break;
            }
            if read <= keep {
                whole.extend_from_slice(&chunk);
            } else {
                whole = Vec::new();
            }
        }
        if read > keep {
            Err(HttpError::too_large(limit))
        } else {
            Ok(Bytes::from(whole))
        }
    };
    let late = || HttpError::timeout("The request body did not arrive in time.");
    tokio::time::timeout(limits.body_patience, reading)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn unknown(request: Request) -> HttpError {
    HttpError::not_found(
        "unknown_url",
        format!(
            "Unknown request URL: {} {}.",
            request.method(),
            request.uri().path()
        ),
    )
}

async fn wrong_method(request: Request) -> HttpError {
    let (method, path) = (request.method(), request.uri().path());
    HttpError::method_not_allowed(format!("Not allowed to {method} on {path}."))
}
