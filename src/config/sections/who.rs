//! `[identities]`, `[users]`, `[streams]`, `[routes]`, `[domains]`: who may send what as whom, and where it goes.

use super::super::knob::Octets;
use super::super::reader::Reader;
use super::publication::{self, DomainPublication};
use super::rotation::{self, DomainRotation};
use super::sending::SmartHosts;
use super::{AGE, AGE_OR_NONE, GIB, KIB, nobody, sending};
use crate::ingress::identity::{CertificateRule, Consent, NetworkRule, San};
use crate::keys::{self, KeyFile};
use crate::mail::{Domain, IdentityName, Mailbox, RouteName, Stream};
use crate::policy::{self, AuthorDomain, DomainPattern, Foreign, Identity, Mode, Rate, ReversePathRule, RouteRule, Suppressed};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// `[identities.NAME]`, as ingress and policy need them.
#[derive(Debug, Default)]
pub struct Identities {
    /// By name.
    pub rules: HashMap<IdentityName, Identity>,
    /// Who is known by network.
    pub networks: Vec<NetworkRule>,
    /// Who is known by client certificate.
    pub certificates: Vec<CertificateRule>,
}

pub fn identities(root: &Reader<'_>) -> Identities {
    let mut read = Identities::default();
    for (name, table) in root.tables("identities") {
        let name = IdentityName::new(&name);
        let consent = Consent { public: table.value("allow_public_networks", false), proxies: table.value("allow_proxy_networks", false) };
        let networks = table.optional::<Vec<IpNet>>("networks").unwrap_or_default();
        read.networks.extend(networks.into_iter().map(|network| NetworkRule { network, identity: name.clone(), consent }));
        for text in table.value::<Vec<String>>("certificate_names", Vec::new()) {
            match text.parse::<San>() {
                Ok(san) => read.certificates.push(CertificateRule { name: san, identity: name.clone() }),
                Err(error) => table.fault("certificate_names", &error.to_string(), ""),
            }
        }
        read.rules.insert(name, identity(&table));
    }
    root.demand_tables("identities", "at least one table [identities.NAME]; nobody could send otherwise");
    read
}

fn identity(table: &Reader<'_>) -> Identity {
    let (mode, author_domains) = mode(table);
    let standard = Identity::author(author_domains);
    Identity {
        mode,
        reverse_path: ReversePathRule {
            kept: patterns(table, "reverse_path_kept", table.value("reverse_path_kept", Vec::new())),
            foreign: table.one_of("reverse_path_foreign", &[("keep", Foreign::Keep), ("map", Foreign::Map), ("refuse", Foreign::Refuse)], Foreign::Keep),
            bounces_to: table.optional::<Mailbox>("bounces_to"),
        },
        rate: Rate {
            messages_per_minute: table.optional_within("messages_per_minute", PER_MINUTE),
            recipients_per_minute: table.optional_within("recipients_per_minute", PER_MINUTE),
            messages_per_minute_ceiling: table.within("messages_per_minute_ceiling", standard.rate.messages_per_minute_ceiling, PER_MINUTE),
            recipients_per_minute_ceiling: table.within("recipients_per_minute_ceiling", standard.rate.recipients_per_minute_ceiling, PER_MINUTE),
        },
        size_octets_max: table.within("message_octets_max", Octets(standard.size_octets_max), Octets(KIB)..=Octets(GIB)).0,
        recipients_max: table.within("recipients_max", standard.recipients_max, 1..=100_000),
        trusted_upstream: table.value("trusted_upstream", standard.trusted_upstream),
        stream: Stream::new(&table.value("stream", standard.stream.to_string())),
        suppressed: table.one_of("suppressed", &[("settle", Suppressed::Settle), ("refuse", Suppressed::Refuse)], Suppressed::Settle),
        streams: table.optional::<Vec<String>>("streams").map(|names| names.iter().map(|name| Stream::new(name)).collect()),
        ..standard
    }
}

/// How it sends, and as which authors. `author` has author domains, `forward` a domain of its own, and neither what the other has.
fn mode(table: &Reader<'_>) -> (Mode, Vec<DomainPattern>) {
    let is_forward = table.one_of("mode", &[("author", false), ("forward", true)], false);
    let authors = table.optional::<Vec<String>>("author_domains");
    let forward_domain = table.optional::<Domain>("forward_domain");
    if is_forward {
        if authors.is_some() {
            table.fault("author_domains", "set, though mode is \"forward\", which passes on mail of any author", "mode = \"author\", or no author_domains");
        }
        if !table.has("forward_domain") {
            table.fault("forward_domain", "missing", "the forwarder's own domain, since mode is \"forward\"");
        }
        return (Mode::Forward { domain: forward_domain.unwrap_or_else(nobody) }, Vec::new());
    }
    if table.has("forward_domain") {
        table.fault("forward_domain", "set, though mode is \"author\"", "mode = \"forward\", or no forward_domain");
    }
    if authors.as_ref().is_some_and(Vec::is_empty) || !table.has("author_domains") {
        let found = if authors.is_some() { "empty" } else { "missing" };
        table.fault("author_domains", found, "the domains of its From addresses, as in [\"example.com\"], or mode = \"forward\"");
    }
    (Mode::Author, patterns(table, "author_domains", authors.unwrap_or_default()))
}

fn patterns(table: &Reader<'_>, key: &str, texts: Vec<String>) -> Vec<DomainPattern> {
    let read = |text: String| text.parse::<DomainPattern>().map_err(|error| table.fault(key, &error.to_string(), "")).ok();
    texts.into_iter().filter_map(read).collect()
}

/// `[domains."example.com"]`: what an author domain wants, beside its keys.
#[derive(Debug, Clone)]
pub struct DomainSettings {
    /// For policy.
    pub author: AuthorDomain,
    /// Where its bounces come to.
    pub bounce_domain: Domain,
    /// An aligned reverse-path stays.
    pub keep_reverse_path: bool,
    /// One token a sender and day.
    pub token_per_day: bool,
    /// Ed25519 signs too.
    pub ed25519: bool,
    /// The platform that signs as well.
    pub third_party: Option<Domain>,
    /// A signing key beside those in the key directory.
    pub key_file: Option<KeyFile>,
    /// What its DNS says, and who writes it there.
    pub publication: DomainPublication,
    /// How its keys come and go.
    pub rotation: DomainRotation,
}

/// By author domain: those with a table, and those that identities name and no table is at or above of.
pub type Domains = BTreeMap<Domain, DomainSettings>;

/// An identity's domain needs no table where the defaults will do: the domain around which the pattern of its authors is built, or the
/// forwarder's own, is then a domain like one with an empty table. A table at or above it speaks for it instead.
pub fn domains(root: &Reader<'_>, identities: &Identities, rotation: &crate::rotation::Settings) -> Domains {
    let mut domains = BTreeMap::new();
    for (name, table) in root.tables("domains") {
        let parsed = name.parse::<Domain>();
        if let Err(error) = &parsed {
            table.table_fault(&error.to_string(), "");
        }
        let domain = parsed.unwrap_or_else(|_| nobody());
        let settings = domain_settings(&table, &domain, rotation);
        domains.insert(domain, settings);
    }
    let named = identities.rules.values().flat_map(|identity| match &identity.mode {
        Mode::Author => identity.author_domains.iter().map(DomainPattern::domain).collect(),
        Mode::Forward { domain } => vec![domain],
    });
    let further: Vec<&Domain> = named.filter(|domain| !domains.keys().any(|known| domain.is_at_or_below(known))).collect();
    for domain in further {
        let settings = DomainSettings::standard(domain, rotation);
        if let Some(fault) = crate::readdress::alignment_fault(domain, &settings.bounce_domain) {
            root.fault_at(&["domains", domain.as_str(), "bounce_domain"], &fault, "");
        }
        domains.insert(domain.clone(), settings);
    }
    domains
}

fn domain_settings(table: &Reader<'_>, domain: &Domain, rotation: &crate::rotation::Settings) -> DomainSettings {
    let standard = DomainSettings::standard(domain, rotation);
    let settings = DomainSettings {
        author: AuthorDomain { parked: table.value("parked", false) },
        bounce_domain: table.optional("bounce_domain").unwrap_or(standard.bounce_domain),
        keep_reverse_path: table.value("keep_reverse_path", false),
        token_per_day: table.one_of("bounce_token_per", &[("message", false), ("day", true)], false),
        ed25519: table.value("ed25519", false),
        third_party: table.optional("third_party_domain"),
        key_file: key_file(table, domain),
        publication: publication::domain(table),
        rotation: rotation::domain(table, rotation),
    };
    if let Some(fault) = crate::readdress::alignment_fault(domain, &settings.bounce_domain) {
        table.fault("bounce_domain", &fault, "");
    }
    settings
}

/// `key_file` with the selector that is written, or that the file's name tells.
fn key_file(table: &Reader<'_>, domain: &Domain) -> Option<KeyFile> {
    let path = table.optional::<PathBuf>("key_file").map(|path| table.resolve(&path));
    let written = table.optional::<String>("key_selector");
    let Some(path) = path else {
        if written.is_some() && !table.has("key_file") {
            table.fault("key_selector", "set, though there is no key_file", "key_file, or no key_selector");
        }
        return None;
    };
    let selector = match &written {
        Some(text) => keys::selector(text),
        None => path.file_name().and_then(|name| keys::file_selector(name.to_str()?)),
    };
    match (selector, &written) {
        (Some(selector), _) => return Some(KeyFile { domain: domain.clone(), selector, path }),
        (None, Some(text)) => table.fault("key_selector", &format!("\"{text}\""), "letters, digits and hyphens, as in \"ps202611a\""),
        (None, None) if table.has("key_selector") => {}
        (None, None) => table.fault("key_selector", "missing", SELECTOR_NEEDED),
    }
    None
}

impl DomainSettings {
    /// Those of a domain that nothing is said about: bounces come to `b.` below it.
    fn standard(domain: &Domain, rotation: &crate::rotation::Settings) -> Self {
        Self {
            author: AuthorDomain::default(),
            bounce_domain: format!("b.{domain}").parse().unwrap_or_else(|_| domain.clone()), // too long: then too long to be aligned as well
            keep_reverse_path: false,
            token_per_day: false,
            ed25519: false,
            third_party: None,
            key_file: None,
            publication: DomainPublication::default(),
            rotation: DomainRotation::standard(rotation),
        }
    }
}

/// What a stream's mail gets.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// How long it is tried.
    pub max_age: Option<Duration>,
    /// When it is tried again.
    pub retry: Option<Vec<Duration>>,
    /// When the submitter is told that it is late.
    pub delay_notice: Option<Duration>,
    /// How many recipients are attempted in a minute; the rest waits.
    pub recipients_per_minute: Option<u32>,
    /// The pool whose addresses it leaves by, of [pools.NAME].
    pub pool: Option<String>,
}

pub fn streams<P>(root: &Reader<'_>, pools: &BTreeMap<String, P>) -> HashMap<Stream, StreamSettings> {
    let mut streams = HashMap::new();
    for (name, table) in root.tables("streams") {
        let settings = StreamSettings {
            max_age: table.optional_within("max_age", AGE),
            retry: sending::retry(&table, None),
            delay_notice: table.optional_within("delay_notice_after", AGE_OR_NONE),
            recipients_per_minute: table.optional_within("recipients_per_minute", PER_MINUTE),
            pool: table.optional::<String>("pool"),
        };
        if let Some(pool) = settings.pool.as_ref().filter(|pool| !pools.contains_key(*pool)) {
            table.fault("pool", &format!("\"{pool}\""), "the name of one of the tables [pools.NAME]");
        }
        streams.insert(Stream::new(&name), settings);
    }
    streams
}

/// `[routes]`: the ways of recipient domains, and that of all others.
pub fn routes(root: &Reader<'_>, smart_hosts: &SmartHosts) -> (Vec<RouteRule>, RouteName) {
    let table = root.table("routes");
    let known: Vec<String> = std::iter::once(MX.to_owned()).chain(smart_hosts.hosts.keys().map(ToString::to_string)).collect();
    let check = |table: &Reader<'_>, key: &str, name: &str| {
        if !known.iter().any(|known| known == name) {
            table.fault(key, &format!("\"{name}\""), &format!("one of {}; a smart host is declared as [smart_hosts.NAME]", listed(&known)));
        }
    };
    let default = table.value("default", MX.to_owned());
    check(&table, "default", &default);
    let mut rules = Vec::new();
    let by_domain = table.table("recipients");
    for pattern in by_domain.names() {
        let Some(route) = by_domain.optional::<String>(&pattern) else { continue };
        check(&by_domain, &pattern, &route);
        match pattern.parse::<DomainPattern>() {
            Ok(recipients) => rules.push(RouteRule { recipients, route: RouteName::new(&route) }),
            Err(error) => by_domain.fault(&pattern, &error.to_string(), ""),
        }
    }
    (rules, RouteName::new(&default))
}

/// All of policy's settings.
pub fn policy(
    root: &Reader<'_>,
    postmaster: Mailbox,
    identities: &Identities,
    domains: &Domains,
    streams: &HashMap<Stream, StreamSettings>,
    (routes, default_route): (Vec<RouteRule>, RouteName),
) -> policy::Settings {
    let table = root.table("policy");
    let standard = policy::Settings::new(postmaster);
    policy::Settings {
        identities: identities.rules.clone(),
        domains: domains.iter().map(|(domain, settings)| (domain.clone(), settings.author)).collect(),
        routes,
        default_route,
        pools: streams.iter().filter_map(|(stream, settings)| Some((stream.clone(), RouteName::new(&format!("{MX}:{}", settings.pool.as_ref()?))))).collect(),
        streams: standard.streams.iter().chain(streams.keys()).cloned().collect(),
        address_literals: table.value("address_literals", standard.address_literals),
        deliver_after_max: table.within("deliver_after_max", standard.deliver_after_max, AGE_OR_NONE),
        ..standard
    }
}

/// As a fault lists what there is.
pub fn listed<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| format!("\"{}\"", name.to_string())).collect::<Vec<_>>().join(", ")
}

/// What is said where a key file's name does not tell its selector.
const SELECTOR_NEEDED: &str = "the selector of the key's DNS record; only the name of a file SELECTOR.pem or SELECTOR.private tells it";

/// The route by MX records.
pub const MX: &str = "mx";

const PER_MINUTE: RangeInclusive<u32> = 1..=10_000_000;
