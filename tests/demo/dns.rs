//! The whole DNS of the demonstration: a root zone in memory, answered on loopback over UDP and TCP.

use anyhow::{Context, anyhow};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts};
use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::{A, MX, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use mail_auth::MessageAuthenticator;
use postseal::dns::{Resolver, Settings};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// What stands at a name.
pub enum Data {
    /// Its address is 127.0.0.1.
    Here,
    /// This host takes its mail.
    Mx(&'static str),
    /// A text of any length.
    Text(String),
}

/// Answers as long as it lives.
pub struct Dns {
    address: SocketAddr,
    _server: Server<Catalog>,
}

impl Dns {
    /// Serves these records on a free port. A name `*` stands for every name that has no such record.
    pub async fn start(records: &[(String, Data)]) -> anyhow::Result<Self> {
        let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(Name::root(), ZoneType::Primary, AxfrPolicy::Deny);
        let soa = SOA::new(Name::root(), Name::root(), 1, 60, 60, 60, TTL);
        zone.upsert_mut(Record::from_rdata(Name::root(), TTL, RData::SOA(soa)), 0);
        for (name, data) in records {
            zone.upsert_mut(Record::from_rdata(absolute(name)?, TTL, data.rdata()?), 0);
        }
        let mut catalog = Catalog::new();
        catalog.upsert(Name::root().into(), vec![Arc::new(zone)]);
        let (tcp, udp) = sockets().await.context("no free port for the DNS on 127.0.0.1")?;
        let address = udp.local_addr()?;
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, TIMEOUT, RESPONSE_OCTETS);
        Ok(Self { address, _server: server })
    }

    /// Where it answers.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a receiver asks, this DNS alone.
    pub fn resolver(&self) -> anyhow::Result<Resolver> {
        let settings = Settings { nameservers: Some(vec![self.address]), timeout: TIMEOUT, ..Settings::default() };
        Resolver::new(&settings).map_err(|error| anyhow!("the receiver has no resolver: {error}"))
    }

    /// Who verifies for the list, asking this DNS alone.
    pub fn authenticator(&self) -> anyhow::Result<MessageAuthenticator> {
        let connection = |protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = self.address.port();
            connection
        };
        let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
        let server = NameServerConfig::new(self.address.ip(), true, connections);
        let mut options = ResolverOpts::default();
        options.timeout = TIMEOUT;
        MessageAuthenticator::new(ResolverConfig::from_name_servers(vec![server]), options).map_err(|error| anyhow!("the receiver has no resolver: {error}"))
    }
}

impl Data {
    fn rdata(&self) -> anyhow::Result<RData> {
        Ok(match self {
            Self::Here => RData::A(A(Ipv4Addr::LOCALHOST)),
            Self::Mx(host) => RData::MX(MX::new(10, absolute(host)?)),
            Self::Text(text) => {
                // A string of a TXT record holds 255 octets (RFC 1035 §3.3.14); receivers join them.
                let strings = text.as_bytes().chunks(255).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
                RData::TXT(TXT::new(strings))
            }
        })
    }
}

fn absolute(name: &str) -> anyhow::Result<Name> {
    Name::from_ascii(format!("{name}.")).with_context(|| format!("\"{name}\" is no name for the DNS"))
}

/// Both on one port: a free one for TCP may be taken for UDP.
async fn sockets() -> std::io::Result<(TcpListener, UdpSocket)> {
    let mut tries_left = 20;
    loop {
        tries_left -= 1;
        let tcp = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((tcp, udp)),
            Err(_) if tries_left > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

const TTL: u32 = 60;
const TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_OCTETS: usize = 4096;
