//! What only a connection shows: whether the hosts that take bounces answer and take STARTTLS, and the policy of MTA-STS. A shell, and
//! asked for by hand only: everything else that doctor does goes to the resolver alone.

use super::ask::all;
use super::facts::{BounceFacts, HostFacts};
use crate::deliver::connection::Connection;
use crate::deliver::target::{Target, Timeouts};
use crate::deliver::tls::{ClientTls, TlsDemand};
use crate::dns::{Addresses, Resolver};
use crate::mail::Domain;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How connections are made.
pub struct Settings {
    /// Whose certificates are believed.
    pub tls: ClientTls,
    /// The name given in EHLO.
    pub ehlo: String,
    /// Where MX hosts listen: 25.
    pub mx_port: u16,
    /// Where policies are served: 443.
    pub https_port: u16,
}

/// Tries what a bounce domain names, and writes down what came of it.
pub async fn bounce(facts: &mut BounceFacts, settings: &Settings, resolver: &Resolver) {
    let (reached, policy) = tokio::join!(all(facts.hosts.iter().map(|host| reach(host, settings))), policy(facts, settings, resolver));
    for (host, reached) in facts.hosts.iter_mut().zip(reached) {
        host.reached = reached;
    }
    facts.mta_sts_policy = policy;
}

/// The first of a host's addresses that answers.
async fn reach(host: &HostFacts, settings: &Settings) -> Option<Result<(), String>> {
    let mut fault = None;
    for address in list(host.addresses.as_ref().ok()?).into_iter().take(ADDRESSES_MAX) {
        let target = Target {
            host: host.name.to_string(),
            address: SocketAddr::new(address, settings.mx_port),
            tls: TlsDemand::Required,
            implicit_tls: false,
            lmtp: false,
            auth: None,
            source: None,
            ehlo_name: settings.ehlo.clone(),
            bdat: false,
        };
        match Connection::open(&target, &settings.tls, &timeouts()).await {
            Ok(connection) => {
                connection.quit().await;
                return Some(Ok(()));
            }
            Err(why) => fault = Some(format!("{address}, port {}: {why}", settings.mx_port)),
        }
    }
    fault.map(Err)
}

/// The policy, where a record says that there is one (RFC 8461 §3.3): no redirection is followed.
async fn policy(facts: &BounceFacts, settings: &Settings, resolver: &Resolver) -> Option<Result<String, String>> {
    let announced = facts.mta_sts.as_ref().is_ok_and(|texts| texts.iter().any(|text| text.starts_with("v=STSv1")));
    if !announced {
        return None;
    }
    let host = facts.domain.below("mta-sts").ok()?;
    let fetched = tokio::time::timeout(FETCH_MAX, fetch(&host, settings, resolver)).await;
    Some(fetched.unwrap_or_else(|_| Err(format!("no answer in {} s", FETCH_MAX.as_secs()))))
}

async fn fetch(host: &Domain, settings: &Settings, resolver: &Resolver) -> Result<String, String> {
    let addresses = list(&resolver.addresses(host).await.map_err(|fault| fault.to_string())?);
    let mut fault = format!("{host} has no address");
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        match get(host, SocketAddr::new(address, settings.https_port), settings).await {
            Ok(answer) => return body(&answer),
            Err(why) => fault = format!("{address}, port {}: {why}", settings.https_port),
        }
    }
    Err(fault)
}

/// HTTP/1.0, so that the body is what comes until the end.
async fn get(host: &Domain, address: SocketAddr, settings: &Settings) -> std::io::Result<Vec<u8>> {
    let name = ServerName::try_from(host.as_str().to_owned()).map_err(std::io::Error::other)?;
    let tcp = TcpStream::connect(address).await?;
    let mut stream = settings.tls.verified().connect(name, tcp).await?;
    let request = format!("GET /.well-known/mta-sts.txt HTTP/1.0\r\nHost: {host}\r\nUser-Agent: postseal-doctor\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let mut bounded = (&mut stream).take(ANSWER_OCTETS_MAX);
    match bounded.read_to_end(&mut answer).await {
        // Many servers close without TLS's farewell; what came counts.
        Err(fault) if answer.is_empty() || fault.kind() != std::io::ErrorKind::UnexpectedEof => Err(fault),
        _ => Ok(answer),
    }
}

/// What a good answer carries.
fn body(answer: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer is no HTTP")?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split_whitespace().nth(1) != Some("200") {
        return Err(format!("the server answered \"{}\"", status.chars().take(STATUS_CHARACTERS_MAX).collect::<String>()));
    }
    let kind =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map_or("none", |(_, value)| value.trim());
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(format!("its type is \"{}\", not text/plain", kind.chars().take(STATUS_CHARACTERS_MAX).collect::<String>()));
    }
    Ok(body.to_owned())
}

fn list(found: &Addresses) -> Vec<IpAddr> {
    found.v4.iter().copied().map(IpAddr::V4).chain(found.v6.iter().copied().map(IpAddr::V6)).collect()
}

/// Somebody waits at a terminal: far less than delivery grants.
fn timeouts() -> Timeouts {
    let short = Duration::from_secs(10);
    Timeouts {
        connect: Duration::from_secs(5),
        greeting: Duration::from_secs(20),
        ehlo: short,
        starttls: short,
        quit: Duration::from_secs(2),
        ..Timeouts::default()
    }
}

/// For all of a policy.
const FETCH_MAX: Duration = Duration::from_secs(15);
/// RFC 8461 §3.2 suggests 64 KiB.
const ANSWER_OCTETS_MAX: u64 = 64 * 1024;
const STATUS_CHARACTERS_MAX: usize = 100;
const ADDRESSES_MAX: usize = 4;
