//! `[dns]`, `[publishers]` and what `[domains]` says of them: the records that are published, and who writes them.

use super::super::Config;
use super::super::knob::Knob as _;
use super::super::reader::Reader;
use super::TIMEOUT;
use crate::deliver::Source;
use crate::deliver::route::is_public;
use crate::dns::publish::provider::{self, Service};
use crate::dns::publish::{self, Way, rfc2136, tsig};
use crate::dns::records::{Bimi, Dmarc, Helo, KeyText, MtaSts, Policy, Relay, ReportTo, Sender};
use crate::mail::{Domain, Mailbox};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// What is published for every domain, and by whom.
#[derive(Debug, Clone)]
pub struct Publication {
    /// How long resolvers may keep the records, where a publisher says nothing else.
    pub ttl: Duration,
    /// The addresses that receivers see; `None`: those that deliver.source_v4 and source_v6 name.
    pub public_addresses: Option<Vec<IpAddr>>,
    /// Who takes bounces, by preference.
    pub bounce_hosts: Vec<Domain>,
    /// SPF of bounce domains ends in `-all`.
    pub spf_fail: bool,
    /// The policy of domains that say nothing else.
    pub dmarc: Dmarc,
    /// Where reports of TLS go.
    pub tls_reports: Option<ReportTo>,
    /// MTA-STS of bounce domains.
    pub mta_sts: Option<MtaSts>,
    /// `[publishers.NAME]`.
    pub publishers: BTreeMap<String, publish::Settings>,
}

/// What one domain says of its DNS.
#[derive(Debug, Clone, Default)]
pub struct DomainPublication {
    /// Who writes its records: a key of [`Publication::publishers`]; `None`: a person.
    pub publisher: Option<String>,
    /// The name below which its key records stand, where its own are aliases.
    pub dkim_target: Option<Domain>,
    /// Its DMARC policy; `None`: that of all.
    pub dmarc_policy: Option<Policy>,
    /// Its `t=y`; `None`: as all.
    pub dmarc_testing: Option<bool>,
    /// Its logo.
    pub bimi: Option<Bimi>,
}

const POLICIES: &[(&str, Policy)] = &[("none", Policy::None), ("quarantine", Policy::Quarantine), ("reject", Policy::Reject)];

pub fn publication(root: &Reader<'_>, hostname: &Domain) -> Publication {
    let table = root.table("dns");
    let host = table.optional::<Domain>("mta_sts_host");
    let id = table.optional::<String>("mta_sts_id");
    if let Some(id) = id.as_ref().filter(|id| !(1..=32).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric())) {
        table.fault("mta_sts_id", &id.written(), "1 to 32 letters and digits, as in \"20261122\" (RFC 8461 §3.1)");
    }
    if host.is_some() && id.is_none() {
        table.fault("mta_sts_host", "set, though there is no mta_sts_id", "mta_sts_id, which changes with the policy");
    }
    let bounce_hosts = table.optional::<Vec<Domain>>("bounce_hosts");
    if bounce_hosts.as_ref().is_some_and(Vec::is_empty) {
        table.fault("bounce_hosts", "none", "at least one; leave the key away for server.hostname");
    }
    Publication {
        ttl: table.within("ttl", Duration::from_hours(1), TTL),
        public_addresses: table.optional("public_addresses"),
        bounce_hosts: bounce_hosts.unwrap_or_else(|| vec![hostname.clone()]),
        spf_fail: table.one_of("bounce_spf", &[("softfail", false), ("fail", true)], false),
        dmarc: Dmarc {
            policy: table.one_of("dmarc_policy", POLICIES, Policy::None),
            testing: table.value("dmarc_testing", false),
            reports: table.optional::<Vec<Mailbox>>("dmarc_reports").and_then(ReportTo::new),
        },
        tls_reports: table.optional::<Vec<Mailbox>>("tls_reports").and_then(ReportTo::new),
        mta_sts: id.map(|id| MtaSts { id, host }),
        publishers: root.tables("publishers").into_iter().map(|(name, table)| (name.clone(), publisher(name, &table))).collect(),
    }
}

/// What a table `[domains."NAME"]` says.
pub fn domain(table: &Reader<'_>) -> DomainPublication {
    let policy = table.optional::<String>("dmarc_policy");
    let known = |word: &str| POLICIES.iter().find(|(name, _)| *name == word).map(|(_, policy)| *policy);
    if let Some(word) = policy.as_ref().filter(|word| known(word).is_none()) {
        table.fault("dmarc_policy", &word.written(), "one of \"none\", \"quarantine\", \"reject\"");
    }
    let logo = https(table, "bimi_logo");
    let certificate = https(table, "bimi_certificate");
    if certificate.is_some() && logo.is_none() && !table.has("bimi_logo") {
        table.fault("bimi_certificate", "set, though there is no bimi_logo", "bimi_logo, the address of the logo it certifies");
    }
    DomainPublication {
        publisher: table.optional("publisher"),
        dkim_target: table.optional("dkim_target"),
        dmarc_policy: policy.as_deref().and_then(known),
        dmarc_testing: table.optional("dmarc_testing"),
        bimi: logo.map(|logo| Bimi { logo, certificate }),
    }
}

fn https(table: &Reader<'_>, key: &str) -> Option<String> {
    let url = table.optional::<String>(key)?;
    if url.starts_with("https://") && url.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b',') {
        return Some(url);
    }
    table.fault(key, &url.written(), "an address that begins with https://, without blanks, commas and semicolons");
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Manual,
    Rfc2136,
    Provider(Service),
}

fn publisher(name: String, table: &Reader<'_>) -> publish::Settings {
    let words: Vec<(&str, Kind)> =
        [("manual", Kind::Manual), ("rfc2136", Kind::Rfc2136)].into_iter().chain(Service::ALL.map(|(word, service)| (word, Kind::Provider(service)))).collect();
    let kind = table.one_of("kind", &words, Kind::Manual);
    let ttl = table.optional_within("ttl", TTL);
    let zone = table.optional::<Domain>("zone");
    let timeout = table.within("timeout", Duration::from_secs(10), TIMEOUT);
    let update = update(table, kind, zone.clone(), timeout);
    let service = service(table, kind, zone, timeout);
    let word = words.iter().find(|(_, of)| *of == kind).map_or("manual", |(word, _)| word);
    let (of_update, of_service) = (["server", "tsig_name", "tsig_secret", "tsig_secret_file"], ["api_token", "api_token_file", "account", "endpoint"]);
    let foreign = match kind {
        Kind::Manual => [&of_update[..], &of_service, &["zone"]].concat(),
        Kind::Rfc2136 => of_service.to_vec(),
        Kind::Provider(_) => of_update.to_vec(),
    };
    for key in foreign.into_iter().filter(|key| table.has(key)) {
        table.fault(key, &format!("set, though kind is \"{word}\", which has no use for it"), "another kind, or none of it");
    }
    publish::Settings { name, ttl, way: way(update, service) }
}

#[cfg(feature = "dns-providers")]
fn way(update: Option<rfc2136::Settings>, service: Option<provider::Settings>) -> Way {
    update.map(Way::Rfc2136).or(service.map(Way::Provider)).unwrap_or(Way::Manual)
}

#[cfg(not(feature = "dns-providers"))]
fn way(update: Option<rfc2136::Settings>, _: Option<provider::Settings>) -> Way {
    update.map_or(Way::Manual, Way::Rfc2136)
}

/// What a provider's API needs; `None` where it is not asked for, or after a fault.
fn service(table: &Reader<'_>, kind: Kind, zone: Option<Domain>, timeout: Duration) -> Option<provider::Settings> {
    let token = secret(table, "api_token", matches!(kind, Kind::Provider(_)));
    let account = table.optional::<String>("account");
    let endpoint = table.optional::<String>("endpoint");
    let Kind::Provider(service) = kind else { return None };
    if !provider::IS_BUILT_IN {
        let expected = "\"manual\" or \"rfc2136\", or a program built with `cargo build --features dns-providers`";
        table.fault("kind", &format!("\"{service}\", but this program was built without the APIs of providers"), expected);
        return None;
    }
    if token.is_none() && !table.has("api_token") && !table.has("api_token_file") {
        table.fault("api_token_file", &format!("missing, though kind is \"{service}\""), "a file that only we may read, with a token that may edit the zone");
    }
    if service.wants_account() && account.is_none() && !table.has("account") {
        table.fault("account", &format!("missing, though kind is \"{service}\""), "the account's number; of route53 the access key id");
    }
    if endpoint.is_some() && !service.takes_endpoint() {
        table.fault("endpoint", &format!("set, though {service} is in one place only"), "no endpoint");
    }
    let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    if let Some(url) = endpoint.as_ref().filter(|url| !is_url(url)) {
        table.fault("endpoint", &url.written(), "an address that begins with https:// or http://");
    }
    Some(provider::Settings { service, zone, token: token?, account, endpoint, timeout })
}

/// A secret where there is a use for it; else its keys are asked for, and no file is read.
fn secret(table: &Reader<'_>, key: &str, is_wanted: bool) -> Option<SecretString> {
    if is_wanted {
        return table.guarded_secret(key);
    }
    let _ = (table.optional::<String>(key), table.optional::<PathBuf>(&format!("{key}_file")));
    None
}

/// What a dynamic update needs; `None` where it is not asked for, or after a fault.
fn update(table: &Reader<'_>, kind: Kind, zone: Option<Domain>, timeout: Duration) -> Option<rfc2136::Settings> {
    let is_wanted = kind == Kind::Rfc2136;
    let server = table.optional::<String>("server");
    let key_name = table.optional::<String>("tsig_name");
    let algorithm = table.value("tsig_algorithm", tsig::Algorithm::HmacSha256.to_string());
    let secret = secret(table, "tsig_secret", is_wanted);
    let transport = table.one_of("transport", &[("tcp", rfc2136::Transport::Tcp), ("udp", rfc2136::Transport::Udp)], rfc2136::Transport::Tcp);
    if !is_wanted {
        return None;
    }
    for (key, expected) in [("server", "the zone's primary: a name or an address, with a port where it is not 53"), ("tsig_secret_file", TSIG)] {
        let is_said = table.has(key) || (key == "tsig_secret_file" && table.has("tsig_secret"));
        if !is_said {
            table.fault(key, "missing, though kind is \"rfc2136\"", expected);
        }
    }
    let server = server.and_then(|text| text.parse().map_err(|fault: String| table.fault("server", &fault, "")).ok());
    let key = secret.and_then(|secret| tsig_key(table, key_name, &algorithm, &tsig::KeyText::read(secret.expose_secret())));
    Some(rfc2136::Settings { server: server?, zone, key: key?, transport, timeout })
}

/// The file of `tsig-keygen` brings name and algorithm with it; what the table says holds against it.
fn tsig_key(table: &Reader<'_>, name: Option<String>, algorithm: &str, text: &tsig::KeyText) -> Option<tsig::Key> {
    let algorithm = if table.has("tsig_algorithm") { algorithm } else { text.algorithm.as_deref().unwrap_or(algorithm) };
    let algorithm = algorithm.parse().map_err(|error: tsig::KeyError| table.fault("tsig_algorithm", &error.to_string(), "")).ok();
    let Some(name) = name.or_else(|| text.name.clone()) else {
        table.fault("tsig_name", "missing", "the name of the key, as the server's key statement has it");
        return None;
    };
    let name = name.parse().map_err(|error: tsig::KeyError| table.fault("tsig_name", &error.to_string(), "")).ok();
    let place = if table.has("tsig_secret_file") { "tsig_secret_file" } else { "tsig_secret" };
    tsig::Key::new(name?, algorithm?, text).map_err(|error| table.fault(place, &error.to_string(), "")).ok()
}

/// A TTL: shorter ones load servers, longer ones keep mistakes alive.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 7);

const TSIG: &str = "a file that only we may read, with the secret in base64, or what tsig-keygen prints";

impl Config {
    /// The set of records of one author domain that sends; `keys` are those of its keys that should stand in the DNS. `None` for a domain
    /// that the configuration does not know.
    #[must_use]
    pub fn sender(&self, domain: &Domain, keys: Vec<KeyText>) -> Option<Sender> {
        let settings = self.domains.get(domain)?;
        let (all, own) = (&self.publication, &settings.publication);
        Some(Sender {
            domain: domain.clone(),
            bounce_domain: settings.bounce_domain.clone(),
            keeps_reverse_path: settings.keep_reverse_path,
            keys,
            dkim_target: own.dkim_target.clone(),
            dmarc: Dmarc {
                policy: own.dmarc_policy.unwrap_or(all.dmarc.policy),
                testing: own.dmarc_testing.unwrap_or(all.dmarc.testing),
                reports: all.dmarc.reports.clone(),
            },
            tls_rpt: all.tls_reports.clone(),
            mta_sts: all.mta_sts.clone(),
            bimi: own.bimi.clone(),
            relay: Relay { bounce_hosts: all.bounce_hosts.clone(), helos: self.helos(), spf_fail: all.spf_fail },
            ttl: self.record_ttl(domain),
        })
    }

    /// Who writes a domain's records; `None`: a person.
    #[must_use]
    pub fn publisher(&self, domain: &Domain) -> Option<&publish::Settings> {
        self.publication.publishers.get(self.domains.get(domain)?.publication.publisher.as_ref()?)
    }

    /// How long resolvers may keep a domain's records.
    #[must_use]
    pub fn record_ttl(&self, domain: &Domain) -> Duration {
        self.publisher(domain).and_then(|publisher| publisher.ttl).unwrap_or(self.publication.ttl)
    }

    /// The names in EHLO with the addresses that receivers see: those of `[deliver]` first, then those of pools.
    fn helos(&self) -> Vec<Helo> {
        let of = |source: &Source| {
            let addresses = source.v4.map(IpAddr::from).into_iter().chain(source.v6.map(IpAddr::from));
            Some(Helo { name: source.ehlo_name.parse().ok()?, addresses: addresses.filter(|address| is_public(*address)).collect() })
        };
        let main = of(&self.deliver.source).map(|helo| match &self.publication.public_addresses {
            Some(addresses) => Helo { addresses: addresses.clone(), ..helo },
            None => helo,
        });
        let mut helos: Vec<Helo> = Vec::new();
        for helo in main.into_iter().chain(self.deliver.pools.values().filter_map(of)) {
            match helos.iter_mut().find(|known| known.name == helo.name) {
                Some(known) => {
                    let new: Vec<IpAddr> = helo.addresses.into_iter().filter(|address| !known.addresses.contains(address)).collect();
                    known.addresses.extend(new);
                }
                None => helos.push(helo),
            }
        }
        helos
    }
}
