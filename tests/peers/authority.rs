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
        timeout: Duration::from_secs(3),
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

#[test]
fn aliases_delegations_long_texts_and_odd_servers_of_a_real_pair_are_understood() {
    if missing(&[Peer::Bind]) {
        return;
    }
    let long = Data::Txt(format!("{RECORD}{}", "x".repeat(2000))).zone_text();
    let parent = format!(
        "ps1._domainkey IN CNAME ps1.example-com.keys.platform.test.\nps2._domainkey IN TXT {long}\n\
         sub IN NS ns1.sub\nns1.sub IN A 127.0.0.2\nsub IN NS ns2.sub\nns2.sub IN A 127.0.0.3\n"
    );
    let keys = format!("ps1.example-com IN TXT \"{RECORD}\"\n");
    let child = with(RECORD);
    // The resolver of the rig answers without authority; ns3 is it. ns6 is the secondary, by its IPv6 address alone.
    let lame = Zone { servers: "@ IN NS ns1\n@ IN NS ns3\nns1 IN A 127.0.0.2\nns3 IN A 127.0.0.1\n", ..Zone::new("lame.test", &child) };
    let six = Zone { servers: "@ IN NS ns1\n@ IN NS ns6\nns1 IN A 127.0.0.2\nns6 IN AAAA ::1\n", ..Zone::new("six.test", &child) };
    let long_remembered = Zone { negative_ttl: 1800, ..Zone::new("keys.platform.test", &keys) };
    let zones = [Zone::new("example.com", &parent), long_remembered, Zone::new("sub.example.com", &child), lame, six];
    let pair = Pair::start(&zones, "");
    let runtime = runtime();
    let authority = authority(&pair);
    let see = |name: &str| runtime.block_on(authority.observe(&domain(name), Kind::Txt)).unwrap();

    let seen = see(NAME);
    assert_eq!(seen.hops.iter().map(|hop| hop.zone.as_str()).collect::<Vec<_>>(), ["example.com", "keys.platform.test"]);
    assert_eq!(told(&seen), ["ns1.keys.platform.test expected", "ns2.keys.platform.test expected"]);
    assert_eq!(seen.negative_ttl(), Duration::from_secs(2), "the lower of the SOA record's TTL and its last field");

    let seen = see("ps2._domainkey.example.com");
    let Answer::Records { data, .. } = &seen.hops[0].sightings[0].answer else { panic!("{seen:?}") };
    assert!(matches!(&data[..], [Data::Txt(text)] if text.len() > 2000 && text.starts_with(RECORD)), "over TCP, and joined: {data:?}");

    assert_eq!(told(&see("ps1._domainkey.sub.example.com")), ["ns1.sub.example.com expected", "ns2.sub.example.com expected"]);
    let seen = see("ps1._domainkey.lame.test");
    assert_eq!(told(&seen), ["ns1.lame.test expected", "ns3.lame.test unclear"]);
    assert_eq!(seen.hops[0].sightings[1].answer, Answer::NotAuthoritative);
    let seen = see("ps1._domainkey.six.test");
    assert_eq!(told(&seen), ["ns1.six.test expected", "ns6.six.test expected"]);
    assert!(seen.hops[0].sightings[1].address.unwrap().is_ipv6());

    // And a caching resolver, which may remember.
    let seen = runtime.block_on(authority.observe_by_resolver(&domain(NAME), Kind::Txt));
    assert_eq!(told(&seen), [format!("resolver {} expected", pair.nameserver())]);
}
