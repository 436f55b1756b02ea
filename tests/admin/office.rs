//! An admin over a spool of its own and a relay that is made up.

use arc_swap::ArcSwap;
use bytes::Bytes;
use postseal::admin::api::domains::{DomainStanding, Domains};
use postseal::admin::api::queue::Outbound;
use postseal::admin::guard::{Access, FormKey, Token};
use postseal::admin::health::Looks;
use postseal::admin::listener::{Listener, Terms};
use postseal::admin::{self, Bounds, Door, Life, Office, Room, Settings, Standing, guard};
use postseal::deliver::{Notices, Told};
use postseal::mail::suppression::Rules;
use postseal::mail::{Domain, Timestamp};
use postseal::seal::Sealed;
use postseal::spool::Mail;
use postseal::spool::control::Order;
use postseal::spool::sqlite::FileSystems;
use postseal::spool::{self, SqliteSpool};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// An admin that runs until it is dropped.
pub struct Admin {
    /// Where.
    pub address: String,
    /// The relay it asks.
    pub relay: Arc<MadeUp>,
    /// Its spool.
    pub spool: Arc<SqliteSpool>,
    over: CancellationToken,
    _folder: tempfile::TempDir,
}

/// A relay that is as a test says.
pub struct MadeUp {
    /// How it stands.
    pub standing: Mutex<Standing>,
    /// How long a reload takes.
    pub reload_takes: Duration,
}

impl Life for MadeUp {
    fn standing(&self) -> Standing {
        self.standing.lock().unwrap().clone()
    }

    fn room(&self) -> Result<Room, String> {
        Ok(Room { free: 1 << 30, reserve: 64 << 20 })
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), Vec<String>>> + Send + '_>> {
        Box::pin(async {
            tokio::time::sleep(self.reload_takes).await;
            Ok(())
        })
    }
}

impl Outbound for MadeUp {
    fn routes(&self) -> Vec<String> {
        vec!["mx".to_owned()]
    }

    fn providers(&self) -> Vec<String> {
        vec!["other".to_owned()]
    }

    fn resume(&self, _: &str, _: &str, _: bool) -> Option<Timestamp> {
        None
    }

    fn notices(&self) -> Arc<dyn Notices> {
        Arc::new(Silence)
    }

    fn carried_out(&self, _: &Order, _: u64) {}

    fn suppression(&self) -> Rules {
        Rules::default()
    }

    fn list_changed(&self, _: u64, _: u64) {}
}

/// Nobody is told anything.
struct Silence;

impl Notices for Silence {
    fn notices(&self, _: &Mail, _: &Bytes, _: &[Told], _: Timestamp) -> Vec<Sealed> {
        Vec::new()
    }
}

impl Domains for MadeUp {
    fn names(&self) -> Vec<Domain> {
        Vec::new()
    }

    fn domain(&self, _: &Domain) -> Result<Option<DomainStanding>, String> {
        Ok(None)
    }

    fn now(&self) -> Timestamp {
        self.standing().now
    }
}

impl Admin {
    /// On a free port of loopback.
    pub fn start(settings: impl FnOnce(&mut Settings)) -> Self {
        Self::slow(Duration::ZERO, settings)
    }

    /// One whose relay takes its time to reload.
    pub fn slow(reload_takes: Duration, settings: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let spool_settings = spool::Settings {
            file_systems: FileSystems::Volatile,
            reserve_octets: 8 << 20,
            wal_octets_max: 4 << 20,
            ..spool::Settings::in_directory(folder.path().join("spool"))
        };
        let (spool, _) = SqliteSpool::open(spool_settings, NOW).unwrap();
        let spool = Arc::new(spool);
        let relay = Arc::new(MadeUp { standing: Mutex::new(well()), reload_takes });
        let office = Arc::new(Office {
            spool: spool.clone(),
            life: relay.clone(),
            meters: Arc::default(),
            domains: relay.clone(),
            outbound: relay.clone(),
            forms: FormKey::new(&[7; 32]),
            looks: Looks::default(),
        });
        let mut of = local();
        settings(&mut of);
        let terms = Terms { access: Access::of(&of), bounds: of.bounds, tls: None };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().unwrap().to_string();
        let over = CancellationToken::new();
        tokio::spawn(listener.run(admin::router(office), Arc::new(ArcSwap::from_pointee(terms)), over.clone()));
        Self { address, relay, spool, over, _folder: folder }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// The defaults, at loopback.
pub fn local() -> Settings {
    let address = SocketAddr::from(([127, 0, 0, 1], 8025));
    Settings { address, names: vec!["relay.example.com".to_owned()], tokens: Vec::new(), token_always: false, bounds: Bounds::default() }
}

/// A token of this text.
pub fn token(name: &str, text: &str, read_only: bool) -> Token {
    Token { name: name.to_owned(), digest: guard::parse(&guard::written(text)).unwrap(), read_only }
}

/// A relay that takes mail.
pub fn well() -> Standing {
    Standing {
        now: NOW,
        hostname: Domain::parse("relay.example.com").unwrap(),
        started_at: NOW,
        listeners: vec![Door { name: "app".to_owned(), address: SocketAddr::from(([127, 0, 0, 1], 2525)), is_open: true }],
        is_draining: false,
        held: None,
        next_hop: None,
        keyless: Vec::new(),
    }
}

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_333_500);
