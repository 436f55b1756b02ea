//! The ledger of a domain: what it says reads back, what it is told holds, and nothing else can be told.

use super::{NOW, example, write};
use postseal::keys::{Algorithm, ChangeError, Entry, HISTORY_MAX, Keyring, Ledger, PrivateKey, SelectorTemplate, ServerMemory, State, create};
use postseal::mail::{Selector, Timestamp};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn selector(text: &str) -> Selector {
    Selector::new(text)
}

/// A directory with one key `created`.
fn with_key(directory: &Path) -> Selector {
    let key = &create(directory, &example(), &[Algorithm::Ed25519], &SelectorTemplate::default(), (State::Created, "test"), NOW).unwrap()[0];
    key.id.selector.clone()
}

fn states(directory: &Path) -> Vec<(String, State)> {
    let ledger = Ledger::read(directory, &example()).unwrap();
    ledger.entries().iter().map(|(selector, entry)| (selector.to_string(), entry.state)).collect()
}

#[test]
fn a_life_is_recorded_with_times_and_reasons() {
    let directory = tempfile::tempdir().unwrap();
    let key = with_key(directory.path());
    let mut ledger = Ledger::open(directory.path(), &example()).unwrap();
    let steps = [State::Published, State::Visible, State::Active, State::Retiring, State::Revoked, State::Removed];
    for (hours, state) in (1..).zip(steps) {
        assert!(ledger.advance(&key, state, &format!("because of \"{state}\" \\ \u{fc}\n"), NOW + Duration::from_hours(hours)).unwrap());
        assert!(!ledger.advance(&key, state, "again", NOW + Duration::from_hours(99)).unwrap(), "a step is taken once");
    }
    drop(ledger);
    let ledger = Ledger::read(directory.path(), &example()).unwrap();
    let entry = &ledger.entries()[&key];
    let history: Vec<_> = entry.history.iter().map(|past| (past.at, past.state, past.why.as_str())).collect();
    let why = |state: State| format!("because of \"{state}\" \\ \u{fc}");
    let expect: Vec<_> = (1..).zip(steps).map(|(hours, state)| (NOW + Duration::from_hours(hours), state, why(state))).collect();
    assert_eq!(history[0], (NOW, State::Created, "test"));
    assert!(history[1..].iter().eq(&expect.iter().map(|(at, state, why)| (*at, *state, why.as_str())).collect::<Vec<_>>()), "{history:#?}");
    assert_eq!((entry.state, entry.since), (State::Removed, NOW + Duration::from_hours(6)));
    assert_eq!((entry.born(), entry.active_since()), (NOW, Some(NOW + Duration::from_hours(3))));
    assert_eq!(super::names(&directory.path().join("example.com")), ["keys.toml"], "the file is gone with the key");
}

#[test]
fn the_file_is_one_that_people_read() {
    let directory = tempfile::tempdir().unwrap();
    let key = with_key(directory.path());
    let mut ledger = Ledger::open(directory.path(), &example()).unwrap();
    ledger.advance(&key, State::Published, "RFC 2136", NOW + Duration::from_mins(1)).unwrap();
    let shown = ServerMemory { shown_since: Some(NOW + Duration::from_mins(2)), silent_since: None, asked_at: Some(NOW + Duration::from_mins(4)) };
    let silent = ServerMemory { shown_since: Some(NOW), silent_since: Some(NOW + Duration::from_mins(3)), asked_at: None };
    let servers = BTreeMap::from([("ns1.example.net".to_owned(), shown), ("ns2.example.net".to_owned(), silent)]);
    ledger.remember(&key, servers.clone()).unwrap();
    ledger.remember_ttl(&key, Some(Duration::from_hours(1))).unwrap();
    ledger.remember_wrong(&key, Duration::from_mins(5)).unwrap();
    let text = fs::read_to_string(directory.path().join("example.com/keys.toml")).unwrap();
    let expect = r#"# Where each key of this domain stands. Kept by postseal; selectors are never used twice, so entries stay.

["ps202611a"]
algorithm = "ed25519"
state = "published"
since = "2026-11-22T01:19:45.000Z"
record_ttl_seconds = 3600
wrong_ttl_seconds = 300
servers."ns1.example.net" = { shown_since = "2026-11-22T01:20:45.000Z", asked_at = "2026-11-22T01:22:45.000Z" }
servers."ns2.example.net" = { shown_since = "2026-11-22T01:18:45.000Z", silent_since = "2026-11-22T01:21:45.000Z" }
history = [
    { at = "2026-11-22T01:18:45.000Z", state = "created", why = "test" },
    { at = "2026-11-22T01:19:45.000Z", state = "published", why = "RFC 2136" },
]
"#;
    assert_eq!(text, expect);
    let read = Ledger::read(directory.path(), &example()).unwrap();
    let entry = &read.entries()[&key];
    assert_eq!((&entry.servers, entry.record_ttl, entry.wrong_ttl), (&servers, Some(Duration::from_hours(1)), Some(Duration::from_mins(5))));
    assert_eq!(Ledger::parse(&read.to_string()).unwrap(), read);
}

#[test]
fn files_of_old_read_without_history() {
    let text = "# Kept by postseal\n[\"ps202611a\"]\nalgorithm = \"rsa\"\nstate = \"active\"\nsince = \"2026-11-22T01:18:45.123Z\"\n";
    let ledger = Ledger::parse(text).unwrap();
    let entry = &ledger.entries()[&selector("ps202611a")];
    assert_eq!((entry.algorithm, entry.state, entry.history.len(), entry.record_ttl), (Algorithm::Rsa, State::Active, 0, None));
    assert_eq!(entry.active_since(), Some(entry.since));
    assert_eq!(Ledger::parse(&ledger.to_string()).unwrap(), ledger);
}

#[test]
fn a_faulty_ledger_says_what_was_expected() {
    let entry = |more: &str| format!("[x]\nalgorithm = \"rsa\"\nstate = \"active\"\nsince = \"2026-11-22T01:18:45Z\"\n{more}");
    for (text, expected) in [
        (entry("").replace("active", "asleep"), "state \"asleep\" of x; expected one of created, published, visible"),
        (entry("").replace("rsa", "dsa"), "algorithm \"dsa\" of x; expected rsa or ed25519"),
        (entry("").replace("2026-11-22T", "yesterday "), "since \"yesterday 01:18:45Z\" of x; expected 2026-"),
        (entry("history = [{ at = \"then\", state = \"active\", why = \"\" }]"), "at \"then\" of x"),
        (entry("servers.\"ns1\" = { shown_since = \"then\" }"), "shown_since \"then\" of x"),
        (entry("sign = true"), "unknown field `sign`"),
        (entry("").replace("[x]", "[\"under score\"]"), "\"under score\" is no selector"),
        (entry("") + &entry("").replace("[x]", "[X]"), "twice"),
        ("x".to_owned(), "expected"),
    ] {
        let why = Ledger::parse(&text).unwrap_err();
        assert!(why.contains(expected), "{why} / {expected}");
    }
}

#[test]
fn a_key_goes_no_way_that_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let key = with_key(directory.path());
    let mut ledger = Ledger::open(directory.path(), &example()).unwrap();
    let refused = |ledger: &mut postseal::keys::OpenLedger, to| ledger.advance(&key, to, "", NOW).unwrap_err().to_string();
    assert_eq!(
        refused(&mut ledger, State::Retiring),
        "ps202611a._domainkey.example.com is created, which cannot become retiring; it can become published or active or removed"
    );
    ledger.advance(&key, State::Published, "", NOW).unwrap();
    for to in [State::Created, State::Active, State::Retiring] {
        assert!(refused(&mut ledger, to).contains("it can become visible or revoked or removed"));
    }
    ledger.advance(&key, State::Revoked, "", NOW).unwrap();
    assert!(refused(&mut ledger, State::Active).contains("it can become removed"), "what was revoked never signs again");
    ledger.advance(&key, State::Removed, "", NOW).unwrap();
    assert!(refused(&mut ledger, State::Created).contains("it can become nothing else"));
    let unknown = ledger.advance(&selector("other"), State::Active, "", NOW).unwrap_err();
    assert!(matches!(unknown, ChangeError::Unknown(_)));
    assert_eq!(states(directory.path()), [("ps202611a".to_owned(), State::Removed)]);
}

#[test]
fn one_key_signs_and_another_retires_in_one_write() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (with_key(directory.path()), with_key(directory.path()));
    let mut ledger = Ledger::open(directory.path(), &example()).unwrap();
    ledger.advance(&old, State::Active, "", NOW).unwrap();
    ledger.advance(&new, State::Published, "", NOW).unwrap();
    assert!(matches!(ledger.activate(&new, std::slice::from_ref(&old), "", NOW), Err(ChangeError::NoWay { .. })));
    let expect = |old_is, new_is| [(old.to_string(), old_is), (new.to_string(), new_is)];
    assert_eq!(states(directory.path()), expect(State::Active, State::Published), "neither");
    ledger.advance(&new, State::Visible, "", NOW).unwrap();
    assert!(ledger.activate(&new, std::slice::from_ref(&old), "all show it", NOW).unwrap());
    assert!(!ledger.activate(&new, std::slice::from_ref(&old), "all show it", NOW).unwrap());
    assert_eq!(states(directory.path()), expect(State::Retiring, State::Active), "both");
    assert_eq!(ledger.entries()[&old].history.last().unwrap().why, "ps202611b signs instead");
}

#[test]
fn a_key_without_its_file_never_becomes_active() {
    let directory = tempfile::tempdir().unwrap();
    let key = with_key(directory.path());
    let mut ledger = Ledger::open(directory.path(), &example()).unwrap();
    ledger.advance(&key, State::Published, "", NOW).unwrap();
    fs::remove_file(directory.path().join("example.com/ps202611a.ed25519.pem")).unwrap();
    assert!(matches!(ledger.advance(&key, State::Visible, "", NOW), Err(ChangeError::NoFile(..))));
    ledger.advance(&key, State::Revoked, "", NOW).unwrap();
}

#[test]
fn one_process_at_a_time_changes_a_domain() {
    let directory = tempfile::tempdir().unwrap();
    with_key(directory.path());
    let ledger = Ledger::open(directory.path(), &example()).unwrap();
    assert!(Ledger::try_open(directory.path(), &example()).unwrap().is_none());
    assert_eq!(states(directory.path()).len(), 1, "reading needs no lock");
    drop(ledger);
    assert!(Ledger::try_open(directory.path(), &example()).unwrap().is_some());
    let nowhere = Ledger::open(directory.path(), &"example.net".parse().unwrap()).unwrap_err().to_string();
    assert!(nowhere.contains("`postseal key create DOMAIN` makes one"), "{nowhere}");
    assert_eq!(super::names(directory.path()), ["example.com"], "a mistyped domain gets no directory");
}

#[test]
fn a_key_file_that_the_ledger_does_not_mention_is_found_active_and_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let pem = PrivateKey::generate(Algorithm::Ed25519).unwrap().to_pem();
    write(&directory.path().join("example.com/Mail.private"), &pem, 0o600);
    let mail = selector("mail");
    let mut ledger = Ledger::open(directory.path(), &example()).unwrap();
    assert_eq!(ledger.entries()[&mail].state, State::Active);
    assert!(ledger.entries()[&mail].since > Timestamp::EPOCH && ledger.entries()[&mail].history[0].why.contains("did not mention"));
    assert_eq!(super::names(&directory.path().join("example.com")), ["Mail.private"], "looking changes nothing");
    let fresh = ledger.create(Algorithm::Ed25519, &SelectorTemplate::default(), "test", NOW).unwrap();
    let both = [("mail".to_owned(), State::Active), (fresh.id.selector.to_string(), State::Created)];
    assert_eq!(states(directory.path()), both);
    ledger.advance(&mail, State::Retiring, "test", NOW).unwrap();
    assert_eq!(Keyring::load(directory.path()).unwrap().retiring(&example()).count(), 1);
}

#[test]
fn a_history_has_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let key = with_key(directory.path());
    let mut ledger = Ledger::open(directory.path(), &example()).unwrap();
    for minute in 1..=u64::try_from(HISTORY_MAX).unwrap() {
        let state = if minute % 2 == 1 { State::Published } else { State::Visible };
        ledger.advance(&key, state, "", NOW + Duration::from_mins(minute)).unwrap();
    }
    let entry: &Entry = &ledger.entries()[&key];
    assert_eq!(entry.history.len(), HISTORY_MAX);
    assert_eq!((entry.born(), entry.history[1].at), (NOW, NOW + Duration::from_mins(2)), "the first step is kept, the second forgotten");
}
