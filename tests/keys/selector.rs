//! Names of new keys.

use super::NOW;
use postseal::keys::{Algorithm, SelectorTemplate};
use postseal::mail::Selector;
use std::collections::BTreeSet;

fn first(template: &str, taken: &[&str]) -> String {
    let template: SelectorTemplate = template.parse().unwrap();
    template.next(Algorithm::Ed25519, NOW, |selector| taken.contains(&selector.as_str())).unwrap().to_string()
}

#[test]
fn a_template_makes_the_first_name_that_was_never_used() {
    assert_eq!(SelectorTemplate::default().to_string(), "ps{yyyymm}{letter}");
    assert_eq!(first("ps{yyyymm}{letter}", &[]), "ps202611a");
    assert_eq!(first("ps{yyyymm}{letter}", &["ps202611a", "ps202611b"]), "ps202611c");
    assert_eq!(first("Mail-{yyyymmdd}-{number}", &["mail-20261122-1"]), "mail-20261122-2", "selectors are lower case");
    assert_eq!(first("{algorithm}.{yyyy}{letter}", &[]), "ed25519.2026a");
    assert_eq!(first("s{number}", &["s1", "s2"]), "s3");
}

#[test]
fn a_month_cannot_run_out() {
    let mut taken = BTreeSet::new();
    for _ in 0..100 {
        let next = SelectorTemplate::default().next(Algorithm::Rsa, NOW, |selector| taken.contains(selector)).unwrap();
        assert!(taken.insert(next));
    }
    assert!(taken.contains(&Selector::new("ps202611z")) && taken.contains(&Selector::new("ps202611aa")) && taken.contains(&Selector::new("ps202611cv")));
    let fault = "s{number}".parse::<SelectorTemplate>().unwrap().next(Algorithm::Rsa, NOW, |_| true).unwrap_err().to_string();
    assert!(fault.contains("the first 10000 selectors like s1 are taken"), "{fault}");
}

#[test]
fn a_template_that_could_run_out_or_make_no_selector_is_refused() {
    for (text, expected) in [
        ("ps{yyyymm}", "has to hold {letter} or {number} just once"),
        ("{letter}{number}", "just once"),
        ("", "just once"),
        ("ps{yyyymm", "a brace that is not closed or not opened"),
        ("ps}{letter}", "a brace"),
        ("ps{week}{letter}", "{week} is not known; expected {yyyy}"),
        ("under score{letter}", "which is no selector; expected letters"),
        ("-{letter}", "no selector"),
        ("{letter}.", "no selector"),
        ("a..{letter}", "no selector"),
        ("{letter}-", "no selector"),
        (&format!("{}{{letter}}", "a".repeat(62)), "at most 63 octets"),
        (&format!("{}.{{letter}}", ["a".repeat(50), "b".repeat(50)].join(".")), "no selector"),
    ] {
        let fault = text.parse::<SelectorTemplate>().unwrap_err().to_string();
        assert!(fault.contains(expected), "{text}: {fault}");
    }
    for text in ["ps{yyyymm}{letter}", "{algorithm}-{yyyymmdd}.{number}"] {
        assert_eq!(text.parse::<SelectorTemplate>().unwrap().to_string(), text);
    }
}
