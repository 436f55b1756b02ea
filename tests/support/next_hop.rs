//! A receiving server that does as it is told: listens on loopback, follows a [`Script`], keeps a ledger of everything it received.
//!
//! ```ignore
//! let hop = NextHop::start(Script::offering(["PIPELINING"]).when(At::rcpt("b@x.example"), [Say("550 5.1.1 no such user")]));
//! // … deliver to hop.address() …
//! assert_eq!(hop.messages()[0].octets, expected);
//! ```
//! Without a rule it is a friendly server: every command is taken, every message accepted. It is strict about CR LF and about order.

#![allow(dead_code, reason = "each test binary uses its part")]

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A running server; it ends, with all its sessions, when dropped.
pub struct NextHop {
    address: SocketAddr,
    certificate: String,
    lmtp: bool,
    ledger: Ledger,
    accepting: AbortHandle,
}

/// What a server does. Everything not scripted is friendly.
#[derive(Clone)]
pub struct Script {
    /// The lines of its EHLO reply after the name; `STARTTLS` and `AUTH` are added by what follows.
    pub capabilities: Vec<String>,
    /// Its TLS.
    pub tls: Tls,
    /// The name in its certificate.
    pub certificate_name: String,
    /// Offers AUTH PLAIN LOGIN and takes this user and password only.
    pub user: Option<(String, String)>,
    /// Sessions at one time; one more is greeted with 421 and closed.
    pub sessions_max: usize,
    /// It is a delivery agent: LHLO, and an answer to a message for each recipient (RFC 2033).
    pub lmtp: bool,
    /// Octets of its receive buffer, where the default is too comfortable.
    pub receive_buffer: Option<u32>,
    rules: Vec<Rule>,
}

/// How a server does TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::enum_variant_names, reason = "STARTTLS is the word")]
pub enum Tls {
    /// Not at all.
    Off,
    /// STARTTLS.
    StartTls,
    /// STARTTLS, TLS 1.2 only.
    StartTls12,
    /// STARTTLS offered and agreed to, then no handshake: it sends something else and closes.
    Broken,
    /// STARTTLS offered and agreed to, then silence.
    Silent,
    /// From the first octet.
    Implicit,
}

/// A moment in a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Mail,
    /// RCPT, of this address or of any.
    Rcpt(Option<String>),
    Data,
    /// So many octets of a message have come on the wire, its end not yet.
    Body(usize),
    /// A BDAT chunk that is not the last.
    Chunk,
    /// The final dot or BDAT LAST.
    Message,
    /// The same for one recipient, by LMTP.
    MessageFor(String),
    /// A message was answered and nothing else has come: what a server does of itself.
    Idle,
    Rset,
    Noop,
    Quit,
}

/// What a server does at a moment, in order.
#[derive(Clone, Debug)]
pub enum Act {
    /// One or several lines, CR LF added: `"250-a\r\n250 b"`.
    Say(&'static str),
    /// Octets as they are.
    Raw(Vec<u8>),
    Wait(Duration),
    Close,
    /// Closes at once, which is a reset if anything is unread.
    Reset,
}
pub use Act::{Close, Raw, Reset, Say, Wait};

/// Acts at a moment, perhaps only in a certain session, transaction or number of times. The first rule that fits is taken.
#[derive(Clone, Debug)]
pub struct Rule {
    at: At,
    session: Option<usize>,
    transaction: Option<usize>,
    times: usize,
    acts: Vec<Act>,
    used: Arc<Mutex<usize>>,
}

/// What was received, session by session.
type Ledger = Arc<Mutex<Vec<Session>>>;

/// One connection.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Where it came from.
    pub client: Option<SocketAddr>,
    /// `TLSv1_3` or `TLSv1_2`.
    pub tls: Option<String>,
    /// The name the client asked for.
    pub sni: Option<String>,
    /// The TLS session was resumed.
    pub resumed: bool,
    /// User and password given by AUTH.
    pub auth: Option<(String, String)>,
    /// Each command, without its line end.
    pub commands: Vec<Command>,
    /// Each transaction from its MAIL on.
    pub transactions: Vec<Received>,
    /// It is over, whoever ended it.
    pub ended: bool,
    /// What a client must never do: a bare CR or LF, octets in clear after STARTTLS. Found when the server is dropped.
    pub faults: Vec<String>,
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub line: String,
    /// It had come before the command in front of it was answered.
    pub pipelined: bool,
}

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The MAIL line.
    pub mail: String,
    /// The RCPT lines that were accepted.
    pub rcpts: Vec<String>,
    /// The message, dots restored.
    pub octets: Vec<u8>,
    /// By BDAT.
    pub bdat: bool,
    /// Its end came.
    pub complete: bool,
    /// It was answered with 2xx, or would have been had the connection not been closed.
    pub taken: bool,
}

impl NextHop {
    /// Starts on a free port of 127.0.0.1. To be called inside a runtime.
    pub fn start(script: Script) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// Starts on this address.
    pub fn start_at(address: SocketAddr, mut script: Script) -> Self {
        // A script may be started again; its rules have not been used then.
        script.rules.iter_mut().for_each(|rule| rule.used = Arc::default());
        let key = rcgen::generate_simple_self_signed([script.certificate_name.clone()]).unwrap();
        let certificate = key.cert.pem();
        let acceptor = acceptor(&key, script.tls);
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.set_reuseaddr(true).unwrap();
        if let Some(octets) = script.receive_buffer {
            socket.set_recv_buffer_size(octets).unwrap();
            socket.set_send_buffer_size(octets).unwrap();
        }
        socket.bind(address).unwrap();
        let listener = socket.listen(256).unwrap();
        let address = listener.local_addr().unwrap();
        let ledger = Ledger::default();
        let lmtp = script.lmtp;
        let accepting = tokio::spawn(accept(listener, Arc::new(script), acceptor, ledger.clone())).abort_handle();
        Self { address, certificate, lmtp, ledger, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// It is a delivery agent.
    pub fn speaks_lmtp(&self) -> bool {
        self.lmtp
    }

    /// Its certificate in PEM: signed by itself, so its own authority.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// All sessions so far, in the order they came.
    pub fn sessions(&self) -> Vec<Session> {
        self.ledger.lock().unwrap().clone()
    }

    /// All transactions so far whose end came, in the order of their sessions.
    pub fn messages(&self) -> Vec<Received> {
        self.sessions().into_iter().flat_map(|session| session.transactions).filter(|received| received.complete).collect()
    }

    /// Hands out every transaction taken since the last call, with its session, and forgets it: for a server that runs for long.
    pub fn drain(&self) -> Vec<(Session, Received)> {
        let mut drained = Vec::new();
        for session in self.ledger.lock().unwrap().iter_mut() {
            let (taken, open): (Vec<_>, Vec<_>) = std::mem::take(&mut session.transactions).into_iter().partition(|received| received.taken);
            session.transactions = open;
            drained.extend(taken.into_iter().map(|received| (session.clone(), received)));
        }
        drained
    }

    /// Waits until the ledger shows something; fails after a minute.
    pub async fn until(&self, shows: impl Fn(&[Session]) -> bool) {
        for _ in 0..6000 {
            if shows(&self.ledger.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the ledger never showed it: {:#?}", self.sessions());
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        self.accepting.abort();
        let faults: Vec<String> = self.sessions().into_iter().flat_map(|session| session.faults).collect();
        assert!(std::thread::panicking() || faults.is_empty(), "{faults:?}");
    }
}

impl Script {
    /// A friendly server with these EHLO lines, without TLS.
    pub fn offering<const N: usize>(capabilities: [&str; N]) -> Self {
        Self {
            capabilities: capabilities.map(str::to_owned).to_vec(),
            tls: Tls::Off,
            certificate_name: "next-hop.test".to_owned(),
            user: None,
            sessions_max: usize::MAX,
            lmtp: false,
            receive_buffer: None,
            rules: Vec::new(),
        }
    }

    /// The same as a delivery agent.
    pub fn lmtp(self) -> Self {
        Self { lmtp: true, ..self }
    }

    /// What large receivers offer, with STARTTLS.
    pub fn modern() -> Self {
        let lines = ["SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8"];
        Self { tls: Tls::StartTls, ..Self::offering(lines) }
    }

    pub fn tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    pub fn named(self, certificate_name: &str) -> Self {
        Self { certificate_name: certificate_name.to_owned(), ..self }
    }

    pub fn user(self, user: &str, password: &str) -> Self {
        Self { user: Some((user.to_owned(), password.to_owned())), ..self }
    }

    pub fn sessions_max(self, sessions_max: usize) -> Self {
        Self { sessions_max, ..self }
    }

    pub fn receive_buffer(self, octets: u32) -> Self {
        Self { receive_buffer: Some(octets), ..self }
    }

    /// At this moment, always these acts.
    pub fn when<const N: usize>(self, at: At, acts: [Act; N]) -> Self {
        self.rule(Rule::at(at).then(acts))
    }

    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }
}

impl At {
    /// RCPT of this address.
    pub fn rcpt(address: &str) -> Self {
        Self::Rcpt(Some(address.to_owned()))
    }

    fn covers(&self, now: &Self) -> bool {
        match (self, now) {
            (Self::Rcpt(None), Self::Rcpt(_)) => true,
            (Self::Body(from), Self::Body(octets)) => octets >= from,
            _ => self == now,
        }
    }
}

impl Rule {
    pub fn at(at: At) -> Self {
        Self { at, session: None, transaction: None, times: usize::MAX, acts: Vec::new(), used: Arc::default() }
    }

    /// Only in this session, counted from 0.
    pub fn in_session(self, session: usize) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Only in this transaction of a session, counted from 0.
    pub fn in_transaction(self, transaction: usize) -> Self {
        Self { transaction: Some(transaction), ..self }
    }

    /// Only so many times.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    pub fn then<const N: usize>(self, acts: [Act; N]) -> Self {
        Self { acts: acts.into(), ..self }
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, acceptor: TlsAcceptor, ledger: Ledger) {
    let mut running = JoinSet::new();
    loop {
        let (stream, client) = listener.accept().await.unwrap();
        while running.try_join_next().is_some() {}
        let number = {
            let mut sessions = ledger.lock().unwrap();
            sessions.push(Session { client: Some(client), ..Session::default() });
            sessions.len() - 1
        };
        let refused = running.len() >= script.sessions_max;
        let (script, acceptor, ledger) = (script.clone(), acceptor.clone(), ledger.clone());
        running.spawn(async move {
            let mut seat = Seat::new(stream, script, acceptor, ledger, number);
            if refused {
                seat.write(b"421 4.7.0 too many sessions\r\n").await;
            } else {
                seat.serve().await;
            }
            seat.note(|session| session.ended = true);
        });
    }
}

fn acceptor(key: &rcgen::CertifiedKey<rcgen::KeyPair>, tls: Tls) -> TlsAcceptor {
    let versions = if tls == Tls::StartTls12 { &[&rustls::version::TLS12][..] } else { rustls::ALL_VERSIONS };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap().with_no_client_auth();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    Arc::new(config.with_single_cert(vec![key.cert.der().clone()], private).unwrap()).into()
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// One session. Its methods give `None` when the connection is over.
struct Seat {
    stream: Option<Box<dyn Duplex>>,
    buffer: Vec<u8>,
    script: Arc<Script>,
    acceptor: TlsAcceptor,
    ledger: Ledger,
    number: usize,
    /// MAIL lines taken so far.
    transactions: usize,
    in_transaction: bool,
    /// What has come when a reply is sent was pipelined.
    waiting: bool,
}

impl Seat {
    fn new(stream: TcpStream, script: Arc<Script>, acceptor: TlsAcceptor, ledger: Ledger, number: usize) -> Self {
        stream.set_nodelay(true).unwrap();
        let stream: Option<Box<dyn Duplex>> = Some(Box::new(stream));
        Self { stream, buffer: Vec::new(), script, acceptor, ledger, number, transactions: 0, in_transaction: false, waiting: false }
    }

    async fn serve(&mut self) -> Option<()> {
        if self.script.tls == Tls::Implicit {
            self.handshake().await?;
        }
        self.perform(At::Greeting, "220 next-hop.test ESMTP").await?;
        loop {
            let line = self.command().await?;
            let verb = line.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "LHLO" if self.script.lmtp => self.ehlo().await?,
                "EHLO" if !self.script.lmtp => self.ehlo().await?,
                "HELO" if !self.script.lmtp => self.perform(At::Helo, "250 next-hop.test").await?,
                "STARTTLS" => {
                    if self.perform(At::StartTls, "220 2.0.0 go ahead").await? == 220 {
                        self.handshake().await?;
                    }
                    0
                }
                "AUTH" => self.auth(&line).await?,
                "MAIL" => self.mail(line).await?,
                "RCPT" => self.rcpt(line).await?,
                "DATA" => self.data().await?,
                "BDAT" => self.bdat(&line).await?,
                "RSET" => {
                    self.in_transaction = false;
                    self.perform(At::Rset, "250 2.0.0 forgotten").await?
                }
                "NOOP" => self.perform(At::Noop, "250 2.0.0 still here").await?,
                "QUIT" => {
                    self.perform(At::Quit, "221 2.0.0 bye").await?;
                    return None;
                }
                _ => self.say("500 5.5.2 what?").await?,
            };
        }
    }

    async fn ehlo(&mut self) -> Option<u16> {
        let mut lines = vec!["next-hop.test".to_owned()];
        lines.extend(self.script.capabilities.iter().cloned());
        let tls_started = self.note(|session| session.tls.is_some());
        if !matches!(self.script.tls, Tls::Off | Tls::Implicit) && !tls_started {
            lines.push("STARTTLS".to_owned());
        }
        if self.script.user.is_some() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.pop().unwrap();
        let reply = lines.into_iter().fold(String::new(), |reply, line| reply + "250-" + &line + "\r\n") + "250 " + &last;
        self.perform(At::Ehlo, &reply).await
    }

    async fn auth(&mut self, line: &str) -> Option<u16> {
        let mut words = line.split(' ').skip(1);
        let given = match (words.next().map(str::to_ascii_uppercase).as_deref(), words.next()) {
            (Some("PLAIN"), Some(initial)) => initial.to_owned(),
            (Some("PLAIN"), None) => self.challenge("").await?,
            (Some("LOGIN"), _) => {
                let user = decoded(&self.challenge("Username:").await?);
                let password = decoded(&self.challenge("Password:").await?);
                BASE64_STANDARD.encode(format!("\0{user}\0{password}"))
            }
            _ => return self.perform(At::Auth, "504 5.5.4 not known").await,
        };
        let text = decoded(&given);
        let given = text.split_once('\0').and_then(|(_, rest)| rest.split_once('\0')).map(|(user, password)| (user.to_owned(), password.to_owned()));
        let right = given.is_some() && given == self.script.user;
        self.note(|session| session.auth = given);
        self.perform(At::Auth, if right { "235 2.7.0 welcome" } else { "535 5.7.8 wrong" }).await
    }

    async fn challenge(&mut self, text: &str) -> Option<String> {
        self.write(format!("334 {}\r\n", BASE64_STANDARD.encode(text)).as_bytes()).await?;
        self.line().await
    }

    async fn mail(&mut self, line: String) -> Option<u16> {
        if self.in_transaction {
            return self.say("503 5.5.1 nested MAIL").await;
        }
        self.note(|session| session.transactions.push(Received { mail: line, ..Received::default() }));
        self.transactions += 1;
        let code = self.perform(At::Mail, "250 2.1.0 ok").await?;
        // One that says nothing yet has not refused: its answer comes with a later one.
        self.in_transaction = matches!(code, 0 | 200..=299);
        Some(code)
    }

    async fn rcpt(&mut self, line: String) -> Option<u16> {
        if !self.in_transaction {
            return self.say("503 5.5.1 MAIL first").await;
        }
        let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let code = self.perform(At::Rcpt(Some(address)), "250 2.1.5 ok").await?;
        if code / 100 == 2 {
            self.received(|received| received.rcpts.push(line));
        }
        Some(code)
    }

    async fn data(&mut self) -> Option<u16> {
        let scripted = self.script.rules.iter().any(|rule| rule.at == At::Data);
        if !scripted && (!self.in_transaction || self.received(|received| received.rcpts.is_empty())) {
            return self.say("554 5.5.1 no valid recipients").await;
        }
        let code = self.perform(At::Data, "354 go ahead").await?;
        if code != 354 {
            return Some(code);
        }
        let octets = self.until_dot().await?;
        self.received(|received| (received.octets, received.complete) = (octets, true));
        self.finish().await
    }

    async fn bdat(&mut self, line: &str) -> Option<u16> {
        let mut words = line.split(' ').skip(1);
        let octets: usize = words.next().and_then(|octets| octets.parse().ok()).unwrap();
        let last = words.next() == Some("LAST");
        while self.buffer.len() < octets {
            self.fill().await?;
            let had = self.received(|received| received.octets.len());
            self.perform_if_scripted(At::Body(had + self.buffer.len())).await?;
        }
        let chunk: Vec<u8> = self.buffer.drain(..octets).collect();
        if !self.in_transaction || self.received(|received| received.rcpts.is_empty()) {
            return self.say("503 5.5.1 no valid recipients").await;
        }
        self.received(|received| {
            received.octets.extend(chunk);
            (received.bdat, received.complete) = (true, last);
        });
        if last { self.finish().await } else { self.perform(At::Chunk, "250 2.0.0 more").await }
    }

    async fn finish(&mut self) -> Option<u16> {
        self.in_transaction = false;
        if self.script.lmtp {
            let rcpts = self.received(|received| received.rcpts.clone());
            for rcpt in rcpts {
                let address = rcpt.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                let code = self.perform(At::MessageFor(address), "250 2.0.0 taken").await?;
                self.received(|received| received.taken |= code / 100 == 2);
            }
            return Some(250);
        }
        let refusal = |acts: &[Act]| acts.iter().any(|act| matches!(act, Say(text) if !text.starts_with('2')));
        let refused = self.rule_for(&At::Message, false).is_some_and(|acts| refusal(&acts));
        self.received(|received| received.taken = !refused);
        let code = self.perform(At::Message, "250 2.0.0 taken").await?;
        self.perform_if_scripted(At::Idle).await?;
        Some(code)
    }

    /// Octets of DATA up to the final dot, dots restored.
    async fn until_dot(&mut self) -> Option<Vec<u8>> {
        let mut octets = Vec::new();
        let mut seen = 0;
        loop {
            let mut used = 0;
            while let Some(end) = memchr::memmem::find(&self.buffer[used..], b"\r\n") {
                let line = &self.buffer[used..used + end + 2];
                self.look_for_bare(&line[..end]);
                used += line.len();
                if line == b".\r\n" {
                    self.buffer.drain(..used);
                    return Some(octets);
                }
                octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            self.buffer.drain(..used);
            seen += used;
            let goes_on = self.perform_if_scripted(At::Body(seen + self.buffer.len())).await.is_some();
            if !goes_on || self.fill().await.is_none() {
                self.received(|received| received.octets = octets);
                return None;
            }
        }
    }

    fn look_for_bare(&self, line: &[u8]) {
        if line.iter().any(|&b| b == b'\r' || b == b'\n') {
            self.note(|session| session.faults.push(format!("a bare CR or LF came: {:?}", String::from_utf8_lossy(line))));
        }
    }

    async fn handshake(&mut self) -> Option<()> {
        match self.script.tls {
            Tls::Broken => {
                self.fill().await?;
                self.write(b"this is no TLS\r\n").await?;
                return None;
            }
            Tls::Silent => loop {
                self.fill().await?;
            },
            Tls::Off | Tls::StartTls | Tls::StartTls12 | Tls::Implicit => {}
        }
        if !self.buffer.is_empty() && self.script.tls != Tls::Implicit {
            self.note(|session| session.faults.push("octets came in clear after STARTTLS".to_owned()));
            return None;
        }
        let tls = self.acceptor.accept(self.stream.take()?).await.ok()?;
        let agreed = tls.get_ref().1;
        let version = agreed.protocol_version().map(|version| format!("{version:?}"));
        let sni = agreed.server_name().map(str::to_owned);
        let resumed = agreed.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        self.note(|session| (session.tls, session.sni, session.resumed) = (version, sni, resumed));
        self.stream = Some(Box::new(tls));
        Some(())
    }

    /// Does what the script says of this moment, or the friendly thing; gives the code of the last reply.
    async fn perform(&mut self, at: At, friendly: &str) -> Option<u16> {
        self.waiting = !self.buffer.is_empty();
        match self.rule_for(&at, true) {
            Some(acts) => self.act(acts).await,
            None => self.say(friendly).await,
        }
    }

    async fn perform_if_scripted(&mut self, at: At) -> Option<u16> {
        match self.rule_for(&at, true) {
            Some(acts) => self.act(acts).await,
            None => Some(0),
        }
    }

    fn rule_for(&self, at: &At, use_it: bool) -> Option<Vec<Act>> {
        let transaction = self.transactions.saturating_sub(1);
        let rule = self.script.rules.iter().find(|rule| {
            rule.at.covers(at)
                && rule.session.is_none_or(|session| session == self.number)
                && rule.transaction.is_none_or(|number| number == transaction)
                && *rule.used.lock().unwrap() < rule.times
        })?;
        *rule.used.lock().unwrap() += usize::from(use_it);
        Some(rule.acts.clone())
    }

    async fn act(&mut self, acts: Vec<Act>) -> Option<u16> {
        let mut said = String::new();
        for act in acts {
            match act {
                Say(text) => {
                    self.say(text).await?;
                    said = format!("{said}{text}\r\n");
                }
                Raw(octets) => {
                    self.write(&octets).await?;
                    said += &String::from_utf8_lossy(&octets);
                }
                Wait(time) => tokio::time::sleep(time).await,
                Close => {
                    // Read what has come, or the close becomes a reset that takes our last words with it.
                    let _ = tokio::time::timeout(Duration::from_millis(20), async { while self.fill().await.is_some() {} }).await;
                    return None;
                }
                Reset => return None,
            }
        }
        Some(code_of(&said))
    }

    async fn say(&mut self, text: &str) -> Option<u16> {
        self.waiting = !self.buffer.is_empty();
        self.write(format!("{text}\r\n").as_bytes()).await?;
        Some(code_of(text))
    }

    async fn command(&mut self) -> Option<String> {
        let line = self.line().await?;
        let pipelined = std::mem::take(&mut self.waiting);
        self.note(|session| session.commands.push(Command { line: line.clone(), pipelined }));
        Some(line)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                self.look_for_bare(&line[..end]);
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Option<()> {
        self.buffer.reserve(READ_OCTETS);
        match self.stream.as_mut()?.read_buf(&mut self.buffer).await {
            Ok(1..) => Some(()),
            Ok(0) | Err(_) => None,
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Option<()> {
        let stream = self.stream.as_mut()?;
        stream.write_all(octets).await.ok()?;
        stream.flush().await.ok()
    }

    fn note<T>(&self, note: impl FnOnce(&mut Session) -> T) -> T {
        note(&mut self.ledger.lock().unwrap()[self.number])
    }

    fn received<T>(&self, note: impl FnOnce(&mut Received) -> T) -> T {
        self.note(|session| note(session.transactions.last_mut().expect("MAIL came first")))
    }
}

const READ_OCTETS: usize = 64 * 1024;

fn decoded(text: &str) -> String {
    String::from_utf8(BASE64_STANDARD.decode(text).unwrap_or_default()).unwrap_or_default()
}

/// The code of the last line.
fn code_of(text: &str) -> u16 {
    text.trim_end().rsplit("\r\n").next().and_then(|line| line.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}
