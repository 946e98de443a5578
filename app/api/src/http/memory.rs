//! `/memory…` and `/recall`: the methods of the same names, with the same parameters and outputs.
//!
//! Every `memory.NAME` is `POST /memory/NAME` with its parameters as the body; `recall` is `POST /recall`. What is read
//! often has a shorter way: `GET /memory`, `GET /memory/ID`, `GET /memory/receipts`, `GET /memory/receipts/ID`, and `GET`
//! for what takes no parameters.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use hearth_core::types::{EraseParams, EraseReceiptsParams, MemoryEdit, MemoryId, MemoryListParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::HttpError;
use super::fields::wrong_type;
use super::routes::{App, admit};
use crate::methods::chats::{ExportEvent, ImportSource};
use crate::methods::memory::{self, MemoryParams, ReceiptParams};
use crate::methods::{Empty, Method};
use crate::{ErrorCode, Update};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/memory", get(list).post(call::<memory::Add>))
        .route("/memory/add", post(call::<memory::Add>))
        .route("/memory/list", get(list).post(call::<memory::List>))
        .route("/memory/show", post(call::<memory::Show>))
        .route("/memory/search", post(call::<memory::Search>))
        .route("/memory/edit", post(call::<memory::Edit>))
        .route("/memory/confirm", post(call::<memory::Confirm>))
        .route("/memory/pin", post(call::<memory::Pin>))
        .route("/memory/erase_preview", post(call::<memory::PreviewErase>))
        .route("/memory/erase", post(erase))
        .route("/memory/receipts", get(receipts).post(call::<memory::Receipts>))
        .route("/memory/receipts/{id}", get(receipt))
        .route("/memory/receipt", post(call::<memory::Receipt>))
        .route("/memory/export", get(export).post(export))
        .route("/memory/import", post(import))
        .route("/memory/pause", post(call::<memory::Pause>))
        .route("/memory/resume", post(call::<memory::Resume>))
        .route(
            "/memory/stats",
            get(plain::<memory::Stats>).post(call::<memory::Stats>),
        )
        .route("/memory/bio", get(plain::<memory::Bio>).post(call::<memory::Bio>))
        .route("/memory/review", post(call::<memory::Review>))
        .route("/memory/work", post(call::<memory::Work>))
        .route("/memory/{id}", get(show).merge(patch(edit)))
        .route("/recall", post(call::<memory::Recall>))
}

/// A method with its parameters as the body; no body means none.
async fn call<M: Method>(State(app): State<Arc<App>>, body: Body) -> Result<Json<M::Output>, HttpError>
where
    M::Params: Clone,
{
    let (body, _slot) = admit(&app, body).await?;
    let params = params::<M>(&body)?;
    Ok(Json(app.engine.call::<M>(params).await?))
}

/// A method without parameters.
async fn plain<M: Method<Params = Empty>>(State(app): State<Arc<App>>) -> Result<Json<M::Output>, HttpError> {
    let _slot = app.slot()?;
    Ok(Json(app.engine.call::<M>(Empty {}).await?))
}

async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<impl Serialize>, HttpError> {
    let _slot = app.slot()?;
    let params: MemoryListParams = from_query(query.as_deref().unwrap_or_default())?;
    Ok(Json(app.engine.call::<memory::List>(params).await?))
}

async fn receipts(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<impl Serialize>, HttpError> {
    let _slot = app.slot()?;
    let params: EraseReceiptsParams = from_query(query.as_deref().unwrap_or_default())?;
    Ok(Json(app.engine.call::<memory::Receipts>(params).await?))
}

async fn receipt(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<impl Serialize>, HttpError> {
    let _slot = app.slot()?;
    let params = ReceiptParams {
        erasure: id
            .parse()
            .map_err(|_| HttpError::not_found("not_found", "No receipt has this identifier."))?,
    };
    Ok(Json(app.engine.call::<memory::Receipt>(params).await?))
}

async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<impl Serialize>, HttpError> {
    let _slot = app.slot()?;
    let params = MemoryParams {
        memory: memory_id(&id)?,
    };
    Ok(Json(app.engine.call::<memory::Show>(params).await?))
}

/// The parameters of `memory.edit` but the memory, which the address names.
async fn edit(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<impl Serialize>, HttpError> {
    let (body, _slot) = admit(&app, body).await?;
    let id = memory_id(&id)?;
    let mut fields = object(&body)?;
    if fields.contains_key("memory") {
        return Err(HttpError::invalid_value(
            "memory",
            "The address names the memory.",
        ));
    }
    fields.insert("memory".into(), json!(id));
    let edit: MemoryEdit = of_fields(fields)?;
    Ok(Json(app.engine.call::<memory::Edit>(edit).await?))
}

/// As over the socket, `confirm` must be true: what is erased can't be brought back.
async fn erase(State(app): State<Arc<App>>, body: Body) -> Result<Json<impl Serialize>, HttpError> {
    let (body, _slot) = admit(&app, body).await?;
    let params: EraseParams = params::<memory::Erase>(&body)?;
    if !params.confirm {
        return Err(HttpError::invalid_value(
            "confirm",
            "'confirm' must be true: what is erased can't be brought back. /memory/erase_preview shows what would go.",
        ));
    }
    Ok(Json(app.engine.call::<memory::Erase>(params).await?))
}

/// The whole document.
async fn export(State(app): State<Arc<App>>) -> Result<Response, HttpError> {
    let _slot = app.slot()?;
    let mut document = String::new();
    let whole = |update| match update {
        Update::Event(ExportEvent { chunk }) => {
            document.push_str(&chunk);
            None
        }
        Update::Done(done) => Some(done),
    };
    app.engine.begin::<memory::Export, _>(Empty {}, whole).await?;
    let kind = [(axum::http::header::CONTENT_TYPE, "application/json")];
    Ok((kind, document).into_response())
}

/// As over the socket, but without files: a client of HTTP has no business naming paths on this machine.
async fn import(State(app): State<Arc<App>>, body: Body) -> Result<Json<impl Serialize>, HttpError> {
    let (body, _slot) = admit(&app, body).await?;
    let params = params::<memory::Import>(&body)?;
    if matches!(params.source, ImportSource::File { .. }) {
        return Err(HttpError::unsupported(
            "source",
            "Send the document itself: {\"source\": {\"from\": \"text\", \"text\": …}}.",
        ));
    }
    let imported = app.engine.call::<memory::Import>(params).await;
    Ok(Json(imported.map_err(|error| match error.code {
        // The document, not the database.
        ErrorCode::Corrupt => HttpError::invalid_value("source", error.message),
        _ => HttpError::from(error),
    })?))
}

fn params<M: Method>(body: &Bytes) -> Result<M::Params, HttpError> {
    of_fields(object(body)?)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, HttpError> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        // The place, not the words: serde quotes what it found.
        let (line, column) = (error.line(), error.column());
        HttpError::invalid(format!(
            "The request body is not valid JSON (line {line}, column {column})."
        ))
        .with_code("invalid_json")
    })?;
    match value {
        Value::Object(fields) => Ok(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => Err(wrong_type("(body)", "an object", &other)),
    }
}

fn of_fields<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, HttpError> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        let words = error.to_string();
        let named = words.split('`').nth(1).map(str::to_owned);
        let error = match &named {
            Some(field) if words.starts_with("unknown field") => {
                HttpError::invalid(format!("Unrecognized request argument supplied: {field}"))
                    .with_code("unknown_parameter")
            }
            Some(field) if words.starts_with("missing field") => {
                HttpError::invalid(format!("Missing required parameter: '{field}'."))
                    .with_code("missing_required_parameter")
            }
            _ => HttpError::invalid("A parameter has a wrong type or value.").with_code("invalid_type"),
        };
        match named {
            Some(field) if !words.starts_with("unknown variant") => error.with_param(field),
            _ => error,
        }
    })
}

/// Parameters from the address: numbers and truth values as such, everything else as text.
fn from_query<T: DeserializeOwned>(query: &str) -> Result<T, HttpError> {
    let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(
        &format!("/?{query}")
            .parse()
            .map_err(|_| HttpError::invalid("The address is not valid."))?,
    )
    .map(|axum::extract::Query(pairs)| pairs)
    .map_err(|_| HttpError::invalid("The address is not valid."))?;
    let mut fields = Map::new();
    for (name, text) in pairs {
        let value = match (name.as_str(), text.as_str()) {
            ("limit" | "offset", digits) => digits.parse::<u32>().map_or(json!(text), |number| json!(number)),
            ("sensitive" | "pinned", "true") => json!(true),
            ("sensitive" | "pinned", "false") => json!(false),
            _ => json!(text),
        };
        fields.insert(name, value);
    }
    of_fields(fields)
}

fn memory_id(text: &str) -> Result<MemoryId, HttpError> {
    text.parse()
        .map_err(|_| HttpError::not_found("not_found", "No memory has this identifier."))
}
