//! Finds the facts. A shell: it asks a resolver, all questions of a subject at once, each bounded by the resolver.

use super::facts::{
    AddressFacts, Asked, BounceFacts, DomainFacts, ExpectedKey, HostFacts, KeyFacts, RelayFacts, RelaySubject, ReportHost, Source, SourceFacts, Step, Subject,
};
use crate::dns::{Addresses, DnsFault, MxAnswer, MxHost, Resolver, TlsaAnswer};
use crate::mail::{Domain, KeyId};
use crate::verdict::dmarc::{DmarcRecord, Psd, applicable, only_record, organizational_domain, tree_walk};
use crate::verdict::spf_walk;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;

/// What the world says of a domain.
pub async fn domain(subject: Subject, resolver: &Resolver) -> DomainFacts {
    let name = &subject.domain;
    let bounce_apart = subject.bounce_domain.as_ref().is_some_and(|bounce| bounce != name);
    let sending: &[IpAddr] = if bounce_apart { &[] } else { &subject.leaves.addresses };
    let (exists, mx, txt, spf, dmarc, keys, bounce, bimi, wildcard, wildcard_key) = tokio::join!(
        resolver.exists(name),
        resolver.mx(name),
        resolver.txt(name),
        spf_walk::walk(resolver, name, sending),
        steps(name, resolver),
        all(subject.keys.iter().take(KEYS_MAX).map(|key| self::key(key.clone(), resolver))),
        bounce(&subject, resolver),
        texts(name, "default._bimi", resolver),
        texts(name, NOBODY, resolver),
        texts(name, NOBODY_KEY, resolver),
    );
    let reports = reports(name, &dmarc, resolver).await;
    DomainFacts { subject, exists, mx, txt, spf, dmarc, reports, keys, bounce, bimi, wildcard, wildcard_key }
}

/// What the world says of several, some at a time.
pub async fn domains(subjects: Vec<Subject>, resolver: &Resolver) -> Vec<DomainFacts> {
    let mut found = Vec::new();
    let mut waiting = subjects.into_iter().peekable();
    while waiting.peek().is_some() {
        let some: Vec<Subject> = waiting.by_ref().take(DOMAINS_AT_ONCE).collect();
        found.extend(all(some.into_iter().map(|subject| domain(subject, resolver))).await);
    }
    found
}

/// What the world says of the relay.
pub async fn relay(subject: RelaySubject, resolver: &Resolver) -> RelayFacts {
    let sources = all(subject.sources.iter().cloned().map(|source| self::source(source, resolver))).await;
    RelayFacts { subject, sources }
}

/// The addresses of a name, so that those of an EHLO name can stand in where none are configured; none when nobody can say.
pub async fn presumed_addresses(name: &str, resolver: &Resolver) -> Vec<IpAddr> {
    match Domain::parse(name) {
        Ok(name) => resolver.addresses(&name).await.map(|found| list(&found)).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

async fn bounce(subject: &Subject, resolver: &Resolver) -> Option<BounceFacts> {
    let name = subject.bounce_domain.as_ref()?;
    let (exists, mx, spf, dmarc, mta_sts, tls_rpt) = tokio::join!(
        resolver.exists(name),
        resolver.mx(name),
        spf_walk::walk(resolver, name, &subject.leaves.addresses),
        steps(name, resolver),
        texts(name, "_mta-sts", resolver),
        texts(name, "_smtp._tls", resolver),
    );
    let hosts = match &mx {
        Ok(MxAnswer::Hosts(hosts)) => all(hosts.iter().take(HOSTS_MAX).cloned().map(|host| self::host(host, resolver))).await,
        _ => Vec::new(),
    };
    Some(BounceFacts { domain: name.clone(), exists, mx, hosts, spf, dmarc, mta_sts, mta_sts_policy: None, tls_rpt })
}

async fn host(host: MxHost, resolver: &Resolver) -> HostFacts {
    let tlsa = async {
        match host.name.below("_25._tcp") {
            Ok(name) => resolver.tlsa(&name).await,
            Err(_) => Ok(TlsaAnswer::default()),
        }
    };
    let (addresses, tlsa) = tokio::join!(resolver.addresses(&host.name), tlsa);
    HostFacts { addresses, tlsa, name: host.name, reached: None }
}

async fn key(expected: ExpectedKey, resolver: &Resolver) -> KeyFacts {
    let KeyId { domain, selector } = &expected.id;
    KeyFacts { texts: texts(domain, &format!("{selector}._domainkey"), resolver).await, expected }
}

/// The texts of a walk of the tree, whole: where it ends early, the rules say.
async fn steps(start: &Domain, resolver: &Resolver) -> Vec<Step> {
    all(tree_walk(start).into_iter().map(|name| async move { Step { texts: texts(&name, "_dmarc", resolver).await, name } })).await
}

/// The hosts that the applicable record sends reports to.
async fn reports(author: &Domain, steps: &[Step], resolver: &Resolver) -> Vec<ReportHost> {
    let found = records(steps);
    let Some((at, record)) = applicable(author, &found) else { return Vec::new() };
    let organization = organizational_domain(author, &found);
    let uris: BTreeSet<&String> = record.rua.iter().chain(&record.ruf).take(REPORT_ADDRESSES_MAX).collect();
    let known = uris.into_iter().filter_map(|uri| Some((uri.clone(), report_host(uri)?)));
    all(known.map(|(uri, host)| report(uri, host, at, &organization, resolver))).await
}

async fn report(uri: String, host: Domain, at: &Domain, organization: &Domain, resolver: &Resolver) -> ReportHost {
    let takes_mail = takes_mail(&host, resolver).await;
    let consent = if host.is_at_or_below(organization) {
        None
    } else {
        // RFC 9990 §4; a name too long for the DNS proves nothing.
        let labels = format!("{at}._report._dmarc");
        let texts = texts(&host, &labels, resolver).await;
        Some((host.below(&labels).unwrap_or_else(|_| host.clone()), texts))
    };
    ReportHost { uri, host, takes_mail, consent }
}

async fn takes_mail(host: &Domain, resolver: &Resolver) -> Asked<bool> {
    match resolver.mx(host).await? {
        MxAnswer::Hosts(hosts) => Ok(!hosts.is_empty()),
        MxAnswer::Null | MxAnswer::NoSuchDomain => Ok(false),
        MxAnswer::Implicit => Ok(!resolver.addresses(host).await?.is_empty()),
    }
}

/// `mailto:dmarc@example.com?subject=…`.
fn report_host(uri: &str) -> Option<Domain> {
    let address = uri.strip_prefix("mailto:")?.split('?').next()?;
    Domain::parse(address.rsplit_once('@')?.1).ok()
}

async fn source(source: Source, resolver: &Resolver) -> SourceFacts {
    let ehlo_name = Domain::parse(&source.ehlo).ok().filter(Domain::is_fully_qualified);
    let ehlo = match &ehlo_name {
        Some(name) => Some(resolver.addresses(name).await),
        None => None,
    };
    let presumed = source.addresses.is_empty();
    let known = match &ehlo {
        Some(Ok(found)) if presumed => list(found),
        _ => source.addresses.clone(),
    };
    let spf = match &ehlo_name {
        Some(name) => Some(spf_walk::walk(resolver, name, &known).await),
        None => None,
    };
    let addresses = all(known.into_iter().take(ADDRESSES_MAX).map(|address| reverse(address, resolver))).await;
    SourceFacts { source, ehlo, addresses, presumed, spf }
}

async fn reverse(address: IpAddr, resolver: &Resolver) -> AddressFacts {
    let names = match resolver.names(address).await {
        Ok(names) => Ok(all(names.into_iter().take(PTR_NAMES_MAX).map(|name| async move { (name.clone(), resolver.addresses(&name).await) })).await),
        Err(fault) => Err(fault),
    };
    AddressFacts { address, names }
}

fn records(steps: &[Step]) -> Vec<(Domain, DmarcRecord)> {
    let mut found = Vec::new();
    for step in steps {
        let Some(record) = step.texts.as_ref().ok().and_then(|texts| only_record(texts).ok().flatten()) else { continue };
        let ends = record.psd != Psd::Unknown;
        found.push((step.name.clone(), record));
        if ends {
            break;
        }
    }
    found
}

/// The TXT records at a name below another; none when that is too long for the DNS.
async fn texts(name: &Domain, labels: &str, resolver: &Resolver) -> Result<Vec<String>, DnsFault> {
    match name.below(labels) {
        Ok(name) => resolver.txt(&name).await,
        Err(_) => Ok(Vec::new()),
    }
}

fn list(found: &Addresses) -> Vec<IpAddr> {
    found.v4.iter().copied().map(IpAddr::V4).chain(found.v6.iter().copied().map(IpAddr::V6)).collect()
}

/// All at once, in their order; how many are really open at a time the resolver bounds.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut done: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in pending.iter_mut().zip(&mut done) {
            if let Some(running) = future
                && let std::task::Poll::Ready(value) = running.as_mut().poll(context)
            {
                *output = Some(value);
                *future = None;
            }
        }
        if pending.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Labels that nobody uses, to see what a wildcard says.
const NOBODY: &str = "postseal-doctor-asks-for-nobody";
const NOBODY_KEY: &str = "postseal-doctor-asks-for-nobody._domainkey";
/// Each asks about twenty questions at a time.
const DOMAINS_AT_ONCE: usize = 10;
/// What is looked at of one subject; a domain with more has a fault of its own.
const KEYS_MAX: usize = 64;
const HOSTS_MAX: usize = 16;
const REPORT_ADDRESSES_MAX: usize = 10;
const ADDRESSES_MAX: usize = 16;
const PTR_NAMES_MAX: usize = 10;
