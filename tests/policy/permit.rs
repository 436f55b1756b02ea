//! What is decided about a whole submission.

use super::{app, domain, mailbox, now, path, settings, submission};
use postseal::mail::{Headers, IdentityName, Mailbox, Refusal, ReversePath, RouteName, Stream, Timestamp};
use postseal::policy::{AuthorDomain, Foreign, Identity, Mode, Permit, RouteRule, Settings, can_receive, permit};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

fn judge(settings: &Settings, from: &str, header: &str) -> Result<Permit, Refusal> {
    permit(&submission(from, &["to@gmail.example"]), &Headers::parse(header.as_bytes()).unwrap(), settings, now())
}

fn refused(settings: &Settings, header: &str) -> String {
    judge(settings, "a@example.com", header).unwrap_err().to_string()
}

#[test]
fn the_author_domain_must_be_the_identitys() {
    for (from, signing_domain) in [
        ("Ann <a@example.com>", "example.com"),
        ("a@EXAMPLE.com", "example.com"),
        ("a@mail.example.com", "mail.example.com"),
        ("a@x.mail.example.com", "mail.example.com"),
        ("a@x.example.net", "x.example.net"),
        ("\"boss@bank.example\" <a@example.com>", "example.com"),
    ] {
        let permit = judge(&settings(), "a@example.com", &format!("From: {from}\r\n")).unwrap_or_else(|refusal| panic!("{from}: {refusal}"));
        assert_eq!(permit.signing_domain, domain(signing_domain), "{from}");
        assert_eq!((permit.mode, permit.identity), (Mode::Author, app()));
        assert!(permit.author.is_some());
    }
    for from in ["a@bank.example", "a@other.example.com", "a@example.net", "a@badexample.com", "a@example.com.evil.example", "a@com", "a@[192.0.2.1]"] {
        let refusal = refused(&settings(), &format!("From: {from}\r\n"));
        assert!(refusal.starts_with("550 5.7.1 "), "{from}: {refusal}");
    }
    assert_eq!(
        refused(&settings(), "From: a@bank.example\r\n"),
        "550 5.7.1 client \"app\" may not send as bank.example, only as: example.com, .mail.example.com, *.example.net, parked.example.com; \
         change From, or add bank.example to author_domains of identity \"app\""
    );
}

#[test]
fn there_must_be_one_author() {
    for header in
        ["Subject: x\r\n", "From: a@example.com\r\nFrom: a@example.com\r\n", "From: a@example.com, b@example.com\r\n", "From: team:;\r\n", "From: Ann\r\n"]
    {
        let refusal = refused(&settings(), header);
        assert!(refusal.starts_with("550 5.6.0 "), "{refusal}");
    }
}

#[test]
fn a_domain_that_never_sends_is_refused_even_when_it_is_allowed() {
    let refusal = refused(&settings(), "From: a@parked.example.com\r\n");
    assert!(refusal.starts_with("550 5.7.1 parked.example.com is configured as a domain that never sends"), "{refusal}");
    let mut forwarding = settings();
    forwarding.identities.insert(app(), Identity::forwarder(domain("lists.example.com")));
    assert!(refused(&forwarding, "From: a@x.parked.example.com\r\n").starts_with("550 5.7.1 "), "below it, and passed on");
    forwarding.domains.insert(domain("x.parked.example.com"), AuthorDomain::default());
    assert!(judge(&forwarding, "", "From: a@x.parked.example.com\r\n").is_ok(), "a name with an entry of its own");
}

#[test]
fn a_forwarder_passes_on_any_author() {
    let mut settings = settings();
    settings.identities.insert(app(), Identity::forwarder(domain("lists.example.com")));
    for (header, author) in [
        ("From: a@bank.example\r\n", Some("a@bank.example")),
        ("From: a@bank.example, b@bank.example\r\n", None),
        ("From: broken <\r\n", None),
        ("Subject: x\r\n", None),
    ] {
        let permit = judge(&settings, "a@bank.example", header).unwrap();
        assert_eq!(permit.author, author.map(mailbox), "{header}");
        assert_eq!(permit.signing_domain, domain("lists.example.com"));
        assert_eq!(permit.reverse_path, path("a@bank.example"));
    }
    let header = "From: a@bank.example\r\nX-Postseal-Stream: nonsense\r\nX-Postseal-Tag: theirs\r\nX-Postseal-Deliver-After: +1h\r\n";
    let permit = judge(&settings, "", header).unwrap();
    assert_eq!((permit.tag, permit.deliver_after, permit.stream), (None, None, Stream::new("default")), "a stranger's control headers instruct nobody");
}

#[test]
fn senders_that_can_receive_nothing_are_mapped() {
    for text in [
        "www-data@pod-7",
        "a@[10.0.0.7]",
        "a@[IPv6:fd00::1]",
        "a@app.local",
        "a@x.internal",
        "a@x.invalid",
        "a@localhost",
        "a@x.localhost",
        "a@nas.home.arpa",
        "root@localhost.localdomain",
        "a@nas.lan",
        "a@pc.home",
        "a@mail.corp",
        "a@x.private",
        "a@x.intranet",
    ] {
        assert!(!can_receive(&mailbox(text)), "{text}");
        assert_eq!(judge(&settings(), text, "From: a@example.com\r\n").unwrap().reverse_path, path("postmaster@example.com"), "{text}");
    }
    for text in ["a@example.org", "a@local.example.org", "a@internal.example.org", "a@notlocal.example", "a@home-arpa.example"] {
        assert!(can_receive(&mailbox(text)), "{text}");
        assert_eq!(judge(&settings(), text, "From: a@example.com\r\n").unwrap().reverse_path, path(text), "{text}");
    }
    assert_eq!(judge(&settings(), "", "From: a@example.com\r\n").unwrap().reverse_path, ReversePath::Null);
}

#[test]
fn foreign_senders_are_kept_mapped_or_refused_by_rule() {
    let cases = [
        // sender, kept, mapped, refused
        ("a@example.com", "a@example.com", "a@example.com", Some("a@example.com")),
        ("a@x.example.net", "a@x.example.net", "a@x.example.net", Some("a@x.example.net")),
        ("a@corp.internal", "a@corp.internal", "a@corp.internal", Some("a@corp.internal")),
        ("a@bank.example", "a@bank.example", "ops@example.com", None),
        ("root@pod-7", "ops@example.com", "ops@example.com", Some("ops@example.com")),
        ("", "", "", Some("")),
    ];
    for (sender, kept, mapped, refused) in cases {
        for (foreign, expect) in [(Foreign::Keep, Some(kept)), (Foreign::Map, Some(mapped)), (Foreign::Refuse, refused)] {
            let mut settings = settings();
            let rule = &mut settings.identities.get_mut(&app()).unwrap().reverse_path;
            (rule.foreign, rule.bounces_to, rule.kept) = (foreign, Some(mailbox("ops@example.com")), vec!["corp.internal".parse().unwrap()]);
            match (judge(&settings, sender, "From: a@example.com\r\n"), expect) {
                (Ok(permit), Some(expect)) => assert_eq!(permit.reverse_path, path(expect), "{sender} {foreign:?}"),
                (Err(refusal), None) => assert!(refusal.to_string().starts_with("550 5.7.1 client \"app\" may not use the envelope sender <a@bank.example>")),
                (other, expect) => panic!("{sender} {foreign:?}: {other:?}, expected {expect:?}"),
            }
        }
    }
}

#[test]
fn control_headers_choose_stream_tag_and_time() {
    let mut settings = settings();
    settings.streams.extend(["bulk", "alerts"].map(Stream::new));
    let header = "From: a@example.com\r\nx-postseal-stream: bulk\r\nX-Postseal-Tag: password reset\r\nX-Postseal-Track-Id:\r\n 4711/a\r\n";
    let permit = judge(&settings, "a@example.com", header).unwrap();
    assert_eq!((permit.stream, permit.tag.as_deref(), permit.track_id.as_deref()), (Stream::new("bulk"), Some("password reset"), Some("4711/a")));

    settings.identities.get_mut(&app()).unwrap().streams = Some(BTreeSet::from([Stream::new("alerts")]));
    for (stream, expect) in [
        ("alerts", Ok(())),
        ("default", Ok(())),
        ("bulk", Err("550 5.7.1 client \"app\" may not use stream \"bulk\", only: alerts, default")),
        ("Bulk", Err("550 5.6.0 X-Postseal-Stream names no stream \"Bulk\"; known streams: alerts, bulk, default")),
    ] {
        let judged = judge(&settings, "a@example.com", &format!("From: a@example.com\r\nX-Postseal-Stream: {stream}\r\n"));
        assert_eq!(judged.map(drop).map_err(|refusal| refusal.to_string()), expect.map_err(str::to_owned), "{stream}");
    }
}

#[test]
fn control_headers_are_bounded_and_given_once() {
    let mut settings = settings();
    settings.streams.insert(Stream::new(&"x".repeat(64)));
    for (name, octets_max) in [("X-Postseal-Tag", 64), ("X-Postseal-Track-Id", 128), ("X-Postseal-Stream", 64)] {
        let value = |length| format!("From: a@example.com\r\n{name}: {}\r\n", "x".repeat(length));
        assert!(judge(&settings, "", &value(octets_max)).is_ok());
        for header in [
            value(octets_max + 1),
            value(0),
            format!("From: a@example.com\r\n{name}: a\r\n{name}: a\r\n"),
            format!("From: a@example.com\r\n{name}: \u{e9}\r\n"),
            format!("From: a@example.com\r\n{name}: a\tb\r\n"),
        ] {
            let refusal = refused(&settings, &header);
            assert!(refusal.starts_with(&format!("550 5.6.0 {name} ")), "{refusal}");
        }
    }
}

#[test]
fn delivery_can_wait_until_a_time_but_not_too_long() {
    let after =
        |value: &str| judge(&settings(), "", &format!("From: a@example.com\r\nX-Postseal-Deliver-After: {value}\r\n")).map(|permit| permit.deliver_after);
    let at = |seconds| Some(now() + Duration::from_secs(seconds));
    for (value, expect) in [
        ("2026-11-22T02:18:45Z", at(3600)),
        ("2026-11-22T11:18:45+09:00", at(3600)),
        ("Sun, 22 Nov 2026 02:18:45 +0000", at(3600)),
        ("+90s", at(90)),
        ("+15m", at(900)),
        ("+2h", at(7200)),
        ("+7d", at(7 * 86_400)),
        ("2026-11-22T01:18:45Z", None),
        ("2020-01-01T00:00:00Z", None),
        ("+0s", None),
    ] {
        assert_eq!(after(value).unwrap(), expect, "{value}");
    }
    for value in [
        "+604801s",
        "+8d",
        "9999-12-31T00:00:00Z",
        "+99999999999999999999d",
        "+9999999999999999999h",
        "tomorrow",
        "+s",
        "+1",
        "+-1s",
        "+1.5h",
        "1h",
        "+é",
        "2026-11-22",
    ] {
        assert!(after(value).unwrap_err().to_string().starts_with("550 5.6.0 X-Postseal-Deliver-After "), "{value}");
    }
}

#[test]
fn each_recipient_takes_the_most_specific_route() {
    let mut settings = settings();
    let rule = |pattern: &str, route: &str| RouteRule { recipients: pattern.parse().unwrap(), route: RouteName::new(route) };
    settings.routes = vec![
        rule(".example.org", "org"),
        rule("*.example.org", "below-org"),
        rule("example.org", "exactly-org"),
        rule("*.x.example.org", "x"),
        rule("example.org", "too-late"),
    ];
    settings.default_route = RouteName::new("ses");
    let to =
        ["a@gmail.example", "a@example.org", "a@b.example.org", "b@gmail.example", "a@b.x.example.org", "a@x.example.org", "a@[192.0.2.1]", "a@notexample.org"];
    let permit = permit(&submission("", &to), &Headers::parse(b"From: a@example.com\r\n").unwrap(), &settings, now()).unwrap();
    let parts: Vec<_> = permit
        .parts
        .iter()
        .map(|part| (part.route.to_string(), part.recipients.iter().map(|recipient| recipient.mailbox.to_string()).collect::<Vec<_>>().join(" ")))
        .collect();
    let expect = [
        ("ses", "a@gmail.example b@gmail.example a@[192.0.2.1] a@notexample.org"),
        ("exactly-org", "a@example.org"),
        ("below-org", "a@b.example.org a@x.example.org"),
        ("x", "a@b.x.example.org"),
    ];
    assert_eq!(parts, expect.map(|(route, to)| (route.to_owned(), to.to_owned())));
}

#[test]
fn an_identity_that_a_reload_took_away_is_asked_to_connect_again() {
    let mut settings = settings();
    settings.identities.clear();
    assert!(refused(&settings, "From: a@example.com\r\n").starts_with("451 4.3.5 "));
}

#[test]
fn settings_that_cannot_be_meant_are_faults() {
    assert_eq!(settings().faults().len(), 1, "{:?}", settings().faults());
    assert!(settings().faults()[0].contains("author_domains names parked.example.com, which never sends"));
    let mut settings = Settings::new(mailbox("postmaster@example.com"));
    assert_eq!(settings.faults(), Vec::<String>::new());
    let mut identity = Identity::author(Vec::new());
    identity.stream = Stream::new("bulk");
    (identity.size_octets_max, identity.recipients_max) = (0, 0);
    identity.rate.messages_per_minute = Some(0);
    settings.identities.insert(IdentityName::new("web"), identity);
    let faults = settings.faults().join("\n");
    for word in
        ["author_domains is empty", "no stream \"bulk\"; known streams: default", "size_octets_max is 0", "recipients_max is 0", "messages_per_minute is 0"]
    {
        assert!(faults.contains(word), "{word}: {faults}");
    }
    settings.identities.insert(IdentityName::new("web"), Identity::forwarder(domain("lists.example.com")));
    assert_eq!(settings.faults(), Vec::<String>::new());
}

proptest! {
    #[test]
    fn any_control_header_gets_an_answer(value in "\\PC{0,70}") {
        let header = format!("From: a@example.com\r\nX-Postseal-Deliver-After: {value}\r\nX-Postseal-Tag: {value}\r\n");
        if let Ok(headers) = Headers::parse(header.as_bytes()) {
            let judged = permit(&submission("", &["to@gmail.example"]), &headers, &settings(), now());
            if let Ok(Permit { deliver_after: Some(at), .. }) = judged {
                prop_assert!(at > now() && at.since(now()) <= settings().deliver_after_max);
            }
        }
    }

    #[test]
    fn every_recipient_is_in_exactly_one_part(hosts in proptest::collection::vec("[ab]\\.(example|test)", 1..20)) {
        let mut settings = settings();
        settings.routes = vec![RouteRule { recipients: ".example".parse().unwrap(), route: RouteName::new("smart") }];
        let to: Vec<String> = hosts.iter().enumerate().map(|(number, host)| format!("u{number}@{host}")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let permit = permit(&submission("", &to), &Headers::parse(b"From: a@example.com\r\n").unwrap(), &settings, now()).unwrap();
        let mut found: Vec<Mailbox> = permit.parts.iter().flat_map(|part| &part.recipients).map(|recipient| recipient.mailbox.clone()).collect();
        let mut given: Vec<Mailbox> = to.iter().map(|text| mailbox(text)).collect();
        found.sort();
        given.sort();
        prop_assert_eq!(found, given);
        prop_assert!(permit.parts.iter().all(|part| !part.recipients.is_empty()));
    }
}

#[test]
fn a_time_that_comes_is_in_the_permit() {
    let permit = judge(&settings(), "", "From: a@example.com\r\nX-Postseal-Deliver-After: +1s\r\n").unwrap();
    assert_eq!(permit.deliver_after, Some(Timestamp::from_unix_seconds(1_795_310_326)));
}
