//! `/api/v1`: JSON in, JSON out, one file a subject. A fault is `{"error": {"code", "message", "expected"}}`.

pub mod status;

use super::{Office, Store};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// The paths below `/api/v1`.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/status", get(status::show::<S>)).route("/reload", post(status::reload::<S>))
}

/// Why a call was not answered as it was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The answer's status.
    #[serde(skip)]
    pub status: StatusCode,
    /// One word, for programs.
    pub code: &'static str,
    /// What was found.
    pub message: String,
    /// What was expected, or what to do; left out where the message says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expected: String,
}

impl Problem {
    /// A problem of the status that says whose it is.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), expected: expected.into() }
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn unknown(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", message, expected)
    }

    /// 400: what was asked is not understood.
    #[must_use]
    pub fn invalid(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message, expected)
    }
}

impl From<crate::spool::SpoolError> for Problem {
    fn from(error: crate::spool::SpoolError) -> Self {
        match error {
            crate::spool::SpoolError::Unknown(_) => Self::unknown(error.to_string(), ""),
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, "spool", error.to_string(), ""),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Problem,
        }
        (self.status, Json(Body { error: self })).into_response()
    }
}
