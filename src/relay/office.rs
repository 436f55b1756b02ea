//! The admin's part of the wiring: its listener, and what it asks of the relay.

use super::page::Sources;
use super::rotation::InForce;
use super::watch::Watch;
use super::{OpenDoor, StartFault};
use crate::admin::api::domains::{DomainStanding, Domains, KeyStanding};
use crate::admin::api::queue::Outbound;
use crate::admin::guard::{Access, FormKey};
use crate::admin::health::Looks;
use crate::admin::listener::{Listener, Terms};
use crate::admin::{self, Door, Life, Office, Room, Standing};
use crate::clock;
use crate::config::Config;
use crate::deliver::through::Through;
use crate::events::meters::Meters;
use crate::ingress::tls::Tls;
use crate::keys::Ledger;
use crate::mail::{Domain, KeyId, Timestamp};
use crate::prepare::Snapshot;
use crate::seal::NoKey;
use crate::spool::SqliteSpool;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

/// The relay as its admin sees it.
pub struct RelayLife {
    started_at: Timestamp,
    in_force: Arc<InForce>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    watch: Arc<Watch>,
    spool: Arc<SqliteSpool>,
    through: Option<Arc<Through>>,
    doors: Mutex<Vec<(String, SocketAddr, AbortHandle)>>,
    is_draining: AtomicBool,
    orders: mpsc::Sender<ReloadAsked>,
}

/// Somebody asks for a reload, and waits to hear what became of it.
pub struct ReloadAsked(oneshot::Sender<Result<(), Vec<String>>>);

impl ReloadAsked {
    /// What became of it.
    pub fn answer(self, outcome: Result<(), Vec<String>>) {
        let _ = self.0.send(outcome); // who asked may be gone
    }
}

impl RelayLife {
    /// Begins without listeners. What is asked of it comes out at the other end.
    pub fn begin(
        started_at: Timestamp,
        in_force: Arc<InForce>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        watch: Arc<Watch>,
        spool: Arc<SqliteSpool>,
        through: Option<Arc<Through>>,
    ) -> (Arc<Self>, mpsc::Receiver<ReloadAsked>) {
        let (orders, asked) = mpsc::channel(1);
        let (doors, is_draining) = (Mutex::default(), AtomicBool::new(false));
        (Arc::new(Self { started_at, in_force, snapshot, watch, spool, through, doors, is_draining, orders }), asked)
    }

    /// What the admin's handlers share.
    pub fn office(self: &Arc<Self>, meters: Arc<Meters>, outbound: Arc<dyn Outbound>) -> Arc<Office<SqliteSpool>> {
        let forms = FormKey::new(&rand::random());
        Arc::new(Office { spool: self.spool.clone(), life: self.clone(), meters, domains: self.clone(), outbound, forms, looks: Looks::default() })
    }

    /// The listeners there are now.
    pub(super) fn show(&self, open: &[OpenDoor]) {
        let doors = open.iter().map(|door| (door.configured.name.clone(), door.address, door.running.abort_handle())).collect();
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors;
    }

    /// The relay is ending.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Author domains that send, and whose mail would be refused for want of a key.
    fn keyless(&self, config: &Config) -> Vec<Domain> {
        let snapshot = self.snapshot.load();
        if snapshot.seal.no_key == NoKey::Pass {
            return Vec::new();
        }
        // A key that is suspended is there: its mail is accepted, and held.
        let has_key = |domain: &Domain| snapshot.seal.domains.get(domain).is_some_and(|seal| !seal.rsa.is_empty() || !seal.suspension.rsa.is_empty());
        let sending = config.domains.iter().filter(|(_, settings)| !settings.author.parked).map(|(domain, _)| domain);
        let mut keyless: Vec<_> = sending.filter(|domain| !has_key(domain)).cloned().collect();
        keyless.sort();
        keyless
    }
}

impl Life for RelayLife {
    fn standing(&self) -> Standing {
        let config = self.in_force.config();
        let is_draining = self.is_draining.load(Ordering::Relaxed);
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let door = |(name, address, running): (String, SocketAddr, AbortHandle)| Door { name, address, is_open: !is_draining && !running.is_finished() };
        Standing {
            now: clock::now(),
            hostname: config.server.hostname.clone(),
            started_at: self.started_at,
            listeners: doors.into_iter().map(door).collect(),
            is_draining,
            held: self.spool.held().map(|held| {
                let since = held.at.to_rfc3339();
                format!("mail for {} recipients is held since the spool was restored at {since}; let it go with `postseal spool release`", held.recipients)
            }),
            next_hop: self.through.as_ref().and_then(|through| through.trouble()),
            keyless: self.keyless(&config),
        }
    }

    fn room(&self) -> Result<Room, String> {
        self.spool.room().map(|(free, reserve)| Room { free, reserve }).map_err(|error| error.to_string())
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), Vec<String>>> + Send + '_>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let nobody = || vec!["the relay is ending and takes no new configuration".to_owned()];
            self.orders.send(ReloadAsked(answer)).await.map_err(|_| nobody())?;
            answered.await.unwrap_or_else(|_| Err(nobody()))
        })
    }
}

impl Domains for RelayLife {
    fn names(&self) -> Vec<Domain> {
        self.in_force.config().domains.keys().cloned().collect()
    }

    fn domain(&self, name: &Domain) -> Result<Option<DomainStanding>, String> {
        let config = self.in_force.config();
        let Some(settings) = config.domains.get(name) else { return Ok(None) };
        let ledger = Ledger::read(&config.server.keys, name).map_err(|fault| fault.to_string())?;
        let (own, all) = (&settings.publication, &config.publication);
        let held = self.snapshot.load().seal.domains.get(name).and_then(|seal| seal.suspension.held.clone());
        Ok(Some(DomainStanding {
            domain: name.clone(),
            parked: settings.author.parked,
            bounce_domain: settings.bounce_domain.clone(),
            dmarc_policy: own.dmarc_policy.unwrap_or(all.dmarc.policy).to_string(),
            dmarc_testing: own.dmarc_testing.unwrap_or(all.dmarc.testing),
            ed25519: settings.ed25519,
            third_party: settings.third_party.clone(),
            publisher: own.publisher.clone(),
            evidence: settings.rotation.evidence.to_string(),
            rotate_every_seconds: settings.rotation.rotate_every.map(|every| every.as_secs()),
            held,
            keys: self.keys_of(name, &ledger),
        }))
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }
}

impl RelayLife {
    fn keys_of(&self, domain: &Domain, ledger: &Ledger) -> Vec<KeyStanding> {
        let mut watched = self.watch.standing(domain);
        let key = |(selector, entry): (&crate::mail::Selector, &crate::keys::Entry)| {
            let id = KeyId { domain: domain.clone(), selector: selector.clone() };
            KeyStanding {
                selector: selector.clone(),
                name: id.to_string(),
                algorithm: entry.algorithm,
                state: entry.state,
                since: entry.since,
                born_at: entry.born(),
                active_at: entry.active_since(),
                watch: watched.remove(&id),
            }
        };
        ledger.entries().iter().map(key).collect()
    }
}

/// The admin's open listener; none where `[admin]` is off.
#[derive(Default)]
pub struct Admin {
    open: Option<Open>,
}

struct Open {
    configured: SocketAddr,
    address: SocketAddr,
    terms: Arc<ArcSwap<Terms>>,
    over: CancellationToken,
    running: JoinHandle<()>,
}

/// What becomes of the listener: all that can fail has been done.
pub enum Opening {
    /// There shall be none.
    Off,
    /// Its socket is at the right address.
    Kept(Terms),
    /// A new socket.
    Bound(SocketAddr, Listener, Terms),
}

impl Admin {
    /// Binds what `config` says, unless it is open already.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn opening(&self, config: &Config, tls: Option<&Tls>) -> Result<Opening, StartFault> {
        let Some(configured) = &config.admin else { return Ok(Opening::Off) };
        let address = configured.settings.address;
        let terms = Terms { access: Access::of(&configured.settings), bounds: configured.settings.bounds, tls: tls.map(Tls::current) };
        if self.open.as_ref().is_some_and(|open| open.configured == address) {
            return Ok(Opening::Kept(terms));
        }
        let fault =
            |error| StartFault(vec![format!("[admin] cannot listen at {address}: {error}; set admin.address to a free one, or admin.enabled to false")]);
        Listener::bind(address).map(|listener| Opening::Bound(address, listener, terms)).map_err(fault)
    }

    /// Opens, changes or closes it.
    pub(super) fn replace(&mut self, opening: Opening, page: &Arc<Sources>) {
        match (opening, &self.open) {
            (Opening::Kept(terms), Some(open)) => open.terms.store(Arc::new(terms)),
            (Opening::Bound(configured, listener, terms), _) => {
                self.give_up();
                self.open = Open::begin(configured, listener, terms, page);
            }
            (Opening::Off | Opening::Kept(_), _) => self.give_up(),
        }
    }

    /// Closes it, and waits for answers under way.
    pub async fn close(mut self) {
        if let Some(open) = self.open.take() {
            open.over.cancel();
            let _ = open.running.await;
            tracing::info!(address = %open.address, "admin.closed");
        }
    }

    fn give_up(&mut self) {
        if let Some(open) = self.open.take() {
            open.over.cancel();
            tracing::info!(address = %open.address, "admin.closed");
        }
    }
}

impl Open {
    /// `None` where the system does not say which address it gave.
    fn begin(configured: SocketAddr, listener: Listener, terms: Terms, page: &Arc<Sources>) -> Option<Self> {
        let address = listener.address().ok()?;
        let (terms, over) = (Arc::new(ArcSwap::from_pointee(terms)), CancellationToken::new());
        let router = admin::router(page.office().clone()).merge(admin::page::router(page.clone()));
        let running = tokio::spawn(listener.run(router, terms.clone(), over.clone()));
        tracing::info!(%address, "admin.opened");
        Some(Self { configured, address, terms, over, running })
    }
}
