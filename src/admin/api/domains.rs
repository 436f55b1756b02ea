//! `/api/v1/domains`: the author domains, their keys and what is seen of them; nothing private.

use super::{Page, Paging, Parameters, Problem};
use crate::admin::{Office, Store};
use crate::keys::{Algorithm, State as KeyState};
use crate::mail::{Domain, Selector, Timestamp};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/domains", get(list::<S>)).route("/domains/{domain}", get(show::<S>))
}

/// What the relay knows of its author domains.
pub trait Domains: Send + Sync + 'static {
    /// Their names, in order.
    fn names(&self) -> Vec<Domain>;

    /// One of them; `None`: it is none. Reads its key files: blocks.
    ///
    /// # Errors
    /// Its key files are not in order.
    fn domain(&self, name: &Domain) -> Result<Option<DomainStanding>, String>;

    /// The present.
    fn now(&self) -> Timestamp;
}

/// An author domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainStanding {
    /// Which.
    pub domain: Domain,
    /// It never sends.
    pub parked: bool,
    /// Where its bounces go.
    pub bounce_domain: Domain,
    /// Its DMARC policy as configured: `none`, `quarantine` or `reject`.
    pub dmarc_policy: String,
    /// Its DMARC record says `t=y`.
    pub dmarc_testing: bool,
    /// It signs with Ed25519 too.
    pub ed25519: bool,
    /// A platform that signs its mail as well.
    pub third_party: Option<Domain>,
    /// Who writes its records; `None`: a person.
    pub publisher: Option<String>,
    /// Whose word counts for what is in the DNS.
    pub evidence: String,
    /// Seconds between rotations; `None`: they begin by hand.
    pub rotate_every_seconds: Option<u64>,
    /// Why its mail is not sent for now.
    pub held: Option<String>,
    /// Its keys, those that are removed too.
    pub keys: Vec<KeyStanding>,
}

/// A key of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStanding {
    /// Its selector.
    pub selector: Selector,
    /// The name of its record.
    pub name: String,
    /// Its kind.
    pub algorithm: Algorithm,
    /// Where it stands.
    pub state: KeyState,
    /// Since when.
    pub since: Timestamp,
    /// When it was made.
    pub born_at: Timestamp,
    /// When it last began to sign.
    pub active_at: Option<Timestamp>,
    /// What the watch sees of its record; `None`: it is not watched.
    pub watch: Option<WatchStanding>,
}

/// What the watch sees of a key's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchStanding {
    /// Some server has shown it since the relay started.
    pub seen: bool,
    /// Why the key counts as lost.
    pub loss: Option<String>,
    /// It signs nothing while that is so.
    pub suspended: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    domain: String,
    parked: bool,
    bounce_domain: String,
    dmarc: Dmarc,
    ed25519: bool,
    third_party: Option<String>,
    publisher: Option<String>,
    rotation: Rotation,
    held: Option<String>,
    keys: Vec<ShownKey>,
}

#[derive(Debug, Serialize)]
struct Dmarc {
    policy: String,
    testing: bool,
}

#[derive(Debug, Serialize)]
struct Rotation {
    every_seconds: Option<u64>,
    evidence: String,
    /// When a key last began to sign.
    last_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownKey {
    selector: String,
    name: String,
    algorithm: String,
    state: String,
    since: String,
    born_at: String,
    age_seconds: u64,
    active_at: Option<String>,
    watch: Option<ShownWatch>,
}

#[derive(Debug, Serialize)]
struct ShownWatch {
    seen: bool,
    loss: Option<String>,
    suspended: bool,
}

async fn list<S: Store>(State(office): State<Arc<Office<S>>>, Parameters(paging): Parameters<Paging>) -> Result<Json<Page<Shown>>, Problem> {
    let limit = paging.limit()?;
    let names = office.domains.names();
    let mut rest = names.into_iter().filter(|name| paging.after.as_deref().is_none_or(|after| name.as_str() > after));
    let page: Vec<Domain> = rest.by_ref().take(limit).collect();
    let next = page.last().filter(|_| rest.next().is_some()).map(ToString::to_string);
    let mut items = Vec::with_capacity(page.len());
    for name in page {
        items.extend(read(&office, name).await?); // one that a reload has just removed is left out
    }
    Ok(Json(Page { items, next }))
}

async fn show<S: Store>(State(office): State<Arc<Office<S>>>, Path(domain): Path<String>) -> Result<Json<Shown>, Problem> {
    let name = named(&domain)?;
    let found = read(&office, name.clone()).await?;
    found.map(Json).ok_or_else(|| Problem::unknown(format!("{name} is no author domain of this relay"), "a table [domains.\"NAME\"]"))
}

fn named(text: &str) -> Result<Domain, Problem> {
    Domain::parse(text).map_err(|_| Problem::invalid(format!("\"{text}\" is no domain name"), "a domain name, as in \"example.com\""))
}

async fn read<S: Store>(office: &Arc<Office<S>>, name: Domain) -> Result<Option<Shown>, Problem> {
    let domains = office.domains.clone();
    let unreadable = |why: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "keys", why, "key files in order; `postseal key list` reads them too");
    let read = spawn_blocking(move || (domains.domain(&name), domains.now())).await;
    let (read, now) = read.map_err(|_| unreadable("reading the key files broke".to_owned()))?;
    Ok(read.map_err(unreadable)?.map(|standing| shown(standing, now)))
}

fn shown(standing: DomainStanding, now: Timestamp) -> Shown {
    let last_at = standing.keys.iter().filter_map(|key| key.active_at).max();
    Shown {
        domain: standing.domain.to_string(),
        parked: standing.parked,
        bounce_domain: standing.bounce_domain.to_string(),
        dmarc: Dmarc { policy: standing.dmarc_policy, testing: standing.dmarc_testing },
        ed25519: standing.ed25519,
        third_party: standing.third_party.map(|domain| domain.to_string()),
        publisher: standing.publisher,
        rotation: Rotation { every_seconds: standing.rotate_every_seconds, evidence: standing.evidence, last_at: last_at.map(Timestamp::to_rfc3339) },
        held: standing.held,
        keys: standing.keys.into_iter().map(|key| shown_key(key, now)).collect(),
    }
}

fn shown_key(key: KeyStanding, now: Timestamp) -> ShownKey {
    ShownKey {
        selector: key.selector.to_string(),
        name: key.name,
        algorithm: key.algorithm.to_string(),
        state: key.state.to_string(),
        since: key.since.to_rfc3339(),
        born_at: key.born_at.to_rfc3339(),
        age_seconds: now.since(key.born_at).as_secs(),
        active_at: key.active_at.map(Timestamp::to_rfc3339),
        watch: key.watch.map(|watch| ShownWatch { seen: watch.seen, loss: watch.loss, suspended: watch.suspended }),
    }
}
