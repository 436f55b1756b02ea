//! Walks through records and what they include, in a zone in memory.

use super::domain;
use crate::support::spf_zone::SpfZone;
use postseal::dns::Kind;
use postseal::verdict::Check;
use postseal::verdict::spf::{Qualifier, Remark, Selected};
use postseal::verdict::spf_walk::{LOOKUPS_MAX, Problem, Sender, Walk, check_host, walk};
use std::net::IpAddr;

async fn walked(zone: &SpfZone, addresses: &[&str]) -> Walk {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    walk(zone, &domain("example.com"), &addresses).await
}

#[tokio::test]
async fn every_term_is_counted_with_all_it_includes() {
    let zone = SpfZone::of(
        "example.com TXT v=spf1 a mx include:one.example ip4:192.0.2.1 exists:%{i}.example.com ~all
         example.com A 192.0.2.25
         example.com AAAA 2001:db8::25
         example.com MX 10 mx.example.com
         mx.example.com A 192.0.2.26
         mx.example.com AAAA 2001:db8::26
         one.example TXT v=spf1 include:two.example redirect=three.example
         two.example TXT v=spf1 ip4:198.51.100.0/24 -all a:never.example
         three.example TXT v=spf1 ip4:203.0.113.0/24 -all",
    );
    let walk = walked(&zone, &["192.0.2.25", "2001:db8::26", "198.51.100.7", "203.0.113.9", "203.0.114.9"]).await;
    assert_eq!((walk.lookups, walk.voids, walk.all), (6, 0, Some(Qualifier::SoftFail)));
    assert!(walk.problems.is_empty() && walk.unknown.is_empty(), "{walk:?}");
    let costs: Vec<_> = walk.costs.iter().map(|cost| (cost.depth, cost.record.as_str(), cost.term.as_str(), cost.lookups, cost.depends)).collect();
    assert_eq!(
        costs,
        [
            (0, "example.com", "a", 1, false),
            (0, "example.com", "mx", 1, false),
            (0, "example.com", "include:one.example", 3, false),
            (1, "one.example", "include:two.example", 1, false),
            (1, "one.example", "redirect=three.example", 1, false),
            (0, "example.com", "exists:%{i}.example.com", 1, true),
        ]
    );
    let covered: Vec<_> =
        walk.covered.iter().map(|covered| (covered.result, covered.by.last().map_or("", |(_, term)| term.as_str()), covered.by.len())).collect();
    assert_eq!(
        covered,
        [
            (Check::Pass, "a", 1),
            (Check::Pass, "mx", 1),
            (Check::Pass, "ip4:198.51.100.0/24", 3),
            (Check::Pass, "ip4:203.0.113.0/24", 3),
            (Check::SoftFail, "~all", 1)
        ]
    );
}

#[tokio::test]
async fn ten_lookups_are_allowed_and_eleven_are_not() {
    for (terms, over) in [(LOOKUPS_MAX, false), (LOOKUPS_MAX + 1, true)] {
        let zone = SpfZone::of(&format!("example.com TXT v=spf1{} -all\nexample.com A 192.0.2.25", " a".repeat(terms)));
        let walk = walked(&zone, &["192.0.2.1"]).await;
        assert_eq!(walk.lookups, terms);
        assert_eq!(walk.problems.contains(&Problem::Lookups(terms)), over);
        assert_eq!(walk.covered[0].result, if over { Check::PermError } else { Check::Fail });
    }
}

#[tokio::test]
async fn names_without_records_count_for_the_family_that_asks() {
    let zone = SpfZone::of(
        "example.com TXT v=spf1 a:one.example.com a:two.example.com mx -all
         example.com MX 10 three.example.com
         one.example.com A 192.0.2.1
         two.example.com A 192.0.2.2
         three.example.com A 192.0.2.3",
    );
    for (addresses, voids, result) in [(vec![], 0, None), (vec!["198.51.100.1"], 0, Some(Check::Fail)), (vec!["2001:db8::1"], 3, Some(Check::PermError))] {
        let walk = walked(&zone, &addresses).await;
        assert_eq!((walk.voids, walk.covered.first().map(|covered| covered.result)), (voids, result), "{addresses:?}");
        assert_eq!(walk.problems.contains(&Problem::Voids(3)), voids > 2);
    }
    let gone = SpfZone::of("example.com TXT v=spf1 a:x.example.com a:y.example.com exists:z.example.com -all");
    assert_eq!(walked(&gone, &[]).await.problems, [Problem::Voids(3)], "with no address in view those count that have neither");
}

#[tokio::test]
async fn what_makes_a_permerror_is_named_with_its_term() {
    type Is = fn(&Problem) -> bool;
    let cases: [(&str, Is, &str); 7] = [
        (
            "example.com TXT v=spf1 include:gone.example -all",
            |p| matches!(p, Problem::NoRecord { .. }),
            "\"include:gone.example\" in the record of example.com: gone.example has no SPF record",
        ),
        (
            "example.com TXT v=spf1 redirect=near.example\nnear.example TXT v=spf1; mx -all",
            |p| matches!(p, Problem::NoRecord { .. }),
            "but \"v=spf1; mx -all\"",
        ),
        ("example.com TXT v=spf1 -all\nexample.com TXT v=spf1 mx -all", |p| matches!(p, Problem::Several { .. }), "2 SPF records"),
        ("example.com TXT v=spf1 ipv4:192.0.2.1 -all", |p| matches!(p, Problem::Fault { .. }), "write \"ip4:192.0.2.1\""),
        ("example.com TXT v=spf1 include:bad.example -all\nbad.example TXT v=spf1 a:", |p| matches!(p, Problem::Fault { .. }), "the record of bad.example"),
        (
            "example.com TXT v=spf1 include:b.example -all\nb.example TXT v=spf1 include:example.com -all",
            |p| matches!(p, Problem::Loop { .. }),
            "example.com -> b.example -> example.com",
        ),
        (
            &("example.com TXT v=spf1 mx -all\n".to_owned()
                + &(0..11).map(|n| format!("example.com MX 10 mx{n}.example.com\nmx{n}.example.com A 192.0.2.{n}\n")).collect::<Vec<_>>().concat()),
            |p| matches!(p, Problem::MxNames { names: 11, .. }),
            "11 MX records",
        ),
    ];
    for (lines, is, says) in cases {
        let zone = SpfZone::of(lines);
        let walk = walked(&zone, &["198.51.100.99"]).await;
        assert!(walk.problems.len() == 1 && is(&walk.problems[0]) && walk.problems[0].to_string().contains(says), "{lines}: {:?}", walk.problems);
        assert_eq!(walk.covered[0].result, Check::PermError, "{lines}: receivers agree");
    }
}

#[tokio::test]
async fn silence_is_unknown_and_no_fault() {
    let zone = SpfZone::of("example.com TXT v=spf1 include:slow.example a:slow.example -all\nslow.example SILENT");
    let walk = walked(&zone, &["192.0.2.1"]).await;
    assert!(walk.problems.is_empty() && walk.voids == 0, "{walk:?}");
    assert_eq!((walk.unknown.len(), walk.lookups, walk.covered[0].result), (3, 2, Check::TempError));
    let silent = walked(&SpfZone::of("example.com SILENT"), &[]).await;
    assert!(silent.pages[0].found.is_err() && silent.unknown.len() == 1 && silent.problems.is_empty());
    let none = walked(&SpfZone::of("example.com TXT hello"), &["192.0.2.1"]).await;
    assert_eq!((none.pages[0].found.as_ref(), none.covered[0].result), (Ok(&Selected::None(Vec::new())), Check::None));
}

#[tokio::test]
async fn remarks_tell_whose_record_they_are_on() {
    let zone = SpfZone::of(
        "example.com TXT v=spf1 include:them.example redirect=ours.example
         ours.example TXT v=spf1 mx ?all
         them.example TXT v=spf1 ip4:40.0.0.0/8 ?all",
    );
    let walk = walked(&zone, &[]).await;
    let remarks: Vec<_> = walk.remarks.iter().map(|remark| (remark.record.as_str(), remark.own, matches!(remark.remark, Remark::HugeNetwork(_)))).collect();
    assert_eq!(remarks, [("them.example", false, true), ("ours.example", true, false)]);
    assert_eq!(walk.all, Some(Qualifier::Neutral));
}

#[tokio::test]
async fn a_tree_without_end_has_one() {
    let first = "example.com TXT v=spf1 include:n0.example include:n1.example -all\n".to_owned();
    let further = (0..200).map(|n| format!("n{n}.example TXT v=spf1 include:n{}.example include:n{}.example -all\n", 2 * n + 2, 2 * n + 3));
    let zone = SpfZone::of(&std::iter::once(first).chain(further).collect::<Vec<_>>().concat());
    let walk = walked(&zone, &["192.0.2.1"]).await;
    assert!(walk.problems.contains(&Problem::Endless) && walk.lookups > LOOKUPS_MAX);
    assert!(zone.asked.lock().unwrap().len() < 200);
    assert_eq!(walk.covered[0].result, Check::PermError);
}

#[tokio::test]
async fn macros_are_asked_as_the_message_has_them() {
    let zone = SpfZone::of(
        "example.com TXT v=spf1 exists:%{l}.%{i}.users.%{d} -all exp=why.%{d}
         jane.doe+x.192.0.2.1.users.example.com A 127.0.0.2
         why.example.com TXT %{i} may not send as %{s}",
    );
    let sender = Sender { local: "Jane.Doe+x", domain: "example.com", helo: "pod-7" };
    let passes = check_host(&zone, "192.0.2.1".parse().unwrap(), sender).await;
    assert_eq!((passes.result, passes.lookups), (Check::Pass, 1), "{passes:?}");
    let fails = check_host(&zone, "192.0.2.2".parse().unwrap(), sender).await;
    assert_eq!((fails.result, fails.explanation.as_deref(), fails.voids), (Check::Fail, Some("192.0.2.2 may not send as Jane.Doe+x@example.com"), 1));
    assert!(zone.asked.lock().unwrap().contains(&("jane.doe+x.192.0.2.2.users.example.com".into(), Kind::A)));
}
