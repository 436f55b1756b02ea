//! The DNS: a zone of a few domains, and what servers do instead of answering.

use crate::world::World;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use postseal::dns::Ask;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Domains that take mail, in the order of their addresses; each has two hosts.
pub const DOMAINS: [&str; 4] = ["north.example", "south.example", "east.example", "west.example"];
/// Where the submitters live: its host never refuses for good.
pub const HOME: &str = "home.example";
/// Takes no mail (RFC 7505).
pub const NULL_MX: &str = "null.example";
/// Does not exist.
pub const NOWHERE: &str = "nowhere.example";

/// The host behind an address.
pub fn host_of(address: Ipv4Addr) -> String {
    let [_, _, domain, number] = address.octets();
    let domain = DOMAINS.get(usize::from(domain)).unwrap_or(&HOME);
    format!("mx{number}.{domain}")
}

pub struct Names {
    world: Arc<World>,
    /// Questions that are open.
    asked: Arc<AtomicUsize>,
    lookups_max: usize,
}

impl Names {
    pub fn new(world: &Arc<World>, lookups_max: usize) -> Self {
        Self { world: world.clone(), asked: Arc::default(), lookups_max }
    }

    async fn answer(&self, name: Name, kind: RecordType) -> Result<Lookup, NetError> {
        let world = &self.world;
        world.step(format!("dns {name} {kind}?")).await;
        let latency = world.chance().millis(1, 80);
        world.wait(latency).await;
        let share = world.plan.shares.dns;
        if world.meets("a name server that is silent", share / 4) {
            world.wait(crate::wire::FOREVER).await;
        }
        if world.meets("SERVFAIL", share / 3) {
            return Err(DnsError::ResponseCode(ResponseCode::ServFail).into());
        }
        if world.meets("an answer that is cut short, and no TCP", share / 4) {
            return Err(NetError::from("truncated, and nobody answers over TCP"));
        }
        let query = Query::query(name.clone(), kind);
        let records = self.records(&name, kind);
        match records {
            Some(records) if !records.is_empty() => {
                Ok(Lookup::new_with_max_ttl(query, records.into_iter().map(|data| Record::from_rdata(name.clone(), 60, data))))
            }
            Some(_) => Err(DnsError::NoRecordsFound(NoRecords::new(query, ResponseCode::NoError)).into()),
            None => Err(DnsError::NoRecordsFound(NoRecords::new(query, ResponseCode::NXDomain)).into()),
        }
    }

    /// `None`: there is no such name.
    fn records(&self, name: &Name, kind: RecordType) -> Option<Vec<RData>> {
        let text = name.to_ascii();
        let text = text.trim_end_matches('.');
        if text == NULL_MX {
            return Some(if kind == RecordType::MX { vec![RData::MX(MX::new(0, Name::root()))] } else { Vec::new() });
        }
        let (host, domain) = text.split_once('.').filter(|(host, _)| host.starts_with("mx")).map_or(("", text), |(host, domain)| (host, domain));
        let number = DOMAINS.iter().chain([&HOME]).position(|known| *known == domain)?;
        let number = u8::try_from(number).unwrap();
        if host.is_empty() {
            if kind != RecordType::MX {
                return Some(Vec::new());
            }
            let mx = |preference, host: &str| RData::MX(MX::new(preference, Name::from_ascii(format!("{host}.{domain}.")).unwrap()));
            // What changes its mind: one host or the other, or both.
            let share = self.world.plan.shares.dns;
            if self.world.meets("an answer that changes", share / 2) {
                return Some(vec![if self.world.chance().hits(500) { mx(10, "mx1") } else { mx(5, "mx2") }]);
            }
            return Some(vec![mx(10, "mx1"), mx(20, "mx2")]);
        }
        let host: u8 = host.strip_prefix("mx")?.parse().ok()?;
        Some(if kind == RecordType::A { vec![RData::A(A(Ipv4Addr::new(10, 0, number, host)))] } else { Vec::new() })
    }
}

impl Ask for Names {
    fn ask(&self, name: Name, kind: RecordType) -> Pin<Box<dyn Future<Output = Result<Lookup, NetError>> + Send + '_>> {
        Box::pin(async move {
            let open = Open(self.asked.clone());
            let count = open.0.fetch_add(1, Ordering::SeqCst) + 1;
            self.world.ledger().bound("questions to the DNS", count, self.lookups_max);
            let answer = self.answer(name, kind).await;
            drop(open);
            answer
        })
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
