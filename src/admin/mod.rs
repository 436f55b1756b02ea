//! The admin: what people, probes, Prometheus and the command line ask a running relay, over HTTP on a listener of its own.
//!
//! ```text
//! /healthz  /readyz   for probes: no token, and no detail for strangers
//! /metrics            for Prometheus
//! /api/v1/…           JSON, one file a subject below `api`; /api/v1/openapi.json says what there is
//! /  /queue  /domains  /mail  /attention   for people: see [`page`]
//! ```
//!
//! Handlers see an [`Office`]: the spool, and small traits that the relay implements. They know no configuration, no socket and no
//! token: who may ask is decided by [`guard`] before a handler runs, and [`listener`] is the shell around it all. What changes
//! something takes its input by [`api::Body`] or [`form::Form`], which a foreign page cannot have a browser send.

pub mod api;
pub mod form;
pub mod guard;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod page;

use crate::events::meters::Meters;
use crate::mail::{Domain, Timestamp};
use crate::spool::{Control, Journal, Records, Restored, Spool, Suppressions};
use api::Problem;
use api::domains::Domains;
use api::queue::Outbound;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use guard::{FormKey, Token};
use health::Looks;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Names besides addresses and `localhost` that a `Host` header may say.
    pub names: Vec<String>,
    /// Who may ask from off this machine, and on it too where `token_always`.
    pub tokens: Vec<Token>,
    /// No answers but to probes without a token, on loopback either.
    pub token_always: bool,
    /// How much at a time.
    pub bounds: Bounds,
}

/// What strangers can take of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time.
    pub connections_max: usize,
    /// For a TLS handshake, and for the header of a request from its connection's being idle on.
    pub header_timeout: Duration,
    /// From the header of a request to that of its answer.
    pub request_timeout: Duration,
    /// For a client that does not read.
    pub write_timeout: Duration,
    /// Octets of a request's header; 8 KiB or more.
    pub header_octets_max: usize,
    /// Octets of a request's body.
    pub body_octets_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 64,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            header_octets_max: 16 << 10,
            body_octets_max: 1 << 20,
        }
    }
}

/// What a spool must be for its admin.
pub trait Store: Spool + Records + Journal + Control + Restored + Suppressions {}
impl<S: Spool + Records + Journal + Control + Restored + Suppressions> Store for S {}

/// What all handlers share.
pub struct Office<S> {
    /// The mail.
    pub spool: Arc<S>,
    /// The relay as a whole.
    pub life: Arc<dyn Life>,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// The author domains and their keys.
    pub domains: Arc<dyn Domains>,
    /// Delivery, for orders of the queue.
    pub outbound: Arc<dyn Outbound>,
    /// For the forms of the page.
    pub forms: FormKey,
    /// Looks at the spool by probes that are under way.
    pub looks: Looks,
}

/// What only the relay as a whole knows and does.
pub trait Life: Send + Sync + 'static {
    /// How it stands now.
    fn standing(&self) -> Standing;

    /// The disk of the spool. Blocks.
    ///
    /// # Errors
    /// What the system said.
    fn room(&self) -> Result<Room, String>;

    /// Reads the configuration anew, as SIGHUP has it done.
    ///
    /// # Errors
    /// Every fault, a sentence each; nothing was changed.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), Vec<String>>> + Send + '_>>;
}

/// See [`Life::standing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The present.
    pub now: Timestamp,
    /// `server.hostname`.
    pub hostname: Domain,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// Where clients connect.
    pub listeners: Vec<Door>,
    /// It is about to end.
    pub is_draining: bool,
    /// Why restored mail is held, in words; `None` when none is. New mail flows all the same.
    pub held: Option<String>,
    /// `through` mode: why no mail can be passed on at present.
    pub next_hop: Option<String>,
    /// Author domains that send and have no key to seal with.
    pub keyless: Vec<Domain>,
}

/// A listener for mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Its name.
    pub name: String,
    /// Its address, with the port it got.
    pub address: SocketAddr,
    /// It takes connections.
    pub is_open: bool,
}

/// How much room a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Octets that we may still write.
    pub free: u64,
    /// Octets of these that are kept for what is accepted already.
    pub reserve: u64,
}

/// Everything that is answered. Who may ask is not looked at here.
pub fn router<S: Store>(office: Arc<Office<S>>) -> Router {
    let paths = Router::new().merge(health::router()).merge(metrics::router()).nest("/api/v1", api::router());
    paths.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(office)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::unknown(format!("there is nothing at {}", uri.path()), "a path of /api/v1/openapi.json, /healthz, /readyz or /metrics")
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let message = format!("{method} is not for {}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", message, "a method of the header Allow; /api/v1/openapi.json says what each does")
}
