//! The way from a command to the running relay: over the API of its admin, found by the configuration or by an address that was typed.

use crate::config::{Admin, Config};
use anyhow::{Context, anyhow, bail};
use reqwest::{Client, Method, Response, StatusCode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Where the relay is to be found, for every command that asks it.
#[derive(clap::Args, Debug)]
pub struct Place {
    /// The relay's configuration file, whose table `admin` says where it listens
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG", default_value = "postseal.toml")]
    pub config: PathBuf,
    /// The relay's address instead, as in `https://relay.example.com:8025`
    #[arg(long, value_name = "URL", env = "POSTSEAL_URL")]
    pub url: Option<String>,
    /// A file with the token to show
    #[arg(long, value_name = "FILE", env = "POSTSEAL_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// A PEM file of those who may have issued the relay's certificate, beside the usual ones
    #[arg(long, value_name = "FILE", env = "POSTSEAL_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

/// The items of a page that the API gave; none where it gave something else.
pub(super) fn items(page: &Value) -> impl Iterator<Item = &Value> {
    page["items"].as_array().into_iter().flatten()
}

/// A text of the API's answer, empty where there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number of the API's answer, zero where there is none.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// A relay that can be asked.
pub struct Remote {
    runtime: Runtime,
    client: Client,
    url: String,
    token: Option<String>,
}

/// What the relay said, when it is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}{expected}", if .expected.is_empty() { "" } else { "; expected " })]
pub struct Refused {
    /// The answer's status.
    pub status: StatusCode,
    /// One word.
    pub code: String,
    /// What was found.
    pub message: String,
    /// What was expected.
    pub expected: String,
}

/// Whose certificate is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// That of the relay's own file, or one that the usual authorities issued for its name.
    Proven,
    /// Anyone's: nothing secret is sent, and what comes back is a yes or a no from our own machine.
    Anyone,
}

impl Place {
    /// The relay at this place. Nothing is asked yet.
    ///
    /// # Errors
    /// The configuration's `[admin]` has faults or is off, or a file cannot be read.
    pub fn find(&self) -> anyhow::Result<Remote> {
        let token = self.token_file.as_deref().map(token).transpose()?;
        let further = self.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        match &self.url {
            Some(url) => Remote::at(url, token, Trust { own: Vec::new(), further, belief: Belief::Proven }),
            None => self.configured(token, further, Belief::Proven),
        }
    }

    /// As [`Place::find`], to learn a yes or no: no token is shown, and of a relay that the configuration places no certificate is asked.
    ///
    /// # Errors
    /// As [`Place::find`].
    pub fn probe(&self) -> anyhow::Result<Remote> {
        if self.url.is_some() || self.token_file.is_some() { self.find() } else { self.configured(None, Vec::new(), Belief::Anyone) }
    }

    fn configured(&self, token: Option<String>, further: Vec<CertificateDer<'static>>, belief: Belief) -> anyhow::Result<Remote> {
        let Some(admin) = Config::admin_of(&self.config)? else {
            bail!("admin.enabled is false in {}: this relay answers nobody; set it to true, or name another with --url", self.config.display());
        };
        let address = reachable(admin.settings.address);
        if address.port() == 0 {
            bail!("admin.address in {} has port 0, so nobody knows where it is; the log says it at admin.opened: name it with --url", self.config.display());
        }
        let url = format!("{}://{address}", if admin.tls.is_some() { "https" } else { "http" });
        let own = if belief == Belief::Proven { leaves(&admin)? } else { Vec::new() };
        Remote::at(&url, token, Trust { own, further, belief })
    }
}

impl Remote {
    fn at(url: &str, token: Option<String>, trust: Trust) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("\"{url}\" is no address of a relay; expected one that begins with http:// or https://");
        }
        // No proxy: the relay is near, and a token is nobody else's business.
        let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT).read_timeout(READ);
        let client = builder.tls_backend_preconfigured(trust.config(url.starts_with("https://"))?).build().context("no client can be made")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
        Ok(Self { runtime, client, url, token })
    }

    /// Asks.
    ///
    /// # Errors
    /// Nobody answers; or [`Refused`].
    pub fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.runtime.block_on(async { understood(self.send(Method::GET, path, query, None).await?).await })
    }

    /// Asks for octets that are no JSON.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub fn octets(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let response = accepted(self.send(Method::GET, path, query, None).await?).await?;
            Ok(response.bytes().await.context("the connection to the relay broke")?.to_vec())
        })
    }

    /// Has something done.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.runtime.block_on(async { understood(self.send(Method::POST, path, &[], Some(body)).await?).await })
    }

    /// Asks, and gives the answer whatever its status.
    ///
    /// # Errors
    /// Nobody answers within `patience`, or not in JSON.
    pub fn look(&self, path: &str, patience: Duration) -> anyhow::Result<(StatusCode, Value)> {
        self.runtime.block_on(async {
            let asked = async {
                let response = self.send(Method::GET, path, &[], None).await?;
                let status = response.status();
                anyhow::Ok((status, response.json().await.context(NOT_OURS)?))
            };
            let late = |_| anyhow!("the relay at {} did not answer within {} ms", self.url, patience.as_millis());
            tokio::time::timeout(patience, asked).await.map_err(late)?
        })
    }

    /// Asks for an answer that goes on, and hands on each line as it comes, until the relay ends or `line` gives `false`.
    ///
    /// # Errors
    /// As [`Remote::get`], or the connection broke.
    pub fn lines(&self, path: &str, query: &[(&str, String)], mut line: impl FnMut(&str) -> bool) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let mut response = accepted(self.send(Method::GET, path, query, None).await?).await?;
            let mut rest = Vec::new();
            while let Some(chunk) = response.chunk().await.context("the connection to the relay broke")? {
                rest.extend_from_slice(&chunk);
                while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
                    let whole: Vec<u8> = rest.drain(..=end).collect();
                    if !line(String::from_utf8_lossy(&whole[..end]).trim_end_matches('\r')) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    async fn send(&self, method: Method, path: &str, query: &[(&str, String)], body: Option<&Value>) -> anyhow::Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !query.is_empty() {
            request = request.query(query);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        anyhow!("no relay answers at {}: {cause}; is `postseal serve` running, with this [admin]?", self.url)
    }
}

async fn understood(response: Response) -> anyhow::Result<Value> {
    accepted(response).await?.json().await.context(NOT_OURS)
}

async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body: Value = response.json().await.with_context(|| format!("status {status}; {NOT_OURS}"))?;
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    Err(Refused { status, code: text("code"), message: text("message"), expected: text("expected") }.into())
}

/// An address that means "all of ours" is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn token(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("the token in {} cannot be read", file.display()))?;
    let token = text.trim();
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        bail!("{} holds no token; expected one line, as `postseal admin token --file` writes it", file.display());
    }
    Ok(token.to_owned())
}

/// The relay's own certificates: what stands in its files is believed without a name, for we reach it by an address.
fn leaves(admin: &Admin) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let Some(tls) = &admin.tls else { return Ok(Vec::new()) };
    tls.certificates.iter().map(|files| certificates(&files.chain).map(|chain| chain.into_iter().next())).filter_map(Result::transpose).collect()
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.with_context(|| format!("{} cannot be read; expected PEM certificates", file.display()))
}

/// Whose certificates are believed.
#[derive(Debug)]
struct Trust {
    own: Vec<CertificateDer<'static>>,
    further: Vec<CertificateDer<'static>>,
    belief: Belief,
}

impl Trust {
    /// In clear text nobody is believed, and no authorities need be read.
    fn config(self, is_used: bool) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        if !is_used {
            return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
        }
        let usual = match self.belief {
            Belief::Anyone => None,
            Belief::Proven => Some(usual(self.further, &provider)?),
        };
        let verifier = Arc::new(Verifier { own: self.own, usual, provider });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

fn usual(further: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> anyhow::Result<Arc<dyn ServerCertVerifier>> {
    if let Ok(system) = rustls_platform_verifier::Verifier::new_with_extra_roots(further.clone(), provider.clone()) {
        return Ok(Arc::new(system));
    }
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in further {
        roots.add(certificate)?;
    }
    Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?)
}

#[derive(Debug)]
struct Verifier {
    own: Vec<CertificateDer<'static>>,
    /// `None`: anyone.
    usual: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.usual {
            Some(usual) if !self.own.contains(leaf) => usual.verify_server_cert(leaf, between, name, ocsp, now),
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        octets: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(octets, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        octets: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(octets, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const NOT_OURS: &str = "what answers there is no postseal, or another version";
const CONNECT: Duration = Duration::from_secs(5);
/// Longer than the relay's own patience with a request.
const READ: Duration = Duration::from_mins(2);
