//! Messages to a zone's primary and what its answers mean: questions, and updates with their conditions (RFC 2136). Pure.

use super::tsig::Key;
use super::{Edit, PublishFault, Seen};
use crate::dns::resolver;
use crate::dns::resource::{Data, Kind, Owner, STRING_OCTETS_MAX};
use crate::mail::{Domain, Timestamp};
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode, UpdateMessage as _};
use hickory_resolver::proto::rr::rdata::tsig::TsigError;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::time::Duration;

/// An edit with what the server has now, octet for octet: a TXT record is another one when its strings are cut elsewhere, and a
/// condition names the one that is there.
pub struct Grounded<'e> {
    pub edit: &'e Edit,
    pub present: Vec<RData>,
}

/// A question for an authoritative server.
pub fn question(id: u16, name: &Owner, kind: RecordType) -> Result<Message, ProtoError> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(wire_name(name)?, kind));
    Ok(message)
}

/// One update of all edits. Its conditions: each set of records is still what was seen (RFC 2136 §2.4.2, §2.4.3). What is replaced is
/// taken away record by record (§2.5.4) and put in (§2.5.1) by this same message, which the server carries out as a whole (§3.4.2).
pub fn update(id: u16, zone: &Domain, edits: &[Grounded<'_>]) -> Result<Message, ProtoError> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Update);
    message.add_zone(Query::query(Name::from_ascii(format!("{zone}."))?, RecordType::SOA));
    for Grounded { edit, present } in edits {
        let name = wire_name(&edit.owner)?;
        let record = |class: DNSClass, ttl: u32, data: RData| {
            let mut record = Record::from_rdata(name.clone(), ttl, data);
            record.dns_class = class;
            record
        };
        if present.is_empty() {
            message.add_pre_requisite(record(DNSClass::NONE, 0, RData::Update0(resolver::record_type(edit.kind))));
        }
        for data in present {
            message.add_pre_requisite(record(DNSClass::IN, 0, data.clone()));
        }
        let stays = |data: &RData| resolver::data(data).is_none_or(|data| edit.after.contains(&data));
        for data in present.iter().filter(|data| !stays(data)) {
            message.add_update(record(DNSClass::NONE, 0, data.clone()));
        }
        let ttl = u32::try_from(edit.ttl.as_secs()).unwrap_or(u32::MAX);
        for data in edit.after.iter().filter(|wanted| !present.iter().any(|data| resolver::data(data).as_ref() == Some(wanted))) {
            message.add_update(record(DNSClass::IN, ttl, wire_data(data)?));
        }
    }
    Ok(message)
}

/// What an answer says of the records of one type at a name.
pub fn seen(answer: &Message, owner: &Owner, kind: Kind) -> Result<(Seen, Vec<RData>), ProtoError> {
    let name = wire_name(owner)?;
    let at_name: Vec<&Record> = answer.answers.iter().filter(|record| record.name == name).collect();
    let raw: Vec<&Record> = at_name.iter().copied().filter(|record| record.record_type() == resolver::record_type(kind)).collect();
    let alias = at_name.iter().find_map(|record| match resolver::data(&record.data) {
        Some(Data::Cname(target)) if kind != Kind::Cname => Some(target),
        _ => None,
    });
    let seen = Seen {
        data: raw.iter().filter_map(|record| resolver::data(&record.data)).collect(),
        ttl: raw.iter().map(|record| Duration::from_secs(record.ttl.into())).min(),
        alias,
    };
    Ok((seen, raw.into_iter().map(|record| record.data.clone()).collect()))
}

/// The zone that an authoritative answer to a question for SOA names: in the answer at its apex, in the authority section below it
/// (RFC 2308 §3).
pub fn zone(answer: &Message) -> Option<Domain> {
    let mut records = answer.answers.iter().chain(&answer.authorities);
    records.find(|record| record.record_type() == RecordType::SOA).and_then(|record| Domain::parse(&record.name.to_ascii()).ok())
}

/// What a server's TSIG error means; `None` without one.
pub fn tsig_fault(answer: &Message, key: &Key, server: &str, now: Timestamp) -> Option<PublishFault> {
    let tsig = &answer.signature()?.data;
    let (server, name) = (server.to_owned(), key.name.to_string());
    Some(match tsig.error? {
        TsigError::BadKey => PublishFault::UnknownKey { server, key: name, algorithm: key.algorithm.to_string() },
        TsigError::BadSig => PublishFault::WrongSecret { server, key: name },
        TsigError::BadTime => PublishFault::WrongTime { server, ours: now, theirs: time_of(&tsig.other) },
        other => PublishFault::Failed {
            server,
            code: format!("TSIG error {}", u16::from(other)),
            advice: "the server wants another kind of signature; compare the key statement of its configuration",
        },
    })
}

/// What an answer to an update means.
pub fn outcome(answer: &Message, key: &Key, server: &str, zone: &Domain, edits: &[Grounded<'_>]) -> Result<(), PublishFault> {
    let server = server.to_owned();
    let first = edits.first().map(|grounded| grounded.edit);
    let failed = |advice| PublishFault::Failed { server: server.clone(), code: answer.response_code.to_string(), advice };
    match (answer.response_code, first) {
        (ResponseCode::NoError, _) => Ok(()),
        (ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain, Some(edit)) => {
            Err(PublishFault::Changed { name: edit.owner.clone(), kind: edit.kind })
        }
        (ResponseCode::Refused, _) => Err(PublishFault::Refused { server, key: key.name.to_string(), what: what(zone, edits) }),
        (ResponseCode::NotAuth, _) => Err(PublishFault::NotAuthoritative { server, zone: zone.clone() }),
        (ResponseCode::NotZone, Some(edit)) => Err(PublishFault::NotZone { name: edit.owner.clone(), zone: zone.clone() }),
        (ResponseCode::NotImp, _) => Err(failed("it does not know dynamic updates (RFC 2136): use another kind of publisher")),
        (ResponseCode::ServFail, _) => Err(failed("its own log says why; often it cannot write the zone's journal beside the zone file")),
        _ => Err(failed("its own log may say why")),
    }
}

fn what(zone: &Domain, edits: &[Grounded<'_>]) -> String {
    let names: Vec<String> = edits.iter().map(|grounded| format!("the {} records of {}", grounded.edit.kind, grounded.edit.owner)).collect();
    format!("change {} in the zone {zone}", names.join(", "))
}

/// The server's time of a BADTIME answer: 48 bits of seconds (RFC 8945 §5.2.3).
fn time_of(other: &[u8]) -> Option<Timestamp> {
    let octets: [u8; 6] = other.try_into().ok()?;
    let seconds = octets.iter().fold(0i64, |sum, octet| (sum << 8) | i64::from(*octet));
    Some(Timestamp::from_unix_seconds(seconds))
}

fn wire_name(owner: &Owner) -> Result<Name, ProtoError> {
    Name::from_ascii(format!("{owner}."))
}

fn wire_data(data: &Data) -> Result<RData, ProtoError> {
    let name = |name: &Domain| Name::from_ascii(format!("{name}."));
    Ok(match data {
        Data::Txt(text) if text.is_empty() => RData::TXT(TXT::from_bytes(vec![b""])),
        Data::Txt(text) => RData::TXT(TXT::from_bytes(text.as_bytes().chunks(STRING_OCTETS_MAX).collect())),
        Data::Mx { preference, host } => RData::MX(MX::new(*preference, host.as_ref().map_or(Ok(Name::root()), name)?)),
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(target) => RData::CNAME(CNAME(name(target)?)),
        Data::Ptr(target) => RData::PTR(PTR(name(target)?)),
    })
}
