//! The wiring: builds the rooms, joins them, reloads, drains. The one file that knows every room.

mod front;
mod home;
mod snapshot;

use crate::clock;
use crate::config::{self, Config};
use crate::deliver::Delivery;
use crate::deliver::tls::ClientTls;
use crate::dns::{self, Resolver};
use crate::ingress::connection::{self, Encryption, Terms};
use crate::ingress::door::{Guard, Proxies};
use crate::ingress::identity::Identities;
use crate::ingress::listener::{self, Listener, Unwrap};
use crate::ingress::{sasl, tls};
use crate::mail::Timestamp;
use crate::policy::Usage;
use crate::prepare::Snapshot;
use crate::smtp::settings::StartTls;
use crate::spool::{Records, RecoveryReport, Spool, SpoolError, SqliteSpool};
use arc_swap::ArcSwap;
use front::{Front, IdSource};
use home::Home;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The snapshot that decides about submissions, from configuration and key files; for commands that work without a running relay.
///
/// # Errors
/// Every fault of every key file.
pub fn snapshot(config: &Config, now: Timestamp) -> Result<Snapshot, Vec<String>> {
    snapshot::read(config, now).map(|read| read.snapshot)
}

/// A running relay.
pub struct Relay {
    snapshot: Arc<ArcSwap<Snapshot>>,
    front: Arc<Front<SqliteSpool>>,
    spool: Arc<SqliteSpool>,
    delivery: Arc<Delivery>,
    sweeping: Sweeping,
    gate: Arc<sasl::Gate>,
    doors: HashMap<String, OpenDoor>,
    /// The configuration in force; what a reload compares with.
    config: Config,
}

/// A listener that takes connections.
struct OpenDoor {
    address: SocketAddr,
    configured: config::Listener,
    terms: Arc<ArcSwap<Terms<Front<SqliteSpool>>>>,
    closing: CancellationToken,
    running: JoinHandle<()>,
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
        let material = Material::read(&config)?;
        let (spool, report) = open_spool(&config)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(material.snapshot));
        let gate = sasl::Gate::new(config.auth);
        let guard = guard(&config, &gate, material.tls.as_ref())?;

        let ids = Arc::new(IdSource::from(rand::random()));
        let home = Arc::new(Home { snapshot: snapshot.clone(), hostname: config.server.hostname.clone(), ids: ids.clone() });
        let delivery = Delivery::start(spool.clone(), material.resolver, config.deliver.clone(), material.client_tls, home.clone(), home, Arc::new(clock::now));
        let front = Arc::new(Front {
            snapshot: snapshot.clone(),
            spool: spool.clone(),
            authenticator: material.authenticator,
            due: delivery.waker(),
            ids,
            sealing: Arc::new(Semaphore::new(sealing_threads(&config))),
            usage: Mutex::new(Usage::default()),
        });
        let sweeping = Sweeping::begin(spool.clone(), delivery.waker());
        let mut relay = Self { snapshot, front, spool, delivery: Arc::new(delivery), sweeping, gate, doors: HashMap::new(), config };
        if let Err(fault) = relay.open_doors(&guard) {
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
        let mut addresses: Vec<_> = self.doors.iter().map(|(name, door)| (name.clone(), door.address)).collect();
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
        let material = Material::read(&config)?;
        let guard = guard(&config, &self.gate, material.tls.as_ref())?;
        let bound = bind_new(&config, &self.doors)?;
        self.report_what_stays(&config);

        self.front.usage.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(&config.policy);
        self.snapshot.store(Arc::new(material.snapshot));
        self.delivery.reload(config.deliver.clone(), material.client_tls);
        self.config = config;
        self.replace_doors(bound, &guard);
        material.warnings.iter().for_each(|warning| tracing::warn!(warning, "config.warned"));
        tracing::info!("config.reloaded");
        Ok(())
    }

    /// Stops: no new connections, dialogues finish, replies to final dots are waited for, the spool closes. Bounded by `server.drain`.
    pub async fn drain(mut self) {
        let within = self.config.server.drain;
        tracing::info!(within_ms = millis(within), "drain.started");
        let doors: Vec<_> = self.doors.drain().map(|(_, door)| door).collect();
        for door in &doors {
            door.closing.cancel();
        }
        let ingress = async {
            for door in doors {
                let _ = door.running.await;
            }
        };
        // What ingress accepts while it drains is spooled; delivery need not wait for it.
        self.sweeping.over.cancel();
        let ((), ()) = tokio::join!(ingress, self.delivery.drain(within));
        let _ = self.sweeping.running.await; // it ends at its next page
        self.spool.close().await;
        tracing::info!("relay.stopped");
    }

    fn open_doors(&mut self, guard: &Arc<Guard>) -> Result<(), StartFault> {
        let bound = bind_new(&self.config, &self.doors)?;
        self.replace_doors(bound, guard);
        Ok(())
    }

    /// Closes listeners that are gone or moved, gives the others their new terms, opens the new ones.
    fn replace_doors(&mut self, bound: Vec<(config::Listener, Listener)>, guard: &Arc<Guard>) {
        let wanted = &self.config.listeners;
        self.doors.retain(|name, door| {
            let stays = wanted.iter().any(|listener| listener.name == *name && door.stays(listener));
            if !stays {
                door.closing.cancel();
                tracing::info!(listener = name, address = %door.address, "listener.closed");
            }
            stays
        });
        for listener in wanted {
            if let Some(door) = self.doors.get_mut(&listener.name) {
                door.terms.store(Arc::new(terms(listener, &self.front, guard, self.config.server.drain)));
                door.configured = listener.clone();
            }
        }
        for (configured, listener) in bound {
            let Ok(address) = listener.address() else { continue };
            let terms = Arc::new(ArcSwap::from_pointee(terms(&configured, &self.front, guard, self.config.server.drain)));
            let closing = CancellationToken::new();
            let running = tokio::spawn(listener.run(terms.clone(), closing.clone()));
            tracing::info!(listener = configured.name, %address, "listener.opened");
            self.doors.insert(configured.name.clone(), OpenDoor { address, configured, terms, closing, running });
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
    /// The socket can go on under the new settings.
    fn stays(&self, new: &config::Listener) -> bool {
        let old = &self.configured;
        old.address == new.address && old.proxies == new.proxies && old.connections_max == new.connections_max && old.connections_per_client_max == new.connections_per_client_max
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
    warnings: Vec<String>,
    tls: Option<tls::Tls>,
    client_tls: ClientTls,
    resolver: Arc<Resolver>,
    authenticator: mail_auth::MessageAuthenticator,
}

impl Material {
    fn read(config: &Config) -> Result<Self, StartFault> {
        let mut faults = Vec::new();
        let read = snapshot::read(config, clock::now()).map_err(|more| faults.extend(more)).ok();
        let tls = match config.tls.as_ref().map(tls::Tls::load) {
            None => None,
            Some(Ok(tls)) => Some(tls),
            Some(Err(more)) => {
                faults.extend(more.iter().map(ToString::to_string));
                None
            }
        };
        let client_tls = ClientTls::new(&config.roots).map_err(|fault| faults.push(fault.to_string())).ok();
        let resolver = Resolver::new(&config.resolver).map_err(|fault| faults.push(fault.to_string())).ok();
        let authenticator = dns::authenticator(&config.resolver).map_err(|fault| faults.push(fault.to_string())).ok();
        let (Some(read), Some(client_tls), Some(resolver), Some(authenticator)) = (read, client_tls, resolver, authenticator) else { return Err(StartFault(faults)) };
        if !faults.is_empty() {
            return Err(StartFault(faults));
        }
        let warnings = config.warnings().map(str::to_owned).chain(read.warnings).collect();
        Ok(Self { snapshot: read.snapshot, warnings, tls, client_tls, resolver: Arc::new(resolver), authenticator })
    }
}

fn guard(config: &Config, gate: &Arc<sasl::Gate>, tls: Option<&tls::Tls>) -> Result<Arc<Guard>, StartFault> {
    let sasl = sasl::Sasl::new(config.users.clone(), gate.clone()).map_err(|faults| StartFault(faults.iter().map(ToString::to_string).collect()))?;
    let identities = Identities::new(&config.identities.networks, &config.identities.certificates);
    Ok(Arc::new(Guard { identities: Arc::new(identities), sasl: Arc::new(sasl), tls: tls.map(tls::Tls::current) }))
}

fn terms(listener: &config::Listener, front: &Arc<Front<SqliteSpool>>, guard: &Arc<Guard>, drain: Duration) -> Terms<Front<SqliteSpool>> {
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
        settings: connection::Settings {
            handshake_timeout: listener.handshake_timeout,
            write_timeout: listener.write_timeout,
            drain_timeout: drain,
            ..connection::Settings::default()
        },
        dialogue: listener.dialogue.clone(),
    }
}

/// Binds the listeners that are new or have moved; all or none.
fn bind_new(config: &Config, open: &HashMap<String, OpenDoor>) -> Result<Vec<(config::Listener, Listener)>, StartFault> {
    let (mut bound, mut faults) = (Vec::new(), Vec::new());
    for configured in &config.listeners {
        if open.get(&configured.name).is_some_and(|door| door.stays(configured)) {
            continue;
        }
        let proxy = configured.proxies.clone().map(|trusted| Arc::new(Proxies { trusted, timeout: configured.handshake_timeout }) as Arc<dyn Unwrap>);
        let settings = listener::Settings {
            connections_max: configured.connections_max,
            connections_per_client_max: configured.connections_per_client_max,
            ..listener::Settings::at(configured.address)
        };
        match Listener::bind(settings, proxy) {
            Ok(listener) => bound.push((configured.clone(), listener)),
            Err(error) => faults.push(format!("listener \"{}\" cannot listen at {}: {error}", configured.name, configured.address)),
        }
    }
    if faults.is_empty() { Ok(bound) } else { Err(StartFault(faults)) }
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
