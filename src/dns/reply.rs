//! What a message of a name server says to one question: an answer, or who else is to be asked. Pure.
//!
//! RFC 1034 §4.3.2, RFC 2181 §5.4 and §6, RFC 2308 §2 and §5.

use super::resolver::{DnsFault, Zone, data, is_named, record_type, servers_of};
use super::resource::{Data, Kind};
use super::sighting::Answer;
use crate::mail::Domain;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record};
use std::time::Duration;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An answer.
    Answer(Answer),
    /// The name lies in a zone below, which other servers answer for.
    Referral(Zone),
}

/// Reads what a server of `zone` says of a name, with authority or without. Aliases are told, not followed: what a server adds of their
/// targets is another zone's business.
#[must_use]
pub fn of_authority(message: &Message, zone: &Domain, name: &Domain, kind: Kind) -> Said {
    let code = message.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Said::Answer(Answer::Refused(code_name(code)));
    }
    match referral(message, zone, name) {
        Ok(Some(child)) => return Said::Referral(child),
        Ok(None) => {}
        Err(fault) => return Said::Answer(Answer::Refused(fault.to_string())),
    }
    if !message.metadata.authoritative {
        return Said::Answer(Answer::NotAuthoritative);
    }
    let here = records_at(message, name, kind);
    if let Some(answer) = here {
        return Said::Answer(answer);
    }
    let alias = message.answers.iter().find_map(|record| alias_at(record, name));
    Said::Answer(alias.map_or(Answer::Nothing { name_exists: code == ResponseCode::NoError }, |(target, ttl)| Answer::Alias { target, ttl }))
}

/// Reads what a resolver says of a name, the aliases followed by it.
#[must_use]
pub fn of_resolver(message: &Message, name: &Domain, kind: Kind) -> Answer {
    let code = message.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Answer::Refused(code_name(code));
    }
    if !message.metadata.recursion_available && !message.metadata.authoritative {
        return Answer::Refused("it does not ask others (no RA)".to_owned());
    }
    let (mut at, mut shortest) = (name.clone(), Duration::MAX);
    for _ in 0..ALIASES_MAX {
        if let Some(Answer::Records { data, ttl }) = records_at(message, &at, kind) {
            return Answer::Records { data, ttl: ttl.min(shortest) };
        }
        let Some((target, ttl)) = message.answers.iter().find_map(|record| alias_at(record, &at)) else {
            return Answer::Nothing { name_exists: code == ResponseCode::NoError };
        };
        (at, shortest) = (target, ttl.min(shortest));
    }
    Answer::Refused(format!("more than {ALIASES_MAX} aliases in a row"))
}

/// How long it may be remembered that there is nothing, by the SOA record of this zone in a message: the lower of its TTL and its last
/// field (RFC 2308 §5). Of a resolver, whose TTLs run down, the last field alone.
#[must_use]
pub fn negative_ttl(message: &Message, zone: &Domain, from_resolver: bool) -> Option<Duration> {
    let records = message.answers.iter().chain(&message.authorities).filter(|record| is_named(&record.name, zone));
    let soa = records.filter_map(|record| if let RData::SOA(soa) = &record.data { Some((ttl(record), seconds(soa.minimum))) } else { None });
    soa.map(|(ttl, minimum)| if from_resolver { minimum } else { ttl.min(minimum) }).next()
}

/// The delegation that the name lies below: NS records of a zone between that of the server and the name, and no answer (RFC 1034
/// §4.3.2, step 3b). Some servers set AA on them; a referral upwards is none.
fn referral(message: &Message, zone: &Domain, name: &Domain) -> Result<Option<Zone>, DnsFault> {
    let has_soa = message.authorities.iter().any(|record| matches!(record.data, RData::SOA(_)));
    if !message.answers.is_empty() || has_soa || message.metadata.response_code != ResponseCode::NoError {
        return Ok(None);
    }
    let owners = message.authorities.iter().filter(|record| matches!(record.data, RData::NS(_))).filter_map(|record| domain(&record.name));
    let Some(apex) = owners.into_iter().find(|owner| owner != zone && owner.is_at_or_below(zone) && name.is_at_or_below(owner)) else { return Ok(None) };
    Ok(servers_of(&apex, &message.authorities)?.map(|servers| Zone { apex, servers }))
}

fn records_at(message: &Message, name: &Domain, kind: Kind) -> Option<Answer> {
    let such = |record: &&Record| is_named(&record.name, name) && record.record_type() == record_type(kind);
    let found: Vec<(&Record, Data)> = message.answers.iter().filter(such).filter_map(|record| Some((record, data(&record.data)?))).take(RECORDS_MAX).collect();
    let ttl = found.iter().map(|(record, _)| ttl(record)).min()?;
    Some(Answer::Records { data: found.into_iter().map(|(_, data)| data).collect(), ttl })
}

fn alias_at(record: &Record, name: &Domain) -> Option<(Domain, Duration)> {
    let RData::CNAME(target) = &record.data else { return None };
    is_named(&record.name, name).then_some(())?;
    Some((domain(&target.0)?, ttl(record)))
}

fn domain(name: &Name) -> Option<Domain> {
    Domain::parse(&name.to_ascii()).ok()
}

fn ttl(record: &Record) -> Duration {
    seconds(record.ttl)
}

/// RFC 2181 §8: a value with the highest bit set is none.
fn seconds(value: u32) -> Duration {
    Duration::from_secs(if value > i32::MAX.unsigned_abs() { 0 } else { value.into() })
}

/// As people write it, where the library has a sentence.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::NotZone => "NOTZONE".to_owned(),
        other => other.to_str().to_owned(),
    }
}

/// Aliases followed within one answer of a resolver.
const ALIASES_MAX: usize = 16;
/// Records read of one answer.
const RECORDS_MAX: usize = 256;
