//! `postseal config check --dns`: whether the names and servers that the configuration relies on can be found in the DNS.
//!
//! What the DNS does not answer is unknown, and no fault. What receivers make of the records is `doctor`'s.

use crate::config::Config;
use crate::dns::{self, MxAnswer, Resolver};
use crate::mail::Domain;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How bad it is.
    pub gravity: Gravity,
    /// The key that relies on it.
    pub key: String,
    /// What is so, and what to do.
    pub says: String,
}

/// How bad it is. The order is that of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Mail goes, but something is lost or refused somewhere.
    Warning,
    /// Nobody could say.
    Unknown,
    /// Mail that takes this way cannot go.
    Fault,
}

/// Asks for all of it, one thing after the other.
///
/// # Errors
/// The resolver cannot be set up.
pub async fn look(config: &Config) -> Result<Vec<Found>, dns::resolver::ResolverFault> {
    let resolver = Resolver::new(&config.resolver)?;
    let mut found = name_servers(config).await?;
    smart_hosts(config, &resolver, &mut found).await;
    bounce_domains(config, &resolver, &mut found).await;
    ehlo_names(config, &resolver, &mut found).await;
    found.sort_by_key(|found| std::cmp::Reverse(found.gravity));
    Ok(found)
}

/// Each by itself: one that is silent slows every question down.
async fn name_servers(config: &Config) -> Result<Vec<Found>, dns::resolver::ResolverFault> {
    let mut found = Vec::new();
    for server in config.resolver.nameservers.iter().flatten() {
        let alone = Resolver::new(&dns::Settings { nameservers: Some(vec![*server]), ..config.resolver.clone() })?;
        if let Err(fault) = alone.exists(&config.server.hostname).await {
            let says = format!("{server} gives no answer ({fault}); is it a resolver, and may this host ask it?");
            found.push(Found { gravity: Gravity::Unknown, key: "resolver.nameservers".to_owned(), says });
        }
    }
    Ok(found)
}

async fn smart_hosts(config: &Config, resolver: &Resolver, found: &mut Vec<Found>) {
    for (name, smart_host) in &config.smart_hosts.hosts {
        for host in smart_host.hosts.iter().filter(|host| host.host.parse::<IpAddr>().is_err()) {
            let Ok(domain) = host.host.parse::<Domain>() else { continue };
            let key = format!("smart_hosts.{name}.host");
            let says = match resolver.addresses(&domain).await {
                Ok(addresses) if !addresses.is_empty() => continue,
                Ok(_) => (Gravity::Fault, format!("{domain} has no address, so mail cannot go there; is the name right?")),
                Err(fault) => (Gravity::Unknown, fault.to_string()),
            };
            found.push(Found { gravity: says.0, key, says: says.1 });
        }
    }
}

/// Bounces have to find us, and some receivers refuse senders whose domain does not exist.
async fn bounce_domains(config: &Config, resolver: &Resolver, found: &mut Vec<Found>) {
    let hostname = &config.server.hostname;
    for (domain, settings) in config.domains.iter().filter(|(_, settings)| !settings.author.parked) {
        let bounce = &settings.bounce_domain;
        let record = format!("publish `{bounce}. IN MX 10 {hostname}.`; `postseal dns records {domain}` prints all it needs");
        let (gravity, says) = match resolver.mx(bounce).await {
            Ok(MxAnswer::Hosts(hosts)) if hosts.is_empty() => {
                (Gravity::Fault, format!("the MX records of {bounce} name no host, so bounces are lost; {record}"))
            }
            Ok(MxAnswer::Hosts(_)) => continue,
            Ok(MxAnswer::NoSuchDomain) => (Gravity::Fault, format!("there is no {bounce}: bounces are lost, and some receivers refuse the mail; {record}")),
            Ok(MxAnswer::Null) => (Gravity::Fault, format!("{bounce} takes no mail (its MX is \"0 .\"), so some receivers refuse mail from it; {record}")),
            Ok(MxAnswer::Implicit) => (Gravity::Warning, format!("{bounce} has no MX record, so bounces go to its own address, if it has one; {record}")),
            Err(fault) => (Gravity::Unknown, fault.to_string()),
        };
        found.push(Found { gravity, key: format!("domains.\"{domain}\".bounce_domain"), says });
    }
}

/// The names we give in EHLO should be ours.
async fn ehlo_names(config: &Config, resolver: &Resolver, found: &mut Vec<Found>) {
    let pools = config.deliver.pools.iter().map(|(name, source)| (format!("pools.{name}.ehlo_name"), &source.ehlo_name));
    let all = std::iter::once(("server.hostname".to_owned(), config.server.hostname.to_string()))
        .chain(std::iter::once(("deliver.ehlo_name".to_owned(), config.deliver.source.ehlo_name.clone())))
        .chain(pools.map(|(key, name)| (key, name.clone())));
    let mut asked = BTreeSet::new();
    for (key, name) in all {
        let Some(domain) = name.parse::<Domain>().ok().filter(|name| asked.insert(name.clone())) else { continue };
        let (gravity, says) = match resolver.addresses(&domain).await {
            Ok(addresses) if !addresses.is_empty() => continue,
            Ok(_) => {
                (Gravity::Warning, format!("{domain} has no address; large receivers want the EHLO name to lead back to the address that mail comes from"))
            }
            Err(fault) => (Gravity::Unknown, fault.to_string()),
        };
        found.push(Found { gravity, key, says });
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.gravity {
            Gravity::Warning => "warning: ",
            Gravity::Unknown => "unknown: ",
            Gravity::Fault => "",
        };
        write!(f, "{word}{}: {}", self.key, self.says)
    }
}
