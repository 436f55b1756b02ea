//! What doctor is to examine, by the configuration: the relay's part of it, for the command line and for the page.

use crate::clock;
use crate::config::{Config, DomainSettings};
use crate::dns::Resolver;
use crate::doctor::{self, CertificateFace, CertificateFacts, ExpectedKey, Kind, Leaves, OurKey, Part, RelaySubject, Source, Subject, Use, ask};
use crate::ingress::identity::San;
use crate::ingress::tls;
use crate::keys::{Keyring, State};
use crate::mail::Domain;
use std::net::IpAddr;

/// What doctor finds of these domains and of the relay, judged as a bulk sender. Asks the resolver, and nobody else.
pub async fn examine(config: &Config, keyring: &Keyring, domains: &[Domain], resolver: &Resolver) -> Vec<Part> {
    let relay = relay(config);
    let leaves = leaves(&relay, resolver).await;
    let subjects = domains.iter().map(|domain| subject(domain, config, keyring, &leaves)).collect();
    let (domains, relay) = tokio::join!(ask::domains(subjects, resolver), ask::relay(relay, resolver));
    let mut parts: Vec<Part> =
        domains.iter().map(|facts| Part { kind: Kind::Domain, name: facts.subject.domain.to_string(), findings: doctor::examine(facts, true) }).collect();
    parts.push(Part { kind: Kind::Relay, name: config.server.hostname.to_string(), findings: doctor::examine_relay(&relay, clock::now()) });
    parts
}

fn subject(domain: &Domain, config: &Config, keyring: &Keyring, leaves: &Leaves) -> Subject {
    let settings = config.domains.get(domain);
    let third_party = settings.and_then(|settings| settings.third_party.clone());
    Subject {
        bounce_domain: settings.map(|settings| settings.bounce_domain.clone()),
        purpose: purpose(settings),
        relay: Some(config.server.hostname.clone()),
        leaves: leaves.clone(),
        keys: expected_keys(domain, third_party.as_ref(), keyring),
        third_party,
        domain: domain.clone(),
    }
}

/// Those of the domain, and those that sign for the platform.
#[must_use]
pub fn expected_keys(domain: &Domain, third_party: Option<&Domain>, keyring: &Keyring) -> Vec<ExpectedKey> {
    let expected = |key: &crate::keys::Key| ExpectedKey { id: key.id.clone(), ours: Some(OurKey::of(key)) };
    let of_platform = third_party.into_iter().flat_map(|platform| keyring.keys(platform)).filter(|key| key.state == State::Active);
    keyring.keys(domain).iter().chain(of_platform).map(expected).collect()
}

/// What a domain is for.
#[must_use]
pub fn purpose(settings: Option<&DomainSettings>) -> Use {
    match settings {
        Some(settings) if settings.author.parked => Use::Parked,
        Some(_) => Use::Sends,
        None => Use::Unsaid,
    }
}

/// The relay as configured.
#[must_use]
pub fn relay(config: &Config) -> RelaySubject {
    let source = |name: &str, source: &crate::deliver::Source| Source {
        name: name.to_owned(),
        ehlo: source.ehlo_name.clone(),
        addresses: source.v4.map(IpAddr::V4).into_iter().chain(source.v6.map(IpAddr::V6)).collect(),
    };
    let main = source(DELIVER, &config.deliver.source);
    let pools =
        config.deliver.pools.iter().map(|(name, pool)| source(name, pool)).filter(|pool| (&pool.ehlo, &pool.addresses) != (&main.ehlo, &main.addresses));
    let route = config.policy.default_route.to_string();
    RelaySubject {
        hostname: Some(config.server.hostname.clone()),
        smart_host: (route != MX).then_some(route),
        certificates: config.tls.iter().flat_map(|tls| &tls.certificates).map(certificate).collect(),
        sources: std::iter::once(main.clone()).chain(pools).collect(),
    }
}

fn certificate(files: &tls::CertificateFiles) -> CertificateFacts {
    let dns_name = |name: San| if let San::Dns(name) = name { Some(name) } else { None };
    let face = tls::certificate_face(files).map(|face| CertificateFace {
        names: face.names.into_iter().filter_map(dns_name).collect(),
        not_before: face.not_before,
        not_after: face.not_after,
    });
    CertificateFacts { file: files.chain.display().to_string(), face: face.map_err(|fault| fault.to_string()) }
}

/// The addresses that SPF records must let in. Where none are configured, those of the EHLO names stand in.
pub async fn leaves(relay: &RelaySubject, resolver: &Resolver) -> Leaves {
    let mut addresses: Vec<IpAddr> = relay.sources.iter().flat_map(|source| source.addresses.clone()).filter(|address| doctor::is_public(*address)).collect();
    let presumed = addresses.is_empty() && relay.smart_host.is_none();
    if presumed {
        for source in &relay.sources {
            addresses.extend(ask::presumed_addresses(&source.ehlo, resolver).await);
        }
    }
    addresses.sort();
    addresses.dedup();
    Leaves { presumed: presumed && !addresses.is_empty(), addresses, smart_host: relay.smart_host.clone() }
}

/// The source that is no pool, as `rules` know it.
pub const DELIVER: &str = "deliver";
/// The default route that is no smart host.
const MX: &str = "mx";
