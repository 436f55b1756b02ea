//! Each rule from every side. The DNS that does not answer is unknown, never a failure.

use super::house::{domain, examined, examined_relay, expect, key, now, other_key, our_key, p, relay, subject, zone};
use postseal::dns::records::Wanted;
use postseal::doctor::Status::{Fail, Ok, Unknown, Warn};
use postseal::doctor::{CertificateFace, CertificateFacts, ExpectedKey, Leaves, Provider, Status, Subject, Use};
use postseal::keys::State;
use postseal::mail::{KeyId, Selector, Timestamp};

/// What is in the zone instead, the rule, what comes of it, and what it says.
type Case<'a> = (&'a str, &'a str, Status, &'a [&'a str]);

async fn each(cases: &[Case<'_>], subject: &dyn Fn() -> Subject) {
    for (instead, rule, status, words) in cases {
        println!("{rule}: {instead}");
        expect(&examined(&zone(instead), subject(), true).await, rule, *status, words);
    }
}

#[tokio::test]
async fn where_all_is_well_nothing_is_to_be_done() {
    let findings = [examined(&zone(""), subject(), true).await, examined_relay(&zone(""), relay()).await].concat();
    let bad: Vec<_> = findings.iter().filter(|finding| finding.status != Ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.id).collect();
    for rule in [
        "soa-exists",
        "spf-author",
        "spf-bounce",
        "spf-helo",
        "dkim",
        "dkim-author",
        "dmarc",
        "dmarc-policy",
        "dmarc-reports",
        "alignment",
        "mx-bounce",
        "mx-author",
        "mta-sts",
        "tls-rpt",
        "ptr",
        "ehlo",
    ] {
        assert!(rules.contains(&rule), "{rule} is not among {rules:?}");
    }
}

#[tokio::test]
async fn spf_of_the_bounce_domain() {
    let cases: &[Case] = &[
        ("", "spf-bounce", Ok, &["0 of 10 lookups", "lets in 192.0.2.25 and 2001:db8::25"]),
        ("- b.example.com TXT", "spf-bounce", Fail, &["there is no SPF record", "b.example.com TXT \"v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all\""]),
        (
            r#"b.example.com TXT "v=spf1 ip4:192.0.2.25 ~all""#,
            "spf-bounce",
            Fail,
            &["does not let in 2001:db8::25 (result: softfail)", "\"v=spf1 ip6:2001:db8::25 ip4:192.0.2.25 ~all\""],
        ),
        (r#"b.example.com TXT "v=spf1 +all""#, "spf-bounce", Fail, &["the whole Internet"]),
        (r#"b.example.com TXT "v=spf1 a:mx1.example.com ?all""#, "spf-bounce", Warn, &["?all"]),
        (r#"b.example.com TXT "v=spf1 ip4:192.0.0.0/8 ip6:2001:db8::/32 ~all""#, "spf-bounce", Warn, &["192.0.0.0/8", "4.7.24"]),
        (r#"b.example.com TXT "v=spf1 a:mx1.example.com ptr ~all""#, "spf-bounce", Warn, &["ptr", "ip4:"]),
        ("b.example.com TXT \"v=spf1 ~all\"\nb.example.com TXT \"v=spf1 a:mx1.example.com ~all\"", "spf-bounce", Fail, &["2 SPF records"]),
        (r#"b.example.com TXT "v=spf1 ip4:192.0.2.257 ~all""#, "spf-bounce", Fail, &["permanent error", "ip4:192.0.2.257"]),
        (
            "b.example.com TXT \"v=spf1 include:l.example.com ip4:192.0.2.25 ip6:2001:db8::25 ~all\"\n\
             l.example.com TXT \"v=spf1 a:mx1.example.com a:mail.example.com mx:example.com mx:b.example.com a:mx1.example.com/24 a:mx1.example.com/25 a:mx1.example.com/26 a:mx1.example.com/27 a:mx1.example.com/28 a:mx1.example.com/29 ~all\"",
            "spf-bounce",
            Fail,
            &["11 lookups", "include:l.example.com (11)"],
        ),
        (
            r#"b.example.com TXT "v=spf1 a:no1.example.com a:no2.example.com a:no3.example.com ip4:192.0.2.25 ip6:2001:db8::25 ~all""#,
            "spf-bounce",
            Fail,
            &["3 of the names", "2 are allowed"],
        ),
        (r#"b.example.com TXT "v=spf1 include:nothing.example.com ~all""#, "spf-bounce", Fail, &["nothing.example.com has no SPF record"]),
        (r#"b.example.com TXT "v=spf1; ip4:192.0.2.25 ~all""#, "spf-bounce", Fail, &["parted by spaces"]),
        ("b.example.com SERVFAIL", "spf-bounce", Unknown, &["answered"]),
        ("b.example.com SILENT", "spf-bounce", Unknown, &["no name server answered"]),
        ("b.example.com TXT \"v=spf1 include:broken.example.com ~all\"\nbroken.example.com SERVFAIL", "spf-bounce", Unknown, &["not all it names"]),
    ];
    each(cases, &subject).await;
}

#[tokio::test]
async fn spf_of_the_author_domain_matters_where_it_is_the_envelope_sender() {
    let beside: &[Case] = &[
        ("- example.com TXT", "spf-author", Warn, &["there is no SPF record"]),
        (r#"example.com TXT "v=spf1 ip4:198.51.100.1 -all""#, "spf-author", Ok, &["0 of 10 lookups"]),
        ("example.com SERVFAIL TXT", "spf-author", Unknown, &[]),
    ];
    each(beside, &subject).await;
    let own = || Subject { bounce_domain: Some(domain("example.com")), ..subject() };
    let cases: &[Case] = &[
        ("- example.com TXT", "spf-author", Fail, &["there is no SPF record"]),
        (r#"example.com TXT "v=spf1 ip4:198.51.100.1 -all""#, "spf-author", Fail, &["does not let in 192.0.2.25"]),
        (r#"example.com TXT "v=spf1 a:mx1.example.com -all""#, "spf-author", Ok, &[]),
    ];
    each(cases, &own).await;
}

#[tokio::test]
async fn spf_for_addresses_nobody_configured_is_unknown_where_it_does_not_pass() {
    let presumed = || Subject { leaves: Leaves { presumed: true, ..subject().leaves }, ..subject() };
    let cases: &[Case] = &[("", "spf-bounce", Ok, &[]), (r#"b.example.com TXT "v=spf1 -all""#, "spf-bounce", Unknown, &["--address", "ip4:192.0.2.25"])];
    each(cases, &presumed).await;
    let smart = || Subject { leaves: Leaves { addresses: vec![], presumed: false, smart_host: Some("provider".into()) }, ..subject() };
    each(&[("", "spf-bounce", Ok, &["provider, its operator knows"])], &smart).await;
}

#[tokio::test]
async fn keys_in_the_dns() {
    let of = |record: &str| format!("ps1._domainkey.example.com TXT \"{record}\"");
    let (own, other) = (p(&key()), p(&other_key()));
    let (head, tail) = own.split_at(200);
    let small = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
    let record = format!("v=DKIM1; k=rsa; p={own}");
    let whole = |text: &str| text.to_owned();
    for (instead, status, words) in [
        (of("v=DKIM1; k=rsa; p=KEY"), Ok, vec![whole("rsa of 2048 bits"), whole("matches the private key (active)")]),
        (of("p=KEY"), Ok, vec![]),
        (
            whole("- ps1._domainkey.example.com TXT"),
            Fail,
            vec![whole("there is no TXT record, and mail is signed with it"), record.get(..100).unwrap().to_owned()],
        ),
        (of(&format!("v=DKIM1; k=rsa; p={other}")), Fail, vec![whole("another key than the private key in the keyring")]),
        (of("v=DKIM1; k=rsa; p="), Fail, vec![whole("the key is revoked")]),
        (of("v=DKIM1; k=rsa; t=y; p=KEY"), Warn, vec![whole("t=y")]),
        (of("v=DKIM1; k=rsa; t=s; p=KEY"), Ok, vec![]),
        (of("v=DKIM1; h=sha1; p=KEY"), Fail, vec![whole("h= excludes")]),
        (of("v=DKIM1; s=tlsrpt; p=KEY"), Fail, vec![whole("s= excludes")]),
        (of("v=DKIM1 k=rsa p=KEY"), Fail, vec![whole("cannot be used"), whole("begin with")]),
        (of("v=DKIM1; k=rsa; p=KEY\\;"), Fail, vec![whole("backslash")]),
        (of(&format!("v=DKIM1; k=rsa; p={head}")), Fail, vec![whole("cannot be used"), whole("cut off")]),
        (
            format!("{}\n{}", of(&format!("v=DKIM1; k=rsa; p={head}")), of(tail)),
            Fail,
            vec![whole("cut into 2 TXT records"), whole("one TXT record whose strings")],
        ),
        (format!("{}\n{}", of("v=DKIM1; k=rsa; p=KEY"), of(&format!("v=DKIM1; k=rsa; p={other}"))), Fail, vec![whole("2 key records"), whole("all but one")]),
        (of("v=spf1 -all"), Fail, vec![whole("no key record")]),
        (of(&format!("v=DKIM1; k=rsa; p={small}")), Fail, vec![whole("another key")]),
        (whole("ps1._domainkey.example.com SERVFAIL"), Unknown, vec![]),
        (whole("ps1._domainkey.example.com SILENT"), Unknown, vec![]),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        expect(&examined(&zone(&instead), subject(), true).await, "dkim", status, &words);
    }
    // By name only, the size is all there is to say.
    let named = Subject { keys: vec![ExpectedKey { ours: None, ..subject().keys[0].clone() }], ..subject() };
    expect(&examined(&zone(&of(&format!("k=rsa; p={small}"))), named.clone(), true).await, "dkim", Warn, &["1024 bits", "recommend 2048"]);
    expect(&examined(&zone("- ps1._domainkey.example.com TXT"), named, true).await, "dkim", Fail, &["name another selector"]);
}

#[tokio::test]
async fn keys_are_held_against_their_state() {
    let revoked = "ps1._domainkey.example.com TXT \"v=DKIM1; k=rsa; p=\"";
    let gone = "- ps1._domainkey.example.com TXT";
    for (state, instead, status) in [
        (State::Created, "", Ok),
        (State::Created, gone, Ok),
        (State::Published, "", Ok),
        (State::Published, gone, Warn),
        (State::Visible, gone, Warn),
        (State::Active, gone, Fail),
        (State::Retiring, "", Ok),
        (State::Retiring, gone, Fail),
        (State::Retiring, revoked, Fail),
        (State::Revoked, revoked, Ok),
        (State::Revoked, gone, Ok),
        (State::Revoked, "", Warn),
        (State::Removed, gone, Ok),
        (State::Removed, "", Warn),
    ] {
        println!("{state} {instead}");
        let subject = Subject { keys: vec![ExpectedKey { ours: Some(our_key(state)), ..subject().keys[0].clone() }], ..subject() };
        let findings = examined(&zone(instead), subject, true).await;
        expect(&findings, "dkim", status, &[]);
        expect(&findings, "dkim-author", Fail, &[]); // no key signs, or the one that does is gone
    }
}

#[tokio::test]
async fn an_author_signature_that_receivers_verify() {
    let none = || Subject { keys: vec![], ..subject() };
    each(&[("", "dkim-author", Unknown, &["--selector"])], &none).await;
    let of = |name: &str, at: &str| ExpectedKey { id: KeyId { domain: domain(at), selector: Selector::new(name) }, ours: None };
    let shared = || Subject { keys: vec![of("20230601", "example-com.20230601.gappssmtp.com")], ..subject() };
    each(&[("", "dkim-author", Fail, &["shared domain of Google Workspace", "postseal key create example.com"])], &shared).await;
    let foreign = || Subject { keys: vec![of("s1", "platform.example")], ..subject() };
    each(&[("", "dkim-author", Fail, &["platform.example"])], &foreign).await;
    let edwards = || Subject { keys: vec![of("e1", "example.com")], ..subject() };
    let record = "e1._domainkey.example.com TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"";
    each(&[(record, "dkim-author", Fail, &["Ed25519", "do not verify"]), ("e1._domainkey.example.com SERVFAIL", "dkim-author", Unknown, &[])], &edwards).await;
    each(&[("ps1._domainkey.example.com SERVFAIL", "dkim-author", Unknown, &[]), ("- ps1._domainkey.example.com TXT", "dkim-author", Fail, &[])], &subject)
        .await;
}

#[tokio::test]
async fn spf_and_dkim_together() {
    let cases: &[Case] = &[
        ("", "alignment", Ok, &["both aligned"]),
        ("- b.example.com TXT", "alignment", Warn, &["one of the two", "b.example.com"]),
        ("- ps1._domainkey.example.com TXT", "alignment", Warn, &["sign with a DKIM key"]),
        ("- ps1._domainkey.example.com TXT\n- b.example.com TXT", "alignment", Fail, &["no DKIM signature passes"]),
        (r#"_dmarc.example.com TXT "v=DMARC1; p=none; aspf=s; rua=mailto:dmarc@example.com""#, "alignment", Warn, &["not aligned"]),
        ("b.example.com SERVFAIL TXT", "alignment", Unknown, &["not all of it could be asked"]),
        ("ps1._domainkey.example.com SERVFAIL", "alignment", Unknown, &[]),
    ];
    each(cases, &subject).await;
    let unsaid = || Subject { bounce_domain: None, ..subject() };
    each(&[("", "alignment", Unknown, &["--bounce-domain"])], &unsaid).await;
    let shared = || Subject { bounce_domain: Some(domain("eu-west-1.amazonses.com")), ..subject() };
    each(&[("", "alignment", Warn, &["shared domain of Amazon SES"])], &shared).await;
}

#[tokio::test]
async fn the_two_methods_of_alignment_can_differ() {
    let author = || Subject { domain: domain("mail.example.com"), ..subject() };
    // Only the lower name has a record, so that the walk from the bounce domain finds nothing (RFC 9989 §4.10.2).
    let lower = "- _dmarc.example.com TXT\n_dmarc.mail.example.com TXT \"v=DMARC1; p=none; rua=mailto:dmarc@mail.example.com\"";
    each(&[(lower, "dmarc-methods", Warn, &["b.example.com is not aligned", "b.mail.example.com"])], &author).await;
    let psd = "_dmarc.b.example.com TXT \"v=DMARC1; p=none; psd=n; rua=mailto:dmarc@example.com\"";
    each(&[(psd, "dmarc-methods", Warn, &["psd="])], &subject).await;
    assert!(!examined(&zone(""), author(), true).await.iter().any(|finding| finding.rule.id == "dmarc-methods"));
}

#[tokio::test]
async fn dmarc_and_the_walk_of_the_tree() {
    let cases: &[Case] = &[
        ("", "dmarc", Ok, &["p=none"]),
        ("- _dmarc.example.com TXT", "dmarc", Fail, &["_dmarc.example.com TXT \"v=DMARC1; p=none; rua=mailto:dmarc@example.com\""]),
        ("_dmarc.example.com SERVFAIL", "dmarc", Unknown, &[]),
        ("_dmarc.example.com SILENT", "dmarc", Unknown, &[]),
        ("_dmarc.com SERVFAIL", "dmarc", Ok, &[]),
        ("_dmarc.example.com TXT \"v=DMARC1; p=none\"\n_dmarc.example.com TXT \"v=DMARC1; p=reject\"", "dmarc", Fail, &["2 DMARC records"]),
        (r#"_dmarc.example.com TXT "v=DMARC1; rua=mailto:dmarc@example.com""#, "dmarc", Ok, &[]),
        (r#"_dmarc.example.com TXT "v=DMARC1; p=nothing""#, "dmarc", Fail, &["no valid \"p=\"", "v=DMARC1; p=none; rua=mailto:dmarc@example.com"]),
        (r#"_dmarc.example.com TXT "v=dmarc1; p=none""#, "dmarc", Fail, &["capitals"]),
    ];
    each(cases, &subject).await;
    let below = || Subject { domain: domain("news.example.com"), ..subject() };
    each(&[("", "dmarc", Ok, &["stands above news.example.com"])], &below).await;
    expect(&examined(&zone("- _dmarc.example.com TXT"), subject(), false).await, "dmarc", Warn, &["only bulk senders"]);
}

#[tokio::test]
async fn what_the_policy_comes_to() {
    let of = |record: &str| format!("_dmarc.example.com TXT \"v=DMARC1; {record}; rua=mailto:dmarc@example.com\"");
    for (record, status, words) in [
        ("p=none", Ok, &["p=quarantine; t=y"][..]),
        ("p=quarantine; t=y", Ok, &["counts as none"]),
        ("p=quarantine", Ok, &["p=reject; t=y"]),
        ("p=reject", Ok, &["p=reject"]),
        ("p=none; sp=quarantine", Ok, &["sp=quarantine for the domains below"]),
        ("p=reject; sp=none", Warn, &["meets sp=none only", "raise sp="]),
        ("p=reject; np=none", Warn, &["does not exist", "np=none"]),
        ("p=quarantine; np=reject", Ok, &["np=reject"]),
    ] {
        expect(&examined(&zone(&of(record)), subject(), true).await, "dmarc-policy", status, words);
    }
}

#[tokio::test]
async fn where_reports_go() {
    let of = |rua: &str| format!("_dmarc.example.com TXT \"v=DMARC1; p=none; rua={rua}\"");
    let consent = "example.com._report._dmarc.reports.example TXT \"v=DMARC1\"\nreports.example MX 10 mail.example.com";
    for (instead, status, words) in [
        (of("mailto:dmarc@example.com"), Ok, &["same organisation"][..]),
        ("_dmarc.example.com TXT \"v=DMARC1; p=none\"".to_owned(), Warn, &["no rua=", "v=DMARC1; p=none; rua=mailto:dmarc@example.com"]),
        (of("mailto:hoge@exmaple.com"), Fail, &["exmaple.com takes no mail", "spelling"]),
        (
            format!("{}\nreports.example MX 10 mail.example.com", of("mailto:a@reports.example")),
            Fail,
            &["example.com._report._dmarc.reports.example TXT \"v=DMARC1\""],
        ),
        (format!("{}\n{consent}", of("mailto:a@reports.example!10m")), Ok, &["agrees to take them"]),
        (format!("{}\nreports.example MX 0 .", of("mailto:a@reports.example")), Fail, &["takes no mail"]),
        (format!("{}\nreports.example SERVFAIL", of("mailto:a@reports.example")), Unknown, &[]),
        (
            format!("{}\nreports.example MX 10 mail.example.com\nexample.com._report._dmarc.reports.example SERVFAIL", of("mailto:a@reports.example")),
            Unknown,
            &[],
        ),
        (of("https://reports.example/"), Warn, &["mailto:"]),
        (format!("{}; ruf=mailto:f@example.com\"", of("mailto:dmarc@example.com").trim_end_matches('"')), Ok, &["ruf="]),
    ] {
        println!("{instead}");
        expect(&examined(&zone(&instead), subject(), true).await, "dmarc-reports", status, words);
    }
}

#[tokio::test]
async fn strict_alignment_and_the_bounce_domain() {
    let of = |tags: &str| format!("_dmarc.example.com TXT \"v=DMARC1; p=none; {tags}; rua=mailto:dmarc@example.com\"");
    expect(
        &examined(&zone(&of("aspf=s")), subject(), true).await,
        "dmarc-strict",
        Fail,
        &["bears b.example.com", "\"v=DMARC1; p=none; rua=mailto:dmarc@example.com\""],
    );
    let own = Subject { bounce_domain: Some(domain("example.com")), ..subject() };
    assert!(!examined(&zone(&of("aspf=s; adkim=s")), own, true).await.iter().any(|finding| finding.rule.id == "dmarc-strict"));
    let below = KeyId { domain: domain("mail.example.com"), selector: Selector::new("s1") };
    let signed_below = Subject { keys: vec![ExpectedKey { id: below, ours: None }], ..subject() };
    expect(&examined(&zone(&of("adkim=s")), signed_below, true).await, "dmarc-strict", Warn, &["signatures of mail.example.com"]);
}

#[tokio::test]
async fn bounces_and_replies_come_home() {
    let cases: &[Case] = &[
        ("- b.example.com MX", "mx-bounce", Fail, &["no MX record", "b.example.com MX 10 mx1.example.com."]),
        ("b.example.com MX 0 .", "mx-bounce", Fail, &["null MX"]),
        ("b.example.com MX 10 nowhere.example.com", "mx-bounce", Fail, &["nowhere.example.com has no address"]),
        ("b.example.com MX 10 mail.example.com", "mx-bounce", Warn, &["not to this relay, mx1.example.com"]),
        ("b.example.com SERVFAIL MX", "mx-bounce", Unknown, &[]),
        ("mx1.example.com SERVFAIL", "mx-bounce", Unknown, &[]),
        ("b.example.com NOTHING", "mx-bounce", Fail, &["there is no such name"]),
        ("b.example.com NOTHING", "soa-exists", Fail, &["NXDOMAIN", "b.example.com MX 10"]),
        ("b.example.com SERVFAIL", "soa-exists", Unknown, &[]),
        ("example.com MX 0 .", "mx-author", Fail, &["must not send"]),
        ("- example.com MX", "mx-author", Warn, &["no MX record"]),
        ("example.com SERVFAIL MX", "mx-author", Unknown, &[]),
    ];
    each(cases, &subject).await;
}

#[tokio::test]
async fn what_protects_bounces() {
    let cases: &[Case] = &[
        ("", "mta-sts", Ok, &["no policy"]),
        (r#"_mta-sts.b.example.com TXT "v=STSv1; id=20260101;""#, "mta-sts", Ok, &["https://mta-sts.b.example.com/.well-known/mta-sts.txt"]),
        (r#"_mta-sts.b.example.com TXT "v=STSv1; id=2026-01-01;""#, "mta-sts", Warn, &["id="]),
        (r#"_mta-sts.b.example.com TXT "STSv1; id=1""#, "mta-sts", Warn, &["does not begin"]),
        ("_mta-sts.b.example.com TXT \"v=STSv1; id=1\"\n_mta-sts.b.example.com TXT \"v=STSv1; id=2\"", "mta-sts", Warn, &["2 records"]),
        ("_mta-sts.b.example.com SERVFAIL", "mta-sts", Unknown, &[]),
        ("", "tls-rpt", Ok, &["no record"]),
        (r#"_smtp._tls.b.example.com TXT "v=TLSRPTv1; rua=mailto:t@example.com,https://example.com/t""#, "tls-rpt", Ok, &[]),
        (r#"_smtp._tls.b.example.com TXT "v=TLSRPTv1; rua=t@example.com""#, "tls-rpt", Warn, &["mailto: or https:"]),
        (r#"_smtp._tls.b.example.com TXT "TLSRPT""#, "tls-rpt", Warn, &["does not begin"]),
        ("_smtp._tls.b.example.com SILENT", "tls-rpt", Unknown, &[]),
        ("", "dane", Ok, &["no TLSA records"]),
        ("_25._tcp.mx1.example.com TLSA 3 1 1 abcdef", "dane", Ok, &["was not validated"]),
        ("_25._tcp.mx1.example.com TLSA 1 1 1 abcdef", "dane", Warn, &["usage 3"]),
        ("_25._tcp.mx1.example.com SERVFAIL", "dane", Unknown, &[]),
    ];
    each(cases, &subject).await;
}

#[tokio::test]
async fn a_logo_needs_a_policy() {
    let logo = "default._bimi.example.com TXT \"v=BIMI1; l=https://example.com/l.svg; a=https://example.com/c.pem\"";
    let enforced = "_dmarc.example.com TXT \"v=DMARC1; p=quarantine; rua=mailto:dmarc@example.com\"";
    let cases: &[Case] = &[
        (logo, "bimi", Warn, &["comes to none"]),
        (&format!("{logo}\n{enforced}"), "bimi", Ok, &["l.svg"]),
        (&format!("{logo}\n- _dmarc.example.com TXT"), "bimi", Warn, &["no DMARC record"]),
        (&format!("default._bimi.example.com TXT \"v=BIMI1; l=https://example.com/l.svg;\"\n{enforced}"), "bimi", Warn, &["VMC"]),
        ("default._bimi.example.com TXT \"v=BIMI1; l=; a=;\"", "bimi", Ok, &["declines"]),
        ("default._bimi.example.com TXT \"v=BIMI1 l=http://example.com/l.svg\"", "bimi", Warn, &["no record of BIMI"]),
        ("default._bimi.example.com SERVFAIL", "bimi", Unknown, &[]),
    ];
    each(cases, &subject).await;
    assert!(!examined(&zone(""), subject(), true).await.iter().any(|finding| finding.rule.id == "bimi"), "nobody has to have a logo");
}

#[tokio::test]
async fn reverse_dns_of_the_addresses_that_send() {
    let v4 = "25.2.0.192.in-addr.arpa";
    for (instead, rule, status, words) in [
        (String::new(), "ptr", Ok, &["mx1.example.com leads back to it"][..]),
        (format!("- {v4} PTR"), "ptr", Fail, &["no PTR record", "25.2.0.192.in-addr.arpa PTR mx1.example.com."]),
        (format!("{v4} PTR mail.example.com"), "ptr", Fail, &["does not lead back", "mail.example.com A 192.0.2.25"]),
        (format!("{v4} PTR mail.example.com\n{v4} PTR mx1.example.com"), "ptr", Ok, &[]),
        (format!("{v4} SERVFAIL"), "ptr", Unknown, &[]),
        (format!("{v4} SILENT"), "ptr", Unknown, &[]),
        (format!("{v4} PTR other.example.com\nother.example.com SERVFAIL"), "ptr", Unknown, &[]),
        (format!("{v4} PTR host-192-0-2-25.isp.example\nhost-192-0-2-25.isp.example A 192.0.2.25"), "ptr-generic", Warn, &["made of the address"]),
        (format!("{v4} PTR 25.2.0.192.isp.example\n25.2.0.192.isp.example A 192.0.2.25"), "ptr-generic", Warn, &["made of the address"]),
        (format!("{v4} PTR a.dyn.isp.example\na.dyn.isp.example A 192.0.2.25"), "ptr-generic", Warn, &["says \"dyn\""]),
        (format!("{v4} PTR out.example.com\nout.example.com A 192.0.2.25"), "ehlo", Warn, &["names out.example.com", "PTR mx1.example.com."]),
        ("- mx1.example.com AAAA".to_owned(), "ehlo", Warn, &["does not lead to 2001:db8::25", "mx1.example.com AAAA 2001:db8::25"]),
        ("mx1.example.com NOTHING".to_owned(), "ehlo", Fail, &["no address in the DNS"]),
        ("mx1.example.com SERVFAIL".to_owned(), "ehlo", Unknown, &[]),
        (String::new(), "spf-helo", Ok, &["lets in 192.0.2.25"]),
        ("- mx1.example.com TXT".to_owned(), "spf-helo", Warn, &["mx1.example.com TXT \"v=spf1 a -all\""]),
        ("mx1.example.com TXT \"v=spf1 -all\"".to_owned(), "spf-helo", Fail, &["does not let in 192.0.2.25"]),
    ] {
        println!("{rule}: {instead}");
        expect(&examined_relay(&zone(&instead), relay()).await, rule, status, words);
    }
}

#[tokio::test]
async fn addresses_that_are_not_configured_or_not_public() {
    let mut unsaid = relay();
    unsaid.sources[0].addresses.clear();
    expect(&examined_relay(&zone(""), unsaid.clone()).await, "ptr", Ok, &["not configured; taken from mx1.example.com"]);
    expect(&examined_relay(&zone("- 25.2.0.192.in-addr.arpa PTR"), unsaid.clone()).await, "ptr", Unknown, &["if it does", "--address"]);
    expect(&examined_relay(&zone("mx1.example.com NOTHING"), unsaid.clone()).await, "ptr", Unknown, &["has none in the DNS", "--address"]);
    expect(&examined_relay(&zone("mx1.example.com SERVFAIL"), unsaid.clone()).await, "ptr", Unknown, &["could not be asked"]);
    unsaid.sources[0].ehlo.clear();
    expect(&examined_relay(&zone(""), unsaid).await, "ptr", Unknown, &["--address", "--helo"]);
    let mut hidden = relay();
    hidden.sources[0].addresses = vec!["10.1.2.3".parse().unwrap()];
    expect(&examined_relay(&zone(""), hidden).await, "ptr", Unknown, &["a private address"]);
    let mut unqualified = relay();
    unqualified.sources[0].ehlo = "pod-7".to_owned();
    expect(&examined_relay(&zone(""), unqualified).await, "ehlo", Fail, &["no full domain name"]);
    let mut smart = relay();
    smart.smart_host = Some("provider".to_owned());
    expect(&examined_relay(&zone("- 25.2.0.192.in-addr.arpa PTR"), smart).await, "ptr", Ok, &["smart host"]);
}

#[tokio::test]
async fn certificates_of_the_relay() {
    let day = 86_400;
    let face = |names: &[&str], from: i64, until: i64| CertificateFace {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        not_before: Timestamp::from_unix_seconds(now().unix_seconds() + from * day),
        not_after: Timestamp::from_unix_seconds(now().unix_seconds() + until * day),
    };
    for (face, status, word) in [
        (Result::Ok(face(&["mx1.example.com"], -10, 80)), Ok, "until 2026-03-23"),
        (Result::Ok(face(&["*.example.com"], -10, 80)), Ok, "proves mx1.example.com"),
        (Result::Ok(face(&["mx1.example.com"], -10, 14)), Ok, ""),
        (Result::Ok(face(&["mx1.example.com"], -10, 13)), Warn, "in 13 days"),
        (Result::Ok(face(&["mx1.example.com"], -10, 0)), Fail, "expired on 2026-01-02"),
        (Result::Ok(face(&["mx1.example.com"], 1, 80)), Fail, "only from 2026-01-03"),
        (Result::Ok(face(&["example.com", "*.b.example.com"], -10, 80)), Warn, "not the host name"),
        (Result::Ok(face(&[], -10, 80)), Warn, "no name at all"),
        (Err("tls.pem: not there".to_owned()), Fail, "not there"),
    ] {
        let mut relay = relay();
        relay.certificates = vec![CertificateFacts { file: "tls.pem".to_owned(), face }];
        expect(&examined_relay(&zone(""), relay).await, "tls", status, &[word]);
    }
}

#[tokio::test]
async fn domains_that_never_send() {
    const PARKED: &str = r#"
        parked.example TXT "v=spf1 -all"
        *.parked.example TXT "v=spf1 -all"
        *._domainkey.parked.example TXT "v=DKIM1; p="
        _dmarc.parked.example TXT "v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s; rua=mailto:dmarc@parked.example"
        default._bimi.parked.example TXT "v=BIMI1; l=; a=;"
        parked.example MX 0 .
    "#;
    let of = |purpose: Use| Subject { domain: domain("parked.example"), bounce_domain: None, keys: vec![], purpose, ..subject() };
    let without = |owner: &str, instead: &str| PARKED.lines().filter(|line| !line.trim().starts_with(owner)).chain([instead]).collect::<Vec<_>>().join("\n");
    let findings = examined(PARKED, of(Use::Unsaid), true).await;
    expect(&findings, "parked", Ok, &["recognised as parked, complete"]);
    assert!(findings.iter().all(|finding| finding.status == Ok), "{findings:#?}");
    expect(&examined(PARKED, of(Use::Parked), true).await, "parked", Ok, &["configured as parked, complete"]);
    expect(&examined(PARKED, of(Use::Sends), true).await, "parked-sends", Fail, &["parked = true"]);
    for (owner, instead, rule, status, words) in [
        ("parked.example TXT", "", "parked-spf", Fail, "parked.example TXT \"v=spf1 -all\""),
        ("parked.example TXT", "parked.example TXT \"v=spf1 mx -all\"", "parked-spf", Fail, "does not say that nobody sends"),
        ("*.parked.example", "", "parked-spf", Warn, "*.parked.example TXT \"v=spf1 -all\""),
        ("*._domainkey", "", "parked-dkim", Warn, "*._domainkey.parked.example TXT \"v=DKIM1; p=\""),
        ("_dmarc", "", "parked-dmarc", Fail, "p=reject; sp=reject; np=reject"),
        ("_dmarc", "_dmarc.parked.example TXT \"v=DMARC1; p=reject; sp=none\"", "parked-dmarc", Fail, "does not ask to reject everything"),
        ("_dmarc", "_dmarc.parked.example TXT \"v=DMARC1; p=reject; t=y\"", "parked-dmarc", Fail, "does not ask to reject everything"),
        ("_dmarc", "_dmarc.parked.example TXT \"v=DMARC1; p=reject\"", "parked-dmarc", Ok, ""),
        ("default._bimi", "", "parked-bimi", Warn, "v=BIMI1; l=; a=;"),
        ("parked.example MX", "parked.example MX 10 mail.example", "parked-mx", Ok, "it takes mail"),
        ("parked.example MX", "", "parked-mx", Warn, "MX 0 ."),
        ("default._bimi", "default._bimi.parked.example SERVFAIL", "parked-bimi", Unknown, ""),
        ("_dmarc", "_dmarc.parked.example SERVFAIL", "parked", Unknown, "not all could be asked"),
        ("_dmarc", "", "parked", Warn, "postseal dns records parked.example --parked"),
    ] {
        println!("{owner} {instead}");
        expect(&examined(&without(owner, instead), of(Use::Parked), true).await, rule, status, &[words]);
    }
    // Nothing but SPF makes no parked domain: many who send nothing from the apex publish that.
    let findings = examined(&zone("example.com TXT \"v=spf1 -all\""), Subject { purpose: Use::Unsaid, ..subject() }, true).await;
    assert!(!findings.iter().any(|finding| finding.rule.id == "parked"));
}

/// What `dns records` prints and what doctor looks for are one set.
#[tokio::test]
async fn the_records_that_we_print_satisfy_us() {
    let wanted = postseal::dns::records::parked(&domain("parked.example"), None, false, std::time::Duration::from_hours(1));
    let line = |wanted: &Wanted| format!("{} {} {}", wanted.resource.owner, wanted.resource.data.kind(), wanted.resource.data.zone_text());
    let zone = wanted.iter().map(line).collect::<Vec<_>>().join("\n");
    let subject = Subject { domain: domain("parked.example"), bounce_domain: None, keys: vec![], purpose: Use::Unsaid, ..subject() };
    let findings = examined(&zone, subject, true).await;
    expect(&findings, "parked", Ok, &["recognised as parked, complete"]);
    assert!(findings.iter().all(|finding| finding.status == Ok), "{zone}{findings:#?}");
}

#[tokio::test]
async fn a_domain_that_is_not_there_is_told_once() {
    let typo = || Subject { domain: domain("exmaple.com"), bounce_domain: None, keys: vec![], purpose: Use::Unsaid, ..subject() };
    let findings = examined(&zone(""), typo(), true).await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    expect(&findings, "soa-exists", Fail, &["no such name", "check the spelling", "exmaple.com"]);
    let findings = examined("example.com SILENT", typo(), true).await;
    assert!(findings.iter().all(|finding| finding.status != Unknown));
    for silence in [
        "com SILENT\nexmaple.com SILENT\n_dmarc.exmaple.com SILENT\n_dmarc.com SILENT",
        "exmaple.com SERVFAIL\n_dmarc.exmaple.com SERVFAIL\n_dmarc.com SERVFAIL",
    ] {
        let findings = examined(silence, typo(), true).await;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        expect(&findings, "soa-exists", Unknown, &["--resolver"]);
    }
}

#[tokio::test]
async fn below_the_bulk_threshold_one_of_the_two_is_enough() {
    for (instead, rule) in [("- b.example.com TXT", "spf-bounce"), ("- ps1._domainkey.example.com TXT", "dkim-author")] {
        expect(&examined(&zone(instead), subject(), true).await, rule, Fail, &[]);
        expect(&examined(&zone(instead), subject(), false).await, rule, Warn, &["only one of SPF and DKIM"]);
    }
    let neither = examined(&zone("- b.example.com TXT\n- ps1._domainkey.example.com TXT"), subject(), false).await;
    expect(&neither, "spf-bounce", Fail, &[]);
    expect(&neither, "dkim-author", Fail, &[]);
    let demanded = |bulk: bool| neither.iter().find(|finding| finding.rule.id == "dkim-author").unwrap().rule.demanded_by(bulk).collect::<Vec<_>>();
    assert_eq!(demanded(true), Provider::ALL);
    assert_eq!(demanded(false), [Provider::Gmail, Provider::Yahoo]);
}
