//! The relay under test, as `relay.rs` joins it, over the simulated world: ingress connections, `Front`, *prepare* with real keys, `Home`, the
//! station *deliver* and its resolver. Not here, because they are shells around sockets, files and threads: listeners, the real TLS, SASL, the
//! reading of configuration and keys, the admin, SQLite (its faults are those of the crash suite).

use crate::hop;
use crate::keys::Keys;
use crate::names::{self, Names};
use crate::store::{Disk, Store};
use crate::trouble::DiskTrouble;
use crate::wire::{self, Wire};
use crate::world::World;
use arc_swap::ArcSwap;
use postseal::config::{Config, Document};
use postseal::deliver::network::{Doing, Line};
use postseal::deliver::tls::{ClientTls, Roots, TlsDemand, TlsSettings};
use postseal::deliver::{self, Delivery, Network, Outside, Providers};
use postseal::dns::{self, Resolver};
use postseal::events::otlp::Tracer;
use postseal::ingress::connection::{self, Door, Encryption, Exchange, Origin, Terms};
use postseal::mail::{IdentityName, TlsSession};
use postseal::policy::Usage;
use postseal::prepare::Snapshot;
use postseal::readdress::{Ring, TokenSecret};
use postseal::relay::front::{EXAMINATIONS_MAX, Front, IdSource, Workshop};
use postseal::relay::home::Home;
use postseal::relay::suppressed::Suppressing;
use postseal::smtp::memory::Memory;
use postseal::spool::{Health, Spool as _};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub struct Relay {
    world: Arc<World>,
    keys: Arc<Keys>,
    store: Arc<Store>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    front: Arc<Front<Store>>,
    delivery: Delivery,
    terms: ArcSwap<Terms<Front<Store>>>,
    memory: Arc<Memory>,
    drain: CancellationToken,
    serving: Mutex<JoinSet<()>>,
}

impl Relay {
    /// Starts on what the disk holds.
    pub fn start(world: &Arc<World>, disk: &Disk, keys: &Arc<Keys>) -> Arc<Self> {
        let config = config();
        let clock: postseal::clock::Clock = {
            let world = world.clone();
            Arc::new(move || world.now())
        };
        let settings = settings(0);
        let trouble = Arc::new(DiskTrouble::new(world, settings.claim_recipients_max));
        let store = Arc::new(Store::open(disk, trouble, world.plan.defect, 1_000, world.now()));
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(keys)));
        let ids = Arc::new(IdSource::from(u32::try_from(world.chance().below(1 << 18)).unwrap()));
        let home = Arc::new(Home {
            snapshot: snapshot.clone(),
            hostname: config.server.hostname.clone(),
            ids: ids.clone(),
            meters: Arc::default(),
            tracer: Tracer::default(),
        });
        let resolver = dns::Settings { lookups_max: LOOKUPS_MAX, ..dns::Settings::default() };
        let resolver = Arc::new(Resolver::asking(Box::new(Names::new(world, LOOKUPS_MAX)), &resolver));
        let chance = {
            let world = world.clone();
            Arc::new(move || world.chance().draw())
        };
        let network = Arc::new(Net { world: world.clone(), keys: keys.clone(), open: Mutex::default() });
        let outside = Outside { notices: home.clone(), reseal: home.clone(), clock: clock.clone(), chance, network, meters: Arc::default() };
        let suppressing = Suppressing {
            spool: store.clone(),
            rules: Arc::new(ArcSwap::from_pointee(settings.suppression.clone())),
            home,
            workshop: Workshop::Here,
            meters: Arc::default(),
        };
        let delivery = Delivery::start(store.clone(), resolver, settings, tls(), outside);
        // Nothing that is submitted here is signed by others, so that nobody is asked.
        let nobody = dns::Settings { nameservers: Some(vec![SocketAddr::from(([127, 0, 0, 1], 9))]), ..dns::Settings::default() };
        let front = Arc::new(Front {
            snapshot: snapshot.clone(),
            spool: store.clone(),
            through: None,
            foreign_keys: dns::client(&nobody).unwrap(),
            due: delivery.waker(),
            ids,
            workshop: Workshop::Here,
            suppressing,
            examinations: Semaphore::new(EXAMINATIONS_MAX),
            usage: Mutex::new(Usage::default()),
            meters: Arc::default(),
            tracer: Tracer::default(),
            traffic: Arc::default(),
            clock,
        });
        let memory = Memory::new(world.plan.memory_octets_max);
        let terms = ArcSwap::from_pointee(terms(&front, &memory));
        let (drain, serving) = (CancellationToken::new(), Mutex::default());
        Arc::new(Self { world: world.clone(), keys: keys.clone(), store, snapshot, front, delivery, terms, memory, drain, serving })
    }

    /// A client connects; its end.
    pub fn connect(&self, name: &str) -> Wire {
        let (client, server) = wire::pair(&self.world, name, None);
        let origin = Origin { address: [10, 9, 9, 9].into(), identifies: true };
        let mut serving = self.serving.lock().unwrap();
        while serving.try_join_next().is_some() {}
        serving.spawn(connection::serve(server, origin, self.terms.load_full(), self.drain.clone()));
        client
    }

    /// New keys, as they are now, and everything else read anew.
    pub fn reload(&self, variant: u64) {
        self.front.usage.lock().unwrap().retain(&config().policy);
        self.snapshot.store(Arc::new(snapshot(&self.keys)));
        self.delivery.reload(settings(variant), tls());
        self.terms.store(Arc::new(terms(&self.front, &self.memory)));
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.store.health(), Health::Failed(_))
    }

    /// As SIGTERM does it.
    pub async fn drain(&self) {
        self.drain.cancel();
        let serving = std::mem::take(&mut *self.serving.lock().unwrap());
        tokio::join!(serving.join_all(), self.delivery.drain(Duration::from_secs(20)));
        postseal::spool::Spool::close(&*self.store).await;
    }
}

/// Connections to next hops, and as many as there may be.
struct Net {
    world: Arc<World>,
    keys: Arc<Keys>,
    /// By address, and by provider.
    open: Mutex<BTreeMap<String, Arc<AtomicU32>>>,
}

impl Net {
    fn open(&self, what: &str) -> Arc<AtomicU32> {
        self.open.lock().unwrap().entry(what.to_owned()).or_default().clone()
    }

    async fn connected(&self, address: SocketAddr) -> io::Result<Line> {
        let world = &self.world;
        let IpAddr::V4(v4) = address.ip() else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
        let host = names::host_of(v4);
        world.step(format!("connect {host}")).await;
        let latency = world.chance().millis(1, 60);
        world.wait(latency).await;
        let share = world.plan.shares.connect;
        if world.meets("a connection that is refused", share / 2) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if world.meets("a connection attempt without an answer", share / 2) {
            world.wait(wire::FOREVER).await;
        }
        let open = self.open(&host);
        let (ours, theirs) = wire::pair(world, &host, Some(open.clone()));
        world.ledger().bound(&format!("connections to {host}"), open.load(Ordering::SeqCst) as usize, HOST_CONNECTIONS_MAX);
        tokio::spawn(hop::serve(world.clone(), self.keys.clone(), host, theirs));
        Ok(Box::new(ours))
    }

    /// The marker that stands for TLS.
    async fn secured(&self, mut line: Line) -> Result<(Line, TlsSession), String> {
        let words = |fault: io::Error| fault.to_string();
        line.write_all(format!("{}\r\n", hop::MARKER).as_bytes()).await.map_err(words)?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            reply.push(line.read_u8().await.map_err(words)?);
        }
        if reply.trim_ascii_end() != hop::MARKER.as_bytes() {
            return Err(String::from_utf8_lossy(&reply).trim_end().to_owned());
        }
        Ok((line, TlsSession { version: "TLSv1.3", cipher: "MARKER".to_owned() }))
    }
}

impl Network for Net {
    fn connect(&self, address: SocketAddr, _source: Option<IpAddr>) -> Doing<'_, io::Result<Line>> {
        Box::pin(self.connected(address))
    }

    fn secure<'a>(&'a self, line: Line, _: &'a str, _: TlsDemand, _: &'a ClientTls) -> Doing<'a, Result<(Line, TlsSession), String>> {
        Box::pin(self.secured(line))
    }
}

/// One network, no TLS, no passwords.
struct OpenDoor;

impl Door for OpenDoor {
    fn by_network(&self, _: IpAddr) -> Option<IdentityName> {
        Some(IdentityName::new("app"))
    }
    fn by_certificate(&self, _: &[rustls_pki_types::CertificateDer<'_>]) -> Option<(IdentityName, String)> {
        None
    }
    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        None
    }
    fn mechanisms(&self) -> Vec<String> {
        Vec::new()
    }
    fn authentication(&self, _: &str, _: IpAddr) -> Option<Box<dyn Exchange>> {
        None
    }
}

fn terms(front: &Arc<Front<Store>>, memory: &Arc<Memory>) -> Terms<Front<Store>> {
    Terms {
        accept: front.clone(),
        door: Arc::new(OpenDoor),
        listener: "submission".into(),
        encryption: Encryption::None,
        memory: memory.clone(),
        settings: connection::Settings { drain_timeout: config().server.drain, ..connection::Settings::default() },
        clock: front.clock.clone(),
        dialogue: config().listeners[0].dialogue.clone(),
        meters: Arc::default(),
    }
}

/// As `relay/snapshot.rs` joins it, with keys and a token secret that are at hand.
fn snapshot(keys: &Keys) -> Snapshot {
    let config = config();
    let mut seal = config.seal.clone();
    keys.fill(&mut seal);
    Snapshot {
        policy: config.policy.clone(),
        normalise: config.normalise.clone(),
        readdress: config.readdress.clone(),
        ring: Ring::new(&[TokenSecret { key_id: 1, octets: &[7; 32] }], config.readdress.token_age_days_max).unwrap(),
        seal,
        reverse_paths: config.smart_hosts.reverse_paths.clone(),
        stream_ages: config.streams.iter().filter_map(|(stream, settings)| Some((stream.clone(), settings.max_age?))).collect(),
        max_age: config.max_age,
    }
}

/// Of delivery; a reload brings another variant.
fn settings(variant: u64) -> deliver::Settings {
    let mut settings = config().deliver.clone();
    settings.providers = Providers::from_toml(SHAPING).unwrap();
    settings.bdat = !variant.is_multiple_of(2);
    settings.claim_recipients_max = if variant.is_multiple_of(3) { 5 } else { 4 };
    settings
}

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| Config::of(&Document::of(CONFIGURATION, Path::new("simulation.toml"), []).unwrap()).unwrap())
}

fn tls() -> ClientTls {
    static TLS: OnceLock<ClientTls> = OnceLock::new();
    TLS.get_or_init(|| ClientTls::new(&TlsSettings { roots: Roots::BuiltIn, ca_file: None }).unwrap()).clone()
}

const CONFIGURATION: &str = r#"
[server]
hostname = "mx1.author.example"

[listeners.submission]
address = "127.0.0.1:2525"
tls = "none"

[identities.app]
networks = ["10.9.9.9"]
author_domains = ["author.example"]

[deliver]
max_age = "5d"
retry = ["2m", "5m", "15m", "30m", "1h"]
delay_notice_after = "2h"
private_addresses_allowed = true
idle_timeout = "5s"
queues_max = 4

[streams.default]
max_age = "6h"
"#;

/// Low limits, so that they are met.
const SHAPING: &str = r#"
[other]
connections_max = 2
host_connections_max = 2
messages_per_connection_max = 3
recipients_per_transaction_max = 2
tls = "opportunistic"
pause_seconds_max = 600
growth_seconds = 30
[[other.rules]]
reply = "4.3.2"
then = "slow"
pause_seconds = 60
[[other.rules]]
reply = "421"
then = "slow"
pause_seconds = 60

[provider.compass]
mx = ["*.north.example"]
tls = "required"
"#;

const HOST_CONNECTIONS_MAX: usize = 2;
const LOOKUPS_MAX: usize = 6;
