//! The shell around one session with a next hop: it connects, shakes hands, writes what [`smtp::client`](crate::smtp::client) says and
//! reads the replies, each stage within its time. What replies mean is decided there; who to connect to and when, by the caller.
//!
//! The connection and the TLS session are [`Network`]'s, AUTH is mail-send's. Greeting, EHLO and the transaction are ours: its reader
//! throws away what follows a reply in the same read, so it is only ever given one line at a time (see `wire::LineByLine`).
//!
//! [`Network`]: super::network::Network

mod wire;

use super::network::{Line, Outlet, Tcp};
use super::target::{Credentials, Login, OpenFault, Target, Timeouts};
use super::tls::{ClientTls, TlsDemand};
use crate::clock::{self, Clock};
use crate::mail::{RemoteReply, Timestamp, TlsSession};
use crate::smtp::client::{Capabilities, ConnectionEnd, Dialogue, Next, Opening, OpeningFault, Peer, Stage, Step, Transaction, TransactionEnd};
use mail_send::SmtpClient;
use secrecy::ExposeSecret;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use wire::{LineByLine, Wire, WireFault};

/// An open session: greeted, under the TLS that was demanded, authenticated where that was asked.
pub struct Connection {
    wire: Wire,
    peer: Peer,
    capabilities: Capabilities,
    timeouts: Timeouts,
    prefer_bdat: bool,
    transactions: u32,
    took: Took,
    clock: Clock,
    /// False while a transaction runs: one that is dropped leaves the session in the middle of it.
    at_rest: bool,
}

/// How long the steps towards a session took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Took {
    /// TCP.
    pub connect: Duration,
    /// The TLS handshake, where there was one.
    pub tls: Option<Duration>,
    /// Greeting, EHLO and AUTH.
    pub greet: Duration,
}

impl Connection {
    /// Makes a session over the system's network, under its clock.
    ///
    /// # Errors
    /// As [`Self::open_over`].
    ///
    /// # Cancel safety
    /// As [`Self::open_over`].
    pub async fn open(target: &Target, tls: &ClientTls, timeouts: &Timeouts) -> Result<Self, OpenFault> {
        Self::open_over(&Outlet { network: &Tcp, tls, clock: &clock::system() }, target, timeouts).await
    }

    /// Makes a session.
    ///
    /// # Errors
    /// Why there is none; [`OpenFault`] says whether clear text may help.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind but a closed connection.
    pub async fn open_over(outlet: &Outlet<'_>, target: &Target, timeouts: &Timeouts) -> Result<Self, OpenFault> {
        let mut took = Took::default();
        let began = Instant::now();
        let line = connect(outlet, target, timeouts.connect).await?;
        took.connect = began.elapsed();
        let (mut wire, mut session) = if target.implicit_tls {
            let (line, session) = handshake(outlet, line, target, timeouts.starttls, &mut took).await?;
            (Wire::new(line), Some(session))
        } else {
            (Wire::new(line), None)
        };
        let (wanted, demanded) = if target.implicit_tls { (false, false) } else { (target.tls != TlsDemand::None, target.tls > TlsDemand::Opportunistic) };
        let opening = Opening::new(&target.ehlo_name, wanted, demanded);
        let mut opening = if target.lmtp { opening.lmtp() } else { opening };
        let mut step = opening.begin();
        let capabilities = loop {
            step = match step {
                Step::Ask(octets, stage) => opening.reply(ask(&mut wire, &octets, stage, timeouts).await?),
                Step::StartTls => {
                    let line = wire.into_line().ok_or_else(|| OpenFault::Protocol(SPOKE_BEFORE_TLS.to_owned()))?;
                    let (line, agreed) = handshake(outlet, line, target, timeouts.starttls, &mut took).await?;
                    (wire, session) = (Wire::new(line), Some(agreed));
                    opening.tls_started()
                }
                Step::Ready(capabilities) => break capabilities,
                Step::Fault(fault) => {
                    bid_farewell(&mut wire, &fault, timeouts.quit).await;
                    return Err(fault.into());
                }
            };
        };
        if let Some(credentials) = &target.auth {
            authenticate(&mut wire, credentials, &capabilities, session.is_some(), timeouts.auth).await?;
        }
        took.greet = began.elapsed().saturating_sub(took.connect + took.tls.unwrap_or_default());
        let peer = Peer { remote: target.remote(), tls: session };
        let clock = outlet.clock.clone();
        Ok(Self { wire, peer, capabilities, timeouts: timeouts.clone(), prefer_bdat: target.bdat, transactions: 0, took, clock, at_rest: true })
    }

    /// What the next hop offers.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The TLS session, if there is one.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsSession> {
        self.peer.tls.as_ref()
    }

    /// How long it took to open.
    #[must_use]
    pub const fn took(&self) -> Took {
        self.took
    }

    /// The next hop as evidence names it.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Transactions that were begun on it.
    #[must_use]
    pub const fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Sends one message to its recipients. `before_end` is awaited when all but the last octets are on their way; if it gives `false`
    /// (the lease would not last) the connection is closed there and nothing is delivered.
    ///
    /// # Cancel safety
    /// Not safe: dropped, the mail may have been delivered, and the connection is not [open](Self::is_open) any more.
    pub async fn transact(&mut self, transaction: &Transaction<'_>, before_end: impl Future<Output = bool>) -> TransactionEnd {
        let dialogue = Dialogue::new(transaction, &self.capabilities, self.prefer_bdat, self.peer.clone(), self.now());
        self.converse(dialogue, before_end).await
    }

    /// As [`Self::transact`], for all recipients or none: see [`Dialogue::whole`].
    ///
    /// # Cancel safety
    /// As [`Self::transact`].
    pub async fn transact_whole(&mut self, transaction: &Transaction<'_>, before_end: impl Future<Output = bool>) -> TransactionEnd {
        let dialogue = Dialogue::new(transaction, &self.capabilities, self.prefer_bdat, self.peer.clone(), self.now());
        self.converse(dialogue.whole(), before_end).await
    }

    async fn converse(&mut self, mut dialogue: Dialogue<'_>, before_end: impl Future<Output = bool>) -> TransactionEnd {
        let used_before = self.transactions > 0;
        let mut before_end = Some(before_end);
        let (mut begun, mut was_closed) = (false, false);
        loop {
            match dialogue.proceed() {
                Next::Write(_) if !begun && used_before && !self.is_open() => {
                    was_closed = true;
                    dialogue.lost("the server had closed the idle connection", self.now());
                }
                Next::Write(stage) => {
                    if !begun {
                        (begun, self.at_rest) = (true, false);
                        self.transactions += 1;
                    }
                    match self.wire.send(dialogue.octets(), self.timeouts.of(stage)).await {
                        Ok(()) => dialogue.written(),
                        Err(fault) => self.explain(&mut dialogue, fault, stage).await,
                    }
                }
                Next::Read(stage) => match self.wire.reply(self.timeouts.of(stage)).await {
                    Ok(reply) => dialogue.reply(reply, self.now()),
                    Err(fault) => {
                        was_closed = used_before && dialogue.is_unanswered() && matches!(fault, WireFault::Closed(_));
                        tell(&mut dialogue, fault, stage, self.now());
                    }
                },
                Next::AskToEnd => {
                    let leave = match before_end.take() {
                        Some(leave) => leave.await,
                        None => false,
                    };
                    dialogue.may_end(leave, self.now());
                }
                Next::Over => break,
            }
        }
        self.at_rest = true;
        let mut end = dialogue.end(self.now());
        end.stale = was_closed;
        if end.connection == ConnectionEnd::Reusable {
            end.connection = self.state();
        }
        self.at_rest = end.connection == ConnectionEnd::Reusable || end.connection == ConnectionEnd::Full;
        end
    }

    /// The next hop has neither closed the connection nor said anything (some close in silence, some say 421 to nobody). Nothing is
    /// sent and nothing waited for.
    pub fn is_open(&mut self) -> bool {
        self.at_rest && self.wire.is_quiet()
    }

    /// Whether the next hop answers NOOP: keeps a connection in use, and finds out about it.
    pub async fn noop(&mut self) -> bool {
        self.ask_ok(b"NOOP\r\n").await
    }

    /// Whether the next hop takes RSET: makes sure that no transaction is left.
    pub async fn rset(&mut self) -> bool {
        self.ask_ok(b"RSET\r\n").await
    }

    /// Ends the session as it should be ended (RFC 5321 §4.1.1.10), waiting only the time of QUIT.
    pub async fn quit(mut self) {
        if self.is_open() {
            let _ = ask(&mut self.wire, b"QUIT\r\n", Stage::Quit, &self.timeouts).await;
        }
        self.wire.shut(self.timeouts.quit).await;
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    async fn ask_ok(&mut self, command: &[u8]) -> bool {
        if !self.is_open() {
            return false;
        }
        self.at_rest = false;
        let reply = ask(&mut self.wire, command, Stage::Mail, &self.timeouts).await;
        self.at_rest = reply.is_ok_and(|reply| matches!(reply.code, 200..=299));
        self.at_rest
    }

    /// Whether another transaction may follow a finished one.
    fn state(&mut self) -> ConnectionEnd {
        if !self.is_open() {
            return ConnectionEnd::Closed("the server spoke out of turn or closed the connection".to_owned());
        }
        match self.capabilities.limits.mail_max {
            Some(max) if self.transactions >= max.get() => ConnectionEnd::Full,
            _ => ConnectionEnd::Reusable,
        }
    }

    /// A write failed or was not taken; perhaps the next hop has said why.
    async fn explain(&mut self, dialogue: &mut Dialogue<'_>, fault: WireFault, stage: Stage) {
        while dialogue.proceed() != Next::Over
            && let Ok(reply) = self.wire.reply(LAST_WORDS).await
        {
            dialogue.reply(reply, self.now());
        }
        tell(dialogue, fault, stage, self.now());
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("transactions", &self.transactions).field("at_rest", &self.at_rest).finish_non_exhaustive()
    }
}

async fn connect(outlet: &Outlet<'_>, target: &Target, within: Duration) -> Result<Line, OpenFault> {
    let connecting = outlet.network.connect(target.address, target.source);
    timeout(within, connecting).await.map_err(|_| OpenFault::Timeout(Stage::Connect))?.map_err(OpenFault::Connect)
}

async fn handshake(outlet: &Outlet<'_>, line: Line, target: &Target, within: Duration, took: &mut Took) -> Result<(Line, TlsSession), OpenFault> {
    let began = Instant::now();
    // An address is no name: it is not sent as SNI (RFC 6066 §3).
    let name = target.host.trim_end_matches('.');
    let address = target.address.ip().to_string();
    let is_name = rustls_pki_types::ServerName::try_from(name).is_ok();
    let name = if is_name || target.tls == TlsDemand::Verified { name } else { &address };
    let securing = outlet.network.secure(line, name, target.tls, outlet.tls);
    let secured = timeout(within, securing).await.map_err(|_| OpenFault::Timeout(Stage::StartTls))?.map_err(OpenFault::Handshake)?;
    took.tls = Some(began.elapsed());
    Ok(secured)
}

/// One command and its reply. What is read before the command was sent answers nothing that we asked.
async fn ask(wire: &mut Wire, command: &[u8], stage: Stage, timeouts: &Timeouts) -> Result<RemoteReply, OpenFault> {
    if !command.is_empty() {
        if !wire.is_answered() {
            return Err(OpenFault::Protocol(format!("the server spoke out of turn, before {stage}")));
        }
        wire.send(command, timeouts.of(stage)).await.map_err(|fault| open_fault(fault, stage))?;
    }
    wire.reply(timeouts.of(stage)).await.map_err(|fault| open_fault(fault, stage))
}

async fn authenticate(wire: &mut Wire, credentials: &Credentials, offered: &Capabilities, under_tls: bool, within: Duration) -> Result<(), OpenFault> {
    if !under_tls && !credentials.in_clear {
        return Err(OpenFault::AuthInClear);
    }
    if !wire.is_answered() {
        return Err(OpenFault::Protocol("the server spoke out of turn, before AUTH".to_owned()));
    }
    let login = match &credentials.login {
        Login::Password { user, password } => mail_send::Credentials::Plain { username: user.clone(), secret: password.expose_secret().to_owned() },
        Login::XOauth2 { user, token } => mail_send::Credentials::XOauth2 { username: user.clone(), secret: token.expose_secret().to_owned() },
        // With the GS2 header that RFC 7628 §3.1 wants and mail-send's own constructor leaves out.
        Login::OauthBearer { token } => mail_send::Credentials::OAuthBearer { token: format!("n,,\x01auth=Bearer {}\x01\x01", token.expose_secret()) },
    };
    let known = [("PLAIN", smtp_proto::AUTH_PLAIN), ("LOGIN", smtp_proto::AUTH_LOGIN)];
    let known = known.into_iter().chain([("XOAUTH2", smtp_proto::AUTH_XOAUTH2), ("OAUTHBEARER", smtp_proto::AUTH_OAUTHBEARER)]);
    let both = known.filter(|(name, _)| offered.auth.iter().any(|offered| offered == name));
    let mechanisms = smtp_proto::EhloResponse::<String> { auth_mechanisms: both.fold(0, |all, (_, bit)| all | bit), ..Default::default() };
    let mut client = SmtpClient { stream: LineByLine(wire), timeout: within };
    match client.authenticate(&login, &mechanisms).await {
        Ok(_) => Ok(()),
        Err(fault) => Err(match fault {
            mail_send::Error::AuthenticationFailed(reply) | mail_send::Error::UnexpectedReply(reply) => OpenFault::AuthRefused(wire::reply_of(&reply)),
            mail_send::Error::UnsupportedAuthMechanism => OpenFault::AuthMissing(offered.auth.join(" ")),
            mail_send::Error::Timeout => OpenFault::Timeout(Stage::Auth),
            mail_send::Error::Io(fault) => OpenFault::Closed(Stage::Auth, fault.to_string()),
            other => OpenFault::Protocol(format!("AUTH failed: {other}")),
        }),
    }
}

/// A refused session is quit, as the standard asks (RFC 5321 §3.1); not for longer than a QUIT may take, and not after a 421.
async fn bid_farewell(wire: &mut Wire, fault: &OpeningFault, within: Duration) {
    let closing = matches!(fault, OpeningFault::Greeting(reply) | OpeningFault::Ehlo(reply) | OpeningFault::StartTlsRefused(reply) if reply.code == 421);
    if !closing && wire.send(b"QUIT\r\n", within).await.is_ok() {
        let _ = wire.reply(LAST_WORDS.min(within)).await;
    }
}

fn tell(dialogue: &mut Dialogue<'_>, fault: WireFault, stage: Stage, at: Timestamp) {
    match fault {
        WireFault::Timeout => dialogue.lost(&format!("no answer in time: {stage}"), at),
        WireFault::Closed(why) => dialogue.lost(&format!("the connection broke during {stage}: {why}"), at),
        WireFault::Reply(fault) => dialogue.confused(&fault.to_string(), at),
    }
}

fn open_fault(fault: WireFault, stage: Stage) -> OpenFault {
    match fault {
        WireFault::Timeout => OpenFault::Timeout(stage),
        WireFault::Closed(why) => OpenFault::Closed(stage, why),
        WireFault::Reply(fault) => OpenFault::Protocol(fault.to_string()),
    }
}

impl From<OpeningFault> for OpenFault {
    fn from(fault: OpeningFault) -> Self {
        match fault {
            OpeningFault::Greeting(reply) => Self::Greeting(reply),
            OpeningFault::Ehlo(reply) => Self::Ehlo(reply),
            OpeningFault::StartTlsMissing => Self::StartTlsMissing,
            OpeningFault::StartTlsRefused(reply) => Self::StartTlsRefused(reply),
        }
    }
}

const SPOKE_BEFORE_TLS: &str = "the server sent more in clear after its answer to STARTTLS (response injection, CVE-2011-0411)";
/// How long a server that closes is listened to for its reason.
const LAST_WORDS: Duration = Duration::from_secs(1);
