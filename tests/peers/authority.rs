//! What a real pair of name servers shows, asked directly: agreeing, lagging, silent, without its zone, delegating.

use crate::support::bind_pair::{Pair, Zone};
use crate::support::{Peer, missing};
use postseal::dns::{Answer, Authority, Data, Kind, Observation, Resolver, Settings, Shown, authority};
use postseal::mail::Domain;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "ps1._domainkey.example.com";
const RECORD: &str = "v=DKIM1; k=rsa; p=AAAA";

fn authority(pair: &Pair) -> Authority {
    let settings = Settings {
        nameservers: Some(vec![pair.nameserver()]),
        timeout: Duration::from_secs(1),
        attempts: 1,
        authoritative_port: pair.port(),
        ..Settings::default()
    };
    Authority::new(Arc::new(Resolver::new(&settings).unwrap()), authority::Settings::of(&settings))
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

/// Each server and what it shows of the record, in the order of hops.
fn told(observation: &Observation) -> Vec<String> {
    let expected = |data: &[Data]| if *data == [Data::Txt(RECORD.to_owned())] { Ok(()) } else { Err(format!("{} others", data.len())) };
    observation.shown(expected).iter().map(|showing| format!("{} {}", showing.sighting.server, word(&showing.shown))).collect()
}

fn word(shown: &Shown) -> String {
    match shown {
        Shown::Expected => "expected".to_owned(),
        Shown::Absent => "absent".to_owned(),
        Shown::Other(what) => what.clone(),
        Shown::Unclear(_) => "unclear".to_owned(),
    }
}

fn with(record: &str) -> String {
    format!("ps1._domainkey IN TXT \"{record}\"\n")
}

/// One runtime thread beside BIND.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_pair_is_seen_agreeing_lagging_dead_silent_and_without_its_zone() {
    if missing(&[Peer::Bind]) {
        return;
    }
    let mut pair = Pair::start(&[Zone::new("example.com", "")], "");
    let runtime = runtime();
    let authority = authority(&pair);
    let see = || runtime.block_on(authority.observe(&domain(NAME), Kind::Txt)).unwrap();
    let seen = see();
    assert_eq!(told(&seen), ["ns1.example.com absent", "ns2.example.com absent"]);
    assert_eq!((seen.hops[0].zone.as_str(), seen.negative_ttl()), ("example.com", Duration::from_secs(2)));

    let records = with(RECORD);
    pair.lag(true);
    pair.replace(&Zone::new("example.com", &records));
    assert_eq!(told(&see()), ["ns1.example.com expected", "ns2.example.com absent"], "a lagging secondary");
    pair.lag(false);
    let seen = see();
    assert_eq!(told(&seen), ["ns1.example.com expected", "ns2.example.com expected"]);
    assert_eq!(seen.ttl(), Some(Duration::from_secs(2)));

    pair.lag(true);
    let twice = format!("{records}{}", with("v=DKIM1; p=BBBB"));
    pair.replace(&Zone::new("example.com", &twice));
    assert_eq!(told(&see()), ["ns1.example.com 2 others", "ns2.example.com expected"], "a second record");
    pair.lag(false);
    pair.replace(&Zone::new("example.com", &records));
    pair.wait_until_agreed();

    pair.secondary.hold();
    assert_eq!(told(&see()), ["ns1.example.com expected", "ns2.example.com unclear"], "held");
    pair.secondary.go_on();
    pair.secondary.stop();
    let seen = see();
    assert!(matches!(&seen.hops[0].sightings[1].answer, Answer::Silent(why) if why.contains("refused")), "{seen:?}");
    pair.break_secondary();
    assert_eq!(see().hops[0].sightings[1].answer, Answer::Refused("SERVFAIL".to_owned()));
    pair.mend_secondary();
    assert_eq!(told(&see()), ["ns1.example.com expected", "ns2.example.com expected"]);
}
