//! `postseal doctor --inventory`: who sends through this relay, as whom, and which rules of a sender's first step each meets: a domain
//! of its own, only own domains as senders, all sending hosts known, header From and envelope sender of the same domain.
//!
//! Pure: what configuration and keyring say becomes data, then text or JSON. The DNS is not asked.

use super::paint::{Ink, Paint};
use crate::config::Config;
use crate::keys::{Keyring, State};
use crate::mail::{Domain, IdentityName};
use crate::policy::{Identity, Mode};
use crate::readdress::RewriteReversePath;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// All clients and domains.
pub struct Inventory {
    clients: Vec<Entry>,
    domains: Vec<Entry>,
}

/// A client or a domain.
struct Entry {
    name: String,
    /// What is known of it, by name.
    facts: Vec<(&'static str, Vec<String>)>,
    rules: Vec<Judged>,
}

/// One rule of the first step.
struct Judged {
    rule: Rule,
    met: Met,
    why: String,
}

#[derive(Clone, Copy)]
enum Rule {
    OwnDomain,
    OwnSenders,
    KnownHosts,
    SameDomain,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Yes,
    No,
    /// The configuration does not say.
    Open,
}

/// The inventory of a configuration.
pub fn of(config: &Config, keyring: &Keyring) -> Inventory {
    let mut names: Vec<&IdentityName> = config.policy.identities.keys().collect();
    names.sort();
    let clients = names.into_iter().map(|name| client(name, &config.policy.identities[name], config, keyring)).collect();
    Inventory { clients, domains: config.domains.keys().map(|domain| of_domain(domain, config, keyring)).collect() }
}

impl Inventory {
    /// Every rule is met, or cannot be told.
    pub fn is_met(&self) -> bool {
        self.clients.iter().chain(&self.domains).flat_map(|entry| &entry.rules).all(|judged| judged.met != Met::No)
    }

    /// For a person.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        for (title, entries) in [("clients", &self.clients), ("domains", &self.domains)] {
            line(&mut out, &paint.ink(Ink::Bold, title));
            for entry in entries {
                line(&mut out, &format!("  {}", paint.ink(Ink::Bold, &entry.name)));
                for (name, values) in entry.facts.iter().filter(|(_, values)| !values.is_empty()) {
                    line(&mut out, &format!("    {name:COLUMNS$}{}", values.join(", ")));
                }
                for judged in &entry.rules {
                    let (word, ink) = match judged.met {
                        Met::Yes => ("met", Ink::Green),
                        Met::No => ("NOT met", Ink::Red),
                        Met::Open => ("open", Ink::Yellow),
                    };
                    line(&mut out, &format!("    {:COLUMNS$}{}: {}", judged.rule.words(), paint.ink(ink, word), judged.why));
                }
            }
        }
        out
    }

    /// For a program: `clients` and `domains`, each with its facts as lists, and `rules` with `rule`, `met` (`yes`, `no`, `open`), `why`.
    pub fn json(&self) -> Value {
        json!({ "clients": self.clients.iter().map(Entry::json).collect::<Vec<_>>(), "domains": self.domains.iter().map(Entry::json).collect::<Vec<_>>() })
    }
}

impl Entry {
    fn json(&self) -> Value {
        let mut whole = serde_json::Map::from_iter([("name".to_owned(), json!(self.name))]);
        whole.extend(self.facts.iter().map(|(name, values)| (name.replace(' ', "_"), json!(values))));
        let rules: Vec<Value> = self.rules.iter().map(|judged| json!({ "rule": judged.rule.word(), "met": judged.met.word(), "why": judged.why })).collect();
        whole.insert("rules".to_owned(), Value::from(rules));
        Value::Object(whole)
    }
}

impl Rule {
    const fn words(self) -> &'static str {
        match self {
            Self::OwnDomain => "own domain",
            Self::OwnSenders => "own senders",
            Self::KnownHosts => "known hosts",
            Self::SameDomain => "same domain",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::OwnDomain => "own-domain",
            Self::OwnSenders => "own-senders",
            Self::KnownHosts => "known-hosts",
            Self::SameDomain => "same-domain",
        }
    }
}

impl Met {
    const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Open => "open",
        }
    }
}

fn client(name: &IdentityName, identity: &Identity, config: &Config, keyring: &Keyring) -> Entry {
    let networks: Vec<_> = config.identities.networks.iter().filter(|rule| rule.identity == *name).collect();
    let certificates: Vec<String> = config.identities.certificates.iter().filter(|rule| rule.identity == *name).map(|rule| rule.name.to_string()).collect();
    let mut users: Vec<String> = config.users.iter().filter(|user| user.identity == *name).map(|user| user.name.clone()).collect();
    users.sort();
    let (mode, forwards) = match &identity.mode {
        Mode::Author => ("author".to_owned(), None),
        Mode::Forward { domain } => ("forward".to_owned(), Some(domain)),
    };
    let mut signing: Vec<Domain> = match forwards {
        Some(domain) => vec![domain.clone()],
        None => identity.author_domains.iter().map(|pattern| config.policy.signing_domain(pattern.domain()).clone()).collect(),
    };
    signing.dedup();
    let keyless: Vec<&Domain> = signing.iter().filter(|domain| !is_own(domain, config, keyring)).collect();
    let own = if keyless.is_empty() {
        Judged::of(Rule::OwnDomain, Met::Yes, format!("signs as {}", listed(&signing)))
    } else {
        Judged::of(Rule::OwnDomain, Met::No, format!("{} cannot sign: no active key here", listed(&keyless)))
    };
    let senders = match forwards {
        None => Judged::of(Rule::OwnSenders, Met::Yes, format!("From may be of {} only", listed(&identity.author_domains))),
        Some(domain) => Judged::of(Rule::OwnSenders, Met::Open, format!("passes on mail of any author, sealed by {domain}: for lists and forwarders")),
    };
    let public = networks.iter().any(|rule| rule.consent.public);
    let hosts = match (networks.is_empty(), certificates.is_empty(), users.is_empty()) {
        (true, true, true) => Judged::of(Rule::KnownHosts, Met::No, "nobody is this client: it has no networks, certificates or users".to_owned()),
        _ if public => Judged::of(Rule::KnownHosts, Met::No, "its networks are public: whoever has an address there may send".to_owned()),
        (_, _, false) => Judged::of(Rule::KnownHosts, Met::Open, "its users may send from any host that reaches a listener".to_owned()),
        _ => Judged::of(Rule::KnownHosts, Met::Yes, "by network or certificate alone".to_owned()),
    };
    Entry {
        name: name.to_string(),
        facts: vec![
            ("mode", vec![mode]),
            ("networks", networks.iter().map(|rule| rule.network.to_string()).collect()),
            ("certificates", certificates),
            ("users", users),
            ("authors", identity.author_domains.iter().map(ToString::to_string).collect()),
            ("signs as", signing.iter().map(ToString::to_string).collect()),
        ],
        rules: vec![own, senders, hosts],
    }
}

fn of_domain(domain: &Domain, config: &Config, keyring: &Keyring) -> Entry {
    let settings = &config.domains[domain];
    let keys = keyring.keys(domain).iter().filter(|key| key.state != State::Removed);
    let keys = keys.map(|key| format!("{} ({}, {})", key.id.selector, key.algorithm, key.state)).collect();
    let may_send = !settings.author.parked;
    let mut clients: Vec<&IdentityName> =
        config.policy.identities.iter().filter(|(_, identity)| may_send && writes_as(identity, domain, config)).map(|(name, _)| name).collect();
    clients.sort();
    let facts = vec![
        ("parked", if settings.author.parked { vec!["it never sends".to_owned()] } else { Vec::new() }),
        ("keys", keys),
        ("bounces to", if settings.author.parked { Vec::new() } else { vec![settings.bounce_domain.to_string()] }),
        ("published by", vec![settings.publication.publisher.clone().unwrap_or_else(|| "a person".to_owned())]),
        ("clients", clients.iter().map(ToString::to_string).collect()),
    ];
    let rules = if settings.author.parked { Vec::new() } else { domain_rules(domain, config, keyring, &clients) };
    Entry { name: domain.to_string(), facts, rules }
}

/// The rules of a domain that sends.
fn domain_rules(domain: &Domain, config: &Config, keyring: &Keyring, clients: &[&IdentityName]) -> Vec<Judged> {
    let settings = &config.domains[domain];
    let own = if MAILBOX_PROVIDERS.contains(&domain.as_str()) {
        Judged::of(Rule::OwnDomain, Met::No, "it belongs to a mailbox provider, who alone may sign for it".to_owned())
    } else if is_own(domain, config, keyring) {
        Judged::of(Rule::OwnDomain, Met::Yes, "there is an active RSA key for it here".to_owned())
    } else {
        Judged::of(Rule::OwnDomain, Met::No, format!("it has no active RSA key here; `postseal key create {domain}` makes one"))
    };
    let sources: Vec<_> = std::iter::once(&config.deliver.source).chain(config.deliver.pools.values()).collect();
    let hosts = match (clients.is_empty(), sources.iter().all(|source| source.v4.is_some() || source.v6.is_some())) {
        (true, _) => Judged::of(Rule::KnownHosts, Met::Open, "no client may write as it".to_owned()),
        (_, true) => Judged::of(Rule::KnownHosts, Met::Yes, "its mail leaves from the configured addresses".to_owned()),
        _ => Judged::of(Rule::KnownHosts, Met::Open, "the system chooses the address its mail leaves from; source_v4 and source_v6 would say it".to_owned()),
    };
    let mut keeping: Vec<_> =
        config.smart_hosts.reverse_paths.iter().filter(|(_, rewrite)| **rewrite == RewriteReversePath::Keep).map(|(name, _)| name).collect();
    keeping.sort();
    let same = if !keeping.is_empty() {
        Judged::of(Rule::SameDomain, Met::Open, format!("smart host {} puts in an envelope sender of its own", listed(&keeping)))
    } else if settings.keep_reverse_path {
        Judged::of(Rule::SameDomain, Met::Yes, format!("senders at or below it stay, others become addresses at {}", settings.bounce_domain))
    } else {
        Judged::of(Rule::SameDomain, Met::Yes, format!("envelope senders become addresses at {}", settings.bounce_domain))
    };
    vec![own, hosts, same]
}

/// Whoever has its private key here controls its DNS, or it would verify nowhere.
fn is_own(domain: &Domain, config: &Config, keyring: &Keyring) -> bool {
    let may_sign = config.domains.get(domain).is_some_and(|settings| !settings.author.parked);
    may_sign && keyring.active(domain, crate::keys::Algorithm::Rsa).next().is_some() && !MAILBOX_PROVIDERS.contains(&domain.as_str())
}

fn writes_as(identity: &Identity, domain: &Domain, config: &Config) -> bool {
    match &identity.mode {
        Mode::Forward { domain: own } => own == domain,
        Mode::Author => identity.author_domains.iter().any(|pattern| pattern.matches(domain) || config.policy.signing_domain(pattern.domain()) == domain),
    }
}

impl Judged {
    const fn of(rule: Rule, met: Met, why: String) -> Self {
        Self { rule, met, why }
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end()); // a String takes all
}

/// The column that facts and rules begin at.
const COLUMNS: usize = 14;
/// Nobody else can publish keys there.
const MAILBOX_PROVIDERS: [&str; 10] =
    ["gmail.com", "googlemail.com", "yahoo.com", "aol.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "icloud.com", "me.com"];
