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
    let mut lookups = JoinSet::new();
    for (place, host) in hosts.into_iter().enumerate() {
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
    let hosts: Vec<(MxHost, Addresses)> = found.into_iter().map(|(_, host, addresses)| (host, addresses)).collect();
    match (route::plan(domain.as_str(), &hosts, &settings.routes), trouble) {
        (Ok(plan), _) => Ok(plan),
        // One host's addresses are not known: they might be good ones.
        (Err(_), Some(fault)) => Err(fault.into()),
        (Err(why), None) => Err(why.into()),
    }
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
