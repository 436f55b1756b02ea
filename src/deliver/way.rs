//! The way of a queue: its hosts in order, and the terms on which each is talked to.
//!
//! Pure: the addresses were looked up before.

use super::provider::Place;
use super::route::{Plan, PlannedHost};
use super::settings::{Settings, SmartHost, Source};
use super::target::Target;
use crate::mail::Domain;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where the mail of a queue goes.
#[derive(Debug, Clone)]
pub struct Way {
    plan: Plan,
    terms: Terms,
}

#[derive(Debug, Clone)]
enum Terms {
    Mx { recipients: Option<Domain>, pool: Option<String> },
    SmartHost { route: String, smart_host: Arc<SmartHost> },
}

impl Way {
    /// By MX, for recipients of this domain (none for an address literal), from the addresses of this pool.
    #[must_use]
    pub fn by_mx(plan: Plan, recipients: Option<Domain>, pool: Option<&str>) -> Self {
        Self { plan, terms: Terms::Mx { recipients, pool: pool.map(str::to_owned) } }
    }

    /// To a smart host.
    #[must_use]
    pub fn by_smart_host(plan: Plan, route: &str, smart_host: Arc<SmartHost>) -> Self {
        Self { plan, terms: Terms::SmartHost { route: route.to_owned(), smart_host } }
    }

    /// By MX records, not to a smart host.
    #[must_use]
    pub const fn is_by_mx(&self) -> bool {
        matches!(self.terms, Terms::Mx { .. })
    }

    /// The hosts of one session, best first; equals are shuffled by `seed`.
    #[must_use]
    pub fn order(&self, seed: u64) -> Vec<PlannedHost> {
        self.plan.order(seed)
    }

    /// What is counted and remembered where, for a host of this way.
    #[must_use]
    pub fn place(&self, host: &str, settings: &Settings) -> Place {
        match &self.terms {
            Terms::Mx { .. } => settings.providers.place(host),
            Terms::SmartHost { route, smart_host } => Place::of_smart_host(route, host, &smart_host.limits),
        }
    }

    /// One address of a host, with the terms.
    #[must_use]
    pub fn target(&self, place: &Place, address: SocketAddr, settings: &Settings) -> Target {
        let (tls, implicit_tls, lmtp, auth) = match &self.terms {
            Terms::Mx { recipients, .. } => (settings.tls.demand(recipients.as_ref(), place.limits.tls), false, false, None),
            Terms::SmartHost { smart_host, .. } => (smart_host.tls, smart_host.implicit_tls, smart_host.lmtp, smart_host.auth.clone()),
        };
        let from = self.source(settings);
        let source = match address.ip() {
            IpAddr::V4(_) => from.v4.map(IpAddr::V4),
            IpAddr::V6(_) => from.v6.map(IpAddr::V6),
        };
        Target { host: place.host.to_string(), address, tls, implicit_tls, lmtp, auth, source, ehlo_name: from.ehlo_name.clone(), bdat: settings.bdat }
    }

    /// Who we are there: the pool's, where there is one (still), else the relay's.
    fn source<'s>(&self, settings: &'s Settings) -> &'s Source {
        match &self.terms {
            Terms::Mx { pool: Some(pool), .. } => settings.pools.get(pool).unwrap_or(&settings.source),
            Terms::Mx { pool: None, .. } | Terms::SmartHost { .. } => &settings.source,
        }
    }

    /// Whether the Ed25519 signature goes along.
    #[must_use]
    pub fn takes_ed25519(&self, place: &Place) -> bool {
        match &self.terms {
            Terms::Mx { .. } => place.limits.ed25519,
            Terms::SmartHost { smart_host, .. } => smart_host.ed25519,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tls::TlsDemand;
    use super::*;

    fn plan(name: &str) -> Plan {
        Plan::new(vec![PlannedHost { name: name.to_owned(), preference: 0, addresses: vec!["192.0.2.1:25".parse().unwrap()] }], 5)
    }

    #[test]
    fn a_large_provider_gets_tls_and_no_ed25519() {
        let settings = Settings::default();
        let way = Way::by_mx(plan("gmail-smtp-in.l.google.com"), Domain::parse("gmail.com").ok(), None);
        let place = way.place("gmail-smtp-in.l.google.com", &settings);
        let target = way.target(&place, "192.0.2.1:25".parse().unwrap(), &settings);
        assert_eq!((target.tls, target.host.as_str(), way.takes_ed25519(&place)), (TlsDemand::Required, "gmail-smtp-in.l.google.com", false));
    }

    #[test]
    fn mail_of_a_pool_leaves_by_its_name_and_address() {
        let bulk = Source { ehlo_name: "bulk.example.com".to_owned(), v4: Some("192.0.2.7".parse().unwrap()), v6: None };
        let settings = Settings { pools: [("bulk".to_owned(), bulk)].into(), ..Settings::default() };
        for (pool, expect) in [(Some("bulk"), ("bulk.example.com", Some("192.0.2.7"))), (Some("gone"), ("localhost", None)), (None, ("localhost", None))] {
            let way = Way::by_mx(plan("mx.example.net"), Domain::parse("example.net").ok(), pool);
            let target = way.target(&way.place("mx.example.net", &settings), "192.0.2.1:25".parse().unwrap(), &settings);
            assert_eq!((target.ehlo_name.as_str(), target.source), (expect.0, expect.1.map(|source| source.parse().unwrap())));
        }
    }

    #[test]
    fn a_smart_host_is_its_own_provider_whatever_its_name() {
        let source = Source { v4: Some("192.0.2.9".parse().unwrap()), ..Source::default() };
        let settings = Settings { source, ..Settings::default() };
        let way = Way::by_smart_host(plan("smtp-relay.gmail.google.com"), "workspace", Arc::new(SmartHost::new("smtp-relay.gmail.google.com", 465)));
        let place = way.place("smtp-relay.gmail.google.com", &settings);
        assert_eq!((&*place.provider, place.limits.connections_max, way.takes_ed25519(&place)), ("workspace", 50, false));
        let target = way.target(&place, "192.0.2.1:465".parse().unwrap(), &settings);
        assert!(target.implicit_tls);
        assert_eq!(target.source, Some("192.0.2.9".parse().unwrap()));
        assert_eq!(way.target(&place, "[2001:db8::1]:465".parse().unwrap(), &settings).source, None);
    }
}
