//! Questions to the DNS, bounded in time, number and cache: a shell over hickory-resolver.
//!
//! "There is none" and "nobody knows" are kept apart: the first is an answer, the second a [`DnsFault`]. RFC 5321 §5.1, RFC 7505.

use super::resource::{Data, Kind};
use crate::events::meters;
use crate::events::meters::words::DnsResult;
use crate::mail::Domain;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Asks name servers. Cheap to share behind an `Arc`; answers are cached as long as their TTL says.
pub struct Resolver {
    client: Box<dyn Ask>,
    nameservers: Vec<SocketAddr>,
    lookups: Semaphore,
    lookup_timeout: Duration,
    meters: Arc<meters::Dns>,
}

/// Answers questions: name servers do, or what stands for them.
pub trait Ask: Send + Sync + 'static {
    /// The records of one type at a name.
    ///
    /// # Errors
    /// There are none, or nobody can say: see [`NetError`].
    fn ask(&self, name: Name, kind: RecordType) -> Pin<Box<dyn Future<Output = Result<Lookup, NetError>> + Send + '_>>;
}

impl Ask for TokioResolver {
    fn ask(&self, name: Name, kind: RecordType) -> Pin<Box<dyn Future<Output = Result<Lookup, NetError>> + Send + '_>> {
        Box::pin(self.lookup(name, kind))
    }
}

/// How the DNS is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The servers to ask; `None` takes those of `/etc/resolv.conf`.
    pub nameservers: Option<Vec<SocketAddr>>,
    /// How long one server may take for one question.
    pub timeout: Duration,
    /// How often a question is asked again when no server answered.
    pub attempts: usize,
    /// Answers kept in memory.
    pub cache_answers_max: u64,
    /// No answer is kept longer, whatever its TTL.
    pub cache_age_max: Duration,
    /// Questions open at a time; further ones wait.
    pub lookups_max: usize,
    /// Validate DNSSEC here. A signed answer that does not validate is then [`DnsFault::Bogus`].
    pub dnssec: bool,
    /// Where the servers of zones listen when they are asked directly: 53, except in labs.
    pub authoritative_port: u16,
}

/// What the MX records of a domain say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MxAnswer {
    /// The hosts that take its mail, by ascending preference. May be empty: there were records, none of which names a host.
    Hosts(Vec<MxHost>),
    /// `MX 0 .`: the domain takes no mail (RFC 7505).
    Null,
    /// The domain exists and has no MX record: its own address counts (RFC 5321 §5.1).
    Implicit,
    /// There is no such domain.
    NoSuchDomain,
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxHost {
    /// Lower comes first.
    pub preference: u16,
    /// The host.
    pub name: Domain,
}

/// The addresses of a host; both lists empty when it has none or does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses {
    /// A records.
    pub v4: Vec<Ipv4Addr>,
    /// AAAA records.
    pub v6: Vec<Ipv6Addr>,
    /// Nobody could say about one of the two families: there may be more.
    pub unknown: Option<DnsFault>,
}

/// A zone and who answers for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its highest name.
    pub apex: Domain,
    /// The names of its servers, sorted; at least one.
    pub servers: Vec<Domain>,
}

/// TLSA records, as far as it matters whether there are any that senders of mail can use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsaAnswer {
    /// The certificate usage of each (RFC 6698 §2.1.1).
    pub usages: Vec<u8>,
    /// There are some, and the DNSSEC signatures of all are right. Never where this resolver does not validate.
    pub validated: bool,
}

/// Why there is no answer. Waiting may help with every one of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsFault {
    /// No server answered in time.
    #[error("no name server answered for {0} in time")]
    Timeout(String),
    /// A server answered that it cannot say.
    #[error("the name server answered {code} for {name}")]
    ServerFailure {
        /// Asked for.
        name: String,
        /// SERVFAIL, REFUSED …
        code: String,
    },
    /// The answer does not validate.
    #[error("the DNSSEC signatures on the answer for {0} are wrong")]
    Bogus(String),
    /// Anything else between us and an answer.
    #[error("asking for {name} failed: {why}")]
    Other {
        /// Asked for.
        name: String,
        /// In the library's words.
        why: String,
    },
}

/// Why a resolver cannot be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the resolver cannot be set up: {0}; name servers may be given as resolver.nameservers")]
pub struct ResolverFault(String);

impl Default for Settings {
    fn default() -> Self {
        Self {
            nameservers: None,
            timeout: Duration::from_secs(5),
            attempts: 2,
            cache_answers_max: 32_768,
            cache_age_max: Duration::from_hours(24),
            lookups_max: 256,
            dnssec: false,
            authoritative_port: 53,
        }
    }
}

/// What verifies signatures of others, asking the same servers in the same way.
///
/// # Errors
/// As [`Resolver::new`].
pub fn client(settings: &Settings) -> Result<TokioResolver, ResolverFault> {
    let (config, options) = configuration(settings)?;
    built(config, options)
}

/// Name servers are asked over UDP and TCP alone. Without settings for TLS the resolver would make some that are never used, and fail
/// where the system has no authorities, as in a bare container.
fn built(config: ResolverConfig, options: ResolverOpts) -> Result<TokioResolver, ResolverFault> {
    let fault = |why: String| ResolverFault(why);
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let tls = tls.map_err(|error| fault(error.to_string()))?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).with_tls_config(tls);
    builder.build().map_err(|error| fault(error.to_string()))
}

impl Resolver {
    /// A resolver by these settings. Asks nobody yet.
    ///
    /// # Errors
    /// The system's configuration cannot be read, or names no server.
    pub fn new(settings: &Settings) -> Result<Self, ResolverFault> {
        let (config, options) = configuration(settings)?;
        let nameservers = config.name_servers().iter().map(address_of).collect();
        Ok(Self { nameservers, ..Self::asking(Box::new(built(config, options)?), settings) })
    }

    /// A resolver that asks `client`, for no longer and no more at a time than these settings say.
    #[must_use]
    pub fn asking(client: Box<dyn Ask>, settings: &Settings) -> Self {
        let rounds = u32::try_from(settings.attempts.saturating_add(1)).unwrap_or(u32::MAX);
        let lookup_timeout = settings.timeout.saturating_mul(rounds).saturating_mul(2);
        let lookups = Semaphore::new(settings.lookups_max.max(1));
        Self { client, nameservers: Vec::new(), lookups, lookup_timeout, meters: Arc::default() }
    }

    /// The same, counting there.
    #[must_use]
    pub fn counting(self, meters: Arc<meters::Dns>) -> Self {
        Self { meters, ..self }
    }

    /// Where a domain takes mail.
    ///
    /// # Errors
    /// Nobody could say.
    pub async fn mx(&self, domain: &Domain) -> Result<MxAnswer, DnsFault> {
        let found = match self.lookup(domain.as_str(), RecordType::MX).await? {
            Found::Records(lookup) => lookup,
            Found::Nothing { domain_exists: true } => return Ok(MxAnswer::Implicit),
            Found::Nothing { domain_exists: false } => return Ok(MxAnswer::NoSuchDomain),
        };
        let records: Vec<(u16, &Name)> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some((mx.preference, &mx.exchange)),
                _ => None,
            })
            .take(MX_RECORDS_MAX)
            .collect();
        if records.is_empty() {
            return Ok(MxAnswer::Implicit); // a CNAME to a name that has no MX
        }
        if records.iter().all(|(_, name)| name.is_root()) {
            return Ok(MxAnswer::Null);
        }
        let host = |&(preference, name): &(u16, &Name)| Some(MxHost { preference, name: Domain::parse(&name.to_ascii()).ok()? });
        let mut hosts: Vec<MxHost> = records.iter().filter_map(host).collect();
        hosts.sort_by(|a, b| a.preference.cmp(&b.preference).then_with(|| a.name.cmp(&b.name)));
        Ok(MxAnswer::Hosts(hosts))
    }

    /// The addresses of a host, of both families.
    ///
    /// # Errors
    /// Nobody could say. One family's answer is enough where it has addresses.
    pub async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsFault> {
        let (a, aaaa) = tokio::join!(self.lookup(host.as_str(), RecordType::A), self.lookup(host.as_str(), RecordType::AAAA));
        let mut found = Addresses::default();
        for lookup in [&a, &aaaa].into_iter().flatten().filter_map(Found::records) {
            for record in lookup.answers() {
                match &record.data {
                    RData::A(address) if found.v4.len() < ADDRESSES_MAX => found.v4.push(address.0),
                    RData::AAAA(address) if found.v6.len() < ADDRESSES_MAX => found.v6.push(address.0),
                    _ => {}
                }
            }
        }
        match (a, aaaa) {
            (Err(fault), _) | (_, Err(fault)) if found.is_empty() => Err(fault),
            (Err(fault), _) | (_, Err(fault)) => Ok(Addresses { unknown: Some(fault), ..found }),
            (Ok(_), Ok(_)) => Ok(found),
        }
    }

    /// The TXT records of a name, the strings of each joined without a separator (RFC 7208 §3.3). Empty when there are none.
    ///
    /// # Errors
    /// Nobody could say.
    pub async fn txt(&self, name: &Domain) -> Result<Vec<String>, DnsFault> {
        let found = self.resources(name, Kind::Txt).await?;
        Ok(found.into_iter().filter_map(|data| if let Data::Txt(text) = data { Some(text) } else { None }).collect())
    }

    /// The records of one type at a name, aliases followed. Empty when there are none.
    ///
    /// # Errors
    /// Nobody could say.
    pub async fn resources(&self, name: &Domain, kind: Kind) -> Result<Vec<Data>, DnsFault> {
        self.resources_at(name.as_str(), kind).await
    }

    /// As [`Resolver::resources`], of any name that the DNS can hold: SPF makes names of what clients say (RFC 7208 §7).
    ///
    /// # Errors
    /// Nobody could say, or it is no name.
    pub async fn resources_at(&self, name: &str, kind: Kind) -> Result<Vec<Data>, DnsFault> {
        let Found::Records(lookup) = self.lookup(name, record_type(kind)).await? else { return Ok(Vec::new()) };
        Ok(lookup.answers().iter().filter_map(|record| data(&record.data)).filter(|data| data.kind() == kind).take(RECORDS_MAX).collect())
    }

    /// Whether a name exists, with whatever records: no NXDOMAIN on its SOA (which is how Yahoo asks).
    ///
    /// # Errors
    /// Nobody could say.
    pub async fn exists(&self, name: &Domain) -> Result<bool, DnsFault> {
        Ok(!matches!(self.lookup(name.as_str(), RecordType::SOA).await?, Found::Nothing { domain_exists: false }))
    }

    /// The names of an address by its PTR records (RFC 1035 §3.5, RFC 3596 §2.5). Empty when it has none.
    ///
    /// # Errors
    /// Nobody could say.
    pub async fn names(&self, address: IpAddr) -> Result<Vec<Domain>, DnsFault> {
        let reverse = reverse_name(address);
        let found = self.resources(&reverse, Kind::Ptr).await?;
        Ok(found.into_iter().filter_map(|data| if let Data::Ptr(name) = data { Some(name) } else { None }).collect())
    }

    /// The TLSA records of a name (RFC 6698), and whether their signatures were validated here.
    ///
    /// # Errors
    /// Nobody could say.
    pub async fn tlsa(&self, name: &Domain) -> Result<TlsaAnswer, DnsFault> {
        let Found::Records(lookup) = self.lookup(name.as_str(), RecordType::TLSA).await? else { return Ok(TlsaAnswer::default()) };
        let mut answer = TlsaAnswer { usages: Vec::new(), validated: true };
        for record in lookup.answers().iter().take(RECORDS_MAX) {
            if let RData::TLSA(tlsa) = &record.data {
                answer.usages.push(u8::from(tlsa.cert_usage));
                answer.validated &= record.proof.is_secure();
            }
        }
        answer.validated &= !answer.usages.is_empty();
        Ok(answer)
    }

    /// The zone that a name lies in, and the names of its servers: the closest name at or above it that has NS records.
    ///
    /// # Errors
    /// Nobody could say; or a server has a name that is none.
    pub async fn zone(&self, name: &Domain) -> Result<Zone, DnsFault> {
        let mut at = Some(name.clone());
        while let Some(apex) = at {
            if let Found::Records(lookup) = self.lookup(apex.as_str(), RecordType::NS).await?
                && let Some(servers) = servers_of(&apex, lookup.answers())?
            {
                return Ok(Zone { apex, servers });
            }
            at = apex.parent();
        }
        Err(DnsFault::Other { name: name.to_string(), why: "no name at or above it has NS records".to_owned() })
    }

    /// The configured name servers.
    #[must_use]
    pub fn nameservers(&self) -> &[SocketAddr] {
        &self.nameservers
    }

    async fn lookup(&self, domain: &str, kind: RecordType) -> Result<Found, DnsFault> {
        let name =
            Name::from_labels(domain.split('.').map(str::as_bytes)).map_err(|error| DnsFault::Other { name: domain.to_string(), why: error.to_string() })?;
        let _slot = self.lookups.acquire().await.map_err(|_| DnsFault::Other { name: domain.to_string(), why: "the resolver is closed".to_owned() })?;
        let began = Instant::now();
        let found = match tokio::time::timeout(self.lookup_timeout, self.client.ask(name, kind)).await {
            Ok(Ok(lookup)) => Ok(Found::Records(lookup)),
            Ok(Err(error)) => nothing_or_fault(domain, error),
            Err(_) => Err(DnsFault::Timeout(domain.to_string())),
        };
        self.meters.seconds.took(began.elapsed());
        self.meters.lookups.of(counted_as(&found)).one();
        found
    }
}

fn counted_as(found: &Result<Found, DnsFault>) -> DnsResult {
    match found {
        Ok(Found::Records(_)) => DnsResult::Records,
        Ok(Found::Nothing { domain_exists: true }) => DnsResult::NoRecords,
        Ok(Found::Nothing { domain_exists: false }) => DnsResult::NoSuchName,
        Err(DnsFault::Timeout(_)) => DnsResult::Timeout,
        Err(DnsFault::ServerFailure { .. }) => DnsResult::ServerFailure,
        Err(DnsFault::Bogus(_)) => DnsResult::Bogus,
        Err(DnsFault::Other { .. }) => DnsResult::Failed,
    }
}

/// The servers that NS records at this very name give; None where there are none, as at an alias of another zone's apex.
pub(super) fn servers_of(apex: &Domain, records: &[Record]) -> Result<Option<Vec<Domain>>, DnsFault> {
    let mut servers = Vec::new();
    for record in records.iter().filter(|record| is_named(&record.name, apex)) {
        let RData::NS(server) = &record.data else { continue };
        let named = Domain::parse(&server.0.to_ascii());
        let server = named.map_err(|error| DnsFault::Other { name: apex.to_string(), why: format!("the name of one of its servers: {error}") })?;
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers.sort();
    Ok(Some(servers).filter(|servers| !servers.is_empty()))
}

/// Whether a name of an answer is this domain, in whatever case.
pub(super) fn is_named(name: &Name, domain: &Domain) -> bool {
    name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(domain.as_str())
}

impl Addresses {
    /// No address at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// The name that an address's PTR records stand at.
///
/// # Panics
/// Never: digits and dots in these lengths are a name.
#[must_use]
#[allow(clippy::expect_used, reason = "digits and dots in these lengths are a name")]
pub fn reverse_name(address: IpAddr) -> Domain {
    let name = Name::from(address).to_ascii();
    Domain::parse(&name).expect("a reverse name is a name")
}

/// A record's content; `None` for types that mail does not need, and for names that are none.
pub(super) fn data(data: &RData) -> Option<Data> {
    let name = |name: &Name| Domain::parse(&name.to_ascii()).ok();
    Some(match data {
        RData::TXT(txt) => Data::Txt(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect()),
        RData::MX(mx) if mx.exchange.is_root() => Data::Mx { preference: mx.preference, host: None },
        RData::MX(mx) => Data::Mx { preference: mx.preference, host: Some(name(&mx.exchange)?) },
        RData::A(address) => Data::A(address.0),
        RData::AAAA(address) => Data::Aaaa(address.0),
        RData::CNAME(target) => Data::Cname(name(&target.0)?),
        RData::PTR(target) => Data::Ptr(name(&target.0)?),
        _ => return None,
    })
}

pub(super) const fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Txt => RecordType::TXT,
        Kind::Mx => RecordType::MX,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Cname => RecordType::CNAME,
        Kind::Ptr => RecordType::PTR,
    }
}

enum Found {
    Records(Lookup),
    Nothing { domain_exists: bool },
}

impl Found {
    const fn records(&self) -> Option<&Lookup> {
        match self {
            Self::Records(lookup) => Some(lookup),
            Self::Nothing { .. } => None,
        }
    }
}

fn configuration(settings: &Settings) -> Result<(ResolverConfig, ResolverOpts), ResolverFault> {
    let (config, mut options) = match settings.nameservers.as_deref() {
        None => hickory_resolver::system_conf::read_system_conf().map_err(|error| ResolverFault(error.to_string()))?,
        Some([]) => return Err(ResolverFault("no name server is named".to_owned())),
        Some(nameservers) => (ResolverConfig::from_name_servers(nameservers.iter().map(name_server).collect()), ResolverOpts::default()),
    };
    options.timeout = settings.timeout;
    options.attempts = settings.attempts;
    options.cache_size = settings.cache_answers_max;
    options.positive_max_ttl = Some(settings.cache_age_max);
    options.negative_max_ttl = Some(settings.cache_age_max.min(NEGATIVE_AGE_MAX));
    options.validate = settings.dnssec;
    // Mail goes where the DNS says; a name in /etc/hosts is no MX.
    options.use_hosts_file = ResolveHosts::Never;
    options.try_tcp_on_error = true;
    Ok((config, options))
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    NameServerConfig::new(address.ip(), true, vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())])
}

fn address_of(server: &NameServerConfig) -> SocketAddr {
    SocketAddr::new(server.ip, server.connections.first().map_or(53, |connection| connection.port))
}

/// An error of the library is an answer when it says that there is nothing.
fn nothing_or_fault(domain: &str, error: NetError) -> Result<Found, DnsFault> {
    let name = domain.to_string();
    let nothing = |code: ResponseCode| Ok(Found::Nothing { domain_exists: code != ResponseCode::NXDomain });
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) => {
            nothing(none.response_code)
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) => Err(DnsFault::ServerFailure { name, code: none.response_code.to_string() }),
        NetError::Dns(DnsError::Nsec { response, proof: Proof::Secure | Proof::Insecure, .. }) => nothing(response.response_code),
        NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => Err(DnsFault::Bogus(name)),
        NetError::Dns(DnsError::ResponseCode(code)) => Err(DnsFault::ServerFailure { name, code: code.to_string() }),
        NetError::Timeout => Err(DnsFault::Timeout(name)),
        other => Err(DnsFault::Other { name, why: other.to_string() }),
    }
}

/// Records read of one answer; a domain with more has a fault of its own.
const MX_RECORDS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 32;
const RECORDS_MAX: usize = 256;
/// "There is none" is believed no longer than this, so that a domain that was just set up is found.
const NEGATIVE_AGE_MAX: Duration = Duration::from_mins(15);
