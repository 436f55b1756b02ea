//! Whole reports as a person and as a program get them. `POSTSEAL_BLESS=1` writes the files anew; look at the difference then.

use super::house::{examined, examined_relay, relay, subject, zone};
use postseal::doctor::{Kind, Part, Report, Tone};
use std::path::Path;

/// Four things are wrong: no SPF at the bounce domain's side for IPv6, no semicolon, no key record, no PTR.
const BAD: &str = r#"
    b.example.com TXT "v=spf1 ip4:192.0.2.25 ~all"
    _dmarc.example.com TXT "v=DMARC1 p=quarantine pct=20 rua=mailto:dmarc@example.com"
    - ps1._domainkey.example.com TXT
    - 25.2.0.192.in-addr.arpa PTR
    example.com SERVFAIL MX
    - mx1.example.com TXT
"#;

async fn report(instead: &str) -> Report {
    let zone = zone(instead);
    let parts = vec![
        Part { kind: Kind::Domain, name: "example.com".to_owned(), findings: examined(&zone, subject(), true).await },
        Part { kind: Kind::Relay, name: "mx1.example.com".to_owned(), findings: examined_relay(&zone, relay()).await },
    ];
    Report { bulk: true, parts }
}

#[track_caller]
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/files").join(name);
    if std::env::var_os("POSTSEAL_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "{}", path.display());
}

#[tokio::test]
async fn a_report_for_people() {
    golden("good.txt", &report("").await.text(100, &|_, text| text.to_owned()));
    golden("bad.txt", &report(BAD).await.text(80, &|_, text| text.to_owned()));
}

#[tokio::test]
async fn a_report_for_programs() {
    golden("bad.json", &format!("{:#}\n", report(BAD).await.json()));
}

#[tokio::test]
async fn only_records_are_longer_than_a_line() {
    let report = report(BAD).await;
    for columns in [60, 80, 120] {
        let text = report.text(columns, &|_, text| text.to_owned());
        let words = |line: &str| line.split_whitespace().count();
        for line in text.lines().filter(|line| line.chars().count() > columns) {
            assert!(line.contains(" IN ") || words(line) <= 3, "{columns}: {line}");
        }
        assert!(!text.lines().any(|line| line.ends_with(' ')), "{text}");
    }
}

#[tokio::test]
async fn colours_change_nothing_but_the_colour() {
    let report = report(BAD).await;
    let plain = report.text(80, &|_, text| text.to_owned());
    let tones = std::cell::RefCell::new(Vec::new());
    let marked = report.text(80, &|tone, text| {
        tones.borrow_mut().push(tone);
        format!("\u{1}{text}\u{2}")
    });
    assert_eq!(marked.replace(['\u{1}', '\u{2}'], ""), plain);
    for tone in [Tone::Strong, Tone::Good, Tone::Warning, Tone::Open, Tone::Bad, Tone::Faint] {
        assert!(tones.borrow().contains(&tone), "{tone:?}");
    }
}
