//! `/api/v1/status`: the relay as a whole; `/api/v1/reload`: what SIGHUP does.

use super::Problem;
use crate::admin::health::{Reason, readiness};
use crate::admin::{Office, Store};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// The relay as a whole.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    hostname: String,
    started_at: String,
    ready: bool,
    reasons: Vec<Reason>,
    draining: bool,
    held: Option<String>,
    listeners: Vec<Listener>,
    spool: Spool,
}

#[derive(Debug, Serialize)]
struct Listener {
    name: String,
    address: String,
    open: bool,
}

#[derive(Debug, Serialize)]
struct Spool {
    mails: u64,
    recipients: u64,
    quarantined: u64,
}

/// `GET /api/v1/status`
///
/// # Errors
/// The spool cannot be asked.
pub async fn show<S: Store>(State(office): State<Arc<Office<S>>>) -> Result<Json<Status>, Problem> {
    let standing = office.life.standing();
    let readiness = readiness(&standing, &office.spool.health());
    let counts = office.spool.counts().await?;
    let listener = |door: crate::admin::Door| Listener { name: door.name, address: door.address.to_string(), open: door.is_open };
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        hostname: standing.hostname.to_string(),
        started_at: standing.started_at.to_rfc3339(),
        ready: readiness.ready,
        reasons: readiness.reasons,
        draining: standing.is_draining,
        held: standing.held,
        listeners: standing.listeners.into_iter().map(listener).collect(),
        spool: Spool { mails: counts.mails, recipients: counts.recipients, quarantined: counts.quarantined },
    }))
}

/// What became of a reload.
#[derive(Debug, Serialize)]
pub struct Reloaded {
    reloaded: bool,
}

/// `POST /api/v1/reload`
///
/// # Errors
/// 422 with every fault, a line each.
pub async fn reload<S: Store>(State(office): State<Arc<Office<S>>>) -> Result<Json<Reloaded>, Problem> {
    let rejected = |faults: Vec<String>| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rejected", faults.join("\n"), "a configuration without faults");
    office.life.reload().await.map_err(rejected)?;
    Ok(Json(Reloaded { reloaded: true }))
}
