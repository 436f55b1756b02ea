//! SPF records as people write them: which are read, what is said of the others.

use postseal::verdict::spf::{Mechanism, Qualifier, Remark, Selected, TermKind, Why, select, spf_record};

#[test]
fn records_of_every_term_are_read() {
    let text = "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 a mx/28//64 a:web.example.com/24 ?exists:%{ir}.%{v}.example.com include:_spf.example.net ~all exp=why.%{d} x-own=%{c}";
    let record = spf_record(text).unwrap();
    assert_eq!(record.terms.len(), 10);
    assert_eq!((record.all(), record.redirect()), (Some(Qualifier::SoftFail), None));
    for (term, place) in record.terms.iter().map(|term| (&term.text, term.at)) {
        assert_eq!(&text[place..place + term.len()], term, "the place leads to the term");
    }
    let TermKind::Directive(Qualifier::Pass, Mechanism::Mx(None, prefixes)) = &record.terms[3].kind else { panic!("{:?}", record.terms[3]) };
    assert_eq!((prefixes.v4, prefixes.v6), (28, 64));
    let capitals = spf_record("V=SPF1 IP4:192.0.2.1 Redirect=SPF.example.NET  ").unwrap();
    assert_eq!(capitals.redirect().unwrap().1.as_str(), "SPF.example.NET");
}

/// What is written, where the fault is, and what is said of it.
const FAULTS: [(&str, usize, &str); 31] = [
    ("v=spf1 ipv4:192.0.2.1 -all", 7, "write \"ip4:192.0.2.1\""),
    ("v=spf1 ~ipv6:2001:db8::1 -all", 7, "write \"~ip6:2001:db8::1\""),
    ("v=spf1 ip:192.0.2.1 -all", 7, "write \"ip4:192.0.2.1\""),
    ("v=spf1 192.0.2.1 -all", 7, "write \"ip4:192.0.2.1\""),
    ("v=spf1 2001:db8::1 -all", 7, "write \"ip6:2001:db8::1\""),
    ("v=spf1 ip4: 192.0.2.1 -all", 7, "there is a space behind the colon; write \"ip4:192.0.2.1\""),
    ("v=spf1 include: example.com -all", 7, "write \"include:example.com\""),
    ("v=spf1 ip4:192.0.2.1ip4:192.0.2.2 -all", 7, "a space is missing before \"ip4:192.0.2.2\""),
    ("v=spf1 ip4:192.0.2.0/24-all", 7, "a space is missing before \"-all\""),
    ("v=spf1 include:_spf.google.com~all", 7, "a space is missing before \"~all\""),
    ("v=spf1 ip4:192.0.2.1,192.0.2.2 -all", 7, "write \"ip4:192.0.2.1 ip4:192.0.2.2\""),
    ("v=spf1 ip4:2001:db8::1 -all", 7, "write \"ip6:2001:db8::1\""),
    ("v=spf1 ip6:192.0.2.1 -all", 7, "write \"ip4:192.0.2.1\""),
    ("v=spf1 ip6:[2001:db8::1] -all", 7, "write \"ip6:2001:db8::1\""),
    ("v=spf1 ip4:mail.example.com -all", 7, "write \"a:mail.example.com\""),
    ("v=spf1 ip4:192.0.02.1 -all", 7, "write \"ip4:192.0.2.1\""),
    ("v=spf1 ip4:192.0.2.0/33 -all", 7, "\"/33\" is no prefix length: expected 0 to 32"),
    ("v=spf1 ip4:192.0.2.0/024 -all", 7, "without leading zeros"),
    ("v=spf1 ip6:2001:db8::/129 -all", 7, "expected 0 to 128"),
    ("v=spf1 a/33 -all", 7, "expected 0 to 32"),
    ("v=spf1 mx//129 -all", 7, "expected 0 to 128"),
    ("v=spf1 a/ -all", 7, "expected 0 to 32"),
    ("v=spf1 inlcude:example.com -all", 7, "write \"include:example.com\""),
    ("v=spf1 redirect:example.com", 7, "write \"redirect=example.com\""),
    ("v=spf1 mx -al", 10, "write \"-all\""),
    ("v=spf1 all:example.com", 7, "\":example.com\" may not follow \"all\""),
    ("v=spf1 include -all", 7, "\"include:\" needs the name of a domain"),
    ("v=spf1 include:museum -all", 7, "\"museum\" is no domain"),
    ("v=spf1 exists:%{x}.example.com -all", 7, "\"%{x}\" is no macro"),
    ("v=spf1 exists:%{c}.example.com -all", 7, "may stand in explanations only"),
    ("v=spf1 mx;-all", 7, "\"mx;-all\""),
];

#[test]
fn faults_are_named_with_their_place_and_what_was_meant() {
    for (text, at, says) in FAULTS {
        let faults = spf_record(text).unwrap_err();
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        let said = faults[0].to_string();
        assert!(faults[0].at == at && said.contains(says) && said.contains(&format!("at character {}", at + 1)), "{text}: {said}");
    }
}

#[test]
fn all_faults_are_named_at_once() {
    let faults = spf_record("v=spf1 ipv4:192.0.2.1 a:b redirect=a.example redirect=b.example foo\tbar").unwrap_err();
    assert_eq!(faults.iter().map(|fault| fault.at).collect::<Vec<_>>(), [7, 22, 45, 64]);
    assert_eq!((&faults[2].why, &faults[3].why), (&Why::ModifierTwice, &Why::Character('\t')));
    assert!(spf_record(&format!("v=spf1 {}", "x".repeat(5000))).unwrap_err()[0].to_string().len() < 400, "long terms are shortened");
}

#[test]
fn what_was_proposed_instead_is_right_itself() {
    for (text, ..) in FAULTS {
        let said = spf_record(text).unwrap_err()[0].to_string();
        let Some(meant) = said.split("write \"").nth(1).and_then(|rest| rest.split('"').next()) else { continue };
        assert!(spf_record(&format!("v=spf1 {meant}")).is_ok(), "{text}: {meant}");
    }
}

#[test]
fn what_is_legal_but_unwise_is_remarked_on() {
    type Is = fn(&Remark) -> bool;
    let cases: [(&str, &[Is]); 13] = [
        ("v=spf1 include:a.example.cominclude:b.example.com ~all", &[|r| r.to_string().contains("a space is missing before \"include:b.example.com\"")]),
        ("v=spf1 mx ~all", &[]),
        ("v=spf1 redirect=spf.example.net", &[]),
        ("v=spf1 mx +all", &[|r| matches!(r, Remark::PassesEverybody(_))]),
        ("v=spf1 mx all", &[|r| matches!(r, Remark::PassesEverybody(_))]),
        ("v=spf1 mx ?all", &[|r| matches!(r, Remark::NobodyRefused(Some(_)))]),
        ("v=spf1 mx", &[|r| matches!(r, Remark::NobodyRefused(None))]),
        ("v=spf1 ptr -all", &[|r| matches!(r, Remark::Ptr(_))]),
        ("v=spf1 -all mx", &[|r| matches!(r, Remark::BehindAll(_))]),
        ("v=spf1 -all redirect=spf.example.net", &[|r| matches!(r, Remark::RedirectBesideAll(_))]),
        ("v=spf1 ip4:10.0.0.0/15 ip4:10.0.0.0/16 ip6:2001:db8::/31 -all", &[|r| matches!(r, Remark::HugeNetwork(_)), |r| matches!(r, Remark::HugeNetwork(_))]),
        (
            "v=spf1 mx MX a ip4=192.0.2.1 op=x -all",
            &[
                |r| matches!(r, Remark::Twice(_)),
                |r| matches!(r, Remark::ModifierForMechanism(_)) && r.to_string().contains("write \"ip4:192.0.2.1\""),
                |r| matches!(r, Remark::UnknownModifier(_)),
            ],
        ),
        ("v=spf1 -ip4:0.0.0.0/0 ~all", &[]),
    ];
    for (text, expected) in cases {
        let remarks = spf_record(text).unwrap().remarks();
        assert!(remarks.len() == expected.len() && remarks.iter().zip(expected).all(|(remark, is)| is(remark)), "{text}: {remarks:?}");
    }
    let long = format!("v=spf1 {}-all", "ip4:192.0.2.100 ".repeat(40));
    assert!(spf_record(&long).unwrap().remarks().iter().any(|remark| matches!(remark, Remark::Long(_))));
}

#[test]
fn the_record_is_chosen_among_texts() {
    let select = |texts: &[&str]| select(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert!(matches!(select(&["google-site-verification=x", "v=spf1 -all"]), Selected::Record(_)));
    assert!(matches!(select(&["v=spf1"]), Selected::Record(record) if record.terms.is_empty()));
    assert_eq!(select(&["v=spf10 -all", "x"]), select(&["v=spf10 -all"]), "another version is no record");
    assert!(matches!(select(&["v=spf1 -all", "V=spf1 mx -all"]), Selected::Several(both) if both.len() == 2));
    assert!(matches!(select(&["v=spf1 ipv4:1"]), Selected::Faulty { faults, .. } if faults.len() == 1));
    for (text, why) in [
        ("v=spf1; mx -all", "\";\" stands behind"),
        ("v=spf1mx -all", "no space behind"),
        (" v=spf1 mx -all", "something stands in front"),
        ("\"v=spf1 mx -all\"", "something stands in front"),
        ("\u{201c}v=spf1 -all\u{201d}", "something stands in front"),
        ("v= spf1 -all", "a space inside"),
        ("spf1 mx -all", "does not begin"),
        ("spf2.0/pra mx -all", "Sender ID"),
        ("v=spf10 mx -all", "another"),
    ] {
        let Selected::None(near) = select(&[text, "unrelated"]) else { panic!("{text}") };
        assert!(near.len() == 1 && near[0].why.contains(why), "{text}: {near:?}");
    }
}
