//! What every authoritative server of a zone says of a name, each asked directly: the evidence that a record is really out.
//!
//! The zone and the addresses of its servers come of the configured resolver; the record itself never does, for a resolver remembers.
//! Delegations and aliases that the servers tell are followed, each to the servers of its own zone. What follows from what was seen is
//! decided by who asked.
//!
//! RFC 1034 §4.3, RFC 2181 §5.4.1 and §10.1, RFC 2308 §5.

use super::exchange::{self, Question};
use super::reply::{self, Said};
use super::resolver::{self, DnsFault, Resolver, Zone, record_type};
use super::resource::Kind;
use super::sighting::{Answer, Hop, Observation, Server, Sighting};
use crate::mail::Domain;
use hickory_resolver::proto::rr::{Name, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Asks the servers of zones. Cheap to clone; clones share the bound of questions at a time.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

/// How servers are asked, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where they listen: 53, except in labs.
    pub port: u16,
    /// How long one address may take over UDP, and as long again over TCP.
    pub timeout: Duration,
    /// How long one server may take over all its addresses.
    pub server_timeout: Duration,
    /// How long one observation may take.
    pub observation_timeout: Duration,
    /// Servers of a zone; one with more cannot be observed.
    pub servers_max: usize,
    /// Addresses of a server that are tried.
    pub addresses_max: usize,
    /// Names that are looked at for one: it and what it is an alias of. RFC 1034 asks for no bound; resolvers have one of this size.
    pub names_max: usize,
    /// Zones that a name is looked for in: delegations that the resolver does not know yet.
    pub zones_max: usize,
    /// Servers asked at a time.
    pub servers_at_once_max: usize,
}

struct Inner {
    resolver: Arc<Resolver>,
    settings: Settings,
    slots: Semaphore,
}

impl Settings {
    /// The servers are asked as patiently as the resolver's.
    #[must_use]
    pub fn of(resolver: &resolver::Settings) -> Self {
        Self {
            port: resolver.authoritative_port,
            timeout: resolver.timeout,
            server_timeout: resolver.timeout.saturating_mul(ADDRESSES_WAITED_FOR),
            observation_timeout: resolver.timeout.saturating_mul(ADDRESSES_WAITED_FOR * 4),
            servers_max: 32,
            addresses_max: 8,
            names_max: 8,
            zones_max: 8,
            servers_at_once_max: 64,
        }
    }
}

impl Authority {
    /// Finds zones and addresses by this resolver. Asks nobody yet.
    #[must_use]
    pub fn new(resolver: Arc<Resolver>, settings: Settings) -> Self {
        let slots = Semaphore::new(settings.servers_at_once_max.max(1));
        Self { inner: Arc::new(Inner { resolver, settings, slots }) }
    }

    /// What every server of the name's zone says of it, and, where it is an alias, what those of its target's zone say of that.
    ///
    /// # Errors
    /// A zone or its servers could not be found out. A server that does not answer is no error, but a sighting that says so.
    pub async fn observe(&self, name: &Domain, kind: Kind) -> Result<Observation, DnsFault> {
        let within = self.inner.settings.observation_timeout;
        timeout(within, self.follow(name, kind)).await.unwrap_or_else(|_| Err(DnsFault::Timeout(name.to_string())))
    }

    /// What each configured name server says of the name, aliases followed by it: for networks where the servers of zones cannot be
    /// asked directly. It may be as old as the record's TTL.
    pub async fn observe_by_resolver(&self, name: &Domain, kind: Kind) -> Observation {
        let zone = self.zone_at_or_above(name).await;
        let mut asked = JoinSet::new();
        for nameserver in self.inner.resolver.nameservers().iter().copied().take(self.inner.settings.servers_max) {
            let (inner, name, zone) = (self.inner.clone(), name.clone(), zone.clone());
            asked.spawn(async move { inner.ask_resolver(nameserver, &zone, &name, kind).await });
        }
        let mut seen = asked.join_all().await;
        seen.sort_by(|(a, _), (b, _)| a.server.cmp(&b.server));
        let negative_ttl = seen.iter().filter_map(|(_, negative_ttl)| *negative_ttl).max().unwrap_or(NEGATIVE_TTL_UNKNOWN);
        let sightings = seen.into_iter().map(|(sighting, _)| sighting).collect();
        Observation { kind, hops: vec![Hop { name: name.clone(), zone, negative_ttl, sightings }] }
    }

    /// The closest zone that can be found out; what cannot be resolved itself need not hide the zones above.
    async fn zone_at_or_above(&self, name: &Domain) -> Domain {
        let mut at = Some(name.clone());
        while let Some(here) = at {
            if let Ok(zone) = self.inner.resolver.zone(&here).await {
                return zone.apex;
            }
            at = here.parent();
        }
        name.clone()
    }

    async fn follow(&self, name: &Domain, kind: Kind) -> Result<Observation, DnsFault> {
        let mut names = vec![name.clone()];
        let mut hops = Vec::new();
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            for hop in self.look_at(&name, kind).await? {
                for target in hop.aliases() {
                    if !names.contains(target) && names.len() < self.inner.settings.names_max {
                        names.push(target.clone());
                    }
                }
                hops.push(hop);
            }
            next += 1;
        }
        Ok(Observation { kind, hops })
    }

    /// One name in its zone, and in zones below that the servers delegate it to.
    async fn look_at(&self, name: &Domain, kind: Kind) -> Result<Vec<Hop>, DnsFault> {
        let mut zones = vec![self.inner.resolver.zone(name).await?];
        let mut hops = Vec::new();
        let mut next = 0;
        while let Some(zone) = zones.get(next).cloned() {
            let (mut sightings, mut negative_ttls) = (Vec::new(), Vec::new());
            for seen in self.ask_all(&zone, name, kind).await? {
                negative_ttls.extend(seen.negative_ttl);
                match seen.said {
                    Said::Answer(answer) => sightings.push(Sighting { server: seen.server.into(), address: seen.address, answer }),
                    Said::Referral(child) if zones.iter().any(|known| known.apex == child.apex) => {}
                    Said::Referral(child) if zones.len() < self.inner.settings.zones_max => zones.push(child),
                    Said::Referral(child) => {
                        let answer = Answer::Refused(format!("refers to {}, one of too many delegations", child.apex));
                        sightings.push(Sighting { server: seen.server.into(), address: seen.address, answer });
                    }
                }
            }
            if !sightings.is_empty() {
                let negative_ttl = negative_ttls.into_iter().max().unwrap_or(NEGATIVE_TTL_UNKNOWN);
                hops.push(Hop { name: name.clone(), zone: zone.apex, negative_ttl, sightings });
            }
            next += 1;
        }
        Ok(hops)
    }

    /// All servers of a zone, in the order of their names.
    async fn ask_all(&self, zone: &Zone, name: &Domain, kind: Kind) -> Result<Vec<Seen>, DnsFault> {
        let max = self.inner.settings.servers_max;
        if zone.servers.len() > max {
            return Err(DnsFault::Other { name: name.to_string(), why: format!("{} has more than {max} name servers", zone.apex) });
        }
        let mut asked = JoinSet::new();
        for server in &zone.servers {
            let (inner, server, zone, name) = (self.inner.clone(), server.clone(), zone.apex.clone(), name.clone());
            asked.spawn(async move { inner.ask_server(server, &zone, &name, kind).await });
        }
        let mut seen = asked.join_all().await;
        seen.sort_by(|a, b| a.server.cmp(&b.server));
        Ok(seen)
    }
}

/// What one server said, and the negative TTL of its SOA.
struct Seen {
    server: Domain,
    address: Option<SocketAddr>,
    said: Said,
    negative_ttl: Option<Duration>,
}

impl Inner {
    async fn ask_server(&self, server: Domain, zone: &Domain, name: &Domain, kind: Kind) -> Seen {
        let silent = |why: String| Seen { server: server.clone(), address: None, said: Said::Answer(Answer::Silent(why)), negative_ttl: None };
        let Ok(_slot) = self.slots.acquire().await else { return silent("nobody asks any more".to_owned()) };
        let addresses = match self.addresses(&server).await {
            Ok(addresses) => addresses,
            Err(why) => return silent(why),
        };
        let mut best: Option<(SocketAddr, Said, Option<Duration>)> = None;
        let mut silences = Vec::new();
        let asking = async {
            for address in addresses {
                match self.ask_address(address, zone, name, kind).await {
                    Ok((said, negative_ttl)) => {
                        let proves = !matches!(&said, Said::Answer(answer) if !answer.is_evidence());
                        if proves || best.is_none() {
                            best = Some((address, said, negative_ttl));
                        }
                        if proves {
                            return;
                        }
                    }
                    Err(why) => silences.push(format!("{address}: {why}")),
                }
            }
        };
        let in_time = timeout(self.settings.server_timeout, asking).await;
        if in_time.is_err() {
            silences.push(format!("nothing further within {:?}", self.settings.server_timeout));
        }
        match best {
            Some((address, said, negative_ttl)) => Seen { server, address: Some(address), said, negative_ttl },
            None => silent(silences.join(", ")),
        }
    }

    /// IPv4 first: more hosts have a route for it.
    async fn addresses(&self, server: &Domain) -> Result<Vec<SocketAddr>, String> {
        let found = self.resolver.addresses(server).await.map_err(|fault| fault.to_string())?;
        let all = found.v4.iter().map(|v4| IpAddr::V4(*v4)).chain(found.v6.iter().map(|v6| IpAddr::V6(*v6)));
        let addresses: Vec<_> = all.map(|address| SocketAddr::new(address, self.settings.port)).take(self.settings.addresses_max).collect();
        match found.unknown {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(fault) => Err(fault.to_string()),
            None => Err("it has no address".to_owned()),
        }
    }

    async fn ask_address(&self, address: SocketAddr, zone: &Domain, name: &Domain, kind: Kind) -> Result<(Said, Option<Duration>), String> {
        let message = exchange::ask(address, &question(name, record_type(kind), false)?, self.settings.timeout).await?;
        let said = reply::of_authority(&message, zone, name, kind);
        let mut negative_ttl = reply::negative_ttl(&message, zone, false);
        if negative_ttl.is_none() && matches!(&said, Said::Answer(answer) if answer.is_evidence()) {
            let soa = exchange::ask(address, &question(zone, RecordType::SOA, false)?, self.settings.timeout).await;
            negative_ttl = soa.ok().filter(|soa| soa.metadata.authoritative).and_then(|soa| reply::negative_ttl(&soa, zone, false));
        }
        Ok((said, negative_ttl))
    }

    async fn ask_resolver(&self, nameserver: SocketAddr, zone: &Domain, name: &Domain, kind: Kind) -> (Sighting, Option<Duration>) {
        let _slot = self.slots.acquire().await;
        let server = Server::Resolver(nameserver);
        let patience = self.settings.timeout;
        let asked = async {
            let message = exchange::ask(nameserver, &question(name, record_type(kind), true)?, patience).await?;
            let soa = exchange::ask(nameserver, &question(zone, RecordType::SOA, true)?, patience).await.ok();
            Ok::<_, String>((reply::of_resolver(&message, name, kind), soa.and_then(|soa| reply::negative_ttl(&soa, zone, true))))
        };
        match asked.await {
            Ok((answer, negative_ttl)) => (Sighting { server, address: Some(nameserver), answer }, negative_ttl),
            Err(why) => (Sighting { server, address: None, answer: Answer::Silent(why) }, None),
        }
    }
}

fn question(name: &Domain, kind: RecordType, recursion: bool) -> Result<Question, String> {
    let name = Name::from_ascii(format!("{name}.")).map_err(|error| error.to_string())?;
    Ok(Question { name, kind, recursion })
}

/// A server may spend so many full waits: three addresses that are silent over UDP and TCP.
const ADDRESSES_WAITED_FOR: u32 = 6;
/// What is taken for the negative TTL where no server tells it: the upper of the values that RFC 2308 §5 calls good.
const NEGATIVE_TTL_UNKNOWN: Duration = Duration::from_hours(3);
