//! `[identities]`, `[users]`, `[streams]`, `[routes]`, `[domains]`: who may send what as whom, and where it goes.

use super::super::knob::Octets;
use super::super::reader::Reader;
use crate::ingress::identity::{CertificateRule, Consent, NetworkRule, San};
use crate::mail::{Domain, IdentityName, Mailbox, RouteName, Stream};
use crate::policy::{self, AuthorDomain, DomainPattern, Foreign, Identity, Mode, Rate, ReversePathRule, RouteRule};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
        let networks = table.value::<Vec<IpNet>>("networks", Vec::new());
        read.networks.extend(networks.into_iter().map(|network| NetworkRule { network, identity: name.clone(), consent }));
        for text in table.value::<Vec<String>>("certificate_names", Vec::new()) {
            match text.parse::<San>() {
                Ok(san) => read.certificates.push(CertificateRule { name: san, identity: name.clone() }),
                Err(error) => table.fault("certificate_names", &error.to_string(), "\"dns:host.example.com\", \"email:a@example.com\" or \"uri:spiffe://…\""),
            }
        }
        if let Some(identity) = identity(&table) {
            read.rules.insert(name, identity);
        }
    }
    if read.rules.is_empty() && !root.has("identities") {
        root.fault("identities", "missing", "at least one table [identities.NAME]; nobody could send otherwise");
    }
    read
}

fn identity(table: &Reader<'_>) -> Option<Identity> {
    let is_forward = table.one_of("mode", &[("author", false), ("forward", true)], false, "author");
    let author_domains = patterns(table, "author_domains");
    let forward_domain = table.optional::<Domain>("forward_domain");
    let mode = match (is_forward, forward_domain) {
        (false, None) => Mode::Author,
        (true, Some(domain)) => Mode::Forward { domain },
        (true, None) => {
            table.fault("forward_domain", "missing", "the forwarder's own domain, since mode is \"forward\"");
            return None;
        }
        (false, Some(_)) => {
            table.fault("forward_domain", "set, though mode is \"author\"", "mode = \"forward\", or no forward_domain");
            return None;
        }
    };
    if mode == Mode::Author && author_domains.is_empty() {
        table.fault("author_domains", "empty", "the domains of its From addresses, as in [\"example.com\"], or mode = \"forward\"");
    }
    let standard = Rate::default();
    let basis = Identity::author(author_domains);
    Some(Identity {
        mode,
        reverse_path: ReversePathRule {
            kept: patterns(table, "reverse_path_kept"),
            foreign: table.one_of(
                "reverse_path_foreign",
                &[("keep", Foreign::Keep), ("map", Foreign::Map), ("refuse", Foreign::Refuse)],
                Foreign::Keep,
                "keep",
            ),
            bounces_to: table.optional::<Mailbox>("bounces_to"),
        },
        rate: Rate {
            messages_per_minute: table.optional("messages_per_minute"),
            recipients_per_minute: table.optional("recipients_per_minute"),
            messages_per_minute_ceiling: table.value("messages_per_minute_ceiling", standard.messages_per_minute_ceiling),
            recipients_per_minute_ceiling: table.value("recipients_per_minute_ceiling", standard.recipients_per_minute_ceiling),
        },
        size_octets_max: table.value("message_octets_max", Octets(basis.size_octets_max)).0,
        recipients_max: table.value("recipients_max", basis.recipients_max),
        stream: Stream::new(&table.value("stream", basis.stream.to_string())),
        streams: table.optional::<Vec<String>>("streams").map(|names| names.iter().map(|name| Stream::new(name)).collect()),
        ..basis
    })
}

fn patterns(table: &Reader<'_>, key: &str) -> Vec<DomainPattern> {
    let read = |text: String| match text.parse::<DomainPattern>() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            table.fault(key, &error.to_string(), "domains: \"example.com\", or \".example.com\" for all names at or below it");
            None
        }
    };
    table.value::<Vec<String>>(key, Vec::new()).into_iter().filter_map(read).collect()
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
}

/// By author domain.
pub type Domains = BTreeMap<Domain, DomainSettings>;

pub fn domains(root: &Reader<'_>) -> Domains {
    let mut domains = BTreeMap::new();
    for (name, table) in root.tables("domains") {
        let read = DomainSettings {
            author: AuthorDomain { parked: table.value("parked", false) },
            bounce_domain: table.optional("bounce_domain").or_else(|| format!("b.{name}").parse().ok()).unwrap_or_else(nowhere),
            keep_reverse_path: table.value("keep_reverse_path", false),
            token_per_day: table.one_of("bounce_token_per", &[("message", false), ("day", true)], false, "message"),
            ed25519: table.value("ed25519", false),
            third_party: table.optional("third_party_domain"),
        };
        match name.parse::<Domain>() {
            Ok(domain) => {
                if let Some(fault) = crate::readdress::alignment_fault(&domain, &read.bounce_domain) {
                    table.fault("bounce_domain", &fault, &format!("a name below it, as in \"b.{domain}\""));
                }
                domains.insert(domain, read);
            }
            Err(error) => table.table_fault(&error.to_string(), "the table's name to be an author domain, as in [domains.\"example.com\"]"),
        }
    }
    domains
}

/// Stands in where the table's name is no domain, which is a fault by itself.
#[allow(clippy::expect_used, reason = "a constant that is a domain name")]
fn nowhere() -> Domain {
    Domain::parse("bounce.invalid").expect("a domain name")
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
}

pub fn streams(root: &Reader<'_>) -> HashMap<Stream, StreamSettings> {
    let mut streams = HashMap::new();
    for (name, table) in root.tables("streams") {
        let settings = StreamSettings {
            max_age: table.optional("max_age"),
            retry: table.optional("retry"),
            delay_notice: table.optional("delay_notice_after"),
            recipients_per_minute: table.optional("recipients_per_minute"),
        };
        streams.insert(Stream::new(&name), settings);
    }
    streams
}

/// `[routes]`: the ways of recipient domains.
pub fn routes(root: &Reader<'_>, known: &BTreeSet<String>) -> (Vec<RouteRule>, RouteName) {
    let table = root.table("routes");
    let check = |table: &Reader<'_>, key: &str, name: &str| {
        if !known.contains(name) {
            let expected = known.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            table.fault(key, &format!("\"{name}\" is no route"), &format!("one of {expected}; a smart host is declared as [smart_hosts.NAME]"));
        }
    };
    let default = table.value("default", "mx".to_owned());
    check(&table, "default", &default);
    let mut rules = Vec::new();
    let by_domain = table.table("recipients");
    for pattern in by_domain.names() {
        let Some(route) = by_domain.optional::<String>(&pattern) else { continue };
        check(&by_domain, &pattern, &route);
        match pattern.parse::<DomainPattern>() {
            Ok(recipients) => rules.push(RouteRule { recipients, route: RouteName::new(&route) }),
            Err(error) => by_domain.fault(&pattern, &error.to_string(), "a recipient domain: \"example.net\", or \".example.net\" for all names at or below it"),
        }
    }
    (rules, RouteName::new(&default))
}

/// All of policy's settings.
pub fn policy(root: &Reader<'_>, postmaster: Mailbox, identities: &Identities, domains: &Domains, streams: &HashMap<Stream, StreamSettings>, routes: (Vec<RouteRule>, RouteName)) -> policy::Settings {
    let table = root.table("policy");
    let mut names: BTreeSet<Stream> = streams.keys().cloned().collect();
    names.insert(Stream::new("default"));
    let standard = policy::Settings::new(postmaster);
    let settings = policy::Settings {
        identities: identities.rules.clone(),
        domains: domains.iter().map(|(domain, settings)| (domain.clone(), settings.author)).collect(),
        routes: routes.0,
        default_route: routes.1,
        streams: names,
        address_literals: table.value("address_literals", standard.address_literals),
        deliver_after_max: table.value("deliver_after_max", standard.deliver_after_max),
        ..standard
    };
    for fault in settings.faults() {
        root.table_fault(&fault, "identities, streams and domains that fit together");
    }
    settings
}
