//! Publishing through the API of a DNS provider, by the library dns-update. A shell: the library asks over HTTPS.
//!
//! These APIs know no conditions, so a change is preceded by a look and followed by another: what somebody else writes in the moment
//! between is overwritten. Where a service replaces a set of records as a whole it is asked to; where the library would delete first and
//! add afterwards, new records are added first and old ones removed afterwards, so that there is no moment without any.

use crate::mail::Domain;
use secrecy::SecretString;
use std::fmt;
use std::time::Duration;

/// A service and who we are there.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which.
    pub service: Service,
    /// The zone; `None`: the one that the DNS says a name lies in.
    pub zone: Option<Domain>,
    /// The API token; of Route 53, the secret access key.
    pub token: SecretString,
    /// The account: of DNSimple its number, of Route 53 the access key id.
    pub account: Option<String>,
    /// Where the API is, of services that are run by anybody.
    pub endpoint: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// The services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// bunny.net.
    Bunny,
    /// Cloudflare.
    Cloudflare,
    /// deSEC.
    Desec,
    /// DigitalOcean.
    DigitalOcean,
    /// DNSimple.
    DnSimple,
    /// Gandi LiveDNS.
    Gandi,
    /// Hetzner.
    Hetzner,
    /// Linode.
    Linode,
    /// PowerDNS Authoritative Server.
    PowerDns,
    /// Amazon Route 53.
    Route53,
    /// Scaleway.
    Scaleway,
    /// Vultr.
    Vultr,
}

impl Service {
    /// All, with the words that a configuration uses.
    pub const ALL: [(&'static str, Self); 12] = [
        ("bunny", Self::Bunny),
        ("cloudflare", Self::Cloudflare),
        ("desec", Self::Desec),
        ("digitalocean", Self::DigitalOcean),
        ("dnsimple", Self::DnSimple),
        ("gandi", Self::Gandi),
        ("hetzner", Self::Hetzner),
        ("linode", Self::Linode),
        ("powerdns", Self::PowerDns),
        ("route53", Self::Route53),
        ("scaleway", Self::Scaleway),
        ("vultr", Self::Vultr),
    ];

    /// Whether it wants to know an account beside the token.
    #[must_use]
    pub const fn wants_account(self) -> bool {
        matches!(self, Self::DnSimple | Self::Route53)
    }

    /// Whether it may be found elsewhere than at its maker's.
    #[must_use]
    pub const fn takes_endpoint(self) -> bool {
        matches!(self, Self::PowerDns | Self::Route53)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].0)
    }
}

/// Whether this program was built with the APIs.
pub const IS_BUILT_IN: bool = cfg!(feature = "dns-providers");

#[cfg(feature = "dns-providers")]
pub use built_in::Provider;

#[cfg(feature = "dns-providers")]
mod built_in {
    use super::super::{Change, Done, Edit, Publish, PublishFault, Seen};
    use super::{Service, Settings};
    use crate::dns::resolver::Resolver;
    use crate::dns::resource::{Data, Kind, Owner};
    use crate::mail::Domain;
    use dns_update::providers::route53::Route53Config;
    use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, Error, MXRecord};
    use secrecy::ExposeSecret as _;
    use std::sync::Arc;

    /// Publishes through a provider's API.
    pub struct Provider {
        settings: Settings,
        resolver: Arc<Resolver>,
    }

    impl Provider {
        /// A publisher by these settings. Asks nobody yet.
        #[must_use]
        pub const fn new(settings: Settings, resolver: Arc<Resolver>) -> Self {
            Self { settings, resolver }
        }

        fn updater(&self) -> Result<DnsUpdater, PublishFault> {
            let Settings { service, token, account, endpoint, timeout, .. } = &self.settings;
            let (token, timeout) = (token.expose_secret(), Some(*timeout));
            let account = account.clone().unwrap_or_default();
            let made = match service {
                Service::Bunny => DnsUpdater::new_bunny(token, timeout),
                Service::Cloudflare => DnsUpdater::new_cloudflare(token, timeout),
                Service::Desec => DnsUpdater::new_desec(token, timeout),
                Service::DigitalOcean => DnsUpdater::new_digitalocean(token, timeout),
                Service::DnSimple => DnsUpdater::new_dnsimple(token, account, timeout),
                Service::Gandi => DnsUpdater::new_gandiv5(token, timeout),
                Service::Hetzner => DnsUpdater::new_hetzner(token, timeout),
                Service::Linode => DnsUpdater::new_linode(token, timeout),
                Service::PowerDns => DnsUpdater::new_pdns(token, endpoint.as_ref(), None::<&str>, timeout),
                Service::Route53 => DnsUpdater::new_route53(Route53Config {
                    access_key_id: account,
                    secret_access_key: token.to_owned(),
                    session_token: None,
                    region: None,
                    hosted_zone_id: None,
                    private_zone_only: None,
                    endpoint: endpoint.clone(),
                }),
                Service::Scaleway => DnsUpdater::new_scaleway(token, timeout),
                Service::Vultr => DnsUpdater::new_vultr(token, timeout),
            };
            made.map_err(|error| self.fault(&error))
        }

        async fn make(&self, updater: &DnsUpdater, zone: &Domain, edit: &Edit) -> Result<Done, PublishFault> {
            let seen = self.look_in(updater, zone, &edit.owner, edit.kind).await?;
            if same(&seen, &edit.after) {
                return Ok(Done::Already);
            }
            if !same(&seen, &edit.before) {
                return Err(PublishFault::Changed { name: edit.owner.clone(), kind: edit.kind });
            }
            let (name, kind, origin) = (edit.owner.to_string(), kind(edit.kind)?, zone.to_string());
            let ttl = u32::try_from(edit.ttl.as_secs()).unwrap_or(u32::MAX);
            let written = |data: Vec<&Data>| data.into_iter().map(record).collect::<Result<Vec<_>, _>>();
            if self.replaces_at_once() || edit.kind == Kind::Cname {
                let all = written(edit.after.iter().collect())?;
                updater.set_rrset(&name, kind, ttl, all, &origin).await.map_err(|error| self.fault(&error))?;
            } else {
                let (new, old) = (written(edit.added().collect())?, written(edit.removed().collect())?);
                updater.add_to_rrset(&name, kind, ttl, new, &origin).await.map_err(|error| self.fault(&error))?;
                updater.remove_from_rrset(&name, kind, old, &origin).await.map_err(|error| self.fault(&error))?;
            }
            let shown = self.look_in(updater, zone, &edit.owner, edit.kind).await?;
            if same(&shown, &edit.after) {
                return Ok(Done::Made);
            }
            let why = "it may be rewritten or hidden there; look at the zone in its own pages".to_owned();
            Err(PublishFault::NotShown { server: self.settings.service.to_string(), name: edit.owner.clone(), kind: edit.kind, why })
        }

        /// Services that the library asks to replace a set of records by one request.
        const fn replaces_at_once(&self) -> bool {
            matches!(self.settings.service, Service::Desec | Service::Gandi | Service::Hetzner | Service::PowerDns | Service::Route53)
        }

        async fn look_in(&self, updater: &DnsUpdater, zone: &Domain, owner: &Owner, of: Kind) -> Result<Vec<Data>, PublishFault> {
            let found = updater.list_rrset(&owner.to_string(), kind(of)?, &zone.to_string()).await;
            match found {
                Ok(records) => Ok(records.iter().filter_map(data).collect()),
                Err(Error::NotFound) => Err(PublishFault::NoZone {
                    name: owner.name.clone(),
                    server: self.settings.service.to_string(),
                    why: format!("this account has no zone {zone}"),
                }),
                Err(error) => Err(self.fault(&error)),
            }
        }

        fn fault(&self, error: &Error) -> PublishFault {
            let service = self.settings.service.to_string();
            match error {
                Error::Unauthorized => PublishFault::BadToken { service },
                other => PublishFault::Service { service, why: other.to_string() },
            }
        }
    }

    impl Publish for Provider {
        async fn zone_of(&self, name: &Domain) -> Result<Domain, PublishFault> {
            let zone = match &self.settings.zone {
                Some(zone) => zone.clone(),
                None => self.resolver.zone(name).await?.apex,
            };
            if name.is_at_or_below(&zone) {
                return Ok(zone);
            }
            let why = format!("the publisher writes the zone {zone} only");
            Err(PublishFault::NoZone { name: name.clone(), server: self.settings.service.to_string(), why })
        }

        async fn look(&self, owner: &Owner, kind: Kind) -> Result<Seen, PublishFault> {
            let updater = self.updater()?;
            let zone = self.zone_of(&owner.name).await?;
            let data = self.look_in(&updater, &zone, owner, kind).await?;
            let alias = if data.is_empty() && kind != Kind::Cname {
                let found = self.look_in(&updater, &zone, owner, Kind::Cname).await?;
                found.into_iter().find_map(|data| if let Data::Cname(target) = data { Some(target) } else { None })
            } else {
                None
            };
            Ok(Seen { data, ttl: None, alias })
        }

        async fn publish(&self, change: &Change) -> Result<Done, PublishFault> {
            let updater = self.updater()?;
            let mut done = Done::Already;
            for edit in change.edits.iter().filter(|edit| !edit.is_nothing()) {
                let zone = match &change.zone {
                    Some(zone) => zone.clone(),
                    None => self.zone_of(&edit.owner.name).await?,
                };
                if self.make(&updater, &zone, edit).await? == Done::Made {
                    done = Done::Made;
                }
            }
            Ok(done)
        }
    }

    fn kind(kind: Kind) -> Result<DnsRecordType, PublishFault> {
        match kind {
            Kind::Txt => Ok(DnsRecordType::TXT),
            Kind::Mx => Ok(DnsRecordType::MX),
            Kind::A => Ok(DnsRecordType::A),
            Kind::Aaaa => Ok(DnsRecordType::AAAA),
            Kind::Cname => Ok(DnsRecordType::CNAME),
            Kind::Ptr => Err(PublishFault::Message("PTR records are not written through these APIs".to_owned())),
        }
    }

    fn record(data: &Data) -> Result<DnsRecord, PublishFault> {
        Ok(match data {
            Data::Txt(text) => DnsRecord::TXT(text.clone()),
            Data::Mx { preference, host } => {
                let exchange = host.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
                DnsRecord::MX(MXRecord { exchange, priority: *preference })
            }
            Data::A(address) => DnsRecord::A(*address),
            Data::Aaaa(address) => DnsRecord::AAAA(*address),
            Data::Cname(target) => DnsRecord::CNAME(target.to_string()),
            Data::Ptr(_) => return Err(PublishFault::Message("PTR records are not written through these APIs".to_owned())),
        })
    }

    /// `None` for types that mail does not need.
    fn data(record: &DnsRecord) -> Option<Data> {
        Some(match record {
            DnsRecord::TXT(text) => Data::Txt(text.clone()),
            DnsRecord::MX(mx) => Data::Mx { preference: mx.priority, host: mx.exchange.parse().ok() },
            DnsRecord::A(address) => Data::A(*address),
            DnsRecord::AAAA(address) => Data::Aaaa(*address),
            DnsRecord::CNAME(target) => Data::Cname(target.parse().ok()?),
            _ => return None,
        })
    }

    fn same(a: &[Data], b: &[Data]) -> bool {
        a.iter().all(|data| b.contains(data)) && b.iter().all(|data| a.contains(data))
    }
}
