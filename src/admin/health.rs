//! `/healthz` and `/readyz`: whether the process lives, and whether a message that came now would be accepted, sealed and spooled.
//!
//! An orchestrator sends mail where it is told *ready*, so what is told is looked at anew each time: that listeners take connections, that
//! the store answers, that the disk has room, that there are keys. What makes mail wait without refusing it (a key whose record is gone,
//! a slow provider, a restored spool that is held) is no reason here: clients are better served by a `250` than by none. Only where nothing waits, in `through` mode, is a next hop that cannot be reached one.

use super::guard::Caller;
use super::{Office, Standing, Store};
use crate::mail::Timestamp;
use crate::spool::{Health, SpoolError};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready::<S>))
}

/// One reason why mail cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// One of `draining`, `next_hop`, `disk`, `spool`, `listeners`, `keys`.
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

/// What a look at the spool came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLook {
    /// It answered, and says this of itself.
    Answered(Health),
    /// It said that it cannot be asked.
    Refused(String),
    /// It did not answer within [`PATIENCE`].
    Silent,
}

/// Looks at the spool that are under way: a disk that hangs holds these places, and not a thread more with each probe.
#[derive(Debug, Clone)]
pub struct Looks(Arc<Semaphore>);

impl Default for Looks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKS_AT_ONCE)))
    }
}

/// What standing and store come to.
#[must_use]
pub fn readiness(standing: &Standing, store: &StoreLook) -> Readiness {
    let mut reasons = Vec::new();
    let mut say = |code, message: String| reasons.push(Reason { code, message });
    if standing.is_draining {
        say("draining", "the relay is ending and takes no new connections".to_owned());
    }
    if let Some(why) = &standing.next_hop {
        say("next_hop", why.clone());
    }
    match store {
        StoreLook::Answered(Health::Working) => {}
        StoreLook::Answered(Health::Full { free, reserve }) => {
            say("disk", format!("the spool's disk has {free} octets free, less than the reserve of {reserve}; make room"));
        }
        StoreLook::Answered(Health::Failed(why)) => say("spool", format!("the spool failed: {why}; mend the disk and restart")),
        StoreLook::Answered(Health::Closed) => say("spool", "the spool is closed".to_owned()),
        StoreLook::Refused(why) => say("spool", why.clone()),
        StoreLook::Silent => say("spool", format!("the spool did not answer within {} ms; look at its disk", PATIENCE.as_millis())),
    }
    if standing.listeners.is_empty() && !standing.is_draining {
        say("listeners", "no listener is open yet".to_owned());
    }
    for door in standing.listeners.iter().filter(|door| !door.is_open && !standing.is_draining) {
        say("listeners", format!("listener \"{}\" at {} takes no connections; restart, and see the log", door.name, door.address));
    }
    for domain in &standing.keyless {
        say("keys", format!("there is no active RSA key for {domain}, so its mail is refused; make one with `postseal key create {domain}`"));
    }
    Readiness { ready: reasons.is_empty(), reasons }
}

/// As of now.
pub async fn look<S: Store>(office: &Office<S>) -> Readiness {
    let store = timeout(PATIENCE, look_at_store(office)).await.unwrap_or(StoreLook::Silent);
    readiness(&office.life.standing(), &store)
}

/// A read that finds nothing shows that the store answers; its health, that its last write did not fail and its disk has room.
async fn look_at_store<S: Store>(office: &Office<S>) -> StoreLook {
    match office.spool.due(Timestamp::EPOCH, NonZeroUsize::MIN).await {
        Ok(_) | Err(SpoolError::Closed | SpoolError::Failed(_)) => {} // which it says of itself
        Err(error) => return StoreLook::Refused(error.to_string()),
    }
    let Ok(place) = office.looks.0.clone().acquire_owned().await else { return StoreLook::Silent };
    let spool = office.spool.clone();
    let health = spawn_blocking(move || {
        let _place = place;
        spool.health()
    });
    health.await.map_or(StoreLook::Silent, StoreLook::Answered)
}

async fn alive() -> Json<Value> {
    Json(json!({ "alive": true }))
}

async fn ready<S: Store>(State(office): State<Arc<Office<S>>>, Extension(caller): Extension<Caller>) -> (StatusCode, Json<Value>) {
    let readiness = look(&office).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let told = match caller {
        Caller::Stranger => json!({ "ready": readiness.ready }),
        Caller::Local | Caller::Token(_) => json!(readiness),
    };
    (status, Json(told))
}

/// Probes of Kubernetes wait for a second where nothing else is said: an answer must come before.
pub const PATIENCE: Duration = Duration::from_millis(800);
const LOOKS_AT_ONCE: usize = 4;
