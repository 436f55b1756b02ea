//! The shell around one dialogue: read, feed, perform, until it ends. Over any stream, so that TLS, PROXY and tests look alike.
//!
//! It knows sockets and time; what is said, and whose turn it is, [`Dialogue`] knows; what becomes of a message, [`Accept`] knows.
//! A message that was handed over is out of the connection's hands: its commit goes on even if the client is gone.

use super::Accept;
use super::refused::reason_of;
use crate::clock::Clock;
use crate::events::meters;
use crate::events::meters::words::{Authenticated, ListenerTls, RefusedAt, Tls};
use crate::mail::{EnhancedCode, IdentityName, Proof, Receipt, Refusal, Submission, Timestamp, TlsSession};
use crate::smtp::memory::Memory;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Action, Bounds, Dialogue, Input, Peer, User};
use crate::smtp::settings::{Settings as DialogueSettings, StartTls};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// What a connection is served under. Made anew at each reload; a connection keeps what it began with.
pub struct Terms<A> {
    /// Where messages go.
    pub accept: Arc<A>,
    /// Who clients are, and the certificate.
    pub door: Arc<dyn Door>,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// When TLS begins.
    pub encryption: Encryption,
    /// What messages being received share, over all listeners.
    pub memory: Arc<Memory>,
    /// Of the shell.
    pub settings: Settings,
    /// The time.
    pub clock: Clock,
    /// Of the dialogue. `starttls` and `sasl_mechanisms` follow from `encryption` and `door`.
    pub dialogue: DialogueSettings,
    /// Where it counts.
    pub meters: Arc<meters::Ingress>,
}

/// Who a client is, and what proves who we are: one snapshot of `identity`, `sasl` and `tls`.
pub trait Door: Send + Sync + 'static {
    /// The identity whose networks hold this address.
    fn by_network(&self, address: IpAddr) -> Option<IdentityName>;

    /// The identity that a verified chain of certificates stands for, and the name that matched.
    fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Option<(IdentityName, String)>;

    /// The identity of a client of whom nothing is known, not even its address; `None`: it is nobody.
    fn anybody(&self) -> Option<IdentityName> {
        None
    }

    /// The certificate to show; `None` where there is none.
    fn tls(&self) -> Option<Arc<ServerConfig>>;

    /// The SASL mechanisms to offer, in capitals.
    fn mechanisms(&self) -> Vec<String>;

    /// Begins an authentication by one of them, of a client at this address: guesses are counted by it.
    fn authentication(&self, mechanism: &str, address: IpAddr) -> Option<Box<dyn Exchange>>;
}

/// One authentication under way.
pub trait Exchange: Send {
    /// Takes a response. The first is `None` when none came with the command: a mechanism in which the client speaks first answers it
    /// with an empty challenge. An empty one (`AUTH PLAIN =`) is a response like any other.
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = Step> + Send + 'a>>;
}

/// What a step of an authentication led to.
#[derive(Debug)]
pub enum Step {
    /// The client is to answer this.
    Challenge(Vec<u8>),
    /// It is who it says.
    Accepted(User),
    /// It is not, or cannot be asked.
    Refused(Refusal),
}

/// When TLS begins on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encryption {
    /// With the first octet (RFC 8314 §3.3).
    Implicit,
    /// When the client asks.
    #[default]
    StartTls,
    /// When the client asks, which it must.
    StartTlsRequired,
    /// Never.
    None,
}

/// Times of the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// For a TLS handshake.
    pub handshake_timeout: Duration,
    /// For a client to take what it is told.
    pub write_timeout: Duration,
    /// For an open transaction to end once the server is going down.
    pub drain_timeout: Duration,
    /// For a client to close its side after the last reply, so that what it sent meanwhile does not reset the connection and take the
    /// reply with it.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub address: IpAddr,
    /// The address is the client's own: networks may be looked up by it. A proxy that does not say whom it speaks for is nobody.
    pub identifies: bool,
}

/// A stream that may carry a dialogue.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Serves one connection to its end. `drain` tells that the server is going down.
///
/// # Cancel safety
/// Dropped, it closes the connection without a word; a message already handed over is still committed.
pub async fn serve<S: Stream, A: Accept>(stream: S, origin: Origin, terms: Arc<Terms<A>>, drain: CancellationToken) {
    let (listener, client) = (Arc::clone(&terms.listener), origin.address);
    let presence = Presence::begin(&terms);
    tracing::debug!(%listener, %client, "connection.opened");
    match Connection::open(stream, origin, terms, drain, presence).await {
        Ok(connection) => match connection.converse().await {
            Ok(()) => tracing::debug!(%listener, %client, "connection.closed"),
            Err(error) => tracing::info!(%listener, %client, %error, "connection.lost"),
        },
        Err(error) => tracing::info!(%listener, %client, %error, "connection.refused"),
    }
}

struct Connection<S, A: Accept> {
    wire: Wire<S>,
    origin: Origin,
    terms: Arc<Terms<A>>,
    tls: Option<Arc<ServerConfig>>,
    dialogue: Dialogue,
    exchange: Option<Box<dyn Exchange>>,
    unsent: Vec<u8>,
    drain: CancellationToken,
    draining: bool,
    /// The next refusal is that of a message, which is in the log already.
    refusal_told: bool,
    /// A 250 that is not said yet.
    owed: Option<Owed>,
    /// The last octet of a message was read then, and its `250` is not written yet.
    message_ended: Option<Instant>,
    /// The client may send a message.
    coming: Option<A::Coming>,
    presence: Presence,
    time: Time,
}

/// A client that is connected, as it is counted; over when dropped.
struct Presence {
    meters: Arc<meters::Ingress>,
    policy: ListenerTls,
    tls: Tls,
}

/// Whose receipt it will be.
struct Unheard {
    listener: Arc<str>,
    client: IpAddr,
}

/// A receipt that its client should hear of: tells when it is dropped unheard.
struct Owed {
    receipt: Receipt,
    to: Unheard,
    is_said: bool,
}

impl Unheard {
    const fn of(self, receipt: Receipt) -> Owed {
        Owed { receipt, to: self, is_said: false }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.is_said {
            tracing::warn!(mail_id = %self.receipt.id(), listener = %self.to.listener, client = %self.to.client, "receipt.missed");
        }
    }
}

enum Wire<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
    /// Only while a handshake has the stream, or after it failed.
    Lost,
}

/// The wall clock at the start of the connection, moved on by a clock that never jumps: deadlines need that.
struct Time {
    began_at: Timestamp,
    began: Instant,
}

impl<S: Stream, A: Accept> Connection<S, A> {
    async fn open(stream: S, origin: Origin, terms: Arc<Terms<A>>, drain: CancellationToken, mut presence: Presence) -> io::Result<Self> {
        let time = Time { began_at: (terms.clock)(), began: Instant::now() };
        let tls = if terms.encryption == Encryption::None { None } else { terms.door.tls() };
        let known = by_network(&*terms.door, origin);
        let mut peer = Peer { address: origin.address, listener: Arc::clone(&terms.listener), known, tls: None };
        let settings = Arc::new(dialogue_settings(&terms, tls.is_some())?);
        let wire = match (terms.encryption, &tls) {
            (Encryption::Implicit, Some(config)) => {
                presence.tls = Tls::Failed;
                let stream = handshake(stream, config, terms.settings.handshake_timeout).await?;
                let (session, known) = introduced(&stream, &*terms.door, peer.known);
                presence.tls = version_of(&session);
                peer = Peer { known, tls: Some(session), ..peer };
                Wire::Tls(Box::new(stream))
            }
            _ => Wire::Plain(stream),
        };
        let dialogue = Dialogue::new(settings, peer, time.now()).within(Arc::clone(&terms.memory));
        let (exchange, unsent, draining, refusal_told, message_ended, coming) = (None, Vec::new(), false, false, None, None);
        Ok(Self { wire, origin, terms, tls, dialogue, exchange, unsent, drain, draining, refusal_told, owed: None, message_ended, coming, presence, time })
    }

    /// Read, feed, perform.
    async fn converse(mut self) -> io::Result<()> {
        let mut octets = vec![0; READ_OCTETS];
        loop {
            if self.perform().await? {
                return self.close().await;
            }
            self.send().await?;
            // Time runs out for a client that never pauses, too.
            if self.time.now() >= self.dialogue.deadline() {
                self.dialogue.handle(Input::Tick, self.time.now());
                continue;
            }
            tokio::select! {
                biased; // what is there to be read needs no timer
                () = self.drain.cancelled(), if !self.draining => self.begin_draining(),
                read = self.wire.read(&mut octets) => match read? {
                    0 => return self.close().await,
                    count => self.dialogue.handle(Input::Octets(&octets[..count]), self.time.now()),
                },
                () = sleep_until(self.time.instant(self.dialogue.deadline())) => self.dialogue.handle(Input::Tick, self.time.now()),
            }
        }
    }

    /// Does all that the dialogue wants; whether it wants the end.
    async fn perform(&mut self) -> io::Result<bool> {
        while let Some(action) = self.dialogue.next_action() {
            let answer = match action {
                Action::Send(reply) => {
                    self.say(&reply);
                    continue;
                }
                Action::Close => return Ok(true),
                Action::Begin { client, from, size } => Input::Begun(
                    self.terms
                        .accept
                        .begin(&client, &from, size)
                        .map(|allowance| Bounds { message_octets_max: allowance.size_octets_max, recipients_max: allowance.recipients_max }),
                ),
                Action::Judge { client, to, taken } => Input::Judged(self.terms.accept.recipient(&client, &to, taken).await),
                Action::StartTls => self.start_tls().await?,
                Action::Authenticate { mechanism, initial } => {
                    self.exchange = self.terms.door.authentication(&mechanism, self.origin.address);
                    self.authenticate(initial).await?
                }
                Action::Respond(response) => self.authenticate(Some(response)).await?,
                Action::Hand(submission) => self.hand(submission).await?,
            };
            self.dialogue.handle(answer, self.time.now());
        }
        Ok(false)
    }

    fn say(&mut self, reply: &Reply) {
        if reply.code() >= 400 {
            self.refuse(reply);
        }
        if reply.code() == 354 {
            self.coming = Some(self.terms.accept.expect());
        }
        reply.write_to(&mut self.unsent);
    }

    fn refuse(&mut self, reply: &Reply) {
        let is_of_message = std::mem::take(&mut self.refusal_told);
        let at = if is_of_message { RefusedAt::Message } else { RefusedAt::Command };
        self.presence.meters.refusals.of(at).of(reason_of(reply.code(), reply.enhanced())).one();
        if !is_of_message {
            let text = reply.to_string();
            tracing::info!(listener = %self.terms.listener, client = %self.origin.address, reply = text.trim_end(), "command.refused");
        }
    }

    /// What is still to be said goes out in clear text; what the client said behind STARTTLS in the same packet is dropped by the
    /// dialogue, and in a later one breaks the handshake.
    async fn start_tls(&mut self) -> io::Result<Input<'static>> {
        self.send().await?;
        let (Wire::Plain(stream), Some(config)) = (std::mem::replace(&mut self.wire, Wire::Lost), &self.tls) else {
            return Err(io::Error::other("STARTTLS was offered without a certificate or inside TLS"));
        };
        self.presence.tls = Tls::Failed;
        let stream = handshake(stream, config, self.terms.settings.handshake_timeout).await?;
        let (session, known) = introduced(&stream, &*self.terms.door, by_network(&*self.terms.door, self.origin));
        self.presence.tls = version_of(&session);
        self.wire = Wire::Tls(Box::new(stream));
        Ok(Input::TlsStarted(session, known))
    }

    async fn authenticate(&mut self, response: Option<Vec<u8>>) -> io::Result<Input<'static>> {
        self.send().await?;
        let Some(mut exchange) = self.exchange.take() else { return Ok(Input::Authenticated(Err(Refusal::ourselves()))) };
        let step = self.meanwhile(exchange.step(response.as_deref())).await;
        Ok(match step {
            Some(Step::Challenge(challenge)) => {
                self.exchange = Some(exchange);
                Input::Challenge(challenge)
            }
            Some(Step::Accepted(user)) => {
                self.presence.meters.authentications.of(Authenticated::Accepted).one();
                tracing::info!(listener = %self.terms.listener, client = %self.origin.address, identity = %user.identity, "client.authenticated");
                Input::Authenticated(Ok(user))
            }
            Some(Step::Refused(refusal)) => {
                self.presence.meters.authentications.of(Authenticated::Refused).one();
                Input::Authenticated(Err(refusal))
            }
            None => Input::Tick,
        })
    }

    /// The commit is a task of its own: neither a lost client nor a dropped connection stops it.
    async fn hand(&mut self, submission: Submission) -> io::Result<Input<'static>> {
        self.send().await?;
        let ended = Instant::now();
        let submission = Submission { received_at: (self.terms.clock)(), ..submission };
        let accept = Arc::clone(&self.terms.accept);
        let unheard = Unheard { listener: Arc::clone(&self.terms.listener), client: self.origin.address };
        let coming = self.coming.take().unwrap_or_else(|| accept.expect());
        let commit = tokio::spawn(async move { accept.accept(submission, coming).await.map(|receipt| unheard.of(receipt)) });
        Ok(match self.meanwhile(commit).await {
            Some(Ok(committed)) => {
                self.refusal_told = committed.is_err();
                self.message_ended = committed.is_ok().then_some(ended);
                let committed = committed.map(|owed| {
                    let receipt = owed.receipt.clone();
                    self.owed = Some(owed);
                    receipt
                });
                Input::Committed(committed)
            }
            Some(Err(error)) => {
                self.refusal_told = true;
                tracing::error!(listener = %self.terms.listener, client = %self.origin.address, %error, "submission.broke");
                Input::Committed(Err(Refusal::ourselves()))
            }
            None => Input::Tick,
        })
    }

    /// Waits for `work`; `None` when the server's going down ended the dialogue before.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = sleep_until(self.time.instant(self.dialogue.deadline())) => {
                    self.dialogue.handle(Input::Tick, self.time.now());
                    if self.dialogue.is_over() {
                        return None;
                    }
                }
                () = self.drain.cancelled(), if !self.draining => self.begin_draining(),
            }
        }
    }

    fn begin_draining(&mut self) {
        self.draining = true;
        let now = self.time.now();
        self.dialogue.handle(Input::Drain(now + self.terms.settings.drain_timeout), now);
    }

    async fn send(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let write = timeout(self.terms.settings.write_timeout, self.wire.write(&self.unsent));
        write.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client does not read its replies"))??;
        self.unsent.clear();
        if let Some(mut owed) = self.owed.take() {
            owed.is_said = true;
        }
        if let Some(ended) = self.message_ended.take() {
            self.presence.meters.submission.took(ended.elapsed());
        }
        Ok(())
    }

    /// Says the rest, closes our side (`close_notify` inside TLS), and waits a moment for the client to close its own.
    async fn close(mut self) -> io::Result<()> {
        self.send().await?;
        let linger = self.terms.settings.linger;
        let farewell = async {
            self.wire.shutdown().await?;
            let mut octets = vec![0; READ_OCTETS];
            for _ in 0..LINGER_READS_MAX {
                if self.wire.read(&mut octets).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // However it ends, all was said: a client that resets or stays is no fault any more.
        let _ = timeout(linger, farewell).await;
        Ok(())
    }
}

fn dialogue_settings<A>(terms: &Terms<A>, has_certificate: bool) -> io::Result<DialogueSettings> {
    let starttls = match (terms.encryption, has_certificate) {
        (Encryption::Implicit | Encryption::StartTlsRequired, false) => {
            return Err(io::Error::other(format!("listener \"{}\" has no certificate but must have TLS; give it one", terms.listener)));
        }
        (Encryption::Implicit | Encryption::None, _) | (Encryption::StartTls, false) => StartTls::Unavailable,
        (Encryption::StartTls, true) => StartTls::Offered,
        (Encryption::StartTlsRequired, true) => StartTls::Required,
    };
    Ok(DialogueSettings { starttls, sasl_mechanisms: terms.door.mechanisms(), ..terms.dialogue.clone() })
}

async fn handshake<S: Stream>(stream: S, config: &Arc<ServerConfig>, within: Duration) -> io::Result<TlsStream<S>> {
    let accepted = timeout(within, TlsAcceptor::from(Arc::clone(config)).accept(stream)).await;
    let accepted = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    accepted.map_err(|error| io::Error::new(error.kind(), format!("the TLS handshake failed: {error}")))
}

/// What its address tells of the client.
fn by_network(door: &dyn Door, origin: Origin) -> Option<(IdentityName, Proof)> {
    let identity = origin.identifies.then(|| door.by_network(origin.address)).flatten().or_else(|| door.anybody())?;
    Some((identity, Proof::Network))
}

/// What TLS tells of the client: its certificate goes before its address.
fn introduced<S>(stream: &TlsStream<S>, door: &dyn Door, by_network: Option<(IdentityName, Proof)>) -> (TlsSession, Option<(IdentityName, Proof)>) {
    let (_, connection) = stream.get_ref();
    let version = if connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) { "TLSv1.3" } else { "TLSv1.2" };
    let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    let session = TlsSession { version, cipher: suite.replacen("TLS13_", "TLS_", 1) };
    let by_certificate = connection.peer_certificates().and_then(|chain| door.by_certificate(chain));
    let known = by_certificate.map(|(identity, name)| (identity, Proof::Certificate { name })).or(by_network);
    (session, known)
}

impl Presence {
    fn begin<A>(terms: &Terms<A>) -> Self {
        let policy = match terms.encryption {
            Encryption::Implicit => ListenerTls::Implicit,
            Encryption::StartTls => ListenerTls::StartTls,
            Encryption::StartTlsRequired => ListenerTls::StartTlsRequired,
            Encryption::None => ListenerTls::None,
        };
        terms.meters.clients.up();
        Self { meters: Arc::clone(&terms.meters), policy, tls: Tls::None }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.meters.clients.down();
        self.meters.sessions.of(self.policy).of(self.tls).one();
    }
}

fn version_of(session: &TlsSession) -> Tls {
    if session.version == "TLSv1.3" { Tls::V13 } else { Tls::V12 }
}

impl<S: Stream> Wire<S> {
    /// Octets read; 0 at the end. A client that drops TLS without a word has ended as well: no message hangs on it.
    async fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(octets).await,
            Self::Tls(stream) => stream.read(octets).await.or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(0) } else { Err(error) }),
            Self::Lost => Ok(0),
        }
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Self::Tls(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Lost => Ok(()),
        }
    }
}

impl Time {
    fn now(&self) -> Timestamp {
        self.began_at + self.began.elapsed()
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.began + at.since(self.began_at).min(SLEEP_MAX)
    }
}

/// The greeting's place, for a client that is not to be served now.
#[must_use]
pub fn turned_away(text: &str) -> Reply {
    Refusal::submitter(421, EnhancedCode::new(4, 7, 0), text).into()
}

/// Octets taken from the socket at once.
const READ_OCTETS: usize = 16 * 1024;
/// Reads of what a client still sends after the last reply.
const LINGER_READS_MAX: usize = 64;
/// Further than any deadline that is one (a year).
const SLEEP_MAX: Duration = Duration::from_hours(365 * 24);
