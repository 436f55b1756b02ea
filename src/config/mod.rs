//! What was written becomes what is meant: one TOML file and the environment, to the rooms' `Settings`, with all faults at once.

pub mod document;
pub mod fault;
pub mod knob;
pub mod reader;
mod sections;

pub use document::Document;
pub use fault::{Fault, Faults};
pub use sections::how::Server;
pub use sections::listeners::Listener;
pub use sections::sending::SmartHosts;
pub use sections::who::{DomainSettings, Domains, Identities, StreamSettings};

use crate::deliver::tls::TlsSettings;
use crate::events::log;
use crate::ingress::identity::{self, Identities as Rules};
use crate::ingress::{sasl, tls};
use crate::mail::Stream;
use crate::{deliver, dns, normalise, policy, readdress, seal, spool};
use reader::{KnobRead, Notes, Reader};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

/// A whole configuration, meant: nothing is left to check but what the world says (files of keys, addresses, DNS).
#[derive(Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: log::Settings,
    /// `[tls]`.
    pub tls: Option<tls::Settings>,
    /// `[listeners]`.
    pub listeners: Vec<Listener>,
    /// `[identities]`.
    pub identities: Identities,
    /// `[users]`.
    pub users: Vec<sasl::User>,
    /// `[auth]`.
    pub auth: sasl::Limits,
    /// `[domains]`.
    pub domains: Domains,
    /// Policy, of several sections.
    pub policy: policy::Settings,
    /// `[normalise]`.
    pub normalise: normalise::Settings,
    /// `[readdress]`.
    pub readdress: readdress::Settings,
    /// `[seal]`, without keys.
    pub seal: seal::Rules,
    /// `[spool]`.
    pub spool: spool::Settings,
    /// `[resolver]`.
    pub resolver: dns::Settings,
    /// `[smart_hosts]`.
    pub smart_hosts: SmartHosts,
    /// `[deliver]`.
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
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::of(&Document::read(path, variables)?)
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
        let notes = Notes::default();
        let config = {
            let root = Reader::root(document, &notes);
            meant(&root)
        };
        let knobs = notes.into_result()?;
        config.map(|config| (config, knobs)).ok_or_else(|| Faults::one(Fault::new(&document.path().display().to_string(), "server", "incomplete", "server.hostname")))
    }

    /// What an operator should know, though it is no fault.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().map(String::as_str)
    }
}

fn meant(root: &Reader<'_>) -> Option<Config> {
    use sections::{how, listeners, sending, who};
    let server = how::server(root);
    let log = how::log(root);
    let tls = how::tls(root);
    let identities = who::identities(root);
    let users = how::users(root, &identities.rules);
    let auth = how::auth(root);
    let domains = who::domains(root);
    let streams = who::streams(root);
    let smart_hosts = sending::smart_hosts(root);
    let known_routes: BTreeSet<String> = smart_hosts.hosts.keys().map(ToString::to_string).chain(["mx".to_owned()]).collect();
    let routes = who::routes(root, &known_routes);
    let spool = how::spool(root);
    let resolver = how::resolver(root);
    let readdress = how::readdress(root, &domains);
    // Faults of the sections below are found without the host name too.
    let nobody = crate::mail::Domain::parse("localhost.invalid").ok()?;
    let hostname = server.as_ref().map_or(&nobody, |server| &server.hostname);
    let mut listeners = listeners::listeners(root, hostname, tls.is_some());
    let mut seal = how::seal(root, hostname);
    let normalise = how::normalise(root, hostname);
    let (deliver, roots, max_age) = sending::deliver(root, hostname, &smart_hosts, &identities, &streams);
    let postmaster = match &server {
        Some(server) => server.postmaster.clone(),
        None => format!("postmaster@{nobody}").parse().ok()?,
    };
    let policy = who::policy(root, postmaster, &identities, &domains, &streams, routes);

    let warnings = crossed(root, &identities, &listeners, &domains, &policy, &seal, max_age, &streams);
    seal.profiles.clone_from(&smart_hosts.profiles);
    offer_sasl(root, &mut listeners, &users);
    Some(Config { server: server?, log, tls, listeners, identities, users, auth, domains, policy, normalise, readdress, seal, spool, resolver, smart_hosts, deliver, roots, max_age, streams, warnings })
}

/// Faults and warnings that only several sections together show.
#[allow(clippy::too_many_arguments, reason = "what crosses is many")]
fn crossed(
    root: &Reader<'_>,
    identities: &Identities,
    listeners: &[Listener],
    domains: &Domains,
    policy: &policy::Settings,
    seal: &seal::Rules,
    max_age: Duration,
    streams: &HashMap<Stream, StreamSettings>,
) -> Vec<String> {
    let proxies: Vec<_> = listeners.iter().flat_map(|listener| listener.proxies.iter().flatten().copied()).collect();
    for fault in identity::open_relay_faults(&identities.networks, &proxies) {
        root.table_fault(&fault.to_string(), "a relay that is not open to everybody");
    }
    for fault in Rules::faults(&identities.networks, &identities.certificates) {
        root.table_fault(&fault.to_string(), "each network and certificate name with one identity");
    }
    let longest = streams.values().filter_map(|stream| stream.max_age).chain([max_age]).max().unwrap_or(max_age);
    if let Some(expires) = seal.expires.filter(|expires| *expires < longest + TWO_DAYS) {
        use knob::Knob;
        root.fault_at(&["seal", "signature_expires"], &expires.written(), &format!("at least {}: mail in the queue must not outlive its signature", (longest + TWO_DAYS).written()));
    }
    for (domain, settings) in domains {
        if let Some(platform) = settings.third_party.as_ref().filter(|platform| !domains.contains_key(platform)) {
            root.fault_at(&["domains", domain.as_str(), "third_party_domain"], &format!("\"{platform}\""), "one of the tables [domains.NAME]");
        }
    }
    let mut warnings = Vec::new();
    for (name, identity) in &policy.identities {
        let mut wanted: Vec<_> = identity.author_domains.iter().map(policy::DomainPattern::domain).collect();
        if let policy::Mode::Forward { domain } = &identity.mode {
            wanted.push(domain);
        }
        for domain in wanted.into_iter().filter(|domain| !domains.contains_key(policy.signing_domain(domain))) {
            warnings.push(format!("identity \"{name}\" uses {domain}, but there is no table [domains.\"{domain}\"]: its mail will be refused"));
        }
    }
    warnings.sort();
    warnings
}

/// Listeners offer what the users can use.
fn offer_sasl(root: &Reader<'_>, listeners: &mut [Listener], users: &[sasl::User]) {
    match sasl::Sasl::new(users.to_vec(), sasl::Gate::new(sasl::Limits::default())) {
        Ok(sasl) => {
            for listener in listeners {
                listener.dialogue.sasl_mechanisms = sasl.mechanisms().into_iter().map(str::to_owned).collect();
            }
        }
        Err(faults) => faults.iter().for_each(|fault| root.table_fault(&fault.to_string(), "users that can be told apart")),
    }
}

/// What a signature has to outlive the queue by: a receiver may look at it late.
const TWO_DAYS: Duration = Duration::from_secs(2 * 86_400);
