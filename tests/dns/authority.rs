//! What every server of a zone says when each is asked directly: a resolver at 127.0.0.1 and the zones' servers at other loopback
//! addresses, all at one port.

use crate::support::dns::Dns;
use crate::support::ports::free_port_at;
use postseal::dns::{Answer, Authority, Data, DnsFault, Kind, Observation, Resolver, Server, Settings, Shown, authority};
use postseal::mail::Domain;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "s._domainkey.example.com";

/// What the resolver knows: zones, their servers, their addresses.
const KNOWN: &str = "
    example.com      NS  a.ns.example
    example.com      NS  b.ns.example
    example.org      NS  c.ns.example
    a.ns.example     A   127.0.0.2
    b.ns.example     A   127.0.0.3
    c.ns.example     A   127.0.0.4
";
/// A zone with the record, and one without.
const WITH: &str = "
    @ AUTHORITY
    example.com SOA 300
    s._domainkey.example.com TXT \"v=DKIM1; \" \"p=right\"
";
const WITHOUT: &str = "
    @ AUTHORITY
    example.com SOA 900
    example.com A 192.0.2.1
";

/// A resolver and servers at `addresses`, each with its zone.
struct World {
    port: u16,
    resolver: Dns,
    servers: Vec<Dns>,
}

impl World {
    async fn with(known: &str, servers: &[(&str, &str)]) -> Self {
        let addresses: Vec<IpAddr> = ["127.0.0.1"].into_iter().chain(servers.iter().map(|(address, _)| *address)).map(|text| text.parse().unwrap()).collect();
        let port = free_port_at(&addresses);
        let resolver = Dns::serve_at(SocketAddr::new(addresses[0], port), known).await;
        let mut world = Self { port, resolver, servers: Vec::new() };
        for ((_, zone), address) in servers.iter().zip(&addresses[1..]) {
            world.servers.push(Dns::serve_at(SocketAddr::new(*address, port), zone).await);
        }
        world
    }

    fn authority(&self) -> Authority {
        let settings = Settings {
            nameservers: Some(vec![self.resolver.address()]),
            timeout: Duration::from_millis(400),
            attempts: 0,
            authoritative_port: self.port,
            ..Settings::default()
        };
        Authority::new(Arc::new(Resolver::new(&settings).unwrap()), authority::Settings::of(&settings))
    }

    async fn observe(&self, name: &str) -> Result<Observation, DnsFault> {
        self.authority().observe(&domain(name), Kind::Txt).await
    }

    async fn told(&self, name: &str) -> Vec<String> {
        told(&self.observe(name).await.unwrap())
    }
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

/// Server, name and what is shown, one line each.
fn told(observation: &Observation) -> Vec<String> {
    let right = |data: &[Data]| if *data == [Data::Txt("v=DKIM1; p=right".to_owned())] { Ok(()) } else { Err("other".to_owned()) };
    let line = |server: &Server, name: &Domain, shown: &Shown| {
        let name = if name.as_str() == NAME { String::new() } else { format!("{name} ") };
        let shown = match shown {
            Shown::Expected => "expected".to_owned(),
            Shown::Absent => "absent".to_owned(),
            Shown::Other(what) => what.clone(),
            Shown::Unclear(why) => format!("unclear: {why}"),
        };
        format!("{server} {name}{shown}")
    };
    observation.shown(right).iter().map(|showing| line(&showing.sighting.server, showing.name, &showing.shown)).collect()
}

#[tokio::test]
async fn each_server_speaks_for_itself() {
    let world = World::with(KNOWN, &[("127.0.0.2", WITH), ("127.0.0.3", WITHOUT)]).await;
    let seen = world.observe(NAME).await.unwrap();
    assert_eq!(told(&seen), ["a.ns.example expected", "b.ns.example absent"]);
    assert_eq!(seen.hops.len(), 1);
    assert_eq!(seen.hops[0].zone, domain("example.com"));
    assert_eq!(seen.negative_ttl(), Duration::from_mins(15), "the longest that a server tells");
    assert_eq!(seen.ttl(), Some(Duration::from_mins(1)));
    let asked = world.resolver.asked();
    assert!(!asked.contains(&format!("{NAME} TXT")), "the resolver, which remembers, is never asked for the record: {asked:?}");

    world.servers[1].replace(&WITH.replace("right", "wrong"));
    assert_eq!(world.told(NAME).await, ["a.ns.example expected", "b.ns.example other"]);
    world.servers[1].replace(&format!("{WITH} s._domainkey.example.com TXT \"second\""));
    assert_eq!(world.told(NAME).await, ["a.ns.example expected", "b.ns.example other"], "two records are not one");
    world.servers[1].replace(WITH);
    assert_eq!(world.told(NAME).await, ["a.ns.example expected", "b.ns.example expected"]);
}

#[tokio::test]
async fn what_proves_nothing_is_told_apart_from_absence() {
    let world = World::with(KNOWN, &[("127.0.0.2", WITH), ("127.0.0.3", "s._domainkey.example.com SERVFAIL")]).await;
    let answer = |seen: Result<Observation, DnsFault>| seen.unwrap().hops[0].sightings[1].answer.clone();
    assert_eq!(answer(world.observe(NAME).await), Answer::Refused("SERVFAIL".to_owned()));
    world.servers[1].replace(&WITH.replace("@ AUTHORITY", ""));
    assert_eq!(answer(world.observe(NAME).await), Answer::NotAuthoritative, "the right record of a server without authority");
    world.servers[1].replace("s._domainkey.example.com SILENT");
    let silent = answer(world.observe(NAME).await);
    assert!(matches!(&silent, Answer::Silent(why) if why.contains("no answer within")), "{silent:?}");
    let world = World::with(KNOWN, &[("127.0.0.2", WITH)]).await;
    let refused = answer(world.observe(NAME).await);
    assert!(matches!(&refused, Answer::Silent(why) if why.contains("refused")), "{refused:?}");
    let unknown = KNOWN.replace("b.ns.example     A   127.0.0.3", "b.ns.example SERVFAIL");
    let world = World::with(&unknown, &[("127.0.0.2", WITH)]).await;
    assert!(matches!(answer(world.observe(NAME).await), Answer::Silent(why) if why.contains("Server Failure") || why.contains("SERVFAIL")));
    let none = KNOWN.replace("b.ns.example     A   127.0.0.3", "b.ns.example TXT \"\"");
    let world = World::with(&none, &[("127.0.0.2", WITH)]).await;
    assert_eq!(answer(world.observe(NAME).await), Answer::Silent("it has no address".to_owned()));
}

#[tokio::test]
async fn a_server_is_asked_over_each_of_its_addresses() {
    let known = KNOWN.replace("b.ns.example     A   127.0.0.3", "b.ns.example A 127.0.0.9\n b.ns.example AAAA ::1\n b.ns.example AAAA 2001:db8::1");
    let world = World::with(&known, &[("127.0.0.2", WITH), ("::1", WITH)]).await;
    let seen = world.observe(NAME).await.unwrap();
    assert_eq!(told(&seen), ["a.ns.example expected", "b.ns.example expected"]);
    assert_eq!(seen.hops[0].sightings[1].address, Some(SocketAddr::new("::1".parse().unwrap(), world.port)));
    let known = KNOWN.replace("b.ns.example     A   127.0.0.3", "b.ns.example A 127.0.0.3\n b.ns.example A 127.0.0.6");
    let world = World::with(&known, &[("127.0.0.2", WITH), ("127.0.0.3", "s._domainkey.example.com SERVFAIL"), ("127.0.0.6", WITH)]).await;
    assert_eq!(world.told(NAME).await, ["a.ns.example expected", "b.ns.example expected"], "one address cannot say, the other can");
    let known = KNOWN.replace("b.ns.example     A   127.0.0.3", "b.ns.example AAAA 2001:db8::1\n b.ns.example A 127.0.0.3");
    let world = World::with(&known, &[("127.0.0.2", WITH), ("127.0.0.3", WITH)]).await;
    assert_eq!(world.told(NAME).await, ["a.ns.example expected", "b.ns.example expected"], "no route for IPv6");
}

#[tokio::test]
async fn forgeries_are_passed_over_and_long_answers_come_over_tcp() {
    let long = format!("{WITHOUT} s._domainkey.example.com TXT {}", format!("\"{}\" ", "x".repeat(250)).repeat(8));
    let forged = format!("{WITH} \n @ FORGED");
    let world = World::with(KNOWN, &[("127.0.0.2", &forged), ("127.0.0.3", &long)]).await;
    let seen = world.observe(NAME).await.unwrap();
    assert_eq!(told(&seen), ["a.ns.example expected", "b.ns.example other"]);
    let Answer::Records { data, .. } = &seen.hops[0].sightings[1].answer else { panic!("{seen:?}") };
    assert_eq!(*data, [Data::Txt("x".repeat(2000))], "the strings joined, nothing lost");
    let (tcp, plain) = (format!("{WITH} \n @ TCP"), format!("{WITH} \n @ PLAIN"));
    let world = World::with(KNOWN, &[("127.0.0.2", &tcp), ("127.0.0.3", &plain)]).await;
    assert_eq!(world.told(NAME).await, ["a.ns.example expected", "b.ns.example expected"], "TCP alone, and without EDNS");
}

#[tokio::test]
async fn aliases_are_followed_into_their_own_zones_one_by_one() {
    let alias = "@ AUTHORITY\n example.com SOA 300\n s._domainkey.example.com CNAME s.keys.example.org\n s.keys.example.org TXT \"not mine to say\"";
    let target = "@ AUTHORITY\n example.org SOA 1200\n s.keys.example.org TXT \"v=DKIM1; p=right\"";
    let world = World::with(KNOWN, &[("127.0.0.2", alias), ("127.0.0.3", alias), ("127.0.0.4", target)]).await;
    let seen = world.observe(NAME).await.unwrap();
    assert_eq!(told(&seen), ["c.ns.example s.keys.example.org expected"]);
    assert_eq!(seen.hops.iter().map(|hop| hop.zone.as_str()).collect::<Vec<_>>(), ["example.com", "example.org"]);
    assert_eq!(seen.negative_ttl(), Duration::from_mins(20));

    // One server has an older alias: both are followed.
    world.servers[1].replace(&alias.replace("s.keys.", "old.keys."));
    assert_eq!(world.told(NAME).await, ["c.ns.example s.keys.example.org expected", "c.ns.example old.keys.example.org absent"]);
    // And one has the record itself.
    world.servers[1].replace(WITH);
    assert_eq!(world.told(NAME).await, ["b.ns.example expected", "c.ns.example s.keys.example.org expected"]);
}

#[tokio::test]
async fn loops_and_endless_chains_of_aliases_prove_nothing() {
    let alias = "@ AUTHORITY\n example.com SOA 300\n s._domainkey.example.com CNAME s.keys.example.org";
    let back = "@ AUTHORITY\n example.org SOA 300\n s.keys.example.org CNAME s._domainkey.example.com";
    let world = World::with(KNOWN, &[("127.0.0.2", alias), ("127.0.0.3", alias), ("127.0.0.4", back)]).await;
    let lines = world.told(NAME).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("unclear") && line.contains("leads nowhere")), "{lines:?}");
    let onward = (0..20).map(|n| format!("n{n}.example.org CNAME n{}.example.org", n + 1)).collect::<Vec<_>>().join("\n");
    let chain = format!("@ AUTHORITY\n example.org SOA 300\n s.keys.example.org CNAME n0.example.org\n{onward}");
    world.servers[2].replace(&chain);
    let lines = world.told(NAME).await;
    assert_eq!(lines, ["c.ns.example n5.example.org unclear: n5.example.org is an alias of n6.example.org, which leads nowhere"]);
}

#[tokio::test]
async fn delegations_that_the_resolver_does_not_know_are_followed() {
    let parent = "@ AUTHORITY\n example.com SOA 300\n _domainkey.example.com REFERRAL c.ns.example";
    let child = "@ AUTHORITY\n _domainkey.example.com SOA 60\n s._domainkey.example.com TXT \"v=DKIM1; p=right\"";
    let world = World::with(KNOWN, &[("127.0.0.2", parent), ("127.0.0.3", parent), ("127.0.0.4", child)]).await;
    let seen = world.observe(NAME).await.unwrap();
    assert_eq!(told(&seen), ["c.ns.example expected"]);
    assert_eq!(seen.hops[0].zone, domain("_domainkey.example.com"));
    // A server of the parent that does not know the delegation yet answers by itself, and counts.
    world.servers[1].replace(WITHOUT);
    assert_eq!(world.told(NAME).await, ["b.ns.example absent", "c.ns.example expected"]);
    // A server that refers upwards, or back to where it is, proves nothing.
    world.servers[2].replace("_domainkey.example.com REFERRAL c.ns.example");
    assert_eq!(world.told(NAME).await, ["b.ns.example absent", "c.ns.example unclear: its answer is without authority (no AA)"]);
}

#[tokio::test]
async fn the_zone_is_the_closest_one_and_an_alias_is_none() {
    // An alias to another zone's apex has that zone's NS records in its answer, but is no zone.
    let known = format!("{KNOWN} {NAME} CNAME example.org");
    let alias = "@ AUTHORITY\n example.com SOA 300\n s._domainkey.example.com CNAME example.org";
    let target = "@ AUTHORITY\n example.org SOA 300\n example.org TXT \"v=DKIM1; p=right\"";
    let world = World::with(&known, &[("127.0.0.2", alias), ("127.0.0.3", alias), ("127.0.0.4", target)]).await;
    assert_eq!(world.told(NAME).await, ["c.ns.example example.org expected"]);
    let world = World::with(&format!("{KNOWN} _domainkey.example.com NS c.ns.example"), &[("127.0.0.4", WITH)]).await;
    assert_eq!(world.told(NAME).await, ["c.ns.example expected"], "the child's servers alone");
}

#[tokio::test]
async fn a_zone_that_cannot_be_found_is_a_fault() {
    for (known, expect) in [
        ("example.com SERVFAIL", "ServerFailure"),
        ("_domainkey.example.com SILENT", "Timeout"),
        ("example.com A 192.0.2.1", "no name at or above it has NS records"),
    ] {
        let world = World::with(known, &[]).await;
        let fault = world.observe(NAME).await.unwrap_err();
        assert!(format!("{fault:?}").contains(expect), "{known}: {fault:?}");
    }
    let many = (0..33).map(|n| format!("example.com NS n{n}.ns.example")).collect::<Vec<_>>().join("\n");
    let fault = World::with(&many, &[]).await.observe(NAME).await.unwrap_err();
    assert!(fault.to_string().contains("more than 32 name servers"), "{fault}");
}

#[tokio::test]
async fn resolvers_are_evidence_of_their_own_kind() {
    let known = format!("{KNOWN} example.com SOA 300\n s._domainkey.example.com CNAME s.keys.example.org\n s.keys.example.org TXT \"v=DKIM1; p=right\"");
    let world = World::with(&known, &[]).await;
    let authority = world.authority();
    let seen = authority.observe_by_resolver(&domain(NAME), Kind::Txt).await;
    assert_eq!(told(&seen), [format!("resolver {} expected", world.resolver.address())], "aliases are its business, and it needs no AA");
    assert_eq!((seen.hops.len(), seen.negative_ttl()), (1, Duration::from_mins(5)));
    for (change, expect) in [("", "absent"), ("s._domainkey.example.com SERVFAIL", "unclear: SERVFAIL"), ("s._domainkey.example.com TXT \"x\"", "other")] {
        world.resolver.replace(&format!("{KNOWN} {change}"));
        let seen = authority.observe_by_resolver(&domain(NAME), Kind::Txt).await;
        assert_eq!(told(&seen), [format!("resolver {} {expect}", world.resolver.address())]);
    }
}
