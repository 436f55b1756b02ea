//! One question to one address, over UDP and, where that does not do, over TCP: a shell over hickory's codec of messages.
//!
//! hickory's own clients do not fit: the resolver hides the AA bit and follows aliases, and its datagram client uses sockets that are
//! not connected, so that a closed port looks like a lost datagram, and starts a task for every exchange. Here a socket is connected to
//! the one address: the system drops what comes from elsewhere and tells of a closed port.
//!
//! RFC 1035 §4.2, RFC 5452 §9 (id, question and source must match; the port is a random one of the system), RFC 6891, RFC 7766.

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub name: Name,
    pub kind: RecordType,
    /// RD: whether the server shall ask others.
    pub recursion: bool,
}

/// Asks, twice over UDP within `patience`, then within as long again over TCP. A truncated answer is asked for again over TCP, and a
/// server that does not know EDNS without it (RFC 6891 §7).
///
/// # Errors
/// In words: what went wrong on each way.
pub(super) async fn ask(address: SocketAddr, question: &Question, patience: Duration) -> Result<Message, String> {
    let answer = over_either(address, question, Size::Extended, patience).await?;
    if matches!(answer.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS) {
        return over_either(address, question, Size::Plain, patience).await;
    }
    Ok(answer)
}

/// How large a datagram the answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// RFC 1035 §4.2.1: 512 octets.
    Plain,
    /// As EDNS says.
    Extended,
}

async fn over_either(address: SocketAddr, question: &Question, size: Size, patience: Duration) -> Result<Message, String> {
    let by_udp = match over_udp(address, question, size, patience).await {
        Ok(answer) if !answer.metadata.truncation => return Ok(answer),
        Ok(_) => "truncated".to_owned(),
        Err(error) if is_no_route(&error) => return Err(error.to_string()), // TCP has none either
        Err(error) => error.to_string(),
    };
    match timeout(patience, over_tcp(address, question, size)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("UDP: {by_udp}; TCP: {error}")),
        Err(_) => Err(format!("UDP: {by_udp}; TCP: no answer within {patience:?}")),
    }
}

async fn over_udp(address: SocketAddr, question: &Question, size: Size, patience: Duration) -> io::Result<Message> {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    let (id, octets) = question.message(size)?;
    for _ in 0..DATAGRAMS {
        socket.send(&octets).await?;
        if let Ok(answer) = timeout(patience / DATAGRAMS, receive(&socket, id, question)).await {
            return answer;
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}")))
}

/// The first datagram that answers the question; others are passed over, whoever sent them.
async fn receive(socket: &UdpSocket, id: u16, question: &Question) -> io::Result<Message> {
    let mut buffer = vec![0; DATAGRAM_OCTETS_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = question.answer(id, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(address: SocketAddr, question: &Question, size: Size) -> io::Result<Message> {
    let (id, octets) = question.message(size)?;
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&[&length.to_be_bytes(), octets.as_slice()].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()]; // 64 KiB at most
    stream.read_exact(&mut answer).await?;
    question.answer(id, &answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer to something else"))
}

impl Question {
    /// The octets of the question, and its id.
    fn message(&self, size: Size) -> io::Result<(u16, Vec<u8>)> {
        let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        message.add_query(Query::query(self.name.clone(), self.kind));
        if size == Size::Extended {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_OCTETS_MAX).set_version(0);
            message.set_edns(edns);
        }
        let octets = message.to_vec().map_err(io::Error::other)?;
        Ok((message.metadata.id, octets))
    }

    /// The message in these octets, if it answers this very question. A message of an error may leave the question out.
    fn answer(&self, id: u16, octets: &[u8]) -> Option<Message> {
        let message = Message::from_vec(octets).ok()?;
        let is_reply = message.metadata.id == id && message.metadata.message_type == MessageType::Response && message.metadata.op_code == OpCode::Query;
        let same = |query: &Query| query.name() == &self.name && query.query_type() == self.kind;
        let matches = match message.queries.as_slice() {
            [query] => same(query),
            [] => !matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain),
            _ => false,
        };
        (is_reply && matches).then_some(message)
    }
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable)
}

/// How often a datagram is sent: one may be lost.
const DATAGRAMS: u32 = 2;
/// What we say that we take: passes every path unfragmented.
const EDNS_OCTETS_MAX: u16 = 1232;
/// What we really take.
const DATAGRAM_OCTETS_MAX: usize = 4096;
