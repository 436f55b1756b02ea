//! `/api/v1/spool/release`: lets restored mail go.

use super::{Body, Nothing, Problem};
use crate::admin::{Office, Store};
use crate::spool::control::Order;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/spool/release", post(release::<S>))
}

/// What was let go.
#[derive(Debug, Serialize)]
struct Released {
    recipients: u64,
}

async fn release<S: Store>(State(office): State<Arc<Office<S>>>, Body(Nothing {}): Body<Nothing>) -> Result<Json<Released>, Problem> {
    let recipients = office.spool.release_restored(office.life.standing().now).await?;
    office.outbound.carried_out(&Order::Release, recipients);
    Ok(Json(Released { recipients }))
}
