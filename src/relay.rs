//! The wiring: builds the rooms, joins them, reloads, drains. The one file that knows every room.

mod front;
mod home;
mod meters;
pub mod office;
mod process;
mod rotation;
mod snapshot;
mod watch;
mod webhooks;
pub mod world;

use crate::admin::Office;
use crate::clock;
use crate::config::{self, Config};
use crate::deliver::tls::ClientTls;
use crate::deliver::{Delivery, Outside};
use crate::dns::{self, Authority, Resolver};
use crate::events::meters::Meters;
use crate::ingress::connection::{self, Encryption, Terms};
use crate::ingress::door::{Guard, Proxies};
use crate::ingress::identity::Identities;
use crate::ingress::listener::{self, Admission, Listener, Unwrap};
use crate::ingress::{sasl, tls};
use crate::mail::Timestamp;
use crate::policy::Usage;
use crate::prepare::Snapshot;
use crate::smtp::memory::Memory;
use crate::smtp::settings::StartTls;
use crate::spool::{Records, RecoveryReport, Spool, SpoolError, SqliteSpool};
use arc_swap::ArcSwap;
use front::{Front, IdSource};
use home::Home;
use meters::{Measuring, Sights};
use office::{Admin, RelayLife, ReloadAsked};
use rotation::{InForce, Rotating};
use snapshot::FirstSecret;
pub use snapshot::keyring;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use watch::{Orders, Target, Watch};
use webhooks::Webhooks;

/// The snapshot that decides about submissions, from configuration and key files; for commands that work without a running relay.
///
/// # Errors
/// Every fault of every key file.
pub fn snapshot(config: &Config, now: Timestamp) -> Result<Snapshot, Vec<String>> {
    snapshot::read(config, FirstSecret::StandIn, now).map(|read| read.snapshot)
}

/// What a start would find wrong with the files that `config` names: keys, certificates, roots. Opens no spool and no listener, and
/// makes nothing. Gives the warnings.
///
/// # Errors
/// Every fault.
pub fn look(config: &Config) -> Result<Vec<String>, StartFault> {
    Material::read(config, FirstSecret::StandIn).map(|material| material.warnings)
}

/// A running relay.
pub struct Relay {
    front: Arc<Front<SqliteSpool>>,
    spool: Arc<SqliteSpool>,
    delivery: Arc<Delivery>,
    sweeping: Sweeping,
    measuring: Measuring,
    watch: Arc<Watch>,
    in_force: Arc<InForce>,
    rotating: Rotating,
    webhooks: Webhooks,
    gate: Arc<sasl::Gate>,
    memory: Arc<Memory>,
    doors: Vec<OpenDoor>,
    admin: Admin,
    life: Arc<RelayLife>,
    office: Arc<Office<SqliteSpool>>,
    reloads: mpsc::Receiver<ReloadAsked>,
    /// Listeners that take no connections any more; those they have are ending.
    closing: Vec<JoinHandle<()>>,
    /// The configuration in force; what a reload compares with.
    config: Arc<Config>,
}

/// A listener that takes connections.
struct OpenDoor {
    address: SocketAddr,
    configured: config::Listener,
    terms: Arc<ArcSwap<Terms<Front<SqliteSpool>>>>,
    admission: Arc<Admission>,
    closing: CancellationToken,
    running: JoinHandle<()>,
}

/// What becomes a listener of the configuration.
enum Opening {
    /// The open door at this place of the list: its socket is at the right address.
    Kept(usize),
    /// A new socket.
    Bound(Listener),
}

/// Why a relay cannot start, or cannot take a new configuration: each a sentence with its remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct StartFault(pub Vec<String>);

impl Relay {
    /// Starts everything that `config` says and logs `relay.started`. Needs a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// Every fault of keys and certificates at once; a spool or an address that cannot be had. Nothing runs then.
    pub async fn start(config: Config) -> Result<Self, StartFault> {
        let began_at = clock::now();
        let config = Arc::new(config);
        let key_files = rotation::fingerprint(&config);
        let material = Material::read(&config, FirstSecret::Make)?;
        let (spool, report) = open_spool(&config)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(material.snapshot));
        let gate = sasl::Gate::new(config.auth);
        let guard = guard(&config, &gate, material.tls.as_ref())?;

        let ids = Arc::new(IdSource::from(rand::random()));
        let meters = Arc::new(Meters::default());
        let home = Arc::new(Home { snapshot: snapshot.clone(), hostname: config.server.hostname.clone(), ids: ids.clone(), meters: meters.front.clone() });
        let webhooks = Webhooks::begin(spool.clone(), &config.webhooks, &material.client_tls);
        let resolver = Arc::new(material.resolver.counting(meters.dns.clone()));
        let authority = Authority::new(resolver.clone(), dns::authority::Settings::of(&config.resolver));
        let orders = Orders::of(&config, material.watched);
        let outside = Outside { notices: home.clone(), reseal: home, clock: Arc::new(clock::now), meters: meters.deliver.clone() };
        let delivery = Delivery::start(spool.clone(), resolver.clone(), config.deliver.clone(), material.client_tls, outside);
        let front = Arc::new(Front {
            snapshot: snapshot.clone(),
            spool: spool.clone(),
            authenticator: material.authenticator,
            due: delivery.waker(),
            ids,
            sealing: Arc::new(Semaphore::new(sealing_threads(&config))),
            examinations: Semaphore::new(front::EXAMINATIONS_MAX),
            usage: Mutex::new(Usage::default()),
            meters: meters.front.clone(),
        });
        let memory = Memory::new(config.server.incoming_octets_max);
        let sweeping = Sweeping::begin(spool.clone(), delivery.waker());
        let watch = Arc::new(Watch::begin(orders, authority, snapshot.clone(), delivery.waker()));
        let in_force = Arc::new(InForce::new(config.clone(), snapshot.clone(), watch.clone()));
        let rotating = Rotating::begin(in_force.clone(), key_files, resolver, spool.clone());
        let (life, reloads) = RelayLife::begin(began_at, in_force.clone(), snapshot.clone(), watch.clone(), spool.clone());
        let sights = Sights { spool: spool.clone(), watch: watch.clone(), snapshot, life: life.clone(), whereabouts: delivery.whereabouts() };
        let measuring = Measuring::begin(meters.clone(), &sights, &report, &config);
        let office = life.office(meters);
        let (doors, closing, admin) = (Vec::new(), Vec::new(), Admin::default());
        let delivery = Arc::new(delivery);
        let mut relay = Self {
            front,
            spool,
            delivery,
            sweeping,
            measuring,
            watch,
            in_force,
            rotating,
            webhooks,
            gate,
            memory,
            doors,
            admin,
            life,
            office,
            reloads,
            closing,
            config,
        };
        if let Err(fault) = relay.open_admin(material.admin_tls.as_ref()).and_then(|()| relay.open_doors(&guard)) {
            relay.drain().await;
            return Err(fault);
        }
        report_recovery(&report);
        material.warnings.iter().for_each(|warning| tracing::warn!(warning, "config.warned"));
        tracing::info!(hostname = %relay.config.server.hostname, took_ms = millis(clock::now().since(began_at)), version = env!("CARGO_PKG_VERSION"), "relay.started");
        Ok(relay)
    }

    /// The listeners by name, with the addresses they got.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let mut addresses: Vec<_> = self.doors.iter().map(|door| (door.configured.name.clone(), door.address)).collect();
        addresses.sort();
        addresses
    }

    /// Takes a new configuration, with keys, certificates and users read anew: all of it, or nothing. Open connections and running
    /// attempts end under the old one. Spool, resolver and the bounds of password checks stay as they were until a restart; a change
    /// of them is logged.
    ///
    /// # Errors
    /// Every fault; the running state is kept.
    pub fn reload(&mut self, config: Config) -> Result<(), StartFault> {
        let config = Arc::new(config);
        let material = Material::read(&config, FirstSecret::Make)?;
        let guard = guard(&config, &self.gate, material.tls.as_ref())?;
        let openings = openings(&config, &self.doors)?;
        let admin = self.admin.opening(&config, material.admin_tls.as_ref())?;
        self.report_what_stays(&config);

        self.front.usage.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(&config.policy);
        self.in_force.replace(config.clone(), material.snapshot, material.watched);
        self.webhooks.replace(&config.webhooks, &material.client_tls);
        self.delivery.reload(config.deliver.clone(), material.client_tls);
        self.memory.limit(config.server.incoming_octets_max);
        self.config = config;
        self.replace_doors(openings, &guard);
        self.admin.replace(admin, &self.office);
        self.measuring.own.look_at_certificates(&self.config);
        material.warnings.iter().for_each(|warning| tracing::warn!(warning, "config.warned"));
        tracing::info!("config.reloaded");
        Ok(())
    }

    /// Stops: no new connections, dialogues finish, replies to final dots are waited for, the spool closes. Bounded by `server.drain`.
    pub async fn drain(mut self) {
        let within = self.config.server.drain;
        tracing::info!(within_ms = millis(within), "drain.started");
        self.life.drain(); // probes see it until the very end
        self.reloads.close();
        for door in &self.doors {
            door.closing.cancel();
        }
        let closing: Vec<_> = self.closing.drain(..).chain(self.doors.drain(..).map(|door| door.running)).collect();
        let ingress = async {
            for running in closing {
                let _ = running.await;
            }
        };
        // What ingress accepts while it drains is spooled; delivery need not wait for it.
        self.sweeping.over.cancel();
        self.rotating.over.cancel();
        self.watch.end().await;
        let ((), ()) = tokio::join!(ingress, self.delivery.drain(within));
        let _ = self.sweeping.running.await; // it ends at its next page
        let _ = self.rotating.running.await; // it ends between two steps
        self.measuring.end().await;
        self.webhooks.end().await;
        self.spool.close().await;
        self.admin.close().await;
        tracing::info!("relay.stopped");
    }

    /// Counts a reload that was asked for; whether it was taken.
    pub fn count_reload(&self, taken: bool) {
        self.measuring.own.reloaded(taken);
    }

    /// The next wish for a reload that came over the admin's listener; whoever keeps the configuration answers it.
    pub async fn reload_asked(&mut self) -> ReloadAsked {
        match self.reloads.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await, // it is only closed by a drain
        }
    }

    fn open_admin(&mut self, tls: Option<&tls::Tls>) -> Result<(), StartFault> {
        let opening = self.admin.opening(&self.config, tls)?;
        self.admin.replace(opening, &self.office);
        Ok(())
    }

    fn open_doors(&mut self, guard: &Arc<Guard>) -> Result<(), StartFault> {
        let openings = openings(&self.config, &self.doors)?;
        self.replace_doors(openings, guard);
        Ok(())
    }

    /// Gives the listeners that stay their new terms, opens the new ones, closes those that are gone.
    fn replace_doors(&mut self, openings: Vec<(config::Listener, Opening)>, guard: &Arc<Guard>) {
        let mut old: Vec<_> = std::mem::take(&mut self.doors).into_iter().map(Some).collect();
        for (configured, opening) in openings {
            let terms = Arc::new(terms(&configured, &self.front, guard, &self.memory, &self.measuring.meters, self.config.server.drain));
            let door = match opening {
                Opening::Kept(at) => old[at].take().map(|door| door.under(configured, terms)),
                Opening::Bound(listener) => OpenDoor::open(configured, listener, terms),
            };
            self.doors.extend(door);
        }
        self.life.show(&self.doors);
        self.closing.retain(|running| !running.is_finished());
        for door in old.into_iter().flatten() {
            door.closing.cancel();
            tracing::info!(listener = door.configured.name, address = %door.address, "listener.closed");
            self.closing.push(door.running);
        }
    }

    fn report_what_stays(&self, config: &Config) {
        let changed = [
            ("spool", config.spool != self.config.spool),
            ("resolver", config.resolver != self.config.resolver),
            ("auth", config.auth != self.config.auth),
            ("server.sealing_threads", config.server.sealing_threads != self.config.server.sealing_threads),
            ("server.hostname", config.server.hostname != self.config.server.hostname),
        ];
        for (section, _) in changed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(section, warning = "this change takes effect at the next start", "config.warned");
        }
    }
}

impl OpenDoor {
    /// `None` where the system does not say which address it gave.
    fn open(configured: config::Listener, listener: Listener, terms: Arc<Terms<Front<SqliteSpool>>>) -> Option<Self> {
        let address = listener.address().ok()?;
        let (terms, admission, closing) = (Arc::new(ArcSwap::new(terms)), listener.admission(), CancellationToken::new());
        let running = tokio::spawn(listener.run(terms.clone(), closing.clone()));
        tracing::info!(listener = configured.name, %address, "listener.opened");
        Some(Self { address, configured, terms, admission, closing, running })
    }

    /// The same socket under new settings; who is connected stays.
    fn under(self, configured: config::Listener, terms: Arc<Terms<Front<SqliteSpool>>>) -> Self {
        self.terms.store(terms);
        self.admission.change(configured.connections_max, configured.connections_per_client_max, proxy(&configured));
        Self { configured, ..self }
    }
}

/// The spool forgets what is old enough, and is looked through for mail that damage has hidden: at the start, then every hour.
struct Sweeping {
    over: CancellationToken,
    running: JoinHandle<()>,
}

impl Sweeping {
    fn begin(spool: Arc<SqliteSpool>, due: Arc<tokio::sync::Notify>) -> Self {
        let over = CancellationToken::new();
        let until = over.clone();
        let running = tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = until.cancelled() => return,
                    () = sweep(&spool, &due) => {}
                }
                tokio::select! {
                    () = until.cancelled() => return,
                    () = tokio::time::sleep(SWEEP_EVERY) => {}
                }
            }
        });
        Self { over, running }
    }
}

async fn sweep(spool: &SqliteSpool, due: &tokio::sync::Notify) {
    let began_at = clock::now();
    match spool.sweep(began_at).await {
        Ok(swept) => {
            tracing::info!(
                took_ms = millis(clock::now().since(began_at)),
                history = swept.history,
                senders = swept.senders,
                queues = swept.queues,
                events = swept.events,
                rescheduled = swept.rescheduled,
                quarantined = swept.quarantined.len(),
                "spool.swept"
            );
            if swept.rescheduled > 0 {
                due.notify_one();
            }
        }
        // A failed spool has said so itself.
        Err(error) => tracing::warn!(during = "sweep", %error, "spool.refused"),
    }
}

/// What is read from outside the configuration: keys, certificates, roots, the system's resolver.
struct Material {
    snapshot: Snapshot,
    watched: Vec<Target>,
    warnings: Vec<String>,
    tls: Option<tls::Tls>,
    admin_tls: Option<tls::Tls>,
    client_tls: ClientTls,
    resolver: Resolver,
    authenticator: mail_auth::MessageAuthenticator,
}

impl Material {
    fn read(config: &Config, first_secret: FirstSecret) -> Result<Self, StartFault> {
        let mut faults = Vec::new();
        let read = snapshot::read(config, first_secret, clock::now()).map_err(|more| faults.extend(more)).ok();
        let mut load = |settings: Option<&tls::Settings>| match settings.map(tls::Tls::load) {
            None => None,
            Some(Ok(tls)) => Some(tls),
            Some(Err(more)) => {
                faults.extend(more.iter().map(ToString::to_string));
                None
            }
        };
        let tls = load(config.tls.as_ref());
        let admin_tls = load(config.admin.as_ref().and_then(|admin| admin.tls.as_ref()));
        let client_tls = ClientTls::new(&config.roots).map_err(|fault| faults.push(fault.to_string())).ok();
        let resolver = Resolver::new(&config.resolver).map_err(|fault| faults.push(fault.to_string())).ok();
        let authenticator = dns::authenticator(&config.resolver).map_err(|fault| faults.push(fault.to_string())).ok();
        let (Some(read), Some(client_tls), Some(resolver), Some(authenticator)) = (read, client_tls, resolver, authenticator) else {
            return Err(StartFault(faults));
        };
        if !faults.is_empty() {
            return Err(StartFault(faults));
        }
        let warnings = config.warnings().map(str::to_owned).chain(read.warnings).collect();
        Ok(Self { snapshot: read.snapshot, watched: read.watched, warnings, tls, admin_tls, client_tls, resolver, authenticator })
    }
}

fn guard(config: &Config, gate: &Arc<sasl::Gate>, tls: Option<&tls::Tls>) -> Result<Arc<Guard>, StartFault> {
    let sasl = sasl::Sasl::new(config.users.clone(), gate.clone()).map_err(|faults| StartFault(faults.iter().map(ToString::to_string).collect()))?;
    let identities = Identities::new(&config.identities.networks, &config.identities.certificates);
    Ok(Arc::new(Guard { identities: Arc::new(identities), sasl: Arc::new(sasl), tls: tls.map(tls::Tls::current) }))
}

fn terms(
    listener: &config::Listener,
    front: &Arc<Front<SqliteSpool>>,
    guard: &Arc<Guard>,
    memory: &Arc<Memory>,
    meters: &Meters,
    drain: Duration,
) -> Terms<Front<SqliteSpool>> {
    let encryption = match (listener.implicit_tls, listener.dialogue.starttls) {
        (true, _) => Encryption::Implicit,
        (false, StartTls::Offered) => Encryption::StartTls,
        (false, StartTls::Required) => Encryption::StartTlsRequired,
        (false, StartTls::Unavailable) => Encryption::None,
    };
    Terms {
        accept: front.clone(),
        door: guard.clone(),
        listener: listener.name.as_str().into(),
        encryption,
        memory: memory.clone(),
        settings: connection::Settings {
            handshake_timeout: listener.handshake_timeout,
            write_timeout: listener.write_timeout,
            drain_timeout: drain,
            ..connection::Settings::default()
        },
        dialogue: listener.dialogue.clone(),
        meters: meters.ingress.clone(),
    }
}

/// Binds the listeners at addresses that are not open yet; all or none. An open door is kept for a listener at its address, by name first:
/// a socket cannot be bound twice, and need not be, whatever else of the listener changes.
fn openings(config: &Config, open: &[OpenDoor]) -> Result<Vec<(config::Listener, Opening)>, StartFault> {
    let mut free: Vec<usize> = (0..open.len()).collect();
    let mut keep = |fits: &dyn Fn(&config::Listener) -> bool| free.iter().position(|at| fits(&open[*at].configured)).map(|found| free.remove(found));
    let by_name: Vec<_> = config.listeners.iter().map(|wanted| keep(&|old| old.name == wanted.name && old.address == wanted.address)).collect();
    let (mut openings, mut faults) = (Vec::new(), Vec::new());
    for (wanted, by_name) in config.listeners.iter().zip(by_name) {
        let kept = by_name.or_else(|| keep(&|old| old.address == wanted.address));
        match kept.map_or_else(|| bind(wanted).map(Opening::Bound), |at| Ok(Opening::Kept(at))) {
            Ok(opening) => openings.push((wanted.clone(), opening)),
            Err(error) => faults.push(format!("listener \"{}\" cannot listen at {}: {error}", wanted.name, wanted.address)),
        }
    }
    if faults.is_empty() { Ok(openings) } else { Err(StartFault(faults)) }
}

fn bind(listener: &config::Listener) -> std::io::Result<Listener> {
    let settings = listener::Settings {
        connections_max: listener.connections_max,
        connections_per_client_max: listener.connections_per_client_max,
        ..listener::Settings::at(listener.address)
    };
    Listener::bind(settings, proxy(listener))
}

fn proxy(listener: &config::Listener) -> Option<Arc<dyn Unwrap>> {
    let trusted = listener.proxies.clone()?;
    Some(Arc::new(Proxies { trusted, timeout: listener.handshake_timeout }))
}

fn open_spool(config: &Config) -> Result<(Arc<SqliteSpool>, RecoveryReport), StartFault> {
    let opened = SqliteSpool::open(config.spool.clone(), clock::now());
    opened.map(|(spool, report)| (Arc::new(spool), report)).map_err(|error: SpoolError| StartFault(vec![error.to_string()]))
}

fn report_recovery(report: &RecoveryReport) {
    if report.commits_lost > 0 {
        tracing::error!(commits = report.commits_lost, "commits.lost");
    }
    report.warnings.iter().for_each(|warning| tracing::warn!(warning, "spool.warned"));
    tracing::info!(
        took_ms = millis(report.took),
        mails = report.mails,
        leases = report.leases_ended,
        quarantined = report.quarantined,
        orphans = report.orphans_removed,
        "spool.opened"
    );
}

fn sealing_threads(config: &Config) -> usize {
    match config.server.sealing_threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// As the contract of [`Records::sweep`] asks.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
