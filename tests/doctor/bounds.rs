//! What a zone can do to doctor: much, strange and hostile data.

use super::house::{domain, examined, expect, subject, zone};
use postseal::doctor::Status::{Fail, Ok, Unknown};
use postseal::doctor::{Kind, Part, Report, Subject};
use std::fmt::Write as _;

#[tokio::test]
async fn what_others_wrote_cannot_steer_a_terminal() {
    let findings = examined(&zone("_dmarc.example.com TXT \"v=DMARC1; p=none; \u{1b}[31mred=\u{7}; rua=mailto:dmarc@example.com\""), subject(), true).await;
    let report = Report { bulk: true, parts: vec![Part { kind: Kind::Domain, name: "example.com".to_owned(), findings }] };
    let text = report.text(80, &|_, text| text.to_owned());
    assert!(text.contains("red=") && !text.contains('\u{1b}') && !text.contains('\u{7}'), "{text}");
}

#[tokio::test]
async fn endless_records_are_cut() {
    let mut much = String::new();
    for number in 0..40 {
        let _ = writeln!(much, "_dmarc.example.com TXT \"v=DMARC1; p=none; rua=mailto:a{number}@h{number}.example\"");
    }
    expect(&examined(&zone(&much), subject(), true).await, "dmarc", Fail, &["40 DMARC records"]);
    let long = format!("_mta-sts.b.example.com TXT {}", "\"".to_owned() + &"x".repeat(250) + "\" \"" + &"y".repeat(250) + "\"");
    let findings = examined(&zone(&long), subject(), true).await;
    let finding = findings.iter().find(|finding| finding.rule.id == "mta-sts").unwrap();
    assert!(finding.seen.contains('…') && finding.seen.chars().count() < 400, "{}", finding.seen);
}

#[tokio::test]
async fn the_longest_names_find_an_end() {
    let long = format!("{}.example.com", ["abcdefghi"; 24].join("."));
    let findings = examined(&zone(""), Subject { domain: domain(&long), bounce_domain: None, ..subject() }, true).await;
    assert!(!findings.is_empty());
    let below = Subject { domain: domain(&format!("{}.example.com", "x.".repeat(30).trim_end_matches('.'))), ..subject() };
    expect(&examined(&zone(""), below, true).await, "dmarc", Ok, &["stands above"]);
}

#[tokio::test]
async fn a_name_server_that_lies_in_circles_is_told() {
    let circle = "b.example.com TXT \"v=spf1 include:c.example.com ~all\"\nc.example.com TXT \"v=spf1 include:b.example.com ~all\"";
    expect(&examined(&zone(circle), subject(), true).await, "spf-bounce", Fail, &["in a circle"]);
    let findings = examined(&zone("b.example.com CNAME b.example.com"), subject(), true).await;
    assert!(findings.iter().any(|finding| matches!(finding.status, Fail | Unknown)));
}
