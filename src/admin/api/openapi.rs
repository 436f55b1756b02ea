//! `/api/v1/openapi.json`: what the API answers, as OpenAPI 3.1.
//!
//! The document is written by hand: `openapi.json` has what all share, and the `.json` beside each subject's `.rs` its paths and
//! schemas. `tests/admin` holds the routes to it, and it to the routes.

use crate::admin::{Office, Store};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value};
use std::sync::{Arc, LazyLock};

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/openapi.json", get(|| async { Json(document()) }))
}

/// The whole document.
#[must_use]
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(assemble);
    &DOCUMENT
}

#[allow(clippy::expect_used, reason = "files of this program, which tests read")]
fn assemble() -> Value {
    let mut whole: Value = serde_json::from_str(COMMON).expect("openapi.json is JSON");
    whole["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for text in SUBJECTS {
        let mut subject: Value = serde_json::from_str(text).expect("the description of a subject is JSON");
        append(&mut whole["paths"], &mut subject["paths"]);
        append(&mut whole["components"]["schemas"], &mut subject["schemas"]);
    }
    let event = serde_json::from_str(crate::events::event::SCHEMA).expect("the schema of an event is JSON");
    append(&mut whole["components"]["schemas"], &mut serde_json::json!({ "Event": Value::clone(&event) }));
    whole
}

fn append(whole: &mut Value, part: &mut Value) {
    let Some(part) = part.as_object_mut().map(std::mem::take) else { return };
    if let Value::Object(whole) = whole {
        let twice = part.keys().find(|name| whole.contains_key(*name));
        assert!(twice.is_none(), "{twice:?} is described twice");
        whole.extend(part);
    } else {
        *whole = Value::Object(Map::from_iter(part));
    }
}

const COMMON: &str = include_str!("openapi.json");
/// One a subject.
const SUBJECTS: &[&str] = &[
    include_str!("status.json"),
    include_str!("domains.json"),
    include_str!("events.json"),
    include_str!("queue.json"),
    include_str!("spool.json"),
    include_str!("suppressions.json"),
];
