//! A whole DNS in memory, on loopback: hickory-server as the root zone, and a verifier that asks nobody else.

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts};
use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::{A, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use mail_auth::MessageAuthenticator;
use postseal::dns::{Resolver, Settings};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Kept alive as long as it is asked.
pub struct Zone {
    pub resolver: Resolver,
    /// For a second opinion.
    pub authenticator: MessageAuthenticator,
    _server: Option<Server<Catalog>>,
}

impl Zone {
    /// TXT records by name; every name also has the address 192.0.2.25.
    pub async fn of(texts: &[(&str, &str)]) -> Self {
        let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(Name::root(), ZoneType::Primary, AxfrPolicy::Deny);
        let soa = SOA::new(Name::root(), Name::root(), 1, 60, 60, 60, 60);
        zone.upsert_mut(Record::from_rdata(Name::root(), 60, RData::SOA(soa)), 0);
        for (name, text) in texts {
            let name = Name::from_ascii(format!("{name}.")).unwrap();
            // In strings of 100 octets, as publishers cut them anyhow.
            let strings = text.as_bytes().chunks(100).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect();
            zone.upsert_mut(Record::from_rdata(name.clone(), 60, RData::TXT(TXT::new(strings))), 0);
            zone.upsert_mut(Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::new(192, 0, 2, 25)))), 0);
        }
        let mut catalog = Catalog::new();
        catalog.upsert(Name::root().into(), vec![Arc::new(zone)]);
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut server = Server::new(catalog);
        server.register_socket(socket);
        Self { resolver: resolver(port), authenticator: asking(port), _server: Some(server) }
    }

    /// A DNS that never answers.
    pub async fn silent() -> Self {
        let port = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        Self { resolver: resolver(port), authenticator: asking(port), _server: None }
    }
}

fn resolver(port: u16) -> Resolver {
    let nameservers = Some(vec![(Ipv4Addr::LOCALHOST, port).into()]);
    Resolver::new(&Settings { nameservers, timeout: Duration::from_millis(300), attempts: 1, ..Settings::default() }).unwrap()
}

fn asking(port: u16) -> MessageAuthenticator {
    let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
    connection.port = port;
    let server = NameServerConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true, vec![connection]);
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_millis(300);
    options.attempts = 1;
    MessageAuthenticator::new(ResolverConfig::from_name_servers(vec![server]), options).unwrap()
}
