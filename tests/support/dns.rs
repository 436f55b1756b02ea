//! DNS servers on loopback: a zone as text, answered over UDP and TCP on a free port.
//!
//! ```text
//! example.com      MX    10 mx.example.com
//! nomail.example   MX    0 .
//! mx.example.com   A     127.0.0.1
//! www.example.com  CNAME example.com
//! example.com      TXT   "v=spf1 " "-all"
//! 1.0.0.127.in-addr.arpa PTR mx.example.com
//! example.com      NS    ns1.example.com
//! example.com      SOA   300                  ; its TTL and its last field
//! broken.example   SERVFAIL
//! silent.example   SILENT
//! ```
//! A name that has neither records nor names below it does not exist, unless a wildcard (`*.example.com`) speaks for it. `SERVFAIL` and `SILENT` hold for every question about the name;
//! `SERVFAIL A` for those about its A records. Lines about `@` say how the server is:
//!
//! ```text
//! @ AUTHORITY                                 ; it sets AA, and adds the SOA record to "there is none"
//! @ TCP                                       ; it answers nothing over UDP
//! @ FORGED                                    ; before each answer over UDP come one with another id and one to another question
//! @ PLAIN                                     ; it answers FORMERR to EDNS
//! child.example.com REFERRAL ns3.example.com  ; it refers all names there to this server
//! ```

#![allow(dead_code, reason = "each test binary uses its part")]

use hickory_resolver::proto::op::{Message, MessageType, Metadata, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TLSA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::AbortHandle;

/// A running name server; it ends when dropped.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: [AbortHandle; 2],
}

#[derive(Default)]
struct Zone {
    entries: Vec<(Name, Entry)>,
    manners: Vec<String>,
    asked: Vec<String>,
}

#[derive(Clone)]
enum Entry {
    Record(RData),
    ServFail(Option<RecordType>),
    Silent,
    Referral(Name),
}

impl Dns {
    /// Serves this zone on a free port of 127.0.0.1. To be called inside a runtime.
    pub async fn serve(zone: &str) -> Self {
        Self::serve_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), zone).await
    }

    /// Serves this zone at this address; port 0 is a free one.
    pub async fn serve_at(address: SocketAddr, zone: &str) -> Self {
        let (udp, tcp) = bind(address).await;
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::new(zone)));
        let tasks = [tokio::spawn(serve_udp(udp, zone.clone())).abort_handle(), tokio::spawn(serve_tcp(tcp, zone.clone())).abort_handle()];
        Self { address, zone, tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves another zone from now on.
    pub fn replace(&self, zone: &str) {
        let mut held = self.zone.lock().unwrap();
        let asked = std::mem::take(&mut held.asked);
        *held = Zone { asked, ..Zone::new(zone) };
    }

    /// The questions so far, as `example.com MX`.
    pub fn asked(&self) -> Vec<String> {
        self.zone.lock().unwrap().asked.clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The same free port for both.
async fn bind(address: SocketAddr) -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind(address).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

impl Zone {
    fn new(text: &str) -> Self {
        let (manners, records): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.trim().starts_with("@ "));
        let manner = |line: &str| line.split(';').next().unwrap().trim().trim_start_matches("@ ").trim().to_owned();
        Self { entries: parse(&records.join("\n")), manners: manners.into_iter().map(manner).collect(), asked: Vec::new() }
    }

    fn has(&self, manner: &str) -> bool {
        self.manners.iter().any(|known| known == manner)
    }
}

fn parse(zone: &str) -> Vec<(Name, Entry)> {
    // A semicolon within quotes begins no comment.
    let is_comment = |line: &str, at: usize| line[..at].matches('"').count().is_multiple_of(2);
    let without_comment = |line: &'_ str| line.match_indices(';').find(|(at, _)| is_comment(line, *at)).map_or(line.len(), |(at, _)| at);
    let lines = zone.lines().map(|line| line[..without_comment(line)].trim()).filter(|line| !line.is_empty());
    lines.map(|line| entry(line).unwrap_or_else(|| panic!("not a zone line: {line:?}"))).collect()
}

fn entry(line: &str) -> Option<(Name, Entry)> {
    let (owner, rest) = line.split_once(char::is_whitespace)?;
    let (kind, data) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
    let data = data.trim();
    let record = match kind {
        "A" => RData::A(A(data.parse().ok()?)),
        "AAAA" => RData::AAAA(AAAA(data.parse().ok()?)),
        "CNAME" => RData::CNAME(CNAME(name(data))),
        "PTR" => RData::PTR(PTR(name(data))),
        "MX" => {
            let (preference, host) = data.split_once(char::is_whitespace)?;
            RData::MX(MX::new(preference.parse().ok()?, name(host.trim())))
        }
        "TXT" => RData::TXT(TXT::new(data.split('"').skip(1).step_by(2).flat_map(strings).collect())),
        "NS" => RData::NS(NS(name(data))),
        "SOA" => RData::SOA(SOA::new(name("ns"), name("hostmaster"), 1, 3600, 3600, 86_400, data.parse().ok()?)),
        "REFERRAL" => return Some((name(owner), Entry::Referral(name(data)))),
        "TLSA" => {
            let mut fields = data.split_whitespace();
            let mut number = || fields.next()?.parse::<u8>().ok();
            let (usage, selector, matching) = (number()?, number()?, number()?);
            RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), fields.next()?.as_bytes().to_vec()))
        }
        "SERVFAIL" => return Some((name(owner), Entry::ServFail(data.parse().ok()))),
        "SILENT" => return Some((name(owner), Entry::Silent)),
        _ => return None,
    };
    Some((name(owner), Entry::Record(record)))
}

/// RFC 1035 §3.3: a string has 255 octets at most.
fn strings(text: &str) -> Vec<String> {
    let octets = text.as_bytes();
    if octets.is_empty() { vec![String::new()] } else { octets.chunks(255).map(|part| String::from_utf8_lossy(part).into_owned()).collect() }
}

fn name(text: &str) -> Name {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    Name::from_ascii(format!("{text}.")).unwrap()
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { return };
        let (forged, tcp_only) = {
            let zone = zone.lock().unwrap();
            (zone.has("FORGED"), zone.has("TCP"))
        };
        if tcp_only {
            continue;
        }
        let Some(mut answer) = zone.lock().unwrap().answer(&buffer[..length]) else { continue };
        for forgery in forgeries(&answer).iter().filter(|_| forged) {
            let _ = socket.send_to(&forgery.to_vec().unwrap(), client).await;
        }
        if answer.to_vec().unwrap().len() > UDP_OCTETS_MAX {
            answer = answer.truncate();
        }
        let _ = socket.send_to(&answer.to_vec().unwrap(), client).await;
    }
}

/// What somebody in between might send: a denial with another id, one to another question, one that is a question, and rubbish.
fn forgeries(answer: &Message) -> [Message; 3] {
    let denial = || {
        let mut forged = Message::response(answer.metadata.id, answer.metadata.op_code);
        forged.metadata.response_code = ResponseCode::NXDomain;
        forged.metadata.authoritative = true;
        forged
    };
    let (mut other_id, mut other_question, mut no_reply) = (denial(), denial(), denial());
    other_id.metadata.id ^= 1;
    other_id.add_queries(answer.queries.clone());
    other_question.add_query(Query::query(name("www.example.org"), RecordType::TXT));
    no_reply.add_queries(answer.queries.clone());
    no_reply.metadata.message_type = MessageType::Query;
    [other_id, other_question, no_reply]
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let zone = zone.clone();
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; length.into()];
                if stream.read_exact(&mut question).await.is_err() {
                    return;
                }
                let Some(answer) = zone.lock().unwrap().answer(&question) else { continue };
                let octets = answer.to_vec().unwrap();
                let _ = stream.write_u16(octets.len().try_into().unwrap()).await;
                let _ = stream.write_all(&octets).await;
            }
        });
    }
}

impl Zone {
    /// The name itself, or the wildcard that speaks for it where it does not exist (RFC 4592 §3.3.1).
    fn source(&self, name: &Name) -> Name {
        let exists = |name: &Name| self.entries.iter().any(|(owner, _)| name.zone_of(owner));
        if exists(name) {
            return name.clone();
        }
        let mut above = name.base_name();
        while !exists(&above) && !above.is_root() {
            above = above.base_name();
        }
        let wildcard = Name::from_ascii("*").and_then(|star| star.append_domain(&above)).unwrap();
        if exists(&wildcard) { wildcard } else { name.clone() }
    }

    fn answer(&mut self, octets: &[u8]) -> Option<Message> {
        let question = Message::from_vec(octets).ok()?;
        let query = question.queries.first()?.clone();
        let asked = Name::from_ascii(query.name().to_ascii().to_ascii_lowercase()).ok()?;
        self.asked.push(format!("{} {}", asked.to_ascii().trim_end_matches('.'), query.query_type()));
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&question.metadata);
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = self.has("AUTHORITY");
        if self.has("PLAIN") && question.edns.is_some() {
            answer.metadata.response_code = ResponseCode::FormErr;
            return Some(answer);
        }
        answer.add_query(query.clone());
        let referrals = self.entries.iter().filter(|(owner, entry)| matches!(entry, Entry::Referral(_)) && owner.zone_of(&asked));
        for (owner, entry) in referrals {
            let Entry::Referral(server) = entry else { continue };
            answer.metadata.authoritative = false;
            answer.add_authority(Record::from_rdata(owner.clone(), TTL, RData::NS(NS(server.clone()))));
        }
        if !answer.authorities.is_empty() {
            return Some(answer);
        }
        let mut at = asked;
        for _ in 0..CNAMES_MAX {
            let source = self.source(&at);
            let here: Vec<Entry> = self.entries.iter().filter(|(owner, _)| *owner == source).map(|(_, entry)| entry.clone()).collect();
            let mut next = None;
            for entry in &here {
                match entry {
                    Entry::Silent => return None,
                    Entry::Referral(_) => {}
                    Entry::ServFail(Some(kind)) if *kind != query.query_type() => {}
                    Entry::ServFail(_) => {
                        answer.metadata.response_code = ResponseCode::ServFail;
                        return Some(answer);
                    }
                    Entry::Record(data) => {
                        if let RData::CNAME(target) = data {
                            next = Some(target.0.clone());
                        }
                        if data.record_type() == query.query_type() || data.record_type() == RecordType::CNAME {
                            answer.add_answer(Record::from_rdata(at.clone(), ttl(data), data.clone()));
                        }
                    }
                }
            }
            match next {
                Some(target) => at = target,
                None => break,
            }
        }
        let source = self.source(&at);
        if !self.entries.iter().any(|(owner, _)| source.zone_of(owner)) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        if self.has("AUTHORITY") && answer.answers.is_empty() {
            let soas = self.entries.iter().filter(|(owner, entry)| matches!(entry, Entry::Record(RData::SOA(_))) && owner.zone_of(&at));
            if let Some((owner, Entry::Record(soa))) = soas.max_by_key(|(owner, _)| owner.num_labels()) {
                answer.add_authority(Record::from_rdata(owner.clone(), ttl(soa), soa.clone()));
            }
        }
        Some(answer)
    }
}

/// An SOA record's TTL is its last field's value; that of the others is a minute.
fn ttl(data: &RData) -> u32 {
    if let RData::SOA(soa) = data { soa.minimum } else { TTL }
}

const TTL: u32 = 60;
const UDP_OCTETS_MAX: usize = 1232;
const CNAMES_MAX: usize = 8;
