//! `/api/v1`: JSON in, JSON out, one file a subject, each with its `router` and a `.json` beside it that describes it.
//!
//! - A fault is `{"error": {"code", "message", "expected"}}` ([`Problem`]).
//! - Lists come in pages: `?after=CURSOR&limit=N` gives `{"items": […], "next": CURSOR or null}` ([`Paging`], [`Page`]).
//! - Times are RFC 3339 in UTC, durations are seconds, sizes octets.
//! - What changes something takes a JSON body ([`Body`]), if only `{}`: a page of another site cannot have a browser send one.

pub mod domains;
pub mod events;
pub mod openapi;
pub mod queue;
pub mod spool;
pub mod status;
pub mod suppressions;

use super::{Office, Store};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The paths below `/api/v1`.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    let subjects = [status::router(), domains::router(), events::router(), queue::router(), spool::router(), suppressions::router()];
    subjects.into_iter().fold(openapi::router(), Router::merge)
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

/// A JSON body; anything else is a [`Problem`].
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // First as an object: serde would take a list of values for a struct of as many members.
        let Json(body) = Json::<Map<String, Value>>::from_request(request, state).await.map_err(|fault: JsonRejection| {
            let code = if fault.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE { "content_type" } else { "body" };
            Problem::new(fault.status(), code, fault.body_text(), JSON)
        })?;
        let body = serde_json::from_value(Value::Object(body));
        body.map(Self).map_err(|fault| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body", fault.to_string(), JSON))
    }
}

/// A body that says nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The parameters behind `?`; what is not understood is a [`Problem`].
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parameters = Query::<T>::from_request_parts(parts, state).await;
        parameters.map(|Query(parameters)| Self(parameters)).map_err(|fault: QueryRejection| {
            Problem::new(fault.status(), "parameters", fault.body_text(), "the parameters that /api/v1/openapi.json describes")
        })
    }
}

/// Which page of a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// What the page before gave as `next`.
    pub after: Option<String>,
    #[serde(default = "usual")]
    limit: usize,
}

impl Paging {
    /// From parameters that stand among others.
    #[must_use]
    pub fn of(after: Option<String>, limit: Option<usize>) -> Self {
        Self { after, limit: limit.unwrap_or(LIMIT) }
    }

    /// How many at most.
    ///
    /// # Errors
    /// None, or more than [`LIMIT_MAX`].
    pub fn limit(&self) -> Result<usize, Problem> {
        if (1..=LIMIT_MAX).contains(&self.limit) {
            return Ok(self.limit);
        }
        Err(Problem::invalid(format!("limit is {}", self.limit), format!("1 to {LIMIT_MAX}")))
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

const fn usual() -> usize {
    LIMIT
}

const JSON: &str = "a JSON object with the header \"Content-Type: application/json\"; /api/v1/openapi.json describes it";
/// Items of a page where nothing else is asked for.
pub const LIMIT: usize = 100;
/// Items of a page at most.
pub const LIMIT_MAX: usize = 1000;
