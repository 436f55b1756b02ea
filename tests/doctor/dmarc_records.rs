//! Records as people publish them, and what is to be published instead.

use super::house::{examined, expect, subject, zone};
use postseal::doctor::Finding;
use postseal::doctor::Status::{Fail, Ok, Warn};

async fn with(record: &str) -> Vec<Finding> {
    let hosts = "reports.example MX 10 mail.example.com\nexample.com._report._dmarc.reports.example TXT \"v=DMARC1;\"\n_report._dmarc.other.example TXT \"x\"\nother.example A 192.0.2.1";
    examined(&zone(&format!("_dmarc.example.com TXT {record}\n{hosts}")), subject(), true).await
}

fn remedy(findings: &[Finding], rule: &str) -> String {
    let finding = findings.iter().find(|finding| finding.rule.id == rule && finding.remedy.is_some()).unwrap_or_else(|| panic!("no {rule}: {findings:#?}"));
    finding.remedy.as_ref().unwrap().records[0].data.zone_text()
}

#[tokio::test]
async fn missing_semicolons_are_named_and_mended() {
    for (record, instead) in [
        (
            "v=DMARC1 p=none rua=mailto:hoge@example.com ruf=mailto:hoge@example.com",
            "v=DMARC1; p=none; rua=mailto:hoge@example.com; ruf=mailto:hoge@example.com",
        ),
        ("v=DMARC1 p=quarantine", "v=DMARC1; p=quarantine; rua=mailto:dmarc@example.com"),
        ("v=DMARC1 p=quarantine pct=20 rua=mailto:hoge@example.com", "v=DMARC1; p=quarantine; t=y; rua=mailto:hoge@example.com"),
        ("v=DMARC1 p=reject ruf=mailto:hoge@example.com", "v=DMARC1; p=reject; ruf=mailto:hoge@example.com; rua=mailto:dmarc@example.com"),
        ("v=DMARC1 p=reject pct=50 rua=mailto:hoge@example.com", "v=DMARC1; p=reject; t=y; rua=mailto:hoge@example.com"),
    ] {
        let findings = with(&format!("\"{record}\"")).await;
        expect(&findings, "dmarc", Fail, &["there is no \";\" behind \"v=DMARC1\"", record]);
        assert_eq!(remedy(&findings, "dmarc"), format!("\"{instead}\""), "{record}");
        let mended = with(&format!("\"{instead}\"")).await;
        expect(&mended, "dmarc", Ok, &[]);
        assert!(!mended.iter().any(|finding| finding.rule.id == "dmarc-tags"), "{instead}");
    }
}

#[tokio::test]
async fn tags_that_were_removed_or_mean_nothing_are_explained() {
    for (record, words, instead) in [
        ("v=DMARC1; p=quarantine; pct=20; rua=mailto:a@example.com", "pct=20\" was removed", "v=DMARC1; p=quarantine; t=y; rua=mailto:a@example.com"),
        ("v=DMARC1; p=quarantine; pct=100; rua=mailto:a@example.com", "says nothing", "v=DMARC1; p=quarantine; rua=mailto:a@example.com"),
        ("v=DMARC1; p=reject; pct=0; rua=mailto:a@example.com", "t=y has taken its place", "v=DMARC1; p=reject; t=y; rua=mailto:a@example.com"),
        ("v=DMARC1; p=none; rf=afrf; ri=86400; rua=mailto:a@example.com", "older receivers", "v=DMARC1; p=none; rua=mailto:a@example.com"),
        ("v=DMARC1; p=none sp=reject; rua=mailto:a@example.com", "a \";\" is missing behind it", "v=DMARC1; p=none; rua=mailto:a@example.com"),
        ("v=DMARC1; p=none; adkim=strict; rua=mailto:a@example.com", "neither r nor s", "v=DMARC1; p=none; rua=mailto:a@example.com"),
        ("v=DMARC1; p=none; policy=strict; rua=mailto:a@example.com", "no tag of DMARC", "v=DMARC1; p=none; rua=mailto:a@example.com"),
        ("v=DMARC1; p=none; hello; rua=mailto:a@example.com", "\"hello\" is no tag", "v=DMARC1; p=none; rua=mailto:a@example.com"),
        ("v=DMARC1; p=none; rua=mailto:a@example.com; ruf=a@example.com", "no valid address", "v=DMARC1; p=none; rua=mailto:a@example.com"),
    ] {
        let findings = with(&format!("\"{record}\"")).await;
        expect(&findings, "dmarc-tags", Warn, &[words]);
        assert_eq!(remedy(&findings, "dmarc-tags"), format!("\"{instead}\""), "{record}");
    }
}

#[tokio::test]
async fn valid_records_of_the_field_are_taken_as_they_are() {
    // Five strings, joined with nothing between.
    let findings = with("\"v=DMARC1;\" \"p=quarantine;\" \"pct=100;\" \"rua=mailto:a@reports.example;\" \"ruf=mailto:b@example.com\"").await;
    expect(&findings, "dmarc", Ok, &["v=DMARC1;p=quarantine;pct=100;"]);
    expect(&findings, "dmarc-reports", Ok, &["reports.example, which agrees"]);
    // Valid, and blind.
    expect(&with("\"v=DMARC1; p=none\"").await, "dmarc-reports", Warn, &["no rua="]);
    // One address of ours, one with consent, one without.
    let findings = with("\"v=DMARC1; p=reject; rua=mailto:a@example.com,mailto:b@reports.example,mailto:c@other.example\"").await;
    expect(&findings, "dmarc-reports", Fail, &["example.com._report._dmarc.other.example", "agrees to take them", "same organisation"]);
    assert_eq!(findings.iter().filter(|finding| finding.rule.id == "dmarc-reports").count(), 3);
}
