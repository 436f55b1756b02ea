//! `/api/v1/status`: the relay as a whole; `/api/v1/reload`: what SIGHUP does.

use super::{Body, Nothing, Problem};
use crate::admin::health::{self, Reason};
use crate::admin::{Door, Office, Standing, Store};
use crate::mail::Timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/status", get(show::<S>)).route("/reload", post(reload::<S>))
}

/// The relay as a whole.
#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    hostname: String,
    started_at: String,
    uptime_seconds: u64,
    ready: bool,
    reasons: Vec<Reason>,
    draining: bool,
    /// Why restored mail is held.
    held: Option<String>,
    listeners: Vec<Listener>,
    spool: Spool,
    disk: Disk,
}

#[derive(Debug, Serialize)]
struct Listener {
    name: String,
    address: String,
    open: bool,
}

/// What waits.
#[derive(Debug, Serialize)]
struct Spool {
    mails: u64,
    recipients: u64,
    quarantined: u64,
    /// When the mail that waits longest was accepted.
    oldest_at: Option<String>,
    oldest_seconds: Option<u64>,
}

/// Of the spool.
#[derive(Debug, Serialize)]
struct Disk {
    free_octets: Option<u64>,
    reserve_octets: Option<u64>,
    error: Option<String>,
}

async fn show<S: Store>(State(office): State<Arc<Office<S>>>) -> Result<Json<Status>, Problem> {
    let readiness = health::look(&office).await;
    office.spool.restored().await?; // looked at anew, for what follows
    let standing = office.life.standing();
    let spool = waiting(&*office.spool, &standing).await?;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        hostname: standing.hostname.to_string(),
        started_at: standing.started_at.to_rfc3339(),
        uptime_seconds: standing.now.since(standing.started_at).as_secs(),
        ready: readiness.ready,
        reasons: readiness.reasons,
        draining: standing.is_draining,
        held: standing.held,
        listeners: standing.listeners.into_iter().map(Listener::from).collect(),
        spool,
        disk: disk(&office).await,
    }))
}

async fn waiting<S: Store>(spool: &S, standing: &Standing) -> Result<Spool, Problem> {
    let (counts, oldest) = (spool.counts().await?, spool.oldest().await?);
    Ok(Spool {
        mails: counts.mails,
        recipients: counts.recipients,
        quarantined: counts.quarantined,
        oldest_at: oldest.map(Timestamp::to_rfc3339),
        oldest_seconds: oldest.map(|at| standing.now.since(at).as_secs()),
    })
}

async fn disk<S: Store>(office: &Arc<Office<S>>) -> Disk {
    let life = office.life.clone();
    let room = spawn_blocking(move || life.room()).await.unwrap_or_else(|_| Err("the disk could not be asked".to_owned()));
    Disk { free_octets: room.as_ref().ok().map(|room| room.free), reserve_octets: room.as_ref().ok().map(|room| room.reserve), error: room.err() }
}

impl From<Door> for Listener {
    fn from(door: Door) -> Self {
        Self { name: door.name, address: door.address.to_string(), open: door.is_open }
    }
}

/// What became of a reload.
#[derive(Debug, Serialize)]
struct Reloaded {
    reloaded: bool,
}

/// 422 with every fault, a line each, where nothing was changed.
async fn reload<S: Store>(State(office): State<Arc<Office<S>>>, Body(Nothing {}): Body<Nothing>) -> Result<Json<Reloaded>, Problem> {
    let rejected = |faults: Vec<String>| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rejected", faults.join("\n"), "a configuration without faults");
    office.life.reload().await.map_err(rejected)?;
    Ok(Json(Reloaded { reloaded: true }))
}
