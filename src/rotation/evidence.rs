//! What servers said of a name becomes what they show of a key. Pure.

use crate::dns::{Answer, Data, Hop, Observation, Sighting};
use crate::keys::lifecycle::{Seen, Shows};
use crate::keys::{Record, RecordError};
use std::time::Duration;

/// An observation of the TXT records at a key's name, held against the record that belongs there.
///
/// Of each zone that aliases lead through, every server has to show the alias that was followed, or the record itself. A server that
/// answers for several of those zones is as good as its worst answer.
#[must_use]
pub fn seen(observation: &Observation, record: &Record) -> Seen {
    let mut seen = Seen::default();
    for hop in &observation.hops {
        seen.negative_ttl = seen.negative_ttl.max(hop.negative_ttl);
        for sighting in &hop.sightings {
            let shows = shows(sighting, hop, &observation.hops, record);
            let server = sighting.server.to_string();
            match seen.servers.get(&server) {
                Some(known) if weight(known) >= weight(&shows) => {}
                _ => drop(seen.servers.insert(server, shows)),
            }
        }
    }
    seen
}

fn shows(sighting: &Sighting, hop: &Hop, hops: &[Hop], record: &Record) -> Shows {
    match &sighting.answer {
        Answer::Records { data, ttl } => held_against(data, *ttl, record),
        Answer::Alias { target, .. } if *target != hop.name && hops.iter().any(|hop| hop.name == *target) => Shows::Alias(target.to_string()),
        Answer::Alias { target, ttl } => Shows::Other { what: format!("an alias of {target}, which leads nowhere"), ttl: *ttl },
        Answer::Nothing { .. } => Shows::Nothing,
        Answer::NotAuthoritative => Shows::NoAnswer("its answer is without authority; where answers are intercepted, set evidence = \"resolver\"".to_owned()),
        Answer::Refused(why) | Answer::Silent(why) => Shows::NoAnswer(why.clone()),
    }
}

/// Exactly one record: of several a verifier takes any, or none (RFC 6376 §3.6.2.2).
fn held_against(data: &[Data], ttl: Duration, expected: &Record) -> Shows {
    let other = |what: String| Shows::Other { what, ttl };
    let [one] = data else { return other(format!("{} records where one belongs", data.len())) };
    let Data::Txt(text) = one else { return other(format!("a {} record", one.kind())) };
    match Record::parse(text) {
        Ok(found) if found.public.is_none() && found.algorithm == expected.algorithm => Shows::Revoked,
        Ok(found) if found == *expected => Shows::Key,
        Ok(found) if found.testing && Record { testing: false, ..found.clone() } == *expected => {
            other("the key with t=y, which has some receivers ignore its signatures".to_owned())
        }
        Ok(found) if Record { strict: false, ..found.clone() } == *expected => Shows::Key, // t=s: our i= is at d= itself
        Ok(_) => other("the record of another key".to_owned()),
        Err(error) => other(described(text, &error)),
    }
}

fn described(text: &str, error: &RecordError) -> String {
    let beginning: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARACTERS_MAX).collect();
    format!("no key record (\"{beginning}{}\": {error})", if text.chars().count() > TEXT_CHARACTERS_MAX { "…" } else { "" })
}

const fn weight(shows: &Shows) -> u8 {
    match shows {
        Shows::Alias(_) => 0,
        Shows::Key => 1,
        Shows::NoAnswer(_) => 2,
        Shows::Revoked => 3,
        Shows::Nothing => 4,
        Shows::Other { .. } => 5,
    }
}

/// Of a stranger's text, in a sentence of ours.
const TEXT_CHARACTERS_MAX: usize = 40;
