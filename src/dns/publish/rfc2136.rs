//! Dynamic updates (RFC 2136) signed with TSIG (RFC 8945), to the primary of a zone. A shell: it owns sockets and asks the clock.
//!
//! Ready-made clients fall short of what publishing keys needs: they replace records by two messages with a moment of none between
//! them, set no conditions, and tell of a wrong key, secret or clock alike as an answer that does not verify.

use super::tsig::Key;
use super::update::{self, Grounded};
use super::{Change, Done, Publish, PublishFault, Seen};
use crate::clock;
use crate::dns::resolver::{self, Resolver};
use crate::dns::resource::{Kind, Owner};
use crate::mail::{Domain, Timestamp};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// Which server is written to, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The zone's primary.
    pub server: Server,
    /// The zone; `None`: the server is asked.
    pub zone: Option<Domain>,
    /// What signs.
    pub key: Key,
    /// TCP, or UDP for what fits into a datagram.
    pub transport: Transport,
    /// How long the server may take for one answer, the connection included.
    pub timeout: Duration,
}

/// A server by address or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Who.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// See [`Server`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, looked up at each use.
    Name(Domain),
}

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A connection for each message. An answer that is lost is noticed.
    Tcp,
    /// Datagrams; what is longer than 512 octets, or whose answer is, goes over TCP all the same (RFC 2136 §6.2).
    Udp,
}

/// Publishes by dynamic update.
pub struct Rfc2136 {
    settings: Settings,
    resolver: Arc<Resolver>,
    now: fn() -> Timestamp,
}

impl Rfc2136 {
    /// A publisher by these settings. Asks nobody yet.
    #[must_use]
    pub const fn new(settings: Settings, resolver: Arc<Resolver>) -> Self {
        Self { settings, resolver, now: clock::now }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, now: fn() -> Timestamp) -> Self {
        Self { now, ..self }
    }

    /// A question to the primary, signed as an update is: a hidden primary, or another view, answers those who have the key.
    async fn ask(&self, owner: &Owner, kind: RecordType) -> Result<Message, PublishFault> {
        let question = update::question(rand::random(), owner, kind).map_err(|error| PublishFault::Message(error.to_string()))?;
        let answer = self.exchange(question).await?;
        let server = self.settings.server.to_string();
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
            ResponseCode::Refused => {
                let why = "it refuses the question; it has no such zone, or its allow-query does not include this host and key".to_owned();
                Err(PublishFault::NoZone { name: owner.name.clone(), server, why })
            }
            ResponseCode::ServFail => Err(PublishFault::Failed { server, code: "SERVFAIL".to_owned(), advice: "its own log says why; is the zone loaded?" }),
            code => Err(PublishFault::Failed { server, code: code.to_string(), advice: "its own log may say why" }),
        }
    }

    async fn look_raw(&self, owner: &Owner, kind: Kind) -> Result<(Seen, Vec<RData>), PublishFault> {
        let answer = self.ask(owner, resolver::record_type(kind)).await?;
        if !answer.authoritative {
            return Err(self.no_zone(&owner.name));
        }
        update::seen(&answer, owner, kind).map_err(|error| PublishFault::Message(error.to_string()))
    }

    /// Sends an update whose conditions are what the server shows at this moment, if that is what the change was planned for.
    async fn attempt(&self, zone: &Domain, change: &Change, nothing_is_there: bool) -> Result<Done, PublishFault> {
        let mut grounded = Vec::new();
        for edit in change.edits.iter().filter(|edit| !edit.is_nothing()) {
            let (seen, present) = self.look_raw(&edit.owner, edit.kind).await?;
            if let Some(target) = seen.alias {
                return Err(PublishFault::Alias { name: edit.owner.clone(), target, kind: edit.kind });
            }
            if same(&seen.data, &edit.after) {
                continue;
            }
            if !same(&seen.data, &edit.before) {
                return Err(PublishFault::Changed { name: edit.owner.clone(), kind: edit.kind });
            }
            grounded.push(Grounded { edit, present: if nothing_is_there { Vec::new() } else { present } });
        }
        if grounded.is_empty() {
            return Ok(Done::Already);
        }
        let message = update::update(rand::random(), zone, &grounded).map_err(|error| PublishFault::Message(error.to_string()))?;
        let answer = self.exchange(message).await?;
        update::outcome(&answer, &self.settings.key, &self.settings.server.to_string(), zone, &grounded)?;
        Ok(Done::Made)
    }

    /// What was written is there: a server silently ignores what cannot stand beside a CNAME (RFC 2136 §3.4.2.2).
    async fn verify(&self, change: &Change) -> Result<(), PublishFault> {
        for edit in change.edits.iter().filter(|edit| !edit.is_nothing()) {
            let (seen, _) = self.look_raw(&edit.owner, edit.kind).await?;
            if !same(&seen.data, &edit.after) {
                let why = "perhaps records of another type stand at this name, which cannot be beside it".to_owned();
                return Err(PublishFault::NotShown { server: self.settings.server.to_string(), name: edit.owner.clone(), kind: edit.kind, why });
            }
        }
        Ok(())
    }

    /// Signs, sends, and gives the answer whose signature verifies.
    async fn exchange(&self, mut message: Message) -> Result<Message, PublishFault> {
        let server = self.settings.server.to_string();
        let unbelievable = |why: String| PublishFault::Unbelievable { server: server.clone(), why };
        let now = (self.now)();
        let mac = self.settings.key.sign(&mut message, now).map_err(|error| PublishFault::Message(error.to_string()))?;
        let octets = message.to_vec().map_err(|error| PublishFault::Message(error.to_string()))?;
        let answer_octets = self.send(&octets).await?;
        let answer = Message::from_vec(&answer_octets).map_err(|error| unbelievable(error.to_string()))?;
        if answer.id != message.id || answer.metadata.message_type != MessageType::Response {
            return Err(unbelievable("it answers another question".to_owned()));
        }
        // Unsigned, as the server and we share no secret (RFC 8945 §5.2); a lie here does no more than a lost answer would.
        if let Some(fault) = update::tsig_fault(&answer, &self.settings.key, &server, now) {
            return Err(fault);
        }
        if answer.signature().is_none() && answer.response_code != ResponseCode::NoError {
            let advice = "without a signature; does the server know TSIG keys at all?";
            return Err(PublishFault::Failed { server, code: answer.response_code.to_string(), advice });
        }
        self.settings.key.verify(&answer_octets, &mac, (self.now)()).map_err(unbelievable)?;
        Ok(answer)
    }

    async fn send(&self, message: &[u8]) -> Result<Vec<u8>, PublishFault> {
        let mut last = None;
        for address in self.addresses().await? {
            let udp = self.settings.transport == Transport::Udp && message.len() <= DATAGRAM_OCTETS_MAX;
            let sent = async { if udp && let Some(answer) = over_udp(address, message).await? { Ok(answer) } else { over_tcp(address, message).await } };
            match tokio::time::timeout(self.settings.timeout, sent).await {
                Ok(Ok(answer)) => return Ok(answer),
                // Nobody listened, so nothing was done, and another address may be tried.
                Ok(Err(error)) => last = Some(error),
                Err(_) => return Err(PublishFault::Silent { server: self.settings.server.to_string(), wait: self.settings.timeout }),
            }
        }
        let transport = if self.settings.transport == Transport::Udp { "UDP" } else { "TCP" };
        let why = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
        Err(PublishFault::Unreachable { server: self.settings.server.to_string(), transport, why })
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, PublishFault> {
        let Server { host, port } = &self.settings.server;
        let name = match host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, *port)]),
            Host::Name(name) => name,
        };
        let fault = |why: String| PublishFault::NoServer { server: name.to_string(), why };
        let found = self.resolver.addresses(name).await.map_err(|error| fault(error.to_string()))?;
        if found.is_empty() {
            return Err(fault("it has neither A nor AAAA records".to_owned()));
        }
        let addresses = found.v4.into_iter().map(IpAddr::from).chain(found.v6.into_iter().map(IpAddr::from));
        Ok(addresses.map(|address| SocketAddr::new(address, *port)).collect())
    }

    fn no_zone(&self, name: &Domain) -> PublishFault {
        let server = self.settings.server.to_string();
        match &self.settings.zone {
            Some(zone) if name.is_at_or_below(zone) => PublishFault::NotAuthoritative { server, zone: zone.clone() },
            _ => PublishFault::NoZone { name: name.clone(), server, why: "it answers without authority for it".to_owned() },
        }
    }
}

impl Publish for Rfc2136 {
    async fn zone_of(&self, name: &Domain) -> Result<Domain, PublishFault> {
        if let Some(zone) = &self.settings.zone {
            if name.is_at_or_below(zone) {
                return Ok(zone.clone());
            }
            let why = format!("the publisher writes the zone {zone} only");
            return Err(PublishFault::NoZone { name: name.clone(), server: self.settings.server.to_string(), why });
        }
        let mut asked = name.clone();
        loop {
            let answer = self.ask(&Owner::from(asked.clone()), RecordType::SOA).await?;
            if !answer.authoritative {
                return Err(self.no_zone(name));
            }
            // What follows an alias tells of its target's zone; the name above lies in the same zone as the alias.
            let is_alias = update::seen(&answer, &asked.clone().into(), Kind::Txt).is_ok_and(|(seen, _)| seen.alias.is_some());
            match asked.parent().filter(|_| is_alias) {
                Some(parent) => asked = parent,
                None => return update::zone(&answer).ok_or_else(|| self.no_zone(name)),
            }
        }
    }

    async fn look(&self, owner: &Owner, kind: Kind) -> Result<Seen, PublishFault> {
        self.look_raw(owner, kind).await.map(|(seen, _)| seen)
    }

    async fn publish(&self, change: &Change) -> Result<Done, PublishFault> {
        let Some(first) = change.edits.iter().find(|edit| !edit.is_nothing()) else { return Ok(Done::Already) };
        let zone = match &change.zone {
            Some(zone) => zone.clone(),
            None => self.zone_of(&first.owner.name).await?,
        };
        let mut done = self.attempt(&zone, change, false).await;
        if matches!(done, Err(PublishFault::Changed { .. })) {
            // What is seen of one name may be made of a wildcard (RFC 4592), and then nothing is there that a condition could name.
            done = self.attempt(&zone, change, true).await;
        }
        if done? == Done::Already {
            return Ok(Done::Already);
        }
        self.verify(change).await?;
        Ok(Done::Made)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (Host::Address(address), DNS_PORT) => write!(f, "{address}"),
            (Host::Address(address), port) => write!(f, "{}", SocketAddr::new(*address, port)),
            (Host::Name(name), DNS_PORT) => write!(f, "{name}"),
            (Host::Name(name), port) => write!(f, "{name}:{port}"),
        }
    }
}

impl std::str::FromStr for Server {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: Host::Address(address.ip()), port: address.port() });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: Host::Address(address), port: DNS_PORT });
        }
        let (name, port) = text.rsplit_once(':').unwrap_or((text, "53"));
        let fault = || format!("\"{text}\" is no server; expected a name or an address, with a port where it is not 53, as in \"ns1.example.com\"");
        Ok(Self { host: Host::Name(name.parse().map_err(|_| fault())?), port: port.parse().ok().filter(|port| *port > 0).ok_or_else(fault)? })
    }
}

/// Two sets of records are equal, whatever their order.
fn same<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.iter().all(|item| b.contains(item)) && b.iter().all(|item| a.contains(item))
}

/// RFC 1035 §4.2.2: two octets of length before the message.
async fn over_tcp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(|_| io::Error::other("the change is too long for one message"))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// `None` for an answer that was cut: ask over TCP. A datagram that got lost is sent again; an update that arrives twice finds that its
/// conditions hold no more, and does nothing.
async fn over_udp(server: SocketAddr, message: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let any = if server.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        socket.send(message).await?;
        let Ok(received) = tokio::time::timeout(RESEND_AFTER, socket.recv(&mut answer)).await else { continue };
        let length = received?;
        if length >= HEADER_OCTETS && answer[..2] == message[..2] {
            let was_cut = answer[2] & 0x02 != 0; // TC, RFC 1035 §4.1.1
            answer.truncate(length);
            return Ok((!was_cut).then_some(answer));
        }
    }
}

const DNS_PORT: u16 = 53;
/// RFC 1035 §4.2.1.
const DATAGRAM_OCTETS_MAX: usize = 512;
const HEADER_OCTETS: usize = 12;
const RESEND_AFTER: Duration = Duration::from_secs(2);
