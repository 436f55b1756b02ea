//! A DNS server on loopback: a zone as text, answered over UDP and TCP on a free port.
//!
//! ```text
//! example.com      MX    10 mx.example.com
//! nomail.example   MX    0 .
//! mx.example.com   A     127.0.0.1
//! www.example.com  CNAME example.com
//! example.com      TXT   "v=spf1 " "-all"
//! 1.0.0.127.in-addr.arpa PTR mx.example.com
//! broken.example   SERVFAIL
//! silent.example   SILENT
//! ```
//! A name that has neither records nor names below it does not exist. `SERVFAIL` and `SILENT` hold for every question about the name;
//! `SERVFAIL A` for those about its A records.

#![allow(dead_code, reason = "each test binary uses its part")]

use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
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
    asked: Vec<String>,
}

#[derive(Clone)]
enum Entry {
    Record(RData),
    ServFail(Option<RecordType>),
    Silent,
}

impl Dns {
    /// Serves this zone on a free port of 127.0.0.1. To be called inside a runtime.
    pub async fn serve(zone: &str) -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone { entries: parse(zone), asked: Vec::new() }));
        let tasks = [tokio::spawn(serve_udp(udp, zone.clone())).abort_handle(), tokio::spawn(serve_tcp(tcp, zone.clone())).abort_handle()];
        Self { address, zone, tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves another zone from now on.
    pub fn replace(&self, zone: &str) {
        self.zone.lock().unwrap().entries = parse(zone);
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
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
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
        "TXT" => RData::TXT(TXT::new(data.split('"').skip(1).step_by(2).map(str::to_owned).collect())),
        "SERVFAIL" => return Some((name(owner), Entry::ServFail(data.parse().ok()))),
        "SILENT" => return Some((name(owner), Entry::Silent)),
        _ => return None,
    };
    Some((name(owner), Entry::Record(record)))
}

fn name(text: &str) -> Name {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    Name::from_ascii(format!("{text}.")).unwrap()
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { return };
        let Some(mut answer) = zone.lock().unwrap().answer(&buffer[..length]) else { continue };
        if answer.to_vec().unwrap().len() > UDP_OCTETS_MAX {
            answer = answer.truncate();
        }
        let _ = socket.send_to(&answer.to_vec().unwrap(), client).await;
    }
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
    fn answer(&mut self, octets: &[u8]) -> Option<Message> {
        let question = Message::from_vec(octets).ok()?;
        let query = question.queries.first()?.clone();
        let asked = Name::from_ascii(query.name().to_ascii().to_ascii_lowercase()).ok()?;
        self.asked.push(format!("{} {}", asked.to_ascii().trim_end_matches('.'), query.query_type()));
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&question.metadata);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let mut at = asked;
        for _ in 0..CNAMES_MAX {
            let here: Vec<Entry> = self.entries.iter().filter(|(owner, _)| *owner == at).map(|(_, entry)| entry.clone()).collect();
            let mut next = None;
            for entry in &here {
                match entry {
                    Entry::Silent => return None,
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
                            answer.add_answer(Record::from_rdata(at.clone(), TTL, data.clone()));
                        }
                    }
                }
            }
            match next {
                Some(target) => at = target,
                None => break,
            }
        }
        if !self.entries.iter().any(|(owner, _)| at.zone_of(owner)) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        Some(answer)
    }
}

const TTL: u32 = 60;
const UDP_OCTETS_MAX: usize = 1232;
const CNAMES_MAX: usize = 8;
