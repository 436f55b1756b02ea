use super::domain;
use postseal::verdict::dmarc::{applicable, only_record, tree_walk};
use postseal::verdict::{
    Alignment, Check, Dmarc, DmarcFact, DmarcFault, DmarcRecord, Facts, Identity, Policy, Psd, SpfFact, dmarc_record, judge, organizational_domain,
};
use proptest::prelude::*;

fn read(text: &str) -> DmarcRecord {
    dmarc_record(text).unwrap()
}

#[test]
fn every_tag_is_read() {
    let record = read(
        "v=DMARC1; p=reject;sp=Quarantine ; np = none; adkim=s; aspf=S; t=y; psd=n; fo=1:d; rua=mailto:a@x.example!10m, https://x.example/r; ruf=mailto:b@x.example;",
    );
    assert_eq!((record.p, record.sp, record.np), (Some(Policy::Reject), Some(Policy::Quarantine), Some(Policy::None)));
    assert_eq!((record.adkim, record.aspf, record.testing, record.psd), (Alignment::Strict, Alignment::Strict, true, Psd::No));
    assert_eq!((record.rua.join(" "), record.ruf.join(" ")), ("mailto:a@x.example https://x.example/r".into(), "mailto:b@x.example".into()));
    assert!(record.ignored.is_empty());
    let defaults = read("v=DMARC1;p=none");
    assert_eq!((defaults.sp, defaults.np, defaults.adkim, defaults.aspf), (None, None, Alignment::Relaxed, Alignment::Relaxed));
    assert_eq!((defaults.testing, defaults.psd), (false, Psd::Unknown));
}

/// The records of an article that many have copied from.
#[test]
fn a_missing_semicolon_voids_the_record() {
    for (text, mended) in [
        ("v=DMARC1 p=none rua=mailto:h@example.com ruf=mailto:h@example.com", "v=DMARC1; p=none; rua=mailto:h@example.com; ruf=mailto:h@example.com"),
        ("v=DMARC1 p=quarantine", "v=DMARC1; p=quarantine"),
        ("v=DMARC1 p=reject; pct=50", "v=DMARC1; p=reject; pct=50"),
    ] {
        assert_eq!(dmarc_record(text), Err(DmarcFault::NoSemicolon(mended.into())));
        assert!(dmarc_record(mended).is_ok());
    }
}

#[test]
fn the_version_comes_first_and_is_exact() {
    for text in ["", "p=none; v=DMARC1", "v=spf1 -all", "hello", ";v=DMARC1", "=DMARC1"] {
        assert_eq!(dmarc_record(text), Err(DmarcFault::NoVersion), "{text}");
    }
    for text in ["v=dmarc1; p=none", "v=DMARC2; p=none", "v=Dmarc1;p=none"] {
        assert!(matches!(dmarc_record(text), Err(DmarcFault::Version(_))), "{text}");
    }
    assert!(dmarc_record(" v = DMARC1 ;p=none").is_ok());
}

#[test]
fn what_is_not_understood_is_passed_over() {
    let record = read("v=DMARC1; p=none; pct=20; rf=afrf; stray; adkim=x; P=reject; p=reject; rua=,nonsense,mailto:x");
    assert_eq!((record.p, record.adkim), (Some(Policy::None), Alignment::Relaxed));
    assert_eq!(record.ignored.join("|"), "pct=20|rf=afrf|stray|adkim=x|P=reject|p=reject|rua=,nonsense,mailto:x");
}

#[test]
fn without_a_valid_policy_only_the_wish_for_reports_keeps_it_alive() {
    for broken in ["", "p=often;", "p=reject; sp=x;", "p=reject; np=;", "sp=reject;"] {
        let policy = |text: &str| read(text).policy(&domain("example.com"), &domain("example.com"), true);
        assert_eq!(policy(&format!("v=DMARC1; {broken}")), None, "{broken}");
        assert_eq!(policy(&format!("v=DMARC1; {broken} rua=mailto:d@example.com")), Some(Policy::None), "{broken}");
    }
}

#[test]
fn subdomains_have_policies_of_their_own() {
    let (org, sub) = (domain("example.com"), domain("mail.example.com"));
    for (text, at_home, existing, missing) in [
        ("v=DMARC1; p=reject", Policy::Reject, Policy::Reject, Policy::Reject),
        ("v=DMARC1; p=reject; sp=none", Policy::Reject, Policy::None, Policy::None),
        ("v=DMARC1; p=none; sp=quarantine; np=reject", Policy::None, Policy::Quarantine, Policy::Reject),
        ("v=DMARC1; p=none; np=reject", Policy::None, Policy::None, Policy::Reject),
        ("v=DMARC1; p=reject; sp=quarantine; t=y", Policy::Quarantine, Policy::None, Policy::None),
    ] {
        let record = read(text);
        assert_eq!(record.policy(&org, &org, true), Some(at_home), "{text}");
        assert_eq!(record.policy(&org, &sub, true), Some(existing), "{text}");
        assert_eq!(record.policy(&org, &sub, false), Some(missing), "{text}");
    }
}

#[test]
fn one_record_counts_and_several_do_not() {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    assert_eq!(only_record(&texts(&[])), Ok(None));
    assert_eq!(only_record(&texts(&["v=spf1 -all", "google-site-verification=x"])), Ok(None));
    assert_eq!(only_record(&texts(&["other", "v=DMARC1; p=none"])), Ok(Some(read("v=DMARC1; p=none"))));
    assert_eq!(only_record(&texts(&["v=DMARC1 p=none", "v=DMARC1; p=none"])), Ok(Some(read("v=DMARC1; p=none"))), "the void one is discarded first");
    assert_eq!(only_record(&texts(&["v=DMARC1; p=none", "v=DMARC1; p=reject"])).unwrap_err().1, DmarcFault::Several(2));
    assert!(matches!(only_record(&texts(&["v=DMARC1 p=none"])).unwrap_err().1, DmarcFault::NoSemicolon(_)));
}

/// RFC 9989 §4.10 and §5.1.8.
#[test]
fn the_walk_asks_at_most_eight_names() {
    let walk = |name: &str| tree_walk(&domain(name)).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(walk("a.mail.example.com"), "a.mail.example.com mail.example.com example.com com");
    assert_eq!(
        walk("a.b.c.d.e.f.g.h.i.j.mail.example.com"),
        "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com"
    );
    assert_eq!(tree_walk(&domain("a.b.c.d.e.f.g.com")).len(), 8);
    assert_eq!(walk("com"), "com");
}

/// RFC 9989 §4.10.2, its three examples and the trap of a record below the apex only.
#[test]
fn organisations_follow_from_the_records_found() {
    let organization = |start: &str, records: &[(&str, &str)]| {
        let found: Vec<_> = records.iter().map(|(name, text)| (domain(name), read(text))).collect();
        let applied = applicable(&domain(start), &found).map(|(name, _)| name.to_string()).unwrap_or_default();
        (organizational_domain(&domain(start), &found).to_string(), applied)
    };
    let expect = |organization: &str, applied: &str| (organization.to_owned(), applied.to_owned());
    let plain = "v=DMARC1; p=none";
    assert_eq!(organization("a.mail.example.com", &[("mail.example.com", plain), ("example.com", plain)]), expect("example.com", "example.com"));
    assert_eq!(organization("a.mail.example.com", &[("mail.example.com", "v=DMARC1; psd=n; p=none")]), expect("mail.example.com", "mail.example.com"));
    assert_eq!(organization("a.mail.example.com", &[("com", "v=DMARC1; psd=y; p=none")]), expect("example.com", "com"));
    assert_eq!(organization("example.com", &[("example.com", "v=DMARC1; psd=y; p=none")]), expect("example.com", "example.com"));
    assert_eq!(organization("mail.example.com", &[("mail.example.com", plain), ("com", "v=DMARC1; psd=y; p=none")]), expect("example.com", "mail.example.com"));
    assert_eq!(organization("b.example.com", &[]), expect("b.example.com", ""));
}

/// RFC 9989 §4.4 table 1 and appendix B.1: identifier, author domain, aligned when relaxed, when strict.
#[test]
fn identifiers_are_aligned_as_the_standards_examples_are() {
    for (identifier, author, relaxed, strict) in [
        ("foo.example.com", "news.example.com", true, false),
        ("news.example.com", "news.example.com", true, true),
        ("foo.example.net", "news.example.com", false, false),
        ("example.com", "example.com", true, true),
        ("child.example.com", "example.com", true, false),
        ("example.com", "child.example.com", true, false),
        ("example.net", "child.example.com", false, false),
        ("EXAMPLE.com", "example.COM", true, true),
    ] {
        for (tags, expected) in [("", relaxed), ("; aspf=s; adkim=s", strict), ("; aspf=r; adkim=r", relaxed)] {
            let record = read(&format!("v=DMARC1; p=reject{tags}"));
            let organization = |name: &str| {
                let found: Vec<_> = [("example.com", &record), ("example.net", &record)].iter().map(|(at, record)| (domain(at), (*record).clone())).collect();
                let walked: Vec<_> = found.into_iter().filter(|(at, _)| domain(name).is_at_or_below(at)).collect();
                (domain(name), organizational_domain(&domain(name), &walked))
            };
            let facts = Facts {
                author: domain(author),
                spf: SpfFact { result: Check::Pass, domain: Some(domain(identifier)), identity: Identity::MailFrom },
                dkim: Vec::new(),
                dmarc: DmarcFact::Record { record: record.clone(), at: domain("example.com"), author_exists: true },
                organizations: [identifier, author].map(organization).into(),
                bulk: true,
            };
            for is_spf in [true, false] {
                assert_eq!(facts.is_aligned_for(&domain(identifier), is_spf), expected, "{identifier} {author} {tags}");
            }
            assert_eq!(judge(&facts).dmarc, if expected { Dmarc::Pass } else { Dmarc::Fail }, "{identifier} {author} {tags}");
        }
    }
}

/// RFC 9989 appendix B.2: the records of a domain on its way, and of a public suffix.
#[test]
fn the_records_of_the_standards_examples_are_read() {
    for (text, policy, rua, ruf, testing) in [
        ("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", Some(Policy::None), 1, 0, false),
        ("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com", Some(Policy::None), 1, 1, false),
        ("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@thirdparty.example.net", Some(Policy::None), 1, 1, false),
        ("v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net!10m; t=y", Some(Policy::Quarantine), 2, 0, true),
        ("v=DMARC1; p=reject; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net", Some(Policy::Reject), 2, 0, false),
    ] {
        let record = read(text);
        assert_eq!((record.p, record.rua.len(), record.ruf.len(), record.testing, record.ignored.len()), (policy, rua, ruf, testing, 0), "{text}");
    }
    let permission = read("v=DMARC1;"); // B.2.3: it permits reports and asks for nothing
    assert_eq!((permission.p, permission.rua.len()), (None, 0));
}

/// RFC 9989 appendix B.4: the author domain, an identifier, the records there are; the organisations of both, the place of the policy.
#[test]
fn trees_are_walked_as_in_the_standards_examples() {
    let plain = "v=DMARC1; p=none";
    let simple = &[("signing.example.com", plain), ("example.com", plain)][..];
    let suffix = &[("giant.bank.example", plain), ("bank.example", "v=DMARC1; psd=y; p=none")][..];
    let deep = "a.b.c.d.e.f.g.h.i.j.k.example.com";
    let found = |start: &str, records: &[(&str, &str)]| {
        let mut found = Vec::new();
        for name in tree_walk(&domain(start)) {
            if let Some((_, text)) = records.iter().find(|(at, _)| domain(at) == name) {
                found.push((name, read(text)));
                if read(text).psd != Psd::Unknown {
                    break;
                }
            }
        }
        found
    };
    for (author, identifier, records, organizations, policy) in [
        ("example.com", "example.com", simple, ["example.com", "example.com"], "example.com"), // B.4.1
        ("example.com", "signing.example.com", simple, ["example.com", "example.com"], "example.com"),
        (deep, "example.com", simple, ["example.com", "example.com"], "example.com"), // B.4.2
        (deep, "signing.example.com", simple, ["example.com", "example.com"], "example.com"),
        ("giant.bank.example", "mail.giant.bank.example", suffix, ["giant.bank.example", "giant.bank.example"], "giant.bank.example"), // B.4.3
        ("giant.bank.example", "mail.mega.bank.example", suffix, ["giant.bank.example", "mega.bank.example"], "giant.bank.example"),
    ] {
        let walked = [author, identifier].map(|start| organizational_domain(&domain(start), &found(start, records)).to_string());
        assert_eq!(walked, organizations, "{author} {identifier}");
        assert_eq!(applicable(&domain(author), &found(author, records)).unwrap().0, domain(policy), "{author}");
    }
    let names = "a.b.c.d.e.f.g.h.i.j.k.example.com g.h.i.j.k.example.com h.i.j.k.example.com i.j.k.example.com j.k.example.com k.example.com example.com com";
    assert_eq!(tree_walk(&domain(deep)).iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), names);
}

/// RFC 9989 §4.10.1: where the policy comes from, for a record at home, at the organisation and at the public suffix.
#[test]
fn the_policy_is_that_of_the_nearest_of_three_places() {
    let policy = |author: &str, exists: bool, records: &[(&str, &str)]| {
        let found: Vec<_> = records.iter().map(|(name, text)| (domain(name), read(text))).collect();
        applicable(&domain(author), &found).and_then(|(at, record)| record.policy(at, &domain(author), exists))
    };
    let suffix = ("example", "v=DMARC1; psd=y; p=none; sp=quarantine; np=reject");
    let home = ("mail.giant.example", "v=DMARC1; p=reject; sp=none; np=none");
    let organization = ("giant.example", "v=DMARC1; p=quarantine; sp=reject; np=none");
    for (author, exists, records, expected) in [
        ("mail.giant.example", true, &[home, organization, suffix][..], Some(Policy::Reject)),
        ("mail.giant.example", false, &[home, organization, suffix], Some(Policy::Reject)),
        ("a.mail.giant.example", true, &[home, organization, suffix], Some(Policy::Reject)), // sp of the organisation, not of what lies between
        ("a.mail.giant.example", false, &[home, organization, suffix], Some(Policy::None)),
        ("giant.example", true, &[organization, suffix], Some(Policy::Quarantine)),
        ("giant.example", true, &[suffix], Some(Policy::Quarantine)), // sp of the suffix
        ("giant.example", false, &[suffix], Some(Policy::Reject)),    // np of the suffix: a name that nobody registered
        ("mail.giant.example", true, &[suffix], Some(Policy::Quarantine)),
        ("example", true, &[suffix], Some(Policy::None)),
        ("mail.giant.example", true, &[], None),
        // Several psd=n on the way: the first from below is the organisation.
        ("a.mail.giant.example", true, &[("mail.giant.example", "v=DMARC1; psd=n; p=reject; sp=quarantine"), organization], Some(Policy::Quarantine)),
    ] {
        assert_eq!(policy(author, exists, records), expected, "{author} {exists} {records:?}");
    }
}

proptest! {
    #[test]
    fn nothing_from_outside_panics(text in "(v=DMARC1|[ -~]|;|=|é|p=none|rua=mailto:){0,40}") {
        if let Ok(record) = dmarc_record(&text) {
            prop_assert!(text.contains("DMARC1"));
            let _ = record.policy(&domain("a.example"), &domain("b.a.example"), false);
        }
    }
}
