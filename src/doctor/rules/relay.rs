//! The relay itself: reverse DNS of the addresses it sends from, its EHLO names, its certificates.

use super::super::facts::{AddressFacts, CertificateFacts, RelayFacts, SourceFacts};
use super::super::rule::{Demand, Finding, Provider, Remedy, Rule, When};
use super::{listed, spf, unanswered};
use crate::dns::{Addresses, Data, Resource, reverse_name};
use crate::mail::{Domain, Timestamp};
use std::net::IpAddr;
use std::time::Duration;

pub(super) const RULES: &[&Rule] = &[&PTR, &GENERIC, &EHLO, &TLS];

static PTR: Rule = Rule {
    id: "ptr",
    why: "an address that sends mail must have a name, and that name must lead back to it (forward-confirmed reverse DNS)",
    demands: &[
        Demand { by: Provider::Gmail, of: When::Always, codes: &["451 4.7.23", "550 5.7.25", "550 5.7.1"] },
        Demand { by: Provider::Yahoo, of: When::Always, codes: &[] },
        Demand { by: Provider::Microsoft, of: When::Always, codes: &[] },
        Demand { by: Provider::Apple, of: When::Bulk, codes: &[] },
    ],
};

static GENERIC: Rule = Rule {
    id: "ptr-generic",
    why: "a name that is made of the address looks like a home connection; Yahoo and Microsoft refuse those",
    demands: &[Demand { by: Provider::Yahoo, of: When::Always, codes: &[] }, Demand { by: Provider::Microsoft, of: When::Always, codes: &["550 DY-001"] }],
};

static EHLO: Rule = Rule {
    id: "ehlo",
    why: "the name given in EHLO should be the one that reverse DNS gives, and lead to the address",
    demands: &[Demand { by: Provider::Microsoft, of: When::Always, codes: &[] }],
};

static TLS: Rule = Rule { id: "tls", why: "clients that verify certificates refuse to speak to the relay with a bad one", demands: &[] };

pub(super) fn findings(facts: &RelayFacts, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &facts.sources {
        if let (Some(host), "deliver") = (&facts.subject.smart_host, source.source.name.as_str()) {
            findings.push(PTR.ok(host, "all mail leaves by this smart host, so its addresses count, not ours"));
        } else {
            findings.extend(addresses(source));
            findings.extend((!source.source.ehlo.is_empty()).then(|| ehlo(source)));
        }
        findings.extend(spf::helo(source));
    }
    if let Some(hostname) = &facts.subject.hostname {
        findings.extend(facts.subject.certificates.iter().map(|certificate| tls(certificate, hostname, now)));
    }
    findings
}

/// Reverse DNS of each address of a source.
fn addresses(source: &SourceFacts) -> Vec<Finding> {
    let ehlo = &source.source.ehlo;
    if source.addresses.is_empty() {
        let remedy = Remedy::of("name the addresses that receivers see with --address, or as source_v4 and source_v6 in the configuration");
        if ehlo.is_empty() {
            let remedy = Remedy::of("name the addresses that receivers see with --address, and the EHLO name with --helo");
            return vec![PTR.unknown("the sending address", "it is not known: there is no configuration", Some(remedy))];
        }
        let why = match &source.ehlo {
            Some(Err(fault)) => format!("the address that mail leaves from is not configured, and that of {ehlo} could not be asked: {fault}"),
            _ => format!("the address that mail leaves from is not configured, and {ehlo} has none in the DNS"),
        };
        return vec![PTR.unknown(ehlo, why, Some(remedy))];
    }
    source.addresses.iter().flat_map(|found| address(found, source)).collect()
}

fn address(found: &AddressFacts, source: &SourceFacts) -> Vec<Finding> {
    let address = found.address;
    if !is_public(address) {
        let remedy = Remedy::of(format!("name the public address behind which {address} is hidden with --address"));
        return vec![PTR.unknown(address, "a private address: what receivers see is another one", Some(remedy))];
    }
    let names = match &found.names {
        Ok(names) => names,
        Err(fault) => return vec![unanswered(&PTR, address, fault)],
    };
    let ehlo: Option<Domain> = Domain::parse(&source.source.ehlo).ok();
    let record = || ehlo.iter().map(|name| Resource { owner: reverse_name(address).into(), data: Data::Ptr(name.clone()) }).collect::<Vec<_>>();
    let bad = |seen: String, remedy: Remedy| {
        if !source.presumed {
            return PTR.fail(address, seen, remedy);
        }
        let seen = format!("{seen}; {} points to this address, but whether mail leaves from it is not configured", source.source.ehlo);
        let text = format!("if it does, {}; if not, name the address with --address or as source_v4 and source_v6", remedy.text);
        PTR.unknown(address, seen, Some(Remedy { text, ..remedy }))
    };
    if names.is_empty() {
        return vec![bad(
            "it has no name: there is no PTR record".to_owned(),
            Remedy::records("let whoever owns the address (hoster, provider) publish", record()),
        )];
    }
    let confirmed = names.iter().find(|(_, back)| back.as_ref().is_ok_and(|back| has(back, address)));
    if let Some((name, _)) = confirmed {
        let presumed = if source.presumed { format!(" (not configured; taken from {})", source.source.ehlo) } else { String::new() };
        let mut findings = vec![PTR.ok(address, format!("{name} leads back to it{presumed}"))];
        findings.extend(generic(address, name));
        return findings;
    }
    if let Some(fault) = names.iter().find_map(|(_, back)| back.as_ref().err()) {
        return vec![unanswered(&PTR, address, fault)];
    }
    let listed_names = listed(names.iter().map(|(name, _)| name));
    let forward = names.iter().take(1).map(|(name, _)| Resource { owner: name.clone().into(), data: address_data(address) }).collect();
    vec![bad(
        format!("its name {listed_names} does not lead back to it"),
        Remedy::records("give that name this address, or let the PTR record name another one", forward),
    )]
}

/// Names like `host-192-0-2-25.dyn.provider.example`.
fn generic(address: IpAddr, name: &Domain) -> Option<Finding> {
    let labels = name.as_str().split('.').next().unwrap_or_default().to_owned();
    let numbers: Vec<String> = match address {
        IpAddr::V4(v4) => v4.octets().iter().map(ToString::to_string).collect(),
        IpAddr::V6(v6) => v6.segments().iter().map(|segment| format!("{segment:x}")).collect(),
    };
    let parts: Vec<&str> = name.as_str().split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let whole = numbers.concat();
    let consecutive =
        |numbers: &[String]| parts.windows(GENERIC_PARTS).any(|window| numbers.windows(GENERIC_PARTS).any(|some| some.iter().zip(window).all(|(a, b)| a == b)));
    let reversed: Vec<String> = numbers.iter().rev().cloned().collect();
    let word = name.as_str().split(['.', '-']).find(|word| GENERIC_WORDS.contains(word));
    let seen = if consecutive(&numbers) || consecutive(&reversed) || labels.contains(&whole) {
        format!("its name {name} is made of the address")
    } else {
        format!("its name {name} says \"{}\"", word?)
    };
    Some(GENERIC.warn(address, seen, Remedy::of("give it a name of your own, such as the EHLO name")))
}

/// The name given in EHLO.
fn ehlo(source: &SourceFacts) -> Finding {
    let name = &source.source.ehlo;
    let (Some(asked), Ok(domain)) = (&source.ehlo, Domain::parse(name)) else {
        return EHLO.fail(name, "it is no full domain name", Remedy::of("set server.hostname, or ehlo_name, to the name that the PTR record gives"));
    };
    let known: Vec<IpAddr> =
        if source.presumed { Vec::new() } else { source.addresses.iter().map(|found| found.address).filter(|address| is_public(*address)).collect() };
    let records = || known.iter().map(|address| Resource { owner: domain.clone().into(), data: address_data(*address) }).collect::<Vec<_>>();
    let found = match asked {
        Err(fault) => return unanswered(&EHLO, name, fault),
        Ok(found) if found.is_empty() => {
            return EHLO.fail(name, "it has no address in the DNS", Remedy::records("publish the addresses that mail leaves from", records()));
        }
        Ok(found) => found,
    };
    let missing: Vec<&IpAddr> = known.iter().filter(|address| !has(found, **address)).collect();
    if !missing.is_empty() {
        return EHLO.warn(name, format!("it does not lead to {}", listed(missing)), Remedy::records("publish", records()));
    }
    let other = source
        .addresses
        .iter()
        .filter_map(|found| Some((found.address, found.names.as_ref().ok()?)))
        .find(|(address, names)| is_public(*address) && !names.is_empty() && !names.iter().any(|(ptr, _)| *ptr == domain));
    if let Some((address, names)) = other {
        let record = Resource { owner: reverse_name(address).into(), data: Data::Ptr(domain.clone()) };
        let seen = format!("the PTR record of {address} names {}, not the EHLO name", listed(names.iter().map(|(name, _)| name)));
        return EHLO.warn(name, seen, Remedy::records("let them be the same", vec![record]));
    }
    let named = |found: &AddressFacts| found.names.as_ref().is_ok_and(|names| names.iter().any(|(ptr, _)| *ptr == domain));
    let all_named = !source.addresses.is_empty() && source.addresses.iter().all(named);
    EHLO.ok(name, if all_named { "it leads to the address, and the PTR record names it" } else { "it leads to the address" })
}

fn tls(certificate: &CertificateFacts, hostname: &Domain, now: Timestamp) -> Finding {
    let file = &certificate.file;
    let face = match &certificate.face {
        Ok(face) => face,
        Err(why) => return TLS.fail(file, why.clone(), Remedy::of("name a PEM file with the certificate and one with its key in [tls.certificates]")),
    };
    let day = |at: Timestamp| at.to_rfc3339().split('T').next().unwrap_or_default().to_owned();
    let renew = || Remedy::of("renew the certificate, then SIGHUP");
    if now.unix_seconds() < face.not_before.unix_seconds() {
        return TLS.fail(file, format!("it is valid only from {}", day(face.not_before)), Remedy::of("check the clock, or wait"));
    }
    if now.unix_seconds() >= face.not_after.unix_seconds() {
        return TLS.fail(file, format!("it expired on {}", day(face.not_after)), renew());
    }
    if !face.names.iter().any(|name| proves(name, hostname)) {
        let names = if face.names.is_empty() { "no name at all".to_owned() } else { listed(&face.names) };
        return TLS.warn(
            file,
            format!("it proves {names}, not the host name {hostname}"),
            Remedy::of(format!("get one for {hostname}, unless clients use another name")),
        );
    }
    let left = face.not_after.unix_seconds() - now.unix_seconds();
    if left < i64::try_from(EXPIRY_SOON.as_secs()).unwrap_or(i64::MAX) {
        return TLS.warn(file, format!("it expires on {}, in {} days", day(face.not_after), left / 86_400), renew());
    }
    TLS.ok(file, format!("it proves {hostname} until {}", day(face.not_after)))
}

/// RFC 9525 §6.3: a wildcard stands for one label.
fn proves(name: &str, host: &Domain) -> bool {
    name == host.as_str() || name.strip_prefix("*.").is_some_and(|rest| host.as_str().split_once('.').is_some_and(|(_, parent)| parent == rest))
}

/// Whether it is one of them.
pub(super) fn has(addresses: &Addresses, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => addresses.v4.contains(&v4),
        IpAddr::V6(v6) => addresses.v6.contains(&v6),
    }
}

const fn address_data(address: IpAddr) -> Data {
    match address {
        IpAddr::V4(v4) => Data::A(v4),
        IpAddr::V6(v6) => Data::Aaaa(v6),
    }
}

/// Not of a network that no receiver sees (RFC 1918, RFC 6598, RFC 4193, RFC 3927, RFC 4291).
pub const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

/// So many numbers of the address in a row make a name a generic one.
const GENERIC_PARTS: usize = 3;
const GENERIC_WORDS: &[&str] = &[
    "dyn",
    "dynamic",
    "dhcp",
    "dsl",
    "adsl",
    "vdsl",
    "ppp",
    "pppoe",
    "dialup",
    "dial",
    "pool",
    "cable",
    "static",
    "broadband",
    "customer",
    "client",
    "unassigned",
    "generic",
];
/// Most authorities renew 30 days before the end; two weeks before it something has gone wrong.
const EXPIRY_SOON: Duration = Duration::from_hours(14 * 24);
