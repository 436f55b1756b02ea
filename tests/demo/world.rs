//! Everything the demonstration needs, on free ports of 127.0.0.1 and in a folder that goes away with it: DNS, receiving server, relay.

use crate::dns::{Data, Dns};
use crate::letters::{Letter, Writer};
use crate::next_hop::{NextHop, Received, Script, Session};
use anyhow::{Context, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use mail_auth::MessageAuthenticator;
use mail_send::smtp::message::{Address, Message, Parameters};
use mail_send::{Credentials, SmtpClientBuilder};
use postseal::config::{Config, Document};
use postseal::dns::Resolver;
use postseal::ingress::sasl::scram_verifier;
use postseal::keys::{self, Algorithm, Key, SelectorTemplate, State};
use postseal::mail::Domain;
use postseal::relay::Relay;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Who plays which part.
pub struct Names {
    /// The author domain.
    pub author: Domain,
    /// The mailing list's domain.
    pub list: Domain,
    /// The relay's own name.
    pub relay: Domain,
    /// Who receives everything.
    pub recipient: String,
    /// What the list authenticates with.
    pub list_password: String,
}

/// All parts, running.
pub struct World {
    /// Who is who.
    pub names: Names,
    /// The author of the message that comes through a list.
    pub writer: Writer,
    /// Who checks as a receiver does.
    pub authenticator: MessageAuthenticator,
    /// Whom the receiver asks.
    pub resolver: Resolver,
    /// The relay's keys, as `selector._domainkey.domain`.
    pub own_keys: BTreeSet<String>,
    dns: Dns,
    receiver: NextHop,
    relay: Relay,
    submission: SocketAddr,
    certificate: CertificateDer<'static>,
    _folder: TempDir,
}

/// What the application saw.
pub struct Submitted {
    /// Version of TLS, as rustls names it.
    pub tls: String,
    /// The reply to the final dot.
    pub reply: String,
    /// When it came.
    pub at: Instant,
}

impl World {
    /// Starts all parts.
    ///
    /// # Errors
    /// The part that did not start, and why.
    pub async fn start(author: &Domain, folder: TempDir) -> anyhow::Result<Self> {
        let names = Names::around(author)?;
        let writer = Writer::new()?;
        let made = make_keys(&folder.path().join(KEYS), &names)?;
        let dns = Dns::start(&records(&names, &made, &writer)).await?;
        let receiver = NextHop::start(Script::modern().named(RECEIVER));
        let certificate = make_certificate(folder.path())?;
        let file = folder.path().join("postseal.toml");
        let text = configuration(&names, dns.address(), receiver.address())?;
        std::fs::write(&file, &text)?;
        let config = Config::of(&Document::of(&text, &file, std::iter::empty())?)?;
        let relay = Relay::start(config).await.context("the relay did not start")?;
        let submission = relay.addresses().into_iter().next().map(|(_, address)| address).ok_or_else(|| anyhow!("the relay has no listener"))?;
        let authenticator = dns.authenticator()?;
        let resolver = dns.resolver()?;
        let own_keys = made.iter().map(|key| key.id.to_string()).collect();
        Ok(Self { names, writer, authenticator, resolver, own_keys, dns, receiver, relay, submission, certificate, _folder: folder })
    }

    /// Where applications submit.
    pub const fn submission(&self) -> SocketAddr {
        self.submission
    }

    /// Where the receiving server listens.
    pub fn receiver(&self) -> SocketAddr {
        self.receiver.address()
    }

    /// Where the DNS answers.
    pub const fn dns(&self) -> SocketAddr {
        self.dns.address()
    }

    /// Submits as an application does: STARTTLS with the relay's certificate verified, AUTH where there is a login, MAIL, RCPT, DATA.
    pub async fn submit(&self, letter: &Letter) -> anyhow::Result<Submitted> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
        let host = self.submission.ip().to_string();
        let mut client = SmtpClientBuilder::new_with_tls_connector(host, self.submission.port(), connector)
            .implicit_tls(false)
            .helo_host("application.internal")
            .timeout(ARRIVAL_MAX);
        if let Some((username, secret)) = &letter.login {
            client = client.credentials(Credentials::Plain { username: (*username).to_owned(), secret: secret.clone() });
        }
        let mut client = client.connect().await.map_err(|error| anyhow!("the relay on {} could not be talked to: {error}", self.submission))?;
        let tls = client.tls_connection().protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
        let mut parameters = Parameters::new();
        if letter.eight_bit {
            parameters.add(("BODY", "8BITMIME"));
        }
        // mail-send ends every message with CR LF of its own; ours have theirs already.
        let octets = letter.octets.strip_suffix(b"\r\n").unwrap_or(&letter.octets);
        let mut message = Message::new(letter.reverse_path.as_str(), [letter.recipient.as_str()], octets);
        message.mail_from = Address::new(letter.reverse_path.as_str(), parameters);
        let reply = client.send(message).await.map_err(|error| anyhow!("the relay did not take the message: {error}"))?;
        let at = Instant::now();
        client.quit().await.ok(); // the answer is here; a lost goodbye takes nothing back
        let [class, subject, detail] = reply.esc;
        Ok(Submitted { tls, reply: format!("{} {class}.{subject}.{detail} {}", reply.code, reply.message.trim_end()), at })
    }

    /// What the receiving server took since the last call, waited for if need be.
    pub async fn arrived(&self) -> Vec<(Session, Received)> {
        loop {
            let arrived = self.receiver.drain();
            if !arrived.is_empty() {
                return arrived;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// As [`World::arrived`], for one message that must come.
    pub async fn arrival(&self) -> anyhow::Result<(Session, Received)> {
        match tokio::time::timeout(ARRIVAL_MAX, self.arrived()).await.map(|mut arrived| (arrived.pop(), arrived.len())) {
            Ok((Some(arrival), 0)) => Ok(arrival),
            Ok((_, others)) => bail!("the message arrived {} times", others + 1),
            Err(_) => bail!("the relay took the message, but nothing arrived at {} within {} seconds", self.receiver(), ARRIVAL_MAX.as_secs()),
        }
    }

    /// Stops the relay, and with it all parts.
    pub async fn end(self) {
        self.relay.drain().await;
    }
}

impl Names {
    fn around(author: &Domain) -> anyhow::Result<Self> {
        if [RECIPIENTS, Writer::DOMAIN].iter().any(|taken| author.as_str() == *taken) {
            bail!("{author} plays another part here: {RECIPIENTS} receives and {} writes to the list; expected another author domain", Writer::DOMAIN);
        }
        let mut octets = [0; 12];
        aws_lc_rs::rand::fill(&mut octets).map_err(|_| anyhow!("the system gives no random octets"))?;
        Ok(Self {
            author: author.clone(),
            list: author.below("lists")?,
            relay: author.below("mx1")?,
            recipient: format!("you@{RECIPIENTS}"),
            list_password: BASE64.encode(octets),
        })
    }
}

/// RSA and Ed25519 for the author domain and for the list, and a secret for bounce addresses.
fn make_keys(directory: &Path, names: &Names) -> anyhow::Result<Vec<Key>> {
    let now = postseal::clock::now();
    let mut made = Vec::new();
    for domain in [&names.author, &names.list] {
        made.extend(keys::create(
            directory,
            domain,
            &[Algorithm::Rsa, Algorithm::Ed25519],
            &SelectorTemplate::default(),
            (State::Active, "for the demo"),
            now,
        )?);
    }
    keys::create_token_secret(directory, now)?;
    Ok(made)
}

/// The relay's own certificate, signed by itself, as the application will trust it.
fn make_certificate(folder: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    std::fs::write(folder.join("relay.crt"), made.cert.pem())?;
    let key = folder.join("relay.key");
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(made.cert.der().clone())
}

/// What everybody would publish, had this been the internet.
fn records(names: &Names, made: &[Key], writer: &Writer) -> Vec<(String, Data)> {
    let Names { author, list, relay, .. } = names;
    let text = |name: String, text: &str| (name, Data::Text(text.to_owned()));
    let mut records = vec![
        ("*".to_owned(), Data::Mx(RECEIVER)), // whoever an application writes to with --keep
        (RECEIVER.to_owned(), Data::Here),
        (relay.to_string(), Data::Here),
        text(relay.to_string(), "v=spf1 a -all"),
        text(format!("b.{author}"), "v=spf1 ip4:127.0.0.1 -all"),
        text(format!("b.{list}"), "v=spf1 ip4:127.0.0.1 -all"),
        text(format!("_dmarc.{author}"), "v=DMARC1; p=reject"),
        text(format!("_dmarc.{}", Writer::DOMAIN), "v=DMARC1; p=reject"),
        // Ada's own SPF record, which the list's mail can never pass: why lists need what they need.
        text(Writer::DOMAIN.to_owned(), "v=spf1 ip4:192.0.2.1 -all"),
    ];
    records.extend(made.iter().filter_map(|key| Some((key.id.to_string(), Data::Text(key.record()?.to_string())))));
    let (name, key) = writer.record();
    records.push((name, Data::Text(key)));
    records
}

/// As an operator would write it, but for what makes everything stay on this machine (`[resolver]`, `[deliver]`) and a spool that may lie in memory.
fn configuration(names: &Names, dns: SocketAddr, receiver: SocketAddr) -> anyhow::Result<String> {
    let Names { author, list, relay, list_password, .. } = names;
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| anyhow!("the system gives no random octets"))?;
    let credential = scram_verifier(list_password, 4096, &salt)?;
    Ok(format!(
        r#"[server]
hostname = "{relay}"
keys = "{KEYS}"

[tls.certificates.relay]
chain = "relay.crt"
key = "relay.key"

[admin]
address = "127.0.0.1:0"

[listeners.submission]
address = "127.0.0.1:0"
tls = "starttls"

[identities.application]
networks = ["127.0.0.0/8"]
author_domains = ["{author}"]

[identities.list]
mode = "forward"
forward_domain = "{list}"

[users.{LIST_USER}]
identity = "list"
credential = "{credential}"

[domains."{author}"]
ed25519 = true

[domains."{list}"]
ed25519 = true

[spool]
directory = "spool"
file_systems = "volatile"
reserve_octets = "16 MiB"
wal_octets_max = "8 MiB"

[resolver]
nameservers = ["{dns}"]

[deliver]
mx_port = {port}
private_addresses_allowed = true
"#,
        port = receiver.port(),
    ))
}

/// Who authenticates for the list.
pub const LIST_USER: &str = "list";
/// The domain that all messages go to, and its mail host.
pub const RECIPIENTS: &str = "example.net";
pub const RECEIVER: &str = "mx.example.net";
const KEYS: &str = "keys";
/// A message must be accepted, and then arrive, in this time.
const ARRIVAL_MAX: Duration = Duration::from_mins(1);
const GLANCE: Duration = Duration::from_millis(2);
