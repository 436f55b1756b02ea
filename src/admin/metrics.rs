//! `/metrics`: the page that Prometheus reads.

use super::{Office, Store};
use crate::events::meters::CONTENT_TYPE;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// The path of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/metrics", get(page::<S>))
}

/// Some values are looked up when they are asked for, on the disk among others, which may not answer: off the threads that serve.
async fn page<S: Store>(State(office): State<Arc<Office<S>>>) -> Response {
    match tokio::task::spawn_blocking(move || office.meters.page()).await {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be read; report a defect of postseal\n").into_response(),
    }
}
