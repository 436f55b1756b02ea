//! A door and a keeper for connections over real streams, with certificates made for the test.

use super::world;
use postseal::ingress::connection::{Door, Encryption, Exchange, Origin, Settings, Step, Stream, Terms, serve};
use postseal::ingress::{Accept, Allowance};
use postseal::mail::{Client, EnhancedCode, ForwardPath, IdentityName, Mailbox, Receipt, Refusal, ReversePath, Submission};
use postseal::smtp::memory::Memory;
use postseal::smtp::server::User;
use postseal::smtp::settings::Settings as DialogueSettings;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Keeps what is accepted; a commit waits until the gate lets it through.
pub struct Keeper {
    pub kept: Mutex<Vec<Submission>>,
    pub gate: Semaphore,
}

impl Accept for Keeper {
    type Coming = ();

    fn expect(&self) {}

    fn begin(&self, _: &Client, from: &ReversePath, _: Option<u64>) -> Result<Allowance, Refusal> {
        world::begin(from).map(|bounds| Allowance { size_octets_max: bounds.message_octets_max, recipients_max: bounds.recipients_max })
    }

    async fn recipient(&self, _: &Client, to: &ForwardPath, _: usize) -> Result<Mailbox, Refusal> {
        world::recipient(to)
    }

    async fn accept(&self, submission: Submission, (): ()) -> Result<Receipt, Refusal> {
        let _pass = self.gate.acquire().await.unwrap();
        assert!(submission.message.as_ref() != b"X-Panic: yes\r\n", "as it was asked to");
        let receipt = world::accept(&submission)?;
        self.kept.lock().unwrap().push(submission);
        Ok(receipt)
    }
}

pub struct TestDoor {
    pub network: bool,
    pub tls: Option<Arc<ServerConfig>>,
    pub mechanisms: Vec<String>,
}

impl Door for TestDoor {
    fn by_network(&self, _: IpAddr) -> Option<IdentityName> {
        self.network.then(|| IdentityName::new("by-network"))
    }

    fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Option<(IdentityName, String)> {
        assert!(!chain.is_empty());
        Some((IdentityName::new("by-certificate"), "app.example".into()))
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.clone()
    }

    fn mechanisms(&self) -> Vec<String> {
        self.mechanisms.clone()
    }

    fn authentication(&self, mechanism: &str, address: IpAddr) -> Option<Box<dyn Exchange>> {
        assert_eq!(address.to_string(), "192.0.2.7");
        (mechanism == "PLAIN").then(|| Box::new(Plain) as Box<dyn Exchange>)
    }
}

struct Plain;

impl Exchange for Plain {
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = Step> + Send + 'a>> {
        Box::pin(async move {
            match response {
                None => Step::Challenge(Vec::new()),
                Some(b"\0app\0secret") => Step::Accepted(User { identity: IdentityName::new("by-password"), name: "app".into(), last_challenge: None }),
                _ => Step::Refused(Refusal::submitter(535, EnhancedCode::new(5, 7, 8), "wrong credentials")),
            }
        })
    }
}

/// Terms with times that a busy machine keeps, and the keeper behind them.
pub fn terms(encryption: Encryption, door: TestDoor) -> Arc<Terms<Keeper>> {
    let (time, linger) = (Duration::from_mins(1), Duration::from_millis(200));
    terms_within(Settings { handshake_timeout: time, write_timeout: time, drain_timeout: time, linger }, encryption, door)
}

/// The same with short times.
pub fn hasty_terms(encryption: Encryption, door: TestDoor) -> Arc<Terms<Keeper>> {
    let settings = Settings {
        handshake_timeout: Duration::from_millis(300),
        write_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_millis(500),
        linger: Duration::from_millis(200),
    };
    terms_within(settings, encryption, door)
}

fn terms_within(settings: Settings, encryption: Encryption, door: TestDoor) -> Arc<Terms<Keeper>> {
    let keeper = Keeper { kept: Mutex::default(), gate: Semaphore::new(10) };
    let dialogue = DialogueSettings { hostname: "relay.example".into(), ..DialogueSettings::default() };
    Arc::new(Terms {
        accept: Arc::new(keeper),
        door: Arc::new(door),
        listener: "submission".into(),
        encryption,
        memory: Memory::new(u64::MAX),
        settings,
        clock: postseal::clock::system(),
        dialogue,
        meters: Arc::default(),
    })
}

pub fn known() -> TestDoor {
    TestDoor { network: true, tls: None, mechanisms: Vec::new() }
}

/// A served connection, and the client's end of it.
pub struct Served {
    pub client: Wire<DuplexStream>,
    pub drain: CancellationToken,
    pub server: JoinHandle<()>,
}

pub fn connect(terms: &Arc<Terms<Keeper>>) -> Served {
    let (client, server) = tokio::io::duplex(4096);
    let drain = CancellationToken::new();
    let origin = Origin { address: "192.0.2.7".parse().unwrap(), identifies: true };
    let server = tokio::spawn(serve(server, origin, Arc::clone(terms), drain.clone()));
    Served { client: Wire(client), drain, server }
}

/// A client's end of a stream.
pub struct Wire<S>(pub S);

impl<S: Stream> Wire<S> {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Replies up to one that begins with `last`, as one text.
    pub async fn hear(&mut self, last: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&heard);
            if heard.ends_with(b"\r\n") && text.lines().next_back().is_some_and(|line| line.starts_with(last)) {
                return text.into_owned();
            }
            match tokio::time::timeout(Duration::from_mins(1), self.0.read_u8()).await {
                Ok(Ok(octet)) => heard.push(octet),
                other => panic!("waiting for {last:?}, heard {text:?}, then {other:?}"),
            }
        }
    }

    pub async fn says(&mut self, text: &str, reply: &str) -> String {
        self.send(text).await;
        self.hear(reply).await
    }

    /// The end of the stream, as the client sees it: `Ok` means a clean one (with `close_notify` inside TLS).
    pub async fn end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_mins(1), self.0.read_to_end(&mut rest)).await.expect("the server closes")?;
        Ok(rest)
    }
}

/// A server's configuration that asks for client certificates, a client's that has one, and one that has none.
pub struct Certificates {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    pub anonymous: Arc<ClientConfig>,
}

pub fn certificates() -> Certificates {
    let mut authority_params = CertificateParams::new(vec![]).unwrap();
    authority_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = authority_params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority_params, authority_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder(Arc::clone(&roots)).allow_unauthenticated().build().unwrap();
    let (chain, key) = issue("relay.example");
    let server = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    let (chain, key) = issue("app.example");
    let client = ClientConfig::builder().with_root_certificates(Arc::clone(&roots)).with_client_auth_cert(chain, key).unwrap();
    let anonymous = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Certificates { server: Arc::new(server), client: Arc::new(client), anonymous: Arc::new(anonymous) }
}

pub async fn secured<S: Stream>(stream: S, config: &Arc<ClientConfig>) -> std::io::Result<Wire<TlsStream<S>>> {
    let name = ServerName::try_from("relay.example").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map(Wire)
}
