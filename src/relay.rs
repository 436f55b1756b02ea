//! The wiring: builds the rooms, joins them, reloads, drains. The one file that knows every room.

mod desk;
mod entrance;
pub mod examination;
pub mod front;
pub mod home;
mod lasting;
mod meters;
pub mod office;
mod page;
mod process;
mod pulse;
mod returns;
mod rotation;
mod snapshot;
mod spans;
pub mod suppressed;
mod watch;
mod webhooks;
pub mod world;

use crate::clock;
use crate::config::{self, Config};
use crate::deliver::tls::ClientTls;
use crate::deliver::{Delivery, Outside, Tcp};
use crate::dns::{self, Authority, Resolver};
use crate::events::meters::Meters;
use crate::events::otlp::{Exporter, Tracer};
use crate::events::traffic::Traffic;
use crate::ingress::connection::{self, Encryption, Terms};
use crate::ingress::door::{self, Guard, Proxies};
use crate::ingress::identity::Identities;
use crate::ingress::listener::{self, Admission, Listener, Unwrap};
use crate::ingress::{sasl, tls};
use crate::mail::{IdentityName, Timestamp};
use crate::policy::Usage;
use crate::prepare::Snapshot;
use crate::service::sockets::Sockets;
use crate::smtp::memory::Memory;
use crate::smtp::settings::StartTls;
use crate::spool::{Records, RecoveryReport, Spool, SqliteSpool};
use arc_swap::ArcSwap;
use entrance::Entrance;
use front::{Front, IdSource, Workshop};
use home::Home;
use lasting::Lasting;
use meters::{Measuring, Sights};
use office::{Admin, RelayLife, ReloadAsked};
use page::PageKeeper;
pub use pulse::Pulse;
use returns::{Returns, Rules};
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
    returns: Arc<Returns<SqliteSpool>>,
    spool: Arc<SqliteSpool>,
    delivery: Arc<Delivery>,
    lasting: Lasting,
    sweeping: Sweeping,
    measuring: Measuring,
    watch: Arc<Watch>,
    in_force: Arc<InForce>,
    rotating: Rotating,
    webhooks: Webhooks,
    gate: Arc<sasl::Gate>,
    memory: Arc<Memory>,
    /// What is being received by listeners for bounces: a flood of them leaves the other alone.
    returns_memory: Arc<Memory>,
    doors: Vec<OpenDoor>,
    admin: Admin,
    life: Arc<RelayLife>,
    page: Arc<page::Sources>,
    page_keeper: PageKeeper,
    reloads: mpsc::Receiver<ReloadAsked>,
    /// Listeners that take no connections any more; those they have are ending.
    closing: Vec<JoinHandle<()>>,
    /// The configuration in force; what a reload compares with.
    config: Arc<Config>,
    /// What the service manager passed.
    sockets: Sockets,
    exporter: Exporter,
}

/// A listener that takes connections.
struct OpenDoor {
    address: SocketAddr,
    /// The number of its socket, where the service manager passed one.
    passed: Option<usize>,
    configured: config::Listener,
    terms: Arc<ArcSwap<Terms<Entrance>>>,
    admission: Arc<Admission>,
    closing: CancellationToken,
    running: JoinHandle<()>,
}

/// What becomes a listener of the configuration.
enum Opening {
    /// The open door at this place of the list: its socket is at the right address.
    Kept(usize),
    /// A new socket, or the one of this number that was passed.
    Bound(Listener, Option<usize>),
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
        Self::start_with(config, Sockets::none()).await
    }

    /// As [`Relay::start`], with listening sockets that the service manager passed.
    ///
    /// # Errors
    /// As [`Relay::start`]; a socket that no listener takes.
    pub async fn start_with(config: Config, sockets: Sockets) -> Result<Self, StartFault> {
        let began_at = clock::now();
        let config = Arc::new(config);
        let key_files = rotation::fingerprint(&config);
        let material = Material::read(&config, first_secret(&config))?;
        let (spool, report, scratch) = lasting::open_spool(&config)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(material.snapshot));
        let gate = sasl::Gate::new(config.auth);
        let guard = guard(&config, &gate, material.tls.as_ref())?;

        let (tracer, exporter) = export(&config, &material.client_tls)?;
        let ids = Arc::new(IdSource::from(rand::random()));
        let workshop = Workshop::of_threads(sealing_threads(&config));
        let (meters, traffic) = (Arc::new(Meters::default()), Arc::new(Traffic::default()));
        let home = Arc::new(Home {
            snapshot: snapshot.clone(),
            hostname: config.server.hostname.clone(),
            ids: ids.clone(),
            meters: meters.front.clone(),
            tracer: tracer.clone(),
        });
        let webhooks = Webhooks::begin(spool.clone(), &config.webhooks, &material.client_tls);
        let resolver = Arc::new(material.resolver.counting(meters.dns.clone()));
        let authority = Authority::new(resolver.clone(), dns::authority::Settings::of(&config.resolver));
        let orders = Orders::of(&config, material.watched);
        let lasting = Lasting::begin(&config, &resolver, &material.client_tls, &meters.deliver, &spool, scratch);
        let outside = Outside {
            notices: home.clone(),
            reseal: home.clone(),
            clock: clock::system(),
            chance: Arc::new(rand::random),
            network: Arc::new(Tcp),
            meters: meters.deliver.clone(),
        };
        let delivery = Arc::new(Delivery::start(spool.clone(), resolver.clone(), config.deliver.clone(), material.client_tls, outside));
        let suppressing = suppressed::Suppressing {
            spool: spool.clone(),
            rules: Arc::new(ArcSwap::from_pointee(config.deliver.suppression.clone())),
            home: home.clone(),
            workshop: workshop.clone(),
            meters: meters.front.clone(),
        };
        let front = Arc::new(Front {
            snapshot: snapshot.clone(),
            spool: spool.clone(),
            through: lasting.through.clone(),
            foreign_keys: material.foreign_keys.clone(),
            due: delivery.waker(),
            ids: ids.clone(),
            workshop,
            suppressing,
            examinations: Semaphore::new(front::EXAMINATIONS_MAX),
            usage: Mutex::new(Usage::default()),
            meters: meters.front.clone(),
            tracer,
            traffic: traffic.clone(),
            clock: clock::system(),
        });
        let returns = Arc::new(Returns {
            rules: ArcSwap::from_pointee(Rules::of(&config)),
            snapshot: snapshot.clone(),
            spool: spool.clone(),
            due: delivery.waker(),
            ids,
            foreign_keys: material.foreign_keys,
            sources: Mutex::default(),
            classifying: Arc::new(Semaphore::new(returns::CLASSIFYING_MAX)),
            examinations: Semaphore::new(front::EXAMINATIONS_MAX),
            meters: meters.returns.clone(),
            front: meters.front.clone(),
        });
        let memory = Memory::new(config.server.incoming_octets_max);
        let returns_memory = Memory::new(config.returns.incoming_octets_max);
        let sweeping = Sweeping::begin(spool.clone(), delivery.waker());
        let watch = Arc::new(Watch::begin(orders, authority, snapshot.clone(), delivery.waker()));
        let in_force = Arc::new(InForce::new(config.clone(), snapshot.clone(), watch.clone()));
        let rotating = Rotating::begin(in_force.clone(), key_files, resolver.clone(), spool.clone());
        let (life, reloads) = RelayLife::begin(began_at, in_force.clone(), snapshot.clone(), watch.clone(), spool.clone(), lasting.through.clone());
        let sights = Sights { spool: spool.clone(), watch: watch.clone(), snapshot, life: life.clone(), whereabouts: delivery.whereabouts() };
        let measuring = Measuring::begin(meters.clone(), &sights, &report, &config);
        let desk = desk::Desk { delivery: delivery.clone(), home, in_force: in_force.clone() };
        let office = life.office(meters, Arc::new(desk));
        let page = page::Sources::new(office, in_force.clone(), delivery.clone(), resolver, traffic, webhooks.troubles().clone(), report.commits_lost);
        let page_keeper = PageKeeper::begin(&page);
        let (doors, closing, admin) = (Vec::new(), Vec::new(), Admin::default());
        let mut relay = Self {
            front,
            returns,
            spool,
            delivery,
            lasting,
            sweeping,
            measuring,
            watch,
            in_force,
            rotating,
            webhooks,
            gate,
            memory,
            returns_memory,
            doors,
            admin,
            life,
            page,
            page_keeper,
            reloads,
            closing,
            config,
            sockets,
            exporter,
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

    /// Where the heartbeat of this relay is felt.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse::of(self.spool.clone(), self.delivery.clone())
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
        let material = Material::read(&config, first_secret(&config))?;
        let guard = guard(&config, &self.gate, material.tls.as_ref())?;
        let openings = openings(&config, &self.doors, &self.sockets)?;
        let admin = self.admin.opening(&config, material.admin_tls.as_ref())?;
        self.report_what_stays(&config);

        self.front.usage.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(&config.policy);
        self.in_force.replace(config.clone(), material.snapshot, material.watched);
        self.webhooks.replace(&config.webhooks, &material.client_tls);
        self.lasting.reload(&config, &material.client_tls);
        self.front.suppressing.rules.store(Arc::new(config.deliver.suppression.clone()));
        self.delivery.reload(config.deliver.clone(), material.client_tls);
        self.memory.limit(config.server.incoming_octets_max);
        self.returns_memory.limit(config.returns.incoming_octets_max);
        self.returns.rules.store(Arc::new(Rules::of(&config)));
        self.config = config;
        self.replace_doors(openings, &guard);
        self.admin.replace(admin, &self.page);
        self.measuring.own.look_at_certificates(&self.config);
        material.warnings.iter().for_each(|warning| tracing::warn!(warning, "config.warned"));
        tracing::info!("config.reloaded");
        Ok(())
    }

    /// How long a drain waits for what is under way, and for an upstream to take what waits.
    #[must_use]
    pub fn drain_within(&self) -> Duration {
        let handover = self.config.server.upstream.as_ref().map_or(Duration::ZERO, |_| self.config.server.handover);
        self.config.server.drain + handover
    }

    /// Stops: no new connections, dialogues finish, replies to final dots are waited for, the upstream gets what waits, the spool closes.
    /// Bounded by `server.drain` and `server.handover`.
    pub async fn drain(mut self) {
        let within = self.config.server.drain;
        let began_at = clock::now();
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
        self.page_keeper.end().await;
        let ((), ()) = tokio::join!(ingress, self.delivery.drain(within));
        self.lasting.drain(within.saturating_sub(clock::now().since(began_at))).await;
        let _ = self.sweeping.running.await; // it ends at its next page
        let _ = self.rotating.running.await; // it ends between two steps
        self.lasting.hand_over(&self.config).await;
        self.webhooks.end().await;
        self.measuring.end().await;
        self.spool.close().await;
        self.exporter.end().await;
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
        self.admin.replace(opening, &self.page);
        Ok(())
    }

    fn open_doors(&mut self, guard: &Arc<Guard>) -> Result<(), StartFault> {
        let openings = openings(&self.config, &self.doors, &self.sockets)?;
        self.replace_doors(openings, guard);
        Ok(())
    }

    /// Gives the listeners that stay their new terms, opens the new ones, closes those that are gone.
    fn replace_doors(&mut self, openings: Vec<(config::Listener, Opening)>, guard: &Arc<Guard>) {
        let mut old: Vec<_> = std::mem::take(&mut self.doors).into_iter().map(Some).collect();
        for (configured, opening) in openings {
            let terms = Arc::new(self.terms(&configured, guard));
            let door = match opening {
                Opening::Kept(at) => old[at].take().map(|door| door.under(configured, terms)),
                Opening::Bound(listener, passed) => OpenDoor::open(configured, listener, passed, terms),
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

    /// What a listener's connections are served under: by purpose, who stands behind it, whom it lets in, what it may use.
    fn terms(&self, listener: &config::Listener, guard: &Arc<Guard>) -> Terms<Entrance> {
        if !listener.takes_bounces() {
            return terms(listener, Entrance::Submission(self.front.clone()), guard.clone(), &self.memory, self);
        }
        let open = door::OpenDoor { name: IdentityName::new(returns::ANYBODY), tls: guard.open_tls.clone() };
        terms(listener, Entrance::Bounces(self.returns.clone()), Arc::new(open), &self.returns_memory, self)
    }

    fn report_what_stays(&self, config: &Config) {
        let changed = [
            ("spool", config.spool != self.config.spool),
            ("through", config.through != self.config.through),
            ("resolver", config.resolver != self.config.resolver),
            ("otlp", config.otlp != self.config.otlp),
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
    fn open(configured: config::Listener, listener: Listener, passed: Option<usize>, terms: Arc<Terms<Entrance>>) -> Option<Self> {
        let address = listener.address().ok()?;
        let (terms, admission, closing) = (Arc::new(ArcSwap::new(terms)), listener.admission(), CancellationToken::new());
        let running = tokio::spawn(listener.run(terms.clone(), closing.clone()));
        tracing::info!(listener = configured.name, %address, "listener.opened");
        if passed.is_some() && address != configured.address {
            let (name, declared) = (&configured.name, configured.address);
            let warning = format!("listener \"{name}\" has a socket of the service manager at {address}; its own address, {declared}, is not used");
            tracing::warn!(warning, "config.warned");
        }
        Some(Self { address, passed, configured, terms, admission, closing, running })
    }

    /// The same socket under new settings; who is connected stays.
    fn under(self, configured: config::Listener, terms: Arc<Terms<Entrance>>) -> Self {
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
                suppressions = swept.suppressions,
                rescheduled = swept.rescheduled,
                quarantined = swept.quarantined.len(),
                "spool.swept"
            );
            for mail_id in &swept.kept {
                tracing::info!(%mail_id, "return.expired");
            }
            if swept.rescheduled > 0 {
                due.notify_one();
            }
            lasting::look_at_held(spool).await;
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
    foreign_keys: hickory_resolver::TokioResolver,
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
        let foreign_keys = dns::client(&config.resolver).map_err(|fault| faults.push(fault.to_string())).ok();
        let (Some(read), Some(client_tls), Some(resolver), Some(foreign_keys)) = (read, client_tls, resolver, foreign_keys) else {
            return Err(StartFault(faults));
        };
        if !faults.is_empty() {
            return Err(StartFault(faults));
        }
        let warnings = config.warnings().map(str::to_owned).chain(read.warnings).collect();
        Ok(Self { snapshot: read.snapshot, watched: read.watched, warnings, tls, admin_tls, client_tls, resolver, foreign_keys })
    }
}

fn guard(config: &Config, gate: &Arc<sasl::Gate>, tls: Option<&tls::Tls>) -> Result<Arc<Guard>, StartFault> {
    let sasl = sasl::Sasl::new(config.users.clone(), gate.clone()).map_err(|faults| StartFault(faults.iter().map(ToString::to_string).collect()))?;
    let identities = Identities::new(&config.identities.networks, &config.identities.certificates);
    let (tls, open_tls) = (tls.map(tls::Tls::current), tls.map(tls::Tls::current_for_anybody));
    Ok(Arc::new(Guard { identities: Arc::new(identities), sasl: Arc::new(sasl), tls, open_tls }))
}

fn terms(listener: &config::Listener, accept: Entrance, door: Arc<dyn connection::Door>, memory: &Arc<Memory>, relay: &Relay) -> Terms<Entrance> {
    let encryption = match (listener.implicit_tls, listener.dialogue.starttls) {
        (true, _) => Encryption::Implicit,
        (false, StartTls::Offered) => Encryption::StartTls,
        (false, StartTls::Required) => Encryption::StartTlsRequired,
        (false, StartTls::Unavailable) => Encryption::None,
    };
    Terms {
        accept: Arc::new(accept),
        door,
        listener: listener.name.as_str().into(),
        encryption,
        memory: memory.clone(),
        settings: connection::Settings {
            handshake_timeout: listener.handshake_timeout,
            write_timeout: listener.write_timeout,
            drain_timeout: relay.config.server.drain,
            ..connection::Settings::default()
        },
        clock: clock::system(),
        dialogue: listener.dialogue.clone(),
        meters: relay.measuring.meters.ingress.clone(),
    }
}

/// Binds the listeners at addresses that are not open yet; all or none. An open door is kept for a listener at its address, by name first:
/// a socket cannot be bound twice, and need not be, whatever else of the listener changes.
fn openings(config: &Config, open: &[OpenDoor], sockets: &Sockets) -> Result<Vec<(config::Listener, Opening)>, StartFault> {
    let wanted: Vec<_> = config.listeners.iter().map(|listener| (listener.name.as_str(), listener.address)).collect();
    let claims = sockets.claims(&wanted).map_err(StartFault)?;
    let mut free: Vec<usize> = (0..open.len()).collect();
    let mut keep = |passed: Option<usize>, fits: &dyn Fn(&config::Listener) -> bool| {
        let found = free.iter().position(|at| open[*at].passed == passed && (passed.is_some() || fits(&open[*at].configured)));
        found.map(|found| free.remove(found))
    };
    let claimed = || config.listeners.iter().zip(claims.iter().copied());
    let by_name: Vec<_> = claimed().map(|(wanted, claim)| keep(claim, &|old| old.name == wanted.name && old.address == wanted.address)).collect();
    let (mut openings, mut faults) = (Vec::new(), Vec::new());
    for ((wanted, claim), by_name) in claimed().zip(by_name) {
        let kept = by_name.or_else(|| keep(claim, &|old| old.address == wanted.address));
        match kept.map_or_else(|| listen(wanted, claim, sockets).map(|listener| Opening::Bound(listener, claim)), |at| Ok(Opening::Kept(at))) {
            Ok(opening) => openings.push((wanted.clone(), opening)),
            Err(error) => faults.push(format!("listener \"{}\" cannot listen at {}: {error}", wanted.name, wanted.address)),
        }
    }
    if faults.is_empty() { Ok(openings) } else { Err(StartFault(faults)) }
}

fn listen(listener: &config::Listener, claim: Option<usize>, sockets: &Sockets) -> std::io::Result<Listener> {
    let settings = listener::Settings {
        connections_max: listener.connections_max,
        connections_per_client_max: listener.connections_per_client_max,
        ..listener::Settings::at(listener.address)
    };
    match claim {
        Some(number) => Listener::adopt(sockets.get(number)?, settings, proxy(listener)),
        None => Listener::bind(settings, proxy(listener)),
    }
}

fn proxy(listener: &config::Listener) -> Option<Arc<dyn Unwrap>> {
    let trusted = listener.proxies.clone()?;
    Some(Arc::new(Proxies { trusted, timeout: listener.handshake_timeout }))
}

/// What is passed through keeps its reverse-path, so no secret of bounce tokens is needed, nor a folder where one could be made.
fn first_secret(config: &Config) -> FirstSecret {
    if config.through.is_some() { FirstSecret::StandIn } else { FirstSecret::Make }
}

fn report_recovery(report: &RecoveryReport) {
    if report.commits_lost > 0 {
        tracing::error!(commits = report.commits_lost, "commits.lost");
    }
    report.warnings.iter().for_each(|warning| tracing::warn!(warning, "spool.warned"));
    report.restored.iter().for_each(lasting::report_held);
    tracing::info!(
        took_ms = millis(report.took),
        mails = report.mails,
        leases = report.leases_ended,
        quarantined = report.quarantined,
        orphans = report.orphans_removed,
        "spool.opened"
    );
}

/// Whom spans are told to: nobody, without a collector.
fn export(config: &Config, tls: &ClientTls) -> Result<(Tracer, Exporter), StartFault> {
    let Some(settings) = &config.otlp else { return Ok(Default::default()) };
    Tracer::begin(settings, &config.server.hostname, tls.https()).map_err(|fault| StartFault(vec![format!("otlp: {fault}")]))
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
