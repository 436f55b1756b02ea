//! Who a client is: the identity of the configuration that its user, its certificate or its network proves. Pure.
//!
//! What a client proves itself counts more than where it comes from: SASL user, then certificate, then network.

use crate::mail::{IdentityName, Proof};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The ways to know a client without a password.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// The longest prefix first.
    networks: Vec<(IpNet, IdentityName)>,
    certificates: HashMap<San, IdentityName>,
}

/// A network whose hosts are an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRule {
    /// The hosts. A network of IPv4-mapped IPv6 addresses counts as the IPv4 network it maps.
    pub network: IpNet,
    /// Who they are.
    pub identity: IdentityName,
    /// What of it the operator has said to be meant.
    pub consent: Consent,
}

/// What an operator has explicitly agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consent {
    /// `allow_public_networks`: hosts of the public internet may send without any proof but their address.
    pub public: bool,
    /// `allow_proxy_networks`: so may whoever reaches us through a proxy or node whose own address is in the network.
    pub proxies: bool,
}

/// A TLS client certificate's name that is an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// The subject alternative name.
    pub name: San,
    /// Who bears it.
    pub identity: IdentityName,
}

/// A subject alternative name (RFC 5280 §4.2.1.6), compared as a whole; a `*` in it stands for itself. Written `dns:app.example.com`,
/// `email:app@example.com`, `uri:spiffe://example.com/app`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum San {
    /// `dNSName`, in lower case.
    Dns(String),
    /// `rfc822Name`, its domain in lower case.
    Email(String),
    /// `uniformResourceIdentifier`, as it is.
    Uri(String),
}

/// A text that is no subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" names no certificate; expected dns:app.example.com, email:app@example.com or uri:spiffe://example.com/app")]
pub struct SanError(String);

/// Why the rules that name clients must not be put to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A network that holds every address.
    #[error(
        "identity \"{identity}\": the network {network} holds every address, so anybody may relay; name the networks of your applications, \
         let them authenticate, or set allow_public_networks = true if an open relay is meant"
    )]
    Everything {
        /// Whose.
        identity: IdentityName,
        /// Which.
        network: IpNet,
    },
    /// A network of the public internet.
    #[error(
        "identity \"{identity}\": the network {network} is not private, so whoever has an address there may relay; name private networks, \
         let these clients authenticate, or set allow_public_networks = true if that is meant"
    )]
    Public {
        /// Whose.
        identity: IdentityName,
        /// Which.
        network: IpNet,
    },
    /// A network with a proxy or node in it: whoever comes through it would have its address.
    #[error(
        "identity \"{identity}\": the network {network} and the proxy or node network {proxy} have addresses in common, so whoever comes through \
         there without a PROXY header is that identity; keep them apart, or set allow_proxy_networks = true if that is meant"
    )]
    CoversProxies {
        /// Whose.
        identity: IdentityName,
        /// Which.
        network: IpNet,
        /// The network of proxies or nodes.
        proxy: IpNet,
    },
    /// One network, two identities.
    #[error("the network {network} is identity \"{one}\" and identity \"{other}\"; give it to one of them")]
    NetworkTwice {
        /// Which.
        network: IpNet,
        /// Whose.
        one: IdentityName,
        /// And whose.
        other: IdentityName,
    },
    /// One certificate name, two identities.
    #[error("the certificate name {name} is identity \"{one}\" and identity \"{other}\"; give it to one of them")]
    CertificateTwice {
        /// Which.
        name: San,
        /// Whose.
        one: IdentityName,
        /// And whose.
        other: IdentityName,
    },
}

impl Identities {
    /// The rules, to be asked. Of two rules for one network or name the first holds; [`Identities::faults`] finds them.
    #[must_use]
    pub fn new(networks: &[NetworkRule], certificates: &[CertificateRule]) -> Self {
        let mut ordered: Vec<_> = networks.iter().map(|rule| (canonical(rule.network), rule.identity.clone())).collect();
        ordered.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        let mut names = HashMap::new();
        for rule in certificates {
            names.entry(rule.name.clone()).or_insert_with(|| rule.identity.clone());
        }
        Self { networks: ordered, certificates: names }
    }

    /// Who a client is. `sasl` is the user that authenticated and its identity, `certificate` the names of a *verified* client certificate,
    /// `address` that of the peer, or of the PROXY header where one is demanded (`None` when that carried none).
    /// `None`: nobody who may relay.
    #[must_use]
    pub fn identify(&self, address: Option<IpAddr>, certificate: &[San], sasl: Option<(&str, &IdentityName)>) -> Option<(IdentityName, Proof)> {
        if let Some((user, identity)) = sasl {
            return Some((identity.clone(), Proof::Sasl { user: user.to_owned() }));
        }
        if let Some((name, identity)) = certificate.iter().find_map(|name| Some((name, self.certificates.get(name)?))) {
            return Some((identity.clone(), Proof::Certificate { name: name.to_string() }));
        }
        let (_, identity) = self.network(address?)?;
        Some((identity.clone(), Proof::Network))
    }

    /// The network an address is known by, the longest prefix first, and who that is. A network is given as it is compared: host bits
    /// cleared, IPv4-mapped ones as IPv4.
    #[must_use]
    pub fn network(&self, address: IpAddr) -> Option<&(IpNet, IdentityName)> {
        let address = address.to_canonical();
        self.networks.iter().find(|(network, _)| network.contains(&address))
    }

    /// Contradictions between the rules.
    #[must_use]
    pub fn faults(networks: &[NetworkRule], certificates: &[CertificateRule]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut seen = BTreeMap::new();
        for rule in networks {
            let network = canonical(rule.network);
            let one = seen.entry(network).or_insert(&rule.identity).clone();
            if one != rule.identity {
                faults.push(Fault::NetworkTwice { network, one, other: rule.identity.clone() });
            }
        }
        let mut seen = BTreeMap::new();
        for rule in certificates {
            let one = seen.entry(&rule.name).or_insert(&rule.identity).clone();
            if one != rule.identity {
                faults.push(Fault::CertificateTwice { name: rule.name.clone(), one, other: rule.identity.clone() });
            }
        }
        faults
    }
}

/// Rules that would let strangers relay. `proxies` are the networks PROXY headers are taken from, and those of nodes that hide a client's
/// address. A relay with one of these does not start.
#[must_use]
pub fn open_relay_faults(networks: &[NetworkRule], proxies: &[IpNet]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for rule in networks {
        let (identity, network) = (rule.identity.clone(), canonical(rule.network));
        if !rule.consent.public && !is_private(&network) {
            let everything = network.prefix_len() == 0;
            faults.push(if everything { Fault::Everything { identity, network } } else { Fault::Public { identity, network } });
        }
        for proxy in proxies.iter().map(|proxy| canonical(*proxy)).filter(|proxy| proxy.contains(&network) || network.contains(proxy)) {
            if !rule.consent.proxies {
                faults.push(Fault::CoversProxies { identity: rule.identity.clone(), network, proxy });
            }
        }
    }
    faults
}

/// Whether `address` lies in one of the networks, whichever way either is written.
#[must_use]
pub fn any_contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| canonical(*network).contains(&address.to_canonical()))
}

/// The IPv4 network behind a network of IPv4-mapped addresses (RFC 4291 §2.5.5.2); host bits cleared.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_BITS => {
            let v4 = v6.addr().to_ipv4_mapped().and_then(|address| Ipv4Net::new(address, v6.prefix_len() - MAPPED_BITS).ok());
            v4.map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

/// Whether no host of it can be reached over the public internet.
fn is_private(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => PRIVATE_V4.iter().any(|(address, bits)| Ipv4Net::new_assert(*address, *bits).contains(v4)),
        IpNet::V6(v6) => PRIVATE_V6.iter().any(|(address, bits)| Ipv6Net::new_assert(*address, *bits).contains(v6)),
    }
}

impl San {
    /// A `dNSName`.
    #[must_use]
    pub fn dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }

    /// An `rfc822Name`: the local part keeps its case (RFC 5280 §7.5).
    #[must_use]
    pub fn email(address: &str) -> Self {
        match address.rsplit_once('@') {
            Some((local, domain)) => Self::Email(format!("{local}@{}", domain.to_ascii_lowercase())),
            None => Self::Email(address.to_owned()),
        }
    }
}

impl FromStr for San {
    type Err = SanError;
    fn from_str(text: &str) -> Result<Self, SanError> {
        match text.split_once(':') {
            Some(("dns", name)) if !name.is_empty() => Ok(Self::dns(name)),
            Some(("email", address)) if address.contains('@') => Ok(Self::email(address)),
            Some(("uri", uri)) if !uri.is_empty() => Ok(Self::Uri(uri.to_owned())),
            _ => Err(SanError(text.to_owned())),
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

/// The bits of `::ffff:0:0` before the IPv4 address.
const MAPPED_BITS: u8 = 96;

/// RFC 1918, loopback, link-local (RFC 3927), shared address space (RFC 6598).
const PRIVATE_V4: [(Ipv4Addr, u8); 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// Loopback, unique local (RFC 4193), link-local.
const PRIVATE_V6: [(Ipv6Addr, u8); 3] =
    [(Ipv6Addr::LOCALHOST, 128), (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7), (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)];
