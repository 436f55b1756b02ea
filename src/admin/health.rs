//! `/healthz` and `/readyz`: whether the process lives, and whether a message that came now would be accepted, sealed and spooled.

use super::{Office, Standing, Store};
use crate::spool::Health;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready::<S>))
}

/// One reason why mail cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// One word, for programs.
    pub code: &'static str,
    /// A sentence with its remedy.
    pub message: String,
}

/// Whether mail can be accepted, sealed and spooled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// There is no reason against it.
    pub ready: bool,
    /// Every reason against it.
    pub reasons: Vec<Reason>,
}

/// What standing and store come to.
#[must_use]
pub fn readiness(standing: &Standing, store: &Health) -> Readiness {
    let mut reasons = Vec::new();
    let mut say = |code, message: String| reasons.push(Reason { code, message });
    if standing.is_draining {
        say("draining", "the relay is ending and takes no new connections".to_owned());
    }
    if let Some(why) = &standing.held {
        say("held", why.clone());
    }
    match store {
        Health::Working => {}
        Health::Full { free, reserve } => say("disk", format!("the spool's disk has {free} octets free, less than the reserve of {reserve}; make room")),
        Health::Failed(why) => say("spool", format!("the spool failed: {why}; mend the disk and restart")),
        Health::Closed => say("spool", "the spool is closed".to_owned()),
    }
    if standing.listeners.is_empty() && !standing.is_draining {
        say("listeners", "no listener is open yet".to_owned());
    }
    for door in standing.listeners.iter().filter(|door| !door.is_open && !standing.is_draining) {
        say("listeners", format!("listener \"{}\" at {} takes no connections; see the log", door.name, door.address));
    }
    for domain in &standing.keyless {
        say("keys", format!("there is no active RSA key for {domain}; make one with `postseal key create {domain}`"));
    }
    Readiness { ready: reasons.is_empty(), reasons }
}

async fn alive() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "alive": true }))
}

async fn ready<S: Store>(State(office): State<Arc<Office<S>>>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&office.life.standing(), &office.spool.health());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
