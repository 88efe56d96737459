//! What a user is told when a request cannot be served, in OpenAI's error shape.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::ask::Failure;

/// An error answer: `{"error": {"message", "type", "param", "code"}}` under an HTTP status.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    /// When to try again.
    retry_s: u64,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: Some(code),
            param: None,
            message: message.into(),
            retry_s: 1,
        }
    }

    /// 400: the field `param` (a path such as `messages[0].content`) is wrong.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            code: None,
            param: Some(param.into()),
            message: message.into(),
            retry_s: 1,
        }
    }

    /// 400: the body is not JSON, or not a JSON object.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "malformed_json",
            message,
        )
    }

    /// 400: prompt and answer do not fit; the message carries both numbers.
    pub(crate) fn too_long(param: &str, message: String) -> Self {
        let problem = Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "context_length_exceeded",
            message,
        );
        Self {
            param: Some(param.to_owned()),
            ..problem
        }
    }

    pub(crate) fn unauthorized() -> Self {
        let message = "no such API key: send 'Authorization: Bearer <key>' with a key of this server";
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_request_error",
            "invalid_api_key",
            message,
        )
    }

    /// 503: as many connections have shown a key as may be open.
    pub(crate) fn crowded(most: usize) -> Self {
        let message = format!("{most} connections with a key are open already, as many as this server takes");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "too_many_connections",
            message,
        )
    }

    /// 503: the bodies of other requests take all memory that there is for them.
    pub(crate) fn no_room(all: usize) -> Self {
        let message = format!(
            "the bodies of other requests take the {all} bytes that there are for them (limits.bodies_bytes)"
        );
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "too_many_bodies",
            message,
        )
    }

    /// Whether the connection is of no more use: it has no key, or no seat.
    fn closes(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED || self.code == Some("too_many_connections")
    }

    pub(crate) fn unknown_model(asked: &str, served: &str) -> Self {
        let message = format!("the model '{asked}' does not exist here; this server has '{served}'");
        let problem = Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            "model_not_found",
            message,
        );
        Self {
            param: Some("model".to_owned()),
            ..problem
        }
    }

    pub(crate) fn unknown_path(method: &str, path: &str) -> Self {
        let message = format!("nothing is served at {method} {path}");
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            "unknown_url",
            message,
        )
    }

    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            "method_not_allowed",
            message,
        )
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than the {limit} bytes allowed");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            "body_too_large",
            message,
        )
    }

    /// 408: the body did not arrive in time.
    pub(crate) fn body_too_slow() -> Self {
        let message = "the request body did not arrive in time";
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            "body_too_slow",
            message,
        )
    }

    /// 504: the answer did not finish within the limit.
    pub(crate) fn timed_out(seconds: u64) -> Self {
        let message = format!("the answer was not finished within {seconds} s");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "timeout", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "internal",
            message,
        )
    }

    /// The body of this error; also the payload of an SSE error event.
    pub(crate) fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        match failure {
            Failure::Busy { .. } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "too_many_requests",
                message,
            ),
            Failure::Away(_) | Failure::Lost(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "inner_away",
                message,
            ),
            Failure::Held { seconds, .. } => {
                // Only time is short where it will pass.
                let (status, kind) = match seconds {
                    Some(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
                    None => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
                };
                Self {
                    retry_s: seconds.unwrap_or(60).max(1),
                    ..Self::new(status, kind, "upload_budget", message)
                }
            }
            Failure::Refused => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "refused",
                message,
            ),
            Failure::Engine => Self::new(StatusCode::BAD_GATEWAY, "server_error", "engine_failed", message),
            Failure::Waited { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "queue_timeout",
                message,
            ),
            Failure::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "stopping",
                message,
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if self.closes() {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // Clients back off by this header; the OpenAI clients honour it.
        if matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_s));
        }
        response
    }
}
