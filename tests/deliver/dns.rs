//! What the resolver makes of answers, and of none.

use crate::support::dns::Dns;
use postseal::dns::{DnsFault, MxAnswer, Resolver, Settings};
use postseal::mail::Domain;
use std::time::Duration;

fn resolver(dns: &Dns) -> Resolver {
    Resolver::new(&Settings { nameservers: Some(vec![dns.address()]), timeout: Duration::from_secs(3), attempts: 1, ..Settings::default() }).unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

const ZONE: &str = r#"
    example.com     MX 20 b.example.com
    example.com     MX 10 a.example.com
    a.example.com   A 192.0.2.1
    a.example.com   A 192.0.2.2
    a.example.com   AAAA 2001:db8::1
    null.example    MX 0 .
    mixed.example   MX 0 .
    mixed.example   MX 10 a.example.com
    implicit.example A 192.0.2.3
    odd.example     MX 10 192.0.2.9
    alias.example   CNAME example.com
    deep.empty.example A 192.0.2.4
    text.example    TXT "v=spf1 " "-all"
    text.example    TXT "other"
    broken.example  SERVFAIL
    silent.example  SILENT
"#;

#[tokio::test]
async fn mx_answers_are_told_apart() {
    let dns = Dns::serve(ZONE).await;
    let resolver = resolver(&dns);
    let mx = |name: &'static str| {
        let resolver = &resolver;
        async move {
            match resolver.mx(&domain(name)).await {
                Ok(MxAnswer::Hosts(hosts)) => hosts.iter().map(|host| format!("{} {}", host.preference, host.name)).collect::<Vec<_>>().join(", "),
                Ok(other) => format!("{other:?}"),
                Err(DnsFault::Timeout(_)) => "timeout".to_owned(),
                Err(DnsFault::ServerFailure { .. }) => "server failure".to_owned(),
                Err(other) => format!("{other:?}"),
            }
        }
    };
    for (name, expect) in [
        ("example.com", "10 a.example.com, 20 b.example.com"),
        ("alias.example", "10 a.example.com, 20 b.example.com"),
        ("null.example", "Null"),
        ("mixed.example", "10 a.example.com"),
        ("implicit.example", "Implicit"),
        ("empty.example", "Implicit"),
        ("odd.example", ""),
        ("nowhere.example", "NoSuchDomain"),
        ("broken.example", "server failure"),
        ("silent.example", "timeout"),
    ] {
        assert_eq!(mx(name).await, expect, "{name}");
    }
}

#[tokio::test]
async fn addresses_and_texts_are_complete() {
    let dns = Dns::serve(ZONE).await;
    let resolver = resolver(&dns);
    let found = resolver.addresses(&domain("a.example.com")).await.unwrap();
    assert_eq!((found.v4.len(), found.v6.len()), (2, 1));
    assert!(resolver.addresses(&domain("nowhere.example")).await.unwrap().is_empty());
    assert!(resolver.addresses(&domain("broken.example")).await.is_err());
    let mut texts = resolver.txt(&domain("text.example")).await.unwrap();
    texts.sort();
    assert_eq!(texts, ["other", "v=spf1 -all"]);
    assert_eq!(resolver.txt(&domain("example.com")).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn answers_are_cached() {
    let dns = Dns::serve(ZONE).await;
    let resolver = resolver(&dns);
    for _ in 0..5 {
        resolver.mx(&domain("example.com")).await.unwrap();
    }
    assert_eq!(dns.asked().iter().filter(|asked| *asked == "example.com MX").count(), 1, "{:?}", dns.asked());
}
