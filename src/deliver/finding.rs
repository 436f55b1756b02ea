//! Finds the way of a queue: asks the DNS for its hosts and their addresses, and gives [`route`] the answers to decide on.
//!
//! A shell around the resolver, shared by delivery and `explain`.

use super::route::{self, PlannedHost, Unroutable};
use super::settings::{Settings, SmartHost};
use super::way::Way;
use crate::dns::{Addresses, DnsFault, MxHost, Resolver};
use crate::mail::{Domain, EnhancedCode, Evidence, Host, Outcome, Timestamp};
use crate::spool::Queue;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Looks up where a queue goes.
///
/// # Errors
/// Why there is no way, now or for good.
pub async fn find_way(resolver: &Arc<Resolver>, settings: &Settings, queue: &Queue) -> Result<Way, Nowhere> {
    let (route, host) = queue.parts();
    if !Queue::goes_by_mx(route) {
        let Some((_, smart_host)) = settings.smart_hosts.iter().find(|(name, _)| name.as_str() == route) else {
            return Err(Nowhere::NoSuchRoute(route.to_owned()));
        };
        let plan = smart_plan(resolver, settings, smart_host).await?;
        return Ok(Way::by_smart_host(plan, route, smart_host.clone()));
    }
    match Host::parse(host) {
        Ok(Host::Domain(domain)) => {
            let plan = mx_plan(resolver, settings, &domain).await?;
            Ok(Way::by_mx(plan, Some(domain), Queue::pool(route)))
        }
        Ok(Host::Literal(address)) => {
            let plan = route::plan_literal(address, &settings.routes)?;
            Ok(Way::by_mx(plan, None, Queue::pool(route)))
        }
        Err(fault) => Err(Nowhere::NoSuchRoute(fault.to_string())),
    }
}

/// Why a queue has no way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    /// What the DNS says is final.
    #[error(transparent)]
    Unroutable(#[from] Unroutable),
    /// Nobody could say.
    #[error(transparent)]
    Dns(#[from] DnsFault),
    /// The route is not configured (any more), or has no address.
    #[error("no route: {0}; see deliver.smart_hosts")]
    NoSuchRoute(String),
}

async fn mx_plan(resolver: &Arc<Resolver>, settings: &Settings, domain: &Domain) -> Result<route::Plan, Nowhere> {
    let answer = resolver.mx(domain).await?;
    let hosts = route::mx_hosts(domain, answer, &settings.routes)?;
    let (mut known, mut trouble) = (Vec::new(), None);
    let mut rounds = hosts.chunks(settings.routes.hosts_max.max(1));
    let mut why = Unroutable::NoAddress(domain.to_string());
    for round in rounds.by_ref().take(ROUNDS_MAX) {
        let fault = look_up(resolver, domain, round, &mut known).await;
        trouble = fault.or(trouble);
        match route::plan(domain.as_str(), &known, &settings.routes) {
            Ok(plan) => return Ok(plan),
            // What comes after ourselves is not ours to try.
            Err(Unroutable::Loop(name)) => {
                (why, rounds) = (Unroutable::Loop(name), [].chunks(1));
                break;
            }
            Err(fault) => why = fault,
        }
    }
    Err(match trouble {
        // One host's addresses are not known: they might be good ones.
        Some(fault) => fault.into(),
        None if rounds.next().is_some() => {
            let why = format!("{why}, of the first {} that were looked up", known.len());
            DnsFault::Other { name: domain.to_string(), why }.into()
        }
        None => why.into(),
    })
}

/// Adds the addresses of these hosts, in their order; gives the trouble there was.
async fn look_up(resolver: &Arc<Resolver>, domain: &Domain, hosts: &[MxHost], known: &mut Vec<(MxHost, Addresses)>) -> Option<DnsFault> {
    let mut lookups = JoinSet::new();
    for (place, host) in hosts.iter().cloned().enumerate() {
        let resolver = resolver.clone();
        lookups.spawn(async move { (place, resolver.addresses(&host.name).await, host) });
    }
    let (mut found, mut trouble): (Vec<(usize, MxHost, Addresses)>, Option<DnsFault>) = (Vec::new(), None);
    while let Some(looked_up) = lookups.join_next().await {
        match looked_up {
            Ok((place, Ok(mut addresses), host)) => {
                trouble = addresses.unknown.take().or(trouble);
                found.push((place, host, addresses));
            }
            Ok((_, Err(fault), _)) => trouble = Some(fault),
            Err(fault) => trouble = Some(DnsFault::Other { name: domain.to_string(), why: fault.to_string() }),
        }
    }
    found.sort_by_key(|(place, ..)| *place);
    known.extend(found.into_iter().map(|(_, host, addresses)| (host, addresses)));
    trouble
}

async fn smart_plan(resolver: &Resolver, settings: &Settings, smart_host: &SmartHost) -> Result<route::Plan, Nowhere> {
    let (mut hosts, mut trouble) = (Vec::new(), None);
    for (preference, host) in (0..).zip(&smart_host.hosts) {
        let addresses = match (host.host.parse::<IpAddr>(), Domain::parse(&host.host)) {
            (Ok(address), _) => vec![address],
            (_, Ok(name)) => match resolver.addresses(&name).await {
                Ok(found) => route::preferred(&found, settings.routes.address_preference),
                Err(fault) => {
                    trouble = Some(fault);
                    continue;
                }
            },
            (_, Err(_)) => continue,
        };
        if !addresses.is_empty() {
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, host.port)).collect();
            hosts.push(PlannedHost { name: host.host.to_ascii_lowercase(), preference, addresses });
        }
    }
    match (hosts.is_empty(), trouble) {
        (false, _) => Ok(route::Plan::new(hosts, settings.routes.addresses_max)),
        (true, Some(fault)) => Err(fault.into()),
        (true, None) => {
            let names: Vec<&str> = smart_host.hosts.iter().map(|host| host.host.as_str()).collect();
            Err(Nowhere::NoSuchRoute(format!("no smart host of {} has an address", names.join(", "))))
        }
    }
}

impl Nowhere {
    /// DNS trouble and a route that is not configured (any more) are waited out; what the DNS says is final.
    pub(super) fn outcome(self, at: Timestamp) -> Outcome {
        let evidence = |status, text: String| Evidence { status, reply: None, text, remote: None, tls: None, unknown_end: false, at };
        match self {
            Self::Unroutable(ref why) => {
                let text = why.to_string();
                // RFC 7505 §5 gives the basic code that belongs to the status.
                let code = matches!(why, Unroutable::NullMx(_)).then_some(556);
                let text = code.map_or_else(|| text.clone(), |code| format!("{code} {} {text}", why.status()));
                Outcome::Failed(evidence(why.status(), text))
            }
            Self::Dns(_) => Outcome::Deferred(evidence(EnhancedCode::new(4, 4, 3), self.to_string())),
            Self::NoSuchRoute(_) => Outcome::Deferred(evidence(EnhancedCode::new(4, 3, 5), self.to_string())),
        }
    }
}

/// Times that `hosts_max` hosts are looked up before it is left for later.
const ROUNDS_MAX: usize = 4;
