//! Errors in the shape that OpenAI clients understand.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// One refused or failed request: `{"error": {"message", "type", "param", "code"}}` with its HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// HTTP status of the response.
    pub status: StatusCode,
    /// OpenAI's `type`, for instance `invalid_request_error`.
    pub kind: &'static str,
    /// Machine-readable cause, for instance `context_length_exceeded`.
    pub code: Option<String>,
    /// The field of the request that is at fault, for instance `messages[1].content`.
    pub param: Option<String>,
    /// What happened and what to do, in plain words; never text of a conversation.
    pub message: String,
    /// Seconds after which trying again is sensible (the `Retry-After` header).
    pub retry_after_s: Option<u32>,
}

impl HttpError {
    fn new(status: StatusCode, kind: &'static str, code: Option<&str>, message: impl Into<String>) -> Self {
        let code = code.map(str::to_owned);
        Self {
            status,
            kind,
            code,
            param: None,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// 400: the request itself is at fault.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, message)
    }

    /// 400: `param` has a value of the wrong type or outside its range.
    pub fn invalid_value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(message)
            .with_code("invalid_value")
            .with_param(param)
    }

    /// 400: `param` asks for something that this server doesn't do; ignoring it would change the answer.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(message)
            .with_code("unsupported_parameter")
            .with_param(param)
    }

    /// 401: no token, or a wrong one.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_request_error",
            Some("invalid_api_key"),
            message,
        )
    }

    /// 403: the Host or Origin header names a place that may not use this server.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "invalid_request_error",
            Some("forbidden_origin"),
            message,
        )
    }

    /// 404: no such address, model or thing.
    pub fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            Some(code),
            message,
        )
    }

    /// 405: the address exists, with another method.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(
            status,
            "invalid_request_error",
            Some("method_not_allowed"),
            message,
        )
    }

    /// 408: the request's body didn't arrive in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            Some("request_timeout"),
            message,
        )
    }

    /// 413: the body is larger than the limit.
    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!(
            "The request body is larger than {} MiB, the limit.",
            limit_bytes >> 20
        );
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(
            status,
            "invalid_request_error",
            Some("request_too_large"),
            message,
        )
    }

    /// 503 with `Retry-After`: too many requests are being worked on.
    pub fn busy(message: impl Into<String>) -> Self {
        let error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            Some("server_busy"),
            message,
        );
        Self {
            retry_after_s: Some(2),
            ..error
        }
    }

    /// 503: the engine can't be reached or its model isn't there.
    pub fn unavailable(code: &str, message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            Some(code),
            message,
        )
    }

    /// 500: our fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            Some("internal_error"),
            message,
        )
    }

    /// The same error with a `code`.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        Self {
            code: Some(code.to_owned()),
            ..self
        }
    }

    /// The same error naming the field at fault.
    #[must_use]
    pub fn with_param(self, param: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..self
        }
    }

    /// The JSON body, also sent as an event when a stream fails half-way.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
