//! What was written becomes what is meant: one TOML file and the environment, to the rooms' `Settings`, with all faults at once.

mod across;
pub mod document;
pub mod fault;
pub mod knob;
pub mod reader;
mod sections;
mod sidecar;

pub use document::{DEFAULT_FILE, Document, Origin, is_there};
pub use fault::{Fault, Faults};
pub use sections::admin::Admin;
pub use sections::how::Server;
pub use sections::listeners::{Listener, Purpose};
pub use sections::publication::{DomainPublication, Publication};
pub use sections::rotation::DomainRotation;
pub use sections::sending::SmartHosts;
pub use sections::watch::WatchSettings;
pub use sections::who::{DomainSettings, Domains, Identities, StreamSettings};

use crate::deliver::tls::TlsSettings;
use crate::events::{log, otlp, webhook};
use crate::ingress::{sasl, tls};
use crate::keys::KeyFile;
use crate::mail::Stream;
use crate::smtp::server::Bounds;
use crate::{deliver, dns, normalise, policy, readdress, rotation, seal, spool};
use reader::{KnobRead, Notes, Reader};
use sections::{admin, events, how, listeners, publication, returns, sending, watch, who};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// A whole configuration, meant: nothing is left to check but what the world says (files of keys, addresses, DNS).
#[derive(Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: log::Settings,
    /// `[otlp]`; none without a collector.
    pub otlp: Option<otlp::Settings>,
    /// `[tls]`.
    pub tls: Option<tls::Settings>,
    /// `[admin]`; `None` where it is off.
    pub admin: Option<Admin>,
    /// `[listeners]`.
    pub listeners: Vec<Listener>,
    /// `[returns]`.
    pub returns: crate::returns::Settings,
    /// `[identities]`.
    pub identities: Identities,
    /// `[users]`.
    pub users: Vec<sasl::User>,
    /// `[auth]`.
    pub auth: sasl::Limits,
    /// `[domains]`.
    pub domains: Domains,
    /// `[rotation]`.
    pub rotation: rotation::Settings,
    /// Policy, of several sections.
    pub policy: policy::Settings,
    /// `[normalise]`.
    pub normalise: normalise::Settings,
    /// `[readdress]`.
    pub readdress: readdress::Settings,
    /// `[seal]`, without keys.
    pub seal: seal::Rules,
    /// `[spool]` and `[events]`, and how many entries `[suppression]` allows.
    pub spool: spool::Settings,
    /// `[webhooks]`.
    pub webhooks: Vec<webhook::Settings>,
    /// `[through]`, where `spool.mode` is that.
    pub through: Option<deliver::through::Settings>,
    /// `[resolver]`.
    pub resolver: dns::Settings,
    /// `[watch]`.
    pub watch: WatchSettings,
    /// `[dns]` and `[publishers]`.
    pub publication: Publication,
    /// `[smart_hosts]`.
    pub smart_hosts: SmartHosts,
    /// `[deliver]` and `[suppression]`.
    pub deliver: deliver::Settings,
    /// Whose certificates prove a next hop's name.
    pub roots: TlsSettings,
    /// How long mail is tried.
    pub max_age: Duration,
    /// `[streams]`.
    pub streams: HashMap<Stream, StreamSettings>,
    /// What is allowed, but should be known.
    warnings: Vec<String>,
}

impl Config {
    /// Reads a file and the process's environment.
    ///
    /// # Errors
    /// All faults.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Self::of(&Document::load(path)?)
    }

    /// What a document means.
    ///
    /// # Errors
    /// All faults.
    pub fn of(document: &Document) -> Result<Self, Faults> {
        Self::read(document).map(|(config, _)| config)
    }

    /// As [`Config::of`], with every knob that was asked for: what the example file is held against.
    ///
    /// # Errors
    /// All faults.
    pub fn read(document: &Document) -> Result<(Self, Vec<KnobRead>), Faults> {
        let expansion = document.expansion();
        let notes = Notes::with(expansion.knobs.clone(), expansion.faults.clone());
        let root = Reader::root(document, &notes);
        root.leave(sidecar::SECTION);
        let config = meant(&root);
        drop(root);
        let knobs = notes.into_result()?;
        Ok((config, knobs))
    }

    /// The signing keys that lie outside of the key directory.
    #[must_use]
    pub fn key_files(&self) -> Vec<KeyFile> {
        self.domains.values().filter_map(|settings| settings.key_file.clone()).collect()
    }

    /// `[admin]` alone, for those who look for a relay that runs: it may run with what stood in the file before, so faults elsewhere do
    /// not matter, and neither does a file that is not there.
    ///
    /// # Errors
    /// Its faults.
    pub fn admin_of(path: &Path) -> Result<Option<Admin>, Faults> {
        let document = Document::load_or_empty(path)?;
        let notes = Notes::default();
        let admin = {
            let root = Reader::root(&document, &notes);
            admin::admin(&root, &how::server(&root).hostname, how::tls(&root).as_ref())
        };
        match notes.into_result() {
            Ok(_) => Ok(admin),
            Err(faults) => faults.below("admin").map_or(Ok(admin), Err),
        }
    }

    /// What an operator should know, though it is no fault.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().map(String::as_str)
    }
}

/// Good for nothing where there were faults: what is missing has a stand-in, so that all else is looked at too.
fn meant(root: &Reader<'_>) -> Config {
    let server = how::server(root);
    let hostname = server.hostname.clone();
    let log = how::log(root);
    let tls = how::tls(root);
    let admin = admin::admin(root, &hostname, tls.as_ref());
    let listeners = listeners::listeners(root, &hostname, tls.is_some());
    let identities = who::identities(root);
    let users = how::users(root, &identities.rules);
    let rotation = sections::rotation::rotation(root);
    let domains = who::domains(root, &identities, &rotation);
    let pools = sending::pools(root, &hostname);
    let streams = who::streams(root, &pools);
    let smart_hosts = sending::smart_hosts(root);
    let routes = who::routes(root, &smart_hosts);
    let policy = who::policy(root, server.postmaster.clone(), &identities, &domains, &streams, routes);
    let watch = watch::watch(root);
    let seal = seal::Rules { profiles: smart_hosts.profiles.clone(), held_pause: watch.held_pause(), ..how::seal(root, &hostname) };
    let journal = events::events(root);
    let returns = returns::returns(root, &server.postmaster, &domains, &smart_hosts, &listeners);
    let (deliver, roots, max_age) = sending::deliver(root, &hostname, &smart_hosts, &identities, &streams, pools);
    let (suppression, suppressions_max) = sections::suppression::suppression(root);
    let deliver = deliver::Settings { suppression, ..deliver };
    let (spool, mode) = how::spool(root);
    let through = how::through(root, mode, &policy.default_route, server.upstream.as_ref());
    let deliver = deliver::Settings { returned_kept_for: returns.keep_for, ..deliver };
    let mut config = Config {
        auth: how::auth(root),
        otlp: sections::otlp::otlp(root),
        normalise: how::normalise(root, &hostname),
        readdress: how::readdress(root, &domains),
        webhooks: events::webhooks(root, &journal),
        spool: spool::Settings { suppressions_max, journal, ..spool },
        through,
        resolver: how::resolver(root),
        watch,
        publication: publication::publication(root, &hostname),
        warnings: Vec::new(),
        server,
        log,
        tls,
        admin,
        listeners,
        returns,
        identities,
        users,
        domains,
        rotation,
        policy,
        seal,
        smart_hosts,
        deliver,
        roots,
        max_age,
        streams,
    };
    offer_sasl(root, &mut config);
    tell_bounds(&mut config);
    across::faults(root, &config);
    config.warnings = across::warnings(&config);
    config
}

/// Listeners tell clients they know what their identity may use.
fn tell_bounds(config: &mut Config) {
    let bounds = |identity: &policy::Identity| Bounds { message_octets_max: identity.size_octets_max, recipients_max: identity.recipients_max };
    let identities: HashMap<_, _> = config.policy.identities.iter().map(|(name, identity)| (name.clone(), bounds(identity))).collect();
    config.listeners.iter_mut().filter(|listener| !listener.takes_bounces()).for_each(|listener| listener.dialogue.identities.clone_from(&identities));
}

/// Listeners offer what the users can use.
fn offer_sasl(root: &Reader<'_>, config: &mut Config) {
    match sasl::Sasl::new(config.users.clone(), sasl::Gate::new(config.auth)) {
        Ok(sasl) => {
            let mechanisms: Vec<String> = sasl.mechanisms().into_iter().map(str::to_owned).collect();
            let submission = config.listeners.iter_mut().filter(|listener| !listener.takes_bounces());
            submission.for_each(|listener| listener.dialogue.sasl_mechanisms.clone_from(&mechanisms));
        }
        Err(faults) => faults.iter().for_each(|fault| match fault {
            sasl::UserFault::Twice(name) | sasl::UserFault::Name(name) => root.fault_at(&["users", name], &fault.to_string(), ""),
        }),
    }
}
