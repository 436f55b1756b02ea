//! How octets get to a next hop: TCP, and TLS over it. A shell; a simulation puts a network of its own in its place.

use super::tls::{ClientTls, TlsDemand, words_of};
use crate::clock::Clock;
use crate::mail::TlsSession;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

/// Octets both ways.
pub trait Octets: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Octets for S {}

/// An open connection, with or without TLS.
pub type Line = Box<dyn Octets>;

/// What is under way.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where next hops are. The caller bounds every step in time.
pub trait Network: Send + Sync + 'static {
    /// A connection to this address, from `source` where one is given.
    ///
    /// # Errors
    /// There is none.
    fn connect(&self, address: SocketAddr, source: Option<IpAddr>) -> Doing<'_, io::Result<Line>>;

    /// The same connection inside TLS, as `demand` asks for it; `name` is what a certificate has to prove.
    ///
    /// # Errors
    /// The handshake failed, in words for a log line and a DSN.
    fn secure<'a>(&'a self, line: Line, name: &'a str, demand: TlsDemand, tls: &'a ClientTls) -> Doing<'a, Result<(Line, TlsSession), String>>;
}

/// What a session is opened over.
#[derive(Clone, Copy)]
pub struct Outlet<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// Our half of TLS.
    pub tls: &'a ClientTls,
    /// The time, for evidence.
    pub clock: &'a Clock,
}

/// The system's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn connect(&self, address: SocketAddr, source: Option<IpAddr>) -> Doing<'_, io::Result<Line>> {
        Box::pin(async move {
            let stream = match source {
                Some(source) => {
                    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                    socket.bind(SocketAddr::new(source, 0))?;
                    socket.connect(address).await?
                }
                None => TcpStream::connect(address).await?,
            };
            // Without it the last piece of a message waits for the acknowledgement of the one before.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Line)
        })
    }

    fn secure<'a>(&'a self, line: Line, name: &'a str, demand: TlsDemand, tls: &'a ClientTls) -> Doing<'a, Result<(Line, TlsSession), String>> {
        Box::pin(async move {
            let name = ServerName::try_from(name).map_err(|_| format!("\"{name}\" is no name that a certificate could prove"))?;
            let stream = tls.connector(demand).connect(name.to_owned(), line).await.map_err(words)?;
            let (_, agreed) = stream.get_ref();
            let session = TlsSession {
                version: if agreed.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) { "TLSv1.3" } else { "TLSv1.2" },
                cipher: agreed.negotiated_cipher_suite().map(|suite| iana_name(suite.suite())).unwrap_or_default(),
            };
            Ok((Box::new(stream) as Line, session))
        })
    }
}

/// rustls wraps its own faults into those of I/O.
fn words(fault: io::Error) -> String {
    let kind = fault.kind();
    match fault.into_inner().map(<dyn std::error::Error + Send + Sync>::downcast::<rustls::Error>) {
        Some(Ok(fault)) => words_of(&fault),
        Some(Err(fault)) => fault.to_string(),
        None => kind.to_string(),
    }
}

/// rustls marks the suites of TLS 1.3, IANA does not.
fn iana_name(suite: rustls::CipherSuite) -> String {
    suite.as_str().map_or_else(|| format!("{suite:?}"), |name| name.replacen("TLS13_", "TLS_", 1))
}
