//! Who is let in: networks, certificates, users and the relay's own certificate as one snapshot, as [`super::connection`] asks for them.

use super::connection::{Door, Exchange, Step};
use super::identity::Identities;
use super::listener::{Unwrap, Unwrapped};
use super::{proxy_protocol, sasl, tls};
use crate::mail::{IdentityName, Proof};
use crate::smtp::server::User;
use ipnet::IpNet;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// One snapshot of who is let in and how. Replaced as a whole by a reload.
#[derive(Debug)]
pub struct Guard {
    /// Networks and certificate names.
    pub identities: Arc<Identities>,
    /// Users.
    pub sasl: Arc<sasl::Sasl>,
    /// Our certificate.
    pub tls: Option<Arc<ServerConfig>>,
    /// The same for clients of whom nobody asks who they are.
    pub open_tls: Option<Arc<ServerConfig>>,
}

/// A door that is open to anybody: who comes in is nobody in particular, and cannot become anybody else.
#[derive(Debug)]
pub struct OpenDoor {
    /// What they are called.
    pub name: IdentityName,
    /// Our certificate.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Door for OpenDoor {
    fn by_network(&self, _: IpAddr) -> Option<IdentityName> {
        Some(self.name.clone())
    }

    fn by_certificate(&self, _: &[CertificateDer<'_>]) -> Option<(IdentityName, String)> {
        None
    }

    fn anybody(&self) -> Option<IdentityName> {
        Some(self.name.clone())
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.clone()
    }

    fn mechanisms(&self) -> Vec<String> {
        Vec::new()
    }

    fn authentication(&self, _: &str, _: IpAddr) -> Option<Box<dyn Exchange>> {
        None
    }
}

impl Door for Guard {
    fn by_network(&self, address: IpAddr) -> Option<IdentityName> {
        self.identities.identify(Some(address), &[], None).map(|(identity, _)| identity)
    }

    fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Option<(IdentityName, String)> {
        match self.identities.identify(None, &tls::names_of(chain), None)? {
            (identity, Proof::Certificate { name }) => Some((identity, name)),
            _ => None,
        }
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.clone()
    }

    fn mechanisms(&self) -> Vec<String> {
        self.sasl.mechanisms().into_iter().map(str::to_owned).collect()
    }

    fn authentication(&self, mechanism: &str, address: IpAddr) -> Option<Box<dyn Exchange>> {
        let exchange = self.sasl.start(mechanism)?.from_client(address);
        Some(Box::new(Authentication(exchange)))
    }
}

struct Authentication(sasl::Exchange);

impl Exchange for Authentication {
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = Step> + Send + 'a>> {
        Box::pin(async move {
            match self.0.step(response).await {
                sasl::Step::Challenge(challenge) => Step::Challenge(challenge),
                sasl::Step::Refused(refusal) => Step::Refused(refusal),
                sasl::Step::Accepted { identity, user, final_challenge } => Step::Accepted(User { identity, name: user, last_challenge: final_challenge }),
            }
        })
    }
}

/// Proxies that announce their clients by a PROXY header.
#[derive(Debug, Clone)]
pub struct Proxies {
    /// Whose headers are believed; a connection from anywhere else is dropped.
    pub trusted: Vec<IpNet>,
    /// For the header to come.
    pub timeout: Duration,
}

impl Unwrap for Proxies {
    fn unwrap<'a>(&'a self, stream: TcpStream, peer: SocketAddr) -> Pin<Box<dyn Future<Output = io::Result<Unwrapped>> + Send + 'a>> {
        Box::pin(async move {
            let (stream, client) = proxy_protocol::accept(stream, peer, &self.trusted, self.timeout).await.map_err(io::Error::other)?;
            Ok(Unwrapped { stream: Box::new(stream), client })
        })
    }
}
