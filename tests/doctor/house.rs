//! A zone in which all is well, and what doctor finds when a part of it is another.

use crate::support::dns::Dns;
use postseal::dns::{Resolver, Settings};
use postseal::doctor::{self, ExpectedKey, Finding, Leaves, OurKey, RelaySubject, Source, Status, Subject, Use, ask};
use postseal::keys::{Algorithm, PrivateKey, Record, State};
use postseal::mail::{Domain, KeyId, Selector, Timestamp};
use std::time::Duration;

/// All is well: example.com sends by 192.0.2.25 and 2001:db8::25 under the name mx1.example.com. `KEY` is the public half of its key.
pub const GOOD: &str = r#"
    com                             TXT "a zone"
    example.com                     MX  10 mail.example.com
    example.com                     TXT "v=spf1 mx ~all"
    example.com                     TXT "some-verification=1"
    mail.example.com                A   192.0.2.10
    mail.example.com                AAAA 2001:db8::10
    b.example.com                   MX  10 mx1.example.com
    b.example.com                   TXT "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all"
    mx1.example.com                 A   192.0.2.25
    mx1.example.com                 AAAA 2001:db8::25
    mx1.example.com                 TXT "v=spf1 a -all"
    25.2.0.192.in-addr.arpa         PTR mx1.example.com
    5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mx1.example.com
    ps1._domainkey.example.com      TXT "v=DKIM1; k=rsa; p=KEY"
    _dmarc.example.com              TXT "v=DMARC1; p=none; rua=mailto:dmarc@example.com"
"#;

/// What the records of [`GOOD`] come to.
pub fn key() -> PrivateKey {
    PrivateKey::from_pem(include_bytes!("../prepare/keys/author.rsa.pem")).unwrap()
}

/// Another key.
pub fn other_key() -> PrivateKey {
    PrivateKey::from_pem(include_bytes!("../prepare/keys/list.rsa.pem")).unwrap()
}

/// `p=` of a key.
pub fn p(key: &PrivateKey) -> String {
    Record::of(key.public().clone()).to_string().rsplit_once("p=").unwrap().1.to_owned()
}

/// The zone with its key, and with these lines instead of those of the same owner and type. A line `- OWNER TYPE` takes one out.
pub fn zone(instead: &str) -> String {
    let head = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    let changes: Vec<&str> = instead.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let replaced: Vec<Vec<String>> = changes.iter().map(|line| head(line.trim_start_matches("- "))).collect();
    let kept = GOOD.lines().map(str::trim).filter(|line| {
        let its = head(line);
        !line.is_empty()
            && !replaced.iter().any(|other| *other == its || (other[0] == its[0] && (other[1] == "SERVFAIL" || other[1] == "SILENT" || other[1] == "NOTHING")))
    });
    let added = changes.iter().copied().filter(|line| !line.starts_with("- ") && !line.ends_with("NOTHING"));
    kept.chain(added).collect::<Vec<_>>().join("\n").replace("KEY", &p(&key()))
}

/// example.com as a configuration has it.
pub fn subject() -> Subject {
    let id = KeyId { domain: domain("example.com"), selector: Selector::new("ps1") };
    Subject {
        domain: domain("example.com"),
        bounce_domain: Some(domain("b.example.com")),
        keys: vec![ExpectedKey { id, ours: Some(our_key(State::Active)) }],
        purpose: Use::Sends,
        third_party: None,
        leaves: Leaves { addresses: vec!["192.0.2.25".parse().unwrap(), "2001:db8::25".parse().unwrap()], presumed: false, smart_host: None },
        relay: Some(domain("mx1.example.com")),
    }
}

/// The key of [`GOOD`] in a state.
pub fn our_key(state: State) -> OurKey {
    let record = match state {
        State::Removed => None,
        State::Revoked => Some(Record::revoked(Algorithm::Rsa)),
        _ => Some(Record::of(key().public().clone())),
    };
    OurKey { algorithm: Algorithm::Rsa, state, record }
}

/// The relay of [`GOOD`].
pub fn relay() -> RelaySubject {
    let addresses = subject().leaves.addresses;
    let source = Source { name: "deliver".to_owned(), ehlo: "mx1.example.com".to_owned(), addresses };
    RelaySubject { hostname: Some(domain("mx1.example.com")), sources: vec![source], certificates: Vec::new(), smart_host: None }
}

/// What is found about a domain in a zone.
pub async fn examined(zone: &str, subject: Subject, bulk: bool) -> Vec<Finding> {
    let dns = Dns::serve(zone).await;
    let facts = ask::domain(subject, &resolver(&dns)).await;
    doctor::examine(&facts, bulk)
}

/// What is found about a relay in a zone, on the second of January 2026.
pub async fn examined_relay(zone: &str, subject: RelaySubject) -> Vec<Finding> {
    let dns = Dns::serve(zone).await;
    let facts = ask::relay(subject, &resolver(&dns)).await;
    doctor::examine_relay(&facts, now())
}

/// 2026-01-02.
pub fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_767_312_000)
}

pub fn resolver(dns: &Dns) -> Resolver {
    let settings = Settings { nameservers: Some(vec![dns.address()]), timeout: Duration::from_secs(2), attempts: 0, ..Settings::default() };
    Resolver::new(&settings).unwrap()
}

pub fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

/// The worst finding of a rule must have this status, and somewhere in seen, remedy and records these words.
#[track_caller]
pub fn expect(findings: &[Finding], rule: &str, status: Status, words: &[&str]) {
    let of_rule: Vec<&Finding> = findings.iter().filter(|finding| finding.rule.id == rule).collect();
    let Some(worst) = of_rule.iter().max_by_key(|finding| finding.status) else { panic!("no {rule} in {findings:#?}") };
    assert_eq!(worst.status, status, "{rule}: {worst:#?}");
    let all = of_rule.iter().map(|finding| shown(finding)).collect::<Vec<_>>().join("\n");
    for word in words {
        assert!(all.contains(word), "{rule} does not say {word:?}:\n{all}");
    }
    assert!(status == Status::Ok || status == Status::Unknown || worst.remedy.is_some(), "{rule} has no remedy: {worst:#?}");
}

fn shown(finding: &Finding) -> String {
    let remedy = finding.remedy.as_ref().map_or_else(String::new, |remedy| {
        let records: Vec<String> = remedy.records.iter().map(|record| format!("{} {} {}", record.owner, record.data.kind(), record.data.zone_text())).collect();
        format!("{}\n{}", remedy.text, records.join("\n"))
    });
    format!("{}\n{}\n{remedy}", finding.about, finding.seen)
}
