//! From what the DNS says to the hosts and addresses that are tried, in order (RFC 5321 §5.1, RFC 7505).
//!
//! Pure: answers come in, the order of equals is chosen by a seed.

use super::schedule::scramble;
use crate::dns::{Addresses, MxAnswer, MxHost};
use crate::mail::{Domain, EnhancedCode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the operator says about routes by MX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRules {
    /// Names that are ourselves: an MX of this name ends the list.
    pub own_names: Vec<Domain>,
    /// Addresses that are ourselves.
    pub own_addresses: Vec<IpAddr>,
    /// Where MX hosts listen.
    pub mx_port: u16,
    /// Loopback, private, link-local and other addresses that are nobody's on the internet may be talked to.
    pub private_addresses_allowed: bool,
    /// Which family comes first.
    pub address_preference: AddressPreference,
    /// MX hosts whose addresses are looked up for one attempt; as many again, a few times, where none of them has one.
    pub hosts_max: usize,
    /// Addresses tried for one attempt.
    pub addresses_max: usize,
}

/// Which family of addresses is used, and which first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressPreference {
    /// Both; IPv4 asks for less (large receivers refuse IPv6 without a forward-confirmed name).
    #[default]
    Ipv4First,
    /// Both, IPv6 before IPv4.
    Ipv6First,
    /// IPv4 alone.
    Ipv4Only,
    /// IPv6 alone.
    Ipv6Only,
}

/// The hosts of an attempt, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    hosts: Vec<PlannedHost>,
    addresses_max: usize,
}

/// One host with all its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedHost {
    /// MX name, or the domain itself, or an address literal.
    pub name: String,
    /// Equal ones are tried in any order.
    pub preference: u16,
    /// In the order of the address preference; never empty.
    pub addresses: Vec<SocketAddr>,
}

/// Why mail for a domain cannot go anywhere. Waiting does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// RFC 7505.
    #[error("{0} takes no mail: its MX record is \"0 .\"")]
    NullMx(String),
    /// NXDOMAIN.
    #[error("there is no domain {0}")]
    NoSuchDomain(String),
    /// The best MX left is ourselves.
    #[error("mail for {0} loops back to this relay: its MX is this host")]
    Loop(String),
    /// No MX host has an address.
    #[error("no MX host of {0} has an address")]
    NoAddress(String),
    /// Only addresses that nobody on the internet has.
    #[error("the MX of {domain} points at {address}, which is no public address; deliver.private_addresses_allowed would permit it")]
    PrivateAddress {
        /// The domain.
        domain: String,
        /// One of the addresses.
        address: IpAddr,
    },
}

impl Default for RouteRules {
    fn default() -> Self {
        Self {
            own_names: Vec::new(),
            own_addresses: Vec::new(),
            mx_port: 25,
            private_addresses_allowed: false,
            address_preference: AddressPreference::default(),
            hosts_max: 5,
            addresses_max: 10,
        }
    }
}

impl Unroutable {
    /// The status of the failure, and the basic code where a standard names one (RFC 7505 §5, RFC 3463 §3.2, §3.5).
    #[must_use]
    pub const fn status(&self) -> EnhancedCode {
        match self {
            Self::NullMx(_) => EnhancedCode::new(5, 1, 10),
            Self::NoSuchDomain(_) => EnhancedCode::new(5, 1, 2),
            Self::Loop(_) => EnhancedCode::new(5, 4, 6),
            Self::NoAddress(_) | Self::PrivateAddress { .. } => EnhancedCode::new(5, 4, 4),
        }
    }
}

/// The hosts whose addresses are to be looked up, best first: all of them, for who looks them up to bound. Names that are ourselves, and all that is no better, are left out.
///
/// # Errors
/// Nothing is left.
pub fn mx_hosts(domain: &Domain, answer: MxAnswer, rules: &RouteRules) -> Result<Vec<MxHost>, Unroutable> {
    let mut hosts = match answer {
        MxAnswer::Null => return Err(Unroutable::NullMx(domain.to_string())),
        MxAnswer::NoSuchDomain => return Err(Unroutable::NoSuchDomain(domain.to_string())),
        MxAnswer::Implicit => vec![MxHost { preference: 0, name: domain.clone() }],
        MxAnswer::Hosts(hosts) => hosts,
    };
    if hosts.is_empty() {
        return Err(Unroutable::NoAddress(domain.to_string()));
    }
    hosts.sort_by_key(|host| host.preference);
    let ourselves = hosts.iter().filter(|host| rules.own_names.contains(&host.name)).map(|host| host.preference).min();
    hosts.retain(|host| ourselves.is_none_or(|preference| host.preference < preference));
    if hosts.is_empty() {
        return Err(Unroutable::Loop(domain.to_string()));
    }
    Ok(hosts)
}

/// The plan for hosts whose addresses are known.
///
/// # Errors
/// No address is left.
pub fn plan(domain: &str, hosts: &[(MxHost, Addresses)], rules: &RouteRules) -> Result<Plan, Unroutable> {
    let is_ourselves = |addresses: &Addresses| addresses.iter().any(|address| rules.own_addresses.contains(&address));
    let ourselves = hosts.iter().filter(|(_, addresses)| is_ourselves(addresses)).map(|(host, _)| host.preference).min();
    let mut refused = None;
    let mut planned = Vec::new();
    for (host, addresses) in hosts.iter().filter(|(host, _)| ourselves.is_none_or(|preference| host.preference < preference)) {
        let (public, private): (Vec<IpAddr>, Vec<IpAddr>) =
            preferred(addresses, rules.address_preference).into_iter().partition(|a| rules.private_addresses_allowed || is_public(*a));
        refused = refused.or(private.first().copied());
        if !public.is_empty() {
            let addresses = public.into_iter().map(|address| SocketAddr::new(address, rules.mx_port)).collect();
            planned.push(PlannedHost { name: host.name.to_string(), preference: host.preference, addresses });
        }
    }
    if !planned.is_empty() {
        return Ok(Plan::new(planned, rules.addresses_max));
    }
    let domain = domain.to_owned();
    Err(match (refused, ourselves) {
        (_, Some(_)) => Unroutable::Loop(domain),
        (Some(address), None) => Unroutable::PrivateAddress { domain, address },
        (None, None) => Unroutable::NoAddress(domain),
    })
}

/// The plan for an address literal: `user@[192.0.2.1]` (RFC 5321 §4.1.3).
///
/// # Errors
/// The address is refused.
pub fn plan_literal(address: IpAddr, rules: &RouteRules) -> Result<Plan, Unroutable> {
    let name = format!("[{address}]");
    if rules.own_addresses.contains(&address) {
        return Err(Unroutable::Loop(name));
    }
    if !rules.private_addresses_allowed && !is_public(address) {
        return Err(Unroutable::PrivateAddress { domain: name, address });
    }
    Ok(Plan::new(vec![PlannedHost { name: address.to_string(), preference: 0, addresses: vec![SocketAddr::new(address, rules.mx_port)] }], rules.addresses_max))
}

impl Plan {
    /// Hosts in order of preference.
    #[must_use]
    pub fn new(mut hosts: Vec<PlannedHost>, addresses_max: usize) -> Self {
        hosts.sort_by_key(|host| host.preference);
        Self { hosts, addresses_max: addresses_max.max(1) }
    }

    /// The hosts in the order of one attempt: by preference, equals shuffled by `seed`; no more addresses than allowed.
    #[must_use]
    pub fn order(&self, seed: u64) -> Vec<PlannedHost> {
        let mut hosts: Vec<(u64, &PlannedHost)> = self.hosts.iter().enumerate().map(|(n, host)| (scramble(seed.wrapping_add(n as u64)), host)).collect();
        hosts.sort_by_key(|(chance, host)| (host.preference, *chance));
        let mut left = self.addresses_max;
        let mut order = Vec::new();
        for (_, host) in hosts {
            let addresses: Vec<SocketAddr> = host.addresses.iter().copied().take(left).collect();
            left -= addresses.len();
            if !addresses.is_empty() {
                order.push(PlannedHost { addresses, ..host.clone() });
            }
        }
        order
    }
}

impl Addresses {
    fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().copied().map(IpAddr::V4).chain(self.v6.iter().copied().map(IpAddr::V6))
    }
}

/// The addresses of the families wanted, the preferred family first, then taking turns, so that a dead family does not use up the tries.
#[must_use]
pub fn preferred(addresses: &Addresses, preference: AddressPreference) -> Vec<IpAddr> {
    let v4: Vec<IpAddr> = addresses.v4.iter().copied().map(IpAddr::V4).collect();
    let v6: Vec<IpAddr> = addresses.v6.iter().copied().map(IpAddr::V6).collect();
    match preference {
        AddressPreference::Ipv4First => take_turns(&v4, &v6),
        AddressPreference::Ipv6First => take_turns(&v6, &v4),
        AddressPreference::Ipv4Only => v4,
        AddressPreference::Ipv6Only => v6,
    }
}

fn take_turns(first: &[IpAddr], second: &[IpAddr]) -> Vec<IpAddr> {
    let longest = first.len().max(second.len());
    (0..longest).flat_map(|n| [first.get(n), second.get(n)]).flatten().copied().collect()
}

/// Whether a stranger's MX may point there.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| is_public_v6(v6), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b); // RFC 6598
    !(a == 0 || a >= 224 || shared || address.is_loopback() || address.is_private() || address.is_link_local())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_unique_local() || address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn mx(list: &[(u16, &str)]) -> MxAnswer {
        MxAnswer::Hosts(list.iter().map(|(preference, name)| MxHost { preference: *preference, name: domain(name) }).collect())
    }

    fn with(addresses: &[&str]) -> Addresses {
        let mut found = Addresses::default();
        for address in addresses {
            match address.parse().unwrap() {
                IpAddr::V4(v4) => found.v4.push(v4),
                IpAddr::V6(v6) => found.v6.push(v6),
            }
        }
        found
    }

    fn names(hosts: &[MxHost]) -> Vec<&str> {
        hosts.iter().map(|host| host.name.as_str()).collect()
    }

    #[test]
    fn answers_lead_to_hosts_or_to_the_reason_why_not() {
        let (rules, d) = (RouteRules::default(), domain("example.com"));
        assert_eq!(names(&mx_hosts(&d, MxAnswer::Implicit, &rules).unwrap()), ["example.com"]);
        assert_eq!(names(&mx_hosts(&d, mx(&[(20, "b.example"), (10, "a.example")]), &rules).unwrap()), ["a.example", "b.example"]);
        for (answer, status) in [(MxAnswer::Null, "5.1.10"), (MxAnswer::NoSuchDomain, "5.1.2"), (mx(&[]), "5.4.4")] {
            assert_eq!(mx_hosts(&d, answer, &rules).unwrap_err().status().to_string(), status);
        }
    }

    #[test]
    fn an_mx_that_is_ourselves_ends_the_list() {
        let (d, rules) = (
            domain("example.com"),
            RouteRules { own_names: vec![domain("relay.example")], own_addresses: vec!["198.51.100.9".parse().unwrap()], ..RouteRules::default() },
        );
        let hosts = mx_hosts(&d, mx(&[(10, "a.example"), (20, "relay.example"), (20, "b.example"), (30, "c.example")]), &rules).unwrap();
        assert_eq!(names(&hosts), ["a.example"]);
        assert_eq!(mx_hosts(&d, mx(&[(10, "relay.example"), (20, "b.example")]), &rules), Err(Unroutable::Loop("example.com".to_owned())));
        // By address as well as by name.
        let host = |preference, name| MxHost { preference, name: domain(name) };
        let hosts = [
            (host(10, "a.example"), with(&["203.0.113.1"])),
            (host(20, "alias.example"), with(&["198.51.100.9"])),
            (host(20, "b.example"), with(&["203.0.113.2"])),
        ];
        let order = plan("example.com", &hosts, &rules).unwrap().order(1);
        assert_eq!(order.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["a.example"]);
        assert_eq!(plan("example.com", &hosts[1..], &rules).unwrap_err().status().to_string(), "5.4.6");
    }

    #[test]
    fn equal_preferences_are_shuffled_and_others_are_not() {
        let host = |preference, name| (MxHost { preference, name: domain(name) }, with(&["203.0.113.1"]));
        let plan =
            plan("example.com", &[host(10, "a.example"), host(10, "b.example"), host(10, "c.example"), host(20, "z.example")], &RouteRules::default()).unwrap();
        let mut firsts = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let order = plan.order(seed);
            firsts.insert(order[0].name.clone());
            assert_eq!(order.len(), 4);
            assert_eq!(order[3].name, "z.example");
        }
        assert_eq!(firsts.len(), 3, "{firsts:?}");
    }

    #[test]
    fn all_addresses_are_used_within_bounds_and_in_the_order_asked_for() {
        let host = MxHost { preference: 1, name: domain("a.example") };
        let hosts = [(host, with(&["203.0.113.1", "203.0.113.2", "2001:db8::1"]))];
        for (address_preference, expect) in [
            (AddressPreference::Ipv4First, vec!["203.0.113.1:25", "[2001:db8::1]:25", "203.0.113.2:25"]),
            (AddressPreference::Ipv6First, vec!["[2001:db8::1]:25", "203.0.113.1:25", "203.0.113.2:25"]),
            (AddressPreference::Ipv4Only, vec!["203.0.113.1:25", "203.0.113.2:25"]),
            (AddressPreference::Ipv6Only, vec!["[2001:db8::1]:25"]),
        ] {
            let rules = RouteRules { address_preference, ..RouteRules::default() };
            let order = plan("example.com", &hosts, &rules).unwrap().order(7);
            assert_eq!(order[0].addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
        }
        let bounded = RouteRules { addresses_max: 2, ..RouteRules::default() };
        assert_eq!(plan("example.com", &hosts, &bounded).unwrap().order(7)[0].addresses.len(), 2);
    }

    #[test]
    fn addresses_that_nobody_has_are_refused_unless_allowed() {
        let host = || MxHost { preference: 1, name: domain("a.example") };
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "169.254.1.1",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "ff02::1",
        ] {
            let hosts = [(host(), with(&[address]))];
            let refused = plan("example.com", &hosts, &RouteRules::default()).unwrap_err();
            assert!(matches!(refused, Unroutable::PrivateAddress { .. }), "{address}");
            let lab = RouteRules { private_addresses_allowed: true, mx_port: 2525, ..RouteRules::default() };
            assert_eq!(plan("example.com", &hosts, &lab).unwrap().order(1)[0].addresses[0].port(), 2525);
            assert!(plan_literal(address.parse().unwrap(), &RouteRules::default()).is_err(), "{address}");
        }
        assert!(plan_literal("203.0.113.1".parse().unwrap(), &RouteRules::default()).is_ok());
        assert!(is_public("2001:db8::1".parse().unwrap()));
    }
}
